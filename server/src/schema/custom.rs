//! Which KMS key protects a table, and Amazon Keyspaces' other properties.
//!
//! ```text
//! encryption = {'kms_key': 'local:orders' | 'arn:aws:kms:...' | 'default' [, 'rewrite': 'true']}
//! custom_properties = {'encryption_specification': {'encryption_type': 'CUSTOMER_MANAGED_KMS_KEY', 'kms_key_identifier': '...'},
//!                      'capacity_mode': {'throughput_mode': 'PAY_PER_REQUEST'}, ...}
//! tags = {'team': 'billing'}
//! ```
//!
//! Both spellings of encryption mean the same, and only one may be used at a time. What is left of the custom properties is kept
//! and shown as it was given. Names and enumerated values are read in any case.

use std::collections::BTreeMap;

use palladium_crypto::CmkRef;
use palladium_protocol::cql::ast::{Literal, Property, PropertyMap, PropertyValue};

use super::Encryption;
use super::options::TABLE_PROPERTIES;
use super::properties::{Properties, string_literal};
use crate::error::{CqlError, CqlResult};

pub const ENCRYPTION: &str = "encryption_specification";
pub const TAGS: &str = "tags";
const TYPE: &str = "encryption_type";
/// Where Keyspaces shows the name of a key.
pub const IDENTIFIER: &str = "kms_key_identifier";
pub const CUSTOMER_MANAGED: &str = "CUSTOMER_MANAGED_KMS_KEY";
pub const SERVICE_OWNED: &str = "AWS_OWNED_KMS_KEY";

const POINT_IN_TIME: &str = "point_in_time_recovery";
const STATUS: &str = "status";
const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";
const STATUSES: [&str; 2] = [ENABLED, DISABLED];
const CAPACITY: &str = "capacity_mode";
const THROUGHPUT: &str = "throughput_mode";
const PROVISIONED: &str = "provisioned";
const TIME_TO_LIVE: &str = "ttl";
const CLIENT_TIMESTAMPS: &str = "client_side_timestamps";
const CHANGES: &str = "cdc_specification";

/// What `custom_properties` may hold.
const KNOWN: [&str; 10] = [
    "auto_scaling_settings",
    CAPACITY,
    CHANGES,
    CLIENT_TIMESTAMPS,
    ENCRYPTION,
    POINT_IN_TIME,
    "replica_specifications",
    "replica_updates",
    TIME_TO_LIVE,
    "warm_throughput",
];

/// What a statement says about a table beyond Cassandra's options.
#[derive(Debug, Default, PartialEq)]
pub struct Custom {
    /// The key, if one is named.
    pub encryption: Option<Encryption>,
    /// Whether every structure shall get a new data key, too.
    pub rewrite: bool,
    /// The other properties, by their lower-case names; tags among them.
    pub properties: BTreeMap<String, PropertyValue>,
}

impl Custom {
    /// Reads it from the properties of a statement.
    pub fn read<'a>(properties: impl IntoIterator<Item = &'a Property>) -> CqlResult<Custom> {
        let properties = Properties::read(properties, &TABLE_PROPERTIES)?;
        let mut custom = Custom::default();
        if let Some(value) = properties.value("custom_properties") {
            custom.read_custom_properties(value)?;
        }
        if let Some(options) = properties.map("encryption")? {
            if custom.encryption.is_some() {
                return Err(CqlError::invalid(
                    "encryption and custom_properties both name a KMS key; use one of them",
                ));
            }
            let (encryption, rewrite) = plain_encryption(&options)?;
            custom.encryption = Some(encryption);
            custom.rewrite = rewrite;
        }
        if let Some(tags) = properties.map(TAGS)? {
            custom.properties.insert(TAGS.into(), text_map(tags));
        }
        Ok(custom)
    }

    fn read_custom_properties(&mut self, value: &PropertyValue) -> CqlResult<()> {
        let wrong = || {
            CqlError::syntax("Invalid value for property 'custom_properties'. It should be a map.")
        };
        for (name, value) in value.map().ok_or_else(wrong)? {
            let name = name.raw_text().to_ascii_lowercase();
            if !KNOWN.contains(&name.as_str()) {
                return Err(CqlError::invalid(format!(
                    "Unknown custom property '{name}'"
                )));
            }
            if name == ENCRYPTION {
                self.encryption = Some(specification(value)?);
            } else {
                check_value(&name, value)?;
                self.properties.insert(name, value.clone());
            }
        }
        Ok(())
    }
}

/// What of the other properties would promise something that this server does not do, or is no value of theirs.
fn check_value(name: &str, value: &PropertyValue) -> CqlResult<()> {
    let wrong = || CqlError::invalid(format!("{name} should be a map"));
    let (field, allowed) = match name {
        POINT_IN_TIME => (STATUS, STATUSES),
        CLIENT_TIMESTAMPS | TIME_TO_LIVE => (STATUS, STATUSES),
        CAPACITY => (THROUGHPUT, ["pay_per_request", PROVISIONED]),
        _ => return value.map().map(|_| ()).ok_or_else(wrong),
    };
    let mut found = None;
    for (key, value) in value.map().ok_or_else(wrong)? {
        if key.raw_text().eq_ignore_ascii_case(field) {
            found = Some(value.text().ok_or_else(|| {
                CqlError::invalid(format!("{field} in {name} should be a string"))
            })?);
        }
    }
    let text = found.ok_or_else(|| CqlError::invalid(format!("{field} is missing in {name}")))?;
    let [first, second] = allowed;
    match text.to_ascii_lowercase() {
        word if name == POINT_IN_TIME && word == ENABLED => Err(CqlError::invalid(
            "Restores from a point in time are not supported by this server yet: point_in_time_recovery cannot be enabled",
        )),
        word if allowed.contains(&word.as_str()) => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "Unknown {field} '{text}' in {name}: only {first} and {second} are allowed"
        ))),
    }
}

/// What to say of properties that are new or differ from `before` and change nothing but what is shown.
pub fn without_effect(
    properties: &BTreeMap<String, PropertyValue>,
    before: &BTreeMap<String, PropertyValue>,
) -> Option<String> {
    let differs = |name: &&String| before.get(*name) != properties.get(*name);
    let inert = properties
        .iter()
        .filter(|(name, value)| is_inert(name, value));
    let names: Vec<&str> = inert
        .map(|(name, _)| name)
        .filter(differs)
        .map(String::as_str)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "Custom properties that are stored and shown and change nothing else on this server: {}",
            names.join(", ")
        )
    })
}

/// Whether a property asks for what this server does not do. TTLs and timestamps of clients are always taken: to enable them is kept, to disable them is not.
fn is_inert(name: &str, value: &PropertyValue) -> bool {
    match name {
        TAGS | POINT_IN_TIME => false,
        TIME_TO_LIVE | CLIENT_TIMESTAMPS => says(value, STATUS, DISABLED),
        CAPACITY => says(value, THROUGHPUT, PROVISIONED),
        CHANGES => !says(value, STATUS, DISABLED),
        _ => true,
    }
}

fn says(value: &PropertyValue, field: &str, word: &str) -> bool {
    flat(value)
        .iter()
        .any(|(name, text)| name.eq_ignore_ascii_case(field) && text.eq_ignore_ascii_case(word))
}

/// Takes away what an earlier version stored and this one would not: nothing restores a table to a point in time, so none is shown as if it could be.
pub fn forget_promises(properties: &mut BTreeMap<String, PropertyValue>) {
    properties.retain(|name, value| name != POINT_IN_TIME || !says(value, STATUS, ENABLED));
}

fn plain_encryption(options: &BTreeMap<String, String>) -> CqlResult<(Encryption, bool)> {
    let mut key = None;
    let mut rewrite = false;
    for (name, value) in options {
        match name.to_ascii_lowercase().as_str() {
            "kms_key" => key = Some(value),
            "rewrite" => rewrite = boolean(value)?,
            unknown => {
                return Err(CqlError::invalid(format!(
                    "Unknown encryption option '{unknown}': only 'kms_key' and 'rewrite' are allowed"
                )));
            }
        }
    }
    let key = key.ok_or_else(|| {
        CqlError::invalid("Missing sub-option 'kms_key' for the 'encryption' option")
    })?;
    Ok((named_key(key)?, rewrite))
}

fn boolean(text: &str) -> CqlResult<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(CqlError::invalid(
            "encryption option 'rewrite' is 'true' or 'false'",
        )),
    }
}

fn specification(value: &PropertyValue) -> CqlResult<Encryption> {
    let wrong = || CqlError::invalid(format!("{ENCRYPTION} should be a map"));
    let mut kind = None;
    let mut identifier = None;
    for (name, value) in value.map().ok_or_else(wrong)? {
        let name = name.raw_text().to_ascii_lowercase();
        let text = value.text().ok_or_else(wrong)?;
        match name.as_str() {
            TYPE => kind = Some(text.to_ascii_uppercase()),
            IDENTIFIER => identifier = Some(text),
            _ => {
                return Err(CqlError::invalid(format!(
                    "Unknown field '{name}' in {ENCRYPTION}"
                )));
            }
        }
    }
    match (kind.as_deref(), identifier) {
        (Some(SERVICE_OWNED), None) => Ok(Encryption::Default),
        (Some(SERVICE_OWNED), Some(_)) => Err(CqlError::invalid(format!(
            "{IDENTIFIER} cannot be given with {TYPE} {SERVICE_OWNED}"
        ))),
        (Some(CUSTOMER_MANAGED), Some(key)) => named_key(&key),
        (Some(CUSTOMER_MANAGED), None) => Err(CqlError::invalid(format!(
            "{IDENTIFIER} is required with {TYPE} {CUSTOMER_MANAGED}"
        ))),
        (Some(other), _) => Err(CqlError::invalid(format!(
            "Unknown {TYPE} '{other}': only {CUSTOMER_MANAGED} and {SERVICE_OWNED} are allowed"
        ))),
        (None, _) => Err(CqlError::invalid(format!(
            "{TYPE} is missing in {ENCRYPTION}"
        ))),
    }
}

fn named_key(text: &str) -> CqlResult<Encryption> {
    let cmk = CmkRef::parse(text).map_err(|error| CqlError::invalid(error.to_string()))?;
    Ok(match cmk.is_default() {
        true => Encryption::Default,
        false => Encryption::Customer(cmk),
    })
}

fn text_map(entries: BTreeMap<String, String>) -> PropertyValue {
    let literal = |text| Literal::String(text);
    PropertyValue::Map(
        entries
            .into_iter()
            .map(|(name, value)| (literal(name), PropertyValue::Literal(literal(value))))
            .collect(),
    )
}

/// Adds tags to those of a table.
pub fn add_tags(
    properties: &mut BTreeMap<String, PropertyValue>,
    added: &PropertyMap,
) -> CqlResult<()> {
    let mut tags = tags(properties);
    tag(&mut tags, added)?;
    properties.insert(TAGS.into(), text_map(tags));
    Ok(())
}

/// Adds tags to those that are there.
pub fn tag(tags: &mut BTreeMap<String, String>, added: &PropertyMap) -> CqlResult<()> {
    for (name, value) in added {
        let text = value
            .text()
            .ok_or_else(|| CqlError::invalid("the value of a tag is a string"))?;
        tags.insert(name.raw_text(), text);
    }
    Ok(())
}

/// Removes tags of a table by their names.
pub fn drop_tags(properties: &mut BTreeMap<String, PropertyValue>, dropped: &PropertyMap) {
    let mut tags = tags(properties);
    untag(&mut tags, dropped);
    properties.remove(TAGS);
    if !tags.is_empty() {
        properties.insert(TAGS.into(), text_map(tags));
    }
}

/// Removes tags by their names.
pub fn untag(tags: &mut BTreeMap<String, String>, dropped: &PropertyMap) {
    for (name, _) in dropped {
        tags.remove(&name.raw_text());
    }
}

/// The tags of a table.
pub fn tags(properties: &BTreeMap<String, PropertyValue>) -> BTreeMap<String, String> {
    properties.get(TAGS).map(flat).unwrap_or_default()
}

/// A map of properties as texts; what is a map inside is left out.
pub fn flat(value: &PropertyValue) -> BTreeMap<String, String> {
    let entries = value.map().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|(name, value)| Some((name.raw_text(), value.text()?)))
        .collect()
}

/// What Keyspaces shows about a table's key.
pub fn shown_encryption(encryption: &Encryption) -> BTreeMap<String, String> {
    match encryption {
        Encryption::Default => BTreeMap::from([(TYPE.into(), SERVICE_OWNED.into())]),
        Encryption::Customer(cmk) => BTreeMap::from([
            (TYPE.into(), CUSTOMER_MANAGED.into()),
            (IDENTIFIER.into(), cmk.to_string()),
        ]),
    }
}

/// The lines of WITH that make these again.
pub fn describe(
    encryption: &Encryption,
    properties: &BTreeMap<String, PropertyValue>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let custom: Vec<String> = properties
        .iter()
        .filter(|(name, _)| *name != TAGS)
        .map(|(name, value)| format!("{}: {}", string_literal(name), value_literal(value)))
        .collect();
    if !custom.is_empty() {
        lines.push(format!("custom_properties = {{{}}}", custom.join(", ")));
    }
    if let Encryption::Customer(cmk) = encryption {
        lines.push(format!(
            "encryption = {{'kms_key': {}}}",
            string_literal(&cmk.to_string())
        ));
    }
    lines.extend(describe_tags(&tags(properties)));
    lines
}

/// What of WITH makes these tags again.
pub fn describe_tags(tags: &BTreeMap<String, String>) -> Option<String> {
    (!tags.is_empty()).then(|| format!("tags = {}", value_literal(&text_map(tags.clone()))))
}

fn value_literal(value: &PropertyValue) -> String {
    match value {
        PropertyValue::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{}: {}",
                        string_literal(&name.raw_text()),
                        value_literal(value)
                    )
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => string_literal(&other.text().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use palladium_protocol::cql::ast::{Statement, TableOption};

    use super::*;

    fn read(with: &str) -> Result<Custom, String> {
        let text = format!("CREATE TABLE t (k int PRIMARY KEY) WITH {with}");
        let Ok(Statement::CreateTable(create)) = palladium_protocol::cql::parse(&text) else {
            panic!("{text} is no CREATE TABLE");
        };
        let properties: Vec<_> = create
            .options
            .iter()
            .filter_map(|option| match option {
                TableOption::Property(property) => Some(property),
                _ => None,
            })
            .collect();
        Custom::read(properties).map_err(|error| error.message)
    }

    #[test]
    fn both_spellings_name_the_same_key() {
        let named = Some(Encryption::Customer(CmkRef::parse("local:orders").unwrap()));
        for (with, encryption) in [
            ("encryption = {'kms_key': 'local:orders'}", named.clone()),
            (
                "CUSTOM_PROPERTIES = {'Encryption_Specification': {'encryption_type': 'customer_managed_kms_key', \
                 'KMS_KEY_IDENTIFIER': 'local:orders'}}",
                named,
            ),
            (
                "encryption = {'kms_key': 'default'}",
                Some(Encryption::Default),
            ),
            (
                "custom_properties = {'encryption_specification': {'encryption_type': 'AWS_OWNED_KMS_KEY'}}",
                Some(Encryption::Default),
            ),
            ("comment = 'x'", None),
        ] {
            assert_eq!(read(with).unwrap().encryption, encryption, "{with}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for (with, message) in [
            (
                "encryption = {}",
                "Missing sub-option 'kms_key' for the 'encryption' option",
            ),
            (
                "encryption = {'cipher': 'x'}",
                "Unknown encryption option 'cipher': only 'kms_key' and 'rewrite' are allowed",
            ),
            (
                "custom_properties = {'bogus': 'x'}",
                "Unknown custom property 'bogus'",
            ),
            (
                "custom_properties = {'encryption_specification': {'encryption_type': 'CUSTOMER_MANAGED_KMS_KEY'}}",
                "kms_key_identifier is required with encryption_type CUSTOMER_MANAGED_KMS_KEY",
            ),
            (
                "encryption = {'kms_key': 'local:a'} AND custom_properties = {'encryption_specification': {'encryption_type': \
                 'AWS_OWNED_KMS_KEY'}}",
                "encryption and custom_properties both name a KMS key; use one of them",
            ),
        ] {
            assert_eq!(read(with).unwrap_err(), message, "{with}");
        }
    }

    #[test]
    fn a_property_that_would_be_shown_and_not_kept_or_is_no_value_is_refused() {
        for (properties, message) in [
            (
                "'point_in_time_recovery': {'status': 'Enabled'}",
                Some(
                    "Restores from a point in time are not supported by this server yet: point_in_time_recovery cannot be enabled",
                ),
            ),
            ("'point_in_time_recovery': {'status': 'DISABLED'}", None),
            (
                "'point_in_time_recovery': 'enabled'",
                Some("point_in_time_recovery should be a map"),
            ),
            (
                "'point_in_time_recovery': {}",
                Some("status is missing in point_in_time_recovery"),
            ),
            (
                "'ttl': {'status': 'perhaps'}",
                Some("Unknown status 'perhaps' in ttl: only enabled and disabled are allowed"),
            ),
            (
                "'client_side_timestamps': {'status': {'a': 'b'}}",
                Some("status in client_side_timestamps should be a string"),
            ),
            (
                "'capacity_mode': {'throughput_mode': 'fast'}",
                Some(
                    "Unknown throughput_mode 'fast' in capacity_mode: only pay_per_request and provisioned are allowed",
                ),
            ),
            (
                "'cdc_specification': 'x'",
                Some("cdc_specification should be a map"),
            ),
        ] {
            let read = read(&format!("custom_properties = {{{properties}}}"));
            assert_eq!(read.err().as_deref(), message, "{properties}");
        }
    }

    #[test]
    fn only_what_asks_for_what_is_not_done_is_warned_of() {
        let nothing = BTreeMap::new();
        for (properties, warned) in [
            ("'ttl': {'status': 'enabled'}", None),
            ("'client_side_timestamps': {'STATUS': 'Enabled'}", None),
            ("'point_in_time_recovery': {'status': 'disabled'}", None),
            (
                "'capacity_mode': {'throughput_mode': 'PAY_PER_REQUEST'}",
                None,
            ),
            ("'cdc_specification': {'status': 'disabled'}", None),
            ("'ttl': {'status': 'disabled'}", Some("ttl")),
            (
                "'cdc_specification': {'status': 'ENABLED', 'view_type': 'NEW_IMAGE'}, 'capacity_mode': {'throughput_mode': \
                 'PROVISIONED', 'read_capacity_units': 1}, 'client_side_timestamps': {'status': 'disabled'}",
                Some("capacity_mode, cdc_specification, client_side_timestamps"),
            ),
        ] {
            let custom = read(&format!(
                "custom_properties = {{{properties}}} AND tags = {{'a': 'b'}}"
            ))
            .unwrap();
            let warning = without_effect(&custom.properties, &nothing);
            let names = warning.as_ref().and_then(|text| text.split(": ").nth(1));
            assert_eq!(names, warned, "{properties}");
            assert_eq!(
                without_effect(&custom.properties, &custom.properties),
                None,
                "what was there before is not said again"
            );
        }
    }

    #[test]
    fn a_recovery_that_an_earlier_version_stored_as_enabled_is_forgotten() {
        let text = |text: &str| Literal::String(text.to_owned());
        let status = |status| {
            PropertyValue::Map(vec![(text("status"), PropertyValue::Literal(text(status)))])
        };
        let mut properties = BTreeMap::from([
            (POINT_IN_TIME.to_owned(), status("Enabled")),
            (TIME_TO_LIVE.to_owned(), status("enabled")),
        ]);
        forget_promises(&mut properties);
        assert_eq!(
            properties.keys().collect::<Vec<_>>(),
            [TIME_TO_LIVE],
            "what works stays"
        );
    }

    #[test]
    fn other_properties_are_kept_and_shown() {
        let custom = read(
            "custom_properties = {'capacity_mode': {'throughput_mode': 'PAY_PER_REQUEST'}, 'ttl': {'status': 'enabled'}} AND tags \
             = {'team': 'billing'} AND encryption = {'kms_key': 'local:a'}",
        )
        .unwrap();
        assert_eq!(
            describe(&custom.encryption.unwrap(), &custom.properties),
            [
                "custom_properties = {'capacity_mode': {'throughput_mode': 'PAY_PER_REQUEST'}, 'ttl': {'status': 'enabled'}}",
                "encryption = {'kms_key': 'local:a'}",
                "tags = {'team': 'billing'}",
            ]
        );
    }
}
