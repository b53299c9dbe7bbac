//! Versions of MySQL: which one a host has or will get, and whether it fits a group.

use std::fmt;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;

use super::context::Context;
use super::live::Primary;
use super::world::{Planning, Seen};
use crate::model::Cluster;

/// `major.minor.patch`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The oldest series that we form clusters of.
    pub const OLDEST: Self = Self(8, 4, 0);

    /// Reads `9.7.4`, `9.7.4-1`, `1:8.4.6-0ubuntu1`, `9.7.4-log`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split_once(':').map_or(text, |(_, rest)| rest);
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next()?.parse().ok();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }

    /// `9.7`.
    pub fn series(self) -> (u32, u32) {
        (self.0, self.1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The version that a host runs, has installed, or will get from its repositories; with where that is known from.
pub(crate) fn of(seen: &Seen) -> Option<(Version, &'static str)> {
    let mysql = &seen.observation.mysql;
    if let Some(version) = mysql.server.as_ref().and_then(|server| Version::parse(&server.version)) {
        return Some((version, "running"));
    }
    if let Some(version) = mysql.installed.as_deref().and_then(Version::parse) {
        return Some((version, "installed"));
    }
    let facts = seen.host.as_ref()?;
    let candidate = |name: &String| {
        facts
            .candidates
            .get(name)
            .and_then(|found| Version::parse(found.as_deref()?))
    };
    facts
        .packages
        .server
        .iter()
        .find_map(candidate)
        .map(|version| (version, "in its repositories"))
}

/// First members of a group are of one series.
pub(crate) fn alike(context: &Context<'_>, hosts: &[&HostName]) -> Planning<()> {
    let mut known = Vec::new();
    for host in hosts {
        if let Some((version, whence)) = of(context.certain(host)?) {
            known.push((*host, version, whence));
        }
    }
    let Some((_, first, _)) = known.first() else {
        return Ok(());
    };
    if known.iter().all(|(_, version, _)| version.series() == first.series()) {
        return Ok(());
    }
    let mut failure = Failure::refused("version_mismatch", "the hosts have different series of MySQL")
        .hint("give every host the same repositories, or upgrade the older ones");
    for (host, version, whence) in known {
        failure = failure.fact(format!("{host}: {version} ({whence})"));
    }
    Err(failure.into())
}

/// A joiner is not older than any member, and of the members' series: a clone needs that, and a mixed group is read-only
/// for the newer one.
pub(crate) fn fits(context: &Context<'_>, cluster: &Cluster, primary: &Primary<'_>, joiner: &HostName) -> Planning<()> {
    let Some((version, whence)) = of(context.certain(joiner)?) else {
        return Ok(());
    };
    let members = primary
        .view
        .members
        .iter()
        .filter(|row| !row.host.eq_ignore_ascii_case(joiner.as_str()));
    let members: Vec<(String, Version)> = members
        .filter_map(|row| Some((row.host.clone(), Version::parse(&row.version)?)))
        .collect();
    let too_old = members.iter().find(|(_, theirs)| version < *theirs);
    let other = members.iter().find(|(_, theirs)| version.series() != theirs.series());
    let Some((member, theirs)) = too_old.or(other) else {
        return Ok(());
    };
    let why = if too_old.is_some() {
        "older than"
    } else {
        "of another series than"
    };
    Err(Failure::refused(
        "version_mismatch",
        format!("MySQL of {joiner} is {why} that of {}", cluster.name),
    )
    .fact(format!("{joiner}: {version} ({whence})"))
    .fact(format!("{member}: {theirs} (in the group)"))
    .hint(format!(
        "bring {joiner} to {theirs} or a later {}.{} and type it again",
        theirs.0, theirs.1
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_packages_write_them() {
        for (text, version) in [
            ("9.7.4", Version(9, 7, 4)),
            ("9.7.4-1", Version(9, 7, 4)),
            ("1:8.4.6-0ubuntu0.24.04", Version(8, 4, 6)),
            ("8.4", Version(8, 4, 0)),
            ("9.7.4-log", Version(9, 7, 4)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        for text in ["", "mysql", "9", "99999999999.1.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
