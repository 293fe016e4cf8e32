//! Arithmetic: which type an operand has where the other one says it, and which the result.

use palladium_protocol::cql::ast::{Arithmetic, Literal, Selectable};
use palladium_protocol::types::CqlType;

use super::literal;
use super::term::{Receiver, Terms, print};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Typed};
use crate::query::functions::{self, Function, is_assignable};

impl Terms<'_> {
    pub(super) fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Selectable,
        right: &Selectable,
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
        let hint = |own: &Selectable, other: &Self, of: Option<CqlType>| match own {
            Selectable::Marker(_) => of,
            Selectable::Literal(literal) => literal::natural_type(literal),
            _ => other.natural_type(own),
        };
        let is_null = |side: &Selectable| matches!(side, Selectable::Literal(Literal::Null));
        if let Some(receiver) = receiver.filter(|_| is_null(left) || is_null(right)) {
            return Ok(Typed {
                expression: Expression::NULL,
                ty: receiver.ty.clone(),
            });
        }
        if is_null(left)
            || is_null(right)
            || matches!(left, Selectable::Marker(_))
            || matches!(right, Selectable::Marker(_))
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
        if operator == Arithmetic::Add && textual(&left_typed.ty) && textual(&right_typed.ty) {
            let both_ascii =
                *left_typed.ty.bare() == CqlType::Ascii && *right_typed.ty.bare() == CqlType::Ascii;
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
            false => functions::number::result_type(&left_typed.ty, &right_typed.ty).ok_or_else(
                || {
                    CqlError::invalid(format!(
                        "the '{}' operation is not supported between {} and {}",
                        operator.symbol(),
                        print(left),
                        print(right)
                    ))
                },
            )?,
        };
        let typed = self.call(
            Function::Arithmetic(operator),
            vec![left_typed, right_typed],
            ty,
        )?;
        self.widened(typed, receiver)
    }

    pub(super) fn negation(
        &mut self,
        inner: &Selectable,
        receiver: Option<Receiver<'_>>,
    ) -> CqlResult<Typed> {
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
}
