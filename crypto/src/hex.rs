//! Hexadecimal text for ids and for key material inside the keyring's file.
//!
//! Decoding writes straight into the fixed array it returns and looks nothing up in a table: a digit of a key must not choose
//! a cache line, and no growing buffer may leave copies behind. Digits are lower case: one value has one spelling.

/// Reads exactly `2 * N` digits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    decode_into(text, &mut bytes)?;
    Some(bytes)
}

/// Reads exactly `2 * N` digits into where the bytes will live. After `None`, `out` holds a part of them.
pub(crate) fn decode_into<const N: usize>(text: &str, out: &mut [u8; N]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(())
}

/// Appends the digits of `bytes`; the caller reserves (and wipes) the text.
pub(crate) fn push(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
}

/// The digits of public bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push(&mut text, bytes);
    text
}

fn digit(nibble: u8) -> char {
    char::from(if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    })
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
