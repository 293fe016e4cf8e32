//! The guardrails, a line each: name, default, words. The names of the settings follow from it: `NAME_warn_threshold`, `NAME_fail_threshold`.
//!
//! `{what}`, `{value}`, `{threshold}` and `{kind}` (`warning` or `failure`) stand for what a statement brings along.

use super::Bounds;

/// What a threshold counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    /// In settings with a unit, `5KiB`, or as a number.
    Bytes,
    /// From now on, or back from now; in settings with a unit, `1d`.
    Micros,
}

/// A threshold.
pub struct LimitLine {
    pub name: &'static str,
    pub unit: Unit,
    pub default: Bounds,
    pub is_minimum: bool,
    pub warned: &'static str,
    pub failed: &'static str,
    pub reason: Option<&'static str>,
}

/// A feature that can be switched off, or on.
pub struct FlagLine {
    /// As cassandra.yaml has it.
    pub setting: &'static str,
    /// As messages have it.
    pub name: &'static str,
    pub default: bool,
    pub feature: &'static str,
    pub reason: Option<&'static str>,
}

const OFF: Bounds = Bounds {
    warn: None,
    fail: None,
};

const fn bounds(warn: u64, fail: u64) -> Bounds {
    Bounds {
        warn: Some(warn),
        fail: Some(fail),
    }
}

macro_rules! limits {
    ($($limit:ident $name:literal $unit:ident $default:expr, $warned:literal, $failed:literal $(, reason $reason:literal)? $(, minimum $minimum:literal)?;)*) => {
        /// A threshold, by its place among the lines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Limit { $($limit,)* }

        pub const LIMITS: [LimitLine; [$(Limit::$limit),*].len()] = [$(LimitLine {
            name: $name,
            unit: Unit::$unit,
            default: $default,
            warned: $warned,
            failed: $failed,
            reason: limits!(@some $($reason)?),
            is_minimum: limits!(@flag $($minimum)?),
        },)*];
    };
    (@some) => { None };
    (@some $reason:literal) => { Some($reason) };
    (@flag) => { false };
    (@flag $minimum:literal) => { $minimum };
}

limits! {
    Keyspaces "keyspaces" Count OFF, "Creating keyspace {what}, current number of keyspaces {value} exceeds warning threshold of {threshold}.", "Cannot have more than {threshold} keyspaces, aborting the creation of keyspace {what}";
    Tables "tables" Count OFF, "Creating table {what}, current number of tables {value} exceeds warning threshold of {threshold}.", "Cannot have more than {threshold} tables, aborting the creation of table {what}";
    ColumnsPerTable "columns_per_table" Count OFF, "The table {what} has {value} columns, this exceeds the warning threshold of {threshold}.", "Tables cannot have more than {threshold} columns, but {value} provided for table {what}";
    SecondaryIndexesPerTable "secondary_indexes_per_table" Count OFF, "Creating secondary index {what}, current number of indexes {value} exceeds warning threshold of {threshold}.", "Tables cannot have more than {threshold} secondary indexes, aborting the creation of secondary index {what}";
    MaterializedViewsPerTable "materialized_views_per_table" Count OFF, "Creating materialized view {what}, current number of views {value} exceeds warning threshold of {threshold}.", "Tables cannot have more than {threshold} materialized views, aborting the creation of materialized view {what}";
    FieldsPerUdt "fields_per_udt" Count OFF, "The user type {what} has {value} columns, this exceeds the warning threshold of {threshold}.", "User types cannot have more than {threshold} columns, but {value} provided for user type {what}.";
    VectorDimensions "vector_dimensions" Count OFF, "{what} has a vector of {value} dimensions, this exceeds the {kind} threshold of {threshold}.", "{what} has a vector of {value} dimensions, this exceeds the {kind} threshold of {threshold}.";
    PageSize "page_size" Count OFF, "Query for table {what} with page size {value} exceeds warning threshold of {threshold}.", "Aborting query for table {what}, page size {value} exceeds fail threshold of {threshold}.";
    PartitionKeysInSelect "partition_keys_in_select" Count OFF, "Query with partition keys in IN clause on table {what}, with number of partition keys {value} exceeds warning threshold of {threshold}.", "Aborting query with partition keys in IN clause on table {what}, number of partition keys {value} exceeds fail threshold of {threshold}.";
    InSelectCartesianProduct "in_select_cartesian_product" Count OFF, "The cartesian product of the IN restrictions on {what} produces {value} values, this exceeds warning threshold of {threshold}.", "Aborting query because the cartesian product of the IN restrictions on {what} produces {value} values, this exceeds fail threshold of {threshold}.";
    ColumnValueSize "column_value_size" Bytes OFF, "Value of column '{what}' has size {value}, this exceeds the {kind} threshold of {threshold}.", "Value of column '{what}' has size {value}, this exceeds the {kind} threshold of {threshold}.";
    CollectionSize "collection_size" Bytes OFF, "Detected collection {what} of size {value}, this exceeds the {kind} threshold of {threshold}.", "Detected collection {what} of size {value}, this exceeds the {kind} threshold of {threshold}.";
    ItemsPerCollection "items_per_collection" Count OFF, "Detected collection {what} with {value} items, this exceeds the {kind} threshold of {threshold}.", "Detected collection {what} with {value} items, this exceeds the {kind} threshold of {threshold}.";
    MinimumReplicationFactor "minimum_replication_factor" Count OFF, "The keyspace {what} has a replication factor of {value}, below the {kind} threshold of {threshold}.", "The keyspace {what} has a replication factor of {value}, below the {kind} threshold of {threshold}.", minimum true;
    MaximumReplicationFactor "maximum_replication_factor" Count OFF, "The keyspace {what} has a replication factor of {value}, above the {kind} threshold of {threshold}.", "The keyspace {what} has a replication factor of {value}, above the {kind} threshold of {threshold}.";
    MaximumTimestamp "maximum_timestamp" Micros OFF, "The modification to table {what} has a timestamp {value} after the maximum allowable {kind} threshold {threshold}", "The modification to table {what} has a timestamp {value} after the maximum allowable {kind} threshold {threshold}", reason "Timestamps too far in the future can lead to data that can't be easily overwritten";
    MinimumTimestamp "minimum_timestamp" Micros OFF, "The modification to table {what} has a timestamp {value} before the minimum allowable {kind} threshold {threshold}", "The modification to table {what} has a timestamp {value} before the minimum allowable {kind} threshold {threshold}", reason "Timestamps too far in the past can cause writes can be unexpectedly lost";
    // These three have words of their own.
    BatchSize "batch_size" Bytes bounds(5 << 10, 50 << 10), "", "Batch too large";
    UnloggedBatch "unlogged_batch_across_partitions" Count Bounds { warn: Some(10), fail: None }, "", "";
    Tombstones "tombstone" Count bounds(1_000, 100_000), "", "";
}

macro_rules! flags {
    ($($flag:ident $setting:literal $name:literal $default:literal $feature:literal $(, reason $reason:literal)?;)*) => {
        /// A feature, by its place among the lines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Flag { $($flag,)* }

        pub const FLAGS: [FlagLine; [$(Flag::$flag),*].len()] = [$(FlagLine {
            setting: $setting,
            name: $name,
            default: $default,
            feature: $feature,
            reason: limits!(@some $($reason)?),
        },)*];
    };
}

flags! {
    UserTimestamps "user_timestamps_enabled" "user_timestamps" true "User provided timestamps (USING TIMESTAMP)";
    GroupBy "group_by_enabled" "group_by" true "GROUP BY functionality";
    AlterTable "alter_table_enabled" "alter_table" true "User access to ALTER TABLE statement for column mutation";
    DropTruncateTable "drop_truncate_table_enabled" "drop_truncate_table_enabled" true "DROP and TRUNCATE TABLE functionality";
    DropKeyspace "drop_keyspace_enabled" "drop_keyspace_enabled" true "DROP KEYSPACE functionality";
    UncompressedTables "uncompressed_tables_enabled" "uncompressed_tables_enabled" true "Uncompressed table";
    CompactTables "compact_tables_enabled" "compact_tables" true "Creation of new COMPACT STORAGE tables";
    SecondaryIndexes "secondary_indexes_enabled" "secondary_indexes" true "User creation of secondary indexes";
    ListReadBeforeWrite "read_before_write_list_operations_enabled" "read_before_write_list_operations" true "List operation requiring read before write";
    AllowFiltering "allow_filtering_enabled" "allow_filtering" true "Querying with ALLOW FILTERING", reason "ALLOW FILTERING can potentially visit all the data in the table and have unpredictable performance.";
    SimpleStrategy "simplestrategy_enabled" "simplestrategy" true "SimpleStrategy";
    VectorType "vector_type_enabled" "vector_type_enabled" true "usage of the vector type";
    NonPartitionRestrictedIndexQuery "non_partition_restricted_index_query_enabled" "non_partition_restricted_index_query_enabled" true "Non-partition key restricted query", reason "Executing a query on secondary indexes without partition key restriction might degrade performance";
    // No guardrails: switches of Cassandra's that mean the same here.
    DynamicDataMasking "dynamic_data_masking_enabled" "dynamic_data_masking" false "Dynamic data masking";
    DropCompactStorage "drop_compact_storage_enabled" "drop_compact_storage" false "DROP COMPACT STORAGE";
}

macro_rules! lists {
    ($($list:ident $setting:literal;)*) => {
        /// Values that are not wanted, by their place among the lines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum List { $($list,)* }

        pub const LISTS: [&str; [$(List::$list),*].len()] = [$($setting,)*];
    };
}

lists! {
    TablePropertiesWarned "table_properties_warned";
    TablePropertiesIgnored "table_properties_ignored";
    TablePropertiesDisallowed "table_properties_disallowed";
    ReadLevelsWarned "read_consistency_levels_warned";
    ReadLevelsDisallowed "read_consistency_levels_disallowed";
    WriteLevelsWarned "write_consistency_levels_warned";
    WriteLevelsDisallowed "write_consistency_levels_disallowed";
}

/// Settings of Cassandra 5.0 that are taken and mean nothing here; whoever sets one is told so when the server starts.
pub const WITHOUT_EFFECT: [&str; 39] = [
    "coordinator_read_size_fail_threshold",
    "coordinator_read_size_warn_threshold",
    "data_disk_usage_max_disk_size",
    "data_disk_usage_percentage_fail_threshold",
    "data_disk_usage_percentage_warn_threshold",
    "default_keyspace_rf",
    "diagnostic_events_enabled",
    "intersect_filtering_query_enabled",
    "intersect_filtering_query_warned",
    "local_read_size_fail_threshold",
    "local_read_size_warn_threshold",
    "partition_size_fail_threshold",
    "partition_size_warn_threshold",
    "partition_tombstones_fail_threshold",
    "partition_tombstones_warn_threshold",
    "read_thresholds_enabled",
    "row_index_read_size_fail_threshold",
    "row_index_read_size_warn_threshold",
    "sai_frozen_term_size_fail_threshold",
    "sai_frozen_term_size_warn_threshold",
    "sai_sstable_indexes_per_query_fail_threshold",
    "sai_sstable_indexes_per_query_warn_threshold",
    "sai_string_term_size_fail_threshold",
    "sai_string_term_size_warn_threshold",
    "sai_vector_term_size_fail_threshold",
    "sai_vector_term_size_warn_threshold",
    "sasi_indexes_enabled",
    "scripted_user_defined_functions_enabled",
    "stream_entire_sstables",
    "trace_type_query_ttl",
    "trace_type_repair_ttl",
    "transient_replication_enabled",
    "use_statements_enabled",
    "user_defined_functions_enabled",
    "user_defined_functions_fail_timeout",
    "user_defined_functions_threads_enabled",
    "user_defined_functions_warn_timeout",
    "zero_ttl_on_twcs_enabled",
    "zero_ttl_on_twcs_warned",
];
