//! One request to Vault and its answer, bounded in time and size.
//!
//! What must hold: a body may hold a key, so it is collected in memory that is wiped, and never grows past a limit (what the HTTP and TLS
//! libraries buffer on the way is theirs). No error repeats a header or a body.

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response};
use zeroize::{Zeroize, Zeroizing};

use super::settings::Settings;
use crate::error::{Error, Result, UnavailableReason};

/// Room for any answer with a key in it. Taken at once: a buffer that grows leaves copies behind.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 10;
/// A key's description lists each of its versions.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

const TOKEN_HEADER: &str = "X-Vault-Token";

/// Where Vault is.
pub(super) struct Wire {
    client: reqwest::Client,
    base: String,
    namespace: Option<HeaderValue>,
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
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Wire {
            base: settings.base()?,
            namespace: settings.namespace()?,
            client: settings.client()?,
        })
    }

    /// Sends one request. Whatever keeps an answer from coming whole is `Unavailable`.
    pub async fn send(&self, call: &Call<'_>, token: Option<&HeaderValue>) -> Result<Answer> {
        let response = self
            .request(call, token)
            .send()
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let body = collect(response, call.answer_bytes_max).await?;
        Ok(Answer { status, body })
    }

    fn request(&self, call: &Call<'_>, token: Option<&HeaderValue>) -> RequestBuilder {
        let url = format!("{}/v1/{}", self.base, call.path);
        let mut request = self
            .client
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

async fn collect(mut response: Response, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
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
fn unreachable(error: &reqwest::Error) -> Error {
    let mut message = format!("Vault did not answer: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    Error::unavailable(UnavailableReason::Unreachable, message)
}
