//! One request to Vault and its answer, bounded in time and size.
//!
//! What must hold: a body may hold a key, so it is collected in memory that is wiped, and never grows past a limit (what the HTTP and TLS
//! libraries buffer on the way is theirs). No error repeats a header or a body.
//!
//! Certificates may live for a day only, and a server runs for years: each request looks whether their files are still those that were read, and a
//! client with the new ones takes the place of the old one, open connections and all. Files that do not fit together (one of them is written
//! already, the other not yet) leave the old client in its place, and the next request looks again.

use std::sync::Mutex;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use zeroize::{Zeroize, Zeroizing};

use super::settings::Settings;
use super::stamp::Stamp;
use crate::error::{Error, Result, UnavailableReason};

/// Room for any answer with a key in it. Taken at once: a buffer that grows leaves copies behind.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 10;
/// A key's description lists each of its versions.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

const TOKEN_HEADER: &str = "X-Vault-Token";

/// Where Vault is.
pub(super) struct Wire {
    settings: Settings,
    certified: Mutex<Certified>,
    base: String,
    namespace: Option<HeaderValue>,
}

/// A client and the files of certificates that it was made with.
struct Certified {
    client: reqwest::Client,
    stamps: Vec<Option<Stamp>>,
}

/// What came back.
pub(super) struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// What is sent.
pub(super) struct Call<'a> {
    pub method: Method,
    /// Behind `/v1/`; made of checked names.
    pub path: &'a str,
    pub body: Option<&'a [u8]>,
    pub answer_bytes_max: usize,
}

impl Wire {
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Wire {
            base: settings.base()?,
            namespace: settings.namespace()?,
            certified: Mutex::new(Certified::of(&settings)?),
            settings,
        })
    }

    /// Sends one request. Whatever keeps an answer from coming whole is `Unavailable`.
    pub async fn send(&self, call: &Call<'_>, token: Option<&HeaderValue>) -> Result<Answer> {
        let (client, renewal) = self.client();
        let response = self
            .request(&client, call, token)
            .send()
            .await
            .map_err(|error| unreachable(&error, renewal.as_ref()))?;
        let status = response.status().as_u16();
        let body = collect(response, call.answer_bytes_max).await?;
        Ok(Answer { status, body })
    }

    /// The client of this moment, and why it is still the old one where its files have changed.
    fn client(&self) -> (reqwest::Client, Option<Error>) {
        let mut held = self
            .certified
            .lock()
            .expect("no holder of this lock panics");
        let mut renewal = None;
        if held.stamps != stamps(&self.settings) {
            match Certified::of(&self.settings) {
                Ok(renewed) => *held = renewed,
                Err(error) => renewal = Some(error),
            }
        }
        (held.client.clone(), renewal)
    }

    fn request(
        &self,
        client: &reqwest::Client,
        call: &Call<'_>,
        token: Option<&HeaderValue>,
    ) -> RequestBuilder {
        let url = format!("{}/v1/{}", self.base, call.path);
        let mut request = client
            .request(call.method.clone(), url)
            // Vault can be told to refuse requests without it: a guard against forged requests of browsers.
            .header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header(TOKEN_HEADER, token);
        }
        match call.body {
            // The copy that travels is wiped, too.
            Some(body) => request
                .header("Content-Type", "application/json")
                .body(Bytes::from_owner(Zeroizing::new(body.to_vec()))),
            None => request,
        }
    }
}

impl Certified {
    fn of(settings: &Settings) -> Result<Self> {
        // Before the files are read: one that changes meanwhile is read again.
        let stamps = stamps(settings);
        let client = settings.client()?;
        Ok(Certified { client, stamps })
    }
}

/// A file that is missing has none.
fn stamps(settings: &Settings) -> Vec<Option<Stamp>> {
    settings
        .certificates()
        .map(|path| Stamp::of(path).ok())
        .collect()
}

async fn collect(mut response: Response, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error, None))?
    {
        if body.len() + chunk.len() > bytes_max {
            return Err(Error::unavailable(
                UnavailableReason::Unreachable,
                format!("Vault's answer is longer than {bytes_max} bytes"),
            ));
        }
        body.extend_from_slice(&chunk);
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    Ok(body)
}

/// Says why, down to the cause: "certificate expired" stands three errors deep.
fn unreachable(error: &reqwest::Error, renewal: Option<&Error>) -> Error {
    let mut message = format!("Vault did not answer: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    if let Some(error) = renewal {
        message.push_str(&format!("; renewed certificates are not taken: {error}"));
    }
    Error::unavailable(UnavailableReason::Unreachable, message)
}
