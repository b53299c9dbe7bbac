//! The folders of the lab.
//!
//! Everything lies under `/var/lib/clusterctl-lab` (or `CLUSTERCTL_LAB_DIR`): `base/KEY/{root,pool}`,
//! `labs/NAME/lab.json`, `labs/NAME/packages`, `labs/NAME/hosts/HOST/…`, `locks/`. Every module asks here
//! for its paths. It must never follow a mount when it removes something.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{output, tool};
use crate::error::{WithHint, hinted};
use crate::state::LabState;

/// The folder of all labs.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The folder to use, made if needed; refuses one that overlayfs cannot put an upper layer on.
    pub fn open() -> Result<Self> {
        let path = std::env::var_os("CLUSTERCTL_LAB_DIR")
            .map_or_else(|| PathBuf::from("/var/lib/clusterctl-lab"), PathBuf::from);
        for folder in ["base", "labs", "locks"] {
            fs::create_dir_all(path.join(folder)).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let path = path.canonicalize()?;
        const OVERLAYFS: i64 = 0x794c_7630;
        if rustix::fs::statfs(&path)?.f_type as i64 == OVERLAYFS {
            return Err(hinted(
                format!(
                    "{} lies on an overlayfs, which cannot carry the hosts' own layers",
                    path.display()
                ),
                "set CLUSTERCTL_LAB_DIR to a folder on ext4, xfs or btrfs",
            ));
        }
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn bases(&self) -> PathBuf {
        self.0.join("base")
    }

    pub fn lab(&self, name: &str) -> PathBuf {
        self.0.join("labs").join(name)
    }

    pub fn host(&self, lab: &str, host: &str) -> PathBuf {
        self.lab(lab).join("hosts").join(host)
    }

    /// The folder of our own .debs, bound into every host of the lab.
    pub fn packages(&self, lab: &str) -> PathBuf {
        self.lab(lab).join("packages")
    }

    /// Names of the labs there are, whole or half removed.
    pub fn labs(&self) -> Result<Vec<String>> {
        names_in(&self.0.join("labs"))
    }

    pub fn read(&self, lab: &str) -> Result<LabState> {
        let path = self.lab(lab).join("lab.json");
        let text = fs::read_to_string(&path).map_err(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            }
            let known = self.labs().unwrap_or_default();
            let hint = if known.is_empty() {
                "`cargo lab up` makes one".to_owned()
            } else {
                format!(
                    "there is {}; choose with --name, or make it: `cargo lab --name {lab} up`",
                    known.join(", ")
                )
            };
            hinted(format!("there is no lab `{lab}`"), hint)
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("cannot understand {}", path.display()))
            .hint(format!(
                "remove the lab and make it again: `cargo lab --name {lab} down`"
            ))
    }

    pub fn write(&self, state: &LabState) -> Result<()> {
        let folder = self.lab(&state.name);
        fs::create_dir_all(&folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(serde_json::to_string_pretty(state)?.as_bytes())?;
        file.persist(folder.join("lab.json"))?;
        Ok(())
    }

    /// Waits until nobody else holds the lock of that name, then holds it until the file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let file = File::create(self.0.join("locks").join(name))?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another `lab` that works on `{name}` …");
            file.lock()?;
        }
        Ok(file)
    }

    /// The lowest subnet no other lab has.
    pub fn free_subnet(&self) -> Result<u8> {
        let states = self
            .labs()?
            .iter()
            .filter_map(|lab| self.read(lab).ok())
            .collect::<Vec<_>>();
        lowest_free(&states.iter().map(|state| state.subnet).collect::<Vec<_>>()).ok_or_else(|| {
            hinted(
                "no subnet is left for another lab",
                "remove some: `cargo lab down --all`",
            )
        })
    }
}

fn lowest_free(taken: &[u8]) -> Option<u8> {
    (1..=250).find(|subnet| !taken.contains(subnet))
}

/// Removes a folder with all in it; never reaches through a mount, which is taken away first.
pub(crate) fn remove_tree(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for point in mounts_below(&mounts, folder).into_iter().rev() {
        output(&mut tool("umount", ["--lazy", point]))?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn mounts_below<'a>(mountinfo: &'a str, folder: &Path) -> Vec<&'a str> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).collect()
}

/// The names of the visible entries of a folder, sorted; none if there is no folder.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", folder.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_reused() {
        assert_eq!(lowest_free(&[1, 3]), Some(2));
        assert_eq!(lowest_free(&(1..=250).collect::<Vec<_>>()), None);
    }

    #[test]
    fn only_mounts_inside_are_taken_away() {
        let text =
            "1 2 0:1 / /lab/one rw - x x x\n1 2 0:1 / /lab/one/proc rw - x x x\n1 2 0:1 / /lab/oneself rw - x x x";
        assert_eq!(mounts_below(text, Path::new("/lab/one")), ["/lab/one", "/lab/one/proc"]);
    }
}
