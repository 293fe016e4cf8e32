//! `palladium key`, as an operator types it, and a server whose keyring has a passphrase.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

struct Desk {
    folder: tempfile::TempDir,
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Desk {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of its own, for nobody else's eyes.
    fn private(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn keyring(&self) -> String {
        std::fs::read_to_string(self.path("keyring")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palladium"));
        command
            .args(arguments)
            .arg("--keyring")
            .arg(self.path("keyring"))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Its output goes nowhere: to a full disk, or to a reader who has left.
    fn unheard(&self, arguments: &[&str], output: impl Into<Stdio>) -> Outcome {
        let child = self.command(arguments).stdout(output).spawn().unwrap();
        Outcome::from(child.wait_with_output().unwrap())
    }

    fn with_input(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let child = self.command(arguments).spawn().unwrap();
        Outcome::from(feed(child, input).wait_with_output().unwrap())
    }

    fn key(&self, arguments: &[&str]) -> Outcome {
        self.with_input(&[&["key"], arguments].concat(), b"")
    }

    fn must(&self, arguments: &[&str]) -> String {
        let outcome = self.key(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.err);
        outcome.out
    }

    fn refused(&self, arguments: &[&str], words: &str) {
        self.key(arguments).is_refused(words);
    }
}

/// Writes what a child reads; a child that ended without reading is no failure of this test.
fn feed(mut child: Child, input: &[u8]) -> Child {
    let mut pipe = child.stdin.take().unwrap();
    let _ = pipe.write_all(input);
    child
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Outcome {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    fn is_refused(&self, words: &str) {
        assert_eq!(self.code, 2, "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "{words} is not in: {}", self.err);
    }
}

#[test]
fn a_key_is_made_shown_rotated_taken_away_and_given_back() {
    let desk = Desk::new();
    assert_eq!(desk.must(&["create", "orders"]), "local:orders\n");
    desk.must(&["create", "shared", "--grants-only"]);
    assert_eq!(
        desk.must(&["rotate", "orders"]),
        "local:orders\trotations 1\n"
    );
    desk.must(&["alias", "current", "orders"]);
    desk.must(&["disable", "current"]);
    assert_eq!(
        desk.must(&["list"]),
        "local:orders\tdisabled\topen\trotations 1\tgrants 0\taliases current\n\
         local:shared\tenabled\tgrants-only\trotations 0\tgrants 0\n"
    );
    desk.must(&["enable", "orders"]);
    desk.must(&["unalias", "current"]);
    desk.must(&["policy", "shared", "open"]);
    assert_eq!(
        desk.must(&["list"]),
        "local:orders\tenabled\topen\trotations 1\tgrants 0\n\
         local:shared\tenabled\topen\trotations 0\tgrants 0\n"
    );
    desk.refused(&["enable", "nobody"], "holds no key local:nobody");
    desk.refused(&["create", "orders"], "exists already");
}

#[test]
fn every_command_takes_a_key_as_the_first_one_printed_it() {
    let desk = Desk::new();
    let printed = desk.must(&["create", "local:orders", "--grants-only"]);
    assert_eq!(printed, "local:orders\n");
    let key = printed.trim_end();
    for command in [
        &["disable", key][..],
        &["enable", key],
        &["rotate", key],
        &["alias", "local:current", key],
        &["unalias", "local:current"],
        &["schedule-deletion", key],
        &["cancel-deletion", key],
        &["enable", key],
        &["policy", key, "open"],
        &["unmark-service", key],
    ] {
        desk.must(command);
    }
    let grant = desk.must(&["grant", key]);
    desk.must(&["grants", key]);
    desk.must(&["revoke", key, grant.trim_end()]);
    let material = desk.private("material", [7; 32]);
    let brought = ["import", "local:brought", "--material-file", &material];
    assert_eq!(desk.must(&brought), "local:brought\n");
    desk.refused(&["disable", "local:nobody"], "no key local:nobody");
    desk.refused(&["disable", "local:default"], "the service's own key");
}

#[test]
fn a_keyring_behind_a_link_is_edited_where_it_is_and_one_with_another_name_is_not_overwritten_under_it()
 {
    let desk = Desk::new();
    desk.must(&["create", "orders"]);
    std::fs::create_dir(desk.path("safe")).unwrap();
    std::fs::rename(desk.path("keyring"), desk.path("safe/keyring")).unwrap();
    std::os::unix::fs::symlink("safe/keyring", desk.path("keyring")).unwrap();
    desk.must(&["disable", "orders"]);
    let link = desk.path("keyring").read_link();
    assert_eq!(link.unwrap(), std::path::Path::new("safe/keyring"));
    assert!(desk.path("safe/keyring.lock").exists());
    assert!(desk.keyring().contains("\"Disabled\""));

    std::fs::hard_link(desk.path("safe/keyring"), desk.path("copy")).unwrap();
    let before = desk.keyring();
    let outcome = desk.key(&["enable", "orders"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.err.contains("another name"), "{}", outcome.err);
    assert_eq!(std::fs::read_to_string(desk.path("copy")).unwrap(), before);
    assert_eq!(desk.key(&["disable", "orders"]).err, "", "it is said once");
}

#[test]
fn a_key_whose_name_cannot_be_printed_is_made_and_the_command_says_so() {
    let desk = Desk::new();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let outcome = desk.unheard(&["key", "create", "orders"], full.unwrap());
    outcome.is_refused("standard output cannot be written");
    assert!(desk.must(&["list"]).starts_with("local:orders\tenabled"));
}

#[test]
fn a_reader_who_has_left_ends_no_command() {
    let desk = Desk::new();
    desk.must(&["create", "orders"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let outcome = desk.unheard(&["key", "list"], writer);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
}

#[test]
fn a_deletion_is_scheduled_with_its_date_and_cancelled() {
    let desk = Desk::new();
    desk.must(&["create", "orders"]);
    let printed = desk.must(&["schedule-deletion", "orders", "--days", "7"]);
    let date = printed
        .strip_prefix("local:orders\tdeletion ")
        .unwrap()
        .trim_end();
    let listed = desk.must(&["list"]);
    assert!(
        listed.contains("pending-deletion") && listed.contains(date),
        "{listed}"
    );
    desk.must(&["cancel-deletion", "orders"]);
    assert!(desk.must(&["list"]).contains("local:orders\tdisabled"));
    desk.refused(
        &["schedule-deletion", "orders", "--days", "6"],
        "7 to 30 days",
    );
}

#[test]
fn material_is_imported_from_a_private_file_or_standard_input_alone() {
    let desk = Desk::new();
    let digits = "5c".repeat(32);
    let file = desk.private("material", format!("{digits}\n"));
    desk.must(&["import", "orders", "--material-file", &file]);
    assert!(desk.keyring().contains(&digits));
    let raw = desk.private("raw", [0x5c; 32]);
    desk.must(&["import", "same", "--material-file", &raw]);
    let piped = desk.with_input(
        &["key", "import", "piped", "--material-file", "-"],
        "7d".repeat(32).as_bytes(),
    );
    assert_eq!((piped.code, piped.out.as_str()), (0, "local:piped\n"));

    let open = desk.private("open", &digits);
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o640)).unwrap();
    desk.refused(&["import", "open", "--material-file", &open], "chmod 600");
    for (name, bytes) in [
        ("short", "5c".repeat(31)),
        ("long", "5c".repeat(33)),
        ("none", String::new()),
    ] {
        let file = desk.private(name, bytes);
        let words = "32 bytes, or 64 hexadecimal digits";
        desk.refused(&["import", name, "--material-file", &file], words);
    }
}

#[test]
fn grants_are_made_shown_and_revoked() {
    let desk = Desk::new();
    desk.must(&["create", "orders", "--grants-only"]);
    let grant = [
        "grant",
        "orders",
        "--keyspace",
        "shop",
        "--table",
        "orders",
        "--name",
        "the shop's orders",
    ];
    let id = desk.must(&grant).trim_end().to_owned();
    assert_eq!(desk.must(&grant).trim_end(), id, "the same again");
    let all = desk.must(&["grant", "orders", "--operations", "retire,decrypt"]);
    desk.must(&["revoke", "orders", &id]);
    let listed = desk.must(&["grants", "orders"]);
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(
        (lines[0][0], lines[0][1], lines[0][2], lines[0][4]),
        (all.trim_end(), "live", "owner", "decrypt,retire")
    );
    assert_eq!(
        (lines[1][0], lines[1][1], lines[1][4], lines[1][6]),
        (
            id.as_str(),
            "revoked",
            "describe,generate,decrypt",
            "the shop's orders"
        )
    );
    assert_eq!(
        lines[1][5],
        "aws:cassandra:keyspaceName=shop,aws:cassandra:tableName=orders"
    );
    desk.refused(&["revoke", "orders", &id], "has no grant");
    desk.refused(&["grant", "orders", "--table", "orders"], "--keyspace");
}

#[test]
fn a_credential_for_grants_is_drawn_and_withdrawn() {
    let desk = Desk::new();
    desk.must(&["create", "orders"]);
    let file = desk.path("credential");
    let file = file.to_str().unwrap();
    desk.must(&["grantor", file]);
    assert_eq!(desk.keyring().matches("{\"grantor\"").count(), 1);
    desk.refused(&["grantor", file], "exists already");
    desk.must(&["grantor", file, "--withdraw"]);
    assert_eq!(desk.keyring().matches("{\"grantor\"").count(), 0);
    desk.refused(&["grantor", file, "--withdraw"], "does not know");
    desk.must(&["grantor", "--withdraw-all"]);
    desk.refused(&["grantor"], "required");
}

#[test]
fn the_services_own_key_is_nobodys_to_take_away_by_any_name() {
    let desk = Desk::new();
    desk.must(&["create", "default"]);
    desk.must(&["create", "other"]);
    desk.must(&["alias", "second", "default"]);
    let own = "the service's own key";
    for name in ["default", "second"] {
        desk.refused(&["disable", name], own);
        desk.refused(&["schedule-deletion", name], own);
        desk.refused(&["policy", name, "grants-only"], own);
        desk.refused(&["unmark-service", name], own);
        desk.must(&["policy", name, "open"]);
        desk.must(&["rotate", name]);
    }
    desk.must(&["unmark-service", "other"]);
    desk.must(&["disable", "other"]);

    // The configuration may call it by an alias, which must then stay what it is.
    let config = desk.private("palladium.toml", "service_key = \"local:second\"\n");
    let with = |arguments: &[&str]| desk.key(&[arguments, &["--config", &config]].concat());
    with(&["disable", "default"]).is_refused(own);
    with(&["unalias", "second"]).is_refused(own);
    with(&["alias", "second", "other"]).is_refused(own);

    let fresh = Desk::new();
    fresh.refused(&["create", "default", "--grants-only"], own);
}

#[test]
fn a_passphrase_comes_by_a_descriptor_and_never_otherwise() {
    let desk = Desk::new();
    desk.must(&["create", "orders"]);
    let fd = |arguments: &[&str], input: &str| {
        let arguments = [&["key"], arguments, &["--passphrase-fd", "0"]].concat();
        desk.with_input(&arguments, input.as_bytes())
    };
    assert_eq!(fd(&["protect"], "first\n").code, 0);
    assert!(!desk.keyring().contains("\"secret\""));
    desk.must(&["disable", "orders"]);
    desk.must(&["enable", "orders"]);
    // No terminal to ask.
    desk.refused(&["create", "second"], "--passphrase-fd");
    fd(&["create", "second"], "wrong\n").is_refused("not the keyring's passphrase");
    fd(&["create", "second"], "").is_refused("passphrase is empty");
    assert_eq!(fd(&["create", "second"], "first").code, 0);
    assert_eq!(fd(&["protect"], "first\nsecond\n").code, 0, "another one");
    fd(&["rotate", "orders"], "first\n").is_refused("not the keyring's passphrase");
    fd(&["protect"], "second\n").is_refused("fewer passphrases");
    assert_eq!(fd(&["unprotect"], "second\n").code, 0);
    assert_eq!(desk.keyring().matches("\"secret\"").count(), 2);

    // A keyring that is made with a passphrase never holds material in the clear.
    let fresh = Desk::new();
    let made = fresh.with_input(
        &["key", "create", "orders", "--passphrase-fd", "0"],
        b"first\n",
    );
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(!fresh.keyring().contains("\"secret\""));
}

/// Runs a server until it is ready or ends by itself.
fn serve(desk: &Desk, input: &[u8]) -> Result<Child, Outcome> {
    let data = desk.path("data");
    let arguments = [
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--passphrase-fd",
        "0",
    ];
    let mut child = feed(desk.command(&arguments).spawn().unwrap(), input);
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    while !line.is_empty() {
        if line.contains("palladium is ready on") {
            return Ok(child);
        }
        line.clear();
        printed.read_line(&mut line).unwrap();
    }
    Err(Outcome::from(child.wait_with_output().unwrap()))
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_server_opens_its_port_with_the_right_passphrase_only() {
    let desk = Desk::new();
    end(serve(&desk, b"open sesame\n").ok().expect("a first start"));
    assert!(
        !desk.keyring().contains("\"secret\""),
        "protected from the start"
    );
    let refused = serve(&desk, b"open barley\n").expect_err("it serves");
    refused.is_refused("not the keyring's passphrase");
    let refused = serve(&desk, b"").expect_err("it serves");
    refused.is_refused("passphrase is empty");
    end(serve(&desk, b"open sesame\n").ok().expect("the right one"));

    let data = desk.path("data");
    let verify = |input: &[u8]| {
        let arguments = ["verify", data.to_str().unwrap(), "--passphrase-fd", "0"];
        desk.with_input(&arguments, input)
    };
    assert_eq!(verify(b"open sesame\n").code, 0);
    assert_eq!(verify(b"open barley\n").code, 2);
}

#[test]
fn a_setting_of_the_keyring_that_nobody_knows_is_refused() {
    let desk = Desk::new();
    let config = desk.private("palladium.toml", "[kms.local]\ngrant_credential = \"x\"\n");
    let refused = desk.key(&["list", "--config", &config]);
    refused.is_refused("kms.local: unknown field `grant_credential`");
}
