//! The Rust driver: every type there and back by prepared statements, 50,000 rows in pages, schema changes, and the right error for a bad statement.
//!
//! The drivers of other languages tell the same story in `clients/`. `TESTS_AGAINST=HOST:PORT` runs this one against a server that is there already, which is
//! how the story itself was proven on Apache Cassandra.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use palladium_integration_tests::node::Node;
use scylla::client::pager::NextPageError;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PagerExecutionError, RequestAttemptError};
use scylla::frame::Compression;
use scylla::statement::Statement;
use scylla::value::{
    Counter, CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue,
    CqlVarint, Row,
};
use scylla::{DeserializeValue, SerializeValue};
use uuid::Uuid;

use crate::runtimes::two_threads;

/// A server of ours, or the one that was named.
struct Server {
    address: SocketAddr,
    _node: Option<Node>,
}

fn server() -> Server {
    match std::env::var("TESTS_AGAINST") {
        Ok(address) => Server {
            address: address
                .parse()
                .expect("TESTS_AGAINST is an address and a port"),
            _node: None,
        },
        Err(_) => {
            let node = Node::start();
            Server {
                address: node.address(),
                _node: Some(node),
            }
        }
    }
}

async fn connect(server: &Server, compression: Option<Compression>) -> Session {
    SessionBuilder::new()
        .known_node_addr(server.address)
        .compression(compression)
        .build()
        .await
        .expect("the driver connects")
}

/// A keyspace of its own, in use.
async fn keyspace(session: &Session) -> String {
    let name = format!("rust_{}", &Uuid::new_v4().simple().to_string()[..12]);
    run(session, &format!("CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")).await;
    session.use_keyspace(&name, false).await.expect("USE works");
    name
}

async fn run(session: &Session, text: &str) {
    session
        .query_unpaged(text, ())
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[derive(Debug, Clone, PartialEq, SerializeValue, DeserializeValue)]
struct Address {
    street: String,
    zip: Option<i32>,
}

#[test]
fn every_type_comes_back_through_the_rust_driver() {
    let server = server();
    two_threads().block_on(async {
        for compression in [None, Some(Compression::Lz4), Some(Compression::Snappy)] {
            let session = connect(&server, compression).await;
            let keyspace = keyspace(&session).await;
            scalars(&session).await;
            structures(&session).await;
            run(&session, &format!("DROP KEYSPACE {keyspace}")).await;
        }
    });
}

type Nulls = (
    Option<CqlValue>,
    Option<Vec<CqlValue>>,
    Option<HashMap<i32, CqlValue>>,
);

async fn scalars(session: &Session) {
    let uuid = Uuid::from_u128(0x3f1c_2a90_5b1e_4c64_8d3c_0a9b_8c7d_6e5f);
    let timeuuid = CqlTimeuuid::from(Uuid::from_u128(0x8ac6_d1dc_fbeb_11e9_8f0b_362b_9e15_5667));
    let address: IpAddr = "2001:db8::1".parse().expect("an address");
    let values: Vec<(&str, CqlValue)> = vec![
        ("ascii", CqlValue::Ascii("ascii".into())),
        ("bigint", CqlValue::BigInt(i64::MIN)),
        ("blob", CqlValue::Blob(vec![0, 255, 7])),
        ("boolean", CqlValue::Boolean(true)),
        ("date", CqlValue::Date(CqlDate((1 << 31) + 20_000))),
        (
            "decimal",
            CqlValue::Decimal(CqlDecimal::from_signed_be_bytes_and_exponent(
                vec![0xFA, 0x24],
                3,
            )),
        ),
        ("double", CqlValue::Double(std::f64::consts::PI)),
        (
            "duration",
            CqlValue::Duration(CqlDuration {
                months: -1,
                days: -2,
                nanoseconds: -3,
            }),
        ),
        ("float", CqlValue::Float(0.25)),
        ("inet", CqlValue::Inet(address)),
        ("int", CqlValue::Int(i32::MIN)),
        ("smallint", CqlValue::SmallInt(i16::MIN)),
        ("text", CqlValue::Text("grün 日本語".into())),
        ("time", CqlValue::Time(CqlTime(86_399_999_999_999))),
        (
            "timestamp",
            CqlValue::Timestamp(CqlTimestamp(-14_182_940_123)),
        ),
        ("timeuuid", CqlValue::Timeuuid(timeuuid)),
        ("tinyint", CqlValue::TinyInt(i8::MIN)),
        ("uuid", CqlValue::Uuid(uuid)),
        (
            "varint",
            CqlValue::Varint(CqlVarint::from_signed_bytes_be(vec![
                0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9,
            ])),
        ),
    ];
    for (name, value) in values {
        run(session, &format!("CREATE TABLE t_{name} (k int PRIMARY KEY, v {name}, l list<{name}>, m map<int, {name}>)")).await;
        let insert = session
            .prepare(format!(
                "INSERT INTO t_{name} (k, v, l, m) VALUES (?, ?, ?, ?)"
            ))
            .await
            .expect("INSERT can be prepared");
        let list = vec![value.clone(), value.clone()];
        let map = HashMap::from([(1, value.clone())]);
        session
            .execute_unpaged(&insert, (1, &value, &list, &map))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        session
            .execute_unpaged(
                &insert,
                (
                    2,
                    None::<CqlValue>,
                    Vec::<CqlValue>::new(),
                    None::<HashMap<i32, CqlValue>>,
                ),
            )
            .await
            .expect("nulls can be written");
        let select = session
            .prepare(format!("SELECT v, l, m FROM t_{name} WHERE k = ?"))
            .await
            .expect("SELECT can be prepared");
        let row: (CqlValue, Vec<CqlValue>, HashMap<i32, CqlValue>) = one(session, &select, 1).await;
        assert_eq!(row, (value, list, map), "{name}");
        let row: Nulls = one(session, &select, 2).await;
        assert_eq!(row, (None, None, None), "{name}");
    }
}

async fn one<R>(
    session: &Session,
    select: &scylla::statement::prepared::PreparedStatement,
    key: i32,
) -> R
where
    R: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
{
    let result = session
        .execute_unpaged(select, (key,))
        .await
        .expect("SELECT works")
        .into_rows_result()
        .expect("SELECT gives rows");
    result.single_row::<R>().expect("one row of these types")
}

async fn structures(session: &Session) {
    run(session, "CREATE TYPE address (street text, zip int)").await;
    run(
        session,
        "CREATE TABLE s (k int PRIMARY KEY, a frozen<address>, t tuple<int, text>, s set<text>, m map<text, frozen<list<int>>>, l list<frozen<address>>)",
    )
    .await;
    let insert = session
        .prepare("INSERT INTO s (k, a, t, s, m, l) VALUES (?, ?, ?, ?, ?, ?)")
        .await
        .expect("INSERT can be prepared");
    let home = Address {
        street: "Elm".into(),
        zip: Some(12345),
    };
    let away = Address {
        street: String::new(),
        zip: None,
    };
    let set = vec!["a".to_owned(), "b".to_owned()];
    let map = HashMap::from([("x".to_owned(), vec![3, 1, 2])]);
    let list = vec![home.clone(), away];
    session
        .execute_unpaged(
            &insert,
            (1, &home, (Some(7), None::<String>), &set, &map, &list),
        )
        .await
        .expect("INSERT works");
    let select = session
        .prepare("SELECT a, t, s, m, l FROM s WHERE k = ?")
        .await
        .expect("SELECT can be prepared");
    type Structures = (
        Address,
        (Option<i32>, Option<String>),
        Vec<String>,
        HashMap<String, Vec<i32>>,
        Vec<Address>,
    );
    let row: Structures = one(session, &select, 1).await;
    assert_eq!(row, (home, (Some(7), None), set, map, list));

    run(session, "CREATE TABLE n (k int PRIMARY KEY, c counter)").await;
    for _ in 0..3 {
        session
            .query_unpaged("UPDATE n SET c = c + ? WHERE k = ?", (Counter(14), 1))
            .await
            .expect("a counter counts");
    }
    let select = session
        .prepare("SELECT c FROM n WHERE k = ?")
        .await
        .expect("SELECT can be prepared");
    assert_eq!(one::<(Counter,)>(session, &select, 1).await, (Counter(42),));
}

#[test]
fn fifty_thousand_rows_come_in_pages_through_the_rust_driver() {
    const ROWS: i32 = 50_000;
    let server = server();
    two_threads().block_on(async {
        let session = connect(&server, Some(Compression::Lz4)).await;
        let keyspace = keyspace(&session).await;
        run(
            &session,
            "CREATE TABLE t (p int, c int, v text, PRIMARY KEY (p, c))",
        )
        .await;
        let insert = session
            .prepare("INSERT INTO t (p, c, v) VALUES (?, ?, ?)")
            .await
            .expect("INSERT can be prepared");
        for start in (0..ROWS).step_by(500) {
            let writes = (start..start + 500).map(|row| {
                session.execute_unpaged(&insert, (row % 50, row / 50, format!("value {row}")))
            });
            for outcome in futures_in_order(writes).await {
                outcome.expect("INSERT works");
            }
        }
        for page_rows in [99, 5000] {
            let mut statement = Statement::new("SELECT p, c, v FROM t");
            statement.set_page_size(page_rows);
            let mut pager = session
                .query_iter(statement, ())
                .await
                .expect("SELECT works")
                .rows_stream::<(i32, i32, String)>()
                .expect("rows of these types");
            let (mut count, mut sum) = (0, 0_i64);
            while let Some(row) = next(&mut pager).await {
                let (p, c, v) = row.expect("every page comes");
                assert_eq!(v, format!("value {}", c * 50 + p));
                count += 1;
                sum += i64::from(c * 50 + p);
            }
            assert_eq!(
                (count, sum),
                (ROWS, i64::from(ROWS) * i64::from(ROWS - 1) / 2),
                "{page_rows} a page"
            );
        }
        run(&session, &format!("DROP KEYSPACE {keyspace}")).await;
    });
}

/// The next item of a stream.
async fn next<S: futures::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    futures::StreamExt::next(stream).await
}

/// All at once; the answers in the order of the requests.
async fn futures_in_order<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures::future::join_all(all).await
}

#[test]
fn prepared_statements_of_the_rust_driver_outlive_use_and_changes_of_their_table() {
    let server = server();
    two_threads().block_on(async {
        let session = connect(&server, None).await;
        let other = connect(&server, None).await;
        let keyspace = keyspace(&other).await;
        run(&other, "CREATE TABLE t (k int PRIMARY KEY, v text)").await;
        let prepare = |text: String| {
            let session = &session;
            async move { session.prepare(text).await.expect("it can be prepared") }
        };
        let insert = prepare(format!("INSERT INTO {keyspace}.t (k, v) VALUES (?, ?)")).await;
        let select = prepare(format!("SELECT v FROM {keyspace}.t WHERE k = ?")).await;
        // The connections say USE, and then they prepare again what is no longer known.
        let in_use = session.use_keyspace(&keyspace, false).await;
        in_use.expect("USE works");
        for change in 0..5 {
            let work = (0..300).map(|k| {
                let (session, insert, select) = (&session, &insert, &select);
                async move {
                    let value = format!("{k} {change}");
                    let written = session.execute_unpaged(insert, (k, &value)).await;
                    written.expect("INSERT works");
                    let (found,) = one::<(String,)>(session, select, k).await;
                    assert_eq!(found, value);
                }
            });
            let text = format!("ALTER TABLE {keyspace}.t ADD v{change} int");
            let alter = run(&other, &text);
            futures::future::join(futures_in_order(work), alter).await;
        }
        run(&other, &format!("DROP KEYSPACE {keyspace}")).await;
    });
}

#[test]
fn the_rust_driver_sees_schema_changes_and_errors() {
    let server = server();
    two_threads().block_on(async {
        let (session, other) = (connect(&server, None).await, connect(&server, None).await);
        let keyspace = keyspace(&session).await;
        run(&session, "CREATE TABLE t (k int PRIMARY KEY, v text)").await;
        session
            .await_schema_agreement()
            .await
            .expect("one node agrees with itself");
        other
            .refresh_metadata()
            .await
            .expect("metadata can be read");
        let state = other.get_cluster_state();
        let table = &state
            .get_keyspace(&keyspace)
            .expect("the keyspace is known")
            .tables["t"];
        assert_eq!(
            (table.columns.len(), table.partition_key.as_slice()),
            (2, &["k".to_owned()][..])
        );

        for (text, wanted) in [
            ("SELEC * FROM t", DbError::SyntaxError),
            ("SELECT nothing FROM t", DbError::Invalid),
            ("SELECT * FROM nowhere", DbError::Invalid),
            (
                "CREATE TABLE t (k int PRIMARY KEY)",
                DbError::AlreadyExists {
                    keyspace: keyspace.clone(),
                    table: "t".into(),
                },
            ),
        ] {
            match session.query_unpaged(text, ()).await {
                Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(found, _))) => {
                    assert_eq!(found, wanted, "{text}")
                }
                other => panic!("{text}: wanted {wanted}, got {other:?}"),
            }
        }
        let error = session
            .query_iter("SELECT nothing FROM t", ())
            .await
            .map(drop)
            .expect_err("a bad statement is refused");
        assert!(
            matches!(
                error,
                PagerExecutionError::NextPageError(NextPageError::RequestFailure(_))
                    | PagerExecutionError::PrepareError(_)
            ),
            "{error:?}"
        );
        run(
            &session,
            "INSERT INTO t (k, v) VALUES (1, 'the connection goes on')",
        )
        .await;

        // A conditional write says whether it was applied, and a Row of any shape can be read.
        let result = session
            .query_unpaged("INSERT INTO t (k, v) VALUES (1, 'x') IF NOT EXISTS", ())
            .await
            .expect("a condition is no error");
        let row: Row = result
            .into_rows_result()
            .expect("rows")
            .single_row()
            .expect("one row");
        assert_eq!(row.columns[0], Some(CqlValue::Boolean(false)));
        run(&session, &format!("DROP KEYSPACE {keyspace}")).await;
    });
}
