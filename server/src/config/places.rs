//! Files that the configuration names and the server writes: which of them may not be one and the same.
//!
//! What must hold: the exported heads of the audit trail, whose file is replaced and set aside where it cannot be read, take the place of nothing else, and do not lie in the data
//! folder: what is copied or put back with it tells nothing of its age.

use std::path::{Path, PathBuf};

use super::{Config, beside};

/// Whether a file lies, or would lie, in a folder that exists: by its name, or by what its name leads to.
fn is_inside(file: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let lies_in = |path: &Path| {
        path.canonicalize()
            .is_ok_and(|path| path.starts_with(&folder))
    };
    lies_in(folder_of(file)) || lies_in(file)
}

/// Whether two names lead, or would lead, to one file.
fn is_same_file(first: &Path, second: &Path) -> bool {
    match (resolved(first), resolved(second)) {
        (Some(first), Some(second)) => first == second,
        _ => false,
    }
}

/// What a name leads to; a file that is not there yet: by its folder. None: there is none either.
fn resolved(file: &Path) -> Option<PathBuf> {
    if let Ok(path) = file.canonicalize() {
        return Some(path);
    }
    Some(folder_of(file).canonicalize().ok()?.join(file.file_name()?))
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Config {
    /// Whether the keyring lies outside the data folder, which should be there.
    pub fn check_keyring_place(&self) -> Result<(), String> {
        match is_inside(&self.keyring, &self.data) {
            true => Err(format!(
                "the keyring {} lies in the data folder {}: a copied data folder must open nothing; put it elsewhere",
                self.keyring.display(),
                self.data.display()
            )),
            false => Ok(()),
        }
    }

    /// Whether the keyring and the exported heads lie where they may. The data folder should be there. Waits for the disks of those places, which may hang.
    pub fn check_places(&self) -> Result<(), String> {
        self.check_keyring_place()?;
        self.check_audit_head_file()
    }

    /// Whether the exported heads have a place of their own.
    fn check_audit_head_file(&self) -> Result<(), String> {
        let heads = self.audit_head_path();
        if is_inside(&heads, &self.data) {
            return Err(format!(
                "audit_head_file {} lies in the data folder {}: heads that are put back with it tell nothing; put it elsewhere",
                heads.display(),
                self.data.display()
            ));
        }
        let keyring = &self.keyring;
        let anchor = self.anchor_path();
        let taken = [
            ("the keyring", keyring.clone()),
            ("the keyring's lock", beside(keyring, "lock")),
            ("the anchor's lock", beside(&anchor, "lock")),
            ("the anchor", anchor),
        ];
        let configuration = self
            .file
            .iter()
            .map(|file| ("the configuration", file.clone()));
        let mut taken = taken.into_iter().chain(configuration);
        match taken.find(|(_, file)| is_same_file(&heads, file)) {
            Some((what, file)) => Err(format!(
                "audit_head_file {} is {what} {}: it would be replaced; name another file",
                heads.display(),
                file.display()
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_that_a_link_leads_into_the_data_folder_lies_in_it() {
        let place = tempfile::tempdir().unwrap();
        let (data, other) = (place.path().join("data"), place.path().join("other"));
        for folder in [&data, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        let hidden = data.join("keyring");
        std::fs::write(&hidden, b"").unwrap();
        let link = other.join("keyring");
        std::os::unix::fs::symlink(&hidden, &link).unwrap();
        let linked_folder = place.path().join("elsewhere");
        std::os::unix::fs::symlink(&data, &linked_folder).unwrap();
        assert!(is_inside(&hidden, &data));
        assert!(is_inside(&link, &data));
        assert!(is_inside(&linked_folder.join("not there yet"), &data));
        assert!(is_inside(&hidden, &linked_folder));
        assert!(!is_inside(&other.join("not there yet"), &data));
    }

    /// The heads' file is named after the keyring where nothing else is said: who put the keyring there is told of the keyring.
    #[test]
    fn a_keyring_in_the_data_folder_is_named_before_the_files_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let config = Config {
            data: place.path().to_owned(),
            keyring: place.path().join("keyring"),
            ..Config::default()
        };
        let error = config.check_places().unwrap_err();
        assert!(error.starts_with("the keyring "), "{error}");
    }

    #[test]
    fn exported_heads_take_the_place_of_no_other_file_and_do_not_lie_in_the_data_folder() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| place.path().join(name);
        std::fs::create_dir_all(file("data/log")).unwrap();
        std::fs::write(file("keyring"), b"").unwrap();
        std::os::unix::fs::symlink(file("keyring"), file("link")).unwrap();
        std::os::unix::fs::symlink(file("data"), file("linked")).unwrap();
        let checked = |heads: &str| {
            Config {
                data: file("data"),
                keyring: file("keyring"),
                audit_head_file: file(heads),
                ..Config::default()
            }
            .check_audit_head_file()
        };
        for heads in [
            "data/heads",
            "data/log/heads",
            "linked/heads",
            "keyring",
            "link",
            "data/../keyring",
            "keyring.anchor",
            "keyring.lock",
            "keyring.anchor.lock",
        ] {
            assert!(checked(heads).is_err(), "{heads}");
        }
        for heads in ["heads", "keyring.audit-head", "away/heads", "data.heads"] {
            assert_eq!(checked(heads), Ok(()), "{heads}");
        }
        assert_eq!(Config::default().check_audit_head_file(), Ok(()));
    }
}
