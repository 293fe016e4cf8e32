//! The segments of protocol v5, in which envelopes travel after STARTUP was answered; uncompressed, and written again here for the reason that `raw` has.
//!
//! ```text
//! payload length (17 bits), whether whole envelopes are in it (1 bit), little-endian in 3 bytes │ CRC24 of these │ payload │ CRC32 of the payload
//! ```
//!
//! What must hold: a segment whose checksums are wrong is an error and never an answer.

use std::io;

use bytes::{Buf, BufMut, BytesMut};

const HEADER_BYTES: usize = 6;
const TRAILER_BYTES: usize = 4;
const PAYLOAD_BYTES_MAX: usize = (1 << 17) - 1;

/// Appends an envelope, in as many segments as it takes.
pub fn put(output: &mut BytesMut, envelope: &[u8]) {
    let is_whole = envelope.len() <= PAYLOAD_BYTES_MAX;
    for payload in envelope.chunks(PAYLOAD_BYTES_MAX) {
        let length = u32::try_from(payload.len()).expect("17 bits");
        let header = (length | u32::from(is_whole) << 17).to_le_bytes();
        output.put_slice(&header[..3]);
        output.put_slice(&crc24(&header[..3]).to_le_bytes()[..3]);
        output.put_slice(payload);
        output.put_u32_le(crc32(payload));
    }
}

/// Moves the payload of the first segment, if all of it is there, behind the bytes of envelopes.
pub fn take(input: &mut BytesMut, envelopes: &mut BytesMut) -> io::Result<bool> {
    let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"));
    let Some(header) = input.first_chunk::<HEADER_BYTES>() else {
        return Ok(false);
    };
    let fields = [header[0], header[1], header[2], 0];
    if crc24(&header[..3]).to_le_bytes()[..3] != header[3..] {
        return Err(damaged("a segment's header"));
    }
    let length = u32::from_le_bytes(fields) as usize & PAYLOAD_BYTES_MAX;
    if input.len() < HEADER_BYTES + length + TRAILER_BYTES {
        return Ok(false);
    }
    input.advance(HEADER_BYTES);
    let payload = input.split_to(length);
    if input.get_u32_le() != crc32(&payload) {
        return Err(damaged("a segment's payload"));
    }
    envelopes.put_slice(&payload);
    Ok(true)
}

fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x87_5060_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= 0x197_4F0B;
            }
        }
    }
    crc
}

/// The usual CRC32, which begins with four bytes that are not sent.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in [0xFA, 0x2D, 0x55, 0xCA].iter().chain(bytes) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xEDB8_8320 * (crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_comes_out_of_its_segments_as_it_went_in() {
        for length in [0, 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1] {
            let envelope: Vec<u8> = (0..length).map(|place| place as u8).collect();
            let (mut input, mut back) = (BytesMut::new(), BytesMut::new());
            put(&mut input, &envelope);
            while take(&mut input, &mut back).unwrap() {}
            assert_eq!((&back[..], input.len()), (&envelope[..], 0));
        }
    }

    #[test]
    fn a_segment_with_any_byte_changed_is_no_answer() {
        let mut whole = BytesMut::new();
        put(&mut whole, b"an answer");
        for place in 0..whole.len() {
            let mut input = whole.clone();
            input[place] ^= 0x10;
            assert!(take(&mut input, &mut BytesMut::new()).is_err(), "{place}");
        }
    }
}
