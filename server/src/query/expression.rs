//! Expressions: what stands for a value once names and types are known, and how it becomes one.
//!
//! The grammar has two trees for values, terms (in VALUES, SET, WHERE, IF) and selectables (in SELECT); here they are one.
//! Everything is typed when it is analyzed, so evaluating cannot meet a wrong type; it fails only where a value is out of a
//! function's range.
//!
//! What must hold: a constant is a valid value of its type, sets and maps in order, and so is every bound value; thus so is
//! the value of every expression.

use bytes::Bytes;
use palladium_protocol::cql::ast::CellFact;
use palladium_protocol::types::CqlType;
use palladium_storage::{Cell, CellState, Row};

use super::functions::{Function, Moment};
use super::values::Given;
use crate::encode::cell::{self, cell_value};
use crate::encode::wire::{self, Elements, Fields};
use crate::encode::{Malformed, order};
use crate::error::{CqlError, CqlResult};
use crate::schema::{ColumnKind, TableSchema};

/// A value that came with a request, or was computed.
#[derive(Clone, PartialEq, Eq)]
pub enum Bound {
    Null,
    /// Leave it as it is.
    Unset,
    Value(Bytes),
}

impl Bound {
    /// The value; unset counts as null.
    pub fn value(self) -> Option<Bytes> {
        match self {
            Bound::Value(value) => Some(value),
            Bound::Null | Bound::Unset => None,
        }
    }

    pub fn as_value(&self) -> Option<&Bytes> {
        match self {
            Bound::Value(value) => Some(value),
            Bound::Null | Bound::Unset => None,
        }
    }
}

impl From<Option<Bytes>> for Bound {
    fn from(value: Option<Bytes>) -> Self {
        value.map_or(Bound::Null, Bound::Value)
    }
}

/// Values are secrets.
impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Bound::Null => "Null",
            Bound::Unset => "Unset",
            Bound::Value(_) => "Value(..)",
        })
    }
}

/// An expression and the type of its value.
#[derive(Debug, Clone)]
pub struct Typed {
    pub expression: Expression,
    pub ty: CqlType,
}

#[derive(Debug, Clone)]
pub enum Expression {
    Constant(Bound),
    /// A constant that is no value: refused by whoever looks at it, as a bound one is.
    Refused(Box<CqlError>),
    /// The bound value of that number.
    Marker(usize),
    /// A column of the table, by its place.
    Column(usize),
    /// `writetime`, `maxwritetime` or `ttl` of a column.
    Fact {
        fact: CellFact,
        column: usize,
        part: Part,
    },
    Call {
        function: Function,
        arguments: Vec<Typed>,
        returns: CqlType,
    },
    /// A collection, tuple, vector or user-defined type from its parts; a map's are keys and values in turn.
    Build {
        ty: CqlType,
        parts: Vec<Expression>,
    },
    /// A field of a tuple or user-defined type.
    Field {
        of: Box<Expression>,
        field: usize,
    },
    /// An element of a map or set by its key, of a list or vector by its place.
    Element {
        of: Box<Typed>,
        key: Box<Expression>,
    },
    /// The part of a set or map between two keys, both included.
    Slice {
        of: Box<Typed>,
        from: Option<Box<Expression>>,
        to: Option<Box<Expression>>,
    },
    /// What the aggregate of that number came to.
    Aggregate(usize),
}

/// What of a column a fact is about.
#[derive(Debug, Clone)]
pub enum Part {
    Whole,
    /// By its key.
    Element(Box<Expression>),
    Field(usize),
    /// Between two keys, both included.
    Slice {
        from: Option<Box<Expression>>,
        to: Option<Box<Expression>>,
    },
}

/// Where an expression finds its values.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub bound: &'a Given,
    pub moment: &'a Moment<'a>,
    pub row: Option<&'a RowScope<'a>>,
    pub aggregates: &'a [Option<Bytes>],
}

impl<'a> Scope<'a> {
    /// Where nothing came with a request.
    pub fn of_moment(moment: &'a Moment<'a>) -> Self {
        static NOTHING: Given = Given::none();
        Scope::of_values(&NOTHING, moment)
    }

    /// Where there is no row: the values that came with the request.
    pub fn of_values(bound: &'a Given, moment: &'a Moment<'a>) -> Self {
        Scope {
            bound,
            moment,
            row: None,
            aggregates: &[],
        }
    }
}

/// The row at hand.
pub struct RowScope<'a> {
    pub table: &'a TableSchema,
    pub partition: &'a [Bytes],
    /// Empty if only the static row lives.
    pub clustering: &'a [Option<Bytes>],
    pub statics: Option<&'a Row>,
    pub row: Option<&'a Row>,
    /// Seconds.
    pub now: i64,
}

impl RowScope<'_> {
    /// The value of a column, by its place in the table.
    pub fn column(&self, index: usize) -> Result<Option<Bytes>, Malformed> {
        let column = &self.table.columns[index];
        let row = match column.kind {
            ColumnKind::PartitionKey => return Ok(self.partition.get(column.position).cloned()),
            ColumnKind::Clustering => {
                return Ok(self.clustering.get(column.position).cloned().flatten());
            }
            ColumnKind::Static => self.statics,
            ColumnKind::Regular => self.row,
        };
        let Some(row) = row else { return Ok(None) };
        if !column.ty.is_multi_cell() {
            return Ok(row.cell(column.id).map(|cell| cell_value(cell).clone()));
        }
        let cells = row.cells_of(column.id);
        if cells.is_empty() {
            return Ok(None);
        }
        let mut value = Vec::new();
        cell::put_complex(&column.ty, cells, &mut value)?;
        Ok(Some(value.into()))
    }

    /// The cells of a column whose elements have cells of their own; None: they have none.
    fn element_cells(&self, index: usize) -> Option<&[Cell]> {
        let column = &self.table.columns[index];
        if !column.ty.is_multi_cell() || !column.ty.is_collection() {
            return None;
        }
        let row = match column.kind {
            ColumnKind::Static => self.statics,
            _ => self.row,
        };
        Some(row.map_or(&[], |row| row.cells_of(column.id)))
    }

    /// An element of a column. One that has a cell of its own is found by it: a statement may ask for thousands of them, and to gather all there are for each
    /// would keep a processor for minutes.
    pub fn element(&self, index: usize, key: &[u8]) -> Result<Option<Bytes>, Malformed> {
        let ty = &self.table.columns[index].ty;
        let Some(cells) = self.element_cells(index) else {
            return match self.column(index)? {
                Some(whole) => element(ty, &whole, key),
                None => Ok(None),
            };
        };
        let by_path = |path: &[u8]| {
            let found = cells.binary_search_by(|cell| cell.path[..].cmp(path));
            found.ok().map(|place| &cells[place])
        };
        match ty.bare() {
            CqlType::Map(key_type, _) => by_path(&cell::key_path(key_type, key)?.0)
                .map(|cell| cell::map_value(key_type, cell))
                .transpose(),
            CqlType::Set(inner) => by_path(&cell::key_path(inner, key)?.0)
                .map(|cell| cell::set_element(inner, cell))
                .transpose(),
            _ => {
                let cell = place(key).and_then(|place| cells.get(place));
                Ok(cell.map(|cell| cell::cell_value(cell).clone()))
            }
        }
    }

    /// Timestamp or remaining life of a column's cells, or of some of them.
    fn fact(
        &self,
        fact: CellFact,
        index: usize,
        part: &Part,
        scope: &Scope<'_>,
    ) -> CqlResult<Option<Bytes>> {
        let column = &self.table.columns[index];
        let row = match column.kind {
            ColumnKind::Static => self.statics,
            _ => self.row,
        };
        let Some(row) = row else { return Ok(None) };
        let cells = row.cells_of(column.id);
        if !column.ty.is_multi_cell() {
            let Some((cell, value)) = cells.first().and_then(|cell| Some((cell, cell.value()?)))
            else {
                return Ok(None);
            };
            // What is frozen has one time, whatever part of it is asked for, if it has that.
            let is_there = match part {
                Part::Whole | Part::Slice { .. } => true,
                Part::Field(field) => match Fields::read(value).nth(*field) {
                    Some(value) => value?.is_some(),
                    None => false,
                },
                Part::Element(key) => match key.evaluate(scope)? {
                    Bound::Value(key) => element(&column.ty, value, &key)?.is_some(),
                    _ => false,
                },
            };
            return Ok(match is_there {
                true => self.one_fact(fact, cell),
                false => None,
            });
        }
        let wanted: Vec<&Cell> = match part {
            Part::Whole => cells.iter().collect(),
            Part::Field(field) => {
                let path = cell::field_path(*field);
                cells.iter().filter(|cell| cell.path == path).collect()
            }
            Part::Element(key) => match key.evaluate(scope)? {
                Bound::Value(key) => {
                    let path = element_path(&column.ty, &key)?;
                    cells.iter().filter(|cell| cell.path == path).collect()
                }
                _ => Vec::new(),
            },
            Part::Slice { from, to } => {
                let end = |end: &Option<Box<Expression>>| -> CqlResult<Option<Bytes>> {
                    let Some(end) = end else { return Ok(None) };
                    match end.evaluate(scope)? {
                        Bound::Value(key) => Ok(Some(element_path(&column.ty, &key)?)),
                        _ => Ok(None),
                    }
                };
                let (from, to) = (end(from)?, end(to)?);
                let inside = |cell: &&Cell| {
                    from.as_ref().is_none_or(|from| cell.path >= *from)
                        && to.as_ref().is_none_or(|to| cell.path <= *to)
                };
                cells.iter().filter(inside).collect()
            }
        };
        if fact == CellFact::MaxWriteTime {
            let newest = wanted.iter().map(|cell| cell.timestamp).max();
            return Ok(newest.map(|newest| Bytes::copy_from_slice(&newest.to_be_bytes())));
        }
        if matches!(part, Part::Element(_) | Part::Field(_)) {
            return Ok(wanted.first().and_then(|cell| self.one_fact(fact, cell)));
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut facts: Vec<Option<Bytes>> = wanted
            .iter()
            .map(|cell| self.one_fact(fact, cell))
            .collect();
        if let CqlType::Udt(udt) = &column.ty {
            // One for each field, also for those that are not there.
            facts = (0..udt.fields.len())
                .map(|field| {
                    let path = cell::field_path(field);
                    let own = cells.iter().find(|cell| cell.path == path);
                    own.and_then(|cell| self.one_fact(fact, cell))
                })
                .collect();
        }
        let mut list = (facts.len() as i32).to_be_bytes().to_vec();
        for fact in &facts {
            wire::put_element(fact.as_deref(), &mut list);
        }
        Ok(Some(list.into()))
    }

    fn one_fact(&self, fact: CellFact, cell: &Cell) -> Option<Bytes> {
        match (fact, &cell.state) {
            (CellFact::WriteTime | CellFact::MaxWriteTime, _) => {
                Some(Bytes::copy_from_slice(&cell.timestamp.to_be_bytes()))
            }
            (CellFact::Ttl, CellState::Expiring { expires_at, .. }) => {
                let left = i32::try_from(expires_at - self.now).unwrap_or(i32::MAX);
                Some(Bytes::copy_from_slice(&left.to_be_bytes()))
            }
            (CellFact::Ttl, _) => None,
        }
    }
}

fn element_path(ty: &CqlType, key: &[u8]) -> Result<Bytes, Malformed> {
    match ty {
        CqlType::Map(key_type, _) | CqlType::Set(key_type) => Ok(cell::key_path(key_type, key)?.0),
        _ => Ok(Bytes::new()),
    }
}

impl Expression {
    pub const NULL: Expression = Expression::Constant(Bound::Null);

    /// A value that is known already.
    pub fn constant(value: impl Into<Bytes>) -> Self {
        Expression::Constant(Bound::Value(value.into()))
    }

    pub fn evaluate(&self, scope: &Scope<'_>) -> CqlResult<Bound> {
        Ok(match self {
            Expression::Constant(value) => value.clone(),
            Expression::Refused(refused) => return Err((**refused).clone()),
            Expression::Marker(index) => return scope.bound.value(*index),
            Expression::Column(index) => row(scope)?.column(*index)?.into(),
            Expression::Fact { fact, column, part } => {
                row(scope)?.fact(*fact, *column, part, scope)?.into()
            }
            Expression::Call {
                function,
                arguments,
                returns,
            } => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(match argument.expression.evaluate(scope)? {
                        // Nothing is calculated from what is left as it is.
                        Bound::Unset => {
                            return Err(unset(*function, arguments, returns));
                        }
                        value => value.value(),
                    });
                }
                function
                    .call(arguments, &values, returns, scope.moment)?
                    .into()
            }
            Expression::Build { ty, parts } => build(ty, parts, scope)?,
            Expression::Field { of, field } => match of.evaluate(scope)? {
                Bound::Value(value) => match Fields::read(&value).nth(*field) {
                    Some(part) => part?.map(|part| value.slice_ref(part)).into(),
                    None => Bound::Null,
                },
                other => other,
            },
            Expression::Element { of, key } => {
                if let Expression::Column(index) = of.expression
                    && let Some(cells) = row(scope)?.element_cells(index)
                {
                    return Ok(match cells.is_empty() {
                        true => Bound::Null,
                        false => match key.evaluate(scope)? {
                            Bound::Value(key) => row(scope)?.element(index, &key)?.into(),
                            _ => Bound::Null,
                        },
                    });
                }
                let Bound::Value(value) = of.expression.evaluate(scope)? else {
                    return Ok(Bound::Null);
                };
                let Bound::Value(key) = key.evaluate(scope)? else {
                    return Ok(Bound::Null);
                };
                element(&of.ty, &value, &key)?.into()
            }
            Expression::Slice { of, from, to } => {
                let Bound::Value(value) = of.expression.evaluate(scope)? else {
                    return Ok(Bound::Null);
                };
                let end = |bound: &Option<Box<Expression>>| match bound {
                    Some(expression) => expression.evaluate(scope).map(Bound::value),
                    None => Ok(None),
                };
                slice(&of.ty, &value, end(from)?, end(to)?)?.into()
            }
            Expression::Aggregate(index) => scope.aggregates.get(*index).cloned().flatten().into(),
        })
    }

    /// Calculates what is called of values alone, as Cassandra does before it looks for rows; and an argument is refused that is left as it is, whatever stands
    /// beside it.
    pub fn check_calls(&self, scope: &Scope<'_>) -> CqlResult<()> {
        match self {
            Expression::Call { .. } if self.is_of_values() => self.evaluate(scope).map(drop),
            Expression::Call {
                function,
                arguments,
                returns,
            } => {
                for argument in arguments {
                    argument.expression.check_calls(scope)?;
                }
                for argument in arguments {
                    if let Expression::Marker(_) = argument.expression
                        && argument.expression.evaluate(scope)? == Bound::Unset
                    {
                        return Err(unset(*function, arguments, returns));
                    }
                }
                Ok(())
            }
            Expression::Build { parts, .. } => {
                parts.iter().try_for_each(|part| part.check_calls(scope))
            }
            Expression::Field { of, .. } => of.check_calls(scope),
            Expression::Element { of, .. } | Expression::Slice { of, .. } => {
                of.expression.check_calls(scope)
            }
            _ => Ok(()),
        }
    }

    /// Whether it is a value that a statement brings along, or called of such alone.
    fn is_of_values(&self) -> bool {
        match self {
            Expression::Constant(_) | Expression::Refused(_) | Expression::Marker(_) => true,
            Expression::Call {
                function,
                arguments,
                ..
            } => {
                let mut arguments = arguments.iter();
                function.is_pure() && arguments.all(|argument| argument.expression.is_of_values())
            }
            _ => false,
        }
    }

    /// Whether the value is the same for every execution.
    pub fn is_constant(&self) -> bool {
        matches!(self, Expression::Constant(_))
    }

    /// Calls `visit` for this expression and all inside it.
    pub fn walk(&self, visit: &mut impl FnMut(&Expression)) {
        visit(self);
        match self {
            Expression::Call { arguments, .. } => {
                arguments
                    .iter()
                    .for_each(|argument| argument.expression.walk(visit));
            }
            Expression::Build { parts, .. } => parts.iter().for_each(|part| part.walk(visit)),
            Expression::Field { of, .. } => of.walk(visit),
            Expression::Element { of, key } => {
                of.expression.walk(visit);
                key.walk(visit);
            }
            Expression::Slice { of, from, to } => {
                of.expression.walk(visit);
                from.iter().chain(to).for_each(|end| end.walk(visit));
            }
            _ => {}
        }
    }
}

fn unset(function: Function, arguments: &[Typed], returns: &CqlType) -> CqlError {
    CqlError::invalid(format!(
        "Invalid unset value for argument in call to function {}",
        function.called(arguments, returns)
    ))
}

fn row<'a>(scope: &Scope<'a>) -> CqlResult<&'a RowScope<'a>> {
    scope
        .row
        .ok_or_else(|| CqlError::server("a column was asked for where there is no row"))
}

fn build(ty: &CqlType, parts: &[Expression], scope: &Scope<'_>) -> CqlResult<Bound> {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        values.push(part.evaluate(scope)?);
    }
    let null = || CqlError::invalid("null is not supported inside collections");
    let unset = || CqlError::invalid("unset value is not supported inside collections");
    let mut out = Vec::new();
    match ty.bare() {
        whole @ (CqlType::Tuple(_) | CqlType::Udt(_)) => {
            for (place, value) in values.iter().enumerate() {
                // The fields of a type that is not frozen are written one by one.
                if *value == Bound::Unset && !ty.is_multi_cell() {
                    return Err(unset_field(whole, place));
                }
                wire::put_element(value.as_value().map(|value| &value[..]), &mut out);
            }
        }
        CqlType::Vector(element, _) => {
            for value in &values {
                let is_some =
                    |value: &&Bytes| !value.is_empty() || !element.is_null_without_bytes();
                let value = value
                    .as_value()
                    .filter(is_some)
                    .ok_or_else(|| CqlError::invalid("null is not supported inside vectors"))?;
                if element.fixed_bytes().is_none() {
                    palladium_protocol::types::vint::put_unsigned_vint(
                        &mut out,
                        value.len() as u64,
                    );
                }
                out.extend_from_slice(value);
            }
        }
        other => {
            let entries = if matches!(other, CqlType::Map(..)) {
                values.len() / 2
            } else {
                values.len()
            };
            out.extend((entries as i32).to_be_bytes());
            // A list that is shown may have gaps; one that is written may not.
            let has_gaps = matches!(other, CqlType::List(_)) && scope.row.is_some();
            for value in &values {
                match value {
                    Bound::Value(value) => wire::put_element(Some(value), &mut out),
                    Bound::Null if has_gaps => wire::put_element(None, &mut out),
                    Bound::Null => return Err(null()),
                    Bound::Unset => return Err(unset()),
                }
            }
            let ordered = wire::normalize(ty, &out)?.into_owned();
            return Ok(Bound::Value(ordered.into()));
        }
    }
    Ok(Bound::Value(out.into()))
}

/// A tuple or a user-defined type is written as a whole: no part of it stays as it is.
fn unset_field(ty: &CqlType, place: usize) -> CqlError {
    CqlError::invalid(match ty {
        CqlType::Udt(udt) => format!(
            "Invalid unset value for field '{}' of user defined type {}",
            udt.fields[place].0, udt.name
        ),
        _ => format!("Invalid unset value for tuple field number {place}"),
    })
}

/// The element of a collection value.
pub fn element(ty: &CqlType, value: &Bytes, key: &[u8]) -> Result<Option<Bytes>, Malformed> {
    match ty.bare() {
        CqlType::Map(key_type, _) => {
            let mut elements = Elements::read_map(value)?;
            while let Some(own) = elements.next() {
                let own = own?.ok_or(Malformed::LENGTH)?;
                let entry = elements.next().ok_or(Malformed::SHORT)??;
                if same(key_type, own, key)? {
                    return Ok(entry.map(|entry| value.slice_ref(entry)));
                }
            }
            Ok(None)
        }
        CqlType::Set(inner) => {
            for own in Elements::read(value)? {
                let own = own?.ok_or(Malformed::LENGTH)?;
                if same(inner, own, key)? {
                    return Ok(Some(value.slice_ref(own)));
                }
            }
            Ok(None)
        }
        CqlType::List(_) => {
            let Some(index) = place(key) else {
                return Ok(None);
            };
            match Elements::read(value)?.nth(index) {
                Some(found) => Ok(found?.map(|found| value.slice_ref(found))),
                None => Ok(None),
            }
        }
        CqlType::Vector(inner, dimensions) => {
            let Some(index) = place(key) else {
                return Ok(None);
            };
            let elements = wire::vector_elements(inner, usize::from(*dimensions), value)?;
            Ok(elements.get(index).map(|found| value.slice_ref(found)))
        }
        _ => Ok(None),
    }
}

fn place(key: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(key.try_into().ok()?)).ok()
}

fn slice(
    ty: &CqlType,
    value: &Bytes,
    from: Option<Bytes>,
    to: Option<Bytes>,
) -> Result<Option<Bytes>, Malformed> {
    let (key_type, is_map) = match ty.bare() {
        CqlType::Map(key, _) => (key, true),
        CqlType::Set(inner) => (inner, false),
        _ => return Ok(None),
    };
    let position = |key: &[u8]| {
        let mut out = Vec::new();
        order::encode(key_type, Some(key), false, &mut out).map(|_| out)
    };
    let from = from.as_deref().map(position).transpose()?;
    let to = to.as_deref().map(position).transpose()?;
    let mut out = vec![0; 4];
    let mut count = 0i32;
    let mut elements = if is_map {
        Elements::read_map(value)?
    } else {
        Elements::read(value)?
    };
    while let Some(key) = elements.next() {
        let key = key?.ok_or(Malformed::LENGTH)?;
        let entry = if is_map {
            elements.next().ok_or(Malformed::SHORT)??
        } else {
            None
        };
        let at = position(key)?;
        if from.as_ref().is_some_and(|from| at < *from) || to.as_ref().is_some_and(|to| at > *to) {
            continue;
        }
        wire::put_element(Some(key), &mut out);
        if is_map {
            wire::put_element(entry, &mut out);
        }
        count += 1;
    }
    out[..4].copy_from_slice(&count.to_be_bytes());
    // Of what consists of cells nothing is left without them.
    Ok((count > 0 || !ty.is_multi_cell()).then(|| out.into()))
}

/// Whether two values of a type are the same to CQL; 1.0 and 1.00 are.
pub fn same(ty: &CqlType, a: &[u8], b: &[u8]) -> Result<bool, Malformed> {
    if a == b {
        return Ok(true);
    }
    Ok(compare(ty, a, b)?.is_eq())
}

/// The order of two values.
pub fn compare(ty: &CqlType, a: &[u8], b: &[u8]) -> Result<std::cmp::Ordering, Malformed> {
    let mut left = Vec::with_capacity(a.len() + 4);
    let mut right = Vec::with_capacity(b.len() + 4);
    order::encode(ty, Some(a), false, &mut left)?;
    order::encode(ty, Some(b), false, &mut right)?;
    Ok(left.cmp(&right))
}
