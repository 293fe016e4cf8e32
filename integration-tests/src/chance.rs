//! Chance from one seed (splitmix64), so that a failure can be run again: every test that uses it prints its seed.
//!
//! `TESTS_SEED=NUMBER` sets the seed; without it the clock does.

use std::time::{SystemTime, UNIX_EPOCH};

/// A sequence of numbers that looks random and is not.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence that belongs to a seed.
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// A sequence for this run of a test; its seed is printed, and a failing test shows it.
    pub fn for_test(name: &str) -> Chance {
        let seed = match std::env::var("TESTS_SEED") {
            Ok(text) => text.parse().expect("TESTS_SEED is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_nanos() as u64),
        };
        println!("{name}: TESTS_SEED={seed}");
        Chance::new(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }
}

/// A number that depends on every bit of another.
pub fn mix(number: u64) -> u64 {
    let mut mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Whether the long version of a test was asked for.
pub fn long() -> bool {
    std::env::var_os("TESTS_LONG").is_some()
}
