//! The key services that this build knows, one line each.
//!
//! The keyring is not among them: the server holds it in any case, as the place of its own key.

use std::sync::Arc;

use super::{BoxFuture, Kms};
use crate::error::Result;

/// What the operator says of a service: the table `[kms.NAME]` of the configuration, for the service to read.
pub type Settings = serde_json::Value;

/// The future of a service.
pub type Opening = BoxFuture<'static, Result<Arc<dyn Kms>>>;

/// A kind of key service.
pub struct KeyServiceKind {
    /// What the names of its keys start with ([`CmkRef::provider`](crate::CmkRef::provider)), and the name of its table of settings.
    pub provider: &'static str,
    /// Reads the settings and makes the client. Asks the service nothing: it may be down.
    pub open: fn(Settings) -> Opening,
}

/// All kinds.
pub fn key_service_kinds() -> &'static [KeyServiceKind] {
    &[
        #[cfg(feature = "kms-aws")]
        super::aws::KIND,
        #[cfg(feature = "kms-kmip")]
        super::kmip::KIND,
        #[cfg(feature = "kms-pkcs11")]
        super::pkcs11::KIND,
        #[cfg(feature = "kms-vault")]
        super::vault::KIND,
    ]
}
