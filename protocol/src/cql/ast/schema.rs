//! Keyspaces, types, indexes, views, functions, aggregates and triggers, and the `WITH name = value` they share.
//! Tables have a file of their own.

use super::{
    Literal, Name, PrimaryKey, QualifiedName, Relation, Selection, TableOption, Term, Type,
};

/// `name = value` after WITH. Unquoted names are lower-case; `custom_properties` and `tags` are so even when quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: Name,
    pub value: PropertyValue,
}

/// A map of properties in the order it was written. No key comes twice.
pub type PropertyMap = Vec<(Literal, PropertyValue)>;

#[derive(Debug, Clone, PartialEq)]
pub enum PropertyValue {
    Literal(Literal),
    /// An unreserved keyword standing for itself, in lower case.
    Word(String),
    /// `{'k': 'v'}`; may be empty. Values may be maps again, as `custom_properties` needs.
    Map(PropertyMap),
}

impl PropertyValue {
    /// The value as text: strings without quotes, numbers and words as written. `None` for a map.
    pub fn text(&self) -> Option<String> {
        match self {
            PropertyValue::Literal(literal) => Some(literal.raw_text()),
            PropertyValue::Word(word) => Some(word.clone()),
            PropertyValue::Map(_) => None,
        }
    }

    pub fn map(&self) -> Option<&PropertyMap> {
        match self {
            PropertyValue::Map(map) => Some(map),
            PropertyValue::Literal(_) | PropertyValue::Word(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateKeyspace {
    pub if_not_exists: bool,
    pub keyspace: Name,
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterKeyspace {
    pub if_exists: bool,
    pub keyspace: Name,
    pub action: KeyspaceAction,
}

#[derive(Debug, Clone, PartialEq)]
pub enum KeyspaceAction {
    With(Vec<Property>),
    /// `ADD TAGS {...}` (Amazon Keyspaces)
    AddTags(PropertyMap),
    /// `DROP TAGS {...}` (Amazon Keyspaces)
    DropTags(PropertyMap),
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropKeyspace {
    pub if_exists: bool,
    pub keyspace: Name,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateType {
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub fields: Vec<(Name, Type)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterType {
    pub if_exists: bool,
    pub name: QualifiedName,
    pub action: AlterTypeAction,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AlterTypeAction {
    /// `ALTER field TYPE type`
    Alter { field: Name, to: Type },
    /// `ADD [IF NOT EXISTS] field type`
    Add {
        if_not_exists: bool,
        field: Name,
        of: Type,
    },
    /// `RENAME [IF EXISTS] a TO b [AND c TO d]`
    Rename {
        if_exists: bool,
        renames: Vec<(Name, Name)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropType {
    pub if_exists: bool,
    pub name: QualifiedName,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateIndex {
    pub custom: bool,
    pub if_not_exists: bool,
    pub name: Option<Name>,
    pub table: QualifiedName,
    pub targets: Vec<IndexTarget>,
    /// `USING 'class'`
    pub class: Option<String>,
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct IndexTarget {
    pub kind: IndexTargetKind,
    pub column: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IndexTargetKind {
    /// `(c)`
    Simple,
    /// `(VALUES(c))`
    Values,
    /// `(KEYS(c))`
    Keys,
    /// `(ENTRIES(c))`
    Entries,
    /// `(FULL(c))`
    Full,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropIndex {
    pub if_exists: bool,
    pub name: QualifiedName,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    pub if_not_exists: bool,
    pub view: QualifiedName,
    pub selection: Selection,
    pub table: QualifiedName,
    pub relations: Vec<Relation>,
    pub primary_key: PrimaryKey,
    pub options: Vec<TableOption>,
    /// Bind markers have no place in it, which is said before anything else.
    pub has_markers: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropView {
    pub if_exists: bool,
    pub view: QualifiedName,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunction {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub arguments: Vec<(Name, Type)>,
    /// `CALLED ON NULL INPUT`, else `RETURNS NULL ON NULL INPUT`.
    pub called_on_null: bool,
    pub returns: Type,
    /// In lower case.
    pub language: String,
    pub body: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropFunction {
    pub if_exists: bool,
    pub name: QualifiedName,
    /// `None` if no parentheses were given.
    pub arguments: Option<Vec<Type>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateAggregate {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub arguments: Vec<Type>,
    /// `SFUNC f`
    pub state_function: Name,
    /// `STYPE t`
    pub state_type: Type,
    /// `FINALFUNC f`
    pub final_function: Option<Name>,
    /// `INITCOND term`
    pub initial: Option<Term>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropAggregate {
    pub if_exists: bool,
    pub name: QualifiedName,
    /// `None` if no parentheses were given.
    pub arguments: Option<Vec<Type>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTrigger {
    pub if_not_exists: bool,
    pub name: Name,
    pub table: QualifiedName,
    pub class: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropTrigger {
    pub if_exists: bool,
    pub name: Name,
    pub table: QualifiedName,
}
