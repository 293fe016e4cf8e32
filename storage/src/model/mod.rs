//! Partition, row and cell, as ordered bytes.
//!
//! ```text
//! partition  (token, key bytes)
//! ├── deletion                  everything written at or before its timestamp is gone
//! ├── static row
//! ├── range tombstones          (start, end, deletion), never overlapping once normalized
//! └── rows by clustering
//!     ├── liveness              the row exists though no cell may
//!     ├── deletion
//!     ├── complex deletions     of one collection each
//!     └── cells by (column, path)
//! ```
//!
//! Storage knows no types and no clustering components: it compares bytes. Rows and bounds share one byte-ordered space. A row's position
//! is its encoded components and a terminator 0x80; a bound is a prefix of components and 0x00 (before everything with that prefix) or 0xFF
//! (after it). So a row never equals a bound, and every slice or range tombstone is `start < row < end`.
//!
//! A row has one encoded form ([`encoding`]), the same in the commit log, in a memtable and in an SSTable. [`reconcile`] says which of two wins.
//!
//! Plaintext lives in these types: their `Debug` shows shapes and times, never keys, clusterings or values.

mod bound;
mod cell;
mod encoded;
pub mod encoding;
mod key;
mod mutation;
pub mod reconcile;
mod row;
mod tombstone;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use bound::{KeyRange, PartitionBound, Slices};
pub use cell::{Cell, CellRef, CellState, ColumnId, StateRef};
pub use encoded::{EncodedUpdate, EncodedUpdates};
pub use encoding::RowView;
pub use key::{Clustering, PartitionKey, Store, Token};
pub use mutation::{Mutation, PartitionUpdate, UpdateView, put_mutation};
pub use row::{Liveness, Row};
pub use tombstone::{Deletion, RangeTombstone, RangeTombstoneList};
