//! A server under test: a `palladium` child process on a loopback port, with a folder of its own.
//!
//! A `Node` can be stopped as an operator stops it (SIGTERM), killed as a power cut kills it (SIGKILL), and started again on the same folder and port.
//! What must hold: the child ends with its `Node`, whatever the test does; nothing but this child is ever signalled; what it printed is in every complaint.
//!
//! ```text
//! folder/            a temporary folder, gone with the Node
//!   data/            --data: the only place where sealed bytes may be
//!   keyring          --keyring: outside the data folder, so that a copy of data/ opens nothing
//!   palladium.toml   --config, if the test has settings
//!   log              what all runs printed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::raw::Connection;
use crate::system;

/// How long a start may take before a test gives up; the start after a kill replays the log.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a stop may take: SIGTERM promises 5 s; the rest is for a loaded machine.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The program under test: `$PALLADIUM`, or what `cargo build --release` makes, built once for this test process so that it is never stale.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("PALLADIUM") {
        Some(path) => PathBuf::from(path),
        None => build_program(),
    })
}

fn build_program() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "-p",
            "palladium",
            "--message-format=json",
        ])
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the server does not build");
    let executable = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "palladium")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo says where it put the program")
}

/// What a node is started with; the defaults are what an operator gets who says nothing.
#[derive(Default)]
pub struct Settings {
    /// Lines of the configuration file.
    pub config: String,
    /// Variables of the server's environment, for libraries that it loads. Nothing of our own is set so.
    pub environment: Vec<(String, String)>,
    /// The data folder is a disk of its own (tmpfs) of so many bytes; to mount one takes a superuser.
    pub disk_bytes: Option<u64>,
}

/// One server and its folder.
pub struct Node {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
    environment: Vec<(String, String)>,
    /// The data folder is mounted.
    has_disk: bool,
    /// Where in the log the present run begins.
    log_start: u64,
}

impl Node {
    /// Starts a server on an empty folder and waits until it serves.
    pub fn start() -> Node {
        Node::start_with(Settings::default())
    }

    /// The same, with settings of its own.
    pub fn start_with(settings: Settings) -> Node {
        let folder = tempfile::Builder::new()
            .prefix("palladium-test-")
            .tempdir()
            .expect("a temporary folder can be made");
        let config = folder.path().join("palladium.toml");
        fs::write(&config, settings.config).expect("the configuration can be written");
        // A password may stand in it.
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))
            .expect("the configuration can be made private");
        let mut node = Node {
            folder,
            address: free_address(),
            child: None,
            environment: settings.environment,
            has_disk: false,
            log_start: 0,
        };
        if let Some(bytes) = settings.disk_bytes {
            node.mount_disk(bytes);
        }
        node.restart();
        node
    }

    fn mount_disk(&mut self, bytes: u64) {
        fs::create_dir(self.data()).expect("the data folder can be made");
        let options = format!("size={bytes},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(self.data())
            .status()
            .expect("mount can be started");
        assert!(mounted.success(), "a tmpfs cannot be mounted here");
        self.has_disk = true;
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.address)
            .await
            .expect("the server is ready")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The keyring.
    pub fn keyring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("palladium.toml")
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// Starts the server again on the same folder and port; it must not be running.
    pub fn restart(&mut self) {
        if let Err(reason) = self.try_restart() {
            panic!("the server did not start: {reason}\n{}", self.log());
        }
    }

    /// The same, for tests where the server has a reason to refuse; the reason is in `log()`.
    pub fn try_restart(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "the node runs already");
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be opened");
        self.log_start = log.seek(SeekFrom::End(0)).expect("the log has an end");
        let child = self
            .command(&["--listen", &self.address.to_string()])
            .arg("--data")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", program().display()))?;
        self.child = Some(child);
        self.wait_until_ready()
    }

    /// The port opens only when the server serves, and then it says so in a line with the address; both must be true.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child_mut().try_wait().expect("a child can be asked") {
                self.child = None;
                return Err(format!("it ended with {status}"));
            }
            if self.log().contains(&self.address.to_string())
                && TcpStream::connect(self.address).is_ok()
            {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.kill();
        Err(format!("not ready after {} s", START_LIMIT.as_secs()))
    }

    /// Stops the server as an operator does; it must drain and end with 0.
    pub fn stop(&mut self) {
        system::terminate(self.pid());
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child_mut().try_wait().expect("a child can be asked") {
                self.child = None;
                assert!(
                    status.success(),
                    "the server ended with {status}\n{}",
                    self.log()
                );
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        panic!(
            "the server did not end after {} s\n{}",
            STOP_LIMIT.as_secs(),
            self.log()
        );
    }

    /// Kills the server without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be dead already, and then nothing is left to kill; waiting is what matters.
            child.kill().ok();
            child.wait().expect("a killed child can be waited for");
        }
    }

    /// Runs `palladium` with these arguments beside the server, with the node's keyring and configuration.
    pub fn tool(&self, arguments: &[&str]) -> Outcome {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        Outcome::from(output)
    }

    /// The same, with something to read.
    pub fn tool_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut stdin = child.stdin.take().expect("it was asked for");
        // Whoever does not want it does not read it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Outcome::from(child.wait_with_output().expect("the program ends"))
    }

    /// Makes, enables or disables a key in the node's keyring; must succeed.
    pub fn key(&self, action: &str, name: &str) {
        self.tool(&["key", action, name])
            .must_succeed(&format!("key {action} {name}"));
    }

    /// Writes all memtables to disk.
    pub fn flush(&self) {
        self.tool(&["flush", "--host", &self.address.to_string()])
            .must_succeed("flush");
    }

    /// Merges all SSTables.
    pub fn compact(&self) {
        self.tool(&["compact", "--host", &self.address.to_string()])
            .must_succeed("compact");
    }

    /// Checks the data folder of a stopped node.
    pub fn verify(&self) -> Outcome {
        assert!(
            self.child.is_none(),
            "verify wants a folder that is not in use"
        );
        let data = self.data();
        self.tool(&[
            "verify",
            data.to_str().expect("temporary folders have plain names"),
        ])
    }

    /// What the present run has printed.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(self.log_path()).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut text)
        });
        read.map(|_| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .arg("--keyring")
            .arg(self.keyring())
            .arg("--config")
            .arg(self.config());
        // No setting may come from the machine that runs the test.
        for (name, _) in std::env::vars_os().filter(|(name, _)| {
            ["PALLADIUM", "AWS_"]
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
        }) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn child_mut(&mut self) -> &mut Child {
        self.child.as_mut().expect("the node runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if self.has_disk {
            // What stays mounted is the machine's trouble, and no reason for a second panic.
            let _ = Command::new("umount").arg(self.data()).status();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the end of the server's log:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

/// How a command line ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    /// What it printed, both streams.
    pub text: String,
}

impl Outcome {
    /// The exit code; a signal has none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails the test, with all that was printed, unless the exit code is 0.
    pub fn must_succeed(&self, what: &str) -> &Outcome {
        assert!(
            self.status.success(),
            "{what} ended with {}:\n{}",
            self.status,
            self.text
        );
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        let text = [output.stdout, output.stderr].concat();
        Outcome {
            status: output.status,
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

/// A loopback address that nobody uses now.
pub fn free_address() -> SocketAddr {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let listener = TcpListener::bind(any).expect("a loopback port can be had");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// Copies a whole folder; a test keeps one to put an older state back.
pub fn copy_folder(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let copy = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}
