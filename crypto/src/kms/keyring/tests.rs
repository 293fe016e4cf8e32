//! For all keyrings: what is printed is parsed; what is cut or changed anywhere is refused.

use proptest::prelude::*;

use super::contents::{
    Body, Contents, DestroyedKey, Entry, GrantMaker, Key, KeyPolicy, KeyringGrant, Origin, State,
};
use super::date::UnixSeconds;
use super::file::{self, Problem};
use super::passphrase::{Protection, SEALED_BYTES};
use crate::hex;
use crate::kdf::PassphraseCost;
use crate::keys::EncryptionContext;
use crate::kms::{GrantId, GrantOperation};
use crate::secret::Secret;

/// Names that come from a number, so that they are unique and still of every length.
fn name(kind: &str, number: usize) -> String {
    format!("{kind}.{}-{number}", "x".repeat(number * 37 % 100))
}

fn text() -> impl Strategy<Value = String> {
    // Everything but control characters: quotes, backslashes, and what needs more than a byte.
    "[^\\p{Cc}]{0,20}"
}

fn operations() -> impl Strategy<Value = Vec<GrantOperation>> {
    let all = [
        GrantOperation::Describe,
        GrantOperation::Generate,
        GrantOperation::Decrypt,
        GrantOperation::Encrypt,
        GrantOperation::Retire,
    ];
    proptest::sample::subsequence(all.to_vec(), 1..=5)
}

fn grant() -> impl Strategy<Value = KeyringGrant> {
    let context = proptest::collection::btree_map(text(), text(), 0..4);
    (
        any::<[u8; 16]>(),
        text(),
        any::<(bool, u64)>(),
        operations(),
        context,
    )
        .prop_map(
            |(id, name, (by_owner, created), operations, context)| KeyringGrant {
                id: GrantId(hex::encode(&id)),
                name,
                maker: if by_owner {
                    GrantMaker::Owner
                } else {
                    GrantMaker::Server
                },
                created: UnixSeconds(created),
                operations,
                context: EncryptionContext(context),
            },
        )
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Enabled),
        Just(State::Disabled),
        any::<u64>().prop_map(|date| State::PendingDeletion {
            date: UnixSeconds(date)
        }),
    ]
}

fn entry(is_protected: bool) -> impl Strategy<Value = Entry<Body>> {
    let bytes = proptest::collection::vec(any::<u8>(), SEALED_BYTES);
    (any::<[u8; 16]>(), any::<(u64, bool)>(), bytes).prop_map(
        move |(id, (created, is_imported), bytes)| Entry {
            id,
            created: UnixSeconds(created),
            origin: if is_imported {
                Origin::Imported
            } else {
                Origin::Generated
            },
            body: match is_protected {
                true => Body::Sealed(bytes.try_into().expect("as many as asked for")),
                false => Body::Plain(Secret::from_slice(&bytes[..32]).expect("32 bytes")),
            },
        },
    )
}

fn key(is_protected: bool) -> impl Strategy<Value = Key<Body>> {
    let entries = proptest::collection::vec(entry(is_protected), 1..4);
    let grants = || proptest::collection::vec(grant(), 0..3);
    let service = proptest::collection::vec("[a-z]{1,9}", 0..3);
    (state(), any::<bool>(), service, entries, grants(), grants()).prop_map(
        |(state, is_open, service, materials, grants, revoked)| Key {
            name: String::new(),
            state,
            policy: if is_open {
                KeyPolicy::Open
            } else {
                KeyPolicy::GrantsOnly
            },
            service,
            materials,
            grants,
            revoked,
        },
    )
}

fn protection() -> impl Strategy<Value = Protection> {
    let cost = (8192u32..=524_288, 1u32..=16, 1u32..=16);
    (cost, any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(
        |((memory_kib, passes, lanes), salt, mark)| Protection {
            cost: PassphraseCost {
                memory_kib,
                passes,
                lanes,
            },
            salt,
            mark,
        },
    )
}

fn contents() -> impl Strategy<Value = Contents<Body>> {
    proptest::option::of(protection()).prop_flat_map(|protection| {
        let keys = proptest::collection::vec(key(protection.is_some()), 0..4);
        let grantors = proptest::collection::vec(any::<[u8; 32]>(), 0..3);
        let history = proptest::collection::vec(any::<[u8; 16]>(), 0..4);
        let edits = (history, any::<u64>());
        (edits, keys, grantors, 0..4usize, any::<u64>()).prop_map(
            move |((history, edits), keys, grantors, others, at)| {
                let keys: Vec<Key<Body>> = (0..)
                    .zip(keys)
                    .map(|(number, key)| Key {
                        name: name("key", number),
                        ..key
                    })
                    .collect();
                let aliases = (0..others).filter(|_| !keys.is_empty());
                Contents {
                    edits: edits.max(history.len() as u64),
                    history,
                    protection: protection.clone(),
                    grantors,
                    aliases: aliases
                        .map(|number| {
                            (
                                name("alias", number),
                                keys[number % keys.len()].name.clone(),
                            )
                        })
                        .collect(),
                    keys,
                    destroyed: (0..others)
                        .map(|number| DestroyedKey {
                            name: name("gone", number),
                            at: UnixSeconds(at),
                        })
                        .collect(),
                }
            },
        )
    })
}

fn read(text: &[u8]) -> Result<Contents<Body>, Problem> {
    let digits = file::parse(text)?;
    let body = digits.map(|_, _, digits| Ok(digits.decode().expect("checked when parsed")));
    Ok(body.expect("nothing here fails"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_printed_is_parsed(contents in contents()) {
        let text = file::print(&contents).unwrap();
        let parsed = read(&text);
        prop_assert!(parsed.is_ok(), "{:?}", parsed.err());
        let parsed = parsed.unwrap();
        prop_assert!(parsed == contents);
        prop_assert_eq!(file::print(&parsed).unwrap(), text);
    }

    #[test]
    fn what_is_cut_is_refused(contents in contents()) {
        let text = file::print(&contents).unwrap();
        for length in 0..text.len() {
            prop_assert!(file::parse(&text[..length]).is_err(), "cut at {}", length);
        }
    }

    #[test]
    fn what_is_longer_is_refused(contents in contents(), more in proptest::collection::vec(any::<u8>(), 1..100)) {
        let text = file::print(&contents).unwrap();
        prop_assert!(file::parse(&[&text[..], &more].concat()).is_err());
    }

    #[test]
    fn what_is_changed_in_one_byte_is_refused(contents in contents(), change in 1u8..) {
        let mut text = file::print(&contents).unwrap();
        for position in 0..text.len() {
            text[position] ^= change;
            prop_assert!(file::parse(&text).is_err(), "changed at {}", position);
            text[position] ^= change;
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(file::parse(&bytes).is_err());
    }

    /// With a checksum that is right, so that the lines themselves are read.
    #[test]
    fn no_lines_make_the_reader_panic(contents in contents(), from: usize, length in 0usize..40, put in "[ -~\\n]{0,20}") {
        let text = file::print(&contents).unwrap();
        let border = text.len() - file::CHECKSUM_LINE_BYTES;
        let mut lines = text[..border].to_vec();
        let from = from % lines.len();
        let to = (from + length).min(lines.len());
        lines.splice(from..to, put.into_bytes());
        let digest = hex::encode(&crate::kdf::sha256(&[&lines]));
        lines.extend_from_slice(format!("{{\"checksum\":\"{digest}\"}}\n").as_bytes());
        if let Ok(changed) = read(&lines) {
            prop_assert!(changed.check().is_ok());
            prop_assert!(read(&file::print(&changed).unwrap()).unwrap() == changed);
        }
    }
}
