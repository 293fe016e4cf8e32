//! Roles, users, identities, GRANT, REVOKE and LIST.

use super::{Keyword, Kind, Parser, Result, Trouble, content};
use crate::cql::ast::{
    AddIdentity, AlterRole, AlterUser, CreateRole, CreateUser, DropIdentity, DropRole, DropUser,
    FunctionSignature, Grant, GrantRole, ListPermissions, ListRoles, Name, Password, Permission,
    Permissions, Resource, Revoke, RevokeRole, RoleOption, Statement, UserPassword,
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
        if self.is_word(0, "generated") {
            self.advance();
            self.expect_keyword(Keyword::Password)?;
            return Ok(RoleOption::GeneratedPassword);
        }
        let Kind::Keyword(keyword) = self.kind() else {
            return self.no_viable();
        };
        match keyword {
            Keyword::Password => {
                self.advance();
                self.expect_symbol("=")?;
                Ok(RoleOption::Password(Password(self.string()?)))
            }
            Keyword::Hashed => {
                self.advance();
                self.expect_keyword(Keyword::Password)?;
                self.expect_symbol("=")?;
                Ok(RoleOption::HashedPassword(Password(self.string()?)))
            }
            Keyword::Options => {
                self.advance();
                self.expect_symbol("=")?;
                Ok(RoleOption::Options(self.property_map()?))
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
        if self.eat_word("generated") {
            self.expect_keyword(Keyword::Password)?;
            return Ok(Some(UserPassword::Generated));
        }
        if self.eat(Keyword::Hashed) {
            self.expect_keyword(Keyword::Password)?;
            return Ok(Some(UserPassword::Hashed(Password(self.string()?))));
        }
        if self.eat(Keyword::Password) {
            return Ok(Some(UserPassword::Plain(Password(self.string()?))));
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

    pub(super) fn grant(&mut self) -> Result<Statement> {
        if self.role_follows()? {
            self.advance();
            let role = self.role_name()?;
            self.expect_keyword(Keyword::To)?;
            let grantee = self.role_name()?;
            return Ok(Statement::GrantRole(GrantRole { role, grantee }));
        }
        self.advance();
        let permissions = self.permissions()?;
        self.expect_keyword(Keyword::On)?;
        let resource = self.resource()?;
        self.expect_keyword(Keyword::To)?;
        let role = self.role_name()?;
        check_applicable(&permissions, &resource)?;
        Ok(Statement::Grant(Grant {
            permissions,
            resource,
            role,
        }))
    }

    pub(super) fn revoke(&mut self) -> Result<Statement> {
        if self.role_follows()? {
            self.advance();
            let role = self.role_name()?;
            self.expect_keyword(Keyword::From)?;
            let revokee = self.role_name()?;
            return Ok(Statement::RevokeRole(RevokeRole { role, revokee }));
        }
        self.advance();
        let permissions = self.permissions()?;
        self.expect_keyword(Keyword::On)?;
        let resource = self.resource()?;
        self.expect_keyword(Keyword::From)?;
        let role = self.role_name()?;
        check_applicable(&permissions, &resource)?;
        Ok(Statement::Revoke(Revoke {
            permissions,
            resource,
            role,
        }))
    }

    /// Whether GRANT or REVOKE is about a role. Some permissions are also names of roles; what follows tells.
    ///
    /// The first tokens decide which statement it is, so they fail together.
    fn role_follows(&mut self) -> Result<bool> {
        let preposition = match self.is(Keyword::Grant) {
            true => Keyword::To,
            false => Keyword::From,
        };
        let second = self.ahead(2);
        let role = match self.ahead(1) {
            Kind::Keyword(Keyword::All | Keyword::Unmask | Keyword::SelectMasked) => {
                second == Kind::Keyword(preposition)
            }
            Kind::Keyword(keyword) if permission(keyword).is_some() => false,
            Kind::String | Kind::QuestionMark => true,
            kind if Self::names(kind, super::Reach::Identifier) => true,
            _ => return self.no_viable_ahead(1),
        };
        let fits = match second {
            Kind::Keyword(keyword) if keyword == preposition => role,
            Kind::Keyword(Keyword::On | Keyword::Permission | Keyword::Permissions)
            | Kind::Symbol(",") => !role,
            _ => false,
        };
        // What can be only one of them has decided with the first token.
        let undecided = matches!(
            self.ahead(1),
            Kind::Keyword(Keyword::All | Keyword::Unmask | Keyword::SelectMasked)
        );
        match fits || !undecided {
            true => Ok(role),
            false => self.no_viable_ahead(2),
        }
    }

    pub(super) fn list_statement(&mut self) -> Result<Statement> {
        if self.is_word(1, "superusers") {
            self.skip_two();
            return Ok(Statement::ListSuperusers);
        }
        match self.ahead(1) {
            Kind::Keyword(Keyword::Users) => {
                self.skip_two();
                return Ok(Statement::ListUsers);
            }
            Kind::Keyword(Keyword::Roles) => {
                self.skip_two();
                return Ok(Statement::ListRoles(ListRoles {
                    role: self.of_role()?,
                    recursive: !self.eat(Keyword::Norecursive),
                }));
            }
            Kind::Keyword(keyword) if keyword == Keyword::All || permission(keyword).is_some() => {}
            _ => return self.no_viable_ahead(1),
        }
        self.advance();
        let permissions = self.permissions()?;
        let resource = match self.eat(Keyword::On) {
            true => Some(self.resource()?),
            false => None,
        };
        Ok(Statement::ListPermissions(ListPermissions {
            permissions,
            resource,
            role: self.of_role()?,
            recursive: !self.eat(Keyword::Norecursive),
        }))
    }

    /// `[OF role]`
    fn of_role(&mut self) -> Result<Option<Name>> {
        match self.eat(Keyword::Of) {
            true => self.role_name().map(Some),
            false => Ok(None),
        }
    }

    fn permissions(&mut self) -> Result<Permissions> {
        if self.eat(Keyword::All) {
            self.eat(Keyword::Permissions);
            return Ok(Permissions::All);
        }
        let mut permissions = Vec::new();
        loop {
            let Kind::Keyword(keyword) = self.kind() else {
                return Err(Trouble::MismatchedSet { at: self.at });
            };
            let Some(permission) = permission(keyword) else {
                return Err(Trouble::MismatchedSet { at: self.at });
            };
            self.advance();
            self.eat(Keyword::Permission);
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
            if !self.eat_symbol(",") {
                return Ok(Permissions::Some(permissions));
            }
        }
    }

    /// Whether a name stands behind the keyword here, so that the keyword is not a table's name.
    fn name_follows(&mut self) -> bool {
        matches!(
            self.ahead(1),
            Kind::Ident | Kind::QuotedName | Kind::String | Kind::QuestionMark
        ) || matches!(self.ahead(1), kind @ Kind::Keyword(_)
            if Self::names(kind, super::Reach::Identifier))
    }

    fn resource(&mut self) -> Result<Resource> {
        let Kind::Keyword(keyword) = self.kind() else {
            return Ok(Resource::Table(self.table_name()?));
        };
        match keyword {
            Keyword::All => self.all_resource(),
            Keyword::Keyspace => {
                self.advance();
                Ok(Resource::Keyspace(self.keyspace_name()?))
            }
            Keyword::Table => {
                self.advance();
                Ok(Resource::Table(self.table_name()?))
            }
            Keyword::Role if self.name_follows() => {
                self.advance();
                Ok(Resource::Role(self.role_name()?))
            }
            Keyword::Function if self.name_follows() => {
                self.advance();
                Ok(Resource::Function(FunctionSignature {
                    name: self.function_name()?,
                    arguments: self.argument_types()?,
                }))
            }
            Keyword::Mbean if self.ahead(1) == Kind::String => {
                self.advance();
                Ok(Resource::Mbean(self.string()?))
            }
            Keyword::Mbeans if self.ahead(1) == Kind::String => {
                self.advance();
                Ok(Resource::Mbeans(self.string()?))
            }
            Keyword::Key if self.ahead(1) == Kind::String => {
                self.advance();
                Ok(Resource::Key(self.string()?))
            }
            _ => Ok(Resource::Table(self.table_name()?)),
        }
    }

    fn all_resource(&mut self) -> Result<Resource> {
        match self.ahead(1) {
            Kind::Keyword(Keyword::Keyspaces) => {
                self.skip_two();
                Ok(Resource::AllKeyspaces)
            }
            Kind::Keyword(Keyword::Roles) => {
                self.skip_two();
                Ok(Resource::AllRoles)
            }
            Kind::Keyword(Keyword::Mbeans) => {
                self.skip_two();
                Ok(Resource::AllMbeans)
            }
            Kind::Keyword(Keyword::Tables) => {
                self.skip_two();
                self.expect_keyword(Keyword::In)?;
                self.expect_keyword(Keyword::Keyspace)?;
                Ok(Resource::AllTables(self.keyspace_name()?))
            }
            Kind::Keyword(Keyword::Functions) => {
                let end = matches!(
                    self.ahead(2),
                    Kind::Keyword(Keyword::To | Keyword::From | Keyword::Of | Keyword::Norecursive)
                        | Kind::End
                        | Kind::Symbol(";")
                );
                if end {
                    self.skip_two();
                    return Ok(Resource::AllFunctions);
                }
                if self.ahead(2) != Kind::Keyword(Keyword::In) {
                    return self.no_viable_ahead(2);
                }
                self.skip_two();
                self.advance();
                self.expect_keyword(Keyword::Keyspace)?;
                Ok(Resource::KeyspaceFunctions(self.keyspace_name()?))
            }
            // A table called "all".
            Kind::Symbol(".")
            | Kind::End
            | Kind::Keyword(Keyword::To | Keyword::From | Keyword::Of) => {
                Ok(Resource::Table(self.table_name()?))
            }
            _ => self.no_viable_ahead(1),
        }
    }
}

/// The permission a keyword names.
fn permission(keyword: Keyword) -> Option<Permission> {
    Some(match keyword {
        Keyword::Create => Permission::Create,
        Keyword::Alter => Permission::Alter,
        Keyword::Drop => Permission::Drop,
        Keyword::Select => Permission::Select,
        Keyword::Modify => Permission::Modify,
        Keyword::Authorize => Permission::Authorize,
        Keyword::Describe => Permission::Describe,
        Keyword::Execute => Permission::Execute,
        Keyword::Unmask => Permission::Unmask,
        Keyword::SelectMasked => Permission::SelectMasked,
        Keyword::Use => Permission::Use,
        _ => return None,
    })
}

/// What a role option is called when it is said twice; access options may be.
fn option_name(option: &RoleOption) -> Option<&'static str> {
    match option {
        RoleOption::Password(_) => Some("PASSWORD"),
        RoleOption::HashedPassword(_) => Some("HASHED_PASSWORD"),
        RoleOption::GeneratedPassword => Some("GENERATED_PASSWORD"),
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
    let pairs = [
        (
            "PASSWORD",
            "HASHED_PASSWORD",
            "'password' and 'hashed password'",
        ),
        (
            "PASSWORD",
            "GENERATED_PASSWORD",
            "'password' and 'generated password'",
        ),
        (
            "HASHED_PASSWORD",
            "GENERATED_PASSWORD",
            "'hashed password' and 'generated password'",
        ),
    ];
    for (one, other, names) in pairs {
        if has(one) && has(other) {
            return Err(Trouble::Sentence(format!(
                "Options {names} are mutually exclusive"
            )));
        }
    }
    Ok(())
}

/// Some permission must make sense for the resource.
fn check_applicable(permissions: &Permissions, resource: &Resource) -> Result<()> {
    let Permissions::Some(permissions) = permissions else {
        return Ok(());
    };
    if permissions.iter().any(|p| resource.applicable(*p)) {
        return Ok(());
    }
    Err(Trouble::Sentence(format!(
        "Resource type {} does not support any of the requested permissions",
        resource.kind()
    )))
}
