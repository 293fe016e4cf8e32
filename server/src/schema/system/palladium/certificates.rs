//! `system_palladium.shred_certificates`: the tables that were destroyed, with the signed certificate of each.

use palladium_protocol::types::CqlValue;
use palladium_storage::{Limits, ReadCommand, ReadPage};

use super::super::super::TableSchema;
use super::super::rows::{Named, Rows, boolean, text, text_map, uuid};
use super::View;
use crate::error::CqlResult;
use crate::shredding::{Certificate, Shredding};

/// One page of the table. Its partitions are those of the stored table, so a position in one is a position in the other.
pub async fn read(
    shredding: &Shredding,
    table: &TableSchema,
    command: &ReadCommand,
    view: View<'_>,
) -> CqlResult<ReadPage> {
    let (certificates, next) = shredding.page(command).await?;
    let mut rows = Rows::new(table, command);
    for (id, certificate) in certificates {
        if is_shown(&certificate, view) {
            rows.add(row(id.0, &certificate))?;
        }
    }
    let command = ReadCommand {
        resume: None,
        limits: Limits::NONE,
        ..command.clone()
    };
    let page = rows.read(&command)?;
    Ok(ReadPage { next, ..page })
}

/// Permissions on a table are gone with it: who has them on its keyspace still sees it, if he may know the key whose name the certificate holds.
fn is_shown(certificate: &Certificate, view: View<'_>) -> bool {
    view.shows_all()
        || certificate.verify().is_ok_and(|shredded| {
            let key = shredded.key.as_deref();
            view.shows(&shredded.keyspace_name, &shredded.table_name)
                && key.is_none_or(|key| view.key(key).is_some())
        })
}

fn row(id: [u8; 16], certificate: &Certificate) -> Vec<Named> {
    let mut row = vec![
        ("id", uuid(id)),
        ("certificate", text(certificate.to_text())),
    ];
    // One that does not hold is shown as it is, and states nothing.
    if let Ok(shredded) = certificate.verify() {
        let fingerprints = shredded
            .fingerprints
            .iter()
            .map(|key| (key.version.to_string(), key.fingerprint.clone()))
            .collect();
        row.extend([
            ("keyspace_name", text(shredded.keyspace_name)),
            ("table_name", text(shredded.table_name)),
            ("kms_key", shredded.key.and_then(text)),
            ("epoch", Some(CqlValue::Bigint(shredded.epoch as i64))),
            (
                "destroyed_at",
                Some(CqlValue::Timestamp(
                    shredded.destroyed_at_micros.div_euclid(1_000),
                )),
            ),
            ("fingerprints", text_map(&fingerprints)),
            (
                "structures",
                Some(CqlValue::Bigint(shredded.structures_total as i64)),
            ),
            ("made_after_crash", boolean(shredded.made_after_crash)),
        ]);
    }
    row
}
