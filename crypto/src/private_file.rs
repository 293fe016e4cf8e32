//! Files that hold a secret of ours: a keyring, a credential, a PIN, a private key, a token. Each is refused when more people may read it than the secret is for, as
//! `ssh` refuses a private key.

use std::fs::{File, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Who may read such a file.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Its group, too: mode 0640, as an agent that runs as somebody else makes it.
    OwnerAndGroup,
}

/// Opens a file, or says why it is not to be used. What is read from it is what was looked at, whatever stands under its name by then.
pub fn open(path: &Path, readers: Readers) -> Result<File, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(cannot)?;
    check(path, &file.metadata().map_err(cannot)?, readers).map(|()| file)
}

/// Says why a file is not to be used.
pub fn check(path: &Path, metadata: &Metadata, readers: Readers) -> Result<(), String> {
    let (forbidden, whose, mode) = match readers {
        Readers::Owner => (0o077, "its owner", "600"),
        Readers::OwnerAndGroup => (0o007, "its owner and group", "640"),
    };
    match metadata.permissions().mode() & forbidden {
        0 => Ok(()),
        _ => Err(format!(
            "{} can be read by others than {whose}: chmod {mode}",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let is_refused = |mode, readers| {
            let permissions = Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
            let metadata = file.path().metadata().unwrap();
            let is_refused = check(file.path(), &metadata, readers).is_err();
            assert_eq!(open(file.path(), readers).is_err(), is_refused);
            is_refused
        };
        for (mode, owner, group) in [
            (0o600, false, false),
            (0o400, false, false),
            (0o640, true, false),
            (0o644, true, true),
            (0o604, true, true),
        ] {
            assert_eq!(is_refused(mode, Readers::Owner), owner, "{mode:o}");
            assert_eq!(is_refused(mode, Readers::OwnerAndGroup), group, "{mode:o}");
        }
    }
}
