//! How old a folder and its keyring are: each against what somebody else remembers of a newer one.
//!
//! | what | compared with | which is kept |
//! |---|---|---|
//! | the folder's epoch, the newest group of its log, and its lineage | the anchor's | outside the folder |
//! | the keyring's edits and history | the moment that was recorded | in the folder |

use palladium_crypto::{Anchor, AnchorError, KeyringMoment, Lineage, Succession};

use super::folder::Folder;
use crate::anchor::other_lineage;
use crate::config::Config;
use crate::keyring_record;
use crate::service_table::{self, SCHEMA_TABLE};

/// Where both stand. An inner error says why that is not known.
pub(super) struct Ages {
    pub folder_epoch: u64,
    pub folder_log_sequence: u64,
    pub folder_lineage: Lineage,
    pub anchor: Result<Anchor, AnchorError>,
    /// Where the keyring stands, and how that follows on what was recorded.
    pub keyring: Result<(KeyringMoment, Succession), String>,
    pub recorded: Result<KeyringMoment, String>,
}

/// Whether something is older than it should be.
pub(super) enum Age {
    Newest,
    Older(String),
    Unknown(String),
}

impl Ages {
    /// Looks at a folder, its anchor and its keyring.
    pub async fn look(config: &Config, folder: &Folder) -> Ages {
        let service = &folder.service;
        let ring = service_table::ring(service, SCHEMA_TABLE);
        let recorded = async {
            let reader = folder.inspection.reader(&folder.backend, &ring).await?;
            keyring_record::recorded(&reader, &folder.backend).await
        };
        let recorded = recorded.await.map_err(|error| error.to_string());
        let known = recorded.as_ref().copied().unwrap_or_default();
        let keyring = folder.keyring.since(&known);
        Ages {
            folder_epoch: folder.inspection.epoch(),
            folder_log_sequence: folder.inspection.last_group_known(),
            folder_lineage: folder.inspection.lineage(),
            anchor: Anchor::read(
                &config.anchor_path(),
                service.cluster,
                service.ring.active(),
            ),
            keyring: keyring.map_err(|error| error.to_string()),
            recorded,
        }
    }

    /// The folder against its anchor. Without one nobody knows: a server refuses that too, unless the folder is new.
    pub fn of_folder(&self) -> Age {
        let (epoch, group) = (self.folder_epoch, self.folder_log_sequence);
        match &self.anchor {
            Ok(anchor) => match other_lineage(self.folder_lineage, anchor.lineage) {
                Some(why) => Age::Older(why),
                None if anchor.epoch > epoch => Age::Older(format!(
                    "the folder stands at epoch {epoch}, and the anchor knows {}",
                    anchor.epoch
                )),
                None if anchor.log_sequence > group => Age::Older(format!(
                    "the folder's log ends at group {group}, and the anchor knows {}",
                    anchor.log_sequence
                )),
                None => Age::Newest,
            },
            // Nothing was ever committed: there is nothing that could be an older copy.
            Err(AnchorError::Missing) if epoch == 0 => Age::Newest,
            Err(error) => Age::Unknown(error.to_string()),
        }
    }

    /// The keyring against what the folder has recorded of it.
    pub fn of_keyring(&self) -> Age {
        let ((now, succession), recorded) = match (&self.keyring, &self.recorded) {
            (Err(error), _) | (_, Err(error)) => return Age::Unknown(error.clone()),
            (Ok(keyring), Ok(recorded)) => (keyring, recorded),
        };
        let why = keyring_record::refusal(*succession, now, recorded);
        match (succession, why) {
            (_, None) => Age::Newest,
            (Succession::Older, _) => Age::Older(format!(
                "the keyring has seen {} edits, and the folder knows of {}",
                now.edits, recorded.edits
            )),
            (Succession::Forgotten, Some(why)) => Age::Unknown(why),
            (_, Some(why)) => Age::Older(why),
        }
    }
}
