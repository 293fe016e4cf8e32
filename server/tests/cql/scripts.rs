//! Golden scripts: each statement of `scripts/*.cql`, and what Cassandra 5.0 answers.
//!
//! ```text
//! SELECT * FROM t WHERE k = 1;        a statement, up to the semicolon that ends its line
//! -- warning: ...                     what the client is warned of, in a script that begins with `-- with warnings`; then
//! -- k | v                            what comes back: a line of names and one for each row,
//! -- 1 | "a"                          values as JSON; or the kind of error and its text
//! ```
//!
//! The answers were written by Cassandra itself: with `PALLADIUM_SCRIPTS_SERVER=127.0.0.1:9042` the scripts run against any
//! server that speaks CQL, and with `PALLADIUM_SCRIPTS_WRITE=cassandra` they are rewritten with what it says. Where we
//! differ on purpose, a line that begins with `-- !` before the statement says why, and the answer below it is ours
//! (`PALLADIUM_SCRIPTS_WRITE=ours`).
//!
//! `scripts/roles/*.cql` run where roles are on, as the super-user; `-- as bob` goes on as bob, with the password `bob`, on the connection that he has since he
//! was named first. For Cassandra they need PasswordAuthenticator and CassandraAuthorizer without caches, and its address in
//! `PALLADIUM_SCRIPTS_ROLES_SERVER`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::client::{Answer, Client, Node, Rows, with_server};
use palladium::query::json;

/// The answer to a statement, as lines.
fn run(client: &mut Client, statement: &str, with_warnings: bool) -> Vec<String> {
    let answer = client.query(statement);
    let warnings: Vec<String> = client
        .warnings
        .iter()
        .filter(|_| with_warnings)
        .map(|warning| format!("warning: {}", warning.replace('\n', " ")))
        .collect();
    let answer = match answer {
        Answer::Error(code, message) => vec![format!(
            "{}: {}",
            error_name(code),
            message.replace('\n', " ")
        )],
        Answer::Rows(rows) => lines(&rows),
        _ => Vec::new(),
    };
    let first = statement.to_uppercase();
    if first.starts_with("CREATE") && (first.contains(" INDEX ") || first.contains(" VIEW ")) {
        client.wait_for_builds();
    }
    [warnings, answer].concat()
}

fn error_name(code: i32) -> String {
    match code {
        0x0000 => "ServerError".into(),
        0x000A => "ProtocolError".into(),
        0x1400 => "FunctionFailure".into(),
        0x2000 => "SyntaxError".into(),
        0x2100 => "Unauthorized".into(),
        0x2200 => "Invalid".into(),
        0x2300 => "ConfigError".into(),
        0x2400 => "AlreadyExists".into(),
        code => format!("{code:#06x}"),
    }
}

fn lines(rows: &Rows) -> Vec<String> {
    let names: Vec<&str> = rows.columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = vec![names.join(" | ")];
    for row in &rows.rows {
        let values: Vec<String> = rows
            .columns
            .iter()
            .zip(row)
            .map(|((_, ty), value)| {
                let mut text = String::new();
                json::print(ty, value.as_deref(), &mut text).expect("a value of its type");
                text
            })
            .collect();
        lines.push(values.join(" | "));
    }
    lines
}

/// Before the name of the role as which a script goes on.
const AS: &str = "-- as ";
/// The super-user of scripts about roles, and its password.
const SUPERUSER: &str = "cassandra";

/// A statement of a script, and the lines that belong to it.
struct Step {
    /// Blank lines, remarks, and the reason for a difference.
    before: Vec<String>,
    statement: String,
    expected: Vec<String>,
}

fn steps(script: &str) -> (Vec<Step>, Vec<String>) {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = Vec::new();
    let mut statement = String::new();
    for line in script.lines() {
        let is_remark = line.starts_with("-- !") || line.starts_with(AS);
        let is_answer = line.starts_with("-- ") && !is_remark;
        if !statement.is_empty() || !(line.is_empty() || line.starts_with("--")) {
            if !statement.is_empty() {
                statement.push('\n');
            }
            statement.push_str(line);
            if line.ends_with(';') {
                steps.push(Step {
                    before: std::mem::take(&mut before),
                    statement: std::mem::take(&mut statement),
                    expected: Vec::new(),
                });
            }
        } else if is_answer && before.is_empty() && !steps.is_empty() {
            if let Some(step) = steps.last_mut() {
                step.expected.push(line[3..].to_owned());
            }
        } else {
            before.push(line.to_owned());
        }
    }
    (steps, before)
}

/// Whose answers are written into the scripts.
#[derive(Clone, Copy, PartialEq)]
enum Rewrite {
    Nobody,
    /// Cassandra's: all but those that are ours on purpose.
    Cassandra,
    /// Ours: only those.
    Ours,
}

/// The connections of a script: one for each role that it names.
struct Clients {
    address: SocketAddr,
    roles: HashMap<String, Client>,
    present: String,
}

impl Clients {
    fn new(address: SocketAddr, with_roles: bool) -> Clients {
        let (name, mut client) = match with_roles {
            true => (SUPERUSER, logged_in(address, SUPERUSER)),
            false => ("", Client::connect(address)),
        };
        if with_roles {
            let roles = client.query("LIST ROLES").rows();
            for row in roles.rows {
                let role = row[0].clone().expect("a role has a name");
                let role = String::from_utf8(role.to_vec()).expect("a name is text");
                if role != SUPERUSER {
                    client.query(&format!("DROP ROLE '{role}'")).done();
                }
            }
        }
        Clients {
            address,
            roles: HashMap::from([(name.to_owned(), client)]),
            present: name.to_owned(),
        }
    }

    fn go_on_as(&mut self, name: &str) {
        self.roles
            .entry(name.to_owned())
            .or_insert_with(|| logged_in(self.address, name));
        self.present = name.to_owned();
    }

    fn present(&mut self) -> &mut Client {
        self.roles.get_mut(&self.present).expect("it is connected")
    }
}

fn logged_in(address: SocketAddr, name: &str) -> Client {
    match Client::connect_as(address, name, name) {
        Ok(client) => client,
        Err((code, message)) => panic!("{name} cannot log in: {code:#x}: {message}"),
    }
}

fn run_script(path: &Path, address: SocketAddr, rewrite: Rewrite, with_roles: bool) -> Vec<String> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
        .to_owned();
    let text = std::fs::read_to_string(path).expect("the script can be read");
    let (steps, rest) = steps(&text);
    let mut clients = Clients::new(address, with_roles);
    let mut client = clients.present();
    run(client, "DROP KEYSPACE IF EXISTS ks", false);
    run(
        client,
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        false,
    );
    run(client, "USE ks", false);
    let with_warnings = text.starts_with("-- with warnings\n");
    let mut failures = Vec::new();
    let mut written = String::new();
    for step in &steps {
        let ours = step.before.iter().any(|line| line.starts_with("-- !"));
        for line in &step.before {
            if let Some(name) = line.strip_prefix(AS) {
                clients.go_on_as(name);
            }
        }
        client = clients.present();
        let answer = run(client, step.statement.trim_end_matches(';'), with_warnings);
        for line in &step.before {
            written.push_str(line);
            written.push('\n');
        }
        written.push_str(&step.statement);
        written.push('\n');
        let kept = match rewrite {
            Rewrite::Nobody => &step.expected,
            Rewrite::Cassandra if ours => &step.expected,
            Rewrite::Ours if !ours => &step.expected,
            Rewrite::Cassandra | Rewrite::Ours => &answer,
        };
        for line in kept {
            written.push_str("-- ");
            written.push_str(line);
            written.push('\n');
        }
        if answer != step.expected {
            failures.push(format!(
                "{name}: {}\n  expected {:#?}\n  got      {:#?}",
                step.statement, step.expected, answer
            ));
        }
    }
    for line in rest {
        written.push_str(&line);
        written.push('\n');
    }
    if rewrite != Rewrite::Nobody {
        std::fs::write(path, written).expect("the script can be written");
        return Vec::new();
    }
    failures
}

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let wanted = std::env::var("PALLADIUM_SCRIPTS_ONLY").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the scripts are here")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cql"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    paths
}

fn run_all(address: SocketAddr, with_roles: bool) {
    let folder = match with_roles {
        true => "tests/scripts/roles",
        false => "tests/scripts",
    };
    let rewrite = match std::env::var("PALLADIUM_SCRIPTS_WRITE").as_deref() {
        Ok("cassandra") => Rewrite::Cassandra,
        Ok("ours") => Rewrite::Ours,
        _ => Rewrite::Nobody,
    };
    let failures: Vec<String> = scripts(folder)
        .iter()
        .flat_map(|path| run_script(path, address, rewrite, with_roles))
        .collect();
    assert!(
        failures.is_empty(),
        "{} differences\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_script_is_answered_as_cassandra_answers() {
    if let Ok(address) = std::env::var("PALLADIUM_SCRIPTS_SERVER") {
        return run_all(address.parse().expect("an address and a port"), false);
    }
    with_server(|address| run_all(address, false));
}

#[test]
fn every_script_about_roles_is_answered_as_cassandra_answers() {
    if let Ok(address) = std::env::var("PALLADIUM_SCRIPTS_ROLES_SERVER") {
        return run_all(address.parse().expect("an address and a port"), true);
    }
    let node = Node::start_with_roles();
    run_all(node.address(), true);
    node.stop();
}
