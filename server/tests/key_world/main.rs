//! The keys of many tables through thousands of random steps: clocks that jump, a key service that refuses, falls silent, hangs and comes back, grants that are revoked,
//! crashes, key switches, rewrites, drops and restarts, against an oracle that is slow and obvious.
//!
//! ```text
//! step      draws what happens from the seed ─► the server (keeper, engine, simulated disk) acts ─► what requests heard ─► check
//! oracle    values   every write handed over, until its fate is known
//!           counts   every change of a counter, until its fate is known
//!           registers  every write with an IF: what it expected, and what it was told
//!           leases   every call to the key service with both clocks, as the network saw it: who may be open, and what may be told
//! ```
//!
//! What must hold after each step:
//! - Nothing is read, nothing is open, and no sealed block is opened, outside a lease that a Decrypt of this table's key began (or the operator's grace after it, while
//!   the key's service is silent), or after a denial that came since.
//! - Everything acknowledged is read back, what was refused is never seen, and of a write that a crash cut short all is there or nothing.
//! - A counter holds each acknowledged change once, and a table that was emptied nothing of before.
//! - Of conditional writes that expect the same, one at most is applied; what one is told about a register it held at that time; a batch of them is there as a whole.
//! - What is derived from a table holds what the table does, whether it was made with it or later.
//! - A table whose key can be had answers, whatever becomes of the others.
//! - What a client is told is true, `since` stands still while the trouble lasts, and a key that must not be used is wiped within five seconds.
//! - The key service hears no more calls than leases, pauses and schema changes explain.
//! - Where keys are used by grants, a table that was made or switched has its own, and none is forgotten; where new data keys were asked for, the old structures go.
//!
//! One seed drives disk, clocks, entropy, key service and the order of tasks. A failure prints the seed, the step and what happened before, and the other worlds go on.
//!
//! | | |
//! |---|---|
//! | `TESTS_SEED=n` | that world |
//! | `TESTS_SEED=n TESTS_WORLDS=m` | that one and those after it |
//! | `TESTS_LONG=1` | a million steps with fresh seeds |

mod check;
mod client;
mod counts;
mod kept;
mod leases;
mod registers;
mod requests;
mod schema;
mod service;
mod step;
mod stories;
mod values;
mod world;

use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::world::World;

/// Steps of one world: long enough for tables to come and go many times.
const STEPS: u64 = 2_000;
/// Worlds that run each time.
const FIXED_SEEDS: u64 = 3;
/// And worlds that nobody has seen before.
const FRESH_SEEDS: u64 = 2;
const LONG_STEPS: u64 = 1_000_000;

/// Runs a world to its end, and gives what it came to, or how it went wrong.
fn run(seed: u64, steps: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    for step in 0..=steps {
        let lived = catch_unwind(AssertUnwindSafe(|| match step < steps {
            true => world.step(),
            false => world.end(),
        }));
        if let Err(panic) = lived {
            let trace = world.trace();
            let what = panic.downcast_ref::<String>().map_or("", String::as_str);
            return Err(format!(
                "{trace}\n\nseed {seed}, step {step}: {what}\nTESTS_SEED={seed} tells it again"
            ));
        }
    }
    Ok(world.digest.finish())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos() as u64);
    nanos / 1000 % 1_000_000_000
}

/// The worlds that this run is about.
fn seeds() -> Vec<u64> {
    let worlds = number("TESTS_WORLDS");
    if let Some(seed) = number("TESTS_SEED") {
        return (seed..seed + worlds.unwrap_or(1)).collect();
    }
    let fresh = fresh_seed();
    if std::env::var_os("TESTS_LONG").is_some() {
        return (fresh..fresh + worlds.unwrap_or(LONG_STEPS / STEPS)).collect();
    }
    (1..=FIXED_SEEDS)
        .chain(fresh..fresh + FRESH_SEEDS)
        .collect()
}

#[test]
fn what_an_owner_takes_away_is_closed_and_what_he_gives_back_is_whole() {
    let steps = number("TESTS_STEPS").unwrap_or(STEPS);
    let mut failed = Vec::new();
    for seed in seeds() {
        match run(seed, steps) {
            Ok(_) => println!("seed {seed}: {steps} steps"),
            Err(story) => {
                println!("{story}");
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let story = run(7, 300);
    assert!(story.is_ok(), "{story:?}");
    assert_eq!(story, run(7, 300));
}
