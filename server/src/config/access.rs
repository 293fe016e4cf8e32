//! Settings of logins and permissions, by Cassandra's names for who decides.
//!
//! What must hold: a server that others reach asks who they are, unless the operator says in so many words that it does not.

use std::fmt;
use std::net::SocketAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::Config;
use crate::auth::cidr::{self, CidrGroups};
use crate::auth::password;

/// A class by its name, with or without its package.
macro_rules! by_class_name {
    ($(#[$note:meta])* $name:ident, $off:ident = $off_text:literal, $on:ident = $on_text:literal) => {
        $(#[$note])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub enum $name {
            #[doc = concat!("`", $off_text, "`")]
            $off,
            #[doc = concat!("`", $on_text, "`")]
            $on,
        }

        impl $name {
            /// Its name, as a configuration has it.
            pub fn class_name(self) -> &'static str {
                match self {
                    $name::$off => $off_text,
                    $name::$on => $on_text,
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let name = text.strip_prefix("org.apache.cassandra.auth.").unwrap_or(&text);
                match name {
                    $off_text => Ok($name::$off),
                    $on_text => Ok($name::$on),
                    _ => Err(format!(concat!("'{}' is neither ", $off_text, " nor ", $on_text), text)),
                }
            }
        }
    };
}

by_class_name!(
    /// Whether connections log in.
    Authenticator, AllowAll = "AllowAllAuthenticator", Password = "PasswordAuthenticator"
);
by_class_name!(
    /// Whether permissions are asked for.
    Authorizer, AllowAll = "AllowAllAuthorizer", Cassandra = "CassandraAuthorizer"
);
by_class_name!(
    /// Whether roles can be bound to data centres.
    NetworkAuthorizer, AllowAll = "AllowAllNetworkAuthorizer", Cassandra = "CassandraNetworkAuthorizer"
);
by_class_name!(
    /// Whether roles can be bound to networks.
    CidrAuthorizer, AllowAll = "AllowAllCIDRAuthorizer", Cassandra = "CassandraCIDRAuthorizer"
);

/// How strictly networks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum CidrMode {
    /// Not at all: the authorizer is off. Cannot be set by itself.
    #[serde(skip)]
    Off,
    /// What would be refused is only logged.
    #[serde(rename = "MONITOR")]
    Monitor,
    /// What does not fit is refused.
    #[serde(rename = "ENFORCE")]
    Enforce,
}

/// A password that stands in the configuration. Not printed, not quoted where it is not understood, and wiped with the last copy of the configuration.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct GivenPassword(Zeroizing<String>);

impl GivenPassword {
    /// This text; none is no password.
    pub fn new(text: &str) -> GivenPassword {
        GivenPassword(Zeroizing::new(text.to_owned()))
    }

    /// The password, if one was given.
    pub fn text(&self) -> Option<&Zeroizing<String>> {
        Some(&self.0).filter(|text| !text.is_empty())
    }
}

/// By hand: serde's own error quotes what it does not expect.
impl<'de> Deserialize<'de> for GivenPassword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Ok(GivenPassword(Zeroizing::new(text))),
            _ => Err(D::Error::custom("a password is a text between quotes")),
        }
    }
}

impl fmt::Debug for GivenPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenPassword(..)")
    }
}

impl Config {
    /// Whether connections have to log in.
    pub fn authenticates(&self) -> bool {
        self.authenticator == Authenticator::Password
    }

    /// Whether permissions are asked for.
    pub fn authorizes(&self) -> bool {
        self.authorizer == Authorizer::Cassandra
    }

    /// Whether roles can be bound to data centres.
    pub fn limits_datacenters(&self) -> bool {
        self.network_authorizer == NetworkAuthorizer::Cassandra
    }

    /// How strictly networks are taken.
    pub fn cidr_mode(&self) -> CidrMode {
        match self.cidr_authorizer {
            CidrAuthorizer::AllowAll => CidrMode::Off,
            CidrAuthorizer::Cassandra => self.cidr_authorizer_mode,
        }
    }

    /// Networks by the names of their groups.
    pub fn cidr_groups(&self) -> Result<CidrGroups, String> {
        cidr::groups(&self.cidr_groups)
    }

    /// Where metrics are served, if anywhere: to this machine only, unless the operator insists.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, String> {
        if self.metrics_listen.is_empty() {
            return Ok(None);
        }
        let address: SocketAddr = self.metrics_listen.parse().map_err(|_| {
            format!(
                "metrics_listen is '{}'; it must be an address and a port, as 127.0.0.1:9180",
                self.metrics_listen
            )
        })?;
        match address.ip().is_loopback() || self.metrics_beyond_loopback {
            true => Ok(Some(address)),
            false => Err(format!(
                "metrics_listen is {address}, which other machines can reach, and nobody is asked there who he is: say metrics_beyond_loopback = true to serve them all the same"
            )),
        }
    }

    /// What holds of these settings together, and of where the server listens.
    pub fn check_access(&self) -> Result<(), String> {
        let rounds = u32::try_from(self.auth_bcrypt_gensalt_log2_rounds);
        if !rounds.is_ok_and(|rounds| password::ROUNDS.contains(&rounds)) {
            return Err("auth_bcrypt_gensalt_log2_rounds must be from 4 to 16".into());
        }
        self.cidr_groups()?;
        let needs_roles = [
            (self.authorizes(), "CassandraAuthorizer"),
            (self.limits_datacenters(), "CassandraNetworkAuthorizer"),
            (self.cidr_mode() != CidrMode::Off, "CassandraCIDRAuthorizer"),
        ];
        for (is_on, name) in needs_roles {
            if is_on && !self.authenticates() {
                return Err(format!("AllowAllAuthenticator can't be used with {name}"));
            }
        }
        if self.listen.ip().is_loopback() || self.serve_everybody_beyond_loopback {
            return Ok(());
        }
        let missing = match (self.authenticates(), self.authorizes()) {
            (true, true) => return Ok(()),
            (true, false) => "authorizer = \"CassandraAuthorizer\"",
            (false, _) => {
                "authenticator = \"PasswordAuthenticator\" and authorizer = \"CassandraAuthorizer\""
            }
        };
        Err(format!(
            "listen is {}, which other machines can reach: set {missing}, or say serve_everybody_beyond_loopback = true to let everybody in",
            self.listen
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(listen: &str) -> Config {
        Config {
            listen: listen.parse().expect("an address"),
            ..Config::default()
        }
    }

    #[test]
    fn a_server_that_others_reach_asks_who_they_are() {
        assert!(on("127.0.0.1:9042").check_access().is_ok());
        assert!(on("[::1]:9042").check_access().is_ok());
        for open in ["0.0.0.0:9042", "192.0.2.1:9042", "[::]:9042"] {
            let mut config = on(open);
            let refused = config.check_access().unwrap_err();
            assert!(
                refused.contains("serve_everybody_beyond_loopback"),
                "{refused}"
            );
            config.authenticator = Authenticator::Password;
            assert!(config.check_access().is_err());
            config.authorizer = Authorizer::Cassandra;
            assert!(config.check_access().is_ok());
            let insists = Config {
                serve_everybody_beyond_loopback: true,
                ..on(open)
            };
            assert!(insists.check_access().is_ok());
        }
    }

    #[test]
    fn metrics_are_served_to_this_machine_unless_the_operator_insists() {
        let with = |listen: &str, insists| Config {
            metrics_listen: listen.into(),
            metrics_beyond_loopback: insists,
            ..Config::default()
        };
        assert_eq!(with("", false).metrics_address(), Ok(None));
        let address = with("127.0.0.1:9180", false).metrics_address();
        assert_eq!(address, Ok("127.0.0.1:9180".parse().ok()));
        let refused = with("0.0.0.0:9180", false).metrics_address().unwrap_err();
        assert!(refused.contains("metrics_beyond_loopback"), "{refused}");
        assert!(with("0.0.0.0:9180", true).metrics_address().is_ok());
        assert!(with("9180", true).metrics_address().is_err());
    }

    #[test]
    fn permissions_need_logins() {
        let config = Config {
            authorizer: Authorizer::Cassandra,
            ..Config::default()
        };
        assert_eq!(
            config.check_access().unwrap_err(),
            "AllowAllAuthenticator can't be used with CassandraAuthorizer"
        );
    }

    #[test]
    fn classes_are_named_with_or_without_their_package() {
        let read = |text: &str| Authenticator::try_from(text.to_owned());
        assert_eq!(read("PasswordAuthenticator"), Ok(Authenticator::Password));
        assert_eq!(
            read("org.apache.cassandra.auth.AllowAllAuthenticator"),
            Ok(Authenticator::AllowAll)
        );
        assert!(read("Kerberos").is_err());
    }
}
