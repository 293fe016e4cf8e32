//! Where a key lives, read from its name.
//!
//! ```text
//! arn : partition : kms : region : account : key/ID  or  alias/NAME
//!                                            ID      or  alias/NAME       in the region of the settings
//! ```
//!
//! The region becomes a part of a host name, and whoever may create a table writes it. So it is checked to the letter before anything is sent anywhere.

use crate::error::{Error, Result};
use crate::keys::CmkRef;

const REGION_BYTES_MAX: usize = 32;

/// Whom to ask about a key, and what may answer.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub region: &'a str,
    name: Name<'a>,
}

/// What stands for the key.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Arn(&'a str),
    Id(&'a str),
    /// May be moved to another key; it is looked up once and never kept.
    Alias,
}

impl<'a> Place<'a> {
    /// `home`: the region of a key that is not named by an ARN.
    pub fn of(key: &'a CmkRef, home: Option<&'a str>) -> Result<Place<'a>> {
        if key.provider() != "aws" {
            return Err(Error::Unsupported(format!(
                "AWS KMS knows its keys by ARN, id and alias, not {key}"
            )));
        }
        if !key.name().starts_with("arn:") {
            let region = home.ok_or_else(|| {
                Error::invalid(format!(
                    "{key} does not say where it is: give an ARN, or set [kms.aws] region"
                ))
            })?;
            let name = match key.name().starts_with("alias/") {
                true => Name::Alias,
                false => Name::Id(key.name()),
            };
            return Ok(Place { region, name });
        }
        let parts: Vec<&str> = key.name().splitn(6, ':').collect();
        let (region, account, resource) = match parts[..] {
            [_, _, _, region, account, resource] => (region, account, resource),
            _ => return Err(malformed(key)),
        };
        let name = match resource.split_once('/') {
            Some(("key", id)) if !id.is_empty() => Name::Arn(key.name()),
            Some(("alias", name)) if !name.is_empty() => Name::Alias,
            _ => return Err(malformed(key)),
        };
        let account_is_digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !is_region(region) || !account_is_digits {
            return Err(malformed(key));
        }
        Ok(Place { region, name })
    }

    /// Is it a key's own ARN, which a table may keep?
    pub fn is_lasting(&self) -> bool {
        matches!(self.name, Name::Arn(_))
    }

    /// May an answer about the key with this ARN be an answer to what was asked? An alias may lead to any key.
    pub fn may_be(&self, arn: &str) -> bool {
        match self.name {
            Name::Arn(asked) => asked == arn,
            Name::Id(id) => arn
                .rsplit_once(":key/")
                .is_some_and(|(_, answered)| answered == id),
            Name::Alias => true,
        }
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
        let place = Place::of(&key, None).ok()?;
        Some((place.region.to_owned(), place.name == Name::Alias))
    }

    #[test]
    fn an_id_is_of_the_region_of_the_settings_and_only_its_own_arn_answers_for_it() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let arn = |id: &str| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}");
        let key = CmkRef::parse(id).unwrap();
        let place = Place::of(&key, Some("eu-west-1")).unwrap();
        assert_eq!(place.region, "eu-west-1");
        assert!(place.may_be(&arn(id)) && !place.is_lasting());
        for other in [arn(&format!("0{id}")), arn("a"), id.to_owned()] {
            assert!(!place.may_be(&other), "{other}");
        }
        let alias = CmkRef::parse("alias/orders").unwrap();
        let place = Place::of(&alias, Some("eu-west-1")).unwrap();
        assert!(place.may_be(&arn(id)) && !place.is_lasting());
        for homeless in [&key, &alias] {
            assert!(Place::of(homeless, None).is_err(), "{homeless}");
        }
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
