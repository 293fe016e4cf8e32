//! The exported file's own thread: a disk that hangs under it stops the showing of the head, and nothing else.
//!
//! ```text
//! writer ── newest head ──► [ one place ] ──► thread: reads the file once, then replaces it for each head it gets
//!    ▲                                            │
//!    └──────── what the file knows now ───────────┘
//! ```
//!
//! A head that finds the place taken is not shown; a newer one is, a minute later. When the server stops, the thread is waited for so long and no longer: it is
//! no task of the runtime's, so a call that never returns keeps no process alive.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::head::{self, Head};

/// How long a stopping server waits for the file.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(2);

/// Where heads are handed in to be exported.
pub(super) struct Exporter {
    heads: SyncSender<Head>,
    /// Ends with the thread.
    over: oneshot::Receiver<()>,
    /// The newest record of which the file was given the head.
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
                serve(&file, &waiting, tell);
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

fn serve(file: &std::path::Path, waiting: &Receiver<Head>, tell: oneshot::Sender<Vec<Head>>) {
    match head::read_exported(file) {
        Ok(exported) => {
            // A server that has stopped meanwhile wants to know nothing.
            let _ = tell.send(exported);
        }
        Err(error) => {
            tracing::error!(error, file = %file.display(), "the exported heads of the audit trail cannot be read");
        }
    }
    while let Ok(head) = waiting.recv() {
        if let Err(error) = head::export(file, &head) {
            tracing::error!(error, file = %file.display(), "the audit trail's head is not exported");
        }
    }
}
