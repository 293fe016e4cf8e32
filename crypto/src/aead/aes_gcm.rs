//! The reference: RustCrypto's `aes-gcm`.
//!
//! Only the encrypting half of AES is expanded (`Aes256Enc`): counter mode never runs the cipher backwards, and an open SSTable then costs 384 bytes of key
//! schedule instead of 624. The tag is checked before anything is decrypted.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256Enc;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{AesGcm, Nonce, Tag};

use super::{KEY_BYTES, NONCE_BYTES, Refused, TAG_BYTES};
use crate::locked::Slot;
use crate::secret::Secret;

/// An expanded key. The library zeroes it on drop, and the slot once more.
pub(super) struct Schedule(Slot<AesGcm<Aes256Enc, U12>>);

impl Schedule {
    pub fn new(key: &Secret<KEY_BYTES>) -> Self {
        Schedule(Slot::new(|| AesGcm::new(key.expose().into())))
    }

    pub fn seal(
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

    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        let opened = self.open(nonce, associated, (&mut *buffer).into(), tag);
        if opened.is_err() {
            buffer.fill(0);
        }
        opened
    }

    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        let buffer = InOutBuf::new(sealed, plain).map_err(|_| Refused)?;
        let opened = self.open(nonce, associated, buffer, tag);
        if opened.is_err() {
            plain.fill(0);
        }
        opened
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
