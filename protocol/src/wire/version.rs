//! Protocol versions, and what each one changes.
//!
//! | what | v3 | v4 | v5 |
//! |---|---|---|---|
//! | framing after STARTUP | envelopes | envelopes | segments |
//! | compression | LZ4, Snappy, by envelope | same | LZ4, by segment |
//! | unset values, warnings, custom payload | no | yes | yes |
//! | QUERY, EXECUTE, BATCH flags | `[byte]` | `[byte]` | `[int]` |
//! | keyspace and now_in_seconds of a request | no | no | yes |
//! | PREPARED: partition key indexes | no | yes | yes |
//! | result metadata id | no | no | yes |
//! | option ids of date, time, smallint, tinyint | as custom | yes | yes |
//! | option id of duration | as custom | as custom | yes |
//! | read and write failures | as timeouts | with a count | with a map of reasons |
//! | FUNCTION and AGGREGATE schema changes | as keyspace updates | yes | yes |

use std::fmt;

/// A version this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    V3 = 3,
    V4 = 4,
    V5 = 5,
}

impl Version {
    pub const ALL: [Version; 3] = [Version::V3, Version::V4, Version::V5];
    /// The newest version that is not beta: what an unknown version is answered in.
    pub const MAX: Version = Version::V5;

    /// The version named by a header's first byte, without its direction bit.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    pub fn number(self) -> u8 {
        self as u8
    }

    /// A beta version may be used only by a client that says so with USE_BETA. None of ours is beta.
    pub fn is_beta(self) -> bool {
        false
    }
}

/// As SUPPORTED lists it: `5/v5`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        write!(f, "{number}/v{number}")
    }
}

/// The words that drivers look for when they try a version we do not speak.
pub fn unsupported_version_message(number: u8) -> String {
    let supported = Version::ALL.map(|version| version.to_string()).join(", ");
    format!(
        "Invalid or unsupported protocol version ({number}); supported versions are ({supported})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dse_version_is_refused_in_words_that_drivers_know() {
        assert_eq!(
            unsupported_version_message(66),
            "Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5)"
        );
    }
}
