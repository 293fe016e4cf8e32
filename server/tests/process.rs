//! The process as the system sees it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

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
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    let mut log = String::new();
    let mut lines = server.0.stderr.take().expect("it is piped");
    lines.read_to_string(&mut log).expect("it writes text");
    let is_over = |line: &str| line.contains("operation=") && line.contains("span: close");
    assert!(log.lines().any(is_over), "{log}");
}

/// A server in a folder of its own, started by a shell after these words.
fn serve(folder: &Path, first: &str, output: Stdio) -> Running {
    let child = Command::new("sh")
        .args(["-c", &format!("{first} exec \"$0\" --listen 127.0.0.1:0")])
        .arg(env!("CARGO_BIN_EXE_palladium"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    Running(child.expect("a shell can be started"))
}

/// Where a server listens that has said so.
fn address(server: &mut Running) -> SocketAddr {
    let mut ready = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped"))
        .read_line(&mut ready)
        .expect("it says when it is ready");
    let address = ready.trim().rsplit(' ').next().map(str::parse);
    let Some(Ok(address)) = address else {
        panic!("it says {ready:?}");
    };
    address
}

/// OPTIONS in version 4.
const OPTIONS: [u8; 9] = [4, 0, 0, 7, 5, 0, 0, 0, 0];

/// The opcode of what the server says to OPTIONS.
fn answer(socket: &mut TcpStream) -> u8 {
    socket.write_all(&OPTIONS).expect("it is read");
    let mut header = [0; 9];
    socket.read_exact(&mut header).expect("it is answered");
    header[4]
}

#[test]
fn clients_do_not_get_the_last_file_descriptors() {
    const ERROR: u8 = 0;
    const SUPPORTED: u8 = 6;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = serve(folder.path(), "ulimit -n 256;", Stdio::piped());
    let address = address(&mut server);
    let mut sockets = Vec::new();
    let refused = loop {
        let mut socket = TcpStream::connect(address).expect("the port is open");
        match answer(&mut socket) {
            SUPPORTED => sockets.push(socket),
            opcode => break opcode,
        }
    };
    assert_eq!((sockets.len(), refused), (128, ERROR));
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.0.id())).expect("it runs");
    assert!(open.count() < 256 - 64);
    drop(sockets.pop());
    // The place is free once the server has seen that the socket is closed.
    let place = (0..1_000).find(|_| {
        let mut socket = TcpStream::connect(address).expect("the port is open");
        answer(&mut socket) == SUPPORTED
    });
    assert!(place.is_some());
}

#[test]
fn the_soft_limit_of_file_descriptors_is_raised_to_the_hard_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = serve(
        folder.path(),
        "ulimit -Sn 128; ulimit -Hn 512;",
        Stdio::piped(),
    );
    address(&mut server);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.0.id()));
    let limits = limits.expect("it runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, ["Max", "open", "files", "512", "512", "files"]);
}

/// Serves metrics on any port.
const METRICS: &str = "PALLADIUM_METRICS_LISTEN=127.0.0.1:0; export PALLADIUM_METRICS_LISTEN;";

/// Where a server serves metrics, by its log, and the rest of that.
fn metrics(server: &mut Running) -> (SocketAddr, BufReader<ChildStderr>) {
    let mut log = BufReader::new(server.0.stderr.take().expect("it is piped"));
    loop {
        let mut line = String::new();
        let bytes = log.read_line(&mut line).expect("a log");
        assert_ne!(bytes, 0, "it has ended");
        if line.contains("metrics are served") {
            let port = line.rsplit("127.0.0.1:").next().unwrap_or_default();
            let digits = port.chars().take_while(char::is_ascii_digit);
            let port = digits.collect::<String>().parse::<u16>().expect("a port");
            return (([127, 0, 0, 1], port).into(), log);
        }
    }
}

/// What a scraper is told within a minute.
fn scrape(address: SocketAddr) -> String {
    let mut scraper = TcpStream::connect(address).expect("the port is open");
    scraper
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a socket");
    scraper
        .write_all(b"GET /metrics HTTP/1.1\r\n\r\n")
        .expect("it is read");
    let mut text = String::new();
    scraper.read_to_string(&mut text).expect("it is answered");
    text
}

#[test]
fn a_server_that_cannot_say_that_it_is_ready_serves_all_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let full = File::options().write(true).open("/dev/full");
    let full = full.expect("the system has it");
    let mut server = serve(folder.path(), METRICS, full.into());
    // Metrics are there just before the line that cannot be printed.
    let (address, _log) = metrics(&mut server);
    for _ in 0..20 {
        let text = scrape(address);
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    }
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    let status = server.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn sockets_that_say_nothing_do_not_keep_scrapers_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = serve(folder.path(), METRICS, Stdio::null());
    let (address, _log) = metrics(&mut server);
    // With a place for four of them, and ten seconds for each, nobody would be told anything in a minute.
    let silent: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(address).expect("the port is open"))
        .collect();
    let text = scrape(address);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    drop(silent);
}

#[test]
fn every_signal_that_asks_a_server_to_end_ends_it_in_order() {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("it is told").trim(), 16);
    // Its children ignore what this process was started to ignore.
    let hears_hangup = ignored.expect("a number") & 1 == 0;
    let all = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
    for &asked in &all[..3 + usize::from(hears_hangup)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = serve(folder.path(), "", Stdio::piped());
        address(&mut server);
        kill_process(Pid::from_child(&server.0), asked).expect("it runs");
        let ended = server.0.wait().expect("it ends");
        assert!(ended.success(), "{asked:?}: {ended}");
    }
}

#[test]
fn a_server_that_was_started_to_outlive_its_terminal_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = serve(folder.path(), "trap '' HUP;", Stdio::piped());
    let address = address(&mut server);
    kill_process(Pid::from_child(&server.0), Signal::HUP).expect("it runs");
    let mut client = TcpStream::connect(address).expect("it listens");
    answer(&mut client);
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    assert!(server.0.wait().expect("it ends").success());
}

#[test]
fn a_supervisor_is_told_when_the_port_is_open_and_when_it_closes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("supervisor");
    let supervisor = std::os::unix::net::UnixDatagram::bind(&socket).expect("a socket");
    let first = format!("export NOTIFY_SOCKET={};", socket.display());
    let mut server = serve(folder.path(), &first, Stdio::piped());
    let told = || {
        let mut state = [0; 64];
        let bytes = supervisor.recv(&mut state).expect("it is told");
        String::from_utf8_lossy(&state[..bytes]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    TcpStream::connect(address(&mut server)).expect("it listens");
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn a_running_server_is_asked_where_the_configuration_has_it_listen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = serve(folder.path(), "", Stdio::piped());
    let config = format!("listen = \"{}\"\n", address(&mut server));
    std::fs::write(folder.path().join("palladium.toml"), config).expect("a file");
    let asked = Command::new(env!("CARGO_BIN_EXE_palladium"))
        .current_dir(folder.path())
        .args(["flush", "--config", "palladium.toml"])
        .output()
        .expect("it can be run");
    assert!(asked.status.success(), "{asked:?}");
}
