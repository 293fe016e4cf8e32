//! A chance, as `bloom_filter_fp_chance` and `crc_check_chance` are: a number, and for Cassandra NaN is one as well.
//!
//! What must hold: what was read back is what was written. JSON, which has no such number, says null for NaN.

use serde::{Deserialize, Deserializer, Serialize};

use super::super::properties::java_double;

/// Equal to what has the same bits, so that NaN is no change of NaN.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub struct Chance(pub f64);

impl PartialEq for Chance {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl std::fmt::Display for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&java_double(self.0))
    }
}

impl<'de> Deserialize<'de> for Chance {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Chance(
            Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN),
        ))
    }
}
