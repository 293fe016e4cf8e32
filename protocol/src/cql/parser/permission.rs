//! GRANT, REVOKE and LIST: permissions and roles.

use super::{Keyword, Kind, Parser, Reach, Result, Trouble, object_name};
use crate::cql::ast::{
    FunctionSignature, Grant, GrantRole, ListPermissions, ListRoles, Name, Permission, Permissions,
    Resource, Revoke, RevokeRole, Statement,
};

impl Parser<'_> {
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
            kind if Self::names(kind, Reach::Identifier) => true,
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
            if Self::names(kind, Reach::Identifier))
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
            Keyword::Function
                if self.name_follows() || self.ahead(1) == Kind::Keyword(Keyword::Token) =>
            {
                self.advance();
                Ok(Resource::Function(FunctionSignature {
                    name: self.function_name()?,
                    arguments: self.argument_types()?,
                }))
            }
            Keyword::Mbean if self.ahead(1) == Kind::String => {
                self.advance();
                Ok(Resource::Mbean(object_name::canonical(
                    self.string()?,
                    false,
                )?))
            }
            Keyword::Mbeans if self.ahead(1) == Kind::String => {
                self.advance();
                Ok(Resource::Mbeans(object_name::canonical(
                    self.string()?,
                    true,
                )?))
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
            Kind::Keyword(Keyword::Keys) => {
                self.skip_two();
                Ok(Resource::AllKeys)
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
