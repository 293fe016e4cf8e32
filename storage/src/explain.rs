//! What a folder tells without any key: which tables there are, which KMS keys open them, what they have on the disk.
//!
//! Everything here is on the closed list of what may be in the clear, and nothing of it is authenticated: the records and seals that vouch for it open under
//! the service's key alone ([`crate::verify`]). A forged folder explains itself as its forger likes; it opens nothing by that.

use std::collections::BTreeMap;

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::commitlog::layout::{GroupHeader, PAGE};
use crate::error::Result;
use crate::manifest::Manifest;
use crate::root::{self, RootState, SERVICE};
use crate::structure::{LogParts, Structure, of_sstables};

/// What a folder says of itself.
#[derive(Debug)]
pub struct Explanation {
    /// The root of the service's own key.
    pub service: RootState,
    /// The manifest's newest commit; None: no copy can be read.
    pub epoch: Option<u64>,
    /// All tables that manifest, roots or log name.
    pub tables: BTreeMap<TableId, ExplainedTable>,
    /// Segments of the log.
    pub log_segments: u64,
    /// Their bytes, padding included.
    pub log_bytes: u64,
}

/// What a folder says of one table.
#[derive(Debug)]
pub struct ExplainedTable {
    /// Its root; the service's own tables have none.
    pub root: RootState,
    /// Whether the manifest names it. What it does not name is left over from a table that was dropped, or never finished.
    pub is_named: bool,
    /// Its structures: SSTables' components, then its parts of log segments, needed or not.
    pub structures: Vec<Structure>,
}

impl Default for ExplainedTable {
    fn default() -> Self {
        ExplainedTable {
            root: RootState::Missing,
            is_named: false,
            structures: Vec::new(),
        }
    }
}

/// Reads what is public.
pub async fn explain<B: Backend>(backend: &B) -> Result<Explanation> {
    let mut tables: BTreeMap<TableId, ExplainedTable> = BTreeMap::new();
    let manifest = Manifest::public(backend).await?;
    for (id, state) in manifest.iter().flat_map(|(state, _)| &state.tables) {
        let table = tables.entry(*id).or_default();
        table.is_named = true;
        table.structures = of_sstables(state.sstables.values());
    }
    for id in backend.root_list().await? {
        if id != SERVICE {
            tables.entry(id).or_default().root = root::load(backend, id).await?.state;
        }
    }
    let mut parts: BTreeMap<TableId, LogParts> = BTreeMap::new();
    let segments = backend.log_list().await?;
    for segment in &segments {
        let bytes = backend
            .log_read(segment.number, 0, segment.bytes as usize)
            .await?;
        read_segment(segment.number, &bytes, &mut parts);
    }
    for (id, parts) in parts {
        let table = tables.entry(id).or_default();
        table.structures.extend(parts.into_structures());
    }
    Ok(Explanation {
        service: root::load(backend, SERVICE).await?.state,
        epoch: manifest.map(|(_, sequence)| sequence),
        tables,
        log_segments: segments.len() as u64,
        log_bytes: segments.iter().map(|segment| segment.bytes).sum(),
    })
}

/// Every group whose header stands on a page.
fn read_segment(number: u64, bytes: &[u8], parts: &mut BTreeMap<TableId, LogParts>) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let header = GroupHeader::decode(rest).filter(|header| header.segment == number);
        let Some(header) = header else {
            at += PAGE;
            continue;
        };
        for share in &header.shares {
            parts.entry(share.table).or_default().add(
                number,
                share.structure,
                share.length,
                share.wrapped.as_ref(),
            );
        }
        at += (header.pages as usize).max(1) * PAGE;
    }
}
