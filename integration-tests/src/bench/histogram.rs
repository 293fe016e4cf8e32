//! Latencies of one run, in microseconds with three digits, up to a minute.
//!
//! What must hold: a latency beyond the bound counts as the bound, never as nothing; histograms of several runs are never added up for a percentile of a
//! report, which is the median of the runs' percentiles, because one bad run would hide in a sum.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// What a report tells of a run.
pub const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
/// Where a plot of latency by percentile has its points: each "nine" is as wide as the one before it.
const NINES: [f64; 13] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999,
];

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Latencies(histogram.expect("bounds and digits of a histogram"))
    }
}

impl Latencies {
    /// One operation more.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX);
        self.0.saturating_record(micros.max(1));
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Microseconds below which this part of all operations stayed.
    pub fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64
    }

    /// The slowest operation, in microseconds.
    pub fn max(&self) -> f64 {
        self.0.max() as f64
    }

    /// Points for a plot: how many nines, and the latency there. Percentiles that fewer than one operation lies beyond are left out.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let enough = |quantile: &&f64| (1.0 - **quantile) * self.len() as f64 >= 1.0;
        NINES
            .iter()
            .filter(enough)
            .map(|&quantile| (-(1.0 - quantile).log10(), self.at(quantile)))
            .collect()
    }

    /// Percentiles and the maximum, for programs.
    pub fn to_json(&self) -> Value {
        let mut object: serde_json::Map<String, Value> = PERCENTILES
            .iter()
            .map(|&(name, quantile)| (name.to_owned(), json!(self.at(quantile))))
            .collect();
        object.insert("max".to_owned(), json!(self.max()));
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_beyond_the_bound_counts_as_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.len(), 1);
        assert!(latencies.max() >= MICROS_MAX as f64 * 0.99);
    }

    #[test]
    fn a_curve_ends_where_no_operation_lies_beyond() {
        let mut latencies = Latencies::default();
        for micros in 1..=100 {
            latencies.record(Duration::from_micros(micros));
        }
        let curve = latencies.curve();
        let (nines, micros) = curve[curve.len() - 1];
        assert!((nines - 2.0).abs() < 1e-6, "{nines}");
        assert!((98.0..=100.0).contains(&micros), "{micros}");
    }
}
