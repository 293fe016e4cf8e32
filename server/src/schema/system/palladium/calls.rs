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
use palladium_storage::{
    Clustering, KeyRange, Limits, PartitionKey, PartitionRows, ReadCommand, ReadPage, ReadPosition,
};

use super::super::super::TableSchema;
use super::super::rows::{Named, Rows, text, text_map};
use crate::audit::{Entry, SEGMENT_ROWS, Span, Trail};
use crate::encode::key;
use crate::error::CqlResult;

/// CQL's date counts from here.
const EPOCH_DAY: i64 = 1 << 31;

/// One page of the table.
pub async fn read(
    trail: &Trail,
    table: &TableSchema,
    command: &ReadCommand,
) -> CqlResult<ReadPage> {
    let mut reading = Reading {
        trail,
        table,
        command,
        page: ReadPage::default(),
        rows: 0,
        bytes: 0,
    };
    for (key, spans) in days(trail, command)? {
        if let Some(next) = reading.day(key, &spans).await? {
            reading.page.next = Some(next);
            break;
        }
    }
    Ok(reading.page)
}

/// The days that are asked for and not behind us, newest first, with their spans in the order of the read.
fn days(trail: &Trail, command: &ReadCommand) -> CqlResult<Vec<(PartitionKey, Vec<Span>)>> {
    let mut days: Vec<(i32, Vec<Span>)> = Vec::new();
    for span in trail.spans().into_iter().rev() {
        // A clock that steps back over midnight writes on a day that there was already.
        match days.iter_mut().find(|(day, _)| *day == span.day) {
            Some((_, spans)) => spans.push(span),
            None => days.push((span.day, vec![span])),
        }
    }
    days.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
    let mut wanted = Vec::new();
    for (day, mut spans) in days {
        let key = key::partition_key(&[Bytes::from(date(day).to_bytes())])?;
        if !is_wanted(&command.range, &key) {
            continue;
        }
        if command.reversed {
            spans.reverse();
        }
        wanted.push((key, spans));
    }
    if let Some(position) = &command.resume {
        let at = wanted.iter().position(|(key, _)| *key == position.key);
        let is_finished = position.clustering.is_none();
        wanted.drain(..at.map_or(wanted.len(), |at| at + usize::from(is_finished)));
    }
    Ok(wanted)
}

fn date(day: i32) -> CqlValue {
    CqlValue::Date((i64::from(day) + EPOCH_DAY) as u32)
}

fn is_wanted(range: &KeyRange, key: &PartitionKey) -> bool {
    match range {
        KeyRange::One(own) => own == key,
        KeyRange::Range { start, end } => !start.is_after_key(key) && end.is_after_key(key),
    }
}

struct Reading<'a> {
    trail: &'a Trail,
    table: &'a TableSchema,
    command: &'a ReadCommand,
    page: ReadPage,
    rows: u32,
    bytes: usize,
}

impl Reading<'_> {
    /// Reads one day. Says where the page ends, if it ends here.
    async fn day(&mut self, key: PartitionKey, spans: &[Span]) -> CqlResult<Option<ReadPosition>> {
        let resumed = self.command.resume.as_ref();
        let resumed = resumed.filter(|position| position.key == key);
        let mut at = ReadPosition {
            key: key.clone(),
            clustering: resumed.and_then(|position| position.clustering.clone()),
            returned_in_partition: resumed.map_or(0, |position| position.returned_in_partition),
        };
        let mut shown = PartitionRows {
            key,
            static_row: None,
            rows: Vec::new(),
        };
        let mut is_full = false;
        for (first, last) in self.pieces(spans) {
            if at.returned_in_partition >= self.command.limits.per_partition || is_full {
                break;
            }
            if !self.may_hold(first, last)? {
                continue;
            }
            let entries = self.trail.segment(first / SEGMENT_ROWS).await?;
            let in_span = |entry: &&Entry| (first..=last).contains(&entry.record.sequence);
            let mut piece = Rows::new(self.table, self.command.now);
            for entry in entries.iter().filter(in_span) {
                piece.add(row(entry, &at.key)?)?;
            }
            let command = self.rest(&at);
            for partition in piece.read(&command)?.partitions {
                self.rows += partition.rows.len() as u32;
                at.returned_in_partition += partition.rows.len() as u32;
                for row in partition.rows {
                    self.bytes += row.weight();
                    at.clustering = Some(row.clustering.clone());
                    shown.rows.push(row);
                }
            }
            let limits = &self.command.limits;
            is_full = self.rows >= limits.rows || self.bytes >= limits.bytes;
        }
        if !shown.rows.is_empty() {
            self.page.partitions.push(shown);
        }
        if at.returned_in_partition >= self.command.limits.per_partition {
            at.clustering = None;
            at.returned_in_partition = 0;
        }
        Ok(is_full.then_some(at))
    }

    /// The parts of segments that spans consist of, in the order of the read.
    fn pieces(&self, spans: &[Span]) -> Vec<(u64, u64)> {
        let reversed = self.command.reversed;
        let pieces = spans.iter().flat_map(|span| {
            let segments = span.first / SEGMENT_ROWS..=span.last / SEGMENT_ROWS;
            let mut pieces: Vec<(u64, u64)> = segments
                .map(|segment| {
                    let start = segment * SEGMENT_ROWS;
                    let end = start + SEGMENT_ROWS - 1;
                    (span.first.max(start), span.last.min(end))
                })
                .collect();
            // The table's own order is the newest first.
            if !reversed {
                pieces.reverse();
            }
            pieces
        });
        pieces.collect()
    }

    /// Whether the slices asked for meet these records, and something of them is not behind us.
    fn may_hold(&self, first: u64, last: u64) -> CqlResult<bool> {
        let (oldest, newest) = (self.position(first)?, self.position(last)?);
        let slices = self.command.slices.as_slice();
        Ok(slices
            .iter()
            .any(|(start, end)| *start < oldest && newest < *end))
    }

    fn position(&self, sequence: u64) -> CqlResult<Clustering> {
        let value = Bytes::from(CqlValue::Bigint(sequence as i64).to_bytes());
        Ok(key::clustering(self.table.clustering_columns(), &[value])?.0)
    }

    /// What is still to be read once `at` is reached.
    fn rest(&self, at: &ReadPosition) -> ReadCommand {
        let limits = &self.command.limits;
        ReadCommand {
            range: KeyRange::One(at.key.clone()),
            limits: Limits {
                rows: limits.rows - self.rows,
                per_partition: limits.per_partition,
                bytes: limits.bytes.saturating_sub(self.bytes),
            },
            resume: at.clustering.is_some().then(|| at.clone()),
            ..self.command.clone()
        }
    }
}

fn row(entry: &Entry, day: &PartitionKey) -> CqlResult<Vec<Named>> {
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
        ("key", optional(&record.key)),
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
