//! How many partitions batches touch, by their kind: `system_views.batch_metrics`.

use palladium_protocol::cql::ast::BatchKind;
use palladium_storage::metrics::{Distribution, Histogram};

/// Batches since the start.
#[derive(Debug, Default)]
pub struct Batches {
    logged: Histogram,
    unlogged: Histogram,
    counter: Histogram,
}

impl Batches {
    /// A batch touches so many partitions.
    pub fn add(&self, kind: BatchKind, partitions: usize) {
        let of = match kind {
            BatchKind::Logged => &self.logged,
            BatchKind::Unlogged => &self.unlogged,
            BatchKind::Counter => &self.counter,
        };
        of.add(partitions as u64);
    }

    /// Each kind, by Cassandra's name.
    pub fn all(&self) -> [(&'static str, Distribution); 3] {
        [
            ("partitions_per_counter_batch", &self.counter),
            ("partitions_per_logged_batch", &self.logged),
            ("partitions_per_unlogged_batch", &self.unlogged),
        ]
        .map(|(name, of)| (name, of.distribution()))
    }
}
