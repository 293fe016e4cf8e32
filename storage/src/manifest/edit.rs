//! One change to what the tables are made of, and how it is written.
//!
//! ```text
//! tag u8 | 0 3 | body bytes u32 | body      see FORMAT.md for each body
//! ```
//!
//! Edits are public: ids, sizes, levels, positions, wrapped keys. A reader refuses a tag that it does not know, because an edit left
//! out would be a table with a hole.

use palladium_crypto::{
    StructureId, StructureKind, TableId, WRAPPED_DATA_KEY_BYTES, WrappedDataKey,
};

use crate::backend::fields::{FieldReader, FieldWriter};
use crate::model::Store;

/// One blob of an SSTable.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Component {
    /// What it is.
    pub kind: StructureKind,
    /// Its name, as a blob and as a structure.
    pub structure: StructureId,
    /// Its data key under the table's key.
    pub wrapped: WrappedDataKey,
    /// The blob's length in bytes.
    pub size: u64,
}

/// An SSTable: the directory of its components.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct SstableEntry {
    /// Its number within the table; no other one that is there has it.
    pub id: u64,
    /// Its level, where the strategy has levels.
    pub level: u8,
    /// Which of the table's stores it is part of.
    pub store: Store,
    /// Its blobs.
    pub components: Vec<Component>,
}

impl SstableEntry {
    /// Names of its structures.
    pub fn structures(&self) -> impl Iterator<Item = palladium_crypto::StructureId> {
        self.components.iter().map(|component| component.structure)
    }

    /// The component of a kind, if it has one.
    pub fn component(&self, kind: StructureKind) -> Option<&Component> {
        self.components
            .iter()
            .find(|component| component.kind == kind)
    }

    /// Bytes of all components.
    pub fn bytes(&self) -> u64 {
        self.components.iter().map(|component| component.size).sum()
    }
}

/// A change.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Edit {
    /// A table begins: its log records count from `log_floor`.
    CreateTable { table: TableId, log_floor: u64 },
    /// A table ends.
    DropTable { table: TableId },
    /// A flush or a compaction: what comes, what goes, and from which group on the log is still needed.
    AddSstables {
        table: TableId,
        added: Vec<SstableEntry>,
        removed: Vec<u64>,
        log_floor: Option<u64>,
    },
    /// The same data keys under a newer table key.
    Rewrap {
        table: TableId,
        epoch: u64,
        wraps: Vec<(StructureId, WrappedDataKey)>,
    },
    /// The root that is now in place.
    RootEpoch {
        table: TableId,
        epoch: u64,
        root_hash: [u8; 32],
    },
    /// From which group on the log is still needed.
    LogFloor { table: TableId, floor: u64 },
    /// The SSTables with smaller ids are to be written again under new data keys.
    Rewrite { table: TableId, rewrite: Rewrite },
    /// A derived store ends: its SSTables go, and what the log holds of it counts for nothing.
    DropStore { table: TableId, store: Store },
}

/// A table's owner wants new data keys: how far that has come follows from the SSTables that are left.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Rewrite {
    /// Those with a smaller id than this.
    pub below: u64,
    /// How many they were when it was asked for.
    pub total: u32,
}

const CREATE_TABLE: u8 = 1;
const DROP_TABLE: u8 = 2;
const ADD_SSTABLES: u8 = 3;
const REWRAP: u8 = 4;
const ROOT_EPOCH: u8 = 5;
const LOG_FLOOR: u8 = 6;
const REWRITE: u8 = 8;
const DROP_STORE: u8 = 9;

const COMPONENT_BYTES: usize = 4 + 16 + WRAPPED_DATA_KEY_BYTES + 8;
const ENTRY_BYTES_MIN: usize = 8 + 4 + 4 + 4;
const WRAP_ENTRY_BYTES: usize = 16 + WRAPPED_DATA_KEY_BYTES;
/// Kind of table and shard: rooms for ledgers and shards, of which there is one each today.
const ORDINARY: u8 = 0;
const SHARD: u32 = 0;

impl Edit {
    /// The table it is about.
    pub fn table(&self) -> TableId {
        match self {
            Edit::CreateTable { table, .. }
            | Edit::DropTable { table }
            | Edit::AddSstables { table, .. }
            | Edit::Rewrap { table, .. }
            | Edit::RootEpoch { table, .. }
            | Edit::LogFloor { table, .. }
            | Edit::Rewrite { table, .. }
            | Edit::DropStore { table, .. } => *table,
        }
    }

    /// Appends the edit.
    pub fn encode(&self, out: &mut FieldWriter) {
        let start = out.len();
        out.u8(self.tag()).zero(3).u32(0).raw(&self.table().0);
        match self {
            Edit::CreateTable { log_floor, .. } => {
                out.u32(SHARD).u8(ORDINARY).zero(3).u64(*log_floor);
            }
            Edit::DropTable { .. } => {}
            Edit::AddSstables {
                added,
                removed,
                log_floor,
                ..
            } => {
                out.u8(u8::from(log_floor.is_some())).zero(3);
                out.u64(log_floor.unwrap_or(0)).u32(removed.len() as u32);
                removed.iter().for_each(|id| {
                    out.u64(*id);
                });
                out.u32(added.len() as u32);
                added.iter().for_each(|entry| encode_entry(entry, out));
            }
            Edit::Rewrap { epoch, wraps, .. } => {
                out.u64(*epoch).u32(wraps.len() as u32);
                for (structure, wrapped) in wraps {
                    out.raw(&structure.0).raw(&wrapped.to_bytes());
                }
            }
            Edit::RootEpoch {
                epoch, root_hash, ..
            } => {
                out.u64(*epoch).raw(root_hash);
            }
            Edit::LogFloor { floor, .. } => {
                out.u64(*floor);
            }
            Edit::Rewrite { rewrite, .. } => {
                out.u64(rewrite.below).u32(rewrite.total);
            }
            Edit::DropStore { store, .. } => {
                out.u16(store.0).zero(6);
            }
        }
        let body = out.len() - start - 8;
        out.patch_u32(start + 4, body as u32);
    }

    fn tag(&self) -> u8 {
        match self {
            Edit::CreateTable { .. } => CREATE_TABLE,
            Edit::DropTable { .. } => DROP_TABLE,
            Edit::AddSstables { .. } => ADD_SSTABLES,
            Edit::Rewrap { .. } => REWRAP,
            Edit::RootEpoch { .. } => ROOT_EPOCH,
            Edit::LogFloor { .. } => LOG_FLOOR,
            Edit::Rewrite { .. } => REWRITE,
            Edit::DropStore { .. } => DROP_STORE,
        }
    }

    /// Reads a row of edits to its end; `None` if it is not what `encode` writes.
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<Edit>> {
        let mut fields = FieldReader::new(bytes);
        let mut edits = Vec::new();
        while fields.left() > 0 {
            let tag = fields.u8()?;
            fields.zero(3)?;
            let length = fields.u32()? as usize;
            let mut body = FieldReader::new(fields.raw(length)?);
            edits.push(decode_body(tag, &mut body)?);
            body.end()?;
        }
        Some(edits)
    }
}

fn decode_body(tag: u8, body: &mut FieldReader<'_>) -> Option<Edit> {
    let table = TableId(body.array()?);
    Some(match tag {
        CREATE_TABLE => {
            body.expect(&SHARD.to_le_bytes())?;
            body.expect(&[ORDINARY, 0, 0, 0])?;
            Edit::CreateTable {
                table,
                log_floor: body.u64()?,
            }
        }
        DROP_TABLE => Edit::DropTable { table },
        ADD_SSTABLES => {
            let has_floor = body.u8()?;
            body.zero(3)?;
            let floor = body.u64()?;
            let log_floor = match has_floor {
                0 if floor == 0 => None,
                1 => Some(floor),
                _ => return None,
            };
            let count = body.u32()? as usize;
            let removed = (0..body.fits(count, 8)?)
                .map(|_| body.u64())
                .collect::<Option<_>>()?;
            let count = body.u32()? as usize;
            let added = (0..body.fits(count, ENTRY_BYTES_MIN)?)
                .map(|_| decode_entry(body))
                .collect::<Option<_>>()?;
            Edit::AddSstables {
                table,
                added,
                removed,
                log_floor,
            }
        }
        REWRAP => {
            let epoch = body.u64()?;
            let count = body.u32()? as usize;
            let wraps = (0..body.fits(count, WRAP_ENTRY_BYTES)?)
                .map(|_| Some((StructureId(body.array()?), decode_wrap(body)?)))
                .collect::<Option<_>>()?;
            Edit::Rewrap {
                table,
                epoch,
                wraps,
            }
        }
        ROOT_EPOCH => Edit::RootEpoch {
            table,
            epoch: body.u64()?,
            root_hash: body.array()?,
        },
        LOG_FLOOR => Edit::LogFloor {
            table,
            floor: body.u64()?,
        },
        REWRITE => Edit::Rewrite {
            table,
            rewrite: Rewrite {
                below: body.u64()?,
                total: body.u32()?,
            },
        },
        DROP_STORE => {
            let store = Store(body.u16()?);
            body.zero(6)?;
            // The base ends with its table only.
            if store == Store::BASE {
                return None;
            }
            Edit::DropStore { table, store }
        }
        _ => return None,
    })
}

fn encode_entry(entry: &SstableEntry, out: &mut FieldWriter) {
    out.u64(entry.id).u8(entry.level).zero(1);
    out.u16(entry.store.0).u32(SHARD);
    out.u16(entry.components.len() as u16).zero(2);
    for component in &entry.components {
        out.u8(component.kind as u8)
            .zero(3)
            .raw(&component.structure.0);
        out.raw(&component.wrapped.to_bytes()).u64(component.size);
    }
}

fn decode_entry(body: &mut FieldReader<'_>) -> Option<SstableEntry> {
    let id = body.u64()?;
    let level = body.u8()?;
    body.zero(1)?;
    let store = Store(body.u16()?);
    body.expect(&SHARD.to_le_bytes())?;
    let count = body.u16()? as usize;
    body.zero(2)?;
    let components = (0..body.fits(count, COMPONENT_BYTES)?)
        .map(|_| {
            let kind = StructureKind::from_u8(body.u8()?)?;
            body.zero(3)?;
            Some(Component {
                kind,
                structure: StructureId(body.array()?),
                wrapped: decode_wrap(body)?,
                size: body.u64()?,
            })
        })
        .collect::<Option<_>>()?;
    Some(SstableEntry {
        id,
        level,
        store,
        components,
    })
}

fn decode_wrap(body: &mut FieldReader<'_>) -> Option<WrappedDataKey> {
    WrappedDataKey::from_bytes(body.raw(WRAPPED_DATA_KEY_BYTES)?).ok()
}
