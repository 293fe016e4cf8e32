//! One connection: read, decode, begin, collect, encode, write.
//!
//! ```text
//! socket ─► Decoder ─► Request ─► begin ─┬─ Ready ──────────────► out
//!                                        ├─ Write ─► one batch ─► engine ─► ticket ─┐
//!                                        └─ Later ─► future ────────────────────────┴─► out ─► one socket write
//! ```
//!
//! What leaves, and until when, is `send`'s; for how long a peer is waited for, `pace`'s.
//!
//! What must hold: rows of a table leave, and wait here for a slow reader, only as long as the table's lease lives; and no socket that takes nothing is
//! waited for without an end.

mod pace;
mod send;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future::BoxFuture};
use palladium_crypto::TableId;
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::request::Request;
use palladium_protocol::response::{Event, WriteType};
use palladium_protocol::wire::{Decoder, Encoder, Frame, Version};
use palladium_storage::Write;
use smallvec::SmallVec;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{broadcast, watch};
use tokio::time::Sleep;

use self::pace::{Waited, part, read_all};
use super::clients;
use super::handshake::{self, Greeting};
use super::in_flight::Share;
use super::told_to_stop;
use crate::auth::login::{TOKEN_BYTES_MAX, log_in};
use crate::database::Database;
use crate::error::CqlError;
use crate::instruments::{Asked, Passed, Runs, Taken, take_passed};
use crate::query::{self, Outcome, Response};
use crate::schema::Catalog;
use crate::session::Session;

/// Room that is made in the buffer for one read of a socket: at first little, twice as much after each time that a read filled it.
const FIRST_ROOM_BYTES: usize = 1 << 10;
const ROOM_BYTES_MAX: usize = 16 << 10;
/// A connection that has said nothing for so long gives its buffers up, and goes on with new ones when it says something. One that is busy takes new ones as often:
/// what stood in the old ones is wiped with them.
const QUIET: Duration = Duration::from_secs(1);
/// While a socket takes nothing, from one look at the leases of what waits for it to the next. A table that is locked is out of memory within 5 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a text or a batch from which on it is worked on aside: to parse or bind so much takes longer than others of this thread should wait.
const LARGE_REQUEST_BYTES: usize = 16 << 10;
/// The same of a prepared statement, most of whose bytes are values that go as they came.
const LARGE_EXECUTE_BYTES: usize = 256 << 10;
/// Bytes of answers after which no further request is begun until they have left: a reader that is slow finds its own requests waiting. With one more answer of
/// usual size the buffer is kept, and is none of the large blocks whose pages come from the kernel anew each time.
const OUT_BYTES_MAX: usize = 192 << 10;
/// How long a connection too many may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// Bytes of a message before the client is ready: whoever has not logged in is held small. The largest is a token of AUTH_RESPONSE.
const HANDSHAKE_BODY_BYTES_MAX: usize = TOKEN_BYTES_MAX + (1 << 10);
/// The stream of events.
const EVENT_STREAM: i16 = -1;

/// An answer and the stream it belongs to.
struct Answer {
    stream: i16,
    response: Response,
    /// Bytes of the request, which are held until now.
    bytes: usize,
    taken: Taken,
}

/// Requests that were begun and have no answer yet.
struct UnderWay {
    /// Nobody misses it if nobody waits for its answer.
    only_reads: bool,
    work: BoxFuture<'static, Vec<Answer>>,
}

impl Future for UnderWay {
    type Output = Vec<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Answer>> {
        self.work.as_mut().poll(context)
    }
}

/// Why no more requests were begun.
#[derive(PartialEq)]
enum Begun {
    /// There are none.
    All,
    /// Their answers must leave first.
    OutIsFull,
    /// Others must be answered first.
    UnderWayIsFull,
}

/// A connected client.
pub(super) struct Connection {
    socket: TcpStream,
    database: Arc<Database>,
    session: Session,
    decoder: Decoder,
    encoder: Encoder,
    out: BytesMut,
    /// The tables whose rows stand in `out`: they share the fate of its bytes.
    shown: SmallVec<[TableId; 2]>,
    under_way: FuturesUnordered<UnderWay>,
    /// Answers that came while earlier ones were being sent.
    ready: VecDeque<Answer>,
    requests: usize,
    request_bytes: usize,
    /// v5: bytes of a request that has arrived in part, over several segments.
    part_bytes: usize,
    /// For the rest of a request that has arrived in part.
    part_waited: Option<Waited>,
    held: Share,
    /// When the newest bytes came.
    arrived: Instant,
    /// Since when its buffers are the ones they are.
    buffers_since: Instant,
    /// What was answered since the last write of the socket.
    runs: Runs,
    /// Its place among the clients that others see.
    place: clients::Place,
    /// From REGISTER on.
    events: Option<broadcast::Receiver<Arc<Event>>>,
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
            body_bytes_max: HANDSHAKE_BODY_BYTES_MAX,
        };
        Connection {
            socket,
            session: Session::new(peer),
            decoder: Decoder::new(limits),
            encoder: Encoder::new(),
            out: BytesMut::new(),
            shown: SmallVec::new(),
            under_way: FuturesUnordered::new(),
            ready: VecDeque::new(),
            requests: 0,
            request_bytes: 0,
            part_bytes: 0,
            part_waited: None,
            held: database.in_flight.share_of_connection(),
            arrived: Instant::now(),
            buffers_since: Instant::now(),
            runs: Runs::default(),
            place: database.clients.enter(peer),
            events: None,
            stopping,
            closing: false,
            database,
        }
    }

    /// One connection too many: answers its first word, whatever it is, so that the client knows why, and closes.
    pub(super) async fn refuse(mut socket: TcpStream) {
        let mut decoder = Decoder::new(FrameLimits {
            body_bytes_max: HANDSHAKE_BODY_BYTES_MAX,
        });
        let mut encoder = Encoder::new();
        let mut out = BytesMut::new();
        let error = CqlError::overloaded("The server has as many connections as it may have");
        let first = async {
            while read_all(&mut socket, decoder.input(), FIRST_ROOM_BYTES).await? > 0 {
                match decoder.next_frame() {
                    Ok(None) => {}
                    Ok(Some(frame)) => {
                        Response::from(error).encode(
                            &mut encoder,
                            &mut out,
                            frame.version,
                            frame.stream,
                        );
                        break;
                    }
                    Err(error) => {
                        encoder.complaint(&mut out, error.complaint());
                        break;
                    }
                }
            }
            socket.write_all(&out).await
        };
        if let Ok(Ok(())) = tokio::time::timeout(FIRST_WORD, first).await {
            part(&mut socket).await;
        }
    }

    /// Serves until the client leaves, breaks the protocol, or the server stops.
    pub(super) async fn serve(mut self) {
        if let Err(error) = self.run().await {
            tracing::debug!(peer = %self.session.peer, %error, "connection ended");
        }
    }

    async fn run(&mut self) -> std::io::Result<()> {
        let patience = Duration::from_secs(self.database.config.handshake_timeout_s);
        // Until the client is ready, for that; then for the next word. One that gave its buffers up has no timer until it says something.
        let mut patience = pin!(tokio::time::sleep(patience));
        let mut room = FIRST_ROOM_BYTES;
        let mut is_quiet = false;
        let mut was_ready = false;
        loop {
            self.finish();
            let begun = self.begin_all();
            self.send().await?;
            if self.closing && self.under_way.is_empty() && self.ready.is_empty() {
                part(&mut self.socket).await;
                return Ok(());
            }
            if begun == Begun::OutIsFull || !self.ready.is_empty() {
                continue;
            }
            let may_read = !self.closing && begun == Begun::All;
            if !was_ready && self.session.is_ready() {
                was_ready = true;
                patience.as_mut().reset(tokio::time::Instant::now() + QUIET);
            }
            tokio::select! {
                biased;
                () = told_to_stop(&mut self.stopping), if !self.closing => self.closing = true,
                Some(answers) = self.under_way.next(), if !self.under_way.is_empty() => {
                    wake(&mut is_quiet, patience.as_mut());
                    self.ready.extend(answers);
                    while let Some(Some(answers)) = self.under_way.next().now_or_never() {
                        self.ready.extend(answers);
                    }
                }
                event = next_event(&mut self.events) => {
                    wake(&mut is_quiet, patience.as_mut());
                    match event {
                        Some(event) if self.database.authority.admitted(&mut self.session).is_ok() => {
                            self.put(EVENT_STREAM, &Response::Event((*event).clone()));
                        }
                        Some(_) => self.closing = true,
                        None => {}
                    }
                }
                read = read_all(&mut self.socket, self.decoder.input(), room), if may_read => {
                    match read? {
                        0 => {
                            self.closing = true;
                            self.drop_what_nobody_waits_for();
                        }
                        bytes => {
                            if bytes >= room {
                                room = ROOM_BYTES_MAX.min(2 * room);
                            }
                            self.part_bytes += bytes;
                            if let Some(waited) = &mut self.part_waited {
                                waited.bytes += bytes;
                            }
                            self.arrived = Instant::now();
                            self.runs.received(bytes);
                        }
                    }
                    wake(&mut is_quiet, patience.as_mut());
                    let now = || tokio::time::Instant::now();
                    // Whoever sends something all the time is not waited for longer.
                    if !self.session.is_ready() && self.under_way.is_empty() && now() >= patience.deadline() {
                        self.closing = true;
                    }
                }
                // The last of all: a busy connection never asks for the time. Not while a password is looked at: others may be before it.
                () = &mut patience, if (!is_quiet || self.part_waited.is_some()) && (self.session.is_ready() || self.under_way.is_empty()) => {
                    if !self.session.is_ready() {
                        self.closing = true;
                        continue;
                    }
                    let next = match QUIET.checked_sub(self.arrived.elapsed()) {
                        Some(rest) => rest,
                        None => {
                            if !is_quiet {
                                self.held.gave_up(room + self.out.capacity());
                                self.give_up_buffers();
                                room = FIRST_ROOM_BYTES;
                                is_quiet = true;
                            }
                            LOOK_EVERY
                        }
                    };
                    // Where nothing is read, the rest may lie there long since.
                    if !may_read {
                        self.part_waited = None;
                    } else if self.part_is_overdue() {
                        return Err(self.cut("the rest of its request does not come"));
                    }
                    if !is_quiet || self.part_waited.is_some() {
                        patience.as_mut().reset(tokio::time::Instant::now() + next);
                    }
                }
            }
        }
    }

    /// The client has hung up: what only reads ends at once. What writes goes on to its end, whoever waits for it.
    fn drop_what_nobody_waits_for(&mut self) {
        self.under_way = without_reads(std::mem::take(&mut self.under_way));
    }

    /// Nothing was said for a while: what is left is what it takes to hear the next word. What is under way has its own.
    fn give_up_buffers(&mut self) {
        self.decoder.give_up_buffers();
        self.encoder.give_up_buffers();
        self.runs.give_up_buffers();
        self.out = BytesMut::new();
        self.shown = SmallVec::new();
        self.ready = VecDeque::new();
    }

    /// Begins the requests that have arrived whole, as far as the bounds let it.
    fn begin_all(&mut self) -> Begun {
        let mut writes: Vec<Write> = Vec::new();
        let mut acknowledgements: Vec<(Answer, WriteType)> = Vec::new();
        // Held until the writes are handed over: whoever builds an index waits for those who do not know of it. What is lent costs no shared count;
        // whoever replaces the catalog counts the lent ones before he has it back.
        let catalog = self.database.catalog.load();
        let begun = loop {
            if self.closing {
                break Begun::All;
            }
            if self.out.len() >= OUT_BYTES_MAX {
                break Begun::OutIsFull;
            }
            let is_full = self.requests >= self.database.config.connection_requests_max;
            if is_full && !self.session.wants_overloaded {
                break Begun::UnderWayIsFull;
            }
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    self.part_bytes = self.decoder.input().len();
                    self.part_waited = None;
                    match is_full && self.session.is_ready() {
                        true => self.overloaded(
                            frame.stream,
                            "The connection has as many requests under way as it may have",
                        ),
                        false => self.begin(frame, &catalog, &mut writes, &mut acknowledgements),
                    }
                }
                Ok(None) => break Begun::All,
                Err(error) => {
                    self.database
                        .instruments
                        .errors
                        .count(error.complaint().code);
                    self.encoder.complaint(&mut self.out, error.complaint());
                    self.closing |= error.must_close();
                }
            }
        };
        if begun == Begun::All
            && self.held.is_too_much()
            && self.part_bytes() > self.held.fair_bytes()
        {
            self.overloaded(
                0,
                "The server holds as many bytes of requests as it may hold",
            );
            self.closing = true;
            // Nothing more is read, and what came is not held until the client has heard so.
            self.decoder = Decoder::new(FrameLimits { body_bytes_max: 0 });
            self.part_bytes = 0;
        }
        self.write(writes, acknowledgements);
        self.place.tell(&self.session, self.requests);
        begun
    }

    /// All writes of a read are one batch for the engine, and one wake-up.
    fn write(&mut self, writes: Vec<Write>, acknowledgements: Vec<(Answer, WriteType)>) {
        if writes.is_empty() {
            return;
        }
        let database = self.database.clone();
        let ticket = database.engine.write(writes);
        let work = async move {
            let results = ticket.await;
            acknowledgements
                .into_iter()
                .zip(results)
                .map(|((answer, kind), result)| match result {
                    Ok(()) => answer,
                    Err(error) => Answer {
                        response: database.write_refused(error, kind).into(),
                        ..answer
                    },
                })
                .collect()
        };
        self.under_way.push(UnderWay {
            only_reads: false,
            work: Box::pin(work),
        });
    }

    fn begin(
        &mut self,
        frame: Frame,
        catalog: &Arc<Catalog>,
        writes: &mut Vec<Write>,
        acknowledgements: &mut Vec<(Answer, WriteType)>,
    ) {
        let (stream, bytes) = (frame.stream, frame.body.len());
        let request = match Request::decode(&frame) {
            Ok(request) => request,
            Err(error) => {
                self.database
                    .instruments
                    .errors
                    .count(error.complaint().code);
                self.encoder.complaint(&mut self.out, error.complaint());
                self.closing |= error.must_close();
                return;
            }
        };
        self.place.count(&request);
        if let Some(greeting) = handshake::greet(
            &self.database.authority,
            &mut self.session,
            &frame,
            &request,
        ) {
            if let (Request::Startup(startup), Greeting::Start { version, .. }) =
                (&request, &greeting)
            {
                self.place.started(*version, startup);
            }
            self.greet(stream, bytes, greeting);
            return;
        }
        let is_too_much = self.held.is_too_much();
        if is_too_much && self.kept_bytes() + bytes > self.held.fair_bytes() {
            self.overloaded(
                stream,
                "The server holds as many bytes of requests as it may hold",
            );
            return;
        }
        let is_large = match &request {
            Request::Execute(_) => bytes >= LARGE_EXECUTE_BYTES,
            _ => bytes >= LARGE_REQUEST_BYTES,
        };
        let outcome = match is_large {
            false => query::begin(&self.database, &mut self.session, &frame, &request),
            true => aside(|| query::begin(&self.database, &mut self.session, &frame, &request)),
        };
        let taken = self.taken(self.session.asked);
        if let Some(text) = self.session.text.take() {
            self.runs.keep(text);
        }
        match outcome {
            Outcome::Ready(response) => {
                let response = match is_too_much {
                    true => self.if_it_fits(response),
                    false => response,
                };
                self.encode(stream, response, taken);
            }
            // What was decided under a latch waits for no key: the engine refuses it if one is not at hand any more.
            Outcome::Write { write, done, kind } => match write.is_latched()
                || self.database.keys_at_hand(&write)
            {
                true => {
                    self.requests += 1;
                    self.request_bytes += bytes;
                    writes.push(write);
                    let answer = Answer {
                        stream,
                        response: done,
                        bytes,
                        taken,
                    };
                    acknowledgements.push((answer, kind));
                }
                false => {
                    let database = self.database.clone();
                    let asker = self.session.asker().clone();
                    let catalog = catalog.clone();
                    let work = async move {
                        let answer = database.write_when_opened(write, done, kind, &asker).await;
                        drop(catalog);
                        answer
                    };
                    self.later(stream, bytes, taken, work.boxed());
                }
            },
            Outcome::Later(response) if is_large => {
                let mut response = response;
                let work = poll_fn(move |context| aside(|| response.as_mut().poll(context)));
                self.later(stream, bytes, taken, work.boxed());
            }
            Outcome::Later(response) => self.later(stream, bytes, taken, response),
        }
        self.closing |= self.session.is_shown_out();
    }

    /// A bound is reached: not silence, but an answer that says so.
    fn overloaded(&mut self, stream: i16, why: &str) {
        let taken = self.taken(Asked::default());
        self.encode(stream, CqlError::overloaded(why).into(), taken);
    }

    /// What is known of the request that was begun just now.
    fn taken(&self, asked: Asked) -> Taken {
        Taken {
            asked,
            arrived: self.arrived,
            passed: take_passed(),
        }
    }

    fn later(
        &mut self,
        stream: i16,
        bytes: usize,
        taken: Taken,
        mut response: BoxFuture<'static, Response>,
    ) {
        self.requests += 1;
        self.request_bytes += bytes;
        let work = async move {
            let mut passed = Passed::default();
            let response = poll_fn(|context| {
                let polled = response.as_mut().poll(context);
                // Before others run on this thread.
                passed = passed.and(take_passed());
                polled
            });
            let response = response.await;
            vec![Answer {
                stream,
                response,
                bytes,
                taken: Taken {
                    passed: taken.passed.and(passed),
                    ..taken
                },
            }]
        };
        self.under_way.push(UnderWay {
            // A login records itself, given up or not; others wait behind it.
            only_reads: taken.asked.operation.only_reads() || self.session.is_logging_in(),
            work: Box::pin(work),
        });
    }

    fn greet(&mut self, stream: i16, bytes: usize, greeting: Greeting) {
        let taken = self.taken(Asked::HANDSHAKE);
        match greeting {
            Greeting::Answer(response) => self.encode(stream, response, taken),
            Greeting::Register => {
                if self.events.is_none() && self.session.hears_schema_changes() {
                    self.events = Some(self.database.events.subscribe());
                }
                self.encode(stream, Response::Ready, taken);
            }
            Greeting::Login(token) => {
                let (database, peer) = (self.database.clone(), self.session.peer);
                let login = async move {
                    match log_in(&database, token, peer).await {
                        Ok(asker) => Response::AuthSuccess(asker),
                        Err(error) => error.into(),
                    }
                };
                self.later(stream, bytes, taken, login.boxed());
            }
            Greeting::Start {
                answer,
                version,
                compression,
            } => {
                // The answer itself still travels as the client's STARTUP did.
                self.encode(stream, answer, taken);
                self.decoder.settle_version(version);
                handshake::apply(version, compression, &mut self.decoder, &mut self.encoder);
                if self.session.is_ready() {
                    self.let_in();
                }
            }
            Greeting::Close(response) => {
                self.encode(stream, response, taken);
                self.closing = true;
            }
        }
    }

    fn encode(&mut self, stream: i16, response: Response, taken: Taken) {
        let failed = match response.unwrapped() {
            Response::Error(error) => {
                self.database.instruments.errors.count(error.code());
                true
            }
            Response::Rows(rows) => {
                if let Some(table) = rows.leased_table()
                    && self.shown.last() != Some(&table)
                    && !self.shown.contains(&table)
                {
                    self.shown.push(table);
                }
                false
            }
            _ => false,
        };
        self.runs.add(taken, failed);
        match &response {
            Response::AuthSuccess(asker) => {
                self.session.log_in(asker.clone());
                self.let_in();
            }
            // Whoever guesses passwords begins anew for each.
            Response::Error(_) if self.session.is_logging_in() => self.closing = true,
            _ => {}
        }
        self.put(stream, &response);
    }

    fn put(&mut self, stream: i16, response: &Response) {
        response.encode(
            &mut self.encoder,
            &mut self.out,
            self.session.version,
            stream,
        );
    }

    /// It is ready: the bounds of those who are hold from here on.
    fn let_in(&mut self) {
        self.decoder.limit(FrameLimits {
            body_bytes_max: self.database.config.frame_bytes_max,
        });
    }

    /// Tells how much this connection holds.
    fn report(&mut self) {
        let bytes = self.part_bytes() + self.kept_bytes();
        self.held.report(bytes);
    }

    fn part_bytes(&mut self) -> usize {
        match self.session.is_started() && self.session.version >= Version::V5 {
            true => self.part_bytes,
            false => self.decoder.input().len(),
        }
    }

    /// Bytes of what was begun: of requests, and of answers that nobody else counts.
    fn kept_bytes(&self) -> usize {
        let ready = self.ready.iter();
        let ready: usize = ready.map(|answer| answer.response.uncounted_bytes()).sum();
        self.request_bytes + self.out.len() + ready
    }
}

/// What goes on when nobody waits for its answer.
fn without_reads(under_way: FuturesUnordered<UnderWay>) -> FuturesUnordered<UnderWay> {
    let all = under_way.into_iter();
    all.filter(|request| !request.only_reads).collect()
}

/// Something moves again on a connection that had given its buffers up: it will have others to give up.
fn wake(is_quiet: &mut bool, patience: Pin<&mut Sleep>) {
    if std::mem::take(is_quiet) {
        patience.reset(tokio::time::Instant::now() + QUIET);
    }
}

/// Works for a while, on a thread that nobody else waits for: another one serves the connections of this one meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// The next event for a client that registered; one that lags too far behind misses some.
async fn next_event(events: &mut Option<broadcast::Receiver<Arc<Event>>>) -> Option<Arc<Event>> {
    match events {
        Some(events) => events.recv().await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_for_a_client_that_left_ends_and_what_writes_goes_on() {
        let under_way = |only_reads| {
            let (told, heard) = tokio::sync::oneshot::channel::<()>();
            let work = async move {
                let _ = heard.await;
                Vec::new()
            };
            let request = UnderWay {
                only_reads,
                work: Box::pin(work),
            };
            (request, told)
        };
        let ((read, of_read), (write, of_write)) = (under_way(true), under_way(false));
        let left = without_reads([read, write].into_iter().collect());
        assert_eq!(left.len(), 1);
        assert!(of_read.is_closed() && !of_write.is_closed());
    }
}
