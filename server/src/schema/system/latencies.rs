//! `system_views`: how long requests about each table took, how much reads went past, how many partitions batches touched; in Cassandra's tables and columns.
//!
//! | table | counts | from, to |
//! |---|---|---|
//! | `coordinator_read_latency`, `_write_`, `_scan_` | each request about one table; batches are of none | the read of the socket that brought it, the write that took its answer |
//! | `local_read_latency`, `local_scan_latency` | of the reads of a thread one in 64 | asked of storage, answered |
//! | `local_write_latency` | each mutation | its group was taken, its group could be read |
//! | `rows_per_read`, `tombstones_per_read` | each SELECT | |
//!
//! A view's requests are counted with those of its base, whose rows it shows. Percentiles are within a quarter.

use palladium_protocol::types::CqlValue;
use palladium_storage::Held;
use palladium_storage::metrics::Distribution;

use super::super::{Catalog, TableSchema};
use super::rows::{Named, Rows, double, text};
use crate::database::Database;
use crate::error::CqlResult;
use crate::instruments::{Kind, TableTimes};

const NANOS_PER_MS: f64 = 1e6;

/// Where the figures of one of these tables come from.
enum Figures {
    /// Times of requests.
    Requests(Kind),
    /// Times of storage.
    Storage(fn(&Held) -> &Option<Distribution>),
    /// What reads went past.
    Reads(fn(&TableTimes) -> Option<Distribution>),
}

fn figures(name: &str) -> Option<Figures> {
    Some(match name {
        "coordinator_read_latency" => Figures::Requests(Kind::Read),
        "coordinator_write_latency" => Figures::Requests(Kind::Write),
        "coordinator_scan_latency" => Figures::Requests(Kind::Scan),
        "local_read_latency" => Figures::Storage(|held| &held.reads),
        "local_write_latency" => Figures::Storage(|held| &held.writes),
        "local_scan_latency" => Figures::Storage(|held| &held.scans),
        "rows_per_read" => Figures::Reads(TableTimes::rows),
        "tombstones_per_read" => Figures::Reads(TableTimes::tombstones),
        _ => return None,
    })
}

/// The rows of one of these tables; none of any other.
pub fn fill(
    database: &Database,
    schema: &Catalog,
    table: &TableSchema,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    if table.name == "batch_metrics" {
        return batch_metrics(database, rows);
    }
    let Some(figures) = figures(&table.name) else {
        return Ok(());
    };
    let held = match figures {
        Figures::Storage(_) => database.engine.held(),
        _ => Vec::new(),
    };
    let times = database.instruments.tables.all();
    let tables = schema.customer_tables();
    for of in tables.filter(|of| of.view.is_none()) {
        let times = times.iter().find(|times| times.table == of.id);
        let held = held.iter().find(|held| held.table == of.id);
        let (told, rate) = match figures {
            Figures::Requests(kind) => (
                times.and_then(|times| times.requests(kind)),
                Some(times.map_or(0.0, |times| times.per_second(kind))),
            ),
            Figures::Storage(told) => (held.and_then(|held| told(held).clone()), None),
            Figures::Reads(told) => (times.and_then(|times| told(times)), None),
        };
        let is_latency = !matches!(figures, Figures::Reads(_));
        rows.add(row(of, &told.unwrap_or_default(), rate, is_latency))?;
    }
    Ok(())
}

fn row(
    table: &TableSchema,
    told: &Distribution,
    per_second: Option<f64>,
    is_latency: bool,
) -> Vec<Named> {
    let (columns, unit) = match is_latency {
        true => (["p50th_ms", "p99th_ms", "max_ms"], NANOS_PER_MS),
        false => (["p50th", "p99th", "max"], 1.0),
    };
    let [p50, p99, max] = columns;
    let value = |number: u64| rounded(number as f64 / unit);
    vec![
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("count", bigint(told.count())),
        (p50, value(told.permille(500))),
        (p99, value(told.permille(990))),
        (max, value(told.largest)),
        ("per_second", per_second.and_then(rounded)),
    ]
}

fn batch_metrics(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (name, told) in database.instruments.batches.all() {
        let value = |permille| double(told.permille(permille) as f64);
        rows.add(vec![
            ("name", text(name)),
            ("p50th", value(500)),
            ("p99th", value(990)),
            ("p999th", value(999)),
            ("max", bigint(told.largest)),
        ])?;
    }
    Ok(())
}

fn bigint(number: u64) -> Option<CqlValue> {
    Some(CqlValue::Bigint(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// Three digits behind the point, as in Cassandra: more would be told in scientific notation.
fn rounded(value: f64) -> Option<CqlValue> {
    double((value * 1e3).round() / 1e3)
}
