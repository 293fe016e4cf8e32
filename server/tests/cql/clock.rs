//! A wall clock that somebody sets by hours, forward and back, under a server at work and between two servers: the last write is the one that is read, conditional writes decide on what is
//! there, counters count, and what has a time to live lives by the clock on the wall.

use crate::client::Client;
use crate::scene::{Scene, begin, texts};

const HOUR: i64 = 3_600;

fn number(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query).rows().rows;
    let bytes = |bytes: &bytes::Bytes| {
        bytes
            .iter()
            .fold(0_i64, |n, byte| n << 8 | i64::from(*byte))
    };
    let cell = |cell: &Option<bytes::Bytes>| {
        cell.as_ref()
            .map_or("-".into(), |cell| bytes(cell).to_string())
    };
    rows.iter().flatten().map(cell).collect()
}

/// Everything that a clock could spoil, once; `turn` tells one call from another.
fn work(client: &mut Client, turn: i64) {
    let applied = |client: &mut Client, statement: String| {
        let rows = client.query(&statement).rows().rows;
        rows[0][0].as_deref() == Some(&[1][..])
    };
    client
        .query(&format!("UPDATE ks.v SET v = {turn} WHERE k = 1"))
        .done();
    assert_eq!(
        number(client, "SELECT v FROM ks.v WHERE k = 1"),
        [turn.to_string()]
    );
    // Deleted, and there again.
    client.query("DELETE FROM ks.v WHERE k = 1").done();
    assert!(number(client, "SELECT v FROM ks.v WHERE k = 1").is_empty());
    client
        .query(&format!("INSERT INTO ks.v (k, v) VALUES (1, {turn})"))
        .done();
    assert_eq!(
        number(client, "SELECT v FROM ks.v WHERE k = 1"),
        [turn.to_string()]
    );
    let before = turn - 1;
    assert!(!applied(
        client,
        format!("INSERT INTO ks.v (k, v) VALUES (2, {turn}) IF NOT EXISTS")
    ));
    assert!(applied(
        client,
        format!("UPDATE ks.v SET v = {turn} WHERE k = 2 IF v = {before}")
    ));
    assert!(!applied(
        client,
        format!("UPDATE ks.v SET v = {turn} WHERE k = 2 IF v = {before}")
    ));
    assert!(applied(
        client,
        "DELETE FROM ks.v WHERE k = 2 IF EXISTS".into()
    ));
    assert!(applied(
        client,
        format!("INSERT INTO ks.v (k, v) VALUES (2, {turn}) IF NOT EXISTS")
    ));
    assert_eq!(
        number(client, "SELECT v FROM ks.v WHERE k = 2"),
        [turn.to_string()]
    );
    client.query("UPDATE ks.n SET n = n + 1 WHERE k = 1").done();
    assert_eq!(
        number(client, "SELECT n FROM ks.n WHERE k = 1"),
        [turn.to_string()]
    );
}

#[test]
fn a_wall_clock_that_is_set_by_hours_misleads_no_write() {
    let scene = Scene::new(false);
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        turn
    };
    scene.serve(|_, client| {
        begin(client);
        for statement in [
            "CREATE TABLE ks.v (k int PRIMARY KEY, v int)",
            "CREATE TABLE ks.n (k int PRIMARY KEY, n counter)",
            "INSERT INTO ks.v (k, v) VALUES (2, 0)",
        ] {
            client.query(statement).done();
        }
        for hours in [0, 5, -9, 12, -3] {
            scene.env.step_wall(hours * HOUR);
            work(client, next());
        }
    });
    // A start under a clock that shows less than the last one saw, and one under a clock that shows more.
    for hours in [-7, 11] {
        scene.env.step_wall(hours * HOUR);
        scene.serve(|_, client| {
            work(client, next());
            assert_eq!(texts(client, "SELECT k FROM ks.t").len(), 1);
        });
    }
}

#[test]
fn a_clock_that_was_ahead_for_a_while_leaves_no_rows_in_views_that_their_base_has_not() {
    let scene = Scene::new(false);
    scene.serve(|_, client| {
        begin(client);
        for statement in [
            "CREATE TABLE ks.v (k int PRIMARY KEY, v int, w int)",
            "CREATE MATERIALIZED VIEW ks.by_v AS SELECT * FROM ks.v WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)",
            "INSERT INTO ks.v (k, v, w) VALUES (1, 1, 1) USING TTL 1800",
        ] {
            client.query(statement).done();
        }
        scene.env.step_wall(HOUR);
        client.query("UPDATE ks.v SET v = 2 WHERE k = 1").done();
        let base = |client: &mut Client| number(client, "SELECT v, k, w FROM ks.v");
        let view = |client: &mut Client| number(client, "SELECT v, k, w FROM ks.by_v");
        assert_eq!(base(client), ["2", "1", "-"]);
        assert_eq!(view(client), ["2", "1", "-"]);
        scene.env.step_wall(-HOUR);
        assert_eq!(base(client), ["2", "1", "1"]);
        assert_eq!(view(client), ["2", "1", "1"]);
        client.query("DELETE FROM ks.v WHERE k = 1").done();
        assert!(base(client).is_empty());
        assert!(view(client).is_empty());
    });
}

#[test]
fn what_has_a_time_to_live_lives_by_the_clock_on_the_wall() {
    let scene = Scene::new(false);
    scene.serve(|_, client| {
        begin(client);
        client
            .query("CREATE TABLE ks.v (k int PRIMARY KEY, v int)")
            .done();
        client
            .query("INSERT INTO ks.v (k, v) VALUES (1, 1) USING TTL 7200")
            .done();
        client.query("INSERT INTO ks.v (k, v) VALUES (2, 2)").done();
        let keys = |client: &mut Client| number(client, "SELECT k FROM ks.v").len();
        scene.env.step_wall(HOUR);
        assert_eq!(keys(client), 2);
        scene.env.step_wall(2 * HOUR);
        assert_eq!(keys(client), 1, "its time is over");
        scene.env.step_wall(-3 * HOUR);
        assert_eq!(keys(client), 2, "nobody had taken it away yet");
        scene.env.step_wall(3 * HOUR);
        client
            .query("INSERT INTO ks.v (k, v) VALUES (3, 3) USING TTL 7200")
            .done();
        assert_eq!(keys(client), 2);
    });
}
