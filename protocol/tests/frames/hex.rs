//! Reading golden text, and one connection's two machines.

use bytes::BytesMut;
use palladium_protocol::wire::{Encoder, Extras};
use palladium_protocol::{Decoder, Frame, FrameLimits, Response, Version};

/// Golden text to bytes: hexadecimal digits, 'quoted text', `# explanation`.
pub fn hex(golden: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in golden.lines() {
        let line = line.split('#').next().unwrap_or_default();
        for (place, part) in line.split('\'').enumerate() {
            if place % 2 == 1 {
                bytes.extend_from_slice(part.as_bytes());
                continue;
            }
            let digits: Vec<u8> = part
                .chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_digit(16).expect("golden text is hexadecimal") as u8)
                .collect();
            assert!(digits.len().is_multiple_of(2), "half a byte in: {line}");
            bytes.extend(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
        }
    }
    bytes
}

/// The one frame in these bytes.
pub fn frame(golden: &str) -> Frame {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.feed(&hex(golden));
    let frame = decoder
        .next_frame()
        .expect("a good frame")
        .expect("a whole frame");
    assert!(decoder.input().is_empty(), "bytes are left over");
    frame
}

/// What a response looks like on the wire, on stream 1.
pub fn wire(version: Version, response: &Response<'_>) -> Vec<u8> {
    wire_with(version, &Extras::NONE, response)
}

pub fn wire_with(version: Version, extras: &Extras<'_>, response: &Response<'_>) -> Vec<u8> {
    let mut out = BytesMut::new();
    Encoder::new().response(&mut out, version, 1, extras, response);
    out.to_vec()
}

/// Compares so that a failure can be read.
pub fn assert_wire(actual: &[u8], golden: &str) {
    let expected = hex(golden);
    assert_eq!(
        format!("{:02x?}", actual),
        format!("{:02x?}", expected),
        "{}",
        String::from_utf8_lossy(actual)
    );
}
