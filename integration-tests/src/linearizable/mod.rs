//! Whether what clients saw of one register could have happened one call after the other.
//!
//! A history is linearizable if each call can be given one moment between its sending and its answer so that, in the order of these moments, a plain sequential register would
//! have answered all of them as they were answered. A call without an answer happened at one moment after it was sent, or never.
//!
//! The search follows time (Wing and Gong's, with the memory of what was tried that Lowe added): a `Configuration` is a state of the register, and which calls that are under way
//! have happened already. When an answer arrives, every order of calls under way is tried that ends with the call that was answered; where no configuration is left, the history is
//! impossible.
//!
//! ```text
//! A   ├── write 1 ──┤                    when A is answered:  { state 1, B has not happened }, { state 1, B happened before, too: it was 0 }
//! B        ├──── read ────┤              when B is answered 1: the first of them, and B happens now; when B is answered 0: the second
//! ```
//!
//! Three things keep it small, and none changes an answer: calls happen only when something waits for them; a call whose answer says that it changed nothing happens as soon
//! as its answer fits; of two configurations that differ in unanswered calls alone, the one that has used fewer can do all that the other one can.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;

#[cfg(test)]
mod tests;

/// Configurations that are looked at for one answer before the history is called too wide: a check that cannot be finished is no check, and says so.
const CONFIGURATIONS_MAX: usize = 500_000;

/// One call of one client.
#[derive(Debug, Clone)]
pub struct Call<I, O> {
    pub input: I,
    /// When it was sent, in the order of all events. No two events of a history share a moment.
    pub sent: u64,
    pub end: End<O>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub enum End<O> {
    /// It was answered.
    Answered { at: u64, output: O },
    /// No answer came. It happened once before `until`, or never; `u64::MAX`: at any time.
    Unknown { until: u64 },
}

impl<O> End<O> {
    fn at(&self) -> u64 {
        match self {
            End::Answered { at, .. } => *at,
            End::Unknown { until } => *until,
        }
    }
}

/// Why a history is no linearizable one.
#[derive(Debug, Clone)]
pub struct Impossible {
    /// The call whose answer does not fit; its place in the history.
    pub call: usize,
    what: String,
}

impl Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// How a register stands, and which of the calls under way have happened.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration<S> {
    state: S,
    answered: BTreeSet<usize>,
    unknown: BTreeSet<usize>,
}

impl<S> Configuration<S> {
    fn has(&self, call: usize) -> bool {
        self.answered.contains(&call) || self.unknown.contains(&call)
    }

    fn forget(&mut self, call: usize) {
        self.answered.remove(&call);
        self.unknown.remove(&call);
    }
}

/// Holds a history against a register that starts as `start`; `apply` is what one call does to it, and what it then answers; `is_idle` says of an answer that no call so
/// answered has changed anything, whatever the register was.
pub fn check<S, I, O>(
    start: S,
    calls: &[Call<I, O>],
    apply: impl Fn(&S, &I) -> (S, O),
    is_idle: impl Fn(&O) -> bool,
) -> Result<(), Impossible>
where
    S: Clone + Eq + Hash + Debug,
    I: Debug,
    O: Eq + Debug,
{
    let idle = calls.iter().map(|call| match &call.end {
        End::Answered { output, .. } => is_idle(output),
        End::Unknown { .. } => false,
    });
    let history = History {
        calls,
        idle: idle.collect(),
        apply,
    };
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        events.push((call.sent, false, index));
        // What may happen at any time is under way for good.
        if call.end.at() < u64::MAX {
            events.push((call.end.at(), true, index));
        }
    }
    events.sort_unstable();
    let mut under_way: BTreeSet<usize> = BTreeSet::new();
    let mut frontier = Frontier::default();
    frontier.add(Configuration {
        state: start,
        answered: BTreeSet::new(),
        unknown: BTreeSet::new(),
    });
    for (_, is_end, index) in events {
        if !is_end {
            under_way.insert(index);
            continue;
        }
        let next = history.end(&frontier, &under_way, index)?;
        if next.is_empty() {
            return Err(history.impossible(index, &frontier, &under_way));
        }
        frontier = next;
        under_way.remove(&index);
    }
    Ok(())
}

struct History<'c, I, O, A> {
    calls: &'c [Call<I, O>],
    /// Of each call: its answer says that it changed nothing.
    idle: Vec<bool>,
    apply: A,
}

impl<I, O, A> History<'_, I, O, A>
where
    I: Debug,
    O: Eq + Debug,
{
    /// Every configuration in which a call has happened, now that it ends; where nothing is known of it, also those in which it never does.
    fn end<S>(
        &self,
        frontier: &Frontier<S>,
        under_way: &BTreeSet<usize>,
        ending: usize,
    ) -> Result<Frontier<S>, Impossible>
    where
        S: Clone + Eq + Hash + Debug,
        A: Fn(&S, &I) -> (S, O),
    {
        let mut seen = Frontier::default();
        let mut next = Frontier::default();
        let mut waiting: VecDeque<Configuration<S>> = VecDeque::new();
        for configuration in frontier.all() {
            if let End::Unknown { .. } = self.calls[ending].end {
                let mut without = configuration.clone();
                without.forget(ending);
                next.add(without);
            }
            waiting.push_back(configuration.clone());
        }
        while let Some(mut configuration) = waiting.pop_front() {
            self.settle(&mut configuration, under_way);
            if configuration.has(ending) {
                configuration.forget(ending);
                next.add(configuration);
                continue;
            }
            if !seen.add(configuration.clone()) {
                continue;
            }
            if seen.count > CONFIGURATIONS_MAX {
                let what = format!(
                    "too wide to be checked: {} calls under way",
                    under_way.len()
                );
                return Err(Impossible { call: ending, what });
            }
            for &call in under_way {
                if !configuration.has(call)
                    && let Some(state) = self.happen(&configuration.state, call)
                {
                    let mut after = configuration.clone();
                    after.state = state;
                    match self.calls[call].end {
                        End::Answered { .. } => after.answered.insert(call),
                        End::Unknown { .. } => after.unknown.insert(call),
                    };
                    waiting.push_back(after);
                }
            }
        }
        Ok(next)
    }

    /// What a call makes of a state, if its answer fits and, where none came, if it makes a difference.
    fn happen<S: Eq>(&self, state: &S, call: usize) -> Option<S>
    where
        A: Fn(&S, &I) -> (S, O),
    {
        let (after, answer) = (self.apply)(state, &self.calls[call].input);
        let happens = match &self.calls[call].end {
            End::Answered { output, .. } => answer == *output,
            End::Unknown { .. } => after != *state,
        };
        happens.then_some(after)
    }

    /// Calls that have changed nothing happen as soon as their answer fits. Not so a write of what stands there already: it may be what sets things back later.
    fn settle<S: Eq>(&self, configuration: &mut Configuration<S>, under_way: &BTreeSet<usize>)
    where
        A: Fn(&S, &I) -> (S, O),
    {
        for &call in under_way {
            if self.idle[call]
                && !configuration.has(call)
                && self.happen(&configuration.state, call).is_some()
            {
                configuration.answered.insert(call);
            }
        }
    }

    fn impossible<S: Debug>(
        &self,
        ending: usize,
        frontier: &Frontier<S>,
        under_way: &BTreeSet<usize>,
    ) -> Impossible {
        let mut what = format!("this answer is impossible: {:?}\n", self.calls[ending]);
        for configuration in frontier.all() {
            let (state, happened) = (
                &configuration.state,
                configuration.answered.union(&configuration.unknown),
            );
            what += &format!(
                "  before it: {state:?}, and of the calls under way had happened {:?}\n",
                happened.collect::<Vec<_>>()
            );
        }
        for call in under_way {
            what += &format!("  under way: {call}: {:?}\n", self.calls[*call]);
        }
        Impossible { call: ending, what }
    }
}

/// Configurations of which none can do all that another one can.
struct Frontier<S> {
    by_state: HashMap<S, BTreeMap<BTreeSet<usize>, Vec<Configuration<S>>>>,
    count: usize,
}

impl<S> Default for Frontier<S> {
    fn default() -> Self {
        Frontier {
            by_state: HashMap::new(),
            count: 0,
        }
    }
}

impl<S> Frontier<S> {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn all(&self) -> impl Iterator<Item = &Configuration<S>> {
        let alike = self.by_state.values().flat_map(BTreeMap::values);
        alike.flatten()
    }

    /// Adds one, unless there is one that has used no more.
    fn add(&mut self, configuration: Configuration<S>) -> bool
    where
        S: Clone + Eq + Hash,
    {
        let alike = self
            .by_state
            .entry(configuration.state.clone())
            .or_default()
            .entry(configuration.answered.clone())
            .or_default();
        let unknown = &configuration.unknown;
        if alike.iter().any(|other| other.unknown.is_subset(unknown)) {
            return false;
        }
        let before = alike.len();
        alike.retain(|other| !unknown.is_subset(&other.unknown));
        self.count -= before - alike.len();
        alike.push(configuration);
        self.count += 1;
        true
    }
}
