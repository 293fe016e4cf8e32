//! What a request asks for, in a word: decided when its statement is understood, not when it is executed.

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::BatchKind;

use crate::query::analyze::restrictions::Partition;
use crate::query::analyze::{Body, ModifyPlan};
use crate::schema::{TableKind, TableSchema};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Operation {
    /// SELECT of partitions that it names.
    Read,
    /// SELECT of a range of partitions, or of all.
    Range,
    /// SELECT by an index.
    Index,
    /// INSERT, UPDATE, DELETE.
    Write,
    /// The same with IF, a batch of such statements too.
    Cas,
    /// Counters, batches of them too.
    Counter,
    /// Other batches.
    Batch,
    /// PREPARE.
    Prepare,
    /// Definitions, roles, permissions, DESCRIBE, TRUNCATE.
    Schema,
    /// What nobody stores: system tables.
    System,
    /// OPTIONS, STARTUP, AUTH_RESPONSE, REGISTER.
    Handshake,
    /// USE, and requests that were not understood.
    #[default]
    Other,
}

/// What a request asks for, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    pub operation: Operation,
    /// The table's place among [`Tables`](super::Tables); 0: of no table.
    pub table: u32,
    /// The statement's own number; 0: it has none.
    pub statement: u32,
}

impl Asked {
    /// Something of the handshake.
    pub const HANDSHAKE: Asked = Asked {
        operation: Operation::Handshake,
        table: 0,
        statement: 0,
    };
}

impl Operation {
    /// Whether nothing is changed by it, so that it may end when nobody waits for its answer.
    pub fn only_reads(self) -> bool {
        matches!(self, Operation::Read | Operation::Range | Operation::Index)
    }

    /// All of them, in order.
    pub const ALL: [Operation; 12] = [
        Operation::Read,
        Operation::Range,
        Operation::Index,
        Operation::Write,
        Operation::Cas,
        Operation::Counter,
        Operation::Batch,
        Operation::Prepare,
        Operation::Schema,
        Operation::System,
        Operation::Handshake,
        Operation::Other,
    ];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Range => "range",
            Operation::Index => "index",
            Operation::Write => "write",
            Operation::Cas => "cas",
            Operation::Counter => "counter",
            Operation::Batch => "batch",
            Operation::Prepare => "prepare",
            Operation::Schema => "schema",
            Operation::System => "system",
            Operation::Handshake => "handshake",
            Operation::Other => "other",
        }
    }

    /// What executing a statement is.
    pub fn of(body: &Body) -> Operation {
        match body {
            Body::Select(plan) if is_virtual(&plan.table) => Operation::System,
            Body::Select(plan) if plan.nearest.is_some() || plan.restrictions.index.is_some() => {
                Operation::Index
            }
            Body::Select(plan) => match plan.restrictions.partition {
                Partition::Keys(_) => Operation::Read,
                Partition::All | Partition::Token { .. } => Operation::Range,
            },
            Body::Modify(plan) if is_virtual(&plan.table) => Operation::System,
            Body::Modify(plan) if plan.condition.is_some() => Operation::Cas,
            Body::Modify(plan) if plan.is_counter => Operation::Counter,
            Body::Modify(_) => Operation::Write,
            Body::Batch(batch) => Operation::of_batch(batch.kind, batch.statements.iter()),
            Body::Use(_) => Operation::Other,
            Body::Truncate(_) | Body::Other(_) => Operation::Schema,
        }
    }

    /// What executing a batch is.
    pub fn of_batch<'a>(
        kind: BatchKind,
        mut plans: impl Iterator<Item = &'a ModifyPlan>,
    ) -> Operation {
        match kind {
            BatchKind::Counter => Operation::Counter,
            _ if plans.any(|plan| plan.condition.is_some()) => Operation::Cas,
            _ => Operation::Batch,
        }
    }
}

/// The table that a statement is about, of those that are stored. None of a batch over several: who may see one of them may not see the others.
pub fn table_of(body: &Body) -> Option<TableId> {
    let table = match body {
        Body::Select(plan) => &plan.table,
        Body::Modify(plan) => &plan.table,
        Body::Batch(batch) => {
            let first = &batch.statements.first()?.table;
            let mut others = batch.statements.iter();
            let is_one = others.all(|plan| plan.table.id == first.id);
            is_one.then_some(first)?
        }
        Body::Use(_) | Body::Truncate(_) | Body::Other(_) => return None,
    };
    (!is_virtual(table)).then_some(table.id)
}

fn is_virtual(table: &TableSchema) -> bool {
    table.kind == TableKind::Virtual
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_stand_in_the_order_of_their_numbers() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place, "{}", operation.name());
        }
    }
}
