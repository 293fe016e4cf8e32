//! The pipeline: a request becomes a statement, gets its meaning, is planned with its values, and executed.
//!
//! ```text
//! text ─► parse ─► analyze ─► Statement (kept, if prepared)
//!                                 + bound values ─► plan ─► execute ─► Ready | Write | Later
//! ```
//!
//! [`begin`] never waits. What memory can answer is ready when it returns; plain writes are handed back, so that the
//! connection can give the engine all writes of one read of the socket together; everything else is a future.
//!
//! Read on in `expression` and `analyze`, `prepared` and `values`, `plan` and `check`, `execute`, and `answer`; `functions`, `json`, `masks`, `paging`,
//! `traced` and `spanned` stand beside the road.

pub mod analyze;
pub mod answer;
pub mod check;
pub mod execute;
pub mod expression;
pub mod functions;
pub mod json;
mod masks;
mod paging;
pub mod plan;
pub mod prepared;
mod spanned;
mod traced;
mod values;

use std::sync::Arc;

use futures::future::BoxFuture;
use palladium_protocol::cql;
use palladium_protocol::cql::ast;
use palladium_protocol::request::{
    Batch, BatchKind, BatchStatement, Execute, Prepare, Query, QueryParams, Request,
};
use palladium_protocol::response::{MetadataMode, WriteType};
use palladium_protocol::wire::Frame;
use palladium_storage::Write;

use self::analyze::{Body, analyze, check_counters, is_qualified};
use self::execute::Settings;
use self::prepared::Statement;
use self::values::Given;
use crate::audit::Asker;
use crate::auth::change::is_about_roles;
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::{self, Flag};
use crate::instruments::{Asked, Operation, table_of};
use crate::schema::change::written;
use crate::session::Session;
use crate::traces;

pub use answer::Response;
pub use paging::PageSeal;
pub use prepared::Prepared;

/// How far a request got when it was begun.
pub enum Outcome {
    /// All the way.
    Ready(Response),
    /// To the engine: write this, and answer `done` when it is durable. A client whose write may or may not have happened is told its kind.
    Write {
        write: Write,
        done: Response,
        kind: WriteType,
    },
    /// The rest takes waiting.
    Later(BoxFuture<'static, Response>),
}

/// Begins a request of a connection that is ready for queries.
pub fn begin(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Outcome {
    match spanned::is_on() {
        false => begin_traced(database, session, frame, request),
        true => spanned::begin(database, session, frame, request),
    }
}

fn begin_traced(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Outcome {
    match frame.wants_tracing() {
        false => begin_request(database, session, frame, request),
        true => traced::begin(database, session, frame, request),
    }
}

fn begin_request(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Outcome {
    session.asked = Asked::default();
    let outcome = match request {
        Request::Execute(request) => execute_prepared(database, session, frame, request),
        Request::Query(request) => query(database, session, frame, request),
        Request::Batch(request) => batch(database, session, frame, request),
        Request::Prepare(request) => prepare(database, session, request),
        _ => Err(CqlError::protocol(
            "Unexpected message for a ready connection",
        )),
    };
    outcome.unwrap_or_else(|error| Outcome::Ready(error.into()))
}

fn query(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Query<'_>,
) -> CqlResult<Outcome> {
    // Before anything is said of what is there.
    database.authority.admitted(session)?;
    check_page_size(&request.params)?;
    check_keyspace(database, request.params.keyspace)?;
    let keyspace = request.params.keyspace.or(session.keyspace.as_deref());
    let statement = Arc::new(understand(database, request.query, keyspace)?);
    // A password goes with its request.
    if database.instruments.slow.is_on() && !statement.has_password() {
        session.text = Some(statement.clone());
    }
    // Values may have names: one may be for several markers, and another for none.
    let bound = values::bind(&statement.markers, &request.params.values, &frame.body)
        .map_err(|_| CqlError::invalid("Invalid amount of bind variables"))?;
    check_counters(&statement.body)?;
    let settings = settings(frame, &request.params, MetadataMode::Full, session.asker())?;
    execute(database, session, statement, bound, settings)
}

fn prepare(
    database: &Arc<Database>,
    session: &mut Session,
    request: &Prepare<'_>,
) -> CqlResult<Outcome> {
    session.asked.operation = Operation::Prepare;
    database.authority.admitted(session)?;
    check_keyspace(database, request.keyspace)?;
    let keyspace = request.keyspace.or(session.keyspace.as_deref());
    let known = database.prepared.of_text(request.query, keyspace);
    let known = known.filter(|statement| statement.holds_in(&database.catalog.load()));
    let statement = match known {
        Some(statement) => statement,
        None => {
            let statement = Arc::new(understand(database, request.query, keyspace)?);
            if let Body::Other(tree) = &statement.body
                && is_about_roles(tree)
            {
                execute::role::check_asked_by_somebody(database, keyspace, tree, session.asker())?;
            }
            check_schema(database, &statement)?;
            check_counters(&statement.body)?;
            check_keepable(&statement)?;
            database.prepared.put(statement.clone())?;
            statement
        }
    };
    Ok(Outcome::Ready(Response::Prepared(statement)))
}

fn execute_prepared(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Execute<'_>,
) -> CqlResult<Outcome> {
    let statement = known(database, request.id)?;
    let bound = values::bind(&statement.markers, &request.params.values, &frame.body)?;
    check_page_size(&request.params)?;
    let mode = match request.result_metadata_id {
        Some(id) if id != statement.result.id() => MetadataMode::Changed,
        None if statement.may_be_remembered_otherwise() => MetadataMode::Full,
        _ if request.params.skip_metadata => MetadataMode::Skip,
        _ => MetadataMode::Full,
    };
    let settings = settings(frame, &request.params, mode, session.asker())?;
    execute(database, session, statement, bound, settings)
}

/// A keyspace that USE names, or a request in place of the session's, has to be there, whether anything is sought in it or not.
fn check_keyspace(database: &Database, said: Option<&str>) -> CqlResult<()> {
    match said {
        Some(name) if database.catalog.load().keyspace(name).is_none() => Err(CqlError::invalid(
            format!("Keyspace '{name}' does not exist"),
        )),
        _ => Ok(()),
    }
}

/// Of a BATCH it says nothing.
fn check_page_size(params: &QueryParams<'_>) -> CqlResult<()> {
    match params.page_size {
        Some(0) => Err(CqlError::protocol("The page size cannot be 0")),
        _ => Ok(()),
    }
}

/// What no schema would have is not prepared either.
fn check_schema(database: &Database, statement: &Statement) -> CqlResult<()> {
    match &statement.body {
        Body::Other(tree) => {
            written::validate(tree, database.guardrails.is_on(Flag::DynamicDataMasking))
        }
        _ => Ok(()),
    }
}

/// What is prepared is kept, text and tree: a password is not.
fn check_keepable(statement: &Statement) -> CqlResult<()> {
    match statement.has_password() {
        false => Ok(()),
        true => Err(CqlError::invalid(
            "A statement with a password is not prepared, because it would be kept: send it as a query",
        )),
    }
}

/// The prepared statement of an id, if its tables are still what they were, or nothing that its clients know of it has changed with them.
fn known(database: &Database, id: &[u8]) -> CqlResult<Arc<Statement>> {
    let statement = database.prepared.get(id);
    let statement = statement.ok_or_else(|| CqlError::unprepared(id))?;
    if statement.holds_in(&database.catalog.load()) {
        return Ok(statement);
    }
    renewed(database, &statement).ok_or_else(|| CqlError::unprepared(id))
}

/// A statement whose tables are others now, analyzed again, unless a client has to be told what it is now. One that is told to prepare it again needs a round
/// trip for that, in which the tables may change once more: most drivers try no third time.
fn renewed(database: &Database, before: &Arc<Statement>) -> Option<Arc<Statement>> {
    let mut renewed = understand(database, &before.text, before.keyspace.as_deref()).ok()?;
    if !renewed.is_told_like(before) || check_counters(&renewed.body).is_err() {
        return None;
    }
    renewed.asked.statement = before.asked.statement;
    let renewed = Arc::new(renewed);
    database.prepared.renew(before, renewed.clone());
    Some(renewed)
}

/// Parses and analyzes.
fn understand(database: &Database, text: &str, keyspace: Option<&str>) -> CqlResult<Statement> {
    spanned::understanding(|| understand_text(database, text, keyspace))
}

fn understand_text(
    database: &Database,
    text: &str,
    keyspace: Option<&str>,
) -> CqlResult<Statement> {
    traces::note(|| format!("Parsing {}", traced::shown(text)));
    let tree = cql::parse(text).map_err(|error| CqlError::syntax(error.to_string()))?;
    let own = keyspace.filter(|_| !is_qualified(&tree));
    traces::note(|| "Preparing statement".into());
    let catalog = database.catalog.load();
    let masked = match database.guardrails.is_on(Flag::DynamicDataMasking) {
        true => masks::behind_masks(&tree, text, &catalog, keyspace)?,
        false => None,
    };
    let checked = analyze(tree, &catalog, keyspace)?;
    guardrails::check_statement(&database.guardrails, &checked.body)?;
    let mut statement = Statement::new(checked, text, own, &catalog)?;
    statement.masked = masked;
    if let Some(table) = table_of(&statement.body) {
        statement.asked.table = database.instruments.tables.place(table);
    }
    Ok(statement)
}

fn settings(
    frame: &Frame,
    params: &QueryParams<'_>,
    mode: MetadataMode,
    asker: &Asker,
) -> CqlResult<Settings> {
    Ok(Settings {
        version: frame.version,
        consistency: params.consistency,
        serial_consistency: params.serial_consistency,
        page_size: params
            .page_size
            .and_then(|size| u32::try_from(size).ok().filter(|size| *size > 0)),
        paging_state: params.paging_state.map(|state| frame.body.slice_ref(state)),
        timestamp: params.timestamp,
        now_seconds: params.now_in_seconds.map(i64::from),
        mode,
        asker: asker.clone(),
        is_superuser: false,
    })
}

/// Executes a statement with its values.
fn execute(
    database: &Arc<Database>,
    session: &mut Session,
    statement: Arc<Statement>,
    bound: Given,
    mut settings: Settings,
) -> CqlResult<Outcome> {
    session.asked = statement.asked;
    database.authority.permitted(session, &statement)?;
    settings.is_superuser = session.is_superuser;
    execute::check_level(&settings)?;
    match &statement.body {
        Body::Select(plan) => {
            let table = plan.table.id;
            let statement = match &statement.masked {
                None => statement,
                Some(masked) => {
                    masks::as_seen_by(&database.authority, &settings.asker, &statement, masked)?
                }
            };
            Ok(spanned::reading(table, || {
                execute::read::select(database, statement, bound, settings)
            }))
        }
        Body::Modify(_) => execute::write::modify(database, statement, bound, &settings),
        Body::Batch(batch) => {
            let kind = batch.kind;
            execute::write::batch(database, kind, vec![(statement, bound)], &settings)
        }
        Body::Use(keyspace) => {
            check_keyspace(database, Some(keyspace))?;
            session.keyspace = Some(keyspace.as_str().into());
            Ok(Outcome::Ready(Response::SetKeyspace(keyspace.clone())))
        }
        Body::Truncate(table) => {
            let database = database.clone();
            let table = table.clone();
            Ok(Outcome::Later(Box::pin(async move {
                execute::write::truncate(&database, table.id, &settings.asker)
                    .await
                    .map_or_else(Response::from, |()| Response::Void)
            })))
        }
        Body::Other(tree) => match &**tree {
            // The keyspace that a request names beside its statement is nothing to it.
            ast::Statement::Describe(tree) => {
                let keyspace = session.keyspace.as_deref();
                execute::describe::description(database, keyspace, &statement, tree, &settings)
                    .map(Outcome::Ready)
            }
            tree => execute::schema::begin(
                database,
                statement.keyspace.as_deref(),
                tree,
                session.asker(),
            ),
        },
    }
}

/// A BATCH message: statements by text or id, each with its own values.
fn batch(
    database: &Arc<Database>,
    session: &mut Session,
    frame: &Frame,
    request: &Batch<'_>,
) -> CqlResult<Outcome> {
    let kind = match request.kind {
        BatchKind::Logged => ast::BatchKind::Logged,
        BatchKind::Unlogged => ast::BatchKind::Unlogged,
        BatchKind::Counter => ast::BatchKind::Counter,
    };
    session.asked.operation = Operation::of_batch(kind, std::iter::empty());
    database.authority.admitted(session)?;
    check_keyspace(database, request.params.keyspace)?;
    let own = session.keyspace.clone();
    let keyspace = request.params.keyspace.or(own.as_deref());
    let mut statements = Vec::with_capacity(request.len());
    for entry in request.iter() {
        let statement = match entry.statement {
            BatchStatement::Query(text) => {
                let statement = understand(database, text, keyspace)?;
                check_counters(&statement.body)?;
                Arc::new(statement)
            }
            BatchStatement::Prepared(id) => known(database, id)?,
        };
        let bound = values::bind(&statement.markers, &entry.values, &frame.body);
        // Cassandra begins this sentence with a capital in a BATCH, and nowhere else.
        let bound = bound.map_err(|mut error| {
            if let Some(rest) = error.message.strip_prefix("there were ") {
                error.message = format!("There were {rest}");
            }
            error
        })?;
        statements.push((statement, bound));
    }
    // Each of them has to be understood before it is asked whether it may be here.
    for (place, (statement, _)) in statements.iter().enumerate() {
        if !matches!(statement.body, Body::Modify(_)) {
            return Err(CqlError::invalid(
                "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.",
            ));
        }
        if place == 0 {
            session.asked.statement = statement.asked.statement;
        }
        if statement.asked.operation == Operation::Cas {
            session.asked.operation = Operation::Cas;
        }
        database.authority.permitted(session, statement)?;
    }
    let mut settings = settings(frame, &request.params, MetadataMode::Full, session.asker())?;
    settings.is_superuser = session.is_superuser;
    execute::check_level(&settings)?;
    execute::write::batch(database, kind, statements, &settings)
}
