//! What an operator gets back whose log has lost a page, its watermark, or a record of what he ordered.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use palladium::env::RealEnv;
use palladium::server::Server;

use crate::audit::Scene;
use crate::client::Client;
use crate::scene::after_the_last;

const PAGE: usize = 4096;

/// The log's only segment.
fn segment(scene: &Scene) -> PathBuf {
    let files = fs::read_dir(scene.config.data.join("log")).expect("the log is there");
    let mut paths = files.map(|file| file.expect("an entry").path());
    paths
        .find(|path| {
            path.to_string_lossy()
                .ends_with("segment-00000000000000000001")
        })
        .expect("the first segment")
}

/// Pages with which a group of the log begins.
fn groups(scene: &Scene) -> Vec<usize> {
    let bytes = fs::read(segment(scene)).expect("it can be read");
    let pages = bytes.chunks(PAGE).enumerate();
    let begun = pages.filter(|(_, page)| page.starts_with(b"PGRP"));
    begun.map(|(number, _)| number).collect()
}

/// A keyspace, a table, and 20 rows. Gives the pages of groups that hold a row and nothing else.
fn live(scene: &Scene) -> Vec<usize> {
    let mut of_rows = Vec::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        client.query("CREATE INDEX of_v ON ks.t (v)").done();
        let mut before = groups(scene).len();
        for k in 0..20 {
            client
                .query(&format!("INSERT INTO ks.t (k, v) VALUES ({k}, 7)"))
                .done();
            let now = groups(scene);
            // Where there are more, the server has written something of its own beside.
            if let [one] = now[before..] {
                of_rows.push(one);
            }
            before = now.len();
        }
    });
    of_rows
}

/// A page that the disk cannot give any more.
fn lose_page(scene: &Scene, number: usize) {
    let path = segment(scene);
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[number * PAGE..][..PAGE].fill(0);
    fs::write(&path, bytes).expect("it can be written");
}

/// Rows that are there, and events of salvages.
fn rows_and_events(scene: &Scene, rows: usize) -> usize {
    let mut events = 0;
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        let found = client.query("SELECT k FROM ks.t").rows().rows;
        assert_eq!(found.len(), rows);
        client.query("INSERT INTO ks.t (k, v) VALUES (5, 8)").done();
        client.query("CREATE TABLE ks.other (k int PRIMARY KEY)").done();
        let told = client.query("SELECT outcome FROM system_palladium.kms_calls WHERE operation = 'SALVAGE' ALLOW FILTERING");
        events = told.rows().rows.len();
    });
    scene.must_end_with(0, &["verify"], true);
    scene.must_end_with(0, &["audit", "verify"], true);
    events
}

#[test]
fn a_lost_page_of_the_log_keeps_nobody_from_the_rest() {
    let scene = Scene::new();
    let pages = live(&scene);
    lose_page(&scene, pages[pages.len() / 2]);
    scene.must_end_with(1, &["verify"], true);
    let env = Arc::new(RealEnv::default());
    let start = async || Server::start(scene.config.clone(), env.clone()).await;
    let started = scene.wait_for(after_the_last(start));
    assert!(started.is_err(), "nobody knows whether it was the schema's");
    let before = fs::read(segment(&scene)).expect("it can be read");
    scene.must_end_with(2, &["salvage"], true);
    scene.must_end_with(2, &["salvage", "--yes"], true);
    scene.must_end_with(2, &["salvage", "--own-too"], true);
    let after = fs::read(segment(&scene)).expect("it can be read");
    assert!(before == after, "nothing was changed");
    scene.must_end_with(0, &["salvage", "--yes", "--own-too"], true);
    scene.must_end_with(0, &["verify"], true);
    // The schema, the trail, the certificates and the table.
    assert_eq!(rows_and_events(&scene, 19), 4);
}

#[test]
fn a_schema_that_would_not_hold_together_is_not_given_up() {
    let scene = Scene::new();
    let mut of_keyspace = Vec::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        let before = groups(&scene).len();
        scene.make_keyspace(&mut client);
        of_keyspace = groups(&scene).split_off(before);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
    });
    of_keyspace.iter().for_each(|page| lose_page(&scene, *page));
    let before = fs::read(segment(&scene)).expect("it can be read");
    scene.must_end_with(2, &["salvage", "--own-too"], true);
    scene.must_end_with(2, &["salvage", "--yes", "--own-too"], true);
    let after = fs::read(segment(&scene)).expect("it can be read");
    assert!(before == after, "nothing was changed");
}

#[test]
fn what_was_written_of_a_lost_column_is_shown_in_no_other() {
    let scene = Scene::new();
    let mut of_column = Vec::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
        let before = groups(&scene).len();
        client.query("ALTER TABLE ks.t ADD v int").done();
        of_column = groups(&scene).split_off(before);
        client.query("INSERT INTO ks.t (k, v) VALUES (1, 7)").done();
    });
    of_column.iter().for_each(|page| lose_page(&scene, *page));
    scene.must_end_with(0, &["salvage", "--yes", "--own-too"], true);
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        client.query("ALTER TABLE ks.t ADD w int").done();
        let found = client.query("SELECT * FROM ks.t").rows();
        assert_eq!(found.columns.len(), 2, "v is lost");
        assert_eq!(found.rows.len(), 1);
        assert_eq!(found.rows[0][1], None);
    });
}

#[test]
fn a_lost_watermark_of_the_log_loses_no_row() {
    let scene = Scene::new();
    live(&scene);
    fs::remove_file(scene.config.data.join("log/watermark")).expect("it is there");
    scene.must_end_with(1, &["verify"], true);
    scene.must_end_with(2, &["salvage"], true);
    scene.must_end_with(1, &["verify"], true);
    scene.must_end_with(0, &["salvage", "--yes"], true);
    assert_eq!(rows_and_events(&scene, 20), 1);
}

#[test]
fn a_spare_copy_that_the_log_has_lost_is_mended_and_nothing_goes() {
    let scene = Scene::new();
    let pages = live(&scene);
    let path = segment(&scene);
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[pages[3] * PAGE + 20] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    scene.must_end_with(1, &["verify"], true);
    scene.must_end_with(2, &["salvage"], true);
    scene.must_end_with(0, &["salvage", "--yes"], true);
    scene.must_end_with(0, &["verify"], true);
    scene.must_end_with(0, &["salvage"], true);
    assert_eq!(rows_and_events(&scene, 20), 1);
}
