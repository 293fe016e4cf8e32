//! What the module's codes mean for the caller.
//!
//! | code                                                        | meaning                                                    |
//! |-------------------------------------------------------------|------------------------------------------------------------|
//! | `CKR_KEY_FUNCTION_NOT_PERMITTED` of `C_Decrypt(Init)`       | denied: Disabled (we are logged in when a key is used)     |
//! | the same of another function                                | denied: AccessDenied: the key still decrypts               |
//! | `CKR_MECHANISM_INVALID`, `CKR_FUNCTION_NOT_SUPPORTED`, ...  | unsupported: this token has no AES-GCM for this key        |
//! | `CKR_SESSION_COUNT`, `CKR_HOST_MEMORY`, `CKR_DEVICE_MEMORY` | unavailable: Throttled                                     |
//! | every other                                                 | unavailable: Unreachable                                   |

use cryptoki::context::Function;
use cryptoki::error::{Error as ModuleError, RvError};

use crate::error::{DenialReason, Error, UnavailableReason};

/// The crate's error for a code that came while a key was used or looked for.
pub(super) fn meaning(error: &ModuleError, key: &str) -> Error {
    let message = format!("{key}: {}", words(error));
    match code(error) {
        Some(RvError::KeyFunctionNotPermitted) => {
            let reason = match error {
                ModuleError::Pkcs11(_, Function::DecryptInit | Function::Decrypt) => {
                    DenialReason::Disabled
                }
                _ => DenialReason::AccessDenied,
            };
            Error::denied(reason, message)
        }
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

/// Is the session gone, or its login, or the token under it, so that nothing was said of what was asked?
pub(super) fn is_about_the_session(error: &ModuleError) -> bool {
    matches!(
        code(error),
        Some(
            RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::SessionCount
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::TokenNotPresent
                | RvError::DeviceRemoved
                | RvError::DeviceMemory
                | RvError::HostMemory
                | RvError::CryptokiNotInitialized
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_to_decrypt_takes_the_key_away() {
        for (function, wanted) in [
            (Function::DecryptInit, DenialReason::Disabled),
            (Function::Decrypt, DenialReason::Disabled),
            (Function::EncryptInit, DenialReason::AccessDenied),
            (Function::Encrypt, DenialReason::AccessDenied),
        ] {
            let refusal = ModuleError::Pkcs11(RvError::KeyFunctionNotPermitted, function);
            match meaning(&refusal, "pkcs11:token=t;object=k") {
                Error::Denied { reason, .. } => assert_eq!(reason, wanted),
                other => panic!("not denied, but: {other}"),
            }
        }
    }
}
