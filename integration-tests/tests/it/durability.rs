//! Kill at any moment, restart: nothing that was acknowledged is lost.
//!
//! Sixty-four connections, each with many requests in flight, write rows that only they own and add to counters that all share. A kill leaves three
//! kinds of requests: acknowledged (must be there), never sent (must not), and unknown (may be either, once). What must hold after each restart:
//! a row holds a version from the newest acknowledged to the newest sent, and a counter stands between its acknowledged sum and that plus the unknown.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use palladium_integration_tests::chance::{Chance, long};
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, Connection, Frame, decode};

use crate::rows::{Place, bigint, bind, int, make_keyspace, versions};
use crate::runtimes::one_thread;

const WRITERS: i32 = 64;
const IN_FLIGHT: usize = 16;
const PARTITIONS_PER_WRITER: i32 = 8;
const ROWS_PER_PARTITION: i32 = 32;
const COUNTERS: i32 = 64;
/// One of so many requests adds to a counter.
const COUNTER_SHARE: usize = 4;

#[test]
fn no_kill_loses_an_acknowledged_write() {
    let mut chance = Chance::for_test("no_kill_loses_an_acknowledged_write");
    let kills = if long() { 50 } else { 10 };
    // Small memtables and log segments, so that flushes, rolls and compactions happen while the kills come.
    let settings = Settings {
        config: "memtable_flush_bytes = 4194304\nlog_segment_bytes = 4194304\n".into(),
        ..Settings::default()
    };
    let mut node = Node::start_with(settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");

    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run("CREATE TABLE ks.t (p int, c int, v blob, PRIMARY KEY (p, c))")
            .await;
        connection
            .run("CREATE TABLE ks.n (k int PRIMARY KEY, n counter)")
            .await;
    });

    let mut ledger = Ledger::default();
    for kill in 0..kills {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let own: HashMap<Place, Version> = ledger
                    .rows
                    .iter()
                    .filter(|((partition, _), _)| partition % WRITERS == writer)
                    .map(|(&place, &version)| (place, version))
                    .collect();
                runtime.spawn(write_until_the_end(
                    node.address(),
                    writer,
                    own,
                    Chance::new(chance.number()),
                ))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(50 + chance.below(1500) as u64));
        match chance.below(4) {
            0 => node.flush(),
            1 => node.compact(),
            _ => {}
        }
        node.kill();
        for writer in writers {
            ledger.take(
                runtime
                    .block_on(writer)
                    .expect("a writer ends with its connection"),
            );
        }
        node.restart();
        let acknowledged = ledger.acknowledged;
        runtime.block_on(ledger.check(node.address()));
        println!("kill {kill}: {acknowledged} acknowledged writes are there");
    }
    assert!(ledger.acknowledged > 0, "nothing was ever acknowledged");
    node.stop();
    node.verify().must_succeed("verify");
    node.restart();
    runtime.block_on(ledger.check(node.address()));
}

#[test]
fn a_start_with_a_gigabyte_of_log_replays_it() {
    // A memtable as large as the log: nothing is flushed, everything is replayed.
    let bytes: u64 = if long() { 1 << 30 } else { 64 << 20 };
    let settings = Settings {
        config: "memtable_flush_bytes = 4294967296\nlog_bytes_max = 4294967296\n".into(),
        ..Settings::default()
    };
    let mut node = Node::start_with(settings);
    let runtime = one_thread();
    let value = vec![7_u8; 8192];
    let rows = i32::try_from(bytes / 8192).expect("the rows can be counted");
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run("CREATE TABLE ks.t (k int PRIMARY KEY, v blob)")
            .await;
        let insert = connection
            .prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
            .await
            .expect("INSERT can be prepared");
        for start in (0..rows).step_by(4096) {
            let sets: Vec<_> = (start..rows.min(start + 4096))
                .map(|k| vec![k.to_be_bytes().to_vec(), value.clone()])
                .collect();
            for answer in connection
                .execute_all(&insert, &sets, 64)
                .await
                .expect("the connection holds")
            {
                answer.accepted();
            }
        }
    });
    node.kill();
    let started = std::time::Instant::now();
    node.restart();
    println!(
        "the port opened after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    runtime.block_on(async {
        let mut connection = node.connect().await;
        let answer = connection
            .query_all("SELECT k FROM ks.t", 5000)
            .await
            .expect("the connection holds");
        assert_eq!(answer.accepted().rows().len(), rows as usize);
    });
    println!(
        "all rows were read {:.1} s after the start",
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn a_folder_in_use_is_refused_and_a_kill_leaves_no_stale_lock() {
    let mut node = Node::start();
    let other = palladium_integration_tests::node::free_address().to_string();
    let data = node.data();
    let outcome = node.tool(&[
        "--listen",
        &other,
        "--data",
        data.to_str().expect("a plain name"),
    ]);
    assert!(!outcome.status.success(), "a second server took the folder");
    assert!(
        outcome.text.contains(data.to_str().expect("a plain name"))
            || outcome.text.contains("in use"),
        "{}",
        outcome.text
    );
    node.kill();
    node.restart();
    node.stop();
    node.restart();
}

/// A merge begins sooner on a machine that is alive.
const MERGE_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_stop_that_ends_a_merge_is_no_failure() {
    let mut chance = Chance::for_test("a_stop_that_ends_a_merge_is_no_failure");
    // A merge of 8 MiB takes eight seconds.
    let settings = Settings {
        config: "compaction_throughput_mib = 1\n".into(),
        ..Settings::default()
    };
    let mut node = Node::start_with(settings);
    let runtime = one_thread();
    let mut connection = runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run("CREATE TABLE ks.t (k int PRIMARY KEY, v blob) WITH compaction = {'class': 'SizeTieredCompactionStrategy'}")
            .await;
        connection
    });
    for flush in 0..4 {
        runtime.block_on(async {
            let insert = connection
                .prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
                .await
                .expect("INSERT can be prepared");
            let sets: Vec<_> = (0..32)
                .map(|k: i32| {
                    let value = (0..8192).flat_map(|_| chance.number().to_be_bytes());
                    vec![(flush * 32 + k).to_be_bytes().to_vec(), value.collect()]
                })
                .collect();
            let answers = connection.execute_all(&insert, &sets, 8).await;
            for answer in answers.expect("the connection holds") {
                answer.accepted();
            }
        });
        node.flush();
    }
    let merges = "SELECT kind FROM system_views.sstable_tasks";
    let deadline = std::time::Instant::now() + MERGE_LIMIT;
    while runtime.block_on(connection.run(merges)).rows().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no merge began");
        std::thread::sleep(Duration::from_millis(5));
    }
    node.stop();
    assert!(
        !node.log().contains("background work failed"),
        "{}",
        node.log()
    );
}

/// Versions of one row.
#[derive(Clone, Copy, Default)]
struct Version {
    acknowledged: u64,
    sent: u64,
}

/// What one writer knows when its connection has ended.
#[derive(Default)]
struct Tally {
    rows: HashMap<Place, Version>,
    /// For each counter: increments acknowledged, increments unknown.
    counters: HashMap<i32, (i64, i64)>,
    acknowledged: u64,
}

/// What all of them know.
#[derive(Default)]
struct Ledger {
    rows: HashMap<Place, Version>,
    counters: HashMap<i32, (i64, i64)>,
    acknowledged: u64,
}

impl Ledger {
    fn take(&mut self, tally: Tally) {
        self.rows.extend(tally.rows);
        for (counter, (acknowledged, unknown)) in tally.counters {
            let entry = self.counters.entry(counter).or_default();
            entry.0 += acknowledged;
            entry.1 += unknown;
        }
        self.acknowledged += tally.acknowledged;
    }

    /// Reads everything, by scan and by key, and compares; what was unknown is known afterwards.
    async fn check(&mut self, address: SocketAddr) {
        let mut connection = Connection::open(address)
            .await
            .expect("the server is ready");
        let answer = connection
            .query_all("SELECT p, c, v FROM ks.t", 1000)
            .await
            .expect("the connection holds")
            .accepted();
        let scanned: HashMap<Place, u64> = versions(&answer.rows()).into_iter().collect();

        let places: Vec<Place> = self.rows.keys().copied().collect();
        let select = connection
            .prepare("SELECT p, c, v FROM ks.t WHERE p = ? AND c = ?")
            .await
            .expect("SELECT can be prepared");
        let sets: Vec<_> = places
            .iter()
            .map(|&place| bind(place, 0)[..2].to_vec())
            .collect();
        let answers = connection
            .execute_all(&select, &sets, 256)
            .await
            .expect("the connection holds");
        for (place, answer) in places.into_iter().zip(answers) {
            let found = versions(&answer.accepted().rows())
                .first()
                .map_or(0, |&(_, version)| version);
            assert_eq!(
                scanned.get(&place).copied().unwrap_or(0),
                found,
                "{place:?}: the scan and the read by key differ"
            );
            let known = self.rows.get_mut(&place).expect("a place of the ledger");
            assert!(
                (known.acknowledged..=known.sent).contains(&found),
                "{place:?} is at version {found}; acknowledged {}, sent {}",
                known.acknowledged,
                known.sent
            );
            *known = Version {
                acknowledged: found,
                sent: found,
            };
        }
        for place in scanned.keys() {
            assert!(self.rows.contains_key(place), "{place:?} was never written");
        }

        let answer = connection
            .query_all("SELECT k, n FROM ks.n", 1000)
            .await
            .expect("the connection holds")
            .accepted();
        let found: HashMap<i32, i64> = answer
            .rows()
            .iter()
            .map(|row| (int(&row[0]), bigint(&row[1])))
            .collect();
        for (counter, (acknowledged, unknown)) in &mut self.counters {
            let found = found.get(counter).copied().unwrap_or(0);
            assert!(
                (*acknowledged..=*acknowledged + *unknown).contains(&found),
                "counter {counter} is {found}; acknowledged {acknowledged}, unknown {unknown}"
            );
            (*acknowledged, *unknown) = (found, 0);
        }
    }
}

/// What a request in flight would change.
enum Flight {
    Row(Place),
    Counter(i32),
}

async fn write_until_the_end(
    address: SocketAddr,
    writer: i32,
    rows: HashMap<Place, Version>,
    chance: Chance,
) -> Tally {
    let mut writer = Writer {
        writer,
        chance,
        tally: Tally {
            rows,
            ..Tally::default()
        },
        in_flight: HashMap::new(),
    };
    // The end of the connection is how this ends, always; everything still in flight is then unknown.
    let _: Result<(), std::io::Error> = writer.write(address).await;
    for flight in writer.in_flight.into_values() {
        if let Flight::Counter(counter) = flight {
            writer.tally.counters.entry(counter).or_default().1 += 1;
        }
    }
    writer.tally
}

struct Writer {
    writer: i32,
    chance: Chance,
    tally: Tally,
    in_flight: HashMap<i16, Flight>,
}

impl Writer {
    async fn write(&mut self, address: SocketAddr) -> std::io::Result<()> {
        let mut connection = Connection::open(address).await?;
        let insert = connection
            .prepare("INSERT INTO ks.t (p, c, v) VALUES (?, ?, ?)")
            .await?;
        let add = connection
            .prepare("UPDATE ks.n SET n = n + 1 WHERE k = ?")
            .await?;
        let mut free: Vec<i16> = (0..IN_FLIGHT as i16).collect();
        loop {
            while let Some(stream) = free.pop() {
                if self.chance.below(COUNTER_SHARE) == 0 {
                    let counter = self.chance.below(COUNTERS as usize) as i32;
                    connection.push_execute(stream, &add, &[&counter.to_be_bytes()]);
                    self.in_flight.insert(stream, Flight::Counter(counter));
                } else {
                    let place = self.choose_place();
                    let version = self.tally.rows.entry(place).or_default();
                    version.sent += 1;
                    let values = bind(place, version.sent);
                    connection.push_execute(
                        stream,
                        &insert,
                        &values.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                    );
                    self.in_flight.insert(stream, Flight::Row(place));
                }
            }
            connection.flush().await?;
            let mut next = Some(
                connection
                    .next_frame()
                    .await?
                    .ok_or(std::io::ErrorKind::UnexpectedEof)?,
            );
            while let Some(frame) = next {
                self.acknowledge(&frame)?;
                free.push(frame.stream);
                next = connection.arrived_frame()?;
            }
        }
    }

    /// A place of this writer that has no write in flight: two at once would have no order.
    fn choose_place(&mut self) -> Place {
        loop {
            let partition =
                self.writer + WRITERS * self.chance.below(PARTITIONS_PER_WRITER as usize) as i32;
            let place = (
                partition,
                self.chance.below(ROWS_PER_PARTITION as usize) as i32,
            );
            if !self
                .in_flight
                .values()
                .any(|flight| matches!(flight, Flight::Row(other) if *other == place))
            {
                return place;
            }
        }
    }

    fn acknowledge(&mut self, frame: &Frame) -> std::io::Result<()> {
        match decode(frame)? {
            Answer::Void => {}
            other => panic!("a write was answered with {other:?}"),
        }
        match self
            .in_flight
            .remove(&frame.stream)
            .expect("an answer belongs to a request")
        {
            Flight::Row(place) => {
                let version = self
                    .tally
                    .rows
                    .get_mut(&place)
                    .expect("a row in flight has a version");
                version.acknowledged = version.sent;
            }
            Flight::Counter(counter) => self.tally.counters.entry(counter).or_default().0 += 1,
        }
        self.tally.acknowledged += 1;
        Ok(())
    }
}
