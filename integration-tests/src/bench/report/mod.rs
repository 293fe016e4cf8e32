//! What was found: medians and ranges of several runs, findings of experiments, and charts, as a folder for people and JSON for programs.
//!
//! ```text
//! folder/  report.md      tables, with the charts in their places
//!          report.json    everything, every run by itself too
//!          *.svg          a chart each
//! ```

pub mod chart;
mod markdown;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::chart::Chart;
use super::load::{Pace, Sample, Shape};

/// All runs of one workload at one shape and pace on one server.
pub struct Series {
    pub server: String,
    pub workload: &'static str,
    pub shape: Shape,
    pub pace: Pace,
    pub samples: Vec<Sample>,
}

/// The middle of several runs, and how far apart they were.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Middle {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Middle {
    /// Of at least one number. Of an even number of them the upper one of the two in the middle.
    pub fn of(mut numbers: Vec<f64>) -> Option<Middle> {
        numbers.sort_by(f64::total_cmp);
        Some(Middle {
            median: *numbers.get(numbers.len() / 2)?,
            least: *numbers.first()?,
            greatest: *numbers.last()?,
        })
    }

    fn to_json(self) -> Value {
        json!({ "median": self.median, "least": self.least, "greatest": self.greatest })
    }
}

impl Series {
    fn middle(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<Middle> {
        Middle::of(self.samples.iter().filter_map(of).collect())
    }

    /// Server CPU for each operation, in microseconds.
    pub fn cpu_micros(&self) -> Option<Middle> {
        self.middle(Sample::cpu_micros)
    }

    /// Operations in a second.
    pub fn throughput(&self) -> Option<Middle> {
        self.middle(|sample| Some(sample.throughput()))
    }

    /// Latency at a quantile, in microseconds.
    pub fn latency(&self, quantile: f64) -> Option<Middle> {
        self.middle(|sample| Some(sample.latencies.at(quantile)))
    }

    /// The slowest operation of each run, in microseconds.
    pub fn latency_max(&self) -> Option<Middle> {
        self.middle(|sample| Some(sample.latencies.max()))
    }

    /// Resident memory at the end of each run, in mebibytes.
    pub fn resident_mebibytes(&self) -> Option<Middle> {
        self.middle(|sample| Some(sample.resident_bytes? as f64 / f64::from(1 << 20)))
    }

    fn is_beside(&self, other: &Series) -> bool {
        (self.workload, self.shape, self.pace) == (other.workload, other.shape, other.pace)
    }

    fn to_json(&self) -> Value {
        json!({
            "server": self.server,
            "workload": self.workload,
            "shape": self.shape.to_string(),
            "pace": self.pace.to_string(),
            "cpu_us_per_operation": self.cpu_micros().map(Middle::to_json),
            "operations_per_second": self.throughput().map(Middle::to_json),
            "resident_mebibytes": self.resident_mebibytes().map(Middle::to_json),
            "runs": self.samples.iter().map(|sample| json!({
                "operations": sample.operations,
                "seconds": sample.elapsed.as_secs_f64(),
                "cpu_us_per_operation": sample.cpu_micros(),
                "resident_bytes": sample.resident_bytes,
                "latency_us": sample.latencies.to_json(),
            })).collect::<Vec<_>>(),
        })
    }
}

/// What an experiment found: a table, and charts of it.
#[derive(Clone, Default)]
pub struct Finding {
    pub title: String,
    /// What was done, and what the columns mean.
    pub about: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub charts: Vec<Chart>,
}

impl Finding {
    /// An empty table.
    pub fn new(title: &str, about: &str, columns: &[&str]) -> Finding {
        Finding {
            title: title.to_owned(),
            about: about.to_owned(),
            columns: columns.iter().map(ToString::to_string).collect(),
            ..Finding::default()
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "title": self.title,
            "columns": self.columns,
            "rows": self.rows,
            "lines": self.charts.iter().map(Chart::to_json).collect::<Vec<_>>(),
        })
    }
}

/// Everything of one run of the benchmark.
#[derive(Default)]
pub struct Report {
    /// How the run was made, in a few words.
    pub conditions: String,
    pub series: Vec<Series>,
    pub findings: Vec<Finding>,
    /// What could not be measured, and why. A report with any is no success.
    pub failures: Vec<String>,
}

impl Report {
    /// Puts a run beside the others of its kind.
    pub fn keep(
        &mut self,
        server: &str,
        workload: &'static str,
        shape: Shape,
        pace: Pace,
        sample: Sample,
    ) {
        let known = self.series.iter_mut().find(|series| {
            series.server == server
                && (series.workload, series.shape, series.pace) == (workload, shape, pace)
        });
        match known {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series {
                server: server.to_owned(),
                workload,
                shape,
                pace,
                samples: vec![sample],
            }),
        }
    }

    /// Everything, every run by itself too.
    pub fn to_json(&self) -> Value {
        json!({
            "machine": machine(),
            "date": date(),
            "conditions": self.conditions,
            "command": command(),
            "series": self.series.iter().map(Series::to_json).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }

    /// Writes the folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let own = self.charts();
        for chart in own
            .iter()
            .chain(self.findings.iter().flat_map(|finding| &finding.charts))
        {
            fs::write(folder.join(chart.file()), chart.to_svg())?;
        }
        fs::write(folder.join("report.md"), self.to_page())?;
        let json = serde_json::to_vec_pretty(&self.to_json())?;
        fs::write(folder.join("report.json"), json)
    }

    /// Latency by percentile, a chart for each workload at a fixed rate.
    fn charts(&self) -> Vec<Chart> {
        let mut charts: Vec<Chart> = Vec::new();
        for series in &self.series {
            let Pace::Rate(_) = series.pace else { continue };
            let Some(sample) = series.samples.get(series.samples.len() / 2) else {
                continue;
            };
            let title = format!("{}, {}, at a fixed rate", series.workload, series.shape);
            let line = chart::Line {
                name: format!("{}, {}", series.server, series.pace),
                points: sample.latencies.curve(),
            };
            match charts.iter_mut().find(|chart| chart.title == title) {
                Some(chart) => chart.lines.push(line),
                None => charts.push(Chart {
                    title,
                    x: chart::Axis::nines("of all operations"),
                    y: chart::Axis::logarithmic("latency, µs"),
                    lines: vec![line],
                }),
            }
        }
        charts
    }
}

/// Processor, cores, memory and kernel.
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
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = meminfo
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{model}, {cores} cores, {} GiB, Linux {}",
        kilobytes.div_ceil(1 << 20),
        kernel.trim()
    )
}

fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// The command line, without the folders of this machine.
fn command() -> String {
    let plain = |argument: String| match argument.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => argument,
    };
    std::env::args().map(plain).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_three_runs_is_none_of_the_outer_ones() {
        let middle = Middle::of(vec![9.0, 1.0, 4.0]).expect("numbers");
        assert_eq!(
            (middle.least, middle.median, middle.greatest),
            (1.0, 4.0, 9.0)
        );
        assert_eq!(Middle::of(Vec::new()), None);
    }
}
