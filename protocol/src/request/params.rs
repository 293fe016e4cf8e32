//! What QUERY, EXECUTE and BATCH share: consistency, values, paging, timestamp.
//!
//! ```text
//! | consistency [short] | flags [byte] (v5: [int]) |
//!   0x01 values              | n [short] | n values [value], each after its name [string] if 0x40 |
//!   0x02 skip metadata       (no bytes)
//!   0x04 page size           | [int] |
//!   0x08 paging state        | [bytes] |
//!   0x10 serial consistency  | [short] |
//!   0x20 timestamp           | [long] |
//!   0x40 values have names   (no bytes)
//!   0x80 keyspace            | [string] |       v5
//!   0x100 now in seconds     | [int] |          v5
//! ```

use std::fmt;

use crate::error::Malformed;
use crate::wire::primitive::{Reader, Value};
use crate::wire::{Consistency, Version};

const VALUES: u32 = 0x01;
const SKIP_METADATA: u32 = 0x02;
const PAGE_SIZE: u32 = 0x04;
const PAGING_STATE: u32 = 0x08;
const SERIAL_CONSISTENCY: u32 = 0x10;
const TIMESTAMP: u32 = 0x20;
const NAMES_FOR_VALUES: u32 = 0x40;
const KEYSPACE: u32 = 0x80;
const NOW_IN_SECONDS: u32 = 0x100;

/// The parameters of one statement, or of a whole batch.
#[derive(Debug, Clone, Copy)]
pub struct QueryParams<'a> {
    pub consistency: Consistency,
    pub values: Values<'a>,
    /// The client remembers the result metadata from PREPARE.
    pub skip_metadata: bool,
    /// Rows in a page; zero and less mean no paging.
    pub page_size: Option<i32>,
    pub paging_state: Option<&'a [u8]>,
    pub serial_consistency: Option<Consistency>,
    /// Microseconds.
    pub timestamp: Option<i64>,
    /// v5.
    pub keyspace: Option<&'a str>,
    /// v5.
    pub now_in_seconds: Option<u32>,
}

impl<'a> QueryParams<'a> {
    #[inline]
    pub(super) fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let consistency = body.consistency()?;
        let flags = if version >= Version::V5 {
            body.int()? as u32
        } else {
            u32::from(body.byte()?)
        };
        let has = |flag| flags & flag != 0;
        let values = if has(VALUES) {
            Values::read(version, body, has(NAMES_FOR_VALUES))?
        } else {
            Values::none(version)
        };
        let page_size = has(PAGE_SIZE).then(|| body.int()).transpose()?;
        let paging_state = if has(PAGING_STATE) {
            body.bytes()?
        } else {
            None
        };
        let serial_consistency = has(SERIAL_CONSISTENCY)
            .then(|| body.consistency())
            .transpose()?;
        let timestamp = has(TIMESTAMP).then(|| body.long()).transpose()?;
        if timestamp == Some(i64::MIN) {
            return Err(out_of_bound_timestamp());
        }
        let keyspace = has(KEYSPACE).then(|| body.string()).transpose()?;
        // Without a sign, as Cassandra 5.0 reads it: it goes to the year 2106.
        let now_in_seconds = has(NOW_IN_SECONDS).then(|| body.int()).transpose()?;
        let now_in_seconds = now_in_seconds.map(|seconds| seconds as u32);
        Ok(Self {
            consistency,
            values,
            skip_metadata: has(SKIP_METADATA),
            page_size,
            paging_state,
            serial_consistency,
            timestamp,
            keyspace,
            now_in_seconds,
        })
    }
}

#[cold]
fn out_of_bound_timestamp() -> Malformed {
    Malformed::from(format!(
        "Out of bound timestamp, must be in [{}, {}] (got {})",
        i64::MIN + 1,
        i64::MAX,
        i64::MIN
    ))
}

/// Bound values, in the order they were sent; names, if any, with their duplicates.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    version: Version,
    count: u16,
    named: bool,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    fn none(version: Version) -> Self {
        Self {
            version,
            count: 0,
            named: false,
            bytes: &[],
        }
    }

    /// Checks every length and name, so that the iterators cannot fail.
    #[inline]
    pub(super) fn read(
        version: Version,
        body: &mut Reader<'a>,
        named: bool,
    ) -> Result<Self, Malformed> {
        let count = body.short()?;
        let start = body.rest();
        for _ in 0..count {
            if named {
                body.string()?;
            }
            body.value(version)?;
        }
        let bytes = &start[..start.len() - body.rest().len()];
        Ok(Self {
            version,
            count,
            named,
            bytes,
        })
    }

    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn are_named(&self) -> bool {
        self.named
    }

    /// Values by position; names are passed over.
    #[inline]
    pub fn iter(&self) -> ValuesIter<'a> {
        ValuesIter {
            version: self.version,
            left: self.count,
            named: self.named,
            reader: Reader::new(self.bytes),
        }
    }

    /// Names with their values; nothing if the values have no names.
    pub fn iter_named(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let Self {
            version,
            named,
            bytes,
            ..
        } = *self;
        let mut reader = Reader::new(if named { bytes } else { &[] });
        std::iter::from_fn(move || Some((reader.string().ok()?, reader.value(version).ok()?)))
    }
}

impl<'a> IntoIterator for Values<'a> {
    type Item = Value<'a>;
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Values may be secrets: only their number is printed.
impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("count", &self.count)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// Over checked bytes.
#[derive(Clone)]
pub struct ValuesIter<'a> {
    version: Version,
    left: u16,
    named: bool,
    reader: Reader<'a>,
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        if self.named {
            self.reader.short_bytes().ok()?;
        }
        self.reader.value(self.version).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}
