//! The vectors of one index while its table is open: each with the places of the rows that were written with it.
//!
//! ```text
//! entry of the store ─► inbox ─► node (one for each vector, however many rows have it) + place (partition key, clustering)
//! ```
//!
//! Locks: the inbox's is taken by whoever makes writes visible and held for a push; the state's is written by a search for what is in the inbox, and by the
//! background for the links of one node at a time. State before inbox.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::graph::{Found, Graph, Shape, Survey};
use palladium_storage::{Clustering, Companion, EncodedUpdate, Row, Token};
use tokio::sync::Notify;
use zeroize::{Zeroize, Zeroizing};

use super::{Budget, check, floats};
use crate::derived::layout::{self, Candidate};

/// What a place costs beside its bytes, and a vector beside its own and its links.
const PLACE_BYTES: usize = 48;
const NODE_BYTES: usize = 64;
/// Vectors that no row has any more are thrown out when they are so many, and more than half of all.
const EMPTY_MIN: usize = 1_000;
/// Rows that a search names at most, however many have one vector: more than anybody reads for one answer.
pub(super) const NEARBY_MAX: usize = 1 << 15;
/// How long the background works before others get a turn.
const SLICE: Duration = Duration::from_millis(5);

/// One graph or another: by this a background task knows its own.
static NUMBERS: AtomicU64 = AtomicU64::new(0);
/// Of this process alone, so that nobody can choose vectors whose hashes meet.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The vectors of an index.
pub struct Vectors {
    /// Which of this process's.
    pub number: u64,
    /// The type of the column.
    ty: CqlType,
    budget: Arc<Budget>,
    /// Entries that were applied and that no search has looked for yet.
    inbox: Mutex<Vec<Clustering>>,
    state: RwLock<State>,
    /// Everything that the store holds is here, and nobody numbers it anew: who asks need not wait for long.
    is_ready: AtomicBool,
    /// Nothing more is taken in.
    is_too_large: AtomicBool,
    /// Told of arrivals, and of the end.
    wake: Arc<Notify>,
}

struct State {
    graph: Graph,
    /// The rows that were written with a node's vector, in the order of where they are: a million may have one.
    places: Vec<Vec<Place>>,
    /// Hashes of the vectors.
    hashes: Vec<u64>,
    by_hash: HashMap<u64, u32>,
    /// Nodes without places.
    empty: usize,
    place_bytes: usize,
    /// Entries taken in so far.
    arrivals: u64,
    /// How often nodes were numbered anew.
    generation: u64,
    /// Until this second one of those lived that were forgotten because they had expired.
    lived_until: i64,
    /// Bytes taken from the budget.
    counted: usize,
}

struct Place {
    /// As in an entry, behind its term.
    at: Box<[u8]>,
    /// The newest arrival that named it.
    arrived: u64,
}

/// Whether a partition is meant, by its token and its key.
pub type IsMeant<'a> = dyn Fn(Token, &[u8]) -> bool + 'a;

/// What is looked for.
pub struct Search<'a> {
    pub vector: &'a [f32],
    pub count: usize,
    /// Compares everything, however long that takes.
    pub all: bool,
    /// Which partitions; None: any.
    pub is_meant: Option<&'a IsMeant<'a>>,
}

/// What was found.
pub struct Searched {
    /// Nearest first.
    pub nearby: Vec<Nearby>,
    /// There are no others.
    pub is_all: bool,
    /// For [`Vectors::forget`].
    pub generation: u64,
    arrivals: u64,
    /// Before this second others are near, which were forgotten because they have expired.
    pub lived_until: i64,
}

/// A row that was written with a vector near the one looked for.
pub struct Nearby {
    pub node: u32,
    /// Of the vector, by [`hash`].
    pub hash: u64,
    pub candidate: Candidate,
}

/// What the background does next.
pub enum Work {
    /// There is more, with so many of all vectors linked.
    More { linked: u32, of: u32 },
    /// Until something arrives.
    Rest,
}

/// A vector as a number. Those that compare as one have one.
pub fn hash(vector: &[f32]) -> u64 {
    let bits = |number: &f32| match number.is_nan() {
        true => f32::NAN.to_bits(),
        false => number.to_bits(),
    };
    let bits: Vec<u32> = vector.iter().map(bits).collect();
    HASHER.hash_one(bits)
}

impl Vectors {
    /// Empty, and not ready.
    pub fn new(ty: CqlType, shape: Shape, budget: Arc<Budget>) -> Vectors {
        Vectors {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            ty,
            budget,
            inbox: Mutex::default(),
            state: RwLock::new(State::new(shape)),
            is_ready: AtomicBool::new(false),
            is_too_large: AtomicBool::new(false),
            wake: Arc::default(),
        }
    }

    /// Told of arrivals, and of the end.
    pub fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// The budget has no room for it: it holds nothing, and never will.
    pub fn is_too_large(&self) -> bool {
        self.is_too_large.load(Ordering::Acquire)
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<Clustering>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let bytes = state.bytes();
        match bytes > state.counted {
            true if self.budget.take(bytes - state.counted) => state.counted = bytes,
            true => self.give_up(&mut state),
            false => {
                self.budget.give_back(state.counted - bytes);
                state.counted = bytes;
            }
        }
        result
    }

    fn give_up(&self, state: &mut State) {
        self.is_too_large.store(true, Ordering::Release);
        self.budget.give_back(state.counted);
        *state = State::new(state.graph.shape());
        self.inbox().clear();
    }

    /// Takes entries of the store in, as they were read from it. What they were written with first in order comes first in no order of the graph's.
    pub fn load(&self, rows: &[Row]) {
        if self.is_too_large() {
            return;
        }
        let entries: Vec<&Clustering> = rows.iter().map(|row| &row.clustering).collect();
        self.change(|state| state.take_in(&self.ty, &entries));
        // What arrives while the store is read counts, too.
        self.settle();
    }

    /// All that the store holds has been taken in.
    pub fn loaded(&self) {
        // In the store they stand in the order of their first elements, which makes long ways.
        self.renumber();
    }

    /// Meanwhile nothing is found.
    fn renumber(&self) {
        self.is_ready.store(false, Ordering::Release);
        self.change(State::renumber);
        self.is_ready.store(true, Ordering::Release);
    }

    /// Takes in what has arrived.
    fn settle(&self) {
        if self.inbox().is_empty() || self.is_too_large() {
            return;
        }
        // Emptied behind the state's lock: who finds it empty waits there until its contents are in the state.
        self.change(|state| {
            let arrived = std::mem::take(&mut *self.inbox());
            let entries: Vec<&Clustering> = arrived.iter().collect();
            state.take_in(&self.ty, &entries);
        });
    }

    /// Looks for what is near. None: it is not ready.
    pub fn search(&self, search: &Search<'_>) -> Option<Searched> {
        if !self.is_ready.load(Ordering::Acquire) {
            return None;
        }
        self.settle();
        let state = self.read();
        match self.is_too_large() {
            true => None,
            false => Some(state.search(search)),
        }
    }

    /// A row was looked at after a search, and does not hold the vector that it was found by. `lived_until`: the second at which it has expired; none is before it if it
    /// has another one, or was deleted.
    pub fn forget(&self, searched: &Searched, nearby: &Nearby, lived_until: i64) {
        self.change(|state| state.forget(searched, nearby, lived_until));
    }

    /// Works for a moment: links what waits, measures, throws out what nobody has.
    pub fn work(&self, survey: &mut Option<Survey>) -> Work {
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            self.settle();
            if self.is_too_large() {
                return Work::Rest;
            }
            if self.read().is_mostly_empty() {
                self.renumber();
                *survey = None;
            }
            if let Some(own) = survey {
                let is_over = !self.read().graph.look(own);
                if is_over {
                    self.change(|state| state.graph.calibrate(own));
                    *survey = None;
                }
                continue;
            }
            *survey = self.read().graph.survey();
            if survey.is_some() {
                continue;
            }
            let Some(plan) = self.read().graph.plan() else {
                return Work::Rest;
            };
            self.change(|state| state.graph.link(plan));
        }
        let state = self.read();
        Work::More {
            linked: state.graph.linked(),
            of: state.graph.len(),
        }
    }
}

impl Companion for Vectors {
    fn applied(&self, update: EncodedUpdate<'_>) {
        if self.is_too_large() || !layout::is_bucket(update.key()) {
            return;
        }
        let rows = update
            .marked_rows()
            .expect("what was encoded a moment ago is read");
        // Copies, which are wiped when they go.
        let copy = |position: &[u8]| Bytes::from_owner(Zeroizing::new(position.to_vec()));
        let entries = rows.into_iter().map(|position| Clustering(copy(position)));
        self.inbox().extend(entries);
        self.wake.notify_one();
    }
}

impl Drop for Vectors {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(state.counted);
        self.wake.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.at.zeroize();
    }
}

impl State {
    fn new(shape: Shape) -> State {
        State {
            graph: Graph::new(shape),
            places: Vec::new(),
            hashes: Vec::new(),
            by_hash: HashMap::new(),
            empty: 0,
            place_bytes: 0,
            arrivals: 0,
            generation: 0,
            lived_until: i64::MIN,
            counted: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.graph.bytes() + self.place_bytes + NODE_BYTES * self.places.len()
    }

    fn take_in(&mut self, ty: &CqlType, entries: &[&Clustering]) {
        let mut value = Zeroizing::new(Vec::new());
        for entry in entries {
            value.clear();
            // One that cannot be read is nobody's: its row is not found by it, as it would not be by the store's.
            if let Ok(place) = layout::place_behind(ty, entry, &mut value) {
                self.add(&Zeroizing::new(floats(&value)), place);
            }
        }
    }

    fn add(&mut self, vector: &[f32], place: &[u8]) {
        let shape = self.graph.shape();
        // One that could not be written with the index there was written before it.
        if vector.len() != shape.dimensions || check(shape.metric, vector).is_err() {
            return;
        }
        self.arrivals += 1;
        let node = self.node_of(vector);
        let places = &mut self.places[node as usize];
        match find(places, place) {
            Ok(known) => places[known].arrived = self.arrivals,
            Err(free) => {
                self.empty -= usize::from(places.is_empty());
                self.place_bytes += PLACE_BYTES + place.len();
                let new = Place {
                    at: place.into(),
                    arrived: self.arrivals,
                };
                places.insert(free, new);
            }
        }
    }

    /// The node of a vector, which has no places yet if it is new.
    fn node_of(&mut self, vector: &[f32]) -> u32 {
        let own = hash(vector);
        if let Some(&node) = self.by_hash.get(&own) {
            return node;
        }
        let node = self.graph.push(vector);
        self.places.push(Vec::new());
        self.hashes.push(own);
        self.by_hash.insert(own, node);
        self.empty += 1;
        node
    }

    fn search(&self, search: &Search<'_>) -> Searched {
        let is_meant = |place: &Place| match search.is_meant {
            None => true,
            Some(is_meant) => {
                layout::key_of(&place.at).is_some_and(|(token, key)| is_meant(token, key))
            }
        };
        let meant = |node: u32| self.places[node as usize].iter().any(is_meant);
        let all = search.all || self.graph.beam().is_none();
        let found: Vec<Found> = match all {
            true => self.graph.compare_all(search.vector, search.count, &meant),
            false => self.graph.nearest(search.vector, search.count, &meant),
        };
        let is_every_node = all && found.len() < search.count;
        let nearby = found.into_iter().flat_map(|found| {
            let places = self.places[found.node as usize].iter();
            let candidates = places
                .filter(|place| is_meant(place))
                .filter_map(|place| layout::candidate_at(Bytes::copy_from_slice(&place.at)));
            let hash = self.hashes[found.node as usize];
            candidates.map(move |candidate| Nearby {
                node: found.node,
                hash,
                candidate,
            })
        });
        let mut nearby: Vec<Nearby> = nearby.take(NEARBY_MAX + 1).collect();
        let is_all = is_every_node && nearby.len() <= NEARBY_MAX;
        nearby.truncate(NEARBY_MAX);
        Searched {
            nearby,
            is_all,
            generation: self.generation,
            arrivals: self.arrivals,
            lived_until: self.lived_until,
        }
    }

    fn forget(&mut self, searched: &Searched, nearby: &Nearby, lived_until: i64) {
        if searched.generation != self.generation {
            return;
        }
        let Some(places) = self.places.get_mut(nearby.node as usize) else {
            return;
        };
        let row = &nearby.candidate;
        let place = layout::entry(&[], &row.key, row.clustering.as_ref());
        let Ok(at) = find(places, &place.0) else {
            return;
        };
        if places[at].arrived > searched.arrivals {
            return;
        }
        self.lived_until = self.lived_until.max(lived_until);
        let gone = places.remove(at);
        self.empty += usize::from(places.is_empty());
        self.place_bytes -= PLACE_BYTES + gone.at.len();
    }

    fn is_mostly_empty(&self) -> bool {
        self.empty > EMPTY_MIN && 2 * self.empty > self.places.len()
    }

    /// Begins a new graph with the vectors that somebody has, in the order of their hashes, which is none.
    fn renumber(&mut self) {
        let mut kept: Vec<u32> = (0..self.graph.len())
            .filter(|node| !self.places[*node as usize].is_empty())
            .collect();
        kept.sort_by_key(|node| self.hashes[*node as usize]);
        let mut next = State::new(self.graph.shape());
        for node in kept {
            let at = next.node_of(self.graph.vector(node)) as usize;
            next.empty -= 1;
            next.places[at] = std::mem::take(&mut self.places[node as usize]);
        }
        *self = State {
            place_bytes: self.place_bytes,
            arrivals: self.arrivals,
            generation: self.generation + 1,
            lived_until: self.lived_until,
            counted: self.counted,
            ..next
        };
    }
}

/// Where a place stands among those of one vector, or would.
fn find(places: &[Place], place: &[u8]) -> Result<usize, usize> {
    places.binary_search_by(|known| (*known.at).cmp(place))
}
