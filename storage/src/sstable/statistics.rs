//! What an SSTable holds, in numbers: so that reads can pass it by, and compaction can choose.
//!
//! One sealed block, the statistics component:
//!
//! ```text
//! layout                varints   top offset, top bytes (sealed), index blocks, data blocks, data bytes (sealed, header included),
//!                                 filter blocks and for each of them its sealed bytes
//! created at            zigzag    second of writing
//! partitions, rows, entries, tombstones   varints; entries are livenesses, cells and deletions
//! timestamps            zigzag ×2 oldest and newest, microseconds
//! local deletion times  zigzag ×2 first and last second at which something becomes a tombstone; i64::MAX for what lives on
//! first key, last key   token i64 and framed bytes, each
//! clusterings           framed ×2 the first and the last row position of all partitions
//! histogram             varint bins, then for each zigzag second and varint count, ascending
//! extensions            to the end, tags ascending: tag varint, body framed. 1: varint, sealed bytes of the dictionary
//! ```
//!
//! What must hold: bounds are never too narrow. They may be too wide after values were reconciled away.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::{Reader, put_varint, put_zigzag, varint_len};
use crate::model::{Clustering, Deletion, Liveness, PartitionKey, RowView, StateRef, Token};
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Bins of the histogram of deletion times: a decision about 20 % needs no more.
const HISTOGRAM_BINS_MAX: usize = 100;

/// Seconds of a bin to start with; doubled whenever the bins run out.
const HISTOGRAM_BIN_SECONDS: i64 = 3600;

/// The extension that says how long the dictionary is.
const EXTENSION_DICTIONARY: u64 = 1;

/// Largest plaintext of the component: four keys of 64 KiB and the histogram fit many times over.
pub const STATISTICS_BYTES_MAX: usize = 4 << 20;

/// The numbers. Ranges are (smallest, largest).
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub created_at: i64,
    pub partitions: u64,
    pub rows: u64,
    /// Livenesses, cells and deletions.
    pub entries: u64,
    /// Deletions, and cells that are tombstones.
    pub tombstones: u64,
    /// Microseconds.
    pub timestamps: (i64, i64),
    /// Seconds from which something is a tombstone; `i64::MAX` if it lives on.
    pub local_deletion_times: (i64, i64),
    pub first_key: PartitionKey,
    pub last_key: PartitionKey,
    /// Positions of rows, over all partitions.
    pub clusterings: (Clustering, Clustering),
    /// How many become tombstones up to a second, and after the one before.
    pub deletion_times: Vec<(i64, u64)>,
    /// Where the blocks are.
    pub layout: Layout,
}

impl Statistics {
    /// What they take in memory beside their own size.
    pub fn bytes(&self) -> usize {
        self.first_key.bytes().len()
            + self.last_key.bytes().len()
            + self.clusterings.0.0.len()
            + self.clusterings.1.0.len()
            + size_of_val(&self.deletion_times[..])
            + size_of_val(&self.layout.filter_blocks[..])
    }
}

/// Where the blocks of the other components are, as far as it cannot be read from the index: and thereby how large they must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Where the sealed top begins in the index component; it is the last block there.
    pub top_offset: u64,
    /// Sealed bytes of the top.
    pub top_bytes: u64,
    /// Blocks of the index component before the top.
    pub index_blocks: u32,
    /// Blocks of the data component.
    pub data_blocks: u32,
    /// Bytes of the data component: one that was cut at a block is found out by this.
    pub data_bytes: u64,
    /// Sealed bytes of each block of the filter component.
    pub filter_blocks: Vec<u64>,
    /// Sealed bytes of the dictionary, with which the data component ends; 0: there is none.
    pub dictionary_bytes: u64,
}

impl Layout {
    fn encode(&self, out: &mut Vec<u8>) {
        let (index_blocks, data_blocks) =
            (u64::from(self.index_blocks), u64::from(self.data_blocks));
        let filter_blocks = self.filter_blocks.len() as u64;
        let fields = [
            self.top_offset,
            self.top_bytes,
            index_blocks,
            data_blocks,
            self.data_bytes,
            filter_blocks,
        ];
        for number in fields.iter().chain(&self.filter_blocks) {
            put_varint(out, *number);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Layout {
            top_offset: reader.varint()?,
            top_bytes: reader.varint()?,
            index_blocks: reader.varint_u32()?,
            data_blocks: reader.varint_u32()?,
            data_bytes: reader.varint()?,
            filter_blocks: (0..read_count(reader)?)
                .map(|_| Ok(reader.varint()?))
                .collect::<Result<_>>()?,
            dictionary_bytes: 0,
        })
    }

    fn encode_extensions(&self, out: &mut Vec<u8>) {
        if self.dictionary_bytes > 0 {
            put_varint(out, EXTENSION_DICTIONARY);
            put_varint(out, varint_len(self.dictionary_bytes) as u64);
            put_varint(out, self.dictionary_bytes);
        }
    }

    /// What an older writer did not know of, to the end of the block.
    fn read_extensions(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let mut before = 0;
        while !reader.is_empty() {
            let tag = reader.varint()?;
            let mut body = Reader::new(reader.framed()?);
            if tag <= before || tag != EXTENSION_DICTIONARY {
                return Err(Error::corrupt("statistics: unknown extension"));
            }
            before = tag;
            self.dictionary_bytes = body.varint()?;
            body.finish()?;
            if self.dictionary_bytes == 0 {
                return Err(Error::corrupt("statistics: a dictionary of no bytes"));
            }
        }
        Ok(())
    }
}

/// A count of elements that take a byte each at least, so this many can follow at all.
fn read_count(reader: &mut Reader<'_>) -> Result<usize> {
    usize::try_from(reader.varint()?)
        .ok()
        .filter(|count| *count <= reader.remaining())
        .ok_or_else(|| Error::corrupt("statistics: impossible count"))
}

/// Gathers the numbers while an SSTable is written.
pub struct StatisticsBuilder {
    partitions: u64,
    rows: u64,
    entries: u64,
    tombstones: u64,
    timestamps: (i64, i64),
    local_deletion_times: (i64, i64),
    keys: Option<(PartitionKey, PartitionKey)>,
    clusterings: Option<(Clustering, Clustering)>,
    bins: BTreeMap<i64, u64>,
    bin_seconds: i64,
}

impl Default for StatisticsBuilder {
    fn default() -> Self {
        StatisticsBuilder {
            partitions: 0,
            rows: 0,
            entries: 0,
            tombstones: 0,
            timestamps: (i64::MAX, i64::MIN),
            local_deletion_times: (i64::MAX, i64::MIN),
            keys: None,
            clusterings: None,
            bins: BTreeMap::new(),
            bin_seconds: HISTOGRAM_BIN_SECONDS,
        }
    }
}

impl StatisticsBuilder {
    /// A partition begins.
    pub fn partition(
        &mut self,
        key: &PartitionKey,
        deletion: Option<Deletion>,
        static_row: Option<&[u8]>,
    ) -> Result<()> {
        self.partitions += 1;
        match &mut self.keys {
            Some((_, last)) => last.clone_from(key),
            None => self.keys = Some((key.clone(), key.clone())),
        }
        if let Some(deletion) = deletion {
            self.deletion(deletion);
        }
        match static_row {
            Some(row) => self.content(row),
            None => Ok(()),
        }
    }

    /// A row of it. Rows of one partition come in order.
    pub fn row(&mut self, clustering: &Clustering, encoded: &[u8]) -> Result<()> {
        self.rows += 1;
        match &mut self.clusterings {
            Some((first, last)) => {
                if clustering < first {
                    first.clone_from(clustering);
                }
                if clustering > last {
                    last.clone_from(clustering);
                }
            }
            None => self.clusterings = Some((clustering.clone(), clustering.clone())),
        }
        self.content(encoded)
    }

    /// A deletion of a partition or range.
    pub fn deletion(&mut self, deletion: Deletion) {
        self.tombstones += 1;
        self.entry(deletion.timestamp, deletion.local_deletion_time);
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn content(&mut self, encoded: &[u8]) -> Result<()> {
        let row = RowView::parse(encoded)?;
        if let Some(Liveness {
            timestamp,
            ttl,
            expires_at,
        }) = row.liveness
        {
            self.entry(timestamp, if ttl == 0 { i64::MAX } else { expires_at });
        }
        let complex = row.complex_deletions()?.into_iter();
        for deletion in row
            .deletion
            .into_iter()
            .chain(complex.map(|(_, deletion)| deletion))
        {
            self.deletion(deletion);
        }
        for cell in row.cells() {
            let cell = cell?;
            match cell.state {
                StateRef::Live(_) => self.entry(cell.timestamp, i64::MAX),
                StateRef::Expiring { expires_at, .. } => self.entry(cell.timestamp, expires_at),
                StateRef::Tombstone {
                    local_deletion_time,
                } => {
                    self.tombstones += 1;
                    self.entry(cell.timestamp, local_deletion_time);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, timestamp: i64, local_deletion_time: i64) {
        self.entries += 1;
        widen(&mut self.timestamps, timestamp);
        widen(&mut self.local_deletion_times, local_deletion_time);
        if local_deletion_time < i64::MAX {
            let bin = self.bin_of(local_deletion_time);
            *self.bins.entry(bin).or_default() += 1;
            if self.bins.len() > HISTOGRAM_BINS_MAX {
                self.coarsen();
            }
        }
    }

    /// The last second of the bin a second belongs to.
    fn bin_of(&self, second: i64) -> i64 {
        second
            .div_euclid(self.bin_seconds)
            .saturating_add(1)
            .saturating_mul(self.bin_seconds)
            .saturating_sub(1)
    }

    fn coarsen(&mut self) {
        while self.bins.len() > HISTOGRAM_BINS_MAX / 2 && self.bin_seconds < i64::MAX / 4 {
            self.bin_seconds *= 2;
            for (second, count) in std::mem::take(&mut self.bins) {
                let bin = self.bin_of(second);
                *self.bins.entry(bin).or_default() += count;
            }
        }
    }

    /// The numbers, if there was a partition.
    pub fn finish(self, created_at: i64) -> Option<Statistics> {
        let (first_key, last_key) = self.keys?;
        let none_if_inverted =
            |(low, high): (i64, i64), none: (i64, i64)| if low > high { none } else { (low, high) };
        Some(Statistics {
            created_at,
            partitions: self.partitions,
            rows: self.rows,
            entries: self.entries,
            tombstones: self.tombstones,
            timestamps: none_if_inverted(self.timestamps, (i64::MIN, i64::MIN)),
            local_deletion_times: none_if_inverted(self.local_deletion_times, (i64::MAX, i64::MAX)),
            first_key,
            last_key,
            clusterings: self
                .clusterings
                .unwrap_or((Clustering::MIN, Clustering::MIN)),
            deletion_times: self.bins.into_iter().collect(),
            layout: Layout::default(),
        })
    }
}

fn widen(range: &mut (i64, i64), value: i64) {
    *range = (range.0.min(value), range.1.max(value));
}

impl Statistics {
    /// The plaintext of the component.
    pub fn encode(&self) -> Wiped<Vec<u8>> {
        let strings = [
            self.first_key.bytes().len(),
            self.last_key.bytes().len(),
            self.clusterings.0.0.len(),
            self.clusterings.1.0.len(),
        ];
        let capacity = strings.iter().sum::<usize>()
            + 256
            + self.deletion_times.len() * 20
            + self.layout.filter_blocks.len() * 10;
        let mut out = Wiped::new(Vec::with_capacity(capacity));
        self.layout.encode(&mut out);
        put_zigzag(&mut out, self.created_at);
        for count in [self.partitions, self.rows, self.entries, self.tombstones] {
            put_varint(&mut out, count);
        }
        for (low, high) in [self.timestamps, self.local_deletion_times] {
            put_zigzag(&mut out, low);
            put_zigzag(&mut out, high);
        }
        for key in [&self.first_key, &self.last_key] {
            out.extend_from_slice(&key.token().0.to_le_bytes());
            put_framed(&mut out, key.bytes());
        }
        for clustering in [&self.clusterings.0, &self.clusterings.1] {
            put_framed(&mut out, &clustering.0);
        }
        put_varint(&mut out, self.deletion_times.len() as u64);
        for (second, count) in &self.deletion_times {
            put_zigzag(&mut out, *second);
            put_varint(&mut out, *count);
        }
        self.layout.encode_extensions(&mut out);
        out
    }

    /// Reads them back; keys and clusterings share `plain`.
    pub fn decode(plain: &Bytes) -> Result<Self> {
        let mut reader = Reader::new(plain);
        let mut statistics = Self::read(plain, &mut reader)?;
        statistics.layout.read_extensions(&mut reader)?;
        let (first, last) = (&statistics.first_key, &statistics.last_key);
        if first > last || statistics.clusterings.0 > statistics.clusterings.1 {
            return Err(Error::corrupt("statistics: inverted range"));
        }
        Ok(statistics)
    }

    fn read(plain: &Bytes, reader: &mut Reader<'_>) -> Result<Self> {
        let framed =
            |reader: &mut Reader<'_>| -> Result<Bytes> { Ok(plain.slice_ref(reader.framed()?)) };
        let pair = |reader: &mut Reader<'_>| -> Result<(i64, i64)> {
            Ok((reader.zigzag()?, reader.zigzag()?))
        };
        let key = |reader: &mut Reader<'_>| -> Result<PartitionKey> {
            let token = Token(reader.i64()?);
            Ok(PartitionKey::new(token, framed(reader)?))
        };
        Ok(Statistics {
            layout: Layout::read(reader)?,
            created_at: reader.zigzag()?,
            partitions: reader.varint()?,
            rows: reader.varint()?,
            entries: reader.varint()?,
            tombstones: reader.varint()?,
            timestamps: pair(reader)?,
            local_deletion_times: pair(reader)?,
            first_key: key(reader)?,
            last_key: key(reader)?,
            clusterings: (Clustering(framed(reader)?), Clustering(framed(reader)?)),
            deletion_times: (0..read_count(reader)?)
                .map(|_| Ok((reader.zigzag()?, reader.varint()?)))
                .collect::<Result<_>>()?,
        })
    }

    /// Whether a partition with this token can be here.
    pub fn covers(&self, token: Token) -> bool {
        self.first_key.token() <= token && token <= self.last_key.token()
    }
}

fn put_framed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Row;

    fn sample() -> Statistics {
        let mut builder = StatisticsBuilder::default();
        let key = |n: i64| PartitionKey::new(Token(n), vec![n as u8; 4]);
        let deletion = Deletion {
            timestamp: 77,
            local_deletion_time: 1_700_000_000,
        };
        let mut add = |key, deletion, clustering: &[u8], liveness| {
            let mut row = Row::new(Clustering::copy_from(clustering));
            row.liveness = Some(liveness);
            let mut encoded = Vec::new();
            row.encode(&mut encoded);
            builder.partition(&key, deletion, None).expect("a key");
            builder.row(&row.clustering, &encoded).expect("a row");
        };
        add(key(1), Some(deletion), b"b\x80", Liveness::new(50));
        let expiring = Liveness::expiring(99, 10, 1_800_000_000);
        add(key(2), None, b"a\x80", expiring);
        builder.finish(1_790_000_000).expect("two partitions")
    }

    #[test]
    fn numbers_come_back_as_they_were() {
        let statistics = sample();
        let plain = Bytes::copy_from_slice(&statistics.encode());
        assert_eq!(Statistics::decode(&plain).expect("whole"), statistics);
        assert_eq!(statistics.timestamps, (50, 99));
        assert_eq!(statistics.local_deletion_times, (1_700_000_000, i64::MAX));
        assert_eq!(
            (
                statistics.partitions,
                statistics.rows,
                statistics.entries,
                statistics.tombstones
            ),
            (2, 2, 3, 1)
        );
        assert_eq!(&statistics.clusterings.0.0[..], b"a\x80");
        assert_eq!(statistics.deletion_times.len(), 2);
    }

    #[test]
    fn a_dictionary_is_named_behind_the_rest_and_what_nobody_knows_is_refused() {
        let mut statistics = sample();
        let without = statistics.encode().to_vec();
        statistics.layout.dictionary_bytes = 40_000;
        let plain = statistics.encode().to_vec();
        let decode = |plain: &[u8]| Statistics::decode(&Bytes::copy_from_slice(plain));
        assert_eq!(plain[..without.len()], without);
        assert_eq!(decode(&plain).expect("whole"), statistics);
        for wrong in [
            &[2, 1, 5][..],
            &[1, 1, 0],
            &[1, 2, 5, 5],
            &[1, 1, 5, 1, 1, 5],
            &[0, 0],
            &[1, 9],
        ] {
            assert!(decode(&[&without, wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn mutated_numbers_never_panic() {
        let plain = sample().encode().to_vec();
        for at in 0..plain.len() {
            assert!(Statistics::decode(&Bytes::copy_from_slice(&plain[..at])).is_err());
            for bit in 0..8 {
                let mut bad = plain.clone();
                bad[at] ^= 1 << bit;
                let _ = Statistics::decode(&Bytes::from(bad));
            }
        }
    }

    #[test]
    fn the_histogram_stays_small_and_loses_no_tombstone() {
        let mut builder = StatisticsBuilder::default();
        let key = PartitionKey::new(Token(0), "k");
        builder.partition(&key, None, None).expect("a key");
        for n in 0..50_000i64 {
            builder.deletion(Deletion {
                timestamp: n,
                local_deletion_time: n * 7919,
            });
        }
        let extreme = [i64::MIN, i64::MAX - 1];
        for local_deletion_time in extreme {
            builder.deletion(Deletion {
                timestamp: 0,
                local_deletion_time,
            });
        }
        let statistics = builder.finish(0).expect("a partition");
        assert!(statistics.deletion_times.len() <= HISTOGRAM_BINS_MAX);
        let counted: u64 = statistics
            .deletion_times
            .iter()
            .map(|(_, count)| count)
            .sum();
        assert_eq!(counted, 50_002);
        assert!(statistics.deletion_times.is_sorted());
    }
}
