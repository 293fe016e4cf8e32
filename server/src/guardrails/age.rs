//! Timestamps that a client says, held against the clock: from too far ahead nothing overwrites them, from too far behind they are lost.

use super::lines::LIMITS;
use super::{Guardrails, Limit};
use crate::error::CqlResult;

impl Guardrails {
    /// Whether timestamps are looked at.
    #[inline]
    pub fn watches_timestamps(&self) -> bool {
        [Limit::MaximumTimestamp, Limit::MinimumTimestamp]
            .into_iter()
            .any(|limit| !self.bounds(limit).is_off())
    }
}

/// Holds the timestamp that a modification of a table says against the thresholds, `now` in microseconds.
pub fn check_age(
    guardrails: &Guardrails,
    table: &str,
    timestamp: i64,
    now: i64,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    for limit in [Limit::MaximumTimestamp, Limit::MinimumTimestamp] {
        let line = &LIMITS[limit as usize];
        let bounds = guardrails.bounds(limit);
        // The moment that a timestamp is past, if it is.
        let passed = |distance: Option<u64>| {
            let distance = i64::try_from(distance?).unwrap_or(i64::MAX);
            let (bound, is_past) = match limit {
                Limit::MaximumTimestamp => {
                    let bound = now.saturating_add(distance);
                    (bound, timestamp > bound)
                }
                _ => {
                    let bound = now.saturating_sub(distance);
                    (bound, timestamp < bound)
                }
            };
            is_past.then_some(bound)
        };
        if let Some(bound) = passed(bounds.fail) {
            return Err(line.fails(table, timestamp, bound));
        }
        warnings.extend(passed(bounds.warn).map(|bound| line.warns(table, timestamp, bound)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_too_far_from_now_is_warned_of_and_farther_it_is_refused() {
        let settings = "maximum_timestamp_warn_threshold = '1s'\nmaximum_timestamp_fail_threshold = '2s'\n\
                        minimum_timestamp_warn_threshold = '1s'\nminimum_timestamp_fail_threshold = '2s'";
        let settings: toml::Table = settings.parse().expect("a table of settings");
        let guardrails = Guardrails::read(&settings).expect("settings that are right");
        let check = |timestamp| {
            let mut warnings = Vec::new();
            let checked = check_age(&guardrails, "t", timestamp, 10_000_000, &mut warnings);
            checked.map(|()| warnings).map_err(|error| error.message)
        };
        assert_eq!(check(11_000_000), Ok(Vec::new()));
        assert_eq!(check(9_000_000), Ok(Vec::new()));
        assert_eq!(
            check(12_000_000),
            Ok(vec![
                "Guardrail maximum_timestamp violated: The modification to table t has a timestamp 12000000 after the maximum \
                 allowable warning threshold 11000000. Timestamps too far in the future can lead to data that can't be easily overwritten."
                    .into()
            ])
        );
        assert_eq!(
            check(-1),
            Err(
                "Guardrail minimum_timestamp violated: The modification to table t has a timestamp -1 before the minimum allowable \
                 failure threshold 8000000. Timestamps too far in the past can cause writes can be unexpectedly lost."
                    .into()
            )
        );
    }
}
