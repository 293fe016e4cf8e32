//! AWS KMS and STS, simulated: what no double that can be installed does. Key policies and grants are enforced, grants spread late if told so, credentials
//! expire, requests are throttled, and each has its id.
//!
//! ```text
//! wire        HTTP/1.1 on loopback, X-Amz-Target and JSON for KMS, a form and XML for STS; AWS's documented error names
//!  -> who     the access key in the Authorization header; signatures are not checked
//!  -> where   the region in it; a key of another region is not found, as with AWS
//!  -> may he  the key's policy (a Deny beats all), then its grants
//!  -> state   Enabled or a refusal
//!  -> what    AES-256-GCM under the key's material, with the encryption context as associated data
//! ```
//!
//! The owner works on it by the methods here, the server under test by HTTP.

mod kms;
mod policy;
mod sts;

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::http::{Message, Server};

pub use policy::{policy_with_grants, policy_without_grants};

/// The account of everybody and everything here.
pub const ACCOUNT: &str = "111122223333";

/// The service.
pub struct SimulatedAws {
    server: Server,
    world: Arc<Mutex<World>>,
    folder: TempDir,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `Decrypt`, `AssumeRole` and so on.
    pub operation: String,
    /// The region that it was signed for.
    pub region: String,
    /// Who asked; empty for credentials that nobody has.
    pub caller: String,
    /// How many grant tokens came with it.
    pub grant_tokens: usize,
    /// What it was called.
    pub request_id: String,
    /// The error's name, if it was refused.
    pub error: Option<String>,
}

#[derive(Default)]
struct World {
    keys: HashMap<String, Key>,
    aliases: HashMap<String, String>,
    /// By access key id.
    callers: HashMap<String, Caller>,
    /// By ARN: who may assume the role, and the external id that he must know.
    roles: HashMap<String, (String, Option<String>)>,
    throttled: usize,
    grants_spread_late: bool,
    grants_max: usize,
    seen: Vec<Seen>,
}

struct Key {
    arn: String,
    state: String,
    policy: Value,
    material: [u8; 32],
    grants: Vec<Grant>,
    revoked: Vec<Grant>,
}

#[derive(Clone)]
struct Grant {
    id: String,
    name: Option<String>,
    token: String,
    grantee: String,
    operations: Vec<String>,
    /// `EncryptionContextEquals`
    context: Option<Value>,
    spread: bool,
}

#[derive(Clone)]
struct Caller {
    arn: String,
    expired: bool,
}

/// An answer before it has its id.
enum Answer {
    Json(Value),
    Xml(String),
    Refused {
        error: &'static str,
        message: String,
        xml: bool,
    },
}

fn refused(error: &'static str, message: impl Into<String>) -> Answer {
    Answer::Refused {
        error,
        message: message.into(),
        xml: false,
    }
}

impl SimulatedAws {
    /// Starts it, with the users `server` and `granter`.
    pub fn start() -> SimulatedAws {
        let world = Arc::new(Mutex::new(World {
            grants_max: 50_000,
            ..World::default()
        }));
        let server = Server::start(Arc::new({
            let world = Arc::clone(&world);
            move |request: Message, client: &mut TcpStream| {
                let answer = world.lock().expect("no holder panics").answer(&request);
                client.write_all(&answer.bytes())
            }
        }));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let aws = SimulatedAws {
            server,
            world,
            folder,
        };
        aws.new_credentials();
        aws
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The ARN of a user.
    pub fn user(name: &str) -> String {
        format!("arn:aws:iam::{ACCOUNT}:user/{name}")
    }

    /// The shared credentials file with a profile for each user.
    pub fn credentials_file(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    /// Gives both users new access keys, in the file; the old ones are good as long as they do not expire.
    pub fn new_credentials(&self) {
        let mut text = String::new();
        for name in ["server", "granter"] {
            let id = self.world().new_access_key(&Self::user(name));
            text.push_str(&profile(name, &id));
        }
        write(&self.credentials_file(), &text);
    }

    /// All access keys that are there now have expired.
    pub fn expire_credentials(&self) {
        self.world()
            .callers
            .values_mut()
            .for_each(|caller| caller.expired = true);
    }

    /// Makes a role that `user` may assume.
    pub fn create_role(&self, name: &str, user: &str, external_id: Option<&str>) -> String {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        let trust = (Self::user(user), external_id.map(str::to_owned));
        self.world().roles.insert(arn.clone(), trust);
        arn
    }

    /// Makes a key.
    pub fn create_key(&self, region: &str, policy: Value) -> String {
        let arn = format!("arn:aws:kms:{region}:{ACCOUNT}:key/{}", Uuid::new_v4());
        let halves = [Uuid::new_v4(), Uuid::new_v4()];
        let mut material = [0; 32];
        material[..16].copy_from_slice(halves[0].as_bytes());
        material[16..].copy_from_slice(halves[1].as_bytes());
        let key = Key {
            arn: arn.clone(),
            state: "Enabled".into(),
            policy,
            material,
            grants: Vec::new(),
            revoked: Vec::new(),
        };
        self.world().keys.insert(arn.clone(), key);
        arn
    }

    /// Gives an alias, or moves it.
    pub fn set_alias(&self, alias: &str, key: &str) {
        self.world()
            .aliases
            .insert(alias.to_owned(), key.to_owned());
    }

    /// Puts a key into a state, by AWS's name.
    pub fn set_state(&self, key: &str, state: &str) {
        self.world().key_mut(key).state = state.to_owned();
    }

    /// Replaces a key's policy.
    pub fn set_policy(&self, key: &str, policy: Value) {
        self.world().key_mut(key).policy = policy;
    }

    /// Revokes all grants on a key, as its owner may.
    pub fn revoke_grants(&self, key: &str) {
        let mut world = self.world();
        let key = world.key_mut(key);
        key.revoked.append(&mut key.grants);
    }

    /// Makes those grants again.
    pub fn regrant(&self, key: &str) {
        let mut world = self.world();
        let key = world.key_mut(key);
        key.grants.append(&mut key.revoked);
    }

    /// The names of the grants on a key.
    pub fn grants(&self, key: &str) -> Vec<String> {
        let mut world = self.world();
        world
            .key_mut(key)
            .grants
            .iter()
            .map(|grant| grant.name.clone().unwrap_or_default())
            .collect()
    }

    /// From now on new grants work only with their token, until [`SimulatedAws::spread_grants`].
    pub fn let_grants_spread_late(&self) {
        self.world().grants_spread_late = true;
    }

    /// All grants have spread.
    pub fn spread_grants(&self) {
        let mut world = self.world();
        world
            .keys
            .values_mut()
            .flat_map(|key| &mut key.grants)
            .for_each(|grant| grant.spread = true);
    }

    /// The quota of grants on a key.
    pub fn set_grants_max(&self, count: usize) {
        self.world().grants_max = count;
    }

    /// Answers the next requests to KMS with a ThrottlingException.
    pub fn throttle(&self, count: usize) {
        self.world().throttled = count;
    }

    /// The requests that came, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// Nobody listens any more.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Listens again, with all keys.
    pub fn resume(&mut self) {
        self.server.resume();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder panics")
    }
}

fn profile(name: &str, access_key: &str) -> String {
    format!(
        "[{name}]\naws_access_key_id = {access_key}\naws_secret_access_key = not-checked-by-anybody\n"
    )
}

fn write(path: &Path, text: &str) {
    // A reader finds the old file or the new one.
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("the credentials can be written");
    std::fs::rename(&new, path).expect("the credentials can be replaced");
}

impl World {
    fn new_access_key(&mut self, arn: &str) -> String {
        let id = format!(
            "AKIA{}",
            &Uuid::new_v4().simple().to_string().to_uppercase()[..16]
        );
        self.callers.insert(
            id.clone(),
            Caller {
                arn: arn.to_owned(),
                expired: false,
            },
        );
        id
    }

    fn key_mut(&mut self, arn: &str) -> &mut Key {
        self.keys.get_mut(arn).expect("the owner knows his keys")
    }

    fn answer(&mut self, request: &Message) -> Message {
        let request_id = Uuid::new_v4().to_string();
        let (scope, target) = (Scope::of(request), request.header("x-amz-target"));
        let form = sts::Form::read(&request.body);
        let operation = match target.and_then(|target| target.strip_prefix("TrentService.")) {
            Some(operation) => operation.to_owned(),
            None => form.get("Action").to_owned(),
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let caller = self.caller(scope.as_ref());
        let mut seen = Seen {
            operation: operation.clone(),
            region: scope.map(|scope| scope.region).unwrap_or_default(),
            caller: caller
                .as_ref()
                .map(|caller| caller.arn.clone())
                .unwrap_or_default(),
            grant_tokens: body["GrantTokens"].as_array().map_or(0, Vec::len),
            request_id: request_id.clone(),
            error: None,
        };
        let answer = match caller {
            Err(answer) => answer,
            Ok(caller) if target.is_none() => self.answer_sts(&caller, &operation, &form),
            Ok(_) if self.throttled > 0 => {
                self.throttled -= 1;
                refused(
                    "ThrottlingException",
                    "You have exceeded the rate at which you may call KMS.",
                )
            }
            Ok(caller) => self.answer_kms(&caller, &seen.region, &operation, &body),
        };
        if let Answer::Refused { error, .. } = &answer {
            seen.error = Some((*error).to_owned());
        }
        self.seen.push(seen);
        written(answer, &request_id)
    }

    fn caller(&self, scope: Option<&Scope>) -> Result<Caller, Answer> {
        let Some(scope) = scope else {
            return Err(refused(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ));
        };
        match self.callers.get(&scope.access_key) {
            None => Err(refused(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )),
            Some(caller) if caller.expired => Err(refused(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            )),
            Some(caller) => Ok(caller.clone()),
        }
    }
}

/// What an Authorization header says: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, ...`.
struct Scope {
    access_key: String,
    region: String,
}

impl Scope {
    fn of(request: &Message) -> Option<Scope> {
        let (_, credential) = request.header("authorization")?.split_once("Credential=")?;
        let mut parts = credential.split('/');
        let (access_key, _date, region) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Scope {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
        })
    }
}

fn written(answer: Answer, request_id: &str) -> Message {
    let id = ("x-amzn-RequestId", request_id);
    let json_type = ("content-type", "application/x-amz-json-1.1");
    match answer {
        Answer::Json(body) => Message::answer(200, &[json_type, id], body.to_string().as_bytes()),
        Answer::Xml(body) => {
            Message::answer(200, &[("content-type", "text/xml"), id], body.as_bytes())
        }
        Answer::Refused {
            error,
            message,
            xml: false,
        } => {
            let body = json!({ "__type": error, "message": message });
            Message::answer(400, &[json_type, id], body.to_string().as_bytes())
        }
        Answer::Refused {
            error,
            message,
            xml: true,
        } => Message::answer(
            403,
            &[("content-type", "text/xml"), id],
            sts::error(error, &message, request_id).as_bytes(),
        ),
    }
}
