//! A peer at its own pace: for how long it is waited for, what is read of it at once, and how it is parted from.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Connection, FIRST_ROOM_BYTES};

/// For how long a socket may take nothing while all connections together hold too much: others are refused for the sake of its reader, whose own patience is
/// usually less (drivers give a request up after 2 to 12 s).
const STALL_NANOS_MAX_IN_NEED: u64 = 30 * 1_000_000_000;
/// The same while there is room. Its reader may be held up in a debugger, or work through a page before he reads on; for good it is not, as nothing else would
/// ever end it: a peer that answers the kernel's probes with a closed window is not dead.
const STALL_NANOS_MAX: u64 = 300 * 1_000_000_000;
/// Bytes that a peer must give or take for its patience to begin anew. Whoever moves a few at a time holds a place, and what waits for him, as one who moves none:
/// while there is need he is to move 8 KiB a second, and otherwise a tenth of that.
const PACE_BYTES: usize = 256 << 10;
/// Bytes read from a socket before the requests in them are begun.
const READ_BYTES_MAX: usize = 256 << 10;
/// How long a client may take to read the last word and hang up.
const PARTING: Duration = Duration::from_secs(1);

/// How long a peer has been waited for, and what it has moved since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    since_nanos: u64,
    pub(super) bytes: usize,
}

impl Waited {
    pub(super) fn since(now_nanos: u64) -> Self {
        Waited {
            since_nanos: now_nanos,
            bytes: 0,
        }
    }

    /// For how long, at this moment. Whoever has moved enough is waited for anew.
    pub(super) fn nanos(&mut self, now_nanos: u64) -> u64 {
        if self.bytes >= PACE_BYTES {
            *self = Waited::since(now_nanos);
        }
        now_nanos.saturating_sub(self.since_nanos)
    }
}

impl Connection {
    /// Whether a request that has arrived in part has been waited for long enough. Asked while the connection is quiet or once a second.
    pub(super) fn part_is_overdue(&mut self) -> bool {
        if self.part_bytes() == 0 || !self.session.is_ready() {
            self.part_waited = None;
            return false;
        }
        let now_nanos = self.database.engine.reading().boot_nanos;
        let waited = self.part_waited.get_or_insert(Waited::since(now_nanos));
        let nanos = waited.nanos(now_nanos);
        nanos > self.stall_nanos_max()
    }

    /// For how long a peer is waited for now.
    pub(super) fn stall_nanos_max(&self) -> u64 {
        match self.held.is_too_much() {
            true => STALL_NANOS_MAX_IN_NEED,
            false => STALL_NANOS_MAX,
        }
    }

    /// Has the connection end at once: what its socket still holds is not sent either, and what waits here is wiped when it is freed.
    pub(super) fn cut(&self, why: &'static str) -> std::io::Error {
        tracing::info!(peer = %self.session.peer, why, "a connection is closed");
        if let Err(error) = self.socket.set_zero_linger() {
            tracing::debug!(%error, "the socket keeps what it holds until its reader leaves");
        }
        std::io::Error::new(ErrorKind::TimedOut, why)
    }
}

/// Ends the conversation so that the last word arrives: closing a socket with unread bytes in it would throw away what is on its way to the client.
pub(super) async fn part(socket: &mut TcpStream) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut ignored = BytesMut::new();
    let until_it_hangs_up = async {
        while let Ok(1..) = read_all(socket, &mut ignored, FIRST_ROOM_BYTES).await {
            ignored.clear();
        }
    };
    let _ = tokio::time::timeout(PARTING, until_it_hangs_up).await;
}

/// Reads all there is, up to a bound; waits for the first byte, without a buffer.
pub(super) async fn read_all(
    socket: &mut TcpStream,
    input: &mut BytesMut,
    room: usize,
) -> std::io::Result<usize> {
    let mut total = 0;
    loop {
        socket.readable().await?;
        loop {
            input.reserve(room);
            // Not by a poll, which has a budget: one that is used up is no socket that has nothing more.
            match socket.try_read_buf(input) {
                Ok(0) => return Ok(total),
                Ok(bytes) => total += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if total >= READ_BYTES_MAX {
                return Ok(total);
            }
        }
        if total > 0 {
            return Ok(total);
        }
    }
}
