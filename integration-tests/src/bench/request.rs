//! One request of an operation, as a workload asks for it, and what its answer must look like.
//!
//! A workload is given a [`Turn`] and puts one request into the connection's buffer. An operation of several requests says [`Turn::go_on`]: when the answer is
//! there, the workload gets another turn of the same operation, and only the last answer ends it. What must hold: each request says what it expects, and an
//! answer is looked at far enough to know that it is that; a cheap error is no operation, and an empty answer would be a fast one.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::workloads::Scale;
use crate::chance::Chance;
use crate::raw::{Frame, code, decode, opcode, put_frame};

const CONSISTENCY_ONE: u16 = 1;
const FLAG_VALUES: u8 = 0x01;
const FLAG_SKIP_METADATA: u8 = 0x02;
const FLAG_PAGE_SIZE: u8 = 0x04;
const FLAG_PAGING_STATE: u8 = 0x08;

/// What an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Done, and nothing to say.
    Void,
    /// At least so many rows.
    Rows(u32),
    /// A condition that held.
    Applied,
    /// A statement's id.
    Prepared,
}

/// One stream of a connection, from request to request.
pub struct Slot {
    /// Which request of its operation is under way, from 0.
    pub step: u32,
    /// The number that its operation was given.
    pub number: u64,
    /// Where the next page begins, if the last answer was not the whole.
    pub paging: Option<Bytes>,
    /// From when on its operation's latency counts.
    pub started: Instant,
    pub(super) expected: Expected,
    pub(super) goes_on: bool,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            step: 0,
            number: 0,
            paging: None,
            started: Instant::now(),
            expected: Expected::Void,
            goes_on: false,
        }
    }
}

/// A workload's turn to put one request.
pub struct Turn<'a> {
    /// Sizes of all tables.
    pub scale: &'a Scale,
    /// For whatever else is drawn.
    pub chance: &'a mut Chance,
    /// What is known of this stream.
    pub slot: &'a mut Slot,
    /// Rows inserted so far by workloads that make a table longer.
    pub inserted: &'a Cell<u64>,
    pub(super) ids: &'a [Bytes],
    pub(super) output: &'a mut BytesMut,
    pub(super) stream: i16,
}

impl Turn<'_> {
    /// The number of this operation: the next one where a table is filled, any at all where it is measured.
    pub fn number(&self) -> u64 {
        self.slot.number
    }

    /// The row that the number means in a table of the ordinary size.
    pub fn row(&self) -> u64 {
        self.slot.number % self.scale.rows
    }

    /// This is not the operation's last request.
    pub fn go_on(&mut self) {
        self.slot.goes_on = true;
    }

    /// EXECUTE of the workload's nth statement; `put` writes as many values.
    pub fn execute(
        &mut self,
        statement: usize,
        expected: Expected,
        values: u16,
        put: impl FnOnce(&mut BytesMut),
    ) {
        self.slot.expected = expected;
        let id = &self.ids[statement];
        put_frame(self.output, self.stream, opcode::EXECUTE, |body| {
            put_short_bytes(body, id);
            body.put_u16(CONSISTENCY_ONE);
            body.put_u8(FLAG_VALUES | FLAG_SKIP_METADATA);
            body.put_u16(values);
            put(body);
        });
    }

    /// EXECUTE of the workload's nth statement, which has no values: the page behind the last one of this stream, or the first.
    pub fn execute_page(&mut self, statement: usize, page_rows: i32) {
        self.slot.expected = Expected::Rows(0);
        let (id, paging) = (&self.ids[statement], self.slot.paging.take());
        put_frame(self.output, self.stream, opcode::EXECUTE, |body| {
            put_short_bytes(body, id);
            body.put_u16(CONSISTENCY_ONE);
            let state = match &paging {
                Some(_) => FLAG_PAGING_STATE,
                None => 0,
            };
            body.put_u8(FLAG_SKIP_METADATA | FLAG_PAGE_SIZE | state);
            body.put_i32(page_rows);
            if let Some(state) = &paging {
                put_blob(body, state);
            }
        });
    }

    /// A logged BATCH of the workload's nth statement, so many times; `put` writes the values of each, number first.
    pub fn batch(&mut self, statement: usize, count: u16, put: impl Fn(u16, &mut BytesMut)) {
        self.slot.expected = Expected::Void;
        let id = &self.ids[statement];
        put_frame(self.output, self.stream, opcode::BATCH, |body| {
            body.put_u8(0);
            body.put_u16(count);
            for index in 0..count {
                body.put_u8(1);
                put_short_bytes(body, id);
                put(index, body);
            }
            body.put_u16(CONSISTENCY_ONE);
            body.put_u8(0);
        });
    }

    /// PREPARE.
    pub fn prepare(&mut self, text: &str) {
        self.slot.expected = Expected::Prepared;
        put_frame(self.output, self.stream, opcode::PREPARE, |body| {
            body.put_u32(text.len() as u32);
            body.put_slice(text.as_bytes());
        });
    }
}

/// Puts a value of bytes.
pub fn put_blob(body: &mut BytesMut, bytes: &[u8]) {
    body.put_i32(bytes.len() as i32);
    body.put_slice(bytes);
}

/// Puts an int.
pub fn put_int(body: &mut BytesMut, number: i32) {
    body.put_i32(4);
    body.put_i32(number);
}

/// Puts a bigint.
pub fn put_bigint(body: &mut BytesMut, number: i64) {
    body.put_i32(8);
    body.put_i64(number);
}

fn put_short_bytes(body: &mut BytesMut, bytes: &[u8]) {
    body.put_u16(bytes.len() as u16);
    body.put_slice(bytes);
}

/// Whether an answer is what was expected; gives where the next page begins.
pub(super) fn check(frame: &Frame, expected: Expected) -> io::Result<Option<Bytes>> {
    let found = match (frame.opcode, plain_body(frame)) {
        (opcode::RESULT, Some(body)) => look(&body, expected),
        _ => None,
    };
    match found {
        Some(paging) => Ok(paging),
        None => Err(io::Error::other(format!(
            "{expected:?} was expected, and the answer is {:?}",
            decode(frame)?
        ))),
    }
}

/// Whether the server has too much to do to take a request.
pub(super) fn is_overloaded(frame: &Frame) -> bool {
    frame.opcode == opcode::ERROR && frame.body.starts_with(&code::OVERLOADED.to_be_bytes())
}

/// The body behind a trace's id and warnings.
fn plain_body(frame: &Frame) -> Option<Bytes> {
    let mut body = frame.body.clone();
    if frame.flags & 0x02 != 0 {
        body = (body.len() >= 16).then(|| body.slice(16..))?;
    }
    if frame.flags & 0x08 != 0 {
        let mut rest = body.get(2..)?;
        for _ in 0..u16::from_be_bytes(body.get(..2)?.try_into().ok()?) {
            let length = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
            rest = rest.get(2 + usize::from(length)..)?;
        }
        body = body.slice(body.len() - rest.len()..);
    }
    Some(body)
}

/// Nothing, if the answer is not the expected one.
fn look(body: &Bytes, expected: Expected) -> Option<Option<Bytes>> {
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let kind = word(0)?;
    match expected {
        Expected::Void => (kind == 1).then_some(None),
        Expected::Prepared => (kind == 4).then_some(None),
        // The last of the answer is one row of one boolean, and it is true.
        Expected::Applied => {
            (kind == 2 && body.ends_with(&[0, 0, 0, 1, 0, 0, 0, 1, 1])).then_some(None)
        }
        Expected::Rows(rows_min) => {
            let (flags, mut at, mut paging) = (word(4)?, 12, None);
            if flags & 0x02 != 0 {
                let length = word(at)? as usize;
                paging = Some(body.slice(at + 4..(at + 4).checked_add(length)?.min(body.len())));
                at += 4 + length;
            }
            // With metadata, which nobody asked for, the number of rows stands somewhere behind it.
            let enough = flags & 0x04 == 0 || word(at)? >= rows_min;
            (kind == 2 && enough).then_some(paging)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(flags: u8, body: &[u8]) -> Frame {
        Frame {
            version: 0x84,
            flags,
            stream: 0,
            opcode: opcode::RESULT,
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn no_row_is_not_the_row_that_was_asked_for() {
        let none = [0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0];
        assert!(check(&answer(0, &none), Expected::Rows(1)).is_err());
        assert_eq!(
            check(&answer(0, &none), Expected::Rows(0)).expect("rows"),
            None
        );
    }

    #[test]
    fn the_next_page_begins_where_the_answer_says() {
        let page = [
            0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 7, 8, 0, 0, 0, 3,
        ];
        let paging = check(&answer(0, &page), Expected::Rows(3)).expect("rows");
        assert_eq!(paging.as_deref(), Some(&[7, 8][..]));
    }

    #[test]
    fn warnings_stand_before_the_answer() {
        let warned = [0, 1, 0, 2, b'h', b'o', 0, 0, 0, 1];
        assert!(check(&answer(0x08, &warned), Expected::Void).is_ok());
        assert!(check(&answer(0x08, &warned[..3]), Expected::Void).is_err());
    }

    #[test]
    fn a_condition_that_did_not_hold_is_no_operation() {
        let mut body = vec![
            0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1,
        ];
        assert!(check(&answer(0, &body), Expected::Applied).is_ok());
        *body.last_mut().expect("bytes") = 0;
        assert!(check(&answer(0, &body), Expected::Applied).is_err());
    }
}
