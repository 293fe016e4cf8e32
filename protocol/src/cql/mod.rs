//! CQL: text to tokens to tree, and back.
//!
//! [`parse`] reads one statement of CQL 3.4.7 as Cassandra 5.0 does, with what Amazon Keyspaces adds (`RESTORE TABLE`,
//! tags, nested property maps) and a little of what newer versions brought (`NOT IN`, `BETWEEN`, `CREATE TABLE ...
//! LIKE`). Errors have Cassandra's position and wording. The tree in [`ast`] says what was written and nothing about
//! what it means.
//!
//! What must hold:
//!
//! - `parse(print(tree)) == tree` for every tree the parser makes.
//! - No text panics, overflows the stack or takes more memory than a small multiple of its length.

pub mod ast;
mod error;
mod token;

pub use ast::Statement;
pub use error::SyntaxError;
