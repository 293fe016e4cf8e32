//! Roles, users and identities.

use super::{Keyword, Kind, Parser, Result, Trouble, content};
use crate::cql::ast::{
    AddIdentity, AlterRole, AlterUser, CreateRole, CreateUser, DropIdentity, DropRole, DropUser,
    Name, Password, RoleOption, Statement, UserPassword,
};

impl Parser<'_> {
    pub(super) fn create_role(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::CreateRole(CreateRole {
            if_not_exists: self.eat_if_not_exists()?,
            role: self.role_name()?,
            options: self.role_options()?,
        }))
    }

    pub(super) fn alter_role(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::AlterRole(AlterRole {
            if_exists: self.eat_if_exists()?,
            role: self.role_name()?,
            options: self.role_options()?,
        }))
    }

    pub(super) fn drop_role(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::DropRole(DropRole {
            if_exists: self.eat_if_exists()?,
            role: self.role_name()?,
        }))
    }

    fn role_options(&mut self) -> Result<Vec<RoleOption>> {
        if !self.eat(Keyword::With) {
            return Ok(Vec::new());
        }
        let mut options: Vec<RoleOption> = Vec::new();
        loop {
            let option = self.role_option()?;
            if let Some(name) = option_name(&option)
                && options.iter().any(|other| option_name(other) == Some(name))
            {
                return Err(Trouble::Sentence(format!(
                    "Multiple definition for property '{name}'"
                )));
            }
            options.push(option);
            if !self.eat(Keyword::And) {
                break;
            }
        }
        exclusive(&options)?;
        Ok(options)
    }

    fn role_option(&mut self) -> Result<RoleOption> {
        let Kind::Keyword(keyword) = self.kind() else {
            return self.no_viable();
        };
        match keyword {
            Keyword::Password => {
                self.advance();
                self.expect_symbol("=")?;
                Ok(RoleOption::Password(Password(self.string()?.into())))
            }
            Keyword::Hashed => {
                self.advance();
                self.expect_keyword(Keyword::Password)?;
                self.expect_symbol("=")?;
                Ok(RoleOption::HashedPassword(Password(self.string()?.into())))
            }
            Keyword::Options => {
                self.advance();
                self.expect_symbol("=")?;
                Ok(RoleOption::Options(self.property_map(false)?))
            }
            Keyword::Superuser => Ok(RoleOption::Superuser(self.role_flag()?)),
            Keyword::Login => Ok(RoleOption::Login(self.role_flag()?)),
            Keyword::Access => self.access_option(),
            _ => self.no_viable(),
        }
    }

    /// `= true` or `= false`, behind the option's name.
    fn role_flag(&mut self) -> Result<bool> {
        self.advance();
        self.expect_symbol("=")?;
        let token = self.expect(Kind::Boolean)?;
        Ok(self.raw(token).eq_ignore_ascii_case("true"))
    }

    fn access_option(&mut self) -> Result<RoleOption> {
        match (self.ahead(1), self.ahead(2)) {
            (Kind::Keyword(Keyword::To), Kind::Keyword(Keyword::All)) => {
                self.skip_two();
                self.advance();
                self.expect_keyword(Keyword::Datacenters)?;
                Ok(RoleOption::AllDatacenters)
            }
            (Kind::Keyword(Keyword::To), Kind::Keyword(Keyword::Datacenters)) => {
                self.skip_two();
                self.advance();
                Ok(RoleOption::Datacenters(self.string_set()?))
            }
            (Kind::Keyword(Keyword::From), Kind::Keyword(Keyword::All)) => {
                self.skip_two();
                self.advance();
                self.expect_keyword(Keyword::Cidrs)?;
                Ok(RoleOption::AllCidrs)
            }
            (Kind::Keyword(Keyword::From), Kind::Keyword(Keyword::Cidrs)) => {
                self.skip_two();
                self.advance();
                Ok(RoleOption::Cidrs(self.string_set()?))
            }
            (Kind::Keyword(Keyword::To | Keyword::From), _) => self.no_viable_ahead(2),
            _ => self.no_viable_ahead(1),
        }
    }

    /// `{'a', 'b'}`
    fn string_set(&mut self) -> Result<Vec<String>> {
        self.expect_symbol("{")?;
        let strings = self.list(Self::string)?;
        self.expect_symbol("}")?;
        Ok(strings)
    }

    /// A user: an identifier that keeps its case, or a string.
    fn user_name(&mut self) -> Result<Name> {
        self.bare_or_string(
            "Quoted strings are are not supported for user names and USER is deprecated, please use ROLE",
        )
    }

    fn bare_or_string(&mut self, quoted: &str) -> Result<Name> {
        match self.kind() {
            Kind::Ident | Kind::String => {
                let token = self.advance();
                Ok(Name::exact(content(self.text, token)))
            }
            Kind::QuotedName => Err(Trouble::Sentence(quoted.into())),
            _ => self.no_viable(),
        }
    }

    fn user_password(&mut self) -> Result<Option<UserPassword>> {
        if !self.eat(Keyword::With) {
            return Ok(None);
        }
        if self.eat(Keyword::Hashed) {
            self.expect_keyword(Keyword::Password)?;
            return Ok(Some(UserPassword::Hashed(Password(self.string()?.into()))));
        }
        if self.eat(Keyword::Password) {
            return Ok(Some(UserPassword::Plain(Password(self.string()?.into()))));
        }
        self.no_viable()
    }

    fn superuser(&mut self) -> Option<bool> {
        if self.eat(Keyword::Superuser) {
            return Some(true);
        }
        self.eat(Keyword::Nosuperuser).then_some(false)
    }

    pub(super) fn create_user(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::CreateUser(CreateUser {
            if_not_exists: self.eat_if_not_exists()?,
            user: self.user_name()?,
            password: self.user_password()?,
            superuser: self.superuser().unwrap_or(false),
        }))
    }

    pub(super) fn alter_user(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::AlterUser(AlterUser {
            if_exists: self.eat_if_exists()?,
            user: self.user_name()?,
            password: self.user_password()?,
            superuser: self.superuser(),
        }))
    }

    pub(super) fn drop_user(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::DropUser(DropUser {
            if_exists: self.eat_if_exists()?,
            user: self.user_name()?,
        }))
    }

    fn identity(&mut self) -> Result<Name> {
        self.bare_or_string("Quoted strings are are not supported for identity")
    }

    pub(super) fn add_identity(&mut self) -> Result<Statement> {
        self.advance();
        self.expect_keyword(Keyword::Identity)?;
        let if_not_exists = self.eat_if_not_exists()?;
        let identity = self.identity()?.into_string();
        self.expect_keyword(Keyword::To)?;
        self.expect_keyword(Keyword::Role)?;
        let role = self.identity()?;
        Ok(Statement::AddIdentity(AddIdentity {
            if_not_exists,
            identity,
            role,
        }))
    }

    pub(super) fn drop_identity(&mut self) -> Result<Statement> {
        self.skip_two();
        Ok(Statement::DropIdentity(DropIdentity {
            if_exists: self.eat_if_exists()?,
            identity: self.identity()?.into_string(),
        }))
    }
}

/// What a role option is called when it is said twice; access options may be.
fn option_name(option: &RoleOption) -> Option<&'static str> {
    match option {
        RoleOption::Password(_) => Some("PASSWORD"),
        RoleOption::HashedPassword(_) => Some("HASHED_PASSWORD"),
        RoleOption::Superuser(_) => Some("SUPERUSER"),
        RoleOption::Login(_) => Some("LOGIN"),
        RoleOption::Options(_) => Some("OPTIONS"),
        _ => None,
    }
}

/// A password comes in one way only.
fn exclusive(options: &[RoleOption]) -> Result<()> {
    let has = |name| {
        options
            .iter()
            .any(|option| option_name(option) == Some(name))
    };
    match has("PASSWORD") && has("HASHED_PASSWORD") {
        true => Err(Trouble::Sentence(
            "Options 'password' and 'hashed password' are mutually exclusive".into(),
        )),
        false => Ok(()),
    }
}
