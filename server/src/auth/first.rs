//! The first super-user: made when roles are switched on in a folder that has none.
//!
//! It is called `cassandra`, as everywhere. Its password is drawn and printed once, on standard error, to whoever starts the server for the first time: it is in
//! no log and, but for its hash, on no disk. Another one, `cassandra` too, is taken only from the setting `default_superuser_password`.
//!
//! Who has lost every super-user's password sets `restore_first_superuser` for one start: that makes this role anew, or gives it a new password and its rights
//! back, and is recorded in the audit trail. It takes the configuration and the keyring, which is what it takes to own the folder.

use std::io::Write as _;

use palladium_crypto::EncryptionContext;
use palladium_storage::{Backend, Engine, Env, Write};
use zeroize::Zeroizing;

use super::{Role, Roles, password, store};
use crate::audit::{Audit, Event};
use crate::config::Config;

/// Its name.
pub const NAME: &str = "cassandra";

/// The roles of a folder. The schema's table must be open.
pub async fn load<B: Backend>(
    engine: &Engine<B>,
    config: &Config,
    env: &dyn Env,
    audit: &Audit,
) -> Result<Roles, String> {
    let roles = store::load(engine).await?;
    let is_wanted = roles.is_empty() || config.restore_first_superuser;
    if !config.authenticates() || !is_wanted {
        return Ok(roles);
    }
    let given = config.default_superuser_password.text();
    let text = match given {
        None => Zeroizing::new(password::generate(env.entropy())),
        Some(given) => given.clone(),
    };
    let rounds = config.auth_bcrypt_gensalt_log2_rounds as u32;
    let hash = password::hash(&text, rounds, password::salt(env.entropy()))
        .map_err(|error| error.message)?;
    if given.is_none() {
        // Before it is durable: a crash in between leaves no super-user whose password nobody has seen; the next start makes another one.
        show(&text)?;
    }
    let mut first = roles.next();
    let before = roles.get(NAME).map(|role| (**role).clone());
    first.put(Role {
        name: NAME.into(),
        salted_hash: Some(hash),
        is_superuser: true,
        can_login: true,
        ..before.unwrap_or_default()
    });
    let mutations = store::between(&roles, &first, engine.next_timestamp());
    let write = Write::new(mutations.into_iter().collect());
    if let Some(Err(error)) = engine.write(vec![write]).await.into_iter().next() {
        return Err(format!("the first super-user cannot be made: {error}"));
    }
    let operation = match roles.is_empty() {
        true => "CREATE ROLE",
        false => "RESTORE ROLE",
    };
    let role = ("role".to_owned(), NAME.to_owned());
    let event = Event {
        context: Some(EncryptionContext([role].into())),
        ..Event::of_server(operation, env.wall_micros())
    };
    audit.record(event).await;
    Ok(first)
}

fn show(password: &str) -> Result<(), String> {
    let mut error = std::io::stderr().lock();
    writeln!(
        error,
        "palladium: the first super-user is {NAME}, its password {password} (it is shown this once: log in and change it)"
    )
    .and_then(|()| error.flush())
    .map_err(|error| format!("the first super-user's password cannot be shown: {error}"))
}
