//! A CQL value as bytes whose order is the value's order.
//!
//! ```text
//! component   marker  body
//! null        10
//! empty       20                      zero bytes: the empty text, and the "empty" that every other type may be
//! value       40      by type, prefix-free, so that what follows never decides between two different values
//!
//! whole numbers   big-endian, sign bit flipped          float, double   IEEE bits, sign-folded, one NaN, last
//! text, blob, ... 00 becomes 00 FF, end is 00 00        date, time      as on the wire: already ordered
//! uuid            version, then time or bytes           timeuuid        timestamp, then signed bytes
//! varint          sign and length, then bytes           decimal         sign, exponent, digit pairs
//! list, set       component each, end 08                map             key and value component each, end 08
//! tuple, UDT      component each without trailing nulls, end 08
//! vector          component each
//! ```
//!
//! The input is the value as the protocol carries it; what comes back from [`decode`] is that same form. Two spellings of
//! one number (decimal 1.0 and 1.00, a varint with redundant leading bytes) have one encoding; [`encode`] tells when the
//! spelling is lost, and the caller keeps it elsewhere.
//!
//! What must hold: for values of one type, comparing encodings as bytes is comparing values as Cassandra does; no encoding
//! is a prefix of another; `decode(encode(x))` is x, or x in its shortest spelling when [`encode`] said so.

use palladium_protocol::types::CqlType;
use palladium_protocol::types::vint::put_unsigned_vint;

use super::wire::{Elements, Fields};
use super::{Malformed, decimal};

/// Component markers. Row terminators and slice bounds (00, 80, FF) never collide with them, inverted or not.
pub const NULL: u8 = 0x10;
pub const EMPTY: u8 = 0x20;
pub const VALUE: u8 = 0x40;
/// Ends a list, set, map or tuple: before every marker, so that the shorter one comes first.
const END: u8 = 0x08;

/// Whether an encoding gives back every byte of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Kept,
    Lost,
}

impl Spelling {
    fn and(self, other: Spelling) -> Spelling {
        if self == Spelling::Lost { self } else { other }
    }
}

/// Whether values of this type can have two spellings.
pub fn may_lose_spelling(ty: &CqlType) -> bool {
    match ty.bare() {
        CqlType::Decimal | CqlType::Varint => true,
        CqlType::List(inner) | CqlType::Set(inner) | CqlType::Vector(inner, _) => {
            may_lose_spelling(inner)
        }
        CqlType::Map(key, value) => may_lose_spelling(key) || may_lose_spelling(value),
        CqlType::Tuple(types) => types.iter().any(may_lose_spelling),
        CqlType::Udt(udt) => udt.fields.iter().any(|(_, ty)| may_lose_spelling(ty)),
        _ => false,
    }
}

/// Appends the component of one value. `reversed` is DESC: every byte inverted.
pub fn encode(
    ty: &CqlType,
    value: Option<&[u8]>,
    reversed: bool,
    out: &mut Vec<u8>,
) -> Result<Spelling, Malformed> {
    let start = out.len();
    let spelling = component(ty, value, out)?;
    if reversed {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
    Ok(spelling)
}

fn component(ty: &CqlType, value: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Spelling, Malformed> {
    match value {
        None => out.push(NULL),
        Some([]) => out.push(EMPTY),
        Some(value) => {
            out.push(VALUE);
            return body(ty, value, out);
        }
    }
    Ok(Spelling::Kept)
}

fn body(ty: &CqlType, value: &[u8], out: &mut Vec<u8>) -> Result<Spelling, Malformed> {
    match ty.bare() {
        CqlType::Int => signed(fixed::<4>(value)?, out),
        CqlType::Bigint | CqlType::Counter | CqlType::Timestamp => signed(fixed::<8>(value)?, out),
        CqlType::Smallint => signed(fixed::<2>(value)?, out),
        CqlType::Tinyint => signed(fixed::<1>(value)?, out),
        CqlType::Date => out.extend(fixed::<4>(value)?),
        CqlType::Time => out.extend(fixed::<8>(value)?),
        CqlType::Boolean => out.push(u8::from(fixed::<1>(value)?[0] != 0)),
        CqlType::Float => {
            let number = f32::from_be_bytes(fixed(value)?);
            let bits = if number.is_nan() {
                f32::NAN.to_bits() & !SIGN_32
            } else {
                number.to_bits()
            };
            let folded = if bits & SIGN_32 == 0 {
                bits | SIGN_32
            } else {
                !bits
            };
            out.extend(folded.to_be_bytes());
        }
        CqlType::Double => {
            let number = f64::from_be_bytes(fixed(value)?);
            let bits = if number.is_nan() {
                f64::NAN.to_bits() & !SIGN_64
            } else {
                number.to_bits()
            };
            let folded = if bits & SIGN_64 == 0 {
                bits | SIGN_64
            } else {
                !bits
            };
            out.extend(folded.to_be_bytes());
        }
        CqlType::Uuid => uuid(fixed(value)?, out),
        CqlType::Timeuuid => out.extend(timeuuid(fixed(value)?)),
        CqlType::Varint => return Ok(varint(value, out)),
        CqlType::Decimal => return decimal::encode(value, out),
        CqlType::List(inner) | CqlType::Set(inner) => {
            let mut spelling = Spelling::Kept;
            for element in Elements::read(value)? {
                spelling = spelling.and(component(inner, element?, out)?);
            }
            out.push(END);
            return Ok(spelling);
        }
        CqlType::Map(key, value_type) => {
            let mut spelling = Spelling::Kept;
            let mut elements = Elements::read_map(value)?;
            while let Some(element) = elements.next() {
                spelling = spelling.and(component(key, element?, out)?);
                let element = elements.next().ok_or(Malformed::SHORT)?;
                spelling = spelling.and(component(value_type, element?, out)?);
            }
            out.push(END);
            return Ok(spelling);
        }
        CqlType::Tuple(types) => return fields(types.iter(), value, out),
        CqlType::Udt(udt) => return fields(udt.fields.iter().map(|(_, ty)| ty), value, out),
        CqlType::Vector(inner, dimension) => {
            let mut spelling = Spelling::Kept;
            for element in super::wire::vector_elements(inner, usize::from(*dimension), value)? {
                spelling = spelling.and(component(inner, Some(element), out)?);
            }
            return Ok(spelling);
        }
        _ => escaped(value, out),
    }
    Ok(Spelling::Kept)
}

const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed::LENGTH)
}

fn signed<const N: usize>(mut bytes: [u8; N], out: &mut Vec<u8>) {
    bytes[0] ^= 0x80;
    out.extend(bytes);
}

/// `00` would end the text, so it travels as `00 FF`; the end, `00 00`, is less than both that and any other byte.
fn escaped(value: &[u8], out: &mut Vec<u8>) {
    for (index, run) in value.split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            out.extend([0x00, 0xFF]);
        }
        out.extend_from_slice(run);
    }
    out.extend([0x00, 0x00]);
}

fn uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    let version = bytes[6] >> 4;
    out.push(version);
    if version == 1 {
        out.extend(time_first(&bytes));
    } else {
        out.extend_from_slice(&bytes[..8]);
    }
    out.extend_from_slice(&bytes[8..]);
}

/// time_hi and version, time_mid, time_low: the timestamp from its highest bits down.
fn time_first(bytes: &[u8; 16]) -> [u8; 8] {
    let [l0, l1, l2, l3, m0, m1, h0, h1] = [
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ];
    [h0, h1, m0, m1, l0, l1, l2, l3]
}

/// A timeuuid as 16 ordered bytes; also the path of a list's cell. Cassandra compares the second half as signed bytes.
pub fn timeuuid(bytes: [u8; 16]) -> [u8; 16] {
    let mut ordered = bytes;
    ordered[..8].copy_from_slice(&time_first(&bytes));
    for byte in &mut ordered[8..] {
        *byte ^= 0x80;
    }
    ordered
}

/// The timeuuid behind 16 ordered bytes.
pub fn timeuuid_back(ordered: [u8; 16]) -> [u8; 16] {
    let [h0, h1, m0, m1, l0, l1, l2, l3] = [
        ordered[0], ordered[1], ordered[2], ordered[3], ordered[4], ordered[5], ordered[6],
        ordered[7],
    ];
    let mut bytes = ordered;
    bytes[..8].copy_from_slice(&[l0, l1, l2, l3, m0, m1, h0, h1]);
    for byte in &mut bytes[8..] {
        *byte ^= 0x80;
    }
    bytes
}

/// Lengths up to this fit the header byte of a varint; longer ones follow it in four bytes.
const VARINT_SHORT_MAX: usize = 0x70;
const VARINT_LONG: u8 = VARINT_SHORT_MAX as u8 + 1;

/// Of two numbers with one sign, the longer is further from zero; of two with one length, two's complement is ordered.
fn varint(value: &[u8], out: &mut Vec<u8>) -> Spelling {
    let minimal = shortest(value);
    let negative = minimal[0] & 0x80 != 0;
    let start = out.len();
    if minimal.len() <= VARINT_SHORT_MAX {
        out.push(0x80 + minimal.len() as u8);
    } else {
        out.push(0x80 + VARINT_LONG);
        out.extend((minimal.len() as u32).to_be_bytes());
    }
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
    out.extend_from_slice(minimal);
    if minimal.len() == value.len() {
        Spelling::Kept
    } else {
        Spelling::Lost
    }
}

/// A two's complement number without redundant leading bytes.
pub(super) fn shortest(mut value: &[u8]) -> &[u8] {
    while let [first, second, ..] = value {
        let redundant = matches!((*first, second & 0x80), (0x00, 0x00) | (0xFF, 0x80));
        if !redundant {
            break;
        }
        value = &value[1..];
    }
    value
}

/// A missing field at the end is a null one, so trailing nulls are not written.
fn fields<'t>(
    types: impl Iterator<Item = &'t CqlType>,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Result<Spelling, Malformed> {
    let mut spelling = Spelling::Kept;
    let mut reader = Fields::read(value);
    let mut written = out.len();
    for ty in types {
        let Some(field) = reader.next() else { break };
        let field = field?;
        spelling = spelling.and(component(ty, field, out)?);
        if field.is_some() {
            written = out.len();
        }
    }
    out.truncate(written);
    out.push(END);
    Ok(spelling)
}

/// A walk over ordered bytes; inverts them as it goes when the column is DESC.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    flip: u8,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor {
            rest: bytes,
            flip: 0,
        }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the components that follow are inverted.
    pub fn reversed(&mut self, reversed: bool) {
        self.flip = if reversed { 0xFF } else { 0 };
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::SHORT)?;
        self.rest = rest;
        Ok(first ^ self.flip)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::SHORT)?;
        self.rest = rest;
        Ok(head.map(|byte| byte ^ self.flip))
    }

    fn peek(&self) -> Result<u8, Malformed> {
        self.rest
            .first()
            .map(|byte| byte ^ self.flip)
            .ok_or(Malformed::SHORT)
    }

    fn copy(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed::SHORT)?;
        self.rest = rest;
        out.extend(head.iter().map(|byte| byte ^ self.flip));
        Ok(())
    }
}

/// Reads one component and appends the value to `out`; false if it is null, when nothing is appended.
pub fn decode(ty: &CqlType, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<bool, Malformed> {
    match cursor.byte()? {
        NULL => return Ok(false),
        EMPTY => {}
        VALUE => decode_body(ty, cursor, out)?,
        _ => return Err(Malformed::MARKER),
    }
    Ok(true)
}

fn decode_body(ty: &CqlType, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match ty.bare() {
        CqlType::Int => out.extend(unsigned(cursor.array::<4>()?)),
        CqlType::Bigint | CqlType::Counter | CqlType::Timestamp => {
            out.extend(unsigned(cursor.array::<8>()?));
        }
        CqlType::Smallint => out.extend(unsigned(cursor.array::<2>()?)),
        CqlType::Tinyint => out.extend(unsigned(cursor.array::<1>()?)),
        CqlType::Date => cursor.copy(4, out)?,
        CqlType::Time => cursor.copy(8, out)?,
        CqlType::Boolean => cursor.copy(1, out)?,
        CqlType::Float => {
            let folded = u32::from_be_bytes(cursor.array()?);
            let bits = if folded & SIGN_32 == 0 {
                !folded
            } else {
                folded & !SIGN_32
            };
            out.extend(bits.to_be_bytes());
        }
        CqlType::Double => {
            let folded = u64::from_be_bytes(cursor.array()?);
            let bits = if folded & SIGN_64 == 0 {
                !folded
            } else {
                folded & !SIGN_64
            };
            out.extend(bits.to_be_bytes());
        }
        CqlType::Uuid => {
            let version = cursor.byte()?;
            let first: [u8; 8] = cursor.array()?;
            if version == 1 {
                let [h0, h1, m0, m1, l0, l1, l2, l3] = first;
                out.extend([l0, l1, l2, l3, m0, m1, h0, h1]);
            } else {
                out.extend(first);
            }
            cursor.copy(8, out)?;
        }
        CqlType::Timeuuid => out.extend(timeuuid_back(cursor.array()?)),
        CqlType::Varint => varint_back(cursor, out)?,
        CqlType::Decimal => decimal::decode(cursor, out)?,
        CqlType::List(inner) | CqlType::Set(inner) => {
            counted(cursor, out, |cursor, out| framed(inner, cursor, out))?;
        }
        CqlType::Map(key, value) => counted(cursor, out, |cursor, out| {
            framed(key, cursor, out)?;
            framed(value, cursor, out)
        })?,
        CqlType::Tuple(types) => fields_back(types.iter(), cursor, out)?,
        CqlType::Udt(udt) => fields_back(udt.fields.iter().map(|(_, ty)| ty), cursor, out)?,
        CqlType::Vector(inner, dimension) => {
            let fixed = inner.fixed_bytes();
            for _ in 0..*dimension {
                if fixed.is_some() {
                    decode(inner, cursor, out)?;
                } else {
                    let mut element = Vec::new();
                    decode(inner, cursor, &mut element)?;
                    put_unsigned_vint(out, element.len() as u64);
                    out.append(&mut element);
                }
            }
        }
        _ => unescaped(cursor, out)?,
    }
    Ok(())
}

fn unsigned<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[0] ^= 0x80;
    bytes
}

fn unescaped(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    loop {
        let zero = cursor.flip;
        let run = cursor
            .rest
            .iter()
            .position(|byte| *byte == zero)
            .ok_or(Malformed::SHORT)?;
        cursor.copy(run, out)?;
        match cursor.array::<2>()? {
            [0x00, 0x00] => return Ok(()),
            [0x00, 0xFF] => out.push(0),
            _ => return Err(Malformed::MARKER),
        }
    }
}

fn varint_back(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let header = cursor.byte()?;
    let negative = header & 0x80 == 0;
    let short = if negative {
        !header & 0x7F
    } else {
        header & 0x7F
    };
    let length = if short == VARINT_LONG {
        let length = u32::from_be_bytes(cursor.array()?);
        (if negative { !length } else { length }) as usize
    } else {
        usize::from(short)
    };
    cursor.copy(length, out)
}

/// A component as an element of a collection: its length, then its bytes.
fn framed(ty: &CqlType, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let at = out.len();
    out.extend([0; 4]);
    let length = if decode(ty, cursor, out)? {
        (out.len() - at - 4) as i32
    } else {
        -1
    };
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn counted(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    mut element: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let at = out.len();
    out.extend([0; 4]);
    let mut count = 0i32;
    while cursor.peek()? != END {
        element(cursor, out)?;
        count += 1;
    }
    cursor.byte()?;
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

fn fields_back<'t>(
    types: impl Iterator<Item = &'t CqlType>,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut ended = false;
    for ty in types {
        ended = ended || cursor.peek()? == END;
        if ended {
            out.extend((-1i32).to_be_bytes());
        } else {
            framed(ty, cursor, out)?;
        }
    }
    if cursor.byte()? == END {
        Ok(())
    } else {
        Err(Malformed::MARKER)
    }
}
