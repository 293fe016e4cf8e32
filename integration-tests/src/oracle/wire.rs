//! Asking one server: a request goes out on native protocol v5 and its answer comes back with all that a client can see of it.
//!
//! Of v5 the moment is needed that a request may bring along: what has expired by then is the same on both servers.
//!
//! `raw` counts rows and reads refusals; here nothing may be lost that a driver or an object mapper looks at: types of columns, of markers,
//! warnings, the fields that an error carries beside its text. A server that does not answer in time or closes the connection has an answer, too: `Gone`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::{Answer, Column, Kind, Refusal, Reply, Table};
use super::answer::{NATIVE, Type};
use super::segment;
use super::step::Batch;
use crate::raw::{self, Frame, Reader, opcode};

/// No statement here takes longer on a healthy server, even while the other one is compiling.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const CONSISTENCY_ONE: u16 = 0x0001;
const CONSISTENCY_SERIAL: u16 = 0x0008;
const VERSION: u8 = 0x05;

/// Who asks, where a server wants to know: the name is the password, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first superuser.
    Superuser,
    /// One that may read and write everything and sees masks.
    Reader,
}

impl Role {
    /// Its name and its password.
    pub fn name(self) -> &'static str {
        match self {
            Role::Superuser => "cassandra",
            Role::Reader => "reader",
        }
    }
}

/// One connection to one of the two servers; it is opened again when it has ended.
pub struct Asker {
    address: SocketAddr,
    role: Role,
    connection: Option<Connection>,
    keyspace: Option<String>,
}

/// What is sent: a text with its values, if it has markers.
pub struct Request<'a> {
    pub text: &'a str,
    pub values: &'a [Value],
    pub page_rows: Option<i32>,
    pub page_state: Option<&'a [u8]>,
    pub now_seconds: Option<i32>,
}

/// What was prepared: the statement, and what is known of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub id: Bytes,
    pub result_id: Bytes,
}

/// A bound value as it goes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Unset,
    Bytes(Vec<u8>),
}

impl Asker {
    /// Nothing is connected before the first statement.
    pub fn new(address: SocketAddr) -> Asker {
        Asker::of(address, Role::Superuser)
    }

    /// The same for one role.
    pub fn of(address: SocketAddr, role: Role) -> Asker {
        Asker {
            address,
            role,
            connection: None,
            keyspace: None,
        }
    }

    /// The keyspace that its connections are in.
    pub fn keyspace(&self) -> Option<&str> {
        self.keyspace.as_deref()
    }

    /// The keyspace that a connection opened anew must be in.
    pub fn remember_keyspace(&mut self, keyspace: &str) {
        self.keyspace = Some(keyspace.to_owned());
    }

    /// Runs a text with its values.
    pub async fn query(&mut self, request: &Request<'_>) -> Reply {
        let mut body = BytesMut::new();
        put_long_string(&mut body, request.text);
        put_parameters(&mut body, request);
        self.ask(opcode::QUERY, body).await
    }

    /// Prepares a text.
    pub async fn prepare(&mut self, text: &str) -> Reply {
        let mut body = BytesMut::new();
        put_long_string(&mut body, text);
        put_flags(&mut body, &[]);
        self.ask(opcode::PREPARE, body).await
    }

    /// Executes what was prepared.
    pub async fn execute(&mut self, prepared: &Prepared, request: &Request<'_>) -> Reply {
        let mut body = BytesMut::new();
        put_short_bytes(&mut body, &prepared.id);
        put_short_bytes(&mut body, &prepared.result_id);
        put_parameters(&mut body, request);
        self.ask(opcode::EXECUTE, body).await
    }

    /// Sends a BATCH; of a member that was prepared its id stands at its place.
    pub async fn batch(
        &mut self,
        batch: &Batch,
        prepared: &[Option<Prepared>],
        now_seconds: Option<i32>,
    ) -> Reply {
        let mut body = BytesMut::new();
        body.put_u8(batch.kind as u8);
        body.put_u16(u16::try_from(batch.members.len()).expect("few members"));
        for (member, prepared) in batch.members.iter().zip(prepared) {
            match prepared {
                Some(prepared) => {
                    body.put_u8(1);
                    put_short_bytes(&mut body, &prepared.id);
                }
                None => {
                    body.put_u8(0);
                    put_long_string(&mut body, &member.text);
                }
            }
            put_values(&mut body, &member.values);
        }
        body.put_u16(CONSISTENCY_ONE);
        put_flags(
            &mut body,
            &[
                (0x10, true),
                (0x20, batch.timestamp.is_some()),
                (0x100, now_seconds.is_some()),
            ],
        );
        body.put_u16(CONSISTENCY_SERIAL);
        if let Some(timestamp) = batch.timestamp {
            body.put_i64(timestamp);
        }
        if let Some(now) = now_seconds {
            body.put_i32(now);
        }
        self.ask(opcode::BATCH, body).await
    }

    async fn ask(&mut self, opcode: u8, body: BytesMut) -> Reply {
        let answered = tokio::time::timeout(ANSWER_LIMIT, self.exchange(opcode, &body)).await;
        match answered {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                self.connection = None;
                Reply::gone(format!("the connection ended: {error}"))
            }
            Err(_) => {
                self.connection = None;
                Reply::gone(format!("no answer in {} s", ANSWER_LIMIT.as_secs()))
            }
        }
    }

    async fn exchange(&mut self, opcode: u8, body: &[u8]) -> io::Result<Reply> {
        if self.connection.is_none() {
            let mut connection = Connection::open(self.address, self.role).await?;
            if let Some(keyspace) = &self.keyspace {
                let mut body = BytesMut::new();
                let text = format!("USE {keyspace}");
                put_long_string(&mut body, &text);
                put_parameters(&mut body, &Request::plain(&text));
                connection.exchange(opcode::QUERY, &body).await?;
            }
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut().expect("opened just now");
        decode(&connection.exchange(opcode, body).await?)
    }
}

/// A socket past its STARTUP: envelopes travel in segments.
struct Connection {
    socket: TcpStream,
    input: BytesMut,
    envelopes: BytesMut,
}

impl Connection {
    async fn open(address: SocketAddr, role: Role) -> io::Result<Connection> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let startup = envelope(opcode::STARTUP, |body| {
            body.put_u16(1);
            put_short_bytes(body, b"CQL_VERSION");
            put_short_bytes(body, b"3.0.0");
        });
        socket.write_all(&startup).await?;
        let mut input = BytesMut::new();
        let frame = loop {
            if let Some(frame) = raw::take_frame(&mut input)? {
                break frame;
            }
            if socket.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut connection = Connection {
            socket,
            input,
            envelopes: BytesMut::new(),
        };
        let last = match frame.opcode {
            opcode::READY => return Ok(connection),
            opcode::AUTHENTICATE => connection.log_in(role).await?,
            other => other,
        };
        match last {
            opcode::AUTH_SUCCESS => Ok(connection),
            other => Err(io::Error::other(format!(
                "STARTUP was answered with opcode {other:#04x}"
            ))),
        }
    }

    /// SASL PLAIN.
    async fn log_in(&mut self, role: Role) -> io::Result<u8> {
        let token = format!("\0{name}\0{name}", name = role.name());
        let mut body = BytesMut::new();
        body.put_i32(i32::try_from(token.len()).expect("a short name"));
        body.put_slice(token.as_bytes());
        let frame = self.exchange(opcode::AUTH_RESPONSE, &body).await?;
        Ok(frame.opcode)
    }

    async fn exchange(&mut self, opcode: u8, body: &[u8]) -> io::Result<Frame> {
        let mut output = BytesMut::new();
        segment::put(&mut output, &envelope(opcode, |out| out.put_slice(body)));
        self.socket.write_all(&output).await?;
        loop {
            if let Some(frame) = raw::take_frame(&mut self.envelopes)? {
                return Ok(frame);
            }
            if segment::take(&mut self.input, &mut self.envelopes)? {
                continue;
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn envelope(opcode: u8, body: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut envelope = BytesMut::new();
    raw::put_frame(&mut envelope, 1, opcode, body);
    envelope[0] = VERSION;
    envelope
}

fn put_short_bytes(body: &mut BytesMut, bytes: &[u8]) {
    body.put_u16(u16::try_from(bytes.len()).expect("short bytes"));
    body.put_slice(bytes);
}

fn put_long_string(body: &mut BytesMut, text: &str) {
    body.put_u32(u32::try_from(text.len()).expect("a statement is short"));
    body.put_slice(text.as_bytes());
}

fn put_parameters(body: &mut BytesMut, request: &Request<'_>) {
    body.put_u16(CONSISTENCY_ONE);
    put_flags(
        body,
        &[
            (0x01, !request.values.is_empty()),
            (0x04, request.page_rows.is_some()),
            (0x08, request.page_state.is_some()),
            (0x10, true),
            (0x100, request.now_seconds.is_some()),
        ],
    );
    if !request.values.is_empty() {
        put_values(body, request.values);
    }
    if let Some(rows) = request.page_rows {
        body.put_i32(rows);
    }
    if let Some(state) = request.page_state {
        body.put_i32(i32::try_from(state.len()).expect("a page state is short"));
        body.put_slice(state);
    }
    body.put_u16(CONSISTENCY_SERIAL);
    if let Some(now) = request.now_seconds {
        body.put_i32(now);
    }
}

fn put_flags(body: &mut BytesMut, flags: &[(u32, bool)]) {
    let set = flags.iter().filter(|(_, set)| *set);
    body.put_u32(set.map(|(bit, _)| bit).sum());
}

fn put_values(body: &mut BytesMut, values: &[Value]) {
    body.put_u16(u16::try_from(values.len()).expect("few values"));
    for value in values {
        match value {
            Value::Null => body.put_i32(-1),
            Value::Unset => body.put_i32(-2),
            Value::Bytes(bytes) => {
                body.put_i32(i32::try_from(bytes.len()).expect("a small value"));
                body.put_slice(bytes);
            }
        }
    }
}

fn decode(frame: &Frame) -> io::Result<Reply> {
    let mut reader = Reader::new(frame.body.clone());
    let mut warnings = Vec::new();
    if frame.flags & 0x02 != 0 {
        reader.take(16)?;
    }
    if frame.flags & 0x08 != 0 {
        for _ in 0..reader.short()? {
            warnings.push(reader.string()?);
        }
    }
    let answer = match frame.opcode {
        opcode::ERROR => Answer::Refused(reader.refusal()?),
        opcode::RESULT => match reader.int()? {
            1 => Answer::Void,
            2 => reader.rows().map(Answer::Rows)?,
            3 => Answer::Keyspace(reader.string()?),
            4 => reader.prepared()?,
            5 => reader.schema_change()?,
            kind => return Err(io::Error::other(format!("a result of kind {kind}"))),
        },
        opcode => {
            return Err(io::Error::other(format!(
                "an answer with opcode {opcode:#04x}"
            )));
        }
    };
    Ok(Reply { answer, warnings })
}

impl Reader {
    fn refusal(&mut self) -> io::Result<Refusal> {
        let code = self.int()?;
        let message = self.string()?;
        let mut fields = Vec::new();
        match code {
            // AlreadyExists names what there is; FunctionFailure names the function.
            0x2400 => fields.extend([self.string()?, self.string()?]),
            0x1400 => {
                fields.extend([self.string()?, self.string()?]);
                for _ in 0..self.short()? {
                    fields.push(self.string()?);
                }
            }
            _ => {}
        }
        Ok(Refusal {
            code,
            message,
            fields,
        })
    }

    fn schema_change(&mut self) -> io::Result<Answer> {
        let mut words = Vec::new();
        while !self.is_at_end() {
            words.push(self.string()?);
        }
        Ok(Answer::SchemaChange(words.join(" ")))
    }

    fn prepared(&mut self) -> io::Result<Answer> {
        let mut short_bytes = || {
            let length = usize::from(self.short()?);
            self.take(length)
        };
        let id = short_bytes()?;
        let result_id = short_bytes()?;
        let flags = self.int()?;
        let count = self.int()?;
        let mut partition_key = Vec::new();
        for _ in 0..self.int()? {
            partition_key.push(self.short()?);
        }
        let markers = self.columns(flags, count)?;
        let (result, _) = self.metadata()?;
        Ok(Answer::Prepared {
            prepared: Prepared { id, result_id },
            partition_key,
            markers,
            result,
        })
    }

    fn rows(&mut self) -> io::Result<Table> {
        let (columns, page_state) = self.metadata()?;
        let mut rows = Vec::new();
        for _ in 0..self.int()? {
            rows.push(
                columns
                    .iter()
                    .map(|_| self.bytes())
                    .collect::<io::Result<_>>()?,
            );
        }
        Ok(Table {
            columns,
            rows,
            page_state,
        })
    }

    fn metadata(&mut self) -> io::Result<(Vec<Column>, Option<Bytes>)> {
        let flags = self.int()?;
        let count = self.int()?;
        let page_state = match flags & 0x02 {
            0 => None,
            _ => self.bytes()?,
        };
        // Another id for the columns, where they are others than the client knows.
        if flags & 0x08 != 0 {
            let length = usize::from(self.short()?);
            self.take(length)?;
        }
        let columns = match flags & 0x04 {
            0 => self.columns(flags, count)?,
            _ => Vec::new(),
        };
        Ok((columns, page_state))
    }

    fn columns(&mut self, flags: i32, count: i32) -> io::Result<Vec<Column>> {
        let shared = match flags & 0x01 {
            0 => None,
            _ if count == 0 && self.is_at_end() => None,
            _ => Some((self.string()?, self.string()?)),
        };
        (0..count)
            .map(|_| {
                let (keyspace, table) = match &shared {
                    Some(shared) => shared.clone(),
                    None => (self.string()?, self.string()?),
                };
                Ok(Column {
                    keyspace,
                    table,
                    name: self.string()?,
                    ty: self.ty()?,
                })
            })
            .collect()
    }

    fn ty(&mut self) -> io::Result<Type> {
        let inner = |reader: &mut Reader| reader.ty().map(Box::new);
        Ok(match self.short()? {
            0x0000 => Type::Custom(self.string()?),
            0x0020 => Type::List(inner(self)?),
            0x0021 => Type::Map(inner(self)?, inner(self)?),
            0x0022 => Type::Set(inner(self)?),
            0x0030 => {
                let name = format!("{}.{}", self.string()?, self.string()?);
                let fields = (0..self.short()?)
                    .map(|_| Ok((self.string()?, self.ty()?)))
                    .collect::<io::Result<_>>()?;
                Type::User(name, fields)
            }
            0x0031 => Type::Tuple(
                (0..self.short()?)
                    .map(|_| self.ty())
                    .collect::<io::Result<_>>()?,
            ),
            id => match NATIVE.iter().find(|(native, _, _)| *native == id) {
                Some((_, name, kind)) => Type::Native(name, *kind),
                None => Type::Native("unknown", Kind::Bytes),
            },
        })
    }
}
