//! `system_palladium.{tables, table_keys, key_services, grants}`: how keys and those who hold them stand at this moment.

use palladium_protocol::types::CqlValue;

use super::super::super::{Catalog, TableSchema};
use super::super::rows::{Named, Rows, boolean, int, text, uuid};
use super::super::status::{self, Unfinished};
use super::View;
use crate::error::CqlResult;
use crate::keys::TableKeyStatus;

/// Each table, its key, and whether that can be used.
pub fn tables(
    view: View<'_>,
    catalog: &Catalog,
    unfinished: &Unfinished,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    let database = view.database;
    for table in catalog.customer_tables() {
        if !view.wants(rows, table) {
            continue;
        }
        let root = database.engine.root(table.id);
        let mut row = vec![
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("id", uuid(table.id.0)),
            (
                "kms_key",
                root.and_then(|root| view.key(root.cmk.to_string())),
            ),
            (
                "status",
                text(status::of_table(database, table, unfinished)),
            ),
            (
                "encryption_status",
                text(status::of_key(database, table, unfinished)),
            ),
        ];
        if let TableKeyStatus::Inaccessible(trouble) = database.keys.status(table.id) {
            row.push(("inaccessible_since", timestamp(trouble.since_micros)));
            row.push(("reason", text(trouble.reason.to_string())));
        }
        if let Some(left) = unfinished.get(&table.id) {
            row.push(("structures_to_wrap", count(left.structures_to_wrap as u64)));
            row.push((
                "sstables_to_rewrite",
                count(left.sstables_to_rewrite as u64),
            ));
            row.push((
                "sstables_unreadable",
                count(left.sstables_unreadable as u64),
            ));
        }
        rows.add(row)?;
    }
    Ok(())
}

/// The versions of each table's key: those that data is under, and those that were.
pub fn table_keys(view: View<'_>, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in catalog.customer_tables() {
        if view.wants(rows, table) {
            versions(view, table, rows)?;
        }
    }
    Ok(())
}

fn versions(view: View<'_>, table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    let database = view.database;
    let Some(root) = database.engine.root(table.id) else {
        return Ok(());
    };
    let lives = database.keys.versions(table.id);
    let noted = lives.iter().map(|(version, _)| *version);
    let mut versions: Vec<u32> = root
        .fingerprints
        .iter()
        .map(|(version, _)| *version)
        .chain(noted)
        .collect();
    versions.sort();
    versions.dedup();
    for version in versions {
        let fingerprint = root.fingerprints.iter().find(|(of, _)| *of == version);
        let life = lives.iter().find(|(of, _)| *of == version);
        let is_current = version == root.version;
        let mut row: Vec<Named> = vec![
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("version", int(version as i32)),
            ("is_current", boolean(is_current)),
        ];
        if let Some((_, fingerprint)) = fingerprint {
            row.push(("fingerprint", Some(CqlValue::Blob(fingerprint.0.to_vec()))));
            // The KMS key wraps the current version, and that one the older ones. What is in no root any more is wrapped by nothing.
            row.push((
                "wrapped_by",
                match is_current {
                    true => view.key(root.cmk.to_string()),
                    false => text(format!("version {}", root.version)),
                },
            ));
        }
        if let Some((_, life)) = life {
            row.push(("kms_key", view.key(&life.key)));
            row.push(("created", timestamp(life.created_micros)));
            row.push(("retired", life.retired_micros.and_then(timestamp)));
        } else if is_current {
            row.push(("kms_key", view.key(root.cmk.to_string())));
        }
        if is_current {
            let confirmed = database.keys.confirmed_micros(table.id);
            let lease = database.keys.lease(table.id);
            row.push(("last_confirmed", confirmed.and_then(timestamp)));
            let until = lease.and_then(|lease| timestamp(lease.wall_deadline_micros));
            row.push(("lease_until", until));
        }
        rows.add(row)?;
    }
    Ok(())
}

/// How each key service fares.
pub fn key_services(view: View<'_>, rows: &mut Rows<'_>) -> CqlResult<()> {
    if !view.shows_all() {
        return Ok(());
    }
    for service in view.database.keys.services() {
        rows.add(vec![
            ("provider", text(&service.provider)),
            ("reachable", service.is_reachable.and_then(boolean)),
            ("calls", count(service.calls)),
            ("denied", count(service.denied)),
            ("unanswered", count(service.unanswered)),
            ("throttled", count(service.throttled)),
            (
                "latency_p50_us",
                count(service.latencies.permille(500) / 1_000),
            ),
            (
                "latency_p99_us",
                count(service.latencies.permille(990) / 1_000),
            ),
            (
                "waiting",
                int(i32::try_from(service.waiting).unwrap_or(i32::MAX)),
            ),
            (
                "in_flight",
                int(i32::try_from(service.in_flight).unwrap_or(i32::MAX)),
            ),
            (
                "last_answer",
                service.last_answer_micros.and_then(timestamp),
            ),
            ("last_error", service.last_error.and_then(text)),
        ])?;
    }
    Ok(())
}

/// The grants of this server's making.
pub fn grants(view: View<'_>, rows: &mut Rows<'_>) -> CqlResult<()> {
    for grant in view.database.keys.grants() {
        // The key is part of the row's own key: who may not know its name is not shown the row.
        let shows_key = view.key(&grant.key).is_some();
        if !shows_key || !view.shows(&grant.keyspace, &grant.table) {
            continue;
        }
        rows.add(vec![
            ("keyspace_name", text(&grant.keyspace)),
            ("table_name", text(&grant.table)),
            ("key", text(&grant.key)),
            ("purpose", text(&grant.purpose)),
            ("grant_id", text(grant.grant.unwrap_or_default())),
            ("created", timestamp(grant.created_micros)),
            (
                "retire_after",
                grant.retire_after_micros.and_then(timestamp),
            ),
        ])?;
    }
    Ok(())
}

fn timestamp(micros: i64) -> Option<CqlValue> {
    Some(CqlValue::Timestamp(micros.div_euclid(1_000)))
}

fn count(count: u64) -> Option<CqlValue> {
    Some(CqlValue::Bigint(i64::try_from(count).unwrap_or(i64::MAX)))
}
