//! Terms.

use uuid::Uuid;

use super::types::native;
use super::{Keyword, Kind, Parser, Reach, Result, Trouble, content, number};
use crate::cql::ast::{Arithmetic, Literal, Marker, Name, QualifiedName, Term, Type};

impl Parser<'_> {
    /// Any value.
    pub(super) fn term(&mut self) -> Result<Term> {
        if self.depth == 0 {
            self.operators = 0;
        }
        self.enter()?;
        let mut left = self.term_product()?;
        while let Some(operator) = self.sum_operator() {
            if self.column_follows() {
                break;
            }
            self.advance();
            left = self.combine(operator, left, Self::term_product)?;
        }
        if !self.follows_term() {
            return self.no_viable();
        }
        self.look(1);
        self.leave();
        Ok(left)
    }

    pub(super) fn sum_operator(&self) -> Option<Arithmetic> {
        match self.kind() {
            Kind::Symbol("+") => Some(Arithmetic::Add),
            Kind::Symbol("-") => Some(Arithmetic::Subtract),
            _ => None,
        }
    }

    pub(super) fn product_operator(&self) -> Option<Arithmetic> {
        match self.kind() {
            Kind::Symbol("*") => Some(Arithmetic::Multiply),
            Kind::Symbol("/") => Some(Arithmetic::Divide),
            Kind::Symbol("%") => Some(Arithmetic::Modulo),
            _ => None,
        }
    }

    /// `+ c`, where c is a column and no function: the end of `SET c = term + c`.
    fn column_follows(&mut self) -> bool {
        if !self.is_symbol("+") {
            return false;
        }
        match self.ahead(1) {
            Kind::EmptyQuotedName => true,
            kind if Self::names(kind, Reach::Identifier) => {
                !matches!(self.ahead(2), Kind::Symbol("(" | "."))
            }
            _ => false,
        }
    }

    fn combine(
        &mut self,
        operator: Arithmetic,
        left: Term,
        rule: impl FnOnce(&mut Self) -> Result<Term>,
    ) -> Result<Term> {
        self.count_operator()?;
        Ok(Term::Arithmetic {
            operator,
            left: Box::new(left),
            right: Box::new(rule(self)?),
        })
    }

    fn term_product(&mut self) -> Result<Term> {
        let mut left = self.term_group()?;
        while let Some(operator) = self.product_operator() {
            self.advance();
            left = self.combine(operator, left, Self::term_group)?;
        }
        Ok(left)
    }

    fn term_group(&mut self) -> Result<Term> {
        if self.eat_symbol("-") {
            return Ok(Term::Negation(Box::new(self.simple_term()?)));
        }
        self.simple_term()
    }

    fn simple_term(&mut self) -> Result<Term> {
        self.enter()?;
        let term = self.simple_term_inner()?;
        self.leave();
        Ok(term)
    }

    fn simple_term_inner(&mut self) -> Result<Term> {
        if let Some(literal) = self.constant()? {
            return Ok(Term::Literal(literal));
        }
        match self.kind() {
            Kind::Keyword(Keyword::Null) => {
                self.advance();
                Ok(Term::Literal(Literal::Null))
            }
            Kind::QuestionMark => {
                let marker = self.marker()?;
                // The keyspace of a function may be bound, as far as the grammar knows.
                self.check_follow(Self::follows_simple_term)?;
                Ok(Term::Marker(marker))
            }
            Kind::Symbol(":") => Ok(Term::Marker(self.marker()?)),
            Kind::Symbol("[") => self.list_literal(),
            Kind::Symbol("{") => self.brace_literal(),
            Kind::Symbol("(") => self.parenthesis(),
            Kind::Keyword(Keyword::Cast) if self.ahead(1) == Kind::Symbol("(") => self.cast(),
            _ => self.function_term(),
        }
    }

    /// A constant, if one stands here. NULL is none.
    pub(super) fn constant(&mut self) -> Result<Option<Literal>> {
        let token = self.token();
        let raw = self.raw(token);
        let literal = match token.kind {
            Kind::String => Literal::String(content(self.text, token)),
            Kind::Integer => Literal::Integer(raw.into()),
            Kind::Float => {
                if !self.is_at_rest
                    && let Some(why) = number::fails(raw)
                {
                    let text = self.text;
                    return Err(Trouble::Sentence(format!(
                        "Failed parsing statement: [{text}] reason: NumberFormatException {why}"
                    )));
                }
                Literal::Float(raw.into())
            }
            Kind::Boolean => Literal::Boolean(raw.into()),
            Kind::Duration => Literal::Duration(raw.into()),
            Kind::Uuid => {
                Uuid::parse_str(raw).map_err(|e| Trouble::Sentence(format!("{raw}: {e}")))?;
                Literal::Uuid(raw.into())
            }
            Kind::Hex => Literal::Blob(raw.into()),
            Kind::Keyword(Keyword::Nan) | Kind::NegativeNan => Literal::Float("NaN".into()),
            Kind::Keyword(Keyword::Infinity) => Literal::Float("Infinity".into()),
            Kind::NegativeInfinity => Literal::Float("-Infinity".into()),
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(literal))
    }

    /// `?` or `:name`
    pub(super) fn marker(&mut self) -> Result<Marker> {
        let name = match self.kind() {
            Kind::QuestionMark => {
                self.advance();
                None
            }
            Kind::Symbol(":") => {
                self.advance();
                Some(self.ident()?)
            }
            _ => return self.no_viable(),
        };
        let marker = Marker {
            index: self.markers.len(),
            name,
        };
        self.markers.push(marker.clone());
        Ok(marker)
    }

    pub(super) fn is_marker(&self) -> bool {
        matches!(self.kind(), Kind::QuestionMark | Kind::Symbol(":"))
    }

    /// An integer or a marker.
    pub(super) fn int_value(&mut self) -> Result<Term> {
        if self.kind() == Kind::Integer {
            let token = self.advance();
            return Ok(Term::Literal(Literal::Integer(self.raw(token).into())));
        }
        Ok(Term::Marker(self.marker()?))
    }

    fn list_literal(&mut self) -> Result<Term> {
        self.expect_symbol("[")?;
        let mut items = Vec::new();
        if self.starts_term() {
            items = self.list(Self::term)?;
        }
        self.expect_symbol("]")?;
        Ok(Term::List(items))
    }

    /// `{}`, `{a, b}`, `{a: b}` or `{field: b}`
    fn brace_literal(&mut self) -> Result<Term> {
        self.expect_symbol("{")?;
        if self.eat_symbol("}") {
            return Ok(Term::Set(Vec::new()));
        }
        let term = if self.is_name() && self.ahead(1) == Kind::Symbol(":") {
            Term::User(self.list(Self::field_entry)?)
        } else {
            let first = self.term()?;
            match self.kind() {
                Kind::Symbol(":") => self.map_rest(first)?,
                Kind::Symbol("," | "}") => self.set_rest(first)?,
                _ => return self.no_viable(),
            }
        };
        self.expect_symbol("}")?;
        Ok(term)
    }

    fn field_entry(&mut self) -> Result<(Name, Term)> {
        let field = self.ident()?;
        self.expect_symbol(":")?;
        Ok((field, self.term()?))
    }

    pub(super) fn map_entry(&mut self) -> Result<(Term, Term)> {
        let key = self.term()?;
        self.expect_symbol(":")?;
        Ok((key, self.term()?))
    }

    fn map_rest(&mut self, key: Term) -> Result<Term> {
        self.expect_symbol(":")?;
        let mut entries = vec![(key, self.term()?)];
        while self.eat_symbol(",") {
            entries.push(self.map_entry()?);
        }
        Ok(Term::Map(entries))
    }

    fn set_rest(&mut self, first: Term) -> Result<Term> {
        let mut items = vec![first];
        while self.eat_symbol(",") {
            items.push(self.term()?);
        }
        Ok(Term::Set(items))
    }

    /// The classes that a hint names have to be there.
    pub(super) fn check_classes(&self, to: &Type) -> Result<()> {
        match self.is_at_rest {
            true => Ok(()),
            false => to.check_classes().map_err(Trouble::Sentence),
        }
    }

    /// `(a, b)` or `(type) term`
    fn parenthesis(&mut self) -> Result<Term> {
        if let Some(to) = self.type_hint(Self::starts_simple_term) {
            self.check_classes(&to)?;
            return Ok(Term::TypeHint {
                to,
                term: Box::new(self.simple_term()?),
            });
        }
        self.tuple_literal()
    }

    /// The `(type)` before something hinted, if that is what stands here; else the cursor has not moved.
    pub(super) fn type_hint(
        &mut self,
        starts_hinted: impl FnOnce(&mut Self) -> bool,
    ) -> Option<crate::cql::ast::Type> {
        let (at, furthest, depth) = (self.at, self.furthest, self.depth);
        self.advance();
        if let Ok(to) = self.comparator_type()
            && self.eat_symbol(")")
            && starts_hinted(self)
        {
            return Some(to);
        }
        (self.at, self.furthest, self.depth) = (at, furthest, depth);
        None
    }

    fn starts_simple_term(&mut self) -> bool {
        match self.kind() {
            Kind::String
            | Kind::Integer
            | Kind::Float
            | Kind::Boolean
            | Kind::Duration
            | Kind::Uuid
            | Kind::Hex
            | Kind::NegativeNan
            | Kind::NegativeInfinity
            | Kind::QuestionMark
            | Kind::Symbol("[" | "{" | "(")
            | Kind::Keyword(Keyword::Null | Keyword::Nan | Keyword::Infinity | Keyword::Token) => {
                true
            }
            Kind::Symbol(":") => self.marker_if_colon(),
            kind => {
                Self::names(kind, Reach::Identifier)
                    && matches!(self.ahead(1), Kind::Symbol("(" | "."))
            }
        }
    }

    /// Not so if a colon stands here that ends the key of a map: `{('a'): f()}`, not `(type) :marker`.
    pub(super) fn marker_if_colon(&self) -> bool {
        !self.is_symbol(":")
            || Self::names(self.ahead(1), Reach::Identifier)
                && !matches!(self.ahead(2), Kind::Symbol("(" | "."))
    }

    pub(super) fn tuple_literal(&mut self) -> Result<Term> {
        self.expect_symbol("(")?;
        let items = self.list(Self::term)?;
        self.expect_symbol(")")?;
        Ok(Term::Tuple(items))
    }

    fn cast(&mut self) -> Result<Term> {
        self.advance();
        self.expect_symbol("(")?;
        let term = Box::new(self.simple_term()?);
        self.expect_keyword(Keyword::As)?;
        let to = self.native_type()?;
        self.expect_symbol(")")?;
        Ok(Term::Cast { term, to })
    }

    fn function_term(&mut self) -> Result<Term> {
        let starts = self.is_name() || self.is(Keyword::Token);
        if !starts {
            return self.no_viable();
        }
        match self.ahead(1) {
            Kind::Symbol("(") => {}
            Kind::Symbol(".") if !self.is(Keyword::Token) => {}
            _ => return self.no_viable_ahead(1),
        }
        let start = self.at;
        let name = self.function_name()?;
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(Term::Function {
                name,
                arguments: Vec::new(),
            });
        }
        // With or without arguments is one choice, begun at the name.
        if !self.starts_term() {
            return self.no_viable_from(start);
        }
        let arguments = self.list(Self::term)?;
        self.expect_symbol(")")?;
        Ok(Term::Function { name, arguments })
    }

    /// `[ks.]function`
    pub(super) fn function_name(&mut self) -> Result<QualifiedName> {
        if self.is_name() && self.ahead(1) == Kind::Symbol(".") {
            let keyspace = self.keyspace_name()?;
            self.expect_symbol(".")?;
            return Ok(QualifiedName::new(keyspace, self.function_ident()?));
        }
        let name = QualifiedName::local(self.function_ident()?);
        self.check_follow(|parser| parser.follows_function_name())?;
        Ok(name)
    }

    pub(super) fn function_ident(&mut self) -> Result<Name> {
        let kind = self.kind();
        if !Self::names(kind, Reach::Function)
            && !matches!(kind, Kind::Keyword(Keyword::Token | Keyword::Count))
        {
            return self.no_viable();
        }
        let token = self.advance();
        Ok(match token.kind {
            // A word of the grammar keeps its letters here, as in Cassandra, unless it is one that names functions.
            Kind::Keyword(keyword)
                if !matches!(keyword, Keyword::Token | Keyword::Count)
                    && native(keyword).is_none() =>
            {
                Name::exact(self.raw(token))
            }
            _ => self.name_of(token),
        })
    }
}
