//! The log: each change of a table's state is one line, with the table's id, its key and why; and no name.

use std::io;
use std::sync::Mutex;

use super::world::*;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, until the guard is dropped.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines about a table since this was last asked; there are no others with a name in them.
    fn of(&self, table: TableId) -> Vec<String> {
        let text = self.nameless();
        let id = format!("table={table}");
        let lines = text.lines().filter(|line| line.contains(&id));
        lines.map(str::to_owned).collect()
    }

    /// All lines since this was last asked.
    fn nameless(&self) -> String {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        for name in ["orders", "invoices", "shop", "alice"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        text
    }
}

fn is_one(lines: &[String], said: &str, more: &[&str]) {
    let [line] = lines else {
        panic!("one line says '{said}': {lines:?}");
    };
    let key = format!("key={}", owner());
    let key_quoted = format!("key=\"{}\"", owner());
    assert!(line.contains(said), "{line}");
    assert!(line.contains(&key) || line.contains(&key_quoted), "{line}");
    for word in more {
        assert!(line.contains(word), "{word} in {line}");
    }
}

/// In a process of its own: whether a line is wanted is remembered for the whole process, and other tests want none.
#[test]
fn each_change_of_state_is_one_line_with_table_key_and_reason() {
    const STORY: &str = "KEYS_LINES_STORY";
    if std::env::var_os(STORY).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        return runtime.unwrap().block_on(changes_of_state());
    }
    let name = "lines::each_change_of_state_is_one_line_with_table_key_and_reason";
    let told = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(STORY, "told")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    let trouble = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{text}{trouble}");
    assert!(text.contains("1 passed"), "{text}");
}

async fn changes_of_state() {
    let log = Log::default();
    let _guard = log.listen();
    let world = World::new().await;
    is_one(&log.of(ORDERS), "the table's key is at hand", &[]);
    world.fall_asleep().await;
    is_one(&log.of(ORDERS), "the table sleeps", &["reason=\"idle\""]);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    is_one(&log.of(ORDERS), "the table's key is at hand", &[]);
    world.deny(&owner(), DenialReason::Disabled);
    world.env.advance(LEASE_SECONDS);
    // Refused again and again, it is one change.
    for _ in 0..5 {
        world.refused(ORDERS).await;
        world.env.advance(6);
        world.keeper.step().await;
    }
    is_one(
        &log.of(ORDERS),
        "the table's key is inaccessible",
        &["WARN", "reason=Disabled"],
    );
    // Another reason is another line.
    world.deny(&owner(), DenialReason::PendingDeletion);
    world.env.advance(6);
    world.refused(ORDERS).await;
    is_one(
        &log.of(ORDERS),
        "the table's key is inaccessible",
        &["reason=PendingDeletion"],
    );
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    is_one(
        &log.of(ORDERS),
        "the table's key is back",
        &["reason=PendingDeletion", "since="],
    );
    // Renewed, it is the same state.
    for _ in 0..60 {
        world.write(ORDERS).await.unwrap();
        world.env.advance(10);
        world.keeper.step().await;
    }
    assert!(log.of(ORDERS).is_empty());
    an_event_that_the_trail_cannot_hold_is_named_without_names(&log).await;
}

async fn an_event_that_the_trail_cannot_hold_is_named_without_names(log: &Log) {
    let (audit, closed) = Audit::new();
    drop(closed);
    let event = Event {
        table: Some(("shop".into(), "orders".into())),
        key: Some(owner()),
        context: Some(EncryptionContext::for_table("shop", "orders", "me")),
        outcome: Err("AccessDenied: not alice".into()),
        asker: Asker {
            who: "alice".into(),
            ..Asker::server()
        },
        ..Event::of_server("Decrypt", 7)
    };
    audit.record(event).await;
    let text = log.nameless();
    for word in [
        "operation=\"Decrypt\"",
        "at=7",
        "key=vault:owner",
        "is_ok=false",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
