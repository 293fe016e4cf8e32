//! Kill in the middle of schema changes: each is there whole or not at all, and the acknowledged ones are there.
//!
//! One connection makes, fills, alters, empties and drops tables, and notes what each table must be like once the change is acknowledged; the change in
//! flight at the kill may have happened or not. After each restart every table is looked at through the schema and through its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palladium_integration_tests::chance::{Chance, long};
use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::{Answer, Connection, code};

use crate::rows::{int, make_keyspace, text};

/// What a table must be like: its columns beside the key, and the keys of its rows.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    columns: BTreeSet<String>,
    rows: BTreeSet<i32>,
}

/// Every table that is known, and the one whose change is in flight: before (nothing: it did not exist) and after (nothing: it will not).
#[derive(Default)]
struct Book {
    tables: BTreeMap<String, Table>,
    in_flight: Option<(String, Option<Table>, Option<Table>)>,
    next: usize,
    changes: usize,
}

#[test]
fn no_kill_leaves_half_a_schema_change() {
    let mut chance = Chance::for_test("no_kill_leaves_half_a_schema_change");
    let kills = if long() { 100 } else { 12 };
    let mut node = Node::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
    });
    let book = Arc::new(Mutex::new(Book::default()));
    for kill in 0..kills {
        let writer = runtime.spawn(change_until_the_end(
            node.address(),
            Arc::clone(&book),
            Chance::new(chance.number()),
        ));
        std::thread::sleep(Duration::from_millis(20 + chance.below(400) as u64));
        node.kill();
        // The writer ends with its connection; what it was doing is in the book.
        let refused = runtime.block_on(writer).expect("the writer ends by itself");
        assert_eq!(refused, None, "kill {kill}: a change was refused");
        node.restart();
        let mut book = book.lock().expect("the writer has ended");
        runtime.block_on(settle(&node, &mut book));
    }
    let changes = book.lock().expect("the writer has ended").changes;
    println!("{changes} acknowledged changes");
    assert!(changes > kills, "too few changes to mean anything");
    node.stop();
    node.verify().must_succeed("verify");
}

/// Makes changes until the connection ends; gives a refusal, if there was one.
async fn change_until_the_end(
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    mut chance: Chance,
) -> Option<String> {
    let mut connection = Connection::open(address).await.ok()?;
    loop {
        let statement = plan(&mut book.lock().expect("one at a time"), &mut chance);
        match connection.query(&statement).await {
            Err(_) => return None,
            Ok(Answer::Refused { code, message }) => {
                return Some(format!("{statement}: {code:#06x} {message}"));
            }
            Ok(_) => {
                let mut book = book.lock().expect("one at a time");
                let (name, _, after) = book.in_flight.take().expect("a change was in flight");
                book.set(name, after);
                book.changes += 1;
            }
        }
    }
}

impl Book {
    fn set(&mut self, name: String, table: Option<Table>) {
        match table {
            Some(table) => self.tables.insert(name, table),
            None => self.tables.remove(&name),
        };
    }
}

/// Decides the next change and notes what it would lead to.
fn plan(book: &mut Book, chance: &mut Chance) -> String {
    let existing: Vec<String> = book.tables.keys().cloned().collect();
    let choice = chance.below(8);
    if existing.is_empty() || choice == 0 {
        let name = format!("t{}", book.next);
        book.next += 1;
        book.in_flight = Some((name.clone(), None, Some(Table::default())));
        return format!("CREATE TABLE ks.{name} (k int PRIMARY KEY)");
    }
    let name = existing[chance.below(existing.len())].clone();
    let before = book.tables[&name].clone();
    let mut after = before.clone();
    let (statement, after) = match choice {
        1 => (format!("DROP TABLE ks.{name}"), None),
        2 => {
            after.rows.clear();
            (format!("TRUNCATE ks.{name}"), Some(after))
        }
        3 | 4 => {
            let column = format!("c{}", book.next);
            book.next += 1;
            let statement = format!("ALTER TABLE ks.{name} ADD {column} text");
            after.columns.insert(column);
            (statement, Some(after))
        }
        _ => {
            let key = chance.below(1000) as i32;
            after.rows.insert(key);
            (
                format!("INSERT INTO ks.{name} (k) VALUES ({key})"),
                Some(after),
            )
        }
    };
    book.in_flight = Some((name, Some(before), after));
    statement
}

/// Compares what is there with the book, and notes which way the change in flight went.
async fn settle(node: &Node, book: &mut Book) {
    let mut connection = node.connect().await;
    let mut found: BTreeMap<String, Table> = BTreeMap::new();
    for row in connection
        .run("SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'ks'")
        .await
        .rows()
    {
        found.insert(text(&row[0]), Table::default());
    }
    for row in connection
        .run("SELECT table_name, column_name FROM system_schema.columns WHERE keyspace_name = 'ks'")
        .await
        .rows()
    {
        let (name, column) = (text(&row[0]), text(&row[1]));
        let table = found
            .get_mut(&name)
            .unwrap_or_else(|| panic!("{name} has columns and is no table"));
        if column != "k" {
            table.columns.insert(column);
        }
    }
    for (name, table) in &mut found {
        let rows = connection
            .run(&format!("SELECT k FROM ks.{name}"))
            .await
            .rows();
        table.rows = rows.iter().map(|row| int(&row[0])).collect();
    }
    if let Some((name, before, after)) = book.in_flight.take() {
        let now = found.get(&name);
        assert!(
            now == before.as_ref() || now == after.as_ref(),
            "{name} was {before:?}, would be {after:?}, and is {now:?}"
        );
        book.set(name, now.cloned());
    }
    assert_eq!(found, book.tables, "tables after a restart");
    // What is not there cannot be used.
    let (code, _) = connection
        .query("SELECT * FROM ks.nowhere")
        .await
        .expect("the connection holds")
        .refusal();
    assert_eq!(code, code::INVALID);
}
