//! Files of the real host: blocking functions, called on the blocking pool by `real.rs`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use clusterctl_proto::files;

use super::{Access, HostError, Stat};

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(HostError::file("read", path, e)),
    }
}

pub(super) fn stat(path: &Path) -> Result<Option<Stat>, HostError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Stat {
            is_dir: meta.is_dir(),
            len: meta.len(),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            modified: u64::try_from(meta.mtime()).unwrap_or(0),
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(HostError::file("look at", path, e)),
    }
}

pub(super) fn list(path: &Path) -> Result<Option<Vec<String>>, HostError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HostError::file("list", path, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| HostError::file("list", path, e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(Some(names))
}

pub(super) fn write(path: &Path, bytes: &[u8], access: &Access) -> Result<(), HostError> {
    // a link (as /etc/hosts is in some images) stays a link: its target is replaced
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fail = |e| HostError::file("write", path, e);
    let (mode, owner) = resolve(&target, access)?;
    let (uid, gid) = owner.unwrap_or_else(own_ids);
    match files::write_atomic_owned(&target, bytes, mode, uid, gid) {
        Ok(()) => Ok(()),
        // a file that is itself a mount point (/etc/hosts in a container) cannot be replaced, only filled
        Err(e) if e.source.kind() == io::ErrorKind::ResourceBusy => fill(&target, bytes).map_err(fail),
        Err(e) => Err(fail(e.source)),
    }
}

fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn make_dir(path: &Path, access: &Access) -> Result<(), HostError> {
    let fail = |e| HostError::file("make", path, e);
    fs::create_dir_all(path).map_err(fail)?;
    if *access == Access::Keep {
        return Ok(());
    }
    let (mode, owner) = resolve(path, access)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid)).map_err(fail)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fail)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), HostError> {
    let fail = |e| HostError::file("rename", from, e);
    fs::rename(from, to).map_err(fail)?;
    sync_dir(to.parent().unwrap_or(Path::new("/"))).map_err(fail)
}

pub(super) fn remove(path: &Path) -> Result<bool, HostError> {
    removed(path, fs::remove_file(path))
}

pub(super) fn remove_tree(path: &Path) -> Result<bool, HostError> {
    removed(path, fs::remove_dir_all(path))
}

/// What is gone stays gone after a power loss: a file that comes back may permit what was taken back.
fn removed(path: &Path, result: io::Result<()>) -> Result<bool, HostError> {
    match result.and_then(|()| sync_dir(path.parent().unwrap_or(Path::new("/")))) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(HostError::file("remove", path, e)),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

type Resolved = (u32, Option<(u32, u32)>);

/// Mode, and owner where it is to be set.
fn resolve(path: &Path, access: &Access) -> Result<Resolved, HostError> {
    match access {
        Access::Keep => Ok(match stat(path)? {
            Some(stat) => (stat.mode, Some((stat.uid, stat.gid))),
            None => (0o644, None),
        }),
        Access::Own(mode) => Ok((*mode, Some(own_ids()))),
        Access::Of { mode, user, group } => {
            let uid = find_id("user", "/etc/passwd", user)?;
            let gid = find_id("group", "/etc/group", group)?;
            Ok((*mode, Some((uid, gid))))
        }
    }
}

/// Users that packages make stand in the files; directories are never asked.
fn find_id(kind: &'static str, file: &str, name: &str) -> Result<u32, HostError> {
    let path = Path::new(file);
    let text = fs::read_to_string(path).map_err(|e| HostError::file("read", path, e))?;
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name))
                .then(|| fields.nth(1)?.parse().ok())
                .flatten()
        })
        .ok_or_else(|| HostError::NoSuchOwner {
            kind,
            name: name.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        write(&file, b"one", &Access::Own(0o600)).unwrap();
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"two", &Access::Keep).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(stat(&file).unwrap().unwrap().mode, 0o600);
        assert_eq!(list(dir.path()).unwrap().unwrap(), ["a", "l"]);
        assert!(remove(&file).unwrap());
        assert!(!remove(&file).unwrap());
        assert_eq!(read(&file).unwrap(), None);
    }

    #[test]
    fn an_unknown_user_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&dir.path().join("a"), b"", &Access::of(0o640, "root", "no-such-group")).unwrap_err();
        assert!(error.to_string().contains("no-such-group"));
        assert!(list(dir.path()).unwrap().unwrap().is_empty(), "nothing is left behind");
    }
}
