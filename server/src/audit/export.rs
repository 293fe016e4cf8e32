//! The exported file's own thread: a disk that hangs under it stops the showing of the head, and nothing else.
//!
//! ```text
//! writer ── newest head ──► [ one place ] ──► thread: reads the file once, then replaces it for each head it gets
//!    ▲                                            │
//!    └──────── what the file knows now ───────────┘
//! ```
//!
//! A head that finds the place taken is not shown; a newer one is, a minute later. The thread keeps the newest head that could not be written and tries it again
//! each minute, whether or not the trail moves on. When the server stops, the thread is waited for so long and no longer: it is
//! no task of the runtime's, so a call that never returns keeps no process alive.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::head::{self, Head};

/// How long a stopping server waits for the file.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(2);
/// Before a head that could not be written is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Where heads are handed in to be exported.
pub(super) struct Exporter {
    heads: SyncSender<Head>,
    /// Ends with the thread.
    over: oneshot::Receiver<()>,
    /// The newest record of which the thread was given the head: it writes it as soon as the file lets it.
    shown: u64,
}

impl Exporter {
    /// Starts the thread. The heads that the file holds already come by the other end, if it can be read.
    pub(super) fn start(file: PathBuf) -> (Exporter, oneshot::Receiver<Vec<Head>>) {
        let (heads, waiting) = sync_channel(1);
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
            heads,
            over,
            shown: 0,
        };
        (exporter, exported)
    }

    /// Hands in a head, unless it was the last one, or the one before is still on its way.
    pub(super) fn show(&mut self, head: &Head) {
        if head.sequence() == self.shown {
            return;
        }
        match self.heads.try_send(head.clone()) {
            Ok(()) => self.shown = head.sequence(),
            Err(TrySendError::Full(_)) => {
                tracing::error!("the audit trail's head is not exported: its file does not answer");
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits for what was handed in.
    pub(super) async fn finish(self) {
        let Exporter { heads, over, .. } = self;
        drop(heads);
        if tokio::time::timeout(LAST_EXPORT_MAX, over).await.is_err() {
            tracing::error!(
                "the audit trail's last head is not exported: its file does not answer"
            );
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

    /// The next head; None: it is time to try again.
    fn next(&self, waiting: &Receiver<Head>) -> Result<Option<Head>, RecvTimeoutError> {
        if self.unwritten.is_none() {
            let head = waiting.recv();
            return head.map(Some).map_err(|_| RecvTimeoutError::Disconnected);
        }
        match waiting.recv_timeout(RETRY_PAUSE) {
            Ok(head) => Ok(Some(head)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(ended) => Err(ended),
        }
    }
}

fn serve(mut file: FileOfHeads, waiting: &Receiver<Head>, tell: oneshot::Sender<Vec<Head>>) {
    match head::read_exported(&file.path) {
        Ok(exported) => {
            // A server that has stopped meanwhile wants to know nothing.
            let _ = tell.send(exported);
        }
        Err(error) => {
            tracing::error!(error, file = %file.path.display(), "the exported heads of the audit trail cannot be read");
        }
    }
    while let Ok(newer) = file.next(waiting) {
        file.write(newer);
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
