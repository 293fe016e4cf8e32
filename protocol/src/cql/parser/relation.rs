//! Relations: the conditions of WHERE, which SELECT, UPDATE, DELETE and views share.

use super::{Keyword, Kind, Parser, Reach, Result, Trouble};
use crate::cql::ast::{InValues, Name, Operator, Relation, Term};

impl Parser<'_> {
    pub(super) fn where_clause(&mut self) -> Result<Vec<Relation>> {
        self.conjunction(Self::relation)
    }

    fn relation(&mut self) -> Result<Relation> {
        match self.kind() {
            Kind::Expr => self.custom_index_expression(),
            Kind::Keyword(Keyword::Token) => self.token_relation(),
            Kind::Symbol("(") => {
                let kind = self.ahead(1);
                let column = Self::names(kind, Reach::Identifier) || kind == Kind::EmptyQuotedName;
                if column && matches!(self.ahead(2), Kind::Symbol("," | ")")) {
                    return self.tuple_relation();
                }
                let inner = column
                    || matches!(
                        kind,
                        Kind::Expr | Kind::Symbol("(") | Kind::Keyword(Keyword::Token)
                    );
                if !inner {
                    return self.no_viable_ahead(1);
                }
                self.enter()?;
                self.advance();
                let relation = self.relation()?;
                self.expect_symbol(")")?;
                self.leave();
                Ok(relation)
            }
            _ => self.column_relation(),
        }
    }

    fn custom_index_expression(&mut self) -> Result<Relation> {
        self.advance();
        let index = self.ident_of("index")?;
        self.expect_symbol(",")?;
        let value = self.term()?;
        self.expect_symbol(")")?;
        Ok(Relation::CustomIndex { index, value })
    }

    /// The comparison here, if there is one.
    pub(super) fn eat_operator(&mut self) -> Option<Operator> {
        let operator = match self.kind() {
            Kind::Symbol("=") => Operator::Equal,
            Kind::Symbol("!=") => Operator::NotEqual,
            Kind::Symbol("<") => Operator::Less,
            Kind::Symbol("<=") => Operator::LessOrEqual,
            Kind::Symbol(">") => Operator::Greater,
            Kind::Symbol(">=") => Operator::GreaterOrEqual,
            _ => return None,
        };
        self.advance();
        Some(operator)
    }

    pub(super) fn operator(&mut self) -> Result<Operator> {
        match self.eat_operator() {
            Some(operator) => Ok(operator),
            None => self.no_viable(),
        }
    }

    /// `low AND high`
    fn range<T>(&mut self, rule: impl Fn(&mut Self) -> Result<T>) -> Result<(T, T)> {
        let low = rule(self)?;
        self.expect_keyword(Keyword::And)?;
        Ok((low, rule(self)?))
    }

    fn column_relation(&mut self) -> Result<Relation> {
        let start = self.at;
        let column = self.column_ident()?;
        if let Some(operator) = self.eat_operator() {
            let value = self.term()?;
            return Ok(Relation::Column {
                column,
                operator,
                value,
            });
        }
        if self.eat_word("between") {
            let (low, high) = self.range(Self::term)?;
            return Ok(Relation::Between { column, low, high });
        }
        match self.kind() {
            Kind::Symbol("[") => self.element_relation(column),
            Kind::Keyword(Keyword::Like) => {
                self.advance();
                let pattern = self.term()?;
                Ok(Relation::Like { column, pattern })
            }
            Kind::Keyword(Keyword::Is) => {
                self.advance();
                self.expect_keyword(Keyword::Not)?;
                self.expect_keyword(Keyword::Null)?;
                Ok(Relation::IsNotNull { column })
            }
            Kind::Keyword(Keyword::Not) => match self.ahead(1) {
                Kind::Keyword(Keyword::In) => {
                    self.advance();
                    self.in_relation(column, true)
                }
                Kind::Keyword(Keyword::Contains) => {
                    self.advance();
                    self.contains_relation(column, true)
                }
                _ => self.no_viable_from(start),
            },
            Kind::Keyword(Keyword::In) => self.in_relation(column, false),
            Kind::Keyword(Keyword::Contains) => self.contains_relation(column, false),
            _ => self.no_viable_from(start),
        }
    }

    /// No way on from here, for a choice begun earlier.
    pub(super) fn no_viable_from<T>(&self, decision: usize) -> Result<T> {
        Err(Trouble::NoViable {
            decision,
            at: self.at,
        })
    }

    fn element_relation(&mut self, column: Name) -> Result<Relation> {
        self.expect_symbol("[")?;
        let key = self.term()?;
        self.expect_symbol("]")?;
        let operator = self.operator()?;
        let value = self.term()?;
        Ok(Relation::Element {
            column,
            key,
            operator,
            value,
        })
    }

    fn in_relation(&mut self, column: Name, negated: bool) -> Result<Relation> {
        self.expect_keyword(Keyword::In)?;
        let values = self.in_values()?;
        Ok(Relation::In {
            column,
            negated,
            values,
        })
    }

    /// The KEY of CONTAINS KEY; before a dot it is the keyspace of a function.
    pub(super) fn eat_key(&mut self) -> bool {
        self.ahead(1) != Kind::Symbol(".") && self.eat(Keyword::Key)
    }

    fn contains_relation(&mut self, column: Name, negated: bool) -> Result<Relation> {
        self.expect_keyword(Keyword::Contains)?;
        let key = self.eat_key();
        let value = self.term()?;
        Ok(Relation::Contains {
            column,
            negated,
            key,
            value,
        })
    }

    /// `(a, b)`, `()` or a marker.
    pub(super) fn in_values(&mut self) -> Result<InValues> {
        if self.is_marker() {
            return Ok(InValues::Marker(self.marker()?));
        }
        if !self.is_symbol("(") {
            return self.no_viable();
        }
        self.advance();
        if self.eat_symbol(")") {
            return Ok(InValues::Terms(Vec::new()));
        }
        let terms = self.list(Self::term)?;
        self.expect_symbol(")")?;
        Ok(InValues::Terms(terms))
    }

    fn column_tuple(&mut self) -> Result<Vec<Name>> {
        self.expect_symbol("(")?;
        let columns = self.list(Self::column_ident)?;
        self.expect_symbol(")")?;
        Ok(columns)
    }

    fn token_relation(&mut self) -> Result<Relation> {
        self.expect_keyword(Keyword::Token)?;
        let columns = self.column_tuple()?;
        if self.eat_word("between") {
            let (low, high) = self.range(Self::term)?;
            return Ok(Relation::TokenBetween { columns, low, high });
        }
        let operator = self.operator()?;
        let value = self.term()?;
        Ok(Relation::Token {
            columns,
            operator,
            value,
        })
    }

    fn tuple_relation(&mut self) -> Result<Relation> {
        let columns = self.column_tuple()?;
        if self.eat_word("between") {
            let (low, high) = self.range(Self::tuple_value)?;
            return Ok(Relation::TupleBetween { columns, low, high });
        }
        let negated = self.is(Keyword::Not) && self.ahead(1) == Kind::Keyword(Keyword::In);
        if negated {
            self.advance();
        }
        if self.eat(Keyword::In) {
            let values = self.tuple_in_values()?;
            return Ok(Relation::TupleIn {
                columns,
                negated,
                values,
            });
        }
        let start = self.at;
        let operator = self.operator()?;
        if !self.is_marker() && !self.is_symbol("(") {
            return self.no_viable_from(start);
        }
        let value = self.tuple_value()?;
        Ok(Relation::Tuple {
            columns,
            operator,
            value,
        })
    }

    /// A tuple literal or a marker.
    fn tuple_value(&mut self) -> Result<Term> {
        if self.is_marker() {
            return Ok(Term::Marker(self.marker()?));
        }
        if !self.is_symbol("(") {
            return self.no_viable();
        }
        self.tuple_literal()
    }

    /// `()`, a marker, tuples, or markers for tuples.
    fn tuple_in_values(&mut self) -> Result<InValues> {
        if self.is_marker() {
            return Ok(InValues::Marker(self.marker()?));
        }
        if !self.is_symbol("(") {
            return self.no_viable();
        }
        self.advance();
        if self.eat_symbol(")") {
            return Ok(InValues::Terms(Vec::new()));
        }
        let terms = self.list(Self::tuple_value)?;
        self.expect_symbol(")")?;
        Ok(InValues::Terms(terms))
    }
}
