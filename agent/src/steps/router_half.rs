//! What a bootstrap of Router that was killed leaves on its host: a process, a folder, a note of ours.
//!
//! Called by the steps that bootstrap and remove a router. The note is there from before Router begins until its end is
//! marked: a bootstrap may be killed after it registered and before it made its folder.

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation};
use serde::{Deserialize, Serialize};

use super::Context;
use super::router_files::folder;
use crate::host::{Access, Command, Host, HostError};

/// Which order began.
#[derive(Serialize, Deserialize)]
struct Begun {
    cluster: ClusterName,
    generation: Generation,
}

fn note(cx: &Context) -> PathBuf {
    cx.config.state_dir.join("router_bootstrap.json")
}

/// A bootstrap of this order begins.
pub async fn begin(cx: &Context, cluster: &ClusterName) -> Result<(), Failure> {
    let begun = Begun {
        cluster: cluster.clone(),
        generation: cx.generation,
    };
    let text = serde_json::to_vec(&begun).map_err(|e| Failure::new("bootstrap_note", e.to_string()))?;
    Ok(cx.host.write(&note(cx), &text, &Access::Own(0o600)).await?)
}

/// It has ended well, or what it left is removed.
pub async fn end(cx: &Context) -> Result<(), Failure> {
    cx.host.remove(&note(cx)).await?;
    Ok(())
}

/// Ends a bootstrap that outlived its agent and removes its folder; true: there was something, or this very order has begun before.
/// The note stays: an order that comes again must not go on where only a new plan knows what is registered.
pub async fn clear(cx: &Context, cluster: &ClusterName) -> Result<bool, Failure> {
    let host = &*cx.host;
    let mut found = false;
    for pid in processes(host, &folder(cluster)).await? {
        tracing::warn!(pid, "ending a bootstrap of Router that outlived its agent");
        // it may have ended by itself meanwhile
        Command::new("kill").args(["-KILL", &pid]).run(host).await?;
        found = true;
    }
    found |= host.remove_tree(&folder(cluster)).await?;
    let begun = host.read(&note(cx)).await?;
    let begun = begun.and_then(|bytes| serde_json::from_slice::<Begun>(&bytes).ok());
    Ok(found || begun.is_some_and(|begun| begun.cluster == *cluster && begun.generation == cx.generation))
}

/// Why this order goes no further.
pub fn failure(cluster: &ClusterName) -> Failure {
    Failure::new(
        "router_half_bootstrapped",
        format!("a bootstrap of Router for {cluster} was interrupted; what it left on this host is removed"),
    )
    .fact("its registration and account are removed before the next attempt")
    .hint("nothing to do where it is tried again by itself; else run the command again")
    .transient()
}

/// Ids of the processes that bootstrap a Router into this folder.
async fn processes(host: &dyn Host, folder: &Path) -> Result<Vec<String>, HostError> {
    let proc = Path::new("/proc");
    let folder = folder.display().to_string();
    let mut found = Vec::new();
    for name in host.list(proc).await?.unwrap_or_default() {
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // a process may end between the two looks
        let line = host.read(&proc.join(&name).join("cmdline")).await.ok().flatten();
        if bootstraps(&line.unwrap_or_default(), &folder) {
            found.push(name);
        }
    }
    Ok(found)
}

fn bootstraps(cmdline: &[u8], folder: &str) -> bool {
    let mut words = cmdline.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let words: Vec<&[u8]> = words.collect();
    program.ends_with(b"mysqlrouter")
        && words.contains(&b"--bootstrap".as_slice())
        && words.contains(&folder.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bootstrap_into_this_folder_is_ended() {
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let ours = "/usr/bin/mysqlrouter --bootstrap b@node1:3306 --directory /var/lib/mysqlrouter/prod --force";
        assert!(bootstraps(&line(ours), "/var/lib/mysqlrouter/prod"));
        assert!(!bootstraps(&line(ours), "/var/lib/mysqlrouter/pro"));
        let serves = "/usr/bin/mysqlrouter -c /var/lib/mysqlrouter/prod/mysqlrouter.conf";
        assert!(!bootstraps(&line(serves), "/var/lib/mysqlrouter/prod"));
        let edits = "vi --bootstrap /var/lib/mysqlrouter/prod";
        assert!(!bootstraps(&line(edits), "/var/lib/mysqlrouter/prod"));
        assert!(!bootstraps(b"", "/var/lib/mysqlrouter/prod"));
    }
}
