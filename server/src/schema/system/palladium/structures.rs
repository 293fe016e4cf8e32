//! `system_palladium.structures`: what each table has on the disk, the locked ones and the server's own included. One table is looked at at a time.

use bytes::Bytes;
use palladium_crypto::TableId;
use palladium_protocol::types::CqlValue;
use palladium_storage::{PartitionKey, Place, ReadCommand, ReadPage, Structure};

use super::super::super::{Catalog, TableSchema};
use super::super::rows::{Named, Rows, int, text};
use super::View;
use super::paged::Paged;
use crate::Engine;
use crate::encode::key;
use crate::error::CqlResult;
use crate::service_table;

/// A table, by its names.
struct Owner {
    id: TableId,
    keyspace: String,
    name: String,
}

/// One page of the table.
pub async fn read(
    engine: &Engine,
    catalog: &Catalog,
    table: &TableSchema,
    command: &ReadCommand,
    view: View<'_>,
) -> CqlResult<ReadPage> {
    let mut page = Paged::new(command);
    let owners = page.wanted(owners(catalog, view)?);
    for (key, owner) in owners {
        let mut partition = page.begin(key);
        let mut rows = Rows::new(table, command);
        for structure in engine.structures(owner.id).await {
            rows.add(row(&owner, &structure))?;
        }
        page.add(&mut partition, &rows)?;
        if page.end(partition) {
            break;
        }
    }
    Ok(page.finish())
}

/// All tables, as partitions come: by token.
fn owners(catalog: &Catalog, view: View<'_>) -> CqlResult<Vec<(PartitionKey, Owner)>> {
    let customers = catalog.customer_tables().map(|table| Owner {
        id: table.id,
        keyspace: table.keyspace.clone(),
        name: table.name.clone(),
    });
    let own = service_table::ALL.into_iter().filter_map(|id| {
        Some(Owner {
            id,
            keyspace: "system_palladium".into(),
            name: service_table::name(id)?.into(),
        })
    });
    let mut owners = customers
        .chain(own)
        .filter(|owner| view.shows(&owner.keyspace, &owner.name))
        .map(|owner| {
            let names =
                [&owner.keyspace, &owner.name].map(|name| Bytes::copy_from_slice(name.as_bytes()));
            Ok((key::partition_key(&names)?, owner))
        })
        .collect::<CqlResult<Vec<_>>>()?;
    owners.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(owners)
}

fn row(owner: &Owner, structure: &Structure) -> Vec<Named> {
    let number = |number: u64| Some(CqlValue::Bigint(i64::try_from(number).unwrap_or(i64::MAX)));
    let (sstable, segment) = match structure.place {
        Place::Sstable(id) => (number(id), None),
        Place::Segment(segment) => (None, number(segment)),
    };
    vec![
        ("keyspace_name", text(&owner.keyspace)),
        ("table_name", text(&owner.name)),
        ("structure", text(structure.structure.to_string())),
        ("kind", text(structure.kind.to_string())),
        ("bytes", number(structure.bytes)),
        (
            "created",
            structure
                .created_seconds
                .map(|seconds| CqlValue::Timestamp(seconds.saturating_mul(1_000))),
        ),
        (
            "key_version",
            structure
                .key_version
                .and_then(|version| int(version as i32)),
        ),
        ("sstable", sstable),
        ("log_segment", segment),
    ]
}
