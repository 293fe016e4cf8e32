//! Grants: a key service's own record that this server may use a key for one table.
//!
//! As Keyspaces and QLDB do it: two for each table, one for use and one that protects snapshots, made when a table comes under a key and
//! retired after it has left. A provider shows its grants ([`Kms::grants`](super::Kms::grants)) only if the operator gave it a credential
//! of its own for them: a server whose ordinary credential could grant itself the key again could not be locked out.
//!
//! What must hold:
//! - A grant is bound to the encryption context of its table: it opens no other table.
//! - A grant holds for the calls that follow its making at once, even where the service spreads it slowly (AWS gives a token for that;
//!   the provider keeps it and sends it along).
//! - A grant that the key's owner revoked makes a call fail as `Denied` with `GrantRevoked` where the service tells, and `AccessDenied`
//!   where it does not.
//! - The service's limit on grants is `Invalid`, with the service's words.

use serde::{Deserialize, Serialize};

use super::Answering;
use crate::keys::{CmkRef, EncryptionContext};

/// What a service calls a grant.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct GrantId(pub String);

/// What a grant is for.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub enum GrantPurpose {
    /// Reading and writing the table; retired when it is dropped or leaves the key.
    Use,
    /// Restoring snapshots of the table; retired some weeks later.
    Snapshot,
}

/// What a grant allows.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Serialize, Deserialize)]
pub enum GrantOperation {
    /// `Kms::describe`
    Describe,
    /// `Kms::generate_data_key`
    Generate,
    /// `Kms::decrypt`
    Decrypt,
    /// `Kms::encrypt`
    Encrypt,
    /// `Grants::retire_grant`
    Retire,
}

/// A grant to be made.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct GrantRequest {
    /// A name for the eyes of the key's owner. A request that is repeated with the same name and content gives the same grant.
    pub name: String,
    /// What it allows.
    pub operations: Vec<GrantOperation>,
    /// The only context that it allows it for.
    pub context: EncryptionContext,
}

/// A grant that exists.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Grant {
    /// The service's name for it.
    pub id: GrantId,
    /// The name it was made with.
    pub name: String,
}

/// The grants of a key service.
pub trait Grants: Send + Sync {
    /// Makes a grant for this server.
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId>;

    /// Ends a grant. One that is gone already is no error.
    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()>;

    /// The grants that this server has on a key.
    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>>;
}
