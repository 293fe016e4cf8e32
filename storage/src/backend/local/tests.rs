//! The local backend on real files.

use std::time::Duration;

use palladium_crypto::{ClusterId, CmkRef, Entropy, KeyRing, Secret, SeededEntropy, TableKey};

use super::*;
use crate::commitlog::{CommitLog, CommitLogOptions, Share, read_share};
use crate::env::{BoxFuture, Env};
use crate::manifest::{Edit, Manifest};

fn open(directory: &Path) -> LocalBackend {
    LocalBackend::open(directory, LocalOptions::default()).unwrap()
}

fn part(bytes: usize) -> Public {
    Public::padding(bytes)
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_folder_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let refused = LocalBackend::open(directory.path(), LocalOptions::default());
    assert!(matches!(refused, Err(Error::Busy { what }) if what.contains("in use")));
    drop(first);
    open(directory.path());
}

#[tokio::test]
async fn what_was_appended_is_read_back_and_past_the_end_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path());
    let lengths = Public::block_lengths(&[1, 2, 3]);
    let page = part(4096 - lengths.bytes().len());
    backend
        .log_create(1, 64 * 1024, &[(&part(8192)).into()])
        .await
        .unwrap();
    let group = [Part::from(&lengths), Part::from(&page)];
    backend
        .log_append(1, 8192, &group, Durability::Now)
        .await
        .unwrap();
    backend
        .log_append(1, 12288, &group, Durability::Later)
        .await
        .unwrap();
    backend.log_sync(1).await.unwrap();
    for offset in [8192, 12288] {
        assert_eq!(
            backend.log_read(1, offset, 12).await.unwrap(),
            lengths.bytes()
        );
    }
    let past = backend.log_read(1, 64 * 1024 - 1, 2).await;
    assert!(matches!(past, Err(Error::Corrupt { .. })));
    let listed = backend.log_list().await.unwrap();
    let bytes = 64 * 1024;
    assert_eq!(listed, [LogSegment { number: 1, bytes }]);
}

#[tokio::test]
async fn a_prepared_segment_is_used_and_an_unexpected_append_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path());
    backend.log_prepare(7, 16 * 1024).await.unwrap();
    backend
        .log_create(7, 16 * 1024, &[(&part(4096)).into()])
        .await
        .unwrap();
    let refused = backend
        .log_append(8, 0, &[(&part(4096)).into()], Durability::Now)
        .await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    backend.log_remove(&[7]).await.unwrap();
    assert!(backend.log_list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_blob_is_whole_after_finish_and_gone_after_remove() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path());
    let blob = StructureId([5; 16]);
    let mut sink = backend.blob_create(blob).await.unwrap();
    let words: Vec<u32> = (0..200_000).collect();
    let bytes = Public::block_lengths(&words);
    sink.write((&bytes).into()).await.unwrap();
    sink.write((&bytes).into()).await.unwrap();
    assert_eq!(sink.position(), 1_600_000);
    assert_eq!(sink.finish().await.unwrap(), 1_600_000);
    assert_eq!(backend.blob_size(blob).await.unwrap(), 1_600_000);
    assert_eq!(
        backend.blob_read(blob, 800_000, 800_000).await.unwrap(),
        bytes.bytes()
    );
    let mut now = b"before".to_vec();
    if let Some(read) = backend.blob_read_now(blob, 4, 8, &mut now) {
        read.unwrap();
        assert_eq!(now, [b"before".as_slice(), &bytes.bytes()[4..12]].concat());
    }
    assert_eq!(backend.blob_list().await.unwrap(), [blob]);
    backend.blob_remove(blob).await.unwrap();
    backend.blob_remove(blob).await.unwrap();
    assert!(matches!(
        backend.blob_read(blob, 0, 1).await,
        Err(Error::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_folder_that_is_moved_away_is_not_taken_for_damage_and_nothing_for_removed() {
    let place = tempfile::tempdir().unwrap();
    let (data, away) = (place.path().join("data"), place.path().join("away"));
    let blob = StructureId([5; 16]);
    let backend = open(&data);
    let mut sink = backend.blob_create(blob).await.unwrap();
    sink.write((&part(64)).into()).await.unwrap();
    sink.finish().await.unwrap();
    drop(backend);
    let backend = open(&data);
    std::fs::rename(&data, &away).unwrap();
    let read = backend.blob_read(blob, 0, 64).await;
    assert!(matches!(read, Err(Error::Io { .. })), "{read:?}");
    let removed = backend.blob_remove(blob).await;
    assert!(matches!(removed, Err(Error::Io { .. })), "{removed:?}");
    std::fs::rename(&away, &data).unwrap();
    assert_eq!(backend.blob_read(blob, 0, 64).await.unwrap(), [0; 64]);
    backend.blob_remove(blob).await.unwrap();
}

#[tokio::test]
async fn what_is_only_read_is_opened_for_reading_so_that_a_disk_that_became_read_only_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let blob = StructureId([5; 16]);
    let backend = open(directory.path());
    let mut sink = backend.blob_create(blob).await.unwrap();
    sink.write((&part(64)).into()).await.unwrap();
    sink.finish().await.unwrap();
    let path = directory.path().join(blob_path(blob));
    assert_eq!(
        access_modes(&path),
        [libc::O_RDWR],
        "still that of its sink"
    );
    drop(backend);
    let backend = open(directory.path());
    assert_eq!(backend.blob_read(blob, 0, 64).await.unwrap(), [0; 64]);
    assert_eq!(access_modes(&path), [libc::O_RDONLY]);
}

/// How this process may use what it has open at `path`: the superuser may do more than a file's mode says, but not more than a descriptor's.
fn access_modes(path: &Path) -> Vec<i32> {
    let path = path.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let here = open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path));
    here.map(|entry| {
        let told = Path::new("/proc/self/fdinfo").join(entry.file_name());
        let told = std::fs::read_to_string(told).unwrap();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        flags & libc::O_ACCMODE
    })
    .collect()
}

#[tokio::test]
async fn an_unknown_file_is_named_and_known_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path());
    backend.log_prepare(1, 4096).await.unwrap();
    backend
        .manifest_create(1, &[(&part(32)).into()])
        .await
        .unwrap();
    backend
        .watermark_store(0, &[(&part(32)).into()])
        .await
        .unwrap();
    assert!(backend.unknown_files().await.unwrap().is_empty());
    std::fs::write(directory.path().join("blobs/notes.txt"), b"").unwrap();
    assert_eq!(backend.unknown_files().await.unwrap(), ["blobs/notes.txt"]);
}

#[test]
fn what_is_not_a_data_folder_is_not_made_one() {
    let directory = tempfile::tempdir().unwrap();
    let refused = LocalBackend::open_existing(directory.path(), LocalOptions::default());
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    drop(open(directory.path()));
    LocalBackend::open_existing(directory.path(), LocalOptions::default()).unwrap();
}

#[tokio::test]
async fn a_sink_keeps_the_folder_owned_until_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path());
    let blob = StructureId([6; 16]);
    let sink = backend.blob_create(blob).await.unwrap();
    drop(backend);
    assert!(matches!(
        LocalBackend::open(directory.path(), LocalOptions::default()),
        Err(Error::Busy { .. })
    ));
    sink.finish().await.unwrap();
    open(directory.path());
}

struct TokioEnv(SeededEntropy);

impl Env for TokioEnv {
    fn wall_micros(&self) -> i64 {
        1
    }

    fn boot_nanos(&self) -> u64 {
        1
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn entropy(&self) -> &dyn Entropy {
        &self.0
    }
}

fn ring(table: TableId) -> Arc<KeyRing> {
    let cmk = CmkRef::parse("local:test").unwrap();
    let secret = Secret::from_bytes([1; 32]);
    let key = TableKey::derive(&secret, ClusterId([1; 16]), table, 1, &cmk);
    Arc::new(KeyRing::new(key, Vec::new()))
}

#[tokio::test]
async fn log_and_manifest_live_through_several_lives_on_real_files() {
    let table = TableId([9; 16]);
    for log_is_direct in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let env = Arc::new(TokioEnv(SeededEntropy::new(u64::from(log_is_direct))));
        let mut sequence = 0;
        for life in 1..4 {
            let options = LocalOptions {
                log_is_direct,
                ..LocalOptions::default()
            };
            let backend = Arc::new(LocalBackend::open(directory.path(), options).unwrap());
            let service = ring(crate::root::SERVICE);
            let recovered = Manifest::recover(backend.clone(), env.clone(), service.clone()).await;
            let (mut manifest, report) = recovered.unwrap();
            assert!(report.notes.is_empty() && manifest.state().tables.len() == life as usize - 1);
            let created = Edit::CreateTable {
                table: TableId([life as u8; 16]),
                log_floor: 1,
            };
            manifest.commit(&[created]).await.unwrap();
            let options = CommitLogOptions {
                segment_bytes: 128 * 1024,
                incarnation: life,
            };
            let (mut log, found) =
                CommitLog::recover(backend.clone(), env.clone(), service, options)
                    .await
                    .unwrap();
            assert_eq!(found.damage, []);
            assert_eq!(found.last_sequence, sequence);
            for address in found.tables.get(&table).into_iter().flatten() {
                let records = read_share(&*backend, address, &ring(table)).await.unwrap();
                assert_eq!(records, vec![address.sequence as u8; 3000]);
            }
            for _ in 0..60 {
                sequence += 1;
                let records = vec![sequence as u8; 3000];
                let share = Share { table, records };
                log.commit(sequence, vec![(share, ring(table))], 0)
                    .await
                    .unwrap();
            }
            if life % 2 == 0 {
                log.close(true).await.unwrap();
            }
            drop((log, manifest));
            // What is still being prepared holds the backend for a moment.
            while Arc::strong_count(&backend) > 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}
