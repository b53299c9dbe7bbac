//! Checks of a MySQL server that may be there already.

use clusterctl_proto::observe::{DataDirectory, ServerFacts};

use super::{CheckResult, Subject};
use crate::planner::live;
use crate::planner::version::{self, Version};

pub(super) fn data_directory(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "data_directory";
    match &subject.seen.observation.mysql.data {
        DataDirectory::Absent => CheckResult::pass(NAME, "none yet"),
        DataDirectory::Pristine => CheckResult::pass(NAME, "made by the package, empty"),
        DataDirectory::Ours { cluster: None } => CheckResult::pass(NAME, "made by clusterctl"),
        DataDirectory::Ours { cluster: Some(cluster) } => {
            CheckResult::pass(NAME, format!("made by clusterctl for {cluster}"))
        }
        DataDirectory::Foreign { what } => CheckResult::fail(
            NAME,
            format!("holds data that is not ours: {what}"),
            "clusterctl never touches it: use an empty host, or save the data and remove it yourself (on Debian: apt-get purge 'mysql-server*', rm -r /var/lib/mysql)",
        ),
    }
}

pub(super) fn other_cluster(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "other_cluster";
    let host = &subject.host.name;
    let fix = "take it out there first, and empty it; clusterctl never takes a host from another cluster";
    let ours = subject.cluster.map(|cluster| &cluster.name);
    if let DataDirectory::Ours {
        cluster: Some(made_for),
    } = &subject.seen.observation.mysql.data
        && Some(made_for) != ours
    {
        let seen = format!("its data directory was made for cluster {made_for}");
        // Between clusters it may be empty of meaning, but not of data.
        return match ours {
            Some(_) => CheckResult::fail(NAME, seen, fix),
            None => CheckResult::warn(
                NAME,
                seen,
                "it may join that cluster again; for another one, empty it first",
            ),
        };
    }
    let server = subject.seen.observation.mysql.server.as_ref();
    if let Some(server) = server
        && let Some(seen) = elsewhere(subject, server)
    {
        return CheckResult::fail(NAME, seen, fix);
    }
    match subject.cluster {
        Some(cluster) if cluster.members.contains_key(host) => {
            CheckResult::pass(NAME, format!("member of {}", cluster.name))
        }
        _ => CheckResult::pass(NAME, "in no other cluster"),
    }
}

/// What ties the server to another group than its cluster's.
fn elsewhere(subject: &Subject<'_>, server: &ServerFacts) -> Option<String> {
    let same = |group: &str| subject.cluster.is_some_and(|cluster| live::same_group(group, cluster));
    if let Some(view) = &server.group
        && !view.is_out()
        && !same(&server.group_name)
    {
        return Some(format!(
            "it is {} in group {}",
            live::state(view.state),
            server.group_name
        ));
    }
    match &server.metadata {
        Some(copy) if !same(&copy.group_name) => {
            Some(format!("it holds the metadata of cluster {}", copy.cluster_name))
        }
        _ => None,
    }
}

pub(super) fn mysql_version(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "mysql_version";
    let Some((version, whence)) = version::of(subject.seen) else {
        return CheckResult::warn(
            NAME,
            "not known",
            "name the packages in /etc/clusterctl/agent.toml if they have other names here",
        );
    };
    let seen = format!("{version} ({whence})");
    if version < Version::OLDEST {
        return CheckResult::fail(NAME, seen, format!("use MySQL {} or later", Version::OLDEST));
    }
    CheckResult::pass(NAME, seen)
}

pub(super) fn primary_keys(subject: &Subject<'_>) -> CheckResult {
    tables(
        "primary_keys",
        server(subject).and_then(|server| server.tables_without_key.as_ref()),
        "tables without a primary key",
        "give each a primary key: Group Replication needs one to tell rows apart",
    )
}

pub(super) fn storage_engines(subject: &Subject<'_>) -> CheckResult {
    tables(
        "storage_engines",
        server(subject).and_then(|server| server.tables_not_innodb.as_ref()),
        "tables that are not InnoDB",
        "ALTER TABLE … ENGINE=InnoDB: Group Replication replicates nothing else",
    )
}

fn tables(name: &'static str, found: Option<&Vec<String>>, what: &str, fix: &str) -> CheckResult {
    match found {
        None => CheckResult::pass(name, "no server runs yet"),
        Some(found) if found.is_empty() => CheckResult::pass(name, "as they must be"),
        Some(found) => CheckResult::fail(name, format!("{what}: {}", found.join(", ")), fix),
    }
}

pub(super) fn replication_channels(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "replication_channels";
    match server(subject).map(|server| server.foreign_channels.as_slice()) {
        None | Some([]) => CheckResult::pass(NAME, "none of others"),
        Some(channels) => CheckResult::fail(
            NAME,
            format!("it replicates from elsewhere: {}", channels.join(", ")),
            "STOP REPLICA, then RESET REPLICA ALL FOR CHANNEL …",
        ),
    }
}

/// Safety rule 1: ON outside a bootstrap is an alarm.
pub(super) fn bootstrap_flag(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "bootstrap_flag";
    match server(subject) {
        Some(server) if server.bootstrap_flag => CheckResult::fail(
            NAME,
            "group_replication_bootstrap_group is ON: the next start would make a second group",
            "SET GLOBAL group_replication_bootstrap_group = OFF, and find out who set it",
        ),
        _ => CheckResult::pass(NAME, "OFF"),
    }
}

fn server<'a>(subject: &Subject<'a>) -> Option<&'a ServerFacts> {
    subject.seen.observation.mysql.server.as_ref()
}
