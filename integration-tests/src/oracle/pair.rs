//! Both servers side by side: the same steps go to each at the same time, and what they say is held together.
//!
//! After a difference both may hold different rows, so the block's tables are emptied on both; after a difference in the schema the block ends.
//! What Cassandra itself does not say twice alike is found out by asking it again (`contradiction`).
//! Indexes and views are built behind the answer to their CREATE: nothing else is sent before both servers' own tables say that they are.

mod asked;
mod contradiction;
mod lost;
mod reversed;
mod said;
mod surplus;
mod view;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Answer, Reply};
use super::compare;
use super::kept;
use super::step::{Batch, Block, Purpose, Step};
use super::wire::{Asker, Prepared, Request, Role};

/// A statement is not followed through more pages than this.
const PAGES_MAX: usize = 200;

/// Indexes and views of a block's few rows are built sooner on a machine that is alive.
const BUILD_LIMIT: Duration = Duration::from_secs(60);
const NOT_BUILT: &str = "an index or a view is not built";
const BUILD_POLL: Duration = Duration::from_millis(10);
/// The code of an error that says that a table was not emptied.
const TRUNCATE_ERROR: i32 = 0x1003;
/// The code of an error that says that a write failed.
const WRITE_FAILURE: i32 = 0x1500;

/// Two servers.
pub struct Pair {
    theirs: Asker,
    ours: Asker,
    /// The same two, asked by the role that may not see behind masks.
    readers: (Asker, Asker),
}

/// One step that was answered differently.
#[derive(Debug, Clone)]
pub struct Difference {
    /// What remains of it without this statement's names and numbers.
    pub heading: String,
    /// Its place in the block.
    pub place: usize,
    pub step: Step,
    pub theirs: Reply,
    pub ours: Reply,
    /// Why it is kept, if it is.
    pub kept: Option<&'static str>,
}

/// What came of a block.
#[derive(Debug, Default)]
pub struct Outcome {
    pub compared: u64,
    /// Statements that both carried out.
    pub accepted: u64,
    pub differences: Vec<Difference>,
    /// Whether the rest was not asked, because the two had other schemas or rows by then.
    pub is_cut_short: bool,
}

impl Pair {
    /// Nothing is connected yet.
    pub fn new(theirs: SocketAddr, ours: SocketAddr) -> Pair {
        Pair {
            theirs: Asker::new(theirs),
            ours: Asker::new(ours),
            readers: (
                Asker::of(theirs, Role::Reader),
                Asker::of(ours, Role::Reader),
            ),
        }
    }

    /// Makes the role that may not see behind masks.
    pub async fn make_reader(&mut self) -> Result<(), String> {
        let name = Role::Reader.name();
        for text in [
            format!("CREATE ROLE IF NOT EXISTS {name} WITH PASSWORD = '{name}' AND LOGIN = true"),
            format!("GRANT SELECT ON ALL KEYSPACES TO {name}"),
            format!("GRANT MODIFY ON ALL KEYSPACES TO {name}"),
        ] {
            let (theirs, ours) = self.both(&Request::plain(&text)).await;
            for (server, reply) in [("Cassandra", theirs), ("palladium", ours)] {
                if reply.is_refused() {
                    return Err(format!("{server} refused {text}: {reply}"));
                }
            }
        }
        Ok(())
    }

    /// Who a step is asked by, at either server.
    fn askers(&mut self, step: &Step) -> (&mut Asker, &mut Asker) {
        match step.by_reader {
            true => (&mut self.readers.0, &mut self.readers.1),
            false => (&mut self.theirs, &mut self.ours),
        }
    }

    /// Whether both answer at all: a comparison with nobody finds nothing.
    pub async fn answer(&mut self) -> Result<(), String> {
        let (theirs, ours) = self
            .both(&Request::plain("SELECT key FROM system.local"))
            .await;
        for (name, reply) in [("Cassandra", theirs), ("palladium", ours)] {
            if reply.is_refused() {
                return Err(format!("{name} does not answer: {reply}"));
            }
        }
        Ok(())
    }

    /// Runs a block from its empty keyspace on.
    pub async fn run(&mut self, block: &Block) -> Outcome {
        let mut outcome = Outcome::default();
        self.theirs.remember_keyspace(&block.keyspace);
        self.ours.remember_keyspace(&block.keyspace);
        if block.steps.iter().any(|step| step.by_reader) {
            self.readers.0.remember_keyspace(&block.keyspace);
            self.readers.1.remember_keyspace(&block.keyspace);
        }
        for text in [
            format!("DROP KEYSPACE IF EXISTS {}", block.keyspace),
            format!(
                "CREATE KEYSPACE {} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
                block.keyspace
            ),
            format!("USE {}", block.keyspace),
        ] {
            self.both(&Request::plain(&text)).await;
        }
        for (place, step) in block.steps.iter().enumerate() {
            outcome.compared += 1;
            let (mut difference, accepted) = self.step(place, step).await;
            outcome.accepted += u64::from(accepted);
            if accepted && builds(&step.text) {
                difference = self.built(&block.keyspace, place, step).await;
            }
            let Some(mut difference) = difference else {
                continue;
            };
            // One that was made to be wrong may be right, and read.
            let reads = step.purpose == Purpose::Read || step.text.starts_with("SELECT ");
            if difference.kept.is_none() && reads {
                difference.kept = self.contradiction(step, &difference).await;
            }
            if difference.kept.is_none() && self.mistakes_reversed(&difference).await {
                difference.kept = Some(kept::REVERSED_TYPE);
            }
            let diverged = difference.theirs.is_refused() != difference.ours.is_refused();
            let is_kept = difference.kept.is_some();
            let (theirs, ours) = (&difference.theirs.answer, &difference.ours.answer);
            let changes_schema = [theirs, ours]
                .into_iter()
                .any(|answer| matches!(answer, Answer::SchemaChange(_)));
            let is_lost = diverged && (step.purpose == Purpose::Schema || changes_schema)
                || difference.heading == NOT_BUILT;
            // What Cassandra has agreed on and failed to write it writes with the next condition on its partition.
            let is_half_written = matches!(theirs, Answer::Refused(refusal) if refusal.code == WRITE_FAILURE)
                && difference.step.text.contains(" IF ");
            outcome.differences.push(difference);
            let must_be_empty = !is_kept || step.purpose != Purpose::Read;
            if is_lost || is_half_written || must_be_empty && !self.empty(block).await {
                outcome.is_cut_short = place + 1 < block.steps.len();
                break;
            }
        }
        outcome
    }

    /// Empties the tables of both. False: Cassandra keeps its rows, as it does where it has taken what it cannot write down (a tuple that is none);
    /// there is nothing to compare with them. It says so the first time and not again.
    async fn empty(&mut self, block: &Block) -> bool {
        let mut is_empty = true;
        for table in &block.tables {
            let table = format!("{}.{table}", block.keyspace);
            let text = format!("TRUNCATE {table}");
            let (theirs, _) = self.both(&Request::plain(&text)).await;
            is_empty &= !matches!(theirs.answer, Answer::Refused(refusal) if refusal.code == TRUNCATE_ERROR);
            let text = format!("SELECT * FROM {table} LIMIT 1");
            let left = self.theirs.query(&Request::plain(&text)).await;
            is_empty &= !matches!(left.answer, Answer::Rows(left) if !left.rows.is_empty());
        }
        is_empty
    }

    async fn both(&mut self, request: &Request<'_>) -> (Reply, Reply) {
        tokio::join!(self.theirs.query(request), self.ours.query(request))
    }

    /// One step, through all of its pages. Says, too, whether both carried it out.
    async fn step(&mut self, place: usize, step: &Step) -> (Option<Difference>, bool) {
        let found = |theirs: Reply, ours: Reply, heading: String| {
            (Some(difference(place, step, theirs, ours, heading)), false)
        };
        if let Some(batch) = &step.batch {
            return self.batch(place, step, batch).await;
        }
        let mut ids = None;
        if step.prepared {
            ids = match self.prepare(step, &step.text).await {
                Ok(ids) => ids,
                Err((theirs, ours, heading)) => return found(theirs, ours, heading),
            };
            if ids.is_none() {
                return (None, false);
            }
        }
        let mut states = (None, None);
        for page in 0..PAGES_MAX {
            let (left, right) = (
                request(step, states.0.as_deref()),
                request(step, states.1.as_deref()),
            );
            let askers = self.askers(step);
            let (theirs, ours) = match &ids {
                Some((left_id, right_id)) => tokio::join!(
                    askers.0.execute(left_id, &left),
                    askers.1.execute(right_id, &right)
                ),
                None => tokio::join!(askers.0.query(&left), askers.1.query(&right)),
            };
            if let Some(heading) = compare::difference(&theirs, &ours) {
                let prefix = if page > 0 { "a later page: " } else { "" };
                return found(theirs, ours, format!("{prefix}{heading}"));
            }
            states = (page_state(&theirs), page_state(&ours));
            let (asker, id) = match (&states.0, &states.1) {
                (Some(_), Some(_)) => continue,
                (None, None) => return (None, !theirs.is_refused()),
                (Some(_), None) => (self.askers(step).0, ids.as_ref().map(|(left, _)| left)),
                (None, Some(_)) => (self.askers(step).1, ids.as_ref().map(|(_, right)| right)),
            };
            // An empty page told one that there is no more: the other must have nothing behind it either.
            let state = states.0.clone().or(states.1.clone());
            let Some(more) = behind_the_end(asker, id, step, state).await else {
                return (None, true);
            };
            let heading = "a later page: rows behind the other's end".to_owned();
            return match states.0 {
                Some(_) => found(more, ours, heading),
                None => found(theirs, more, heading),
            };
        }
        (None, true)
    }

    /// What both made of a text; `None` if both refused it alike.
    async fn prepare(
        &mut self,
        step: &Step,
        text: &str,
    ) -> Result<Option<(Prepared, Prepared)>, (Reply, Reply, String)> {
        let askers = self.askers(step);
        let (theirs, ours) = tokio::join!(askers.0.prepare(text), askers.1.prepare(text));
        if let Some(heading) = compare::difference(&theirs, &ours) {
            return Err((theirs, ours, format!("PREPARE {heading}")));
        }
        Ok(match (theirs.answer, ours.answer) {
            (
                Answer::Prepared { prepared: left, .. },
                Answer::Prepared {
                    prepared: right, ..
                },
            ) => Some((left, right)),
            _ => None,
        })
    }

    async fn batch(
        &mut self,
        place: usize,
        step: &Step,
        batch: &Batch,
    ) -> (Option<Difference>, bool) {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for member in &batch.members {
            if !member.prepared {
                left.push(None);
                right.push(None);
                continue;
            }
            match self.prepare(step, &member.text).await {
                Ok(Some((theirs, ours))) => {
                    left.push(Some(theirs));
                    right.push(Some(ours));
                }
                Ok(None) => return (None, false),
                Err((theirs, ours, heading)) => {
                    return (Some(difference(place, step, theirs, ours, heading)), false);
                }
            }
        }
        let askers = self.askers(step);
        let (theirs, ours) = tokio::join!(
            askers.0.batch(batch, &left, step.now_seconds),
            askers.1.batch(batch, &right, step.now_seconds)
        );
        match compare::difference(&theirs, &ours) {
            Some(heading) => {
                let heading = format!("BATCH {heading}");
                (Some(difference(place, step, theirs, ours, heading)), false)
            }
            None => (None, !theirs.is_refused()),
        }
    }

    /// Waits until every index and every view of the keyspace is built on both.
    async fn built(&mut self, keyspace: &str, place: usize, step: &Step) -> Option<Difference> {
        let begun = Instant::now();
        loop {
            let (theirs, ours) = tokio::join!(
                is_built(&mut self.theirs, keyspace),
                is_built(&mut self.ours, keyspace)
            );
            if theirs && ours {
                return None;
            }
            if begun.elapsed() > BUILD_LIMIT {
                let says = |is_built: bool| {
                    Reply::gone(match is_built {
                        true => "built".to_owned(),
                        false => format!("not built in {} s", BUILD_LIMIT.as_secs()),
                    })
                };
                let heading = NOT_BUILT.to_owned();
                let mut difference = difference(place, step, says(theirs), says(ours), heading);
                difference.kept = ours.then_some(kept::THEIRS_IS_NOT_BUILT);
                return Some(difference);
            }
            tokio::time::sleep(BUILD_POLL).await;
        }
    }
}

/// Whether something is built behind this statement's answer.
fn builds(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    text.starts_with("CREATE") && (text.contains("INDEX") || text.contains("VIEW"))
}

/// Cassandra writes down twice that a view is built, the second time a little later.
async fn is_built(asker: &mut Asker, keyspace: &str) -> bool {
    let indexes =
        format!("SELECT index_name FROM system_schema.indexes WHERE keyspace_name = '{keyspace}'");
    let views =
        format!("SELECT view_name FROM system_schema.views WHERE keyspace_name = '{keyspace}'");
    let pairs = [
        (
            &indexes,
            format!("SELECT index_name FROM system.\"IndexInfo\" WHERE table_name = '{keyspace}'"),
        ),
        (
            &views,
            format!("SELECT view_name FROM system.built_views WHERE keyspace_name = '{keyspace}'"),
        ),
        (
            &views,
            format!(
                "SELECT view_name FROM system_distributed.view_build_status WHERE keyspace_name = '{keyspace}' AND status = 'SUCCESS' ALLOW FILTERING"
            ),
        ),
    ];
    for (wanted, built) in pairs {
        let wanted = names(asker, wanted).await;
        if !wanted.is_empty() && !wanted.is_subset(&names(asker, &built).await) {
            return false;
        }
    }
    true
}

async fn names(asker: &mut Asker, text: &str) -> BTreeSet<bytes::Bytes> {
    match asker.query(&Request::plain(text)).await.answer {
        Answer::Rows(table) => table.rows.into_iter().flatten().flatten().collect(),
        _ => BTreeSet::new(),
    }
}

fn difference(
    place: usize,
    step: &Step,
    theirs: Reply,
    ours: Reply,
    heading: String,
) -> Difference {
    let kept = kept::kept(&step.text, &theirs, &ours);
    Difference {
        heading,
        place,
        step: step.clone(),
        theirs,
        ours,
        kept,
    }
}

fn request<'a>(step: &'a Step, page_state: Option<&'a [u8]>) -> Request<'a> {
    Request {
        text: &step.text,
        values: &step.values,
        page_rows: step.page_rows,
        page_state,
        now_seconds: step.now_seconds,
    }
}

/// What one still says after the other's end; `None` if that is nothing but empty pages.
async fn behind_the_end(
    asker: &mut Asker,
    id: Option<&Prepared>,
    step: &Step,
    mut state: Option<bytes::Bytes>,
) -> Option<Reply> {
    for _ in 0..PAGES_MAX {
        state.as_ref()?;
        let request = request(step, state.as_deref());
        let reply = match id {
            Some(id) => asker.execute(id, &request).await,
            None => asker.query(&request).await,
        };
        match &reply.answer {
            Answer::Rows(table) if table.rows.is_empty() => state = table.page_state.clone(),
            _ => return Some(reply),
        }
    }
    None
}

fn page_state(reply: &Reply) -> Option<bytes::Bytes> {
    match &reply.answer {
        Answer::Rows(table) => table.page_state.clone(),
        _ => None,
    }
}

impl<'a> Request<'a> {
    /// A text without values and pages.
    pub fn plain(text: &'a str) -> Request<'a> {
        Request {
            text,
            values: &[],
            page_rows: None,
            page_state: None,
            now_seconds: None,
        }
    }
}
