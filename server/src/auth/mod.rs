//! Roles: who may log in, what each may do, and how that is kept.
//!
//! ```text
//! AUTH_RESPONSE ─► login: SASL PLAIN, bcrypt (or what a moment ago was verified), LOGIN, data centre, CIDR ─► Session
//! statement     ─► needs: permissions on resources ─► Authority: asked of the present snapshot of roles       permissions
//! CREATE ROLE.. ─► change: statement + snapshot ─► the next snapshot ─► store: one durable mutation ─► swapped in
//! ```
//!
//! Names, rules and wording are Cassandra's (`org.apache.cassandra.auth`); what is ours is the resource KEY with its permission USE.
//!
//! What must hold:
//! - [`Roles`] never changes: a statement is judged by one snapshot, and a change is seen by the next statement of every connection.
//! - A change of roles is one mutation of the server's own table, under the service's key; those that come with a schema change are in its log group.
//! - No password reaches a disk, a log or an error. A hash reaches the server's own table, and clients that are superusers.
//!
//! Read in this order: `permission`, `resource`, `role` (the snapshot); `store` (at rest), `first` (the first super-user); `password`, `login`, `cidr`; `needs` (what a statement asks for);
//! `change`, `grant` (role statements), `list`.

pub mod change;
pub mod cidr;
pub mod first;
pub mod grant;
pub mod list;
pub mod login;
pub mod needs;
pub mod password;
pub mod permission;
pub mod resource;
pub mod role;
pub mod store;

pub use permission::PermissionSet;
pub use resource::Resource;
pub use role::{Role, Roles, SaltedHash};

/// What AUTHENTICATE names; drivers choose by it what they answer.
pub const AUTHENTICATOR_CLASS: &str = "org.apache.cassandra.auth.PasswordAuthenticator";
