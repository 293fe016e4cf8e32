//! Owners of keys: somebody who makes keys in a key service, takes them away and gives them back, with the service itself (or its double) at hand.
//!
//! One file for each service. A service that is a program runs as a child process on loopback and ends with its `Owner`. `tests/it/key_services.rs` tells the
//! same story with each of them.

mod aws;
mod fakecloud;
pub mod fault_proxy;
pub mod http;
mod keyring;
mod pykmip;
pub mod simulated_aws;
mod softhsm;
pub mod vault;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::node::Node;

pub use aws::{AwsGrantsOwner, AwsPolicyOwner};
pub use fakecloud::Fakecloud;
pub use keyring::KeyringOwner;
pub use pykmip::PyKmip;
pub use softhsm::SoftHsm;
pub use vault::VaultOwner;

/// Writes a file for its owner's eyes only, as a server wants its secrets.
pub fn write_private(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).expect("a file can be written");
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).expect("a file's mode can be set");
}

/// Somebody who owns keys in a key service.
pub trait Owner {
    /// The tables `[kms.NAME]` of the server's configuration; empty for the keyring.
    fn settings(&self) -> String;

    /// What the service needs in the server's environment.
    fn environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Makes a key, and gives the name that is typed in CQL.
    fn create_key(&mut self, node: &Node, name: &str) -> String;

    /// Takes a key away: disables it, or what comes nearest to that in this service.
    fn take_away(&mut self, node: &Node, key: &str);

    /// Gives it back.
    fn give_back(&mut self, node: &Node, key: &str);

    /// The reason that a client then sees.
    fn reason(&self) -> &'static str;

    /// The service stops answering, with its keys kept for [`Owner::come_back`]. False where that cannot be done.
    fn go_away(&mut self) -> bool;

    /// The service answers again.
    fn come_back(&mut self);
}

/// Has `integration-tests/install` install a tool; gives the place that it prints. One at a time: two tests may want the same tool.
pub fn install(tool: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("install");
    let output = Command::new(&program)
        .arg(tool)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{tool} cannot be installed");
    let place = String::from_utf8(output.stdout).expect("a place is text");
    place.trim().into()
}
