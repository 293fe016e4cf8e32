//! Which messages may hold a password in the clear: AUTH_RESPONSE, and statements about roles that name one.
//!
//! A decoder does not reuse the buffer that such a message came in; see [`Decoder`](super::Decoder). What is asked here is asked of every QUERY and PREPARE,
//! and of nothing that is executed: a statement that reads or writes rows is told by its first letter, and only the others are searched.
//!
//! What must hold: no statement that `cql` takes for one with a password is missed. The word is a keyword, so it stands in the text as it is, in any case.

use super::decoder::Frame;
use super::opcode::{Flags, Opcode};

/// The keyword in front of every password.
const WORD: &[u8] = b"password";
/// Bytes of the length in front of a statement's text.
const LENGTH_BYTES: usize = 4;

/// Whether the message may hold a password.
#[inline]
pub(super) fn may_hold_password(frame: &Frame) -> bool {
    match frame.opcode {
        Opcode::AuthResponse => true,
        // What the client's own payload takes in front of the text is not worth finding out.
        Opcode::Query | Opcode::Prepare if frame.flags.contains(Flags::CUSTOM_PAYLOAD) => {
            names_one(&frame.body)
        }
        Opcode::Query | Opcode::Prepare => statement_may(frame.body.get(LENGTH_BYTES..)),
        _ => false,
    }
}

/// What follows a statement in its message is searched with it: a statement about roles brings no values along.
fn statement_may(text: Option<&[u8]>) -> bool {
    let text = text.unwrap_or_default().trim_ascii_start();
    match text.first().map(u8::to_ascii_lowercase) {
        // SELECT, INSERT, UPDATE, USE, DELETE, DROP, DESCRIBE, BEGIN.
        Some(b's' | b'i' | b'u' | b'd' | b'b') | None => false,
        Some(_) => names_one(text),
    }
}

fn names_one(text: &[u8]) -> bool {
    text.windows(WORD.len())
        .any(|word| word.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod tests {
    use super::statement_may;

    #[test]
    fn statements_about_roles_are_told_from_those_about_rows() {
        for secret in [
            "CREATE ROLE r WITH PASSWORD = 'x'",
            "  alter user r with password 'x'",
            "/* why */ CREATE USER r WITH Password 'x'",
            "-- why\nALTER ROLE r WITH LOGIN = true AND PASSWORD = 'x'",
            "CREATE ROLE r WITH HASHED PASSWORD = '$2a$10$x'",
        ] {
            assert!(statement_may(Some(secret.as_bytes())), "{secret}");
        }
        for plain in [
            "SELECT password FROM users",
            "insert into users (password) values (?)",
            "CREATE TABLE t (k int PRIMARY KEY)",
            "CREATE ROLE r WITH PASS",
            "",
        ] {
            assert!(!statement_may(Some(plain.as_bytes())), "{plain}");
        }
        assert!(!statement_may(None));
    }
}
