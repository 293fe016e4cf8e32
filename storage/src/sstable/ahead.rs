//! Reads ahead, for whoever goes through the blocks of an SSTable one after the other.
//!
//! A call into the kernel costs more than the block that it brings, and a disk more than either. Where the block that is wanted follows the one before it, a stretch of
//! the blob is read at once; its blocks are taken from there as they are asked for, still sealed, so that reading too far costs a copy and nothing else. The index block
//! that says where they are is kept beside them, opened: it has some hundred of them.
//!
//! What must hold: who opens a block looks first whether he may, whether it had to be read or not. No more is kept than may be read ahead, however large a block is.

use palladium_crypto::StructureId;

use super::index::{Location, Node};

/// What was read ahead of one SSTable's data.
pub struct ReadAhead {
    least: usize,
    most: usize,
    /// Bytes that the next read takes, if it goes on where the last one ended.
    next: usize,
    /// Where `bytes` stand in the blob.
    offset: u64,
    bytes: Vec<u8>,
    /// Where the last read ended.
    end: u64,
    /// Where the last of the blocks ended that were asked for.
    reached: u64,
    /// Up to there blocks are read one by one: a longer read has failed.
    trouble: u64,
    /// The index block used last, and its number.
    node: Option<(u32, Node)>,
}

impl ReadAhead {
    /// For whoever may stop soon: twice as much with each read that follows the one before, up to `most` bytes.
    pub fn growing(most: usize) -> ReadAhead {
        ReadAhead::between(0, most)
    }

    /// For whoever reads all of it: `most` bytes each time.
    pub fn steady(most: usize) -> ReadAhead {
        ReadAhead::between(most, most)
    }

    fn between(least: usize, most: usize) -> ReadAhead {
        ReadAhead {
            least,
            most,
            next: least,
            offset: 0,
            bytes: Vec::new(),
            end: 0,
            reached: 0,
            trouble: 0,
            node: None,
        }
    }

    /// An index block, if it is the one that was used last.
    pub(super) fn node(&self, block: u32) -> Option<Node> {
        let (kept, node) = self.node.as_ref()?;
        (*kept == block).then(|| node.clone())
    }

    /// Keeps an index block.
    pub(super) fn keep_node(&mut self, block: u32, node: &Node) {
        self.node = Some((block, node.clone()));
    }

    /// A block as it lies in the blob, if it has been read.
    pub(super) fn block(&mut self, location: Location) -> Option<Vec<u8>> {
        let begin = location.offset.checked_sub(self.offset)?;
        let begin = usize::try_from(begin).ok()?;
        let end = begin.checked_add(location.sealed_bytes)?;
        let block = self.bytes.get(begin..end)?.to_vec();
        self.reach(location);
        Some(block)
    }

    fn reach(&mut self, location: Location) {
        let end = location.offset.saturating_add(location.sealed_bytes as u64);
        self.reached = self.reached.max(end);
    }

    /// How far into the blob its blocks have been asked for.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// How many bytes are to be read from a block's first one on, of a blob of `size` bytes; at least the block.
    pub(super) fn stretch(&self, location: Location, size: u64) -> usize {
        // What was read last ends within the block, or just before it.
        let follows = (self.offset..=self.end).contains(&location.offset);
        let wanted = match follows {
            _ if location.offset < self.trouble => 0,
            true => self.next,
            false => self.least,
        };
        let left = size.saturating_sub(location.offset);
        let stretch = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        stretch.max(location.sealed_bytes)
    }

    /// An empty buffer to read into, which has been one of its own.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        buffer
    }

    /// A stretch from this block on could not be read: what is in it is read block by block, so that the one that is damaged is met by who asks for it.
    pub(super) fn failed(&mut self, structure: StructureId, location: Location, stretch: usize) {
        tracing::warn!(%structure, offset = location.offset, bytes = stretch, "a read ahead has failed; these blocks are read one by one");
        self.trouble = location.offset.saturating_add(stretch as u64);
    }

    /// Keeps what was read from a block's first byte on, and gives the block.
    pub(super) fn keep(&mut self, location: Location, bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.next = (2 * bytes.len()).clamp(self.least, self.most);
        self.offset = location.offset;
        self.end = location.offset.saturating_add(bytes.len() as u64);
        if bytes.len() == location.sealed_bytes {
            self.bytes = Vec::new();
            self.reach(location);
            return Some(bytes);
        }
        self.bytes = bytes;
        self.block(location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, sealed_bytes: usize) -> Location {
        Location {
            offset,
            sealed_bytes,
        }
    }

    /// Reads a block as the reader does, and says how much was read for it.
    fn read(ahead: &mut ReadAhead, blob: &[u8], location: Location) -> usize {
        let wanted = &blob[location.offset as usize..][..location.sealed_bytes];
        if let Some(block) = ahead.block(location) {
            assert_eq!(block, wanted);
            return 0;
        }
        let stretch = ahead.stretch(location, blob.len() as u64);
        let mut buffer = ahead.buffer();
        buffer.extend_from_slice(&blob[location.offset as usize..][..stretch]);
        assert_eq!(ahead.keep(location, buffer).unwrap(), wanted);
        stretch
    }

    #[test]
    fn who_goes_on_reads_more_each_time_and_who_jumps_begins_anew() {
        let blob: Vec<u8> = (0..10_000u32).map(|byte| byte as u8).collect();
        let mut ahead = ReadAhead::growing(1_000);
        let mut reads = Vec::new();
        for block in 0..30 {
            reads.push(read(&mut ahead, &blob, at(100 + block * 100, 100)));
        }
        reads.retain(|read| *read > 0);
        assert_eq!(reads, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(ahead.reached(), 3_100, "not what was read too far");
        assert_eq!(read(&mut ahead, &blob, at(9_000, 100)), 100);
        assert_eq!(read(&mut ahead, &blob, at(9_100, 100)), 200);
        assert_eq!(read(&mut ahead, &blob, at(9_300, 300)), 400);
        // Not beyond the blob's end, and never less than the block.
        assert_eq!(read(&mut ahead, &blob, at(9_700, 300)), 300);
        assert_eq!(read(&mut ahead, &blob, at(50, 5_000)), 5_000);
        // A block is not kept beside itself; the one behind it follows all the same.
        assert_eq!(ahead.bytes.capacity(), 0);
        assert_eq!(read(&mut ahead, &blob, at(5_050, 100)), 1_000);
    }

    #[test]
    fn a_stretch_that_cannot_be_read_is_read_block_by_block_and_what_is_behind_it_as_ever() {
        let blob = vec![7; 10_000];
        let mut ahead = ReadAhead::steady(1_000);
        assert_eq!(read(&mut ahead, &blob, at(0, 100)), 1_000);
        ahead.failed(StructureId([1; 16]), at(1_000, 100), 1_000);
        for block in 10..20 {
            assert_eq!(read(&mut ahead, &blob, at(block * 100, 100)), 100);
        }
        assert_eq!(read(&mut ahead, &blob, at(2_000, 100)), 1_000);
    }

    #[test]
    fn who_reads_all_reads_as_much_from_the_first_block_on() {
        let blob = vec![7; 10_000];
        let mut ahead = ReadAhead::steady(1_000);
        let reads = (0..100).map(|block| read(&mut ahead, &blob, at(block * 100, 100)));
        assert_eq!(reads.filter(|read| *read > 0).count(), 10);
        assert_eq!(read(&mut ahead, &blob, at(150, 100)), 1_000);
    }
}
