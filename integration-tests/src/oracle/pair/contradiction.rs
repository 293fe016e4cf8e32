//! What Cassandra does not say twice alike: rows that it hides, loses between pages, does not find beside an index, or leaves out of a view.
//!
//! What must hold: nothing is believed to be a mistake of Cassandra's that it does not contradict itself, asked in another way on the same rows.

use std::collections::BTreeSet;

use super::said::{
    Said, as_constant, as_range, asked_columns, is_contains, limit_of, narrower, plain, relations,
    table_of, together,
};
use super::{PAGES_MAX, Pair, names, request};
use crate::oracle::answer::{Answer, Reply, Table};
use crate::oracle::compare;
use crate::oracle::kept;
use crate::oracle::pair::Difference;
use crate::oracle::step::Step;
use crate::oracle::wire::{Asker, Request};

/// The code of an error that says that a read failed.
pub(super) const READ_FAILURE: i32 = 0x1300;

/// What a row has in its columns.
pub(super) type Row = Vec<Option<bytes::Bytes>>;

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
        if kept::is_broken(&difference.ours) {
            return None;
        }
        if !is_of_rows {
            let asks = self.asks_index_of_vectors(step, difference).await;
            return asks.then_some(kept::VECTOR_KEY);
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
        if lacks_rows {
            let indexed = self.indexed_clusterings(step).await;
            if self
                .finds_in_other_words(step, |said| as_range(said, &indexed))
                .await
            {
                return Some(kept::INDEXED_CLUSTERING);
            }
            if self.finds_in_other_words(step, as_constant).await
                || self.loses_calculated_numbers(step).await
            {
                return Some(kept::CALCULATED_SPELLING);
            }
            if self.loses_short_tuples(step).await {
                return Some(kept::SHORT_TUPLE);
            }
            if self.loses_empty_values(step).await {
                return Some(kept::EMPTY_VALUE);
            }
            if self.loses_entries(step).await {
                return Some(kept::LOST_ENTRY);
            }
        }
        if lacks_rows && self.is_no_mirror(step).await {
            return Some(kept::NO_MIRROR);
        }
        if self.takes_any_vector(step).await {
            return Some(kept::ANY_VECTOR);
        }
        if self.shows_what_has_expired(step).await {
            return Some(kept::EXPIRED_STATIC);
        }
        if self.finds_deleted_elements(step).await {
            return Some(kept::DELETED_ELEMENT);
        }
        if self.is_of_unreadable_base(step).await {
            return Some(kept::UNREADABLE_BASE);
        }
        if self.lists_descending_keys(step).await {
            return Some(kept::DESCENDING_KEY);
        }
        if self.loses_rows_under_limit(step, difference).await {
            return Some(kept::ROWS_LOST_UNDER_LIMIT);
        }
        if self.sorts_documents(step, difference).await {
            return Some(kept::SORTED_DOCUMENTS);
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
        let (theirs, ours) = self.at_once(&all).await;
        if lacks_rows(&theirs, &ours) {
            return true;
        }
        let Answer::Rows(whole) = ours.answer else {
            return false;
        };
        for columns in narrower(step, &whole) {
            let Some(plain) = plain(step, &columns) else {
                return false;
            };
            if self.lacks_rows_at_once(&plain).await {
                return true;
            }
        }
        false
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

    /// What both show, all columns of all rows, under the WHERE of a step.
    pub(super) async fn rows_of_where(&mut self, step: &Step) -> Option<(Table, Table)> {
        let (theirs, ours) = self.at_once(&plain(step, "*")?).await;
        match (theirs.answer, ours.answer) {
            (Answer::Rows(theirs), Answer::Rows(ours)) => Some((theirs, ours)),
            _ => None,
        }
    }

    /// What both answer to a step that is not asked page by page.
    pub(super) async fn at_once(&mut self, step: &Step) -> (Reply, Reply) {
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

    /// Whether Cassandra shows fewer rows under a LIMIT than it has without one, where ours are as many as the LIMIT says, and an attached index is asked:
    /// one over a static column, or at a moment that the statement brings.
    async fn loses_rows_under_limit(&mut self, step: &Step, difference: &Difference) -> bool {
        let (Some(limit), Some(unlimited)) = (limit_of(step), plain(step, "*")) else {
            return false;
        };
        let indexed = self.indexed(step, "CUSTOM").await;
        let asked = asked_columns(step);
        // By the server's clock, which is all that such an index knows, what has expired by the statement's moment may be there.
        let has_moment = step.now_seconds.is_some();
        let is_asked =
            |name: &String| (has_moment || name.starts_with('s')) && is_target(&indexed, name);
        if !asked.iter().any(is_asked) {
            return false;
        }
        let (theirs, ours) = self.at_once(&unlimited).await;
        if compare::difference(&theirs, &ours).is_some() {
            return false;
        }
        let limited = (&difference.theirs.answer, &difference.ours.answer);
        let (Answer::Rows(whole), (Answer::Rows(fewer), Answer::Rows(first))) =
            (ours.answer, limited)
        else {
            return false;
        };
        first.columns == whole.columns
            && are_the_first(first, &whole, limit)
            && fewer.rows.len() < first.rows.len()
            && fewer.rows.iter().all(|row| whole.rows.contains(row))
    }

    /// Whether Cassandra's rows without a LIMIT are documents that are ours in another order, and ours under the LIMIT are the first of ours without.
    async fn sorts_documents(&mut self, step: &Step, difference: &Difference) -> bool {
        let (Some(limit), Some((unlimited, _))) = (limit_of(step), step.text.split_once(" LIMIT "))
        else {
            return false;
        };
        let markers = unlimited.matches('?').count();
        if !kept::fits(kept::ORDERED_DOCUMENTS, unlimited)
            || markers > step.values.len()
            || step.page_rows.is_some()
        {
            return false;
        }
        let unlimited = Step {
            text: unlimited.to_owned(),
            values: step.values[..markers].to_vec(),
            ..step.clone()
        };
        let (theirs, ours) = self.at_once(&unlimited).await;
        let as_theirs = compare::in_their_order(&theirs, &ours);
        let (Answer::Rows(whole), Answer::Rows(first)) = (&ours.answer, &difference.ours.answer)
        else {
            return false;
        };
        compare::difference(&theirs, &ours).is_some()
            && compare::difference(&theirs, &as_theirs).is_none()
            && are_the_first(first, whole, limit)
    }

    /// Whether Cassandra shows under the same WHERE all rows that we show when it is asked for all columns, and fewer of the same when it is asked for some of them.
    async fn hides_rows(&mut self, step: &Step) -> bool {
        let (Some(table), Some(all)) = (table_of(&step.text), plain(step, "*")) else {
            return false;
        };
        let (theirs, ours) = self.at_once(&all).await;
        if compare::difference(&theirs, &ours).is_some() {
            return false;
        }
        let Answer::Rows(all) = ours.answer else {
            return false;
        };
        // A key's columns come first where all are shown.
        let key = self.key(table, &["partition_key", "clustering"]).await;
        let names = all.columns.iter().take(key.len());
        let names: Vec<String> = names.map(|column| format!("\"{}\"", column.name)).collect();
        let keys = |table: &Table| -> Vec<Row> {
            let rows = table.rows.iter();
            rows.map(|row| row[..key.len()].to_vec()).collect()
        };
        for columns in narrower(step, &all) {
            let Some(few) = plain(step, &format!("{}, {columns}", names.join(", "))) else {
                return false;
            };
            let (theirs, ours) = self.at_once(&few).await;
            let is_whole = matches!(&ours.answer, Answer::Rows(few) if keys(few) == keys(&all));
            if is_whole && lacks_rows(&theirs, &ours) {
                return true;
            }
        }
        false
    }

    /// Whether Cassandra finds all rows that we find when a WHERE is put in other words that mean the same.
    async fn finds_in_other_words(
        &mut self,
        step: &Step,
        reworded: impl Fn(&Said<'_>) -> Option<Said<'static>>,
    ) -> bool {
        let (Some(plain), Some((table, mut relations))) = (plain(step, "*"), relations(step))
        else {
            return false;
        };
        let mut is_other = false;
        for relation in &mut relations {
            if let Some(other) = reworded(relation) {
                *relation = other;
                is_other = true;
            }
        }
        if !is_other {
            return false;
        }
        let all: Vec<&Said> = relations.iter().collect();
        let (theirs, ours) = self.at_once(&plain).await;
        let reworded = rows_by(self.askers(step).0, table, &all, step).await;
        let (Some(mut reworded), Answer::Rows(mut table)) = (reworded, ours.answer.clone()) else {
            return false;
        };
        reworded.rows.sort();
        table.rows.sort();
        lacks_rows(&theirs, &ours) && reworded.rows == table.rows
    }

    /// The columns of a table's clustering that have classic indexes, as Cassandra itself has them in its tables.
    async fn indexed_clusterings(&mut self, step: &Step) -> Vec<String> {
        self.indexed_of_key(step, &["clustering"], "COMPOSITES")
            .await
    }

    /// The columns of some kinds of a table's key that have an index of a kind.
    async fn indexed_of_key(&mut self, step: &Step, kinds: &[&str], of: &str) -> Vec<String> {
        let Some(table) = table_of(&step.text) else {
            return Vec::new();
        };
        let indexed = self.indexed(step, of).await;
        let columns = self.key(table, kinds).await;
        let both = columns.intersection(&indexed);
        both.map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// The targets of a table's indexes of a kind.
    pub(super) async fn indexed(&mut self, step: &Step, of: &str) -> BTreeSet<bytes::Bytes> {
        let (Some(table), Some(keyspace)) = (table_of(&step.text), self.theirs.keyspace()) else {
            return BTreeSet::new();
        };
        let keyspace = keyspace.to_owned();
        let of_table = format!("keyspace_name = '{keyspace}' AND table_name = '{table}'");
        let targets = format!(
            "SELECT options['target'] FROM system_schema.indexes WHERE {of_table} AND kind = '{of}' ALLOW FILTERING"
        );
        names(&mut self.theirs, &targets).await
    }

    /// Whether Cassandra refuses what an index over vectors would be asked, which does not compare: it takes it for one that does in a column of the key.
    async fn asks_index_of_vectors(&mut self, step: &Step, difference: &Difference) -> bool {
        let of_indexes = [
            "Use of ANN OF in an ORDER BY clause requires a LIMIT",
            "ORDER BY with 2ndary indexes is not supported",
            "Select on indexed columns and with IN clause",
        ];
        let is_of_indexes = matches!(&difference.theirs.answer, Answer::Refused(refusal)
            if of_indexes.iter().any(|words| refusal.message.starts_with(words)));
        let (true, Some(table)) = (is_of_indexes, table_of(&step.text)) else {
            return false;
        };
        let keyspace = self.theirs.keyspace().unwrap_or_default().to_owned();
        let key = ["partition_key", "clustering"];
        let indexed = self.indexed_of_key(step, &key, "CUSTOM").await;
        let asked = asked_columns(step);
        for column in asked.iter().filter(|column| indexed.contains(column)) {
            let ty = format!(
                "SELECT type FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = '{table}' AND column_name = '{column}'"
            );
            let of = names(&mut self.theirs, &ty).await;
            if of.iter().any(|ty| ty.starts_with(b"vector<")) {
                return true;
            }
        }
        false
    }

    /// The columns of a table's key that are of one of some kinds.
    pub(super) async fn key(&mut self, table: &str, kinds: &[&str]) -> BTreeSet<bytes::Bytes> {
        let keyspace = self.theirs.keyspace().unwrap_or_default().to_owned();
        let mut key = BTreeSet::new();
        for kind in kinds {
            let columns = format!(
                "SELECT column_name FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = '{table}' AND kind = '{kind}' ALLOW FILTERING"
            );
            key.extend(names(&mut self.theirs, &columns).await);
        }
        key
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
        for first in relations.iter().filter(|one| is_of_the_first(&one.text)) {
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
}

/// The rows that a server finds by some relations.
pub(super) async fn rows_by(
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
pub(super) async fn rows_of(
    asker: &mut Asker,
    columns: &str,
    from: &str,
    step: &Step,
) -> Option<Table> {
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

/// The rows of one table that another one lacks.
pub(super) fn only_in(one: &Table, other: &Table) -> Vec<Row> {
    let rows = one.rows.iter().filter(|row| !other.rows.contains(row));
    rows.cloned().collect()
}

/// Whether some rows are so many of all as a LIMIT says, from the first on.
fn are_the_first(some: &Table, all: &Table, limit: usize) -> bool {
    all.rows.starts_with(&some.rows) && some.rows.len() == limit.min(all.rows.len())
}

/// Whether a column, its values or its keys are among what indexes are over.
pub(super) fn is_target(indexed: &BTreeSet<bytes::Bytes>, column: &str) -> bool {
    let targets = [
        column,
        &format!("values({column})"),
        &format!("keys({column})"),
    ];
    let mut targets = targets.iter();
    targets.any(|target| indexed.contains(target.as_bytes()))
}

/// Whether the first answer has only rows of the second one, and fewer.
fn lacks_rows(theirs: &Reply, ours: &Reply) -> bool {
    let (Answer::Rows(theirs), Answer::Rows(ours)) = (&theirs.answer, &ours.answer) else {
        return false;
    };
    let mut left: Vec<_> = ours.rows.iter().collect();
    let mut is_ours = |row: &Row| {
        let place = left
            .iter()
            .position(|own| compare::alike_rows(&ours.columns, row, own));
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
