//! Machines and processes end without a word, and everything comes back by itself.

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;

use super::scene::{BACK, Scene, UNPLANNED, figure, gap};
use crate::cluster::desk::NODES;
use crate::load::Writer;

/// An orderly reboot of a secondary: hardly anybody notices.
pub fn secondary_reboots(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let (host, before) = (scene.secondary()?, scene.newest()?);
    let start = writer.mark();
    scene.desk.lab.reboot(host)?;
    figure(&format!("{host}: booted to ONLINE"), scene.back(host)?);
    gap("a secondary reboots", writer.longest_gap_since(start), UNPLANNED)?;
    scene.told(before, "member_rejoined", host).map(drop)
}

/// Power off, power on.
pub fn secondary_loses_power(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let (host, before) = (scene.secondary()?, scene.newest()?);
    let start = writer.mark();
    scene.desk.lab.power_off(host)?;
    scene.says(&[host])?;
    scene.shows(&format!("why {host}"), &[host])?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    scene.desk.lab.power_on(host)?;
    figure(&format!("{host}: booted to ONLINE"), scene.back(host)?);
    gap("a secondary loses power", writer.longest_gap_since(start), UNPLANNED)?;
    scene.told(before, "member_rejoined", host).map(drop)
}

/// Another one takes over; the old one comes back as a secondary.
pub fn primary_loses_power(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    if scene.primary()? == "node1" {
        // The coordinator's host has cases of its own.
        scene.lead("node2")?;
    }
    let (old, before) = (scene.primary()?, scene.newest()?);
    let start = writer.mark();
    scene.desk.lab.power_off(old)?;
    let new = scene.survives(writer, start, old, "the primary loses power")?;
    scene.desk.lab.power_on(old)?;
    figure(&format!("{old}: booted to ONLINE"), scene.back(old)?);
    ensure!(scene.primary()? == new, "the returning {old} took the role again");
    scene.told(before, "member_rejoined", old).map(drop)
}

/// `kill -9`: another one takes over, systemd starts the server, the agent or coordinator brings it back.
pub fn primary_is_killed(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let (old, before) = (scene.primary()?, scene.newest()?);
    let start = writer.mark();
    scene.desk.lab.sh(old, "systemctl kill -s KILL mysql")?;
    scene.survives(writer, start, old, "the primary's mysqld is killed")?;
    figure(&format!("{old}: ONLINE after that"), scene.back(old)?);
    scene.told(before, "member_rejoined", old).map(drop)
}

/// node1 holds the only coordinator and is a secondary.
pub fn coordinators_host_off(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node2")?;
    without_coordinator(scene, writer)
}

/// node1 holds the only coordinator and is the primary.
pub fn coordinator_and_primary_off(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    scene.lead("node1")?;
    without_coordinator(scene, writer)
}

fn without_coordinator(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    operator_on_node2(scene)?;
    let lab = &scene.desk.lab;
    lab.sh("node1", "systemctl stop clusterctl-coordinator")?;
    let leads = scene.primary()?;
    let killed = if leads == "node3" { "node2" } else { "node3" };
    lab.sh(killed, "systemctl kill -s KILL mysql")?;
    wait_for("its mysqld is gone from the group", UNPLANNED, || {
        Ok(!scene.desk.online(leads)?.contains(&killed.to_owned()))
    })?;
    figure("a secondary: killed to ONLINE, by its agent alone", scene.back(killed)?);
    let start = writer.mark();
    lab.power_off("node1")?;
    wait_for("node1 is expelled, somebody leads", UNPLANNED, || {
        Ok(scene.desk.online("node2")? == ["node2", "node3"] && scene.primary()? != "node1")
    })?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    gap(
        "the coordinator's host is off",
        writer.longest_gap_since(start),
        UNPLANNED,
    )?;
    let said = scene.desk.typed("node2", "admin", "clusterctl status", "")?;
    ensure!(
        said.status == 4 && said.stderr.contains("hint: "),
        "clusterctl without its coordinator: {said:?}"
    );
    lab.reboot("node3")?;
    figure("node3: booted to ONLINE, by its agent alone", scene.back("node3")?);
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    lab.power_on("node1")?;
    figure("node1: booted to ONLINE", scene.back("node1")?);
    Ok(())
}

/// The operator's program and certificate on node2, as an operator would have them on another machine.
fn operator_on_node2(scene: &Scene<'_>) -> Result<()> {
    let lab = &scene.desk.lab;
    lab.sh("node2", "command -v clusterctl >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq clusterctl >/dev/null 2>&1; usermod -aG clusterctl-admin admin")?;
    let files = lab.sh("node1", "cd /etc/clusterctl && tar -c ctl.toml operator | base64 -w0")?;
    let unpack =
        "mkdir -p /etc/clusterctl && cd /etc/clusterctl && base64 -d | tar -x && chgrp -R clusterctl-admin operator";
    scene
        .desk
        .run("node2", "root", &["sh", "-c", unpack], &files)?
        .success()?;
    let said = scene.desk.typed("node2", "admin", "clusterctl status", "")?;
    said.success().context("clusterctl on node2").map(drop)
}

/// Router's process is killed, its host reboots: it runs again.
pub fn router(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let before = scene.newest()?;
    let start = writer.mark();
    scene.desk.lab.sh("router1", "systemctl kill -s KILL mysqlrouter")?;
    writer.wait_for_write(writer.mark(), BACK)?;
    gap("Router is killed", writer.longest_gap_since(start), UNPLANNED)?;
    // One that systemd does not start again is started by the coordinator.
    let folder = "/run/systemd/system/mysqlrouter.service.d";
    let line = format!(
        "mkdir -p {folder}; printf '[Service]\\nRestart=no\\n' >{folder}/zz-test.conf; systemctl daemon-reload; \
         systemctl kill -s KILL mysqlrouter"
    );
    scene.desk.lab.sh("router1", &line)?;
    figure(
        "Router is killed, systemd leaves it: to a write",
        writer.wait_for_write(writer.mark(), BACK)?,
    );
    scene.told(before, "router_restarted", "router1")?;
    let start = writer.mark();
    scene.desk.lab.reboot("router1")?;
    writer.wait_for_write(writer.mark(), BACK)?;
    figure("write gap: Router's host reboots", writer.longest_gap_since(start));
    scene.desk.all_online(&NODES)
}
