//! One segment, read: which groups are whole, in what order, and where something is wrong. Pure: bytes in, verdicts out.
//!
//! A group is read from its first header or, if that is damaged, from its trailer and second header. Its seal opens under the segment's
//! key at the ordinal that its sequence gives, so a group from elsewhere does not pass, and it names the seal before it, so one that
//! was left out, swapped or repeated shows.

use std::collections::HashMap;
use std::sync::Arc;

use palladium_crypto::{KeyRing, StructureId, StructureKind, TableId, WrappedDataKey};

use super::group::addresses;
use super::layout::{
    GroupHeader, GroupKind, PAGE, SEAL_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_PAGES,
    SEGMENT_SEALED_BYTES, SealRecord, SegmentHeader, SegmentRecord, Trailer, chain,
};
use super::writer::Position;
use super::{Damage, DamageScope, ShareAddress};
use crate::backend::fields::is_zero;
use crate::sealed::SealedReader;

/// A segment's header, opened.
pub(super) struct OpenSegment {
    pub header: SegmentHeader,
    pub record: SegmentRecord,
    /// `chain` of the header's sealed block.
    pub seal: [u8; 32],
    seals: SealedReader,
    /// One of the two copies is damaged.
    pub damaged_copy: Option<usize>,
}

impl OpenSegment {
    /// Opens the header from the segment's first pages. `None` if neither copy is what was written.
    pub fn open(number: u64, pages: &[u8], service: &KeyRing) -> Option<OpenSegment> {
        let copy = |index: usize| pages.get(index * PAGE..(index + 1) * PAGE);
        let opened: Vec<_> = (0..SEGMENT_HEADER_PAGES)
            .map(|index| copy(index).and_then(|page| open_copy(number, page, service)))
            .collect();
        let damaged_copy = opened.iter().position(Option::is_none);
        let mut segment = opened.into_iter().flatten().next()?;
        segment.damaged_copy = damaged_copy;
        Some(segment)
    }
}

fn open_copy(number: u64, page: &[u8], service: &KeyRing) -> Option<OpenSegment> {
    let header = SegmentHeader::decode(page)?;
    let (context, rest) = page.split_at(SEGMENT_HEADER_BYTES);
    let (sealed, padding) = rest.split_at_checked(SEGMENT_SEALED_BYTES)?;
    if header.segment != number || !is_zero(padding) {
        return None;
    }
    let seals = SealedReader::new(
        service,
        &header.wrapped,
        header.structure,
        StructureKind::LogSeal,
    )
    .ok()?;
    let mut plain = Vec::with_capacity(sealed.len());
    seals.open(0, false, context, sealed, &mut plain).ok()?;
    Some(OpenSegment {
        record: SegmentRecord::decode(&plain)?,
        header,
        seal: chain(sealed),
        seals,
        damaged_copy: None,
    })
}

/// A group whose header and seal are right.
struct FoundGroup {
    header: GroupHeader,
    record: SealRecord,
    seal: [u8; 32],
    /// Shares that are not what their entry says.
    damaged: Vec<usize>,
    /// A spare copy, the trailer or the padding is not what was written; all else is.
    flaw: Option<&'static str>,
}

impl FoundGroup {
    fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// What is expected of a segment from outside it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Expected {
    /// The last group before it and its seal; `None` for the seal if damage before has hidden it.
    pub before: u64,
    /// The next segment's header says that this one ends here. What lies behind is dead.
    pub end: Option<u64>,
    /// Groups up to here were durable, says the watermark.
    pub durable: u64,
    /// A crash may have ended it: its last group may be torn where a spare copy makes it good.
    pub may_be_torn: bool,
}

/// What a segment holds.
pub(super) struct Scanned {
    /// The last group, whatever lay before it.
    pub last: Position,
    pub shares: Vec<ShareAddress>,
    pub timestamp_high_water: i64,
    pub has_end_record: bool,
    pub damage: Vec<Damage>,
    /// What a crash explains as well as damage does: a flaw of the very last group.
    pub unfinished: Vec<String>,
    /// Sequences and seals seen, for comparing with the watermark.
    pub seals: Vec<(u64, [u8; 32])>,
    /// All tables that appear in it, with their last group.
    pub tables: Vec<(TableId, u64)>,
}

/// Reads all groups of a segment.
pub(super) fn scan(segment: &OpenSegment, bytes: &[u8], expected: Expected) -> Scanned {
    Scan {
        segment,
        bytes,
        expected,
        offset: SEGMENT_HEADER_PAGES * PAGE,
        next: segment.header.first_sequence,
        seal: Some(segment.seal),
        wraps: HashMap::new(),
        flaw: None,
        out: Scanned {
            last: Position {
                sequence: expected.before,
                segment: 0,
                seal: segment.record.previous_seal,
            },
            shares: Vec::new(),
            timestamp_high_water: segment.record.timestamp_high_water,
            has_end_record: false,
            damage: Vec::new(),
            unfinished: Vec::new(),
            seals: Vec::new(),
            tables: Vec::new(),
        },
    }
    .run()
}

struct Scan<'a> {
    segment: &'a OpenSegment,
    bytes: &'a [u8],
    expected: Expected,
    offset: usize,
    /// The next group's sequence.
    next: u64,
    /// The seal it must name; `None` behind damage.
    seal: Option<[u8; 32]>,
    wraps: HashMap<StructureId, Arc<WrappedDataKey>>,
    /// A flaw of the group taken last: damage, unless nothing follows and a crash may have torn it.
    flaw: Option<Damage>,
    out: Scanned,
}

impl Scan<'_> {
    fn run(mut self) -> Scanned {
        while self.offset < self.bytes.len() && !self.is_past_the_end() {
            match self.group_at(self.offset) {
                Some(group) if group.is_whole() => self.take(group),
                Some(group)
                    if group.header.sequence == self.next && self.was_durable(self.offset) =>
                {
                    self.report_shares(&group);
                    self.take(group);
                }
                _ if !self.step_over_damage() => break,
                _ => {}
            }
            if self.out.has_end_record {
                break;
            }
        }
        let flaw = self.flaw.take();
        match self.expected.may_be_torn && !self.out.has_end_record {
            true => self
                .out
                .unfinished
                .extend(flaw.map(|flaw| flaw.to_string())),
            false => self.out.damage.extend(flaw),
        }
        self.check_reached();
        self.out
    }

    /// The next segment was begun behind this sequence: what follows here was judged torn by an earlier start.
    fn is_past_the_end(&self) -> bool {
        self.expected.end.is_some_and(|end| self.next > end) && !self.may_be_end_record()
    }

    fn may_be_end_record(&self) -> bool {
        GroupHeader::decode(&self.bytes[self.offset..]).is_some_and(|header| {
            header.kind == GroupKind::End && header.sequence.checked_add(1) == Some(self.next)
        })
    }

    fn take(&mut self, group: FoundGroup) {
        let header = &group.header;
        let length = header.pages as usize * PAGE;
        let flaw = group
            .flaw
            .map(|flaw| self.damage(flaw, DamageScope::Survived));
        let before = std::mem::replace(&mut self.flaw, flaw);
        self.out.damage.extend(before);
        if header.kind == GroupKind::End {
            self.take_end(&group, length);
            return;
        }
        if header.sequence < self.next {
            let scope = DamageScope::Groups {
                first: header.sequence,
                last: header.sequence,
            };
            self.report(
                format!("group {} a second time or out of order", header.sequence),
                scope,
            );
            self.offset += length;
            return;
        }
        if header.sequence > self.next {
            let (first, last) = (self.next, header.sequence - 1);
            let what = format!(
                "groups {first} to {last} are missing before group {}",
                header.sequence
            );
            self.report(what, DamageScope::Groups { first, last });
        } else if self
            .seal
            .is_some_and(|seal| seal != group.record.previous_seal)
        {
            let scope = DamageScope::Groups {
                first: header.sequence,
                last: header.sequence,
            };
            self.report(
                format!(
                    "group {} does not follow the one before it",
                    header.sequence
                ),
                scope,
            );
        }
        self.take_shares(&group);
        self.next = group.header.sequence + 1;
        self.moved_to(&group, length);
    }

    fn take_end(&mut self, group: &FoundGroup, length: usize) {
        if group.header.sequence.checked_add(1) != Some(self.next) {
            let (first, last) = (self.next, group.header.sequence);
            let what = format!("end record of group {last} where group {first} should be");
            self.report(
                what,
                DamageScope::Groups {
                    first,
                    last: last.max(first),
                },
            );
            self.next = last.saturating_add(1).max(self.next);
        } else if self
            .seal
            .is_some_and(|seal| seal != group.record.previous_seal)
        {
            let last = group.header.sequence;
            self.report(
                "end record that does not follow",
                DamageScope::Groups { first: last, last },
            );
        }
        self.moved_to(group, length);
        self.out.has_end_record = true;
        if !is_zero(&self.bytes[self.offset..]) {
            let sequence = self.next;
            self.report(
                "bytes behind the end record",
                DamageScope::Groups {
                    first: sequence,
                    last: sequence,
                },
            );
        }
    }

    fn moved_to(&mut self, group: &FoundGroup, length: usize) {
        self.offset += length;
        self.seal = Some(group.seal);
        self.out.last = Position {
            sequence: group.header.sequence,
            segment: self.segment.header.segment,
            seal: group.seal,
        };
        self.out.seals.push((group.header.sequence, group.seal));
        self.out.timestamp_high_water = self
            .out
            .timestamp_high_water
            .max(group.record.timestamp_high_water);
    }

    fn take_shares(&mut self, group: &FoundGroup) {
        let mut missing = Vec::new();
        let mut wraps = Vec::new();
        for share in &group.header.shares {
            if let Some(wrapped) = &share.wrapped {
                self.wraps
                    .insert(share.structure, Arc::new(wrapped.clone()));
            }
            self.out.tables.push((share.table, group.header.sequence));
            match self.wraps.get(&share.structure) {
                Some(wrapped) => wraps.push(Some(wrapped.clone())),
                None => {
                    wraps.push(None);
                    missing.push(share.table);
                }
            }
        }
        if !missing.is_empty() {
            let scope = shares_scope(&group.header, missing);
            self.report(
                "the wrapped key of a share is lost with an earlier group",
                scope,
            );
        }
        // Addresses want a wrap for each share; the ones without are taken out again.
        let filler = wraps.iter().flatten().next().cloned();
        if let Some(filler) = filler {
            let filled: Vec<_> = wraps
                .iter()
                .map(|wrap| wrap.clone().unwrap_or_else(|| filler.clone()))
                .collect();
            let all = addresses(&group.header, self.offset as u64, &filled);
            let usable = all
                .into_iter()
                .enumerate()
                .filter(|(index, _)| wraps[*index].is_some() && !group.damaged.contains(index));
            self.out.shares.extend(usable.map(|(_, address)| address));
        }
    }

    fn report_shares(&mut self, group: &FoundGroup) {
        let damaged = group
            .damaged
            .iter()
            .map(|&index| group.header.shares[index].table)
            .collect();
        let what = format!("damaged shares in group {}", group.header.sequence);
        self.report(what, shares_scope(&group.header, damaged));
    }

    /// Nothing whole stands here: torn, or damaged? Damaged: reports, goes on at the next whole group, says `true` if there is one.
    fn step_over_damage(&mut self) -> bool {
        let behind = self.later_group(self.offset + PAGE);
        if behind.is_none() && self.next > self.must_reach() {
            return false;
        }
        match behind {
            Some((offset, resume)) => {
                let (first, last) = (self.next, resume.saturating_sub(1).max(self.next));
                let what = format!("groups {first} to {last} cannot be read, and later ones can");
                self.report(what, DamageScope::Groups { first, last });
                self.offset = offset;
                // Reported already: the group found is the one expected now, whatever it names as the one before.
                self.next = self.next.max(resume);
                self.seal = None;
                true
            }
            // `check_reached` reports up to where the log had got.
            None => false,
        }
    }

    fn was_durable(&self, offset: usize) -> bool {
        self.next <= self.must_reach() || self.later_group(offset + PAGE).is_some()
    }

    fn must_reach(&self) -> u64 {
        self.expected.durable.max(self.expected.end.unwrap_or(0))
    }

    /// The first whole group from `offset` on that was written after the expected one was durable, and the sequence that is next there.
    ///
    /// A group shows by its first header or, if that is damaged, by its trailer.
    fn later_group(&self, offset: usize) -> Option<(usize, u64)> {
        let end = self.expected.end.unwrap_or(u64::MAX);
        (offset..self.bytes.len()).step_by(PAGE).find_map(|page| {
            let start =
                start_of_group(&self.bytes[page..], page).filter(|start| *start >= offset)?;
            let header = self.group_at(start)?.header;
            let resume = match header.kind {
                GroupKind::Group if header.unit > self.next => header.sequence,
                GroupKind::End if header.sequence >= self.next => header.sequence.checked_add(1)?,
                _ => return None,
            };
            (header.sequence <= end).then_some((start, resume))
        })
    }

    fn check_reached(&mut self) {
        let must = self.must_reach();
        if self.next <= must {
            let (first, last) = (self.next, must);
            let what = format!("groups {first} to {last} were durable and cannot be read");
            self.report(what, DamageScope::Groups { first, last });
        }
    }

    fn report(&mut self, what: impl Into<String>, scope: DamageScope) {
        let damage = self.damage(what, scope);
        self.out.damage.push(damage);
    }

    fn damage(&self, what: impl Into<String>, scope: DamageScope) -> Damage {
        Damage {
            segment: self.segment.header.segment,
            offset: self.offset as u64,
            what: what.into(),
            scope,
        }
    }

    /// The group that begins here, if its header (one copy) and its seal are right.
    fn group_at(&self, offset: usize) -> Option<FoundGroup> {
        let bytes = &self.bytes[offset..];
        GroupHeader::decode(bytes)
            .and_then(|header| self.check(bytes, header, true))
            .or_else(|| second_header(bytes).and_then(|header| self.check(bytes, header, false)))
    }

    fn check(&self, bytes: &[u8], header: GroupHeader, is_first_copy: bool) -> Option<FoundGroup> {
        let places = header.places();
        let bytes = bytes.get(..places.end)?;
        let encoded = header.encode();
        if header.segment != self.segment.header.segment
            || header.incarnation != self.segment.header.incarnation
        {
            return None;
        }
        let sealed = &bytes[places.seal..places.seal + SEAL_BYTES];
        let mut plain = Vec::with_capacity(SEAL_BYTES);
        let ordinal = header.seal_ordinal(self.segment.header.first_sequence);
        self.segment
            .seals
            .open(ordinal, false, &[], sealed, &mut plain)
            .ok()?;
        let record = SealRecord::decode(&plain)?;
        if record.content != palladium_crypto::sha256(&[&encoded]) {
            return None;
        }
        let trailer = Trailer {
            header_bytes: encoded.len() as u32,
            pages: header.pages,
            sequence: header.sequence,
        };
        let flaw = if !is_first_copy {
            Some("the first copy of a group's header is damaged")
        } else if bytes[places.second_header..places.seal] != encoded[..] {
            Some("the second copy of a group's header is damaged")
        } else if bytes[places.trailer..] != trailer.encode()[..] {
            Some("the trailer of a group is damaged")
        } else if !is_zero(&bytes[places.padding..places.second_header]) {
            Some("the padding of a group is not zero")
        } else {
            None
        };
        Some(FoundGroup {
            damaged: damaged_shares(&header, &bytes[places.shares..places.padding]),
            seal: chain(sealed),
            header,
            record,
            flaw,
        })
    }
}

/// Where the group starts whose first or last page this is.
fn start_of_group(bytes: &[u8], page: usize) -> Option<usize> {
    if GroupHeader::decode(bytes).is_some() {
        return Some(page);
    }
    let trailer = Trailer::decode(&bytes.get(..PAGE)?[PAGE - Trailer::BYTES..])?;
    (page + PAGE).checked_sub((trailer.pages as usize).checked_mul(PAGE)?)
}

/// The header's second copy, by way of the first trailer that says that its group begins where these bytes do.
fn second_header(bytes: &[u8]) -> Option<GroupHeader> {
    bytes.chunks_exact(PAGE).enumerate().find_map(|(page, _)| {
        let end = (page + 1) * PAGE;
        let trailer = Trailer::decode(&bytes[end - Trailer::BYTES..end])?;
        if trailer.pages as usize != page + 1 {
            return None;
        }
        let seal = end - Trailer::BYTES - SEAL_BYTES;
        let start = seal.checked_sub(trailer.header_bytes as usize)?;
        GroupHeader::decode(&bytes[start..seal])
    })
}

fn damaged_shares(header: &GroupHeader, mut shares: &[u8]) -> Vec<usize> {
    let mut damaged = Vec::new();
    for (index, entry) in header.shares.iter().enumerate() {
        let (share, rest) = shares.split_at(entry.length as usize);
        if crc32fast::hash(share) != entry.crc || !share.ends_with(&entry.tag) {
            damaged.push(index);
        }
        shares = rest;
    }
    damaged
}

fn shares_scope(header: &GroupHeader, damaged: Vec<TableId>) -> DamageScope {
    DamageScope::Shares {
        sequence: header.sequence,
        damaged,
        members: header.shares.iter().map(|share| share.table).collect(),
    }
}
