//! `system_traces.sessions` and `.events`: what was traced since the start. Where clients log in, each sees the traces of its own requests, and superusers all.

use std::collections::BTreeMap;

use palladium_protocol::types::CqlValue;
use palladium_storage::{KeyRange, ReadCommand};
use uuid::Uuid;

use super::super::TableSchema;
use super::rows::{Rows, int, text, text_map};
use crate::audit::Asker;
use crate::database::Database;
use crate::error::CqlResult;
use crate::traces::Trace;

/// Cassandra's port between nodes, which it names a node by.
const NODE_PORT: i32 = 7000;

/// The rows of one of the two tables, or of one trace.
pub fn fill(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    let sees_all = database.authority.is_super(asker);
    let now = database.trail.now_micros().div_euclid(1_000);
    for trace in database.traces.shown(now, only(command)) {
        if !sees_all && trace.who != asker.who {
            continue;
        }
        match table.name.as_str() {
            "sessions" => session(database, &trace, rows)?,
            "events" => events(database, &trace, rows)?,
            _ => {}
        }
    }
    Ok(())
}

/// The one trace that is asked for, if it is one: a client that waits for its trace looks often.
fn only(command: &ReadCommand) -> Option<Uuid> {
    match &command.range {
        KeyRange::One(key) => Uuid::from_slice(key.bytes()).ok(),
        KeyRange::Range { .. } => None,
    }
}

fn session(database: &Database, trace: &Trace, rows: &mut Rows<'_>) -> CqlResult<()> {
    let parameters: &BTreeMap<String, String> = &trace.parameters;
    rows.add(vec![
        ("session_id", Some(CqlValue::Uuid(trace.id))),
        ("client", Some(CqlValue::Inet(trace.client))),
        ("command", text("QUERY")),
        (
            "coordinator",
            Some(CqlValue::Inet(database.config.listen.ip())),
        ),
        ("coordinator_port", int(NODE_PORT)),
        ("duration", trace.duration().map(CqlValue::Int)),
        ("parameters", text_map(parameters)),
        ("request", text(trace.request)),
        ("started_at", Some(CqlValue::Timestamp(trace.started_at))),
    ])
}

fn events(database: &Database, trace: &Trace, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (place, event) in trace.events().into_iter().enumerate() {
        rows.add(vec![
            ("session_id", Some(CqlValue::Uuid(trace.id))),
            (
                "event_id",
                Some(CqlValue::Timeuuid(event_id(trace, place, event.elapsed))),
            ),
            ("activity", text(event.activity)),
            ("source", Some(CqlValue::Inet(database.config.listen.ip()))),
            ("source_elapsed", int(event.elapsed)),
            ("source_port", int(NODE_PORT)),
            ("thread", text(event.thread)),
        ])?;
    }
    Ok(())
}

/// A timeuuid of the event's moment: the trace's own, so many microseconds later; events of one microsecond keep their order by the clock sequence.
fn event_id(trace: &Trace, place: usize, elapsed: i32) -> Uuid {
    let mut bytes = *trace.id.as_bytes();
    let low = u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let middle = u64::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    let high = u64::from(u16::from_be_bytes([bytes[6], bytes[7]]) & 0x0FFF);
    let ticks =
        (high << 48 | middle << 32 | low).wrapping_add(u64::from(elapsed.unsigned_abs()) * 10);
    bytes[..4].copy_from_slice(&(ticks as u32).to_be_bytes());
    bytes[4..6].copy_from_slice(&((ticks >> 32) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&((ticks >> 48) as u16 & 0x0FFF | 0x1000).to_be_bytes());
    // Bytes compare signed in Cassandra's order of timeuuids: the lower half of each is enough for the events of a trace.
    let place = (place as u16).min(0x0FFF);
    bytes[8] = 0x80 | (place >> 7) as u8 & 0x3F;
    bytes[9] = (place & 0x7F) as u8;
    Uuid::from_bytes(bytes)
}
