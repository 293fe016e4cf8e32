//! Ordered bytes in partitions, rows and cells, kept on a disk that sees only sealed blocks.
//!
//! Reading order, lowest first; each line may use those above it, not those below:
//!
//! ```text
//! error · env · codec · model     no knowledge of files
//! backend · sealed · cache        sealed blocks in and out
//! commitlog · sstable · manifest  three formats, strangers to each other (root beside them)
//! memtable · read · compaction    what moves between them
//! table · recovery · background
//! engine                          the face
//! ```

pub mod codec;
pub mod error;
pub mod memtable;
pub mod model;
pub mod read;

pub use error::{Error, Result};
pub use memtable::Memtable;
pub use model::{
    Cell, CellState, Clustering, ColumnId, Deletion, Liveness, Mutation, PartitionKey,
    PartitionUpdate, RangeTombstone, Row, Token,
};
pub use read::{
    BlockAddress, Columns, Fault, Item, KeyRange, Limits, PartitionBound, PartitionHead,
    PartitionRows, ReadCommand, ReadPage, ReadPosition, Slices, Source,
};
