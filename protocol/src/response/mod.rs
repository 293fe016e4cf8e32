//! What the server has to say, written straight into the outgoing buffer.
//!
//! Small messages are values of `Response`, encoded by `Response::encode`. Rows are not: a `RowsWriter` appends cells as they
//! are found. Metadata that does not change is encoded once, at PREPARE, and copied from then on (`EncodedMetadata`).
//!
//! Reading order: `supported`, `event`, `error`, `metadata`, `result`, `rows`.

pub mod error;
pub mod event;
pub mod metadata;
pub mod result;
pub mod rows;
pub mod supported;

pub use error::{ErrorDetail, ErrorResponse, FailureReasons, WriteType};
pub use event::{Change, Event, SchemaChange, SchemaTarget};
pub use metadata::{BindMetadata, ColumnSpec, EncodedMetadata};
pub use result::{Prepared, ResultResponse};
pub use rows::{MetadataMode, RowsWriter};
pub use supported::Supported;

use std::fmt;

use bytes::BytesMut;

use crate::wire::primitive::{put_bytes, put_string};
use crate::wire::{Encoder, Extras, Opcode, Version};

/// A message to a client; rows are written by `RowsWriter` instead.
#[derive(Clone)]
pub enum Response<'a> {
    Ready,
    /// The class name of the authenticator.
    Authenticate(&'a str),
    AuthChallenge(Option<&'a [u8]>),
    AuthSuccess(Option<&'a [u8]>),
    Supported(&'a Supported),
    Event(&'a Event),
    Error(&'a ErrorResponse),
    Result(ResultResponse<'a>),
}

/// Only what kind of message it is: a SASL challenge is nobody's business.
impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({})", self.opcode())
    }
}

impl Response<'_> {
    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Ready => Opcode::Ready,
            Self::Authenticate(_) => Opcode::Authenticate,
            Self::AuthChallenge(_) => Opcode::AuthChallenge,
            Self::AuthSuccess(_) => Opcode::AuthSuccess,
            Self::Supported(_) => Opcode::Supported,
            Self::Event(_) => Opcode::Event,
            Self::Error(_) => Opcode::Error,
            Self::Result(_) => Opcode::Result,
        }
    }

    /// Appends the body.
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Ready => {}
            Self::Authenticate(authenticator) => put_string(out, authenticator),
            Self::AuthChallenge(token) | Self::AuthSuccess(token) => put_bytes(out, *token),
            Self::Supported(supported) => supported.encode(out),
            Self::Event(event) => event.encode(version, out),
            Self::Error(error) => error.encode(version, out),
            Self::Result(result) => result.encode(version, out),
        }
    }
}

impl Encoder {
    /// One whole response.
    pub fn response(
        &mut self,
        out: &mut BytesMut,
        version: Version,
        stream: i16,
        extras: &Extras<'_>,
        response: &Response<'_>,
    ) {
        self.envelope(out, version, stream, response.opcode(), extras, |out| {
            response.encode(version, out);
        });
    }
}
