//! Every bound that a peer can push on, in one place: name, unit, reason.
//!
//! A decoder checks a declared size against its bound before it trusts it, and never reserves memory for bytes that
//! have not arrived. Bounds that an operator may move (`FrameLimits`) are arguments; the others follow from the
//! protocol's own field widths or from our stack.

/// Bytes of one message body, after decompression: 16 MiB, what Cassandra's `native_transport_max_frame_size` is.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of payload in one v5 segment: the length field has 17 bits.
pub const SEGMENT_PAYLOAD_BYTES_MAX: usize = (1 << 17) - 1;

/// Bind values of one statement: the count is an unsigned `[short]`.
pub const BIND_MARKERS_MAX: usize = u16::MAX as usize;

/// Statements in one BATCH message: the count is an unsigned `[short]`.
pub const BATCH_STATEMENTS_MAX: usize = u16::MAX as usize;

/// Bytes of a `[string]` or `[short bytes]`: the length is an unsigned `[short]`.
pub const STRING_BYTES_MAX: usize = u16::MAX as usize;

/// Levels of types inside types (`list<frozen<list<...>>>`): type code is recursive, and 32 levels fit any stack.
pub const TYPE_DEPTH_MAX: usize = 32;

/// Levels of a type with the user-defined types in it, each of which may have as many of its own as one statement can say: type code is recursive.
pub const TYPE_TREE_DEPTH_MAX: usize = 256;

/// Bytes of a type spelled out with all that it is made of: some 100,000 types. Metadata and class names spell it like that.
pub const TYPE_SPELLED_BYTES_MAX: usize = 8 << 20;

/// Bytes of the types of one statement's result, or of its bind markers, spelled out: a client is told them.
pub const METADATA_SPELLED_BYTES_MAX: usize = 64 << 20;

/// Fields of a tuple or a user-defined type: the count is an unsigned `[short]` in the type's option.
pub const TYPE_FIELDS_MAX: usize = u16::MAX as usize;

/// Dimensions of a vector: Cassandra's `MAX_VECTOR_DIMENSIONS`, 2^13.
pub const VECTOR_DIMENSIONS_MAX: usize = 8192;

/// Bytes of one component in a composite partition key: its length is an unsigned `[short]`.
pub const KEY_COMPONENT_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes that one byte of an LZ4 block can expand to: a match length grows by 255 with each byte.
pub const LZ4_EXPANSION_MAX: usize = 255;

/// Bytes that one byte of a Snappy block can expand to: three bytes copy at most 64, so 22; rounded up.
pub const SNAPPY_EXPANSION_MAX: usize = 32;

/// Bytes of a response body below which v3/v4 compression is not tried: the frame fits one packet either way.
pub const COMPRESS_BODY_BYTES_MIN: usize = 512;

/// Bytes of scratch memory that an encoder keeps between messages: thousands of idle connections have one each.
pub const SCRATCH_BYTES_KEPT: usize = 16 * 1024;

/// What an operator may move: handed to the decoder of each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one message body, before and after decompression.
    pub body_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}
