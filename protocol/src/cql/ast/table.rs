//! CREATE, ALTER, DROP and RESTORE TABLE, and the parts that views share with tables.

use super::{Direction, Name, Property, PropertyMap, QualifiedName, Term, Type};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    pub if_not_exists: bool,
    pub table: QualifiedName,
    pub columns: Vec<ColumnDefinition>,
    /// The PRIMARY KEY clauses of the column list, beside those marked on a column. Exactly one of all is right;
    /// that is checked by the reader of the tree.
    pub primary_keys: Vec<PrimaryKey>,
    pub options: Vec<TableOption>,
}

/// `name type [STATIC] [MASKED WITH ...] [PRIMARY KEY]`
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDefinition {
    pub name: Name,
    pub of: Type,
    pub is_static: bool,
    pub mask: Option<Mask>,
    /// Marked PRIMARY KEY in place; never in ALTER TABLE ADD.
    pub primary_key: bool,
}

/// What readers without UNMASK get instead of the value.
#[derive(Debug, Clone, PartialEq)]
pub enum Mask {
    /// `MASKED WITH DEFAULT`, the same as `mask_default()`.
    Default,
    /// `MASKED WITH function(terms)`
    Function {
        name: QualifiedName,
        arguments: Vec<Term>,
    },
}

/// `PRIMARY KEY ((a, b), c, d)`
#[derive(Debug, Clone, PartialEq)]
pub struct PrimaryKey {
    /// Never empty.
    pub partition: Vec<Name>,
    pub clustering: Vec<Name>,
}

/// One item of WITH behind a table or view.
#[derive(Debug, Clone, PartialEq)]
pub enum TableOption {
    Property(Property),
    /// `COMPACT STORAGE`; tables only.
    CompactStorage,
    /// `CLUSTERING ORDER BY (c DESC)`
    ClusteringOrder(Vec<(Name, Direction)>),
    /// `INDEXES`, behind CREATE TABLE ... LIKE only: copy the indexes too.
    Indexes,
}

/// `CREATE TABLE [IF NOT EXISTS] t LIKE s [WITH ...]`
#[derive(Debug, Clone, PartialEq)]
pub struct CopyTable {
    pub if_not_exists: bool,
    pub target: QualifiedName,
    pub source: QualifiedName,
    pub options: Vec<TableOption>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterTable {
    pub if_exists: bool,
    pub table: QualifiedName,
    pub action: AlterTableAction,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AlterTableAction {
    /// `ALTER c TYPE type`
    AlterType {
        column: Name,
        to: Type,
    },
    /// `ALTER [IF EXISTS] c MASKED WITH ...`, or `DROP MASKED` if there is no mask.
    Mask {
        if_exists: bool,
        column: Name,
        mask: Option<Mask>,
    },
    /// `ADD [IF NOT EXISTS] c type` or `(c type, ...)`
    Add {
        if_not_exists: bool,
        columns: Vec<ColumnDefinition>,
    },
    /// `DROP [IF EXISTS] c` or `(c, ...)`, `[USING TIMESTAMP n]`
    Drop {
        if_exists: bool,
        columns: Vec<Name>,
        timestamp: Option<i64>,
    },
    /// `RENAME [IF EXISTS] a TO b [AND c TO d]`
    Rename {
        if_exists: bool,
        renames: Vec<(Name, Name)>,
    },
    DropCompactStorage,
    With(Vec<Property>),
    /// `ADD TAGS {...}` (Amazon Keyspaces)
    AddTags(PropertyMap),
    /// `DROP TAGS {...}` (Amazon Keyspaces)
    DropTags(PropertyMap),
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropTable {
    pub if_exists: bool,
    pub table: QualifiedName,
}

/// `RESTORE TABLE target FROM TABLE source [WITH restore_timestamp = '...' AND ...]`
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreTable {
    pub target: QualifiedName,
    pub source: QualifiedName,
    pub properties: Vec<Property>,
}

/// `ALTER MATERIALIZED VIEW v WITH ...`
#[derive(Debug, Clone, PartialEq)]
pub struct AlterView {
    pub if_exists: bool,
    pub view: QualifiedName,
    pub properties: Vec<Property>,
}
