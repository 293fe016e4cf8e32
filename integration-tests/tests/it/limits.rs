//! A process that may open no more files, or have no more memory: whoever is touched is told, what is there is served, nothing that was acknowledged is lost, and when there is room again all
//! goes on by itself.
//!
//! The limits are set from outside, on the running server, with `prlimit`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, code};
use tokio::net::TcpStream;

use crate::noise::Noise;
use crate::rows::{Place, bind, grid, make_keyspace, make_table, write_all};
use crate::runtimes::one_thread;
use crate::shortage::{
    COMEBACK, assert_kept_over_a_kill, begin, read, write_again, write_until_refused,
};

/// Small, so that flushes and new log segments, which open files, come soon.
const SMALL: &str = "log_segment_bytes = 1048576\nlog_bytes_max = 8388608\nmemtable_flush_bytes = 1048576\nmemory_bytes = 67108864\n";

/// Half as much again as `memory_bytes` above.
const MORE_THAN_BUDGET_BYTES: u64 = 96 << 20;

/// Sets a limit of the running server; what it was at most may be asked for again.
fn limit(node: &Node, what: &str, bound: &str) {
    let done = Command::new("prlimit")
        .args([
            "--pid",
            &node.pid().to_string(),
            &format!("--{what}={bound}:"),
        ])
        .status()
        .expect("prlimit can be started");
    assert!(done.success(), "the limit {what} cannot be set");
}

fn open_files(node: &Node) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", node.pid()));
    open.expect("a child's descriptors can be seen").count()
}

/// Bytes of the address space that the server uses.
fn address_space(node: &Node) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{}/statm", node.pid()));
    let pages = pages.expect("a child's memory can be seen");
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .expect("the first number is the size");
    pages * 4096
}

#[test]
fn a_server_out_of_file_descriptors_refuses_what_needs_one_and_comes_back_by_itself() {
    let node = Node::start_with(Settings {
        config: SMALL.into(),
        ..Settings::default()
    });
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(async {
        let mut connection = begin(&node, 20, 50, &mut wanted).await;
        assert_eq!(read(&mut connection).await, wanted);
        limit(&node, "nofile", &(open_files(&node) + 2).to_string());
        // More come than there are descriptors for; they wait where the kernel keeps them.
        let mut others = Vec::new();
        for _ in 0..8 {
            let other = TcpStream::connect(node.address()).await;
            others.push(other.expect("the kernel takes it"));
        }
        let since = Instant::now();
        while !node.log().contains("cannot accept a connection") {
            assert!(since.elapsed() < COMEBACK, "the log says nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        write_until_refused(&mut connection, &mut wanted, "too many open files").await;
        limit(&node, "nofile", "1024");
        write_again(&mut connection, &mut wanted).await;
        drop(others);
        let mut another = node.connect().await;
        assert_eq!(read(&mut another).await, wanted);
    });
    assert_kept_over_a_kill(node, &runtime, &wanted);
}

#[test]
fn a_server_keeps_to_its_memory_and_one_that_is_given_none_loses_nothing() {
    let mut node = Node::start_with(Settings {
        config: SMALL.into(),
        ..Settings::default()
    });
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.t", "").await;
        // With hardly more room than its budget.
        let bound = address_space(&node) + (192 << 20);
        limit(&node, "as", &bound.to_string());
        write_all(&mut connection, "ks.t", grid(400, 200), 1).await;
        wanted.extend(grid(400, 200).map(|place| (place, 1)));
        assert_eq!(read(&mut connection).await, wanted);
        // More than all of its budget passes through it.
        let mut noise = Noise::begin(&node, "limits").await;
        noise.write(MORE_THAN_BUDGET_BYTES / 2_000 + 1, 2_000).await;
        noise.assert_seldom_refused();
        noise.count().await;
        // From now on there is nothing: it may end, and what it acknowledges until then must be there.
        limit(&node, "as", &address_space(&node).to_string());
        let Ok(insert) = connection
            .prepare("INSERT INTO ks.t (p, c, v) VALUES (?, ?, ?)")
            .await
        else {
            return;
        };
        for place in grid(100, 200) {
            let values = bind(place, 2);
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            match connection.execute(&insert, &values).await {
                Ok(Answer::Void) => drop(wanted.insert(place, 2)),
                Ok(Answer::Refused {
                    code: code::OVERLOADED,
                    ..
                }) => {}
                // It may have been written, or not.
                Ok(_) => drop(wanted.remove(&place)),
                Err(_) => {
                    // The one that was on its way: either.
                    wanted.remove(&place);
                    break;
                }
            }
        }
    });
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        let found = read(&mut connection).await;
        let kept = wanted
            .iter()
            .all(|(place, version)| found.get(place) == Some(version));
        assert!(kept, "something that was acknowledged is not there");
    });
    node.stop();
    node.verify().must_succeed("verify");
}
