//! The encryption context: what a key service is told about each call, and binds its ciphertext to.
//!
//! The keys are Amazon Keyspaces' own, so a key policy written for Keyspaces keeps working. The context is public to the key
//! service (keyspace and table names stand in its logs). Its canonical form, for services that bind bytes:
//!
//! ```text
//! count u32 BE | for each entry in the order of its key: length u32 BE | key | length u32 BE | value
//! ```

use std::collections::BTreeMap;

/// Names and values sent with every call to a key service.
#[derive(Clone, Eq, PartialEq, Hash, Debug)]
pub struct EncryptionContext(pub BTreeMap<String, String>);

impl EncryptionContext {
    /// Names the keyspace.
    pub const KEYSPACE_NAME: &'static str = "aws:cassandra:keyspaceName";
    /// Names the table.
    pub const TABLE_NAME: &'static str = "aws:cassandra:tableName";
    /// Names who subscribed: in Keyspaces an account, here a setting, by default the cluster id.
    pub const SUBSCRIBER_ID: &'static str = "aws:cassandra:subscriberId";

    /// The context of a table.
    pub fn for_table(keyspace: &str, table: &str, subscriber: &str) -> Self {
        let entries = [
            (Self::KEYSPACE_NAME, keyspace),
            (Self::TABLE_NAME, table),
            (Self::SUBSCRIBER_ID, subscriber),
        ];
        EncryptionContext(
            entries
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The entries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The canonical bytes; equal exactly for equal contexts.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = length(self.0.len()).to_vec();
        for text in self.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(&length(text.len()));
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count)
        .expect("keyspace, table and subscriber names are short")
        .to_be_bytes()
}
