//! Types as Cassandra's Java class names: `org.apache.cassandra.db.marshal.MapType(…UTF8Type,…Int32Type)`.
//!
//! They travel in result metadata where the protocol has no option id for a type, and users may write them in CQL. Names of
//! user-defined types and of their fields are in hexadecimal. A class we do not know becomes `Custom`.

use std::fmt::Write;
use std::sync::Arc;

use super::cql_type::{CqlType, UserType};
use crate::error::Malformed;
use crate::limits::{TYPE_DEPTH_MAX, TYPE_FIELDS_MAX, VECTOR_DIMENSIONS_MAX};

const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

const NATIVE_CLASSES: [(CqlType, &str); 21] = [
    (CqlType::Ascii, "AsciiType"),
    (CqlType::Bigint, "LongType"),
    (CqlType::Blob, "BytesType"),
    (CqlType::Boolean, "BooleanType"),
    (CqlType::Counter, "CounterColumnType"),
    (CqlType::Date, "SimpleDateType"),
    (CqlType::Decimal, "DecimalType"),
    (CqlType::Double, "DoubleType"),
    (CqlType::Duration, "DurationType"),
    (CqlType::Empty, "EmptyType"),
    (CqlType::Float, "FloatType"),
    (CqlType::Inet, "InetAddressType"),
    (CqlType::Int, "Int32Type"),
    (CqlType::Smallint, "ShortType"),
    (CqlType::Text, "UTF8Type"),
    (CqlType::Time, "TimeType"),
    (CqlType::Timestamp, "TimestampType"),
    (CqlType::Timeuuid, "TimeUUIDType"),
    (CqlType::Tinyint, "ByteType"),
    (CqlType::Uuid, "UUIDType"),
    (CqlType::Varint, "IntegerType"),
];

/// Classes of Cassandra that have no name in CQL; their values are bytes here.
const OPAQUE: [&str; 5] = [
    "CompositeType",
    "DynamicCompositeType",
    "LegacyTimeUUIDType",
    "LexicalUUIDType",
    "PartitionerDefinedOrder",
];

/// Classes that are nothing without parameters.
const PARAMETRIC: [&str; 8] = [
    "FrozenType",
    "ListType",
    "MapType",
    "ReversedType",
    "SetType",
    "TupleType",
    "UserType",
    "VectorType",
];

impl CqlType {
    /// The package of Cassandra's own types.
    pub const PACKAGE: &str = PACKAGE;

    /// The type that a text names by its class, as it stands in a statement. If Cassandra has none, its words for what is wrong.
    pub fn of_class(text: &str) -> Result<Self, String> {
        let wrong = match Self::from_class_name(text) {
            Ok(ty) if ty.has_known_classes() => return Ok(ty),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let name = ClassNameParser { rest: text }.identifier();
        let class = name.strip_prefix(PACKAGE).unwrap_or(name);
        // A name without a package is one of Cassandra's own.
        let package = if name.contains('.') { "" } else { PACKAGE };
        let is_known =
            OPAQUE.contains(&class) || NATIVE_CLASSES.iter().any(|(_, own)| *own == class);
        let what = match wrong {
            _ if PARAMETRIC.contains(&class) => {
                format!("Invalid definition for comparator {PACKAGE}{class}.")
            }
            Some(error) if is_known => error.to_string(),
            _ => format!("Unable to find abstract-type class '{package}{name}'"),
        };
        Err(format!("Error setting type {text}: {what}"))
    }

    /// Whether Cassandra has all the classes that a type is made of.
    fn has_known_classes(&self) -> bool {
        match self.bare() {
            CqlType::Custom(class) => {
                let own = class.strip_prefix(PACKAGE).unwrap_or(class);
                OPAQUE.contains(&own.split('(').next().unwrap_or_default())
            }
            CqlType::List(element) | CqlType::Set(element) | CqlType::Vector(element, _) => {
                element.has_known_classes()
            }
            CqlType::Map(key, value) => key.has_known_classes() && value.has_known_classes(),
            CqlType::Tuple(fields) => fields.iter().all(CqlType::has_known_classes),
            _ => true,
        }
    }

    /// The full class name, as Cassandra prints it.
    pub fn class_name(&self) -> String {
        let mut name = String::new();
        self.put_class_name(&mut name, false);
        name
    }

    /// Of what is frozen Cassandra does not say of its parts that they are, too.
    fn put_class_name(&self, out: &mut String, inside_frozen: bool) {
        if let Some((_, class)) = NATIVE_CLASSES.iter().find(|(ty, _)| ty == self) {
            out.push_str(PACKAGE);
            out.push_str(class);
            return;
        }
        match self {
            Self::List(element) => put_generic(out, "ListType", [&**element], inside_frozen),
            Self::Set(element) => put_generic(out, "SetType", [&**element], inside_frozen),
            Self::Map(key, value) => {
                put_generic(out, "MapType", [&**key, &**value], inside_frozen);
            }
            Self::Tuple(fields) => put_generic(out, "TupleType", fields.iter(), true),
            Self::Reversed(inner) => put_generic(out, "ReversedType", [&**inner], false),
            // Cassandra freezes user types and vectors without a wrapper class of their own around vectors and tuples.
            Self::Frozen(inner) if inside_frozen || inner.is_frozen() => {
                inner.put_class_name(out, inside_frozen);
            }
            Self::Frozen(inner) => put_generic(out, "FrozenType", [&**inner], true),
            Self::Vector(element, dimensions) => {
                out.push_str(PACKAGE);
                out.push_str("VectorType(");
                element.put_class_name(out, inside_frozen);
                write!(out, " , {dimensions})").expect("a String takes everything");
            }
            Self::Udt(udt) => put_user_type(out, udt, inside_frozen),
            Self::Custom(class) => out.push_str(class),
            native => unreachable!("{native:?} stands in NATIVE_CLASSES"),
        }
    }

    /// The type of that class name; the package may be left out. As in Cassandra, a text that does not begin with a name is the class of bytes, and what
    /// stands behind the class is not looked at.
    pub fn from_class_name(name: &str) -> Result<Self, Malformed> {
        let mut parser = ClassNameParser { rest: name };
        if parser.identifier().is_empty() {
            return Ok(CqlType::Blob);
        }
        parser.rest = name;
        parser.parse(0)
    }
}

fn put_generic<'a>(
    out: &mut String,
    class: &str,
    parameters: impl IntoIterator<Item = &'a CqlType>,
    inside_frozen: bool,
) {
    out.push_str(PACKAGE);
    out.push_str(class);
    for (place, parameter) in parameters.into_iter().enumerate() {
        out.push(if place == 0 { '(' } else { ',' });
        parameter.put_class_name(out, inside_frozen);
    }
    out.push(')');
}

fn put_user_type(out: &mut String, udt: &UserType, inside_frozen: bool) {
    write!(out, "{PACKAGE}UserType({},{}", udt.keyspace, hex(&udt.name))
        .expect("a String takes everything");
    for (field, ty) in &udt.fields {
        write!(out, ",{}:", hex(field)).expect("a String takes everything");
        ty.put_class_name(out, inside_frozen);
    }
    out.push(')');
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

fn unhex(hex: &str) -> Result<String, Malformed> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits
        .filter(|digits| digits.len() % 2 == 0)
        .ok_or(SYNTAX)?;
    let bytes = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    String::from_utf8(bytes).map_err(|_| SYNTAX)
}

const SYNTAX: Malformed = Malformed::of("Syntax error parsing a type's class name");
const TOO_DEEP: Malformed = Malformed::of("A type is nested too deeply");

struct ClassNameParser<'a> {
    rest: &'a str,
}

impl<'a> ClassNameParser<'a> {
    fn parse(&mut self, depth: usize) -> Result<CqlType, Malformed> {
        if depth > TYPE_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        self.skip_blank();
        let start = self.rest;
        let name = self.identifier();
        if name.is_empty() {
            return Err(SYNTAX);
        }
        let class = name.strip_prefix(PACKAGE).unwrap_or(name);
        if let Some((ty, _)) = NATIVE_CLASSES.iter().find(|(_, own)| *own == class) {
            // As in Cassandra: what a type without parameters is given is not looked at.
            self.skip_parameters()?;
            return Ok(ty.clone());
        }
        match class {
            // The name that timestamps had before Cassandra 2.
            "DateType" => Ok(CqlType::Timestamp),
            "ListType" => self.one(depth).map(CqlType::list),
            "SetType" => self.one(depth).map(CqlType::set),
            "FrozenType" => self
                .one(depth)
                .map(|inner| CqlType::Frozen(Arc::new(inner))),
            "ReversedType" => self
                .one(depth)
                .map(|inner| CqlType::Reversed(Arc::new(inner))),
            "MapType" => {
                self.expect('(')?;
                let key = self.parse(depth + 1)?;
                self.accept(',');
                let value = self.parse(depth + 1)?;
                self.expect(')')?;
                Ok(CqlType::map(key, value))
            }
            "TupleType" => self.tuple(depth),
            "VectorType" => self.vector(depth),
            "UserType" => self.user_type(depth),
            _ => self.custom(start),
        }
    }

    fn one(&mut self, depth: usize) -> Result<CqlType, Malformed> {
        self.expect('(')?;
        let inner = self.parse(depth + 1)?;
        self.expect(')')?;
        Ok(inner)
    }

    fn tuple(&mut self, depth: usize) -> Result<CqlType, Malformed> {
        self.expect('(')?;
        let mut fields = vec![self.parse(depth + 1)?];
        while !self.accept(')') {
            self.accept(',');
            fields.push(self.parse(depth + 1)?);
        }
        check_fields(fields.len())?;
        Ok(CqlType::tuple(fields))
    }

    fn vector(&mut self, depth: usize) -> Result<CqlType, Malformed> {
        self.expect('(')?;
        let element = self.parse(depth + 1)?;
        self.accept(',');
        let dimensions: usize = self.identifier().parse().map_err(|_| SYNTAX)?;
        self.expect(')')?;
        if dimensions == 0 || dimensions > VECTOR_DIMENSIONS_MAX {
            return Err(Malformed::of("A vector's dimensions are out of range"));
        }
        Ok(CqlType::vector(element, dimensions as u16))
    }

    fn user_type(&mut self, depth: usize) -> Result<CqlType, Malformed> {
        self.expect('(')?;
        let keyspace = self.identifier().to_owned();
        self.accept(',');
        let name = unhex(self.identifier())?;
        let mut fields = Vec::new();
        while !self.accept(')') {
            self.accept(',');
            let field = unhex(self.identifier())?;
            self.expect(':')?;
            fields.push((field, self.parse(depth + 1)?));
        }
        check_fields(fields.len())?;
        Ok(CqlType::Udt(Arc::new(UserType {
            keyspace,
            name,
            fields,
        })))
    }

    /// An unknown class keeps its parameters as part of its name.
    fn custom(&mut self, start: &'a str) -> Result<CqlType, Malformed> {
        self.skip_parameters()?;
        let name = &start[..start.len() - self.rest.len()];
        Ok(CqlType::Custom(name.into()))
    }

    fn skip_parameters(&mut self) -> Result<(), Malformed> {
        if self.rest.starts_with('(') {
            let (mut open, mut deepest) = (0, 0);
            let end = self.rest.find(|c| {
                match c {
                    '(' => open += 1,
                    ')' => open -= 1,
                    _ => {}
                }
                deepest = deepest.max(open);
                open == 0
            });
            if deepest > TYPE_DEPTH_MAX {
                return Err(TOO_DEEP);
            }
            self.rest = &self.rest[end.ok_or(SYNTAX)? + 1..];
        }
        Ok(())
    }

    fn identifier(&mut self) -> &'a str {
        self.skip_blank();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-+._&".contains(c)))
            .unwrap_or(self.rest.len());
        let (identifier, rest) = self.rest.split_at(end);
        self.rest = rest;
        identifier
    }

    fn accept(&mut self, expected: char) -> bool {
        self.skip_blank();
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, expected: char) -> Result<(), Malformed> {
        if self.accept(expected) {
            Ok(())
        } else {
            Err(SYNTAX)
        }
    }

    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn check_fields(count: usize) -> Result<(), Malformed> {
    if count > TYPE_FIELDS_MAX {
        return Err(Malformed::of("A type has too many fields"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vectors_class_name_has_blanks_around_its_comma() {
        let ty = CqlType::vector(CqlType::Float, 3);
        assert_eq!(
            ty.class_name(),
            "org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)"
        );
    }

    #[test]
    fn brackets_of_a_class_that_nobody_knows_are_not_deeper_than_types() {
        let nested =
            |depth: usize| format!("CompositeType{}{}", "(a".repeat(depth), ")".repeat(depth));
        assert!(CqlType::from_class_name(&nested(TYPE_DEPTH_MAX)).is_ok());
        assert!(CqlType::from_class_name(&nested(TYPE_DEPTH_MAX + 1)).is_err());
        assert!(CqlType::from_class_name(&nested(100_000)).is_err());
    }

    #[test]
    fn a_user_types_names_are_in_hexadecimal() {
        let ty = CqlType::Udt(Arc::new(UserType {
            keyspace: "ks".into(),
            name: "ab".into(),
            fields: vec![("x".into(), CqlType::Int)],
        }));
        assert_eq!(
            ty.class_name(),
            "org.apache.cassandra.db.marshal.UserType(ks,6162,78:org.apache.cassandra.db.marshal.Int32Type)"
        );
    }

    #[test]
    fn what_is_in_a_frozen_type_is_not_said_to_be_frozen_once_more() {
        let map = CqlType::map(CqlType::Int, CqlType::Text).frozen();
        let ty = CqlType::vector(CqlType::list(map.clone()).frozen(), 1);
        let short = |ty: &CqlType| ty.class_name().replace(PACKAGE, "");
        let listed = "VectorType(FrozenType(ListType(MapType(Int32Type,UTF8Type))) , 1)";
        assert_eq!(short(&ty), listed);
        let tuple = CqlType::tuple([map]);
        assert_eq!(short(&tuple), "TupleType(MapType(Int32Type,UTF8Type))");
    }

    #[test]
    fn a_class_name_reads_back() {
        let inner = CqlType::map(CqlType::Text, CqlType::vector(CqlType::Float, 2)).frozen();
        let udt = CqlType::Udt(Arc::new(UserType {
            keyspace: "ks".into(),
            name: "Ä".into(),
            fields: vec![("a".into(), inner), ("b".into(), CqlType::Duration)],
        }));
        for ty in [
            CqlType::tuple([CqlType::Text, CqlType::Varint]).reversed(),
            udt,
            CqlType::Custom("com.example.T(a,b(c))".into()),
        ] {
            assert_eq!(CqlType::from_class_name(&ty.class_name()), Ok(ty));
        }
        for int in [
            "Int32Type",
            "Int32Type()",
            "Int32Type(UTF8Type, X(Y))",
            " Int32Type x",
            "Int32Typeé",
            "Int32Type$",
            "Int32Type)",
            "Int32Type()x",
        ] {
            assert_eq!(CqlType::from_class_name(int), Ok(CqlType::Int), "{int}");
        }
        for bytes in ["", " ", "(", "é", "$"] {
            assert_eq!(
                CqlType::from_class_name(bytes),
                Ok(CqlType::Blob),
                "{bytes}"
            );
        }
    }

    #[test]
    fn what_is_no_class_is_told_in_cassandras_words() {
        for (text, words) in [
            ("nope", "Unable to find abstract-type class '…nope'"),
            ("aé", "Unable to find abstract-type class '…a'"),
            ("a&b", "Unable to find abstract-type class '…a&b'"),
            ("nope(x", "Unable to find abstract-type class '…nope'"),
            ("a.b(x)", "Unable to find abstract-type class 'a.b'"),
            ("ListType", "Invalid definition for comparator …ListType."),
            (
                "SetType(ListType(nope))",
                "Invalid definition for comparator …SetType.",
            ),
            (
                "ListType(Int32Type$)",
                "Invalid definition for comparator …ListType.",
            ),
            (
                "ListType(é)",
                "Invalid definition for comparator …ListType.",
            ),
            (
                "MapType(Int32Type,,Int32Type)",
                "Invalid definition for comparator …MapType.",
            ),
            (
                "VectorType(Int32Type,0)",
                "Invalid definition for comparator …VectorType.",
            ),
        ] {
            let words = format!("Error setting type {text}: {}", words.replace('…', PACKAGE));
            assert_eq!(CqlType::of_class(text), Err(words));
        }
        let pair = CqlType::tuple([CqlType::Int, CqlType::Int]);
        assert_eq!(
            CqlType::of_class("TupleType(Int32Type Int32Type)"),
            Ok(pair)
        );
    }

    #[test]
    fn a_type_nested_beyond_the_limit_is_refused() {
        let name = "ListType(".repeat(100_000) + "Int32Type";
        assert!(CqlType::from_class_name(&name).is_err());
        for broken in [
            "ListType",
            "ListType(Int32Type",
            "UserType(k,zz)",
            "X(",
            "VectorType(Int32Type,0)",
        ] {
            assert!(CqlType::from_class_name(broken).is_err(), "{broken}");
        }
    }
}
