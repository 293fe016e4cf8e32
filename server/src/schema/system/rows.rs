//! Rows made on demand, in the form that storage reads: values by column name become partitions of a memtable.
//!
//! Partitions come in the order of their tokens. Those of Cassandra's virtual keyspaces come in the order of their keys, as they do there: each partition's
//! place among them stands in for its token, unless tokens are asked for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use palladium_protocol::types::CqlValue;
use palladium_storage::memtable::Memtable;
use palladium_storage::read::{Merge, PageBuilder, run};
use palladium_storage::{
    Fault, KeyRange, PartitionKey, PartitionUpdate, ReadCommand, ReadPage, Row, Token,
};

use super::super::{Column, TableSchema};
use crate::encode::cell::{self, Stamp};
use crate::encode::key;
use crate::error::CqlResult;

/// A value of one column of one row; a column that is not named, or named with None, is null.
pub type Named = (&'static str, Option<CqlValue>);

/// The rows of one table that somebody asks for. A driver asks for one table of thousands each time that one changes: rows that are outside of what is asked
/// for are not kept, and who makes many looks first ([`Rows::are_asked_for`]).
pub struct Rows<'a> {
    table: &'a TableSchema,
    command: &'a ReadCommand,
    /// The values of each key, so that rows can be sorted by them.
    added: Vec<(Vec<Bytes>, PartitionKey, PartitionUpdate)>,
    stamp: Stamp,
}

impl<'a> Rows<'a> {
    /// No rows yet; those that come will have been written at the command's `now`.
    pub fn new(table: &'a TableSchema, command: &'a ReadCommand) -> Self {
        Rows {
            table,
            command,
            added: Vec::new(),
            stamp: Stamp {
                timestamp: command.now.saturating_mul(1_000_000),
                ttl: 0,
                now: command.now,
            },
        }
    }

    /// Whether rows may be asked for whose keys begin with these texts: all of the partition key, and some of the clustering.
    pub fn are_asked_for(&self, names: &[&str]) -> bool {
        let values: Vec<Bytes> = names
            .iter()
            .map(|name| Bytes::copy_from_slice(name.as_bytes()))
            .collect();
        let Some((partition, clustering)) = values.split_at_checked(self.table.partition_key.len())
        else {
            return true;
        };
        if !key::partition_key(partition).is_ok_and(|key| self.has_asked_for(&key)) {
            return false;
        }
        let columns = self.table.clustering_columns();
        let bound = |after| key::bound(columns, clustering, after);
        let (Ok(start), Ok(end)) = (bound(false), bound(true)) else {
            return true;
        };
        let slices = self.command.slices.as_slice();
        slices.iter().any(|(from, to)| *from < end && start < *to)
    }

    fn has_asked_for(&self, partition: &PartitionKey) -> bool {
        match &self.command.range {
            KeyRange::One(only) => only == partition,
            KeyRange::Range { .. } => true,
        }
    }

    /// Adds a row, if it is asked for. Its key columns must have values.
    pub fn add(&mut self, values: Vec<Named>) -> CqlResult<()> {
        let value = |column: &Column| {
            let named = values.iter().find(|(name, _)| *name == column.name);
            named
                .and_then(|(_, value)| value.as_ref())
                .map(|value| Bytes::from(value.to_bytes()))
        };
        let key_values = |columns: &[Column]| -> Vec<Bytes> {
            columns
                .iter()
                .map(|column| value(column).unwrap_or_default())
                .collect()
        };
        let names = key_values(self.table.partition_columns());
        let partition = key::partition_key(&names)?;
        let columns = self.table.clustering_columns();
        let (clustering, _) = key::clustering(columns, &key_values(columns))?;
        if !self.has_asked_for(&partition) || !self.command.slices.contains(&clustering.0) {
            return Ok(());
        }
        let mut cells = Vec::new();
        for column in self.table.regular_columns() {
            let Some(value) = value(column) else {
                continue;
            };
            match column.ty.is_multi_cell() {
                true => {
                    cell::complex_cells(&column.ty, column.id, &value, &self.stamp, &mut cells)?
                }
                false => cells.push(self.stamp.cell(
                    column.id,
                    Bytes::new(),
                    self.stamp.live(value),
                )),
            }
        }
        cells.sort_by(|a, b| a.column.cmp(&b.column).then_with(|| a.path.cmp(&b.path)));
        let row = Row {
            clustering,
            liveness: Some(self.stamp.liveness()),
            deletion: None,
            complex_deletions: Vec::new(),
            cells,
        };
        let update = PartitionUpdate {
            deletion: None,
            static_row: None,
            rows: vec![row],
            range_tombstones: Vec::new(),
        };
        self.added.push((names, partition, update));
        Ok(())
    }

    /// How many rows were added and kept.
    #[cfg(test)]
    pub fn made(&self) -> usize {
        self.added.len()
    }

    /// Reads them as any other table is read, or a part of what was asked for.
    pub fn read(&self, command: &ReadCommand) -> CqlResult<ReadPage> {
        let memtable = Memtable::new();
        let is_sorted = ["system_views", "system_virtual_schema"]
            .contains(&self.table.keyspace.as_str())
            && (command.range == KeyRange::all() || matches!(command.range, KeyRange::One(_)));
        let mut command = command.clone();
        if is_sorted {
            let places = Places::of(self);
            for (_, key, update) in &self.added {
                memtable.apply(&places.place(key), update)?;
            }
            if let KeyRange::One(key) = &mut command.range {
                *key = places.place(key);
            }
            if let Some(position) = &mut command.resume {
                position.key = places.place(&position.key);
            }
        } else {
            for (_, key, update) in &self.added {
                memtable.apply(key, update)?;
            }
        }
        let mut merge = Merge::new(vec![memtable.cursor()]);
        let mut page = PageBuilder::new();
        loop {
            return match run(&mut merge, &command, &mut page) {
                Ok(page) => Ok(page.decoded()?),
                // They are few.
                Err(Fault::Turn) => continue,
                Err(fault) => Err(fault.without_blocks().into()),
            };
        }
    }
}

/// The keys of a table in order, each once.
struct Places<'a> {
    keys: Vec<&'a [Bytes]>,
    columns: usize,
}

impl<'a> Places<'a> {
    fn of(rows: &'a Rows<'_>) -> Self {
        let mut keys: Vec<&[Bytes]> = rows.added.iter().map(|(key, ..)| &key[..]).collect();
        keys.sort();
        keys.dedup();
        Places {
            keys,
            columns: rows.table.partition_key.len(),
        }
    }

    /// A key with its place among them in place of its token. One that has gone since the last page lies where it would be.
    fn place(&self, key: &PartitionKey) -> PartitionKey {
        let Ok(values) = key::partition_values(key, self.columns) else {
            return key.clone();
        };
        // The even ones are taken.
        let token = match self.keys.binary_search(&&values[..]) {
            Ok(place) => place as i64 * 2,
            Err(place) => place as i64 * 2 - 1,
        };
        PartitionKey::new(Token(token), key.bytes().clone())
    }
}

pub fn text(value: impl Into<String>) -> Option<CqlValue> {
    Some(CqlValue::Text(value.into()))
}

pub fn int(value: i32) -> Option<CqlValue> {
    Some(CqlValue::Int(value))
}

pub fn double(value: f64) -> Option<CqlValue> {
    Some(CqlValue::Double(value))
}

pub fn boolean(value: bool) -> Option<CqlValue> {
    Some(CqlValue::Boolean(value))
}

pub fn uuid(bytes: [u8; 16]) -> Option<CqlValue> {
    Some(CqlValue::Uuid(uuid::Uuid::from_bytes(bytes)))
}

pub fn texts(values: impl IntoIterator<Item = String>) -> Option<CqlValue> {
    Some(CqlValue::List(
        values.into_iter().map(CqlValue::Text).collect(),
    ))
}

pub fn text_set(values: impl IntoIterator<Item = String>) -> Option<CqlValue> {
    let sorted: BTreeSet<String> = values.into_iter().collect();
    Some(CqlValue::Set(
        sorted.into_iter().map(CqlValue::Text).collect(),
    ))
}

pub fn text_map(entries: &BTreeMap<String, String>) -> Option<CqlValue> {
    let entries = entries.iter();
    Some(CqlValue::Map(
        entries
            .map(|(name, value)| (CqlValue::Text(name.clone()), CqlValue::Text(value.clone())))
            .collect(),
    ))
}
