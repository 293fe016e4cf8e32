//! Calls: of functions, of aggregates, and casts, which are calls of functions too.
//!
//! Which of several functions of a name is meant is said by the types of its arguments (`natural`), as in Cassandra: exactly one has to fit best.
//!
//! What must hold: what a statement refuses here it refuses whatever its rows are; a call of constants is a constant.

use palladium_protocol::cql::ast::{Literal, QualifiedName, Selectable};
use palladium_protocol::types::CqlType;

use super::natural::names_fields;
use super::term::{Aggregate, Receiver, Terms, print, result_mismatch};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Bound, Expression, Scope, Typed};
use crate::query::functions::aggregate::AggregateKind;
use crate::query::functions::timeuuid::TimeUuids;
use crate::query::functions::{self, Fit, Function, Moment, is_assignable, unquoted};

impl Terms<'_> {
    /// What is known of the types of a function's arguments, given those that they have by themselves; a literal has the type it is most like.
    pub(super) fn compatible(
        &self,
        name: &str,
        arguments: &[Selectable],
        natural: &[Option<CqlType>],
    ) -> Vec<Option<CqlType>> {
        let are_vectors = name.starts_with("similarity_");
        let compatible = |(argument, natural): (&Selectable, &Option<CqlType>)| match argument {
            Selectable::List(parts) if are_vectors => {
                let dimensions = u16::try_from(parts.len()).ok()?;
                Some(CqlType::Vector(CqlType::Float.into(), dimensions))
            }
            Selectable::Tuple(parts) if parts.len() > 1 => self.compatible_type(argument),
            // In parentheses it might be a tuple: a function that is made for what it takes is told no type.
            Selectable::Tuple(_) if functions::is_made_for_arguments(name) => None,
            Selectable::List(_) | Selectable::Set(_) | Selectable::Map(_) => {
                self.compatible_type(argument)
            }
            // Looked for once: twice for each level of calls within calls would be twice as much work for each.
            _ => natural.clone(),
        };
        arguments.iter().zip(natural).map(compatible).collect()
    }

    /// The type that something is most like.
    pub(super) fn compatible_type(&self, of: &Selectable) -> Option<CqlType> {
        if !self.may_look(1) {
            return None;
        }
        match of {
            // Of one in parentheses nothing is known: it might be a tuple.
            Selectable::Tuple(parts) if parts.len() == 1 => None,
            // In a term a list might be a vector, and a tuple has the type of where it stands.
            Selectable::Tuple(_) | Selectable::List(_) if !self.columns => None,
            Selectable::Tuple(parts) => {
                let types: Option<Vec<CqlType>> = parts
                    .iter()
                    .map(|part| self.compatible_type(part))
                    .collect();
                types.map(CqlType::tuple)
            }
            Selectable::List(parts) => {
                let element = self.common_type(parts.iter())?;
                Some(CqlType::list(element.frozen()).frozen())
            }
            Selectable::Set(parts) => {
                let element = self.common_type(parts.iter())?;
                Some(CqlType::Set(element.frozen().into()).frozen())
            }
            // In a selection it might be a user type's value, of which nothing is known.
            Selectable::Map(parts) if !self.columns && !names_fields(parts) => {
                let key = self.common_type(parts.iter().map(|(key, _)| key))?;
                let value = self.common_type(parts.iter().map(|(_, value)| value))?;
                Some(CqlType::Map(key.frozen().into(), value.frozen().into()).frozen())
            }
            other => self.own_type(other),
        }
    }

    /// Of the types that some elements are most like, the one that all others can be taken for.
    fn common_type<'t>(&self, parts: impl Iterator<Item = &'t Selectable>) -> Option<CqlType> {
        let mut types: Vec<CqlType> = Vec::new();
        for ty in parts.filter_map(|part| self.compatible_type(part)) {
            if !self.may_look(types.len()) {
                return None;
            }
            if !types.contains(&ty) {
                types.push(ty);
            }
        }
        if !self.may_look(types.len().saturating_mul(types.len())) {
            return None;
        }
        let takes_all = |ty: &&CqlType| types.iter().all(|other| is_assignable(other, ty));
        types.iter().find(takes_all).cloned()
    }

    /// An aggregate of something whose type is not known.
    fn aggregate_of_unknown(&self, kind: AggregateKind, of: &Selectable) -> CqlResult<()> {
        let shown = print(of);
        match kind {
            AggregateKind::Min | AggregateKind::Max => Err(CqlError::invalid(format!(
                "Cannot infer type of argument {shown} in call to function system.{}(any): use type casts to disambiguate",
                kind.name()
            ))),
            AggregateKind::Count
                if self.test(of, self.natural_type(of).as_ref(), &CqlType::Blob)? == Fit::No =>
            {
                Err(CqlError::invalid(format!(
                    "Type error: {shown} cannot be passed as argument 0 of function system.count of type blob"
                )))
            }
            AggregateKind::Count => Ok(()),
            AggregateKind::Sum | AggregateKind::Avg if is_null(of) => {
                Err(ambiguous(kind, &NUMBERS[..8]))
            }
            AggregateKind::Sum | AggregateKind::Avg if is_marker(of) => {
                Err(ambiguous(kind, &NUMBERS))
            }
            AggregateKind::Sum | AggregateKind::Avg => match self.test(of, None, &CqlType::Int)? {
                Fit::No => self.check_aggregate(kind, &CqlType::Blob),
                _ => Ok(()),
            },
        }
    }

    pub(super) fn known_function(
        &self,
        called: &QualifiedName,
        arguments: &[Selectable],
    ) -> CqlResult<()> {
        if called
            .keyspace
            .as_ref()
            .is_some_and(|keyspace| *keyspace != "system")
        {
            return Err(self.unknown_function(&unquoted(called)));
        }
        let name = called.name.as_str();
        let natural: Vec<Option<CqlType>> = arguments
            .iter()
            .map(|argument| self.own_type(argument))
            .collect();
        let compatible = self.compatible(name, arguments, &natural);
        if let Some(kind) = AggregateKind::named(name) {
            let is_extreme = matches!(kind, AggregateKind::Min | AggregateKind::Max);
            if is_extreme && arguments.len() != 1 {
                return Err(CqlError::invalid(format!(
                    "Invalid number of arguments for function system.{name}(any)"
                )));
            }
            if let [of] = arguments
                && is_of_no_type(kind, of)
            {
                return self.aggregate_of_unknown(kind, of);
            }
            if kind == AggregateKind::Count && arguments.len() != 1 {
                return Err(wrong_count(kind, arguments));
            }
            // Of what is selected a constant stands for the row.
            if let ([of], AggregateKind::Count) = (arguments, kind)
                && !(self.columns && matches!(of, Selectable::Literal(_)))
                && self.test(of, self.natural_type(of).as_ref(), &CqlType::Blob)? == Fit::No
            {
                return self.aggregate_of_unknown(kind, of);
            }
            return match compatible.as_slice() {
                [Some(ty)] => self.check_aggregate(kind, ty),
                [None] => match self.aggregated_type(kind, &arguments[0]) {
                    Some(ty) => self.check_aggregate(kind, &ty),
                    None => self.aggregate_of_unknown(kind, &arguments[0]),
                },
                // None of so many arguments.
                _ if matches!(kind, AggregateKind::Sum | AggregateKind::Avg) => {
                    Err(none_fits(kind))
                }
                _ => Ok(()),
            };
        }
        let print = self.printer();
        let shown = |place: usize| print(&arguments[place]);
        let fit =
            |place: usize, ty: &CqlType| self.test(&arguments[place], natural[place].as_ref(), ty);
        match functions::resolve(called, &compatible, None, self.table, &shown, &fit)? {
            Some(_) => Ok(()),
            None => Err(self.unknown_function(&unquoted(called))),
        }
    }

    /// Whether a call is of one of several functions of its name, or of one that is made for its arguments: that it has no value of a type is said of the call.
    pub(super) fn is_of_several(
        &self,
        called: &QualifiedName,
        arguments: &[Selectable],
        wanted: &CqlType,
    ) -> bool {
        let name = called.name.as_str();
        if AggregateKind::named(name).is_some()
            || name == "token"
            || functions::is_made_for_arguments(name)
        {
            return true;
        }
        let natural: Vec<Option<CqlType>> = arguments
            .iter()
            .map(|argument| self.own_type(argument))
            .collect();
        let compatible = self.compatible(name, arguments, &natural);
        let print = self.printer();
        let shown = |place: usize| print(&arguments[place]);
        let fit =
            |place: usize, ty: &CqlType| self.test(&arguments[place], natural[place].as_ref(), ty);
        functions::resolve(called, &compatible, Some(wanted), self.table, &shown, &fit).is_err()
    }

    /// A cast is a call of a function, and whether there is one is found out as for any other.
    pub(super) fn check_cast(
        &self,
        from: &CqlType,
        to: &CqlType,
        written: &str,
    ) -> CqlResult<CqlType> {
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
            return Ok(from.clone());
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
            // A timestamp is cast as the number that it fits.
            [only] => Ok((*only).clone()),
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

    pub(super) fn aggregate(
        &mut self,
        kind: AggregateKind,
        argument: Option<Typed>,
    ) -> CqlResult<Typed> {
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

    /// The type of what an aggregate takes. The least and greatest of collections have the type that all their elements fit.
    pub(super) fn aggregated_type(&self, kind: AggregateKind, of: &Selectable) -> Option<CqlType> {
        match kind {
            AggregateKind::Min | AggregateKind::Max => self.compatible_type(of),
            _ => match of {
                // Numbers are no tuples.
                Selectable::Tuple(parts) if parts.len() == 1 => {
                    self.aggregated_type(kind, &parts[0])
                }
                of => self.natural_type(of).or_else(|| self.compatible_type(of)),
            },
        }
    }

    /// Whether there is an aggregate for values of a type.
    pub(super) fn check_aggregate(&self, kind: AggregateKind, ty: &CqlType) -> CqlResult<()> {
        if kind.result_type(ty).is_some() {
            return Ok(());
        }
        Err(match ty.bare() {
            CqlType::Timestamp => ambiguous(kind, &["bigint", "varint"]),
            _ => none_fits(kind),
        })
    }

    pub(super) fn function(
        &mut self,
        called: &QualifiedName,
        arguments: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let name = called.name.as_str();
        if let Some(kind) = AggregateKind::named(name) {
            if !self.columns {
                self.known_function(called, arguments)?;
                return self.aggregate(kind, None);
            }
            if kind == AggregateKind::Count && counts_rows(arguments) {
                return self.aggregate(kind, None);
            }
            if arguments.len() != 1 && matches!(kind, AggregateKind::Sum | AggregateKind::Avg) {
                return Err(none_fits(kind));
            }
            let [argument] = arguments else {
                return Err(wrong_count(kind, arguments));
            };
            if is_of_no_type(kind, argument) {
                self.aggregate_of_unknown(kind, argument)?;
            }
            // Which function is meant is settled before its argument is looked into.
            let ty = match self.aggregated_type(kind, argument) {
                // What is counted and may be of any type is one.
                None if kind == AggregateKind::Count => Some(CqlType::Blob),
                ty => ty,
            };
            if let Some(ty) = &ty {
                self.check_aggregate(kind, ty)?;
            }
            let receiver_name = format!("arg0(system.{name})");
            let receiver = ty.as_ref().map(|ty| Receiver {
                name: &receiver_name,
                ty,
            });
            let outer = std::mem::replace(&mut self.inside_aggregate, true);
            let typed = self.any(argument, receiver);
            self.inside_aggregate = outer;
            return self.aggregate(kind, Some(typed?));
        }
        let natural: Vec<Option<CqlType>> = arguments
            .iter()
            .map(|argument| self.own_type(argument))
            .collect();
        let print = self.printer();
        let shown = |place: usize| print(&arguments[place]);
        let fit =
            |place: usize, ty: &CqlType| self.test(&arguments[place], natural[place].as_ref(), ty);
        // In a selection a call means the same wherever it stands; only what is read from JSON has no type of its own.
        let is_typed = !self.columns || matches!(name, "from_json" | "fromjson");
        let wanted = receiver.filter(|_| is_typed).map(|receiver| receiver.ty);
        let compatible = self.compatible(name, arguments, &natural);
        let found = functions::resolve(called, &compatible, wanted, self.table, &shown, &fit)?;
        let Some(signature) = found else {
            return Err(self.unknown_function(&unquoted(called)));
        };
        // What comes out is looked at before what goes in.
        if let Some(receiver) = receiver.filter(|_| !self.columns)
            && (receiver.ty.is_multi_cell() && matches!(signature.returns, CqlType::Frozen(_))
                || !is_assignable(&signature.returns, receiver.ty))
        {
            return Err(result_mismatch(name, &signature.returns, &receiver));
        }
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

    pub(super) fn unknown_function(&self, name: &str) -> CqlError {
        CqlError::invalid(match self.columns {
            true => format!("Unknown function '{name}'"),
            false => format!("Unknown function {name} called"),
        })
    }

    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: Vec<Typed>,
        returns: CqlType,
    ) -> CqlResult<Typed> {
        self.asks_for_time |= !function.is_pure();
        let is_bound = |argument: &Typed| matches!(argument.expression, Expression::Marker(_));
        self.calls_bound |= arguments.iter().any(is_bound);
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
            // A term that cannot be calculated is found out when it is, as in Cassandra: PREPARE takes it, and other mistakes come first.
            expression: match constant.then(|| folded(&expression)) {
                Some(Ok(value)) => value,
                Some(Err(error)) => {
                    if self.columns {
                        self.incalculable.get_or_insert(error);
                    }
                    expression
                }
                None => expression,
            },
            ty: returns,
        })
    }
}

/// Whether what is counted is a constant: then rows are.
pub(super) fn counts_rows(arguments: &[Selectable]) -> bool {
    matches!(arguments, [Selectable::Literal(literal)] if *literal != Literal::Null)
}

/// The types that are summed; all but the last one may be null.
const NUMBERS: [&str; 9] = [
    "tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "varint", "counter",
];

fn listed(kind: AggregateKind, types: &[&str]) -> String {
    let each: Vec<String> = types
        .iter()
        .map(|ty| format!("system.{} : ({ty}) -> {ty}", kind.name()))
        .collect();
    each.join(", ")
}

fn ambiguous(kind: AggregateKind, types: &[&str]) -> CqlError {
    CqlError::invalid(format!(
        "Ambiguous call to function {} (can be matched by following signatures: {}): use type casts to disambiguate",
        kind.name(),
        listed(kind, types)
    ))
}

fn none_fits(kind: AggregateKind) -> CqlError {
    CqlError::invalid(format!(
        "Invalid call to function {}, none of its type signatures match (known type signatures: {})",
        kind.name(),
        listed(kind, &NUMBERS)
    ))
}

fn is_null(of: &Selectable) -> bool {
    matches!(of, Selectable::Literal(Literal::Null))
}

fn is_marker(of: &Selectable) -> bool {
    matches!(of, Selectable::Marker(_))
}

fn wrong_count(kind: AggregateKind, arguments: &[Selectable]) -> CqlError {
    CqlError::invalid(format!(
        "Invalid number of arguments in call to function system.{}: 1 required but {} provided",
        kind.name(),
        arguments.len()
    ))
}

/// Whether Cassandra finds no type for what an aggregate is of: one in parentheses might be a tuple, and a null could be any number.
fn is_of_no_type(kind: AggregateKind, of: &Selectable) -> bool {
    match kind {
        AggregateKind::Min | AggregateKind::Max => {
            matches!(of, Selectable::Tuple(parts) if parts.len() == 1)
        }
        AggregateKind::Sum | AggregateKind::Avg => is_null(of) || is_marker(of),
        AggregateKind::Count => false,
    }
}

/// The constant an expression of constants is.
pub(super) fn folded(expression: &Expression) -> CqlResult<Expression> {
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
    let scope = Scope::of_moment(&moment);
    Ok(Expression::Constant(match expression.evaluate(&scope)? {
        Bound::Unset => Bound::Null,
        value => value,
    }))
}
