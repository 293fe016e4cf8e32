//! Filters with their values at hand, and whether a row passes them.
//!
//! What must hold: null passes nothing; values are compared as Cassandra's judge of the rows does, texts as the index that brings them folds them, on both sides.

use std::borrow::Cow;

use bytes::Bytes;
use palladium_protocol::cql::ast::Operator;
use palladium_protocol::types::CqlType;
use palladium_storage::ColumnId;

use super::analyze::restrictions::{Filter, Judge, Test};
use super::expression::{self, Bound, Expression, RowScope, Scope, compare, same};
use super::plan::{evaluated, not_null, spread, tuple_value, tuples};
use crate::encode::Malformed;
use crate::encode::wire::{Elements, Fields};
use crate::error::{CqlError, CqlResult};
use crate::schema::index::{Fold, Question};
use crate::schema::{ColumnKind, TableSchema};

/// A filter with its values at hand.
pub struct Check<'a> {
    columns: &'a [usize],
    kind: CheckKind,
    /// Texts are compared after this was done to them, on both sides: the column's index says so.
    fold: Option<Fold>,
    addresses: Addresses,
    /// Not only the value has to be the same but its spelling: a classic index and a partition are found by bytes, and a decimal may have several.
    as_spelled: bool,
}

/// In which order addresses are compared, and what else is.
#[derive(Clone, Copy, PartialEq)]
enum Addresses {
    /// That of their bytes.
    Bytes,
    /// As ones of IPv6, all of them: storage-attached indexes have them in that order.
    Ipv6,
    /// A row has to pass in both.
    Both,
}

enum CheckKind {
    Compare(Operator, Bytes),
    In(Vec<Bytes>),
    Contains(Bytes),
    ContainsKey(Bytes),
    Element { key: Bytes, value: Bytes },
}

/// The filters of a WHERE, bound once for all rows.
pub fn checks<'a>(
    table: &TableSchema,
    filters: &'a [Filter],
    scope: &Scope<'_>,
    judge: Judge,
) -> CqlResult<Vec<Check<'a>>> {
    // Of several that the index could be asked it is asked the first.
    let mut is_asked = false;
    let of_partition = |filter: &&Filter| is_of_partition(table, filter);
    let names_partition = judge == Judge::View
        && filters.iter().filter(of_partition).count() == table.partition_key.len();
    filters
        .iter()
        .map(|filter| {
            let is_answered = !is_asked && is_found_by_bytes(filter, judge);
            is_asked |= is_answered;
            let as_spelled = is_answered || names_partition && of_partition(&filter);
            let name = &table.columns[filter.columns[0]].name;
            let part = |expression: &Expression, what: &str| {
                let refused = |kind: &str| {
                    CqlError::invalid(format!("Unsupported {kind} {what} for column {name}"))
                };
                let refusal = match expression.evaluate(scope) {
                    Ok(Bound::Value(value)) => return Ok(value),
                    Ok(Bound::Null) => refused("null"),
                    Ok(Bound::Unset) => refused("unset"),
                    Err(refusal) => refusal,
                };
                bind_alike(filters, filter, scope)?;
                Err(refusal)
            };
            let value = |expression: &Expression| part(expression, "value");
            let kind = match &filter.test {
                test if filter.tuple => tuple_check(table, &filter.columns, test, scope)?,
                Test::Compare(operator, expression) => {
                    CheckKind::Compare(*operator, value(expression)?)
                }
                // A null among them is met by nothing.
                Test::In(of) => CheckKind::In(
                    evaluated(of, name, scope)?
                        .into_iter()
                        .filter_map(Bound::value)
                        .collect(),
                ),
                Test::Contains(expression) => CheckKind::Contains(value(expression)?),
                Test::ContainsKey(expression) => CheckKind::ContainsKey(value(expression)?),
                Test::Element {
                    key,
                    value: expected,
                    ..
                } => CheckKind::Element {
                    key: part(key, "map key")?,
                    value: part(expected, "map value")?,
                },
            };
            let fold = fold(table, filter).filter(|_| judge.is_attached());
            let folded = |text: Bytes| match fold {
                Some(fold) => Bytes::from(fold.apply(&text).into_owned()),
                None => text,
            };
            let kind = match kind {
                CheckKind::Compare(operator, text) => CheckKind::Compare(operator, folded(text)),
                CheckKind::Contains(text) => CheckKind::Contains(folded(text)),
                CheckKind::ContainsKey(text) => CheckKind::ContainsKey(folded(text)),
                other => other,
            };
            Ok(Check {
                columns: &filter.columns,
                kind,
                fold,
                addresses: addresses(table, filter, judge),
                as_spelled,
            })
        })
        .collect()
}

/// Binds what a collection is asked in all filters of one kind, keys before values: Cassandra does before it looks for nulls among them.
fn bind_alike(filters: &[Filter], filter: &Filter, scope: &Scope<'_>) -> CqlResult<()> {
    let mut values = Vec::new();
    for other in filters
        .iter()
        .filter(|other| other.columns == filter.columns)
    {
        match (&filter.test, &other.test) {
            (Test::Contains(_), Test::Contains(value)) => values.push(value),
            (Test::ContainsKey(_), Test::ContainsKey(value)) => values.push(value),
            (Test::Element { .. }, Test::Element { key, value, .. }) => {
                key.evaluate(scope)?;
                values.push(value);
            }
            _ => {}
        }
    }
    for value in values {
        value.evaluate(scope)?;
    }
    Ok(())
}

/// A filter whose values are tuples: only what it says column by column can be tried.
fn tuple_check(
    table: &TableSchema,
    columns: &[usize],
    test: &Test,
    scope: &Scope<'_>,
) -> CqlResult<CheckKind> {
    let own = &table.columns[columns[0]..=columns[columns.len() - 1]];
    match test {
        Test::Compare(Operator::Equal, expression) => {
            let value = tuple_value(expression.evaluate(scope)?, own)?;
            let value = not_null(value.into(), &own[0].name)?;
            let mut parts = spread(&value, own, &|column| {
                CqlError::invalid(format!("Unsupported null value for column {}", column.name))
            })?;
            Ok(match (own.len(), parts.pop()) {
                (1, Some(part)) => CheckKind::Compare(Operator::Equal, part),
                _ => CheckKind::Compare(Operator::Equal, value),
            })
        }
        Test::In(of) if own.len() == 1 => Ok(CheckKind::In(
            tuples(of, own, scope)?.into_iter().flatten().collect(),
        )),
        Test::In(_) => Err(CqlError::invalid(
            "Multicolumn IN filters are not supported",
        )),
        _ => Err(CqlError::invalid(
            "Multi-column slice restrictions cannot be used for filtering.",
        )),
    }
}

/// Whether a filter is what a classic index is asked.
fn is_found_by_bytes(filter: &Filter, judge: Judge) -> bool {
    let own = match &filter.test {
        Test::Compare(Operator::Equal, _) => Question::Equal,
        Test::Contains(_) => Question::Contains,
        _ => return false,
    };
    matches!(judge, Judge::Classic { column, question } if filter.columns == [column] && question == own)
}

/// Whether a filter gives a column of the partition key its values.
fn is_of_partition(table: &TableSchema, filter: &Filter) -> bool {
    let gives = matches!(filter.test, Test::Compare(Operator::Equal, _) | Test::In(_));
    gives && table.columns[filter.columns[0]].kind == ColumnKind::PartitionKey
}

/// How the storage-attached index that answers a filter makes texts alike.
pub fn fold(table: &TableSchema, filter: &Filter) -> Option<Fold> {
    let question = match &filter.test {
        Test::Compare(Operator::Equal, _) => Question::Equal,
        Test::Contains(_) => Question::Contains,
        Test::ContainsKey(_) => Question::ContainsKey,
        _ => return None,
    };
    if filter.columns.len() != 1 {
        return None;
    }
    let column = &table.columns[filter.columns[0]];
    let mut indexes = table.indexes_of(&column.name);
    let index = indexes.find(|index| index.is_sai() && index.answers(question, &column.ty))?;
    index.fold()
}

fn addresses(table: &TableSchema, filter: &Filter, judge: Judge) -> Addresses {
    match judge {
        Judge::Attached if is_range_of_addresses(table, filter) => Addresses::Ipv6,
        Judge::AttachedAndAny if is_range_of_addresses(table, filter) => Addresses::Both,
        _ => Addresses::Bytes,
    }
}

/// Whether a filter is about a range of a column of addresses.
pub fn is_range_of_addresses(table: &TableSchema, filter: &Filter) -> bool {
    matches!(&filter.test, Test::Compare(operator, _) if *operator != Operator::Equal)
        && filter.columns.len() == 1
        && *table.columns[filter.columns[0]].ty.bare() == CqlType::Inet
}

/// An address of IPv4 in the clothes of IPv6.
fn ipv6(address: &[u8]) -> Cow<'_, [u8]> {
    const PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    match address.len() {
        4 => Cow::Owned([&PREFIX[..], address].concat()),
        _ => Cow::Borrowed(address),
    }
}

/// Whether a collection's elements, or a map's keys or values, have this one among them when they are folded.
fn contains_folded(
    ty: &CqlType,
    value: &Bytes,
    fold: Fold,
    wanted: &[u8],
    of_keys: bool,
) -> CqlResult<bool> {
    for element in elements(ty, value, of_keys)? {
        if let Some(element) = element?
            && *fold.apply(element) == *wanted
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The elements of a list or set, or a map's keys or values.
fn elements<'v>(
    ty: &CqlType,
    value: &'v [u8],
    of_keys: bool,
) -> CqlResult<impl Iterator<Item = Result<Option<&'v [u8]>, Malformed>>> {
    let (all, skip, step) = match ty.bare() {
        CqlType::Map(..) => (Elements::read_map(value)?, usize::from(!of_keys), 2),
        _ => (Elements::read(value)?, 0, 1),
    };
    Ok(all.skip(skip).step_by(step))
}

/// A check of one simple column of a row: it needs no more of the row than that cell, as it is kept.
pub struct CellCheck<'a> {
    pub column: ColumnId,
    ty: &'a CqlType,
    check: &'a Check<'a>,
}

impl CellCheck<'_> {
    /// Whether the cell passes; null passes nothing.
    pub fn passes(&self, value: Option<&[u8]>) -> CqlResult<bool> {
        let Some(value) = value else {
            return Ok(false);
        };
        let passes = self.check.compares(self.ty, value)?;
        Ok(passes.expect("of_cell: it compares"))
    }
}

impl<'a> Check<'a> {
    /// The same as a check of one cell, if it is one.
    pub fn of_cell(&'a self, table: &'a TableSchema) -> Option<CellCheck<'a>> {
        let [column] = self.columns else {
            return None;
        };
        let column = &table.columns[*column];
        let compares = matches!(self.kind, CheckKind::Compare(..) | CheckKind::In(_));
        let is_cell = column.kind == ColumnKind::Regular && !column.ty.is_multi_cell();
        (compares && is_cell).then_some(CellCheck {
            column: column.id,
            ty: &column.ty,
            check: self,
        })
    }

    /// Whether the value of its one column passes; None if it does more than to compare it.
    fn compares(&self, ty: &CqlType, value: &[u8]) -> CqlResult<Option<bool>> {
        Ok(Some(match &self.kind {
            CheckKind::Compare(operator, expected) if self.addresses != Addresses::Bytes => {
                holds(*operator, ipv6(value).cmp(&ipv6(expected)))
                    && (self.addresses == Addresses::Ipv6
                        || holds(*operator, compare(ty, value, expected)?))
            }
            CheckKind::Compare(_, expected) if self.as_spelled => value == expected,
            CheckKind::Compare(operator, expected) => match self.fold {
                None => holds(*operator, compare(ty, value, expected)?),
                Some(fold) => holds(*operator, compare(ty, &fold.apply(value), expected)?),
            },
            CheckKind::In(alternatives) => {
                let mut found = false;
                for alternative in alternatives {
                    found = found
                        || match self.as_spelled {
                            true => value == alternative,
                            false => same(ty, value, alternative)?,
                        };
                }
                found
            }
            _ => return Ok(None),
        }))
    }

    /// Whether the row passes; null passes nothing.
    pub fn passes(&self, row: &RowScope<'_>) -> CqlResult<bool> {
        let mut values = Vec::with_capacity(self.columns.len());
        for index in self.columns {
            match row.column(*index)? {
                Some(value) => values.push(value),
                None => return Ok(false),
            }
        }
        let ty = &row.table.columns[self.columns[0]].ty;
        let value = &values[0];
        if values.len() == 1
            && let Some(passes) = self.compares(ty, value)?
        {
            return Ok(passes);
        }
        Ok(match &self.kind {
            CheckKind::Compare(operator, expected) => {
                holds(*operator, self.compare_tuple(row.table, &values, expected)?)
            }
            CheckKind::In(alternatives) => {
                let mut found = false;
                for alternative in alternatives {
                    found = found || self.compare_tuple(row.table, &values, alternative)?.is_eq();
                }
                found
            }
            CheckKind::Contains(wanted) if self.as_spelled => {
                let mut found = false;
                for element in elements(ty, value, false)? {
                    found |= element? == Some(wanted);
                }
                found
            }
            CheckKind::Contains(wanted) => match self.fold {
                None => contains(ty, value, wanted)?,
                Some(fold) => contains_folded(ty, value, fold, wanted, false)?,
            },
            CheckKind::ContainsKey(wanted) => match self.fold {
                None => expression::element(ty, value, wanted)?.is_some(),
                Some(fold) => contains_folded(ty, value, fold, wanted, true)?,
            },
            CheckKind::Element {
                key,
                value: expected,
            } => match (ty.bare(), expression::element(ty, value, key)?) {
                (CqlType::Map(_, of), Some(found)) => same(of, &found, expected)?,
                _ => false,
            },
        })
    }

    fn compare_tuple(
        &self,
        table: &TableSchema,
        values: &[Bytes],
        expected: &Bytes,
    ) -> CqlResult<std::cmp::Ordering> {
        for ((index, value), field) in self.columns.iter().zip(values).zip(Fields::read(expected)) {
            let column = &table.columns[*index];
            let field = field?.ok_or_else(|| {
                CqlError::invalid(format!(
                    "Invalid null value in condition for column {}",
                    column.name
                ))
            })?;
            let order = compare(&column.ty, value, field)?;
            if order.is_ne() {
                return Ok(order);
            }
        }
        Ok(std::cmp::Ordering::Equal)
    }
}

/// Whether `left operator right`, given how they compare.
pub fn holds(operator: Operator, order: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// Whether a list or set holds the element, or a map the value. As in Cassandra what is frozen holds what it was given, digit by digit: 1.5 is not 1.50 there.
pub fn contains(ty: &CqlType, value: &Bytes, wanted: &[u8]) -> CqlResult<bool> {
    let inner = match ty.bare() {
        CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner) => inner,
        _ => return Ok(false),
    };
    for element in elements(ty, value, false)? {
        let Some(element) = element? else { continue };
        if element == wanted || ty.is_multi_cell() && same(inner, element, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}
