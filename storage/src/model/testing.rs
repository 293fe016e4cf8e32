//! Random writes in a small world, where everything meets everything: a few keys, positions, columns, timestamps.

use super::{
    Cell, CellState, Clustering, ColumnId, Deletion, Liveness, PartitionKey, PartitionUpdate,
    RangeTombstone, Row, Token,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Simple columns.
pub const SIMPLE: [u32; 3] = [1, 2, 40];
/// Columns with paths.
pub const COMPLEX: [u32; 2] = [4, 300];
/// A simple column that no schema knows.
pub const DROPPED: u32 = 7;

/// Two keys for each token.
pub fn key(number: u8) -> PartitionKey {
    PartitionKey::new(Token(i64::from(number / 2) - 1), vec![number])
}

pub fn keys() -> impl Strategy<Value = PartitionKey> {
    (0u8..5).prop_map(key)
}

/// A row's position: one component or two.
pub fn position() -> impl Strategy<Value = Clustering> {
    (1u8..6, option::of(1u8..4)).prop_map(|(first, second)| {
        let mut bytes = vec![first];
        bytes.extend(second);
        bytes.push(0x80);
        Clustering(bytes.into())
    })
}

/// A position between rows: around a row, a prefix, or everything.
pub fn bound() -> impl Strategy<Value = Clustering> {
    let prefix = (1u8..6, option::of(1u8..4), any::<bool>()).prop_map(|(first, second, after)| {
        let mut bytes = vec![first];
        bytes.extend(second);
        bytes.push(if after { 0xFF } else { 0x00 });
        Clustering(bytes.into())
    });
    prop_oneof![8 => prefix, 1 => Just(Clustering::MIN), 1 => Just(Clustering::max())]
}

pub fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1i64..8, 1 => Just(-3), 1 => Just(1_700_000_000_000_000)]
}

pub fn deletion() -> impl Strategy<Value = Deletion> {
    (timestamp(), 0i64..4).prop_map(|(timestamp, local_deletion_time)| Deletion {
        timestamp,
        local_deletion_time,
    })
}

pub fn liveness() -> impl Strategy<Value = Liveness> {
    let expiring = (timestamp(), 1u32..3, 8i64..13)
        .prop_map(|(at, ttl, until)| Liveness::expiring(at, ttl, until));
    prop_oneof![timestamp().prop_map(Liveness::new), expiring]
}

pub fn state() -> impl Strategy<Value = CellState> {
    let value = || vec(0u8..3, 0..3).prop_map(Bytes::from);
    prop_oneof![
        3 => value().prop_map(CellState::Live),
        2 => (value(), 1u32..3, 8i64..13).prop_map(|(value, ttl, expires_at)| CellState::Expiring { value, ttl, expires_at }),
        2 => (0i64..4).prop_map(|local_deletion_time| CellState::Tombstone { local_deletion_time }),
    ]
}

pub fn cell() -> impl Strategy<Value = Cell> {
    let simple = prop::sample::select(vec![0, SIMPLE[0], SIMPLE[1], SIMPLE[2], DROPPED])
        .prop_map(|column| (column, Bytes::new()));
    let complex = (prop::sample::select(COMPLEX.to_vec()), 1u8..4)
        .prop_map(|(column, path)| (column, Bytes::copy_from_slice(&[path])));
    (prop_oneof![simple, complex], timestamp(), state()).prop_map(
        |((column, path), timestamp, state)| Cell {
            column: ColumnId(column),
            path,
            timestamp,
            state,
        },
    )
}

/// A row anywhere, sorted.
pub fn row() -> impl Strategy<Value = Row> {
    let complex = (prop::sample::select(COMPLEX.to_vec()), deletion())
        .prop_map(|(column, deletion)| (ColumnId(column), deletion));
    (
        position(),
        option::of(liveness()),
        option::weighted(0.2, deletion()),
        vec(complex, 0..2),
        vec(cell(), 0..6),
    )
        .prop_map(
            |(clustering, liveness, deletion, complex_deletions, cells)| {
                let mut row = Row {
                    clustering,
                    liveness,
                    deletion,
                    complex_deletions,
                    cells,
                };
                row.sort();
                row
            },
        )
}

pub fn range_tombstone() -> impl Strategy<Value = RangeTombstone> {
    (bound(), bound(), deletion()).prop_map(|(a, b, deletion)| RangeTombstone {
        start: a.clone().min(b.clone()),
        end: a.max(b),
        deletion,
    })
}

/// An update as a statement or batch would make it.
pub fn update() -> impl Strategy<Value = PartitionUpdate> {
    (
        option::weighted(0.1, deletion()),
        option::weighted(0.3, row()),
        vec(row(), 0..4),
        vec(range_tombstone(), 0..3),
    )
        .prop_map(|(deletion, static_row, rows, range_tombstones)| {
            let mut update = PartitionUpdate {
                deletion,
                static_row: static_row.map(|row| Row {
                    clustering: Clustering::MIN,
                    ..row
                }),
                rows: Vec::new(),
                range_tombstones,
            };
            for row in rows {
                update.add_row(row);
            }
            update
        })
}
