//! Tree to text: `Display` for every node, such that `parse(print(tree)) == tree`.
//!
//! Keywords are upper-case, names are quoted only where they must be, and everything stands on one line. Passwords are
//! printed as they are: printed text is for parsing, not for logs.

mod modify;
mod role;
mod schema;
mod select;
mod table;
mod term;

use std::fmt::{self, Display, Formatter};

use super::ast::{Name, QualifiedName, Statement};
use super::token::Reach;

/// `a, b, c`
struct Commas<'a, T>(&'a [T]);

impl<T: Display> Display for Commas<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_separated(f, self.0, ", ", |item, f| item.fmt(f))
    }
}

/// Items with a separator between them.
fn write_separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            f.write_str(separator)?;
        }
        write(item, f)?;
    }
    Ok(())
}

/// A string literal.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

/// A name where fewer keywords may be names than elsewhere.
struct NameIn<'a>(&'a Name, Reach);

impl Display for NameIn<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.is_plain(self.1) {
            true => f.write_str(self.0.as_str()),
            false => self.0.write_quoted(f),
        }
    }
}

/// The name of a function, without a keyspace.
struct FunctionIdent<'a>(&'a Name);

impl Display for FunctionIdent<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            word @ ("token" | "count") => f.write_str(word),
            // `expr(` is a token of its own.
            "expr" => self.0.write_quoted(f),
            _ => NameIn(self.0, Reach::Function).fmt(f),
        }
    }
}

/// The name of a function.
struct FunctionName<'a>(&'a QualifiedName);

impl Display for FunctionName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.0.keyspace {
            write!(f, "{keyspace}.")?;
        }
        FunctionIdent(&self.0.name).fmt(f)
    }
}

/// The name of a user-defined type.
struct TypeName<'a>(&'a QualifiedName);

impl Display for TypeName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.0.keyspace {
            write!(f, "{keyspace}.")?;
        }
        let reserved = super::parser::RESERVED_TYPE_NAMES.contains(&self.0.name.as_str());
        match reserved {
            true => self.0.name.write_quoted(f),
            false => NameIn(&self.0.name, Reach::Type).fmt(f),
        }
    }
}

/// Words that are written or not.
fn when(said: bool, words: &'static str) -> &'static str {
    if said { words } else { "" }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Select(statement) => statement.fmt(f),
            Statement::Insert(statement) => statement.fmt(f),
            Statement::Update(statement) => statement.fmt(f),
            Statement::Delete(statement) => statement.fmt(f),
            Statement::Batch(statement) => statement.fmt(f),
            Statement::Use(keyspace) => write!(f, "USE {keyspace}"),
            Statement::Truncate(table) => write!(f, "TRUNCATE TABLE {table}"),
            Statement::CreateKeyspace(statement) => statement.fmt(f),
            Statement::AlterKeyspace(statement) => statement.fmt(f),
            Statement::DropKeyspace(statement) => statement.fmt(f),
            Statement::CreateTable(statement) => statement.fmt(f),
            Statement::CopyTable(statement) => statement.fmt(f),
            Statement::AlterTable(statement) => statement.fmt(f),
            Statement::DropTable(statement) => statement.fmt(f),
            Statement::RestoreTable(statement) => statement.fmt(f),
            Statement::CreateType(statement) => statement.fmt(f),
            Statement::AlterType(statement) => statement.fmt(f),
            Statement::DropType(statement) => statement.fmt(f),
            Statement::CreateIndex(statement) => statement.fmt(f),
            Statement::DropIndex(statement) => statement.fmt(f),
            Statement::CreateView(statement) => statement.fmt(f),
            Statement::AlterView(statement) => statement.fmt(f),
            Statement::DropView(statement) => statement.fmt(f),
            Statement::CreateFunction(statement) => statement.fmt(f),
            Statement::DropFunction(statement) => statement.fmt(f),
            Statement::CreateAggregate(statement) => statement.fmt(f),
            Statement::DropAggregate(statement) => statement.fmt(f),
            Statement::CreateTrigger(statement) => statement.fmt(f),
            Statement::DropTrigger(statement) => statement.fmt(f),
            Statement::CreateRole(statement) => statement.fmt(f),
            Statement::AlterRole(statement) => statement.fmt(f),
            Statement::DropRole(statement) => statement.fmt(f),
            Statement::CreateUser(statement) => statement.fmt(f),
            Statement::AlterUser(statement) => statement.fmt(f),
            Statement::DropUser(statement) => statement.fmt(f),
            Statement::AddIdentity(statement) => statement.fmt(f),
            Statement::DropIdentity(statement) => statement.fmt(f),
            Statement::Grant(statement) => statement.fmt(f),
            Statement::Revoke(statement) => statement.fmt(f),
            Statement::GrantRole(statement) => statement.fmt(f),
            Statement::RevokeRole(statement) => statement.fmt(f),
            Statement::ListPermissions(statement) => statement.fmt(f),
            Statement::ListRoles(statement) => statement.fmt(f),
            Statement::ListUsers => f.write_str("LIST USERS"),
            Statement::Describe(statement) => statement.fmt(f),
        }
    }
}
