//! The owner of keys in PyKMIP's server.
//!
//! The server is `peers/pykmip/serve.py`, a child process on loopback that ends when its standard input does; the owner is `peers/pykmip/owner.py`,
//! which comes with a certificate of its own and may do what Palladium's may not.
//!
//! Revoking a key is one-way in KMIP. What can be undone is its operation policy, which PyKMIP reads anew each second: so a key is taken away by
//! leaving its use to its owner (AccessDenied), and given back by the old policy. `revoke` and `destroy` are for tests that end there.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Owner, install};
use crate::node::{Node, free_address};

/// How long Python and PyKMIP may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A server, its folder, and who may change its keys.
pub struct PyKmip {
    folder: TempDir,
    python: PathBuf,
    address: SocketAddr,
    server: Option<Child>,
    /// The names of the keys that a story has made, by what it calls them.
    names: HashMap<String, String>,
}

impl PyKmip {
    /// Starts a server without keys.
    pub fn start() -> PyKmip {
        let mut owner = PyKmip {
            folder: tempfile::Builder::new()
                .prefix("palladium-kmip-")
                .tempdir()
                .expect("a temporary folder can be made"),
            python: install("pykmip").join("bin/python"),
            address: free_address(),
            server: None,
            names: HashMap::new(),
        };
        owner.begin();
        owner
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file of the server's folder: `ca.pem`, `palladium.pem`, `palladium.key`, `stranger.pem`, ...
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key that is called `name`; gives its unique identifier.
    pub fn create(&mut self, name: &str, options: &[&str]) -> String {
        self.act(&[&["create", name], options].concat())
    }

    /// Makes a key usable that was created with `--pre-active`.
    pub fn activate(&mut self, id: &str) {
        self.act(&["activate", id]);
    }

    /// Deactivates a key for good.
    pub fn revoke(&mut self, id: &str) {
        self.act(&["revoke", id]);
    }

    /// Destroys a key that is not active.
    pub fn destroy(&mut self, id: &str) {
        self.act(&["destroy", id]);
    }

    /// Leaves a key's use to its owner, within a second or two.
    pub fn forbid(&mut self, name: &str) {
        self.act(&["forbid", name]);
    }

    /// Lets others use it again, within a second or two.
    pub fn allow(&mut self, name: &str) {
        self.act(&["allow", name]);
    }

    fn begin(&mut self) {
        let log = std::fs::File::create(self.file("output")).expect("a file can be made");
        let child = Command::new(&self.python)
            .arg(peer("serve.py"))
            .arg(self.folder.path())
            .arg(self.address.port().to_string())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.python.display()));
        let child = self.server.insert(child);
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            let ended = child.try_wait().expect("a child can be asked");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "PyKMIP does not start ({ended:?}):\n{}",
                std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            // All of its processes end when their input does.
            drop(server.stdin.take());
            server.wait().expect("a child can be waited for");
        }
    }

    /// Runs `owner.py`; gives what it printed.
    fn act(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.python)
            .arg(peer("owner.py"))
            .arg(self.folder.path())
            .arg(self.address.port().to_string())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.python.display()));
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for PyKmip {
    fn drop(&mut self) {
        self.end();
    }
}

impl Owner for PyKmip {
    fn settings(&self) -> String {
        format!(
            "[kms.kmip]\naddress = \"{}\"\nca_file = {:?}\nclient_cert_file = {:?}\nclient_key_file = {:?}\n",
            self.address,
            self.file("ca.pem"),
            self.file("palladium.pem"),
            self.file("palladium.key"),
        )
    }

    fn create_key(&mut self, _node: &Node, name: &str) -> String {
        // A table stands under a key's identifier, also when its name was typed.
        let key = format!("kmip:id={}", self.create(name, &[]));
        self.names.insert(key.clone(), name.to_owned());
        key
    }

    fn take_away(&mut self, _node: &Node, key: &str) {
        let name = self.names[key].clone();
        self.forbid(&name);
    }

    fn give_back(&mut self, _node: &Node, key: &str) {
        let name = self.names[key].clone();
        self.allow(&name);
    }

    fn reason(&self) -> &'static str {
        "AccessDenied"
    }

    fn go_away(&mut self) -> bool {
        self.end();
        true
    }

    fn come_back(&mut self) {
        self.begin();
    }
}

fn peer(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers/pykmip")
        .join(program)
}
