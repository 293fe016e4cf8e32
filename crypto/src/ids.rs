//! The public names that seals and keys are bound to: which table, which structure, which cluster, which kind of structure.
//!
//! All of them are on the closed list of what may be written in the clear, so they are plain data with public fields. (A lineage is bound to nothing, and sealed where a folder holds it.)
//! They stand in key derivations and in associated data; a byte of one that changes makes everything under it refuse to open.

use std::fmt;
use std::str::FromStr;

use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::hex;

/// Counts a table's keys from 1; every key switch adds one.
pub type KeyVersion = u32;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $print:path) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A fresh one, never seen before.
            pub fn random(entropy: &dyn Entropy) -> Self {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes);
                $name(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $print(&self.0, f)
            }
        }

        /// As it is displayed: logs show what it stands in by Debug, and whoever reads them looks for the name.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads 32 hexadecimal digits of either case, with or without the dashes of a UUID.
            fn from_str(text: &str) -> Result<Self> {
                let digits = text.chars().filter(|c| *c != '-').take(33);
                let digits: String = digits.map(|c| c.to_ascii_lowercase()).collect();
                hex::decode(&digits)
                    .map($name)
                    .ok_or_else(|| Error::invalid(concat!("not a ", $what, ": 32 hexadecimal digits are expected")))
            }
        }
    };
}

identifier!(
    /// A table, by the UUID that its schema knows it by.
    TableId, "table id", write_uuid
);
identifier!(
    /// One thing that is sealed under one data key: an SSTable component, a log segment's share, a manifest section.
    StructureId, "structure id", write_hex
);
identifier!(
    /// One installation, drawn at its first start.
    ClusterId, "cluster id", write_uuid
);
identifier!(
    /// One history of a data folder: drawn anew where an operator takes an older copy for the true one, so that what was given up then is told from what went on.
    Lineage, "lineage", write_hex
);

impl Lineage {
    /// Of a folder whose history was never set back.
    pub const FIRST: Lineage = Lineage([0; 16]);
}

impl Default for Lineage {
    fn default() -> Self {
        Lineage::FIRST
    }
}

/// What a structure is. The number is part of every seal and never changes its meaning.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
#[repr(u8)]
pub enum StructureKind {
    /// One table's records in one log segment.
    LogShare = 1,
    /// The seals that end the groups of one log segment.
    LogSeal = 2,
    /// An SSTable's rows.
    SstableData = 3,
    /// An SSTable's index.
    SstableIndex = 4,
    /// An SSTable's filter on partition keys.
    SstableFilter = 5,
    /// An SSTable's statistics.
    SstableStatistics = 6,
    /// One table's sealed section in the manifest.
    ManifestRecord = 7,
    /// A table's root.
    Root = 8,
    /// What the service records about itself: epochs, manifest hashes, counters.
    ServiceRecord = 9,
    /// A spill: work that did not fit in memory.
    Spill = 10,
    /// The paging state that a client carries for us.
    PageState = 11,
}

impl StructureKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [StructureKind; 11] = [
        StructureKind::LogShare,
        StructureKind::LogSeal,
        StructureKind::SstableData,
        StructureKind::SstableIndex,
        StructureKind::SstableFilter,
        StructureKind::SstableStatistics,
        StructureKind::ManifestRecord,
        StructureKind::Root,
        StructureKind::ServiceRecord,
        StructureKind::Spill,
        StructureKind::PageState,
    ];

    /// The kind with this number, if this release knows it.
    pub fn from_u8(number: u8) -> Option<StructureKind> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl fmt::Display for StructureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn write_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_id_prints_as_a_uuid_and_reads_back() {
        let table = TableId(*b"0123456789abcdef");
        let text = table.to_string();
        assert_eq!(text, "30313233-3435-3637-3839-616263646566");
        assert_eq!(text.parse::<TableId>().unwrap(), table);
        assert_eq!(format!("{:?}", Some(table)), format!("Some({text})"));
    }

    #[test]
    fn a_structure_id_prints_as_hex_and_reads_back() {
        let structure = StructureId([0xa5; 16]);
        assert_eq!(structure.to_string(), "a5".repeat(16));
        assert_eq!(
            structure.to_string().parse::<StructureId>().unwrap(),
            structure
        );
        let upper = structure.to_string().to_uppercase();
        assert_eq!(upper.parse::<StructureId>().unwrap(), structure);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "30",
            "zz313233343536373839616263646566",
            &"0".repeat(1000),
        ] {
            assert!(text.parse::<TableId>().is_err());
        }
    }

    #[test]
    fn every_kind_has_its_number_for_good() {
        for (index, kind) in StructureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1);
            assert_eq!(StructureKind::from_u8(kind as u8), Some(kind));
        }
        assert_eq!(StructureKind::from_u8(0), None);
        assert_eq!(StructureKind::from_u8(12), None);
    }
}
