//! Checks for hosts that were cloned from one image.

use clusterctl_proto::observe::DataDirectory;

use super::{AT_CREATE, CheckResult, Subject};

pub(super) fn machine_id_unique(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "machine_id_unique";
    let own = subject.facts.machine_id.as_str();
    let others = subject
        .world
        .sight
        .iter()
        .filter(|(name, _)| **name != subject.host.name);
    let same = others.filter(|(_, seen)| {
        seen.host
            .as_ref()
            .is_some_and(|facts| !own.is_empty() && facts.machine_id == own)
    });
    let same: Vec<&str> = same.map(|(name, _)| name.as_str()).collect();
    if same.is_empty() {
        return CheckResult::pass(NAME, "unique");
    }
    let seen = format!("the same as on {}", same.join(", "));
    if !matches!(subject.seen.observation.mysql.data, DataDirectory::Ours { .. }) {
        return CheckResult::warn(NAME, seen, AT_CREATE);
    }
    // MySQL does not use it; DHCP and journals do.
    let fix = "in a quiet moment, on the clone: rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot";
    CheckResult::warn(NAME, seen, fix)
}

pub(super) fn server_uuid_unique(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "server_uuid_unique";
    let mysql = &subject.seen.observation.mysql;
    let Some(own) = mysql.server.as_ref().map(|server| server.server_uuid) else {
        return CheckResult::pass(NAME, "no server runs yet");
    };
    let others = subject
        .world
        .sight
        .iter()
        .filter(|(name, _)| **name != subject.host.name);
    let same = others.filter(|(_, seen)| {
        seen.observation
            .mysql
            .server
            .as_ref()
            .is_some_and(|server| server.server_uuid == own)
    });
    let same: Vec<&str> = same.map(|(name, _)| name.as_str()).collect();
    let seen = format!("{own} is also the server_uuid of {}", same.join(", "));
    match mysql.data {
        _ if same.is_empty() => CheckResult::pass(NAME, own.to_string()),
        // The first configuration of a data directory that holds nothing gives it an identity of its own.
        DataDirectory::Absent | DataDirectory::Pristine => CheckResult::warn(NAME, seen, AT_CREATE),
        DataDirectory::Ours { .. } | DataDirectory::Foreign { .. } => CheckResult::fail(
            NAME,
            seen,
            "stop mysqld on the clone, remove auto.cnf in its data directory, start it again",
        ),
    }
}
