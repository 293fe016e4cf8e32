//! The tree a statement becomes: plain owned data, in the words of the CQL grammar.
//!
//! The tree says what was written, not what it means: names are not looked up, literals have no types, and a wrong
//! combination that the grammar allows is still here. Meaning is given in the server, against a catalog.
//!
//! Read in this order: [`Name`] and [`QualifiedName`], then [`Type`], [`Term`] (everything that stands for a value),
//! [`Select`], the modifications ([`Insert`], [`Update`], [`Delete`], [`Batch`]), and last the schema, role and
//! DESCRIBE statements.
//!
//! What must hold: `parse(print(tree)) == tree` for every tree the parser makes. That is why lists keep the order of
//! the text (`USING TTL ? AND TIMESTAMP ?`), and why a bind marker knows its position.

mod describe;
mod duration;
mod modify;
mod name;
mod role;
mod schema;
mod select;
mod table;
mod term;
mod types;

pub use describe::{Describe, DescribeTarget};
pub use duration::Duration;
pub use modify::{
    Assignment, Attribute, Batch, BatchKind, ColumnCondition, Condition, ConditionTarget,
    ConditionTest, Delete, DeleteTarget, Insert, InsertValues, JsonDefault, JsonValue,
    Modification, Update, Using,
};
pub use name::{Name, QualifiedName};
pub use role::{
    AddIdentity, AlterRole, AlterUser, CreateRole, CreateUser, DropIdentity, DropRole, DropUser,
    FunctionSignature, Grant, GrantRole, ListPermissions, ListRoles, Password, Permission,
    Permissions, Resource, Revoke, RevokeRole, RoleOption, UserPassword,
};
pub use schema::{
    AlterKeyspace, AlterType, AlterTypeAction, CreateAggregate, CreateFunction, CreateIndex,
    CreateKeyspace, CreateTrigger, CreateType, CreateView, DropAggregate, DropFunction, DropIndex,
    DropKeyspace, DropTrigger, DropType, DropView, IndexTarget, IndexTargetKind, KeyspaceAction,
    Property, PropertyMap, PropertyValue,
};
pub use select::{
    CellFact, Direction, InValues, Operator, Ordering, OrderingKey, Relation, Select, Selectable,
    Selection, Selector,
};
pub use table::{
    AlterTable, AlterTableAction, AlterView, ColumnDefinition, CopyTable, CreateTable, DropTable,
    Mask, PrimaryKey, RestoreTable, TableOption,
};
pub use term::{Arithmetic, Literal, Marker, Term};
pub use types::{NativeType, Type};

/// One CQL statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Select(Select),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
    Batch(Batch),
    /// `USE ks`
    Use(Name),
    /// `TRUNCATE [TABLE] t`
    Truncate(QualifiedName),

    CreateKeyspace(CreateKeyspace),
    AlterKeyspace(AlterKeyspace),
    DropKeyspace(DropKeyspace),
    CreateTable(CreateTable),
    /// `CREATE TABLE t LIKE s`
    CopyTable(CopyTable),
    AlterTable(AlterTable),
    DropTable(DropTable),
    /// `RESTORE TABLE t FROM TABLE s` (Amazon Keyspaces)
    RestoreTable(RestoreTable),
    CreateType(CreateType),
    AlterType(AlterType),
    DropType(DropType),
    CreateIndex(CreateIndex),
    DropIndex(DropIndex),
    CreateView(CreateView),
    AlterView(AlterView),
    DropView(DropView),
    CreateFunction(CreateFunction),
    DropFunction(DropFunction),
    CreateAggregate(CreateAggregate),
    DropAggregate(DropAggregate),
    CreateTrigger(CreateTrigger),
    DropTrigger(DropTrigger),

    CreateRole(CreateRole),
    AlterRole(AlterRole),
    DropRole(DropRole),
    CreateUser(CreateUser),
    AlterUser(AlterUser),
    DropUser(DropUser),
    AddIdentity(AddIdentity),
    DropIdentity(DropIdentity),
    Grant(Grant),
    Revoke(Revoke),
    GrantRole(GrantRole),
    RevokeRole(RevokeRole),
    ListPermissions(ListPermissions),
    ListRoles(ListRoles),
    ListUsers,

    Describe(Describe),
}
