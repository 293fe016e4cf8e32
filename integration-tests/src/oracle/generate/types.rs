//! The types that the generator knows, and how they are written in CQL.

use std::fmt;
use std::rc::Rc;

use crate::chance::Chance;

/// Every native type that a column may have; a counter is made by its own kind of table.
pub const NATIVES: [&str; 20] = [
    "ascii",
    "bigint",
    "blob",
    "boolean",
    "date",
    "decimal",
    "double",
    "duration",
    "float",
    "inet",
    "int",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timeuuid",
    "tinyint",
    "uuid",
    "varint",
    "varchar",
];

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Native(&'static str),
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    User(Rc<UserType>),
    Vector(Box<Type>, usize),
    Frozen(Box<Type>),
}

/// A user-defined type.
#[derive(Debug, PartialEq)]
pub struct UserType {
    pub name: String,
    pub fields: Vec<(String, Type)>,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Native(name) => f.write_str(name),
            Type::List(inner) => write!(f, "list<{inner}>"),
            Type::Set(inner) => write!(f, "set<{inner}>"),
            Type::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Type::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(Type::to_string).collect();
                write!(f, "tuple<{}>", parts.join(", "))
            }
            Type::User(user) => f.write_str(&user.name),
            Type::Vector(inner, length) => write!(f, "vector<{inner}, {length}>"),
            Type::Frozen(inner) => write!(f, "frozen<{inner}>"),
        }
    }
}

impl Type {
    /// What is inside of `frozen<...>`.
    pub fn bare(&self) -> &Type {
        match self {
            Type::Frozen(inner) => inner.bare(),
            other => other,
        }
    }

    /// Collections and user-defined types whose parts are cells of their own.
    pub fn is_multicell(&self) -> bool {
        matches!(
            self,
            Type::List(_) | Type::Set(_) | Type::Map(..) | Type::User(_)
        )
    }

    /// The same with the definitions that user-defined types have now.
    pub fn with_users(&self, users: &[Rc<UserType>]) -> Type {
        let inner = |ty: &Type| Box::new(ty.with_users(users));
        match self {
            Type::Native(name) => Type::Native(name),
            Type::List(ty) => Type::List(inner(ty)),
            Type::Set(ty) => Type::Set(inner(ty)),
            Type::Map(key, value) => Type::Map(inner(key), inner(value)),
            Type::Tuple(parts) => {
                Type::Tuple(parts.iter().map(|part| part.with_users(users)).collect())
            }
            Type::User(own) => {
                let now = users.iter().find(|user| user.name == own.name);
                Type::User(now.unwrap_or(own).clone())
            }
            Type::Vector(ty, length) => Type::Vector(inner(ty), *length),
            Type::Frozen(ty) => Type::Frozen(inner(ty)),
        }
    }

    /// Whether a user-defined type of this name is in it.
    pub fn names_user(&self, name: &str) -> bool {
        match self {
            Type::Native(_) => false,
            Type::List(ty) | Type::Set(ty) | Type::Vector(ty, _) | Type::Frozen(ty) => {
                ty.names_user(name)
            }
            Type::Map(key, value) => key.names_user(name) || value.names_user(name),
            Type::Tuple(parts) => parts.iter().any(|part| part.names_user(name)),
            Type::User(user) => {
                user.name == name || user.fields.iter().any(|(_, ty)| ty.names_user(name))
            }
        }
    }

    /// Whether vectors in it are made of a user-defined type of this name.
    pub fn has_vectors_of_user(&self, name: &str) -> bool {
        match self {
            Type::Native(_) => false,
            Type::Vector(ty, _) => ty.names_user(name),
            Type::List(ty) | Type::Set(ty) | Type::Frozen(ty) => ty.has_vectors_of_user(name),
            Type::Map(key, value) => {
                key.has_vectors_of_user(name) || value.has_vectors_of_user(name)
            }
            Type::Tuple(parts) => parts.iter().any(|part| part.has_vectors_of_user(name)),
            Type::User(user) => {
                let mut fields = user.fields.iter();
                fields.any(|(_, ty)| ty.has_vectors_of_user(name))
            }
        }
    }

    /// Whether arithmetic, sums and averages take it.
    pub fn is_number(&self) -> bool {
        matches!(self, Type::Native(name) if is_number(name))
    }

    /// Whether values of it have an order; a duration has none.
    pub fn has_order(&self) -> bool {
        match self {
            Type::Native(name) => *name != "duration",
            Type::List(inner) | Type::Set(inner) | Type::Frozen(inner) | Type::Vector(inner, _) => {
                inner.has_order()
            }
            Type::Map(key, value) => key.has_order() && value.has_order(),
            Type::Tuple(parts) => parts.iter().all(Type::has_order),
            Type::User(user) => user.fields.iter().all(|(_, ty)| ty.has_order()),
        }
    }
}

/// Whether a native type of this name is a number.
pub fn is_number(name: &str) -> bool {
    matches!(
        name,
        "bigint"
            | "counter"
            | "decimal"
            | "double"
            | "float"
            | "int"
            | "smallint"
            | "tinyint"
            | "varint"
    )
}

/// Ordinary types come more often than odd ones.
pub fn native(chance: &mut Chance) -> Type {
    const ORDINARY: [&str; 6] = ["int", "text", "bigint", "int", "timestamp", "double"];
    Type::Native(match chance.below(3) {
        0 => ORDINARY[chance.below(ORDINARY.len())],
        _ => NATIVES[chance.below(NATIVES.len())],
    })
}

/// A native type with an order.
fn ordered_native(chance: &mut Chance) -> Type {
    loop {
        let ty = native(chance);
        if ty.has_order() {
            return ty;
        }
    }
}

/// A type for a column of a primary key.
pub fn key(chance: &mut Chance, users: &[Rc<UserType>]) -> Type {
    match chance.below(8) {
        0 => loop {
            let ty = frozen(chance, users, 1);
            if ty.has_order() {
                return ty;
            }
        },
        _ => ordered_native(chance),
    }
}

/// A type for a column outside of the primary key.
pub fn regular(chance: &mut Chance, users: &[Rc<UserType>]) -> Type {
    match chance.below(10) {
        0..=4 => native(chance),
        5 => frozen(chance, users, 2),
        6 => Type::List(Box::new(element(chance, users, 1))),
        7 => Type::Set(Box::new(ordered(chance, users))),
        8 => Type::Map(
            Box::new(ordered(chance, users)),
            Box::new(element(chance, users, 1)),
        ),
        _ if !users.is_empty() => Type::User(users[chance.below(users.len())].clone()),
        _ => Type::Vector(Box::new(Type::Native("float")), 1 + chance.below(3)),
    }
}

fn ordered(chance: &mut Chance, users: &[Rc<UserType>]) -> Type {
    loop {
        let ty = element(chance, users, 1);
        if ty.has_order() {
            return ty;
        }
    }
}

/// What may stand in a collection: natives, and others frozen.
pub fn element(chance: &mut Chance, users: &[Rc<UserType>], depth: usize) -> Type {
    match chance.below(5) {
        0 if depth > 0 => frozen(chance, users, depth - 1),
        _ => native(chance),
    }
}

/// Something with parts, in one cell.
fn frozen(chance: &mut Chance, users: &[Rc<UserType>], depth: usize) -> Type {
    let inner = |chance: &mut Chance| Box::new(element(chance, users, depth));
    match chance.below(7) {
        0 => Type::Frozen(Box::new(Type::List(inner(chance)))),
        1 => Type::Frozen(Box::new(Type::Set(Box::new(ordered_native(chance))))),
        2 => Type::Frozen(Box::new(Type::Map(
            Box::new(ordered_native(chance)),
            inner(chance),
        ))),
        3 => Type::Vector(inner(chance), 1 + chance.below(3)),
        4 if !users.is_empty() => Type::Frozen(Box::new(Type::User(
            users[chance.below(users.len())].clone(),
        ))),
        _ => Type::Tuple((0..1 + chance.below(3)).map(|_| *inner(chance)).collect()),
    }
}
