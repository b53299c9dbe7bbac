//! The files of one simulated machine: what has been written survives a loss of power.
//!
//! Every write of the agent is synced before it returns (`Host::write`, the ledger's disk), so there is no half of one here: a machine
//! that is killed has written the file or not. mysqld's own data are in `mysqld`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files.
#[derive(Default)]
pub struct Files {
    by_path: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Files {
    /// A file's content.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.lock().get(path).cloned()
    }

    /// Replaces a file.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        self.lock().insert(path.to_owned(), bytes.to_vec());
    }

    /// Removes a file; false: it was not there.
    pub fn remove(&self, path: &Path) -> bool {
        self.lock().remove(path).is_some()
    }

    /// Removes everything below a folder; false: there was nothing.
    pub fn remove_tree(&self, folder: &Path) -> bool {
        let mut files = self.lock();
        let before = files.len();
        files.retain(|path, _| !path.starts_with(folder));
        files.len() < before
    }

    /// Renames a file; false: it was not there.
    pub fn rename(&self, from: &Path, to: &Path) -> bool {
        let mut files = self.lock();
        let Some(bytes) = files.remove(from) else {
            return false;
        };
        files.insert(to.to_owned(), bytes);
        true
    }

    /// There is something below this folder.
    pub fn is_folder(&self, folder: &Path) -> bool {
        self.lock()
            .keys()
            .any(|path| path != folder && path.starts_with(folder))
    }

    /// Names directly in a folder, sorted; none: there is no such folder.
    pub fn list(&self, folder: &Path) -> Option<Vec<String>> {
        let files = self.lock();
        let inside = files.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let mut names: Vec<String> = inside
            .filter_map(|rest| Some(rest.iter().next()?.to_string_lossy().into_owned()))
            .collect();
        names.dedup();
        (!names.is_empty()).then_some(names)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
