//! Role statements as values: a statement and a snapshot in, the next snapshot and what is told of it out.
//!
//! ```text
//! statement + snapshot ──plan──► Plan::Change { the next snapshot, warnings, what is recorded }      pure: nothing is hashed or written here
//!                                  └──► query::execute::role    hash, write, swap, record
//! ```
//!
//! Every rule of Cassandra's about who may change which role, and every word of its errors, is in here and in `grant`. As in Cassandra, whether somebody may
//! comes before whether it makes sense.

use std::collections::BTreeSet;

use palladium_protocol::cql::ast::{
    AddIdentity, AlterRole, AlterUser, CreateRole, CreateUser, DropIdentity, Name, Permission,
    RoleOption, Statement, UserPassword,
};

use super::{Resource, Role, Roles, SaltedHash, grant, list, password};
use crate::audit::Asker;
use crate::error::{CqlError, CqlResult};
use crate::permissions::{ANONYMOUS, Authority};
use crate::schema::Catalog;

/// Bytes of a role's name or of an identity.
const NAME_BYTES_MAX: usize = 4_096;

/// What a plan depends on beside the statement.
pub struct Circumstances<'a> {
    /// Who may do what, and the settings.
    pub authority: &'a Authority,
    /// The snapshot that is changed.
    pub roles: &'a Roles,
    /// Who asks.
    pub asker: &'a Asker,
    /// What USE chose.
    pub keyspace: Option<&'a str>,
    /// The schema, for resources that must be there.
    pub catalog: &'a Catalog,
    /// The hash of the statement's password, once it was made.
    pub hash: Option<&'a SaltedHash>,
}

/// What the audit trail is told.
#[derive(Debug, Default)]
pub struct Told {
    /// `CREATE ROLE`, `GRANT`, ...
    pub operation: &'static str,
    /// The role that it is about.
    pub role: String,
    /// The role that was granted, the resource, the permissions.
    pub more: Vec<(&'static str, String)>,
    /// A table that permissions are about.
    pub table: Option<(String, String)>,
    /// A key that permissions are about.
    pub key: Option<String>,
}

/// The next snapshot.
#[derive(Debug)]
pub struct Change {
    /// All roles as they are then.
    pub roles: Roles,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit trail.
    pub told: Told,
}

/// What a statement comes to.
#[derive(Debug)]
pub enum Plan {
    /// Nothing, because of IF EXISTS or IF NOT EXISTS.
    Nothing,
    /// Other roles.
    Change(Box<Change>),
    /// An answer.
    Rows(list::Listing),
}

/// Whether `plan` knows what to do with the statement.
pub fn is_about_roles(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateRole(_)
            | Statement::AlterRole(_)
            | Statement::DropRole(_)
            | Statement::CreateUser(_)
            | Statement::AlterUser(_)
            | Statement::DropUser(_)
            | Statement::AddIdentity(_)
            | Statement::DropIdentity(_)
            | Statement::Grant(_)
            | Statement::Revoke(_)
            | Statement::GrantRole(_)
            | Statement::RevokeRole(_)
            | Statement::ListPermissions(_)
            | Statement::ListRoles(_)
            | Statement::ListUsers
    )
}

/// What the audit trail is told of a statement that is refused. None: it only asks.
pub fn told_of_refused(statement: &Statement) -> Option<Told> {
    let (operation, role) = match statement {
        Statement::CreateRole(create) => ("CREATE ROLE", create.role.as_str()),
        Statement::CreateUser(create) => ("CREATE ROLE", create.user.as_str()),
        Statement::AlterRole(alter) => ("ALTER ROLE", alter.role.as_str()),
        Statement::AlterUser(alter) => ("ALTER ROLE", alter.user.as_str()),
        Statement::DropRole(dropped) => ("DROP ROLE", dropped.role.as_str()),
        Statement::DropUser(dropped) => ("DROP ROLE", dropped.user.as_str()),
        Statement::AddIdentity(add) => ("ADD IDENTITY", add.role.as_str()),
        Statement::DropIdentity(dropped) => ("DROP IDENTITY", dropped.identity.as_str()),
        Statement::Grant(granted) => ("GRANT", granted.role.as_str()),
        Statement::Revoke(revoked) => ("REVOKE", revoked.role.as_str()),
        Statement::GrantRole(granted) => ("GRANT ROLE", granted.grantee.as_str()),
        Statement::RevokeRole(revoked) => ("REVOKE ROLE", revoked.revokee.as_str()),
        _ => return None,
    };
    Some(Told {
        operation,
        role: start_of(role, NAME_BYTES_MAX).to_owned(),
        ..Told::default()
    })
}

/// As much of a text as has room.
pub fn start_of(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The password that the statement gives in the clear: it is hashed before the change is made.
pub fn plain_password(statement: &Statement) -> Option<&str> {
    let of_options = |options: &'_ [RoleOption]| -> Option<usize> {
        options
            .iter()
            .position(|option| matches!(option, RoleOption::Password(_)))
    };
    let options = match statement {
        Statement::CreateRole(create) => &create.options,
        Statement::AlterRole(alter) => &alter.options,
        Statement::CreateUser(CreateUser {
            password: Some(UserPassword::Plain(password)),
            ..
        })
        | Statement::AlterUser(AlterUser {
            password: Some(UserPassword::Plain(password)),
            ..
        }) => return Some(&password.0),
        _ => return None,
    };
    match options.get(of_options(options)?)? {
        RoleOption::Password(password) => Some(&password.0),
        _ => None,
    }
}

/// What is said to those who have not logged in. What only a superuser may is looked at first.
pub fn refused_to_nobody(statement: &Statement) -> CqlError {
    let has = |options: &[RoleOption], wanted: fn(&RoleOption) -> bool| options.iter().any(wanted);
    let makes_superuser = "Only superusers can create a role with superuser status";
    let alters_superuser = "Only superusers are allowed to alter superuser status";
    let is_superuser = |option: &RoleOption| matches!(option, RoleOption::Superuser(_));
    let words = match statement {
        Statement::CreateRole(create)
            if has(&create.options, |option| {
                *option == RoleOption::Superuser(true)
            }) =>
        {
            makes_superuser
        }
        Statement::CreateUser(user) if user.superuser => makes_superuser,
        Statement::AlterRole(alter) if has(&alter.options, is_superuser) => alters_superuser,
        Statement::AlterUser(user) if user.superuser.is_some() => alters_superuser,
        Statement::AlterRole(alter)
            if has(&alter.options, |option| {
                matches!(
                    option,
                    RoleOption::AllDatacenters | RoleOption::Datacenters(_)
                )
            }) =>
        {
            "Only superusers are allowed to alter access to datacenters."
        }
        Statement::AlterRole(alter)
            if has(&alter.options, |option| {
                matches!(option, RoleOption::AllCidrs | RoleOption::Cidrs(_))
            }) =>
        {
            "Only superusers are allowed to alter access from CIDR groups."
        }
        _ => ANONYMOUS,
    };
    CqlError::unauthorized(words)
}

/// Checks a statement against a snapshot and makes the next one.
pub fn plan(statement: &Statement, of: &Circumstances<'_>) -> CqlResult<Plan> {
    if !of.authority.authenticates() {
        check_before_login(statement, of)?;
        return Err(refused_to_nobody(statement));
    }
    match statement {
        Statement::CreateRole(create) => self::create(create, of),
        Statement::CreateUser(user) => create(
            &CreateRole {
                if_not_exists: user.if_not_exists,
                role: user.user.clone(),
                options: of_user(user.password.as_ref(), Some(user.superuser), true),
            },
            of,
        ),
        Statement::AlterRole(alter) => self::alter(alter, of),
        Statement::AlterUser(user) => alter(
            &AlterRole {
                if_exists: user.if_exists,
                role: user.user.clone(),
                options: of_user(user.password.as_ref(), user.superuser, false),
            },
            of,
        ),
        Statement::DropRole(dropped) => drop(&dropped.role, dropped.if_exists, of),
        Statement::DropUser(dropped) => drop(&dropped.user, dropped.if_exists, of),
        Statement::AddIdentity(add) => add_identity(add, of),
        Statement::DropIdentity(dropped) => drop_identity(dropped, of),
        Statement::Grant(granted) => grant::grant(granted, of),
        Statement::Revoke(revoked) => grant::revoke(revoked, of),
        Statement::GrantRole(granted) => grant::grant_role(granted, of),
        Statement::RevokeRole(revoked) => grant::revoke_role(revoked, of),
        Statement::ListPermissions(asked) => list::permissions(asked, of).map(Plan::Rows),
        Statement::ListRoles(asked) => list::roles(asked, of).map(Plan::Rows),
        Statement::ListUsers => list::users(of).map(Plan::Rows),
        _ => Err(CqlError::invalid("This statement is not about roles")),
    }
}

/// What is looked at before who asks: that something is named and said, functions, and where a new role may come from.
fn check_before_login(statement: &Statement, of: &Circumstances<'_>) -> CqlResult<()> {
    match statement {
        Statement::CreateRole(create) => {
            check_named(create.role.as_str())?;
            check_limits(create, of)
        }
        Statement::CreateUser(create) => check_named(create.user.as_str()),
        Statement::AlterRole(alter) if alter.options.is_empty() => Err(alters_nothing()),
        Statement::AlterUser(alter) if alter.password.is_none() && alter.superuser.is_none() => {
            Err(alters_nothing())
        }
        Statement::Grant(granted) => grant::check_function(&granted.resource),
        Statement::Revoke(revoked) => grant::check_function(&revoked.resource),
        Statement::ListPermissions(asked) => {
            asked.resource.iter().try_for_each(grant::check_qualified)
        }
        _ => Ok(()),
    }
}

fn check_named(name: &str) -> CqlResult<()> {
    match name.is_empty() {
        true => Err(CqlError::invalid("Role name can't be an empty string")),
        false => Ok(()),
    }
}

fn alters_nothing() -> CqlError {
    CqlError::invalid("ALTER [ROLE|USER] can't be empty")
}

fn check_limits(create: &CreateRole, of: &Circumstances<'_>) -> CqlResult<()> {
    let is_limit =
        |option: &&RoleOption| matches!(option, RoleOption::Datacenters(_) | RoleOption::Cidrs(_));
    let limits: Vec<RoleOption> = create.options.iter().filter(is_limit).cloned().collect();
    settle(&limits, of).map(|_| ())
}

/// What a user's clauses mean for the role that it is.
fn of_user(
    password: Option<&UserPassword>,
    superuser: Option<bool>,
    logs_in: bool,
) -> Vec<RoleOption> {
    let password = password.map(|password| match password {
        UserPassword::Plain(text) => RoleOption::Password(text.clone()),
        UserPassword::Hashed(hash) => RoleOption::HashedPassword(hash.clone()),
    });
    let login = logs_in.then_some(RoleOption::Login(true));
    let superuser = superuser.map(RoleOption::Superuser);
    password.into_iter().chain(login).chain(superuser).collect()
}

/// What options say, once they were found right.
#[derive(Default)]
struct Settled {
    hash: Option<SaltedHash>,
    is_superuser: Option<bool>,
    can_login: Option<bool>,
    /// Some(None): all.
    datacenters: Option<Option<BTreeSet<String>>>,
    cidr_groups: Option<Option<BTreeSet<String>>>,
}

impl Settled {
    /// Limits that nothing enforces now: they are kept, and count once the setting says so.
    fn warnings(&self, of: &Circumstances<'_>) -> Vec<String> {
        let idle = |what: &str, name: &str, authorizer: &str| {
            format!("{what} is kept, and counts once {name} is {authorizer}")
        };
        let mut warnings = Vec::new();
        if matches!(self.datacenters, Some(Some(_))) && !of.authority.limits_datacenters() {
            let authorizer = "CassandraNetworkAuthorizer";
            warnings.push(idle(
                "ACCESS TO DATACENTERS",
                "network_authorizer",
                authorizer,
            ));
        }
        if matches!(self.cidr_groups, Some(Some(_))) && !of.authority.limits_networks() {
            let authorizer = "CassandraCIDRAuthorizer";
            warnings.push(idle("ACCESS FROM CIDRS", "cidr_authorizer", authorizer));
        }
        warnings
    }

    fn is_empty(&self) -> bool {
        self.hash.is_none()
            && self.is_superuser.is_none()
            && self.can_login.is_none()
            && self.datacenters.is_none()
            && self.cidr_groups.is_none()
    }

    fn apply(self, role: &mut Role) {
        if let Some(hash) = self.hash {
            role.salted_hash = Some(hash);
        }
        role.is_superuser = self.is_superuser.unwrap_or(role.is_superuser);
        role.can_login = self.can_login.unwrap_or(role.can_login);
        if let Some(datacenters) = self.datacenters {
            role.datacenters = datacenters;
        }
        if let Some(groups) = self.cidr_groups {
            role.cidr_groups = groups;
        }
    }
}

/// Checks options and puts them together.
fn settle(options: &[RoleOption], of: &Circumstances<'_>) -> CqlResult<Settled> {
    let mut settled = Settled::default();
    for option in options {
        match option {
            // The first pass only asks whether it may be: the hash is made afterwards.
            RoleOption::Password(_) => {
                let none_yet = || SaltedHash(String::new());
                settled.hash = Some(of.hash.cloned().unwrap_or_else(none_yet));
            }
            RoleOption::HashedPassword(hash) => {
                settled.hash = Some(password::checked_hash(&hash.0)?);
            }
            RoleOption::Superuser(value) => settled.is_superuser = Some(*value),
            RoleOption::Login(value) => settled.can_login = Some(*value),
            RoleOption::Options(_) => {
                return Err(CqlError::invalid(
                    "org.apache.cassandra.auth.CassandraRoleManager doesn't support OPTIONS",
                ));
            }
            RoleOption::AllDatacenters => settled.datacenters = Some(None),
            RoleOption::Datacenters(names) => {
                let present = settled.datacenters.flatten().unwrap_or_default();
                settled.datacenters =
                    Some(Some(present.into_iter().chain(names.clone()).collect()));
            }
            RoleOption::AllCidrs => settled.cidr_groups = Some(None),
            RoleOption::Cidrs(names) => {
                let present = settled.cidr_groups.flatten().unwrap_or_default();
                settled.cidr_groups =
                    Some(Some(present.into_iter().chain(names.clone()).collect()));
            }
        }
    }
    check_datacenters(&settled, of)?;
    check_networks(&settled, of)?;
    Ok(settled)
}

fn check_datacenters(settled: &Settled, of: &Circumstances<'_>) -> CqlResult<()> {
    let Some(named) = &settled.datacenters else {
        return Ok(());
    };
    let unknown: Vec<&str> = named
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|name| *name != of.authority.data_center())
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(CqlError::invalid(format!(
            "Invalid value(s) for DATACENTERS '[{}]',All values must be valid datacenters",
            unknown.join(", ")
        ))),
    }
}

fn check_networks(settled: &Settled, of: &Circumstances<'_>) -> CqlResult<()> {
    let Some(named) = &settled.cidr_groups else {
        return Ok(());
    };
    let groups = &of.authority.cidr_groups;
    if named.iter().flatten().all(|name| groups.contains_key(name)) {
        return Ok(());
    }
    let list = |names: Vec<&str>| names.join(", ");
    Err(CqlError::invalid(format!(
        "Invalid CIDR group(s): [{}]. Available CIDR Groups are: [{}]",
        list(named.iter().flatten().map(String::as_str).collect()),
        list(groups.keys().map(String::as_str).collect()),
    )))
}

/// A permission on a role, with the words that do not tell whether it is there.
pub(super) fn check_role(
    of: &Circumstances<'_>,
    permission: Permission,
    resource: &Resource,
) -> CqlResult<()> {
    match of.authority.may(of.asker, permission, resource) {
        true => Ok(()),
        false => Err(CqlError::unauthorized(format!(
            "User {} does not have sufficient privileges to perform the requested operation",
            of.asker.who
        ))),
    }
}

pub(super) fn role(name: &Name) -> Resource {
    Resource::Role(name.as_str().to_owned())
}

pub(super) fn changed(roles: Roles, told: Told) -> CqlResult<Plan> {
    warned(roles, told, Vec::new())
}

fn warned(roles: Roles, told: Told, warnings: Vec<String>) -> CqlResult<Plan> {
    Ok(Plan::Change(Box::new(Change {
        roles,
        warnings,
        told,
    })))
}

fn told(operation: &'static str, role: &str) -> Told {
    Told {
        operation,
        role: role.to_owned(),
        ..Told::default()
    }
}

fn create(create: &CreateRole, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let name = create.role.as_str();
    check_role(of, Permission::Create, &Resource::AllRoles)?;
    let makes_superuser = create.options.contains(&RoleOption::Superuser(true));
    if makes_superuser && !of.authority.is_super(of.asker) {
        return Err(CqlError::unauthorized(
            "Only superusers can create a role with superuser status",
        ));
    }
    let settled = settle(&create.options, of)?;
    check_named(name)?;
    if name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(CqlError::invalid(format!(
            "A role's name has at most {NAME_BYTES_MAX} bytes, and no NUL among them"
        )));
    }
    if of.roles.get(name).is_some() {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!("{name} already exists"))),
        };
    }
    let mut roles = of.roles.next();
    let mut new = Role {
        name: name.to_owned(),
        ..Role::default()
    };
    let warnings = settled.warnings(of);
    settled.apply(&mut new);
    roles.put(new);
    if of.authority.authorizes() {
        let own = role(&create.role);
        roles.grant(&of.asker.who, own.applicable(), &own);
    }
    warned(roles, told("CREATE ROLE", name), warnings)
}

fn alter(alter: &AlterRole, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let name = alter.role.as_str();
    may_alter(alter, of)?;
    let settled = settle(&alter.options, of)?;
    if of.roles.get(name).is_none() {
        return match alter.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!("Role {name} doesn't exist"))),
        };
    }
    if settled.is_empty() {
        return Err(alters_nothing());
    }
    let mut roles = of.roles.next();
    let warnings = settled.warnings(of);
    roles.change(name, |role| settled.apply(role));
    warned(roles, told("ALTER ROLE", name), warnings)
}

/// Superusers alter what they like, but not their own status; others their own password, and roles that they have ALTER on.
fn may_alter(alter: &AlterRole, of: &Circumstances<'_>) -> CqlResult<()> {
    let name = alter.role.as_str();
    let is_super = of.authority.is_super(of.asker);
    let options = &alter.options;
    if options
        .iter()
        .any(|option| matches!(option, RoleOption::Superuser(_)))
    {
        if of.roles.is_member(&of.asker.who, name) {
            return Err(CqlError::unauthorized(
                "You aren't allowed to alter your own superuser status or that of a role granted to you",
            ));
        }
        if !is_super {
            return Err(CqlError::unauthorized(
                "Only superusers are allowed to alter superuser status",
            ));
        }
    }
    if is_super {
        return Ok(());
    }
    for option in options {
        let what = match option {
            RoleOption::AllDatacenters | RoleOption::Datacenters(_) => "access to datacenters",
            RoleOption::AllCidrs | RoleOption::Cidrs(_) => "access from CIDR groups",
            _ => continue,
        };
        return Err(CqlError::unauthorized(format!(
            "Only superusers are allowed to alter {what}."
        )));
    }
    if *of.asker.who != *name {
        return check_role(of, Permission::Alter, &role(&alter.role));
    }
    for option in options {
        let what = match option {
            RoleOption::Login(_) => "LOGIN",
            RoleOption::Options(_) => "OPTIONS",
            _ => continue,
        };
        return Err(CqlError::unauthorized(format!(
            "You aren't allowed to alter {what}"
        )));
    }
    Ok(())
}

fn drop(name: &Name, if_exists: bool, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let (resource, name) = (role(name), name.as_str());
    check_role(of, Permission::Drop, &resource)?;
    if of.roles.is_super(name) && !of.authority.is_super(of.asker) {
        return Err(CqlError::unauthorized(
            "Only superusers can drop a role with superuser status",
        ));
    }
    if of.roles.get(name).is_none() {
        return match if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!("{name} doesn't exist"))),
        };
    }
    if *of.asker.who == *name {
        return Err(CqlError::invalid(
            "Cannot DROP primary role for current login",
        ));
    }
    let mut roles = of.roles.next();
    roles.remove(name);
    roles.change_all(
        |other| other.member_of.contains(name),
        |other| {
            other.member_of.remove(name);
        },
    );
    roles.revoke_all_on(&resource);
    roles.identities.retain(|_, role| role != name);
    changed(roles, told("DROP ROLE", name))
}

fn add_identity(add: &AddIdentity, of: &Circumstances<'_>) -> CqlResult<Plan> {
    check_role(of, Permission::Create, &Resource::AllRoles)?;
    let (identity, name) = (add.identity.as_str(), add.role.as_str());
    if identity.is_empty() || identity.len() > NAME_BYTES_MAX {
        return Err(CqlError::invalid(format!(
            "An identity has from 1 to {NAME_BYTES_MAX} bytes"
        )));
    }
    if of.roles.get(name).is_none() {
        return Err(CqlError::invalid(format!(
            "Can not add identity for non-existent role '{name}'"
        )));
    }
    if of.roles.identities.contains_key(identity) {
        return match add.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!("{identity} already exists"))),
        };
    }
    let mut roles = of.roles.next();
    roles
        .identities
        .insert(identity.to_owned(), name.to_owned());
    let more = vec![("identity", identity.to_owned())];
    changed(
        roles,
        Told {
            more,
            ..told("ADD IDENTITY", name)
        },
    )
}

fn drop_identity(dropped: &DropIdentity, of: &Circumstances<'_>) -> CqlResult<Plan> {
    check_role(of, Permission::Drop, &Resource::AllRoles)?;
    let identity = dropped.identity.as_str();
    let Some(name) = of.roles.identities.get(identity) else {
        return match dropped.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "identity '{identity}' doesn't exist"
            ))),
        };
    };
    let told = Told {
        more: vec![("identity", identity.to_owned())],
        ..told("DROP IDENTITY", name)
    };
    let mut roles = of.roles.next();
    roles.identities.remove(identity);
    changed(roles, told)
}
