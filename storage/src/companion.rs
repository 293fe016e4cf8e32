//! What somebody keeps in memory beside a derived store of an open table: a graph over the vectors of an index.
//!
//! It is plaintext of the table, so it lives and ends with the open table: it is reached by a pass, under a living lease, and dropped with the table's memtables and
//! filters when the table is locked or falls asleep; with its store when that ends; and when the table is emptied.
//!
//! What must hold: whoever attaches a companion and then reads its store has seen, or is told of, every update of the store.

use std::any::Any;

use crate::model::EncodedUpdate;

/// Kept beside a derived store.
pub trait Companion: Any + Send + Sync {
    /// An update of the store becomes visible. Told by whoever makes writes visible, which waits meanwhile, in the order of the log.
    fn applied(&self, update: EncodedUpdate<'_>);
}
