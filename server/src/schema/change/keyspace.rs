//! CREATE and ALTER KEYSPACE.

use std::collections::BTreeMap;

use palladium_protocol::cql::ast::{AlterKeyspace, CreateKeyspace, KeyspaceAction};
use palladium_protocol::response::{Change, SchemaTarget};

use super::super::properties::Properties;
use super::super::{Catalog, Keyspace, KeyspaceKind, custom, replication};
use super::{
    Circumstances, Plan, REPLICATED, changed, check_modifiable, check_not_ours, with_keyspace,
};
use crate::error::{CqlError, CqlResult};

/// `tags` is Amazon Keyspaces'.
const PROPERTIES: [&str; 3] = ["replication", "durable_writes", "tags"];
const NAME_CHARACTERS_MAX: usize = 48;

pub fn create(
    catalog: &Catalog,
    create: &CreateKeyspace,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let name = create.keyspace.as_str();
    let properties = Properties::read(&create.properties, &PROPERTIES)?;
    let options = properties.map("replication")?;
    check_not_ours(catalog, name)?;
    check_name(name)?;
    let options =
        options.ok_or_else(|| CqlError::invalid("Missing mandatory option 'replication'"))?;
    if catalog.keyspace(name).is_some() {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::keyspace_exists(name)),
        };
    }
    if !options.contains_key("class") {
        return Err(CqlError::config("Missing replication strategy class"));
    }
    let mut keyspace = Keyspace::new(name, KeyspaceKind::User);
    keyspace.replication =
        replication::replication(options, &BTreeMap::new(), name, circumstances.data_center)?;
    keyspace.durable_writes = properties.boolean("durable_writes")?.unwrap_or(true);
    keyspace.tags = properties.map(custom::TAGS)?.unwrap_or_default();
    let warnings: Vec<String> = replication::warning(&keyspace.replication, name)
        .into_iter()
        .collect();
    changed(
        with_keyspace(catalog, keyspace),
        Change::Created,
        name,
        SchemaTarget::Keyspace,
    )
    .with_warnings(warnings)
    .planned()
}

pub fn check_name(name: &str) -> CqlResult<()> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        return Err(CqlError::invalid(format!(
            "Keyspace name must not be empty and must contain alphanumeric or underscore characters only (got \"{name}\")"
        )));
    }
    if name.len() > NAME_CHARACTERS_MAX {
        return Err(CqlError::invalid(format!(
            "Keyspace name must not be more than {NAME_CHARACTERS_MAX} characters long (got {} characters for \"{name}\")",
            name.len()
        )));
    }
    Ok(())
}

pub fn alter(
    catalog: &Catalog,
    alter: &AlterKeyspace,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let name = alter.keyspace.as_str();
    let is_with = matches!(alter.action, KeyspaceAction::With(_));
    let is_replicated = is_with && REPLICATED.contains(&name);
    if !is_replicated {
        check_modifiable(catalog, name)?;
    }
    check_name(name)?;
    let Some(there) = catalog.keyspace(name) else {
        return match alter.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Keyspace '{name}' doesn't exist"
            ))),
        };
    };
    let mut keyspace = Keyspace::clone(there);
    let mut warnings = Vec::new();
    match &alter.action {
        KeyspaceAction::AddTags(added) => custom::tag(&mut keyspace.tags, added)?,
        KeyspaceAction::DropTags(dropped) => custom::untag(&mut keyspace.tags, dropped),
        KeyspaceAction::With(_) => {}
    }
    if let KeyspaceAction::With(properties) = &alter.action {
        let properties = Properties::read(properties, &PROPERTIES)?;
        let options = properties.map("replication")?;
        if let Some(options) = options.filter(|options| !options.is_empty()) {
            keyspace.replication = replication::replication(
                options,
                &there.replication,
                name,
                circumstances.data_center,
            )?;
        }
        keyspace.durable_writes = properties
            .boolean("durable_writes")?
            .unwrap_or(keyspace.durable_writes);
        if let Some(tags) = properties.map(custom::TAGS)? {
            keyspace.tags = tags;
        }
        warnings.extend(replication::warning(&keyspace.replication, name));
        if replication::copies(&keyspace.replication) > replication::copies(&there.replication) {
            warnings.push(
                "When increasing replication factor you need to run a full (-full) repair to distribute the data.".into(),
            );
        }
    }
    let is_same = keyspace.replication == there.replication
        && keyspace.durable_writes == there.durable_writes
        && keyspace.tags == there.tags;
    if is_same && is_with {
        return Ok(warnings
            .pop()
            .map_or(Plan::Nothing, |last| Plan::Warned(vec![last])));
    }
    if is_replicated {
        warnings.push(format!(
            "{name} is the same on every node of this server, and stays as it is"
        ));
        return Ok(Plan::Warned(warnings));
    }
    changed(
        with_keyspace(catalog, keyspace),
        Change::Updated,
        name,
        SchemaTarget::Keyspace,
    )
    .with_warnings(warnings)
    .planned()
}
