//! One look at the keyring's file.
//!
//! Every call opens the file, so that an edit by another process is seen at once. Reading 50,000 grants for each call would be slow, so the
//! file's public part is kept between calls, as long as the file is the same: device, inode, size, times of change, and its last bytes, which
//! hold the checksum of all the others. A hit costs opening, one look at the metadata and two short reads.
//!
//! What is kept holds no key. Of each material it knows only where its digits stand and their digest; they are read when they are needed, from
//! the file that is open for this call, and what has that digest is what the checksum had covered.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::contents::{Body, Contents, Entry, Key, KeyPolicy, not_found};
use super::date::UnixSeconds;
use super::file::{self, Digits, FILE_BYTES_MAX, Problem};
use super::grants::GrantIndex;
use super::history::{self, FileDigest};
use super::passphrase::{SEALED_BYTES, Unlocked};
use crate::durable;
use crate::error::{Error, Result, UnavailableReason};
use crate::kdf;
use crate::kms::blob::Material;
use crate::private_file::{self, Readers};
use crate::secret::equal;

/// Holds the checksum, in any version of the file.
const TAIL_BYTES: usize = 96;
/// Digits of the longest material.
const DIGITS_MAX: usize = 2 * SEALED_BYTES;

/// The file, open, and what it says.
pub(super) struct Snapshot {
    file: Arc<File>,
    pub index: Arc<Index>,
}

/// What the file says, without the material.
pub(super) struct Index {
    stamp: Stamp,
    pub digest: FileDigest,
    pub contents: Contents<Place>,
    positions: HashMap<String, usize>,
    /// Of each key whose policy asks for grants.
    grants: HashMap<usize, GrantIndex>,
}

/// Where a material's digits stand in the file.
pub(super) struct Place {
    offset: u64,
    length: usize,
    is_sealed: bool,
    digest: [u8; 32],
}

/// Two files with one stamp are one file.
#[derive(Eq, PartialEq)]
struct Stamp {
    written: UnixSeconds,
    numbers: [u64; 6],
    tail: [u8; TAIL_BYTES],
}

/// Opens the file that is there now.
pub(super) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    let metadata = metadata(&file, path)?;
    private_file::check(path, &metadata, Readers::Owner)
        .map_err(Error::invalid)
        .map(|()| file)
}

/// Is another file there by now?
pub(super) fn is_replaced(path: &Path, file: &File) -> bool {
    match (path.metadata(), file.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) != (here.dev(), here.ino()),
        _ => false,
    }
}

/// Everything that the file says, with the material; and what tells it from other files.
pub(super) fn read_whole(path: &Path) -> Result<(Contents<Body>, FileDigest)> {
    let text = durable::read_open(&open(path)?, path, FILE_BYTES_MAX)?;
    let contents = parse(&text, path)?.map(|_, _, digits| {
        digits
            .decode()
            .ok_or_else(|| Error::tampered("digits that were checked a moment ago"))
    })?;
    Ok((contents, history::digest(&text)))
}

fn metadata(file: &File, path: &Path) -> Result<Metadata> {
    file.metadata()
        .map_err(|error| Error::io("read", path, error))
}

fn parse<'a>(text: &'a [u8], path: &Path) -> Result<Contents<Digits<'a>>> {
    file::parse(text).map_err(|problem| match problem {
        Problem::Damaged(what) => Error::tampered(format!("keyring {}: {what}", path.display())),
        Problem::Version(version) => {
            Error::Unsupported(format!("keyring {} of version {version}", path.display()))
        }
    })
}

impl Stamp {
    fn of(file: &File, path: &Path) -> Result<Stamp> {
        let metadata = metadata(file, path)?;
        let mut tail = [0; TAIL_BYTES];
        let start = metadata
            .len()
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| Error::tampered(format!("keyring {}: torn", path.display())))?;
        file.read_exact_at(&mut tail, start)
            .map_err(|error| Error::io("read", path, error))?;
        let numbers = [
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime_nsec() as u64,
            metadata.ctime() as u64,
            metadata.ctime_nsec() as u64,
        ];
        Ok(Stamp {
            written: UnixSeconds(metadata.mtime() as u64),
            numbers,
            tail,
        })
    }
}

impl Snapshot {
    /// Reads an open file, or knows that it is the one in `kept`.
    pub fn take(
        file: Arc<File>,
        path: &Path,
        kept: &Mutex<Option<Arc<Index>>>,
    ) -> Result<Snapshot> {
        let stamp = Stamp::of(&file, path)?;
        let known = kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|index| index.stamp == stamp);
        if let Some(index) = known {
            return Ok(Snapshot { file, index });
        }
        let text = durable::read_open(&file, path, FILE_BYTES_MAX)?;
        let start = text.as_ptr() as usize;
        let contents = parse(&text, path)?.map(|_, _, digits| {
            let text = digits.text();
            Ok(Place {
                offset: (text.as_ptr() as usize - start) as u64,
                length: text.len(),
                is_sealed: matches!(digits, Digits::Sealed(_)),
                digest: kdf::sha256(&[text.as_bytes()]),
            })
        })?;
        let index = Arc::new(Index::new(stamp, history::digest(&text), contents));
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(index.clone());
        Ok(Snapshot { file, index })
    }

    /// When the file was written.
    pub fn written(&self) -> UnixSeconds {
        self.index.stamp.written
    }

    /// The bytes of a material; `unlocked` opens those that are sealed.
    pub fn material(
        &self,
        key: &Key<Place>,
        entry: &Entry<Place>,
        unlocked: Option<&Unlocked>,
    ) -> Result<Material> {
        let place = &entry.body;
        let changed = || Error::tampered("the keyring changed while it was read");
        let mut buffer = Zeroizing::new([0; DIGITS_MAX]);
        let text = buffer.get_mut(..place.length).ok_or_else(changed)?;
        self.file
            .read_exact_at(text, place.offset)
            .map_err(|_| changed())?;
        if !equal(&kdf::sha256(&[text]), &place.digest) {
            return Err(changed());
        }
        let text = std::str::from_utf8(text).map_err(|_| changed())?;
        let digits = match place.is_sealed {
            true => Digits::Sealed(text),
            false => Digits::Plain(text),
        };
        let secret = match digits.decode().ok_or_else(changed)? {
            Body::Plain(secret) => secret,
            Body::Sealed(sealed) => {
                let unlocked = unlocked.filter(|unlocked| {
                    let protection = self.index.contents.protection.as_ref();
                    protection.is_some_and(|protection| protection.is_of(unlocked))
                });
                unlocked
                    .ok_or_else(locked)?
                    .open(&key.name, &entry.id, &sealed)?
            }
        };
        Ok(Material {
            id: entry.id,
            secret,
        })
    }
}

/// Material is asked for that a passphrase guards which this process was not told.
pub(super) fn locked() -> Error {
    Error::unavailable(
        UnavailableReason::Unreachable,
        "the keyring is protected by a passphrase that was not given here, or by another one than was given",
    )
}

impl Index {
    fn new(stamp: Stamp, digest: FileDigest, contents: Contents<Place>) -> Index {
        let keys = || contents.keys.iter().enumerate();
        let positions = keys()
            .map(|(position, key)| (key.name.clone(), position))
            .collect();
        let grants = keys()
            .filter(|(_, key)| key.policy == KeyPolicy::GrantsOnly)
            .map(|(position, key)| (position, GrantIndex::new(&key.grants)))
            .collect();
        Index {
            stamp,
            digest,
            positions,
            grants,
            contents,
        }
    }

    /// A key by its own name or an alias.
    pub fn find(&self, name: &str) -> Result<&Key<Place>> {
        self.position(name)
            .map(|position| &self.contents.keys[position])
    }

    /// The key's grants, if its policy asks for them.
    pub fn grants_of(&self, key: &Key<Place>) -> Option<&GrantIndex> {
        self.grants.get(self.positions.get(&key.name)?)
    }

    fn position(&self, name: &str) -> Result<usize> {
        let own = self.contents.aliases.get(name).map_or(name, String::as_str);
        self.positions
            .get(own)
            .copied()
            .ok_or_else(|| not_found(name))
    }
}
