//! A buffer in which a password came is held by nobody but its message, and what came behind it is not lost.

use bytes::{BufMut, BytesMut};
use palladium_protocol::wire::segment::{SegmentFormat, open_segment, seal_segment};
use palladium_protocol::{Decoder, Frame, FrameLimits, Opcode};

const STATEMENT: &str = "CREATE ROLE r WITH PASSWORD = 'correct horse'";

fn put(out: &mut BytesMut, version: u8, opcode: Opcode, body: &[u8]) {
    out.put_slice(&[version, 0, 0, 1, opcode as u8]);
    out.put_u32(body.len() as u32);
    out.put_slice(body);
}

fn query(text: &str) -> Vec<u8> {
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(&[0, 1, 0]);
    body
}

/// Messages with a password in the middle: which of them have their buffer for themselves once all are taken and the others gone?
fn holds_alone(decoder: &mut Decoder, middle: Opcode) -> bool {
    let mut frames: Vec<Frame> =
        std::iter::from_fn(|| decoder.next_frame().expect("good frames")).collect();
    let opcodes: Vec<Opcode> = frames.iter().map(|frame| frame.opcode).collect();
    assert_eq!(opcodes, [Opcode::Query, middle, Opcode::Query]);
    let last = frames.pop().expect("three frames");
    assert_eq!(&last.body[..], &query("SELECT 2")[..]);
    let secret = frames.pop().expect("three frames");
    drop(frames);
    secret.body.is_unique()
}

#[test]
fn a_decoder_lets_go_of_a_buffer_with_a_password() {
    let secrets = [
        (
            Opcode::AuthResponse,
            b"\0\0\0\x0f\0user\0my secret".to_vec(),
        ),
        (Opcode::Query, query(STATEMENT)),
        (Opcode::Prepare, query(STATEMENT)),
    ];
    for (opcode, body) in secrets {
        let mut input = BytesMut::new();
        put(&mut input, 4, Opcode::Query, &query("SELECT 1"));
        put(&mut input, 4, opcode, &body);
        put(&mut input, 4, Opcode::Query, &query("SELECT 2"));
        let half = input.len() - 5;
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.feed(&input[..half]);
        let first = decoder.next_frame().expect("a good frame").expect("whole");
        let secret = decoder.next_frame().expect("a good frame").expect("whole");
        assert_eq!((first.opcode, secret.opcode), (Opcode::Query, opcode));
        drop(first);
        assert!(secret.body.is_unique(), "{opcode}: somebody else holds it");
        assert_eq!(&secret.body[..], &body[..]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.feed(&input[half..]);
        let last = decoder.next_frame().expect("a good frame").expect("whole");
        assert_eq!(&last.body[..], &query("SELECT 2")[..]);
    }
}

#[test]
fn the_same_in_a_segment() {
    for format in [SegmentFormat::Plain, SegmentFormat::Lz4] {
        let mut out = BytesMut::new();
        open_segment(format, &mut out);
        put(&mut out, 5, Opcode::Query, &query("SELECT 1"));
        put(&mut out, 5, Opcode::Query, &query(STATEMENT));
        put(&mut out, 5, Opcode::Query, &query("SELECT 2"));
        seal_segment(format, &mut out, 0, true, &mut Vec::new());
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.use_segments(format);
        decoder.feed(&out);
        assert!(holds_alone(&mut decoder, Opcode::Query));
    }
}

#[test]
fn other_buffers_are_read_into_again() {
    let mut input = BytesMut::new();
    put(
        &mut input,
        4,
        Opcode::Query,
        &query("SELECT password FROM t"),
    );
    put(&mut input, 4, Opcode::Query, &query("SELECT 2"));
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.feed(&input);
    let first = decoder.next_frame().expect("a good frame").expect("whole");
    assert!(!first.body.is_unique());
}
