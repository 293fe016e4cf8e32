//! `CommitLog`: seals a group, appends it, and answers when it is durable.
//!
//! One group at a time: `&mut self`. The next group forms in the engine meanwhile. The order within one append is: make room (a new
//! segment if need be, which may say `Full`), seal, write, sync, and only then move on. A future dropped half-way leaves the log
//! closed, because nobody knows what reached the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::channel::oneshot;
use palladium_crypto::{KeyRing, Sealed, StructureKind, TableId};

use super::group::{Content, TableSealers, addresses, carry_sealed, pages_at_most};
use super::layout::{
    GroupHeader, GroupKind, Origin, PAGE, SEGMENT_HEADER_PAGES, SealRecord, SegmentHeader,
    SegmentRecord, Trailer, WatermarkRecord, chain,
};
use super::removal::{self, Removals};
use super::watermark::WatermarkWriter;
use super::{
    CommitLogOptions, GROUP_BYTES_MAX, Recovered, SegmentTables, Share, ShareAddress, recovery,
};
use crate::backend::{Backend, Copied, Durability, Part, Public};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::sealed::SealedWriter;

/// The log, open for appending.
pub struct CommitLog<B: Backend> {
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    options: CommitLogOptions,
    active: Option<Active>,
    preparing: Option<Preparing>,
    segments: BTreeMap<u64, SegmentTables>,
    /// The largest segment number in use, readable or not.
    newest_segment: u64,
    /// The last group written.
    last: Position,
    /// The last group known to be durable.
    durable: Position,
    /// First sequence written since the last sync.
    unit: Option<u64>,
    timestamp_high_water: i64,
    manifest_sequence: u64,
    watermark: WatermarkWriter,
    stored: Option<WatermarkRecord>,
    is_closed: bool,
    /// Segments from here on stay, whatever the tables say.
    keep_from: u64,
    /// Segments that nobody needs, until a watermark says so.
    released: Vec<u64>,
    removals: Arc<Removals>,
}

/// A place in the chain of seals.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Position {
    pub sequence: u64,
    pub segment: u64,
    pub seal: [u8; 32],
}

/// The segment being written.
struct Active {
    segment: u64,
    bytes: u64,
    offset: u64,
    seals: SealedWriter,
    /// `chain` of the last seal in it; of the header's block before the first.
    seal: [u8; 32],
    first_sequence: u64,
    tables: TableSealers,
}

/// A segment being filled with zeros ahead of its use.
struct Preparing {
    segment: u64,
    done: oneshot::Receiver<()>,
}

impl<B: Backend> CommitLog<B> {
    /// Reads what is there and opens the log behind it. A damaged log opens too, but for one without a watermark: see [`Recovered::damage`] for whom that
    /// stops.
    pub async fn recover(
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
        options: CommitLogOptions,
    ) -> Result<(CommitLog<B>, Recovered)> {
        if options.segment_bytes < 8 * PAGE as u64
            || !options.segment_bytes.is_multiple_of(PAGE as u64)
        {
            return Err(Error::Invalid {
                what: "a log segment has at least eight pages, and whole ones".into(),
            });
        }
        let found = recovery::read(&*backend, &service).await?;
        // Without its watermark a log cannot say where it must reach, and storing a new one would make that forgotten.
        if let Some(damage) = found.recovered.headless() {
            return Err(Error::corrupt(damage.to_string()));
        }
        Self::behind(found, backend, env, service, options).await
    }

    /// Stores a watermark for a log that has lost its own, or all of itself, at an operator's order: it ends where its last whole group does.
    pub async fn take_as_found(
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
        incarnation: u64,
    ) -> Result<()> {
        let found = recovery::read(&*backend, &service).await?;
        let options = CommitLogOptions::new(incarnation);
        let taken = Self::behind(found, backend, env, service, options).await;
        taken.map(drop)
    }

    /// Opens the log behind what was found.
    async fn behind(
        found: recovery::Found,
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
        options: CommitLogOptions,
    ) -> Result<(CommitLog<B>, Recovered)> {
        // What the dead process wrote may lie in the page cache only; from here on it counts.
        if let Some(newest) = found.newest_read {
            backend.log_sync(newest).await?;
        }
        if let Some(slot) = found.watermark.newest_slot() {
            // So may the newest watermark. The next one goes to the other slot, and until it is durable this one has to hold.
            backend.watermark_harden(slot).await?;
        }
        // Nobody needs them, says the newest watermark: not before that word is durable.
        backend.log_remove(&found.leftovers).await?;
        let mut log = CommitLog {
            watermark: WatermarkWriter::new(&*env, &service, options.incarnation, &found.watermark),
            backend,
            env,
            service,
            options,
            active: None,
            preparing: None,
            segments: found.recovered.segments.clone(),
            newest_segment: found.newest_segment,
            last: found.last,
            durable: found.last,
            unit: None,
            timestamp_high_water: found.recovered.timestamp_high_water,
            manifest_sequence: found.recovered.manifest_sequence,
            stored: None,
            is_closed: false,
            keep_from: u64::MAX,
            released: Vec::new(),
            removals: Arc::default(),
        };
        log.store_watermark().await?;
        Ok((log, found.recovered))
    }

    /// Makes a group durable, and says where its shares stand. `sequence` must be the next one. `timestamp_high_water`: no server
    /// timestamp in it is above.
    pub async fn commit(
        &mut self,
        sequence: u64,
        shares: Vec<(Share, Arc<KeyRing>)>,
        timestamp_high_water: i64,
    ) -> Result<Vec<ShareAddress>> {
        self.append(sequence, shares, timestamp_high_water, Durability::Now)
            .await
    }

    /// Writes a group; with `Durability::Later` it survives the process, and the power only after the next `sync` or `commit`.
    pub async fn append(
        &mut self,
        sequence: u64,
        shares: Vec<(Share, Arc<KeyRing>)>,
        timestamp_high_water: i64,
        durability: Durability,
    ) -> Result<Vec<ShareAddress>> {
        let contents = shares
            .into_iter()
            .map(|(share, ring)| Content::Fresh(share.into(), ring))
            .collect();
        self.timestamp_high_water = self.timestamp_high_water.max(timestamp_high_water);
        self.append_group(sequence, contents, durability).await
    }

    /// Writes shares again, still sealed, as a group of their own, so that the segments they are in may go. For tables whose key is
    /// away. Gives their new addresses; durable on return.
    pub async fn carry(
        &mut self,
        sequence: u64,
        addresses: &[ShareAddress],
    ) -> Result<Vec<ShareAddress>> {
        let mut contents = Vec::with_capacity(addresses.len());
        for address in addresses {
            let (segment, offset, length) =
                (address.segment, address.offset, address.length as usize);
            let copied =
                Copied::from_log(&*self.backend, segment, offset, length, address.crc).await?;
            contents.push(Content::Carried(address.clone(), copied));
        }
        self.append_group(sequence, contents, Durability::Now).await
    }

    /// Makes every group written so far durable.
    pub async fn sync(&mut self) -> Result<()> {
        self.ready()?;
        let Some(active) = &self.active else {
            return Ok(());
        };
        self.is_closed = true;
        self.backend.log_sync(active.segment).await?;
        self.is_closed = false;
        self.unit = None;
        self.durable = self.last;
        Ok(())
    }

    /// Forgets the data key of a table that is closed or switched: its next share gets a new one, under the ring it comes with.
    pub fn forget_key(&mut self, table: TableId) {
        if let Some(active) = &mut self.active {
            active.tables.forget(table);
        }
    }

    /// What each segment holds.
    pub fn segments(&self) -> &BTreeMap<u64, SegmentTables> {
        &self.segments
    }

    /// The last group written.
    pub fn last_sequence(&self) -> u64 {
        self.last.sequence
    }

    /// The last group known to be durable.
    pub fn durable_sequence(&self) -> u64 {
        self.durable.sequence
    }

    /// The manifest has committed `sequence`: the next watermark and segment will say that they know it.
    pub fn note_manifest(&mut self, sequence: u64) {
        self.manifest_sequence = self.manifest_sequence.max(sequence);
    }

    /// Whether the log takes another group. After an error that leaves this true, nothing was written.
    pub fn is_ready(&self) -> bool {
        !self.is_closed
    }

    /// Groups up to `sequence` are known from elsewhere and are not here: their numbers are not given again, and what is missing stays missed.
    pub fn skip_to(&mut self, sequence: u64) {
        if sequence <= self.last.sequence {
            return;
        }
        self.last.sequence = sequence;
        self.durable.sequence = sequence;
        // A segment's groups are contiguous; what comes next begins another one.
        self.active = None;
    }

    /// Segments that are on the disk, those that are still to be removed included.
    pub fn on_disk(&self) -> usize {
        self.segments.len() + self.released.len() + self.removals.len()
    }

    /// Segments from `segment` on are not released: they hold damage that later starts must see too.
    pub fn keep_from(&mut self, segment: u64) {
        self.keep_from = segment;
    }

    /// Lets segments go from the front that nobody needs: `floor(table)` is the first group that the table still needs. [`Self::release`] removes them.
    pub fn let_go(&mut self, floor: impl Fn(TableId) -> u64) {
        let newest = self.segments.keys().next_back().copied();
        let is_free = |number: u64, segment: &SegmentTables| {
            Some(number) != newest
                && number < self.keep_from
                && segment
                    .tables
                    .iter()
                    .all(|(table, last)| *last < floor(*table))
        };
        while let Some(oldest) = self.segments.first_entry()
            && is_free(*oldest.key(), oldest.get())
        {
            self.released.push(oldest.remove_entry().0);
        }
    }

    /// Has the segments removed that were let go, behind whoever appends. What could not be removed earlier is tried again.
    pub async fn release(&mut self) -> Result<()> {
        self.ready()?;
        if !self.released.is_empty() {
            // First the watermark: a segment missing behind what it says would be damage. Below it they may go in any order.
            self.store_watermark().await?;
            self.removals.add(std::mem::take(&mut self.released));
        }
        removal::begin(&self.removals, &self.backend, &*self.env);
        Ok(())
    }

    /// The newest group that the watermark on the disk names.
    pub fn stored_sequence(&self) -> u64 {
        self.stored.as_ref().map_or(0, |record| record.sequence)
    }

    /// Stores how far the log is durable, if that has changed. Each second, and before anything relies on it.
    pub async fn store_watermark(&mut self) -> Result<()> {
        let fresh = super::watermark::fresh();
        let oldest = self.segments.first_key_value();
        let record = WatermarkRecord {
            sequence: self.durable.sequence,
            segment: self.durable.segment,
            seal: self.durable.seal,
            oldest_segment: oldest.map_or(fresh.oldest_segment, |(number, _)| *number),
            oldest_sequence: oldest
                .map_or(fresh.oldest_sequence, |(_, segment)| segment.first_sequence),
            manifest_sequence: self.manifest_sequence,
        };
        if self.stored.as_ref() == Some(&record) {
            return Ok(());
        }
        self.watermark.store(&*self.backend, &record).await?;
        self.stored = Some(record);
        Ok(())
    }

    /// Stops: an end record if it is clean, a watermark, and no more.
    pub async fn close(&mut self, is_clean: bool) -> Result<()> {
        let ended = self.end(is_clean).await;
        if let Some(preparing) = self.preparing.take() {
            // An error: it has ended too.
            let _ = preparing.done.await;
        }
        self.removals.have_ended().await;
        ended
    }

    async fn end(&mut self, is_clean: bool) -> Result<()> {
        self.ready()?;
        if is_clean && self.active.is_some() {
            self.write(
                GroupKind::End,
                self.last.sequence,
                Vec::new(),
                Durability::Now,
            )
            .await?;
        }
        self.store_watermark().await?;
        self.is_closed = true;
        self.active = None;
        Ok(())
    }

    fn ready(&self) -> Result<()> {
        if self.is_closed {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    async fn append_group(
        &mut self,
        sequence: u64,
        contents: Vec<Content>,
        durability: Durability,
    ) -> Result<Vec<ShareAddress>> {
        self.ready()?;
        if sequence != self.last.sequence + 1 {
            return Err(Error::Invalid {
                what: format!("log group {sequence} after {}", self.last.sequence),
            });
        }
        for content in &contents {
            if let Content::Fresh(share, ring) = content
                && ring.table() != share.table
            {
                return Err(Error::Invalid {
                    what: format!(
                        "the ring of table {} for a share of table {}",
                        ring.table(),
                        share.table
                    ),
                });
            }
        }
        self.make_room(&contents).await?;
        self.write(GroupKind::Group, sequence, contents, durability)
            .await
    }

    /// Begins a new segment if the group, and an end record behind it, would not fit.
    async fn make_room(&mut self, contents: &[Content]) -> Result<()> {
        let pages = pages_at_most(contents);
        if pages * PAGE > GROUP_BYTES_MAX {
            return Err(Error::Invalid {
                what: format!("a log group of {pages} pages"),
            });
        }
        let needed = ((pages + 1) * PAGE) as u64;
        if let Some(active) = &self.active
            && active.offset + needed <= active.bytes
        {
            return Ok(());
        }
        let headers = (SEGMENT_HEADER_PAGES * PAGE) as u64;
        self.begin_segment(self.options.segment_bytes.max(headers + needed))
            .await
    }

    async fn begin_segment(&mut self, bytes: u64) -> Result<()> {
        // Groups between two syncs are one unit, and a unit does not span segments.
        if self.unit.is_some() {
            self.sync().await?;
        }
        let segment = self.newest_segment + 1;
        if let Some(preparing) = self.preparing.take()
            && preparing.segment == segment
        {
            // Ready, failed or forgotten: `log_create` finds out.
            let _ = preparing.done.await;
        }
        let mut seals =
            SealedWriter::new(&self.service, self.env.entropy(), StructureKind::LogSeal);
        let first_sequence = self.last.sequence + 1;
        let header = Public::segment_header(&SegmentHeader {
            segment,
            bytes,
            incarnation: self.options.incarnation,
            first_sequence,
            structure: seals.structure(),
            wrapped: seals.wrapped().clone(),
        });
        let mut record = SegmentRecord {
            previous_seal: self.last.seal,
            previous_segment: segment - 1,
            previous_sequence: self.last.sequence,
            manifest_sequence: self.manifest_sequence,
            timestamp_high_water: self.timestamp_high_water,
        }
        .encode();
        let sealed = seals.append(header.bytes(), false, &mut record)?;
        let padding = Public::padding(PAGE - header.bytes().len() - sealed.bytes().len());
        let page = [
            Part::from(&header),
            Part::from(sealed),
            Part::from(&padding),
        ];
        let both = [page, page].concat();
        let seal = chain(sealed.bytes());
        // Asked before: what goes while the segment is being made leaves nothing to ask for behind it.
        let may_get_room = self.removals.len() > 0 || !self.released.is_empty();
        let mut created = self.backend.log_create(segment, bytes, &both).await;
        if matches!(created, Err(Error::Full { .. })) && may_get_room {
            // Nothing was begun, and room is being made. An error: the disk is as full as before, and that is said.
            let _ = self.release().await;
            self.removals.have_ended().await;
            created = self.backend.log_create(segment, bytes, &both).await;
        }
        match created {
            Err(error @ Error::Full { .. }) => return Err(error),
            Err(error) => {
                self.is_closed = true;
                return Err(error);
            }
            Ok(()) => {}
        }
        let tables = SegmentTables {
            first_sequence,
            tables: BTreeMap::new(),
        };
        self.segments.insert(segment, tables);
        self.newest_segment = segment;
        self.active = Some(Active {
            segment,
            bytes,
            offset: (SEGMENT_HEADER_PAGES * PAGE) as u64,
            seals,
            seal,
            first_sequence,
            tables: TableSealers::default(),
        });
        Ok(())
    }

    async fn write(
        &mut self,
        kind: GroupKind,
        sequence: u64,
        mut contents: Vec<Content>,
        durability: Durability,
    ) -> Result<Vec<ShareAddress>> {
        let active = self.active.as_mut().expect("room was made");
        // Until the write is known to be good, the log is closed: also if this future is dropped while it waits.
        self.is_closed = true;
        let origin = Origin {
            incarnation: self.options.incarnation,
            sequence,
        };
        let mut entries = Vec::with_capacity(contents.len());
        let mut wraps = Vec::with_capacity(contents.len());
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(contents.len() + 6);
        for content in &mut contents {
            let (entry, wrapped, part) = match content {
                Content::Fresh(records, ring) => {
                    active.tables.seal(&*self.env, origin, records, ring)?
                }
                Content::Carried(address, copied) => carry_sealed(address, copied),
            };
            entries.push(entry);
            wraps.push(wrapped);
            parts.push(part);
        }
        let mut header = GroupHeader {
            kind,
            pages: 0,
            sequence,
            incarnation: self.options.incarnation,
            segment: active.segment,
            unit: self.unit.unwrap_or(sequence),
            shares: entries,
        };
        header.pages = header.pages_needed() as u32;
        let places = header.places();
        let public = Public::group_header(&header);
        let mut record = SealRecord {
            timestamp_high_water: self.timestamp_high_water,
            previous_seal: active.seal,
            content: palladium_crypto::sha256(&[public.bytes()]),
        }
        .encode();
        let seal: Sealed<'_> = active.seals.append(&[], false, &mut record)?;
        if seal.ordinal() != header.seal_ordinal(active.first_sequence) {
            return Err(Error::Invalid {
                what: format!("log group {sequence} is not the next one of its segment"),
            });
        }
        let seal_chain = chain(seal.bytes());
        let padding = Public::padding(places.second_header - places.padding);
        let trailer = Public::group_trailer(&Trailer {
            header_bytes: public.bytes().len() as u32,
            pages: header.pages,
            sequence,
        });
        parts.insert(0, (&public).into());
        parts.extend([
            Part::from(&padding),
            Part::from(&public),
            Part::from(seal),
            Part::from(&trailer),
        ]);
        let written = self
            .backend
            .log_append(active.segment, active.offset, &parts, durability)
            .await;
        if let Err(error) = written {
            // Closed for good: its keys have no more use.
            self.active = None;
            return Err(error);
        }
        let addresses = addresses(&header, active.offset, &wraps);
        active.seal = seal_chain;
        active.offset += places.end as u64;
        let position = Position {
            sequence,
            segment: active.segment,
            seal: seal_chain,
        };
        self.moved_to(position, &header, durability);
        Ok(addresses)
    }

    fn moved_to(&mut self, position: Position, header: &GroupHeader, durability: Durability) {
        self.is_closed = false;
        self.last = position;
        match durability {
            Durability::Now => {
                self.durable = position;
                self.unit = None;
            }
            Durability::Later => {
                self.unit.get_or_insert(position.sequence);
            }
        }
        let segment = self.segments.entry(position.segment).or_default();
        for share in &header.shares {
            segment.tables.insert(share.table, position.sequence);
        }
        self.prepare_next();
    }

    /// Past the middle of a segment the next one is made ready in the background.
    fn prepare_next(&mut self) {
        let Some(active) = &self.active else { return };
        let segment = active.segment + 1;
        let is_asked = self
            .preparing
            .as_ref()
            .is_some_and(|preparing| preparing.segment == segment);
        if is_asked || active.offset < active.bytes / 2 {
            return;
        }
        let (ready, done) = oneshot::channel();
        self.preparing = Some(Preparing { segment, done });
        let (backend, bytes) = (self.backend.clone(), self.options.segment_bytes);
        self.env.spawn(Box::pin(async move {
            // A failure here costs only the head start; the segment is then made when it is needed.
            let _ = backend.log_prepare(segment, bytes).await;
            drop(backend);
            let _ = ready.send(());
        }));
    }
}
