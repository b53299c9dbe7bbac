//! Disks are full, a ledger is gone, who heals is killed, a flag that must never be set is set.

use std::time::Duration;

use anyhow::{Result, ensure};
use clusterctl_lab::{Output, wait_for};

use super::scene::{BACK, Scene, UNPLANNED, figure, gap};
use crate::cluster::desk::{NODES, told};
use crate::cluster::points::{Points, Program};
use crate::load::Writer;

/// What a member may take to see that its disk has room again: MySQL looks once a minute.
const MINUTE: Duration = Duration::from_secs(150);

/// The coordinator cannot store anything: whoever asks is told so, writes go on; with room again the same command finishes.
pub fn coordinators_disk_full(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let desk = scene.desk;
    let start = writer.mark();
    // A file that was closed in order has the least room inside. The filler takes the blocks that are root's own, too.
    let fill = "systemctl restart clusterctl-coordinator; dd if=/dev/zero of=/var/lib/clusterctl-coordinator/filler bs=1k 2>/dev/null; \
                sync; df --output=avail /var/lib/clusterctl-coordinator | tail -1";
    let left = desk.lab.sh("node1", fill)?;
    ensure!(left.trim() == "0", "{left} KiB are left");
    let asked = typed_until_refused(scene);
    let held = writer.wait_for_write(writer.mark(), UNPLANNED);
    desk.lab.sh("node1", "rm /var/lib/clusterctl-coordinator/filler")?;
    let (line, said) = asked?;
    held?;
    told(
        &format!("clusterctl {line} with a full disk"),
        &said,
        4,
        &["No space left"],
    )?;
    wait_for("the same command finishes", BACK, || desk.ok(&line).map(|_| true))?;
    desk.ok("resume prod")?;
    gap(
        "the coordinator's disk is full",
        writer.longest_gap_since(start),
        UNPLANNED,
    )
}

/// Changes what the coordinator must store until it cannot: the pages that its file has already are used first. Answers the command
/// that was refused, and what it said.
fn typed_until_refused(scene: &Scene<'_>) -> Result<(String, Output)> {
    const TYPE: &str = r#"reason=$(printf %0200d 0)
        for _ in $(seq 2000); do
            for line in "pause prod --reason $reason" "resume prod"; do
                said=$(clusterctl $line) || { status=$?; echo "$line"; exit $status; }
            done
        done"#;
    let said = scene.desk.run("node1", "admin", &["sh", "-c", TYPE], "")?;
    ensure!(said.status != 0, "thousands of changes were stored on a full disk");
    Ok((said.stdout.trim().to_owned(), said))
}

/// A member has no room: the others go on; with room again it is ONLINE.
pub fn members_disk_full(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let desk = scene.desk;
    if scene.primary()? == "node3" {
        scene.lead("node2")?;
    }
    let start = writer.mark();
    // The data folder only: it has a disk of its own, all else is the whole machine's.
    let fill =
        "dd if=/dev/zero of=/var/lib/mysql/filler bs=4k 2>/dev/null; sync; df --output=avail /var/lib/mysql | tail -1";
    let left: u64 = desk.lab.sh("node3", fill)?.trim().parse()?;
    ensure!(left < 4096, "{left} KiB are left: room for all four rows");
    // Enough for it to run into the wall.
    desk.through(
        6446,
        "CREATE TABLE IF NOT EXISTS appdb.wall (id INT AUTO_INCREMENT PRIMARY KEY, filler MEDIUMBLOB)",
    )?;
    for _ in 0..4 {
        desk.through(
            6446,
            "INSERT INTO appdb.wall (filler) VALUES (REPEAT(RANDOM_BYTES(1024), 1024))",
        )?;
    }
    std::thread::sleep(Duration::from_secs(3));
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    figure(
        "write gap while a member's disk is full",
        writer.longest_gap_since(start),
    );
    desk.lab.sh("node3", "rm -f /var/lib/mysql/filler")?;
    scene.whole(MINUTE)
}

/// What an agent remembers is gone: the coordinator tells it again.
pub fn ledger_lost(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let host = scene.secondary()?;
    let lab = &scene.desk.lab;
    lab.sh(
        host,
        "systemctl stop clusterctl-agent; rm /var/lib/clusterctl/ledger.json; systemctl start clusterctl-agent",
    )?;
    scene.desk.connected(&[host])?;
    lab.power_off(host)?;
    lab.power_on(host)?;
    figure(&format!("{host}: booted to ONLINE"), scene.back(host)?);
    Ok(())
}

/// Agent and coordinator are killed at each point of the way back.
pub fn killed_while_healing(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    if scene.primary()? == "node3" {
        scene.lead("node2")?;
    }
    let points = Points::arm(desk)?;
    let agent = ["before", "after"].map(|when| format!("agent.join_group.{when}"));
    points.pause_all("node3", Program::Agent, &agent)?;
    let mut coordinator = ["sent", "outcome"]
        .map(|when| format!("coordinator.join_group.{when}"))
        .to_vec();
    coordinator.push("coordinator.plan.adopted".to_owned());
    points.pause_all("node1", Program::Coordinator, &coordinator)?;
    desk.sql("node3", "STOP GROUP_REPLICATION")?;
    let kills = points.kill_until(BACK, || Ok(desk.online("node3")? == NODES))?;
    ensure!(kills >= 2, "only {kills} kills: nobody came to the points");
    Ok(())
}

/// The one switch that makes a second group: found on, it is off a moment later, with an alarm.
pub fn bootstrap_flag(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    let before = scene.newest()?;
    let host = scene.secondary()?;
    desk.sql(host, "SET GLOBAL group_replication_bootstrap_group = ON")?;
    wait_for("the flag is off again", Duration::from_secs(20), || {
        Ok(desk.value(host, "SELECT @@group_replication_bootstrap_group")? == "0")
    })?;
    wait_for("the journal tells it", Duration::from_secs(20), || {
        let events = desk.json("events --limit 100")?;
        let all = crate::cluster::desk::list(&events["events"]);
        Ok(all
            .iter()
            .any(|event| event["id"].as_u64() > Some(before) && event.to_string().contains("bootstrap")))
    })
}
