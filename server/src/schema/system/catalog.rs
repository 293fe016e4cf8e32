//! The schema as Cassandra shows it: stored keyspaces in `system_schema`, virtual ones in `system_virtual_schema`.

use std::sync::Arc;

use palladium_protocol::types::{CqlType, CqlValue};

use super::super::index::is_literal;
use super::super::{
    Catalog, Column, ColumnKind, Keyspace, KeyspaceKind, TableOptions, TableSchema,
};
use super::rows::{Named, Rows, boolean, double, int, text, text_map, text_set, texts, uuid};
use crate::error::CqlResult;

/// The rows of one of these tables.
pub fn fill(catalog: &Catalog, table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    let of_virtual = table.keyspace == "system_virtual_schema";
    let shown = |keyspace: &&Arc<Keyspace>| (keyspace.kind == KeyspaceKind::Virtual) == of_virtual;
    for keyspace in catalog.keyspaces.values().filter(shown) {
        if !rows.are_asked_for(&[&keyspace.name]) {
            continue;
        }
        match (of_virtual, table.name.as_str()) {
            (false, "keyspaces") => rows.add(keyspace_row(keyspace))?,
            (false, "types") => types(keyspace, rows)?,
            (true, "keyspaces") => rows.add(vec![("keyspace_name", text(&keyspace.name))])?,
            (_, what) => {
                for of in keyspace.tables.values() {
                    // Views have names of their own.
                    if !rows.are_asked_for(&[&of.keyspace, &of.name]) && of.views.is_empty() {
                        continue;
                    }
                    match what {
                        "tables" if of_virtual => rows.add(virtual_table(of))?,
                        "tables" => rows.add(table_row(of))?,
                        "columns" => {
                            columns(of, rows)?;
                            for view in &of.views {
                                columns(view, rows)?;
                            }
                        }
                        "dropped_columns" => dropped_columns(of, rows)?,
                        "column_masks" => masks(of, rows)?,
                        "indexes" => indexes(of, rows)?,
                        "views" => views(of, rows)?,
                        // Functions, aggregates, triggers: there are none.
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(())
}

pub fn keyspace_row(keyspace: &Keyspace) -> Vec<Named> {
    vec![
        ("keyspace_name", text(&keyspace.name)),
        ("durable_writes", boolean(keyspace.durable_writes)),
        ("replication", text_map(&keyspace.replication)),
    ]
}

pub fn types(keyspace: &Keyspace, rows: &mut Rows<'_>) -> CqlResult<()> {
    for ty in keyspace.types.values() {
        rows.add(vec![
            ("keyspace_name", text(&keyspace.name)),
            ("type_name", text(&ty.name)),
            (
                "field_names",
                texts(ty.fields.iter().map(|(name, _)| name.clone())),
            ),
            (
                "field_types",
                texts(ty.fields.iter().map(|(_, of)| of.to_string())),
            ),
            ("status", text("ACTIVE")),
        ])?;
    }
    Ok(())
}

fn name_of(table: &TableSchema) -> [Named; 2] {
    [
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
    ]
}

fn virtual_table(table: &TableSchema) -> Vec<Named> {
    let mut row = Vec::from(name_of(table));
    row.push(("comment", text(&table.options.comment)));
    row
}

pub fn table_row(table: &TableSchema) -> Vec<Named> {
    let mut row = Vec::from(name_of(table));
    row.push((
        "flags",
        text_set(flags(table).into_iter().map(str::to_owned)),
    ));
    row.push(("id", uuid(table.id.0)));
    row.extend(options(&table.options));
    row
}

/// What drivers tell tables by that were made WITH COMPACT STORAGE.
fn flags(table: &TableSchema) -> Vec<&'static str> {
    let counter = table.is_counter().then_some("counter");
    let (dense, compound) = match (table.compact, table.clustering.len()) {
        (false, _) => (false, true),
        (true, 0) => (false, false),
        (true, count) => (true, count > 1),
    };
    let dense = dense.then_some("dense");
    let compound = compound.then_some("compound");
    dense.into_iter().chain(compound).chain(counter).collect()
}

/// Some options are null where they say nothing that is not the default, as in Cassandra.
fn options(options: &TableOptions) -> Vec<Named> {
    let unless = |is_default: bool, value: Option<CqlValue>| if is_default { None } else { value };
    let extensions = options.extensions.iter();
    let extensions = extensions
        .map(|(name, value)| (CqlValue::Text(name.clone()), CqlValue::Blob(value.clone())));
    vec![
        (
            "additional_write_policy",
            text(&options.additional_write_policy),
        ),
        (
            "allow_auto_snapshot",
            unless(
                options.allow_auto_snapshot,
                boolean(options.allow_auto_snapshot),
            ),
        ),
        (
            "bloom_filter_fp_chance",
            double(options.bloom_filter_fp_chance.0),
        ),
        ("caching", text_map(&options.caching)),
        // Shown only by a Cassandra that has change data capture switched on.
        ("cdc", None),
        ("comment", text(&options.comment)),
        ("compaction", text_map(&options.compaction)),
        ("compression", text_map(&options.compression)),
        ("crc_check_chance", double(options.crc_check_chance.0)),
        ("dclocal_read_repair_chance", double(0.0)),
        (
            "default_time_to_live",
            int(options.default_time_to_live as i32),
        ),
        ("extensions", Some(CqlValue::Map(extensions.collect()))),
        ("gc_grace_seconds", int(options.gc_grace_seconds as i32)),
        (
            "incremental_backups",
            unless(
                options.incremental_backups,
                boolean(options.incremental_backups),
            ),
        ),
        ("max_index_interval", int(options.max_index_interval)),
        (
            "memtable",
            unless(options.memtable == "default", text(&options.memtable)),
        ),
        (
            "memtable_flush_period_in_ms",
            int(options.memtable_flush_period_in_ms),
        ),
        ("min_index_interval", int(options.min_index_interval)),
        ("read_repair", text(&options.read_repair)),
        ("read_repair_chance", double(0.0)),
        ("speculative_retry", text(&options.speculative_retry)),
    ]
}

pub fn columns(table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    for column in &shown(table) {
        let mut row = Vec::from(name_of(table));
        row.extend([
            ("column_name", text(&column.name)),
            ("clustering_order", text(clustering_order(column))),
            (
                "column_name_bytes",
                Some(CqlValue::Blob(column.name.clone().into_bytes())),
            ),
            ("kind", text(column.kind.name())),
            ("position", int(position(column))),
            ("type", text(column.ty.to_string())),
        ]);
        rows.add(row)?;
    }
    Ok(())
}

fn indexes(table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    for index in &table.indexes {
        let mut row = Vec::from(name_of(table));
        let kind = if index.is_sai() {
            "CUSTOM"
        } else {
            "COMPOSITES"
        };
        row.extend([
            ("index_name", text(&index.name)),
            ("kind", text(kind)),
            ("options", text_map(&index.shown_options())),
        ]);
        rows.add(row)?;
    }
    Ok(())
}

fn views(base: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in &base.views {
        let Some(view) = &table.view else { continue };
        let mut row = vec![
            ("keyspace_name", text(&table.keyspace)),
            ("view_name", text(&view.name)),
            ("base_table_id", uuid(base.id.0)),
            ("base_table_name", text(&base.name)),
            ("id", uuid(view.id.0)),
            ("include_all_columns", boolean(view.columns.is_none())),
            ("where_clause", text(view.where_clause())),
        ];
        row.extend(options(&view.options));
        rows.add(row)?;
    }
    Ok(())
}

/// `system.built_views`
pub fn built_views(catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in catalog.customer_tables() {
        let views = table.views.iter().filter_map(|view| view.view.as_ref());
        for view in views.filter(|view| view.is_built) {
            rows.add(vec![
                ("keyspace_name", text(&table.keyspace)),
                ("view_name", text(&view.name)),
                ("status_replicated", boolean(true)),
            ])?;
        }
    }
    Ok(())
}

/// `system_distributed.view_build_status`: each view, and whether it has what its base held before it.
pub fn view_builds(catalog: &Catalog, host: uuid::Uuid, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in catalog.customer_tables() {
        for view in table.views.iter().filter_map(|view| view.view.as_ref()) {
            let status = match view.is_built {
                true => "SUCCESS",
                false => "STARTED",
            };
            rows.add(vec![
                ("keyspace_name", text(&table.keyspace)),
                ("view_name", text(&view.name)),
                ("host_id", Some(CqlValue::Uuid(host))),
                ("status", text(status)),
            ])?;
        }
    }
    Ok(())
}

/// `system."IndexInfo"`: the indexes that are built, by keyspace, whatever its column is called.
pub fn built_indexes(catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in catalog.customer_tables() {
        for index in table.indexes.iter().filter(|index| index.is_built) {
            rows.add(vec![
                ("table_name", text(&table.keyspace)),
                ("index_name", text(&index.name)),
            ])?;
        }
    }
    Ok(())
}

/// `system_views.sai_column_indexes`
pub fn attached_indexes(catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    for table in catalog.customer_tables() {
        for index in table.indexes.iter().filter(|index| index.is_sai()) {
            let Some(column) = table.column(&index.column) else {
                continue;
            };
            rows.add(vec![
                ("keyspace_name", text(&table.keyspace)),
                ("index_name", text(&index.name)),
                ("table_name", text(&table.name)),
                ("column_name", text(&index.column)),
                ("is_queryable", boolean(index.is_built)),
                ("is_building", boolean(!index.is_built)),
                (
                    "is_string",
                    boolean(is_literal(&index.term_type(&column.ty))),
                ),
                ("analyzer", text(index.analyzer())),
            ])?;
        }
    }
    Ok(())
}

/// The columns as Cassandra lists them. A table with COMPACT STORAGE has some that nobody sees: drivers know them by the flags of the table, and hide them.
fn shown(table: &TableSchema) -> Vec<Column> {
    let mut columns = table.columns.clone();
    let Some(like) = columns.first().cloned().filter(|_| table.compact) else {
        return columns;
    };
    let hidden = |name: &str, ty: CqlType, kind| Column {
        name: name.into(),
        ty,
        kind,
        position: 0,
        reversed: false,
        mask: None,
        ..like.clone()
    };
    if table.clustering.is_empty() {
        for column in &mut columns {
            if column.kind == ColumnKind::Regular {
                column.kind = ColumnKind::Static;
            }
        }
        let value = match table.is_counter() {
            true => CqlType::Counter,
            false => CqlType::Blob,
        };
        columns.push(hidden("column1", CqlType::Text, ColumnKind::Clustering));
        columns.push(hidden("value", value, ColumnKind::Regular));
    } else if table.regular_columns().is_empty() {
        columns.push(hidden("value", CqlType::Empty, ColumnKind::Regular));
    }
    columns
}

fn clustering_order(column: &Column) -> &'static str {
    match (column.kind, column.reversed) {
        (ColumnKind::Clustering, true) => "desc",
        (ColumnKind::Clustering, false) => "asc",
        _ => "none",
    }
}

fn position(column: &Column) -> i32 {
    match column.kind.is_primary_key() {
        true => column.position as i32,
        false => -1,
    }
}

fn dropped_columns(table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    for dropped in &table.dropped {
        let mut row = Vec::from(name_of(table));
        let kind = match dropped.is_static {
            true => ColumnKind::Static,
            false => ColumnKind::Regular,
        };
        row.extend([
            ("column_name", text(&dropped.name)),
            (
                "dropped_time",
                Some(CqlValue::Timestamp(dropped.dropped_at.div_euclid(1_000))),
            ),
            ("kind", text(kind.name())),
            ("type", text(dropped.ty.to_string())),
        ]);
        rows.add(row)?;
    }
    Ok(())
}

fn masks(table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    for column in &table.columns {
        let Some(mask) = &column.mask else {
            continue;
        };
        let mut row = Vec::from(name_of(table));
        let (nulls, values): (Vec<bool>, Vec<String>) =
            mask.argument_values(&column.ty).into_iter().unzip();
        let nulls = nulls.into_iter().map(CqlValue::Boolean);
        row.extend([
            ("column_name", text(&column.name)),
            ("function_keyspace", text(&mask.keyspace)),
            ("function_name", text(&mask.function)),
            (
                "function_argument_nulls",
                Some(CqlValue::List(nulls.collect())),
            ),
            (
                "function_argument_types",
                texts(mask.argument_types(&column.ty)),
            ),
            ("function_argument_values", texts(values)),
        ]);
        rows.add(row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use palladium_protocol::cql::{self, ast::Statement};
    use palladium_protocol::types::{CqlType, decode};
    use palladium_storage::{Columns, KeyRange, Limits, ReadCommand, ReadPage, Slices, Store};

    use super::super::super::change::{Circumstances, Plan, plan};
    use super::*;
    use crate::encode::key;
    use crate::query::functions::Moment;
    use crate::query::functions::timeuuid::TimeUuids;
    use palladium_crypto::OsEntropy;

    fn world() -> Catalog {
        let mut catalog = Catalog::default();
        super::super::add_keyspaces(&mut catalog);
        for text in [
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TYPE u (a int, b text)",
            "CREATE TABLE t (k int, c int, s int static, v frozen<u>, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC)",
            "ALTER TABLE t ADD gone int",
            "ALTER TABLE t DROP gone",
            "CREATE TABLE more (k int PRIMARY KEY)",
            "CREATE INDEX by_v ON t (v)",
            "CREATE MATERIALIZED VIEW seen AS SELECT k, c, v FROM t WHERE k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (c, k)",
        ] {
            let statement: Statement = cql::parse(text).unwrap();
            let uuids = TimeUuids::new(&OsEntropy);
            let circumstances = Circumstances {
                keyspace: Some("ks"),
                data_center: "datacenter1",
                new_id: palladium_crypto::TableId([7; 16]),
                moment: Moment {
                    micros: 5_000_000,
                    seconds: 5,
                    uuids: &uuids,
                },
                masking: true,
            };
            if let Plan::Change(changed) = plan(&catalog, &statement, &circumstances).unwrap() {
                catalog = changed.catalog;
            }
        }
        catalog
    }

    fn command(table: &TableSchema, range: KeyRange, slices: Slices) -> ReadCommand {
        ReadCommand {
            table: table.id,
            store: Store::BASE,
            range,
            slices,
            reversed: false,
            columns: table.storage_columns.clone(),
            limits: Limits::NONE,
            resume: None,
            now: 1,
        }
    }

    fn values(texts: &[&str]) -> Vec<bytes::Bytes> {
        texts
            .iter()
            .map(|text| bytes::Bytes::copy_from_slice(text.as_bytes()))
            .collect()
    }

    /// The clustering of all rows of one keyspace, as text.
    fn rows_of(catalog: &Catalog, keyspace: &str, table: &str, of: &str) -> Vec<String> {
        let table = catalog.table(keyspace, table).unwrap();
        let only = KeyRange::One(key::partition_key(&values(&[of])).unwrap());
        let command = command(table, only, Slices::all());
        let mut rows = Rows::new(table, &command);
        fill(catalog, table, &mut rows).unwrap();
        shown_in(table, rows.read(&command).unwrap())
    }

    fn shown_in(table: &TableSchema, page: ReadPage) -> Vec<String> {
        let text =
            |value: Option<bytes::Bytes>| match decode(&CqlType::Text, &value.unwrap()).unwrap() {
                CqlValue::Text(text) => text,
                other => panic!("{other:?} is no text"),
            };
        let rows = page
            .partitions
            .into_iter()
            .flat_map(|partition| partition.rows);
        rows.map(|row| {
            let values =
                key::clustering_values(table.clustering_columns(), &row.clustering, None).unwrap();
            values.into_iter().map(text).collect::<Vec<_>>().join(".")
        })
        .collect()
    }

    /// Of all that a schema table has, what is asked for is read; and of what is asked for, the same is read.
    #[test]
    fn a_question_about_one_table_makes_rows_of_no_other() {
        let catalog = world();
        for (name, table, wanted, made) in [
            ("tables", "t", &["t"][..], 1),
            ("columns", "t", &["t.c", "t.k", "t.s", "t.v"], 4),
            ("columns", "seen", &["seen.c", "seen.k", "seen.v"], 3),
            ("columns", "more", &["more.k"], 1),
            ("columns", "nothing", &[], 0),
            ("dropped_columns", "t", &["t.gone"], 1),
            ("dropped_columns", "more", &[], 0),
            ("indexes", "t", &["t.by_v"], 1),
            ("views", "seen", &["seen"], 1),
            ("views", "t", &[], 0),
            ("types", "u", &["u"], 1),
        ] {
            let schema = catalog.table("system_schema", name).unwrap();
            let bound =
                |after| key::bound(schema.clustering_columns(), &values(&[table]), after).unwrap();
            let only = KeyRange::One(key::partition_key(&values(&["ks"])).unwrap());
            let named = command(schema, only, Slices::one(bound(false), bound(true)));
            let mut rows = Rows::new(schema, &named);
            fill(&catalog, schema, &mut rows).unwrap();
            assert_eq!(rows.made(), made, "{name} of {table}");
            assert_eq!(shown_in(schema, rows.read(&named).unwrap()), wanted);

            let all = command(schema, KeyRange::all(), Slices::all());
            let mut rows = Rows::new(schema, &all);
            fill(&catalog, schema, &mut rows).unwrap();
            assert_eq!(shown_in(schema, rows.read(&named).unwrap()), wanted);
        }
    }

    #[test]
    fn a_new_table_is_seen_in_the_schema_tables() {
        let catalog = world();
        assert_eq!(
            rows_of(&catalog, "system_schema", "tables", "ks"),
            ["more", "t"]
        );
        assert_eq!(rows_of(&catalog, "system_schema", "types", "ks"), ["u"]);
        assert_eq!(
            rows_of(&catalog, "system_schema", "columns", "ks"),
            [
                "more.k", "seen.c", "seen.k", "seen.v", "t.c", "t.k", "t.s", "t.v"
            ]
        );
        assert_eq!(
            rows_of(&catalog, "system_schema", "dropped_columns", "ks"),
            ["t.gone"]
        );
        assert_eq!(
            rows_of(&catalog, "system_schema", "triggers", "ks"),
            [""; 0]
        );
    }

    #[test]
    fn stored_and_virtual_keyspaces_are_listed_apart() {
        let catalog = world();
        assert_eq!(
            rows_of(&catalog, "system_schema", "tables", "system_palladium"),
            [""; 0]
        );
        let of_ours = rows_of(
            &catalog,
            "system_virtual_schema",
            "tables",
            "system_palladium",
        );
        assert!(of_ours.iter().any(|name| name == "table_keys"));
        assert_eq!(
            rows_of(&catalog, "system_virtual_schema", "tables", "ks"),
            [""; 0]
        );
        assert!(
            rows_of(&catalog, "system_schema", "tables", "system")
                .contains(&"IndexInfo".to_owned())
        );
    }

    #[test]
    fn nobody_reads_a_column_that_was_not_asked_for() {
        let catalog = world();
        let table = catalog.table("system_schema", "keyspaces").unwrap();
        let command = ReadCommand {
            columns: std::sync::Arc::new(Columns {
                regular: vec![table.column("durable_writes").unwrap().id],
                statics: Vec::new(),
            }),
            ..command(table, KeyRange::all(), Slices::all())
        };
        let mut rows = Rows::new(table, &command);
        fill(&catalog, table, &mut rows).unwrap();
        let page = rows.read(&command).unwrap();
        assert_eq!(page.partitions.len(), 7);
        assert!(
            page.partitions
                .iter()
                .all(|partition| partition.rows[0].cells.len() == 1)
        );
    }
}
