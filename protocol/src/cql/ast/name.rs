//! Identifiers and their case rules.
//!
//! An unquoted identifier is lower-cased when it is read; a quoted one keeps its letters. After that both are the same
//! thing: `Users`, `users` and `"users"` are one [`Name`]. Printing adds quotes only where reading would otherwise
//! change the name or stumble over a keyword.

use std::fmt;

use crate::cql::token::{Keyword, Reach};

/// An identifier after case folding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// As written without quotes: folded to lower case.
    pub fn unquoted(text: &str) -> Self {
        Name(text.to_ascii_lowercase())
    }

    /// As written between quotes, or as it stands in the catalog: kept.
    pub fn exact(text: impl Into<String>) -> Self {
        Name(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether the name can be written without quotes where only the `reach` of keywords may be a name.
    pub(crate) fn is_plain(&self, reach: Reach) -> bool {
        let mut letters = self.0.bytes();
        letters.next().is_some_and(|b| b.is_ascii_lowercase())
            && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !matches!(self.0.as_str(), "true" | "false")
            && Keyword::find(&self.0).is_none_or(|keyword| keyword.reach() >= reach)
    }

    pub(crate) fn write_quoted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain(Reach::Identifier) {
            f.write_str(&self.0)
        } else {
            self.write_quoted(f)
        }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// A name that may carry its keyspace: `ks.t` or `t`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QualifiedName {
    pub keyspace: Option<Name>,
    pub name: Name,
}

impl QualifiedName {
    /// A name in the keyspace of the session.
    pub fn local(name: Name) -> Self {
        QualifiedName {
            keyspace: None,
            name,
        }
    }

    pub fn new(keyspace: Name, name: Name) -> Self {
        QualifiedName {
            keyspace: Some(keyspace),
            name,
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.keyspace {
            write!(f, "{keyspace}.")?;
        }
        write!(f, "{}", self.name)
    }
}
