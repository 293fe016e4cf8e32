//! `vault:MOUNT/KEY`: where a key is in Vault.
//!
//! ```text
//! vault:transit/orders             the key `orders` of the engine that is mounted at `transit`
//! vault:customers/a/transit/main   the last part is the key; all before it is the mount (and, before that, child namespaces)
//! ```
//!
//! Each part has the letters `A-Z a-z 0-9 . _ -`; the key starts and ends with a letter, a digit or `_`, as Vault asks. So no name can leave
//! its place in the path of a request: no `..`, no empty part, nothing to escape, no query.

use crate::error::{Error, Result};
use crate::keys::CmkRef;

/// Longest mount or key accepted.
const PART_BYTES_MAX: usize = 256;

/// A key's place, checked.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub mount: &'a str,
    pub key: &'a str,
}

impl<'a> Place<'a> {
    pub fn of(cmk: &'a CmkRef) -> Result<Self> {
        if cmk.provider() != "vault" {
            return Err(Error::Unsupported(format!(
                "Vault resolves vault:MOUNT/KEY only, not {cmk}"
            )));
        }
        let (mount, key) = cmk.name().rsplit_once('/').ok_or_else(|| bad(cmk))?;
        let edges = [key.bytes().next(), key.bytes().next_back()];
        let is_key = is_part(key)
            && edges
                .into_iter()
                .flatten()
                .all(|byte| !matches!(byte, b'.' | b'-'));
        if !is_key || check_mount(mount).is_err() {
            return Err(bad(cmk));
        }
        Ok(Place { mount, key })
    }
}

/// A mount is one or more parts.
pub(super) fn check_mount(mount: &str) -> Result<()> {
    if mount.len() <= PART_BYTES_MAX && mount.split('/').all(is_part) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{mount}' is no mount: expected parts of A-Z a-z 0-9 . _ - with / between them"
    )))
}

fn is_part(part: &str) -> bool {
    let letters = part
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    letters && (1..=PART_BYTES_MAX).contains(&part.len()) && part != "." && part != ".."
}

fn bad(cmk: &CmkRef) -> Error {
    Error::invalid(format!(
        "'{cmk}' names no key of Vault: expected vault:MOUNT/KEY with the characters A-Z a-z 0-9 . _ -"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_is_the_key() {
        for (text, mount, key) in [
            ("vault:transit/orders", "transit", "orders"),
            ("vault:a/b/c_1/or.de-rs", "a/b/c_1", "or.de-rs"),
        ] {
            let cmk = CmkRef::parse(text).unwrap();
            let place = Place::of(&cmk).unwrap();
            assert_eq!((place.mount, place.key), (mount, key));
        }
    }

    #[test]
    fn a_name_that_leaves_its_place_is_refused() {
        for text in [
            "vault:orders",
            "vault:/orders",
            "vault:transit/",
            "vault:transit//orders",
            "vault:../orders",
            "vault:transit/../sys/orders",
            "vault:transit/..",
            "vault:transit/.orders",
            "vault:transit/orders-",
            "vault:transit/orders?list=true",
            "vault:transit/orders#x",
            "vault:transit/or%2fders",
            "vault:transit/or\\ders",
            "vault:transit/ordérs",
        ] {
            let cmk = CmkRef::parse(text).unwrap();
            assert!(Place::of(&cmk).is_err(), "{text}");
        }
        assert!(Place::of(&CmkRef::parse("local:transit").unwrap()).is_err());
    }
}
