//! Parts of a value: a field, an element, a slice; and what is known of a column's cells beside their values.

use palladium_protocol::cql::ast::{CellFact, Name, Selectable, Term};
use palladium_protocol::types::{CqlType, UserType};

use super::term::{Terms, print};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Expression, Part, Typed};

impl Terms<'_> {
    pub(super) fn fact(&mut self, fact: CellFact, of: &Selectable) -> CqlResult<Typed> {
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

    pub(super) fn field(&mut self, of: &Selectable, field: &Name) -> CqlResult<Typed> {
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

    pub(super) fn element(&mut self, of: &Selectable, key: &Term) -> CqlResult<Typed> {
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

    pub(super) fn slice(
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
}

pub(super) fn field_place(udt: &UserType, field: &str) -> Option<usize> {
    udt.fields.iter().position(|(own, _)| own == field)
}
