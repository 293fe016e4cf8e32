//! What differs between two catalogs, at the cost of what differs.
//!
//! Catalogs share whatever a statement leaves alone: a keyspace, type or table that is the same value in both is stepped over by its address. Only the rest is
//! written out and compared, so that a change among ten thousand tables does not write ten thousand definitions.
//!
//! The digest of a catalog is the exclusive or of the hashes of its definitions; it follows a change by what the change removes and adds.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use palladium_protocol::types::UserType;

use super::Place;
use super::definition::{StoredKeyspace, StoredType, json, store_table};
use crate::schema::{Catalog, Keyspace, KeyspaceKind};

/// A definition that is not the same in both catalogs: what it was, and what it is.
pub(super) struct Difference {
    pub place: Place,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// All that differs, keyspaces in the order of their names.
pub(super) fn between(before: &Catalog, after: &Catalog) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, pair) in unshared(&before.keyspaces, &after.keyspaces) {
        let [before, after] = pair.map(|keyspace| keyspace.filter(is_stored));
        let mut note = |kind, object: &str, before: Option<String>, after: Option<String>| {
            if before != after {
                let place = Place {
                    kind,
                    keyspace: name.to_owned(),
                    name: object.to_owned(),
                };
                found.push(Difference {
                    place,
                    before,
                    after,
                });
            }
        };
        let [old, new] = [before, after].map(|keyspace| keyspace.map(keyspace_definition));
        note("keyspace", "", old, new);
        let (no_types, no_tables) = (BTreeMap::new(), BTreeMap::new());
        let [old, new] = [before, after].map(|keyspace| keyspace.map_or(&no_types, |k| &k.types));
        for (object, pair) in unshared(old, new) {
            let [old, new] = pair.map(|ty| ty.map(type_definition));
            note("type", object, old, new);
        }
        let [old, new] = [before, after].map(|keyspace| keyspace.map_or(&no_tables, |k| &k.tables));
        for (object, pair) in unshared(old, new) {
            let [old, new] = pair.map(|table| table.map(|table| json(&store_table(table))));
            note("table", object, old, new);
        }
    }
    found
}

/// The digest of `after`, which follows from that of `before`.
pub fn digest_after(before: &Catalog, after: &Catalog) -> u128 {
    let mut digest = before.digest;
    for difference in between(before, after) {
        let definitions = [&difference.before, &difference.after];
        for definition in definitions.into_iter().flatten() {
            digest ^= hash(&difference.place, definition);
        }
    }
    digest
}

fn hash(place: &Place, definition: &str) -> u128 {
    let parts = [place.kind, &place.keyspace, &place.name, definition];
    // Neither names nor definitions hold a zero byte that a client could move: JSON escapes it, and no name has one.
    let hash = palladium_crypto::sha256(&[parts.join("\0").as_bytes()]);
    u128::from_be_bytes(hash[..16].try_into().expect("half of a hash"))
}

fn is_stored(keyspace: &&Arc<Keyspace>) -> bool {
    keyspace.kind == KeyspaceKind::User
}

fn keyspace_definition(keyspace: &Arc<Keyspace>) -> String {
    json(&StoredKeyspace {
        replication: keyspace.replication.clone(),
        durable_writes: keyspace.durable_writes,
        tags: keyspace.tags.clone(),
    })
}

fn type_definition(ty: &Arc<UserType>) -> String {
    let fields = ty.fields.iter();
    let fields = fields.map(|(field, ty)| (field.clone(), ty.to_string()));
    json(&StoredType {
        fields: fields.collect(),
    })
}

/// The entries of two maps that are not one shared value, by name, with what stands there in each.
fn unshared<'a, T>(
    before: &'a BTreeMap<String, Arc<T>>,
    after: &'a BTreeMap<String, Arc<T>>,
) -> impl Iterator<Item = (&'a str, [Option<&'a Arc<T>>; 2])> {
    let pairs = Pairs {
        before: before.iter().peekable(),
        after: after.iter().peekable(),
    };
    pairs.filter(|(_, pair)| !matches!(pair, [Some(old), Some(new)] if Arc::ptr_eq(old, new)))
}

/// Two sorted maps side by side.
struct Pairs<I: Iterator> {
    before: Peekable<I>,
    after: Peekable<I>,
}

impl<'a, T: 'a, I: Iterator<Item = (&'a String, &'a T)>> Iterator for Pairs<I> {
    type Item = (&'a str, [Option<&'a T>; 2]);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.before.peek(), self.after.peek()) {
            (Some((old, _)), Some((new, _))) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let before = self.before.next_if(|_| order != Ordering::Greater);
        let after = self.after.next_if(|_| order != Ordering::Less);
        let (name, _) = before.or(after)?;
        Some((
            name,
            [before, after].map(|entry| entry.map(|(_, value)| value)),
        ))
    }
}
