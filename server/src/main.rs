//! The program `palladium`: arguments, the real environment, run, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use palladium::admin::accept_rollback::Consent;
use palladium::admin::client::{Login, Server};
use palladium::admin::{self, keyring, verify};
use palladium::wiping::WipingAllocator;
use palladium::{config, output, passphrase, server};
use palladium_crypto::PublicKey;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

// A build whose cipher is a copy, for a benchmark, is no build of this program (`--all-features` asks for one).
const _: () = assert!(
    palladium_crypto::CIPHER_IS_REAL,
    "palladium is never built without its cipher: leave the feature cipher-copy out"
);

/// A table server that speaks Cassandra's native protocol and CQL, with every table encrypted under a key its owner controls. Without a command it serves.
#[derive(Parser)]
#[command(name = "palladium", version)]
struct Arguments {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Without a command: serve.
#[derive(Args)]
struct Serve {
    /// Settings, in TOML.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The local keyring.
    #[arg(long, value_name = "FILE", global = true)]
    keyring: Option<PathBuf>,
    /// Read the keyring's passphrase from this file descriptor and not from the terminal.
    #[arg(long, value_name = "N", global = true)]
    passphrase_fd: Option<u32>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Work on the local keyring, also while a server uses it.
    Key {
        #[command(subcommand)]
        action: keyring::KeyAction,
    },
    /// Check every byte of a data folder that is not in use. Exit code 0: whole; 1: damage; 2: not checked; 3: older than the anchor knows.
    Verify {
        /// The data folder.
        dir: PathBuf,
    },
    /// Say what a data folder that is not in use holds and which KMS keys it needs: without any key, and with names where the service's key is at hand.
    Explain {
        /// The data folder.
        dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an older data folder for the true one, and write that down in its audit trail. Exit code 0: accepted, or nothing to accept; 1: too damaged to be opened; 2: nothing was changed; 3: cut short, to be asked for again.
    AcceptRollback {
        /// The data folder.
        dir: PathBuf,
        /// Do it; without, only say what would be accepted.
        #[arg(long)]
        yes: bool,
        /// Accept an older copy of the keyring, too.
        #[arg(long)]
        keyring_too: bool,
    },
    /// Give up what is damaged of a data folder that is not in use, keep what is whole around it, and write that down in its audit trail. Exit code 0: nothing damaged, or given up; 1: damage is left; 2: nothing was changed.
    Salvage {
        /// The data folder.
        dir: PathBuf,
        /// Do it; without, only say what would be lost.
        #[arg(long)]
        yes: bool,
        /// Give up what the server's own tables have lost, too: definitions, roles and what they may do, records of what happened to keys.
        #[arg(long)]
        own_too: bool,
    },
    /// Certificates of destroyed tables.
    Shred {
        #[command(subcommand)]
        action: ShredAction,
    },
    /// What happened to the keys.
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
    /// Write memtables to disk.
    Flush(Target),
    /// Merge SSTables.
    Compact(Target),
}

#[derive(Subcommand)]
enum ShredAction {
    /// Show the certificates in a data folder that is not in use.
    List {
        /// The data folder.
        dir: PathBuf,
        /// Whole certificates, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Check a certificate, and that a data folder that is not in use holds no wrap of the keys it names. Exit code 0: so it is; 1: it is not; 2: not checked.
    Verify {
        /// The certificate.
        certificate: PathBuf,
        /// The data folder.
        dir: PathBuf,
        /// The key that the certificate must be signed under, as it was printed before.
        #[arg(long, value_name = "HEX")]
        public_key: Option<PublicKey>,
    },
}

#[derive(Subcommand)]
enum AuditAction {
    /// Check the whole audit trail of a data folder that is not in use. Exit code 0: whole; 1: damage; 2: not checked; 3: it ends before a head that was exported.
    Verify {
        /// The data folder.
        dir: PathBuf,
        /// The key that the trail must be signed under, as it was printed before.
        #[arg(long, value_name = "HEX")]
        public_key: Option<PublicKey>,
    },
}

/// What of a running server.
#[derive(Args)]
struct Target {
    /// The server; if absent, where the configuration has it listen: 127.0.0.1:9042 by default.
    #[arg(long, value_name = "ADDR:PORT")]
    host: Option<String>,
    /// The role to log in as, where the server asks for one; its password is sent in the clear. It takes a super-user, or one that may MODIFY system_palladium.maintenance.
    #[arg(long, value_name = "ROLE")]
    user: Option<String>,
    /// Read the role's password from this file descriptor and not from the terminal.
    #[arg(long, value_name = "N", requires = "user")]
    password_fd: Option<u64>,
    /// All keyspaces if absent.
    keyspace: Option<String>,
    /// All tables of the keyspace if absent.
    table: Option<String>,
}

fn main() -> ExitCode {
    palladium::wiping::give_free_pages_back_soon();
    palladium::memory::protect();
    palladium::descriptors::raise_limit();
    let arguments = Arguments::parse();
    let serves = arguments.command.is_none();
    match run(arguments) {
        Ok(code) if serves => code,
        Ok(code) => output::ended(code),
        Err(error) => {
            output::complain(format_args!("palladium: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let Serve {
        config: file,
        data,
        keyring,
        passphrase_fd,
        listen,
    } = arguments.serve;
    let load = |mut flags: toml::Table| {
        if let Some(descriptor) = passphrase_fd {
            flags.insert("keyring_passphrase_fd".into(), i64::from(descriptor).into());
        }
        config::load(file.as_deref(), std::env::vars(), flags).map_err(|error| error.to_string())
    };
    match arguments.command {
        None => server::run(load(config::flags(data, keyring, listen))?),
        Some(Command::Key { action }) => {
            let config = load(config::flags(None, keyring, None))?;
            keyring::run(action, &config).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Verify { dir }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            Ok(verify::run(&config))
        }
        Some(Command::Explain { dir, json }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            Ok(admin::explain::run(&config, json))
        }
        Some(Command::AcceptRollback {
            dir,
            yes,
            keyring_too,
        }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            let consent = Consent { yes, keyring_too };
            Ok(admin::accept_rollback::run(&config, consent))
        }
        Some(Command::Salvage { dir, yes, own_too }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            let consent = admin::salvage::Consent { yes, own_too };
            Ok(admin::salvage::run(&config, consent))
        }
        Some(Command::Shred {
            action: ShredAction::List { dir, json },
        }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            Ok(admin::shred::list(&config, json))
        }
        Some(Command::Shred {
            action:
                ShredAction::Verify {
                    certificate,
                    dir,
                    public_key,
                },
        }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            Ok(admin::shred::verify(&config, &certificate, public_key))
        }
        Some(Command::Audit {
            action: AuditAction::Verify { dir, public_key },
        }) => {
            let config = load(config::flags(Some(dir), keyring, None))?;
            Ok(admin::audit::verify(&config, public_key))
        }
        Some(Command::Flush(target)) => ask("flush", target, || load(toml::Table::new())),
        Some(Command::Compact(target)) => ask("compact", target, || load(toml::Table::new())),
    }
}

/// Asks the server that is named, or the one that the configuration is of.
fn ask(
    operation: &str,
    target: Target,
    load: impl FnOnce() -> Result<config::Config, String>,
) -> Result<ExitCode, String> {
    let host = match target.host {
        Some(host) => host,
        None => load()?.own_address().to_string(),
    };
    let login = target.user.map(|user| {
        let password = passphrase::password_of(&user, target.password_fd)?;
        Ok::<_, String>(Login { user, password })
    });
    let server = Server {
        host,
        login: login.transpose()?,
    };
    admin::client::ask(
        server,
        operation,
        target.keyspace.as_deref(),
        target.table.as_deref(),
    )
    .map(|()| ExitCode::SUCCESS)
}
