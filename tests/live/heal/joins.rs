//! `join` on a bad day: it ends well or in a clear refusal, and typed again it finishes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::{Output, wait_for};

use super::scene::{BACK, Scene};
use crate::cluster::points::{Points, Program};
use crate::cluster::story::say;
use crate::load::Writer;

const JOIN: [&str; 3] = ["clusterctl", "join", "node3"];
/// For one whose data was thrown away: faster than all transactions one after another.
const COPY: [&str; 5] = ["clusterctl", "join", "node3", "--recovery", "clone"];
const REMOVE: [&str; 4] = ["clusterctl", "remove", "node3", "--accept-lower-tolerance"];

/// `join node3` and `remove node3`, typed at once: both end, and what they leave is one of the two.
pub fn two_operators(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    not_primary(scene)?;
    let (joined, removed) = std::thread::scope(|scope| {
        let join = scope.spawn(|| desk.run("node1", "admin", &JOIN, ""));
        let remove = scope.spawn(|| desk.run("node1", "admin", &REMOVE, ""));
        (join.join(), remove.join())
    });
    for said in [joined, removed] {
        let said = said.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        ended(&said)?;
    }
    wait_for("two or three members, and nothing between", BACK, || {
        let registered = desk.value("node1", "SELECT COUNT(*) FROM mysql_innodb_cluster_metadata.instances")?;
        Ok(registered == desk.online("node1")?.len().to_string())
    })?;
    again(scene, &JOIN)
}

/// The primary's host goes off when node3 is about to enter a group of two: no majority is left until it is back.
pub fn primary_lost(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    scene.lead("node2")?;
    let points = Points::arm(desk)?;
    scene.take_out("node3")?;
    points.pause("node3", Program::Agent, "agent.join_group.before")?;
    seen_empty(scene)?;
    let child = desk.lab.spawn("node1", "admin", &COPY)?;
    points.reached("node3", "agent.join_group.before")?;
    desk.lab.power_off("node2")?;
    points.release("node3", Program::Agent, "agent.join_group.before")?;
    std::thread::sleep(Duration::from_secs(3));
    desk.lab.power_on("node2")?;
    told_how_it_ends(child)?;
    again(scene, &COPY)
}

/// The joiner goes off as soon as the group sees it, and comes back.
pub fn joiner_loses_power(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    not_primary(scene)?;
    scene.take_out("node3")?;
    let primary = scene.primary()?;
    seen_empty(scene)?;
    let child = desk.lab.spawn("node1", "admin", &COPY)?;
    wait_for("node3 enters", Duration::from_secs(120), || {
        let cloning = desk.value(
            "node3",
            "SELECT COUNT(*) FROM performance_schema.clone_status WHERE state = 'In Progress'",
        );
        let seen = desk.value(
            primary,
            "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_host = 'node3'",
        )?;
        Ok(seen == "1" || cloning.is_ok_and(|number| number == "1"))
    })?;
    desk.lab.power_off("node3")?;
    std::thread::sleep(Duration::from_secs(3));
    desk.lab.power_on("node3")?;
    told_how_it_ends(child)?;
    again(scene, &COPY)
}

/// A host without MySQL, and a mirror that has gone since it was last read: waited for or told so; with the mirror back, the same
/// command finishes.
pub fn mirror_dead(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    in_the_way(scene, "mount -t tmpfs none /srv/mirror", "umount /srv/mirror")
}

/// Somebody else installs something on the joiner: waited for, or told so; then the same command finishes.
pub fn dpkg_locked(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    // dpkg's lock is of the kind that belongs to a process and a file, which flock(1) does not take.
    const HOLD: &str = r#"systemd-run -q --unit=holder perl -MFcntl -e 'open(F, ">>", "/var/lib/dpkg/lock-frontend"); fcntl(F, F_SETLK, pack("s s x4 q q i", F_WRLCK, 0, 0, 0, 0)) or die; sleep 300'"#;
    in_the_way(
        scene,
        HOLD,
        "systemctl stop holder; systemctl reset-failed holder 2>/dev/null; true",
    )
}

/// A bare node3 joins while something is wrong on it, which ends only after the join has come to its packages and found it so.
fn in_the_way(scene: &Scene<'_>, begin: &str, end: &str) -> Result<()> {
    let desk = scene.desk;
    not_primary(scene)?;
    bare(scene)?;
    desk.lab.sh("node3", begin)?;
    let child = desk.lab.spawn("node1", "admin", &COPY)?;
    std::thread::sleep(Duration::from_secs(10));
    desk.lab.sh("node3", end)?;
    told_how_it_ends(child)?;
    again(scene, &COPY)
}

/// It finished, or it said what to do.
fn told_how_it_ends(child: std::process::Child) -> Result<()> {
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    say(&format!(
        "                     the join ended with {:?}",
        output.status.code()
    ));
    ensure!(output.status.success() || words.contains("hint: "), "join: {words}");
    Ok(())
}

/// node3 without MySQL's packages, data and configuration, ours included, out of the cluster.
fn bare(scene: &Scene<'_>) -> Result<()> {
    scene.take_out("node3")?;
    let purge = "export DEBIAN_FRONTEND=noninteractive; apt-get purge -y -qq mysql-server mysql-server-core mysql-client mysql-common >/dev/null 2>&1; \
                 apt-get autoremove -y -qq >/dev/null 2>&1; find /var/lib/mysql -mindepth 1 -delete; rm -rf /etc/mysql; command -v mysqld || true";
    let left = scene.desk.lab.sh("node3", purge)?;
    ensure!(left.trim().is_empty(), "mysqld is still on node3: {left}");
    Ok(())
}

/// Waits until it is known that node3 holds nothing any more, so that a join is not refused for that.
fn seen_empty(scene: &Scene<'_>) -> Result<()> {
    wait_for("a copy is planned", BACK, || {
        scene
            .desk
            .ok("join node3 --recovery clone --dry-run")
            .map(|said| said.contains("a copy of"))
    })
}

fn not_primary(scene: &Scene<'_>) -> Result<()> {
    if scene.primary()? == "node3" {
        scene.lead("node2")?;
    }
    Ok(())
}

/// It said what it did, or why not.
fn ended(said: &Output) -> Result<()> {
    ensure!(
        said.status == 0 || [1, 3, 5, 6, 8].contains(&said.status) && said.stderr.contains("error: "),
        "{said:?}"
    );
    Ok(())
}

/// Typed until it finishes: at once, or when what it waits for is there.
fn again(scene: &Scene<'_>, words: &[&str]) -> Result<()> {
    wait_for("the command, typed again, finishes", BACK, || {
        let said = scene.desk.run("node1", "admin", words, "")?;
        said.success().with_context(|| words.join(" ")).map(|_| true)
    })?;
    scene.whole(BACK)
}
