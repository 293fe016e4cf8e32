//! The lives of table keys: when each version was made, under which KMS key, and when another one took its place.
//!
//! Noted among the server's records after the fact, because the root alone decides; what a crash kept from being noted is noted at the next start, with the time
//! of that start. A table takes those of its key with it when it is dropped; the audit trail keeps the calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use palladium_crypto::{KeyVersion, TableId};
use palladium_storage::{Backend, Engine};
use serde::{Deserialize, Serialize};

use super::{Inner, KeyKeeper};
use crate::records;

/// The kind of these records.
const TABLE_KEYS: &str = "table_keys";

/// The life of one version of a table key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLife {
    /// The KMS key that it was made under.
    pub key: String,
    /// When it was noted, in microseconds of wall time.
    pub created_micros: i64,
    /// When a newer one was.
    pub retired_micros: Option<i64>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Versions(Mutex<BTreeMap<(TableId, KeyVersion), KeyLife>>);

impl<B: Backend> KeyKeeper<B> {
    /// The versions of a table's key, those too that nothing is under any more.
    pub fn versions(&self, id: TableId) -> Vec<(KeyVersion, KeyLife)> {
        let lives = self.inner.versions.lives();
        let of = lives.range((id, 0)..=(id, KeyVersion::MAX));
        of.map(|((_, version), life)| (*version, life.clone()))
            .collect()
    }
}

impl<B: Backend> Inner<B> {
    /// Notes what the table's root says that is not noted.
    pub(super) async fn note_versions(&self, id: TableId) {
        let now = self.env().wall_micros();
        let newest = self
            .engine
            .root(id)
            .map(|root| (root.version, root.cmk.to_string()));
        let changes = self.versions.follow(id, newest, now);
        if let Err(error) = records::write(&self.engine, TABLE_KEYS, changes).await {
            tracing::warn!(table = %id, %error, "the life of a table key is not noted");
        }
    }
}

impl Versions {
    pub(super) async fn load<B: Backend>(&self, engine: &Engine<B>) -> Result<(), String> {
        let records = records::read(engine, TABLE_KEYS)
            .await
            .map_err(|error| error.to_string())?;
        let mut lives = self.lives();
        for (name, value) in records {
            let unreadable = || "the record of a table key cannot be read".to_owned();
            let place = place(&name).ok_or_else(unreadable)?;
            let life = serde_json::from_slice(&value)
                .map_err(|error| format!("{}: {error}", unreadable()))?;
            lives.insert(place, life);
        }
        Ok(())
    }

    pub(super) fn tables(&self) -> Vec<TableId> {
        let mut ids: Vec<TableId> = self.lives().keys().map(|(id, _)| *id).collect();
        ids.dedup();
        ids
    }

    /// Follows a table's root: its newest version lives, all before it are retired; without a root there are none.
    fn follow(
        &self,
        id: TableId,
        newest: Option<(KeyVersion, String)>,
        now: i64,
    ) -> Vec<records::Change> {
        let mut lives = self.lives();
        let mut changes = Vec::new();
        let Some((newest, key)) = newest else {
            let gone: Vec<_> = lives
                .range((id, 0)..=(id, KeyVersion::MAX))
                .map(|(place, _)| *place)
                .collect();
            for place in gone {
                lives.remove(&place);
                changes.push((name(place), None));
            }
            return changes;
        };
        for (place, life) in lives.range_mut((id, 0)..(id, newest)) {
            if life.retired_micros.is_none() {
                life.retired_micros = Some(now);
                changes.push((name(*place), Some(encoded(life))));
            }
        }
        lives.entry((id, newest)).or_insert_with(|| {
            let life = KeyLife {
                key,
                created_micros: now,
                retired_micros: None,
            };
            changes.push((name((id, newest)), Some(encoded(&life))));
            life
        });
        changes
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<(TableId, KeyVersion), KeyLife>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

fn encoded(life: &KeyLife) -> Vec<u8> {
    serde_json::to_vec(life).expect("a record of texts and numbers has a JSON form")
}

fn name((id, version): (TableId, KeyVersion)) -> Vec<u8> {
    [&id.0[..], &version.to_be_bytes()[..]].concat()
}

fn place(name: &[u8]) -> Option<(TableId, KeyVersion)> {
    let (id, version) = name.split_at_checked(16)?;
    Some((
        TableId(id.try_into().ok()?),
        KeyVersion::from_be_bytes(version.try_into().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_lives_until_the_next_one_is_noted() {
        let versions = Versions::default();
        let id = TableId([1; 16]);
        assert_eq!(
            versions.follow(id, Some((1, "local:a".into())), 10).len(),
            1
        );
        assert!(
            versions
                .follow(id, Some((1, "local:a".into())), 11)
                .is_empty()
        );
        assert_eq!(
            versions.follow(id, Some((2, "local:b".into())), 20).len(),
            2
        );
        let lives = versions.lives();
        assert_eq!(lives[&(id, 1)].retired_micros, Some(20));
        assert_eq!(lives[&(id, 2)].retired_micros, None);
        drop(lives);
        assert_eq!(versions.follow(id, None, 30).len(), 2);
        assert!(versions.tables().is_empty());
    }
}
