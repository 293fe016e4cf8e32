//! What WITH may say about a table: every option Cassandra 5.0 knows, with its default, its bounds and its error.
//!
//! Options that mean nothing on this engine are checked, stored and shown all the same, because schemas travel between
//! servers. What does mean something is in [`TableOptions::for_storage`].
//!
//! What must hold: a value of [`TableOptions`] is valid as it stands; [`TableOptions::alter`] is the only way to change one.

mod caching;
mod chance;
mod compaction;
mod compression;
mod effect;
mod retry;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use palladium_protocol::cql::ast::Property;
use serde::{Deserialize, Serialize};

pub use self::chance::Chance;
use super::properties::{
    Properties, is_java_class, java_double, map_literal, read_java_double, string_literal,
};
use crate::error::{CqlError, CqlResult};

/// The options of one table, valid as they stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    pub additional_write_policy: String,
    pub allow_auto_snapshot: bool,
    pub bloom_filter_fp_chance: Chance,
    pub caching: BTreeMap<String, String>,
    pub cdc: bool,
    pub comment: String,
    pub compaction: BTreeMap<String, String>,
    pub compression: BTreeMap<String, String>,
    pub crc_check_chance: Chance,
    /// Seconds; 0 is forever.
    pub default_time_to_live: u32,
    pub extensions: BTreeMap<String, Vec<u8>>,
    pub gc_grace_seconds: u32,
    pub incremental_backups: bool,
    pub max_index_interval: i32,
    pub memtable: String,
    pub memtable_flush_period_in_ms: i32,
    pub min_index_interval: i32,
    pub read_repair: String,
    pub speculative_retry: String,
}

/// The names WITH may use for a table, ours and Amazon Keyspaces' included.
pub const TABLE_PROPERTIES: [&str; 23] = [
    "additional_write_policy",
    "allow_auto_snapshot",
    "bloom_filter_fp_chance",
    "caching",
    "cdc",
    "comment",
    "compaction",
    "compression",
    "crc_check_chance",
    "custom_properties",
    "default_time_to_live",
    "encryption",
    "extensions",
    "gc_grace_seconds",
    "id",
    "incremental_backups",
    "max_index_interval",
    "memtable",
    "memtable_flush_period_in_ms",
    "min_index_interval",
    "read_repair",
    "speculative_retry",
    "tags",
];

/// The longest time to live: twenty years.
const TTL_SECONDS_MAX: i32 = 630_720_000;
/// Bloom filters cannot promise less.
const BLOOM_CHANCE_MIN: f64 = 6.71e-5;

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            additional_write_policy: "99p".into(),
            allow_auto_snapshot: true,
            bloom_filter_fp_chance: Chance(0.01),
            caching: map(&[("keys", "ALL"), ("rows_per_partition", "NONE")]),
            cdc: false,
            comment: String::new(),
            compaction: map(&[
                (
                    "class",
                    "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy",
                ),
                ("max_threshold", "32"),
                ("min_threshold", "4"),
            ]),
            compression: map(&[
                ("chunk_length_in_kb", "16"),
                ("class", "org.apache.cassandra.io.compress.LZ4Compressor"),
            ]),
            crc_check_chance: Chance(1.0),
            default_time_to_live: 0,
            extensions: BTreeMap::new(),
            gc_grace_seconds: 864_000,
            incremental_backups: true,
            max_index_interval: 2048,
            memtable: "default".into(),
            memtable_flush_period_in_ms: 0,
            min_index_interval: 128,
            read_repair: "BLOCKING".into(),
            speculative_retry: "99p".into(),
        }
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// What stands for the chance that goes with the compaction.
const USUAL_CHANCE: Chance = Chance(-1.0);

fn usual_chance(compaction: &BTreeMap<String, String>) -> Chance {
    match compaction::is_leveled(compaction) {
        true => Chance(0.1),
        false => Chance(0.01),
    }
}

impl TableOptions {
    /// The options of a new table.
    pub fn create<'a>(properties: impl IntoIterator<Item = &'a Property>) -> CqlResult<Self> {
        let properties = Properties::read(properties, &TABLE_PROPERTIES)?;
        let mut options = TableOptions::default().with(&properties)?;
        if properties.value("bloom_filter_fp_chance").is_none() {
            options.bloom_filter_fp_chance = usual_chance(&options.compaction);
        }
        Ok(options)
    }

    /// These options with what ALTER names changed.
    pub fn alter<'a>(&self, properties: impl IntoIterator<Item = &'a Property>) -> CqlResult<Self> {
        let properties = Properties::read(properties, &TABLE_PROPERTIES)?;
        // Cassandra holds what ALTER names against the defaults, not against what the table has.
        TableOptions::default().with(&properties)?;
        self.clone().shaped(&properties)?.timed()
    }

    /// Refuses values that can be none of what an option takes. Names and bounds are looked at later.
    pub fn check_shape<'a>(properties: impl IntoIterator<Item = &'a Property>) -> CqlResult<()> {
        let known = properties
            .into_iter()
            .filter(|property| TABLE_PROPERTIES.contains(&property.name.as_str()));
        let properties = Properties::read(known, &TABLE_PROPERTIES)?;
        TableOptions::default().shaped(&properties).map(|_| ())
    }

    fn with(self, properties: &Properties<'_>) -> CqlResult<Self> {
        let shaped = self.shaped(properties)?;
        shaped.options.check()?;
        shaped.timed()
    }

    /// With the values that are named, within their bounds or not.
    fn shaped(mut self, properties: &Properties<'_>) -> CqlResult<Shaped> {
        if let Some(policy) = properties.text("additional_write_policy")? {
            self.additional_write_policy = retry::policy(&policy)?;
        }
        set(
            &mut self.allow_auto_snapshot,
            properties.boolean("allow_auto_snapshot")?,
        );
        set(
            &mut self.bloom_filter_fp_chance,
            properties.double("bloom_filter_fp_chance")?.map(Chance),
        );
        if let Some(options) = properties.map("caching")? {
            self.caching = caching::caching(options)?;
        }
        set(&mut self.cdc, properties.boolean("cdc")?);
        set(&mut self.comment, properties.text("comment")?);
        if let Some(options) = properties.map("compaction")? {
            self.compaction = compaction::compaction(options)?;
        }
        if let Some(options) = properties.map("compression")? {
            self.compression = compression::compression(options)?;
        }
        set(
            &mut self.crc_check_chance,
            properties.double("crc_check_chance")?.map(Chance),
        );
        // Cassandra lets clients name extensions, whatever they say of them, and keeps none.
        let time_to_live = properties.integer("default_time_to_live")?;
        let gc_grace_seconds = properties.integer("gc_grace_seconds")?;
        set(
            &mut self.incremental_backups,
            properties.boolean("incremental_backups")?,
        );
        set(
            &mut self.max_index_interval,
            properties.integer("max_index_interval")?,
        );
        if let Some(configuration) = properties.text("memtable")? {
            self.memtable = memtable(configuration)?;
        }
        set(
            &mut self.memtable_flush_period_in_ms,
            properties.integer("memtable_flush_period_in_ms")?,
        );
        set(
            &mut self.min_index_interval,
            properties.integer("min_index_interval")?,
        );
        if let Some(strategy) = properties.text("read_repair")? {
            self.read_repair = read_repair(&strategy)?;
        }
        if let Some(policy) = properties.text("speculative_retry")? {
            self.speculative_retry = retry::policy(&policy)?;
        }
        if self.bloom_filter_fp_chance == USUAL_CHANCE {
            self.bloom_filter_fp_chance = usual_chance(&self.compaction);
        }
        Ok(Shaped {
            options: self,
            time_to_live,
            gc_grace_seconds,
        })
    }

    fn check(&self) -> CqlResult<()> {
        compaction::check(&self.compaction)?;
        let Chance(chance) = self.bloom_filter_fp_chance;
        if chance <= BLOOM_CHANCE_MIN || chance > 1.0 {
            return Err(CqlError::config(format!(
                "bloom_filter_fp_chance must be larger than {} and less than or equal to 1.0 (got {})",
                java_double(BLOOM_CHANCE_MIN),
                java_double(chance)
            )));
        }
        let Chance(chance) = self.crc_check_chance;
        if !(0.0..=1.0).contains(&chance) && !chance.is_nan() {
            return Err(CqlError::config(format!(
                "crc_check_chance must be larger than or equal to 0 and smaller than or equal to 1.0 (got {})",
                java_double(chance)
            )));
        }
        if self.min_index_interval < 1 {
            return Err(CqlError::config(format!(
                "min_index_interval must be greater than or equal to 1 (got {})",
                self.min_index_interval
            )));
        }
        if self.max_index_interval < self.min_index_interval {
            return Err(CqlError::config(format!(
                "max_index_interval must be greater than or equal to min_index_interval ({}) (got {})",
                self.min_index_interval, self.max_index_interval
            )));
        }
        not_negative(
            "memtable_flush_period_in_ms",
            Some(self.memtable_flush_period_in_ms),
        )
        .map(|_| ())
    }

    /// The engine's share of this.
    pub fn for_storage(&self) -> palladium_storage::TableOptions {
        palladium_storage::TableOptions {
            gc_grace_seconds: i64::from(self.gc_grace_seconds),
            compression: compression::for_storage(&self.compression),
            compaction: compaction::for_storage(&self.compaction),
            ..Default::default()
        }
    }

    /// The options as DESCRIBE lists them, in Cassandra's order.
    pub fn describe(&self) -> Vec<String> {
        let extensions: Vec<String> = self
            .extensions
            .iter()
            .map(|(name, value)| {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{}: 0x{hex}", string_literal(name))
            })
            .collect();
        vec![
            format!(
                "additional_write_policy = {}",
                string_literal(&self.additional_write_policy)
            ),
            format!("allow_auto_snapshot = {}", self.allow_auto_snapshot),
            format!("bloom_filter_fp_chance = {}", self.bloom_filter_fp_chance),
            format!("caching = {}", map_literal(&self.caching)),
            format!("cdc = {}", self.cdc),
            format!("comment = {}", string_literal(&self.comment)),
            format!("compaction = {}", map_literal(&self.compaction)),
            format!("compression = {}", map_literal(&self.compression)),
            format!("memtable = {}", string_literal(&self.memtable)),
            format!("crc_check_chance = {}", self.crc_check_chance),
            format!("default_time_to_live = {}", self.default_time_to_live),
            format!("extensions = {{{}}}", extensions.join(", ")),
            format!("gc_grace_seconds = {}", self.gc_grace_seconds),
            format!("incremental_backups = {}", self.incremental_backups),
            format!("max_index_interval = {}", self.max_index_interval),
            format!(
                "memtable_flush_period_in_ms = {}",
                self.memtable_flush_period_in_ms
            ),
            format!("min_index_interval = {}", self.min_index_interval),
            format!("read_repair = {}", string_literal(&self.read_repair)),
            format!(
                "speculative_retry = {}",
                string_literal(&self.speculative_retry)
            ),
        ]
    }
}

/// Options with values of the right kind; those that may not be below zero have no place yet.
struct Shaped {
    options: TableOptions,
    time_to_live: Option<i32>,
    gc_grace_seconds: Option<i32>,
}

impl Shaped {
    /// With time to live and grace, if they are within their bounds.
    fn timed(self) -> CqlResult<TableOptions> {
        let mut options = self.options;
        set(
            &mut options.default_time_to_live,
            not_negative("default_time_to_live", self.time_to_live)?,
        );
        if options.default_time_to_live > TTL_SECONDS_MAX as u32 {
            return Err(CqlError::config(format!(
                "default_time_to_live must be less than or equal to {TTL_SECONDS_MAX} (got {})",
                options.default_time_to_live
            )));
        }
        set(
            &mut options.gc_grace_seconds,
            not_negative("gc_grace_seconds", self.gc_grace_seconds)?,
        );
        Ok(options)
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn not_negative(name: &str, value: Option<i32>) -> CqlResult<Option<u32>> {
    value
        .map(|value| {
            u32::try_from(value).map_err(|_| {
                CqlError::config(format!(
                    "{name} must be greater than or equal to 0 (got {value})"
                ))
            })
        })
        .transpose()
}

/// Memtables have one configuration here, and one name for it.
fn memtable(configuration: String) -> CqlResult<String> {
    match configuration.as_str() {
        "default" => Ok(configuration),
        _ => Err(CqlError::config(format!(
            "Memtable configuration \"{configuration}\" not found."
        ))),
    }
}

fn read_repair(strategy: &str) -> CqlResult<String> {
    let upper = strategy.to_ascii_uppercase();
    match upper.as_str() {
        "NONE" | "BLOCKING" => Ok(upper),
        _ => Err(CqlError::config(format!(
            "Invalid value {strategy} for option 'read_repair'"
        ))),
    }
}
