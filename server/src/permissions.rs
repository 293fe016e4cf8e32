//! Who may do what. While roles are off, everybody may do everything; each question has its place already.

use palladium_crypto::CmkRef;

use crate::audit::Asker;
use crate::error::CqlResult;
use crate::schema::TableSchema;

/// Whether somebody may put a table under a key, or take one away from under it: `GRANT USE ON KEY '...' TO role`.
///
/// Asked for the key that a statement names, for the key that an alias leads to, and for the key that a table leaves.
pub fn may_use_key(_asker: &Asker, _key: &CmkRef) -> CqlResult<()> {
    Ok(())
}

/// Whether somebody sees the values of a table's masked columns: `GRANT UNMASK ON TABLE ... TO role`.
pub fn may_unmask(_asker: &Asker, _table: &TableSchema) -> bool {
    true
}

/// Whether somebody may restrict a table's masked columns without seeing their values: `GRANT SELECT_MASKED ON TABLE ... TO role`.
pub fn may_select_masked(_asker: &Asker, _table: &TableSchema) -> bool {
    true
}
