//! The keyring: customer keys in one local file, and the edits that `palladium key` makes to it.
//!
//! ```text
//! {
//!   "format": "palladium keyring", "version": 1,
//!   "edits": 3,                                   raised by every edit
//!   "keys": [ { "name": "orders", "state": "Enabled", "id": "16 bytes, hex", "material": "32 bytes, hex" } ],
//!   "checksum": "SHA-256, hex"
//! }
//!
//! checksum over    "palladium keyring 1" | edits u64 BE | count u32 BE
//!                  | for each key: name length u32 BE | name | state u8 (1 Enabled, 2 Disabled) | id 16 | material 32
//! ```
//!
//! The file protects a data folder that is lost without it, and nothing more: it is made 0600 and is refused when others may read
//! it. The checksum tells a torn or hand-edited file from a good one, so that damage is an error and never a lost key; it keeps no
//! secret and stops no forger. Nothing is cached: every call reads the file, so an edit by another process is seen at the next
//! Decrypt. Editors exclude each other (`durable`), and a crash leaves the old file or the new one.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::durable;
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{DenialReason, Error, Result};
use crate::hex;
use crate::kdf;
use crate::keys::CmkRef;
use crate::kms::blob::Material;
use crate::secret::{Secret, equal};

const FORMAT: &str = "palladium keyring";
const VERSION: u32 = 1;
const CHECKSUM_LABEL: &[u8] = b"palladium keyring 1";
/// Far more than anyone names by hand; keeps the file, which every Decrypt reads, below a few megabytes.
const KEYS_MAX: usize = 10_000;
/// A key's text is at most 128 bytes of name and 96 of digits, with room for the names of fields and for indentation.
const KEY_TEXT_BYTES_MAX: usize = 512;
const FRAME_TEXT_BYTES_MAX: usize = 512;
const FILE_BYTES_MAX: u64 = (KEYS_MAX * KEY_TEXT_BYTES_MAX + FRAME_TEXT_BYTES_MAX) as u64;

/// A keyring's file. It holds no key while nobody calls it.
pub struct Keyring {
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
}

/// May a key of the keyring be used?
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub enum KeyState {
    /// Yes.
    Enabled,
    /// Not until it is enabled again.
    Disabled,
}

/// What may be shown of a key.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyringEntry {
    /// The key's name; `local:NAME` refers to it.
    pub name: String,
    /// May it be used?
    pub state: KeyState,
    /// Tells its material from any other; public.
    pub material_id: [u8; 16],
}

impl Keyring {
    /// Opens a keyring that exists, and checks it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Keyring> {
        Keyring::open_with_entropy(path, Arc::new(OsEntropy))
    }

    /// Opens a keyring that exists; new keys and nonces are drawn from `entropy`.
    pub fn open_with_entropy(
        path: impl Into<PathBuf>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Keyring> {
        let path = path.into();
        let keyring = Keyring { path, entropy };
        keyring.read()?;
        Ok(keyring)
    }

    /// Makes an empty keyring where there is none.
    pub fn create_new(path: impl Into<PathBuf>, entropy: Arc<dyn Entropy>) -> Result<Keyring> {
        let path = path.into();
        let _lock = durable::lock(&path)?;
        if path.symlink_metadata().is_ok() {
            return Err(Error::invalid(format!("{} exists already", path.display())));
        }
        durable::replace(&path, &Contents::default().to_text())?;
        Ok(Keyring { path, entropy })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a key with fresh material, enabled.
    pub fn key_create(&self, name: &str) -> Result<CmkRef> {
        let reference = CmkRef::local(name)?;
        self.edit(|contents| {
            if contents.find(name).is_some() {
                return Err(Error::invalid(format!(
                    "the key {reference} exists already"
                )));
            }
            if contents.keys.len() == KEYS_MAX {
                return Err(Error::invalid(format!(
                    "a keyring holds at most {KEYS_MAX} keys"
                )));
            }
            contents.keys.push(Key {
                name: name.to_owned(),
                state: KeyState::Enabled,
                material: Material::random(self.entropy.as_ref()),
            });
            Ok(())
        })?;
        Ok(reference)
    }

    /// All keys, in the order of their making.
    pub fn key_list(&self) -> Result<Vec<KeyringEntry>> {
        Ok(self.read()?.keys.iter().map(Key::entry).collect())
    }

    /// Lets a key be used again.
    pub fn key_enable(&self, name: &str) -> Result<()> {
        self.set_state(name, KeyState::Enabled)
    }

    /// Stops all use of a key; a server that uses it learns it at its next Decrypt.
    pub fn key_disable(&self, name: &str) -> Result<()> {
        self.set_state(name, KeyState::Disabled)
    }

    /// How many edits were made. A server that has seen a higher number knows that this is an older copy.
    pub fn edit_counter(&self) -> Result<u64> {
        Ok(self.read()?.edits)
    }

    fn set_state(&self, name: &str, state: KeyState) -> Result<()> {
        self.edit(|contents| {
            contents
                .find_mut(name)
                .ok_or_else(|| not_found(name))?
                .state = state;
            Ok(())
        })
    }

    fn edit(&self, change: impl FnOnce(&mut Contents) -> Result<()>) -> Result<()> {
        let _lock = durable::lock(&self.path)?;
        let mut contents = self.read()?;
        change(&mut contents)?;
        contents.edits += 1;
        durable::replace(&self.path, &contents.to_text())
    }

    /// What the keyring says of a key, used or not.
    pub(super) fn entry(&self, name: &str) -> Result<KeyringEntry> {
        let contents = self.read()?;
        contents
            .find(name)
            .map(Key::entry)
            .ok_or_else(|| not_found(name))
    }

    /// The material of a key that may be used now.
    pub(super) fn material(&self, name: &str) -> Result<Material> {
        let contents = self.read()?;
        let index = contents.keys.iter().position(|key| key.name == name);
        let key = contents
            .keys
            .into_iter()
            .nth(index.ok_or_else(|| not_found(name))?)
            .expect("found there");
        match key.state {
            KeyState::Enabled => Ok(key.material),
            KeyState::Disabled => Err(Error::denied(
                DenialReason::Disabled,
                format!("the key local:{name} is disabled"),
            )),
        }
    }

    pub(super) fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    fn read(&self) -> Result<Contents> {
        let missing = || Error::io("read", &self.path, std::io::ErrorKind::NotFound.into());
        let text = durable::read(&self.path, FILE_BYTES_MAX)?.ok_or_else(missing)?;
        let metadata = self
            .path
            .metadata()
            .map_err(|error| Error::io("read", &self.path, error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(Error::invalid(format!(
                "{} can be read by others than its owner: chmod 600",
                self.path.display()
            )));
        }
        Contents::from_text(&text).map_err(|problem| match problem {
            Problem::Damaged(what) => {
                Error::tampered(format!("keyring {}: {what}", self.path.display()))
            }
            Problem::Version(version) => Error::Unsupported(format!(
                "keyring {} of version {version}",
                self.path.display()
            )),
        })
    }
}

fn not_found(name: &str) -> Error {
    Error::denied(
        DenialReason::NotFound,
        format!("the keyring holds no key local:{name}"),
    )
}

/// The file's meaning.
#[derive(Default)]
struct Contents {
    edits: u64,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    state: KeyState,
    material: Material,
}

#[derive(Debug)]
enum Problem {
    Damaged(&'static str),
    Version(u32),
}

/// The file's text. Digits are borrowed, so that reading makes no copy of a key but the one that is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFile<'a> {
    format: &'a str,
    version: u32,
    edits: u64,
    #[serde(borrow)]
    keys: Vec<TextKey<'a>>,
    checksum: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextKey<'a> {
    name: &'a str,
    state: KeyState,
    id: &'a str,
    material: &'a str,
}

/// Read first, so that a later version is called that and not damage.
#[derive(Deserialize)]
struct TextVersion<'a> {
    format: &'a str,
    version: u32,
}

impl Key {
    fn entry(&self) -> KeyringEntry {
        KeyringEntry {
            name: self.name.clone(),
            state: self.state,
            material_id: self.material.id,
        }
    }

    fn from_text(text: &TextKey<'_>) -> Option<Key> {
        CmkRef::local(text.name).ok()?;
        let mut secret = Some(());
        let material = Material {
            id: hex::decode(text.id)?,
            secret: Secret::filled(|out| secret = hex::decode_into(text.material, out)),
        };
        secret?;
        Some(Key {
            name: text.name.to_owned(),
            state: text.state,
            material,
        })
    }
}

impl Contents {
    fn find(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Key> {
        self.keys.iter_mut().find(|key| key.name == name)
    }

    fn from_text(text: &[u8]) -> std::result::Result<Contents, Problem> {
        let head: TextVersion<'_> =
            serde_json::from_slice(text).map_err(|_| Problem::Damaged("not a keyring, or torn"))?;
        if head.format != FORMAT {
            return Err(Problem::Damaged("not a keyring"));
        }
        if head.version != VERSION {
            return Err(Problem::Version(head.version));
        }
        // serde's message may quote what it read, so it is not passed on.
        let file: TextFile<'_> = serde_json::from_slice(text)
            .map_err(|_| Problem::Damaged("unknown or missing field"))?;
        let keys: Option<Vec<Key>> = file.keys.iter().map(Key::from_text).collect();
        let contents = Contents {
            edits: file.edits,
            keys: keys.ok_or(Problem::Damaged("a key's name or digits are wrong"))?,
        };
        let checksum: [u8; 32] =
            hex::decode(file.checksum).ok_or(Problem::Damaged("no checksum"))?;
        if !equal(&checksum, &contents.checksum()) {
            return Err(Problem::Damaged("its checksum does not match"));
        }
        Ok(contents)
    }

    fn to_text(&self) -> Zeroizing<Vec<u8>> {
        let digits: Vec<(String, Zeroizing<String>)> =
            self.keys.iter().map(|key| digits(&key.material)).collect();
        let checksum = hex::encode(&self.checksum());
        let file = TextFile {
            format: FORMAT,
            version: VERSION,
            edits: self.edits,
            keys: std::iter::zip(&self.keys, &digits)
                .map(|(key, (id, material))| TextKey {
                    name: &key.name,
                    state: key.state,
                    id,
                    material,
                })
                .collect(),
            checksum: &checksum,
        };
        // Room for all of it, so that growing leaves no copies behind.
        let capacity = FRAME_TEXT_BYTES_MAX + self.keys.len() * KEY_TEXT_BYTES_MAX;
        let mut text = Zeroizing::new(Vec::with_capacity(capacity));
        serde_json::to_writer_pretty(&mut *text, &file).expect("writing to memory does not fail");
        text.push(b'\n');
        assert!(text.len() <= capacity, "names and digits are bounded");
        text
    }

    fn checksum(&self) -> [u8; 32] {
        let (edits, count) = (
            self.edits.to_be_bytes(),
            (self.keys.len() as u32).to_be_bytes(),
        );
        let fixed: Vec<[u8; 5]> = self.keys.iter().map(Key::fixed).collect();
        let mut parts: Vec<&[u8]> = vec![CHECKSUM_LABEL, &edits, &count];
        for (key, fixed) in std::iter::zip(&self.keys, &fixed) {
            let (length, state) = fixed.split_at(4);
            let material: [&[u8]; 2] = [&key.material.id, key.material.secret.expose()];
            parts.extend([length, key.name.as_bytes(), state]);
            parts.extend(material);
        }
        kdf::sha256(&parts)
    }
}

impl Key {
    /// The length of the name and the state, as the checksum covers them.
    fn fixed(&self) -> [u8; 5] {
        let length = (self.name.len() as u32).to_be_bytes();
        let state = match self.state {
            KeyState::Enabled => 1,
            KeyState::Disabled => 2,
        };
        [length[0], length[1], length[2], length[3], state]
    }
}

fn digits(material: &Material) -> (String, Zeroizing<String>) {
    let mut secret = Zeroizing::new(String::with_capacity(64));
    hex::push(&mut secret, material.secret.expose());
    (hex::encode(&material.id), secret)
}
