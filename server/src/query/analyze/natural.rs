//! The type that an expression has by itself, and how well it would fit another.
//!
//! Nothing is built or refused here: functions and arithmetic ask before they decide.

use std::sync::Arc;

use palladium_protocol::cql::ast::{CellFact, Literal, Selectable};
use palladium_protocol::types::{CqlType, UserType};

use super::literal;
use super::parts::field_place;
use super::term::{Terms, print, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::functions::aggregate::AggregateKind;
use crate::query::functions::{self, Fit, is_assignable};
use crate::schema::types;

/// Expressions that are looked at for one statement: many times as many as it has. Calls whose arguments are lists of calls would take twice as many for each level.
const LOOKS_MAX: usize = 1 << 23;
/// What a call counts for, of which all functions of its name are tried.
const LOOKS_OF_CALL: usize = 64;

impl Terms<'_> {
    /// Counts looks. False once there were too many for one statement.
    pub(super) fn may_look(&self, looks: usize) -> bool {
        self.looks.set(self.looks.get().saturating_add(looks));
        self.looks.get() <= LOOKS_MAX
    }

    /// The type of an expression by itself, where it has one. None of any when too many were looked at.
    pub(super) fn natural_type(&self, of: &Selectable) -> Option<CqlType> {
        let looks = match of {
            Selectable::Function { .. } => LOOKS_OF_CALL,
            _ => 1,
        };
        if !self.may_look(looks) {
            return None;
        }
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
            Selectable::CellFact { fact, of } => {
                let one = match fact {
                    CellFact::Ttl => CqlType::Int,
                    _ => CqlType::Bigint,
                };
                let of_many = self
                    .natural_type(column_of(of))
                    .is_some_and(|ty| ty.is_multi_cell());
                Some(match of_many && *fact != CellFact::MaxWriteTime {
                    true => CqlType::list(one).frozen(),
                    false => one,
                })
            }
            Selectable::Function {
                name: called,
                arguments,
            } => {
                let name = called.name.as_str();
                let natural: Vec<_> = arguments
                    .iter()
                    .map(|argument| self.own_type(argument))
                    .collect();
                match AggregateKind::named(name) {
                    Some(AggregateKind::Count) => return Some(CqlType::Bigint),
                    Some(kind) => {
                        return kind.result_type(&self.aggregated_type(kind, arguments.first()?)?);
                    }
                    None => {}
                }
                let shown = |place: usize| print(&arguments[place]);
                let fit = |place: usize, ty: &CqlType| {
                    self.test(&arguments[place], natural[place].as_ref(), ty)
                };
                let signature = functions::resolve(
                    called,
                    &self.compatible(name, arguments, &natural),
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
                // There is none to be had, which is said when it is looked for; until then it is what a list's cells are named by.
                CqlType::List(_) => Some(CqlType::Timeuuid),
                _ => None,
            },
            Selectable::Slice { of, .. } => self.natural_type(of),
            Selectable::Tuple(parts) => match parts.as_slice() {
                [single] => self.natural_type(single),
                parts => {
                    let types = parts.iter().map(|part| self.part_type(part));
                    types.collect::<Option<Vec<_>>>().map(CqlType::tuple)
                }
            },
            Selectable::Arithmetic { left, right, .. } => {
                let (left, right) = (self.own_type(left)?, self.own_type(right)?);
                if *right.bare() == CqlType::Duration {
                    return Some(left);
                }
                functions::number::result_type(&left, &right)
            }
            Selectable::Negation(inner) => self.own_type(inner),
            Selectable::List(parts) => {
                let known = parts.iter().find_map(|part| self.part_type(part))?;
                Some(CqlType::list(known.frozen()).frozen())
            }
            Selectable::Set(parts) => {
                let known = parts.iter().find_map(|part| self.part_type(part))?;
                Some(CqlType::Set(Arc::new(known.frozen())).frozen())
            }
            Selectable::Map(_) => None,
        }
    }

    /// The same of a part of something. In brackets alone it may be a tuple of one.
    fn part_type(&self, of: &Selectable) -> Option<CqlType> {
        match of {
            Selectable::Tuple(parts) if parts.len() == 1 => None,
            part => self.natural_type(part),
        }
    }

    /// The same, also of a literal.
    pub(super) fn own_type(&self, of: &Selectable) -> Option<CqlType> {
        match of {
            Selectable::Literal(literal) => literal::natural_type(literal),
            other => self.natural_type(other),
        }
    }

    /// How well something fits a type. `natural` is what it has by itself; of a literal it may be known, or not.
    pub(super) fn fit(&self, of: &Selectable, natural: Option<&CqlType>, ty: &CqlType) -> Fit {
        let bare = ty.bare();
        match of {
            // A counter is never null.
            Selectable::Literal(Literal::Null) if bare.is_counter() => Fit::No,
            Selectable::Literal(Literal::Null) | Selectable::Marker(_) => Fit::Weak,
            Selectable::Literal(literal)
                if natural.map_or_else(
                    || literal::is_of_type(literal, bare),
                    |natural| natural == bare,
                ) =>
            {
                Fit::Exact
            }
            Selectable::Literal(literal) if literal::fits(literal, bare) => Fit::Weak,
            Selectable::Literal(_) => Fit::No,
            Selectable::List(parts) => match bare {
                CqlType::Vector(_, dimensions) if parts.len() != usize::from(*dimensions) => {
                    Fit::No
                }
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
            // In a term the names of fields are no columns.
            Selectable::Map(parts) if !self.columns && names_fields(parts) => match bare {
                CqlType::Udt(udt) => self.fit_fields(parts, udt),
                _ => Fit::No,
            },
            Selectable::Map(parts) => match bare {
                CqlType::Map(key, value) => {
                    let keys = self.fit_all(parts.iter().map(|(key, _)| key), key);
                    keys.min(self.fit_all(parts.iter().map(|(_, value)| value), value))
                }
                CqlType::Udt(udt) if self.columns => match foreign_field(parts, udt) {
                    Some(_) => Fit::No,
                    None => self.fit_fields(parts, udt),
                },
                _ => Fit::No,
            },
            Selectable::Tuple(parts) => match (bare, parts.as_slice()) {
                (CqlType::Tuple(types), _) => {
                    let fits = |(part, ty): (&Selectable, &CqlType)| {
                        let natural = self.natural_type(part);
                        self.fit_operand(part, natural.as_ref(), ty) != Fit::No
                    };
                    match parts.len() <= types.len() && parts.iter().zip(types.iter()).all(fits) {
                        true => Fit::Weak,
                        false => Fit::No,
                    }
                }
                (_, [single]) => self.fit(single, natural, ty),
                _ => Fit::No,
            },
            // What a term calculates has the type that is wanted of it, if it can have that: that it cannot is said when it is built.
            Selectable::Arithmetic { .. } | Selectable::Negation(_) if !self.columns => {
                match natural.map(CqlType::bare) == Some(bare) {
                    true => Fit::Exact,
                    false => Fit::Weak,
                }
            }
            // What is wrong with an aggregate itself is said when it is built.
            Selectable::Function { name, arguments }
                if !self.columns
                    && AggregateKind::named(name.name.as_str()).is_some()
                    && self.known_function(name, arguments).is_err() =>
            {
                Fit::Weak
            }
            _ => match natural {
                // Of a selection nothing fits whose type is not known.
                None if self.columns => Fit::No,
                None => Fit::Weak,
                Some(natural) if natural.bare() == bare => Fit::Exact,
                Some(natural) if is_assignable(natural, ty) => Fit::Weak,
                Some(_) => Fit::No,
            },
        }
    }

    /// The same of what is selected where a value of a type is wanted: names in braces are columns then, unless they are fields of a user type.
    pub(super) fn test(
        &self,
        of: &Selectable,
        natural: Option<&CqlType>,
        ty: &CqlType,
    ) -> CqlResult<Fit> {
        let table = self.table.filter(|_| self.columns);
        if let (Selectable::Map(parts), Some(table)) = (of, table)
            && !matches!(ty.bare(), CqlType::Udt(_))
        {
            for part in parts.iter().flat_map(|(key, value)| [key, value]) {
                if let Selectable::Column(name) = part
                    && table.column_index(name.as_str()).is_none()
                {
                    return Err(undefined(table, name));
                }
            }
        }
        let foreign = table.and_then(|_| foreign_field_in(of, ty));
        foreign.map_or_else(|| Ok(self.fit(of, natural, ty)), Err)
    }

    fn fit_fields(&self, parts: &[(Selectable, Selectable)], udt: &UserType) -> Fit {
        let of_field = |(field, ty): &(String, CqlType)| {
            let value = value_of_field(parts, field)?;
            Some(self.fit_all(std::iter::once(value), ty))
        };
        let fields = udt.fields.iter().filter_map(of_field);
        fields.min().map_or(Fit::Weak, |fit| fit.min(Fit::Weak))
    }

    fn fit_all<'t>(&self, parts: impl Iterator<Item = &'t Selectable>, ty: &CqlType) -> Fit {
        parts
            .map(|part| self.fit_operand(part, self.natural_type(part).as_ref(), ty))
            .min()
            .unwrap_or(Fit::Weak)
    }
}

/// Whether the entries between braces are fields of a user type by name.
pub(super) fn names_fields(parts: &[(Selectable, Selectable)]) -> bool {
    let is_name = |(key, _): &(Selectable, Selectable)| matches!(key, Selectable::Column(_));
    !parts.is_empty() && parts.iter().all(is_name)
}

/// What is said of the first entry between braces that is no field of the user type.
pub(super) fn foreign_field(
    parts: &[(Selectable, Selectable)],
    udt: &UserType,
) -> Option<CqlError> {
    parts.iter().find_map(|(name, _)| match name {
        Selectable::Column(name) if field_place(udt, name.as_str()).is_some() => None,
        Selectable::Column(name) => Some(types::unknown_field(name.as_str(), udt)),
        other => Some(CqlError::invalid(format!(
            "{} is not a valid field identifier of type {} ",
            print(other),
            udt.name
        ))),
    })
}

/// The same of a user type's literal in collections. In a tuple or in another user type it is a value that does not fit.
fn foreign_field_in(part: &Selectable, ty: &CqlType) -> Option<CqlError> {
    match (part, ty.bare()) {
        (Selectable::Map(parts), CqlType::Udt(udt)) => foreign_field(parts, udt),
        (Selectable::List(parts), CqlType::List(of) | CqlType::Vector(of, _))
        | (Selectable::Set(parts), CqlType::Set(of)) => {
            parts.iter().find_map(|part| foreign_field_in(part, of))
        }
        (Selectable::Map(parts), CqlType::Map(key, value)) => {
            let mut entries = parts.iter();
            entries.find_map(|(own, entry)| {
                foreign_field_in(own, key).or_else(|| foreign_field_in(entry, value))
            })
        }
        _ => None,
    }
}

/// What a user type's literal has for a field: of one that is named twice the last value counts.
pub(super) fn value_of_field<'t>(
    parts: &'t [(Selectable, Selectable)],
    field: &str,
) -> Option<&'t Selectable> {
    let is_own = |(name, _): &&(Selectable, Selectable)| matches!(name, Selectable::Column(name) if name.as_str() == field);
    parts.iter().rev().find(is_own).map(|(_, value)| value)
}

/// The column that an element, a field or a slice is of.
pub(super) fn column_of(of: &Selectable) -> &Selectable {
    match of {
        Selectable::Element { of, .. }
        | Selectable::Field { of, .. }
        | Selectable::Slice { of, .. } => of,
        other => other,
    }
}
