//! CREATE INDEX, DROP INDEX.
//!
//! Cassandra's order of checks: attributes, keyspace, table, the name, the targets, a duplicate, and last what the index's class makes of its options.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_protocol::cql::ast::{
    CreateIndex, DropIndex, IndexTarget, IndexTargetKind, Property,
};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::CqlType;
use palladium_storage::Store;

use super::super::index::{Index, target_name, target_text};
use super::super::properties::is_java_class;
use super::super::{Catalog, Column, ColumnKind, Keyspace, TableSchema, resolve};
use super::{
    Circumstances, Effect, Plan, changed, check_modifiable, check_not_ours, keyspace_of,
    with_keyspace,
};
use crate::derived::layout;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::term::undefined;

/// An index that Cassandra has, switched off.
const SASI: &str = "org.apache.cassandra.index.sasi.SASIIndex";
/// What USING may say for the classic index.
const CLASSIC: &str = "legacy_local_table";
/// What an index name may have at most: in Cassandra it is a folder's name behind a dot.
const NAME_CHARACTERS_MAX: usize = 254;
/// What the name of a column may have at most that an SAI is over.
const COLUMN_CHARACTERS_MAX: usize = 48;

/// What Cassandra says of every index on vectors, also of those that the table has already.
const VECTOR_WARNING: &str = "SAI ANN indexes on vector columns are experimental and are not recommended for production use.\n\
    They don't yet support SELECT queries with:\n \
    * Consistency level higher than ONE/LOCAL_ONE.\n \
    * Paging.\n \
    * No LIMIT clauses.\n \
    * PER PARTITION LIMIT clauses.\n \
    * GROUP BY clauses.\n \
    * Aggregation functions.\n \
    * Filters on columns without a SAI index.";

pub fn create(
    catalog: &Catalog,
    create: &CreateIndex,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&create.table, circumstances)?;
    check_modifiable(catalog, keyspace)?;
    let (class, options) = attributes(create)?;
    if class.as_deref() == Some(SASI) {
        class_of(SASI)?;
    }
    let there = catalog
        .keyspace(keyspace)
        .ok_or_else(|| CqlError::invalid(format!("Keyspace '{keyspace}' doesn't exist")))?;
    let name = create.table.name.as_str();
    let table = there
        .table_or_view(name)
        .ok_or_else(|| CqlError::invalid(format!("Table '{name}' doesn't exist")))?;
    let named = create.name.as_ref().map(|name| name.as_str());
    if let Some(name) = named
        && has_index(there, name)
    {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!("Index '{name}' already exists"))),
        };
    }
    if table.is_counter() {
        return Err(CqlError::invalid(
            "Secondary indexes on counter tables aren't supported",
        ));
    }
    if table.view.is_some() {
        return Err(CqlError::invalid(
            "Secondary indexes on materialized views aren't supported",
        ));
    }
    let (column, target) = target(table, create, class.is_some(), &options)?;
    check_target(table, column, target)?;
    let mut index = Index {
        name: named.map_or_else(
            || available_name(there, &table.name, &column.name),
            str::to_owned,
        ),
        column: column.name.clone(),
        target,
        class,
        options,
        store: Store(table.next_store),
        layout: 0,
        is_built: false,
    };
    index.layout = layout::current(&index);
    let twin = table.indexes.iter().find(|other| {
        other.column == index.column
            && other.target == index.target
            && other.class == index.class
            && other.options == index.options
    });
    if let Some(twin) = twin {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Index {} is a duplicate of existing index {}",
                index.name, twin.name
            ))),
        };
    }
    check_name(&index.name)?;
    if index.is_sai() {
        check_sai(table, column, &index)?;
    }
    let mut definition = table.definition();
    definition.next_store = table.next_store.checked_add(1).ok_or_else(|| {
        CqlError::invalid("The table has had as many indexes as a table can have in its life")
    })?;
    let store = index.store;
    definition.indexes.push(Arc::new(index));
    let table = Arc::new(TableSchema::new(definition));
    let mut next = there.as_ref().clone();
    next.tables.insert(table.name.clone(), table.clone());
    let target = SchemaTarget::Table(table.name.clone());
    changed(
        with_keyspace(catalog, next),
        Change::Updated,
        keyspace,
        target,
    )
    .with_warnings(vector_warnings(&table))
    .with_effect(Effect::Build(table, store))
    .planned()
}

/// One for each index on vectors, whenever Cassandra looks at a table's definition anew.
pub(super) fn vector_warnings(table: &TableSchema) -> Vec<String> {
    let is_on_vectors = |index: &&Arc<Index>| {
        let column = table.column(&index.column);
        let term = column.map(|column| index.term_type(&column.ty));
        index.is_sai() && term.is_some_and(|term| matches!(term.bare(), CqlType::Vector(..)))
    };
    let on_vectors = table.indexes.iter().filter(is_on_vectors);
    on_vectors.map(|_| VECTOR_WARNING.to_owned()).collect()
}

pub fn drop(
    catalog: &Catalog,
    drop: &DropIndex,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&drop.name, circumstances)?;
    let name = drop.name.name.as_str();
    check_not_ours(catalog, keyspace)?;
    let found = catalog.keyspace(keyspace).and_then(|there| {
        let table = table_of(there, name)?;
        let index = table.indexes.iter().find(|index| index.name == name)?;
        Some((there, table, index))
    });
    let Some((there, table, index)) = found else {
        return match drop.if_exists {
            true => Ok(Plan::Nothing),
            // The lone quotation mark at the end is Cassandra's.
            false => Err(CqlError::invalid(format!(
                "Index '{keyspace}.{name}' doesn't exist'"
            ))),
        };
    };
    let mut definition = table.definition();
    definition.indexes.retain(|index| index.name != name);
    let changed_table = Arc::new(TableSchema::new(definition));
    let mut next = there.as_ref().clone();
    next.tables.insert(table.name.clone(), changed_table);
    let target = SchemaTarget::Table(table.name.clone());
    changed(
        with_keyspace(catalog, next),
        Change::Updated,
        keyspace,
        target,
    )
    .with_effect(Effect::DropStore(table.id, index.store))
    .planned()
}

/// The table of a keyspace that has the index.
pub fn table_of<'a>(keyspace: &'a Keyspace, index: &str) -> Option<&'a Arc<TableSchema>> {
    let mut tables = keyspace.tables.values();
    tables.find(|table| table.indexes.iter().any(|own| own.name == index))
}

fn has_index(keyspace: &Keyspace, name: &str) -> bool {
    table_of(keyspace, name).is_some()
}

/// Class and options.
fn attributes(create: &CreateIndex) -> CqlResult<(Option<String>, BTreeMap<String, String>)> {
    let class = match &create.class {
        Some(class) if !create.custom && class.eq_ignore_ascii_case(CLASSIC) => None,
        Some(class) => Some(class.clone()),
        None if create.custom => Some(CLASSIC.to_owned()),
        None => None,
    };
    check_names(&create.properties)?;
    if class.is_none() && !create.properties.is_empty() {
        return Err(CqlError::invalid(
            "Cannot specify options for a non-CUSTOM index",
        ));
    }
    let options = options(&create.properties)?;
    for reserved in ["class_name", "target"] {
        if options.contains_key(reserved) {
            return Err(CqlError::invalid(format!(
                "Cannot specify {reserved} as a CUSTOM option"
            )));
        }
    }
    Ok((class, options))
}

fn check_names(properties: &[Property]) -> CqlResult<()> {
    let mut names = properties.iter().map(|property| property.name.as_str());
    match names.find(|name| *name != "options") {
        Some(name) => Err(CqlError::syntax(format!("Unknown property '{name}'"))),
        None => Ok(()),
    }
}

fn options(properties: &[Property]) -> CqlResult<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for property in properties {
        let map = property.value.map().ok_or_else(|| {
            CqlError::syntax("Invalid value for property 'options'. It should be a map.")
        })?;
        for (name, value) in map {
            let value = value.text().ok_or_else(|| {
                CqlError::syntax("Invalid value for property 'options'. It should be a map.")
            })?;
            options.insert(name.raw_text(), value);
        }
    }
    Ok(options)
}

/// Column and target; those of a collection are its values if nothing else is said.
fn target<'a>(
    table: &'a TableSchema,
    create: &CreateIndex,
    is_custom: bool,
    options: &BTreeMap<String, String>,
) -> CqlResult<(&'a Column, IndexTargetKind)> {
    // The name, the class and the names of its options are looked at before so many columns are too few or too many.
    let check_custom = || {
        if let Some(name) = &create.name {
            check_name(name.as_str())?;
        }
        class_of(create.class.as_deref().unwrap_or(CLASSIC))?;
        check_options(options)
    };
    let is_sai = create.class.as_deref().is_some_and(is_sai);
    let prepared = |target: &IndexTarget| {
        let column = table
            .column(target.column.as_str())
            .ok_or_else(|| undefined(table, &target.column))?;
        if is_sai {
            check_column_name(&column.name)?;
        }
        let kind = match target.kind {
            IndexTargetKind::Simple if column.ty.bare().is_collection() => IndexTargetKind::Values,
            kind => kind,
        };
        Ok((column, kind))
    };
    let targets: Vec<(&Column, IndexTargetKind)> = create
        .targets
        .iter()
        .map(prepared)
        .collect::<CqlResult<_>>()?;
    match (&targets[..], is_custom) {
        ([one], _) => Ok(*one),
        ([], false) => Err(CqlError::invalid(
            "Only CUSTOM indexes can be created without specifying a target column",
        )),
        ([], true) => {
            check_custom()?;
            Err(CqlError::invalid("Failed to retrieve target column for: "))
        }
        (_, false) => Err(CqlError::invalid(
            "Only CUSTOM indexes support multiple columns",
        )),
        (several, true) => {
            for (place, (column, _)) in several.iter().enumerate() {
                if several[..place]
                    .iter()
                    .any(|(other, _)| other.name == column.name)
                {
                    return Err(CqlError::invalid(format!(
                        "Duplicate column '{}' in index target list",
                        column.name
                    )));
                }
            }
            for (column, target) in several {
                check_target(table, column, *target)?;
            }
            check_custom()?;
            let names: Vec<String> = several
                .iter()
                .map(|(column, kind)| target_text(*kind, &column.name))
                .collect();
            Err(CqlError::invalid(format!(
                "A storage-attached index cannot be created over multiple columns: {}",
                names.join(", ")
            )))
        }
    }
}

fn check_target(table: &TableSchema, column: &Column, target: IndexTargetKind) -> CqlResult<()> {
    let name = &column.name;
    let ty = column.ty.bare();
    if resolve::holds_durations(&column.ty) {
        let what = match ty {
            CqlType::Tuple(_) => "tuples containing durations",
            CqlType::Udt(_) => "UDTs containing durations",
            CqlType::Duration => "duration columns",
            _ => "collections containing durations",
        };
        return Err(CqlError::invalid(format!(
            "Secondary indexes are not supported on {what}"
        )));
    }
    if table.compact {
        let what = match column.kind {
            kind if kind.is_primary_key() => Some("PRIMARY KEY columns in"),
            // Without a clustering its columns have names of their own.
            _ if !table.clustering.is_empty() => Some("compact value column of"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(CqlError::invalid(format!(
                "Secondary indexes are not supported on {what} COMPACT STORAGE tables"
            )));
        }
    }
    if column.kind == ColumnKind::PartitionKey && table.partition_key.len() == 1 {
        return Err(CqlError::invalid(format!(
            "Cannot create secondary index on the only partition key column {name}"
        )));
    }
    let is_frozen_collection = ty.is_collection() && !column.ty.is_multi_cell();
    let kind = target_name(target);
    if is_frozen_collection && target != IndexTargetKind::Full {
        return Err(CqlError::invalid(format!(
            "Cannot create {kind}() index on frozen column {name}. Frozen collections are immutable and must be fully indexed by \
             using the 'full({name})' modifier"
        )));
    }
    if !is_frozen_collection && target == IndexTargetKind::Full {
        return Err(CqlError::invalid(
            "full() indexes can only be created on frozen collections",
        ));
    }
    if !ty.is_collection() && target != IndexTargetKind::Simple {
        return Err(CqlError::invalid(format!(
            "Cannot create {kind}() index on {name}. Non-collection columns only support simple indexes"
        )));
    }
    let is_map = matches!(ty, CqlType::Map(..)) && column.ty.is_multi_cell();
    if !is_map && matches!(target, IndexTargetKind::Keys | IndexTargetKind::Entries) {
        return Err(CqlError::invalid(format!(
            "Cannot create index on {kind} of column {name} with non-map type"
        )));
    }
    if matches!(ty, CqlType::Udt(_)) && column.ty.is_multi_cell() {
        return Err(CqlError::invalid(format!(
            "Cannot create index on non-frozen UDT column {name}"
        )));
    }
    Ok(())
}

/// `t_v_idx`, or the first with a number behind it that is free.
fn available_name(keyspace: &Keyspace, table: &str, column: &str) -> String {
    let word = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    let column: String = column.chars().filter(word).collect();
    let base = format!("{table}_{column}_idx");
    let numbered = (1u32..).map(|number| format!("{base}_{number}"));
    std::iter::once(base.clone())
        .chain(numbered)
        .find(|name| !has_index(keyspace, name))
        .expect("there are more numbers than indexes")
}

fn check_name(name: &str) -> CqlResult<()> {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    match !name.is_empty() && name.len() <= NAME_CHARACTERS_MAX && name.chars().all(word) {
        true => Ok(()),
        false => Err(CqlError::config(format!("Illegal index name {name}"))),
    }
}

/// The one class there is beside the classic index.
fn class_of(class: &str) -> CqlResult<()> {
    match class {
        _ if is_sai(class) => Ok(()),
        _ if class == SASI => Err(CqlError::invalid(
            "SASI indexes are disabled. Enable in cassandra.yaml to use.",
        )),
        _ if is_java_class(class) => Err(CqlError::config(format!(
            "Specified Indexer class ({class}) does not implement the Indexer interface"
        ))),
        _ => Err(CqlError::config(format!(
            "Unable to find custom indexer class '{class}'"
        ))),
    }
}

fn is_sai(class: &str) -> bool {
    ["sai", "storageattachedindex"].contains(&class.to_ascii_lowercase().as_str())
        || class == "org.apache.cassandra.index.sai.StorageAttachedIndex"
}

/// Cassandra names files of such an index by its column.
fn check_column_name(name: &str) -> CqlResult<()> {
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(CqlError::invalid(format!(
            "Column '{name}' contains non-alphanumeric-underscore characters"
        )));
    }
    if name.len() > COLUMN_CHARACTERS_MAX {
        return Err(CqlError::invalid(format!(
            "Column '{name}' is longer than the permissible name length of {COLUMN_CHARACTERS_MAX} characters"
        )));
    }
    Ok(())
}

/// Options of SAI about texts, in the order in which they are looked at.
const ANALYZER: [&str; 3] = ["case_sensitive", "normalize", "ascii"];
/// Its others.
const OTHERS: [&str; 5] = [
    "similarity_function",
    "maximum_node_connections",
    "construction_beam_width",
    "optimize_for",
    "enable_segment_compaction",
];

fn check_options(options: &BTreeMap<String, String>) -> CqlResult<()> {
    let known =
        |name: &String| ANALYZER.contains(&name.as_str()) || OTHERS.contains(&name.as_str());
    let unknown: Vec<&str> = options
        .keys()
        .filter(|name| !known(name))
        .map(String::as_str)
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(CqlError::config(format!(
            "Properties specified [{}] are not understood by StorageAttachedIndex",
            unknown.join(", ")
        ))),
    }
}

/// What SAI asks of its options. Whether it is one on vectors.
fn check_sai(table: &TableSchema, column: &Column, index: &Index) -> CqlResult<()> {
    class_of(index.class.as_deref().unwrap_or(CLASSIC))?;
    let name = &column.name;
    let others = table.indexes.iter().filter(|other| other.is_sai());
    if others
        .into_iter()
        .any(|other| other.column == *name && other.target == index.target)
    {
        return Err(CqlError::invalid(format!(
            "Cannot create more than one storage-attached index on the same column: {name}"
        )));
    }
    check_options(&index.options)?;
    let mut analyzer: Vec<(&str, &String)> = index
        .options
        .iter()
        .map(|(name, said)| (name.as_str(), said))
        .filter(|(name, _)| ANALYZER.contains(name))
        .collect();
    if !analyzer.is_empty() && column.kind.is_primary_key() {
        let said = analyzer.iter();
        let said: Vec<String> = said
            .map(|(name, said)| format!("'{name}': '{said}'"))
            .collect();
        return Err(CqlError::invalid(format!(
            "Analysis options are not supported on primary key columns, but found {{{}}}",
            said.join(", ")
        )));
    }
    let term = index.term_type(&column.ty);
    if !analyzer.is_empty() && !matches!(term, CqlType::Text | CqlType::Ascii) {
        return Err(CqlError::invalid(format!(
            "CQL type {term} cannot be analyzed."
        )));
    }
    analyzer.sort_by_key(|(name, _)| ANALYZER.iter().position(|own| own == name));
    for (option, said) in analyzer {
        if !["true", "false"].contains(&said.to_ascii_lowercase().as_str()) {
            return Err(CqlError::invalid(format!(
                "Illegal value for boolean option '{option}': {said}"
            )));
        }
    }
    check_term(index.target, &term)?;
    check_vector(&term, index)
}

/// Of an entry both parts are looked at; a tuple is indexed as it is, whatever is in it.
fn check_term(target: IndexTargetKind, term: &CqlType) -> CqlResult<()> {
    let is_supported = |ty: &CqlType| {
        !matches!(
            ty,
            CqlType::Blob | CqlType::Duration | CqlType::Counter | CqlType::Custom(_)
        ) && !ty.is_multi_cell()
    };
    let looked_at = match (target, term) {
        (IndexTargetKind::Entries, CqlType::Tuple(parts)) => &parts[..],
        (_, term) => std::slice::from_ref(term),
    };
    match looked_at.iter().find(|part| !is_supported(part)) {
        Some(part) => Err(CqlError::invalid(format!("Unsupported type: {part}"))),
        None => Ok(()),
    }
}

fn check_vector(term: &CqlType, index: &Index) -> CqlResult<()> {
    let CqlType::Vector(element, dimensions) = term else {
        let wrong = index.options.keys().find(|name| {
            ![
                "case_sensitive",
                "normalize",
                "ascii",
                "enable_segment_compaction",
            ]
            .contains(&name.as_str())
        });
        return match wrong {
            Some(_) => Err(CqlError::invalid(format!(
                "CQL type {term} cannot have vector options"
            ))),
            None => Ok(()),
        };
    };
    if **element != CqlType::Float {
        return Err(CqlError::invalid(
            "SAI ANN indexes are only allowed on vector columns with float elements",
        ));
    }
    let function = index
        .options
        .get("similarity_function")
        .map(|said| said.to_ascii_uppercase());
    let function = function.as_deref().unwrap_or("COSINE");
    if !["EUCLIDEAN", "DOT_PRODUCT", "COSINE"].contains(&function) {
        return Err(CqlError::invalid(format!(
            "Similarity function {function} was not recognized for index null. Valid values are: EUCLIDEAN, DOT_PRODUCT, COSINE"
        )));
    }
    if let Some(said) = index.options.get("optimize_for") {
        let said = said.to_ascii_uppercase();
        if !["LATENCY", "RECALL"].contains(&said.as_str()) {
            return Err(CqlError::invalid(format!(
                "optimize_for '{said}' was not recognized for index null. Valid values are: LATENCY, RECALL"
            )));
        }
    }
    if function == "COSINE" && *dimensions == 1 {
        return Err(CqlError::invalid(
            "Cosine similarity is not supported for single-dimension vectors",
        ));
    }
    Ok(())
}
