//! KMIP's encoding: tag, type, length, value.
//!
//! ```text
//! offset  size
//!      0     3   tag, big-endian
//!      3     1   type
//!      4     4   length of the value in bytes, without padding, big-endian
//!      8     n   value, then zeros up to a multiple of 8
//!
//! type   value
//!    1   structure: items, one after the other
//!    2   integer, 4 bytes          3   long integer, 8          4   big integer, a multiple of 8
//!    5   enumeration, 4            6   boolean, 8               7   text, UTF-8
//!    8   bytes                     9   date and time, 8         10  interval, 4
//! ```
//!
//! What must hold: decoding borrows from what has arrived, allocates no more than a small multiple of it, and never panics; nesting is bounded. What is
//! encoded is wiped when dropped, and never grows after it was allocated, because it may hold a key.

use std::fmt;

use zeroize::Zeroizing;

/// How deep structures may be nested; messages need five.
const DEPTH_MAX: usize = 12;
const HEAD_BYTES: usize = 8;

/// One item.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Item<'a> {
    pub tag: u32,
    pub value: Value<'a>,
}

/// What an item holds.
#[derive(Clone, PartialEq)]
pub(super) enum Value<'a> {
    Structure(Vec<Item<'a>>),
    Integer(i32),
    LongInteger(i64),
    BigInteger(&'a [u8]),
    Enumeration(u32),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    DateTime(i64),
    Interval(u32),
}

/// Bytes that are no item: where, and why not.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Malformed(pub &'static str);

impl<'a> Item<'a> {
    pub fn new(tag: u32, value: Value<'a>) -> Self {
        Item { tag, value }
    }

    pub fn structure(tag: u32, items: Vec<Item<'a>>) -> Self {
        Item::new(tag, Value::Structure(items))
    }

    /// The items inside; none of what is no structure.
    pub fn items(&self) -> &[Item<'a>] {
        match &self.value {
            Value::Structure(items) => items,
            _ => &[],
        }
    }

    /// The first item inside with this tag.
    pub fn get(&self, tag: u32) -> Option<&Item<'a>> {
        self.items().iter().find(|item| item.tag == tag)
    }

    pub fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i32> {
        match self.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    pub fn enumeration(&self) -> Option<u32> {
        match self.value {
            Value::Enumeration(number) => Some(number),
            _ => None,
        }
    }

    /// The item as bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.encoded_len()));
        self.encode_into(&mut bytes);
        debug_assert_eq!(bytes.len(), self.encoded_len());
        bytes
    }

    fn encoded_len(&self) -> usize {
        HEAD_BYTES + padded(self.value.len())
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) {
        let length = u32::try_from(self.value.len()).expect("requests are small");
        bytes.extend_from_slice(&self.tag.to_be_bytes()[1..]);
        bytes.push(self.value.kind());
        bytes.extend_from_slice(&length.to_be_bytes());
        match &self.value {
            Value::Structure(items) => items.iter().for_each(|item| item.encode_into(bytes)),
            Value::Integer(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Value::Enumeration(number) | Value::Interval(number) => {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Value::LongInteger(number) | Value::DateTime(number) => {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Value::Boolean(is) => bytes.extend_from_slice(&u64::from(*is).to_be_bytes()),
            Value::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Value::Bytes(value) | Value::BigInteger(value) => bytes.extend_from_slice(value),
        }
        bytes.resize(bytes.len() + padded(self.value.len()) - self.value.len(), 0);
    }
}

/// Its type and length: what stands in it may be a key.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Structure(items) => f.debug_list().entries(items).finish(),
            _ => write!(f, "type {}, {} bytes", self.kind(), self.len()),
        }
    }
}

impl Value<'_> {
    fn kind(&self) -> u8 {
        match self {
            Value::Structure(_) => 1,
            Value::Integer(_) => 2,
            Value::LongInteger(_) => 3,
            Value::BigInteger(_) => 4,
            Value::Enumeration(_) => 5,
            Value::Boolean(_) => 6,
            Value::Text(_) => 7,
            Value::Bytes(_) => 8,
            Value::DateTime(_) => 9,
            Value::Interval(_) => 10,
        }
    }

    fn len(&self) -> usize {
        match self {
            Value::Structure(items) => items.iter().map(Item::encoded_len).sum(),
            Value::Integer(_) | Value::Enumeration(_) | Value::Interval(_) => 4,
            Value::LongInteger(_) | Value::Boolean(_) | Value::DateTime(_) => 8,
            Value::BigInteger(bytes) | Value::Bytes(bytes) => bytes.len(),
            Value::Text(text) => text.len(),
        }
    }
}

/// Reads exactly one item.
pub(super) fn decode(bytes: &[u8]) -> Result<Item<'_>, Malformed> {
    let (item, rest) = split(bytes, DEPTH_MAX)?;
    if rest.is_empty() {
        Ok(item)
    } else {
        Err(Malformed("bytes after the end"))
    }
}

/// What the first eight bytes of an item say: its tag, its type, and how many bytes follow, padding included.
pub(super) fn head(bytes: &[u8; HEAD_BYTES]) -> (u32, u8, usize) {
    let [first, second, third, kind, length @ ..] = *bytes;
    let length = u32::from_be_bytes(length) as usize;
    (
        u32::from_be_bytes([0, first, second, third]),
        kind,
        padded(length),
    )
}

fn split(bytes: &[u8], depth: usize) -> Result<(Item<'_>, &[u8]), Malformed> {
    let Some((start, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Malformed("an item is cut"));
    };
    let (tag, kind, padded) = head(start);
    let length = u32::from_be_bytes([start[4], start[5], start[6], start[7]]) as usize;
    if rest.len() < padded {
        return Err(Malformed("a value is cut"));
    }
    let (value, rest) = (&rest[..length], &rest[padded..]);
    let value = match kind {
        1 => Value::Structure(items(value, depth)?),
        2 => Value::Integer(i32::from_be_bytes(exactly(value)?)),
        3 => Value::LongInteger(i64::from_be_bytes(exactly(value)?)),
        4 if length.is_multiple_of(8) => Value::BigInteger(value),
        5 => Value::Enumeration(u32::from_be_bytes(exactly(value)?)),
        6 => match u64::from_be_bytes(exactly(value)?) {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return Err(Malformed("a boolean is neither")),
        },
        7 => Value::Text(std::str::from_utf8(value).map_err(|_| Malformed("text is not UTF-8"))?),
        8 => Value::Bytes(value),
        9 => Value::DateTime(i64::from_be_bytes(exactly(value)?)),
        10 => Value::Interval(u32::from_be_bytes(exactly(value)?)),
        _ => return Err(Malformed("an unknown type")),
    };
    Ok((Item { tag, value }, rest))
}

fn items(mut bytes: &[u8], depth: usize) -> Result<Vec<Item<'_>>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("nested too deep"))?;
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (item, rest) = split(bytes, depth)?;
        items.push(item);
        bytes = rest;
    }
    Ok(items)
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value
        .try_into()
        .map_err(|_| Malformed("a number has another length"))
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An item whose texts and bytes live nowhere in particular.
    fn any_item() -> impl Strategy<Value = Item<'static>> {
        let leaked = |bytes: Vec<u8>| -> &'static [u8] { bytes.leak() };
        let value = prop_oneof![
            any::<i32>().prop_map(Value::Integer),
            any::<i64>().prop_map(Value::LongInteger),
            any::<u32>().prop_map(Value::Enumeration),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::DateTime),
            any::<u32>().prop_map(Value::Interval),
            "\\PC{0,20}".prop_map(|text| Value::Text(text.leak())),
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(move |bytes| Value::Bytes(leaked(bytes))),
            prop::collection::vec(any::<[u8; 8]>(), 0..4)
                .prop_map(move |words| Value::BigInteger(leaked(words.concat()))),
        ];
        let item = |value: BoxedStrategy<Value<'static>>| {
            (0..1_u32 << 24, value).prop_map(|(tag, value)| Item { tag, value })
        };
        item(value.boxed()).prop_recursive(6, 40, 6, move |inner| {
            item(
                prop::collection::vec(inner, 0..6)
                    .prop_map(Value::Structure)
                    .boxed(),
            )
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(item in any_item()) {
            let bytes = item.encode();
            prop_assert_eq!(decode(&bytes), Ok(item));
        }

        #[test]
        fn a_cut_is_noticed(item in any_item(), cut in any::<prop::sample::Index>()) {
            let bytes = item.encode();
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..12_u8, length in 0..40_u8) {
            let _ = decode(&bytes);
            // The same with a head that is nearly right.
            if let [_, _, _, at_kind, high, middle, low, at_length, ..] = &mut bytes[..] {
                (*at_kind, *high, *middle, *low, *at_length) = (kind, 0, 0, 0, length);
                let _ = decode(&bytes);
            }
        }

        #[test]
        fn one_wrong_byte_does_not_panic(item in any_item(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = item.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn the_standards_own_examples() {
        for (item, bytes) in [
            (Value::Integer(8), "42002002000000040000000800000000"),
            (
                Value::LongInteger(123_456_789_000_000_000),
                "420020030000000801b69b4ba5749200",
            ),
            (Value::Enumeration(255), "4200200500000004000000ff00000000"),
            (Value::Boolean(true), "42002006000000080000000000000001"),
            (
                Value::Text("Hello World"),
                "420020070000000b48656c6c6f20576f726c640000000000",
            ),
            (Value::Bytes(&[1, 2, 3]), "42002008000000030102030000000000"),
            (
                Value::DateTime(0x4788_3478),
                "42002009000000080000000047883478",
            ),
            (
                Value::Interval(10 * 24 * 60 * 60),
                "4200200a00000004000d2f0000000000",
            ),
            (
                Value::Structure(vec![
                    Item::new(0x42_0004, Value::Enumeration(254)),
                    Item::new(0x42_0005, Value::Integer(255)),
                ]),
                "42002001000000204200040500000004000000fe000000004200050200000004000000ff00000000",
            ),
        ] {
            let encoded = Item::new(0x42_0020, item).encode();
            let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, bytes);
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let mut item = Item::new(1, Value::Integer(1));
        for _ in 0..DEPTH_MAX {
            item = Item::structure(1, vec![item]);
        }
        assert!(decode(&item.encode()).is_ok());
        let deeper = Item::structure(1, vec![item]).encode();
        assert_eq!(decode(&deeper), Err(Malformed("nested too deep")));
    }
}
