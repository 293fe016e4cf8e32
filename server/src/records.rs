//! Small records of the server's own: what it must remember beside the schema, under the service's key.
//!
//! ```text
//! system_palladium.schema    one partition for each kind of record; clustering: the record's name, as bytes; one column: its value
//!
//! "records"      "keyring"                    how many edits the keyring has seen, and which file it was    keyring_record
//! "records"      "subscriber"                 who the key services are told subscribes        subscriber
//! "keyring_keys" a key of the keyring           what was seen of it last                        keyring_changes
//! "grants"       table id, purpose, KMS key   a grant that this server has made              keys::grants
//! "table_keys"   table id, version            when a table key was made, and when retired    keys::versions
//! "index_builds" table id, store              the token that a build of an index or a view has come to    derived::build
//! "roles"        kinds of their own           roles, memberships, permissions, identities    auth::store
//! ```
//!
//! What must hold: a change is one write, durable when it is answered; the schema's table must be open. A kind holds what memory can hold at once.

use bytes::Bytes;
use palladium_storage::verify::TableReader;
use palladium_storage::{
    Backend, Clustering, ColumnId, Deletion, Engine, Mutation, PartitionKey, ReadCommand, ReadPage,
    Result, Row, Write,
};

use crate::service_table::{self, SCHEMA_TABLE};

const VALUE: ColumnId = ColumnId(1);

/// A record's name and what it holds now; None: it is removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Writes and removes records of one kind, all or none.
pub async fn write<B: Backend>(
    engine: &Engine<B>,
    kind: &'static str,
    changes: Vec<Change>,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mutation = mutation(kind, changes, engine.next_timestamp());
    let results = engine.write(vec![Write::new(vec![mutation])]).await;
    results.into_iter().next().unwrap_or(Ok(()))
}

/// The mutation that writes and removes records of one kind, at `timestamp` microseconds: for those that belong into one log group with more.
pub fn mutation(kind: &'static str, changes: Vec<Change>, timestamp: i64) -> Mutation {
    let rows = changes
        .into_iter()
        .map(|(name, value)| row(name, value, timestamp))
        .collect();
    service_table::mutation(SCHEMA_TABLE, partition(kind), rows)
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
    service_table::whole_partition(SCHEMA_TABLE, partition(kind), &[VALUE], now)
}

fn records(page: ReadPage) -> Vec<(Bytes, Bytes)> {
    let rows = page
        .partitions
        .into_iter()
        .flat_map(|partition| partition.rows);
    let records = rows.filter_map(|row| {
        // A copy: a record that is kept must not keep the block that it was read from.
        let value = Bytes::copy_from_slice(service_table::value(&row, VALUE)?);
        Some((row.clustering.0, value))
    });
    records.collect()
}

fn row(name: Vec<u8>, value: Option<Vec<u8>>, timestamp: i64) -> Row {
    match value {
        Some(value) => service_table::row(name.into(), timestamp, vec![(VALUE, value.into())]),
        None => Row {
            clustering: Clustering(name.into()),
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
    service_table::partition(kind.as_bytes())
}
