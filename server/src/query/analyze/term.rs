//! Terms and selectables to typed expressions.
//!
//! A receiver (a column, a function's argument) gives a type to what has none of its own: literals, bind markers, `{}`. Where
//! there is no receiver, a literal needs a type hint, as in Cassandra.
//!
//! Read on in `calls`, `arithmetic`, `parts` and `construct`, and in `natural` for what something is by itself.
//!
//! What must hold: every marker of the statement ends up with exactly one specification, because drivers encode by it.

use std::cell::Cell;
use std::collections::HashSet;

use palladium_protocol::cql;
use palladium_protocol::cql::ast::{
    Literal, Marker, Name, QualifiedName, Selectable, Selection, Statement, Term,
};
use palladium_protocol::response::ColumnSpec;
use palladium_protocol::types::CqlType;

use super::literal;
use super::parts::Chosen;
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::aggregate::AggregateKind;
use crate::query::functions::{Fit, Function, is_assignable, unquoted};
use crate::schema::{Catalog, Column, ColumnKind, ColumnMask, TableSchema, resolve, types};

/// What a value is for: the name in error messages and marker specifications, and the type.
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    pub name: &'a str,
    pub ty: &'a CqlType,
}

/// An aggregate of a SELECT: what is taken together, and how. Without an argument: COUNT(*).
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub kind: AggregateKind,
    pub argument: Option<Typed>,
}

/// The bind markers of a statement.
#[derive(Debug, Default)]
pub struct Markers {
    pub specs: Vec<MarkerSpec>,
    /// Those of the partition key in the key's order; empty if it is not wholly bound.
    pub key: Vec<u16>,
}

/// What a bind marker stands for.
#[derive(Debug, Clone)]
pub struct MarkerSpec {
    pub column: ColumnSpec,
    /// Whether it is the list of an IN, in which a null may stand.
    pub lists_alternatives: bool,
}

/// The surroundings of the statement being analyzed, and what is found out on the way.
pub struct Terms<'a> {
    pub catalog: &'a Catalog,
    /// Where user types are looked up: the table's keyspace, or the session's.
    pub keyspace: &'a str,
    pub table: Option<&'a TableSchema>,
    /// Whether columns may take part: in SELECT only.
    pub columns: bool,
    /// Whether a masked column means its mask: for those who may not see behind it.
    pub masked: bool,
    markers: Vec<Option<MarkerSpec>>,
    pub aggregates: Vec<Aggregate>,
    pub(super) inside_aggregate: bool,
    pub(super) asks_for_time: bool,
    /// Expressions that were looked at for their types.
    pub(super) looks: Cell<usize>,
    /// The first column that the selection named, which some errors repeat.
    pub first_column: Option<String>,
    /// Keys of elements and ends of slices that were met, other than constants.
    pub chosen: Vec<Chosen>,
    /// What is wrong with the first call of constants in what is selected that has no value.
    pub incalculable: Option<CqlError>,
    /// Whether a call of a bound value was met in what is selected.
    pub calls_bound: bool,
    /// Columns of the partition key, by their places in it, that a marker is compared with: drivers route by those.
    pub key_markers: Vec<(usize, usize)>,
}

/// Stands among the places of columns for whichever column is asked for.
pub const ANY_COLUMN: usize = usize::MAX;

/// Selectables nest at most so deep; the parser has its own bound.
impl<'a> Terms<'a> {
    pub fn new(catalog: &'a Catalog, keyspace: &'a str, table: Option<&'a TableSchema>) -> Self {
        Terms {
            catalog,
            keyspace,
            table,
            columns: false,
            masked: false,
            markers: Vec::new(),
            aggregates: Vec::new(),
            inside_aggregate: false,
            asks_for_time: false,
            looks: Cell::new(0),
            first_column: None,
            chosen: Vec::new(),
            incalculable: None,
            calls_bound: false,
            key_markers: Vec::new(),
        }
    }

    /// The specification of every marker, in order, and which of them are the partition key's.
    pub fn into_markers(self) -> CqlResult<Markers> {
        let key = self.table.map(|table| key_of(table, self.key_markers));
        let specs: CqlResult<Vec<MarkerSpec>> = self
            .markers
            .into_iter()
            .map(|spec| {
                spec.ok_or_else(|| {
                    CqlError::invalid("A bind marker stands where no value is expected")
                })
            })
            .collect();
        let specs = specs?;
        let place = |spec: &MarkerSpec| (spec.column.keyspace.clone(), spec.column.table.clone());
        // Clients are told of a key only where all markers are of its table.
        let is_told = specs.windows(2).all(|two| place(&two[0]) == place(&two[1]));
        Ok(Markers {
            specs,
            key: key.filter(|_| is_told).unwrap_or_default(),
        })
    }

    /// Whether a function was met whose value depends on when it is called.
    pub fn asks_for_time(&self) -> bool {
        self.asks_for_time
    }

    /// Goes on with the markers of another statement of the same batch.
    pub fn with_markers(mut self, markers: Vec<Option<MarkerSpec>>) -> Self {
        self.markers = markers;
        self
    }

    pub fn take_markers(&mut self) -> Vec<Option<MarkerSpec>> {
        std::mem::take(&mut self.markers)
    }

    /// A bind marker for this receiver. Its name is its own, or the receiver's.
    pub fn marker(&mut self, marker: &Marker, name: &str, ty: &CqlType) -> Expression {
        self.any_marker(marker, name, ty, false)
    }

    /// A bind marker for the list of an IN: `element` is what its values are.
    pub fn alternatives(&mut self, marker: &Marker, name: &str, element: &CqlType) -> Expression {
        self.any_marker(marker, name, &CqlType::list(element.clone()), true)
    }

    fn any_marker(
        &mut self,
        marker: &Marker,
        name: &str,
        ty: &CqlType,
        lists_alternatives: bool,
    ) -> Expression {
        if self.markers.len() <= marker.index {
            self.markers.resize(marker.index + 1, None);
        }
        let (keyspace, table) = match self.table {
            Some(table) => (table.keyspace.clone(), table.name.clone()),
            None => (self.keyspace.to_owned(), String::new()),
        };
        self.markers[marker.index] = Some(MarkerSpec {
            column: ColumnSpec {
                keyspace,
                table,
                name: marker.name.as_ref().map_or(name, Name::as_str).to_owned(),
                ty: ty.clone(),
            },
            lists_alternatives,
        });
        Expression::Marker(marker.index)
    }

    /// Says that a marker is for something that is in no table.
    pub fn name_place(&mut self, marker: &Marker, place: &str) {
        if let Some(Some(spec)) = self.markers.get_mut(marker.index) {
            spec.column.keyspace = place.to_owned();
            spec.column.table = place.to_owned();
        }
    }

    /// A term that a column is compared with.
    pub fn of_column(&mut self, term: &Term, column: &Column) -> CqlResult<Expression> {
        if column.kind == ColumnKind::PartitionKey
            && let Some(marker) = marker_for(term, &column.ty)
        {
            self.key_markers.push((column.position, marker.index));
        }
        self.term(term, &column.name, &column.ty)
    }

    /// A term for this receiver.
    pub fn term(&mut self, term: &Term, name: &str, ty: &CqlType) -> CqlResult<Expression> {
        match term {
            Term::Literal(literal) => self.constant(literal, Receiver { name, ty }),
            Term::Marker(marker) => Ok(self.marker(marker, name, ty)),
            other => {
                let selectable = as_selectable(other);
                // A term of a selection has no columns either.
                let columns = std::mem::replace(&mut self.columns, false);
                let typed = self.typed(&selectable, Some(Receiver { name, ty }));
                self.columns = columns;
                Ok(typed?.expression)
            }
        }
    }

    fn constant(&mut self, literal: &Literal, receiver: Receiver<'_>) -> CqlResult<Expression> {
        Ok(match literal {
            Literal::Null if receiver.ty.is_counter() => {
                return Err(CqlError::invalid(
                    "Invalid null value for counter increment/decrement",
                ));
            }
            Literal::Null => Expression::NULL,
            // The one text that means another timestamp each time.
            Literal::String(text)
                if *receiver.ty.bare() == CqlType::Timestamp
                    && text.eq_ignore_ascii_case("now") =>
            {
                self.call(Function::CurrentTimestamp, Vec::new(), CqlType::Timestamp)?
                    .expression
            }
            literal => {
                let value = literal::value(literal, receiver.ty, receiver.name)?;
                match literal::refused(receiver.ty, &value) {
                    Some(refused) => Expression::Refused(Box::new(refused)),
                    None => Expression::constant(value),
                }
            }
        })
    }

    /// The first look at a selectable: its columns and functions exist. Everything else is found out once the WHERE is understood.
    pub fn resolve(&mut self, of: &Selectable, named: &mut HashSet<usize>) -> CqlResult<()> {
        match of {
            Selectable::Column(name) => {
                let table = self.table.filter(|_| self.columns);
                let index = table.and_then(|table| table.column_index(name.as_str()));
                named.extend(index);
                self.column(name).map(drop)
            }
            Selectable::Literal(_) | Selectable::Marker(_) | Selectable::CountRows => Ok(()),
            Selectable::CellFact { of, .. }
            | Selectable::Field { of, .. }
            | Selectable::Element { of, .. }
            | Selectable::Slice { of, .. } => self.resolve(of, named),
            Selectable::Cast { expression, .. } | Selectable::TypeHint { expression, .. } => {
                self.resolve(expression, named)
            }
            Selectable::Tuple(parts) | Selectable::List(parts) | Selectable::Set(parts) => {
                parts.iter().try_for_each(|part| self.resolve(part, named))
            }
            // A map may be a user type's value, whose field names are no columns. Cassandra takes one with a value that names no column for all columns.
            Selectable::Map(parts) => {
                if parts.iter().any(|(_, value)| !names_a_column(value)) {
                    named.insert(ANY_COLUMN);
                }
                Ok(())
            }
            Selectable::Function { name, arguments } => {
                for argument in arguments {
                    self.resolve(argument, named)?;
                }
                self.known_function(name, arguments)
            }
            Selectable::Arithmetic {
                operator,
                left,
                right,
            } => {
                self.resolve(left, named)?;
                self.resolve(right, named)?;
                self.overload(*operator, left, right, None).map(drop)
            }
            Selectable::Negation(inner) => {
                self.resolve(inner, named)?;
                self.negated(inner, None).map(drop)
            }
        }
    }

    /// A selectable, for this receiver if there is one.
    pub fn typed(&mut self, of: &Selectable, receiver: Option<Receiver<'_>>) -> CqlResult<Typed> {
        let typed = self.any(of, receiver)?;
        if let Some(receiver) = receiver
            && !is_assignable(&typed.ty, receiver.ty)
        {
            return Err(mismatch(of, &typed.ty, &receiver));
        }
        Ok(typed)
    }

    pub(super) fn any(
        &mut self,
        of: &Selectable,
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        match of {
            Selectable::Column(name) => self.column(name),
            Selectable::Literal(literal) => {
                let receiver =
                    receiver.ok_or_else(|| cannot_infer(&super::name::constant(literal)))?;
                let receiver = self.of_selection(receiver);
                Ok(Typed {
                    expression: self.constant(literal, receiver)?,
                    ty: receiver.ty.clone(),
                })
            }
            Selectable::Marker(marker) => {
                let receiver = receiver.ok_or_else(|| cannot_infer("?"))?;
                let receiver = self.of_selection(receiver);
                Ok(Typed {
                    expression: self.marker(marker, receiver.name, receiver.ty),
                    ty: receiver.ty.clone(),
                })
            }
            Selectable::CountRows => self.aggregate(AggregateKind::Count, None),
            Selectable::CellFact { fact, of } => self.fact(*fact, of),
            // In a term a cast is a call like any other.
            Selectable::Cast { expression, to } if !self.columns => {
                let name = Name::exact(format!("cast_as_{}", to.name()));
                let name = QualifiedName::new(Name::exact("system"), name);
                self.function(&name, std::slice::from_ref(expression), receiver)
            }
            Selectable::Cast { expression, to } => {
                let written = to.name();
                let to = types::native(*to);
                let mut typed = self.any(expression, None)?;
                if typed.ty.bare() != &to {
                    typed.ty = self.check_cast(&typed.ty, &to, written)?;
                }
                self.call(Function::Cast, vec![typed], to)
            }
            Selectable::Function { name, arguments } => {
                if let Some(keyspace) = &name.keyspace
                    && *keyspace != "system"
                {
                    return Err(self.unknown_function(&unquoted(name)));
                }
                self.function(name, arguments, receiver)
            }
            Selectable::Field { of, field } => self.field(of, field),
            Selectable::Element { of, key } => self.element(of, key),
            Selectable::Slice { of, from, to } => self.slice(of, from.as_deref(), to.as_deref()),
            Selectable::TypeHint { to, expression } => {
                let catalog = self.catalog;
                let lookup =
                    |keyspace: &str, name: &str| catalog.user_type(keyspace, name).cloned();
                resolve::check(to, false)?;
                let ty = types::resolve(to, self.keyspace, &lookup)?;
                let name = print(&self.as_shown(of));
                let natural = self.natural_type(expression);
                if self.test(expression, natural.as_ref(), &ty)? == Fit::No {
                    return Err(CqlError::invalid(match self.columns {
                        true => format!(
                            "Cannot assign value {name} to {name} of type {}",
                            ty.frozen()
                        ),
                        false => format!(
                            "Cannot cast value {} to type {}",
                            super::name::raw(&self.as_shown(expression)),
                            types::repeated(to, Some(self.keyspace))
                        ),
                    }));
                }
                // The hint in a term says what may stand there; what stands there is the receiver's value, as if there was no hint.
                if let Some(receiver) = receiver.filter(|_| !self.columns) {
                    return match is_hint_for(&ty, receiver.ty) {
                        true => self.typed(expression, Some(receiver)),
                        false => Err(CqlError::invalid(format!(
                            "Cannot assign value {} to {} of type {}",
                            super::name::raw(&self.as_shown(of)),
                            receiver.name,
                            receiver.ty
                        ))),
                    };
                }
                let typed = self.any(
                    expression,
                    Some(Receiver {
                        name: &name,
                        ty: &ty,
                    }),
                )?;
                if !is_assignable(&typed.ty, &ty) {
                    return Err(CqlError::invalid(format!(
                        "Cannot assign value {name} to {name} of type {ty}"
                    )));
                }
                Ok(Typed {
                    expression: typed.expression,
                    ty,
                })
            }
            Selectable::Tuple(parts) => self.tuple(of, parts, receiver),
            Selectable::List(parts) => self.list(of, parts, receiver),
            Selectable::Set(parts) => self.set(of, parts, receiver),
            Selectable::Map(parts) => self.map(of, parts, receiver),
            Selectable::Arithmetic {
                operator,
                left,
                right,
            } => self.arithmetic(*operator, left, right, receiver),
            Selectable::Negation(inner) => self.negation(inner, receiver),
        }
    }

    /// Where columns may take part, whatever takes a constant or a marker has the same name.
    fn of_selection<'r>(&self, receiver: Receiver<'r>) -> Receiver<'r> {
        match self.columns {
            true => Receiver {
                name: "[selection]",
                ty: receiver.ty,
            },
            false => receiver,
        }
    }

    pub(super) fn column(&mut self, name: &Name) -> CqlResult<Typed> {
        let table = self.table.filter(|_| self.columns);
        let Some(table) = table else {
            return Err(CqlError::invalid(format!(
                "Invalid reference to column {name} outside of a selection"
            )));
        };
        let index = table
            .column_index(name.as_str())
            .ok_or_else(|| undefined(table, name))?;
        if self.first_column.is_none() {
            self.first_column = Some(name.as_str().to_owned());
        }
        let column = &table.columns[index];
        match &column.mask {
            Some(mask) if self.masked => self.behind_mask(column, mask),
            _ => Ok(Typed {
                expression: Expression::Column(index),
                ty: column.ty.clone(),
            }),
        }
    }

    /// What is seen of a masked column: the call of its function.
    fn behind_mask(&mut self, column: &Column, mask: &ColumnMask) -> CqlResult<Typed> {
        let call = format!("SELECT {} FROM t", mask.around(&column.name));
        let broken = || CqlError::server("the mask of a column cannot be read");
        let Ok(Statement::Select(select)) = cql::parse_at_rest(&call) else {
            return Err(broken());
        };
        let Selection::Items(items) = &select.selection else {
            return Err(broken());
        };
        let item = items.first().ok_or_else(broken)?;
        self.masked = false;
        let typed = self.any(&item.expression, None);
        self.masked = true;
        Ok(Typed {
            expression: typed?.expression,
            ty: column.ty.clone(),
        })
    }
}

/// Whether a value is made of columns, as far as it is made of parts.
fn names_a_column(of: &Selectable) -> bool {
    match of {
        Selectable::Literal(_) | Selectable::Marker(_) => false,
        Selectable::Tuple(parts) | Selectable::List(parts) | Selectable::Set(parts) => {
            parts.iter().any(names_a_column)
        }
        // A map with a value that names none counts as all of them; so in turns, one within another.
        Selectable::Map(parts) => parts.iter().any(|(_, value)| !names_a_column(value)),
        Selectable::TypeHint { expression, .. } => names_a_column(expression),
        _ => true,
    }
}

/// A term as a selectable: the same tree, with room for columns.
pub fn as_selectable(term: &Term) -> Selectable {
    let all = |terms: &[Term]| terms.iter().map(as_selectable).collect();
    let boxed = |term: &Term| Box::new(as_selectable(term));
    match term {
        Term::Literal(literal) => Selectable::Literal(literal.clone()),
        Term::Marker(marker) => Selectable::Marker(marker.clone()),
        Term::Function { name, arguments } => Selectable::Function {
            name: name.clone(),
            arguments: all(arguments),
        },
        Term::Cast { term, to } => Selectable::Cast {
            expression: boxed(term),
            to: *to,
        },
        Term::TypeHint { to, term } => Selectable::TypeHint {
            to: to.clone(),
            expression: boxed(term),
        },
        Term::List(parts) => Selectable::List(all(parts)),
        Term::Set(parts) => Selectable::Set(all(parts)),
        Term::Map(parts) => Selectable::Map(
            parts
                .iter()
                .map(|(key, value)| (as_selectable(key), as_selectable(value)))
                .collect(),
        ),
        Term::User(parts) => Selectable::Map(
            parts
                .iter()
                .map(|(field, value)| (Selectable::Column(field.clone()), as_selectable(value)))
                .collect(),
        ),
        Term::Tuple(parts) => Selectable::Tuple(all(parts)),
        Term::Arithmetic {
            operator,
            left,
            right,
        } => Selectable::Arithmetic {
            operator: *operator,
            left: boxed(left),
            right: boxed(right),
        },
        Term::Negation(term) => Selectable::Negation(boxed(term)),
    }
}

/// The marker that stands for the whole value, whatever it is said to be of.
fn marker_for<'t>(term: &'t Term, ty: &CqlType) -> Option<&'t Marker> {
    match term {
        Term::Marker(marker) => Some(marker),
        Term::TypeHint { term, .. } => marker_for(term, ty),
        Term::Tuple(parts) => match (parts.as_slice(), ty.bare()) {
            ([_], CqlType::Tuple(_)) => None,
            ([single], _) => marker_for(single, ty),
            _ => None,
        },
        _ => None,
    }
}

/// The markers of a partition key: the last one for each of its columns, whatever the relation is; none if one lacks its marker.
fn key_of(table: &TableSchema, mut found: Vec<(usize, usize)>) -> Vec<u16> {
    found.sort_by_key(|(_, marker)| *marker);
    let mut places = vec![None; table.partition_key.len()];
    for (position, marker) in found {
        places[position] = u16::try_from(marker).ok();
    }
    let all: Option<Vec<u16>> = places.into_iter().collect();
    all.unwrap_or_default()
}

/// "Undefined column name x in table ks.t"
pub fn undefined(table: &TableSchema, name: &Name) -> CqlError {
    let table = table.qualified_name();
    CqlError::invalid(format!("Undefined column name {name} in table {table}"))
}

pub(super) fn cannot_infer(text: &str) -> CqlError {
    CqlError::invalid(format!(
        "Cannot infer type for term {text} in selection clause (try using a cast to force a type)"
    ))
}

/// Whether what is hinted to be of one type may stand in a term where the other is wanted: what consists of cells is nothing frozen.
pub(super) fn is_hint_for(hinted: &CqlType, wanted: &CqlType) -> bool {
    let is_alike = hinted.is_multi_cell() == wanted.is_multi_cell();
    is_assignable(hinted, wanted) && (is_alike || *wanted.bare() == CqlType::Blob)
}

fn mismatch(of: &Selectable, from: &CqlType, receiver: &Receiver<'_>) -> CqlError {
    match of {
        Selectable::Function { name, .. } => result_mismatch(name.name.as_str(), from, receiver),
        Selectable::TypeHint { .. } => CqlError::invalid(format!(
            "Cannot assign value {} to {} of type {}",
            print(of),
            receiver.name,
            receiver.ty
        )),
        _ => CqlError::invalid(format!(
            "Type error: {} of type {from} cannot be assigned to {} of type {}",
            print(of),
            receiver.name,
            receiver.ty
        )),
    }
}

pub(super) fn result_mismatch(function: &str, from: &CqlType, receiver: &Receiver<'_>) -> CqlError {
    CqlError::invalid(format!(
        "Type error: cannot assign result of function system.{function} (type {from}) to {} (type {})",
        receiver.name, receiver.ty
    ))
}

/// An expression as error messages and result columns show it.
pub fn print(of: &Selectable) -> String {
    super::name::of(of)
}
