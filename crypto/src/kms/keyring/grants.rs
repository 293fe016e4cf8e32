//! The keyring's grants: the owner's hand, the server's credential, and the judgement of each call.
//!
//! | policy | a call is let in |
//! |---|---|
//! | open | always |
//! | grants-only | by a live grant that allows the operation and whose context is contained in the call's |
//!
//! No such grant is `AccessDenied`; if a grant that would have fitted was revoked, `GrantRevoked`. Describing carries no context: any live grant
//! that allows it will do.
//!
//! A server makes grants by a credential of its own: 32 random bytes in a file (0600, 64 digits), whose SHA-256 stands in the keyring. It is
//! read and checked at each call, so withdrawing it works at once. A credential that cannot be read or is not known is no word about the key:
//! the service is out of reach. Without one there are no grants to be made here ([`Kms::grants`](crate::Kms::grants) is `None`).
//!
//! The server retires what it has made; of the owner's grants, those that allow it to.

use std::collections::HashMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::contents::{
    Body, Contents, GRANTORS_MAX, GRANTS_MAX, GrantMaker, Key, KeyringGrant, REVOKED_MAX,
    check_request,
};
use super::snapshot::{Place, Snapshot};
use super::{Keyring, Write};
use crate::durable;
use crate::entropy::Entropy;
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::hex;
use crate::kdf;
use crate::keys::EncryptionContext;
use crate::kms::{Grant, GrantId, GrantOperation, GrantRequest};
use crate::private_file::{self, Readers};
use crate::secret::{Secret, equal};

/// Contexts of calls have three entries. All parts of a context up to this size are looked up; for larger ones, all grants are looked at.
const LOOKED_UP_ENTRIES_MAX: usize = 6;
/// A credential and its newline, with room for a stray one.
const CREDENTIAL_FILE_BYTES_MAX: u64 = 128;

/// Live grants by their context, so that a call does not look at each of thousands.
pub(super) struct GrantIndex {
    by_context: HashMap<[u8; 32], Vec<u32>>,
    describes: bool,
}

impl GrantIndex {
    pub fn new(grants: &[KeyringGrant]) -> Self {
        let mut by_context: HashMap<[u8; 32], Vec<u32>> = HashMap::new();
        for (position, grant) in (0..).zip(grants) {
            by_context
                .entry(digest(&grant.context))
                .or_default()
                .push(position);
        }
        GrantIndex {
            by_context,
            describes: grants
                .iter()
                .any(|grant| grant.operations.contains(&GrantOperation::Describe)),
        }
    }

    fn allows(
        &self,
        grants: &[KeyringGrant],
        operation: GrantOperation,
        context: Option<&EncryptionContext>,
    ) -> bool {
        let Some(context) = context else {
            return operation == GrantOperation::Describe && self.describes;
        };
        if context.0.len() > LOOKED_UP_ENTRIES_MAX {
            return grants
                .iter()
                .any(|grant| fits(grant, operation, Some(context)));
        }
        let entries: Vec<_> = context.0.iter().collect();
        (0..1usize << entries.len()).any(|chosen| {
            let part = entries
                .iter()
                .enumerate()
                .filter(|(bit, _)| chosen & (1 << bit) != 0)
                .map(|(_, (name, value))| ((*name).clone(), (*value).clone()))
                .collect();
            let found = self.by_context.get(&digest(&EncryptionContext(part)));
            found.is_some_and(|positions| {
                positions
                    .iter()
                    .any(|position| fits(&grants[*position as usize], operation, Some(context)))
            })
        })
    }
}

fn digest(context: &EncryptionContext) -> [u8; 32] {
    kdf::sha256(&[&context.to_bytes()])
}

/// Does the grant let this call in?
fn fits(
    grant: &KeyringGrant,
    operation: GrantOperation,
    context: Option<&EncryptionContext>,
) -> bool {
    grant.operations.contains(&operation)
        && context.is_none_or(|context| {
            grant
                .context
                .0
                .iter()
                .all(|(name, value)| context.0.get(name) == Some(value))
        })
}

impl Snapshot {
    /// Lets a call in, or says why not.
    pub fn authorize(
        &self,
        key: &Key<Place>,
        operation: GrantOperation,
        context: Option<&EncryptionContext>,
    ) -> Result<()> {
        let Some(grants) = self.index.grants_of(key) else {
            return Ok(());
        };
        if grants.allows(&key.grants, operation, context) {
            return Ok(());
        }
        let is_revoked = key
            .revoked
            .iter()
            .any(|grant| fits(grant, operation, context));
        let name = &key.name;
        Err(match is_revoked {
            true => Error::denied(
                DenialReason::GrantRevoked,
                format!("the grant on local:{name} that allowed this was revoked"),
            ),
            false => Error::denied(
                DenialReason::AccessDenied,
                format!("no grant on local:{name} allows this ({operation:?})"),
            ),
        })
    }
}

/// The owner's hand.
impl Keyring {
    /// Makes a grant. The same name and content again give the same grant.
    pub fn grant_create(&self, name: &str, request: &GrantRequest) -> Result<GrantId> {
        self.edit(|contents| self.add_grant(contents, name, request, GrantMaker::Owner))
    }

    /// Takes a grant away, and remembers that it was there: what it had allowed is `GrantRevoked` from now on.
    pub fn grant_revoke(&self, name: &str, grant: &GrantId) -> Result<()> {
        self.edit(|contents| {
            let key = contents.key_mut(name)?;
            let position = position(key, grant).ok_or_else(|| {
                Error::invalid(format!("local:{} has no grant {}", key.name, grant.0))
            })?;
            if key.revoked.len() == REVOKED_MAX {
                key.revoked.remove(0);
            }
            let revoked = key.grants.remove(position);
            key.revoked.push(revoked);
            Ok(((), Write::Yes))
        })
    }

    /// The live grants of a key, and then those that were revoked.
    pub fn grant_list(&self, name: &str) -> Result<(Vec<KeyringGrant>, Vec<KeyringGrant>)> {
        self.look(|snapshot| {
            let key = self.present(snapshot, name)?;
            Ok((key.grants.clone(), key.revoked.clone()))
        })
    }

    /// Draws a credential that may make grants, into a new file.
    pub fn grantor_create(&self, file: &Path) -> Result<()> {
        if file.symlink_metadata().is_ok() {
            return Err(Error::invalid(format!("{} exists already", file.display())));
        }
        let credential = Secret::<32>::random(self.entropy());
        // The file first: a hash without its credential would only take up room, and a credential without its hash opens nothing.
        let mut digits = Zeroizing::new(String::with_capacity(65));
        hex::push(&mut digits, credential.expose());
        digits.push('\n');
        let digest = kdf::sha256(&[credential.expose()]);
        durable::replace(file, digits.as_bytes())?;
        self.edit(|contents| {
            if contents.grantors.len() == GRANTORS_MAX {
                return Err(Error::invalid(format!(
                    "a keyring knows at most {GRANTORS_MAX} credentials that make grants"
                )));
            }
            contents.grantors.push(digest);
            Ok(((), Write::Yes))
        })
    }

    /// Makes grants with the credential in this file impossible. What was granted stays.
    pub fn grantor_withdraw(&self, file: &Path) -> Result<()> {
        let digest = read_credential(file)?;
        self.edit(|contents| {
            let before = contents.grantors.len();
            contents.grantors.retain(|grantor| !equal(grantor, &digest));
            match contents.grantors.len() < before {
                true => Ok(((), Write::Yes)),
                false => Err(Error::invalid(format!(
                    "the keyring does not know the credential in {}",
                    file.display()
                ))),
            }
        })
    }

    /// The same with every credential there is, for when a file is lost.
    pub fn grantor_withdraw_all(&self) -> Result<()> {
        self.edit(|contents| {
            contents.grantors.clear();
            Ok(((), Write::Yes))
        })
    }

    fn add_grant(
        &self,
        contents: &mut Contents<Body>,
        name: &str,
        request: &GrantRequest,
        maker: GrantMaker,
    ) -> Result<(GrantId, Write)> {
        check_request(request)?;
        let now = self.now();
        let key = contents.key_mut(name)?;
        key.usable(now)?;
        let mut operations = request.operations.clone();
        operations.sort_unstable();
        let same = key.grants.iter().find(|grant| {
            (grant.maker, &grant.name, &grant.operations, &grant.context)
                == (maker, &request.name, &operations, &request.context)
        });
        if let Some(grant) = same {
            return Ok((grant.id.clone(), Write::No));
        }
        if key.grants.len() == GRANTS_MAX {
            return Err(Error::invalid(format!(
                "the key local:{} has {GRANTS_MAX} grants, as many as a key may have: retire or revoke some",
                key.name
            )));
        }
        let id = GrantId(random_id(self.entropy()));
        key.grants.push(KeyringGrant {
            id: id.clone(),
            name: request.name.clone(),
            maker,
            created: now,
            operations,
            context: request.context.clone(),
        });
        Ok((id, Write::Yes))
    }
}

/// The server's credential; `service` gives the answers their shape.
impl Keyring {
    pub(super) fn create_grant_now(&self, name: &str, request: &GrantRequest) -> Result<GrantId> {
        let credential = self.credential()?;
        self.edit(|contents| {
            check_grantor(&contents.grantors, &credential)?;
            self.add_grant(contents, name, request, GrantMaker::Server)
        })
    }

    pub(super) fn retire_grant_now(&self, name: &str, grant: &GrantId) -> Result<()> {
        let credential = self.credential()?;
        self.edit(|contents| {
            check_grantor(&contents.grantors, &credential)?;
            let key = contents.key_mut(name)?;
            let Some(position) = position(key, grant) else {
                return Ok(((), Write::No));
            };
            let found = &key.grants[position];
            let may = found.maker == GrantMaker::Server
                || found.operations.contains(&GrantOperation::Retire);
            if !may {
                return Err(Error::denied(
                    DenialReason::AccessDenied,
                    format!("the grant {} on local:{} is its owner's", grant.0, key.name),
                ));
            }
            key.grants.remove(position);
            Ok(((), Write::Yes))
        })
    }

    pub(super) fn list_grants_now(&self, name: &str) -> Result<Vec<Grant>> {
        let credential = self.credential()?;
        self.look(|snapshot| {
            check_grantor(&snapshot.index.contents.grantors, &credential)?;
            let grants = &self.present(snapshot, name)?.grants;
            Ok(grants
                .iter()
                .map(|grant| Grant {
                    id: grant.id.clone(),
                    name: grant.name.clone(),
                })
                .collect())
        })
    }

    /// The digest of the credential that this keyring was opened with.
    fn credential(&self) -> Result<[u8; 32]> {
        let file = self.grant_credential_file().ok_or_else(|| {
            unauthenticated("no credential that makes grants was given to this server")
        })?;
        read_credential(file).map_err(|error| unauthenticated(&error.to_string()))
    }
}

fn check_grantor(grantors: &[[u8; 32]], credential: &[u8; 32]) -> Result<()> {
    match grantors.iter().any(|grantor| equal(grantor, credential)) {
        true => Ok(()),
        false => Err(unauthenticated(
            "the keyring does not know this server's credential for grants",
        )),
    }
}

/// Who is not known hears nothing about keys.
fn unauthenticated(what: &str) -> Error {
    Error::unavailable(UnavailableReason::Unreachable, what)
}

fn read_credential(file: &Path) -> Result<[u8; 32]> {
    let wrong = || {
        Error::invalid(format!(
            "{} holds no credential of 64 digits",
            file.display()
        ))
    };
    let metadata = file
        .metadata()
        .map_err(|error| Error::io("read", file, error))?;
    private_file::check(file, &metadata, Readers::Owner).map_err(Error::invalid)?;
    let bytes = durable::read(file, CREDENTIAL_FILE_BYTES_MAX)?.ok_or_else(wrong)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let mut read = None;
    let credential = Secret::<32>::filled(|out| read = hex::decode_into(text.trim_end(), out));
    read.map(|()| kdf::sha256(&[credential.expose()]))
        .ok_or_else(wrong)
}

fn position<M>(key: &Key<M>, grant: &GrantId) -> Option<usize> {
    key.grants.iter().position(|found| found.id == *grant)
}

fn random_id(entropy: &dyn Entropy) -> String {
    let mut id = [0; 16];
    entropy.fill(&mut id);
    hex::encode(&id)
}
