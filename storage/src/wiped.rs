//! Plaintext that is wiped when it is given up, and grows without leaving a copy behind.
//!
//! [`zeroize`] wipes a vector value by value, each by a write of its own: a microsecond for a block, which a read from the page cache would pay twice. Slices it fills at
//! once, as fast as memory takes them, so that is what is asked of it here.
//!
//! What must hold: spare capacity is wiped, too.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use zeroize::{DefaultIsZeroes, Zeroize};

/// A buffer that is wiped as it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wiped<B: Wipe>(B);

/// What can be overwritten with zeroes.
pub trait Wipe {
    /// Overwrites all of it; no compiler leaves that out.
    fn wipe(&mut self);
}

impl<T: DefaultIsZeroes> Wipe for Vec<T> {
    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
        self.spare_capacity_mut().zeroize();
    }
}

impl<T: DefaultIsZeroes> Wipe for Box<[T]> {
    fn wipe(&mut self) {
        self[..].zeroize();
    }
}

impl<B: Wipe> Wiped<B> {
    /// Takes a buffer over.
    pub fn new(buffer: B) -> Self {
        Wiped(buffer)
    }
}

impl<B: Wipe> fmt::Debug for Wiped<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wiped")
    }
}

impl<B: Wipe> Drop for Wiped<B> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<B: Wipe> Deref for Wiped<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B: Wipe> DerefMut for Wiped<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: Wipe + AsRef<[u8]>> AsRef<[u8]> for Wiped<B> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Wiped<Vec<u8>> {
    /// Makes room by moving into a larger buffer and wiping the old one: a vector that grows by itself leaves a copy behind.
    pub(crate) fn reserve_wiped(&mut self, additional: usize) {
        let needed = self.len() + additional;
        if needed > self.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.capacity()));
            larger.extend_from_slice(self);
            *self = Wiped(larger);
        }
    }

    /// Shared bytes that are wiped when the last slice of them is dropped.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_leaves_nothing_in_a_buffer() {
        let mut buffer = vec![7u8; 5000];
        buffer.truncate(100);
        buffer.wipe();
        assert_eq!(buffer, [0; 100]);
        let mut longs = vec![7i64; 10];
        longs.wipe();
        assert_eq!(longs, [0; 10]);
        let mut boxed: Box<[u8]> = Box::from([7; 33]);
        boxed.wipe();
        assert_eq!(*boxed, [0; 33]);
    }

    #[test]
    fn what_grows_keeps_its_bytes() {
        let mut buffer = Wiped::new(vec![1, 2, 3]);
        for _ in 0..20 {
            buffer.reserve_wiped(100);
            let room = buffer.capacity() - buffer.len();
            assert!(room >= 100);
            buffer.extend_from_slice(&[9; 100]);
        }
        assert_eq!(buffer[..3], [1, 2, 3]);
        assert_eq!(buffer.into_bytes().len(), 2003);
    }
}
