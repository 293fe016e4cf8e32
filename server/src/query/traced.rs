//! A request under trace: begun as any other, with its trace at hand, and answered with the trace's id.
//!
//! What must hold: a trace can be read before its answer has left; tracing changes no answer. A traced write is a batch of its own, so that its steps are
//! its own, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_protocol::cql;
use palladium_protocol::request::{QueryParams, Request};
use palladium_protocol::response::WriteType;
use palladium_protocol::wire::Frame;
use palladium_storage::Write;
use uuid::Uuid;

use super::{Outcome, Response};
use crate::audit::Asker;
use crate::database::Database;
use crate::session::Session;
use crate::traces::{self, Trace};

/// In place of a text that is no statement.
const UNREADABLE: &str = "(a text that is no statement)";

/// Begins a request that asked for a trace.
pub fn begin(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Outcome {
    let trace = trace_of(database, session, request);
    let asker = session.asker().clone();
    // Held until a write is handed over: whoever builds an index waits for those who do not know of it.
    let catalog = database.catalog.load_full();
    let outcome = traces::during(&trace, || {
        super::begin_request(database, session, frame, request)
    });
    match outcome {
        Outcome::Ready(response) => Outcome::Ready(answered(database, trace, response)),
        Outcome::Write { write, done, kind } => {
            let database = database.clone();
            Outcome::Later(Box::pin(async move {
                let work = written(&database, write, done, kind, &asker);
                let response = traces::follow(trace.clone(), work).await;
                drop(catalog);
                answered(&database, trace, response)
            }))
        }
        Outcome::Later(work) => {
            let database = database.clone();
            Outcome::Later(Box::pin(async move {
                let response = traces::follow(trace.clone(), work).await;
                answered(&database, trace, response)
            }))
        }
    }
}

fn answered(database: &Database, trace: Arc<Trace>, response: Response) -> Response {
    if let Response::Error(error) = response.unwrapped() {
        // The words of an error may quote a value of the client's; its kind does not.
        trace.note(format!(
            "Request failed with error {:#06x}",
            error.code() as i32
        ));
    }
    let id = trace.id;
    database.traces.keep(trace);
    Response::Traced(Box::new(response), id)
}

async fn written(
    database: &Database,
    write: Write,
    done: Response,
    kind: WriteType,
    asker: &Asker,
) -> Response {
    traces::note(|| {
        let tables: std::collections::BTreeSet<_> = write
            .mutations
            .iter()
            .map(|mutation| mutation.table)
            .collect();
        format!(
            "Appending {} mutations of {} tables to commitlog",
            write.mutations.len(),
            tables.len()
        )
    });
    let response = database.write_when_opened(write, done, kind, asker).await;
    if !matches!(response.unwrapped(), Response::Error(_)) {
        traces::note(|| match database.config.log_sync {
            crate::config::LogSyncSetting::Group => {
                "Mutations are durable and in their memtables".into()
            }
            crate::config::LogSyncSetting::Periodic => {
                "Mutations are in commitlog, synced with its period, and in their memtables".into()
            }
        });
    }
    response
}

fn trace_of(database: &Database, session: &Session, request: &Request<'_>) -> Arc<Trace> {
    let micros = database.trail.now_micros();
    let id = Uuid::from_bytes(database.prepared.uuids.next(micros));
    let (kind, parameters) = match request {
        Request::Query(query) => {
            let text = shown(query.query);
            (
                "Execute CQL3 query",
                parameters(Some(&query.params), Some(text)),
            )
        }
        Request::Prepare(prepare) => (
            "Preparing CQL3 query",
            parameters(None, Some(shown(prepare.query))),
        ),
        Request::Execute(execute) => {
            let statement = database.prepared.get(execute.id);
            let text = statement.map(|statement| shown(&statement.text));
            (
                "Execute CQL3 prepared query",
                parameters(Some(&execute.params), text),
            )
        }
        Request::Batch(batch) => (
            "Execute batch of CQL3 queries",
            parameters(Some(&batch.params), None),
        ),
        _ => ("Request", BTreeMap::new()),
    };
    let started_at = micros.div_euclid(1_000);
    let client = (session.peer.ip(), session.asker().who.clone());
    Trace::begin(id, kind, parameters, client, started_at)
}

pub fn shown(text: &str) -> String {
    cql::redacted(text).unwrap_or_else(|| UNREADABLE.into())
}

/// What Cassandra shows of a request, without the values.
fn parameters(params: Option<&QueryParams<'_>>, text: Option<String>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Some(params) = params {
        all.insert("consistency_level".into(), params.consistency.to_string());
        if let Some(size) = params.page_size {
            all.insert("page_size".into(), size.to_string());
        }
        let serial = params
            .serial_consistency
            .map_or("SERIAL".to_owned(), |consistency| consistency.to_string());
        all.insert("serial_consistency_level".into(), serial);
    }
    if let Some(text) = text {
        all.insert("query".into(), text);
    }
    all
}
