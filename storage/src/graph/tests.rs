//! What is near is found: against comparing everything, on vectors without order and in clusters, with filters and while some wait.
//!
//! The promise, on 100,000 vectors of 128 dimensions, is measured by `TESTS_LONG=1 cargo test --release -p palladium-storage graph -- --nocapture`.

use std::time::Instant;

use super::{Found, Graph, Metric, Shape};

/// Numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// About normal: a sum of twelve.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.number()).sum::<f32>() / 2.0
    }
}

/// Vectors, and others of the same kind to look for.
struct Data {
    vectors: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
}

fn uniform(chance: &mut Chance, count: usize, queries: usize, dimensions: usize) -> Data {
    let mut vector = || (0..dimensions).map(|_| chance.number()).collect();
    Data {
        vectors: (0..count).map(|_| vector()).collect(),
        queries: (0..queries).map(|_| vector()).collect(),
    }
}

/// Clusters of a hundred, one after the other: the worst order for a graph.
fn clustered(chance: &mut Chance, count: usize, queries: usize, dimensions: usize) -> Data {
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(100))
        .map(|_| (0..dimensions).map(|_| chance.number()).collect())
        .collect();
    let mut around = |centre: &Vec<f32>| -> Vec<f32> {
        centre.iter().map(|x| x + 0.15 * chance.normal()).collect()
    };
    let vectors = (0..count).map(|at| around(&centres[at / 100])).collect();
    let step = (centres.len() / queries).max(1);
    let queries = (0..queries).map(|at| around(&centres[at * step % centres.len()]));
    Data {
        vectors,
        queries: queries.collect(),
    }
}

fn shape(metric: Metric, dimensions: usize) -> Shape {
    Shape {
        metric,
        dimensions,
        links: 16,
        beam: 100,
    }
}

fn linked(shape: Shape, vectors: &[Vec<f32>]) -> Graph {
    let mut graph = Graph::new(shape);
    for vector in vectors {
        graph.push(vector);
    }
    while graph.link_next() {}
    graph
}

fn nodes(found: &[Found]) -> Vec<u32> {
    found.iter().map(|found| found.node).collect()
}

/// The share of the ten nearest that is found.
fn recall(graph: &Graph, queries: &[Vec<f32>], find: impl Fn(&[f32]) -> Vec<Found>) -> f64 {
    let mut found = 0;
    for query in queries {
        let exact = nodes(&graph.compare_all(query, 10, &|_| true));
        found += nodes(&find(query))
            .iter()
            .filter(|node| exact.contains(node))
            .count();
    }
    found as f64 / (10 * queries.len()) as f64
}

fn measure(graph: &mut Graph) {
    let mut survey = graph.survey().expect("it was never measured");
    while graph.look(&mut survey) {}
    graph.calibrate(&survey);
}

#[test]
fn by_way_of_the_links_nearly_all_is_found_that_comparing_everything_finds() {
    let mut chance = Chance(3);
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::DotProduct] {
        for data in [
            uniform(&mut chance, 1_500, 20, 8),
            clustered(&mut chance, 1_500, 20, 8),
        ] {
            let graph = linked(shape(metric, 8), &data.vectors);
            let recall = recall(&graph, &data.queries, |query| {
                let query = graph.query(query);
                let starts = graph.descend(&query, 0);
                let found = graph.along_links(&query, &starts, 60, 0, &|_| true, u32::MAX);
                let mut found = found.expect("the way may be long");
                found.truncate(10);
                found
            });
            assert!(recall >= 0.95, "{metric:?}: {recall}");
        }
    }
}

#[test]
fn a_vector_is_found_as_soon_as_it_is_pushed_and_filters_leave_what_is_meant() {
    let mut chance = Chance(5);
    let data = uniform(&mut chance, 700, 10, 6);
    let mut graph = linked(shape(Metric::Euclidean, 6), &data.vectors[..600]);
    for vector in &data.vectors[600..] {
        graph.push(vector);
    }
    assert_eq!((graph.linked(), graph.len()), (600, 700));
    for (node, vector) in data.vectors.iter().enumerate().skip(590) {
        let found = graph.nearest(vector, 1, &|_| true);
        assert_eq!(nodes(&found), [node as u32]);
    }
    for query in &data.queries {
        let odd = |node: u32| node % 2 == 1;
        let found = graph.nearest(query, 20, &odd);
        assert_eq!(
            nodes(&found),
            nodes(&graph.compare_all(query, 20, &odd)),
            "a small graph is compared as a whole"
        );
        assert!(found.iter().all(|found| odd(found.node)));
        assert!(found.is_sorted());
    }
}

#[test]
fn a_graph_of_nothing_and_of_one_answers() {
    let mut graph = Graph::new(shape(Metric::Cosine, 3));
    assert!(graph.nearest(&[1.0, 0.0, 0.0], 5, &|_| true).is_empty());
    assert!(!graph.link_next());
    graph.push(&[0.0, 1.0, 0.0]);
    for _ in 0..2 {
        assert_eq!(nodes(&graph.nearest(&[1.0, 0.0, 0.0], 5, &|_| true)), [0]);
        graph.link_next();
    }
    assert_eq!(graph.linked(), 1);
    assert!(graph.nearest(&[1.0, 0.0, 0.0], 5, &|_| false).is_empty());
}

#[test]
fn a_plan_is_carried_out_once() {
    let mut graph = Graph::new(shape(Metric::Euclidean, 2));
    graph.push(&[0.0, 0.0]);
    graph.push(&[1.0, 0.0]);
    let (first, again) = (graph.plan(), graph.plan());
    graph.link(first.expect("two wait"));
    graph.link(again.expect("two waited"));
    assert_eq!(graph.linked(), 1);
}

#[test]
fn what_is_measured_is_how_far_to_look() {
    let mut chance = Chance(7);
    let data = uniform(&mut chance, 2_000, 20, 4);
    let mut graph = linked(shape(Metric::Euclidean, 4), &data.vectors);
    measure(&mut graph);
    assert!(graph.survey().is_none(), "it has been measured");
    assert!(graph.beam().is_some(), "few dimensions need few looks");
    let recall = recall(&graph, &data.queries, |query| {
        graph.nearest(query, 10, &|_| true)
    });
    assert!(recall >= 0.95, "{recall}");
}

#[test]
fn of_a_hundred_thousand_vectors_the_ten_nearest_are_found() {
    if std::env::var_os("TESTS_LONG").is_none() {
        return;
    }
    const COUNT: usize = 100_000;
    const DIMENSIONS: usize = 128;
    let mut chance = Chance(11);
    for (kind, data) in [
        ("clustered", clustered(&mut chance, COUNT, 500, DIMENSIONS)),
        ("uniform", uniform(&mut chance, COUNT, 500, DIMENSIONS)),
    ] {
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let begun = Instant::now();
            let mut graph = linked(shape(metric, DIMENSIONS), &data.vectors);
            let built = begun.elapsed();
            let begun = Instant::now();
            measure(&mut graph);
            let calibrated = begun.elapsed();
            let time = |find: &dyn Fn(&[f32]) -> Vec<Found>| {
                let begun = Instant::now();
                let all: usize = data.queries.iter().map(|query| find(query).len()).sum();
                assert_eq!(all, 10 * data.queries.len());
                begun.elapsed() / data.queries.len() as u32
            };
            let by_graph = time(&|query| graph.nearest(query, 10, &|_| true));
            let by_comparing = time(&|query| graph.compare_all(query, 10, &|_| true));
            let recall = recall(&graph, &data.queries, |query| {
                graph.nearest(query, 10, &|_| true)
            });
            println!(
                "{kind} {metric:?}: recall at 10 {recall:.4}, beam {:?}, built in {built:.1?}, calibrated in {calibrated:.1?}, query {by_graph:.0?}, comparing all {by_comparing:.0?}, {} MB",
                graph.beam(),
                graph.bytes() >> 20
            );
            assert!(recall >= 0.95, "{kind} {metric:?}: {recall}");
        }
    }
}
