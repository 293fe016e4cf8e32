//! Ordered bytes in partitions, rows and cells, kept on a disk that sees only sealed blocks.
//!
//! Reading order, lowest first; each line may use those above it, not those below:
//!
//! ```text
//! error · env · codec · model     no knowledge of files (metrics, companion, graph beside them)
//! backend · sealed · cache        sealed blocks in and out
//! commitlog · sstable · manifest  three formats, strangers to each other (root beside them)
//! memtable · read · compaction    what moves between them
//! table · recovery · background   (aside: what of a table is damaged)
//! engine                          the face (structure beside it; verify, explain: for folders that nobody has open)
//! ```

mod aside;
pub mod backend;
mod background;
pub mod cache;
pub mod codec;
pub mod commitlog;
pub mod compaction;
mod companion;
pub mod engine;
pub mod env;
mod epoch;
pub mod error;
pub mod explain;
pub mod graph;
mod latch;
mod lease;
pub mod manifest;
pub mod memtable;
pub mod metrics;
pub mod model;
mod options;
pub mod read;
mod recovery;
pub mod root;
pub mod salvage;
pub mod sealed;
pub mod sstable;
mod structure;
mod table;
pub mod verify;
pub mod wiped;

pub use backend::{Backend, LocalBackend, LocalOptions};
pub use compaction::CompactionOptions;
pub use companion::Companion;
pub use engine::{
    Beside, CacheActivity, Engine, FinishedMerge, FlushActivity, Held, MergeActivity, NewTable,
    QueueActivity, StaleEntries, Tallied, Ticket, Unsettled, Write,
};
pub use env::Env;
pub use error::{Error, Result};
pub use latch::LatchGuard;
pub use lease::{Lease, Reading};
pub use memtable::Memtable;
pub use model::{
    Cell, CellRef, CellState, Clustering, ColumnId, Deletion, EncodedUpdate, EncodedUpdates,
    Liveness, Mutation, PartitionKey, PartitionUpdate, RangeTombstone, Row, Store, Token,
};
pub use options::{Compression, LogSync, Options, TableOptions};
pub use read::{
    BlockAddress, Columns, EncodedRow, Fault, Hidden, Item, KeyRange, Limits, PartitionBound,
    PartitionHead, PartitionRows, ReadCommand, ReadPage, ReadPosition, ReadRow, ReadRows, ReadWork,
    RowRef, ShowRow, Slices, Source,
};
pub use root::{Root, RootState, SERVICE};
pub use structure::{Place, Structure};
pub use table::TableKeys;

/// The target of spans (of `tracing`): what the engine does that takes a while, by tables' ids. Their level is DEBUG.
pub const SPANS: &str = "palladium::span";

#[cfg(any(test, feature = "test-util"))]
pub use backend::{Crash, HeldCalls, SimulatedBackend, SimulatedDisk};
#[cfg(any(test, feature = "test-util"))]
pub use env::SimulatedEnv;
