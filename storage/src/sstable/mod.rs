//! SSTables: immutable, sorted by partition, sealed block by block.
//!
//! An SSTable is four blobs, each a structure of its own under its own data key; the manifest entry names them, their sizes and their
//! wrapped keys, and is their only directory, so that more components can be attached later.
//!
//! ```text
//! data         header │ block 0 │ block 1 │ … │ block n (end)           partitions and rows; a dictionary may be the last
//! index        header │ index block 0 │ … │ index block m │ top (end)   where each data block is, and what it begins with
//! filter       header │ segment 0 │ … │ segment k (end)                 which tokens are surely not here
//! statistics   header │ numbers (end)                                   where the above are; bounds, counts, deletion times
//!
//! header       32 public bytes: magic, version, kind, structure id
//! block        sealed: associated data binds structure, kind, ordinal and end; inside, an envelope: compressed or not
//! ```
//!
//! In reading order: `envelope` and `zstd` (compression), `dictionary` (training one), `packer` (what a block is compressed with), `search` (tokens), [`block`] (data blocks), `run` (items of one, taken apart), [`index`] (both levels), [`filter`],
//! [`statistics`], `component` (one blob being written), [`writer`], `ahead` (blocks that are read before they are asked for), [`reader`], [`cursor`], `point` (one row), [`rescue`] (what is left of a damaged one).
//!
//! What must hold:
//! - A block opens only as the block it was sealed as, so damage of any byte, a cut, a swap or a block of another SSTable is
//!   `Corrupt` with structure, block and offset, never a wrong or missing row.
//! - Decoders trust nothing: authenticated bytes of a future or faulty writer give errors, not panics.
//! - Opened bytes live in buffers that are wiped when the last reader lets go.

mod ahead;
pub mod block;
mod component;
pub mod cursor;
mod dictionary;
mod envelope;
pub mod filter;
pub mod index;
mod packer;
mod point;
pub mod reader;
pub mod rescue;
mod run;
mod search;
pub mod statistics;
pub mod writer;
mod zstd;

pub use ahead::ReadAhead;
pub use block::ROW_BYTES_MAX;
pub use cursor::SstableCursor;
pub use reader::Sstable;
pub use statistics::Statistics;
pub use writer::{SstableWriter, WriterOptions};

#[cfg(test)]
pub(crate) mod tests;
