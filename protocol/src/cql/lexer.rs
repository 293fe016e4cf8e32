//! Text to tokens.
//!
//! The whole statement becomes a vector at once, without copying: a token is a kind and a range of bytes. What no token
//! starts with is skipped and remembered as a [`Blemish`]: whether it or the parser's own complaint comes first is
//! decided when an error is made.
//!
//! What must hold: tokens do not overlap, stand in text order, begin and end on character borders, and the last one is
//! [`Kind::End`] at the end of the text.

use super::TOKENS_MAX;
use super::token::{Keyword, Kind, Token};

/// A place where no token can be read.
#[derive(Debug, Clone)]
pub(crate) struct Blemish {
    /// Bytes from the start of the text.
    pub offset: usize,
    /// What the lexer says about it.
    pub words: String,
}

/// What reading a text gives: its tokens, and the first place that is none.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub tokens: Vec<Token>,
    pub blemish: Option<Blemish>,
    /// There would have been more than [`TOKENS_MAX`].
    pub overflowed: bool,
}

/// Tokens per byte of a usual statement, as a first guess for the vector: one in four.
const BYTES_PER_TOKEN: usize = 4;

/// The first guess is never more than this: long statements mostly hold long literals.
const TOKENS_FIRST_MAX: usize = 1024;

pub(crate) fn read(text: &str) -> Tokens {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        blemish: None,
    };
    let mut tokens = Vec::with_capacity((text.len() / BYTES_PER_TOKEN + 2).min(TOKENS_FIRST_MAX));
    let mut overflowed = false;
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        if start == text.len() {
            break;
        }
        if tokens.len() == TOKENS_MAX {
            overflowed = true;
            break;
        }
        if let Some(kind) = lexer.next() {
            tokens.push(Token {
                kind,
                start: start as u32,
                end: lexer.at as u32,
            });
        }
    }
    tokens.push(Token {
        kind: Kind::End,
        start: text.len() as u32,
        end: text.len() as u32,
    });
    Tokens {
        tokens,
        blemish: lexer.blemish,
        overflowed,
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    blemish: Option<Blemish>,
}

const UUID_SHAPE: &[u8] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
const DURATION_SHAPE: &[u8] = b"P0000-00-00T00:00:00";

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Lexer<'_> {
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn blemish(&mut self, offset: usize, words: String) {
        if self.blemish.is_none() {
            self.blemish = Some(Blemish { offset, words });
        }
    }

    /// White space and comments. A comment that never ends takes the rest of the text.
    fn skip_blank(&mut self) {
        loop {
            match (self.byte(0), self.byte(1)) {
                (b' ' | b'\t' | b'\n' | b'\r', _) => self.at += 1,
                (b'-', b'-') | (b'/', b'/') => {
                    let rest = &self.bytes[self.at..];
                    let length = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    self.at += length.unwrap_or(rest.len());
                }
                (b'/', b'*') => match self.text[self.at + 2..].find("*/") {
                    Some(length) => self.at += length + 4,
                    None => {
                        self.blemish(
                            self.text.len(),
                            "mismatched character '<EOF>' expecting '*'".into(),
                        );
                        self.at = self.text.len();
                    }
                },
                _ => return,
            }
        }
    }

    /// Reads one token, or skips one character that starts none.
    fn next(&mut self) -> Option<Kind> {
        let first = self.byte(0);
        match first {
            b'a'..=b'z' | b'A'..=b'Z' => Some(self.word()),
            b'0'..=b'9' => Some(self.number(0)),
            b'-' => Some(self.dash()),
            b'\'' => self.quoted(b'\'', Kind::String),
            b'"' if self.byte(1) == b'"' && self.byte(2) != b'"' => {
                self.at += 2;
                Some(Kind::EmptyQuotedName)
            }
            b'"' => self.quoted(b'"', Kind::QuotedName),
            b'$' => self.dollars(),
            b'?' => self.take(1, Kind::QuestionMark),
            _ => self.symbol(first),
        }
    }

    fn take(&mut self, length: usize, kind: Kind) -> Option<Kind> {
        self.at += length;
        Some(kind)
    }

    fn symbol(&mut self, first: u8) -> Option<Kind> {
        let (length, kind) = match (first, self.byte(1)) {
            (b'.', b'.') => (2, Kind::Range),
            (b'<', b'=') => (2, Kind::Symbol("<=")),
            (b'>', b'=') => (2, Kind::Symbol(">=")),
            (b'!', b'=') => (2, Kind::Symbol("!=")),
            (b'+', b'=') => (2, Kind::Symbol("+=")),
            (b'.', _) => (1, Kind::Symbol(".")),
            (b',', _) => (1, Kind::Symbol(",")),
            (b';', _) => (1, Kind::Symbol(";")),
            (b':', _) => (1, Kind::Symbol(":")),
            (b'(', _) => (1, Kind::Symbol("(")),
            (b')', _) => (1, Kind::Symbol(")")),
            (b'[', _) => (1, Kind::Symbol("[")),
            (b']', _) => (1, Kind::Symbol("]")),
            (b'{', _) => (1, Kind::Symbol("{")),
            (b'}', _) => (1, Kind::Symbol("}")),
            (b'<', _) => (1, Kind::Symbol("<")),
            (b'>', _) => (1, Kind::Symbol(">")),
            (b'=', _) => (1, Kind::Symbol("=")),
            (b'+', _) => (1, Kind::Symbol("+")),
            (b'*', _) => (1, Kind::Symbol("*")),
            (b'/', _) => (1, Kind::Symbol("/")),
            (b'%', _) => (1, Kind::Symbol("%")),
            _ => return self.stranger(),
        };
        self.take(length, kind)
    }

    /// A character no token starts with.
    fn stranger(&mut self) -> Option<Kind> {
        let start = self.at;
        let stranger = self.text[start..].chars().next()?;
        self.at += stranger.len_utf8();
        self.blemish(
            start,
            format!("no viable alternative at character '{stranger}'"),
        );
        None
    }

    /// A quoted text; two quotes inside mean one.
    fn quoted(&mut self, quote: u8, kind: Kind) -> Option<Kind> {
        let mut at = self.at + 1;
        while let Some(length) = self.bytes[at..].iter().position(|b| *b == quote) {
            at += length + 1;
            if self.bytes.get(at) != Some(&quote) {
                self.at = at;
                return Some(kind);
            }
            at += 1;
        }
        self.unfinished(quote as char)
    }

    fn unfinished(&mut self, quote: char) -> Option<Kind> {
        self.at = self.text.len();
        self.blemish(
            self.at,
            format!("mismatched character '<EOF>' expecting '{quote}'"),
        );
        None
    }

    /// `$$ anything $$`
    fn dollars(&mut self) -> Option<Kind> {
        if self.byte(1) != b'$' {
            return self.stranger();
        }
        match self.text[self.at + 2..].find("$$") {
            Some(length) => self.take(length + 4, Kind::String),
            None => self.unfinished('$'),
        }
    }

    /// Everything that can start with a minus sign.
    fn dash(&mut self) -> Kind {
        let kind = match self.byte(1) {
            b'0'..=b'9' => return self.number(1),
            b'P' => self.iso_duration(1).map(|length| (length, Kind::Duration)),
            b'n' | b'N' => self.named_number(b"nan", Kind::NegativeNan),
            b'i' | b'I' => self.named_number(b"infinity", Kind::NegativeInfinity),
            b'=' => Some((2, Kind::Symbol("-="))),
            _ => None,
        };
        let (length, kind) = kind.unwrap_or((1, Kind::Symbol("-")));
        self.at += length;
        kind
    }

    /// `-NaN` or `-Infinity`, in any case.
    fn named_number(&self, name: &[u8], kind: Kind) -> Option<(usize, Kind)> {
        let found = self.bytes.get(self.at + 1..self.at + 1 + name.len())?;
        let ends = !is_word(self.byte(1 + name.len()));
        (found.eq_ignore_ascii_case(name) && ends).then_some((1 + name.len(), kind))
    }

    /// A keyword, identifier, boolean, or what looks like one: a uuid or an ISO 8601 duration.
    fn word(&mut self) -> Kind {
        if let Some(length) = self.uuid() {
            self.at += length;
            return Kind::Uuid;
        }
        if self.byte(0) == b'P'
            && let Some(length) = self.iso_duration(0)
        {
            self.at += length;
            return Kind::Duration;
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| !is_word(*b));
        let length = length.unwrap_or(rest.len());
        let word = &self.text[self.at..self.at + length];
        if word == "expr" && self.byte(length) == b'(' {
            self.at += length + 1;
            return Kind::Expr;
        }
        self.at += length;
        match Keyword::find(word) {
            Some(keyword) => Kind::Keyword(keyword),
            None if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") => {
                Kind::Boolean
            }
            None => Kind::Ident,
        }
    }

    fn uuid(&self) -> Option<usize> {
        let found = self.bytes.get(self.at..self.at + UUID_SHAPE.len())?;
        let fits = found
            .iter()
            .zip(UUID_SHAPE)
            .all(|(byte, shape)| match shape {
                b'-' => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        fits.then_some(UUID_SHAPE.len())
    }

    /// Digits from `from` bytes ahead on.
    fn digits(&self, from: usize) -> usize {
        let mut length = 0;
        while self.byte(from + length).is_ascii_digit() {
            length += 1;
        }
        length
    }

    /// An integer, float, duration, uuid or blob; `sign` is 1 behind a minus sign.
    fn number(&mut self, sign: usize) -> Kind {
        if sign == 0 {
            if let Some(length) = self.uuid() {
                self.at += length;
                return Kind::Uuid;
            }
            if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X') {
                self.at += 2;
                while self.byte(0).is_ascii_hexdigit() {
                    self.at += 1;
                }
                return Kind::Hex;
            }
        }
        let mut length = sign + self.digits(sign);
        if self.unit(length) > 0 {
            self.at += self.unit_duration(length);
            return Kind::Duration;
        }
        let mut kind = Kind::Integer;
        let range = self.byte(length + 1) == b'.' && self.byte(length + 2) != b'.';
        if self.byte(length) == b'.' && !range {
            length += 1;
            length += self.digits(length);
            kind = Kind::Float;
        }
        if matches!(self.byte(length), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(length + 1), b'+' | b'-'));
            let digits = self.digits(length + 1 + sign);
            if digits > 0 {
                length += 1 + sign + digits;
                kind = Kind::Float;
            }
        }
        self.at += length;
        kind
    }

    /// How long the unit of time is that stands `from` bytes ahead; 0 if none does.
    fn unit(&self, from: usize) -> usize {
        let lower = |ahead: usize| self.byte(from + ahead).to_ascii_lowercase();
        match (lower(0), lower(1)) {
            (b'm', b'o' | b's') | (b'u' | b'n', b's') => 2,
            (b'y' | b'w' | b'd' | b'h' | b'm' | b's', _) => 1,
            // The micro sign is two bytes in UTF-8.
            (0xC2, 0xB5) if lower(2) == b's' => 3,
            _ => 0,
        }
    }

    /// `1y2mo3d`: the length, given where the first number ends.
    fn unit_duration(&self, first_number: usize) -> usize {
        let mut length = first_number + self.unit(first_number);
        loop {
            let digits = self.digits(length);
            let unit = self.unit(length + digits);
            if digits == 0 || unit == 0 {
                return length;
            }
            length += digits + unit;
        }
    }

    /// `P1Y2M3DT4H5M6S`, `P1W` or `P0001-02-03T04:05:06`: the length with the sign, if a word ends there.
    fn iso_duration(&self, sign: usize) -> Option<usize> {
        if let Some(found) = self
            .bytes
            .get(self.at + sign..self.at + sign + DURATION_SHAPE.len())
        {
            let fits = found
                .iter()
                .zip(DURATION_SHAPE)
                .all(|(byte, shape)| match shape {
                    b'0' => byte.is_ascii_digit(),
                    _ => byte == shape,
                });
            if fits {
                return Some(sign + DURATION_SHAPE.len());
            }
        }
        let mut length = sign + 1;
        let weeks = self.digits(length);
        if weeks > 0 && self.byte(length + weeks) == b'W' {
            length += weeks + 1;
        } else {
            length += self.designators(length, b"YMD");
            if self.byte(length) == b'T' {
                match self.designators(length + 1, b"HMS") {
                    0 => return None,
                    time => length += 1 + time,
                }
            }
        }
        (length > sign + 1 && !is_word(self.byte(length))).then_some(length)
    }

    /// Numbers with designators in the order given, each at most once.
    fn designators(&self, from: usize, order: &[u8]) -> usize {
        let mut length = 0;
        for designator in order {
            let digits = self.digits(from + length);
            if digits > 0 && self.byte(from + length + digits) == *designator {
                length += digits + 1;
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let read = read(text);
        assert!(read.blemish.is_none(), "{:?}", read.blemish);
        read.tokens.iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers_know_what_they_are() {
        use Kind::*;
        for (text, kind) in [
            ("12", Integer),
            ("-12", Integer),
            ("1.", Float),
            ("-1.5e-3", Float),
            ("1e5", Float),
            ("0xCAfe", Hex),
            ("0x", Hex),
            ("1y2mo", Duration),
            ("5us", Duration),
            ("5µs", Duration),
            ("-P1Y2DT3S", Duration),
            ("PT3S", Duration),
            ("P3W", Duration),
            ("P0001-02-03T04:05:06", Duration),
            ("123e4567-e89b-12d3-a456-426655440000", Uuid),
            ("abcdefab-e89b-12d3-a456-426655440000", Uuid),
            ("-nAn", NegativeNan),
            ("-infinity", NegativeInfinity),
        ] {
            assert_eq!(kinds(text), [kind, End], "{text}");
        }
        assert_eq!(kinds("1..2"), [Integer, Range, Integer, End]);
        assert_eq!(kinds("1...2"), [Float, Range, Integer, End]);
        assert_eq!(kinds("P1Day"), [Ident, End]);
        assert_eq!(kinds("p1d"), [Ident, End]);
        assert_eq!(kinds("a-1"), [Ident, Integer, End]);
    }

    #[test]
    fn quotes_and_comments_hide_what_is_inside() {
        use Kind::*;
        assert_eq!(kinds("'it''s; --' -- no"), [String, End]);
        assert_eq!(kinds("$$ it's $ $$ // no\n x"), [String, Ident, End]);
        assert_eq!(
            kinds(r#""a""b" "" """""#),
            [QuotedName, EmptyQuotedName, QuotedName, End]
        );
        assert_eq!(kinds("/* a /* b */ x"), [Ident, End]);
    }

    #[test]
    fn strangers_are_skipped_and_remembered() {
        let read = read("a ^ é b");
        assert_eq!(read.tokens.len(), 3);
        let blemish = read.blemish.unwrap();
        assert_eq!(blemish.offset, 2);
        assert_eq!(blemish.words, "no viable alternative at character '^'");
    }
}
