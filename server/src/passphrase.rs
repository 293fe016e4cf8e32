//! Where the keyring's passphrase comes from: a file descriptor (`keyring_passphrase_fd`, `--passphrase-fd`) or the terminal. Never an argument or a variable of
//! the environment, which other processes can read. A role's password comes by the same ways (`--password-fd`).
//!
//! A descriptor is read to its end: one passphrase on each line, as many as are asked for. It is opened anew by its name, so that nothing here trusts a number.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use palladium_crypto::{Keyring, OsEntropy, Passphrase, PassphraseCost};
use zeroize::Zeroizing;

use crate::config::Config;

/// Two passphrases of the longest kind, and their newlines.
const DESCRIPTOR_BYTES_MAX: u64 = 2 * 1025;

/// The passphrases that one command asks for, in its order.
pub struct Passphrases(Source);

enum Source {
    Terminal,
    Lines(std::vec::IntoIter<Zeroizing<Vec<u8>>>),
}

impl Passphrases {
    /// From where the configuration says.
    pub fn of(config: &Config) -> Result<Passphrases, String> {
        let Some(descriptor) = config.keyring_passphrase_fd else {
            return Ok(Passphrases(Source::Terminal));
        };
        Ok(Passphrases(Source::Lines(
            lines_of(descriptor)?.into_iter(),
        )))
    }

    /// The next one.
    pub fn next(&mut self, question: &str) -> Result<Passphrase, String> {
        let bytes = match &mut self.0 {
            Source::Lines(lines) => lines
                .next()
                .ok_or("the file descriptor gives fewer passphrases than are needed")?,
            Source::Terminal => ask(question, "--passphrase-fd or keyring_passphrase_fd")?,
        };
        Passphrase::new(bytes).map_err(|error| error.to_string())
    }

    /// The next one, for a keyring that will open with no other: asked for twice, where a person types it.
    pub fn next_new(&mut self) -> Result<Passphrase, String> {
        let first = self.next("New passphrase: ")?;
        if let Source::Terminal = self.0 {
            let second = self.next("Again: ")?;
            if first != second {
                return Err("these are two different passphrases; nothing was changed".into());
            }
        }
        Ok(first)
    }

    /// The one that this keyring has.
    pub fn next_of(&mut self, keyring: &Keyring) -> Result<Passphrase, String> {
        self.next(&format!("Passphrase of {}: ", keyring.path().display()))
    }
}

/// A role's password, from a descriptor or from the terminal.
pub fn password_of(role: &str, descriptor: Option<u64>) -> Result<Zeroizing<Vec<u8>>, String> {
    let Some(descriptor) = descriptor else {
        return ask(&format!("Password of {role}: "), "--password-fd");
    };
    let first = lines_of(descriptor)?.into_iter().next();
    first
        .filter(|line| !line.is_empty())
        .ok_or_else(|| format!("file descriptor {descriptor} gives no password"))
}

/// What a descriptor gives, line by line.
fn lines_of(descriptor: u64) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    let path = format!("/proc/self/fd/{descriptor}");
    let mut text = Zeroizing::new(Vec::with_capacity(DESCRIPTOR_BYTES_MAX as usize + 1));
    File::open(&path)
        .and_then(|file| file.take(DESCRIPTOR_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| {
            format!("nothing can be read from file descriptor {descriptor}: {error}")
        })?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.map(|line| Zeroizing::new(line.to_vec())).collect())
}

/// Asks at the terminal; `otherwise` is how to give it where there is none.
fn ask(question: &str, otherwise: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let nobody = || format!("{question}there is no terminal to ask at: give it by {otherwise}");
    // A process without a terminal of its own must not wait for somebody at another one.
    if !std::io::stdin().is_terminal() {
        return Err(nobody());
    }
    let typed =
        rpassword::prompt_password(question).map_err(|error| format!("{}: {error}", nobody()))?;
    Ok(Zeroizing::new(typed.into_bytes()))
}

/// The passphrase of the keyring that the configuration names, and of a new one if it is to have one. Asked for before anything waits for signals: a terminal that
/// is asked is left only by an answer, or by the signal's own way.
pub fn of_configured_keyring(config: &Config) -> Result<Option<Passphrase>, String> {
    if !config.keyring.exists() {
        return match config.keyring_passphrase_fd {
            Some(_) => Passphrases::of(config)?.next_new().map(Some),
            None => Ok(None),
        };
    }
    let keyring = Keyring::open(&config.keyring).map_err(|error| format!("keyring: {error}"))?;
    let passphrase = of(&keyring, config)?;
    if passphrase.is_none() && config.keyring_passphrase_fd.is_some() {
        tracing::warn!(
            keyring = %keyring.path().display(),
            "this keyring has no passphrase; the one that was given is not used"
        );
    }
    Ok(passphrase)
}

/// The passphrase of a keyring that has one.
pub fn of(keyring: &Keyring, config: &Config) -> Result<Option<Passphrase>, String> {
    match keyring.is_protected().map_err(|error| error.to_string())? {
        true => Passphrases::of(config)?.next_of(keyring).map(Some),
        false => Ok(None),
    }
}

/// Makes a keyring, under a passphrase if there is one: then it has that from its first byte on, and no material ever stands in it in the clear.
pub fn make(path: &Path, passphrase: Option<&Passphrase>) -> Result<Keyring, String> {
    let fail = |error| format!("keyring {}: {error}", path.display());
    let entropy = Arc::new(OsEntropy);
    match passphrase {
        None => Keyring::create_new(path, entropy),
        Some(passphrase) => {
            let cost = PassphraseCost::default();
            Keyring::create_new_protected(path, passphrase, cost, entropy)
        }
    }
    .map_err(fail)
}

/// Gives a keyring its passphrase.
pub fn unlock(keyring: &Keyring, passphrase: Option<&Passphrase>) -> Result<(), String> {
    match passphrase {
        Some(passphrase) => keyring
            .unlock(passphrase)
            .map_err(|error| format!("keyring {}: {error}", keyring.path().display())),
        None => Ok(()),
    }
}
