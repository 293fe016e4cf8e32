//! One connection: read, decode, begin, collect, encode, write.
//!
//! ```text
//! socket ─► Decoder ─► Request ─► begin ─┬─ Ready ──────────────► out
//!                                        ├─ Write ─► one batch ─► engine ─► ticket ─┐
//!                                        └─ Later ─► future ────────────────────────┴─► out ─► one socket write
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future::BoxFuture};
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::request::Request;
use palladium_protocol::response::Event;
use palladium_protocol::wire::{Decoder, Encoder, Frame, Version};
use palladium_storage::Write;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};

use super::handshake::{self, Greeting};
use super::told_to_stop;
use crate::database::Database;
use crate::error::CqlError;
use crate::query::{self, Outcome, Response};
use crate::session::Session;

/// Bytes read from a socket before the requests in them are begun.
const READ_BYTES_MAX: usize = 256 << 10;
/// An answer buffer that grew beyond this is given back after it was sent.
const OUT_BYTES_KEPT: usize = 256 << 10;
/// The stream of events.
const EVENT_STREAM: i16 = -1;

/// An answer and the stream it belongs to.
struct Answer {
    stream: i16,
    response: Response,
}

/// A connected client.
pub(super) struct Connection {
    socket: TcpStream,
    database: Arc<Database>,
    session: Session,
    decoder: Decoder,
    encoder: Encoder,
    out: BytesMut,
    under_way: FuturesUnordered<BoxFuture<'static, Vec<Answer>>>,
    requests: usize,
    events: broadcast::Receiver<Arc<Event>>,
    stopping: watch::Receiver<bool>,
    closing: bool,
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        database: Arc<Database>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let limits = FrameLimits {
            body_bytes_max: database.config.frame_bytes_max,
        };
        Connection {
            socket,
            session: Session::new(peer),
            decoder: Decoder::new(limits),
            encoder: Encoder::new(),
            out: BytesMut::new(),
            under_way: FuturesUnordered::new(),
            requests: 0,
            events: database.events.subscribe(),
            stopping,
            closing: false,
            database,
        }
    }

    /// One connection too many: says so and closes.
    pub(super) async fn refuse(mut socket: TcpStream) {
        let mut out = BytesMut::new();
        let error = CqlError::overloaded("The server has as many connections as it may have");
        Response::from(error).encode(&mut Encoder::new(), &mut out, Version::V4, 0);
        let _ = socket.write_all(&out).await;
    }

    /// Serves until the client leaves, breaks the protocol, or the server stops.
    pub(super) async fn serve(mut self) {
        if let Err(error) = self.run().await {
            tracing::debug!(peer = %self.session.peer, %error, "connection ended");
        }
    }

    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            let may_read =
                !self.closing && self.requests < self.database.config.connection_requests_max;
            let hears_events = self.session.hears_schema_changes();
            tokio::select! {
                biased;
                Some(answers) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.finish(answers);
                    while let Some(Some(answers)) = self.under_way.next().now_or_never() {
                        self.finish(answers);
                    }
                }
                event = self.events.recv(), if hears_events => {
                    if let Ok(event) = event {
                        self.encode(EVENT_STREAM, Response::Event((*event).clone()));
                    }
                }
                read = read_all(&mut self.socket, self.decoder.input()), if may_read => {
                    if read? == 0 {
                        self.closing = true;
                    }
                    self.begin_all();
                }
                () = told_to_stop(&mut self.stopping), if !self.closing => self.closing = true,
            }
            self.send().await?;
            if self.closing && self.under_way.is_empty() {
                return self.socket.shutdown().await;
            }
        }
    }

    /// Begins every request that has arrived whole.
    fn begin_all(&mut self) {
        let mut writes: Vec<Write> = Vec::new();
        let mut acknowledgements: Vec<Answer> = Vec::new();
        while !self.closing {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.begin(frame, &mut writes, &mut acknowledgements),
                Ok(None) => break,
                Err(error) => {
                    self.encoder.complaint(&mut self.out, error.complaint());
                    self.closing |= error.must_close();
                }
            }
        }
        if !writes.is_empty() {
            self.requests += acknowledgements.len();
            let ticket = self.database.engine.write(writes);
            self.under_way.push(Box::pin(async move {
                let results = ticket.await;
                acknowledgements
                    .into_iter()
                    .zip(results)
                    .map(|(answer, result)| match result {
                        Ok(()) => answer,
                        Err(error) => Answer {
                            stream: answer.stream,
                            response: CqlError::from(error).into(),
                        },
                    })
                    .collect()
            }));
        }
    }

    fn begin(&mut self, frame: Frame, writes: &mut Vec<Write>, acknowledgements: &mut Vec<Answer>) {
        let stream = frame.stream;
        let request = match Request::decode(&frame) {
            Ok(request) => request,
            Err(error) => {
                self.encoder.complaint(&mut self.out, error.complaint());
                self.closing |= error.must_close();
                return;
            }
        };
        if let Some(greeting) = handshake::greet(&mut self.session, &frame, &request) {
            self.greet(stream, greeting);
            return;
        }
        match query::begin(&self.database, &mut self.session, &frame, &request) {
            Outcome::Ready(response) => self.encode(stream, response),
            Outcome::Write { write, done } => match self.database.keys_at_hand(&write) {
                true => {
                    writes.push(write);
                    acknowledgements.push(Answer {
                        stream,
                        response: done,
                    });
                }
                false => {
                    let database = self.database.clone();
                    self.later(
                        stream,
                        async move { database.write_when_opened(write, done).await }.boxed(),
                    );
                }
            },
            Outcome::Later(response) => self.later(stream, response),
        }
    }

    fn later(&mut self, stream: i16, response: BoxFuture<'static, Response>) {
        self.requests += 1;
        self.under_way.push(Box::pin(async move {
            vec![Answer {
                stream,
                response: response.await,
            }]
        }));
    }

    fn greet(&mut self, stream: i16, greeting: Greeting) {
        match greeting {
            Greeting::Answer(response) => self.encode(stream, response),
            Greeting::Start {
                version,
                compression,
            } => {
                // READY itself still travels as the client's STARTUP did.
                self.encode(stream, Response::Ready);
                self.decoder.settle_version(version);
                handshake::apply(version, compression, &mut self.decoder, &mut self.encoder);
            }
            Greeting::Close(response) => {
                self.encode(stream, response);
                self.closing = true;
            }
        }
    }

    fn finish(&mut self, answers: Vec<Answer>) {
        self.requests -= answers.len();
        for answer in answers {
            self.encode(answer.stream, answer.response);
        }
    }

    fn encode(&mut self, stream: i16, response: Response) {
        response.encode(
            &mut self.encoder,
            &mut self.out,
            self.session.version,
            stream,
        );
    }

    async fn send(&mut self) -> std::io::Result<()> {
        self.encoder.flush(&mut self.out);
        if self.out.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&self.out).await?;
        match self.out.capacity() > OUT_BYTES_KEPT {
            true => self.out = BytesMut::new(),
            false => self.out.clear(),
        }
        Ok(())
    }
}

/// Reads all there is, up to a bound; waits for the first byte.
async fn read_all(socket: &mut TcpStream, input: &mut BytesMut) -> std::io::Result<usize> {
    let mut total = 0;
    loop {
        socket.readable().await?;
        loop {
            input.reserve(16 << 10);
            match socket.try_read_buf(input) {
                Ok(0) => return Ok(total),
                Ok(bytes) => total += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
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
