//! Which statement it is: the first keyword, and the second where many share the first.

use super::{Keyword, Kind, Parser, Reach, Result, Trouble};
use crate::cql::ast::{Describe, DescribeTarget, Statement};

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Result<Statement> {
        let Kind::Keyword(keyword) = self.kind() else {
            if self.is_word(0, "restore") && self.ahead(1) == Kind::Keyword(Keyword::Table) {
                return self.restore_table();
            }
            return self.no_viable();
        };
        match keyword {
            Keyword::Select => Ok(Statement::Select(self.select()?)),
            Keyword::Insert => Ok(Statement::Insert(self.insert()?)),
            Keyword::Update => Ok(Statement::Update(self.update()?)),
            Keyword::Delete => Ok(Statement::Delete(self.delete()?)),
            Keyword::Begin => Ok(Statement::Batch(self.batch()?)),
            Keyword::Use => {
                self.advance();
                Ok(Statement::Use(self.keyspace_name()?))
            }
            Keyword::Truncate => {
                self.advance();
                self.eat(Keyword::Table);
                Ok(Statement::Truncate(self.table_name()?))
            }
            Keyword::Create => self.create(),
            Keyword::Alter => self.alter(),
            Keyword::Drop => self.drop(),
            Keyword::Grant => self.grant(),
            Keyword::Revoke => self.revoke(),
            Keyword::List => self.list_statement(),
            Keyword::Add => self.add_identity(),
            Keyword::Describe | Keyword::Desc => Ok(Statement::Describe(self.describe()?)),
            _ => self.no_viable(),
        }
    }

    fn create(&mut self) -> Result<Statement> {
        let Kind::Keyword(what) = self.ahead(1) else {
            return self.no_viable_ahead(1);
        };
        match what {
            Keyword::Keyspace => self.create_keyspace(),
            Keyword::Table => self.create_table(),
            Keyword::Index | Keyword::Custom => self.create_index(),
            Keyword::User => self.create_user(),
            Keyword::Trigger => self.create_trigger(),
            Keyword::Type => self.create_type(),
            Keyword::Function => self.create_function(),
            Keyword::Aggregate => self.create_aggregate(),
            Keyword::Role => self.create_role(),
            Keyword::Materialized => self.create_view(),
            Keyword::Or => match (self.ahead(2), self.ahead(3)) {
                (Kind::Keyword(Keyword::Replace), Kind::Keyword(Keyword::Function)) => {
                    self.create_function()
                }
                (Kind::Keyword(Keyword::Replace), Kind::Keyword(Keyword::Aggregate)) => {
                    self.create_aggregate()
                }
                (Kind::Keyword(Keyword::Replace), _) => self.no_viable_ahead(3),
                _ => self.no_viable_ahead(2),
            },
            _ => self.no_viable_ahead(1),
        }
    }

    fn alter(&mut self) -> Result<Statement> {
        match self.ahead(1) {
            Kind::Keyword(Keyword::Table) => self.alter_table(),
            Kind::Keyword(Keyword::Keyspace) => self.alter_keyspace(),
            Kind::Keyword(Keyword::User) => self.alter_user(),
            Kind::Keyword(Keyword::Type) => self.alter_type(),
            Kind::Keyword(Keyword::Role) => self.alter_role(),
            Kind::Keyword(Keyword::Materialized) => self.alter_view(),
            _ => self.no_viable_ahead(1),
        }
    }

    fn drop(&mut self) -> Result<Statement> {
        match self.ahead(1) {
            Kind::Keyword(Keyword::Keyspace) => self.drop_keyspace(),
            Kind::Keyword(Keyword::Table) => self.drop_table(),
            Kind::Keyword(Keyword::Index) => self.drop_index(),
            Kind::Keyword(Keyword::User) => self.drop_user(),
            Kind::Keyword(Keyword::Trigger) => self.drop_trigger(),
            Kind::Keyword(Keyword::Type) => self.drop_type(),
            Kind::Keyword(Keyword::Function) => self.drop_function(),
            Kind::Keyword(Keyword::Aggregate) => self.drop_aggregate(),
            Kind::Keyword(Keyword::Role) => self.drop_role(),
            Kind::Keyword(Keyword::Materialized) => self.drop_view(),
            Kind::Keyword(Keyword::Identity) => self.drop_identity(),
            _ => self.no_viable_ahead(1),
        }
    }

    fn describe(&mut self) -> Result<Describe> {
        self.advance();
        let target = self.describe_target()?;
        let internals = self.eat(Keyword::With);
        if internals {
            self.expect_keyword(Keyword::Internals)?;
        }
        Ok(Describe { target, internals })
    }

    fn describe_target(&mut self) -> Result<DescribeTarget> {
        let Kind::Keyword(keyword) = self.kind() else {
            return self.describe_any();
        };
        let named = |parser: &mut Self| {
            parser.advance();
            parser.table_name()
        };
        Ok(match keyword {
            Keyword::Full => {
                self.advance();
                self.expect_keyword(Keyword::Schema)?;
                DescribeTarget::Schema { full: true }
            }
            Keyword::Only if self.ahead(1) == Kind::Keyword(Keyword::Keyspace) => {
                self.advance();
                self.describe_keyspace(true)?
            }
            Keyword::Keyspace => self.describe_keyspace(false)?,
            Keyword::Table => DescribeTarget::Table(named(self)?),
            Keyword::Index => DescribeTarget::Index(named(self)?),
            Keyword::Materialized => {
                self.advance();
                self.expect(Kind::Keyword(Keyword::View))?;
                DescribeTarget::View(self.table_name()?)
            }
            Keyword::Type if self.names_follow() => {
                self.advance();
                DescribeTarget::Type(self.user_type_name()?)
            }
            Keyword::Function | Keyword::Aggregate
                if self.ahead(1) == Kind::Keyword(Keyword::Token) =>
            {
                self.advance();
                let name = self.function_name()?;
                match keyword {
                    Keyword::Function => DescribeTarget::Function(name),
                    _ => DescribeTarget::Aggregate(name),
                }
            }
            Keyword::Function if self.names_follow() => {
                self.advance();
                DescribeTarget::Function(self.function_name()?)
            }
            Keyword::Aggregate if self.names_follow() => {
                self.advance();
                DescribeTarget::Aggregate(self.function_name()?)
            }
            Keyword::Type | Keyword::Function | Keyword::Aggregate if !self.describe_ends() => {
                return self.no_viable_ahead(1);
            }
            Keyword::Cluster => self.describe_word(DescribeTarget::Cluster),
            Keyword::Schema => {
                self.advance();
                DescribeTarget::Schema { full: false }
            }
            Keyword::Keyspaces => self.describe_word(DescribeTarget::Keyspaces),
            Keyword::Tables => self.describe_word(DescribeTarget::Tables),
            Keyword::Types => self.describe_word(DescribeTarget::Types),
            Keyword::Functions => self.describe_word(DescribeTarget::Functions),
            Keyword::Aggregates => self.describe_word(DescribeTarget::Aggregates),
            _ => self.describe_any()?,
        })
    }

    fn describe_word(&mut self, target: DescribeTarget) -> DescribeTarget {
        self.advance();
        self.look(1);
        target
    }

    /// Whether a name stands behind the keyword here, so that it is not itself the name of something.
    fn names_follow(&mut self) -> bool {
        Self::names(self.ahead(1), Reach::Identifier)
    }

    /// Whether a bare name may end behind this token.
    fn describe_ends(&mut self) -> bool {
        matches!(
            self.ahead(1),
            Kind::Symbol("." | ";") | Kind::End | Kind::Keyword(Keyword::With)
        )
    }

    fn describe_keyspace(&mut self, only: bool) -> Result<DescribeTarget> {
        self.expect_keyword(Keyword::Keyspace)?;
        let keyspace = match self.is_name() || self.kind() == Kind::QuestionMark {
            true => Some(self.keyspace_name()?),
            false => None,
        };
        Ok(DescribeTarget::Keyspace { only, keyspace })
    }

    fn describe_any(&mut self) -> Result<DescribeTarget> {
        if self.kind() == Kind::QuestionMark {
            return Err(Trouble::NoViable {
                decision: self.at,
                at: self.at,
            });
        }
        Ok(DescribeTarget::Any(self.table_name()?))
    }
}
