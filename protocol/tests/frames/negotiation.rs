//! Frames that are not accepted, and the answers clients get: version negotiation first of all.

use bytes::BytesMut;
use palladium_protocol::wire::Encoder;
use palladium_protocol::{Decoder, ErrorCode, FrameLimits, Opcode, ProtocolError, Version};

use crate::hex::{assert_wire, hex};

fn answer(error: &ProtocolError) -> Vec<u8> {
    let mut out = BytesMut::new();
    Encoder::new().complaint(&mut out, error.complaint());
    out.to_vec()
}

fn decoder(golden: &str) -> Decoder {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.feed(&hex(golden));
    decoder
}

#[test]
fn dse_versions_are_answered_in_the_newest_version_and_the_next_frame_is_read() {
    let mut decoder = decoder(
        "
        42 00 0000 05 00000000                # DSE v2, OPTIONS
        41 00 0001 01 00000004 0000 0000      # DSE v1, STARTUP with a body
        04 00 0002 05 00000000                # v4, OPTIONS
    ",
    );
    let error = decoder.next_frame().unwrap_err();
    assert!(!error.must_close());
    assert_wire(&answer(&error), "
        85 00 0000 00    # response v5, stream 0, ERROR
        0000005d
        0000000a         # protocol error
        0057 'Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5)'
    ");
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(error.complaint().stream, 1);
    assert!(error.to_string().contains("(65)"));
    let frame = decoder.next_frame().unwrap().unwrap();
    assert_eq!(
        (frame.version, frame.stream, frame.opcode),
        (Version::V4, 2, Opcode::Options)
    );
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn a_version_after_the_newest_is_answered_in_the_newest() {
    let error = decoder("06 10 0003 05 00000000").next_frame().unwrap_err();
    assert_eq!(answer(&error)[..5], hex("85 00 0003 00"));
}

#[test]
fn versions_one_and_two_are_answered_in_their_own_header() {
    let mut decoder = decoder(
        "
        02 00 05 05 00000000     # v2: a stream of one byte
        03 00 0001 05 00000000
    ",
    );
    let error = decoder.next_frame().unwrap_err();
    let answer = answer(&error);
    assert_eq!(answer[..8], hex("82 00 05 00 0000005c"));
    assert_eq!(answer.len(), 8 + 0x5c);
    assert_eq!(decoder.next_frame().unwrap().unwrap().version, Version::V3);
}

#[test]
fn a_web_browser_is_told_once_and_shown_the_door() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.feed(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(decoder.next_frame().unwrap_err().must_close());
    decoder.feed(&hex("04 00 0002 05 00000000"));
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn a_response_is_no_request() {
    let mut decoder = decoder(
        "
        84 00 0001 02 00000000        # READY, from a client
        04 00 0002 02 00000000        # READY, said to be a request
        84 00 0003 05 00000000        # OPTIONS, said to be a response
    ",
    );
    for (stream, message) in [
        (
            1,
            "Wrong protocol direction (expected RESPONSE, got RESPONSE) for opcode 2 (READY)",
        ),
        (
            2,
            "Wrong protocol direction (expected RESPONSE, got REQUEST) for opcode 2 (READY)",
        ),
        (
            3,
            "Wrong protocol direction (expected REQUEST, got RESPONSE) for opcode 5 (OPTIONS)",
        ),
    ] {
        let error = decoder.next_frame().unwrap_err();
        assert_eq!(
            (error.complaint().stream, error.to_string().as_str()),
            (stream, message)
        );
    }
}

#[test]
fn an_unknown_opcode_is_refused_and_its_body_passed_over() {
    let mut decoder = decoder(
        "
        04 00 0001 04 00000003 010203      # CREDENTIALS of version 1
        04 00 0002 05 00000000
    ",
    );
    assert_eq!(
        decoder.next_frame().unwrap_err().to_string(),
        "Unknown opcode 4"
    );
    assert_eq!(decoder.next_frame().unwrap().unwrap().stream, 2);
}

#[test]
fn a_settled_connection_keeps_its_version() {
    let mut decoder = decoder("03 00 0001 05 00000000");
    decoder.settle_version(Version::V4);
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid message version. Got 3/v3 but previous messages on this connection had version 4/v4"
    );
    assert_eq!(answer(&error)[0], 0x84);
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_thrown_away_as_it_arrives() {
    let mut decoder = Decoder::new(FrameLimits { body_bytes_max: 16 });
    decoder.feed(&hex("04 00 0009 07 00000011 0102"));
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(error.complaint().code, ErrorCode::Invalid);
    assert_eq!(error.complaint().stream, 9);
    assert_eq!(
        error.to_string(),
        "Request is too big: length 17 exceeds maximum allowed length 16."
    );
    for byte in 0..15 {
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.feed(&[byte]);
    }
    decoder.feed(&hex("04 00 000a 05 00000000"));
    assert_eq!(decoder.next_frame().unwrap().unwrap().stream, 10);
}

#[test]
fn a_negative_length_ends_the_connection() {
    let mut decoder = decoder("04 00 0001 07 ffffffff");
    let error = decoder.next_frame().unwrap_err();
    assert!(error.must_close());
    assert_eq!(
        error.to_string(),
        "Invalid value for envelope header body length field: -1"
    );
}

#[test]
fn a_compressed_body_without_an_agreement_is_refused() {
    let mut decoder = decoder("04 01 0001 07 00000004 00000000  04 00 0002 05 00000000");
    assert!(
        decoder
            .next_frame()
            .unwrap_err()
            .to_string()
            .contains("no compression was agreed")
    );
    assert_eq!(decoder.next_frame().unwrap().unwrap().stream, 2);
}

#[test]
fn a_frame_may_arrive_one_byte_at_a_time() {
    let bytes = hex("04 00 0001 0b 00000011 0001 000d 'STATUS_CHANGE'");
    let mut decoder = Decoder::new(FrameLimits::default());
    let (last, first) = bytes.split_last().unwrap();
    for byte in first {
        decoder.feed(&[*byte]);
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    decoder.feed(&[*last]);
    assert_eq!(decoder.next_frame().unwrap().unwrap().body.len(), 17);
}
