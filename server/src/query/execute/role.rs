//! Role statements: checked, hashed, checked again, written, swapped in, recorded.
//!
//! ```text
//! plan (may he?) ─► bcrypt, its turn on the blocking pool ─► one change at a time: plan ─► one durable mutation ─► the next snapshot ─► audit trail
//! ```
//!
//! What must hold: a change is seen by nobody before it is durable, and by every connection's next statement once it is answered. It runs to its end even if
//! its client has gone. Whoever may not make the change costs no hash.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{CmkRef, EncryptionContext};
use palladium_protocol::cql::ast::Statement;
use palladium_protocol::response::{EncodedMetadata, MetadataMode};
use palladium_storage::Write;
use zeroize::Zeroizing;

use crate::audit::{Asker, Event, Standing};
use crate::auth::change::{
    Change, Circumstances, Plan, Told, plain_password, plan, refused_to_nobody, start_of,
    told_of_refused,
};
use crate::auth::list::Listing;
use crate::auth::{Roles, SaltedHash, password, store};
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::query::Outcome;
use crate::query::answer::{Cells, Response, Rows, RowsMetadata};
use crate::query::prepared::metadata_id;

/// Bytes of a refusal's reason in the audit trail; it may quote what the client said.
const REASON_BYTES_MAX: usize = 1_024;

/// Begins such a statement, for a session in `keyspace`.
pub fn begin(
    database: &Arc<Database>,
    keyspace: Option<&str>,
    tree: &Statement,
    asker: &Asker,
) -> Outcome {
    let roles = database.authority.roles();
    // Refusals and lists need nothing but the snapshot.
    match planned(database, &roles, tree, keyspace, asker, None) {
        Err(error) => return refused(database, tree, error, asker),
        Ok(Plan::Nothing) => return Outcome::Ready(Response::Void),
        Ok(Plan::Rows(listing)) => return Outcome::Ready(shown(listing)),
        Ok(Plan::Change(_)) => {}
    }
    let Some(under_way) = database.turns.begin() else {
        let stopping = CqlError::overloaded("The server is shutting down");
        return Outcome::Ready(stopping.into());
    };
    let (database, tree) = (database.clone(), tree.clone());
    let (keyspace, asker) = (keyspace.map(str::to_owned), asker.clone());
    let work = tokio::spawn(async move {
        let _under_way = under_way;
        change(&database, keyspace.as_deref(), &tree, &asker).await
    });
    Outcome::Later(Box::pin(async move {
        match work.await {
            Ok(answer) => answer.unwrap_or_else(Response::from),
            Err(_) => CqlError::server("The change of roles was cut short").into(),
        }
    }))
}

/// Nobody prepares what only somebody may ask for, and is told what asking for it would be answered with.
pub fn check_asked_by_somebody(
    database: &Database,
    keyspace: Option<&str>,
    tree: &Statement,
    asker: &Asker,
) -> CqlResult<()> {
    if asker.standing != Standing::Anonymous {
        return Ok(());
    }
    let roles = database.authority.roles();
    planned(database, &roles, tree, keyspace, asker, None)?;
    Err(refused_to_nobody(tree))
}

/// Recorded, and answered with the error.
fn refused(database: &Arc<Database>, tree: &Statement, error: CqlError, asker: &Asker) -> Outcome {
    let now = database.trail.now_micros();
    let Some(event) = refusal(tree, &error, now, asker) else {
        return Outcome::Ready(error.into());
    };
    let database = database.clone();
    Outcome::Later(Box::pin(async move {
        database.audit.record(event).await;
        error.into()
    }))
}

/// What is recorded of a refused statement; None: it only asks.
fn refusal(tree: &Statement, error: &CqlError, begun: i64, asker: &Asker) -> Option<Event> {
    let told = told_of_refused(tree)?;
    let role = ("role".to_owned(), told.role);
    Some(Event {
        context: Some(EncryptionContext([role].into())),
        outcome: Err(start_of(&error.message, REASON_BYTES_MAX).to_owned()),
        asker: asker.clone(),
        ..Event::of_server(told.operation, begun)
    })
}

fn planned(
    database: &Database,
    roles: &Roles,
    tree: &Statement,
    keyspace: Option<&str>,
    asker: &Asker,
    hash: Option<&SaltedHash>,
) -> CqlResult<Plan> {
    let catalog = database.catalog.load();
    let of = Circumstances {
        authority: &database.authority,
        roles,
        asker,
        keyspace,
        catalog: &catalog,
        hash,
    };
    plan(tree, &of)
}

async fn change(
    database: &Database,
    keyspace: Option<&str>,
    tree: &Statement,
    asker: &Asker,
) -> CqlResult<Response> {
    let begun = database.trail.now_micros();
    let hash = match plain_password(tree) {
        Some(text) => Some(hashed(database, text).await?),
        None => None,
    };
    let _one_at_a_time = database.turns.turn().await;
    let before = database.authority.roles();
    let change = match planned(database, &before, tree, keyspace, asker, hash.as_ref()) {
        Ok(Plan::Nothing) => return Ok(Response::Void),
        Ok(Plan::Rows(listing)) => return Ok(shown(listing)),
        Ok(Plan::Change(change)) => *change,
        Err(error) => {
            if let Some(event) = refusal(tree, &error, begun, asker) {
                database.audit.record(event).await;
            }
            return Err(error);
        }
    };
    let Change {
        roles,
        warnings,
        told,
    } = change;
    let written = write(database, &before, &roles).await;
    if written.is_ok() {
        database.authority.store(roles);
    }
    record(database, told, begun, &written, asker).await;
    written?;
    Ok(match warnings.is_empty() {
        true => Response::Void,
        false => Response::Warned(Box::new(Response::Void), warnings),
    })
}

async fn hashed(database: &Database, text: &str) -> CqlResult<SaltedHash> {
    let authority = &database.authority;
    let text = Zeroizing::new(text.to_owned());
    let (rounds, salt) = (authority.rounds, authority.salt());
    authority
        .logins
        .make(move || password::hash(&text, rounds, salt))
        .await?
}

async fn write(database: &Database, before: &Roles, after: &Roles) -> CqlResult<()> {
    let now = database.engine.next_timestamp();
    let Some(mutation) = store::between(before, after, now) else {
        return Ok(());
    };
    let mutations = vec![mutation];
    let results = database.engine.write(vec![Write::new(mutations)]).await;
    match results.into_iter().next() {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

async fn record(
    database: &Database,
    told: Told,
    begun: i64,
    outcome: &CqlResult<()>,
    asker: &Asker,
) {
    let latency = database.trail.now_micros().saturating_sub(begun);
    let role = ("role".to_owned(), told.role);
    let more = told.more.into_iter();
    let more = more.map(|(name, value)| (name.to_owned(), value));
    let event = Event {
        table: told.table,
        key: told.key.and_then(|key| CmkRef::parse(&key).ok()),
        context: Some(EncryptionContext(
            std::iter::once(role).chain(more).collect(),
        )),
        outcome: outcome.clone().map_err(|error| error.message),
        latency: Duration::from_micros(u64::try_from(latency).unwrap_or_default()),
        asker: asker.clone(),
        ..Event::of_server(told.operation, begun)
    };
    database.audit.record(event).await;
}

fn shown(listing: Listing) -> Response {
    if listing.columns.is_empty() {
        return Response::Void;
    }
    let metadata = EncodedMetadata::new(&listing.columns, metadata_id(&listing.columns));
    let mut cells = Cells::default();
    for row in &listing.rows {
        cells.put_row(row.iter().map(Option::as_deref));
    }
    Response::Rows(Rows {
        metadata: RowsMetadata::Own(metadata),
        mode: MetadataMode::Full,
        paging_state: None,
        cells,
    })
}
