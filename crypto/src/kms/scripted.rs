//! A key service that follows a script: slow, denied, out of reach, gone, back. Exists under the feature `test-util`.
//!
//! It stands before another service, or keeps keys of its own (every name is a key, its material drawn from the seed). It names
//! no timer and no executor: `Held` waits until the script says otherwise, `Slow` asks to be polled again a number of times, so a
//! world with virtual time decides what "slow" means.
//!
//! The script is read when a call begins and again whenever it is woken from `Held`.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::entropy::{Entropy, SeededEntropy};
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::kdf;
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::blob::Material;
use crate::kms::{Answering, GeneratedKey, KeyDescription, Kms};
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
}

/// A call that began.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Of which key.
    pub key: CmkRef,
    /// With which context (none for `describe`).
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
    behaviors: HashMap<CmkRef, Behavior>,
    exceptions: HashMap<(CmkRef, Operation), Behavior>,
    counts: HashMap<(CmkRef, Operation), u64>,
    calls: VecDeque<Call>,
    held: Vec<Waker>,
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
        script.behaviors.insert(key.clone(), behavior);
        wake(script);
    }

    /// From now on, this one operation on `key` behaves so, until `set` speaks of the key again.
    pub fn set_operation(&self, key: &CmkRef, operation: Operation, behavior: Behavior) {
        let mut script = self.script();
        script.exceptions.insert((key.clone(), operation), behavior);
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
        self.script().note(operation, key, context);
        let mut polls = 0;
        poll_fn(|task| self.script().answer(operation, key, &mut polls, task)).await
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

    fn behavior(&self, operation: Operation, key: &CmkRef) -> Behavior {
        let exception = self.exceptions.get(&(key.clone(), operation));
        let behavior = exception.or_else(|| self.behaviors.get(key));
        behavior.copied().unwrap_or(Behavior::Ok)
    }

    fn answer(
        &mut self,
        operation: Operation,
        key: &CmkRef,
        polls: &mut u32,
        task: &Context<'_>,
    ) -> Poll<Result<()>> {
        match self.behavior(operation, key) {
            Behavior::Ok => Poll::Ready(Ok(())),
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
            let denial = match self.script().behavior(Operation::Describe, key) {
                Behavior::Denied(reason) => Some(reason),
                _ => None,
            };
            if let (Keys::Of(inner), None) = (&self.keys, denial) {
                return inner.describe(key).await;
            }
            Ok(KeyDescription {
                key: key.clone(),
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
}
