//! The catalog: every keyspace with its tables and user types, as one value that never changes.
//!
//! What must hold: names are as stored (case already folded by the parser), and the digest differs between any two
//! catalogs that differ: drivers compare it to learn whether nodes agree, prepared statements to learn whether they still hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_crypto::TableId;
pub use palladium_protocol::types::UserType;
use uuid::Uuid;

use super::{Definition, TableSchema};
use crate::error::{CqlError, CqlResult};

/// A snapshot of the schema.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub keyspaces: BTreeMap<String, Arc<Keyspace>>,
    /// Drawn from all definitions, by `store::digest_after`.
    pub digest: u128,
    /// The timestamp of the newest change, in microseconds. The next one is later, whatever the clock says by then.
    pub changed_at: i64,
}

/// Who may change a keyspace, and where its tables live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyspaceKind {
    User,
    /// Ours, stored under the service's key.
    System,
    /// Rows are made when somebody asks.
    Virtual,
}

#[derive(Debug, Clone)]
pub struct Keyspace {
    pub name: String,
    /// `class` and what belongs to it, as `system_schema.keyspaces` shows them.
    pub replication: BTreeMap<String, String>,
    pub durable_writes: bool,
    /// Amazon Keyspaces': kept and shown.
    pub tags: BTreeMap<String, String>,
    pub tables: BTreeMap<String, Arc<TableSchema>>,
    pub types: BTreeMap<String, Arc<UserType>>,
    pub kind: KeyspaceKind,
}

impl Catalog {
    /// What `system.local` shows as `schema_version`.
    pub fn version(&self) -> Uuid {
        uuid::Builder::from_custom_bytes(self.digest.to_be_bytes()).into_uuid()
    }

    pub fn keyspace(&self, name: &str) -> Option<&Arc<Keyspace>> {
        self.keyspaces.get(name)
    }

    pub fn table(&self, keyspace: &str, table: &str) -> Option<&Arc<TableSchema>> {
        self.keyspaces.get(keyspace)?.table_or_view(table)
    }

    pub fn user_type(&self, keyspace: &str, name: &str) -> Option<&Arc<UserType>> {
        self.keyspaces.get(keyspace)?.types.get(name)
    }

    /// The table with this id; a walk over all tables, for the rare callers that know no name.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableSchema>> {
        self.keyspaces
            .values()
            .flat_map(|keyspace| keyspace.tables.values())
            .find(|table| table.id == id)
    }

    /// The tables that belong to users, in the order of their names.
    pub fn customer_tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        let users = self
            .keyspaces
            .values()
            .filter(|keyspace| keyspace.kind == KeyspaceKind::User);
        users.flat_map(|keyspace| keyspace.tables.values())
    }

    /// Puts a changed definition in the place of a table that is there.
    pub fn replace_table(&mut self, definition: Definition) {
        if let Some(keyspace) = self.keyspaces.get_mut(&definition.keyspace) {
            let changed = Arc::new(TableSchema::new(definition));
            let tables = &mut Arc::make_mut(keyspace).tables;
            tables.insert(changed.name.clone(), changed);
        }
    }

    /// The table, or the error Cassandra gives when it or its keyspace is not there.
    pub fn require_table(&self, keyspace: &str, table: &str) -> CqlResult<&Arc<TableSchema>> {
        if keyspace.is_empty() {
            return Err(CqlError::invalid(NO_KEYSPACE));
        }
        let Some(found) = self.keyspaces.get(keyspace) else {
            return Err(CqlError::invalid(format!(
                "keyspace {keyspace} does not exist"
            )));
        };
        found
            .table_or_view(table)
            .ok_or_else(|| CqlError::invalid(format!("table {table} does not exist")))
    }
}

impl Keyspace {
    /// The table of a name, or the view.
    pub fn table_or_view(&self, name: &str) -> Option<&Arc<TableSchema>> {
        let views = || self.tables.values().flat_map(|table| &table.views);
        let view = || views().find(|view| view.name == name);
        self.tables.get(name).or_else(view)
    }

    /// A keyspace without tables.
    pub fn new(name: impl Into<String>, kind: KeyspaceKind) -> Self {
        Keyspace {
            name: name.into(),
            replication: BTreeMap::new(),
            durable_writes: true,
            tags: BTreeMap::new(),
            tables: BTreeMap::new(),
            types: BTreeMap::new(),
            kind,
        }
    }
}

/// What a statement without a keyspace is told before USE.
pub const NO_KEYSPACE: &str =
    "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename";
