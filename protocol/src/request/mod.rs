//! Frames to requests: one borrowed view for each message a client can send.
//!
//! A view points into the frame's body. Decoding checks every length and every string once, allocates nothing and copies
//! nothing; iterators over values and statements then cannot fail.
//!
//! Reading order: `params`, which QUERY, EXECUTE and BATCH share, then one file for each message.

pub mod auth;
pub mod batch;
pub mod execute;
pub mod params;
pub mod prepare;
pub mod query;
pub mod register;
pub mod startup;

pub use auth::AuthResponse;
pub use batch::{Batch, BatchEntry, BatchKind, BatchStatement};
pub use execute::Execute;
pub use params::{QueryParams, Values};
pub use prepare::Prepare;
pub use query::Query;
pub use register::{EventType, Register};
pub use startup::Startup;

use crate::error::{AnswerIn, Complaint, ErrorCode, Malformed, ProtocolError};
use crate::wire::primitive::{BytesMap, Reader};
use crate::wire::{Flags, Frame, Opcode, Version};

/// A message from a client.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    Startup(Startup<'a>),
    Options,
    AuthResponse(AuthResponse<'a>),
    Query(Query<'a>),
    Prepare(Prepare<'a>),
    Execute(Execute<'a>),
    Batch(Batch<'a>),
    Register(Register<'a>),
}

impl<'a> Request<'a> {
    /// What the frame asks for. An error is a `Reject` on the frame's own stream.
    #[inline]
    pub fn decode(frame: &'a Frame) -> Result<Self, ProtocolError> {
        Self::parse(frame).map_err(|malformed| reject(frame, malformed))
    }

    fn parse(frame: &'a Frame) -> Result<Self, Malformed> {
        let version = frame.version;
        let mut reader = Reader::new(&frame.body);
        let body = &mut reader;
        if frame.flags.contains(Flags::CUSTOM_PAYLOAD) {
            read_custom_payload(version, body)?;
        }
        Ok(match frame.opcode {
            Opcode::Execute => Self::Execute(Execute::read(version, body)?),
            Opcode::Query => Self::Query(Query::read(version, body)?),
            Opcode::Batch => Self::Batch(Batch::read(version, body)?),
            Opcode::Prepare => Self::Prepare(Prepare::read(version, body)?),
            Opcode::Startup => Self::Startup(Startup::read(body)?),
            Opcode::Options => Self::Options,
            Opcode::Register => Self::Register(Register::read(body)?),
            Opcode::AuthResponse => Self::AuthResponse(AuthResponse::read(body)?),
            response => {
                return Err(Malformed::from(format!(
                    "Wrong protocol direction (expected RESPONSE, got REQUEST) for opcode {} ({response})",
                    response as u8
                )));
            }
        })
    }
}

/// The `[bytes map]` a client sent beside its message, for those who look at it.
pub fn custom_payload(frame: &Frame) -> Result<Option<BytesMap<'_>>, ProtocolError> {
    if !frame.flags.contains(Flags::CUSTOM_PAYLOAD) {
        return Ok(None);
    }
    read_custom_payload(frame.version, &mut Reader::new(&frame.body))
        .map(Some)
        .map_err(|malformed| reject(frame, malformed))
}

fn read_custom_payload<'a>(
    version: Version,
    body: &mut Reader<'a>,
) -> Result<BytesMap<'a>, Malformed> {
    if version < Version::V4 {
        return Err(Malformed::of(
            "Received frame with CUSTOM_PAYLOAD flag for native protocol version < 4",
        ));
    }
    BytesMap::read(body)
}

#[cold]
fn reject(frame: &Frame, Malformed(message): Malformed) -> ProtocolError {
    ProtocolError::Reject(Complaint {
        stream: frame.stream,
        answer_in: AnswerIn::Version(frame.version),
        code: ErrorCode::ProtocolError,
        message,
    })
}
