//! What Cassandra does not say twice alike: rows that it hides, loses between pages, does not find beside an index, or leaves out of a view.
//!
//! What must hold: nothing is believed to be a mistake of Cassandra's that it does not contradict itself, asked in another way on the same rows.

use super::{PAGES_MAX, Pair, names, request};
use crate::oracle::answer::{Answer, Reply, Table, Type};
use crate::oracle::compare;
use crate::oracle::kept;
use crate::oracle::pair::Difference;
use crate::oracle::step::Step;
use crate::oracle::wire::{Asker, Request, Value};

/// The code of an error that says that a read failed.
const READ_FAILURE: i32 = 0x1300;

/// What a row has in its columns.
type Row = Vec<Option<bytes::Bytes>>;

/// A view as Cassandra's own tables describe it.
struct View {
    keyspace: String,
    name: String,
    base: String,
    /// All columns of its key, as a statement selects them.
    key: String,
    partition_key: Vec<String>,
}

impl Pair {
    /// Why rows are missing at Cassandra of which it says itself that they are there.
    pub(super) async fn contradiction(
        &mut self,
        step: &Step,
        difference: &Difference,
    ) -> Option<&'static str> {
        let is_of_rows = matches!(
            (&difference.theirs.answer, &difference.ours.answer),
            (Answer::Rows(_), Answer::Rows(_))
        );
        if !is_of_rows {
            return None;
        }
        let lacks_rows = match step.page_rows {
            // A page is filled with what stands behind a row that is hidden.
            Some(_) => self.lacks_rows_at_once(step).await,
            None => lacks_rows(&difference.theirs, &difference.ours),
        };
        let lacks_rows = lacks_rows || self.lacks_rows_of_where(step).await;
        if lacks_rows && self.hides_rows(step).await {
            return Some(kept::HIDDEN_ROWS);
        }
        if (lacks_rows || self.lacks_rows_of_collections(step).await)
            && self.is_blind_to_both(step, is_contains).await
        {
            return Some(kept::FROZEN_CONTAINS);
        }
        let of_statics = |relation: &str| relation.starts_with('s');
        if lacks_rows && self.is_blind_to_both(step, of_statics).await {
            return Some(kept::INDEXED_STATIC);
        }
        if lacks_rows && self.is_no_mirror(step).await {
            return Some(kept::NO_MIRROR);
        }
        if self.takes_any_vector(step).await {
            return Some(kept::ANY_VECTOR);
        }
        if self.is_of_unreadable_base(step).await {
            return Some(kept::UNREADABLE_BASE);
        }
        if self.lists_descending_keys(step).await {
            return Some(kept::DESCENDING_KEY);
        }
        match step.page_rows.is_some() && self.loses_rows_in_pages(step).await {
            true => Some(kept::ROWS_LOST_IN_PAGES),
            false => None,
        }
    }

    /// Whether Cassandra has fewer rows than we have when both are asked for all of them at once.
    async fn lacks_rows_at_once(&mut self, step: &Step) -> bool {
        let (theirs, ours) = self.at_once(step).await;
        lacks_rows(&theirs, &ours)
    }

    /// Whether Cassandra has fewer rows than we have under the same WHERE: groups, limits and what is taken together do not show it.
    async fn lacks_rows_of_where(&mut self, step: &Step) -> bool {
        let Some(all) = plain(step, "*") else {
            return false;
        };
        if self.lacks_rows_at_once(&all).await {
            return true;
        }
        // A row is hidden from those who ask for few of its columns, which is none where rows are counted.
        let selected = selected(&step.text).filter(|columns| !columns.contains('('));
        let one_by_one = match (selected, self.at_once(&all).await.0.answer) {
            (Some(columns), _) => vec![columns.to_owned()],
            (None, Answer::Rows(table)) => {
                let names = table.columns.iter();
                names.map(|column| format!("\"{}\"", column.name)).collect()
            }
            (None, _) => Vec::new(),
        };
        for columns in one_by_one {
            let Some(plain) = plain(step, &columns) else {
                return false;
            };
            if self.lacks_rows_at_once(&plain).await {
                return true;
            }
        }
        false
    }

    /// Whether Cassandra's rows are ours and others of which it says itself that a vector in them is not what is meant.
    async fn takes_any_vector(&mut self, step: &Step) -> bool {
        let Some(plain) = plain(step, "*") else {
            return false;
        };
        let (theirs, ours) = self.at_once(&plain).await;
        let (Answer::Rows(theirs), Answer::Rows(ours)) = (theirs.answer, ours.answer) else {
            return false;
        };
        let vectors: Vec<&str> = theirs
            .columns
            .iter()
            .filter(
                |column| matches!(&column.ty, Type::Custom(name) if name.contains("VectorType(")),
            )
            .map(|column| column.name.as_str())
            .collect();
        let of_vectors = |relation: &str| {
            let name = relation.split(' ').next();
            name.is_some_and(|name| vectors.contains(&name))
        };
        let left = self.meant(step, &theirs.rows, of_vectors).await;
        left.is_some_and(|left| left.len() < theirs.rows.len() && left == ours.rows)
    }

    /// Those of some rows which Cassandra also finds by each of some of a statement's relations alone.
    async fn meant(
        &mut self,
        step: &Step,
        rows: &[Row],
        is_asked: impl Fn(&str) -> bool,
    ) -> Option<Vec<Row>> {
        let (table, relations) = relations(step)?;
        let mut left = rows.to_vec();
        for relation in relations.iter().filter(|relation| is_asked(relation.text)) {
            let alone = rows_by(&mut self.theirs, table, &[relation], step).await?;
            left.retain(|row| alone.rows.contains(row));
        }
        Some(left)
    }

    /// Whether Cassandra has fewer rows than we have, apart from those of which it says itself that their collections are not what is meant: it takes
    /// an empty set for the number 0, whose bytes are the same.
    async fn lacks_rows_of_collections(&mut self, step: &Step) -> bool {
        let Some(plain) = plain(step, "*") else {
            return false;
        };
        let (mut theirs, ours) = self.at_once(&plain).await;
        let Answer::Rows(table) = &mut theirs.answer else {
            return false;
        };
        match self.meant(step, &table.rows, is_contains).await {
            Some(left) => table.rows = left,
            None => return false,
        }
        lacks_rows(&theirs, &ours)
    }

    /// What both answer to a step that is not asked page by page.
    async fn at_once(&mut self, step: &Step) -> (Reply, Reply) {
        let at_once = Step {
            page_rows: None,
            ..step.clone()
        };
        let askers = self.askers(step);
        let whole = request(&at_once, None);
        tokio::join!(askers.0.query(&whole), askers.1.query(&whole))
    }

    /// Whether Cassandra shows other rows page by page than at once, where we show page by page what both show at once.
    async fn loses_rows_in_pages(&mut self, step: &Step) -> bool {
        let (theirs, ours) = self.at_once(step).await;
        if compare::difference(&theirs, &ours).is_some() {
            return false;
        }
        let (Answer::Rows(whole), Answer::Rows(our_whole)) = (theirs.answer, ours.answer) else {
            return false;
        };
        let askers = self.askers(step);
        let (theirs, ours) = (
            rows_in_pages(askers.0, step).await,
            rows_in_pages(askers.1, step).await,
        );
        ours.is_some_and(|ours| ours == our_whole.rows)
            && theirs.is_some_and(|theirs| theirs != whole.rows)
    }

    /// Whether Cassandra shows fewer rows of the table that is read when it is asked for one of its columns than when it is asked for all.
    async fn hides_rows(&mut self, step: &Step) -> bool {
        let Some(table) = table_of(&step.text) else {
            return false;
        };
        let Some(all) = rows_of(&mut self.theirs, "*", table, step).await else {
            return false;
        };
        for column in &all.columns {
            let column = format!("\"{}\"", column.name);
            let own = rows_of(&mut self.theirs, &column, table, step).await;
            if own.is_some_and(|own| own.rows.len() < all.rows.len()) {
                return true;
            }
        }
        false
    }

    /// Whether Cassandra finds a row by one of some of a statement's relations, and the same one by all others.
    async fn is_blind_to_both(
        &mut self,
        step: &Step,
        is_of_the_first: impl Fn(&str) -> bool,
    ) -> bool {
        let Some((table, relations)) = relations(step) else {
            return false;
        };
        for first in relations.iter().filter(|one| is_of_the_first(one.text)) {
            let others = relations.iter();
            let others: Vec<&Said> = others.filter(|one| !std::ptr::eq(*one, first)).collect();
            if others.is_empty() {
                return false;
            }
            let by_first = rows_by(&mut self.theirs, table, &[first], step).await;
            let by_others = rows_by(&mut self.theirs, table, &others, step).await;
            let (Some(by_first), Some(by_others)) = (by_first, by_others) else {
                return false;
            };
            if by_first.rows.iter().any(|row| by_others.rows.contains(row)) {
                return true;
            }
        }
        false
    }

    /// Whether a view of Cassandra's has other rows than its base table has at Cassandra itself, where ours has just those.
    async fn is_no_mirror(&mut self, step: &Step) -> bool {
        let Some(View {
            name, base, key, ..
        }) = self.view(step).await
        else {
            return false;
        };
        let of_base = keys_of(&mut self.theirs, &key, &base, step).await;
        let of_view = keys_of(&mut self.theirs, &key, &name, step).await;
        let ours = keys_of(&mut self.ours, &key, &name, step).await;
        of_base.is_some() && of_base == ours && of_base != of_view
    }

    /// Whether a view has rows of a base that Cassandra fails to read, where ours has just those of its own.
    async fn is_of_unreadable_base(&mut self, step: &Step) -> bool {
        let Some(View {
            name, base, key, ..
        }) = self.view(step).await
        else {
            return false;
        };
        let all = format!("SELECT * FROM {base}");
        let all = Request {
            now_seconds: step.now_seconds,
            ..Request::plain(&all)
        };
        let fails = matches!(
            self.theirs.query(&all).await.answer,
            Answer::Refused(refusal) if refusal.code == READ_FAILURE
        );
        let of_base = keys_of(&mut self.ours, &key, &base, step).await;
        fails && of_base.is_some() && of_base == keys_of(&mut self.ours, &key, &name, step).await
    }

    /// Whether several partitions of a view are named whose key has a column that descends in the base, and both have the same rows in them.
    async fn lists_descending_keys(&mut self, step: &Step) -> bool {
        let Some(view) = self.view(step).await else {
            return false;
        };
        let (Some(plain), Some((_, relations))) = (plain(step, "*"), relations(step)) else {
            return false;
        };
        let lists = |column: &String| {
            let list = format!("{column} IN ");
            relations
                .iter()
                .any(|relation| relation.text.starts_with(&list))
        };
        let descends = format!(
            "SELECT column_name, clustering_order FROM system_schema.columns WHERE keyspace_name = '{}' AND table_name = '{}'",
            view.keyspace, view.base
        );
        let Answer::Rows(orders) = self.theirs.query(&Request::plain(&descends)).await.answer
        else {
            return false;
        };
        let descends = |column: &String| {
            orders.rows.iter().any(|row| {
                row[0].as_deref() == Some(column.as_bytes()) && row[1].as_deref() == Some(b"desc")
            })
        };
        if !view
            .partition_key
            .iter()
            .any(|column| lists(column) && descends(column))
        {
            return false;
        }
        let (theirs, ours) = self.at_once(&plain).await;
        match (theirs.answer, ours.answer) {
            (Answer::Rows(mut theirs), Answer::Rows(mut ours)) if theirs.rows != ours.rows => {
                theirs.rows.sort();
                ours.rows.sort();
                theirs.rows == ours.rows
            }
            _ => false,
        }
    }

    /// What Cassandra's own tables say of the view that a step reads, if it reads one.
    async fn view(&mut self, step: &Step) -> Option<View> {
        let name = table_of(&step.text)?;
        let keyspace = self.theirs.keyspace()?.to_owned();
        let about = |column: &str, table: &str, of: &str| {
            format!(
                "SELECT {column} FROM system_schema.{table} WHERE keyspace_name = '{keyspace}' AND {of} = '{name}'"
            )
        };
        let bases = about("base_table_name", "views", "view_name");
        let columns = about("column_name, kind", "columns", "table_name");
        let bases = names(&mut self.theirs, &bases).await;
        let columns = self.theirs.query(&Request::plain(&columns)).await;
        let (Some(base), Answer::Rows(columns)) = (bases.first(), columns.answer) else {
            return None;
        };
        let of_kind = |is_meant: fn(&[u8]) -> bool| -> Vec<String> {
            let rows = columns.rows.iter();
            let rows = rows.filter(|row| row[1].as_deref().is_some_and(is_meant));
            rows.filter_map(|row| row[0].as_deref())
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        let key = of_kind(|kind| kind != b"regular");
        let key: Vec<String> = key.iter().map(|name| format!("\"{name}\"")).collect();
        Some(View {
            name: name.to_owned(),
            base: String::from_utf8_lossy(base).into_owned(),
            key: key.join(", "),
            partition_key: of_kind(|kind| kind == b"partition_key"),
            keyspace,
        })
    }
}

/// The table that a SELECT reads.
fn table_of(text: &str) -> Option<&str> {
    let mut words = text.split([' ', ';']);
    words.find(|word| *word == "FROM");
    words.next()
}

/// What a SELECT shows.
fn selected(text: &str) -> Option<&str> {
    let (columns, _) = text.strip_prefix("SELECT ")?.split_once(" FROM ")?;
    Some(columns)
}

/// A relation of a WHERE, with the values of its markers.
struct Said<'a> {
    text: &'a str,
    values: Vec<Value>,
}

fn is_contains(relation: &str) -> bool {
    relation.contains(" CONTAINS ")
}

/// The same rows, one by one: these columns of a step's table under its WHERE, and nothing that limits, groups or orders them.
fn plain(step: &Step, columns: &str) -> Option<Step> {
    let (from, values) = match relations(step) {
        Some((table, relations)) => together(table, &relations.iter().collect::<Vec<_>>()),
        None if step.text.contains(" WHERE ") => return None,
        None => (table_of(&step.text)?.to_owned(), Vec::new()),
    };
    Some(Step {
        text: format!("SELECT {columns} FROM {from}"),
        values,
        page_rows: None,
        ..step.clone()
    })
}

/// A table under some relations, and their values.
fn together(table: &str, relations: &[&Said<'_>]) -> (String, Vec<Value>) {
    let texts: Vec<&str> = relations.iter().map(|relation| relation.text).collect();
    let from = format!("{table} WHERE {} ALLOW FILTERING", texts.join(" AND "));
    let values = relations.iter();
    let values = values.flat_map(|relation| relation.values.clone());
    (from, values.collect())
}

/// The table that a SELECT reads, and the relations of its WHERE.
fn relations(step: &Step) -> Option<(&str, Vec<Said<'_>>)> {
    let text = step.text.trim_end_matches(';');
    let markers = |text: &str| text.matches('?').count();
    if markers(text) != step.values.len() {
        return None;
    }
    let (before, rest) = text.split_once(" FROM ")?;
    let (table, relations) = rest.split_once(" WHERE ")?;
    let ends = [
        " GROUP BY ",
        " ORDER BY ",
        " PER PARTITION ",
        " LIMIT ",
        " ALLOW ",
    ];
    let end = ends.iter().filter_map(|word| relations.find(word)).min();
    let relations = &relations[..end.unwrap_or(relations.len())];
    let mut values = step.values[markers(before)..].iter().cloned();
    let said = relations.split(" AND ").map(|text| Said {
        text,
        values: values.by_ref().take(markers(text)).collect(),
    });
    Some((table, said.collect()))
}

/// The rows that a server finds by some relations.
async fn rows_by(
    asker: &mut Asker,
    table: &str,
    relations: &[&Said<'_>],
    step: &Step,
) -> Option<Table> {
    let (from, values) = together(table, relations);
    rows_of(
        asker,
        "*",
        &from,
        &Step {
            values,
            ..step.clone()
        },
    )
    .await
}

/// All of a table's rows as a server has them at the time of a step.
async fn rows_of(asker: &mut Asker, columns: &str, from: &str, step: &Step) -> Option<Table> {
    let text = format!("SELECT {columns} FROM {from}");
    let request = Request {
        values: match text.contains('?') {
            true => &step.values,
            false => &[],
        },
        now_seconds: step.now_seconds,
        ..Request::plain(&text)
    };
    match asker.query(&request).await.answer {
        Answer::Rows(rows) => Some(rows),
        _ => None,
    }
}

/// The keys of a view that rows of a table have, in one order.
async fn keys_of(asker: &mut Asker, key: &str, table: &str, step: &Step) -> Option<Vec<Row>> {
    let mut rows = rows_of(asker, key, table, step).await?.rows;
    rows.retain(|row| row.iter().all(Option::is_some));
    rows.sort();
    Some(rows)
}

/// Whether the first answer has only rows of the second one, and fewer.
fn lacks_rows(theirs: &Reply, ours: &Reply) -> bool {
    let (Answer::Rows(theirs), Answer::Rows(ours)) = (&theirs.answer, &ours.answer) else {
        return false;
    };
    let mut left: Vec<_> = ours.rows.iter().collect();
    let mut is_ours = |row| {
        let place = left.iter().position(|own| *own == row);
        place.map(|place| left.swap_remove(place)).is_some()
    };
    theirs.columns == ours.columns
        && theirs.rows.len() < ours.rows.len()
        && theirs.rows.iter().all(&mut is_ours)
}

/// All rows that one shows page by page; `None` if it refuses one.
async fn rows_in_pages(asker: &mut Asker, step: &Step) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    let mut state = None;
    for _ in 0..PAGES_MAX {
        let reply = asker.query(&request(step, state.as_deref())).await;
        let Answer::Rows(page) = reply.answer else {
            return None;
        };
        rows.extend(page.rows);
        state = page.page_state;
        if state.is_none() {
            return Some(rows);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{plain, relations, selected};
    use crate::oracle::step::{Purpose, Step};
    use crate::oracle::wire::Value;

    #[test]
    fn rows_are_asked_for_one_by_one_under_the_same_where() {
        let asked = |text: &str, columns: &str| {
            plain(&Step::plain(Purpose::Read, text), columns).map(|step| step.text)
        };
        let grouped = "SELECT max(v) FROM t WHERE a = 1 AND b > 2 GROUP BY a LIMIT 3;";
        assert_eq!(
            asked(grouped, "*").as_deref(),
            Some("SELECT * FROM t WHERE a = 1 AND b > 2 ALLOW FILTERING")
        );
        assert_eq!(selected(grouped), Some("max(v)"));
        let all = "SELECT v FROM t;";
        assert_eq!(asked(all, "v").as_deref(), Some("SELECT v FROM t"));
        assert_eq!(asked("TRUNCATE t;", "*"), None);
        let markers = "SELECT v FROM t WHERE a = ? AND b IN (?, 2) LIMIT ?;";
        let step = Step {
            values: [1u8, 2, 3].map(|value| Value::Bytes(vec![value])).into(),
            ..Step::plain(Purpose::Read, markers)
        };
        let (_, said) = relations(&step).expect("there is a WHERE");
        let values: Vec<usize> = said.iter().map(|said| said.values.len()).collect();
        assert_eq!(values, [1, 1]);
    }
}
