//! SyntaxError: where the text stopped making sense, in the wording applications match on.
//!
//! ```text
//! line 1:9 mismatched input 'FORM' expecting K_FROM (SELECT * [FORM]...)
//!      ^ ^                                          ^ up to ten tokens before, the offending one in brackets
//!      | column from 0, in UTF-16 units
//!      line from 1
//! ```
//!
//! The message quotes the statement, so it belongs to the client that sent it and not into a log.

/// Why a statement is not CQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// From 1; 0 if the error is about the statement as a whole or its end.
    pub line: u32,
    /// From 0; -1 if the error is about the statement as a whole or its end.
    pub column: i32,
    /// The complete text for the client, position included.
    pub message: String,
}

impl SyntaxError {
    /// An error without a place: the sentence is the message.
    pub(crate) fn sentence(message: impl Into<String>) -> Self {
        SyntaxError {
            line: 0,
            column: -1,
            message: message.into(),
        }
    }
}
