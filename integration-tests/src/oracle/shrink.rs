//! From a block that shows a difference to the few statements that are needed for it.
//!
//! Statements are left out, half of them at a time, then a quarter, down to one, while the last step still differs under the same heading.
//! Each try is a fresh keyspace on both servers, so the number of tries is bounded.

use super::pair::{Difference, Pair};
use super::step::{Block, Purpose, Step};

/// Tries for one difference; each costs Cassandra a keyspace.
const TRIES_MAX: usize = 60;

/// The smallest block found that ends in this difference.
pub async fn shrink(pair: &mut Pair, block: &Block, difference: &Difference) -> Block {
    let (last, before) = (
        block.steps[difference.place].clone(),
        &block.steps[..difference.place],
    );
    // What failed or only read has left no trace.
    let mut kept: Vec<Step> = before
        .iter()
        .filter(|step| matches!(step.purpose, Purpose::Schema | Purpose::Write))
        .cloned()
        .collect();
    let mut tries = 0;
    let schema_only: Vec<Step> = kept
        .iter()
        .filter(|step| step.purpose == Purpose::Schema)
        .cloned()
        .collect();
    if shows(pair, block, &schema_only, &last, difference, &mut tries).await {
        kept = schema_only;
    } else if !shows(pair, block, &kept, &last, difference, &mut tries).await {
        // Not without the steps between, or not twice: the whole block is the best there is.
        return block_of(block, before, &last);
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 && tries < TRIES_MAX {
        let mut start = 0;
        while start < kept.len() && tries < TRIES_MAX {
            let end = (start + size).min(kept.len());
            let without: Vec<Step> = [&kept[..start], &kept[end..]].concat();
            if shows(pair, block, &without, &last, difference, &mut tries).await {
                kept = without;
            } else {
                start = end;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    block_of(block, &kept, &last)
}

fn block_of(block: &Block, before: &[Step], last: &Step) -> Block {
    Block {
        steps: before.iter().chain([last]).cloned().collect(),
        ..block.clone()
    }
}

async fn shows(
    pair: &mut Pair,
    block: &Block,
    before: &[Step],
    last: &Step,
    difference: &Difference,
    tries: &mut usize,
) -> bool {
    *tries += 1;
    let smaller = block_of(block, before, last);
    let outcome = pair.run(&smaller).await;
    outcome
        .differences
        .iter()
        .any(|found| found.place == before.len() && found.heading == difference.heading)
}
