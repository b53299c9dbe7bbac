//! Everybody is gone at once: the group is started once, from the member that has everything; or a person has to decide.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;

use super::scene::{BACK, Scene, figure};
use crate::cluster::desk::{Desk, NODES, list, text};
use crate::load::Writer;

/// How much later the last one gets power.
const LATE: Duration = Duration::from_secs(20);

/// All three lose power; the old primary, which may have more than the others, comes last.
pub fn all_lose_power(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node2")?;
    let lab = &scene.desk.lab;
    let before = scene.newest()?;
    lab.power_off_all(&NODES)?;
    std::thread::sleep(Duration::from_secs(1));
    let dark = writer.mark();
    lab.power_on("node3")?;
    lab.power_on("node1")?;
    std::thread::sleep(LATE);
    lab.power_on("node2")?;
    let booted = writer.mark();
    // A write may be through before the last one has booted, where rules allow it.
    let took = writer.wait_for_write(dark, BACK)?;
    figure("outage to the first write", took);
    figure("last host's boot to a write", writer.wait_for_write(booted, BACK)?);
    scene.whole(BACK)?;
    one_lineage(scene.desk)?;
    let recovered = scene.events(before, "cluster_recovered")?;
    ensure!(recovered.len() == 1, "the group was not started once: {recovered:?}");
    Ok(())
}

/// One of them stays away: refused with what is known, then the break-glass; the lost one comes back in the end.
pub fn one_stays_away(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    // The lost one is a secondary that is gone first, so that it holds nothing which the others have not.
    scene.lead("node1")?;
    let lab = &scene.desk.lab;
    lab.power_off("node2")?;
    lab.power_off_all(&["node1", "node3"])?;
    lab.power_on_all(&["node1", "node3"])?;
    scene.desk.connected(&["node1", "node3"])?;
    scene.says(&["node2"])?;
    refused(scene, "recover prod")?;
    let command = accepted(scene, "recover prod --without node2")?;
    let wrong = command.replace("--accept-loss ", "--accept-loss x");
    ensure!(scene.desk.ctl(&wrong)?.status != 0, "a wrong code is accepted: {wrong}");
    let begun = Instant::now();
    let now = writer.mark();
    scene.desk.ok(&command)?;
    figure(&format!("$ clusterctl {command}"), begun.elapsed());
    writer.wait_for_write(now, BACK)?;
    lab.power_on("node2")?;
    back_or_quarantined(scene, "node2")?;
    one_lineage(scene.desk)
}

/// A joiner dies in the third of a second in which a group of one lets it in: the group shows itself well, and commits nothing any more.
/// Status tells it, and the group is made anew.
pub fn joiner_dies_at_the_door(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    const SAYS: &str = "agreed on nothing";
    let desk = scene.desk;
    scene.lead("node1")?;
    desk.ok("pause prod --reason door")?;
    for node in ["node2", "node3"] {
        desk.sql(node, "STOP GROUP_REPLICATION")?;
    }
    wait_for("a joiner dies at the door", BACK, || dies_at_the_door(desk))?;
    let hangs = writer.mark();
    let alone = desk.value("node1", MEMBERS)?;
    ensure!(
        alone == "node1 ONLINE PRIMARY",
        "node1 does not show itself well: {alone}"
    );
    let hung = Instant::now();
    wait_for("status tells it", Duration::from_secs(20), || {
        Ok(desk.ok("status prod")?.contains(SAYS))
    })?;
    figure("the group has halted: status tells it", hung.elapsed());
    desk.ok("resume prod")?;
    // 40 s until it is certain, 80 s for STOP, and on a busy machine more.
    let took = writer.wait_for_write(hangs, Duration::from_secs(300))?;
    figure("the group has halted: the first write", took);
    scene.whole(BACK)?;
    one_lineage(desk)
}

const MEMBERS: &str = "SELECT GROUP_CONCAT(CONCAT_WS(' ', member_host, member_state, member_role)) \
                       FROM performance_schema.replication_group_members";

/// One try: mysqld on node3 is killed 420 ms after its START began. Whether node1 agrees on nothing since then; if not, all is as before.
fn dies_at_the_door(desk: &Desk) -> Result<bool> {
    const AGREED: &str = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Gr_last_consensus_end_timestamp'";
    desk.lab.sh(
        "node3",
        "mysqladmin --silent --wait=30 ping; (mysql -e 'START GROUP_REPLICATION' >/dev/null 2>&1 &); sleep 0.42; pkill -KILL -x mysqld",
    )?;
    std::thread::sleep(Duration::from_secs(1));
    let before = desk.value("node1", AGREED)?;
    std::thread::sleep(Duration::from_secs(4));
    if desk.value("node1", AGREED)? == before {
        return Ok(true);
    }
    // Too late: node1 had installed the view of two, and leaves it after a while.
    if desk.value("node1", MEMBERS)? != "node1 ONLINE PRIMARY" {
        desk.sql("node1", "STOP GROUP_REPLICATION")?;
        desk.sql("node1", super::histories::BOOTSTRAP)?;
    }
    Ok(false)
}

/// The command that accepts the loss, as the refusal of this one tells it: once it is known what those that answer hold.
pub fn accepted(scene: &Scene<'_>, line: &str) -> Result<String> {
    let without = line.split("prod ").nth(1).context("without whom")?;
    let mut hint = String::new();
    wait_for("the refusal names its way out", Duration::from_secs(30), || {
        hint = refused(scene, line)?;
        ensure!(hint.contains(&format!("{without} --accept-loss")), "{hint}");
        Ok(true)
    })?;
    let command = hint
        .split("clusterctl ")
        .map(|rest| rest.split(['`', '\n', '"']).next().unwrap_or_default().trim())
        .find(|rest| rest.contains("--accept-loss"));
    command
        .map(str::to_owned)
        .with_context(|| format!("the hint names no command with its code: {hint}"))
}

fn refused(scene: &Scene<'_>, line: &str) -> Result<String> {
    let error = scene.desk.refused(line, 3, &[], &["node2"])?;
    ensure!(!list(&error["facts"]).is_empty(), "{line} shows no facts: {error}");
    Ok(text(&error["hint"]))
}

fn back_or_quarantined(scene: &Scene<'_>, host: &str) -> Result<()> {
    let mut quarantined = false;
    wait_for(&format!("{host} is back or in quarantine"), BACK, || {
        let why = scene.desk.ok(&format!("why {host}"))?;
        quarantined = why.contains("quarantin");
        Ok(quarantined || scene.desk.online("node1")? == NODES)
    })?;
    if quarantined {
        crate::cluster::story::say(&format!(
            "                     {host} held more than the others: quarantined"
        ));
        scene.start_anew(host)?;
    }
    Ok(())
}

/// Each member's view descends from the same bootstrap.
pub fn one_lineage(desk: &Desk) -> Result<()> {
    let view = |host: &&str| {
        let id = desk.value(
            host,
            "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@server_uuid",
        )?;
        Ok(id.split(':').next().unwrap_or_default().to_owned())
    };
    let lineages = NODES.iter().map(view).collect::<Result<Vec<_>>>()?;
    ensure!(
        lineages.iter().all(|lineage| *lineage == lineages[0]),
        "members are in different groups: {lineages:?}"
    );
    Ok(())
}
