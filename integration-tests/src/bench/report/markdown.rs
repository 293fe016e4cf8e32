//! The report as Markdown: what everything costs beside the others, then every series, then what experiments found.

use std::fmt::Write;

use super::chart::Chart;
use super::{Finding, Middle, Report, Series, command, date, machine};
use crate::bench::load::Pace;
use crate::bench::workloads;

/// How the floor's name begins: ratios refer to it.
const FLOOR: &str = "floor";
const OURS: &str = "palladium";

impl Report {
    /// One table of every closed loop, for a terminal and a README.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("{}; {}; {}.\n\n", machine(), date(), self.conditions);
        self.put_series(&mut text, |pace| pace == Pace::Closed);
        self.put_series(&mut text, |pace| pace != Pace::Closed);
        for finding in &self.findings {
            put_finding(&mut text, finding);
        }
        self.put_failures(&mut text);
        text
    }

    /// The page of the report's folder.
    pub(super) fn to_page(&self) -> String {
        let mut text = format!(
            "# What an operation costs\n\n{}; {}; {}.\n\n```\n{}\n```\n\nCompare ratios only: a machine that does something else beside makes every figure larger. \
             Each figure is the median of the runs; the range of CPU stands beside it.\n\n",
            machine(),
            date(),
            self.conditions,
            command()
        );
        self.put_failures(&mut text);
        self.put_ratios(&mut text);
        if self.series.iter().any(|series| series.pace == Pace::Closed) {
            text.push_str("## Every series\n\n");
            self.put_series(&mut text, |pace| pace == Pace::Closed);
        }
        if self.series.iter().any(|series| series.pace != Pace::Closed) {
            text.push_str("## At a fixed rate\n\nLatency counts from the moment at which an operation was due, whatever the server did then.\n\n");
            self.put_series(&mut text, |pace| pace != Pace::Closed);
            put_charts(&mut text, &self.charts());
        }
        for finding in &self.findings {
            put_finding(&mut text, finding);
        }
        text
    }

    fn put_failures(&self, text: &mut String) {
        if self.failures.is_empty() {
            return;
        }
        text.push_str("**Not measured:**\n\n");
        for failure in &self.failures {
            put_line(text, &format!("- {}", failure.replace('\n', " ")));
        }
        text.push('\n');
    }

    /// Ours against all others.
    fn put_ratios(&self, text: &mut String) {
        let ours: Vec<&Series> = self
            .series
            .iter()
            .filter(|series| series.server == OURS && series.pace == Pace::Closed)
            .collect();
        if ours.is_empty() {
            return;
        }
        let mut others: Vec<&str> = Vec::new();
        for series in &self.series {
            if series.server != OURS && !others.contains(&series.server.as_str()) {
                others.push(&series.server);
            }
        }
        text.push_str("## In short\n\nServer CPU for each operation, and what the others take, in times of ours.\n\n");
        put_line(
            text,
            &format!(
                "| one operation | in flight | {OURS}, µs | {} |",
                others.join(" | ")
            ),
        );
        put_line(
            text,
            &format!("|---|---|---:|{}", "---:|".repeat(others.len())),
        );
        for series in ours {
            let about = workloads::named(series.workload).map_or("", |workload| workload.about);
            let own = series.cpu_micros().map(|cpu| cpu.median);
            let ratios: Vec<String> = others
                .iter()
                .map(|other| {
                    let other = self.cpu_beside(series, other);
                    number(own.zip(other).map(|(own, other)| other / own), 2)
                })
                .collect();
            put_line(
                text,
                &format!(
                    "| {}: {about} | {} | {} | {} |",
                    series.workload,
                    series.shape,
                    number(own, 2),
                    ratios.join(" | ")
                ),
            );
        }
        text.push('\n');
    }

    fn cpu_beside(&self, series: &Series, name: &str) -> Option<f64> {
        let other = self
            .series
            .iter()
            .find(|other| other.server.starts_with(name) && other.is_beside(series));
        Some(other?.cpu_micros()?.median)
    }

    fn put_series(&self, text: &mut String, shown: impl Fn(Pace) -> bool) {
        let series: Vec<&Series> = self
            .series
            .iter()
            .filter(|series| shown(series.pace))
            .collect();
        if series.is_empty() {
            return;
        }
        let is_closed = shown(Pace::Closed);
        let pace = if is_closed { "" } else { " due ops/s |" };
        let line = if is_closed { "" } else { "---:|" };
        put_line(
            text,
            &format!(
                "| workload | in flight |{pace} server | server CPU, µs/op | range | x floor | ops/s | p50 µs | p99 µs | p99.9 µs | max µs | MiB |"
            ),
        );
        put_line(
            text,
            &format!("|---|---|{line}---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"),
        );
        for series in series {
            let median = |middle: Option<Middle>| middle.map(|middle| middle.median);
            let cpu = series.cpu_micros();
            let range = cpu.map_or("-".to_owned(), |cpu| {
                format!("{:.2}-{:.2}", cpu.least, cpu.greatest)
            });
            let ratio = median(cpu)
                .zip(self.cpu_beside(series, FLOOR))
                .map(|(own, floor)| own / floor);
            let due = match series.pace {
                Pace::Closed => String::new(),
                Pace::Rate(rate) => format!(" {rate} |"),
            };
            put_line(
                text,
                &format!(
                    "| {} | {} |{due} {} | {} | {range} | {} | {} | {} | {} | {} | {} | {} |",
                    series.workload,
                    series.shape,
                    series.server,
                    number(median(cpu), 2),
                    number(ratio, 2),
                    number(median(series.throughput()), 0),
                    number(median(series.latency(0.5)), 0),
                    number(median(series.latency(0.99)), 0),
                    number(median(series.latency(0.999)), 0),
                    number(median(series.latency_max()), 0),
                    number(median(series.resident_mebibytes()), 0)
                ),
            );
        }
        text.push('\n');
    }
}

fn put_finding(text: &mut String, finding: &Finding) {
    put_line(
        text,
        &format!("## {}\n\n{}\n", finding.title, finding.about),
    );
    if !finding.rows.is_empty() {
        put_line(text, &format!("| {} |", finding.columns.join(" | ")));
        // Names stand left, figures right.
        let lines: Vec<&str> = finding
            .columns
            .iter()
            .enumerate()
            .map(|(index, _)| if index == 0 { "---" } else { "---:" })
            .collect();
        put_line(text, &format!("|{}|", lines.join("|")));
        for row in &finding.rows {
            put_line(text, &format!("| {} |", row.join(" | ")));
        }
        text.push('\n');
    }
    put_charts(text, &finding.charts);
}

fn put_charts(text: &mut String, charts: &[Chart]) {
    for chart in charts {
        put_line(text, &format!("![{}]({})\n", chart.title, chart.file()));
    }
}

fn put_line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A figure, or a dash.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}
