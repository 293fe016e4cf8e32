//! RESULT Rows, written as the rows are found.
//!
//! ```text
//! | 2 [int] | metadata | rows [int] | rows x columns x cell [bytes] |
//!                        ^ patched by finish
//! ```
//!
//! Nothing is gathered: a cell goes from wherever it lies into the outgoing buffer. The number of rows is written last, in the
//! place kept for it. The paging state stands before the rows, but is known after them: `set_paging_state` opens the gap for it.

use bytes::{BufMut, BytesMut};

use super::metadata::{EncodedMetadata, HAS_MORE_PAGES, Shown};
use super::result::ROWS;
use crate::wire::Version;
use crate::wire::primitive::put_bytes;

/// Which metadata a client gets with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataMode {
    Full,
    /// The client asked to skip it and remembers the right one.
    Skip,
    /// v5: the client remembers another; it gets the full one and its new id.
    Changed,
}

/// Writes one Rows message into a buffer.
#[must_use = "without finish the message says that it has no rows"]
pub struct RowsWriter<'a> {
    out: &'a mut BytesMut,
    /// Where the metadata's flags are.
    flags_at: usize,
    /// Where the number of rows goes.
    rows_at: usize,
    rows: i32,
    columns: usize,
    cells: usize,
}

impl<'a> RowsWriter<'a> {
    /// Writes everything before the first row.
    pub fn begin(
        out: &'a mut BytesMut,
        version: Version,
        metadata: &EncodedMetadata,
        mode: MetadataMode,
        paging_state: Option<&[u8]>,
    ) -> Self {
        let shown = match mode {
            MetadataMode::Skip => Shown::Nothing,
            MetadataMode::Changed if version >= Version::V5 => Shown::Changed,
            MetadataMode::Full | MetadataMode::Changed => Shown::All,
        };
        out.put_i32(ROWS);
        let flags_at = out.len();
        metadata.put(version, paging_state, shown, out);
        let rows_at = out.len();
        out.put_i32(0);
        Self {
            out,
            flags_at,
            rows_at,
            rows: 0,
            columns: metadata.columns(),
            cells: 0,
        }
    }

    /// The next cell of the row; `None` is null.
    #[inline]
    pub fn cell(&mut self, value: Option<&[u8]>) {
        put_bytes(self.out, value);
        self.cells += 1;
    }

    /// The next cell, its bytes appended by `write`.
    #[inline]
    pub fn cell_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let at = self.out.len();
        self.out.put_i32(0);
        write(self.out);
        let length = self.out.len() - at - 4;
        let length =
            i32::try_from(length).expect("a cell stays under 2 GiB: it came in a bounded body");
        self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        self.cells += 1;
    }

    /// All cells of the row are written.
    #[inline]
    pub fn end_row(&mut self) {
        self.rows += 1;
        debug_assert_eq!(
            self.cells,
            self.rows as usize * self.columns,
            "a row has as many cells as the metadata has columns"
        );
    }

    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Bytes written so far, for limits on a page's size.
    pub fn bytes(&self) -> usize {
        self.out.len() - self.flags_at
    }

    /// More pages follow, from that state on. For when this shows only after the rows have been written: they are moved, so
    /// give the state to `begin` if it is known there. Call once, and not if `begin` was given a state.
    pub fn set_paging_state(&mut self, state: &[u8]) {
        let flags = self.flags() | HAS_MORE_PAGES;
        self.out[self.flags_at..self.flags_at + 4].copy_from_slice(&flags.to_be_bytes());
        // After flags and column count.
        let at = self.flags_at + 8;
        let gap = 4 + state.len();
        let end = self.out.len();
        self.out.put_bytes(0, gap);
        self.out.copy_within(at..end, at + gap);
        let length = i32::try_from(state.len()).expect("a paging state is a few hundred bytes");
        self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        self.out[at + 4..at + gap].copy_from_slice(state);
        self.rows_at += gap;
    }

    fn flags(&self) -> i32 {
        let bytes = self.out[self.flags_at..].first_chunk::<4>();
        i32::from_be_bytes(*bytes.expect("begin wrote the flags"))
    }

    /// Writes the number of rows, and returns it.
    pub fn finish(self) -> usize {
        self.out[self.rows_at..self.rows_at + 4].copy_from_slice(&self.rows.to_be_bytes());
        self.rows as usize
    }
}
