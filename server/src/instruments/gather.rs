//! Everything that is counted, as one text for a scraper. `server/README.md` lists each metric.
//!
//! What must hold: names of users (keyspaces, tables, roles, statements, keys) are never in it; tables are named by their ids, and only as many as the
//! setting `metrics_tables` says, those with the most requests.

use palladium_storage::Held;
use palladium_storage::metrics::Distribution;

use super::exposition::{Exposition, Kind};
use super::{Operation, process, tables};
use crate::database::Database;
use crate::keys::{ServiceStatus, TableKeyStatus};
use crate::ledger::Ledger;

/// The text of this moment.
pub fn gather(database: &Database) -> String {
    let mut out = Exposition::default();
    requests(database, &mut out);
    connections(database, &mut out);
    memory(database, &mut out);
    log(database, &mut out);
    background(database, &mut out);
    keys(database, &mut out);
    if database.config.metrics_tables > 0 {
        each_table(database, &mut out);
    }
    process::put(&mut out, database.instruments.started_seconds);
    out.metric(
        "palladium_build_info",
        Kind::Gauge,
        "The version that runs.",
    )
    .count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.finish()
}

fn requests(database: &Database, out: &mut Exposition) {
    let instruments = &database.instruments;
    let counted = Operation::ALL.map(|operation| {
        let counted = instruments.requests.counted(operation);
        (operation.name(), counted)
    });
    let mut total = out.metric(
        "palladium_requests_total",
        Kind::Counter,
        "Requests that were answered, by what they asked for and whether the answer is an error.",
    );
    for (operation, counted) in &counted {
        let answered = counted.nanos.count();
        let ok = answered.saturating_sub(counted.failed);
        total
            .count(&[("operation", operation), ("outcome", "ok")], ok)
            .count(
                &[("operation", operation), ("outcome", "error")],
                counted.failed,
            );
    }
    let mut seconds = out.metric(
        "palladium_request_seconds",
        Kind::Histogram,
        "From the read of the socket that brought a request until the write that took its answer.",
    );
    for (operation, counted) in &counted {
        seconds.times(&[("operation", operation)], &counted.nanos);
    }
    let mut errors = out.metric(
        "palladium_errors_total",
        Kind::Counter,
        "Answers that are errors, by their code.",
    );
    for (code, name, count) in instruments.errors.all() {
        let code = format!("{:#06x}", code as i32);
        errors.count(&[("code", &code), ("name", name)], count);
    }
    out.counter(
        "palladium_slow_requests_total",
        "Requests that took longer than slow_query_timeout_ms.",
        instruments.slow.count(),
    );
    let statements = database.clients.counted();
    out.metric(
        "palladium_statements_total",
        Kind::Counter,
        "Statements that were begun: prepared, or sent as text.",
    )
    .count(&[("kind", "prepared")], statements.prepared)
    .count(&[("kind", "text")], statements.regular);
    out.gauge(
        "palladium_prepared_statements",
        "Prepared statements that are kept.",
        database.prepared.len(),
    );
    out.gauge(
        "palladium_prepared_statement_bytes",
        "About how much memory they take.",
        database.prepared.bytes(),
    );
    out.counter(
        "palladium_prepared_statements_evicted_total",
        "Prepared statements that had to make room.",
        database.prepared.evicted(),
    );
}

fn connections(database: &Database, out: &mut Exposition) {
    let (open, accepted) = database.clients.connections();
    let (received, sent) = database.instruments.requests.bytes();
    let refused = &database.instruments.refused;
    out.gauge("palladium_connections", "Connections that are open.", open);
    out.counter(
        "palladium_connections_total",
        "Connections that were accepted.",
        accepted,
    );
    out.counter(
        "palladium_connections_refused_total",
        "Connections that were turned away because there were connections_max.",
        refused.load(std::sync::atomic::Ordering::Relaxed),
    );
    out.counter(
        "palladium_received_bytes_total",
        "Bytes of requests.",
        received,
    );
    out.counter("palladium_sent_bytes_total", "Bytes of answers.", sent);
    out.gauge(
        "palladium_in_flight_bytes",
        "Bytes of requests and answers that connections hold.",
        database.in_flight.bytes(),
    );
}

fn memory(database: &Database, out: &mut Exposition) {
    let cache = database.engine.cache_activity();
    let memory = database.engine.memory();
    out.counter(
        "palladium_block_cache_hits_total",
        "Blocks that were found in the cache.",
        cache.hits,
    );
    out.counter(
        "palladium_block_cache_misses_total",
        "Blocks that were not.",
        cache.misses,
    );
    out.gauge(
        "palladium_block_cache_bytes",
        "Bytes of opened blocks in the cache.",
        cache.bytes,
    );
    out.gauge(
        "palladium_block_cache_capacity_bytes",
        "Bytes that it may hold.",
        cache.bytes_max,
    );
    out.gauge(
        "palladium_block_cache_blocks",
        "Blocks in it.",
        cache.blocks,
    );
    out.gauge(
        "palladium_memtable_bytes",
        "Bytes of all memtables.",
        memory.memtable_bytes,
    );
    out.gauge(
        "palladium_memtable_capacity_bytes",
        "Bytes of memtables past which writes are refused.",
        memory.memtable_bytes_max,
    );
    ledger(database, out);
}

fn ledger(database: &Database, out: &mut Exposition) {
    let ledger = Ledger::of(database);
    let mut held = out.metric(
        "palladium_memory_bytes",
        Kind::Gauge,
        "Memory by who holds it; rest: the program, stacks, and what the allocator has not given back.",
    );
    for account in &ledger.accounts {
        held.count(&[("holder", account.holder)], account.bytes as u64);
    }
    let mut most = out.metric(
        "palladium_memory_capacity_bytes",
        Kind::Gauge,
        "Memory that those may hold who have a bound of their own at this moment.",
    );
    for account in &ledger.accounts {
        if let Some(bytes_max) = account.bytes_max {
            most.count(&[("holder", account.holder)], bytes_max as u64);
        }
    }
    out.gauge(
        "palladium_memory_budget_bytes",
        "Memory that the whole process may take: memory_bytes.",
        ledger.budget,
    );
}

fn log(database: &Database, out: &mut Exposition) {
    let tallied = database.engine.tallied();
    out.metric(
        "palladium_log_bytes",
        Kind::Gauge,
        "Bytes of all segments of the log.",
    )
    .count(&[], database.engine.memory().log_bytes);
    out.gauge(
        "palladium_log_stopped",
        "1 once the log has stopped itself after a write or a sync that failed: reads go on, and nothing is written until the server is started again.",
        usize::from(database.engine.log_has_stopped()),
    );
    out.counter(
        "palladium_log_written_bytes_total",
        "Bytes of records that were appended.",
        tallied.log_bytes,
    );
    out.times(
        "palladium_log_group_seconds",
        "From when a group of writes was taken until the log had it; where log_sync is group, until it was synced.",
        &tallied.log_groups,
    );
    out.times(
        "palladium_log_sync_seconds",
        "Syncs of the log beside those of groups: the periodic ones, and those that a flush needs.",
        &tallied.log_syncs,
    );
    out.times(
        "palladium_flush_seconds",
        "Flushes of memtables, each until its SSTables were in the manifest.",
        &tallied.flushes,
    );
    out.counter(
        "palladium_flushed_bytes_total",
        "Bytes of SSTables that flushes wrote.",
        tallied.flushed_bytes,
    );
    out.times(
        "palladium_compaction_seconds",
        "Merges of SSTables, each until the manifest had its outcome.",
        &tallied.merges,
    );
    out.counter(
        "palladium_compaction_read_bytes_total",
        "Bytes of SSTables that were merged.",
        tallied.merged_bytes,
    );
    out.counter(
        "palladium_compaction_written_bytes_total",
        "Bytes of SSTables that they were merged into.",
        tallied.written_bytes,
    );
}

fn background(database: &Database, out: &mut Exposition) {
    let (flushes, compactions) = database.engine.queue_activity();
    let queues = [("flush", flushes), ("compaction", compactions)];
    let mut jobs = out.metric(
        "palladium_jobs",
        Kind::Gauge,
        "Background jobs that run and that wait.",
    );
    for (name, queue) in queues {
        let labels = |state| [("queue", name), ("state", state)];
        jobs.count(&labels("running"), queue.running as u64)
            .count(&labels("pending"), queue.waiting as u64);
    }
    let mut finished = out.metric(
        "palladium_jobs_total",
        Kind::Counter,
        "Background jobs that have ended.",
    );
    for (name, queue) in queues {
        finished.count(&[("queue", name)], queue.finished);
    }
}

fn keys(database: &Database, out: &mut Exposition) {
    let (tables, open, sstables) = database.engine.census();
    out.gauge(
        "palladium_tables",
        "Tables, the server's own among them.",
        tables,
    );
    out.gauge(
        "palladium_tables_open",
        "Tables whose key is in memory, under a lease.",
        open,
    );
    let catalog = database.catalog.load();
    let inaccessible = catalog.customer_tables().filter(|table| {
        let status = database.keys.status(table.id);
        table.view.is_none() && matches!(status, TableKeyStatus::Inaccessible(_))
    });
    out.gauge(
        "palladium_tables_inaccessible",
        "Tables that refuse requests because of their keys.",
        inaccessible.count(),
    );
    out.gauge(
        "palladium_sstables",
        "SSTables of tables whose key is in memory.",
        sstables,
    );
    let services = database.keys.services();
    each_service(out, &services);
}

fn each_service(out: &mut Exposition, services: &[ServiceStatus]) {
    let mut calls = out.metric(
        "palladium_key_service_calls_total",
        Kind::Counter,
        "Calls to key services, by what came of them.",
    );
    for service in services {
        let failed = service.denied + service.throttled + service.unanswered;
        for (outcome, count) in [
            ("answered", service.calls.saturating_sub(failed)),
            ("denied", service.denied),
            ("throttled", service.throttled),
            ("unanswered", service.unanswered),
        ] {
            calls.count(
                &[("service", &service.provider), ("outcome", outcome)],
                count,
            );
        }
    }
    let mut seconds = out.metric(
        "palladium_key_service_seconds",
        Kind::Histogram,
        "From when a call was sent until it was answered or given up.",
    );
    for service in services {
        seconds.times(&[("service", &service.provider)], &service.latencies);
    }
    type Figure = (
        &'static str,
        &'static str,
        fn(&ServiceStatus) -> Option<u64>,
    );
    let gauges: [Figure; 3] = [
        (
            "palladium_key_service_in_flight",
            "Calls that were sent and are not answered yet.",
            |service| Some(service.in_flight as u64),
        ),
        (
            "palladium_key_service_waiting",
            "Calls that wait for their turn.",
            |service| Some(service.waiting as u64),
        ),
        (
            "palladium_key_service_reachable",
            "Whether the newest call was answered; absent before the first one.",
            |service| service.is_reachable.map(u64::from),
        ),
    ];
    for (name, help, of) in gauges {
        let mut gauge = out.metric(name, Kind::Gauge, help);
        for service in services {
            if let Some(value) = of(service) {
                gauge.count(&[("service", &service.provider)], value);
            }
        }
    }
}

/// The tables with the most requests, by their ids.
fn each_table(database: &Database, out: &mut Exposition) {
    let mut times = database.instruments.tables.all();
    times.sort_by_key(|table| std::cmp::Reverse(table.count()));
    times.truncate(database.config.metrics_tables);
    let times: Vec<_> = times
        .into_iter()
        .map(|table| (table.table.to_string(), table))
        .collect();
    let kinds = [
        (tables::Kind::Read, "read"),
        (tables::Kind::Write, "write"),
        (tables::Kind::Scan, "scan"),
    ];
    let mut seconds = out.metric(
        "palladium_table_request_seconds",
        Kind::Histogram,
        "As palladium_request_seconds, of one table by its id: reads, writes and scans as Cassandra tells them apart.",
    );
    for (id, table) in &times {
        for (kind, name) in kinds {
            let nanos: Option<Distribution> = table.requests(kind);
            if let Some(nanos) = nanos {
                seconds.times(&[("table", id), ("operation", name)], &nanos);
            }
        }
    }
    let held = database.engine.held();
    let held: Vec<(&String, &Held)> = times
        .iter()
        .filter_map(|(id, table)| {
            let held = held.iter().find(|held| held.table == table.table)?;
            Some((id, held))
        })
        .collect();
    type Figure = (&'static str, &'static str, fn(&Held) -> Option<u64>);
    let gauges: [Figure; 3] = [
        (
            "palladium_table_sstables",
            "SSTables of one table, while its key is in memory.",
            |held| held.sstables.map(|sstables| sstables as u64),
        ),
        (
            "palladium_table_memtable_bytes",
            "Bytes of one table's memtables.",
            |held| Some(held.memtable_bytes as u64),
        ),
        (
            "palladium_table_log_bytes",
            "Bytes of the log that one table still needs.",
            |held| Some(held.log_bytes),
        ),
    ];
    for (name, help, of) in gauges {
        let mut gauge = out.metric(name, Kind::Gauge, help);
        for (id, held) in &held {
            if let Some(value) = of(held) {
                gauge.count(&[("table", id)], value);
            }
        }
    }
}
