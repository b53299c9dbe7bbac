//! System users and groups, by name; and files given to them. Root only; in tests nobody has these names.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use clusterctl_proto::failure::Failure;

/// The coordinator's user.
pub const USER: &str = "clusterctl-coordinator";
/// Who may use the operator certificate of the first host.
pub const ADMIN_GROUP: &str = "clusterctl-admin";

/// User and group id of a local user.
pub fn user(name: &str) -> Option<(u32, u32)> {
    find_user(&fs::read_to_string("/etc/passwd").ok()?, name)
}

/// Id of a local group.
pub fn group(name: &str) -> Option<u32> {
    find_group(&fs::read_to_string("/etc/group").ok()?, name)
}

fn find_user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [found, _, uid, gid, ..] if *found == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        }
    })
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [found, _, gid, ..] if *found == name => gid.parse().ok(),
            _ => None,
        }
    })
}

/// Gives a directory and everything in it to the coordinator's user, if this is root and the user exists.
pub fn give_to_coordinator(directory: &Path) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some((uid, gid)) = user(USER) else { return Ok(()) };
    give(directory, uid, gid).map_err(|error| {
        Failure::new(
            "file_error",
            format!("cannot give {} to user {USER}: {error}", directory.display()),
        )
    })
}

fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    lchown(path, Some(uid), Some(gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// A file or directory for the admins' group: `root:clusterctl-admin` with this mode; where there is no such group, for
/// its owner only.
pub fn give_to_admins(path: &Path, mode: u32) -> Result<(), Failure> {
    let group = group(ADMIN_GROUP).filter(|_| rustix::process::geteuid().is_root());
    let work = || -> io::Result<()> {
        if let Some(gid) = group {
            lchown(path, None, Some(gid))?;
        }
        let mode = if group.is_some() { mode } else { mode & 0o7700 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    work().map_err(|error| {
        Failure::new(
            "file_error",
            format!("cannot set owner and mode of {}: {error}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_found_in_the_files() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nclusterctl-coordinator:x:990:989::/:/usr/sbin/nologin\n";
        assert_eq!(super::find_user(passwd, super::USER), Some((990, 989)));
        assert_eq!(super::find_user(passwd, "nobody"), None);
        assert_eq!(
            super::find_group("a:x:1:\nclusterctl-admin:x:991:alice\n", super::ADMIN_GROUP),
            Some(991)
        );
    }
}
