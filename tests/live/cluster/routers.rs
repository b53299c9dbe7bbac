//! Routers go and come, killed half-way, and leave nothing behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::desk::{Desk, METADATA};
use super::forming::timed;
use super::points::{Points, Program};

/// Removed: no row, no account, no process, no file, no open port.
pub fn remove(desk: &Desk) -> Result<()> {
    timed(desk, "router remove router1")?;
    ensure!(
        registered(desk)? == ("0".to_owned(), "0".to_owned()),
        "rows and accounts are left: {:?}",
        registered(desk)?
    );
    let left = desk.lab.sh("router1", "ls -A /var/lib/mysqlrouter; ss -Hltn | grep -E ':64(46|47|48|49|50) '; systemctl is-active mysqlrouter; systemctl is-enabled mysqlrouter 2>/dev/null; true")?;
    ensure!(
        left.lines()
            .all(|line| ["inactive", "disabled", "not-found", "failed"].contains(&line)),
        "left on router1: {left}"
    );
    super::secrets::none_left(desk)?;
    desk.already("router remove router1")?;
    ensure!(desk.ok("router list")?.contains("no router"), "it is still listed");
    Ok(())
}

/// Rows in `routers` and accounts that Router made, in the group.
fn registered(desk: &Desk) -> Result<(String, String)> {
    let primary = desk.primary()?;
    Ok((
        desk.value(&primary, &format!("SELECT COUNT(*) FROM {METADATA}.routers"))?,
        desk.value(
            &primary,
            "SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'mysql_router%'",
        )?,
    ))
}

fn added_once(desk: &Desk) -> Result<()> {
    let found = registered(desk)?;
    ensure!(
        found == ("1".to_owned(), "1".to_owned()),
        "rows in routers and accounts of Router: {found:?}"
    );
    super::secrets::none_left(desk)?;
    super::reality::sockets(desk)?;
    super::reality::through_router(desk)?;
    super::metadata::rows(desk)
}

/// The agent dies before and after its bootstrap; the password that lived for it stands nowhere, before or after.
pub fn agent_killed(desk: &Desk) -> Result<()> {
    let points = Points::arm(desk)?;
    points.pause("router1", Program::Agent, "agent.router_bootstrap.before")?;
    points.pause("router1", Program::Agent, "agent.router_bootstrap.after")?;
    let mut seen = None;
    let said = points.kill_during(&["router", "add", "router1", "-o", "json"], |_, name| {
        if name == "agent.router_bootstrap.before" {
            let password = desk.lab.sh("router1", "cat /var/lib/clusterctl/secrets/*")?;
            seen = Some(password.trim().to_owned());
        }
        Ok(())
    })?;
    ensure!(said.status == 0, "{said:?}");
    added_once(desk)?;
    let password = seen.context("the password of the bootstrap was never seen")?;
    super::secrets::nowhere(desk, "the password of a bootstrap", &password)
}

/// Router's own bootstrap dies when it has begun to write into the metadata.
pub fn bootstrap_killed(desk: &Desk) -> Result<()> {
    remove(desk)?;
    let primary = desk.primary()?;
    let child = desk.lab.spawn(
        "node1",
        "admin",
        &["clusterctl", "router", "add", "router1", "-o", "json"],
    )?;
    let caught = half_way(desk, &primary);
    let output = child.wait_with_output()?;
    caught?;
    ensure!(
        output.status.success(),
        "router add: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    added_once(desk)
}

/// Lets the bootstrap run in glances until it has registered, then kills it.
fn half_way(desk: &Desk, primary: &str) -> Result<()> {
    // The brackets keep the pattern from finding the shell that holds it.
    const GLANCE: &str = "p=$(pgrep -f 'mysqlroute[r] --bootstrap' | head -1); [ -n \"$p\" ] || exit 3; kill -CONT $p; sleep 0.015; kill -STOP $p";
    let begun = Instant::now();
    let mut seen = false;
    while begun.elapsed() < Duration::from_secs(120) {
        let status = desk.run("router1", "root", &["sh", "-c", GLANCE], "")?.status;
        match status {
            0 => seen = true,
            _ if seen => bail!("the bootstrap ended before it was caught half-way"),
            _ => continue,
        }
        let written = desk.value(primary, &format!("SELECT (SELECT COUNT(*) FROM {METADATA}.routers) + (SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'mysql_router%')"))?;
        if written != "0" {
            return desk
                .lab
                .sh("router1", "pkill -KILL -f 'mysqlroute[r] --bootstrap'")
                .map(drop);
        }
    }
    bail!("no bootstrap was seen on router1")
}
