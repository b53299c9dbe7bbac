//! Files that must survive a power cut whole: written beside, synced, renamed, directory synced.
//!
//! Used by all programs for keys, certificates, ledger, enrolment and configuration files. Blocking calls: short files only.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// `write`, `read`.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl FileError {
    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let hint = match error.source.kind() {
            io::ErrorKind::PermissionDenied => Some("run it as root, or as a user who may access this file"),
            io::ErrorKind::StorageFull => Some("free some space on this file system"),
            _ => None,
        };
        let failure = Failure::new("file_error", error.to_string());
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Replaces a file at once: a reader, or the next boot after a power cut, sees the old content or the new, never a part.
///
/// The new file has exactly this `mode` before it has content. Its owner is the caller: chown it before, or use
/// [`write_atomic_owned`].
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace(path, bytes, mode, None)
}

/// As [`write_atomic`], with user and group ids set before the file gets its name.
pub fn write_atomic_owned(path: &Path, bytes: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(), FileError> {
    replace(path, bytes, mode, Some((uid, gid)))
}

fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), FileError> {
    let work = || -> io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .prefix(".clusterctl-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(file.as_file(), Some(uid), Some(gid))?;
        }
        // After the chown, which clears some bits; and past the umask.
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    work().map_err(|source| FileError {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// Reads a whole file, refusing one that is larger than `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let work = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {limit} bytes"),
            ));
        }
        Ok(bytes)
    };
    work().map_err(|source| FileError {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// As [`read_limited`], for text.
pub fn read_text_limited(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read_limited(path, limit)?).map_err(|error| FileError {
        action: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

/// Makes a directory (and its parents) with this mode, also when it is there already; its owner stays.
pub fn ensure_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    let work = || -> io::Result<()> {
        fs::create_dir_all(path)?;
        if fs::metadata(path)?.permissions().mode() & 0o7777 != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    work().map_err(|source| FileError {
        action: "make directory",
        path: path.to_owned(),
        source,
    })
}

/// Removes a file and syncs its directory; one that is not there is no error. Answers whether it was there.
pub fn remove_if_there(path: &Path) -> Result<bool, FileError> {
    let work = || -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(true)
    };
    work().map_err(|source| FileError {
        action: "remove",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> io::Result<u32> {
        Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
    }

    #[test]
    fn replaces_content_and_mode_and_leaves_nothing_behind() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("key.pem");
        write_atomic(&path, b"one", 0o644)?;
        assert_eq!(mode(&path)?, 0o644);
        write_atomic(&path, b"two", 0o600)?;
        assert_eq!((fs::read(&path)?, mode(&path)?), (b"two".to_vec(), 0o600));
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        // A directory cannot be replaced by a file.
        let path = dir.path().join("taken");
        fs::create_dir(&path)?;
        let error = write_atomic(&path, b"x", 0o600).err().ok_or("wrote over a directory")?;
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        assert!(write_atomic(&dir.path().join("no/such/file"), b"x", 0o600).is_err());
        Ok(())
    }

    #[test]
    fn reads_up_to_the_limit() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("file");
        fs::write(&path, "12345")?;
        assert_eq!(read_limited(&path, 5)?, b"12345");
        assert!(read_limited(&path, 4).is_err_and(|error| error.to_string().contains("larger than 4 bytes")));
        assert!(read_limited(&dir.path().join("none"), 4).is_err_and(|error| error.is_missing()));
        fs::write(&path, [0xff, 0xfe])?;
        assert!(read_text_limited(&path, 5).is_err());
        Ok(())
    }

    #[test]
    fn directories_and_removal_are_idempotent() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let inner = dir.path().join("a/b");
        ensure_directory(&inner, 0o700)?;
        ensure_directory(&inner, 0o750)?;
        assert_eq!(mode(&inner)?, 0o750);
        let file = inner.join("f");
        fs::write(&file, "")?;
        assert!(remove_if_there(&file)?);
        assert!(!remove_if_there(&file)?);
        Ok(())
    }
}
