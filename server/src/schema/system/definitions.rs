//! The system tables as CQL, read once when the program starts.
//!
//! Columns, comments and options are Cassandra 5.0's, because drivers read them with SELECT * and by name; tables whose subject
//! does not exist here are there and empty. `system_schema_mcs` is Amazon Keyspaces', `system_palladium` ours. No table in
//! here may have "scylla" in its name: clients take that for another server.

use std::sync::{Arc, LazyLock};

use md5::{Digest, Md5};
use palladium_crypto::TableId;
use palladium_protocol::cql::{self, ast::Statement};

use super::super::change::table_of;
use super::super::{Catalog, Keyspace, KeyspaceKind, TableKind, TableSchema, replication};

/// A keyspace of ours: its name, its kind, options that all its tables share, its tables.
type Described = (
    &'static str,
    KeyspaceKind,
    &'static str,
    &'static [&'static str],
);

const SYSTEM: Described = (
    "system",
    KeyspaceKind::System,
    " AND gc_grace_seconds = 0 AND memtable_flush_period_in_ms = 3600000",
    &[
        "CREATE TABLE \"IndexInfo\" (table_name text, index_name text, value blob, PRIMARY KEY (table_name, index_name)) WITH \
         comment = 'built column indexes'",
        "CREATE TABLE available_ranges (keyspace_name text PRIMARY KEY, ranges set<blob>) WITH comment = 'available keyspace/ranges \
         during bootstrap/replace that are ready to be served'",
        "CREATE TABLE available_ranges_v2 (keyspace_name text PRIMARY KEY, full_ranges set<blob>, transient_ranges set<blob>) WITH \
         comment = 'available keyspace/ranges during bootstrap/replace that are ready to be served'",
        "CREATE TABLE batches (id timeuuid PRIMARY KEY, mutations list<blob>, version int) WITH comment = 'batches awaiting replay' AND \
         compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2}",
        "CREATE TABLE built_views (keyspace_name text, view_name text, status_replicated boolean, PRIMARY KEY (keyspace_name, \
         view_name)) WITH comment = 'built views'",
        "CREATE TABLE compaction_history (id timeuuid PRIMARY KEY, bytes_in bigint, bytes_out bigint, columnfamily_name text, \
         compacted_at timestamp, compaction_properties frozen<map<text, text>>, keyspace_name text, rows_merged map<int, bigint>) \
         WITH comment = 'week-long compaction history' AND default_time_to_live = 604800",
        "CREATE TABLE local (key text PRIMARY KEY, bootstrapped text, broadcast_address inet, broadcast_port int, cluster_name text, \
         cql_version text, data_center text, gossip_generation int, host_id uuid, listen_address inet, listen_port int, \
         native_protocol_version text, partitioner text, rack text, release_version text, rpc_address inet, rpc_port int, \
         schema_version uuid, tokens set<text>, truncated_at map<uuid, blob>) WITH comment = 'information about the local node'",
        "CREATE TABLE paxos (row_key blob, cf_id uuid, in_progress_ballot timeuuid, in_progress_read_ballot timeuuid, \
         most_recent_commit blob, most_recent_commit_at timeuuid, most_recent_commit_version int, proposal blob, proposal_ballot \
         timeuuid, proposal_version int, PRIMARY KEY (row_key, cf_id)) WITH comment = 'in-progress paxos proposals' AND compaction \
         = {'class': 'LeveledCompactionStrategy'} AND bloom_filter_fp_chance = 0.01",
        "CREATE TABLE paxos_repair_history (keyspace_name text, table_name text, points frozen<list<tuple<blob, timeuuid>>>, PRIMARY \
         KEY (keyspace_name, table_name)) WITH comment = 'paxos repair history'",
        "CREATE TABLE peer_events (peer inet PRIMARY KEY, hints_dropped map<timeuuid, int>) WITH comment = 'events related to peers'",
        "CREATE TABLE peer_events_v2 (peer inet, peer_port int, hints_dropped map<timeuuid, int>, PRIMARY KEY (peer, peer_port)) WITH \
         comment = 'events related to peers'",
        "CREATE TABLE peers (peer inet PRIMARY KEY, data_center text, host_id uuid, preferred_ip inet, rack text, release_version \
         text, rpc_address inet, schema_version uuid, tokens set<text>) WITH comment = 'information about known peers in the cluster'",
        "CREATE TABLE peers_v2 (peer inet, peer_port int, data_center text, host_id uuid, native_address inet, native_port int, \
         preferred_ip inet, preferred_port int, rack text, release_version text, schema_version uuid, tokens set<text>, PRIMARY KEY \
         (peer, peer_port)) WITH comment = 'information about known peers in the cluster'",
        "CREATE TABLE prepared_statements (prepared_id blob PRIMARY KEY, logged_keyspace text, query_string text) WITH comment = \
         'prepared statements'",
        "CREATE TABLE repairs (parent_id timeuuid PRIMARY KEY, cfids set<uuid>, coordinator inet, coordinator_port int, last_update \
         timestamp, participants set<inet>, participants_wp set<text>, ranges set<blob>, repaired_at timestamp, started_at timestamp, \
         state int) WITH comment = 'repairs'",
        "CREATE TABLE size_estimates (keyspace_name text, table_name text, range_start text, range_end text, mean_partition_size \
         bigint, partitions_count bigint, PRIMARY KEY (keyspace_name, table_name, range_start, range_end)) WITH comment = 'per-table \
         primary range size estimates, table is deprecated in favor of table_estimates'",
        "CREATE TABLE sstable_activity (keyspace_name text, columnfamily_name text, generation int, rate_120m double, rate_15m double, \
         PRIMARY KEY ((keyspace_name, columnfamily_name, generation))) WITH comment = 'historic sstable read rates'",
        "CREATE TABLE sstable_activity_v2 (keyspace_name text, table_name text, id text, rate_120m double, rate_15m double, PRIMARY \
         KEY ((keyspace_name, table_name, id))) WITH comment = 'historic sstable read rates'",
        "CREATE TABLE table_estimates (keyspace_name text, table_name text, range_type text, range_start text, range_end text, \
         mean_partition_size bigint, partitions_count bigint, PRIMARY KEY (keyspace_name, table_name, range_type, range_start, \
         range_end)) WITH comment = 'per-table range size estimates'",
        "CREATE TABLE top_partitions (keyspace_name text, table_name text, top_type text, last_update timestamp, top \
         frozen<list<tuple<text, bigint>>>, PRIMARY KEY (keyspace_name, table_name, top_type)) WITH comment = 'Stores the top \
         partitions'",
        "CREATE TABLE transferred_ranges (operation text, keyspace_name text, peer inet, ranges set<blob>, PRIMARY KEY ((operation, \
         keyspace_name), peer)) WITH comment = 'record of transferred ranges for streaming operation'",
        "CREATE TABLE transferred_ranges_v2 (operation text, keyspace_name text, peer inet, peer_port int, ranges set<blob>, PRIMARY \
         KEY ((operation, keyspace_name), peer, peer_port)) WITH comment = 'record of transferred ranges for streaming operation'",
        "CREATE TABLE view_builds_in_progress (keyspace_name text, view_name text, start_token text, end_token text, keys_built bigint, \
         last_token text, PRIMARY KEY (keyspace_name, view_name, start_token, end_token)) WITH comment = 'views builds current \
         progress'",
    ],
);

const SYSTEM_SCHEMA: Described = (
    "system_schema",
    KeyspaceKind::System,
    " AND gc_grace_seconds = 604800 AND memtable_flush_period_in_ms = 3600000",
    &[
        "CREATE TABLE aggregates (keyspace_name text, aggregate_name text, argument_types frozen<list<text>>, final_func text, initcond \
         text, return_type text, state_func text, state_type text, PRIMARY KEY (keyspace_name, aggregate_name, argument_types)) WITH \
         comment = 'user defined aggregate definitions'",
        "CREATE TABLE column_masks (keyspace_name text, table_name text, column_name text, function_argument_nulls \
         frozen<list<boolean>>, function_argument_types frozen<list<text>>, function_argument_values frozen<list<text>>, \
         function_keyspace text, function_name text, PRIMARY KEY (keyspace_name, table_name, column_name)) WITH comment = 'column \
         dynamic data masks'",
        "CREATE TABLE columns (keyspace_name text, table_name text, column_name text, clustering_order text, column_name_bytes blob, \
         kind text, position int, type text, PRIMARY KEY (keyspace_name, table_name, column_name)) WITH comment = 'column \
         definitions'",
        "CREATE TABLE dropped_columns (keyspace_name text, table_name text, column_name text, dropped_time timestamp, kind text, type \
         text, PRIMARY KEY (keyspace_name, table_name, column_name)) WITH comment = 'dropped column registry'",
        "CREATE TABLE functions (keyspace_name text, function_name text, argument_types frozen<list<text>>, argument_names \
         frozen<list<text>>, body text, called_on_null_input boolean, language text, return_type text, PRIMARY KEY (keyspace_name, \
         function_name, argument_types)) WITH comment = 'user defined function definitions'",
        "CREATE TABLE indexes (keyspace_name text, table_name text, index_name text, kind text, options frozen<map<text, text>>, PRIMARY \
         KEY (keyspace_name, table_name, index_name)) WITH comment = 'secondary index definitions'",
        "CREATE TABLE keyspaces (keyspace_name text PRIMARY KEY, durable_writes boolean, replication frozen<map<text, text>>) WITH \
         comment = 'keyspace definitions'",
        "CREATE TABLE tables (keyspace_name text, table_name text, additional_write_policy text, allow_auto_snapshot boolean, \
         bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc boolean, comment text, compaction frozen<map<text, \
         text>>, compression frozen<map<text, text>>, crc_check_chance double, dclocal_read_repair_chance double, \
         default_time_to_live int, extensions frozen<map<text, blob>>, flags frozen<set<text>>, gc_grace_seconds int, id uuid, \
         incremental_backups boolean, max_index_interval int, memtable text, memtable_flush_period_in_ms int, min_index_interval int, \
         read_repair text, read_repair_chance double, speculative_retry text, PRIMARY KEY (keyspace_name, table_name)) WITH comment = \
         'table definitions'",
        "CREATE TABLE triggers (keyspace_name text, table_name text, trigger_name text, options frozen<map<text, text>>, PRIMARY KEY \
         (keyspace_name, table_name, trigger_name)) WITH comment = 'trigger definitions'",
        "CREATE TABLE types (keyspace_name text, type_name text, field_names frozen<list<text>>, field_types frozen<list<text>>, PRIMARY \
         KEY (keyspace_name, type_name)) WITH comment = 'user defined type definitions'",
        "CREATE TABLE views (keyspace_name text, view_name text, additional_write_policy text, allow_auto_snapshot boolean, \
         base_table_id uuid, base_table_name text, bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc boolean, \
         comment text, compaction frozen<map<text, text>>, compression frozen<map<text, text>>, crc_check_chance double, \
         dclocal_read_repair_chance double, default_time_to_live int, extensions frozen<map<text, blob>>, gc_grace_seconds int, id \
         uuid, include_all_columns boolean, incremental_backups boolean, max_index_interval int, memtable text, \
         memtable_flush_period_in_ms int, min_index_interval int, read_repair text, read_repair_chance double, speculative_retry text, \
         where_clause text, PRIMARY KEY (keyspace_name, view_name)) WITH comment = 'view definitions'",
    ],
);

const SYSTEM_TRACES: Described = (
    "system_traces",
    KeyspaceKind::System,
    " AND gc_grace_seconds = 0",
    &[
        "CREATE TABLE events (session_id uuid, event_id timeuuid, activity text, source inet, source_elapsed int, source_port int, \
         thread text, PRIMARY KEY (session_id, event_id)) WITH comment = 'tracing events'",
        "CREATE TABLE sessions (session_id uuid PRIMARY KEY, client inet, command text, coordinator inet, coordinator_port int, duration \
         int, parameters map<text, text>, request text, started_at timestamp) WITH comment = 'tracing sessions'",
    ],
);

const SYSTEM_DISTRIBUTED: Described = (
    "system_distributed",
    KeyspaceKind::System,
    "",
    &[
        "CREATE TABLE parent_repair_history (parent_id timeuuid PRIMARY KEY, columnfamily_names set<text>, exception_message text, \
         exception_stacktrace text, finished_at timestamp, keyspace_name text, options map<text, text>, requested_ranges set<text>, \
         started_at timestamp, successful_ranges set<text>) WITH comment = 'Repair history' AND compaction = {'class': \
         'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '1'} AND default_time_to_live \
         = 2592000",
        "CREATE TABLE partition_denylist (ks_name text, table_name text, key blob, PRIMARY KEY ((ks_name, table_name), key)) WITH comment \
         = 'Partition keys which have been denied access'",
        "CREATE TABLE repair_history (keyspace_name text, columnfamily_name text, id timeuuid, coordinator inet, coordinator_port int, \
         exception_message text, exception_stacktrace text, finished_at timestamp, parent_id timeuuid, participants set<inet>, \
         participants_v2 set<text>, range_begin text, range_end text, started_at timestamp, status text, PRIMARY KEY \
         ((keyspace_name, columnfamily_name), id)) WITH comment = 'Repair history' AND compaction = {'class': \
         'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '1'} AND default_time_to_live \
         = 2592000",
        "CREATE TABLE view_build_status (keyspace_name text, view_name text, host_id uuid, status text, PRIMARY KEY ((keyspace_name, \
         view_name), host_id)) WITH comment = 'Materialized View build status'",
    ],
);

const SYSTEM_AUTH: Described = (
    "system_auth",
    KeyspaceKind::System,
    " AND gc_grace_seconds = 7776000",
    &[
        "CREATE TABLE cidr_groups (cidr_group text PRIMARY KEY, cidrs frozen<set<frozen<tuple<inet, smallint>>>>) WITH comment = \
         'cidr groups to cidrs mapping'",
        "CREATE TABLE cidr_permissions (role text PRIMARY KEY, cidr_groups frozen<set<text>>) WITH comment = 'user cidr permissions'",
        "CREATE TABLE identity_to_role (identity text PRIMARY KEY, role text) WITH comment = 'mtls authorized identities lookup table'",
        "CREATE TABLE network_permissions (role text PRIMARY KEY, dcs frozen<set<text>>) WITH comment = 'user network permissions'",
        "CREATE TABLE resource_role_permissons_index (resource text, role text, PRIMARY KEY (resource, role)) WITH comment = 'index of \
         db roles with permissions granted on a resource'",
        "CREATE TABLE role_members (role text, member text, PRIMARY KEY (role, member)) WITH comment = 'role memberships lookup table'",
        "CREATE TABLE role_permissions (role text, resource text, permissions set<text>, PRIMARY KEY (role, resource)) WITH comment = \
         'permissions granted to db roles'",
        "CREATE TABLE roles (role text PRIMARY KEY, can_login boolean, is_superuser boolean, member_of set<text>, salted_hash text) \
         WITH comment = 'role definitions'",
    ],
);

const SYSTEM_SCHEMA_MCS: Described = (
    "system_schema_mcs",
    KeyspaceKind::System,
    " AND gc_grace_seconds = 604800",
    &[
        "CREATE TABLE keyspaces (keyspace_name text PRIMARY KEY, durable_writes boolean, replication frozen<map<text, text>>) WITH \
         comment = 'keyspace definitions'",
        "CREATE TABLE tables (keyspace_name text, table_name text, bloom_filter_fp_chance double, caching frozen<map<text, text>>, cdc \
         boolean, comment text, compaction frozen<map<text, text>>, compression frozen<map<text, text>>, crc_check_chance double, \
         custom_properties frozen<map<text, frozen<map<text, text>>>>, dclocal_read_repair_chance double, default_time_to_live int, \
         extensions frozen<map<text, blob>>, flags frozen<set<text>>, gc_grace_seconds int, id uuid, max_index_interval int, \
         memtable_flush_period_in_ms int, min_index_interval int, read_repair_chance double, speculative_retry text, status text, \
         PRIMARY KEY (keyspace_name, table_name)) WITH comment = 'table definitions'",
        "CREATE TABLE columns (keyspace_name text, table_name text, column_name text, clustering_order text, column_name_bytes blob, \
         kind text, position int, type text, PRIMARY KEY (keyspace_name, table_name, column_name)) WITH comment = 'column \
         definitions'",
        "CREATE TABLE tags (resource_id text PRIMARY KEY, keyspace_name text, resource_name text, resource_type text, tags \
         frozen<map<text, text>>) WITH comment = 'tags of keyspaces and tables'",
        "CREATE TABLE types (keyspace_name text, type_name text, field_names frozen<list<text>>, field_types frozen<list<text>>, status \
         text, PRIMARY KEY (keyspace_name, type_name)) WITH comment = 'user defined type definitions'",
    ],
);

const SYSTEM_VIRTUAL_SCHEMA: Described = (
    "system_virtual_schema",
    KeyspaceKind::Virtual,
    "",
    &[
        "CREATE TABLE columns (keyspace_name text, table_name text, column_name text, clustering_order text, column_name_bytes blob, \
         kind text, position int, type text, PRIMARY KEY (keyspace_name, table_name, column_name)) WITH comment = 'virtual column \
         definitions'",
        "CREATE TABLE keyspaces (keyspace_name text PRIMARY KEY) WITH comment = 'virtual keyspace definitions'",
        "CREATE TABLE tables (keyspace_name text, table_name text, comment text, PRIMARY KEY (keyspace_name, table_name)) WITH comment \
         = 'virtual table definitions'",
    ],
);

const SYSTEM_VIEWS: Described = (
    "system_views",
    KeyspaceKind::Virtual,
    "",
    &[
        "CREATE TABLE batch_metrics (name text PRIMARY KEY, max bigint, p50th double, p999th double, p99th double) WITH comment = \
         'Metrics specific to batch statements'",
        "CREATE TABLE caches (name text PRIMARY KEY, capacity_bytes bigint, entry_count int, hit_count bigint, hit_ratio double, \
         recent_hit_rate_per_second bigint, recent_request_rate_per_second bigint, request_count bigint, size_bytes bigint) WITH \
         comment = 'system caches'",
        "CREATE TABLE clients (address inet, port int, client_options frozen<map<text, text>>, connection_stage text, driver_name text, \
         driver_version text, hostname text, keyspace_name text, protocol_version int, request_count bigint, ssl_cipher_suite text, \
         ssl_enabled boolean, ssl_protocol text, username text, PRIMARY KEY (address, port)) WITH comment = 'currently connected \
         clients'",
        "CREATE TABLE coordinator_read_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE coordinator_scan_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE coordinator_write_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE cql_metrics (name text PRIMARY KEY, value double) WITH comment = 'Metrics specific to CQL prepared statement \
         caching'",
        "CREATE TABLE disk_usage (keyspace_name text, table_name text, mebibytes bigint, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE local_read_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE local_scan_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE local_write_latency (keyspace_name text, table_name text, count bigint, max_ms double, p50th_ms double, p99th_ms double, \
         per_second double, PRIMARY KEY ((keyspace_name, table_name)))",
        "CREATE TABLE max_sstable_size (keyspace_name text, table_name text, mebibytes bigint, PRIMARY KEY ((keyspace_name, \
         table_name)))",
        "CREATE TABLE rows_per_read (keyspace_name text, table_name text, count bigint, max double, p50th double, p99th double, PRIMARY KEY \
         ((keyspace_name, table_name)))",
        "CREATE TABLE sai_column_indexes (keyspace_name text, index_name text, analyzer text, column_name text, is_building boolean, \
         is_queryable boolean, is_string boolean, table_name text, PRIMARY KEY (keyspace_name, index_name)) WITH comment = \
         'Storage-attached column index metadata'",
        "CREATE TABLE settings (name text PRIMARY KEY, value text) WITH comment = 'current settings'",
        "CREATE TABLE snapshots (name text, keyspace_name text, table_name text, created_at timestamp, ephemeral boolean, expires_at \
         timestamp, size_on_disk bigint, true_size bigint, PRIMARY KEY (name, keyspace_name, table_name)) WITH comment = 'available \
         snapshots'",
        "CREATE TABLE sstable_tasks (keyspace_name text, table_name text, task_id timeuuid, completion_ratio double, kind text, progress \
         bigint, sstables int, target_directory text, total bigint, unit text, PRIMARY KEY (keyspace_name, table_name, task_id)) WITH \
         comment = 'current sstable tasks'",
        "CREATE TABLE thread_pools (name text PRIMARY KEY, active_tasks int, active_tasks_limit int, blocked_tasks bigint, \
         blocked_tasks_all_time bigint, completed_tasks bigint, pending_tasks int)",
        "CREATE TABLE tombstones_per_read (keyspace_name text, table_name text, count bigint, max double, p50th double, p99th double, PRIMARY KEY \
         ((keyspace_name, table_name)))",
    ],
);

const SYSTEM_PALLADIUM: Described = (
    "system_palladium",
    KeyspaceKind::Virtual,
    "",
    &[
        "CREATE TABLE tables (keyspace_name text, table_name text, encryption_status text, id uuid, inaccessible_since timestamp, kms_key \
         text, reason text, sstables_to_rewrite bigint, sstables_unreadable bigint, status text, structures_to_wrap bigint, PRIMARY KEY (keyspace_name, table_name)) WITH comment = 'which key protects each table, and whether it can \
         be used'",
        "CREATE TABLE table_keys (keyspace_name text, table_name text, version int, created timestamp, fingerprint blob, is_current \
         boolean, kms_key text, last_confirmed timestamp, lease_until timestamp, retired timestamp, wrapped_by text, PRIMARY KEY \
         (keyspace_name, table_name, version)) WITH comment = 'the versions of each table key, and what wraps those that data is still \
         under'",
        "CREATE TABLE key_services (provider text PRIMARY KEY, calls bigint, denied bigint, in_flight int, last_answer timestamp, last_error text, \
         latency_p50_us bigint, latency_p99_us bigint, reachable boolean, throttled bigint, unanswered bigint, waiting int) WITH \
         comment = 'how each key service fares since the start'",
        "CREATE TABLE grants (keyspace_name text, table_name text, key text, purpose text, grant_id text, created timestamp, \
         retire_after timestamp, PRIMARY KEY (keyspace_name, table_name, key, purpose, grant_id)) WITH comment = 'the grants that \
         this server has made, and when those that no table needs are retired'",
        "CREATE TABLE kms_calls (day date, sequence bigint, client text, context frozen<map<text, text>>, hash blob, key text, \
         keyspace_name text, latency_us bigint, operation text, outcome text, reason text, request_id text, table_name text, time \
         timestamp, who text, PRIMARY KEY (day, sequence)) WITH CLUSTERING ORDER BY (sequence DESC) AND comment = 'what happened to \
         the keys, newest first, by the day on which it was written down'",
        "CREATE TABLE shred_certificates (id uuid PRIMARY KEY, certificate text, destroyed_at timestamp, epoch bigint, fingerprints \
         frozen<map<text, text>>, keyspace_name text, kms_key text, made_after_crash boolean, structures bigint, table_name text) WITH \
         comment = 'tables that were destroyed, each with the signed proof'",
        "CREATE TABLE caches (name text PRIMARY KEY, bytes bigint, bytes_max bigint, evicted bigint, \
         hits bigint, items bigint, items_max bigint, misses bigint) WITH comment = 'what is kept in memory because it may be asked for again'",
        "CREATE TABLE leases (keyspace_name text, table_name text, kms_key text, last_confirmed timestamp, lease_until timestamp, reason \
         text, since timestamp, state text, PRIMARY KEY (keyspace_name, table_name)) WITH comment = 'until when the key of each table \
         may be used'",
        "CREATE TABLE log (keyspace_name text, table_name text, bytes bigint, first_segment bigint, groups bigint, last_segment bigint, \
         PRIMARY KEY (keyspace_name, table_name)) WITH comment = 'what the log still holds of each table'",
        "CREATE TABLE memory (holder text PRIMARY KEY, bytes bigint, bytes_max bigint) WITH comment = 'who holds the memory of the process, and \
         what each may hold'",
        "CREATE TABLE memtables (keyspace_name text, table_name text, bytes bigint, is_open boolean, memtables_frozen int, sstables int, PRIMARY \
         KEY (keyspace_name, table_name)) WITH comment = 'what each table holds in memory that is not in an SSTable yet'",
        "CREATE TABLE slow_queries (number bigint PRIMARY KEY, answered_at timestamp, client inet, duration_us bigint, failed boolean, \
         keyspace_name text, operation text, query text, requests int, rows_read bigint, table_name text, tombstones_read bigint, \
         username text) WITH comment = 'the newest requests that took longer than slow_query_timeout_ms'",
        "CREATE TABLE structures (keyspace_name text, table_name text, structure text, bytes bigint, created timestamp, key_version int, \
         kind text, log_segment bigint, sstable bigint, PRIMARY KEY ((keyspace_name, table_name), structure)) WITH comment = 'what each \
         table has on the disk, and under which version of its key'",
        "CREATE TABLE maintenance (operation text, keyspace_name text, table_name text, PRIMARY KEY (operation, keyspace_name, \
         table_name)) WITH comment = 'INSERT a flush or compact, of one table or of all, to have it done'",
    ],
);

/// All of them, made once: prepared statements know a table by its address.
static KEYSPACES: LazyLock<Vec<Arc<Keyspace>>> = LazyLock::new(|| {
    [
        SYSTEM,
        SYSTEM_SCHEMA,
        SYSTEM_TRACES,
        SYSTEM_DISTRIBUTED,
        SYSTEM_AUTH,
        SYSTEM_SCHEMA_MCS,
        SYSTEM_VIRTUAL_SCHEMA,
        SYSTEM_VIEWS,
        SYSTEM_PALLADIUM,
    ]
    .into_iter()
    .map(|described| Arc::new(keyspace(described)))
    .collect()
});

/// The system keyspaces.
pub fn keyspaces() -> &'static [Arc<Keyspace>] {
    &KEYSPACES
}

fn keyspace((name, kind, options, tables): Described) -> Keyspace {
    let mut keyspace = Keyspace::new(name, kind);
    keyspace.replication = replication::of_system(name);
    for text in tables {
        let table = table(name, &format!("{text}{options}"));
        keyspace.tables.insert(table.name.clone(), Arc::new(table));
    }
    keyspace
}

fn table(keyspace: &str, text: &str) -> TableSchema {
    let Ok(Statement::CreateTable(create)) = cql::parse(text) else {
        unreachable!("a definition in this file is a CREATE TABLE: {text}");
    };
    let id = table_id(keyspace, create.table.name.as_str());
    let table = table_of(&Catalog::default(), keyspace, &create, id, None)
        .expect("a definition in this file is right");
    let mut definition = table.definition();
    definition.kind = TableKind::Virtual;
    TableSchema::new(definition)
}

/// As Cassandra draws the ids of its system tables: from their names, as a version 3 UUID.
fn table_id(keyspace: &str, table: &str) -> TableId {
    let mut digest = Md5::new();
    digest.update(keyspace);
    digest.update(table);
    let mut id: [u8; 16] = digest.finalize().into();
    id[6] = id[6] & 0x0f | 0x30;
    id[8] = id[8] & 0x3f | 0x80;
    TableId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_tables_have_cassandras_ids() {
        for (keyspace, table, id) in [
            ("system", "local", "7ad54392-bcdd-35a6-8417-4e047860b377"),
            ("system", "peers_v2", "c4325fbb-8e5e-3baf-bd07-0f9250ed818e"),
            (
                "system_schema",
                "tables",
                "afddfb9d-bc1e-3068-8056-eed6c302ba09",
            ),
        ] {
            assert_eq!(table_id(keyspace, table).to_string(), id);
        }
    }

    #[test]
    fn no_system_table_is_taken_for_another_servers() {
        for keyspace in keyspaces() {
            for (name, table) in &keyspace.tables {
                assert!(!name.contains("scylla"));
                assert_eq!(table.kind, TableKind::Virtual);
            }
        }
    }

    #[test]
    fn select_all_of_local_names_cassandras_columns_in_its_order() {
        let system = &keyspaces()[0];
        let names: Vec<&str> = system.tables["local"]
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(
            names.join(" "),
            "key bootstrapped broadcast_address broadcast_port cluster_name cql_version data_center gossip_generation host_id \
             listen_address listen_port native_protocol_version partitioner rack release_version rpc_address rpc_port schema_version \
             tokens truncated_at"
        );
    }
}
