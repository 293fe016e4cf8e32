//! GET /metrics: the one thing that is answered over HTTP, to whoever may connect to `metrics_listen`.
//!
//! One request for each connection, and no more of HTTP than a scraper needs: its head is read up to a bound, within a time, and what it says beside its
//! first line means nothing. Off unless an address is set; refused at the start on an address that other machines reach, unless the operator insists: nobody
//! is asked who he is here (see `Config::check_metrics`). What is answered names no keyspace, table, role or key.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::told_to_stop;
use crate::complaint::Complaint;
use crate::database::Database;
use crate::instruments::{CONTENT_TYPE, gather};

/// Scrapers at a time; others wait.
const SCRAPERS_MAX: usize = 64;
/// Answers that are made at a time: each is a look at everything that is counted.
const GATHERINGS_MAX: usize = 4;
/// How long a scraper may take until it has said what it wants: who says nothing keeps its place no longer.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long one may take, from connecting to the last byte of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// An open port for scrapers.
pub struct Scrapes {
    socket: TcpListener,
    address: SocketAddr,
}

impl Scrapes {
    /// Opens the port.
    pub async fn bind(address: SocketAddr) -> Result<Self, String> {
        let socket = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address} for metrics: {error}"))?;
        let address = socket.local_addr().map_err(|error| error.to_string())?;
        Ok(Scrapes { socket, address })
    }

    /// Where it listens: the port, if the setting asked for any.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stopping` turns true.
    pub async fn serve(self, database: Arc<Database>, mut stopping: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(SCRAPERS_MAX));
        let gatherings = Arc::new(Semaphore::new(GATHERINGS_MAX));
        let mut trouble = Complaint::default();
        let mut scrapes = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, _)) => {
                        let database = database.clone();
                        let gatherings = gatherings.clone();
                        scrapes.spawn(async move {
                            // A scraper that leaves early, or comes to nothing, is its own business.
                            let _ = tokio::time::timeout(PATIENCE, answer(socket, &database, &gatherings)).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        if trouble.is_due(Instant::now()) {
                            tracing::warn!(%error, "cannot accept a scraper");
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                () = told_to_stop(&mut stopping) => return,
            }
            while scrapes.try_join_next().is_some() {}
        }
    }
}

async fn answer(
    mut socket: TcpStream,
    database: &Database,
    gatherings: &Semaphore,
) -> io::Result<()> {
    let text = match tokio::time::timeout(HEAD_PATIENCE, read_head(&mut socket)).await?? {
        Head::Whole(head) => {
            let _turn = gatherings.acquire().await;
            respond(&head, || gather(database))
        }
        Head::TooLong => response("431 Request Header Fields Too Large", "", true),
        Head::CutOff => return Ok(()),
    };
    end(socket, &text).await
}

/// What a scraper asks, up to the empty line.
enum Head {
    Whole(Vec<u8>),
    TooLong,
    CutOff,
}

async fn read_head(socket: &mut TcpStream) -> io::Result<Head> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Ok(Head::TooLong);
        }
        let mut bytes = [0; 1024];
        match socket.read(&mut bytes).await? {
            0 => return Ok(Head::CutOff),
            read => head.extend_from_slice(&bytes[..read]),
        }
    }
    Ok(Head::Whole(head))
}

/// Ends the connection so that the answer arrives.
async fn end(mut socket: TcpStream, text: &str) -> io::Result<()> {
    socket.write_all(text.as_bytes()).await?;
    socket.shutdown().await?;
    let mut ignored = [0; 1024];
    while socket.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// The answer to a request, of which only the first line counts.
fn respond(head: &[u8], metrics: impl FnOnce() -> String) -> String {
    let line = head.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        (Some("GET"), "/metrics") => response("200 OK", &metrics(), true),
        (Some("HEAD"), "/metrics") => response("200 OK", &metrics(), false),
        (Some("GET" | "HEAD"), _) => response("404 Not Found", "See /metrics.\n", true),
        _ => response("405 Method Not Allowed", "", true),
    }
}

fn response(status: &str, body: &str, shows_body: bool) -> String {
    let length = body.len();
    let body = if shows_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(request: &str) -> String {
        let answer = respond(request.as_bytes(), || "m 1\n".into());
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn only_get_and_head_of_metrics_are_answered() {
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\n\r\n", "200 OK"),
            ("HEAD /metrics HTTP/1.0\r\n\r\n", "200 OK"),
            ("GET /metrics?name=x HTTP/1.1\r\n\r\n", "200 OK"),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("\r\n\r\n", "405 Method Not Allowed"),
            ("\u{0}\u{4}\r\n\r\n", "405 Method Not Allowed"),
        ] {
            assert_eq!(status_of(request), format!("HTTP/1.1 {status}"));
        }
    }

    #[test]
    fn head_tells_the_length_and_brings_no_body() {
        let answer = respond(b"HEAD /metrics HTTP/1.1\r\n\r\n", || "m 1\n".into());
        assert!(answer.contains("Content-Length: 4\r\n") && answer.ends_with("\r\n\r\n"));
    }
}
