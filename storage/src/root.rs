//! A table's root: which KMS key opens the table, its newest key wrapped, the older ones under it. Committing a root is the key switch.
//!
//! ```text
//! format version u16 | 0 u16 | table 16 | epoch u64 | newest key version u32
//! wraps u16        | each: name length u16, KMS key name, blob length u16, the KMS's blob
//! older keys u16   | each: wrapped table key
//! fingerprints u16 | each: key version u32, fingerprint 16
//! tag 32             under the newest table key, over all before it
//! ```
//!
//! All of it is public. The tag is checked once the newest key is at hand ([`Root::verify`]); until then a root is only a claim, and
//! the manifest's epoch and hash ([`standing`]) tell whether it is the newest claim.
//!
//! What must hold: a root is replaced by compare-and-swap on its epoch, which only rises; a destroyed root never comes back.

use palladium_crypto::{
    CmkRef, Fingerprint, KeyVersion, TableId, TableKey, WRAPPED_TABLE_KEY_BYTES, WrappedTableKey,
};

use crate::backend::fields::{FieldReader, FieldWriter};
use crate::backend::{Backend, Public, RootCopy};
use crate::error::{Error, Result};

/// The root that wraps the service's own key.
pub const SERVICE: TableId = TableId([0; 16]);
/// Wraps of the newest table key in one root.
pub const WRAPS_MAX: usize = 8;
/// Older table keys that one root wraps directly.
pub const OLDER_KEYS_MAX: usize = 64;

const FORMAT_VERSION: u16 = 1;
const TAG_BYTES: usize = 32;

/// The keys of one table, wrapped.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Root {
    /// The table.
    pub table: TableId,
    /// The KMS key that wraps the newest table key.
    pub cmk: CmkRef,
    /// What that KMS gave us to keep.
    pub wrapped: Vec<u8>,
    /// The same table key under further KMS keys (other regions or owners). Empty today.
    pub alternatives: Vec<KmsWrap>,
    /// The newest table key's version.
    pub version: KeyVersion,
    /// Every older key still referenced, wrapped by the newest.
    pub older: Vec<WrappedTableKey>,
    /// A fingerprint for each version, so that a wrong key is known before it is used.
    pub fingerprints: Vec<(KeyVersion, Fingerprint)>,
    /// Rises with every commit.
    pub epoch: u64,
    /// MAC over all of the above.
    pub tag: [u8; TAG_BYTES],
}

/// One KMS key's wrap of a table key.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KmsWrap {
    /// The KMS key.
    pub cmk: CmkRef,
    /// Its blob.
    pub wrapped: Vec<u8>,
}

impl Root {
    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_untagged();
        bytes.extend_from_slice(&self.tag);
        bytes
    }

    fn encode_untagged(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(1024);
        fields.u16(FORMAT_VERSION).zero(2).raw(&self.table.0);
        fields.u64(self.epoch).u32(self.version);
        fields.u16(1 + self.alternatives.len() as u16);
        encode_wrap(&mut fields, &self.cmk, &self.wrapped);
        for wrap in &self.alternatives {
            encode_wrap(&mut fields, &wrap.cmk, &wrap.wrapped);
        }
        fields.u16(self.older.len() as u16);
        for older in &self.older {
            fields.raw(&older.to_bytes());
        }
        fields.u16(self.fingerprints.len() as u16);
        for (version, fingerprint) in &self.fingerprints {
            fields.u32(*version).raw(&fingerprint.0);
        }
        fields.into_bytes()
    }

    /// Reads a root as the disk gave it.
    pub fn decode(bytes: &[u8]) -> Result<Root> {
        decode(bytes).ok_or_else(|| Error::corrupt("a root that nobody wrote"))
    }

    /// Sets the tag; call last, with the newest table key.
    pub fn sign(&mut self, key: &TableKey) {
        self.tag = key.root_tag(&self.encode_untagged());
    }

    /// Is this the root that a holder of the newest table key signed?
    pub fn verify(&self, key: &TableKey) -> Result<()> {
        let is_this_key = key.table() == self.table && key.version() == self.version;
        let is_known = self
            .fingerprints
            .contains(&(self.version, key.fingerprint()));
        if !is_this_key || !is_known || !key.root_tag_matches(&self.encode_untagged(), &self.tag) {
            return Err(Error::corrupt(format!(
                "root of table {} at epoch {}: not signed by its key",
                self.table, self.epoch
            )));
        }
        Ok(())
    }

    /// SHA-256 of the stored bytes, as the manifest records it.
    pub fn hash(&self) -> [u8; 32] {
        palladium_crypto::sha256(&[&self.encode()])
    }
}

fn encode_wrap(fields: &mut FieldWriter, cmk: &CmkRef, wrapped: &[u8]) {
    let name = cmk.to_string();
    fields.u16(name.len() as u16).raw(name.as_bytes());
    fields.u16(wrapped.len() as u16).raw(wrapped);
}

fn decode(bytes: &[u8]) -> Option<Root> {
    let mut fields = FieldReader::new(bytes);
    fields.expect(&FORMAT_VERSION.to_le_bytes())?;
    fields.zero(2)?;
    let table = TableId(fields.array()?);
    let epoch = fields.u64()?;
    let version = fields.u32()?;
    let wraps = bounded(fields.u16()?, WRAPS_MAX)?;
    let mut wraps = (0..wraps)
        .map(|_| decode_wrap(&mut fields))
        .collect::<Option<Vec<_>>>()?;
    if wraps.is_empty() {
        return None;
    }
    let KmsWrap { cmk, wrapped } = wraps.remove(0);
    let older = bounded(fields.u16()?, OLDER_KEYS_MAX)?;
    let older = (0..older)
        .map(|_| WrappedTableKey::from_bytes(fields.raw(WRAPPED_TABLE_KEY_BYTES)?).ok())
        .collect::<Option<Vec<_>>>()?;
    let fingerprints = bounded(fields.u16()?, OLDER_KEYS_MAX + 1)?;
    let fingerprints = (0..fingerprints)
        .map(|_| Some((fields.u32()?, Fingerprint(fields.array()?))))
        .collect::<Option<Vec<_>>>()?;
    let tag = fields.array()?;
    fields.end()?;
    Some(Root {
        table,
        cmk,
        wrapped,
        alternatives: wraps,
        version,
        older,
        fingerprints,
        epoch,
        tag,
    })
}

fn decode_wrap(fields: &mut FieldReader<'_>) -> Option<KmsWrap> {
    let length = fields.u16()? as usize;
    let name = std::str::from_utf8(fields.raw(length)?).ok()?;
    let cmk = CmkRef::parse(name).ok()?;
    // A name that is stored in another spelling than it is shown in could not be signed again.
    if cmk.to_string() != name {
        return None;
    }
    let length = fields.u16()? as usize;
    let wrapped = fields.raw(length)?.to_vec();
    Some(KmsWrap { cmk, wrapped })
}

fn bounded(count: u16, most: usize) -> Option<usize> {
    Some(usize::from(count)).filter(|count| *count <= most)
}

/// What stands where a table's root should be.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum RootState {
    /// Nothing was ever there.
    Missing,
    /// A root; not yet verified under its key.
    Live(Box<Root>),
    /// A root was there and is destroyed. Finish the removal.
    Destroyed,
    /// Neither copy can be read: the table cannot be opened.
    Damaged,
}

/// A root as loaded, and what was wrong with its copies.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct LoadedRoot {
    /// The newest copy.
    pub state: RootState,
    /// One copy was damaged or older than the other, and survived. Commit the root again to heal it.
    pub note: Option<String>,
    /// That is damage, and no replacement that was cut short.
    pub is_altered: bool,
}

/// Reads the newest copy of a table's root.
pub async fn load<B: Backend>(backend: &B, table: TableId) -> Result<LoadedRoot> {
    loaded(table, backend.root_load(table).await?)
}

/// The same of many tables, in their order.
pub(crate) async fn load_many<B: Backend>(
    backend: &B,
    tables: &[TableId],
) -> Result<Vec<(TableId, LoadedRoot)>> {
    let roots = backend.roots_load(tables.to_vec()).await?;
    let of_each = tables.iter().zip(roots);
    of_each
        .map(|(table, copies)| Ok((*table, loaded(*table, copies)?)))
        .collect()
}

fn loaded(table: TableId, copies: [RootCopy; 2]) -> Result<LoadedRoot> {
    let copies = copies.map(|copy| checked(table, copy));
    let newest = RootCopy::newest(&copies);
    let state = match newest {
        RootCopy::Absent => RootState::Missing,
        // A first commit that never counted.
        RootCopy::Damaged if RootCopy::is_unfinished(&copies) => RootState::Missing,
        RootCopy::Damaged | RootCopy::Altered => RootState::Damaged,
        RootCopy::Destroyed { .. } => RootState::Destroyed,
        RootCopy::Live { bytes, .. } => RootState::Live(Box::new(Root::decode(bytes)?)),
    };
    let note = copies.iter().position(|copy| copy != newest).map(|index| {
        let standing = match (&copies[index], copies[index].version()) {
            (RootCopy::Damaged | RootCopy::Altered, _) => "is damaged",
            (_, Some(version)) if Some(version) == newest.version() => "differs",
            _ => "is older",
        };
        format!("root of table {table}: copy {index} {standing}, the other one holds")
    });
    let is_altered = copies.contains(&RootCopy::Altered);
    Ok(LoadedRoot {
        state,
        note,
        is_altered,
    })
}

/// Makes the newest copy durable, as it is seen: after a sync that failed it may not be, and whoever is shown it would lose it with the power.
pub async fn harden<B: Backend>(backend: &B, table: TableId) -> Result<()> {
    let copies = backend
        .root_load(table)
        .await?
        .map(|copy| checked(table, copy));
    let newest = RootCopy::newest(&copies);
    let holding = copies.iter().position(|copy| copy == newest);
    match (newest, holding) {
        (RootCopy::Live { .. }, Some(holding)) => backend.root_harden(table, holding).await,
        _ => Ok(()),
    }
}

/// A copy whose frame is whole must hold a root of that table and version.
fn checked(table: TableId, copy: RootCopy) -> RootCopy {
    let RootCopy::Live { version, bytes } = &copy else {
        return copy;
    };
    match Root::decode(bytes) {
        Ok(root) if root.table == table && root.epoch == *version => copy,
        _ => RootCopy::Damaged,
    }
}

/// Replaces the root of epoch `expected` (`None`: the table has none yet). Durable on return; `Busy` if another epoch stands there.
pub async fn commit<B: Backend>(backend: &B, root: &Root, expected: Option<u64>) -> Result<()> {
    if expected.is_some_and(|expected| expected >= root.epoch) {
        return Err(Error::Invalid {
            what: format!(
                "root of table {}: epoch {} does not rise",
                root.table, root.epoch
            ),
        });
    }
    if root.alternatives.len() >= WRAPS_MAX || root.older.len() > OLDER_KEYS_MAX {
        return Err(Error::Invalid {
            what: format!(
                "root of table {}: too many keys; re-wrap what the oldest protect",
                root.table
            ),
        });
    }
    let public = Public::root(root)?;
    backend
        .root_commit(root.table, root.epoch, &public, expected)
        .await
}

/// Writes the root that holds to both copies once more: one of them is damaged, or older.
pub async fn heal<B: Backend>(backend: &B, root: &Root) -> Result<()> {
    let public = Public::root(root)?;
    backend
        .root_commit(root.table, root.epoch, &public, Some(root.epoch))
        .await
}

/// [`commit`], and after an error a look at what now stands there: a new root that reached one copy is brought to the other.
pub async fn replace<B: Backend>(backend: &B, root: &Root, expected: u64) -> Result<()> {
    let Err(error) = commit(backend, root, Some(expected)).await else {
        return Ok(());
    };
    match load(backend, root.table).await {
        Ok(LoadedRoot {
            state: RootState::Live(found),
            ..
        }) if *found == *root => {
            harden(backend, root.table).await?;
            heal(backend, root).await
        }
        _ => Err(error),
    }
}

/// Puts back a root over what a commit left of which nobody knows how it ended: that commit's root, one epoch ahead, or nothing. Durable on return; cut short, one of
/// the two stands.
pub async fn put_back<B: Backend>(backend: &B, root: &Root) -> Result<()> {
    let found = match load(backend, root.table).await?.state {
        RootState::Live(found) => found.epoch,
        _ => root.epoch,
    };
    if found != root.epoch && Some(found) != root.epoch.checked_add(1) {
        return Err(Error::corrupt(format!(
            "root of table {}: epoch {found} stands where {} was left",
            root.table, root.epoch
        )));
    }
    let public = Public::root(root)?;
    backend
        .root_commit(root.table, root.epoch, &public, Some(found))
        .await
}

/// How a root compares with what the manifest last recorded of it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Standing {
    /// The one recorded.
    Current,
    /// One epoch ahead: a switch that had not reached the manifest. Good if it opens.
    Ahead,
    /// An older copy put back, or one from elsewhere.
    RolledBack,
}

/// Judges a root by the manifest's newest (epoch, hash) of that table.
pub fn standing(root: &Root, recorded_epoch: u64, recorded_hash: &[u8; 32]) -> Standing {
    if root.epoch == recorded_epoch && root.hash() == *recorded_hash {
        Standing::Current
    } else if Some(root.epoch) == recorded_epoch.checked_add(1) {
        Standing::Ahead
    } else {
        Standing::RolledBack
    }
}

#[cfg(test)]
mod tests;
