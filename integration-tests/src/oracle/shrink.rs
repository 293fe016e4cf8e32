//! From a block that shows a difference to the few statements that are needed for it.
//!
//! Statements are left out, half of them at a time, then a quarter, down to one, while the last step still differs under the same heading.
//! Each try is a fresh keyspace on both servers, so the number of tries is bounded.

use super::pair::{Difference, Pair};
use super::step::{Block, Purpose, Step};

/// Tries for one difference; each costs Cassandra a keyspace.
const TRIES_MAX: usize = 100;

/// The smallest block found that ends in this difference.
pub async fn shrink(pair: &mut Pair, block: &Block, difference: &Difference) -> Block {
    let heading = &difference.heading;
    smallest(block, difference.place, async |smaller: &Block| {
        let last = smaller.steps.len() - 1;
        let outcome = pair.run(smaller).await;
        let mut found = outcome.differences.iter();
        found.any(|found| found.place == last && found.heading == *heading)
    })
    .await
}

/// The same, whatever it is that a block shows with its last step.
pub async fn smallest(
    block: &Block,
    place: usize,
    mut shows: impl AsyncFnMut(&Block) -> bool,
) -> Block {
    let (before, last) = (&block.steps[..place], &block.steps[place]);
    let with_last = |before: &[Step]| Block {
        steps: before.iter().chain([last]).cloned().collect(),
        ..block.clone()
    };
    // What only reads has left no trace; what is wrong most likely may have been right.
    let of = |purposes: &[Purpose]| -> Vec<Step> {
        let steps = before.iter();
        let steps = steps.filter(|step| purposes.contains(&step.purpose));
        steps.cloned().collect()
    };
    let mut kept = None;
    let mut tries = 0;
    // The likely ones first: most differences hang on the schema alone, or on it and what was written.
    for purposes in [
        &[Purpose::Schema][..],
        &[Purpose::Schema, Purpose::Write],
        &[Purpose::Schema, Purpose::Write, Purpose::Wrong],
    ] {
        let steps = of(purposes);
        tries += 1;
        if shows(&with_last(&steps)).await {
            kept = Some(steps);
            break;
        }
    }
    // Not without the steps between, or not twice: the whole block is the best there is.
    let Some(mut kept) = kept else {
        return with_last(before);
    };
    let mut size = kept.len().div_ceil(2);
    while size > 0 && tries < TRIES_MAX {
        // From the end: later steps hang on earlier ones, so they have to go first.
        let mut end = kept.len();
        let mut removed = false;
        while end > 0 && tries < TRIES_MAX {
            let start = end.saturating_sub(size);
            let without: Vec<Step> = [&kept[..start], &kept[end..]].concat();
            tries += 1;
            if shows(&with_last(&without)).await {
                kept = without;
                removed = true;
            }
            end = start;
        }
        // Single steps are tried again until none of them can go any more.
        size = match size {
            1 if removed => 1,
            1 => 0,
            size => size.div_ceil(2),
        };
    }
    with_last(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of these words; `?` marks what reads, `~` what is wrong, `#` what makes the schema.
    fn block(words: &str) -> Block {
        let step = |word: &str| {
            let purpose = match word.as_bytes()[0] {
                b'#' => Purpose::Schema,
                b'?' => Purpose::Read,
                b'~' => Purpose::Wrong,
                _ => Purpose::Write,
            };
            Step::plain(purpose, word)
        };
        Block {
            source: "words".into(),
            keyspace: "k".into(),
            steps: words.split_whitespace().map(step).collect(),
            tables: Vec::new(),
        }
    }

    /// What remains of a block whose last step differs when all of `needed` came before it, in this order; and how often it was tried.
    fn shrunk(words: &str, needed: &[&str]) -> (String, usize) {
        let block = block(words);
        let mut tries = 0;
        let shows = async |smaller: &Block| {
            tries += 1;
            let mut needed = needed.iter().peekable();
            for step in &smaller.steps {
                needed.next_if(|word| **word == step.text);
            }
            needed.peek().is_none()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let smallest = runtime.block_on(smallest(&block, block.steps.len() - 1, shows));
        let words: Vec<&str> = smallest
            .steps
            .iter()
            .map(|step| step.text.as_str())
            .collect();
        (words.join(" "), tries)
    }

    #[test]
    fn what_a_planted_difference_needs_is_left_and_nothing_else() {
        let filler: Vec<String> = (0..200).map(|number| format!("w{number} ?r")).collect();
        let (first, second) = filler.split_at(90);
        let words = format!(
            "#table #index {} insert {} delete ?last",
            first.join(" "),
            second.join(" ")
        );
        let (left, tries) = shrunk(&words, &["#table", "insert", "delete", "?last"]);
        assert_eq!(left, "#table insert delete ?last");
        assert!(tries <= TRIES_MAX, "{tries}");
    }

    #[test]
    fn a_wrong_statement_that_was_right_by_chance_is_not_forgotten() {
        let (left, _) = shrunk("#table a ~alter b ?last", &["~alter", "?last"]);
        assert_eq!(left, "~alter ?last");
    }

    #[test]
    fn steps_that_lean_on_each_other_go_together() {
        // Half of the block is needed, all over it.
        let words: Vec<String> = (0..32).map(|number| format!("w{number}")).collect();
        let needed: Vec<&str> = words.iter().step_by(2).map(String::as_str).collect();
        let (left, tries) = shrunk(&format!("{} ?last", words.join(" ")), &needed);
        assert_eq!(left, format!("{} ?last", needed.join(" ")));
        assert!(tries <= TRIES_MAX, "{tries}");
    }

    #[test]
    fn a_difference_that_needs_its_reads_or_never_comes_again_stays_whole() {
        let whole = "#table ?first write ?last";
        assert_eq!(shrunk(whole, &["?first", "?last"]).0, whole);
        assert_eq!(shrunk(whole, &["never"]).0, whole);
    }
}
