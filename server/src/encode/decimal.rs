//! Decimals in numeric order, however many digits they were written with.
//!
//! ```text
//! zero       80
//! positive   C0  exponent (i64, sign flipped)  digit pairs, each 02..65 hex  00
//! negative   40  the inverse of what its absolute value has behind the sign
//!
//! value = 0.d1 d2 d3 ... x 10^exponent, d1 not zero, no zero at the end
//! ```
//!
//! On the wire a decimal is a scale and an unscaled number, and 1.0 and 1.00 differ. The encoding keeps the number; the
//! shortest spelling comes back, and the caller learns if that is not the one that went in.

use num_bigint::{BigInt, BigUint, Sign};

use super::Malformed;
use super::order::{Cursor, Spelling, shortest};

const NEGATIVE: u8 = 0x40;
const ZERO: u8 = 0x80;
const POSITIVE: u8 = 0xC0;

/// What the unscaled number may take: no key and no element holds more. To find its digits takes time by their square: 40 ms here, an hour for all that a value can hold.
const UNSCALED_BYTES_MAX: usize = 65_535;

/// Appends the ordered form of a decimal.
pub fn encode(value: &[u8], out: &mut Vec<u8>) -> Result<Spelling, Malformed> {
    let (scale, unscaled) = value.split_first_chunk::<4>().ok_or(Malformed::LENGTH)?;
    if unscaled.is_empty() {
        return Err(Malformed::LENGTH);
    }
    if unscaled.len() > UNSCALED_BYTES_MAX {
        return Err(Malformed::DIGITS);
    }
    let scale = i64::from(i32::from_be_bytes(*scale));
    let number = BigInt::from_signed_bytes_be(unscaled);
    if number.sign() == Sign::NoSign {
        out.push(ZERO);
        return Ok(if value == [0, 0, 0, 0, 0] {
            Spelling::Kept
        } else {
            Spelling::Lost
        });
    }
    let mut digits = number.magnitude().to_radix_be(10);
    let exponent = digits.len() as i64 - scale;
    let significant = digits
        .iter()
        .rposition(|digit| *digit != 0)
        .map_or(0, |last| last + 1);
    let spelling = if significant == digits.len() && shortest(unscaled).len() == unscaled.len() {
        Spelling::Kept
    } else {
        Spelling::Lost
    };
    digits.truncate(significant);
    let negative = number.sign() == Sign::Minus;
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    out.extend((exponent ^ i64::MIN).to_be_bytes());
    for pair in digits.chunks(2) {
        let second = pair.get(1).copied().unwrap_or(0);
        out.push(pair[0] * 10 + second + 2);
    }
    out.push(0);
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
    Ok(spelling)
}

/// Reads the ordered form back into scale and unscaled number.
pub fn decode(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let negative = match cursor.byte()? {
        ZERO => {
            out.extend([0; 5]);
            return Ok(());
        }
        POSITIVE => false,
        NEGATIVE => true,
        _ => return Err(Malformed::MARKER),
    };
    let flip = if negative { 0xFF } else { 0 };
    let exponent = i64::from_be_bytes(cursor.array::<8>()?.map(|byte| byte ^ flip)) ^ i64::MIN;
    let mut digits = Vec::new();
    loop {
        match cursor.byte()? ^ flip {
            0 => break,
            pair @ 2..=101 => digits.extend([(pair - 2) / 10, (pair - 2) % 10]),
            _ => return Err(Malformed::MARKER),
        }
    }
    if digits.last() == Some(&0) {
        digits.pop();
    }
    let scale = digits.len() as i64 - exponent;
    // Zeros cut off a number whose scale was near the lowest one come back here: scales have only 32 bits.
    let missing = (i64::from(i32::MIN) - scale).max(0);
    if missing > MISSING_DIGITS_MAX {
        return Err(Malformed::LENGTH);
    }
    digits.extend(std::iter::repeat_n(0, missing as usize));
    let scale = i32::try_from(scale + missing).map_err(|_| Malformed::LENGTH)?;
    let magnitude = BigUint::from_radix_be(&digits, 10).ok_or(Malformed::MARKER)?;
    let sign = if negative { Sign::Minus } else { Sign::Plus };
    out.extend(scale.to_be_bytes());
    out.extend(BigInt::from_biguint(sign, magnitude).to_signed_bytes_be());
    Ok(())
}

/// A key holds at most 64 KiB, so at most so many digits can have been cut.
const MISSING_DIGITS_MAX: i64 = 65_536 * 3;
