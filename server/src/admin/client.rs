//! Asks a running server to flush or compact: over CQL, as any client could, so that there is no second port and no second login.
//!
//! The statement is an INSERT into the virtual table `system_palladium.maintenance`; it is answered when the work is done. Meanwhile another connection asks
//! `system_views.sstable_tasks` how far merges and flushes are, and standard error hears of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::output::complain;
use bytes::{BufMut, BytesMut};
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::wire::primitive::{put_bytes, put_long_string, put_string};
use palladium_protocol::wire::{Decoder, Frame, Opcode, Reader, Version};
use zeroize::Zeroizing;

/// The version spoken here: the oldest with all that is needed, and no segments.
const VERSION: Version = Version::V4;
const CONSISTENCY_ONE: u16 = 1;
/// Between two lines of progress.
const PROGRESS_PAUSE: Duration = Duration::from_secs(2);
const PROGRESS: &str = "SELECT JSON keyspace_name, table_name, kind, progress, total, unit FROM system_views.sstable_tasks";

/// Which server, and as whom.
pub struct Server {
    pub host: String,
    pub login: Option<Login>,
}

/// A role and its password.
pub struct Login {
    pub user: String,
    pub password: Zeroizing<Vec<u8>>,
}

/// Sends one request and waits until it is done.
pub fn ask(
    server: Server,
    operation: &str,
    keyspace: Option<&str>,
    table: Option<&str>,
) -> Result<(), String> {
    let mut connection = Connection::open(&server)?;
    let text = |value: Option<&str>| format!("'{}'", value.unwrap_or("").replace('\'', "''"));
    let statement = format!(
        "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ({}, {}, {})",
        text(Some(operation)),
        text(keyspace),
        text(table)
    );
    let (done, is_done) = channel();
    // Nobody waits for who tells: a server that shows nothing does its work all the same, and may never answer that connection.
    std::thread::spawn(move || tell_progress(&server, &is_done));
    let answer = connection.query(&statement)?;
    drop(done);
    match answer.opcode {
        Opcode::Result => Ok(()),
        _ => Err(error_text(&answer)),
    }
}

/// Says how far merges and flushes are, once in a while, until it is told to stop.
fn tell_progress(server: &Server, is_done: &Receiver<()>) {
    let Ok(mut connection) = Connection::open(server) else {
        return;
    };
    while is_done.recv_timeout(PROGRESS_PAUSE) == Err(RecvTimeoutError::Timeout) {
        let lines = connection
            .query(PROGRESS)
            .ok()
            .and_then(|answer| json_rows(&answer));
        for line in lines.into_iter().flatten() {
            complain(told(&line));
        }
    }
}

/// `compaction of ks.t: 12000 of 100000 bytes`
fn told(task: &serde_json::Value) -> String {
    let text = |name: &str| task[name].as_str().unwrap_or_default();
    format!(
        "{} of {}.{}: {} of {} {}",
        text("kind"),
        text("keyspace_name"),
        text("table_name"),
        task["progress"],
        task["total"],
        text("unit")
    )
}

/// The rows of an answer to SELECT JSON; None if it is none.
fn json_rows(answer: &Frame) -> Option<Vec<serde_json::Value>> {
    const KIND_ROWS: i32 = 2;
    const GLOBAL_TABLE: i32 = 1;
    const MORE_PAGES: i32 = 2;
    let mut reader = Reader::new(&answer.body);
    if answer.opcode != Opcode::Result || reader.int().ok()? != KIND_ROWS {
        return None;
    }
    let (flags, columns) = (reader.int().ok()?, reader.int().ok()?);
    if columns != 1 || flags & !(GLOBAL_TABLE | MORE_PAGES) != 0 {
        return None;
    }
    if flags & MORE_PAGES != 0 {
        reader.bytes().ok()?;
    }
    // Keyspace and table, by whichever way, then the column and its type.
    for _ in 0..3 {
        reader.string().ok()?;
    }
    reader.short().ok()?;
    let rows = reader.int().ok()?;
    (0..rows)
        .map(|_| serde_json::from_slice(reader.bytes().ok()??).ok())
        .collect()
}

struct Connection {
    socket: TcpStream,
    decoder: Decoder,
}

impl Connection {
    fn open(server: &Server) -> Result<Self, String> {
        let host = &server.host;
        let socket = TcpStream::connect(host)
            .map_err(|error| format!("cannot connect to {host}: {error}"))?;
        let mut connection = Connection {
            socket,
            decoder: Decoder::of_responses(FrameLimits::default()),
        };
        let answer = connection.request(Opcode::Startup, |body| {
            body.put_u16(1);
            put_string(body, "CQL_VERSION");
            put_string(body, "3.0.0");
        })?;
        match (answer.opcode, &server.login) {
            (Opcode::Ready, _) => Ok(connection),
            (Opcode::Authenticate, Some(login)) => connection.log_in(login),
            (Opcode::Authenticate, None) => {
                Err("the server asks who it is: give the role by --user".into())
            }
            _ => Err(error_text(&answer)),
        }
    }

    /// SASL PLAIN.
    fn log_in(mut self, login: &Login) -> Result<Self, String> {
        let token = Zeroizing::new([b"\0", login.user.as_bytes(), b"\0", &login.password].concat());
        let answer = self.request(Opcode::AuthResponse, |body| put_bytes(body, Some(&token)))?;
        match answer.opcode {
            Opcode::AuthSuccess => Ok(self),
            _ => Err(error_text(&answer)),
        }
    }

    fn query(&mut self, statement: &str) -> Result<Frame, String> {
        self.request(Opcode::Query, |body| {
            put_long_string(body, statement);
            body.put_u16(CONSISTENCY_ONE);
            body.put_u8(0);
        })
    }

    fn request(
        &mut self,
        opcode: Opcode,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<Frame, String> {
        let mut body = BytesMut::new();
        write(&mut body);
        let mut message = BytesMut::new();
        message.put_slice(&[VERSION.number(), 0, 0, 0, opcode as u8]);
        message.put_u32(body.len() as u32);
        message.put_slice(&body);
        self.socket
            .write_all(&message)
            .map_err(|error| error.to_string())?;
        let mut buffer = [0; 4096];
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
            match self
                .socket
                .read(&mut buffer)
                .map_err(|error| error.to_string())?
            {
                0 => return Err("the server closed the connection".into()),
                bytes => self.decoder.feed(&buffer[..bytes]),
            }
        }
    }
}

/// An ERROR's message; it stands behind its code.
fn error_text(answer: &Frame) -> String {
    let mut reader = Reader::new(&answer.body);
    let text = reader.int().and_then(|_| reader.string());
    text.map_or_else(
        |_| format!("unexpected answer {}", answer.opcode),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Reads a request, and answers it with this.
    fn answer(socket: &mut TcpStream, opcode: Opcode, body: &[u8]) {
        let mut head = [0; 9];
        socket.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[5..].try_into().unwrap());
        socket.read_exact(&mut vec![0; length as usize]).unwrap();
        let mut message = vec![VERSION.number() | 0x80, 0, 0, 0, opcode as u8];
        message.extend_from_slice(&(body.len() as u32).to_be_bytes());
        message.extend_from_slice(body);
        socket.write_all(&message).unwrap();
    }

    #[test]
    fn what_is_done_is_told_although_the_server_never_says_how_far_it_is() {
        const VOID: [u8; 4] = [0, 0, 0, 1];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut asking, _) = listener.accept().unwrap();
            answer(&mut asking, Opcode::Ready, &[]);
            // It is connected, and hears nothing.
            let (telling, _) = listener.accept().unwrap();
            answer(&mut asking, Opcode::Result, &VOID);
            (asking, telling)
        });
        let login = None;
        assert_eq!(ask(Server { host, login }, "flush", None, None), Ok(()));
        server.join().unwrap();
    }
}
