//! As much of HTTP/1.1 as a double of a key service and its owner need: a server with a thread for each connection, and a client for one request.
//!
//! The server can also behave badly, on purpose: say nothing, hang up, stop in the middle. What must hold: it listens on loopback only, and a request is
//! bounded before anything is kept of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const LINE_BYTES_MAX: u64 = 16 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a client sent.
pub struct Request {
    pub method: String,
    /// With its first slash, without a query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What the server does about it.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// An answer, as it should be.
    Answer { status: u16, body: Vec<u8> },
    /// An answer that sends the client elsewhere.
    Redirect { location: String },
    /// An answer that stops after half of its body.
    Half { status: u16, body: Vec<u8> },
    /// Nothing, until the client goes away.
    Silence,
    /// The connection is closed.
    HangUp,
}

type Handle = dyn Fn(&Request) -> Reaction + Send + Sync;

/// A server that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address`, a loopback address that may name port 0.
    pub fn start(address: SocketAddr, handle: Arc<Handle>) -> io::Result<Server> {
        assert!(
            address.ip().is_loopback(),
            "a double is for this machine only"
        );
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (stop, kept) = (Arc::clone(&stopping), Arc::clone(&connections));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(twin) = stream.try_clone() {
                    kept.lock().expect("no holder panics").push(twin);
                }
                let handle = Arc::clone(&handle);
                // A client that goes away in the middle is no trouble of ours.
                std::thread::spawn(move || serve(stream, &*handle).ok());
            }
        });
        Ok(Server {
            address,
            stopping,
            connections,
            accepting: Some(accepting),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the one who waits for connections.
        TcpStream::connect(self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        for connection in self.connections.lock().expect("no holder panics").drain(..) {
            connection.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

fn serve(stream: TcpStream, handle: &Handle) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read(&mut input)? {
        match handle(&request) {
            Reaction::Answer { status, body } => {
                write!(
                    out,
                    "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )?;
                out.write_all(&body)?;
            }
            Reaction::Redirect { location } => write!(
                out,
                "HTTP/1.1 307 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            )?,
            Reaction::Half { status, body } => {
                write!(
                    out,
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )?;
                out.write_all(&body[..body.len() / 2])?;
                return out.shutdown(std::net::Shutdown::Both);
            }
            Reaction::Silence => return input.read_to_end(&mut Vec::new()).map(drop),
            Reaction::HangUp => return out.shutdown(std::net::Shutdown::Both),
        }
        out.flush()?;
    }
    Ok(())
}

fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let first = line(input)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next().filter(|word| !word.is_empty()), words.next())
    else {
        return Ok(None);
    };
    let mut headers = BTreeMap::new();
    loop {
        let header = line(input)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let bytes: usize = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if bytes > BODY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; bytes];
    input.read_exact(&mut body)?;
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Some(Request {
        method: method.to_owned(),
        path,
        headers,
        body,
    }))
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}

/// Sends one request and reads its answer: status and body.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    // HTTP/1.0: the answer is never in chunks, and ends with the connection.
    let mut head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut input = BufReader::new(stream);
    let first = line(&mut input)?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut length = None;
    loop {
        let header = line(&mut input)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut answer = Vec::new();
    input
        .take(length.unwrap_or(u64::MAX))
        .read_to_end(&mut answer)?;
    Ok((status, answer))
}
