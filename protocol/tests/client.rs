//! A client written by others, `cassandra-protocol`: what it sends, we read; what we send, it reads.
//!
//! Its encoders and decoders know nothing of ours, so that a misreading of the specification would have to be made twice.

use std::collections::HashMap;

use bytes::{BufMut, BytesMut};
use cassandra_protocol::compression::Compression as TheirCompression;
use cassandra_protocol::consistency::Consistency as TheirConsistency;
use cassandra_protocol::crc;
use cassandra_protocol::frame::events::{SchemaChangeOptions, ServerEvent};
use cassandra_protocol::frame::frame_decoder::{
    FrameDecoder, Lz4FrameDecoder, UncompressedFrameDecoder,
};
use cassandra_protocol::frame::frame_encoder::{
    FrameEncoder, Lz4FrameEncoder, UncompressedFrameEncoder,
};
use cassandra_protocol::frame::message_batch::{
    BatchQuery, BatchQuerySubj, BatchType, BodyReqBatch,
};
use cassandra_protocol::frame::message_error::ErrorType;
use cassandra_protocol::frame::message_execute::BodyReqExecuteOwned;
use cassandra_protocol::frame::message_prepare::BodyReqPrepare;
use cassandra_protocol::frame::message_query::BodyReqQuery;
use cassandra_protocol::frame::message_request::RequestBody;
use cassandra_protocol::frame::message_response::ResponseBody;
use cassandra_protocol::frame::message_result::{ColType, ResResultBody};
use cassandra_protocol::frame::message_startup::BodyReqStartup;
use cassandra_protocol::frame::{
    Direction, Envelope, Flags, Opcode as TheirOpcode, Serialize, Version as TheirVersion,
};
use cassandra_protocol::query::{QueryParams as TheirParams, QueryValues};
use cassandra_protocol::token::Murmur3Token;
use cassandra_protocol::types::value::Value as TheirValue;
use cassandra_protocol::types::{CBytes, CBytesShort};
use palladium_protocol::request::{BatchKind, BatchStatement, QueryParams, Request};
use palladium_protocol::response::{
    BindMetadata, Change, ColumnSpec, EncodedMetadata, ErrorDetail, ErrorResponse, Event,
    MetadataMode, Prepared, ResultResponse, RowsWriter, SchemaChange, SchemaTarget, Supported,
    WriteType,
};
use palladium_protocol::types::{composite_key, token_of};
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Compression, Encoder, Extras, checksum};
use palladium_protocol::{
    Consistency, CqlType, Decoder, ErrorCode, Frame, FrameLimits, Opcode, Response, Value, Version,
};
use proptest::prelude::*;

const VERSIONS: [(Version, TheirVersion); 3] = [
    (Version::V3, TheirVersion::V3),
    (Version::V4, TheirVersion::V4),
    (Version::V5, TheirVersion::V5),
];

fn their(version: Version) -> TheirVersion {
    VERSIONS
        .into_iter()
        .find(|(ours, _)| *ours == version)
        .unwrap()
        .1
}

/// What they send as one request, as we receive it.
fn sent(body: &RequestBody, opcode: TheirOpcode, version: Version) -> Frame {
    let envelope = envelope(body, opcode, version);
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.feed(&envelope.encode_with(TheirCompression::None).unwrap());
    decoder.next_frame().unwrap().unwrap()
}

fn envelope(body: &RequestBody, opcode: TheirOpcode, version: Version) -> Envelope {
    let body = body.serialize_to_vec(their(version));
    let flags = Flags::empty();
    Envelope::new(
        their(version),
        Direction::Request,
        flags,
        opcode,
        7,
        body,
        None,
        Vec::new(),
    )
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::ALL.to_vec())
}

fn any_consistency() -> impl Strategy<Value = TheirConsistency> {
    prop::sample::select(vec![
        TheirConsistency::Any,
        TheirConsistency::One,
        TheirConsistency::Two,
        TheirConsistency::Three,
        TheirConsistency::Quorum,
        TheirConsistency::All,
        TheirConsistency::LocalQuorum,
        TheirConsistency::EachQuorum,
        TheirConsistency::Serial,
        TheirConsistency::LocalSerial,
        TheirConsistency::LocalOne,
    ])
}

fn any_value() -> impl Strategy<Value = TheirValue> {
    prop_oneof![
        4 => any::<Vec<u8>>().prop_map(TheirValue::Some),
        1 => Just(TheirValue::Null),
    ]
}

fn any_values() -> impl Strategy<Value = QueryValues> {
    prop_oneof![
        prop::collection::vec(any_value(), 0..20).prop_map(QueryValues::SimpleValues),
        prop::collection::hash_map("[a-z]{1,8}", any_value(), 1..6)
            .prop_map(QueryValues::NamedValues),
    ]
}

/// Parameters; those of version 5 are taken out for the others by `of_version`.
fn any_params() -> impl Strategy<Value = TheirParams> {
    let first = (
        any_consistency(),
        prop::option::of(any_values()),
        prop::option::of(any::<i32>()),
        prop::option::of(any::<Vec<u8>>()),
    );
    let second = (
        prop::option::of(any_consistency()),
        prop::option::of(i64::MIN + 1..),
        prop::option::of("[a-z]{1,8}"),
        prop::option::of(any::<i32>()),
    );
    (first, second).prop_map(
        |(
            (consistency, values, page_size, paging_state),
            (serial_consistency, timestamp, keyspace, now_in_seconds),
        )| TheirParams {
            consistency,
            with_names: matches!(values, Some(QueryValues::NamedValues(_))),
            values,
            page_size,
            paging_state: paging_state.map(CBytes::new),
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
        },
    )
}

fn of_version(mut params: TheirParams, version: Version) -> TheirParams {
    if version < Version::V5 {
        params.keyspace = None;
        params.now_in_seconds = None;
    }
    params
}

fn same_consistency(ours: Consistency, theirs: TheirConsistency) -> bool {
    i16::try_from(ours.number()) == Ok(i16::from(theirs))
}

fn same_value(ours: Value<'_>, theirs: &TheirValue) -> bool {
    match (ours, theirs) {
        (Value::Bytes(ours), TheirValue::Some(theirs)) => ours == theirs,
        (Value::Null, TheirValue::Null) => true,
        (Value::Unset, TheirValue::NotSet) => true,
        _ => false,
    }
}

fn check_params(ours: &QueryParams<'_>, theirs: &TheirParams) {
    assert!(same_consistency(ours.consistency, theirs.consistency));
    match &theirs.values {
        None => assert!(ours.values.is_empty()),
        Some(QueryValues::SimpleValues(values)) => {
            assert_eq!(ours.values.len(), values.len());
            assert!(!ours.values.are_named());
            assert!(
                ours.values
                    .iter()
                    .zip(values)
                    .all(|(ours, theirs)| same_value(ours, theirs))
            );
        }
        Some(QueryValues::NamedValues(values)) => {
            assert_eq!(ours.values.len(), values.len());
            assert_eq!(ours.values.iter().count(), values.len());
            let named: HashMap<&str, Value<'_>> = ours.values.iter_named().collect();
            assert!(
                values
                    .iter()
                    .all(|(name, theirs)| same_value(named[name.as_str()], theirs))
            );
        }
    }
    assert_eq!(ours.page_size, theirs.page_size);
    let paging_state = theirs
        .paging_state
        .as_ref()
        .and_then(|state| state.as_slice());
    assert_eq!(ours.paging_state, paging_state);
    match (ours.serial_consistency, theirs.serial_consistency) {
        (None, None) => {}
        (Some(ours), Some(theirs)) => assert!(same_consistency(ours, theirs)),
        different => panic!("{different:?}"),
    }
    assert_eq!(ours.timestamp, theirs.timestamp);
    assert_eq!(ours.keyspace, theirs.keyspace.as_deref());
    // They give it a sign, which has no meaning to Cassandra.
    let now_in_seconds = theirs.now_in_seconds.map(|seconds| seconds as u32);
    assert_eq!(ours.now_in_seconds, now_in_seconds);
}

proptest! {
    #[test]
    fn their_query_is_read(version in any_version(), query: String, params in any_params()) {
        let params = of_version(params, version);
        let body = RequestBody::Query(BodyReqQuery { query: query.clone(), query_params: params.clone() });
        let frame = sent(&body, TheirOpcode::Query, version);
        prop_assert_eq!(frame.stream, 7);
        let Ok(Request::Query(ours)) = Request::decode(&frame) else { panic!("not a QUERY") };
        prop_assert_eq!(ours.query, query);
        check_params(&ours.params, &params);
    }

    #[test]
    fn their_execute_is_read(version in any_version(), id: [u8; 16], metadata_id: [u8; 16], params in any_params()) {
        let params = of_version(params, version);
        let result_metadata_id = (version >= Version::V5).then(|| CBytesShort::new(metadata_id.to_vec()));
        let body = RequestBody::Execute(BodyReqExecuteOwned::new(
            CBytesShort::new(id.to_vec()),
            result_metadata_id,
            params.clone(),
        ));
        let frame = sent(&body, TheirOpcode::Execute, version);
        let Ok(Request::Execute(ours)) = Request::decode(&frame) else { panic!("not an EXECUTE") };
        prop_assert_eq!(ours.id, &id[..]);
        prop_assert_eq!(ours.result_metadata_id, (version >= Version::V5).then_some(&metadata_id[..]));
        check_params(&ours.params, &params);
    }

    #[test]
    fn their_batch_is_read(
        version in any_version(),
        kind in 0..3_u8,
        statements in prop::collection::vec((any::<bool>(), "[a-z ]{0,20}", prop::collection::vec(any_value(), 0..5)), 0..10),
        params in any_params(),
    ) {
        let params = of_version(params, version);
        let queries = statements.iter().map(|(prepared, text, values)| {
            let subject = if *prepared {
                BatchQuerySubj::PreparedId(CBytesShort::new(text.as_bytes().to_vec()))
            } else {
                BatchQuerySubj::QueryString(text.clone())
            };
            BatchQuery::new(subject, QueryValues::SimpleValues(values.clone()))
        });
        let body = RequestBody::Batch(BodyReqBatch::new(
            [BatchType::Logged, BatchType::Unlogged, BatchType::Counter][usize::from(kind)],
            queries.collect(),
            params.consistency,
            params.serial_consistency,
            params.timestamp,
            params.keyspace.clone(),
            params.now_in_seconds,
        ));
        let frame = sent(&body, TheirOpcode::Batch, version);
        let Ok(Request::Batch(ours)) = Request::decode(&frame) else { panic!("not a BATCH") };
        prop_assert_eq!(ours.kind, [BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter][usize::from(kind)]);
        prop_assert_eq!(ours.iter().count(), statements.len());
        for (entry, (prepared, text, values)) in ours.iter().zip(&statements) {
            let statement = if *prepared {
                BatchStatement::Prepared(text.as_bytes())
            } else {
                BatchStatement::Query(text)
            };
            prop_assert!(entry.statement == statement);
            prop_assert_eq!(entry.values.len(), values.len());
            prop_assert!(entry.values.iter().zip(values).all(|(ours, theirs)| same_value(ours, theirs)));
        }
        let params = TheirParams { values: None, with_names: false, page_size: None, paging_state: None, ..params };
        check_params(&ours.params, &params);
    }

    #[test]
    fn their_prepare_and_startup_are_read(version in any_version(), query: String, keyspace in prop::option::of("[a-z]{1,8}")) {
        let keyspace = keyspace.filter(|_| version >= Version::V5);
        let body = RequestBody::Prepare(BodyReqPrepare::new(query.clone(), keyspace.clone()));
        let frame = sent(&body, TheirOpcode::Prepare, version);
        let Ok(Request::Prepare(ours)) = Request::decode(&frame) else { panic!("not a PREPARE") };
        prop_assert_eq!((ours.query, ours.keyspace), (query.as_str(), keyspace.as_deref()));

        let body = RequestBody::Startup(BodyReqStartup::new(Some("lz4".into()), their(version)));
        let frame = sent(&body, TheirOpcode::Startup, version);
        let Ok(Request::Startup(ours)) = Request::decode(&frame) else { panic!("not a STARTUP") };
        prop_assert_eq!(ours.cql_version(), Some("3.0.0"));
        prop_assert_eq!(ours.compression(version), Ok(Some(Compression::Lz4)));
    }

    /// Their framing, ours on the other side; and back.
    #[test]
    fn segments_travel_both_ways(lz4: bool, queries in prop::collection::vec(("[ab]{0,50}", 1..6000_usize), 1..8)) {
        let format = if lz4 { SegmentFormat::Lz4 } else { SegmentFormat::Plain };
        let envelopes: Vec<Vec<u8>> = queries
            .iter()
            .map(|(text, times)| {
                let body = BodyReqQuery { query: text.repeat(*times), query_params: TheirParams::default() };
                let envelope = envelope(&RequestBody::Query(body), TheirOpcode::Query, Version::V5);
                envelope.encode_with(TheirCompression::None).unwrap()
            })
            .collect();
        let bytes = if lz4 {
            their_segments(&mut Lz4FrameEncoder::default(), &envelopes)
        } else {
            their_segments(&mut UncompressedFrameEncoder::default(), &envelopes)
        };
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.use_segments(format);
        decoder.feed(&bytes);
        for (text, times) in &queries {
            let frame = decoder.next_frame().unwrap().unwrap();
            let Ok(Request::Query(query)) = Request::decode(&frame) else { panic!("not a QUERY") };
            prop_assert_eq!(query.query, text.repeat(*times));
        }
        prop_assert_eq!(decoder.next_frame(), Ok(None));

        let mut encoder = Encoder::new();
        encoder.use_segments(format);
        let mut out = BytesMut::new();
        for (text, times) in &queries {
            encoder.envelope(&mut out, Version::V5, 3, Opcode::Result, &Extras::NONE, |out| out.put_slice(text.repeat(*times).as_bytes()));
        }
        encoder.flush(&mut out);
        let mut out = out.to_vec();
        let arrived = if lz4 {
            Lz4FrameDecoder::default().consume(&mut out, TheirCompression::Lz4)
        } else {
            UncompressedFrameDecoder::default().consume(&mut out, TheirCompression::None)
        };
        let arrived = arrived.unwrap();
        prop_assert_eq!(arrived.len(), queries.len());
        for (envelope, (text, times)) in arrived.iter().zip(&queries) {
            prop_assert!(envelope.body == text.repeat(*times).as_bytes());
        }
    }

    #[test]
    fn checksums_and_tokens_agree(bytes: Vec<u8>) {
        prop_assert_eq!(checksum::crc24(&bytes), crc::crc24(&bytes) as u32 & 0xff_ffff);
        prop_assert_eq!(checksum::crc32(&bytes), crc::crc32(&bytes));
        if !bytes.is_empty() {
            prop_assert_eq!(token_of(&bytes), Murmur3Token::generate(&bytes).value);
        }
    }

    #[test]
    fn compressed_requests_are_read(query in "[ab]{0,50}", times in 1..300_usize, snappy: bool) {
        let (theirs, ours) = if snappy {
            (TheirCompression::Snappy, Compression::Snappy)
        } else {
            (TheirCompression::Lz4, Compression::Lz4)
        };
        let body = BodyReqQuery { query: query.repeat(times), query_params: TheirParams::default() };
        let envelope = envelope(&RequestBody::Query(body), TheirOpcode::Query, Version::V4);
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.use_compression(Some(ours));
        decoder.feed(&envelope.encode_with(theirs).unwrap());
        let frame = decoder.next_frame().unwrap().unwrap();
        let Ok(Request::Query(read)) = Request::decode(&frame) else { panic!("not a QUERY") };
        prop_assert_eq!(read.query, query.repeat(times));
    }
}

fn their_segments(encoder: &mut impl FrameEncoder, envelopes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.reset();
    for envelope in envelopes {
        if encoder.can_fit(envelope.len()) {
            encoder.add_envelope(envelope.clone());
            continue;
        }
        if encoder.has_envelopes() {
            bytes.extend_from_slice(encoder.finalize_self_contained());
            encoder.reset();
        }
        if encoder.can_fit(envelope.len()) {
            encoder.add_envelope(envelope.clone());
            continue;
        }
        let mut rest = &envelope[..];
        while !rest.is_empty() {
            let (taken, segment) = encoder.finalize_non_self_contained(rest);
            bytes.extend_from_slice(segment);
            rest = &rest[taken..];
            encoder.reset();
        }
    }
    if encoder.has_envelopes() {
        bytes.extend_from_slice(encoder.finalize_self_contained());
    }
    bytes
}

/// What they make of a response of ours.
fn received(version: Version, response: &Response<'_>) -> ResponseBody {
    let mut out = BytesMut::new();
    Encoder::new().response(&mut out, version, 7, &Extras::NONE, response);
    let parsed = Envelope::from_buffer(&out, TheirCompression::None).unwrap();
    assert_eq!(parsed.envelope_len, out.len());
    assert_eq!(parsed.envelope.version, their(version));
    parsed.envelope.response_body().unwrap()
}

#[test]
fn they_read_our_small_answers() {
    for version in Version::ALL {
        assert!(matches!(
            received(version, &Response::Ready),
            ResponseBody::Ready
        ));
        let supported = Supported::new("3.4.7");
        let ResponseBody::Supported(read) = received(version, &Response::Supported(&supported))
        else {
            panic!("not a SUPPORTED");
        };
        assert_eq!(read.data["PROTOCOL_VERSIONS"], ["3/v3", "4/v4", "5/v5"]);
        assert_eq!(read.data["CQL_VERSION"], ["3.4.7"]);
        let ResponseBody::Result(ResResultBody::SetKeyspace(read)) = received(
            version,
            &Response::Result(ResultResponse::SetKeyspace("ks")),
        ) else {
            panic!("not a SET_KEYSPACE");
        };
        assert_eq!(read.body, "ks");
    }
}

#[test]
fn they_read_our_warnings_and_tracing_id() {
    let tracing_id = uuid::Uuid::from_u128(0x1234_5678_0000_1000_8000_0000_0000_0000);
    let warnings = ["slow".to_owned()];
    let extras = Extras {
        tracing_id: Some(tracing_id),
        warnings: &warnings,
        custom_payload: &[],
    };
    let mut out = BytesMut::new();
    let void = Response::Result(ResultResponse::Void);
    Encoder::new().response(&mut out, Version::V4, 7, &extras, &void);
    let envelope = Envelope::from_buffer(&out, TheirCompression::None)
        .unwrap()
        .envelope;
    assert_eq!(envelope.tracing_id, Some(tracing_id));
    assert_eq!(envelope.warnings, warnings);
}

#[test]
fn they_read_our_events() {
    let change = Event::SchemaChange(SchemaChange {
        change: Change::Dropped,
        keyspace: "ks".into(),
        target: SchemaTarget::Aggregate {
            name: "a".into(),
            arguments: vec!["int".into()],
        },
    });
    let ResponseBody::Event(event) = received(Version::V5, &Response::Event(&change)) else {
        panic!("not an EVENT");
    };
    let ServerEvent::SchemaChange(read) = event.event else {
        panic!("not a SCHEMA_CHANGE");
    };
    assert!(matches!(
        read.options,
        SchemaChangeOptions::FunctionAggregate(keyspace, name, arguments)
            if keyspace == "ks" && name == "a" && arguments == ["int"]
    ));
    let up = Event::Up("127.0.0.1:9042".parse().unwrap());
    let ResponseBody::Event(event) = received(Version::V3, &Response::Event(&up)) else {
        panic!("not an EVENT");
    };
    assert!(matches!(event.event, ServerEvent::StatusChange(change) if change.addr.port() == 9042));
}

#[test]
fn they_read_our_errors() {
    for version in Version::ALL {
        let invalid = ErrorResponse::plain(ErrorCode::Invalid, "unconfigured table t");
        let ResponseBody::Error(read) = received(version, &Response::Error(&invalid)) else {
            panic!("not an ERROR");
        };
        assert_eq!(
            (read.message.as_str(), read.ty),
            ("unconfigured table t", ErrorType::Invalid)
        );

        let timeout = ErrorResponse {
            message: "late".into(),
            detail: ErrorDetail::WriteTimeout {
                consistency: Consistency::Quorum,
                received: 1,
                block_for: 2,
                write_type: WriteType::BatchLog,
                contentions: 0,
            },
        };
        let ResponseBody::Error(read) = received(version, &Response::Error(&timeout)) else {
            panic!("not an ERROR");
        };
        assert!(matches!(read.ty, ErrorType::WriteTimeout(timeout) if timeout.block_for == 2));

        let unprepared = ErrorResponse {
            message: "gone".into(),
            detail: ErrorDetail::Unprepared { id: vec![1, 2, 3] },
        };
        let ResponseBody::Error(read) = received(version, &Response::Error(&unprepared)) else {
            panic!("not an ERROR");
        };
        let theirs = CBytesShort::new(vec![1, 2, 3]);
        assert!(matches!(read.ty, ErrorType::Unprepared(unprepared) if unprepared.id == theirs));
    }
}

fn columns() -> Vec<ColumnSpec> {
    [
        ("k", CqlType::Int),
        ("v", CqlType::list(CqlType::Text)),
        ("d", CqlType::Date),
    ]
    .map(|(name, ty)| ColumnSpec {
        keyspace: "ks".into(),
        table: "t".into(),
        name: name.into(),
        ty,
    })
    .to_vec()
}

#[test]
fn they_read_our_prepared_statement() {
    let bind = BindMetadata::new(&columns(), vec![0]);
    let result = EncodedMetadata::new(&columns(), [9; 16]);
    // They expect key indexes in version 3 too, which has none.
    for version in [Version::V4, Version::V5] {
        let prepared = Response::Result(ResultResponse::Prepared(Prepared {
            id: &[1; 16],
            bind: &bind,
            result: &result,
        }));
        let ResponseBody::Result(ResResultBody::Prepared(read)) = received(version, &prepared)
        else {
            panic!("not a PREPARED");
        };
        assert_eq!(read.id, CBytesShort::new(vec![1; 16]));
        assert_eq!(read.metadata.pk_indexes, [0]);
        assert_eq!(read.metadata.col_specs[1].col_type.id, ColType::List);
        assert_eq!(read.result_metadata.col_specs[2].col_type.id, ColType::Date);
        assert_eq!(read.result_metadata_id.is_some(), version >= Version::V5);
    }
}

#[test]
fn they_read_our_rows() {
    for (version, mode) in [
        (Version::V3, MetadataMode::Full),
        (Version::V4, MetadataMode::Full),
        (Version::V5, MetadataMode::Changed),
    ] {
        let metadata = EncodedMetadata::new(&columns(), [9; 16]);
        let mut out = BytesMut::new();
        Encoder::new().envelope(&mut out, version, 7, Opcode::Result, &Extras::NONE, |out| {
            let mut rows = RowsWriter::begin(out, version, &metadata, mode, Some(&[5, 5]));
            for row in 0..3_i32 {
                rows.cell(Some(&row.to_be_bytes()));
                rows.cell(None);
                rows.cell_with(|out| out.put_u32(1 << 31));
                rows.end_row();
            }
            rows.finish();
        });
        let envelope = Envelope::from_buffer(&out, TheirCompression::None)
            .unwrap()
            .envelope;
        let ResponseBody::Result(ResResultBody::Rows(read)) = envelope.response_body().unwrap()
        else {
            panic!("not ROWS");
        };
        assert_eq!(read.rows_count, 3);
        assert_eq!(read.metadata.paging_state, Some(CBytes::new(vec![5, 5])));
        assert_eq!(
            read.metadata.new_metadata_id.is_some(),
            mode == MetadataMode::Changed
        );
        assert_eq!(read.rows_content[2][0], CBytes::new(vec![0, 0, 0, 2]));
        assert_eq!(read.rows_content[2][1], CBytes::new_null());
    }
}

#[test]
fn known_tokens() {
    // Known from other drivers' tests.
    let keys: [(Vec<u8>, i64); 6] = [
        (b"".to_vec(), i64::MIN),
        (b"123".to_vec(), -7_468_325_962_851_647_638),
        (
            b"\x00\xff\x10\xfa\x99".repeat(10),
            5_837_342_703_291_459_765,
        ),
        (b"\xfe".repeat(8), -8_927_430_733_708_461_935),
        (b"\x10".repeat(8), 1_446_172_840_243_228_796),
        (b"9223372036854775807".to_vec(), 7_162_290_910_810_015_547),
    ];
    for (key, token) in keys {
        assert_eq!(token_of(&key), token, "{key:?}");
    }
    let one = 1_i32.to_be_bytes();
    assert_eq!(token_of(&one), -4_069_959_284_402_364_209);
    let composite = composite_key([&one[..], &b"a"[..]]).unwrap();
    assert_eq!(composite, b"\x00\x04\x00\x00\x00\x01\x00\x00\x01a\x00");
    assert_eq!(
        token_of(&composite),
        Murmur3Token::generate(&composite).value
    );
    assert_eq!(composite_key([&[0; 65_536][..]]), None);
}
