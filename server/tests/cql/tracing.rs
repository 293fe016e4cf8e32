//! Tracing: whoever asks for it gets an id, and finds under it what happened, without a value of anybody's.

use crate::client::{Client, Node, Rows, Value, with_server};

fn texts(rows: &Rows, column: &str) -> Vec<String> {
    let place = rows.columns.iter().position(|(name, _)| name == column);
    let place = place.expect("a column of this name");
    rows.rows
        .iter()
        .map(|row| {
            let cell = row[place].as_deref().unwrap_or_default();
            String::from_utf8_lossy(cell).into_owned()
        })
        .collect()
}

/// The activities of the last request's trace, and all that its session shows, as one text.
fn trace(client: &mut Client) -> (Vec<String>, String) {
    let id = uuid::Uuid::from_bytes(client.trace.expect("a trace"));
    client.tracing = false;
    let events = client
        .query(&format!(
            "SELECT * FROM system_traces.events WHERE session_id = {id}"
        ))
        .rows();
    let session = client
        .query(&format!(
            "SELECT JSON * FROM system_traces.sessions WHERE session_id = {id}"
        ))
        .rows();
    client.tracing = true;
    assert_eq!(session.rows.len(), 1);
    (
        texts(&events, "activity"),
        texts(&session, "[json]").join(""),
    )
}

#[test]
fn a_traced_request_shows_its_way_and_no_value() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k text, c int, v text, PRIMARY KEY (k, c))")
            .done();
        client
            .query("INSERT INTO ks.t (k, c, v) VALUES ('Kappa', 1, 'Ypsilon')")
            .done();
        assert_eq!(client.trace, None);
        client.tracing = true;
        let prepared =
            client.prepare("UPDATE ks.t SET v = ? WHERE k = ? AND c = ? IF v = 'Ypsilon'");
        let mut all = Vec::new();
        for (statement, step) in [
            (
                "INSERT INTO ks.t (k, c, v) VALUES ('Kappa', 7654321, 'Ypsilon')",
                "Mutations are durable and in their memtables",
            ),
            (
                "SELECT * FROM ks.t WHERE k = 'Kappa'",
                "Read 2 live rows and 0 tombstone cells from 1 memtables and 0 SSTables",
            ),
            ("SELECT * FROM ks.t", "Executing range query on t"),
            (
                "CREATE TABLE ks.other (k int PRIMARY KEY) WITH comment = 'Ypsilon'",
                "The schema change is durable",
            ),
            (
                "SELECT * FROM ks.t WHERE nope = 'Kappa'",
                "Request failed with error 0x2200",
            ),
            ("SELECT Kappa", "Request failed with error 0x2000"),
        ] {
            client.query(statement);
            let (steps, session) = trace(&mut client);
            assert!(
                steps.iter().any(|found| found == step),
                "{statement}: {steps:#?}"
            );
            assert!(session.contains("\"client\": \"127.0.0.1\""), "{session}");
            assert!(session.contains("Execute CQL3 query"), "{session}");
            all.push(session);
            all.extend(steps);
        }
        let values = ["v".into(), "Kappa".into(), Value::from(1)];
        client.execute(&prepared, &values).rows();
        let (steps, session) = trace(&mut client);
        assert!(session.contains("Execute CQL3 prepared query"), "{session}");
        assert!(session.contains("IF v = ?"), "{session}");
        assert!(
            steps
                .iter()
                .any(|step| step == "Holding the latches of 1 partitions")
        );
        all.push(session);
        all.extend(steps);
        for text in all {
            for value in ["Kappa", "Ypsilon", "7654321"] {
                assert!(!text.contains(value), "{text}");
            }
        }
    });
}

#[test]
fn a_trace_shows_what_was_read_of_the_disk() {
    let node = Node::start();
    let mut client = Client::connect(node.address());
    client
        .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    client
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
        .done();
    client.query("INSERT INTO ks.t (k, v) VALUES (1, 1)").done();
    node.flush();
    client.tracing = true;
    client.query("SELECT * FROM ks.t WHERE k = 1").rows();
    let (steps, _) = trace(&mut client);
    let read = steps
        .iter()
        .find(|step| step.starts_with("Read 1 live rows"));
    assert!(
        read.is_some_and(|step| step.contains("and 1 SSTables")),
        "{steps:#?}"
    );
    drop(client);
    node.stop();
}

#[test]
fn who_logs_in_sees_the_traces_of_his_own_requests() {
    let node = Node::start_with_roles();
    let login = |name| Client::connect_as(node.address(), name, name).expect("a login");
    let mut admin = login("cassandra");
    for name in ["one", "other"] {
        let role = format!("CREATE ROLE {name} WITH PASSWORD = '{name}' AND LOGIN = true");
        admin.query(&role).done();
    }
    let (mut one, mut other) = (login("one"), login("other"));
    one.tracing = true;
    one.query("SELECT key FROM system.local").rows();
    let id = uuid::Uuid::from_bytes(one.trace.expect("a trace"));
    one.tracing = false;
    let seen = |client: &mut Client| {
        let session = format!("SELECT * FROM system_traces.sessions WHERE session_id = {id}");
        let events = format!("SELECT * FROM system_traces.events WHERE session_id = {id}");
        client.query(&session).rows().rows.len() + client.query(&events).rows().rows.len()
    };
    assert!(seen(&mut one) > 1);
    assert!(seen(&mut admin) > 1);
    assert_eq!(seen(&mut other), 0);
    node.stop();
}
