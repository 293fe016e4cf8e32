//! Every request, in every version that changes it.

use palladium_protocol::request::{
    self, BatchEntry, BatchKind, BatchStatement, EventType, Request,
};
use palladium_protocol::wire::Compression;
use palladium_protocol::{Consistency, ErrorCode, Frame, ProtocolError, Value, Version};

use crate::hex::frame;

fn refused(frame: &Frame) -> String {
    match Request::decode(frame) {
        Err(ProtocolError::Reject(complaint)) => {
            assert_eq!(complaint.stream, frame.stream);
            assert_eq!(complaint.code, ErrorCode::ProtocolError);
            complaint.message.into_owned()
        }
        other => panic!("not refused: {other:?}"),
    }
}

const STARTUP_V4: &str = "
    04 00 0000 01  # request v4, no flags, stream 0, STARTUP
    00000028       # body: 40 bytes
    0002           # two options
    000b 'CQL_VERSION' 0005 '3.4.7'
    000b 'COMPRESSION' 0003 'LZ4'
";

#[test]
fn startup_names_its_options() {
    let frame = frame(STARTUP_V4);
    let Ok(Request::Startup(startup)) = Request::decode(&frame) else {
        panic!("not a STARTUP");
    };
    assert_eq!(startup.cql_version(), Some("3.4.7"));
    assert_eq!(startup.compression(Version::V4), Ok(Some(Compression::Lz4)));
    assert_eq!(startup.options.iter().count(), 2);
}

#[test]
fn startup_may_not_ask_for_snappy_in_version_five() {
    let snappy = "
        05 00 0000 01 00000017
        0001 000b 'compression' 0006 'Snappy'
    ";
    let frame = frame(snappy);
    let Ok(Request::Startup(startup)) = Request::decode(&frame) else {
        panic!("not a STARTUP");
    };
    assert_eq!(
        startup.compression(Version::V4),
        Ok(Some(Compression::Snappy))
    );
    let refused = startup.compression(Version::V5).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Snappy compression is not supported in protocol V5"
    );
}

#[test]
fn options_is_empty() {
    let frame = frame("03 00 0007 05 00000000");
    assert_eq!((frame.version, frame.stream), (Version::V3, 7));
    assert!(matches!(Request::decode(&frame), Ok(Request::Options)));
}

#[test]
fn a_negative_stream_is_a_stream() {
    let frame = frame("04 00 ffff 05 00000000");
    assert_eq!(frame.stream, -1);
}

#[test]
fn auth_response_carries_a_token() {
    let frame = frame("04 00 0001 0f 00000008  00000004 00 'a' 00 'b'");
    let Ok(Request::AuthResponse(auth)) = Request::decode(&frame) else {
        panic!("not an AUTH_RESPONSE");
    };
    assert_eq!(auth.token, Some(&b"\0a\0b"[..]));
}

#[test]
fn register_lists_events() {
    let frame = frame(
        "
        04 00 0001 0b 00000031
        0003
        000f 'TOPOLOGY_CHANGE'
        000d 'STATUS_CHANGE'
        000d 'SCHEMA_CHANGE'
    ",
    );
    let Ok(Request::Register(register)) = Request::decode(&frame) else {
        panic!("not a REGISTER");
    };
    let events: Vec<_> = register.events().collect();
    assert_eq!(
        events,
        [
            EventType::TopologyChange,
            EventType::StatusChange,
            EventType::SchemaChange
        ]
    );
}

#[test]
fn an_unknown_event_is_refused() {
    let frame = frame("04 00 0001 0b 00000009 0001 0005 'MAYBE'");
    assert_eq!(refused(&frame), "Invalid value 'MAYBE' for Type");
}

#[test]
fn a_bare_query() {
    let frame = frame(
        "
        04 00 0001 07 0000000f
        00000008 'SELECT 1'
        0001   # consistency ONE
        00     # no flags
    ",
    );
    let Ok(Request::Query(query)) = Request::decode(&frame) else {
        panic!("not a QUERY");
    };
    assert_eq!(query.query, "SELECT 1");
    let params = query.params;
    assert_eq!(params.consistency, Consistency::One);
    assert!(params.values.is_empty() && !params.skip_metadata);
    assert!(params.page_size.is_none() && params.paging_state.is_none());
    assert!(params.serial_consistency.is_none() && params.timestamp.is_none());
    assert!(params.keyspace.is_none() && params.now_in_seconds.is_none());
}

const QUERY_V5_EVERYTHING: &str = "
    05 02 0102 07  # request v5, tracing, stream 258, QUERY
    00000041
    00000001 'Q'
    0006           # LOCAL_QUORUM
    000001ff       # every flag
    0003           # three values
    0001 'a' 00000002 'xy'
    0001 'b' ffffffff      # null
    0001 'a' fffffffe      # unset, under a name for the second time
    00001388       # page size 5000
    00000003 010203        # paging state
    0009           # LOCAL_SERIAL
    0005b8d80e3c8d80       # timestamp
    0002 'ks'
    00000064       # now: 100
";

#[test]
fn a_version_five_query_with_everything() {
    let frame = frame(QUERY_V5_EVERYTHING);
    assert!(frame.wants_tracing());
    let Ok(Request::Query(query)) = Request::decode(&frame) else {
        panic!("not a QUERY");
    };
    let params = query.params;
    assert_eq!(params.consistency, Consistency::LocalQuorum);
    assert!(params.values.are_named() && params.values.len() == 3);
    let named: Vec<_> = params.values.iter_named().collect();
    assert_eq!(
        named,
        [
            ("a", Value::Bytes(b"xy")),
            ("b", Value::Null),
            ("a", Value::Unset)
        ]
    );
    let by_place: Vec<_> = params.values.iter().collect();
    assert_eq!(by_place, [Value::Bytes(b"xy"), Value::Null, Value::Unset]);
    assert!(params.skip_metadata);
    assert_eq!(params.page_size, Some(5000));
    assert_eq!(params.paging_state, Some(&[1, 2, 3][..]));
    assert_eq!(params.serial_consistency, Some(Consistency::LocalSerial));
    assert_eq!(params.timestamp, Some(0x0005_b8d8_0e3c_8d80));
    assert_eq!(params.keyspace, Some("ks"));
    assert_eq!(params.now_in_seconds, Some(100));
}

#[test]
fn now_in_seconds_has_no_sign_and_goes_beyond_2038() {
    let frame = frame(
        "
        05 00 0001 07 0000000f
        00000001 'Q'
        0001
        00000100       # now in seconds
        fffffffe
    ",
    );
    let Ok(Request::Query(query)) = Request::decode(&frame) else {
        panic!("not a QUERY");
    };
    assert_eq!(query.params.now_in_seconds, Some(u32::MAX - 1));
}

#[test]
fn a_custom_payload_is_stripped_and_kept() {
    let frame = frame(
        "
        04 04 0001 07 00000020
        0001 0003 'who' 00000002 'me'    # the payload: one entry
        0000000b 'SELECT now'  00        # the last character is no text of ours
        0001 00
        00                               # trailing byte
    ",
    );
    let payload: Vec<_> = request::custom_payload(&frame)
        .unwrap()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(payload, [("who", Some(&b"me"[..]))]);
    let Ok(Request::Query(query)) = Request::decode(&frame) else {
        panic!("not a QUERY");
    };
    assert_eq!(query.query, "SELECT now\0");
}

#[test]
fn version_three_has_no_custom_payload() {
    let frame = frame("03 04 0001 05 00000002 0000");
    assert_eq!(
        refused(&frame),
        "Received frame with CUSTOM_PAYLOAD flag for native protocol version < 4"
    );
}

#[test]
fn an_unknown_consistency_is_refused() {
    let frame = frame("04 00 0001 07 0000000b 00000004 'TEXT' 000c 00");
    assert_eq!(refused(&frame), "Unknown code 12 for a consistency level");
}

#[test]
fn the_smallest_timestamp_is_out_of_bounds() {
    let frame = frame("04 00 0001 07 00000010 00000001 'Q' 0001 20 8000000000000000");
    assert!(refused(&frame).starts_with("Out of bound timestamp, must be in ["));
}

#[test]
fn prepare_names_a_keyspace_from_version_five_on() {
    let v4 = frame("04 00 0001 09 0000000c 00000008 'SELECT 1'");
    let Ok(Request::Prepare(prepare)) = Request::decode(&v4) else {
        panic!("not a PREPARE");
    };
    assert_eq!((prepare.query, prepare.keyspace), ("SELECT 1", None));

    let v5 = frame("05 00 0001 09 00000014 00000008 'SELECT 1' 00000001 0002 'ks'");
    let Ok(Request::Prepare(prepare)) = Request::decode(&v5) else {
        panic!("not a PREPARE");
    };
    assert_eq!((prepare.query, prepare.keyspace), ("SELECT 1", Some("ks")));
}

#[test]
fn execute_of_versions_three_and_four() {
    for version in ["03", "04"] {
        let frame = frame(&format!(
            "
            {version} 00 0001 0a 00000014
            0004 cafebabe   # id
            000a            # LOCAL_ONE
            03              # values, skip metadata
            0002
            00000001 07
            ffffffff
        "
        ));
        let Ok(Request::Execute(execute)) = Request::decode(&frame) else {
            panic!("not an EXECUTE");
        };
        assert_eq!(execute.id, [0xca, 0xfe, 0xba, 0xbe]);
        assert_eq!(execute.result_metadata_id, None);
        assert!(execute.params.skip_metadata);
        let values: Vec<_> = execute.params.values.iter().collect();
        assert_eq!(values, [Value::Bytes(&[7]), Value::Null]);
    }
}

#[test]
fn execute_of_version_five_says_which_metadata_it_remembers() {
    let frame = frame(
        "
        05 00 0001 0a 0000000e
        0002 cafe       # id
        0002 beef       # result metadata id
        000a            # LOCAL_ONE
        00000000
    ",
    );
    let Ok(Request::Execute(execute)) = Request::decode(&frame) else {
        panic!("not an EXECUTE");
    };
    assert_eq!(execute.id, [0xca, 0xfe]);
    assert_eq!(execute.result_metadata_id, Some(&[0xbe, 0xef][..]));
}

#[test]
fn more_values_than_a_signed_short_can_count() {
    let count: u16 = 40_000;
    let mut golden = format!(
        "04 00 0001 0a {:08x} 0001 aa 0001 01 {count:04x}",
        8 + 4 * u32::from(count)
    );
    golden.push_str(&"ffffffff".repeat(usize::from(count)));
    let frame = frame(&golden);
    let Ok(Request::Execute(execute)) = Request::decode(&frame) else {
        panic!("not an EXECUTE");
    };
    assert_eq!(execute.params.values.iter().count(), usize::from(count));
}

const BATCH: &str = "
    VV 00 0001 0d LLLLLLLL
    01                           # unlogged
    0002                         # two statements
    00 00000006 'INSERT' 0001 00000001 'v'
    01 0002 cafe 0000            # a prepared one, without values
    0004                         # QUORUM
    FLAGS                        # serial consistency and timestamp
    0008 000000000000002a
";

fn batch(version: &str, flags: &str) -> Frame {
    let golden = BATCH.replace("VV", version).replace("FLAGS", flags);
    let length = crate::hex::hex(&golden.replace("LLLLLLLL", "")).len() - 5;
    frame(&golden.replace("LLLLLLLL", &format!("{length:08x}")))
}

#[test]
fn a_batch_mixes_texts_and_prepared_statements() {
    for frame in [
        batch("03", "30"),
        batch("04", "30"),
        batch("05", "00000030"),
    ] {
        let Ok(Request::Batch(batch)) = Request::decode(&frame) else {
            panic!("not a BATCH");
        };
        assert_eq!((batch.kind, batch.len()), (BatchKind::Unlogged, 2));
        let entries: Vec<BatchEntry<'_>> = batch.iter().collect();
        assert!(entries[0].statement == BatchStatement::Query("INSERT"));
        assert_eq!(
            entries[0].values.iter().collect::<Vec<_>>(),
            [Value::Bytes(b"v")]
        );
        assert!(entries[1].statement == BatchStatement::Prepared(&[0xca, 0xfe]));
        assert!(entries[1].values.is_empty());
        assert_eq!(batch.params.consistency, Consistency::Quorum);
        assert_eq!(batch.params.serial_consistency, Some(Consistency::Serial));
        assert_eq!(batch.params.timestamp, Some(42));
    }
}

#[test]
fn an_empty_batch_is_a_batch() {
    let frame = frame("04 00 0001 0d 00000006 00 0000 0001 00");
    let Ok(Request::Batch(batch)) = Request::decode(&frame) else {
        panic!("not a BATCH");
    };
    assert!(batch.is_empty() && batch.iter().next().is_none());
}

#[test]
fn a_batch_of_an_unknown_kind_is_refused() {
    let kind = frame("04 00 0001 0d 00000006 03 0000 0001 00");
    assert_eq!(refused(&kind), "Invalid BATCH message type 3");
    let entry = frame("04 00 0001 0d 00000007 00 0001 02 0001 00");
    assert_eq!(
        refused(&entry),
        "Invalid query kind in BATCH messages. Must be 0 or 1 but got 2"
    );
}

#[test]
fn nothing_a_client_sent_is_printed() {
    let frame = frame(QUERY_V5_EVERYTHING);
    let shown = format!("{:?}", Request::decode(&frame));
    assert!(
        !shown.contains("xy") && shown.contains("count: 3"),
        "{shown}"
    );
}

#[test]
fn what_execute_shows_lies_in_the_bytes_that_arrived() {
    let bytes = crate::hex::hex("04 00 0001 0a 00000010 0002 cafe 0001 01 0001 00000003 'abc'");
    let mut decoder = palladium_protocol::Decoder::new(Default::default());
    decoder.feed(&bytes);
    let arrived = decoder.input().as_ptr_range();
    let frame = decoder.next_frame().unwrap().unwrap();
    let Ok(Request::Execute(execute)) = Request::decode(&frame) else {
        panic!("not an EXECUTE");
    };
    let Some(Value::Bytes(value)) = execute.params.values.iter().next() else {
        panic!("no value");
    };
    for slice in [execute.id, value, &frame.body] {
        let shown = slice.as_ptr_range();
        assert!(arrived.start <= shown.start && shown.end <= arrived.end);
    }
}
