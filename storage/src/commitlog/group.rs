//! One group: shares by table, each sealed under its table's key in the segment, or carried as it was sealed before.
//!
//! What must hold: a share is sealed where it lies, so its plaintext is gone once it is sealed and wiped if it is not; a table's key
//! of a segment is introduced by its wrap in the first group that uses it, and again in some of those that follow.

use std::collections::HashMap;
use std::sync::Arc;

use palladium_crypto::{
    KeyRing, KeyVersion, StructureKind, TableId, WRAPPED_DATA_KEY_BYTES, WrappedDataKey,
};
use zeroize::Zeroize;

use super::layout::{GroupHeader, Origin, PAGE, SEAL_BYTES, ShareEntry, Trailer};
use super::{Share, ShareAddress};
use crate::backend::{Copied, Part};
use crate::env::Env;
use crate::error::Result;
use crate::sealed::{SealedWriter, TAG_BYTES};

/// What goes into a group.
pub(super) enum Content {
    Fresh(Records, Arc<KeyRing>),
    /// A sealed block out of an older segment.
    Carried(ShareAddress, Copied),
}

/// A share on its way from plain to sealed, in place.
pub(super) struct Records {
    pub table: TableId,
    bytes: Vec<u8>,
    is_sealed: bool,
}

impl From<Share> for Records {
    fn from(mut share: Share) -> Self {
        Records {
            table: share.table,
            bytes: std::mem::take(&mut share.records),
            is_sealed: false,
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Sealing has overwritten the plaintext; wiping the ciphertext too would cost as much as the sealing.
        if !self.is_sealed {
            self.bytes.zeroize();
        }
    }
}

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Content::Fresh(records, _) => records.bytes.len() + TAG_BYTES,
            Content::Carried(address, _) => address.length as usize,
        }
    }
}

/// The tables' structures in the segment being written.
#[derive(Default)]
pub(super) struct TableSealers {
    sealers: HashMap<TableId, TableSealer>,
}

/// One table's structure there.
struct TableSealer {
    writer: SealedWriter,
    version: KeyVersion,
    wrapped: Arc<WrappedDataKey>,
}

impl TableSealers {
    /// Seals a share under its table's key in this segment, which is drawn when it is first needed or its version has changed.
    pub fn seal<'a>(
        &mut self,
        env: &dyn Env,
        origin: Origin,
        share: &'a mut Records,
        ring: &KeyRing,
    ) -> Result<(ShareEntry, Arc<WrappedDataKey>, Part<'a>)> {
        let version = ring.active_version();
        if self
            .sealers
            .get(&share.table)
            .is_none_or(|sealer| sealer.version != version)
        {
            self.sealers
                .insert(share.table, TableSealer::new(env, ring));
        }
        let sealer = self
            .sealers
            .get_mut(&share.table)
            .expect("inserted just now");
        let context = origin.context();
        let sealed = sealer.writer.append(&context, false, &mut share.bytes)?;
        share.is_sealed = true;
        let is_introduced = is_introduced_again(sealed.ordinal());
        let wrapped = sealer.wrapped.clone();
        let entry = ShareEntry {
            table: share.table,
            structure: sealer.writer.structure(),
            ordinal: sealed.ordinal(),
            length: sealed.bytes().len() as u32,
            crc: crc32fast::hash(sealed.bytes()),
            tag: *sealed
                .bytes()
                .last_chunk()
                .expect("a sealer ends every block with its tag"),
            wrapped: is_introduced.then(|| (*wrapped).clone()),
            origin: None,
        };
        Ok((entry, wrapped, sealed.into()))
    }

    /// The table's next share gets a new data key.
    pub fn forget(&mut self, table: TableId) {
        self.sealers.remove(&table);
    }
}

impl TableSealer {
    fn new(env: &dyn Env, ring: &KeyRing) -> TableSealer {
        let writer = SealedWriter::new(ring, env.entropy(), StructureKind::LogShare);
        TableSealer {
            wrapped: Arc::new(writer.wrapped().clone()),
            version: ring.active_version(),
            writer,
        }
    }
}

/// Whether a structure's wrap stands beside this share of it: beside the first, and ever more seldom again. A page that is lost with one of them does not take along all that follows.
fn is_introduced_again(ordinal: u64) -> bool {
    ordinal == 0 || ordinal.is_power_of_two()
}

/// A share as it is, with where it comes from.
pub(super) fn carry_sealed<'a>(
    address: &ShareAddress,
    copied: &'a Copied,
) -> (ShareEntry, Arc<WrappedDataKey>, Part<'a>) {
    let entry = ShareEntry {
        table: address.table,
        structure: address.structure,
        ordinal: address.ordinal,
        length: address.length,
        crc: address.crc,
        tag: copied.tag(),
        wrapped: Some((*address.wrapped).clone()),
        origin: Some(address.origin),
    };
    (entry, address.wrapped.clone(), copied.into())
}

/// Where the shares of a group are that begins at `start`.
pub(super) fn addresses(
    header: &GroupHeader,
    start: u64,
    wraps: &[Arc<WrappedDataKey>],
) -> Vec<ShareAddress> {
    let mut offset = start + header.places().shares as u64;
    let here = Origin {
        incarnation: header.incarnation,
        sequence: header.sequence,
    };
    let mut addresses = Vec::with_capacity(wraps.len());
    for (share, wrapped) in header.shares.iter().zip(wraps) {
        addresses.push(ShareAddress {
            table: share.table,
            sequence: header.sequence,
            segment: header.segment,
            offset,
            length: share.length,
            crc: share.crc,
            structure: share.structure,
            ordinal: share.ordinal,
            wrapped: wrapped.clone(),
            origin: share.origin.unwrap_or(here),
        });
        offset += u64::from(share.length);
    }
    addresses
}

/// An upper bound: as if every share brought a wrap and an origin.
pub(super) fn pages_at_most(contents: &[Content]) -> usize {
    let entry_bytes = 68 + WRAPPED_DATA_KEY_BYTES + 16;
    let shares: usize = contents.iter().map(Content::bytes).sum();
    let headers = 2 * (60 + contents.len() * entry_bytes);
    (headers + shares + SEAL_BYTES + Trailer::BYTES).div_ceil(PAGE)
}
