//! `system_palladium.{memory, memtables, log, leases, caches, slow_queries}`: what is in memory and in the log at this moment, under which lease, and what took long.

use palladium_crypto::TableId;
use palladium_protocol::types::CqlValue;
use palladium_storage::Held;

use super::super::super::Catalog;
use super::super::rows::{Rows, boolean, int, text};
use super::View;
use crate::error::CqlResult;
use crate::keys::TableKeyStatus;
use crate::ledger::Ledger;
use crate::service_table;
use crate::traces;

/// Who holds the memory of the process.
pub fn memory(view: View<'_>, rows: &mut Rows<'_>) -> CqlResult<()> {
    let ledger = Ledger::of(view.database);
    for account in &ledger.accounts {
        let bytes_max = account.bytes_max.and_then(|bytes| count(bytes as u64));
        rows.add(vec![
            ("holder", text(account.holder)),
            ("bytes", count(account.bytes as u64)),
            ("bytes_max", bytes_max),
        ])?;
    }
    rows.add(vec![
        ("holder", text("process")),
        (
            "bytes",
            ledger.resident.and_then(|bytes| count(bytes as u64)),
        ),
        ("bytes_max", count(ledger.budget as u64)),
    ])
}

/// Each table's memtables.
pub fn memtables(view: View<'_>, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (keyspace, name, held) in shown(view, catalog) {
        rows.add(vec![
            ("keyspace_name", text(keyspace)),
            ("table_name", text(name)),
            ("bytes", count(held.memtable_bytes as u64)),
            ("memtables_frozen", number(held.memtables_frozen)),
            ("is_open", boolean(held.is_open)),
            ("sstables", held.sstables.and_then(number)),
        ])?;
    }
    Ok(())
}

/// What the log still holds of each table: who holds up the release of its segments.
pub fn log(view: View<'_>, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (keyspace, name, held) in shown(view, catalog) {
        let Some((first, last)) = held.log_segments else {
            continue;
        };
        rows.add(vec![
            ("keyspace_name", text(keyspace)),
            ("table_name", text(name)),
            ("bytes", count(held.log_bytes)),
            ("groups", count(held.log_groups as u64)),
            ("first_segment", count(first)),
            ("last_segment", count(last)),
        ])?;
    }
    Ok(())
}

/// Each table's lease.
pub fn leases(view: View<'_>, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    let database = view.database;
    let tables = catalog.customer_tables();
    for table in tables.filter(|table| table.view.is_none()) {
        if !view.wants(rows, table) {
            continue;
        }
        let lease = database.keys.lease(table.id);
        let confirmed = database.keys.confirmed_micros(table.id);
        let root = database.engine.root(table.id);
        let mut row = vec![
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            (
                "kms_key",
                root.and_then(|root| view.key(root.cmk.to_string())),
            ),
            (
                "lease_until",
                lease.and_then(|lease| timestamp(lease.wall_deadline_micros)),
            ),
            ("last_confirmed", confirmed.and_then(timestamp)),
        ];
        let state = match database.keys.status(table.id) {
            TableKeyStatus::Inaccessible(trouble) => {
                row.push(("since", timestamp(trouble.since_micros)));
                row.push(("reason", text(trouble.reason.to_string())));
                "inaccessible"
            }
            TableKeyStatus::Enabled if lease.is_some() => "live",
            TableKeyStatus::Enabled => "dormant",
        };
        row.push(("state", text(state)));
        rows.add(row)?;
    }
    Ok(())
}

/// What is kept in memory because it may be asked for again, and its bounds.
pub fn caches(view: View<'_>, rows: &mut Rows<'_>) -> CqlResult<()> {
    let database = view.database;
    let blocks = database.engine.cache_activity();
    rows.add(vec![
        ("name", text("blocks")),
        ("bytes", count(blocks.bytes as u64)),
        ("bytes_max", count(blocks.bytes_max as u64)),
        ("items", count(blocks.blocks as u64)),
        ("hits", count(blocks.hits)),
        ("misses", count(blocks.misses)),
    ])?;
    let prepared = &database.prepared;
    rows.add(vec![
        ("name", text("prepared_statements")),
        ("bytes", count(prepared.bytes() as u64)),
        ("items", count(prepared.len() as u64)),
        (
            "items_max",
            count(database.config.prepared_statements_max as u64),
        ),
        ("evicted", count(prepared.evicted())),
    ])?;
    let (traces, bytes) = database.traces.size();
    rows.add(vec![
        ("name", text("traces")),
        ("bytes", count(bytes as u64)),
        ("bytes_max", count(traces::KEPT_BYTES_MAX as u64)),
        ("items", count(traces as u64)),
        ("items_max", count(traces::SESSIONS_MAX as u64)),
    ])
}

/// The newest requests that took long. One about a table is shown to those who may see the table, any other to those who may see all and to whoever sent it.
pub fn slow_queries(view: View<'_>, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for request in view.database.instruments.slow.newest() {
        let noticed = &request.noticed;
        let table = noticed.table.and_then(|id| {
            let mut tables = catalog.customer_tables();
            tables.find(|table| table.id == id)
        });
        let is_shown = match &table {
            Some(table) => view.shows(&table.keyspace, &table.name),
            None => view.shows_all() || view.is_asker(&noticed.who),
        };
        if !is_shown {
            continue;
        }
        let micros = i64::try_from(noticed.took.as_micros()).unwrap_or(i64::MAX);
        rows.add(vec![
            ("number", count(request.number)),
            (
                "answered_at",
                Some(CqlValue::Timestamp(request.answered_at)),
            ),
            ("client", Some(CqlValue::Inet(noticed.client.ip()))),
            ("duration_us", Some(CqlValue::Bigint(micros))),
            ("failed", boolean(noticed.failed)),
            (
                "keyspace_name",
                table.and_then(|table| text(&table.keyspace)),
            ),
            ("table_name", table.and_then(|table| text(&table.name))),
            ("operation", text(noticed.operation.name())),
            ("query", request.query.and_then(text)),
            ("requests", number(noticed.times as usize)),
            ("rows_read", count(u64::from(noticed.passed.rows))),
            (
                "tombstones_read",
                count(u64::from(noticed.passed.tombstones)),
            ),
            ("username", text(&*noticed.who)),
        ])?;
    }
    Ok(())
}

/// What each table holds that this asker may see, by its names: those of users, then the server's own.
fn shown<'a>(view: View<'_>, catalog: &'a Catalog) -> Vec<(&'a str, &'a str, Held)> {
    let names = |id: TableId| -> Option<(&'a str, &'a str)> {
        let mut tables = catalog.customer_tables();
        let of_user = tables.find(|table| table.id == id && table.view.is_none());
        match of_user {
            Some(table) => Some((&table.keyspace, &table.name)),
            None => Some(("system_palladium", service_table::name(id)?)),
        }
    };
    let held = view.database.engine.held().into_iter();
    held.filter_map(|held| {
        let (keyspace, name) = names(held.table)?;
        view.shows(keyspace, name).then_some((keyspace, name, held))
    })
    .collect()
}

fn timestamp(micros: i64) -> Option<CqlValue> {
    Some(CqlValue::Timestamp(micros.div_euclid(1_000)))
}

fn count(count: u64) -> Option<CqlValue> {
    Some(CqlValue::Bigint(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn number(number: usize) -> Option<CqlValue> {
    int(i32::try_from(number).unwrap_or(i32::MAX))
}
