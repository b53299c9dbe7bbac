//! Keeps what explains a failure: the story, status, journals, error logs, in a folder outside of the hosts.
//!
//! Called once, before the lab is removed. It must never hide the failure by one of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clusterctl_lab::Lab;
use clusterctl_lab::schedule::COORDINATOR;

const LIMIT: Duration = Duration::from_secs(60);

/// Writes what can be read; answers the folder.
pub fn keep(lab: &Lab, seed: u64, since: SystemTime, story: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("drill-{seed}"));
    let _ = fs::create_dir_all(&folder);
    write(&folder, "story.txt", story);
    let since = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let journal = format!("journalctl --no-pager -o short-precise --since @{since}");
    let errors = "cat /var/log/mysql/error.log /var/lib/mysql/*.err 2>/dev/null || true";
    for host in lab.hosts() {
        write(
            &folder,
            &format!("{host}.journal"),
            &answer(lab, host, "root", &journal),
        );
        write(&folder, &format!("{host}.mysqld"), &answer(lab, host, "root", errors));
    }
    for command in ["status", "why prod", "events --limit 500", "ops list"] {
        let name = format!("{}.txt", command.replace([' ', '-'], "_"));
        write(
            &folder,
            &name,
            &answer(lab, COORDINATOR, "admin", &format!("clusterctl {command}")),
        );
    }
    folder
}

fn answer(lab: &Lab, host: &str, user: &str, line: &str) -> String {
    match lab.exec_within(LIMIT, host, user, &["sh", "-c", line], "") {
        Ok(said) => said.stdout + &said.stderr,
        Err(error) => format!("{error:#}\n"),
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    if let Err(error) = fs::write(folder.join(name), text) {
        eprintln!("cannot write {name}: {error}");
    }
}
