//! File, then environment, then flags. An unknown or ill-typed setting is an error that names the file and the line, or the variable.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palladium_crypto::private_file::{self, Readers};
use zeroize::Zeroizing;

use super::Config;
use crate::guardrails::Guardrails;

/// In front of a setting's upper-cased name in the environment.
const PREFIX: &str = "PALLADIUM_";

/// A setting that cannot be used, with where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Reads the configuration. `environment` is all variables; `flags` are settings given on the command line.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: toml::Table,
) -> Result<Config, ConfigError> {
    let mut settings = file.map_or_else(|| Ok(toml::Table::new()), read_file)?;
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if Guardrails::knows(&name) {
            let ours = settings
                .entry("cassandra")
                .or_insert_with(|| toml::Table::new().into());
            if let Some(ours) = ours.as_table_mut() {
                ours.insert(name, text.into());
            }
            continue;
        }
        let value = typed(&name, &text)
            .map_err(|error| ConfigError(format!("environment variable {variable}: {error}")))?;
        settings.insert(name, value);
    }
    settings.extend(flags);
    let mut config: Config = settings
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError(error.message().to_owned()))?;
    config.file = file.map(Path::to_owned);
    config.check().map_err(|error| match file {
        Some(file) => ConfigError(format!("{}: {error}", file.display())),
        None => ConfigError(error),
    })?;
    Ok(config)
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let cannot = |error: io::Error| ConfigError(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let text = Zeroizing::new(io::read_to_string(&file).map_err(cannot)?);
    // Into the settings first: only here does an error know its line.
    let located = |error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        ConfigError(format!("{}:{line}: {}", path.display(), error.message()))
    };
    let config = toml::from_str::<Config>(&text).map_err(located)?;
    if config.default_superuser_password.text().is_some() {
        let metadata = file.metadata().map_err(cannot)?;
        private_file::check(path, &metadata, Readers::OwnerAndGroup).map_err(|error| {
            ConfigError(format!("default_superuser_password stands in it: {error}"))
        })?;
    }
    toml::from_str(&text).map_err(located)
}

/// A variable's text as the type that its setting has by default.
fn typed(name: &str, text: &str) -> Result<toml::Value, String> {
    let is_number = toml::from_str::<Config>(&format!("{name} = \"\"")).is_err_and(|error| {
        error.message().contains("expected u64") || error.message().contains("expected usize")
    });
    if is_number {
        return text
            .parse::<i64>()
            .map(toml::Value::Integer)
            .map_err(|_| format!("'{text}' is not a number"));
    }
    let is_truth = toml::from_str::<Config>(&format!("{name} = \"\""))
        .is_err_and(|error| error.message().contains("expected a boolean"));
    if is_truth {
        return text
            .parse::<bool>()
            .map(toml::Value::Boolean)
            .map_err(|_| format!("'{text}' is neither true nor false"));
    }
    let value = toml::Value::String(text.to_owned());
    let alone = toml::Table::from_iter([(name.to_owned(), value.clone())]);
    alone
        .try_into::<Config>()
        .map_err(|error| error.message().to_owned())?;
    Ok(value)
}

/// Settings that stand on the command line.
pub fn flags(
    data: Option<PathBuf>,
    keyring: Option<PathBuf>,
    listen: Option<String>,
) -> toml::Table {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    [
        ("data", data.map(text)),
        ("keyring", keyring.map(text)),
        ("listen", listen),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), toml::Value::String(value?))))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrails::{Flag, Limit};

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        load(Some(file.path()), environment, toml::Table::new()).map_err(|error| {
            error
                .to_string()
                .replace(&file.path().display().to_string(), "FILE")
        })
    }

    #[test]
    fn a_call_to_a_key_service_may_take_no_longer_than_the_shortest_lease() {
        for (seconds, is_fine) in [(0, false), (1, true), (10, true), (11, false)] {
            let loaded = load_text(&format!("key_call_timeout_s = {seconds}"), &[]);
            assert_eq!(loaded.is_ok(), is_fine, "{seconds}");
            if let Err(error) = loaded {
                assert!(error.contains("key_call_timeout_s"), "{error}");
            }
        }
    }

    #[test]
    fn memory_that_holds_no_request_and_a_data_center_without_a_name_are_refused() {
        for (text, refusal) in [
            ("memory_bytes = 0", None),
            ("memory_bytes = 16777216", None),
            (
                "memory_bytes = 16777215",
                Some("memory_bytes must be at least"),
            ),
            ("data_center = \"\"", Some("data_center must not be empty")),
        ] {
            let error = load_text(text, &[]).err();
            assert_eq!(error.is_some(), refusal.is_some(), "{text}");
            if let (Some(error), Some(refusal)) = (error, refusal) {
                assert!(error.contains(refusal), "{error}");
            }
        }
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_loopback() {
        for (listen, reached) in [
            ("127.0.0.5:9043", "127.0.0.5:9043"),
            ("0.0.0.0:9043", "127.0.0.1:9043"),
            ("[::]:9043", "[::1]:9043"),
        ] {
            let text = format!("listen = \"{listen}\"\nserve_everybody_beyond_loopback = true");
            let config = load_text(&text, &[]).unwrap();
            assert_eq!(config.own_address().to_string(), reached);
        }
    }

    #[test]
    fn a_budget_beyond_the_machine_is_told() {
        let told = |text: &str| load_text(text, &[]).unwrap().memory_beyond_the_machine();
        assert_eq!(told(""), None);
        assert_eq!(told("memory_bytes = 16777216"), None);
        let beyond = told("memory_bytes = 9223372036854775807").unwrap();
        assert!(beyond.contains("9223372036854775807"), "{beyond}");
    }

    #[test]
    fn a_folder_or_a_keyring_without_a_name_is_refused() {
        for name in ["data", "keyring"] {
            let error = load_text(&format!("{name} = \"\""), &[]).unwrap_err();
            assert_eq!(error, format!("FILE: {name} must not be empty"));
        }
    }

    /// A name of a machine is what Cassandra takes there.
    #[test]
    fn a_listen_address_that_is_none_is_named_with_its_setting() {
        let must =
            "listen is 'localhost:9042'; it must be an address and a port, as 127.0.0.1:9042";
        let flag = flags(None, None, Some("localhost:9042".into()));
        let error = load(None, std::iter::empty(), flag).unwrap_err();
        assert_eq!(error.to_string(), must);
        let error = load_text("\nlisten = \"localhost:9042\"", &[]).unwrap_err();
        assert_eq!(error, format!("FILE:2: {must}"));
        let error = load_text("", &[("PALLADIUM_LISTEN", "localhost:9042")]).unwrap_err();
        assert!(error.ends_with(must), "{error}");
    }

    #[test]
    fn exported_heads_do_not_take_the_place_of_the_configuration() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().display().to_string();
        std::fs::write(file.path(), format!("audit_head_file = \"{name}\"")).unwrap();
        let loaded = load(Some(file.path()), std::iter::empty(), toml::Table::new());
        let error = loaded.unwrap().check_places().unwrap_err();
        assert!(error.contains("is the configuration"), "{error}");
    }

    #[test]
    fn a_password_that_is_no_text_is_refused_without_being_quoted() {
        for value in ["12345", "12345.5", "[12345]", "{ a = 12345 }"] {
            let text = format!("default_superuser_password = {value}");
            let error = load_text(&text, &[]).unwrap_err();
            assert_eq!(
                error, "FILE:1: a password is a text between quotes",
                "{value}"
            );
        }
    }

    #[test]
    fn a_file_that_holds_a_password_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, mode, is_fine) in [
            ("default_superuser_password = \"geheim\"", 0o600, true),
            ("default_superuser_password = \"geheim\"", 0o640, true),
            ("default_superuser_password = \"geheim\"", 0o644, false),
            ("log = \"info\"", 0o644, true),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
            let loaded = load(Some(file.path()), std::iter::empty(), toml::Table::new());
            assert_eq!(loaded.is_ok(), is_fine, "{mode:o} {text}");
            if let Err(error) = loaded {
                assert!(!error.to_string().contains("geheim"), "{error}");
            }
        }
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_line() {
        let error = load_text("listen = \"127.0.0.1:1\"\n\nlisten_port = 5\n", &[]).unwrap_err();
        assert!(
            error.starts_with("FILE:3: unknown field `listen_port`"),
            "{error}"
        );
    }

    #[test]
    fn an_ill_typed_setting_is_named_with_its_line() {
        let error = load_text("rack = \"r\"\nkey_lease_s = \"long\"\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE:2: "), "{error}");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_over_both() {
        let config = load_text(
            "key_lease_s = 60\nrack = \"a\"",
            &[("PALLADIUM_KEY_LEASE_S", "30"), ("HOME", "/")],
        )
        .unwrap();
        assert_eq!((config.key_lease_s, config.rack.as_str()), (30, "a"));
        let flags = flags(Some("/d".into()), None, None);
        let environment = [("PALLADIUM_DATA".to_string(), "/e".to_string())];
        let config = load(None, environment.into_iter(), flags).unwrap();
        assert_eq!(config.data, PathBuf::from("/d"));
    }

    #[test]
    fn a_variable_that_names_no_setting_is_an_error() {
        for (variable, value) in [
            ("PALLADIUM_NOPE", "1"),
            ("PALLADIUM_KEY_LEASE_S", "x"),
            ("PALLADIUM_LISTEN", "nowhere"),
        ] {
            let error = load_text("", &[(variable, value)]).unwrap_err();
            assert!(error.contains(variable), "{error}");
        }
    }

    #[test]
    fn who_may_connect_can_be_said_in_the_environment() {
        let config = load_text(
            "listen = \"0.0.0.0:9042\"",
            &[
                ("PALLADIUM_SERVE_EVERYBODY_BEYOND_LOOPBACK", "true"),
                ("PALLADIUM_AUTHENTICATOR", "PasswordAuthenticator"),
            ],
        )
        .unwrap();
        assert!(config.serve_everybody_beyond_loopback && config.authenticates());
        let error = load_text("listen = \"0.0.0.0:9042\"", &[]).unwrap_err();
        assert!(error.starts_with("FILE: listen is 0.0.0.0:9042"), "{error}");
        let variable = ("PALLADIUM_SERVE_EVERYBODY_BEYOND_LOOPBACK", "perhaps");
        assert!(load_text("", &[variable]).is_err());
    }

    #[test]
    fn settings_of_cassandra_stand_in_a_table_and_in_the_environment_by_their_own_names() {
        let file = "[cassandra]\ntables_warn_threshold = 5\n";
        let environment = [("PALLADIUM_ALLOW_FILTERING_ENABLED", "false")];
        let guardrails = load_text(file, &environment).unwrap().guardrails().unwrap();
        assert_eq!(guardrails.bounds(Limit::Tables).warn, Some(5));
        assert!(!guardrails.is_on(Flag::AllowFiltering));
        let error = load_text("[cassandra]\ntables_warn = 5\n", &[]).unwrap_err();
        assert!(
            error.contains("cassandra.tables_warn: there is no such setting"),
            "{error}"
        );
    }

    #[test]
    fn a_lease_longer_than_five_minutes_is_refused() {
        assert!(
            load_text("key_lease_s = 301", &[])
                .unwrap_err()
                .contains("10 to 300")
        );
    }
}
