//! The trail at rest: a table of the server's own, written by one writer, read by whoever may.
//!
//! ```text
//! partition "events" segment u64    clustering sequence u64     record, hash         1,024 records a segment
//! partition "state"                 "head"                      signed place of the last record
//!                                   "checkpoint"                signed place of the last record that was pruned
//!                                   "day" sequence u64          from this record on, records were written on this day
//! ```
//!
//! Records, head and day of one batch are one atomic write, so that a crash leaves a trail that ends where its head says. Pruning drops whole segments from
//! the front, with the checkpoint in the same write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, Bytes, BytesMut};
use palladium_crypto::{ClusterId, PublicKey, Signer, Statement};
use palladium_storage::{
    ColumnId, Deletion, Env, Mutation, PartitionKey, PartitionUpdate, ReadCommand, ReadPage, Row,
    Store, TableOptions, Write,
};

use super::head::{Head, Place};
use super::record::{Hash, Record};
use super::{Event, head};
use crate::Engine;
use crate::service_key::ServiceKey;
use crate::service_table::{self, EVENTS_TABLE};

/// Records in one partition.
pub const SEGMENT_ROWS: u64 = 1_024;
const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(super) const RECORD: ColumnId = ColumnId(1);
pub(super) const HASH: ColumnId = ColumnId(2);
/// The only column of the partition "state".
pub(super) const STATE: ColumnId = ColumnId(1);
pub(super) const HEAD: &[u8] = b"head";
pub(super) const CHECKPOINT: &[u8] = b"checkpoint";
const DAY: &[u8] = b"day";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct TrailLimits {
    /// Days after which a record may go.
    pub days: u64,
    /// Records after which the oldest may go.
    pub rows_max: u64,
}

/// Records that were written on one day, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Days since 1970-01-01.
    pub day: i32,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// A record with its hash.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What happened.
    pub record: Record,
    /// The chain's hash after it.
    pub hash: Hash,
}

/// The open trail.
pub struct Trail {
    engine: Engine,
    env: Arc<dyn Env>,
    signer: Signer,
    cluster: ClusterId,
    limits: TrailLimits,
    /// Why nothing can be read or written here.
    damage: Option<String>,
    known: Mutex<Known>,
}

/// What is remembered of the table.
#[derive(Debug, Clone)]
struct Known {
    place: Place,
    /// As written; None: nothing was ever.
    head: Option<Head>,
    /// The oldest record that is kept.
    first: u64,
    /// First record of a run of records that were written on one day, and the day.
    days: BTreeMap<u64, i32>,
}

impl Trail {
    /// Opens the trail, or begins it. One that is damaged stops nothing but itself: it is named in the log, and so is then every event.
    pub async fn open(
        engine: &Engine,
        env: Arc<dyn Env>,
        service: &ServiceKey,
        limits: TrailLimits,
    ) -> Result<Trail, String> {
        let signer = Signer::derive(service.ring.active());
        let (page, damage) = match load(engine, service).await {
            Ok(page) => (page, None),
            Err(palladium_storage::Error::Corrupt { what }) => {
                tracing::error!(what, "the audit trail is damaged: events are only logged");
                (ReadPage::default(), Some(what))
            }
            Err(error) => return Err(format!("the audit trail cannot be read: {error}")),
        };
        let known = known(&page, &signer.public_key(), service.cluster);
        Ok(Trail {
            engine: engine.clone(),
            env,
            signer,
            cluster: service.cluster,
            limits,
            damage,
            known: Mutex::new(known),
        })
    }

    /// With which others check what this trail states.
    pub fn public_key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// The newest head, signed; None: nothing was ever written.
    pub fn head(&self) -> Option<Head> {
        self.known().head.clone()
    }

    /// The spans of days that the kept records were written in, oldest first.
    pub fn spans(&self) -> palladium_storage::Result<Vec<Span>> {
        self.check_whole()?;
        let known = self.known();
        let starts: Vec<(u64, i32)> = known
            .days
            .iter()
            .map(|(first, day)| (*first, *day))
            .collect();
        let ends = starts
            .iter()
            .skip(1)
            .map(|(next, _)| next - 1)
            .chain([known.place.sequence]);
        let spans = starts
            .iter()
            .zip(ends)
            .map(|((first, day), last)| Span {
                day: *day,
                first: (*first).max(known.first),
                last,
            })
            .filter(|span| span.first <= span.last);
        Ok(spans.collect())
    }

    fn check_whole(&self) -> palladium_storage::Result<()> {
        match &self.damage {
            Some(what) => Err(palladium_storage::Error::Corrupt { what: what.clone() }),
            None => Ok(()),
        }
    }

    /// Writes events, all or none. One caller at a time. After an error they may be there or not: only a trail that is opened anew knows.
    pub async fn append(&self, events: &[Event]) -> palladium_storage::Result<()> {
        self.check_whole()?;
        let mut known = self.known().clone();
        let now = self.env.wall_micros();
        let timestamp = self.engine.next_timestamp();
        let mut segments: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
        let mut state = Vec::new();
        let day = i32::try_from(now.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX);
        if known.days.values().next_back() != Some(&day) {
            let first = known.place.sequence + 1;
            known.days.insert(first, day);
            let value = Bytes::copy_from_slice(&day.to_be_bytes());
            state.push(service_table::row(
                day_clustering(first),
                timestamp,
                vec![(STATE, value)],
            ));
        }
        for event in events {
            let sequence = known.place.sequence + 1;
            let record = Bytes::from(Record::new(event, sequence, now).to_bytes());
            let hash = known.place.hash.after(&record);
            known.place = Place { sequence, hash };
            let cells = vec![(RECORD, record), (HASH, Bytes::copy_from_slice(&hash.0))];
            segments
                .entry(sequence / SEGMENT_ROWS)
                .or_default()
                .push(service_table::row(
                    sequence_clustering(sequence),
                    timestamp,
                    cells,
                ));
        }
        let head = Head::sign(
            &self.signer,
            Statement::AuditHead,
            self.cluster,
            known.place,
            now,
        );
        state.push(state_row(HEAD, &head, timestamp));
        known.head = Some(head);
        let mut mutations = vec![service_table::mutation(
            EVENTS_TABLE,
            state_partition(),
            state,
        )];
        for (segment, rows) in segments {
            let key = segment_partition(segment);
            mutations.push(service_table::mutation(EVENTS_TABLE, key, rows));
        }
        self.write(mutations).await?;
        *self.known() = known;
        Ok(())
    }

    /// Drops whole segments that are too old or too many. Says how many records went.
    pub(super) async fn prune(&self) -> palladium_storage::Result<u64> {
        self.check_whole()?;
        let known = self.known().clone();
        let newest = known.place.sequence / SEGMENT_ROWS;
        let oldest = known.first / SEGMENT_ROWS;
        let horizon = self
            .env
            .wall_micros()
            .saturating_sub((self.limits.days as i64).saturating_mul(MICROS_PER_DAY));
        let mut checkpoint = None;
        // The segment that is being written stays, however short the limits.
        for segment in oldest..newest {
            let last = (segment + 1) * SEGMENT_ROWS - 1;
            let Some(entry) = self.segment(segment).await?.pop() else {
                break;
            };
            let is_surplus = known.place.sequence - last >= self.limits.rows_max;
            if entry.record.sequence != last
                || !(is_surplus || entry.record.written_at_micros < horizon)
            {
                break;
            }
            checkpoint = Some(Place {
                sequence: last,
                hash: entry.hash,
            });
        }
        let Some(checkpoint) = checkpoint else {
            return Ok(0);
        };
        self.drop_up_to(known, checkpoint).await
    }

    async fn drop_up_to(
        &self,
        mut known: Known,
        checkpoint: Place,
    ) -> palladium_storage::Result<u64> {
        let timestamp = self.engine.next_timestamp();
        let deletion = Deletion {
            timestamp,
            local_deletion_time: timestamp.div_euclid(1_000_000),
        };
        let statement = Head::sign(
            &self.signer,
            Statement::AuditCheckpoint,
            self.cluster,
            checkpoint,
            self.env.wall_micros(),
        );
        let mut state = vec![state_row(CHECKPOINT, &statement, timestamp)];
        let first = checkpoint.sequence + 1;
        // The day of the first record that stays is still needed, wherever its run began.
        let needed = known
            .days
            .range(..=first)
            .next_back()
            .map_or(0, |(start, _)| *start);
        for start in known.days.range(..needed).map(|(start, _)| *start) {
            let mut gone = Row::new(palladium_storage::Clustering(day_clustering(start)));
            gone.deletion = Some(deletion);
            state.push(gone);
        }
        let mut mutations = vec![service_table::mutation(
            EVENTS_TABLE,
            state_partition(),
            state,
        )];
        for segment in known.first / SEGMENT_ROWS..=checkpoint.sequence / SEGMENT_ROWS {
            mutations.push(Mutation {
                table: EVENTS_TABLE,
                store: Store::BASE,
                key: segment_partition(segment),
                update: PartitionUpdate {
                    deletion: Some(deletion),
                    ..PartitionUpdate::default()
                },
            });
        }
        self.write(mutations).await?;
        let pruned = first - known.first;
        known.first = first;
        known.days = known.days.split_off(&needed);
        // Appended meanwhile is nothing: the one writer prunes.
        *self.known() = known;
        Ok(pruned)
    }

    /// The records of a segment, oldest first; those that are not what was written are left out, and `palladium audit verify` names them.
    pub async fn segment(&self, segment: u64) -> palladium_storage::Result<Vec<Entry>> {
        self.check_whole()?;
        let command = segment_command(segment, self.engine.now_seconds());
        let page = self.engine.read(command).await?;
        Ok(rows(&page).filter_map(entry).collect())
    }

    async fn write(&self, mutations: Vec<Mutation>) -> palladium_storage::Result<()> {
        let results = self.engine.write(vec![Write::new(mutations)]).await;
        results.into_iter().next().unwrap_or(Ok(()))
    }

    /// Exported heads of this trail, and those of another one. Of records that were pruned, or cannot be read, nobody can tell: their heads stay.
    pub async fn told_apart(&self, heads: Vec<Head>) -> (Vec<Head>, Vec<Head>) {
        let kept = {
            let known = self.known();
            known.first..=known.place.sequence
        };
        let sequences = heads.iter().map(Head::sequence);
        let segments: BTreeSet<u64> = sequences
            .filter(|sequence| kept.contains(sequence))
            .map(|sequence| sequence / SEGMENT_ROWS)
            .collect();
        let mut places = BTreeMap::new();
        let mut unread = BTreeSet::new();
        for segment in segments {
            match self.segment(segment).await {
                Ok(entries) => {
                    let entries = entries.into_iter();
                    places.extend(entries.map(|entry| (entry.record.sequence, entry.hash)));
                }
                Err(error) => {
                    tracing::warn!(segment, %error, "of a segment of the audit trail nothing can be told");
                    unread.insert(segment);
                }
            }
        }
        let is_own = |head: &Head| {
            let sequence = head.sequence();
            let hash = places.get(&sequence);
            sequence < *kept.start()
                || unread.contains(&(sequence / SEGMENT_ROWS))
                || hash.is_some_and(|&hash| head.is_of(Place { sequence, hash }))
        };
        heads.into_iter().partition(is_own)
    }

    /// The wall clock that events are stamped with.
    pub fn now_micros(&self) -> i64 {
        self.env.wall_micros()
    }

    /// Compares with what was exported: a trail that has gone back, or is another one, is named in the log. It is written on all the same.
    pub(super) async fn compare(&self, exported: &[Head]) {
        let genuine = head::genuine(exported, &self.public_key(), self.cluster);
        let last = match genuine {
            Ok(places) => places
                .last_key_value()
                .map(|(sequence, hash)| (*sequence, *hash)),
            Err(error) => {
                tracing::error!(
                    error,
                    "an exported head of the audit trail is not this server's"
                );
                return;
            }
        };
        let Some((sequence, hash)) = last else {
            return;
        };
        let (first, newest) = {
            let known = self.known();
            (known.first, known.place.sequence)
        };
        if sequence > newest {
            tracing::error!(
                exported = sequence,
                newest,
                "the audit trail ends before a head that was exported: records are missing"
            );
        } else if sequence >= first {
            let entries = self.segment(sequence / SEGMENT_ROWS).await;
            let entries = entries.unwrap_or_default();
            let entry = entries
                .iter()
                .find(|entry| entry.record.sequence == sequence);
            if entry.is_none_or(|entry| entry.hash != hash) {
                tracing::error!(
                    sequence,
                    "the audit trail is not the one whose head was exported"
                );
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

async fn load(engine: &Engine, service: &ServiceKey) -> palladium_storage::Result<ReadPage> {
    let options = TableOptions {
        // One node, one writer: what is pruned need not be remembered.
        gc_grace_seconds: 0,
        ..TableOptions::default()
    };
    service_table::open(engine, service, EVENTS_TABLE, options).await?;
    engine.read(state_command(engine.now_seconds())).await
}

fn known(page: &ReadPage, key: &PublicKey, cluster: ClusterId) -> Known {
    let genuine = |name: &[u8], statement| {
        let head = state_of(page, name)?;
        match head.and_then(|head| Ok((head.verify(key, statement, cluster)?, head))) {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::error!(error, "a signed place of the audit trail is not genuine");
                None
            }
        }
    };
    let head = genuine(HEAD, Statement::AuditHead);
    let checkpoint = genuine(CHECKPOINT, Statement::AuditCheckpoint);
    let days = rows(page).filter_map(|row| {
        let first = row.clustering.0.strip_prefix(DAY)?.try_into().ok()?;
        let day = service_table::value(row, STATE)?.as_ref().try_into().ok()?;
        Some((u64::from_be_bytes(first), i32::from_be_bytes(day)))
    });
    Known {
        place: head
            .as_ref()
            .map_or(Place::start(cluster), |(place, _)| *place),
        head: head.map(|(_, head)| head),
        first: checkpoint.map_or(1, |(place, _)| place.sequence + 1),
        days: days.collect(),
    }
}

/// A signed place of the partition "state"; the inner error: it is there and cannot be read.
pub(super) fn state_of(page: &ReadPage, name: &[u8]) -> Option<Result<Head, String>> {
    let row = rows(page).find(|row| row.clustering.0 == name)?;
    Some(match service_table::value(row, STATE) {
        Some(bytes) => Head::from_bytes(bytes),
        None => Err("a signed place of the audit trail is empty".into()),
    })
}

pub(super) fn rows(page: &ReadPage) -> impl Iterator<Item = &Row> {
    page.partitions.iter().flat_map(|partition| &partition.rows)
}

fn entry(row: &Row) -> Option<Entry> {
    let record = Record::from_bytes(service_table::value(row, RECORD)?)?;
    let hash = service_table::value(row, HASH)?.as_ref().try_into().ok()?;
    Some(Entry {
        record,
        hash: Hash(hash),
    })
}

pub(super) fn state_command(now: i64) -> ReadCommand {
    service_table::whole_partition(EVENTS_TABLE, state_partition(), &[STATE], now)
}

pub(super) fn segment_command(segment: u64, now: i64) -> ReadCommand {
    let partition = segment_partition(segment);
    service_table::whole_partition(EVENTS_TABLE, partition, &[RECORD, HASH], now)
}

fn state_partition() -> PartitionKey {
    service_table::partition(Bytes::from_static(b"state"))
}

fn segment_partition(segment: u64) -> PartitionKey {
    let mut bytes = BytesMut::from(&b"events"[..]);
    bytes.put_u64(segment);
    service_table::partition(bytes.freeze())
}

fn sequence_clustering(sequence: u64) -> Bytes {
    Bytes::copy_from_slice(&sequence.to_be_bytes())
}

fn day_clustering(first: u64) -> Bytes {
    let mut bytes = BytesMut::from(DAY);
    bytes.put_u64(first);
    bytes.freeze()
}

fn state_row(name: &'static [u8], head: &Head, timestamp: i64) -> Row {
    let value = Bytes::from(head.to_bytes());
    service_table::row(Bytes::from_static(name), timestamp, vec![(STATE, value)])
}
