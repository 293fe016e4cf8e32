//! The module, its tokens, and a session that is logged in on each.
//!
//! Each thread keeps one session for each token it has used; login is a state of the token for the whole process, so whoever comes second hears
//! "already logged in". A kept session may have died (token pulled, device restarted, logged out by another program): whatever fails in a kept
//! session is tried once more in a fresh one, slots listed and logged in anew. If a fresh one fails too, the module is unloaded, unless a call is
//! still inside it: many network devices come back only after `C_Finalize`.
//!
//! What must hold: "there is no such key" is believed only of a fresh session, on the token with the right label, still logged in afterwards.
//! A session that has lost its login sees no private keys, and must not lock tables.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error as ModuleError, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::answers;
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::keys::TokenKey;
use crate::private_file::{self, Readers};

/// Longest PIN file that is read, in bytes; PINs have a few dozen at most.
const PIN_BYTES_MAX: u64 = 4096;

/// Why work with a key did not come to its end.
pub(super) enum Failure {
    /// This is the answer.
    Final(Error),
    /// There is no such key, as far as this session can see.
    Missing,
    /// The module failed; a fresh session may do better.
    Broken(ModuleError),
}

/// What came of work with a key.
pub(super) type Outcome<T> = std::result::Result<T, Failure>;

impl From<ModuleError> for Failure {
    fn from(error: ModuleError) -> Self {
        Failure::Broken(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// The device maker's library, and how to log in.
pub(super) struct Module {
    path: PathBuf,
    pin_file: PathBuf,
    slot: Option<u64>,
    loaded: RwLock<Loaded>,
    /// Held while the module is being loaded.
    loading: Mutex<()>,
    /// Which token refused the PIN, and when the PIN's file was last changed by then. Held by whoever logs in.
    refused_pins: Mutex<HashMap<String, SystemTime>>,
}

#[derive(Default)]
struct Loaded {
    library: Option<Pkcs11>,
    /// Counts loads: sessions of an earlier one are void.
    generation: u64,
}

impl Module {
    pub fn new(path: PathBuf, pin_file: PathBuf, slot: Option<u64>) -> Self {
        Module {
            path,
            pin_file,
            slot,
            loaded: RwLock::default(),
            loading: Mutex::default(),
            refused_pins: Mutex::default(),
        }
    }

    /// Loads the module, if it is not. While it is not, no call is inside it that could keep us from the write lock.
    fn load(&self) -> Result<()> {
        if self.is_loaded() {
            return Ok(());
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_loaded() {
            return Ok(());
        }
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: ModuleError| {
            let words = answers::words(&error);
            unreachable_because(format!("PKCS#11 module {}: {words}", self.path.display()))
        };
        let library = Pkcs11::new(&self.path).map_err(failed)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // The process has it already: by an earlier service, or a call that ended late.
            Ok(()) | Err(ModuleError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(error)),
        }
        loaded.library = Some(library);
        loaded.generation += 1;
        Ok(())
    }

    fn is_loaded(&self) -> bool {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.library.is_some()
    }

    /// Unloads the module, if no call is inside it; the next call loads it anew.
    fn unload(&self) {
        if let Ok(mut loaded) = self.loaded.try_write()
            && let Some(library) = loaded.library.take()
        {
            // A module that cannot even end properly is beyond our help; initializing it again will tell.
            let _ = library.finalize();
        }
    }

    /// The PIN, unless this token has refused it already.
    fn pin(
        &self,
        token: &str,
        refused: &HashMap<String, SystemTime>,
    ) -> Result<(AuthPin, SystemTime)> {
        let failed = |error: io::Error| {
            unreachable_because(format!("cannot read {}: {error}", self.pin_file.display()))
        };
        let file =
            private_file::open(&self.pin_file, Readers::Owner).map_err(unreachable_because)?;
        let metadata = file.metadata().map_err(failed)?;
        let changed = metadata.modified().map_err(failed)?;
        if metadata.len() > PIN_BYTES_MAX {
            return Err(unreachable_because(format!(
                "{} holds more than a PIN",
                self.pin_file.display()
            )));
        }
        if refused.get(token) == Some(&changed) {
            return Err(unreachable_because(format!(
                "token {token} refused the PIN in {}; it is not tried again until the file changes",
                self.pin_file.display()
            )));
        }
        let text = Zeroizing::new(io::read_to_string(file).map_err(failed)?);
        Ok((AuthPin::from(text.trim_end_matches(['\r', '\n'])), changed))
    }

    fn log_in(&self, session: &Session, token: &str) -> Result<()> {
        // Held until the token has answered: threads that log in at once must not try one wrong PIN each.
        let mut refused = self.refused_pins();
        let (pin, changed) = self.pin(token, &refused)?;
        let Err(error) = session.login(UserType::User, Some(&pin)) else {
            return Ok(());
        };
        match answers::code(&error) {
            Some(RvError::UserAlreadyLoggedIn) => return Ok(()),
            Some(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
            ) => {
                refused.insert(token.to_owned(), changed);
            }
            _ => {}
        }
        let words = answers::words(&error);
        Err(unreachable_because(format!("token {token}: {words}")))
    }

    fn refused_pins(&self) -> MutexGuard<'_, HashMap<String, SystemTime>> {
        self.refused_pins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_of(&self, library: &Pkcs11, token: &str) -> Outcome<Slot> {
        let mut found = None;
        for slot in library.get_slots_with_token()? {
            if self.slot.is_some_and(|only| only != slot.id()) {
                continue;
            }
            // One reader without its token must not hide the others.
            let is_it = library
                .get_token_info(slot)
                .is_ok_and(|info| info.label() == token);
            if is_it && found.replace(slot).is_some() {
                return Err(Failure::Final(unreachable_because(format!(
                    "two tokens are called {token}: name one by the setting slot"
                ))));
            }
        }
        found.ok_or(Failure::Broken(ModuleError::Pkcs11(
            RvError::TokenNotPresent,
            Function::GetSlotList,
        )))
    }
}

/// The sessions of one thread.
pub(super) struct Tokens {
    module: Arc<Module>,
    sessions: HashMap<String, Kept>,
    generation: u64,
}

struct Kept {
    session: Session,
    slot: Slot,
}

/// A key in a session that is logged in.
pub(super) struct Found<'a> {
    pub session: &'a Session,
    pub handle: ObjectHandle,
    pub name: &'a TokenKey,
}

impl Tokens {
    pub fn new(module: Arc<Module>) -> Self {
        Tokens {
            module,
            sessions: HashMap::new(),
            generation: 0,
        }
    }

    /// Finds the key and works with it.
    pub fn with_key<T>(
        &mut self,
        name: &TokenKey,
        work: &impl Fn(&Found<'_>) -> Outcome<T>,
    ) -> Result<T> {
        self.module.load()?;
        let module = Arc::clone(&self.module);
        let outcome = {
            let loaded = module.loaded.read().unwrap_or_else(PoisonError::into_inner);
            let Some(library) = &loaded.library else {
                return Err(unreachable_because(
                    "the PKCS#11 module is being unloaded".into(),
                ));
            };
            self.forget_sessions_before(loaded.generation);
            self.kept_or_fresh(library, name, work)
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(Failure::Final(error)) => Err(error),
            Err(Failure::Missing) => Err(Error::denied(
                DenialReason::NotFound,
                format!("{}: the token holds no such key", name.text()),
            )),
            Err(Failure::Broken(error)) => {
                self.sessions.remove(&name.token);
                let error = answers::meaning(&error, name.text());
                if let Error::Unavailable {
                    reason: UnavailableReason::Unreachable,
                    ..
                } = error
                {
                    module.unload();
                }
                Err(error)
            }
        }
    }

    fn kept_or_fresh<T>(
        &mut self,
        library: &Pkcs11,
        name: &TokenKey,
        work: &impl Fn(&Found<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        if let Some(kept) = self.sessions.get(&name.token) {
            match kept.find(library, name).and_then(|found| work(&found)) {
                Err(Failure::Broken(error)) if answers::is_about_the_key(&error) => {
                    return Err(Failure::Broken(error));
                }
                Err(Failure::Missing | Failure::Broken(_)) => self.sessions.remove(&name.token),
                answer => return answer,
            };
        }
        let fresh = self.connect(library, &name.token)?;
        let outcome = fresh.find(library, name).and_then(|found| work(&found));
        self.sessions.insert(name.token.clone(), fresh);
        outcome
    }

    fn connect(&self, library: &Pkcs11, token: &str) -> Outcome<Kept> {
        let slot = self.module.slot_of(library, token)?;
        let session = library.open_ro_session(slot)?;
        self.module.log_in(&session, token)?;
        Ok(Kept { session, slot })
    }

    /// A session of an earlier load is void; closing it could close another's that has got its number.
    fn forget_sessions_before(&mut self, generation: u64) {
        if self.generation != generation {
            self.sessions
                .drain()
                .for_each(|(_, kept)| std::mem::forget(kept.session));
            self.generation = generation;
        }
    }
}

impl Kept {
    fn find<'a>(&'a self, library: &Pkcs11, name: &'a TokenKey) -> Outcome<Found<'a>> {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
        ];
        template.extend(name.object.clone().map(Attribute::Label));
        template.extend(name.id.clone().map(Attribute::Id));
        let mut objects = self.session.iter_objects(&template)?;
        let (first, second) = (objects.next().transpose()?, objects.next().transpose()?);
        drop(objects);
        match (first, second) {
            (Some(handle), None) => Ok(Found {
                session: &self.session,
                handle,
                name,
            }),
            (Some(_), Some(_)) => Err(Failure::Final(unreachable_because(format!(
                "{}: more than one key has this name",
                name.text()
            )))),
            (None, _) => Err(self.nothing_found(library, name)),
        }
    }

    /// Nothing was found: because nothing is there, or because this session sees nothing?
    fn nothing_found(&self, library: &Pkcs11, name: &TokenKey) -> Failure {
        let state = self
            .session
            .get_session_info()
            .map(|info| info.session_state());
        let label = library.get_token_info(self.slot);
        match (state, label) {
            (Err(error), _) | (_, Err(error)) => Failure::Broken(error),
            (Ok(SessionState::RoUser | SessionState::RwUser), Ok(info))
                if info.label() == name.token =>
            {
                Failure::Missing
            }
            _ => Failure::Broken(ModuleError::Pkcs11(
                RvError::UserNotLoggedIn,
                Function::FindObjects,
            )),
        }
    }
}

fn unreachable_because(message: String) -> Error {
    Error::unavailable(UnavailableReason::Unreachable, message)
}
