//! Options that are checked, kept and shown, and do nothing on this engine: whoever sets one is told so.

use super::TableOptions;

/// What the compressors of this engine are called.
const COMPRESSORS: [&str; 2] = ["LZ4Compressor", "ZstdCompressor"];

impl TableOptions {
    /// What to say of options that differ from `before` and change nothing but what is shown.
    pub fn without_effect(&self, before: &TableOptions) -> Option<String> {
        let class_differs = |options: &std::collections::BTreeMap<String, String>| {
            options
                .get("class")
                .is_some_and(|class| !COMPRESSORS.iter().any(|own| class.ends_with(own)))
        };
        let names: Vec<&str> = [
            (
                "additional_write_policy",
                self.additional_write_policy != before.additional_write_policy,
            ),
            (
                "allow_auto_snapshot",
                self.allow_auto_snapshot != before.allow_auto_snapshot,
            ),
            (
                "bloom_filter_fp_chance",
                self.bloom_filter_fp_chance != before.bloom_filter_fp_chance,
            ),
            ("caching", self.caching != before.caching),
            ("cdc", self.cdc != before.cdc),
            (
                "compression",
                self.compression != before.compression && class_differs(&self.compression),
            ),
            (
                "crc_check_chance",
                self.crc_check_chance != before.crc_check_chance,
            ),
            ("extensions", self.extensions != before.extensions),
            (
                "incremental_backups",
                self.incremental_backups != before.incremental_backups,
            ),
            (
                "max_index_interval",
                self.max_index_interval != before.max_index_interval,
            ),
            (
                "memtable_flush_period_in_ms",
                self.memtable_flush_period_in_ms != before.memtable_flush_period_in_ms,
            ),
            (
                "min_index_interval",
                self.min_index_interval != before.min_index_interval,
            ),
            ("read_repair", self.read_repair != before.read_repair),
            (
                "speculative_retry",
                self.speculative_retry != before.speculative_retry,
            ),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect();
        match names.is_empty() {
            true => None,
            false => Some(format!(
                "Table options that are stored and shown and change nothing else on this server: {}",
                names.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_and_does_nothing_is_named() {
        let before = TableOptions::default();
        assert_eq!(before.without_effect(&before), None);
        let mut after = before.clone();
        after.comment = "x".into();
        after.gc_grace_seconds = 5;
        after.compaction.insert("min_threshold".into(), "8".into());
        assert_eq!(after.without_effect(&before), None);
        let mut compressed_by = |class: &str| {
            let class = format!("org.apache.cassandra.io.compress.{class}");
            after.compression.insert("class".into(), class);
            after.without_effect(&before)
        };
        assert_eq!(compressed_by("ZstdCompressor"), None);
        assert!(compressed_by("DeflateCompressor").is_some());
        after.cdc = true;
        let warning = after.without_effect(&before);
        assert!(warning.is_some_and(|text| text.ends_with(": cdc, compression")));
    }
}
