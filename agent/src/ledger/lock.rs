//! One agent process at a time: a lock on a file beside the ledger, held for the life of the process.
//!
//! The kernel releases it when the process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clusterctl_proto::failure::{ExitClass, Failure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const FILE: &str = "ledger.lock";

/// Takes the lock, or fails with `agent_runs` and the pid of the process that holds it.
pub fn take(state_dir: &Path) -> Result<File, Failure> {
    let path = state_dir.join(FILE);
    let failed = |error: std::io::Error| {
        Failure::new("ledger_lock", format!("cannot lock {}: {error}", path.display()))
            .hint("run it as root; is the file system writable?")
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            return Err(runs(holder.trim()));
        }
        Err(error) => return Err(failed(error.into())),
    }
    // The number is for people; the lock holds without it.
    let told = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = told {
        tracing::warn!(%error, "the pid cannot be written into {}", path.display());
    }
    Ok(file)
}

fn runs(pid: &str) -> Failure {
    let (who, stop) = match pid.parse::<u32>() {
        Ok(pid) => (format!("process {pid}"), format!("kill {pid}")),
        Err(_) => ("another process".to_owned(), "pgrep -a clusterctl-agent".to_owned()),
    };
    Failure::new(
        "agent_runs",
        format!("an agent runs on this host already: {who} holds its ledger"),
    )
    .hint(format!(
        "use that one (systemctl status clusterctl-agent), or stop it first: systemctl stop clusterctl-agent, or {stop}"
    ))
    .exit(ExitClass::Conflict)
}
