//! Tombstones that a SELECT reads past: past one number it warns, past another it gives up, as Cassandra does and in its words.
//!
//! Counted for each partition that is named, or for the range of a page: what Cassandra reads as one command.

use palladium_protocol::types::CqlType;
use palladium_storage::{ReadPage, ReadRows};

use super::{Keys, Select};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::Limit;
use crate::instruments::note_passed;
use crate::query::analyze::restrictions::{Alternatives, Constraint, End, Partition, Test};
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::functions::text;
use crate::schema::Column;

/// What the limits are where there is none.
const NO_LIMIT: u32 = u32::MAX;
/// Bytes of the query that a warning shows.
const QUERY_BYTES_MAX: usize = 512;

/// What was read so far.
#[derive(Default)]
pub(super) struct Passed {
    tombstones: u64,
    rows: u64,
    /// The token of the partition read last.
    token: i64,
}

impl Select {
    /// How many more may be read past before it is too much: so many are looked for, and one more.
    pub(super) fn tombstones_left(&self) -> u64 {
        let bounds = self.database.guardrails.bounds(Limit::Tombstones);
        let most = bounds.fail.unwrap_or(u64::MAX);
        most.saturating_sub(self.passed.tombstones)
    }

    /// Adds a page, and gives up if that is too much.
    pub(super) fn count_tombstones(&mut self, page: &ReadPage<ReadRows>) -> CqlResult<()> {
        let rows = page.partitions.iter().map(|one| one.rows.len() as u64);
        let rows = rows.sum::<u64>();
        note_passed(rows, page.hidden.tombstones);
        self.passed.tombstones += page.hidden.tombstones;
        self.passed.rows += rows;
        if let Some(partition) = page.partitions.last() {
            self.passed.token = partition.key.token().0;
        }
        let bounds = self.database.guardrails.bounds(Limit::Tombstones);
        match bounds.fail.filter(|most| self.passed.tombstones > *most) {
            None => Ok(()),
            Some(most) => {
                // Cassandra stops at the first one too many.
                self.passed.tombstones = most + 1;
                self.warn_of_tombstones();
                let node = self.database.config.listen.ip();
                Err(CqlError::too_many_tombstones(
                    self.settings.consistency,
                    node,
                ))
            }
        }
    }

    /// The partition or the range is read: says how many there were, if they were many.
    pub(super) fn warn_of_tombstones(&mut self) {
        let passed = std::mem::take(&mut self.passed);
        let bounds = self.database.guardrails.bounds(Limit::Tombstones);
        if bounds.warn.is_none_or(|most| passed.tombstones <= most) {
            return;
        }
        let mut query = self.as_cassandra_prints_it();
        let end = (0..=QUERY_BYTES_MAX.min(query.len()))
            .rev()
            .find(|end| query.is_char_boundary(*end));
        query.truncate(end.unwrap_or(0));
        let token = match &self.keys {
            Keys::Named(keys) => keys
                .get(self.next_key)
                .map_or(passed.token, |key| key.token().0),
            _ => passed.token,
        };
        self.warnings.push(format!(
            "Read {} live rows and {} tombstone cells for query {query}; token {token} (see tombstone_warn_threshold)",
            passed.rows, passed.tombstones
        ));
    }

    /// The command, as its own client is told of it. Tuples, and several values of one clustering column, are left out.
    fn as_cassandra_prints_it(&self) -> String {
        let plan = self.plan();
        let table = &plan.table;
        let mut text = format!("SELECT {} FROM {}", self.read_columns(), table.full_name());
        let restrictions = self.restrictions();
        if !restrictions.is_empty() {
            text += &format!(" WHERE {}", restrictions.join(" AND "));
        }
        if plan.reversed {
            let columns = table.clustering_columns().iter();
            let columns = columns.map(|column| match column.reversed {
                true => format!("{} ASC", column.name),
                false => format!("{} DESC", column.name),
            });
            let columns: Vec<String> = columns.collect();
            text += &format!(" ORDER BY {}", columns.join(", "));
        }
        // What is left of no limit is none either, however many rows were read.
        let left = plan.limit.as_ref().map_or(NO_LIMIT, |_| self.left);
        let limit = left.min(self.settings.page_size.unwrap_or(NO_LIMIT));
        let per_partition = match plan.distinct {
            true => 1,
            false => self.per_partition,
        };
        if limit != NO_LIMIT {
            text += &format!(" LIMIT {limit}");
        }
        if per_partition != NO_LIMIT {
            text += &format!(" PER PARTITION LIMIT {per_partition}");
        }
        if limit == NO_LIMIT && per_partition == NO_LIMIT && plan.is_aggregate() {
            // Limits of an aggregate that has none are an empty text.
            text.push(' ');
        }
        text + " ALLOW FILTERING"
    }

    /// The columns beside the key that are shown or tried; all of them where that is none.
    fn read_columns(&self) -> String {
        let plan = self.plan();
        let columns = &plan.table.columns;
        let is_read = |place: usize, column: &Column| {
            let mut filters = plan.restrictions.filters.iter();
            !column.kind.is_primary_key()
                && (plan.specs.iter().any(|spec| spec.name == column.name)
                    || filters.any(|filter| filter.columns.contains(&place)))
        };
        let names = columns.iter().enumerate();
        let names = names.filter(|(place, column)| is_read(*place, column));
        let names: Vec<&str> = names.map(|(_, column)| column.name.as_str()).collect();
        match names.is_empty() || plan.specs.len() == columns.len() {
            true => "*".to_owned(),
            false => names.join(", "),
        }
    }

    /// What WHERE says, with its values.
    fn restrictions(&self) -> Vec<String> {
        let plan = self.plan();
        let table = &plan.table;
        let moment = self.moment(&self.database);
        let scope = Scope::of_values(&self.bound, &moment);
        let constant = |value: &Expression, ty: &CqlType| match value.evaluate(&scope) {
            Ok(Bound::Value(value)) => Some(text::constant(ty, &value)),
            _ => None,
        };
        let mut all = Vec::new();
        if let Keys::Named(keys) = &self.keys
            && let Some(key) = keys.get(self.next_key)
            && let Ok(values) = key::partition_values(key, table.partition_key.len())
        {
            let columns = table.partition_columns().iter().zip(&values);
            all.extend(columns.map(|(column, value)| {
                format!("{} = {}", column.name, text::constant(&column.ty, value))
            }));
        }
        let between = |name: &str, ty: &CqlType, lower: &Option<End>, upper: &Option<End>| {
            let end = |end: &Option<End>, sign: &str| {
                let end = end.as_ref()?;
                let or_equal = if end.inclusive { "=" } else { "" };
                Some(format!(
                    "{name} {sign}{or_equal} {}",
                    constant(&end.value, ty)?
                ))
            };
            [end(lower, ">"), end(upper, "<")].into_iter().flatten()
        };
        if let Partition::Token { lower, upper } = &plan.restrictions.partition {
            let names = table.partition_columns().iter();
            let names: Vec<&str> = names.map(|column| column.name.as_str()).collect();
            let name = format!("token({})", names.join(", "));
            all.extend(between(&name, &CqlType::Bigint, lower, upper));
        }
        for part in plan
            .restrictions
            .clustering
            .iter()
            .filter(|part| !part.tuple)
        {
            let column = &table.clustering_columns()[part.first];
            match &part.constraint {
                Constraint::Among(Alternatives::One(value)) => {
                    let value = constant(value, &column.ty);
                    all.extend(value.map(|value| format!("{} = {value}", column.name)));
                }
                Constraint::Among(_) => {}
                Constraint::Between { lower, upper } => {
                    all.extend(between(&column.name, &column.ty, lower, upper));
                }
            }
        }
        for filter in plan
            .restrictions
            .filters
            .iter()
            .filter(|filter| !filter.tuple)
        {
            let Some(column) = filter.columns.first().map(|place| &table.columns[*place]) else {
                continue;
            };
            let name = &column.name;
            let (keys, elements) = match column.ty.bare() {
                CqlType::Map(key, value) => (&**key, &**value),
                CqlType::List(element) | CqlType::Set(element) => (&**element, &**element),
                ty => (ty, ty),
            };
            let printed = |value: &Expression, ty: &CqlType, what: &str| {
                Some(format!("{name}{what} {}", constant(value, ty)?))
            };
            all.extend(match &filter.test {
                Test::Compare(operator, value) => {
                    printed(value, &column.ty, &format!(" {}", operator.symbol()))
                }
                Test::Contains(value) => printed(value, elements, " CONTAINS"),
                Test::ContainsKey(value) => printed(value, keys, " CONTAINS KEY"),
                Test::Element {
                    key,
                    operator,
                    value,
                } => constant(key, keys).and_then(|key| {
                    printed(value, elements, &format!("[{key}] {}", operator.symbol()))
                }),
                Test::In(Alternatives::Several(values)) => {
                    let values = values.iter().map(|value| constant(value, &column.ty));
                    let values: Option<Vec<String>> = values.collect();
                    values.map(|values| format!("{name} IN [{}]", values.join(", ")))
                }
                Test::In(_) => None,
            });
        }
        all
    }
}
