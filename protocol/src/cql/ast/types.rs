//! Type syntax: what stands behind a column name in CREATE TABLE, not yet resolved against a keyspace's user types.

use super::QualifiedName;
use crate::types::CqlType;

/// A type as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Native(NativeType),
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    /// `vector<element, dimension>`; the dimension is checked for its meaning (at least one) by the reader of the tree.
    Vector(Box<Type>, i32),
    Frozen(Box<Type>),
    /// The name of a user-defined type.
    User(QualifiedName),
    /// `'org.example.Type'`: a marshal class.
    Custom(String),
}

impl Type {
    /// Whether the classes are known that it names; nothing else is looked up. If not, Cassandra's words for the one that is not.
    pub fn check_classes(&self) -> Result<(), String> {
        match self {
            Type::Custom(class) => CqlType::of_class(class).map(|_| ()),
            Type::List(inner) | Type::Set(inner) | Type::Vector(inner, _) | Type::Frozen(inner) => {
                inner.check_classes()
            }
            Type::Map(key, value) => key.check_classes().and_then(|()| value.check_classes()),
            Type::Tuple(fields) => fields.iter().try_for_each(Type::check_classes),
            Type::Native(_) | Type::User(_) => Ok(()),
        }
    }
}

/// The types every keyspace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NativeType {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Float,
    Inet,
    Int,
    Smallint,
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varchar,
    Varint,
}

impl NativeType {
    pub const ALL: [NativeType; 21] = [
        NativeType::Ascii,
        NativeType::Bigint,
        NativeType::Blob,
        NativeType::Boolean,
        NativeType::Counter,
        NativeType::Date,
        NativeType::Decimal,
        NativeType::Double,
        NativeType::Duration,
        NativeType::Float,
        NativeType::Inet,
        NativeType::Int,
        NativeType::Smallint,
        NativeType::Text,
        NativeType::Time,
        NativeType::Timestamp,
        NativeType::Timeuuid,
        NativeType::Tinyint,
        NativeType::Uuid,
        NativeType::Varchar,
        NativeType::Varint,
    ];

    /// The name in CQL, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            NativeType::Ascii => "ascii",
            NativeType::Bigint => "bigint",
            NativeType::Blob => "blob",
            NativeType::Boolean => "boolean",
            NativeType::Counter => "counter",
            NativeType::Date => "date",
            NativeType::Decimal => "decimal",
            NativeType::Double => "double",
            NativeType::Duration => "duration",
            NativeType::Float => "float",
            NativeType::Inet => "inet",
            NativeType::Int => "int",
            NativeType::Smallint => "smallint",
            NativeType::Text => "text",
            NativeType::Time => "time",
            NativeType::Timestamp => "timestamp",
            NativeType::Timeuuid => "timeuuid",
            NativeType::Tinyint => "tinyint",
            NativeType::Uuid => "uuid",
            NativeType::Varchar => "varchar",
            NativeType::Varint => "varint",
        }
    }
}
