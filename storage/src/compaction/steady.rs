//! What each strategy costs under a steady load, counted without a disk: bytes written for each byte flushed, SSTables over one token, the largest merge.
//!
//! The load is drawn evenly over the ring, from so many distinct entries; what a merge makes of its inputs follows from the chance that an entry is in several of
//! them. Nothing here is measured in time, and nothing is random: the numbers are the strategies' own.
//!
//! `cargo test -p palladium-storage steady -- --nocapture` prints the table.

use std::collections::BTreeSet;

use super::overlap;
use super::strategy::tests::{MIB, NOW, circumstances, sstable};
use super::*;

/// Bytes of an entry.
const ENTRY_BYTES: u64 = 100;

/// A store's SSTables, and what was done to them.
pub struct Heap {
    pub sstables: Vec<SstableSummary>,
    /// Distinct entries that the load writes to, over the whole ring.
    pub distinct: f64,
    pub now: i64,
    pub flushed_bytes: u64,
    pub merged_bytes: u64,
    pub merges: u64,
    pub largest_merge: u64,
    next_id: u64,
}

impl Heap {
    pub fn new(distinct: f64) -> Heap {
        Heap {
            sstables: Vec::new(),
            distinct,
            now: NOW,
            flushed_bytes: 0,
            merged_bytes: 0,
            merges: 0,
            largest_merge: 0,
            next_id: 1,
        }
    }

    /// Takes SSTables as they are.
    pub fn adopt(&mut self, sstables: Vec<SstableSummary>) {
        let ids = sstables.iter().map(|sstable| sstable.id + 1);
        self.next_id = ids.max().unwrap_or(1).max(self.next_id);
        self.sstables.extend(sstables);
    }

    /// A memtable of so many bytes becomes an SSTable.
    pub fn flush(&mut self, bytes: u64) {
        let mut flushed = sstable(self.next_id, bytes);
        flushed.entries = bytes / ENTRY_BYTES;
        flushed.timestamps = (self.now * 1_000_000, self.now * 1_000_000);
        flushed.created_at = self.now;
        self.next_id += 1;
        self.flushed_bytes += bytes;
        self.sstables.push(flushed);
    }

    pub fn choose(&self, options: &CompactionOptions, busy: &BTreeSet<u64>) -> Choice {
        let circumstances = Circumstances {
            now: self.now,
            ..circumstances()
        };
        options.choose(&self.sstables, busy, circumstances)
    }

    /// Does what is chosen until nothing more is. Gives how often.
    ///
    /// # Panics
    /// When that does not end.
    pub fn merge_until_it_rests(&mut self, options: &CompactionOptions) -> u64 {
        for count in 0..10_000 {
            match self.choose(options, &BTreeSet::new()) {
                Choice::Rest => return count,
                Choice::Merge(plan) => self.merge(&plan),
                Choice::Forget(ids) => self.sstables.retain(|sstable| !ids.contains(&sstable.id)),
            }
        }
        panic!("{:?} does not come to rest", options.strategy);
    }

    /// Carries a plan out.
    pub fn merge(&mut self, plan: &Plan) {
        let (inputs, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sstables)
            .into_iter()
            .partition(|sstable| plan.sstables.contains(&sstable.id));
        self.sstables = others;
        let input_bytes: u64 = inputs.iter().map(|sstable| sstable.bytes).sum();
        self.largest_merge = self.largest_merge.max(input_bytes);
        self.merges += 1;
        let all: Vec<&SstableSummary> = inputs.iter().collect();
        for tokens in pieces(&all, plan.outputs, self.distinct) {
            let entries = united(&all, tokens, self.distinct);
            if entries < 1.0 {
                continue;
            }
            let bytes = entries as u64 * ENTRY_BYTES;
            self.merged_bytes += bytes;
            let oldest = inputs.iter().map(|sstable| sstable.timestamps.0).min();
            let newest = inputs.iter().map(|sstable| sstable.timestamps.1).max();
            let longest = inputs
                .iter()
                .map(|input| input.max_local_deletion_time)
                .max();
            self.sstables.push(SstableSummary {
                level: plan.level,
                bytes,
                created_at: self.now,
                tokens,
                timestamps: (oldest.unwrap_or(0), newest.unwrap_or(0)),
                max_local_deletion_time: longest.unwrap_or(i64::MAX),
                entries: entries as u64,
                ..sstable(self.next_id, bytes)
            });
            self.next_id += 1;
        }
    }

    pub fn depth(&self) -> usize {
        overlap::depth(&self.sstables.iter().collect::<Vec<_>>())
    }

    pub fn bytes(&self) -> u64 {
        self.sstables.iter().map(|sstable| sstable.bytes).sum()
    }
}

/// Distinct entries of the inputs between two tokens.
fn united(inputs: &[&SstableSummary], tokens: (i64, i64), distinct: f64) -> f64 {
    let there = distinct * overlap::share(tokens);
    let mut missing = 1.0;
    for input in inputs {
        let common = (input.tokens.0.max(tokens.0), input.tokens.1.min(tokens.1));
        if common.0 <= common.1 {
            let entries =
                input.entries as f64 * overlap::share(common) / overlap::share(input.tokens);
            missing *= 1.0 - (entries / there).min(1.0);
        }
    }
    there * (1.0 - missing)
}

/// The tokens of what a merge makes.
fn pieces(inputs: &[&SstableSummary], outputs: Outputs, distinct: f64) -> Vec<(i64, i64)> {
    let (first, last) = overlap::span(inputs);
    let cut = |count: u64, from: i128, to: i128| -> Vec<(i64, i64)> {
        let width = (to - from + 1) / i128::from(count).max(1);
        (0..i128::from(count))
            .map(|n| {
                let end = if n + 1 == i128::from(count) {
                    to
                } else {
                    from + width * (n + 1) - 1
                };
                ((from + width * n) as i64, end as i64)
            })
            .collect()
    };
    match outputs {
        Outputs::One => vec![(first, last)],
        Outputs::Bytes(bytes) => {
            let total = united(inputs, (first, last), distinct) as u64 * ENTRY_BYTES;
            cut(total.div_ceil(bytes).max(1), first.into(), last.into())
        }
        Outputs::Shards(shards) => cut(shards.into(), i64::MIN.into(), i64::MAX.into())
            .into_iter()
            .map(|(from, to)| (from.max(first), to.min(last)))
            .filter(|(from, to)| from <= to)
            .collect(),
    }
}

/// What a load did to a heap.
struct Cost {
    name: &'static str,
    write_amplification: f64,
    mean_depth: f64,
    deepest: usize,
    largest_merge: f64,
    space: f64,
}

const FLUSH_BYTES: u64 = 64 * MIB;
const FLUSHES: u64 = 400;

/// So many flushes; after each compaction comes to rest, and reads are counted.
fn under_load(name: &'static str, strategy: Strategy, distinct: f64, seconds_between: i64) -> Cost {
    let options = CompactionOptions {
        strategy,
        ..CompactionOptions::default()
    };
    let mut heap = Heap::new(distinct);
    let (mut depths, mut deepest) = (0, 0);
    for _ in 0..FLUSHES {
        heap.now += seconds_between;
        heap.flush(FLUSH_BYTES);
        heap.merge_until_it_rests(&options);
        depths += heap.depth();
        deepest = deepest.max(heap.depth());
    }
    let once = united(
        &heap.sstables.iter().collect::<Vec<_>>(),
        (i64::MIN, i64::MAX),
        distinct,
    );
    Cost {
        name,
        write_amplification: (heap.flushed_bytes + heap.merged_bytes) as f64
            / heap.flushed_bytes as f64,
        mean_depth: depths as f64 / FLUSHES as f64,
        deepest,
        largest_merge: heap.largest_merge as f64 / heap.flushed_bytes as f64,
        space: heap.bytes() as f64 / (once * ENTRY_BYTES as f64),
    }
}

fn strategies() -> Vec<(&'static str, Strategy)> {
    let unified = |scaling: i32| {
        Strategy::Unified(Unified {
            scaling: vec![scaling],
            ..Unified::default()
        })
    };
    vec![
        ("SizeTiered", Strategy::default()),
        ("Leveled", Strategy::Leveled(Leveled::default())),
        ("Unified T8", unified(6)),
        ("Unified T4", unified(2)),
        ("Unified N", unified(0)),
        ("Unified L4", unified(-2)),
        ("Unified L10", unified(-8)),
    ]
}

fn print(load: &str, costs: &[Cost]) {
    println!("{load}: {FLUSHES} flushes of {} MiB", FLUSH_BYTES / MIB);
    println!(
        "| strategy | written per byte | SSTables over a token, mean | most | largest merge | space |"
    );
    println!("|---|---|---|---|---|---|");
    for cost in costs {
        println!(
            "| {} | {:.2} | {:.2} | {} | {:.2} | {:.2} |",
            cost.name,
            cost.write_amplification,
            cost.mean_depth,
            cost.deepest,
            cost.largest_merge,
            cost.space
        );
    }
}

fn costs_of(load: &str, distinct: f64) -> Vec<Cost> {
    let costs: Vec<Cost> = strategies()
        .into_iter()
        .map(|(name, strategy)| under_load(name, strategy, distinct, 60))
        .collect();
    print(load, &costs);
    costs
}

/// What a strategy may cost at most: bytes written for each byte flushed, and SSTables over one token.
fn assert_within(costs: &[Cost], bounds: &[(&str, f64, usize)]) {
    assert_eq!(costs.len(), bounds.len());
    for (cost, (name, written, deepest)) in costs.iter().zip(bounds) {
        assert_eq!(cost.name, *name);
        assert!(
            cost.write_amplification <= *written,
            "{name} writes {:.2} for each byte",
            cost.write_amplification
        );
        assert!(
            cost.deepest <= *deepest,
            "{name} lies {} deep",
            cost.deepest
        );
    }
}

#[test]
fn what_only_grows_costs_each_strategy_what_it_promises() {
    let costs = costs_of("new entries only", 1e15);
    assert_within(
        &costs,
        &[
            ("SizeTiered", 4.7, 12),
            ("Leveled", 12.5, 6),
            ("Unified T8", 3.5, 16),
            ("Unified T4", 4.5, 11),
            ("Unified N", 9.6, 8),
            ("Unified L4", 10.3, 4),
            ("Unified L10", 12.3, 4),
        ],
    );
}

#[test]
fn what_is_overwritten_costs_each_strategy_what_it_promises() {
    // Two GiB of distinct entries: each is written over twelve times.
    let costs = costs_of("overwrites", (2u64 << 30) as f64 / ENTRY_BYTES as f64);
    assert_within(
        &costs,
        &[
            ("SizeTiered", 3.4, 12),
            ("Leveled", 7.1, 5),
            ("Unified T8", 2.6, 14),
            ("Unified T4", 3.5, 9),
            ("Unified N", 6.4, 5),
            ("Unified L4", 7.1, 3),
            ("Unified L10", 8.2, 3),
        ],
    );
    // Old versions of an entry that no merge has met yet.
    assert!(costs.iter().all(|cost| cost.space <= 3.2));
}

#[test]
fn a_window_becomes_one_sstable_and_no_merge_leaves_it() {
    let hours = Strategy::TimeWindow(TimeWindow {
        window_seconds: 3_600,
        ..TimeWindow::default()
    });
    // Twenty flushes in each hour.
    let cost = under_load("TimeWindow", hours.clone(), 1e15, 180);
    print("twenty flushes in each window", std::slice::from_ref(&cost));
    assert!(cost.write_amplification <= 4.0);
    let windows = (FLUSHES / 20 + 1) as usize;
    assert!(cost.deepest <= windows + 8, "{} deep", cost.deepest);
    assert!(cost.largest_merge <= 0.06, "no merge leaves its window");
}

#[test]
fn small_flushes_are_not_merged_again_and_again() {
    for (name, strategy) in strategies() {
        let options = CompactionOptions {
            strategy,
            ..CompactionOptions::default()
        };
        let mut heap = Heap::new(1e15);
        for _ in 0..FLUSHES {
            heap.now += 60;
            heap.flush(MIB);
            heap.merge_until_it_rests(&options);
        }
        let amplification =
            (heap.flushed_bytes + heap.merged_bytes) as f64 / heap.flushed_bytes as f64;
        println!("{name}: {amplification:.2} for each byte flushed by the MiB");
        assert!(amplification <= 25.0, "{name}: {amplification:.2}");
    }
}
