//! A disk that is really full, or read-only: a small tmpfs under the data folder (`TESTS_LONG=1`, as superuser).
//!
//! Writes fail and say why; reads go on; nothing that was acknowledged is lost; and when the disk takes bytes again, writes come back by themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use palladium_integration_tests::chance::long;
use palladium_integration_tests::node::{Node, Settings};

use crate::rows::Place;
use crate::runtimes::one_thread;
use crate::shortage::{assert_kept_over_a_kill, begin, read, write_again, write_until_refused};

const DISK_BYTES: u64 = 48 << 20;

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_comes_back_by_itself() {
    tell("full", |node| Ballast::fill(node.data().join("ballast")));
}

#[test]
fn a_disk_that_becomes_read_only_refuses_writes_answers_reads_and_comes_back_by_itself() {
    // Laid over it: a disk with files that are open for writing cannot be made read-only.
    tell("Read-only", |node| ReadOnly::lay_over(node.data()));
}

#[test]
fn a_table_that_is_not_open_yet_is_read_from_a_disk_that_has_become_read_only() {
    if !long() {
        return;
    }
    let mut node = node_with_a_disk();
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(begin(&node, 20, 10, &mut wanted));
    node.flush();
    // A table is opened with the first request for it.
    node.stop();
    node.restart();
    let over = ReadOnly::lay_over(node.data());
    runtime.block_on(async {
        let mut connection = node.connect().await;
        assert_eq!(read(&mut connection).await, wanted);
    });
    drop(over);
    assert_kept_over_a_kill(node, &runtime, &wanted);
}

#[test]
fn a_folder_on_a_read_only_disk_can_be_verified() {
    if !long() {
        return;
    }
    let mut node = node_with_a_disk();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    one_thread().block_on(begin(&node, 20, 10, &mut wanted));
    node.stop();
    let over = ReadOnly::lay_over(node.data());
    node.verify().must_succeed("verify");
    assert!(node.try_restart().is_err(), "nothing can be written there");
    assert!(node.log().contains("Read-only"), "{}", node.log());
    drop(over);
    node.verify().must_succeed("verify");
    node.restart();
}

/// What happens while the disk takes nothing, and once it does again: as soon as what `trouble` gives is dropped. Refusals say `words`.
fn tell<T>(words: &str, trouble: impl FnOnce(&Node) -> T) {
    if !long() {
        return;
    }
    let node = node_with_a_disk();
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(async {
        let mut connection = begin(&node, 100, 50, &mut wanted).await;
        let trouble = trouble(&node);
        write_until_refused(&mut connection, &mut wanted, words).await;
        assert_eq!(read(&mut connection).await, wanted, "reads go on");
        drop(trouble);
        write_again(&mut connection, &mut wanted).await;
        assert_eq!(read(&mut connection).await, wanted);
    });
    assert_kept_over_a_kill(node, &runtime, &wanted);
}

/// A server whose data folder is a small disk of its own, and which needs new files soon.
fn node_with_a_disk() -> Node {
    Node::start_with(Settings {
        config:
            "log_segment_bytes = 1048576\nlog_bytes_max = 8388608\nmemtable_flush_bytes = 2097152\n"
                .into(),
        disk_bytes: Some(DISK_BYTES),
        ..Settings::default()
    })
}

/// The same folder once more over itself, read-only.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn lay_over(folder: PathBuf) -> Self {
        mount(&["--bind"], &folder, &folder);
        let over = ReadOnly(folder);
        mount(&["-o", "remount,bind,ro"], &over.0, &over.0);
        over
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Lazily: what the server has opened meanwhile, it keeps open. What stays mounted is noticed by whoever writes next.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], source: &Path, target: &Path) {
    let mut command = Command::new("mount");
    let mounted = command.args(options).arg(source).arg(target).status();
    let mounted = mounted.expect("mount can be started");
    assert!(mounted.success(), "mount {options:?}");
}

/// A file that takes all the room there is.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(path: PathBuf) -> Self {
        let mut file = File::create(&path).expect("a file can be made");
        for piece in [1 << 20, 4096] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // What stays is noticed by whoever writes next.
        let _ = fs::remove_file(&self.0);
    }
}
