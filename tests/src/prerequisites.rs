//! What the machine must have before a lab can stand: root, a few packages, room for systemd's watches.
//!
//! Called first by every command of `cli` that touches a lab. It says what it does, installs with apt
//! only what is missing, and must never change anything else of the machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::command::{exists, output, streamed, tool};
use crate::error::{WithHint, hinted};

/// Programs the lab calls, and the package that brings each.
const PROGRAMS: [(&str, &str); 14] = [
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    // The live tests make a foreign certificate authority with it.
    ("openssl", "openssl"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("sha256sum", "coreutils"),
    ("apt-ftparchive", "apt-utils"),
    ("dpkg-deb", "dpkg"),
];

/// The keys sid is signed with; Ubuntu has them only on request.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The name under which the user who typed `cargo lab` is kept when it goes through sudo.
const CALLER: &str = "CLUSTERCTL_LAB_CALLER";

/// Goes on as root: a command of anybody else is run again through sudo, with the same arguments.
pub(crate) fn become_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if !exists("sudo") {
        return Err(hinted("the lab needs root", "run it as root, or install sudo"));
    }
    let user = output(&mut tool("id", ["-un"]))?;
    let kept = std::env::vars().filter(|(name, _)| kept_through_sudo(name));
    let error = Command::new("sudo")
        .arg("env")
        .args(kept.map(|(name, value)| format!("{name}={value}")))
        .arg(format!("{CALLER}={}", user.trim()))
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).hint("run it as root")
}

fn kept_through_sudo(name: &str) -> bool {
    let prefixes = ["CARGO", "RUST", "CLUSTERCTL_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || ["PATH", "HOME", "CI", "NO_COLOR"].contains(&name)
}

/// The user who came here through sudo: cargo runs as them, so that nothing in their folders becomes root's.
pub(crate) fn caller() -> Option<String> {
    std::env::var(CALLER)
        .ok()
        .filter(|user| !user.is_empty() && user != "root")
}

/// Installs what is missing and makes room for many hosts.
pub(crate) fn ensure() -> Result<()> {
    install(&missing())?;
    // Each host's systemd takes several of root's inotify instances; 128 is enough for about six hosts.
    raise("/proc/sys/fs/inotify/max_user_instances", 2048)?;
    // Each mysqld reserves a few thousand requests of asynchronous IO.
    raise("/proc/sys/fs/aio-max-nr", 1_048_576)
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| *package)
        .collect();
    if !Path::new(KEYRING).exists() {
        packages.push("debian-archive-keyring");
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !exists("apt-get") {
        return Err(hinted(
            format!("not installed here: {list}"),
            "the lab installs them itself on Debian and Ubuntu; install them with this machine's own tools",
        ));
    }
    eprintln!("==> installing {list}");
    // A third party's repository that does not answer must not stop us: the install says what is wrong.
    let _ = tool("apt-get", ["update", "-qq"]).stdout(Stdio::null()).status();
    let options = [
        "-qq",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
    ];
    let mut command = tool("apt-get", options.iter().chain(packages));
    streamed(command.stdout(Stdio::null())).hint(format!("try it by hand: apt-get install {list}"))?;
    match missing() {
        left if left.is_empty() => Ok(()),
        left => Err(hinted(
            format!("still missing after the installation: {}", left.join(" ")),
            "are the universe (Ubuntu) or main (Debian) components enabled?",
        )),
    }
}

/// Raises a kernel limit that is lower; one that cannot be raised is only a pity.
fn raise(path: &str, wanted: u64) -> Result<()> {
    let now = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    if now.is_some_and(|now| now < wanted) {
        match fs::write(path, wanted.to_string()) {
            Ok(()) => eprintln!("==> {path}: {} -> {wanted}", now.unwrap_or_default()),
            Err(error) => eprintln!("note: {path} stays {}: {error}", now.unwrap_or_default()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_through_sudo() {
        for name in ["CARGO_HOME", "CLUSTERCTL_LAB_MIRROR", "RUSTUP_HOME", "PATH"] {
            assert!(kept_through_sudo(name), "{name}");
        }
        for name in ["SSH_AUTH_SOCK", "LD_PRELOAD", "SECRET"] {
            assert!(!kept_through_sudo(name), "{name}");
        }
    }
}
