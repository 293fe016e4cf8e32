//! No cipher: plaintext stays plaintext, and the tag says only whether bytes came back as they were written.
//!
//! It is what the benchmark holds the real ciphers against: same calls, same buffers, same lengths, and nothing hidden. The one binary that is built with
//! it is the benchmark's `server_without_cipher`; `palladium` does not compile with it, and the library does not start a server unless that binary asks.

use super::{KEY_BYTES, NONCE_BYTES, Refused, TAG_BYTES};
use crate::secret::Secret;

/// Nothing is expanded.
pub(super) struct Schedule;

impl Schedule {
    pub fn new(_key: &Secret<KEY_BYTES>) -> Self {
        Schedule
    }

    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        _associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Refused> {
        Ok(mark(nonce, buffer.len()))
    }

    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        _associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        match mark(nonce, buffer.len()) == *tag {
            true => Ok(()),
            false => {
                buffer.fill(0);
                Err(Refused)
            }
        }
    }

    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        plain.copy_from_slice(sealed);
        self.open_in_place(nonce, associated, plain, tag)
    }
}

/// Costs nothing, and differs from block to block, so that a mistake in the places of blocks still shows.
fn mark(nonce: &[u8; NONCE_BYTES], bytes: usize) -> [u8; TAG_BYTES] {
    let mut mark = [0xc0; TAG_BYTES];
    mark[..NONCE_BYTES].copy_from_slice(nonce);
    mark[NONCE_BYTES..].copy_from_slice(&(bytes as u32).to_be_bytes());
    mark
}
