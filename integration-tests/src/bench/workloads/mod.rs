//! What is asked of a server: tables, how they are filled, and what one operation on them is.
//!
//! A new workload is one more constant in one of the rooms below, and its name in [`ALL`]. Workloads that share [`Tables`] are measured one after the other on
//! the same rows.
//!
//! Reading order: `standard` (a row by its key), `slices`, `series`, `conditional` (counters, conditions, batches), `ycsb` over `zipf`, `large`, `many_tables`,
//! `preparing`, `indexed`, `vectors`, `text`.

pub mod conditional;
pub mod indexed;
pub mod large;
pub mod many_tables;
pub mod preparing;
pub mod series;
pub mod slices;
pub mod standard;
pub mod text;
pub mod vectors;
pub mod ycsb;
mod zipf;

use std::cell::Cell;

use super::load::Shape;
use super::request::Turn;
use zipf::Zipf;

/// Sizes of all tables, and how far those have grown that grow. Each server has its own.
pub struct Scale {
    /// Rows of an ordinary table.
    pub rows: u64,
    /// Rows of the table that must be larger than the servers' caches.
    pub cold_rows: u64,
    /// Tables where there are many.
    pub tables: u64,
    /// Vectors, each of so many dimensions.
    pub vectors: u64,
    pub dimensions: usize,
    /// Bytes of a large value.
    pub value_bytes: usize,
    /// Rows that a table of growing length has.
    pub inserted: Cell<u64>,
    zipf: Zipf,
}

/// The sizes that a user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub rows: u64,
    pub cold_rows: u64,
    pub tables: u64,
    pub vectors: u64,
}

const DIMENSIONS: usize = 64;
const VALUE_BYTES: usize = 100_000;

impl Scale {
    /// Tables of these sizes, as they are when they have been filled.
    pub fn new(sizes: Sizes) -> Scale {
        let Sizes {
            rows,
            cold_rows,
            tables,
            vectors,
        } = sizes;
        Scale {
            rows,
            cold_rows,
            tables,
            vectors,
            dimensions: DIMENSIONS,
            value_bytes: VALUE_BYTES,
            inserted: Cell::new(rows),
            zipf: Zipf::new(rows),
        }
    }

    /// Rows of large values: about as many bytes as two ordinary tables, and not fewer than some.
    pub fn large_rows(&self) -> u64 {
        (self.rows / 250).max(20)
    }
}

/// Tables that some workloads share.
pub struct Tables {
    pub keyspace: &'static str,
    /// Statements that make them; they may be there already.
    pub schema: fn(&Scale) -> Vec<String>,
    /// Statements that fill them, prepared.
    pub fill: fn(&Scale) -> Vec<String>,
    /// Puts the row of the turn's number.
    pub put: fn(&mut Turn<'_>),
    pub rows: fn(&Scale) -> u64,
    /// Flushed and compacted before anything is measured: these workloads are about what is on the disk.
    pub settled: bool,
    /// Requests in flight on one connection at most, because they are large.
    pub in_flight_max: usize,
}

/// How the servers are set up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Setting {
    /// As an operator gets them.
    Ordinary,
    /// With room for all prepared statements of many tables.
    ManyStatements,
    /// With caches of their own so small that blocks come from the page cache of the machine.
    SmallCache,
    /// Who asks has to log in, and columns can be masked; of Cassandra, as the oracle needs it.
    Masked,
}

/// Which shapes mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shapes {
    /// Whichever are asked for.
    Any,
    /// This one: an operation is so large that few are enough, or the shape is the point.
    Only(Shape),
}

/// One kind of operation.
pub struct Workload {
    pub name: &'static str,
    /// What one operation is.
    pub about: &'static str,
    pub tables: &'static Tables,
    /// What is prepared.
    pub statements: fn(&Scale) -> Vec<String>,
    /// Puts the next request.
    pub ask: fn(&mut Turn<'_>),
    pub shapes: Shapes,
    pub setting: Setting,
    /// Whether the floor can do it.
    pub is_on_floor: bool,
}

impl Workload {
    /// An ordinary one over these tables, at any shape, that the floor cannot do: for a family to begin from.
    const fn over(tables: &'static Tables) -> Workload {
        Workload {
            name: "",
            about: "",
            tables,
            statements: |_| Vec::new(),
            ask: |_| {},
            shapes: Shapes::Any,
            setting: Setting::Ordinary,
            is_on_floor: false,
        }
    }
}

const FEW: Shapes = Shapes::Only(Shape {
    connections: 4,
    in_flight: 4,
});

/// All of them, in the order in which they are measured: a table is written before it is read.
pub const ALL: [&Workload; 31] = [
    &standard::INSERT,
    &standard::UPDATE,
    &standard::READ,
    &standard::READ_MISSING,
    &standard::CONNECTIONS,
    &standard::SCAN,
    &slices::SLICE_10,
    &slices::SLICE_100,
    &series::INSERT,
    &series::READ_100,
    &conditional::COUNTER,
    &conditional::LWT_INSERT,
    &conditional::LWT_UPDATE,
    &conditional::BATCH_10,
    &ycsb::A,
    &ycsb::B,
    &ycsb::C,
    &ycsb::D,
    &ycsb::E,
    &ycsb::F,
    &large::WRITE,
    &large::READ,
    &many_tables::INSERT,
    &many_tables::READ,
    &preparing::PREPARE,
    &indexed::CLASSIC,
    &indexed::SAI,
    &indexed::SAI_INSERT,
    &vectors::SEARCH,
    &text::READ,
    &standard::READ_COLD,
];

/// The workload of a name; `write` is what `insert` was called once.
pub fn named(name: &str) -> Option<&'static Workload> {
    let name = match name {
        "write" => "insert",
        name => name,
    };
    ALL.into_iter().find(|workload| workload.name == name)
}

/// The statement that makes a keyspace.
pub fn create_keyspace(keyspace: &str) -> String {
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_a_name_of_its_own() {
        for workload in ALL {
            assert!(std::ptr::eq(
                named(workload.name).expect("a name"),
                workload
            ));
        }
    }
}
