//! Schema changes as values: a statement and a catalog in, the next catalog and what else must happen out.
//!
//! ```text
//! statement + catalog ──plan──► Changed { the next catalog, effects, event, warnings }     pure: checked and tested without an engine
//!                                  └──► query::execute::schema    keys, engine, the schema's table, the swap, the event
//! ```
//!
//! Every rule of Cassandra's DDL, and every word of its errors, is in here.
//!
//! Read in this order: `written`, `keyspace`, `create_table`, `alter_table`, `drop`, `user_type`, `index`, `view`; `hashed` knows in which order Cassandra finds mistakes.

mod alter_table;
mod create_table;
mod drop;
mod index;
mod keyspace;
mod told;
mod user_type;
mod view;
pub mod written;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::{
    AlterTable, CreateAggregate, CreateTable, Name, QualifiedName, Statement, Type,
};
use palladium_protocol::response::{Change, SchemaChange, SchemaTarget};
use palladium_storage::Store;

use super::catalog::NO_KEYSPACE;
use super::{Catalog, Keyspace, KeyspaceKind, TableSchema, resolve, types};
use crate::error::{CqlError, CqlResult};
use crate::query::functions::Moment;

pub use create_table::table_of;
pub use index::table_of as table_of_index;
pub use told::told;
pub use view::base_of as base_of_view;

/// What a plan depends on beside the catalog and the statement.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What USE chose.
    pub keyspace: Option<&'a str>,
    pub data_center: &'a str,
    /// The id a new table gets.
    pub new_id: TableId,
    /// When it happens.
    pub moment: Moment<'a>,
    /// Whether columns may be masked.
    pub masking: bool,
}

/// A schema change that can happen.
#[derive(Debug)]
pub struct Changed {
    /// The catalog after it. Its version is set by whoever writes it down.
    pub catalog: Catalog,
    /// What must happen beside the swap.
    pub effects: Vec<Effect>,
    /// What clients are told.
    pub event: SchemaChange,
    pub warnings: Vec<String>,
}

/// What a change means for storage and keys.
#[derive(Debug)]
pub enum Effect {
    /// Needs keys and a place before the catalog names it.
    Create(Arc<TableSchema>),
    /// Is destroyed once the catalog has forgotten it.
    Drop(TableId),
    /// Is put under the key its definition now names.
    SwitchKey(Arc<TableSchema>),
    /// Gets new data keys, in the background.
    Rewrite(TableId),
    /// What the table holds is indexed, in the background: by the index whose entries are in this store.
    Build(Arc<TableSchema>, Store),
    /// Ends once the catalog has forgotten it.
    DropStore(TableId, Store),
    /// Is stored in another way from now on.
    SetOptions(Arc<TableSchema>),
}

/// What a statement comes to: a change, or nothing because of IF EXISTS or IF NOT EXISTS.
#[derive(Debug)]
pub enum Plan {
    Nothing,
    /// Nothing, and Cassandra warns all the same.
    Warned(Vec<String>),
    Change(Box<Changed>),
}

/// Whether `plan` knows what to do with the statement.
pub fn is_schema_change(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateKeyspace(_)
            | Statement::AlterKeyspace(_)
            | Statement::DropKeyspace(_)
            | Statement::CreateTable(_)
            | Statement::CopyTable(_)
            | Statement::AlterTable(_)
            | Statement::DropTable(_)
            | Statement::RestoreTable(_)
            | Statement::CreateType(_)
            | Statement::AlterType(_)
            | Statement::DropType(_)
            | Statement::CreateIndex(_)
            | Statement::DropIndex(_)
            | Statement::CreateView(_)
            | Statement::AlterView(_)
            | Statement::DropView(_)
            | Statement::CreateFunction(_)
            | Statement::DropFunction(_)
            | Statement::CreateAggregate(_)
            | Statement::DropAggregate(_)
            | Statement::CreateTrigger(_)
            | Statement::DropTrigger(_)
    )
}

/// Checks a statement against a catalog and makes the next one.
pub fn plan(
    catalog: &Catalog,
    statement: &Statement,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    if let Statement::CreateTable(CreateTable { table, .. })
    | Statement::AlterTable(AlterTable { table, .. }) = statement
    {
        check_modifiable(catalog, keyspace_of(table, circumstances)?)?;
        written::validate(statement, circumstances.masking)?;
    }
    match statement {
        Statement::CreateKeyspace(create) => keyspace::create(catalog, create, circumstances),
        Statement::AlterKeyspace(alter) => keyspace::alter(catalog, alter, circumstances),
        Statement::DropKeyspace(dropped) => drop::keyspace(catalog, dropped),
        Statement::CreateTable(create) => create_table::create(catalog, create, circumstances),
        Statement::CopyTable(copy) => create_table::copy(catalog, copy, circumstances),
        Statement::AlterTable(alter) => alter_table::alter(catalog, alter, circumstances),
        Statement::DropTable(dropped) => drop::table(catalog, dropped, circumstances),
        Statement::CreateType(create) => user_type::create(catalog, create, circumstances),
        Statement::AlterType(alter) => user_type::alter(catalog, alter, circumstances),
        Statement::DropType(dropped) => drop::user_type(catalog, dropped, circumstances),
        Statement::CreateIndex(create) => index::create(catalog, create, circumstances),
        Statement::DropIndex(dropped) => index::drop(catalog, dropped, circumstances),
        Statement::CreateView(create) => view::create(catalog, create, circumstances),
        Statement::AlterView(alter) => view::alter(catalog, alter, circumstances),
        Statement::DropView(dropped) => view::drop(catalog, dropped, circumstances),
        other => not_yet(catalog, other, circumstances),
    }
}

/// Statements that have no meaning here yet. IF EXISTS still holds: what cannot be made is not there.
fn not_yet(
    catalog: &Catalog,
    statement: &Statement,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let missing = |named: &QualifiedName, if_exists: bool, what: &str| {
        let keyspace = keyspace_of(named, circumstances)?;
        check_not_ours(catalog, keyspace)?;
        match if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "{what} '{keyspace}.{}' doesn't exist",
                named.name.as_str()
            ))),
        }
    };
    let unsupported = |what: &str| {
        Err(CqlError::invalid(format!(
            "{what} are not supported by this server yet"
        )))
    };
    let check_types = |name: &QualifiedName, arguments: &Option<Vec<Type>>| {
        let keyspace = keyspace_of(name, circumstances)?;
        let mut types = arguments.iter().flatten();
        if let Some(ty) = types.clone().find(|ty| is_frozen_by_name(ty)) {
            return Err(frozen("Argument", ty, None));
        }
        types.try_for_each(|ty| resolve::cql_type(catalog, keyspace, ty).map(|_| ()))
    };
    match statement {
        Statement::DropFunction(drop) => {
            check_types(&drop.name, &drop.arguments)?;
            let what = with_arguments(&drop.name, &drop.arguments, circumstances)?;
            missing(&what, drop.if_exists, "Function")
        }
        Statement::DropAggregate(drop) => {
            check_types(&drop.name, &drop.arguments)?;
            let what = with_arguments(&drop.name, &drop.arguments, circumstances)?;
            missing(&what, drop.if_exists, "Aggregate")
        }
        Statement::DropTrigger(drop) => {
            let keyspace = keyspace_of(&drop.table, circumstances)?;
            check_not_ours(catalog, keyspace)?;
            match drop.if_exists {
                true => Ok(Plan::Nothing),
                false => Err(CqlError::invalid(format!(
                    "Trigger '{}' on '{keyspace}.{}' doesn't exist",
                    drop.name.as_str(),
                    drop.table.name.as_str()
                ))),
            }
        }
        Statement::CreateAggregate(create) => Err(no_aggregate(catalog, create, circumstances)?),
        Statement::CreateFunction(create) => {
            check_not_ours(catalog, keyspace_of(&create.name, circumstances)?)?;
            Err(match create.or_replace && create.if_not_exists {
                true => replace_if_not_exists(),
                false => CqlError::invalid(
                    "User-defined functions are disabled in cassandra.yaml - set user_defined_functions_enabled=true to enable",
                ),
            })
        }
        Statement::CreateTrigger(create) => {
            let keyspace = keyspace_of(&create.table, circumstances)?;
            let table = create.table.name.as_str();
            check_not_ours(catalog, keyspace)?;
            let there = require_keyspace(catalog, keyspace)?;
            Err(CqlError::invalid(match there.tables.contains_key(table) {
                false => format!("Table '{table}' doesn't exist"),
                true => format!("Trigger class '{}' couldn't be loaded", create.class),
            }))
        }
        Statement::RestoreTable(_) => unsupported("Restores from a point in time"),
        _ => Err(CqlError::invalid(
            "This statement does not change the schema",
        )),
    }
}

/// A function's name with the types of its arguments behind it, if they were given.
fn with_arguments(
    name: &QualifiedName,
    arguments: &Option<Vec<Type>>,
    circumstances: &Circumstances<'_>,
) -> CqlResult<QualifiedName> {
    keyspace_of(name, circumstances)?;
    let mut full = name.name.as_str().to_owned();
    if let Some(arguments) = arguments {
        // Where no function has the name, nothing is looked up.
        let types = arguments.iter().map(|ty| types::repeated(ty, None));
        let types: Vec<String> = types.collect();
        full += &format!("({})", types.join(", "));
    }
    Ok(QualifiedName {
        keyspace: name.keyspace.clone(),
        name: Name::exact(full),
    })
}

/// The keyspace a name is in: its own, or the one of the session.
fn keyspace_of<'a>(
    named: &'a QualifiedName,
    circumstances: &Circumstances<'a>,
) -> CqlResult<&'a str> {
    named
        .keyspace
        .as_ref()
        .map(|keyspace| keyspace.as_str())
        .or(circumstances.keyspace)
        .ok_or_else(|| CqlError::invalid(NO_KEYSPACE))
}

fn is_frozen_by_name(ty: &Type) -> bool {
    matches!(ty, Type::Frozen(inner) if !matches!(**inner, Type::Tuple(_)))
}

/// A type that was looked up is repeated with the keyspace it was found in.
fn frozen(what: &str, ty: &Type, found_in: Option<&str>) -> CqlError {
    let ty = types::repeated(ty, found_in);
    CqlError::invalid(format!(
        "{what} '{ty}' cannot be frozen; remove frozen<> modifier from '{ty}'"
    ))
}

fn replace_if_not_exists() -> CqlError {
    CqlError::invalid("Cannot use both 'OR REPLACE' and 'IF NOT EXISTS' directives")
}

/// Why an aggregate cannot be made: its state function is not there, since there are none. What is wrong with its types comes first.
fn no_aggregate(
    catalog: &Catalog,
    create: &CreateAggregate,
    circumstances: &Circumstances<'_>,
) -> CqlResult<CqlError> {
    let keyspace = keyspace_of(&create.name, circumstances)?;
    if catalog.keyspace(keyspace).is_none() {
        return Ok(CqlError::config(format!(
            "Keyspace {keyspace} doesn't exist"
        )));
    }
    for ty in [&create.state_type].into_iter().chain(&create.arguments) {
        resolve::cql_type(catalog, keyspace, ty)?;
    }
    check_not_ours(catalog, keyspace)?;
    if create.or_replace && create.if_not_exists {
        return Ok(replace_if_not_exists());
    }
    if let Some(ty) = create.arguments.iter().find(|ty| is_frozen_by_name(ty)) {
        return Ok(frozen("Argument", ty, Some(keyspace)));
    }
    if is_frozen_by_name(&create.state_type) {
        return Ok(frozen("State type", &create.state_type, Some(keyspace)));
    }
    let types = [&create.state_type].into_iter().chain(&create.arguments);
    let types: Vec<String> = types
        .map(|ty| types::repeated(ty, Some(keyspace)))
        .collect();
    Ok(CqlError::invalid(format!(
        "State function {keyspace}.{}({}) doesn't exist",
        create.state_function.as_str(),
        types.join(", ")
    )))
}

/// Whether a keyspace that is there may be changed by users; ours may not.
fn check_modifiable(catalog: &Catalog, keyspace: &str) -> CqlResult<()> {
    match is_ours(catalog, keyspace) {
        false => Ok(()),
        true => Err(CqlError::unauthorized(format!(
            "{keyspace} keyspace is not user-modifiable."
        ))),
    }
}

/// The same for what has nobody's permission to ask for, because it is not there.
fn check_not_ours(catalog: &Catalog, keyspace: &str) -> CqlResult<()> {
    match is_ours(catalog, keyspace) && !REPLICATED.contains(&keyspace) {
        false => Ok(()),
        true => Err(CqlError::invalid(format!(
            "System keyspace '{keyspace}' is not user-modifiable"
        ))),
    }
}

/// Whether a name is that of a keyspace of the server's own. Those that each node has for itself are meant by their names in capitals too.
fn is_ours(catalog: &Catalog, keyspace: &str) -> bool {
    let lower = keyspace.to_ascii_lowercase();
    let there = match catalog.keyspace(keyspace) {
        None if !REPLICATED.contains(&lower.as_str()) => catalog.keyspace(&lower),
        there => there,
    };
    there.is_some_and(|there| there.kind != KeyspaceKind::User)
}

/// Keyspaces of Cassandra's own that every node has the same of.
pub const REPLICATED: [&str; 3] = ["system_auth", "system_distributed", "system_traces"];

/// A keyspace that must be there.
fn require_keyspace<'a>(catalog: &'a Catalog, keyspace: &str) -> CqlResult<&'a Arc<Keyspace>> {
    catalog
        .keyspace(keyspace)
        .ok_or_else(|| CqlError::invalid(format!("Keyspace '{keyspace}' doesn't exist")))
}

/// The catalog with one keyspace changed.
fn with_keyspace(catalog: &Catalog, keyspace: Keyspace) -> Catalog {
    let mut next = catalog.clone();
    next.keyspaces
        .insert(keyspace.name.clone(), Arc::new(keyspace));
    next
}

/// A change without effects and warnings.
fn changed(catalog: Catalog, change: Change, keyspace: &str, target: SchemaTarget) -> Changed {
    Changed {
        catalog,
        effects: Vec::new(),
        event: SchemaChange {
            change,
            keyspace: keyspace.to_owned(),
            target,
        },
        warnings: Vec::new(),
    }
}

impl Changed {
    fn with_effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    fn planned(self) -> CqlResult<Plan> {
        Ok(Plan::Change(Box::new(self)))
    }
}
