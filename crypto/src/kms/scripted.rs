//! A key service that follows a script: slow, denied, out of reach, gone, back. Exists under the feature `test-util`.
//!
//! It stands before another service, or keeps keys of its own (every name is a key, its material drawn from the seed). It names
//! no timer and no executor: `Held` waits until the script says otherwise, `Slow` asks to be polled again a number of times, so a
//! world with virtual time decides what "slow" means.
//!
//! The script is read when a call begins and again whenever it is woken from `Held`.
//!
//! Once it was told that grants are needed, a key works only under a grant that allows the operation for the context; a name that was made an alias
//! is described as its key.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::entropy::{Entropy, SeededEntropy};
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::kdf;
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::blob::Material;
use crate::kms::{
    Answering, GeneratedKey, Grant, GrantId, GrantOperation, GrantRequest, Grants, KeyDescription,
    Kms,
};
use crate::secret::Secret;

/// How many calls `calls` remembers; older ones are still counted.
const CALLS_MAX: usize = 10_000;

/// What a key (or one operation on it) does until told otherwise.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Behavior {
    /// Works.
    Ok,
    /// Is refused for this reason.
    Denied(DenialReason),
    /// Gives no authoritative answer, for this reason.
    Unavailable(UnavailableReason),
    /// Works after it was polled this many times.
    Slow(u32),
    /// Answers nothing until its behavior changes.
    Held,
    /// Says that the ciphertext does not authenticate: another key stands under this name.
    Tampered,
    /// Decrypts, and gives another key than was encrypted.
    Another,
}

/// One of the trait's calls.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum Operation {
    /// `Kms::describe`
    Describe,
    /// `Kms::generate_data_key`
    Generate,
    /// `Kms::decrypt`
    Decrypt,
    /// `Kms::encrypt`
    Encrypt,
    /// `Grants::create_grant`
    CreateGrant,
    /// `Grants::retire_grant`
    RetireGrant,
    /// `Grants::list_grants`
    ListGrants,
}

/// A call that began.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Of which key.
    pub key: CmkRef,
    /// With which context (none for `describe` and where grants are retired or listed).
    pub context: Option<EncryptionContext>,
}

/// The service.
pub struct ScriptedKms {
    keys: Keys,
    script: Mutex<Script>,
}

enum Keys {
    Own {
        seed: Secret<32>,
        entropy: Arc<dyn Entropy>,
    },
    Of(Arc<dyn Kms>),
}

#[derive(Default)]
struct Script {
    everywhere: Option<Behavior>,
    behaviors: HashMap<CmkRef, Behavior>,
    contexts: HashMap<(CmkRef, EncryptionContext), Behavior>,
    exceptions: HashMap<(CmkRef, Operation), Behavior>,
    /// What calls that begin from now on do, whatever becomes of those under way.
    beginners: HashMap<CmkRef, Behavior>,
    counts: HashMap<(CmkRef, Operation), u64>,
    calls: VecDeque<Call>,
    held: Vec<Waker>,
    aliases: HashMap<CmkRef, CmkRef>,
    /// How many grants a key may have; None: none are needed.
    grants_max: Option<usize>,
    grants: Vec<Granted>,
    /// How many there have ever been.
    granted: u64,
}

/// A grant, alive or revoked.
struct Granted {
    id: GrantId,
    key: CmkRef,
    request: GrantRequest,
    is_revoked: bool,
}

impl ScriptedKms {
    /// A service with keys of its own, all drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let entropy = SeededEntropy::new(seed);
        ScriptedKms::with(Keys::Own {
            seed: Secret::random(&entropy),
            entropy: Arc::new(entropy),
        })
    }

    /// A script before another service.
    pub fn wrap(inner: Arc<dyn Kms>) -> Self {
        ScriptedKms::with(Keys::Of(inner))
    }

    fn with(keys: Keys) -> Self {
        ScriptedKms {
            keys,
            script: Mutex::default(),
        }
    }

    /// From now on, every operation on `key` behaves so.
    pub fn set(&self, key: &CmkRef, behavior: Behavior) {
        let mut script = self.script();
        script.exceptions.retain(|(name, _), _| name != key);
        script.beginners.remove(key);
        script.behaviors.insert(key.clone(), behavior);
        wake(script);
    }

    /// Calls that begin from now on behave so; those under way go on as they are, until `set` speaks of the key again.
    pub fn answer_next_calls(&self, key: &CmkRef, behavior: Behavior) {
        self.script().beginners.insert(key.clone(), behavior);
    }

    /// Calls that are held behave so; those that begin later do what was said of them.
    pub fn release_held(&self, key: &CmkRef, behavior: Behavior) {
        let mut script = self.script();
        script.behaviors.insert(key.clone(), behavior);
        wake(script);
    }

    /// From now on, this one operation on `key` behaves so, until `set` speaks of the key again.
    pub fn set_operation(&self, key: &CmkRef, operation: Operation, behavior: Behavior) {
        let mut script = self.script();
        script.exceptions.insert((key.clone(), operation), behavior);
        wake(script);
    }

    /// From now on `alias` is described as `key`.
    pub fn set_alias(&self, alias: &CmkRef, key: &CmkRef) {
        self.script().aliases.insert(alias.clone(), key.clone());
    }

    /// From now on every key needs grants, which whoever holds this service may make: at most so many for a key.
    pub fn need_grants(&self, grants_max: usize) {
        self.script().grants_max = Some(grants_max);
    }

    /// The grants of a key that are alive.
    pub fn grants_of(&self, key: &CmkRef) -> Vec<(GrantId, GrantRequest)> {
        let script = self.script();
        let alive = script
            .grants
            .iter()
            .filter(|grant| grant.key == *key && !grant.is_revoked);
        alive
            .map(|grant| (grant.id.clone(), grant.request.clone()))
            .collect()
    }

    /// There is a grant of this name that nobody here has been told of.
    pub fn grant_by_hand(&self, key: &CmkRef, name: &str) {
        let mut script = self.script();
        let id = GrantId(format!("grant-{}", script.granted));
        script.granted += 1;
        script.grants.push(Granted {
            id,
            key: key.clone(),
            request: GrantRequest {
                name: name.to_owned(),
                operations: vec![GrantOperation::Retire],
                context: EncryptionContext(Default::default()),
            },
            is_revoked: false,
        });
    }

    /// The owner of the key takes a grant back.
    pub fn revoke(&self, id: &GrantId) {
        for grant in &mut self.script().grants {
            grant.is_revoked |= grant.id == *id;
        }
    }

    /// From now on, every operation on `key` with this context behaves so, whatever the key does otherwise; `None`: as the key does.
    pub fn set_context(
        &self,
        key: &CmkRef,
        context: &EncryptionContext,
        behavior: Option<Behavior>,
    ) {
        let mut script = self.script();
        let at = (key.clone(), context.clone());
        match behavior {
            Some(behavior) => script.contexts.insert(at, behavior),
            None => script.contexts.remove(&at),
        };
        wake(script);
    }

    /// From now on, every operation on every key behaves so; `None`: as the keys do.
    pub fn set_everywhere(&self, behavior: Option<Behavior>) {
        let mut script = self.script();
        script.everywhere = behavior;
        wake(script);
    }

    /// How often this operation on `key` began.
    pub fn count(&self, key: &CmkRef, operation: Operation) -> u64 {
        let counts = &self.script().counts;
        counts.get(&(key.clone(), operation)).copied().unwrap_or(0)
    }

    /// How many calls of any kind began.
    pub fn total(&self) -> u64 {
        self.script().counts.values().sum()
    }

    /// The newest calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.iter().cloned().collect()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the call, then waits for what the script says of it.
    async fn act(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
    ) -> Result<()> {
        let begun = {
            let mut script = self.script();
            script.note(operation, key, context);
            script.beginners.get(key).copied()
        };
        let mut polls = 0;
        poll_fn(|task| {
            let mut script = self.script();
            let behavior = begun.unwrap_or_else(|| script.behavior(operation, key, context));
            script.answer(behavior, operation, key, &mut polls, task)
        })
        .await?;
        self.script().judge(operation, key, context)
    }

    fn own_material(seed: &Secret<32>, key: &CmkRef) -> Material {
        let name = key.to_string();
        let id = kdf::hmac_sha256(seed, &[b"id", name.as_bytes()]);
        Material {
            id: id[..16].try_into().expect("half of 32 bytes"),
            secret: Secret::from_bytes(kdf::hmac_sha256(seed, &[b"material", name.as_bytes()])),
        }
    }
}

/// Wakes whoever is held, after letting the script go: a waker may poll at once.
fn wake(mut script: MutexGuard<'_, Script>) {
    let held = std::mem::take(&mut script.held);
    drop(script);
    held.into_iter().for_each(Waker::wake);
}

impl Script {
    fn note(&mut self, operation: Operation, key: &CmkRef, context: Option<&EncryptionContext>) {
        *self.counts.entry((key.clone(), operation)).or_default() += 1;
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(Call {
            operation,
            key: key.clone(),
            context: context.cloned(),
        });
    }

    /// Whether a grant allows the call.
    fn judge(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
    ) -> Result<()> {
        let needed = match operation {
            Operation::Generate => GrantOperation::Generate,
            Operation::Decrypt => GrantOperation::Decrypt,
            Operation::Encrypt => GrantOperation::Encrypt,
            _ => return Ok(()),
        };
        if self.grants_max.is_none() {
            return Ok(());
        }
        let fits = |grant: &&Granted| {
            let request = &grant.request;
            grant.key == *key
                && Some(&request.context) == context
                && request.operations.contains(&needed)
        };
        let fitting: Vec<&Granted> = self.grants.iter().filter(fits).collect();
        if fitting.iter().any(|grant| !grant.is_revoked) {
            return Ok(());
        }
        let reason = match fitting.is_empty() {
            true => DenialReason::AccessDenied,
            false => DenialReason::GrantRevoked,
        };
        Err(Error::denied(reason, format!("{key}, says the script")))
    }

    fn grant(&mut self, key: &CmkRef, request: &GrantRequest) -> Result<GrantId> {
        let mut alive = self.grants.iter().filter(|grant| !grant.is_revoked);
        let same = alive.find(|grant| grant.key == *key && grant.request == *request);
        if let Some(same) = same {
            return Ok(same.id.clone());
        }
        let of_key = |grant: &&Granted| grant.key == *key && !grant.is_revoked;
        if self.grants.iter().filter(of_key).count() >= self.grants_max.unwrap_or(0) {
            return Err(Error::invalid(format!(
                "LimitExceededException: {key} has as many grants as it may have"
            )));
        }
        let id = GrantId(format!("grant-{}", self.granted));
        self.granted += 1;
        self.grants.push(Granted {
            id: id.clone(),
            key: key.clone(),
            request: request.clone(),
            is_revoked: false,
        });
        Ok(id)
    }

    /// What is said of the whole service goes before what is said of one context, and that before what is said of the key.
    fn behavior(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
    ) -> Behavior {
        let of_context = |context: &EncryptionContext| {
            let at = (key.clone(), context.clone());
            self.contexts.get(&at)
        };
        self.everywhere
            .as_ref()
            .or_else(|| context.and_then(of_context))
            .or_else(|| self.exceptions.get(&(key.clone(), operation)))
            .or_else(|| self.behaviors.get(key))
            .copied()
            .unwrap_or(Behavior::Ok)
    }

    fn answer(
        &mut self,
        behavior: Behavior,
        operation: Operation,
        key: &CmkRef,
        polls: &mut u32,
        task: &Context<'_>,
    ) -> Poll<Result<()>> {
        match behavior {
            Behavior::Ok | Behavior::Another => Poll::Ready(Ok(())),
            Behavior::Tampered if operation != Operation::Decrypt => Poll::Ready(Ok(())),
            Behavior::Tampered => Poll::Ready(Err(Error::tampered("by the script"))),
            // Describing a key that is not usable works, as with real services; only a key that is not there, or not ours to
            // look at, cannot be described.
            Behavior::Denied(DenialReason::Disabled | DenialReason::PendingDeletion)
                if operation == Operation::Describe =>
            {
                Poll::Ready(Ok(()))
            }
            Behavior::Denied(reason) => Poll::Ready(Err(Error::denied(
                reason,
                format!("{key}, says the script"),
            ))),
            Behavior::Unavailable(reason) => Poll::Ready(Err(Error::unavailable(
                reason,
                format!("{key}, says the script"),
            ))),
            Behavior::Slow(count) if *polls >= count => Poll::Ready(Ok(())),
            Behavior::Slow(_) => {
                *polls += 1;
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Behavior::Held => {
                self.held.push(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Kms for ScriptedKms {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        Box::pin(async move {
            if let Err(error) = self.act(Operation::Describe, key, None).await {
                return Err(error).into();
            }
            let denial = match self.script().behavior(Operation::Describe, key, None) {
                Behavior::Denied(reason) => Some(reason),
                _ => None,
            };
            if let (Keys::Of(inner), None) = (&self.keys, denial) {
                return inner.describe(key).await;
            }
            let target = self.script().aliases.get(key).cloned();
            Ok(KeyDescription {
                key: target.unwrap_or_else(|| key.clone()),
                enabled: denial.is_none(),
                denial,
            })
            .into()
        })
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        Box::pin(async move {
            if let Err(error) = self.act(Operation::Generate, key, Some(context)).await {
                return Err(error).into();
            }
            match &self.keys {
                Keys::Of(inner) => inner.generate_data_key(key, context).await,
                Keys::Own { seed, entropy } => {
                    let plaintext = Secret::random(entropy.as_ref());
                    let ciphertext =
                        Self::own_material(seed, key).seal(&plaintext, context, entropy.as_ref());
                    Ok(GeneratedKey {
                        plaintext,
                        ciphertext,
                    })
                    .into()
                }
            }
        })
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        Box::pin(async move {
            if let Err(error) = self.act(Operation::Decrypt, key, Some(context)).await {
                return Err(error).into();
            }
            let behavior = self
                .script()
                .behavior(Operation::Decrypt, key, Some(context));
            if behavior == Behavior::Another {
                return Ok(Secret::from_bytes([0x5a; 32])).into();
            }
            match &self.keys {
                Keys::Of(inner) => inner.decrypt(key, ciphertext, context).await,
                Keys::Own { seed, .. } => Self::own_material(seed, key)
                    .open(ciphertext, context)
                    .into(),
            }
        })
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        Box::pin(async move {
            if let Err(error) = self.act(Operation::Encrypt, key, Some(context)).await {
                return Err(error).into();
            }
            match &self.keys {
                Keys::Of(inner) => inner.encrypt(key, plaintext, context).await,
                Keys::Own { seed, entropy } => {
                    Ok(Self::own_material(seed, key).seal(plaintext, context, entropy.as_ref()))
                        .into()
                }
            }
        })
    }

    fn grants(&self) -> Option<&dyn Grants> {
        self.script().grants_max.is_some().then_some(self as _)
    }
}

impl Grants for ScriptedKms {
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId> {
        Box::pin(async move {
            let context = Some(&request.context);
            match self.act(Operation::CreateGrant, key, context).await {
                Ok(()) => self.script().grant(key, request).into(),
                Err(error) => Err(error).into(),
            }
        })
    }

    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()> {
        Box::pin(async move {
            let done = self.act(Operation::RetireGrant, key, None).await;
            if done.is_ok() {
                self.script().grants.retain(|granted| {
                    granted.key != *key || granted.id != *grant || granted.is_revoked
                });
            }
            done.into()
        })
    }

    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>> {
        Box::pin(async move {
            let done = self.act(Operation::ListGrants, key, None).await;
            let named = |(id, request): (GrantId, GrantRequest)| Grant {
                id,
                name: request.name,
            };
            done.map(|()| self.grants_of(key).into_iter().map(named).collect())
                .into()
        })
    }
}
