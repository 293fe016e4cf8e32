//! The argument of a mask, as the value that it is: printed as a constant of CQL where it is kept and described, and as Cassandra's internal text where
//! `system_schema.column_masks` shows it.
//!
//! What must hold: a constant that is kept is read back as the same value: after a restart, and from what DESCRIBE shows. Where Cassandra's own text of a value
//! is not (a year beyond the fourth digit, a value of no bytes, a duration of nothing), the value is kept as its number or its bytes.

use bytes::Bytes;
use palladium_protocol::cql;
use palladium_protocol::cql::ast::{Name, Selectable, Selection, Statement};
use palladium_protocol::types::CqlType;

use crate::encode::Malformed;
use crate::encode::wire::{self, Elements, Fields};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze;
use crate::query::functions::text;

/// A value as a constant that is read back as this value.
pub(super) fn kept(ty: &CqlType, value: Option<&[u8]>) -> CqlResult<String> {
    let printed = constant(ty, value)?;
    match read_back(&printed, ty) {
        Ok(back) if back.as_deref() == value => Ok(printed),
        _ => Err(unkept(ty)),
    }
}

fn unkept(ty: &CqlType) -> CqlError {
    CqlError::invalid(format!(
        "The argument of a mask has a value of type {ty} that no constant stands for"
    ))
}

/// The value of a constant that was printed here, or by a server that kept it as it was written.
pub(super) fn read_back(printed: &str, ty: &CqlType) -> CqlResult<Option<Bytes>> {
    let broken = || CqlError::server("the argument of a mask cannot be read");
    let read = cql::parse_at_rest(&format!("SELECT f({printed}) FROM t"));
    let Ok(Statement::Select(select)) = read else {
        return Err(broken());
    };
    let Selection::Items(items) = &select.selection else {
        return Err(broken());
    };
    match items.first().map(|item| &item.expression) {
        Some(Selectable::Function { arguments, .. }) if arguments.len() == 1 => {
            analyze::constant(&arguments[0], ty)
        }
        _ => Err(broken()),
    }
}

/// A value as a constant of CQL.
fn constant(ty: &CqlType, value: Option<&[u8]>) -> CqlResult<String> {
    let Some(value) = value else {
        return Ok("null".into());
    };
    let all = |ty: &CqlType, parts: Vec<Option<&[u8]>>| -> CqlResult<Vec<String>> {
        parts.into_iter().map(|part| constant(ty, part)).collect()
    };
    Ok(match ty.bare() {
        CqlType::List(inner) => format!("[{}]", all(inner, elements(value)?)?.join(", ")),
        CqlType::Set(inner) => format!("{{{}}}", all(inner, elements(value)?)?.join(", ")),
        CqlType::Map(key, inner) => {
            let parts: Vec<Option<&[u8]>> = Elements::read_map(value)?.collect::<Result<_, _>>()?;
            let entries = parts.chunks(2).map(|entry| {
                let own = constant(inner, entry.get(1).copied().flatten())?;
                Ok(format!("{}: {own}", constant(key, entry[0])?))
            });
            format!("{{{}}}", entries.collect::<CqlResult<Vec<_>>>()?.join(", "))
        }
        CqlType::Vector(inner, dimensions) => {
            let parts = wire::vector_elements(inner, usize::from(*dimensions), value)?;
            let parts = parts.into_iter().map(Some).collect();
            format!("[{}]", all(inner, parts)?.join(", "))
        }
        CqlType::Tuple(types) => {
            let parts = types.iter().zip(Fields::read(value));
            let parts = parts.map(|(ty, part)| constant(ty, part?));
            format!("({})", parts.collect::<CqlResult<Vec<_>>>()?.join(", "))
        }
        CqlType::Udt(udt) => {
            let mut parts = Fields::read(value);
            let fields = udt.fields.iter().map(|(name, ty)| {
                let part = parts.next().transpose()?.flatten();
                Ok(format!("{}: {}", Name::exact(&**name), constant(ty, part)?))
            });
            format!("{{{}}}", fields.collect::<CqlResult<Vec<_>>>()?.join(", "))
        }
        _ => without_parts(ty, value)?,
    })
}

/// As Cassandra prints it, if that means the value.
fn without_parts(ty: &CqlType, value: &[u8]) -> CqlResult<String> {
    let bare = ty.bare();
    let number = match (bare, value.try_into().map(i64::from_be_bytes)) {
        (CqlType::Timestamp, Ok(millis)) => Some(millis.to_string()),
        (CqlType::Duration, _) => Some("0s".to_owned()),
        _ => None,
    };
    let bytes = format!("blob_as_{bare}({})", text::blob(value));
    [Some(text::constant(ty, value)), number, Some(bytes)]
        .into_iter()
        .flatten()
        .find(|printed| {
            read_back(printed, ty).is_ok_and(|back| back.is_some_and(|back| back == value))
        })
        .ok_or_else(|| unkept(ty))
}

/// A value as Cassandra's types print it for themselves.
pub(super) fn internal(ty: &CqlType, value: &[u8]) -> CqlResult<String> {
    let digits = |value: &[u8]| text::blob(value)[2..].to_owned();
    let fields: Vec<&CqlType> = match ty.bare() {
        CqlType::Tuple(types) => types.iter().collect(),
        CqlType::Udt(udt) => udt.fields.iter().map(|(_, ty)| ty).collect(),
        CqlType::Blob
        | CqlType::Counter
        | CqlType::List(_)
        | CqlType::Set(_)
        | CqlType::Map(..)
        | CqlType::Vector(..) => {
            return Ok(digits(value));
        }
        _ => return Ok(text::plain(ty, value).unwrap_or_else(|_| digits(value))),
    };
    let parts = fields.into_iter().zip(Fields::read(value));
    let parts = parts.map(|(ty, part)| match part? {
        Some(part) => {
            let part = internal(ty, part)?;
            Ok(part.replace(':', "\\:").replace('@', "\\@"))
        }
        None => Ok("@".to_owned()),
    });
    Ok(parts.collect::<CqlResult<Vec<_>>>()?.join(":"))
}

fn elements(value: &[u8]) -> Result<Vec<Option<&[u8]>>, Malformed> {
    Elements::read(value)?.collect()
}
