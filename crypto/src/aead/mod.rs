//! The one door to the cipher: AES-256-GCM, 12-byte nonce, 16-byte tag.
//!
//! Seal and open in place, or from one buffer to another, with the tag beside the bytes. No other folder names a cipher, and the bytes are the same
//! whichever implementation makes them:
//!
//! | file | feature | what it is for |
//! |---|---|---|
//! | `aws_lc` | `aead-aws-lc` (default) | AWS-LC, which TLS brings along: three to four times as fast on a block of 4 KiB |
//! | `aes_gcm` | without it | RustCrypto's, the reference: no C, and the tests hold `aws_lc` against it |
//! | `copy` | `cipher-copy` | no cipher at all, for the benchmark that asks what ours costs; no server is built with it |
//!
//! An expanded key is as good as the key: it stands in a slot of locked memory (`locked`), which is wiped when the cipher is dropped.
//!
//! What must hold:
//! - A (key, nonce) pair seals once. This folder cannot know; `seal::Sealer` counts, and one-time keys are used once.
//! - Where the tag does not match no plaintext is left: the buffer is all zero.

#[cfg(any(test, not(any(feature = "aead-aws-lc", feature = "cipher-copy"))))]
mod aes_gcm;
#[cfg(all(feature = "aead-aws-lc", not(feature = "cipher-copy")))]
mod aws_lc;
#[cfg(feature = "cipher-copy")]
mod copy;

#[cfg(not(any(feature = "aead-aws-lc", feature = "cipher-copy")))]
use self::aes_gcm::Schedule;
#[cfg(all(feature = "aead-aws-lc", not(feature = "cipher-copy")))]
use self::aws_lc::Schedule;
#[cfg(feature = "cipher-copy")]
use self::copy::Schedule;

use crate::secret::Secret;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// Whether sealing encrypts. False only in a build for the benchmark that measures what encryption costs; a server refuses to be one.
pub const CIPHER_IS_REAL: bool = cfg!(not(feature = "cipher-copy"));

/// An expanded key.
pub struct Cipher(Schedule);

/// The cipher refused: the tag does not match, or more bytes than GCM can count. There is nothing more to say about either.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Refused;

impl Cipher {
    /// Expands `key`.
    pub fn new(key: &Secret<KEY_BYTES>) -> Self {
        Cipher(Schedule::new(key))
    }

    /// Encrypts `buffer` where it stands and gives its tag.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Refused> {
        self.0.seal(nonce, associated, buffer)
    }

    /// Decrypts `buffer` where it stands. Refused, it is all zero.
    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        self.0.open_in_place(nonce, associated, buffer, tag)
    }

    /// Decrypts `sealed` into `plain`, which is as long. Refused, `plain` is all zero.
    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        if sealed.len() != plain.len() {
            plain.fill(0);
            return Err(Refused);
        }
        self.0.open_into(nonce, associated, sealed, plain, tag)
    }
}

#[cfg(all(test, feature = "aead-aws-lc", not(feature = "cipher-copy")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(key: [u8; 32]) -> Secret<32> {
        Secret::from_bytes(key)
    }

    proptest! {
        #[test]
        fn both_ciphers_seal_to_the_same_bytes_and_open_each_others(
            key: [u8; 32],
            nonce: [u8; 12],
            associated in proptest::collection::vec(any::<u8>(), 0..200),
            plain in proptest::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let reference = aes_gcm::Schedule::new(&secret(key));
            let fast = aws_lc::Schedule::new(&secret(key));
            let (mut left, mut right) = (plain.clone(), plain.clone());
            let tag = reference.seal(&nonce, &associated, &mut left).unwrap();
            prop_assert_eq!(fast.seal(&nonce, &associated, &mut right).unwrap(), tag);
            prop_assert_eq!(&left, &right);

            let mut opened = vec![0xee; plain.len()];
            fast.open_into(&nonce, &associated, &left, &mut opened, &tag).unwrap();
            prop_assert_eq!(&opened, &plain);
            fast.open_in_place(&nonce, &associated, &mut left, &tag).unwrap();
            reference.open_in_place(&nonce, &associated, &mut right, &tag).unwrap();
            prop_assert_eq!(&left, &plain);
            prop_assert_eq!(&right, &plain);
        }

        #[test]
        fn both_ciphers_refuse_the_same_changes_and_leave_nothing(
            key: [u8; 32],
            nonce: [u8; 12],
            associated in proptest::collection::vec(any::<u8>(), 0..40),
            plain in proptest::collection::vec(any::<u8>(), 1..2_000),
            place: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let reference = aes_gcm::Schedule::new(&secret(key));
            let fast = aws_lc::Schedule::new(&secret(key));
            let mut sealed = plain.clone();
            let mut tag = reference.seal(&nonce, &associated, &mut sealed).unwrap();
            match place.index(sealed.len() + TAG_BYTES) {
                place if place < TAG_BYTES => tag[place] ^= 1 << bit,
                place => sealed[place - TAG_BYTES] ^= 1 << bit,
            }
            let zeroes = vec![0; plain.len()];
            let (mut left, mut right) = (plain.clone(), sealed.clone());
            prop_assert_eq!(fast.open_into(&nonce, &associated, &sealed, &mut left, &tag), Err(Refused));
            prop_assert_eq!(fast.open_in_place(&nonce, &associated, &mut right, &tag), Err(Refused));
            prop_assert_eq!((&left, &right), (&zeroes, &zeroes));
            let (mut left, mut right) = (plain.clone(), sealed.clone());
            prop_assert_eq!(reference.open_into(&nonce, &associated, &sealed, &mut left, &tag), Err(Refused));
            prop_assert_eq!(reference.open_in_place(&nonce, &associated, &mut right, &tag), Err(Refused));
            prop_assert_eq!((&left, &right), (&zeroes, &zeroes));
        }
    }
}
