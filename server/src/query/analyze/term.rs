//! Terms and selectables to typed expressions.
//!
//! A receiver (a column, a function's argument) gives a type to what has none of its own: literals, bind markers, `{}`. Where
//! there is no receiver, a literal needs a type hint, as in Cassandra.
//!
//! What must hold: every marker of the statement ends up with exactly one specification, because drivers encode by it.

use std::collections::HashSet;
use std::sync::Arc;

use palladium_protocol::cql;
use palladium_protocol::cql::ast::{
    Arithmetic, CellFact, Literal, Marker, Name, QualifiedName, Selectable, Selection, Statement,
    Term,
};
use palladium_protocol::response::ColumnSpec;
use palladium_protocol::types::{CqlType, UserType};

use super::literal;
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Bound, Expression, Part, Scope, Typed};
use crate::query::functions::aggregate::AggregateKind;
use crate::query::functions::timeuuid::TimeUuids;
use crate::query::functions::{self, Fit, Function, Moment, is_assignable};
use crate::schema::{Catalog, Column, ColumnMask, TableSchema, types};

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
    markers: Vec<Option<ColumnSpec>>,
    pub aggregates: Vec<Aggregate>,
    inside_aggregate: bool,
    asks_for_time: bool,
    /// The first column that the selection named, which some errors repeat.
    pub first_column: Option<String>,
}

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
            first_column: None,
        }
    }

    /// The specification of every marker, in order.
    pub fn into_markers(self) -> CqlResult<Vec<ColumnSpec>> {
        self.markers
            .into_iter()
            .map(|spec| {
                spec.ok_or_else(|| {
                    CqlError::invalid("A bind marker stands where no value is expected")
                })
            })
            .collect()
    }

    /// Whether a function was met whose value depends on when it is called.
    pub fn asks_for_time(&self) -> bool {
        self.asks_for_time
    }

    /// Goes on with the markers of another statement of the same batch.
    pub fn with_markers(mut self, markers: Vec<Option<ColumnSpec>>) -> Self {
        self.markers = markers;
        self
    }

    pub fn take_markers(&mut self) -> Vec<Option<ColumnSpec>> {
        std::mem::take(&mut self.markers)
    }

    /// A bind marker for this receiver. Its name is its own, or the receiver's.
    pub fn marker(&mut self, marker: &Marker, name: &str, ty: &CqlType) -> Expression {
        if self.markers.len() <= marker.index {
            self.markers.resize(marker.index + 1, None);
        }
        let (keyspace, table) = match self.table {
            Some(table) => (table.keyspace.clone(), table.name.clone()),
            None => (self.keyspace.to_owned(), String::new()),
        };
        self.markers[marker.index] = Some(ColumnSpec {
            keyspace,
            table,
            name: marker.name.as_ref().map_or(name, Name::as_str).to_owned(),
            ty: ty.clone(),
        });
        Expression::Marker(marker.index)
    }

    /// A term for this receiver.
    pub fn term(&mut self, term: &Term, name: &str, ty: &CqlType) -> CqlResult<Expression> {
        match term {
            Term::Literal(Literal::Null) => Ok(Expression::NULL),
            Term::Literal(literal) => Ok(Expression::constant(literal::value(literal, ty, name)?)),
            Term::Marker(marker) => Ok(self.marker(marker, name, ty)),
            other => {
                let selectable = as_selectable(other);
                let typed = self.typed(&selectable, Some(Receiver { name, ty }))?;
                Ok(typed.expression)
            }
        }
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
            // A map may be a user type's value, whose field names are no columns.
            Selectable::Map(_) => Ok(()),
            Selectable::Function { name, arguments } => {
                for argument in arguments {
                    self.resolve(argument, named)?;
                }
                self.known_function(name, arguments)
            }
            Selectable::Arithmetic { left, right, .. } => {
                self.resolve(left, named)?;
                self.resolve(right, named)
            }
            Selectable::Negation(inner) => self.resolve(inner, named),
        }
    }

    /// What is known of the types of arguments; a literal has the type it is most like.
    fn compatible(&self, arguments: &[Selectable]) -> Vec<Option<CqlType>> {
        arguments
            .iter()
            .map(|argument| match argument {
                Selectable::Literal(literal) => literal::natural_type(literal),
                other => self.natural_type(other),
            })
            .collect()
    }

    fn known_function(&self, name: &QualifiedName, arguments: &[Selectable]) -> CqlResult<()> {
        if name
            .keyspace
            .as_ref()
            .is_some_and(|keyspace| *keyspace != "system")
        {
            return Err(self.unknown_function(&name.to_string()));
        }
        let name = name.name.as_str();
        if let Some(kind) = AggregateKind::named(name) {
            return match self.compatible(arguments).as_slice() {
                [Some(ty)] => self.check_aggregate(kind, ty),
                _ => Ok(()),
            };
        }
        let natural: Vec<Option<CqlType>> = arguments
            .iter()
            .map(|argument| self.natural_type(argument))
            .collect();
        let shown = |place: usize| print(&arguments[place]);
        let fit =
            |place: usize, ty: &CqlType| self.fit(&arguments[place], natural[place].as_ref(), ty);
        match functions::resolve(
            name,
            &self.compatible(arguments),
            None,
            self.table,
            &shown,
            &fit,
        )? {
            Some(_) => Ok(()),
            None => Err(self.unknown_function(name)),
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
            Selectable::Literal(literal) => constant(literal, receiver),
            Selectable::Marker(marker) => {
                let receiver = receiver.ok_or_else(|| cannot_infer("?"))?;
                Ok(Typed {
                    expression: self.marker(marker, receiver.name, receiver.ty),
                    ty: receiver.ty.clone(),
                })
            }
            Selectable::CountRows => self.aggregate(AggregateKind::Count, None),
            Selectable::CellFact { fact, of } => self.fact(*fact, of),
            Selectable::Cast { expression, to } => {
                let written = to.name();
                let to = types::native(*to);
                let typed = self.any(expression, None)?;
                if typed.ty.bare() != &to {
                    self.check_cast(&typed.ty, &to, written)?;
                }
                self.call(Function::Cast, vec![typed], to)
            }
            Selectable::Function { name, arguments } => {
                if let Some(keyspace) = &name.keyspace
                    && *keyspace != "system"
                {
                    return Err(self.unknown_function(&name.to_string()));
                }
                self.function(name.name.as_str(), arguments, receiver)
            }
            Selectable::Field { of, field } => self.field(of, field),
            Selectable::Element { of, key } => self.element(of, key),
            Selectable::Slice { of, from, to } => self.slice(of, from.as_deref(), to.as_deref()),
            Selectable::TypeHint { to, expression } => {
                let catalog = self.catalog;
                let lookup =
                    |keyspace: &str, name: &str| catalog.user_type(keyspace, name).cloned();
                let ty = types::resolve(to, self.keyspace, &lookup)?;
                let name = format!("({ty}){}", print(expression));
                let natural = self.natural_type(expression);
                if !self.columns && self.fit(expression, natural.as_ref(), &ty) == Fit::No {
                    return Err(CqlError::invalid(format!(
                        "Cannot cast value {} to type {ty}",
                        print(expression)
                    )));
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
            } => {
                let hint = |own: &Selectable, other: &Self, of: Option<CqlType>| match own {
                    Selectable::Marker(_) => of,
                    Selectable::Literal(literal) => literal::natural_type(literal),
                    _ => other.natural_type(own),
                };
                let is_null =
                    |side: &Selectable| matches!(side, Selectable::Literal(Literal::Null));
                if let Some(receiver) = receiver.filter(|_| is_null(left) || is_null(right)) {
                    return Ok(Typed {
                        expression: Expression::NULL,
                        ty: receiver.ty.clone(),
                    });
                }
                if is_null(left)
                    || is_null(right)
                    || matches!(**left, Selectable::Marker(_))
                    || matches!(**right, Selectable::Marker(_))
                {
                    return Err(CqlError::invalid(format!(
                        "Ambiguous '{}' operation with args {} and {}: use type hint to disambiguate, example '(int) ?'",
                        operator.symbol(),
                        print(left),
                        print(right)
                    )));
                }
                let right_type = self.natural_type(right);
                let left_hint =
                    hint(left, self, right_type).or(receiver.map(|receiver| receiver.ty.clone()));
                let left_typed = self.operand(left, left_hint.as_ref())?;
                let right_hint = hint(right, self, Some(left_typed.ty.clone()));
                let right_typed = self.operand(right, right_hint.as_ref())?;
                let textual = |ty: &CqlType| matches!(ty.bare(), CqlType::Text | CqlType::Ascii);
                if *operator == Arithmetic::Add
                    && textual(&left_typed.ty)
                    && textual(&right_typed.ty)
                {
                    let both_ascii = *left_typed.ty.bare() == CqlType::Ascii
                        && *right_typed.ty.bare() == CqlType::Ascii;
                    let ty = match both_ascii {
                        true => CqlType::Ascii,
                        false => CqlType::Text,
                    };
                    return self.call(Function::Concat, vec![left_typed, right_typed], ty);
                }
                let temporal = matches!(left_typed.ty.bare(), CqlType::Timestamp | CqlType::Date)
                    && *right_typed.ty.bare() == CqlType::Duration;
                let ty = match temporal {
                    true => left_typed.ty.clone(),
                    false => functions::number::result_type(&left_typed.ty, &right_typed.ty)
                        .ok_or_else(|| {
                            CqlError::invalid(format!(
                                "the '{}' operation is not supported between {} and {}",
                                operator.symbol(),
                                print(left),
                                print(right)
                            ))
                        })?,
                };
                let typed = self.call(
                    Function::Arithmetic(*operator),
                    vec![left_typed, right_typed],
                    ty,
                )?;
                self.widened(typed, receiver)
            }
            Selectable::Negation(inner) => {
                let hint = self
                    .natural_type(inner)
                    .or(receiver.map(|receiver| receiver.ty.clone()));
                let typed = self.operand(inner, hint.as_ref())?;
                if functions::number::result_type(&typed.ty, &typed.ty).is_none() {
                    return Err(CqlError::invalid(format!(
                        "the '-' operation is not supported on {}",
                        typed.ty
                    )));
                }
                let ty = typed.ty.clone();
                self.call(Function::Negate, vec![typed], ty)
            }
        }
    }

    /// A cast is a call of a function, and whether there is one is found out as for any other.
    fn check_cast(&self, from: &CqlType, to: &CqlType, written: &str) -> CqlResult<()> {
        let candidates = match written {
            "varchar" => Vec::new(),
            _ => functions::castable_to(to),
        };
        if candidates.is_empty() {
            // Cassandra names the first column of the selection, whatever is cast.
            return Err(CqlError::invalid(format!(
                "{} cannot be cast to {written}",
                self.first_column.as_deref().unwrap_or_default()
            )));
        }
        if candidates.iter().any(|own| own == from.bare()) {
            return Ok(());
        }
        let weak: Vec<&CqlType> = candidates
            .iter()
            .filter(|own| is_assignable(from, own))
            .collect();
        let listed = |types: &[&CqlType]| {
            let each: Vec<String> = types
                .iter()
                .map(|from| format!("system.cast_as_{to} : ({from}) -> {to}"))
                .collect();
            each.join(", ")
        };
        match weak.as_slice() {
            [_] => Ok(()),
            [] => Err(CqlError::invalid(format!(
                "Invalid call to function system.cast_as_{to}, none of its type signatures match (known type signatures: {})",
                listed(&candidates.iter().collect::<Vec<_>>())
            ))),
            several => Err(CqlError::invalid(format!(
                "Ambiguous call to function system.cast_as_{to} (can be matched by following signatures: {}): use type casts \
                 to disambiguate",
                listed(several)
            ))),
        }
    }

    fn operand(&mut self, of: &Selectable, hint: Option<&CqlType>) -> CqlResult<Typed> {
        match hint {
            Some(ty) => self.any(
                of,
                Some(Receiver {
                    name: "operand",
                    ty,
                }),
            ),
            None => self.any(of, None),
        }
    }

    /// A computed number given to a receiver of another numeric type: whole literals of terms become what is wanted.
    fn widened(&mut self, typed: Typed, receiver: Option<Receiver<'_>>) -> CqlResult<Typed> {
        match receiver {
            Some(receiver)
                if !is_assignable(&typed.ty, receiver.ty)
                    && typed.expression.is_constant()
                    && functions::can_cast(&typed.ty, receiver.ty) =>
            {
                let ty = receiver.ty.clone();
                self.call(Function::Cast, vec![typed], ty)
            }
            _ => Ok(typed),
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
        let Ok(Statement::Select(select)) = cql::parse(&call) else {
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

    fn fact(&mut self, fact: CellFact, of: &Selectable) -> CqlResult<Typed> {
        let column = match of {
            Selectable::Column(_) => of,
            Selectable::Element { of, .. }
            | Selectable::Field { of, .. }
            | Selectable::Slice { of, .. } => of,
            other => other,
        };
        let Selectable::Column(name) = column else {
            return Err(CqlError::invalid(format!(
                "{} is only supported on columns, fields and elements",
                fact.name()
            )));
        };
        // When a value was written is nobody's secret.
        let masked = std::mem::replace(&mut self.masked, false);
        let typed = self.column(name);
        self.masked = masked;
        let Expression::Column(index) = typed?.expression else {
            return Err(CqlError::server("a column is a column"));
        };
        let own = self.table.map(|table| &table.columns[index]);
        if let Some(column) = own.filter(|column| column.kind.is_primary_key()) {
            return Err(CqlError::invalid(format!(
                "Cannot use selection function {} on PRIMARY KEY part {}",
                fact.name(),
                column.name
            )));
        }
        // The part is checked as if its value were asked for.
        let masked = std::mem::replace(&mut self.masked, false);
        let checked = self.any(of, None);
        self.masked = masked;
        let part = match checked?.expression {
            Expression::Element { key, .. } => Part::Element(key),
            Expression::Field { field, .. } => Part::Field(field),
            Expression::Slice { from, to, .. } => Part::Slice { from, to },
            _ => Part::Whole,
        };
        let one = match fact {
            CellFact::Ttl => CqlType::Int,
            _ => CqlType::Bigint,
        };
        let several = matches!(part, Part::Whole | Part::Slice { .. })
            && fact != CellFact::MaxWriteTime
            && own.is_some_and(|column| column.ty.is_multi_cell());
        Ok(Typed {
            expression: Expression::Fact {
                fact,
                column: index,
                part,
            },
            ty: if several { CqlType::list(one) } else { one },
        })
    }

    fn aggregate(&mut self, kind: AggregateKind, argument: Option<Typed>) -> CqlResult<Typed> {
        if !self.columns {
            return Err(CqlError::invalid(
                "Aggregation function are not supported in the where clause",
            ));
        }
        if self.inside_aggregate {
            return Err(CqlError::invalid(
                "aggregate functions cannot be used as arguments of aggregate functions",
            ));
        }
        let ty = match &argument {
            Some(argument) => match kind.result_type(&argument.ty) {
                Some(ty) => ty,
                None => {
                    self.check_aggregate(kind, &argument.ty)?;
                    // A timestamp is taken for the one number it fits.
                    CqlType::Bigint
                }
            },
            None => CqlType::Bigint,
        };
        self.aggregates.push(Aggregate { kind, argument });
        Ok(Typed {
            expression: Expression::Aggregate(self.aggregates.len() - 1),
            ty,
        })
    }

    /// Whether there is an aggregate for values of a type.
    fn check_aggregate(&self, kind: AggregateKind, ty: &CqlType) -> CqlResult<()> {
        const NUMBERS: [&str; 9] = [
            "tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "varint",
            "counter",
        ];
        if kind.result_type(ty).is_some() {
            return Ok(());
        }
        let listed = |types: &[&str]| {
            let each: Vec<String> = types
                .iter()
                .map(|ty| format!("system.{} : ({ty}) -> {ty}", kind.name()))
                .collect();
            each.join(", ")
        };
        Err(CqlError::invalid(match ty.bare() {
            CqlType::Timestamp => format!(
                "Ambiguous call to function {} (can be matched by following signatures: {}): use type casts to disambiguate",
                kind.name(),
                listed(&["bigint", "varint"])
            ),
            _ => format!(
                "Invalid call to function {}, none of its type signatures match (known type signatures: {})",
                kind.name(),
                listed(&NUMBERS)
            ),
        }))
    }

    fn function(
        &mut self,
        name: &str,
        arguments: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        if let Some(kind) = AggregateKind::named(name) {
            if !self.columns {
                return self.aggregate(kind, None);
            }
            if kind == AggregateKind::Count
                && let [Selectable::Literal(Literal::Integer(one))] = arguments
                && one == "1"
            {
                return self.aggregate(kind, None);
            }
            let [argument] = arguments else {
                return Err(CqlError::invalid(format!(
                    "Invalid number of arguments in call to function system.{name}: 1 required but {} provided",
                    arguments.len()
                )));
            };
            let outer = std::mem::replace(&mut self.inside_aggregate, true);
            let typed = self.any(argument, None);
            self.inside_aggregate = outer;
            return self.aggregate(kind, Some(typed?));
        }
        let natural: Vec<Option<CqlType>> = arguments
            .iter()
            .map(|argument| self.natural_type(argument))
            .collect();
        let shown = |place: usize| print(&arguments[place]);
        let fit =
            |place: usize, ty: &CqlType| self.fit(&arguments[place], natural[place].as_ref(), ty);
        let wanted = receiver.map(|receiver| receiver.ty);
        let compatible = self.compatible(arguments);
        let found = functions::resolve(name, &compatible, wanted, self.table, &shown, &fit)?;
        let Some(signature) = found else {
            return Err(self.unknown_function(name));
        };
        let mut typed = Vec::with_capacity(arguments.len());
        for (place, (argument, ty)) in arguments.iter().zip(&signature.takes).enumerate() {
            let receiver_name = format!("arg{place}(system.{name})");
            let own = self.any(
                argument,
                Some(Receiver {
                    name: &receiver_name,
                    ty,
                }),
            )?;
            // The function reads the value as what it is; only untyped things take the argument's type.
            let ty = if is_assignable(&own.ty, ty) {
                ty.clone()
            } else {
                own.ty
            };
            typed.push(Typed {
                expression: own.expression,
                ty,
            });
        }
        self.call(signature.function, typed, signature.returns)
    }

    fn unknown_function(&self, name: &str) -> CqlError {
        CqlError::invalid(match self.columns {
            true => format!("Unknown function '{name}'"),
            false => format!("Unknown function {name} called"),
        })
    }

    fn call(
        &mut self,
        function: Function,
        arguments: Vec<Typed>,
        returns: CqlType,
    ) -> CqlResult<Typed> {
        self.asks_for_time |= !function.is_pure();
        let constant = function.is_pure()
            && arguments
                .iter()
                .all(|argument| argument.expression.is_constant());
        let expression = Expression::Call {
            function,
            arguments,
            returns: returns.clone(),
        };
        Ok(Typed {
            expression: if constant {
                folded(expression)?
            } else {
                expression
            },
            ty: returns,
        })
    }

    fn field(&mut self, of: &Selectable, field: &Name) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let CqlType::Udt(udt) = typed.ty.bare() else {
            return Err(CqlError::invalid(format!(
                "Invalid field selection: {} of type {} is not a user type",
                print(of),
                typed.ty
            )));
        };
        let place = field_place(udt, field.as_str()).ok_or_else(|| {
            CqlError::invalid(format!(
                "{} of type {} has no field {field}",
                print(of),
                typed.ty
            ))
        })?;
        Ok(Typed {
            ty: udt.fields[place].1.clone(),
            expression: Expression::Field {
                of: Box::new(typed.expression),
                field: place,
            },
        })
    }

    fn element(&mut self, of: &Selectable, key: &Term) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let (key_type, ty) = match typed.ty.bare() {
            CqlType::Map(key, value) => ((**key).clone(), (**value).clone()),
            CqlType::Set(element) => ((**element).clone(), (**element).clone()),
            CqlType::List(_) => {
                return Err(CqlError::invalid(format!(
                    "Element selection is only allowed on sets and maps, but {} is a list",
                    print(of)
                )));
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Invalid element selection: {} is of type {} is not a collection",
                    print(of),
                    typed.ty
                )));
            }
        };
        let key = self.term(key, &format!("key({})", print(of)), &key_type)?;
        Ok(Typed {
            expression: Expression::Element {
                of: Box::new(typed),
                key: Box::new(key),
            },
            ty,
        })
    }

    fn slice(
        &mut self,
        of: &Selectable,
        from: Option<&Term>,
        to: Option<&Term>,
    ) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let key_type = match typed.ty.bare() {
            CqlType::Map(key, _) => (**key).clone(),
            CqlType::Set(element) => (**element).clone(),
            CqlType::List(_) => {
                return Err(CqlError::invalid(format!(
                    "Slice selection is only allowed on sets and maps, but {} is a list",
                    print(of)
                )));
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Invalid slice selection: {} of type {} is not a collection",
                    print(of),
                    typed.ty
                )));
            }
        };
        let mut end = |term: Option<&Term>, name: &str| {
            let name = format!("{name}({})", print(of));
            term.map(|term| self.term(term, &name, &key_type).map(Box::new))
                .transpose()
        };
        let (from, to) = (end(from, "from")?, end(to, "to")?);
        let ty = typed.ty.clone();
        Ok(Typed {
            expression: Expression::Slice {
                of: Box::new(typed),
                from,
                to,
            },
            ty,
        })
    }

    /// The type of an expression by itself, where it has one.
    pub(super) fn natural_type(&self, of: &Selectable) -> Option<CqlType> {
        match of {
            Selectable::Column(name) => {
                let column = self.table?.column(name.as_str())?;
                Some(column.ty.clone())
            }
            Selectable::Literal(_) | Selectable::Marker(_) => None,
            Selectable::CountRows => Some(CqlType::Bigint),
            Selectable::Cast { to, .. } => Some(types::native(*to)),
            Selectable::TypeHint { to, .. } => {
                let lookup =
                    |keyspace: &str, name: &str| self.catalog.user_type(keyspace, name).cloned();
                types::resolve(to, self.keyspace, &lookup).ok()
            }
            Selectable::CellFact { fact, .. } => Some(match fact {
                CellFact::Ttl => CqlType::Int,
                _ => CqlType::Bigint,
            }),
            Selectable::Function { name, arguments } => {
                let name = name.name.as_str();
                let natural: Vec<_> = arguments
                    .iter()
                    .map(|argument| self.natural_type(argument))
                    .collect();
                if let Some(kind) = AggregateKind::named(name) {
                    return kind.result_type(natural.first()?.as_ref()?);
                }
                let shown = |place: usize| print(&arguments[place]);
                let fit = |place: usize, ty: &CqlType| {
                    self.fit(&arguments[place], natural[place].as_ref(), ty)
                };
                let signature = functions::resolve(
                    name,
                    &self.compatible(arguments),
                    None,
                    self.table,
                    &shown,
                    &fit,
                )
                .ok()??;
                Some(signature.returns)
            }
            Selectable::Field { of, field } => match self.natural_type(of)?.bare() {
                CqlType::Udt(udt) => {
                    let place = field_place(udt, field.as_str())?;
                    Some(udt.fields[place].1.clone())
                }
                _ => None,
            },
            Selectable::Element { of, .. } => match self.natural_type(of)?.bare() {
                CqlType::Map(_, value) => Some((**value).clone()),
                CqlType::Set(element) => Some((**element).clone()),
                _ => None,
            },
            Selectable::Slice { of, .. } => self.natural_type(of),
            Selectable::Tuple(parts) => match parts.as_slice() {
                [single] => self.natural_type(single),
                _ => None,
            },
            Selectable::Arithmetic { left, right, .. } => {
                let of = |side: &Selectable| match side {
                    Selectable::Literal(literal) => literal::natural_type(literal),
                    side => self.natural_type(side),
                };
                let (left, right) = (of(left)?, of(right)?);
                if *right.bare() == CqlType::Duration {
                    return Some(left);
                }
                functions::number::result_type(&left, &right)
            }
            Selectable::Negation(inner) => match &**inner {
                Selectable::Literal(literal) => literal::natural_type(literal),
                inner => self.natural_type(inner),
            },
            Selectable::List(parts) => {
                let known = parts.iter().find_map(|part| self.natural_type(part))?;
                Some(CqlType::list(known.frozen()).frozen())
            }
            Selectable::Set(parts) => {
                let known = parts.iter().find_map(|part| self.natural_type(part))?;
                Some(CqlType::Set(Arc::new(known.frozen())).frozen())
            }
            Selectable::Map(_) => None,
        }
    }

    pub(super) fn fit(&self, of: &Selectable, natural: Option<&CqlType>, ty: &CqlType) -> Fit {
        let bare = ty.bare();
        match of {
            Selectable::Literal(Literal::Null) | Selectable::Marker(_) => Fit::Weak,
            Selectable::Literal(literal)
                if literal::natural_type(literal).as_ref() == Some(bare) =>
            {
                Fit::Exact
            }
            Selectable::Literal(literal) if literal::fits(literal, bare) => Fit::Weak,
            Selectable::Literal(_) => Fit::No,
            Selectable::List(parts) => match bare {
                CqlType::List(element) | CqlType::Vector(element, _) => {
                    self.fit_all(parts.iter(), element)
                }
                _ => Fit::No,
            },
            Selectable::Set(parts) => match bare {
                CqlType::Set(element) => self.fit_all(parts.iter(), element),
                CqlType::Map(..) if parts.is_empty() => Fit::Weak,
                _ => Fit::No,
            },
            Selectable::Map(parts) => match bare {
                CqlType::Map(key, value) => {
                    let keys = self.fit_all(parts.iter().map(|(key, _)| key), key);
                    keys.min(self.fit_all(parts.iter().map(|(_, value)| value), value))
                }
                CqlType::Udt(_) => Fit::Weak,
                _ => Fit::No,
            },
            Selectable::Tuple(parts) => match (bare, parts.as_slice()) {
                (CqlType::Tuple(_), _) => Fit::Weak,
                (_, [single]) => self.fit(single, natural, ty),
                _ => Fit::No,
            },
            _ => match natural {
                None => Fit::Weak,
                Some(natural) if natural.bare() == bare => Fit::Exact,
                Some(natural) if is_assignable(natural, ty) => Fit::Weak,
                Some(natural)
                    if matches!(of, Selectable::Arithmetic { .. } | Selectable::Negation(_))
                        && functions::can_cast(natural, ty) =>
                {
                    Fit::Weak
                }
                Some(_) => Fit::No,
            },
        }
    }

    fn fit_all<'t>(&self, parts: impl Iterator<Item = &'t Selectable>, ty: &CqlType) -> Fit {
        parts
            .map(|part| self.fit(part, self.natural_type(part).as_ref(), ty))
            .min()
            .unwrap_or(Fit::Weak)
    }
}

pub(super) fn field_place(udt: &UserType, field: &str) -> Option<usize> {
    udt.fields.iter().position(|(own, _)| own == field)
}

fn constant(literal: &Literal, receiver: Option<Receiver<'_>>) -> CqlResult<Typed> {
    let receiver = receiver.ok_or_else(|| cannot_infer(&super::name::constant(literal)))?;
    let expression = match literal {
        Literal::Null => Expression::NULL,
        literal => Expression::constant(literal::value(literal, receiver.ty, receiver.name)?),
    };
    Ok(Typed {
        expression,
        ty: receiver.ty.clone(),
    })
}

/// The constant an expression of constants is.
pub(super) fn folded(expression: Expression) -> CqlResult<Expression> {
    /// Nothing that is folded asks for time or chance.
    struct Nothing;
    impl palladium_crypto::Entropy for Nothing {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    let uuids = TimeUuids::new(&Nothing);
    let moment = Moment {
        micros: 0,
        seconds: 0,
        uuids: &uuids,
    };
    let scope = Scope {
        bound: &[],
        moment: &moment,
        row: None,
        aggregates: &[],
    };
    Ok(Expression::Constant(match expression.evaluate(&scope)? {
        Bound::Unset => Bound::Null,
        value => value,
    }))
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

/// "Undefined column name x in table ks.t"
pub fn undefined(table: &TableSchema, name: &Name) -> CqlError {
    let table = QualifiedName::new(Name::exact(&*table.keyspace), Name::exact(&*table.name));
    CqlError::invalid(format!("Undefined column name {name} in table {table}"))
}

pub(super) fn cannot_infer(text: &str) -> CqlError {
    CqlError::invalid(format!(
        "Cannot infer type for term {text} in selection clause (try using a cast to force a type)"
    ))
}

fn mismatch(of: &Selectable, from: &CqlType, receiver: &Receiver<'_>) -> CqlError {
    match of {
        Selectable::Function { name, .. } => CqlError::invalid(format!(
            "Type error: cannot assign result of function system.{} (type {from}) to {} (type {})",
            name.name.as_str(),
            receiver.name,
            receiver.ty
        )),
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

/// An expression as error messages and result columns show it.
pub fn print(of: &Selectable) -> String {
    super::name::of(of)
}
