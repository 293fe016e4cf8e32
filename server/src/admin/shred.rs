//! `palladium shred list DIR` and `palladium shred verify CERT DIR`: certificates of destroyed tables, in a folder that is not in use.
//!
//! | exit of verify | meaning |
//! |---|---|
//! | 0 | the signature holds, and the folder has no wrap of the keys that the certificate names |
//! | 1 | the signature does not hold, or the folder has such a wrap |
//! | 2 | not checked: nobody vouches for the certificate's key, folder in use, wrong usage |
//!
//! Who vouches for the key: the service's own key where the keyring is at hand (the key must be its child), or `--public-key` with the key as it was pinned.
//! Without a keyring the folder is read as anybody can read it; what is public and not authenticated then is enough to find a wrap, since a wrap that is not
//! where this looks is found by no server either.

use std::path::Path;
use std::process::ExitCode;

use palladium_crypto::{PublicKey, Signer, TableId};
use palladium_storage::explain::{Explanation, explain};
use palladium_storage::{Place, RootState};

use super::folder::{DAMAGED, Folder, NOT_CHECKED, WHOLE, backend, in_runtime};
use crate::config::Config;
use crate::say;
use crate::service_table::{self, SHREDS_TABLE};
use crate::shredding::{self, Certificate, Shredded};

/// Prints all certificates of a folder; as JSON, one a line, if asked.
pub fn list(config: &Config, as_json: bool) -> ExitCode {
    in_runtime("shred list", async {
        let folder = match Folder::open(config).await? {
            Ok(folder) => folder,
            Err(damage) => {
                say!("damage: {damage}");
                return Ok(DAMAGED);
            }
        };
        for certificate in certificates(&folder).await? {
            match (as_json, certificate.verify()) {
                (true, _) => say!("{}", certificate.to_text()),
                (false, Ok(shredded)) => say!("{}", line(&shredded)),
                (false, Err(why)) => say!("damage: a certificate: {why}"),
            }
        }
        Ok(WHOLE)
    })
}

async fn certificates(folder: &Folder) -> Result<Vec<Certificate>, String> {
    let say = |error: palladium_storage::Error| error.to_string();
    let ring = service_table::ring(&folder.service, SHREDS_TABLE);
    let reader = folder
        .inspection
        .reader(&folder.backend, &ring)
        .await
        .map_err(say)?;
    let mut all = Vec::new();
    let mut resume = None;
    loop {
        let command = shredding::page_command(resume, 0);
        let page = reader.read(&folder.backend, &command).await.map_err(say)?;
        let found = shredding::certificates(&page);
        all.extend(found.into_iter().map(|(_, certificate)| certificate));
        resume = page.next;
        if resume.is_none() {
            return Ok(all);
        }
    }
}

fn line(shredded: &Shredded) -> String {
    format!(
        "{} {}.{} key {} epoch {} {} key versions {} structures{}",
        shredded.table,
        shredded.keyspace_name,
        shredded.table_name,
        shredded.key.as_deref().unwrap_or("unknown"),
        shredded.epoch,
        shredded.fingerprints.len(),
        shredded.structures_total,
        match shredded.made_after_crash {
            true => " (signed after a crash)",
            false => "",
        }
    )
}

/// Checks a certificate against a folder, and prints what it finds.
pub fn verify(config: &Config, certificate: &Path, pinned: Option<PublicKey>) -> ExitCode {
    in_runtime("shred verify", check(config, certificate, pinned))
}

async fn check(config: &Config, path: &Path, pinned: Option<PublicKey>) -> Result<u8, String> {
    let text =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let certificate = Certificate::from_bytes(&text)?;
    let shredded = match certificate.verify() {
        Ok(shredded) => shredded,
        Err(why) => {
            say!("damage: the certificate: {why}");
            return Ok(DAMAGED);
        }
    };
    say!("{}", line(&shredded));
    let backend = backend(config)?;
    let explanation = explain(&backend).await.map_err(|error| error.to_string())?;
    let public_key = certificate.public_key()?;
    let (own, names_it) = match Folder::unlock(backend, config).await {
        Ok(Ok(folder)) => {
            let id: Option<TableId> = shredded.table.parse().ok();
            let names_it = id.is_some_and(|id| folder.inspection.has_table(id));
            let own = Signer::derive(folder.service.ring.active()).public_key();
            (Ok(own), names_it)
        }
        Ok(Err(why)) | Err(why) => (Err(why), false),
    };
    let mut found = wraps(&explanation, &shredded)?;
    if names_it {
        found.push("the manifest names the table".into());
    }
    for wrap in &found {
        say!("damage: {wrap}");
    }
    if let Some(pinned) = pinned.filter(|pinned| *pinned != public_key) {
        say!("damage: the certificate is signed under another key than {pinned}");
        return Ok(DAMAGED);
    }
    if own.as_ref().is_ok_and(|own| *own != public_key) && pinned.is_none() {
        say!(
            "damage: the certificate is signed under {public_key}, which is not this folder's key"
        );
        return Ok(DAMAGED);
    }
    if !found.is_empty() {
        return Ok(DAMAGED);
    }
    leftovers(&explanation, &shredded);
    match (&own, pinned) {
        (Ok(_), _) | (_, Some(_)) => {
            say!("this folder holds no wrap of these keys");
            say!("not promised: {}", shredded.no_promise);
            Ok(WHOLE)
        }
        (Err(why), None) => {
            say!(
                "not checked: nobody vouches for the key {public_key}: {why}; --public-key compares it with one that was pinned"
            );
            Ok(NOT_CHECKED)
        }
    }
}

/// Everything in the folder that could open what the certificate says cannot be opened.
fn wraps(explanation: &Explanation, shredded: &Shredded) -> Result<Vec<String>, String> {
    let table: TableId = shredded
        .table
        .parse()
        .map_err(|error: palladium_crypto::Error| error.to_string())?;
    let destroyed: Vec<[u8; 16]> = shredded
        .fingerprints
        .iter()
        .filter_map(|key| shredding::fingerprint_bytes(&key.fingerprint))
        .collect();
    let mut found = Vec::new();
    for (id, explained) in &explanation.tables {
        match &explained.root {
            RootState::Live(root) => {
                if *id == table {
                    found.push(format!("the root of table {id} is there"));
                }
                for (version, fingerprint) in &root.fingerprints {
                    if destroyed.contains(&fingerprint.0) {
                        found.push(format!(
                            "the root of table {id} wraps a key of fingerprint {fingerprint} (version {version})"
                        ));
                    }
                }
            }
            RootState::Damaged if *id == table => {
                found.push(format!(
                    "what stands where the root of table {id} was cannot be read"
                ));
            }
            _ => {}
        }
        if *id == table && explained.is_named {
            found.push(format!("the manifest has an entry of table {id}"));
        }
    }
    Ok(found)
}

/// Log segments go when all in them is written out; until then they hold ciphertext of the table, under keys that nothing opens.
fn leftovers(explanation: &Explanation, shredded: &Shredded) {
    let table = explanation
        .tables
        .iter()
        .find(|(id, _)| id.to_string() == shredded.table);
    for structure in table.iter().flat_map(|(_, table)| &table.structures) {
        if let Place::Segment(number) = structure.place {
            say!(
                "note: log segment {number} still holds {} sealed bytes of the table, which nothing in this folder opens; the segment goes when it is written out",
                structure.bytes
            );
        }
    }
}
