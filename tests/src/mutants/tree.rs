//! A copy of the repository in which faults are planted, kept between runs so that cargo builds only what changed.
//!
//! Used by `mutants`. It must never write outside `target/mutants`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Never copied: artefacts and history.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// The copy.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Its root.
    pub root: PathBuf,
}

impl Tree {
    /// Makes the copy equal to the repository. A file that is equal already is not written, so its time stays.
    pub fn copy(repository: &Path, root: PathBuf) -> Result<Self> {
        mirror(repository, &root, true).with_context(|| format!("cannot copy the tree to {}", root.display()))?;
        Ok(Self { root })
    }

    /// A file of the copy.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// Writes a file of the copy.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.root.join(path), text).with_context(|| format!("cannot write {path}"))
    }
}

fn mirror(from: &Path, to: &Path, top: bool) -> Result<()> {
    fs::create_dir_all(to)?;
    let names = |folder: &Path| -> Result<Vec<std::ffi::OsString>> {
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().map(|entry| entry.file_name()).collect())
    };
    let left_out = |name: &std::ffi::OsString| top && LEFT_OUT.iter().any(|other| name == other);
    let wanted: Vec<_> = names(from)?.into_iter().filter(|name| !left_out(name)).collect();
    for gone in names(to)?.into_iter().filter(|name| !wanted.contains(name)) {
        let path = to.join(gone);
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    for name in wanted {
        let (source, copy) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            mirror(&source, &copy, false)?;
        } else if source.is_file() {
            let content = fs::read(&source)?;
            if fs::read(&copy).ok().as_ref() != Some(&content) {
                fs::write(&copy, content)?;
                fs::set_permissions(&copy, fs::metadata(&source)?.permissions())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_and_what_is_equal_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("from"),
            folder.path().join("from/target/mutants/tree"),
        );
        fs::create_dir_all(from.join("a/target")).unwrap();
        fs::create_dir_all(from.join("target")).unwrap();
        for name in ["a/x", "a/y", "a/target/z", "target/artefact"] {
            fs::write(from.join(name), name).unwrap();
        }
        let tree = Tree::copy(&from, to.clone()).unwrap();
        assert!(to.join("a/target/z").exists() && !to.join("target").exists());
        let time = |name: &str| fs::metadata(to.join(name)).unwrap().modified().unwrap();
        let before = time("a/x");
        tree.write("a/y", "planted").unwrap();
        fs::remove_dir_all(from.join("a/target")).unwrap();
        Tree::copy(&from, to.clone()).unwrap();
        assert_eq!((tree.read("a/y").unwrap().as_str(), time("a/x")), ("a/y", before));
        assert!(!to.join("a/target").exists());
    }
}
