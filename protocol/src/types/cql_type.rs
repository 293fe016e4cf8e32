//! `CqlType`, and how CQL spells it.
//!
//! Types are shared, immutable trees: cloning one copies a pointer at most. Frozen is a node of its own, because a schema and
//! DESCRIBE must tell `list<int>` from `frozen<list<int>>`; so is the reversed order of a clustering column, which no client ever
//! sees. Both vanish on the wire.

use std::fmt;
use std::sync::Arc;

use crate::cql::ast::Name;
use crate::limits::TYPE_TREE_DEPTH_MAX;

/// Bytes of the longest name of a class, about.
const TYPE_SPELLED_BYTES: usize = 64;

/// A CQL type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CqlType {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    /// `EmptyType`: a column that never holds a value.
    Empty,
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
    Varint,
    List(Arc<CqlType>),
    Set(Arc<CqlType>),
    Map(Arc<CqlType>, Arc<CqlType>),
    Tuple(Arc<[CqlType]>),
    Udt(Arc<UserType>),
    Vector(Arc<CqlType>, u16),
    Frozen(Arc<CqlType>),
    /// Descending clustering order.
    Reversed(Arc<CqlType>),
    /// A Java class name we have no meaning for: its bytes are opaque.
    Custom(Arc<str>),
}

/// A user-defined type: fields in the order of their declaration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserType {
    pub keyspace: String,
    pub name: String,
    pub fields: Vec<(String, CqlType)>,
}

impl CqlType {
    /// The types that have no parameters, in the order of their names.
    pub const NATIVE: [CqlType; 20] = [
        Self::Ascii,
        Self::Bigint,
        Self::Blob,
        Self::Boolean,
        Self::Counter,
        Self::Date,
        Self::Decimal,
        Self::Double,
        Self::Duration,
        Self::Float,
        Self::Inet,
        Self::Int,
        Self::Smallint,
        Self::Text,
        Self::Time,
        Self::Timestamp,
        Self::Timeuuid,
        Self::Tinyint,
        Self::Uuid,
        Self::Varint,
    ];

    pub fn list(element: CqlType) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn set(element: CqlType) -> Self {
        Self::Set(Arc::new(element))
    }

    pub fn map(key: CqlType, value: CqlType) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub fn tuple(fields: impl IntoIterator<Item = CqlType>) -> Self {
        Self::Tuple(fields.into_iter().collect())
    }

    pub fn vector(element: CqlType, dimensions: u16) -> Self {
        Self::Vector(Arc::new(element), dimensions)
    }

    /// About how many bytes it takes to spell the type out with all that it is made of, in the longest spelling there is; None: more than `bytes_max`, or the type is
    /// deeper than [`TYPE_TREE_DEPTH_MAX`]. Looks at no more than it takes to know that: a type that names another one ten times, which does the same, is soon
    /// larger than any memory.
    pub fn spelled_bytes(&self, bytes_max: usize) -> Option<usize> {
        let mut left = bytes_max;
        self.spell(&mut left, TYPE_TREE_DEPTH_MAX)?;
        Some(bytes_max - left)
    }

    fn spell(&self, left: &mut usize, levels: usize) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        // Names may be spelled in hex.
        let mut take = |name: &str| {
            *left = left.checked_sub(TYPE_SPELLED_BYTES + 2 * name.len())?;
            Some(())
        };
        match self {
            Self::Udt(udt) => {
                take(&udt.name)?;
                for (field, ty) in &udt.fields {
                    *left = left.checked_sub(2 * field.len())?;
                    ty.spell(left, levels)?;
                }
                Some(())
            }
            Self::Custom(class) => take(class),
            Self::Tuple(fields) => {
                take("")?;
                fields.iter().try_for_each(|ty| ty.spell(left, levels))
            }
            Self::Map(key, value) => {
                take("")?;
                key.spell(left, levels)?;
                value.spell(left, levels)
            }
            Self::List(inner)
            | Self::Set(inner)
            | Self::Vector(inner, _)
            | Self::Frozen(inner)
            | Self::Reversed(inner) => {
                take("")?;
                inner.spell(left, levels)
            }
            _ => take(""),
        }
    }

    /// Frozen, unless freezing would say nothing: natives, tuples and vectors are frozen as they are.
    pub fn frozen(self) -> Self {
        match self {
            Self::List(_) | Self::Set(_) | Self::Map(..) | Self::Udt(_) => {
                Self::Frozen(Arc::new(self))
            }
            other => other,
        }
    }

    pub fn reversed(self) -> Self {
        match self {
            Self::Reversed(_) => self,
            other => Self::Reversed(Arc::new(other)),
        }
    }

    /// The native type of that CQL name, case aside; `varchar` is `text`.
    pub fn native(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("varchar") {
            return Some(Self::Text);
        }
        Self::NATIVE
            .iter()
            .find(|ty| {
                ty.native_name()
                    .is_some_and(|own| own.eq_ignore_ascii_case(name))
            })
            .cloned()
    }

    pub fn native_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Ascii => "ascii",
            Self::Bigint => "bigint",
            Self::Blob => "blob",
            Self::Boolean => "boolean",
            Self::Counter => "counter",
            Self::Date => "date",
            Self::Decimal => "decimal",
            Self::Double => "double",
            Self::Duration => "duration",
            Self::Empty => "empty",
            Self::Float => "float",
            Self::Inet => "inet",
            Self::Int => "int",
            Self::Smallint => "smallint",
            Self::Text => "text",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timeuuid => "timeuuid",
            Self::Tinyint => "tinyint",
            Self::Uuid => "uuid",
            Self::Varint => "varint",
            _ => return None,
        })
    }

    /// The type without frozen and reversed around it: what its bytes are.
    #[inline]
    pub fn bare(&self) -> &CqlType {
        let mut ty = self;
        while let Self::Frozen(inner) | Self::Reversed(inner) = ty {
            ty = inner;
        }
        ty
    }

    pub fn is_frozen(&self) -> bool {
        match self {
            Self::Reversed(inner) => inner.is_frozen(),
            Self::List(_) | Self::Set(_) | Self::Map(..) | Self::Udt(_) => false,
            _ => true,
        }
    }

    pub fn is_reversed(&self) -> bool {
        matches!(self, Self::Reversed(_))
    }

    pub fn is_collection(&self) -> bool {
        matches!(self.bare(), Self::List(_) | Self::Set(_) | Self::Map(..))
    }

    /// Stored as many cells, each with its own timestamp: a collection or user-defined type that is not frozen.
    pub fn is_multi_cell(&self) -> bool {
        !self.is_frozen()
    }

    pub fn is_counter(&self) -> bool {
        matches!(self.bare(), Self::Counter)
    }

    /// Whether no bytes at all are null: a type whose values all have some.
    pub fn is_null_without_bytes(&self) -> bool {
        use CqlType::*;
        matches!(
            self.bare(),
            Bigint
                | Boolean
                | Counter
                | Date
                | Decimal
                | Double
                | Duration
                | Float
                | Inet
                | Int
                | Smallint
                | Time
                | Timestamp
                | Timeuuid
                | Tinyint
                | Uuid
                | Varint
        )
    }

    /// Bytes of every value, for types whose values all have one length. Decides how a vector stores its elements; smallint,
    /// tinyint, date and time count as variable there, as in Cassandra.
    pub fn fixed_bytes(&self) -> Option<usize> {
        match self.bare() {
            Self::Boolean => Some(1),
            Self::Int | Self::Float => Some(4),
            Self::Bigint | Self::Counter | Self::Double | Self::Timestamp => Some(8),
            Self::Uuid | Self::Timeuuid => Some(16),
            Self::Empty => Some(0),
            Self::Vector(element, dimensions) => element
                .fixed_bytes()
                .map(|bytes| bytes * usize::from(*dimensions)),
            _ => None,
        }
    }
}

/// As Cassandra's `asCQL3Type` prints it: `map<text, frozen<list<int>>>`. A tuple is always frozen and says so.
impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.native_name() {
            return f.write_str(name);
        }
        match self {
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Set(element) => write!(f, "set<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Vector(element, dimensions) => write!(f, "vector<{element}, {dimensions}>"),
            Self::Udt(udt) => Name::exact(udt.name.as_str()).fmt(f),
            Self::Custom(class) => write!(f, "'{}'", class.replace('\'', "''")),
            Self::Reversed(inner) => inner.fmt(f),
            Self::Frozen(inner) if inner.is_frozen() => inner.fmt(f),
            Self::Frozen(inner) => write!(f, "frozen<{inner}>"),
            Self::Tuple(fields) => {
                f.write_str("frozen<tuple<")?;
                for (place, field) in fields.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{field}")?;
                }
                f.write_str(">>")
            }
            native => unreachable!("{native:?} has a native name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_spelled_as_cassandra_spells_them() {
        let udt = CqlType::Udt(Arc::new(UserType {
            keyspace: "ks".into(),
            name: "Address".into(),
            fields: vec![("street".into(), CqlType::Text)],
        }));
        let spelled = [
            (CqlType::list(CqlType::Int), "list<int>"),
            (CqlType::list(CqlType::Int).frozen(), "frozen<list<int>>"),
            (
                CqlType::map(CqlType::Text, CqlType::set(CqlType::Uuid).frozen()),
                "map<text, frozen<set<uuid>>>",
            ),
            (
                CqlType::tuple([CqlType::Int, CqlType::Text]),
                "frozen<tuple<int, text>>",
            ),
            (
                CqlType::Frozen(Arc::new(CqlType::tuple([CqlType::Int]))),
                "frozen<tuple<int>>",
            ),
            (CqlType::vector(CqlType::Float, 3), "vector<float, 3>"),
            (udt.clone(), "\"Address\""),
            (udt.frozen(), "frozen<\"Address\">"),
            (CqlType::Timestamp.reversed(), "timestamp"),
            (CqlType::Custom("com.example.T".into()), "'com.example.T'"),
        ];
        for (ty, text) in spelled {
            assert_eq!(ty.to_string(), text);
        }
    }

    #[test]
    fn every_native_name_finds_its_type() {
        for ty in CqlType::NATIVE {
            assert_eq!(CqlType::native(&ty.to_string().to_uppercase()), Some(ty));
        }
        assert_eq!(CqlType::native("VARCHAR"), Some(CqlType::Text));
        assert_eq!(CqlType::native("list"), None);
    }
}
