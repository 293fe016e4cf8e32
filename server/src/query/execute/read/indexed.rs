//! Rows that an index finds: its entries name candidates, and the rows of the base are read for them, in the order of the base.
//!
//! ```text
//! equality   entries of one term stand in the order of the base: page by page
//! range      entries stand in the order of their values: all of them are walked, of their candidates the first
//!            CANDIDATES_BYTES_MAX in the order of the base are kept; when those are used up the walk is repeated for what comes behind them
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
    ReadPosition, Slices, Store,
};

use crate::derived::entries::{entry_term, term};
use crate::derived::layout::{self, Candidate};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::indexes::{IndexChoice, Sought};
use crate::query::analyze::restrict::End;
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::plan::Keys;
use crate::schema::{Index, TableSchema};

/// Bytes of candidates of a range that are kept at once.
const CANDIDATES_BYTES_MAX: usize = 4 << 20;
/// What keeping a candidate costs beside its own bytes.
const CANDIDATE_BYTES: usize = 160;
/// Entries read at a time.
const ENTRIES: u32 = 1_000;
/// Bytes of entries read at a time.
const ENTRIES_BYTES: usize = 1 << 20;
/// Rows of one partition that are asked for at once.
const ROWS_AT_ONCE: usize = 100;

/// Candidates under way.
pub(super) struct Indexed {
    store: Store,
    /// The type of its terms.
    ty: CqlType,
    /// One term, whose entries are in the order of the base.
    term: Option<Vec<u8>>,
    slices: Slices,
    /// Partitions that are meant.
    range: KeyRange,
    /// Where the next page of entries begins.
    resume: Option<ReadPosition>,
    /// No entries are left that have not been read.
    is_read: bool,
    /// A page of entries was asked for.
    is_asking: bool,
    queue: VecDeque<Candidate>,
    /// Of a range: the first candidates behind `past`.
    first: BTreeSet<Candidate>,
    /// Bytes of `first`.
    first_bytes: usize,
    /// More than `first` holds were found.
    has_more: bool,
    /// Up to here candidates have been used.
    past: Option<Past>,
    /// The partition at hand, and what is read of it.
    current: Option<(PartitionKey, Slices)>,
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
        let (own, slices) = match &choice.sought {
            Sought::Equal(expression) => {
                let own = term(index, &ty, &value(expression)?)?;
                let slices = slices_of_term(&own, &range);
                (Some(own), slices)
            }
            Sought::Entry { key, value: of } => {
                let own = term(index, &ty, &entry_term(&value(key)?, &value(of)?))?;
                let slices = slices_of_term(&own, &range);
                (Some(own), slices)
            }
            Sought::Range { lower, upper } => {
                let end = |end: &Option<End>| -> CqlResult<Option<(Vec<u8>, bool)>> {
                    let Some(end) = end else { return Ok(None) };
                    Ok(Some((
                        term(index, &ty, &value(&end.value)?)?,
                        end.inclusive,
                    )))
                };
                (None, slices_of_range(end(lower)?, end(upper)?))
            }
        };
        Ok(Indexed {
            store: index.store,
            ty,
            term: own,
            slices,
            range,
            resume: None,
            is_read: false,
            is_asking: false,
            queue: VecDeque::new(),
            first: BTreeSet::new(),
            first_bytes: 0,
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
        if let Some(term) = &self.term {
            let start = match row {
                Some(clustering) => layout::after_entry(term, key, clustering),
                None => layout::after_partition(term, key),
            };
            self.slices = from(&self.slices, &start);
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
        while let Some(candidate) = self.queue.pop_front() {
            let key = candidate.key.clone();
            let own = self.rows_of(candidate, slices);
            if own.is_empty() && !slices.is_empty() {
                continue;
            }
            self.current = Some((key.clone(), own.clone()));
            return Next::Rows(KeyRange::One(key), own);
        }
        if self.is_read {
            return Next::End;
        }
        self.is_asking = true;
        Next::Entries(ReadCommand {
            table: table.id,
            store: self.store,
            range: KeyRange::One(layout::partition()),
            slices: self.slices.clone(),
            reversed: false,
            columns: Arc::new(Columns {
                regular: Vec::new(),
                statics: Vec::new(),
            }),
            limits: Limits {
                rows: ENTRIES,
                bytes: ENTRIES_BYTES,
                ..Limits::NONE
            },
            resume: self.resume.take(),
            now,
        })
    }

    /// What to read of a candidate's partition: with it, the candidates behind it in the same one.
    fn rows_of(&mut self, candidate: Candidate, slices: &Slices) -> Slices {
        let Candidate { key, clustering } = candidate;
        let Some(clustering) = clustering else {
            return slices.clone();
        };
        let mut stretches = Vec::new();
        let mut add = |clustering: Clustering| {
            if slices.contains(&clustering.0) {
                stretches.push(key::around(&clustering));
            }
        };
        add(clustering);
        let mut count = 1;
        while count < ROWS_AT_ONCE
            && let Some(next) = self.queue.front()
            && next.key == key
            && let Some(next) = self.queue.pop_front()
        {
            next.clustering.into_iter().for_each(&mut add);
            count += 1;
        }
        Slices::new(stretches)
    }

    /// Whether the page that has come holds entries.
    pub(super) fn takes_entries(&mut self) -> bool {
        std::mem::take(&mut self.is_asking)
    }

    /// Takes candidates in.
    pub(super) fn take(&mut self, page: ReadPage) -> CqlResult<()> {
        for row in page.partitions.iter().flat_map(|partition| &partition.rows) {
            let candidate = layout::candidate(&self.ty, &row.clustering)?;
            // An equality's slices begin behind what was used. Its candidates whose tokens are one stand by the length of their keys, others by their bytes.
            let past = self.past.as_ref().filter(|_| self.term.is_none());
            let is_used = past.is_some_and(|past| past.is_behind(&candidate));
            if is_used || !self.is_meant(&candidate.key) {
                continue;
            }
            match self.term {
                Some(_) => self.queue.push_back(candidate),
                None => self.keep(candidate),
            }
        }
        self.resume = page.next;
        if self.resume.is_some() {
            return Ok(());
        }
        if self.term.is_some() {
            self.is_read = true;
            return Ok(());
        }
        self.is_read = !std::mem::take(&mut self.has_more);
        if let Some(last) = self.first.last() {
            self.past = Some(Past::Candidate(last.clone()));
        }
        self.first_bytes = 0;
        self.queue.extend(std::mem::take(&mut self.first));
        Ok(())
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
        while self.first_bytes > CANDIDATES_BYTES_MAX && self.first.len() > 1 {
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

/// The entries of one term for these partitions.
fn slices_of_term(term: &[u8], range: &KeyRange) -> Slices {
    match range {
        KeyRange::One(key) => Slices::one(
            layout::before_partition(term, key),
            layout::after_partition(term, key),
        ),
        KeyRange::Range { start, end } => {
            let (first, last) = (start.token(), end.token());
            let edge = |token| layout::entry(term, &PartitionKey::new(token, ""), None);
            let token_bytes = |token| edge(token).0.slice(..term.len() + 8);
            let start = match *start == PartitionBound::MIN {
                true => layout::before(term),
                false => layout::before(&token_bytes(first)),
            };
            let end = match *end == PartitionBound::MAX {
                true => layout::after(term),
                false => layout::after(&token_bytes(last)),
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
