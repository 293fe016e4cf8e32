//! Looking for what is near: from the entry downwards, and then along the links, keeping the best so far in sight.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Graph;
use super::metric::Query;

/// Of the nodes that a search through links has looked at, this share of all makes it give up: comparing everything costs less then.
const VISITS_SHARE: u32 = 4;
/// Nodes in sight on the way down.
const DESCENT: usize = 16;

/// A node, and how far it is from what was looked for.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Less is nearer; by the graph's own measure.
    pub distance: f32,
    /// Its id.
    pub node: u32,
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then(self.node.cmp(&other.node))
    }
}

/// Nodes that were looked at.
struct Seen(Vec<u64>);

impl Seen {
    fn new(nodes: u32) -> Seen {
        Seen(vec![0; nodes as usize / 64 + 1])
    }

    /// Whether it is seen for the first time.
    fn insert(&mut self, node: u32) -> bool {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

/// The nearest of what was offered, so many at most.
struct Best {
    limit: usize,
    heap: BinaryHeap<Found>,
}

impl Best {
    fn new(limit: usize) -> Best {
        Best {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    fn offer(&mut self, found: Found) {
        if self.heap.len() < self.limit {
            self.heap.push(found);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found < *worst
        {
            *worst = found;
        }
    }

    fn has_room_for(&self, found: &Found) -> bool {
        self.heap.len() < self.limit || self.heap.peek().is_some_and(|worst| found < worst)
    }

    fn nearest_first(self) -> Vec<Found> {
        self.heap.into_sorted_vec()
    }
}

impl Graph {
    /// The `count` nearest of the nodes that `is_meant` lets through, or almost: nearest first. Looks as far as was measured that it must.
    pub fn nearest(
        &self,
        vector: &[f32],
        count: usize,
        is_meant: &dyn Fn(u32) -> bool,
    ) -> Vec<Found> {
        let query = self.query(vector);
        let mut best = Best::new(count);
        let beam = self.reach_of(count);
        match beam.and_then(|beam| self.by_links(&query, beam.max(count), is_meant)) {
            Some(linked) => linked.into_iter().for_each(|found| best.offer(found)),
            None => self.compare(&query, 0..self.linked, is_meant, &mut best),
        }
        self.compare(&query, self.linked..self.len(), is_meant, &mut best);
        best.nearest_first()
    }

    /// The `count` nearest of all, by comparing each: nearest first.
    pub fn compare_all(
        &self,
        vector: &[f32],
        count: usize,
        is_meant: &dyn Fn(u32) -> bool,
    ) -> Vec<Found> {
        let query = self.query(vector);
        let mut best = Best::new(count);
        self.compare(&query, 0..self.len(), is_meant, &mut best);
        best.nearest_first()
    }

    /// The nearest of the linked nodes, nearest first. None: the way is too long, or nothing is linked.
    pub(super) fn by_links(
        &self,
        query: &Query<'_>,
        beam: usize,
        is_meant: &dyn Fn(u32) -> bool,
    ) -> Option<Vec<Found>> {
        let starts = self.descend(query, 0);
        let visits_max = self.linked / VISITS_SHARE;
        match starts.is_empty() {
            true => None,
            false => self.along_links(query, &starts, beam, 0, is_meant, visits_max),
        }
    }

    fn compare(
        &self,
        query: &Query<'_>,
        nodes: std::ops::Range<u32>,
        is_meant: &dyn Fn(u32) -> bool,
        best: &mut Best,
    ) {
        for node in nodes.filter(|node| is_meant(*node)) {
            best.offer(self.found(query, node));
        }
    }

    fn found(&self, query: &Query<'_>, node: u32) -> Found {
        Found {
            distance: self.distance(query, node),
            node,
        }
    }

    /// The nodes from which the search goes on at `level`. Several: the nearest cluster may be reached by one that is not the nearest here. Empty: nothing is linked.
    pub(super) fn descend(&self, query: &Query<'_>, level: usize) -> Vec<Found> {
        if self.linked == 0 {
            return Vec::new();
        }
        let mut starts = vec![self.found(query, self.entry)];
        for above in (level + 1..=self.height).rev() {
            let found = self.along_links(query, &starts, DESCENT, above, &|_| true, u32::MAX);
            starts = found.unwrap_or(starts);
        }
        starts
    }

    /// What is nearest on a level, from `starts` on; nearest first. None: `visits_max` nodes were looked at and it was not over.
    pub(super) fn along_links(
        &self,
        query: &Query<'_>,
        starts: &[Found],
        beam: usize,
        level: usize,
        is_meant: &dyn Fn(u32) -> bool,
        visits_max: u32,
    ) -> Option<Vec<Found>> {
        let mut seen = Seen::new(self.linked);
        let mut open = BinaryHeap::new();
        let mut best = Best::new(beam);
        for start in starts {
            if seen.insert(start.node) {
                open.push(Reverse(*start));
                if is_meant(start.node) {
                    best.offer(*start);
                }
            }
        }
        let mut visits = 0;
        while let Some(Reverse(here)) = open.pop() {
            if !best.has_room_for(&here) {
                break;
            }
            for &node in self.neighbours(here.node, level) {
                if !seen.insert(node) {
                    continue;
                }
                visits += 1;
                let found = self.found(query, node);
                if best.has_room_for(&found) {
                    open.push(Reverse(found));
                    if is_meant(node) {
                        best.offer(found);
                    }
                }
            }
            if visits > visits_max {
                return None;
            }
        }
        Some(best.nearest_first())
    }
}
