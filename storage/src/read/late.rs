//! A source of one partition that has nothing to say before its first row, and knows where that can be at the earliest: until a read gets there, nothing of it
//! is looked at.
//!
//! ```text
//! memtable   ──a──b──c──d──e──          LIMIT 3 ends here, and the SSTable was never opened
//! SSTable                 ┆─e──f──g──   ┆ the place it announces: an item that says nothing
//! ```
//!
//! What must hold: the source has no deletion of the partition or of a range, and no static row that anybody wants to see.

use super::{Fault, Item, PartitionBound, PartitionHead, ShowRow, Slices, Source, Until};
use crate::model::{Clustering, Deletion, PartitionKey};

/// The source, and how far it has come.
pub struct Late<S> {
    source: S,
    head: PartitionHead,
    /// Places before its first row and behind its last. Neither is a position of a row of its own.
    edges: (Clustering, Clustering),
    slices: Slices,
    reversed: bool,
    /// The reader is at the partition, not before it or behind it.
    is_here: bool,
    /// Whether the source has the partition, and stands at it; None: nobody has looked.
    is_in_source: Option<bool>,
    stage: Stage,
    announced: Item,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What it announces was not taken yet.
    Announcing,
    /// It was, or nobody waits for it: the source is to be opened.
    Due,
    Open,
    /// Nothing of it is wanted, or it has none.
    Over,
}

impl<S: Source> Late<S> {
    /// `rows`: its first and its last row, as far as anybody knows. Err, with the source: no place is before them.
    pub fn new(source: S, key: PartitionKey, rows: &(Clustering, Clustering)) -> Result<Self, S> {
        let Some(before) = rows.0.some_before() else {
            return Err(source);
        };
        Ok(Late {
            source,
            head: PartitionHead {
                key,
                deletion: None,
                static_row: None,
            },
            announced: announce(before.clone()),
            edges: (before, rows.1.some_after()),
            slices: Slices::none(),
            reversed: false,
            is_here: false,
            is_in_source: None,
            stage: Stage::Over,
        })
    }

    /// Opens the source if it is due. False: there is nothing to open. A miss on the way there repeats no step that was taken: what it took may be gone from memory.
    fn is_open(&mut self) -> Result<bool, Fault> {
        if matches!(self.stage, Stage::Announcing | Stage::Due) {
            self.stage = match self.is_in_source()? {
                true => {
                    self.source.open(&self.slices, self.reversed)?;
                    Stage::Open
                }
                false => Stage::Over,
            };
        }
        Ok(self.stage == Stage::Open)
    }

    fn is_in_source(&mut self) -> Result<bool, Fault> {
        if let Some(known) = self.is_in_source {
            return Ok(known);
        }
        let key = &self.head.key;
        self.source.seek(&PartitionBound::Before(key.clone()))?;
        let here = self.source.partition()?;
        let is_in_source = here.is_some_and(|head| head.key == *key);
        self.is_in_source = Some(is_in_source);
        Ok(is_in_source)
    }
}

/// An item that says nothing.
fn announce(position: Clustering) -> Item {
    Item {
        position,
        before: None,
        after: None,
        row: None,
    }
}

impl<S: Source> Source for Late<S> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.is_here = !from.is_after_key(&self.head.key);
        (self.is_in_source, self.stage) = (None, Stage::Over);
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        Ok(self.is_here.then_some(&self.head))
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.slices = slices.clone();
        self.reversed = reversed;
        self.stage = match slices.is_empty() {
            true => Stage::Over,
            false => Stage::Announcing,
        };
        self.announced.position = match reversed {
            false => self.edges.0.clone(),
            true => self.edges.1.clone(),
        };
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        if self.stage == Stage::Announcing {
            return Ok(Some(&self.announced));
        }
        match self.is_open()? {
            true => self.source.peek(),
            false => Ok(None),
        }
    }

    fn pop(&mut self) -> Item {
        match self.stage {
            Stage::Announcing => {
                self.stage = Stage::Due;
                self.announced.clone()
            }
            _ => self.source.pop(),
        }
    }

    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        match self.is_open()? {
            true => self.source.show_rows(until, show),
            false => Ok(()),
        }
    }

    fn gap(&self) -> Option<Deletion> {
        match self.stage {
            Stage::Open => self.source.gap(),
            _ => None,
        }
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        self.is_here = false;
        self.stage = Stage::Over;
        Ok(())
    }
}
