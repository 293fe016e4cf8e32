//! A decoder whose connection is quiet gives its buffers up, and nothing of what has arrived in part.

use bytes::{BufMut, BytesMut};
use palladium_protocol::wire::segment::{SegmentFormat, open_segment, seal_segment};
use palladium_protocol::{Decoder, FrameLimits, Opcode};

fn message(version: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(&[version, 0, 0, 1, Opcode::Query as u8]);
    out.put_u32(body.len() as u32);
    out.put_slice(body);
    out
}

fn segment(format: SegmentFormat, payload: &[u8], self_contained: bool) -> BytesMut {
    let mut out = BytesMut::new();
    open_segment(format, &mut out);
    out.put_slice(payload);
    seal_segment(format, &mut out, 0, self_contained, &mut Vec::new());
    out
}

#[test]
fn what_has_arrived_in_part_is_kept_wherever_it_was_cut() {
    let body = [7; 50];
    let whole = message(4, &body);
    for cut in 1..whole.len() {
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.feed(&whole[..cut]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.give_up_buffers();
        decoder.feed(&whole[cut..]);
        let frame = decoder.next_frame().expect("a good frame").expect("whole");
        assert_eq!(&frame.body[..], &body[..], "cut at {cut}");
    }
}

#[test]
fn so_are_the_segments_of_a_message_and_the_messages_of_a_segment() {
    let whole = message(5, &[7; 50]);
    for format in [SegmentFormat::Plain, SegmentFormat::Lz4] {
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.use_segments(format);
        decoder.feed(&segment(format, &whole[..20], false));
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.give_up_buffers();
        decoder.feed(&segment(format, &whole[20..], false));
        assert!(decoder.next_frame().expect("a good frame").is_some());

        let two = [&whole[..], &whole[..]].concat();
        decoder.feed(&segment(format, &two, true));
        assert!(decoder.next_frame().expect("a good frame").is_some());
        decoder.give_up_buffers();
        assert!(decoder.next_frame().expect("a good frame").is_some());
        assert_eq!(decoder.next_frame(), Ok(None));
    }
}

#[test]
fn afterwards_nobody_but_the_messages_holds_what_came() {
    let whole = message(5, &[7; 50]);
    for in_segments in [false, true] {
        let mut decoder = Decoder::new(FrameLimits::default());
        match in_segments {
            true => {
                decoder.use_segments(SegmentFormat::Plain);
                decoder.feed(&segment(SegmentFormat::Plain, &whole, true));
            }
            false => decoder.feed(&whole),
        }
        let frame = decoder.next_frame().expect("a good frame").expect("whole");
        assert!(!frame.body.is_unique());
        decoder.give_up_buffers();
        assert!(frame.body.is_unique());
    }
}
