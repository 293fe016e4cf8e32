//! What tables there are and what they look like, as one immutable snapshot.
//!
//! A statement takes the [`Catalog`] of the moment and lives with it to its end; a schema change builds the next
//! catalog from the present one and swaps it in. Nobody ever sees half a change, and nobody waits for one.
//!
//! Read in this order: `catalog` (keyspaces, user types), `table` (columns and their places), `options` (what WITH may
//! say).

pub mod catalog;
pub mod options;
pub mod table;

pub use catalog::{Catalog, Keyspace, KeyspaceKind, UserType};
pub use options::TableOptions;
pub use table::{
    Column, ColumnKind, Definition, DroppedColumn, Encryption, TableKind, TableSchema,
};
