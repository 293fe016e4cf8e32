//! Which of two wins, exactly as Cassandra 5.0 decides it.
//!
//! Pure functions of what was written, never of the clock: every order of arrival, every number of repeats and every grouping of merges
//! gives the same answer (commutative, idempotent, associative). That is what lets replay, flush and compaction run at any time.
//!
//! Two cells of one place: the later timestamp; at one timestamp a tombstone or an expiring cell beats a live one, a tombstone beats an
//! expiring cell, the later local deletion (or expiry) time wins, then the shorter TTL, which was written later, then the larger value.
//!
//! A deletion shadows what was written at its own timestamp or before. What is shadowed is dropped, so a merged row has one spelling.

use super::encoding::{RowView, RowWriter};
use super::{
    Cell, CellRef, Clustering, Deletion, Liveness, PartitionUpdate, RangeTombstoneList, Row,
    StateRef,
};
use crate::codec::Malformed;
use bytes::Bytes;
use std::cmp::{Ordering, Reverse};

/// `a` beats `b`. False if they are the same.
#[inline]
pub fn cell_wins(a: CellRef<'_>, b: CellRef<'_>) -> bool {
    if a.timestamp != b.timestamp {
        return a.timestamp > b.timestamp;
    }
    same_time(a.state, b.state) == Ordering::Greater
}

/// Two states written at one timestamp: the greater wins.
fn same_time(a: StateRef<'_>, b: StateRef<'_>) -> Ordering {
    use StateRef::{Expiring, Live, Tombstone};
    let rank = |state: &StateRef<'_>| match state {
        Live(_) => 0,
        Expiring { .. } => 1,
        Tombstone { .. } => 2,
    };
    match (a, b) {
        (Live(a), Live(b)) => a.cmp(b),
        (
            Tombstone {
                local_deletion_time: a,
            },
            Tombstone {
                local_deletion_time: b,
            },
        ) => a.cmp(&b),
        (
            Expiring {
                value: a,
                ttl: a_ttl,
                expires_at: a_at,
            },
            Expiring {
                value: b,
                ttl: b_ttl,
                expires_at: b_at,
            },
        ) => (a_at, Reverse(a_ttl), a).cmp(&(b_at, Reverse(b_ttl), b)),
        _ => rank(&a).cmp(&rank(&b)),
    }
}

/// The later liveness; at one timestamp the one with a TTL, then the later expiry, then the shorter TTL.
pub fn liveness(a: Option<Liveness>, b: Option<Liveness>) -> Option<Liveness> {
    let order = |l: Liveness| (l.timestamp, l.ttl != 0, l.expires_at, Reverse(l.ttl));
    match (a, b) {
        (Some(a), Some(b)) => Some(if order(b) > order(a) { b } else { a }),
        (one, other) => one.or(other),
    }
}

/// Drops from a row what `active` (of the partition or a range) or its own deletions shadow.
pub fn shadow(row: &mut Row, active: Option<Deletion>) {
    row.deletion = Deletion::beyond(row.deletion, active);
    let Some(active) = row.deletion.or(active) else {
        if !row.complex_deletions.is_empty() {
            shadow_complex(row, None);
        }
        return;
    };
    row.liveness = row
        .liveness
        .filter(|liveness| !active.deletes(liveness.timestamp));
    row.complex_deletions
        .retain(|(_, deletion)| *deletion > active);
    if row.complex_deletions.is_empty() {
        row.cells.retain(|cell| !active.deletes(cell.timestamp));
    } else {
        shadow_complex(row, Some(active));
    }
}

fn shadow_complex(row: &mut Row, active: Option<Deletion>) {
    let complex = &row.complex_deletions;
    row.cells.retain(|cell| {
        let own = complex
            .binary_search_by_key(&cell.column, |(column, _)| *column)
            .map(|index| complex[index].1);
        own.ok()
            .or(active)
            .is_none_or(|deletion| !deletion.deletes(cell.timestamp))
    });
}

/// Two rows at one position, under what deletes them from above.
pub fn rows(a: Row, b: Row, active: Option<Deletion>) -> Row {
    let mut merged = unite(a, b);
    shadow(&mut merged, active);
    merged
}

/// Two rows at one position, nothing dropped yet: for merging more than two before [`shadow`].
pub fn unite(a: Row, b: Row) -> Row {
    Row {
        clustering: a.clustering,
        liveness: liveness(a.liveness, b.liveness),
        deletion: a.deletion.max(b.deletion),
        complex_deletions: merge_sorted(
            a.complex_deletions,
            b.complex_deletions,
            |a, b| a.0.cmp(&b.0),
            |a, b| (a.0, a.1.max(b.1)),
        ),
        cells: merge_sorted(a.cells, b.cells, Cell::cmp_place, |a, b| {
            if cell_wins(b.as_ref(), a.as_ref()) {
                b
            } else {
                a
            }
        }),
    }
}

fn merge_sorted<T>(
    a: Vec<T>,
    b: Vec<T>,
    order: impl Fn(&T, &T) -> Ordering,
    both: impl Fn(T, T) -> T,
) -> Vec<T> {
    if a.is_empty() {
        return b;
    }
    if b.is_empty() {
        return a;
    }
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let (mut left, mut right) = (a.next(), b.next());
    loop {
        let order = match (&left, &right) {
            (Some(l), Some(r)) => order(l, r),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return merged,
        };
        match (order, left.take(), right.take()) {
            (Ordering::Equal, Some(l), Some(r)) => {
                merged.push(both(l, r));
                (left, right) = (a.next(), b.next());
            }
            (Ordering::Less, Some(l), r) => {
                merged.push(l);
                (left, right) = (a.next(), r);
            }
            (_, l, Some(r)) => {
                merged.push(r);
                (left, right) = (l, b.next());
            }
            (_, l, None) => (left, right) = (l, None),
        }
    }
}

/// Two encoded rows at one position, appended to `out`. Copies cell bytes once and allocates nothing, unless complex deletions are involved.
pub fn encoded_rows(a: &[u8], b: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (left, right) = (RowView::parse(a)?, RowView::parse(b)?);
    if right.replaces(&left)? {
        out.extend_from_slice(b);
        return Ok(());
    }
    if left.has_complex_deletions() || right.has_complex_deletions() {
        return encoded_complex_rows(a, b, out);
    }
    let deletion = left.deletion.max(right.deletion);
    let shadowed = |timestamp: i64| deletion.is_some_and(|deletion| deletion.deletes(timestamp));
    let liveness =
        liveness(left.liveness, right.liveness).filter(|liveness| !shadowed(liveness.timestamp));
    let (mut a, mut b) = (left.cells(), right.cells());
    let (mut next_a, mut next_b) = (a.next().transpose()?, b.next().transpose()?);
    let first = next_a.or(next_b).map_or(0, |cell| cell.timestamp);
    let mut writer = RowWriter::new(out, first, liveness, deletion, &[]);
    loop {
        let order = match (&next_a, &next_b) {
            (Some(left), Some(right)) => left.cmp_place(right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let winner = match order {
            Ordering::Less => next_a,
            Ordering::Greater => next_b,
            Ordering::Equal => match (next_a, next_b) {
                (Some(left), Some(right)) if cell_wins(right, left) => next_b,
                _ => next_a,
            },
        };
        if let Some(cell) = winner.filter(|cell| !shadowed(cell.timestamp)) {
            writer.cell(cell);
        }
        if order != Ordering::Greater {
            next_a = a.next().transpose()?;
        }
        if order != Ordering::Less {
            next_b = b.next().transpose()?;
        }
    }
    writer.finish();
    Ok(())
}

fn encoded_complex_rows(a: &[u8], b: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let own = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        RowView::parse(&bytes)?.to_row(Clustering::MIN, &bytes)
    };
    rows(own(a)?, own(b)?, None).encode(out);
    Ok(())
}

/// Two updates of one partition. What the merged deletions shadow is dropped.
pub fn partitions(a: PartitionUpdate, b: PartitionUpdate) -> PartitionUpdate {
    let deletion = a.deletion.max(b.deletion);
    let mut tombstones: RangeTombstoneList = a
        .range_tombstones
        .into_iter()
        .chain(b.range_tombstones)
        .collect();
    if let Some(deletion) = deletion {
        tombstones.retain_beyond(deletion);
    }
    let static_row = match (a.static_row, b.static_row) {
        (Some(a), Some(b)) => Some(unite(a, b)),
        (one, other) => one.or(other),
    };
    let mut merged = PartitionUpdate {
        deletion,
        static_row,
        rows: merge_sorted(
            a.rows,
            b.rows,
            |a, b| a.clustering.cmp(&b.clustering),
            unite,
        ),
        range_tombstones: Vec::new(),
    };
    if let Some(row) = &mut merged.static_row {
        shadow(row, deletion);
    }
    merged.static_row = merged.static_row.filter(|row| !row.is_empty());
    for row in &mut merged.rows {
        shadow(row, deletion.max(tombstones.covering(&row.clustering.0)));
    }
    merged.rows.retain(|row| !row.is_empty());
    merged.range_tombstones = tombstones.into_vec();
    merged
}

/// The cell that wins, owned.
pub fn cells(a: Cell, b: Cell) -> Cell {
    if cell_wins(b.as_ref(), a.as_ref()) {
        b
    } else {
        a
    }
}
