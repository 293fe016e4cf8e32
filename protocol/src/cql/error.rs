//! SyntaxError: where the text stopped making sense, in the wording applications match on.
//!
//! ```text
//! line 1:9 mismatched input 'FORM' expecting K_FROM (SELECT * [FORM]...)
//!      ^ ^                                          ^ up to ten tokens before, the offending one in brackets
//!      | column from 0, in UTF-16 units
//!      line from 1
//! ```
//!
//! While parsing, a failure is a [`Trouble`]: two numbers and a kind. The text is made once, at the end.
//! The message quotes the statement, so it belongs to the client that sent it and not into a log.

use super::lexer::Tokens;
use super::token::{Kind, Token};

/// Why a statement is not CQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// From 1; 0 if the error is about the statement as a whole or its end.
    pub line: u32,
    /// From 0; -1 if the error is about the statement as a whole or its end.
    pub column: i32,
    /// The complete text for the client, position included.
    pub message: String,
}

/// A failure inside the parser. Positions are token numbers.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A choice was begun at `decision`, and the token at `at` fits none of the ways on.
    NoViable { decision: usize, at: usize },
    /// One kind of token must stand at `at`.
    Mismatch { at: usize, expecting: Kind },
    /// One of several kinds of token must stand at `at`.
    MismatchedSet { at: usize },
    /// The grammar allows it, a rule beside the grammar does not.
    Sentence(String),
}

/// How many tokens the snippet shows before and behind the offending one. White space counts, as in Cassandra.
const SNIPPET_TOKENS_BEFORE: usize = 10;
const SNIPPET_TOKENS_BEHIND: usize = 2;

impl SyntaxError {
    /// An error without a place: the sentence is the message.
    pub(crate) fn sentence(message: impl Into<String>) -> Self {
        SyntaxError {
            line: 0,
            column: -1,
            message: message.into(),
        }
    }

    /// The text of a failure. `furthest` is the last token the parser has looked at. A blemish before it was seen first.
    pub(crate) fn new(text: &str, read: &Tokens, furthest: usize, trouble: Trouble) -> Self {
        if let Some(blemish) = &read.blemish
            && blemish.offset <= read.tokens[furthest].start as usize
        {
            return Self::blemish(text, read).expect("a blemish was just seen");
        }
        let (bracket, at, expecting) = match trouble {
            Trouble::Sentence(sentence) => return Self::sentence(sentence),
            Trouble::NoViable { decision, at } => (decision, at, None),
            Trouble::Mismatch { at, expecting } => (at, at, Some(expecting.token_name())),
            Trouble::MismatchedSet { at } => (at, at, Some("set null".into())),
        };
        let token = read.tokens[at];
        let (line, column) = match token.kind {
            Kind::End => (0, -1),
            _ => position(text, token.start as usize),
        };
        let shown = match token.kind {
            Kind::End => "<EOF>".into(),
            _ => display(text, token),
        };
        let words = match expecting {
            Some(expecting) => format!("mismatched input '{shown}' expecting {expecting}"),
            None => format!("no viable alternative at input '{shown}'"),
        };
        let snippet = snippet(text, &read.tokens, bracket, furthest).unwrap_or_default();
        SyntaxError {
            line,
            column,
            message: format!("line {line}:{column} {words}{snippet}"),
        }
    }

    /// The complaint of the lexer, if it has one.
    pub(crate) fn blemish(text: &str, read: &Tokens) -> Option<Self> {
        let blemish = read.blemish.as_ref()?;
        let (line, column) = position(text, blemish.offset);
        Some(SyntaxError {
            line,
            column,
            message: format!("line {line}:{column} {}", blemish.words),
        })
    }
}

/// Line from 1 and column from 0, in UTF-16 units, as Java counts.
fn position(text: &str, offset: usize) -> (u32, i32) {
    let before = &text[..offset];
    let line = before.matches('\n').count() as u32 + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, utf16_len(&before[line_start..]) as i32)
}

fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The text of a token without its quotes.
pub(crate) fn content(text: &str, token: Token) -> String {
    let raw = &text[token.start as usize..token.end as usize];
    match token.kind {
        Kind::String if raw.starts_with('$') => raw[2..raw.len() - 2].into(),
        Kind::String => raw[1..raw.len() - 1].replace("''", "'"),
        Kind::QuotedName => raw[1..raw.len() - 1].replace("\"\"", "\""),
        Kind::EmptyQuotedName => String::new(),
        _ => raw.into(),
    }
}

fn display(text: &str, token: Token) -> String {
    let content = match token.kind {
        Kind::EmptyQuotedName => "\"\"".into(),
        _ => content(text, token),
    };
    content
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

/// A token as the snippet sees it, hidden ones (blanks and comments) included.
struct Seen {
    start: usize,
    /// Length of the content, which for quoted tokens is less than what the text has: Cassandra's snippet is cut there.
    length: usize,
    end_of_text: bool,
}

/// The part of the statement around the offending token, in parentheses; `None` where Cassandra shows none.
fn snippet(text: &str, tokens: &[Token], bracket: usize, furthest: usize) -> Option<String> {
    let mut seen = Vec::new();
    let mut bracket_seen = 0;
    let mut end = 0;
    for (number, token) in tokens.iter().enumerate().take(furthest + 1) {
        hidden(text, end, token.start as usize, &mut seen);
        if number == bracket {
            bracket_seen = seen.len();
        }
        let shown = &text[token.start as usize..token.end as usize];
        let length = match token.kind {
            Kind::String | Kind::QuotedName => utf16_len(&content(text, *token)),
            _ => utf16_len(shown),
        };
        seen.push(Seen {
            start: token.start as usize,
            length,
            end_of_text: token.kind == Kind::End,
        });
        end = token.end as usize;
    }
    let from = &seen[bracket_seen.saturating_sub(SNIPPET_TOKENS_BEFORE)];
    let to = &seen[(bracket_seen + SNIPPET_TOKENS_BEHIND).min(seen.len() - 1)];
    let offending = &seen[bracket_seen];
    if to.end_of_text || offending.end_of_text {
        return None;
    }
    Some(cut(text, from, to, offending))
}

/// Blanks (one token for each run) and comments between two tokens.
fn hidden(text: &str, start: usize, end: usize, seen: &mut Vec<Seen>) {
    let gap = &text[start..end];
    let mut at = 0;
    while at < gap.len() {
        let rest = &gap[at..];
        let length = if rest.starts_with("--") || rest.starts_with("//") {
            rest.find(['\n', '\r']).map_or(rest.len(), |at| at + 1)
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else {
            let blanks = rest.find(|c| !matches!(c, ' ' | '\t' | '\n' | '\r'));
            match blanks {
                // A character the lexer skipped is no token.
                Some(0) => {
                    at += rest.chars().next().map_or(1, char::len_utf8);
                    continue;
                }
                Some(blanks) => blanks,
                None => rest.len(),
            }
        };
        seen.push(Seen {
            start: start + at,
            length: utf16_len(&rest[..length]),
            end_of_text: false,
        });
        at += length;
    }
}

/// Lines from the first token to the last, joined without their breaks, the offending token in brackets.
fn cut(text: &str, from: &Seen, to: &Seen, offending: &Seen) -> String {
    let place = |seen: &Seen| {
        let (line, column) = position(text, seen.start);
        (line as usize - 1, column as usize)
    };
    let mut lines: Vec<Vec<u16>> = text
        .split('\n')
        .map(|line| line.encode_utf16().collect())
        .collect();
    while lines.len() > 1 && lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    let (from_line, from_column) = place(from);
    let (to_line, to_column) = place(to);
    let (bad_line, bad_column) = place(offending);
    let last = lines.len() - 1;
    let to_end = to_column + to.length;
    let whole_start = from_line == 0 && from_column == 0;
    let whole_end = to_line == last && to_end == lines[last].len();

    let mut out = String::from(" (");
    if !whole_start {
        out.push_str("...");
    }
    if to_line > last {
        return String::new();
    }
    lines[to_line].truncate(to_end);
    let bad = &mut lines[bad_line];
    let bad_end = (bad_column + offending.length).min(bad.len());
    bad.insert(bad_end, u16::from(b']'));
    bad.insert(bad_column.min(bad_end), u16::from(b'['));
    for (number, line) in lines.iter().enumerate().take(to_line + 1).skip(from_line) {
        let skip = if number == from_line { from_column } else { 0 };
        out.push_str(&String::from_utf16_lossy(&line[skip.min(line.len())..]));
    }
    if !whole_end {
        out.push_str("...");
    }
    out.push(')');
    out
}
