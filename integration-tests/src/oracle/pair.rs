//! Both servers side by side: the same steps go to each at the same time, and what they say is held together.
//!
//! After a difference both may hold different rows, so the block's tables are emptied on both; after a difference in the schema the block ends.

use std::net::SocketAddr;

use super::answer::{Answer, Reply};
use super::compare;
use super::kept;
use super::step::{Block, Purpose, Step};
use super::wire::{Asker, Request};

/// A statement is not followed through more pages than this.
const PAGES_MAX: usize = 200;

/// Two servers.
pub struct Pair {
    theirs: Asker,
    ours: Asker,
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
}

impl Pair {
    /// Nothing is connected yet.
    pub fn new(theirs: SocketAddr, ours: SocketAddr) -> Pair {
        Pair {
            theirs: Asker::new(theirs),
            ours: Asker::new(ours),
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
            let (difference, accepted) = self.step(place, step).await;
            outcome.accepted += u64::from(accepted);
            let Some(difference) = difference else {
                continue;
            };
            let diverged = difference.theirs.is_refused() != difference.ours.is_refused();
            let is_kept = difference.kept.is_some();
            outcome.differences.push(difference);
            if diverged && step.purpose == Purpose::Schema {
                break;
            }
            if !is_kept || step.purpose == Purpose::Write {
                self.empty(block).await;
            }
        }
        outcome
    }

    async fn empty(&mut self, block: &Block) {
        for table in &block.tables {
            let text = format!("TRUNCATE {}.{table}", block.keyspace);
            self.both(&Request::plain(&text)).await;
        }
    }

    async fn both(&mut self, request: &Request<'_>) -> (Reply, Reply) {
        tokio::join!(self.theirs.query(request), self.ours.query(request))
    }

    /// One step, through all of its pages. Says, too, whether both carried it out.
    async fn step(&mut self, place: usize, step: &Step) -> (Option<Difference>, bool) {
        let found = |theirs: Reply, ours: Reply, heading: String| {
            let kept = kept::kept(&step.text, &theirs, &ours);
            let difference = Difference {
                heading,
                place,
                step: step.clone(),
                theirs,
                ours,
                kept,
            };
            (Some(difference), false)
        };
        let mut ids = None;
        if step.prepared {
            let (theirs, ours) = tokio::join!(
                self.theirs.prepare(&step.text),
                self.ours.prepare(&step.text)
            );
            if let Some(heading) = compare::difference(&theirs, &ours) {
                return found(theirs, ours, format!("PREPARE {heading}"));
            }
            match (&theirs.answer, &ours.answer) {
                (Answer::Prepared { id: left, .. }, Answer::Prepared { id: right, .. }) => {
                    ids = Some((left.clone(), right.clone()));
                }
                _ => return (None, false),
            }
        }
        let mut states = (None, None);
        for page in 0..PAGES_MAX {
            let request = |state| Request {
                text: &step.text,
                values: &step.values,
                page_rows: step.page_rows,
                page_state: state,
            };
            let (left, right) = (request(states.0.as_deref()), request(states.1.as_deref()));
            let (theirs, ours) = match &ids {
                Some((left_id, right_id)) => tokio::join!(
                    self.theirs.execute(left_id, &left),
                    self.ours.execute(right_id, &right)
                ),
                None => tokio::join!(self.theirs.query(&left), self.ours.query(&right)),
            };
            if let Some(heading) = compare::difference(&theirs, &ours) {
                let prefix = if page > 0 { "a later page: " } else { "" };
                return found(theirs, ours, format!("{prefix}{heading}"));
            }
            states = (page_state(&theirs), page_state(&ours));
            let (asker, id) = match (&states.0, &states.1) {
                (Some(_), Some(_)) => continue,
                (None, None) => return (None, !theirs.is_refused()),
                (Some(_), None) => (&mut self.theirs, ids.as_ref().map(|(left, _)| left)),
                (None, Some(_)) => (&mut self.ours, ids.as_ref().map(|(_, right)| right)),
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
}

/// What one still says after the other's end; `None` if that is nothing but empty pages.
async fn behind_the_end(
    asker: &mut Asker,
    id: Option<&bytes::Bytes>,
    step: &Step,
    mut state: Option<bytes::Bytes>,
) -> Option<Reply> {
    for _ in 0..PAGES_MAX {
        state.as_ref()?;
        let request = Request {
            text: &step.text,
            values: &step.values,
            page_rows: step.page_rows,
            page_state: state.as_deref(),
        };
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
        }
    }
}
