//! A process that is killed, and a data folder that goes back in time: which of the two it was is told by the anchor.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for any machine; nothing waits for it where all is well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with data and keyring, and the commands on it.
struct Place(tempfile::TempDir);

const MAKE_TABLE: [&str; 3] = [
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.t (k int PRIMARY KEY)",
    "INSERT INTO ks.t (k) VALUES (1)",
];
/// Raises epoch and log by more than a start and a stop do.
const GO_FAR: [&str; 8] = [
    "INSERT INTO ks.t (k) VALUES (2)",
    "CREATE TABLE ks.a (k int PRIMARY KEY)",
    "CREATE TABLE ks.b (k int PRIMARY KEY)",
    "CREATE TABLE ks.c (k int PRIMARY KEY)",
    "CREATE TABLE ks.d (k int PRIMARY KEY)",
    "CREATE TABLE ks.e (k int PRIMARY KEY)",
    "CREATE TABLE ks.f (k int PRIMARY KEY)",
    "INSERT INTO ks.t (k) VALUES (22)",
];

/// Killed with the test, at the latest.
struct Running {
    process: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palladium"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// A server that is ready; an error: all that it said before it gave up.
    fn start(&self) -> Result<Running, String> {
        let mut process = self
            .command(&["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::from(
                fs::File::create(self.0.path().join("errors")).unwrap(),
            ))
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut ready).unwrap();
        match ready.trim_end().strip_prefix("palladium is ready on ") {
            Some(address) => Ok(Running {
                process,
                address: address.to_owned(),
            }),
            None => {
                process.wait().unwrap();
                Err(fs::read_to_string(self.0.path().join("errors")).unwrap())
            }
        }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().unwrap();
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code(), text)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts, says this, and stops in order.
    fn live(&self, statements: &[&str]) {
        let server = self.start().unwrap();
        let mut client = Client::of(&server);
        for statement in statements {
            client.must(statement);
        }
        server.stop();
    }

    /// Puts another folder in the place of the one that is there, which is kept under this name.
    fn put(&self, other: &str, kept: &str) {
        fs::rename(self.data(), self.file(kept)).unwrap();
        copy(&self.file(other), &self.data());
    }

    /// No server takes the folder, and `verify` and `accept-rollback` say why.
    fn is_refused_for_its_lineage(&self) {
        for _ in 0..2 {
            let refusal = self.start().err().expect("a folder given up was served");
            assert!(
                refusal.contains("this data folder is of lineage"),
                "{refusal}"
            );
            assert!(refusal.contains("accept-rollback"), "{refusal}");
            let (code, text) = self.run(&["verify", "data"]);
            assert_eq!(code, Some(3), "{text}");
            assert!(
                text.contains("older: this data folder is of lineage"),
                "{text}"
            );
            let (code, text) = self.run(&["accept-rollback", "data"]);
            assert_eq!(code, Some(2), "{text}");
            assert!(text.contains("this data folder is of lineage"), "{text}");
            assert!(text.contains("nothing was changed"), "{text}");
        }
    }

    fn accept(&self) {
        let (code, text) = self.run(&["accept-rollback", "data", "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = self.run(&["verify", "data"]);
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = self.run(&["accept-rollback", "data", "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("nothing is to be accepted"), "{text}");
    }

    /// Epoch and newest group of the log, as they stand in the clear in the anchor.
    fn anchor(&self) -> (u64, u64) {
        let bytes = fs::read(self.0.path().join("keyring.anchor")).unwrap();
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        (number(34), number(42))
    }

    /// Waits until the running server has noted more of the log.
    fn wait_for_note_beyond(&self, log_sequence: u64) -> (u64, u64) {
        let began = Instant::now();
        loop {
            let noted = self.anchor();
            if noted.1 > log_sequence {
                return noted;
            }
            assert!(began.elapsed() < PATIENCE, "the log's end is not noted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A connection of v4 that waits for each answer.
struct Client(TcpStream);

impl Client {
    fn of(server: &Running) -> Client {
        let mut client = Client(TcpStream::connect(&server.address).unwrap());
        let mut body = 1u16.to_be_bytes().to_vec();
        for text in ["CQL_VERSION", "3.0.0"] {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend(text.as_bytes());
        }
        assert_eq!(client.ask(1, &body), Some(2), "it is ready");
        client
    }

    /// The opcode of the answer; None: the server is gone.
    fn ask(&mut self, opcode: u8, body: &[u8]) -> Option<u8> {
        let mut frame = vec![4, 0, 0, 0, opcode];
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend(body);
        self.0.write_all(&frame).ok()?;
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[5..].try_into().unwrap());
        let mut answer = vec![0; length as usize];
        self.0.read_exact(&mut answer).ok()?;
        Some(head[4])
    }

    fn query(&mut self, text: &str) -> Option<u8> {
        let mut body = (text.len() as u32).to_be_bytes().to_vec();
        body.extend(text.as_bytes());
        body.extend([0, 1, 0]);
        self.ask(7, &body)
    }

    fn must(&mut self, text: &str) {
        assert_eq!(self.query(text), Some(8), "{text}");
    }

    fn make_table(&mut self) {
        for statement in MAKE_TABLE {
            self.must(statement);
        }
    }
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let target = target.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts back what was kept of the data folder after writes that no commit of the manifest followed, and a kill.
fn put_back_after_a_kill(part: &str) {
    let place = Place::new();
    let server = place.start().unwrap();
    let mut client = Client::of(&server);
    client.make_table();
    let (part, older) = (place.data().join(part), place.0.path().join("older"));
    copy(&part, &older);
    let (_, before) = place.wait_for_note_beyond(0);
    let mut noted = place.anchor();
    // What is noted may be of before the copy was made: so long until it is not.
    for k in 0..2 {
        client.must(&format!("INSERT INTO ks.t (k) VALUES (1{k})"));
        noted = place.wait_for_note_beyond(before.max(noted.1));
    }
    drop(server);
    fs::remove_dir_all(&part).unwrap();
    copy(&older, &part);

    for _ in 0..2 {
        let refusal = place.start().err().expect("an older copy was served");
        // A commit of the manifest may have come between: the epoch tells that one.
        let is_by_epoch = part == place.data() && refusal.contains("it stands at epoch");
        let is_by_log = refusal.contains("its log ends at group");
        assert!(is_by_log || is_by_epoch, "{refusal}");
        assert!(refusal.contains("an older copy was put back"), "{refusal}");
        let (code, text) = place.run(&["verify", "data"]);
        assert_eq!(code, Some(3), "{text}");
        assert!(text.contains("older: the folder"), "{text}");
    }
    let (code, text) = place.run(&["accept-rollback", "data"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("what was written in between"), "{text}");
    let (code, text) = place.run(&["accept-rollback", "data", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = place.run(&["verify", "data"]);
    assert_eq!(code, Some(0), "{text}");
    let server = place.start().unwrap();
    Client::of(&server).must("INSERT INTO ks.t (k) VALUES (2)");
}

#[test]
fn an_older_folder_of_the_same_run_is_refused_after_a_kill() {
    put_back_after_a_kill("");
}

#[test]
fn an_older_log_of_the_same_run_is_refused_after_a_kill() {
    put_back_after_a_kill("log");
}

#[test]
fn a_kill_at_any_moment_leaves_no_folder_that_is_older_than_its_anchor() {
    let place = Place::new();
    let mut server = place.start().unwrap();
    Client::of(&server).make_table();
    for round in 0..6u64 {
        let mut client = Client::of(&server);
        let writing = std::thread::spawn(move || {
            let mut k = 0;
            while client.query(&format!("INSERT INTO ks.t (k) VALUES ({k})")) == Some(8) {
                k += 1;
            }
        });
        // Before, at and after a note.
        std::thread::sleep(Duration::from_millis(350 * round));
        drop(server);
        writing.join().unwrap();
        let (code, text) = place.run(&["verify", "data"]);
        assert_eq!(code, Some(0), "round {round}: {text}");
        server = place.start().unwrap();
    }
}

#[test]
fn an_anchor_that_cannot_be_written_keeps_no_start_and_is_written_later() {
    let place = Place::new();
    let server = place.start().unwrap();
    Client::of(&server).make_table();
    drop(server);
    // Where a folder lies no lock can be taken, and without it nothing is written.
    let lock = place.0.path().join("keyring.anchor.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let noted = place.anchor();
    let server = place.start().unwrap();
    Client::of(&server).must("SELECT k FROM ks.t");
    Client::of(&server).must("INSERT INTO ks.t (k) VALUES (2)");
    assert_eq!(place.anchor(), noted);
    fs::remove_dir(&lock).unwrap();
    let (epoch, _) = place.wait_for_note_beyond(noted.1);
    assert!(epoch > noted.0, "a start is a commit");
}

#[test]
fn a_folder_that_was_given_up_does_not_come_back_unseen() {
    let place = Place::new();
    place.live(&MAKE_TABLE);
    copy(&place.data(), &place.file("older"));
    place.live(&GO_FAR);
    let given_up = place.anchor();
    place.put("older", "given up");
    place.accept();
    place.live(&["INSERT INTO ks.t (k) VALUES (3)"]);
    place.live(&["INSERT INTO ks.t (k) VALUES (4)"]);
    let went_on = place.anchor();
    // Epoch and log say nothing here.
    assert!(went_on.0 < given_up.0 && went_on.1 < given_up.1);
    place.put("given up", "went on");
    place.is_refused_for_its_lineage();
    assert_eq!(place.anchor(), went_on);

    // In its turn it may be accepted; then the other one is the one that was given up, and so is every copy of before.
    place.accept();
    place.live(&["INSERT INTO ks.t (k) VALUES (5)"]);
    for other in ["went on", "given up", "older"] {
        place.put(other, &format!("instead of {other}"));
        place.is_refused_for_its_lineage();
    }
    place.put("instead of went on", "the last");
    place.live(&["INSERT INTO ks.t (k) VALUES (6)"]);
}

#[test]
fn an_acceptance_cut_short_before_its_anchor_locks_nobody_out_and_is_asked_for_again() {
    let place = Place::new();
    place.live(&MAKE_TABLE);
    copy(&place.data(), &place.file("older"));
    place.live(&["INSERT INTO ks.t (k) VALUES (2)"]);
    let anchor = fs::read(place.file("keyring.anchor")).unwrap();
    place.put("older", "given up");
    place.accept();
    // As far as a crash lets it come: all is in the folder, nothing of it in the anchor. Again and again, until it has come further than its anchor.
    loop {
        let far = place.anchor();
        fs::write(place.file("keyring.anchor"), &anchor).unwrap();
        let known = place.anchor();
        if far.0 > known.0 && far.1 > known.1 {
            break;
        }
        let (code, text) = place.run(&["accept-rollback", "data", "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(place.anchor().1 > far.1, "it comes no further");
    }
    place.is_refused_for_its_lineage();
    // The newer one was not given up.
    place.put("given up", "half accepted");
    assert_eq!(place.run(&["verify", "data"]).0, Some(0));
    place.live(&["INSERT INTO ks.t (k) VALUES (7)"]);
    place.put("half accepted", "given up after all");
    place.accept();
    place.live(&["INSERT INTO ks.t (k) VALUES (8)"]);
}

#[test]
fn a_lost_anchor_is_made_good_by_accepting_the_folder_and_a_copy_of_before_is_another_one() {
    let place = Place::new();
    place.live(&MAKE_TABLE);
    copy(&place.data(), &place.file("before"));
    fs::remove_file(place.file("keyring.anchor")).unwrap();
    assert!(place.start().err().unwrap().contains("there is no anchor"));
    place.accept();
    place.live(&["INSERT INTO ks.t (k) VALUES (2)"]);
    place.put("before", "accepted");
    place.is_refused_for_its_lineage();
}

#[test]
fn heads_of_the_trail_that_was_given_up_are_set_aside_whichever_trail_is_longer() {
    let place = Place::new();
    let heads = || fs::read_to_string(place.file("keyring.audit-head")).unwrap();
    let is_whole = || {
        let (code, text) = place.run(&["audit", "verify", "data"]);
        assert_eq!(code, Some(0), "{text}");
        text
    };
    place.live(&MAKE_TABLE);
    let common = heads();
    copy(&place.data(), &place.file("older"));
    place.live(&GO_FAR);
    is_whole();
    let longer = heads();
    place.put("older", "longer");
    place.accept();
    is_whole();
    let first = place.file("keyring.audit-head.before-rollback-1");
    assert_eq!(fs::read_to_string(first).unwrap(), longer);
    assert!(
        heads().starts_with(&common),
        "they vouch for the records of before"
    );
    place.live(&["CREATE TABLE ks.g (k int PRIMARY KEY)"]);
    let shorter = heads();
    // The longer trail has records of its own in the places that these heads speak of.
    place.put("longer", "shorter");
    place.accept();
    let text = is_whole();
    assert!(!text.contains("no exported head"), "{text}");
    let second = place.file("keyring.audit-head.before-rollback-2");
    assert_eq!(fs::read_to_string(second).unwrap(), shorter);
    assert!(heads().starts_with(&common));
    place.live(&["INSERT INTO ks.t (k) VALUES (5)"]);
    is_whole();
    // What goes on has the heads of the one before: nothing is set aside without need.
    fs::remove_file(place.file("keyring.anchor")).unwrap();
    place.accept();
    is_whole();
    assert!(!place.file("keyring.audit-head.before-rollback-3").exists());
}

#[test]
fn an_acceptance_that_fails_behind_its_first_step_does_not_say_that_nothing_was_changed() {
    let place = Place::new();
    place.live(&MAKE_TABLE);
    copy(&place.data(), &place.file("older"));
    place.live(&GO_FAR);
    place.put("older", "given up");
    let lock = place.file("keyring.audit-head.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let (code, text) = place.run(&["accept-rollback", "data", "--yes"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("cut short"), "{text}");
    assert!(!text.contains("not done"), "{text}");
    place.is_refused_for_its_lineage();
    fs::remove_dir(&lock).unwrap();
    place.accept();
    place.live(&["INSERT INTO ks.t (k) VALUES (3)"]);
}

#[test]
fn a_folder_without_its_manifest_is_not_taken_for_an_older_one() {
    let place = Place::new();
    place.live(&MAKE_TABLE);
    let manifest = place.data().join("manifest");
    fs::rename(&manifest, place.file("manifest")).unwrap();
    let (code, text) = place.run(&["verify", "data"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("it has no folder `manifest`"), "{text}");
    for _ in 0..2 {
        let refusal = place.start().err().expect("served without a manifest");
        assert!(
            refusal.contains("the manifest of this data folder is missing"),
            "{refusal}"
        );
    }
    fs::remove_dir(&manifest).unwrap();
    fs::rename(place.file("manifest"), &manifest).unwrap();
    place.live(&["INSERT INTO ks.t (k) VALUES (2)"]);
}
