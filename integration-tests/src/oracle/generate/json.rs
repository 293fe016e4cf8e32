//! Values as INSERT JSON takes them.

use super::types::Type;
use super::values;
use crate::chance::Chance;

/// The same for an element of a set or a key of a map: see `values::element`.
fn element(chance: &mut Chance, ty: &Type) -> String {
    let value = value(chance, ty);
    match value.trim_matches('"') {
        "0.0" if *ty == Type::Native("decimal") => value.replace("0.0", "0"),
        "1.50" if *ty == Type::Native("decimal") => value.replace("1.50", "1.5"),
        _ => value,
    }
}

/// Whether two values of a type are spelled in two ways only if they differ.
fn has_one_spelling(ty: &Type) -> bool {
    match ty {
        Type::Native(name) => !matches!(
            *name,
            "date" | "time" | "timestamp" | "decimal" | "duration"
        ),
        _ => false,
    }
}

/// A value of a type as JSON.
pub fn value(chance: &mut Chance, ty: &Type) -> String {
    if chance.below(25) == 0 {
        return ["null", "1", "\"x\"", "[]", "{}", "true"][chance.below(6)].to_owned();
    }
    match ty {
        Type::Frozen(inner) => value(chance, inner),
        Type::List(inner) => {
            let parts: Vec<String> = (0..chance.below(4)).map(|_| value(chance, inner)).collect();
            format!("[{}]", parts.join(", "))
        }
        Type::Set(inner) => {
            let parts: Vec<String> = (0..chance.below(4))
                .map(|_| element(chance, inner))
                .collect();
            format!("[{}]", parts.join(", "))
        }
        Type::Vector(inner, length) => {
            let parts: Vec<String> = (0..*length).map(|_| value(chance, inner)).collect();
            format!("[{}]", parts.join(", "))
        }
        Type::Tuple(types) => {
            let parts: Vec<String> = types.iter().map(|ty| value(chance, ty)).collect();
            format!("[{}]", parts.join(", "))
        }
        Type::Map(key, inner) => {
            // Of two spellings of one key Cassandra takes either, at random.
            let count = match has_one_spelling(key) {
                true => chance.below(3),
                false => chance.below(2),
            };
            let parts: Vec<String> = (0..count)
                .map(|_| {
                    let key = element(chance, key);
                    // A key that is no string is written as JSON inside of one.
                    let key = match key.starts_with('"') {
                        true => key,
                        false => format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")),
                    };
                    format!("{key}: {}", value(chance, inner))
                })
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Type::User(user) => {
            let parts: Vec<String> = user
                .fields
                .iter()
                .map(|(name, ty)| format!("\"{name}\": {}", value(chance, ty)))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        Type::Native(name) => {
            let literal = values::value(chance, ty).text;
            let bare = literal
                .trim_start_matches("$$")
                .trim_end_matches("$$")
                .trim_matches('\'')
                .replace("''", "'");
            match *name {
                "boolean" => bare.to_lowercase(),
                // Cassandra reads a bare decimal as a double, and its scale is lost; that is kept apart from everything else.
                "bigint" | "counter" | "double" | "float" | "int" | "smallint" | "tinyint"
                | "varint"
                    if chance.below(4) > 0 && !bare.contains("N") && !bare.contains("Inf") =>
                {
                    bare
                }
                _ => format!("\"{bare}\""),
            }
        }
    }
}
