//! Finished traces: the newest ones, in memory.
//!
//! What must hold: there are never more than [`SESSIONS_MAX`](super::SESSIONS_MAX), their texts never take more than
//! [`KEPT_BYTES_MAX`](super::KEPT_BYTES_MAX), and none is shown a day after it began.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::{KEPT_BYTES_MAX, SESSIONS_MAX, Trace};

/// Milliseconds for which a trace is shown: `trace_type_query_ttl` of Cassandra.
const SHOWN_MS: i64 = 24 * 60 * 60 * 1_000;

/// The traces that can be asked for.
#[derive(Debug, Default)]
pub struct Traces {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first, each with the bytes of its texts when it was finished.
    traces: VecDeque<(Arc<Trace>, usize)>,
    /// The sum.
    bytes: usize,
}

impl Traces {
    /// Keeps a trace whose request is answered.
    pub fn keep(&self, trace: Arc<Trace>) {
        trace.finish();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = trace.bytes();
        kept.bytes += bytes;
        kept.traces.push_back((trace, bytes));
        while kept.traces.len() > SESSIONS_MAX || kept.bytes > KEPT_BYTES_MAX {
            let Some((_, bytes)) = kept.traces.pop_front() else {
                return;
            };
            kept.bytes -= bytes;
        }
    }

    /// How many are kept, and the bytes of their texts.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.traces.len(), kept.bytes)
    }

    /// Those that are still shown at `now`, in milliseconds; or one of them.
    pub fn shown(&self, now: i64, only: Option<Uuid>) -> Vec<Arc<Trace>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.traces
            .iter()
            .map(|(trace, _)| trace)
            .filter(|trace| trace.started_at > now.saturating_sub(SHOWN_MS))
            .filter(|trace| only.is_none_or(|id| trace.id == id))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn trace(number: u128, started_at: i64) -> Arc<Trace> {
        let client = ([127, 0, 0, 1].into(), "anonymous".into());
        let id = Uuid::from_u128(number);
        Trace::begin(
            id,
            "Execute CQL3 query",
            BTreeMap::new(),
            client,
            started_at,
        )
    }

    #[test]
    fn traces_of_long_statements_make_room_sooner() {
        let traces = Traces::default();
        for number in 0..SESSIONS_MAX {
            let trace = trace(number as u128, 0);
            (0..20).for_each(|_| trace.note("x".repeat(1 << 20)));
            traces.keep(trace);
        }
        let shown = traces.shown(0, None);
        let bytes: usize = shown.iter().map(|trace| trace.bytes()).sum();
        assert!(bytes <= KEPT_BYTES_MAX && bytes > KEPT_BYTES_MAX / 2);
        assert_eq!(
            shown.last().map(|trace| trace.id.as_u128()),
            Some(SESSIONS_MAX as u128 - 1)
        );
    }

    #[test]
    fn the_oldest_make_room_and_a_day_ends_them_all() {
        let traces = Traces::default();
        for number in 0..SESSIONS_MAX + 3 {
            traces.keep(trace(number as u128, number as i64));
        }
        let shown = traces.shown(0, None);
        assert_eq!(shown.len(), SESSIONS_MAX);
        assert_eq!(shown[0].id.as_u128(), 3);
        assert!(shown[0].duration().is_some());
        assert_eq!(traces.shown(0, Some(Uuid::from_u128(7))).len(), 1);
        assert_eq!(
            traces.shown(SHOWN_MS + 100, None).len(),
            SESSIONS_MAX + 3 - 101
        );
    }
}
