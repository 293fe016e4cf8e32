//! The servers that are compared: ours, the floor, Apache Cassandra, or any CQL server that runs already.
//!
//! Those that are started here are bound to one core, work in a temporary folder, and end with this process's use of them. They can be stopped, killed and
//! started again on the same folder, flushed and compacted, each by its own means (`care`). What must hold: only a process that was started here is ever
//! signalled, by its id.

mod care;
mod command;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::workloads::{Setting, Workload};
use crate::node::free_address;
use crate::system;

const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Cassandra wants an address of its own; the port is 9042 there.
const CASSANDRA_PORT: u16 = 9042;
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

impl Sync {
    fn address(self) -> Ipv4Addr {
        match self {
            Sync::Group => Ipv4Addr::new(127, 0, 0, 4),
            Sync::Periodic => Ipv4Addr::new(127, 0, 0, 5),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Sync::Group => "group",
            Sync::Periodic => "periodic",
        }
    }
}

/// Which server, and how it is told to be.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A build of ours; `settings` are lines of its configuration file.
    Palladium { program: PathBuf, settings: String },
    /// The null server of the plain design, built beside this program.
    Floor,
    /// Apache Cassandra 5.0.6.
    Cassandra(Sync),
    /// A server that runs already; without its process id there is no CPU time.
    Running {
        address: SocketAddr,
        pid: Option<u32>,
    },
}

/// A server to be measured, not started yet.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub name: String,
    pub kind: Kind,
    /// The core that it is bound to.
    pub core: Option<usize>,
    /// Where its folder goes.
    pub parent: PathBuf,
    pub setting: Setting,
}

/// One server under load.
pub struct Server {
    pub recipe: Recipe,
    pub address: SocketAddr,
    child: Option<Child>,
    /// Data, keys and log; gone with the server. Nothing for one that was not started here.
    folder: Option<TempDir>,
    /// Where Cassandra takes orders.
    orders_port: u16,
}

impl Recipe {
    /// Apache Cassandra, as the oracle and the benchmark start it.
    pub fn cassandra(sync: Sync, core: Option<usize>, parent: &Path) -> Recipe {
        Recipe {
            name: format!("Cassandra 5.0.6, {}", sync.word()),
            kind: Kind::Cassandra(sync),
            core,
            parent: parent.to_owned(),
            setting: Setting::Ordinary,
        }
    }

    /// Whether it keeps data, and can be stopped and started again on them.
    pub fn can_restart(&self) -> bool {
        matches!(self.kind, Kind::Palladium { .. } | Kind::Cassandra(_))
    }

    /// The same server, set up in another way.
    pub fn with(&self, setting: Setting) -> Recipe {
        Recipe {
            setting,
            ..self.clone()
        }
    }

    /// Starts it and waits until its port opens.
    pub fn start(&self) -> io::Result<Server> {
        let (address, folder) = match &self.kind {
            Kind::Running { address, .. } => (*address, None),
            Kind::Cassandra(sync) => (
                (sync.address(), CASSANDRA_PORT).into(),
                Some(tempfile::tempdir_in(&self.parent)?),
            ),
            Kind::Palladium { .. } | Kind::Floor => {
                (free_address(), Some(tempfile::tempdir_in(&self.parent)?))
            }
        };
        let mut server = Server {
            recipe: self.clone(),
            address,
            child: None,
            folder,
            orders_port: free_address().port(),
        };
        if server.folder.is_some() {
            server.restart()?;
        }
        Ok(server)
    }
}

impl Server {
    /// How it is called in reports.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Its process, if that is known.
    pub fn pid(&self) -> Option<u32> {
        match (&self.child, &self.recipe.kind) {
            (Some(child), _) => Some(child.id()),
            (None, Kind::Running { pid, .. }) => *pid,
            (None, _) => None,
        }
    }

    /// How long it wants to be driven before anything counts.
    pub fn warm_up(&self) -> Duration {
        match self.recipe.kind {
            Kind::Cassandra(_) => CASSANDRA_WARM_UP,
            _ => Duration::ZERO,
        }
    }

    /// Whether it can do this at all.
    pub fn knows(&self, workload: &Workload) -> bool {
        workload.is_on_floor || !matches!(self.recipe.kind, Kind::Floor)
    }

    /// Whether it is ours: keys can be switched there.
    pub fn is_ours(&self) -> bool {
        matches!(self.recipe.kind, Kind::Palladium { .. })
    }

    /// Its folder, if it was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }

    /// Starts it, on the folder that it had before; gives the time until its port opened.
    pub fn restart(&mut self) -> io::Result<Duration> {
        let folder = self.folder().expect("only what was started here");
        if TcpStream::connect(self.address).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{} is taken", self.address),
            ));
        }
        let log_path = folder.join("log");
        let log = std::fs::File::create(&log_path)?;
        let mut command = command::of(&self.recipe, self.address, folder, self.orders_port)?;
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.as_mut().expect("just started").try_wait()?;
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{} did not start ({ended:?}):\n{log}",
                    self.name()
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(begun.elapsed())
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already; then there is nothing left to do.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Ends it as an operator does.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        system::terminate(child.id());
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if begun.elapsed() > STOP_LIMIT {
                return Err(io::Error::other("it does not end when it is told to"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.child = None;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
