//! The manifest: which blobs are the tables, under which wrapped keys, and since when. One log of edits in two copies.
//!
//! ```text
//! generation    [header][snapshot frame][edit frame][edit frame] ..      the same bytes in copy 0 and copy 1
//! frame         [head][edits][record, sealed under the service's key][CRC]
//! ```
//!
//! Edits are public; what makes them trustworthy is the record that closes each frame: hash of the frame, hash of the one before it,
//! the log's position, the folder's lineage, and epoch and root hash of each table touched. An edit that nobody made, a frame left out or put back, and a
//! root of another age show.
//!
//! What must hold:
//! - `commit` returns `Ok` only once the frame is durable in both copies. A crash at any step leaves the old state or the new one.
//! - After an error of `commit` the outcome is unknown until the next success: files that the edits name must stay. The next commit
//!   begins a new generation, and with that the failed edits are out for good.
//! - One committer (`&mut self`), who gathers many tables' edits into one commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use palladium_crypto::{KeyRing, Lineage, Sealed, StructureKind, TableId};

use self::frame::{FrameHead, FrameKind, GenerationHeader, Record};
use self::recovery::{Found, NewestFrame};
use crate::backend::fields::FieldWriter;
use crate::backend::{Backend, Part, Public};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::sealed::SealedWriter;

pub mod edit;
pub mod frame;
mod recovery;
#[cfg(test)]
mod tests;
pub mod version;

pub use self::edit::{Component, Edit, Rewrite, SstableEntry};
pub use self::version::{State, TableState};

/// A generation is rewritten when its edits outweigh its snapshot so many times ..
const EDITS_PER_SNAPSHOT_MAX: u64 = 4;
/// .. and have at least this size: below it, rewriting costs more than reading.
const EDITS_BYTES_MIN: u64 = 1024 * 1024;

/// What recovery says besides the state.
#[derive(Clone, Default, Eq, PartialEq, Debug)]
pub struct ManifestReport {
    /// The newest commit.
    pub sequence: u64,
    /// The newest log group that it knew of.
    pub log_sequence: u64,
    /// The wall clock then, microseconds.
    pub clock_micros: i64,
    /// Which history of the folder it belongs to.
    pub lineage: Lineage,
    /// Damage to one copy that the other one made good.
    pub notes: Vec<String>,
    /// What a crash explains and looks the same as damage to the newest frame of one copy: a commit cut short.
    pub unfinished: Vec<String>,
    /// What stands behind the newest frame of copy 0 and never was a commit. A start cut short leaves it, also behind a clean stop: its first commit comes before its
    /// first word in the log.
    pub begun: Vec<String>,
    /// The newest frame is whole in no copy, and an operator has given it up.
    pub given_up: Option<String>,
    /// There was no manifest: a new folder, if nothing else is in it.
    pub is_new: bool,
}

/// The manifest, open for commits.
pub struct Manifest<B: Backend> {
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    state: State,
    generation: u64,
    /// Generations of which some copy exists.
    on_disk: Vec<u64>,
    /// The end of both copies.
    offset: u64,
    snapshot_bytes: u64,
    /// The newest frame's sequence and hash.
    sequence: u64,
    previous: [u8; 32],
    log_sequence: u64,
    lineage: Lineage,
    /// The present generation is not to be appended to: damaged, or a commit to it has failed.
    needs_generation: bool,
}

/// Tables that edits touch, as they are afterwards.
struct Touched {
    ids: BTreeSet<TableId>,
    state: State,
}

/// A frame whose record is not sealed yet.
struct Draft {
    head: Public,
    record: Vec<u8>,
    writer: SealedWriter,
}

impl<B: Backend> Manifest<B> {
    /// Reads the manifest, heals what one copy lost, and opens it for commits.
    pub async fn recover(
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
    ) -> Result<(Manifest<B>, ManifestReport)> {
        let found = recovery::read(&*backend, &service, NewestFrame::IsNeeded).await?;
        let report = found.report.clone();
        let mut manifest = Self::of(backend, env, service, found);
        if manifest.needs_generation {
            manifest.begin_generation(manifest.state.clone()).await?;
        }
        Ok((manifest, report))
    }

    /// Goes back to the commit before a newest one that is whole in no copy, at an operator's order. Its own number, and all up to `known`, are not given again: whoever has
    /// seen them sees something newer.
    pub async fn give_up_the_newest(
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
        known: u64,
    ) -> Result<()> {
        let mut found = recovery::read(&*backend, &service, NewestFrame::MayBeGivenUp).await?;
        if found.report.given_up.is_none() {
            return Ok(());
        }
        found.report.sequence = found.report.sequence.saturating_add(1).max(known);
        let mut manifest = Self::of(backend, env, service, found);
        manifest.begin_generation(manifest.state.clone()).await
    }

    fn of(backend: Arc<B>, env: Arc<dyn Env>, service: Arc<KeyRing>, found: Found) -> Self {
        Manifest {
            backend,
            env,
            service,
            state: found.state,
            generation: found.newest_generation,
            on_disk: found.on_disk,
            offset: found.offset,
            snapshot_bytes: found.snapshot_bytes,
            sequence: found.report.sequence,
            previous: found.previous,
            log_sequence: found.report.log_sequence,
            lineage: found.report.lineage,
            needs_generation: found.needs_generation,
        }
    }

    /// Reads the manifest and changes nothing, for `verify` and `explain`.
    pub async fn inspect(backend: &B, service: &KeyRing) -> Result<(State, ManifestReport)> {
        let found = recovery::read(backend, service, NewestFrame::IsNeeded).await?;
        Ok((found.state, found.report))
    }

    /// What an operator would give up to have the commit before the newest one, if the newest is whole in no copy. Changes nothing.
    pub async fn what_to_give_up(backend: &B, service: &KeyRing) -> Result<Option<String>> {
        let found = recovery::read(backend, service, NewestFrame::MayBeGivenUp).await?;
        Ok(found.report.given_up)
    }

    /// What stands in the clear, without a key to vouch for it, and the newest commit. None: no copy can be read.
    pub async fn public(backend: &B) -> Result<Option<(State, u64)>> {
        recovery::read_public(backend).await
    }

    /// Makes edits durable, all or none. `Invalid` (and nothing written) if they make no sense here.
    pub async fn commit(&mut self, edits: &[Edit]) -> Result<()> {
        let touched = self.apply_aside(edits)?;
        if self.needs_generation || self.is_long() {
            let mut state = self.state.clone();
            touched.merge_into(&mut state);
            return self.begin_generation(state).await;
        }
        let tables = touched
            .ids
            .iter()
            .map(|id| (*id, touched.state.tables.get(id)));
        let mut draft = self.draft(FrameKind::Edits, self.generation, edits, tables)?;
        let sealed = draft.writer.append(&[], true, &mut draft.record)?;
        let (checksum, hash) = close_frame(&draft.head, sealed);
        let parts = [Part::from(&draft.head), sealed.into(), (&checksum).into()];
        // Until the frame is known to be in both copies; also if this future is dropped while it waits.
        self.needs_generation = true;
        self.backend
            .manifest_append(self.generation, self.offset, &parts)
            .await?;
        self.needs_generation = false;
        self.offset += parts
            .iter()
            .map(|part| part.bytes().len() as u64)
            .sum::<u64>();
        self.sequence += 1;
        self.previous = hash;
        touched.merge_into(&mut self.state);
        Ok(())
    }

    /// Writes a new generation with `state` in it, and removes the one before.
    async fn begin_generation(&mut self, state: State) -> Result<()> {
        // A number is used once, also if the attempt fails: what it left behind is an unfinished generation.
        self.generation += 1;
        self.on_disk.push(self.generation);
        self.needs_generation = true;
        let header = Public::generation_header(&GenerationHeader {
            generation: self.generation,
        });
        let tables = state.tables.iter().map(|(id, table)| (*id, Some(table)));
        let mut draft = self.draft(
            FrameKind::Snapshot,
            self.generation,
            &state.snapshot(),
            tables,
        )?;
        let sealed = draft.writer.append(&[], true, &mut draft.record)?;
        let (checksum, hash) = close_frame(&draft.head, sealed);
        let parts = [
            Part::from(&header),
            (&draft.head).into(),
            sealed.into(),
            (&checksum).into(),
        ];
        self.backend
            .manifest_create(self.generation, &parts)
            .await?;
        self.needs_generation = false;
        self.offset = parts.iter().map(|part| part.bytes().len() as u64).sum();
        self.snapshot_bytes = self.offset;
        self.sequence += 1;
        self.previous = hash;
        self.state = state;
        // The newer one holds. An old one that cannot be removed now is removed with the next, and is no reason to say that this commit has failed.
        for generation in std::mem::take(&mut self.on_disk) {
            if generation == self.generation {
                self.on_disk.push(generation);
            } else if let Err(error) = self.backend.manifest_remove(generation).await {
                tracing::warn!(generation, %error, "an old manifest generation stays");
                self.on_disk.push(generation);
            }
        }
        Ok(())
    }

    fn draft<'a>(
        &self,
        kind: FrameKind,
        generation: u64,
        edits: &[Edit],
        tables: impl Iterator<Item = (TableId, Option<&'a TableState>)>,
    ) -> Result<Draft> {
        let mut encoded = FieldWriter::with_capacity(256);
        edits.iter().for_each(|edit| edit.encode(&mut encoded));
        let tables: Vec<_> = tables
            .map(|(id, table)| {
                table.map_or((id, 0, [0; 32]), |table| (id, table.epoch, table.root_hash))
            })
            .collect();
        let writer = SealedWriter::new(
            &self.service,
            self.env.entropy(),
            StructureKind::ServiceRecord,
        );
        let head = FrameHead {
            kind,
            generation,
            sequence: self.sequence + 1,
            structure: writer.structure(),
            wrapped: writer.wrapped().clone(),
            edits: encoded.bytes(),
            record_bytes: Record::sealed_bytes(tables.len(), self.lineage),
        };
        if u32::try_from(head.frame_bytes()).is_err() {
            return Err(Error::Invalid {
                what: "a manifest frame of more than 4 GiB".into(),
            });
        }
        let head = Public::manifest_frame(&head);
        let record = Record {
            content: palladium_crypto::sha256(&[head.bytes()]),
            previous: self.previous,
            sequence: self.sequence + 1,
            log_sequence: self.log_sequence,
            clock_micros: self.env.wall_micros(),
            tables,
            lineage: self.lineage,
        };
        Ok(Draft {
            head,
            record: record.encode(),
            writer,
        })
    }

    /// Applies edits to copies of the tables they touch.
    fn apply_aside(&self, edits: &[Edit]) -> Result<Touched> {
        let ids: BTreeSet<TableId> = edits.iter().map(Edit::table).collect();
        let tables = ids
            .iter()
            .filter_map(|id| Some((*id, self.state.tables.get(id)?.clone())));
        let mut state = State {
            tables: tables.collect(),
        };
        for edit in edits {
            state.apply(edit).map_err(|what| Error::Invalid { what })?;
        }
        Ok(Touched { ids, state })
    }

    /// The log is durable up to here: the next commit will say that it knows.
    pub fn note_log(&mut self, sequence: u64) {
        self.log_sequence = self.log_sequence.max(sequence);
    }

    /// The next commit, and all after it, are of another lineage than what was committed before.
    pub fn begin_lineage(&mut self, lineage: Lineage) {
        self.lineage = lineage;
    }

    /// Which history of the folder it is.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// What the tables are made of.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The newest commit.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn is_long(&self) -> bool {
        let edits = self.offset - self.snapshot_bytes.min(self.offset);
        edits > EDITS_BYTES_MIN.max(self.snapshot_bytes.saturating_mul(EDITS_PER_SNAPSHOT_MAX))
    }
}

impl Touched {
    fn merge_into(mut self, state: &mut State) {
        for id in self.ids {
            match self.state.tables.remove(&id) {
                Some(table) => state.tables.insert(id, table),
                None => state.tables.remove(&id),
            };
        }
    }
}

/// The checksum that ends the frame, and the hash by which the next frame names it.
fn close_frame(head: &Public, record: Sealed<'_>) -> (Public, [u8; 32]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.bytes());
    crc.update(record.bytes());
    let checksum = Public::checksum(crc.finalize());
    let hash = palladium_crypto::sha256(&[head.bytes(), record.bytes(), checksum.bytes()]);
    (checksum, hash)
}
