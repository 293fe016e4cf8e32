//! What a statement needs: permissions on resources, as each of Cassandra's statements asks for them.
//!
//! | statement | needs |
//! |---|---|
//! | SELECT | SELECT on the table, or on the base of the view; UNMASK or SELECT_MASKED, if WHERE names a masked column: `query::masks` asks |
//! | INSERT, UPDATE, DELETE, TRUNCATE | MODIFY on the table; with IF also SELECT; with views also SELECT, and MODIFY on each of them |
//! | CREATE, ALTER, DROP KEYSPACE | CREATE on all keyspaces; ALTER, DROP on the keyspace |
//! | CREATE, ALTER, DROP TABLE | CREATE on all tables of the keyspace; ALTER, DROP on the table |
//! | CREATE, ALTER, DROP TYPE | the same on all tables of the keyspace |
//! | CREATE, ALTER, DROP of an index or a view | ALTER on the table that it is of |
//! | functions, aggregates | CREATE, ALTER, DROP on all functions of the keyspace |
//! | triggers | a superuser |
//!
//! Tables that drivers read when they connect are everybody's. `system_palladium` is everybody's, too: each sees the rows of the tables that he may see.
//! Role statements ask in `change` and `grant`.

use palladium_protocol::cql::ast::{Name, Permission, QualifiedName, Statement as Tree};

use super::Resource;
use crate::audit::Asker;
use crate::error::{CqlError, CqlResult};
use crate::permissions::Authority;
use crate::query::analyze::{Body, ModifyPlan, SelectPlan};
use crate::query::prepared::Statement;
use crate::schema::change::REPLICATED;
use crate::schema::{Catalog, KeyspaceKind, TableSchema};

/// Whether everybody may read this table.
fn is_everybodys(table: &TableSchema) -> bool {
    match table.keyspace.as_str() {
        "system" => [
            "local",
            "peers",
            "peers_v2",
            "size_estimates",
            "table_estimates",
        ]
        .contains(&table.name.as_str()),
        "system_schema" | "system_virtual_schema" | "system_traces" | "system_schema_mcs" => true,
        "system_palladium" => table.name != "maintenance",
        _ => false,
    }
}

/// Whether somebody may execute an analyzed statement. Schema and role statements ask when they are executed.
pub fn check(authority: &Authority, asker: &Asker, statement: &Statement) -> CqlResult<()> {
    match &statement.body {
        Body::Select(plan) => select(authority, asker, plan),
        Body::Modify(plan) => modify(authority, asker, plan),
        Body::Batch(batch) => {
            let mut statements = batch.statements.iter();
            statements.try_for_each(|plan| modify(authority, asker, plan))
        }
        Body::Truncate(table) => authority.check(asker, Permission::Modify, &resource(table)),
        Body::Use(_) | Body::Other(_) => Ok(()),
    }
}

fn resource(table: &TableSchema) -> Resource {
    Resource::table(&table.keyspace, &table.name)
}

fn select(authority: &Authority, asker: &Asker, plan: &SelectPlan) -> CqlResult<()> {
    let table = &*plan.table;
    match is_everybodys(table) {
        true => Ok(()),
        false => authority.check(asker, Permission::Select, &Resource::read_with(table)),
    }
}

fn modify(authority: &Authority, asker: &Asker, plan: &ModifyPlan) -> CqlResult<()> {
    let resource = resource(&plan.table);
    authority.check(asker, Permission::Modify, &resource)?;
    // A condition tells what stands in the table; views are made of it, and written with it.
    if plan.condition.is_some() || !plan.table.views.is_empty() {
        authority.check(asker, Permission::Select, &resource)?;
    }
    let mut views = plan.table.views.iter();
    views.try_for_each(|view| {
        let view = Resource::table(&view.keyspace, &view.name);
        authority.check(asker, Permission::Modify, &view)
    })
}

/// Whether somebody may make a schema change, for a session in `keyspace`. What the change itself refuses of everybody is left to it; what Cassandra refuses of
/// everybody before it looks at the change is refused here, roles or not.
pub fn check_schema(
    authority: &Authority,
    asker: &Asker,
    tree: &Tree,
    session: Option<&str>,
    catalog: &Catalog,
) -> CqlResult<()> {
    let is_ours = |keyspace: &str| {
        let found = catalog.keyspace(keyspace);
        found.is_some_and(|keyspace| keyspace.kind != KeyspaceKind::User)
    };
    let check = |permission: Permission, resource: Resource| match &resource {
        _ if is_fixed(permission, &resource) => Err(CqlError::unauthorized(format!(
            "Cannot {} {resource}",
            permission.name()
        ))),
        _ if !authority.authorizes() => Ok(()),
        Resource::Keyspace(keyspace)
        | Resource::AllTables(keyspace)
        | Resource::KeyspaceFunctions(keyspace)
        | Resource::Table(keyspace, _)
            if is_ours(keyspace) =>
        {
            Ok(())
        }
        _ => authority.check(asker, permission, &resource),
    };
    let keyspace_of = |name: &QualifiedName| {
        let keyspace = name.keyspace.as_ref().map(Name::as_str).or(session);
        keyspace.unwrap_or_default().to_owned()
    };
    let table =
        |name: &QualifiedName| Resource::Table(keyspace_of(name), name.name.as_str().into());
    let tables = |name: &QualifiedName| Resource::AllTables(keyspace_of(name));
    let functions = |name: &QualifiedName| Resource::KeyspaceFunctions(keyspace_of(name));
    let base_of = |name: &QualifiedName| {
        let view = name.name.as_str();
        let tables = catalog.keyspace(&keyspace_of(name))?.tables.values();
        let mut tables = tables.filter(|table| table.views.iter().any(|of| of.name == view));
        tables.next()
    };
    match tree {
        Tree::CreateKeyspace(_) => check(Permission::Create, Resource::AllKeyspaces),
        Tree::AlterKeyspace(alter) => check(
            Permission::Alter,
            Resource::Keyspace(alter.keyspace.as_str().into()),
        ),
        Tree::DropKeyspace(drop) => check(
            Permission::Drop,
            Resource::Keyspace(drop.keyspace.as_str().into()),
        ),
        Tree::CreateTable(create) => check(Permission::Create, tables(&create.table)),
        Tree::CopyTable(copy) => {
            check(Permission::Select, table(&copy.source))?;
            check(Permission::Create, tables(&copy.target))
        }
        Tree::RestoreTable(restore) => {
            check(Permission::Select, table(&restore.source))?;
            check(Permission::Create, tables(&restore.target))
        }
        Tree::AlterTable(alter) => check(Permission::Alter, table(&alter.table)),
        Tree::DropTable(drop) => check(Permission::Drop, table(&drop.table)),
        Tree::CreateType(create) => check(Permission::Create, tables(&create.name)),
        Tree::AlterType(alter) => check(Permission::Alter, tables(&alter.name)),
        Tree::DropType(drop) => check(Permission::Drop, tables(&drop.name)),
        Tree::CreateIndex(create) => check(Permission::Alter, table(&create.table)),
        Tree::DropIndex(drop) => {
            let keyspace = keyspace_of(&drop.name);
            let name = drop.name.name.as_str();
            let tables = catalog
                .keyspace(&keyspace)
                .map(|found| found.tables.values());
            let indexed = tables.into_iter().flatten().find(|table| {
                let mut indexes = table.indexes.iter();
                indexes.any(|index| index.name == name)
            });
            // What is not there is refused by the change itself.
            indexed.map_or(Ok(()), |table| check(Permission::Alter, resource(table)))
        }
        Tree::AlterView(alter) => {
            base_of(&alter.view).map_or(Ok(()), |base| check(Permission::Alter, resource(base)))
        }
        Tree::DropView(drop) => {
            base_of(&drop.view).map_or(Ok(()), |base| check(Permission::Alter, resource(base)))
        }
        // The base stands where the view does, whatever keyspace the session is in.
        Tree::CreateView(create) => check(
            Permission::Alter,
            Resource::Table(keyspace_of(&create.view), create.table.name.as_str().into()),
        ),
        Tree::CreateFunction(create) => check(Permission::Create, functions(&create.name)),
        Tree::CreateAggregate(create) => check(Permission::Create, functions(&create.name)),
        Tree::CreateTrigger(_) => superuser(
            authority,
            asker,
            "Only superusers are allowed to perform CREATE TRIGGER queries",
        ),
        // Cassandra's spelling.
        Tree::DropTrigger(_) => superuser(
            authority,
            asker,
            "Only superusers are allowed to perfrom DROP TRIGGER queries",
        ),
        // There are none: the change itself says so.
        Tree::DropFunction(_) | Tree::DropAggregate(_) => Ok(()),
        // Each named, so that a new statement must be decided on here.
        Tree::Select(_)
        | Tree::Insert(_)
        | Tree::Update(_)
        | Tree::Delete(_)
        | Tree::Batch(_)
        | Tree::Use(_)
        | Tree::Truncate(_)
        | Tree::CreateRole(_)
        | Tree::AlterRole(_)
        | Tree::DropRole(_)
        | Tree::CreateUser(_)
        | Tree::AlterUser(_)
        | Tree::DropUser(_)
        | Tree::AddIdentity(_)
        | Tree::DropIdentity(_)
        | Tree::Grant(_)
        | Tree::Revoke(_)
        | Tree::GrantRole(_)
        | Tree::RevokeRole(_)
        | Tree::ListPermissions(_)
        | Tree::ListRoles(_)
        | Tree::ListUsers
        | Tree::Describe(_) => Ok(()),
    }
}

/// Whether nobody may do this: to tables of Cassandra's own that every node has the same of.
fn is_fixed(permission: Permission, resource: &Resource) -> bool {
    match resource {
        Resource::Keyspace(keyspace) => {
            permission == Permission::Drop && REPLICATED.contains(&keyspace.as_str())
        }
        Resource::AllTables(keyspace) | Resource::Table(keyspace, _) => {
            permission != Permission::Select && REPLICATED.contains(&keyspace.as_str())
        }
        _ => false,
    }
}

fn superuser(authority: &Authority, asker: &Asker, message: &str) -> CqlResult<()> {
    match authority.is_super(asker) {
        true => Ok(()),
        false => Err(CqlError::unauthorized(message)),
    }
}
