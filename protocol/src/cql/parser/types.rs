//! Types.

use super::{Keyword, Kind, Parser, Reach, Result, Trouble};
use crate::cql::ast::{NativeType, QualifiedName, Type};

/// Names no user-defined type may have unquoted, because they may become types of CQL.
pub(in crate::cql) const RESERVED_TYPE_NAMES: [&str; 7] = [
    "byte",
    "complex",
    "enum",
    "date",
    "interval",
    "macaddr",
    "bitstring",
];

/// The native type a keyword names.
pub(super) fn native(keyword: Keyword) -> Option<NativeType> {
    Some(match keyword {
        Keyword::Ascii => NativeType::Ascii,
        Keyword::Bigint => NativeType::Bigint,
        Keyword::Blob => NativeType::Blob,
        Keyword::Boolean => NativeType::Boolean,
        Keyword::Counter => NativeType::Counter,
        Keyword::Date => NativeType::Date,
        Keyword::Decimal => NativeType::Decimal,
        Keyword::Double => NativeType::Double,
        Keyword::Duration => NativeType::Duration,
        Keyword::Float => NativeType::Float,
        Keyword::Inet => NativeType::Inet,
        Keyword::Int => NativeType::Int,
        Keyword::Smallint => NativeType::Smallint,
        Keyword::Text => NativeType::Text,
        Keyword::Time => NativeType::Time,
        Keyword::Timestamp => NativeType::Timestamp,
        Keyword::Timeuuid => NativeType::Timeuuid,
        Keyword::Tinyint => NativeType::Tinyint,
        Keyword::Uuid => NativeType::Uuid,
        Keyword::Varchar => NativeType::Varchar,
        Keyword::Varint => NativeType::Varint,
        _ => return None,
    })
}

impl Parser<'_> {
    /// Any type.
    pub(super) fn comparator_type(&mut self) -> Result<Type> {
        self.enter()?;
        let of = match self.kind() {
            Kind::Keyword(keyword) => self.keyword_type(keyword)?,
            Kind::String => Type::Custom(self.string()?),
            _ => Type::User(self.user_type_name()?),
        };
        self.leave();
        Ok(of)
    }

    fn keyword_type(&mut self, keyword: Keyword) -> Result<Type> {
        let next = self.ahead(1);
        if next == Kind::Symbol(".") {
            return Ok(Type::User(self.user_type_name()?));
        }
        if let Some(native) = native(keyword) {
            self.advance();
            self.check_follow(|parser| parser.follows_type())?;
            return Ok(Type::Native(native));
        }
        let parametric = matches!(
            keyword,
            Keyword::Map | Keyword::List | Keyword::Tuple | Keyword::Vector | Keyword::Frozen
        );
        if keyword != Keyword::Set && !(parametric && next == Kind::Symbol("<")) {
            return Ok(Type::User(self.user_type_name()?));
        }
        self.advance();
        self.expect_symbol("<")?;
        let of = match keyword {
            Keyword::Set => Type::Set(Box::new(self.comparator_type()?)),
            Keyword::List => Type::List(Box::new(self.comparator_type()?)),
            Keyword::Map => {
                let key = self.comparator_type()?;
                self.expect_symbol(",")?;
                Type::Map(Box::new(key), Box::new(self.comparator_type()?))
            }
            Keyword::Tuple => Type::Tuple(self.list(Self::comparator_type)?),
            Keyword::Vector => {
                let element = self.comparator_type()?;
                self.expect_symbol(",")?;
                Type::Vector(Box::new(element), self.dimension()?)
            }
            _ => {
                let inner = self.comparator_type()?;
                self.expect_symbol(">")?;
                return frozen(inner);
            }
        };
        self.expect_symbol(">")?;
        Ok(of)
    }

    fn dimension(&mut self) -> Result<i32> {
        let token = self.expect(Kind::Integer)?;
        self.raw(token)
            .parse()
            .map_err(|_| Trouble::Sentence(format!("Invalid vector dimension {}", self.raw(token))))
    }

    pub(super) fn native_type(&mut self) -> Result<NativeType> {
        let Kind::Keyword(keyword) = self.kind() else {
            return self.no_viable();
        };
        match native(keyword) {
            Some(native) => {
                self.advance();
                Ok(native)
            }
            None => self.no_viable(),
        }
    }

    /// `[ks.]type`
    pub(super) fn user_type_name(&mut self) -> Result<QualifiedName> {
        if self.is_name() && self.ahead(1) == Kind::Symbol(".") {
            let keyspace = self.ident()?;
            self.expect_symbol(".")?;
            return Ok(QualifiedName::new(keyspace, self.type_ident()?));
        }
        Ok(QualifiedName::local(self.type_ident()?))
    }

    fn type_ident(&mut self) -> Result<crate::cql::ast::Name> {
        let kind = self.kind();
        if !Self::names(kind, Reach::Type) && kind != Kind::Keyword(Keyword::Key) {
            return self.no_viable();
        }
        let token = self.advance();
        let name = self.raw(token);
        if kind == Kind::Ident && RESERVED_TYPE_NAMES.contains(&name) {
            return Err(Trouble::Sentence(format!(
                "Invalid (reserved) user type name {name}"
            )));
        }
        Ok(self.name_of(token))
    }
}

fn frozen(inner: Type) -> Result<Type> {
    if let Type::Native(_) | Type::Custom(_) = inner {
        return Err(Trouble::Sentence(format!(
            "frozen<> is only allowed on collections, tuples, and user-defined types (got {inner})"
        )));
    }
    Ok(Type::Frozen(Box::new(inner)))
}
