//! Where the rows of a SELECT are, found out before anything is read: its keys and positions, whether there can be any, and what is said of that.
//!
//! What must hold: of several wrong values the one is met first that Cassandra meets first.

use palladium_storage::Slices;

use super::super::Settings;
use crate::error::CqlResult;
use crate::query::analyze::SelectPlan;
use crate::query::analyze::restrictions::{Judge, Partition, Restrictions};
use crate::query::analyze::select::selected_columns;
use crate::query::check;
use crate::query::expression::Scope;
use crate::query::plan::{self, Keys, Positions};
use crate::schema::ColumnKind;

/// As many rows as a client can count.
const ROWS_MAX: u32 = i32::MAX as u32;

/// Whether no row can be meant: then nothing is read. Where rows are named one by one, a static row may be; a slice that a null alone ends is one as ever.
pub(super) fn wants_no_rows(plan: &SelectPlan, positions: &Positions, slices: &Slices) -> bool {
    let table = &plan.table;
    let has_statics = || {
        let is_static = |index: &usize| table.columns[*index].kind == ColumnKind::Static;
        let mut looked_at = selected_columns(&plan.shown, &plan.aggregates);
        looked_at.extend(
            plan.restrictions
                .filters
                .iter()
                .flat_map(|filter| &filter.columns),
        );
        looked_at.retain(|index| !table.columns[*index].kind.is_primary_key());
        match looked_at.is_empty() {
            true => (0..table.columns.len()).any(|index| is_static(&index)),
            false => looked_at.iter().any(is_static),
        }
    };
    !table.clustering.is_empty()
        && slices.as_slice().is_empty()
        && !positions.is_open_at_null()
        && (!plan.restrictions.is_full_clustering || !has_statics())
}

/// Where the rows are. The order in which wrong values are found is Cassandra's.
pub(super) fn located(plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<(Keys, Positions)> {
    let (table, restrictions) = (&plan.table, &plan.restrictions);
    if !restrictions.tried_clustering.is_empty() {
        check::checks(table, &restrictions.tried_clustering, scope, Judge::Any)?;
    }
    if !restrictions.filters.is_empty() {
        check::checks(table, &restrictions.filters, scope, restrictions.judge)?;
    }
    if !matches!(restrictions.partition, Partition::Keys(_)) {
        let positions = plan::positions(table, restrictions, scope)?;
        return Ok((plan::keys(table, restrictions, scope)?, positions));
    }
    let keys = match plan::keys(table, restrictions, scope) {
        // A key that cannot be is none to look for where no rows are wanted.
        Err(error) if error.message == plan::EMPTY_KEY => {
            let positions = plan::positions(table, restrictions, scope)?;
            return match wants_no_rows(plan, &positions, &positions.slices(table)?) {
                true => Ok((Keys::Nothing, positions)),
                false => Err(error),
            };
        }
        keys => keys?,
    };
    let positions = match &keys {
        // Of no partition nothing more is asked.
        Keys::Named(keys) if keys.is_empty() => Positions::all(),
        _ => plan::positions(table, restrictions, scope)?,
    };
    Ok((keys, positions))
}

/// Whether rows are read page after page: not where all that LIMIT allows has room in one. What is sorted is all read before it is limited.
pub(super) fn is_paged(plan: &SelectPlan, settings: &Settings, limit: u32) -> bool {
    let most = match plan.sort.is_some() {
        true => ROWS_MAX,
        false => limit.min(ROWS_MAX),
    };
    let sized = settings.page_size;
    sized.is_some_and(|size| plan.is_aggregate() || size < most)
}

/// What Cassandra warns of when aggregates are asked of more than one partition.
pub(super) fn aggregation_warning(restrictions: &Restrictions) -> Option<&'static str> {
    if !restrictions.restricts_partition {
        return Some("Aggregation query used without partition key");
    }
    restrictions
        .lists_partitions()
        .then_some("Aggregation query used on multiple partition keys (IN restriction)")
}

/// What is about to be read, as a trace tells of it.
pub(super) fn executing(plan: &SelectPlan, keys: &Keys) -> String {
    match keys {
        Keys::Named(keys) if keys.len() == 1 => {
            format!("Executing single-partition query on {}", plan.table.name)
        }
        Keys::Named(keys) => format!(
            "Executing queries on {} partitions of {}",
            keys.len(),
            plan.table.name
        ),
        Keys::Range(_) => format!("Executing range query on {}", plan.table.name),
        Keys::Nothing => format!("Nothing to read of {}", plan.table.name),
    }
}
