//! A disk that is really full: a small tmpfs under the data folder (`TESTS_LONG=1`, as superuser).
//!
//! Writes fail and say why; reads go on; nothing that was acknowledged is lost; and when room is made, writes come back by themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;

use palladium_integration_tests::chance::long;
use palladium_integration_tests::node::{Node, Settings};

use crate::rows::Place;
use crate::runtimes::one_thread;
use crate::shortage::{assert_kept_over_a_kill, begin, read, write_again, write_until_refused};

const DISK_BYTES: u64 = 48 << 20;

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_comes_back_by_itself() {
    if !long() {
        return;
    }
    let settings = Settings {
        config:
            "log_segment_bytes = 1048576\nlog_bytes_max = 8388608\nmemtable_flush_bytes = 2097152\n"
                .into(),
        disk_bytes: Some(DISK_BYTES),
        ..Settings::default()
    };
    let node = Node::start_with(settings);
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(async {
        let mut connection = begin(&node, 100, 50, &mut wanted).await;
        let ballast = node.data().join("ballast");
        fill(&ballast);
        write_until_refused(&mut connection, &mut wanted, "full").await;
        assert_eq!(read(&mut connection).await, wanted, "reads go on");
        fs::remove_file(&ballast).expect("the ballast can go");
        write_again(&mut connection, &mut wanted).await;
        assert_eq!(read(&mut connection).await, wanted);
    });
    assert_kept_over_a_kill(node, &runtime, &wanted);
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).expect("a file can be made");
    for piece in [1 << 20, 4096] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
    }
}
