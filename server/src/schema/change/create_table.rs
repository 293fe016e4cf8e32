//! CREATE TABLE becomes a [`TableSchema`]: columns with types and places, options, the key that protects it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::{
    ColumnDefinition, CopyTable, CreateTable, Direction, Mask, Name, NativeType, PrimaryKey,
    Property, TableOption, Type,
};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::CqlType;
use palladium_storage::ColumnId;

use super::super::custom::{self, Custom};
use super::super::hashed::{in_hash_order, of_identifier};
use super::super::table::{FIRST_COLUMN_ID, FIRST_STORE};
use super::super::{
    Catalog, Column, ColumnKind, ColumnMask, Definition, Keyspace, TableKind, TableOptions,
    TableSchema, mask, resolve,
};
use super::written::clustering_order;
use super::{
    Circumstances, Effect, Plan, changed, check_modifiable, keyspace_of, require_keyspace,
    with_keyspace,
};
use crate::error::{CqlError, CqlResult};

/// As Cassandra, whose files are named for their table.
const NAME_CHARACTERS_MAX: usize = 222;

pub fn create(
    catalog: &Catalog,
    create: &CreateTable,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&create.table, circumstances)?;
    let name = create.table.name.as_str();
    let there = require_keyspace(catalog, keyspace)?;
    if there.tables.contains_key(name) {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::already_exists(keyspace, name)),
        };
    }
    let table = Arc::new(table_of(
        catalog,
        keyspace,
        create,
        circumstances.new_id,
        Some(circumstances),
    )?);
    let ignored_id = properties(&create.options)
        .any(|property| property.name.as_str() == "id")
        .then(|| {
            "A table's id is drawn by the server; the ID in this statement was not used".to_owned()
        });
    let shown_only = table.options.without_effect(&TableOptions::default());
    let custom = custom::without_effect(&table.custom_properties, &BTreeMap::new());
    let warnings = ignored_id.into_iter().chain(shown_only).chain(custom);
    let warnings = warnings.collect();
    add(catalog, there, table, warnings)
}

fn add(
    catalog: &Catalog,
    keyspace: &Keyspace,
    table: Arc<TableSchema>,
    warnings: Vec<String>,
) -> CqlResult<Plan> {
    let mut next = keyspace.clone();
    next.tables.insert(table.name.clone(), table.clone());
    let target = SchemaTarget::Table(table.name.clone());
    changed(
        with_keyspace(catalog, next),
        Change::Created,
        &keyspace.name,
        target,
    )
    .with_effect(Effect::Create(table))
    .with_warnings(warnings)
    .planned()
}

/// `CREATE TABLE t LIKE s`: the columns and options of another table, under the key of the statement.
pub fn copy(
    catalog: &Catalog,
    copy: &CopyTable,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&copy.target, circumstances)?;
    let name = copy.target.name.as_str();
    check_modifiable(catalog, keyspace)?;
    let there = require_keyspace(catalog, keyspace)?;
    if there.tables.contains_key(name) {
        return match copy.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::already_exists(keyspace, name)),
        };
    }
    let from = keyspace_of(&copy.source, circumstances)?;
    let source = catalog
        .table(from, copy.source.name.as_str())
        .ok_or_else(|| {
            // The spelling is that of the Cassandra that has this statement, the one after 5.0.
            CqlError::invalid(format!(
                "Souce Table '{from}.{}' doesn't exist",
                copy.source.name.as_str()
            ))
        })?;
    if source.kind != TableKind::User {
        return Err(CqlError::invalid(format!(
            "System keyspace '{from}' is not user-modifiable"
        )));
    }
    if from != keyspace
        && source
            .columns
            .iter()
            .any(|column| has_user_type(&column.ty))
    {
        return Err(CqlError::invalid(
            "A table with user-defined types can be copied within its keyspace only",
        ));
    }
    check_table_name(keyspace, name)?;
    let custom = Custom::read(properties(&copy.options))?;
    check_nothing_to_rewrite(&custom)?;
    let options = source.options.alter(properties(&copy.options))?;
    let mut definition = source.definition();
    definition.id = circumstances.new_id;
    definition.keyspace = keyspace.to_owned();
    definition.name = name.to_owned();
    let shown_only = options.without_effect(&source.options);
    definition.options = options;
    definition.dropped = Vec::new();
    definition.indexes = Vec::new();
    definition.views = Vec::new();
    definition.next_store = FIRST_STORE;
    definition.encryption = custom.encryption.unwrap_or(definition.encryption);
    definition.custom_properties.extend(custom.properties);
    let table = Arc::new(TableSchema::new(definition));
    let custom = custom::without_effect(&table.custom_properties, &source.custom_properties);
    add(
        catalog,
        there,
        table,
        shown_only.into_iter().chain(custom).collect(),
    )
}

fn has_user_type(ty: &CqlType) -> bool {
    match ty.bare() {
        CqlType::Udt(_) => true,
        CqlType::List(element) | CqlType::Set(element) | CqlType::Vector(element, _) => {
            has_user_type(element)
        }
        CqlType::Map(key, value) => has_user_type(key) || has_user_type(value),
        CqlType::Tuple(fields) => fields.iter().any(has_user_type),
        _ => false,
    }
}

/// The table that a statement describes; without circumstances it is one of the server's own, which have no masks.
pub fn table_of(
    catalog: &Catalog,
    keyspace: &str,
    create: &CreateTable,
    id: TableId,
    circumstances: Option<&Circumstances<'_>>,
) -> CqlResult<TableSchema> {
    let name = create.table.name.as_str();
    let options = TableOptions::create(properties(&create.options))?;
    let compact = create.options.contains(&TableOption::CompactStorage);
    let primary_key = primary_key(create)?;
    let mut masks: BTreeMap<&str, ColumnMask> = BTreeMap::new();
    let types: BTreeMap<&str, CqlType> =
        in_hash_order(&create.columns, |of| of_identifier(of.name.as_str()))
            .into_iter()
            .map(|column| {
                let ty = resolve::column_type(catalog, keyspace, &column.of, "")?;
                if let Some(mask) = &column.mask {
                    let name = column.name.as_str();
                    masks.insert(name, mask_of(mask, name, &ty, circumstances)?);
                }
                Ok((column.name.as_str(), ty))
            })
            .collect::<CqlResult<_>>()?;
    let mut columns = key_columns(name, create, &primary_key, &types)?;
    let has_clustering = !primary_key.clustering.is_empty();
    let others = other_columns(create, &columns);
    columns.extend(
        others
            .into_iter()
            .map(|column| value_column(column, &types[column.name.as_str()])),
    );
    reverse(&mut columns, clustering_order(&create.options))?;
    let written = by_name(create);
    for column in &mut columns {
        column.reversed |= column.kind == ColumnKind::Clustering
            && written
                .get(column.name.as_str())
                .is_some_and(|written| resolve::is_reversed(&written.of));
    }
    match compact {
        true => check_compact(&columns)?,
        false => columns
            .iter()
            .try_for_each(|column| check_static(column, has_clustering))?,
    }
    check_counters_by_class(keyspace, create, &columns)?;
    check_counters(&columns, &options)?;
    check_id(&create.options)?;
    check_table_name(keyspace, name)?;
    if !masks.is_empty() && !circumstances.is_some_and(|circumstances| circumstances.masking) {
        return Err(mask::disabled());
    }
    for column in &mut columns {
        column.mask = masks.remove(column.name.as_str());
    }
    let custom = Custom::read(properties(&create.options))?;
    check_nothing_to_rewrite(&custom)?;
    for (offset, column) in columns.iter_mut().enumerate() {
        column.id = ColumnId(FIRST_COLUMN_ID + offset as u32);
    }
    Ok(TableSchema::new(Definition {
        id,
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        next_column_id: FIRST_COLUMN_ID + columns.len() as u32,
        columns,
        options,
        dropped: Vec::new(),
        encryption: custom.encryption.unwrap_or_default(),
        custom_properties: custom.properties,
        kind: TableKind::User,
        indexes: Vec::new(),
        views: Vec::new(),
        view: None,
        next_store: FIRST_STORE,
        compact,
    }))
}

/// What a table with COMPACT STORAGE cannot have.
fn check_compact(columns: &[Column]) -> CqlResult<()> {
    let of = |kind| {
        columns
            .iter()
            .filter(move |column: &&Column| column.kind == kind)
    };
    if of(ColumnKind::Regular)
        .chain(of(ColumnKind::Static))
        .any(|column| column.ty.is_multi_cell())
    {
        return Err(CqlError::invalid(
            "Non-frozen collections and UDTs are not supported with COMPACT STORAGE",
        ));
    }
    if of(ColumnKind::Static).next().is_some() {
        return Err(CqlError::invalid(
            "Static columns are not supported in COMPACT STORAGE tables",
        ));
    }
    let values: Vec<&str> = of(ColumnKind::Regular)
        .map(|column| column.name.as_str())
        .collect();
    let has_clustering = of(ColumnKind::Clustering).next().is_some();
    if values.is_empty() && !has_clustering {
        return Err(CqlError::invalid(
            "No definition found that is not part of the PRIMARY KEY",
        ));
    }
    if values.len() > 1 && has_clustering {
        return Err(CqlError::invalid(format!(
            "COMPACT STORAGE with composite PRIMARY KEY allows no more than one column not part of the PRIMARY KEY (got: {})",
            values.join(", ")
        )));
    }
    Ok(())
}

pub fn check_table_name(keyspace: &str, name: &str) -> CqlResult<()> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        return Err(CqlError::config(format!(
            "{keyspace}.{name}: Table name must not be empty or not contain non-alphanumeric-underscore characters (got \"{name}\")"
        )));
    }
    if name.len() > NAME_CHARACTERS_MAX {
        return Err(CqlError::config(format!(
            "{keyspace}.{name}: Table name must not be more than {NAME_CHARACTERS_MAX} characters long (got {} characters for \
             \"{name}\")",
            name.len()
        )));
    }
    Ok(())
}

/// The properties among the options.
pub fn properties(options: &[TableOption]) -> impl Iterator<Item = &Property> {
    options.iter().filter_map(|option| match option {
        TableOption::Property(property) => Some(property),
        _ => None,
    })
}

/// The one primary key, wherever it was written.
fn primary_key(create: &CreateTable) -> CqlResult<PrimaryKey> {
    let marked = create
        .columns
        .iter()
        .filter(|column| column.primary_key)
        .map(|column| PrimaryKey {
            partition: vec![column.name.clone()],
            clustering: Vec::new(),
        });
    let mut keys = create.primary_keys.iter().cloned().chain(marked);
    keys.next()
        .ok_or_else(|| CqlError::invalid("A table has a PRIMARY KEY"))
}

/// What each column was written as: a statement may have tens of thousands, and looks some of them up.
fn by_name(create: &CreateTable) -> HashMap<&str, &ColumnDefinition> {
    let columns = create.columns.iter();
    columns
        .map(|column| (column.name.as_str(), column))
        .collect()
}

fn key_columns(
    table: &str,
    create: &CreateTable,
    key: &PrimaryKey,
    types: &BTreeMap<&str, CqlType>,
) -> CqlResult<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let (written, mut seen) = (by_name(create), HashSet::new());
    for (names, kind) in [
        (&key.partition, ColumnKind::PartitionKey),
        (&key.clustering, ColumnKind::Clustering),
    ] {
        for (position, name) in names.iter().enumerate() {
            let name = name.as_str();
            let Some(ty) = types.get(name) else {
                return Err(CqlError::invalid(format!(
                    "Unknown column '{name}' referenced in PRIMARY KEY for table '{table}'"
                )));
            };
            if !seen.insert(name) {
                return Err(CqlError::invalid(format!(
                    "Duplicate column '{name}' in PRIMARY KEY clause for table '{table}'"
                )));
            }
            check_key_type(name, ty)?;
            if written.get(name).is_some_and(|written| written.is_static) {
                return Err(CqlError::invalid(format!(
                    "Static column '{name}' cannot be part of the PRIMARY KEY"
                )));
            }
            columns.push(column(name, ty, kind, position));
        }
    }
    Ok(columns)
}

fn check_key_type(name: &str, ty: &CqlType) -> CqlResult<()> {
    if let (CqlType::Udt(udt), true) = (ty, ty.is_multi_cell()) {
        return Err(CqlError::invalid(format!(
            "Invalid non-frozen user-defined type \"{}.{}\" for PRIMARY KEY column '{name}'",
            udt.keyspace, udt.name
        )));
    }
    if ty.is_multi_cell() {
        return Err(CqlError::invalid(format!(
            "Invalid non-frozen collection type {ty} for PRIMARY KEY column '{name}'"
        )));
    }
    if ty.is_counter() {
        return Err(CqlError::invalid(format!(
            "counter type is not supported for PRIMARY KEY column '{name}'"
        )));
    }
    if resolve::holds_durations(ty) {
        return Err(CqlError::invalid(format!(
            "duration type is not supported for PRIMARY KEY column '{name}'"
        )));
    }
    Ok(())
}

fn column(name: &str, ty: &CqlType, kind: ColumnKind, position: usize) -> Column {
    Column {
        name: name.to_owned(),
        ty: ty.clone(),
        kind,
        position,
        id: ColumnId(0),
        reversed: false,
        mask: None,
    }
}

fn other_columns<'a>(create: &'a CreateTable, keys: &[Column]) -> Vec<&'a ColumnDefinition> {
    let keys: HashSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let is_key = |definition: &ColumnDefinition| keys.contains(definition.name.as_str());
    create
        .columns
        .iter()
        .filter(|definition| !is_key(definition))
        .collect()
}

/// A static or regular column.
pub fn value_column(definition: &ColumnDefinition, ty: &CqlType) -> Column {
    let kind = match definition.is_static {
        true => ColumnKind::Static,
        false => ColumnKind::Regular,
    };
    column(definition.name.as_str(), ty, kind, 0)
}

/// A partition of one row has no use for static columns.
pub fn check_static(column: &Column, has_clustering: bool) -> CqlResult<()> {
    match column.kind == ColumnKind::Static && !has_clustering {
        false => Ok(()),
        true => Err(CqlError::invalid(
            "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
        )),
    }
}

fn mask_of(
    mask: &Mask,
    column: &str,
    ty: &CqlType,
    circumstances: Option<&Circumstances<'_>>,
) -> CqlResult<ColumnMask> {
    match circumstances {
        Some(circumstances) => mask::mask_of(mask, column, ty, &circumstances.moment),
        None => Err(mask::disabled()),
    }
}

/// CLUSTERING ORDER names the clustering columns from the first on, in their order.
fn reverse<'a>(
    columns: &mut [Column],
    order: impl Iterator<Item = &'a (Name, Direction)>,
) -> CqlResult<()> {
    let order: Vec<_> = order.collect();
    if order.is_empty() {
        return Ok(());
    }
    let clustering: Vec<String> = columns
        .iter()
        .filter(|column| column.kind == ColumnKind::Clustering)
        .map(|column| column.name.clone())
        .collect();
    let known: HashSet<&str> = clustering.iter().map(String::as_str).collect();
    let strangers: Vec<&str> = order
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !known.contains(name))
        .collect();
    if !strangers.is_empty() {
        return Err(CqlError::invalid(format!(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive: [{}] are not clustering columns",
            strangers.join(", ")
        )));
    }
    for (position, (name, _)) in order.iter().enumerate() {
        let expected = &clustering[position];
        if expected == name.as_str() {
            continue;
        }
        return Err(CqlError::invalid(
            match order.iter().any(|(name, _)| name == expected.as_str()) {
                true => format!(
                    "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns ({expected} must \
                 appear before {})",
                    name.as_str()
                ),
                false => format!("Missing CLUSTERING ORDER for column {expected}"),
            },
        ));
    }
    for (name, direction) in order {
        let column = columns
            .iter_mut()
            .find(|column| column.name == name.as_str());
        column
            .expect("found among the clustering columns above")
            .reversed = *direction == Direction::Descending;
    }
    Ok(())
}

pub(super) fn check_id(options: &[TableOption]) -> CqlResult<()> {
    match properties(options).find(|property| property.name.as_str() == "id") {
        Some(id) => check_id_of(id),
        None => Ok(()),
    }
}

/// Whether what is given as a table's id is one.
fn check_id_of(id: &Property) -> CqlResult<()> {
    let Some(text) = id.value.text() else {
        return Err(CqlError::syntax(
            "Invalid value for property 'id'. It should be a string",
        ));
    };
    // Java reads five numbers of any length, and keeps the last digits of each.
    let is_number = |part: &str| u64::from_str_radix(part, 16).is_ok() && !part.starts_with('+');
    let parts: Vec<&str> = text.split('-').collect();
    match parts.len() == 5 && parts.into_iter().all(is_number) {
        true => Ok(()),
        false => Err(CqlError::config("Invalid table id")),
    }
}

/// A table keeps its id.
pub(super) fn check_no_id(properties: &[Property]) -> CqlResult<()> {
    match properties
        .iter()
        .find(|property| property.name.as_str() == "id")
    {
        Some(id) => check_id_of(id).and(Err(CqlError::config("Cannot alter table id."))),
        None => Ok(()),
    }
}

/// A column that is a counter by its class alone does not make a table one of counters, and has no place in another.
fn check_counters_by_class(
    keyspace: &str,
    create: &CreateTable,
    columns: &[Column],
) -> CqlResult<()> {
    let mut written = create.columns.iter();
    if written.any(|column| column.of == Type::Native(NativeType::Counter)) {
        return Ok(());
    }
    let mut counters = columns.iter().filter(|column| column.ty.is_counter());
    counters.next().map_or(Ok(()), |counter| {
        Err(CqlError::config(format!(
            "{keyspace}.{}: Cannot have a counter column (\"{}\") in a non counter table",
            create.table.name.as_str(),
            counter.name
        )))
    })
}

fn check_counters(columns: &[Column], options: &TableOptions) -> CqlResult<()> {
    let values = columns
        .iter()
        .filter(|column| !column.kind.is_primary_key());
    let (counters, others): (Vec<&Column>, Vec<&Column>) =
        values.partition(|column| column.ty.is_counter());
    if counters.is_empty() {
        return Ok(());
    }
    if !others.is_empty() {
        return Err(CqlError::invalid(
            "Cannot mix counter and non counter columns in the same table",
        ));
    }
    check_counter_ttl(options)
}

/// Counters do not expire.
pub fn check_counter_ttl(options: &TableOptions) -> CqlResult<()> {
    match options.default_time_to_live {
        0 => Ok(()),
        _ => Err(CqlError::invalid(
            "Cannot set default_time_to_live on a table with counters",
        )),
    }
}

fn check_nothing_to_rewrite(custom: &Custom) -> CqlResult<()> {
    match custom.rewrite {
        true => Err(CqlError::invalid(
            "encryption option 'rewrite' is for ALTER TABLE: a new table has nothing to write again",
        )),
        false => Ok(()),
    }
}
