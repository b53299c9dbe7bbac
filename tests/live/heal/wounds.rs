//! One member is out of the group, whoever put it there: it comes back, or it is said why it does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use clusterctl_lab::{Direction, Lab};

use super::scene::{BACK, STILL, Scene, UNPLANNED, figure, gap};
use crate::cluster::desk::NODES;
use crate::load::Writer;

/// A write on a server that belongs to a group, outside the group.
const ASTRAY: &str = "SET GLOBAL super_read_only = OFF; CREATE DATABASE astray; CREATE TABLE astray.t (id INT PRIMARY KEY); SET GLOBAL super_read_only = ON";

/// By hand: on a secondary, with its clients locked out, too; on the primary.
pub fn group_stopped(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let (primary, secondary, before) = (scene.primary()?, scene.secondary()?, scene.newest()?);
    scene
        .desk
        .sql(secondary, "STOP GROUP_REPLICATION; SET GLOBAL offline_mode = ON")?;
    figure(&format!("{secondary}: stopped to ONLINE"), scene.back(secondary)?);
    scene.told(before, "member_rejoined", secondary)?;
    let start = writer.mark();
    scene.desk.sql(primary, "STOP GROUP_REPLICATION")?;
    scene.survives(writer, start, primary, "the primary leaves the group")?;
    figure(&format!("{primary}: stopped to ONLINE"), scene.back(primary)?);
    Ok(())
}

/// It replicates, and Router does not know it: as a join that ended between its last two steps leaves it.
pub fn row_deleted(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    let (primary, secondary, before) = (scene.primary()?, scene.secondary()?, scene.newest()?);
    let rows = "mysql_innodb_cluster_metadata.instances WHERE address";
    desk.sql(primary, &format!("DELETE FROM {rows} = '{secondary}:3306'"))?;
    clusterctl_lab::wait_for("the row is there again", BACK, || {
        Ok(desk.value(primary, &format!("SELECT COUNT(*) FROM {rows} = '{secondary}:3306'"))? == "1")
    })?;
    scene.told(before, "member_rejoined", secondary).map(drop)
}

/// Frozen, expelled, thawed.
pub fn secondary_frozen(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    frozen(scene, writer, scene.secondary()?)
}

/// The same with the primary: another one takes over, and the thawed one must not go on.
pub fn primary_frozen(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node2")?;
    frozen(scene, writer, "node2")?;
    ensure!(scene.primary()? != "node2", "the thawed one leads again");
    Ok(())
}

fn frozen(scene: &Scene<'_>, writer: &Writer, host: &str) -> Result<()> {
    let what = format!("{host} is frozen");
    expelled_by(scene, writer, host, &what, |lab| lab.freeze(host), |lab| lab.thaw(host))
}

/// Nothing gets through in either direction.
pub fn secondary_cut_off(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    cut_off(scene, writer, scene.secondary()?, Direction::Both)
}

/// What the others say is lost, what it says arrives.
pub fn secondary_is_deaf(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    cut_off(scene, writer, scene.secondary()?, Direction::Incoming)
}

/// What the primary says is lost, what the others say arrives.
pub fn primary_not_heard(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node2")?;
    cut_off(scene, writer, "node2", Direction::Outgoing)
}

fn cut_off(scene: &Scene<'_>, writer: &Writer, host: &str, direction: Direction) -> Result<()> {
    let what = format!("{host} is cut off");
    let cut = |lab: &Lab| lab.partition(host, direction);
    expelled_by(scene, writer, host, &what, cut, |lab| lab.heal(host))
}

/// A fault that lasts until the others have put the member out; then it ends, and the member comes back.
fn expelled_by(
    scene: &Scene<'_>,
    writer: &Writer,
    host: &str,
    what: &str,
    begin: impl FnOnce(&Lab) -> Result<()>,
    end: impl FnOnce(&Lab) -> Result<()>,
) -> Result<()> {
    let (lab, start) = (&scene.desk.lab, writer.mark());
    begin(lab)?;
    let expelled = scene.expelled(host);
    end(lab)?;
    expelled?;
    figure(&format!("{host}: back to ONLINE"), scene.back(host)?);
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    gap(what, writer.longest_gap_since(start), UNPLANNED)
}

/// A secondary cannot apply what it is sent, and goes to ERROR each time it tries: back-off, which is shown; then what was wrong is
/// put right.
pub fn applier_breaks(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let desk = scene.desk;
    let host = scene.secondary()?;
    desk.through(
        6446,
        "DROP TABLE IF EXISTS appdb.fragile; CREATE TABLE appdb.fragile (id INT AUTO_INCREMENT PRIMARY KEY)",
    )?;
    let unlogged = |sql: &str| {
        desk.sql(
            host,
            &format!("SET GLOBAL super_read_only = OFF; SET SESSION sql_log_bin = OFF; {sql}; SET GLOBAL super_read_only = ON"),
        )
    };
    clusterctl_lab::wait_for("the table is there", Duration::from_secs(10), || {
        Ok(desk.value(
            host,
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'appdb' AND table_name = 'fragile'",
        )? == "1")
    })?;
    unlogged("DROP TABLE appdb.fragile")?;
    desk.through(6446, "INSERT INTO appdb.fragile VALUES ()")?;
    scene.out(host)?;
    scene.says(&[host])?;
    // Whoever asks is told that it was tried, and when it is tried again.
    scene.shows(&format!("why {host}"), &[host, "attempt", "follows in"])?;
    unlogged("CREATE TABLE appdb.fragile (id INT AUTO_INCREMENT PRIMARY KEY)")?;
    figure(&format!("{host}: put right to ONLINE"), scene.back(host)?);
    Ok(())
}

/// A paused cluster is left alone, and says so; resumed, it is healed.
pub fn pause(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    scene.desk.ok("pause prod --reason upgrade")?;
    left_alone(scene, &["paused"])?;
    scene.desk.ok("resume prod").map(drop)
}

/// A host in maintenance is left alone, and says so; the coordinator being away changes nothing.
pub fn maintenance(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let host = scene.secondary()?;
    scene.desk.ok(&format!("maintenance on {host} --reason disks"))?;
    left_alone(scene, &["maintenance"])?;
    scene.desk.ok(&format!("maintenance off {host}")).map(drop)
}

fn left_alone(scene: &Scene<'_>, words: &[&str]) -> Result<()> {
    let host = scene.secondary()?;
    scene.desk.sql(host, "STOP GROUP_REPLICATION")?;
    scene.says(words)?;
    scene.shows(&format!("why {host}"), words)?;
    std::thread::sleep(STILL);
    let others: Vec<_> = NODES.into_iter().filter(|node| *node != host).collect();
    let seen = scene.desk.online(scene.primary()?)?;
    ensure!(seen == others, "{host} was touched: {seen:?} are ONLINE");
    Ok(())
}

/// It wrote while it was out: never back, never cloned over unasked, and said so everywhere.
pub fn errant(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let desk = scene.desk;
    if scene.primary()? == "node3" {
        scene.lead("node2")?;
    }
    let before = scene.newest()?;
    desk.ok("maintenance on node3 --reason test")?;
    desk.sql("node3", &format!("STOP GROUP_REPLICATION; {ASTRAY}"))?;
    desk.ok("maintenance off node3")?;
    scene.told(before, "member_quarantined", "node3")?;
    scene.says(&["node3", "quarantin"])?;
    let uuid = desk.value("node3", "SELECT @@server_uuid")?;
    scene.shows("why node3", &["quarantin", &uuid])?;
    // Neither a new life of the agent nor of the host changes its mind.
    desk.lab.reboot("node3")?;
    desk.connected(&["node3"])?;
    std::thread::sleep(STILL);
    ensure!(
        desk.value("node3", "SHOW DATABASES LIKE 'astray'")? == "astray",
        "what node3 alone held is gone"
    );
    ensure!(desk.online("node1")? == ["node1", "node2"], "node3 was let in");
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    let quarantined = scene.events(before, "member_quarantined")?;
    ensure!(quarantined.len() <= 2, "it is told again and again: {quarantined:?}");
    scene.start_anew("node3")?;
    scene.whole(BACK)
}
