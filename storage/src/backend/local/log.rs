//! The log's own thread: one message in, one write, one fdatasync, one answer back.
//!
//! A thread of its own, because a commit waits for the disk anyway and must not wait for a busy pool too. Groups are copied once,
//! by the committer, into an aligned buffer that goes to the thread and comes back, so that steady work allocates nothing.
//!
//! What must hold: after the first failed write or sync of a segment, everything else on that segment fails (`Closed`). Nothing is
//! tried twice.

use std::future::Future;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;

use super::disk::{ALIGNMENT, LogFile};
use super::{closed, io_error, segment_path};
use crate::backend::{Durability, Part};
use crate::error::{Error, Result};

/// A buffer larger than this is not kept: one huge group should not stay in memory for ever.
const BUFFER_KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
const BUFFERS_KEPT_MAX: usize = 4;

/// The thread and the way to it.
pub(super) struct LogThread {
    commands: Option<Sender<Command>>,
    buffers: Arc<Buffers>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Adopt {
        segment: u64,
        file: LogFile,
    },
    Append {
        segment: u64,
        offset: u64,
        buffer: Aligned,
        durability: Durability,
        answer: oneshot::Sender<Result<()>>,
    },
    Sync {
        segment: u64,
        answer: oneshot::Sender<Result<Synced>>,
    },
}

/// Who synced.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Synced {
    /// This thread: the segment is the one it writes.
    Here,
    /// Nobody: it is another segment.
    NotMine,
}

impl LogThread {
    pub fn start() -> Result<LogThread> {
        let (commands, inbox) = mpsc::channel();
        let buffers = Arc::new(Buffers::default());
        let kept = buffers.clone();
        let thread = std::thread::Builder::new()
            .name("palladium-log".into())
            .spawn(move || serve(inbox, &kept))
            .map_err(|source| Error::io("start the log's thread", source))?;
        Ok(LogThread {
            commands: Some(commands),
            buffers,
            thread: Some(thread),
        })
    }

    /// From now on this is the segment that is written.
    pub fn adopt(&self, segment: u64, file: LogFile) -> Result<()> {
        self.send(Command::Adopt { segment, file })
    }

    pub fn append(
        &self,
        segment: u64,
        offset: u64,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let mut buffer = self.buffers.take();
        buffer.fill(parts);
        let (answer, outcome) = oneshot::channel();
        let sent = self.send(Command::Append {
            segment,
            offset,
            buffer,
            durability,
            answer,
        });
        async move {
            sent?;
            outcome.await.unwrap_or_else(|_| Err(closed()))
        }
    }

    pub fn sync(&self, segment: u64) -> impl Future<Output = Result<Synced>> + Send + use<> {
        let (answer, outcome) = oneshot::channel();
        let sent = self.send(Command::Sync { segment, answer });
        async move {
            sent?;
            outcome.await.unwrap_or_else(|_| Err(closed()))
        }
    }

    fn send(&self, command: Command) -> Result<()> {
        let commands = self.commands.as_ref().ok_or_else(closed)?;
        commands.send(command).map_err(|_| closed())
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // It ends when it has done what was sent; a panic there has already answered `Closed` to its callers.
            let _ = thread.join();
        }
    }
}

/// The segment being written.
struct Writing {
    segment: u64,
    file: LogFile,
    has_failed: bool,
}

fn serve(inbox: Receiver<Command>, buffers: &Buffers) {
    let mut writing: Option<Writing> = None;
    for command in inbox {
        match command {
            Command::Adopt { segment, file } => {
                writing = Some(Writing {
                    segment,
                    file,
                    has_failed: false,
                });
            }
            Command::Append {
                segment,
                offset,
                buffer,
                durability,
                answer,
            } => {
                let outcome = append(
                    writing.as_mut(),
                    segment,
                    offset,
                    buffer.bytes(),
                    durability,
                );
                buffers.give_back(buffer);
                let _ = answer.send(outcome);
            }
            Command::Sync { segment, answer } => {
                let outcome = match writing
                    .as_mut()
                    .filter(|writing| writing.segment == segment)
                {
                    Some(writing) => writing
                        .try_once(|file| file.sync(), "sync")
                        .map(|()| Synced::Here),
                    None => Ok(Synced::NotMine),
                };
                let _ = answer.send(outcome);
            }
        }
    }
}

fn append(
    writing: Option<&mut Writing>,
    segment: u64,
    offset: u64,
    bytes: &[u8],
    durability: Durability,
) -> Result<()> {
    let writing = writing
        .filter(|writing| writing.segment == segment)
        .ok_or_else(|| Error::Invalid {
            what: format!("segment {segment} is not the one being written"),
        })?;
    writing.try_once(|file| file.write_at(offset, bytes), "write")?;
    match durability {
        Durability::Now => writing.try_once(|file| file.sync(), "sync"),
        Durability::Later => Ok(()),
    }
}

impl Writing {
    fn try_once(
        &mut self,
        action: impl FnOnce(&LogFile) -> std::io::Result<()>,
        name: &str,
    ) -> Result<()> {
        if self.has_failed {
            return Err(closed());
        }
        action(&self.file).map_err(|source| {
            self.has_failed = true;
            io_error(&segment_path(self.segment), name, source)
        })
    }
}

/// Bytes that begin on an aligned address.
#[derive(Default)]
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn fill(&mut self, parts: &[Part<'_>]) {
        self.length = parts.iter().map(|part| part.bytes().len()).sum();
        if self.memory.len() < self.length + ALIGNMENT {
            self.memory = vec![0; (self.length + ALIGNMENT).next_power_of_two()];
        }
        self.start = self.memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let mut at = self.start;
        for part in parts {
            let bytes = part.bytes();
            self.memory[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

#[derive(Default)]
struct Buffers {
    kept: Mutex<Vec<Aligned>>,
}

impl Buffers {
    fn take(&self) -> Aligned {
        self.kept().pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Aligned) {
        let mut kept = self.kept();
        if buffer.memory.len() <= BUFFER_KEPT_BYTES_MAX && kept.len() < BUFFERS_KEPT_MAX {
            kept.push(buffer);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Aligned>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
