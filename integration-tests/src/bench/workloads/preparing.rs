//! Statements that are prepared and never used again: what a client does that puts values into its statements.

use super::{Setting, Shapes, Tables, Workload, standard};

static TABLES: Tables = Tables {
    rows: |_| 1,
    ..standard::TABLES
};

pub static PREPARE: Workload = Workload {
    name: "prepare",
    about: "PREPARE of a statement that nobody has prepared before",
    tables: &TABLES,
    statements: |_| Vec::new(),
    ask: |turn| {
        let key = turn.number();
        turn.prepare(&format!(
            "SELECT c0, c1, c2, c3, c4 FROM bench.standard WHERE key = 0x{key:016x}"
        ));
    },
    shapes: Shapes::Any,
    setting: Setting::Ordinary,
    is_on_floor: false,
};
