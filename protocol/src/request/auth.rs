//! AUTH_RESPONSE: a SASL token.
//!
//! ```text
//! | token [bytes] |
//! ```

use std::fmt;

use crate::error::Malformed;
use crate::wire::primitive::Reader;

/// A SASL token; for PLAIN it holds a password, so it is never printed.
#[derive(Clone, Copy)]
pub struct AuthResponse<'a> {
    pub token: Option<&'a [u8]>,
}

impl<'a> AuthResponse<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            token: body.bytes()?,
        })
    }
}

impl fmt::Debug for AuthResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthResponse { .. }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let response = AuthResponse {
            token: Some(b"\0cassandra\0secret"),
        };
        assert_eq!(format!("{response:?}"), "AuthResponse { .. }");
    }
}
