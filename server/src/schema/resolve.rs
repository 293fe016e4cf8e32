//! Types as written, against a catalog: what a column of a keyspace can be.
//!
//! Cassandra looks at the written type before it looks anything up, so `list<nope>` is told that its element is not frozen and
//! not that it is unknown. [`cql_type`] keeps that order; the looking up itself is `types`' business.

use std::sync::Arc;

use palladium_protocol::cql::ast::Type;
use palladium_protocol::limits::TYPE_SPELLED_BYTES_MAX;
use palladium_protocol::types::{CqlType, UserType};

use super::{Catalog, types};
use crate::error::{CqlError, CqlResult};

/// The type that is meant by one written in a statement about `keyspace`.
pub fn cql_type(catalog: &Catalog, keyspace: &str, written: &Type) -> CqlResult<CqlType> {
    check(written, false)?;
    let ty = types::resolve(written, keyspace, &|keyspace, name| {
        catalog.user_type(keyspace, name).cloned()
    })?;
    check_extent(&ty)?;
    check_user_types(catalog, keyspace, &ty)?;
    Ok(in_full(&ty))
}

/// A class may name any user-defined type; what is stored is the name alone, which has to stand for the same type at the next start.
fn check_user_types(catalog: &Catalog, keyspace: &str, ty: &CqlType) -> CqlResult<()> {
    let check = |ty: &CqlType| check_user_types(catalog, keyspace, ty);
    match ty.bare() {
        CqlType::List(inner) | CqlType::Set(inner) | CqlType::Vector(inner, _) => check(inner),
        CqlType::Map(key, value) => check(key).and_then(|()| check(value)),
        CqlType::Tuple(fields) => fields.iter().try_for_each(check),
        CqlType::Udt(udt) => {
            let own = catalog.user_type(keyspace, &udt.name);
            match own.is_some_and(|own| **own == **udt) {
                true => Ok(()),
                false => Err(CqlError::invalid(format!(
                    "Unknown type {}.{}",
                    udt.keyspace, udt.name
                ))),
            }
        }
        _ => Ok(()),
    }
}

/// The type of a column in a statement about `keyspace`. `place` goes behind what is said of one whose cells would have cells of their own.
pub fn column_type(
    catalog: &Catalog,
    keyspace: &str,
    written: &Type,
    place: &str,
) -> CqlResult<CqlType> {
    let ty = cql_type(catalog, keyspace, written)?;
    match types::has_cells_in_cells(&ty) {
        true => Err(CqlError::invalid(format!(
            "Non-frozen UDTs with nested non-frozen collections are not supported{place}"
        ))),
        false => Ok(ty),
    }
}

/// Refuses a type that is too deep or too large with all that it is made of. Every piece of code that follows it would run out of stack or of memory.
pub fn check_extent(ty: &CqlType) -> CqlResult<()> {
    match ty.spelled_bytes(TYPE_SPELLED_BYTES_MAX) {
        Some(_) => Ok(()),
        None => Err(CqlError::invalid(format!(
            "The type {ty} is too large, or nested too deeply, with the types that it is made of"
        ))),
    }
}

/// The type of a column as the schema at rest has it: as it was when the column was made, for its values stand on the disk in the order of that.
pub fn stored_type(catalog: &Catalog, keyspace: &str, written: &Type) -> CqlResult<CqlType> {
    types::resolve_stored(written, keyspace, &|keyspace, name| {
        catalog.user_type(keyspace, name).cloned()
    })
}

/// Whether a type is written as the class of what comes in reversed order; as a clustering column it runs DESC.
pub fn is_reversed(written: &Type) -> bool {
    match written {
        Type::Custom(class) => matches!(CqlType::from_class_name(class), Ok(CqlType::Reversed(_))),
        _ => false,
    }
}

/// The same type with its classes by their full names, and without a word on order: a column says that.
fn in_full(ty: &CqlType) -> CqlType {
    let part = |inner: &Arc<CqlType>| Arc::new(in_full(inner));
    match ty {
        CqlType::Reversed(inner) => in_full(inner),
        CqlType::List(element) => CqlType::List(part(element)),
        CqlType::Set(element) => CqlType::Set(part(element)),
        CqlType::Vector(element, dimensions) => CqlType::Vector(part(element), *dimensions),
        CqlType::Map(key, value) => CqlType::Map(part(key), part(value)),
        CqlType::Tuple(fields) => CqlType::Tuple(fields.iter().map(in_full).collect()),
        CqlType::Frozen(inner) => CqlType::Frozen(part(inner)),
        CqlType::Custom(class) => match class.strip_prefix(CqlType::PACKAGE).unwrap_or(class) {
            "LegacyTimeUUIDType" => CqlType::Timeuuid,
            _ => CqlType::Custom(full_class(class).into()),
        },
        other => other.clone(),
    }
}

/// `CompositeType(Int32Type)`, or with aliases `DynamicCompositeType(a=>Int32Type)`, with the package of each class.
fn full_class(class: &str) -> String {
    let (name, parameters) = match class.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')),
        None => (class, None),
    };
    let package = if name.contains('.') {
        ""
    } else {
        CqlType::PACKAGE
    };
    let Some(parameters) = parameters else {
        return format!("{package}{class}");
    };
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for one in parameters.chars() {
        match one {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(one);
        }
    }
    let full = |part: &String| {
        let (alias, class) = part
            .split_once("=>")
            .map_or(("", part.as_str()), |(alias, class)| (alias.trim(), class));
        let arrow = if alias.is_empty() { "" } else { "=>" };
        let class = CqlType::from_class_name(class)
            .map_or_else(|_| class.trim().to_owned(), |ty| in_full(&ty).class_name());
        format!("{alias}{arrow}{class}")
    };
    let parts: Vec<String> = parts.iter().map(full).collect();
    format!("{package}{name}({})", parts.join(","))
}

/// What a field of a user-defined type cannot be: a counter, or another user-defined type that is not frozen.
pub fn check_field(written: &Type) -> CqlResult<()> {
    match written {
        Type::Native(palladium_protocol::cql::ast::NativeType::Counter) => {
            Err(CqlError::invalid("A user type cannot contain counters"))
        }
        Type::User(_) => Err(CqlError::invalid(
            "A user type cannot contain non-frozen UDTs",
        )),
        _ => Ok(()),
    }
}

/// What can be said about a type without knowing what its names stand for.
pub fn check(written: &Type, frozen: bool) -> CqlResult<()> {
    let shown = || match frozen {
        true => types::repeated(&Type::Frozen(Box::new(written.clone())), None),
        false => types::repeated(written, None),
    };
    let is_counter = |part: &Type| {
        matches!(
            part,
            Type::Native(palladium_protocol::cql::ast::NativeType::Counter)
        )
    };
    let is_duration = |part: &Type| {
        matches!(
            part,
            Type::Native(palladium_protocol::cql::ast::NativeType::Duration)
        )
    };
    match written {
        Type::List(_) | Type::Set(_) | Type::Map(..) => {
            let parts: Vec<&Type> = match written {
                Type::List(element) | Type::Set(element) => vec![element],
                Type::Map(key, value) => vec![key, value],
                _ => Vec::new(),
            };
            if parts.iter().any(|part| is_counter(part)) {
                return Err(CqlError::invalid(format!(
                    "Counters are not allowed inside collections: {}",
                    shown()
                )));
            }
            match written {
                Type::Map(key, _) if is_duration(key) => {
                    return Err(CqlError::invalid(format!(
                        "Durations are not allowed as map keys: {}",
                        shown()
                    )));
                }
                Type::Set(element) if is_duration(element) => {
                    return Err(CqlError::invalid(format!(
                        "Durations are not allowed inside sets: {}",
                        shown()
                    )));
                }
                _ => {}
            }
            for part in parts {
                if !frozen {
                    check_part_is_frozen(written, part)?;
                }
                check(part, frozen)?;
            }
            Ok(())
        }
        Type::Tuple(parts) => {
            if parts.iter().any(is_counter) {
                return Err(CqlError::invalid("Counters are not allowed inside tuples"));
            }
            parts.iter().try_for_each(|part| check(part, true))
        }
        Type::Vector(element, _) => match is_counter(element) {
            true => Err(CqlError::invalid("Counters are not allowed inside vectors")),
            false => check(element, false),
        },
        Type::Frozen(inner) => check(inner, true),
        Type::Native(_) | Type::User(_) | Type::Custom(_) => Ok(()),
    }
}

fn check_part_is_frozen(whole: &Type, part: &Type) -> CqlResult<()> {
    let what = match part {
        Type::List(_) | Type::Set(_) | Type::Map(..) => "collections",
        Type::User(_) => "UDTs",
        _ => return Ok(()),
    };
    Err(CqlError::invalid(format!(
        "Non-frozen {what} are not allowed inside collections: {}",
        types::repeated(whole, None)
    )))
}

/// Whether values of the type hold durations, which have no order and so no place in a key. As in Cassandra a vector's do not count: they are in the order of
/// their bytes.
pub fn holds_durations(ty: &CqlType) -> bool {
    match ty.bare() {
        CqlType::Duration => true,
        CqlType::List(element) | CqlType::Set(element) => holds_durations(element),
        CqlType::Map(key, value) => holds_durations(key) || holds_durations(value),
        CqlType::Tuple(fields) => fields.iter().any(holds_durations),
        CqlType::Udt(udt) => udt.fields.iter().any(|(_, field)| holds_durations(field)),
        _ => false,
    }
}

/// Whether the user-defined type is somewhere in this one.
pub fn mentions(ty: &CqlType, keyspace: &str, name: &str) -> bool {
    match ty.bare() {
        CqlType::List(element) | CqlType::Set(element) | CqlType::Vector(element, _) => {
            mentions(element, keyspace, name)
        }
        CqlType::Map(key, value) => {
            mentions(key, keyspace, name) || mentions(value, keyspace, name)
        }
        CqlType::Tuple(fields) => fields.iter().any(|field| mentions(field, keyspace, name)),
        CqlType::Udt(udt) => {
            let itself = udt.keyspace == keyspace && udt.name == name;
            itself
                || udt
                    .fields
                    .iter()
                    .any(|(_, field)| mentions(field, keyspace, name))
        }
        _ => false,
    }
}

/// The same type, with the new definition of a user-defined type wherever the old one is.
pub fn with_user_type(ty: &CqlType, changed: &Arc<UserType>) -> CqlType {
    let part = |inner: &Arc<CqlType>| Arc::new(with_user_type(inner, changed));
    match ty {
        CqlType::List(element) => CqlType::List(part(element)),
        CqlType::Set(element) => CqlType::Set(part(element)),
        CqlType::Vector(element, dimensions) => CqlType::Vector(part(element), *dimensions),
        CqlType::Map(key, value) => CqlType::Map(part(key), part(value)),
        CqlType::Tuple(fields) => CqlType::Tuple(
            fields
                .iter()
                .map(|field| with_user_type(field, changed))
                .collect(),
        ),
        CqlType::Frozen(inner) => CqlType::Frozen(part(inner)),
        CqlType::Reversed(inner) => CqlType::Reversed(part(inner)),
        CqlType::Udt(udt) if udt.keyspace == changed.keyspace && udt.name == changed.name => {
            CqlType::Udt(changed.clone())
        }
        CqlType::Udt(udt) => CqlType::Udt(Arc::new(user_type_with(udt, changed))),
        other => other.clone(),
    }
}

/// The same type with tuples in the places of user-defined types, which can change or go while it stays: so it is kept of a column that was dropped. As in
/// Cassandra those in vectors stay what they are.
pub fn without_user_types(ty: &CqlType) -> CqlType {
    let part = |inner: &Arc<CqlType>| Arc::new(without_user_types(inner));
    match ty {
        CqlType::List(element) => CqlType::List(part(element)),
        CqlType::Set(element) => CqlType::Set(part(element)),
        CqlType::Map(key, value) => CqlType::Map(part(key), part(value)),
        CqlType::Tuple(fields) => CqlType::Tuple(fields.iter().map(without_user_types).collect()),
        CqlType::Frozen(inner) => without_user_types(inner).frozen(),
        CqlType::Udt(udt) => {
            let fields = udt.fields.iter();
            let fields = fields.map(|(_, field)| types::freeze(without_user_types(field)));
            CqlType::Tuple(fields.collect())
        }
        other => other.clone(),
    }
}

/// The same user-defined type, with the new definition of another one in its fields.
pub fn user_type_with(udt: &UserType, changed: &Arc<UserType>) -> UserType {
    UserType {
        keyspace: udt.keyspace.clone(),
        name: udt.name.clone(),
        fields: udt
            .fields
            .iter()
            .map(|(name, field)| (name.clone(), with_user_type(field, changed)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Keyspace, KeyspaceKind};
    use super::*;

    fn catalog() -> Catalog {
        let mut keyspace = Keyspace::new("ks", KeyspaceKind::User);
        for (name, fields) in [
            ("u", vec![("a".to_string(), CqlType::Int)]),
            ("w", vec![("l".to_string(), CqlType::list(CqlType::Int))]),
        ] {
            let udt = UserType {
                keyspace: "ks".into(),
                name: name.into(),
                fields,
            };
            keyspace.types.insert(name.into(), Arc::new(udt));
        }
        let mut catalog = Catalog::default();
        catalog.keyspaces.insert("ks".into(), Arc::new(keyspace));
        catalog
    }

    fn resolved(text: &str) -> Result<String, String> {
        let written = palladium_protocol::cql::parse_type(text).unwrap();
        cql_type(&catalog(), "ks", &written)
            .map(|ty| ty.to_string())
            .map_err(|error| error.message)
    }

    #[test]
    fn types_are_refused_in_cassandras_words() {
        for (text, message) in [
            (
                "list<list<int>>",
                "Non-frozen collections are not allowed inside collections: list<list<int>>",
            ),
            (
                "map<int, set<int>>",
                "Non-frozen collections are not allowed inside collections: map<int, set<int>>",
            ),
            (
                "list<nope>",
                "Non-frozen UDTs are not allowed inside collections: list<nope>",
            ),
            (
                "map<u, int>",
                "Non-frozen UDTs are not allowed inside collections: map<u, int>",
            ),
            (
                "set<counter>",
                "Counters are not allowed inside collections: set<counter>",
            ),
            (
                "frozen<list<counter>>",
                "Counters are not allowed inside collections: frozen<list<counter>>",
            ),
            (
                "tuple<int, counter>",
                "Counters are not allowed inside tuples",
            ),
            (
                "map<duration, int>",
                "Durations are not allowed as map keys: map<duration, int>",
            ),
            (
                "frozen<map<duration, int>>",
                "Durations are not allowed as map keys: frozen<map<duration, int>>",
            ),
            (
                "set<duration>",
                "Durations are not allowed inside sets: set<duration>",
            ),
            (
                "vector<int, 0>",
                "vectors may only have positive dimensions; given 0",
            ),
            ("nope", "Unknown type ks.nope"),
            ("frozen<nope>", "Unknown type ks.nope"),
            (
                "system.nope",
                "Statement on keyspace ks cannot refer to a user type in keyspace system; user types can only be used in the \
                 keyspace they are defined in",
            ),
            (
                "'nope.Class'",
                "Error setting type nope.Class: Unable to find abstract-type class 'nope.Class'",
            ),
        ] {
            assert_eq!(resolved(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn types_are_frozen_where_cassandra_freezes_them() {
        for (text, shown) in [
            ("frozen<list<list<int>>>", "frozen<list<frozen<list<int>>>>"),
            (
                "tuple<list<int>, u>",
                "frozen<tuple<frozen<list<int>>, frozen<u>>>",
            ),
            ("list<tuple<int, int>>", "list<frozen<tuple<int, int>>>"),
            (
                "map<text, frozen<map<int, int>>>",
                "map<text, frozen<map<int, int>>>",
            ),
            ("frozen<w>", "frozen<w>"),
            ("vector<vector<float, 2>, 3>", "vector<vector<float, 2>, 3>"),
            ("varchar", "text"),
            ("'Int32Type'", "int"),
            (
                "'LexicalUUIDType'",
                "'org.apache.cassandra.db.marshal.LexicalUUIDType'",
            ),
            (
                "'DynamicCompositeType(a=>Int32Type, b => CompositeType(UTF8Type))'",
                "'org.apache.cassandra.db.marshal.DynamicCompositeType(a=>org.apache.cassandra.db.marshal.Int32Type,\
                 b=>org.apache.cassandra.db.marshal.CompositeType(org.apache.cassandra.db.marshal.UTF8Type))'",
            ),
            ("'ReversedType(UTF8Type)'", "text"),
            ("list<'ReversedType(Int32Type)'>", "list<int>"),
            ("vector<list<int>, 2>", "vector<list<int>, 2>"),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn tuples_outlive_user_defined_types() {
        for (text, shown) in [
            ("frozen<u>", "frozen<tuple<int>>"),
            ("frozen<w>", "frozen<tuple<frozen<list<int>>>>"),
            ("map<frozen<u>, int>", "map<frozen<tuple<int>>, int>"),
            (
                "frozen<list<frozen<u>>>",
                "frozen<list<frozen<tuple<int>>>>",
            ),
            (
                "tuple<int, frozen<u>>",
                "frozen<tuple<int, frozen<tuple<int>>>>",
            ),
            ("vector<frozen<u>, 2>", "vector<frozen<u>, 2>"),
            ("list<int>", "list<int>"),
        ] {
            let written = palladium_protocol::cql::parse_type(text).unwrap();
            let ty = cql_type(&catalog(), "ks", &written).unwrap();
            assert_eq!(without_user_types(&ty).to_string(), shown, "{text}");
        }
    }
}
