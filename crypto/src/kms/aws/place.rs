//! Where a key lives, read from its ARN.
//!
//! ```text
//! arn : partition : kms : region : account : key/ID  or  alias/NAME
//! ```
//!
//! The region becomes a part of a host name, and whoever may create a table writes it. So it is checked to the letter before anything is sent anywhere.

use crate::error::{Error, Result};
use crate::keys::CmkRef;

const REGION_BYTES_MAX: usize = 32;

/// The parts of an ARN that decide whom to ask.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub region: &'a str,
    /// An alias may be moved to another key; it is looked up once and never kept.
    pub is_alias: bool,
}

impl<'a> Place<'a> {
    pub fn of(key: &'a CmkRef) -> Result<Place<'a>> {
        if key.provider() != "aws" {
            return Err(Error::Unsupported(format!(
                "AWS KMS knows its keys by ARN, not {key}"
            )));
        }
        let parts: Vec<&str> = key.name().splitn(6, ':').collect();
        let (region, account, resource) = match parts[..] {
            [_, _, _, region, account, resource] => (region, account, resource),
            _ => return Err(malformed(key)),
        };
        let is_alias = match resource.split_once('/') {
            Some(("key", name)) if !name.is_empty() => false,
            Some(("alias", name)) if !name.is_empty() => true,
            _ => return Err(malformed(key)),
        };
        let account_is_digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !is_region(region) || !account_is_digits {
            return Err(malformed(key));
        }
        Ok(Place { region, is_alias })
    }
}

/// Does this look like `eu-west-1`?
pub(super) fn is_region(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=REGION_BYTES_MAX).contains(&text.len())
        && text.bytes().all(letters)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn malformed(key: &CmkRef) -> Error {
    Error::invalid(format!(
        "{key} is no ARN of a KMS key: expected arn:aws:kms:REGION:ACCOUNT:key/ID or arn:aws:kms:REGION:ACCOUNT:alias/NAME"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<(String, bool)> {
        let key = CmkRef::parse(text).unwrap();
        let place = Place::of(&key).ok()?;
        Some((place.region.to_owned(), place.is_alias))
    }

    #[test]
    fn an_arn_says_where_its_key_lives() {
        for (text, region, is_alias) in [
            (
                "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                "eu-west-1",
                false,
            ),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/team/orders",
                "us-gov-west-1",
                true,
            ),
            (
                "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd",
                "cn-north-1",
                false,
            ),
        ] {
            assert_eq!(place(text), Some((region.to_owned(), is_alias)), "{text}");
        }
    }

    #[test]
    fn a_region_that_would_lead_elsewhere_is_refused() {
        for text in [
            "arn:aws:kms:evil.example/:111122223333:key/a",
            "arn:aws:kms:evil.example:111122223333:key/a",
            "arn:aws:kms:u@evil:111122223333:key/a",
            "arn:aws:kms:-eu:111122223333:key/a",
            "arn:aws:kms::111122223333:key/a",
            "arn:aws:kms:eu-west-1:1234:key/a",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:secret/a",
            "arn:aws:kms:eu-west-1:111122223333",
            "arn:aws:kms:a",
            "local:a",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
