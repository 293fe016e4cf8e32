//! What the owner of a PKCS#11 token does to its keys, from a process of his own.
//!
//! ```text
//! token MODULE PIN_FILE TOKEN create NAME            an AES-256 key that cannot be read or taken out
//! token MODULE PIN_FILE TOKEN forbid-decrypt NAME    CKA_DECRYPT = false
//! token MODULE PIN_FILE TOKEN allow-decrypt NAME     CKA_DECRYPT = true
//! ```

use std::error::Error;
use std::fs;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, pin_file, token, action, name] = &arguments[..] else {
        return Err("usage: token MODULE PIN_FILE TOKEN ACTION NAME".into());
    };
    let library = Pkcs11::new(module)?;
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = library.get_slots_with_token()?;
    let slot = slots
        .into_iter()
        .find(|slot| {
            library
                .get_token_info(*slot)
                .is_ok_and(|info| info.label() == token)
        })
        .ok_or_else(|| format!("there is no token {token}"))?;
    let session = library.open_rw_session(slot)?;
    let pin = AuthPin::from(fs::read_to_string(pin_file)?);
    session.login(UserType::User, Some(&pin))?;
    match action.as_str() {
        "create" => create(&session, name),
        "forbid-decrypt" => set(&session, name, Attribute::Decrypt(false)),
        "allow-decrypt" => set(&session, name, Attribute::Decrypt(true)),
        other => Err(format!("unknown action {other}").into()),
    }
}

fn create(session: &Session, name: &str) -> Result<(), Box<dyn Error>> {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(name.into()),
        Attribute::ValueLen(32.into()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template)?;
    Ok(())
}

fn set(session: &Session, name: &str, attribute: Attribute) -> Result<(), Box<dyn Error>> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Label(name.into()),
    ];
    let keys = session.find_objects(&template)?;
    let [key] = keys[..] else {
        return Err(format!("{} keys are called {name}", keys.len()).into());
    };
    session.update_attributes(key, &[attribute])?;
    Ok(())
}
