//! One TLS connection to the server, and one question after the other on it.
//!
//! A connection lives for one call of the key service: calls are rare, and one that was kept would be half dead when it is wanted. There are no
//! timers here; the caller's deadline drops the call, and that closes the connection.
//!
//! What must hold: the server shows a certificate of `ca_file` for `server_name`, and we show ours; at most `ANSWER_BYTES_MAX` are read for an answer.

use std::fs;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::KmipSettings;
use super::answers::{Refusal, Said};
use super::ttlv::{self, Item, Value};
use super::words::{self, tag};
use crate::error::{Error, Result, UnavailableReason};
use crate::private_file::{self, Readers};

/// Longest answer: attributes and a data key have a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest file of certificates.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// KMIP 1.4, the first version in which Encrypt takes additional data.
const VERSION: (i32, i32) = (1, 4);
/// How much of a server's message is kept.
const MESSAGE_CHARS_MAX: usize = 200;

/// A connection.
pub(super) struct Line {
    stream: TlsStream<TcpStream>,
}

/// An answer that is no refusal.
pub(super) struct Answer {
    bytes: Zeroizing<Vec<u8>>,
}

/// Refuses settings that can never work.
pub(super) fn check(settings: &KmipSettings) -> Result<()> {
    server_name(settings).map(|_| ())
}

impl Line {
    pub async fn open(settings: &KmipSettings) -> Result<Line> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            unreachable_because(format!("{what} {}: {error}", settings.address))
        };
        let config = config(settings)?;
        let name = server_name(settings)?;
        let socket = TcpStream::connect(&settings.address)
            .await
            .map_err(|error| failed("cannot connect to", &error))?;
        socket
            .set_nodelay(true)
            .map_err(|error| failed("cannot connect to", &error))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
            .map_err(|error| failed("no TLS with", &error))?;
        Ok(Line { stream })
    }

    /// Asks for one operation. `request` is set to what the server calls the request, if it does.
    pub async fn ask(
        &mut self,
        operation: u32,
        payload: Vec<Item<'_>>,
        request: &mut Option<String>,
    ) -> std::result::Result<Answer, Refusal> {
        let question = question(operation, payload).encode();
        let bytes = self.exchange(&question).await.map_err(Refusal::Broken)?;
        let answer = Answer { bytes };
        answer.check(operation, request)?;
        Ok(answer)
    }

    async fn exchange(&mut self, question: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let lost =
            |error: std::io::Error| unreachable_because(format!("the connection broke: {error}"));
        self.stream.write_all(question).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await.map_err(lost)?;
        let (found, _, length) = ttlv::head(&head);
        if found != tag::RESPONSE_MESSAGE || length > ANSWER_BYTES_MAX {
            return Err(unreachable_because(format!(
                "the server answered with {length} bytes under tag {found:#x}"
            )));
        }
        let mut bytes = Zeroizing::new(vec![0; head.len() + length]);
        bytes[..head.len()].copy_from_slice(&head);
        self.stream
            .read_exact(&mut bytes[head.len()..])
            .await
            .map_err(lost)?;
        Ok(bytes)
    }
}

impl Answer {
    /// What the operation gave.
    pub fn payload(&self) -> Result<Item<'_>> {
        let message = ttlv::decode(&self.bytes).map_err(malformed)?;
        message
            .get(tag::BATCH_ITEM)
            .and_then(|item| item.get(tag::RESPONSE_PAYLOAD))
            .cloned()
            .ok_or_else(|| unreachable_because("the server's answer holds nothing".into()))
    }

    fn check(
        &self,
        operation: u32,
        request: &mut Option<String>,
    ) -> std::result::Result<(), Refusal> {
        let broken = |what: &str| {
            Refusal::Broken(unreachable_because(format!("the server's answer {what}")))
        };
        let message =
            ttlv::decode(&self.bytes).map_err(|error| Refusal::Broken(malformed(error)))?;
        let correlation = message
            .get(tag::RESPONSE_HEADER)
            .and_then(|header| header.get(tag::SERVER_CORRELATION_VALUE))
            .and_then(Item::text);
        if let Some(name) = correlation {
            *request = Some(shortened(name));
        }
        let item = message
            .get(tag::BATCH_ITEM)
            .ok_or_else(|| broken("has no batch item"))?;
        let number = |tag| item.get(tag).and_then(Item::enumeration);
        let status = number(tag::RESULT_STATUS).ok_or_else(|| broken("has no status"))?;
        if status == words::SUCCESS {
            // An answer to another question must not be taken for this one's.
            return match number(tag::OPERATION) {
                Some(answered) if answered == operation => Ok(()),
                _ => Err(broken("is about another operation")),
            };
        }
        let said = item.get(tag::RESULT_MESSAGE).and_then(Item::text);
        Err(Refusal::Said(Said {
            operation,
            reason: number(tag::RESULT_REASON).unwrap_or_default(),
            message: shortened(said.unwrap_or("no message")),
        }))
    }
}

fn question(operation: u32, payload: Vec<Item<'_>>) -> Item<'_> {
    Item::structure(
        tag::REQUEST_MESSAGE,
        vec![
            Item::structure(
                tag::REQUEST_HEADER,
                vec![
                    Item::structure(
                        tag::PROTOCOL_VERSION,
                        vec![
                            Item::new(tag::PROTOCOL_VERSION_MAJOR, Value::Integer(VERSION.0)),
                            Item::new(tag::PROTOCOL_VERSION_MINOR, Value::Integer(VERSION.1)),
                        ],
                    ),
                    Item::new(tag::BATCH_COUNT, Value::Integer(1)),
                ],
            ),
            Item::structure(
                tag::BATCH_ITEM,
                vec![
                    Item::new(tag::OPERATION, Value::Enumeration(operation)),
                    Item::structure(tag::REQUEST_PAYLOAD, payload),
                ],
            ),
        ],
    )
}

fn config(settings: &KmipSettings) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&settings.ca_file)? {
        roots.add(root).map_err(|error| {
            unreachable_because(format!("{}: {error}", settings.ca_file.display()))
        })?;
    }
    let key_file = &settings.client_key_file;
    let file = private_file::open(key_file, Readers::Owner).map_err(unreachable_because)?;
    let key = read_open(key_file, file)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
        unreachable_because(format!("{}: {error}", settings.client_key_file.display()))
    })?;
    let unusable = |error: tokio_rustls::rustls::Error| {
        unreachable_because(format!("the client's certificate cannot be used: {error}"))
    };
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&settings.client_cert_file)?, key)
        .map_err(unusable)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unreachable_because(format!(
            "{}: holds no certificate",
            path.display()
        ))),
        Err(error) => Err(unreachable_because(format!("{}: {error}", path.display()))),
    }
}

fn read(path: &std::path::Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = fs::File::open(path).map_err(|error| cannot_read(path, error))?;
    read_open(path, file)
}

fn read_open(path: &std::path::Path, mut file: fs::File) -> Result<Zeroizing<Vec<u8>>> {
    use std::io::Read;

    let failed = |error| cannot_read(path, error);
    let length = file.metadata().map_err(failed)?.len();
    if length > PEM_BYTES_MAX {
        return Err(unreachable_because(format!(
            "{} is too large",
            path.display()
        )));
    }
    // At its whole length: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn cannot_read(path: &std::path::Path, error: std::io::Error) -> Error {
    unreachable_because(format!("cannot read {}: {error}", path.display()))
}

fn server_name(settings: &KmipSettings) -> Result<ServerName<'static>> {
    let host = match settings.address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host,
        _ => return Err(Error::invalid("settings: address is not HOST:PORT")),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = settings.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::invalid(format!("settings: '{name}' is no name of a server")))
}

fn malformed(ttlv::Malformed(what): ttlv::Malformed) -> Error {
    unreachable_because(format!("the server's answer is no KMIP: {what}"))
}

/// A server's text, as it may stand in an error or a log.
fn shortened(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect()
}

pub(super) fn unreachable_because(message: String) -> Error {
    Error::unavailable(UnavailableReason::Unreachable, message)
}
