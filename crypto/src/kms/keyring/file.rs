//! The keyring's file, version 3: one JSON object on each line, in this order.
//!
//! ```text
//! {"format":"palladium keyring","version":3,"edits":17}              edits: raised by every edit
//! {"history":{"digests":16 B each}}                                 of the files that edits have replaced, the newest last (`history`); at most 1,024
//! {"protection":{"kdf":"argon2id","memory_kib":65536,"passes":3,"lanes":4,"salt":16 B,"mark":32 B}}      only under a passphrase
//! {"grantor":{"sha256":32 B}}                                        a credential that may make grants; at most 16
//! {"key":{"name":"orders","state":"Enabled","policy":"open"}}        at most 10,000
//!     state "Enabled", "Disabled", or "PendingDeletion" and then "deletion": seconds since 1970; policy "open" or "grants-only";
//!     of a key that servers have for their own: "service":["default"], the names by which they call it, at most 16
//! {"material":{"id":16 B,"origin":"Generated","created":1795633630,"secret":32 B}}      of the key above, the newest last; at most 100
//!     under a passphrase "sealed": 60 B in the place of "secret" (`passphrase`); origin "Generated" or "Imported"
//! {"grant":{"id":16 B,"name":"...","maker":"Owner","created":...,"operations":["Decrypt"],"context":{"...":"..."}}}      at most 50,000
//! {"revoked":{ the same }}                                           of the key above, the newest last; at most 1,000
//! {"alias":{"name":"current","target":"orders"}}                     at most 10,000
//! {"destroyed":{"name":"old","at":1795633630}}                       at most 10,000
//! {"checksum":"SHA-256 of every byte before this line"}              80 bytes with its newline
//! ```
//!
//! Bytes (B) are lower-case hexadecimal digits. The checksum tells a torn or hand-edited file from a good one, so that damage is an error and
//! never a lost key; it keeps no secret and stops no forger. Files of version 2, which has no history, and of version 1 (`first_version`) are read, too; the next edit
//! writes version 3.
//!
//! What is read borrows its digits from the text, so that reading copies no key. What is written is measured first and then written into memory
//! of that size, so that growing leaves no copies behind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::contents::{
    Body, Contents, DestroyedKey, Entry, GrantMaker, Key, KeyPolicy, KeyState, KeyringGrant,
    Origin, State,
};
use super::date::UnixSeconds;
use super::first_version;
use super::history::{DIGEST_BYTES, FileDigest};
use super::passphrase::{Protection, SEALED_BYTES};
use crate::error::Error;
use crate::hex;
use crate::kdf::{self, PassphraseCost};
use crate::keys::EncryptionContext;
use crate::kms::{GrantId, GrantOperation};
use crate::secret::{Secret, equal};

pub(super) const FORMAT: &str = "palladium keyring";
const VERSION: u32 = 3;
/// Without a history.
const SECOND_VERSION: u32 = 2;
const KDF: &str = "argon2id";
/// More than all limits together come to in practice: 50,000 grants of a table each are 20 MB.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
const CHECKSUM_BEFORE: &[u8] = b"{\"checksum\":\"";
const CHECKSUM_AFTER: &[u8] = b"\"}\n";
/// Bytes of the last line.
pub(super) const CHECKSUM_LINE_BYTES: usize = CHECKSUM_BEFORE.len() + 64 + CHECKSUM_AFTER.len();

/// Why a text is no keyring.
#[derive(Debug)]
pub(super) enum Problem {
    Damaged(&'static str),
    Version(u32),
}

/// A material as it stands in the text.
#[derive(Copy, Clone)]
pub(super) enum Digits<'a> {
    Plain(&'a str),
    Sealed(&'a str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'a> {
    format: &'a str,
    version: u32,
    edits: u64,
}

/// Whatever the version is, these two say so.
#[derive(Deserialize)]
struct AnyHead<'a> {
    format: &'a str,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    #[serde(borrow)]
    History(HistoryLine<'a>),
    Protection(ProtectionLine<'a>),
    Grantor(GrantorLine<'a>),
    Key(KeyLine<'a>),
    Material(MaterialLine<'a>),
    Grant(GrantLine<'a>),
    Revoked(GrantLine<'a>),
    Alias(AliasLine<'a>),
    Destroyed(DestroyedLine<'a>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryLine<'a> {
    digests: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtectionLine<'a> {
    kdf: &'a str,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Cow<'a, str>,
    mark: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantorLine<'a> {
    sha256: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine<'a> {
    name: &'a str,
    state: KeyState,
    policy: KeyPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion: Option<u64>,
    #[serde(default, skip_serializing_if = "is_nobodys")]
    service: Cow<'a, [String]>,
}

fn is_nobodys(service: &[String]) -> bool {
    service.is_empty()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaterialLine<'a> {
    id: Cow<'a, str>,
    origin: Origin,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantLine<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    maker: GrantMaker,
    created: u64,
    operations: Cow<'a, [GrantOperation]>,
    context: Cow<'a, BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AliasLine<'a> {
    name: &'a str,
    target: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestroyedLine<'a> {
    name: &'a str,
    at: u64,
}

/// Reads a file of any version.
pub(super) fn parse(text: &[u8]) -> Result<Contents<Digits<'_>>, Problem> {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // A head of one line is version 2 or later; version 1 spreads over many.
    let head: AnyHead<'_> = match serde_json::from_slice(first) {
        Ok(head) => head,
        Err(_) => return first_version::parse(text),
    };
    if head.format != FORMAT {
        return Err(Problem::Damaged("not a keyring"));
    }
    if !matches!(head.version, SECOND_VERSION | VERSION) {
        return Err(Problem::Version(head.version));
    }
    let contents = parse_lines(checked(text)?)?;
    if head.version == SECOND_VERSION && !contents.history.is_empty() {
        return Err(Problem::Damaged("a history, in a version that has none"));
    }
    contents.check().map_err(Problem::Damaged)?;
    Ok(contents)
}

/// The lines before the checksum, if it is theirs.
fn checked(text: &[u8]) -> Result<&[u8], Problem> {
    let torn = Problem::Damaged("torn: its last line is no checksum");
    let Some(border) = text.len().checked_sub(CHECKSUM_LINE_BYTES) else {
        return Err(torn);
    };
    let (lines, last) = text.split_at(border);
    let found = last
        .strip_prefix(CHECKSUM_BEFORE)
        .and_then(|rest| rest.strip_suffix(CHECKSUM_AFTER))
        .ok_or(torn)?;
    let made = hex::encode(&kdf::sha256(&[lines]));
    match equal(found, made.as_bytes()) && lines.ends_with(b"\n") {
        true => Ok(lines),
        false => Err(Problem::Damaged("its checksum does not match")),
    }
}

// serde's messages may quote what was read, so none is passed on.
fn parse_lines(lines: &[u8]) -> Result<Contents<Digits<'_>>, Problem> {
    let wrong = |_| Problem::Damaged("a line of it has an unknown or missing field");
    let digits = Problem::Damaged("a number, date or id of it is wrong");
    let mut lines = lines[..lines.len() - 1].split(|byte| *byte == b'\n');
    let head: Head<'_> = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(wrong)?;
    let mut contents = Contents {
        edits: head.edits,
        ..Contents::default()
    };
    for line in lines {
        let line: Line<'_> = serde_json::from_slice(line).map_err(wrong)?;
        if add(&mut contents, line).is_none() {
            return Err(digits);
        }
    }
    Ok(contents)
}

fn add<'a>(contents: &mut Contents<Digits<'a>>, line: Line<'a>) -> Option<()> {
    match line {
        Line::History(line) => {
            if !contents.history.is_empty()
                || contents.protection.is_some()
                || !contents.keys.is_empty()
            {
                return None;
            }
            contents.history = history(&line.digests)?;
        }
        Line::Protection(line) => {
            if line.kdf != KDF || contents.protection.is_some() || !contents.keys.is_empty() {
                return None;
            }
            contents.protection = Some(Protection {
                cost: PassphraseCost {
                    memory_kib: line.memory_kib,
                    passes: line.passes,
                    lanes: line.lanes,
                },
                salt: hex::decode(&line.salt)?,
                mark: hex::decode(&line.mark)?,
            });
        }
        Line::Grantor(line) => contents.grantors.push(hex::decode(&line.sha256)?),
        Line::Key(line) => contents.keys.push(Key {
            name: line.name.to_owned(),
            state: state(line.state, line.deletion)?,
            policy: line.policy,
            service: line.service.into_owned(),
            materials: Vec::new(),
            grants: Vec::new(),
            revoked: Vec::new(),
        }),
        Line::Material(line) => {
            let body = match (contents.protection.is_some(), line.secret, line.sealed) {
                (false, Some(digits), None) => Digits::Plain(digits),
                (true, None, Some(digits)) => Digits::Sealed(digits),
                _ => return None,
            };
            body.check()?;
            contents.keys.last_mut()?.materials.push(Entry {
                id: hex::decode(&line.id)?,
                created: UnixSeconds(line.created),
                origin: line.origin,
                body,
            });
        }
        Line::Grant(line) => contents.keys.last_mut()?.grants.push(grant(line)?),
        Line::Revoked(line) => contents.keys.last_mut()?.revoked.push(grant(line)?),
        Line::Alias(line) => {
            let (name, target) = (line.name.to_owned(), line.target.to_owned());
            if contents.aliases.insert(name, target).is_some() {
                return None;
            }
        }
        Line::Destroyed(line) => contents.destroyed.push(DestroyedKey {
            name: line.name.to_owned(),
            at: UnixSeconds(line.at),
        }),
    }
    Some(())
}

fn history(digits: &str) -> Option<Vec<FileDigest>> {
    // Only what is written is read: none of them is no line.
    let (digests, []) = digits.as_bytes().as_chunks::<{ 2 * DIGEST_BYTES }>() else {
        return None;
    };
    let digests: Option<Vec<FileDigest>> = digests
        .iter()
        .map(|digits| hex::decode(std::str::from_utf8(digits).ok()?))
        .collect();
    digests.filter(|digests| !digests.is_empty())
}

fn state(state: KeyState, deletion: Option<u64>) -> Option<State> {
    match (state, deletion) {
        (KeyState::Enabled, None) => Some(State::Enabled),
        (KeyState::Disabled, None) => Some(State::Disabled),
        (KeyState::PendingDeletion, Some(date)) => Some(State::PendingDeletion {
            date: UnixSeconds(date),
        }),
        _ => None,
    }
}

fn grant(line: GrantLine<'_>) -> Option<KeyringGrant> {
    hex::decode::<16>(&line.id)?;
    Some(KeyringGrant {
        id: GrantId(line.id.into_owned()),
        name: line.name.into_owned(),
        maker: line.maker,
        created: UnixSeconds(line.created),
        operations: line.operations.into_owned(),
        context: EncryptionContext(line.context.into_owned()),
    })
}

impl<'a> Digits<'a> {
    pub fn text(self) -> &'a str {
        match self {
            Digits::Plain(text) | Digits::Sealed(text) => text,
        }
    }

    /// The bytes, or `None` if these are no digits or not enough.
    pub fn decode(self) -> Option<Body> {
        match self {
            Digits::Plain(text) => {
                let mut read = None;
                let secret = Secret::filled(|out| read = hex::decode_into(text, out));
                read.map(|()| Body::Plain(secret))
            }
            Digits::Sealed(text) => hex::decode(text).map(Body::Sealed),
        }
    }

    /// As `decode` would find, without the bytes.
    fn check(self) -> Option<()> {
        let count = match self {
            Digits::Plain(_) => 2 * 32,
            Digits::Sealed(_) => 2 * SEALED_BYTES,
        };
        let text = self.text().as_bytes();
        let are_digits = text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == count && are_digits).then_some(())
    }
}

/// The text of a keyring, in memory that is wiped.
pub(super) fn print(contents: &Contents<Body>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut length = Length(CHECKSUM_LINE_BYTES as u64);
    write_lines(contents, &mut length);
    if length.0 > FILE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the keyring's file would become larger than {} MiB",
            FILE_BYTES_MAX >> 20
        )));
    }
    let capacity = length.0 as usize;
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    write_lines(contents, &mut *text);
    let checksum = hex::encode(&kdf::sha256(&[&text]));
    text.extend_from_slice(CHECKSUM_BEFORE);
    text.extend_from_slice(checksum.as_bytes());
    text.extend_from_slice(CHECKSUM_AFTER);
    assert_eq!(text.len(), capacity, "measured a moment ago");
    Ok(text)
}

/// Counts what is written to it.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(contents: &Contents<Body>, out: &mut impl Write) {
    put(
        out,
        &Head {
            format: FORMAT,
            version: VERSION,
            edits: contents.edits,
        },
    );
    if !contents.history.is_empty() {
        let digests = hex::encode(contents.history.as_flattened()).into();
        put(out, &Line::History(HistoryLine { digests }));
    }
    if let Some(protection) = &contents.protection {
        put(
            out,
            &Line::Protection(ProtectionLine {
                kdf: KDF,
                memory_kib: protection.cost.memory_kib,
                passes: protection.cost.passes,
                lanes: protection.cost.lanes,
                salt: hex::encode(&protection.salt).into(),
                mark: hex::encode(&protection.mark).into(),
            }),
        );
    }
    for grantor in &contents.grantors {
        let sha256 = hex::encode(grantor).into();
        put(out, &Line::Grantor(GrantorLine { sha256 }));
    }
    contents.keys.iter().for_each(|key| write_key(key, out));
    for (name, target) in &contents.aliases {
        put(out, &Line::Alias(AliasLine { name, target }));
    }
    for DestroyedKey { name, at } in &contents.destroyed {
        put(out, &Line::Destroyed(DestroyedLine { name, at: at.0 }));
    }
}

fn write_key(key: &Key<Body>, out: &mut impl Write) {
    let deletion = match key.state {
        State::PendingDeletion { date } => Some(date.0),
        State::Enabled | State::Disabled => None,
    };
    put(
        out,
        &Line::Key(KeyLine {
            name: &key.name,
            state: key.state.public(),
            policy: key.policy,
            deletion,
            service: key.service.as_slice().into(),
        }),
    );
    for entry in &key.materials {
        let digits = digits(&entry.body);
        let (secret, sealed) = match entry.body {
            Body::Plain(_) => (Some(digits.as_str()), None),
            Body::Sealed(_) => (None, Some(digits.as_str())),
        };
        put(
            out,
            &Line::Material(MaterialLine {
                id: hex::encode(&entry.id).into(),
                origin: entry.origin,
                created: entry.created.0,
                secret,
                sealed,
            }),
        );
    }
    key.grants
        .iter()
        .for_each(|grant| put(out, &Line::Grant(grant_line(grant))));
    key.revoked
        .iter()
        .for_each(|grant| put(out, &Line::Revoked(grant_line(grant))));
}

fn grant_line(grant: &KeyringGrant) -> GrantLine<'_> {
    GrantLine {
        id: grant.id.0.as_str().into(),
        name: grant.name.as_str().into(),
        maker: grant.maker,
        created: grant.created.0,
        operations: grant.operations.as_slice().into(),
        context: Cow::Borrowed(&grant.context.0),
    }
}

fn digits(body: &Body) -> Zeroizing<String> {
    let bytes: &[u8] = match body {
        Body::Plain(secret) => secret.expose(),
        Body::Sealed(sealed) => sealed,
    };
    let mut digits = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    hex::push(&mut digits, bytes);
    digits
}

fn put(out: &mut impl Write, line: &impl Serialize) {
    serde_json::to_writer(&mut *out, line).expect("writing to memory does not fail");
    out.write_all(b"\n")
        .expect("writing to memory does not fail");
}
