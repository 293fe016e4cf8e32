//! Vectors with their places, as writes bring them and as rows are found to have changed.

use std::sync::Arc;

use palladium_protocol::types::CqlType;
use palladium_storage::graph::{Metric, Shape};
use palladium_storage::{
    Clustering, Companion, EncodedUpdates, Liveness, PartitionKey, PartitionUpdate, Row, Store,
    Token,
};

use super::vectors::{NEARBY_MAX, Nearby, Search, Searched, Vectors, Work};
use super::{Budget, check};
use crate::derived::layout;
use crate::encode::order;

const DIMENSIONS: u16 = 3;

fn vectors(budget: usize) -> (Vectors, Arc<Budget>) {
    let shape = Shape {
        metric: Metric::Euclidean,
        dimensions: usize::from(DIMENSIONS),
        links: 4,
        beam: 16,
    };
    let budget = Arc::new(Budget::new(budget));
    let ty = CqlType::Vector(Arc::new(CqlType::Float), DIMENSIONS);
    (Vectors::new(ty, shape, budget.clone()), budget)
}

fn ready() -> Vectors {
    let (vectors, _) = vectors(usize::MAX / 2);
    vectors.loaded();
    vectors
}

/// The entry of a vector for the only row of a partition.
fn entry(vector: [f32; 3], key: u8) -> Row {
    let ty = CqlType::Vector(Arc::new(CqlType::Float), DIMENSIONS);
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_be_bytes()).collect();
    let mut term = Vec::new();
    order::encode(&ty, Some(&bytes), false, &mut term).expect("a vector");
    let key = PartitionKey::new(Token(i64::from(key)), vec![key]);
    let mut row = Row::new(layout::entry(&term, &key, Some(&Clustering::SINGLE)));
    row.liveness = Some(Liveness::new(1));
    row
}

fn write(vectors: &Vectors, vector: [f32; 3], key: u8) {
    let mut update = PartitionUpdate::default();
    update.add_rows(vec![entry(vector, key)]);
    let bucket = layout::bucket_of(Token(i64::from(key)));
    let key = layout::partition_of_bucket(bucket);
    vectors.applied(EncodedUpdates::default().push(Store::BASE, key, &update));
}

fn search(vectors: &Vectors, vector: [f32; 3], count: usize) -> Searched {
    let search = Search {
        vector: &vector,
        count,
        all: false,
        is_meant: None,
    };
    vectors.search(&search).expect("it is ready")
}

fn keys(nearby: &[Nearby]) -> Vec<u8> {
    let mut keys: Vec<u8> = nearby
        .iter()
        .map(|nearby| nearby.candidate.key.bytes()[0])
        .collect();
    keys.sort();
    keys
}

#[test]
fn what_was_applied_is_found_at_once_also_what_came_before_the_store_was_read() {
    let (vectors, _) = vectors(usize::MAX / 2);
    write(&vectors, [1.0, 0.0, 0.0], 1);
    let question = Search {
        vector: &[0.0; 3],
        count: 9,
        all: true,
        is_meant: None,
    };
    assert!(
        vectors.search(&question).is_none(),
        "the store was not read"
    );
    vectors.load(&[entry([0.0, 1.0, 0.0], 2), entry([1.0, 0.0, 0.0], 1)]);
    write(&vectors, [0.0, 0.0, 1.0], 3);
    vectors.loaded();
    write(&vectors, [0.0, 0.0, 1.0], 4);
    let found = search(&vectors, [0.0, 0.0, 2.0], 9);
    assert!(found.is_all);
    assert_eq!(keys(&found.nearby), [1, 2, 3, 4]);
    assert_eq!(keys(&found.nearby[..2]), [3, 4], "two rows of one vector");
    let is_meant = |token: Token, key: &[u8]| token.0 == 2 && key == [2];
    let some = Search {
        is_meant: Some(&is_meant),
        ..question
    };
    let found = vectors.search(&some).expect("it is ready");
    assert_eq!(keys(&found.nearby), [2]);
}

#[test]
fn a_place_is_forgotten_unless_something_has_arrived_for_it() {
    let vectors = ready();
    write(&vectors, [1.0, 0.0, 0.0], 1);
    write(&vectors, [1.0, 0.0, 0.0], 2);
    let before = search(&vectors, [1.0, 0.0, 0.0], 9);
    // Written again after the search, before whoever searched has looked at the row.
    write(&vectors, [1.0, 0.0, 0.0], 2);
    for nearby in &before.nearby {
        vectors.forget(&before, nearby, i64::MIN);
    }
    let after = search(&vectors, [1.0, 0.0, 0.0], 9);
    assert_eq!(keys(&after.nearby), [2]);
    write(&vectors, [1.0, 0.0, 0.0], 1);
    assert_eq!(keys(&search(&vectors, [1.0, 0.0, 0.0], 9).nearby), [1, 2]);
}

#[test]
fn of_very_many_rows_with_one_vector_a_search_names_some_and_says_that_there_are_others() {
    let vectors = ready();
    let row = |n: usize| {
        let key = PartitionKey::new(Token(0), (n as u32).to_be_bytes().to_vec());
        let named = entry([1.0, 0.0, 0.0], 0).clustering.0;
        // The term of the vector, without the place behind it: token, length, a key of one byte, 80.
        let term = &named[..named.len() - 12];
        let mut row = Row::new(layout::entry(term, &key, Some(&Clustering::SINGLE)));
        row.liveness = Some(Liveness::new(1));
        row
    };
    let load = |rows: std::ops::Range<usize>| {
        let rows: Vec<Row> = rows.map(row).collect();
        vectors.load(&rows);
    };
    load(5..NEARBY_MAX + 5);
    let question = Search {
        vector: &[1.0, 0.0, 0.0],
        count: 9,
        all: true,
        is_meant: None,
    };
    let all = vectors.search(&question).expect("it is ready");
    assert_eq!((all.nearby.len(), all.is_all), (NEARBY_MAX, true));
    load(0..5);
    let some = vectors.search(&question).expect("it is ready");
    assert_eq!((some.nearby.len(), some.is_all), (NEARBY_MAX, false));
    // The last first: whoever goes away from the front moves all others.
    for nearby in some.nearby.iter().rev() {
        vectors.forget(&some, nearby, i64::MIN);
    }
    let left = vectors.search(&question).expect("it is ready");
    assert_eq!((left.nearby.len(), left.is_all), (5, true));
}

#[test]
fn vectors_that_nobody_has_are_thrown_out_and_the_others_stay() {
    let vectors = ready();
    for at in 0..2_500 {
        write(&vectors, [at as f32, 0.0, 0.0], 1);
    }
    write(&vectors, [-1.0, 0.0, 0.0], 2);
    let all = search(&vectors, [0.0; 3], 4_000);
    for nearby in all
        .nearby
        .iter()
        .filter(|nearby| keys(std::slice::from_ref(nearby)) == [1])
    {
        vectors.forget(&all, nearby, i64::MIN);
    }
    let mut survey = None;
    while let Work::More { .. } = vectors.work(&mut survey) {}
    let left = search(&vectors, [0.0; 3], 4_000);
    assert_ne!(left.generation, all.generation);
    assert_eq!(keys(&left.nearby), [2]);
    // What was found before has other numbers now, and nothing is forgotten by them.
    vectors.forget(&all, &all.nearby[0], i64::MIN);
    assert_eq!(keys(&search(&vectors, [0.0; 3], 9).nearby), [2]);
}

#[test]
fn a_graph_beyond_its_budget_holds_nothing_and_gives_everything_back() {
    let (small, budget) = vectors(1 << 10);
    small.loaded();
    write(&small, [1.0, 0.0, 0.0], 1);
    let question = Search {
        vector: &[0.0; 3],
        count: 1,
        all: true,
        is_meant: None,
    };
    assert!(small.search(&question).is_none());
    assert!(small.is_too_large());
    assert_eq!(budget.used(), 0);
    let (fits, budget) = vectors(1 << 20);
    fits.loaded();
    write(&fits, [1.0, 0.0, 0.0], 1);
    assert_eq!(search(&fits, [0.0; 3], 1).nearby.len(), 1);
    assert!(budget.used() > 0);
    drop(fits);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_vector_without_a_direction_or_an_end_is_near_to_nothing() {
    for (metric, vector, is_good) in [
        (Metric::Cosine, [0.0, -0.0], false),
        (Metric::Euclidean, [0.0, 0.0], true),
        (Metric::DotProduct, [0.0, 0.0], true),
        (Metric::Cosine, [1e-7, 0.0], true),
        (Metric::Cosine, [1e30, 0.0], false),
        (Metric::DotProduct, [1.0, f32::NAN], false),
        (Metric::Euclidean, [f32::NEG_INFINITY, 0.0], false),
    ] {
        assert_eq!(
            check(metric, &vector).is_ok(),
            is_good,
            "{metric:?} {vector:?}"
        );
    }
}
