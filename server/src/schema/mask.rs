//! `MASKED WITH fn(...)`: what readers without UNMASK get in place of a column's value.
//!
//! A mask is checked when it is attached and kept as the text of its arguments; analysis of a SELECT puts the call around the column.
//!
//! What must hold: a mask returns the column's own type, so that a masked answer has the same metadata as any other.

use palladium_protocol::cql::ast::{Mask, Term};
use palladium_protocol::types::CqlType;

use super::{ColumnMask, mask_argument};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze;
use crate::query::functions::{Moment, unquoted};

/// What a masking function takes behind the column.
struct Signature {
    name: &'static str,
    /// As messages show all of it.
    shown: &'static str,
    takes: fn(&CqlType) -> Vec<CqlType>,
    /// How many of them must be there.
    least: usize,
    /// Whether it masks texts only.
    texts_only: bool,
}

const SIGNATURES: [Signature; 6] = [
    Signature {
        name: "mask_default",
        shown: "any",
        takes: |_| Vec::new(),
        least: 0,
        texts_only: false,
    },
    Signature {
        name: "mask_null",
        shown: "any",
        takes: |_| Vec::new(),
        least: 0,
        texts_only: false,
    },
    Signature {
        name: "mask_replace",
        shown: "any, any",
        takes: |ty| vec![ty.clone()],
        least: 1,
        texts_only: false,
    },
    Signature {
        name: "mask_inner",
        shown: "[text|varchar|ascii], int, int, [text]",
        takes: |_| vec![CqlType::Int, CqlType::Int, CqlType::Text],
        least: 2,
        texts_only: true,
    },
    Signature {
        name: "mask_outer",
        shown: "[text|varchar|ascii], int, int, [text]",
        takes: |_| vec![CqlType::Int, CqlType::Int, CqlType::Text],
        least: 2,
        texts_only: true,
    },
    Signature {
        name: "mask_hash",
        shown: "any, [text]",
        takes: |_| vec![CqlType::Text],
        least: 0,
        texts_only: false,
    },
];

/// What is said where masks are switched off.
pub fn disabled() -> CqlError {
    CqlError::invalid(
        "Cannot mask columns because dynamic data masking is not enabled. You can enable it with the dynamic_data_masking_enabled \
         property on cassandra.yaml",
    )
}

/// The mask of a column of a type, as it is written; what its arguments ask of the clock they ask now.
pub fn mask_of(
    mask: &Mask,
    column: &str,
    ty: &CqlType,
    moment: &Moment<'_>,
) -> CqlResult<ColumnMask> {
    let (written, name, arguments) = match mask {
        Mask::Default => ("mask_default".to_owned(), "mask_default", &[][..]),
        Mask::Function { name, arguments } => {
            (unquoted(name), name.name.as_str(), arguments.as_slice())
        }
    };
    let foreign = match mask {
        Mask::Function { name, .. } => name
            .keyspace
            .as_ref()
            .is_some_and(|of| of.as_str() != "system"),
        Mask::Default => false,
    };
    if ["count", "max", "min"].contains(&name) && arguments.is_empty() && !foreign {
        return Err(CqlError::invalid(format!(
            "Aggregate function {written}() cannot be used for masking table columns"
        )));
    }
    let signature = SIGNATURES.iter().find(|signature| signature.name == name);
    let Some(signature) = signature.filter(|_| !foreign) else {
        let arguments: Vec<String> = arguments.iter().map(Term::to_string).collect();
        return Err(CqlError::invalid(format!(
            "Unable to find masking function for {column}, no declared function matches the signature {written}({})",
            arguments.join(", ")
        )));
    };
    let takes = (signature.takes)(ty);
    let function = format!("system.{}", signature.name);
    if arguments.len() < signature.least || arguments.len() > takes.len() {
        return Err(CqlError::invalid(format!(
            "Invalid number of arguments for function {function}({})",
            signature.shown
        )));
    }
    if signature.texts_only && !matches!(ty.bare(), CqlType::Text | CqlType::Ascii) {
        return Err(CqlError::invalid(format!(
            "Function {function} requires an argument of type [text|varchar|ascii], but found argument {} of type {ty}",
            ty.class_name()
        )));
    }
    if signature.name == "mask_hash" && *ty.bare() != CqlType::Blob {
        return Err(CqlError::invalid(format!(
            "Masking function mask_hash() return type is blob. This is different to the type of the masked column {column} of type {ty}. \
             Masking functions can only be attached to table columns if they return the same data type as the masked column."
        )));
    }
    let arguments = arguments
        .iter()
        .zip(&takes)
        .map(|(term, wanted)| argument(&function, term, wanted, moment))
        .collect::<CqlResult<_>>()?;
    Ok(ColumnMask {
        keyspace: "system".into(),
        function: signature.name.into(),
        arguments,
    })
}

/// An argument as it is kept: as the value that it is, and not as it was written.
fn argument(
    function: &str,
    term: &Term,
    wanted: &CqlType,
    moment: &Moment<'_>,
) -> CqlResult<String> {
    let term = analyze::term::as_selectable(term);
    let is_replaced = function == "system.mask_replace";
    let Err(found) = analyze::fits(&term, wanted, !is_replaced)? else {
        let value = analyze::value_now(&term, wanted, moment)?;
        return mask_argument::kept(wanted, value.as_deref());
    };
    let term = analyze::name::raw(&term);
    Err(CqlError::invalid(match is_replaced {
        true => format!(
            "Type error: {term} cannot be passed as argument 1 of function {function} of type {wanted}"
        ),
        false => format!(
            "Function {function} requires an argument of type {wanted}, but found argument {term} of type {}",
            found.map_or_else(|| "unknown".to_owned(), |found| found.to_string())
        ),
    }))
}

impl ColumnMask {
    /// As DESCRIBE shows it behind the column's type.
    pub fn describe(&self) -> String {
        format!(
            " MASKED WITH {}.{}({})",
            self.keyspace,
            self.function,
            self.arguments.join(", ")
        )
    }

    /// The call around a column, as a statement has it.
    pub fn around(&self, column: &str) -> String {
        let column = format!("\"{}\"", column.replace('"', "\"\""));
        let arguments = [&[column][..], &self.arguments].concat();
        format!(
            "{}.{}({})",
            self.keyspace,
            self.function,
            arguments.join(", ")
        )
    }

    /// The types of its arguments, by name.
    pub fn argument_types(&self, of: &CqlType) -> Vec<String> {
        self.takes(of)
            .iter()
            .take(self.arguments.len())
            .map(CqlType::to_string)
            .collect()
    }

    /// Its arguments as `system_schema.column_masks` shows them: whether each is null, and what it is.
    pub fn argument_values(&self, of: &CqlType) -> Vec<(bool, String)> {
        let shown = |printed: &str, ty: &CqlType| -> CqlResult<(bool, String)> {
            Ok(match mask_argument::read_back(printed, ty)? {
                Some(value) => (false, mask_argument::internal(ty, &value)?),
                None => (true, String::new()),
            })
        };
        let arguments = self.arguments.iter().zip(self.takes(of));
        arguments
            // What is of no type of its own is shown as it is kept.
            .map(|(printed, ty)| shown(printed, &ty).unwrap_or((false, printed.clone())))
            .collect()
    }

    /// Keeps its arguments as the same values of a type whose fields are called otherwise.
    pub fn follow(&mut self, before: &CqlType, after: &CqlType) {
        let types = self.takes(before).into_iter().zip(self.takes(after));
        let pairs: Vec<(CqlType, CqlType)> = types.collect();
        for (printed, (before, after)) in self.arguments.iter_mut().zip(pairs) {
            let value = mask_argument::read_back(printed, &before);
            // What has no constant in the new type is told by who reads the column.
            if let Ok(kept) = value.and_then(|value| mask_argument::kept(&after, value.as_deref()))
            {
                *printed = kept;
            }
        }
    }

    fn takes(&self, of: &CqlType) -> Vec<CqlType> {
        let signature = SIGNATURES
            .iter()
            .find(|signature| signature.name == self.function);
        signature
            .map(|signature| (signature.takes)(of))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::string_literal;
    use super::*;

    #[test]
    fn a_mask_is_shown_called_and_listed() {
        let mask = ColumnMask {
            keyspace: "system".into(),
            function: "mask_outer".into(),
            arguments: vec!["1".into(), "null".into(), string_literal("it's")],
        };
        assert_eq!(
            mask.describe(),
            " MASKED WITH system.mask_outer(1, null, 'it''s')"
        );
        assert_eq!(
            mask.around("a\"b"),
            "system.mask_outer(\"a\"\"b\", 1, null, 'it''s')"
        );
        assert_eq!(mask.argument_types(&CqlType::Text), ["int", "int", "text"]);
        assert_eq!(
            mask.argument_values(&CqlType::Text),
            [
                (false, "1".into()),
                (true, String::new()),
                (false, "it's".into())
            ]
        );
    }
}
