//! The parser: a cursor over tokens that goes down the grammar by recursion.
//!
//! One function for each rule of the grammar, in the order the grammar tries them, because that order decides what an
//! error says. Where a rule must choose and no way fits, the failure is "no viable alternative"; where it must see one
//! certain token, "mismatched input". Nothing is recovered: the first failure ends the statement.
//!
//! What must hold: recursion is counted ([`NESTING_MAX`]), and so are operators, because a chain of them becomes a deep
//! tree ([`OPERATORS_MAX`]). The cursor never moves past the end token.

mod follow;
mod modify;
mod number;
mod object_name;
mod permission;
mod relation;
mod role;
mod schema;
mod select;
mod statement;
mod table;
mod term;
mod types;

use super::ast::{Marker, Name, QualifiedName, Statement, Type};
use super::error::{SyntaxError, Trouble, content};
use super::lexer::{self, Tokens};
use super::token::{Keyword, Kind, Reach, Token};
use super::{NESTING_MAX, OPERATORS_MAX, STATEMENT_BYTES_MAX, TOKENS_MAX};
pub(super) use types::RESERVED_TYPE_NAMES;

type Result<T, E = Trouble> = std::result::Result<T, E>;

/// Reads one statement; semicolons may follow.
pub(super) fn parse(text: &str) -> Result<(Statement, Vec<Marker>), SyntaxError> {
    run(text, |parser| parser.whole_statement())
}

/// Reads one that was taken before, whatever is said of such ones today.
pub(super) fn parse_at_rest(text: &str) -> Result<Statement, SyntaxError> {
    run(text, |parser| {
        parser.is_at_rest = true;
        parser.whole_statement().map(|(statement, _)| statement)
    })
}

/// Reads a type, alone.
pub(super) fn parse_type(text: &str) -> Result<Type, SyntaxError> {
    run(text, |parser| {
        let of = parser.comparator_type()?;
        parser.expect(Kind::End)?;
        Ok(of)
    })
}

fn run<T>(text: &str, rule: impl FnOnce(&mut Parser<'_>) -> Result<T>) -> Result<T, SyntaxError> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(SyntaxError::sentence(format!(
            "Statement of {} bytes is longer than {STATEMENT_BYTES_MAX}",
            text.len()
        )));
    }
    let read = lexer::read(text);
    if read.overflowed {
        return Err(SyntaxError::sentence(format!(
            "Statement has more than {TOKENS_MAX} tokens"
        )));
    }
    let mut parser = Parser {
        text,
        read,
        at: 0,
        furthest: 0,
        depth: 0,
        operators: 0,
        markers: Vec::new(),
        is_at_rest: false,
    };
    match rule(&mut parser) {
        Ok(value) => match SyntaxError::blemish(text, &parser.read) {
            Some(error) => Err(error),
            None => Ok(value),
        },
        Err(trouble) => Err(SyntaxError::new(
            text,
            &parser.read,
            parser.furthest,
            trouble,
        )),
    }
}

struct Parser<'a> {
    text: &'a str,
    read: Tokens,
    /// The token the cursor stands on.
    at: usize,
    /// The last token anything has looked at: error snippets end there.
    furthest: usize,
    /// Rules that recursed into themselves and are not done.
    depth: usize,
    /// Operators in the outermost term so far.
    operators: usize,
    markers: Vec<Marker>,
    /// What is written was taken before: constants and classes are not judged again.
    is_at_rest: bool,
}

impl Parser<'_> {
    fn whole_statement(&mut self) -> Result<(Statement, Vec<Marker>)> {
        let statement = self.statement()?;
        while self.eat_symbol(";") {}
        self.expect(Kind::End)?;
        Ok((statement, std::mem::take(&mut self.markers)))
    }

    fn token(&self) -> Token {
        self.read.tokens[self.at]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    /// The kind of a token further on.
    fn ahead(&self, distance: usize) -> Kind {
        let at = (self.at + distance).min(self.read.tokens.len() - 1);
        self.read.tokens[at].kind
    }

    /// Remembers that tokens so far ahead have been looked at, as Cassandra's parser does to decide.
    fn look(&mut self, distance: usize) {
        let at = (self.at + distance).min(self.read.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        if token.kind != Kind::End {
            self.at += 1;
            self.furthest = self.furthest.max(self.at);
        }
        token
    }

    fn raw(&self, token: Token) -> &str {
        &self.text[token.start as usize..token.end as usize]
    }

    fn is(&self, keyword: Keyword) -> bool {
        self.kind() == Kind::Keyword(keyword)
    }

    fn is_symbol(&self, symbol: &'static str) -> bool {
        self.kind() == Kind::Symbol(symbol)
    }

    fn eat(&mut self, keyword: Keyword) -> bool {
        let found = self.is(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn eat_symbol(&mut self, symbol: &'static str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, kind: Kind) -> Result<Token> {
        if self.kind() != kind {
            return Err(Trouble::Mismatch {
                at: self.at,
                expecting: kind,
            });
        }
        Ok(self.advance())
    }

    fn expect_keyword(&mut self, keyword: Keyword) -> Result<()> {
        self.expect(Kind::Keyword(keyword)).map(drop)
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<()> {
        self.expect(Kind::Symbol(symbol)).map(drop)
    }

    /// No way on from here.
    fn no_viable<T>(&self) -> Result<T> {
        Err(Trouble::NoViable {
            decision: self.at,
            at: self.at,
        })
    }

    /// No way on from here, and it shows only `distance` tokens later.
    fn no_viable_ahead<T>(&mut self, distance: usize) -> Result<T> {
        let at = (self.at + distance).min(self.read.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        Err(Trouble::NoViable {
            decision: self.at,
            at,
        })
    }

    /// Whether the token `distance` further on is a word of ours that is no keyword.
    fn is_word(&self, distance: usize, word: &str) -> bool {
        self.ahead(distance) == Kind::Ident
            && self
                .raw(self.read.tokens[self.at + distance])
                .eq_ignore_ascii_case(word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        if found {
            self.advance();
        }
        found
    }

    /// One level further down.
    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(Trouble::Sentence(format!(
                "Statement is nested more than {NESTING_MAX} levels deep"
            )));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// One operator more in this term.
    fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(Trouble::Sentence(format!(
                "Term has more than {OPERATORS_MAX} operators"
            )));
        }
        Ok(())
    }

    /// `rule (',' rule)*`
    fn list<T>(&mut self, mut rule: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![rule(self)?];
        while self.eat_symbol(",") {
            items.push(rule(self)?);
        }
        Ok(items)
    }

    /// `rule (AND rule)*`
    fn conjunction<T>(&mut self, mut rule: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![rule(self)?];
        while self.eat(Keyword::And) {
            items.push(rule(self)?);
        }
        Ok(items)
    }

    fn eat_if_not_exists(&mut self) -> Result<bool> {
        if !self.eat(Keyword::If) {
            return Ok(false);
        }
        self.expect_keyword(Keyword::Not)?;
        self.expect_keyword(Keyword::Exists)?;
        Ok(true)
    }

    fn eat_if_exists(&mut self) -> Result<bool> {
        if !self.eat(Keyword::If) {
            return Ok(false);
        }
        self.expect_keyword(Keyword::Exists)?;
        Ok(true)
    }

    fn string(&mut self) -> Result<String> {
        let token = self.expect(Kind::String)?;
        Ok(content(self.text, token))
    }

    /// Whether a token of this kind can be a name where keywords of this reach may.
    fn names(kind: Kind, reach: Reach) -> bool {
        match kind {
            Kind::Ident | Kind::QuotedName => true,
            Kind::Keyword(keyword) => keyword.reach() >= reach,
            _ => false,
        }
    }

    fn is_name(&self) -> bool {
        Self::names(self.kind(), Reach::Identifier)
    }

    /// The name a token is; the caller has checked that it is one.
    fn name_of(&self, token: Token) -> Name {
        match token.kind {
            Kind::QuotedName | Kind::EmptyQuotedName => Name::exact(content(self.text, token)),
            _ => Name::unquoted(self.raw(token)),
        }
    }

    /// An identifier.
    fn ident(&mut self) -> Result<Name> {
        if !self.is_name() {
            return self.no_viable();
        }
        let token = self.advance();
        Ok(self.name_of(token))
    }

    /// An identifier, or `""`.
    fn column_ident(&mut self) -> Result<Name> {
        if self.kind() == Kind::EmptyQuotedName {
            let token = self.advance();
            return Ok(self.name_of(token));
        }
        self.ident()
    }

    /// A name of something that cannot be bound; `?` gets its own sentence.
    fn ident_of(&mut self, what: &str) -> Result<Name> {
        if self.kind() == Kind::QuestionMark {
            return Err(Trouble::Sentence(format!(
                "Bind variables cannot be used for {what} names"
            )));
        }
        self.ident()
    }

    fn keyspace_name(&mut self) -> Result<Name> {
        self.ident_of("keyspace")
    }

    /// `[ks.]name`
    fn qualified(&mut self, what: &str) -> Result<QualifiedName> {
        let can_start = self.is_name() || self.kind() == Kind::QuestionMark;
        let dot = can_start && self.ahead(1) == Kind::Symbol(".");
        if !dot {
            return Ok(QualifiedName::local(self.ident_of(what)?));
        }
        let keyspace = self.keyspace_name()?;
        self.expect_symbol(".")?;
        Ok(QualifiedName::new(keyspace, self.ident_of(what)?))
    }

    fn table_name(&mut self) -> Result<QualifiedName> {
        let name = self.qualified("table")?;
        if name.keyspace.is_none() {
            self.check_follow(Self::follows_table)?;
        }
        Ok(name)
    }

    /// A role: an identifier or a string.
    fn role_name(&mut self) -> Result<Name> {
        if self.kind() == Kind::String {
            return Ok(Name::exact(self.string()?));
        }
        self.ident_of("role")
    }
}
