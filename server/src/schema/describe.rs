//! DESCRIBE: the schema as the statements that make it again, laid out as Cassandra 5.0 prints them.
//!
//! What must hold: what is printed of a user's keyspace can be run on an empty server and gives the same keyspace, keys of its
//! tables included. The identity of a table is not among that; only WITH INTERNALS shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::CmkRef;
use palladium_protocol::cql::ast::{Describe, DescribeTarget, Name, QualifiedName};
use palladium_protocol::response::ColumnSpec;
use palladium_protocol::types::{CqlType, CqlValue, UserType};

use super::change::{base_of_view, table_of_index};
use super::index::Index;
use super::properties::string_literal;
use super::{
    Catalog, Column, ColumnKind, ColumnMask, DroppedColumn, Encryption, Keyspace, KeyspaceKind,
    TableSchema, custom,
};
use crate::error::{CqlError, CqlResult};

const NO_KEYSPACE: &str = "No keyspace specified and no current keyspace";

/// What DESCRIBE CLUSTER tells.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub name: String,
    /// Who owns which end of a token range, as Cassandra writes it.
    pub ownership: Vec<(String, String)>,
}

/// An answer: columns, and their values as the protocol carries them.
#[derive(Debug)]
pub struct Description {
    pub columns: Vec<ColumnSpec>,
    pub rows: Vec<Vec<Option<Bytes>>>,
}

/// One thing in the schema.
struct Element {
    keyspace: String,
    kind: &'static str,
    name: String,
    statement: String,
}

/// Answers a DESCRIBE for a session in `session`'s keyspace.
pub fn describe(
    catalog: &Catalog,
    session: Option<&str>,
    cluster: &Cluster,
    describe: &Describe,
) -> CqlResult<Description> {
    let lists = matches!(
        describe.target,
        DescribeTarget::Tables
            | DescribeTarget::Types
            | DescribeTarget::Functions
            | DescribeTarget::Aggregates
    );
    if let (true, Some(session)) = (lists, session) {
        found(catalog, session)?;
    }
    let in_session =
        |keyspace: &&Arc<Keyspace>| session.is_none_or(|session| keyspace.name == session);
    let keyspaces = || in_order(catalog.keyspaces.values(), |keyspace| &keyspace.name).into_iter();
    let internals = describe.internals;
    let elements = match &describe.target {
        DescribeTarget::Cluster => return Ok(describe_cluster(cluster, session.is_some())),
        DescribeTarget::Keyspaces => {
            return Ok(list(
                keyspaces().map(|keyspace| element_of_keyspace(keyspace)),
            ));
        }
        DescribeTarget::Tables => {
            return Ok(list(keyspaces().filter(in_session).flat_map(|keyspace| {
                in_order(keyspace.tables.values(), |table| &table.name)
                    .into_iter()
                    .map(move |table| element_of_table(keyspace, table, false))
            })));
        }
        DescribeTarget::Types => {
            return Ok(list(keyspaces().filter(in_session).flat_map(|keyspace| {
                in_order(keyspace.types.values(), |ty| &ty.name)
                    .into_iter()
                    .map(|ty| element_of_type(ty))
            })));
        }
        DescribeTarget::Functions | DescribeTarget::Aggregates => return Ok(list([])),
        DescribeTarget::Schema { full } => keyspaces()
            .filter(|keyspace| *full || keyspace.kind == KeyspaceKind::User)
            .flat_map(|keyspace| everything(keyspace, internals))
            .collect(),
        DescribeTarget::Keyspace { only, keyspace } => {
            let name = keyspace.as_ref().map(Name::as_str).or(session);
            let keyspace = found(catalog, name.ok_or_else(|| CqlError::invalid(NO_KEYSPACE))?)?;
            match only {
                true => vec![element_of_keyspace(keyspace)],
                false => everything(keyspace, internals),
            }
        }
        DescribeTarget::Table(name) => {
            let (keyspace, name) = place(catalog, session, name)?;
            let table = keyspace.tables.get(name).ok_or_else(|| {
                CqlError::invalid(format!(
                    "Table '{name}' not found in keyspace '{}'",
                    keyspace.name
                ))
            })?;
            table_and_indexes(keyspace, table, internals)
        }
        DescribeTarget::Type(name) => {
            let (keyspace, name) = place(catalog, session, name)?;
            let ty = keyspace.types.get(name).ok_or_else(|| {
                CqlError::invalid(format!(
                    "User defined type '{name}' not found in '{}'",
                    keyspace.name
                ))
            })?;
            vec![element_of_type(ty)]
        }
        DescribeTarget::Index(name) => {
            let (keyspace, index) = place(catalog, session, name)?;
            let table = table_of_index(keyspace, index)
                .ok_or_else(|| missing(catalog, session, name, "Table for existing index"))?;
            let own = table.indexes.iter().filter(|own| own.name == index);
            own.map(|index| element_of_index(table, index)).collect()
        }
        DescribeTarget::View(name) => {
            let (keyspace, view) = place(catalog, session, name)?;
            let base = base_of_view(keyspace, view)
                .ok_or_else(|| missing(catalog, session, name, "Materialized view"))?;
            let own = base.views.iter().filter(|own| own.name == view);
            own.map(|view| element_of_view(view, internals)).collect()
        }
        DescribeTarget::Function(name) => {
            return Err(missing(catalog, session, name, "User defined function"));
        }
        DescribeTarget::Aggregate(name) => {
            return Err(missing(catalog, session, name, "User defined aggregate"));
        }
        DescribeTarget::Any(name) => any(catalog, session, name, internals)?,
    };
    Ok(statements(elements))
}

/// The catalog for somebody who is not shown the names of all keys: the statement of a table under such a key says nothing of it.
pub fn without_key_names(catalog: &Catalog, is_shown: impl Fn(&CmkRef) -> bool) -> Catalog {
    let mut seen = catalog.clone();
    for keyspace in seen.keyspaces.values_mut() {
        let tables = keyspace.tables.values();
        let hidden: Vec<Arc<TableSchema>> = tables
            .filter(|table| match &table.encryption {
                Encryption::Customer(cmk) => !is_shown(cmk),
                Encryption::Default => false,
            })
            .cloned()
            .collect();
        for table in hidden {
            let mut definition = table.definition();
            definition.encryption = Encryption::Default;
            let tables = &mut Arc::make_mut(keyspace).tables;
            tables.insert(table.name.clone(), Arc::new(TableSchema::new(definition)));
        }
    }
    seen
}

fn found<'a>(catalog: &'a Catalog, keyspace: &str) -> CqlResult<&'a Arc<Keyspace>> {
    catalog
        .keyspace(keyspace)
        .ok_or_else(|| CqlError::invalid(format!("'{keyspace}' not found in keyspaces")))
}

fn place<'a>(
    catalog: &'a Catalog,
    session: Option<&str>,
    name: &'a QualifiedName,
) -> CqlResult<(&'a Arc<Keyspace>, &'a str)> {
    let keyspace = name.keyspace.as_ref().map(Name::as_str).or(session);
    let keyspace = keyspace.ok_or_else(|| CqlError::invalid(NO_KEYSPACE))?;
    Ok((found(catalog, keyspace)?, name.name.as_str()))
}

/// Why a thing of a kind that does not exist here is not found.
fn missing(catalog: &Catalog, session: Option<&str>, name: &QualifiedName, kind: &str) -> CqlError {
    match place(catalog, session, name) {
        Err(error) => error,
        Ok((keyspace, name)) => {
            CqlError::invalid(format!("{kind} '{name}' not found in '{}'", keyspace.name))
        }
    }
}

/// A bare name: a keyspace, else a table.
fn any(
    catalog: &Catalog,
    session: Option<&str>,
    name: &QualifiedName,
    internals: bool,
) -> CqlResult<Vec<Element>> {
    if name.keyspace.is_none()
        && let Some(keyspace) = catalog.keyspace(name.name.as_str())
    {
        return Ok(everything(keyspace, internals));
    }
    if name.keyspace.is_none() && session.is_none() {
        return Err(CqlError::invalid(format!(
            "'{}' not found in keyspaces",
            name.name.as_str()
        )));
    }
    let (keyspace, name) = place(catalog, session, name)?;
    match keyspace.tables.get(name) {
        Some(table) => Ok(table_and_indexes(keyspace, table, internals)),
        None if base_of_view(keyspace, name).is_some() => {
            let views = keyspace.tables.values().flat_map(|table| &table.views);
            let named = views.filter(|view| view.name == name);
            Ok(named.map(|view| element_of_view(view, internals)).collect())
        }
        None if table_of_index(keyspace, name).is_some() => {
            let table = table_of_index(keyspace, name).into_iter();
            let indexes = table.flat_map(|table| table.indexes.iter().map(move |own| (table, own)));
            let named = indexes.filter(|(_, index)| index.name == name);
            Ok(named
                .map(|(table, index)| element_of_index(table, index))
                .collect())
        }
        None => Err(CqlError::invalid(format!(
            "'{name}' not found in keyspace '{}'",
            keyspace.name
        ))),
    }
}

/// A keyspace and all in it, in an order in which it can be made.
fn everything(keyspace: &Keyspace, internals: bool) -> Vec<Element> {
    let mut elements = vec![element_of_keyspace(keyspace)];
    elements.extend(
        types_by_dependency(keyspace)
            .into_iter()
            .map(|ty| element_of_type(ty)),
    );
    let tables = in_order(keyspace.tables.values(), |table| &table.name);
    let tables = tables.into_iter();
    elements.extend(tables.flat_map(|table| table_and_indexes(keyspace, table, internals)));
    elements
}

fn table_and_indexes(keyspace: &Keyspace, table: &TableSchema, internals: bool) -> Vec<Element> {
    let mut elements = vec![element_of_table(keyspace, table, internals)];
    let indexes = in_order(table.indexes.iter(), |index| &index.name).into_iter();
    elements.extend(indexes.map(|index| element_of_index(table, index)));
    let views = in_order(table.views.iter(), |view| &view.name).into_iter();
    elements.extend(views.map(|view| element_of_view(view, internals)));
    elements
}

fn element_of_view(view: &TableSchema, internals: bool) -> Element {
    Element {
        keyspace: quoted(&view.keyspace),
        kind: "materialized_view",
        name: quoted(&view.name),
        statement: create_view(view, internals),
    }
}

fn element_of_index(table: &TableSchema, index: &Index) -> Element {
    Element {
        keyspace: quoted(&table.keyspace),
        kind: "index",
        name: quoted(&index.name),
        statement: create_index(table, index),
    }
}

/// Types, each behind those that it is made of, which come where they are first needed.
fn types_by_dependency(keyspace: &Keyspace) -> Vec<&Arc<UserType>> {
    let mut ordered = Vec::new();
    for ty in keyspace.types.values() {
        add_with_parts(keyspace, ty, &mut ordered);
    }
    ordered
}

fn add_with_parts<'a>(keyspace: &'a Keyspace, ty: &UserType, ordered: &mut Vec<&'a Arc<UserType>>) {
    let Some(ty) = keyspace.types.get(&ty.name) else {
        return;
    };
    if ordered.iter().any(|there| there.name == ty.name) {
        return;
    }
    for (_, field) in &ty.fields {
        add_parts(keyspace, field, ordered);
    }
    ordered.push(ty);
}

fn add_parts<'a>(keyspace: &'a Keyspace, ty: &CqlType, ordered: &mut Vec<&'a Arc<UserType>>) {
    match ty.bare() {
        CqlType::List(element) | CqlType::Set(element) | CqlType::Vector(element, _) => {
            add_parts(keyspace, element, ordered);
        }
        CqlType::Map(key, value) => {
            add_parts(keyspace, key, ordered);
            add_parts(keyspace, value, ordered);
        }
        CqlType::Tuple(fields) => {
            for field in fields.iter() {
                add_parts(keyspace, field, ordered);
            }
        }
        CqlType::Udt(ty) => add_with_parts(keyspace, ty, ordered),
        _ => {}
    }
}

/// As DESCRIBE lists them: upper case among lower case.
fn in_order<T>(things: impl Iterator<Item = T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    let mut things: Vec<T> = things.collect();
    things.sort_by_key(|thing| name(thing).to_lowercase());
    things
}

fn quoted(name: &str) -> String {
    Name::exact(name).to_string()
}

fn element_of_keyspace(keyspace: &Keyspace) -> Element {
    Element {
        keyspace: quoted(&keyspace.name),
        kind: "keyspace",
        name: quoted(&keyspace.name),
        statement: create_keyspace(keyspace),
    }
}

fn element_of_type(ty: &UserType) -> Element {
    Element {
        keyspace: quoted(&ty.keyspace),
        kind: "type",
        name: quoted(&ty.name),
        statement: create_type(ty),
    }
}

fn element_of_table(keyspace: &Keyspace, table: &TableSchema, internals: bool) -> Element {
    Element {
        keyspace: quoted(&table.keyspace),
        kind: "table",
        name: quoted(&table.name),
        statement: match keyspace.kind {
            KeyspaceKind::Virtual => virtual_table(table),
            KeyspaceKind::User | KeyspaceKind::System => create_table(table, internals),
        },
    }
}

/// `CREATE KEYSPACE ...`
pub fn create_keyspace(keyspace: &Keyspace) -> String {
    let name = quoted(&keyspace.name);
    if keyspace.kind == KeyspaceKind::Virtual {
        return format!(
            "/*\nWarning: Keyspace {name} is a virtual keyspace and cannot be recreated with CQL.\nStructure, for reference:\nVIRTUAL \
             KEYSPACE {name};\n*/"
        );
    }
    let class = keyspace.replication.get("class").map_or("", String::as_str);
    let class = class.rsplit('.').next().unwrap_or_default();
    let mut entries = vec![format!("'class': {}", string_literal(class))];
    let others = keyspace
        .replication
        .iter()
        .filter(|(name, _)| *name != "class");
    entries.extend(
        others.map(|(name, value)| format!("{}: {}", string_literal(name), string_literal(value))),
    );
    let tags = custom::describe_tags(&keyspace.tags);
    let tags = tags.map(|tags| format!(" AND {tags}")).unwrap_or_default();
    format!(
        "CREATE KEYSPACE {name} WITH replication = {{{}}}  AND durable_writes = {}{tags};",
        entries.join(", "),
        keyspace.durable_writes
    )
}

/// `CREATE TYPE ...`
pub fn create_type(ty: &UserType) -> String {
    let fields: Vec<String> = ty
        .fields
        .iter()
        .map(|(name, of)| format!("    {} {of}", quoted(name)))
        .collect();
    format!(
        "CREATE TYPE {}.{} (\n{}\n);",
        quoted(&ty.keyspace),
        quoted(&ty.name),
        fields.join(",\n")
    )
}

/// `CREATE MATERIALIZED VIEW ...`
pub fn create_view(table: &TableSchema, internals: bool) -> String {
    let Some(view) = &table.view else {
        return String::new();
    };
    let keyspace = quoted(&table.keyspace);
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| quoted(&column.name))
        .collect();
    let columns = match view.columns {
        None => "*".to_owned(),
        Some(_) => columns.join(", "),
    };
    let mut options = Vec::new();
    if internals {
        options.push(format!("ID = {}", view.id));
    }
    options.extend(clustering_order(table));
    // What expires is the base's to say.
    let of_view = table.options.describe().into_iter();
    options.extend(of_view.filter(|option| !option.starts_with("default_time_to_live")));
    format!(
        "CREATE MATERIALIZED VIEW {keyspace}.{} AS\n    SELECT {columns}\n    FROM {keyspace}.{}\n    WHERE {}\n    {}\n WITH {};",
        quoted(&view.name),
        quoted(&view.base),
        view.where_clause(),
        key_text(table),
        options.join("\n    AND ")
    )
}

/// `CREATE INDEX ...`
pub fn create_index(table: &TableSchema, index: &Index) -> String {
    let custom = if index.is_sai() { "CUSTOM " } else { "" };
    let mut text = format!(
        "CREATE {custom}INDEX {} ON {}.{} ({})",
        quoted(&index.name),
        quoted(&table.keyspace),
        quoted(&table.name),
        index.target_text()
    );
    if let Some(class) = &index.class {
        text += &format!(" USING {}", string_literal(class));
    }
    if !index.options.is_empty() {
        let options: Vec<String> = index
            .options
            .iter()
            .map(|(name, value)| format!("{}: {}", string_literal(name), string_literal(value)))
            .collect();
        text += &format!(" WITH OPTIONS = {{{}}}", options.join(", "));
    }
    text + ";"
}

/// `CREATE TABLE ...`
pub fn create_table(table: &TableSchema, internals: bool) -> String {
    let mut lines = column_lines(table, internals);
    lines.extend(primary_key_line(table));
    let mut options = Vec::new();
    if table.compact {
        options.push("COMPACT STORAGE".into());
    }
    if internals {
        options.push(format!("ID = {}", table.id));
    }
    options.extend(match table.compact && table.clustering.is_empty() {
        true => Some("CLUSTERING ORDER BY (column1 ASC)".to_owned()),
        false => clustering_order(table),
    });
    options.extend(table.options.describe());
    options.extend(custom::describe(
        &table.encryption,
        &table.custom_properties,
    ));
    let name = format!("{}.{}", quoted(&table.keyspace), quoted(&table.name));
    let mut text = format!(
        "CREATE TABLE {name} (\n{}\n) WITH {};",
        lines.join(",\n"),
        options.join("\n    AND ")
    );
    if internals {
        for dropped in dropped_by_name(table) {
            let column = quoted(&dropped.name);
            text += &format!(
                "\nALTER TABLE {name} DROP {column} USING TIMESTAMP {};",
                dropped.dropped_at
            );
            if let Some(there) = table.column(&dropped.name) {
                text += &format!(
                    "\nALTER TABLE {name} ADD {column} {}{};",
                    there.ty,
                    static_suffix(there)
                );
            }
        }
    }
    match table.compact {
        false => text,
        true => format!(
            "/*\nWarning: Table {name} omitted because it has constructs not compatible with CQL (was created via legacy API).\n\
             Approximate structure, for reference:\n(this should not be used to reproduce this schema)\n\n{text}\n*/"
        ),
    }
}

/// A virtual table has no statement that makes it.
fn virtual_table(table: &TableSchema) -> String {
    let name = format!("{}.{}", quoted(&table.keyspace), quoted(&table.name));
    let mut lines = column_lines(table, false);
    lines.extend(primary_key_line(table));
    let mut options: Vec<String> = clustering_order(table).into_iter().collect();
    options.push(format!(
        "comment = {}",
        string_literal(&table.options.comment)
    ));
    format!(
        "/*\nWarning: Table {name} is a virtual table and cannot be recreated with CQL.\nStructure, for reference:\nVIRTUAL TABLE {name} \
         (\n{}\n) WITH {};\n*/",
        lines.join(",\n"),
        options.join("\n    AND ")
    )
}

fn static_suffix(column: &Column) -> &'static str {
    match column.kind {
        ColumnKind::Static => " static",
        _ => "",
    }
}

/// The key, then statics, then the others; within the latter two, collections come last. With internals, columns that were ever
/// dropped come at the end, whether or not they came back.
fn column_lines(table: &TableSchema, internals: bool) -> Vec<String> {
    let dropped: BTreeSet<&str> = match internals {
        true => table
            .dropped
            .iter()
            .map(|column| column.name.as_str())
            .collect(),
        false => BTreeSet::new(),
    };
    let mut columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| !dropped.contains(column.name.as_str()))
        .collect();
    columns.sort_by_key(|column| (column.kind, column.ty.is_multi_cell()));
    let alone = is_alone(table);
    let mut lines: Vec<String> = columns
        .into_iter()
        .map(|column| {
            let key = match alone && column.kind == ColumnKind::PartitionKey {
                true => " PRIMARY KEY",
                false => "",
            };
            format!(
                "    {} {}{}{}{key}",
                quoted(&column.name),
                column.ty,
                static_suffix(column),
                column
                    .mask
                    .as_ref()
                    .map_or_else(String::new, ColumnMask::describe)
            )
        })
        .collect();
    if internals {
        lines.extend(dropped_by_name(table).into_iter().map(|column| {
            let suffix = if column.is_static { " static" } else { "" };
            format!("    {} {}{suffix}", quoted(&column.name), column.ty)
        }));
    }
    lines
}

fn dropped_by_name(table: &TableSchema) -> Vec<&DroppedColumn> {
    let mut dropped: Vec<&DroppedColumn> = table.dropped.iter().collect();
    dropped.sort_by(|a, b| a.name.cmp(&b.name));
    dropped
}

/// Whether the primary key is one column and stands behind it.
fn is_alone(table: &TableSchema) -> bool {
    table.partition_key.len() == 1 && table.clustering.is_empty() && !table.compact
}

fn primary_key_line(table: &TableSchema) -> Option<String> {
    (!is_alone(table)).then(|| format!("    {}", key_text(table)))
}

/// `PRIMARY KEY (...)`
fn key_text(table: &TableSchema) -> String {
    let names = |columns: &[Column]| -> Vec<String> {
        columns.iter().map(|column| quoted(&column.name)).collect()
    };
    let partition = names(table.partition_columns());
    let partition = match partition.as_slice() {
        [single] => single.clone(),
        several => format!("({})", several.join(", ")),
    };
    let mut parts = vec![partition];
    parts.extend(names(table.clustering_columns()));
    format!("PRIMARY KEY ({})", parts.join(", "))
}

fn clustering_order(table: &TableSchema) -> Option<String> {
    let columns: Vec<String> = table
        .clustering_columns()
        .iter()
        .map(|column| {
            format!(
                "{} {}",
                quoted(&column.name),
                if column.reversed { "DESC" } else { "ASC" }
            )
        })
        .collect();
    (!columns.is_empty()).then(|| format!("CLUSTERING ORDER BY ({})", columns.join(", ")))
}

fn specs(columns: impl IntoIterator<Item = (&'static str, CqlType)>) -> Vec<ColumnSpec> {
    let spec = |(name, ty): (&str, CqlType)| ColumnSpec {
        keyspace: "system".into(),
        table: "describe".into(),
        name: name.into(),
        ty,
    };
    columns.into_iter().map(spec).collect()
}

fn list(elements: impl IntoIterator<Item = Element>) -> Description {
    let columns = ["keyspace_name", "type", "name"].map(|name| (name, CqlType::Text));
    Description {
        columns: specs(columns),
        rows: elements
            .into_iter()
            .map(|element| {
                vec![
                    text(element.keyspace),
                    text(element.kind),
                    text(element.name),
                ]
            })
            .collect(),
    }
}

fn statements(elements: Vec<Element>) -> Description {
    let columns =
        ["keyspace_name", "type", "name", "create_statement"].map(|name| (name, CqlType::Text));
    Description {
        columns: specs(columns),
        rows: elements
            .into_iter()
            .map(|element| {
                vec![
                    text(element.keyspace),
                    text(element.kind),
                    text(element.name),
                    text(element.statement),
                ]
            })
            .collect(),
    }
}

fn describe_cluster(cluster: &Cluster, with_ownership: bool) -> Description {
    let mut columns = vec![
        ("cluster", CqlType::Text),
        ("partitioner", CqlType::Text),
        ("snitch", CqlType::Text),
    ];
    let mut row = vec![
        text(cluster.name.clone()),
        text("Murmur3Partitioner"),
        text("DynamicEndpointSnitch"),
    ];
    if with_ownership {
        columns.push((
            "range_ownership",
            CqlType::map(CqlType::Text, CqlType::list(CqlType::Text).frozen()),
        ));
        let entries = cluster.ownership.iter().map(|(token, owner)| {
            let owners = CqlValue::List(vec![CqlValue::Text(owner.clone())]);
            (CqlValue::Text(token.clone()), owners)
        });
        row.push(Some(CqlValue::Map(entries.collect()).to_bytes().into()));
    }
    Description {
        columns: specs(columns),
        rows: vec![row],
    }
}

fn text(text: impl Into<String>) -> Option<Bytes> {
    Some(Bytes::from(text.into()))
}

#[cfg(test)]
mod tests;
