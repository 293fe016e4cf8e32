//! What a request is answered with, as a value that can wait for its turn in the outgoing buffer.
//!
//! The protocol crate writes borrowed views; an answer owns what it shows, because it may be ready long before or after the
//! requests around it. The cells of rows are encoded already when they get here; what stands before them (the metadata, the
//! paging state) is known only after them and is written with the envelope.

use std::sync::Arc;

use bytes::BytesMut;
use palladium_crypto::TableId;
use palladium_protocol::response::{
    EncodedMetadata, ErrorResponse, Event, MetadataMode, Prepared, Response as View,
    ResultResponse, RowsWriter, SchemaChange, Supported,
};
use palladium_protocol::wire::primitive::put_bytes;
use palladium_protocol::wire::{Encoder, Extras, Opcode, Version};
use uuid::Uuid;

use super::analyze::Body;
use super::prepared::Statement;
use crate::audit::Asker;
use crate::error::CqlError;
use crate::net::Share;
use crate::schema::TableKind;

/// An answer.
#[derive(Debug)]
pub enum Response {
    Ready,
    /// The class name of the authenticator.
    Authenticate(String),
    /// The connection is this role's from now on.
    AuthSuccess(Asker),
    Supported(Supported),
    Error(ErrorResponse),
    Event(Event),
    Void,
    SetKeyspace(String),
    SchemaChange(SchemaChange),
    Prepared(Arc<Statement>),
    Rows(Rows),
    /// Any of the above, with warnings for the client (v4 and later).
    Warned(Box<Response>, Vec<String>),
    /// Any of the above, with the id of its trace.
    Traced(Box<Response>, Uuid),
}

/// Rows, encoded but for what stands before them.
#[derive(Debug)]
pub struct Rows {
    pub metadata: RowsMetadata,
    pub mode: MetadataMode,
    pub paging_state: Option<Vec<u8>>,
    pub cells: Cells,
}

/// Whose columns the rows have.
#[derive(Debug)]
pub enum RowsMetadata {
    /// Those the statement was prepared with.
    Statement(Arc<Statement>),
    /// Others, of this table: conditional updates.
    OfTable(TableId, EncodedMetadata),
    /// Others, of no table: DESCRIBE, LIST.
    Own(EncodedMetadata),
}

/// Set aside at once for rows that are about to come, at most.
const EXPECTED_BYTES_MAX: usize = 64 << 10;

/// Rows of cells as RESULT carries them.
#[derive(Debug, Default)]
pub struct Cells {
    pub bytes: BytesMut,
    pub rows: i32,
    /// What large ones hold of the memory for requests and answers.
    pub held: Option<Share>,
}

impl Cells {
    #[inline]
    pub fn put(&mut self, value: Option<&[u8]>) {
        put_bytes(&mut self.bytes, value);
    }

    /// Room for many rows at once, about as long as they are where they are kept.
    pub fn expect(&mut self, bytes: usize) {
        self.bytes.reserve(bytes.min(EXPECTED_BYTES_MAX));
    }

    #[inline]
    pub fn end_row(&mut self) {
        self.rows += 1;
    }

    /// A whole row.
    pub fn put_row<'a>(&mut self, values: impl IntoIterator<Item = Option<&'a [u8]>>) {
        values.into_iter().for_each(|value| self.put(value));
        self.end_row();
    }
}

impl Response {
    /// The answer itself, without what it carries along.
    pub fn unwrapped(&self) -> &Response {
        match self {
            Response::Warned(answer, _) | Response::Traced(answer, _) => answer.unwrapped(),
            answer => answer,
        }
    }

    /// The rows that it shows, if it does.
    #[inline]
    pub fn rows(&self) -> Option<&Rows> {
        match self.unwrapped() {
            Response::Rows(rows) => Some(rows),
            _ => None,
        }
    }

    /// Bytes of rows that nobody counts: large ones have a share of their own.
    pub fn uncounted_bytes(&self) -> usize {
        match self.rows() {
            Some(rows) if rows.cells.held.is_none() => rows.cells.bytes.capacity(),
            _ => 0,
        }
    }

    /// The answer with warnings for the client, if there are any.
    pub fn with_warnings(self, warnings: Vec<String>) -> Response {
        match self {
            _ if warnings.is_empty() => self,
            Response::Warned(answer, more) => {
                let warnings = warnings.into_iter().chain(more).collect();
                Response::Warned(answer, warnings)
            }
            answer => Response::Warned(Box::new(answer), warnings),
        }
    }

    /// Appends the answer as one message.
    pub fn encode(&self, encoder: &mut Encoder, out: &mut BytesMut, version: Version, stream: i16) {
        self.put(encoder, out, version, stream, &Extras::NONE);
    }

    fn put(
        &self,
        encoder: &mut Encoder,
        out: &mut BytesMut,
        version: Version,
        stream: i16,
        extras: &Extras<'_>,
    ) {
        let view = match self {
            Response::Warned(answer, warnings) if version >= Version::V4 => {
                let extras = Extras {
                    warnings,
                    ..*extras
                };
                return answer.put(encoder, out, version, stream, &extras);
            }
            Response::Warned(answer, _) => {
                return answer.put(encoder, out, version, stream, extras);
            }
            Response::Traced(answer, id) => {
                let extras = Extras {
                    tracing_id: Some(*id),
                    ..*extras
                };
                return answer.put(encoder, out, version, stream, &extras);
            }
            Response::Rows(rows) => {
                encoder.envelope(out, version, stream, Opcode::Result, extras, |out| {
                    rows.put(version, out)
                });
                return;
            }
            Response::Ready => View::Ready,
            Response::Authenticate(class) => View::Authenticate(class),
            Response::AuthSuccess(_) => View::AuthSuccess(None),
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

impl Response {
    /// Whether it says what became of a write, which nothing else can say.
    pub fn tells_of_a_write(&self) -> bool {
        self.rows()
            .is_some_and(|rows| matches!(rows.metadata, RowsMetadata::OfTable(..)))
    }
}

impl Rows {
    /// The table that the rows are from, if its key has an owner: they may be shown as long as its lease lives.
    #[inline]
    pub fn leased_table(&self) -> Option<TableId> {
        match &self.metadata {
            RowsMetadata::Statement(statement) => match &statement.body {
                Body::Select(plan) if plan.table.kind == TableKind::User => Some(plan.table.id),
                _ => None,
            },
            RowsMetadata::OfTable(table, _) => Some(*table),
            RowsMetadata::Own(_) => None,
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let metadata = match &self.metadata {
            RowsMetadata::Statement(statement) => &statement.result,
            RowsMetadata::OfTable(_, metadata) | RowsMetadata::Own(metadata) => metadata,
        };
        // The head of a message without rows, then the number of rows put right, then their cells.
        let head = RowsWriter::begin(
            out,
            version,
            metadata,
            self.mode,
            self.paging_state.as_deref(),
        );
        head.finish();
        let count_at = out.len() - 4;
        out[count_at..].copy_from_slice(&self.cells.rows.to_be_bytes());
        out.extend_from_slice(&self.cells.bytes);
    }
}

impl From<CqlError> for Response {
    /// What a guardrail says when it refuses is a warning, too, as in Cassandra.
    fn from(error: CqlError) -> Self {
        let warnings = match error.is_guardrail {
            true => vec![error.message.clone()],
            false => Vec::new(),
        };
        Response::Error(error.into()).with_warnings(warnings)
    }
}
