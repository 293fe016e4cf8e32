//! Who the key services are told subscribes: `aws:cassandra:subscriberId` in every call about a table.
//!
//! It is part of what each table's key was encrypted under, so it is one for the folder's life: written down at the first start (`records`: name "subscriber",
//! value the text), whatever the setting `subscriber_id` says later. A setting that says something else is refused, because under it no table would ever open again;
//! one that is left out means what was written down.

use bytes::Bytes;
use palladium_storage::LocalBackend;
use palladium_storage::verify::TableReader;

use crate::Engine;
use crate::config::Config;
use crate::records;
use crate::service_key::ServiceKey;

const RECORDS: &str = "records";
const SUBSCRIBER: &[u8] = b"subscriber";

/// The subscriber of this folder; written down if it never was. The schema's table must be open.
pub async fn fix(engine: &Engine, config: &Config, service: &ServiceKey) -> Result<String, String> {
    let unreadable = |error: palladium_storage::Error| {
        format!("the record of the subscriber cannot be read: {error}")
    };
    let records = records::read(engine, RECORDS).await.map_err(unreadable)?;
    if let Some(recorded) = recorded(&records)? {
        return checked(config, recorded);
    }
    let subscriber = named(config, service);
    let record = (SUBSCRIBER.to_vec(), Some(subscriber.clone().into_bytes()));
    records::write(engine, RECORDS, vec![record])
        .await
        .map_err(|error| format!("the subscriber cannot be written down: {error}"))?;
    Ok(subscriber)
}

/// The same in a folder that is only looked at.
pub async fn of_folder(
    reader: &TableReader,
    backend: &LocalBackend,
    config: &Config,
    service: &ServiceKey,
) -> Result<String, String> {
    let records = records::read_looking(reader, backend, RECORDS)
        .await
        .map_err(|error| error.to_string())?;
    match recorded(&records)? {
        Some(recorded) => checked(config, recorded),
        None => Ok(named(config, service)),
    }
}

fn recorded(records: &[(Bytes, Bytes)]) -> Result<Option<String>, String> {
    let record = records.iter().find(|(name, _)| name == SUBSCRIBER);
    record
        .map(|(_, value)| {
            String::from_utf8(value.to_vec())
                .map_err(|_| "the record of the subscriber is no text".to_owned())
        })
        .transpose()
}

fn checked(config: &Config, recorded: String) -> Result<String, String> {
    let set = &config.subscriber_id;
    match set.is_empty() || *set == recorded {
        true => Ok(recorded),
        false => Err(format!(
            "subscriber_id is \"{set}\", and this data folder was begun with \"{recorded}\": its tables' keys can be had under that name only; leave the setting out, or set it back"
        )),
    }
}

/// What the setting says, or the cluster's id.
fn named(config: &Config, service: &ServiceKey) -> String {
    match config.subscriber_id.as_str() {
        "" => service.cluster.to_string(),
        id => id.to_owned(),
    }
}
