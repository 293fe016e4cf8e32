//! Laws of the model: what is encoded comes back, and merging does not care about order, grouping or repeats.

use super::testing;
use super::*;
use bytes::Bytes;
use palladium_crypto::TableId;
use proptest::prelude::*;

/// What a merge with nothing leaves: the one spelling.
fn normal(update: PartitionUpdate) -> PartitionUpdate {
    reconcile::partitions(update, PartitionUpdate::default())
}

fn mutation(update: PartitionUpdate) -> Mutation {
    Mutation {
        table: TableId([7; 16]),
        store: Store::BASE,
        key: testing::key(3),
        update,
    }
}

#[test]
fn rows_added_at_once_stand_as_rows_added_one_by_one() {
    let row = |place: u8, timestamp: i64| {
        let mut row = Row::new(Clustering(Bytes::copy_from_slice(&[place])));
        row.liveness = Some(Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        });
        row
    };
    let rows = [row(9, 1), row(3, 5), row(9, 4), row(1, 2), row(3, 1)];
    let (mut one_by_one, mut at_once) = (PartitionUpdate::default(), PartitionUpdate::default());
    for row in rows.clone() {
        one_by_one.add_row(row);
    }
    at_once.add_row(rows[0].clone());
    at_once.add_rows(rows[1..].to_vec());
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.rows.len(), 3);
}

/// The bytes of the format: a mutation of the base is written as it was before there were stores.
#[test]
fn a_store_is_spelled_out_before_the_update() {
    let base = mutation(PartitionUpdate {
        deletion: Some(Deletion {
            timestamp: 1,
            local_deletion_time: 2,
        }),
        ..PartitionUpdate::default()
    });
    let bytes = encoded_mutation;
    let plain = bytes(&base);
    let head = plain.len() - 3;
    assert_eq!(plain[head..], [0x01, 2, 4]);
    let derived = Mutation {
        store: Store(0x0302),
        ..base
    };
    let longer = bytes(&derived);
    assert_eq!(longer[..head], plain[..head]);
    assert_eq!(longer[head..], [0x80, 2, 3, 0x01, 2, 4]);
    let mut base_spelled_out = longer;
    base_spelled_out[head + 1..head + 3].fill(0);
    assert!(Mutation::decode(base_spelled_out.into()).is_err());
}

fn encoded_mutation(mutation: &Mutation) -> Vec<u8> {
    let Mutation {
        table,
        store,
        key,
        update,
    } = mutation;
    let mut out = Vec::new();
    let mut updates = EncodedUpdates::default();
    put_mutation(&mut out, *table, &updates.push(*store, key.clone(), update));
    out
}

fn encoded(row: &Row) -> Vec<u8> {
    let mut out = Vec::new();
    row.encode(&mut out);
    out
}

proptest! {
    #[test]
    fn a_mutation_comes_back_as_it_was(update in testing::update(), store: u16) {
        let mutation = Mutation { store: Store(store), ..mutation(update) };
        let out = encoded_mutation(&mutation);
        prop_assert!(Mutation::decode(out.into()).unwrap() == mutation);
    }

    #[test]
    fn an_encoded_update_is_no_longer_and_no_older_than_is_said_of_it(update in testing::update()) {
        let mut updates = EncodedUpdates::default();
        let encoded = updates.push(Store::BASE, testing::key(1), &update);
        prop_assert!(encoded.bytes().len() <= update.encoded_bytes_max());
        let rows = update.static_row.iter().chain(&update.rows);
        let cells = rows.clone().flat_map(|row| &row.cells).map(|cell| cell.timestamp);
        let liveness = rows.clone().filter_map(|row| row.liveness).map(|liveness| liveness.timestamp);
        let ranges = update.range_tombstones.iter().map(|tombstone| tombstone.deletion);
        let complex = rows.clone().flat_map(|row| &row.complex_deletions).map(|(_, deletion)| *deletion);
        let deletions = rows.filter_map(|row| row.deletion).chain(update.deletion).chain(ranges).chain(complex);
        let oldest = cells.chain(liveness).chain(deletions.map(|deletion| deletion.timestamp)).min();
        prop_assert_eq!(encoded.min_timestamp(), oldest.unwrap_or(i64::MAX));
        let marked = update.rows.iter().filter(|row| row.liveness.is_some());
        let marked: Vec<&[u8]> = marked.map(|row| &row.clustering.0[..]).collect();
        prop_assert!(encoded.marked_rows().unwrap() == marked);
    }

    #[test]
    fn any_numbers_survive_the_encoding(timestamps: [i64; 4], seconds: [i64; 3], ttl in 1u32.., columns: [u32; 2], value: Vec<u8>) {
        let mut row = Row::new(Clustering::SINGLE);
        row.liveness = Some(Liveness::expiring(timestamps[0], ttl, seconds[0]));
        row.deletion = Some(Deletion { timestamp: timestamps[1], local_deletion_time: seconds[1] });
        row.cells = vec![
            Cell { column: ColumnId(columns[0]), path: Bytes::new(), timestamp: timestamps[2], state: CellState::Live(value.into()) },
            Cell { column: ColumnId(columns[1]), path: Bytes::from_static(b"p"), timestamp: timestamps[3], state: CellState::Tombstone { local_deletion_time: seconds[2] } },
        ];
        row.sort();
        prop_assert!(Row::decode(Clustering::SINGLE, encoded(&row).into()).unwrap() == row);
    }

    #[test]
    fn a_row_of_many_cells_comes_back(count in 0usize..600) {
        let mut row = Row::new(Clustering::SINGLE);
        row.cells = (0..count as u32)
            .map(|column| Cell { column: ColumnId(column * 3), path: Bytes::new(), timestamp: 5, state: CellState::Live(Bytes::from_static(b"v")) })
            .collect();
        prop_assert!(Row::decode(Clustering::SINGLE, encoded(&row).into()).unwrap() == row);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_as_something_else_but_never_panic(
        update in testing::update(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded_mutation(&mutation(update));
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(read) = Mutation::decode(bytes.into()) {
            let again = encoded_mutation(&read);
            prop_assert!(Mutation::decode(again.into()).unwrap() == read);
        }
    }

    #[test]
    fn any_bytes_are_a_row_or_corrupt(bytes: Vec<u8>) {
        if let Ok(row) = Row::decode(Clustering::SINGLE, bytes.into()) {
            prop_assert!(row.is_sorted());
        }
    }

    #[test]
    fn cells_reconcile_in_any_order(a in testing::cell(), b in testing::cell(), c in testing::cell()) {
        let merge = |a: &Cell, b: &Cell| reconcile::cells(a.clone(), b.clone());
        let place = |cell: Cell| Cell { column: ColumnId(1), path: Bytes::new(), ..cell };
        let (a, b, c) = (place(a), place(b), place(c));
        prop_assert!(merge(&a, &b) == merge(&b, &a));
        prop_assert!(merge(&merge(&a, &b), &c) == merge(&a, &merge(&b, &c)));
        prop_assert!(merge(&a, &a) == a);
    }

    #[test]
    fn updates_absorbed_together_are_what_they_are_one_after_the_other(updates in prop::collection::vec(testing::update(), 0..9)) {
        let (mut together, mut in_turn) = (PartitionUpdate::default(), PartitionUpdate::default());
        updates.iter().for_each(|update| in_turn.absorb(update.clone()));
        together.absorb_all(updates);
        prop_assert_eq!(normal(together), normal(in_turn));
    }

    #[test]
    fn partitions_reconcile_in_any_order(a in testing::update(), b in testing::update(), c in testing::update()) {
        let merge = |a: &PartitionUpdate, b: &PartitionUpdate| reconcile::partitions(a.clone(), b.clone());
        prop_assert!(merge(&a, &b) == merge(&b, &a));
        prop_assert!(merge(&merge(&a, &b), &c) == merge(&a, &merge(&b, &c)));
        prop_assert!(merge(&a, &a) == normal(a.clone()));
        let ab = merge(&a, &b);
        prop_assert!(merge(&ab, &b) == ab, "what was merged once changes nothing the second time");
    }

    #[test]
    fn encoded_rows_merge_as_rows_do(a in testing::row(), b in testing::row()) {
        let b = Row { clustering: a.clustering.clone(), ..b };
        let mut out = Vec::new();
        reconcile::encoded_rows(&encoded(&a), &encoded(&b), &mut out).unwrap();
        let merged = Row::decode(a.clustering.clone(), out.into()).unwrap();
        prop_assert!(merged == reconcile::rows(a, b, None));
    }

    #[test]
    fn a_row_written_over_its_like_is_merged_as_others_are(
        times in (0i64..3, 0i64..3),
        cells in prop::collection::vec((1u32..9, testing::state(), testing::state()), 0..5),
        more in prop::option::of(testing::cell()),
        liveness in (prop::option::of(testing::liveness()), prop::option::of(testing::liveness())),
    ) {
        let row = |timestamp: i64, liveness: Option<Liveness>, cells: Vec<Cell>| {
            let liveness = liveness.map(|liveness| Liveness { timestamp, ..liveness });
            let mut row = Row { liveness, cells, ..Row::new(Clustering::SINGLE) };
            row.sort();
            row
        };
        let cell = |timestamp: i64, column: u32, state: &CellState| Cell {
            column: ColumnId(column), path: Bytes::new(), timestamp, state: state.clone(),
        };
        let older = cells.iter().map(|(column, state, _)| cell(times.0, *column, state));
        let newer = cells.iter().map(|(column, _, state)| cell(times.1, *column, state));
        let older = row(times.0, liveness.0, older.collect());
        let newer = row(times.1, liveness.1, newer.chain(more).collect());
        let mut out = Vec::new();
        reconcile::encoded_rows(&encoded(&older), &encoded(&newer), &mut out).unwrap();
        let merged = Row::decode(Clustering::SINGLE, out.into()).unwrap();
        prop_assert!(merged == reconcile::rows(older, newer, None));
    }

    #[test]
    fn a_row_written_in_disorder_is_encoded_in_order(row in testing::row(), shuffled in any::<u64>()) {
        let mut disorder = row.clone();
        let places = disorder.cells.len().max(1);
        disorder.cells.rotate_left(shuffled as usize % places);
        disorder.complex_deletions.reverse();
        prop_assert_eq!(encoded(&disorder), encoded(&row));
    }
}

#[test]
fn a_whole_row_replaces_an_older_one_without_a_look_at_values() {
    let row = |timestamp: i64, values: &[&'static [u8]]| {
        let cells = values.iter().enumerate().map(|(column, value)| Cell {
            column: ColumnId(column as u32 + 1),
            ..live(timestamp, value)
        });
        let row = Row {
            liveness: Some(Liveness::new(timestamp)),
            cells: cells.collect(),
            ..Row::new(Clustering::SINGLE)
        };
        encoded(&row)
    };
    let replaces = |newer: &[u8], older: &[u8]| {
        let (newer, older) = (RowView::parse(newer), RowView::parse(older));
        newer.unwrap().replaces(&older.unwrap()).unwrap()
    };
    let older = row(1, &[b"a", b"b"]);
    assert!(replaces(&row(2, &[b"c", b"d"]), &older));
    assert!(replaces(&row(2, &[b"c", b"d", b"more"]), &older));
    assert!(!replaces(&row(2, &[b"c"]), &older), "b is left");
    assert!(!replaces(&row(1, &[b"c", b"d"]), &older), "values decide");
}

fn live(timestamp: i64, value: &'static [u8]) -> Cell {
    cell(timestamp, CellState::Live(Bytes::from_static(value)))
}

fn expiring(timestamp: i64, value: &'static [u8], ttl: u32, expires_at: i64) -> Cell {
    let value = Bytes::from_static(value);
    cell(
        timestamp,
        CellState::Expiring {
            value,
            ttl,
            expires_at,
        },
    )
}

fn tombstone(timestamp: i64, local_deletion_time: i64) -> Cell {
    cell(
        timestamp,
        CellState::Tombstone {
            local_deletion_time,
        },
    )
}

fn cell(timestamp: i64, state: CellState) -> Cell {
    Cell {
        column: ColumnId(1),
        path: Bytes::new(),
        timestamp,
        state,
    }
}

/// Each cell beats the one after it.
#[test]
fn cells_win_as_cassandra_decides() {
    let order = [
        live(9, b""),
        tombstone(5, 20),
        tombstone(5, 10),
        expiring(5, b"a", 1, 90),
        expiring(5, b"a", 2, 80),
        expiring(5, b"b", 3, 80),
        expiring(5, b"a", 3, 80),
        live(5, b"b"),
        live(5, b"ab"),
        live(5, b"a"),
        live(5, b""),
        tombstone(4, 99),
    ];
    for (index, winner) in order.iter().enumerate() {
        for loser in &order[index + 1..] {
            assert!(
                reconcile::cell_wins(winner.as_ref(), loser.as_ref()),
                "{winner:?} beats {loser:?}"
            );
            assert!(!reconcile::cell_wins(loser.as_ref(), winner.as_ref()));
        }
    }
}

#[test]
fn a_liveness_with_a_ttl_wins_at_one_timestamp() {
    let order = [
        Liveness::new(6),
        Liveness::expiring(5, 1, 90),
        Liveness::expiring(5, 8, 80),
        Liveness::expiring(5, 9, 80),
        Liveness::new(5),
    ];
    for pair in order.windows(2) {
        assert_eq!(
            reconcile::liveness(Some(pair[0]), Some(pair[1])),
            Some(pair[0])
        );
        assert_eq!(
            reconcile::liveness(Some(pair[1]), Some(pair[0])),
            Some(pair[0])
        );
    }
}

#[test]
fn a_deletion_shadows_its_own_timestamp() {
    let mut row = Row::new(Clustering::SINGLE);
    row.liveness = Some(Liveness::new(5));
    row.cells = vec![live(5, b"v")];
    let at = |timestamp| {
        Some(Deletion {
            timestamp,
            local_deletion_time: 0,
        })
    };
    assert!(reconcile::rows(row.clone(), row.clone(), at(5)).is_empty());
    assert_eq!(reconcile::rows(row.clone(), row.clone(), at(4)), row);
}

#[test]
fn a_collection_is_replaced_by_its_deletion_and_new_elements() {
    let element = |path: &'static [u8], timestamp| Cell {
        column: ColumnId(4),
        path: Bytes::from_static(path),
        ..live(timestamp, b"v")
    };
    let mut old = Row::new(Clustering::SINGLE);
    old.cells = vec![live(1, b"other"), element(b"a", 3), element(b"b", 3)];
    let mut new = Row::new(Clustering::SINGLE);
    new.complex_deletions = vec![(
        ColumnId(4),
        Deletion {
            timestamp: 9,
            local_deletion_time: 0,
        },
    )];
    new.cells = vec![element(b"b", 10)];
    let merged = reconcile::rows(old, new, None);
    assert_eq!(merged.cells, [live(1, b"other"), element(b"b", 10)]);
}

#[test]
fn debug_shows_no_bytes() {
    let mut row = Row::new(Clustering(Bytes::from_static(b"hunter2")));
    row.cells = vec![live(1, b"hunter2")];
    let mutation = mutation(PartitionUpdate::of_row(row));
    let key = PartitionKey::new(Token(1), "hunter2");
    assert!(!format!("{mutation:?} {key:?}").contains("hunter2"));
    assert!(!format!("{mutation:?}").contains("104, 117"));
}

#[test]
fn a_claimed_count_costs_no_memory_it_did_not_bring() {
    // A range tombstone count of 2^60 in an update of a few bytes.
    let mut bytes = vec![0x04];
    crate::codec::put_varint(&mut bytes, 1 << 60);
    bytes.extend_from_slice(&[0; 8]);
    assert!(PartitionUpdate::decode(bytes.into()).is_err());
    // 255 cells in a row of two bytes more.
    let mut bytes = vec![0, 255];
    bytes.extend_from_slice(&[0; 10]);
    assert!(Row::decode(Clustering::SINGLE, bytes.into()).is_err());
}

/// A mutation with one of everything, as the first release wrote it. These bytes must be read for ever.
#[test]
fn the_first_release_can_be_read() {
    let mut row = Row::new(Clustering(Bytes::from_static(b"\x01k\x80")));
    row.liveness = Some(Liveness::expiring(1_700_000_000_000_000, 60, 1_700_000_060));
    row.deletion = Some(Deletion {
        timestamp: 1_699_999_999_999_999,
        local_deletion_time: 1_699_999_999,
    });
    row.complex_deletions = vec![(
        ColumnId(4),
        Deletion {
            timestamp: 1_699_999_999_999_998,
            local_deletion_time: 1_700_000_000,
        },
    )];
    let at = 1_700_000_000_000_000;
    row.cells = vec![
        live(at, b"live"),
        Cell {
            column: ColumnId(2),
            ..expiring(at, b"as the row", 60, 1_700_000_060)
        },
        Cell {
            column: ColumnId(3),
            ..expiring(at + 1, b"on its own", 30, 1_700_000_030)
        },
        Cell {
            column: ColumnId(4),
            path: Bytes::from_static(b"path"),
            ..live(at, b"element")
        },
        Cell {
            column: ColumnId(900),
            ..tombstone(at - 1, 1_700_000_001)
        },
    ];
    let mut static_row = Row::new_static();
    static_row.cells = vec![live(5, b"static")];
    let mut update = PartitionUpdate::of_row(row);
    update.deletion = Some(Deletion {
        timestamp: 7,
        local_deletion_time: 8,
    });
    update.static_row = Some(static_row);
    update.range_tombstones = vec![RangeTombstone {
        start: Clustering::MIN,
        end: Clustering(Bytes::from_static(b"\x01\xFF")),
        deletion: Deletion {
            timestamp: 9,
            local_deletion_time: 10,
        },
    }];
    let mutation = mutation(update);
    let encoded = encoded_mutation(&mutation);
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, FIRST_RELEASE);
    assert!(Mutation::decode(encoded.into()).unwrap() == mutation);
}

const FIRST_RELEASE: &str = concat!(
    "0707070707070707070707070707070700000000000000000103070e1012000105000000000000002006737461746963",
    "01000201ff121403016b80460f0500401e18240a06003c7801010104030020046c697665310a61732074686520726f77",
    "25021e3c0a6f6e20697473206f776e28047061746807656c656d656e74e680070102",
);
