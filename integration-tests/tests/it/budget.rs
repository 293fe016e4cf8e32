//! A server with little memory and much work stays within its budget: the most that the kernel ever saw of it counts, not what is left at the end.
//!
//! `TESTS_LONG=1` loads a gigabyte, and asks for what is large at its full size: cells of 16 MiB, rows of 100,000 cells, a million tombstones.

use std::fmt::Write;
use std::time::{Duration, Instant};

use palladium_integration_tests::bench::process::{resident_bytes, resident_bytes_at_most};
use palladium_integration_tests::chance::long;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Connection, code};

use crate::noise::{Noise, WINDOW};
use crate::rows::make_keyspace;
use crate::runtimes::one_thread;

const BUDGET_BYTES: u64 = 128 << 20;
/// Of the budget, in percent.
const ALLOWED_PERCENT: u64 = 115;
/// What a connection may cost that says nothing, in the server's memory.
const IDLE_CONNECTION_BYTES: u64 = 20 << 10;
const IDLE_CONNECTIONS: u64 = 500;
/// Within it a server has noticed that nobody says anything.
const REST_LIMIT: Duration = Duration::from_secs(30);

fn small_server(more: &str) -> Node {
    server_with(BUDGET_BYTES, more)
}

fn server_with(budget: u64, more: &str) -> Node {
    Node::start_with(Settings {
        config: format!("memory_bytes = {budget}\n{more}"),
        ..Settings::default()
    })
}

fn assert_within_budget(node: &Node, when: &str) {
    assert_within(BUDGET_BYTES, node, when);
}

fn assert_within(budget: u64, node: &Node, when: &str) {
    let most = resident_bytes_at_most(node.pid()).expect("the server runs");
    let allowed = budget * ALLOWED_PERCENT / 100;
    println!(
        "{when}: at most {} MiB, of {} MiB allowed",
        most >> 20,
        allowed >> 20
    );
    assert!(
        most <= allowed,
        "{when}: {most} bytes, {allowed} are allowed"
    );
}

#[test]
fn more_data_than_memory_is_written_read_and_scanned_within_the_budget() {
    let node = small_server("");
    one_thread().block_on(async {
        let (small, large) = match long() {
            true => (400_000, 6_000),
            false => (60_000, 600),
        };
        let mut noise = Noise::begin(&node, "budget").await;
        noise.write(small, 1_500).await;
        noise.write(large, 100_000).await;
        noise.assert_seldom_refused();
        assert_within_budget(&node, "written");
        let wanted: Vec<u64> = (0..10_000)
            .map(|_| noise.chance.below((small + large / 10) as usize) as u64)
            .collect();
        for some in wanted.chunks(500) {
            for (number, value) in some.iter().zip(noise.read(some).await) {
                let bytes = if *number < small { 1_500 } else { 100_000 };
                assert_eq!(value.len(), bytes, "row {number}");
            }
        }
        assert_within_budget(&node, "read");
        noise.count().await;
        assert_within_budget(&node, "scanned");
        let ledger = noise
            .connection
            .run("SELECT holder, bytes, bytes_max FROM system_palladium.memory")
            .await
            .rows();
        let number = |holder: &str, column: usize| -> u64 {
            let row = ledger
                .iter()
                .find(|row| row[0].as_deref() == Some(holder.as_bytes()));
            let cell = row.and_then(|row| row[column].clone()).expect("it is told");
            u64::from_be_bytes(cell[..].try_into().expect("a bigint"))
        };
        assert_eq!(number("process", 2), BUDGET_BYTES);
        assert!(number("sstables", 1) > 0 && number("blocks", 1) > 0);
        assert!(number("blocks", 1) <= number("blocks", 2));
    });
    node.flush();
    node.compact();
    assert_within_budget(&node, "compacted");
}

#[test]
fn cells_of_many_mebibytes_are_written_and_read_one_after_the_other() {
    // A frame of 16 MiB has no room for a value of 16 MiB; a segment of the log takes a mutation of half its size.
    // Ten cells or so are in memory at a time, of the merge that reads several SSTables and writes one: the budget grows with them.
    let (bytes, rows, budget) = match long() {
        true => (16 << 20, 60, 4 * BUDGET_BYTES),
        false => (4 << 20, 24, BUDGET_BYTES),
    };
    let node = server_with(
        budget,
        "frame_bytes_max = 33554432\nlog_segment_bytes = 67108864\n",
    );
    one_thread().block_on(async {
        let mut noise = Noise::begin(&node, "large cells").await;
        let value = noise.value(bytes);
        for _ in 0..rows {
            noise.write_value(&value).await;
        }
        // Each of them is a large part of what memtables may hold: most wait for a flush, as often as `noise` lets them.
        println!("{rows} rows, {} refusals", noise.refused);
        node.flush();
        node.compact();
        for number in 0..rows {
            let found = noise.read(&[number]).await;
            assert!(found[0] == value, "row {number}");
        }
    });
    assert_within(budget, &node, "large cells");
}

#[test]
fn a_partition_of_many_cells_is_read_in_pages_and_too_many_tombstones_are_refused() {
    let (cells, tombstones) = match long() {
        true => (100_000, 1_000_000),
        false => (20_000, 20_000),
    };
    let node = small_server(&format!(
        "[cassandra]\ntombstone_failure_threshold = {}\n",
        tombstones / 2
    ));
    one_thread().block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run("CREATE TABLE ks.w (p int, c int, v int, m map<int, int>, PRIMARY KEY (p, c)) WITH gc_grace_seconds = 864000")
            .await;
        let insert = connection
            .prepare("INSERT INTO ks.w (p, c, v) VALUES (?, ?, ?)")
            .await
            .expect("INSERT is prepared");
        let delete = connection
            .prepare("DELETE FROM ks.w WHERE p = ? AND c = ?")
            .await
            .expect("DELETE is prepared");
        let int = |number: i32| number.to_be_bytes().to_vec();
        // One partition of many rows, one row of many cells, one partition of many tombstones before a live row.
        for first in (0..cells).step_by(5_000) {
            let sets: Vec<_> = (first..first + 5_000).map(|c| vec![int(1), int(c), int(c)]).collect();
            let answers = connection.execute_all(&insert, &sets, WINDOW).await;
            answers.expect("the connection holds").into_iter().for_each(|answer| drop(answer.accepted()));
        }
        for first in (0..cells).step_by(5_000) {
            let mut text = String::from("UPDATE ks.w SET m = m + {");
            for c in first..first + 5_000 {
                let comma = if c == first { "" } else { ", " };
                write!(text, "{comma}{c}: {c}").expect("a string takes all");
            }
            text.push_str("} WHERE p = 2 AND c = 0");
            connection.run(&text).await;
        }
        for first in (0..tombstones).step_by(5_000) {
            let sets: Vec<_> = (first..first + 5_000).map(|c| vec![int(3), int(c)]).collect();
            let answers = connection.execute_all(&delete, &sets, WINDOW).await;
            answers.expect("the connection holds").into_iter().for_each(|answer| drop(answer.accepted()));
        }
        connection.run(&format!("INSERT INTO ks.w (p, c, v) VALUES (3, {tombstones}, 7)")).await;
        for flushed in [false, true] {
            if flushed {
                node.flush();
            }
            let rows = connection.query_all("SELECT c FROM ks.w WHERE p = 1", 1_000).await;
            assert_eq!(rows.expect("the connection holds").rows().len(), cells as usize);
            let rows = connection.run("SELECT m FROM ks.w WHERE p = 2").await.rows();
            let map = rows[0][0].as_ref().expect("it was written");
            assert_eq!(map[..4], cells.to_be_bytes(), "cells of one row");
            let (refusal, message) = connection
                .query("SELECT c FROM ks.w WHERE p = 3 LIMIT 1")
                .await
                .expect("the connection holds")
                .refusal();
            assert_eq!(refusal, code::READ_FAILURE, "{message}");
            // As many as are allowed are passed.
            let near = tombstones - tombstones / 4;
            let rows = connection
                .run(&format!("SELECT v FROM ks.w WHERE p = 3 AND c > {near} LIMIT 1"))
                .await
                .rows();
            assert_eq!(rows[0][0].as_deref(), Some(&7i32.to_be_bytes()[..]));
        }
    });
    assert_within_budget(&node, "many cells and tombstones");
}

#[test]
fn connections_that_have_nothing_more_to_say_cost_little_and_are_still_heard() {
    let node = Node::start();
    one_thread().block_on(async {
        // What the first ones bring into memory is there for all.
        let mut connections = Vec::new();
        for _ in 0..20 {
            connections.push(asked(&node).await);
        }
        let before = resident_bytes(node.pid()).expect("the server runs");
        for _ in 0..IDLE_CONNECTIONS {
            connections.push(asked(&node).await);
        }
        let since = Instant::now();
        loop {
            let after = resident_bytes(node.pid()).expect("the server runs");
            let each = after.saturating_sub(before) / IDLE_CONNECTIONS;
            if each <= IDLE_CONNECTION_BYTES {
                println!("{each} bytes for each of {IDLE_CONNECTIONS} connections");
                break;
            }
            assert!(since.elapsed() < REST_LIMIT, "{each} bytes for each");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for connection in &mut connections {
            let rows = connection.run("SELECT key FROM system.local").await.rows();
            assert_eq!(rows.len(), 1);
        }
    });
}

/// A connection that has asked something, as drivers do when they connect.
async fn asked(node: &Node) -> Connection {
    let mut connection = node.connect().await;
    connection.run("SELECT * FROM system.local").await;
    connection
}
