//! Bytes that connections hold: requests that have arrived in part or wait for their answers, and answers that are gathered or wait for their reader.
//!
//! Each connection reports what it holds; past three quarters of the bound a request is told Overloaded instead of being begun, and a large request that has
//! arrived in part is told so and cut off. Requests of the handshake are small and always answered. An answer that grows large has a share of its own until it is
//! encoded: where the others hold too much, it is given up and its reader told Overloaded.
//!
//! The last quarter is for those who hold little, so that a few who do not read what they asked for take the server from nobody else. It is divided evenly among
//! the connections that are open, however many: together they stay within it, and 20,000 of them have less than one row's worth each where memory is small. Nobody
//! gets more of it than [`FAIR_BYTES_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages of the largest size that fit together.
const PAGES_AT_ONCE: usize = 32;
const PAGE_BYTES_MIN: usize = 1 << 20;
const PAGE_BYTES_MAX: usize = 16 << 20;

/// One part of so many is for connections that hold little.
const PARTS: usize = 4;
/// What is little on any machine: some requests of usual size, and their answers.
const FAIR_BYTES_MAX: usize = 64 << 10;

/// What all connections hold together.
#[derive(Debug)]
pub struct InFlight {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Those that are open.
    connections: AtomicUsize,
    /// About so many bytes of buffers were given up by connections that said nothing.
    given_up: AtomicUsize,
}

/// The share of one connection, or of one answer until it is encoded; gives it back when dropped.
#[derive(Debug)]
pub struct Share {
    all: Arc<InFlight>,
    bytes: usize,
    is_connection: bool,
}

impl InFlight {
    /// With a bound in bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(InFlight {
            bytes: AtomicUsize::new(0),
            bytes_max,
            connections: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
        })
    }

    /// The share of an answer, which holds nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            all: self.clone(),
            bytes: 0,
            is_connection: false,
        }
    }

    /// The same of a connection, which is one more to divide by.
    pub(super) fn share_of_connection(self: &Arc<Self>) -> Share {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Share {
            all: self.clone(),
            bytes: 0,
            is_connection: true,
        }
    }

    /// Bytes at which it is too much for those who hold more than little.
    fn crowded_at(&self) -> usize {
        self.bytes_max - self.bytes_max / PARTS
    }

    /// About how many bytes of buffers connections have given up since the start, because they had nothing to say. It begins anew at zero some day.
    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Bytes at which a page of rows ends before it has all the rows that were asked for, so that many readers have room beside each other.
    pub fn page_bytes_max(&self) -> usize {
        (self.bytes_max / PAGES_AT_ONCE).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
    }

    /// What is held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Share {
    /// It holds so much now.
    pub fn report(&mut self, bytes: usize) {
        match bytes >= self.bytes {
            true => self
                .all
                .bytes
                .fetch_add(bytes - self.bytes, Ordering::Relaxed),
            false => self
                .all
                .bytes
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// This connection has given up buffers of about so many bytes.
    pub(super) fn gave_up(&self, bytes: usize) {
        self.all.given_up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all together hold so much that only who holds little may go on.
    pub(super) fn is_too_much(&self) -> bool {
        self.all.bytes() > self.all.crowded_at()
    }

    /// What a connection may hold even then.
    pub(super) fn fair_bytes(&self) -> usize {
        let connections = self.all.connections.load(Ordering::Relaxed).max(1);
        (self.all.bytes_max / PARTS / connections).min(FAIR_BYTES_MAX)
    }

    /// Whether all the others together hold too much: who is alone may go on, however large its answer becomes.
    pub fn is_too_much_beside_others(&self) -> bool {
        self.all.bytes().saturating_sub(self.bytes) > self.all.crowded_at()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.report(0);
        if self.is_connection {
            self.all.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_gives_back_what_it_held() {
        let all = InFlight::new(100);
        let (mut one, mut other) = (all.share(), all.share());
        one.report(50);
        other.report(30);
        assert!(one.is_too_much());
        other.report(10);
        assert_eq!((all.bytes(), one.is_too_much()), (60, false));
        drop(one);
        assert_eq!(all.bytes(), 10);
    }

    #[test]
    fn who_is_alone_may_hold_what_many_may_not() {
        let all = InFlight::new(100);
        let (mut one, mut other) = (all.share(), all.share());
        one.report(200);
        assert!(!one.is_too_much_beside_others());
        assert!(other.is_too_much_beside_others());
        other.report(76);
        assert!(one.is_too_much_beside_others());
    }

    #[test]
    fn a_quarter_is_divided_evenly_and_nobody_gets_more_of_it_than_is_little() {
        let bytes_max = 32 << 20;
        let all = InFlight::new(bytes_max);
        let mut open: Vec<Share> = vec![all.share_of_connection()];
        // An answer is no connection.
        let _answer = all.share();
        assert_eq!(open[0].fair_bytes(), FAIR_BYTES_MAX);
        for connections in [2, 128, 129, 20_000] {
            open.resize_with(connections, || all.share_of_connection());
            let fair = open[0].fair_bytes();
            assert!(fair > 0 && fair * connections <= bytes_max / PARTS);
        }
        assert_eq!(open[0].fair_bytes(), 419);
        open.truncate(1);
        assert_eq!(open[0].fair_bytes(), FAIR_BYTES_MAX);
    }
}
