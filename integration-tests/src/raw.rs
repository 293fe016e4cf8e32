//! A tiny client for native protocol v4 that can keep many requests in flight and say wrong things on purpose.
//!
//! It shares no code with the server: a mistake in ours must not be answered by the same mistake here. It trusts nothing about the order of answers; the
//! stream id alone says which request an answer belongs to. A broken connection is an `Err`, which is an unknown outcome; what the server refused is an
//! `Answer::Refused`, which is a known one.
//!
//! ```text
//! request   04 flags stream(2) opcode length(4) body        answer   84 flags stream(2) opcode length(4) body
//! ```

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const HEADER_BYTES: usize = 9;
/// No answer in a test is larger; a length beyond it means that the stream is out of step.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Opcodes, as the protocol numbers them.
pub mod opcode {
    pub const ERROR: u8 = 0x00;
    pub const STARTUP: u8 = 0x01;
    pub const READY: u8 = 0x02;
    pub const AUTHENTICATE: u8 = 0x03;
    pub const OPTIONS: u8 = 0x05;
    pub const SUPPORTED: u8 = 0x06;
    pub const QUERY: u8 = 0x07;
    pub const RESULT: u8 = 0x08;
    pub const PREPARE: u8 = 0x09;
    pub const EXECUTE: u8 = 0x0A;
    pub const BATCH: u8 = 0x0D;
    pub const AUTH_RESPONSE: u8 = 0x0F;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

/// Error codes that tests look for.
pub mod code {
    pub const PROTOCOL: i32 = 0x000A;
    pub const UNAVAILABLE: i32 = 0x1000;
    pub const OVERLOADED: i32 = 0x1001;
    pub const READ_FAILURE: i32 = 0x1300;
    pub const SYNTAX: i32 = 0x2000;
    pub const UNAUTHORIZED: i32 = 0x2100;
    pub const INVALID: i32 = 0x2200;
    pub const UNPREPARED: i32 = 0x2500;
}

const CONSISTENCY_ONE: u16 = 0x0001;
/// The level at which a read sees what conditional writes have decided.
pub const CONSISTENCY_SERIAL: u16 = 0x0008;

/// One message from the server, still in bytes.
#[derive(Debug)]
pub struct Frame {
    pub version: u8,
    pub flags: u8,
    pub stream: i16,
    pub opcode: u8,
    pub body: Bytes,
}

/// Takes one whole frame off the front, if it is there.
pub fn take_frame(input: &mut BytesMut) -> io::Result<Option<Frame>> {
    if input.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = u32::from_be_bytes(input[5..9].try_into().expect("four bytes")) as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("an answer of {length} bytes"),
        ));
    }
    if input.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    let mut frame = input.split_to(HEADER_BYTES + length).freeze();
    let (version, flags, stream, opcode) = (
        frame[0],
        frame[1],
        i16::from_be_bytes([frame[2], frame[3]]),
        frame[4],
    );
    frame.advance(HEADER_BYTES);
    Ok(Some(Frame {
        version,
        flags,
        stream,
        opcode,
        body: frame,
    }))
}

/// Appends one request; `body` writes what follows the header.
pub fn put_frame(output: &mut BytesMut, stream: i16, opcode: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    output.put_slice(&[0x04, 0]);
    output.put_i16(stream);
    output.put_u8(opcode);
    output.put_u32(0);
    body(output);
    let length =
        u32::try_from(output.len() - start - HEADER_BYTES).expect("requests of tests are small");
    output[start + 5..start + 9].copy_from_slice(&length.to_be_bytes());
}

/// Appends an EXECUTE at consistency ONE that wants no metadata back.
pub fn put_execute(output: &mut BytesMut, stream: i16, id: &[u8], values: &[&[u8]]) {
    put_frame(output, stream, opcode::EXECUTE, |body| {
        put_short_bytes(body, id);
        body.put_u16(CONSISTENCY_ONE);
        // Flags: values follow; skip the metadata.
        body.put_u8(0x01 | 0x02);
        put_values(body, values);
    });
}

fn put_values(body: &mut BytesMut, values: &[&[u8]]) {
    body.put_u16(u16::try_from(values.len()).expect("few values"));
    for value in values {
        body.put_i32(i32::try_from(value.len()).expect("small values"));
        body.put_slice(value);
    }
}

fn put_short_bytes(body: &mut BytesMut, bytes: &[u8]) {
    body.put_u16(u16::try_from(bytes.len()).expect("short bytes"));
    body.put_slice(bytes);
}

fn put_long_string(body: &mut BytesMut, text: &str) {
    body.put_u32(u32::try_from(text.len()).expect("a statement is short"));
    body.put_slice(text.as_bytes());
}

/// What the server said.
#[derive(Debug, Clone)]
pub enum Answer {
    Ready,
    Supported,
    Void,
    Keyspace,
    SchemaChange,
    Prepared(Bytes),
    Rows(Rows),
    Refused { code: i32, message: String },
}

/// Rows, each value as it came; the columns have no names if the request wanted no metadata.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<Bytes>>>,
    pub paging_state: Option<Bytes>,
}

impl Answer {
    /// The rows; anything else fails the test.
    pub fn rows(self) -> Vec<Vec<Option<Bytes>>> {
        match self {
            Answer::Rows(rows) => rows.rows,
            other => panic!("wanted rows, got {other:?}"),
        }
    }

    /// Fails the test if the server refused.
    pub fn accepted(self) -> Answer {
        if let Answer::Refused { code, message } = self {
            panic!("refused with {code:#06x}: {message}");
        }
        self
    }

    /// Code and message of a refusal; anything else fails the test.
    pub fn refusal(self) -> (i32, String) {
        match self {
            Answer::Refused { code, message } => (code, message),
            other => panic!("wanted a refusal, got {other:?}"),
        }
    }
}

/// One connection, past its STARTUP.
pub struct Connection {
    socket: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Connection {
    /// Connects and starts up.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let mut connection = Connection::open_socket(address).await?;
        put_frame(&mut connection.output, 0, opcode::STARTUP, |body| {
            body.put_u16(1);
            put_short_bytes(body, b"CQL_VERSION");
            put_short_bytes(body, b"3.0.0");
        });
        match connection.answer().await? {
            Answer::Ready => Ok(connection),
            other => Err(io::Error::other(format!(
                "STARTUP was answered with {other:?}"
            ))),
        }
    }

    /// Connects and says nothing yet.
    pub async fn open_socket(address: SocketAddr) -> io::Result<Connection> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Connection {
            socket,
            input: BytesMut::with_capacity(64 << 10),
            output: BytesMut::with_capacity(64 << 10),
        })
    }

    /// The socket, for a client that counts its own frames.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Runs one statement and waits for its answer.
    pub async fn query(&mut self, text: &str) -> io::Result<Answer> {
        self.query_page(text, None, None).await
    }

    /// Runs one statement at a consistency level of its own.
    pub async fn query_at(&mut self, text: &str, consistency: u16) -> io::Result<Answer> {
        put_frame(&mut self.output, 0, opcode::QUERY, |body| {
            put_long_string(body, text);
            body.put_u16(consistency);
            body.put_u8(0);
        });
        self.answer().await
    }

    /// Runs one statement that must be accepted.
    pub async fn run(&mut self, text: &str) -> Answer {
        match self.query(text).await {
            Ok(Answer::Refused { code, message }) => {
                panic!("{text}: refused with {code:#06x}: {message}")
            }
            Ok(answer) => answer,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    /// One page of a result.
    pub async fn query_page(
        &mut self,
        text: &str,
        page_rows: Option<i32>,
        state: Option<&[u8]>,
    ) -> io::Result<Answer> {
        put_frame(&mut self.output, 0, opcode::QUERY, |body| {
            put_long_string(body, text);
            body.put_u16(CONSISTENCY_ONE);
            body.put_u8(
                if page_rows.is_some() { 0x04 } else { 0 } | if state.is_some() { 0x08 } else { 0 },
            );
            if let Some(rows) = page_rows {
                body.put_i32(rows);
            }
            if let Some(state) = state {
                body.put_i32(i32::try_from(state.len()).expect("a paging state is short"));
                body.put_slice(state);
            }
        });
        self.answer().await
    }

    /// All rows, over all pages; a refusal at any page is the answer.
    pub async fn query_all(&mut self, text: &str, page_rows: i32) -> io::Result<Answer> {
        let mut all = Rows::default();
        loop {
            match self
                .query_page(text, Some(page_rows), all.paging_state.as_deref())
                .await?
            {
                Answer::Rows(page) => {
                    all.rows.extend(page.rows);
                    all.columns = page.columns;
                    all.paging_state = page.paging_state;
                }
                other => return Ok(other),
            }
            if all.paging_state.is_none() {
                return Ok(Answer::Rows(all));
            }
        }
    }

    /// Prepares a statement, which must be accepted, and gives its id.
    pub async fn prepare(&mut self, text: &str) -> io::Result<Bytes> {
        put_frame(&mut self.output, 0, opcode::PREPARE, |body| {
            put_long_string(body, text)
        });
        match self.answer().await? {
            Answer::Prepared(id) => Ok(id),
            other => Err(io::Error::other(format!("PREPARE {text}: {other:?}"))),
        }
    }

    /// Executes one prepared statement and waits for its answer.
    pub async fn execute(&mut self, id: &[u8], values: &[&[u8]]) -> io::Result<Answer> {
        put_execute(&mut self.output, 0, id, values);
        self.answer().await
    }

    /// Puts an EXECUTE in line; `flush` sends what stands in line.
    pub fn push_execute(&mut self, stream: i16, id: &[u8], values: &[&[u8]]) {
        put_execute(&mut self.output, stream, id, values);
    }

    /// Puts bytes in line that are no request at all.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.output.put_slice(bytes);
    }

    /// Sends all that stands in line in one write.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next frame, whatever it answers. `None` is a connection that ended between frames.
    pub async fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take_frame(&mut self.input)? {
                return Ok(Some(frame));
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return if self.input.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// A frame that has arrived already; nothing is read from the socket.
    pub fn arrived_frame(&mut self) -> io::Result<Option<Frame>> {
        take_frame(&mut self.input)
    }

    /// The next answer and the stream that it belongs to.
    pub async fn next(&mut self) -> io::Result<(i16, Answer)> {
        let frame = self
            .next_frame()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((frame.stream, decode(&frame)?))
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        self.flush().await?;
        Ok(self.next().await?.1)
    }

    /// Runs one prepared statement for each set of values, `window` in flight at a time; answers stand where their values stood.
    pub async fn execute_all(
        &mut self,
        id: &[u8],
        sets: &[Vec<Vec<u8>>],
        window: usize,
    ) -> io::Result<Vec<Answer>> {
        let mut answers: Vec<Option<Answer>> = vec![None; sets.len()];
        let mut in_flight = HashMap::new();
        let (mut sent, mut done) = (0, 0);
        let mut free: Vec<i16> = (0..i16::try_from(window).expect("a window of streams")).collect();
        while done < sets.len() {
            while sent < sets.len()
                && let Some(stream) = free.pop()
            {
                let values: Vec<&[u8]> = sets[sent].iter().map(Vec::as_slice).collect();
                self.push_execute(stream, id, &values);
                in_flight.insert(stream, sent);
                sent += 1;
            }
            self.flush().await?;
            let mut next = Some(
                self.next_frame()
                    .await?
                    .ok_or(io::ErrorKind::UnexpectedEof)?,
            );
            while let Some(frame) = next {
                let index = in_flight
                    .remove(&frame.stream)
                    .ok_or_else(|| io::Error::other("an answer to no request"))?;
                answers[index] = Some(decode(&frame)?);
                free.push(frame.stream);
                done += 1;
                next = self.arrived_frame()?;
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| answer.expect("every request was answered"))
            .collect())
    }
}

/// Reads a frame's body.
pub fn decode(frame: &Frame) -> io::Result<Answer> {
    let mut reader = Reader::new(frame.body.clone());
    // Tracing id, warnings and custom payload stand before the body proper.
    if frame.flags & 0x02 != 0 {
        reader.take(16)?;
    }
    if frame.flags & 0x08 != 0 {
        for _ in 0..reader.short()? {
            reader.string()?;
        }
    }
    if frame.flags & 0x04 != 0 {
        for _ in 0..reader.short()? {
            reader.string()?;
            reader.bytes()?;
        }
    }
    match frame.opcode {
        opcode::READY => Ok(Answer::Ready),
        opcode::SUPPORTED => Ok(Answer::Supported),
        opcode::ERROR => Ok(Answer::Refused {
            code: reader.int()?,
            message: reader.string()?,
        }),
        opcode::RESULT => match reader.int()? {
            1 => Ok(Answer::Void),
            2 => rows(&mut reader).map(Answer::Rows),
            3 => Ok(Answer::Keyspace),
            4 => {
                let length = usize::from(reader.short()?);
                reader.take(length).map(Answer::Prepared)
            }
            5 => Ok(Answer::SchemaChange),
            kind => Err(io::Error::other(format!("a result of kind {kind}"))),
        },
        opcode => Err(io::Error::other(format!(
            "an answer with opcode {opcode:#04x}"
        ))),
    }
}

/// A cursor that ends in an error, never in a panic.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(body: Bytes) -> Self {
        Reader(body)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> io::Result<Bytes> {
        if self.0.len() < length {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer ends too early",
            ));
        }
        Ok(self.0.split_to(length))
    }

    pub(crate) fn short(&mut self) -> io::Result<u16> {
        Ok(self.take(2)?.get_u16())
    }

    pub(crate) fn int(&mut self) -> io::Result<i32> {
        Ok(self.take(4)?.get_i32())
    }

    pub(crate) fn string(&mut self) -> io::Result<String> {
        let length = usize::from(self.short()?);
        let text = self.take(length)?;
        String::from_utf8(text.to_vec()).map_err(io::Error::other)
    }

    pub(crate) fn bytes(&mut self) -> io::Result<Option<Bytes>> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }
}

fn rows(reader: &mut Reader) -> io::Result<Rows> {
    let flags = reader.int()?;
    let columns = usize::try_from(reader.int()?).map_err(io::Error::other)?;
    let mut rows = Rows::default();
    if flags & 0x02 != 0 {
        rows.paging_state = reader.bytes()?;
    }
    if flags & 0x04 == 0 {
        if flags & 0x01 != 0 {
            reader.string()?;
            reader.string()?;
        }
        for _ in 0..columns {
            if flags & 0x01 == 0 {
                reader.string()?;
                reader.string()?;
            }
            rows.columns.push(reader.string()?);
            skip_type(reader)?;
        }
    }
    for _ in 0..reader.int()? {
        rows.rows.push(
            (0..columns)
                .map(|_| reader.bytes())
                .collect::<io::Result<_>>()?,
        );
    }
    Ok(rows)
}

fn skip_type(reader: &mut Reader) -> io::Result<()> {
    match reader.short()? {
        0x0000 => reader.string().map(drop),
        0x0020 | 0x0022 => skip_type(reader),
        0x0021 => skip_type(reader).and_then(|()| skip_type(reader)),
        0x0030 => {
            reader.string()?;
            reader.string()?;
            for _ in 0..reader.short()? {
                reader.string()?;
                skip_type(reader)?;
            }
            Ok(())
        }
        0x0031 => (0..reader.short()?).try_for_each(|_| skip_type(reader)),
        _ => Ok(()),
    }
}
