//! Medians of several runs, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::drive::{Sample, Shape};

/// All runs of one workload at one shape on one server.
pub struct Series {
    pub server: String,
    pub workload: &'static str,
    pub shape: Shape,
    pub samples: Vec<Sample>,
}

impl Series {
    fn cpu_micros(&self) -> Option<f64> {
        self.samples
            .iter()
            .map(Sample::cpu_micros)
            .collect::<Option<Vec<f64>>>()
            .and_then(median)
    }

    fn throughput(&self) -> Option<f64> {
        median(self.samples.iter().map(Sample::throughput).collect())
    }

    fn latency_micros(&self, quantile: f64) -> Option<f64> {
        median(
            self.samples
                .iter()
                .map(|sample| sample.latency_micros.value_at_quantile(quantile) as f64)
                .collect(),
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "server": self.server,
            "workload": self.workload,
            "shape": self.shape.to_string(),
            "cpu_us_per_operation": self.cpu_micros(),
            "operations_per_second": self.throughput(),
            "latency_us": { "p50": self.latency_micros(0.5), "p99": self.latency_micros(0.99), "p999": self.latency_micros(0.999) },
            "runs": self.samples.iter().map(|sample| json!({
                "operations": sample.operations,
                "seconds": sample.elapsed.as_secs_f64(),
                "cpu_us_per_operation": sample.cpu_micros(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Every series of one run of the benchmark.
#[derive(Default)]
pub struct Report {
    pub series: Vec<Series>,
    /// How the run was made, in a few words.
    pub conditions: String,
}

impl Report {
    /// A Markdown table; the ratio is to the server named `floor`, if there is one.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("{}; {}; {}.\n\n", machine(), date(), self.conditions);
        text.push_str("| workload | in flight | server | server CPU, µs/op | x floor | ops/s | p50 µs | p99 µs |\n|---|---|---|---:|---:|---:|---:|---:|\n");
        for series in &self.series {
            let floor = self.series.iter().find(|other| {
                other.server.starts_with("floor")
                    && other.workload == series.workload
                    && other.shape == series.shape
            });
            let ratio = floor
                .and_then(Series::cpu_micros)
                .zip(series.cpu_micros())
                .map(|(floor, own)| own / floor);
            let number = |value: Option<f64>, digits: usize| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                series.workload,
                series.shape,
                series.server,
                number(series.cpu_micros(), 2),
                number(ratio, 2),
                number(series.throughput(), 0),
                number(series.latency_micros(0.5), 0),
                number(series.latency_micros(0.99), 0)
            );
        }
        text
    }

    /// Everything, every run by itself too.
    pub fn to_json(&self) -> Value {
        json!({
            "machine": machine(),
            "date": date(),
            "conditions": self.conditions,
            "series": self.series.iter().map(Series::to_json).collect::<Vec<_>>(),
        })
    }
}

/// Processor, cores and kernel.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
