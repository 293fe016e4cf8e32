//! Envelopes into a caller's buffer.
//!
//! An envelope is written in place: `begin` puts the header, the caller appends the body, `finish` patches the length. In v5
//! the segment around it is written in place too: its header is reserved before the first envelope and filled in by `flush`,
//! or when the next envelope does not fit. So a connection's whole batch of answers becomes as few segments as can hold it, and
//! an uncompressed response is written once, where it leaves from.
//!
//! ```text
//! out: | segment header (reserved) | envelope | envelope | envelope ...      flush ─► header filled in, CRC32 appended
//!      ^ segment_at
//! ```
//!
//! What must hold: between `begin` and the next `flush`, nobody else touches `out`; `flush` comes before its bytes leave.

use std::fmt;

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::compression::Compression;
use super::header::{HEADER_BYTES, patch_length, put_header};
use super::opcode::{Flags, Opcode};
use super::primitive::{put_bytes, put_string, put_string_list};
use super::segment::{SegmentFormat, open_segment, seal_segment};
use super::version::Version;
use crate::error::{AnswerIn, Complaint};
use crate::limits::{COMPRESS_BODY_BYTES_MIN, SCRATCH_BYTES_KEPT, SEGMENT_PAYLOAD_BYTES_MAX};

/// What may stand before the message in a response body. Version 3 knows only the tracing id.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    pub tracing_id: Option<Uuid>,
    pub warnings: &'a [String],
    pub custom_payload: &'a [(String, Option<Vec<u8>>)],
}

impl Extras<'_> {
    pub const NONE: Extras<'static> = Extras {
        tracing_id: None,
        warnings: &[],
        custom_payload: &[],
    };

    fn flags(&self, version: Version) -> Flags {
        let mut flags = Flags::default();
        if self.tracing_id.is_some() {
            flags.insert(Flags::TRACING);
        }
        if version >= Version::V4 && !self.warnings.is_empty() {
            flags.insert(Flags::WARNING);
        }
        if version >= Version::V4 && !self.custom_payload.is_empty() {
            flags.insert(Flags::CUSTOM_PAYLOAD);
        }
        flags
    }

    fn put(&self, flags: Flags, out: &mut BytesMut) {
        if let Some(id) = self.tracing_id {
            out.put_slice(id.as_bytes());
        }
        if flags.contains(Flags::WARNING) {
            put_string_list(out, self.warnings);
        }
        if flags.contains(Flags::CUSTOM_PAYLOAD) {
            let entries =
                &self.custom_payload[..self.custom_payload.len().min(usize::from(u16::MAX))];
            out.put_u16(entries.len() as u16);
            for (name, value) in entries {
                put_string(out, name);
                put_bytes(out, value.as_deref());
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Envelopes(Option<Compression>),
    Segments(SegmentFormat),
}

/// See the module.
pub struct Encoder {
    framing: Framing,
    /// Where the segment being filled begins in the caller's buffer.
    segment_at: Option<usize>,
    /// For compressed blocks.
    packed: Vec<u8>,
    /// For an envelope that has to move to the next segment.
    moved: Vec<u8>,
}

/// An envelope between `begin` and `finish`: where it starts in the buffer.
#[derive(Debug)]
#[must_use = "an envelope that is begun must be finished or abandoned"]
pub struct OpenEnvelope {
    at: usize,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("framing", &self.framing)
            .field("segment_at", &self.segment_at)
            .finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    pub fn new() -> Self {
        Self {
            framing: Framing::Envelopes(None),
            segment_at: None,
            packed: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// v3, v4: compress bodies like this.
    pub fn use_compression(&mut self, compression: Option<Compression>) {
        self.framing = Framing::Envelopes(compression);
    }

    /// v5, once the answer to STARTUP (READY or AUTHENTICATE) is in the buffer: what follows goes into segments.
    pub fn use_segments(&mut self, format: SegmentFormat) {
        self.framing = Framing::Segments(format);
    }

    /// One whole envelope. `write` appends the message.
    pub fn envelope(
        &mut self,
        out: &mut BytesMut,
        version: Version,
        stream: i16,
        opcode: Opcode,
        extras: &Extras<'_>,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let open = self.begin(out, version, stream, opcode, extras);
        write(out);
        self.finish(out, open);
    }

    /// As `envelope`, for a message that may turn out to be an error half way: then nothing of it stays in the buffer.
    pub fn try_envelope<E>(
        &mut self,
        out: &mut BytesMut,
        version: Version,
        stream: i16,
        opcode: Opcode,
        extras: &Extras<'_>,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let open = self.begin(out, version, stream, opcode, extras);
        match write(out) {
            Ok(()) => {
                self.finish(out, open);
                Ok(())
            }
            Err(error) => {
                self.abandon(out, open);
                Err(error)
            }
        }
    }

    /// Writes the header and what stands before the message.
    pub fn begin(
        &mut self,
        out: &mut BytesMut,
        version: Version,
        stream: i16,
        opcode: Opcode,
        extras: &Extras<'_>,
    ) -> OpenEnvelope {
        if let (Framing::Segments(format), None) = (self.framing, self.segment_at) {
            self.segment_at = Some(out.len());
            open_segment(format, out);
        }
        let at = out.len();
        let flags = extras.flags(version);
        put_header(out, version, flags, stream, opcode);
        extras.put(flags, out);
        OpenEnvelope { at }
    }

    /// The message is complete.
    pub fn finish(&mut self, out: &mut BytesMut, open: OpenEnvelope) {
        match self.framing {
            Framing::Envelopes(compression) => {
                if let Some(compression) = compression {
                    self.compress_body(compression, out, open.at);
                }
                patch_length(out, open.at);
            }
            Framing::Segments(format) => {
                patch_length(out, open.at);
                self.seat(format, out, open.at);
            }
        }
    }

    /// Takes a begun message back.
    pub fn abandon(&mut self, out: &mut BytesMut, open: OpenEnvelope) {
        out.truncate(open.at);
    }

    /// The answer to something the decoder or a request refused.
    pub fn complaint(&mut self, out: &mut BytesMut, complaint: &Complaint) {
        let write = |out: &mut BytesMut| {
            out.put_i32(complaint.code as i32);
            put_string(out, &complaint.message);
        };
        match complaint.answer_in {
            AnswerIn::Version(version) => {
                self.envelope(
                    out,
                    version,
                    complaint.stream,
                    Opcode::Error,
                    &Extras::NONE,
                    write,
                );
            }
            AnswerIn::Old(version) => {
                let stream = complaint.stream as u8;
                out.put_slice(&[0x80 | version, 0, stream, Opcode::Error as u8]);
                let at = out.len();
                out.put_i32(0);
                write(out);
                let length = (out.len() - at - 4) as i32;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// Ends the segment that is being filled. Call before the buffer's bytes are sent; does nothing in v3 and v4.
    pub fn flush(&mut self, out: &mut BytesMut) {
        self.end_segment(out);
        self.forget_large_scratch();
    }

    fn end_segment(&mut self, out: &mut BytesMut) {
        let (Framing::Segments(format), Some(at)) = (self.framing, self.segment_at.take()) else {
            return;
        };
        if out.len() == at + format.header_bytes() {
            out.truncate(at);
        } else {
            seal_segment(format, out, at, true, &mut self.packed);
        }
    }

    /// Gives up what it keeps between two messages: nothing was said for a while.
    pub fn give_up_buffers(&mut self) {
        (self.packed, self.moved) = (Vec::new(), Vec::new());
    }

    /// One large page should not stay with an idle connection.
    fn forget_large_scratch(&mut self) {
        for scratch in [&mut self.packed, &mut self.moved] {
            if scratch.capacity() > SCRATCH_BYTES_KEPT {
                *scratch = Vec::new();
            }
        }
    }

    fn compress_body(&mut self, compression: Compression, out: &mut BytesMut, at: usize) {
        let start = at + HEADER_BYTES;
        let body = &out[start..];
        if body.len() < COMPRESS_BODY_BYTES_MIN {
            return;
        }
        if compression.compress_body(body, &mut self.packed) {
            out[start..start + self.packed.len()].copy_from_slice(&self.packed);
            out.truncate(start + self.packed.len());
            out[at + 1] |= Flags::COMPRESSED.0;
        }
        self.forget_large_scratch();
    }

    /// Lets the envelope at `at` stay in the current segment if it fits, and moves it to one or more of its own if not.
    fn seat(&mut self, format: SegmentFormat, out: &mut BytesMut, at: usize) {
        let segment_at = self.segment_at.expect("begin opened a segment");
        let start = segment_at + format.header_bytes();
        if out.len() - start <= SEGMENT_PAYLOAD_BYTES_MAX {
            return;
        }
        self.moved.clear();
        self.moved.extend_from_slice(&out[at..]);
        out.truncate(at);
        self.end_segment(out);

        if self.moved.len() <= SEGMENT_PAYLOAD_BYTES_MAX {
            self.segment_at = Some(out.len());
            open_segment(format, out);
            out.put_slice(&self.moved);
            return;
        }
        for piece in self.moved.chunks(SEGMENT_PAYLOAD_BYTES_MAX) {
            let piece_at = out.len();
            open_segment(format, out);
            out.put_slice(piece);
            seal_segment(format, out, piece_at, false, &mut self.packed);
        }
    }
}
