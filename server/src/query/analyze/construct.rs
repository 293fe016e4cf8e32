//! Values made of parts: tuples, lists, sets, maps, vectors and user-defined types.
//!
//! A literal of these has no type of its own: the receiver says what it is, and `{}` may be an empty set, map or user type.
//! Parts that do not fit are named in the words Cassandra has for each kind.

use palladium_protocol::cql::ast::Selectable;
use palladium_protocol::types::{CqlType, UserType};

use super::calls::folded;
use super::parts::field_place;
use super::term::{Receiver, Terms, cannot_infer, print};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::Fit;

fn all_of(parts: &[Selectable]) -> String {
    parts.iter().map(print).collect::<Vec<_>>().join(", ")
}

impl Terms<'_> {
    fn parts<'t>(
        &mut self,
        parts: impl Iterator<Item = (&'t Selectable, CqlType)>,
        name: &str,
        wrong: &dyn Fn(usize, &Selectable, &CqlType) -> CqlError,
    ) -> CqlResult<Vec<Expression>> {
        let mut expressions = Vec::new();
        for (place, (part, ty)) in parts.enumerate() {
            if self.fit_operand(part, self.natural_type(part).as_ref(), &ty) == Fit::No {
                return Err(match no_place_for_list(part, &ty) {
                    Some(ty) => unexpected_list(ty),
                    None => wrong(place, part, &ty),
                });
            }
            let typed = self.typed(part, Some(Receiver { name, ty: &ty }))?;
            expressions.push(typed.expression);
        }
        Ok(expressions)
    }

    pub(super) fn tuple(
        &mut self,
        of: &Selectable,
        parts: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let Some(receiver) = receiver else {
            // In brackets alone it may be a tuple of one: somebody has to say.
            let known =
                parts.len() > 1 && parts.iter().all(|part| self.natural_type(part).is_some());
            if !known {
                return Err(cannot_infer(&format!("({})", all_of(parts))));
            }
            let mut expressions = Vec::new();
            let mut types = Vec::new();
            for part in parts {
                let typed = self.any(part, None)?;
                expressions.push(typed.expression);
                types.push(typed.ty);
            }
            return built(CqlType::tuple(types), expressions);
        };
        let CqlType::Tuple(types) = receiver.ty.bare() else {
            if let [single] = parts {
                return self.typed(single, Some(receiver));
            }
            return Err(CqlError::invalid(format!(
                "Invalid tuple type literal for {} of type {}",
                receiver.name, receiver.ty
            )));
        };
        let _ = of;
        if parts.len() > types.len() {
            return Err(CqlError::invalid(format!(
                "Invalid tuple literal for {}: too many elements. Type {} expects {} but got {}",
                receiver.name,
                receiver.ty,
                types.len(),
                parts.len()
            )));
        }
        let wrong = |place: usize, _: &Selectable, ty: &CqlType| {
            CqlError::invalid(format!(
                "Invalid tuple literal for {}: component {place} is not of type {ty}",
                receiver.name
            ))
        };
        let parts = self.parts(
            parts.iter().zip(types.iter().cloned()),
            receiver.name,
            &wrong,
        )?;
        built(receiver.ty.clone(), parts)
    }

    pub(super) fn list(
        &mut self,
        of: &Selectable,
        parts: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let natural = self.natural_type(of);
        let receiver = receiver
            .or(natural.as_ref().map(|ty| Receiver { name: "list", ty }))
            .ok_or_else(|| cannot_infer(&print(of)))?;
        let (element, kind) = match receiver.ty.bare() {
            CqlType::List(element) => (element, "list"),
            CqlType::Vector(element, dimensions) => {
                if parts.len() != usize::from(*dimensions) {
                    return Err(CqlError::invalid(format!(
                        "Invalid vector literal for {} of type {}; expected {dimensions} elements, but given {}",
                        receiver.name,
                        receiver.ty,
                        parts.len()
                    )));
                }
                (element, "vector")
            }
            _ => return Err(unexpected_list(receiver.ty)),
        };
        let wrong = not_of_type(kind, receiver.name);
        let of_element = parts.iter().map(|part| (part, (**element).clone()));
        let parts = self.parts(of_element, &format!("value({})", receiver.name), &wrong)?;
        built(receiver.ty.clone(), parts)
    }

    pub(super) fn set(
        &mut self,
        of: &Selectable,
        parts: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let natural = self.natural_type(of);
        let receiver = receiver
            .or(natural.as_ref().map(|ty| Receiver { name: "set", ty }))
            .ok_or_else(|| cannot_infer(&print(of)))?;
        let element = match receiver.ty.bare() {
            CqlType::Set(element) => element,
            // `{}` is the empty map as well.
            CqlType::Map(..) if parts.is_empty() => {
                return built(receiver.ty.clone(), Vec::new());
            }
            _ => return Err(not_for("set", &receiver)),
        };
        let wrong = not_of_type("set", receiver.name);
        let of_element = parts.iter().map(|part| (part, (**element).clone()));
        let parts = self.parts(of_element, &format!("value({})", receiver.name), &wrong)?;
        built(receiver.ty.clone(), parts)
    }

    pub(super) fn map(
        &mut self,
        of: &Selectable,
        parts: &[(Selectable, Selectable)],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let receiver = receiver.ok_or_else(|| cannot_infer(&print(of)))?;
        match receiver.ty.bare() {
            CqlType::Map(key, value) => {
                let wrong_key = |_: usize, part: &Selectable, ty: &CqlType| {
                    CqlError::invalid(format!(
                        "Invalid map literal for {}: key {} is not of type {ty}",
                        receiver.name,
                        print(part)
                    ))
                };
                let wrong_value = |_: usize, part: &Selectable, ty: &CqlType| {
                    CqlError::invalid(format!(
                        "Invalid map literal for {}: value {} is not of type {ty}",
                        receiver.name,
                        print(part)
                    ))
                };
                let mut expressions = Vec::new();
                for (own, entry) in parts {
                    let name = format!("key({})", receiver.name);
                    expressions.extend(self.parts(
                        [(own, (**key).clone())].into_iter(),
                        &name,
                        &wrong_key,
                    )?);
                    let name = format!("value({})", receiver.name);
                    expressions.extend(self.parts(
                        [(entry, (**value).clone())].into_iter(),
                        &name,
                        &wrong_value,
                    )?);
                }
                built(receiver.ty.clone(), expressions)
            }
            CqlType::Udt(udt) => self.user(udt, parts, &receiver),
            _ if parts.iter().any(|(name, _)| !is_name(name)) || parts.is_empty() => {
                Err(not_for("map", &receiver))
            }
            _ => Err(not_for("user type", &receiver)),
        }
    }

    fn user(
        &mut self,
        udt: &UserType,
        parts: &[(Selectable, Selectable)],
        receiver: &Receiver<'_>,
    ) -> CqlResult<Typed> {
        let mut expressions = vec![Expression::NULL; udt.fields.len()];
        for (at, (name, value)) in parts.iter().enumerate() {
            // Of a field that is named twice the last value counts.
            if parts[at + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            let Selectable::Column(name) = name else {
                return Err(not_for("map", receiver));
            };
            let place = field_place(udt, name.as_str()).ok_or_else(|| {
                CqlError::invalid(format!(
                    "Unknown field '{name}' in value of user defined type {}",
                    udt.name
                ))
            })?;
            let (field, ty) = &udt.fields[place];
            let wrong = |_: usize, _: &Selectable, ty: &CqlType| {
                CqlError::invalid(format!(
                    "Invalid user type literal for {}: field {field} is not of type {ty}",
                    receiver.name
                ))
            };
            let inner = format!("{}.{field}", receiver.name);
            if let Some(expression) = self
                .parts([(value, ty.clone())].into_iter(), &inner, &wrong)?
                .pop()
            {
                expressions[place] = expression;
            }
        }
        built(receiver.ty.clone(), expressions)
    }
}

fn is_name(key: &Selectable) -> bool {
    matches!(key, Selectable::Column(_))
}

/// The type of a place where a list stands that can hold none. Cassandra asks no further then, however deep it is.
fn no_place_for_list<'t>(part: &Selectable, ty: &'t CqlType) -> Option<&'t CqlType> {
    match (part, ty.bare()) {
        (Selectable::List(parts), CqlType::List(of) | CqlType::Vector(of, _))
        | (Selectable::Set(parts), CqlType::Set(of)) => {
            parts.iter().find_map(|part| no_place_for_list(part, of))
        }
        (Selectable::List(_), _) => Some(ty),
        _ => None,
    }
}

fn unexpected_list(ty: &CqlType) -> CqlError {
    CqlError::invalid(format!(
        "Unexpected receiver type '{ty}'; only list and vector are expected"
    ))
}

fn built(ty: CqlType, parts: Vec<Expression>) -> CqlResult<Typed> {
    let constant = parts.iter().all(Expression::is_constant);
    let expression = Expression::Build {
        ty: ty.clone(),
        parts,
    };
    Ok(Typed {
        expression: if constant {
            folded(expression)?
        } else {
            expression
        },
        ty,
    })
}

fn not_for(kind: &str, receiver: &Receiver<'_>) -> CqlError {
    CqlError::invalid(format!(
        "Invalid {kind} literal for {} of type {}",
        receiver.name, receiver.ty
    ))
}

fn not_of_type(kind: &str, name: &str) -> impl Fn(usize, &Selectable, &CqlType) -> CqlError {
    move |_, part, ty| {
        CqlError::invalid(format!(
            "Invalid {kind} literal for {name}: value {} is not of type {ty}",
            print(part)
        ))
    }
}
