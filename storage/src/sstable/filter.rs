//! Which partitions are surely not here: a filter over partition keys, asked before any block is read.
//!
//! The hash of a key is its token (Murmur3 already is a 64-bit hash of the key). Keys arrive in token order, so the filter is cut
//! into segments by token: building one needs the hashes of one segment only, however large the SSTable, and a lookup asks one.
//! Each segment is one sealed block of the filter component:
//!
//! ```text
//! kind            u8    0 = every key may be here, 1 = binary fuse with 8-bit fingerprints
//! last token      i64   the segment answers for tokens after the previous segment's last and up to this one
//! keys            u32   distinct tokens in the segment
//! -- kind 1 only
//! seed            u64
//! segment length  u32   a power of two
//! count length    u32   a multiple of the segment length
//! fingerprints    the rest: count length + 2 * segment length bytes
//! ```
//!
//! All numbers little-endian. The arithmetic of a lookup is part of the format and written out here, so that another version of the
//! crate that builds filters cannot change what old bytes mean.
//!
//! What must hold: no false negatives. Construction may fail; then the segment says "maybe" to everything.

use bytes::Bytes;
use xorf::{BinaryFuse8, Filter as _};

use crate::model::Token;
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Hashes held at once while building, and keys that share a sealed block: 256 Ki keys make about 300 KiB of filter.
pub const FILTER_SEGMENT_KEYS_MAX: usize = 1 << 18;

/// Largest plaintext of one segment; a claim beyond it is damage, not a big filter.
pub const FILTER_SEGMENT_BYTES_MAX: usize = 1 << 20;

const HEAD_BYTES: usize = 1 + 8 + 4;
const FUSE_HEAD_BYTES: usize = 8 + 4 + 4;
const KIND_MAYBE: u8 = 0;
const KIND_FUSE8: u8 = 1;

/// Collects tokens in order and gives back full segments, ready to be sealed.
#[derive(Default)]
pub struct FilterBuilder {
    tokens: Wiped<Vec<u64>>,
}

impl FilterBuilder {
    /// Remembers one partition. Tokens come in ascending order; equal ones count once.
    /// Gives the segment that became full *before* this token, if one did.
    pub fn push(&mut self, token: Token) -> Option<Wiped<Vec<u8>>> {
        let hash = token.0 as u64;
        if self.tokens.last() == Some(&hash) {
            return None;
        }
        debug_assert!(
            self.tokens
                .last()
                .is_none_or(|last| (*last as i64) < token.0)
        );
        let full = (self.tokens.len() >= FILTER_SEGMENT_KEYS_MAX).then(|| self.take_segment());
        self.tokens.push(hash);
        full
    }

    /// The last segment, if anything is left.
    pub fn finish(mut self) -> Option<Wiped<Vec<u8>>> {
        (!self.tokens.is_empty()).then(|| self.take_segment())
    }

    fn take_segment(&mut self) -> Wiped<Vec<u8>> {
        let segment = encode_segment(&self.tokens);
        self.tokens.clear();
        segment
    }
}

/// The encoded segment of these distinct, ascending, non-empty tokens.
fn encode_segment(tokens: &[u64]) -> Wiped<Vec<u8>> {
    let last = tokens.last().copied().unwrap_or_default();
    let fuse = BinaryFuse8::try_from(tokens)
        .ok()
        .filter(|fuse| tokens.iter().all(|token| fuse.contains(token)));
    let mut out = Wiped::new(Vec::with_capacity(
        HEAD_BYTES + FUSE_HEAD_BYTES + fuse.as_ref().map_or(0, |fuse| fuse.fingerprints.len()),
    ));
    out.push(if fuse.is_some() {
        KIND_FUSE8
    } else {
        KIND_MAYBE
    });
    out.extend_from_slice(&last.to_le_bytes());
    out.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
    if let Some(mut fuse) = fuse {
        out.extend_from_slice(&fuse.descriptor.seed.to_le_bytes());
        out.extend_from_slice(&fuse.descriptor.segment_length.to_le_bytes());
        out.extend_from_slice(&fuse.descriptor.segment_count_length.to_le_bytes());
        out.extend_from_slice(&fuse.fingerprints);
        zeroize::Zeroize::zeroize(&mut fuse.fingerprints);
    }
    out
}

/// A whole filter in memory.
pub struct Filter {
    segments: Vec<Segment>,
}

struct Segment {
    last: i64,
    fuse: Option<Fuse>,
}

struct Fuse {
    seed: u64,
    segment_length: u32,
    count_length: u32,
    /// Slices of a wiped block.
    fingerprints: Bytes,
}

impl Filter {
    /// The filter made of these plaintext segments, in order of their ordinals.
    pub fn decode(segments: Vec<Bytes>) -> Result<Self> {
        let segments = segments
            .into_iter()
            .map(Segment::decode)
            .collect::<Result<Vec<_>>>()?;
        if !segments.is_sorted_by(|a, b| a.last < b.last) {
            return Err(Error::corrupt("filter: segments out of order"));
        }
        Ok(Self { segments })
    }

    /// False only if no partition with this token is here.
    pub fn may_contain(&self, token: Token) -> bool {
        let at = self
            .segments
            .partition_point(|segment| segment.last < token.0);
        match self.segments.get(at) {
            None => false,
            Some(Segment { fuse: None, .. }) => true,
            Some(Segment {
                fuse: Some(fuse), ..
            }) => fuse.contains(token.0 as u64),
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let fingerprints = |segment: &Segment| {
            segment
                .fuse
                .as_ref()
                .map_or(0, |fuse| fuse.fingerprints.len())
        };
        self.segments
            .iter()
            .map(|segment| size_of::<Segment>() + fingerprints(segment))
            .sum()
    }
}

impl Segment {
    fn decode(plain: Bytes) -> Result<Self> {
        let damaged = || Error::corrupt("filter: malformed segment");
        let (head, rest) = plain.split_at_checked(HEAD_BYTES).ok_or_else(damaged)?;
        let last = i64::from_le_bytes(array(&head[1..9]));
        let fuse = match head[0] {
            KIND_MAYBE if rest.is_empty() => None,
            KIND_FUSE8 => {
                let (fuse, fingerprints) =
                    rest.split_at_checked(FUSE_HEAD_BYTES).ok_or_else(damaged)?;
                let seed = u64::from_le_bytes(array(&fuse[..8]));
                let segment_length = u32::from_le_bytes(array(&fuse[8..12]));
                let count_length = u32::from_le_bytes(array(&fuse[12..16]));
                let expected = u64::from(count_length) + 2 * u64::from(segment_length);
                if !segment_length.is_power_of_two()
                    || !count_length.is_multiple_of(segment_length)
                    || expected != fingerprints.len() as u64
                {
                    return Err(damaged());
                }
                Some(Fuse {
                    seed,
                    segment_length,
                    count_length,
                    fingerprints: plain.slice(HEAD_BYTES + FUSE_HEAD_BYTES..),
                })
            }
            _ => return Err(damaged()),
        };
        Ok(Self { last, fuse })
    }
}

impl Fuse {
    /// Part of format version 1: see the head of this file.
    fn contains(&self, hash: u64) -> bool {
        let hash = mix(hash.wrapping_add(self.seed));
        let mask = self.segment_length - 1;
        let first = ((u128::from(hash) * u128::from(self.count_length)) >> 64) as u32;
        let second = (first + self.segment_length) ^ ((hash >> 18) as u32 & mask);
        let third = (first + 2 * self.segment_length) ^ (hash as u32 & mask);
        // `first` is below the count length, and the exclusive or stays within its segment, so all three are in bounds.
        let at = |index: u32| {
            self.fingerprints
                .get(index as usize)
                .copied()
                .unwrap_or_default()
        };
        (hash ^ (hash >> 32)) as u8 == at(first) ^ at(second) ^ at(third)
    }
}

/// The finalizer of 64-bit Murmur3.
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut exactly N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(tokens: &[i64]) -> Filter {
        let mut builder = FilterBuilder::default();
        let mut segments: Vec<_> = tokens
            .iter()
            .filter_map(|token| builder.push(Token(*token)))
            .collect();
        segments.extend(builder.finish());
        Filter::decode(
            segments
                .into_iter()
                .map(|s| Bytes::copy_from_slice(&s))
                .collect(),
        )
        .expect("just built")
    }

    fn tokens(count: u64, seed: u64) -> Vec<i64> {
        let mut tokens: Vec<i64> = (0..count).map(|n| mix(n ^ (seed << 32)) as i64).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn every_key_that_went_in_may_be_there() {
        for count in [1, 2, 3, 4, 5, 7, 10, 33, 100, 1000, 20_000] {
            let tokens = tokens(count, 7);
            let filter = filter_of(&tokens);
            assert!(
                tokens.iter().all(|t| filter.may_contain(Token(*t))),
                "{count} keys"
            );
        }
    }

    #[test]
    fn few_strangers_pass() {
        let filter = filter_of(&tokens(10_000, 1));
        let strangers = tokens(100_000, 2);
        let passed = strangers
            .iter()
            .filter(|t| filter.may_contain(Token(**t)))
            .count();
        assert!(passed < 800, "{passed} of 100000");
    }

    #[test]
    fn equal_tokens_count_once_and_extremes_are_keys_too() {
        let filter = filter_of(&[i64::MIN, i64::MIN, -1, 0, 0, 0, i64::MAX]);
        for token in [i64::MIN, -1, 0, i64::MAX] {
            assert!(filter.may_contain(Token(token)));
        }
    }

    #[test]
    fn an_empty_filter_contains_nothing() {
        assert!(!filter_of(&[]).may_contain(Token(5)));
    }

    #[test]
    fn many_keys_make_several_segments() {
        let tokens = tokens(FILTER_SEGMENT_KEYS_MAX as u64 + 1000, 3);
        let filter = filter_of(&tokens);
        assert_eq!(filter.segments.len(), 2);
        assert!(tokens.iter().all(|t| filter.may_contain(Token(*t))));
    }

    #[test]
    fn our_arithmetic_is_that_of_the_crate_that_builds() {
        let keys: Vec<u64> = tokens(5000, 4).into_iter().map(|t| t as u64).collect();
        let theirs = BinaryFuse8::try_from(keys.as_slice()).expect("distinct keys");
        let ours = Fuse {
            seed: theirs.descriptor.seed,
            segment_length: theirs.descriptor.segment_length,
            count_length: theirs.descriptor.segment_count_length,
            fingerprints: Bytes::copy_from_slice(&theirs.fingerprints),
        };
        assert!(
            (0..50_000)
                .map(mix)
                .all(|key| ours.contains(key) == theirs.contains(&key))
        );
    }

    /// Places that no key uses were filled with noise once, and the generator of noise kept a copy of the filter's last bytes: in memory, after a lock.
    #[test]
    fn a_filter_is_made_of_its_keys_alone() {
        let keys: Vec<u64> = tokens(500, 6).iter().map(|token| *token as u64).collect();
        assert_eq!(encode_segment(&keys), encode_segment(&keys));
    }

    #[test]
    fn malformed_segments_are_corrupt_and_never_panic() {
        let good = encode_segment(&tokens(50, 5).iter().map(|t| *t as u64).collect::<Vec<_>>());
        for cut in 0..good.len() {
            assert!(
                Segment::decode(Bytes::copy_from_slice(&good[..cut])).is_err(),
                "cut at {cut}"
            );
        }
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0xff;
            if let Ok(segment) = Segment::decode(Bytes::from(bad)) {
                Filter {
                    segments: vec![segment],
                }
                .may_contain(Token(3));
            }
        }
    }
}
