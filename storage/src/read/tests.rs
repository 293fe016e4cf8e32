//! Reads against an oracle that keeps every write in a list and asks each question the slow, obvious way.

use super::*;
use crate::memtable::Memtable;
use crate::model::{
    Cell, Clustering, Deletion, Liveness, PartitionKey, PartitionUpdate, RangeTombstoneList, Row,
    StateRef, Store, Token, testing,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

const NOW: i64 = 10;

// ---- the oracle ------------------------------------------------------------------------------------------------------------------

type Writes = Vec<(PartitionKey, PartitionUpdate)>;

/// What a row should show: its liveness and for each (column, path) the winning cell.
type Shown = (Option<Liveness>, BTreeMap<(u32, Bytes), Cell>);

/// The strength of a cell, spelled out: later, then tombstone over expiring over live, then its time, the shorter TTL, and its value.
fn strength(cell: &Cell) -> (i64, u8, i64, Reverse<u32>, Vec<u8>) {
    match cell.as_ref().state {
        StateRef::Live(value) => (cell.timestamp, 0, 0, Reverse(0), value.to_vec()),
        StateRef::Expiring {
            value,
            ttl,
            expires_at,
        } => (cell.timestamp, 1, expires_at, Reverse(ttl), value.to_vec()),
        StateRef::Tombstone {
            local_deletion_time,
        } => (cell.timestamp, 2, local_deletion_time, Reverse(0), vec![]),
    }
}

fn show(rows: &[&Row], above: i64, columns: &[ColumnId]) -> Option<Shown> {
    let deleted = rows
        .iter()
        .filter_map(|row| row.deletion)
        .map(|d| d.timestamp)
        .max()
        .unwrap_or(i64::MIN)
        .max(above);
    let liveness = rows
        .iter()
        .filter_map(|row| row.liveness)
        .filter(|liveness| liveness.timestamp > deleted)
        .max_by_key(|l| (l.timestamp, l.ttl != 0, l.expires_at, Reverse(l.ttl)))
        .filter(|liveness| liveness.ttl == 0 || NOW < liveness.expires_at);
    let mut cells: BTreeMap<(u32, Bytes), Cell> = BTreeMap::new();
    for cell in rows.iter().flat_map(|row| &row.cells) {
        let complex = rows
            .iter()
            .flat_map(|row| &row.complex_deletions)
            .filter(|(column, _)| *column == cell.column)
            .map(|(_, deletion)| deletion.timestamp)
            .max()
            .unwrap_or(i64::MIN);
        if cell.timestamp <= deleted.max(complex) {
            continue;
        }
        let place = (cell.column.0, cell.path.clone());
        match cells.get(&place) {
            Some(own) if strength(own) >= strength(cell) => {}
            _ => drop(cells.insert(place, cell.clone())),
        }
    }
    cells.retain(|(column, _), cell| {
        (*column == 0 || columns.contains(&ColumnId(*column))) && cell.is_live(NOW)
    });
    let live = liveness.is_some() || cells.keys().any(|(column, _)| *column != 0);
    live.then_some((liveness, cells))
}

type Answer = Vec<(PartitionKey, Option<Shown>, Vec<(Clustering, Shown)>)>;

fn oracle(writes: &Writes, command: &ReadCommand) -> Answer {
    let keys: BTreeSet<&PartitionKey> = writes.iter().map(|(key, _)| key).collect();
    let mut answer = Vec::new();
    for key in keys {
        let wanted = match &command.range {
            KeyRange::One(own) => own == key,
            KeyRange::Range { start, end } => !start.is_after_key(key) && end.is_after_key(key),
        };
        if !wanted {
            continue;
        }
        let updates: Vec<&PartitionUpdate> = writes
            .iter()
            .filter(|(own, _)| own == key)
            .map(|(_, update)| update)
            .collect();
        let above = updates
            .iter()
            .filter_map(|u| u.deletion)
            .map(|d| d.timestamp)
            .max()
            .unwrap_or(i64::MIN);
        let statics: Vec<&Row> = updates
            .iter()
            .filter_map(|update| update.static_row.as_ref())
            .collect();
        let static_row = show(&statics, above, &command.columns.statics);
        let positions: BTreeSet<&Clustering> = updates
            .iter()
            .flat_map(|u| &u.rows)
            .map(|row| &row.clustering)
            .collect();
        let mut rows = Vec::new();
        for position in positions {
            if !command
                .slices
                .as_slice()
                .iter()
                .any(|(start, end)| start < position && position < end)
            {
                continue;
            }
            let range = updates
                .iter()
                .flat_map(|update| &update.range_tombstones)
                .filter(|tombstone| tombstone.start < *position && *position < tombstone.end)
                .map(|tombstone| tombstone.deletion.timestamp)
                .max()
                .unwrap_or(i64::MIN);
            let here: Vec<&Row> = updates
                .iter()
                .flat_map(|u| &u.rows)
                .filter(|row| row.clustering == *position)
                .collect();
            rows.extend(
                show(&here, above.max(range), &command.columns.regular)
                    .map(|shown| (position.clone(), shown)),
            );
        }
        if command.reversed {
            rows.reverse();
        }
        rows.truncate(command.limits.per_partition as usize);
        if static_row.is_some() || !rows.is_empty() {
            answer.push((key.clone(), static_row, rows));
        }
    }
    answer
}

fn shown(row: &Row) -> Shown {
    assert!(row.deletion.is_none() && row.complex_deletions.is_empty() && row.is_sorted());
    let cells = row
        .cells
        .iter()
        .map(|cell| ((cell.column.0, cell.path.clone()), cell.clone()));
    (row.liveness, cells.collect())
}

/// Pages put together: a partition that continues is one.
fn answer_of(pages: Vec<ReadPage>) -> Answer {
    let mut answer: Answer = Vec::new();
    for partition in pages.into_iter().flat_map(|page| page.partitions) {
        let rows = partition
            .rows
            .iter()
            .map(|row| (row.clustering.clone(), shown(row)));
        let static_row = partition.static_row.as_deref().map(shown);
        match answer.last_mut() {
            Some(last) if last.0 == partition.key => {
                assert!(
                    last.1 == static_row,
                    "the static row comes with every page of a partition"
                );
                last.2.extend(rows);
            }
            _ => answer.push((partition.key.clone(), static_row, rows.collect())),
        }
    }
    answer
}

// ---- a source that misses --------------------------------------------------------------------------------------------------------

/// Partitions spelled out as items. Any call may miss first; `open` may bring items around the slices.
struct Scripted {
    partitions: Vec<(PartitionHead, Vec<Item>)>,
    at: usize,
    items: Vec<Item>,
    item: usize,
    slices: Slices,
    open: Option<Deletion>,
    reversed: bool,
    generous: bool,
    chance: u64,
    misses: bool,
}

impl Scripted {
    fn new(writes: &Writes, seed: u64, misses: bool) -> Scripted {
        let mut merged: BTreeMap<PartitionKey, PartitionUpdate> = BTreeMap::new();
        for (key, update) in writes {
            merged
                .entry(key.clone())
                .or_default()
                .absorb(update.clone());
        }
        Scripted {
            partitions: merged
                .into_iter()
                .map(|(key, update)| spell_out(key, update, !seed.is_multiple_of(5)))
                .collect(),
            at: 0,
            items: Vec::new(),
            item: 0,
            slices: Slices::none(),
            open: None,
            reversed: false,
            generous: seed.is_multiple_of(2),
            chance: seed | 1,
            misses,
        }
    }

    fn maybe_miss(&mut self) -> Result<(), Fault> {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        if self.misses && self.chance.is_multiple_of(3) {
            let structure = palladium_crypto::StructureId([1; 16]);
            return Err(Fault::Miss(BlockAddress {
                structure,
                block: 0,
            }));
        }
        Ok(())
    }
}

/// `encoded`: rows are as they would be kept.
fn spell_out(
    key: PartitionKey,
    update: PartitionUpdate,
    encoded: bool,
) -> (PartitionHead, Vec<Item>) {
    let tombstones: RangeTombstoneList = update.range_tombstones.iter().cloned().collect();
    let mut items: BTreeMap<Clustering, Item> = BTreeMap::new();
    for tombstone in tombstones.as_slice() {
        for position in [&tombstone.start, &tombstone.end] {
            let item = Item {
                position: position.clone(),
                before: tombstones.covering_before(&position.0),
                after: tombstones.covering(&position.0),
                row: None,
            };
            items.insert(position.clone(), item);
        }
    }
    for row in update.rows {
        let covering = tombstones.covering(&row.clustering.0);
        let position = row.clustering.clone();
        let item = Item {
            position: position.clone(),
            before: covering,
            after: covering,
            row: Some(match encoded {
                true => encoded_row(&row),
                false => row.into(),
            }),
        };
        assert!(items.insert(position, item).is_none());
    }
    let head = PartitionHead {
        key,
        deletion: update.deletion,
        static_row: update.static_row.map(Box::new),
    };
    (head, items.into_values().collect())
}

fn encoded_row(row: &Row) -> ReadRow {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    ReadRow::Encoded {
        clustering: row.clustering.clone(),
        bytes: bytes.into(),
    }
}

impl Source for Scripted {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.maybe_miss()?;
        self.at = self
            .partitions
            .partition_point(|(head, _)| from.is_after_key(&head.key));
        Ok(())
    }
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        self.maybe_miss()?;
        Ok(self.partitions.get(self.at).map(|(head, _)| head))
    }
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.maybe_miss()?;
        let all = &self.partitions[self.at].1;
        let (start, end) = match (slices.as_slice().first(), slices.as_slice().last()) {
            (Some(first), Some(last)) => (&first.0, &last.1),
            _ => unreachable!("nobody opens nothing"),
        };
        let mut first = all.partition_point(|item| item.position < *start);
        let mut last = all.partition_point(|item| item.position <= *end);
        if self.generous {
            (first, last) = (first.saturating_sub(2), (last + 2).min(all.len()));
        }
        let (before, after) = (all[..first].last(), all[last..].first());
        self.open = match reversed {
            false => before.and_then(|item| item.after),
            true => after.and_then(|item| item.before),
        };
        self.items = all[first..last].to_vec();
        if reversed {
            self.items.reverse();
        }
        (self.item, self.reversed) = (0, reversed);
        self.slices = slices.clone();
        Ok(())
    }
    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.maybe_miss()?;
        Ok(self.items.get(self.item))
    }
    fn pop(&mut self) -> Item {
        let item = self.items[self.item].clone();
        self.item += 1;
        self.open = item.leaving(self.reversed);
        item
    }
    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        loop {
            self.maybe_miss()?;
            let item = self.items.get(self.item);
            let Some(item) = item.filter(|item| item.before.is_none()) else {
                return Ok(());
            };
            let Some(RowRef::Encoded(row)) = item.row.as_ref().map(ReadRow::as_ref) else {
                return Ok(());
            };
            if !self.slices.contains(row.clustering) || !until.is_after(row.clustering) {
                return Ok(());
            }
            let wants_more = show(row)?;
            self.item += 1;
            self.open = None;
            if !wants_more {
                return Ok(());
            }
        }
    }
    fn gap(&self) -> Option<Deletion> {
        self.open
    }
    fn next_partition(&mut self) -> Result<(), Fault> {
        self.maybe_miss()?;
        self.at += 1;
        Ok(())
    }
}

// ---- reading ---------------------------------------------------------------------------------------------------------------------

fn read<S: Source>(sources: Vec<S>, command: &ReadCommand) -> ReadPage {
    let (mut merge, mut page) = (Merge::new(sources), PageBuilder::new());
    for _ in 0..1_000_000 {
        match run(&mut merge, command, &mut page) {
            Ok(page) => return page.decoded().expect("whole rows"),
            Err(Fault::Miss(_) | Fault::Turn) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    panic!("a read that never ends")
}

fn read_all<S: Source>(sources: impl Fn() -> Vec<S>, command: &ReadCommand) -> Vec<ReadPage> {
    let mut command = command.clone();
    let mut pages = Vec::new();
    for _ in 0..10_000 {
        let page = read(sources(), &command);
        command.resume = page.next.clone();
        let rows: usize = page
            .partitions
            .iter()
            .map(|partition| partition.rows.len().max(1))
            .sum();
        assert!(rows <= command.limits.rows as usize);
        pages.push(page);
        if command.resume.is_none() {
            return pages;
        }
    }
    panic!("pages that never end")
}

fn memtables(spread: &[Writes]) -> Vec<Memtable> {
    let one = |writes: &Writes| {
        let memtable = Memtable::new();
        for (key, update) in writes {
            memtable.apply(key, update).unwrap();
        }
        memtable
    };
    spread.iter().map(one).collect()
}

/// The newest timestamp of what a page of one row shows, and of what it does not show.
fn newest_of(page: &ReadPage) -> i64 {
    let rows = page.partitions.iter().flat_map(|partition| &partition.rows);
    let shown = rows.flat_map(|row| {
        let cells = row.cells.iter().map(|cell| cell.timestamp);
        cells.chain(row.liveness.map(|liveness| liveness.timestamp))
    });
    shown.fold(page.hidden.newest, i64::max)
}

/// The newest timestamp of anything written.
fn newest(writes: &Writes) -> i64 {
    let of_row = |row: &Row| {
        let cells = row.cells.iter().map(|cell| cell.timestamp);
        let deletions = row
            .complex_deletions
            .iter()
            .map(|(_, deletion)| deletion.timestamp);
        let own = row.liveness.map(|l| l.timestamp).into_iter();
        let own = own.chain(row.deletion.map(|deletion| deletion.timestamp));
        own.chain(cells).chain(deletions).max().unwrap_or(i64::MIN)
    };
    let of_update = |update: &PartitionUpdate| {
        let rows = update.rows.iter().chain(&update.static_row).map(of_row);
        let ranges = update
            .range_tombstones
            .as_slice()
            .iter()
            .map(|range| range.deletion.timestamp);
        rows.chain(ranges)
            .chain(update.deletion.map(|deletion| deletion.timestamp))
            .max()
            .unwrap_or(i64::MIN)
    };
    writes
        .iter()
        .map(|(_, update)| of_update(update))
        .max()
        .unwrap_or(i64::MIN)
}

fn slices() -> impl Strategy<Value = Slices> {
    prop_oneof![
        Just(Slices::all()),
        vec((testing::bound(), testing::bound()), 1..4).prop_map(Slices::new),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    let bound = || {
        prop_oneof![
            Just(PartitionBound::MIN),
            Just(PartitionBound::MAX),
            testing::keys().prop_map(PartitionBound::Before),
            testing::keys().prop_map(PartitionBound::After),
            testing::keys().prop_map(|key| PartitionBound::BeforeToken(key.token())),
            testing::keys().prop_map(|key| PartitionBound::AfterToken(key.token())),
        ]
    };
    prop_oneof![
        testing::keys().prop_map(KeyRange::One),
        Just(KeyRange::all()),
        (bound(), bound()).prop_map(|(start, end)| KeyRange::Range { start, end }),
    ]
}

prop_compose! {
    fn command()(
        range in range(),
        slices in slices(),
        reversed: bool,
        per_partition in prop_oneof![Just(u32::MAX), 1u32..4],
    ) -> ReadCommand {
        let columns: Vec<ColumnId> = testing::SIMPLE.iter().chain(&testing::COMPLEX).map(|id| ColumnId(*id)).collect();
        let mut columns = Columns { regular: columns.clone(), statics: columns };
        columns.regular.sort();
        columns.statics.sort();
        ReadCommand {
            table: TableId([0; 16]),
            store: Store::BASE,
            range,
            slices,
            reversed,
            columns: Arc::new(columns),
            limits: Limits { per_partition, ..Limits::NONE },
            resume: None,
            now: NOW,
        }
    }
}

/// The first and the last row, where there is nothing but rows.
fn only_rows(writes: &Writes) -> Option<(Clustering, Clustering)> {
    let is_bare = |update: &PartitionUpdate| {
        let deletes = update.deletion.is_some() || !update.range_tombstones.is_empty();
        !deletes && update.static_row.is_none()
    };
    let mut updates = writes.iter().map(|(_, update)| update);
    if !updates.all(is_bare) {
        return None;
    }
    let rows = writes.iter().flat_map(|(_, update)| &update.rows);
    let positions: BTreeSet<&Clustering> = rows.map(|row| &row.clustering).collect();
    Some(((*positions.first()?).clone(), (*positions.last()?).clone()))
}

fn writes() -> impl Strategy<Value = Vec<Writes>> {
    vec(vec((testing::keys(), testing::update()), 0..6), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_read_says_what_was_written(spread in writes(), command in command(), page_rows in 1u32..4, page_bytes in 0usize..600, seed: u64) {
        let all: Writes = spread.iter().flatten().cloned().collect();
        let expected = oracle(&all, &command);

        let memtables = memtables(&spread);
        let cursors = || memtables.iter().map(Memtable::cursor).collect::<Vec<_>>();
        let at_once = read(cursors(), &command);
        prop_assert!(at_once.next.is_none());
        prop_assert!(answer_of(vec![at_once.clone()]) == expected, "memtables, at once");

        for misses in [false, true] {
            let scripted = || spread.iter().map(|writes| Scripted::new(writes, seed, misses)).collect::<Vec<_>>();
            let page = read(scripted(), &command);
            prop_assert!(page == at_once, "scripted sources, misses {misses}");
        }

        // A merge of merges says the same.
        let nested = vec![Merge::new(cursors()), Merge::new(Vec::new())];
        prop_assert!(answer_of(vec![read(nested, &command)]) == expected, "merged twice");

        let mut paged = command.clone();
        paged.limits.rows = page_rows;
        prop_assert!(answer_of(read_all(cursors, &paged)) == expected, "in pages of rows");
        let scripted = || spread.iter().map(|writes| Scripted::new(writes, seed, true)).collect::<Vec<_>>();
        prop_assert!(answer_of(read_all(scripted, &paged)) == expected, "in pages of rows, with misses");
        paged.limits = Limits { bytes: page_bytes, ..command.limits };
        prop_assert!(answer_of(read_all(cursors, &paged)) == expected, "in pages of bytes");

        // One memtable alone: the fast path says the same where it answers.
        let alone = self::memtables(&[all]);
        if let Some(page) = run_one(&alone[0], &command).unwrap() {
            prop_assert!(answer_of(vec![page.decoded().unwrap()]) == expected, "the fast path");
        }
    }

    #[test]
    fn a_row_read_newest_first_is_the_row_that_a_merge_reads(spread in writes(), mut command in command(), row in testing::position(), key in testing::keys()) {
        let columns = Columns { statics: Vec::new(), ..(*command.columns).clone() };
        command.columns = Arc::new(columns);
        // Positions here are of any length, so the slice is as narrow as can be.
        let start = [&row.0[..row.0.len() - 1], &[0x7F, 0xFF, 0xFF, 0xFF]].concat();
        let end = [&row.0[..], &[0x00]].concat();
        command.slices = Slices::row(Clustering(start.into()), row.clone(), Clustering(end.into()));
        command.range = KeyRange::One(key);
        let sources = memtables(&spread);
        let merged = read(sources.iter().map(Memtable::cursor).collect(), &command);

        let (key, row) = command.point().expect("one row of one partition");
        let mut order: Vec<(i64, &Memtable)> = spread.iter().map(newest).zip(&sources).collect();
        order.sort_by_key(|(newest, _)| std::cmp::Reverse(*newest));
        let mut point = Point::default();
        for (newest, memtable) in order {
            if point.is_decided(newest, &command).unwrap() {
                break;
            }
            if let Some(part) = memtable.point(key, row) {
                point.add(part).unwrap();
            }
        }
        let cells = |page: ReadPage| -> Vec<Vec<Cell>> {
            let rows = page.partitions.into_iter().flat_map(|partition| partition.rows);
            rows.map(|mut row| {
                row.cells.retain(|cell| cell.column != ColumnId::RAW_CLUSTERING);
                row.cells
            }).collect()
        };
        let point = point.page(&command, key).unwrap().decoded().unwrap();
        for (way, page) in [("by itself", &point), ("merged", &merged)] {
            let mut later = Row::new(row.clone());
            later.liveness = Some(Liveness::new(newest_of(page).saturating_add(1)));
            let write = vec![(key.clone(), PartitionUpdate::of_row(later.clone()))];
            let all = memtables(&[&spread[..], &[write]].concat());
            let seen = read(all.iter().map(Memtable::cursor).collect(), &command);
            let seen = seen.partitions.first().and_then(|partition| partition.rows.first());
            prop_assert_eq!(seen.and_then(|row| row.liveness), later.liveness, "{}: {:?}", way, page);
        }
        prop_assert_eq!(cells(point), cells(merged));
    }

    #[test]
    fn a_source_that_comes_late_says_what_one_says_that_is_there(spread in writes(), mut command in command(), key in testing::keys(), page_rows in 1u32..4, seed: u64) {
        command.range = KeyRange::One(key.clone());
        command.limits.rows = page_rows;
        let mut spread = spread;
        // Half the time all have rows alone, and those end with any byte, as the positions of an index's entries do.
        let step = 1 + (seed % 2) as usize;
        for (_, update) in spread.iter_mut().step_by(step).flatten() {
            (update.deletion, update.static_row) = (None, None);
            update.range_tombstones.clear();
        }
        for (_, update) in spread.iter_mut().flatten().filter(|_| step == 1) {
            for row in &mut update.rows {
                let mut position = row.clustering.0.to_vec();
                let last = position.len() - 1;
                position[last] = [0x00, 0x80, 0xFF][position.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 3];
                row.clustering = Clustering(position.into());
            }
            update.rows.sort_by(|a, b| a.clustering.cmp(&b.clustering));
            update.rows.dedup_by(|a, b| a.clustering == b.clustering);
        }
        let there = || -> Vec<Box<dyn Source>> {
            let source = |writes: &Writes| Box::new(Scripted::new(writes, seed, true)) as _;
            spread.iter().map(source).collect()
        };
        let late = || -> Vec<Box<dyn Source>> {
            let source = |writes: &Writes| -> Box<dyn Source> {
                let source = Scripted::new(writes, seed, true);
                match only_rows(writes) {
                    Some(rows) => match Late::new(source, key.clone(), &rows) {
                        Ok(late) => Box::new(late),
                        Err(source) => Box::new(source),
                    },
                    None => Box::new(source),
                }
            };
            spread.iter().map(source).collect()
        };
        prop_assert!(read_all(late, &command) == read_all(there, &command));
    }

    #[test]
    fn a_merge_keeps_every_deletion(spread in writes()) {
        // What comes out of the merge, written down as one update, is what the reconciled updates say.
        let memtables = memtables(&spread);
        let mut merge = Merge::new(memtables.iter().map(Memtable::cursor).collect());
        let mut expected: BTreeMap<PartitionKey, PartitionUpdate> = BTreeMap::new();
        for (key, update) in spread.iter().flatten() {
            expected.entry(key.clone()).or_default().absorb(update.clone());
        }
        let mut merged = BTreeMap::new();
        while let Some(head) = merge.partition().unwrap().cloned() {
            let mut update = PartitionUpdate { deletion: head.deletion, static_row: head.static_row.map(|row| *row), ..PartitionUpdate::default() };
            merge.open(&Slices::all(), false).unwrap();
            prop_assert_eq!(merge.gap(), None);
            let mut opened: Option<(Clustering, Deletion)> = None;
            while merge.peek().unwrap().is_some() {
                let item = merge.pop();
                if let Some(row) = item.row {
                    prop_assert_eq!(item.before, opened.as_ref().map(|(_, deletion)| *deletion));
                    update.rows.push(row.into_row().unwrap());
                    continue;
                }
                if let Some((start, deletion)) = opened.take() {
                    prop_assert_eq!(item.before, Some(deletion));
                    update.range_tombstones.push(crate::model::RangeTombstone { start, end: item.position.clone(), deletion });
                }
                opened = item.after.map(|deletion| (item.position, deletion));
            }
            prop_assert!(opened.is_none(), "every range is closed");
            merged.insert(head.key, update);
            merge.next_partition().unwrap();
        }
        prop_assert!(merged.keys().eq(expected.keys()));
        for (key, update) in merged {
            prop_assert!(update == expected[&key], "{update:?} is not {:?}", expected[&key]);
        }
    }
}

#[test]
fn a_page_that_ends_with_its_partition_goes_on_after_it() {
    let memtable = Memtable::new();
    for number in 0..3 {
        let mut row = Row::new(Clustering::SINGLE);
        row.liveness = Some(Liveness::new(1));
        memtable
            .apply(&testing::key(number), &PartitionUpdate::of_row(row))
            .unwrap();
    }
    let mut command = everything();
    (command.limits.rows, command.limits.per_partition) = (1, 1);
    let page = read(vec![memtable.cursor()], &command);
    let next = page.next.expect("two more partitions");
    assert_eq!(
        (next.key, next.clustering, next.returned_in_partition),
        (testing::key(0), None, 0)
    );
}

#[test]
fn a_page_of_no_bytes_has_a_row_however_many_say_nothing_before_it() {
    let memtable = Memtable::new();
    for (position, timestamp) in [(1, None), (2, Some(1))] {
        let mut row = Row::new(Clustering(Bytes::from(vec![position, 0])));
        row.liveness = timestamp.map(Liveness::new);
        memtable
            .apply(&testing::key(1), &PartitionUpdate::of_row(row))
            .unwrap();
    }
    let mut command = everything();
    command.range = KeyRange::One(testing::key(1));
    command.limits.bytes = 0;
    let page = read(vec![memtable.cursor()], &command);
    assert_eq!(page.partitions.len(), 1);
    assert_eq!(page.partitions[0].rows.len(), 1);
}

/// Calls until there is no miss.
fn insist<T>(mut call: impl FnMut() -> Result<T, Fault>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(Fault::Miss(_) | Fault::Turn) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn an_opening_given_up_halfway_does_not_spoil_the_next() {
    let writes: Writes = (0..4)
        .map(|number| {
            let mut row = Row::new(Clustering::SINGLE);
            row.liveness = Some(Liveness::new(1));
            (testing::key(number), PartitionUpdate::of_row(row))
        })
        .collect();
    for seed in 1..60 {
        let sources = (0..3).map(|index| Scripted::new(&writes, seed * 5 + index, true));
        let mut merge = Merge::new(sources.collect());
        insist(|| merge.seek(&PartitionBound::MIN));
        let mut rows = Vec::new();
        while let Some(head) = insist(|| Ok(merge.partition()?.cloned())) {
            let _ = merge.open(&Slices::all(), false);
            insist(|| merge.next_partition());
            if let Some(next) = insist(|| Ok(merge.partition()?.cloned())) {
                assert!(head.key < next.key, "seed {seed}");
                insist(|| merge.open(&Slices::all(), false));
                while insist(|| merge.peek().map(|item| item.is_some())) {
                    rows.push((next.key.clone(), merge.pop().position));
                }
                insist(|| merge.next_partition());
            }
        }
        let expected = [testing::key(1), testing::key(3)].map(|key| (key, Clustering::SINGLE));
        assert_eq!(rows, expected, "seed {seed}");
    }
}

/// Positions of `count` rows, and one behind them.
fn positions(count: u32) -> impl Iterator<Item = Clustering> {
    (0..=count).map(|number| Clustering(Bytes::copy_from_slice(&number.to_be_bytes())))
}

/// How often a read of everything gave others a turn, and its page.
fn turns_of(memtables: &[&Memtable], command: &ReadCommand) -> (u32, ReadPage) {
    let cursors = memtables.iter().map(|memtable| memtable.cursor());
    let (mut merge, mut page, mut turns) = (Merge::new(cursors.collect()), PageBuilder::new(), 0);
    loop {
        match run(&mut merge, command, &mut page) {
            Ok(page) => return (turns, page.decoded().expect("whole rows")),
            Err(Fault::Turn) => turns += 1,
            Err(fault) => panic!("{fault}"),
        }
    }
}

fn everything() -> ReadCommand {
    ReadCommand {
        table: TableId([0; 16]),
        store: Store::BASE,
        range: KeyRange::all(),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::default(),
        limits: Limits::NONE,
        resume: None,
        now: NOW,
    }
}

#[test]
fn others_get_a_turn_while_rows_are_passed_that_nobody_sees() {
    const COUNT: u32 = 3 * PASSED_AT_ONCE;
    let deletion = Deletion {
        timestamp: 5,
        local_deletion_time: 5,
    };
    let key = testing::key(1);
    let (tombstones, shadowed, partitions) = (Memtable::new(), Memtable::new(), Memtable::new());
    for (number, position) in positions(COUNT).enumerate() {
        let mut row = Row::new(position);
        row.liveness = Some(Liveness::new(if number as u32 == COUNT { 9 } else { 1 }));
        shadowed
            .apply(&key, &PartitionUpdate::of_row(row.clone()))
            .unwrap();
        row.deletion = row
            .liveness
            .take_if(|live| live.timestamp == 1)
            .map(|_| deletion);
        tombstones
            .apply(&key, &PartitionUpdate::of_row(row))
            .unwrap();
    }
    let whole = PartitionUpdate {
        deletion: Some(deletion),
        ..PartitionUpdate::default()
    };
    let above = Memtable::new();
    above.apply(&key, &whole).unwrap();
    for number in 0..COUNT {
        let key = PartitionKey::new(Token(i64::from(number)), number.to_be_bytes().to_vec());
        partitions.apply(&key, &whole).unwrap();
    }
    let command = everything();
    let (turns, page) = turns_of(&[&tombstones], &command);
    assert_eq!((turns, page.hidden.tombstones), (3, u64::from(COUNT)));
    assert_eq!(page.partitions[0].rows.len(), 1);
    let (turns, page) = turns_of(&[&shadowed, &above], &command);
    assert_eq!((turns, page.hidden.tombstones), (3, 1));
    assert_eq!(page.partitions[0].rows.len(), 1);
    let (turns, page) = turns_of(&[&partitions], &command);
    assert_eq!((turns, page.hidden.tombstones), (3, u64::from(COUNT)));
    assert!(page.partitions.is_empty());
}

#[test]
fn a_read_gives_up_at_the_first_tombstone_too_many() {
    let deletion = Some(Deletion {
        timestamp: 5,
        local_deletion_time: 5,
    });
    let (one, other) = (Memtable::new(), Memtable::new());
    for (number, position) in positions(1_000).enumerate() {
        let mut row = Row::new(position);
        row.deletion = deletion;
        let memtable = [&one, &other][number % 2];
        memtable
            .apply(&testing::key(1), &PartitionUpdate::of_row(row))
            .unwrap();
    }
    let mut command = everything();
    command.limits.tombstones = 100;
    assert_eq!(turns_of(&[&one], &command).1.hidden.tombstones, 101);
    assert_eq!(turns_of(&[&one, &other], &command).1.hidden.tombstones, 101);
    command.limits.tombstones = 1_001;
    assert_eq!(
        turns_of(&[&one, &other], &command).1.hidden.tombstones,
        1_001
    );
}

#[test]
fn what_covers_a_slice_without_a_word_in_it_is_noted_of_each_slice() {
    let bound = |byte: u8| Clustering(Bytes::from(vec![byte, 0x00]));
    let memtable = Memtable::new();
    let covering = |start, end, timestamp| crate::model::RangeTombstone {
        start: bound(start),
        end: bound(end),
        deletion: Deletion {
            timestamp,
            local_deletion_time: 5,
        },
    };
    let update = PartitionUpdate {
        range_tombstones: vec![covering(1, 5, 70), covering(5, 9, 50)],
        ..PartitionUpdate::default()
    };
    memtable.apply(&testing::key(1), &update).unwrap();
    let other = Memtable::new();
    let nothing = PartitionUpdate::of_row(Row::new(Clustering(Bytes::from(vec![9, 1, 0x80]))));
    other.apply(&testing::key(1), &nothing).unwrap();
    let mut command = everything();
    command.range = KeyRange::One(testing::key(1));
    command.slices = Slices::new(vec![(bound(2), bound(3)), (bound(6), bound(7))]);
    for reversed in [false, true] {
        command.reversed = reversed;
        for sources in [&[&memtable][..], &[&memtable, &other]] {
            let cursors = sources.iter().map(|memtable| memtable.cursor());
            let page = read(cursors.collect(), &command);
            assert_eq!(page.hidden.newest, 70, "reversed {reversed}");
        }
    }
}
