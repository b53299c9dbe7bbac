//! Packages, by the distribution's own manager.
//!
//! Used by `steps/packages.rs` and by the observation. [`ensure`] is the order of things; what differs between apt and dnf stands
//! behind [`PackageManager`]. An installed package is never upgraded here: upgrades are plans of their own.

pub mod apt;
mod apt_text;
pub mod dnf;
pub mod hold;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use clusterctl_proto::failure::{ExitClass, Failure};
use futures_util::future::BoxFuture;

use super::{Access, Host, HostError};
use crate::steps::ProgressSink;

/// Held while packages are installed: the next step, or the next plan, waits its turn.
pub static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Version by package name; none: not there.
pub type Versions = BTreeMap<String, Option<String>>;

/// One distribution's way.
pub trait PackageManager: Send + Sync {
    /// `apt`, `dnf`.
    fn name(&self) -> &'static str;
    /// Where a repository of our configuration is written.
    fn repository_path(&self) -> &'static Path;
    /// Installed versions.
    fn installed<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>>;
    /// Versions that the repositories offer, as the index on this host tells.
    fn candidates<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>>;
    /// The index is so old that its files may be gone from the mirror.
    fn index_is_old<'a>(&'a self, host: &'a dyn Host) -> BoxFuture<'a, Result<bool, HostError>>;
    /// Fetches the index.
    fn refresh<'a>(&'a self, host: &'a dyn Host, progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>>;
    /// Mends what an installation that we began and that was killed left behind.
    fn repair<'a>(&'a self, host: &'a dyn Host, progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>>;
    /// Installs; services that the packages bring are not started.
    fn install<'a>(
        &'a self,
        host: &'a dyn Host,
        names: &'a [String],
        progress: &'a ProgressSink,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Must be installed.
    pub required: Vec<String>,
    /// Installed where the repositories have them.
    pub optional: Vec<String>,
    /// Content of a repository file, from the agent's configuration.
    pub repository: Option<String>,
}

/// What is there now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Installed by this call: `mysql-server 9.7.4-1`.
    pub added: Vec<String>,
    /// Version of every wanted package that is installed.
    pub versions: BTreeMap<String, String>,
    /// Optional packages that are not installed, with the reason.
    pub absent: BTreeMap<String, String>,
}

/// The manager of this host, if it has one that we know.
pub async fn detect(host: &dyn Host) -> Result<Option<Box<dyn PackageManager>>, HostError> {
    if host.stat(Path::new("/usr/bin/apt-get")).await?.is_some() {
        return Ok(Some(Box::new(apt::Apt)));
    }
    if host.stat(Path::new("/usr/bin/dnf")).await?.is_some() {
        return Ok(Some(Box::new(dnf::Dnf)));
    }
    Ok(None)
}

/// Version of the first of these packages that is installed.
pub async fn first_installed(host: &dyn Host, names: &[String]) -> Result<Option<String>, HostError> {
    let Some(manager) = detect(host).await? else {
        return Ok(None);
    };
    let versions = manager.installed(host, names).await?;
    Ok(names.iter().find_map(|name| versions.get(name).cloned().flatten()))
}

/// What a killed agent left behind is mended in the background, so that a held service start does not outlive it.
pub async fn recover(host: &dyn Host) {
    for _ in 0..120 {
        let turn = ONE_AT_A_TIME.lock().await;
        let result = match detect(host).await {
            Ok(Some(manager)) => manager.repair(host, &ProgressSink::none()).await,
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(()) => return,
            Err(failure) if failure.retry => {}
            Err(failure) => {
                tracing::warn!(%failure, facts = ?failure.facts, "an interrupted installation could not be mended");
                return;
            }
        }
        drop(turn);
        tokio::time::sleep(std::time::Duration::from_secs(15)).await;
    }
}

/// Installs what is missing.
pub async fn ensure(
    host: &dyn Host,
    manager: &dyn PackageManager,
    wanted: &Wanted,
    progress: &ProgressSink,
) -> Result<Report, Failure> {
    manager.repair(host, progress).await?;
    let all: Vec<String> = wanted.required.iter().chain(&wanted.optional).cloned().collect();
    let before = manager.installed(host, &all).await?;
    let missing = |names: &[String]| -> Vec<String> {
        let mut list: Vec<String> = names
            .iter()
            .filter(|name| before.get(*name).is_none_or(Option::is_none))
            .cloned()
            .collect();
        list.sort();
        list.dedup();
        list
    };
    let required = missing(&wanted.required);
    let optional: Vec<String> = missing(&wanted.optional)
        .into_iter()
        .filter(|name| !required.contains(name))
        .collect();
    let mut absent = BTreeMap::new();
    if !required.is_empty() || !optional.is_empty() {
        let candidates = find_candidates(host, manager, wanted, &required, &optional, progress).await?;
        if !required.is_empty() {
            manager.install(host, &required, progress).await?;
        }
        for name in optional {
            match candidates.get(&name) {
                Some(Some(_)) => {
                    // one that cannot be installed must not fail those that must be
                    if let Err(failure) = manager.install(host, std::slice::from_ref(&name), progress).await {
                        absent.insert(name, failure.message);
                    }
                }
                _ => {
                    absent.insert(name, "the repositories have no such package".to_owned());
                }
            }
        }
    }
    let after = manager.installed(host, &all).await?;
    let lacking: Vec<&String> = wanted
        .required
        .iter()
        .filter(|name| after.get(*name).is_none_or(Option::is_none))
        .collect();
    if !lacking.is_empty() {
        return Err(Failure::new(
            "packages_failed",
            format!("{} ended well, but {lacking:?} are not installed", manager.name()),
        ));
    }
    let versions: BTreeMap<String, String> = after
        .into_iter()
        .filter_map(|(name, version)| Some((name, version?)))
        .collect();
    let added = versions
        .iter()
        .filter(|(name, _)| before.get(*name).is_none_or(Option::is_none))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    Ok(Report {
        added,
        versions,
        absent,
    })
}

/// Candidates of what is missing, from an index that is fresh where it must be.
async fn find_candidates(
    host: &dyn Host,
    manager: &dyn PackageManager,
    wanted: &Wanted,
    required: &[String],
    optional: &[String],
    progress: &ProgressSink,
) -> Result<Versions, Failure> {
    let new_repository = write_repository(host, manager, wanted).await?;
    let all: Vec<String> = required.iter().chain(optional).cloned().collect();
    let lacking = |candidates: &Versions| -> Vec<String> {
        required
            .iter()
            .filter(|name| candidates.get(*name).is_none_or(Option::is_none))
            .cloned()
            .collect()
    };
    let candidates = manager.candidates(host, &all).await?;
    let must = new_repository || !lacking(&candidates).is_empty();
    // for optional packages alone the network is not touched
    let should = !required.is_empty() && manager.index_is_old(host).await?;
    if !must && !should {
        return Ok(candidates);
    }
    progress.text(format!("{}: updating the package index", manager.name()));
    match manager.refresh(host, progress).await {
        Ok(()) => {}
        Err(failure) if must => return Err(failure),
        // an old index that has everything may still do: packages can be in the cache
        Err(failure) => {
            tracing::warn!(%failure, facts = ?failure.facts, "the package index could not be updated")
        }
    }
    let candidates = manager.candidates(host, &all).await?;
    let lacking = lacking(&candidates);
    if lacking.is_empty() {
        return Ok(candidates);
    }
    Err(Failure::new(
        "packages_missing",
        format!("the repositories of this host have no package {}", lacking.join(", ")),
    )
    .exit(ExitClass::Refused)
    .hint(
        "add a repository that carries MySQL 9, or set [packages] or repository in /etc/clusterctl/agent.toml, \
             then: systemctl restart clusterctl-agent",
    ))
}

/// True if the repository file is new or other than before.
async fn write_repository(host: &dyn Host, manager: &dyn PackageManager, wanted: &Wanted) -> Result<bool, HostError> {
    let Some(text) = &wanted.repository else {
        return Ok(false);
    };
    let path = manager.repository_path();
    if host.read(path).await?.as_deref() == Some(text.as_bytes()) {
        return Ok(false);
    }
    host.write(path, text.as_bytes(), &Access::Own(0o644)).await?;
    Ok(true)
}
