//! Consistency levels, with the protocol's numbers and Cassandra's names.

use std::fmt;

use crate::error::Malformed;

/// How many replicas must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Consistency {
    Any = 0x00,
    One = 0x01,
    Two = 0x02,
    Three = 0x03,
    Quorum = 0x04,
    All = 0x05,
    LocalQuorum = 0x06,
    EachQuorum = 0x07,
    Serial = 0x08,
    LocalSerial = 0x09,
    LocalOne = 0x0A,
    NodeLocal = 0x0B,
}

impl Consistency {
    pub const ALL: [Consistency; 12] = [
        Self::Any,
        Self::One,
        Self::Two,
        Self::Three,
        Self::Quorum,
        Self::All,
        Self::LocalQuorum,
        Self::EachQuorum,
        Self::Serial,
        Self::LocalSerial,
        Self::LocalOne,
        Self::NodeLocal,
    ];

    #[inline]
    pub fn from_number(number: u16) -> Result<Self, Malformed> {
        match Self::ALL.get(usize::from(number)) {
            Some(level) => Ok(*level),
            None => Err(unknown(number)),
        }
    }

    pub fn number(self) -> u16 {
        self as u16
    }

    pub fn is_serial(self) -> bool {
        matches!(self, Self::Serial | Self::LocalSerial)
    }
}

#[cold]
fn unknown(number: u16) -> Malformed {
    Malformed::from(format!("Unknown code {number} for a consistency level"))
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "ANY",
            Self::One => "ONE",
            Self::Two => "TWO",
            Self::Three => "THREE",
            Self::Quorum => "QUORUM",
            Self::All => "ALL",
            Self::LocalQuorum => "LOCAL_QUORUM",
            Self::EachQuorum => "EACH_QUORUM",
            Self::Serial => "SERIAL",
            Self::LocalSerial => "LOCAL_SERIAL",
            Self::LocalOne => "LOCAL_ONE",
            Self::NodeLocal => "NODE_LOCAL",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_levels_place_in_the_list_is_its_number() {
        for (place, level) in Consistency::ALL.iter().enumerate() {
            assert_eq!(usize::from(level.number()), place);
            assert_eq!(Consistency::from_number(level.number()), Ok(*level));
        }
        assert!(Consistency::from_number(12).is_err());
    }
}
