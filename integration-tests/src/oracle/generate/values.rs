//! Values: each is made twice, as a literal and as the bytes that a driver binds, from a pool so small that values meet again.
//!
//! Literals come in all the spellings that Cassandra takes. Where two spellings mean one value, the bytes are the same.

use bytes::{BufMut, BytesMut};

use super::types::Type;
use crate::chance::Chance;

/// One value in its two forms.
#[derive(Debug, Clone)]
pub struct Datum {
    pub text: String,
    pub bytes: Vec<u8>,
}

fn datum(text: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Datum {
    Datum {
        text: text.into(),
        bytes: bytes.into(),
    }
}

/// A value for a part of another one, for a key of a map or for a clustering column: none of a decimal that has an equal with other digits. Of two equal ones written at one time
/// Cassandra keeps the digits of the first; here another one may be kept, and with it its value.
pub fn element(chance: &mut Chance, ty: &Type) -> Datum {
    let value = composed(chance, ty);
    match value.text.as_str() {
        "0.0" if *ty == Type::Native("decimal") => decimal_of("0", 0, 0),
        "1.50" if *ty == Type::Native("decimal") => decimal_of("1.5", 15, 1),
        _ => value,
    }
}

/// A value of a type. What is in it may be a part of a key.
pub fn value(chance: &mut Chance, ty: &Type) -> Datum {
    match ty {
        Type::Native(name) => native(chance, name),
        other => element(chance, other),
    }
}

fn composed(chance: &mut Chance, ty: &Type) -> Datum {
    match ty {
        Type::Native(name) => native(chance, name),
        Type::Frozen(inner) => element(chance, inner),
        Type::List(inner) => {
            let parts: Vec<Datum> = (0..chance.below(4))
                .map(|_| element(chance, inner))
                .collect();
            collection("[", "]", &parts)
        }
        Type::Set(inner) => {
            let count = chance.below(4);
            let parts = distinct(chance, inner, count);
            collection("{", "}", &parts)
        }
        Type::Map(key, inner) => {
            let count = chance.below(4);
            let keys = distinct(chance, key, count);
            let parts: Vec<(Datum, Datum)> = keys
                .into_iter()
                .map(|key| (key, element(chance, inner)))
                .collect();
            let text: Vec<String> = parts
                .iter()
                .map(|(key, value)| format!("{}: {}", key.text, value.text))
                .collect();
            let mut bytes = BytesMut::new();
            bytes.put_i32(i32::try_from(parts.len()).expect("few parts"));
            for (key, value) in &parts {
                put(&mut bytes, Some(&key.bytes));
                put(&mut bytes, Some(&value.bytes));
            }
            datum(format!("{{{}}}", text.join(", ")), bytes.to_vec())
        }
        Type::Tuple(types) => {
            let parts: Vec<Option<Datum>> = types
                .iter()
                .map(|ty| (chance.below(6) > 0).then(|| element(chance, ty)))
                .collect();
            let text: Vec<&str> = parts
                .iter()
                .map(|part| part.as_ref().map_or("null", |part| part.text.as_str()))
                .collect();
            datum(format!("({})", text.join(", ")), fields(&parts))
        }
        Type::User(user) => {
            let parts: Vec<Option<Datum>> = user
                .fields
                .iter()
                .map(|(_, ty)| (chance.below(5) > 0).then(|| element(chance, ty)))
                .collect();
            // A field that is not named is null, too; but `{}` alone would be a set.
            let text: Vec<String> = user
                .fields
                .iter()
                .zip(&parts)
                .filter_map(|((name, _), part)| Some(format!("{name}: {}", part.as_ref()?.text)))
                .collect();
            let text = match text.as_slice() {
                [] => format!("{{{}: null}}", user.fields[0].0),
                some => format!("{{{}}}", some.join(", ")),
            };
            datum(text, fields(&parts))
        }
        Type::Vector(inner, length) => {
            let parts: Vec<Datum> = (0..*length).map(|_| element(chance, inner)).collect();
            let text: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
            let mut bytes = BytesMut::new();
            for part in &parts {
                if fixed_length(inner).is_none() {
                    put_unsigned_vint(&mut bytes, part.bytes.len());
                }
                bytes.put_slice(&part.bytes);
            }
            datum(format!("[{}]", text.join(", ")), bytes.to_vec())
        }
    }
}

/// Different values in their type's order; fewer than wanted where the pool has no more, and one of a type whose order is not simple: inside of another value
/// Cassandra keeps the order that was bound, and ours does not.
fn distinct(chance: &mut Chance, ty: &Type, count: usize) -> Vec<Datum> {
    let mut parts: Vec<(Vec<u8>, Datum)> = Vec::new();
    for _ in 0..count {
        let part = element(chance, ty);
        let place = place(ty, &part);
        match place {
            Some(place) => parts.push((place, part)),
            None if parts.is_empty() => parts.push((Vec::new(), part)),
            None => {}
        }
    }
    parts.sort_by(|(left, _), (right, _)| left.cmp(right));
    parts.dedup_by(|(left, _), (right, _)| left == right);
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Bytes in whose order the values of a type are.
fn place(ty: &Type, datum: &Datum) -> Option<Vec<u8>> {
    let mut bytes = datum.bytes.clone();
    match ty {
        Type::Frozen(inner) => return place(inner, datum),
        Type::Native(name) => match *name {
            "tinyint" | "smallint" | "int" | "bigint" | "timestamp" | "time" => {
                if let Some(first) = bytes.first_mut() {
                    *first ^= 0x80;
                }
            }
            "ascii" | "text" | "varchar" | "blob" | "inet" | "date" | "boolean" => {}
            _ => return None,
        },
        _ => return None,
    }
    Some(bytes)
}

fn collection(open: &str, close: &str, parts: &[Datum]) -> Datum {
    let text: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(parts.len()).expect("few parts"));
    for part in parts {
        put(&mut bytes, Some(&part.bytes));
    }
    datum(format!("{open}{}{close}", text.join(", ")), bytes.to_vec())
}

fn put(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).expect("a small value"));
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

fn fields(parts: &[Option<Datum>]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for part in parts {
        put(&mut bytes, part.as_ref().map(|part| part.bytes.as_slice()));
    }
    bytes.to_vec()
}

/// Cassandra writes the length of a vector's element unless its type has a fixed one.
fn fixed_length(ty: &Type) -> Option<usize> {
    match ty {
        Type::Native(name) => match *name {
            "bigint" | "double" | "timestamp" => Some(8),
            "boolean" => Some(1),
            "float" | "int" => Some(4),
            "timeuuid" | "uuid" => Some(16),
            _ => None,
        },
        Type::Vector(inner, length) => fixed_length(inner).map(|bytes| bytes * length),
        Type::Frozen(inner) => fixed_length(inner),
        _ => None,
    }
}

/// Values here are shorter than 128 bytes, or take two bytes for their length.
fn put_unsigned_vint(out: &mut BytesMut, length: usize) {
    match length {
        0..=0x7F => out.put_u8(length as u8),
        _ => out.put_u16(0x8000 | length as u16),
    }
}

fn pick<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    from[chance.below(from.len())]
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn native(chance: &mut Chance, name: &str) -> Datum {
    // The usual values are few; the edges come now and then.
    let edge = chance.below(6) == 0;
    let small = chance.below(6) as i64 - 2;
    match name {
        "tinyint" => {
            let number = if edge {
                pick(chance, &[i8::MIN, i8::MAX])
            } else {
                small as i8
            };
            datum(number.to_string(), number.to_be_bytes())
        }
        "smallint" => {
            let number = if edge {
                pick(chance, &[i16::MIN, i16::MAX])
            } else {
                small as i16
            };
            datum(number.to_string(), number.to_be_bytes())
        }
        "int" => {
            let number = if edge {
                pick(chance, &[i32::MIN, i32::MAX, 1000])
            } else {
                small as i32
            };
            datum(number.to_string(), number.to_be_bytes())
        }
        "bigint" | "counter" => {
            let number = if edge {
                pick(chance, &[i64::MIN, i64::MAX, 1 << 33])
            } else {
                small
            };
            datum(number.to_string(), number.to_be_bytes())
        }
        "varint" => varint(chance, edge, small),
        "decimal" => decimal(chance, edge, small),
        "float" => float(chance, edge, small),
        "double" => double(chance, edge, small),
        "boolean" => match chance.below(2) {
            0 => datum(pick(chance, &["false", "FALSE"]), [0]),
            _ => datum(pick(chance, &["true", "True"]), [1]),
        },
        "ascii" => {
            let text = pick(chance, &["a", "b", "ab", "zz", "", "it's"]);
            datum(quoted(text), text)
        }
        "text" | "varchar" => {
            let text = pick(
                chance,
                &["a", "b", "ab", "zz", "", "é", "it's", "a b", "日本"],
            );
            let literal = match chance.below(5) {
                0 => format!("$${text}$$"),
                _ => quoted(text),
            };
            datum(literal, text)
        }
        "blob" => match chance.below(5) {
            0 => datum("0x", []),
            1 => datum("0x00", [0]),
            2 => datum("0xCAFE", [0xCA, 0xFE]),
            3 => datum("0x0001", [0, 1]),
            _ => datum("0Xff", [0xFF]),
        },
        "inet" => match chance.below(4) {
            0 => datum("'127.0.0.1'", [127, 0, 0, 1]),
            1 => datum("'10.1.2.3'", [10, 1, 2, 3]),
            2 => datum("'::1'", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            _ => datum(
                "'2001:DB8::5'",
                [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            ),
        },
        "uuid" => match chance.below(4) {
            0 => datum(
                "50554d6e-29bb-11e5-b345-feff819cdc9f",
                hex("50554d6e29bb11e5b345feff819cdc9f"),
            ),
            1 => datum(
                "DE2B4E20-1C0B-4F0B-8F4E-0D0A6E0B1E55",
                hex("de2b4e201c0b4f0b8f4e0d0a6e0b1e55"),
            ),
            2 => datum("00000000-0000-0000-0000-000000000000", [0; 16]),
            _ => datum("ffffffff-ffff-ffff-ffff-ffffffffffff", [0xFF; 16]),
        },
        "timeuuid" => match chance.below(4) {
            0 => datum(
                "50554d6e-29bb-11e5-b345-feff819cdc9f",
                hex("50554d6e29bb11e5b345feff819cdc9f"),
            ),
            1 => datum(
                "60554d6e-29bb-11e5-b345-feff819cdc9f",
                hex("60554d6e29bb11e5b345feff819cdc9f"),
            ),
            2 => datum(
                "50554d6e-29bb-11e5-7345-feff819cdc9f",
                hex("50554d6e29bb11e57345feff819cdc9f"),
            ),
            _ => datum(
                "00000000-0000-1000-8080-808080808080",
                hex("00000000000010008080808080808080"),
            ),
        },
        "date" => {
            let (text, days) = pick(
                chance,
                &[
                    ("'1970-01-01'", 0),
                    ("'2024-02-29'", 19782),
                    ("'1969-12-31'", -1),
                    ("'2024-03-01'", 19783),
                    ("2147483648", 0),
                    ("'2147483649'", 1),
                ],
            );
            datum(text, ((days as i64 + (1 << 31)) as u32).to_be_bytes())
        }
        "time" => {
            let (text, nanos) = pick(
                chance,
                &[
                    ("'00:00:00'", 0_i64),
                    ("'08:12:54'", 29_574_000_000_000),
                    ("'08:12:54.123'", 29_574_123_000_000),
                    ("'23:59:59.999999999'", 86_399_999_999_999),
                    ("1000000000", 1_000_000_000),
                    ("'29574000000000'", 29_574_000_000_000),
                ],
            );
            datum(text, nanos.to_be_bytes())
        }
        "timestamp" => {
            let (text, millis) = pick(
                chance,
                &[
                    ("0", 0_i64),
                    ("'1970-01-01 00:00:00Z'", 0),
                    ("'2024-02-29T12:30:00.123Z'", 1_709_209_800_123),
                    ("'2024-02-29 14:30:00.123+0200'", 1_709_209_800_123),
                    ("'2024-02-29 12:30+00:00'", 1_709_209_800_000),
                    ("'2024-02-29+0000'", 1_709_164_800_000),
                    ("-1", -1),
                    ("'1709209800123'", 1_709_209_800_123),
                    ("'2024-02-29T12:30:00.123456Z'", 1_709_209_800_123),
                    ("1709209800123", 1_709_209_800_123),
                ],
            );
            datum(text, millis.to_be_bytes())
        }
        _ => duration(chance),
    }
}

fn varint(chance: &mut Chance, edge: bool, small: i64) -> Datum {
    if !edge {
        return datum(small.to_string(), minimal(i128::from(small)));
    }
    let number = pick(
        chance,
        &[
            1_i128 << 64,
            -(1_i128 << 64),
            127,
            128,
            -128,
            -129,
            255,
            1 << 100,
        ],
    );
    datum(number.to_string(), minimal(number))
}

/// Two's complement in as few bytes as will do.
fn minimal(number: i128) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let mut start = 0;
    while start < 15
        && ((bytes[start] == 0 && bytes[start + 1] < 0x80)
            || (bytes[start] == 0xFF && bytes[start + 1] >= 0x80))
    {
        start += 1;
    }
    bytes[start..].to_vec()
}

fn decimal(chance: &mut Chance, edge: bool, small: i64) -> Datum {
    let (text, unscaled, scale) = if edge {
        let (text, unscaled, scale) = pick(
            chance,
            &[
                ("1.50", 150_i128, 2_i32),
                ("1.5", 15, 1),
                ("-0.001", -1, 3),
                ("1E3", 1, -3),
                ("1.0E-5", 10, 6),
                (
                    "123456789012345678901234567890.5",
                    1_234_567_890_123_456_789_012_345_678_905,
                    1,
                ),
                ("0.0", 0, 1),
            ],
        );
        (text.to_owned(), unscaled, scale)
    } else {
        (small.to_string(), i128::from(small), 0)
    };
    decimal_of(&text, unscaled, scale)
}

fn decimal_of(text: &str, unscaled: i128, scale: i32) -> Datum {
    datum(
        text,
        [&scale.to_be_bytes()[..], &minimal(unscaled)].concat(),
    )
}

fn float(chance: &mut Chance, edge: bool, small: i64) -> Datum {
    let (text, number) = if edge {
        let (text, number) = pick(
            chance,
            &[
                ("NaN", f32::NAN),
                ("Infinity", f32::INFINITY),
                ("-Infinity", f32::NEG_INFINITY),
                ("-0.0", -0.0),
                ("0.1", 0.1),
                ("1e10", 1e10),
                ("3.4028235E38", f32::MAX),
                ("1.5", 1.5),
            ],
        );
        (text.to_owned(), number)
    } else {
        (small.to_string(), small as f32)
    };
    // Java knows one NaN.
    let bits = if number.is_nan() {
        0x7FC0_0000
    } else {
        number.to_bits()
    };
    datum(text, bits.to_be_bytes())
}

fn double(chance: &mut Chance, edge: bool, small: i64) -> Datum {
    let (text, number) = if edge {
        let (text, number) = pick(
            chance,
            &[
                ("NaN", f64::NAN),
                ("Infinity", f64::INFINITY),
                ("-Infinity", f64::NEG_INFINITY),
                ("-0.0", -0.0),
                ("0.1", 0.1),
                ("1.0E100", 1e100),
                ("4.9E-324", f64::from_bits(1)),
                ("1.5", 1.5),
            ],
        );
        (text.to_owned(), number)
    } else {
        (small.to_string(), small as f64)
    };
    let bits = if number.is_nan() {
        0x7FF8_0000_0000_0000
    } else {
        number.to_bits()
    };
    datum(text, bits.to_be_bytes())
}

fn duration(chance: &mut Chance) -> Datum {
    let (text, months, days, nanos) = pick(
        chance,
        &[
            ("1d", 0_i64, 1_i64, 0_i64),
            ("P1D", 0, 1, 0),
            ("P0000-00-01T00:00:00", 0, 1, 0),
            ("1mo2d3h", 1, 2, 10_800_000_000_000),
            ("-1mo2d3h", -1, -2, -10_800_000_000_000),
            ("PT1H30M", 0, 0, 5_400_000_000_000),
            ("P2W", 0, 14, 0),
            ("12h30m", 0, 0, 45_000_000_000_000),
            ("1y", 12, 0, 0),
            ("5us", 0, 0, 5_000),
            ("24h", 0, 0, 86_400_000_000_000),
        ],
    );
    let mut bytes = BytesMut::new();
    for number in [months, days, nanos] {
        put_vint(&mut bytes, number);
    }
    datum(text, bytes.to_vec())
}

/// Cassandra's signed vint: zigzag, and as many leading ones as bytes follow.
fn put_vint(out: &mut BytesMut, number: i64) {
    let zigzag = ((number << 1) ^ (number >> 63)) as u64;
    let bits = 64 - (zigzag | 1).leading_zeros() as usize;
    let extra = ((bits - 1) / 7).min(8);
    let mut bytes = zigzag.to_be_bytes().to_vec();
    if extra == 8 {
        out.put_u8(0xFF);
        out.put_slice(&bytes);
        return;
    }
    bytes.drain(..7 - extra);
    let ones = !(0xFF_u32 >> extra) as u8;
    bytes[0] |= ones;
    out.put_slice(&bytes);
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).expect("hex digits"))
        .collect()
}
