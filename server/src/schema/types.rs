//! Types as written become types with meaning: user-defined ones are looked up, and combinations that cannot be stored are
//! refused in Cassandra's words.

use std::sync::Arc;

use palladium_protocol::cql::ast::{NativeType, QualifiedName, Type};
use palladium_protocol::types::{CqlType, UserType};

use crate::error::{CqlError, CqlResult};

/// How a user-defined type is found: by keyspace and name.
pub type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<UserType>>;

/// The type that is meant by one written in a statement about `keyspace`.
pub fn resolve(written: &Type, keyspace: &str, lookup: Lookup<'_>) -> CqlResult<CqlType> {
    let ty = convert(written, keyspace, lookup)?;
    check_nesting(&ty)?;
    Ok(ty)
}

/// The same of a column that is there already: a user-defined type may have got fields since with which it could not be made.
pub fn resolve_stored(written: &Type, keyspace: &str, lookup: Lookup<'_>) -> CqlResult<CqlType> {
    convert(written, keyspace, lookup)
}

/// The type behind the name of a native one.
pub fn native(of: NativeType) -> CqlType {
    match of {
        NativeType::Ascii => CqlType::Ascii,
        NativeType::Bigint => CqlType::Bigint,
        NativeType::Blob => CqlType::Blob,
        NativeType::Boolean => CqlType::Boolean,
        NativeType::Counter => CqlType::Counter,
        NativeType::Date => CqlType::Date,
        NativeType::Decimal => CqlType::Decimal,
        NativeType::Double => CqlType::Double,
        NativeType::Duration => CqlType::Duration,
        NativeType::Float => CqlType::Float,
        NativeType::Inet => CqlType::Inet,
        NativeType::Int => CqlType::Int,
        NativeType::Smallint => CqlType::Smallint,
        NativeType::Text | NativeType::Varchar => CqlType::Text,
        NativeType::Time => CqlType::Time,
        NativeType::Timestamp => CqlType::Timestamp,
        NativeType::Timeuuid => CqlType::Timeuuid,
        NativeType::Tinyint => CqlType::Tinyint,
        NativeType::Uuid => CqlType::Uuid,
        NativeType::Varint => CqlType::Varint,
    }
}

fn convert(written: &Type, keyspace: &str, lookup: Lookup<'_>) -> CqlResult<CqlType> {
    let inner = |written: &Type| convert(written, keyspace, lookup).map(Arc::new);
    Ok(match written {
        Type::Native(of) => native(*of),
        Type::List(element) => CqlType::List(inner(element)?),
        Type::Set(element) => CqlType::Set(inner(element)?),
        Type::Map(key, value) => CqlType::Map(inner(key)?, inner(value)?),
        Type::Tuple(fields) => {
            let fields: CqlResult<Vec<CqlType>> = fields
                .iter()
                .map(|field| convert(field, keyspace, lookup).map(freeze))
                .collect();
            CqlType::Tuple(fields?.into())
        }
        Type::Vector(element, dimensions) => {
            if *dimensions < 1 {
                return Err(not_positive(*dimensions));
            }
            let dimensions = u16::try_from(*dimensions).map_err(|_| {
                CqlError::invalid(format!(
                    "vectors may have at most {} dimensions; given {dimensions}",
                    u16::MAX
                ))
            })?;
            CqlType::Vector(inner(element)?, dimensions)
        }
        Type::Frozen(inside) => {
            let ty = convert(inside, keyspace, lookup)?;
            if matches!(**inside, Type::Native(_)) {
                return Err(CqlError::invalid(format!(
                    "frozen<> is only allowed on collections, tuples, and user-defined types (got {ty})"
                )));
            }
            freeze(ty)
        }
        Type::User(name) => CqlType::Udt(find(name, keyspace, lookup)?),
        Type::Custom(class) => CqlType::of_class(class).map_err(CqlError::syntax)?,
    })
}

/// A written type as Cassandra repeats it: user-defined types with their keyspace, where it was found out by then, and what is frozen by its place says so.
/// No tuple does, and no vector, in which nothing is frozen by it either.
pub fn repeated(written: &Type, keyspace: Option<&str>) -> String {
    spelled(written, keyspace, false)
}

fn spelled(written: &Type, keyspace: Option<&str>, frozen: bool) -> String {
    let own = |inner: &Type| spelled(inner, keyspace, frozen);
    let text = match written {
        Type::Native(native) => return native.name().to_owned(),
        Type::Frozen(inner) => return spelled(inner, keyspace, true),
        Type::Tuple(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| spelled(part, keyspace, true))
                .collect();
            return format!("tuple<{}>", parts.join(", "));
        }
        Type::Vector(element, dimensions) => {
            return format!(
                "vector<{}, {dimensions}>",
                spelled(element, keyspace, false)
            );
        }
        Type::Custom(class) => {
            let class = CqlType::from_class_name(class)
                .map_or_else(|_| class.clone(), |ty| ty.class_name());
            return format!("'{class}'");
        }
        Type::List(element) => format!("list<{}>", own(element)),
        Type::Set(element) => format!("set<{}>", own(element)),
        Type::Map(key, value) => format!("map<{}, {}>", own(key), own(value)),
        Type::User(name) => {
            let of = name.keyspace.as_ref().map(|of| of.as_str()).or(keyspace);
            let of = of.map_or_else(String::new, |of| format!("{of}."));
            format!("{of}{}", name.name.as_str())
        }
    };
    match frozen {
        true => format!("frozen<{text}>"),
        false => text,
    }
}

fn find(name: &QualifiedName, keyspace: &str, lookup: Lookup<'_>) -> CqlResult<Arc<UserType>> {
    let own = name
        .keyspace
        .as_ref()
        .map_or(keyspace, |keyspace| keyspace.as_str());
    if !keyspace.is_empty() && own != keyspace {
        return Err(CqlError::invalid(format!(
            "Statement on keyspace {keyspace} cannot refer to a user type in keyspace {own}; user types can only be used in the \
             keyspace they are defined in"
        )));
    }
    lookup(own, name.name.as_str())
        .ok_or_else(|| CqlError::invalid(format!("Unknown type {own}.{}", name.name.as_str())))
}

/// Frozen, and everything inside it too.
pub fn freeze(ty: CqlType) -> CqlType {
    let deep = |inner: Arc<CqlType>| Arc::new(freeze((*inner).clone()));
    match ty {
        CqlType::List(element) => CqlType::List(deep(element)).frozen(),
        CqlType::Set(element) => CqlType::Set(deep(element)).frozen(),
        CqlType::Map(key, value) => CqlType::Map(deep(key), deep(value)).frozen(),
        other => other.frozen(),
    }
}

fn check_nesting(ty: &CqlType) -> CqlResult<()> {
    let refuse = |what: &str| Err(CqlError::invalid(format!("{what}: {ty}")));
    match ty {
        CqlType::List(element) | CqlType::Set(element) => {
            check_element(ty, element)?;
            if matches!(ty, CqlType::Set(_)) && **element == CqlType::Duration {
                return refuse("Durations are not allowed inside sets");
            }
        }
        CqlType::Map(key, value) => {
            check_element(ty, key)?;
            check_element(ty, value)?;
            if **key == CqlType::Duration {
                return refuse("Durations are not allowed as map keys");
            }
        }
        CqlType::Tuple(fields) => {
            if fields.contains(&CqlType::Counter) {
                return refuse("Counters are not allowed inside tuples");
            }
            fields.iter().try_for_each(check_nesting)?;
        }
        // What is in a frozen user-defined type is frozen with it.
        CqlType::Frozen(inner) if matches!(**inner, CqlType::Udt(_)) => {}
        CqlType::Frozen(inner) => check_nesting(inner)?,
        CqlType::Vector(element, _) if **element == CqlType::Counter => {
            return refuse("Counters are not allowed inside vectors");
        }
        _ => {}
    }
    Ok(())
}

/// Whether a column of the type would have cells that have cells of their own: a user-defined type's fields. Elsewhere its values are whole.
pub fn has_cells_in_cells(ty: &CqlType) -> bool {
    let has_cells = |field: &CqlType| field.is_collection() && field.is_multi_cell();
    matches!(ty, CqlType::Udt(udt) if udt.fields.iter().any(|(_, field)| has_cells(field)))
}

fn check_element(outer: &CqlType, element: &CqlType) -> CqlResult<()> {
    match element {
        CqlType::Counter => Err(CqlError::invalid(format!(
            "Counters are not allowed inside collections: {outer}"
        ))),
        CqlType::Udt(_) => Err(CqlError::invalid(format!(
            "Non-frozen UDTs are not allowed inside collections: {outer}"
        ))),
        _ if element.is_multi_cell() => Err(CqlError::invalid(format!(
            "Non-frozen collections are not allowed inside collections: {outer}"
        ))),
        _ => check_nesting(element),
    }
}

/// "Unknown field 'x' in value of user defined type u"
pub fn unknown_field(name: &str, udt: &UserType) -> CqlError {
    CqlError::invalid(format!(
        "Unknown field '{name}' in value of user defined type {}",
        udt.name
    ))
}

/// What is said of a vector that has no dimensions, or fewer.
pub fn not_positive(dimensions: impl std::fmt::Display) -> CqlError {
    CqlError::invalid(format!(
        "vectors may only have positive dimensions; given {dimensions}"
    ))
}
