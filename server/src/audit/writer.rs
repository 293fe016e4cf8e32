//! The one writer: takes what waits, as many events as fit one write, and shows from time to time where the trail stands.
//!
//! ```text
//! START ─► { events, as they come, at most 256 a write } ─► STOP
//!              each minute: the newest of what was only counted; prune; the head, if it has moved, to the file (`export`, which may hang) and to the log
//! ```
//!
//! A write that fails for a reason that passes (a full disk) is tried again with the same events, until the server stops; meanwhile the channel fills, and in the
//! end those who cause events wait. Where nothing can be written any more (the commit log has ended, the trail is damaged) the log counts
//! each event instead: what was done and with which key, but no names of tables, people or services' words, which a log is not to hold.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::export::Exporter;
use super::{Event, Head, Trail, Waiting};

/// Events in one write.
const BATCH_MAX: usize = 256;
/// Between two looks at what is to be pruned and shown.
const SHOW_PAUSE: Duration = Duration::from_secs(60);
/// Before a write that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The writer at work.
pub struct Writing {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Writer {
    trail: Arc<Trail>,
    waiting: Waiting,
    stopped: oneshot::Receiver<()>,
    /// Nothing is tried twice any more.
    is_stopping: bool,
    exporter: Exporter,
    /// What the exported file knew at the start.
    exported: Option<oneshot::Receiver<Vec<Head>>>,
    /// The newest record whose head the log has.
    logged: u64,
}

impl Writing {
    /// Begins to write; the first record says that the server has started.
    pub fn begin(trail: Arc<Trail>, waiting: Waiting, head_file: PathBuf) -> Writing {
        let (stop, stopped) = oneshot::channel();
        let (exporter, exported) = Exporter::start(head_file);
        let writer = Writer {
            trail,
            waiting,
            stopped,
            is_stopping: false,
            exporter,
            exported: Some(exported),
            logged: 0,
        };
        let task = tokio::spawn(writer.run());
        Writing { stop, task }
    }

    /// Writes what was handed in until now, and then that the server has stopped.
    pub async fn finish(self) {
        // A writer that has ended by itself has said why.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the audit trail's writer died");
        }
    }
}

impl Writer {
    async fn run(mut self) {
        let started = Event::of_server("START", self.trail.now_micros());
        self.write(vec![started]).await;
        self.prune().await;
        self.show();
        let first = tokio::time::Instant::now() + SHOW_PAUSE;
        let mut pauses = tokio::time::interval_at(first, SHOW_PAUSE);
        while !self.is_stopping {
            tokio::select! {
                _ = &mut self.stopped => self.is_stopping = true,
                exported = known(&mut self.exported) => self.trail.compare(&exported).await,
                event = self.waiting.next() => match event {
                    Some(event) => self.take(event).await,
                    None => self.is_stopping = true,
                },
                _ = pauses.tick() => {
                    self.tell_counted().await;
                    self.prune().await;
                    self.show();
                }
            }
        }
        self.waiting.close();
        while let Some(event) = self.waiting.next().await {
            self.take(event).await;
        }
        self.tell_counted().await;
        let over = Event::of_server("STOP", self.trail.now_micros());
        self.write(vec![over]).await;
        self.show();
        self.exporter.finish().await;
    }

    /// Writes an event with those that wait behind it.
    async fn take(&mut self, event: Event) {
        let mut batch = vec![event];
        while batch.len() < BATCH_MAX {
            match self.waiting.next_now() {
                Some(event) => batch.push(event),
                None => break,
            }
        }
        self.write(batch).await;
    }

    /// Writes the newest of what was only counted.
    async fn tell_counted(&mut self) {
        let counted = self.waiting.counted();
        for batch in counted.chunks(BATCH_MAX) {
            self.write(batch.to_vec()).await;
        }
    }

    async fn write(&mut self, batch: Vec<Event>) {
        loop {
            let error = match self.trail.append(&batch).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let is_final = matches!(
                error,
                palladium_storage::Error::Closed
                    | palladium_storage::Error::Stopped { .. }
                    | palladium_storage::Error::OutcomeUnknown { .. }
                    | palladium_storage::Error::Corrupt { .. }
                    | palladium_storage::Error::Invalid { .. }
            );
            if is_final || self.is_stopping {
                tracing::error!(events = batch.len(), %error, "audit events are not in the trail");
                batch.iter().for_each(Event::log);
                return;
            }
            tracing::error!(events = batch.len(), %error, "audit events wait: they cannot be written now");
            tokio::select! {
                _ = &mut self.stopped => self.is_stopping = true,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn prune(&self) {
        match self.trail.prune().await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "old records of the audit trail were pruned"),
            Err(error) => tracing::warn!(%error, "the audit trail is not pruned now"),
        }
    }

    /// Shows the head where it can be kept: in the file, and in the log.
    fn show(&mut self) {
        let Some(head) = self.trail.head() else {
            return;
        };
        self.exporter.show(&head);
        if head.sequence() == self.logged {
            return;
        }
        self.logged = head.sequence();
        let line = String::from_utf8_lossy(&head.to_bytes()).into_owned();
        tracing::info!(head = line, "the audit trail stands here");
    }
}

/// What the exported file knew at the start, once: when it has been read, if ever.
async fn known(exported: &mut Option<oneshot::Receiver<Vec<Head>>>) -> Vec<Head> {
    let Some(reading) = exported else {
        return std::future::pending().await;
    };
    let read = reading.await;
    *exported = None;
    match read {
        Ok(heads) => heads,
        Err(_) => std::future::pending().await,
    }
}
