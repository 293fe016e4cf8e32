//! CREATE, ALTER, DROP and RESTORE TABLE.

use std::collections::HashSet;

use super::schema::twice;
use super::{Keyword, Kind, Parser, Result, Trouble};
use crate::cql::ast::{
    AlterTable, AlterTableAction, AlterView, ColumnDefinition, CopyTable, CreateTable, Direction,
    DropTable, Mask, Name, PrimaryKey, RestoreTable, Statement, TableOption,
};

impl Parser<'_> {
    pub(super) fn create_table(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_not_exists = self.eat_if_not_exists()?;
        let table = self.table_name()?;
        if self.eat(Keyword::Like) {
            let source = self.table_name()?;
            let options = match self.eat(Keyword::With) {
                true => self.table_options(Self::copy_option)?,
                false => Vec::new(),
            };
            return Ok(Statement::CopyTable(CopyTable {
                if_not_exists,
                target: table,
                source,
                options,
            }));
        }
        self.expect_symbol("(")?;
        let mut columns = Vec::new();
        let mut primary_keys = Vec::new();
        self.table_item(&mut columns, &mut primary_keys)?;
        while self.eat_symbol(",") {
            if self.is_name() || self.is(Keyword::Primary) {
                self.table_item(&mut columns, &mut primary_keys)?;
            }
        }
        self.expect_symbol(")")?;
        let options = match self.eat(Keyword::With) {
            true => self.table_options(Self::table_option)?,
            false => Vec::new(),
        };
        Ok(Statement::CreateTable(CreateTable {
            if_not_exists,
            table,
            columns,
            primary_keys,
            options,
        }))
    }

    fn table_item(
        &mut self,
        columns: &mut Vec<ColumnDefinition>,
        primary_keys: &mut Vec<PrimaryKey>,
    ) -> Result<()> {
        if self.is(Keyword::Primary) {
            primary_keys.push(self.primary_key()?);
            return Ok(());
        }
        let mut column = self.column_definition()?;
        if self.eat(Keyword::Primary) {
            self.expect_keyword(Keyword::Key)?;
            column.primary_key = true;
        }
        columns.push(column);
        Ok(())
    }

    /// `name type [STATIC] [MASKED WITH ...]`
    fn column_definition(&mut self) -> Result<ColumnDefinition> {
        Ok(ColumnDefinition {
            name: self.ident()?,
            of: self.comparator_type()?,
            is_static: self.eat(Keyword::Static),
            mask: match self.is(Keyword::Masked) {
                true => Some(self.mask()?),
                false => None,
            },
            primary_key: false,
        })
    }

    fn mask(&mut self) -> Result<Mask> {
        self.expect_keyword(Keyword::Masked)?;
        if !self.is(Keyword::With) {
            return self.no_viable_from(self.at - 1);
        }
        self.advance();
        let function = self.is_name() || self.is(Keyword::Token);
        if !function {
            return self.no_viable_from(self.at - 2);
        }
        if self.is(Keyword::Default) && !matches!(self.ahead(1), Kind::Symbol("(" | ".")) {
            self.advance();
            return Ok(Mask::Default);
        }
        let name = self.function_name()?;
        self.expect_symbol("(")?;
        let arguments = match self.is_symbol(")") {
            true => Vec::new(),
            false => self.list(Self::term)?,
        };
        self.expect_symbol(")")?;
        Ok(Mask::Function { name, arguments })
    }

    /// `PRIMARY KEY ((a, b), c)`
    pub(super) fn primary_key(&mut self) -> Result<PrimaryKey> {
        self.expect_keyword(Keyword::Primary)?;
        self.expect_keyword(Keyword::Key)?;
        self.expect_symbol("(")?;
        let partition = if self.eat_symbol("(") {
            let names = self.list(Self::ident)?;
            self.expect_symbol(")")?;
            names
        } else {
            vec![self.ident()?]
        };
        let mut clustering = Vec::new();
        while self.eat_symbol(",") {
            clustering.push(self.ident()?);
        }
        self.expect_symbol(")")?;
        Ok(PrimaryKey {
            partition,
            clustering,
        })
    }

    /// `option (AND option)*`; no property twice.
    pub(super) fn table_options(
        &mut self,
        rule: impl Fn(&mut Self) -> Result<TableOption>,
    ) -> Result<Vec<TableOption>> {
        let mut options: Vec<TableOption> = Vec::new();
        let mut names = HashSet::new();
        loop {
            let option = rule(self)?;
            if let TableOption::Property(property) = &option
                && !names.insert(property.name.clone())
            {
                return Err(twice(property));
            }
            options.push(option);
            if !self.eat(Keyword::And) {
                return Ok(options);
            }
        }
    }

    fn table_option(&mut self) -> Result<TableOption> {
        let fits = match self.kind() {
            Kind::Keyword(Keyword::Compact) => Kind::Keyword(Keyword::Storage),
            Kind::Keyword(Keyword::Clustering) => Kind::Keyword(Keyword::Order),
            _ => self.ahead(1),
        };
        if self.ahead(1) != fits && self.ahead(1) != Kind::Symbol("=") {
            return self.no_viable_ahead(1);
        }
        if self.is(Keyword::Compact) && self.ahead(1) != Kind::Symbol("=") {
            self.advance();
            self.expect_keyword(Keyword::Storage)?;
            return Ok(TableOption::CompactStorage);
        }
        self.clustering_order_or_property()
    }

    pub(super) fn view_option(&mut self) -> Result<TableOption> {
        if self.is(Keyword::Compact) && self.ahead(1) != Kind::Symbol("=") {
            self.advance();
            self.expect_keyword(Keyword::Storage)?;
            return Err(Trouble::Sentence(
                "COMPACT STORAGE tables are not allowed starting with version 4.0".into(),
            ));
        }
        self.clustering_order_or_property()
    }

    fn copy_option(&mut self) -> Result<TableOption> {
        if self.is_word(0, "indexes") && self.ahead(1) != Kind::Symbol("=") {
            self.advance();
            return Ok(TableOption::Indexes);
        }
        Ok(TableOption::Property(self.property()?))
    }

    fn clustering_order_or_property(&mut self) -> Result<TableOption> {
        if !self.is(Keyword::Clustering) || self.ahead(1) == Kind::Symbol("=") {
            return Ok(TableOption::Property(self.property()?));
        }
        self.advance();
        self.expect_keyword(Keyword::Order)?;
        self.expect_keyword(Keyword::By)?;
        self.expect_symbol("(")?;
        let columns = self.list(|parser| {
            let column = parser.ident()?;
            if parser.eat(Keyword::Asc) {
                return Ok((column, Direction::Ascending));
            }
            if parser.eat(Keyword::Desc) {
                return Ok((column, Direction::Descending));
            }
            parser.no_viable()
        })?;
        self.expect_symbol(")")?;
        Ok(TableOption::ClusteringOrder(columns))
    }

    pub(super) fn alter_table(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let table = self.table_name()?;
        let Kind::Keyword(keyword) = self.kind() else {
            return self.no_viable();
        };
        let action = match keyword {
            Keyword::Alter => self.alter_column()?,
            Keyword::Add => self.add_columns()?,
            Keyword::Drop => self.drop_columns()?,
            Keyword::Rename => {
                self.advance();
                AlterTableAction::Rename {
                    if_exists: self.eat_if_exists()?,
                    renames: self.conjunction(Self::rename)?,
                }
            }
            Keyword::With => {
                self.advance();
                AlterTableAction::With(self.properties()?)
            }
            _ => return self.no_viable(),
        };
        Ok(Statement::AlterTable(AlterTable {
            if_exists,
            table,
            action,
        }))
    }

    fn alter_column(&mut self) -> Result<AlterTableAction> {
        self.advance();
        let if_exists = self.eat_if_exists()?;
        let column = self.column_ident()?;
        if !if_exists && self.eat(Keyword::Type) {
            let to = self.comparator_type()?;
            return Ok(AlterTableAction::AlterType { column, to });
        }
        let mask = match self.kind() {
            Kind::Keyword(Keyword::Masked) => Some(self.mask()?),
            Kind::Keyword(Keyword::Drop) => {
                self.advance();
                self.expect_keyword(Keyword::Masked)?;
                None
            }
            _ if if_exists => return self.no_viable(),
            _ => return self.no_viable_from(self.at - 2),
        };
        Ok(AlterTableAction::Mask {
            if_exists,
            column,
            mask,
        })
    }

    fn tags_follow(&mut self) -> bool {
        self.is_word(1, "tags") && self.ahead(2) == Kind::Symbol("{")
    }

    fn add_columns(&mut self) -> Result<AlterTableAction> {
        if self.tags_follow() {
            self.skip_two();
            return Ok(AlterTableAction::AddTags(self.property_map(false)?));
        }
        self.advance();
        let if_not_exists = self.eat_if_not_exists()?;
        let columns = if self.eat_symbol("(") {
            let columns = self.list(Self::column_definition)?;
            self.expect_symbol(")")?;
            columns
        } else {
            vec![self.column_definition()?]
        };
        Ok(AlterTableAction::Add {
            if_not_exists,
            columns,
        })
    }

    fn drop_columns(&mut self) -> Result<AlterTableAction> {
        if self.tags_follow() {
            self.skip_two();
            return Ok(AlterTableAction::DropTags(self.property_map(false)?));
        }
        self.advance();
        if self.is(Keyword::Compact) && self.ahead(1) == Kind::Keyword(Keyword::Storage) {
            self.skip_two();
            return Ok(AlterTableAction::DropCompactStorage);
        }
        let fits = self.is_name() || self.is(Keyword::If) || self.is_symbol("(");
        if !fits {
            return self.no_viable_from(self.at - 1);
        }
        let if_exists = self.eat_if_exists()?;
        let columns: Vec<Name> = if self.eat_symbol("(") {
            let columns = self.list(Self::ident)?;
            self.expect_symbol(")")?;
            columns
        } else {
            vec![self.ident()?]
        };
        let mut timestamp = None;
        if self.eat(Keyword::Using) {
            self.expect_keyword(Keyword::Timestamp)?;
            let token = self.expect(Kind::Integer)?;
            let micros = self
                .raw(token)
                .parse()
                .map_err(|_| Trouble::Sentence(format!("Invalid timestamp {}", self.raw(token))))?;
            timestamp = Some(micros);
        }
        Ok(AlterTableAction::Drop {
            if_exists,
            columns,
            timestamp,
        })
    }

    pub(super) fn drop_table(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let table = self.table_name()?;
        Ok(Statement::DropTable(DropTable { if_exists, table }))
    }

    pub(super) fn alter_view(&mut self) -> Result<Statement> {
        self.skip_two();
        self.expect_keyword(Keyword::View)?;
        let if_exists = self.eat_if_exists()?;
        let view = self.table_name()?;
        self.expect_keyword(Keyword::With)?;
        let properties = self.properties()?;
        Ok(Statement::AlterView(AlterView {
            if_exists,
            view,
            properties,
        }))
    }

    /// `RESTORE TABLE target FROM TABLE source [WITH ...]`
    pub(super) fn restore_table(&mut self) -> Result<Statement> {
        self.skip_two();
        let target = self.table_name()?;
        self.expect_keyword(Keyword::From)?;
        self.expect_keyword(Keyword::Table)?;
        let source = self.table_name()?;
        let properties = match self.eat(Keyword::With) {
            true => self.properties()?,
            false => Vec::new(),
        };
        Ok(Statement::RestoreTable(RestoreTable {
            target,
            source,
            properties,
        }))
    }
}
