//! Views, and the base tables that they mirror: Cassandra's against its own, and ours against ours.

use super::Pair;
use super::contradiction::{READ_FAILURE, Row, only_in, rows_of};
use super::names;
use super::said::{plain, relations, table_of};
use crate::oracle::answer::Answer;
use crate::oracle::step::Step;
use crate::oracle::wire::{Asker, Request};

/// A view as Cassandra's own tables describe it.
struct View {
    keyspace: String,
    name: String,
    base: String,
    /// All columns of its key, as a statement selects them.
    key: String,
    partition_key: Vec<String>,
    /// What its rows have to be.
    filter: String,
}

impl Pair {
    /// Whether a view of Cassandra's has other rows than its base table has at Cassandra itself, where ours has just those.
    pub(super) async fn is_no_mirror(&mut self, step: &Step) -> bool {
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

    /// Whether the rows of a view in which the two differ are all of partitions of the base that Cassandra fails to read, where ours has in its view just what its
    /// own base says.
    pub(super) async fn is_of_unreadable_base(&mut self, step: &Step) -> bool {
        let (Some(view), Some((theirs, ours))) =
            (self.view(step).await, self.rows_of_where(step).await)
        else {
            return false;
        };
        if theirs.columns != ours.columns {
            return false;
        }
        let differing = [only_in(&theirs, &ours), only_in(&ours, &theirs)].concat();
        for row in &differing {
            let is_read = !matches!(
                self.partition_of(&view.base, &theirs.columns, row, step).await,
                Answer::Refused(refusal) if refusal.code == READ_FAILURE
            );
            if is_read {
                return false;
            }
        }
        !differing.is_empty() && self.mirrors(step, &view).await
    }

    /// Whether a view of ours has in all of its columns what its base has in them.
    async fn mirrors(&mut self, step: &Step, view: &View) -> bool {
        let Some(whole) = rows_of(&mut self.ours, "*", &view.name, step).await else {
            return false;
        };
        let columns = whole.columns.iter();
        let columns: Vec<String> = columns
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        let filters: Vec<&str> = view
            .filter
            .split(" AND ")
            .filter(|relation| !relation.ends_with(" IS NOT NULL"))
            .collect();
        let from = match filters.is_empty() {
            true => view.base.clone(),
            false => format!(
                "{} WHERE {} ALLOW FILTERING",
                view.base,
                filters.join(" AND ")
            ),
        };
        let Some(of_base) = rows_of(&mut self.ours, &columns.join(", "), &from, step).await else {
            return false;
        };
        let is_of_key = |place: &usize| {
            let name = columns[*place].as_str();
            view.key.split(", ").any(|column| column == name)
        };
        let key: Vec<usize> = (0..columns.len()).filter(is_of_key).collect();
        let has_place = |row: &Row| key.iter().all(|place| row[*place].is_some());
        let (mut of_base, mut of_view) = (of_base.rows, whole.rows);
        of_base.retain(has_place);
        of_base.sort();
        of_view.sort();
        of_base == of_view
    }

    /// Whether several partitions of a view are named whose key has a column that descends in the base, and both have the same rows in them.
    pub(super) async fn lists_descending_keys(&mut self, step: &Step) -> bool {
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
        let filters = about("where_clause", "views", "view_name");
        let bases = names(&mut self.theirs, &bases).await;
        let filters = names(&mut self.theirs, &filters).await;
        let columns = self.theirs.query(&Request::plain(&columns)).await;
        let (Some(base), Some(filter), Answer::Rows(columns)) =
            (bases.first(), filters.first(), columns.answer)
        else {
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
            filter: String::from_utf8_lossy(filter).into_owned(),
            keyspace,
        })
    }
}

/// The keys of a view that rows of a table have, in one order.
async fn keys_of(asker: &mut Asker, key: &str, table: &str, step: &Step) -> Option<Vec<Row>> {
    let mut rows = rows_of(asker, key, table, step).await?.rows;
    rows.retain(|row| row.iter().all(Option::is_some));
    rows.sort();
    Some(rows)
}
