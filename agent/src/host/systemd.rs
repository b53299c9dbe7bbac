//! systemd units, by `systemctl`.
//!
//! Its properties are stable text; D-Bus would cost a large dependency. Too heavy for once a second: the observation asks
//! at most every few seconds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::UnitState;

use super::{Access, Command, Host, HostError};

/// mysqld may take long to stop or to recover: longer than systemd's own patience with mysql.service.
const JOB_TIMEOUT: Duration = Duration::from_secs(900);

/// What systemd knows of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// State, in our words.
    pub state: UnitState,
    /// Main process, 0 if none.
    pub main_pid: u32,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// Starts at boot.
    pub enabled: bool,
    /// Why it failed, `exit-code`.
    pub result: String,
    /// The files that systemd has read it from.
    pub files: Vec<PathBuf>,
    /// They have changed since.
    pub outdated: bool,
}

/// Looks at a unit.
pub async fn unit(host: &dyn Host, name: &str) -> Result<Unit, HostError> {
    let command = Command::new("systemctl")
        .args([
            "show",
            "-p",
            "LoadState,ActiveState,MainPID,NRestarts,UnitFileState,Result,NeedDaemonReload,FragmentPath,DropInPaths",
            "--",
            name,
        ])
        .timeout(Duration::from_secs(5));
    Ok(parse(&command.checked(host).await?.stdout))
}

/// The first of these units that systemd knows.
pub async fn first_known<'a>(host: &dyn Host, names: &[&'a str]) -> Result<Option<(&'a str, Unit)>, HostError> {
    for name in names {
        let unit = unit(host, name).await?;
        if unit.state != UnitState::Absent {
            return Ok(Some((name, unit)));
        }
    }
    Ok(None)
}

fn parse(text: &str) -> Unit {
    let get = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or("")
    };
    let loaded = !matches!(get("LoadState"), "not-found" | "masked" | "");
    Unit {
        state: match (loaded, get("ActiveState")) {
            (_, "active") => UnitState::Running,
            (_, "activating" | "reloading") => UnitState::Starting,
            (_, "deactivating") => UnitState::Stopping,
            (false, _) => UnitState::Absent,
            (true, "failed") => UnitState::Failed,
            (true, _) => UnitState::Stopped,
        },
        main_pid: get("MainPID").parse().unwrap_or(0),
        restarts: get("NRestarts").parse().unwrap_or(0),
        enabled: matches!(get("UnitFileState"), "enabled" | "enabled-runtime" | "static"),
        result: get("Result").to_owned(),
        files: [get("FragmentPath"), get("DropInPaths")]
            .iter()
            .flat_map(|paths| paths.split_whitespace().map(PathBuf::from))
            .collect(),
        outdated: get("NeedDaemonReload") == "yes",
    }
}

/// `systemctl start`; waits until it runs.
pub async fn start(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "start", unit).await
}

/// `systemctl stop`; waits until it has stopped.
pub async fn stop(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "stop", unit).await
}

/// `systemctl restart`; waits until it runs.
pub async fn restart(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "restart", unit).await
}

/// `systemctl enable`.
pub async fn enable(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "enable", unit).await
}

/// `systemctl disable`.
pub async fn disable(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "disable", unit).await
}

/// A unit that failed may be started again at once.
pub async fn reset_failed(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "reset-failed", unit).await
}

/// This file of ours, a unit's or a drop-in of it, has this text, and systemd has read it; true: it was not so. Starts and stops nothing.
///
/// Who was killed between the writing and the reading finds the right text the next time: so systemd is asked what it has read. An
/// older one does not see by itself that the first drop-in of a unit has come: so it must name the file.
pub async fn unit_file(host: &dyn Host, name: &str, path: &Path, text: &str) -> Result<bool, Failure> {
    if host.read(path).await?.as_deref() == Some(text.as_bytes()) {
        let seen = unit(host, name).await?;
        if !seen.outdated && seen.files.iter().any(|file| file == path) {
            return Ok(false);
        }
    } else {
        if let Some(folder) = path.parent()
            && host.stat(folder).await?.is_none()
        {
            host.make_dir(folder, &Access::Own(0o755)).await?;
        }
        host.write(path, text.as_bytes(), &Access::Own(0o644)).await?;
    }
    daemon_reload(host).await?;
    Ok(true)
}

/// Unit files have changed.
pub async fn daemon_reload(host: &dyn Host) -> Result<(), Failure> {
    let command = Command::new("systemctl")
        .arg("daemon-reload")
        .timeout(Duration::from_secs(60));
    command.checked(host).await.map(drop).map_err(Failure::from)
}

async fn job(host: &dyn Host, verb: &str, name: &str) -> Result<(), Failure> {
    let command = Command::new("systemctl")
        .args(["--quiet", verb, "--", name])
        .timeout(JOB_TIMEOUT);
    let error = match command.checked(host).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let mut failure = Failure::from(error).hint(format!("journalctl -u {name} -n 50"));
    failure.code = format!("unit_{}", verb.replace('-', "_"));
    if matches!(verb, "start" | "restart") {
        for line in journal(host, name).await {
            failure = failure.fact(line);
        }
    }
    Err(failure)
}

/// Last lines that a unit logged, for the facts of a failure.
pub async fn journal(host: &dyn Host, unit: &str) -> Vec<String> {
    let command = Command::new("journalctl")
        .args(["-u", unit, "-n", "8", "--no-pager", "-o", "cat"])
        .timeout(Duration::from_secs(5));
    match command.run(host).await {
        Ok(output) if output.success() => output.stdout.lines().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_unit_file_that_systemd_has_not_read_is_read_also_where_nothing_is_to_be_written() {
        const PATH: &str = "/etc/systemd/system/a.service.d/clusterctl.conf";
        let has_read = |shown: &str| {
            FakeHost::new()
                .with_file(PATH, "text")
                .on("systemctl show", &format!("LoadState=loaded\n{shown}\n"))
                .on("systemctl daemon-reload", "")
        };
        let named = format!("FragmentPath=/lib/systemd/system/a.service\nDropInPaths=/etc/x.conf {PATH}");
        for (shown, reloads) in [
            (named.clone(), false),
            // the agent was killed before it told systemd: of a changed text, and of the first drop-in
            (format!("{named}\nNeedDaemonReload=yes"), true),
            ("NeedDaemonReload=no\nDropInPaths=".to_owned(), true),
        ] {
            let host = has_read(&shown);
            let done = unit_file(&host, "a.service", Path::new(PATH), "text").await.unwrap();
            let reloaded = host.calls().iter().any(|call| call == "systemctl daemon-reload");
            assert_eq!((done, reloaded), (reloads, reloads), "{shown}");
        }
        let host = has_read(&named);
        assert!(unit_file(&host, "a.service", Path::new(PATH), "new").await.unwrap());
        assert_eq!(host.text(PATH).unwrap(), "new");
        assert_eq!(host.calls(), ["systemctl daemon-reload"]);
    }

    #[test]
    fn states_are_read() {
        let text =
            "LoadState=loaded\nActiveState=active\nMainPID=42\nNRestarts=1\nUnitFileState=enabled\nResult=success\n";
        let unit = parse(text);
        assert_eq!(
            (unit.state, unit.main_pid, unit.restarts, unit.enabled),
            (UnitState::Running, 42, 1, true)
        );
        assert_eq!(
            parse("LoadState=not-found\nActiveState=inactive\n").state,
            UnitState::Absent
        );
        assert_eq!(parse("LoadState=loaded\nActiveState=failed\n").state, UnitState::Failed);
        assert_eq!(parse("").state, UnitState::Absent);
    }
}
