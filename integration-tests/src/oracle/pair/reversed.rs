//! Columns of reversed order, whose types Cassandra takes for others.
//!
//! What must hold: the statement names a column that is reversed, and the words are those of a type that does not fit.

use super::{Difference, Pair, names};
use crate::oracle::answer::Answer;
use crate::oracle::kept;

/// What Cassandra says of what would fit if the column were not reversed.
const SAID: [&str; 6] = [
    "Ambiguous '",
    "Cannot infer type of argument ",
    "Invalid call to function system.cast_as_",
    "Invalid tuple literal: too many elements. Type ",
    "Type error: ",
    // The names of a user type's fields, taken for columns.
    "Undefined column name f",
];

impl Pair {
    /// Whether Cassandra refuses something beside a column of reversed order because of its type.
    pub(super) async fn mistakes_reversed(&mut self, difference: &Difference) -> bool {
        let Answer::Refused(refusal) = &difference.theirs.answer else {
            return false;
        };
        if kept::is_broken(&difference.ours) {
            return false;
        }
        let Some(keyspace) = self.theirs.keyspace().map(str::to_owned) else {
            return false;
        };
        if !SAID.iter().any(|words| refusal.message.starts_with(words)) {
            return false;
        }
        let text = &difference.step.text;
        for table in tables(text) {
            let reversed = format!(
                "SELECT column_name FROM system_schema.columns WHERE keyspace_name = '{keyspace}' AND table_name = '{table}' AND clustering_order = 'desc' ALLOW FILTERING"
            );
            let reversed = names(&mut self.theirs, &reversed).await;
            if words(text).any(|word| reversed.contains(word.as_bytes())) {
                return true;
            }
        }
        false
    }
}

/// The tables that a statement, or those of a batch, read or write.
fn tables(text: &str) -> Vec<&str> {
    let all: Vec<&str> = words(text).collect();
    let pairs = all.windows(2);
    let named = pairs.filter(|pair| ["FROM", "INTO", "UPDATE"].contains(&pair[0]));
    named.map(|pair| pair[1]).collect()
}

/// The words of a statement.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::{tables, words};

    #[test]
    fn a_column_is_a_word_wherever_it_stands() {
        let words: Vec<&str> = words("SELECT count(c0[..1]) FROM t0 WHERE c10 = -r2;").collect();
        assert!(["c0", "c10", "r2"].iter().all(|name| words.contains(name)));
        assert!(!words.contains(&"c1"));
    }

    #[test]
    fn a_table_is_named_behind_what_is_done_to_it() {
        let batch =
            "INSERT INTO t1 (p) VALUES (1); UPDATE t0 SET v = 1; DELETE FROM w2 WHERE p = 1";
        assert_eq!(tables(batch), ["t1", "t0", "w2"]);
    }
}
