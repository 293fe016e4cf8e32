//! What Vault's answers mean.
//!
//! | answer                                        | outcome                                                                |
//! |-----------------------------------------------|------------------------------------------------------------------------|
//! | 200 with what was asked for                   | the answer                                                             |
//! | 400 `encryption key not found`                | Denied NotFound                                                        |
//! | 404 without a word, for a key's description   | Denied NotFound                                                        |
//! | 400 `disallowed by policy (too old)`          | Denied AccessDenied                                                    |
//! | 403 `permission denied`                       | open: the policy, or our own token? `session` finds out                |
//! | 400 `message authentication failed`, `invalid ciphertext` | Tampered: changed, or for another context, or the key was made anew |
//! | 429                                           | Unavailable Throttled                                                  |
//! | everything else: sealed, standby, 5xx, another server's page | Unavailable Unreachable                                 |
//!
//! Why "too old" is not Disabled: it speaks of one version of the key. Tables whose table keys were encrypted under a newer version go on,
//! and must not lose their leases each time that the older table is tried again.

use std::borrow::Cow;

use serde::Deserialize;

use crate::error::{DenialReason, Error, Result, UnavailableReason};

/// Of Vault's words, no more than this goes into an error.
const WORDS_CHARS_MAX: usize = 300;

/// Around every good answer.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Envelope<'a, T> {
    #[serde(borrow, default)]
    pub request_id: Option<Cow<'a, str>>,
    #[serde(default = "none")]
    pub data: Option<T>,
    #[serde(default)]
    pub auth: Option<Auth<'a>>,
}

fn none<T>() -> Option<T> {
    None
}

/// Of a login or a renewal.
#[derive(Deserialize)]
pub(super) struct Auth<'a> {
    /// Borrowed, so that it stays in the body, which is wiped.
    pub client_token: &'a str,
    pub lease_duration: u64,
    pub renewable: bool,
}

/// Of `auth/token/lookup-self`.
#[derive(Deserialize)]
pub(super) struct OwnToken {
    pub ttl: u64,
    #[serde(default)]
    pub renewable: bool,
}

/// Of `MOUNT/keys/KEY`.
#[derive(Deserialize)]
pub(super) struct KeyConfig<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(default)]
    pub derived: bool,
    #[serde(default)]
    pub supports_encryption: bool,
    #[serde(default)]
    pub supports_decryption: bool,
}

/// Of `datakey`, `encrypt` and `decrypt`. A key is in base 64, so its JSON has nothing to unescape and it is borrowed.
#[derive(Deserialize)]
pub(super) struct KeyBytes<'a> {
    #[serde(default)]
    pub plaintext: Option<&'a str>,
    #[serde(borrow, default)]
    pub ciphertext: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Our token does not allow it, or is none: Vault says the same of both.
    Forbidden(String),
    /// All the rest.
    Error(Error),
}

/// Reads a good answer. It may hold a key, so nothing of it is repeated.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Envelope<'a, T>> {
    serde_json::from_slice(body).map_err(|error| {
        odd(format!(
            "cannot be read: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

/// What a status that is not 200 means. `describing`: the path was a key's description.
pub(super) fn refusal(status: u16, body: &[u8], describing: bool) -> Refusal {
    let answer = serde_json::from_slice::<Errors<'_>>(body);
    let is_vaults = answer.is_ok();
    let words = answer.map(|answer| say(&answer.errors)).unwrap_or_default();
    let denied = |reason| Refusal::Error(Error::denied(reason, format!("Vault: {words}")));
    match status {
        403 if words.contains("permission denied") => Refusal::Forbidden(words),
        404 if is_vaults && words.is_empty() && describing => {
            Refusal::Error(Error::denied(DenialReason::NotFound, "Vault: no such key"))
        }
        400 if words.contains("encryption key not found") => denied(DenialReason::NotFound),
        400 if words.contains("disallowed by policy (too old)") => {
            denied(DenialReason::AccessDenied)
        }
        400 if words.contains("message authentication failed")
            || words.contains("invalid ciphertext") =>
        {
            Refusal::Error(Error::tampered(format!("encrypted data key: {words}")))
        }
        429 => Refusal::Error(Error::unavailable(
            UnavailableReason::Throttled,
            format!("Vault answers 429: {words}"),
        )),
        _ if is_vaults => Refusal::Error(Error::unavailable(
            UnavailableReason::Unreachable,
            format!("Vault answers {status}: {words}"),
        )),
        _ => Refusal::Error(Error::unavailable(
            UnavailableReason::Unreachable,
            format!("an answer with status {status} that is not Vault's"),
        )),
    }
}

/// A good answer without what was asked for.
pub(super) fn odd(what: impl std::fmt::Display) -> Error {
    Error::unavailable(
        UnavailableReason::Unreachable,
        format!("Vault's answer {what}"),
    )
}

/// Vault's words in one line.
fn say(errors: &[Cow<'_, str>]) -> String {
    let line = errors.join("; ");
    let line: Vec<&str> = line.split_whitespace().collect();
    let line = line.join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(WORDS_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> String {
        match refusal(status, body.as_bytes(), false) {
            Refusal::Forbidden(_) => "forbidden".into(),
            Refusal::Error(Error::Denied { reason, .. }) => reason.to_string(),
            Refusal::Error(Error::Unavailable { reason, .. }) => reason.to_string(),
            Refusal::Error(Error::Tampered { .. }) => "tampered".into(),
            Refusal::Error(other) => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_vault_says_of_the_key_is_a_denial() {
        for (status, body, wanted) in [
            (
                400,
                r#"{"errors":["encryption key not found"]}"#,
                "NotFound",
            ),
            (
                400,
                r#"{"errors":["ciphertext or signature version is disallowed by policy (too old)"]}"#,
                "AccessDenied",
            ),
            (
                403,
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                "forbidden",
            ),
            (
                403,
                r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
                "forbidden",
            ),
            (
                403,
                "<html>blocked: permission denied</html>",
                "Unreachable",
            ),
            (403, r#"{"errors":["something else"]}"#, "Unreachable"),
            (
                400,
                r#"{"errors":["cipher: message authentication failed"]}"#,
                "tampered",
            ),
            (
                400,
                r#"{"errors":["invalid ciphertext: no prefix"]}"#,
                "tampered",
            ),
            (400, r#"{"errors":["what nobody knows"]}"#, "Unreachable"),
            (404, r#"{"errors":[]}"#, "Unreachable"),
            (429, "", "Throttled"),
            (503, r#"{"errors":["Vault is sealed"]}"#, "Unreachable"),
            (
                500,
                r#"{"errors":["encryption key not found"]}"#,
                "Unreachable",
            ),
            (307, "", "Unreachable"),
            (502, "<html>", "Unreachable"),
        ] {
            assert_eq!(of(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn a_description_that_is_not_there_means_no_key() {
        let missing = |body: &str| {
            matches!(
                refusal(404, body.as_bytes(), true),
                Refusal::Error(Error::Denied {
                    reason: DenialReason::NotFound,
                    ..
                })
            )
        };
        assert!(missing(r#"{"errors":[]}"#));
        // The engine is not mounted, or not yet: nothing is said of the key.
        assert!(!missing(
            r#"{"errors":["no handler for route \"transit/keys/a\". route entry not found."]}"#
        ));
        assert!(!missing("404 page not found"));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_repeated() {
        let body = br#"{"data":{"plaintext":"c2VjcmV0","ciphertext":5}}"#;
        let Err(error) = parse::<KeyBytes<'_>>(body) else {
            panic!("a number is no ciphertext")
        };
        assert!(!error.to_string().contains("c2Vj"), "{error}");
    }
}
