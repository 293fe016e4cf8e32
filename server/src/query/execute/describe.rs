//! DESCRIBE: the schema as statements, a page at a time.
//!
//! What must hold: all pages of a description are of one schema.

use std::sync::Arc;

use palladium_crypto::CmkRef;
use palladium_protocol::cql::ast::Describe;
use palladium_protocol::response::{EncodedMetadata, MetadataMode};

use super::Settings;
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::query::answer::{Cells, Response, Rows, RowsMetadata};
use crate::query::paging::{DescriptionState, fingerprint};
use crate::query::prepared::{Statement, metadata_id};
use crate::query::values::Given;
use crate::schema::describe::{Cluster, describe, without_key_names};

/// Answers a session in `keyspace`.
pub fn description(
    database: &Database,
    keyspace: Option<&str>,
    statement: &Statement,
    tree: &Describe,
    settings: &Settings,
) -> CqlResult<Response> {
    let authority = &database.authority;
    let mut catalog = database.catalog.load_full();
    let version = catalog.version();
    if authority.authorizes() {
        let asker = &settings.asker;
        let is_shown = |cmk: &CmkRef| authority.may_name_key(asker, &cmk.to_string());
        catalog = Arc::new(without_key_names(&catalog, is_shown));
    }
    let cluster = Cluster {
        name: database.config.cluster_name.clone(),
        ownership: vec![("0".into(), format!("/{}:7000", database.config.listen.ip()))],
    };
    let description = describe(&catalog, keyspace, &cluster, tree)?;
    let own = fingerprint(statement, &Given::none());
    let mut shown = 0;
    if let Some(state) = &settings.paging_state {
        let state = DescriptionState::open(state, &database.page_seal, &own)?;
        if state.version != version {
            return Err(CqlError::invalid(
                "The schema has changed since the previous page of the DESCRIBE statement result. Please retry the DESCRIBE statement.",
            ));
        }
        shown = state.shown;
    }
    let page_size = settings.page_size;
    let left = description.rows.iter().skip(shown as usize);
    let page: Vec<_> = left
        .take(page_size.map_or(usize::MAX, |size| size as usize))
        .collect();
    let mut cells = Cells::default();
    for row in &page {
        cells.put_row(row.iter().map(Option::as_deref));
    }
    // As in Cassandra: nobody has looked whether more follows a full page.
    let paging_state = match page_size.filter(|size| *size as usize == page.len()) {
        Some(size) => {
            let next = DescriptionState {
                version,
                shown: shown.saturating_add(size),
            };
            Some(next.seal(&database.page_seal, &own)?)
        }
        None => None,
    };
    let metadata = EncodedMetadata::new(&description.columns, metadata_id(&description.columns));
    Ok(Response::Rows(Rows {
        metadata: RowsMetadata::Own(metadata),
        mode: MetadataMode::Full,
        paging_state,
        cells,
    }))
}
