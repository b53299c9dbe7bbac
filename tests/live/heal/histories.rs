//! A person bootstraps by hand in a bad moment: no group lives twice, and nobody comes in with other transactions under the same numbers.
//!
//! Router is stopped where all members must hold the same before the lights go out: it writes, too.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clusterctl_lab::wait_for;

use super::outage::one_lineage;
use super::scene::{BACK, STILL, Scene, UNPLANNED, figure};
use crate::cluster::desk::NODES;
use crate::cluster::points::{Points, Program};
use crate::load::Writer;

/// What a person types who makes the group anew.
const BOOTSTRAP: &str = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
                         SET GLOBAL group_replication_bootstrap_group = OFF";
const ADOPTED: &str = "coordinator.plan.adopted";
const BEFORE: &str = "agent.bootstrap_group.before";
const CONFIRMED: &str = "agent.bootstrap_group.confirmed";

/// The order to bootstrap is with the agent of the coordinator's host, which loses power; a person bootstraps elsewhere.
pub fn order_outlives_a_power_cut(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let points = Points::arm(scene.desk)?;
    quiet(scene)?;
    points.pause("node1", Program::Agent, BEFORE)?;
    everybody_restarts(scene)?;
    points.reached("node1", BEFORE)?;
    scene.desk.lab.power_off("node1")?;
    by_hand(scene, "node2", &["node3"])?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    scene.desk.lab.power_on("node1")?;
    scene.whole(BACK)?;
    one_lineage(scene.desk)
}

/// The recovery is adopted, the coordinator stands still, a person bootstraps; then the coordinator goes on.
pub fn coordinator_stands_still(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let points = Points::arm(scene.desk)?;
    quiet(scene)?;
    points.pause("node1", Program::Coordinator, ADOPTED)?;
    everybody_restarts(scene)?;
    points.reached("node1", ADOPTED)?;
    by_hand(scene, "node2", &["node3"])?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    points.release("node1", Program::Coordinator, ADOPTED)?;
    scene.whole(BACK)?;
    one_lineage(scene.desk)
}

/// mysqld alone is frozen after the leader's word and before START; a person bootstraps elsewhere; then it goes on.
pub fn frozen_before_start(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let points = Points::arm(scene.desk)?;
    let lab = &scene.desk.lab;
    quiet(scene)?;
    for node in NODES {
        points.pause(node, Program::Agent, CONFIRMED)?;
    }
    everybody_restarts(scene)?;
    let mut first = "";
    wait_for("somebody is about to bootstrap", BACK, || {
        let there = |node: &&str| {
            let file = format!("/run/clusterctl-test/{CONFIRMED}.reached");
            let test = scene.desk.run(node, "root", &["test", "-e", &file], "");
            test.is_ok_and(|output| output.status == 0)
        };
        first = NODES.into_iter().find(there).unwrap_or_default();
        Ok(!first.is_empty())
    })?;
    let others: Vec<&str> = NODES.into_iter().filter(|node| *node != first).collect();
    lab.sh(first, "systemctl kill -s STOP --kill-who=main mysql")?;
    let frozen = Instant::now();
    for node in NODES {
        points.release(node, Program::Agent, CONFIRMED)?;
    }
    by_hand(scene, others[0], &others[1..])?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    // Longer than the six seconds that a bootstrap may begin in after the last look.
    std::thread::sleep(Duration::from_secs(7).saturating_sub(frozen.elapsed()));
    lab.sh(first, "systemctl kill -s CONT --kill-who=main mysql")?;
    scene.whole(BACK)?;
    one_lineage(scene.desk)
}

/// With the coordinator off and clients that write at once: the others lack nothing, and return unaided, before any coordinator is back.
pub fn by_hand_without_coordinator(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let lab = &scene.desk.lab;
    quiet(scene)?;
    lab.sh("node1", "systemctl stop clusterctl-coordinator")?;
    everybody_restarts(scene)?;
    wait_for("node2 answers", BACK, || {
        scene.desk.value("node2", "SELECT 1").map(|_| true)
    })?;
    // Its agent must have seen what it holds.
    std::thread::sleep(STILL);
    // Router does not start before a group lives; others write at once.
    const WRITES: &str =
        "CREATE TABLE IF NOT EXISTS appdb.at_once (id INT PRIMARY KEY); REPLACE INTO appdb.at_once VALUES (1), (2)";
    scene.desk.sql("node2", BOOTSTRAP)?;
    // START ends when the member is ONLINE; mysqld lets the first write in a moment later.
    wait_for("node2 takes a write", BACK, || {
        Ok(scene.desk.sql("node2", WRITES).is_ok())
    })?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    // The agent of node2 tells the others where the group's lineage branched off.
    let bootstrapped = Instant::now();
    wait_for("node1 and node3 return without a coordinator", BACK, || {
        scene.desk.all_online(&NODES).map(|()| true)
    })?;
    figure(
        "bootstrapped by hand, no coordinator: all are in",
        bootstrapped.elapsed(),
    );
    one_lineage(scene.desk)?;
    lab.sh("node1", "systemctl start clusterctl-coordinator")?;
    let begun = Instant::now();
    scene.whole(BACK)?;
    figure("the coordinator is back: all are in", begun.elapsed());
    one_lineage(scene.desk)
}

/// One holds three transactions that the group has not; the group then uses their numbers. It stays out; and a person who starts it all
/// the same is told what came in.
pub fn numbers_used_again(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let desk = scene.desk;
    scene.lead("node3")?;
    desk.sql("node3", "CREATE TABLE IF NOT EXISTS appdb.alone (id INT PRIMARY KEY)")?;
    quiet(scene)?;
    desk.ok("pause prod --reason history")?;
    for node in ["node1", "node2"] {
        desk.sql(node, "STOP GROUP_REPLICATION")?;
    }
    desk.sql(
        "node3",
        "INSERT INTO appdb.alone VALUES (1); INSERT INTO appdb.alone VALUES (2); INSERT INTO appdb.alone VALUES (3)",
    )?;
    desk.sql("node3", "STOP GROUP_REPLICATION")?;
    by_hand(scene, "node2", &["node1"])?;
    desk.ok("resume prod")?;
    scene.shows("why node3", &["quarantined"])?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    used_again(scene)?;
    std::thread::sleep(2 * STILL);
    scene.shows("why node3", &["quarantined"])?;
    ensure!(
        !desk.online("node2")?.iter().any(|host| host == "node3"),
        "node3 came in by itself"
    );
    // Group Replication compares numbers only, and lets it in.
    desk.sql("node3", "START GROUP_REPLICATION")?;
    scene.shows("why node3", &["unproven history"])?;
    ensure!(
        desk.cluster()?["state"] != "ok",
        "status says OK of a member with other data"
    );
    scene.start_anew("node3")?;
    desk.sql(scene.primary()?, "DROP TABLE appdb.alone")?;
    Ok(())
}

/// The group uses the very numbers that only node3 holds. By itself it first fills the gaps that earlier blocks of numbers have left.
fn used_again(scene: &Scene<'_>) -> Result<()> {
    let desk = scene.desk;
    let held = desk.value("node3", "SELECT REPLACE(@@gtid_executed, '\n', '')")?;
    let extra = desk.value("node2", &format!("SELECT GTID_SUBTRACT('{held}', @@gtid_executed)"))?;
    let (source, range) = extra
        .trim()
        .split_once(':')
        .with_context(|| format!("node3 holds nothing more: {extra:?}"))?;
    let (first, last) = range
        .split_once('-')
        .with_context(|| format!("not three transactions: {extra}"))?;
    for number in first.parse::<u64>()?..=last.parse::<u64>()? {
        desk.sql(
            "node2",
            &format!("SET GTID_NEXT = '{source}:{number}'; INSERT INTO appdb.alone VALUES ({number}); SET GTID_NEXT = AUTOMATIC"),
        )?;
    }
    Ok(())
}

/// An old copy of the coordinator's disk is put back: it does not lead what it has forgotten, until the epoch is raised.
pub fn old_disk(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    const STATE: &str = "/var/lib/clusterctl-coordinator";
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    let to = scene.secondary()?;
    lab.sh("node1", &format!("systemctl stop clusterctl-coordinator; rm -rf /root/old; cp -a {STATE} /root/old; systemctl start clusterctl-coordinator"))?;
    scene.whole(BACK)?;
    desk.ok(&format!("switchover --to {to}"))?;
    scene.whole(BACK)?;
    // Router closes its ports for a moment when the primary changes.
    wait_for("everything is proven", UNPLANNED, || desk.ok("verify").map(|_| true))?;
    lab.sh(
        "node1",
        &format!("systemctl stop clusterctl-coordinator; find {STATE} -mindepth 1 -delete; cp -a /root/old/. {STATE}/; systemctl start clusterctl-coordinator"),
    )?;
    scene.shows("status", &["raise-epoch"])?;
    let refused = desk.ctl("switchover")?;
    ensure!(refused.status != 0, "a coordinator without its log orders a switchover");
    lab.sh(
        "node1",
        "systemctl stop clusterctl-coordinator; runuser -u clusterctl-coordinator -- clusterctl-coordinator raise-epoch --yes; systemctl start clusterctl-coordinator",
    )?;
    scene.whole(BACK)?;
    desk.ok("switchover")?;
    lab.sh("node1", "rm -rf /root/old").map(drop)
}

/// Nobody writes: every member holds the same a moment later.
fn quiet(scene: &Scene<'_>) -> Result<()> {
    router(scene, "stop")?;
    wait_for("all members hold the same", Duration::from_secs(20), || {
        let sets: Vec<String> = NODES
            .iter()
            .map(|node| scene.desk.value(node, "SELECT @@gtid_executed"))
            .collect::<Result<_>>()?;
        ensure!(sets.iter().all(|set| *set == sets[0]), "{sets:?}");
        Ok(true)
    })
}

fn router(scene: &Scene<'_>, verb: &str) -> Result<()> {
    // The coordinator starts one that failed; one that was stopped stays so.
    scene
        .desk
        .lab
        .sh("router1", &format!("systemctl {verb} mysqlrouter"))
        .map(drop)
}

/// Every mysqld is killed and comes up again, out of the group: an outage of which nothing is lost.
fn everybody_restarts(scene: &Scene<'_>) -> Result<()> {
    let lab = &scene.desk.lab;
    let killed = std::thread::scope(|scope| {
        let kill = |node| scope.spawn(move || lab.sh(node, "systemctl kill -s KILL --kill-who=main mysql"));
        let all = NODES.map(kill);
        all.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    for result in killed {
        result.map_err(|_| anyhow!("a thread panicked"))??;
    }
    Ok(())
}

/// As a person does it: one makes the group, the others come in one after another.
fn by_hand(scene: &Scene<'_>, first: &str, others: &[&str]) -> Result<()> {
    wait_for(&format!("{first} answers"), BACK, || {
        scene.desk.value(first, "SELECT 1").map(|_| true)
    })?;
    scene.desk.sql(first, BOOTSTRAP)?;
    for other in others {
        wait_for(&format!("{other} answers"), BACK, || {
            scene.desk.value(other, "SELECT 1").map(|_| true)
        })?;
        wait_for(&format!("{other} is in"), BACK, || {
            if !scene.desk.online(first)?.iter().any(|host| host == other) {
                scene.desk.sql(other, "START GROUP_REPLICATION")?;
            }
            Ok(true)
        })?;
    }
    Ok(())
}
