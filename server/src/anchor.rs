//! Keeps the newest epoch outside the data folder, so that an older folder put back is seen.
//!
//! What must hold: the anchor is read before the engine opens (opening is a commit, and an older folder would come nearer to its anchor with each refusal); it
//! is written after the data it names.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palladium_crypto::{Anchor, AnchorError};

use crate::Engine;
use crate::config::Config;
use crate::service_key::ServiceKey;

/// Between two notes of the newest epoch.
const PAUSE: Duration = Duration::from_secs(1);

/// The anchor of a running server.
#[derive(Clone)]
pub struct AnchorKeeper {
    path: PathBuf,
    service: ServiceKey,
    incarnation: u64,
    known_epoch: u64,
    /// Held from the look at the epoch until it is written down: who comes later writes no earlier one.
    noting: Arc<Mutex<()>>,
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
            known_epoch: known.as_ref().map_or(0, |anchor| anchor.epoch),
            noting: Arc::default(),
        };
        if known.is_none() {
            keeper.write(0)?;
        }
        Ok(keeper)
    }

    /// A folder that knows less than the anchor is an older copy.
    pub fn check(&self, epoch: u64) -> Result<(), String> {
        match epoch < self.known_epoch {
            true => Err(format!(
                "this data folder is older than its anchor: it stands at epoch {epoch}, and epoch {} was seen; an older copy was put back",
                self.known_epoch
            )),
            false => Ok(()),
        }
    }

    /// Writes down how far the folder is.
    pub fn note(&self, engine: &Engine) -> Result<(), String> {
        let _noting = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(engine.epoch())
    }

    fn write(&self, epoch: u64) -> Result<(), String> {
        let anchor = Anchor {
            cluster: self.service.cluster,
            incarnation: self.incarnation,
            epoch,
        };
        anchor
            .write(&self.path, self.service.ring.active())
            .map_err(|error| format!("anchor {}: {error}", self.path.display()))
    }

    /// Writes it down until the process ends.
    pub async fn run(self, engine: Engine) {
        let mut noted = engine.epoch();
        loop {
            tokio::time::sleep(PAUSE).await;
            let epoch = engine.epoch();
            if epoch == noted {
                continue;
            }
            let (keeper, engine) = (self.clone(), engine.clone());
            // A slow disk, or an operator who holds the file's lock, keeps no request waiting.
            let written = tokio::task::spawn_blocking(move || keeper.note(&engine)).await;
            match written.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(()) => noted = epoch,
                Err(error) => tracing::error!(%error, "the anchor could not be written"),
            }
        }
    }
}
