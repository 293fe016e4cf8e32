//! What a refusal means for the caller.
//!
//! | reason                                                                      | meaning                          |
//! |-----------------------------------------------------------------------------|----------------------------------|
//! | Item Not Found, Object Not Found, Object Destroyed; nothing located         | denied: NotFound                 |
//! | State is Destroyed                                                          | denied: NotFound                 |
//! | State is not Active; Wrong Key Lifecycle State, Object Archived                     | denied: Disabled |
//! | Incompatible Cryptographic Usage Mask, to Decrypt; to anything else         | denied: Disabled; AccessDenied   |
//! | Permission Denied, Not Authorised                                           | denied: AccessDenied             |
//! | Operation, Feature, Cryptographic Parameters or Protocol Version not supported | unsupported                   |
//! | Server Limit Exceeded                                                       | unavailable: Throttled           |
//! | every other, Authentication Not Successful among them                       | unavailable: Unreachable         |

use super::words::{operation, reason, state};
use crate::error::{DenialReason, Error, UnavailableReason};

/// Why a request brought nothing.
pub(super) enum Refusal {
    /// The server answered no.
    Said(Said),
    /// There was no answer that makes sense.
    Broken(Error),
}

/// The server's no.
pub(super) struct Said {
    /// To what.
    pub operation: u32,
    pub reason: u32,
    pub message: String,
}

impl Refusal {
    /// The crate's error.
    pub fn meaning(self, key: &str) -> Error {
        match self {
            Refusal::Broken(error) => error,
            Refusal::Said(said) => said.meaning(key),
        }
    }

    /// May it be about the blob, and not about the key or the server?
    pub fn may_be_the_blob(&self) -> bool {
        matches!(
            self,
            Refusal::Said(Said {
                reason: reason::CRYPTOGRAPHIC_FAILURE
                    | reason::GENERAL_FAILURE
                    | reason::INVALID_FIELD
                    | reason::BAD_CRYPTOGRAPHIC_PARAMETERS
                    | reason::INTERNAL_SERVER_ERROR,
                ..
            })
        )
    }
}

impl Said {
    fn meaning(&self, key: &str) -> Error {
        let message = format!("{key}: {}: {}", reason::name(self.reason), self.message);
        match self.reason {
            reason::ITEM_NOT_FOUND | reason::OBJECT_NOT_FOUND | reason::OBJECT_DESTROYED => {
                Error::denied(DenialReason::NotFound, message)
            }
            reason::WRONG_KEY_LIFECYCLE_STATE | reason::OBJECT_ARCHIVED => {
                Error::denied(DenialReason::Disabled, message)
            }
            reason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK
                if self.operation == operation::DECRYPT =>
            {
                Error::denied(DenialReason::Disabled, message)
            }
            // A key that only encrypts no more locks no table.
            reason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK
            | reason::PERMISSION_DENIED
            | reason::NOT_AUTHORISED => Error::denied(DenialReason::AccessDenied, message),
            reason::OPERATION_NOT_SUPPORTED
            | reason::FEATURE_NOT_SUPPORTED
            | reason::UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS
            | reason::UNSUPPORTED_PROTOCOL_VERSION => Error::Unsupported(message),
            reason::SERVER_LIMIT_EXCEEDED => {
                Error::unavailable(UnavailableReason::Throttled, message)
            }
            _ => Error::unavailable(UnavailableReason::Unreachable, message),
        }
    }
}

/// What a state says, if it denies.
pub(super) fn denial_of(state: u32) -> Option<DenialReason> {
    match state {
        state::ACTIVE => None,
        state::DESTROYED | state::DESTROYED_COMPROMISED => Some(DenialReason::NotFound),
        _ => Some(DenialReason::Disabled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_the_list_denies() {
        for number in 0..0x200 {
            let said = Said {
                operation: operation::ENCRYPT,
                reason: number,
                message: String::new(),
            };
            let denied = matches!(said.meaning("kmip:id=1"), Error::Denied { .. });
            let listed = [0x01, 0x0c, 0x0d, 0x29, 0x36, 0x37, 0x39, 0x43].contains(&number);
            assert_eq!(denied, listed, "reason {number:#x}");
        }
    }

    #[test]
    fn a_usage_mask_takes_the_key_away_only_where_it_forbids_decrypting() {
        for (operation, wanted) in [
            (operation::DECRYPT, DenialReason::Disabled),
            (operation::ENCRYPT, DenialReason::AccessDenied),
        ] {
            let said = Said {
                operation,
                reason: reason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK,
                message: String::new(),
            };
            match said.meaning("kmip:id=1") {
                Error::Denied { reason, .. } => assert_eq!(reason, wanted),
                other => panic!("not denied, but: {other}"),
            }
        }
    }

    #[test]
    fn a_key_is_usable_only_while_it_is_active() {
        assert_eq!(denial_of(2), None);
        for state in [0, 1, 3, 4, 7] {
            assert_eq!(denial_of(state), Some(DenialReason::Disabled));
        }
        for state in [5, 6] {
            assert_eq!(denial_of(state), Some(DenialReason::NotFound));
        }
    }
}
