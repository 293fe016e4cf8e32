//! `ORDER BY v ANN OF [..] LIMIT n`: the rows whose vectors are most like one.
//!
//! The answer is exact: each row that the WHERE lets through is compared, and the best are kept. So recall is 1 and updates, deletes and filters need no thought; what
//! it costs grows with the rows that are compared. The column's index says by which function vectors are alike.

use std::sync::Arc;

use palladium_protocol::cql::ast::{Direction, OrderingKey, Select};
use palladium_protocol::types::CqlType;

use super::restrict::REQUIRES_FILTERING;
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::Function;
use crate::schema::{Index, TableSchema};

/// As many rows can be asked for, as in Cassandra.
pub const LIMIT_MAX: u32 = 1_000;

/// How alike a row is, and the index that says so.
pub struct Nearest {
    pub index: Arc<Index>,
    pub similarity: Typed,
}

/// Whether a SELECT asks for what is nearest.
pub fn is_asked(statement: &Select) -> bool {
    let mut orderings = statement.order_by.iter();
    orderings.any(|ordering| matches!(ordering.by, OrderingKey::Ann { .. }))
}

/// What an error of the WHERE means where all that is restricted must be indexed.
pub fn refused(error: CqlError) -> CqlError {
    match error.message == REQUIRES_FILTERING {
        true => CqlError::invalid(
            "ANN ordering by vector requires all restricted column(s) to be indexed",
        ),
        false => error,
    }
}

/// The ordering of a SELECT that asks for what is nearest.
pub fn nearest(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    statement: &Select,
) -> CqlResult<Option<Nearest>> {
    if !is_asked(statement) {
        return Ok(None);
    }
    let [ordering] = &statement.order_by[..] else {
        return Err(CqlError::invalid(
            "ANN ordering does not support any other ordering",
        ));
    };
    let OrderingKey::Ann { column, near } = &ordering.by else {
        return Ok(None);
    };
    let place = table
        .column_index(column.as_str())
        .ok_or_else(|| undefined(table, column))?;
    if ordering.direction == Direction::Descending {
        return Err(CqlError::invalid(
            "Descending ANN ordering is not supported",
        ));
    }
    let own = &table.columns[place];
    let index = table.indexes_of(&own.name).find(|index| index.is_sai());
    let index = index.ok_or_else(|| {
        CqlError::invalid("ANN ordering by vector requires the column to be indexed")
    })?;
    if !matches!(own.ty.bare(), CqlType::Vector(element, _) if **element == CqlType::Float) {
        return Err(CqlError::invalid(
            "ANN ordering is only supported on float vector indexes",
        ));
    }
    if statement.limit.is_none() {
        return Err(CqlError::invalid(
            "Top-K queries must have a limit specified and the limit must be less than the query page size",
        ));
    }
    if !terms.aggregates.is_empty() || !statement.group_by.is_empty() || statement.distinct {
        return Err(CqlError::invalid(
            "ANN ordering cannot be used with aggregation, GROUP BY or DISTINCT",
        ));
    }
    if statement.per_partition_limit.is_some() {
        return Err(CqlError::invalid(
            "ANN ordering cannot be used with PER PARTITION LIMIT",
        ));
    }
    let near = terms.term(near, &own.name, &own.ty)?;
    let function = match index.options.get("similarity_function") {
        Some(said) if said.eq_ignore_ascii_case("euclidean") => Function::SimilarityEuclidean,
        Some(said) if said.eq_ignore_ascii_case("dot_product") => Function::SimilarityDotProduct,
        _ => Function::SimilarityCosine,
    };
    let argument = |expression| Typed {
        expression,
        ty: own.ty.clone(),
    };
    Ok(Some(Nearest {
        index: index.clone(),
        similarity: Typed {
            expression: Expression::Call {
                function,
                arguments: vec![argument(Expression::Column(place)), argument(near)],
                returns: CqlType::Float,
            },
            ty: CqlType::Float,
        },
    }))
}

/// LIMIT is too large.
pub fn too_many(limit: u32) -> CqlError {
    CqlError::invalid(format!(
        "Use of ANN OF in an ORDER BY clause requires a LIMIT that is not greater than {LIMIT_MAX}. LIMIT was {limit}"
    ))
}
