//! What a table has on the disk, as far as it is public: names, kinds, sizes, and under which version of the table's key each data key is wrapped.

use std::collections::BTreeMap;

use palladium_crypto::{KeyVersion, StructureId, StructureKind, TableId, WrappedDataKey};

use crate::backend::Backend;
use crate::commitlog::ShareAddress;
use crate::engine::Engine;
use crate::manifest::SstableEntry;

/// Where a structure belongs.
#[derive(Clone, Copy, Eq, PartialEq, Debug)]
pub enum Place {
    /// A component of this SSTable.
    Sstable(u64),
    /// A table's part of this log segment.
    Segment(u64),
}

/// One thing that is sealed under one data key.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Structure {
    /// Its name.
    pub structure: StructureId,
    /// What it is.
    pub kind: StructureKind,
    /// Its bytes on the disk.
    pub bytes: u64,
    /// Under which version of the table's key its data key is wrapped; None: the wrap cannot be read.
    pub key_version: Option<KeyVersion>,
    /// When it was written, in seconds; that is sealed, so it is known of open tables' SSTables only.
    pub created_seconds: Option<i64>,
    /// Where it belongs.
    pub place: Place,
}

impl<B: Backend> Engine<B> {
    /// All structures of a table that are still needed, locked or not: its SSTables' components, then its parts of log segments.
    pub async fn structures(&self, id: TableId) -> Vec<Structure> {
        let inner = &self.inner;
        let mut structures: Vec<Structure> = of_sstables(&inner.sstable_entries(id).await);
        let open = inner.tables.get(id).ok().and_then(|table| table.opened());
        if let Some(open) = open {
            let sstables = open.sstables();
            for structure in &mut structures {
                let owner = sstables.iter().find(|one| one.owns(structure.structure));
                structure.created_seconds = owner.map(|one| one.statistics().created_at);
            }
        }
        let in_log = inner.shares.of(id, |shares| of_shares(shares.values()));
        structures.extend(in_log.into_iter().flatten());
        structures
    }
}

/// The components of SSTables.
pub(crate) fn of_sstables<'a>(
    entries: impl IntoIterator<Item = &'a SstableEntry>,
) -> Vec<Structure> {
    let components = entries.into_iter().flat_map(|entry| {
        let place = Place::Sstable(entry.id);
        entry.components.iter().map(move |component| Structure {
            structure: component.structure,
            kind: component.kind,
            bytes: component.size,
            key_version: Some(component.wrapped.version),
            created_seconds: None,
            place,
        })
    });
    components.collect()
}

fn of_shares<'a>(shares: impl Iterator<Item = &'a ShareAddress>) -> Vec<Structure> {
    let mut parts = LogParts::default();
    for share in shares {
        let wrapped = Some(&*share.wrapped);
        parts.add(share.segment, share.structure, share.length, wrapped);
    }
    parts.into_structures()
}

/// Gathers a table's blocks in the log into its parts of segments.
#[derive(Default)]
pub(crate) struct LogParts(BTreeMap<(u64, StructureId), (u64, Option<KeyVersion>)>);

impl LogParts {
    pub(crate) fn add(
        &mut self,
        segment: u64,
        structure: StructureId,
        bytes: u32,
        wrapped: Option<&WrappedDataKey>,
    ) {
        let part = self.0.entry((segment, structure)).or_default();
        part.0 += u64::from(bytes);
        part.1 = part.1.or(wrapped.map(|wrapped| wrapped.version));
    }

    pub(crate) fn into_structures(self) -> Vec<Structure> {
        let parts = self.0.into_iter();
        parts
            .map(|((segment, structure), (bytes, key_version))| Structure {
                structure,
                kind: StructureKind::LogShare,
                bytes,
                key_version,
                created_seconds: None,
                place: Place::Segment(segment),
            })
            .collect()
    }
}
