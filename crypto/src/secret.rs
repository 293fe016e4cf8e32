//! Key bytes in memory.
//!
//! A `Secret` sits in a slot of locked memory (`locked`), so that moving its owner copies a pointer and not the key, the kernel does
//! not swap or dump it, and it is zeroed when dropped. It cannot be printed, cloned or serialized; comparing takes the same time for
//! equal and unequal bytes. What is not promised: registers and spilled stack slots.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::entropy::Entropy;
use crate::locked::Slot;

/// `N` secret bytes. They are not printed:
///
/// ```compile_fail,E0277
/// println!("{:?}", palladium_crypto::Secret::from_bytes([1; 32]));
/// ```
pub struct Secret<const N: usize>(Slot<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes over and wipes the copy that was handed in (the caller wipes its own, if it kept one).
    pub fn from_bytes(mut bytes: [u8; N]) -> Self {
        let secret = Self::filled(|out| out.copy_from_slice(&bytes));
        bytes.zeroize();
        secret
    }

    /// Lets `write` put the bytes where they will live, so that no copy is ever made.
    pub fn filled(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Secret(Slot::zeroed());
        write(&mut secret.0);
        secret
    }

    /// A copy of `bytes`, if there are exactly `N` of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| Self::filled(|out| out.copy_from_slice(bytes)))
    }

    /// A fresh random secret.
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self::filled(|out| entropy.fill(out))
    }

    /// The bytes, for the one who uses them now. Keep no copy.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        equal(self.expose(), other.expose())
    }
}

impl<const N: usize> Eq for Secret<N> {}

/// Compares without telling by its time where the first difference is.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_when_their_bytes_are() {
        assert!(Secret::from_bytes([7; 32]) == Secret::from_bytes([7; 32]));
        assert!(Secret::from_bytes([7; 32]) != Secret::from_bytes([8; 32]));
    }

    #[test]
    fn a_slice_of_the_wrong_length_makes_no_secret() {
        assert!(Secret::<32>::from_slice(&[1; 31]).is_none());
        assert!(Secret::<32>::from_slice(&[1; 33]).is_none());
        assert_eq!(
            Secret::<3>::from_slice(&[1, 2, 3]).unwrap().expose(),
            &[1, 2, 3]
        );
    }
}
