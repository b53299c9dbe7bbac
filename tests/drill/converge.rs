//! Waits until the cluster is healthy again by itself.
//!
//! Called after the last fault of a round was undone. Both must agree: the servers, each asked over its own socket, and the
//! coordinator's status; and a client must be able to write. It must never change anything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clusterctl_lab::Lab;
use clusterctl_lab::schedule::{COORDINATOR, NODES};
use serde_json::Value;

use crate::load::Writer;

/// How long it must stay healthy: a fault that was over before anybody noticed shows itself within this time.
const STEADY: Duration = Duration::from_secs(6);
/// The longest that one question may take.
const ANSWER: Duration = Duration::from_secs(10);

const MEMBERS: &str = "SELECT CONCAT_WS(' ', SUM(member_state = 'ONLINE'), COUNT(*), @@offline_mode, \
    GROUP_CONCAT(IF(member_role = 'PRIMARY', member_host, NULL))) FROM performance_schema.replication_group_members";

/// How long after `undone` the cluster became healthy and stayed so; an error after `limit`.
pub fn wait(lab: &Lab, writer: &Writer, undone: Instant, limit: Duration) -> Result<Duration> {
    let mut since: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        match healthy(lab) {
            Ok(()) => {
                let first = *since.get_or_insert(asked);
                if asked.duration_since(first) >= STEADY {
                    writer.wait_for_write(writer.mark(), Duration::from_secs(10))?;
                    return Ok(first.saturating_duration_since(undone));
                }
            }
            Err(error) => {
                since = None;
                if undone.elapsed() > limit {
                    bail!(
                        "not healthy {} s after the last fault was undone: {error:#}",
                        limit.as_secs()
                    );
                }
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn healthy(lab: &Lab) -> Result<()> {
    let mut views = Vec::new();
    for host in NODES {
        let said = lab
            .exec_within(ANSWER, host, "root", &["mysql", "-NB"], MEMBERS)?
            .success()?;
        ensure!(
            said.starts_with("3 3 0 node"),
            "{host} sees (ONLINE, all, offline_mode, primary): {}",
            said.trim()
        );
        views.push(said);
    }
    ensure!(
        views.iter().all(|view| *view == views[0]),
        "members name different primaries: {views:?}"
    );
    let cluster = status(lab)?;
    let all = |list: &str, good: &dyn Fn(&Value) -> bool| {
        cluster[list]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(good))
    };
    ensure!(
        cluster["state"] == "ok",
        "status says {}: {}",
        cluster["state"],
        cluster["verdict"]
    );
    ensure!(
        all("members", &|member| member["state"] == "ONLINE"
            && member["certainty"] == "certain"),
        "status is not certain that every member is ONLINE"
    );
    ensure!(
        all("routers", &|router| router["state"] == "running"),
        "status says that Router does not run"
    );
    Ok(())
}

fn status(lab: &Lab) -> Result<Value> {
    let argv = ["clusterctl", "status", "-o", "json"];
    let said = lab.exec_within(ANSWER, COORDINATOR, "admin", &argv, "")?.success()?;
    let mut document: Value = serde_json::from_str(&said).context("status printed no document")?;
    Ok(document["clusters"][0].take())
}
