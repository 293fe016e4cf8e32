//! A proxy before a key service that lets requests through, or does to them what networks, gateways and tired services do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Message, Server};

/// What becomes of a request from now on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It goes through.
    None,
    /// This is the answer, and the service never hears of it.
    Answer {
        /// Its status.
        status: u16,
        /// Its type.
        content_type: &'static str,
        /// What it says.
        body: Vec<u8>,
    },
    /// No answer at all.
    Silence,
    /// The true answer, this much later.
    Slow(Duration),
    /// The proxy says that it will send no more, and sends nothing; it goes on listening.
    HalfClosed,
    /// So many bytes of the true answer, then the end of the connection.
    Truncated(usize),
    /// An answer that does not end: blanks, as fast as they are taken.
    Endless,
}

/// The proxy.
pub struct FaultProxy {
    server: Server,
    fault: Arc<Mutex<Fault>>,
}

impl FaultProxy {
    /// Starts before the service at `upstream`.
    pub fn start(upstream: SocketAddr) -> FaultProxy {
        let fault = Arc::new(Mutex::new(Fault::None));
        let server = Server::start(Arc::new({
            let fault = Arc::clone(&fault);
            move |request: Message, client: &mut TcpStream| {
                let fault = fault.lock().expect("no holder panics").clone();
                pass(&fault, &request, upstream, client)
            }
        }));
        FaultProxy { server, fault }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().expect("no holder panics") = fault;
    }

    /// Connections are refused.
    pub fn refuse(&mut self) {
        self.server.stop();
    }

    /// And accepted again.
    pub fn accept(&mut self) {
        self.server.resume();
    }
}

fn pass(
    fault: &Fault,
    request: &Message,
    upstream: SocketAddr,
    client: &mut TcpStream,
) -> io::Result<()> {
    match fault {
        Fault::None => client.write_all(&request.send(upstream)?.bytes()),
        Fault::Answer {
            status,
            content_type,
            body,
        } => {
            let answer = Message::answer(*status, &[("content-type", content_type)], body);
            client.write_all(&answer.bytes())
        }
        Fault::Silence => wait_for_the_end(client),
        Fault::Slow(delay) => {
            client.set_read_timeout(Some(*delay))?;
            match wait_for_the_end(client) {
                // The client still waits.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    client.write_all(&request.send(upstream)?.bytes())
                }
                ended => ended,
            }
        }
        Fault::HalfClosed => {
            client.shutdown(Shutdown::Write)?;
            wait_for_the_end(client)
        }
        Fault::Truncated(count) => {
            let answer = request.send(upstream)?.bytes();
            client.write_all(&answer[..(*count).min(answer.len())])?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Fault::Endless => {
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: 1099511627776\r\n\r\n")?;
            let blanks = [b' '; 1 << 16];
            loop {
                client.write_all(&blanks)?;
            }
        }
    }
}

fn wait_for_the_end(client: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    while client.read(&mut byte)? > 0 {}
    Ok(())
}
