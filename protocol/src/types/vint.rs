//! Variable-length integers, as durations and vectors of variable-length elements use them.
//!
//! ```text
//! first byte: n leading ones = n more bytes follow; its other bits are the highest of the number, big-endian
//! 0xxxxxxx | 10xxxxxx + 1 | 110xxxxx + 2 | ... | 11111111 + 8
//! signed numbers are zigzag: 0, -1, 1, -2, ... = 0, 1, 2, 3, ...
//! ```

use bytes::BufMut;

pub fn unsigned_vint_bytes(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    if bits > 56 { 9 } else { bits.div_ceil(7) }
}

pub fn put_unsigned_vint(out: &mut impl BufMut, number: u64) {
    let extra = unsigned_vint_bytes(number) - 1;
    if extra == 8 {
        out.put_u8(0xff);
        out.put_u64(number);
        return;
    }
    let marker = !(0xff_u8 >> extra);
    let bytes = number.to_be_bytes();
    let bytes = &bytes[7 - extra..];
    out.put_u8(bytes[0] | marker);
    out.put_slice(&bytes[1..]);
}

/// The number and how many bytes it took; `None` if the bytes end too early.
pub fn read_unsigned_vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let extra = first.leading_ones() as usize;
    let rest = bytes.get(1..=extra)?;
    let head = if extra >= 7 {
        0
    } else {
        u64::from(first & (0xff >> (extra + 1)))
    };
    let number = rest
        .iter()
        .fold(head, |number, byte| number << 8 | u64::from(*byte));
    Some((number, extra + 1))
}

pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

pub fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_change_where_seven_more_bits_are_needed() {
        for (number, bytes) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            ((1 << 56) - 1, 8),
            (1 << 56, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put_unsigned_vint(&mut out, number);
            assert_eq!(out.len(), bytes, "{number}");
            assert_eq!(unsigned_vint_bytes(number), bytes);
            assert_eq!(read_unsigned_vint(&out), Some((number, bytes)));
            assert_eq!(read_unsigned_vint(&out[..bytes - 1]), None);
        }
    }

    #[test]
    fn zigzag_keeps_small_numbers_small() {
        for (signed, unsigned) in [
            (0, 0),
            (-1, 1),
            (1, 2),
            (-2, 3),
            (i64::MIN, u64::MAX),
            (i64::MAX, u64::MAX - 1),
        ] {
            assert_eq!(zigzag(signed), unsigned);
            assert_eq!(unzigzag(unsigned), signed);
        }
    }
}
