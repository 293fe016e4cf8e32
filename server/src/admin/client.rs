//! Asks a running server to flush or compact: over CQL, as any client could, so that there is no second port and no second login.
//!
//! The statement is an INSERT into the virtual table `system_palladium.maintenance`; it is answered when the work is done.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{BufMut, BytesMut};
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::wire::primitive::{put_long_string, put_string};
use palladium_protocol::wire::{Decoder, Frame, Opcode, Reader, Version};

/// The version spoken here: the oldest with all that is needed, and no segments.
const VERSION: Version = Version::V4;
const CONSISTENCY_ONE: u16 = 1;

/// Sends one request and waits until it is done.
pub fn ask(
    host: &str,
    operation: &str,
    keyspace: Option<&str>,
    table: Option<&str>,
) -> Result<(), String> {
    let mut connection = Connection::open(host)?;
    let text = |value: Option<&str>| format!("'{}'", value.unwrap_or("").replace('\'', "''"));
    let statement = format!(
        "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ({}, {}, {})",
        text(Some(operation)),
        text(keyspace),
        text(table)
    );
    let answer = connection.request(Opcode::Query, |body| {
        put_long_string(body, &statement);
        body.put_u16(CONSISTENCY_ONE);
        body.put_u8(0);
    })?;
    match answer.opcode {
        Opcode::Result => Ok(()),
        _ => Err(error_text(&answer)),
    }
}

struct Connection {
    socket: TcpStream,
    decoder: Decoder,
}

impl Connection {
    fn open(host: &str) -> Result<Self, String> {
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
        match answer.opcode {
            Opcode::Ready => Ok(connection),
            _ => Err(error_text(&answer)),
        }
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
