//! One value of one column, with its time; owned, and borrowed from an encoded row.

use crate::codec::compare;
use bytes::Bytes;
use std::cmp::Ordering;
use std::fmt;

/// A column of a table. Never reused; 0 is reserved for the raw spelling of the clustering and never makes a row live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u32);

impl ColumnId {
    /// Keeps the clustering's spelling where its ordered encoding loses it.
    pub const RAW_CLUSTERING: ColumnId = ColumnId(0);
}

/// A value, or its absence, at a time.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    pub column: ColumnId,
    /// Inside a complex column: which element. Empty for simple columns, never empty for complex ones.
    pub path: Bytes,
    /// Microseconds.
    pub timestamp: i64,
    pub state: CellState,
}

/// What a cell holds.
#[derive(Clone, PartialEq, Eq)]
pub enum CellState {
    Live(Bytes),
    /// Live until `expires_at` (seconds), a tombstone from then on.
    Expiring {
        value: Bytes,
        ttl: u32,
        expires_at: i64,
    },
    Tombstone {
        local_deletion_time: i64,
    },
}

impl Cell {
    /// The same cell, borrowed.
    #[inline]
    pub fn as_ref(&self) -> CellRef<'_> {
        CellRef {
            column: self.column,
            path: &self.path,
            timestamp: self.timestamp,
            state: match &self.state {
                CellState::Live(value) => StateRef::Live(value),
                CellState::Expiring {
                    value,
                    ttl,
                    expires_at,
                } => StateRef::Expiring {
                    value,
                    ttl: *ttl,
                    expires_at: *expires_at,
                },
                CellState::Tombstone {
                    local_deletion_time,
                } => StateRef::Tombstone {
                    local_deletion_time: *local_deletion_time,
                },
            },
        }
    }

    /// How the places of two cells in a row lie to each other.
    #[inline]
    pub fn cmp_place(&self, other: &Cell) -> Ordering {
        self.column
            .cmp(&other.column)
            .then_with(|| compare(&self.path, &other.path))
    }

    /// The value, if it is not a tombstone; it may have expired.
    pub fn value(&self) -> Option<&Bytes> {
        match &self.state {
            CellState::Live(value) | CellState::Expiring { value, .. } => Some(value),
            CellState::Tombstone { .. } => None,
        }
    }

    /// Has a value at `now` (seconds).
    pub fn is_live(&self, now: i64) -> bool {
        self.as_ref().is_live(now)
    }
}

/// A cell whose bytes live in an encoded row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CellRef<'a> {
    pub column: ColumnId,
    pub path: &'a [u8],
    pub timestamp: i64,
    pub state: StateRef<'a>,
}

/// What a borrowed cell holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StateRef<'a> {
    Live(&'a [u8]),
    Expiring {
        value: &'a [u8],
        ttl: u32,
        expires_at: i64,
    },
    Tombstone {
        local_deletion_time: i64,
    },
}

impl<'a> CellRef<'a> {
    /// How the places of two cells in a row lie to each other.
    #[inline]
    pub fn cmp_place(&self, other: &CellRef<'_>) -> Ordering {
        self.column
            .cmp(&other.column)
            .then_with(|| compare(self.path, other.path))
    }

    /// Has a value at `now` (seconds).
    #[inline]
    pub fn is_live(&self, now: i64) -> bool {
        match self.state {
            StateRef::Live(_) => true,
            StateRef::Expiring { expires_at, .. } => now < expires_at,
            StateRef::Tombstone { .. } => false,
        }
    }

    /// The value, if it is not a tombstone; it may have expired.
    pub fn value(&self) -> Option<&'a [u8]> {
        match self.state {
            StateRef::Live(value) | StateRef::Expiring { value, .. } => Some(value),
            StateRef::Tombstone { .. } => None,
        }
    }

    /// An owned cell whose bytes share `source`, the bytes this cell was read from.
    #[inline]
    pub fn to_cell(self, source: &Bytes) -> Cell {
        Cell {
            column: self.column,
            path: source.slice_ref(self.path),
            timestamp: self.timestamp,
            state: match self.state {
                StateRef::Live(value) => CellState::Live(source.slice_ref(value)),
                StateRef::Expiring {
                    value,
                    ttl,
                    expires_at,
                } => CellState::Expiring {
                    value: source.slice_ref(value),
                    ttl,
                    expires_at,
                },
                StateRef::Tombstone {
                    local_deletion_time,
                } => CellState::Tombstone {
                    local_deletion_time,
                },
            },
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Debug for CellState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CellState::Live(value) => write!(f, "Live({} bytes)", value.len()),
            CellState::Expiring {
                value,
                ttl,
                expires_at,
            } => write!(
                f,
                "Expiring({} bytes, ttl {ttl}, until {expires_at})",
                value.len()
            ),
            CellState::Tombstone {
                local_deletion_time,
            } => write!(f, "Tombstone({local_deletion_time})"),
        }
    }
}

impl fmt::Debug for CellRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.column)?;
        if !self.path.is_empty() {
            write!(f, "[{} bytes]", self.path.len())?;
        }
        write!(f, "@{} ", self.timestamp)?;
        match self.state {
            StateRef::Live(value) => write!(f, "Live({} bytes)", value.len()),
            StateRef::Expiring {
                value,
                ttl,
                expires_at,
            } => write!(
                f,
                "Expiring({} bytes, ttl {ttl}, until {expires_at})",
                value.len()
            ),
            StateRef::Tombstone {
                local_deletion_time,
            } => write!(f, "Tombstone({local_deletion_time})"),
        }
    }
}
