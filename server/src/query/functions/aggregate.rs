//! Aggregates: many rows in, one value out.
//!
//! Sums of fixed-width whole numbers wrap around and averages drop what is behind the point, as in Cassandra. Floats are summed with what
//! rounding loses (`RealSum`). Nulls do not count; only `COUNT(*)` counts rows.

use bytes::Bytes;
use num_bigint::BigInt;
use palladium_protocol::cql::ast::Arithmetic;
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
    /// The sum of floats, instead of `sum`.
    reals: RealSum,
    /// Least or greatest value, with its ordered form.
    extreme: Option<(Vec<u8>, Bytes)>,
}

impl Accumulator {
    pub fn new(kind: AggregateKind, ty: CqlType) -> Self {
        let sum = match ty.bare() {
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
            reals: RealSum::default(),
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
                if let Number::Real(real) = number {
                    return self.reals.add(real, self.kind == AggregateKind::Avg);
                }
                if self.kind == AggregateKind::Avg && *self.ty.bare() == CqlType::Decimal {
                    self.sum = number::moved_average(&self.sum, &number, self.count)?;
                    return Ok(());
                }
                self.sum =
                    number::arithmetic(Arithmetic::Add, &self.sum, &number, &self.sum_type())?;
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

    fn is_real(&self) -> bool {
        matches!(self.ty.bare(), CqlType::Float | CqlType::Double)
    }

    /// Whole numbers are summed without a bound until the end.
    fn sum_type(&self) -> CqlType {
        match self.ty.bare() {
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
            AggregateKind::Sum if self.is_real() => {
                Some(number::write(&Number::Real(self.reals.total()), &self.ty)?.into())
            }
            AggregateKind::Avg if self.is_real() => {
                let average = self.reals.average(self.count)?;
                Some(number::write(&Number::Real(average), &self.ty)?.into())
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
                let operator = Arithmetic::Divide;
                let quotient = number::arithmetic(operator, &self.sum, &count, &self.sum_type())?;
                Some(number::write(&quotient, &self.ty)?.into())
            }
        })
    }
}

/// Floats as Cassandra sums them: as doubles, each with what rounding took from the one before (Kahan's sum). Where the sum of an average
/// has no place in a double, it is summed on as a decimal.
#[derive(Debug, Clone, Default)]
struct RealSum {
    sum: f64,
    compensation: f64,
    /// Without compensation, which makes NaN of infinities.
    simple: f64,
    exact: Option<Number>,
}

impl RealSum {
    fn add(&mut self, real: f64, averaged: bool) -> CqlResult<()> {
        if let Some(exact) = self.exact.take() {
            match real.is_finite() {
                true => self.exact = Some(summed(&exact, real)?),
                // Cassandra fails here. Nothing that is finite counts beside it.
                false => (self.sum, self.compensation, self.simple) = (real, 0.0, real),
            }
            return Ok(());
        }
        self.simple += real;
        let before = self.sum;
        let step = real - self.compensation;
        self.sum = before + step;
        self.compensation = (self.sum - before) - step;
        if averaged && self.sum.is_infinite() && before.is_finite() && real.is_finite() {
            self.exact = Some(summed(&Number::Real(before), real)?);
        }
        Ok(())
    }

    fn total(&self) -> f64 {
        match self.sum + self.compensation {
            total if total.is_nan() && self.simple.is_infinite() => self.simple,
            total => total,
        }
    }

    fn average(&self, count: i64) -> CqlResult<f64> {
        Ok(match (&self.exact, count) {
            (_, 0) => 0.0,
            (None, _) => self.total() / count as f64,
            (Some(exact), _) => {
                let (unscaled, scale) = number::decimal(exact)?;
                let unscaled = number::half_even(&unscaled, &count.into());
                number::real(&Number::Decimal { unscaled, scale })
            }
        })
    }
}

fn summed(sum: &Number, real: f64) -> CqlResult<Number> {
    number::arithmetic(Arithmetic::Add, sum, &Number::Real(real), &CqlType::Decimal)
}
