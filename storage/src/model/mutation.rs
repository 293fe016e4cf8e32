//! One partition's worth of change: the unit of durability.
//!
//! ```text
//! mutation   table [u8; 16], token i64 little-endian, key framed, [0x80, store u16 little-endian] unless it is the base, update to the end
//! update     flags u8: 0x01 deletion  0x02 static row  0x04 range tombstones; other bits are zero
//!            [timestamp zigzag, local deletion time zigzag]                            if 0x01
//!            [row framed]                                                              if 0x02
//!            [count varint, then each: start framed, end framed, timestamp zigzag, local deletion time zigzag]   if 0x04
//!            rows to the end, in order, each: clustering framed, row framed
//! ```
//!
//! A memtable takes an update as these bytes ([`UpdateView`]): a row nobody else wrote is copied as it stands, never decoded.

use super::{
    Clustering, Deletion, EncodedUpdate, PartitionKey, RangeTombstone, Row, RowView, Store, Token,
    reconcile,
};
use crate::codec::{
    Malformed, NUMBER_BYTES_MAX, Reader, framed_len, put_framed, put_framed_with, put_varint,
    put_zigzag,
};
use crate::{Error, Result};
use bytes::Bytes;
use palladium_crypto::TableId;
use std::borrow::Cow;

const DELETION: u8 = 0x01;
const STATIC_ROW: u8 = 0x02;
const RANGE_TOMBSTONES: u8 = 0x04;

/// Opens the number of a derived store: no flags of an update begin like this.
const STORE: u8 = 0x80;

/// The fewest bytes a range tombstone can take: two empty bounds and two small numbers.
const RANGE_TOMBSTONE_BYTES_MIN: usize = 4;

/// What changes in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionUpdate {
    pub deletion: Option<Deletion>,
    pub static_row: Option<Row>,
    /// Sorted by clustering.
    pub rows: Vec<Row>,
    /// In any order; they may overlap.
    pub range_tombstones: Vec<RangeTombstone>,
}

/// What changes in one partition of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    pub table: TableId,
    pub store: Store,
    pub key: PartitionKey,
    pub update: PartitionUpdate,
}

impl PartitionUpdate {
    /// One row.
    pub fn of_row(row: Row) -> PartitionUpdate {
        PartitionUpdate {
            rows: vec![row],
            ..PartitionUpdate::default()
        }
    }

    /// Changes nothing.
    pub fn is_empty(&self) -> bool {
        self.deletion.is_none()
            && self.static_row.is_none()
            && self.rows.is_empty()
            && self.range_tombstones.is_empty()
    }

    /// Adds a row at its place; at a place taken, the two are reconciled.
    pub fn add_row(&mut self, row: Row) {
        let index = self
            .rows
            .partition_point(|own| own.clustering < row.clustering);
        match self.rows.get_mut(index) {
            Some(own) if own.clustering == row.clustering => {
                let before = std::mem::replace(own, Row::new(Clustering::MIN));
                *own = reconcile::unite(before, row);
            }
            _ => self.rows.insert(index, row),
        }
    }

    /// Adds rows, in whatever order they come: many at the price of sorting them once.
    pub fn add_rows(&mut self, rows: Vec<Row>) {
        let mut all = std::mem::take(&mut self.rows);
        all.extend(rows);
        all.sort_by(|a, b| a.clustering.cmp(&b.clustering));
        self.rows.reserve(all.len());
        for row in all {
            match self.rows.last_mut() {
                Some(last) if last.clustering == row.clustering => {
                    let before = std::mem::replace(last, Row::new(Clustering::MIN));
                    *last = reconcile::unite(before, row);
                }
                _ => self.rows.push(row),
            }
        }
    }

    /// Adds what another update of this partition says.
    pub fn absorb(&mut self, other: PartitionUpdate) {
        let own = std::mem::take(self);
        *self = reconcile::partitions(own, other);
    }

    /// The same of many updates: halves are joined with halves. One after the other, each would be merged with all that was there, and a batch of 65,535 rows
    /// of a partition would keep a processor for minutes.
    pub fn absorb_all(&mut self, others: Vec<PartitionUpdate>) {
        let mut all = others;
        all.push(std::mem::take(self));
        while all.len() > 1 {
            let mut each = std::mem::take(&mut all).into_iter();
            while let Some(one) = each.next() {
                all.push(match each.next() {
                    Some(other) => reconcile::partitions(one, other),
                    None => one,
                });
            }
        }
        *self = all.pop().unwrap_or_default();
    }

    /// The smallest timestamp of anything in it; `i64::MAX` if it says nothing.
    pub fn min_timestamp(&self) -> i64 {
        let deletion = self.deletion.iter().map(|deletion| deletion.timestamp);
        let ranges = self.range_tombstones.iter();
        let ranges = ranges.map(|tombstone| tombstone.deletion.timestamp);
        let rows = self.static_row.iter().chain(&self.rows);
        let all = deletion.chain(ranges).chain(rows.map(Row::min_timestamp));
        all.min().unwrap_or(i64::MAX)
    }

    /// The encoded form is no longer than this.
    pub fn encoded_bytes_max(&self) -> usize {
        const HEAD: usize = 1 + 2 * NUMBER_BYTES_MAX;
        let ranges = self.range_tombstones.iter().map(|tombstone| {
            framed_len(&tombstone.start.0) + framed_len(&tombstone.end.0) + 2 * NUMBER_BYTES_MAX
        });
        let rows = self.static_row.iter().chain(&self.rows);
        let rows = rows
            .map(|row| framed_len(&row.clustering.0) + NUMBER_BYTES_MAX + row.encoded_bytes_max());
        HEAD + NUMBER_BYTES_MAX + ranges.sum::<usize>() + rows.sum::<usize>()
    }

    fn is_sorted(&self) -> bool {
        self.rows.is_sorted_by(|a, b| a.clustering < b.clustering)
    }

    /// Rows in order, those at one place united.
    fn sort(&mut self) {
        self.add_rows(Vec::new());
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut update = Cow::Borrowed(self);
        if !self.is_sorted() {
            update.to_mut().sort();
        }
        let mut flags = 0;
        flags |= if update.deletion.is_some() {
            DELETION
        } else {
            0
        };
        flags |= if update.static_row.is_some() {
            STATIC_ROW
        } else {
            0
        };
        flags |= if update.range_tombstones.is_empty() {
            0
        } else {
            RANGE_TOMBSTONES
        };
        out.push(flags);
        if let Some(deletion) = update.deletion {
            put_deletion(out, deletion);
        }
        if let Some(row) = &update.static_row {
            put_framed_with(out, |out| row.encode(out));
        }
        if !update.range_tombstones.is_empty() {
            put_varint(out, update.range_tombstones.len() as u64);
            for tombstone in &update.range_tombstones {
                put_framed(out, &tombstone.start.0);
                put_framed(out, &tombstone.end.0);
                put_deletion(out, tombstone.deletion);
            }
        }
        for row in &update.rows {
            put_framed(out, &row.clustering.0);
            put_framed_with(out, |out| row.encode(out));
        }
    }

    /// Reads an encoded update; values are slices of `bytes`. Checks everything.
    pub fn decode(bytes: Bytes) -> Result<PartitionUpdate> {
        UpdateView::parse(&bytes)
            .and_then(|view| view.to_update(&bytes))
            .map_err(|_| Error::corrupt("an encoded partition update"))
    }
}

impl Mutation {
    /// Reads an encoded mutation; values are slices of `bytes`. Checks everything.
    pub fn decode(bytes: Bytes) -> Result<Mutation> {
        let read = || {
            let mut reader = Reader::new(&bytes);
            let table = TableId(reader.array()?);
            let token = Token(reader.i64()?);
            let key = PartitionKey::new(token, bytes.slice_ref(reader.framed()?));
            let (store, update) = match reader.rest() {
                [STORE, low, high, update @ ..] => {
                    let store = Store(u16::from_le_bytes([*low, *high]));
                    // One spelling for each: the base is not spelled out.
                    if store == Store::BASE {
                        return Err(Malformed);
                    }
                    (store, update)
                }
                update => (Store::BASE, update),
            };
            Ok((table, store, key, update))
        };
        let (table, store, key, update) =
            read().map_err(|_: Malformed| Error::corrupt("an encoded mutation"))?;
        Ok(Mutation {
            table,
            store,
            key,
            update: PartitionUpdate::decode(bytes.slice_ref(update))?,
        })
    }
}

/// Appends the encoded form of a mutation.
pub fn put_mutation(out: &mut Vec<u8>, table: TableId, update: &EncodedUpdate<'_>) {
    let key = update.key();
    out.extend_from_slice(&table.0);
    out.extend_from_slice(&key.token().0.to_le_bytes());
    put_framed(out, key.bytes());
    if update.store() != Store::BASE {
        out.push(STORE);
        out.extend_from_slice(&update.store().0.to_le_bytes());
    }
    out.extend_from_slice(update.bytes());
}

fn put_deletion(out: &mut Vec<u8>, deletion: Deletion) {
    put_zigzag(out, deletion.timestamp);
    put_zigzag(out, deletion.local_deletion_time);
}

fn read_deletion(reader: &mut Reader<'_>) -> Result<Deletion, Malformed> {
    Ok(Deletion {
        timestamp: reader.zigzag()?,
        local_deletion_time: reader.zigzag()?,
    })
}

/// An encoded update, its head read, its rows still bytes.
#[derive(Clone, Copy)]
pub struct UpdateView<'a> {
    pub deletion: Option<Deletion>,
    /// Encoded.
    pub static_row: Option<&'a [u8]>,
    tombstone_count: u64,
    tombstones: Reader<'a>,
    rows: Reader<'a>,
}

impl<'a> UpdateView<'a> {
    /// Reads the head. Rows are checked as they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<UpdateView<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8()?;
        if flags & !(DELETION | STATIC_ROW | RANGE_TOMBSTONES) != 0 {
            return Err(Malformed);
        }
        let deletion = match flags & DELETION {
            0 => None,
            _ => Some(read_deletion(&mut reader)?),
        };
        let static_row = match flags & STATIC_ROW {
            0 => None,
            _ => Some(reader.framed()?),
        };
        let mut view = UpdateView {
            deletion,
            static_row,
            tombstone_count: 0,
            tombstones: reader,
            rows: reader,
        };
        if flags & RANGE_TOMBSTONES != 0 {
            view.tombstone_count = reader.varint()?;
            view.tombstones = reader;
            if view.tombstone_count == 0 {
                return Err(Malformed);
            }
            for _ in 0..view.tombstone_count {
                read_tombstone(&mut reader)?;
            }
            view.rows = reader;
        }
        Ok(view)
    }

    /// Nothing but rows: the common case.
    #[inline]
    pub fn is_rows_only(&self) -> bool {
        self.deletion.is_none() && self.static_row.is_none() && self.tombstone_count == 0
    }

    /// The range tombstones as they came.
    pub fn range_tombstones(
        &self,
    ) -> impl Iterator<Item = Result<RangeTombstone, Malformed>> + use<'a> {
        let mut reader = self.tombstones;
        (0..self.tombstone_count).map(move |_| {
            let (start, end, deletion) = read_tombstone(&mut reader)?;
            Ok(RangeTombstone {
                start: Clustering::copy_from(start),
                end: Clustering::copy_from(end),
                deletion,
            })
        })
    }

    /// Clustering and encoded row of each row, in order.
    #[inline]
    pub fn rows(&self) -> EncodedRows<'a> {
        EncodedRows {
            reader: self.rows,
            before: None,
        }
    }

    fn to_update(self, source: &Bytes) -> Result<PartitionUpdate, Malformed> {
        let static_row = match self.static_row {
            None => None,
            Some(bytes) => Some(RowView::parse(bytes)?.to_row(Clustering::MIN, source)?),
        };
        let least = self.tombstones.remaining() / RANGE_TOMBSTONE_BYTES_MIN;
        let mut range_tombstones = Vec::with_capacity(least.min(self.tombstone_count as usize));
        let mut reader = self.tombstones;
        for _ in 0..self.tombstone_count {
            let (start, end, deletion) = read_tombstone(&mut reader)?;
            range_tombstones.push(RangeTombstone {
                start: Clustering(source.slice_ref(start)),
                end: Clustering(source.slice_ref(end)),
                deletion,
            });
        }
        let mut rows = Vec::new();
        for row in self.rows() {
            let (clustering, bytes) = row?;
            let clustering = match clustering {
                [0x80] => Clustering::SINGLE,
                other => Clustering(source.slice_ref(other)),
            };
            rows.push(RowView::parse(bytes)?.to_row(clustering, source)?);
        }
        Ok(PartitionUpdate {
            deletion: self.deletion,
            static_row,
            rows,
            range_tombstones,
        })
    }
}

fn read_tombstone<'a>(
    reader: &mut Reader<'a>,
) -> Result<(&'a [u8], &'a [u8], Deletion), Malformed> {
    Ok((reader.framed()?, reader.framed()?, read_deletion(reader)?))
}

/// Reads encoded rows one by one; stops at the first that makes no sense.
#[derive(Clone)]
pub struct EncodedRows<'a> {
    reader: Reader<'a>,
    before: Option<&'a [u8]>,
}

impl<'a> Iterator for EncodedRows<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let mut read = || {
            let clustering = self.reader.framed()?;
            if self.before.is_some_and(|before| before >= clustering) {
                return Err(Malformed);
            }
            self.before = Some(clustering);
            Ok((clustering, self.reader.framed()?))
        };
        let row = read();
        if row.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(row)
    }
}
