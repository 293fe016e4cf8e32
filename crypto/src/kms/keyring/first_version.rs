//! The keyring's file, version 1, which is read and never written.
//!
//! ```text
//! {
//!   "format": "palladium keyring", "version": 1,
//!   "edits": 3,
//!   "keys": [ { "name": "orders", "state": "Enabled", "id": "16 bytes, hex", "material": "32 bytes, hex" } ],
//!   "checksum": "SHA-256, hex"
//! }
//!
//! checksum over    "palladium keyring 1" | edits u64 BE | count u32 BE
//!                  | for each key: name length u32 BE | name | state u8 (1 Enabled, 2 Disabled) | id 16 | material 32
//! ```
//!
//! Its keys have one material each, drawn nobody noted when, and are open to whoever holds the keyring.

use serde::Deserialize;

use super::contents::{Body, Contents, Entry, Key, KeyPolicy, Origin, State};
use super::date::UnixSeconds;
use super::file::{Digits, FORMAT, Problem};
use crate::hex;
use crate::kdf;
use crate::secret::equal;

const VERSION: u32 = 1;
const CHECKSUM_LABEL: &[u8] = b"palladium keyring 1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFile<'a> {
    #[serde(rename = "format")]
    _format: &'a str,
    #[serde(rename = "version")]
    _version: u32,
    edits: u64,
    #[serde(borrow)]
    keys: Vec<TextKey<'a>>,
    checksum: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextKey<'a> {
    name: &'a str,
    state: TextState,
    id: &'a str,
    material: &'a str,
}

#[derive(Copy, Clone, Deserialize)]
enum TextState {
    Enabled = 1,
    Disabled = 2,
}

/// Read first, so that a later version is called that and not damage.
#[derive(Deserialize)]
struct TextVersion<'a> {
    format: &'a str,
    version: u32,
}

/// Reads a file that is none of a later version.
pub(super) fn parse(text: &[u8]) -> Result<Contents<Digits<'_>>, Problem> {
    let head: TextVersion<'_> =
        serde_json::from_slice(text).map_err(|_| Problem::Damaged("not a keyring, or torn"))?;
    if head.format != FORMAT {
        return Err(Problem::Damaged("not a keyring"));
    }
    if head.version != VERSION {
        return Err(Problem::Version(head.version));
    }
    let file: TextFile<'_> =
        serde_json::from_slice(text).map_err(|_| Problem::Damaged("unknown or missing field"))?;
    let checksum: [u8; 32] = hex::decode(file.checksum).ok_or(Problem::Damaged("no checksum"))?;
    let made = checksum_of(&file).ok_or(Problem::Damaged("a key's digits are wrong"))?;
    if !equal(&checksum, &made) {
        return Err(Problem::Damaged("its checksum does not match"));
    }
    let contents = Contents {
        edits: file.edits,
        keys: file.keys.iter().filter_map(key).collect(),
        ..Contents::default()
    };
    contents.check().map_err(Problem::Damaged)?;
    Ok(contents)
}

/// Of a key whose digits the checksum has covered.
fn key<'a>(text: &TextKey<'a>) -> Option<Key<Digits<'a>>> {
    Some(Key {
        name: text.name.to_owned(),
        state: match text.state {
            TextState::Enabled => State::Enabled,
            TextState::Disabled => State::Disabled,
        },
        policy: KeyPolicy::Open,
        service: Vec::new(),
        materials: vec![Entry {
            id: hex::decode(text.id)?,
            created: UnixSeconds(0),
            origin: Origin::Generated,
            body: Digits::Plain(text.material),
        }],
        grants: Vec::new(),
        revoked: Vec::new(),
    })
}

fn checksum_of(file: &TextFile<'_>) -> Option<[u8; 32]> {
    struct Decoded {
        fixed: [u8; 5],
        id: [u8; 16],
        material: Body,
    }
    let decoded: Option<Vec<Decoded>> = file
        .keys
        .iter()
        .map(|key| {
            let [a, b, c, d] = u32::try_from(key.name.len()).ok()?.to_be_bytes();
            Some(Decoded {
                fixed: [a, b, c, d, key.state as u8],
                id: hex::decode(key.id)?,
                material: Digits::Plain(key.material).decode()?,
            })
        })
        .collect();
    let decoded = decoded?;
    let (edits, count) = (
        file.edits.to_be_bytes(),
        u32::try_from(decoded.len()).ok()?.to_be_bytes(),
    );
    let mut parts: Vec<&[u8]> = vec![CHECKSUM_LABEL, &edits, &count];
    for (key, decoded) in std::iter::zip(&file.keys, &decoded) {
        let (length, state) = decoded.fixed.split_at(4);
        parts.extend([length, key.name.as_bytes(), state, &decoded.id]);
        if let Body::Plain(secret) = &decoded.material {
            parts.push(secret.expose());
        }
    }
    Some(kdf::sha256(&parts))
}
