//! The process as the system sees it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SOMEBODY: u32 = 4711;

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs as somebody who is not root: all of root's processes look alike.
fn start(command: &mut Command) -> Running {
    if rustix::process::geteuid().is_root() {
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    Running(command.spawn().expect("it can be run"))
}

/// Whose the files of a process are that show its memory. Those of one that is not dumpable are root's, whoever runs it.
fn owner(process: &Running) -> u32 {
    let path = format!("/proc/{}/environ", process.0.id());
    Path::new(&path).metadata().expect("it runs").uid()
}

#[test]
fn the_server_is_not_dumpable() {
    let user = match rustix::process::geteuid().as_raw() {
        0 => SOMEBODY,
        user => user,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("palladium");
    std::fs::copy(env!("CARGO_BIN_EXE_palladium"), &program).expect("a copy");
    let for_all = std::fs::Permissions::from_mode(0o755);
    for path in [folder.path(), &program] {
        std::fs::set_permissions(path, for_all.clone()).expect("a mode");
    }
    chown(folder.path(), Some(user), None).expect("a folder of his own");
    let mut server = start(
        Command::new(&program)
            .current_dir(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let mut ready = String::new();
    let output = server.0.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut ready)
        .expect("it says when it is ready");
    assert!(ready.starts_with("palladium is ready on"), "{ready}");
    // One that may be dumped, to show that this tells the two apart.
    let other = start(Command::new("sleep").arg("60"));
    assert_eq!(owner(&other), user);
    assert_eq!(owner(&server), 0);
}

#[test]
fn a_request_is_a_line_of_the_log_where_the_filter_lets_spans_through() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Running(
        Command::new(env!("CARGO_BIN_EXE_palladium"))
            .current_dir(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .env("PALLADIUM_LOG", "palladium=debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be run"),
    );
    let mut ready = String::new();
    let output = server.0.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut ready)
        .expect("it says when it is ready");
    let address = ready
        .trim_end()
        .rsplit(' ')
        .next()
        .expect("it says where it listens");
    let mut client = TcpStream::connect(address).expect("it listens");
    let startup = b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0";
    let query = b"\x04\0\0\x01\x07\0\0\0\x23\0\0\0\x1cSELECT key FROM system.local\0\x01\0";
    client
        .write_all(&[&startup[..], query].concat())
        .expect("it takes frames");
    // READY, and the head of the rows: the request is over.
    client.read_exact(&mut [0; 18]).expect("it answers");
    let process = rustix::process::Pid::from_child(&server.0);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it runs");
    let mut log = String::new();
    let mut lines = server.0.stderr.take().expect("it is piped");
    lines.read_to_string(&mut log).expect("it writes text");
    let is_over = |line: &str| line.contains("operation=") && line.contains("span: close");
    assert!(log.lines().any(is_over), "{log}");
}
