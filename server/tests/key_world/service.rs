//! The key service of the world: a scripted one behind a network that takes its time, and a log of every call by which the oracle judges.
//!
//! What must hold: the log is written where the call passes, by the clocks of that moment, and by nothing that the key keeper believes. A call that nobody waits for
//! any more ends as `Left`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use palladium_crypto::{
    Answering, CmkRef, DenialReason, EncryptionContext, Entropy, Error, GeneratedKey, Grant,
    GrantId, GrantRequest, Grants, KeyDescription, Kms, Operation, Reply, ScriptedKms, Secret,
    SeededEntropy, UnavailableReason,
};
use palladium_storage::{Env, Lease, Reading, SimulatedEnv};

/// Calls that the log remembers.
const CALLS_MAX: usize = 6_000;

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Given,
    Denied(DenialReason),
    Unavailable(UnavailableReason),
    /// Bytes that are not the table's key.
    Wrong,
    /// Nobody waited any longer.
    Left,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Asked {
    pub number: u64,
    pub operation: Operation,
    pub key: CmkRef,
    /// The table's name, where the call had a context.
    pub table: Option<String>,
    pub sent: Reading,
    pub ended: Option<(Reading, Ending)>,
}

impl Asked {
    pub fn ending(&self) -> Option<Ending> {
        self.ended.map(|(_, ending)| ending)
    }

    /// Whether the key came when the lease that the call began was over: that is no better than silence.
    pub fn is_late(&self, lease_seconds: u64) -> bool {
        let lease = Lease::starting_at(self.sent, lease_seconds);
        self.ended
            .is_some_and(|(at, ending)| ending == Ending::Given && !lease.is_alive_at(at))
    }

    /// Whether it is a denial that speaks of the key itself.
    pub fn is_key_wide_denial(&self) -> bool {
        matches!(self.ending(), Some(Ending::Denied(reason)) if reason.is_key_wide())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.as_deref().unwrap_or("-");
        let sent = self.sent.wall_micros;
        write!(f, "{sent}: {:?} {} {table}", self.operation, self.key)?;
        match self.ended {
            Some((at, ending)) => write!(f, ", {}: {ending:?}", at.wall_micros),
            None => Ok(()),
        }
    }
}

pub struct Service {
    pub script: ScriptedKms,
    env: Arc<SimulatedEnv>,
    random: SeededEntropy,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    calls: VecDeque<Asked>,
    begun: u64,
    /// A key whose answers take very long.
    slow: Vec<(CmkRef, Duration)>,
}

impl Service {
    pub fn new(seed: u64, env: Arc<SimulatedEnv>) -> Service {
        Service {
            script: ScriptedKms::new(seed),
            env,
            random: SeededEntropy::new(seed ^ 0x1a7e),
            log: Mutex::default(),
        }
    }

    /// From now on a key's answers take so long, or the usual time.
    pub fn set_slow(&self, key: &CmkRef, delay: Option<Duration>) {
        let mut log = self.log();
        log.slow.retain(|(slow, _)| slow != key);
        log.slow.extend(delay.map(|delay| (key.clone(), delay)));
    }

    /// All calls that are remembered, the newest first.
    pub fn newest_first<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Asked>) -> T) -> T {
        look(&mut self.log().calls.iter().rev())
    }

    /// How many calls began.
    pub fn begun(&self) -> u64 {
        self.log().begun
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no holder of this lock panics")
    }

    fn draw(&self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    /// How long a message is under way: mostly no time at all, seldom long enough for much to happen meanwhile.
    fn travel(&self) -> Duration {
        match self.draw(10) {
            0..6 => Duration::ZERO,
            6..9 => Duration::from_millis(1 + self.draw(40)),
            _ => Duration::from_millis(1 + self.draw(150)),
        }
    }

    async fn travelled(&self, duration: Duration) {
        if !duration.is_zero() {
            self.env.sleep(duration).await;
        }
    }

    async fn pass<T>(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
        answering: Answering<'_, T>,
        judge: impl Fn(&T) -> Ending + Send,
    ) -> Reply<T> {
        let there = {
            let log = self.log();
            let slow = log.slow.iter().find(|(slow, _)| slow == key);
            slow.map(|(_, delay)| *delay)
        };
        let passing = self.begin(operation, key, context);
        self.travelled(there.unwrap_or_else(|| self.travel())).await;
        let reply = answering.await;
        self.travelled(self.travel()).await;
        passing.end(match &reply.outcome {
            Ok(given) => judge(given),
            Err(Error::Denied { reason, .. }) => Ending::Denied(*reason),
            Err(Error::Unavailable { reason, .. }) => Ending::Unavailable(*reason),
            Err(_) => Ending::Wrong,
        });
        reply
    }

    fn begin(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
    ) -> Passing<'_> {
        let table = context.and_then(|context| context.0.get(EncryptionContext::TABLE_NAME));
        let sent = Reading::now(&*self.env);
        let mut log = self.log();
        let number = log.begun;
        log.begun += 1;
        if log.calls.len() == CALLS_MAX {
            log.calls.pop_front();
        }
        log.calls.push_back(Asked {
            number,
            operation,
            key: key.clone(),
            table: table.cloned(),
            sent,
            ended: None,
        });
        Passing {
            service: self,
            number,
        }
    }
}

/// A call under way; it ends when it is dropped at the latest.
struct Passing<'a> {
    service: &'a Service,
    number: u64,
}

impl Passing<'_> {
    fn end(&self, ending: Ending) {
        let now = Reading::now(&*self.service.env);
        let mut log = self.service.log();
        let number = self.number;
        if let Some(call) = log
            .calls
            .iter_mut()
            .rev()
            .find(|call| call.number == number)
        {
            call.ended.get_or_insert((now, ending));
        }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.end(Ending::Left);
    }
}

fn given<T>(_: &T) -> Ending {
    Ending::Given
}

impl Kms for Service {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        let asked = self.script.describe(key);
        // A description that says no is an answer and a denial at once.
        let judge = |said: &KeyDescription| said.denial.map_or(Ending::Given, Ending::Denied);
        Box::pin(self.pass(Operation::Describe, key, None, asked, judge))
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        let asked = self.script.generate_data_key(key, context);
        Box::pin(self.pass(Operation::Generate, key, Some(context), asked, given))
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        let asked = self.script.decrypt(key, ciphertext, context);
        Box::pin(self.pass(Operation::Decrypt, key, Some(context), asked, given))
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        let asked = self.script.encrypt(key, plaintext, context);
        Box::pin(self.pass(Operation::Encrypt, key, Some(context), asked, given))
    }

    fn grants(&self) -> Option<&dyn Grants> {
        self.script.grants().is_some().then_some(self as _)
    }
}

impl Grants for Service {
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId> {
        let asked = self.script.create_grant(key, request);
        let context = Some(&request.context);
        Box::pin(self.pass(Operation::CreateGrant, key, context, asked, given))
    }

    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()> {
        let asked = self.script.retire_grant(key, grant);
        Box::pin(async move {
            let reply = self
                .pass(Operation::RetireGrant, key, None, asked, given)
                .await;
            // A key that was destroyed takes its grants along; this one comes back, and its grants do not.
            if let Err(Error::Denied { reason, .. }) = &reply.outcome
                && *reason == DenialReason::NotFound
            {
                self.script.revoke(grant);
            }
            reply
        })
    }

    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>> {
        let asked = self.script.list_grants(key);
        Box::pin(self.pass(Operation::ListGrants, key, None, asked, given))
    }
}
