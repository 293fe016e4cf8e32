//! Small records of the server's own: what it must remember beside the schema, under the service's key.
//!
//! ```text
//! system_palladium.schema    one partition for each kind of record; clustering: the record's name, as bytes; one column: its value
//!
//! "records"      "keyring"                    how many edits the keyring has seen            keyring_record
//! "grants"       table id, purpose, KMS key   a grant that this server has made              keys::grants
//! "table_keys"   table id, version            when a table key was made, and when retired    keys::lineage
//! ```
//!
//! What must hold: a change is one write, durable when it is answered; the schema's table must be open. A kind holds what memory can hold at once.

use std::sync::Arc;

use bytes::Bytes;
use palladium_storage::verify::TableReader;
use palladium_storage::{
    Backend, Cell, CellState, Clustering, ColumnId, Columns, Deletion, Engine, KeyRange, Limits,
    Liveness, Mutation, PartitionKey, PartitionUpdate, ReadCommand, ReadPage, Result, Row, Slices,
    Write,
};

use crate::encode::key;
use crate::service_table::SCHEMA_TABLE;

const VALUE: ColumnId = ColumnId(1);

/// A record's name and what it holds now; None: it is removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Writes and removes records of one kind, all or none.
pub async fn write<B: Backend>(
    engine: &Engine<B>,
    kind: &'static str,
    mut changes: Vec<Change>,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let timestamp = engine.next_timestamp();
    changes.sort();
    let rows = changes
        .into_iter()
        .map(|(name, value)| row(name, value, timestamp))
        .collect();
    let mutation = Mutation {
        table: SCHEMA_TABLE,
        key: partition(kind),
        update: PartitionUpdate {
            deletion: None,
            static_row: None,
            rows,
            range_tombstones: Vec::new(),
        },
    };
    let results = engine
        .write(vec![Write {
            mutations: vec![mutation],
        }])
        .await;
    results.into_iter().next().unwrap_or(Ok(()))
}

/// All records of a kind, by name.
pub async fn read<B: Backend>(
    engine: &Engine<B>,
    kind: &'static str,
) -> Result<Vec<(Bytes, Bytes)>> {
    let page = engine.read(command(kind, engine.now_seconds())).await?;
    Ok(records(page))
}

/// The same in a folder that is only looked at.
pub async fn read_looking<B: Backend>(
    reader: &TableReader,
    backend: &B,
    kind: &'static str,
) -> Result<Vec<(Bytes, Bytes)>> {
    let page = reader.read(backend, &command(kind, 0)).await?;
    Ok(records(page))
}

fn command(kind: &'static str, now: i64) -> ReadCommand {
    ReadCommand {
        table: SCHEMA_TABLE,
        range: KeyRange::One(partition(kind)),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: vec![VALUE],
            statics: Vec::new(),
        }),
        limits: Limits::NONE,
        resume: None,
        now,
    }
}

fn records(page: ReadPage) -> Vec<(Bytes, Bytes)> {
    let rows = page
        .partitions
        .into_iter()
        .flat_map(|partition| partition.rows);
    let records = rows.filter_map(|row| {
        let value = row.cells.into_iter().find_map(|cell| match cell.state {
            CellState::Live(value) => Some(Bytes::copy_from_slice(value.as_ref())),
            _ => None,
        })?;
        Some((row.clustering.0, value))
    });
    records.collect()
}

fn row(name: Vec<u8>, value: Option<Vec<u8>>, timestamp: i64) -> Row {
    let clustering = Clustering(name.into());
    match value {
        Some(value) => Row {
            clustering,
            liveness: Some(Liveness {
                timestamp,
                ttl: 0,
                expires_at: 0,
            }),
            deletion: None,
            complex_deletions: Vec::new(),
            cells: vec![Cell {
                column: VALUE,
                path: Bytes::new(),
                timestamp,
                state: CellState::Live(value.into()),
            }],
        },
        None => Row {
            clustering,
            liveness: None,
            deletion: Some(Deletion {
                timestamp,
                local_deletion_time: timestamp.div_euclid(1_000_000),
            }),
            complex_deletions: Vec::new(),
            cells: Vec::new(),
        },
    }
}

fn partition(kind: &'static str) -> PartitionKey {
    key::partition_key(&[Bytes::from_static(kind.as_bytes())])
        .expect("a short text is a partition key")
}
