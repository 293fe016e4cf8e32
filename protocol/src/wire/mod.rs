//! Bytes to frames and back: the lowest layer of the protocol.
//!
//! One message is one *envelope*: a 9-byte header and a body. All numbers are big-endian.
//!
//! ```text
//!  0        1        2                 4        5                                   9
//!  +--------+--------+--------+--------+--------+--------+--------+--------+--------+=======+
//!  | version| flags  |     stream      | opcode |             body length           | body  |
//!  +--------+--------+--------+--------+--------+--------+--------+--------+--------+=======+
//!  bit 7 of version: 0 request, 1 response
//! ```
//!
//! v3 and v4 send envelopes one after another, the body compressed if both sides agreed. v5 does the same up to and including
//! the answer to STARTUP; from then on envelopes travel inside checksummed *segments*, which are little-endian:
//!
//! ```text
//!  uncompressed   | payload length 17 bits | self-contained 1 | 0.. 6 |           CRC24 3 bytes | payload | CRC32 4 bytes |
//!  LZ4            | compressed 17 | uncompressed 17 | self-contained 1 | 0.. 5 | CRC24 3 bytes | payload | CRC32 4 bytes |
//! ```
//!
//! A self-contained segment holds whole envelopes; an envelope longer than one segment is cut over several that are not.
//!
//! Reading order: `version`, `opcode`, `consistency`, `primitive`, `header`, `checksum`, `compression`, `segment`, `secret`,
//! `decoder`, `encoder`.

pub mod checksum;
pub mod compression;
pub mod consistency;
pub mod decoder;
pub mod encoder;
pub mod header;
pub mod opcode;
pub mod primitive;
mod secret;
pub mod segment;
pub mod version;

pub use compression::Compression;
pub use consistency::Consistency;
pub use decoder::{Decoder, Frame};
pub use encoder::{Encoder, Extras, OpenEnvelope};
pub use opcode::{Flags, Opcode};
pub use primitive::{Reader, Value};
pub use version::Version;
