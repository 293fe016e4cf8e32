//! The words for how a table and its key stand: Keyspaces' for the table, QLDB's for the key.
//!
//! | | ACTIVE | UPDATING | INACCESSIBLE_ENCRYPTION_CREDENTIALS |
//! |---|---|---|---|
//! | encryption | ENABLED | UPDATING | KMS_KEY_INACCESSIBLE |
//! | when | readable, or with the next request | something is still under an older key or data key | denied, or unanswered past the lease |
//!
//! A table is CREATING while its CREATE waits for its key service, and DELETING while its DROP destroys it: `system_schema_mcs.tables` shows it then, and nothing
//! else knows it. There is no RESTORE yet, so nothing is RESTORING.

use std::collections::BTreeMap;

use palladium_crypto::TableId;
use palladium_storage::Unsettled;

use super::super::TableSchema;
use super::super::turns::Doing;
use crate::database::Database;
use crate::keys::TableKeyStatus;

/// Tables of which a switch or a rewrite is under way: asked for once for all tables, because it waits for the manifest.
pub type Unfinished = BTreeMap<TableId, Unsettled>;

/// The status of a table that is not in the catalog, or not any more.
pub fn of_reserved(doing: Doing) -> Option<&'static str> {
    match doing {
        Doing::Creating => Some("CREATING"),
        Doing::Deleting => Some("DELETING"),
        Doing::Switching => None,
    }
}

/// The status of a table.
pub fn of_table(database: &Database, table: &TableSchema, unfinished: &Unfinished) -> &'static str {
    match of_key(database, table, unfinished) {
        "KMS_KEY_INACCESSIBLE" => "INACCESSIBLE_ENCRYPTION_CREDENTIALS",
        "UPDATING" => "UPDATING",
        _ => "ACTIVE",
    }
}

/// The status of its key.
pub fn of_key(database: &Database, table: &TableSchema, unfinished: &Unfinished) -> &'static str {
    match database.keys.status(table.id) {
        TableKeyStatus::Inaccessible(_) => "KMS_KEY_INACCESSIBLE",
        TableKeyStatus::Enabled if unfinished.contains_key(&table.id) => "UPDATING",
        TableKeyStatus::Enabled => "ENABLED",
    }
}
