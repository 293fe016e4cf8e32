//! One budget of memory (`memory_bytes`), who holds how much of it, and what is done when the process comes to hold more.
//!
//! ```text
//! memtables  a third        writers slow down before it, and are refused past it
//! blocks     a third        the cache: the first to give way
//! requests   an eighth      past it a request is told Overloaded
//! graphs     an eighth      of vector indexes; past it every row is compared
//! sstables   what they need filters, tops of indexes, keys of open SSTables
//! log_addresses             some 200 bytes for each share of the log; bounded by `log_bytes_max`
//! merges, prepared_statements, traces, keys    bounded by settings of their own
//! rest       the program, stacks, buffers on their way, and what the allocator has not given back
//! ```
//!
//! Each holder counts for itself, where it holds; here it is added up, for `system_palladium.memory`, for metrics, and for the watch. The shares do not add up to
//! all there is, but nobody can say beforehand what filters will need or the allocator will keep: so the watch compares what the kernel says of the process
//! with the budget, takes what is too much from the cache, then from the memtables, and gives it back when there is room.
//!
//! What must hold: nothing here is on the road of a request. Cache and memtables keep a floor, on which a server that is too small for its work works slowly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::traces;
use crate::wiping::give_free_pages_back;

/// Between two looks at the process.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Giving pages back takes at most one part in so many of the time: meanwhile others wait for the allocator.
const GIVING_BACK_ONE_IN: u32 = 20;
/// And is not worth it more often than this.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(1);
/// Buffers that connections have given up, in bytes, for which it is worth it although the budget is kept: they lie between what stays.
const GIVEN_UP_BYTES: usize = 4 << 20;

/// One holder of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub holder: &'static str,
    pub bytes: usize,
    /// What it may hold; None: as much as it needs.
    pub bytes_max: Option<usize>,
}

/// Who holds what, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// What the process may hold.
    pub budget: usize,
    /// What it does, by what the kernel says, the program itself among it. None: it does not say.
    pub resident: Option<usize>,
    /// Its parts. The last one is the rest.
    pub accounts: Vec<Account>,
}

/// What may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    memtables: usize,
    blocks: usize,
}

/// How bounds are moved.
#[derive(Debug, Clone, Copy)]
struct Rule {
    budget: usize,
    most: Bounds,
    least: Bounds,
}

/// What the watch remembers from one look to the next.
#[derive(Debug)]
struct Memory {
    bounds: Bounds,
    /// What was held when it last looked, less what it took then.
    before: Bounds,
    /// Bytes that were let go of and nobody has taken since: the kernel counts them as the process's until free pages go back to it.
    unseen: usize,
}

impl Ledger {
    /// Adds up.
    pub fn of(database: &Database) -> Ledger {
        let config = &database.config;
        let memory = database.engine.memory();
        let account = |holder, bytes, bytes_max| Account {
            holder,
            bytes,
            bytes_max,
        };
        let mut accounts = vec![
            account(
                "memtables",
                memory.memtable_bytes,
                Some(memory.memtable_bytes_max),
            ),
            account("blocks", memory.cache_bytes, Some(memory.cache_bytes_max)),
            account("sstables", memory.sstable_bytes, None),
            account(
                "merges",
                memory.merge_bytes,
                Some(config.merge_bytes_max() * config.concurrent_compactors),
            ),
            account(
                "requests",
                database.in_flight.bytes(),
                Some(config.request_bytes_max()),
            ),
            account(
                "graphs",
                database.graphs.used(),
                Some(config.graph_bytes_max()),
            ),
            account("prepared_statements", database.prepared.bytes(), None),
            account(
                "traces",
                database.traces.size().1,
                Some(traces::KEPT_BYTES_MAX),
            ),
            account("log_addresses", memory.log_address_bytes, None),
            account("keys", key_bytes(), None),
        ];
        let resident = resident_bytes();
        let counted: usize = accounts.iter().map(|account| account.bytes).sum();
        let rest = resident.unwrap_or_default().saturating_sub(counted);
        accounts.push(account("rest", rest, None));
        Ledger {
            budget: config.memory_budget(),
            resident,
            accounts,
        }
    }
}

fn key_bytes() -> usize {
    let memory = palladium_crypto::locked_memory();
    memory.locked_bytes + memory.unlocked_bytes
}

/// What the kernel says that the process has in memory.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = line.trim().strip_suffix("kB")?.trim();
    Some(kilobytes.parse::<usize>().ok()? << 10)
}

/// Keeps the process within its budget, as far as cache and memtables can, until it is dropped.
pub async fn watch(database: Arc<Database>) {
    let rule = Rule::new(&database);
    let mut memory = Memory::new(&rule);
    let mut give_back_at = Instant::now();
    let mut given_up_before = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(resident) = resident_bytes() else {
            return;
        };
        let (memtables, blocks) = database.engine.movable_bytes();
        let bounds = memory.look(&rule, Bounds { memtables, blocks }, resident);
        database
            .engine
            .bound_memory(bounds.memtables, bounds.blocks);
        let given_up = database.in_flight.given_up();
        let is_worth_it =
            resident > rule.budget || given_up.wrapping_sub(given_up_before) > GIVEN_UP_BYTES;
        if is_worth_it && Instant::now() >= give_back_at {
            let began = Instant::now();
            given_up_before = given_up;
            memory.unseen = 0;
            // The allocator walks through all that is free. An error: the runtime ends.
            if tokio::task::spawn_blocking(give_free_pages_back)
                .await
                .is_err()
            {
                return;
            }
            give_back_at =
                Instant::now() + GIVE_BACK_EVERY.max(began.elapsed() * GIVING_BACK_ONE_IN);
        }
    }
}

impl Memory {
    fn new(rule: &Rule) -> Memory {
        Memory {
            bounds: rule.most,
            before: Bounds {
                memtables: 0,
                blocks: 0,
            },
            unseen: 0,
        }
    }

    /// The bounds from now on.
    fn look(&mut self, rule: &Rule, held: Bounds, resident: usize) -> Bounds {
        let (gone, come) = self.before.moved(held);
        // What grew has grown into what was free.
        self.unseen = self.unseen.saturating_sub(come) + gone;
        // What has to be written out first is on its way.
        let leaving = held.memtables.saturating_sub(self.bounds.memtables);
        let needed = resident.saturating_sub(self.unseen + leaving);
        let next = rule.next(self.bounds, held, resident, needed);
        self.unseen += held.blocks.saturating_sub(next.blocks);
        self.before = Bounds {
            blocks: held.blocks.min(next.blocks),
            ..held
        };
        self.bounds = next;
        next
    }
}

impl Bounds {
    /// Bytes by which something became less, and by which something became more.
    fn moved(self, after: Bounds) -> (usize, usize) {
        let more = |from: Bounds, to: Bounds| {
            to.memtables.saturating_sub(from.memtables) + to.blocks.saturating_sub(from.blocks)
        };
        (more(after, self), more(self, after))
    }
}

impl Rule {
    fn new(database: &Database) -> Rule {
        let budget = database.config.memory_budget();
        let options = database.config.engine_options();
        Rule {
            budget,
            most: Bounds {
                memtables: options.memtable_bytes_max,
                blocks: options.cache_bytes,
            },
            least: Bounds {
                memtables: budget / 8,
                blocks: budget / 64,
            },
        }
    }

    /// The bounds from now on. Taking is as much as is too much of what is needed; giving is a little at a time, and stops short of the budget by what the kernel
    /// counts, so that the two do not take turns.
    fn next(&self, now: Bounds, held: Bounds, resident: usize, needed: usize) -> Bounds {
        let Bounds {
            mut memtables,
            mut blocks,
        } = now;
        let take = |bound: &mut usize, held: usize, least: usize, bytes: usize| {
            // A bound far above what is held would have to come down first without any effect.
            let from = (*bound).min(held).max(least);
            let taken = bytes.min(from - least);
            if taken > 0 {
                *bound = from - taken;
            }
            bytes - taken
        };
        if needed > self.budget {
            let left = take(
                &mut blocks,
                held.blocks,
                self.least.blocks,
                needed - self.budget,
            );
            take(&mut memtables, held.memtables, self.least.memtables, left);
        } else if resident < self.budget - self.budget / 16 {
            let mut step = self.budget / 64;
            for (bound, most) in [
                (&mut memtables, self.most.memtables),
                (&mut blocks, self.most.blocks),
            ] {
                let given = step.min(most.saturating_sub(*bound));
                *bound += given;
                step -= given;
            }
        }
        Bounds { memtables, blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        budget: 1_024,
        most: Bounds {
            memtables: 340,
            blocks: 340,
        },
        least: Bounds {
            memtables: 128,
            blocks: 16,
        },
    };

    fn bounds(memtables: usize, blocks: usize) -> Bounds {
        Bounds { memtables, blocks }
    }

    fn next(now: Bounds, held: Bounds, resident: usize) -> Bounds {
        RULE.next(now, held, resident, resident)
    }

    #[test]
    fn what_was_let_go_of_and_is_still_counted_makes_no_room_and_is_taken_by_who_grows() {
        let mut memory = Memory::new(&RULE);
        let taken = memory.look(&RULE, bounds(300, 200), 1_100);
        assert_eq!(taken, bounds(340, 124));
        // Less by all that was let go of there would be room to give; the kernel sees none.
        assert_eq!(memory.look(&RULE, bounds(300, 124), 1_030), taken);
        // Memtables grow into it: of the 76 bytes 36 are free, and ten are too many.
        assert_eq!(
            memory.look(&RULE, bounds(340, 124), 1_070),
            bounds(340, 114)
        );
        memory.unseen = 0;
        assert_eq!(
            memory.look(&RULE, bounds(340, 114), 1_024),
            bounds(340, 114)
        );
        assert_eq!(memory.look(&RULE, bounds(340, 114), 950), bounds(340, 130));
    }

    #[test]
    fn what_is_too_much_comes_from_the_cache_first_then_from_memtables_down_to_their_floors() {
        let held = bounds(300, 200);
        assert_eq!(next(RULE.most, held, 1_024), RULE.most);
        assert_eq!(next(RULE.most, held, 1_074), bounds(340, 150));
        assert_eq!(next(RULE.most, held, 1_274), bounds(234, 16));
        assert_eq!(next(RULE.most, held, 9_999), bounds(128, 16));
    }

    #[test]
    fn a_cache_that_is_empty_has_nothing_to_give() {
        assert_eq!(next(RULE.most, bounds(300, 0), 1_034), bounds(290, 340));
    }

    #[test]
    fn what_was_taken_is_given_back_a_little_at_a_time_to_memtables_first() {
        let mut now = bounds(330, 16);
        now = next(now, now, 900);
        assert_eq!(now, bounds(340, 22));
        now = next(now, now, 900);
        assert_eq!(now, bounds(340, 38));
        assert_eq!(next(now, now, 1_000), now);
        for _ in 0..100 {
            now = next(now, now, 900);
        }
        assert_eq!(now, RULE.most);
    }

    #[test]
    fn the_kernel_says_what_this_process_holds() {
        let resident = resident_bytes().expect("there is a /proc");
        assert!(resident > 1 << 20 && resident < 1 << 40);
    }
}
