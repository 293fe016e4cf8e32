//! What clients are told of a change: beside the thing that a statement names, the types and tables of its keyspace that it changes along.
//!
//! A view of all columns gets those that its base gets, and follows their names; a type is part of other types and of columns. A driver asks again
//! for what it is told of and for nothing else, so whatever is left out here stays in its metadata as it was. As with Cassandra, types come first,
//! then tables, then views. Of a dropped keyspace nothing but itself is told: nobody keeps what was in it.

use std::sync::Arc;

use palladium_protocol::response::{Change, SchemaChange, SchemaTarget};

use super::super::{Catalog, Keyspace};

/// All that is told of `event`, which led from one catalog to the other.
pub fn told(before: &Catalog, after: &Catalog, event: &SchemaChange) -> Vec<SchemaChange> {
    let both = before
        .keyspace(&event.keyspace)
        .zip(after.keyspace(&event.keyspace));
    let mut told: Vec<SchemaChange> = both
        .into_iter()
        .flat_map(|(before, after)| changed(before, after))
        .map(|target| SchemaChange {
            change: Change::Updated,
            keyspace: event.keyspace.clone(),
            target,
        })
        .collect();
    if !told.contains(event) {
        told.insert(0, event.clone());
    }
    told
}

/// What is in both, and looks different.
fn changed(before: &Keyspace, after: &Keyspace) -> Vec<SchemaTarget> {
    let types = after.types.values().filter(|ty| {
        let then = before.types.get(&ty.name);
        then.is_some_and(|then| then != *ty)
    });
    let mut told: Vec<SchemaTarget> = types
        .map(|ty| SchemaTarget::Type(ty.name.clone()))
        .collect();
    let mut views = Vec::new();
    for table in after.tables.values() {
        let then = before.tables.get(&table.name);
        // Most tables of a keyspace are the very same as before.
        let Some(then) = then.filter(|then| !Arc::ptr_eq(then, table)) else {
            continue;
        };
        if then.columns != table.columns {
            told.push(SchemaTarget::Table(table.name.clone()));
        }
        for view in &table.views {
            let then = then.views.iter().find(|then| then.name == view.name);
            if then.is_some_and(|then| then.columns != view.columns) {
                views.push(SchemaTarget::Table(view.name.clone()));
            }
        }
    }
    told.append(&mut views);
    told
}
