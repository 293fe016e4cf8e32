//! `palladium key ...`: the local keyring, also while a server uses it. The server reads it again at each Decrypt.
//!
//! The service's own key stands under all that is the server's, so it cannot be disabled, deleted or closed to those without a grant, nor can the name by which
//! the configuration calls it be led to another key.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use palladium_crypto::private_file::{self, Readers};
use palladium_crypto::{
    CmkRef, EncryptionContext, GrantId, GrantMaker, GrantOperation, GrantRequest, KeyPolicy,
    KeyState, Keyring, KeyringEntry, KeyringGrant, PassphraseCost,
};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::output::complain;
use crate::passphrase::{self, Passphrases};
use crate::say;

/// Raw, or digits with a newline; one more byte tells a longer file.
const MATERIAL_FILE_BYTES_MAX: u64 = 66;

/// What is done to the keyring.
#[derive(Subcommand)]
pub enum KeyAction {
    /// Make a key of fresh material; makes the keyring, too, if there is none.
    Create {
        /// 1 to 128 of A-Z a-z 0-9 . _ -
        #[arg(value_parser = key_name)]
        name: String,
        /// Let the server use it only for what a grant allows.
        #[arg(long)]
        grants_only: bool,
    },
    /// Show the keys: name, state, policy, rotations, grants, aliases, date of deletion.
    List,
    /// Give a key back.
    Enable {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Take a key away.
    Disable {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Give a key new material. What was encrypted under the old still decrypts.
    Rotate {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Take a key away now, and destroy its material after some days.
    ScheduleDeletion {
        #[arg(value_parser = key_name)]
        name: String,
        /// 7 to 30.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Keep a key that was to be deleted; it is disabled then.
    CancelDeletion {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Make a key of your own material, which you keep a copy of elsewhere. The same material again opens what it had sealed.
    Import {
        #[arg(value_parser = key_name)]
        name: String,
        /// 32 bytes, or 64 hexadecimal digits; nobody else may be able to read it (0600). `-`: standard input.
        #[arg(long, value_name = "FILE")]
        material_file: PathBuf,
        /// Let the server use it only for what a grant allows.
        #[arg(long)]
        grants_only: bool,
    },
    /// Give a key another name, or lead an alias to another key.
    Alias {
        /// The other name.
        #[arg(value_parser = key_name)]
        alias: String,
        /// The key.
        #[arg(value_parser = key_name)]
        target: String,
    },
    /// Take an alias away. The key stays.
    Unalias {
        #[arg(value_parser = key_name)]
        alias: String,
    },
    /// Let a key be taken away that a server once had for its own, say by a wrong setting. A server whose own key it still is cannot start without it.
    UnmarkService {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Say who may use a key: open (whoever holds the keyring), or grants-only.
    Policy {
        #[arg(value_parser = key_name)]
        name: String,
        #[arg(value_enum)]
        policy: Policy,
    },
    /// Allow the server to use a key, for everything or for one keyspace or table. Prints the grant's id.
    Grant(GrantArguments),
    /// Take a grant away.
    Revoke {
        #[arg(value_parser = key_name)]
        name: String,
        /// As `grant` and `grants` print it.
        grant: String,
    },
    /// Show a key's grants, and those that were revoked.
    Grants {
        #[arg(value_parser = key_name)]
        name: String,
    },
    /// Draw a credential with which a server may make grants itself, into a new file; `[kms.local] grant_credential_file` gives it to the server.
    Grantor {
        /// Where the credential is written, or was.
        #[arg(required_unless_present = "withdraw_all")]
        file: Option<PathBuf>,
        /// Forget this credential instead. What was granted with it stays.
        #[arg(long)]
        withdraw: bool,
        /// Forget all credentials instead.
        #[arg(long, conflicts_with_all = ["withdraw", "file"])]
        withdraw_all: bool,
    },
    /// Seal the material under a passphrase, or under a new one. Asks on the terminal; with --passphrase-fd: the old one, if any, and the new, a line each.
    Protect,
    /// Write the material in the clear again.
    Unprotect,
}

/// A grant by the owner's hand.
#[derive(Args)]
pub struct GrantArguments {
    #[arg(value_parser = key_name)]
    name: String,
    /// Only for tables of this keyspace.
    #[arg(long, value_name = "KEYSPACE")]
    keyspace: Option<String>,
    /// Only for this table.
    #[arg(long, value_name = "TABLE", requires = "keyspace")]
    table: Option<String>,
    /// Which operations, with commas between them; these three are what a server needs.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["describe", "generate", "decrypt"])]
    operations: Vec<Operation>,
    /// What the grant is called, for your own eyes.
    #[arg(long = "name", value_name = "TEXT", default_value = "")]
    label: String,
}

/// Who may use a key.
#[derive(Copy, Clone, ValueEnum)]
pub enum Policy {
    /// Whoever holds the keyring.
    Open,
    /// Only for what a grant allows.
    GrantsOnly,
}

/// What a grant allows.
#[derive(Copy, Clone, ValueEnum)]
pub enum Operation {
    /// Say what state the key is in.
    Describe,
    /// Draw a data key.
    Generate,
    /// Decrypt a data key.
    Decrypt,
    /// Encrypt a data key.
    Encrypt,
    /// Let the server end this grant itself.
    Retire,
}

/// A key's name, as its owner types it, or as commands print it and statements name it: `local:NAME`. (No key's own name has a colon.)
fn key_name(text: &str) -> Result<String, Infallible> {
    let name = text.strip_prefix("local:").unwrap_or(text);
    Ok(name.to_owned())
}

/// Does it.
pub fn run(action: KeyAction, config: &Config) -> Result<(), String> {
    let desk = Desk {
        config,
        keyring: OnceCell::new(),
    };
    let done = act(action, &desk);
    desk.warn_of_copy();
    done
}

fn act(action: KeyAction, desk: &Desk<'_>) -> Result<(), String> {
    match action {
        KeyAction::Create { name, grants_only } => desk.create(&name, grants_only),
        KeyAction::List => desk.list(),
        KeyAction::Enable { name } => desk.open()?.key_enable(&name).map_err(text),
        KeyAction::Disable { name } => desk
            .open_for_taking(&name, "disabled")?
            .key_disable(&name)
            .map_err(text),
        KeyAction::Rotate { name } => {
            let rotations = desk.unlock()?.key_rotate(&name).map_err(text)?;
            say!("local:{name}\trotations {rotations}");
            Ok(())
        }
        KeyAction::ScheduleDeletion { name, days } => {
            let keyring = desk.open_for_taking(&name, "deleted")?;
            let date = keyring.key_schedule_deletion(&name, days).map_err(text)?;
            say!("local:{name}\tdeletion {date}");
            Ok(())
        }
        KeyAction::CancelDeletion { name } => desk.open()?.key_cancel_deletion(&name).map_err(text),
        KeyAction::Import {
            name,
            material_file,
            grants_only,
        } => desk.import(&name, &material_file, grants_only),
        KeyAction::Alias { alias, target } => desk
            .open_for_naming(&alias)?
            .alias_set(&alias, &target)
            .map_err(text),
        KeyAction::Unalias { alias } => desk
            .open_for_naming(&alias)?
            .alias_remove(&alias)
            .map_err(text),
        KeyAction::UnmarkService { name } => desk.unmark_service(&name),
        KeyAction::Policy { name, policy } => {
            let keyring = match policy {
                Policy::Open => desk.open()?,
                Policy::GrantsOnly => desk.open_for_taking(&name, "grants-only")?,
            };
            keyring.key_set_policy(&name, policy.into()).map_err(text)
        }
        KeyAction::Grant(arguments) => desk.grant(arguments),
        KeyAction::Revoke { name, grant } => desk
            .open()?
            .grant_revoke(&name, &GrantId(grant))
            .map_err(text),
        KeyAction::Grants { name } => desk.grants(&name),
        KeyAction::Grantor {
            file,
            withdraw,
            withdraw_all,
        } => {
            let keyring = desk.open()?;
            match file {
                Some(file) if withdraw => keyring.grantor_withdraw(&file),
                Some(file) => keyring.grantor_create(&file),
                None if withdraw_all => keyring.grantor_withdraw_all(),
                None => return Err("which file?".into()),
            }
            .map_err(text)
        }
        KeyAction::Protect => desk.protect(),
        KeyAction::Unprotect => desk.unlock()?.unprotect().map_err(text),
    }
}

/// Where an owner stands: the keyring, and what the configuration says of the service's own key.
struct Desk<'a> {
    config: &'a Config,
    /// Once it is open.
    keyring: OnceCell<Keyring>,
}

impl Desk<'_> {
    fn open(&self) -> Result<&Keyring, String> {
        if let Some(keyring) = self.keyring.get() {
            return Ok(keyring);
        }
        let keyring = Keyring::open(&self.config.keyring).map_err(text)?;
        Ok(self.keyring.get_or_init(|| keyring))
    }

    /// With the passphrase: for whoever makes material.
    fn unlock(&self) -> Result<&Keyring, String> {
        let keyring = self.open()?;
        let passphrase = passphrase::of(keyring, self.config)?;
        passphrase::unlock(keyring, passphrase.as_ref())?;
        Ok(keyring)
    }

    fn open_or_make(&self) -> Result<&Keyring, String> {
        match self.config.keyring.exists() {
            true => self.unlock(),
            false => {
                let passphrase = passphrase::of_configured_keyring(self.config)?;
                let keyring = passphrase::make(&self.config.keyring, passphrase.as_ref())?;
                Ok(self.keyring.get_or_init(|| keyring))
            }
        }
    }

    /// An owner who protects a keyring, or has a key destroyed, must know that a copy is left in which it is not.
    fn warn_of_copy(&self) {
        if self.keyring.get().is_some_and(Keyring::has_left_copy) {
            complain(format_args!(
                "warning: {} had another name (a hard link): what it was before this edit stands under that name still, with all material of then, and is not overwritten",
                self.config.keyring.display()
            ));
        }
    }

    /// For what takes a key away: anyone's but the service's own.
    fn open_for_taking(&self, name: &str, done: &str) -> Result<&Keyring, String> {
        let keyring = self.open()?;
        match self.is_service_key(keyring, name)? {
            true => Err(format!(
                "local:{name} is the service's own key; it cannot be {done}"
            )),
            false => Ok(keyring),
        }
    }

    fn unmark_service(&self, name: &str) -> Result<(), String> {
        let keyring = self.open_for_taking(name, "unmarked: the configuration names it")?;
        let unmarked = keyring.key_unmark_service(name).map_err(text)?;
        match unmarked.is_empty() {
            true => say!("local:{name}\tis marked as no server's own key"),
            false => complain(format_args!(
                "warning: local:{name} was marked as the own key of servers that call it {}. Whoever takes it away now takes all tables of such a server, for good if the \
                 key is deleted. A server that has it for its own marks it again when it starts.",
                unmarked.join(", ")
            )),
        }
        Ok(())
    }

    /// For what leads an alias elsewhere.
    fn open_for_naming(&self, alias: &str) -> Result<&Keyring, String> {
        match self.config.service_cmk()?.to_string() == format!("local:{alias}") {
            true => Err(format!(
                "local:{alias} is what the configuration calls the service's own key; it must stay what it is"
            )),
            false => self.open(),
        }
    }

    fn is_service_key(&self, keyring: &Keyring, name: &str) -> Result<bool, String> {
        let service = self.config.service_cmk()?;
        let Ok(named) = CmkRef::local(name) else {
            return Ok(false);
        };
        if service.provider() != "local" {
            return Ok(false);
        }
        // Either may be an alias; a name that leads nowhere is compared as it is.
        let resolve = |cmk: &CmkRef| keyring.key_resolve(cmk.name()).unwrap_or(cmk.clone());
        Ok(resolve(&named) == resolve(&service))
    }

    fn create(&self, name: &str, grants_only: bool) -> Result<(), String> {
        let policy = self.policy_of_new(name, grants_only)?;
        let cmk = self
            .open_or_make()?
            .key_create_with_policy(name, policy)
            .map_err(text)?;
        say!("{cmk}");
        Ok(())
    }

    fn import(&self, name: &str, file: &Path, grants_only: bool) -> Result<(), String> {
        let policy = self.policy_of_new(name, grants_only)?;
        let material = Keyring::read_material(&read_material_file(file)?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let cmk = self
            .open_or_make()?
            .key_import(name, material, policy)
            .map_err(text)?;
        say!("{cmk}");
        Ok(())
    }

    fn policy_of_new(&self, name: &str, grants_only: bool) -> Result<KeyPolicy, String> {
        let is_service = self.config.service_cmk()?.to_string() == format!("local:{name}");
        match grants_only {
            true if is_service => Err(format!(
                "local:{name} is the service's own key; it cannot be grants-only"
            )),
            true => Ok(KeyPolicy::GrantsOnly),
            false => Ok(KeyPolicy::Open),
        }
    }

    fn list(&self) -> Result<(), String> {
        let keyring = self.open()?;
        for key in keyring.key_list().map_err(text)? {
            say!("{}", line(&key));
        }
        for key in keyring.key_list_destroyed().map_err(text)? {
            say!("local:{}\tdestroyed\t{}", key.name, key.at);
        }
        Ok(())
    }

    fn grant(&self, arguments: GrantArguments) -> Result<(), String> {
        let entries = [
            (EncryptionContext::KEYSPACE_NAME, arguments.keyspace),
            (EncryptionContext::TABLE_NAME, arguments.table),
        ];
        let context = entries
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        let mut operations: Vec<GrantOperation> =
            arguments.operations.into_iter().map(Into::into).collect();
        operations.sort_unstable();
        operations.dedup();
        let request = GrantRequest {
            name: arguments.label,
            operations,
            context: EncryptionContext(context),
        };
        let id = self
            .open()?
            .grant_create(&arguments.name, &request)
            .map_err(text)?;
        say!("{}", id.0);
        Ok(())
    }

    fn grants(&self, name: &str) -> Result<(), String> {
        let (live, revoked) = self.open()?.grant_list(name).map_err(text)?;
        live.iter()
            .for_each(|grant| say!("{}", grant_line(grant, "live")));
        revoked
            .iter()
            .for_each(|grant| say!("{}", grant_line(grant, "revoked")));
        Ok(())
    }

    fn protect(&self) -> Result<(), String> {
        let keyring = self.open()?;
        let mut passphrases = Passphrases::of(self.config)?;
        if keyring.is_protected().map_err(text)? {
            let old = passphrases.next_of(keyring)?;
            passphrase::unlock(keyring, Some(&old))?;
        }
        let new = passphrases.next_new()?;
        keyring
            .protect(&new, PassphraseCost::default())
            .map_err(text)
    }
}

fn read_material_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let fail = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Sized once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MATERIAL_FILE_BYTES_MAX as usize + 1));
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MATERIAL_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        return Ok(bytes);
    }
    let file = File::open(path).map_err(fail)?;
    private_file::check(path, &file.metadata().map_err(fail)?, Readers::Owner)?;
    file.take(MATERIAL_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    Ok(bytes)
}

/// One key, its fields between tabs.
fn line(key: &KeyringEntry) -> String {
    let state = match key.state {
        KeyState::Enabled => "enabled",
        KeyState::Disabled => "disabled",
        KeyState::PendingDeletion => "pending-deletion",
    };
    let policy = match key.policy {
        KeyPolicy::Open => "open",
        KeyPolicy::GrantsOnly => "grants-only",
    };
    let mut line = format!(
        "local:{}\t{state}\t{policy}\trotations {}\tgrants {}",
        key.name, key.rotations, key.grants
    );
    if !key.aliases.is_empty() {
        line += &format!("\taliases {}", key.aliases.join(","));
    }
    if let Some(date) = key.deletion {
        line += &format!("\tdeletion {date}");
    }
    line
}

fn grant_line(grant: &KeyringGrant, state: &str) -> String {
    let maker = match grant.maker {
        GrantMaker::Owner => "owner",
        GrantMaker::Server => "server",
    };
    let operations: Vec<String> = grant
        .operations
        .iter()
        .map(|operation| format!("{operation:?}").to_lowercase())
        .collect();
    let context: Vec<String> = grant
        .context
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{}\t{state}\t{maker}\t{}\t{}\t{}\t{}",
        grant.id.0,
        grant.created,
        operations.join(","),
        context.join(","),
        grant.name
    )
}

impl From<Policy> for KeyPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Open => KeyPolicy::Open,
            Policy::GrantsOnly => KeyPolicy::GrantsOnly,
        }
    }
}

impl From<Operation> for GrantOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Describe => GrantOperation::Describe,
            Operation::Generate => GrantOperation::Generate,
            Operation::Decrypt => GrantOperation::Decrypt,
            Operation::Encrypt => GrantOperation::Encrypt,
            Operation::Retire => GrantOperation::Retire,
        }
    }
}

fn text(error: palladium_crypto::Error) -> String {
    error.to_string()
}
