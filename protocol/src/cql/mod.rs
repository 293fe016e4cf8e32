//! CQL: text to tokens to tree, and back.
//!
//! ```text
//! "SELECT v FROM t WHERE k = ?"
//!   └► lexer    tokens: kinds and byte ranges, nothing copied
//!     └► parser   one function for each rule of the grammar, in its order
//!       └► ast      Statement: what was written, and nothing about what it means
//!         └► print    text again
//! ```
//!
//! [`parse`] reads one statement of CQL 3.4.7 as Cassandra 5.0 does, with what Amazon Keyspaces adds (`RESTORE TABLE`,
//! tags, nested property maps), permissions on customers' keys, and a little of what newer versions of Cassandra brought
//! (`NOT IN`, `BETWEEN`, `CREATE TABLE ... LIKE`). Errors have Cassandra's position and wording.
//!
//! What must hold:
//!
//! - `parse(print(tree)) == tree` for every tree the parser makes.
//! - No text panics, overflows the stack or takes memory without bound: bytes, tokens, nesting and operators are
//!   counted.

pub mod ast;
mod error;
mod lexer;
mod parser;
mod print;
mod redact;
mod token;

pub use ast::Statement;
pub use error::SyntaxError;
pub use redact::redacted;

/// Bytes of one statement: as much as Cassandra takes in a frame by default.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// Tokens of one statement. A tree takes some hundred bytes for each, so this bounds what a statement of nothing but
/// commas can make of its length. An IN list of all 65535 values has 131 thousand.
pub const TOKENS_MAX: usize = 1 << 20;

/// How deep a statement may nest: collections in collections, types in types, parentheses in parentheses. The parser and
/// every later walk over the tree recurse this deep, on the stack of a worker thread. A parenthesis counts twice.
pub const NESTING_MAX: usize = 200;

/// How many operators one term may chain. `1 + 1 + 1 + ...` is a tree as deep as it is long.
pub const OPERATORS_MAX: usize = 300;

/// Reads one statement; semicolons may follow it.
pub fn parse(text: &str) -> Result<Statement, SyntaxError> {
    parser::parse(text).map(|(statement, _)| statement)
}

/// Reads a statement that was taken before and has been kept as text since. What is refused only today is no reason to lose it.
pub fn parse_at_rest(text: &str) -> Result<Statement, SyntaxError> {
    parser::parse_at_rest(text)
}

/// Like [`parse`], with all bind markers of the statement in text order.
pub fn parse_with_markers(text: &str) -> Result<(Statement, Vec<ast::Marker>), SyntaxError> {
    parser::parse(text)
}

/// Reads a type, alone: `map<text, frozen<list<int>>>`.
pub fn parse_type(text: &str) -> Result<ast::Type, SyntaxError> {
    parser::parse_type(text)
}
