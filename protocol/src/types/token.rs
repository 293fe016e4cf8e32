//! Where a partition key stands on the ring: Cassandra's Murmur3, and how several key columns become one key.
//!
//! ```text
//! one column       the value's bytes
//! several          | length u16 | bytes | 0x00 |  for each column
//! ```
//!
//! The hash is the first half of MurmurHash3 x64 128 with seed 0, except that Cassandra reads the last bytes as signed. Its
//! result never is the smallest long, which marks the ring's start.

use crate::limits::KEY_COMPONENT_BYTES_MAX;

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;
const BLOCK_BYTES: usize = 16;

/// The token of a serialized partition key. An empty key has the ring's first token.
#[inline]
pub fn token_of(key: &[u8]) -> i64 {
    if key.is_empty() {
        return i64::MIN;
    }
    match murmur3(key) {
        i64::MIN => i64::MAX,
        token => token,
    }
}

fn murmur3(key: &[u8]) -> i64 {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = key.as_chunks::<BLOCK_BYTES>();
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 ^= mix_k1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix_k2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    if !high.is_empty() {
        h2 ^= mix_k2(signed_little_endian(high));
    }
    if !low.is_empty() {
        h1 ^= mix_k1(signed_little_endian(low));
    }
    h1 ^= key.len() as u64;
    h2 ^= key.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2)) as i64
}

fn halves(block: &[u8; BLOCK_BYTES]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

/// Bytes are sign-extended before they are shifted into place: Java's bytes are signed.
fn signed_little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().enumerate().fold(0, |number, (place, byte)| {
        number ^ (*byte as i8 as u64) << (8 * place)
    })
}

fn mix_k1(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

/// Several key columns as one key. `None` if one of them is longer than its length field can say.
pub fn composite_key<'a>(components: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut key = Vec::new();
    for component in components {
        if component.len() > KEY_COMPONENT_BYTES_MAX {
            return None;
        }
        key.extend_from_slice(&(component.len() as u16).to_be_bytes());
        key.extend_from_slice(component);
        key.push(0);
    }
    Some(key)
}

/// The columns of a composite key; the iterator ends early if the bytes are not one.
pub fn split_composite_key(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = key;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (component, after) =
            after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (_, after) = after.split_first()?;
        rest = after;
        Some(component)
    })
}
