//! `ORDER BY v ANN OF [..] LIMIT n`: the rows whose vectors are most like one.
//!
//! The column's index says by which function vectors are alike. How the rows are found is decided when the statement is executed (`execute::read::near`); here they
//! are rows that are put in order by how alike they are.
//!
//! What must hold: who may not see behind the mask of a column learns nothing of its order either ([`Near::column`] counts as restricted).

use std::sync::Arc;

use palladium_protocol::cql::ast::{Direction, Name, OrderingKey, Relation, Select};
use palladium_protocol::types::CqlType;
use palladium_storage::graph::Metric;

use super::SelectPlan;
use super::restrict::{REQUIRES_FILTERING, VECTORS_ARE_NOT_COMPARED};
use super::term::{Terms, undefined};
use crate::derived::nearest::metric;
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::Function;
use crate::schema::{Catalog, Column, Index, TableSchema};

/// As many rows can be asked for, as in Cassandra.
pub const LIMIT_MAX: u32 = 1_000;

/// What is said of an ordering by a column that has no index.
const NOT_INDEXED: &str = "ANN ordering by vector requires the column to be indexed";

/// What rows are to be near to.
#[derive(Debug)]
pub struct Near {
    /// The index that says how vectors are alike.
    pub index: Arc<Index>,
    /// The column of the vectors, by its place in the table.
    pub column: usize,
    /// The vector that is looked for.
    pub to: Expression,
}

/// What rows are to be near to, and how alike a row is.
pub struct Nearest {
    pub near: Near,
    pub similarity: Typed,
}

/// Whether a SELECT asks for what is nearest.
pub fn is_asked(statement: &Select) -> bool {
    let mut orderings = statement.order_by.iter();
    orderings.any(|ordering| matches!(ordering.by, OrderingKey::Ann { .. }))
}

/// What an error of the WHERE means where all that is restricted must be indexed.
pub fn refused(table: &TableSchema, statement: &Select, error: CqlError) -> CqlError {
    let ordered = statement.order_by.first().map(|ordering| &ordering.by);
    let column = match ordered {
        Some(OrderingKey::Ann { column, .. }) => column.as_str(),
        _ => "",
    };
    if error.message == VECTORS_ARE_NOT_COMPARED {
        return CqlError::invalid(format!(
            "{column} cannot be restricted by more than one relation if it includes an Equal"
        ));
    }
    // Of a partition that is named nothing has to be indexed.
    let is_named = |column: &Column| {
        let mut relations = statement.relations.iter();
        relations.any(|relation| match relation {
            Relation::Column { column: own, .. } | Relation::In { column: own, .. } => {
                own.as_str() == column.name
            }
            _ => false,
        })
    };
    let key = table.partition_columns();
    let names_partition = key.iter().all(is_named);
    let is_of_key = |name: &Name| key.iter().any(|column| column.name == name.as_str());
    let is_indexed = |name: &Name| {
        let is_indexed = table.indexes_of(name.as_str()).next().is_some();
        is_indexed || (names_partition && is_of_key(name))
    };
    let all_are_indexed = statement.relations.iter().all(|relation| match relation {
        Relation::Column { column, .. }
        | Relation::In { column, .. }
        | Relation::Between { column, .. }
        | Relation::Contains { column, .. }
        | Relation::Element { column, .. } => is_indexed(column),
        _ => false,
    });
    if error.message != REQUIRES_FILTERING {
        return error;
    }
    match restriction(table, statement) {
        Err(own) if own.message != NOT_INDEXED && own.message != REQUIRES_FILTERING => own,
        _ if all_are_indexed => error,
        _ if table.indexes_of(column).next().is_none() => CqlError::invalid(NOT_INDEXED),
        _ => CqlError::invalid(
            "ANN ordering by vector requires all restricted column(s) to be indexed",
        ),
    }
}

/// What Cassandra says of such an ordering before it looks at anything else: the column has to be there, and the vector one for it.
pub fn check_ordering(catalog: &Catalog, table: &TableSchema, statement: &Select) -> CqlResult<()> {
    for ordering in &statement.order_by {
        if let OrderingKey::Ann { column, near } = &ordering.by {
            let own = table
                .column(column.as_str())
                .ok_or_else(|| undefined(table, column))?;
            // By terms of their own: the statement's are met later, in the order of its markers.
            Terms::new(catalog, &table.keyspace, Some(table)).term(near, &own.name, &own.ty)?;
        }
    }
    Ok(())
}

/// The index of an ordering, and the column's place. To Cassandra it is one more restriction: what is wrong with it is said behind what is wrong with those of
/// the WHERE, and before anything else of the SELECT is looked at.
pub fn restriction<'t>(
    table: &'t TableSchema,
    statement: &Select,
) -> CqlResult<(&'t Arc<Index>, usize)> {
    let [ordering] = &statement.order_by[..] else {
        let mut orderings = statement.order_by.iter();
        let is_ann = |by: &OrderingKey| matches!(by, OrderingKey::Ann { .. });
        return Err(CqlError::invalid(
            match orderings.all(|ordering| is_ann(&ordering.by)) {
                true => "Cannot specify more than one ANN ordering",
                false => "ANN ordering does not support any other ordering",
            },
        ));
    };
    let (OrderingKey::Ann { column, .. } | OrderingKey::Column(column)) = &ordering.by;
    let place = table
        .column_index(column.as_str())
        .ok_or_else(|| undefined(table, column))?;
    let own = &table.columns[place];
    if ordering.direction == Direction::Descending {
        return Err(CqlError::invalid(
            "Descending ANN ordering is not supported",
        ));
    }
    if !matches!(own.ty.bare(), CqlType::Vector(element, _) if **element == CqlType::Float) {
        return Err(CqlError::invalid(
            "ANN ordering is only supported on float vector indexes",
        ));
    }
    let index = table.indexes_of(&own.name).find(|index| index.is_sai());
    // An index of another kind is one that would have its rows tried.
    let has_other = table.indexes_of(&own.name).next().is_some();
    let index = index.ok_or_else(|| {
        CqlError::invalid(match has_other && !statement.allow_filtering {
            true => REQUIRES_FILTERING,
            false => NOT_INDEXED,
        })
    })?;
    Ok((index, place))
}

/// The ordering of a SELECT that asks for what is nearest.
pub fn nearest(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    statement: &Select,
) -> CqlResult<Option<Nearest>> {
    let by = statement.order_by.first().map(|ordering| &ordering.by);
    let Some(OrderingKey::Ann { near, .. }) = by else {
        return Ok(None);
    };
    let (index, place) = restriction(table, statement)?;
    let own = &table.columns[place];
    let to = terms.term(near, &own.name, &own.ty)?;
    let function = match metric(index) {
        Metric::Euclidean => Function::SimilarityEuclidean,
        Metric::DotProduct => Function::SimilarityDotProduct,
        Metric::Cosine => Function::SimilarityCosine,
    };
    let argument = |expression| Typed {
        expression,
        ty: own.ty.clone(),
    };
    Ok(Some(Nearest {
        near: Near {
            index: index.clone(),
            column: place,
            to: to.clone(),
        },
        similarity: Typed {
            expression: Expression::Call {
                function,
                arguments: vec![argument(Expression::Column(place)), argument(to)],
                returns: CqlType::Float,
            },
            ty: CqlType::Float,
        },
    }))
}

/// Whether what is nearest can be had in this way, which Cassandra asks when the statement is executed. `limit`: the largest number where there is none.
pub fn check(plan: &SelectPlan, limit: u32) -> CqlResult<()> {
    if plan.is_aggregate() {
        return Err(CqlError::invalid(
            "Top-K queries can not be run with aggregation",
        ));
    }
    if plan.per_partition_limit.is_some() {
        return Err(CqlError::invalid(
            "Top-K queries do not support per-partition limits",
        ));
    }
    match limit {
        0..=LIMIT_MAX => Ok(()),
        u32::MAX => Err(CqlError::invalid(
            "Top-K queries must have a limit specified and the limit must be less than the query page size",
        )),
        _ => Err(CqlError::invalid(format!(
            "Use of ANN OF in an ORDER BY clause requires a LIMIT that is not greater than {LIMIT_MAX}. LIMIT was {limit}"
        ))),
    }
}
