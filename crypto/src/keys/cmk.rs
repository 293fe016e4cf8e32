//! `CmkRef`: a customer's key by the name that its user typed. It holds no key bytes and may be stored and logged.
//!
//! ```text
//! default                      the service's own key; the server puts the configured name in its place
//! local:NAME                   a key of the local keyring, or an alias; NAME = [A-Za-z0-9._-]{1,128}
//! arn:aws:kms:...              a key or alias of AWS KMS (also arn:aws-cn:, arn:aws-us-gov:)
//! ID, alias/NAME               the same in the server's own region; ID = a UUID, or mrk- and 32 hexadecimal digits
//! pkcs11:token=...;object=...   a key on a PKCS#11 token (`token_key`)
//! vault:..., kmip:...          what follows is the provider's own business
//! ```
//!
//! The text goes into the table key's derivation, so it is kept to the letter. An ARN never resolves to another provider.

use std::fmt;
use std::str::FromStr;

use super::token_key::TokenKey;
use crate::error::{Error, Result};

/// Longest name accepted. AWS allows 2048 for a key identifier.
const TEXT_BYTES_MAX: usize = 2048;
const LOCAL_NAME_BYTES_MAX: usize = 128;
const DEFAULT: &str = "default";
const LOCAL: &str = "local";
const AWS: &str = "aws";
const PKCS11: &str = "pkcs11";

/// The name of a key in a key service.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct CmkRef {
    provider: String,
    name: String,
}

impl CmkRef {
    /// Reads a name as a user types it.
    pub fn parse(text: &str) -> Result<CmkRef> {
        if text.len() > TEXT_BYTES_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Error::invalid(
                "a KMS key identifier has at most 2048 bytes and no spaces or control characters",
            ));
        }
        if text == DEFAULT {
            return Ok(CmkRef::new(DEFAULT, ""));
        }
        if is_kms_arn(text) || is_kms_id(text) || is_kms_alias(text) {
            return Ok(CmkRef::new(AWS, text));
        }
        match text.split_once(':') {
            Some((LOCAL, name)) => CmkRef::local(name),
            Some((PKCS11, name)) => {
                // Before anything is asked, recorded or shown of it: what stands there may be a PIN.
                TokenKey::parse(name).map_err(|what| {
                    Error::invalid(format!("the name of a PKCS#11 key is refused: {what}"))
                })?;
                Ok(CmkRef::new(PKCS11, name))
            }
            Some((provider @ ("vault" | "kmip"), name)) if !name.is_empty() => {
                Ok(CmkRef::new(provider, name))
            }
            _ => Err(Error::invalid(format!(
                "'{}' names no KMS key: expected default, local:NAME, arn:aws:kms:..., an AWS key id, alias/NAME, vault:..., pkcs11:... or kmip:...",
                CmkRef::without_values(text)
            ))),
        }
    }

    /// The key of the local keyring that is called `name`.
    pub fn local(name: &str) -> Result<CmkRef> {
        check_local_name(name)?;
        Ok(CmkRef::new(LOCAL, name))
    }

    /// As much of a text that names no key as may be repeated: what follows may be a PIN.
    pub fn without_values(text: &str) -> &str {
        let end = text.find(['=', '?']);
        &text[..end.unwrap_or(text.len())]
    }

    fn new(provider: &str, name: &str) -> CmkRef {
        CmkRef {
            provider: provider.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `default`, `local`, `aws`, `vault`, `pkcs11` or `kmip`.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// What the provider calls the key; of AWS KMS the text as a whole.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The region that an ARN names.
    pub fn region(&self) -> Option<&str> {
        let mut parts = self.name.split(':');
        let is_arn = self.provider == AWS && parts.next() == Some("arn");
        parts.nth(2).filter(|_| is_arn)
    }

    /// Does it stand for the service's own key?
    pub fn is_default(&self) -> bool {
        self.provider == DEFAULT
    }
}

/// Is this a name that the local keyring gives?
pub(crate) fn check_local_name(name: &str) -> Result<()> {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if letters && (1..=LOCAL_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(
        "the name of a local key has 1 to 128 of the characters A-Z a-z 0-9 . _ -",
    ))
}

fn is_kms_arn(text: &str) -> bool {
    let mut parts = text.splitn(4, ':');
    parts.next() == Some("arn")
        && parts
            .next()
            .is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("kms")
        && parts.next().is_some_and(|rest| !rest.is_empty())
}

/// `1234abcd-12ab-34cd-56ef-1234567890ab`, or `mrk-` and 32 digits: an id that AWS KMS gives.
fn is_kms_id(text: &str) -> bool {
    // As AWS writes them.
    let is_hex = |digits: &str| {
        digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match text.strip_prefix("mrk-") {
        Some(digits) => digits.len() == 32 && is_hex(digits),
        None => {
            let lengths = text.split('-').map(str::len);
            lengths.eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
        }
    }
}

fn is_kms_alias(text: &str) -> bool {
    text.strip_prefix("alias/").is_some_and(|name| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
        !name.is_empty() && name.bytes().all(is_letter)
    })
}

impl fmt::Display for CmkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.provider.as_str() {
            DEFAULT => f.write_str(DEFAULT),
            AWS => f.write_str(&self.name),
            provider => write!(f, "{provider}:{}", self.name),
        }
    }
}

impl FromStr for CmkRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        CmkRef::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_back_as_it_was_typed() {
        for (text, provider) in [
            ("default", "default"),
            ("local:orders-2026.v1", "local"),
            ("arn:aws:kms:eu-west-1:111122223333:key/1234abcd", "aws"),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/x",
                "aws",
            ),
            ("1234abcd-12ab-34cd-56ef-1234567890ab", "aws"),
            ("mrk-1234abcd12ab34cd56ef1234567890ab", "aws"),
            ("alias/team/orders", "aws"),
            ("vault:transit/keys/orders", "vault"),
            ("pkcs11:token=a;object=b", "pkcs11"),
        ] {
            let cmk = CmkRef::parse(text).unwrap();
            assert_eq!((cmk.to_string().as_str(), cmk.provider()), (text, provider));
        }
    }

    #[test]
    fn an_arn_names_its_region_and_nothing_else_does() {
        for (text, region) in [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/1",
                Some("eu-west-1"),
            ),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:1:alias/x",
                Some("us-gov-west-1"),
            ),
            ("alias/team/orders", None),
            ("vault:arn:aws:kms:eu-west-1", None),
            ("local:a", None),
            ("default", None),
        ] {
            assert_eq!(CmkRef::parse(text).unwrap().region(), region, "{text}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        let long = format!("vault:{}", "x".repeat(3000));
        for text in [
            "",
            "local:",
            "local:a/b",
            "local:a b",
            "orders",
            "alias/",
            "alias/a:b",
            "1234abcd-12ab-34cd-56ef-1234567890a",
            "1234abcd-12ab-34cd-56ef-1234567890ag",
            "mrk-1234abcd",
            "1234ABCD-12ab-34cd-56ef-1234567890ab",
            "vault:",
            "arn:aws:s3:::bucket",
            "arn:aws:kms:",
            "DEFAULT",
            "none",
            "vault:a\nb",
            "pkcs11:",
            "pkcs11:object=b",
            "pkcs11:token=a;object=b;pin-value=9753",
            "PKCS11:token=a;object=b;pin-value=9753",
            &long,
        ] {
            let refusal = CmkRef::parse(text).expect_err(text).to_string();
            assert!(!refusal.contains("9753"), "{refusal}");
        }
    }
}
