//! HTTP/1.1, as much of it as the doubles of key services need: whole messages with a length, one after the other on a connection.
//!
//! A [`Server`] runs on threads of this process. It can be stopped, which cuts all its connections off, and started again on the same port; it ends with its
//! owner.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::node::free_address;

/// Longest head and longest body that a test sends.
const HEAD_BYTES_MAX: u64 = 64 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request or an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line and the headers, with the empty line at their end.
    pub head: String,
    /// What follows.
    pub body: Vec<u8>,
}

impl Message {
    /// The next message; none where the connection ended between two.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Message>> {
        let mut head = String::new();
        let mut lines = stream.take(HEAD_BYTES_MAX);
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head)? == 0 {
                return if head.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
        let mut message = Message {
            head,
            body: Vec::new(),
        };
        let length = message.header("content-length").unwrap_or("0");
        let length = length
            .parse()
            .ok()
            .filter(|length| *length <= BODY_BYTES_MAX);
        message.body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        stream.read_exact(&mut message.body)?;
        Ok(Some(message))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// An answer.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Message {
        let mut head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Message {
            head,
            body: body.to_vec(),
        }
    }

    /// A request to a server on this machine.
    pub fn post(headers: &[(&str, &str)], body: &[u8]) -> Message {
        let mut head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Message {
            head,
            body: body.to_vec(),
        }
    }

    /// The message as it travels.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own, and gives the answer.
    pub fn send(&self, address: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&self.bytes())?;
        Message::read(&mut BufReader::new(stream))?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The status in the first line of an answer.
    pub fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status
            .and_then(|status| status.parse().ok())
            .expect("an answer has a status")
    }
}

/// What a server does with a request. An error ends the connection.
pub type Handler = dyn Fn(Message, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A server on a loopback port.
pub struct Server {
    address: SocketAddr,
    handler: Arc<Handler>,
    running: Option<Running>,
}

struct Running {
    accepting: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    /// Starts it on a free port.
    pub fn start(handler: Arc<Handler>) -> Server {
        let mut server = Server {
            address: free_address(),
            handler,
            running: None,
        };
        server.resume();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nobody listens any more, and all connections are cut off.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.stopping.store(true, Ordering::Relaxed);
        // One more connection, so that the listener looks up; if it is gone already, there is nothing to wake.
        TcpStream::connect(self.address).ok();
        running
            .accepting
            .join()
            .expect("the listener ends by itself");
        for stream in running.open.lock().expect("no holder panics").drain(..) {
            // It may have ended by itself.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Listens again, on the same port.
    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let listener = TcpListener::bind(self.address).expect("the port is ours");
        let (stopping, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let accepting = thread::spawn({
            let (stopping, open, handler) = (
                Arc::clone(&stopping),
                Arc::clone(&open),
                Arc::clone(&self.handler),
            );
            move || accept(&listener, &stopping, &open, &handler)
        });
        self.running = Some(Running {
            accepting,
            stopping,
            open,
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: &TcpListener,
    stopping: &AtomicBool,
    open: &Mutex<Vec<TcpStream>>,
    handler: &Arc<Handler>,
) {
    for stream in listener.incoming() {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(twin) = stream.try_clone() else {
            continue;
        };
        open.lock().expect("no holder panics").push(twin);
        let handler = Arc::clone(handler);
        thread::spawn(move || {
            // A client that goes away in the middle of a message is what these tests are about.
            serve(stream, &*handler).ok();
        });
    }
}

fn serve(mut stream: TcpStream, handler: &Handler) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(message) = Message::read(&mut reader)? {
        if let Err(error) = handler(message, &mut stream) {
            stream.shutdown(Shutdown::Both)?;
            return Err(error);
        }
    }
    Ok(())
}
