//! Where copies of a keyspace are: `replication = {'class': ..., ...}`, as a cluster of one node understands it.
//!
//! Strategies are kept by their full class name, and factors as they were written. More copies than nodes are accepted with a warning, as one Cassandra node does.
//!
//! ```text
//! said, and what was there before ── prepared ──► a factor for each data center ── factors ──► names ──► kept
//! ```

use std::collections::BTreeMap;

use super::hashed::{in_hash_order, of_text};
use super::properties::is_java_class;
use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.locator.";
const SIMPLE: &str = "org.apache.cassandra.locator.SimpleStrategy";
const TOPOLOGY: &str = "org.apache.cassandra.locator.NetworkTopologyStrategy";
const LOCAL: &str = "org.apache.cassandra.locator.LocalStrategy";
const OLD_TOPOLOGY: &str = "org.apache.cassandra.locator.OldNetworkTopologyStrategy";
const FACTOR: &str = "replication_factor";
/// Amazon Keyspaces' only strategy; the region is this node.
const SINGLE_REGION: &str = "SingleRegionStrategy";

type Options = BTreeMap<String, String>;

/// Checked, and complete: the class, and a factor for whatever the class counts by. What is not said stays as it was `before`, in a keyspace that is altered.
pub fn replication(
    mut options: Options,
    before: &Options,
    keyspace: &str,
    data_center: &str,
) -> CqlResult<Options> {
    let class = options
        .remove("class")
        .ok_or_else(|| CqlError::config("Missing replication strategy class"))?;
    let full = match class.contains('.') {
        true => class,
        false if class == SINGLE_REGION => SIMPLE.to_owned(),
        false => format!("{PACKAGE}{class}"),
    };
    match full.as_str() {
        SIMPLE => simple(options, before, keyspace),
        TOPOLOGY => topology(
            prepared(options, before, data_center),
            keyspace,
            data_center,
        ),
        LOCAL => Err(CqlError::invalid(
            "Unable to use given strategy class: LocalStrategy is reserved for internal use.",
        )),
        OLD_TOPOLOGY => Err(CqlError::config(
            "The support for the OldNetworkTopologyStrategy has been removed in C* version 4.0. The keyspace strategy should be switch to \
             NetworkTopologyStrategy",
        )),
        class if is_java_class(class) => Err(CqlError::config(format!(
            "Specified replication strategy class ({class}) is not derived from AbstractReplicationStrategy"
        ))),
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

fn simple(options: Options, before: &Options, keyspace: &str) -> CqlResult<Options> {
    let copies = options.get(FACTOR).or_else(|| before.get(FACTOR));
    let copies = copies.map_or("1", String::as_str);
    factor(copies)?;
    recognized(&options, FACTOR, "SimpleStrategy", keyspace)?;
    Ok(Options::from([
        ("class".into(), SIMPLE.into()),
        (FACTOR.into(), copies.into()),
    ]))
}

/// A factor for all data centers becomes one for each, where neither the statement nor the keyspace has one already.
fn prepared(mut options: Options, before: &Options, data_center: &str) -> Options {
    let said = options.remove(FACTOR);
    let is_silent = said.is_none() && options.is_empty();
    let for_all = match is_silent {
        true => Some(before.get(FACTOR).map_or("1", String::as_str).to_owned()),
        false => said,
    };
    if let Some(copies) = for_all {
        let of_data_centers = before
            .iter()
            .filter(|(name, _)| !["class", FACTOR].contains(&name.as_str()));
        for (name, copies) in of_data_centers {
            options
                .entry(name.clone())
                .or_insert_with(|| copies.clone());
        }
        // Cassandra forgets one that is no factor, and goes on without a word.
        let Ok(copies) = factor(&copies) else {
            return options;
        };
        options
            .entry(data_center.to_owned())
            .or_insert_with(|| copies.to_string());
    }
    options.retain(|_, copies| copies != "0");
    options
}

fn topology(mut options: Options, keyspace: &str, data_center: &str) -> CqlResult<Options> {
    for name in in_hash_order(options.keys(), |name| of_text(name)) {
        if name.eq_ignore_ascii_case(FACTOR) {
            return Err(CqlError::config(format!(
                "{FACTOR} should not appear as an option at construction time for NetworkTopologyStrategy"
            )));
        }
        factor(&options[name])?;
    }
    if options.is_empty() {
        return Err(CqlError::config(
            "Configuration for at least one datacenter must be present",
        ));
    }
    recognized(&options, data_center, "NetworkTopologyStrategy", keyspace)?;
    options.insert("class".into(), TOPOLOGY.into());
    Ok(options)
}

fn recognized(options: &Options, known: &str, strategy: &str, keyspace: &str) -> CqlResult<()> {
    let names = in_hash_order(options.keys(), |name| of_text(name));
    match names.into_iter().find(|name| *name != known) {
        None => Ok(()),
        Some(unknown) => Err(CqlError::config(format!(
            "Unrecognized strategy option {{{unknown}}} passed to {strategy} for keyspace {keyspace}"
        ))),
    }
}

/// `3`, or `3/0`: so many copies, and how many of them are transient, which none are here.
fn factor(text: &str) -> CqlResult<u32> {
    let (copies, transient) = match text.contains('/') {
        false => (integer(text)?, 0),
        true => {
            // Java leaves out what is empty at the end.
            let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
            let [copies, transient] = parts[..] else {
                return Err(CqlError::config(
                    "Replication factor format is <replicas> or <replicas>/<transient>",
                ));
            };
            (integer(copies)?, integer(transient)?)
        }
    };
    if transient != 0 {
        return Err(CqlError::config(
            "Transient replication is not enabled on this node",
        ));
    }
    u32::try_from(copies).map_err(|_| {
        CqlError::config(format!(
            "Replication factor must be non-negative, found {copies}"
        ))
    })
}

fn integer(text: &str) -> CqlResult<i32> {
    text.parse()
        .map_err(|_| CqlError::config(format!("For input string: \"{text}\"")))
}

/// What a client is told about more copies than there are nodes.
pub fn warning(options: &Options, keyspace: &str) -> Option<String> {
    let copies = copies(options)?;
    if copies <= 1 {
        return None;
    }
    let place = options
        .keys()
        .find(|name| !["class", FACTOR].contains(&name.as_str()))
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
        .and_then(|(_, copies)| factor(copies).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(entries: &[(&str, &str)]) -> Options {
        entries
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn read(entries: &[(&str, &str)]) -> Result<String, String> {
        altered(entries, &[])
    }

    fn altered(entries: &[(&str, &str)], before: &[(&str, &str)]) -> Result<String, String> {
        replication(options(entries), &options(before), "ks", "datacenter1")
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
            (
                vec![("class", "NetworkTopologyStrategy"), (FACTOR, "x")],
                "Configuration for at least one datacenter must be present",
            ),
            (
                vec![("class", "NetworkTopologyStrategy"), ("nodc", "x")],
                "For input string: \"x\"",
            ),
            (
                vec![
                    ("class", "NetworkTopologyStrategy"),
                    ("Replication_Factor", "1"),
                ],
                "replication_factor should not appear as an option at construction time for NetworkTopologyStrategy",
            ),
            (
                vec![("class", "SimpleStrategy"), (FACTOR, "3/1")],
                "Transient replication is not enabled on this node",
            ),
            (
                vec![("class", "SimpleStrategy"), (FACTOR, "1/")],
                "Replication factor format is <replicas> or <replicas>/<transient>",
            ),
            (
                vec![("class", "java.lang.String")],
                "Specified replication strategy class (java.lang.String) is not derived from AbstractReplicationStrategy",
            ),
        ] {
            assert_eq!(read(&entries).unwrap_err(), message);
        }
    }

    #[test]
    fn an_altered_keyspace_keeps_what_is_not_said() {
        let simple = |copies: &str| {
            format!(
                r#"{{"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "{copies}"}}"#
            )
        };
        let topology = |copies: &str| {
            format!(
                r#"{{"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "datacenter1": "{copies}"}}"#
            )
        };
        let to_simple = ("class", "SimpleStrategy");
        let to_topology = ("class", "NetworkTopologyStrategy");
        let was_simple = [("class", SIMPLE), (FACTOR, "2")];
        let was_topology = [("class", TOPOLOGY), ("datacenter1", "2")];
        for (entries, before, stored) in [
            (vec![to_topology], was_topology, topology("2")),
            (
                vec![to_topology, (FACTOR, "3")],
                was_topology,
                topology("2"),
            ),
            (
                vec![to_topology, (FACTOR, "x")],
                was_topology,
                topology("2"),
            ),
            (
                vec![to_topology, ("datacenter1", "3")],
                was_topology,
                topology("3"),
            ),
            (vec![to_simple], was_topology, simple("1")),
            (vec![to_simple], was_simple, simple("2")),
            (vec![to_topology], was_simple, topology("2")),
            (vec![to_topology, (FACTOR, "3")], was_simple, topology("3")),
        ] {
            assert_eq!(altered(&entries, &before), Ok(stored));
        }
    }
}
