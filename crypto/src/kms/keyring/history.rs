//! The history of a keyring's file. By it, a copy that was put back and then edited is told from the file that was in use, although both count as many edits.
//!
//! ```text
//! edits       5          6          7
//! in use      A ───────► B ───────► C          the history of C: ... A B
//! put back    A ───────► b ───────► c          the history of c: ... A b     B is not in it
//! ```
//!
//! A file's digest is the first 16 bytes of the SHA-256 over all its bytes (`sha256sum keyring | cut -c1-32`). Each edit adds the digest of the file that it replaces, and
//! the file keeps the newest [`HISTORY_MAX`] of them. Who has seen a keyring keeps its moment (edits and digest). A later look is of the same keyring if it has that
//! digest, at that count, in its history or for its own, however many edits nobody looked at in between. Where more edits came in between than a file remembers, it
//! cannot be told, and is said to be so.
//!
//! What a release before version 3 wrote has no history: a moment that was kept without a digest is compared by its count alone.
//!
//! It tells mistakes, and stops no forger: whoever may write the file may write any history.

use super::Keyring;
use super::contents::Contents;
use super::owner::KeyringOverview;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::kdf;

/// Digests of earlier files: more edits than come between two looks of a server, which looks each second, or while one is stopped; 32 KiB of the file.
pub(super) const HISTORY_MAX: usize = 1_024;
/// Far from chance; against forgers no length helps.
pub(super) const DIGEST_BYTES: usize = 16;
const COUNT_BYTES: usize = 8;

pub(super) type FileDigest = [u8; DIGEST_BYTES];

/// What tells a file from all others.
pub(super) fn digest(text: &[u8]) -> FileDigest {
    let hash = kdf::sha256(&[text]);
    *hash.first_chunk().expect("32 bytes")
}

/// A keyring as it was at some time. The default is before everything.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct KeyringMoment {
    /// How many edits it had seen.
    pub edits: u64,
    /// What its file was; None: a release that counted alone has kept this.
    pub digest: Option<[u8; DIGEST_BYTES]>,
}

impl KeyringMoment {
    /// How it is kept: edits, u64 big-endian; digest, 16 bytes, unless there is none.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.edits.to_be_bytes().to_vec();
        bytes.extend(self.digest.iter().flatten());
        bytes
    }

    /// Reads what was kept.
    pub fn from_bytes(bytes: &[u8]) -> Option<KeyringMoment> {
        let (count, digest) = bytes.split_at_checked(COUNT_BYTES)?;
        let digest = match digest.is_empty() {
            true => None,
            false => Some(digest.try_into().ok()?),
        };
        Some(KeyringMoment {
            edits: u64::from_be_bytes(count.try_into().ok()?),
            digest,
        })
    }
}

/// How a keyring follows on a moment.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Succession {
    /// It is the keyring of that moment, edited since or not.
    Continues,
    /// It has seen fewer edits.
    Older,
    /// It has seen as many or more, and is not the one: a copy, edited by itself.
    Another,
    /// More edits lie between than it remembers.
    Forgotten,
}

impl<M> Contents<M> {
    /// The file of this digest is replaced by the next one.
    pub fn remember(&mut self, replaced: FileDigest) {
        self.history.push(replaced);
        let surplus = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..surplus);
    }

    /// How these contents, of a file of this digest, follow on a moment.
    fn succession(&self, own: FileDigest, moment: &KeyringMoment) -> Succession {
        let Some(since) = self.edits.checked_sub(moment.edits) else {
            return Succession::Older;
        };
        let Some(known) = moment.digest else {
            return Succession::Continues;
        };
        let there = match usize::try_from(since) {
            Ok(0) => Some(own),
            Ok(since) => {
                let place = self.history.len().checked_sub(since);
                place.map(|place| self.history[place])
            }
            Err(_) => None,
        };
        match there {
            Some(there) if there == known => Succession::Continues,
            Some(_) => Succession::Another,
            None => Succession::Forgotten,
        }
    }
}

impl Snapshot {
    pub(super) fn moment(&self) -> KeyringMoment {
        KeyringMoment {
            edits: self.index.contents.edits,
            digest: Some(self.index.digest),
        }
    }

    fn succession(&self, moment: &KeyringMoment) -> Succession {
        let index = &self.index;
        index.contents.succession(index.digest, moment)
    }
}

impl Keyring {
    /// What it is now, and how that follows on what it was at `moment`.
    pub fn since(&self, moment: &KeyringMoment) -> Result<(KeyringMoment, Succession)> {
        self.look(|snapshot| Ok((snapshot.moment(), snapshot.succession(moment))))
    }

    /// The same with all that may be shown of it.
    pub fn overview_since(&self, moment: &KeyringMoment) -> Result<(KeyringOverview, Succession)> {
        self.look(|snapshot| Ok((snapshot.overview(), snapshot.succession(moment))))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::entropy::SeededEntropy;

    const BEFORE: KeyringMoment = KeyringMoment {
        edits: 0,
        digest: None,
    };

    fn keyring(path: &Path) -> Keyring {
        let entropy = Arc::new(SeededEntropy::new(5));
        match path.exists() {
            true => Keyring::open_with_entropy(path, entropy).unwrap(),
            false => Keyring::create_new(path, entropy).unwrap(),
        }
    }

    fn edit(keyring: &Keyring, times: usize) {
        for turn in 0..times {
            keyring
                .alias_set(&format!("alias{}", turn % 2), "a")
                .unwrap();
        }
    }

    #[test]
    fn a_copy_that_was_put_back_and_edited_is_another_however_often_it_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let owner = keyring(&path);
        owner.key_create("a").unwrap();
        let copy = std::fs::read(&path).unwrap();
        owner.key_disable("a").unwrap();
        let (used, succession) = owner.since(&BEFORE).unwrap();
        assert_eq!((used.edits, succession), (2, Succession::Continues));
        assert_eq!(owner.since(&used).unwrap(), (used, Succession::Continues));

        std::fs::write(&path, copy).unwrap();
        assert_eq!(owner.since(&used).unwrap().1, Succession::Older);
        for _ in 0..3 {
            edit(&owner, 1);
            let (now, succession) = owner.since(&used).unwrap();
            assert_eq!(succession, Succession::Another, "{now:?}");
        }
        // Who knows the count alone cannot tell.
        let counted = KeyringMoment {
            digest: None,
            ..used
        };
        assert_eq!(owner.since(&counted).unwrap().1, Succession::Continues);
    }

    #[test]
    fn edits_that_nobody_looked_at_are_bridged_as_far_as_the_file_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let owner = keyring(&path);
        owner.key_create("a").unwrap();
        let (used, _) = owner.since(&BEFORE).unwrap();
        edit(&owner, HISTORY_MAX);
        let (now, succession) = keyring(&path).since(&used).unwrap();
        assert_eq!(succession, Succession::Continues);
        assert_eq!(now.edits, used.edits + HISTORY_MAX as u64);
        edit(&owner, 1);
        assert_eq!(owner.since(&used).unwrap().1, Succession::Forgotten);
        assert_eq!(owner.since(&now).unwrap().1, Succession::Continues);
    }

    #[test]
    fn a_moment_is_read_as_it_was_kept_and_as_a_release_before_kept_it() {
        let moment = KeyringMoment {
            edits: 7,
            digest: Some([9; DIGEST_BYTES]),
        };
        assert_eq!(KeyringMoment::from_bytes(&moment.to_bytes()), Some(moment));
        let counted = KeyringMoment {
            edits: 7,
            digest: None,
        };
        let bytes = 7u64.to_be_bytes();
        assert_eq!(KeyringMoment::from_bytes(&bytes), Some(counted));
        assert_eq!(counted.to_bytes(), bytes);
        for length in [0, 7, 9, 23, 25] {
            assert_eq!(KeyringMoment::from_bytes(&vec![1; length]), None);
        }
    }
}
