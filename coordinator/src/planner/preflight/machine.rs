//! Checks of the machine: system, packages, clock, disk, memory.

use super::{CheckResult, Subject};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Clocks further apart make certificates and journals lie.
const SKEW_FAIL_MS: i64 = 30_000;
/// Worth a look.
const SKEW_WARN_MS: i64 = 2_000;

pub(super) fn os(subject: &Subject<'_>) -> CheckResult {
    let facts = subject.facts;
    let seen = format!("{}, {}, {} cpus", facts.os, facts.architecture, facts.cpus);
    match facts.os_id.as_str() {
        "debian" | "ubuntu" => CheckResult::pass("os", seen),
        "rhel" | "centos" | "rocky" | "almalinux" | "fedora" | "ol" => CheckResult::warn(
            "os",
            format!("{seen}: not tested live by us"),
            "try it on a host that may be lost first",
        ),
        _ => CheckResult::warn("os", format!("{seen}: unknown to us"), "Debian and Ubuntu are tested"),
    }
}

pub(super) fn systemd(subject: &Subject<'_>) -> CheckResult {
    if subject.facts.systemd {
        CheckResult::pass("systemd", "is process 1")
    } else {
        CheckResult::fail(
            "systemd",
            "is not process 1",
            "use a host that systemd starts: units are kept running by it",
        )
    }
}

pub(super) fn package_manager(subject: &Subject<'_>) -> CheckResult {
    match subject.facts.package_manager.as_deref() {
        Some(manager) => CheckResult::pass("package_manager", manager),
        None => CheckResult::fail("package_manager", "neither apt nor dnf", "use a host with apt or dnf"),
    }
}

pub(super) fn packages_available(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "packages_available";
    let facts = subject.facts;
    let mysql = &subject.seen.observation.mysql;
    let router = &subject.seen.observation.router;
    let mut wanted: Vec<&String> = Vec::new();
    if subject.db && mysql.installed.is_none() {
        wanted.extend(&facts.packages.server);
    }
    if subject.router && router.installed.is_none() {
        wanted.extend(&facts.packages.router);
    }
    let there = |name: &&&String| facts.candidates.get(**name).is_some_and(Option::is_some);
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|name| !there(name))
        .map(|name| name.as_str())
        .collect();
    if !missing.is_empty() {
        let fix = match facts.package_manager.as_deref() {
            Some("dnf") => {
                "add MySQL's repository, then dnf makecache; or name the packages in /etc/clusterctl/agent.toml"
            }
            _ => {
                "add a repository that has them, then apt-get update; or name the packages in /etc/clusterctl/agent.toml"
            }
        };
        return CheckResult::fail(NAME, format!("not in the repositories: {}", missing.join(", ")), fix);
    }
    let candidate = |name: &&String| Some(format!("{name} {}", facts.candidates.get(*name)?.as_deref()?));
    let mut seen: Vec<String> = wanted.iter().filter_map(candidate).collect();
    if wanted.is_empty() {
        seen.push("installed already".to_owned());
    }
    if subject.db {
        let optional = facts.packages.optional.iter().filter(|name| !there(&name));
        seen.extend(optional.map(|name| format!("without {name}, which is optional")));
    }
    CheckResult::pass(NAME, seen.join(", "))
}

pub(super) fn clock(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "clock";
    let fix = "timedatectl set-ntp true, or configure chrony";
    let facts = subject.facts;
    let age = i64::try_from(subject.seen.host_age_ms).unwrap_or(i64::MAX);
    let there = facts.clock_unix_ms.saturating_add(age);
    let skew = subject.world.now.saturating_sub(there);
    let told = format!(
        "{}.{} s from the coordinator's",
        skew.unsigned_abs() / 1000,
        skew.unsigned_abs() % 1000 / 100
    );
    if skew.unsigned_abs() >= SKEW_FAIL_MS.unsigned_abs() {
        return CheckResult::fail(NAME, told, fix);
    }
    if skew.unsigned_abs() >= SKEW_WARN_MS.unsigned_abs() {
        return CheckResult::warn(NAME, told, fix);
    }
    match facts.clock_synchronised {
        Some(true) => CheckResult::pass(NAME, format!("synchronised, {told}")),
        Some(false) => CheckResult::warn(NAME, format!("not synchronised, {told}"), fix),
        None => CheckResult::pass(NAME, format!("{told}; whether it is synchronised nobody tells")),
    }
}

pub(super) fn disk_free(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "disk_free";
    let free = subject.facts.data_free_bytes;
    let seen = format!("{} MiB where the data directory is", free / MIB);
    match free {
        _ if free < GIB => CheckResult::fail(NAME, seen, "make room: at least 1 GiB, more than the data for a clone"),
        _ if free < 5 * GIB => CheckResult::warn(NAME, seen, "binary logs of a week need room, too"),
        _ => CheckResult::pass(NAME, seen),
    }
}

pub(super) fn memory(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "memory";
    let memory = subject.facts.memory_bytes;
    let seen = format!("{} MiB", memory / MIB);
    match memory {
        // A little less than a round figure is what a machine of that size shows.
        _ if memory < 900 * MIB => CheckResult::fail(NAME, seen, "give it 1 GiB at least: mysqld alone takes 0.65"),
        _ if memory < 1800 * MIB => CheckResult::warn(NAME, seen, "2 GiB or more leave room for a buffer pool"),
        _ => CheckResult::pass(NAME, seen),
    }
}

pub(super) fn mandatory_access(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "mandatory_access";
    match subject.facts.mandatory_access.as_deref() {
        None => CheckResult::pass(NAME, "none enforced"),
        // The profile of Debian's package lets mysqld read /etc/mysql, where our files are.
        Some("apparmor") => CheckResult::pass(NAME, "apparmor"),
        Some(other) => CheckResult::warn(
            NAME,
            format!("{other} is enforcing: not tested live by us"),
            "if mysqld or Router cannot read /etc/mysql/clusterctl or open its ports, see the audit log: ausearch -m avc",
        ),
    }
}
