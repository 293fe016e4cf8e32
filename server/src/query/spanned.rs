//! Spans of a request: what a collector of OpenTelemetry, or the log at `debug`, is told of its way.
//!
//! ```text
//! request ─┬─ statement      parsed and analyzed, where that is not prepared
//!          ├─ read           of a table, until its last page is there
//!          └─ write          until it is acknowledged
//! ```
//!
//! The engine's (`flush`, `compaction`) and the keys' (`key_call`) are made where they happen. All have the target [`SPANS`] and the level DEBUG.
//!
//! What must hold: where nobody listens, a request pays for one look at a number that does not change, and no span is made; where somebody does, spans name
//! operations, tables by their ids and counts, never a name, a text or a value of a user. A write under a span is a batch of its own, as one under trace is.

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::request::Request;
use palladium_protocol::wire::Frame;
use palladium_storage::{SPANS, Write};
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, debug_span};

use super::{Outcome, Response};
use crate::database::Database;
use crate::session::Session;

/// Whether somebody listens.
pub fn is_on() -> bool {
    tracing::enabled!(target: SPANS, Level::DEBUG)
}

/// Begins a request in a span of its own.
pub fn begin(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Outcome {
    let span = debug_span!(target: SPANS, "request", operation = Empty, stream = frame.stream);
    // Held until a write is handed over: whoever builds an index waits for those who do not know of it.
    let catalog = database.catalog.load_full();
    let outcome = span.in_scope(|| super::begin_traced(database, session, frame, request));
    span.record("operation", session.asked.operation.name());
    match outcome {
        Outcome::Write { write, done, kind } => {
            let (database, asker) = (database.clone(), session.asker().clone());
            let written = span.in_scope(|| write_span(&write));
            later(
                async move {
                    let answer = database.write_when_opened(write, done, kind, &asker);
                    let response = answer.instrument(written).await;
                    drop(catalog);
                    response
                },
                span,
            )
        }
        Outcome::Later(work) => later(work, span),
        ready => ready,
    }
}

/// Understands a text in a span.
pub fn understanding<T>(understand: impl FnOnce() -> T) -> T {
    match is_on() {
        false => understand(),
        true => debug_span!(target: SPANS, "statement").in_scope(understand),
    }
}

/// Reads a table in a span.
pub fn reading(table: TableId, read: impl FnOnce() -> Outcome) -> Outcome {
    if !is_on() {
        return read();
    }
    let span = debug_span!(target: SPANS, "read", table = %table);
    match span.in_scope(read) {
        Outcome::Later(work) => later(work, span),
        ready => ready,
    }
}

fn write_span(write: &Write) -> Span {
    let mutations = write.mutations.len();
    let table = write.mutations.first().map(|mutation| mutation.table);
    let table = table.map(tracing::field::display);
    debug_span!(target: SPANS, "write", table, mutations)
}

fn later(work: impl Future<Output = Response> + Send + 'static, span: Span) -> Outcome {
    Outcome::Later(Box::pin(work.instrument(span)))
}
