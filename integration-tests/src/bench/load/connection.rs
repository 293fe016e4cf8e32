//! One connection with many requests in flight: reads all that has arrived, lets the next operations begin, and sends their requests in one write, as drivers
//! with many users do.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::State;
use crate::bench::request::{Slot, Turn, check, is_overloaded};
use crate::raw::take_frame;

/// Room for what one read brings; what is kept of it follows the answers' sizes.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// How long a connection waits that was told to.
const PAUSE: Duration = Duration::from_millis(10);

struct Streams {
    slots: Vec<Slot>,
    free: Vec<i16>,
    /// Those that were told that the server has too much to do.
    refused: Vec<i16>,
    output: BytesMut,
}

/// Runs operations as the pace has it, until it has no more.
pub(super) async fn keep_asking(
    mut socket: TcpStream,
    index: usize,
    in_flight: usize,
    state: Rc<State>,
) -> io::Result<()> {
    let mut input = BytesMut::new();
    let mut streams = Streams {
        slots: std::iter::repeat_with(Slot::default)
            .take(in_flight)
            .collect(),
        // The last one is taken first: a lightly loaded connection uses few streams.
        free: (0..in_flight as i16).rev().collect(),
        refused: Vec::new(),
        output: BytesMut::new(),
    };
    loop {
        if !streams.refused.is_empty() {
            tokio::time::sleep(PAUSE).await;
            streams.ask_again(&state);
        }
        streams.begin(index, &state);
        if !streams.output.is_empty() {
            socket.write_all(&streams.output).await?;
            streams.output.clear();
        }
        let is_idle = streams.free.len() == in_flight;
        if is_idle && state.pacer.has_ended(index) {
            return Ok(());
        }
        input.reserve(READ_BUFFER_BYTES);
        tokio::select! {
            biased;
            read = socket.read_buf(&mut input) => match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => streams.answered(&mut input, &state)?,
            },
            () = state.pacer.due(index), if !streams.free.is_empty() => {}
        }
    }
}

impl Streams {
    /// Begins every operation that is due, as far as there are streams.
    fn begin(&mut self, index: usize, state: &State) {
        while let Some(&stream) = self.free.last()
            && let Some((number, started)) = state.pacer.take(index)
        {
            self.free.pop();
            let slot = &mut self.slots[stream as usize];
            (slot.step, slot.number, slot.started) = (0, number, started);
            self.ask(stream, state);
        }
    }

    fn ask(&mut self, stream: i16, state: &State) {
        let slot = &mut self.slots[stream as usize];
        slot.goes_on = false;
        let ids = state.ids.borrow();
        (state.ask)(&mut Turn {
            scale: &state.scale,
            chance: &mut state.chance.borrow_mut(),
            slot,
            inserted: &state.scale.inserted,
            ids: &ids,
            output: &mut self.output,
            stream,
        });
    }

    /// A user who fills a table does not give up when the server is behind.
    fn ask_again(&mut self, state: &State) {
        for stream in std::mem::take(&mut self.refused) {
            self.slots[stream as usize].step = 0;
            self.ask(stream, state);
        }
    }

    /// Takes every answer that has arrived.
    fn answered(&mut self, input: &mut BytesMut, state: &State) -> io::Result<()> {
        let now = Instant::now();
        while let Some(frame) = take_frame(input)? {
            let slot = usize::try_from(frame.stream)
                .ok()
                .and_then(|stream| self.slots.get_mut(stream));
            let slot = slot.ok_or_else(|| io::Error::other("an answer to no request"))?;
            if state.is_patient && is_overloaded(&frame) {
                state.refused.set(state.refused.get() + 1);
                self.refused.push(frame.stream);
                continue;
            }
            slot.paging = check(&frame, slot.expected)?;
            if slot.goes_on {
                slot.step += 1;
                self.ask(frame.stream, state);
                continue;
            }
            if state.pacer.counts_from(state.since.get(), slot.started) {
                let latency = now.saturating_duration_since(slot.started);
                state.latencies.borrow_mut().record(latency);
            }
            state.done.set(state.done.get() + 1);
            self.free.push(frame.stream);
        }
        Ok(())
    }
}
