//! `ORDER BY v ANN OF [..] LIMIT k`: rows that a graph names, nearest first, until k of them hold the vector that they were named by.
//!
//! ```text
//! nothing is restricted      graph ─► rows
//! something is               rows that the WHERE names, all of them, if they are few ─► else graph ─► rows
//! the graph does not help    every row that the WHERE lets through is compared
//! ```
//!
//! A row that a graph names is read, and what it holds now decides: one that holds another vector by now was named for nothing, and if the other one is near, too, it
//! is named by that. The rest of the WHERE is tried on it as on any row. When the rows that were named do not suffice, more are asked for, and at last the graph is asked
//! to compare everything; so the answer is never shorter than it should be.
//!
//! What must hold: where the graph is left for comparing every row, that begins where it had been, with what had been kept.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use palladium_storage::{
    Beside, CellState, KeyRange, PartitionKey, ReadCommand, ReadPage, ReadPosition, ReadRows,
    Slices, Store, Token,
};

use super::groups::Kept;
use super::{Keys, Next, Select, Settings};
use crate::database::Database;
use crate::derived::layout::Candidate;
use crate::derived::nearest::{self, Nearby, Search, Searched, Vectors, check, floats, hash};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::SelectPlan;
use crate::query::expression::{Bound, Expression, Scope};
use crate::schema::{ColumnKind, TableSchema};
use crate::traces;

/// Rows that are compared one by one before a graph is asked.
const TRIED_MAX: usize = 2_000;
/// Rows that are read because the graph named them: for each that is wanted, and at least. Past it, comparing all that the WHERE lets through costs less.
const READS_PER_WANTED: usize = 20;
const READS_MIN: usize = 2_000;
/// Seconds by which readings of one clock differ, taken by several at a time. A clock that shows less than that was set.
const SECONDS_APART_MAX: i64 = 10;
/// In a second look so many times as many are asked for.
const WIDER: usize = 8;

/// A search under way.
pub(super) struct Near {
    table: Arc<TableSchema>,
    /// The column of the vectors, and the store of its index.
    column: usize,
    store: Store,
    meant: Meant,
    vector: Vec<f32>,
    wanted: usize,
    stage: Stage,
    /// Rows that were compared before the graph was asked.
    tried: usize,
    /// Named, and not read yet.
    queue: VecDeque<Nearby>,
    /// What the graph was asked last, and how often it was.
    searched: Option<Searched>,
    looks: usize,
    /// Named before.
    named: HashSet<(u32, Candidate)>,
    /// Being read, and which of its partition's rows.
    current: Option<(Nearby, Slices)>,
    /// Whether it is the one that it was named for.
    is_live: bool,
    reads: usize,
    /// Rows that are in the answer if nothing is nearer.
    pub(super) live: usize,
    /// Where comparing every row was left.
    paused: Option<Paused>,
    /// The second at which this is asked.
    seconds: i64,
    /// By the server's own clock: what has expired is gone for all who go by it.
    may_forget: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Rows that the WHERE names are compared: they may be few.
    Trying,
    Graph,
}

#[derive(Default)]
struct Paused {
    kept: Vec<Kept>,
    resume: Option<ReadPosition>,
}

/// The partitions that may be named.
enum Meant {
    All,
    Named(HashSet<Bytes>),
    Range(KeyRange),
}

/// What a row that was named is.
pub(super) enum Named {
    /// What it was named for.
    Live,
    /// Something else by now, or gone.
    Stale,
}

/// What is nearest comes at once, whatever the size of a page.
pub(super) fn no_pages(settings: &Settings, limit: u32) -> Option<String> {
    let size = settings.page_size.filter(|size| *size < limit)?;
    Some(format!(
        "Top-K queries do not support paging and the page size is set to {size}, which is less than LIMIT {limit}. The page size has been set \
         to {limit} to match the LIMIT."
    ))
}

/// The vector that is looked for.
fn vector_of(plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<Option<Vec<f32>>> {
    let Some(near) = &plan.nearest else {
        return Ok(None);
    };
    let name = &plan.table.columns[near.column].name;
    let vector = match near.to.evaluate(scope)? {
        Bound::Value(value) => floats(&value),
        Bound::Null => {
            return Err(CqlError::invalid(format!(
                "Unsupported null value for column {name}"
            )));
        }
        Bound::Unset => {
            return Err(CqlError::invalid(format!(
                "Unsupported unset value for column {name}"
            )));
        }
    };
    check(nearest::metric(&near.index), &vector)?;
    Ok(Some(vector))
}

/// Begins a search. None: every row is compared, because none is asked for or no graph is ready; then one is made ready. `wanted`: how many rows.
pub(super) fn begin(
    database: &Arc<Database>,
    plan: &SelectPlan,
    scope: &Scope<'_>,
    keys: &Keys,
    wanted: u32,
    may_forget: bool,
    warnings: &mut Vec<String>,
) -> CqlResult<Option<Box<Near>>> {
    let (Some(near), Some(vector)) = (&plan.nearest, vector_of(plan, scope)?) else {
        return Ok(None);
    };
    match database
        .engine
        .beside::<Vectors>(plan.table.id, near.index.store)
    {
        // Closed: whoever reads its rows opens it.
        Err(_) => return Ok(None),
        Ok(None) => {
            nearest::begin(database, &plan.table, &near.index);
            return Ok(None);
        }
        Ok(Some(vectors)) if vectors.is_too_large() => {
            warnings.push(format!(
                "The vectors of index {} take more memory than graphs may: every row is compared",
                near.index.name
            ));
            return Ok(None);
        }
        Ok(Some(_)) => {}
    }
    let meant = Meant::of(keys);
    let is_restricted = !matches!(meant, Meant::All) || plan.restrictions.index.is_some();
    Ok(Some(Box::new(Near {
        table: plan.table.clone(),
        column: near.column,
        store: near.index.store,
        meant,
        vector,
        wanted: wanted as usize,
        stage: match is_restricted {
            true => Stage::Trying,
            false => Stage::Graph,
        },
        tried: 0,
        queue: VecDeque::new(),
        searched: None,
        looks: 0,
        named: HashSet::new(),
        current: None,
        is_live: false,
        reads: 0,
        live: 0,
        paused: Some(Paused::default()),
        seconds: scope.moment.seconds,
        may_forget,
    })))
}

impl Select {
    pub(super) fn is_by_graph(&self) -> bool {
        self.near.as_ref().is_some_and(|near| near.is_by_graph())
    }

    /// Rows that a graph names; None within: these were all. None: it does not help, and every row is compared from now on.
    pub(super) fn next_near(&mut self) -> Option<Option<ReadCommand>> {
        let near = self.near.as_mut()?;
        match near.next(&self.database, &self.slices, self.resume.is_some()) {
            Some(Next::Rows(range, slices)) => Some(Some(self.command(range, slices))),
            Some(Next::Entries(_) | Next::End) => {
                self.done = true;
                Some(None)
            }
            None => {
                let Paused { kept, resume } = near.paused();
                (self.kept, self.resume, self.near) = (kept, resume, None);
                None
            }
        }
    }

    /// Rows were compared that the WHERE names. If they are not few, the graph is asked.
    pub(super) fn ask_graph(&mut self, rows: usize) {
        if let Some(near) = &mut self.near
            && !self.done
            && near.has_tried_enough(rows)
        {
            near.ask_graph(Paused {
                kept: std::mem::take(&mut self.kept),
                resume: self.resume.take(),
            });
        }
    }
}

impl Near {
    /// Whether rows are named by the graph now.
    pub(super) fn is_by_graph(&self) -> bool {
        self.stage == Stage::Graph
    }

    /// Counts rows that were compared without the graph. Whether it is time to ask it.
    fn has_tried_enough(&mut self, rows: usize) -> bool {
        self.tried += rows;
        self.stage == Stage::Trying && self.tried > TRIED_MAX
    }

    /// From now on the graph names rows; what was kept of others waits.
    fn ask_graph(&mut self, paused: Paused) {
        self.stage = Stage::Graph;
        self.live = 0;
        self.paused = Some(paused);
    }

    /// What the graph was asked instead of.
    fn paused(&mut self) -> Paused {
        self.paused.take().unwrap_or_default()
    }

    /// What to read next. None: the graph does not help. `is_within`: the partition at hand has more.
    fn next(&mut self, database: &Database, slices: &Slices, is_within: bool) -> Option<Next> {
        if is_within && let Some((current, own)) = &self.current {
            let range = KeyRange::One(current.candidate.key.clone());
            return Some(Next::Rows(range, own.clone()));
        }
        loop {
            if self.live >= self.wanted {
                return Some(Next::End);
            }
            while let Some(nearby) = self.queue.pop_front() {
                let Some(own) = slices_of(&nearby.candidate, slices) else {
                    continue;
                };
                if self.reads >= READS_MIN.max(READS_PER_WANTED * self.wanted) {
                    return None;
                }
                self.reads += 1;
                let range = KeyRange::One(nearby.candidate.key.clone());
                self.current = Some((nearby, own.clone()));
                self.is_live = false;
                return Some(Next::Rows(range, own));
            }
            if self
                .searched
                .as_ref()
                .is_some_and(|searched| searched.is_all)
            {
                return Some(Next::End);
            }
            if !self.look(database) {
                return None;
            }
        }
    }

    /// Asks the graph, each time for more. Whether it said anything new, or that this was all.
    fn look(&mut self, database: &Database) -> bool {
        let limit = READS_MIN.max(READS_PER_WANTED * self.wanted) + 1;
        let (count, all) = match self.looks {
            // A few more: some may be stale.
            0 => (self.wanted + self.wanted / 4 + 2, false),
            1 => (WIDER * self.wanted, false),
            2 => (limit, true),
            _ => return false,
        };
        self.looks += 1;
        let Some(vectors) = self.vectors(database) else {
            return false;
        };
        let is_meant = |token, key: &[u8]| self.meant.has(token, key);
        let searched = vectors.search(&Search {
            vector: &self.vector,
            count: count.min(limit),
            all,
            is_meant: match self.meant {
                Meant::All => None,
                _ => Some(&is_meant),
            },
        });
        let Some(mut searched) = searched else {
            return false;
        };
        traces::note(|| {
            let named = searched.nearby.len();
            match all {
                true => format!("Comparing all vectors named {named} rows"),
                false => format!("The graph of vectors named {named} rows"),
            }
        });
        if self.seconds < searched.lived_until {
            // It has forgotten what is there at this second, be it that a client says so or that the clock was ahead for a while.
            if self.may_forget && searched.lived_until - self.seconds > SECONDS_APART_MAX {
                let number = vectors.number;
                drop(vectors);
                nearest::end(database, self.table.id, self.store, number);
            }
            return false;
        }
        let before = self.searched.as_ref();
        if before.is_some_and(|before| before.generation != searched.generation) {
            // Nodes have other numbers: what was read may be named again, and would be kept twice.
            return false;
        }
        let nearby = std::mem::take(&mut searched.nearby).into_iter();
        for nearby in nearby {
            if self.named.insert((nearby.node, nearby.candidate.clone())) {
                self.queue.push_back(nearby);
            }
        }
        self.searched = Some(searched);
        true
    }

    /// What the row is that was read because it had been named.
    pub(super) fn judge(
        &mut self,
        database: &Database,
        command: &ReadCommand,
        page: &ReadPage<ReadRows>,
    ) -> CqlResult<Named> {
        let Some((current, _)) = &self.current else {
            return Ok(Named::Stale);
        };
        // The second page of a partition.
        if self.is_live {
            return Ok(Named::Live);
        }
        self.is_live = held(&self.table, self.column, current, page)?.is_some();
        if self.is_live {
            return Ok(Named::Live);
        }
        // Also the liveness of a row that has expired, which is no tombstone.
        let is_nothing_hidden = page.hidden.newest == i64::MIN;
        let lived_until = match is_nothing_hidden {
            _ if !self.may_forget => None,
            true => Some(i64::MIN),
            false => self.lived_until(database, command, current)?,
        };
        if let (Some(lived_until), Some(searched)) = (lived_until, &self.searched)
            && let Some(vectors) = self.vectors(database)
        {
            vectors.forget(searched, current, lived_until);
        }
        Ok(Named::Stale)
    }

    /// Until when a row that was read in vain held what it was named by, if it has expired. None: that takes waiting, and is asked when it is read again.
    fn lived_until(
        &self,
        database: &Database,
        command: &ReadCommand,
        current: &Nearby,
    ) -> CqlResult<Option<i64>> {
        let earlier = ReadCommand {
            now: i64::MIN,
            ..command.clone()
        };
        let clock = database.engine.reading();
        let Some(Ok(page)) = database.engine.try_read_encoded(&earlier, clock) else {
            return Ok(None);
        };
        let until = held(&self.table, self.column, current, &page)?;
        Ok(Some(
            until.map_or(i64::MIN, |until| until.min(self.seconds)),
        ))
    }

    fn vectors(&self, database: &Database) -> Option<Beside<Vectors>> {
        let beside = database.engine.beside(self.table.id, self.store);
        beside.ok().flatten()
    }
}

/// Whether a row can be near to anything: one that could not be written with the index there was written before it.
pub(super) fn has_direction(plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<bool> {
    let Some(near) = &plan.nearest else {
        return Ok(true);
    };
    let vector = Expression::Column(near.column).evaluate(scope)?.value();
    let metric = nearest::metric(&near.index);
    Ok(vector.is_some_and(|vector| check(metric, &floats(&vector)).is_ok()))
}

impl Meant {
    fn of(keys: &Keys) -> Meant {
        match keys {
            Keys::Nothing => Meant::Named(HashSet::new()),
            Keys::Named(keys) => Meant::Named(keys.iter().map(|key| key.bytes().clone()).collect()),
            Keys::Range(range) if *range == KeyRange::all() => Meant::All,
            Keys::Range(range) => Meant::Range(range.clone()),
        }
    }

    fn has(&self, token: Token, key: &[u8]) -> bool {
        match self {
            Meant::All => true,
            Meant::Named(keys) => keys.contains(key),
            Meant::Range(range) => {
                let own = PartitionKey::new(token, Bytes::copy_from_slice(key));
                let is_behind_start = match range {
                    KeyRange::One(first) => *first <= own,
                    KeyRange::Range { start, .. } => !start.is_after_key(&own),
                };
                is_behind_start && !range.ends_before(&own)
            }
        }
    }
}

/// Until when a row, or a partition as a whole, holds the vector that it was named by, as a page has it. None: it does not hold it.
fn held(
    table: &TableSchema,
    column: usize,
    nearby: &Nearby,
    page: &ReadPage<ReadRows>,
) -> CqlResult<Option<i64>> {
    let column = &table.columns[column];
    for partition in &page.partitions {
        let row = match (&nearby.candidate.clustering, column.kind) {
            // A part of the key does not change: it is enough that there is anything.
            (_, ColumnKind::PartitionKey | ColumnKind::Clustering) => {
                if partition.static_row.is_some() || !partition.rows.is_empty() {
                    return Ok(Some(i64::MAX));
                }
                continue;
            }
            (None, _) => partition.static_row.as_deref().cloned(),
            (Some(own), _) => {
                let mut rows = partition.rows.iter();
                let row = rows.find(|row| row.clustering() == &own.0[..]);
                row.map(|row| row.to_row()).transpose()?
            }
        };
        let Some(cell) = row.as_ref().and_then(|row| row.cell(column.id)) else {
            continue;
        };
        if cell
            .value()
            .is_some_and(|value| hash(&floats(value)) == nearby.hash)
        {
            return Ok(Some(match cell.state {
                CellState::Expiring { expires_at, .. } => expires_at,
                CellState::Live(_) | CellState::Tombstone { .. } => i64::MAX,
            }));
        }
    }
    Ok(None)
}

/// The rows that are meant of what was named. None: none.
fn slices_of(candidate: &Candidate, slices: &Slices) -> Option<Slices> {
    match &candidate.clustering {
        None => Some(slices.clone()),
        Some(own) if !slices.contains(&own.0) => None,
        Some(own) if own.0[..] == [0x80] => Some(Slices::single()),
        Some(own) => {
            let (start, end) = key::around(own);
            Some(Slices::row(start, own.clone(), end))
        }
    }
}
