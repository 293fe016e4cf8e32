//! Who may do what. While roles are off, everybody may do everything; each question has its place already.

use palladium_crypto::CmkRef;

use crate::audit::Asker;
use crate::error::CqlResult;

/// Whether somebody may put a table under a key, or take one away from under it: `GRANT USE ON KEY '...' TO role`.
///
/// Asked for the key that a statement names, for the key that an alias leads to, and for the key that a table leaves.
pub fn may_use_key(_asker: &Asker, _key: &CmkRef) -> CqlResult<()> {
    Ok(())
}
