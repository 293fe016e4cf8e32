//! SELECT: what is shown, what is read for it, and in which order.

use std::collections::HashSet;
use std::sync::Arc;

use palladium_protocol::cql::ast::{Direction, Name, OrderingKey, Select, Selection, Term};
use palladium_protocol::response::ColumnSpec;
use palladium_protocol::types::CqlType;

use super::groups::{GroupBy, group_by, is_fixed};
use super::nearest::{self, Near};
use super::parts::Chosen;
use super::restrict::{Purpose, REQUIRES_FILTERING, SEVERAL_PARTITIONS, restrict};
use super::restrictions::{Judge, Partition, Restrictions};
use super::term::{ANY_COLUMN, Aggregate, Markers, Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::schema::{Catalog, ColumnKind, TableSchema, system};

/// A SELECT with names and types settled.
#[derive(Debug)]
pub struct SelectPlan {
    pub table: Arc<TableSchema>,
    pub restrictions: Restrictions,
    /// What each result column is; behind them, what only ordering needs.
    pub shown: Vec<Typed>,
    /// How many of `shown` the client sees.
    pub visible: usize,
    pub specs: Vec<ColumnSpec>,
    /// Whether the whole row is shown as one JSON text.
    pub json: bool,
    pub distinct: bool,
    pub aggregates: Vec<Aggregate>,
    /// What makes groups of rows.
    pub group_by: Option<GroupBy>,
    /// Rows of a partition from last to first.
    pub reversed: bool,
    /// Rows are put in order after reading, by these of `shown`: with IN on the partition key.
    pub sort: Option<Vec<(usize, bool)>>,
    /// Rows are sorted by how alike their vectors are, those without one are left out.
    pub nearest: Option<Near>,
    pub limit: Option<Expression>,
    pub per_partition_limit: Option<Expression>,
    /// Whether any shown or tested column is part of the clustering.
    pub needs_clustering: bool,
    /// Whether columns are shown as they are, and none of them is a collection that has a cell for each element.
    pub shows_cells: bool,
    /// Some function's value depends on when it is called.
    pub asks_for_time: bool,
    /// Keys of elements and ends of slices that have to be values, if they are not known to be.
    pub chosen: Vec<Chosen>,
    /// What is wrong with a constant that is shown and cannot be calculated, whatever the rows are.
    pub incalculable: Option<CqlError>,
    /// Whether something shown is called of a bound value.
    pub calls_bound: bool,
}

impl SelectPlan {
    /// Whether rows are taken together.
    pub fn is_aggregate(&self) -> bool {
        !self.aggregates.is_empty() || self.group_by.is_some()
    }
}

pub fn select(
    catalog: &Catalog,
    table: &Arc<TableSchema>,
    statement: &Select,
    masked: bool,
) -> CqlResult<(SelectPlan, Markers)> {
    // The order in which mistakes are found is Cassandra's: columns and functions, WHERE, what is made of the selection,
    // DISTINCT, groups, order, and whether rows would have to be tried.
    let mut terms = Terms::new(catalog, &table.keyspace, Some(table));
    terms.masked = masked;
    let is_nearest = nearest::is_asked(statement);
    let statics_only = looks_at_statics_alone(&mut terms, table, &statement.selection)?;
    if is_nearest {
        nearest::check_ordering(catalog, table, statement)?;
    }
    let ordered = match is_nearest {
        true => Vec::new(),
        false => ordered_columns(table, statement)?,
    };
    let purpose = match is_nearest {
        true => Purpose::SelectNearest,
        false => Purpose::Select {
            allow_filtering: statement.allow_filtering || system::is_found_by_all(table),
        },
    };
    let restrictions = restrict(
        &mut terms,
        table,
        &statement.relations,
        purpose,
        statics_only,
    );
    let mut restrictions = match is_nearest {
        true => restrictions.map_err(|error| nearest::refused(table, statement, error))?,
        false => restrictions?,
    };
    if is_nearest {
        if restrictions.needs_filtering {
            let error = CqlError::invalid(REQUIRES_FILTERING);
            return Err(nearest::refused(table, statement, error));
        }
        nearest::restriction(table, statement)?;
        restrictions.judge = Judge::Attached;
    }
    let (mut shown, specs) = selection(&mut terms, table, &statement.selection)?;
    let visible = shown.len();
    if statement.distinct {
        if statement.per_partition_limit.is_some() {
            return Err(CqlError::invalid(
                "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries",
            ));
        }
        if is_nearest {
            return Err(restricts_rows());
        }
        // What is put in order after reading is asked for, too.
        let sorted: &[(usize, bool)] = match restrictions.lists_partitions() {
            true => &ordered,
            false => &[],
        };
        check_distinct(table, &shown, &terms.aggregates, sorted, &restrictions)?;
    }
    let group_by = group_by(&mut terms, table, statement, &restrictions)?;
    let takes_all_together = !terms.aggregates.is_empty() && group_by.is_none();
    if statement.per_partition_limit.is_some() && takes_all_together {
        return Err(CqlError::invalid(
            "PER PARTITION LIMIT is not allowed with aggregate queries.",
        ));
    }
    let nearest = nearest::nearest(&mut terms, table, statement)?;
    if is_nearest && restrictions.names_several_partitions() {
        return Err(CqlError::invalid(SEVERAL_PARTITIONS));
    }
    if !is_nearest && !statement.order_by.is_empty() && restrictions.asks_index {
        return Err(CqlError::invalid(
            "ORDER BY with 2ndary indexes is not supported, except for ANN queries.",
        ));
    }
    let ordering = match is_nearest {
        true => None,
        false => order_by(table, &ordered, &restrictions)?,
    };
    if restrictions.needs_filtering {
        return Err(CqlError::invalid(REQUIRES_FILTERING));
    }
    let limit = limit(&mut terms, statement.limit.as_ref(), "[limit]")?;
    let per_partition_limit = limit_of_partition(&mut terms, statement)?;
    let mut sort = None;
    let nearest = nearest.map(|nearest| {
        sort = Some(vec![(shown.len(), true)]);
        shown.push(nearest.similarity);
        nearest.near
    });
    if let Some(ordering) = &ordering
        && restrictions.names_several_partitions()
    {
        sort = Some(
            ordering
                .by
                .iter()
                .map(|(index, descending)| (shown_place(&mut shown, table, *index), *descending))
                .collect(),
        );
    }
    let aggregates = std::mem::take(&mut terms.aggregates);
    let mut columns = selected_columns(&shown, &aggregates);
    for filter in &restrictions.filters {
        columns.extend(&filter.columns);
    }
    let mut plan = SelectPlan {
        asks_for_time: terms.asks_for_time(),
        chosen: std::mem::take(&mut terms.chosen),
        incalculable: terms.incalculable.take(),
        calls_bound: terms.calls_bound,
        needs_clustering: columns
            .iter()
            .any(|index| table.columns[*index].kind == ColumnKind::Clustering)
            || group_by.is_some(),
        shows_cells: !statement.json && shown.iter().all(|shown| is_cell(table, &shown.expression)),
        table: table.clone(),
        restrictions,
        shown,
        visible,
        specs,
        json: statement.json,
        distinct: statement.distinct,
        aggregates,
        group_by,
        reversed: ordering.is_some_and(|ordering| ordering.reversed),
        sort,
        nearest,
        limit,
        per_partition_limit,
    };
    if plan.json {
        plan.needs_clustering |= plan.specs.iter().any(|spec| {
            table
                .column(&spec.name)
                .is_some_and(|column| column.kind == ColumnKind::Clustering)
        });
    }
    Ok((plan, terms.into_markers()?))
}

fn is_cell(table: &TableSchema, shown: &Expression) -> bool {
    match shown {
        Expression::Column(index) => {
            let column = &table.columns[*index];
            column.kind != ColumnKind::Regular || !column.ty.is_multi_cell()
        }
        _ => false,
    }
}

/// What is shown, and how each column of the result is called.
fn selection(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    selection: &Selection,
) -> CqlResult<(Vec<Typed>, Vec<ColumnSpec>)> {
    let spec = |name: String, ty: &CqlType| ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name,
        ty: ty.clone(),
    };
    let mut shown = Vec::new();
    let mut specs = Vec::new();
    match selection {
        Selection::All => {
            terms.columns = true;
            for column in &table.columns {
                specs.push(spec(column.name.clone(), &column.ty));
                shown.push(terms.column(&Name::exact(&column.name))?);
            }
            terms.columns = false;
        }
        Selection::Items(items) => {
            terms.columns = true;
            terms.first_column = None;
            // One after the other: what is wrong with a later one is found later.
            for item in items {
                terms.resolve(&item.expression, &mut HashSet::new())?;
                let typed = terms.typed(&item.expression, None)?;
                let name = match &item.alias {
                    Some(alias) => alias.as_str().to_owned(),
                    None => terms.shown_name(&item.expression),
                };
                specs.push(spec(name, &typed.ty));
                shown.push(typed);
            }
            terms.columns = false;
        }
    }
    Ok((shown, specs))
}

/// The specifications the client gets: one text column for JSON.
pub fn result_specs(plan: &SelectPlan) -> Vec<ColumnSpec> {
    if !plan.json {
        return plan.specs.clone();
    }
    vec![ColumnSpec {
        keyspace: plan.table.keyspace.clone(),
        table: plan.table.name.clone(),
        name: "[json]".into(),
        ty: CqlType::Text,
    }]
}

/// Whether the selection looks at static columns, and at none but them and the partition key. As in Cassandra it is looked
/// through only as far as the answer takes, and what was not looked at has its mistakes found later.
fn looks_at_statics_alone(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    selection: &Selection,
) -> CqlResult<bool> {
    let kind = |index: &usize| table.columns[*index].kind;
    let has_statics = table
        .columns
        .iter()
        .any(|column| column.kind == ColumnKind::Static);
    let Selection::Items(items) = selection else {
        return Ok(false);
    };
    let mut any = |wanted: &dyn Fn(ColumnKind) -> bool| -> CqlResult<bool> {
        for item in items {
            let mut named = HashSet::new();
            terms.columns = true;
            let resolved = terms.resolve(&item.expression, &mut named);
            terms.columns = false;
            resolved?;
            let is_wanted = |index: &usize| *index == ANY_COLUMN || wanted(kind(index));
            if named.iter().any(is_wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(has_statics
        && any(&|kind| kind == ColumnKind::Static)?
        && !any(&|kind| !matches!(kind, ColumnKind::Static | ColumnKind::PartitionKey))?)
}

/// Every column that the selection looks at.
pub fn selected_columns(shown: &[Typed], aggregates: &[Aggregate]) -> HashSet<usize> {
    let mut columns = HashSet::new();
    let arguments = aggregates
        .iter()
        .filter_map(|aggregate| aggregate.argument.as_ref());
    for typed in shown.iter().chain(arguments) {
        typed.expression.walk(&mut |expression| {
            if let Expression::Column(index) | Expression::Fact { column: index, .. } = expression {
                columns.insert(*index);
            }
        });
    }
    columns
}

fn shown_place(shown: &mut Vec<Typed>, table: &TableSchema, index: usize) -> usize {
    let found = shown
        .iter()
        .position(|typed| matches!(typed.expression, Expression::Column(own) if own == index));
    found.unwrap_or_else(|| {
        shown.push(Typed {
            expression: Expression::Column(index),
            ty: table.columns[index].ty.clone(),
        });
        shown.len() - 1
    })
}

fn check_distinct(
    table: &TableSchema,
    shown: &[Typed],
    aggregates: &[Aggregate],
    sorted: &[(usize, bool)],
    restrictions: &Restrictions,
) -> CqlResult<()> {
    if restrictions.restricts_rows {
        return Err(restricts_rows());
    }
    let mut wrong = None;
    let mut asked = HashSet::new();
    let mut ask = |index: usize| {
        asked.insert(index);
        let kind = table.columns[index].kind;
        if !matches!(kind, ColumnKind::PartitionKey | ColumnKind::Static) {
            wrong.get_or_insert(index);
        }
    };
    let arguments = aggregates
        .iter()
        .filter_map(|aggregate| aggregate.argument.as_ref());
    for typed in shown.iter().chain(arguments) {
        typed.expression.walk(&mut |expression| {
            if let Expression::Column(index) | Expression::Fact { column: index, .. } = expression {
                ask(*index);
            }
        });
    }
    sorted.iter().for_each(|(index, _)| ask(*index));
    if let Some(index) = wrong {
        return Err(wants_rows(&table.columns[index].name));
    }
    // Where partitions are not named, their whole key tells them apart.
    let is_range = !matches!(restrictions.partition, Partition::Keys(_));
    let missing = table
        .partition_key
        .iter()
        .find(|index| !asked.contains(index));
    if let Some(index) = missing.filter(|_| is_range) {
        return Err(CqlError::invalid(format!(
            "SELECT DISTINCT queries must request all the partition key columns (missing {})",
            table.columns[*index].name
        )));
    }
    Ok(())
}

fn restricts_rows() -> CqlError {
    CqlError::invalid(
        "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
    )
}

fn wants_rows(column: &str) -> CqlError {
    CqlError::invalid(format!(
        "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {column})"
    ))
}

fn limit(terms: &mut Terms<'_>, term: Option<&Term>, name: &str) -> CqlResult<Option<Expression>> {
    term.map(|term| terms.term(term, name, &CqlType::Int))
        .transpose()
}

fn limit_of_partition(terms: &mut Terms<'_>, statement: &Select) -> CqlResult<Option<Expression>> {
    limit(
        terms,
        statement.per_partition_limit.as_ref(),
        "[per_partition_limit]",
    )
}

struct OrderBy {
    reversed: bool,
    /// Columns, and whether each is wanted descending.
    by: Vec<(usize, bool)>,
}

/// The columns of ORDER BY by their places, each with whether it is wanted descending.
fn ordered_columns(table: &TableSchema, statement: &Select) -> CqlResult<Vec<(usize, bool)>> {
    let mut by: Vec<(usize, bool)> = Vec::new();
    for ordering in &statement.order_by {
        let OrderingKey::Column(column) = &ordering.by else {
            return Err(CqlError::invalid(
                "ANN ordering is only supported on columns with an SAI index",
            ));
        };
        let index = table
            .column_index(column.as_str())
            .ok_or_else(|| undefined(table, column))?;
        let descending = ordering.direction == Direction::Descending;
        match by.iter_mut().find(|(own, _)| *own == index) {
            // Said twice, the last word counts.
            Some(known) => known.1 = descending,
            None => by.push((index, descending)),
        }
    }
    Ok(by)
}

fn order_by(
    table: &TableSchema,
    ordered: &[(usize, bool)],
    restrictions: &Restrictions,
) -> CqlResult<Option<OrderBy>> {
    if ordered.is_empty() {
        return Ok(None);
    }
    if !matches!(restrictions.partition, Partition::Keys(_)) {
        return Err(CqlError::invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    let mut reversed: Option<bool> = None;
    let mut agrees = true;
    let first = table.partition_key.len();
    let mut next = first;
    for (index, descending) in ordered {
        let (index, descending) = (*index, *descending);
        let own = &table.columns[index];
        if own.kind != ColumnKind::Clustering {
            return Err(CqlError::invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {}",
                own.name
            )));
        }
        while next < index && is_fixed(table, restrictions, next) {
            next += 1;
        }
        if index != next {
            return Err(CqlError::invalid(
                "Order by currently only supports the ordering of columns following their declared order in the PRIMARY KEY",
            ));
        }
        next += 1;
        let against = descending != own.reversed;
        agrees &= reversed.is_none_or(|reversed| reversed == against);
        reversed = Some(against);
    }
    if !agrees {
        return Err(CqlError::invalid("Unsupported order by relation"));
    }
    Ok(Some(OrderBy {
        reversed: reversed.unwrap_or(false),
        by: ordered.to_vec(),
    }))
}
