//! The order of encoded keys is the order of CQL, and what went in comes out.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;
use palladium_protocol::types::{CqlType, CqlValue};
use proptest::prelude::*;
use uuid::Uuid;

use super::order::{self, Cursor, Spelling};
use super::wire;

fn encoded(ty: &CqlType, value: &CqlValue, reversed: bool) -> (Vec<u8>, Spelling) {
    let mut out = Vec::new();
    let spelling = order::encode(ty, Some(&value.to_bytes()), reversed, &mut out)
        .expect("a value of its type");
    (out, spelling)
}

/// Two values of one type, the type, and how Cassandra compares them.
fn comparable() -> impl Strategy<Value = (CqlType, CqlValue, CqlValue, Ordering)> {
    let text = || proptest::string::string_regex("[\0-\u{3}a-c]{0,4}").expect("a pattern");
    let text2 = || proptest::string::string_regex("[\0-\u{3}a-c]{0,4}").expect("a pattern");
    let ints = prop_oneof![Just(i64::MIN), Just(i64::MAX), -3i64..3, any::<i64>()].boxed();
    let floats = prop_oneof![
        Just(0.0f64),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        any::<f64>()
    ]
    .boxed();
    let big = prop_oneof![
        (-300i64..300).prop_map(BigInt::from),
        proptest::collection::vec(any::<u8>(), 1..130)
            .prop_map(|bytes| BigInt::from_signed_bytes_be(&bytes)),
    ]
    .boxed();
    prop_oneof![
        (ints.clone(), ints.clone()).prop_map(|(a, b)| {
            (
                CqlType::Bigint,
                CqlValue::Bigint(a),
                CqlValue::Bigint(b),
                a.cmp(&b),
            )
        }),
        (any::<i32>(), any::<i32>())
            .prop_map(|(a, b)| { (CqlType::Int, CqlValue::Int(a), CqlValue::Int(b), a.cmp(&b)) }),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
            (
                CqlType::Date,
                CqlValue::Date(a),
                CqlValue::Date(b),
                a.cmp(&b),
            )
        }),
        (floats.clone(), floats.clone()).prop_map(|(a, b)| {
            (
                CqlType::Double,
                CqlValue::Double(a),
                CqlValue::Double(b),
                java_compare(a, b),
            )
        }),
        (floats.clone(), floats).prop_map(|(a, b)| {
            let (a, b) = (a as f32, b as f32);
            (
                CqlType::Float,
                CqlValue::Float(a),
                CqlValue::Float(b),
                java_compare(a.into(), b.into()),
            )
        }),
        (text(), text2()).prop_map(|(a, b)| {
            let order = a.as_bytes().cmp(b.as_bytes());
            (CqlType::Text, CqlValue::Text(a), CqlValue::Text(b), order)
        }),
        (big.clone(), big.clone()).prop_map(|(a, b)| {
            let order = a.cmp(&b);
            (
                CqlType::Varint,
                CqlValue::Varint(a),
                CqlValue::Varint(b),
                order,
            )
        }),
        (big.clone(), -4i32..4, big, -4i32..4).prop_map(|(a, a_scale, b, b_scale)| {
            let scaled =
                |number: &BigInt, scale: i32| number * BigInt::from(10).pow((8 - scale) as u32);
            let order = scaled(&a, a_scale).cmp(&scaled(&b, b_scale));
            let value = |unscaled, scale| CqlValue::Decimal { unscaled, scale };
            (
                CqlType::Decimal,
                value(a, a_scale),
                value(b, b_scale),
                order,
            )
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
            let value = |number: u32| {
                let address = if number.is_multiple_of(2) {
                    IpAddr::V4(Ipv4Addr::from(number))
                } else {
                    IpAddr::V6(Ipv6Addr::from(u128::from(number) << 96))
                };
                CqlValue::Inet(address)
            };
            let order = value(a).to_bytes().cmp(&value(b).to_bytes());
            (CqlType::Inet, value(a), value(b), order)
        }),
        (
            proptest::collection::vec(text(), 0..4),
            proptest::collection::vec(text(), 0..4)
        )
            .prop_map(|(a, b)| {
                let order = a
                    .iter()
                    .map(|t| t.as_bytes())
                    .cmp(b.iter().map(|t| t.as_bytes()));
                let value = |list: Vec<String>| {
                    CqlValue::List(list.into_iter().map(CqlValue::Text).collect())
                };
                (
                    CqlType::list(CqlType::Text).frozen(),
                    value(a),
                    value(b),
                    order,
                )
            }),
        (any::<Option<i8>>(), text(), any::<Option<i8>>(), text()).prop_map(|(a1, a2, b1, b2)| {
            let order = a1.cmp(&b1).then(a2.as_bytes().cmp(b2.as_bytes()));
            let value = |one: Option<i8>, two| {
                CqlValue::Tuple(vec![one.map(CqlValue::Tinyint), Some(CqlValue::Text(two))])
            };
            (
                CqlType::tuple([CqlType::Tinyint, CqlType::Text]),
                value(a1, a2),
                value(b1, b2),
                order,
            )
        }),
    ]
}

/// `Double.compare`: -0.0 before 0.0, NaN last and equal to itself.
fn java_compare(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.total_cmp(&b),
    }
}

proptest! {
    #[test]
    fn the_order_of_keys_is_the_order_of_values((ty, a, b, order) in comparable(), follow in any::<[u8; 2]>()) {
        for reversed in [false, true] {
            let mut left = encoded(&ty, &a, reversed).0;
            let mut right = encoded(&ty, &b, reversed).0;
            let expected = if reversed { order.reverse() } else { order };
            prop_assert_eq!(left.cmp(&right), expected);
            // What follows decides only between equals.
            left.push(follow[0]);
            right.push(follow[1]);
            if order != Ordering::Equal {
                prop_assert_eq!(left.cmp(&right), expected);
            }
        }
    }

    #[test]
    fn what_went_in_comes_out((ty, value, _, _) in comparable(), reversed in any::<bool>()) {
        let (bytes, spelling) = encoded(&ty, &value, reversed);
        let mut cursor = Cursor::new(&bytes);
        cursor.reversed(reversed);
        let mut back = Vec::new();
        prop_assert!(order::decode(&ty, &mut cursor, &mut back).expect("its own encoding"));
        prop_assert!(cursor.rest().is_empty());
        let nan = matches!(&value, CqlValue::Double(number) if number.is_nan())
            || matches!(&value, CqlValue::Float(number) if number.is_nan());
        if spelling == Spelling::Kept && !nan {
            prop_assert_eq!(&back, &value.to_bytes());
        }
        // Even another spelling has the same place.
        let mut again = Vec::new();
        order::encode(&ty, Some(&back), reversed, &mut again).expect("a value");
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn hostile_keys_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let types = [
            CqlType::Decimal, CqlType::Varint, CqlType::Text, CqlType::Uuid,
            CqlType::map(CqlType::Decimal, CqlType::list(CqlType::Int)),
            CqlType::tuple([CqlType::Varint, CqlType::Text]),
            CqlType::vector(CqlType::Text, 3),
        ];
        for ty in types {
            let _ = order::decode(&ty, &mut Cursor::new(&bytes), &mut Vec::new());
            let _ = order::encode(&ty, Some(&bytes), false, &mut Vec::new());
            let _ = wire::normalize(&ty, &bytes);
        }
    }
}

#[test]
fn timeuuids_come_by_time_and_then_by_signed_bytes() {
    let of = |time_low: u32, last: u8| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&time_low.to_be_bytes());
        bytes[6] = 0x10;
        bytes[15] = last;
        CqlValue::Timeuuid(Uuid::from_bytes(bytes))
    };
    let sorted = [
        of(1, 0x80),
        of(1, 0x00),
        of(1, 0x7F),
        of(2, 0x80),
        of(0x8000_0000, 0),
    ];
    let keys: Vec<_> = sorted
        .iter()
        .map(|value| encoded(&CqlType::Timeuuid, value, false).0)
        .collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn uuids_come_by_version_first() {
    let of = |text: &str| CqlValue::Uuid(text.parse().expect("a uuid"));
    let sorted = [
        of("ffffffff-0000-1000-8000-000000000000"),
        of("00000000-0001-1000-8000-000000000000"),
        of("00000000-0000-4000-8000-000000000000"),
        of("00000001-0000-4000-8000-000000000000"),
    ];
    let keys: Vec<_> = sorted
        .iter()
        .map(|value| encoded(&CqlType::Uuid, value, false).0)
        .collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn one_decimal_has_one_place_and_says_that_its_spelling_is_lost() {
    let of = |unscaled: i32, scale| CqlValue::Decimal {
        unscaled: unscaled.into(),
        scale,
    };
    let (short, kept) = encoded(&CqlType::Decimal, &of(10, 0), false);
    let (long, lost) = encoded(&CqlType::Decimal, &of(1000, 2), false);
    assert_eq!(short, long);
    assert_eq!((kept, lost), (Spelling::Lost, Spelling::Lost));
    assert_eq!(
        encoded(&CqlType::Decimal, &of(1, -1), false).1,
        Spelling::Kept
    );
}

/// To find its digits takes time by the square of their number.
#[test]
fn a_decimal_of_more_digits_than_a_key_holds_has_no_place() {
    let place = |bytes: usize| {
        let wire = [&[0; 4][..], &vec![0x7F; bytes]].concat();
        order::encode(&CqlType::Decimal, Some(&wire), false, &mut Vec::new())
    };
    assert!(place(65_535).is_ok());
    assert_eq!(place(65_536), Err(super::Malformed::DIGITS));
}

#[test]
fn an_empty_value_comes_before_all_others_and_after_null() {
    let place = |value: Option<&[u8]>| {
        let mut out = Vec::new();
        order::encode(&CqlType::Int, value, false, &mut out).expect("an int");
        out
    };
    assert!(place(None) < place(Some(&[])));
    assert!(place(Some(&[])) < place(Some(&[0x80, 0, 0, 0])));
}

#[test]
fn a_set_is_sorted_and_holds_each_element_once() {
    let ty = CqlType::set(CqlType::Int).frozen();
    let unsorted = CqlValue::Set(vec![CqlValue::Int(3), CqlValue::Int(-1), CqlValue::Int(3)]);
    let sorted = CqlValue::Set(vec![CqlValue::Int(-1), CqlValue::Int(3)]);
    let bytes = unsorted.to_bytes();
    assert_eq!(
        wire::normalize(&ty, &bytes).expect("a set").as_ref(),
        sorted.to_bytes()
    );
}

#[test]
fn of_equal_map_keys_the_last_one_counts() {
    let ty = CqlType::map(CqlType::Int, CqlType::Int).frozen();
    let entry = |key, value| (CqlValue::Int(key), CqlValue::Int(value));
    let bytes = CqlValue::Map(vec![entry(2, 1), entry(1, 1), entry(2, 2)]).to_bytes();
    let expected = CqlValue::Map(vec![entry(1, 1), entry(2, 2)]).to_bytes();
    assert_eq!(
        wire::normalize(&ty, &bytes).expect("a map").as_ref(),
        expected
    );
}
