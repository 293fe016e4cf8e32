//! The commit log: one for all tables, so that one sync serves many writers.
//!
//! ```text
//! segment   [header][header][group n][group n+1] .. [end record] 0 0 0 ..      fixed length, written front to back, never reused
//! group     [header A][share of table 1][share of table 2] .. 0 0 [header B][seal][trailer]
//! ```
//!
//! A *group* is what one sync makes durable. It holds one *share* for each table: all of that table's records, sealed as one block
//! under the table's own key, so that a lost key takes one table and no neighbour. The group's *seal*, under a key of the service,
//! covers its header (and in it every share's tag) and the seal before: groups cannot be left out, swapped or repeated unseen.
//!
//! What is torn and what is damaged: group n + 1 is written only after n is durable. A group that is not whole, with a later one
//! behind it, was whole once: that is damage, and it is named. With nothing behind it and beyond the *watermark* (the durable position
//! as kept outside the segment), it is a write that nobody was told of: the log ends there.
//!
//! What must hold:
//! - `commit` returns `Ok` only for what survives a loss of power, and for all of it: a group is there or not there as a whole.
//! - After a failed write or sync nothing more is written here (`Error::Closed`); nothing is retried. A full disk is noticed when a
//!   segment is begun, before anything is sealed, and harms nothing.
//! - A position is a group's sequence, contiguous for the life of the folder. It is never an offset.
//! - Segments go from the front, and the watermark says so before they do: a missing one is damage.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_crypto::{StructureId, TableId, WrappedDataKey};
use zeroize::Zeroize;

use crate::backend::{Backend, Reads};
use crate::error::Result;

mod group;
pub mod layout;
mod recovery;
mod removal;
mod replay;
mod scan;
#[cfg(test)]
mod tests;
mod watermark;
mod writer;

pub use self::layout::Origin;
pub use self::replay::ShareReader;
pub use self::writer::CommitLog;
use palladium_crypto::KeyRing;

/// Settings of the log.
#[derive(Clone, Debug)]
pub struct CommitLogOptions {
    /// Length of a segment: 32 MiB. Longer ones are released later, shorter ones are begun more often.
    pub segment_bytes: u64,
    /// The server's incarnation, raised at each start.
    pub incarnation: u64,
}

impl CommitLogOptions {
    /// The usual settings.
    pub fn new(incarnation: u64) -> Self {
        CommitLogOptions {
            segment_bytes: 32 * 1024 * 1024,
            incarnation,
        }
    }
}

/// The largest group: what a share's length and a segment's memory at recovery can bear.
pub const GROUP_BYTES_MAX: usize = 1 << 30;

/// All records of one table in one group. Wiped when dropped.
pub struct Share {
    /// The table.
    pub table: TableId,
    /// Its records in plain; their format is the engine's.
    pub records: Vec<u8>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.records.zeroize();
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({}, {} bytes)", self.table, self.records.len())
    }
}

/// Where a share is, and what opens it.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ShareAddress {
    /// The table.
    pub table: TableId,
    /// The group's sequence: the share's position in the log.
    pub sequence: u64,
    /// The segment it is in.
    pub segment: u64,
    /// Where in the segment.
    pub offset: u64,
    /// Bytes of its sealed block.
    pub length: u32,
    /// CRC-32 of its sealed block.
    pub crc: u32,
    /// The structure it is a block of.
    pub structure: StructureId,
    /// Its ordinal there.
    pub ordinal: u64,
    /// The data key, under the table's key of that day.
    pub wrapped: Arc<WrappedDataKey>,
    /// What it was sealed with; differs from `sequence` if it was carried out of an older segment.
    pub origin: Origin,
}

/// Something in the log is not what was written.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Damage {
    /// The segment; 0: the watermark.
    pub segment: u64,
    /// Where in it, if that is known.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Whom it hurts.
    pub scope: DamageScope,
}

/// Whom damage hurts.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum DamageScope {
    /// Nobody: a second copy served, or the bytes meant nothing.
    Survived,
    /// Shares of these tables in this group. `members` are all tables of the group, for batches that span them.
    Shares {
        sequence: u64,
        damaged: Vec<TableId>,
        members: Vec<TableId>,
    },
    /// Every table whose log floor is at or before `last`.
    Groups { first: u64, last: u64 },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.segment {
            0 => write!(f, "log watermark: {}", self.what),
            segment => write!(f, "log segment {segment} at {}: {}", self.offset, self.what),
        }
    }
}

/// What a log was found to hold.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Segments and the tables in them.
    pub segments: BTreeMap<u64, SegmentTables>,
    /// The last group. The next one is one more.
    pub last_sequence: u64,
    /// No server timestamp in the log is above it.
    pub timestamp_high_water: i64,
    /// The newest manifest commit that the log knows of.
    pub manifest_sequence: u64,
    /// The largest incarnation that wrote here.
    pub incarnation: u64,
    /// Did the last server stop with an end record?
    pub is_clean_stop: bool,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
    /// What a crash explains and looks the same as damage to a spare copy: a watermark's store that was cut short.
    pub unfinished: Vec<String>,
    /// Every table's shares, in order.
    pub tables: BTreeMap<TableId, Vec<ShareAddress>>,
}

impl Recovered {
    /// Whether there are segments and no watermark: nothing says how far the log must reach.
    pub fn is_headless(&self) -> bool {
        self.headless().is_some()
    }

    fn headless(&self) -> Option<&Damage> {
        let is_headless =
            |damage: &&Damage| damage.segment == 0 && damage.scope != DamageScope::Survived;
        self.damage.iter().find(is_headless)
    }
}

/// What a segment holds, for deciding when it may go.
#[derive(Clone, Default, Eq, PartialEq, Debug)]
pub struct SegmentTables {
    /// Sequence of its first group.
    pub first_sequence: u64,
    /// Each table's last group in it.
    pub tables: BTreeMap<TableId, u64>,
}

/// Reads a log and changes nothing, for `verify`.
pub async fn inspect<B: Backend>(backend: &B, service: &KeyRing) -> Result<Recovered> {
    Ok(recovery::read(backend, service).await?.recovered)
}

/// Reads and opens a share. `KeyUnavailable` if the ring lacks the key's version, `Corrupt` if the share is not what was written.
pub async fn read_share<B: Reads>(
    backend: &B,
    address: &ShareAddress,
    ring: &KeyRing,
) -> Result<Vec<u8>> {
    let mut reader = ShareReader::new(backend, std::slice::from_ref(address), ring)?;
    let read = reader.next().await?;
    Ok(read.map(|(_, records)| records).unwrap_or_default())
}
