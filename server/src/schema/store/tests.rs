use palladium_protocol::cql;
use palladium_protocol::cql::ast::Type;

use super::super::change::{Circumstances, Plan, plan};
use super::*;
use crate::query::functions::Moment;
use crate::query::functions::timeuuid::TimeUuids;
use crate::schema::resolve;
use palladium_crypto::OsEntropy;

const SCRIPT: [&str; 11] = [
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = false \
     AND tags = {'team': 'it''s'}",
    "CREATE TYPE u (a int, b list<int>)",
    // Sorted by name it comes before the type it is made of.
    "CREATE TYPE a (x frozen<u>)",
    "CREATE TABLE t (k int, c int, s int static, v frozen<a>, m map<text, frozen<u>>, z 'LexicalUUIDType', PRIMARY KEY (k, c)) WITH \
     CLUSTERING ORDER BY (c DESC) AND comment = 'it''s' AND encryption = {'kms_key': 'local:orders'} AND tags = {'a': 'b'} AND \
     custom_properties = {'capacity_mode': {'throughput_mode': 'PROVISIONED', 'read_capacity_units': 10}}",
    "ALTER TABLE t ADD w int",
    "ALTER TABLE t DROP w",
    "CREATE TABLE counters (k int PRIMARY KEY, n counter) WITH compression = {}",
    "ALTER TYPE u ADD c vector<float, 3>",
    "CREATE TYPE grown (a int)",
    "ALTER TABLE t ADD g grown",
    "ALTER TYPE grown ADD b list<int>",
];

fn world() -> Catalog {
    let mut catalog = Catalog::default();
    system::add_keyspaces(&mut catalog);
    for (number, text) in SCRIPT.iter().enumerate() {
        let uuids = TimeUuids::new(&OsEntropy);
        let circumstances = Circumstances {
            keyspace: Some("ks"),
            data_center: "datacenter1",
            new_id: TableId([number as u8; 16]),
            moment: Moment {
                micros: 9_000_000,
                seconds: 9,
                uuids: &uuids,
            },
            masking: true,
        };
        match plan(&catalog, &cql::parse(text).unwrap(), &circumstances) {
            Ok(Plan::Change(changed)) => catalog = changed.catalog,
            other => panic!("{text}: {other:?}"),
        }
    }
    catalog
}

fn digest(catalog: &Catalog) -> u128 {
    digest_after(&Catalog::default(), catalog)
}

fn rows_of(write: Write) -> Vec<Row> {
    let [mutation] = <[Mutation; 1]>::try_from(write.mutations).expect("one mutation");
    mutation.update.rows
}

#[test]
fn a_catalog_comes_back_from_its_rows() {
    let before = world();
    let write = Change::between(&Catalog::default(), &before).into_write(5);
    let stored = rows_of(write)
        .iter()
        .map(|row| read_row(row).unwrap())
        .collect();
    let mut after = from_stored(stored).unwrap();
    system::add_keyspaces(&mut after);
    assert_eq!(digest(&after), digest(&before));
    assert!(Change::between(&before, &after).is_empty());
    assert_eq!(after.keyspace("ks").unwrap().tags["team"], "it's");
    let (before, after) = (
        before.table("ks", "t").unwrap(),
        after.table("ks", "t").unwrap(),
    );
    assert_eq!(before.storage_columns, after.storage_columns);
    assert_eq!(before.encryption, after.encryption);
    assert_eq!(before.dropped, after.dropped);
    for (before, after) in before.columns.iter().zip(&after.columns) {
        assert_eq!(
            (&before.name, &before.ty, before.id),
            (&after.name, &after.ty, after.id)
        );
    }
}

#[test]
fn only_what_changed_is_written() {
    let before = world();
    let statement = cql::parse("DROP TABLE ks.counters").unwrap();
    let uuids = TimeUuids::new(&OsEntropy);
    let circumstances = Circumstances {
        keyspace: None,
        data_center: "datacenter1",
        new_id: TableId([9; 16]),
        moment: Moment {
            micros: 9_000_000,
            seconds: 9,
            uuids: &uuids,
        },
        masking: true,
    };
    let Ok(Plan::Change(changed)) = plan(&before, &statement, &circumstances) else {
        panic!("the table is there");
    };
    let rows = rows_of(Change::between(&before, &changed.catalog).into_write(7));
    let removed = rows.iter().filter(|row| row.deletion.is_some()).count();
    // The removed table, and the row that says when the newest change was.
    assert_eq!((rows.len(), removed), (2, 1));
    assert!(
        rows.iter()
            .flat_map(|row| &row.cells)
            .all(|cell| cell.timestamp == 7)
    );
    let by_steps = {
        let before = Catalog {
            digest: digest(&before),
            ..before
        };
        digest_after(&before, &changed.catalog)
    };
    assert_eq!(by_steps, digest(&changed.catalog));
    assert_ne!(by_steps, digest(&world()));
}

#[test]
fn a_definition_with_an_unknown_field_is_refused() {
    let stored = Stored {
        kind: "keyspace".into(),
        keyspace: "ks".into(),
        name: String::new(),
        definition: r#"{"replication":{},"durable_writes":true,"protected_by":"something newer"}"#
            .into(),
    };
    let error = from_stored(vec![stored]).unwrap_err();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn what_is_judged_otherwise_today_is_read_as_it_was_stored() {
    let catalog = world();
    let class = format!("{}LegacyTimeUUIDType", CqlType::PACKAGE);
    let written = Type::Custom(class.clone());
    // Values of the class have an order of their own on the disk.
    let stored = resolve::stored_type(&catalog, "ks", &written).unwrap();
    assert_eq!(stored, CqlType::Custom(class.into()));
    let today = resolve::cql_type(&catalog, "ks", &written).unwrap();
    assert_eq!(today, CqlType::Timeuuid);
    let text = "SELECT * FROM base WHERE v > 1e2147483648";
    assert!(cql::parse(text).is_err());
    assert!(cql::parse_at_rest(text).is_ok());
}
