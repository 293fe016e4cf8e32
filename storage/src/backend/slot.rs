//! A root's slot: the frame around one copy of a root, by which a reader knows the newer copy and a copy that is no more.
//!
//! ```text
//!  0   4  magic `PROT`
//!  4   2  format version, 1
//!  6   1  state: 1 live, 2 destroyed
//!  7   1  reserved
//!  8   8  version
//! 16  16  table id
//! 32   4  bytes of the root
//! 36   4  CRC-32 of bytes 0..36 and of the root
//! 40   .  root, then zero to the slot's end
//! ```
//!
//! The frame tells torn from whole. Whether a whole copy is the right one is told by the root's tag and the manifest, further up.

use palladium_crypto::TableId;

use super::fields::{FieldReader, FieldWriter, is_zero};

/// Bytes of a slot; a file of roots has two.
pub(super) const SLOT_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 40;
/// Bytes that a root may have: eight wraps of the largest AWS KMS blob are 48 KiB and refused, the usual one is below 1 KiB.
pub const ROOT_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;
const MAGIC: &[u8; 4] = b"PROT";
const FORMAT_VERSION: u16 = 1;
const LIVE: u8 = 1;
const DESTROYED: u8 = 2;

/// What one of the two copies of a root says.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum RootCopy {
    /// There is nothing: no file, or a slot never written.
    Absent,
    /// There is something that nobody wrote, or not to its end.
    Damaged,
    /// The same, and it is the other, whole copy but for a few bytes: a write that was cut short leaves more of the root that it was to bring, or less of this one.
    Altered,
    /// A root.
    Live { version: u64, bytes: Vec<u8> },
    /// A root was here and has been destroyed.
    Destroyed { version: u64 },
}

impl RootCopy {
    /// The version it speaks of, if it is whole.
    pub fn version(&self) -> Option<u64> {
        match self {
            RootCopy::Live { version, .. } | RootCopy::Destroyed { version } => Some(*version),
            RootCopy::Absent | RootCopy::Damaged | RootCopy::Altered => None,
        }
    }

    /// A first commit that was cut short: copy 0 is written first, and nothing counts before both are.
    pub fn is_unfinished(copies: &[RootCopy; 2]) -> bool {
        matches!(copies, [RootCopy::Damaged, RootCopy::Absent])
    }

    /// Of two copies the one that holds: the larger version, and destroyed before live.
    pub fn newest(copies: &[RootCopy; 2]) -> &RootCopy {
        let [first, second] = copies;
        let rank = |copy: &RootCopy| (copy.version(), matches!(copy, RootCopy::Destroyed { .. }));
        match (rank(first), rank(second)) {
            ((None, _), (None, _)) if *first == RootCopy::Damaged => first,
            (a, b) if a >= b && a.0.is_some() => first,
            _ => second,
        }
    }
}

/// A whole slot with a root in it.
pub(super) fn encode_live(table: TableId, version: u64, root: &[u8]) -> Vec<u8> {
    assert!(
        root.len() <= ROOT_BYTES_MAX,
        "checked when the root was made public"
    );
    encode(LIVE, table, version, root)
}

/// A whole slot that says: no more.
pub(super) fn encode_destroyed(table: TableId, version: u64) -> Vec<u8> {
    encode(DESTROYED, table, version, &[])
}

fn encode(state: u8, table: TableId, version: u64, root: &[u8]) -> Vec<u8> {
    let mut slot = FieldWriter::with_capacity(SLOT_BYTES);
    slot.raw(MAGIC)
        .u16(FORMAT_VERSION)
        .u8(state)
        .zero(1)
        .u64(version);
    slot.raw(&table.0).u32(root.len() as u32);
    let crc = slot_crc(slot.bytes(), root);
    slot.u32(crc).raw(root).zero(ROOT_BYTES_MAX - root.len());
    slot.into_bytes()
}

/// Sectors are written whole, and each that another root is written to differs in many bytes: keys, wrapped, and tags.
const SECTOR_BYTES: usize = 512;
/// More bytes of a sector than these are another root's.
const ALTERED_BYTES_MAX: usize = 8;

/// Tells what a copy that is not whole was, by one that is.
pub(super) fn compare(copies: [RootCopy; 2], slots: [&[u8]; 2]) -> [RootCopy; 2] {
    let is_altered = || {
        let sectors = slots.map(|slot| slot.chunks(SECTOR_BYTES));
        let [first, second] = sectors;
        let differing = |(a, b): (&[u8], &[u8])| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let in_each: Vec<usize> = first.zip(second).map(differing).collect();
        in_each.iter().all(|bytes| *bytes <= ALTERED_BYTES_MAX)
            && in_each.iter().any(|bytes| *bytes > 0)
    };
    match copies {
        [RootCopy::Damaged, live @ RootCopy::Live { .. }] if is_altered() => {
            [RootCopy::Altered, live]
        }
        [live @ RootCopy::Live { .. }, RootCopy::Damaged] if is_altered() => {
            [live, RootCopy::Altered]
        }
        copies => copies,
    }
}

/// Reads a slot of `table` as the disk gave it.
pub(super) fn decode(table: TableId, slot: &[u8]) -> RootCopy {
    if is_zero(slot) {
        return RootCopy::Absent;
    }
    decode_whole(table, slot).unwrap_or(RootCopy::Damaged)
}

fn decode_whole(table: TableId, slot: &[u8]) -> Option<RootCopy> {
    (slot.len() == SLOT_BYTES).then_some(())?;
    let mut fields = FieldReader::new(slot);
    fields.expect(MAGIC)?;
    fields.expect(&FORMAT_VERSION.to_le_bytes())?;
    let state = fields.u8()?;
    fields.zero(1)?;
    let version = fields.u64()?;
    fields.expect(&table.0)?;
    let length = fields.u32()? as usize;
    let crc = fields.u32()?;
    let bytes = fields.raw(length)?;
    let padding = fields.left();
    fields.zero(padding)?;
    if crc != slot_crc(&slot[..HEADER_BYTES - 4], bytes) {
        return None;
    }
    match state {
        LIVE => Some(RootCopy::Live {
            version,
            bytes: bytes.to_vec(),
        }),
        DESTROYED if bytes.is_empty() => Some(RootCopy::Destroyed { version }),
        _ => None,
    }
}

fn slot_crc(header: &[u8], root: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(root);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId([7; 16]);

    #[test]
    fn a_slot_is_read_back_and_no_flipped_bit_passes() {
        let mut slot = encode_live(TABLE, 9, b"root bytes");
        let copy = RootCopy::Live {
            version: 9,
            bytes: b"root bytes".to_vec(),
        };
        assert_eq!(decode(TABLE, &slot), copy);
        assert_eq!(decode(TableId([8; 16]), &slot), RootCopy::Damaged);
        for byte in (0..64).chain([SLOT_BYTES - 1]) {
            for bit in 0..8 {
                slot[byte] ^= 1 << bit;
                assert_eq!(
                    decode(TABLE, &slot),
                    RootCopy::Damaged,
                    "byte {byte} bit {bit}"
                );
                slot[byte] ^= 1 << bit;
            }
        }
        for length in 0..64 {
            assert_ne!(decode(TABLE, &slot[..length]), copy);
        }
    }

    #[test]
    fn a_few_bytes_are_altered_and_a_sector_of_another_root_is_a_write_cut_short() {
        let [old, new] = [1u8, 2].map(|byte| encode_live(TABLE, u64::from(byte), &[byte; 700]));
        let live = RootCopy::Live {
            version: 1,
            bytes: vec![1; 700],
        };
        for flipped in [3, 40, 600, 20_000] {
            let mut slot = old.clone();
            slot[flipped] ^= 0x10;
            let copies = [RootCopy::Damaged, live.clone()];
            let [copy, other] = compare(copies, [&slot, &old]);
            assert_eq!((copy, other), (RootCopy::Altered, live.clone()));
        }
        let first = [&new[..512], &old[512..]].concat();
        let second = [&old[..512], &new[512..]].concat();
        let destroyed = [&encode_destroyed(TABLE, 2)[..512], &old[512..]].concat();
        let cut = [&old[..512], &[0; SLOT_BYTES - 512]].concat();
        for slot in [first, second, destroyed, cut] {
            assert_eq!(decode(TABLE, &slot), RootCopy::Damaged);
            let copies = [live.clone(), RootCopy::Damaged];
            assert_eq!(compare(copies.clone(), [&old, &slot]), copies);
        }
    }

    #[test]
    fn the_larger_version_holds_and_destroyed_beats_live() {
        let live = |version| RootCopy::Live {
            version,
            bytes: vec![],
        };
        let dead = |version| RootCopy::Destroyed { version };
        for (first, second, newest) in [
            (live(1), live(2), live(2)),
            (live(2), live(1), live(2)),
            (live(2), dead(2), dead(2)),
            (dead(2), live(2), dead(2)),
            (dead(2), live(3), live(3)),
            (RootCopy::Damaged, live(1), live(1)),
            (live(1), RootCopy::Absent, live(1)),
            (RootCopy::Absent, RootCopy::Damaged, RootCopy::Damaged),
            (RootCopy::Damaged, RootCopy::Absent, RootCopy::Damaged),
            (RootCopy::Absent, RootCopy::Absent, RootCopy::Absent),
        ] {
            assert_eq!(*RootCopy::newest(&[first, second]), newest);
        }
    }
}
