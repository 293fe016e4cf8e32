//! What leaves a connection: answers, as its reader takes them, and only as long as the leases of their tables live.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;

use bytes::BytesMut;
use futures::stream::StreamExt;
use palladium_storage::Reading;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::pace::Waited;
use super::{Answer, Connection, LOOK_EVERY, OUT_BYTES_MAX, QUIET};
use crate::error::CqlError;
use crate::instruments::Client;
use crate::query::Response;

/// An answer buffer that grew beyond this is given back after it was sent.
const OUT_BYTES_KEPT: usize = 256 << 10;

impl Connection {
    /// Encodes what is ready, as far as there is room.
    pub(super) fn finish(&mut self) {
        while self.out.len() < OUT_BYTES_MAX
            && let Some(answer) = self.ready.pop_front()
        {
            self.requests -= 1;
            self.request_bytes -= answer.bytes;
            self.encode(answer.stream, answer.response, answer.taken);
        }
    }

    /// The answer; or, while all hold too much, a refusal in place of rows that are more than this connection may hold then.
    ///
    /// What a conditional write came to is no such thing: it has been done, and nobody else tells.
    pub(super) fn if_it_fits(&self, response: Response) -> Response {
        let bytes = response.uncounted_bytes();
        match bytes > 0
            && !response.tells_of_a_write()
            && self.kept_bytes() + bytes > self.held.fair_bytes()
        {
            true => {
                CqlError::overloaded("The server holds as many bytes of answers as it may hold")
                    .into()
            }
            false => response,
        }
    }

    /// Sends all answers. Most sockets take them at once.
    pub(super) async fn send(&mut self) -> std::io::Result<()> {
        self.encoder.flush(&mut self.out);
        self.report();
        let bytes = self.out.len();
        if bytes == 0 {
            return Ok(());
        }
        let sent = match write_now(&mut self.socket, &self.out).await {
            Poll::Ready(written) => some(written?)?,
            Poll::Pending => 0,
        };
        if sent < bytes {
            // Apart, so that no connection sets memory aside for it.
            Box::pin(self.send_rest(sent)).await?;
        }
        self.settle(bytes);
        self.shown.clear();
        match self.out.capacity() > OUT_BYTES_KEPT {
            true => self.out = BytesMut::new(),
            false => self.out.clear(),
        }
        if self.arrived.saturating_duration_since(self.buffers_since) >= QUIET {
            self.renew_buffers();
        }
        self.report();
        Ok(())
    }

    /// Sends the rest as the reader takes it, who may be slow. What is under way goes on meanwhile: it may hold a latch that others wait for.
    ///
    /// The clocks are read before each write, and while there is none: what waits here was read from its tables a while ago.
    async fn send_rest(&mut self, mut sent: usize) -> std::io::Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waited = Waited::since(self.database.engine.reading().boot_nanos);
        while sent < self.out.len() {
            let may_write = tokio::select! {
                biased;
                writable = self.socket.writable() => {
                    writable?;
                    true
                }
                Some(answers) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.put_by(answers);
                    continue;
                }
                _ = look.tick() => false,
            };
            let clock = self.database.engine.reading();
            if !self.may_show(clock) {
                return Err(
                    self.cut("the key of a table was taken away whose rows it has not read")
                );
            }
            if may_write {
                match self.socket.try_write(&self.out[sent..]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    written => {
                        let bytes = some(written?)?;
                        sent += bytes;
                        waited.bytes += bytes;
                    }
                }
            }
            if waited.nanos(clock.boot_nanos) > self.stall_nanos_max() {
                return Err(self.cut("it does not read its answers"));
            }
        }
        Ok(())
    }

    /// Answers that came while earlier ones wait for their reader.
    fn put_by(&mut self, answers: Vec<Answer>) {
        for mut answer in answers {
            if self.held.is_too_much() {
                answer.response = self.if_it_fits(answer.response);
            }
            self.ready.push_back(answer);
        }
        self.report();
    }

    /// Whether everything that waits for the reader may still be shown.
    fn may_show(&self, clock: Reading) -> bool {
        let ready = self.ready.iter();
        let ready = ready.filter_map(|answer| answer.response.rows()?.leased_table());
        let tables = self.shown.iter().copied().chain(ready);
        self.database.engine.all_usable(tables, clock)
    }

    /// Takes new buffers in place of those that are empty: a busy connection would show the rows of an hour ago in their tails.
    #[cold]
    fn renew_buffers(&mut self) {
        self.buffers_since = self.arrived;
        self.decoder.give_up_buffers();
        self.encoder.give_up_buffers();
        self.out = BytesMut::new();
    }

    /// What was answered has left: it counts.
    fn settle(&mut self, sent_bytes: usize) {
        let client = Client {
            who: &self.session.asker().who,
            peer: self.session.peer,
            prepared: &self.database.prepared,
        };
        self.runs
            .settle(&self.database.instruments, sent_bytes, &client);
        if self.under_way.is_empty() && self.ready.is_empty() {
            self.runs.forget_texts();
        }
    }
}

/// Offers bytes to a socket once.
async fn write_now(socket: &mut TcpStream, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *socket).poll_write(context, bytes))).await
}

/// Bytes that were written, of more than none.
fn some(bytes: usize) -> std::io::Result<usize> {
    match bytes {
        0 => Err(ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}
