//! Aggregates: many rows in, one value out.
//!
//! Sums of fixed-width whole numbers wrap around and averages drop what is behind the point, as in Cassandra. Nulls do not
//! count; only `COUNT(*)` counts rows.

use bytes::Bytes;
use num_bigint::BigInt;
use palladium_protocol::types::CqlType;

use super::number::{self, Number};
use crate::encode::order;
use crate::error::CqlResult;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// Rows, or values that are not null.
    Count,
    Min,
    Max,
    Sum,
    Avg,
}

impl AggregateKind {
    pub fn named(name: &str) -> Option<AggregateKind> {
        Some(match name {
            "count" => AggregateKind::Count,
            "min" => AggregateKind::Min,
            "max" => AggregateKind::Max,
            "sum" => AggregateKind::Sum,
            "avg" => AggregateKind::Avg,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            AggregateKind::Count => "count",
            AggregateKind::Min => "min",
            AggregateKind::Max => "max",
            AggregateKind::Sum => "sum",
            AggregateKind::Avg => "avg",
        }
    }

    /// The type of the result; None if values of `ty` cannot be taken together so.
    pub fn result_type(self, ty: &CqlType) -> Option<CqlType> {
        match self {
            AggregateKind::Count => Some(CqlType::Bigint),
            AggregateKind::Min | AggregateKind::Max => Some(ty.clone()),
            AggregateKind::Sum | AggregateKind::Avg => match ty.bare() {
                CqlType::Counter => Some(CqlType::Counter),
                ty => number::result_type(ty, ty),
            },
        }
    }
}

/// The state of one aggregate over the rows seen so far.
#[derive(Debug, Clone)]
pub struct Accumulator {
    kind: AggregateKind,
    ty: CqlType,
    count: i64,
    sum: Number,
    /// Least or greatest value, with its ordered form.
    extreme: Option<(Vec<u8>, Bytes)>,
}

impl Accumulator {
    pub fn new(kind: AggregateKind, ty: CqlType) -> Self {
        let sum = match ty.bare() {
            CqlType::Float | CqlType::Double => Number::Real(0.0),
            CqlType::Decimal => Number::Decimal {
                unscaled: BigInt::default(),
                scale: 0,
            },
            _ => Number::Whole(BigInt::default()),
        };
        Accumulator {
            kind,
            ty,
            count: 0,
            sum,
            extreme: None,
        }
    }

    /// Takes one row's value in; for `COUNT(*)` the caller passes any value.
    pub fn add(&mut self, value: Option<&Bytes>) -> CqlResult<()> {
        let Some(value) = value else { return Ok(()) };
        match self.kind {
            AggregateKind::Count => self.count += 1,
            AggregateKind::Sum | AggregateKind::Avg => {
                let Some(number) = number::read(&self.ty, value)? else {
                    return Ok(());
                };
                self.count += 1;
                if self.kind == AggregateKind::Avg && *self.ty.bare() == CqlType::Decimal {
                    self.sum = number::moved_average(&self.sum, &number, self.count)?;
                    return Ok(());
                }
                let operator = palladium_protocol::cql::ast::Arithmetic::Add;
                self.sum = number::arithmetic(operator, &self.sum, &number, &self.sum_type())?;
            }
            AggregateKind::Min | AggregateKind::Max => {
                let mut position = Vec::new();
                order::encode(&self.ty, Some(value), false, &mut position)?;
                let better = match &self.extreme {
                    None => true,
                    Some((best, _)) if self.kind == AggregateKind::Min => position < *best,
                    Some((best, _)) => position > *best,
                };
                if better {
                    self.extreme = Some((position, value.clone()));
                }
            }
        }
        Ok(())
    }

    /// Floats are summed as doubles, whole numbers without a bound until the end.
    fn sum_type(&self) -> CqlType {
        match self.ty.bare() {
            CqlType::Float | CqlType::Double => CqlType::Double,
            CqlType::Decimal => CqlType::Decimal,
            _ => CqlType::Varint,
        }
    }

    /// The value of all rows taken in.
    pub fn result(&self) -> CqlResult<Option<Bytes>> {
        Ok(match self.kind {
            AggregateKind::Count => Some(Bytes::copy_from_slice(&self.count.to_be_bytes())),
            AggregateKind::Min | AggregateKind::Max => {
                self.extreme.as_ref().map(|(_, value)| value.clone())
            }
            AggregateKind::Sum => Some(number::write(&self.sum, &self.ty)?.into()),
            AggregateKind::Avg if self.count == 0 => {
                Some(number::write(&self.sum, &self.ty)?.into())
            }
            // A running average already.
            AggregateKind::Avg if *self.ty.bare() == CqlType::Decimal => {
                Some(number::write(&self.sum, &self.ty)?.into())
            }
            AggregateKind::Avg => {
                let count = Number::Whole(self.count.into());
                let operator = palladium_protocol::cql::ast::Arithmetic::Divide;
                let quotient = number::arithmetic(operator, &self.sum, &count, &self.sum_type())?;
                Some(number::write(&quotient, &self.ty)?.into())
            }
        })
    }
}
