//! Keeps the newest epoch, the newest group of the log and the lineage outside the data folder, so that an older folder put back is seen, and one that was given up.
//!
//! What must hold: the anchor is read before the engine opens, and the engine commits nothing to what is older (or an older folder would come nearer to its anchor with each
//! refusal); it is written after the data it names is durable, and names no more of the log than the folder's own watermark does. A loss of power at any moment leaves a folder that is as new as its anchor, or newer.
//!
//! What was written in the last two seconds before a crash may not be noted yet, nor what was written while the anchor could not be (its disk is full, say; the log tells): a copy that lacks no more than that is not told from the folder itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palladium_crypto::{Anchor, AnchorError, Lineage};
use palladium_storage::manifest::ManifestReport;

use crate::Engine;
use crate::complaint::Complaint;
use crate::config::Config;
use crate::service_key::ServiceKey;

/// Between two notes of how far the folder is: the log may move all the time.
const PAUSE: Duration = Duration::from_secs(1);

/// The anchor of a running server.
#[derive(Clone)]
pub struct AnchorKeeper {
    path: PathBuf,
    service: ServiceKey,
    incarnation: u64,
    known: Seen,
    /// What stands in the file by this server's hand. Held from the look at the engine until it is written down: who comes later writes nothing earlier.
    noted: Arc<Mutex<Option<Seen>>>,
}

/// How far a folder has come, and in which history.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    epoch: u64,
    log_sequence: u64,
    lineage: Lineage,
}

impl Seen {
    fn of(engine: &Engine) -> Self {
        Seen {
            epoch: engine.epoch(),
            log_sequence: engine.log_sequence(),
            lineage: engine.lineage(),
        }
    }
}

/// Why a folder is not the one that its anchor was written for.
pub fn other_lineage(folder: Lineage, anchor: Lineage) -> Option<String> {
    (folder != anchor).then(|| {
        format!(
            "this data folder is of lineage {folder}, and its anchor of lineage {anchor}: it was given up when an older copy was accepted in its place, is a copy of before that, or was being accepted itself"
        )
    })
}

impl AnchorKeeper {
    /// `is_new`: nothing was committed in this folder yet, so that no anchor need be there. It is written before anything is: a crash in between would leave
    /// data without an anchor.
    pub fn open(config: &Config, service: &ServiceKey, is_new: bool) -> Result<Self, String> {
        let path = config.anchor_path();
        let known = match Anchor::read(&path, service.cluster, service.ring.active()) {
            Ok(anchor) => Some(anchor),
            Err(AnchorError::OtherCluster { .. }) => {
                return Err(format!(
                    "the anchor {} belongs to another data folder: give each folder a keyring of its own, or remove this anchor if that folder is gone for good",
                    path.display()
                ));
            }
            Err(_) if is_new => None,
            Err(error @ AnchorError::Missing) => {
                return Err(format!(
                    "anchor {}: {error}; if it is lost for good, `palladium accept-rollback` takes the data folder as it is",
                    path.display()
                ));
            }
            Err(error) => return Err(format!("anchor {}: {error}", path.display())),
        };
        let keeper = AnchorKeeper {
            path,
            service: service.clone(),
            incarnation: known.as_ref().map_or(1, |anchor| anchor.incarnation + 1),
            known: known.as_ref().map_or(Seen::default(), |anchor| Seen {
                epoch: anchor.epoch,
                log_sequence: anchor.log_sequence,
                lineage: anchor.lineage,
            }),
            noted: Arc::default(),
        };
        if known.is_none() {
            keeper.write(Seen::default())?;
        }
        Ok(keeper)
    }

    /// A folder that knows less than the anchor is an older copy, and one of another lineage another folder, however far it has come. One that has lost its manifest knows
    /// nothing of either.
    pub fn check(&self, found: &ManifestReport) -> Result<(), String> {
        let epoch = found.sequence;
        if found.is_new && self.known.epoch > 0 {
            return Err(format!(
                "the manifest of this data folder is missing: there is none in its folder `manifest`, and epoch {} was seen; without it nothing tells which files are the tables",
                self.known.epoch
            ));
        }
        if let Some(why) = other_lineage(found.lineage, self.known.lineage) {
            return Err(format!(
                "{why}; `palladium accept-rollback` takes it for the true one all the same"
            ));
        }
        match epoch < self.known.epoch {
            true => Err(format!(
                "this data folder is older than its anchor: it stands at epoch {epoch}, and epoch {} was seen; an older copy was put back. `palladium accept-rollback` takes it for the true one all the same",
                self.known.epoch
            )),
            false => Ok(()),
        }
    }

    /// So far the log has come: the engine, which reads it, opens no folder that knows less.
    pub fn known_log_sequence(&self) -> u64 {
        self.known.log_sequence
    }

    /// Writes down how far the folder is.
    pub fn note(&self, engine: &Engine) -> Result<(), String> {
        let mut noted = self.noted();
        let seen = Seen::of(engine);
        self.write(seen)?;
        *noted = Some(seen);
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Option<Seen>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, seen: Seen) -> Result<(), String> {
        let anchor = Anchor {
            cluster: self.service.cluster,
            incarnation: self.incarnation,
            epoch: seen.epoch,
            log_sequence: seen.log_sequence,
            lineage: seen.lineage,
        };
        anchor
            .write(&self.path, self.service.ring.active())
            .map_err(|error| format!("anchor {}: {error}", self.path.display()))
    }

    /// Writes it down until the process ends.
    pub async fn run(self, engine: Engine) {
        let mut complaint = Complaint::default();
        loop {
            tokio::time::sleep(PAUSE).await;
            if *self.noted() == Some(Seen::of(&engine)) {
                continue;
            }
            let (keeper, engine) = (self.clone(), engine.clone());
            // A slow disk, or an operator who holds the file's lock, keeps no request waiting.
            let written = tokio::task::spawn_blocking(move || keeper.note(&engine)).await;
            if let Err(error) = written.unwrap_or_else(|panic| Err(panic.to_string()))
                && complaint.is_due(Instant::now())
            {
                tracing::error!(%error, "the anchor could not be written");
            }
        }
    }
}
