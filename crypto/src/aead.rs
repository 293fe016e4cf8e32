//! The one door to the cipher library: AES-256-GCM, 12-byte nonce, 16-byte tag.
//!
//! Seal and open in place, or from one buffer to another, with the tag beside the bytes. Opening checks the tag before a single
//! byte of plaintext is written. No other file names the cipher, so replacing the implementation (same algorithm, same bytes) is
//! a change to this one.
//!
//! What must hold: a (key, nonce) pair seals once. This file cannot know; `seal::Sealer` counts, and one-time keys are used once.
//!
//! Only the encrypting half of AES is expanded (`Aes256Enc`): counter mode never runs the cipher backwards, and an open SSTable
//! then costs 384 bytes of key schedule instead of 624.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256Enc;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{AesGcm, Nonce, Tag};

use crate::secret::Secret;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// An expanded key, boxed so that moving its owner leaves no copy behind; the library zeroes it on drop.
pub struct Cipher(Box<AesGcm<Aes256Enc, U12>>);

/// The cipher refused: the tag does not match, or more bytes than GCM can count. There is nothing more to say about either.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Refused;

impl Cipher {
    /// Expands `key`.
    pub fn new(key: &Secret<KEY_BYTES>) -> Self {
        Cipher(Box::new(AesGcm::new(key.expose().into())))
    }

    /// Encrypts `buffer` where it stands and gives its tag.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Refused> {
        let nonce: &Nonce<U12> = nonce.into();
        match self
            .0
            .encrypt_inout_detached(nonce, associated, buffer.into())
        {
            Ok(tag) => Ok(tag.into()),
            Err(_) => Err(Refused),
        }
    }

    /// Checks the tag, then decrypts `buffer` where it stands. A refused buffer is left as it was.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        self.open(nonce, associated, buffer.into(), tag)
    }

    /// Checks the tag, then decrypts `sealed` into `plain`, which is as long. Refused, `plain` is left as it was.
    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        let buffer = InOutBuf::new(sealed, plain).map_err(|_| Refused)?;
        self.open(nonce, associated, buffer, tag)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        let nonce: &Nonce<U12> = nonce.into();
        let tag: &Tag = tag.into();
        self.0
            .decrypt_inout_detached(nonce, associated, buffer, tag)
            .map_err(|_| Refused)
    }
}

// An expanded key is as good as the key: were the library ever built without wiping it on drop, this would not compile.
const _: () = {
    const fn wipes_itself<T: zeroize::ZeroizeOnDrop>() {}
    wipes_itself::<AesGcm<Aes256Enc, U12>>();
};
