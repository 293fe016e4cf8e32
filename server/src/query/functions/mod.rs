//! Native functions: finding the one a call means, and calling it.
//!
//! A name may stand for several functions that differ in what they take; [`resolve`] picks by the types that are known and,
//! where a bind marker has none, by the receiver. Old spellings (`toTimestamp`, `blobAsInt`) and new ones
//! (`to_timestamp`, `blob_as_int`) mean the same.
//!
//! Read on in `timeuuid`, `calendar`, `number`, `text`, `aggregate`.

pub mod aggregate;
pub mod calendar;
mod cast;
pub mod number;
pub mod text;
pub mod timeuuid;

use bytes::Bytes;
use palladium_crypto::{Entropy, OsEntropy};
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, composite_key, token_of, validate};

use self::number::Number;
use self::timeuuid::TimeUuids;
use super::expression::Typed;
use crate::encode::order;
use crate::encode::wire::{self, Elements};
use crate::error::{CqlError, CqlResult};
use crate::schema::TableSchema;

pub use cast::can_cast;

/// When a statement is executed.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The server's timestamp for the statement, microseconds.
    pub micros: i64,
    /// What expiry is measured against.
    pub seconds: i64,
    pub uuids: &'a TimeUuids,
}

/// A function with its overload chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Now,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    Uuid,
    MinTimeuuid,
    MaxTimeuuid,
    ToTimestamp,
    ToDate,
    ToUnixTimestamp,
    /// Of the partition key's columns.
    Token,
    AsBlob,
    /// Under its old name (`blobAsInt`) or its new one (`blob_as_int`): errors repeat it.
    FromBlob {
        old_name: bool,
    },
    Cast,
    Arithmetic(Arithmetic),
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
}

/// A function, what it takes and what it gives.
#[derive(Debug, Clone)]
pub struct Signature {
    pub function: Function,
    pub takes: Vec<CqlType>,
    pub returns: CqlType,
}

fn signature(
    function: Function,
    takes: impl IntoIterator<Item = CqlType>,
    returns: CqlType,
) -> Signature {
    Signature {
        function,
        takes: takes.into_iter().collect(),
        returns,
    }
}

/// The functions of a name, given how many arguments it gets and what is known of their types.
fn candidates(
    name: &str,
    arguments: &[Option<CqlType>],
    table: Option<&TableSchema>,
) -> Vec<Signature> {
    use CqlType::*;
    let known = |place: usize| arguments.get(place).cloned().flatten();
    let one_of = |function, takes: &[CqlType], returns: CqlType| {
        takes
            .iter()
            .map(|ty| signature(function, [ty.clone()], returns.clone()))
            .collect()
    };
    let numeric = |function| {
        [
            Tinyint, Smallint, Int, Bigint, Varint, Float, Double, Decimal,
        ]
        .into_iter()
        .map(|ty| signature(function, [ty.clone()], ty))
        .collect()
    };
    match name {
        "now" | "currenttimeuuid" | "current_timeuuid" => {
            vec![signature(Function::Now, [], Timeuuid)]
        }
        "currenttimestamp" | "current_timestamp" => {
            vec![signature(Function::CurrentTimestamp, [], Timestamp)]
        }
        "currentdate" | "current_date" => vec![signature(Function::CurrentDate, [], Date)],
        "currenttime" | "current_time" => vec![signature(Function::CurrentTime, [], Time)],
        "uuid" => vec![signature(Function::Uuid, [], Uuid)],
        "mintimeuuid" | "min_timeuuid" => {
            vec![signature(Function::MinTimeuuid, [Timestamp], Timeuuid)]
        }
        "maxtimeuuid" | "max_timeuuid" => {
            vec![signature(Function::MaxTimeuuid, [Timestamp], Timeuuid)]
        }
        "dateof" => vec![signature(Function::ToTimestamp, [Timeuuid], Timestamp)],
        "unixtimestampof" => vec![signature(Function::ToUnixTimestamp, [Timeuuid], Bigint)],
        "totimestamp" | "to_timestamp" => {
            one_of(Function::ToTimestamp, &[Timeuuid, Date], Timestamp)
        }
        "todate" | "to_date" => one_of(Function::ToDate, &[Timeuuid, Timestamp], Date),
        "tounixtimestamp" | "to_unix_timestamp" => one_of(
            Function::ToUnixTimestamp,
            &[Timeuuid, Timestamp, Date],
            Bigint,
        ),
        "token" => match table {
            Some(table) => {
                let takes = table
                    .partition_columns()
                    .iter()
                    .map(|column| column.ty.clone());
                vec![signature(Function::Token, takes, Bigint)]
            }
            None => Vec::new(),
        },
        "abs" => numeric(Function::Abs),
        "exp" => numeric(Function::Exp),
        "log" => numeric(Function::Log),
        "log10" => numeric(Function::Log10),
        "round" => numeric(Function::Round),
        "map_keys" | "mapkeys" => match known(0).as_ref().map(CqlType::bare) {
            Some(Map(key, value)) => {
                let keys = CqlType::Set(key.clone()).frozen();
                vec![signature(
                    Function::MapKeys,
                    [Map(key.clone(), value.clone()).frozen()],
                    keys,
                )]
            }
            _ => Vec::new(),
        },
        "map_values" | "mapvalues" => match known(0).as_ref().map(CqlType::bare) {
            Some(Map(key, value)) => {
                let values = CqlType::List(value.clone()).frozen();
                vec![signature(
                    Function::MapValues,
                    [Map(key.clone(), value.clone()).frozen()],
                    values,
                )]
            }
            _ => Vec::new(),
        },
        "collection_count" => match known(0) {
            Some(ty) if ty.is_collection() => vec![signature(Function::CollectionCount, [ty], Int)],
            _ => Vec::new(),
        },
        "collection_min" | "collection_max" | "collection_sum" | "collection_avg" => {
            let Some(ty) = known(0) else {
                return Vec::new();
            };
            let (List(element) | CqlType::Set(element)) = ty.bare() else {
                return Vec::new();
            };
            let function = match name {
                "collection_min" => Function::CollectionMin,
                "collection_max" => Function::CollectionMax,
                "collection_sum" => Function::CollectionSum,
                _ => Function::CollectionAvg,
            };
            let sums = matches!(function, Function::CollectionSum | Function::CollectionAvg);
            if sums && number::result_type(element, element).is_none() {
                return Vec::new();
            }
            vec![signature(function, [ty.clone()], (**element).clone())]
        }
        _ => blob_conversion(name).into_iter().collect(),
    }
}

/// `textAsBlob`, `blob_as_int` and their like.
fn blob_conversion(name: &str) -> Option<Signature> {
    let native = |name: &str| {
        let name = if name == "varchar" { "text" } else { name };
        CqlType::native(name).filter(|ty| *ty != CqlType::Blob)
    };
    if let Some(ty) = name
        .strip_suffix("_as_blob")
        .or(name.strip_suffix("asblob"))
    {
        return Some(signature(Function::AsBlob, [native(ty)?], CqlType::Blob));
    }
    if let Some(ty) = name
        .strip_prefix("blob_as_")
        .or(name.strip_prefix("blobas"))
    {
        let old_name = !name.starts_with("blob_as_");
        return Some(signature(
            Function::FromBlob { old_name },
            [CqlType::Blob],
            native(ty)?,
        ));
    }
    None
}

/// Whether a value of one type may stand where the other is wanted without a change of its bytes.
pub fn is_assignable(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.bare(), to.bare());
    from == to
        || matches!(
            (from, to),
            (CqlType::Ascii, CqlType::Text)
                | (CqlType::Timeuuid, CqlType::Uuid)
                | (CqlType::Bigint, CqlType::Counter)
                | (CqlType::Counter, CqlType::Bigint)
        )
        || (*to == CqlType::Blob && !from.is_collection())
        || match (from, to) {
            (CqlType::List(a), CqlType::List(b)) | (CqlType::Set(a), CqlType::Set(b)) => {
                a.bare() == b.bare()
            }
            (CqlType::Map(a, b), CqlType::Map(c, d)) => {
                a.bare() == c.bare() && b.bare() == d.bare()
            }
            (CqlType::Udt(a), CqlType::Udt(b)) => a.keyspace == b.keyspace && a.name == b.name,
            (CqlType::Tuple(a), CqlType::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_assignable(a, b))
            }
            _ => false,
        }
}

/// Whether an argument can be passed where a type is taken: how well it fits, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    No,
    /// After a conversion that costs nothing, or because nothing is known of it.
    Weak,
    Exact,
}

/// The function that a call means. `fit` tells how an argument (by its place) fits a type. None: no function of that name.
pub fn resolve(
    name: &str,
    arguments: &[Option<CqlType>],
    receiver: Option<&CqlType>,
    table: Option<&TableSchema>,
    fit: &dyn Fn(usize, &CqlType) -> Fit,
) -> CqlResult<Option<Signature>> {
    let candidates = candidates(name, arguments, table);
    if candidates.is_empty() {
        return Ok(None);
    }
    if let [only] = candidates.as_slice() {
        if only.takes.len() != arguments.len() {
            return Err(CqlError::invalid(format!(
                "Invalid number of arguments in call to function system.{name}: {} required but {} provided",
                only.takes.len(),
                arguments.len()
            )));
        }
        for (place, takes) in only.takes.iter().enumerate() {
            if fit(place, takes) == Fit::No {
                let given = arguments[place]
                    .as_ref()
                    .map_or("?".to_string(), CqlType::to_string);
                return Err(CqlError::invalid(format!(
                    "Type error: argument of type {given} cannot be passed as argument {place} of function system.{name} of \
                     type {takes}"
                )));
            }
        }
        return Ok(candidates.into_iter().next());
    }
    let rated = candidates.iter().filter_map(|candidate| {
        if candidate.takes.len() != arguments.len() {
            return None;
        }
        let worst = candidate
            .takes
            .iter()
            .enumerate()
            .map(|(place, ty)| fit(place, ty))
            .min();
        worst
            .filter(|fit| *fit > Fit::No)
            .map(|fit| (fit, candidate))
    });
    let mut rated: Vec<_> = rated.collect();
    let best = rated.iter().map(|(fit, _)| *fit).max();
    rated.retain(|(fit, _)| Some(*fit) == best);
    if rated.len() > 1
        && let Some(receiver) = receiver
        && let Some(found) = rated
            .iter()
            .position(|(_, candidate)| is_assignable(&candidate.returns, receiver))
    {
        rated = vec![rated[found]];
    }
    let listed = || {
        let each = candidates.iter().map(|candidate| {
            let takes: Vec<String> = candidate.takes.iter().map(CqlType::to_string).collect();
            format!(
                "system.{name} : ({}) -> {}",
                takes.join(", "),
                candidate.returns
            )
        });
        each.collect::<Vec<_>>().join(", ")
    };
    match rated.as_slice() {
        [] => Err(CqlError::invalid(format!(
            "Invalid call to function {name}, none of its type signatures match (known type signatures: {})",
            listed()
        ))),
        [(_, only)] => Ok(Some((*only).clone())),
        _ => Err(CqlError::invalid(format!(
            "Ambiguous call to function {name} (can be matched by following signatures: {}): use type casts to disambiguate",
            listed()
        ))),
    }
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
            Function::AsBlob => (*first).clone(),
            Function::FromBlob { old_name } => {
                validate(returns, first).map_err(|_| {
                    let name = if old_name { "blobas" } else { "blob_as_" };
                    CqlError::invalid(format!(
                        "In call to function system.{name}{returns}, value {} is not a valid binary representation for type \
                         {returns}",
                        text::blob(first)
                    ))
                })?;
                wire::normalize(returns, first)?.into_owned().into()
            }
            Function::MinTimeuuid => copy(&timeuuid::least(long(first)?)),
            Function::MaxTimeuuid => copy(&timeuuid::greatest(long(first)?)),
            Function::ToTimestamp => match instant(ty, first)? {
                Some(millis) => copy(&millis.to_be_bytes()),
                None => return Ok(None),
            },
            Function::ToUnixTimestamp => match instant(ty, first)? {
                Some(millis) => copy(&millis.to_be_bytes()),
                None => return Ok(None),
            },
            Function::ToDate => match instant(ty, first)?.and_then(calendar::date_of_timestamp) {
                Some(date) => copy(&date.to_be_bytes()),
                None => return Ok(None),
            },
            Function::Cast => return cast::cast(ty, first, returns),
            Function::Arithmetic(operator) => {
                let (Some(second), Some(other)) = (given.get(1), arguments.get(1)) else {
                    return Err(CqlError::server("an operator lacks its second operand"));
                };
                return arithmetic(operator, (ty, first), (&other.ty, second), returns);
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
            | Function::Token => return Err(CqlError::server("answered above")),
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
            (Function::Round, Number::Real(real)) => Number::Real((real + 0.5).floor()),
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
            (Function::Round, number) => number,
            (Function::Exp, number) => Number::Real(number::real(&number).exp()),
            (Function::Log, number) => Number::Real(number::real(&number).ln()),
            (Function::Log10, number) => Number::Real(number::real(&number).log10()),
            (_, number) => number,
        };
        number::write(&result, returns).map(|bytes| Some(bytes.into()))
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
    if matches!(right_type.bare(), CqlType::Duration) {
        return cast::shift(operator, left_type, left, right).map(Some);
    }
    let (Some(a), Some(b)) = (
        number::read(left_type, left)?,
        number::read(right_type, right)?,
    ) else {
        return Ok(None);
    };
    let result = number::arithmetic(operator, &a, &b, returns).map_err(|error| {
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
    })?;
    number::write(&result, returns).map(|bytes| Some(bytes.into()))
}

fn operator_name(operator: Arithmetic) -> &'static str {
    match operator {
        Arithmetic::Add => "add",
        Arithmetic::Subtract => "substract",
        Arithmetic::Multiply => "multiply",
        Arithmetic::Divide => "divide",
        Arithmetic::Modulo => "modulo",
    }
}
