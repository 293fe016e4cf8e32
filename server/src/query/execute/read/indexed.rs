//! Rows that an index finds: its entries name candidates, and the rows of the base are read for them, in the order of the base.
//!
//! ```text
//! equality   the entries of one value are a partition, in the order of the base: page by page
//! range      of each bucket, one after the other as the base has them: its entries stand in the order of their values. All that are in the range are walked, of
//!            their candidates the first CANDIDATES_BYTES_MAX in the order of the base are kept; when those are used up the walk of the bucket is repeated for what
//!            comes behind them
//! ```
//!
//! What must hold: candidates come in the order of the base and none twice, so that a page state needs no more than where the page ended in the base; a bounded
//! number of them is in memory.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound as Edge;
use std::sync::Arc;

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{
    Clustering, Columns, KeyRange, Limits, PartitionBound, PartitionKey, ReadCommand, ReadPage,
    ReadPosition, Slices, Store, Token,
};
use smallvec::{SmallVec, smallvec};

use crate::derived::entries::{entry_term, term};
use crate::derived::layout::{self, Candidate, PLACE};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::indexes::{IndexChoice, Sought};
use crate::query::analyze::restrictions::{End, Judge};
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::plan::Keys;
use crate::schema::{Index, TableSchema};

/// Bytes of a value that a classic index is asked for.
const SOUGHT_BYTES_MAX: usize = 65_535;
/// Bytes of candidates of a range that are kept at once.
const CANDIDATES_BYTES_MAX: usize = 4 << 20;
/// What keeping a candidate costs beside its own bytes.
const CANDIDATE_BYTES: usize = 160;
/// Entries read at a time.
const ENTRIES: u32 = 1_000;
/// Entries of a value that are read first: a LIMIT often wants no more.
const ENTRIES_AT_FIRST: u32 = 128;
/// Bytes of entries read at a time.
const ENTRIES_BYTES: usize = 1 << 20;
/// Rows of one partition that are asked for at once.
const ROWS_AT_ONCE: usize = 100;
/// Candidates whose partitions are on their way while the first of them is read.
const KEYS_AHEAD: usize = 32;

/// Candidates under way.
pub(super) struct Indexed {
    store: Store,
    /// The type of its terms.
    ty: CqlType,
    walk: Walk,
    slices: Slices,
    /// Partitions that are meant.
    range: KeyRange,
    /// Entries that are asked for next.
    entries: u32,
    /// Where the next page of entries begins.
    resume: Option<ReadPosition>,
    /// No entries are left that have not been read.
    is_read: bool,
    /// A page of entries was asked for.
    is_asking: bool,
    queue: VecDeque<Candidate>,
    /// Of a range: the first candidates behind `past`.
    first: BTreeSet<Candidate>,
    /// Bytes of `first`, and how many there may be.
    first_bytes: usize,
    candidates_bytes_max: usize,
    /// More than `first` holds were found.
    has_more: bool,
    /// Up to here candidates have been used.
    past: Option<Past>,
    /// The partition at hand, and what is read of it.
    current: Option<(PartitionKey, Slices)>,
}

/// Which entries are looked through.
enum Walk {
    /// Those of one value, which are in the order of the base.
    Value(PartitionKey),
    /// Those of the buckets from the first to the last, which are in the order of their values.
    Buckets(u8, u8),
}

impl Walk {
    /// Where to look now.
    fn partition(&self) -> PartitionKey {
        match self {
            Walk::Value(partition) => partition.clone(),
            Walk::Buckets(bucket, _) => layout::partition_of_bucket(*bucket),
        }
    }

    fn is_in_order(&self) -> bool {
        matches!(self, Walk::Value(_))
    }
}

/// A place between candidates.
#[derive(Clone)]
enum Past {
    Candidate(Candidate),
    Partition(PartitionKey),
}

impl Past {
    fn is_behind(&self, candidate: &Candidate) -> bool {
        match self {
            Past::Candidate(last) => candidate <= last,
            Past::Partition(last) => candidate.key <= *last,
        }
    }
}

/// What to do next.
pub(super) enum Next {
    /// Read these entries.
    Entries(ReadCommand),
    /// Read these rows of the base.
    Rows(KeyRange, Slices),
    End,
}

impl Indexed {
    /// Begins with the first candidate.
    pub(super) fn new(
        table: &TableSchema,
        choice: &IndexChoice,
        judge: Judge,
        keys: &Keys,
        scope: &Scope<'_>,
    ) -> CqlResult<Indexed> {
        let index = &choice.index;
        check_built(index)?;
        let column = &table.columns[choice.column];
        let ty = index.term_type(&column.ty);
        let value = |expression: &Expression| match expression.evaluate(scope)? {
            Bound::Value(value) => Ok(value),
            Bound::Null => Err(CqlError::invalid(format!(
                "Unsupported null value for column {}",
                column.name
            ))),
            Bound::Unset => Err(CqlError::invalid(format!(
                "Unsupported unset value for column {}",
                column.name
            ))),
        };
        let range = match keys {
            Keys::Range(range) => range.clone(),
            Keys::Named(keys) => match keys.first() {
                Some(key) => KeyRange::One(key.clone()),
                None => KeyRange::all(),
            },
            Keys::Nothing => KeyRange::all(),
        };
        let of_value = |sought: &Bytes| -> CqlResult<_> {
            if !index.is_sai() && sought.len() > SOUGHT_BYTES_MAX {
                return Err(CqlError::invalid(
                    "Index expression values may not be larger than 64K",
                ));
            }
            let walk = Walk::Value(layout::partition_of_value(&term(index, &ty, sought)?));
            Ok((walk, slices_of_value(&range)))
        };
        let (walk, slices) = match &choice.sought {
            Sought::Equal(expression) => of_value(&value(expression)?)?,
            Sought::Entry { key, value: of } => of_value(&entry_term(&value(key)?, &value(of)?))?,
            Sought::Range { lower, upper } => {
                let end = |end: &Option<End>| -> CqlResult<Option<(Vec<u8>, bool)>> {
                    let Some(end) = end else { return Ok(None) };
                    Ok(Some((
                        term(index, &ty, &value(&end.value)?)?,
                        end.inclusive,
                    )))
                };
                let (first, last) = tokens_of(&range);
                let walk = Walk::Buckets(layout::bucket_of(first), layout::bucket_of(last));
                // Entries stand in the order of bytes, where addresses between two others are not side by side.
                let is_in_order = *ty.bare() != CqlType::Inet || judge != Judge::Attached;
                let slices = match is_in_order {
                    true => slices_of_range(end(lower)?, end(upper)?),
                    false => slices_of_range(None, None),
                };
                (walk, slices)
            }
        };
        Ok(Indexed {
            store: index.store,
            ty,
            walk,
            slices,
            range,
            entries: match choice.sought {
                Sought::Range { .. } => ENTRIES,
                Sought::Equal(_) | Sought::Entry { .. } => ENTRIES_AT_FIRST,
            },
            resume: None,
            is_read: false,
            is_asking: false,
            queue: VecDeque::new(),
            first: BTreeSet::new(),
            first_bytes: 0,
            candidates_bytes_max: CANDIDATES_BYTES_MAX,
            has_more: false,
            past: None,
            current: None,
        })
    }

    /// Goes on behind where an earlier page ended. Whether the partition it ended in is to be read on from there, because candidates are whole partitions.
    pub(super) fn go_on(
        &mut self,
        table: &TableSchema,
        choice: &IndexChoice,
        position: &ReadPosition,
        slices: &Slices,
    ) -> bool {
        let key = &position.key;
        let of_rows = !matches!(
            table.columns[choice.column].kind,
            crate::schema::ColumnKind::PartitionKey | crate::schema::ColumnKind::Static
        );
        let row = position.clustering.as_ref().filter(|_| of_rows);
        match &mut self.walk {
            Walk::Value(_) => {
                let start = match row {
                    Some(clustering) => layout::after_entry(&[PLACE], key, clustering),
                    None => layout::after_partition(&[PLACE], key),
                };
                self.slices = from(&self.slices, &start);
            }
            Walk::Buckets(bucket, _) => *bucket = layout::bucket_of(key.token()),
        }
        self.past = Some(match row {
            Some(clustering) => Past::Candidate(Candidate {
                key: key.clone(),
                clustering: Some(clustering.clone()),
            }),
            None => Past::Partition(key.clone()),
        });
        let is_within = position.clustering.is_some() && !of_rows;
        if is_within {
            self.current = Some((key.clone(), slices.clone()));
        }
        is_within
    }

    /// What to read next. `is_within`: the partition at hand has more. `slices`: the rows that are meant of any partition.
    pub(super) fn next(
        &mut self,
        table: &TableSchema,
        is_within: bool,
        slices: &Slices,
        now: i64,
    ) -> Next {
        if let (true, Some((key, slices))) = (is_within, &self.current) {
            return Next::Rows(KeyRange::One(key.clone()), slices.clone());
        }
        self.current = None;
        while let Some(Candidate { key, clustering }) = self.queue.pop_front() {
            let own = self.rows_of(&key, clustering, slices);
            if own.is_empty() && !slices.is_empty() {
                continue;
            }
            return Next::Rows(KeyRange::One(key), own);
        }
        if self.is_read {
            return Next::End;
        }
        self.is_asking = true;
        let rows = std::mem::replace(&mut self.entries, ENTRIES);
        Next::Entries(ReadCommand {
            table: table.id,
            store: self.store,
            range: KeyRange::One(self.walk.partition()),
            slices: self.slices.clone(),
            reversed: false,
            columns: Arc::new(Columns {
                regular: Vec::new(),
                statics: Vec::new(),
            }),
            limits: Limits {
                rows,
                bytes: ENTRIES_BYTES,
                ..Limits::NONE
            },
            resume: self.resume.take(),
            now,
        })
    }

    /// The partition that was asked for has more.
    pub(super) fn stay(&mut self, command: &ReadCommand) {
        if let KeyRange::One(key) = &command.range {
            self.current = Some((key.clone(), command.slices.clone()));
        }
    }

    /// The partitions that are read next.
    pub(super) fn next_keys(&self) -> impl Iterator<Item = &PartitionKey> + Clone {
        self.queue
            .iter()
            .take(KEYS_AHEAD)
            .map(|candidate| &candidate.key)
    }

    /// What to read of a candidate's partition: with it, the candidates behind it in the same one.
    fn rows_of(
        &mut self,
        key: &PartitionKey,
        clustering: Option<Clustering>,
        slices: &Slices,
    ) -> Slices {
        let Some(clustering) = clustering else {
            return slices.clone();
        };
        let is_meant = |clustering: &Clustering| slices.contains(&clustering.0);
        let mut rows: SmallVec<[Clustering; 1]> = smallvec![clustering];
        while rows.len() < ROWS_AT_ONCE
            && let Some(next) = self.queue.front()
            && next.key == *key
            && let Some(next) = self.queue.pop_front()
        {
            rows.extend(next.clustering);
        }
        rows.retain(|clustering| is_meant(clustering));
        match &rows[..] {
            // Storage has a shorter way to a row that it knows to be the only one.
            [only] if *only == Clustering::SINGLE => Slices::single(),
            [only] => {
                let (start, end) = key::around(only);
                Slices::row(start, only.clone(), end)
            }
            several => Slices::new(several.iter().map(key::around).collect()),
        }
    }

    /// Whether the page that has come holds entries.
    pub(super) fn takes_entries(&mut self) -> bool {
        std::mem::take(&mut self.is_asking)
    }

    /// Takes candidates in.
    pub(super) fn take(&mut self, page: ReadPage) -> CqlResult<()> {
        for partition in &page.partitions {
            for row in &partition.rows {
                let candidate = layout::candidate(&self.ty, &partition.key, &row.clustering)?;
                // An equality's slices begin behind what was used. Its candidates whose tokens are one stand by the length of their keys, others by their bytes.
                let past = self.past.as_ref().filter(|_| !self.walk.is_in_order());
                let is_used = past.is_some_and(|past| past.is_behind(&candidate));
                if is_used || !self.is_meant(&candidate.key) {
                    continue;
                }
                match self.walk {
                    Walk::Value(_) => self.queue.push_back(candidate),
                    Walk::Buckets(..) => self.keep(candidate),
                }
            }
        }
        self.resume = page.next;
        if self.resume.is_none() {
            self.end_partition();
        }
        Ok(())
    }

    /// A value, or a bucket, has been walked.
    fn end_partition(&mut self) {
        let Walk::Buckets(bucket, last) = &mut self.walk else {
            self.is_read = true;
            return;
        };
        match std::mem::take(&mut self.has_more) {
            true => self.past = self.first.last().cloned().map(Past::Candidate),
            false if bucket < last => *bucket += 1,
            false => self.is_read = true,
        }
        self.first_bytes = 0;
        self.queue.extend(std::mem::take(&mut self.first));
    }

    fn keep(&mut self, candidate: Candidate) {
        if self.has_more && self.first.last().is_some_and(|last| *last < candidate) {
            return;
        }
        // A copy: what is kept must not keep the block that it was read from.
        let key = Bytes::copy_from_slice(candidate.key.bytes());
        let candidate = Candidate {
            key: PartitionKey::new(candidate.key.token(), key),
            clustering: candidate
                .clustering
                .map(|own| Clustering::copy_from(&own.0)),
        };
        let bytes = bytes_of(&candidate);
        if self.first.insert(candidate) {
            self.first_bytes += bytes;
        }
        while self.first_bytes > self.candidates_bytes_max && self.first.len() > 1 {
            if let Some(last) = self.first.pop_last() {
                self.first_bytes -= bytes_of(&last);
            }
            self.has_more = true;
        }
    }

    fn is_meant(&self, key: &PartitionKey) -> bool {
        match &self.range {
            KeyRange::One(own) => own == key,
            KeyRange::Range { start, .. } => {
                !start.is_after_key(key) && !self.range.ends_before(key)
            }
        }
    }
}

fn bytes_of(candidate: &Candidate) -> usize {
    let clustering = candidate.clustering.as_ref();
    CANDIDATE_BYTES + candidate.key.bytes().len() + clustering.map_or(0, |own| own.0.len())
}

/// An index that is being built answers nothing.
pub(super) fn check_built(index: &Index) -> CqlResult<()> {
    match index.is_built {
        true => Ok(()),
        false => Err(CqlError::read_failure(format!(
            "The secondary index '{}' is not yet available",
            index.name
        ))),
    }
}

/// The first and the last token that a range may hold.
fn tokens_of(range: &KeyRange) -> (Token, Token) {
    match range {
        KeyRange::One(key) => (key.token(), key.token()),
        KeyRange::Range { start, end } => (start.token(), end.token()),
    }
}

/// The entries of a value for these partitions.
fn slices_of_value(range: &KeyRange) -> Slices {
    match range {
        KeyRange::One(key) => Slices::one(
            layout::before_partition(&[PLACE], key),
            layout::after_partition(&[PLACE], key),
        ),
        KeyRange::Range { start, end } => {
            let token_bytes = |token| {
                let edge = layout::entry(&[PLACE], &PartitionKey::new(token, ""), None);
                edge.0.slice(..1 + 8)
            };
            let start = match *start == PartitionBound::MIN {
                true => layout::before(&[PLACE]),
                false => layout::before(&token_bytes(start.token())),
            };
            let end = match *end == PartitionBound::MAX {
                true => layout::after(&[PLACE]),
                false => layout::after(&token_bytes(end.token())),
            };
            Slices::one(start, end)
        }
    }
}

/// The entries of all terms between two; none is null.
fn slices_of_range(lower: Option<(Vec<u8>, bool)>, upper: Option<(Vec<u8>, bool)>) -> Slices {
    let edge = |end: Option<(Vec<u8>, bool)>| match end {
        None => Edge::Unbounded,
        Some((term, true)) => Edge::Included(term),
        Some((term, false)) => Edge::Excluded(term),
    };
    let start = match edge(lower) {
        Edge::Unbounded => Clustering::MIN,
        Edge::Included(term) => layout::before(&term),
        Edge::Excluded(term) => layout::after(&term),
    };
    let end = match edge(upper) {
        Edge::Unbounded => Clustering::max(),
        Edge::Included(term) => layout::after(&term),
        Edge::Excluded(term) => layout::before(&term),
    };
    Slices::one(start, end)
}

/// What is left of slices from a place on.
fn from(slices: &Slices, start: &Clustering) -> Slices {
    let clip = |(first, last): &(Clustering, Clustering)| (first.max(start).clone(), last.clone());
    Slices::new(slices.as_slice().iter().map(clip).collect())
}

#[cfg(test)]
mod tests {
    use palladium_storage::{Liveness, PartitionRows, Row};

    use super::*;

    fn of_buckets(candidates_bytes_max: usize) -> Indexed {
        Indexed {
            store: Store(1),
            ty: CqlType::Int,
            walk: Walk::Buckets(0, 15),
            slices: Slices::all(),
            range: KeyRange::all(),
            entries: ENTRIES,
            resume: None,
            is_read: false,
            is_asking: false,
            queue: VecDeque::new(),
            first: BTreeSet::new(),
            first_bytes: 0,
            candidates_bytes_max,
            has_more: false,
            past: None,
            current: None,
        }
    }

    /// A page of a bucket, as storage gives it: by value, then by place.
    fn page(partition: &PartitionKey, mut entries: Vec<Clustering>) -> ReadPage {
        entries.sort();
        let rows = entries.into_iter().map(|entry| Row {
            liveness: Some(Liveness::new(1)),
            ..Row::new(entry)
        });
        ReadPage {
            partitions: vec![PartitionRows {
                key: partition.clone(),
                static_row: None,
                rows: rows.collect(),
            }],
            ..ReadPage::default()
        }
    }

    #[test]
    fn candidates_of_a_range_come_in_the_order_of_the_base_and_few_at_a_time() {
        const STEP: i64 = 40_000_000_000_000_007;
        let base: Vec<PartitionKey> = (0..450_i64)
            .map(|n| {
                PartitionKey::new(
                    Token(i64::MIN.wrapping_add(n.wrapping_mul(STEP))),
                    n.to_be_bytes().to_vec(),
                )
            })
            .collect();
        let entry = |n: usize, key: &PartitionKey| {
            let value = ((n * 7919) % 1000) as i32;
            let mut term = Vec::new();
            crate::encode::order::encode(
                &CqlType::Int,
                Some(&value.to_be_bytes()),
                false,
                &mut term,
            )
            .expect("an int");
            layout::entry(&term, key, Some(&Clustering::SINGLE))
        };
        for kept_at_once in [1, 10, 1_000] {
            let bytes_max = kept_at_once * (CANDIDATE_BYTES + 9);
            let mut indexed = of_buckets(bytes_max);
            let mut found = Vec::new();
            while !indexed.is_read {
                let partition = indexed.walk.partition();
                let in_it = base.iter().enumerate();
                let in_it = in_it.filter(|(_, key)| {
                    layout::partition_of_bucket(layout::bucket_of(key.token())) == partition
                });
                let entries = in_it.map(|(n, key)| entry(n, key)).collect();
                indexed.take(page(&partition, entries)).expect("entries");
                assert!(indexed.queue.len() <= kept_at_once);
                found.extend(indexed.queue.drain(..).map(|candidate| candidate.key));
            }
            assert_eq!(found, base, "{kept_at_once} kept at once");
        }
    }
}
