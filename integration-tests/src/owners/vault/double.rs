//! A double of HashiCorp Vault: as much of its published HTTP API as a user of `transit` meets, with real AES-GCM underneath.
//!
//! ```text
//! sys/seal-status, sys/seal, sys/unseal, sys/mounts/MOUNT, sys/auth/approle, sys/policies/acl/NAME (in JSON)
//! auth/token/{create,lookup-self,renew-self,revoke}     auth/approle/{login, role/NAME, role/NAME/role-id, role/NAME/secret-id}
//! MOUNT/keys/KEY (POST, GET, DELETE), MOUNT/keys/KEY/{config,rotate}, MOUNT/{datakey/plaintext,encrypt,decrypt}/KEY
//! ```
//!
//! Errors have Vault's status and words, checked against a real one in the long run (`tests/it/vault.rs`). What a double adds: a token's time to live is
//! only told, never enforced, so that a test says when tokens end ([`Double::end_tokens`]); and any answer can be replaced by a bad one ([`Double::misbehave`]).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::http::{Reaction, Request, Server};
use super::transit::{Engine, Failure};

/// The root token.
pub const ROOT: &str = "root";
const UNSEAL_KEY: &str = "unseal";

/// A running double; ends when it is dropped.
pub struct Double {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    server: Option<Server>,
}

#[derive(Default)]
struct World {
    sealed: bool,
    engines: BTreeMap<String, Engine>,
    policies: BTreeMap<String, Value>,
    tokens: BTreeMap<String, Token>,
    roles: BTreeMap<String, Role>,
    drawn: u64,
    seen: Vec<Seen>,
    misbehaviours: Vec<Misbehaviour>,
}

struct Token {
    policies: Vec<String>,
    /// The namespace that it was made in.
    namespace: String,
    ttl_s: u64,
    max_ttl_s: u64,
    made: Instant,
    renewable: bool,
}

#[derive(Clone)]
struct Role {
    policies: Vec<String>,
    ttl_s: u64,
    max_ttl_s: u64,
    renewable: bool,
    role_id: String,
    secret_ids: Vec<String>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST transit/decrypt/orders`
    pub what: String,
    pub namespace: String,
}

struct Misbehaviour {
    part: String,
    reaction: Reaction,
    times: usize,
}

/// Status and body.
type Answer = (u16, Value);

impl Double {
    /// An unsealed Vault with `transit` and AppRole, and no keys.
    pub fn start() -> Double {
        let world = World {
            policies: BTreeMap::from([("default".into(), default_policy())]),
            tokens: BTreeMap::from([(ROOT.into(), Token::new(vec!["root".into()], "", 0))]),
            ..World::default()
        };
        let mut double = Double {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            world: Arc::new(Mutex::new(world)),
            server: None,
        };
        double.come_back();
        double
            .world()
            .engines
            .insert("transit".into(), Engine::default());
        double
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nobody listens any more, and open connections end.
    pub fn go_away(&mut self) {
        self.server = None;
    }

    /// The same address, the same keys.
    pub fn come_back(&mut self) {
        let world = Arc::clone(&self.world);
        let server = Server::start(
            self.address,
            Arc::new(move |request: &Request| handle(&world, request)),
        )
        .expect("the port can be had");
        self.address = server.address();
        self.server = Some(server);
    }

    /// All tokens but the root token have reached their end.
    pub fn end_tokens(&self) {
        self.world().tokens.retain(|token, _| token == ROOT);
    }

    /// The next `times` requests whose path holds `part` get this instead of an answer.
    pub fn misbehave(&self, part: &str, times: usize, reaction: Reaction) {
        self.world().misbehaviours.push(Misbehaviour {
            part: part.into(),
            reaction,
            times,
        });
    }

    /// Everything is answered as it should be again.
    pub fn behave(&self) {
        self.world().misbehaviours.clear();
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// How many requests of this kind there were.
    pub fn count(&self, what: &str) -> usize {
        self.world()
            .seen
            .iter()
            .filter(|seen| seen.what == what)
            .count()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no holder of this lock panics")
    }
}

impl Token {
    fn new(policies: Vec<String>, namespace: &str, ttl_s: u64) -> Token {
        Token {
            policies,
            namespace: namespace.into(),
            ttl_s,
            max_ttl_s: u64::MAX,
            made: Instant::now(),
            renewable: ttl_s > 0,
        }
    }

    fn left_s(&self) -> u64 {
        self.ttl_s
            .min(self.max_ttl_s.saturating_sub(self.made.elapsed().as_secs()))
    }

    fn auth(&self, token: &str) -> Value {
        json!({"client_token": token, "accessor": "a", "policies": self.policies, "lease_duration": self.left_s(), "renewable": self.renewable})
    }
}

fn handle(world: &Mutex<World>, request: &Request) -> Reaction {
    let mut world = world.lock().expect("no holder of this lock panics");
    let path = request.path.trim_start_matches("/v1/").to_owned();
    let namespace = request
        .headers
        .get("x-vault-namespace")
        .map_or("", |name| name.trim_matches('/'))
        .to_owned();
    world.seen.push(Seen {
        what: format!("{} {path}", request.method),
        namespace: namespace.clone(),
    });
    if let Some(bad) = world
        .misbehaviours
        .iter_mut()
        .find(|bad| bad.times > 0 && path.contains(&bad.part))
    {
        bad.times -= 1;
        return bad.reaction.clone();
    }
    let (status, body) = match world.answer(request, &path, &namespace) {
        Ok(answer) => answer,
        Err((status, words)) => (
            status,
            json!({"errors": words.map_or_else(Vec::new, |words| vec![words])}),
        ),
    };
    // As Go's encoder: one line, and a line feed.
    let body = if status == 204 {
        Vec::new()
    } else {
        format!("{body}\n").into_bytes()
    };
    Reaction::Answer { status, body }
}

fn default_policy() -> Value {
    json!({"path": {
        "auth/token/lookup-self": {"capabilities": ["read"]},
        "auth/token/renew-self": {"capabilities": ["update"]},
    }})
}

fn denied() -> Failure {
    (
        403,
        Some("1 error occurred:\n\t* permission denied\n\n".into()),
    )
}

fn bad(words: impl Into<String>) -> Failure {
    (400, Some(words.into()))
}

impl World {
    fn answer(
        &mut self,
        request: &Request,
        path: &str,
        namespace: &str,
    ) -> Result<Answer, Failure> {
        let body: Value = if request.body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(&request.body).map_err(|_| bad("failed to parse JSON input"))?
        };
        if path == "sys/seal-status" {
            return Ok((200, json!({"sealed": self.sealed})));
        }
        if path == "sys/unseal" {
            self.sealed &= body["key"] != UNSEAL_KEY;
            return Ok((200, json!({"sealed": self.sealed})));
        }
        if self.sealed {
            return Err((503, Some("Vault is sealed".into())));
        }
        if path == "auth/approle/login" {
            return self.log_in(&body, namespace);
        }
        let token = self.allow(request, path, namespace, &body)?;
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("POST" | "PUT", ["sys", "seal"]) => self.sealed = true,
            ("POST" | "PUT", ["sys", "mounts", mount @ ..]) => {
                self.engines
                    .insert(at(namespace, &mount.join("/")), Engine::default());
            }
            ("POST" | "PUT", ["sys", "auth", "approle"]) => {}
            ("POST" | "PUT", ["sys", "policies", "acl", name]) => {
                let policy = serde_json::from_str(body["policy"].as_str().unwrap_or_default());
                self.policies.insert(
                    (*name).into(),
                    policy.map_err(|_| bad("this double reads policies in JSON"))?,
                );
            }
            (_, ["auth", "token", rest @ ..]) => return self.token(rest, &token, &body, namespace),
            (_, ["auth", "approle", "role", name, rest @ ..]) => {
                return self.role(name, rest, &body);
            }
            (method, _) => {
                let full = at(namespace, path);
                let (engine, inside) = self.route(&full).ok_or_else(|| no_route(path))?;
                let inside = inside.to_owned();
                let answer = engine.answer(method, &inside, &body)?;
                return Ok(match answer {
                    Some(data) => (200, self.envelope(data)),
                    None => (204, Value::Null),
                });
            }
        }
        Ok((204, Value::Null))
    }

    /// Who asks, if they may.
    fn allow(
        &self,
        request: &Request,
        path: &str,
        namespace: &str,
        body: &Value,
    ) -> Result<String, Failure> {
        let name = request
            .headers
            .get("x-vault-token")
            .cloned()
            .unwrap_or_default();
        if name.is_empty() {
            return Err((403, Some("permission denied".into())));
        }
        let stranger = || {
            (
                403,
                Some("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n".into()),
            )
        };
        let token = self.tokens.get(&name).ok_or_else(stranger)?;
        if token.policies.iter().any(|policy| policy == "root") {
            return Ok(name);
        }
        // A token is worth nothing outside its namespace.
        let inside = namespace
            .strip_prefix(token.namespace.as_str())
            .is_some_and(|rest| {
                rest.is_empty() || token.namespace.is_empty() || rest.starts_with('/')
            });
        if !inside {
            return Err(denied());
        }
        let capability = match request.method.as_str() {
            "GET" => "read",
            "DELETE" => "delete",
            // Only `encrypt` makes keys by itself, for those who may create.
            _ if path.contains("/encrypt/") && !self.has_key(&at(namespace, path)) => "create",
            _ => "update",
        };
        let allowed = token
            .policies
            .iter()
            .filter_map(|policy| self.policies.get(policy))
            .any(|policy| allows(policy, path, capability, body));
        if allowed { Ok(name) } else { Err(denied()) }
    }

    fn has_key(&self, full: &str) -> bool {
        self.engines.iter().any(|(mount, engine)| {
            full.strip_prefix(mount.as_str())
                .and_then(|rest| rest.strip_prefix("/encrypt/"))
                .is_some_and(|key| engine.has(key))
        })
    }

    fn route<'a>(&mut self, full: &'a str) -> Option<(&mut Engine, &'a str)> {
        self.engines.iter_mut().find_map(|(mount, engine)| {
            let inside = full.strip_prefix(mount.as_str())?.strip_prefix('/')?;
            Some((engine, inside))
        })
    }

    fn token(
        &mut self,
        rest: &[&str],
        asker: &str,
        body: &Value,
        namespace: &str,
    ) -> Result<Answer, Failure> {
        match rest {
            ["create"] => {
                let mut policies = strings(&body["policies"]);
                if body["no_default_policy"] != true {
                    policies.push("default".into());
                }
                let mut made = Token::new(policies, namespace, seconds(&body["ttl"]));
                made.renewable &= body["renewable"] != false;
                Ok(self.hand_out(made))
            }
            ["lookup-self"] => {
                let token = &self.tokens[asker];
                let data = json!({"id": asker, "ttl": token.left_s(), "renewable": token.renewable, "policies": token.policies});
                Ok((200, self.envelope(data)))
            }
            ["renew-self"] => {
                let token = &self.tokens[asker];
                if !token.renewable {
                    return Err(bad("lease is not renewable"));
                }
                let auth = token.auth(asker);
                Ok(self.authenticated(auth))
            }
            ["revoke"] => {
                self.tokens
                    .remove(body["token"].as_str().unwrap_or_default());
                Ok((204, Value::Null))
            }
            _ => Err(no_route("auth/token")),
        }
    }

    fn role(&mut self, name: &str, rest: &[&str], body: &Value) -> Result<Answer, Failure> {
        let (role_id, secret_id) = (self.draw("role"), self.draw("secret"));
        match rest {
            [] => {
                let ttl_s = seconds(&body["token_ttl"]);
                let role = Role {
                    policies: strings(&body["token_policies"]),
                    ttl_s,
                    max_ttl_s: match seconds(&body["token_max_ttl"]) {
                        0 => u64::MAX,
                        most => most,
                    },
                    renewable: body["token_type"] != "batch",
                    role_id,
                    secret_ids: Vec::new(),
                };
                self.roles.insert(name.into(), role);
                Ok((204, Value::Null))
            }
            ["role-id"] => {
                let role = self.roles.get(name).ok_or((404, None))?;
                let data = json!({"role_id": role.role_id});
                Ok((200, self.envelope(data)))
            }
            ["secret-id"] => {
                let role = self.roles.get_mut(name).ok_or((404, None))?;
                role.secret_ids.push(secret_id.clone());
                Ok((200, self.envelope(json!({"secret_id": secret_id}))))
            }
            ["secret-id", "destroy"] => {
                let role = self.roles.get_mut(name).ok_or((404, None))?;
                role.secret_ids
                    .retain(|id| body["secret_id"] != id.as_str());
                Ok((204, Value::Null))
            }
            _ => Err(no_route("auth/approle")),
        }
    }

    fn log_in(&mut self, body: &Value, namespace: &str) -> Result<Answer, Failure> {
        let role = self
            .roles
            .values()
            .find(|role| {
                body["role_id"] == role.role_id.as_str()
                    && role
                        .secret_ids
                        .iter()
                        .any(|id| body["secret_id"] == id.as_str())
            })
            .cloned()
            .ok_or_else(|| bad("invalid role or secret ID"))?;
        let mut policies = role.policies;
        policies.push("default".into());
        let mut token = Token::new(policies, namespace, role.ttl_s);
        token.max_ttl_s = role.max_ttl_s;
        token.renewable &= role.renewable;
        Ok(self.hand_out(token))
    }

    fn hand_out(&mut self, token: Token) -> Answer {
        let name = self.draw("hvs");
        let auth = token.auth(&name);
        self.tokens.insert(name, token);
        self.authenticated(auth)
    }

    fn authenticated(&mut self, auth: Value) -> Answer {
        let mut envelope = self.envelope(Value::Null);
        envelope["auth"] = auth;
        (200, envelope)
    }

    fn envelope(&mut self, data: Value) -> Value {
        json!({"request_id": self.draw("request"), "lease_id": "", "renewable": false, "lease_duration": 0, "data": data, "wrap_info": null, "warnings": null, "auth": null})
    }

    /// A name that was never given before.
    fn draw(&mut self, kind: &str) -> String {
        self.drawn += 1;
        format!("{kind}.{}", self.drawn)
    }
}

/// Vault's rule for paths: the exact one, else the longest that ends with a star.
fn allows(policy: &Value, path: &str, capability: &str, body: &Value) -> bool {
    let Some(rules) = policy["path"].as_object() else {
        return false;
    };
    let rule = rules.get(path).or_else(|| {
        let matching = rules.iter().filter(|(glob, _)| {
            glob.strip_suffix('*')
                .is_some_and(|start| path.starts_with(start))
        });
        matching
            .max_by_key(|(glob, _)| glob.len())
            .map(|(_, rule)| rule)
    });
    let Some(rule) = rule else { return false };
    let sent = body.as_object().expect("a request's body is an object");
    let required = strings(&rule["required_parameters"])
        .iter()
        .all(|name| sent.contains_key(name));
    let allowed = rule["allowed_parameters"].as_object().is_none_or(|names| {
        sent.iter().all(|(name, value)| {
            names
                .get(name)
                .or_else(|| names.get("*"))
                .and_then(Value::as_array)
                .is_some_and(|values| values.is_empty() || values.contains(value))
        })
    });
    strings(&rule["capabilities"])
        .iter()
        .any(|one| one == capability)
        && required
        && allowed
}

fn at(namespace: &str, path: &str) -> String {
    if namespace.is_empty() {
        path.to_owned()
    } else {
        format!("{namespace}/{path}")
    }
}

fn no_route(path: &str) -> Failure {
    (
        404,
        Some(format!(
            "no handler for route \"{path}\". route entry not found."
        )),
    )
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// `"3s"`, `"1h"` or a number.
fn seconds(value: &Value) -> u64 {
    let Some(text) = value.as_str() else {
        return value.as_u64().unwrap_or(0);
    };
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().unwrap_or(0);
    match unit {
        "h" => number * 3600,
        "m" => number * 60,
        _ => number,
    }
}

/// Bytes that a request gives in base 64.
pub(super) fn bytes(value: &Value) -> Result<Vec<u8>, Failure> {
    Base64::decode_vec(value.as_str().unwrap_or_default()).map_err(|_| bad("illegal base64 data"))
}
