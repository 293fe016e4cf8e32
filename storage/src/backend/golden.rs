//! A data folder of format version 1 that must open for ever: a log segment, a watermark, both manifest copies, a root.
//!
//! It is written from a seed, so it also holds the writers still: the same work under the same keys and entropy makes the same bytes.
//! When the format changes on purpose, a new sample joins the old one, which stays: `golden-v1-lineage` is the manifest of a folder that is not of the first lineage,
//! `golden-v1-wraps` a log that names its tables' keys more than once. Files are kept without the zeros at their end.

use std::path::PathBuf;
use std::sync::Arc;

use palladium_crypto::{
    ClusterId, CmkRef, KeyRing, Lineage, Secret, SeededEntropy, TableId, TableKey,
};

use super::{Crash, SimulatedBackend, SimulatedDisk};
use crate::commitlog::{CommitLog, CommitLogOptions, Share, read_share};
use crate::env::SimulatedEnv;
use crate::manifest::{Edit, Manifest};
use crate::root::{self, Root, RootState, SERVICE};

const SEED: u64 = 20_260_102;
const TABLE: TableId = TableId([0x42; 16]);
const PAGES: usize = 16;
/// Each file of the sample, where it stands in the folder, and its whole length.
const FILES: [(&str, &str, usize); 5] = [
    ("segment", "log/segment-00000000000000000001", PAGES * 4096),
    ("watermark", "log/watermark", 2 * 4096),
    ("manifest-0", "manifest/00000000000000000001-0", 0),
    ("manifest-1", "manifest/00000000000000000001-1", 0),
    ("root", "roots/42424242424242424242424242424242", 2 * 32768),
];

const LOG: std::ops::Range<usize> = 0..2;
const MANIFESTS: std::ops::Range<usize> = 2..4;
const ROOT: std::ops::Range<usize> = 4..5;
const LINEAGE: Lineage = Lineage(*b"golden lineage 1");

const FIRST: &str = "golden-v1";
const OF_A_LINEAGE: &str = "golden-v1-lineage";
const WITH_WRAPS: &str = "golden-v1-wraps";

fn folder(name: &str) -> PathBuf {
    let backend = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/backend");
    backend.join(name)
}

fn sample(of: &str, name: &str) -> Vec<u8> {
    let file = folder(of).join(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn key(table: TableId, version: u32) -> TableKey {
    let cmk = CmkRef::parse("local:golden").unwrap();
    let secret = Secret::from_bytes([version as u8; 32]);
    TableKey::derive(&secret, ClusterId([7; 16]), table, version, &cmk)
}

fn ring(table: TableId) -> Arc<KeyRing> {
    Arc::new(KeyRing::new(key(table, 2), vec![key(table, 1)]))
}

fn records(sequence: u64) -> Vec<u8> {
    format!("records of group {sequence}").into_bytes()
}

fn golden_root() -> Root {
    let newest = key(TABLE, 2);
    let mut root = Root {
        table: TABLE,
        cmk: CmkRef::parse("local:golden").unwrap(),
        wrapped: vec![0xc4; 93],
        alternatives: Vec::new(),
        version: 2,
        older: vec![newest.wrap_older(&key(TABLE, 1), &SeededEntropy::new(SEED))],
        fingerprints: [1, 2]
            .map(|version| (version, key(TABLE, version).fingerprint()))
            .into(),
        epoch: 5,
        tag: [0; 32],
    };
    root.sign(&newest);
    root
}

fn edits() -> [Edit; 2] {
    let created = Edit::CreateTable {
        table: TABLE,
        log_floor: 1,
    };
    let switched = Edit::RootEpoch {
        table: TABLE,
        epoch: 5,
        root_hash: golden_root().hash(),
    };
    [created, switched]
}

fn options() -> CommitLogOptions {
    CommitLogOptions {
        segment_bytes: (PAGES * 4096) as u64,
        incarnation: 3,
    }
}

fn write(lineage: Lineage) -> Arc<SimulatedDisk> {
    let disk = SimulatedDisk::new();
    let env = SimulatedEnv::new(SEED);
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    env.run(async {
        root::commit(&*backend, &golden_root(), None).await.unwrap();
        let recovered = Manifest::recover(backend.clone(), env.clone(), ring(SERVICE));
        let (mut manifest, _) = recovered.await.unwrap();
        let opened = CommitLog::recover(backend.clone(), env.clone(), ring(SERVICE), options());
        let (mut log, _) = opened.await.unwrap();
        manifest.begin_lineage(lineage);
        for edit in edits() {
            manifest.commit(&[edit]).await.unwrap();
        }
        for sequence in 1..=3 {
            let records = records(sequence);
            let share = Share {
                table: TABLE,
                records,
            };
            log.commit(sequence, vec![(share, ring(TABLE))], sequence as i64)
                .await
                .unwrap();
        }
        log.note_manifest(manifest.sequence());
        log.close(true).await.unwrap();
    });
    drop(backend);
    env.drop_tasks();
    disk.crash(Crash::Kill);
    disk
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(
        bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1),
    );
    bytes
}

#[test]
fn a_data_folder_of_format_1_opens() {
    opens_with_the_log_of(FIRST);
}

#[test]
fn a_log_that_names_its_keys_more_than_once_opens() {
    opens_with_the_log_of(WITH_WRAPS);
}

fn opens_with_the_log_of(log: &str) {
    let disk = SimulatedDisk::new();
    for (number, (name, path, length)) in FILES.into_iter().enumerate() {
        let mut bytes = match LOG.contains(&number) {
            true => sample(log, name),
            false => sample(FIRST, name),
        };
        bytes.resize(bytes.len().max(length), 0);
        disk.replace(path, Some(bytes));
    }
    let env = SimulatedEnv::new(SEED + 1);
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    env.run(async {
        let loaded = root::load(&*backend, TABLE).await.unwrap();
        assert_eq!(loaded.note, None);
        let RootState::Live(root) = loaded.state else {
            panic!("the root is live");
        };
        root.verify(&key(TABLE, 2)).unwrap();
        assert_eq!(*root, golden_root());
        let recovered = Manifest::recover(backend.clone(), env.clone(), ring(SERVICE));
        let (manifest, report) = recovered.await.unwrap();
        assert!(report.notes.is_empty() && report.unfinished.is_empty());
        assert_eq!(report.lineage, Lineage::FIRST);
        let table = &manifest.state().tables[&TABLE];
        assert_eq!((table.epoch, table.root_hash), (5, root.hash()));
        let opened = CommitLog::recover(backend.clone(), env.clone(), ring(SERVICE), options());
        let (_, log) = opened.await.unwrap();
        assert!(log.damage.is_empty() && log.unfinished.is_empty() && log.is_clean_stop);
        assert_eq!((log.last_sequence, log.timestamp_high_water), (3, 3));
        assert_eq!(log.manifest_sequence, report.sequence);
        for (address, sequence) in log.tables[&TABLE].iter().zip(1..) {
            let read = read_share(&*backend, address, &ring(TABLE)).await.unwrap();
            assert_eq!(read, records(sequence));
        }
    });
}

#[test]
fn a_manifest_that_names_its_lineage_opens() {
    let disk = SimulatedDisk::new();
    for (name, path, _) in &FILES[MANIFESTS] {
        disk.replace(path, Some(sample(OF_A_LINEAGE, name)));
    }
    let env = SimulatedEnv::new(SEED + 1);
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    let recovered = Manifest::recover(backend, env.clone(), ring(SERVICE));
    let (manifest, report) = env.run(recovered).unwrap();
    assert!(report.notes.is_empty() && report.unfinished.is_empty());
    assert_eq!((report.lineage, report.sequence), (LINEAGE, 3));
    assert_eq!(manifest.state().tables[&TABLE].epoch, 5);
}

#[test]
fn the_same_work_makes_the_same_bytes() {
    compare(WITH_WRAPS, Lineage::FIRST, &FILES[LOG]);
    compare(FIRST, Lineage::FIRST, &FILES[MANIFESTS]);
    compare(FIRST, Lineage::FIRST, &FILES[ROOT]);
    compare(OF_A_LINEAGE, LINEAGE, &FILES[MANIFESTS]);
}

fn compare(of: &str, lineage: Lineage, files: &[(&str, &str, usize)]) {
    let disk = write(lineage);
    for (name, path, _) in files {
        let written = trimmed(disk.contents(path).unwrap());
        // Run by hand, with the variable set, when a format version is added.
        if std::env::var_os("PALLADIUM_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(folder(of)).unwrap();
            std::fs::write(folder(of).join(name), &written).unwrap();
        }
        assert!(
            written == sample(of, name),
            "{name} is written otherwise than in format 1"
        );
    }
}
