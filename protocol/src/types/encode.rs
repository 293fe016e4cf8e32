//! Values to bytes.
//!
//! ```text
//! list, set     | n [int] | n x element [bytes] |
//! map           | n [int] | n x (key [bytes], value [bytes]) |
//! tuple, udt    | each field [bytes], null as length -1 |
//! vector        | elements one after another; each after its length as an unsigned vint if lengths vary |
//! decimal       | scale [int] | unscaled, two's complement |
//! duration      | months, days, nanoseconds as signed vints |
//! ```

use std::net::IpAddr;

use bytes::BufMut;

use super::value::{CqlValue, Duration};
use super::vint::{put_unsigned_vint, unsigned_vint_bytes, zigzag};

impl CqlValue {
    /// The value's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        self.encode(&mut out);
        out
    }

    /// How many bytes `encode` will append.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Ascii(text) | Self::Text(text) => text.len(),
            Self::Blob(bytes) | Self::Custom(bytes) => bytes.len(),
            Self::Empty => 0,
            Self::Boolean(_) | Self::Tinyint(_) => 1,
            Self::Smallint(_) => 2,
            Self::Date(_) | Self::Float(_) | Self::Int(_) => 4,
            Self::Bigint(_)
            | Self::Counter(_)
            | Self::Double(_)
            | Self::Time(_)
            | Self::Timestamp(_) => 8,
            Self::Uuid(_) | Self::Timeuuid(_) => 16,
            Self::Inet(IpAddr::V4(_)) => 4,
            Self::Inet(IpAddr::V6(_)) => 16,
            Self::Varint(number) => number.to_signed_bytes_be().len(),
            Self::Decimal { unscaled, .. } => 4 + unscaled.to_signed_bytes_be().len(),
            Self::Duration(duration) => duration_vints(duration)
                .map(unsigned_vint_bytes)
                .iter()
                .sum(),
            Self::List(elements) | Self::Set(elements) => {
                4 + elements
                    .iter()
                    .map(|element| 4 + element.encoded_bytes())
                    .sum::<usize>()
            }
            Self::Map(entries) => {
                let entry =
                    |(key, value): &(Self, Self)| 8 + key.encoded_bytes() + value.encoded_bytes();
                4 + entries.iter().map(entry).sum::<usize>()
            }
            Self::Tuple(fields) | Self::Udt(fields) => fields
                .iter()
                .map(|field| 4 + field.as_ref().map_or(0, Self::encoded_bytes))
                .sum(),
            Self::Vector(elements) => elements.iter().map(vector_element_bytes).sum(),
        }
    }

    /// Appends the value's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Ascii(text) | Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Blob(bytes) | Self::Custom(bytes) => out.put_slice(bytes),
            Self::Empty => {}
            Self::Boolean(truth) => out.put_u8(u8::from(*truth)),
            Self::Tinyint(number) => out.put_i8(*number),
            Self::Smallint(number) => out.put_i16(*number),
            Self::Int(number) => out.put_i32(*number),
            Self::Date(days) => out.put_u32(*days),
            Self::Float(number) => out.put_f32(*number),
            Self::Bigint(number)
            | Self::Counter(number)
            | Self::Time(number)
            | Self::Timestamp(number) => out.put_i64(*number),
            Self::Double(number) => out.put_f64(*number),
            Self::Uuid(id) | Self::Timeuuid(id) => out.put_slice(id.as_bytes()),
            Self::Inet(IpAddr::V4(address)) => out.put_slice(&address.octets()),
            Self::Inet(IpAddr::V6(address)) => out.put_slice(&address.octets()),
            Self::Varint(number) => out.put_slice(&number.to_signed_bytes_be()),
            Self::Decimal { unscaled, scale } => {
                out.put_i32(*scale);
                out.put_slice(&unscaled.to_signed_bytes_be());
            }
            Self::Duration(duration) => {
                for number in duration_vints(duration) {
                    put_unsigned_vint(out, number);
                }
            }
            Self::List(elements) | Self::Set(elements) => {
                out.put_i32(int(elements.len()));
                elements
                    .iter()
                    .for_each(|element| element.encode_sized(out));
            }
            Self::Map(entries) => {
                out.put_i32(int(entries.len()));
                for (key, value) in entries {
                    key.encode_sized(out);
                    value.encode_sized(out);
                }
            }
            Self::Tuple(fields) | Self::Udt(fields) => {
                for field in fields {
                    match field {
                        Some(value) => value.encode_sized(out),
                        None => out.put_i32(-1),
                    }
                }
            }
            Self::Vector(elements) => {
                for element in elements {
                    if !element.has_fixed_bytes() {
                        put_unsigned_vint(out, element.encoded_bytes() as u64);
                    }
                    element.encode(out);
                }
            }
        }
    }

    /// The value as `[bytes]`: after its length.
    fn encode_sized(&self, out: &mut impl BufMut) {
        out.put_i32(int(self.encoded_bytes()));
        self.encode(out);
    }

    /// The value's side of `CqlType::fixed_bytes`.
    fn has_fixed_bytes(&self) -> bool {
        match self {
            Self::Boolean(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Bigint(_)
            | Self::Counter(_)
            | Self::Double(_)
            | Self::Timestamp(_)
            | Self::Uuid(_)
            | Self::Timeuuid(_)
            | Self::Empty => true,
            Self::Vector(elements) => elements.iter().all(Self::has_fixed_bytes),
            _ => false,
        }
    }
}

fn vector_element_bytes(element: &CqlValue) -> usize {
    let bytes = element.encoded_bytes();
    if element.has_fixed_bytes() {
        bytes
    } else {
        unsigned_vint_bytes(bytes as u64) + bytes
    }
}

fn duration_vints(duration: &Duration) -> [u64; 3] {
    [
        zigzag(duration.months.into()),
        zigzag(duration.days.into()),
        zigzag(duration.nanoseconds),
    ]
}

fn int(length: usize) -> i32 {
    i32::try_from(length)
        .expect("no value in memory reaches 2 GiB: bodies are bounded on the way in")
}
