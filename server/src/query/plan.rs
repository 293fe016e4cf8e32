//! Restrictions and bound values become what storage understands: partition keys and slices. What is left is for `check`.
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
use palladium_protocol::types::{CqlType, validate};
use palladium_storage::{Clustering, KeyRange, PartitionBound, PartitionKey, Slices, Token};
use smallvec::{SmallVec, smallvec};

use super::analyze::restrictions::{Alternatives, Constraint, End, Partition, Restrictions};
use super::expression::{Bound, Scope};
use crate::encode::wire::{Elements, Fields};
use crate::encode::{key, order};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, TableSchema};

/// Partitions or positions that one statement may name: the product of its IN lists.
const COMBINATIONS_MAX: usize = 65_535;

/// Most statements name one.
pub type NamedKeys = SmallVec<[PartitionKey; 1]>;

/// Which partitions.
#[derive(Debug, Clone)]
pub enum Keys {
    /// In the order of their values, each once.
    Named(NamedKeys),
    Range(KeyRange),
    /// No partition can fit.
    Nothing,
}

/// The value that a column is compared with, which has to be one.
pub(super) fn not_null(value: Bound, column: &str) -> CqlResult<Bytes> {
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

/// The values that one column or tuple may have, null or not.
pub(super) fn evaluated(
    of: &Alternatives,
    column: &str,
    scope: &Scope<'_>,
) -> CqlResult<Vec<Bound>> {
    match of {
        Alternatives::One(value) => Ok(vec![value.evaluate(scope)?]),
        Alternatives::Several(values) => values.iter().map(|value| value.evaluate(scope)).collect(),
        Alternatives::Listed(list) => {
            let refused =
                |what: &str| CqlError::invalid(format!("Invalid {what} value for column {column}"));
            let list = match list.evaluate(scope)? {
                Bound::Value(list) => list,
                Bound::Null => return Err(refused("null")),
                Bound::Unset => return Err(refused("unset")),
            };
            Elements::read(&list)?
                .map(|element| {
                    let element = element?.map(|element| list.slice_ref(element));
                    Ok(element.into())
                })
                .collect()
        }
    }
}

/// The values of one column, which have to be some.
fn alternatives(of: &Alternatives, column: &str, scope: &Scope<'_>) -> CqlResult<Vec<Bytes>> {
    let values = evaluated(of, column, scope)?;
    if values.contains(&Bound::Null) {
        // Said before what is said of one that is unset, wherever it stands.
        not_null(Bound::Null, column)?;
    }
    values
        .into_iter()
        .map(|value| not_null(value, column))
        .collect()
}

/// The bytes of a tuple for these columns; null is none.
pub(super) fn tuple_value(value: Bound, columns: &[Column]) -> CqlResult<Option<Bytes>> {
    match value {
        Bound::Unset => {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            Err(CqlError::invalid(format!(
                "Invalid unset value for tuple ({})",
                names.join(",")
            )))
        }
        value => Ok(value.value()),
    }
}

/// The parts of a tuple for these columns. `null` says what a part that is none means.
pub(super) fn spread(
    value: &Bytes,
    columns: &[Column],
    null: &dyn Fn(&Column) -> CqlError,
) -> CqlResult<Vec<Bytes>> {
    let mut parts = Vec::with_capacity(columns.len());
    for (field, column) in Fields::read(value).zip(columns) {
        let field = field?.ok_or_else(|| null(column))?;
        parts.push(value.slice_ref(field));
    }
    Ok(parts)
}

/// The values of several columns together.
pub(super) fn tuples(
    of: &Alternatives,
    columns: &[Column],
    scope: &Scope<'_>,
) -> CqlResult<Vec<Vec<Bytes>>> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let in_list = || {
        CqlError::invalid(format!(
            "Invalid null value in condition for columns: [{}]",
            names.join(", ")
        ))
    };
    let alone = |column: &Column| {
        CqlError::invalid(format!("Invalid null value for column {}", column.name))
    };
    let null = |column: &Column| match of {
        Alternatives::One(_) => alone(column),
        _ => in_list(),
    };
    if let Alternatives::Listed(list) = of {
        match list.evaluate(scope)? {
            Bound::Null => {
                return Err(CqlError::invalid("Invalid null value for IN restriction"));
            }
            Bound::Unset => {
                return Err(CqlError::invalid(format!(
                    "Invalid unset value for in({})",
                    names.join(",")
                )));
            }
            Bound::Value(_) => {}
        }
    }
    let mut all = Vec::new();
    for value in evaluated(of, &names.join(","), scope)? {
        let value = tuple_value(value, columns)?.ok_or_else(|| null(&columns[0]))?;
        let parts = spread(&value, columns, &null)?;
        if parts.len() < columns.len() {
            return Err(CqlError::invalid(format!(
                "Expected {} elements in value tuple, but got {}",
                columns.len(),
                parts.len()
            )));
        }
        all.push(parts);
    }
    Ok(all)
}

/// What is said of a key without bytes.
pub const EMPTY_KEY: &str = "Key may not be empty";

/// The partitions of a WHERE.
pub fn keys(
    table: &TableSchema,
    restrictions: &Restrictions,
    scope: &Scope<'_>,
) -> CqlResult<Keys> {
    match &restrictions.partition {
        Partition::All => Ok(Keys::Range(KeyRange::all())),
        Partition::Keys(columns) => {
            let Some((lower, upper)) = &restrictions.token else {
                return named_keys(table, columns, scope, &|_| false).map(Keys::Named);
            };
            let within = within_tokens(lower.as_ref(), upper.as_ref(), scope)?;
            // A key that cannot be has the least token, and is no mistake where that is not meant.
            let is_left_out = |error: &CqlError| {
                error.message == EMPTY_KEY && !within(palladium_protocol::types::token_of(&[]))
            };
            let mut keys = match named_keys(table, columns, scope, &is_left_out) {
                Err(error) if is_left_out(&error) => NamedKeys::new(),
                keys => keys?,
            };
            keys.retain(|key| within(key.token().0));
            Ok(Keys::Named(keys))
        }
        Partition::Token { lower, upper } => token_range(lower.as_ref(), upper.as_ref(), scope),
    }
}

/// The partitions that a modification names.
pub fn written_keys(
    table: &TableSchema,
    restrictions: &Restrictions,
    scope: &Scope<'_>,
) -> CqlResult<NamedKeys> {
    let Keys::Named(keys) = keys(table, restrictions, scope)? else {
        return Err(CqlError::server("a modification names its partitions"));
    };
    check_parts(table, &keys)?;
    Ok(keys)
}

/// A byte may be written without any in a literal. As in Cassandra such a part of a key can be asked for and not be written; of one column alone it is no key at all.
fn check_parts(table: &TableSchema, keys: &[PartitionKey]) -> CqlResult<()> {
    let columns = table.partition_columns();
    if columns.len() == 1
        || columns
            .iter()
            .all(|column| *column.ty.bare() != CqlType::Tinyint)
    {
        return Ok(());
    }
    for key in keys {
        let values = key::partition_values(key, columns.len())?;
        for (column, value) in columns.iter().zip(values) {
            validate(&column.ty, &value).map_err(|error| CqlError::invalid(error.to_string()))?;
        }
    }
    Ok(())
}

/// The keys that columns name. Of several, those whose mistake `is_left_out` are none.
fn named_keys(
    table: &TableSchema,
    columns: &[Alternatives],
    scope: &Scope<'_>,
    is_left_out: &dyn Fn(&CqlError) -> bool,
) -> CqlResult<NamedKeys> {
    let names = table.partition_columns();
    if let ([Alternatives::One(value)], [column]) = (columns, names) {
        let value = not_null(value.evaluate(scope)?, &column.name)?;
        return Ok(smallvec![key::partition_key(&[value])?]);
    }
    if columns.iter().all(|of| matches!(of, Alternatives::One(_))) {
        let mut values = Vec::with_capacity(columns.len());
        for (of, column) in columns.iter().zip(names) {
            if let Alternatives::One(value) = of {
                values.push(not_null(value.evaluate(scope)?, &column.name)?);
            }
        }
        return Ok(smallvec![key::partition_key(&values)?]);
    }
    let mut combinations: Vec<Vec<Bytes>> = vec![Vec::with_capacity(columns.len())];
    for (of, column) in columns.iter().zip(names) {
        if combinations.is_empty() {
            break;
        }
        let values = alternatives(of, &column.name, scope)?;
        combinations = product(combinations, &values, |combination, value| {
            combination.push(value.clone())
        })?;
    }
    if let [single] = combinations.as_slice() {
        return Ok(smallvec![key::partition_key(single)?]);
    }
    // As Cassandra: in the order of the values, not of the tokens, and of two spellings of one value the first.
    let mut placed = Vec::with_capacity(combinations.len());
    for values in combinations {
        let mut place = Vec::new();
        for (column, value) in names.iter().zip(&values) {
            order::encode(&column.ty, Some(value), false, &mut place)?;
        }
        match key::partition_key(&values) {
            Err(error) if is_left_out(&error) => {}
            key => placed.push((place, key?)),
        }
    }
    placed.sort_by(|a: &(Vec<u8>, _), b| a.0.cmp(&b.0));
    placed.dedup_by(|a, b| a.0 == b.0);
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

fn token_of_end(end: &End, scope: &Scope<'_>) -> CqlResult<i64> {
    let value = match end.value.evaluate(scope)? {
        Bound::Null => return Err(CqlError::invalid("Invalid null token value")),
        value => not_null(value, "partition key token")?,
    };
    let bytes = value[..]
        .try_into()
        .map_err(|_| CqlError::invalid("Invalid token"))?;
    Ok(i64::from_be_bytes(bytes))
}

/// Which tokens of named keys are meant. As in Cassandra a range whose end is less than its start goes round the ring here, which it does not where it alone
/// says what is read.
fn within_tokens(
    lower: Option<&End>,
    upper: Option<&End>,
    scope: &Scope<'_>,
) -> CqlResult<impl Fn(i64) -> bool + use<>> {
    let read = |end: Option<&End>| -> CqlResult<Option<(i64, bool)>> {
        end.map(|end| Ok((token_of_end(end, scope)?, end.inclusive)))
            .transpose()
    };
    let (lower, upper) = (read(lower)?, read(upper)?);
    let goes_round = matches!((lower, upper), (Some((start, _)), Some((end, _))) if start > end);
    Ok(move |token| {
        let above = lower.is_none_or(|(start, inclusive)| match inclusive {
            true => token >= start,
            false => token > start,
        });
        let below = upper.is_none_or(|(end, inclusive)| match inclusive {
            true => token <= end,
            false => token < end,
        });
        match goes_round {
            true => above || below,
            false => above && below,
        }
    })
}

fn token_range(lower: Option<&End>, upper: Option<&End>, scope: &Scope<'_>) -> CqlResult<Keys> {
    let read = |end: &End| token_of_end(end, scope);
    let start = match lower {
        None => PartitionBound::MIN,
        // The ring's first token is in front of every key, also of the empty one, which a view may have and whose token it is.
        Some(end) => match (read(end)?, end.inclusive) {
            (i64::MIN, _) => PartitionBound::MIN,
            (token, true) => PartitionBound::BeforeToken(Token(token)),
            (token, false) => PartitionBound::AfterToken(Token(token)),
        },
    };
    let end = match upper {
        None => PartitionBound::MAX,
        // As an end it means all the way round.
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
    pub prefixes: SmallVec<[Vec<Bytes>; 1]>,
    /// Stretches behind each prefix; empty if the prefix is all there is.
    slice: Option<SliceEnds>,
}

struct SliceEnds {
    first: usize,
    lower: Option<Edge>,
    upper: Option<Edge>,
}

/// Where a slice ends.
enum Edge {
    /// At these values, and whether they are in it.
    Values(Vec<Bytes>, bool),
    /// At a null, which stands before every value, whichever way the column runs.
    Null,
}

/// What the clustering parts of a WHERE name.
pub fn positions(
    table: &TableSchema,
    restrictions: &Restrictions,
    scope: &Scope<'_>,
) -> CqlResult<Positions> {
    let columns = table.clustering_columns();
    let mut prefixes: SmallVec<[Vec<Bytes>; 1]> = smallvec![Vec::with_capacity(columns.len())];
    let mut slice = None;
    for part in &restrictions.clustering {
        // An IN of nothing: what else is said is not looked at.
        if prefixes.is_empty() {
            break;
        }
        let own = &columns[part.first..part.first + part.count];
        match &part.constraint {
            // The common case takes no combination: one column, one value.
            Constraint::Among(Alternatives::One(value)) if !part.tuple => {
                let value = not_null(value.evaluate(scope)?, &own[0].name)?;
                prefixes
                    .iter_mut()
                    .for_each(|prefix| prefix.push(value.clone()));
            }
            Constraint::Among(of) if !part.tuple => {
                let values = alternatives(of, &own[0].name, scope)?;
                let all = product(prefixes.into_vec(), &values, |prefix, value| {
                    prefix.push(value.clone())
                });
                prefixes = all?.into();
            }
            Constraint::Among(of) => {
                let values = tuples(of, own, scope)?;
                let all = product(prefixes.into_vec(), &values, |prefix, values| {
                    prefix.extend_from_slice(values)
                });
                prefixes = all?.into();
            }
            Constraint::Between { lower, upper } => {
                let end = |end: &Option<End>| -> CqlResult<Option<Edge>> {
                    let Some(end) = end else { return Ok(None) };
                    let value = match end.value.evaluate(scope)? {
                        Bound::Null if !part.tuple => return Ok(Some(Edge::Null)),
                        Bound::Unset if part.tuple => {
                            tuple_value(Bound::Unset, own)?.unwrap_or_default()
                        }
                        value => not_null(value, &own[0].name)?,
                    };
                    let values = match part.tuple {
                        true => spread(&value, own, &|column| {
                            CqlError::invalid(format!(
                                "Invalid null value in condition for column {}",
                                column.name
                            ))
                        })?,
                        false => vec![value],
                    };
                    Ok(Some(Edge::Values(values, end.inclusive)))
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
    /// Nothing is said of the clustering.
    pub fn all() -> Self {
        Positions {
            prefixes: smallvec![Vec::new()],
            slice: None,
        }
    }

    /// Whether anything is said of the clustering at all.
    pub fn is_all(&self) -> bool {
        self.slice.is_none() && matches!(self.prefixes.as_slice(), [prefix] if prefix.is_empty())
    }

    /// Whether a null is all that ends a slice.
    pub fn is_open_at_null(&self) -> bool {
        let ends = self
            .slice
            .as_ref()
            .map(|slice| (&slice.lower, &slice.upper));
        matches!(
            ends,
            Some((Some(Edge::Null), None) | (None, Some(Edge::Null)))
        )
    }

    /// Refuses a slice that begins or ends at a null: what is deleted has to be said better than that.
    pub fn without_null(self, table: &TableSchema) -> CqlResult<Self> {
        let nulled = self.slice.as_ref().filter(|slice| {
            let ends = [&slice.lower, &slice.upper];
            ends.into_iter()
                .any(|edge| matches!(edge, Some(Edge::Null)))
        });
        if let Some(slice) = nulled {
            not_null(Bound::Null, &table.clustering_columns()[slice.first].name)?;
        }
        Ok(self)
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
            match end {
                Some(Edge::Values(values, inclusive)) => {
                    let side = self.side(columns, prefix, values, *inclusive, greater, &whole)?;
                    within = intersection(&within, &side);
                }
                Some(Edge::Null) if greater == columns[self.first].reversed => within.clear(),
                Some(Edge::Null) | None => {}
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
