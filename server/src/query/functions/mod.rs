//! Native functions: what they are, and calling them. `signature` finds the one a call means. Old spellings (`toTimestamp`, `blobAsInt`) and new ones
//! (`to_timestamp`, `blob_as_int`) mean the same.
//!
//! Read on in `signature`, then `cast`, `duration`, `mask` (over `digest`), `vector`, `timeuuid`, `calendar` (over `zones`), `number`, `logarithm`, `text`, `aggregate`.

pub mod aggregate;
pub mod calendar;
mod cast;
mod digest;
mod duration;
mod java_digits;
mod logarithm;
mod mask;
mod months;
pub mod number;
mod signature;
pub mod text;
pub mod timeuuid;
mod vector;
mod zones;

use bytes::Bytes;
use palladium_crypto::{Entropy, OsEntropy};
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, composite_key, token_of, validate};

use self::number::Number;
use self::timeuuid::TimeUuids;
use super::expression::Typed;
use super::json;
use crate::encode::order;
use crate::encode::wire::{self, Elements};
use crate::error::{CqlError, CqlResult};

pub use cast::castable_to;
pub use signature::{Fit, Signature, is_assignable, is_made_for_arguments, resolve, unquoted};

/// When a statement is executed.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The server's timestamp for the statement, microseconds.
    pub micros: i64,
    /// What expiry is measured against.
    pub seconds: i64,
    pub uuids: &'a TimeUuids,
}

/// Which of its two names a function was called by: errors repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    /// `blobasint`, the old one.
    Together,
    /// `blob_as_int`.
    Apart,
}

impl Spelled {
    /// Of a function with two.
    pub fn of(name: &str) -> Spelled {
        if name.contains('_') {
            Spelled::Apart
        } else {
            Spelled::Together
        }
    }

    /// The name of a function by its new one.
    fn name(self, name: &str) -> String {
        match self {
            Spelled::Together => name.replace('_', ""),
            Spelled::Apart => name.to_owned(),
        }
    }
}

/// A function with its overload chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Now,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    Uuid,
    MinTimeuuid(Spelled),
    MaxTimeuuid(Spelled),
    ToTimestamp(Spelled),
    ToDate(Spelled),
    ToUnixTimestamp(Spelled),
    /// Of the partition key's columns.
    Token,
    AsBlob(Spelled),
    FromBlob(Spelled),
    Cast,
    Arithmetic(Arithmetic),
    /// `+` between texts.
    Concat,
    Negate,
    Abs,
    Exp,
    Log,
    Log10,
    Round,
    MapKeys,
    MapValues,
    CollectionCount,
    CollectionMin,
    CollectionMax,
    CollectionSum,
    CollectionAvg,
    MaskNull,
    MaskDefault,
    MaskReplace,
    MaskInner,
    MaskOuter,
    MaskHash,
    ToJson,
    FromJson,
    SimilarityCosine,
    SimilarityEuclidean,
    SimilarityDotProduct,
    /// Of a timestamp, date or time, in steps of a duration.
    Floor,
}

impl Function {
    /// Whether equal arguments give equal values at any time.
    pub fn is_pure(self) -> bool {
        !matches!(
            self,
            Function::Now
                | Function::CurrentTimestamp
                | Function::CurrentDate
                | Function::CurrentTime
                | Function::Uuid
        )
    }

    /// What Cassandra calls it.
    pub fn called(self, arguments: &[Typed], returns: &CqlType) -> String {
        let name = match self {
            Function::AsBlob(spelled) => {
                let of = arguments.first().map(|argument| argument.ty.to_string());
                return spelled.name(&format!("{}_as_blob", of.unwrap_or_default()));
            }
            Function::FromBlob(spelled) => return spelled.name(&format!("blob_as_{returns}")),
            Function::MinTimeuuid(spelled) => return spelled.name("min_timeuuid"),
            Function::MaxTimeuuid(spelled) => return spelled.name("max_timeuuid"),
            Function::ToTimestamp(spelled) => return spelled.name("to_timestamp"),
            Function::ToDate(spelled) => return spelled.name("to_date"),
            Function::ToUnixTimestamp(spelled) => return spelled.name("to_unix_timestamp"),
            Function::Cast => return format!("cast_as_{returns}"),
            Function::Arithmetic(operator) => return format!("_{}", operator_name(operator)),
            Function::Now => "now",
            Function::CurrentTimestamp => "current_timestamp",
            Function::CurrentDate => "current_date",
            Function::CurrentTime => "current_time",
            Function::Uuid => "uuid",
            Function::Token => "token",
            Function::Concat => "_add",
            Function::Negate => "_negate",
            Function::Abs => "abs",
            Function::Exp => "exp",
            Function::Log => "log",
            Function::Log10 => "log10",
            Function::Round => "round",
            Function::MapKeys => "map_keys",
            Function::MapValues => "map_values",
            Function::CollectionCount => "collection_count",
            Function::CollectionMin => "collection_min",
            Function::CollectionMax => "collection_max",
            Function::CollectionSum => "collection_sum",
            Function::CollectionAvg => "collection_avg",
            Function::MaskNull => "mask_null",
            Function::MaskDefault => "mask_default",
            Function::MaskReplace => "mask_replace",
            Function::MaskInner => "mask_inner",
            Function::MaskOuter => "mask_outer",
            Function::MaskHash => "mask_hash",
            Function::ToJson => "to_json",
            Function::FromJson => "from_json",
            Function::SimilarityCosine => "similarity_cosine",
            Function::SimilarityEuclidean => "similarity_euclidean",
            Function::SimilarityDotProduct => "similarity_dot_product",
            Function::Floor => "floor",
        };
        name.to_owned()
    }

    /// The value of a call. Null in, null out.
    pub fn call(
        self,
        arguments: &[Typed],
        values: &[Option<Bytes>],
        returns: &CqlType,
        moment: &Moment<'_>,
    ) -> CqlResult<Option<Bytes>> {
        let millis = moment.micros.div_euclid(1000);
        match self {
            Function::Now => return Ok(Some(copy(&moment.uuids.next(moment.micros)))),
            Function::Uuid => {
                let entropy: &dyn Entropy = &OsEntropy;
                return Ok(Some(copy(&TimeUuids::random(entropy))));
            }
            Function::CurrentTimestamp => return Ok(Some(copy(&millis.to_be_bytes()))),
            Function::CurrentDate => {
                return Ok(
                    calendar::date_of_timestamp(millis).map(|date| copy(&date.to_be_bytes()))
                );
            }
            Function::CurrentTime => {
                let nanos = moment.micros.rem_euclid(calendar::DAY_NANOS / 1000) * 1000;
                return Ok(Some(copy(&nanos.to_be_bytes())));
            }
            _ => {}
        }
        if mask::is_mask(self) {
            let ty = arguments.first().map_or(returns, |argument| &argument.ty);
            return mask::call(self, ty, values);
        }
        if let (Function::ToJson, Some(argument), Some(value)) =
            (self, arguments.first(), values.first())
        {
            let text = json::of_argument(&argument.ty, value.as_deref())?;
            return Ok(Some(text.into()));
        }
        let mut given = Vec::with_capacity(values.len());
        for value in values {
            match value {
                Some(value) => given.push(value),
                None => return Ok(None),
            }
        }
        if self == Function::Token {
            return token(&given).map(Some);
        }
        let (Some(first), Some(argument)) = (given.first(), arguments.first()) else {
            return Err(CqlError::server("a function lacks its argument"));
        };
        let ty = argument.ty.bare();
        Ok(Some(match self {
            Function::AsBlob(_) => (*first).clone(),
            Function::FromBlob(_) => {
                validate(returns, first).map_err(|_| {
                    let called = self.called(arguments, returns);
                    CqlError::invalid(format!(
                        "In call to function system.{called}, value {} is not a valid binary representation for type \
                         {returns}",
                        text::blob(first)
                    ))
                })?;
                wire::normalize(returns, first)?.into_owned().into()
            }
            Function::MinTimeuuid(_) | Function::MaxTimeuuid(_) if first.is_empty() => {
                return Ok(None);
            }
            Function::MinTimeuuid(_) => copy(&timeuuid::least(long(first)?)),
            Function::MaxTimeuuid(_) => copy(&timeuuid::greatest(long(first)?)),
            Function::ToTimestamp(_) => match instant(ty, first)? {
                Some(millis) => copy(&millis.to_be_bytes()),
                None => return Ok(None),
            },
            Function::ToUnixTimestamp(_) => match instant(ty, first)? {
                Some(millis) => copy(&millis.to_be_bytes()),
                None => return Ok(None),
            },
            Function::ToDate(_) => {
                match instant(ty, first)?.map(calendar::wrapped_date_of_timestamp) {
                    Some(date) => copy(&date.to_be_bytes()),
                    None => return Ok(None),
                }
            }
            Function::Cast => return cast::cast(ty, first, returns),
            Function::FromJson => return json::value(returns, first),
            Function::SimilarityCosine
            | Function::SimilarityEuclidean
            | Function::SimilarityDotProduct => {
                let second = given
                    .get(1)
                    .ok_or_else(|| CqlError::server("a function lacks its argument"))?;
                vector::similarity(self, first, second)?
            }
            Function::Floor => {
                let step = given
                    .get(1)
                    .ok_or_else(|| CqlError::server("a function lacks its argument"))?;
                return duration::floor(ty, first, step, given.get(2).copied());
            }
            Function::Arithmetic(operator) => {
                let (Some(second), Some(other)) = (given.get(1), arguments.get(1)) else {
                    return Err(CqlError::server("an operator lacks its second operand"));
                };
                return arithmetic(operator, (ty, first), (&other.ty, second), returns);
            }
            Function::Concat => {
                let second = given
                    .get(1)
                    .ok_or_else(|| CqlError::server("an operator lacks its second operand"))?;
                [&first[..], &second[..]].concat().into()
            }
            Function::Negate
            | Function::Abs
            | Function::Exp
            | Function::Log
            | Function::Log10
            | Function::Round => {
                return self.of_number(ty, first, returns);
            }
            Function::MapKeys | Function::MapValues => {
                let skip = usize::from(self == Function::MapValues);
                let mut parts = Vec::new();
                for part in Elements::read_map(first)?.skip(skip).step_by(2) {
                    parts.push(part?.unwrap_or_default());
                }
                wire::collection(parts.len(), parts.into_iter()).into()
            }
            Function::CollectionCount => {
                copy(&(Elements::read(first)?.left() as i32).to_be_bytes())
            }
            Function::CollectionMin | Function::CollectionMax => {
                let (CqlType::List(inner) | CqlType::Set(inner)) = ty else {
                    return Ok(None);
                };
                return extreme(inner, first, self == Function::CollectionMax);
            }
            Function::CollectionSum | Function::CollectionAvg => {
                let (CqlType::List(inner) | CqlType::Set(inner)) = ty else {
                    return Ok(None);
                };
                let kind = match self {
                    Function::CollectionSum => aggregate::AggregateKind::Sum,
                    _ => aggregate::AggregateKind::Avg,
                };
                let mut accumulator = aggregate::Accumulator::new(kind, (**inner).clone());
                for element in Elements::read(first)? {
                    accumulator.add(element?.map(|element| first.slice_ref(element)).as_ref())?;
                }
                return accumulator.result();
            }
            Function::Now
            | Function::CurrentTimestamp
            | Function::CurrentDate
            | Function::CurrentTime
            | Function::Uuid
            | Function::Token
            | Function::ToJson
            | Function::MaskNull
            | Function::MaskDefault
            | Function::MaskReplace
            | Function::MaskInner
            | Function::MaskOuter
            | Function::MaskHash => return Err(CqlError::server("answered above")),
        }))
    }

    fn of_number(self, ty: &CqlType, value: &[u8], returns: &CqlType) -> CqlResult<Option<Bytes>> {
        let Some(number) = number::read(ty, value)? else {
            return Ok(None);
        };
        let result = match (self, number) {
            (Function::Negate, Number::Whole(whole)) => Number::Whole(-whole),
            (Function::Negate, Number::Real(real)) => Number::Real(-real),
            (Function::Negate, Number::Decimal { unscaled, scale }) => Number::Decimal {
                unscaled: -unscaled,
                scale,
            },
            (Function::Abs, Number::Whole(whole)) => {
                Number::Whole(whole.magnitude().clone().into())
            }
            (Function::Abs, Number::Real(real)) => Number::Real(real.abs()),
            (Function::Abs, Number::Decimal { unscaled, scale }) => Number::Decimal {
                unscaled: unscaled.magnitude().clone().into(),
                scale,
            },
            // Rounded to a whole number of Java's, which has an end, and of which NaN is nothing.
            (Function::Round, Number::Real(real)) => {
                let whole = round_half_up(real);
                Number::Real(match ty {
                    CqlType::Float => f64::from(whole as i32 as f32),
                    _ => whole as i64 as f64,
                })
            }
            (Function::Round, Number::Decimal { unscaled, scale }) if scale > 0 => {
                let (unscaled, scale) = (unscaled, scale);
                let half =
                    number::decimal(&Number::Real(if unscaled < num_bigint::BigInt::default() {
                        -0.5
                    } else {
                        0.5
                    }))?;
                let shifted = number::arithmetic(
                    Arithmetic::Add,
                    &Number::Decimal { unscaled, scale },
                    &Number::Decimal {
                        unscaled: half.0,
                        scale: half.1,
                    },
                    &CqlType::Decimal,
                )?;
                Number::Whole(number::whole(&shifted)?)
            }
            // Nothing behind the point, and none of its digits left to an exponent.
            (Function::Round, Number::Decimal { unscaled, scale }) if scale < 0 => {
                Number::Whole(number::whole(&Number::Decimal { unscaled, scale })?)
            }
            (Function::Round, number) => number,
            (Function::Exp, number) if has_all_digits(ty) => logarithm::exp(&number)?,
            (Function::Log, number) if has_all_digits(ty) => logarithm::log(&number)?,
            (Function::Log10, number) if has_all_digits(ty) => logarithm::log10(&number)?,
            (Function::Exp, number) => Number::Real(number::real(&number).exp()),
            (Function::Log, number) => Number::Real(number::real(&number).ln()),
            (Function::Log10, number) => Number::Real(libm::log10(number::real(&number))),
            (_, number) => number,
        };
        number::write(&result, returns).map(|bytes| Some(bytes.into()))
    }
}

/// Whether a number of this type has as many digits as it needs.
fn has_all_digits(ty: &CqlType) -> bool {
    matches!(ty, CqlType::Decimal | CqlType::Varint)
}

/// To the next whole number, halves upwards. Adding a half first would round what is a little less than one.
fn round_half_up(real: f64) -> f64 {
    let below = real.floor();
    if real - below >= 0.5 {
        below + 1.0
    } else {
        below
    }
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn long(bytes: &[u8]) -> CqlResult<i64> {
    bytes
        .try_into()
        .map(i64::from_be_bytes)
        .map_err(|_| CqlError::invalid("Expected 8 or 0 byte long for date"))
}

/// Milliseconds since 1970 of a timeuuid, timestamp or date.
fn instant(ty: &CqlType, value: &[u8]) -> CqlResult<Option<i64>> {
    if value.is_empty() {
        return Ok(None);
    }
    Ok(Some(match ty {
        CqlType::Timeuuid => {
            let bytes = value
                .try_into()
                .map_err(|_| CqlError::invalid("Invalid timeuuid"))?;
            timeuuid::millis(bytes)
        }
        CqlType::Date => {
            let bytes = value
                .try_into()
                .map_err(|_| CqlError::invalid("Invalid date"))?;
            calendar::timestamp_of_date(u32::from_be_bytes(bytes))
        }
        _ => long(value)?,
    }))
}

fn token(values: &[&Bytes]) -> CqlResult<Bytes> {
    let token =
        match values {
            [single] => token_of(single),
            several => {
                let key = composite_key(several.iter().map(|value| &value[..]));
                token_of(&key.ok_or_else(|| {
                    CqlError::invalid("Key length is longer than maximum of 65535")
                })?)
            }
        };
    Ok(copy(&token.to_be_bytes()))
}

fn extreme(inner: &CqlType, value: &Bytes, greatest: bool) -> CqlResult<Option<Bytes>> {
    let mut best: Option<(Vec<u8>, Bytes)> = None;
    for element in Elements::read(value)? {
        let Some(element) = element? else { continue };
        let mut place = Vec::new();
        order::encode(inner, Some(element), false, &mut place)?;
        let better = best
            .as_ref()
            .is_none_or(|(own, _)| if greatest { place > *own } else { place < *own });
        if better {
            best = Some((place, value.slice_ref(element)));
        }
    }
    Ok(best.map(|(_, element)| element))
}

fn arithmetic(
    operator: Arithmetic,
    (left_type, left): (&CqlType, &Bytes),
    (right_type, right): (&CqlType, &Bytes),
    returns: &CqlType,
) -> CqlResult<Option<Bytes>> {
    let failed = |error: CqlError| {
        CqlError::function_failure(
            "system",
            &format!("_{}", operator_name(operator)),
            vec![left_type.to_string(), right_type.to_string()],
            format!(
                "the operation '{left_type} {} {right_type}' failed: {}",
                operator.symbol(),
                error.message
            ),
        )
    };
    if matches!(right_type.bare(), CqlType::Duration) {
        return duration::shift(operator, left_type, left, right).map_err(failed);
    }
    let (Some(a), Some(b)) = (
        number::read(left_type, left)?,
        number::read(right_type, right)?,
    ) else {
        return Ok(None);
    };
    let (a, b) = match returns.bare() {
        CqlType::Decimal => (
            number::met_by_decimal(left_type, a),
            number::met_by_decimal(right_type, b),
        ),
        _ => (a, b),
    };
    let result = number::arithmetic(operator, &a, &b, returns).map_err(failed)?;
    number::write(&result, returns).map(|bytes| Some(bytes.into()))
}

/// The name of the function behind an operator, as errors have it.
pub fn operator_name(operator: Arithmetic) -> &'static str {
    match operator {
        Arithmetic::Add => "add",
        Arithmetic::Subtract => "substract",
        Arithmetic::Multiply => "multiply",
        Arithmetic::Divide => "divide",
        Arithmetic::Modulo => "modulo",
    }
}
