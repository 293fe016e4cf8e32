//! This server as drivers see it.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use palladium_protocol::types::CqlValue;

use super::super::Catalog;
use super::rows::{Rows, int, text, text_set};
use crate::database::Database;
use crate::error::CqlResult;

/// What drivers choose their parsers by: the Cassandra whose behaviour this is.
pub const RELEASE_VERSION: &str = "5.0.0";
pub const CQL_VERSION: &str = "3.4.7";
pub const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";
/// Where this node stands on the ring. It owns all of it.
const TOKEN: &str = "0";
/// Cassandra's port between nodes; nobody listens on it.
const NODE_PORT: i32 = 7000;

/// When this process began, in seconds; Cassandra's generation of a node.
static GENERATION: LazyLock<i32> = LazyLock::new(|| {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i32::try_from(since.as_secs()).unwrap_or(i32::MAX)
});

/// `system.local`
pub fn local(database: &Database, catalog: &Catalog, rows: &mut Rows<'_>) -> CqlResult<()> {
    let config = &database.config;
    let address = Some(CqlValue::Inet(config.listen.ip()));
    rows.add(vec![
        ("key", text("local")),
        ("bootstrapped", text("COMPLETED")),
        ("broadcast_address", address.clone()),
        ("broadcast_port", int(NODE_PORT)),
        ("cluster_name", text(&config.cluster_name)),
        ("cql_version", text(CQL_VERSION)),
        ("data_center", text(&config.data_center)),
        ("gossip_generation", int(*GENERATION)),
        ("host_id", Some(CqlValue::Uuid(database.host_id))),
        ("listen_address", address.clone()),
        ("listen_port", int(NODE_PORT)),
        ("native_protocol_version", text("5")),
        ("partitioner", text(PARTITIONER)),
        ("rack", text(&config.rack)),
        ("release_version", text(RELEASE_VERSION)),
        ("rpc_address", address),
        ("rpc_port", int(i32::from(config.listen.port()))),
        ("schema_version", Some(CqlValue::Uuid(catalog.version()))),
        ("tokens", text_set([TOKEN.to_owned()])),
    ])
}
