//! A real Vault, as `peers/vault` puts it together: in memory, unsealed, on loopback, a child process that ends with its owner.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::double::ROOT;
use crate::node::free_address;

const START_LIMIT: Duration = Duration::from_secs(60);

/// The running server.
pub struct Dev {
    address: SocketAddr,
    child: Child,
    folder: TempDir,
    unseal_key: String,
}

impl Dev {
    /// Over plain HTTP.
    pub fn start() -> Dev {
        Dev::start_with(&[])
    }

    /// Over TLS, with a certificate and its key in PEM.
    pub fn start_tls(certificate: &Path, key: &Path) -> Dev {
        let [certificate, key] =
            [certificate, key].map(|path| path.to_str().expect("test folders have plain names"));
        Dev::start_with(&["-tls-cert", certificate, "-tls-key", key])
    }

    fn start_with(more: &[&str]) -> Dev {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = File::create(folder.path().join("log")).expect("the log can be made");
        let address = free_address();
        let child = Command::new(super::super::install("vault").join("vault"))
            .args(["-address", &address.to_string(), "-root-token", ROOT])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn()
            .expect("vault can be started");
        let mut dev = Dev {
            address,
            child,
            folder,
            unseal_key: String::new(),
        };
        dev.wait_until_ready();
        dev
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn unseal_key(&self) -> &str {
        &self.unseal_key
    }

    /// It says its unseal key when it serves.
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let log = self.log();
            let key = log
                .lines()
                .find_map(|line| line.strip_prefix("Unseal Key: "));
            if let Some(key) = key.filter(|_| TcpStream::connect(self.address).is_ok()) {
                self.unseal_key = key.trim().to_owned();
                return;
            }
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "vault does not start: {ended:?}\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself, and then nothing is left to kill.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("vault's log:\n{}", self.log());
        }
    }
}
