//! What an operator does not want to see, or not let happen: Cassandra's guardrails and thresholds, by their own names, in its own words.
//!
//! ```text
//! [cassandra]                             settings as cassandra.yaml has them
//! tables_warn_threshold = 150      ─► Guardrails ─► statement (prepared)   ─► warnings of the answer, or Invalid
//! allow_filtering_enabled = false                   schema (DDL)               "Guardrail tables violated: ..."
//! ```
//!
//! Read on in `lines` (all of them, a line each), `settings` (reading them), `statement`, `age`, `values`, `batch` and `schema` (who asks when).
//!
//! Different from Cassandra on purpose: while roles are off, the guardrails hold for everybody; Cassandra then takes everybody for a superuser, whom none holds.
//!
//! What must hold: a guardrail that is off costs at most a comparison; what a statement alone decides is asked once, when it is prepared.

mod age;
mod batch;
mod lines;
mod schema;
mod settings;
mod statement;
mod values;

use std::fmt::Display;

use crate::error::{CqlError, CqlResult};

pub use age::check_age;
pub use batch::check_batch;
pub use lines::{Flag, Limit, List};
pub use schema::{check_change, check_kind, without_ignored};
pub use statement::check_statement;
pub use values::check_values;

use lines::{FLAGS, LIMITS, LimitLine};

/// What is warned of, and what fails; None: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub warn: Option<u64>,
    pub fail: Option<u64>,
}

impl Bounds {
    /// Whether nothing is ever said.
    pub fn is_off(self) -> bool {
        self == Bounds::default()
    }
}

/// All guardrails, as the operator has set them.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrails {
    limits: [Bounds; LIMITS.len()],
    flags: [bool; FLAGS.len()],
    lists: [Vec<String>; lines::LISTS.len()],
    /// Names of settings that mean nothing here and were given all the same.
    pub without_effect: Vec<String>,
}

impl Default for Guardrails {
    fn default() -> Self {
        Guardrails {
            limits: LIMITS.map(|line| line.default),
            flags: FLAGS.map(|line| line.default),
            lists: lines::LISTS.map(|_| Vec::new()),
            without_effect: Vec::new(),
        }
    }
}

impl Guardrails {
    /// What is left of them for superusers: batches and tombstones, which are bounded for everybody, and what is switched off or on.
    pub fn for_superusers(&self) -> Guardrails {
        let everybodys = [Limit::BatchSize, Limit::UnloggedBatch, Limit::Tombstones];
        let mut left = Guardrails::default();
        for limit in everybodys {
            left.limits[limit as usize] = self.bounds(limit);
        }
        for flag in [Flag::DynamicDataMasking, Flag::DropCompactStorage] {
            left.flags[flag as usize] = self.is_on(flag);
        }
        left
    }

    /// What a threshold is set to.
    #[inline]
    pub fn bounds(&self, limit: Limit) -> Bounds {
        self.limits[limit as usize]
    }

    /// Whether a feature is on.
    #[inline]
    pub fn is_on(&self, flag: Flag) -> bool {
        self.flags[flag as usize]
    }

    /// The values of a list, in upper case where Cassandra's are.
    pub fn list(&self, list: List) -> &[String] {
        &self.lists[list as usize]
    }

    /// Holds a value against its thresholds: an error, a warning, or nothing.
    pub fn check(&self, limit: Limit, value: u64, what: &str) -> CqlResult<Option<String>> {
        let bounds = self.bounds(limit);
        if bounds.is_off() {
            return Ok(None);
        }
        let line = &LIMITS[limit as usize];
        // A minimum is passed from above.
        let passes = |bound: u64| match line.is_minimum {
            true => value < bound,
            false => value > bound,
        };
        if let Some(bound) = bounds.fail.filter(|bound| passes(*bound)) {
            return Err(line.fails(what, value, bound));
        }
        let bound = bounds.warn.filter(|bound| passes(*bound));
        Ok(bound.map(|bound| line.warns(what, value, bound)))
    }

    /// Refuses a feature that is off. `what` in place of the feature's own name, if given.
    pub fn require(&self, flag: Flag, what: Option<&str>) -> CqlResult<()> {
        if self.is_on(flag) {
            return Ok(());
        }
        let line = &FLAGS[flag as usize];
        let feature = what.unwrap_or(line.feature);
        let text = format!("{feature} is not allowed");
        Err(CqlError::guardrail(violated(line.name, &text, line.reason)))
    }

    /// Holds values against lists of those that are not allowed, and those that are not recommended.
    pub fn check_list(
        &self,
        name: &str,
        what: &str,
        values: &[String],
        (warned, disallowed): (List, List),
    ) -> CqlResult<Option<String>> {
        let among = |list: List| {
            let list = self.list(list);
            let found: Vec<&str> = values
                .iter()
                .filter(|value| list.contains(value))
                .map(String::as_str)
                .collect();
            (!found.is_empty()).then(|| (found.join(", "), list.join(", ")))
        };
        if let Some((found, list)) = among(disallowed) {
            let text = format!(
                "Provided values [{found}] are not allowed for {what} (disallowed values are: [{list}])"
            );
            return Err(CqlError::guardrail(violated(name, &text, None)));
        }
        Ok(among(warned).map(|(found, list)| {
            let text = format!(
                "Provided values [{found}] are not recommended for {what} (warned values are: [{list}])"
            );
            violated(name, &text, None)
        }))
    }
}

impl LimitLine {
    fn fails(&self, what: &str, value: impl Display, bound: impl Display) -> CqlError {
        CqlError::guardrail(self.says(self.failed, "failure", what, &value, &bound))
    }

    fn warns(&self, what: &str, value: impl Display, bound: impl Display) -> String {
        self.says(self.warned, "warning", what, &value, &bound)
    }

    fn says(
        &self,
        text: &str,
        kind: &str,
        what: &str,
        value: &dyn Display,
        bound: &dyn Display,
    ) -> String {
        let text = text
            .replace("{what}", what)
            .replace("{value}", &value.to_string())
            .replace("{threshold}", &bound.to_string())
            .replace("{kind}", kind);
        violated(self.name, &text, self.reason)
    }
}

/// Cassandra's words around those of one guardrail.
fn violated(name: &str, text: &str, reason: Option<&str>) -> String {
    let reason = reason.map_or(String::new(), |reason| {
        let before = if text.ends_with('.') { " " } else { ". " };
        let after = if reason.ends_with('.') { "" } else { "." };
        format!("{before}{reason}{after}")
    });
    format!("Guardrail {name} violated: {text}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Guardrails {
        let settings: toml::Table = text.parse().expect("a table of settings");
        Guardrails::read(&settings).expect("settings that are right")
    }

    #[test]
    fn a_threshold_warns_above_the_first_and_fails_above_the_second() {
        let guardrails = with("tables_warn_threshold = 2\ntables_fail_threshold = 3");
        let check = |value| guardrails.check(Limit::Tables, value, "t");
        assert_eq!(check(2), Ok(None));
        assert_eq!(
            check(3),
            Ok(Some(
                "Guardrail tables violated: Creating table t, current number of tables 3 exceeds warning threshold of 2."
                    .into()
            ))
        );
        assert_eq!(
            check(4).expect_err("too many").message,
            "Guardrail tables violated: Cannot have more than 3 tables, aborting the creation of table t"
        );
    }

    #[test]
    fn a_minimum_is_passed_from_above() {
        let guardrails = with("minimum_replication_factor_fail_threshold = 2");
        let check = |value| guardrails.check(Limit::MinimumReplicationFactor, value, "ks");
        assert_eq!(check(2), Ok(None));
        assert!(check(1).is_err());
    }

    #[test]
    fn by_default_nothing_is_said_but_of_large_batches_and_many_tombstones() {
        let guardrails = Guardrails::default();
        for line in &LIMITS {
            let expected = [
                "batch_size",
                "unlogged_batch_across_partitions",
                "tombstone",
            ];
            assert_eq!(
                !line.default.is_off(),
                expected.contains(&line.name),
                "{}",
                line.name
            );
        }
        assert_eq!(guardrails.require(Flag::AllowFiltering, None), Ok(()));
        assert!(!guardrails.is_on(Flag::DynamicDataMasking));
    }

    #[test]
    fn a_reason_is_a_sentence_of_its_own() {
        let guardrails = with("allow_filtering_enabled = false");
        assert_eq!(
            guardrails
                .require(Flag::AllowFiltering, None)
                .expect_err("refused")
                .message,
            "Guardrail allow_filtering violated: Querying with ALLOW FILTERING is not allowed. ALLOW FILTERING can potentially visit \
             all the data in the table and have unpredictable performance."
        );
    }
}
