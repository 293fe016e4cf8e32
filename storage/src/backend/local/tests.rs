//! The local backend on real files.

use super::*;

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
    backend.log_remove(7).await.unwrap();
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
