//! The closed list of bytes that are written in the clear.
//!
//! `Public` has private bytes and one constructor for each thing on FORMAT.md's list, and each constructor takes the typed thing,
//! never raw bytes. Whoever wants to write something else unsealed has to come here and argue.
//!
//! On the list: magic numbers, format versions, flags; epochs, incarnations, generations, sequences; ids, kinds, levels; sizes,
//! offsets, counts, positions, ordinals; checksums and hashes of bytes that are sealed or public; KMS key names, wrapped keys, key
//! versions, fingerprints; zero padding.

use palladium_crypto::{StructureId, StructureKind};

use super::fields::FieldWriter;
use super::slot::ROOT_BYTES_MAX;
use crate::commitlog::layout::{GroupHeader, SegmentHeader, Trailer, WatermarkHeader};
use crate::error::{Error, Result};
use crate::manifest::frame::{FrameHead, GenerationHeader};
use crate::root::Root;

/// Bytes that may be in the clear.
#[derive(Clone)]
pub struct Public {
    bytes: Vec<u8>,
}

/// Bytes of a blob's header.
pub const BLOB_HEADER_BYTES: usize = 32;
const BLOB_MAGIC: &[u8; 8] = b"PALLBLB1";
const BLOB_FORMAT_VERSION: u16 = 1;

impl Public {
    /// The header of a blob.
    pub fn blob_header(kind: StructureKind, structure: StructureId) -> Public {
        let mut header = FieldWriter::with_capacity(BLOB_HEADER_BYTES);
        header
            .raw(BLOB_MAGIC)
            .u16(BLOB_FORMAT_VERSION)
            .u8(kind as u8)
            .zero(5);
        header.raw(&structure.0);
        Public::from_fields(header)
    }

    /// Lengths of sealed blocks in a row, four bytes each: sizes, so public.
    pub fn block_lengths(lengths: &[u32]) -> Public {
        let mut bytes = FieldWriter::with_capacity(lengths.len() * 4);
        for length in lengths {
            bytes.u32(*length);
        }
        Public::from_fields(bytes)
    }

    /// Zero bytes.
    pub fn padding(count: usize) -> Public {
        Public {
            bytes: vec![0; count],
        }
    }

    /// The header of a log segment.
    pub fn segment_header(header: &SegmentHeader) -> Public {
        Public {
            bytes: header.encode(),
        }
    }

    /// The header of a log group.
    pub fn group_header(header: &GroupHeader) -> Public {
        Public {
            bytes: header.encode(),
        }
    }

    /// The trailer of a log group.
    pub fn group_trailer(trailer: &Trailer) -> Public {
        Public {
            bytes: trailer.encode(),
        }
    }

    /// The header of a watermark.
    pub fn watermark_header(header: &WatermarkHeader) -> Public {
        Public {
            bytes: header.encode(),
        }
    }

    /// A table's root: key names, wrapped keys, fingerprints, epoch, tag.
    pub fn root(root: &Root) -> Result<Public> {
        let bytes = root.encode();
        if bytes.len() > ROOT_BYTES_MAX {
            return Err(Error::Invalid {
                what: format!(
                    "the root of table {} would have {} bytes",
                    root.table,
                    bytes.len()
                ),
            });
        }
        Ok(Public { bytes })
    }

    /// The header of a manifest generation.
    pub fn generation_header(header: &GenerationHeader) -> Public {
        Public {
            bytes: header.encode(),
        }
    }

    /// A manifest frame up to its record: ids, sizes, levels, wrapped keys.
    pub fn manifest_frame(head: &FrameHead<'_>) -> Public {
        Public {
            bytes: head.encode(),
        }
    }

    /// The checksum that ends a manifest frame.
    pub fn checksum(crc: u32) -> Public {
        Public {
            bytes: crc.to_le_bytes().to_vec(),
        }
    }

    fn from_fields(fields: FieldWriter) -> Public {
        Public {
            bytes: fields.into_bytes(),
        }
    }

    /// The bytes to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Public({} bytes)", self.bytes.len())
    }
}
