//! Properties: what is encoded decodes to what it was, for every value, type and frame.
//!
//! proptest prints the smallest failing case and the seed it came from.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use num_bigint::BigInt;
use palladium_protocol::types::{
    Duration, UserType, composite_key, decode, split_composite_key, token_of, validate, vint,
};
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Compression, Encoder, Extras, Reader};
use palladium_protocol::{CqlType, CqlValue, Decoder, FrameLimits, Opcode, Version};
use proptest::prelude::*;

/// A type, and values of it.
fn typed_value() -> impl Strategy<Value = (CqlType, CqlValue)> {
    any_type().prop_flat_map(|ty| {
        let values = value_of(&ty);
        (Just(ty), values)
    })
}

fn any_type() -> impl Strategy<Value = CqlType> {
    let native = prop::sample::select(CqlType::NATIVE.to_vec());
    native.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| CqlType::list(ty.frozen())),
            inner.clone().prop_map(|ty| CqlType::set(ty.frozen())),
            (inner.clone(), inner.clone())
                .prop_map(|(key, value)| CqlType::map(key.frozen(), value.frozen())),
            prop::collection::vec(inner.clone(), 1..4).prop_map(CqlType::tuple),
            (inner.clone(), 1..5_u16)
                .prop_map(|(ty, dimensions)| CqlType::vector(ty.frozen(), dimensions)),
            prop::collection::vec(("[a-z]{1,4}", inner.clone()), 1..4).prop_map(user_type),
            inner.clone().prop_map(CqlType::frozen),
            inner.prop_map(CqlType::reversed),
        ]
    })
}

fn user_type(fields: Vec<(String, CqlType)>) -> CqlType {
    let udt = UserType {
        keyspace: "ks".into(),
        name: "u".into(),
        fields,
    };
    CqlType::Udt(udt.into())
}

fn value_of(ty: &CqlType) -> BoxedStrategy<CqlValue> {
    match ty.bare() {
        CqlType::Ascii => "[ -~]{0,20}".prop_map(CqlValue::Ascii).boxed(),
        CqlType::Bigint => any::<i64>().prop_map(CqlValue::Bigint).boxed(),
        CqlType::Blob => any::<Vec<u8>>().prop_map(CqlValue::Blob).boxed(),
        CqlType::Boolean => any::<bool>().prop_map(CqlValue::Boolean).boxed(),
        CqlType::Counter => any::<i64>().prop_map(CqlValue::Counter).boxed(),
        CqlType::Date => any::<u32>().prop_map(CqlValue::Date).boxed(),
        CqlType::Decimal => (big_int(), any::<i32>())
            .prop_map(|(unscaled, scale)| CqlValue::Decimal { unscaled, scale })
            .boxed(),
        CqlType::Double => prop::num::f64::NORMAL.prop_map(CqlValue::Double).boxed(),
        CqlType::Duration => duration().prop_map(CqlValue::Duration).boxed(),
        CqlType::Float => prop::num::f32::NORMAL.prop_map(CqlValue::Float).boxed(),
        CqlType::Inet => any::<IpAddr>().prop_map(CqlValue::Inet).boxed(),
        CqlType::Int => any::<i32>().prop_map(CqlValue::Int).boxed(),
        CqlType::Smallint => any::<i16>().prop_map(CqlValue::Smallint).boxed(),
        CqlType::Text => any::<String>().prop_map(CqlValue::Text).boxed(),
        CqlType::Time => (0..86_400_000_000_000_i64).prop_map(CqlValue::Time).boxed(),
        CqlType::Timestamp => any::<i64>().prop_map(CqlValue::Timestamp).boxed(),
        CqlType::Timeuuid => any::<u128>()
            .prop_map(|bits| bits & !(0xf << 76) | 1 << 76)
            .prop_map(|bits| CqlValue::Timeuuid(uuid::Uuid::from_u128(bits)))
            .boxed(),
        CqlType::Tinyint => any::<i8>().prop_map(CqlValue::Tinyint).boxed(),
        CqlType::Uuid => any::<u128>()
            .prop_map(|bits| CqlValue::Uuid(uuid::Uuid::from_u128(bits)))
            .boxed(),
        CqlType::Varint => big_int().prop_map(CqlValue::Varint).boxed(),
        CqlType::List(element) => several(element).prop_map(CqlValue::List).boxed(),
        CqlType::Set(element) => several(element).prop_map(CqlValue::Set).boxed(),
        CqlType::Map(key, value) => prop::collection::vec((value_of(key), value_of(value)), 0..4)
            .prop_map(CqlValue::Map)
            .boxed(),
        CqlType::Tuple(fields) => fields_of(fields.iter()).prop_map(CqlValue::Tuple).boxed(),
        CqlType::Udt(udt) => fields_of(udt.fields.iter().map(|(_, ty)| ty))
            .prop_map(CqlValue::Udt)
            .boxed(),
        CqlType::Vector(element, dimensions) => {
            prop::collection::vec(value_of(element), usize::from(*dimensions))
                .prop_map(CqlValue::Vector)
                .boxed()
        }
        other => panic!("no values for {other:?}"),
    }
}

fn several(element: &CqlType) -> impl Strategy<Value = Vec<CqlValue>> + use<> {
    prop::collection::vec(value_of(element), 0..4)
}

fn fields_of<'a>(types: impl Iterator<Item = &'a CqlType>) -> BoxedStrategy<Vec<Option<CqlValue>>> {
    let fields: Vec<_> = types.map(|ty| prop::option::of(value_of(ty))).collect();
    fields.boxed()
}

fn big_int() -> impl Strategy<Value = BigInt> {
    any::<Vec<u8>>().prop_map(|bytes| BigInt::from_signed_bytes_be(&bytes))
}

fn duration() -> impl Strategy<Value = Duration> {
    let positive = (0..=i32::MAX, 0..=i32::MAX, 0..=i64::MAX);
    (positive, any::<bool>()).prop_map(|((months, days, nanoseconds), negative)| {
        let sign = if negative { -1 } else { 1 };
        Duration {
            months: sign * months,
            days: sign * days,
            nanoseconds: i64::from(sign) * nanoseconds,
        }
    })
}

/// A type without what says that it is frozen or reversed: so much of it the wire keeps.
fn unwrapped(ty: &CqlType) -> CqlType {
    match ty.bare() {
        CqlType::List(element) => CqlType::list(unwrapped(element)),
        CqlType::Set(element) => CqlType::set(unwrapped(element)),
        CqlType::Map(key, value) => CqlType::map(unwrapped(key), unwrapped(value)),
        CqlType::Tuple(fields) => CqlType::tuple(fields.iter().map(unwrapped)),
        CqlType::Vector(element, dimensions) => CqlType::vector(unwrapped(element), *dimensions),
        CqlType::Udt(udt) => user_type(
            udt.fields
                .iter()
                .map(|(name, ty)| (name.clone(), unwrapped(ty)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// A vector travels under its class name, which keeps the wrappers inside it.
fn has_vector(ty: &CqlType) -> bool {
    match ty.bare() {
        CqlType::List(inner) | CqlType::Set(inner) => has_vector(inner),
        CqlType::Map(key, value) => has_vector(key) || has_vector(value),
        CqlType::Tuple(fields) => fields.iter().any(has_vector),
        CqlType::Udt(udt) => udt.fields.iter().any(|(_, ty)| has_vector(ty)),
        CqlType::Vector(..) => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_value_decodes_to_itself((ty, value) in typed_value()) {
        let bytes = value.to_bytes();
        prop_assert_eq!(bytes.len(), value.encoded_bytes());
        prop_assert_eq!(validate(&ty, &bytes), Ok(()));
        prop_assert_eq!(decode(&ty, &bytes), Ok(value));
    }

    #[test]
    fn checking_and_building_agree_on_any_bytes(ty in any_type(), bytes in any::<Vec<u8>>()) {
        match decode(&ty, &bytes) {
            Ok(_) => prop_assert_eq!(validate(&ty, &bytes), Ok(())),
            Err(error) => prop_assert_eq!(validate(&ty, &bytes), Err(error)),
        }
    }

    #[test]
    fn a_damaged_value_is_refused_or_is_another((ty, value) in typed_value(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = value.to_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(other) = decode(&ty, &bytes) {
                prop_assert!(validate(&ty, &other.to_bytes()).is_ok());
            }
            bytes.truncate(at);
            prop_assert_eq!(decode(&ty, &bytes).is_ok(), validate(&ty, &bytes).is_ok());
        }
    }

    #[test]
    fn a_types_option_reads_back(ty in any_type()) {
        prop_assume!(!has_vector(&ty));
        for version in Version::ALL {
            let mut out = BytesMut::new();
            ty.put_option(version, &mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(CqlType::read_option(&mut reader), Ok(unwrapped(&ty)));
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_types_class_name_reads_back(ty in any_type()) {
        // Of what is inside something frozen the name does not say that it is, too.
        let name = ty.class_name();
        let read = CqlType::from_class_name(&name);
        prop_assert_eq!(read.as_ref().map(CqlType::class_name), Ok(name));
        prop_assert_eq!(read.as_ref().map(unwrapped), Ok(unwrapped(&ty)));
    }

    #[test]
    fn an_unsigned_vint_reads_back(number: u64, bits in 0..64_u32) {
        let number = number >> bits;
        let mut out = Vec::new();
        vint::put_unsigned_vint(&mut out, number);
        prop_assert_eq!(vint::read_unsigned_vint(&out), Some((number, out.len())));
    }

    #[test]
    fn a_composite_key_splits_into_its_columns(columns: Vec<Vec<u8>>) {
        let key = composite_key(columns.iter().map(Vec::as_slice)).unwrap();
        let split: Vec<&[u8]> = split_composite_key(&key).collect();
        prop_assert_eq!(split, columns);
        prop_assert!(key.is_empty() || token_of(&key) != i64::MIN);
    }

    /// Any bodies, in any framing, cut anywhere on the way.
    #[test]
    fn frames_arrive_as_they_were_sent(
        framing in framings(),
        bodies in prop::collection::vec((any::<i16>(), prop::collection::vec(0..4_u8, 0..3000), 1..120_usize), 1..12),
        cut in 1..5000_usize,
    ) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::of_responses(FrameLimits::default());
        match framing {
            Framing::Envelopes(_, compression) => {
                encoder.use_compression(compression);
                decoder.use_compression(compression);
            }
            Framing::Segments(format) => {
                encoder.use_segments(format);
                decoder.use_segments(format);
            }
        }
        let version = framing.version();
        let mut out = BytesMut::new();
        let sent: Vec<(i16, Vec<u8>)> = bodies.into_iter().map(|(stream, body, times)| (stream, body.repeat(times))).collect();
        for (stream, body) in &sent {
            encoder.envelope(&mut out, version, *stream, Opcode::Result, &Extras::NONE, |out| out.put_slice(body));
        }
        encoder.flush(&mut out);
        let mut arrived = Vec::new();
        for piece in out.chunks(cut) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                prop_assert_eq!(frame.version, version);
                arrived.push((frame.stream, frame.body.to_vec()));
            }
        }
        prop_assert!(arrived == sent, "{} frames of {}", arrived.len(), sent.len());
        prop_assert!(decoder.input().is_empty());
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Envelopes(Version, Option<Compression>),
    Segments(SegmentFormat),
}

impl Framing {
    fn version(self) -> Version {
        match self {
            Self::Envelopes(version, _) => version,
            Self::Segments(_) => Version::V5,
        }
    }
}

fn framings() -> impl Strategy<Value = Framing> {
    prop::sample::select(vec![
        Framing::Envelopes(Version::V3, None),
        Framing::Envelopes(Version::V3, Some(Compression::Snappy)),
        Framing::Envelopes(Version::V4, Some(Compression::Lz4)),
        Framing::Segments(SegmentFormat::Plain),
        Framing::Segments(SegmentFormat::Lz4),
    ])
}
