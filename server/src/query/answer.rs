//! What a request is answered with, as a value that can wait for its turn in the outgoing buffer.
//!
//! The protocol crate writes borrowed views; an answer owns what it shows, because it may be ready long before or after the
//! requests around it. Rows are already encoded when they get here: their cells are copied once, from where storage keeps
//! them, and then the whole body once more into the buffer, after the header that says how long it is.

use std::sync::Arc;

use bytes::BytesMut;
use palladium_protocol::response::{
    ErrorResponse, Event, Prepared, Response as View, ResultResponse, SchemaChange, Supported,
};
use palladium_protocol::wire::{Encoder, Extras, Opcode, Version};

use super::prepared::Statement;
use crate::error::CqlError;

/// An answer.
#[derive(Debug)]
pub enum Response {
    Ready,
    /// The class name of the authenticator.
    Authenticate(String),
    AuthSuccess,
    Supported(Supported),
    Error(ErrorResponse),
    Event(Event),
    Void,
    SetKeyspace(String),
    SchemaChange(SchemaChange),
    Prepared(Arc<Statement>),
    /// A whole Rows message.
    Rows(BytesMut),
    /// Any of the above, with warnings for the client (v4 and later).
    Warned(Box<Response>, Vec<String>),
}

impl Response {
    /// Appends the answer as one message.
    pub fn encode(&self, encoder: &mut Encoder, out: &mut BytesMut, version: Version, stream: i16) {
        self.put(encoder, out, version, stream, &Extras::NONE);
    }

    fn put(&self, encoder: &mut Encoder, out: &mut BytesMut, version: Version, stream: i16, extras: &Extras<'_>) {
        let view = match self {
            Response::Warned(answer, warnings) if version >= Version::V4 => {
                let extras = Extras { warnings, ..*extras };
                return answer.put(encoder, out, version, stream, &extras);
            }
            Response::Warned(answer, _) => return answer.put(encoder, out, version, stream, extras),
            Response::Rows(body) => {
                encoder.envelope(out, version, stream, Opcode::Result, extras, |out| out.extend_from_slice(body));
                return;
            }
            Response::Ready => View::Ready,
            Response::Authenticate(class) => View::Authenticate(class),
            Response::AuthSuccess => View::AuthSuccess(None),
            Response::Supported(supported) => View::Supported(supported),
            Response::Error(error) => View::Error(error),
            Response::Event(event) => View::Event(event),
            Response::Void => View::Result(ResultResponse::Void),
            Response::SetKeyspace(keyspace) => View::Result(ResultResponse::SetKeyspace(keyspace)),
            Response::SchemaChange(change) => View::Result(ResultResponse::SchemaChange(change)),
            Response::Prepared(statement) => View::Result(ResultResponse::Prepared(Prepared {
                id: &statement.id,
                bind: &statement.bind,
                result: &statement.result,
            })),
        };
        encoder.response(out, version, stream, extras, &view);
    }
}

impl From<CqlError> for Response {
    fn from(error: CqlError) -> Self {
        Response::Error(error.into())
    }
}
