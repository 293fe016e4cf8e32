//! Where copies of a keyspace are: `replication = {'class': ..., ...}`, as a cluster of one node understands it.
//!
//! Strategies are kept by their full class name. More copies than nodes are accepted with a warning, as one Cassandra node does.

use std::collections::BTreeMap;

use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.locator.";
const SIMPLE: &str = "org.apache.cassandra.locator.SimpleStrategy";
const TOPOLOGY: &str = "org.apache.cassandra.locator.NetworkTopologyStrategy";
const LOCAL: &str = "org.apache.cassandra.locator.LocalStrategy";
/// Amazon Keyspaces' only strategy; the region is this node.
const SINGLE_REGION: &str = "SingleRegionStrategy";

type Options = BTreeMap<String, String>;

/// Checked, and complete: the class, and a factor for whatever the class counts by.
pub fn replication(mut options: Options, keyspace: &str, data_center: &str) -> CqlResult<Options> {
    let class = options
        .remove("class")
        .ok_or_else(|| CqlError::config("Missing replication strategy class"))?;
    let full = match class.contains('.') {
        true => class,
        false if class == SINGLE_REGION => SIMPLE.to_owned(),
        false => format!("{PACKAGE}{class}"),
    };
    match full.as_str() {
        SIMPLE => simple(options, keyspace),
        TOPOLOGY => topology(options, keyspace, data_center),
        LOCAL => Err(CqlError::invalid(
            "Unable to use given strategy class: LocalStrategy is reserved for internal use.",
        )),
        _ => Err(CqlError::config(format!(
            "Unable to find replication strategy class '{full}'"
        ))),
    }
}

/// What a Cassandra says of a system keyspace: some it would keep on several nodes, the others stay where they are.
pub fn of_system(keyspace: &str) -> Options {
    let copies = match keyspace {
        "system_auth" => 1,
        "system_traces" => 2,
        "system_distributed" => 3,
        _ => return Options::from([("class".into(), LOCAL.into())]),
    };
    Options::from([
        ("class".into(), SIMPLE.into()),
        ("replication_factor".into(), copies.to_string()),
    ])
}

fn simple(options: Options, keyspace: &str) -> CqlResult<Options> {
    recognized(&options, "replication_factor", "SimpleStrategy", keyspace)?;
    let copies = factor(
        options
            .get("replication_factor")
            .map_or("1", String::as_str),
    )?;
    Ok(Options::from([
        ("class".into(), SIMPLE.into()),
        ("replication_factor".into(), copies.to_string()),
    ]))
}

fn topology(mut options: Options, keyspace: &str, data_center: &str) -> CqlResult<Options> {
    let default = options
        .remove("replication_factor")
        .unwrap_or_else(|| "1".into());
    recognized(&options, data_center, "NetworkTopologyStrategy", keyspace)?;
    let copies = factor(options.get(data_center).unwrap_or(&default))?;
    if copies == 0 {
        return Err(CqlError::config(
            "Configuration for at least one datacenter must be present",
        ));
    }
    Ok(Options::from([
        ("class".into(), TOPOLOGY.into()),
        (data_center.into(), copies.to_string()),
    ]))
}

fn recognized(options: &Options, known: &str, strategy: &str, keyspace: &str) -> CqlResult<()> {
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|name| *name != known)
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(CqlError::config(format!(
            "Unrecognized strategy option {{{}}} passed to {strategy} for keyspace {keyspace}",
            unknown.join(", ")
        ))),
    }
}

fn factor(text: &str) -> CqlResult<u32> {
    let copies: i32 = text
        .parse()
        .map_err(|_| CqlError::config(format!("For input string: \"{text}\"")))?;
    u32::try_from(copies).map_err(|_| {
        CqlError::config(format!(
            "Replication factor must be non-negative, found {copies}"
        ))
    })
}

/// What a client is told about more copies than there are nodes.
pub fn warning(options: &Options, keyspace: &str) -> Option<String> {
    let copies = copies(options)?;
    if copies <= 1 {
        return None;
    }
    let place = options
        .keys()
        .find(|name| !["class", "replication_factor"].contains(&name.as_str()))
        .map_or_else(String::new, |data_center| {
            format!(" for datacenter {data_center}")
        });
    Some(format!(
        "Your replication factor {copies} for keyspace {keyspace} is higher than the number of nodes 1{place}"
    ))
}

/// How many copies there are to be.
pub fn copies(options: &Options) -> Option<u32> {
    options
        .iter()
        .find(|(name, _)| *name != "class")
        .and_then(|(_, copies)| copies.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<String, String> {
        let options = entries
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        replication(options, "ks", "datacenter1")
            .map(|options| format!("{options:?}"))
            .map_err(|error| error.message)
    }

    #[test]
    fn strategies_are_kept_by_their_full_name() {
        let simple = r#"{"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"}"#;
        let topology = r#"{"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "datacenter1": "1"}"#;
        for (entries, stored) in [
            (vec![("class", "SimpleStrategy")], simple),
            (vec![("class", SIMPLE), ("replication_factor", "1")], simple),
            (vec![("class", "SingleRegionStrategy")], simple),
            (vec![("class", "NetworkTopologyStrategy")], topology),
            (
                vec![
                    ("class", "NetworkTopologyStrategy"),
                    ("replication_factor", "1"),
                ],
                topology,
            ),
            (
                vec![("class", "NetworkTopologyStrategy"), ("datacenter1", "1")],
                topology,
            ),
        ] {
            assert_eq!(read(&entries).as_deref(), Ok(stored));
        }
    }

    #[test]
    fn wrong_replication_is_refused_in_cassandras_words() {
        for (entries, message) in [
            (vec![], "Missing replication strategy class"),
            (
                vec![("class", "Nope")],
                "Unable to find replication strategy class 'org.apache.cassandra.locator.Nope'",
            ),
            (
                vec![("class", "LocalStrategy")],
                "Unable to use given strategy class: LocalStrategy is reserved for internal use.",
            ),
            (
                vec![("class", "SimpleStrategy"), ("replication_factor", "x")],
                "For input string: \"x\"",
            ),
            (
                vec![("class", "SimpleStrategy"), ("replication_factor", "-1")],
                "Replication factor must be non-negative, found -1",
            ),
            (
                vec![
                    ("class", "SimpleStrategy"),
                    ("replication_factor", "1"),
                    ("foo", "2"),
                ],
                "Unrecognized strategy option {foo} passed to SimpleStrategy for keyspace ks",
            ),
            (
                vec![("class", "NetworkTopologyStrategy"), ("nodc", "1")],
                "Unrecognized strategy option {nodc} passed to NetworkTopologyStrategy for keyspace ks",
            ),
            (
                vec![("class", "NetworkTopologyStrategy"), ("datacenter1", "0")],
                "Configuration for at least one datacenter must be present",
            ),
        ] {
            assert_eq!(read(&entries).unwrap_err(), message);
        }
    }
}
