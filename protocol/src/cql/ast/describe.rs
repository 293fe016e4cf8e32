//! DESCRIBE, as cqlsh sends it to the server.

use super::{Name, QualifiedName};

#[derive(Debug, Clone, PartialEq)]
pub struct Describe {
    pub target: DescribeTarget,
    /// `WITH INTERNALS`
    pub internals: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DescribeTarget {
    Cluster,
    /// `[FULL] SCHEMA`
    Schema {
        full: bool,
    },
    Keyspaces,
    /// `[ONLY] KEYSPACE [ks]`; without a name, the keyspace of the session.
    Keyspace {
        only: bool,
        keyspace: Option<Name>,
    },
    Tables,
    Table(QualifiedName),
    Index(QualifiedName),
    View(QualifiedName),
    Types,
    Type(QualifiedName),
    Functions,
    Function(QualifiedName),
    Aggregates,
    Aggregate(QualifiedName),
    /// A bare name: a keyspace, else a table, else an index, else a view.
    Any(QualifiedName),
}
