//! A reader of a memtable, window by window.
//!
//! A cursor holds no lock between calls and no place in the tree, only a position: it copies a bounded window of a partition out under the
//! lock, gives its items out, and comes back for what lies after. Windows start small, since most reads want little, and grow. Rows behind the first window
//! that are only to be shown are shown where they lie, a window of them under one lock.
//! A small partition is copied whole together with its head, so that it is seen as of one moment.

use super::partition::Partition;
use super::window::{Content, Shown, WINDOW_ROWS_MAX, Window, copy_content, put, show_content};
use super::{Memtable, first_from};
use crate::Result;
use crate::model::{Clustering, Deletion, PartitionBound, PartitionKey, Row, Slices, Token};
use crate::read::{Fault, Item, PartitionHead, RowRef, ShowRow, Source, Until};
use bytes::Bytes;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Rows of the first window of a slice; each further one has four times as many.
const WINDOW_ROWS_MIN: usize = 16;

/// Reads a memtable as a [`Source`]. It never misses.
pub struct MemtableCursor<M> {
    memtable: M,
    /// Where to look for the current partition if it is not loaded.
    from: PartitionBound,
    current: Option<Option<Current>>,
    slices: Slices,
    reversed: bool,
    slice: usize,
    window: Window,
    window_rows: usize,
    next: Option<Item>,
    open: Option<Deletion>,
}

struct Current {
    head: PartitionHead,
    /// The whole partition, if it was small.
    whole: Option<Arc<Content>>,
}

impl<M: Deref<Target = Memtable>> MemtableCursor<M> {
    /// Stands before everything.
    pub fn new(memtable: M) -> Self {
        MemtableCursor {
            memtable,
            from: PartitionBound::MIN,
            current: None,
            slices: Slices::none(),
            reversed: false,
            slice: 0,
            window: Window::default(),
            window_rows: WINDOW_ROWS_MIN,
            next: None,
            open: None,
        }
    }

    fn load(&mut self) -> Result<Option<&Current>> {
        if self.current.is_none() {
            let found = first_from(&self.memtable, &self.from, copy_partition);
            self.current = Some(match found {
                None => None,
                Some(copied) => Some(copied.into_current()?),
            });
        }
        Ok(self.current.as_ref().and_then(|current| current.as_ref()))
    }

    fn clear(&mut self) {
        self.current = None;
        self.slices = Slices::none();
        self.window = Window::default();
        self.next = None;
        self.open = None;
    }

    /// What is left of the slice at hand from there on; all of it if None.
    fn span(&self, from: Option<Clustering>) -> Option<(Clustering, Clustering)> {
        let mut all = self.slices.as_slice().iter();
        let (start, end) = match self.reversed {
            false => all.nth(self.slice),
            true => all.rev().nth(self.slice),
        }?;
        Some(match (from, self.reversed) {
            (None, _) => (start.clone(), end.clone()),
            (Some(from), false) => (from, end.clone()),
            (Some(from), true) => (start.clone(), from),
        })
    }

    /// Copies the window of the slice at hand that starts at `from`; at the slice's own start if None.
    fn copy_window(&mut self, from: Option<Clustering>) {
        let Some(span) = self.span(from) else {
            return;
        };
        let Some(Some(current)) = &self.current else {
            return;
        };
        let (content, limit) = match &current.whole {
            Some(whole) => (whole.clone(), None),
            None => {
                let key = &current.head.key;
                let (rows, reversed) = (self.window_rows, self.reversed);
                let copied = self.memtable.partitions.with(key.token(), |shard| {
                    shard
                        .get(key.token(), key.bytes())
                        .map(|partition| copy_content(partition, &span, rows, reversed))
                });
                // Gone only if the memtable was wiped meanwhile.
                let (content, limit) = copied.unwrap_or_default();
                (Arc::new(content), limit)
            }
        };
        self.window_rows = (self.window_rows * 4).min(WINDOW_ROWS_MAX);
        let (window, open) = Window::new(content, span, limit, self.reversed);
        (self.window, self.open) = (window, open);
    }

    /// Shows what comes after the windows that were copied, where it lies and under the lock. Says whether it did and more is wanted.
    fn show_uncopied(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<Option<bool>> {
        let Some(Some(Current { head, whole: None })) = &self.current else {
            return Ok(None);
        };
        if self.next.is_some() || !self.window.is_over() || self.window.more.is_none() {
            return Ok(None);
        }
        let Some(span) = self.span(self.window.more.clone()) else {
            return Ok(None);
        };
        let (key, reversed) = (&head.key, self.reversed);
        let shown = self.memtable.partitions.with(key.token(), |shard| {
            match shard.get(key.token(), key.bytes()) {
                Some(partition) => show_content(partition, &span, reversed, until, show),
                None => Ok(None),
            }
        })?;
        Ok(shown.map(|Shown { more, wanted }| {
            (self.window, self.open) = (Window::not_copied(more), None);
            wanted
        }))
    }

    fn advance(&mut self) {
        while self.next.is_none() && self.slice < self.slices.as_slice().len() {
            self.next = self.window.next(self.reversed, self.open);
            if self.next.is_some() {
                break;
            }
            match self.window.more.take() {
                Some(from) => self.copy_window(Some(from)),
                // The last slice's end is where the cursor stays, so that what is open there can be asked.
                None if self.slice + 1 < self.slices.as_slice().len() => {
                    self.slice += 1;
                    self.window_rows = WINDOW_ROWS_MIN;
                    self.copy_window(None);
                }
                None => break,
            }
        }
    }
}

impl<M: Deref<Target = Memtable> + Send> Source for MemtableCursor<M> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.clear();
        self.from = from.clone();
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        Ok(self.load()?.map(|current| &current.head))
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.load()?;
        self.slices = slices.clone();
        self.reversed = reversed;
        self.slice = 0;
        self.next = None;
        self.open = None;
        self.window = Window::default();
        self.window_rows = WINDOW_ROWS_MIN;
        self.copy_window(None);
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.advance();
        Ok(self.next.as_ref())
    }

    fn pop(&mut self) -> Item {
        let item = self
            .next
            .take()
            .expect("peek showed an item: the contract of Source");
        self.open = item.leaving(self.reversed);
        item
    }

    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        loop {
            match self.show_uncopied(until, show)? {
                Some(true) => continue,
                Some(false) => return Ok(()),
                None => {}
            }
            self.advance();
            let is_due = |item: &mut Item| {
                item.row.is_some() && item.before.is_none() && until.is_after(&item.position.0)
            };
            let Some(Item { row: Some(row), .. }) = self.next.take_if(is_due) else {
                return Ok(());
            };
            self.open = None;
            let RowRef::Encoded(row) = row.as_ref() else {
                unreachable!("a window has rows as they are kept");
            };
            if !show(row)? || !self.window.show_rows(self.reversed, until, show)? {
                return Ok(());
            }
        }
    }

    fn gap(&self) -> Option<Deletion> {
        match &self.next {
            Some(next) => next.entering(self.reversed),
            None => self.open,
        }
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        if let Some(current) = self.load()? {
            self.from = PartitionBound::After(current.head.key.clone());
            self.clear();
        }
        Ok(())
    }
}

/// A partition's head as copied under the lock, not decoded yet.
struct Copied {
    token: i64,
    key: Range<usize>,
    deletion: Option<Deletion>,
    static_row: Option<Range<usize>>,
    content: Content,
    is_whole: bool,
}

fn copy_partition(token: i64, partition: &Partition) -> Copied {
    let mut copied = Copied {
        token,
        key: 0..0,
        deletion: None,
        static_row: None,
        content: Content::default(),
        is_whole: true,
    };
    let mut bytes = Vec::new();
    match partition {
        Partition::One(one) => {
            bytes.reserve_exact(one.key().len() + one.clustering().len() + one.row().len());
            copied.key = put(&mut bytes, one.key());
            copied.content.copy_one(&mut bytes, one);
        }
        Partition::Many(many) => {
            copied.key = put(&mut bytes, partition.key());
            copied.deletion = many.deletion;
            copied.static_row = many.static_row.as_ref().map(|row| put(&mut bytes, row));
            copied.is_whole = many.is_small();
            if copied.is_whole {
                for row in many.rows() {
                    copied.content.push(&mut bytes, row);
                }
                copied.content.tombstones = many.tombstones.clone();
            }
        }
    }
    copied.content.bytes = Bytes::from(bytes);
    copied
}

impl Copied {
    fn into_current(self) -> Result<Current> {
        let bytes = &self.content.bytes;
        let static_row = match self.static_row {
            None => None,
            Some(span) => Some(Box::new(Row::decode(Clustering::MIN, bytes.slice(span))?)),
        };
        let head = PartitionHead {
            key: PartitionKey::new(Token(self.token), bytes.slice(self.key)),
            deletion: self.deletion,
            static_row,
        };
        Ok(Current {
            head,
            whole: self.is_whole.then(|| Arc::new(self.content)),
        })
    }
}
