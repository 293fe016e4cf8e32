//! Who we are to Vault: the token, where it comes from, how it is kept alive, and whether a "permission denied" was about it.
//!
//! ```text
//! token_file    read again whenever the file changes, and when Vault no longer accepts the token
//! approle       a login with role id and secret id; another one when the token cannot be renewed, has ended or is not accepted
//! ```
//!
//! A task renews the token when two thirds of its life are over (`renew-self`), so that it lives on while nobody asks for a key. A caller whose
//! token has ended meanwhile logs in itself. What must hold: a token that has ended, was revoked or cannot be had is *our* trouble, so it is
//! `Unavailable`. Vault answers 403 both to a stranger and to somebody who may not use the key; only if it then still knows the token
//! (`lookup-self`) does the 403 speak of the key.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use super::answers::{Auth, OwnToken, Refusal, odd, parse, refusal};
use super::settings::{AppRole, Login};
use super::stamp::Stamp;
use super::wire::{ANSWER_BYTES_MAX, Answer, Call, Wire};
use crate::error::{Error, Result, UnavailableReason};
use crate::private_file::{self, Readers};

/// Longest token or secret id accepted.
const SECRET_BYTES_MAX: usize = 8 << 10;
/// When there is nothing to renew, the task looks again after this.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// After a failure, the task tries again after this.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// No more than one renewal in this time, however short a token lives.
const RENEWAL_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// Our token.
pub(super) struct Session {
    login: Login,
    held: Mutex<Option<Held>>,
    /// One login at a time; whoever waited takes what it gave.
    turn: tokio::sync::Mutex<()>,
}

/// A token and what we know of it.
#[derive(Clone)]
struct Held {
    token: HeaderValue,
    /// The file as it was when the token was read.
    stamp: Option<Stamp>,
    life: Life,
}

#[derive(Copy, Clone)]
enum Life {
    /// Read from a file, not looked up yet.
    Unknown,
    /// A root token, for one.
    Endless,
    Until {
        end: Instant,
        renew_at: Instant,
        renewable: bool,
    },
}

impl Life {
    /// From a moment before Vault was asked, so that it never seems longer than it is.
    fn of(asked: Instant, ttl_s: u64, renewable: bool) -> Self {
        // A life of more than a century cannot be told from one without end.
        let ttl = Duration::from_secs(ttl_s.min(100 * 365 * 86_400));
        if ttl_s == 0 {
            return Life::Endless;
        }
        Life::Until {
            end: asked + ttl,
            renew_at: asked + (ttl * 2 / 3).max(RENEWAL_INTERVAL_MIN),
            renewable,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Life::Until { end, .. } if *end <= Instant::now())
    }
}

impl Session {
    pub fn new(login: Login) -> Self {
        Session {
            login,
            held: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The token for a call that is sent now.
    pub async fn token(&self, wire: &Wire) -> Result<HeaderValue> {
        match &self.login {
            Login::File(path) => self.read_file(path),
            Login::AppRole(role) => match self.alive() {
                Some(token) => Ok(token),
                None => self.log_in(wire, role, None).await,
            },
        }
    }

    /// Another token than the one that Vault has just refused.
    pub async fn another(&self, wire: &Wire, refused: &HeaderValue) -> Result<HeaderValue> {
        match &self.login {
            Login::File(path) => {
                self.forget(refused);
                let token = self.read_file(path)?;
                if token == *refused {
                    return Err(ours(format!(
                        "Vault does not accept the token in {}: it has ended or was revoked",
                        path.display()
                    )));
                }
                Ok(token)
            }
            Login::AppRole(role) => self.log_in(wire, role, Some(refused)).await,
        }
    }

    /// Asks Vault whether it knows this token. Such a question costs no permission but `read` on `auth/token/lookup-self`, which the policy
    /// `default` gives.
    pub async fn is_known(&self, wire: &Wire, token: &HeaderValue) -> Result<bool> {
        match look_up(wire, token).await? {
            Ok(_) => Ok(true),
            Err(Refusal::Forbidden(_)) => Ok(false),
            Err(Refusal::Error(error)) => Err(as_ours(error)),
        }
    }

    /// Does what the token needs now, and says when to come again.
    pub async fn keep_alive(&self, wire: &Wire) -> Duration {
        match self.renew(wire).await {
            Ok(pause) => pause,
            Err(_) => RETRY_INTERVAL,
        }
    }

    async fn renew(&self, wire: &Wire) -> Result<Duration> {
        let token = self.token(wire).await?;
        let Some(life) = self.life(&token) else {
            return Ok(RENEWAL_INTERVAL_MIN);
        };
        let Life::Until {
            end,
            renew_at,
            renewable,
        } = life
        else {
            return self.learn(wire, &token, life).await;
        };
        let now = Instant::now();
        if now < renew_at {
            return Ok(self.until(renew_at));
        }
        let renewed = if renewable {
            self.renew_self(wire, &token).await?
        } else {
            None
        };
        match (renewed, &self.login) {
            // It gave more time than was left.
            (Some((next_end, next)), _) if next_end > end + RENEWAL_INTERVAL_MIN => {
                Ok(self.until(next))
            }
            (_, Login::AppRole(role)) => {
                self.log_in(wire, role, Some(&token)).await?;
                Ok(RENEWAL_INTERVAL_MIN)
            }
            // The end is fixed: whoever writes the file will write another token.
            (Some((_, next)), Login::File(_)) => Ok(self.until(next)),
            (None, Login::File(_)) => Ok(RETRY_INTERVAL),
        }
    }

    /// Learns how long a token lives that was read from a file.
    async fn learn(&self, wire: &Wire, token: &HeaderValue, life: Life) -> Result<Duration> {
        if matches!(life, Life::Endless) {
            return Ok(LOOK_INTERVAL);
        }
        let asked = Instant::now();
        match look_up(wire, token).await? {
            Ok(own) => {
                self.set_life(token, Life::of(asked, own.ttl, own.renewable));
                Ok(RENEWAL_INTERVAL_MIN)
            }
            Err(_) => {
                self.forget(token);
                Ok(RETRY_INTERVAL)
            }
        }
    }

    /// The new end and the next renewal; None if Vault does not renew this token any more.
    async fn renew_self(
        &self,
        wire: &Wire,
        token: &HeaderValue,
    ) -> Result<Option<(Instant, Instant)>> {
        let asked = Instant::now();
        let answer = wire
            .send(&post("auth/token/renew-self", b"{}"), Some(token))
            .await?;
        if answer.status != 200 {
            return match refusal(answer.status, &answer.body, false) {
                // 400: this token cannot be renewed. 403: it is none any more, or its policy forbids it.
                Refusal::Error(error) if answer.status != 400 => Err(as_ours(error)),
                _ => Ok(None),
            };
        }
        let auth = auth(&answer)?;
        let life = Life::of(asked, auth.lease_duration, auth.renewable);
        self.set_life(token, life);
        Ok(match life {
            Life::Until { end, renew_at, .. } => Some((end, renew_at)),
            Life::Unknown | Life::Endless => None,
        })
    }

    async fn log_in(
        &self,
        wire: &Wire,
        role: &AppRole,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue> {
        let _turn = self.turn.lock().await;
        if let Some(token) = self.alive().filter(|token| Some(token) != refused) {
            return Ok(token);
        }
        let body = credentials(role)?;
        let path = format!("auth/{}/login", role.mount);
        let asked = Instant::now();
        let answer = wire.send(&post(&path, &body), None).await?;
        if answer.status != 200 {
            return Err(match refusal(answer.status, &answer.body, false) {
                Refusal::Forbidden(words) => ours(format!("login at auth/{}: {words}", role.mount)),
                Refusal::Error(error) => as_ours(error),
            });
        }
        let auth = auth(&answer)?;
        let token = header(auth.client_token)
            .ok_or_else(|| odd("to a login holds a token that is no header value"))?;
        *self.held() = Some(Held {
            token: token.clone(),
            stamp: None,
            life: Life::of(asked, auth.lease_duration, auth.renewable),
        });
        Ok(token)
    }

    /// The token that the file holds now; read only if the file is another than before.
    fn read_file(&self, path: &Path) -> Result<HeaderValue> {
        let stamp = Stamp::of(path).map_err(|error| cannot_read(path, error))?;
        let mut held = self.held();
        if let Some(known) = held.as_ref().filter(|known| known.stamp == Some(stamp)) {
            return Ok(known.token.clone());
        }
        let text = read_secret(path)?;
        let token = header(&text).ok_or_else(|| {
            ours(format!(
                "{} holds no token: expected one line",
                path.display()
            ))
        })?;
        // The same token in a file that was touched is as old as it was.
        let life = match held.as_ref() {
            Some(known) if known.token == token => known.life,
            _ => Life::Unknown,
        };
        *held = Some(Held {
            token: token.clone(),
            stamp: Some(stamp),
            life,
        });
        Ok(token)
    }

    fn alive(&self) -> Option<HeaderValue> {
        self.held()
            .as_ref()
            .filter(|held| !held.life.has_ended())
            .map(|held| held.token.clone())
    }

    fn life(&self, token: &HeaderValue) -> Option<Life> {
        self.held()
            .as_ref()
            .filter(|held| held.token == *token)
            .map(|held| held.life)
    }

    fn set_life(&self, token: &HeaderValue, life: Life) {
        if let Some(held) = self.held().as_mut().filter(|held| held.token == *token) {
            held.life = life;
        }
    }

    fn forget(&self, token: &HeaderValue) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|held| held.token == *token) {
            *held = None;
        }
    }

    /// A file is looked at more often than its token asks for.
    fn until(&self, moment: Instant) -> Duration {
        let pause = moment
            .saturating_duration_since(Instant::now())
            .max(RENEWAL_INTERVAL_MIN);
        match self.login {
            Login::File(_) => pause.min(LOOK_INTERVAL),
            Login::AppRole(_) => pause,
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().expect("no holder of this lock panics")
    }
}

async fn look_up(
    wire: &Wire,
    token: &HeaderValue,
) -> Result<std::result::Result<OwnToken, Refusal>> {
    let call = Call {
        method: Method::GET,
        path: "auth/token/lookup-self",
        body: None,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = wire.send(&call, Some(token)).await?;
    if answer.status != 200 {
        return Ok(Err(refusal(answer.status, &answer.body, false)));
    }
    parse::<OwnToken>(&answer.body)?
        .data
        .map(Ok)
        .ok_or_else(|| odd("to lookup-self is empty"))
}

fn auth(answer: &Answer) -> Result<Auth<'_>> {
    parse::<serde::de::IgnoredAny>(&answer.body)?
        .auth
        .ok_or_else(|| odd("holds no token"))
}

fn post<'a>(path: &'a str, body: &'a [u8]) -> Call<'a> {
    Call {
        method: Method::POST,
        path,
        body: Some(body),
        answer_bytes_max: ANSWER_BYTES_MAX,
    }
}

fn credentials(role: &AppRole) -> Result<Zeroizing<Vec<u8>>> {
    #[derive(serde::Serialize)]
    struct Credentials<'a> {
        role_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_id: Option<&'a str>,
    }
    let secret_id = role.secret_id_file.as_ref().map(read_secret).transpose()?;
    let mut body = Zeroizing::new(Vec::with_capacity(2 * SECRET_BYTES_MAX));
    serde_json::to_writer(
        &mut *body,
        &Credentials {
            role_id: &role.role_id,
            secret_id: secret_id.as_deref().map(String::as_str),
        },
    )
    .expect("two strings can be written as JSON");
    Ok(body)
}

/// One line of a file, without the space around it.
fn read_secret(path: impl AsRef<Path>) -> Result<Zeroizing<String>> {
    use std::io::Read;

    let path = path.as_ref();
    let file = private_file::open(path, Readers::OwnerAndGroup).map_err(ours)?;
    let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX + 1));
    file.take(SECRET_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| cannot_read(path, error))?;
    if text.len() > SECRET_BYTES_MAX || text.trim().is_empty() {
        return Err(ours(format!(
            "{}: expected one line of at most {SECRET_BYTES_MAX} bytes",
            path.display()
        )));
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    ours(format!("cannot read {}: {error}", path.display()))
}

/// Trouble with our own credentials: nobody has said anything about a key.
fn ours(what: impl std::fmt::Display) -> Error {
    let what = what.to_string();
    Error::unavailable(UnavailableReason::Unreachable, what)
}

/// What would be a denial of a key means nothing of the kind where no key was named.
fn as_ours(error: Error) -> Error {
    match error {
        Error::Unavailable { .. } => error,
        other => ours(other),
    }
}

/// For a caller who was forbidden something and then was not known either.
pub(super) fn refused_twice(words: &str) -> Error {
    ours(format!(
        "Vault answers '{words}', and then does not know this server's token either"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        // A new file in place of the old one, as those who write tokens do it.
        let (path, draft) = (folder.path().join("token"), folder.path().join("draft"));
        std::fs::write(&draft, text).unwrap();
        let owner_and_group = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&draft, owner_and_group).unwrap();
        std::fs::rename(draft, &path).unwrap();
        path
    }

    #[test]
    fn a_token_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "first\n");
        let session = Session::new(Login::File(path.clone()));
        assert_eq!(session.read_file(&path).unwrap(), "first");
        file(&folder, "second\n");
        assert_eq!(session.read_file(&path).unwrap(), "second");
    }

    #[test]
    fn a_token_file_that_everybody_may_read_is_our_own_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "token\n");
        let everybody = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&path, everybody).unwrap();
        let session = Session::new(Login::File(path.clone()));
        let error = session.read_file(&path).unwrap_err().to_string();
        assert!(error.contains("can be read by others"), "{error}");
    }

    #[test]
    fn a_token_file_that_is_missing_or_empty_is_our_own_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let session = Session::new(Login::File(path.clone()));
        for text in [None, Some(" \n"), Some("two\nlines")] {
            if let Some(text) = text {
                file(&folder, text);
            }
            let error = session.read_file(&path).unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        file(&folder, &long);
        assert!(session.read_file(&path).is_err());
    }

    #[test]
    fn a_token_is_not_shown() {
        assert!(!format!("{:?}", header("s.secret")).contains("secret"));
    }
}
