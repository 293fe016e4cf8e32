//! The exported file's own thread: a disk that hangs under it stops the showing of the head, and nothing else.
//!
//! ```text
//! writer ── newest head ──► [ one place ] ──► thread: reads the file once, then replaces it for each head it gets
//!    ▲                                            │
//!    └──────── what the file knows now ───────────┘
//! ```
//!
//! A head that finds the place taken takes it: the newest is what the file is to hold. The thread keeps the newest head that could not be written and tries it again
//! each minute, whether or not the trail moves on. When the server stops, the thread is waited for so long and no longer: it is
//! no task of the runtime's, so a call that never returns keeps no process alive.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::head::{self, Head};

/// How long a stopping server waits for the file.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(2);
/// Before a head that could not be written is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Where heads are handed in to be exported.
pub(super) struct Exporter {
    place: Arc<Place>,
    /// Ends with the thread.
    over: oneshot::Receiver<()>,
    /// The newest record of which the thread was given the head: it writes it as soon as the file lets it.
    shown: u64,
}

impl Exporter {
    /// Starts the thread. The heads that the file holds already come by the other end, if it can be read.
    pub(super) fn start(file: PathBuf) -> (Exporter, oneshot::Receiver<Vec<Head>>) {
        let place = Arc::new(Place::default());
        let waiting = place.clone();
        let (tell, exported) = oneshot::channel();
        let (ended, over) = oneshot::channel();
        let started = std::thread::Builder::new()
            .name("audit head".into())
            .spawn(move || {
                // Dropped at the end.
                let _ended: oneshot::Sender<()> = ended;
                serve(FileOfHeads::new(file), &waiting, tell);
            });
        if let Err(error) = started {
            tracing::error!(%error, "the audit trail's head is not exported: there is no thread for it");
        }
        let exporter = Exporter {
            place,
            over,
            shown: 0,
        };
        (exporter, exported)
    }

    /// Hands in a head, unless it was the last one.
    pub(super) fn show(&mut self, head: &Head) {
        if head.sequence() == self.shown {
            return;
        }
        self.shown = head.sequence();
        if self.place.put(head.clone()) {
            tracing::warn!(
                "the audit trail's head is exported late: its file has not taken the one before yet"
            );
        }
    }

    /// Waits for what was handed in.
    pub(super) async fn finish(self) {
        let Exporter { place, over, .. } = self;
        place.close();
        if tokio::time::timeout(LAST_EXPORT_MAX, over).await.is_err() {
            tracing::error!(
                "the audit trail's last head is not exported: its file does not answer"
            );
        }
    }
}

/// The newest head that the thread has not taken yet.
#[derive(Default)]
struct Place {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    head: Option<Head>,
    is_closed: bool,
}

/// What the thread is to do next.
#[derive(Debug, PartialEq)]
enum Next {
    Write(Head),
    TryAgain,
    End,
}

impl Place {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another one was still there, which this one stands for as well.
    fn put(&self, head: Head) -> bool {
        let before = self.waiting().head.replace(head);
        self.changed.notify_one();
        before.is_some()
    }

    fn close(&self) {
        self.waiting().is_closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next head, and no longer than the pause if there is one. What was put before the end comes before the end.
    fn next(&self, pause: Option<Duration>) -> Next {
        let is_idle = |waiting: &mut Waiting| waiting.head.is_none() && !waiting.is_closed;
        let waiting = self.waiting();
        let mut waiting = match pause {
            None => self
                .changed
                .wait_while(waiting, is_idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(pause) => {
                self.changed
                    .wait_timeout_while(waiting, pause, is_idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        match (waiting.head.take(), waiting.is_closed) {
            (Some(head), _) => Next::Write(head),
            (None, true) => Next::End,
            (None, false) => Next::TryAgain,
        }
    }
}

/// The file, and what it does not hold yet.
struct FileOfHeads {
    path: PathBuf,
    /// The newest head that could not be written.
    unwritten: Option<Head>,
}

impl FileOfHeads {
    fn new(path: PathBuf) -> FileOfHeads {
        FileOfHeads {
            path,
            unwritten: None,
        }
    }

    /// Writes a newer head, or once more the one that could not be written.
    fn write(&mut self, newer: Option<Head>) {
        let Some(head) = newer.or_else(|| self.unwritten.take()) else {
            return;
        };
        let written = head::export(&self.path, &head);
        self.unwritten = written.is_err().then_some(head);
        if let Err(error) = written {
            tracing::error!(error, file = %self.path.display(), "the audit trail's head is not exported");
        }
    }
}

fn serve(mut file: FileOfHeads, waiting: &Place, tell: oneshot::Sender<Vec<Head>>) {
    match head::read_exported(&file.path) {
        Ok(exported) => {
            // A server that has stopped meanwhile wants to know nothing.
            let _ = tell.send(exported);
        }
        Err(error) => {
            tracing::error!(error, file = %file.path.display(), "the exported heads of the audit trail cannot be read");
        }
    }
    loop {
        match waiting.next(file.unwritten.is_some().then_some(RETRY_PAUSE)) {
            Next::Write(newer) => file.write(Some(newer)),
            Next::TryAgain => file.write(None),
            Next::End => break,
        }
    }
    // The server stops: one last try.
    file.write(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sequence: u64) -> Head {
        let text = format!(
            r#"{{"version":1,"cluster":"c","sequence":{sequence},"hash":"h{sequence}","at":1,"public_key":"p","signature":"s"}}"#
        );
        Head::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_newest_head_waits_for_a_file_that_is_being_written_and_is_not_lost_at_the_end() {
        let place = Place::default();
        assert!(!place.put(head(1)));
        assert_eq!(place.next(None), Next::Write(head(1)));
        // The thread is at work now.
        assert!(!place.put(head(2)));
        assert!(place.put(head(3)));
        place.close();
        assert_eq!(place.next(None), Next::Write(head(3)));
        assert_eq!(place.next(Some(RETRY_PAUSE)), Next::End);
    }

    #[test]
    fn a_head_that_could_not_be_written_is_written_when_its_file_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("away");
        let mut file = FileOfHeads::new(away.join("heads"));
        for sequence in 1..=2 {
            file.write(Some(head(sequence)));
            assert_eq!(file.unwritten, Some(head(sequence)));
        }
        file.write(None);
        assert_eq!(file.unwritten, Some(head(2)), "it is still away");
        std::fs::create_dir(&away).unwrap();
        file.write(None);
        assert_eq!(file.unwritten, None);
        assert_eq!(head::read_exported(&file.path), Ok(vec![head(2)]));
        file.write(None);
        assert_eq!(head::read_exported(&file.path), Ok(vec![head(2)]));
    }
}
