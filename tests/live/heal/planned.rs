//! Somebody stops the primary in an orderly way: it is handed over first, with and without our programs.

use anyhow::{Result, ensure};

use super::scene::{PLANNED, STILL, Scene, figure, gap};
use crate::load::Writer;

/// What a package upgrade does.
pub fn mysqld_restarts(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    restart(scene, writer, "mysqld restarts").map(drop)
}

/// Neither agent nor coordinator is needed for the hand-over.
pub fn mysqld_restarts_alone(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let lab = &scene.desk.lab;
    let host = scene.primary()?;
    lab.sh("node1", "systemctl stop clusterctl-coordinator")?;
    lab.sh(host, "systemctl stop clusterctl-agent")?;
    let result = restart_on(scene, writer, host, "mysqld restarts without agent and coordinator");
    lab.sh(host, "systemctl start clusterctl-agent")?;
    lab.sh("node1", "systemctl start clusterctl-coordinator")?;
    result?;
    figure(&format!("{host}: ONLINE once they are there"), scene.back(host)?);
    Ok(())
}

fn restart(scene: &Scene<'_>, writer: &Writer, what: &str) -> Result<()> {
    let host = scene.primary()?;
    restart_on(scene, writer, host, what)?;
    figure(&format!("{host}: restarted to ONLINE"), scene.back(host)?);
    Ok(())
}

fn restart_on(scene: &Scene<'_>, writer: &Writer, host: &str, what: &str) -> Result<()> {
    let start = writer.mark();
    scene.desk.lab.sh(host, "systemctl restart mysql")?;
    writer.wait_for_write(writer.mark(), PLANNED)?;
    gap(what, writer.longest_gap_since(start), PLANNED)?;
    ensure!(scene.primary()? != host, "{host} was not handed over");
    short_transactions_are_not_waited_for(scene, host)
}

/// The server tells of its transactions from a cache that who asks too often keeps as it is: the hand-over then waited 4 s for what had
/// ended long ago.
fn short_transactions_are_not_waited_for(scene: &Scene<'_>, host: &str) -> Result<()> {
    let journal = "journalctl --no-pager -o cat -g 'the primary role was handed' | tail -n 1";
    let said = scene.desk.lab.sh(host, journal)?;
    ensure!(said.contains("was handed to"), "{host} says nothing of a hand-over");
    ensure!(
        !said.contains("ran on"),
        "nothing of the writer's takes so long: {said}"
    );
    Ok(())
}

/// The primary's host reboots.
pub fn host_reboots(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node2")?;
    let start = writer.mark();
    scene.desk.lab.reboot("node2")?;
    writer.wait_for_write(writer.mark(), PLANNED)?;
    gap("the primary's host reboots", writer.longest_gap_since(start), PLANNED)?;
    ensure!(scene.primary()? != "node2", "node2 was not handed over");
    figure("node2: booted to ONLINE", scene.back("node2")?);
    Ok(())
}

/// Stopped by a person: it stays so, and status says so; started by a person, the rest follows by itself.
pub fn mysqld_stopped(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let host = scene.primary()?;
    let start = writer.mark();
    scene.desk.lab.sh(host, "systemctl stop mysql")?;
    writer.wait_for_write(writer.mark(), PLANNED)?;
    gap(
        "the primary's mysqld is stopped",
        writer.longest_gap_since(start),
        PLANNED,
    )?;
    scene.says(&[host])?;
    scene.shows(&format!("why {host}"), &[host, "systemctl start"])?;
    std::thread::sleep(STILL);
    let unit = scene.desk.lab.sh(host, "systemctl is-active mysql || true")?;
    ensure!(unit.trim() == "inactive", "somebody started mysqld on {host}: {unit}");
    scene.desk.lab.sh(host, "systemctl start mysql")?;
    figure(&format!("{host}: started to ONLINE"), scene.back(host)?);
    Ok(())
}
