//! v5 segments, and compressed envelopes of v3 and v4.

use bytes::{BufMut, BytesMut};
use palladium_protocol::limits::SEGMENT_PAYLOAD_BYTES_MAX;
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Compression, Encoder, Extras, Flags};
use palladium_protocol::{Decoder, Frame, FrameLimits, Opcode, Version};

use crate::hex::{assert_wire, hex};

const FORMATS: [SegmentFormat; 2] = [SegmentFormat::Plain, SegmentFormat::Lz4];

fn encoder(format: SegmentFormat) -> Encoder {
    let mut encoder = Encoder::new();
    encoder.use_segments(format);
    encoder
}

fn decoder(format: SegmentFormat) -> Decoder {
    let mut decoder = Decoder::of_responses(FrameLimits::default());
    decoder.use_segments(format);
    decoder
}

fn put(encoder: &mut Encoder, out: &mut BytesMut, stream: i16, body: &[u8]) {
    encoder.envelope(
        out,
        Version::V5,
        stream,
        Opcode::Result,
        &Extras::NONE,
        |out| {
            out.put_slice(body);
        },
    );
}

fn frames(decoder: &mut Decoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.next_frame().expect("good segments")).collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

#[test]
fn one_small_envelope_in_one_plain_segment() {
    let mut out = BytesMut::new();
    let mut encoder = encoder(SegmentFormat::Plain);
    put(&mut encoder, &mut out, 1, &[0, 0, 0, 1]);
    encoder.flush(&mut out);
    assert_wire(
        &out,
        "
        0d 00 02         # 13 bytes, self-contained (bit 17), little-endian
        cf 07 f7         # CRC24 of the three bytes before
        85 00 0001 08 00000004 00000001
        1e 43 b5 fd      # CRC32 of the payload
    ",
    );
}

#[test]
fn a_batch_of_answers_shares_one_segment() {
    for format in FORMATS {
        let mut out = BytesMut::new();
        let mut encoder = encoder(format);
        for stream in 0..100 {
            put(
                &mut encoder,
                &mut out,
                stream,
                b"the same words in every answer",
            );
        }
        encoder.flush(&mut out);
        let overhead = format.header_bytes() + 4;
        match format {
            SegmentFormat::Plain => assert_eq!(out.len(), overhead + 100 * (9 + 30)),
            SegmentFormat::Lz4 => assert!(out.len() < 100 * 9),
        }
        let mut decoder = decoder(format);
        decoder.feed(&out);
        let streams: Vec<i16> = frames(&mut decoder)
            .iter()
            .map(|frame| frame.stream)
            .collect();
        assert_eq!(streams, (0..100).collect::<Vec<i16>>());
    }
}

#[test]
fn an_envelope_that_does_not_fit_moves_to_the_next_segment() {
    let body = noise(SEGMENT_PAYLOAD_BYTES_MAX - 9 - 100);
    for format in FORMATS {
        let mut out = BytesMut::new();
        let mut encoder = encoder(format);
        put(&mut encoder, &mut out, 1, &[7; 92]);
        put(&mut encoder, &mut out, 2, &body);
        put(&mut encoder, &mut out, 3, &[8; 92]);
        encoder.flush(&mut out);
        let mut decoder = decoder(format);
        decoder.feed(&out);
        let frames = frames(&mut decoder);
        let streams: Vec<i16> = frames.iter().map(|frame| frame.stream).collect();
        assert_eq!(streams, [1, 2, 3]);
        assert_eq!(frames[1].body, body);
    }
}

#[test]
fn an_envelope_fills_a_segment_to_its_last_byte() {
    let body = noise(SEGMENT_PAYLOAD_BYTES_MAX - 9);
    let mut out = BytesMut::new();
    let mut encoder = encoder(SegmentFormat::Plain);
    put(&mut encoder, &mut out, 1, &body);
    encoder.flush(&mut out);
    assert_eq!(out.len(), 6 + SEGMENT_PAYLOAD_BYTES_MAX + 4);
    assert_eq!(out[..3], hex("ff ff 03"));
}

#[test]
fn a_large_envelope_is_cut_over_several_segments() {
    for (format, length) in FORMATS.iter().flat_map(|format| {
        [
            SEGMENT_PAYLOAD_BYTES_MAX - 8,
            2 * SEGMENT_PAYLOAD_BYTES_MAX - 9,
            1 << 20,
        ]
        .map(|length| (*format, length))
    }) {
        let body = noise(length);
        let mut out = BytesMut::new();
        let mut encoder = encoder(format);
        put(&mut encoder, &mut out, 1, b"before");
        put(&mut encoder, &mut out, 2, &body);
        put(&mut encoder, &mut out, 3, b"after");
        encoder.flush(&mut out);
        let mut decoder = decoder(format);
        let mut seen = Vec::new();
        for piece in out.chunks(1000) {
            decoder.feed(piece);
            seen.extend(frames(&mut decoder));
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[1].body, body);
        assert_eq!(&seen[2].body[..], b"after");
    }
}

#[test]
fn a_flipped_bit_is_never_delivered() {
    for format in FORMATS {
        let mut out = BytesMut::new();
        let mut encoder = encoder(format);
        put(
            &mut encoder,
            &mut out,
            1,
            b"thirty-two bytes of payload, or so",
        );
        encoder.flush(&mut out);
        for bit in 0..out.len() * 8 {
            let mut bytes = out.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = decoder(format);
            decoder.feed(&bytes);
            let error = decoder.next_frame().unwrap_err();
            assert!(
                error.must_close() && error.to_string().contains("CRC mismatch"),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn an_abandoned_answer_leaves_no_trace() {
    for format in FORMATS {
        let mut out = BytesMut::new();
        let mut encoder = encoder(format);
        let begun = encoder.begin(&mut out, Version::V5, 1, Opcode::Result, &Extras::NONE);
        out.put_slice(b"half a row");
        encoder.abandon(&mut out, begun);
        encoder.flush(&mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a_refused_request_inside_a_segment_spares_its_neighbours() {
    let mut payload = hex("05 00 0001 04 00000002 0102");
    payload.extend(hex("05 00 0002 05 00000000"));
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.use_segments(SegmentFormat::Plain);
    decoder.feed(&segment(&payload, true));
    assert_eq!(
        decoder.next_frame().unwrap_err().to_string(),
        "Unknown opcode 4"
    );
    assert_eq!(decoder.next_frame().unwrap().unwrap().stream, 2);
}

#[test]
fn a_message_longer_than_its_self_contained_segment_ends_the_connection() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.use_segments(SegmentFormat::Plain);
    decoder.feed(&segment(&hex("05 00 0001 07 00000009 00"), true));
    assert!(decoder.next_frame().unwrap_err().must_close());
}

#[test]
fn a_cut_message_beyond_the_limit_ends_the_connection_at_once() {
    let mut decoder = Decoder::new(FrameLimits {
        body_bytes_max: 1000,
    });
    decoder.use_segments(SegmentFormat::Plain);
    decoder.feed(&segment(&hex("05 00 0001 07 7fffffff 00"), false));
    let error = decoder.next_frame().unwrap_err();
    assert!(
        error.must_close()
            && error
                .to_string()
                .contains("exceeds maximum allowed length 1000")
    );
}

#[test]
fn segments_of_two_messages_may_not_be_mixed() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.use_segments(SegmentFormat::Plain);
    decoder.feed(&segment(&hex("05 00 0001 07 00000009 00"), false));
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.feed(&segment(&hex("05 00 0002 05 00000000"), true));
    assert!(decoder.next_frame().unwrap_err().must_close());
}

/// A plain segment around any payload.
fn segment(payload: &[u8], self_contained: bool) -> Vec<u8> {
    let mut out = BytesMut::new();
    palladium_protocol::wire::segment::open_segment(SegmentFormat::Plain, &mut out);
    out.put_slice(payload);
    palladium_protocol::wire::segment::seal_segment(
        SegmentFormat::Plain,
        &mut out,
        0,
        self_contained,
        &mut Vec::new(),
    );
    out.to_vec()
}

#[test]
fn a_long_answer_is_compressed_in_versions_three_and_four() {
    let words = b"words ".repeat(1000);
    for (version, compression) in [
        (Version::V3, Compression::Lz4),
        (Version::V4, Compression::Lz4),
        (Version::V4, Compression::Snappy),
    ] {
        let mut encoder = Encoder::new();
        encoder.use_compression(Some(compression));
        let mut out = BytesMut::new();
        for body in [&b"short"[..], &words, &noise(1000)] {
            encoder.envelope(&mut out, version, 1, Opcode::Result, &Extras::NONE, |out| {
                out.put_slice(body);
            });
        }
        assert!(out.len() < 2000);
        let mut decoder = Decoder::of_responses(FrameLimits::default());
        decoder.use_compression(Some(compression));
        decoder.feed(&out);
        let frames = frames(&mut decoder);
        let compressed: Vec<bool> = frames
            .iter()
            .map(|frame| frame.flags.contains(Flags::COMPRESSED))
            .collect();
        assert_eq!(compressed, [false, true, false]);
        assert_eq!(frames[1].body, words);
    }
}

#[test]
fn the_lz4_body_of_another_implementation_is_read() {
    // 'abcabcabcabcabc' and a tail of literals, packed by hand: token, literals, offset, match.
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.use_compression(Some(Compression::Lz4));
    decoder.feed(&hex("
        04 01 0001 07 00000010
        00000014         # 20 bytes uncompressed
        38 'abc' 0300    # 3 literals, then 8 + 4 bytes from 3 back
        50 'VWXYZ'       # 5 literals end the block
    "));
    let frame = decoder.next_frame().unwrap().unwrap();
    assert_eq!(&frame.body[..], b"abcabcabcabcabcVWXYZ");
}
