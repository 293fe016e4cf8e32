//! `palladium explain DIR`: what a folder holds and **which KMS keys it needs**, without any key. With the service's key at hand, keyspace and table names too.
//!
//! Read-only, and only on a folder that is not in use: what a running server has is in `system_palladium.structures`. Nothing that is shown without the
//! service's key is authenticated; `palladium verify` is for that.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | explained |
//! | 2 | not a data folder, or in use |

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use palladium_crypto::{CmkRef, TableId};
use palladium_storage::explain::{Explanation, explain};
use palladium_storage::{Place, Root, RootState, SERVICE, Structure};
use serde_json::{Value, json};

use super::folder::{Folder, WHOLE, backend, in_runtime};
use crate::config::Config;
use crate::say;
use crate::schema::store;
use crate::service_table;

type Names = BTreeMap<TableId, (String, String)>;

/// Prints what the folder tells; as JSON if asked.
pub fn run(config: &Config, as_json: bool) -> ExitCode {
    in_runtime("explain", async {
        let (explanation, names) = look(config).await?;
        match as_json {
            true => say!("{:#}", to_json(&explanation, &names)),
            false => print(&explanation, &names),
        }
        Ok(WHOLE)
    })
}

/// What the folder tells, and the names of its tables or why they are not known.
pub async fn look(config: &Config) -> Result<(Explanation, Result<Names, String>), String> {
    let backend = backend(config)?;
    let explanation = explain(&backend).await.map_err(|error| error.to_string())?;
    let names = match Folder::unlock(backend, config).await {
        Ok(Ok(folder)) => {
            store::names_of(&folder.inspection, &folder.backend, &folder.service).await
        }
        Ok(Err(why)) | Err(why) => Err(why),
    };
    Ok((explanation, names))
}

/// Every KMS key that some root names, with the tables that it opens. A table with several wraps needs one of their keys.
fn needed(explanation: &Explanation) -> BTreeMap<String, BTreeSet<TableId>> {
    let mut needed: BTreeMap<String, BTreeSet<TableId>> = BTreeMap::new();
    let tables = explanation
        .tables
        .iter()
        .map(|(id, table)| (*id, &table.root));
    for (id, root) in tables.chain([(SERVICE, &explanation.service)]) {
        let RootState::Live(root) = root else {
            continue;
        };
        for cmk in keys_of(root) {
            needed.entry(cmk.to_string()).or_default().insert(id);
        }
    }
    needed
}

fn keys_of(root: &Root) -> impl Iterator<Item = &CmkRef> {
    let others = root.alternatives.iter().map(|wrap| &wrap.cmk);
    std::iter::once(&root.cmk).chain(others)
}

fn standing(id: TableId, root: &RootState) -> &'static str {
    match root {
        RootState::Live(_) => "live",
        RootState::Destroyed => "destroyed",
        RootState::Damaged => "damaged",
        RootState::Missing if service_table::ALL.contains(&id) => "derived from the service's key",
        RootState::Missing => "missing",
    }
}

fn name_of(id: TableId, names: &Result<Names, String>) -> Option<(String, String)> {
    match service_table::name(id) {
        Some(name) => Some(("system_palladium".into(), name.into())),
        None => names.as_ref().ok()?.get(&id).cloned(),
    }
}

fn print(explanation: &Explanation, names: &Result<Names, String>) {
    say!("this folder needs these KMS keys:");
    for (key, tables) in needed(explanation) {
        let of_service = tables.contains(&SERVICE);
        let count = tables.len() - usize::from(of_service);
        let what = match (of_service, count) {
            (true, 0) => "the service's own key".to_owned(),
            (true, count) => format!("the service's own key, {count} tables"),
            (false, count) => format!("{count} tables"),
        };
        say!("  {key}\t{what}");
    }
    if let Err(why) = names {
        say!("names of keyspaces and tables are not known: {why}");
    }
    let epoch = explanation
        .epoch
        .map_or("unknown".to_owned(), |epoch| epoch.to_string());
    say!(
        "epoch {epoch}; {} log segments of {} bytes",
        explanation.log_segments,
        explanation.log_bytes
    );
    for (id, table) in &explanation.tables {
        let name = name_of(*id, names).map_or_else(String::new, |(keyspace, name)| {
            format!(" {keyspace}.{name}")
        });
        say!("table {id}{name}: root {}", standing(*id, &table.root));
        if let RootState::Live(root) = &table.root {
            let keys: Vec<String> = keys_of(root).map(CmkRef::to_string).collect();
            let versions: Vec<String> = root
                .fingerprints
                .iter()
                .map(|(version, fingerprint)| format!("{version} ({fingerprint})"))
                .collect();
            say!(
                "  under {}; epoch {}; table key versions {}, newest {}",
                keys.join(" or "),
                root.epoch,
                versions.join(", "),
                root.version
            );
        }
        if !table.is_named {
            say!("  left over: the manifest does not name it");
        }
        for structure in &table.structures {
            say!("  {}", line(structure));
        }
    }
}

fn line(structure: &Structure) -> String {
    let place = match structure.place {
        Place::Sstable(id) => format!("SSTable {id}"),
        Place::Segment(number) => format!("log segment {number}"),
    };
    let version = structure
        .key_version
        .map_or("unknown".to_owned(), |version| version.to_string());
    format!(
        "{} {} {} bytes, {place}, table key version {version}",
        structure.structure, structure.kind, structure.bytes
    )
}

/// The same as JSON.
pub fn to_json(explanation: &Explanation, names: &Result<Names, String>) -> Value {
    let keys: Vec<Value> = needed(explanation)
        .into_iter()
        .map(|(key, tables)| {
            let of_service = tables.contains(&SERVICE);
            let tables: Vec<String> = tables
                .iter()
                .filter(|id| **id != SERVICE)
                .map(TableId::to_string)
                .collect();
            json!({"key": key, "is_service_key": of_service, "tables": tables})
        })
        .collect();
    let tables: Vec<Value> = explanation
        .tables
        .iter()
        .map(|(id, table)| {
            let (keyspace, name) = name_of(*id, names).unzip();
            let root = match &table.root {
                RootState::Live(root) => root_json(root),
                _ => Value::Null,
            };
            json!({
                "id": id.to_string(),
                "keyspace_name": keyspace,
                "table_name": name,
                "is_named": table.is_named,
                "root_state": standing(*id, &table.root),
                "root": root,
                "structures": table.structures.iter().map(structure_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "epoch": explanation.epoch,
        "kms_keys": keys,
        "names_unknown": names.as_ref().err(),
        "log_segments": explanation.log_segments,
        "log_bytes": explanation.log_bytes,
        "tables": tables,
    })
}

fn root_json(root: &Root) -> Value {
    let versions: Vec<Value> = root
        .fingerprints
        .iter()
        .map(|(version, fingerprint)| {
            json!({"version": version, "fingerprint": fingerprint.to_string()})
        })
        .collect();
    json!({
        "keys": keys_of(root).map(CmkRef::to_string).collect::<Vec<_>>(),
        "epoch": root.epoch,
        "version": root.version,
        "versions": versions,
    })
}

fn structure_json(structure: &Structure) -> Value {
    let (sstable, segment) = match structure.place {
        Place::Sstable(id) => (Some(id), None),
        Place::Segment(number) => (None, Some(number)),
    };
    json!({
        "structure": structure.structure.to_string(),
        "kind": structure.kind.to_string(),
        "bytes": structure.bytes,
        "key_version": structure.key_version,
        "sstable": sstable,
        "log_segment": segment,
    })
}
