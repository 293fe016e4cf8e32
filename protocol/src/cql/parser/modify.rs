//! INSERT, UPDATE, DELETE and BATCH.

use std::collections::HashSet;

use super::{Keyword, Kind, Parser, Reach, Result, Trouble, content};
use crate::cql::ast::{
    Assignment, Attribute, Batch, BatchKind, ColumnCondition, Condition, ConditionTarget,
    ConditionTest, Delete, DeleteTarget, Insert, InsertValues, JsonDefault, JsonValue, Literal,
    Modification, Name, Term, Update, Using,
};

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Result<Insert> {
        self.expect_keyword(Keyword::Insert)?;
        self.expect_keyword(Keyword::Into)?;
        let table = self.table_name()?;
        let values = match self.kind() {
            Kind::Symbol("(") => self.insert_columns()?,
            Kind::Keyword(Keyword::Json) => self.insert_json()?,
            _ => return self.no_viable(),
        };
        let if_not_exists = self.eat_if_not_exists()?;
        let using = self.using()?;
        Ok(Insert {
            table,
            values,
            if_not_exists,
            using,
        })
    }

    fn insert_columns(&mut self) -> Result<InsertValues> {
        self.expect_symbol("(")?;
        let columns = self.list(Self::column_ident)?;
        self.expect_symbol(")")?;
        self.expect_keyword(Keyword::Values)?;
        self.expect_symbol("(")?;
        let terms = self.list(Self::term)?;
        self.expect_symbol(")")?;
        Ok(InsertValues::Columns { columns, terms })
    }

    fn insert_json(&mut self) -> Result<InsertValues> {
        self.advance();
        let value = match self.kind() {
            Kind::String => {
                let token = self.advance();
                JsonValue::Text(content(self.text, token))
            }
            _ => JsonValue::Marker(self.marker()?),
        };
        let mut default = JsonDefault::Null;
        if self.eat(Keyword::Default) {
            if self.eat(Keyword::Unset) {
                default = JsonDefault::Unset;
            } else if !self.eat(Keyword::Null) {
                return self.no_viable();
            }
        }
        Ok(InsertValues::Json { value, default })
    }

    fn using(&mut self) -> Result<Using> {
        if !self.eat(Keyword::Using) {
            return Ok(Using::default());
        }
        let attributes = self.conjunction(|parser| {
            if parser.eat(Keyword::Timestamp) {
                return Ok(Attribute::Timestamp(parser.int_value()?));
            }
            if parser.eat(Keyword::Ttl) {
                return Ok(Attribute::Ttl(parser.int_value()?));
            }
            parser.no_viable()
        })?;
        Ok(Using { attributes })
    }

    pub(super) fn update(&mut self) -> Result<Update> {
        self.expect_keyword(Keyword::Update)?;
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_keyword(Keyword::Set)?;
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut assigned = Assigned::default();
        loop {
            let assignment = self.assignment()?;
            if !assigned.takes(&assignment) {
                return Err(Trouble::Sentence(format!(
                    "Multiple incompatible setting of column {}",
                    assignment.column().as_str()
                )));
            }
            assignments.push(assignment);
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_keyword(Keyword::Where)?;
        let relations = self.where_clause()?;
        let condition = self.condition()?;
        Ok(Update {
            table,
            using,
            assignments,
            relations,
            condition,
        })
    }

    fn assignment(&mut self) -> Result<Assignment> {
        let column = self.column_ident()?;
        match self.kind() {
            Kind::Symbol("=") => {
                self.advance();
                self.assigned(column)
            }
            Kind::Symbol("+=") => {
                self.advance();
                let value = self.term()?;
                Ok(Assignment::Add { column, value })
            }
            Kind::Symbol("-=") => {
                self.advance();
                let value = self.term()?;
                Ok(Assignment::Subtract { column, value })
            }
            Kind::Symbol("[") => {
                self.advance();
                let key = self.term()?;
                self.expect_symbol("]")?;
                self.expect_symbol("=")?;
                let value = self.term()?;
                Ok(Assignment::Element { column, key, value })
            }
            Kind::Symbol(".") => {
                self.advance();
                let field = self.ident()?;
                self.expect_symbol("=")?;
                let value = self.term()?;
                Ok(Assignment::Field {
                    column,
                    field,
                    value,
                })
            }
            _ => self.no_viable(),
        }
    }

    /// Behind `c =`: a term, `term + c`, `c + term`, `c - term`, or `c -3`, which is a column and a negative integer.
    fn assigned(&mut self, column: Name) -> Result<Assignment> {
        let kind = self.kind();
        let named = Self::names(kind, Reach::Identifier) || kind == Kind::EmptyQuotedName;
        if !named || matches!(self.ahead(1), Kind::Symbol("(" | ".")) {
            let value = self.term()?;
            if !self.eat_symbol("+") {
                return Ok(Assignment::Set { column, value });
            }
            if self.column_ident()? != column {
                return Err(Trouble::Sentence(
                    "Only expressions of the form X = <value> + X are supported.".into(),
                ));
            }
            return Ok(Assignment::Prepend { column, value });
        }
        if !matches!(self.ahead(1), Kind::Symbol("+" | "-") | Kind::Integer) {
            return self.no_viable_ahead(1);
        }
        let other = self.column_ident()?;
        let token = self.advance();
        let (sign, value) = match token.kind {
            Kind::Integer => {
                let integer = self.raw(token).to_owned();
                let sign = if integer.starts_with('-') { "- " } else { "+ " };
                (sign, Term::Literal(Literal::Integer(integer)))
            }
            Kind::Symbol("+") => ("+", self.term()?),
            _ => ("-", self.term()?),
        };
        if other != column {
            return Err(Trouble::Sentence(format!(
                "Only expressions of the form X = X {sign}<value> are supported."
            )));
        }
        Ok(match token.kind {
            Kind::Symbol("-") => Assignment::Subtract { column, value },
            _ => Assignment::Add { column, value },
        })
    }

    fn condition(&mut self) -> Result<Condition> {
        if !self.eat(Keyword::If) {
            return Ok(Condition::None);
        }
        // A column may be called "exists": then something is asked of it.
        let exists = self.is(Keyword::Exists)
            && !matches!(
                self.ahead(1),
                Kind::Symbol("=" | "!=" | "<" | "<=" | ">" | ">=" | "[" | ".")
                    | Kind::Keyword(Keyword::In | Keyword::Contains)
            );
        if exists {
            self.advance();
            return Ok(Condition::Exists);
        }
        Ok(Condition::Columns(
            self.conjunction(Self::column_condition)?,
        ))
    }

    fn column_condition(&mut self) -> Result<ColumnCondition> {
        let column = self.column_ident()?;
        let target = if self.eat_symbol("[") {
            let key = self.term()?;
            self.expect_symbol("]")?;
            ConditionTarget::Element(column, key)
        } else if self.eat_symbol(".") {
            ConditionTarget::Field(column, self.ident()?)
        } else {
            ConditionTarget::Column(column)
        };
        let test = if let Some(operator) = self.eat_operator() {
            ConditionTest::Compare(operator, self.term()?)
        } else if self.eat(Keyword::In) {
            ConditionTest::In(self.in_values()?)
        } else if matches!(target, ConditionTarget::Column(_)) && self.eat(Keyword::Contains) {
            let key = self.eat_key();
            let value = self.term()?;
            ConditionTest::Contains { key, value }
        } else {
            return self.no_viable();
        };
        Ok(ColumnCondition { target, test })
    }

    pub(super) fn delete(&mut self) -> Result<Delete> {
        self.expect_keyword(Keyword::Delete)?;
        let kind = self.kind();
        let named = Self::names(kind, Reach::Identifier) || kind == Kind::EmptyQuotedName;
        let targets = match named {
            true => self.list(Self::delete_target)?,
            false => Vec::new(),
        };
        self.expect_keyword(Keyword::From)?;
        let table = self.table_name()?;
        let mut using = Using::default();
        if self.eat(Keyword::Using) {
            self.expect_keyword(Keyword::Timestamp)?;
            using
                .attributes
                .push(Attribute::Timestamp(self.int_value()?));
        }
        self.expect_keyword(Keyword::Where)?;
        let relations = self.where_clause()?;
        let condition = self.condition()?;
        Ok(Delete {
            targets,
            table,
            using,
            relations,
            condition,
        })
    }

    fn delete_target(&mut self) -> Result<DeleteTarget> {
        let column = self.column_ident()?;
        if self.eat_symbol("[") {
            let key = self.term()?;
            self.expect_symbol("]")?;
            return Ok(DeleteTarget::Element(column, key));
        }
        if self.eat_symbol(".") {
            return Ok(DeleteTarget::Field(column, self.ident()?));
        }
        self.check_follow(|parser| {
            matches!(
                parser.kind(),
                Kind::Symbol(",") | Kind::Keyword(Keyword::From)
            )
        })?;
        Ok(DeleteTarget::Column(column))
    }

    pub(super) fn batch(&mut self) -> Result<Batch> {
        self.expect_keyword(Keyword::Begin)?;
        let kind = if self.eat(Keyword::Unlogged) {
            BatchKind::Unlogged
        } else if self.eat(Keyword::Counter) {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_keyword(Keyword::Batch)?;
        let using = self.using()?;
        let mut statements = Vec::new();
        loop {
            let statement = match self.kind() {
                Kind::Keyword(Keyword::Insert) => Modification::Insert(self.insert()?),
                Kind::Keyword(Keyword::Update) => Modification::Update(self.update()?),
                Kind::Keyword(Keyword::Delete) => Modification::Delete(self.delete()?),
                _ => break,
            };
            statements.push(statement);
            self.eat_symbol(";");
        }
        self.expect_keyword(Keyword::Apply)?;
        self.expect_keyword(Keyword::Batch)?;
        Ok(Batch {
            kind,
            using,
            statements,
        })
    }
}

/// What a statement has assigned so far.
#[derive(Default)]
struct Assigned {
    columns: HashSet<Name>,
    whole: HashSet<Name>,
    fields: HashSet<(Name, Name)>,
}

impl Assigned {
    /// Notes one more. False if it contradicts another: a whole column is set, and set or changed once more, or one field is set twice.
    fn takes(&mut self, assignment: &Assignment) -> bool {
        let column = assignment.column();
        let is_new = self.columns.insert(column.clone());
        match assignment {
            Assignment::Set { .. } => {
                self.whole.insert(column.clone());
                is_new
            }
            _ if self.whole.contains(column) => false,
            Assignment::Field { field, .. } => self.fields.insert((column.clone(), field.clone())),
            _ => true,
        }
    }
}
