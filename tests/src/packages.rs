//! Our own .deb packages: built from this repository, published to the hosts, installed in them.
//!
//! Called by `lab` and `cli`. It must never build as root what belongs to the user who called sudo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{line, output, tool};
use crate::error::{WithHint, hinted};
use crate::home::names_in;
use crate::host::Host;
use crate::lab::Lab;
use crate::prerequisites::caller;

/// Where [`Lab::up_installed`] finds packages that are built already.
pub(crate) const VARIABLE: &str = "CLUSTERCTL_LAB_PACKAGES";

/// A folder with our .deb files.
#[derive(Debug, Clone)]
pub struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// The .deb files in a folder.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let packages = Self {
            folder: folder
                .canonicalize()
                .with_context(|| format!("no {}", folder.display()))?,
        };
        ensure!(
            !packages.files()?.is_empty(),
            "there is no .deb in {}",
            folder.display()
        );
        Ok(packages)
    }

    /// Those that `CLUSTERCTL_LAB_PACKAGES` names, else built from this repository.
    pub fn from_environment_or_build() -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(folder) => Self::in_folder(Path::new(&folder)),
            None => Self::build(false),
        }
    }

    /// Builds the three programs and their packages.
    pub fn build(release: bool) -> Result<Self> {
        let script = repository()?.join("packaging/build-deb.sh");
        ensure!(
            script.is_file(),
            hinted(
                format!("there is no {}", script.display()),
                "`cargo lab up --bare` needs no packages"
            )
        );
        let mut build = cargo(&[
            "build",
            "--quiet",
            "-p",
            "clusterctl-agent",
            "-p",
            "clusterctl-coordinator",
            "-p",
            "clusterctl",
        ])?;
        if release {
            build.arg("--release");
        }
        show(&mut build)?;
        let target = target_folder()?;
        let folder = target.join("lab-packages");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut pack = as_caller("bash")?;
        pack.arg(&script)
            .arg(target.join(if release { "release" } else { "debug" }))
            .arg(&folder);
        show(&mut pack)?;
        Self::in_folder(&folder)
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn files(&self) -> Result<Vec<String>> {
        Ok(names_in(&self.folder)?
            .into_iter()
            .filter(|name| name.ends_with(".deb"))
            .collect())
    }

    /// What these very packages are: equal only for equal files.
    fn digest(&self) -> Result<String> {
        output(tool("sha256sum", self.files()?).current_dir(&self.folder))
    }
}

/// Which of our packages a host gets: all of them the first one, the agent every one.
fn wanted(lab: &Lab, host: &str) -> Vec<&'static str> {
    if lab.hosts().first() == Some(&host) {
        vec!["clusterctl", "clusterctl-agent", "clusterctl-coordinator"]
    } else {
        vec!["clusterctl-agent"]
    }
}

/// Copies the packages to where the lab's hosts see them, and indexes them.
pub(crate) fn publish(packages: &Packages, folder: &Path) -> Result<()> {
    for old in names_in(folder)?.iter().filter(|name| name.ends_with(".deb")) {
        fs::remove_file(folder.join(old))?;
    }
    for name in packages.files()? {
        fs::copy(packages.folder.join(&name), folder.join(&name))?;
    }
    index(folder)
}

/// Installs our packages in one host with apt; answers whether there was anything to do.
pub(crate) fn install(lab: &Lab, host: &Host, packages: &Packages) -> Result<bool> {
    let marker = lab.folder_of(host.name)?.join("installed");
    let digest = packages.digest()?;
    let before = fs::read_to_string(&marker).ok();
    if before.as_deref() == Some(&digest) {
        return Ok(false);
    }
    // The version stays the same while one works on the code.
    let again = if before.is_some() { "--reinstall " } else { "" };
    let names = wanted(lab, host.name).join(" ");
    let line = format!(
        "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq {again}{names} && \
         if getent group clusterctl-admin >/dev/null; then usermod -aG clusterctl-admin admin; fi"
    );
    lab.sh(host.name, &line)
        .with_context(|| format!("cannot install {names}"))?;
    fs::write(marker, digest)?;
    Ok(true)
}

/// Makes an index for a folder that has none yet.
pub(crate) fn index_once(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    if folder.join("Release").exists() {
        Ok(())
    } else {
        index(folder)
    }
}

/// Lets a new host read the indexes once, as an installation would have done.
pub(crate) fn update_once(lab: &Lab, host: &str) -> Result<()> {
    let marker = lab.folder_of(host)?.join("updated");
    if !marker.exists() {
        lab.sh(host, "apt-get update -qq")?;
        fs::write(marker, "")?;
    }
    Ok(())
}

/// Makes a folder of .deb files a flat apt repository.
pub(crate) fn index(folder: &Path) -> Result<()> {
    let _ = fs::remove_file(folder.join("Release"));
    for (file, kind) in [("Packages", "packages"), ("Release", "release")] {
        let text = output(tool("apt-ftparchive", [kind, "."]).current_dir(folder))?;
        let fresh = folder.join(format!(".{file}"));
        fs::write(&fresh, text)?;
        fs::rename(fresh, folder.join(file))?;
    }
    Ok(())
}

/// The repository this program was built from.
pub(crate) fn repository() -> Result<PathBuf> {
    let own =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = own.parent().context("no folder above the package")?.to_path_buf();
    ensure!(
        root.join("tests/Cargo.toml").is_file(),
        hinted(
            format!("{} is not the repository", root.display()),
            "run `cargo lab` inside a clone of it"
        )
    );
    Ok(root)
}

/// A cargo command in the repository, as the user who typed `cargo lab`.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = as_caller(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))?;
    command.args(args);
    Ok(command)
}

/// A program in the repository's folder, as the user who typed `cargo lab`.
pub(crate) fn as_caller(program: &str) -> Result<Command> {
    let mut command = match caller() {
        None => tool(program, [""; 0]),
        Some(user) => {
            let kept = [
                "PATH",
                "HOME",
                "CARGO_HOME",
                "RUSTUP_HOME",
                "RUSTUP_TOOLCHAIN",
                "CARGO_TARGET_DIR",
                "CI",
                "RUSTDOCFLAGS",
            ];
            let values = kept
                .iter()
                .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
            let mut command = tool("sudo", ["-u", &user, "env"]);
            command.args(values).arg(program);
            command
        }
    };
    // What `cargo run` says of this package is not true of the ones built now.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_BIN_") {
            command.env_remove(name);
        }
    }
    command.current_dir(repository()?);
    Ok(command)
}

/// Prints a command, then runs it with our own stdout and stderr.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    match command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?
    {
        status if status.success() => Ok(()),
        status => bail!("`{}` failed ({status})", line(command)),
    }
}

/// Where cargo keeps the artefacts of this repository.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let text = output(&mut cargo(&[
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--offline",
    ])?)
    .hint("does `cargo build` work?")?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    Ok(PathBuf::from(
        answer["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?,
    ))
}
