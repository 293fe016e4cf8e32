//! Arithmetic: which type an operand has where the other one says it, and which the result.
//!
//! An operator is a call of one of many functions, as in Cassandra. In a selection the operands alone say which; for a receiver (a column that is written or
//! restricted) its type does, too: `t = 100 + 100` adds tinyints if `t` is one.

use palladium_protocol::cql::ast::{Arithmetic, Selectable};
use palladium_protocol::types::CqlType;

use super::term::{Receiver, Terms, print};
use super::{literal, name};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Typed;
use crate::query::functions::{self, Fit, Function, is_assignable};

impl Terms<'_> {
    /// Of all functions behind the operator, whose result the receiver takes if there is one, the one that fits the operands exactly, or alone, or that has
    /// the receiver's type on both sides.
    pub(super) fn overload(
        &self,
        operator: Arithmetic,
        left: &Selectable,
        right: &Selectable,
        receiver: Option<&CqlType>,
    ) -> CqlResult<Overload> {
        let (mut weak, mut exact) = (Vec::new(), Vec::new());
        let (of_left, of_right) = (self.own_type(left), self.own_type(right));
        for overload in overloads(operator) {
            if receiver.is_some_and(|receiver| !is_assignable(&overload.returns, receiver)) {
                continue;
            }
            let fit = self.fit_operand(left, of_left.as_ref(), &overload.left);
            match fit.min(self.fit_operand(right, of_right.as_ref(), &overload.right)) {
                Fit::Exact => exact.push(overload),
                Fit::Weak => weak.push(overload),
                Fit::No => {}
            }
        }
        // Of several that fit Cassandra takes the one that its hash table has first; the receiver's own type holds any value.
        let is_receivers = |ty: &CqlType| receiver.is_some_and(|receiver| receiver.bare() == ty);
        let takes_own =
            |overload: &Overload| is_receivers(&overload.left) && is_receivers(&overload.right);
        let own = |overload: &Overload| (is_receivers(&overload.returns), takes_own(overload));
        if let Some(exact) = exact.into_iter().rev().max_by_key(own) {
            return Ok(exact);
        }
        let is_marker = |side: &Selectable| matches!(side, Selectable::Marker(_));
        let is_bound = is_marker(left) || is_marker(right);
        if let [only] = weak.as_slice() {
            return Ok(only.clone());
        }
        if let Some(own) = weak
            .iter()
            .find(|overload| !is_bound && takes_own(overload))
        {
            return Ok(own.clone());
        }
        let symbol = operator.symbol();
        let (left, right) = (self.shown(left), self.shown(right));
        Err(CqlError::invalid(match weak.is_empty() {
            true => {
                format!("the '{symbol}' operation is not supported between {left} and {right}")
            }
            false => format!(
                "Ambiguous '{symbol}' operation with args {left} and {right}: use type hint to disambiguate, example '(int) ?'"
            ),
        }))
    }

    pub(super) fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Selectable,
        right: &Selectable,
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let receiver = receiver
            .filter(|_| !self.columns)
            .map(|receiver| receiver.ty);
        let chosen = self.overload(operator, left, right, receiver)?;
        let called = functions::operator_name(operator);
        let mut operands = Vec::with_capacity(2);
        for (place, (side, ty)) in [(left, &chosen.left), (right, &chosen.right)]
            .into_iter()
            .enumerate()
        {
            let name = format!("arg{place}(system._{called})");
            let typed = self.typed(side, Some(Receiver { name: &name, ty }))?;
            operands.push(Typed {
                expression: typed.expression,
                ty: ty.clone(),
            });
        }
        self.call(chosen.function, operands, chosen.returns)
    }

    /// The type that is negated, chosen likewise.
    pub(super) fn negated(
        &self,
        inner: &Selectable,
        receiver: Option<&CqlType>,
    ) -> CqlResult<CqlType> {
        let mut weak = Vec::new();
        let mut exact = None;
        let natural = self.own_type(inner);
        for ty in NUMBERS {
            let is_taken = receiver.is_none_or(|receiver| {
                is_assignable(&ty, receiver) && (ty == CqlType::Counter) == receiver.is_counter()
            });
            if !is_taken {
                continue;
            }
            match self.fit_operand(inner, natural.as_ref(), &ty) {
                Fit::Exact if receiver.is_some_and(|receiver| *receiver.bare() == ty) => {
                    return Ok(ty);
                }
                Fit::Exact => exact = exact.or(Some(ty)),
                Fit::Weak => weak.push(ty),
                Fit::No => {}
            }
        }
        if let Some(exact) = exact {
            return Ok(exact);
        }
        match weak.as_slice() {
            [only] => Ok(only.clone()),
            [] => {
                let each = NUMBERS.map(|ty| format!("system.\"_negate\" : ({ty}) -> {ty}"));
                Err(CqlError::invalid(format!(
                    "Invalid call to function system._negate, none of its type signatures match (known type signatures: {})",
                    each.join(", ")
                )))
            }
            _ => Err(CqlError::invalid(
                "Ambiguous negation: use type casts to disambiguate",
            )),
        }
    }

    pub(super) fn negation(
        &mut self,
        inner: &Selectable,
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let receiver = receiver
            .filter(|_| !self.columns)
            .map(|receiver| receiver.ty);
        let ty = self.negated(inner, receiver)?;
        let name = "arg0(system._negate)";
        let typed = self.typed(inner, Some(Receiver { name, ty: &ty }))?;
        let operand = Typed {
            expression: typed.expression,
            ty: ty.clone(),
        };
        self.call(Function::Negate, vec![operand], ty)
    }

    fn shown(&self, side: &Selectable) -> String {
        match self.columns {
            true => print(side),
            false => name::raw(side),
        }
    }

    /// How well an operand fits, given the type that it has by itself. What is calculated from literals takes the type that is wanted; of what else is calculated more is known when it is.
    pub(super) fn fit_operand(
        &self,
        of: &Selectable,
        natural: Option<&CqlType>,
        ty: &CqlType,
    ) -> Fit {
        match of {
            Selectable::Arithmetic { .. } | Selectable::Negation(_) if !self.columns => {
                let is_number = functions::number::result_type(ty, ty).is_some();
                match (is_number && is_of_literals(of, ty)) || natural == Some(ty) {
                    true => Fit::Exact,
                    false => Fit::Weak,
                }
            }
            of => self.fit(of, natural, ty),
        }
    }
}

/// A function behind an operator.
#[derive(Debug, Clone)]
pub(super) struct Overload {
    function: Function,
    left: CqlType,
    right: CqlType,
    returns: CqlType,
}

const NUMBERS: [CqlType; 9] = [
    CqlType::Tinyint,
    CqlType::Smallint,
    CqlType::Int,
    CqlType::Bigint,
    CqlType::Float,
    CqlType::Double,
    CqlType::Decimal,
    CqlType::Varint,
    CqlType::Counter,
];

fn overloads(operator: Arithmetic) -> impl Iterator<Item = Overload> {
    use CqlType::{Ascii, Date, Duration, Text, Timestamp};
    let numbers = NUMBERS.into_iter().flat_map(move |left| {
        NUMBERS.into_iter().filter_map(move |right| {
            Some(Overload {
                function: Function::Arithmetic(operator),
                returns: functions::number::result_type(&left, &right)?,
                left: left.clone(),
                right,
            })
        })
    });
    let moves = matches!(operator, Arithmetic::Add | Arithmetic::Subtract);
    let times = [Timestamp, Date].into_iter().filter(move |_| moves);
    let times = times.map(move |ty| Overload {
        function: Function::Arithmetic(operator),
        left: ty.clone(),
        right: Duration,
        returns: ty,
    });
    let texts = [(Text, Text), (Ascii, Ascii), (Ascii, Text), (Text, Ascii)];
    let joins = operator == Arithmetic::Add;
    let texts = texts.into_iter().filter(move |_| joins);
    let texts = texts.map(|(left, right)| Overload {
        function: Function::Concat,
        returns: match left == Ascii && right == Ascii {
            true => Ascii,
            false => Text,
        },
        left,
        right,
    });
    numbers.chain(times).chain(texts)
}

/// Whether it is calculated from literals that all can be of a type.
fn is_of_literals(of: &Selectable, ty: &CqlType) -> bool {
    match of {
        Selectable::Literal(literal) => literal::fits(literal, ty),
        Selectable::Tuple(parts) => {
            matches!(parts.as_slice(), [single] if is_of_literals(single, ty))
        }
        Selectable::Negation(inner) => is_of_literals(inner, ty),
        Selectable::Arithmetic { left, right, .. } => {
            is_of_literals(left, ty) && is_of_literals(right, ty)
        }
        _ => false,
    }
}
