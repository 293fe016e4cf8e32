//! A statement without its literals, for traces and logs.
//!
//! What must hold: no string, number, blob, UUID, duration or boolean of the text is in what comes back, and neither is a comment. A text that is no
//! statement has no redacted form at all: what stands in it as a name may be a value whose quotes were forgotten.

use super::lexer;
use super::token::Kind;

/// The statement with `?` in place of each literal; None if it is no statement.
pub fn redacted(text: &str) -> Option<String> {
    super::parse(text).ok()?;
    let tokens = lexer::read(text).tokens;
    let mut out = String::with_capacity(text.len().min(1 << 10));
    let mut end = 0;
    for token in tokens {
        let (start, stop) = (token.start as usize, token.end as usize);
        if start > end && !out.is_empty() {
            out.push(' ');
        }
        end = stop;
        match token.kind {
            Kind::String
            | Kind::Integer
            | Kind::Float
            | Kind::Boolean
            | Kind::Duration
            | Kind::Uuid
            | Kind::Hex
            | Kind::NegativeNan
            | Kind::NegativeInfinity => out.push('?'),
            Kind::End => {}
            _ => out.push_str(text.get(start..stop)?),
        }
    }
    out.truncate(out.trim_end().len());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn literals_and_comments_are_gone_and_the_rest_stays() {
        for (text, shown) in [
            (
                "SELECT a FROM ks.t  WHERE k = 'secret' AND c IN (1, -2.5, 0xAB) -- 'why'\n LIMIT 10;",
                "SELECT a FROM ks.t WHERE k = ? AND c IN (?, ?, ?) LIMIT ?;",
            ),
            (
                "INSERT INTO t (k, m) VALUES (550e8400-e29b-41d4-a716-446655440000, {'a': true, $$b$$: P1Y})",
                "INSERT INTO t (k, m) VALUES (?, {?: ?, ?: ?})",
            ),
            (
                "UPDATE t /* 'x' */ SET u = {street: 'Main'} WHERE k = :key",
                "UPDATE t SET u = {street: ?} WHERE k = :key",
            ),
        ] {
            assert_eq!(redacted(text).as_deref(), Some(shown));
        }
    }

    #[test]
    fn what_is_no_statement_is_not_shown() {
        for text in [
            "SELECT secret",
            "INSERT INTO t (k) VALUES ('secret",
            "secret",
        ] {
            assert_eq!(redacted(text), None);
        }
    }
}
