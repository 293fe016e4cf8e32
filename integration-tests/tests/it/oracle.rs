//! The differential runner on itself: two servers that differ by one setting, and a block in which it shows.

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::oracle::pair::Pair;
use palladium_integration_tests::oracle::step::{Batch, BatchKind, Block, Member, Purpose, Step};
use palladium_integration_tests::oracle::wire::Value;
use palladium_integration_tests::oracle::{generate, shrink};

use crate::runtimes::one_thread;

/// One server warns of four tombstones, the other of a thousand: the read that shows it needs its table and four deletions.
#[test]
fn a_planted_difference_is_found_and_shrunk_to_what_it_needs() {
    let other = Node::start_with(Settings {
        config: "[cassandra]\ntombstone_warn_threshold = 3\n".into(),
        ..Settings::default()
    });
    let plain = Node::start();
    let mut steps = vec![Step::plain(
        Purpose::Schema,
        "CREATE TABLE t (k int, c int, v int, PRIMARY KEY (k, c))",
    )];
    for number in 0..30 {
        steps.push(Step::plain(
            Purpose::Write,
            format!("INSERT INTO t (k, c, v) VALUES (1, {number}, 0)"),
        ));
        steps.push(Step::plain(Purpose::Read, "SELECT v FROM t WHERE k = 2"));
        if number % 6 == 0 {
            steps.push(Step::plain(
                Purpose::Write,
                format!("DELETE FROM t WHERE k = 1 AND c = {}", 100 + number),
            ));
        }
    }
    steps.push(Step::plain(Purpose::Read, "SELECT c FROM t WHERE k = 1"));
    let block = Block {
        source: "planted".into(),
        keyspace: "planted".into(),
        steps,
        tables: vec!["t".into()],
    };
    one_thread().block_on(async {
        let mut pair = Pair::new(other.address(), plain.address());
        let outcome = pair.run(&block).await;
        let [difference] = outcome.differences.as_slice() else {
            panic!("{:#?}", outcome.differences);
        };
        assert_eq!(difference.place + 1, block.steps.len());
        let small = shrink::shrink(&mut pair, &block, difference).await;
        let texts: Vec<String> = small.steps.iter().map(Step::to_string).collect();
        let deletions = texts.iter().filter(|text| text.starts_with("DELETE"));
        assert_eq!((texts.len(), deletions.count()), (6, 4), "{texts:#?}");
    });
}

/// Nothing of a seed may differ between a server and its twin, whatever way it is sent; indexes and views are waited for.
#[test]
fn a_server_agrees_with_its_twin_on_every_kind_of_statement() {
    let (left, right) = (Node::start(), Node::start());
    let batch = Step::batch(Batch {
        kind: BatchKind::Unlogged,
        timestamp: Some(7),
        members: vec![
            Member {
                text: "INSERT INTO t (k, v) VALUES (?, 1)".into(),
                values: vec![Value::Bytes(vec![0, 0, 0, 9])],
                prepared: true,
            },
            Member {
                text: "UPDATE t SET v = 2 WHERE k = 8".into(),
                values: Vec::new(),
                prepared: false,
            },
        ],
    });
    let expiring = |text: &str, now_seconds| Step {
        now_seconds: Some(now_seconds),
        ..Step::plain(Purpose::Write, text)
    };
    let steps = vec![
        Step::plain(Purpose::Schema, "CREATE TABLE t (k int PRIMARY KEY, v int)"),
        Step::plain(Purpose::Schema, "CREATE INDEX tv ON t (v)"),
        batch,
        Step::plain(Purpose::Read, "SELECT k, writetime(v) FROM t WHERE v = 2"),
        expiring(
            "INSERT INTO t (k, v) VALUES (1, 1) USING TTL 5",
            1_900_000_000,
        ),
        expiring("SELECT * FROM t", 1_900_000_004),
        expiring("SELECT * FROM t", 1_900_000_005),
    ];
    let hand_written = Block {
        source: "by hand".into(),
        keyspace: "twins".into(),
        steps,
        tables: Vec::new(),
    };
    one_thread().block_on(async {
        let mut pair = Pair::new(left.address(), right.address());
        let outcome = pair.run(&hand_written).await;
        assert!(outcome.differences.is_empty(), "{:#?}", outcome.differences);
        assert_eq!(outcome.accepted, 7, "all of them were carried out");
        for number in 0..3 {
            let block = generate::block(1, number, 100, "twins", generate::Breadth::Whole);
            let outcome = pair.run(&block).await;
            let shown: Vec<String> = outcome
                .differences
                .iter()
                .map(|found| format!("{}\n{}\n{}", found.step, found.theirs, found.ours))
                .collect();
            assert!(shown.is_empty(), "{}: {}", block.source, shown.join("\n"));
        }
    });
}
