//! The two checksums of v5 segments.
//!
//! CRC24 guards a segment's header: polynomial 0x1974F0B, initial 0x875060, bytes in wire order. CRC32 (the ISO one) guards
//! the payload, started from four fixed bytes so that a run of zeroes does not check out.

const CRC24_INITIAL: u32 = 0x87_5060;
const CRC24_POLYNOMIAL: u32 = 0x197_4F0B;
const CRC32_INITIAL_BYTES: [u8; 4] = [0xFA, 0x2D, 0x55, 0xCA];

const CRC24_TABLE: [u32; 256] = crc24_table();

const fn crc24_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 16;
        let mut bit = 0;
        while bit < 8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= CRC24_POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = crc & 0xFF_FFFF;
        byte += 1;
    }
    table
}

/// The checksum of a segment header, 24 bits.
#[inline]
pub fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(CRC24_INITIAL, |crc, byte| {
        let index = ((crc >> 16) as u8 ^ byte) as usize;
        ((crc << 8) ^ CRC24_TABLE[index]) & 0xFF_FFFF
    })
}

/// The checksum of a segment payload.
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&CRC32_INITIAL_BYTES);
    hasher.update(bytes);
    hasher.finalize()
}
