//! Where randomness comes from; the only file that asks the system for it.
//!
//! Keys, salts, structure ids and nonces are drawn through `Entropy`, so that a test can replay a whole world from one seed.
//! What must hold: `fill` fills all of `out` or does not return. A process that cannot draw randomness must not seal, and no
//! caller could do better than stop; so `OsEntropy` panics rather than hand an error to code that would have to ignore it.
#![allow(unsafe_code)]

#[cfg(any(test, feature = "test-util"))]
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills all of `out`.
    fn fill(&self, out: &mut [u8]);
}

/// The kernel's generator, through getrandom(2): blocks until it was seeded once after boot, never afterwards.
#[derive(Copy, Clone, Default, Debug)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            // SAFETY: `rest` is a live, exclusively borrowed slice; getrandom writes at most `rest.len()` bytes into it and
            // keeps no pointer after it returns.
            let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            match usize::try_from(count) {
                Ok(count) => filled += count,
                Err(_) => {
                    let error = std::io::Error::last_os_error();
                    assert!(
                        error.kind() == std::io::ErrorKind::Interrupted,
                        "the kernel gives no randomness, so nothing can be sealed: {error}"
                    );
                }
            }
        }
    }
}

/// A repeatable sequence for tests: SplitMix64 from one seed. Two sources with one seed draw the same keys, so it must never
/// guard data; it exists only under the feature `test-util`.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
pub struct SeededEntropy {
    state: AtomicU64,
}

#[cfg(any(test, feature = "test-util"))]
impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        SeededEntropy {
            state: AtomicU64::new(seed),
        }
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut word = self
            .state
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_fills_every_byte_of_a_large_request() {
        let mut large = vec![0; 100_000];
        OsEntropy.fill(&mut large);
        assert!(
            large
                .chunks(64)
                .all(|chunk| chunk.iter().any(|byte| *byte != 0))
        );
        OsEntropy.fill(&mut []);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut out = [0; 21];
            SeededEntropy::new(seed).fill(&mut out);
            out
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
