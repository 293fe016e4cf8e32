//! The audit trail: what happens to keys is there to be read, newest first; whoever changes it, with the service's own key in his hands, is found out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use palladium::Engine;
use palladium::admin::audit::look;
use palladium::audit::{Asker, Checked, Event, Hash, Head, SEGMENT_ROWS, read_exported};
use palladium::config::Config;
use palladium::env::RealEnv;
use palladium::keys::KeyServices;
use palladium::server::Server;
use palladium::service_key;
use palladium::service_table::{self, EVENTS_TABLE};
use palladium_crypto::{Keyring, Kms, StructureKind};
use palladium_storage::{
    ColumnId, Deletion, LocalBackend, LocalOptions, Mutation, PartitionKey, PartitionUpdate, Row,
    Store, Write,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::scene::{after_the_last, start_after_the_last};

const RECORD: ColumnId = ColumnId(1);
const HASH: ColumnId = ColumnId(2);

/// A folder, and the settings of the server that works in it.
pub struct Scene {
    folder: TempDir,
    pub config: Config,
    runtime: Runtime,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(|_| {})
    }

    fn with(set: impl FnOnce(&mut Config)) -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config {
            data: folder.path().join("data"),
            keyring: folder.path().join("keyring"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            ..Config::default()
        };
        set(&mut config);
        Scene {
            folder,
            config,
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    /// One life of the server.
    pub fn serve(&self, story: impl FnOnce(&Server)) {
        let env = Arc::new(RealEnv::default());
        let started = start_after_the_last(&self.config, env);
        let server = self.runtime.block_on(started);
        story(&server);
        self.runtime.block_on(server.stop()).expect("a clean stop");
    }

    pub fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn make_keyspace(&self, client: &mut Client) {
        client
            .query("CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
            .done();
    }

    /// A file beside the data folder.
    pub fn path(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str()
            .expect("temporary folders have plain names")
            .to_owned()
    }

    /// Runs `palladium` on the data folder, with the keyring or without.
    pub fn must_end_with(&self, code: i32, arguments: &[&str], with_keyring: bool) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_palladium"));
        let (words, options) = arguments.split_at(arguments.len().min(3));
        let keyring = match with_keyring {
            true => self.config.keyring.clone(),
            false => self.folder.path().join("no-keyring"),
        };
        command
            .args(words)
            .arg(&self.config.data)
            .args(options)
            .arg("--keyring")
            .arg(keyring);
        let output = command.output().expect("the program can be started");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Some keys are made and used.
    fn live(&self) {
        self.serve(|server| {
            let mut client = Client::connect(server.address());
            self.make_keyspace(&mut client);
            for table in ["a", "b"] {
                client
                    .query(&format!(
                        "CREATE TABLE IF NOT EXISTS ks.{table} (k int PRIMARY KEY)"
                    ))
                    .done();
            }
            client.query("DROP TABLE ks.b").done();
        });
    }

    fn look(&self) -> Checked {
        self.runtime
            .block_on(look(&self.config))
            .expect("the folder can be looked at")
            .expect("the folder is whole")
    }

    /// The newest exported head, when it is that of the trail's end: a stopping server waits two seconds for its file, and a loaded disk may take longer.
    fn exported(&self) -> Head {
        let end = self.look().last.sequence;
        let path = self.config.audit_head_path();
        for _ in 0..600 {
            let heads = read_exported(&path).expect("the exported heads can be read");
            match heads.last() {
                Some(head) if head.sequence() == end => return head.clone(),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        panic!("the head of record {end} is not exported");
    }

    /// Changes the trail as somebody would who has the service's key.
    fn tamper(&self, rows: Vec<Row>) {
        self.tamper_with(service_table::mutation(EVENTS_TABLE, segment(0), rows));
    }

    fn tamper_with(&self, mutation: Mutation) {
        self.runtime.block_on(async {
            let open = async || LocalBackend::open(&self.config.data, LocalOptions::default());
            let backend = after_the_last(open).await.unwrap();
            let keyring = Arc::new(Keyring::open(&self.config.keyring).unwrap());
            let services = KeyServices::default().with("local", keyring as Arc<dyn Kms>);
            let cmk = self.config.service_cmk().unwrap();
            let Ok(service) = service_key::fetch_once(&backend, &services, &cmk).await else {
                panic!("the service's key is in the keyring");
            };
            let engine = Engine::open(
                Arc::new(backend),
                Arc::new(RealEnv::default()),
                service.ring.clone(),
                self.config.engine_options(),
            )
            .await
            .unwrap();
            service_table::open(&engine, &service, EVENTS_TABLE, Default::default())
                .await
                .unwrap();
            let write = Write::new(vec![mutation]);
            for result in engine.write(vec![write]).await {
                result.unwrap();
            }
            engine.close().await.unwrap();
        });
    }

    /// The stored cells of a record.
    fn stored(&self, sequence: u64) -> (Bytes, Bytes) {
        let mut found = None;
        self.serve(|server| {
            let trail = &server.database().trail;
            let entries = self
                .runtime
                .block_on(trail.segment(sequence / SEGMENT_ROWS))
                .unwrap();
            let entry = entries
                .into_iter()
                .find(|entry| entry.record.sequence == sequence)
                .unwrap();
            found = Some((
                Bytes::from(entry.record.to_bytes()),
                Bytes::copy_from_slice(&entry.hash.0),
            ));
        });
        found.unwrap()
    }
}

fn segment(number: u64) -> PartitionKey {
    let bytes = [&b"events"[..], &number.to_be_bytes()].concat();
    service_table::partition(bytes)
}

fn row(sequence: u64, cells: Vec<(ColumnId, Bytes)>) -> Row {
    // Newer than all that a server wrote before.
    let timestamp = i64::MAX / 4;
    let clustering = Bytes::copy_from_slice(&sequence.to_be_bytes());
    service_table::row(clustering, timestamp, cells)
}

fn removal(sequence: u64) -> Row {
    let mut gone = row(sequence, Vec::new());
    gone.liveness = None;
    gone.deletion = Some(Deletion {
        timestamp: i64::MAX / 4,
        local_deletion_time: 1_900_000_000,
    });
    gone
}

pub fn text(value: &Option<Bytes>) -> String {
    String::from_utf8(value.as_deref().unwrap_or_default().to_vec()).unwrap()
}

fn event(operation: &'static str) -> Event {
    Event {
        asker: Asker::server(),
        ..Event::of_server(operation, 1_790_000_000_000_000)
    }
}

#[test]
fn what_happened_to_the_keys_is_read_newest_first() {
    let scene = Scene::new();
    scene.live();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        client.query("CREATE TABLE ks.c (k int PRIMARY KEY)").done();
        client
            .query("CREATE TABLE ks.d (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:nobody'}")
            .error();
        // What is recorded is written a moment later.
        let newest = "SELECT operation, table_name, outcome, reason, who, client, key FROM system_palladium.kms_calls LIMIT 1";
        let last = loop {
            let rows = client.query(newest).rows().rows;
            if text(&rows[0][1]) == "d" && text(&rows[0][0]) == "CREATE TABLE" {
                break rows.into_iter().next().unwrap();
            }
            std::thread::yield_now();
        };
        assert_eq!(text(&last[2]), "failed");
        assert!(text(&last[3]).contains("local:nobody"), "{}", text(&last[3]));
        assert_eq!(text(&last[4]), "anonymous");
        assert!(text(&last[5]).starts_with("127.0.0.1:"));
        assert_eq!(text(&last[6]), "local:nobody");
        let all = client
            .query("SELECT sequence, operation, table_name, day FROM system_palladium.kms_calls")
            .rows()
            .rows;
        let sequences: Vec<i64> = all
            .iter()
            .map(|row| i64::from_be_bytes(row[0].as_deref().unwrap().try_into().unwrap()))
            .collect();
        let expected: Vec<i64> = (1..=sequences.len() as i64).rev().collect();
        assert_eq!(sequences, expected, "newest first, and nothing missing");
        let told: Vec<(String, String)> = all
            .iter()
            .map(|row| (text(&row[1]), text(&row[2])))
            .collect();
        for wanted in [
            ("START", ""),
            ("GenerateDataKey", "service"),
            ("GenerateDataKey", "a"),
            ("CREATE TABLE", "a"),
            ("DROP TABLE", "b"),
            ("STOP", ""),
            ("Decrypt", "service"),
        ] {
            let wanted = (wanted.0.to_owned(), wanted.1.to_owned());
            assert!(told.contains(&wanted), "{wanted:?} is not in {told:?}");
        }
        // As a number: days, with 2^31 at 1970-01-01.
        let day = u32::from_be_bytes(all[0][3].as_deref().unwrap().try_into().unwrap());
        assert_eq!(i64::from(day) - (1 << 31), today());
        let some = client
            .query(&format!(
                "SELECT sequence FROM system_palladium.kms_calls WHERE day = {day} AND sequence > 2 AND sequence <= 5 ORDER BY sequence ASC"
            ))
            .rows()
            .rows;
        let some: Vec<i64> = some
            .iter()
            .map(|row| i64::from_be_bytes(row[0].as_deref().unwrap().try_into().unwrap()))
            .collect();
        assert_eq!(some, [3, 4, 5]);
        pages_join_into_the_whole(&mut client, &sequences);
    });
    let checked = scene.look();
    assert_eq!(checked.damage, None);
    assert_eq!(checked.older, None);
    assert_eq!(checked.unfinished, [] as [u64; 0]);
    assert!(checked.exported > 0);
}

/// Days since 1970.
fn today() -> i64 {
    scene_timestamp() / 86_400_000_000
}

fn pages_join_into_the_whole(client: &mut Client, sequences: &[i64]) {
    let mut state = None;
    let mut read = Vec::new();
    loop {
        let page = client
            .query_page(
                "SELECT sequence FROM system_palladium.kms_calls",
                Some(3),
                state.as_deref(),
            )
            .rows();
        read.extend(
            page.rows
                .iter()
                .map(|row| i64::from_be_bytes(row[0].as_deref().unwrap().try_into().unwrap())),
        );
        state = page.paging_state;
        if state.is_none() {
            break;
        }
    }
    assert!(read.ends_with(sequences));
}

#[test]
fn more_records_than_a_segment_holds_are_read_and_checked() {
    let scene = Scene::new();
    let events = 2 * SEGMENT_ROWS + 7;
    scene.serve(|server| {
        let audit = &server.database().audit;
        scene.runtime.block_on(async {
            for _ in 0..events {
                audit.record(event("Decrypt")).await;
            }
        });
    });
    let checked = scene.look();
    assert_eq!(checked.damage, None);
    // The key of the service, described, generated and decrypted; START, the events, STOP.
    assert_eq!(checked.last.sequence, events + 5);
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        let count = client
            .query("SELECT count(*) FROM system_palladium.kms_calls WHERE operation = 'Decrypt' AND latency_us = 0 ALLOW FILTERING")
            .rows()
            .rows;
        let count = i64::from_be_bytes(count[0][0].as_deref().unwrap().try_into().unwrap());
        assert_eq!(count as u64, events);
    });
}

#[test]
fn a_changed_record_shows() {
    let scene = Scene::new();
    scene.live();
    let (record, _) = scene.stored(3);
    scene.tamper(vec![row(3, vec![(RECORD, forged(&record))])]);
    let damage = scene.look().damage.expect("the change shows");
    assert!(damage.starts_with("record 3 is not what"), "{damage}");
}

#[test]
fn a_changed_record_with_a_hash_that_fits_it_shows_at_the_next_one() {
    let scene = Scene::new();
    scene.live();
    // Record 4 says that the server has started, and its head is exported.
    let (record, _) = scene.stored(5);
    let (_, before) = scene.stored(4);
    let forged = forged(&record);
    let hash = Hash(before.as_ref().try_into().unwrap()).after(&forged);
    let hash = Bytes::copy_from_slice(&hash.0);
    scene.tamper(vec![row(5, vec![(RECORD, forged), (HASH, hash)])]);
    let damage = scene.look().damage.expect("the change shows");
    assert!(damage.starts_with("record 6 is not what"), "{damage}");
}

fn forged(record: &Bytes) -> Bytes {
    let text = String::from_utf8(record.to_vec()).unwrap();
    let forged = text.replace("\"latency_us\":", "\"latency_us\":1");
    assert_ne!(forged, text);
    Bytes::from(forged)
}

#[test]
fn a_missing_record_shows() {
    let scene = Scene::new();
    scene.live();
    scene.tamper(vec![removal(4)]);
    assert_eq!(scene.look().damage.as_deref(), Some("record 4 is missing"));
}

#[test]
fn swapped_records_show() {
    let scene = Scene::new();
    scene.live();
    let (left, right) = (scene.stored(3), scene.stored(4));
    scene.tamper(vec![
        row(3, vec![(RECORD, right.0), (HASH, right.1)]),
        row(4, vec![(RECORD, left.0), (HASH, left.1)]),
    ]);
    let damage = scene.look().damage.expect("the swap shows");
    assert!(damage.contains("record 3 "), "{damage}");
}

#[test]
fn a_cut_trail_shows() {
    let scene = Scene::new();
    scene.live();
    let last = scene.look().last.sequence;
    scene.tamper(vec![removal(last)]);
    let damage = scene.look().damage.expect("the cut shows");
    assert_eq!(damage, format!("record {last} is missing"));
}

#[test]
fn a_trail_without_any_record_shows() {
    let scene = Scene::new();
    scene.live();
    scene.tamper_with(Mutation {
        table: EVENTS_TABLE,
        store: Store::BASE,
        key: segment(0),
        update: PartitionUpdate {
            deletion: Some(Deletion {
                timestamp: i64::MAX / 4,
                local_deletion_time: 1_900_000_000,
            }),
            ..PartitionUpdate::default()
        },
    });
    assert_eq!(scene.look().damage.as_deref(), Some("record 1 is missing"));
}

#[test]
fn a_trail_that_was_written_anew_is_not_the_one_whose_head_was_exported() {
    let scene = Scene::new();
    scene.live();
    let newest = scene.exported().sequence();
    // The same server begins again, with its own key, on an empty trail.
    for partition in [segment(0), service_table::partition(&b"state"[..])] {
        scene.tamper_with(Mutation {
            table: EVENTS_TABLE,
            store: Store::BASE,
            key: partition,
            update: PartitionUpdate {
                deletion: Some(Deletion {
                    timestamp: scene_timestamp(),
                    local_deletion_time: 1_900_000_000,
                }),
                ..PartitionUpdate::default()
            },
        });
    }
    let kept = scene.config.audit_head_path();
    let old = std::fs::read(&kept).unwrap();
    scene.serve(|_| {});
    assert!(scene.look().last.sequence < newest);
    std::fs::write(&kept, old).unwrap();
    let checked = scene.look();
    assert!(checked.older.is_some(), "{checked:?}");
}

/// Later than what a server has written, and before what the next one writes.
fn scene_timestamp() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    since.as_micros() as i64
}

#[test]
fn what_is_too_much_is_pruned_behind_a_signed_checkpoint() {
    let scene = Scene::with(|config| config.audit_rows_max = 10);
    scene.serve(|server| {
        let audit = &server.database().audit;
        scene.runtime.block_on(async {
            for _ in 0..SEGMENT_ROWS + 50 {
                audit.record(event("Decrypt")).await;
            }
        });
    });
    scene.serve(|server| {
        // The writer prunes when it has begun.
        while server.database().trail.spans().unwrap()[0].first == 1 {
            std::thread::yield_now();
        }
    });
    let checked = scene.look();
    assert_eq!(checked.damage, None);
    assert_eq!(checked.first, SEGMENT_ROWS);
    scene.serve(|server| {
        let spans = server.database().trail.spans().unwrap();
        assert_eq!(spans[0].first, SEGMENT_ROWS);
    });
}

#[test]
fn a_damaged_trail_stops_nothing_but_itself() {
    let scene = Scene::new();
    scene.live();
    scene.serve(|server| {
        let engine: &Engine = &server.database().engine;
        scene.wait_for(engine.flush(Some(EVENTS_TABLE))).unwrap();
    });
    let (explanation, _) = scene
        .wait_for(palladium::admin::explain::look(&scene.config))
        .unwrap();
    let structures = &explanation.tables[&EVENTS_TABLE].structures;
    let statistics = structures
        .iter()
        .find(|structure| structure.kind == StructureKind::SstableStatistics)
        .unwrap();
    let blob = scene
        .config
        .data
        .join("blobs")
        .join(statistics.structure.to_string());
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        client.query("CREATE TABLE ks.c (k int PRIMARY KEY)").done();
        client.query("DROP TABLE ks.c").done();
        client.query("SELECT * FROM ks.a").rows();
        let (code, _) = client
            .query("SELECT * FROM system_palladium.kms_calls")
            .error();
        assert_eq!(code, 0x1300, "ReadFailure");
    });
    scene.must_end_with(1, &["audit", "verify"], true);
    scene.must_end_with(1, &["verify"], true);
}

#[test]
fn a_table_without_entry_and_root_is_told_by_salvage_and_stays_damage() {
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client
            .query("CREATE TABLE ks.lost (k int PRIMARY KEY)")
            .done();
        let database = server.database();
        let lost = database.catalog.load().table("ks", "lost").cloned();
        // Behind the schema's back.
        let dropped = database.engine.drop_table(lost.expect("it is there").id);
        scene
            .wait_for(dropped)
            .expect("the manifest can be written");
    });
    scene.must_end_with(1, &["verify"], true);
    scene.must_end_with(1, &["salvage", "--yes"], true);
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        let told = client
            .query("SELECT outcome FROM system_palladium.kms_calls WHERE operation = 'SALVAGE' ALLOW FILTERING")
            .rows();
        assert_eq!(told.rows.len(), 1);
        client.query("DROP TABLE ks.lost").done();
    });
    scene.must_end_with(0, &["verify"], true);
}

#[test]
fn refused_keys_push_nothing_out_of_the_audit_trail() {
    const REFUSED: usize = 1_000;
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        for number in 0..REFUSED {
            client
                .query(&format!(
                    "CREATE TABLE ks.t{number} (k int PRIMARY KEY) WITH encryption = {{'kms_key': 'local:nope{number}'}}"
                ))
                .error();
        }
    });
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        for operation in ["DescribeKey", "CREATE TABLE"] {
            let told = client
                .query(&format!(
                    "SELECT context['not recorded before'], key FROM system_palladium.kms_calls WHERE operation = '{operation}' AND outcome = 'failed' ALLOW FILTERING"
                ))
                .rows()
                .rows;
            let counted: Vec<usize> = told
                .iter()
                .filter_map(|row| text(&row[0]).parse().ok())
                .collect();
            assert!(told.len() < REFUSED / 2, "{}", told.len());
            assert_eq!(told.len() + counted.iter().sum::<usize>(), REFUSED);
            // Newest first.
            assert_eq!(text(&told[0][1]), format!("local:nope{}", REFUSED - 1));
        }
    });
    assert_eq!(scene.look().damage, None);
}

#[test]
fn a_pin_in_the_name_of_a_key_is_neither_shown_nor_recorded() {
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        let told = "SELECT count(*) FROM system_palladium.kms_calls";
        let before = client.query(told).rows().rows;
        for name in [
            "pkcs11:token=tk;object=a;pin-value=5678",
            "pkcs11:token=tk;object=a?pin-value=5678",
            "PKCS11:token=tk;object=a;pin-value=5678",
        ] {
            let (_, words) = client
                .query(&format!(
                    "CREATE TABLE ks.t (k int PRIMARY KEY) WITH encryption = {{'kms_key': '{name}'}}"
                ))
                .error();
            assert!(!words.contains("5678"), "{words}");
        }
        assert_eq!(client.query(told).rows().rows, before);
    });
}
