//! Which packing the blocks of a new SSTable get.
//!
//! Index, top and statistics are LZ4's: there is little of them. Data blocks of a table with zstd wait for their dictionary: until there are enough of them to
//! train one, or until there are no more.
//!
//! What must hold: what is packed before a dictionary is chosen does not need it; only one is ever chosen.

use super::dictionary::{SAMPLES_BYTES_MAX, train};
use super::envelope::{Packing, pack};
use super::zstd::{Compressor, Dictionary};
use crate::Result;
use crate::options::Compression;
use crate::wiped::Wiped;

/// Packs blocks.
pub struct Packer {
    compression: Compression,
    zstd: Option<Zstd>,
}

/// What is known once it is decided.
struct Zstd {
    compressor: Compressor,
    dictionary: Option<Wiped<Vec<u8>>>,
}

impl Packer {
    pub fn new(compression: Compression) -> Self {
        Packer {
            compression,
            zstd: None,
        }
    }

    /// Whether data blocks, of which so many plaintext bytes are there, have to wait for others.
    pub fn waits(&self, bytes: usize) -> bool {
        matches!(self.compression, Compression::Zstd { .. })
            && self.zstd.is_none()
            && bytes < SAMPLES_BYTES_MAX
    }

    /// Looks at the first data blocks. `is_all`: there are no others.
    pub fn decide(&mut self, samples: &[&[u8]], is_all: bool) -> Result<()> {
        if let (Compression::Zstd { level }, None) = (self.compression, &self.zstd) {
            // Of a large row the beginning is as good as all of it.
            let cut = |sample: &&'_ [u8]| sample.len().min(SAMPLES_BYTES_MAX / 16);
            let samples: Vec<&[u8]> = samples.iter().map(|one| &one[..cut(one)]).collect();
            let dictionary = train(&samples, is_all, level)?;
            let content = dictionary.as_ref().map(|content| &content[..]);
            self.zstd = Some(Zstd {
                compressor: Compressor::new(level, content)?,
                dictionary,
            });
        }
        Ok(())
    }

    /// A data block as it is sealed.
    pub fn data(&mut self, plain: &[u8]) -> Wiped<Vec<u8>> {
        match &mut self.zstd {
            None => self.other(plain),
            Some(zstd) => pack(
                plain,
                match zstd.dictionary {
                    Some(_) => Packing::ZstdDictionary(&mut zstd.compressor),
                    None => Packing::Zstd(&mut zstd.compressor),
                },
            ),
        }
    }

    /// A block that is not of data.
    pub fn other(&self, plain: &[u8]) -> Wiped<Vec<u8>> {
        pack(
            plain,
            match self.compression {
                Compression::Off => Packing::Stored,
                Compression::Lz4 | Compression::Zstd { .. } => Packing::Lz4,
            },
        )
    }

    /// Whether data blocks refer to a dictionary.
    pub fn has_dictionary(&self) -> bool {
        self.zstd
            .as_ref()
            .is_some_and(|zstd| zstd.dictionary.is_some())
    }

    /// The dictionary's block as it is sealed, if there is one.
    pub fn dictionary(&self) -> Result<Option<Wiped<Vec<u8>>>> {
        let (Compression::Zstd { level }, Some(zstd)) = (self.compression, &self.zstd) else {
            return Ok(None);
        };
        let Some(content) = &zstd.dictionary else {
            return Ok(None);
        };
        let mut compressor = Compressor::new(level, None)?;
        let plain = Dictionary::encode(content);
        Ok(Some(pack(&plain, Packing::Zstd(&mut compressor))))
    }
}
