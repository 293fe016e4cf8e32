//! The shares of one table, read back in their order: by `read_share` one of them, by who opens a table all.
//!
//! A log of many small groups has tens of thousands of shares of a busy table, a page or two apart. Each read is a walk to another thread, an open and a close, which
//! cost more than the bytes; so what lies near is read at once, and what lies between is passed over. Shares of one segment are blocks of one structure, whose data
//! key is unwrapped once for them.
//!
//! What must hold: what is kept from one share to the next is sealed; a share is opened in memory of its own.

use std::sync::Arc;

use palladium_crypto::{KeyRing, StructureId, StructureKind, WrappedDataKey};

use super::ShareAddress;
use crate::backend::Reads;
use crate::error::{Error, Result};
use crate::sealed::SealedReader;

/// Bytes that are read at once, if more than one share is to be had for them.
const RUN_BYTES_MAX: u64 = 256 << 10;
/// Bytes between two shares that are read along rather than the second one by itself.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// Reads shares one after the other.
pub struct ShareReader<'a, B> {
    backend: &'a B,
    ring: &'a KeyRing,
    left: &'a [ShareAddress],
    run: Run,
    opener: Option<Opener>,
}

/// What opens the blocks of one structure.
struct Opener {
    structure: StructureId,
    wrapped: Arc<WrappedDataKey>,
    reader: SealedReader,
}

/// Sealed bytes as they lie in a segment.
#[derive(Default)]
struct Run {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a, B: Reads> ShareReader<'a, B> {
    /// Of the table that the ring is of, in the order in which they are to be read.
    pub fn new(
        backend: &'a B,
        shares: &'a [ShareAddress],
        ring: &'a KeyRing,
    ) -> Result<ShareReader<'a, B>> {
        let table = ring.table();
        if let Some(other) = shares.iter().find(|share| share.table != table) {
            return Err(Error::Invalid {
                what: format!(
                    "the ring of table {table} for a share of table {}",
                    other.table
                ),
            });
        }
        Ok(ShareReader {
            backend,
            ring,
            left: shares,
            run: Run::default(),
            opener: None,
        })
    }

    /// The next share and its records; None behind the last. `KeyUnavailable` if the ring lacks the key's version, `Corrupt` if the share is not what was written.
    pub async fn next(&mut self) -> Result<Option<(&'a ShareAddress, Vec<u8>)>> {
        let Some((share, rest)) = self.left.split_first() else {
            return Ok(None);
        };
        self.left = rest;
        if self.run.block(share).is_none() {
            self.run = self.read_run(share, rest).await?;
        }
        let block = self.run.block(share).map(<[u8]>::to_vec);
        let reader = self.reader_of(share)?;
        let context = share.origin.context();
        let opened = block.and_then(|mut block| {
            let opened = reader.open_in_place(share.ordinal, false, &context, &mut block);
            opened.is_ok().then_some(block)
        });
        match opened {
            Some(records) => Ok(Some((share, records))),
            None => Err(Error::corrupt(format!(
                "share of table {} in group {}: log segment {} at {}",
                share.table, share.sequence, share.segment, share.offset
            ))),
        }
    }

    fn reader_of(&mut self, share: &ShareAddress) -> Result<&SealedReader> {
        let known = self
            .opener
            .take()
            .filter(|known| known.structure == share.structure && known.wrapped == share.wrapped);
        let opener = match known {
            Some(known) => known,
            None => Opener {
                structure: share.structure,
                wrapped: share.wrapped.clone(),
                reader: SealedReader::new(
                    self.ring,
                    &share.wrapped,
                    share.structure,
                    StructureKind::LogShare,
                )?,
            },
        };
        Ok(&self.opener.insert(opener).reader)
    }

    /// A share, and those behind it that lie near. What others have between them may be damaged: then it is read by itself.
    async fn read_run(&self, share: &ShareAddress, rest: &[ShareAddress]) -> Result<Run> {
        let read = |bytes| self.backend.log_read(share.segment, share.offset, bytes);
        let (alone, all) = (share.length as usize, run_bytes(share, rest));
        let bytes = match read(all).await {
            Err(Error::Io { .. } | Error::Corrupt { .. }) if all > alone => read(alone).await?,
            run => run?,
        };
        Ok(Run {
            segment: share.segment,
            offset: share.offset,
            bytes,
        })
    }
}

impl Run {
    /// The share's sealed block, if it is among these bytes.
    fn block(&self, share: &ShareAddress) -> Option<&[u8]> {
        let begin = share.offset.checked_sub(self.offset)?;
        let begin = usize::try_from(begin).ok()?;
        let end = begin.checked_add(share.length as usize)?;
        (self.segment == share.segment).then_some(())?;
        self.bytes.get(begin..end)
    }
}

/// How much is read from a share's first byte on, if these come behind it.
fn run_bytes(share: &ShareAddress, rest: &[ShareAddress]) -> usize {
    let end_of = |share: &ShareAddress| share.offset.saturating_add(share.length.into());
    let mut end = end_of(share);
    for next in rest {
        let is_near = next.segment == share.segment
            && next.offset >= end
            && next.offset - end <= GAP_BYTES_MAX
            && end_of(next) - share.offset <= RUN_BYTES_MAX;
        if !is_near {
            break;
        }
        end = end_of(next);
    }
    // Not above the larger one of two `u32`: a share's own length, or a run's.
    (end - share.offset) as usize
}

#[cfg(test)]
mod tests {
    use palladium_crypto::TableId;

    use super::*;
    use crate::commitlog::Origin;

    fn share(segment: u64, offset: u64, length: u32) -> ShareAddress {
        let wrapped = WrappedDataKey::from_bytes(&[0; palladium_crypto::WRAPPED_DATA_KEY_BYTES]);
        ShareAddress {
            table: TableId([1; 16]),
            sequence: 1,
            segment,
            offset,
            length,
            crc: 0,
            structure: StructureId([2; 16]),
            ordinal: 0,
            wrapped: Arc::new(wrapped.expect("any bytes will do")),
            origin: Origin {
                incarnation: 1,
                sequence: 1,
            },
        }
    }

    #[test]
    fn shares_that_lie_near_are_one_read_and_far_ones_are_not() {
        let first = share(1, 4096, 100);
        let near = share(1, 8192, 100);
        let far = share(1, 8292 + GAP_BYTES_MAX + 1, 100);
        let elsewhere = share(2, 8192, 100);
        let before = share(1, 0, 100);
        assert_eq!(run_bytes(&first, &[]), 100);
        assert_eq!(run_bytes(&first, std::slice::from_ref(&near)), 4196);
        assert_eq!(run_bytes(&first, &[near.clone(), far]), 4196);
        assert_eq!(run_bytes(&first, &[elsewhere]), 100);
        assert_eq!(run_bytes(&first, &[before]), 100);
        let many: Vec<ShareAddress> = (2..1_000).map(|page| share(1, page * 4096, 100)).collect();
        let bytes = run_bytes(&first, &many);
        assert!(bytes <= RUN_BYTES_MAX as usize && bytes > RUN_BYTES_MAX as usize / 2);
        // One that is larger by itself is read as it is.
        let large = share(1, 4096, 1 << 30);
        assert_eq!(run_bytes(&large, &many[1..]), 1 << 30);
    }
}
