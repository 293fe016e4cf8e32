//! Many sources as one.
//!
//! Partitions are few per source and sources are few, so each step looks at every source that has the partition: no heap to keep in order.
//! What several sources say about one position is reconciled; what a deletion of the partition or a range shadows is dropped, and so is a
//! deletion that adds nothing to one above it. What remains is one source that says the same as all of them, in the fewest words.
//!
//! ```text
//! source A    ──a──[d1─────c──]────        at every position the open deletion is the latest of what
//! source B    ─────────b───c───────        each source has open there, whether it has an item or not
//! merged      ──a──[d1─b───c──]────        (b stays only if written after d1)
//! ```
//!
//! A miss leaves everything as it was: each source is asked at most once per step, and what it gave is kept until the step is complete.
//! Sources are opened one slice at a time, because what is open between two slices is only certain that way.

use super::{
    EncodedRow, Fault, Item, PASSED_AT_ONCE, PartitionBound, PartitionHead, ReadRow, RowRef,
    ShowRow, Slices, Source, Until,
};
use crate::Result;
use crate::model::{Clustering, Deletion, PartitionKey, reconcile};

/// The k-way merge of sources; a source itself.
pub struct Merge<S> {
    members: Vec<Member<S>>,
    /// The merged head of the current partition.
    head: MergedHead,
    /// Its deletion.
    above: Option<Deletion>,
    /// The only member that has the current partition, if there is only one.
    alone: Option<usize>,
    /// What was opened, and how far it is.
    slices: Slices,
    reversed: bool,
    slice: usize,
    opening: bool,
    next: Option<Item>,
    /// The merged open range deletion after what was stepped over last; None before any step of the slice.
    passed: Option<Option<Deletion>>,
    /// The latest range deletion that was open at the end of a slice before the one at hand: it may cover that slice without a word in it.
    behind: Option<Deletion>,
}

struct Member<S> {
    source: S,
    head: MemberHead,
    /// Has the current partition.
    here: bool,
    /// Did its part of the step at hand: a repeated step skips it.
    done: bool,
    /// The next item, taken from the source.
    held: Option<Item>,
    /// The source was asked for its next item: if none is held, it has no more.
    asked: bool,
}

enum MemberHead {
    Unknown,
    End,
    At(PartitionHead),
}

/// What stands before the current partition.
enum MergedHead {
    /// It was not asked for yet.
    Unknown,
    End,
    /// What the member of this number says of it.
    OfMember(usize),
    Merged(PartitionHead),
}

/// What became of a step.
enum Step {
    /// An item was passed; it is in `next` if there is something to say.
    Passed,
    /// The slice holds no more.
    End,
}

impl<S: Source> Merge<S> {
    /// Merges sources that have not been read from; the order does not matter.
    pub fn new(sources: Vec<S>) -> Self {
        let member = |source| Member {
            source,
            head: MemberHead::Unknown,
            here: false,
            done: false,
            held: None,
            asked: true,
        };
        Merge {
            members: sources.into_iter().map(member).collect(),
            head: MergedHead::Unknown,
            above: None,
            alone: None,
            slices: Slices::none(),
            reversed: false,
            slice: 0,
            opening: false,
            next: None,
            passed: None,
            behind: None,
        }
    }

    /// The range deletions that are open where slices have ended, the one at hand included: the latest of them.
    pub fn left_open(&self) -> Option<Deletion> {
        self.behind.max(self.gap())
    }

    /// The sources, as far as they are.
    pub fn into_sources(self) -> Vec<S> {
        self.members
            .into_iter()
            .map(|member| member.source)
            .collect()
    }

    /// How many sources have the current partition, once it has been asked for.
    pub fn sources_here(&self) -> usize {
        self.members.iter().filter(|member| member.here).count()
    }

    fn know_head(&mut self) -> Result<(), Fault> {
        if matches!(self.head, MergedHead::Unknown) {
            let (head, above) = self.read_head()?;
            (self.head, self.above) = (head, above);
        }
        Ok(())
    }

    /// The head of the current partition, and its deletion.
    fn read_head(&mut self) -> Result<(MergedHead, Option<Deletion>), Fault> {
        if let [member] = &mut self.members[..] {
            let head = member.source.partition()?;
            member.here = head.is_some();
            self.alone = head.map(|_| 0);
            return Ok(match head {
                None => (MergedHead::End, None),
                Some(head) if head.static_row.is_none() => (MergedHead::OfMember(0), head.deletion),
                Some(head) => (MergedHead::Merged(shadow_head(head.clone())), head.deletion),
            });
        }
        for member in &mut self.members {
            if matches!(member.head, MemberHead::Unknown) {
                member.head = match member.source.partition()? {
                    Some(head) => MemberHead::At(head.clone()),
                    None => MemberHead::End,
                };
            }
        }
        let keys = self.members.iter().enumerate();
        let keys = keys.filter_map(|(index, member)| Some((member.key()?, index)));
        let Some((_, first)) = keys.min() else {
            return Ok((MergedHead::End, None));
        };
        for index in 0..self.members.len() {
            self.members[index].here = self.members[index].key() == self.members[first].key();
        }
        let mut merged: Option<PartitionHead> = None;
        self.alone = None;
        for (index, member) in self.members.iter_mut().enumerate() {
            if !member.here {
                continue;
            }
            // The member's own copy is spent; it is asked again once it has moved on.
            let MemberHead::At(head) = std::mem::replace(&mut member.head, MemberHead::End) else {
                continue;
            };
            (merged, self.alone) = match merged {
                None => (Some(head), Some(index)),
                Some(merged) => (Some(unite_heads(merged, head)), None),
            };
        }
        Ok(match merged.map(shadow_head) {
            None => (MergedHead::End, None),
            Some(head) => {
                let above = head.deletion;
                (MergedHead::Merged(head), above)
            }
        })
    }

    /// Every member that has the partition opens the slice at hand.
    fn open_slice(&mut self) -> Result<(), Fault> {
        let single;
        let slices = match self.slices.as_slice() {
            [_] => &self.slices,
            many => {
                let (start, end) = many[slice_index(many, self.slice, self.reversed)].clone();
                single = Slices::one(start, end);
                &single
            }
        };
        for member in self.members.iter_mut().filter(|member| member.here) {
            if !member.done {
                member.source.open(slices, self.reversed)?;
                member.done = true;
                member.held = None;
                member.asked = false;
            }
        }
        for member in &mut self.members {
            member.done = false;
        }
        self.opening = false;
        self.passed = None;
        Ok(())
    }

    /// The caller does not care for what was being opened any more.
    fn abandon_opening(&mut self) {
        if std::mem::take(&mut self.opening) {
            for member in &mut self.members {
                member.done = false;
            }
        }
    }

    /// Asks every member that has the partition for its next item.
    fn fill(&mut self) -> Result<(), Fault> {
        for member in self.members.iter_mut().filter(|member| member.here) {
            if !member.asked {
                if member.source.peek()?.is_some() {
                    member.held = Some(member.source.pop());
                }
                member.asked = true;
            }
        }
        Ok(())
    }

    /// Passes the nearest position of all members. Every member was asked.
    fn step(&mut self) -> Result<Step> {
        let reversed = self.reversed;
        let nearest = self
            .members
            .iter()
            .filter_map(Member::item)
            .map(|item| &item.position)
            .reduce(|a, b| if (b < a) != reversed && a != b { b } else { a });
        let Some(nearest) = nearest.cloned() else {
            return Ok(Step::End);
        };
        let is_row = self
            .members
            .iter()
            .filter_map(Member::item)
            .any(|item| item.position == nearest && item.row.is_some());
        let place = self.place(&nearest, is_row);
        if matches!(place, Place::Past) {
            return Ok(Step::End);
        }
        let (entering, leaving, row) = self.pass_nearest(&nearest)?;
        if matches!(place, Place::Inside) {
            let (before, after) = if reversed {
                (leaving, entering)
            } else {
                (entering, leaving)
            };
            self.next = Some(Item {
                position: nearest,
                before,
                after,
                row,
            });
            self.shadow_next()?;
        }
        Ok(Step::Passed)
    }

    /// The same where only one member has the partition: nothing to compare, nothing to unite.
    fn step_alone(&mut self, index: usize) -> Result<Step, Fault> {
        let Some(item) = self.members[index].source.peek()? else {
            return Ok(Step::End);
        };
        let (all, reversed) = (self.slices.as_slice(), self.reversed);
        let place = match item.row.is_some() {
            true => place_of_row(
                &item.position,
                &all[slice_index(all, self.slice, reversed)],
                reversed,
            ),
            false => place_of_edge(
                &item.position,
                &all[slice_index(all, self.slice, reversed)],
                reversed,
            ),
        };
        if matches!(place, Place::Past) {
            return Ok(Step::End);
        }
        self.passed = Some(item.leaving(reversed));
        let item = self.members[index].source.pop();
        if matches!(place, Place::Inside) {
            self.next = Some(item);
            self.shadow_next()?;
        }
        Ok(Step::Passed)
    }

    /// Shows stretches of rows, each of one member, that no other member has anything about: neither a row nor an open deletion.
    fn show_stretches(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        let reversed = self.reversed;
        loop {
            self.fill()?;
            let Some((index, others)) = self.stretch() else {
                return Ok(());
            };
            let end = match &others {
                Some(position) if until.is_after(&position.0) => Until::at(position, reversed),
                _ => until,
            };
            let member = &mut self.members[index];
            let Some(RowRef::Encoded(row)) = member.row() else {
                return Ok(());
            };
            if !end.is_after(row.clustering) {
                return Ok(());
            }
            let mut is_wanted = show(row)?;
            (member.held, member.asked) = (None, false);
            if is_wanted {
                member.source.show_rows(end, &mut |row| {
                    is_wanted = show(row)?;
                    Ok(is_wanted)
                })?;
            }
            if !is_wanted {
                return Ok(());
            }
        }
    }

    /// The member whose row is next, inside the slice at hand, and where the others go on behind it. None: that row takes more than being shown. Every member was
    /// asked.
    fn stretch(&self) -> Option<(usize, Option<Clustering>)> {
        let reversed = self.reversed;
        let mut nearest: Option<(usize, &Item)> = None;
        let mut others: Option<&Clustering> = None;
        let here = self.members.iter().enumerate();
        for (index, member) in here.filter(|(_, member)| member.here) {
            if member.open(reversed).is_some() {
                return None;
            }
            let Some(item) = &member.held else {
                continue;
            };
            let is_nearest =
                nearest.is_none_or(|(_, nearest)| (item.position < nearest.position) != reversed);
            let further = match is_nearest {
                true => nearest
                    .replace((index, item))
                    .map(|(_, item)| &item.position),
                false => Some(&item.position),
            };
            others = match (others, further) {
                (Some(a), Some(b)) => Some(if reversed { a.max(b) } else { a.min(b) }),
                (one, other) => one.or(other),
            };
        }
        let (index, item) = nearest?;
        let is_inside = matches!(self.place(&item.position, true), Place::Inside);
        let is_apart = others != Some(&item.position);
        (item.row.is_some() && is_inside && is_apart).then(|| (index, others.cloned()))
    }

    /// Drops from the next item what deletions shadow; all of it if it says nothing then.
    fn shadow_next(&mut self) -> Result<()> {
        let above = self.above;
        let Some(item) = &mut self.next else {
            return Ok(());
        };
        item.before = Deletion::beyond(item.before, above);
        item.after = Deletion::beyond(item.after, above);
        let silent = match &mut item.row {
            Some(row) => !row.shadow(above.max(item.before))?,
            None => item.before == item.after,
        };
        if silent {
            self.next = None;
        }
        Ok(())
    }

    /// Takes what every member has at a position: the merged deletions around it, and the united row.
    fn pass_nearest(
        &mut self,
        nearest: &Clustering,
    ) -> Result<(Option<Deletion>, Option<Deletion>, Option<ReadRow>)> {
        let reversed = self.reversed;
        let (mut entering, mut leaving, mut row): (_, _, Option<ReadRow>) = (None, None, None);
        for member in self.members.iter_mut().filter(|member| member.here) {
            if let Some(item) = member.held.take_if(|item| item.position == *nearest) {
                member.asked = false;
                entering = entering.max(item.entering(reversed));
                leaving = leaving.max(item.leaving(reversed));
                row = match (row, item.row) {
                    (Some(a), Some(b)) => {
                        Some(reconcile::unite(a.into_row()?, b.into_row()?).into())
                    }
                    (one, other) => one.or(other),
                };
            } else {
                let open = member.open(reversed);
                entering = entering.max(open);
                leaving = leaving.max(open);
            }
        }
        self.passed = Some(leaving);
        Ok((entering, leaving, row))
    }

    /// Where a position lies against the slice at hand.
    fn place(&self, position: &Clustering, is_row: bool) -> Place {
        let all = self.slices.as_slice();
        let slice = &all[slice_index(all, self.slice, self.reversed)];
        match is_row {
            true => place_of_row(position, slice, self.reversed),
            false => place_of_edge(position, slice, self.reversed),
        }
    }
}

/// The slice that is read `number`th.
fn slice_index(all: &[(Clustering, Clustering)], number: usize, reversed: bool) -> usize {
    if reversed {
        all.len() - 1 - number
    } else {
        number
    }
}

/// A row must be inside.
fn place_of_row(
    position: &Clustering,
    (start, end): &(Clustering, Clustering),
    reversed: bool,
) -> Place {
    Place::new(position <= start, position >= end, reversed)
}

/// A boundary may lie on the slice's own edge.
fn place_of_edge(
    position: &Clustering,
    (start, end): &(Clustering, Clustering),
    reversed: bool,
) -> Place {
    Place::new(position < start, position > end, reversed)
}

enum Place {
    NotYet,
    Inside,
    Past,
}

impl Place {
    fn new(below: bool, above: bool, reversed: bool) -> Place {
        match (below, above, reversed) {
            (false, false, _) => Place::Inside,
            (true, _, false) | (_, true, true) => Place::NotYet,
            _ => Place::Past,
        }
    }
}

impl<S: Source> Member<S> {
    fn key(&self) -> Option<&PartitionKey> {
        match &self.head {
            MemberHead::At(head) => Some(&head.key),
            _ => None,
        }
    }

    fn item(&self) -> Option<&Item> {
        self.held.as_ref().filter(|_| self.here)
    }

    /// The row that it holds.
    fn row(&self) -> Option<RowRef<'_>> {
        let item = self.held.as_ref()?;
        item.row.as_ref().map(ReadRow::as_ref)
    }

    /// The open range deletion where this member stands, before the item it holds.
    fn open(&self, reversed: bool) -> Option<Deletion> {
        match &self.held {
            Some(item) => item.entering(reversed),
            None => self.source.gap(),
        }
    }
}

fn unite_heads(a: PartitionHead, b: PartitionHead) -> PartitionHead {
    PartitionHead {
        key: a.key,
        deletion: a.deletion.max(b.deletion),
        static_row: match (a.static_row, b.static_row) {
            (Some(a), Some(b)) => Some(Box::new(reconcile::unite(*a, *b))),
            (one, other) => one.or(other),
        },
    }
}

fn shadow_head(mut head: PartitionHead) -> PartitionHead {
    if let Some(row) = &mut head.static_row {
        reconcile::shadow(row, head.deletion);
    }
    head.static_row = head.static_row.filter(|row| !row.is_empty());
    head
}

impl<S: Source> Source for Merge<S> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.abandon_opening();
        for member in &mut self.members {
            if !member.done {
                member.source.seek(from)?;
                member.done = true;
                member.here = false;
                member.head = MemberHead::Unknown;
            }
        }
        for member in &mut self.members {
            member.done = false;
        }
        (self.head, self.above) = (MergedHead::Unknown, None);
        self.next = None;
        self.slices = Slices::none();
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        self.know_head()?;
        match &self.head {
            MergedHead::Unknown | MergedHead::End => Ok(None),
            MergedHead::OfMember(member) => self.members[*member].source.partition(),
            MergedHead::Merged(head) => Ok(Some(head)),
        }
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.know_head()?;
        if !self.opening {
            self.slices = slices.clone();
            self.reversed = reversed;
            self.slice = 0;
            self.next = None;
            self.passed = None;
            self.behind = None;
            self.opening = !slices.is_empty();
        }
        if self.opening {
            self.open_slice()?;
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        let mut passed = 0;
        while self.next.is_none() && self.slice < self.slices.as_slice().len() {
            passed += 1;
            if passed > PASSED_AT_ONCE {
                return Err(Fault::Turn);
            }
            if self.opening {
                self.open_slice()?;
            }
            let stepped = match self.alone {
                Some(index) => self.step_alone(index)?,
                None => {
                    self.fill()?;
                    self.step()?
                }
            };
            if matches!(stepped, Step::End) {
                if self.slice + 1 < self.slices.as_slice().len() {
                    self.behind = self.left_open();
                    self.opening = true;
                }
                self.slice += 1;
            }
        }
        Ok(self.next.as_ref())
    }

    fn pop(&mut self) -> Item {
        self.next
            .take()
            .expect("peek showed an item: the contract of Source")
    }

    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        let is_between = self.opening || self.slice >= self.slices.as_slice().len();
        if is_between || self.next.is_some() || self.above.is_some() {
            return Ok(());
        }
        let mut shown = false;
        let mut noting = |row: EncodedRow<'_>| {
            shown = true;
            show(row)
        };
        let went = match self.alone {
            Some(index) => self.members[index].source.show_rows(until, &mut noting),
            None => self.show_stretches(until, &mut noting),
        };
        if shown {
            self.passed = Some(None);
        }
        went
    }

    fn gap(&self) -> Option<Deletion> {
        if let Some(next) = &self.next {
            return next.entering(self.reversed);
        }
        let above = self.above;
        let open = match self.passed {
            Some(passed) => passed,
            None => {
                let here = self.members.iter().filter(|member| member.here);
                here.map(|member| member.open(self.reversed))
                    .max()
                    .flatten()
            }
        };
        Deletion::beyond(open, above)
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        self.know_head()?;
        self.abandon_opening();
        for member in &mut self.members {
            if member.here {
                member.source.next_partition()?;
                member.here = false;
                member.head = MemberHead::Unknown;
            }
        }
        (self.head, self.above) = (MergedHead::Unknown, None);
        self.next = None;
        self.slice = self.slices.as_slice().len();
        Ok(())
    }
}
