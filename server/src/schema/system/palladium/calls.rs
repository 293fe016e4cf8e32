//! `system_palladium.kms_calls`: the audit trail, a partition for each day, newest first.
//!
//! ```text
//! day ─► spans of records written on it ─► segments of the trail ─► rows, in the order of the read, until the page is full
//! ```
//!
//! One segment is in memory at a time, whatever the trail holds. Days come newest first, so that `LIMIT 20` without more shows what has just happened; no
//! other table gives its partitions in an order that means something.

use bytes::Bytes;
use palladium_protocol::types::CqlValue;
use palladium_storage::{Clustering, PartitionKey, ReadCommand, ReadPage};

use super::super::super::TableSchema;
use super::super::rows::{Named, Rows, text, text_map};
use super::View;
use super::paged::Paged;
use crate::audit::{Entry, Record, SEGMENT_ROWS, Span, Trail};
use crate::encode::key;
use crate::error::CqlResult;

/// CQL's date counts from here.
const EPOCH_DAY: i64 = 1 << 31;

/// One page of the table.
pub async fn read(
    trail: &Trail,
    table: &TableSchema,
    command: &ReadCommand,
    view: View<'_>,
) -> CqlResult<ReadPage> {
    let mut page = Paged::new(command);
    let days = page.wanted(days(trail)?);
    for (day, spans) in days {
        let mut partition = page.begin(day.clone());
        for (first, last) in pieces(spans, command.reversed) {
            if !page.takes_more(&partition) {
                break;
            }
            if !may_hold(table, command, first, last)? {
                continue;
            }
            let entries = trail.segment(first / SEGMENT_ROWS).await?;
            let in_piece = |entry: &&Entry| (first..=last).contains(&entry.record.sequence);
            let mut rows = Rows::new(table, command);
            for entry in entries.iter().filter(in_piece) {
                if is_shown(&entry.record, view) {
                    rows.add(row(entry, &day, view)?)?;
                }
            }
            page.add(&mut partition, &rows)?;
        }
        if page.end(partition) {
            break;
        }
    }
    Ok(page.finish())
}

/// All days, newest first, each with its spans, newest first too.
fn days(trail: &Trail) -> CqlResult<Vec<(PartitionKey, Vec<Span>)>> {
    let mut days: Vec<(i32, Vec<Span>)> = Vec::new();
    for span in trail.spans()?.into_iter().rev() {
        // A clock that steps back over midnight writes on a day that there was already.
        match days.iter_mut().find(|(day, _)| *day == span.day) {
            Some((_, spans)) => spans.push(span),
            None => days.push((span.day, vec![span])),
        }
    }
    days.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
    let partition = |(day, spans)| {
        let key = key::partition_key(&[Bytes::from(date(day).to_bytes())])?;
        Ok((key, spans))
    };
    days.into_iter().map(partition).collect()
}

/// The parts of segments that spans consist of, in the order of the read: newest first unless it is reversed.
fn pieces(spans: Vec<Span>, reversed: bool) -> Vec<(u64, u64)> {
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    for span in spans {
        let segments = span.first / SEGMENT_ROWS..=span.last / SEGMENT_ROWS;
        pieces.extend(segments.rev().map(|segment| {
            let start = segment * SEGMENT_ROWS;
            let end = start + SEGMENT_ROWS - 1;
            (span.first.max(start), span.last.min(end))
        }));
    }
    if reversed {
        pieces.reverse();
    }
    pieces
}

/// Whether the slices asked for meet these records.
fn may_hold(table: &TableSchema, command: &ReadCommand, first: u64, last: u64) -> CqlResult<bool> {
    // Newest first: the last record has the first position.
    let (oldest, newest) = (position(table, first)?, position(table, last)?);
    let slices = command.slices.as_slice();
    Ok(slices
        .iter()
        .any(|(start, end)| *start < oldest && newest < *end))
}

fn position(table: &TableSchema, sequence: u64) -> CqlResult<Clustering> {
    let value = Bytes::from(CqlValue::Bigint(sequence as i64).to_bytes());
    Ok(key::clustering(table.clustering_columns(), &[value])?.0)
}

fn date(day: i32) -> CqlValue {
    CqlValue::Date((i64::from(day) + EPOCH_DAY) as u32)
}

/// Of what is about no table each sees what he did himself.
fn is_shown(record: &Record, view: View<'_>) -> bool {
    match (&record.keyspace_name, &record.table_name) {
        (Some(keyspace), Some(table)) => view.shows(keyspace, table),
        _ => view.shows_all() || view.is_asker(&record.who),
    }
}

fn row(entry: &Entry, day: &PartitionKey, view: View<'_>) -> CqlResult<Vec<Named>> {
    let record = &entry.record;
    let day: [u8; 4] = day.bytes().as_ref().try_into().unwrap_or_default();
    let optional = |value: &Option<String>| value.clone().and_then(text);
    Ok(vec![
        ("day", Some(CqlValue::Date(u32::from_be_bytes(day)))),
        ("sequence", Some(CqlValue::Bigint(record.sequence as i64))),
        (
            "time",
            Some(CqlValue::Timestamp(record.at_micros.div_euclid(1_000))),
        ),
        ("operation", text(&record.operation)),
        ("keyspace_name", optional(&record.keyspace_name)),
        ("table_name", optional(&record.table_name)),
        (
            "key",
            record.key.as_ref().and_then(|key| view.key(key.as_str())),
        ),
        (
            "context",
            (!record.context.is_empty())
                .then(|| text_map(&record.context))
                .flatten(),
        ),
        (
            "outcome",
            text(match record.error {
                None => "ok",
                Some(_) => "failed",
            }),
        ),
        ("reason", optional(&record.error)),
        (
            "latency_us",
            Some(CqlValue::Bigint(
                i64::try_from(record.latency_us).unwrap_or(i64::MAX),
            )),
        ),
        ("request_id", optional(&record.request_id)),
        ("who", text(&record.who)),
        ("client", optional(&record.client)),
        ("hash", Some(CqlValue::Blob(entry.hash.0.to_vec()))),
    ])
}
