//! Who may do what: the one place that is asked.
//!
//! ```text
//! handshake ─► login ─► Asker { role's number } ─► permitted(statement): its token is the one the statement was last found allowed for, or needs are checked
//! ```
//!
//! While `authenticator` is AllowAllAuthenticator, everybody may do everything and nothing is asked. Otherwise each answer comes from the snapshot of roles of
//! that moment: what is taken away is felt with the next statement, on connections that are open, too.
//!
//! What must hold: the snapshot is stored before its version; whoever reads the version first and then the snapshot never keeps an old answer under a new
//! version.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use palladium_crypto::CmkRef;
use palladium_protocol::cql::ast::Permission;
use palladium_storage::Env;

use crate::audit::{Asker, Standing};
use crate::auth::cidr::CidrGroups;
use crate::auth::login::Logins;
use crate::auth::{PermissionSet, Resource, Role, Roles, needs, password};
use crate::config::{CidrMode, Config};
use crate::error::{CqlError, CqlResult};
use crate::query::prepared::Statement;
use crate::schema::TableSchema;
use crate::session::Session;

/// What is said to those who have not logged in where that is needed.
pub const ANONYMOUS: &str = "You have to be logged in and not anonymous to perform this request";

/// Roles, and how strictly they are taken.
pub struct Authority {
    authenticates: bool,
    authorizes: bool,
    limits_datacenters: bool,
    cidr: CidrMode,
    cidr_for_superusers: bool,
    /// Networks by the names of their groups.
    pub cidr_groups: CidrGroups,
    data_center: String,
    service_cmk: CmkRef,
    /// Steps of a new password's hash, as a power of two.
    pub rounds: u32,
    /// What logins share.
    pub logins: Logins,
    env: Arc<dyn Env>,
    roles: ArcSwap<Roles>,
    version: AtomicU64,
    numbers: Mutex<Numbers>,
}

/// Each role that logs in has a number until it is dropped: another one of the same name gets another number, and connections of the first are nobody's.
#[derive(Default)]
struct Numbers {
    given: HashMap<Arc<str>, u32>,
    last: u32,
}

impl Authority {
    /// The roles of a folder under the settings of an operator.
    pub fn new(config: &Config, roles: Roles, env: Arc<dyn Env>) -> Result<Self, String> {
        let rounds = config.auth_bcrypt_gensalt_log2_rounds as u32;
        Ok(Authority {
            authenticates: config.authenticates(),
            authorizes: config.authorizes(),
            limits_datacenters: config.limits_datacenters(),
            cidr: config.cidr_mode(),
            cidr_for_superusers: config.cidr_checks_for_superusers,
            cidr_groups: config.cidr_groups()?,
            data_center: config.data_center.clone(),
            service_cmk: config.service_cmk()?,
            rounds,
            logins: Logins::new(env.entropy(), rounds, config.authenticates()),
            env,
            version: AtomicU64::new(roles.version()),
            roles: ArcSwap::from_pointee(roles),
            numbers: Mutex::default(),
        })
    }

    /// Whether connections have to log in.
    pub fn authenticates(&self) -> bool {
        self.authenticates
    }

    /// Whether permissions are asked for.
    pub fn authorizes(&self) -> bool {
        self.authorizes
    }

    /// Whether roles can be bound to data centres.
    pub fn limits_datacenters(&self) -> bool {
        self.limits_datacenters
    }

    /// Whether roles can be bound to networks.
    pub fn limits_networks(&self) -> bool {
        self.cidr != CidrMode::Off
    }

    /// The data centre of this server.
    pub fn data_center(&self) -> &str {
        &self.data_center
    }

    /// The roles of this moment.
    pub fn roles(&self) -> Arc<Roles> {
        self.roles.load_full()
    }

    /// From now on these hold, for every connection.
    pub fn store(&self, roles: Roles) {
        let version = roles.version();
        let mut numbers = self.numbers();
        numbers.given.retain(|name, _| roles.get(name).is_some());
        self.roles.store(Arc::new(roles));
        drop(numbers);
        self.version.store(version, Ordering::Release);
    }

    /// Salt for a new password's hash.
    pub fn salt(&self) -> [u8; 16] {
        password::salt(self.env.entropy())
    }

    /// The role that says it is of this name, and its number.
    pub fn logging_in(&self, name: &Arc<str>) -> Option<(Arc<Role>, u32)> {
        let mut numbers = self.numbers();
        let role = self.roles.load().get(name).cloned()?;
        let Numbers { given, last } = &mut *numbers;
        let number = *given.entry(name.clone()).or_insert_with(|| {
            *last = last.saturating_add(1);
            *last
        });
        Some((role, number))
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the role of a connection may still be connected from where it is; asked again whenever roles have changed. Who may not is to be shown out.
    #[inline]
    pub fn admitted(&self, session: &mut Session) -> CqlResult<()> {
        match self.authenticates {
            false => Ok(()),
            true => self.admitted_at(self.version.load(Ordering::Acquire), session),
        }
    }

    #[inline]
    fn admitted_at(&self, version: u64, session: &mut Session) -> CqlResult<()> {
        if session.admitted == version {
            return Ok(());
        }
        match self.admit(session.asker()) {
            Ok(()) => {
                session.is_superuser = self.is_super(session.asker());
                session.admitted = version;
            }
            Err(error) => {
                session.show_out();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether a connection may execute a statement now. Nothing where roles are off; where they are on, two comparisons unless roles have changed or somebody
    /// else's statement came in between.
    #[inline]
    pub fn permitted(&self, session: &mut Session, statement: &Statement) -> CqlResult<()> {
        match self.authenticates {
            false => Ok(()),
            true => self.permitted_to_role(session, statement),
        }
    }

    fn permitted_to_role(&self, session: &mut Session, statement: &Statement) -> CqlResult<()> {
        let version = self.version.load(Ordering::Acquire);
        self.admitted_at(version, session)?;
        let Standing::Role(number) = session.asker().standing else {
            return Err(CqlError::unauthorized("You have not logged in"));
        };
        if !self.authorizes || statement.was_permitted(version, number) {
            return Ok(());
        }
        needs::check(self, session.asker(), statement)?;
        statement.permit(version, number);
        Ok(())
    }

    /// Whether a role may still be connected from where it is.
    fn admit(&self, asker: &Asker) -> CqlResult<()> {
        // In this order: a role that is replaced in between is not taken for the one that logged in.
        let roles = self.roles.load();
        let number = self.numbers().given.get(&asker.who).copied();
        let is_same = match asker.standing {
            Standing::Role(own) => number == Some(own),
            Standing::Anonymous | Standing::Server => true,
        };
        let role = roles.get(&asker.who);
        let Some(role) = role.filter(|role| is_same && role.can_login) else {
            return Err(CqlError::unauthorized(format!(
                "{} is not permitted to log in",
                asker.who
            )));
        };
        let is_super = roles.is_super(&asker.who);
        if let Some(centers) = &role.datacenters
            && self.limits_datacenters
            && !is_super
            && !centers.contains(&self.data_center)
        {
            return Err(CqlError::unauthorized(format!(
                "You do not have access to this datacenter ({})",
                self.data_center
            )));
        }
        if let (Some(groups), Some(client)) = (&role.cidr_groups, asker.client)
            && self.cidr != CidrMode::Off
            && (!is_super || self.cidr_for_superusers)
            && !self
                .groups_of(client.ip())
                .any(|group| groups.contains(group))
        {
            if self.cidr == CidrMode::Monitor {
                tracing::warn!(%client, "a role is used from a network that it may not come from");
                return Ok(());
            }
            return Err(CqlError::unauthorized(format!(
                "You do not have access from this IP {}",
                client.ip().to_canonical()
            )));
        }
        Ok(())
    }

    /// The groups with the narrowest network that an address lies in.
    fn groups_of(&self, address: std::net::IpAddr) -> impl Iterator<Item = &String> {
        let bits = move |networks: &[crate::auth::cidr::Cidr]| {
            let of = networks.iter().filter(|network| network.contains(address));
            of.map(|network| network.bits).max()
        };
        let narrowest = self
            .cidr_groups
            .values()
            .filter_map(|networks| bits(networks))
            .max();
        self.cidr_groups
            .iter()
            .filter(move |(_, networks)| narrowest.is_some() && bits(networks) == narrowest)
            .map(|(name, _)| name)
    }

    /// Whether nothing is asked of whoever asks: roles are off, or it is the server itself.
    fn is_free(&self, asker: &Asker) -> bool {
        !self.authorizes || asker.standing == Standing::Server
    }

    /// Whether somebody may do this with the resource, by a grant on it or on one above it.
    pub fn may(&self, asker: &Asker, permission: Permission, resource: &Resource) -> bool {
        self.is_free(asker) || self.roles.load().may(&asker.who, permission, resource)
    }

    /// The same, with Cassandra's words for a no.
    pub fn check(
        &self,
        asker: &Asker,
        permission: Permission,
        resource: &Resource,
    ) -> CqlResult<()> {
        match self.may(asker, permission, resource) {
            true => Ok(()),
            false => Err(CqlError::unauthorized(format!(
                "User {} has no {} permission on {resource} or any of its parents",
                asker.who,
                permission.name()
            ))),
        }
    }

    /// What somebody may do on exactly this resource.
    pub fn permissions(&self, asker: &Asker, resource: &Resource) -> PermissionSet {
        match self.is_free(asker) {
            true => resource.applicable(),
            false => self.roles.load().permissions(&asker.who, resource),
        }
    }

    /// Whether somebody is a superuser; everybody is while nobody has to log in.
    pub fn is_super(&self, asker: &Asker) -> bool {
        !self.authenticates
            || asker.standing == Standing::Server
            || self.roles.load().is_super(&asker.who)
    }

    /// Whether somebody reads what masks hide: UNMASK.
    pub fn may_unmask(&self, asker: &Asker, table: &TableSchema) -> bool {
        self.is_free(asker) || self.may(asker, Permission::Unmask, &Resource::read_with(table))
    }

    /// Whether somebody may name masked columns in WHERE: UNMASK or SELECT_MASKED.
    pub fn may_select_masked(&self, asker: &Asker, table: &TableSchema) -> bool {
        self.may_unmask(asker, table)
            || self.may(asker, Permission::SelectMasked, &Resource::read_with(table))
    }

    /// Whether somebody may know of a table: those who may do anything with it.
    pub fn may_see(&self, asker: &Asker, keyspace: &str, table: &str) -> bool {
        self.is_free(asker) || {
            let resource = Resource::table(keyspace, table);
            self.roles.load().may_anything(&asker.who, &resource)
        }
    }

    /// Whether somebody may put a table under a key, or take one away from under it: `GRANT USE ON KEY '...' TO role`.
    ///
    /// Asked for the key that a statement names, for the key that an alias leads to, and for the key that a table leaves. The service's own key is everybody's.
    pub fn may_use_key(&self, asker: &Asker, key: &CmkRef) -> CqlResult<()> {
        if self.is_free(asker) || key.is_default() || *key == self.service_cmk {
            return Ok(());
        }
        self.check(asker, Permission::Use, &Resource::Key(key.to_string()))
    }

    /// The same of a key that whoever asks has not named: a refusal tells its name to those alone who may know it, and to others whose key it is.
    pub fn may_use_key_of(&self, asker: &Asker, key: &CmkRef, whose: &str) -> CqlResult<()> {
        match self.may_use_key(asker, key) {
            Err(_) if !self.may_name_key(asker, &key.to_string()) => {
                Err(CqlError::unauthorized(format!(
                    "User {} has no USE permission on the key of {whose}",
                    asker.who
                )))
            }
            answer => answer,
        }
    }

    /// Whether somebody is shown the name of a key: those who may use or describe it.
    pub fn may_name_key(&self, asker: &Asker, key: &str) -> bool {
        self.is_free(asker) || key == self.service_cmk.to_string() || {
            let resource = Resource::Key(key.to_owned());
            self.may(asker, Permission::Use, &resource)
                || self.may(asker, Permission::Describe, &resource)
        }
    }

    /// Whether somebody sees what is about all keys and nobody's table: key services, starts and stops, logins.
    pub fn may_describe_all_keys(&self, asker: &Asker) -> bool {
        self.may(asker, Permission::Describe, &Resource::AllKeys)
    }
}
