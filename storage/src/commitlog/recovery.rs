//! What open finds: the watermark, then the segments from the oldest still needed, each judged by its successor and by the watermark.
//!
//! Reads only. Nothing here is fatal by itself: damage is reported with whom it hurts, and the log goes on behind it.

use palladium_crypto::KeyRing;

use super::layout::{NO_SEAL, PAGE, SEGMENT_HEADER_PAGES};
use super::scan::{Expected, OpenSegment, scan};
use super::watermark::{self, FoundWatermark};
use super::writer::Position;
use super::{Damage, DamageScope, Recovered, SegmentTables};
use crate::backend::fields::is_zero;
use crate::backend::{Backend, LogSegment};
use crate::error::Result;

/// What was found, and where the log goes on.
pub(super) struct Found {
    pub recovered: Recovered,
    pub watermark: FoundWatermark,
    pub last: Position,
    /// The largest segment number in use.
    pub newest_segment: u64,
    /// The newest segment that could be read, with groups or without.
    pub newest_read: Option<u64>,
    /// Segments that hold nothing: prepared, cut short at birth, or released already.
    pub leftovers: Vec<u64>,
}

enum Candidate {
    Open(Box<OpenSegment>),
    /// Prepared, or begun and cut short: nothing was ever acknowledged in it.
    Nothing,
    Unreadable,
}

/// Reads the log.
pub(super) async fn read<B: Backend>(backend: &B, service: &KeyRing) -> Result<Found> {
    let found = watermark::load(backend, service).await?;
    let listed = backend.log_list().await?;
    let mut reading = Reading::new(found);
    let mut segments = Vec::new();
    for segment in &listed {
        if segment.number < reading.oldest {
            reading.leftovers.push(segment.number);
            continue;
        }
        let is_last = listed.last() == Some(segment);
        match candidate(
            backend,
            service,
            *segment,
            is_last && segment.number > reading.durable.segment,
        )
        .await?
        {
            Candidate::Nothing => reading.leftovers.push(segment.number),
            Candidate::Open(open) => segments.push((*segment, Some(open))),
            Candidate::Unreadable => segments.push((*segment, None)),
        }
    }
    reading.check_watermark(!segments.is_empty());
    let newest = newest_known(&segments).max(reading.durable.segment);
    // A file's name is anybody's word. One that is not the next number says nothing about the log.
    for (segment, _) in segments
        .iter()
        .filter(|(segment, _)| segment.number > newest + 1)
    {
        let what = "a file that does not belong to the log".to_owned();
        reading.report(segment.number, 0, what, DamageScope::Survived);
    }
    segments.retain(|(segment, _)| segment.number <= newest + 1);
    let last = segments.last().map_or(0, |(segment, _)| segment.number);
    reading.newest_segment = newest.max(last);
    if reading.watermark.record.is_none()
        && let Some((segment, open)) = segments.first()
    {
        reading.begin_at(segment.number, open.as_deref());
    }
    let mut segments = segments.into_iter().peekable();
    for number in reading.oldest..=reading.newest_segment {
        let this = segments.next_if(|(segment, _)| segment.number == number);
        let next = segments.peek().and_then(|(segment, open)| {
            let open = open.as_ref().filter(|_| segment.number == number + 1)?;
            Some((&open.record, open.header.incarnation))
        });
        let end = next.map(|(record, _)| (record.previous_sequence, record.previous_seal));
        let next_incarnation = next.map(|(_, incarnation)| incarnation);
        match this {
            Some((segment, Some(open))) => {
                let bytes = backend.log_read(number, 0, segment.bytes as usize).await?;
                reading.take(&open, &bytes, end, next_incarnation);
            }
            Some((_, None)) => reading.skip(number, "its header cannot be read", end),
            None => reading.skip(number, "it is missing", end),
        }
    }
    Ok(reading.finish())
}

/// The largest number of a segment whose header is authentic.
fn newest_known(segments: &[(LogSegment, Option<Box<OpenSegment>>)]) -> u64 {
    let open = segments.iter().filter(|(_, open)| open.is_some());
    open.map(|(segment, _)| segment.number).max().unwrap_or(0)
}

async fn candidate<B: Backend>(
    backend: &B,
    service: &KeyRing,
    segment: LogSegment,
    may_be_nothing: bool,
) -> Result<Candidate> {
    let headers = ((SEGMENT_HEADER_PAGES * PAGE) as u64).min(segment.bytes) as usize;
    let pages = backend.log_read(segment.number, 0, headers).await?;
    let open = match OpenSegment::open(segment.number, &pages, service).map(Box::new) {
        // One copy torn: the segment's creation was cut short, if nothing follows.
        Some(open) if open.damaged_copy.is_some() && may_be_nothing => Some(open),
        Some(open) => return Ok(Candidate::Open(open)),
        None if !may_be_nothing && !is_zero(&pages) => return Ok(Candidate::Unreadable),
        None => None,
    };
    // The header is durable before the first group is written. So with anything behind it, it was whole once.
    let rest = backend
        .log_read(
            segment.number,
            headers as u64,
            segment.bytes as usize - headers,
        )
        .await?;
    Ok(match open {
        _ if is_zero(&rest) => Candidate::Nothing,
        Some(open) => Candidate::Open(open),
        None => Candidate::Unreadable,
    })
}

struct Reading {
    recovered: Recovered,
    watermark: FoundWatermark,
    /// What the watermark says.
    durable: Position,
    oldest: u64,
    /// The last group so far.
    last: Position,
    /// Is `last.seal` what stands before the next segment, or has damage hidden it?
    is_seal_known: bool,
    newest_segment: u64,
    newest_read: Option<u64>,
    leftovers: Vec<u64>,
    durable_seals: Vec<[u8; 32]>,
    /// What crashes left at the ends of segments.
    torn: Vec<String>,
}

impl Reading {
    fn new(mut watermark: FoundWatermark) -> Reading {
        let record = watermark.record.clone().unwrap_or_else(watermark::fresh);
        let recovered = Recovered {
            unfinished: std::mem::take(&mut watermark.unfinished),
            incarnation: watermark.incarnation,
            manifest_sequence: record.manifest_sequence,
            ..Recovered::default()
        };
        Reading {
            recovered,
            watermark,
            durable: Position {
                sequence: record.sequence,
                segment: record.segment,
                seal: record.seal,
            },
            oldest: record.oldest_segment,
            last: Position {
                sequence: record.oldest_sequence.saturating_sub(1),
                segment: 0,
                seal: NO_SEAL,
            },
            // The segment before the oldest is gone, and with it what the oldest is to be compared with.
            is_seal_known: record.oldest_segment == 1,
            newest_segment: 0,
            newest_read: None,
            leftovers: Vec::new(),
            durable_seals: Vec::new(),
            torn: Vec::new(),
        }
    }

    /// Nothing says which segment is the oldest that is needed: those before the first one that is there may have been released.
    fn begin_at(&mut self, number: u64, open: Option<&OpenSegment>) {
        self.oldest = number;
        self.is_seal_known = number == 1;
        self.last.sequence = open.map_or(0, |open| open.header.first_sequence.saturating_sub(1));
    }

    /// The first watermark is stored before the first segment is begun.
    fn check_watermark(&mut self, has_segments: bool) {
        if self.watermark.record.is_some() {
            return;
        }
        if has_segments {
            self.recovered.damage.push(Damage {
                segment: 0,
                offset: 0,
                what: "there are segments and no watermark".into(),
                scope: DamageScope::Groups {
                    first: 1,
                    last: u64::MAX,
                },
            });
        }
        // Without segments: the very first store was cut short, or the log is gone; the manifest knows whether there was one.
    }

    fn take(
        &mut self,
        open: &OpenSegment,
        bytes: &[u8],
        end: Option<(u64, [u8; 32])>,
        next_incarnation: Option<u64>,
    ) {
        let number = open.header.segment;
        self.check_border(open);
        if let Some(copy) = open.damaged_copy {
            let offset = (copy * PAGE) as u64;
            self.report(
                number,
                offset,
                format!("copy {copy} of the segment's header is damaged"),
                DamageScope::Survived,
            );
        }
        if open.header.bytes != bytes.len() as u64 {
            let what = format!("it has {} bytes, not {}", bytes.len(), open.header.bytes);
            // What is cut off shows as missing groups; what is added is behind the end.
            self.report(number, bytes.len() as u64, what, DamageScope::Survived);
        }
        let whole_pages = bytes.len() - bytes.len() % PAGE;
        let expected = Expected {
            before: open.record.previous_sequence,
            end: end.map(|(sequence, _)| sequence),
            durable: if number == self.durable.segment {
                self.durable.sequence
            } else {
                0
            },
            may_be_torn: next_incarnation != Some(open.header.incarnation),
        };
        let scanned = scan(open, &bytes[..whole_pages], expected);
        let recovered = &mut self.recovered;
        recovered.timestamp_high_water = recovered
            .timestamp_high_water
            .max(scanned.timestamp_high_water);
        recovered.manifest_sequence = recovered
            .manifest_sequence
            .max(open.record.manifest_sequence);
        recovered.incarnation = recovered.incarnation.max(open.header.incarnation);
        recovered.is_clean_stop = scanned.has_end_record;
        recovered.damage.extend(scanned.damage);
        self.torn.extend(scanned.unfinished);
        self.newest_read = Some(number);
        let segment = recovered
            .segments
            .entry(number)
            .or_insert_with(|| SegmentTables {
                first_sequence: open.header.first_sequence,
                ..SegmentTables::default()
            });
        segment.tables.extend(scanned.tables);
        for share in scanned.shares {
            recovered.tables.entry(share.table).or_default().push(share);
        }
        let durable = self.durable.sequence;
        let seals = scanned
            .seals
            .iter()
            .filter(|(sequence, _)| *sequence == durable);
        self.durable_seals.extend(seals.map(|(_, seal)| *seal));
        // A segment without groups leaves the last seal what it was before.
        self.last = scanned.last;
        self.is_seal_known = true;
    }

    /// The segment must begin where the one before it ended.
    fn check_border(&mut self, open: &OpenSegment) {
        let (number, record) = (open.header.segment, &open.record);
        let follows = record.previous_segment == number - 1
            && open.header.first_sequence == record.previous_sequence + 1
            && record.previous_sequence >= self.last.sequence
            && (!self.is_seal_known
                || record.previous_sequence != self.last.sequence
                || record.previous_seal == self.last.seal);
        if !follows {
            let first = self
                .last
                .sequence
                .saturating_add(1)
                .min(open.header.first_sequence);
            let last = open.header.first_sequence.max(first);
            self.report(
                number,
                0,
                "it does not follow the segment before it",
                DamageScope::Groups { first, last },
            );
        }
    }

    fn skip(&mut self, number: u64, why: &str, end: Option<(u64, [u8; 32])>) {
        let first = self.last.sequence + 1;
        let last = end
            .map_or(self.durable.sequence, |(sequence, _)| sequence)
            .max(first);
        self.report(number, 0, why, DamageScope::Groups { first, last });
        // It keeps its place: a watermark that began behind it would have the next start take the log for whole.
        let lost = SegmentTables {
            first_sequence: first,
            ..SegmentTables::default()
        };
        self.recovered.segments.insert(number, lost);
        if let Some((sequence, _)) = end {
            self.last.sequence = sequence.max(self.last.sequence);
        }
        self.is_seal_known = false;
        self.recovered.is_clean_stop = false;
    }

    fn report(&mut self, segment: u64, offset: u64, what: impl Into<String>, scope: DamageScope) {
        self.recovered.damage.push(Damage {
            segment,
            offset,
            what: what.into(),
            scope,
        });
    }

    fn finish(mut self) -> Found {
        let Position {
            sequence,
            segment,
            seal,
        } = self.durable;
        let is_seen = self.durable_seals.is_empty() || self.durable_seals.contains(&seal);
        if !is_seen {
            let scope = DamageScope::Groups {
                first: sequence,
                last: sequence,
            };
            self.report(
                segment,
                0,
                format!("group {sequence} is not the one that the watermark names"),
                scope,
            );
        }
        // The last store of a clean stop is the watermark that names its end record: where that one is whole nothing was under way, and what could have been a crash was not one.
        let was_stopped = self.recovered.is_clean_stop && self.durable == self.last;
        for what in std::mem::take(&mut self.recovered.unfinished) {
            match was_stopped {
                true => self.report(0, 0, what, DamageScope::Survived),
                false => self.torn.push(format!("log watermark: {what}")),
            }
        }
        self.recovered.unfinished.append(&mut self.torn);
        // The next group gets a number that none had before, whatever was lost.
        let last = if sequence > self.last.sequence {
            self.durable
        } else {
            self.last
        };
        self.recovered.last_sequence = last.sequence;
        Found {
            last,
            recovered: self.recovered,
            watermark: self.watermark,
            newest_segment: self.newest_segment,
            newest_read: self.newest_read,
            leftovers: self.leftovers,
        }
    }
}
