//! Reads the manifest from two copies.
//!
//! Both copies hold the same bytes at the same offsets, so each frame is taken from whichever copy holds it whole. Copy 0 is written
//! and synced before copy 1 is touched: a frame in copy 0 alone is a commit cut short (or a lost tail of copy 1), one in copy 1 alone
//! is damage, and a place where neither is whole and copy 1 goes on is damage that nothing makes good: an operator may go back to the commit before it.
//!
//! What cannot be told here: a newest frame gone from both copies, or gone from copy 1 and damaged in copy 0, looks like one that was never finished. The log, or the
//! anchor outside the folder, may know of its commit; each hears of it within a second.

use palladium_crypto::{KeyRing, StructureKind};

use super::ManifestReport;
use super::edit::Edit;
use super::frame::{Frame, FrameKind, GENERATION_HEADER_BYTES, GenerationHeader, Record};
use super::version::State;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::sealed::SealedReader;

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub state: State,
    pub report: ManifestReport,
    /// The largest generation number in use.
    pub newest_generation: u64,
    /// All generations of which some copy exists.
    pub on_disk: Vec<u64>,
    pub offset: u64,
    pub snapshot_bytes: u64,
    /// Hash of the newest frame.
    pub previous: [u8; 32],
    pub needs_generation: bool,
}

/// What becomes of a newest frame that is whole in no copy and was no commit cut short.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum NewestFrame {
    /// Nothing is opened.
    IsNeeded,
    /// The commit before it is taken: an operator said so.
    MayBeGivenUp,
}

/// Reads the newest generation that was ever finished.
pub(super) async fn read<B: Backend>(
    backend: &B,
    service: &KeyRing,
    newest_frame: NewestFrame,
) -> Result<Found> {
    let generations = backend.manifest_list().await?;
    let newest = generations.last().copied().unwrap_or(0);
    for &generation in generations.iter().rev() {
        let copies = [
            backend.manifest_read(generation, 0).await?,
            backend.manifest_read(generation, 1).await?,
        ];
        if let Some(mut found) = read_generation(generation, &copies, service, newest_frame)? {
            found.newest_generation = newest;
            // Older ones are there still, or an unfinished newer one is: a new generation sweeps them.
            found.needs_generation |= generations.len() > 1;
            found.on_disk = generations;
            return Ok(found);
        }
    }
    Ok(Found {
        newest_generation: newest,
        on_disk: generations,
        needs_generation: true,
        report: ManifestReport {
            is_new: true,
            ..ManifestReport::default()
        },
        ..Found::default()
    })
}

/// The edits of the newest generation that has any, from whichever copy has more of them. No record is opened: a frame is believed for its CRC alone.
pub(super) async fn read_public<B: Backend>(backend: &B) -> Result<Option<(State, u64)>> {
    for generation in backend.manifest_list().await?.into_iter().rev() {
        let mut newest: Option<(State, u64)> = None;
        for copy in 0..2 {
            let bytes = backend.manifest_read(generation, copy).await?;
            let found = bytes.and_then(|bytes| public_state(&bytes));
            let known = newest.as_ref().map_or(0, |(_, sequence)| *sequence);
            newest = found.filter(|(_, sequence)| *sequence > known).or(newest);
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

fn public_state(bytes: &[u8]) -> Option<(State, u64)> {
    let mut rest = bytes.get(GENERATION_HEADER_BYTES..)?;
    let mut newest = None;
    let mut state = State::default();
    while let Some(frame) = Frame::parse(rest) {
        let edits = Edit::decode_all(frame.head.edits)?;
        if edits.iter().any(|edit| state.apply(edit).is_err()) {
            break;
        }
        newest = Some(frame.head.sequence);
        rest = &rest[frame.all.len()..];
    }
    Some((state, newest?))
}

/// A frame that is whole and says what its record says.
struct Checked<'a> {
    frame: Frame<'a>,
    record: Record,
}

/// `None`: the generation was never finished.
fn read_generation(
    generation: u64,
    copies: &[Option<Vec<u8>>; 2],
    service: &KeyRing,
    newest_frame: NewestFrame,
) -> Result<Option<Found>> {
    let bytes = [0, 1].map(|copy| copies[copy].as_deref().unwrap_or(&[]));
    let header = GenerationHeader { generation }.encode();
    let has_header = bytes.map(|bytes| bytes.starts_with(&header));
    let mut reading = Reading {
        generation,
        offset: GENERATION_HEADER_BYTES,
        found: Found::default(),
        bytes,
        service,
        gives_up_the_newest: newest_frame == NewestFrame::MayBeGivenUp,
    };
    while let Some(checked) = reading.next_frame()? {
        reading.take(checked)?;
    }
    for copy in 0..2 {
        if !has_header[copy] && !bytes[copy].is_empty() {
            reading.note_header(copy, has_header[1 - copy]);
        }
    }
    if reading.offset > GENERATION_HEADER_BYTES {
        return Ok(Some(reading.finish()));
    }
    if bytes[1].is_empty() {
        return Ok(None);
    }
    Err(Error::corrupt(format!(
        "manifest generation {generation}: no copy has a snapshot"
    )))
}

/// Whether a whole frame stands anywhere in these bytes.
fn holds_a_whole_frame(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| Frame::parse(&bytes[at..]).is_some())
}

struct Reading<'a> {
    generation: u64,
    offset: usize,
    found: Found,
    bytes: [&'a [u8]; 2],
    service: &'a KeyRing,
    gives_up_the_newest: bool,
}

impl<'a> Reading<'a> {
    fn next_frame(&mut self) -> Result<Option<Checked<'a>>> {
        let rest = self
            .bytes
            .map(|bytes| bytes.get(self.offset..).unwrap_or(&[]));
        let frames = rest.map(Frame::parse);
        let is_same = matches!(&frames, [Some(first), Some(second)] if first.all == second.all);
        if is_same {
            let [first, _] = frames;
            let frame = first.expect("both are there");
            return match self.check(frame)? {
                Some(checked) => Ok(Some(checked)),
                None => Err(self.corrupt("a frame that nobody wrote")),
            };
        }
        let was_whole = frames.each_ref().map(Option::is_some);
        let [first, second] = frames;
        let first = first.map(|frame| self.check(frame)).transpose()?.flatten();
        let second = second.map(|frame| self.check(frame)).transpose()?.flatten();
        match (first, second) {
            (Some(_), Some(_)) => Err(self.corrupt("two copies, each whole, that differ")),
            (Some(checked), None) => {
                if rest[0].len() == checked.frame.all.len() {
                    let text = self.note_text(
                        1,
                        "the newest frame is damaged, or its commit was cut short",
                    );
                    self.found.report.unfinished.push(text);
                } else {
                    self.note(1, "a frame is damaged or missing");
                }
                self.found.needs_generation = true;
                Ok(Some(checked))
            }
            (None, Some(checked)) => {
                self.note(0, "a frame is damaged or missing");
                Ok(Some(checked))
            }
            (None, None) if rest[1].is_empty() && !was_whole[0] => {
                if !rest[0].is_empty() {
                    let what = "a commit was cut short, or somebody added to it";
                    let text = self.note_text(0, what);
                    self.found.report.begun.push(text);
                    self.found.needs_generation = true;
                }
                Ok(None)
            }
            (None, None) if self.is_at_start() => Ok(None),
            // No commit comes to copy 1 before its frame is durable in copy 0. So nothing was cut short: either somebody added to copy 1, or copy 0 has lost a frame of
            // which this is what is left.
            (None, None) if rest[0].is_empty() && !self.may_be_of_the_next_frame(rest[1]) => {
                self.note(1, "something stands behind the newest frame");
                Ok(None)
            }
            (None, None) if was_whole.contains(&true) => {
                Err(self.corrupt("a frame that nobody wrote"))
            }
            (None, None) if rest.iter().any(|rest| holds_a_whole_frame(rest)) => {
                Err(self.corrupt("no copy of a frame is whole, and others follow it"))
            }
            (None, None) if self.gives_up_the_newest => {
                let what = "the newest commit is whole in no copy";
                self.found.report.given_up = Some(self.at(what));
                self.found.needs_generation = true;
                Ok(None)
            }
            (None, None) => Err(self.corrupt(
                "no copy of the newest frame is whole; salvage goes back to the commit before it",
            )),
        }
    }

    /// Whether bytes behind the newest frame may be what is left of the next one.
    fn may_be_of_the_next_frame(&self, bytes: &[u8]) -> bool {
        let (generation, sequence) = (self.generation, self.found.report.sequence + 1);
        Frame::may_be_left_of(bytes, generation, sequence) || holds_a_whole_frame(bytes)
    }

    fn is_at_start(&self) -> bool {
        self.offset == GENERATION_HEADER_BYTES
    }

    /// Opens the record and compares. `None` if the frame is not what its record says or its record does not open.
    fn check(&self, frame: Frame<'a>) -> Result<Option<Checked<'a>>> {
        let head = &frame.head;
        let kind = StructureKind::ServiceRecord;
        let reader = match SealedReader::new(self.service, &head.wrapped, head.structure, kind) {
            Ok(reader) => reader,
            Err(error @ Error::KeyUnavailable { .. }) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut plain = Vec::with_capacity(frame.record.len());
        if reader.open(0, true, &[], frame.record, &mut plain).is_err() {
            return Ok(None);
        }
        let content = palladium_crypto::sha256(&[frame.covered]);
        let record = Record::decode(&plain).filter(|record| {
            record.content == content
                && record.sequence == head.sequence
                && head.generation == self.generation
        });
        Ok(record.map(|record| Checked { frame, record }))
    }

    fn take(&mut self, Checked { frame, record }: Checked<'a>) -> Result<()> {
        let is_first = self.offset == GENERATION_HEADER_BYTES;
        let follows = match frame.head.kind {
            FrameKind::Snapshot => is_first,
            FrameKind::Edits => {
                !is_first
                    && record.sequence == self.found.report.sequence + 1
                    && record.previous == self.found.previous
            }
        };
        if !follows {
            return Err(self.corrupt("a frame that does not follow the one before it"));
        }
        let edits = Edit::decode_all(frame.head.edits)
            .ok_or_else(|| self.corrupt("edits that this release does not know"))?;
        for edit in &edits {
            self.found
                .state
                .apply(edit)
                .map_err(|what| self.corrupt(&what))?;
        }
        for (id, epoch, root_hash) in &record.tables {
            let table = self.found.state.tables.get(id);
            if table.is_some_and(|table| (table.epoch, table.root_hash) != (*epoch, *root_hash)) {
                return Err(
                    self.corrupt(&format!("the epoch of table {id} is not the one recorded"))
                );
            }
        }
        self.found.report.sequence = record.sequence;
        self.found.report.log_sequence = record.log_sequence;
        self.found.report.clock_micros = record.clock_micros;
        self.found.report.lineage = record.lineage;
        self.found.previous = frame.hash();
        self.offset += frame.all.len();
        if is_first {
            self.found.snapshot_bytes = self.offset as u64;
        }
        Ok(())
    }

    fn note(&mut self, copy: usize, what: &str) {
        let text = self.note_text(copy, what);
        self.found.report.notes.push(text);
        self.found.needs_generation = true;
    }

    fn note_text(&self, copy: usize, what: &str) -> String {
        let (generation, offset) = (self.generation, self.offset);
        format!(
            "manifest generation {generation}, copy {copy} at {offset}: {what}; the other copy serves"
        )
    }

    /// A damaged header; or a generation whose creation was cut short, if nothing was ever appended to it.
    fn note_header(&mut self, copy: usize, other_is_whole: bool) {
        let is_newborn = self.bytes[0].len() as u64 == self.found.snapshot_bytes;
        let is_cut_short = is_newborn && other_is_whole && (copy == 1 || self.bytes[1].is_empty());
        match is_cut_short {
            true => {
                let text = format!(
                    "manifest generation {}, copy {copy}: its header is damaged, or its creation was cut short; the other copy serves",
                    self.generation
                );
                self.found.report.unfinished.push(text);
                self.found.needs_generation = true;
            }
            false if other_is_whole => self.note(copy, "its header is damaged"),
            // No header is needed to read what follows it.
            false => {
                let text = format!(
                    "manifest generation {}, copy {copy}: its header is damaged, and so is the other copy's; what follows them serves",
                    self.generation
                );
                self.found.report.notes.push(text);
                self.found.needs_generation = true;
            }
        }
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(self.at(what))
    }

    fn at(&self, what: &str) -> String {
        format!(
            "manifest generation {} at {}: {what}",
            self.generation, self.offset
        )
    }

    fn finish(mut self) -> Found {
        self.found.offset = self.offset as u64;
        self.found
    }
}
