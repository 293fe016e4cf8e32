//! Store, token, partition key and clustering position: byte order is key order.

use crate::codec::compare;
use bytes::Bytes;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Where a partition lies on the ring: Murmur3 of its key, so tokens are uniform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

impl Token {
    /// The token with its order turned into that of unsigned numbers, so that its top bits pick a bucket.
    #[inline]
    pub fn ordered_bits(self) -> u64 {
        (self.0 as u64) ^ (1 << 63)
    }
}

/// Which of a table's stores: its base, or one that is derived from it (an index, a view). A number is used once in the life of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store(pub u16);

impl Store {
    /// What the table itself holds.
    pub const BASE: Store = Store(0);
}

/// A partition's key as serialized, with its token. Ordered by token, then by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    token: Token,
    bytes: Bytes,
}

impl PartitionKey {
    /// The caller computed the token; storage never hashes.
    pub fn new(token: Token, bytes: impl Into<Bytes>) -> Self {
        PartitionKey {
            token,
            bytes: bytes.into(),
        }
    }

    /// Where the partition lies on the ring.
    #[inline]
    pub fn token(&self) -> Token {
        self.token
    }

    /// The serialized key.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PartitionKey({}, {} bytes)",
            self.token.0,
            self.bytes.len()
        )
    }
}

/// A position inside a partition: a row's, or a bound's between rows.
#[derive(Clone)]
pub struct Clustering(pub Bytes);

impl Clustering {
    /// Before every row.
    pub const MIN: Clustering = Clustering(Bytes::new());

    /// The only row of a table without clustering columns.
    pub const SINGLE: Clustering = Clustering(Bytes::from_static(&[0x80]));

    /// After every row.
    pub const fn max() -> Clustering {
        Clustering(Bytes::from_static(&[0xFF]))
    }

    /// A position before this one, whatever bytes it ends with; None: there is none.
    pub fn some_before(&self) -> Option<Clustering> {
        let (_, shorter) = self.0.split_last()?;
        Some(Clustering(self.0.slice_ref(shorter)))
    }

    /// A position after this one.
    pub fn some_after(&self) -> Clustering {
        Clustering([&self.0, &[0][..]].concat().into())
    }

    /// A position from bytes that live elsewhere; the single row's costs no allocation.
    pub fn copy_from(bytes: &[u8]) -> Clustering {
        if bytes == [0x80] {
            Clustering::SINGLE
        } else {
            Clustering(Bytes::copy_from_slice(bytes))
        }
    }
}

impl PartialEq for Clustering {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let same = self.0.as_ptr() == other.0.as_ptr();
        self.0.len() == other.0.len() && (same || compare(&self.0, &other.0) == Ordering::Equal)
    }
}

impl Eq for Clustering {}

impl Hash for Clustering {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Ord for Clustering {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Clustering {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Clustering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clustering({} bytes)", self.0.len())
    }
}
