//! `palladium audit verify DIR`: the whole chain of the audit trail in a folder that is not in use. Writes nothing into it.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | whole: each record follows the one before it, the head is signed, exported heads are found again |
//! | 1 | damage: the first record that is missing, changed, put in or put elsewhere |
//! | 2 | not checked: the service's key missing, folder in use, wrong usage |
//! | 3 | the trail ends before a head that was exported |
//!
//! The public key is printed, so that somebody outside can pin it; `--public-key` compares it with one that was pinned.

use std::process::ExitCode;

use palladium_crypto::PublicKey;

use super::folder::{DAMAGED, Folder, OLDER, WHOLE, in_runtime};
use crate::audit::{self, Checked};
use crate::config::Config;
use crate::say;
use crate::service_table::{self, EVENTS_TABLE};

/// Checks the trail and prints what it finds.
pub fn verify(config: &Config, pinned: Option<PublicKey>) -> ExitCode {
    in_runtime("audit verify", check(config, pinned))
}

/// Reads the whole trail. An outer error: it cannot be looked at; an inner one: the folder is too damaged to find it.
pub async fn look(config: &Config) -> Result<Result<Checked, String>, String> {
    let Folder {
        backend,
        service,
        inspection,
        ..
    } = match Folder::open(config).await? {
        Ok(folder) => folder,
        Err(damage) => return Ok(Err(damage)),
    };
    let exported = audit::read_exported(&config.audit_head_path())?;
    let ring = service_table::ring(&service, EVENTS_TABLE);
    let checked = async {
        let reader = inspection.reader(&backend, &ring).await?;
        audit::check(&reader, &backend, &service, &exported).await
    };
    Ok(checked.await.map_err(|error| error.to_string()))
}

async fn check(config: &Config, pinned: Option<PublicKey>) -> Result<u8, String> {
    let checked = match look(config).await? {
        Ok(checked) => checked,
        Err(damage) => {
            say!("damage: {damage}");
            return Ok(DAMAGED);
        }
    };
    say!("public key {}", checked.public_key);
    for sequence in &checked.unfinished {
        say!(
            "warning: the server started at record {sequence} and had not stopped: what it was about to write then is not here"
        );
    }
    say!(
        "records {} to {} follow each other, up to hash {}",
        checked.first,
        checked.last.sequence,
        checked.last.hash
    );
    match checked.exported {
        0 => say!(
            "warning: no exported head speaks of these records, so only the service's key vouches for them"
        ),
        heads => say!("{heads} exported heads are found again"),
    }
    if let Some(pinned) = pinned.filter(|pinned| *pinned != checked.public_key) {
        say!("damage: the trail is signed under another key than {pinned}");
        return Ok(DAMAGED);
    }
    if let Some(damage) = checked.damage {
        say!("damage: {damage}");
        return Ok(DAMAGED);
    }
    if let Some(older) = checked.older {
        say!("older: {older}");
        return Ok(OLDER);
    }
    Ok(WHOLE)
}
