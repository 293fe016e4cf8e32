//! The servers that are compared: ours, the floor, Apache Cassandra, or any CQL server that runs already. Those that are started here are bound to one
//! core, work in a temporary folder, and end with this process's use of them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::node::free_address;

const START_LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Cassandra wants an address of its own; the port is 9042 there.
const CASSANDRA_ADDRESS: &str = "127.0.0.4";
/// Before this, the compiler of its virtual machine is still at work.
const CASSANDRA_WARM_UP: Duration = Duration::from_secs(60);

/// How Cassandra acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// After the sync, as we do.
    Group,
    /// Before it; the default there.
    Periodic,
}

/// One server under load.
pub struct Opponent {
    pub name: String,
    pub address: SocketAddr,
    pub pid: Option<u32>,
    /// How long it wants to be driven before anything counts.
    pub warm_up: Duration,
    child: Option<Child>,
    /// Data, keys and log; gone with the server.
    _folder: Option<TempDir>,
}

impl Opponent {
    /// A server that runs already; without its process id there is no CPU time.
    pub fn running(address: SocketAddr, pid: Option<u32>) -> Opponent {
        Opponent {
            name: address.to_string(),
            address,
            pid,
            warm_up: Duration::ZERO,
            child: None,
            _folder: None,
        }
    }

    /// A release build of ours; `settings` are lines of its configuration file.
    pub fn palladium(
        name: &str,
        program: &Path,
        settings: &str,
        core: Option<usize>,
        folder: &Path,
    ) -> io::Result<Opponent> {
        let (address, folder) = (free_address(), tempfile::tempdir_in(folder)?);
        std::fs::write(folder.path().join("palladium.toml"), settings)?;
        let mut command = on_core(core, program);
        command
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--keyring")
            .arg(folder.path().join("keyring"));
        command
            .arg("--config")
            .arg(folder.path().join("palladium.toml"))
            .arg("--listen")
            .arg(address.to_string());
        Opponent::start(name, command, address, folder)
    }

    /// The null server of the plain design, built beside this program.
    pub fn floor(core: Option<usize>, folder: &Path) -> io::Result<Opponent> {
        let (address, folder) = (free_address(), tempfile::tempdir_in(folder)?);
        let program = std::env::current_exe()?.with_file_name("floor");
        let mut command = on_core(core, &program);
        command
            .arg("--listen")
            .arg(address.to_string())
            .arg("--data")
            .arg(folder.path());
        Opponent::start("floor, plain design", command, address, folder)
    }

    /// Apache Cassandra 5.0.6.
    pub fn cassandra(sync: Sync, core: Option<usize>, folder: &Path) -> io::Result<Opponent> {
        let folder = tempfile::tempdir_in(folder)?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/cassandra/start");
        let mode = match sync {
            Sync::Group => "group",
            Sync::Periodic => "periodic",
        };
        let mut command = on_core(core, &script);
        command
            .arg(CASSANDRA_ADDRESS)
            .arg(folder.path())
            .arg(mode)
            .env("HEAP", "2G");
        let address = SocketAddr::new(CASSANDRA_ADDRESS.parse().expect("an address"), 9042);
        let mut opponent = Opponent::start(
            &format!("Cassandra 5.0.6, {mode}"),
            command,
            address,
            folder,
        )?;
        opponent.warm_up = CASSANDRA_WARM_UP;
        Ok(opponent)
    }

    fn start(
        name: &str,
        mut command: Command,
        address: SocketAddr,
        folder: TempDir,
    ) -> io::Result<Opponent> {
        if TcpStream::connect(address).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{address} is taken"),
            ));
        }
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut opponent = Opponent {
            name: name.to_owned(),
            address,
            pid: Some(child.id()),
            warm_up: Duration::ZERO,
            child: Some(child),
            _folder: None,
        };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            let ended = opponent.child.as_mut().expect("just started").try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{name} did not start ({ended:?}):\n{log}"
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        opponent._folder = Some(folder);
        Ok(opponent)
    }
}

impl Drop for Opponent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already; then there is nothing left to do.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A command bound to one core. `taskset` becomes the program, so the process id stays the child's.
fn on_core(core: Option<usize>, program: &Path) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("--cpu-list").arg(core.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}
