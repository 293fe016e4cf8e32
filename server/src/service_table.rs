//! Tables of the server's own: sealed under keys that come from the service's key, known by a fixed id, and in no schema.
//!
//! | table | holds |
//! |---|---|
//! | `palladium.schema` | the schema, and the newest state of the keyring that was seen |
//! | `palladium.events` | the audit trail |
//! | `palladium.shreds` | certificates of destroyed tables |
//!
//! What must hold: whatever looks for tables that nobody names knows these.

use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{KeyRing, TableId, TableKey};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, KeyRange, Lease, Limits, Liveness, Mutation,
    NewTable, PartitionKey, PartitionUpdate, ReadCommand, Row, Slices, Store, TableKeys,
    TableOptions,
};

use crate::Engine;
use crate::encode::key;
use crate::service_key::ServiceKey;

/// The schema.
pub const SCHEMA_TABLE: TableId = TableId(*b"palladium.schema");
/// The audit trail.
pub const EVENTS_TABLE: TableId = TableId(*b"palladium.events");
/// Certificates of destroyed tables.
pub const SHREDS_TABLE: TableId = TableId(*b"palladium.shreds");

/// All of them.
pub const ALL: [TableId; 3] = [SCHEMA_TABLE, EVENTS_TABLE, SHREDS_TABLE];

/// What such a table is called where tables are listed.
pub fn name(id: TableId) -> Option<&'static str> {
    match id {
        SCHEMA_TABLE => Some("schema"),
        EVENTS_TABLE => Some("events"),
        SHREDS_TABLE => Some("shreds"),
        _ => None,
    }
}

/// The keys of such a table.
pub fn ring(service: &ServiceKey, id: TableId) -> KeyRing {
    let key = TableKey::for_system_table(service.ring.active(), id);
    KeyRing::new(key, Vec::new())
}

/// Opens such a table; makes it if the folder has none.
pub async fn open(
    engine: &Engine,
    service: &ServiceKey,
    id: TableId,
    options: TableOptions,
) -> palladium_storage::Result<()> {
    let keys = TableKeys {
        ring: Arc::new(ring(service, id)),
        lease: Lease::FOREVER,
    };
    if engine.has_table(id) {
        engine.set_options(id, options)?;
        return engine.unlock(id, keys).await;
    }
    let new = NewTable {
        id,
        options,
        root: None,
        keys,
    };
    engine.create_table(new).await
}

/// A partition by the bytes of its key.
pub fn partition(bytes: impl Into<Bytes>) -> PartitionKey {
    key::partition_key(&[bytes.into()]).expect("a short text is a partition key")
}

/// Reads a whole partition of such a table.
pub fn whole_partition(
    table: TableId,
    partition: PartitionKey,
    columns: &[ColumnId],
    now: i64,
) -> ReadCommand {
    ReadCommand {
        table,
        store: Store::BASE,
        range: KeyRange::One(partition),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: columns.to_vec(),
            statics: Vec::new(),
        }),
        limits: Limits::NONE,
        resume: None,
        now,
    }
}

/// A row of plain cells, written at `timestamp`.
pub fn row(clustering: Bytes, timestamp: i64, cells: Vec<(ColumnId, Bytes)>) -> Row {
    Row {
        clustering: Clustering(clustering),
        liveness: Some(Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        }),
        deletion: None,
        complex_deletions: Vec::new(),
        cells: cells
            .into_iter()
            .map(|(column, value)| Cell {
                column,
                path: Bytes::new(),
                timestamp,
                state: CellState::Live(value),
            })
            .collect(),
    }
}

/// The value of a row's column.
pub fn value(row: &Row, column: ColumnId) -> Option<&Bytes> {
    match &row.cell(column)?.state {
        CellState::Live(bytes) => Some(bytes),
        _ => None,
    }
}

/// Rows of one partition, put into one mutation.
pub fn mutation(table: TableId, key: PartitionKey, mut rows: Vec<Row>) -> Mutation {
    rows.sort_by(|a, b| a.clustering.cmp(&b.clustering));
    Mutation {
        table,
        store: Store::BASE,
        key,
        update: PartitionUpdate {
            rows,
            ..PartitionUpdate::default()
        },
    }
}
