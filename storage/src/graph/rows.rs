//! Rows of equal length that grow in number: in chunks, so that growing moves nothing and leaves no copy behind. They are wiped when they go: vectors are a table's
//! plaintext, and who is linked to whom says how they lie.

use zeroize::{DefaultIsZeroes, Zeroize};

/// Rows of a chunk.
const CHUNK_ROWS: usize = 1024;

pub(super) struct Rows<T: DefaultIsZeroes> {
    width: usize,
    count: usize,
    chunks: Vec<Box<[T]>>,
}

impl<T: DefaultIsZeroes> Rows<T> {
    pub(super) fn new(width: usize) -> Rows<T> {
        Rows {
            width,
            count: 0,
            chunks: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_ROWS * self.width * size_of::<T>()
    }

    /// Adds a row, which begins as `values` says and goes on with defaults.
    pub(super) fn push(&mut self, values: &[T]) -> u32 {
        if self.count == self.chunks.len() * CHUNK_ROWS {
            let chunk = vec![T::default(); CHUNK_ROWS * self.width];
            self.chunks.push(chunk.into_boxed_slice());
        }
        let id = self.count as u32;
        self.count += 1;
        self.row_mut(id)[..values.len()].copy_from_slice(values);
        id
    }

    pub(super) fn row(&self, id: u32) -> &[T] {
        let (chunk, place) = self.place(id);
        &self.chunks[chunk][place..place + self.width]
    }

    pub(super) fn row_mut(&mut self, id: u32) -> &mut [T] {
        let (chunk, place) = self.place(id);
        &mut self.chunks[chunk][place..place + self.width]
    }

    fn place(&self, id: u32) -> (usize, usize) {
        let id = id as usize;
        (id / CHUNK_ROWS, id % CHUNK_ROWS * self.width)
    }
}

impl<T: DefaultIsZeroes> Drop for Rows<T> {
    fn drop(&mut self) {
        for chunk in &mut self.chunks {
            chunk[..].zeroize();
        }
    }
}
