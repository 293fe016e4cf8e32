//! A type as the `[option]` of result metadata.
//!
//! ```text
//! | id [short] | parameters |
//! 0x0000 custom: class name [string]     0x0020 list: element     0x0021 map: key, value     0x0022 set: element
//! 0x0030 user type: keyspace [string], name [string], n [short], n x (field [string], type)
//! 0x0031 tuple: n [short], n types
//! ```
//!
//! A type that a version has no id for travels as custom, under its class name; a vector always does.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::cql_type::{CqlType, UserType};
use crate::error::Malformed;
use crate::limits::TYPE_DEPTH_MAX;
use crate::wire::Version;
use crate::wire::primitive::{Reader, put_string};

const CUSTOM: u16 = 0x0000;
const LIST: u16 = 0x0020;
const MAP: u16 = 0x0021;
const SET: u16 = 0x0022;
const USER_TYPE: u16 = 0x0030;
const TUPLE: u16 = 0x0031;

/// Native types: id, and the version that brought it.
const NATIVE: [(CqlType, u16, Version); 20] = [
    (CqlType::Ascii, 0x0001, Version::V3),
    (CqlType::Bigint, 0x0002, Version::V3),
    (CqlType::Blob, 0x0003, Version::V3),
    (CqlType::Boolean, 0x0004, Version::V3),
    (CqlType::Counter, 0x0005, Version::V3),
    (CqlType::Decimal, 0x0006, Version::V3),
    (CqlType::Double, 0x0007, Version::V3),
    (CqlType::Float, 0x0008, Version::V3),
    (CqlType::Int, 0x0009, Version::V3),
    (CqlType::Timestamp, 0x000B, Version::V3),
    (CqlType::Uuid, 0x000C, Version::V3),
    (CqlType::Text, 0x000D, Version::V3),
    (CqlType::Varint, 0x000E, Version::V3),
    (CqlType::Timeuuid, 0x000F, Version::V3),
    (CqlType::Inet, 0x0010, Version::V3),
    (CqlType::Date, 0x0011, Version::V4),
    (CqlType::Time, 0x0012, Version::V4),
    (CqlType::Smallint, 0x0013, Version::V4),
    (CqlType::Tinyint, 0x0014, Version::V4),
    (CqlType::Duration, 0x0015, Version::V5),
];

impl CqlType {
    /// Appends the option of this type.
    pub fn put_option(&self, version: Version, out: &mut BytesMut) {
        let ty = self.bare();
        if let Some((_, id, since)) = NATIVE.iter().find(|(native, ..)| native == ty) {
            if version >= *since {
                out.put_u16(*id);
            } else {
                put_custom(ty, out);
            }
            return;
        }
        match ty {
            Self::List(element) => {
                out.put_u16(LIST);
                element.put_option(version, out);
            }
            Self::Set(element) => {
                out.put_u16(SET);
                element.put_option(version, out);
            }
            Self::Map(key, value) => {
                out.put_u16(MAP);
                key.put_option(version, out);
                value.put_option(version, out);
            }
            Self::Udt(udt) => {
                out.put_u16(USER_TYPE);
                put_string(out, &udt.keyspace);
                put_string(out, &udt.name);
                out.put_u16(field_count(udt.fields.len()));
                for (field, ty) in &udt.fields {
                    put_string(out, field);
                    ty.put_option(version, out);
                }
            }
            Self::Tuple(fields) => {
                out.put_u16(TUPLE);
                out.put_u16(field_count(fields.len()));
                for ty in fields.iter() {
                    ty.put_option(version, out);
                }
            }
            other => put_custom(other, out),
        }
    }

    /// Reads an option: what a client does with metadata.
    pub fn read_option(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        read_option(reader, 0)
    }
}

fn put_custom(ty: &CqlType, out: &mut BytesMut) {
    out.put_u16(CUSTOM);
    put_string(out, &ty.class_name());
}

fn field_count(count: usize) -> u16 {
    u16::try_from(count).expect("a type's fields are counted when it is made: TYPE_FIELDS_MAX")
}

fn read_option(reader: &mut Reader<'_>, depth: usize) -> Result<CqlType, Malformed> {
    if depth > TYPE_DEPTH_MAX {
        return Err(Malformed::of("A type is nested too deeply"));
    }
    let id = reader.short()?;
    if let Some((ty, ..)) = NATIVE.iter().find(|(_, own, _)| *own == id) {
        return Ok(ty.clone());
    }
    let depth = depth + 1;
    Ok(match id {
        CUSTOM => CqlType::from_class_name(reader.string()?)?,
        // The name that version 2 had for text.
        0x000A => CqlType::Text,
        LIST => CqlType::list(read_option(reader, depth)?),
        SET => CqlType::set(read_option(reader, depth)?),
        MAP => CqlType::map(read_option(reader, depth)?, read_option(reader, depth)?),
        USER_TYPE => {
            let keyspace = reader.string()?.to_owned();
            let name = reader.string()?.to_owned();
            let mut fields = Vec::new();
            for _ in 0..reader.short()? {
                let field = reader.string()?.to_owned();
                fields.push((field, read_option(reader, depth)?));
            }
            CqlType::Udt(Arc::new(UserType {
                keyspace,
                name,
                fields,
            }))
        }
        TUPLE => {
            let mut fields = Vec::new();
            for _ in 0..reader.short()? {
                fields.push(read_option(reader, depth)?);
            }
            CqlType::tuple(fields)
        }
        other => return Err(Malformed::from(format!("Unknown type option id {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(ty: &CqlType, version: Version) -> Vec<u8> {
        let mut out = BytesMut::new();
        ty.put_option(version, &mut out);
        out.to_vec()
    }

    #[test]
    fn a_type_newer_than_the_version_travels_as_custom() {
        assert_eq!(option(&CqlType::Date, Version::V4), [0x00, 0x11]);
        let custom = option(&CqlType::Date, Version::V3);
        assert_eq!(custom[..2], [0, 0]);
        assert!(custom.ends_with(b"SimpleDateType"));
        assert!(option(&CqlType::Duration, Version::V4).ends_with(b"DurationType"));
        assert_eq!(option(&CqlType::Duration, Version::V5), [0x00, 0x15]);
    }

    #[test]
    fn frozen_and_reversed_do_not_show() {
        let ty = CqlType::list(CqlType::Int).frozen().reversed();
        assert_eq!(option(&ty, Version::V5), [0x00, 0x20, 0x00, 0x09]);
    }

    #[test]
    fn an_option_nested_beyond_the_limit_is_refused() {
        let deep = [0x00, 0x20].repeat(100_000);
        assert!(CqlType::read_option(&mut Reader::new(&deep)).is_err());
    }
}
