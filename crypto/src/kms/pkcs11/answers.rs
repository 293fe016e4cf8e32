//! What the module's codes mean for the caller.
//!
//! | code                                                        | meaning                                                    |
//! |-------------------------------------------------------------|------------------------------------------------------------|
//! | `CKR_KEY_FUNCTION_NOT_PERMITTED`                            | denied: Disabled (we are logged in when a key is used)     |
//! | `CKR_MECHANISM_INVALID`, `CKR_FUNCTION_NOT_SUPPORTED`, ...  | unsupported: this token has no AES-GCM for this key        |
//! | `CKR_SESSION_COUNT`, `CKR_HOST_MEMORY`, `CKR_DEVICE_MEMORY` | unavailable: Throttled                                     |
//! | every other                                                 | unavailable: Unreachable                                   |

use cryptoki::error::{Error as ModuleError, RvError};

use crate::error::{DenialReason, Error, UnavailableReason};

/// The crate's error for a code that came while a key was used or looked for.
pub(super) fn meaning(error: &ModuleError, key: &str) -> Error {
    let message = format!("{key}: {}", words(error));
    match code(error) {
        Some(RvError::KeyFunctionNotPermitted) => Error::denied(DenialReason::Disabled, message),
        Some(
            RvError::MechanismInvalid
            | RvError::FunctionNotSupported
            | RvError::KeyTypeInconsistent
            | RvError::KeySizeRange,
        ) => Error::Unsupported(format!(
            "{message} (CKM_AES_GCM under an AES-256 key is needed)"
        )),
        Some(RvError::SessionCount | RvError::HostMemory | RvError::DeviceMemory) => {
            Error::unavailable(UnavailableReason::Throttled, message)
        }
        _ => Error::unavailable(UnavailableReason::Unreachable, message),
    }
}

/// Is this an answer of a module that works, so that a fresh session would hear it again?
pub(super) fn is_about_the_key(error: &ModuleError) -> bool {
    matches!(
        code(error),
        Some(
            RvError::KeyFunctionNotPermitted
                | RvError::MechanismInvalid
                | RvError::KeyTypeInconsistent
                | RvError::KeySizeRange
        )
    )
}

/// Which function answered what. The binding's own words are paragraphs of the standard.
pub(super) fn words(error: &ModuleError) -> String {
    match error {
        ModuleError::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        other => other.to_string(),
    }
}

/// The module's own code, if the error came from the module.
pub(super) fn code(error: &ModuleError) -> Option<RvError> {
    match error {
        ModuleError::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}
