//! Bytes to frames. The only stateful thing in the crate, with its twin, the encoder.
//!
//! Bytes go in with `feed` (or are read straight into `input`), frames come out of `next_frame`, until it says `None`: then it needs
//! more bytes. Bodies are slices of the input buffer; nothing is copied but what is compressed or cut over several segments.
//!
//! ```text
//! Envelopes ──use_segments──► Segments          (after the answer to a v5 STARTUP has been written)
//! ```
//!
//! What must hold:
//! - A body longer than the limit is refused when its header is seen and thrown away as it arrives.
//! - After `Reject` the decoder stands at the next message; after `Close` it gives nothing more.
//! - Memory held here is what arrived and was not yet taken, and at most one body of a message cut over segments.
//! - A buffer in which a message came that may hold a password is not read into again, and nobody but that message and its neighbours holds it: it is freed, and
//!   by the server's allocator wiped, when they are done with.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::compression::Compression;
use super::header::{HEADER_BYTES, OLD_HEADER_BYTES, RawHeader};
use super::opcode::{Direction, Flags, Opcode};
use super::secret::may_hold_password;
use super::segment::{CRC32_BYTES, SegmentFormat, SegmentHeader, check_payload, open_payload};
use super::version::{Version, unsupported_version_message};
use crate::error::{AnswerIn, Complaint, ErrorCode, Malformed, ProtocolError};
use crate::limits::FrameLimits;

/// One message: header fields and the body, decompressed. Printed without its body, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub version: Version,
    pub flags: Flags,
    pub stream: i16,
    pub opcode: Opcode,
    pub body: Bytes,
}

impl Frame {
    /// The client asks for this request to be traced.
    pub fn wants_tracing(&self) -> bool {
        self.flags.contains(Flags::TRACING)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("version", &self.version)
            .field("flags", &self.flags)
            .field("stream", &self.stream)
            .field("opcode", &self.opcode)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Envelopes(Option<Compression>),
    Segments(SegmentFormat),
}

/// See the module.
pub struct Decoder {
    limits: FrameLimits,
    /// What the peer may send.
    direction: Direction,
    framing: Framing,
    /// The version this connection has settled on.
    version: Option<Version>,
    input: BytesMut,
    /// Bytes of a refused body that are still to arrive.
    unwanted_bytes: u64,
    /// Envelopes of a self-contained segment that were not taken yet.
    contained: Bytes,
    cut: Option<CutEnvelope>,
    closed: bool,
}

/// An envelope that travels over several segments.
struct CutEnvelope {
    header: CheckedHeader,
    total_bytes: usize,
    bytes: BytesMut,
}

/// A header that names a version, a flag set, an opcode and a length that we accept.
#[derive(Debug, Clone, Copy)]
struct CheckedHeader {
    version: Version,
    flags: Flags,
    stream: i16,
    opcode: Opcode,
    body_bytes: usize,
}

impl CheckedHeader {
    fn frame(self, body: Bytes) -> Frame {
        Frame {
            version: self.version,
            flags: self.flags,
            stream: self.stream,
            opcode: self.opcode,
            body,
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("framing", &self.framing)
            .field("version", &self.version)
            .field("input_bytes", &self.input.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// For a server: takes requests.
    pub fn new(limits: FrameLimits) -> Self {
        Self::taking(Direction::Request, limits)
    }

    /// For a client: takes responses.
    pub fn of_responses(limits: FrameLimits) -> Self {
        Self::taking(Direction::Response, limits)
    }

    fn taking(direction: Direction, limits: FrameLimits) -> Self {
        Self {
            limits,
            direction,
            framing: Framing::Envelopes(None),
            version: None,
            input: BytesMut::new(),
            unwanted_bytes: 0,
            contained: Bytes::new(),
            cut: None,
            closed: false,
        }
    }

    /// The buffer to read a socket into. Append only.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// From the next frame on these bounds hold: whoever has said who it is may say more.
    pub fn limit(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// From now on only this version is accepted: what STARTUP came in.
    pub fn settle_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// v3, v4: bodies with the COMPRESSED flag are compressed like this.
    pub fn use_compression(&mut self, compression: Option<Compression>) {
        self.framing = Framing::Envelopes(compression);
    }

    /// v5: what follows travels in segments.
    pub fn use_segments(&mut self, format: SegmentFormat) {
        self.version = Some(Version::V5);
        self.framing = Framing::Segments(format);
    }

    /// The next whole message; `None` until more bytes arrive.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if self.closed {
            self.input.clear();
            return Ok(None);
        }
        let next = match self.framing {
            Framing::Envelopes(compression) => self.next_envelope(compression),
            Framing::Segments(format) => self.next_in_segments(format),
        };
        if matches!(next, Err(ProtocolError::Close(_))) {
            self.closed = true;
            self.input = BytesMut::new();
            self.contained = Bytes::new();
            self.cut = None;
        }
        if let Ok(Some(frame)) = &next
            && may_hold_password(frame)
        {
            self.give_up_buffers();
        }
        next
    }

    /// Gives up the buffers that bytes were read into, and goes on with copies of what was not taken yet: nothing was said for a while, or what stood there was a
    /// secret.
    #[cold]
    pub fn give_up_buffers(&mut self) {
        self.input = BytesMut::from(&self.input[..]);
        // An empty slice, too, would hold the buffer that it was cut from.
        self.contained = Bytes::copy_from_slice(&self.contained);
    }

    fn next_envelope(
        &mut self,
        compression: Option<Compression>,
    ) -> Result<Option<Frame>, ProtocolError> {
        if !self.throw_unwanted_away() {
            return Ok(None);
        }
        let Some((raw, header_bytes)) = self.peek_header() else {
            return Ok(None);
        };
        let header = match self.check(raw) {
            Ok(header) => header,
            Err(error) => {
                self.input.advance(header_bytes);
                self.unwanted_bytes = u64::from(raw.length.max(0) as u32);
                return Err(error);
            }
        };
        if self.input.len() < HEADER_BYTES + header.body_bytes {
            return Ok(None);
        }
        self.input.advance(HEADER_BYTES);
        let body = if header.body_bytes == 0 {
            Bytes::new()
        } else {
            self.input.split_to(header.body_bytes).freeze()
        };
        if !header.flags.contains(Flags::COMPRESSED) {
            return Ok(Some(header.frame(body)));
        }
        let reject = |Malformed(message)| {
            self.reject(
                header.stream,
                header.version,
                ErrorCode::ProtocolError,
                message,
            )
        };
        let compression = compression
            .ok_or(Malformed::of(
                "The body is compressed, but no compression was agreed on this connection",
            ))
            .map_err(reject)?;
        let body = compression
            .decompress_body(&body, self.limits.body_bytes_max)
            .map_err(reject)?;
        Ok(Some(header.frame(body)))
    }

    /// True once nothing of a refused body is left to come.
    fn throw_unwanted_away(&mut self) -> bool {
        let now = self.unwanted_bytes.min(self.input.len() as u64);
        self.input.advance(now as usize);
        self.unwanted_bytes -= now;
        self.unwanted_bytes == 0
    }

    fn peek_header(&self) -> Option<(RawHeader, usize)> {
        let old = matches!(self.input.first()? & 0x7f, 1 | 2);
        if old {
            let bytes = self.input.first_chunk::<OLD_HEADER_BYTES>()?;
            Some((RawHeader::parse_old(bytes), OLD_HEADER_BYTES))
        } else {
            let bytes = self.input.first_chunk::<HEADER_BYTES>()?;
            Some((RawHeader::parse(bytes), HEADER_BYTES))
        }
    }

    fn next_in_segments(&mut self, format: SegmentFormat) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if !self.contained.is_empty() {
                return self.next_contained().map(Some);
            }
            let Some((header, payload)) = self.next_segment(format)? else {
                return Ok(None);
            };
            match (header.self_contained, self.cut.is_some()) {
                (true, false) => self.contained = payload,
                (true, true) => {
                    return Err(self.close(Malformed::of(
                        "A self-contained segment arrived in the middle of a message cut over several",
                    )));
                }
                (false, _) => {
                    if let Some(frame) = self.add_to_cut(&payload)? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    fn next_segment(
        &mut self,
        format: SegmentFormat,
    ) -> Result<Option<(SegmentHeader, Bytes)>, ProtocolError> {
        let header_bytes = format.header_bytes();
        let Some(header) = self.input.get(..header_bytes) else {
            return Ok(None);
        };
        let header = SegmentHeader::parse(format, header).map_err(|bad| self.close(bad))?;
        let trailer = self.input.get(header_bytes + header.payload_bytes..);
        let trailer = trailer.and_then(|bytes| bytes.first_chunk::<CRC32_BYTES>());
        let Some(trailer) = trailer.copied() else {
            return Ok(None);
        };
        self.input.advance(header_bytes);
        let payload = self.input.split_to(header.payload_bytes).freeze();
        self.input.advance(CRC32_BYTES);
        check_payload(&payload, trailer).map_err(|bad| self.close(bad))?;
        let payload = open_payload(header, payload).map_err(|bad| self.close(bad))?;
        Ok(Some((header, payload)))
    }

    fn next_contained(&mut self) -> Result<Frame, ProtocolError> {
        let Some(raw) = self
            .contained
            .first_chunk::<HEADER_BYTES>()
            .map(RawHeader::parse)
        else {
            return Err(self.close(Malformed::of("A segment ends in the middle of a header")));
        };
        self.contained.advance(HEADER_BYTES);
        let body_bytes = raw.length.max(0) as usize;
        if body_bytes > self.contained.len() {
            return Err(self.close(Malformed::of(
                "A self-contained segment ends in the middle of a message",
            )));
        }
        let body = self.contained.split_to(body_bytes);
        self.check(raw).map(|header| header.frame(body))
    }

    /// The first segment of a cut envelope has the whole header; the following ones only bytes.
    fn add_to_cut(&mut self, payload: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        if self.cut.is_none() {
            let Some(raw) = payload.first_chunk::<HEADER_BYTES>().map(RawHeader::parse) else {
                return Err(self.close(Malformed::of("A segment ends in the middle of a header")));
            };
            // What a refused header says of its length cannot be relied on to find the next message.
            let header = self
                .check(raw)
                .map_err(|error| ProtocolError::Close(error.complaint().clone()))?;
            self.cut = Some(CutEnvelope {
                header,
                total_bytes: HEADER_BYTES + header.body_bytes,
                bytes: BytesMut::new(),
            });
        }
        let cut = self.cut.as_mut().expect("set just above");
        cut.bytes.extend_from_slice(payload);
        if cut.bytes.len() > cut.total_bytes {
            return Err(self.close(Malformed::of(
                "A message cut over several segments is longer than it declared",
            )));
        }
        if cut.bytes.len() < cut.total_bytes {
            return Ok(None);
        }
        let cut = self.cut.take().expect("set just above");
        let mut body = cut.bytes.freeze();
        body.advance(HEADER_BYTES);
        Ok(Some(cut.header.frame(body)))
    }

    /// Cassandra's order: version, flags, opcode with direction, length.
    #[inline]
    fn check(&self, raw: RawHeader) -> Result<CheckedHeader, ProtocolError> {
        let version = Version::from_number(raw.version).ok_or_else(|| self.unsupported(raw))?;
        let reject =
            |message| Err(self.reject(raw.stream, version, ErrorCode::ProtocolError, message));
        if self.version.is_some_and(|settled| settled != version) {
            return Err(self.other_version(raw, version));
        }
        if version.is_beta() && !raw.flags.contains(Flags::USE_BETA) {
            return reject(
                format!(
                    "Beta version of the protocol used ({version}), but USE_BETA flag is unset"
                )
                .into(),
            );
        }
        let Some(opcode) = Opcode::from_number(raw.opcode) else {
            return reject(format!("Unknown opcode {}", raw.opcode).into());
        };
        if raw.direction != self.direction || opcode.direction() != self.direction {
            return Err(self.wrong_direction(raw, version, opcode));
        }
        let Ok(body_bytes) = usize::try_from(raw.length) else {
            return Err(ProtocolError::Close(Complaint {
                stream: raw.stream,
                answer_in: AnswerIn::Version(version),
                code: ErrorCode::ProtocolError,
                message: format!(
                    "Invalid value for envelope header body length field: {}",
                    raw.length
                )
                .into(),
            }));
        };
        if body_bytes > self.limits.body_bytes_max {
            return Err(self.too_big(raw, version));
        }
        Ok(CheckedHeader {
            version,
            flags: raw.flags,
            stream: raw.stream,
            opcode,
            body_bytes,
        })
    }

    #[cold]
    fn unsupported(&self, raw: RawHeader) -> ProtocolError {
        let answer_in = match raw.version {
            old @ (1 | 2) if self.version.is_none() => AnswerIn::Old(old),
            _ => AnswerIn::Version(self.version.unwrap_or(Version::MAX)),
        };
        let complaint = Complaint {
            stream: raw.stream,
            answer_in,
            code: ErrorCode::ProtocolError,
            message: unsupported_version_message(raw.version).into(),
        };
        // Not a driver at all, if the length is nonsense too: an HTTP request, a TLS hello.
        match usize::try_from(raw.length) {
            Ok(length) if length <= self.limits.body_bytes_max => ProtocolError::Reject(complaint),
            _ => ProtocolError::Close(complaint),
        }
    }

    #[cold]
    fn other_version(&self, raw: RawHeader, version: Version) -> ProtocolError {
        let settled = self.version.unwrap_or(version);
        let message = format!(
            "Invalid message version. Got {version} but previous messages on this connection had version {settled}"
        );
        self.reject(
            raw.stream,
            settled,
            ErrorCode::ProtocolError,
            message.into(),
        )
    }

    #[cold]
    fn wrong_direction(&self, raw: RawHeader, version: Version, opcode: Opcode) -> ProtocolError {
        let message = format!(
            "Wrong protocol direction (expected {}, got {}) for opcode {} ({opcode})",
            opcode.direction(),
            raw.direction,
            raw.opcode
        );
        self.reject(
            raw.stream,
            version,
            ErrorCode::ProtocolError,
            message.into(),
        )
    }

    #[cold]
    fn too_big(&self, raw: RawHeader, version: Version) -> ProtocolError {
        let message = format!(
            "Request is too big: length {} exceeds maximum allowed length {}.",
            raw.length, self.limits.body_bytes_max
        );
        self.reject(raw.stream, version, ErrorCode::Invalid, message.into())
    }

    fn reject(
        &self,
        stream: i16,
        version: Version,
        code: ErrorCode,
        message: std::borrow::Cow<'static, str>,
    ) -> ProtocolError {
        ProtocolError::Reject(Complaint {
            stream,
            answer_in: AnswerIn::Version(version),
            code,
            message,
        })
    }

    /// The connection's bytes make no sense any more; there is no stream to blame.
    #[cold]
    fn close(&self, Malformed(message): Malformed) -> ProtocolError {
        ProtocolError::Close(Complaint {
            stream: 0,
            answer_in: AnswerIn::Version(self.version.unwrap_or(Version::MAX)),
            code: ErrorCode::ProtocolError,
            message,
        })
    }
}
