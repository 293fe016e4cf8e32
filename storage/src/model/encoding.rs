//! A row as bytes: one form for the commit log, the memtable and the SSTable.
//!
//! ```text
//! flags        u8      0x01 liveness  0x02 liveness has an expiry  0x04 deletion  0x08 complex deletions; other bits are zero
//! cells        u8      how many cells follow; 255 means "255 or more"
//! base         i64     little-endian: the liveness's timestamp, else the deletion's, else that of the first cell
//! [ttl         varint  expiry  zigzag]                       if 0x02
//! [timestamp   zigzag  local deletion time  zigzag]          if 0x04
//! [count       varint, then each: column varint, timestamp zigzag, local deletion time zigzag]   if 0x08; columns as differences
//! cells, to the end of the bytes, each:
//!   flags      u8      0x03 state: 0 live, 1 expiring, 2 tombstone   0x04 own timestamp   0x08 path
//!                      0x10 expiring as the liveness does   0xE0 column minus the column before: 0 to 6, or 7: a varint follows
//!   [column    varint] [timestamp zigzag] [path framed]
//!   [ttl varint, expiry zigzag]                              if expiring, unless 0x10
//!   local deletion time zigzag                               if a tombstone, else
//!   value      framed
//! ```
//!
//! Timestamps are differences from `base`, times in seconds differences from the second of `base`; differences wrap, so every number survives.
//! The clustering is not part of it: whoever keeps the row keeps its position beside it, and a length around it.

use super::{Cell, CellRef, CellState, Clustering, ColumnId, Deletion, Liveness, Row, StateRef};
use crate::codec::{
    Malformed, NUMBER_BYTES_MAX, Reader, SMALL_NUMBER_BYTES_MAX, framed_len, put_framed,
    put_varint, put_zigzag,
};
use crate::{Error, Result};
use bytes::Bytes;
use std::borrow::Cow;

const LIVENESS: u8 = 0x01;
const LIVENESS_EXPIRES: u8 = 0x02;
const DELETION: u8 = 0x04;
const COMPLEX_DELETIONS: u8 = 0x08;

const STATE: u8 = 0x03;
const LIVE: u8 = 0;
const EXPIRING: u8 = 1;
const TOMBSTONE: u8 = 2;
const OWN_TIMESTAMP: u8 = 0x04;
const PATH: u8 = 0x08;
const EXPIRES_AS_LIVENESS: u8 = 0x10;
const COLUMN_SHIFT: u32 = 5;
const COLUMN_FOLLOWS: u8 = 7;

/// Where the number of cells stands, filled in last.
const CELLS_AT: usize = 1;
/// The fewest bytes a cell can take: flags and an empty value.
const CELL_BYTES_MIN: usize = 2;

impl Row {
    /// Appends the encoded form, without the clustering.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut row = Cow::Borrowed(self);
        if !self.is_sorted() {
            row.to_mut().sort();
        }
        let first = row.cells.first().map_or(0, |cell| cell.timestamp);
        let mut writer = RowWriter::new(
            out,
            first,
            row.liveness,
            row.deletion,
            &row.complex_deletions,
        );
        for cell in &row.cells {
            writer.cell(cell.as_ref());
        }
        writer.finish();
    }

    /// The encoded form is no longer than this.
    pub fn encoded_bytes_max(&self) -> usize {
        const HEAD: usize = 2 + size_of::<i64>() + 5 * NUMBER_BYTES_MAX;
        // Flags, column and timestamp.
        const CELL: usize = 1 + SMALL_NUMBER_BYTES_MAX + NUMBER_BYTES_MAX;
        let cells = self.cells.iter().map(|cell| {
            let state = match &cell.state {
                CellState::Live(value) => framed_len(value),
                CellState::Expiring { value, .. } => {
                    SMALL_NUMBER_BYTES_MAX + NUMBER_BYTES_MAX + framed_len(value)
                }
                CellState::Tombstone { .. } => NUMBER_BYTES_MAX,
            };
            CELL + framed_len(&cell.path) + state
        });
        HEAD + 3 * NUMBER_BYTES_MAX * self.complex_deletions.len() + cells.sum::<usize>()
    }

    /// Reads the encoded form back; paths and values are slices of `bytes`.
    pub fn decode(clustering: Clustering, bytes: Bytes) -> Result<Row> {
        RowView::parse(&bytes)
            .and_then(|view| view.to_row(clustering, &bytes))
            .map_err(|_| Error::corrupt("an encoded row"))
    }
}

/// Writes a row cell by cell.
pub struct RowWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    base: i64,
    liveness: Option<Liveness>,
    column: u32,
    cells: usize,
}

impl<'a> RowWriter<'a> {
    /// Starts a row at the end of `out`. `first_timestamp` is that of its first cell: a good base where nothing better is known.
    pub fn new(
        out: &'a mut Vec<u8>,
        first_timestamp: i64,
        liveness: Option<Liveness>,
        deletion: Option<Deletion>,
        complex_deletions: &[(ColumnId, Deletion)],
    ) -> RowWriter<'a> {
        let base = liveness
            .map(|liveness| liveness.timestamp)
            .or(deletion.map(|deletion| deletion.timestamp))
            .unwrap_or(first_timestamp);
        let expiry = liveness.filter(|liveness| liveness.ttl != 0 || liveness.expires_at != 0);
        let mut flags = 0;
        flags |= if liveness.is_some() { LIVENESS } else { 0 };
        flags |= if expiry.is_some() {
            LIVENESS_EXPIRES
        } else {
            0
        };
        flags |= if deletion.is_some() { DELETION } else { 0 };
        flags |= if complex_deletions.is_empty() {
            0
        } else {
            COMPLEX_DELETIONS
        };

        let start = out.len();
        out.extend_from_slice(&[flags, 0]);
        out.extend_from_slice(&base.to_le_bytes());
        let mut writer = RowWriter {
            out,
            start,
            base,
            liveness,
            column: 0,
            cells: 0,
        };
        if let Some(liveness) = expiry {
            put_varint(writer.out, u64::from(liveness.ttl));
            writer.seconds(liveness.expires_at);
        }
        if let Some(deletion) = deletion {
            writer.deletion(deletion);
        }
        if !complex_deletions.is_empty() {
            put_varint(writer.out, complex_deletions.len() as u64);
            let mut before = 0;
            for (column, deletion) in complex_deletions {
                put_varint(writer.out, u64::from(column.0.wrapping_sub(before)));
                writer.deletion(*deletion);
                before = column.0;
            }
        }
        writer
    }

    fn deletion(&mut self, deletion: Deletion) {
        put_zigzag(self.out, deletion.timestamp.wrapping_sub(self.base));
        self.seconds(deletion.local_deletion_time);
    }

    fn seconds(&mut self, seconds: i64) {
        put_zigzag(self.out, seconds.wrapping_sub(second_of(self.base)));
    }

    /// Appends a cell; they come in order.
    #[inline]
    pub fn cell(&mut self, cell: CellRef<'_>) {
        let step = cell.column.0.wrapping_sub(self.column);
        let inline = u32::from(COLUMN_FOLLOWS).min(step) as u8;
        let (state, as_liveness) = match cell.state {
            StateRef::Live(_) => (LIVE, false),
            StateRef::Expiring {
                ttl, expires_at, ..
            } => (
                EXPIRING,
                self.liveness
                    .is_some_and(|own| own.ttl == ttl && own.expires_at == expires_at),
            ),
            StateRef::Tombstone { .. } => (TOMBSTONE, false),
        };
        let mut flags = state | (inline << COLUMN_SHIFT);
        flags |= if cell.timestamp == self.base {
            0
        } else {
            OWN_TIMESTAMP
        };
        flags |= if cell.path.is_empty() { 0 } else { PATH };
        flags |= if as_liveness { EXPIRES_AS_LIVENESS } else { 0 };
        self.out.push(flags);
        if inline == COLUMN_FOLLOWS {
            put_varint(self.out, u64::from(step));
        }
        if flags & OWN_TIMESTAMP != 0 {
            put_zigzag(self.out, cell.timestamp.wrapping_sub(self.base));
        }
        if flags & PATH != 0 {
            put_framed(self.out, cell.path);
        }
        match cell.state {
            StateRef::Live(value) => put_framed(self.out, value),
            StateRef::Expiring {
                value,
                ttl,
                expires_at,
            } => {
                if !as_liveness {
                    put_varint(self.out, u64::from(ttl));
                    self.seconds(expires_at);
                }
                put_framed(self.out, value);
            }
            StateRef::Tombstone {
                local_deletion_time,
            } => self.seconds(local_deletion_time),
        }
        self.column = cell.column.0;
        self.cells += 1;
    }

    /// Completes the row.
    pub fn finish(self) {
        self.out[self.start + CELLS_AT] = self.cells.min(255) as u8;
    }
}

/// Whether nothing but a value follows a cell's flags, written at the base.
fn is_only_value(flags: u8) -> bool {
    let is_live = flags & STATE == LIVE
        || flags & (STATE | EXPIRES_AS_LIVENESS) == EXPIRING | EXPIRES_AS_LIVENESS;
    is_live && flags & (OWN_TIMESTAMP | PATH) == 0 && flags >> COLUMN_SHIFT != COLUMN_FOLLOWS
}

/// The second a timestamp in microseconds lies in.
fn second_of(timestamp: i64) -> i64 {
    timestamp.div_euclid(1_000_000)
}

/// An encoded row, its head read, its cells still bytes.
#[derive(Clone, Copy)]
pub struct RowView<'a> {
    pub liveness: Option<Liveness>,
    pub deletion: Option<Deletion>,
    base: i64,
    cell_count: u8,
    /// The encoded complex deletions, checked; empty if there are none.
    complex: &'a [u8],
    cells: &'a [u8],
}

impl<'a> RowView<'a> {
    /// Reads the head. The cells are checked one by one as they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<RowView<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        let [flags, cell_count] = reader.array()?;
        let base = reader.i64()?;
        let known = LIVENESS | LIVENESS_EXPIRES | DELETION | COMPLEX_DELETIONS;
        if flags & !known != 0 || flags & (LIVENESS | LIVENESS_EXPIRES) == LIVENESS_EXPIRES {
            return Err(Malformed);
        }
        let mut view = RowView {
            liveness: (flags & LIVENESS != 0).then(|| Liveness::new(base)),
            deletion: None,
            base,
            cell_count,
            complex: &[],
            cells: &[],
        };
        if flags & LIVENESS_EXPIRES != 0 {
            let ttl = reader.varint_u32()?;
            view.liveness = Some(Liveness::expiring(base, ttl, view.seconds(&mut reader)?));
        }
        if flags & DELETION != 0 {
            view.deletion = Some(view.read_deletion(&mut reader)?);
        }
        if flags & COMPLEX_DELETIONS != 0 {
            let all = reader.rest();
            view.skip_complex(&mut reader)?;
            view.complex = &all[..all.len() - reader.remaining()];
        }
        view.cells = reader.rest();
        Ok(view)
    }

    fn seconds(&self, reader: &mut Reader<'_>) -> Result<i64, Malformed> {
        Ok(second_of(self.base).wrapping_add(reader.zigzag()?))
    }

    fn read_deletion(&self, reader: &mut Reader<'_>) -> Result<Deletion, Malformed> {
        Ok(Deletion {
            timestamp: self.base.wrapping_add(reader.zigzag()?),
            local_deletion_time: self.seconds(reader)?,
        })
    }

    fn skip_complex(&self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let count = reader.varint()?;
        if count == 0 {
            return Err(Malformed);
        }
        let mut column = 0;
        for index in 0..count {
            self.next_complex(reader, index > 0, &mut column)?;
        }
        Ok(())
    }

    fn next_complex(
        &self,
        reader: &mut Reader<'_>,
        follows: bool,
        column: &mut u32,
    ) -> Result<Deletion, Malformed> {
        let step = reader.varint_u32()?;
        if follows && step == 0 {
            return Err(Malformed);
        }
        *column = column.checked_add(step).ok_or(Malformed)?;
        self.read_deletion(reader)
    }

    /// Some complex column was deleted.
    #[inline]
    pub fn has_complex_deletions(&self) -> bool {
        !self.complex.is_empty()
    }

    /// The complex deletions, in order of their columns.
    pub fn complex_deletions(&self) -> Result<Vec<(ColumnId, Deletion)>, Malformed> {
        if self.complex.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = Reader::new(self.complex);
        let count = reader.varint()?;
        let mut column = 0;
        (0..count)
            .map(|index| {
                let deletion = self.next_complex(&mut reader, index > 0, &mut column)?;
                Ok((ColumnId(column), deletion))
            })
            .collect()
    }

    /// The cells, in order, borrowed.
    #[inline]
    pub fn cells(&self) -> Cells<'a> {
        Cells {
            reader: Reader::new(self.cells),
            base: self.base,
            liveness: self.liveness,
            declared: self.cell_count,
            seen: 0,
            column: 0,
            path: &[],
        }
    }

    /// Whether nothing of an older row is left once this one is written over it: the two have the same cells, or this one more behind them, and are plain enough
    /// for that to be seen without reading values. False does not say that something is left.
    pub fn replaces(&self, older: &RowView<'_>) -> Result<bool, Malformed> {
        let is_plain = |row: &RowView<'_>| row.deletion.is_none() && row.complex.is_empty();
        let lives_on = older.liveness.is_none() || self.liveness.is_some();
        if self.base <= older.base || !lives_on || !is_plain(self) || !is_plain(older) {
            return Ok(false);
        }
        let (mut own, mut others) = (Reader::new(self.cells), Reader::new(older.cells));
        while !others.is_empty() {
            if own.is_empty() {
                return Ok(false);
            }
            let (cell, other) = (own.u8()?, others.u8()?);
            let is_alike = cell >> COLUMN_SHIFT == other >> COLUMN_SHIFT;
            if !is_alike || !is_only_value(cell) || !is_only_value(other) {
                return Ok(false);
            }
            own.framed()?;
            others.framed()?;
        }
        Ok(true)
    }

    /// The row owned: paths and values are slices of `source`, the bytes this view was parsed from (or those around them).
    pub fn to_row(&self, clustering: Clustering, source: &Bytes) -> Result<Row, Malformed> {
        let expected = usize::from(self.cell_count).min(self.cells.len() / CELL_BYTES_MIN);
        let mut cells: Vec<Cell> = Vec::with_capacity(expected);
        for cell in self.cells() {
            cells.push(cell?.to_cell(source));
        }
        Ok(Row {
            clustering,
            liveness: self.liveness,
            deletion: self.deletion,
            complex_deletions: self.complex_deletions()?,
            cells,
        })
    }
}

/// Reads cells one by one; stops at the first that makes no sense.
#[derive(Clone)]
pub struct Cells<'a> {
    reader: Reader<'a>,
    base: i64,
    liveness: Option<Liveness>,
    declared: u8,
    seen: usize,
    column: u32,
    path: &'a [u8],
}

impl<'a> Cells<'a> {
    #[inline]
    fn read(&mut self) -> Result<CellRef<'a>, Malformed> {
        let reader = &mut self.reader;
        let flags = reader.u8()?;
        let step = match flags >> COLUMN_SHIFT {
            COLUMN_FOLLOWS => reader.varint_u32()?,
            inline => u32::from(inline),
        };
        let column = self.column.checked_add(step).ok_or(Malformed)?;
        let timestamp = match flags & OWN_TIMESTAMP {
            0 => self.base,
            _ => self.base.wrapping_add(reader.zigzag()?),
        };
        let path = match flags & PATH {
            0 => &[][..],
            _ => reader.framed()?,
        };
        if step == 0 && self.seen > 0 && path <= self.path {
            return Err(Malformed);
        }
        let second = || second_of(self.base);
        let state = match flags & (STATE | EXPIRES_AS_LIVENESS) {
            LIVE => StateRef::Live(reader.framed()?),
            EXPIRING => StateRef::Expiring {
                ttl: reader.varint_u32()?,
                expires_at: second().wrapping_add(reader.zigzag()?),
                value: reader.framed()?,
            },
            TOMBSTONE => StateRef::Tombstone {
                local_deletion_time: second().wrapping_add(reader.zigzag()?),
            },
            shared if shared == EXPIRING | EXPIRES_AS_LIVENESS => {
                let liveness = self.liveness.ok_or(Malformed)?;
                StateRef::Expiring {
                    ttl: liveness.ttl,
                    expires_at: liveness.expires_at,
                    value: reader.framed()?,
                }
            }
            _ => return Err(Malformed),
        };
        (self.column, self.path) = (column, path);
        self.seen += 1;
        Ok(CellRef {
            column: ColumnId(column),
            path,
            timestamp,
            state,
        })
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<CellRef<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            let told = self.seen.min(255) == usize::from(self.declared);
            // Said once, then over.
            self.declared = self.seen.min(255) as u8;
            return if told { None } else { Some(Err(Malformed)) };
        }
        let cell = self.read();
        if cell.is_err() {
            self.reader = Reader::new(&[]);
            self.declared = self.seen.min(255) as u8;
        }
        Some(cell)
    }
}
