//! EVENT, and the schema change it shares with RESULT.
//!
//! ```text
//! | "TOPOLOGY_CHANGE" [string] | "NEW_NODE" | "REMOVED_NODE" | "MOVED_NODE" [string] | node [inet] |
//! | "STATUS_CHANGE" [string]   | "UP" | "DOWN" [string]                              | node [inet] |
//! | "SCHEMA_CHANGE" [string]   | change [string] | target [string] | keyspace [string] | name [string] | arguments [string list] |
//! ```
//!
//! A keyspace has no name after it; only functions and aggregates have arguments. Version 3 knows neither of these two: it is
//! told that their keyspace was updated.

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::request::EventType;
use crate::wire::Version;
use crate::wire::primitive::{put_inet, put_string, put_string_list};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    NewNode(SocketAddr),
    RemovedNode(SocketAddr),
    MovedNode(SocketAddr),
    Up(SocketAddr),
    Down(SocketAddr),
    SchemaChange(SchemaChange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    pub change: Change,
    pub keyspace: String,
    pub target: SchemaTarget,
}

/// What in the keyspace has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaTarget {
    Keyspace,
    Table(String),
    Type(String),
    Function {
        name: String,
        arguments: Vec<String>,
    },
    Aggregate {
        name: String,
        arguments: Vec<String>,
    },
}

impl Event {
    /// What a client has to register for to hear of it.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::NewNode(_) | Self::RemovedNode(_) | Self::MovedNode(_) => {
                EventType::TopologyChange
            }
            Self::Up(_) | Self::Down(_) => EventType::StatusChange,
            Self::SchemaChange(_) => EventType::SchemaChange,
        }
    }

    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        put_string(out, self.event_type().name());
        let (change, node) = match self {
            Self::NewNode(node) => ("NEW_NODE", node),
            Self::RemovedNode(node) => ("REMOVED_NODE", node),
            Self::MovedNode(node) => ("MOVED_NODE", node),
            Self::Up(node) => ("UP", node),
            Self::Down(node) => ("DOWN", node),
            Self::SchemaChange(change) => return change.encode(version, out),
        };
        put_string(out, change);
        put_inet(out, *node);
    }
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Dropped => "DROPPED",
        }
    }
}

impl SchemaChange {
    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        let (change, target, name, arguments) = match &self.target {
            SchemaTarget::Keyspace => (self.change, "KEYSPACE", None, None),
            SchemaTarget::Table(name) => (self.change, "TABLE", Some(name), None),
            SchemaTarget::Type(name) => (self.change, "TYPE", Some(name), None),
            SchemaTarget::Function { .. } | SchemaTarget::Aggregate { .. }
                if version < Version::V4 =>
            {
                (Change::Updated, "KEYSPACE", None, None)
            }
            SchemaTarget::Function { name, arguments } => {
                (self.change, "FUNCTION", Some(name), Some(arguments))
            }
            SchemaTarget::Aggregate { name, arguments } => {
                (self.change, "AGGREGATE", Some(name), Some(arguments))
            }
        };
        put_string(out, change.name());
        put_string(out, target);
        put_string(out, &self.keyspace);
        if let Some(name) = name {
            put_string(out, name);
        }
        if let Some(arguments) = arguments {
            put_string_list(out, arguments);
        }
    }
}
