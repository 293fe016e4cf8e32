//! SELECT: what is selected, from where, in which order.

use super::{Keyword, Kind, Parser, Reach, Result};
use crate::cql::ast::{
    Arithmetic, CellFact, Direction, Literal, Ordering, OrderingKey, Select, Selectable, Selection,
    Selector,
};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Select> {
        self.expect_keyword(Keyword::Select)?;
        let json = self.eat_modifier(Keyword::Json);
        let distinct = self.eat_modifier(Keyword::Distinct);
        let selection = self.selection()?;
        if matches!(selection, Selection::Items(_)) {
            self.look(usize::from(!self.is(Keyword::From)));
        }
        self.expect_keyword(Keyword::From)?;
        let table = self.table_name()?;
        let relations = match self.eat(Keyword::Where) {
            true => self.where_clause()?,
            false => Vec::new(),
        };
        let mut group_by = Vec::new();
        if self.eat(Keyword::Group) {
            self.expect_keyword(Keyword::By)?;
            group_by = self.list(Self::selectable)?;
        }
        let mut order_by = Vec::new();
        if self.eat(Keyword::Order) {
            self.expect_keyword(Keyword::By)?;
            order_by = self.list(Self::ordering)?;
        }
        let mut per_partition_limit = None;
        if self.eat(Keyword::Per) {
            self.expect_keyword(Keyword::Partition)?;
            self.expect_keyword(Keyword::Limit)?;
            per_partition_limit = Some(self.int_value()?);
        }
        let limit = match self.eat(Keyword::Limit) {
            true => Some(self.int_value()?),
            false => None,
        };
        let allow_filtering = self.eat(Keyword::Allow);
        if allow_filtering {
            self.expect_keyword(Keyword::Filtering)?;
        }
        Ok(Select {
            json,
            distinct,
            selection,
            table,
            relations,
            group_by,
            order_by,
            per_partition_limit,
            limit,
            allow_filtering,
        })
    }

    /// JSON and DISTINCT are also names of columns: they modify only what follows them.
    fn eat_modifier(&mut self, keyword: Keyword) -> bool {
        if !self.is(keyword) || !self.selectable_follows() {
            return false;
        }
        self.advance();
        true
    }

    /// Whether something selectable, or `*`, starts behind this token.
    fn selectable_follows(&mut self) -> bool {
        match self.ahead(1) {
            Kind::Symbol("*") => true,
            // `json AS alias`, unless the column itself is called "as", and may have an alias, too.
            Kind::Keyword(Keyword::As) => {
                let (second, third) = (self.ahead(2), self.ahead(3));
                let is_alias = Self::names(second, Reach::Identifier);
                let has_alias =
                    second == Kind::Keyword(Keyword::As) && Self::names(third, Reach::Identifier);
                !is_alias || has_alias
            }
            kind => Self::starts_selectable(kind) || kind == Kind::Symbol("-"),
        }
    }

    /// Whether an expression without a sign can start with this.
    pub(super) fn starts_selectable(kind: Kind) -> bool {
        match kind {
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
            | Kind::Symbol(":" | "(" | "[" | "{")
            | Kind::Keyword(Keyword::Null | Keyword::Nan | Keyword::Infinity | Keyword::Token) => {
                true
            }
            kind => Self::names(kind, Reach::Identifier),
        }
    }

    /// `*` or a list of selectors.
    pub(super) fn selection(&mut self) -> Result<Selection> {
        if self.eat_symbol("*") {
            return Ok(Selection::All);
        }
        Ok(Selection::Items(self.list(Self::selector)?))
    }

    fn selector(&mut self) -> Result<Selector> {
        let expression = self.selectable()?;
        let alias = match self.eat(Keyword::As) {
            true => Some(self.ident()?),
            false => None,
        };
        Ok(Selector { expression, alias })
    }

    pub(super) fn selectable(&mut self) -> Result<Selectable> {
        if self.depth == 0 {
            self.operators = 0;
        }
        self.enter()?;
        let mut left = self.selectable_product()?;
        while let Some(operator) = self.sum_operator() {
            self.advance();
            left = self.join(operator, left, Self::selectable_product)?;
        }
        self.leave();
        Ok(left)
    }

    fn join(
        &mut self,
        operator: Arithmetic,
        left: Selectable,
        rule: impl FnOnce(&mut Self) -> Result<Selectable>,
    ) -> Result<Selectable> {
        self.count_operator()?;
        Ok(Selectable::Arithmetic {
            operator,
            left: Box::new(left),
            right: Box::new(rule(self)?),
        })
    }

    fn selectable_product(&mut self) -> Result<Selectable> {
        let mut left = self.selectable_group()?;
        while let Some(operator) = self.product_operator() {
            self.advance();
            left = self.join(operator, left, Self::selectable_group)?;
        }
        Ok(left)
    }

    fn selectable_group(&mut self) -> Result<Selectable> {
        self.enter()?;
        let selectable = if self.eat_symbol("-") {
            Selectable::Negation(Box::new(self.selectable_group()?))
        } else {
            let simple = self.selectable_simple()?;
            self.modifiers(simple)?
        };
        self.leave();
        Ok(selectable)
    }

    /// `.field`, `[element]` and `[slice]` behind an expression.
    fn modifiers(&mut self, mut of: Selectable) -> Result<Selectable> {
        loop {
            if self.eat_symbol(".") {
                self.count_operator()?;
                let field = self.ident()?;
                of = Selectable::Field {
                    of: Box::new(of),
                    field,
                };
            } else if self.eat_symbol("[") {
                self.count_operator()?;
                of = self.sub_selection(of)?;
                self.expect_symbol("]")?;
            } else {
                return Ok(of);
            }
        }
    }

    fn sub_selection(&mut self, of: Selectable) -> Result<Selectable> {
        let of = Box::new(of);
        if self.kind() == Kind::Range {
            self.advance();
            let to = Some(Box::new(self.term()?));
            return Ok(Selectable::Slice { of, from: None, to });
        }
        let key = Box::new(self.term()?);
        if self.kind() != Kind::Range {
            return Ok(Selectable::Element { of, key });
        }
        self.advance();
        let to = match self.is_symbol("]") {
            true => None,
            false => Some(Box::new(self.term()?)),
        };
        let from = Some(key);
        Ok(Selectable::Slice { of, from, to })
    }

    fn selectable_simple(&mut self) -> Result<Selectable> {
        if let Some(literal) = self.constant()? {
            return Ok(Selectable::Literal(literal));
        }
        match self.kind() {
            Kind::Keyword(Keyword::Null) => {
                self.advance();
                Ok(Selectable::Literal(Literal::Null))
            }
            Kind::Symbol(":") | Kind::QuestionMark => Ok(Selectable::Marker(self.marker()?)),
            Kind::Symbol("(") => self.selectable_parenthesis(),
            Kind::Symbol("[") => {
                self.advance();
                let mut items = Vec::new();
                if self.starts_term() {
                    items = self.list(Self::selectable)?;
                }
                self.expect_symbol("]")?;
                Ok(Selectable::List(items))
            }
            Kind::Symbol("{") => self.selectable_braces(),
            _ => self.column_or_function(),
        }
    }

    /// `(type) a`, `(a)` or `(a, b)`
    fn selectable_parenthesis(&mut self) -> Result<Selectable> {
        let hint = self.type_hint(|parser| {
            // These go on with the clause, though each may be the name of a column.
            let beyond = parser.is(Keyword::As)
                || parser.is(Keyword::Per) && parser.ahead(1) == Kind::Keyword(Keyword::Partition);
            !beyond && Self::starts_selectable(parser.kind()) && parser.marker_if_colon()
        });
        if let Some(to) = hint {
            self.check_classes(&to)?;
            self.enter()?;
            let expression = Box::new(self.selectable_simple()?);
            self.leave();
            return Ok(Selectable::TypeHint { to, expression });
        }
        self.expect_symbol("(")?;
        let items = self.list(Self::selectable)?;
        self.expect_symbol(")")?;
        Ok(Selectable::Tuple(items))
    }

    fn selectable_braces(&mut self) -> Result<Selectable> {
        self.expect_symbol("{")?;
        if self.eat_symbol("}") {
            return Ok(Selectable::Set(Vec::new()));
        }
        let first = self.selectable()?;
        let whole = if self.eat_symbol(":") {
            let mut entries = vec![(first, self.selectable()?)];
            while self.eat_symbol(",") {
                let key = self.selectable()?;
                self.expect_symbol(":")?;
                entries.push((key, self.selectable()?));
            }
            Selectable::Map(entries)
        } else {
            let mut items = vec![first];
            while self.eat_symbol(",") {
                items.push(self.selectable()?);
            }
            Selectable::Set(items)
        };
        self.expect_symbol("}")?;
        Ok(whole)
    }

    fn column_or_function(&mut self) -> Result<Selectable> {
        let kind = self.kind();
        if !self.is_name() {
            return match kind {
                Kind::Keyword(Keyword::Token) if self.ahead(1) == Kind::Symbol("(") => {
                    self.selectable_function()
                }
                Kind::Keyword(Keyword::Token) => self.no_viable_ahead(1),
                _ => self.no_viable(),
            };
        }
        let next = self.ahead(1);
        if next == Kind::Symbol("(") {
            match kind {
                Kind::Keyword(Keyword::Count) if self.ahead(2) == Kind::Symbol("*") => {
                    self.advance();
                    self.advance();
                    self.advance();
                    self.expect_symbol(")")?;
                    return Ok(Selectable::CountRows);
                }
                Kind::Keyword(Keyword::Writetime) => return self.cell_fact(CellFact::WriteTime),
                Kind::Keyword(Keyword::Maxwritetime) => {
                    return self.cell_fact(CellFact::MaxWriteTime);
                }
                Kind::Keyword(Keyword::Ttl) => return self.cell_fact(CellFact::Ttl),
                Kind::Keyword(Keyword::Cast) => return self.selectable_cast(),
                _ => return self.selectable_function(),
            }
        }
        let qualified = next == Kind::Symbol(".") && self.function_call_at(2);
        if qualified {
            return self.selectable_function();
        }
        let column = self.ident()?;
        self.check_follow(|parser| parser.follows_selectable())?;
        Ok(Selectable::Column(column))
    }

    /// Whether `name(` stands that many tokens ahead.
    fn function_call_at(&mut self, distance: usize) -> bool {
        let kind = self.ahead(distance);
        let name = Self::names(kind, Reach::Function)
            || matches!(kind, Kind::Keyword(Keyword::Token | Keyword::Count));
        name && self.ahead(distance + 1) == Kind::Symbol("(")
    }

    fn selectable_function(&mut self) -> Result<Selectable> {
        let name = self.function_name()?;
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(Selectable::Function {
                name,
                arguments: Vec::new(),
            });
        }
        let arguments = self.list(Self::selectable)?;
        self.expect_symbol(")")?;
        Ok(Selectable::Function { name, arguments })
    }

    fn cell_fact(&mut self, fact: CellFact) -> Result<Selectable> {
        self.advance();
        self.expect_symbol("(")?;
        let column = Selectable::Column(self.ident()?);
        let of = Box::new(self.modifiers(column)?);
        self.expect_symbol(")")?;
        Ok(Selectable::CellFact { fact, of })
    }

    fn selectable_cast(&mut self) -> Result<Selectable> {
        self.advance();
        self.expect_symbol("(")?;
        let expression = Box::new(self.selectable()?);
        self.expect_keyword(Keyword::As)?;
        let to = self.native_type()?;
        self.expect_symbol(")")?;
        Ok(Selectable::Cast { expression, to })
    }

    fn ordering(&mut self) -> Result<Ordering> {
        let column = self.column_ident()?;
        let by = match self.eat(Keyword::Ann) {
            true => {
                self.expect_keyword(Keyword::Of)?;
                OrderingKey::Ann {
                    column,
                    near: self.term()?,
                }
            }
            false => OrderingKey::Column(column),
        };
        let direction = match self.eat(Keyword::Desc) {
            true => Direction::Descending,
            false => {
                self.eat(Keyword::Asc);
                Direction::Ascending
            }
        };
        Ok(Ordering { by, direction })
    }
}
