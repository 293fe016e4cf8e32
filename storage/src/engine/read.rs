//! The read road: what memory holds is answered at once; a block that is missing is fetched, and the read goes on where it stood.
//!
//! A read is one straight machine (`read::run`; for one row named exactly, `read::Point`) that stops with the address of a block when it needs one that is
//! not in memory. [`Engine::try_read`] drives it with the cache and with what the page cache gives without waiting; [`Engine::read`] awaits the disk in
//! between.

use std::sync::Arc;

use palladium_crypto::TableId;

use crate::backend::{Backend, Leased, Reads};
use crate::cache::{BlockCache, BlockLookup, FetchedBlocks};
use crate::engine::activity::{is_measured, not_yet};
use crate::engine::{Engine, Inner};
use crate::env::yield_now;
use crate::error::{Error, Result};
use crate::lease::Reading;
use crate::memtable::{Memtable, MemtableCursor};
use crate::model::{Clustering, PartitionKey, PartitionUpdate, Store};
use crate::read::{
    BlockAddress, Fault, Item, KeyRange, Late, Merge, PageBuilder, PartitionBound, PartitionHead,
    Point, ReadCommand, ReadPage, ReadRows, ReadWork, ShowRow, Slices, Source, Until, run, run_one,
};
use crate::sstable::{ReadAhead, Sstable, SstableCursor};
use crate::table::Pass;

/// What a table is made of, as one source.
pub(crate) enum EngineSource {
    Memtable(Box<MemtableCursor<Arc<Memtable>>>),
    Sstable(Box<SstableCursor>),
    LateSstable(Box<Late<SstableCursor>>),
}

impl EngineSource {
    fn of_memtable(memtable: &Arc<Memtable>) -> Self {
        EngineSource::Memtable(Box::new(memtable.shared_cursor()))
    }

    fn of_sstable(sstable: &Arc<Sstable>, blocks: &Arc<FetchedBlocks>) -> Self {
        EngineSource::Sstable(Box::new(sstable.cursor(blocks.clone())))
    }

    /// The same for one read: of an SSTable that has nothing where the read begins, nothing is looked at before the read is there.
    fn for_read(
        sstable: &Arc<Sstable>,
        blocks: &Arc<FetchedBlocks>,
        command: &ReadCommand,
    ) -> Self {
        if let (KeyRange::One(key), Some(rows)) = (&command.range, all_of(sstable, command))
            && may_come_late(rows, command)
        {
            let cursor = sstable.cursor(blocks.clone());
            return match Late::new(cursor, key.clone(), rows) {
                Ok(late) => EngineSource::LateSstable(Box::new(late)),
                Err(cursor) => EngineSource::Sstable(Box::new(cursor)),
            };
        }
        EngineSource::of_sstable(sstable, blocks)
    }
}

/// The first and the last row of an SSTable of which nothing but rows can matter to a read.
fn all_of<'s>(sstable: &'s Sstable, command: &ReadCommand) -> Option<&'s (Clustering, Clustering)> {
    let no_statics = command.columns.statics.is_empty();
    sstable.only_rows().filter(|_| no_statics)
}

/// Whether a read begins before all those rows: perhaps it ends before them, too.
fn may_come_late((first, last): &(Clustering, Clustering), command: &ReadCommand) -> bool {
    let slices = command.slices.as_slice();
    match command.reversed {
        false => slices.first().is_some_and(|(start, _)| start < first),
        true => slices.last().is_some_and(|(_, end)| last < end),
    }
}

/// Whether any of those rows can be inside of what a read wants.
fn touches((first, last): &(Clustering, Clustering), slices: &Slices) -> bool {
    let mut slices = slices.as_slice().iter();
    slices.any(|(start, end)| start < last && first < end)
}

/// A read that has begun.
enum Attempt<'c> {
    /// One memtable had it all.
    Done(Option<ReadPage<ReadRows>>),
    Point(PointReading<'c>),
    /// The pass keeps the table's secrets in memory while the read runs, and not longer: a lock that came between would have forgotten the cache before this
    /// read fills it again.
    Merging {
        pass: Pass,
        merging: Box<Merging>,
    },
}

/// A read of one row, under way.
struct PointReading<'c> {
    key: &'c PartitionKey,
    row: &'c Clustering,
    point: Point,
    /// Newest first.
    sstables: Arc<Vec<Arc<Sstable>>>,
    next: usize,
    /// What was fetched; made when something has to be.
    blocks: Option<Arc<FetchedBlocks>>,
    work: ReadWork,
    /// As above.
    pass: Pass,
}

impl Attempt<'_> {
    /// Answers, or says which block is missing. With it the same call goes on.
    #[inline]
    fn run(
        &mut self,
        cache: &BlockCache,
        command: &ReadCommand,
    ) -> Result<ReadPage<ReadRows>, Fault> {
        match self {
            Attempt::Point(reading) => reading.run(cache, command),
            Attempt::Done(page) => Ok(page.take().unwrap_or_default()),
            Attempt::Merging { merging, .. } => merging.run(command),
        }
    }

    /// Takes a block out of the page cache. None: it is not there.
    fn fetch_now<B: Backend>(
        &mut self,
        inner: &Inner<B>,
        address: BlockAddress,
    ) -> Option<Result<()>> {
        match self {
            Attempt::Point(reading) => {
                let blocks = reading.blocks(&inner.cache);
                let sstable = reading.missed();
                let block = sstable.try_fetch_now(&*inner.backend, &*blocks, address, None)?;
                Some(block.map(|block| blocks.add(address, block)))
            }
            Attempt::Merging { merging, .. } => {
                merging.work.blocks += 1;
                merging.fetch_now(&*inner.backend, address)
            }
            Attempt::Done(_) => None,
        }
    }

    /// None: it is over.
    fn pass(&self) -> Option<&Pass> {
        match self {
            Attempt::Point(reading) => Some(&reading.pass),
            Attempt::Merging { pass, .. } => Some(pass),
            Attempt::Done(_) => None,
        }
    }

    /// Whether the table's key is still at hand.
    fn may_go_on<B: Backend>(&self, inner: &Inner<B>) -> Result<()> {
        match self.pass() {
            Some(pass) => pass.may_go_on(Reading::now(&*inner.env)),
            None => Ok(()),
        }
    }

    /// Waits for a block.
    async fn fetch<B: Backend>(&mut self, inner: &Inner<B>, address: BlockAddress) -> Result<()> {
        let Some(pass) = self.pass().cloned() else {
            return Ok(());
        };
        let may_go_on = || pass.may_go_on(Reading::now(&*inner.env));
        let disk = Leased::new(&*inner.backend, &may_go_on);
        match self {
            Attempt::Point(reading) => {
                let blocks = reading.blocks(&inner.cache);
                let missed = reading.missed();
                let block = missed.fetch(&disk, &*blocks, address, None).await?;
                blocks.add(address, block);
                Ok(())
            }
            Attempt::Merging { merging, .. } => {
                merging.work.blocks += 1;
                // Also where it has been read already.
                may_go_on()?;
                merging.fetch(&disk, address).await
            }
            Attempt::Done(_) => Ok(()),
        }
    }
}

impl PointReading<'_> {
    /// Looks into one SSTable after the other until nothing older can matter.
    fn run(
        &mut self,
        cache: &BlockCache,
        command: &ReadCommand,
    ) -> Result<ReadPage<ReadRows>, Fault> {
        let page = self.look(cache, command);
        page.map_err(|fault| match fault {
            Fault::Error(Error::Corrupt { .. }) => {
                self.blame(cache, command.store).unwrap_or(fault)
            }
            other => other,
        })
    }

    /// Which SSTable has a row that is none, and where.
    #[cold]
    fn blame(&self, cache: &BlockCache, store: Store) -> Option<Fault> {
        let blocks: &dyn BlockLookup = match &self.blocks {
            Some(blocks) => &**blocks,
            None => cache,
        };
        let looked_into = self.sstables.iter().take(self.next + 1);
        let mut own = looked_into.filter(|sstable| sstable.store() == store);
        let blamed = own.find_map(|sstable| sstable.blame(blocks, self.key, self.row));
        blamed.map(Fault::Error)
    }

    #[inline]
    fn look(
        &mut self,
        cache: &BlockCache,
        command: &ReadCommand,
    ) -> Result<ReadPage<ReadRows>, Fault> {
        let blocks: &dyn BlockLookup = match &self.blocks {
            Some(blocks) => &**blocks,
            None => cache,
        };
        while let Some(sstable) = self.sstables.get(self.next) {
            if self
                .point
                .is_decided(sstable.statistics().timestamps.1, command)?
            {
                break;
            }
            if sstable.store() == command.store {
                if !sstable.may_contain(self.key) {
                    self.work.skipped += 1;
                } else {
                    if let Some(part) = sstable.point(blocks, self.key, self.row)? {
                        self.point.add(part)?;
                    }
                    self.work.sstables += 1;
                }
            }
            self.next += 1;
        }
        let mut page = std::mem::take(&mut self.point).page(command, self.key)?;
        page.work = self.work;
        Ok(page)
    }

    fn blocks(&mut self, cache: &Arc<BlockCache>) -> Arc<FetchedBlocks> {
        self.blocks
            .get_or_insert_with(|| Arc::new(FetchedBlocks::admitting(cache.clone())))
            .clone()
    }

    /// The SSTable whose block was missed.
    fn missed(&mut self) -> &Sstable {
        self.work.blocks += 1;
        &self.sstables[self.next]
    }
}

/// A read over several sources, under way.
pub(crate) struct Merging {
    merge: Merge<EngineSource>,
    page: PageBuilder,
    blocks: Arc<FetchedBlocks>,
    sstables: Vec<Arc<Sstable>>,
    /// Of each of them, if the read goes through many partitions.
    ahead: Vec<ReadAhead>,
    work: ReadWork,
}

/// Sealed bytes that a read of many partitions reads ahead: of one SSTable, and of all.
const AHEAD_BYTES: usize = 64 << 10;
const AHEAD_BYTES_OF_ALL: usize = 1 << 20;

impl<B: Backend> Engine<B> {
    /// Answers at once from memory and the page cache. None: it would have to wait; use [`Engine::read`].
    pub fn try_read(&self, command: &ReadCommand) -> Option<Result<ReadPage>> {
        let page = self.try_read_encoded(command, self.reading())?;
        Some(page.and_then(ReadPage::decoded))
    }

    /// Both clocks, for whoever reads several times at once.
    pub fn reading(&self) -> Reading {
        Reading::now(&*self.inner.env)
    }

    /// The same for whoever shows rows: those of which nothing had to be changed are still bytes. `clock`: a reading of the batch that this is part of.
    pub fn try_read_encoded(
        &self,
        command: &ReadCommand,
        clock: Reading,
    ) -> Option<Result<ReadPage<ReadRows>>> {
        let began = is_measured().then(|| self.inner.env.boot_nanos());
        let page = self.try_read_now(command, clock);
        match (&page, began) {
            (None, _) => not_yet(),
            (Some(_), Some(began)) => self.note_read(command, began),
            (Some(_), None) => {}
        }
        page
    }

    /// Some partitions are read next: has what memory holds of them on its way.
    pub fn expect_reads<'a>(
        &self,
        table: TableId,
        keys: impl Iterator<Item = &'a PartitionKey> + Clone,
    ) {
        let table = self.inner.tables.get(table);
        // A table that is not open has nothing in memory; the reads will say so.
        if let Ok(pass) = table.and_then(|table| self.inner.pass(&table)) {
            let _ = pass.each_memtable(Store::BASE, |memtable| {
                memtable.expect_reads(keys.clone());
                Ok(())
            });
        }
    }

    /// A read is over that was measured.
    fn note_read(&self, command: &ReadCommand, began: u64) {
        let nanos = self.inner.env.boot_nanos().saturating_sub(began);
        // A table that is gone has nothing to note.
        let _ = self.inner.tables.see(command.table, |table| {
            table.latencies.read(command, nanos);
            Ok(())
        });
    }

    fn try_read_now(
        &self,
        command: &ReadCommand,
        clock: Reading,
    ) -> Option<Result<ReadPage<ReadRows>>> {
        let mut attempt = match self.attempt(command, clock) {
            Ok(attempt) => attempt,
            Err(error) => return Some(Err(error)),
        };
        loop {
            match attempt.run(&self.inner.cache, command) {
                Ok(page) => return Some(Ok(page)),
                Err(Fault::Error(error)) => return Some(Err(error)),
                Err(Fault::Turn) => return None,
                Err(Fault::Miss(address)) => {
                    if let Err(error) = attempt.fetch_now(&self.inner, address)? {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    /// Answers, waiting for the disk where it must.
    pub async fn read(&self, command: ReadCommand) -> Result<ReadPage> {
        self.read_encoded(command).await?.decoded()
    }

    /// The same for whoever shows rows: those of which nothing had to be changed are still bytes.
    pub async fn read_encoded(&self, command: ReadCommand) -> Result<ReadPage<ReadRows>> {
        let began = is_measured().then(|| self.inner.env.boot_nanos());
        let page = self
            .finish(self.attempt(&command, self.reading())?, &command)
            .await;
        if let Some(began) = began {
            self.note_read(&command, began);
        }
        page
    }

    async fn finish(
        &self,
        mut attempt: Attempt<'_>,
        command: &ReadCommand,
    ) -> Result<ReadPage<ReadRows>> {
        loop {
            match attempt.run(&self.inner.cache, command) {
                Ok(page) => return Ok(page),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Miss(address)) => attempt.fetch(&self.inner, address).await?,
                Err(Fault::Turn) => {
                    yield_now().await;
                    attempt.may_go_on(&self.inner)?;
                }
            }
        }
    }

    #[inline]
    fn attempt<'c>(&self, command: &'c ReadCommand, clock: Reading) -> Result<Attempt<'c>> {
        let pass = self
            .inner
            .tables
            .see(command.table, |table| table.pass(clock))?;
        match command.point() {
            Some((key, row)) => self
                .begin_point(pass, command, key, row)
                .map(Attempt::Point),
            None => self.begin_merging(pass, command),
        }
    }

    /// What the memtables say of a row; the SSTables are next.
    #[inline]
    fn begin_point<'c>(
        &self,
        pass: Pass,
        command: &'c ReadCommand,
        key: &'c PartitionKey,
        row: &'c Clustering,
    ) -> Result<PointReading<'c>> {
        let mut point = Point::default();
        let mut work = ReadWork::default();
        let sstables = pass.at_one_moment(|| {
            if work.memtables > 0 {
                (point, work) = Default::default();
            }
            pass.each_memtable(command.store, |memtable| {
                work.memtables += 1;
                if let Some(part) = memtable.point(key, row) {
                    point.add(part)?;
                }
                Ok(())
            })?;
            Ok(pass.sstables())
        })?;
        pass.check_store(command.store)?;
        Ok(PointReading {
            key,
            row,
            point,
            sstables,
            pass,
            next: 0,
            blocks: None,
            work,
        })
    }

    /// Answers as if an update of the one partition that the command names had been applied: for whoever writes, together with the update, what follows from
    /// it. Invalid for a command that names no partition.
    pub async fn read_as_if(
        &self,
        command: ReadCommand,
        update: &PartitionUpdate,
    ) -> Result<ReadPage> {
        let KeyRange::One(key) = &command.range else {
            return Err(Error::Invalid {
                what: "an update is of one partition".into(),
            });
        };
        let imagined = Memtable::new();
        imagined.apply(key, update)?;
        let inner = &self.inner;
        let pass = inner
            .tables
            .see(command.table, |table| table.pass(self.reading()))?;
        let (mut memtables, sstables) =
            pass.at_one_moment(|| Ok((pass.memtables(command.store), pass.sstables())))?;
        memtables.insert(0, Arc::new(imagined));
        let mut sstables = sstables.as_ref().clone();
        sstables.retain(|sstable| sstable.store() == command.store && sstable.may_contain(key));
        pass.check_store(command.store)?;
        let blocks = Arc::new(FetchedBlocks::admitting(inner.cache.clone()));
        let merging = Box::new(Merging::new(memtables, sstables, blocks));
        self.finish(Attempt::Merging { pass, merging }, &command)
            .await?
            .decoded()
    }

    fn begin_merging<'c>(&self, pass: Pass, command: &ReadCommand) -> Result<Attempt<'c>> {
        let (mut memtables, present) =
            pass.at_one_moment(|| Ok((pass.memtables(command.store), pass.sstables())))?;
        memtables.retain(|memtable| !memtable.is_empty());
        let mut skipped = 0;
        let own = present.iter();
        let own = own.filter(|sstable| sstable.store() == command.store);
        let may_matter = |sstable: &Sstable| {
            let rows = all_of(sstable, command);
            let has_rows = rows.is_none_or(|rows| touches(rows, &command.slices));
            match &command.range {
                KeyRange::One(key) => has_rows && sstable.may_contain(key),
                KeyRange::Range { .. } => has_rows,
            }
        };
        let sstables: Vec<Arc<Sstable>> = own
            .filter(|sstable| {
                let may_matter = may_matter(sstable);
                skipped += u32::from(!may_matter);
                may_matter
            })
            .cloned()
            .collect();
        pass.check_store(command.store)?;
        let work = ReadWork {
            memtables: memtables.len() as u32,
            sstables: sstables.len() as u32,
            skipped,
            blocks: 0,
        };
        if let ([memtable], []) = (&memtables[..], &sstables[..])
            && let Some(mut page) = run_one(memtable, command)?
        {
            page.work = work;
            return Ok(Attempt::Done(Some(page)));
        }
        let blocks = Arc::new(match &command.range {
            KeyRange::One(_) => FetchedBlocks::admitting(self.inner.cache.clone()),
            KeyRange::Range { .. } => FetchedBlocks::passing(self.inner.cache.clone()),
        });
        let is_alone = memtables.len() + sstables.len() == 1;
        let memory = memtables.iter().map(EngineSource::of_memtable);
        let disk = sstables.iter().map(|sstable| match is_alone {
            true => EngineSource::of_sstable(sstable, &blocks),
            false => EngineSource::for_read(sstable, &blocks, command),
        });
        let sources = memory.chain(disk).collect();
        let mut merging = Box::new(Merging::of(sources, sstables, blocks));
        if matches!(command.range, KeyRange::Range { .. }) {
            merging.read_ahead();
        }
        merging.work = work;
        Ok(Attempt::Merging { pass, merging })
    }
}

impl Merging {
    pub(crate) fn new(
        memtables: Vec<Arc<Memtable>>,
        sstables: Vec<Arc<Sstable>>,
        blocks: Arc<FetchedBlocks>,
    ) -> Self {
        let memory = memtables.iter().map(EngineSource::of_memtable);
        let disk = sstables
            .iter()
            .map(|sstable| EngineSource::of_sstable(sstable, &blocks));
        Merging::of(memory.chain(disk).collect(), sstables, blocks)
    }

    /// `sources`: among them those of the SSTables, which read `blocks`.
    fn of(
        sources: Vec<EngineSource>,
        sstables: Vec<Arc<Sstable>>,
        blocks: Arc<FetchedBlocks>,
    ) -> Self {
        Merging {
            merge: Merge::new(sources),
            page: PageBuilder::new(),
            blocks,
            sstables,
            ahead: Vec::new(),
            work: ReadWork::default(),
        }
    }

    /// The read is one that goes from block to block.
    fn read_ahead(&mut self) {
        let most = AHEAD_BYTES.min(AHEAD_BYTES_OF_ALL / self.sstables.len().max(1));
        let ahead = self.sstables.iter().map(|_| ReadAhead::growing(most));
        self.ahead = ahead.collect();
    }

    /// Runs to the end of the page, fetching what is missing.
    pub(crate) async fn finish<B: Reads>(
        &mut self,
        backend: &B,
        command: &ReadCommand,
    ) -> Result<ReadPage> {
        loop {
            match self.run(command) {
                Ok(page) => return page.decoded(),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Miss(address)) => {
                    self.work.blocks += 1;
                    self.fetch(backend, address).await?;
                }
                Err(Fault::Turn) => yield_now().await,
            }
        }
    }

    fn run(&mut self, command: &ReadCommand) -> Result<ReadPage<ReadRows>, Fault> {
        let mut page = run(&mut self.merge, command, &mut self.page)?;
        page.work = self.work;
        Ok(page)
    }

    /// The SSTable that a block is of, and what was read ahead of it.
    fn owner(&mut self, address: BlockAddress) -> Result<(&Sstable, Option<&mut ReadAhead>)> {
        let owner = self
            .sstables
            .iter()
            .position(|sstable| sstable.owns(address.structure));
        let owner = owner.ok_or_else(|| {
            Error::corrupt(format!(
                "block {} of unknown structure {}",
                address.block, address.structure
            ))
        })?;
        Ok((&self.sstables[owner], self.ahead.get_mut(owner)))
    }

    /// None: the block is not in the page cache.
    fn fetch_now<B: Backend>(&mut self, backend: &B, address: BlockAddress) -> Option<Result<()>> {
        let blocks = self.blocks.clone();
        let (sstable, ahead) = match self.owner(address) {
            Ok(owner) => owner,
            Err(error) => return Some(Err(error)),
        };
        let block = sstable.try_fetch_now(backend, &*blocks, address, ahead)?;
        Some(block.map(|block| blocks.add(address, block)))
    }

    async fn fetch<B: Reads>(&mut self, backend: &B, address: BlockAddress) -> Result<()> {
        let blocks = self.blocks.clone();
        let (sstable, ahead) = self.owner(address)?;
        let block = sstable.fetch(backend, &*blocks, address, ahead).await?;
        blocks.add(address, block);
        Ok(())
    }
}

/// Every kind of source answers every call; this only says which.
macro_rules! either {
    ($source:expr, $inner:ident => $call:expr) => {
        match $source {
            EngineSource::Memtable($inner) => $call,
            EngineSource::Sstable($inner) => $call,
            EngineSource::LateSstable($inner) => $call,
        }
    };
}

impl Source for EngineSource {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        either!(self, source => source.seek(from))
    }
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        either!(self, source => source.partition())
    }
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        either!(self, source => source.open(slices, reversed))
    }
    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        either!(self, source => source.peek())
    }
    fn pop(&mut self) -> Item {
        either!(self, source => source.pop())
    }
    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        either!(self, source => source.show_rows(until, show))
    }
    fn gap(&self) -> Option<crate::model::Deletion> {
        either!(self, source => source.gap())
    }
    fn next_partition(&mut self) -> Result<(), Fault> {
        either!(self, source => source.next_partition())
    }
}
