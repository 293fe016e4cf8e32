//! Version 1 UUIDs: made here, one after the other, and taken apart.
//!
//! ```text
//! time_low u32 | time_mid u16 | version 1, time_hi u16 | variant, clock sequence u16 | node u48
//! ```
//!
//! Time counts 100 ns since 1582-10-15. What must hold: no two UUIDs of one generator are equal and later ones compare
//! greater, whatever the clock does, because list cells are ordered by them.

use std::sync::atomic::{AtomicI64, Ordering};

use palladium_crypto::Entropy;

/// 100 ns ticks from 1582-10-15 to 1970-01-01.
const EPOCH_TICKS: i64 = 0x01B2_1DD2_1381_4000;
const TICKS_PER_MICRO: i64 = 10;
const TICKS_PER_MILLI: i64 = 10_000;

/// The server's source of timeuuids.
#[derive(Debug)]
pub struct TimeUuids {
    /// Clock sequence and node: random, with the multicast bit that says so.
    place: [u8; 8],
    last: AtomicI64,
}

impl TimeUuids {
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut place = [0; 8];
        entropy.fill(&mut place);
        place[0] = place[0] & 0x3F | 0x80;
        place[2] |= 0x01;
        TimeUuids {
            place,
            last: AtomicI64::new(0),
        }
    }

    /// The next one, not before this time.
    pub fn next(&self, micros: i64) -> [u8; 16] {
        let now = micros
            .saturating_mul(TICKS_PER_MICRO)
            .saturating_add(EPOCH_TICKS);
        let above = |last: i64| now.max(last + 1);
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(above(last))
            })
            .unwrap_or_else(|last| last);
        of_ticks(above(last), self.place)
    }

    /// One at exactly this tick, for lists that grow at their head.
    pub fn at(&self, ticks: i64) -> [u8; 16] {
        of_ticks(ticks, self.place)
    }

    /// A random UUID's 16 bytes.
    pub fn random(entropy: &dyn Entropy) -> [u8; 16] {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        bytes
    }
}

fn of_ticks(ticks: i64, place: [u8; 8]) -> [u8; 16] {
    let ticks = ticks as u64;
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(ticks as u32).to_be_bytes());
    bytes[4..6].copy_from_slice(&((ticks >> 32) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&((ticks >> 48) as u16 & 0x0FFF | 0x1000).to_be_bytes());
    bytes[8..].copy_from_slice(&place);
    bytes
}

/// Ticks of a prepend: mirrored at 2010, so that later ones come first. 2010-01-01 is Cassandra's choice too.
pub fn mirrored_ticks(micros: i64) -> i64 {
    const REFERENCE_MICROS: i64 = 1_262_304_000_000_000;
    (2 * REFERENCE_MICROS - micros) * TICKS_PER_MICRO + EPOCH_TICKS
}

/// Milliseconds since 1970 of a timeuuid.
pub fn millis(uuid: &[u8; 16]) -> i64 {
    let field = |range: std::ops::Range<usize>| {
        uuid[range]
            .iter()
            .fold(0i64, |sum, byte| sum << 8 | i64::from(*byte))
    };
    let ticks = (field(6..8) & 0x0FFF) << 48 | field(4..6) << 32 | field(0..4);
    (ticks - EPOCH_TICKS).div_euclid(TICKS_PER_MILLI)
}

/// The least timeuuid of a millisecond.
pub fn least(millis: i64) -> [u8; 16] {
    of_ticks(
        millis
            .wrapping_mul(TICKS_PER_MILLI)
            .wrapping_add(EPOCH_TICKS),
        [0x80; 8],
    )
}

/// The greatest timeuuid of a millisecond.
pub fn greatest(millis: i64) -> [u8; 16] {
    let next = millis.wrapping_add(1).wrapping_mul(TICKS_PER_MILLI);
    of_ticks(next.wrapping_add(EPOCH_TICKS - 1), [0x7F; 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use palladium_crypto::SeededEntropy;

    #[test]
    fn each_is_greater_than_the_one_before_though_the_clock_stands() {
        let uuids = TimeUuids::new(&SeededEntropy::new(1));
        let ordered = |uuid| crate::encode::order::timeuuid(uuid);
        let (a, b, c) = (uuids.next(1000), uuids.next(1000), uuids.next(10));
        assert!(ordered(a) < ordered(b) && ordered(b) < ordered(c));
        assert_eq!(a[6] >> 4, 1);
    }

    #[test]
    fn a_millisecond_lies_between_its_least_and_greatest() {
        let ordered = |uuid| crate::encode::order::timeuuid(uuid);
        let uuids = TimeUuids::new(&SeededEntropy::new(2));
        let now = 1_700_000_000_123;
        let uuid = uuids.next(now * 1000 + 999);
        assert!(ordered(least(now)) < ordered(uuid) && ordered(uuid) < ordered(greatest(now)));
        assert_eq!(millis(&uuid), now);
        assert_eq!((millis(&least(now)), millis(&greatest(now))), (now, now));
    }
}
