//! AES-256-GCM by AWS-LC, with the expanded key in a slot of ours.
//!
//! The safe wrapper of this library keeps expanded keys in a heap of its own, neither locked nor out of dumps; so its C functions are called here, all five of
//! them, with a context that stands in a [`Slot`]. The context holds no pointer but one to a constant: wiping its bytes is all that there is to free.
//!
//! It decrypts before it has compared the tag, into the caller's buffer, and zeroes that when the tag does not match. Nobody else can see the buffer meanwhile.
#![allow(unsafe_code)]

use aws_lc_sys::{
    EVP_AEAD_CTX, EVP_AEAD_CTX_init, EVP_AEAD_CTX_open_gather, EVP_AEAD_CTX_seal_scatter,
    EVP_aead_aes_256_gcm,
};

use super::{KEY_BYTES, NONCE_BYTES, Refused, TAG_BYTES};
use crate::locked::Slot;
use crate::secret::Secret;

/// An expanded key.
pub(super) struct Schedule(Slot<EVP_AEAD_CTX>);

// SAFETY: the context's only pointer is to the library's constant description of AES-256-GCM; the rest are bytes of its own, bound to no thread.
unsafe impl Send for Schedule {}
// SAFETY: sealing and opening take a `const EVP_AEAD_CTX *` and, as the library documents, may run at the same time: they work on copies on their stack.
unsafe impl Sync for Schedule {}

impl Schedule {
    pub fn new(key: &Secret<KEY_BYTES>) -> Self {
        // SAFETY: the slot is as large and aligned as the context, and zero, which is an empty one. `key` has KEY_BYTES bytes. The description lives for
        // ever. The library answers 1 where it has filled the context.
        let slot = unsafe {
            Slot::made_by(|context| {
                EVP_AEAD_CTX_init(
                    context,
                    EVP_aead_aes_256_gcm(),
                    key.expose().as_ptr(),
                    KEY_BYTES,
                    TAG_BYTES,
                    std::ptr::null_mut(),
                ) == 1
            })
        };
        Schedule(slot.expect("AES-256-GCM takes any key of 32 bytes and tags of 16"))
    }

    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Refused> {
        let mut tag = [0; TAG_BYTES];
        let mut tag_bytes = 0;
        let bytes = buffer.as_mut_ptr();
        // SAFETY: every pointer comes with the length of the slice it is of; input and output are the same bytes, which the library allows; the tag is an
        // array of its own; there is no extra input.
        let sealed = unsafe {
            EVP_AEAD_CTX_seal_scatter(
                &*self.0,
                bytes,
                tag.as_mut_ptr(),
                &mut tag_bytes,
                TAG_BYTES,
                nonce.as_ptr(),
                NONCE_BYTES,
                bytes,
                buffer.len(),
                std::ptr::null(),
                0,
                associated.as_ptr(),
                associated.len(),
            )
        };
        match sealed == 1 && tag_bytes == TAG_BYTES {
            true => Ok(tag),
            false => Err(Refused),
        }
    }

    pub fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        let bytes = buffer.as_mut_ptr();
        // SAFETY: `buffer` is borrowed exclusively, and input and output are the same bytes.
        unsafe { self.open(nonce, associated, bytes, bytes, buffer.len(), tag) }
    }

    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        assert_eq!(sealed.len(), plain.len(), "checked by the caller");
        let plain = plain.as_mut_ptr();
        // SAFETY: the two slices are equally long, and an exclusive borrow meets no other.
        unsafe { self.open(nonce, associated, sealed.as_ptr(), plain, sealed.len(), tag) }
    }

    /// # Safety
    /// `sealed` can be read and `plain` written for `bytes` bytes; they are the same or do not meet.
    unsafe fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        sealed: *const u8,
        plain: *mut u8,
        bytes: usize,
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        // SAFETY: what the caller promises, and every other pointer comes with the length of what it is of.
        let opened = unsafe {
            EVP_AEAD_CTX_open_gather(
                &*self.0,
                plain,
                nonce.as_ptr(),
                NONCE_BYTES,
                sealed,
                bytes,
                tag.as_ptr(),
                TAG_BYTES,
                associated.as_ptr(),
                associated.len(),
            )
        };
        match opened == 1 {
            true => Ok(()),
            false => Err(Refused),
        }
    }
}
