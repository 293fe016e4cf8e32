//! A folder with a keyring in which two owners have a key each, servers one after the other on it, a clock that can be moved, and a key service that never answers.

use std::fmt::Display;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palladium::config::Config;
use palladium::env::RealEnv;
use palladium::server::Server;
use palladium_crypto::{Entropy, KeyPolicy, Keyring, OsEntropy};
use palladium_storage::Env;
use palladium_storage::env::BoxFuture;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::client::Client;

pub const INVALID: i32 = 0x2200;
pub const UNAUTHORIZED: i32 = 0x2100;
pub const UNAVAILABLE: i32 = 0x1000;
pub const WRITE_TIMEOUT: i32 = 0x1100;

/// How long a request waits for its table's key.
const REQUEST_WAIT: Duration = Duration::from_secs(2);
/// How long a test waits for what goes on beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real world, but for clocks that the test may move ahead.
#[derive(Default)]
pub struct MovedEnv {
    real: RealEnv,
    ahead_seconds: AtomicU64,
    /// What the wall clock shows beside that: somebody has set it.
    wall_seconds: AtomicI64,
    /// What the next task waits for before it begins.
    held: Mutex<Option<oneshot::Receiver<()>>>,
    is_patient: AtomicBool,
}

impl MovedEnv {
    /// Moves both clocks.
    pub fn advance(&self, seconds: u64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The next task that is spawned begins only when what this gives is dropped: as if the disk took its time.
    pub fn hold_next_task(&self) -> oneshot::Sender<()> {
        let (holding, held) = oneshot::channel();
        *self.held.lock().expect("no holder of this lock panics") = Some(held);
        holding
    }

    /// Whether it has come.
    pub fn has_held_one(&self) -> bool {
        let held = self.held.lock().expect("no holder of this lock panics");
        held.is_none()
    }

    /// From now on requests wait for keys as long as that takes.
    pub fn be_patient(&self) {
        self.is_patient.store(true, Ordering::SeqCst);
    }

    /// Sets the wall clock, and it alone, so much later; or earlier.
    pub fn step_wall(&self, seconds: i64) {
        self.wall_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn ahead(&self) -> u64 {
        self.ahead_seconds.load(Ordering::SeqCst)
    }
}

impl Env for MovedEnv {
    fn wall_micros(&self) -> i64 {
        let seconds = self.ahead() as i64 + self.wall_seconds.load(Ordering::SeqCst);
        self.real.wall_micros() + seconds * 1_000_000
    }
    fn boot_nanos(&self) -> u64 {
        self.real.boot_nanos() + self.ahead() * 1_000_000_000
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut held = self.held.lock().expect("no holder of this lock panics");
        match held.take() {
            None => self.real.spawn(task),
            Some(held) => self.real.spawn(Box::pin(async move {
                // Nothing is ever sent: this ends when the sender is gone.
                let _ = held.await;
                task.await;
            })),
        }
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match self.is_patient.load(Ordering::SeqCst) && duration == REQUEST_WAIT {
            true => Box::pin(std::future::pending()),
            false => self.real.sleep(duration),
        }
    }
    fn entropy(&self) -> &dyn Entropy {
        self.real.entropy()
    }
}

/// A folder, and what a server on it is told.
pub struct Scene {
    folder: TempDir,
    pub config: Config,
    pub env: Arc<MovedEnv>,
    pub runtime: Runtime,
}

/// Starts a server, perhaps after another one of its folder.
pub async fn start_after_the_last(config: &Config, env: Arc<dyn Env>) -> Server {
    let start = async || Server::start(config.clone(), env.clone()).await;
    after_the_last(start).await.expect("the server starts")
}

/// Opens a folder after another life of it. A child that another test makes at this very moment has the folder's lock until it runs its own program.
pub async fn after_the_last<T, E: Display>(open: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    let mut opened = open().await;
    for _ in 0..100 {
        match &opened {
            Err(error) if error.to_string().starts_with("busy: ") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                opened = open().await;
            }
            _ => break,
        }
    }
    opened
}

impl Scene {
    /// Keys `local:orders` and `local:other`; the first one needs grants where the server may make them.
    pub fn new(may_grant: bool) -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let credential = folder.path().join("grantor");
        let config = Config {
            data: folder.path().join("data"),
            keyring: folder.path().join("keyring"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            kms: match may_grant {
                true => toml::from_str(&format!("[local]\ngrant_credential_file = {credential:?}"))
                    .expect("a setting"),
                false => toml::Table::new(),
            },
            ..Config::default()
        };
        let scene = Scene {
            folder,
            config,
            env: Arc::default(),
            runtime: Runtime::new().expect("a runtime"),
        };
        let keyring =
            Keyring::create_new(&scene.config.keyring, Arc::new(OsEntropy)).expect("a keyring");
        keyring.key_create("orders").expect("a key");
        keyring.key_create("other").expect("a key");
        if may_grant {
            keyring.grantor_create(&credential).expect("a credential");
            keyring
                .key_set_policy("orders", KeyPolicy::GrantsOnly)
                .expect("a policy");
        }
        scene
    }

    /// The same, and keys `vault:...` whose service never answers.
    pub fn beside(silent: &Silent) -> Scene {
        let mut scene = Scene::new(false);
        let token = scene.path("token");
        std::fs::write(&token, "a token\n").expect("a file can be written");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&token, owner_only).expect("a file's mode can be set");
        let settings = format!(
            "[vault]\naddress = \"http://{}\"\ntoken_file = {token:?}\nrequest_timeout_s = 60\n",
            silent.address
        );
        scene.config.kms = toml::from_str(&settings).expect("settings");
        scene.config.key_call_timeout_s = 10;
        scene
    }

    /// A place in the folder, beside the data.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::open(&self.config.keyring).expect("the keyring")
    }

    /// Tries to start a server.
    pub fn start(&self) -> Result<Server, String> {
        let started = Server::start(self.config.clone(), self.env.clone());
        self.runtime.block_on(started)
    }

    /// One life of the server.
    pub fn serve(&self, story: impl FnOnce(&Server, &mut Client)) {
        let started = start_after_the_last(&self.config, self.env.clone());
        let server = self.runtime.block_on(started);
        let mut client = Client::connect(server.address());
        story(&server, &mut client);
        self.runtime.block_on(server.stop()).expect("a clean stop");
    }
}

/// A keyspace, and a table with one row under `local:orders`.
pub fn begin(client: &mut Client) {
    client
        .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    client
        .query(
            "CREATE TABLE ks.t (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:orders'}",
        )
        .done();
    client.query("INSERT INTO ks.t (k) VALUES (1)").done();
}

pub fn alter(key: &str) -> String {
    format!("ALTER TABLE ks.t WITH encryption = {{'kms_key': '{key}'}}")
}

/// The cells of each row, as texts; null is a dash.
pub fn texts(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query).rows();
    let cell = |cell: &Option<bytes::Bytes>| match cell {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".to_owned(),
    };
    rows.rows
        .iter()
        .map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Asks again until what is seen is what is waited for.
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>, what: &str) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A key service that takes every connection and answers nothing.
pub struct Silent {
    pub address: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
    is_over: Arc<AtomicBool>,
}

impl Silent {
    pub fn listen() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be had");
        let address = listener.local_addr().expect("it listens");
        let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (connections, over) = (held.clone(), is_over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                connections.lock().expect("nobody panics").push(stream);
            }
        });
        Silent {
            address,
            held,
            is_over,
        }
    }

    /// Hangs up: whoever waits is told that the service is out of reach.
    pub fn hang_up(self) {}
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for stream in self.held.lock().expect("nobody panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener sees that it is over, and closes.
        let _ = TcpStream::connect(self.address);
    }
}
