//! `system_views`: what this server does at the moment, in Cassandra's tables and columns.
//!
//! Only what is really counted is shown; a column without a counter behind it is null, and tables for what no server of one node has are absent.

use palladium_crypto::TableId;
use palladium_protocol::cql;
use palladium_protocol::types::CqlValue;
use palladium_storage::{Place, QueueActivity, ReadCommand, ReadPage, Store};
use uuid::Uuid;

use super::super::{Catalog, TableSchema};
use super::catalog;
use super::latencies;
use super::node::PARTITIONER;
use super::rows::{Named, Rows, boolean, double, int, text, text_map};
use crate::config::{Config, LogSyncSetting};
use crate::database::Database;
use crate::error::CqlResult;

const MEBIBYTE: u64 = 1 << 20;

/// Tables that show what the manifest knows: reading them waits for it.
pub fn is_stored(table: &TableSchema) -> bool {
    table.keyspace == "system_views"
        && ["disk_usage", "max_sstable_size"].contains(&table.name.as_str())
}

/// The rows of one of the others.
pub fn fill(
    database: &Database,
    schema: &Catalog,
    table: &TableSchema,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    match table.name.as_str() {
        "caches" => caches(database, rows),
        "clients" => clients(database, rows),
        "cql_metrics" => cql_metrics(database, rows),
        "sai_column_indexes" => catalog::attached_indexes(schema, rows),
        "settings" => settings(database, rows),
        // Nobody takes any yet.
        "snapshots" => Ok(()),
        "sstable_tasks" => sstable_tasks(database, schema, rows),
        "thread_pools" => thread_pools(database, rows),
        _ => latencies::fill(database, schema, table, rows),
    }
}

/// The rows of a table that one waits for.
pub async fn read_stored(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
) -> CqlResult<ReadPage> {
    let mut rows = Rows::new(table, command);
    let schema = database.catalog.load_full();
    for of in schema.customer_tables() {
        let structures = database.engine.structures(of.id).await;
        let sstables: Vec<(u64, u64)> = structures
            .iter()
            .filter_map(|structure| match structure.place {
                Place::Sstable(id) => Some((id, structure.bytes)),
                Place::Segment(_) => None,
            })
            .collect();
        let bytes_of = |id: u64| -> u64 {
            let own = sstables.iter().filter(|(of, _)| *of == id);
            own.map(|(_, bytes)| bytes).sum()
        };
        let bytes = match table.name.as_str() {
            "disk_usage" => sstables.iter().map(|(_, bytes)| bytes).sum(),
            _ => sstables
                .iter()
                .map(|(id, _)| bytes_of(*id))
                .max()
                .unwrap_or(0),
        };
        rows.add(vec![
            ("keyspace_name", text(&of.keyspace)),
            ("table_name", text(&of.name)),
            ("mebibytes", bigint(bytes.div_ceil(MEBIBYTE))),
        ])?;
    }
    rows.read(command)
}

fn bigint(number: u64) -> Option<CqlValue> {
    Some(CqlValue::Bigint(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn count(number: usize) -> Option<CqlValue> {
    int(i32::try_from(number).unwrap_or(i32::MAX))
}

/// The block cache stands where Cassandra has its chunk cache.
fn caches(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    let cache = database.engine.cache_activity();
    let requests = cache.hits + cache.misses;
    rows.add(vec![
        ("name", text("chunks")),
        ("capacity_bytes", bigint(cache.bytes_max as u64)),
        ("entry_count", count(cache.blocks)),
        ("hit_count", bigint(cache.hits)),
        ("hit_ratio", double(cache.hits as f64 / requests as f64)),
        ("request_count", bigint(requests)),
        ("size_bytes", bigint(cache.bytes as u64)),
    ])
}

fn clients(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    for client in database.clients.all() {
        let told = client.told();
        let started = client.started();
        let option = |name: &str| {
            let (_, options) = started?;
            options.get(name).and_then(text)
        };
        rows.add(vec![
            ("address", Some(CqlValue::Inet(client.peer.ip()))),
            ("port", int(i32::from(client.peer.port()))),
            (
                "client_options",
                started.and_then(|(_, options)| text_map(options)),
            ),
            (
                "connection_stage",
                text(if told.is_ready {
                    "ready"
                } else {
                    "established"
                }),
            ),
            ("driver_name", option("DRIVER_NAME")),
            ("driver_version", option("DRIVER_VERSION")),
            ("keyspace_name", told.keyspace.and_then(|name| text(&*name))),
            (
                "protocol_version",
                started.and_then(|(version, _)| int(i32::from(version.number()))),
            ),
            ("request_count", bigint(client.requests())),
            ("ssl_enabled", boolean(false)),
            ("username", told.user.and_then(|name| text(&*name))),
        ])?;
    }
    Ok(())
}

fn cql_metrics(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    let counted = database.clients.counted();
    let all = counted.prepared + counted.regular;
    for (name, value) in [
        ("prepared_statements_count", database.prepared.len() as f64),
        (
            "prepared_statements_evicted",
            database.prepared.evicted() as f64,
        ),
        ("prepared_statements_executed", counted.prepared as f64),
        (
            "prepared_statements_ratio",
            match all {
                0 => 0.0,
                _ => counted.prepared as f64 / all as f64,
            },
        ),
        ("regular_statements_executed", counted.regular as f64),
    ] {
        rows.add(vec![("name", text(name)), ("value", double(value))])?;
    }
    Ok(())
}

/// `system.prepared_statements`: drivers look here for what they need not prepare again. Texts are shown without their literals.
pub fn prepared(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    for statement in database.prepared.all() {
        rows.add(vec![
            ("prepared_id", Some(CqlValue::Blob(statement.id.to_vec()))),
            (
                "logged_keyspace",
                statement.keyspace.as_deref().and_then(text),
            ),
            (
                "query_string",
                cql::redacted(&statement.text).and_then(text),
            ),
        ])?;
    }
    Ok(())
}

/// `system.compaction_history`: the merges since the start, as Cassandra shows those of a week.
pub fn compaction_history(
    database: &Database,
    schema: &Catalog,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    for merge in database.engine.finished_merges() {
        let Some((keyspace, table)) = name_of(schema, merge.table, merge.store) else {
            continue;
        };
        let rows_merged = merge.partitions_of.iter().map(|(sstables, partitions)| {
            let partitions = i64::try_from(*partitions).unwrap_or(i64::MAX);
            let sstables = i32::try_from(*sstables).unwrap_or(i32::MAX);
            (CqlValue::Int(sstables), CqlValue::Bigint(partitions))
        });
        let kind = [("compaction_type".to_owned(), "Compaction".to_owned())];
        rows.add(vec![
            ("id", Some(timeuuid(merge.finished_at, merge.number))),
            ("bytes_in", bigint(merge.bytes_in)),
            ("bytes_out", bigint(merge.bytes_out)),
            ("columnfamily_name", text(table)),
            (
                "compacted_at",
                Some(CqlValue::Timestamp(merge.finished_at.div_euclid(1_000))),
            ),
            ("compaction_properties", text_map(&kind.into())),
            ("keyspace_name", text(keyspace)),
            ("rows_merged", Some(CqlValue::Map(rows_merged.collect()))),
        ])?;
    }
    Ok(())
}

/// Keyspace and name of what stands in a store of a table: the table itself, an index of it, or a view.
fn name_of(schema: &Catalog, id: TableId, store: Store) -> Option<(&str, String)> {
    let of = schema.customer_tables().find(|table| table.id == id)?;
    if store == Store::BASE {
        return Some((&of.keyspace, of.name.clone()));
    }
    if let Some(index) = of.indexes.iter().find(|index| index.store == store) {
        return Some((&of.keyspace, format!("{}.{}", of.name, index.name)));
    }
    let view = of.views.iter().find(|view| view.store() == store)?;
    Some((&view.keyspace, view.name.clone()))
}

/// A name of the moment, and of one merge.
fn timeuuid(micros: i64, number: u64) -> CqlValue {
    /// From 1582-10-15 to 1970, in units of 100 ns.
    const GREGORIAN_TICKS: i64 = 0x01b2_1dd2_1381_4000;
    let ticks = micros.saturating_mul(10).saturating_add(GREGORIAN_TICKS) as u64;
    let (low, middle, high) = (ticks as u32, (ticks >> 32) as u16, (ticks >> 48) as u16);
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&low.to_be_bytes());
    bytes[4..6].copy_from_slice(&middle.to_be_bytes());
    bytes[6..8].copy_from_slice(&(high & 0x0fff | 0x1000).to_be_bytes());
    bytes[8..].copy_from_slice(&(number & (u64::MAX >> 2) | 1 << 63).to_be_bytes());
    CqlValue::Timeuuid(Uuid::from_bytes(bytes))
}

fn sstable_tasks(database: &Database, schema: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for merge in database.engine.merge_activity() {
        let Some((keyspace, table)) = name_of(schema, merge.table, merge.store) else {
            continue;
        };
        let done = (merge.bytes, merge.bytes_max);
        let mut task = in_bytes("compaction", 2 * merge.number, keyspace, table, done);
        task.push(("sstables", count(merge.sstables)));
        rows.add(task)?;
    }
    for flush in database.engine.flush_activity() {
        let Some((keyspace, table)) = name_of(schema, flush.table, flush.store) else {
            continue;
        };
        let done = (flush.bytes, flush.bytes_max);
        let mut task = in_bytes("flush", 2 * flush.number + 1, keyspace, table, done);
        task.push(("sstables", count(0)));
        rows.add(task)?;
    }
    for ((id, store), share) in database.builds().iter() {
        let Some(table) = schema.customer_tables().find(|table| table.id == *id) else {
            continue;
        };
        let is_index = table.indexes.iter().any(|index| index.store == *store);
        let mut task = id.0;
        task[..2].copy_from_slice(&store.0.to_be_bytes());
        task[6] = 0x10;
        task[8] = 0x80;
        rows.add(vec![
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("task_id", Some(CqlValue::Timeuuid(Uuid::from_bytes(task)))),
            ("completion_ratio", double(*share)),
            (
                "kind",
                text(match is_index {
                    true => "secondary index build",
                    false => "view build",
                }),
            ),
            ("progress", bigint((share * 100.0) as u64)),
            ("sstables", count(0)),
            ("total", bigint(100)),
            ("unit", text("percent")),
        ])?;
    }
    Ok(())
}

/// A task of the engine: so many bytes of so many are done. Its number is its name, in the form that Cassandra's clients expect.
fn in_bytes(
    kind: &'static str,
    number: u64,
    keyspace: &str,
    table: String,
    (bytes, bytes_max): (u64, u64),
) -> Vec<Named> {
    let ratio = match bytes_max {
        0 => 1.0,
        _ => bytes as f64 / bytes_max as f64,
    };
    vec![
        ("keyspace_name", text(keyspace)),
        ("table_name", text(table)),
        ("task_id", Some(timeuuid(0, number))),
        ("completion_ratio", double(ratio)),
        ("kind", text(kind)),
        ("progress", bigint(bytes)),
        ("total", bigint(bytes_max)),
        ("unit", text("bytes")),
    ]
}

fn thread_pools(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    let (flushes, compactions) = database.engine.queue_activity();
    rows.add(pool("MemtableFlushWriter", flushes))?;
    rows.add(pool("CompactionExecutor", compactions))?;
    // Nothing waits between a request's arrival and its beginning. Whoever asks is under way.
    let requests = database.clients.counted();
    let under_way = requests.under_way.max(1);
    let limit = database
        .config
        .connection_requests_max
        .saturating_mul(database.config.connections_max);
    let requests = QueueActivity {
        running: usize::try_from(under_way).unwrap_or(usize::MAX),
        limit,
        finished: requests.requests.saturating_sub(requests.under_way),
        waiting: 0,
    };
    rows.add(pool("Native-Transport-Requests", requests))
}

fn pool(name: &'static str, queue: QueueActivity) -> Vec<Named> {
    vec![
        ("name", text(name)),
        ("active_tasks", count(queue.running)),
        ("active_tasks_limit", count(queue.limit)),
        ("blocked_tasks", bigint(0)),
        ("blocked_tasks_all_time", bigint(0)),
        ("completed_tasks", bigint(queue.finished)),
        ("pending_tasks", count(queue.waiting)),
    ]
}

fn settings(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (name, value) in of_config(&database.config) {
        rows.add(vec![("name", text(name)), ("value", text(value))])?;
    }
    for (name, value) in of_cassandra(&database.config) {
        rows.add(vec![("name", text(name)), ("value", value.and_then(text))])?;
    }
    for (name, value) in database.guardrails.settings() {
        rows.add(vec![("name", text(name)), ("value", value.and_then(text))])?;
    }
    Ok(())
}

/// The same and what is always so by the names of cassandra.yaml, which monitors and tools look for; None: nothing bounds it.
fn of_cassandra(config: &Config) -> Vec<(&'static str, Option<String>)> {
    let given = |text: &str| Some(text.to_owned());
    let address = Some(config.listen.ip().to_string());
    let sync = sync_of(config);
    let timeouts = [
        "cas_contention_timeout",
        "counter_write_request_timeout",
        "range_request_timeout",
        "read_request_timeout",
        "request_timeout",
        "truncate_request_timeout",
        "write_request_timeout",
    ];
    let off = [
        "auto_snapshot",
        "cdc_enabled",
        "incremental_backups",
        "read_thresholds_enabled",
        "sasi_indexes_enabled",
        "scripted_user_defined_functions_enabled",
        "snapshot_before_compaction",
        "transient_replication_enabled",
        "user_defined_functions_enabled",
    ];
    let on = [
        "default_secondary_index_enabled",
        "materialized_views_enabled",
        "start_native_transport",
        "use_statements_enabled",
    ];
    let always = [
        (
            "commitlog_segment_size",
            Some(mebibytes(config.log_segment_bytes)),
        ),
        ("commitlog_sync", given(sync)),
        (
            "commitlog_sync_period",
            Some(format!("{}ms", config.log_sync_period_ms)),
        ),
        (
            "commitlog_total_space",
            Some(mebibytes(config.log_bytes_max)),
        ),
        (
            "compaction_throughput",
            Some(format!("{}MiB/s", config.compaction_throughput_mib)),
        ),
        (
            "data_file_directories",
            Some(format!("[{}]", config.data.display())),
        ),
        ("default_keyspace_rf", given("1")),
        ("default_secondary_index", given("legacy_local_table")),
        ("listen_address", address.clone()),
        ("native_transport_idle_timeout", given("0ms")),
        (
            "native_transport_max_concurrent_connections",
            Some(config.connections_max.to_string()),
        ),
        (
            "native_transport_max_frame_size",
            Some(mebibytes(config.frame_bytes_max as u64)),
        ),
        (
            "native_transport_port",
            Some(config.listen.port().to_string()),
        ),
        ("num_tokens", given("1")),
        ("partitioner", given(PARTITIONER)),
        ("rpc_address", address),
        (
            "slow_query_log_timeout",
            Some(format!("{}ms", config.slow_query_timeout_ms)),
        ),
    ];
    let flags = off.map(|name| (name, given("false")));
    let flags = flags
        .into_iter()
        .chain(on.map(|name| (name, given("true"))));
    let timeouts = timeouts.map(|name| (name, None));
    always.into_iter().chain(flags).chain(timeouts).collect()
}

fn sync_of(config: &Config) -> &'static str {
    match config.log_sync {
        LogSyncSetting::Group => "group",
        LogSyncSetting::Periodic => "periodic",
    }
}

/// As cassandra.yaml has it, in bytes where that is not whole.
fn mebibytes(bytes: u64) -> String {
    match bytes % MEBIBYTE {
        0 => format!("{}MiB", bytes / MEBIBYTE),
        _ => format!("{bytes}B"),
    }
}

/// Paths and names, no secret: what a passphrase is given by is left out.
fn of_config(config: &Config) -> Vec<(&'static str, String)> {
    let sync = sync_of(config);
    vec![
        (
            "authenticator",
            config.authenticator.class_name().to_owned(),
        ),
        ("authorizer", config.authorizer.class_name().to_owned()),
        (
            "cidr_authorizer",
            config.cidr_authorizer.class_name().to_owned(),
        ),
        (
            "network_authorizer",
            config.network_authorizer.class_name().to_owned(),
        ),
        (
            "serve_everybody_beyond_loopback",
            config.serve_everybody_beyond_loopback.to_string(),
        ),
        ("data", config.data.display().to_string()),
        ("keyring", config.keyring.display().to_string()),
        ("otlp_endpoint", config.otlp_endpoint.clone()),
        ("audit_days", config.audit_days.to_string()),
        (
            "audit_head_file",
            config.audit_head_path().display().to_string(),
        ),
        ("audit_rows_max", config.audit_rows_max.to_string()),
        ("cluster_name", config.cluster_name.clone()),
        (
            "connection_requests_max",
            config.connection_requests_max.to_string(),
        ),
        ("connections_max", config.connections_max.to_string()),
        ("data_center", config.data_center.clone()),
        ("frame_bytes_max", config.frame_bytes_max.to_string()),
        (
            "handshake_timeout_s",
            config.handshake_timeout_s.to_string(),
        ),
        ("key_call_timeout_s", config.key_call_timeout_s.to_string()),
        ("key_calls_max", config.key_calls_max.to_string()),
        ("key_calls_per_s", config.key_calls_per_s.to_string()),
        ("key_lease_s", config.key_lease_s.to_string()),
        ("listen", config.listen.to_string()),
        ("log", config.log.clone()),
        ("log_bytes_max", config.log_bytes_max.to_string()),
        ("log_segment_bytes", config.log_segment_bytes.to_string()),
        ("log_sync", sync.to_owned()),
        ("log_sync_period_ms", config.log_sync_period_ms.to_string()),
        ("memory_bytes", config.memory_bytes.to_string()),
        (
            "memtable_flush_bytes",
            config.memtable_flush_bytes.to_string(),
        ),
        (
            "concurrent_compactors",
            config.concurrent_compactors.to_string(),
        ),
        (
            "compaction_throughput_mib",
            config.compaction_throughput_mib.to_string(),
        ),
        (
            "metrics_beyond_loopback",
            config.metrics_beyond_loopback.to_string(),
        ),
        ("metrics_listen", config.metrics_listen.clone()),
        ("metrics_tables", config.metrics_tables.to_string()),
        (
            "prepared_statements_max",
            config.prepared_statements_max.to_string(),
        ),
        ("rack", config.rack.clone()),
        ("service_key", config.service_key.clone()),
        (
            "slow_query_timeout_ms",
            config.slow_query_timeout_ms.to_string(),
        ),
        (
            "snapshot_grant_days",
            config.snapshot_grant_days.to_string(),
        ),
        (
            "unreachable_grace_s",
            config.unreachable_grace_s.to_string(),
        ),
    ]
}
