//! Tombstones that a SELECT reads past: past one number it warns, past another it gives up, as Cassandra does and in its words.
//!
//! Counted for each partition that is named, or for the range of a page: what Cassandra reads as one command.

use palladium_storage::{ReadPage, ReadRows};

use super::{Keys, Select};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::Limit;
use crate::instruments::note_passed;
use crate::query::functions::text;

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
        note_passed(rows, page.tombstones);
        self.passed.tombstones += page.tombstones;
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

    /// The command, as its own client is told of it. Restrictions of the clustering are left out.
    fn as_cassandra_prints_it(&self) -> String {
        let plan = self.plan();
        let table = &plan.table;
        let is_all = plan.is_aggregate() || plan.specs.len() == table.columns.len();
        let shown = match is_all {
            true => "*".to_owned(),
            false => {
                let names: Vec<&str> = plan.specs.iter().map(|spec| spec.name.as_str()).collect();
                names.join(", ")
            }
        };
        let mut text = format!("SELECT {shown} FROM {}", table.full_name());
        if let Keys::Named(keys) = &self.keys
            && let Some(key) = keys.get(self.next_key)
            && let Ok(values) = key::partition_values(key, table.partition_key.len())
        {
            let parts: Vec<String> = table
                .partition_columns()
                .iter()
                .zip(&values)
                .map(|(column, value)| {
                    format!("{} = {}", column.name, text::constant(&column.ty, value))
                })
                .collect();
            text += &format!(" WHERE {}", parts.join(" AND "));
        }
        // What is left of no limit is none either, however many rows were read.
        let left = plan.limit.as_ref().map_or(NO_LIMIT, |_| self.left);
        let limit = left.min(self.settings.page_size.unwrap_or(NO_LIMIT));
        if limit != NO_LIMIT {
            text += &format!(" LIMIT {limit}");
        }
        text + " ALLOW FILTERING"
    }
}
