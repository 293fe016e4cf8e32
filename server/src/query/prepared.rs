//! Prepared statements: analyzed once, executed often.
//!
//! An id is the MD5 of keyspace and text, as in Cassandra, so that a driver gets the same one from every node and after every
//! restart; of the text alone where each table in it is named with its keyspace, so that it is the same on all connections,
//! whatever they have said USE to: a driver gives a statement up that has another id when it is prepared again.
//!
//! A statement holds the tables it was analyzed for; when the catalog has moved on and one of them is another now, it is
//! analyzed again. If its values or its result are others with that, the driver is told to prepare it again. Until then it
//! stays: some drivers execute what they have just prepared and try no second time, so nobody may take away what another one
//! has put here; and its successor is to know whether its result has other columns.
//!
//! What must hold: looking a statement up takes no lock that a writer could hold for long, and there are never more than
//! the configured number of them, nor more bytes than their bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use foldhash::quality::RandomState;
use md5::{Digest, Md5};
use palladium_crypto::Entropy;
use palladium_protocol::limits::METADATA_SPELLED_BYTES_MAX;
use palladium_protocol::response::{BindMetadata, ColumnSpec, EncodedMetadata};
use palladium_protocol::types::CqlType;

use super::analyze::{Body, Checked, result_specs};
use super::functions::timeuuid::TimeUuids;
use crate::auth::change::plain_password;
use crate::encode::wire;
use crate::error::{CqlError, CqlResult};
use crate::instruments::{Asked, Operation};
use crate::schema::{Catalog, TableSchema};

/// A statement takes a few KiB with what it was analyzed for; so many are tens of MiB.
const STATEMENTS_MAX: usize = 10_000;
/// Of those that are kept, one in so many makes room at once.
const FORGOTTEN_SHARE: usize = 32;
/// Bytes of all statements at most, as [`Statement`]s are weighed.
const STATEMENTS_BYTES_MAX: usize = 128 << 20;
/// A single one may take so much of them.
const LARGEST_SHARE: usize = 4;
/// About how much a statement takes beside what grows with its text.
const STATEMENT_BYTES_BASE: usize = 4 << 10;
/// About how much of a tree and of its metadata comes from a byte of text, from an element of a list (a column, a marker, a value; measured: 170 to 200), and
/// from a statement of a batch.
const TEXT_FACTOR: usize = 8;
const ELEMENT_BYTES: usize = 224;
const BATCHED_BYTES: usize = 2 << 10;

/// A statement ready to be executed, prepared or not.
#[derive(Debug)]
pub struct Statement {
    pub id: [u8; 16],
    /// Empty if a password is in it.
    pub text: String,
    /// What unqualified names meant, if there may be any.
    pub keyspace: Option<String>,
    pub body: Body,
    /// What each bound value must be.
    pub markers: Vec<Marker>,
    pub bind: BindMetadata,
    pub result: EncodedMetadata,
    /// Whether the columns of its result have been others before, as long as it was kept.
    result_has_changed: AtomicBool,
    /// The same for those who may not see behind the masks of its columns, if it has any.
    pub masked: Option<Masked>,
    /// What executing it is counted as.
    pub asked: Asked,
    /// The catalog it was last found to hold in.
    valid_in: AtomicU64,
    last_used: AtomicU64,
    /// For the last roles that executed it: the snapshot under which that was found allowed, and the role's number.
    permitted: [AtomicU64; PERMITTED],
}

fn has_password(body: &Body) -> bool {
    match body {
        Body::Other(tree) => plain_password(tree).is_some(),
        _ => false,
    }
}

/// Roles for which a statement remembers that they may execute it.
const PERMITTED: usize = 4;
/// Bits of a role's number beside the version of a snapshot.
const NUMBER_BITS: u32 = 24;

/// A statement over masked columns.
#[derive(Debug)]
pub struct Masked {
    pub statement: Arc<Statement>,
    /// The masked columns that it restricts.
    pub restricted: Vec<String>,
}

/// A bind marker, as values are checked against it.
#[derive(Debug, Clone)]
pub struct Marker {
    pub name: String,
    pub ty: CqlType,
    /// Whether values may be kept in other bytes than those they come in.
    pub may_change: bool,
    /// Whether it is the list of an IN, in which a null may stand.
    pub lists_alternatives: bool,
}

/// Refuses columns whose types take too much to be spelled out together.
fn check_extent(columns: &[ColumnSpec]) -> CqlResult<()> {
    let mut left = Some(METADATA_SPELLED_BYTES_MAX);
    for column in columns {
        left = left.and_then(|left| Some(left - column.ty.spelled_bytes(left)?));
    }
    match left {
        Some(_) => Ok(()),
        None => Err(CqlError::invalid(
            "The types of the statement's columns or bind markers are too large together to be told to a client",
        )),
    }
}

impl Statement {
    /// Refuses what takes too much to tell a client: columns and markers are told with their types, and those may be large.
    pub fn new(
        checked: Checked,
        text: &str,
        keyspace: Option<&str>,
        catalog: &Catalog,
    ) -> CqlResult<Self> {
        let Checked { body, markers } = checked;
        let columns: Vec<ColumnSpec> = markers
            .specs
            .iter()
            .map(|spec| spec.column.clone())
            .collect();
        check_extent(&columns)?;
        let result = match &body {
            Body::Select(plan) => {
                let specs = result_specs(plan);
                check_extent(&specs)?;
                EncodedMetadata::new(&specs, metadata_id(&specs))
            }
            _ => EncodedMetadata::none(metadata_id(&[])),
        };
        Ok(Statement {
            id: statement_id(text, keyspace),
            text: match has_password(&body) {
                true => String::new(),
                false => text.to_owned(),
            },
            keyspace: keyspace.map(str::to_owned),
            bind: BindMetadata::new(&columns, markers.key),
            markers: markers
                .specs
                .into_iter()
                .map(|spec| Marker {
                    may_change: wire::may_change(&spec.column.ty),
                    lists_alternatives: spec.lists_alternatives,
                    name: spec.column.name,
                    ty: spec.column.ty,
                })
                .collect(),
            asked: Asked {
                operation: Operation::of(&body),
                table: 0,
                statement: next_number(),
            },
            body,
            result,
            result_has_changed: AtomicBool::new(false),
            masked: None,
            valid_in: AtomicU64::new(version_of(catalog)),
            last_used: AtomicU64::new(0),
            permitted: Default::default(),
        })
    }

    /// Whether a password is in it, in the clear.
    pub fn has_password(&self) -> bool {
        has_password(&self.body)
    }

    /// Whether it is about tables, and each of them is named with its keyspace: it means the same in every session.
    fn is_qualified(&self) -> bool {
        let names_tables = !matches!(self.body, Body::Use(_) | Body::Other(_));
        names_tables && self.keyspace.is_none()
    }

    /// Whether a client that says that it remembers the columns of the result, and not which (v3, v4), may remember others: it learns of a change only if it is
    /// the first to execute the statement after it. Whoever comes later would read the new rows by the old columns.
    #[inline]
    pub fn may_be_remembered_otherwise(&self) -> bool {
        self.result_has_changed.load(Ordering::Relaxed)
    }

    /// It takes the place of another one with its text.
    fn follow(&self, before: &Statement) {
        if before.may_be_remembered_otherwise() || before.result.id() != self.result.id() {
            self.result_has_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a client is told the same of its values and of its result.
    pub fn is_told_like(&self, other: &Statement) -> bool {
        self.bind == other.bind && self.result.id() == other.result.id()
    }

    /// Whether this role was found allowed to execute it under this snapshot of roles.
    #[inline]
    pub fn was_permitted(&self, version: u64, number: u32) -> bool {
        let place = &self.permitted[number as usize % PERMITTED];
        place.load(Ordering::Relaxed) == permit_of(version, number) && number >> NUMBER_BITS == 0
    }

    /// This role may execute it under this snapshot of roles.
    pub fn permit(&self, version: u64, number: u32) {
        // A number with more bits would look like another role's under another snapshot: it is asked for each time.
        if number >> NUMBER_BITS == 0 {
            let place = &self.permitted[number as usize % PERMITTED];
            place.store(permit_of(version, number), Ordering::Relaxed);
        }
    }

    /// About how many bytes of memory it takes: text, tree, metadata.
    fn weight(&self) -> usize {
        let count = |wanted: u8| self.text.bytes().filter(|byte| *byte == wanted).count();
        let shown = match &self.body {
            Body::Select(plan) => plan.shown.len(),
            _ => 0,
        };
        let elements = count(b',').max(self.markers.len() + shown);
        // What masks show is a plan of its own.
        let plans = 1 + usize::from(self.masked.is_some());
        STATEMENT_BYTES_BASE
            + TEXT_FACTOR * self.text.len()
            + ELEMENT_BYTES * elements * plans
            + BATCHED_BYTES * count(b';')
    }

    /// Whether the statement still means in this catalog what it meant when it was analyzed.
    pub fn holds_in(&self, catalog: &Catalog) -> bool {
        let version = version_of(catalog);
        if self.valid_in.load(Ordering::Relaxed) == version {
            return true;
        }
        let same = |table: &Arc<TableSchema>| {
            catalog
                .table(&table.keyspace, &table.name)
                .is_some_and(|present| present.reads_and_writes_like(table))
        };
        let holds = match &self.body {
            Body::Select(plan) => same(&plan.table),
            Body::Modify(plan) => same(&plan.table),
            Body::Batch(batch) => batch.statements.iter().all(|plan| same(&plan.table)),
            Body::Truncate(table) => same(table),
            Body::Use(_) | Body::Other(_) => true,
        };
        if holds {
            self.valid_in.store(version, Ordering::Relaxed);
        }
        holds
    }
}

/// By which a slow request's statement is found again: unlike an id, in a request's own few bytes. Never 0.
fn next_number() -> u32 {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    NUMBERS
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(1)
        .max(1)
}

/// Never 0: versions begin with 1.
fn permit_of(version: u64, number: u32) -> u64 {
    version << NUMBER_BITS | u64::from(number)
}

/// Both halves of the schema's digest folded together: equal for equal schemas.
fn version_of(catalog: &Catalog) -> u64 {
    (catalog.digest >> 64) as u64 ^ catalog.digest as u64
}

/// The id of a statement.
pub fn statement_id(text: &str, keyspace: Option<&str>) -> [u8; 16] {
    let mut digest = Md5::new();
    digest.update(keyspace.unwrap_or_default());
    digest.update(text);
    digest.finalize().into()
}

/// The id of a result's columns: equal columns, equal id. A type is told with all that it is made of: a user type's fields may change.
pub fn metadata_id(specs: &[ColumnSpec]) -> [u8; 16] {
    let mut digest = Md5::new();
    for spec in specs {
        for text in [
            &spec.keyspace,
            &spec.table,
            &spec.name,
            &spec.ty.class_name(),
        ] {
            digest.update((text.len() as u32).to_be_bytes());
            digest.update(text);
        }
    }
    digest.finalize().into()
}

/// The statements this server holds, and what executing needs beside them.
#[derive(Debug)]
pub struct Prepared {
    statements: DashMap<[u8; 16], Arc<Statement>, RandomState>,
    statements_max: usize,
    bytes_max: usize,
    /// The weight of all of them.
    bytes: AtomicUsize,
    clock: AtomicU64,
    evicted: AtomicU64,
    /// Where `now()` and the cells of lists get their timeuuids.
    pub uuids: TimeUuids,
}

impl Prepared {
    /// Nothing prepared yet.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Prepared {
            statements: DashMap::default(),
            statements_max: STATEMENTS_MAX,
            bytes_max: STATEMENTS_BYTES_MAX,
            bytes: AtomicUsize::new(0),
            clock: AtomicU64::new(1),
            evicted: AtomicU64::new(0),
            uuids: TimeUuids::new(entropy),
        }
    }

    /// With another bound on how many statements are kept.
    pub fn at_most(self, statements_max: usize) -> Self {
        Prepared {
            statements_max: statements_max.max(1),
            ..self
        }
    }

    /// With another bound on their bytes, if it is less.
    pub fn within(self, bytes_max: usize) -> Self {
        Prepared {
            bytes_max: bytes_max.min(STATEMENTS_BYTES_MAX),
            ..self
        }
    }

    /// What a text was prepared as for a session in `keyspace`.
    pub fn of_text(&self, text: &str, keyspace: Option<&str>) -> Option<Arc<Statement>> {
        let own = self.get(&statement_id(text, None));
        let own = own.filter(|statement| keyspace.is_none() || statement.is_qualified());
        own.or_else(|| self.get(&statement_id(text, Some(keyspace?))))
    }

    pub fn get(&self, id: &[u8]) -> Option<Arc<Statement>> {
        let id: [u8; 16] = id.try_into().ok()?;
        let found = self.statements.get(&id)?;
        found
            .last_used
            .store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(found.clone())
    }

    /// Keeps a statement; past a bound, those that were not used for longest go.
    pub fn put(&self, statement: Arc<Statement>) -> CqlResult<()> {
        let weight = statement.weight();
        let largest = self.bytes_max / LARGEST_SHARE;
        if weight > largest {
            return Err(CqlError::invalid(format!(
                "Prepared statement of size {weight} bytes is larger than allowed maximum of {largest} bytes"
            )));
        }
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        statement.last_used.store(now, Ordering::Relaxed);
        // What it follows is looked at before room is made, which may be its.
        if let Some(before) = self.statements.get(&statement.id) {
            statement.follow(&before);
        }
        while self.is_full(weight) && self.forget_oldest() {}
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        match self.statements.entry(statement.id) {
            Entry::Occupied(mut place) => {
                statement.follow(place.get());
                let before = place.insert(statement);
                self.bytes.fetch_sub(before.weight(), Ordering::Relaxed);
            }
            Entry::Vacant(place) => {
                place.insert(statement);
            }
        }
        Ok(())
    }

    /// Keeps what a statement is now, unless somebody has put another one in its place meanwhile: whoever prepared that one is about to execute it.
    pub fn renew(&self, before: &Arc<Statement>, statement: Arc<Statement>) {
        statement.follow(before);
        let now = self.clock.load(Ordering::Relaxed);
        statement.last_used.store(now, Ordering::Relaxed);
        if let Entry::Occupied(mut place) = self.statements.entry(before.id)
            && Arc::ptr_eq(place.get(), before)
        {
            self.bytes.fetch_add(statement.weight(), Ordering::Relaxed);
            place.insert(statement);
            self.bytes.fetch_sub(before.weight(), Ordering::Relaxed);
        }
    }

    fn is_full(&self, weight: usize) -> bool {
        self.statements.len() >= self.statements_max
            || self.bytes.load(Ordering::Relaxed) + weight > self.bytes_max
    }

    /// Forgets those that were not used for longest: some at once, since to find them each one is looked at. Whether there was any.
    fn forget_oldest(&self) -> bool {
        let mut all: Vec<(u64, Arc<Statement>)> = self
            .statements
            .iter()
            .map(|entry| {
                (
                    entry.last_used.load(Ordering::Relaxed),
                    entry.value().clone(),
                )
            })
            .collect();
        if all.is_empty() {
            return false;
        }
        let count = all.len().div_ceil(FORGOTTEN_SHARE);
        all.select_nth_unstable_by_key(count - 1, |(last_used, _)| *last_used);
        let forgotten = all[..count]
            .iter()
            .filter(|(_, statement)| self.forget(statement));
        let forgotten = forgotten.count() as u64;
        self.evicted.fetch_add(forgotten, Ordering::Relaxed);
        true
    }

    /// Forgets this statement, and none that has taken its place meanwhile: whoever prepared that one is about to execute it. Whether it was there.
    fn forget(&self, statement: &Arc<Statement>) -> bool {
        let is_it = |_: &[u8; 16], kept: &Arc<Statement>| Arc::ptr_eq(kept, statement);
        let forgotten = self.statements.remove_if(&statement.id, is_it).is_some();
        if forgotten {
            self.bytes.fetch_sub(statement.weight(), Ordering::Relaxed);
        }
        forgotten
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The statement of this number, if it is still kept.
    pub fn numbered(&self, number: u32) -> Option<Arc<Statement>> {
        let mut all = self.statements.iter();
        let found = all.find(|entry| entry.asked.statement == number)?;
        Some(found.value().clone())
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many had to make room since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// All of them, for `system.prepared_statements`.
    pub fn all(&self) -> Vec<Arc<Statement>> {
        self.statements
            .iter()
            .map(|entry| entry.value().clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use palladium_crypto::SeededEntropy;

    use super::*;

    fn statement(text: &str) -> Arc<Statement> {
        let checked = Checked {
            body: Body::Use("ks".into()),
            markers: Default::default(),
        };
        Arc::new(Statement::new(checked, text, None, &Catalog::default()).unwrap())
    }

    #[test]
    fn the_statement_not_used_for_longest_makes_room() {
        let prepared = Prepared::new(&SeededEntropy::new(1)).at_most(3);
        let ids: Vec<[u8; 16]> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|text| {
                let statement = statement(text);
                prepared.put(statement.clone()).expect("a small statement");
                // The first one stays in use.
                prepared.get(&statement_id("a", None));
                statement.id
            })
            .collect();
        let held: Vec<bool> = ids.iter().map(|id| prepared.get(id).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
    }

    #[test]
    fn a_statement_is_forgotten_and_none_that_took_its_place() {
        let prepared = Prepared::new(&SeededEntropy::new(1));
        let (old, new) = (statement("a"), statement("a"));
        prepared.put(old.clone()).expect("a small statement");
        prepared.put(new.clone()).expect("a small statement");
        assert!(!prepared.forget(&old));
        assert!(prepared.get(&new.id).is_some());
        assert_eq!(prepared.bytes(), new.weight());
        assert!(prepared.forget(&new));
        assert_eq!(prepared.bytes(), 0);
    }

    #[test]
    fn a_statement_is_renewed_and_none_that_took_its_place() {
        let prepared = Prepared::new(&SeededEntropy::new(1));
        let [old, new, newest] = [(); 3].map(|()| statement("a"));
        prepared.put(old.clone()).expect("a small statement");
        prepared.renew(&old, new.clone());
        prepared.renew(&old, newest);
        let kept = prepared.get(&old.id).expect("it is kept");
        assert!(Arc::ptr_eq(&kept, &new));
        assert_eq!(prepared.bytes(), new.weight());
    }

    #[test]
    fn of_many_statements_some_make_room_at_once_and_none_that_was_used_since() {
        let prepared = Prepared::new(&SeededEntropy::new(1)).at_most(100);
        let names: Vec<String> = (0..101).map(|number| number.to_string()).collect();
        for name in &names {
            prepared.put(statement(name)).expect("a small statement");
            prepared.get(&statement_id("0", None));
        }
        assert_eq!((prepared.len(), prepared.evicted()), (97, 4));
        let is_kept = |name: &String| prepared.get(&statement_id(name, None)).is_some();
        let gone: Vec<&String> = names.iter().filter(|name| !is_kept(name)).collect();
        assert_eq!(gone, ["1", "2", "3", "4"]);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let prepared = Prepared::new(&SeededEntropy::new(1)).within(16 << 20);
        let large = "x".repeat(100_000);
        for number in 0..100 {
            let text = format!("{large}{number}");
            prepared
                .put(statement(&text))
                .expect("a statement within its bound");
        }
        assert!(prepared.bytes.load(Ordering::Relaxed) <= 16 << 20);
        for statement in prepared.all() {
            prepared.forget(&statement);
        }
        assert_eq!(prepared.bytes.load(Ordering::Relaxed), 0);
        // Markers and columns take far more than their text.
        for (element, bytes) in [("?,", ELEMENT_BYTES), ("x", TEXT_FACTOR)] {
            let count = (4 << 20) / bytes;
            let refused = prepared.put(statement(&element.repeat(count)));
            assert!(refused.is_err(), "{element}");
        }
    }
}
