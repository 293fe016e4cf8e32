//! Which of many vectors are nearest to one: a graph in memory whose nodes are linked to their neighbours (HNSW, Malkov and Yashunin 2016).
//!
//! ```text
//! push ─► vector stored, waiting ─► plan (looks for its neighbours, shared) ─► link (writes the links, alone) ─► found by way of the graph
//!
//! level 2    o ───────────── o          few nodes, far links: where to begin
//! level 1    o ──── o ────── o ── o
//! level 0    o─o─o──o─o──o───o─o──o    every linked node
//! ```
//!
//! A crate would have been welcome. `hnsw_rs` 0.3 brings eighty others and draws its levels from a generator of its own, `instant-distance` takes nothing in once it is
//! built, `usearch` is C++; none can be asked while vectors wait, and what is needed is small.
//!
//! Vectors that wait are compared one by one by every search, so that nothing pushed is ever missing. How far a search must look to find what is there depends on
//! the data, not on a table of constants: a [`Survey`] measures it, and where following links is no better than comparing everything, everything is compared.
//!
//! What must hold:
//! - Ids are given in the order of pushes, and the linked ones are the first.
//! - A node is linked to nodes that are linked, and to none twice.
//! - Only one who links: a plan is made for the state that it is carried out in, but for vectors pushed meanwhile.

mod calibrate;
mod links;
mod metric;
mod rows;
mod search;

#[cfg(test)]
mod tests;

pub use calibrate::Survey;
pub use links::Plan;
pub use metric::Metric;
pub use search::Found;

use std::collections::HashMap;

use metric::{Query, distance, inverse_norm};
use rows::Rows;

/// How a graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How alike vectors are.
    pub metric: Metric,
    /// Elements of a vector.
    pub dimensions: usize,
    /// Neighbours that a new node is linked to on each level; twice as many at most on level 0.
    pub links: usize,
    /// Nodes kept in sight while neighbours are looked for.
    pub beam: usize,
}

/// Vectors and how they are linked.
pub struct Graph {
    shape: Shape,
    vectors: Rows<f32>,
    /// One by the length of each vector, for angles.
    inverse_norms: Rows<f32>,
    /// Of each node that is linked, on level 0: how many, then which.
    near: Rows<u32>,
    /// Of the nodes that reach higher, the neighbours on each level from 1 on.
    above: HashMap<u32, Vec<Vec<u32>>>,
    /// Where a search begins, on the highest level.
    entry: u32,
    /// Levels above 0.
    height: usize,
    /// The first that waits.
    linked: u32,
    /// What was measured of how far to look.
    reach: calibrate::Reach,
}

impl Graph {
    /// Without vectors.
    pub fn new(shape: Shape) -> Graph {
        Graph {
            vectors: Rows::new(shape.dimensions),
            inverse_norms: Rows::new(1),
            near: Rows::new(1 + 2 * shape.links),
            above: HashMap::new(),
            entry: 0,
            height: 0,
            linked: 0,
            reach: calibrate::Reach::default(),
            shape,
        }
    }

    /// How it is built.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many vectors there are.
    pub fn len(&self) -> u32 {
        self.vectors.len() as u32
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.vectors.len() == 0
    }

    /// How many are linked: those behind them wait.
    pub fn linked(&self) -> u32 {
        self.linked
    }

    /// The vector of a node.
    pub fn vector(&self, node: u32) -> &[f32] {
        self.vectors.row(node)
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let links = self.shape.links * size_of::<u32>();
        let above = self.above.len() * (2 * links + 2 * size_of::<Vec<u32>>() + 32);
        self.vectors.bytes() + self.near.bytes() + self.inverse_norms.bytes() + above
    }

    /// Takes a vector of its dimensions in, which waits to be linked. Its id.
    pub fn push(&mut self, vector: &[f32]) -> u32 {
        self.inverse_norms.push(&[match self.shape.metric {
            Metric::Cosine => inverse_norm(vector),
            Metric::Euclidean | Metric::DotProduct => 1.0,
        }]);
        self.vectors.push(vector)
    }

    fn query<'a>(&self, vector: &'a [f32]) -> Query<'a> {
        Query::new(self.shape.metric, vector)
    }

    fn query_of(&self, node: u32) -> Query<'_> {
        Query {
            vector: self.vectors.row(node),
            scale: self.inverse_norms.row(node)[0],
        }
    }

    /// How far a node is from what is looked for: less is nearer.
    fn distance(&self, query: &Query<'_>, node: u32) -> f32 {
        let scale = query.scale * self.inverse_norms.row(node)[0];
        distance(
            self.shape.metric,
            query.vector,
            self.vectors.row(node),
            scale,
        )
    }

    /// The neighbours of a linked node on a level that it reaches.
    fn neighbours(&self, node: u32, level: usize) -> &[u32] {
        if level == 0 {
            let row = self.near.row(node);
            return &row[1..=row[0] as usize];
        }
        let levels = self.above.get(&node);
        levels
            .and_then(|levels| levels.get(level - 1))
            .map_or(&[], Vec::as_slice)
    }
}
