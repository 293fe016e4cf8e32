//! SELECT: commands to storage, pages back, rows to the client.
//!
//! ```text
//! keys (one after the other, or a range) ─► ReadCommand ─► ReadPage ─► filter ─► project ─► cells
//!                                              ▲                          │ groups, sort: kept until the end
//!                                              └── resume ────────────────┘
//! ```
//!
//! What is in memory is answered while the request is begun; the first page that is not turns the rest into a future. Both
//! run the same steps: `next_command`, `take`, `finish`. What happens to a row is in `rows`, and in `groups` where rows are
//! taken together or sorted.
//!
//! Where an index finds the rows, commands to its store come between those to the base: `indexed`. What is nearest to a vector is named by a graph: `near`.
//!
//! What must hold: a page ends exactly behind the row its state names, whatever filters left out on the way; no group is on two pages.

mod groups;
mod indexed;
mod located;
mod near;
mod rows;
mod tombstones;

use std::sync::Arc;

use bytes::BytesMut;
use palladium_storage::{
    KeyRange, Limits, PartitionKey, ReadCommand, ReadPage, ReadPosition, ReadRows, Reading, Slices,
};

use self::groups::{Group, Kept, accumulators};
use self::indexed::{Indexed, Next};
use self::located::{aggregation_warning, executing, is_paged, located, wants_no_rows};
use self::near::{Named, Near, no_pages};
use self::tombstones::Passed;
use super::{Settings, moment, moment_in_seconds, read_page, try_read};
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::Limit;
use crate::query::Outcome;
use crate::query::analyze::SelectPlan;
use crate::query::analyze::nearest;
use crate::query::answer::{Cells, Response, Rows, RowsMetadata};
use crate::query::check;
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::functions::Moment;
use crate::query::paging::{PageState, fingerprint};
use crate::query::plan::Keys;
use crate::query::prepared::Statement;
use crate::query::values::Given;
use crate::traces;

pub use self::rows::clustering_values;

/// Rows asked of storage at a time where not every row read is shown.
const INNER_ROWS: u32 = 2_000;
/// Bytes of rows that storage gathers at a time.
const INNER_BYTES: usize = 4 << 20;
/// Rows that are kept in memory to be sorted, or groups that are kept until they are shown.
const KEPT_ROWS_MAX: usize = 1_000_000;
/// Bytes that are set aside for the cells of an answer: enough for most rows read by their key.
const CELLS_BYTES: usize = 512;
/// Rows read before others get a turn: about a millisecond's worth.
const EFFORT_MAX: usize = 2_000;
/// What asking storage once costs, in rows.
const EFFORT_OF_PAGE: usize = 10;
/// The same of a block that had to be opened.
const EFFORT_OF_BLOCK: usize = 5;
/// Reads in memory share a reading of the clocks for so long.
const EFFORT_OF_READING: usize = 200;
/// Bytes of an answer that nobody counts: its connection does once it is encoded.
const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of one answer: what a driver can still take in.
const ANSWER_BYTES_MAX: usize = 200 << 20;

/// Answers a SELECT, now or later.
pub fn select(
    database: &Arc<Database>,
    statement: Arc<Statement>,
    bound: Given,
    settings: Settings,
) -> Outcome {
    let (mut clock, mut is_new_from) = (database.engine.reading(), EFFORT_OF_READING);
    let mut select = match Select::boxed(database.clone(), statement, bound, settings, clock) {
        Ok(select) => select,
        Err(error) => return Outcome::Ready(error.into()),
    };
    loop {
        let Some(command) = select.next_command() else {
            return Outcome::Ready(select.finish().unwrap_or_else(Response::from));
        };
        // What a graph costs to search is not counted.
        if select.effort >= is_new_from || select.is_by_graph() {
            clock = database.engine.reading();
            is_new_from = select.effort + EFFORT_OF_READING;
        }
        match try_read(
            database,
            &select.plan().table,
            &command,
            &select.settings.asker,
            clock,
        ) {
            Some(Ok(page)) => {
                if let Err(error) = select.take(page, &command) {
                    return Outcome::Ready(select.failed(error));
                }
            }
            Some(Err(error)) => return Outcome::Ready(error.into()),
            None => {
                return Outcome::Later(Box::pin(async move {
                    select.run(command).await.unwrap_or_else(Response::from)
                }));
            }
        }
        if select.has_read_enough_at_once() {
            return Outcome::Later(Box::pin(async move {
                match select.next_command() {
                    Some(command) => select.run(command).await,
                    None => select.finish(),
                }
                .unwrap_or_else(Response::from)
            }));
        }
    }
}

/// A SELECT under way.
struct Select {
    database: Arc<Database>,
    statement: Arc<Statement>,
    bound: Given,
    settings: Settings,
    fingerprint: Option<[u8; 16]>,
    keys: Keys,
    /// The next of `keys`, if they are named.
    next_key: usize,
    slices: Slices,
    resume: Option<ReadPosition>,
    /// What brings the rows, if not their keys.
    indexed: Option<Box<Indexed>>,
    /// What names the rows that may be nearest.
    near: Option<Box<Near>>,
    done: bool,
    micros: i64,
    seconds: i64,
    /// Rows (or groups) that LIMIT still allows.
    left: u32,
    per_partition: u32,
    /// Rows that the page still has room for.
    page_left: u32,
    /// Bytes at which the page ends though it has room for more rows.
    page_bytes_max: usize,
    /// Shown of the partition at hand, with those of earlier pages.
    in_partition: u32,
    partition_at_hand: Option<PartitionKey>,
    /// Where the page ended, if there may be more.
    page_state: Option<Box<PageState>>,
    cells: Cells,
    group: Option<Box<Group>>,
    /// Where the group ended that filled the answer.
    group_end: Option<ReadPosition>,
    kept: Vec<Kept>,
    /// What was done since others had a turn, in rows.
    effort: usize,
    /// What was read past, of the partition or the range at hand.
    passed: Passed,
    /// What the client is told beside its rows.
    warnings: Vec<String>,
}

impl Select {
    /// In a box: it is large, and moved often.
    fn boxed(
        database: Arc<Database>,
        statement: Arc<Statement>,
        bound: Given,
        settings: Settings,
        clock: Reading,
    ) -> CqlResult<Box<Self>> {
        super::consistency::check_read(&settings)?;
        let plan = plan_of(&statement);
        let moment = match plan.asks_for_time {
            true => moment(&database, &settings),
            false => moment_in_seconds(&database, &settings, clock),
        };
        let scope = Scope::of_values(&bound, &moment);
        let limit = |expression: &Option<Expression>, name: &str| -> CqlResult<u32> {
            let Some(expression) = expression else {
                return Ok(u32::MAX);
            };
            let value = match expression.evaluate(&scope)? {
                Bound::Value(value) => value,
                Bound::Unset => return Ok(u32::MAX),
                Bound::Null => {
                    return Err(CqlError::invalid(format!(
                        "Invalid null value of {}",
                        name.to_lowercase()
                    )));
                }
            };
            let number = value[..].try_into().map(i32::from_be_bytes);
            match number.ok().and_then(|number| u32::try_from(number).ok()) {
                Some(number) if number > 0 => Ok(number),
                _ => Err(CqlError::invalid(format!(
                    "{name} must be strictly positive"
                ))),
            }
        };
        let mut left = limit(&plan.limit, "LIMIT")?;
        let per_partition = limit(&plan.per_partition_limit, "LIMIT")?;
        if let Some(error) = &plan.incalculable {
            return Err(error.clone());
        }
        if bound.has_refused() {
            check_shown(plan, &scope)?;
        }
        if plan.calls_bound {
            let arguments = plan.aggregates.iter();
            let arguments = arguments.filter_map(|aggregate| aggregate.argument.as_ref());
            for shown in plan.shown.iter().chain(arguments) {
                shown.expression.check_calls(&scope)?;
            }
        }
        if let Some(by) = &plan.group_by {
            by.check(&scope)?;
        }
        let mut warnings = Vec::new();
        if let Some(near) = &plan.nearest {
            indexed::check_built(&near.index)?;
            warnings.extend(super::consistency::check_nearest(&settings)?);
            nearest::check(plan, left)?;
            warnings.extend(no_pages(&settings, left));
        }
        for key in &plan.chosen {
            key.check(&scope)?;
        }
        let (keys, positions) = located(plan, &scope)?;
        let guardrails = database.guardrails_of(settings.is_superuser);
        super::consistency::guard(guardrails, &settings, false, &mut warnings)?;
        let mut guard = |limit, value: usize, what: &str| -> CqlResult<()> {
            if let Some(warning) = guardrails.check(limit, value as u64, what)? {
                warnings.push(warning);
            }
            Ok(())
        };
        let table_name = &plan.table.name;
        let page_size = settings.page_size.unwrap_or(0) as usize;
        guard(Limit::PageSize, page_size, table_name)?;
        let prefixes = positions.prefixes.len();
        guard(Limit::InSelectCartesianProduct, prefixes, "clustering key")?;
        if let Keys::Named(keys) = &keys {
            let count = keys.len();
            guard(Limit::InSelectCartesianProduct, count, "partition key")?;
            guard(Limit::PartitionKeysInSelect, count, table_name)?;
        }
        let slices = positions.slices(&plan.table)?;
        let is_paged = is_paged(plan, &settings, left);
        // Of groups a page holds so many; one answer for all rows is never cut, nor is what is nearest.
        let is_whole = plan.nearest.is_some()
            || plan.is_aggregate() && (plan.group_by.is_none() || plan.distinct);
        let paged = settings.page_size.filter(|_| !is_whole);
        let is_nothing = matches!(&keys, Keys::Named(keys) if keys.is_empty())
            || matches!(keys, Keys::Nothing)
            || wants_no_rows(plan, &positions, &slices);
        if plan.sort.is_some()
            && plan.nearest.is_none()
            && is_paged
            && (plan.is_aggregate() || !is_nothing)
        {
            return Err(CqlError::invalid(
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either remove the \
                 ORDER BY or the IN and sort client side, or disable paging for this query",
            ));
        }
        if plan.nearest.is_none() && !is_nothing {
            let at_once = match &keys {
                Keys::Named(keys) if !is_paged && !plan.is_aggregate() => keys.len(),
                _ => 1,
            };
            super::consistency::check_rows(&plan.table, at_once, &settings)?;
        }
        let mut indexed = match &plan.restrictions.index {
            Some(choice) => {
                let judge = plan.restrictions.judge;
                let indexed = Indexed::new(&plan.table, choice, judge, &keys, &scope)?;
                Some(Box::new(indexed))
            }
            None => None,
        };
        let mut resume = None;
        let mut next_key = 0;
        let mut print = None;
        if let Some(state) = &settings.paging_state {
            let own = fingerprint(&statement, &bound);
            let state = PageState::open(state, &database.page_seal, &own)?;
            left = state.left;
            print = Some(own);
            if let Keys::Named(keys) = &keys {
                next_key = keys
                    .iter()
                    .position(|key| *key == state.position.key)
                    .ok_or_else(|| CqlError::protocol("Invalid value for the paging state"))?;
            }
            resume = Some(state.position);
        }
        // What is looked up, put together or sorted before it is shown is bounded by rows alone.
        let is_plain = !plan.is_aggregate() && plan.sort.is_none() && indexed.is_none();
        let page_bytes_max = match paged.is_some() && is_plain {
            true => database.in_flight.page_bytes_max(),
            false => usize::MAX,
        };
        let by_server = settings.now_seconds.is_none();
        let near = near::begin(
            &database,
            plan,
            &scope,
            &keys,
            left,
            by_server,
            &mut warnings,
        )?;
        traces::note(|| executing(plan, &keys));
        let (micros, seconds) = (moment.micros, moment.seconds);
        let mut select = Box::new(Select {
            done: matches!(keys, Keys::Nothing)
                || matches!(&keys, Keys::Named(keys) if keys.is_empty()),
            page_left: paged.unwrap_or(u32::MAX),
            page_bytes_max,
            in_partition: resume
                .as_ref()
                .map_or(0, |position: &ReadPosition| position.returned_in_partition),
            partition_at_hand: resume.as_ref().map(|position| position.key.clone()),
            database,
            statement,
            bound,
            settings,
            fingerprint: print,
            keys,
            next_key,
            slices,
            resume,
            indexed: None,
            near,
            micros,
            seconds,
            left,
            per_partition,
            page_state: None,
            cells: Cells {
                bytes: BytesMut::with_capacity(CELLS_BYTES),
                rows: 0,
                held: None,
            },
            group: None,
            group_end: None,
            kept: Vec::new(),
            effort: 0,
            passed: Passed::default(),
            warnings,
        });
        if let (Some(indexed), Some(position)) = (&mut indexed, &select.resume) {
            let statement = select.statement.clone();
            let plan = plan_of(&statement);
            if let Some(choice) = &plan.restrictions.index
                && !indexed.go_on(&plan.table, choice, position, &select.slices)
            {
                select.resume = None;
            }
        }
        select.indexed = indexed;
        // A partition that was read to its end is not looked at again.
        if matches!(select.keys, Keys::Named(_))
            && select
                .resume
                .as_ref()
                .is_some_and(|position| position.clustering.is_none())
        {
            select.advance();
        }
        Ok(select)
    }

    fn plan(&self) -> &SelectPlan {
        plan_of(&self.statement)
    }

    fn moment<'a>(&self, database: &'a Database) -> Moment<'a> {
        Moment {
            micros: self.micros,
            seconds: self.seconds,
            uuids: &database.prepared.uuids,
        }
    }

    /// A scan over much that is in memory gives others a turn.
    fn has_read_enough_at_once(&self) -> bool {
        self.effort >= EFFORT_MAX
    }

    /// An error, with what was warned of before it.
    fn failed(&mut self, error: CqlError) -> Response {
        Response::from(error).with_warnings(std::mem::take(&mut self.warnings))
    }

    async fn run(mut self: Box<Self>, command: ReadCommand) -> CqlResult<Response> {
        match self.read_on(command).await {
            Ok(()) => self.finish(),
            Err(error) => Ok(self.failed(error)),
        }
    }

    async fn read_on(&mut self, command: ReadCommand) -> CqlResult<()> {
        let mut command = Some(command);
        while let Some(next) = command {
            let database = self.database.clone();
            let clock = database.engine.reading();
            let asker = &self.settings.asker;
            let page = match try_read(&database, &self.plan().table, &next, asker, clock) {
                Some(page) => page?,
                None => {
                    traces::note(|| "Waiting for a block or a key that is not in memory".into());
                    let statement = self.statement.clone();
                    let asker = &self.settings.asker;
                    read_page(&database, &plan_of(&statement).table, &next, asker).await?
                }
            };
            self.take(page, &next)?;
            if self.has_read_enough_at_once() {
                self.effort = 0;
                tokio::task::yield_now().await;
            }
            command = self.next_command();
        }
        Ok(())
    }

    /// What to read next; None when the answer is complete.
    fn next_command(&mut self) -> Option<ReadCommand> {
        if self.done {
            return None;
        }
        if self.is_by_graph()
            && let Some(next) = self.next_near()
        {
            return next;
        }
        if self.indexed.is_some() {
            return self.next_indexed();
        }
        let range = match &self.keys {
            Keys::Nothing => return None,
            Keys::Range(range) => range.clone(),
            Keys::Named(keys) => KeyRange::One(keys.get(self.next_key)?.clone()),
        };
        let slices = self.slices.clone();
        Some(self.command(range, slices))
    }

    /// Entries of an index, or rows that they name.
    fn next_indexed(&mut self) -> Option<ReadCommand> {
        let statement = self.statement.clone();
        let table = &plan_of(&statement).table;
        let indexed = self.indexed.as_mut()?;
        match indexed.next(table, self.resume.is_some(), &self.slices, self.seconds) {
            Next::Entries(command) => Some(command),
            Next::Rows(range, slices) => Some(self.command(range, slices)),
            Next::End => {
                self.done = true;
                None
            }
        }
    }

    /// Reads rows of the base.
    fn command(&mut self, range: KeyRange, slices: Slices) -> ReadCommand {
        let plan = self.plan();
        let exact =
            plan.restrictions.filters.is_empty() && !plan.is_aggregate() && plan.sort.is_none();
        let rows = match exact {
            true => self.left.min(self.page_left).min(INNER_ROWS),
            false => INNER_ROWS,
        };
        ReadCommand {
            table: plan.table.id,
            store: plan.table.store(),
            range,
            // Of a partition's rows DISTINCT needs one, to know that the partition is there.
            slices,
            reversed: plan.reversed,
            columns: plan.table.storage_columns.clone(),
            limits: Limits {
                rows,
                per_partition: match plan.distinct {
                    true => 1,
                    false if exact => self.per_partition,
                    false => u32::MAX,
                },
                bytes: INNER_BYTES.min(self.page_bytes_max),
                tombstones: self.tombstones_left(),
            },
            resume: self.resume.take(),
            now: self.seconds,
        }
    }

    /// On to the next of the named partitions.
    fn advance(&mut self) {
        self.warn_of_tombstones();
        self.resume = None;
        if self.indexed.is_some() || self.is_by_graph() {
            // The candidates say when it is over.
            return;
        }
        self.next_key += 1;
        match &self.keys {
            Keys::Named(keys) if self.next_key < keys.len() => {}
            _ => self.done = true,
        }
    }

    /// Shows what a page of storage brought for a command.
    fn take(&mut self, page: ReadPage<ReadRows>, command: &ReadCommand) -> CqlResult<()> {
        traces::note(|| noted(&page));
        let rows: usize = page
            .partitions
            .iter()
            .map(|partition| 1 + partition.rows.len())
            .sum();
        let passed = usize::try_from(page.hidden.tombstones).unwrap_or(EFFORT_MAX);
        let opened = (page.work.blocks as usize).saturating_mul(EFFORT_OF_BLOCK);
        let effort = rows.saturating_add(passed).saturating_add(opened);
        self.effort = self.effort.saturating_add(effort + EFFORT_OF_PAGE);
        if let Some(indexed) = &mut self.indexed
            && indexed.takes_entries()
        {
            indexed.take(page.decoded()?)?;
            let engine = &self.database.engine;
            engine.expect_reads(plan_of(&self.statement).table.id, indexed.next_keys());
            return Ok(());
        }
        self.count_tombstones(&page)?;
        let database = self.database.clone();
        if let Some(near) = &mut self.near
            && near.is_by_graph()
            && matches!(near.judge(&database, command, &page)?, Named::Stale)
        {
            self.resume = None;
            return Ok(());
        }
        let statement = self.statement.clone();
        let plan = plan_of(&statement);
        let bound = std::mem::take(&mut self.bound);
        let moment = self.moment(&database);
        let scope = Scope::of_values(&bound, &moment);
        let checks = check::checks(
            &plan.table,
            &plan.restrictions.filters,
            &scope,
            plan.restrictions.judge,
        )?;
        let mut ended = None;
        for partition in page.partitions {
            ended = self.take_partition(plan, partition, &checks, &scope)?;
            if ended.is_some() {
                break;
            }
        }
        drop(checks);
        self.bound = bound;
        self.check_bytes()?;
        match (ended, page.next) {
            (Some(position), _) => self.stop(position),
            (None, Some(position)) if self.is_page_full() => {
                // Storage counts what it has read, the limit of a partition what was shown.
                let is_begun = position.clustering.is_some()
                    && self.partition_at_hand.as_ref() == Some(&position.key);
                let returned_in_partition = if is_begun { self.in_partition } else { 0 };
                self.stop(ReadPosition {
                    returned_in_partition,
                    ..position
                });
            }
            (None, Some(position)) => {
                self.resume = Some(position);
                if let Some(indexed) = &mut self.indexed {
                    indexed.stay(command);
                }
                if self.left == 0 {
                    self.done = true;
                }
            }
            (None, None) => {
                let last = match &self.keys {
                    Keys::Named(keys) => keys.get(self.next_key).cloned(),
                    _ => None,
                };
                self.advance();
                match last {
                    Some(key) if self.is_page_full() && !self.done && self.left > 0 => {
                        self.stop(ReadPosition {
                            key,
                            clustering: None,
                            returned_in_partition: 0,
                        })
                    }
                    _ => self.done |= self.left == 0,
                }
            }
        }
        self.ask_graph(rows);
        Ok(())
    }

    fn is_page_full(&self) -> bool {
        self.page_left == 0 || self.cells.bytes.len() >= self.page_bytes_max
    }

    /// What has been gathered is small, or there is room for it beside what others hold.
    fn check_bytes(&mut self) -> CqlResult<()> {
        if self.cells.bytes.len() <= SMALL_ANSWER_BYTES {
            return Ok(());
        }
        if self.cells.bytes.len() > ANSWER_BYTES_MAX {
            return Err(CqlError::invalid(
                "The result is too large for one answer: use paging",
            ));
        }
        let all = &self.database.in_flight;
        let held = self.cells.held.get_or_insert_with(|| all.share());
        held.report(self.cells.bytes.capacity());
        match held.is_too_much_beside_others() {
            true => Err(CqlError::overloaded(
                "The server holds as many bytes of answers as it may hold",
            )),
            false => Ok(()),
        }
    }

    /// The page is full, or nothing more is wanted.
    fn stop(&mut self, position: ReadPosition) {
        self.done = true;
        // Without clustering columns the last partition's row was the last one.
        let was_last = self.plan().table.clustering.is_empty()
            && matches!(&self.keys, Keys::Named(keys) if keys.last() == Some(&position.key));
        // Nor is there more in a last partition that has shown all it may, or nothing but its static row.
        let is_last = matches!(&self.keys, Keys::Named(keys) if keys.last() == Some(&position.key));
        let may_not = match &self.plan().group_by {
            None => position.clustering.is_none(),
            Some(_) => {
                position.clustering.is_none()
                    || self.plan().distinct
                    || position.returned_in_partition >= self.per_partition
            }
        };
        if self.left > 0 && !was_last && !(is_last && may_not) {
            self.page_state = Some(Box::new(PageState {
                position,
                left: self.left,
            }));
        }
    }

    /// The answer.
    fn finish(mut self: Box<Self>) -> CqlResult<Response> {
        self.warn_of_tombstones();
        let statement = self.statement.clone();
        let plan = plan_of(&statement);
        let database = self.database.clone();
        let bound = std::mem::take(&mut self.bound);
        let moment = self.moment(&database);
        let scope = Scope::of_values(&bound, &moment);
        if plan.is_aggregate() {
            if self.group.is_none() && plan.group_by.is_none() && self.cells.rows == 0 {
                // No rows are a group too.
                self.group = Some(Box::new(Group {
                    key: Vec::new(),
                    accumulators: accumulators(plan),
                    first: None,
                    end: None,
                }));
            }
            if !self.is_full() {
                self.close_group(plan, &scope)?;
                // What fills a page may not be the last, for all that is known of it.
                if let Some(end) = self.group_end.take() {
                    self.stop(end);
                }
            }
        }
        if plan.sort.is_some() {
            self.kept.sort_by(|a, b| a.place.cmp(&b.place));
            for row in self.kept.drain(..).take(self.left as usize) {
                self.cells
                    .put_row(row.cells.iter().map(|cell| cell.as_deref()));
            }
        }
        let paging_state = self.page_state.take().map(|state| {
            let own = self
                .fingerprint
                .unwrap_or_else(|| fingerprint(&statement, &bound));
            state.seal(&database.page_seal, &own)
        });
        let paging_state = paging_state.transpose()?;
        let warning = plan
            .is_aggregate()
            .then(|| aggregation_warning(&self.plan().restrictions))
            .flatten();
        let rows = Response::Rows(Rows {
            metadata: RowsMetadata::Statement(self.statement),
            mode: self.settings.mode,
            paging_state,
            cells: self.cells,
        });
        let warnings = warning.map(str::to_owned).into_iter();
        Ok(rows.with_warnings(warnings.chain(self.warnings).collect()))
    }
}

/// A page as a trace tells of it.
pub fn noted(page: &ReadPage<ReadRows>) -> String {
    let rows: usize = page.partitions.iter().map(|one| one.rows.len()).sum();
    let work = &page.work;
    let mut text = format!(
        "Read {rows} live rows and {} tombstone cells from {} memtables and {} SSTables",
        page.hidden.tombstones, work.memtables, work.sstables
    );
    if work.skipped > 0 {
        text += &format!(", {} more skipped by their filters and rows", work.skipped);
    }
    if work.blocks > 0 {
        text += &format!(", {} blocks opened", work.blocks);
    }
    text
}

/// What is shown has to be made of values, be there rows or not.
fn check_shown(plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<()> {
    let arguments = plan
        .aggregates
        .iter()
        .filter_map(|aggregate| aggregate.argument.as_ref());
    let mut found = Ok(());
    for typed in plan.shown.iter().chain(arguments) {
        typed.expression.walk(&mut |expression| {
            if let (Expression::Marker(_), Ok(())) = (expression, &found) {
                found = expression.evaluate(scope).map(drop);
            }
        });
    }
    found
}

fn plan_of(statement: &Statement) -> &SelectPlan {
    match &statement.body {
        crate::query::analyze::Body::Select(plan) => plan,
        _ => unreachable!("only a SELECT is read"),
    }
}
