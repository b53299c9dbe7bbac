//! A person bootstraps by hand in a bad moment: no group lives twice, and nobody comes in with other transactions under the same numbers.
//!
//! Router is stopped where all members must hold the same before the lights go out: it writes, too.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clusterctl_lab::wait_for;

use super::outage::{accepted, one_lineage};
use super::scene::{BACK, STILL, Scene, UNPLANNED, figure};
use crate::cluster::desk::NODES;
use crate::cluster::points::{Points, Program};
use crate::load::Writer;

/// What a person types who makes the group anew.
pub const BOOTSTRAP: &str = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
                         SET GLOBAL group_replication_bootstrap_group = OFF";
/// On a busy machine Group Replication's START may hang for its minute, and the STOP after it for another.
pub const LATE: Duration = Duration::from_secs(240);
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
    scene.whole(LATE)?;
    one_lineage(scene.desk)
}

/// The recovery is adopted, the coordinator's process is frozen, a person bootstraps; then the process goes on.
pub fn coordinator_stands_still(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let points = Points::arm(scene.desk)?;
    let lab = &scene.desk.lab;
    quiet(scene)?;
    points.pause("node1", Program::Coordinator, ADOPTED)?;
    everybody_restarts(scene)?;
    points.reached("node1", ADOPTED)?;
    // Frozen as a whole: no thread of it runs, its connections stay. What it waited for is there when it goes on.
    lab.sh("node1", "systemctl kill -s STOP --kill-who=main clusterctl-coordinator")?;
    points.release("node1", Program::Coordinator, ADOPTED)?;
    by_hand(scene, "node2", &["node3"])?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    lab.sh("node1", "systemctl kill -s CONT --kill-who=main clusterctl-coordinator")?;
    scene.whole(LATE)?;
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
    scene.whole(LATE)?;
    one_lineage(scene.desk)
}

/// With the coordinator off and clients that write at once: the others lack nothing, and return unaided, before any coordinator is back.
pub fn by_hand_without_coordinator(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let lab = &scene.desk.lab;
    quiet(scene)?;
    lab.sh("node1", "systemctl stop clusterctl-coordinator")?;
    everybody_restarts(scene)?;
    answers(scene, "node2")?;
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
    wait_for("node1 and node3 return without a coordinator", LATE, || {
        scene.desk.all_online(&NODES).map(|()| true)
    })?;
    figure(
        "bootstrapped by hand, no coordinator: all are in",
        bootstrapped.elapsed(),
    );
    one_lineage(scene.desk)?;
    lab.sh("node1", "systemctl start clusterctl-coordinator")?;
    let begun = Instant::now();
    scene.whole(LATE)?;
    figure("the coordinator is back: all are in", begun.elapsed());
    one_lineage(scene.desk)
}

/// A person's group lives and ends while its member's agent is away, and others hold other transactions under the numbers that it used.
/// By numbers alone they hold everything; the agent reads in the server's log that its data went another way.
pub fn group_between_two_looks(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    const WRITES: &str = "CREATE TABLE appdb.alone (id INT PRIMARY KEY); INSERT INTO appdb.alone VALUES (1)";
    const ONLINE: &str =
        "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'";
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    quiet(scene)?;
    desk.ok("pause prod --reason history")?;
    lab.sh("node2", "systemctl stop clusterctl-agent")?;
    everybody_restarts(scene)?;
    for node in NODES {
        answers(scene, node)?;
    }
    let before = desk.value("node2", "SELECT REPLACE(@@gtid_executed, '\n', '')")?;
    desk.sql("node2", BOOTSTRAP)?;
    wait_for("node2 takes a write", BACK, || Ok(desk.sql("node2", WRITES).is_ok()))?;
    let wrote = desk.value(
        "node2",
        &format!("SELECT GTID_SUBTRACT(@@gtid_executed, '{}')", before.trim()),
    )?;
    lab.sh("node2", "systemctl kill -s KILL --kill-who=main mysql")?;
    answers(scene, "node2")?;
    for node in ["node1", "node3"] {
        for gtid in each(&wrote)? {
            let other = format!(
                "SET GLOBAL super_read_only = OFF; SET GTID_NEXT = '{gtid}'; BEGIN; COMMIT; SET GTID_NEXT = AUTOMATIC; \
                 SET GLOBAL super_read_only = ON"
            );
            desk.sql(node, &other)?;
        }
    }
    lab.sh("node2", "systemctl start clusterctl-agent")?;
    desk.ok("resume prod")?;
    scene.shows("why -c prod", &["different transactions", "none holds them all"])?;
    std::thread::sleep(STILL);
    for node in NODES {
        ensure!(desk.value(node, ONLINE)? == "0", "{node} is in a group");
    }
    // A person decides, as the refusal says: for the row.
    let command = accepted(scene, "recover prod --without node1,node3")?;
    desk.ok(&command)?;
    ensure!(
        desk.value("node2", "SELECT COUNT(*) FROM appdb.alone")? == "1",
        "the row is lost"
    );
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), BACK)?;
    for node in ["node1", "node3"] {
        scene.start_anew(node)?;
    }
    scene.whole(LATE)?;
    one_lineage(desk)?;
    desk.sql(scene.primary()?, "DROP TABLE appdb.alone").map(drop)
}

/// The transactions of a set of one source, one by one.
fn each(set: &str) -> Result<Vec<String>> {
    let bad = || format!("transactions of one source are expected: {set:?}");
    let (source, ranges) = set.trim().split_once(':').with_context(bad)?;
    let mut all = Vec::new();
    for range in ranges.split(':') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let numbers = first.parse::<u64>().with_context(bad)?..=last.parse::<u64>().with_context(bad)?;
        all.extend(numbers.map(|number| format!("{source}:{number}")));
    }
    Ok(all)
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
    let left = never_elected(scene)?;
    given_by(scene, left, "node3")?;
    scene.take_out("node3")?;
    scene.shows(&format!("why {left}"), &["unproven history"])?;
    scene.take_out(left)?;
    for host in ["node3", left] {
        scene.copied(host)?;
        weight(scene, host, 50)?;
    }
    desk.sql(scene.primary()?, "DROP TABLE appdb.alone")?;
    Ok(())
}

/// node3's data are unproven, so Group Replication elects the other one when the primary leaves. Answers who left.
fn never_elected(scene: &Scene<'_>) -> Result<&'static str> {
    weight(scene, "node3", 0)?;
    let leader = scene.primary()?;
    let other = if leader == "node1" { "node2" } else { "node1" };
    weight(scene, other, 50)?;
    scene.desk.sql(leader, "STOP GROUP_REPLICATION")?;
    let role = "SELECT member_role FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid";
    wait_for(&format!("{other} is elected"), UNPLANNED, || {
        Ok(scene.desk.value(other, role)? == "PRIMARY")
    })?;
    Ok(if other == "node1" { "node2" } else { "node1" })
}

/// A person starts a member beside one whose data are unproven, until Group Replication picks that one as the donor: now its data are
/// unproven, too. While it picks the other one they are not.
fn given_by(scene: &Scene<'_>, host: &str, donor: &str) -> Result<()> {
    const DONOR: &str = "SELECT SUBSTRING_INDEX(SUBSTRING_INDEX(data, 'New state source_host=''', -1), '''', 1) \
        FROM performance_schema.error_log WHERE error_code = 'MY-010597' AND data LIKE '%group_replication_recovery%' \
        AND data LIKE '%New state source_host=''node%' ORDER BY logged DESC LIMIT 1";
    for _ in 0..12 {
        scene.desk.sql(host, "START GROUP_REPLICATION")?;
        let online =
            "SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid";
        wait_for(&format!("{host} is ONLINE"), UNPLANNED, || {
            Ok(scene.desk.value(host, online)? == "ONLINE")
        })?;
        if scene.desk.value(host, DONOR)? == donor {
            weight(scene, host, 0)?;
            return scene.shows(&format!("why {host}"), &["unproven history", &format!("{donor}:3306")]);
        }
        // Its agent looks once more when it is ONLINE.
        std::thread::sleep(STILL);
        weight(scene, host, 50)?;
        scene.desk.sql(host, "STOP GROUP_REPLICATION")?;
    }
    bail!("in 12 tries Group Replication never picked {donor} as the donor of {host}")
}

/// Waits until a member has this weight in elections.
fn weight(scene: &Scene<'_>, host: &str, is: u64) -> Result<()> {
    wait_for(&format!("{host}'s weight is {is}"), UNPLANNED, || {
        Ok(scene.desk.value(host, "SELECT @@group_replication_member_weight")? == is.to_string())
    })
}

/// The group uses the very numbers that only node3 holds. By itself it first fills the gaps that earlier blocks of numbers have left.
fn used_again(scene: &Scene<'_>) -> Result<()> {
    let desk = scene.desk;
    let held = desk.value("node3", "SELECT REPLACE(@@gtid_executed, '\n', '')")?;
    let extra = desk.value("node2", &format!("SELECT GTID_SUBTRACT('{held}', @@gtid_executed)"))?;
    for (row, gtid) in (11..).zip(each(&extra)?) {
        desk.sql(
            "node2",
            &format!("SET GTID_NEXT = '{gtid}'; INSERT INTO appdb.alone VALUES ({row}); SET GTID_NEXT = AUTOMATIC"),
        )?;
    }
    Ok(())
}

/// Two of three lose power; a person forces the membership of the third and takes the variable back in the same line, as MySQL's manual says
/// and MySQL Shell does. What the two hold is not known to be the group's: they are not let in by numbers.
pub fn forced_and_taken_back(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    const UNREACHABLE: &str =
        "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'UNREACHABLE'";
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    scene.lead("node1")?;
    // With a transaction that waits for the majority the SET may take as long as the member's patience, which then makes it leave.
    quiet(scene)?;
    for node in ["node2", "node3"] {
        lab.power_off(node)?;
    }
    wait_for("node1 has lost the majority", BACK, || {
        Ok(desk.value("node1", UNREACHABLE)? == "2")
    })?;
    let name = "group_replication_force_members";
    let address = desk.value("node1", "SELECT @@GLOBAL.group_replication_local_address")?;
    desk.sql(
        "node1",
        &format!("SET GLOBAL {name} = '{address}'; SET GLOBAL {name} = ''"),
    )?;
    router(scene, "start")?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    for node in ["node2", "node3"] {
        lab.power_on(node)?;
    }
    for node in ["node2", "node3"] {
        scene.shows(&format!("why {node}"), &["quarantined"])?;
    }
    std::thread::sleep(2 * STILL);
    ensure!(desk.online("node1")? == ["node1"], "somebody came in by numbers");
    for node in ["node2", "node3"] {
        scene.start_anew(node)?;
    }
    one_lineage(desk)
}

/// An old copy of the coordinator's disk is put back: it does not lead what it has forgotten, until the epoch is raised.
pub fn old_disk(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    const STATE: &str = "/var/lib/clusterctl-coordinator";
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    let to = scene.secondary()?;
    lab.sh("node1", &format!("systemctl stop clusterctl-coordinator; rm -rf /root/old; cp -a {STATE} /root/old; systemctl start clusterctl-coordinator"))?;
    scene.whole(LATE)?;
    desk.ok(&format!("switchover --to {to}"))?;
    scene.whole(LATE)?;
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
    scene.whole(LATE)?;
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

fn answers(scene: &Scene<'_>, node: &str) -> Result<()> {
    wait_for(&format!("{node} answers"), BACK, || {
        scene.desk.value(node, "SELECT 1").map(|_| true)
    })
}

/// As a person does it: one makes the group, the others come in one after another.
fn by_hand(scene: &Scene<'_>, first: &str, others: &[&str]) -> Result<()> {
    answers(scene, first)?;
    scene.desk.sql(first, BOOTSTRAP)?;
    for other in others {
        answers(scene, other)?;
        wait_for(&format!("{other} is in"), BACK, || {
            if !scene.desk.online(first)?.iter().any(|host| host == other) {
                scene.desk.sql(other, "START GROUP_REPLICATION")?;
            }
            Ok(true)
        })?;
    }
    Ok(())
}
