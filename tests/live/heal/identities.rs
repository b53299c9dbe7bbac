//! Who speaks as a host: two machines at once, one that was off for a moment, none any more because a certificate has expired.
//!
//! Each case ends with one agent per identity, the lives of certificates as they were, and nothing left of a copy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;
use serde_json::Value;

use super::histories::LATE;
use super::scene::{BACK, STILL, Scene, UNPLANNED, figure};
use crate::cluster::desk::{list, text};
use crate::cluster::enrolling;
use crate::load::Writer;

/// The member whose identity each case is about.
const HOST: &str = "node3";
/// Kind of the alarm in the journal.
const ALARM: &str = "two_machines";

/// Where the copy runs: a host with another address and another boot id.
const COPY_ON: &str = "router1";
/// The unit and the folder of the copy.
const COPY: &str = "copy-of-node3";
/// Five seconds until a silent machine loses its say, two more until the alarm ends (README), one until the next look, one to ask.
const ALARM_ENDS: Duration = Duration::from_secs(9);

/// A copied VM starts beside its original: an alarm, and nothing is ordered to either; with the copy gone healing goes on.
pub fn machine_cloned(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    follower(scene)?;
    let result = two_speak(scene, writer);
    let remove = format!(
        "systemctl kill -s KILL {COPY} 2>/dev/null; systemctl stop {COPY} 2>/dev/null; systemctl reset-failed {COPY} 2>/dev/null; rm -rf /root/{COPY}"
    );
    let removed = scene.desk.lab.sh(COPY_ON, &remove);
    result?;
    removed.map(drop)
}

fn two_speak(scene: &Scene<'_>, writer: &Writer) -> Result<()> {
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    let (before, operations) = (scene.newest()?, operations(scene)?);
    start_copy(scene)?;
    let begun = Instant::now();
    scene.told(before, ALARM, HOST)?;
    figure("the copy starts: to the alarm", begun.elapsed());
    let speak = format!("two machines speak as {HOST}");
    let replace = format!("clusterctl token create --host {HOST} --replace");
    scene.says(&["ALARM", &speak, "nothing is ordered to it"])?;
    scene.shows(&format!("why {HOST}"), &[&speak, "nothing is ordered there", &replace])?;
    scene.shows("hosts", &[&speak])?;
    // Neither a person's order nor one of healing reaches it.
    desk.refused(
        &format!("switchover --to {HOST}"),
        4,
        &[ALARM],
        &[&speak, &format!("clusterctl why {HOST}")],
    )?;
    desk.sql(HOST, "STOP GROUP_REPLICATION")?;
    std::thread::sleep(STILL);
    let online = desk.online(scene.primary()?)?;
    ensure!(
        !online.iter().any(|host| host == HOST),
        "{HOST} was brought in while two machines answer"
    );
    let ordered = self::operations(scene)?;
    ensure!(
        ordered == operations,
        "operations were begun while two machines answer: {operations} became {ordered}"
    );
    scene.says(&["ALARM", &speak])?;
    writer.wait_for_write(writer.mark(), UNPLANNED)?;
    // As a machine that is switched off: it closes no stream.
    lab.sh(COPY_ON, &format!("systemctl kill -s STOP {COPY}"))?;
    let stopped = Instant::now();
    wait_for("the alarm ends", BACK, || {
        let said = desk.ok("hosts")?;
        ensure!(!said.contains(&speak), "{said}");
        Ok(true)
    })?;
    let took = stopped.elapsed();
    figure("the copy is silent: to the end of the alarm", took);
    ensure!(took <= ALARM_ENDS, "the alarm lasted for {took:?}");
    scene.back(HOST)?;
    figure(
        &format!("the copy is silent: to {HOST} ONLINE again"),
        stopped.elapsed(),
    );
    scene.told(before, "member_rejoined", HOST)?;
    let alarms = scene.events(before, ALARM)?;
    ensure!(alarms.len() == 1, "the alarm is told again and again: {alarms:?}");
    Ok(())
}

/// Copies identity, ledger and configuration of the agent, as a snapshot of the machine does, and runs an agent of the same host name
/// from them.
fn start_copy(scene: &Scene<'_>) -> Result<()> {
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    let files = lab.sh(HOST, "tar -C / -c var/lib/clusterctl etc/clusterctl | base64 -w0")?;
    let unpack = format!("umask 077; mkdir -p /root/{COPY} && base64 -d | tar -C /root/{COPY} -x");
    desk.run(COPY_ON, "root", &["sh", "-c", &unpack], &files)?.success()?;
    let start = format!(
        "systemd-run -q --unit={COPY} -p BindPaths='/root/{COPY}/var/lib/clusterctl:/var/lib/clusterctl /root/{COPY}/etc/clusterctl:/etc/clusterctl' \
         -p TemporaryFileSystem=/run/clusterctl unshare --uts sh -c 'hostname {HOST}; exec clusterctl-agent run'"
    );
    lab.sh(COPY_ON, &start).map(drop)
}

/// Boots of a busy machine differ by less.
const SPREAD: Duration = Duration::from_secs(6);

/// Off and on within two seconds: no alarm, and its agent counts as soon as that of a host whose stream was silent for long.
pub fn power_cycle_of_two_seconds(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    follower(scene)?;
    let long = power_cycle(scene, Duration::from_secs(15))?;
    scene.whole(BACK)?;
    let short = power_cycle(scene, Duration::from_secs(2))?;
    ensure!(
        short <= long + SPREAD,
        "after two seconds without power its agent counts after {short:?}, after fifteen after {long:?}"
    );
    Ok(())
}

/// Answers how long after power-on what its agent says is certain.
fn power_cycle(scene: &Scene<'_>, off: Duration) -> Result<Duration> {
    let lab = &scene.desk.lab;
    let (before, clock) = (scene.newest()?, lab.sh("node1", "date +%s.%N")?);
    lab.power_off(HOST)?;
    std::thread::sleep(off);
    let begun = Instant::now();
    lab.power_on(HOST)?;
    wait_for(&format!("what the agent of {HOST} says is certain"), BACK, || {
        let cluster = scene.desk.cluster()?;
        let members = list(&cluster["members"]);
        let certain = |member: &Value| member["host"] == HOST && member["certainty"] == "certain";
        Ok(members.iter().any(certain))
    })?;
    let certain = begun.elapsed();
    // What is asserted is who speaks, and how soon. After so short an absence the old membership is still there, and START may hang for a minute.
    scene.back_within(HOST, LATE)?;
    let seconds = off.as_secs();
    figure(&format!("{seconds} s off: power-on to certain"), certain);
    figure(&format!("{seconds} s off: power-on to ONLINE"), begun.elapsed());
    let alarms = scene.events(before, ALARM)?;
    ensure!(alarms.is_empty(), "a power cycle raises an alarm: {alarms:?}");
    // The journal of events tells what lasted until a look; this one tells every such moment.
    let journal = format!(
        "journalctl -u clusterctl-coordinator --no-pager -o cat --since=@{} | grep 'two machines speak' || true",
        clock.trim()
    );
    let said = lab.sh("node1", &journal)?;
    ensure!(said.is_empty(), "a power cycle raises an alarm: {said}");
    Ok(certain)
}

/// Long enough to be renewed on a busy machine, short enough to wait for its end.
const LIFE: Duration = Duration::from_secs(15);
const SETTINGS: &str = "/etc/clusterctl/coordinator.toml";

/// A certificate that is renewed in time, then one that is not: the agent says so with the commands that help, and they do.
pub fn certificate_expires(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    follower(scene)?;
    let lab = &scene.desk.lab;
    let shorten = format!(
        "cp -a {SETTINGS} /root/coordinator.toml; printf '\\n[certificates]\\nagent_life = \"{}s\"\\n' >>{SETTINGS}; \
         systemctl restart clusterctl-coordinator",
        LIFE.as_secs()
    );
    lab.sh("node1", &shorten)?;
    let result = expire_and_return(scene);
    let restored = lab.sh(
        "node1",
        &format!("mv /root/coordinator.toml {SETTINGS}; systemctl restart clusterctl-coordinator"),
    );
    result?;
    restored?;
    // Its last one of seconds is renewed to the usual life.
    wait_for("the certificate has its usual life", BACK, || {
        let seconds = lab.sh(
            HOST,
            "openssl x509 -in /var/lib/clusterctl/identity/cert.pem -noout -checkend 86400 >/dev/null && echo long || echo short",
        )?;
        Ok(seconds.trim() == "long")
    })?;
    scene.whole(BACK)?;
    // What is ordered to it is done.
    scene.desk.sql(HOST, "STOP GROUP_REPLICATION")?;
    figure(&format!("{HOST}: stopped to ONLINE"), scene.back(HOST)?);
    Ok(())
}

fn expire_and_return(scene: &Scene<'_>) -> Result<()> {
    let (desk, lab) = (scene.desk, &scene.desk.lab);
    let uuid = desk.value(HOST, "SELECT @@server_uuid")?;
    wait_for("the coordinator answers", BACK, || desk.ok("hosts").map(|_| true))?;
    enroll(scene, " --force")?;
    let key = key(scene)?;
    // Longer than it lives: it was renewed.
    std::thread::sleep(LIFE + Duration::from_secs(2));
    desk.connected(&[HOST])?;
    let status = lab.sh(HOST, "clusterctl-agent status")?;
    ensure!(
        status.contains("connected to coordinator") && !status.contains("expired"),
        "{status}"
    );
    lab.sh(HOST, "systemctl stop clusterctl-agent")?;
    std::thread::sleep(LIFE + Duration::from_secs(1));
    lab.sh(HOST, "systemctl start clusterctl-agent")?;
    let replace = format!("clusterctl token create --host {HOST} --replace");
    let begun = Instant::now();
    wait_for("the agent says that its certificate has expired", BACK, || {
        let status = lab.sh(HOST, "clusterctl-agent status")?;
        let says = [
            "not connected: the certificate of the agent of node3 expired at",
            &replace,
            "clusterctl-agent enroll --token-file -",
        ];
        ensure!(says.iter().all(|words| status.contains(words)), "{status}");
        Ok(true)
    })?;
    figure("the agent starts: to what helps", begun.elapsed());
    // A field of the line: `journalctl -o verbose` shows it.
    let hints = lab.sh(
        HOST,
        "journalctl -u clusterctl-agent -b -n 40 --no-pager -o verbose --output-fields=HINT | grep HINT= || true",
    )?;
    ensure!(
        hints.contains(&replace),
        "the journal of {HOST} does not say what helps: {hints}"
    );
    scene.shows("hosts", &["expired", &replace])?;
    // As the hint has it.
    let said = enroll(scene, "")?;
    ensure!(
        said.contains("is connected"),
        "enrolled again, it is not connected: {said}"
    );
    desk.connected(&[HOST])?;
    ensure!(
        self::key(scene)? == key,
        "{HOST} has another key, although it had its own"
    );
    let same = desk.value(HOST, "SELECT @@server_uuid")?;
    ensure!(same == uuid, "{HOST} is another server: {uuid} became {same}");
    Ok(())
}

/// The two commands of the hint.
fn enroll(scene: &Scene<'_>, option: &str) -> Result<String> {
    let token = enrolling::new_token(scene.desk, &format!("--host {HOST} --replace"))?;
    let line = format!("clusterctl-agent enroll --token-file -{option}");
    let said = scene.desk.typed(HOST, "root", &line, &format!("{token}\n"))?;
    said.success().with_context(|| line)
}

fn key(scene: &Scene<'_>) -> Result<String> {
    scene
        .desk
        .lab
        .sh(HOST, "sha256sum </var/lib/clusterctl/identity/key.pem")
}

/// Makes another one the primary, if [`HOST`] is.
fn follower(scene: &Scene<'_>) -> Result<()> {
    if scene.primary()? == HOST {
        scene.lead("node2")?;
    }
    Ok(())
}

/// Kinds and numbers of the newest operations: the same as long as nothing was ordered.
fn operations(scene: &Scene<'_>) -> Result<String> {
    let operations = list(&scene.desk.json("ops list --limit 20")?["operations"]);
    let named = |operation: &Value| format!("{} {}", operation["id"], text(&operation["kind"]));
    Ok(operations.iter().map(named).collect::<Vec<_>>().join(", "))
}
