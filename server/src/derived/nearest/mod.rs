//! The vectors of an index in memory, linked into a graph: which rows may be nearest to a vector, without a look at all of them.
//!
//! ```text
//! first ANN query ─► attached to the open table ─► entries read from the index's store ─► ready; linked in the background
//! write            ─► entry applied ─► inbox (no waiting) ─► found by the next search, linked later
//! query            ─► candidates, nearest first ─► rows of the base: what they hold now decides (`query::execute::read::near`)
//! lock, sleep      ─► dropped with the open table, and wiped
//! ```
//!
//! Durable are the entries, in the index's store, sealed and checked as everything there. The graph is made of them whenever the table has been opened and is asked
//! for the first time: a crash in the middle of it loses nothing but the work. As long as it is not ready, every row that the WHERE lets through is compared.
//!
//! Like all entries those in memory are hints: a row may hold another vector by now, or be gone. Who finds that out says so ([`Vectors::forget`]).
//!
//! What has expired is forgotten, too, and nobody who says that it is earlier is told by a graph that there is nothing ([`Searched::lived_until`]).
//!
//! What must hold: a row that is visible and has a vector is found by a search that looks at everything. So the graph is attached before the store is read, what is
//! applied meanwhile arrives in the inbox, and a place is forgotten only if nothing has arrived for it since before the row was looked at.

mod fill;
mod vectors;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};

use palladium_protocol::types::CqlType;
use palladium_storage::graph::{Metric, Shape};

pub use fill::{begin, end};
pub use vectors::{Nearby, Search, Searched, Vectors, hash};

use crate::error::{CqlError, CqlResult};
use crate::schema::{Index, TableSchema};

/// Neighbours of a node, and nodes in sight while they are looked for, as Cassandra has them unless an index says otherwise.
const LINKS: usize = 16;
const BEAM: usize = 100;
/// What an index may say, as in Cassandra.
const LINKS_MAX: usize = 512;
const BEAM_MAX: usize = 3200;

/// Bytes that all graphs together may take.
pub struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    pub fn new(max: usize) -> Budget {
        Budget {
            max,
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes that graphs take now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether there was room for more.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| Some(used + bytes).filter(|used| *used <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }
}

/// By what the vectors of an index are alike.
pub fn metric(index: &Index) -> Metric {
    match index.options.get("similarity_function") {
        Some(said) if said.eq_ignore_ascii_case("euclidean") => Metric::Euclidean,
        Some(said) if said.eq_ignore_ascii_case("dot_product") => Metric::DotProduct,
        _ => Metric::Cosine,
    }
}

/// How the graph of an index is built. None: it is not on vectors of floats.
pub fn shape(table: &TableSchema, index: &Index) -> Option<Shape> {
    let CqlType::Vector(element, dimensions) = table.column(&index.column)?.ty.bare() else {
        return None;
    };
    if !index.is_sai() || **element != CqlType::Float {
        return None;
    }
    let number = |option: &str, usual: usize, max: usize| {
        let said = index.options.get(option).and_then(|said| said.parse().ok());
        said.filter(|said| (2..=max).contains(said))
            .unwrap_or(usual)
    };
    Some(Shape {
        metric: metric(index),
        dimensions: usize::from(*dimensions),
        links: number("maximum_node_connections", LINKS, LINKS_MAX),
        beam: number("construction_beam_width", BEAM, BEAM_MAX),
    })
}

/// The numbers of a vector as the wire has it.
pub fn floats(vector: &[u8]) -> Vec<f32> {
    let (elements, _) = vector.as_chunks::<4>();
    elements
        .iter()
        .map(|bytes| f32::from_be_bytes(*bytes))
        .collect()
}

/// Whether a vector can be nearer to one vector than to another.
pub fn check(metric: Metric, vector: &[f32]) -> CqlResult<()> {
    if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
        return Err(CqlError::invalid(format!(
            "non-finite value at vector[{at}]={}",
            java(vector[at])
        )));
    }
    if metric != Metric::Cosine {
        return Ok(());
    }
    if vector.iter().all(|number| *number == 0.0) {
        return Err(CqlError::invalid(
            "Zero vectors cannot be indexed or queried with cosine similarity",
        ));
    }
    let squares: f32 = vector.iter().map(|number| number * number).sum();
    match squares.is_finite() {
        true => Ok(()),
        false => Err(CqlError::invalid(
            "Vectors whose length is not finite cannot be indexed or queried with cosine similarity",
        )),
    }
}

/// What is not finite, as Java spells it.
fn java(number: f32) -> &'static str {
    match number.is_nan() {
        true => "NaN",
        false if number > 0.0 => "Infinity",
        false => "-Infinity",
    }
}
