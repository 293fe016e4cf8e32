//! Logins and permissions over a socket: handshakes, connections that are open while roles change, restarts, the audit trail, keys.

use std::net::SocketAddr;

use palladium::config::{
    Authorizer, CidrAuthorizer, CidrMode, Config, GivenPassword, NetworkAuthorizer,
};

use crate::client::{AUTH_SUCCESS, Answer, Client, Node, Value, with_roles};
use crate::scene::{Scene, alter, wait_for};

const BAD_CREDENTIALS: i32 = 0x0100;
const UNAUTHORIZED: i32 = 0x2100;
const PROTOCOL_ERROR: i32 = 0x000A;

fn superuser(address: SocketAddr) -> Client {
    login(address, "cassandra")
}

/// Logs in with the name as password.
fn login(address: SocketAddr, name: &str) -> Client {
    Client::connect_as(address, name, name).expect("the password is right")
}

/// A server with a keyspace, a table and the role bob, who may read the table.
fn with_bob() -> (Node, Client) {
    let node = Node::start_with_roles();
    let mut admin = superuser(node.address());
    for statement in [
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.t (k int PRIMARY KEY, v int)",
        "INSERT INTO ks.t (k, v) VALUES (1, 2)",
        "CREATE ROLE bob WITH PASSWORD = 'bob' AND LOGIN = true",
        "GRANT SELECT ON ks.t TO bob",
    ] {
        admin.query(statement).done();
    }
    (node, admin)
}

fn texts(answer: Answer) -> Vec<String> {
    let rows = answer.rows().rows.into_iter();
    rows.map(|row| {
        let cells = row.iter().map(|cell| match cell {
            Some(cell) => String::from_utf8_lossy(cell).into_owned(),
            None => "null".into(),
        });
        cells.collect::<Vec<_>>().join(" ")
    })
    .collect()
}

#[test]
fn a_wrong_password_and_a_name_that_is_no_role_are_told_the_same() {
    let (node, mut admin) = with_bob();
    for (name, password) in [("bob", "wrong"), ("nobody", "nobody")] {
        let refused = Client::connect_as(node.address(), name, password).err();
        let message = format!("Provided username {name} and/or password are incorrect");
        assert_eq!(refused, Some((BAD_CREDENTIALS, message)));
    }
    admin
        .query("CREATE ROLE mute WITH PASSWORD = 'mute'")
        .done();
    assert_eq!(
        Client::connect_as(node.address(), "mute", "mute").err(),
        Some((BAD_CREDENTIALS, "mute is not permitted to log in".into()))
    );
    node.stop();
}

#[test]
fn a_connection_that_has_not_logged_in_is_answered_nothing() {
    let node = Node::start_with_roles();
    let mut client = Client::open(node.address());
    client.start();
    let (code, message) = client.query("SELECT * FROM system.local").error();
    assert_eq!(code, PROTOCOL_ERROR);
    assert!(message.contains("expecting SASL_RESPONSE"), "{message}");
    let mut client = Client::open(node.address());
    let (code, _) = client.query("SELECT * FROM system.local").error();
    assert_eq!(code, PROTOCOL_ERROR);
    node.stop();
}

#[test]
fn who_has_not_logged_in_is_held_small_and_hung_up_on_in_time() {
    let mut config = with_roles();
    config.handshake_timeout_s = 1;
    let node = Node::start_with(config);
    let mut silent = Client::open(node.address());
    silent.hangs_up();
    // A megabyte of AUTH_RESPONSE is refused by its header, and the client does not stay.
    let mut large = Client::open(node.address());
    large.start();
    large.send_raw(&[4, 0, 0, 0, 0x0F, 0, 0x10, 0, 0]);
    let (opcode, body) = large.next_answer();
    let said = String::from_utf8_lossy(&body);
    assert!(opcode == 0 && said.contains("Request is too big"), "{said}");
    large.hangs_up();
    // Who has logged in says as much as before, and stays.
    let mut admin = superuser(node.address());
    let long = format!("SELECT key FROM system.local -- {}\n", "x".repeat(1 << 20));
    admin.query(&long).rows();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    admin.query(&long).rows();
    node.stop();
}

#[test]
fn a_token_is_read_as_sasl_plain_has_it() {
    let node = Node::start_with_roles();
    let mut client = Client::open(node.address());
    client.start();
    let (opcode, _) = client.log_in(b"somebody else\0cassandra\0cassandra");
    assert_eq!(opcode, AUTH_SUCCESS);
    for broken in [
        &b""[..],
        b"cassandra",
        b"\0\0\0",
        b"\0cassandra\0",
        b"\xff\0\xff\0\xff",
    ] {
        let mut client = Client::open(node.address());
        client.start();
        let (opcode, body) = client.log_in(broken);
        assert_eq!((opcode, &body[..4]), (0, &[0, 0, 1, 0][..]), "{broken:?}");
    }
    node.stop();
}

#[test]
fn a_hash_that_moved_from_cassandra_lets_its_password_in() {
    let (node, mut admin) = with_bob();
    admin
        .query(
            "CREATE ROLE moved WITH LOGIN = true AND HASHED PASSWORD = \
             '$2a$10$7jqDFnSLMbsAHomp/5HLHOlY0Gux2U0m8oFLgS1Fx4ErcNG0GWM8C'",
        )
        .done();
    assert!(Client::connect_as(node.address(), "moved", "cassandra").is_ok());
    assert!(Client::connect_as(node.address(), "moved", "moved").is_err());
    node.stop();
}

#[test]
fn what_is_taken_away_is_felt_by_prepared_statements_of_open_connections() {
    let (node, mut admin) = with_bob();
    let mut bob = login(node.address(), "bob");
    let read = bob.prepare("SELECT v FROM ks.t WHERE k = ?");
    let one = [Value::from(1)];
    for _ in 0..2 {
        assert_eq!(bob.execute(&read, &one).rows().rows.len(), 1);
    }
    // The same statement, executed by somebody else in between.
    assert_eq!(admin.execute(&read, &one).rows().rows.len(), 1);
    admin.query("REVOKE SELECT ON ks.t FROM bob").done();
    let refused = (
        UNAUTHORIZED,
        "User bob has no SELECT permission on <table ks.t> or any of its parents".to_owned(),
    );
    assert_eq!(bob.execute(&read, &one).error(), refused);
    assert_eq!(admin.execute(&read, &one).rows().rows.len(), 1);
    assert_eq!(bob.execute(&read, &one).error(), refused);
    admin.query("GRANT SELECT ON KEYSPACE ks TO bob").done();
    assert_eq!(bob.execute(&read, &one).rows().rows.len(), 1);
    let write = admin.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)");
    let values = vec![Value::from(2), Value::from(3)];
    admin.batch(&[(&write, values.clone())]).done();
    assert_eq!(bob.batch(&[(&write, values)]).error().0, UNAUTHORIZED);
    node.stop();
}

#[test]
fn a_role_that_may_not_log_in_any_more_is_answered_nothing_on_connections_it_has() {
    let (node, mut admin) = with_bob();
    let mut bob = login(node.address(), "bob");
    bob.query("SELECT * FROM ks.t").rows();
    admin.query("ALTER ROLE bob WITH LOGIN = false").done();
    let refused = (UNAUTHORIZED, "bob is not permitted to log in".to_owned());
    assert_eq!(bob.query("SELECT * FROM system.local").error(), refused);
    bob.hangs_up();
    admin.query("ALTER ROLE bob WITH LOGIN = true").done();
    let mut bob = login(node.address(), "bob");
    bob.query("SELECT * FROM ks.t").rows();
    admin.query("DROP ROLE bob").done();
    assert_eq!(bob.query("SELECT * FROM ks.t").error(), refused);
    bob.hangs_up();
    node.stop();
}

#[test]
fn a_role_that_is_gone_prepares_nothing_and_hears_of_nothing() {
    let (node, mut admin) = with_bob();
    let mut preparing = login(node.address(), "bob");
    let mut hearing = login(node.address(), "bob");
    hearing.hear_of_schema_changes();
    admin.query("DROP ROLE bob").done();
    let refused = (UNAUTHORIZED, "bob is not permitted to log in".to_owned());
    let answer = preparing.try_prepare("SELECT * FROM ks.t");
    assert_eq!(answer.error(), refused);
    preparing.hangs_up();
    admin
        .query("CREATE TABLE ks.later (k int PRIMARY KEY)")
        .done();
    hearing.hangs_up();
    node.stop();
}

#[test]
fn a_role_of_the_same_name_does_not_get_the_connections_of_the_one_that_was_dropped() {
    let (node, mut admin) = with_bob();
    let mut former = login(node.address(), "bob");
    let mut idle = login(node.address(), "bob");
    let read = former.prepare("SELECT * FROM ks.t");
    former.execute(&read, &[]).rows();
    admin.query("DROP ROLE bob").done();
    for statement in [
        "CREATE ROLE bob WITH PASSWORD = 'another' AND LOGIN = true",
        "GRANT SELECT ON ks.t TO bob",
    ] {
        admin.query(statement).done();
    }
    let mut present = Client::connect_as(node.address(), "bob", "another").expect("it may");
    present.execute(&read, &[]).rows();
    let refused = (UNAUTHORIZED, "bob is not permitted to log in".to_owned());
    assert_eq!(former.execute(&read, &[]).error(), refused);
    former.hangs_up();
    assert_eq!(idle.query("SELECT * FROM ks.t").error(), refused);
    present.execute(&read, &[]).rows();
    node.stop();
}

#[test]
fn a_changed_password_ends_the_old_one_at_once() {
    let (node, mut admin) = with_bob();
    let mut bob = login(node.address(), "bob");
    bob.query("ALTER ROLE bob WITH PASSWORD = 'other'").done();
    assert!(Client::connect_as(node.address(), "bob", "bob").is_err());
    assert!(Client::connect_as(node.address(), "bob", "other").is_ok());
    admin.query("ALTER USER bob WITH PASSWORD 'third'").done();
    assert!(Client::connect_as(node.address(), "bob", "other").is_err());
    assert!(Client::connect_as(node.address(), "bob", "third").is_ok());
    node.stop();
}

#[test]
fn roles_and_permissions_outlive_a_restart() {
    let (node, mut admin) = with_bob();
    for statement in [
        "CREATE ROLE 'team/a'",
        "GRANT 'team/a' TO bob",
        "GRANT USE ON KEY 'local:orders' TO 'team/a'",
        "ADD IDENTITY 'spiffe://bob' TO ROLE 'bob'",
        "CREATE ROLE gone",
        "DROP ROLE gone",
    ] {
        admin.query(statement).done();
    }
    let before = texts(admin.query("LIST ALL PERMISSIONS"));
    let node = node.restart();
    let mut admin = superuser(node.address());
    assert_eq!(texts(admin.query("LIST ALL PERMISSIONS")), before);
    let members = texts(admin.query("SELECT * FROM system_auth.role_members"));
    assert_eq!(members, ["team/a bob"]);
    let identities = texts(admin.query("SELECT * FROM system_auth.identity_to_role"));
    assert_eq!(identities, ["spiffe://bob bob"]);
    let mut bob = login(node.address(), "bob");
    bob.query("SELECT * FROM ks.t").rows();
    assert_eq!(
        bob.query("INSERT INTO ks.t (k) VALUES (1)").error().0,
        UNAUTHORIZED
    );
    node.stop();
}

#[test]
fn a_super_user_whose_password_is_lost_is_restored_by_the_operator() {
    let (node, mut admin) = with_bob();
    for statement in [
        "CREATE ROLE boss WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = 'boss'",
        "ALTER ROLE cassandra WITH PASSWORD = 'forgotten'",
    ] {
        admin.query(statement).done();
    }
    let mut boss = login(node.address(), "boss");
    boss.query("ALTER ROLE cassandra WITH SUPERUSER = false AND LOGIN = false")
        .done();
    let restore = Config {
        restore_first_superuser: true,
        default_superuser_password: GivenPassword::new("found"),
        ..with_roles()
    };
    let node = node.restart_with(restore);
    let found = Client::connect_as(node.address(), "cassandra", "found");
    let mut found = found.expect("the password is the one that was given");
    found.query("ALTER ROLE bob WITH PASSWORD = 'new'").done();
    wait_for(
        || {
            let recorded =
                texts(found.query("SELECT operation, outcome FROM system_palladium.kms_calls"));
            let is_there = recorded.iter().any(|row| row == "RESTORE ROLE ok");
            is_there.then_some(())
        },
        "the restoration is in the audit trail",
    );
    // Without the setting nothing is restored.
    let node = node.restart_with(with_roles());
    assert!(Client::connect_as(node.address(), "cassandra", "cassandra").is_err());
    assert!(Client::connect_as(node.address(), "bob", "new").is_ok());
    node.stop();
}

#[test]
fn roles_that_are_switched_off_and_on_again_are_the_same() {
    let (node, _) = with_bob();
    let node = node.restart_with(Config::default());
    let mut anybody = Client::connect(node.address());
    anybody.query("SELECT * FROM ks.t").rows();
    let refused = anybody.query("DROP ROLE bob").error();
    assert_eq!(
        refused.1,
        "You have to be logged in and not anonymous to perform this request"
    );
    // Who finds a table of the same name later has no permission on it from before.
    anybody.query("DROP TABLE ks.t").done();
    anybody
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
        .done();
    let node = node.restart_with(with_roles());
    let mut bob = login(node.address(), "bob");
    assert_eq!(bob.query("SELECT * FROM ks.t").error().0, UNAUTHORIZED);
    node.stop();
}

#[test]
fn a_role_is_bound_to_networks_and_to_data_centres() {
    let mut config = with_roles();
    config.cidr_groups = [
        ("here".to_owned(), vec!["127.0.0.0/8".to_owned()]),
        ("office".to_owned(), vec!["10.0.0.0/8".to_owned()]),
    ]
    .into();
    let node = Node::start_with(config.clone());
    let mut admin = superuser(node.address());
    for statement in [
        "CREATE ROLE near WITH PASSWORD = 'near' AND LOGIN = true AND ACCESS FROM CIDRS {'here'}",
        "CREATE ROLE far WITH PASSWORD = 'far' AND LOGIN = true AND ACCESS FROM CIDRS {'office'}",
        "CREATE ROLE dc WITH PASSWORD = 'dc' AND LOGIN = true AND ACCESS TO DATACENTERS {'datacenter1'}",
    ] {
        admin.query(statement).done();
    }
    let local = "SELECT key FROM system.local";
    login(node.address(), "near").query(local).rows();
    let mut far = login(node.address(), "far");
    let refused = "You do not have access from this IP 127.0.0.1";
    assert_eq!(far.query(local).error(), (UNAUTHORIZED, refused.into()));
    admin
        .query("ALTER ROLE far WITH ACCESS FROM ALL CIDRS")
        .done();
    let mut far = login(node.address(), "far");
    far.query(local).rows();
    admin
        .query("ALTER ROLE far WITH ACCESS FROM CIDRS {'office'}")
        .done();
    login(node.address(), "dc").query(local).rows();
    let groups = admin.query("SELECT cidr_group FROM system_auth.cidr_groups");
    let mut groups = texts(groups);
    groups.sort();
    assert_eq!(groups, ["here", "office"]);
    // Elsewhere than where it may be; and where networks are only watched.
    config.data_center = "elsewhere".into();
    config.cidr_authorizer_mode = CidrMode::Monitor;
    let node = node.restart_with(config);
    let mut dc = login(node.address(), "dc");
    let refused = "You do not have access to this datacenter (elsewhere)";
    assert_eq!(dc.query(local).error(), (UNAUTHORIZED, refused.into()));
    login(node.address(), "far").query(local).rows();
    node.stop();
}

#[test]
fn logins_without_permissions_let_everybody_do_everything_but_make_superusers() {
    let mut config = with_roles();
    config.authorizer = Authorizer::AllowAll;
    config.network_authorizer = NetworkAuthorizer::AllowAll;
    config.cidr_authorizer = CidrAuthorizer::AllowAll;
    let node = Node::start_with(config);
    let mut admin = superuser(node.address());
    admin
        .query("CREATE ROLE bob WITH PASSWORD = 'bob' AND LOGIN = true AND ACCESS TO DATACENTERS {'datacenter1'}")
        .done();
    assert_eq!(
        admin.warnings,
        [
            "ACCESS TO DATACENTERS is kept, and counts once network_authorizer is CassandraNetworkAuthorizer"
        ]
    );
    let mut bob = login(node.address(), "bob");
    for allowed in [
        "CREATE ROLE w",
        "DROP ROLE w",
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "ALTER ROLE cassandra WITH LOGIN = true",
    ] {
        bob.query(allowed).done();
    }
    for (refused, why) in [
        (
            "CREATE ROLE w WITH SUPERUSER = true",
            "Only superusers can create a role with superuser status",
        ),
        (
            "DROP ROLE cassandra",
            "Only superusers can drop a role with superuser status",
        ),
        (
            "ALTER ROLE bob WITH LOGIN = true",
            "You aren't allowed to alter LOGIN",
        ),
        (
            "LIST ALL PERMISSIONS",
            "LIST PERMISSIONS operation is not supported by AllowAllAuthorizer",
        ),
        (
            "GRANT SELECT ON ALL KEYSPACES TO bob",
            "GRANT operation is not supported by AllowAllAuthorizer",
        ),
    ] {
        assert_eq!(bob.query(refused).error().1, why);
    }
    let roles = texts(bob.query("SELECT role FROM system_auth.roles"));
    assert_eq!(roles.len(), 2);
    node.stop();
}

#[test]
fn logins_and_role_statements_are_in_the_audit_trail() {
    let (node, mut admin) = with_bob();
    assert!(Client::connect_as(node.address(), "bob", "wrong").is_err());
    assert!(Client::connect_as(node.address(), "hunter2", "x").is_err());
    let mut bob = login(node.address(), "bob");
    admin.query("GRANT USE ON KEY 'local:orders' TO bob").done();
    assert!(bob.query("CREATE ROLE x").error().0 == UNAUTHORIZED);
    // What was handed in before a clean stop stands there after it.
    let node = node.restart();
    let mut admin = superuser(node.address());
    let found =
        texts(admin.query("SELECT operation, who, outcome, key FROM system_palladium.kms_calls"));
    let count = |what: &str| found.iter().filter(|row| *row == what).count();
    assert_eq!(count("LOGIN bob failed null"), 1, "{found:#?}");
    assert_eq!(count("LOGIN bob ok null"), 1, "{found:#?}");
    assert_eq!(count("LOGIN unknown role failed null"), 1, "{found:#?}");
    assert_eq!(count("CREATE ROLE cassandra ok null"), 1, "{found:#?}");
    assert_eq!(count("CREATE ROLE bob failed null"), 1, "{found:#?}");
    assert_eq!(count("GRANT cassandra ok null"), 1, "{found:#?}");
    assert_eq!(count("GRANT cassandra ok local:orders"), 1, "{found:#?}");
    // bob sees what he did himself, and nothing of what is about others.
    let mut bob = login(node.address(), "bob");
    let seen = texts(bob.query("SELECT operation, who FROM system_palladium.kms_calls"));
    assert!(seen.iter().any(|row| row == "LOGIN bob"), "{seen:#?}");
    assert!(
        seen.iter().all(|row| !row.starts_with("START")),
        "{seen:#?}"
    );
    assert!(seen.iter().all(|row| row != "LOGIN cassandra"), "{seen:#?}");
    node.stop();
}

#[test]
fn a_table_is_put_under_a_key_by_those_who_may_use_it() {
    let (node, mut admin) = with_bob();
    admin.query("GRANT CREATE ON KEYSPACE ks TO bob").done();
    let mut bob = login(node.address(), "bob");
    bob.query("CREATE TABLE ks.plain (k int PRIMARY KEY)")
        .done();
    let create =
        "CREATE TABLE ks.mine (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:orders'}";
    let refused = "User bob has no USE permission on <key local:orders> or any of its parents";
    assert_eq!(bob.query(create).error(), (UNAUTHORIZED, refused.into()));
    let alter = "ALTER TABLE ks.plain WITH encryption = {'kms_key': 'local:orders'}";
    assert_eq!(bob.query(alter).error(), (UNAUTHORIZED, refused.into()));
    // The key is none of bob's from here on: he may use it, and the keyring does not have it.
    admin.query("GRANT USE ON ALL KEYS TO bob").done();
    let (code, message) = bob.query(create).error();
    assert_ne!(code, UNAUTHORIZED, "{message}");
    admin.query("REVOKE USE ON ALL KEYS FROM bob").done();
    assert_eq!(bob.query(create).error(), (UNAUTHORIZED, refused.into()));
    node.stop();
}

#[test]
fn a_refused_alter_tells_the_name_of_a_key_to_those_alone_who_may_know_it() {
    let mut scene = Scene::new(false);
    scene
        .keyring()
        .alias_set("mine", "orders")
        .expect("an alias");
    scene.config = Config {
        data: scene.config.data.clone(),
        keyring: scene.config.keyring.clone(),
        listen: scene.config.listen,
        ..with_roles()
    };
    let server = scene.start().expect("the server starts");
    let mut admin = superuser(server.address());
    for statement in [
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.t (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:orders'}",
        "CREATE TABLE ks.plain (k int PRIMARY KEY)",
        "CREATE ROLE bob WITH PASSWORD = 'bob' AND LOGIN = true",
        "GRANT ALTER ON KEYSPACE ks TO bob",
        "GRANT USE ON KEY 'local:other' TO bob",
        "GRANT USE ON KEY 'local:mine' TO bob",
    ] {
        admin.query(statement).done();
    }
    let mut bob = login(server.address(), "bob");
    let whose = "User bob has no USE permission on the key of ";
    for key in ["local:other", "default"] {
        let refused = (UNAUTHORIZED, format!("{whose}<table ks.t>"));
        assert_eq!(bob.query(&alter(key)).error(), refused);
    }
    let by_alias = "ALTER TABLE ks.plain WITH encryption = {'kms_key': 'local:mine'}";
    let refused = (UNAUTHORIZED, format!("{whose}<alias local:mine>"));
    assert_eq!(bob.query(by_alias).error(), refused);
    admin
        .query("GRANT DESCRIBE ON KEY 'local:orders' TO bob")
        .done();
    let named = "User bob has no USE permission on <key local:orders> or any of its parents";
    for statement in [&alter("local:other"), by_alias] {
        assert_eq!(bob.query(statement).error(), (UNAUTHORIZED, named.into()));
    }
    admin.query("GRANT USE ON KEY 'local:orders' TO bob").done();
    for statement in [&alter("local:other"), by_alias] {
        bob.query(statement).done();
    }
    scene.runtime.block_on(server.stop()).expect("a clean stop");
}

#[test]
fn each_sees_the_rows_of_the_tables_that_he_may_do_something_with() {
    let (node, mut admin) = with_bob();
    admin
        .query("CREATE TABLE ks.secret (k int PRIMARY KEY)")
        .done();
    let mut bob = login(node.address(), "bob");
    let tables = "SELECT table_name FROM system_palladium.tables";
    assert_eq!(texts(bob.query(tables)), ["t"]);
    let mut all = texts(admin.query(tables));
    all.sort();
    assert_eq!(all, ["secret", "t"]);
    for table in ["structures", "table_keys"] {
        let seen = bob.query(&format!("SELECT table_name FROM system_palladium.{table}"));
        assert!(texts(seen).iter().all(|name| name == "t"), "{table}");
    }
    let services = "SELECT provider FROM system_palladium.key_services";
    assert!(texts(bob.query(services)).is_empty());
    assert!(!texts(admin.query(services)).is_empty());
    let flush = "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'ks', 't')";
    assert_eq!(bob.query(flush).error().0, UNAUTHORIZED);
    admin.query(flush).done();
    admin
        .query("GRANT SELECT ON system_auth.roles TO bob")
        .done();
    let hashes = "SELECT salted_hash FROM system_auth.roles";
    assert!(texts(bob.query(hashes)).iter().all(|hash| hash == "null"));
    assert!(
        texts(admin.query(hashes))
            .iter()
            .all(|hash| hash.starts_with("$2a$04$"))
    );
    node.stop();
}

#[test]
fn many_clients_change_roles_at_once_and_none_of_it_is_lost() {
    let (node, mut admin) = with_bob();
    let address = node.address();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut client = superuser(address);
                for number in 0..10 {
                    let name = format!("r{thread}_{number}");
                    for statement in [
                        format!("CREATE ROLE {name}"),
                        format!("GRANT SELECT ON ks.t TO {name}"),
                        format!("GRANT {name} TO bob"),
                        format!("CREATE TABLE ks.{name} (k int PRIMARY KEY)"),
                    ] {
                        client.query(&statement).done();
                    }
                    if number % 2 == 1 {
                        client.query(&format!("DROP ROLE {name}")).done();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every statement succeeds");
    }
    let check = |admin: &mut Client| {
        let roles = texts(admin.query("SELECT role FROM system_auth.roles"));
        assert_eq!(roles.len(), 2 + 20);
        let members = texts(admin.query("SELECT member FROM system_auth.role_members"));
        assert_eq!(members.len(), 20);
        let own = "SELECT resource FROM system_auth.role_permissions WHERE role = 'cassandra'";
        let tables = texts(admin.query(own));
        let tables = tables.iter().filter(|name| name.starts_with("data/ks/r"));
        assert_eq!(tables.count(), 40);
    };
    check(&mut admin);
    let node = node.restart();
    check(&mut superuser(node.address()));
    node.stop();
}

#[test]
fn a_statement_with_a_password_is_executed_and_not_kept() {
    let (node, mut admin) = with_bob();
    for statement in [
        "ALTER ROLE bob WITH PASSWORD = 'hunter2'",
        "CREATE USER eve WITH PASSWORD 'hunter2'",
    ] {
        let (_, message) = admin.try_prepare(statement).error();
        assert!(message.contains("not prepared"), "{message}");
        admin.query(statement).done();
    }
    let moved = "ALTER ROLE bob WITH HASHED PASSWORD = \
                 '$2a$10$7jqDFnSLMbsAHomp/5HLHOlY0Gux2U0m8oFLgS1Fx4ErcNG0GWM8C'";
    admin.prepare(moved);
    let kept = texts(admin.query("SELECT query_string FROM system.prepared_statements"));
    assert!(
        kept.iter().all(|text| !text.contains("hunter2")),
        "{kept:#?}"
    );
    assert!(Client::connect_as(node.address(), "eve", "hunter2").is_ok());
    node.stop();
}

#[test]
fn passwords_whose_clients_have_hung_up_are_not_looked_at() {
    let mut config = with_roles();
    config.auth_bcrypt_gensalt_log2_rounds = 10;
    let node = Node::start_with(config);
    for _ in 0..40 {
        let mut gone = Client::open(node.address());
        gone.start();
        gone.send_log_in(b"\0cassandra\0wrong");
    }
    // It comes from the same address, and so after all of them.
    let mut admin = superuser(node.address());
    let found = texts(admin.query("SELECT operation, who, reason FROM system_palladium.kms_calls"));
    let tried = found
        .iter()
        .filter(|row| row.starts_with("LOGIN cassandra"));
    let looked_at = tried.filter(|row| row.contains("AccessDenied"));
    assert!(looked_at.count() < 30, "{found:#?}");
    node.stop();
}
