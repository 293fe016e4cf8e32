//! The command line that starts each kind of server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Kind, Recipe};
use crate::bench::workloads::Setting;

/// What a small cache is, for ours (memtables, blocks and requests share it) and for Cassandra (its chunk cache alone).
const SMALL_MEMORY_BYTES: u64 = 96 << 20;
const SMALL_CHUNK_CACHE: &str = "file_cache_size: 32MiB";
/// Two statements for each of ten thousand tables, and some.
const MANY_STATEMENTS: &str = "prepared_statements_max = 50000\n";
const LARGE_STATEMENT_CACHE: &str = "prepared_statements_cache_size: 512MiB";
/// Logins and masks; a cache of permissions would still know those of a table that is gone.
const MASKED: &str = "dynamic_data_masking_enabled: true
authenticator: {class_name: PasswordAuthenticator}
authorizer: {class_name: CassandraAuthorizer}
permissions_validity: 0ms
roles_validity: 0ms";

/// The command; `folder` takes everything that the server keeps.
pub(super) fn of(
    recipe: &Recipe,
    address: SocketAddr,
    folder: &Path,
    orders_port: u16,
) -> io::Result<Command> {
    match &recipe.kind {
        Kind::Palladium { program, settings } => {
            let line = match recipe.setting {
                Setting::Ordinary | Setting::Masked => String::new(),
                Setting::ManyStatements => MANY_STATEMENTS.to_owned(),
                // Who says otherwise is believed.
                Setting::SmallCache if settings.contains("memory_bytes") => String::new(),
                Setting::SmallCache => format!("memory_bytes = {SMALL_MEMORY_BYTES}\n"),
            };
            let config = folder.join("palladium.toml");
            std::fs::write(&config, format!("{line}{settings}\n"))?;
            let mut command = on_core(recipe.core, program);
            command
                .arg("--data")
                .arg(folder.join("data"))
                .arg("--keyring")
                .arg(folder.join("keyring"))
                .arg("--config")
                .arg(config)
                .arg("--listen")
                .arg(address.to_string());
            Ok(command)
        }
        Kind::Floor => {
            let program = std::env::current_exe()?.with_file_name("floor");
            let mut command = on_core(recipe.core, &program);
            command
                .arg("--listen")
                .arg(address.to_string())
                .arg("--data")
                .arg(folder);
            Ok(command)
        }
        Kind::Cassandra(sync) => {
            let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/cassandra/start");
            let mut command = on_core(recipe.core, &script);
            command
                .arg(address.ip().to_string())
                .arg(folder)
                .arg(sync.word())
                .env("HEAP", "2G")
                .env(
                    "OPTIONS",
                    format!("-Dcassandra.jmx.local.port={orders_port}"),
                )
                .env(
                    "MORE_YAML",
                    match recipe.setting {
                        Setting::Ordinary => "",
                        Setting::ManyStatements => LARGE_STATEMENT_CACHE,
                        Setting::SmallCache => SMALL_CHUNK_CACHE,
                        Setting::Masked => MASKED,
                    },
                );
            Ok(command)
        }
        Kind::Running { .. } => Err(io::Error::other("it runs already")),
    }
}

/// A command bound to one core. `taskset` becomes the program, so the process id stays the child's.
fn on_core(core: Option<usize>, program: &Path) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("--cpu-list").arg(core.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}
