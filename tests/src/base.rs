//! The base: one root file system of Debian sid, and the pool of packages hosts install from.
//!
//! Made by `lab` before the first host starts. Both are made together, once for each state of the mirror
//! (its InRelease) and of the recipe below, in a folder that gets its name only when it is whole. A base
//! that is there is never changed: running hosts stand on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::command::{output, output_with, tool};
use crate::error::hinted;
use crate::home::{Home, names_in, remove_tree};
use crate::prerequisites::KEYRING;
use crate::{mirror, packages};

/// What every host has from the start: an ordinary small Debian, nothing of MySQL.
const INCLUDED: &str = "systemd,systemd-sysv,dbus,apt,libpam-systemd,iproute2,procps,ca-certificates,less,openssl,\
    coreutils,util-linux,passwd";

/// What hosts may install: the same as from a data centre's own mirror. Their dependencies come along.
const POOL: &str = "mysql-server mysql-client mysql-router adduser net-tools netcat-openbsd libcap2-bin sudo";

/// Done in the new root by mmdebstrap, in this order; `$1` is the root. The pool is what the hosts lack.
const HOOKS: [&str; 6] = [
    r#"rm -f "$1"/var/cache/apt/archives/*.deb"#,
    r#"APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -y -o APT::Install-Recommends=true --download-only install $POOL"#,
    r#"mkdir "$1/../pool" && mv "$1"/var/cache/apt/archives/*.deb "$1/../pool/""#,
    r#"chroot "$1" useradd --create-home --shell /bin/bash --comment "the DBA" admin"#,
    // Timers that would take apt's lock in the middle of a test; there is no console to log in at.
    r#"chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer console-getty.service getty.target &&
       chroot "$1" systemctl set-default multi-user.target"#,
    // Each host gets its own of these; no DNS: a name that nobody knows fails at once.
    r#"rm -f "$1/etc/hostname" "$1/etc/hosts" "$1/etc/apt/sources.list" && : > "$1/etc/resolv.conf" &&
       : > "$1/etc/machine-id""#,
];

/// A mirror's Release file can be past its date.
const APT_OPTION: &str = r#"Acquire::Check-Valid-Until "false""#;

/// Not many tries: with a base at hand, a mirror that is out of reach is no great loss.
const APT_HELPER_OPTIONS: [&str; 6] = [
    "-o",
    "Acquire::http::Timeout=15",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "APT::Sandbox::User=root",
];

/// A base that is whole.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub key: String,
    folder: PathBuf,
}

impl Base {
    /// The base of that key, if it is there.
    pub fn existing(home: &Home, key: &str) -> Option<Self> {
        let folder = home.bases().join(key);
        folder.join("root/usr").is_dir().then(|| Self {
            key: key.to_owned(),
            folder,
        })
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub fn pool(&self) -> PathBuf {
        self.folder.join("pool")
    }
}

/// The base for the mirror's present state, made if it is not there yet. With the mirror out of reach,
/// the newest one of the same recipe.
pub(crate) fn ensure(home: &Home, asked: Option<&str>) -> Result<Base> {
    let _lock = home.lock("base")?;
    let recipe = &digest(&format!("{INCLUDED}{POOL}{HOOKS:?}{APT_OPTION}"))?[..8];
    let release = mirror::find(asked).and_then(|uri| Ok((in_release(home, &uri)?, uri)));
    let (release, uri) = match release {
        Ok(found) => found,
        Err(error) => match newest(home, recipe)? {
            Some(base) => {
                eprintln!("note: using the base of an earlier run: {error:#}");
                return Ok(base);
            }
            None => return Err(error),
        },
    };
    let key = format!("{recipe}-{}", &digest(&release)?[..12]);
    if let Some(base) = Base::existing(home, &key) {
        return Ok(base);
    }
    build(home, &key, &uri)
}

/// Removes bases that no lab stands on, except `kept`, and what interrupted builds left.
pub(crate) fn prune(home: &Home, kept: &str) -> Result<()> {
    let _lock = home.lock("base")?;
    let used: Vec<_> = home
        .labs()?
        .iter()
        .filter_map(|lab| home.read(lab).ok())
        .map(|state| state.base)
        .collect();
    for key in names_in(&home.bases())? {
        if key != kept && !used.contains(&key) && home.bases().join(&key).is_dir() {
            remove_tree(&home.bases().join(&key))?;
        }
    }
    Ok(())
}

fn newest(home: &Home, recipe: &str) -> Result<Option<Base>> {
    let mut found = Vec::new();
    for key in names_in(&home.bases())?
        .into_iter()
        .filter(|key| key.starts_with(recipe))
    {
        if let Some(base) = Base::existing(home, &key) {
            found.push((fs::metadata(&base.folder)?.modified()?, base));
        }
    }
    Ok(found.into_iter().max_by_key(|(made, _)| *made).map(|(_, base)| base))
}

/// The mirror's signed index of sid: it changes whenever any package does.
fn in_release(home: &Home, uri: &str) -> Result<String> {
    let folder = tempfile::tempdir_in(home.bases())?;
    let file = folder.path().join("InRelease");
    let mut command = tool("/usr/lib/apt/apt-helper", APT_HELPER_OPTIONS);
    command
        .arg("download-file")
        .arg(format!("{uri}/dists/sid/InRelease"))
        .arg(&file);
    output(&mut command).map_err(|error| {
        let said = format!("{error:#}");
        let why = said.split("E: ").nth(1).unwrap_or(&said).trim();
        hinted(
            why,
            format!("is {uri} a Debian mirror, and reachable? --mirror names another"),
        )
    })?;
    Ok(fs::read_to_string(file)?)
}

fn build(home: &Home, key: &str, uri: &str) -> Result<Base> {
    let start = Instant::now();
    eprintln!("==> making the base: Debian sid and the package pool from {uri} (once for each state of the mirror)");
    for name in fs::read_dir(home.bases())?.filter_map(|entry| Some(entry.ok()?.file_name())) {
        if name.to_string_lossy().starts_with('.') {
            remove_tree(&home.bases().join(name))?;
        }
    }
    // Not a `TempDir`: its name must stand out, and a failed build is worth a look until the next one.
    let folder = home.bases().join(format!(".building-{key}"));
    fs::create_dir(&folder)?;
    let log = home.bases().join("build.log");
    bootstrap(&folder, uri, &log)
        .with_context(|| format!("cannot make the base; all it said is in {}", log.display()))?;
    packages::index(&folder.join("pool"))?;
    fs::rename(&folder, home.bases().join(key))?;
    let base = Base::existing(home, key).context("the base vanished while it was made")?;
    let count = names_in(&base.pool())?
        .iter()
        .filter(|name| name.ends_with(".deb"))
        .count();
    eprintln!(
        "    base {key}, {count} packages in the pool, {:.1} s",
        start.elapsed().as_secs_f32()
    );
    Ok(base)
}

fn bootstrap(folder: &Path, uri: &str, log: &Path) -> Result<()> {
    // If we are killed, it and all it runs and mounts must go, too: the next build removes this folder.
    let mut command = tool(
        "setpriv",
        [
            "--pdeathsig=KILL",
            "unshare",
            "--mount",
            "--pid",
            "--mount-proc",
            "--kill-child",
        ],
    );
    command.args([
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
    ]);
    command.arg(format!("--include={INCLUDED}"));
    command.arg(format!("--aptopt={APT_OPTION}"));
    for proxy in output(&mut tool("apt-config", ["dump", "Acquire::http::Proxy"]))?.lines() {
        command.arg(format!("--aptopt={proxy}"));
    }
    for hook in HOOKS {
        command.arg(format!("--customize-hook={hook}"));
    }
    if Path::new(KEYRING).exists() {
        command.arg(format!("--keyring={KEYRING}"));
    }
    let said = fs::File::create(log)?;
    command
        .arg("sid")
        .arg(folder.join("root"))
        .arg(uri)
        .env("POOL", POOL)
        .env("TMPDIR", "/var/tmp");
    let status = command
        .stdout(Stdio::from(said.try_clone()?))
        .stderr(Stdio::from(said))
        .status()?;
    if !status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<_> = text.lines().rev().take(8).collect();
        anyhow::bail!(
            "mmdebstrap failed:\n  {}",
            tail.into_iter().rev().collect::<Vec<_>>().join("\n  ")
        );
    }
    let pool = names_in(&folder.join("pool"))?;
    ensure!(
        pool.iter().any(|name| name.starts_with("mysql-server_")),
        "the mirror has no mysql-server"
    );
    Ok(())
}

fn digest(text: &str) -> Result<String> {
    let line = output_with(&mut tool("sha256sum", ["-"]), text)?;
    ensure!(line.len() >= 64, "sha256sum said `{line}`");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_every_byte() {
        assert_eq!(&digest("").unwrap()[..8], "e3b0c442");
        assert_ne!(digest("a").unwrap(), digest("b").unwrap());
    }
}
