//! The floor's reads from the page cache: what no server can avoid that keeps compressed, sealed blocks in a file.
//!
//! Made once, of all rows that are in memory at the first such read: sorted by key, 16 KiB to a block, LZ4, AES-256-GCM. A read finds its block in an index in
//! memory, reads it with one pread, opens it, decompresses it and looks through it from its beginning. Nothing is cached but by the kernel.
//!
//! ```text
//! block   LZ4 ( key length(4) row length(4) key row ... )  tag(16)
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};

const BLOCK_BYTES: usize = 16 << 10;
const LENGTHS_BYTES: usize = 8;

/// Sealed blocks of rows, in a file.
pub struct Blocks {
    file: File,
    key: LessSafeKey,
    index: Vec<Place>,
}

/// Where a block stands, and the first key in it.
struct Place {
    first: Bytes,
    offset: u64,
    length: usize,
}

impl Blocks {
    /// Writes all rows, which are sorted by their keys.
    pub fn write(path: &Path, rows: Vec<(Bytes, Bytes)>) -> io::Result<Blocks> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)?;
        // The key protects nothing; it only costs what a key costs.
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(io::Error::other)?;
        let mut blocks = Blocks {
            file,
            key: LessSafeKey::new(key),
            index: Vec::new(),
        };
        let (mut block, mut first, mut offset) = (Vec::new(), Bytes::new(), 0);
        for (key, row) in rows {
            if block.is_empty() {
                first = key.clone();
            }
            block.extend_from_slice(&(key.len() as u32).to_be_bytes());
            block.extend_from_slice(&(row.len() as u32).to_be_bytes());
            block.extend_from_slice(&key);
            block.extend_from_slice(&row);
            if block.len() >= BLOCK_BYTES {
                offset += blocks.append(&block, &first, offset)?;
                block.clear();
            }
        }
        if !block.is_empty() {
            blocks.append(&block, &first, offset)?;
        }
        Ok(blocks)
    }

    fn append(&mut self, block: &[u8], first: &Bytes, offset: u64) -> io::Result<u64> {
        let mut sealed = compress_prepend_size(block);
        self.key
            .seal_in_place_append_tag(self.nonce(self.index.len()), Aad::empty(), &mut sealed)
            .map_err(io::Error::other)?;
        self.file.write_all_at(&sealed, offset)?;
        self.index.push(Place {
            first: first.clone(),
            offset,
            length: sealed.len(),
        });
        Ok(sealed.len() as u64)
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let after = self.index.partition_point(|place| &place.first[..] <= key);
        let Some(number) = after.checked_sub(1) else {
            return Ok(None);
        };
        let place = &self.index[number];
        let mut sealed = vec![0; place.length];
        self.file.read_exact_at(&mut sealed, place.offset)?;
        let opened = self
            .key
            .open_in_place(self.nonce(number), Aad::empty(), &mut sealed)
            .map_err(io::Error::other)?;
        let block = decompress_size_prepended(opened).map_err(io::Error::other)?;
        Ok(find(&block, key).map(Bytes::copy_from_slice))
    }

    fn nonce(&self, number: usize) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

fn find<'a>(mut block: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    while block.len() >= LENGTHS_BYTES {
        let length =
            |at: usize| u32::from_be_bytes(block[at..at + 4].try_into().expect("four bytes"));
        let (key_bytes, row_bytes) = (length(0) as usize, length(4) as usize);
        let (key, rest) = block[LENGTHS_BYTES..].split_at(key_bytes);
        let (row, rest) = rest.split_at(row_bytes);
        if key == wanted {
            return Some(row);
        }
        block = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_in_its_block_and_no_other_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
        let rows = (0..2_000).map(|number| (key(number * 2), Bytes::from(vec![number as u8; 100])));
        let blocks = Blocks::write(&folder.path().join("blocks"), rows.collect()).expect("blocks");
        assert!(blocks.index.len() > 5);
        for number in 0..2_000 {
            let row = blocks.get(&key(number * 2)).expect("a block");
            assert_eq!(row.as_deref(), Some(&[number as u8; 100][..]));
            assert_eq!(blocks.get(&key(number * 2 + 1)).expect("a block"), None);
        }
    }
}
