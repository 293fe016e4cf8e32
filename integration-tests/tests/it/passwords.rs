//! A password in memory: nowhere, once its message is answered, while the connection that brought it stays open.
//!
//! What stacks hold is not promised (DESIGN.md). That the search would find something is shown by the name of the role, which the server keeps.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::memory::{Find, Haystack, Needle};
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Connection, opcode, put_frame};

const AUTHENTICATE: u8 = 0x03;
const AUTH_RESPONSE: u8 = 0x0F;
const AUTH_SUCCESS: u8 = 0x10;
const FIRST_PASSWORD: &str = "cassandra";
/// For tasks that are on their way out when their answer has arrived.
const LIMIT: Duration = Duration::from_secs(5);

fn letters(chance: &mut Chance, count: usize) -> String {
    (0..count)
        .map(|_| char::from(b'a' + chance.below(26) as u8))
        .collect()
}

async fn say(connection: &mut Connection, request: u8, body: &[u8], answer: u8) {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, 1, request, |out| out.put_slice(body));
    connection.push_bytes(&bytes);
    connection.flush().await.expect("the server listens");
    let frame = connection.next_frame().await.expect("the server answers");
    let frame = frame.expect("the connection is open");
    assert_eq!(frame.opcode, answer, "{:?}", frame.body);
}

async fn log_in(node: &Node, name: &str, password: &str) -> Connection {
    let mut connection = Connection::open_socket(node.address())
        .await
        .expect("the server accepts");
    let startup = b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0";
    say(&mut connection, opcode::STARTUP, startup, AUTHENTICATE).await;
    let token = format!("\0{name}\0{password}");
    let mut body = (token.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(token.as_bytes());
    say(&mut connection, AUTH_RESPONSE, &body, AUTH_SUCCESS).await;
    connection
}

/// Where the needles are found outside of stacks, by their kind.
fn found(haystack: &Haystack, node: &Node, kind: &str) -> Vec<Find> {
    let finds = haystack.search(node.pid()).expect("the test is root");
    let on_heap = |find: &Find| find.kind == kind && !find.is_stack;
    finds.into_iter().filter(on_heap).collect()
}

#[test]
fn a_password_is_gone_once_its_message_is_answered() {
    let mut chance = Chance::for_test("a_password_is_gone_once_its_message_is_answered");
    let mut node = Node::start_with(Settings {
        config: format!(
            "authenticator = \"PasswordAuthenticator\"\nauthorizer = \"CassandraAuthorizer\"\ndefault_superuser_password = \"{FIRST_PASSWORD}\"\n"
        ),
        ..Settings::default()
    });
    let (role, password) = (letters(&mut chance, 32), letters(&mut chance, 32));
    let haystack = Haystack::new(vec![
        Needle {
            kind: "role",
            bytes: role.clone().into_bytes(),
        },
        Needle {
            kind: "password",
            bytes: password.clone().into_bytes(),
        },
    ]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    let open = runtime.block_on(async {
        let mut owner = log_in(&node, "cassandra", FIRST_PASSWORD).await;
        owner
            .run(&format!(
                "CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{password}'"
            ))
            .await;
        let mut user = log_in(&node, &role, &password).await;
        user.run("SELECT key FROM system.local").await;
        (owner, user)
    });
    assert!(
        !found(&haystack, &node, "role").is_empty(),
        "the search cannot find what it looks for"
    );
    let begun = Instant::now();
    loop {
        let finds = found(&haystack, &node, "password");
        let Some(find) = finds.first() else { break };
        assert!(begun.elapsed() < LIMIT, "{} pieces; {find}", finds.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(open);
    node.stop();
}
