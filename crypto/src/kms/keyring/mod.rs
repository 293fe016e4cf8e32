//! The keyring: a whole key service in one local file.
//!
//! It holds customer keys, and does for them what a key service in a network does: rotation, windows before deletion, import, aliases, and
//! grants that are enforced. So every state of a key can be had without a cloud. Reading order:
//!
//! 1. `contents`: what a keyring means, and its limits. `date`: its clock.
//! 2. `file` and `first_version`: how that stands on disk, byte for byte.
//! 3. `snapshot`: one look at the file, cheap enough for each Decrypt.
//! 4. `owner`: what `palladium key` does to keys. `grants`: who may use them for what.
//! 5. `passphrase`: the material, sealed inside the file.
//! 6. `history`: by what a copy that was put back is seen.
//! 7. `service`: the keyring as a server asks it.
//!
//! The file protects a data folder that is lost without it, and a keyring that is lost without its passphrase, if it has one; nothing more: who
//! may write the file may do all that its owner may. It is made 0600 and is refused when others may read it. No key and no answer is kept
//! between calls: each looks at the file, so an edit by another process is seen at the next Decrypt. Editors exclude each other (`durable`),
//! each edit raises a counter, and a crash leaves the old file or the new one. Where the path is a link, the file that it leads to is edited.

mod contents;
mod date;
mod file;
mod first_version;
mod grants;
mod history;
mod owner;
mod passphrase;
mod service;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::durable::{self, Old};
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{Error, Result};
use crate::kdf::PassphraseCost;

use contents::{Body, Contents};
use passphrase::{Protection, Unlocked};
use snapshot::{Index, Snapshot};

pub use contents::{DestroyedKey, GrantMaker, KeyPolicy, KeyState, KeyringGrant};
pub use date::UnixSeconds;
pub use history::{KeyringMoment, Succession};
pub use owner::{KeyringEntry, KeyringOverview};
pub use passphrase::Passphrase;

/// Looks at a file that is replaced meanwhile. More often than this in one call, and something else is wrong.
const LOOKS_MAX: usize = 5;

type Clock = Arc<dyn Fn() -> UnixSeconds + Send + Sync>;

/// A keyring's file. It holds no customer key while nobody calls it.
pub struct Keyring {
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
    clock: Clock,
    /// Where the credential stands that may make grants.
    grant_credential: Option<PathBuf>,
    unlocked: Mutex<Option<Arc<Unlocked>>>,
    /// What the file said when it was last looked at.
    kept: Mutex<Option<Arc<Index>>>,
    /// An edit of ours has replaced a file that has another name.
    has_left_copy: AtomicBool,
}

/// What an edit does to the file.
enum Write {
    /// Nothing changed.
    No,
    /// A new file takes the place of the old one, which is overwritten, unless it has another name: its material may be destroyed one day, or sealed.
    Yes,
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
        let keyring = Keyring::at(path.into(), entropy);
        keyring.look(|_| Ok(()))?;
        Ok(keyring)
    }

    /// Makes an empty keyring where there is none.
    pub fn create_new(path: impl Into<PathBuf>, entropy: Arc<dyn Entropy>) -> Result<Keyring> {
        Keyring::at(path.into(), entropy).begin(&Contents::default())
    }

    /// The same under a passphrase, from its first byte on: a crash leaves no keyring without it.
    pub fn create_new_protected(
        path: impl Into<PathBuf>,
        passphrase: &Passphrase,
        cost: PassphraseCost,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Keyring> {
        let (protection, unlocked) = Protection::new(passphrase, cost, &*entropy)?;
        let contents = Contents {
            protection: Some(protection),
            ..Contents::default()
        };
        let keyring = Keyring::at(path.into(), entropy).begin(&contents)?;
        keyring.keep_unlocked(Some(unlocked));
        Ok(keyring)
    }

    fn begin(self, contents: &Contents<Body>) -> Result<Keyring> {
        let path = &self.path;
        // A link that leads to nothing is somebody's mistake, or a disk that is not there: no place for a new keyring.
        let refused = || Error::invalid(format!("{} exists already", path.display()));
        if path.symlink_metadata().is_ok() {
            return Err(refused());
        }
        let locked = durable::lock(path)?;
        if locked.path().symlink_metadata().is_ok() {
            return Err(refused());
        }
        locked.replace(&file::print(contents)?)?;
        Ok(self)
    }

    fn at(path: PathBuf, entropy: Arc<dyn Entropy>) -> Keyring {
        Keyring {
            path,
            entropy,
            clock: Arc::new(UnixSeconds::now),
            grant_credential: None,
            unlocked: Mutex::default(),
            kept: Mutex::default(),
            has_left_copy: AtomicBool::new(false),
        }
    }

    /// Takes the time from `clock` and not from the machine: dates of deletion are compared with it.
    pub fn with_clock(self, clock: impl Fn() -> UnixSeconds + Send + Sync + 'static) -> Keyring {
        Keyring {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Makes grants with the credential in this file, which is read at each call ([`Kms::grants`](crate::Kms::grants)).
    pub fn with_grant_credential(self, file: impl Into<PathBuf>) -> Keyring {
        Keyring {
            grant_credential: Some(file.into()),
            ..self
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has an edit since the last question left what it replaced as it was, because that file has another name (a hard link)?
    pub fn has_left_copy(&self) -> bool {
        self.has_left_copy.swap(false, Ordering::AcqRel)
    }

    /// How many edits were made. What is compared with what was seen before is more than the number ([`Keyring::since`]).
    pub fn edit_counter(&self) -> Result<u64> {
        self.look(|snapshot| Ok(snapshot.index.contents.edits))
    }

    /// Is its material sealed under a passphrase?
    pub fn is_protected(&self) -> Result<bool> {
        self.look(|snapshot| Ok(snapshot.index.contents.protection.is_some()))
    }

    /// Gives the passphrase, for as long as this value lives. Without a passphrase to be given, nothing happens.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<()> {
        let protection = self.look(|snapshot| Ok(snapshot.index.contents.protection.clone()))?;
        if let Some(protection) = protection {
            let unlocked = protection.unlock(passphrase)?;
            self.keep_unlocked(Some(unlocked));
        }
        Ok(())
    }

    /// Seals the material under a passphrase; one that is sealed under another must be unlocked. A server that has the keyring open gets no
    /// key from it until it is started again.
    pub fn protect(&self, passphrase: &Passphrase, cost: PassphraseCost) -> Result<()> {
        let (protection, fresh) = Protection::new(passphrase, cost, self.entropy())?;
        self.edit(|contents| {
            let old = std::mem::take(contents);
            let old_seal = self.seal_of(&old)?;
            *contents = old.map(|name, id, body| {
                let body = opened(body, name, id, old_seal.as_deref())?;
                let Body::Plain(secret) = body else {
                    return Ok(body);
                };
                Ok(Body::Sealed(fresh.seal(name, id, &secret, self.entropy())))
            })?;
            contents.protection = Some(protection);
            Ok(((), Write::Yes))
        })?;
        self.keep_unlocked(Some(fresh));
        Ok(())
    }

    /// Writes the material of an unlocked keyring in the clear again.
    pub fn unprotect(&self) -> Result<()> {
        self.edit(|contents| {
            if contents.protection.is_none() {
                return Err(Error::invalid("the keyring has no passphrase"));
            }
            let old = std::mem::take(contents);
            let seal = self.seal_of(&old)?;
            *contents = old.map(|name, id, body| opened(body, name, id, seal.as_deref()))?;
            contents.protection = None;
            Ok(((), Write::Yes))
        })?;
        self.keep_unlocked(None);
        Ok(())
    }

    /// What opens the material of these contents; nothing where it is in the clear.
    fn seal_of(&self, contents: &Contents<Body>) -> Result<Option<Arc<Unlocked>>> {
        let Some(protection) = &contents.protection else {
            return Ok(None);
        };
        let unlocked = self
            .unlocked()
            .filter(|unlocked| protection.is_of(unlocked));
        unlocked.map(Some).ok_or_else(snapshot::locked)
    }

    /// Asks the file as it is now. An edit overwrites the file that it has replaced; whoever was reading it looks again. What is overdue is
    /// destroyed by edits alone: a look never writes the keyring.
    fn look<T>(&self, ask: impl Fn(&Snapshot) -> Result<T>) -> Result<T> {
        for _ in 1..LOOKS_MAX {
            let file = Arc::new(snapshot::open(&self.path)?);
            let looked = Snapshot::take(file.clone(), &self.path, &self.kept);
            match looked.and_then(|snapshot| ask(&snapshot)) {
                Err(Error::Tampered { .. }) if snapshot::is_replaced(&self.path, &file) => {}
                answer => return answer,
            }
        }
        // Who was overtaken so often looks once while nobody edits. A reader that may not lock has its look all the same.
        let _lock = durable::lock(&self.path).ok();
        let file = Arc::new(snapshot::open(&self.path)?);
        ask(&Snapshot::take(file, &self.path, &self.kept)?)
    }

    fn edit<T>(&self, change: impl FnOnce(&mut Contents<Body>) -> Result<(T, Write)>) -> Result<T> {
        let locked = durable::lock(&self.path)?;
        let (mut contents, digest) = snapshot::read_whole(locked.path())?;
        let destroys = contents.destroy_overdue(self.now());
        let (answer, write) = change(&mut contents)?;
        if let (Write::No, false) = (write, destroys) {
            return Ok(answer);
        }
        contents.edits = contents.edits.checked_add(1).ok_or_else(|| {
            Error::invalid("the keyring's counter of edits is at its end: it takes no more edits")
        })?;
        contents.remember(digest);
        if locked.replace_and_wipe(&file::print(&contents)?)? == Old::HasAnotherName {
            self.has_left_copy.store(true, Ordering::Release);
        }
        Ok(answer)
    }

    fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    fn now(&self) -> UnixSeconds {
        (self.clock)()
    }

    fn grant_credential_file(&self) -> Option<&Path> {
        self.grant_credential.as_deref()
    }

    fn unlocked(&self) -> Option<Arc<Unlocked>> {
        self.unlocked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep_unlocked(&self, unlocked: Option<Unlocked>) {
        let mut kept = self.unlocked.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = unlocked.map(Arc::new);
    }
}

fn opened(body: Body, name: &str, id: &[u8; 16], seal: Option<&Unlocked>) -> Result<Body> {
    match (body, seal) {
        (Body::Sealed(sealed), Some(seal)) => seal.open(name, id, &sealed).map(Body::Plain),
        (Body::Sealed(_), None) => Err(snapshot::locked()),
        (plain, _) => Ok(plain),
    }
}
