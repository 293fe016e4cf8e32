//! Restrictions and bound values become what storage understands: partition keys, slices, and tests for what is left.
//!
//! ```text
//! (c1, c2) with c2 DESC,  (c1, c2) > (1, 2)     =    c1 > 1    or    c1 = 1 and c2 > 2
//! in positions:             (1 FF ... FF)              (1 00 ... (1 ~2) 00)
//! ```
//!
//! Where all columns of a slice run the same way, one stretch of positions is the slice; where they do not, it is several.
//!
//! What must hold: slices are in position space, where DESC columns are inverted already, so a value's lower end is a DESC
//! position's upper end.

use bytes::Bytes;
use palladium_protocol::cql::ast::Operator;
use palladium_protocol::types::CqlType;
use palladium_storage::{Clustering, KeyRange, PartitionBound, PartitionKey, Slices, Token};

use super::analyze::indexes::IndexChoice;
use super::analyze::restrict::{
    Alternatives, Constraint, End, Filter, Partition, Restrictions, Test,
};
use super::expression::{self, Bound, Expression, RowScope, Scope, compare, same};
use crate::encode::wire::{Elements, Fields};
use crate::encode::{key, order};
use crate::error::{CqlError, CqlResult};
use crate::schema::index::{Fold, Question};
use crate::schema::{Column, TableSchema};

/// Partitions or positions that one statement may name: the product of its IN lists.
const COMBINATIONS_MAX: usize = 65_535;

/// Which partitions.
#[derive(Debug, Clone)]
pub enum Keys {
    /// In the order of their values, each once.
    Named(Vec<PartitionKey>),
    Range(KeyRange),
    /// No partition can fit.
    Nothing,
}

fn not_null(value: Bound, column: &str) -> CqlResult<Bytes> {
    match value {
        Bound::Value(value) => Ok(value),
        Bound::Null => Err(CqlError::invalid(format!(
            "Invalid null value in condition for column {column}"
        ))),
        Bound::Unset => Err(CqlError::invalid(format!(
            "Invalid unset value for column {column}"
        ))),
    }
}

/// The values of one column or tuple.
fn alternatives(of: &Alternatives, column: &str, scope: &Scope<'_>) -> CqlResult<Vec<Bytes>> {
    match of {
        Alternatives::One(value) => Ok(vec![not_null(value.evaluate(scope)?, column)?]),
        Alternatives::Several(values) => values
            .iter()
            .map(|value| not_null(value.evaluate(scope)?, column))
            .collect(),
        Alternatives::Listed(list) => {
            let list = match list.evaluate(scope)? {
                Bound::Value(list) => list,
                Bound::Null => {
                    return Err(CqlError::invalid(format!(
                        "Invalid null value for column {column}"
                    )));
                }
                Bound::Unset => {
                    return Err(CqlError::invalid(format!(
                        "Invalid unset value for column {column}"
                    )));
                }
            };
            Elements::read(&list)?
                .map(|element| {
                    let element = element?.map(|element| list.slice_ref(element));
                    not_null(element.into(), column)
                })
                .collect()
        }
    }
}

/// The partitions of a WHERE.
pub fn keys(
    table: &TableSchema,
    restrictions: &Restrictions,
    scope: &Scope<'_>,
) -> CqlResult<Keys> {
    match &restrictions.partition {
        Partition::All => Ok(Keys::Range(KeyRange::all())),
        Partition::Keys(columns) => named_keys(table, columns, scope).map(Keys::Named),
        Partition::Token { lower, upper } => token_range(lower.as_ref(), upper.as_ref(), scope),
    }
}

fn named_keys(
    table: &TableSchema,
    columns: &[Alternatives],
    scope: &Scope<'_>,
) -> CqlResult<Vec<PartitionKey>> {
    let names = table.partition_columns();
    if let ([Alternatives::One(value)], [column]) = (columns, names) {
        let value = not_null(value.evaluate(scope)?, &column.name)?;
        return Ok(vec![key::partition_key(&[value])?]);
    }
    if columns.iter().all(|of| matches!(of, Alternatives::One(_))) {
        let mut values = Vec::with_capacity(columns.len());
        for (of, column) in columns.iter().zip(names) {
            if let Alternatives::One(value) = of {
                values.push(not_null(value.evaluate(scope)?, &column.name)?);
            }
        }
        return Ok(vec![key::partition_key(&values)?]);
    }
    let mut combinations: Vec<Vec<Bytes>> = vec![Vec::with_capacity(columns.len())];
    for (of, column) in columns.iter().zip(names) {
        let values = alternatives(of, &column.name, scope)?;
        combinations = product(combinations, &values, |combination, value| {
            combination.push(value.clone())
        })?;
    }
    if let [single] = combinations.as_slice() {
        return Ok(vec![key::partition_key(single)?]);
    }
    // As Cassandra: in the order of the values, not of the tokens.
    let mut placed = Vec::with_capacity(combinations.len());
    for values in combinations {
        let mut place = Vec::new();
        for (column, value) in names.iter().zip(&values) {
            order::encode(&column.ty, Some(value), false, &mut place)?;
        }
        placed.push((place, key::partition_key(&values)?));
    }
    placed.sort();
    placed.dedup();
    Ok(placed.into_iter().map(|(_, key)| key).collect())
}

/// Every combination with every value.
fn product<C: Clone, V>(
    combinations: Vec<C>,
    values: &[V],
    add: impl Fn(&mut C, &V),
) -> CqlResult<Vec<C>> {
    let count = combinations.len().saturating_mul(values.len());
    if count > COMBINATIONS_MAX {
        return Err(CqlError::invalid(format!(
            "The query selects {count} combinations of values, more than the {COMBINATIONS_MAX} that are allowed"
        )));
    }
    let mut all = Vec::with_capacity(count);
    for combination in combinations {
        for value in values {
            let mut longer = combination.clone();
            add(&mut longer, value);
            all.push(longer);
        }
    }
    Ok(all)
}

fn token_range(lower: Option<&End>, upper: Option<&End>, scope: &Scope<'_>) -> CqlResult<Keys> {
    let read = |end: &End| -> CqlResult<i64> {
        let value = not_null(end.value.evaluate(scope)?, "partition key token")?;
        let bytes = value[..]
            .try_into()
            .map_err(|_| CqlError::invalid("Invalid token"))?;
        Ok(i64::from_be_bytes(bytes))
    };
    let start = match lower {
        None => PartitionBound::MIN,
        Some(end) => match (read(end)?, end.inclusive) {
            (token, true) => PartitionBound::BeforeToken(Token(token)),
            (token, false) => PartitionBound::AfterToken(Token(token)),
        },
    };
    let end = match upper {
        None => PartitionBound::MAX,
        // The ring's first token as an end means all the way round.
        Some(end) => match (read(end)?, end.inclusive) {
            (i64::MIN, _) => PartitionBound::MAX,
            (token, true) => PartitionBound::AfterToken(Token(token)),
            (token, false) => PartitionBound::BeforeToken(Token(token)),
        },
    };
    Ok(if start < end {
        Keys::Range(KeyRange::Range { start, end })
    } else {
        Keys::Nothing
    })
}

/// Clustering prefixes that equalities name, and what a slice at their end says.
pub struct Positions {
    /// Values of the leading clustering columns, one list for each combination, in the order of the clustering.
    pub prefixes: Vec<Vec<Bytes>>,
    /// Stretches behind each prefix; empty if the prefix is all there is.
    slice: Option<SliceEnds>,
}

struct SliceEnds {
    first: usize,
    lower: Option<(Vec<Bytes>, bool)>,
    upper: Option<(Vec<Bytes>, bool)>,
}

/// What the clustering parts of a WHERE name.
pub fn positions(
    table: &TableSchema,
    restrictions: &Restrictions,
    scope: &Scope<'_>,
) -> CqlResult<Positions> {
    let columns = table.clustering_columns();
    let mut prefixes: Vec<Vec<Bytes>> = vec![Vec::with_capacity(columns.len())];
    let mut slice = None;
    for part in &restrictions.clustering {
        let name = || {
            let names: Vec<&str> = columns[part.first..part.first + part.count]
                .iter()
                .map(|c| c.name.as_str())
                .collect();
            names.join(",")
        };
        let spread = |value: Bytes| -> CqlResult<Vec<Bytes>> {
            if !part.tuple {
                return Ok(vec![value]);
            }
            let mut parts = Vec::with_capacity(part.count);
            for (field, column) in Fields::read(&value).zip(&columns[part.first..]) {
                let field = field?.map(|field| value.slice_ref(field));
                parts.push(not_null(field.into(), &column.name)?);
            }
            Ok(parts)
        };
        match &part.constraint {
            // The common case takes no combination: one column, one value.
            Constraint::Among(Alternatives::One(value)) if !part.tuple => {
                let value = not_null(value.evaluate(scope)?, &columns[part.first].name)?;
                prefixes
                    .iter_mut()
                    .for_each(|prefix| prefix.push(value.clone()));
            }
            Constraint::Among(of) => {
                let values: CqlResult<Vec<Vec<Bytes>>> = alternatives(of, &name(), scope)?
                    .into_iter()
                    .map(spread)
                    .collect();
                let values = values?;
                if let Some(short) = values.iter().find(|values| values.len() < part.count) {
                    return Err(CqlError::invalid(format!(
                        "Expected {} elements in value tuple, but got {}",
                        part.count,
                        short.len()
                    )));
                }
                prefixes = product(prefixes, &values, |prefix, values| {
                    prefix.extend_from_slice(values)
                })?;
            }
            Constraint::Between { lower, upper } => {
                let end = |end: &Option<End>| -> CqlResult<Option<(Vec<Bytes>, bool)>> {
                    let Some(end) = end else { return Ok(None) };
                    let value = not_null(end.value.evaluate(scope)?, &name())?;
                    Ok(Some((spread(value)?, end.inclusive)))
                };
                slice = Some(SliceEnds {
                    first: part.first,
                    lower: end(lower)?,
                    upper: end(upper)?,
                });
            }
        }
    }
    Ok(Positions { prefixes, slice })
}

impl Positions {
    /// Whether anything is said of the clustering at all.
    pub fn is_all(&self) -> bool {
        self.slice.is_none() && matches!(self.prefixes.as_slice(), [prefix] if prefix.is_empty())
    }

    /// The stretches of positions that are meant, each `start < row < end`.
    pub fn stretches(&self, table: &TableSchema) -> CqlResult<Vec<(Clustering, Clustering)>> {
        let columns = table.clustering_columns();
        let mut stretches = Vec::new();
        for prefix in &self.prefixes {
            let whole = (
                key::bound(columns, prefix, false)?,
                key::bound(columns, prefix, true)?,
            );
            match &self.slice {
                None => stretches.push(whole),
                Some(slice) => stretches.extend(slice.stretches(columns, prefix, whole)?),
            }
        }
        Ok(stretches)
    }

    pub fn slices(&self, table: &TableSchema) -> CqlResult<Slices> {
        let columns = table.clustering_columns();
        if columns.is_empty() {
            return Ok(Slices::single());
        }
        if self.is_all() {
            return Ok(Slices::all());
        }
        if let (None, [values]) = (&self.slice, &self.prefixes[..])
            && values.len() == columns.len()
        {
            let (position, _) = key::clustering(columns, values)?;
            let (start, end) = key::around(&position);
            return Ok(Slices::row(start, position, end));
        }
        self.stretches(table).map(Slices::new)
    }
}

impl SliceEnds {
    fn stretches(
        &self,
        columns: &[Column],
        prefix: &[Bytes],
        whole: (Clustering, Clustering),
    ) -> CqlResult<Vec<(Clustering, Clustering)>> {
        let mut within = vec![whole.clone()];
        for (end, greater) in [(&self.lower, true), (&self.upper, false)] {
            if let Some((values, inclusive)) = end {
                let side = self.side(columns, prefix, values, *inclusive, greater, &whole)?;
                within = intersection(&within, &side);
            }
        }
        Ok(within)
    }

    /// The stretches of everything greater (or less) than a tuple: equal in the first n columns, beyond it in the next.
    fn side(
        &self,
        columns: &[Column],
        prefix: &[Bytes],
        values: &[Bytes],
        inclusive: bool,
        greater: bool,
        whole: &(Clustering, Clustering),
    ) -> CqlResult<Vec<(Clustering, Clustering)>> {
        let own = &columns[self.first..self.first + values.len()];
        let bound = |count: usize, after: bool| -> CqlResult<Clustering> {
            let mut all = prefix.to_vec();
            all.extend_from_slice(&values[..count]);
            Ok(key::bound(columns, &all, after)?)
        };
        let mut stretches = Vec::new();
        for (place, column) in own.iter().enumerate() {
            // Everything with the first `place` values, beyond the next one.
            let within = match place {
                0 => whole.clone(),
                _ => (bound(place, false)?, bound(place, true)?),
            };
            let upwards = greater != column.reversed;
            stretches.push(match upwards {
                true => (bound(place + 1, true)?, within.1),
                false => (within.0, bound(place + 1, false)?),
            });
        }
        if inclusive {
            stretches.push((bound(values.len(), false)?, bound(values.len(), true)?));
        }
        Ok(joined(stretches))
    }
}

/// Sorted, with stretches that touch made one.
fn joined(mut stretches: Vec<(Clustering, Clustering)>) -> Vec<(Clustering, Clustering)> {
    stretches.retain(|(start, end)| start < end);
    stretches.sort();
    let mut all: Vec<(Clustering, Clustering)> = Vec::with_capacity(stretches.len());
    for (start, end) in stretches {
        match all.last_mut() {
            Some(last) if start <= last.1 => {
                if last.1 < end {
                    last.1 = end;
                }
            }
            _ => all.push((start, end)),
        }
    }
    all
}

fn intersection(
    left: &[(Clustering, Clustering)],
    right: &[(Clustering, Clustering)],
) -> Vec<(Clustering, Clustering)> {
    let mut both = Vec::new();
    for a in left {
        for b in right {
            let start = (&a.0).max(&b.0);
            let end = (&a.1).min(&b.1);
            if start < end {
                both.push((start.clone(), end.clone()));
            }
        }
    }
    joined(both)
}

/// A filter with its values at hand.
pub struct Check<'a> {
    columns: &'a [usize],
    kind: CheckKind,
    /// Texts are compared after this was done to them, on both sides: the column's index says so.
    fold: Option<Fold>,
}

enum CheckKind {
    Compare(Operator, Bytes),
    In(Vec<Bytes>),
    Contains(Bytes),
    ContainsKey(Bytes),
    Element { key: Bytes, value: Bytes },
}

/// The filters of a WHERE, bound once for all rows. `choice`: the index that brings the rows. Those of its kind say how texts are compared.
pub fn checks<'a>(
    table: &TableSchema,
    filters: &'a [Filter],
    scope: &Scope<'_>,
    choice: Option<&IndexChoice>,
) -> CqlResult<Vec<Check<'a>>> {
    filters
        .iter()
        .map(|filter| {
            let name = &table.columns[filter.columns[0]].name;
            let value = |expression: &Expression| match expression.evaluate(scope)? {
                Bound::Null => Err(CqlError::invalid(format!(
                    "Unsupported null value for column {name}"
                ))),
                Bound::Unset => Err(CqlError::invalid(format!(
                    "Unsupported unset value for column {name}"
                ))),
                Bound::Value(value) => Ok(value),
            };
            let kind = match &filter.test {
                Test::Compare(operator, expression) => {
                    CheckKind::Compare(*operator, value(expression)?)
                }
                Test::In(of) => CheckKind::In(alternatives(of, name, scope)?),
                Test::Contains(expression) => CheckKind::Contains(value(expression)?),
                Test::ContainsKey(expression) => CheckKind::ContainsKey(value(expression)?),
                Test::Element {
                    key,
                    value: expected,
                    ..
                } => CheckKind::Element {
                    key: value(key)?,
                    value: value(expected)?,
                },
            };
            let fold = choice.and_then(|choice| fold(table, filter, choice));
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
            })
        })
        .collect()
}

/// How the storage-attached index that answers a filter makes texts alike, if those bring the rows.
fn fold(table: &TableSchema, filter: &Filter, choice: &IndexChoice) -> Option<Fold> {
    let question = match &filter.test {
        Test::Compare(Operator::Equal, _) => Question::Equal,
        Test::Contains(_) => Question::Contains,
        Test::ContainsKey(_) => Question::ContainsKey,
        _ => return None,
    };
    if !choice.index.is_sai() || filter.columns.len() != 1 {
        return None;
    }
    let column = &table.columns[filter.columns[0]];
    let mut indexes = table.indexes_of(&column.name);
    let index = indexes.find(|index| index.is_sai() && index.answers(question, &column.ty))?;
    index.fold()
}

/// Whether a collection's elements, or a map's keys or values, have this one among them when they are folded.
fn contains_folded(
    ty: &CqlType,
    value: &Bytes,
    fold: Fold,
    wanted: &[u8],
    of_keys: bool,
) -> CqlResult<bool> {
    let elements = match ty.bare() {
        CqlType::Map(..) => Elements::read_map(value)?,
        _ => Elements::read(value)?,
    };
    let (skip, step) = match ty.bare() {
        CqlType::Map(..) => (usize::from(!of_keys), 2),
        _ => (0, 1),
    };
    for element in elements.skip(skip).step_by(step) {
        if let Some(element) = element?
            && *fold.apply(element) == *wanted
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Check<'_> {
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
        Ok(match &self.kind {
            CheckKind::Compare(operator, expected) if values.len() == 1 => match self.fold {
                None => holds(*operator, compare(ty, value, expected)?),
                Some(fold) => holds(*operator, compare(ty, &fold.apply(value), expected)?),
            },
            CheckKind::Compare(operator, expected) => {
                holds(*operator, self.compare_tuple(row.table, &values, expected)?)
            }
            CheckKind::In(alternatives) if values.len() == 1 => {
                let mut found = false;
                for alternative in alternatives {
                    found = found || same(ty, value, alternative)?;
                }
                found
            }
            CheckKind::In(alternatives) => {
                let mut found = false;
                for alternative in alternatives {
                    found = found || self.compare_tuple(row.table, &values, alternative)?.is_eq();
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

/// Whether a list or set holds the element, or a map the value.
pub fn contains(ty: &CqlType, value: &Bytes, wanted: &[u8]) -> CqlResult<bool> {
    let (inner, skip, step) = match ty.bare() {
        CqlType::Map(_, value) => (value, 1, 2),
        CqlType::List(inner) | CqlType::Set(inner) => (inner, 0, 1),
        _ => return Ok(false),
    };
    let elements = if step == 2 {
        Elements::read_map(value)?
    } else {
        Elements::read(value)?
    };
    for element in elements.skip(skip).step_by(step) {
        if let Some(element) = element?
            && same(inner, element, wanted)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
