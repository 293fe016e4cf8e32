//! Groups: what many writers hand over while one sync is under way becomes the next group of the log.
//!
//! ```text
//! writers --submit--> forming group --take--> log loop: seal, append, sync --> apply to memtables --> tell tickets
//! ```
//!
//! A write enters the forming group only under a living lease, with its table's pass; the pass keeps the key ring until the group is applied, so that a
//! table closed meanwhile still gets its durable record. Whether a group is acknowledged is decided for the whole group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use futures::channel::oneshot;
use palladium_crypto::TableId;
use smallvec::SmallVec;
use zeroize::Zeroize;

use crate::engine::record;
use crate::engine::ticket::{Outcome, Ticket};
use crate::error::{Error, Result};
use crate::latch::LatchGuard;
use crate::model::{EncodedUpdates, Mutation};
use crate::sealed::TAG_BYTES;
use crate::table::Pass;

/// One atomic change: all of its mutations in one log group, or none.
#[derive(Debug)]
pub struct Write {
    /// One for each partition that changes. May name several tables.
    pub mutations: Vec<Mutation>,
    latch: Option<LatchGuard>,
}

impl Write {
    /// A change that was decided without a look.
    pub fn new(mutations: Vec<Mutation>) -> Self {
        Write {
            mutations,
            latch: None,
        }
    }

    /// A change that was decided under a latch. It is held until the write is applied, also if the ticket is dropped before: whoever takes it next sees what
    /// was written.
    pub fn under(self, latch: LatchGuard) -> Self {
        Write {
            latch: Some(latch),
            ..self
        }
    }

    /// Whether it holds latches.
    pub fn is_latched(&self) -> bool {
        self.latch.is_some()
    }
}

/// Set aside at most before it is needed: what a hundred connections fill during one sync, and little beside what those hold.
const ROOM_BYTES_MAX: usize = 256 << 10;
const ROOM_UPDATES_MAX: usize = 2048;

/// One table's part of a group.
pub(crate) struct GroupShare {
    pub(crate) pass: Pass,
    pub(crate) records: Vec<u8>,
    /// The same as they are applied once the group is durable.
    pub(crate) updates: EncodedUpdates,
}

/// How much there is of a share.
struct Length {
    records: usize,
    updates: usize,
}

impl GroupShare {
    fn length(&self) -> Length {
        Length {
            records: self.records.len(),
            updates: self.updates.len(),
        }
    }

    /// Adds a mutation of the group's write of that number, which has so many.
    fn add(&mut self, write: u32, members: u32, mutation: &Mutation) {
        let update = self
            .updates
            .push(mutation.store, mutation.key.clone(), &mutation.update);
        record::append(&mut self.records, write, members, mutation.table, &update);
    }
}

/// What the first share of a group sets aside: to grow is to copy, and to wipe what was copied.
#[derive(Default, Clone, Copy)]
struct Room {
    /// Bytes of records, and of the tag behind them once they are sealed.
    records: usize,
    /// How many updates.
    updates: usize,
    /// Bytes of them.
    update_bytes: usize,
}

/// A group on its way to the log.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) shares: BTreeMap<TableId, GroupShare>,
    pub(crate) outcomes: Vec<Arc<Outcome>>,
    /// Held until the group is applied, whether or not anybody still waits for it.
    latches: Vec<LatchGuard>,
    writes: u32,
    bytes: usize,
    room: Room,
}

impl Group {
    /// What a group is likely to take: what the one before it took.
    fn like(before: &Group) -> Group {
        let mut group = Group::default();
        let shares = before.shares.values();
        if let Some(largest) = shares.max_by_key(|share| share.records.len()) {
            group.room = Room {
                records: (largest.records.len() + TAG_BYTES).min(ROOM_BYTES_MAX),
                updates: largest.updates.len().min(ROOM_UPDATES_MAX),
                update_bytes: largest.updates.capacity().min(ROOM_BYTES_MAX),
            };
        }
        group
    }

    fn share(&mut self, table: TableId, pass: Pass) -> &mut GroupShare {
        // One of many tables gets what it needs as it comes.
        let room = match self.shares.is_empty() {
            true => self.room,
            false => Room::default(),
        };
        self.shares.entry(table).or_insert_with(|| GroupShare {
            pass,
            records: Vec::with_capacity(room.records),
            updates: EncodedUpdates::with_capacity(room.updates, room.update_bytes),
        })
    }

    /// Takes back what was added to a share since it had this length.
    fn cut(&mut self, table: TableId, before: Length) {
        let Some(share) = self.shares.get_mut(&table) else {
            return;
        };
        share.records.truncate(before.records);
        share.updates.truncate(before.updates);
        if share.updates.is_empty() {
            self.shares.remove(&table);
        }
    }

    /// It is applied: its partitions are others' to look at.
    pub(crate) fn unlatch(&mut self) {
        self.latches.clear();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for share in self.shares.values_mut() {
            share.records.zeroize();
        }
        // Whoever still waits would wait for ever: the loop has died over this group.
        for outcome in &self.outcomes {
            outcome.tell(Err(Error::OutcomeUnknown {
                what: "the log stopped".into(),
            }));
        }
    }
}

/// What the log's loop does next.
pub(crate) enum Work {
    /// A group to commit.
    Commit(Group),
    /// Housekeeping between groups, asked for by somebody else.
    Errands(Vec<Errand>),
    /// Nothing more will come.
    Close { is_clean: bool },
}

/// Work on the log that must stand between two groups.
pub(crate) enum Errand {
    /// Remove segments nobody needs.
    Release,
    /// Forget the table's data key: its next share gets a new one. Answers when nothing of the key is left here.
    ForgetKey(TableId, oneshot::Sender<()>),
    /// Write the table's shares again at the log's end, still sealed, so that the segments they are in can go. Answers with the first group that holds
    /// them; None if there was nothing to carry.
    Carry(TableId, oneshot::Sender<Result<Option<u64>>>),
    /// Note the durable position outside the segments.
    StoreWatermark,
    /// Make what was appended durable. Answers when it is.
    Sync(oneshot::Sender<Result<()>>),
}

/// The forming group, shared by all writers and the log's loop.
pub(crate) struct Forming {
    inner: Mutex<Inner>,
    bytes_max: usize,
    mutation_bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    group: Group,
    errands: Vec<Errand>,
    /// What every writer is told from now on.
    refusal: Option<Error>,
    /// Nothing more comes: the loop ends when it has done what is here.
    is_closed: bool,
    is_clean: bool,
    /// The loop has ended: nobody runs errands any more.
    is_over: bool,
    loop_waker: Option<Waker>,
}

impl Forming {
    pub(crate) fn new(bytes_max: usize, mutation_bytes_max: usize) -> Self {
        Forming {
            inner: Mutex::default(),
            bytes_max,
            mutation_bytes_max,
        }
    }

    /// Adds a batch to the forming group. `pass` answers for each table whether it may be written now.
    pub(crate) fn submit(
        &self,
        writes: Vec<Write>,
        mut pass: impl FnMut(TableId) -> Result<Pass>,
    ) -> Ticket {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if let Some(error) = &inner.refusal {
            let refused = writes.iter().map(|_| Some(error.clone())).collect();
            return Ticket::new(refused, None);
        }
        let refused: Vec<Option<Error>> = writes
            .into_iter()
            .map(|write| self.add(&mut inner.group, write, &mut pass).err())
            .collect();
        if refused.iter().all(Option::is_some) {
            return Ticket::new(refused, None);
        }
        let outcome = Arc::new(Outcome::default());
        inner.group.outcomes.push(outcome.clone());
        let waker = inner.loop_waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ticket::new(refused, Some(outcome))
    }

    /// All of a write, or nothing of it: a locked member refuses the whole before anything is appended.
    fn add(
        &self,
        group: &mut Group,
        write: Write,
        pass: &mut impl FnMut(TableId) -> Result<Pass>,
    ) -> Result<()> {
        if group.bytes >= self.bytes_max {
            return Err(Error::Full {
                what: "too many bytes wait for the log".into(),
            });
        }
        let members = u32::try_from(write.mutations.len()).map_err(|_| Error::Invalid {
            what: "too many mutations in one write".into(),
        })?;
        let mut passes: SmallVec<[(TableId, Pass); 1]> = SmallVec::new();
        for mutation in &write.mutations {
            if !passes.iter().any(|(table, _)| *table == mutation.table) {
                passes.push((mutation.table, pass(mutation.table)?));
            }
        }
        let before: SmallVec<[(TableId, Length); 1]> = passes
            .into_iter()
            .map(|(table, pass)| (table, group.share(table, pass).length()))
            .collect();
        for mutation in &write.mutations {
            let share = group.shares.get_mut(&mutation.table);
            let share = share.expect("every table of the write has its share: made above");
            share.add(group.writes, members, mutation);
        }
        let grown: usize = before
            .iter()
            .map(|(table, before)| group.shares[table].records.len() - before.records)
            .sum();
        if grown > self.mutation_bytes_max {
            before
                .into_iter()
                .for_each(|(table, before)| group.cut(table, before));
            return Err(Error::Invalid {
                what: format!(
                    "Mutation of {grown} bytes is too large for the maximum size of {}",
                    self.mutation_bytes_max
                ),
            });
        }
        group.writes += 1;
        group.bytes += grown;
        group.latches.extend(write.latch);
        Ok(())
    }

    /// Asks the log's loop for something between two groups. Once the loop has ended the errand is dropped, and who waits for its answer learns that.
    pub(crate) fn ask(&self, errand: Errand) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        if inner.is_over {
            return;
        }
        inner.errands.push(errand);
        let waker = inner.loop_waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// No write is accepted from now on, and every later one is told `why`. What was accepted is still committed.
    pub(crate) fn refuse(&self, why: Error) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.refusal.get_or_insert(why);
    }

    /// Lets the loop end once it has done what is here. Writers have been refused before. One that is not clean looks like a crash to the next start.
    pub(crate) fn close(&self, is_clean: bool) {
        let mut inner = self.inner.lock().expect("no holder of this lock panics");
        inner.is_closed = true;
        inner.is_clean = is_clean;
        let waker = inner.loop_waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for work: errands first, then the group that has formed.
    pub(crate) fn next(&self) -> impl Future<Output = Work> + '_ {
        std::future::poll_fn(|context| {
            let mut inner = self.inner.lock().expect("no holder of this lock panics");
            if !inner.errands.is_empty() {
                return Poll::Ready(Work::Errands(std::mem::take(&mut inner.errands)));
            }
            if !inner.group.outcomes.is_empty() {
                let next = Group::like(&inner.group);
                return Poll::Ready(Work::Commit(std::mem::replace(&mut inner.group, next)));
            }
            if inner.is_closed {
                return Poll::Ready(Work::Close {
                    is_clean: inner.is_clean,
                });
            }
            inner.loop_waker = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// The loop ends: fails whatever is still forming, drops the errands.
    pub(crate) fn end(&self, why: Error) {
        self.refuse(why.clone());
        let (group, errands) = {
            let mut inner = self.inner.lock().expect("no holder of this lock panics");
            inner.is_over = true;
            (
                std::mem::take(&mut inner.group),
                std::mem::take(&mut inner.errands),
            )
        };
        drop(errands);
        for outcome in &group.outcomes {
            outcome.tell(Err(why.clone()));
        }
    }
}
