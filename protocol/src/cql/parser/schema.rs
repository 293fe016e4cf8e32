//! Keyspaces, types, indexes, views, functions, aggregates, triggers, and properties.

use std::collections::HashSet;

use super::{Keyword, Kind, Parser, Reach, Result, Trouble};
use crate::cql::ast::{
    AlterKeyspace, AlterType, AlterTypeAction, CreateAggregate, CreateFunction, CreateIndex,
    CreateKeyspace, CreateTrigger, CreateType, CreateView, DropAggregate, DropFunction, DropIndex,
    DropKeyspace, DropTrigger, DropType, DropView, IndexTarget, IndexTargetKind, KeyspaceAction,
    Literal, Name, Property, PropertyMap, PropertyValue, Statement, Term, Type,
};

/// Property names that Amazon Keyspaces takes in any case.
const CASELESS_PROPERTIES: [&str; 2] = [CUSTOM_PROPERTIES, "tags"];
/// The one property whose values are maps.
const CUSTOM_PROPERTIES: &str = "custom_properties";

impl Parser<'_> {
    /// CREATE, ALTER or DROP and the word behind it, which the caller has seen.
    pub(super) fn skip_two(&mut self) {
        self.advance();
        self.advance();
    }

    /// `WITH property (AND property)*`, behind WITH.
    pub(super) fn properties(&mut self) -> Result<Vec<Property>> {
        let mut properties: Vec<Property> = Vec::new();
        let mut names = HashSet::new();
        loop {
            let property = self.property()?;
            if !names.insert(property.name.clone()) {
                return Err(twice(&property));
            }
            properties.push(property);
            if !self.eat(Keyword::And) {
                return Ok(properties);
            }
        }
    }

    pub(super) fn property(&mut self) -> Result<Property> {
        let mut name = self.ident()?;
        for caseless in CASELESS_PROPERTIES {
            if name.as_str().eq_ignore_ascii_case(caseless) {
                name = Name::exact(caseless);
            }
        }
        if !self.is_symbol("=") {
            return self.no_viable_from(self.at - 1);
        }
        self.advance();
        if !self.starts_property_value() {
            return self.no_viable_from(self.at - 2);
        }
        let value = if self.is_symbol("{") {
            let of_maps = name.as_str() == CUSTOM_PROPERTIES;
            PropertyValue::Map(self.property_map(of_maps)?)
        } else {
            self.property_value()?
        };
        Ok(Property { name, value })
    }

    /// A constant or an unreserved keyword.
    fn property_value(&mut self) -> Result<PropertyValue> {
        if let Some(literal) = self.constant()? {
            return Ok(PropertyValue::Literal(literal));
        }
        match self.kind() {
            Kind::Keyword(keyword) if keyword.reach() >= Reach::Identifier => {
                let token = self.advance();
                Ok(PropertyValue::Word(self.raw(token).to_ascii_lowercase()))
            }
            _ => self.no_viable(),
        }
    }

    /// `{'k': 'v'}` with constants; `of_maps`: or maps again as values.
    pub(super) fn property_map(&mut self, of_maps: bool) -> Result<PropertyMap> {
        self.enter()?;
        self.expect_symbol("{")?;
        let mut map: PropertyMap = Vec::new();
        let mut keys = HashSet::new();
        if !self.eat_symbol("}") {
            loop {
                let (key, value) = self.property_entry(of_maps)?;
                if !keys.insert(key.raw_text()) {
                    return Err(Trouble::Sentence(format!(
                        "Multiple definition for property {}",
                        key.raw_text()
                    )));
                }
                map.push((key, value));
                if !self.eat_symbol(",") {
                    break;
                }
            }
            self.expect_symbol("}")?;
        }
        self.leave();
        Ok(map)
    }

    fn property_entry(&mut self, of_maps: bool) -> Result<(Literal, PropertyValue)> {
        let key = self.term()?;
        self.expect_symbol(":")?;
        let value = match of_maps && self.is_symbol("{") {
            true => Ok(PropertyValue::Map(self.property_map(of_maps)?)),
            false => self.term().map(constant)?.map(PropertyValue::Literal),
        };
        let key = constant(key).map_err(|key| {
            let reason = bind_reason(&key);
            Trouble::Sentence(format!("Invalid property name: {key}{reason}"))
        })?;
        let value = value.map_err(|value| {
            let reason = bind_reason(&value);
            Trouble::Sentence(format!(
                "Invalid property value: {value} for property: {}{reason}",
                Term::Literal(key.clone())
            ))
        })?;
        Ok((key, value))
    }

    pub(super) fn create_keyspace(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_not_exists = self.eat_if_not_exists()?;
        let keyspace = self.keyspace_name()?;
        self.expect_keyword(Keyword::With)?;
        let properties = self.properties()?;
        Ok(Statement::CreateKeyspace(CreateKeyspace {
            if_not_exists,
            keyspace,
            properties,
        }))
    }

    pub(super) fn alter_keyspace(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let keyspace = self.keyspace_name()?;
        let action = match self.kind() {
            Kind::Keyword(Keyword::Add) if self.is_word(1, "tags") => {
                self.skip_two();
                KeyspaceAction::AddTags(self.property_map(false)?)
            }
            Kind::Keyword(Keyword::Drop) if self.is_word(1, "tags") => {
                self.skip_two();
                KeyspaceAction::DropTags(self.property_map(false)?)
            }
            _ => {
                self.expect_keyword(Keyword::With)?;
                KeyspaceAction::With(self.properties()?)
            }
        };
        Ok(Statement::AlterKeyspace(AlterKeyspace {
            if_exists,
            keyspace,
            action,
        }))
    }

    pub(super) fn drop_keyspace(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let keyspace = self.keyspace_name()?;
        Ok(Statement::DropKeyspace(DropKeyspace {
            if_exists,
            keyspace,
        }))
    }

    pub(super) fn create_type(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_not_exists = self.eat_if_not_exists()?;
        let name = self.user_type_name()?;
        self.expect_symbol("(")?;
        let mut fields = vec![(self.ident()?, self.comparator_type()?)];
        while self.eat_symbol(",") {
            if self.is_name() {
                fields.push((self.ident()?, self.comparator_type()?));
            }
        }
        self.expect_symbol(")")?;
        Ok(Statement::CreateType(CreateType {
            if_not_exists,
            name,
            fields,
        }))
    }

    pub(super) fn alter_type(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let name = self.user_type_name()?;
        let action = if self.eat(Keyword::Alter) {
            let field = self.ident()?;
            self.expect_keyword(Keyword::Type)?;
            let to = self.comparator_type()?;
            AlterTypeAction::Alter { field, to }
        } else if self.eat(Keyword::Add) {
            let if_not_exists = self.eat_if_not_exists()?;
            AlterTypeAction::Add {
                if_not_exists,
                field: self.ident()?,
                of: self.comparator_type()?,
            }
        } else if self.eat(Keyword::Rename) {
            AlterTypeAction::Rename {
                if_exists: self.eat_if_exists()?,
                renames: self.conjunction(Self::rename)?,
            }
        } else {
            return self.no_viable();
        };
        Ok(Statement::AlterType(AlterType {
            if_exists,
            name,
            action,
        }))
    }

    /// `a TO b`
    pub(super) fn rename(&mut self) -> Result<(Name, Name)> {
        let from = self.ident()?;
        self.expect_keyword(Keyword::To)?;
        Ok((from, self.ident()?))
    }

    pub(super) fn drop_type(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let name = self.user_type_name()?;
        Ok(Statement::DropType(DropType { if_exists, name }))
    }

    pub(super) fn create_index(&mut self) -> Result<Statement> {
        self.advance();
        let custom = self.eat(Keyword::Custom);
        self.expect_keyword(Keyword::Index)?;
        let if_not_exists = self.eat_if_not_exists()?;
        let name = match self.is(Keyword::On) {
            true => None,
            false if self.is_name() || self.kind() == Kind::QuestionMark => {
                Some(self.ident_of("index")?)
            }
            false => None,
        };
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        self.expect_symbol("(")?;
        let mut targets = Vec::new();
        let full = matches!(self.kind(), Kind::Keyword(Keyword::Entries | Keyword::Full));
        if full || self.is_name() || self.kind() == Kind::EmptyQuotedName {
            targets = self.list(Self::index_target)?;
        }
        self.expect_symbol(")")?;
        let class = match self.eat(Keyword::Using) {
            true => Some(self.string()?),
            false => None,
        };
        let properties = match self.eat(Keyword::With) {
            true => self.properties()?,
            false => Vec::new(),
        };
        Ok(Statement::CreateIndex(CreateIndex {
            custom,
            if_not_exists,
            name,
            table,
            targets,
            class,
            properties,
        }))
    }

    fn index_target(&mut self) -> Result<IndexTarget> {
        let kind = match self.kind() {
            Kind::Keyword(Keyword::Values) => IndexTargetKind::Values,
            Kind::Keyword(Keyword::Keys) => IndexTargetKind::Keys,
            Kind::Keyword(Keyword::Entries) => IndexTargetKind::Entries,
            Kind::Keyword(Keyword::Full) => IndexTargetKind::Full,
            _ => IndexTargetKind::Simple,
        };
        if kind == IndexTargetKind::Simple || (self.is_name() && self.ahead(1) != Kind::Symbol("("))
        {
            return Ok(IndexTarget {
                kind: IndexTargetKind::Simple,
                column: self.column_ident()?,
            });
        }
        self.advance();
        self.expect_symbol("(")?;
        let column = self.column_ident()?;
        self.expect_symbol(")")?;
        Ok(IndexTarget { kind, column })
    }

    pub(super) fn drop_index(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let name = self.qualified("index")?;
        if name.keyspace.is_none() {
            self.check_follow(|parser| parser.follows_statement())?;
        }
        Ok(Statement::DropIndex(DropIndex { if_exists, name }))
    }

    pub(super) fn create_view(&mut self) -> Result<Statement> {
        self.skip_two();
        self.expect_keyword(Keyword::View)?;
        let if_not_exists = self.eat_if_not_exists()?;
        let view = self.table_name()?;
        self.expect_keyword(Keyword::As)?;
        self.expect_keyword(Keyword::Select)?;
        let selection = self.selection()?;
        self.expect_keyword(Keyword::From)?;
        let table = self.table_name()?;
        let relations = match self.eat(Keyword::Where) {
            true => self.where_clause()?,
            false => Vec::new(),
        };
        let primary_key = self.primary_key()?;
        let options = match self.eat(Keyword::With) {
            true => self.table_options(Self::view_option)?,
            false => Vec::new(),
        };
        Ok(Statement::CreateView(CreateView {
            if_not_exists,
            view,
            selection,
            table,
            relations,
            primary_key,
            options,
            has_markers: !self.markers.is_empty(),
        }))
    }

    pub(super) fn drop_view(&mut self) -> Result<Statement> {
        self.skip_two();
        self.expect_keyword(Keyword::View)?;
        let if_exists = self.eat_if_exists()?;
        let view = self.table_name()?;
        Ok(Statement::DropView(DropView { if_exists, view }))
    }

    /// `CREATE [OR REPLACE] FUNCTION|AGGREGATE`; whether OR REPLACE was said.
    fn create_or_replace(&mut self) -> bool {
        self.advance();
        let or_replace = self.eat(Keyword::Or);
        if or_replace {
            self.advance();
        }
        self.advance();
        or_replace
    }

    pub(super) fn create_function(&mut self) -> Result<Statement> {
        let or_replace = self.create_or_replace();
        let if_not_exists = self.eat_if_not_exists()?;
        let name = self.function_name()?;
        self.expect_symbol("(")?;
        let mut arguments = Vec::new();
        if !self.is_symbol(")") {
            arguments = self.list(|parser| Ok((parser.ident()?, parser.comparator_type()?)))?;
        }
        self.expect_symbol(")")?;
        let called_on_null = if self.eat(Keyword::Returns) {
            self.expect_keyword(Keyword::Null)?;
            false
        } else if self.eat(Keyword::Called) {
            true
        } else {
            return self.no_viable();
        };
        self.expect_keyword(Keyword::On)?;
        self.expect_keyword(Keyword::Null)?;
        self.expect_keyword(Keyword::Input)?;
        self.expect_keyword(Keyword::Returns)?;
        let returns = self.comparator_type()?;
        self.expect_keyword(Keyword::Language)?;
        let language = self.expect(Kind::Ident)?;
        let language = self.raw(language).to_ascii_lowercase();
        self.expect_keyword(Keyword::As)?;
        let body = self.string()?;
        Ok(Statement::CreateFunction(CreateFunction {
            or_replace,
            if_not_exists,
            name,
            arguments,
            called_on_null,
            returns,
            language,
            body,
        }))
    }

    /// `(type, ...)`, maybe empty.
    pub(super) fn argument_types(&mut self) -> Result<Vec<Type>> {
        self.expect_symbol("(")?;
        let mut types = Vec::new();
        if self.starts_type() {
            types = self.list(Self::comparator_type)?;
        }
        self.expect_symbol(")")?;
        Ok(types)
    }

    fn optional_argument_types(&mut self) -> Result<Option<Vec<Type>>> {
        match self.is_symbol("(") {
            true => self.argument_types().map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn drop_function(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::DropFunction(DropFunction {
            if_exists: self.eat_if_exists()?,
            name: self.function_name()?,
            arguments: self.optional_argument_types()?,
        }))
    }

    pub(super) fn create_aggregate(&mut self) -> Result<Statement> {
        let or_replace = self.create_or_replace();
        let if_not_exists = self.eat_if_not_exists()?;
        let name = self.function_name()?;
        let arguments = self.argument_types()?;
        self.expect_keyword(Keyword::Sfunc)?;
        let state_function = self.function_ident()?;
        self.expect_keyword(Keyword::Stype)?;
        let state_type = self.comparator_type()?;
        let final_function = match self.eat(Keyword::Finalfunc) {
            true => Some(self.function_ident()?),
            false => None,
        };
        let initial = match self.eat(Keyword::Initcond) {
            true => Some(self.term()?),
            false => None,
        };
        Ok(Statement::CreateAggregate(CreateAggregate {
            or_replace,
            if_not_exists,
            name,
            arguments,
            state_function,
            state_type,
            final_function,
            initial,
        }))
    }

    pub(super) fn drop_aggregate(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::DropAggregate(DropAggregate {
            if_exists: self.eat_if_exists()?,
            name: self.function_name()?,
            arguments: self.optional_argument_types()?,
        }))
    }

    pub(super) fn create_trigger(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_not_exists = self.eat_if_not_exists()?;
        let name = self.ident()?;
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        self.expect_keyword(Keyword::Using)?;
        let class = self.string()?;
        Ok(Statement::CreateTrigger(CreateTrigger {
            if_not_exists,
            name,
            table,
            class,
        }))
    }

    pub(super) fn drop_trigger(&mut self) -> Result<Statement> {
        self.skip_two();
        let if_exists = self.eat_if_exists()?;
        let name = self.ident()?;
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        Ok(Statement::DropTrigger(DropTrigger {
            if_exists,
            name,
            table,
        }))
    }
}

pub(super) fn twice(property: &Property) -> Trouble {
    Trouble::Sentence(format!(
        "Multiple definitions for property '{}'",
        property.name.as_str()
    ))
}

/// A constant, or the term back.
fn constant(term: Term) -> Result<Literal, Term> {
    match term {
        Term::Literal(Literal::Null) => Err(term),
        Term::Literal(literal) => Ok(literal),
        other => Err(other),
    }
}

fn bind_reason(term: &Term) -> &'static str {
    match term {
        Term::Marker(_) => " (bind variables are not supported in DDL queries)",
        _ => "",
    }
}
