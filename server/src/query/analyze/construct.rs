//! Values made of parts: tuples, lists, sets, maps, vectors and user-defined types.
//!
//! A literal of these has no type of its own: the receiver says what it is, and `{}` may be an empty set, map or user type.
//! Parts that do not fit are named in the words Cassandra has for each kind.

use palladium_protocol::cql::ast::{Literal, Selectable};
use palladium_protocol::types::{CqlType, UserType};

use super::calls::folded;
use super::literal;
use super::name::raw;
use super::natural::{names_fields, value_of_field};
use super::parts::field_place;
use super::term::{Receiver, Terms, cannot_infer, is_hint_for, print};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::Fit;
use crate::schema::hashed::{in_hash_order, of_identifier};
use crate::schema::types;

fn all_of(parts: &[Selectable]) -> String {
    parts.iter().map(print).collect::<Vec<_>>().join(", ")
}

impl Terms<'_> {
    fn parts<'t>(
        &mut self,
        mut parts: Vec<(&'t Selectable, CqlType)>,
        name: &dyn Fn(usize) -> String,
        wrong: &dyn Fn(usize, &Selectable, &CqlType) -> CqlError,
    ) -> CqlResult<Vec<Expression>> {
        // Of a term all parts are looked at before any is built; of a selection one after the other.
        if !self.columns {
            for (place, (part, ty)) in parts.iter().enumerate() {
                self.check_part(place, part, ty, wrong)?;
            }
        }
        let mut expressions = Vec::with_capacity(parts.len());
        for (place, (part, ty)) in parts.drain(..).enumerate() {
            if self.columns {
                self.check_part(place, part, &ty, wrong)?;
            }
            let name = name(place);
            let receiver = Receiver {
                name: &name,
                ty: &ty,
            };
            expressions.push(self.typed(part, Some(receiver))?.expression);
        }
        Ok(expressions)
    }

    /// Whether a part may be one at all; whether it really is one is found out when it is built.
    fn check_part(
        &self,
        place: usize,
        part: &Selectable,
        ty: &CqlType,
        wrong: &dyn Fn(usize, &Selectable, &CqlType) -> CqlError,
    ) -> CqlResult<()> {
        if let Selectable::Literal(constant) = part
            && *constant != Literal::Null
            && literal::fits(constant, ty.bare())
        {
            return Ok(());
        }
        let natural = self.natural_type(part);
        let is_hinted = !self.columns && matches!(part, Selectable::TypeHint { .. });
        let is_hint_for = |natural: &CqlType| !is_hinted || is_hint_for(natural, ty);
        if self.fit_operand(part, natural.as_ref(), ty) != Fit::No
            && natural.as_ref().is_none_or(is_hint_for)
            || self.is_told_when_called(part, ty)
        {
            return Ok(());
        }
        Err(match no_place_for_list(part, ty) {
            Some(ty) => unexpected_list(ty),
            None if self.columns => wrong(place, part, ty),
            None => wrong(place, &self.as_shown(part), ty),
        })
    }

    /// Whether a part that does not fit has calls in it, of which that is said when they are built: what is wrong with a part is what is wrong with a call, but of a
    /// function that there is one of, whose type is known.
    fn is_told_when_called(&self, part: &Selectable, ty: &CqlType) -> bool {
        if self.columns || !self.may_look(1) {
            return false;
        }
        let is_told = |part: &Selectable, ty: &CqlType| {
            self.fit_operand(part, self.natural_type(part).as_ref(), ty) != Fit::No
                || self.is_told_when_called(part, ty)
        };
        match (part, ty.bare()) {
            (Selectable::Cast { .. }, _) => true,
            (Selectable::Function { name, arguments }, _) => {
                self.is_of_several(name, arguments, ty)
            }
            (Selectable::List(parts), CqlType::List(element))
            | (Selectable::Set(parts), CqlType::Set(element)) => {
                parts.iter().all(|part| is_told(part, element))
            }
            (Selectable::List(parts), CqlType::Vector(element, dimensions)) => {
                parts.len() == usize::from(*dimensions)
                    && parts.iter().all(|part| is_told(part, element))
            }
            (Selectable::Tuple(parts), CqlType::Tuple(types)) => {
                let mut each = parts.iter().zip(types.iter());
                parts.len() <= types.len() && each.all(|(part, ty)| is_told(part, ty))
            }
            (Selectable::Map(parts), CqlType::Map(key, value)) if !names_fields(parts) => {
                let mut entries = parts.iter();
                entries.all(|(own, entry)| is_told(own, key) && is_told(entry, value))
            }
            _ => false,
        }
    }

    /// What is made of these parts. A term with calls in it is calculated when it is executed, as in Cassandra: what fails fails then.
    fn collected<'t>(
        &self,
        kind: &str,
        receiver: &Receiver<'_>,
        expressions: Vec<Expression>,
        mut parts: impl Iterator<Item = &'t Selectable>,
    ) -> CqlResult<Typed> {
        let ty = receiver.ty.clone();
        if !self.columns && !matches!(ty.bare(), CqlType::Vector(..)) {
            let mut is_bound = false;
            let mut look = |part: &Expression| is_bound |= matches!(part, Expression::Marker(_));
            expressions.iter().for_each(|part| part.walk(&mut look));
            if is_bound {
                return Err(CqlError::invalid(format!(
                    "Invalid {kind} literal for {}: bind variables are not supported inside collection literals",
                    receiver.name
                )));
            }
        }
        let constant = expressions.iter().all(Expression::is_constant);
        let expression = Expression::Build {
            ty: ty.clone(),
            parts: expressions,
        };
        let expression = match constant.then(|| folded(&expression)) {
            Some(Ok(value)) => value,
            Some(Err(error)) if self.columns || !parts.any(calls) => return Err(error),
            _ => expression,
        };
        Ok(Typed { expression, ty })
    }

    pub(super) fn tuple(
        &mut self,
        of: &Selectable,
        parts: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let Some(receiver) = receiver else {
            // In brackets alone it may be a tuple of one: somebody has to say.
            if parts.len() == 1 || self.natural_type(of).is_none() {
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
            parts.iter().zip(types.iter().cloned()).collect(),
            &|place| format!("{}[{place}]", receiver.name),
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
        let is_asked = receiver.is_some();
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
        let wrong = self.not_of_type(kind, receiver.name, is_asked);
        let of_element = parts.iter();
        let of_element = of_element
            .map(|part| (part, self.read_as(part, natural.as_ref(), element)))
            .collect();
        let name = |_| format!("value({})", receiver.name);
        let expressions = self.parts(of_element, &name, &wrong)?;
        self.collected(kind, &receiver, expressions, parts.iter())
    }

    pub(super) fn set(
        &mut self,
        of: &Selectable,
        parts: &[Selectable],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let natural = self.natural_type(of);
        let is_asked = receiver.is_some();
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
        let wrong = self.not_of_type("set", receiver.name, is_asked);
        let of_element = parts.iter();
        let of_element = of_element
            .map(|part| (part, self.read_as(part, natural.as_ref(), element)))
            .collect();
        let name = |_| format!("value({})", receiver.name);
        let expressions = self.parts(of_element, &name, &wrong)?;
        self.collected("set", &receiver, expressions, parts.iter())
    }

    /// The type by which an element is read. A text beside an ASCII column has to be ASCII where all of it is selected, whatever else it stands beside.
    fn read_as(&self, part: &Selectable, natural: Option<&CqlType>, element: &CqlType) -> CqlType {
        let is_beside_ascii = || match natural.map(CqlType::bare) {
            Some(CqlType::List(own) | CqlType::Set(own)) => *own.bare() == CqlType::Ascii,
            _ => false,
        };
        let is_text = *element.bare() == CqlType::Text;
        match self.columns && is_text && matches!(part, Selectable::Literal(_)) && is_beside_ascii()
        {
            true => CqlType::Ascii,
            false => element.clone(),
        }
    }

    /// Of what is selected, and has its type from its parts, a constant is refused as one that is selected by itself.
    fn not_of_type<'n>(
        &self,
        kind: &'static str,
        name: &'n str,
        is_asked: bool,
    ) -> impl Fn(usize, &Selectable, &CqlType) -> CqlError + use<'n> {
        let has_own_type = self.columns && !is_asked;
        let print = self.printer();
        move |_, part, ty| {
            if let Some(error) = refused_constant(part, ty).filter(|_| has_own_type) {
                return error;
            }
            CqlError::invalid(format!(
                "Invalid {kind} literal for {name}: value {} is not of type {ty}",
                print(part)
            ))
        }
    }

    /// How parts of a literal are repeated: a term's as it was written down by then.
    pub(super) fn printer(&self) -> fn(&Selectable) -> String {
        match self.columns {
            true => print,
            false => raw,
        }
    }

    pub(super) fn map(
        &mut self,
        of: &Selectable,
        parts: &[(Selectable, Selectable)],
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let receiver = receiver.ok_or_else(|| cannot_infer(&print(of)))?;
        match receiver.ty.bare() {
            CqlType::Udt(udt) => self.user(udt, parts, &receiver),
            // In a term names are fields and no keys.
            _ if names_fields(parts) && !self.columns => Err(not_for("user type", &receiver)),
            CqlType::Map(key, value) => {
                let print = self.printer();
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
                if !self.columns {
                    for (own, entry) in parts {
                        self.check_part(0, own, key, &wrong_key)?;
                        self.check_part(0, entry, value, &wrong_value)?;
                    }
                }
                let key_name = |_| format!("key({})", receiver.name);
                let value_name = |_| format!("value({})", receiver.name);
                let mut expressions = Vec::new();
                for (own, entry) in parts {
                    expressions.extend(self.parts(
                        vec![(own, (**key).clone())],
                        &key_name,
                        &wrong_key,
                    )?);
                    expressions.extend(self.parts(
                        vec![(entry, (**value).clone())],
                        &value_name,
                        &wrong_value,
                    )?);
                }
                let parts = parts.iter().flat_map(|(key, value)| [key, value]);
                self.collected("map", &receiver, expressions, parts)
            }
            _ if names_fields(parts) => Err(not_for("user type", &receiver)),
            _ => Err(not_for("map", &receiver)),
        }
    }

    fn user(
        &mut self,
        udt: &UserType,
        parts: &[(Selectable, Selectable)],
        receiver: &Receiver<'_>,
    ) -> CqlResult<Typed> {
        let mut entries: Vec<&(Selectable, Selectable)> = parts.iter().collect();
        if !self.columns {
            self.check_fields(udt, parts, receiver)?;
            // A term's are built in the order of the type; names that it does not have come last, in the order of Cassandra's hash table.
            entries = in_hash_order(entries, |(name, _)| match name {
                Selectable::Column(name) => of_identifier(name.as_str()),
                _ => 0,
            });
            entries.sort_by_key(|(name, _)| match name {
                Selectable::Column(name) => field_place(udt, name.as_str()).unwrap_or(usize::MAX),
                _ => usize::MAX,
            });
        }
        let mut expressions = vec![Expression::NULL; udt.fields.len()];
        for (at, (name, value)) in entries.iter().enumerate() {
            // Of a field that is named twice the last value counts.
            if entries[at + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            let Selectable::Column(name) = name else {
                return Err(not_for("map", receiver));
            };
            let place = field_place(udt, name.as_str())
                .ok_or_else(|| types::unknown_field(name.as_str(), udt))?;
            let (field, ty) = &udt.fields[place];
            let wrong = not_of_field(receiver, field);
            let inner = |_| format!("{}.{field}", receiver.name);
            if let Some(expression) = self.parts(vec![(value, ty.clone())], &inner, &wrong)?.pop() {
                expressions[place] = expression;
            }
        }
        built(receiver.ty.clone(), expressions)
    }

    /// Looks at the values of all fields, in the order of the type.
    fn check_fields(
        &self,
        udt: &UserType,
        parts: &[(Selectable, Selectable)],
        receiver: &Receiver<'_>,
    ) -> CqlResult<()> {
        for (field, ty) in &udt.fields {
            if let Some(value) = value_of_field(parts, field) {
                self.check_part(0, value, ty, &not_of_field(receiver, field))?;
            }
        }
        Ok(())
    }
}

/// Whether something in a term is calculated.
fn calls(part: &Selectable) -> bool {
    match part {
        Selectable::Function { .. }
        | Selectable::Arithmetic { .. }
        | Selectable::Negation(_)
        | Selectable::Cast { .. } => true,
        Selectable::TypeHint { expression, .. } => calls(expression),
        Selectable::Tuple(parts) | Selectable::List(parts) | Selectable::Set(parts) => {
            parts.iter().any(calls)
        }
        Selectable::Map(parts) => parts.iter().any(|(key, value)| calls(key) || calls(value)),
        _ => false,
    }
}

/// Refuses a list where none can be.
pub(super) fn check_lists(of: &Selectable, ty: &CqlType) -> CqlResult<()> {
    match no_place_for_list(of, ty) {
        Some(ty) => Err(unexpected_list(ty)),
        None => Ok(()),
    }
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
            folded(&expression)?
        } else {
            expression
        },
        ty,
    })
}

fn not_of_field(
    receiver: &Receiver<'_>,
    field: &str,
) -> impl Fn(usize, &Selectable, &CqlType) -> CqlError {
    move |_, _, ty| {
        CqlError::invalid(format!(
            "Invalid user type literal for {}: field {field} is not of type {ty}",
            receiver.name
        ))
    }
}

fn not_for(kind: &str, receiver: &Receiver<'_>) -> CqlError {
    CqlError::invalid(format!(
        "Invalid {kind} literal for {} of type {}",
        receiver.name, receiver.ty
    ))
}

/// What is said of the first constant in something that is selected, and that cannot be of its type.
fn refused_constant(part: &Selectable, ty: &CqlType) -> Option<CqlError> {
    match (part, ty.bare()) {
        (Selectable::Literal(Literal::Null), _) => None,
        (Selectable::Literal(constant), _) => literal::value(constant, ty, "[selection]").err(),
        (Selectable::List(parts), CqlType::List(of))
        | (Selectable::Set(parts), CqlType::Set(of)) => {
            parts.iter().find_map(|part| refused_constant(part, of))
        }
        _ => None,
    }
}
