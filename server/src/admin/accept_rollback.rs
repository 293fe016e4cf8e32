//! `palladium accept-rollback DIR`: an operator takes an older data folder, or one that was given up, for the true one, and that is written down in it.
//!
//! ```text
//! look: how old is the folder, how old the keyring ─► say what is lost ─► --yes
//! do:   a lineage of its own for the folder ─► record in its audit trail ─► the older keyring, if that too ─► exported heads of the other trail set aside ─► anchor: next incarnation, this epoch, this end of the log, this lineage
//! ```
//!
//! What must hold: the lineage comes first and the anchor last. A crash before the first leaves a folder that is refused as before; one between the two a folder of a lineage that no anchor
//! knows, which is refused however far the record has brought it. Asking again draws another lineage and writes a second record. With the anchor the folder that was given up is of a
//! lineage that nobody knows any more: nobody takes it for the one that went on.
//!
//! An older keyring alone gives the folder no other lineage: nothing of the folder is given up.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | accepted, or nothing was to be accepted |
//! | 1 | the folder is too damaged to be opened |
//! | 2 | nothing was changed: `--yes` missing, keys missing, folder in use |
//! | 3 | cut short: the folder may be of its new lineage already, and its anchor is the old one; to be asked for again |

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use palladium_crypto::{
    Anchor, AnchorError, EncryptionContext, KeyringMoment, Lineage, Succession,
};
use palladium_storage::{Env, Options};

use super::age::Ages;
use super::folder::{DAMAGED, Folder, NOT_CHECKED, WHOLE, in_runtime};
use crate::anchor::other_lineage;
use crate::audit::{self, Asker, Event, Head, Standing, Trail};
use crate::config::Config;
use crate::env::RealEnv;
use crate::keyring_record;
use crate::output::complain;
use crate::say;
use crate::server::open_engine;
use crate::service_table::{self, SCHEMA_TABLE};

/// What was begun is not finished.
const CUT_SHORT: u8 = 3;

/// What the operator has said.
#[derive(Debug, Clone, Copy)]
pub struct Consent {
    /// Do it.
    pub yes: bool,
    /// An older copy of the keyring, too.
    pub keyring_too: bool,
}

/// What there is to accept.
#[derive(Debug)]
struct Found {
    /// Where the folder stands.
    folder_epoch: u64,
    /// The newest group of its log.
    folder_log_sequence: u64,
    /// Which history of it this is.
    folder_lineage: Lineage,
    /// What the anchor knows; the inner error: it cannot be read, and why.
    anchor: Result<Anchor, String>,
    /// Where the keyring stands.
    keyring: KeyringMoment,
    /// What the folder knows of it.
    recorded: KeyringMoment,
    /// How the one follows on the other.
    succession: Succession,
}

impl Found {
    fn is_older(&self) -> bool {
        match &self.anchor {
            Ok(anchor) => {
                self.folder_lineage != anchor.lineage
                    || self.folder_epoch < anchor.epoch
                    || self.folder_log_sequence < anchor.log_sequence
            }
            Err(_) => true,
        }
    }

    fn is_keyring_another(&self) -> bool {
        self.succession != Succession::Continues
    }

    fn keyring_refusal(&self) -> Option<String> {
        keyring_record::refusal(self.succession, &self.keyring, &self.recorded)
    }

    /// For whoever reads the trail. So many exported heads are of another trail than this one.
    fn context(&self, heads_set_aside: usize) -> EncryptionContext {
        let mut told = BTreeMap::from([
            ("folder epoch".to_owned(), self.folder_epoch.to_string()),
            (
                "folder log group".to_owned(),
                self.folder_log_sequence.to_string(),
            ),
            ("keyring edits".to_owned(), self.keyring.edits.to_string()),
            ("folder lineage".to_owned(), self.folder_lineage.to_string()),
            (
                "keyring edits recorded".to_owned(),
                self.recorded.edits.to_string(),
            ),
        ]);
        if let Some(why) = self.keyring_refusal() {
            told.insert("keyring".into(), why);
        }
        if heads_set_aside > 0 {
            told.insert(
                "exported heads set aside".into(),
                heads_set_aside.to_string(),
            );
        }
        match &self.anchor {
            Ok(anchor) => {
                told.insert("anchor epoch".into(), anchor.epoch.to_string());
                told.insert("anchor log group".into(), anchor.log_sequence.to_string());
                told.insert("anchor lineage".into(), anchor.lineage.to_string());
                told.insert("incarnation".into(), anchor.incarnation.to_string());
            }
            Err(why) => {
                told.insert("anchor".into(), why.clone());
            }
        }
        EncryptionContext(told)
    }
}

/// Does it, or says what it would do.
pub fn run(config: &Config, consent: Consent) -> ExitCode {
    in_runtime("accept-rollback", accept(config, consent))
}

async fn accept(config: &Config, consent: Consent) -> Result<u8, String> {
    config.check_places()?;
    let folder = match Folder::open(config).await? {
        Ok(folder) => folder,
        Err(damage) => {
            say!("damage: {damage}");
            return Ok(DAMAGED);
        }
    };
    for damage in folder.inspection.damage() {
        say!("warning: damage that stays: {damage}");
    }
    let found = look(config, &folder).await?;
    if !found.is_older() && !found.is_keyring_another() {
        say!(
            "nothing is to be accepted: the folder is as new as its anchor, and the keyring as new as the folder knows"
        );
        return Ok(WHOLE);
    }
    tell(&found);
    if found.is_keyring_another() && !consent.keyring_too {
        return Err(
            "the keyring is an older copy, or another one; --keyring-too accepts it: keys that were taken away since may be there again"
                .into(),
        );
    }
    if !consent.yes {
        say!("nothing was changed; --yes accepts this");
        return Ok(NOT_CHECKED);
    }
    match record(config, folder, &found).await {
        Ok(epoch) => {
            say!("accepted: the folder stands at epoch {epoch}, and the server may start");
            Ok(WHOLE)
        }
        Err(why) => {
            complain(format_args!(
                "palladium accept-rollback: cut short: {why}; the folder may be changed already, and is refused until this is asked for again and goes through"
            ));
            Ok(CUT_SHORT)
        }
    }
}

async fn look(config: &Config, folder: &Folder) -> Result<Found, String> {
    let ages = Ages::look(config, folder).await;
    let anchor = match ages.anchor {
        Ok(anchor) => Ok(anchor),
        Err(error @ (AnchorError::Missing | AnchorError::Damaged(_))) => Err(error.to_string()),
        Err(error) => {
            return Err(format!(
                "anchor {}: {error}",
                config.anchor_path().display()
            ));
        }
    };
    let (keyring, succession) = ages.keyring.map_err(|error| format!("keyring: {error}"))?;
    Ok(Found {
        folder_epoch: ages.folder_epoch,
        folder_log_sequence: ages.folder_log_sequence,
        folder_lineage: ages.folder_lineage,
        anchor,
        keyring,
        recorded: ages.recorded?,
        succession,
    })
}

fn tell(found: &Found) {
    match &found.anchor {
        Ok(anchor) if found.folder_epoch < anchor.epoch => say!(
            "the folder stands at epoch {}, and epoch {} was seen (start {}): what was written in between is not in it",
            found.folder_epoch,
            anchor.epoch,
            anchor.incarnation
        ),
        Ok(anchor) if found.folder_log_sequence < anchor.log_sequence => say!(
            "the folder's log ends at group {}, and group {} was seen (start {}): what was written in between is not in it",
            found.folder_log_sequence,
            anchor.log_sequence,
            anchor.incarnation
        ),
        Ok(_) => {}
        Err(why) => say!(
            "{why}: whether the folder, at epoch {}, is an older copy cannot be told",
            found.folder_epoch
        ),
    }
    let anchor = found.anchor.as_ref().ok();
    let other = anchor.and_then(|anchor| other_lineage(found.folder_lineage, anchor.lineage));
    if let Some(why) = other {
        say!("{why}. What was written to the other one since is not in it");
    }
    if let Some(why) = found.keyring_refusal() {
        say!("{why}");
    }
}

/// Writes it down, inside the folder and outside. Gives the folder's epoch afterwards.
async fn record(config: &Config, folder: Folder, found: &Found) -> Result<u64, String> {
    let say = |error: palladium_storage::Error| error.to_string();
    let Folder {
        backend, service, ..
    } = folder;
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    let options = Options {
        lineage_begun: found.is_older().then(|| Lineage::random(env.entropy())),
        ..config.engine_options()
    };
    let (engine, trail) = open_engine(backend, &env, &service, config, options).await?;
    let exported = match found.is_older() {
        true => told_apart(config, &trail).await,
        // No folder was given up: a head that does not fit is what `audit verify` looks for.
        false => Default::default(),
    };
    let event = Event {
        context: Some(found.context(exported.1.len())),
        asker: Asker {
            standing: Standing::Server,
            who: operator().into(),
            client: None,
        },
        ..Event::of_server("ACCEPT ROLLBACK", env.wall_micros())
    };
    trail.append(&[event]).await.map_err(say)?;
    if found.is_keyring_another() {
        service_table::open(&engine, &service, SCHEMA_TABLE, Default::default())
            .await
            .map_err(say)?;
        keyring_record::accept(&engine, found.keyring)
            .await
            .map_err(say)?;
    }
    engine.close().await.map_err(say)?;
    export(config, &trail, exported)?;
    let epoch = engine.epoch();
    let anchor = Anchor {
        cluster: service.cluster,
        incarnation: found
            .anchor
            .as_ref()
            .map_or(1, |anchor| anchor.incarnation.saturating_add(1)),
        epoch,
        log_sequence: engine.log_sequence(),
        lineage: engine.lineage(),
    };
    anchor
        .write(&config.anchor_path(), service.ring.active())
        .map_err(|error| format!("anchor {}: {error}", config.anchor_path().display()))?;
    Ok(epoch)
}

/// Exported heads of this trail, and those of another one. A file that cannot be read has none: it is set aside where the next head is added to it.
async fn told_apart(config: &Config, trail: &Trail) -> (Vec<Head>, Vec<Head>) {
    let exported = audit::read_exported(&config.audit_head_path()).unwrap_or_default();
    trail.told_apart(exported).await
}

/// Heads of the trail that is given up speak of records that this one never had, newer ones or others in the place of its own: they are kept under another name, for whoever wants to know.
fn export(
    config: &Config,
    trail: &Trail,
    (own, others): (Vec<Head>, Vec<Head>),
) -> Result<(), String> {
    let path = config.audit_head_path();
    let Some(head) = trail.head() else {
        return Ok(());
    };
    if !others.is_empty() {
        let kept = audit::set_aside_but(&path, "before-rollback", &own)?;
        say!(
            "{} exported heads of another audit trail than this one are kept in {}",
            others.len(),
            kept.display()
        );
    }
    audit::export(&path, &head)
}

/// The person at the keyboard, as the operating system knows him.
pub(super) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_acceptance_says_how_many_exported_heads_were_set_aside() {
        let found = Found {
            folder_epoch: 1,
            folder_log_sequence: 2,
            folder_lineage: Lineage::default(),
            anchor: Err("there is no anchor".into()),
            keyring: KeyringMoment::default(),
            recorded: KeyringMoment::default(),
            succession: Succession::Continues,
        };
        let said = |heads| {
            found
                .context(heads)
                .0
                .get("exported heads set aside")
                .cloned()
        };
        assert_eq!(said(7).as_deref(), Some("7"));
        assert_eq!(said(0), None);
    }
}
