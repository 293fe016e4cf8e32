//! The text that Prometheus and its like read: version 0.0.4 of the format, which all of them take.
//!
//! ```text
//! # HELP palladium_requests_total Requests that were answered.
//! # TYPE palladium_requests_total counter
//! palladium_requests_total{operation="read",outcome="ok"} 42
//! ```
//!
//! A histogram has a line for each bound that says how many were at most that, one for all of them (`+Inf`), their sum and their number. The bounds are powers of
//! two of nanoseconds, because buckets of ours end there: what is told for a bound is exact.

use std::fmt::Write;

use palladium_storage::metrics::Distribution;

/// The type of the text over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of times: 4.1 us to 17.2 s.
const BOUNDS: [u64; 23] = {
    let mut bounds = [0; 23];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = 1 << (12 + place);
        place += 1;
    }
    bounds
};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// A text in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// One metric, whose values are being added.
pub struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric. All its values follow.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> Metric<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric {
            text: &mut self.text,
            name,
        }
    }

    /// A counter with one value.
    pub fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.metric(name, Kind::Counter, help).count(&[], value);
    }

    /// A gauge with one value.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: usize) {
        let value = value as u64;
        self.metric(name, Kind::Gauge, help).count(&[], value);
    }

    /// A histogram of times without labels.
    pub fn times(&mut self, name: &'static str, help: &str, nanos: &Distribution) {
        self.metric(name, Kind::Histogram, help).times(&[], nanos);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Metric<'_> {
    /// One value.
    pub fn value(&mut self, labels: &[Label<'_>], value: f64) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// One whole number.
    pub fn count(&mut self, labels: &[Label<'_>], value: u64) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// A histogram of nanoseconds, in seconds.
    pub fn times(&mut self, labels: &[Label<'_>], nanos: &Distribution) -> &mut Self {
        for (bound, count) in BOUNDS.iter().zip(nanos.up_to(&BOUNDS)) {
            let bound = *bound as f64 / 1e9;
            self.line("_bucket", labels, Some(&bound.to_string()), count);
        }
        let count = nanos.count();
        self.line("_bucket", labels, Some("+Inf"), count)
            .line("_sum", labels, None, nanos.sum as f64 / 1e9)
            .line("_count", labels, None, count)
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[Label<'_>],
        bound: Option<&str>,
        value: impl std::fmt::Display,
    ) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let labels = labels.iter().copied().chain(bound.map(|le| ("le", le)));
        let mut before = '{';
        for (name, value) in labels {
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(value));
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Quotes, backslashes and line ends as the format wants them.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use palladium_storage::metrics::Histogram;

    use super::*;

    #[test]
    fn values_stand_under_their_metric_with_escaped_labels() {
        let mut out = Exposition::default();
        out.counter("a_total", "How many.", 7);
        out.metric("b", Kind::Gauge, "How much.")
            .value(&[("x", "1"), ("y", "a\"b\\c\nd")], 0.5);
        assert_eq!(
            out.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 7\n\
             # HELP b How much.\n# TYPE b gauge\nb{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.5\n"
        );
    }

    #[test]
    fn a_histogram_adds_up_from_bound_to_bound() {
        let nanos = Histogram::default();
        for number in [4_095, 4_096, 1_000_000, 30_000_000_000] {
            nanos.add(number);
        }
        let mut out = Exposition::default();
        out.times("t_seconds", "Time.", &nanos.distribution());
        let text = out.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "t_seconds_bucket{le=\"0.000004096\"} 1");
        assert_eq!(lines[1], "t_seconds_bucket{le=\"0.000008192\"} 2");
        assert_eq!(lines[8], "t_seconds_bucket{le=\"0.001048576\"} 3");
        assert_eq!(lines[22], "t_seconds_bucket{le=\"17.179869184\"} 3");
        assert_eq!(lines[23], "t_seconds_bucket{le=\"+Inf\"} 4");
        assert_eq!(lines[24], "t_seconds_sum 30.001008191");
        assert_eq!(lines[25], "t_seconds_count 4");
        assert_eq!(lines.len(), 26);
    }
}
