//! Masking functions: something in place of a value that may not be seen.
//!
//! They work on null arguments too, so they are called before nulls end a call.

use bytes::Bytes;
use palladium_crypto::sha256;
use palladium_protocol::types::CqlType;

use super::Function;
use super::digest::digest;
use crate::encode::wire;
use crate::error::{CqlError, CqlResult};

/// What stands for every hidden letter, unless another is given.
const PADDING: u16 = b'*' as u16;
/// What stands for a whole text.
const HIDDEN: &str = "****";

/// Whether this is one of the functions here.
pub(super) fn is_mask(function: Function) -> bool {
    matches!(
        function,
        Function::MaskNull
            | Function::MaskDefault
            | Function::MaskReplace
            | Function::MaskInner
            | Function::MaskOuter
            | Function::MaskHash
    )
}

pub(super) fn call(
    function: Function,
    ty: &CqlType,
    values: &[Option<Bytes>],
) -> CqlResult<Option<Bytes>> {
    let given = |place: usize| values.get(place).cloned().flatten();
    Ok(match function {
        Function::MaskDefault => Some(default(ty).into()),
        Function::MaskReplace => given(1),
        Function::MaskInner | Function::MaskOuter => match given(0) {
            Some(text) => {
                let masked = letters(function, &text, given(1), given(2), given(3))?;
                Some(written(ty, masked).into())
            }
            None => None,
        },
        Function::MaskHash => match (given(0), given(1)) {
            (None, _) => None,
            (Some(value), None) => Some(Bytes::copy_from_slice(&sha256(&[&value]))),
            (Some(value), Some(name)) => {
                let name = String::from_utf8_lossy(&name);
                let hash = digest(&name, &value).ok_or_else(|| {
                    CqlError::invalid(format!("Hash algorithm not found: {name}"))
                })?;
                Some(hash.into())
            }
        },
        _ => None,
    })
}

/// The least telling value of a type.
fn default(ty: &CqlType) -> Vec<u8> {
    match ty.bare() {
        CqlType::Text | CqlType::Ascii => HIDDEN.into(),
        CqlType::Tinyint | CqlType::Boolean => vec![0],
        CqlType::Smallint => vec![0; 2],
        CqlType::Int | CqlType::Float | CqlType::Inet => vec![0; 4],
        CqlType::Bigint
        | CqlType::Counter
        | CqlType::Double
        | CqlType::Timestamp
        | CqlType::Time => vec![0; 8],
        CqlType::Date => (1u32 << 31).to_be_bytes().to_vec(),
        CqlType::Varint => vec![0],
        CqlType::Decimal => vec![0; 5],
        CqlType::Duration => vec![0; 3],
        CqlType::Uuid => vec![0; 16],
        CqlType::Timeuuid => super::timeuuid::least(0).to_vec(),
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => vec![0; 4],
        CqlType::Tuple(types) => fields(types.iter()),
        CqlType::Udt(udt) => fields(udt.fields.iter().map(|(_, ty)| ty)),
        CqlType::Vector(inner, dimensions) => {
            let mut out = Vec::new();
            for _ in 0..*dimensions {
                let element = default(inner);
                if inner.fixed_bytes().is_none() {
                    palladium_protocol::types::vint::put_unsigned_vint(
                        &mut out,
                        element.len() as u64,
                    );
                }
                out.extend(element);
            }
            out
        }
        _ => Vec::new(),
    }
}

fn fields<'t>(types: impl Iterator<Item = &'t CqlType>) -> Vec<u8> {
    let mut out = Vec::new();
    for ty in types {
        wire::put_element(Some(&default(ty)), &mut out);
    }
    out
}

/// Letters as a type has them. What it does not have is what Java writes for it: a question mark.
fn written(ty: &CqlType, text: String) -> String {
    match ty.bare() {
        CqlType::Ascii => text.replace(|letter: char| !letter.is_ascii(), "?"),
        _ => text,
    }
}

/// Hides all letters but so many at both ends (inner), or so many at both ends (outer). A letter is a unit of UTF-16, as in Java, and half a pair that is left
/// alone becomes a question mark.
fn letters(
    function: Function,
    text: &[u8],
    begin: Option<Bytes>,
    end: Option<Bytes>,
    padding: Option<Bytes>,
) -> CqlResult<String> {
    let text =
        std::str::from_utf8(text).map_err(|_| CqlError::invalid("String didn't validate."))?;
    // Fewer than none are none.
    let count = |bytes: Option<Bytes>| {
        let number = bytes.and_then(|bytes| bytes[..].try_into().ok());
        let number = number.map_or(0, i32::from_be_bytes);
        usize::try_from(number).unwrap_or(0)
    };
    let (begin, end) = (count(begin), count(end));
    let padding = match padding {
        None => PADDING,
        Some(padding) => {
            let padding = String::from_utf8_lossy(&padding).into_owned();
            let units: Vec<u16> = padding.encode_utf16().collect();
            let [one] = units[..] else {
                let name = match function {
                    Function::MaskInner => "mask_inner",
                    _ => "mask_outer",
                };
                return Err(CqlError::invalid(format!(
                    "The padding argument for function system.{name} should be single-character, but '{padding}' has {} characters.",
                    units.len()
                )));
            };
            one
        }
    };
    let length = text.encode_utf16().count();
    let at_an_end = |place: usize| place < begin || place + end >= length;
    let hides_ends = function == Function::MaskOuter;
    let units = text.encode_utf16().enumerate();
    let hidden = units.map(|(place, unit)| match at_an_end(place) == hides_ends {
        true => padding,
        false => unit,
    });
    let letters = char::decode_utf16(hidden).map(|letter| letter.unwrap_or('?'));
    Ok(letters.collect())
}
