//! The owner of keys on a PKCS#11 token, which is SoftHSM's.
//!
//! SoftHSM is a library: the server loads it, and there is no service to start. Its owner works from another process, as with a device: the program
//! `token` (`src/bin/token.rs`) makes keys and changes their attributes. All of them find the token by `SOFTHSM2_CONF`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Owner, install, write_private};
use crate::node::Node;

const TOKEN: &str = "pal";
const PIN: &str = "5678";

/// A token in a folder of its own, and who may change its keys.
pub struct SoftHsm {
    folder: TempDir,
    module: PathBuf,
    /// The program `token`.
    program: PathBuf,
}

impl SoftHsm {
    /// Makes an empty token. `program` is where cargo has put the program `token`.
    pub fn start(program: &str) -> SoftHsm {
        let module = install("softhsm");
        let folder = tempfile::Builder::new()
            .prefix("palladium-token-")
            .tempdir()
            .expect("a temporary folder can be made");
        let owner = SoftHsm {
            folder,
            module,
            program: program.into(),
        };
        fs::create_dir(owner.tokens()).expect("a folder can be made");
        write_private(&owner.pin_file(), PIN);
        fs::write(
            owner.config_file(),
            format!(
                "directories.tokendir = {}\nlog.level = ERROR\n",
                owner.tokens().display()
            ),
        )
        .expect("a file can be written");
        let arguments = ["--init-token", "--free", "--label", TOKEN];
        owner.run(
            Path::new("softhsm2-util"),
            &[&arguments[..], &["--so-pin", "1234", "--pin", PIN]].concat(),
        );
        owner
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    fn away(&self) -> PathBuf {
        self.folder.path().join("away")
    }

    fn pin_file(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    fn token(&self, arguments: &[&str]) {
        let module = self.module.to_str().expect("libraries have plain names");
        let pin_file = self.pin_file();
        let pin_file = pin_file
            .to_str()
            .expect("temporary folders have plain names");
        self.run(
            &self.program,
            &[&[module, pin_file, TOKEN], arguments].concat(),
        );
    }

    fn run(&self, program: &Path, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .envs(self.environment())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Owner for SoftHsm {
    fn settings(&self) -> String {
        format!(
            "[kms.pkcs11]\nmodule = {:?}\npin_file = {:?}\n",
            self.module,
            self.pin_file()
        )
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![(
            "SOFTHSM2_CONF".into(),
            self.config_file().display().to_string(),
        )]
    }

    fn create_key(&mut self, _node: &Node, name: &str) -> String {
        self.token(&["create", name]);
        format!("pkcs11:token={TOKEN};object={name}")
    }

    fn take_away(&mut self, _node: &Node, key: &str) {
        self.token(&["forbid-decrypt", object(key)]);
    }

    fn give_back(&mut self, _node: &Node, key: &str) {
        self.token(&["allow-decrypt", object(key)]);
    }

    fn reason(&self) -> &'static str {
        "Disabled"
    }

    /// The token is pulled.
    fn go_away(&mut self) -> bool {
        fs::rename(self.tokens(), self.away()).expect("a folder can be moved");
        true
    }

    fn come_back(&mut self) {
        fs::rename(self.away(), self.tokens()).expect("a folder can be moved");
    }
}

fn object(key: &str) -> &str {
    key.rsplit_once("object=")
        .expect("the owner's keys are named by their label")
        .1
}
