//! Members leave and come back: by binary logs, by a copy, or not at all where they hold what the group has not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;
use serde_json::Value;

use super::desk::{Desk, NODES, list, text};
use super::forming::timed;
use super::story::say;

/// The primary moves, where it is told to and where it is not; the application's port follows.
pub fn switchover(desk: &Desk) -> Result<()> {
    desk.refused("switchover --to router1", 3, &["not_a_member"], &["node2"])?;
    timed(desk, "switchover --to node2")?;
    ensure!(
        desk.primary()? == "node2" && desk.value("node2", "SELECT @@super_read_only")? == "0",
        "node2 does not lead"
    );
    desk.already("switchover --to node2")?;
    super::reality::through_router(desk)?;
    timed(desk, "switchover")?;
    ensure!(desk.primary()? != "node2", "the primary did not move");
    if desk.primary()? != "node1" {
        timed(desk, "switchover --to node1")?;
    }
    ensure!(desk.primary()? == "node1", "node1 does not lead again");
    super::reality::members(desk)
}

/// node3 leaves, once the operator has agreed to what that costs.
pub fn remove(desk: &Desk) -> Result<()> {
    let error = desk.refused(
        "remove node3",
        3,
        &["lower_tolerance"],
        &["0 failures instead of 1", "--accept-lower-tolerance"],
    )?;
    ensure!(list(&error["facts"]).len() >= 2, "the numbers are not told: {error}");
    desk.all_online(&NODES)?;
    leave(desk)
}

fn leave(desk: &Desk) -> Result<()> {
    let account = format!("mysql_innodb_cluster_{}", desk.value("node3", "SELECT @@server_id")?);
    timed(desk, "remove node3 --accept-lower-tolerance")?;
    desk.all_online(&["node1", "node2"])?;
    let left = desk.value("node1", &format!("SELECT (SELECT COUNT(*) FROM mysql_innodb_cluster_metadata.instances) * 10 + (SELECT COUNT(*) FROM mysql.user WHERE user = '{account}')"))?;
    ensure!(left == "20", "rows and accounts of node3 after its removal: {left}");
    for host in ["node1", "node2"] {
        let seeds = desk.value(host, "SELECT @@group_replication_group_seeds")?;
        ensure!(!seeds.contains("node3"), "{host} would still ask node3: {seeds}");
    }
    ensure!(
        desk.value("node3", "SELECT @@super_read_only")? == "1",
        "a removed member takes writes"
    );
    let stopped = desk.value(
        "node3",
        "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state <> 'OFFLINE'",
    )?;
    ensure!(stopped == "0", "node3 is still in the group");
    desk.already("remove node3")?;
    let cluster = desk.cluster()?;
    ensure!(
        cluster["tolerates"] == 0 && list(&cluster["members"]).len() == 2,
        "{cluster}"
    );
    Ok(())
}

/// Writes on node3 outside its group, as somebody might who takes it for a server of its own.
fn on_node3(desk: &Desk, logged: bool, sql: &str) -> Result<()> {
    let log = if logged { "" } else { "SET SESSION sql_log_bin = OFF;" };
    desk.sql(
        "node3",
        &format!("SET GLOBAL super_read_only = OFF; {log} {sql}; SET GLOBAL super_read_only = ON"),
    )?;
    // The coordinator asks once a second; what it has not seen yet only the agent itself would refuse.
    std::thread::sleep(Duration::from_millis(2500));
    Ok(())
}

/// A table without primary key: named, and refused until it is gone.
pub fn no_primary_key(desk: &Desk) -> Result<()> {
    on_node3(
        desk,
        false,
        "CREATE DATABASE loose; SET SESSION sql_require_primary_key = OFF; CREATE TABLE loose.heap (a INT)",
    )?;
    let said = desk.ctl("check node3 -o json")?;
    ensure!(said.status == 3 && said.stdout.contains("loose.heap"), "{said:?}");
    desk.refused("join node3", 3, &["primary_keys"], &["loose.heap"])?;
    desk.all_online(&["node1", "node2"])?;
    on_node3(desk, false, "DROP DATABASE loose")?;
    desk.ctl("check node3")?.success().map(drop)
}

/// Back again with its data: only what it lacks is sent, and its mysqld goes on.
pub fn rejoin_by_binary_logs(desk: &Desk) -> Result<()> {
    let (uuid, process) = (
        desk.value("node3", "SELECT @@server_uuid")?,
        desk.process("node3", "mysql")?,
    );
    desk.through(
        6446,
        "CREATE TABLE IF NOT EXISTS appdb.missed (id INT PRIMARY KEY); REPLACE INTO appdb.missed VALUES (1), (2), (3)",
    )?;
    let dry = desk.json("join node3 --dry-run")?;
    // Whether it lacks anything is known up to a second late; either way no copy is planned.
    ensure!(
        dry["plan"]["report"].to_string().contains("incremental recovery"),
        "{dry}"
    );
    timed(desk, "join node3")?;
    desk.all_online(&NODES)?;
    ensure!(
        desk.value("node3", "SELECT COUNT(*) FROM appdb.missed")? == "3",
        "node3 lacks what was written without it"
    );
    ensure!(
        desk.value("node3", "SELECT @@server_uuid")? == uuid,
        "node3 is another server now"
    );
    ensure!(
        desk.process("node3", "mysql")? == process,
        "mysqld was restarted for nothing"
    );
    ensure!(
        desk.value("node3", "SELECT COUNT(*) FROM performance_schema.clone_status")? == "0",
        "it was cloned"
    );
    super::reality::members(desk)?;
    super::reality::member_accounts(desk)
}

/// Transactions that the group has not: shown and refused, also where a clone is asked for, and left as they are.
pub fn errant(desk: &Desk) -> Result<()> {
    leave(desk)?;
    on_node3(
        desk,
        true,
        "CREATE DATABASE errant; CREATE TABLE errant.t (id INT PRIMARY KEY)",
    )?;
    let uuid = desk.value("node3", "SELECT @@server_uuid")?;
    for line in [
        "join node3",
        "join node3 --recovery clone",
        "join node3 --recovery incremental",
    ] {
        desk.refused(line, 3, &["errant_transactions"], &[&uuid])?;
    }
    ensure!(
        desk.value(
            "node3",
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'errant'"
        )? == "1",
        "what was errant is gone"
    );
    ensure!(list(&desk.cluster()?["members"]).len() == 2, "node3 is half a member");
    desk.all_online(&["node1", "node2"])
}

/// A few hundred megabytes through the application's port.
pub fn load(desk: &Desk) -> Result<()> {
    desk.through(
        6446,
        "CREATE TABLE IF NOT EXISTS appdb.big (id BIGINT AUTO_INCREMENT PRIMARY KEY, filler MEDIUMBLOB NOT NULL)",
    )?;
    let begun = Instant::now();
    let row = "REPEAT(RANDOM_BYTES(1024), 32)";
    // 300 rows of 32 KiB: about 10 MB a statement, far below the group's limit for one transaction
    let insert = format!(
        "INSERT INTO appdb.big (filler) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT {row} FROM n;\n"
    );
    for _ in 0..6 {
        desk.through(6446, &insert.repeat(5))?;
    }
    let bytes = desk.through(6446, "SELECT SUM(LENGTH(filler)) FROM appdb.big")?;
    ensure!(bytes.parse::<u64>()? > 290_000_000, "{bytes} bytes were loaded");
    say(&format!(
        "           {:6.1} s  loading {} MB",
        begun.elapsed().as_secs_f32(),
        bytes.parse::<u64>()? / 1_000_000
    ));
    Ok(())
}

/// An empty host, and binary logs that do not hold everything any more: a copy, with its progress shown.
pub fn clone(desk: &Desk) -> Result<()> {
    desk.lab.sh(
        "node3",
        "systemctl stop mysql && find /var/lib/mysql -mindepth 1 -delete",
    )?;
    for host in ["node1", "node2"] {
        desk.sql(
            host,
            "FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY",
        )?;
        ensure!(
            !desk.value(host, "SELECT @@gtid_purged")?.is_empty(),
            "nothing was purged on {host}"
        );
    }
    // That the data is gone is seen a little later; until then the join is refused, as nobody knows what node3 holds.
    wait_for("a copy is planned", Duration::from_secs(30), || {
        let dry = desk.json("join node3 --dry-run")?;
        ensure!(dry["plan"].to_string().contains("a copy of"), "{dry}");
        Ok(true)
    })?;
    desk.refused(
        "join node3 --recovery incremental",
        3,
        &["incremental_not_possible"],
        &["--recovery clone"],
    )?;
    let begun = Instant::now();
    let said = desk.ctl("join node3 -v -o json")?;
    let progress = said.stderr.clone();
    let document: Value = serde_json::from_str(&said.success()?)?;
    say(&format!(
        "           {:6.1} s  $ clusterctl join node3 (a clone)",
        begun.elapsed().as_secs_f32()
    ));
    ensure!(document["operation"]["state"] == "done", "{document}");
    ensure!(
        progress.contains("cloning from") && progress.contains('%'),
        "the clone's progress is not shown: {progress}"
    );
    desk.all_online(&NODES)?;
    let status = desk.value(
        "node3",
        "SELECT CONCAT(state, ' ', error_no) FROM performance_schema.clone_status",
    )?;
    ensure!(status == "Completed 0", "clone_status of node3: {status}");
    super::reality::members(desk)?;
    super::reality::member_accounts(desk)?;
    super::metadata::the_shells_questions(desk)?;
    same_data(desk)
}

/// The same rows and sums on each member; Router's heartbeat, which goes on meanwhile, left out.
pub fn same_data(desk: &Desk) -> Result<()> {
    let tables = desk.column("node1", "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_schema IN ('appdb', 'mysql_innodb_cluster_metadata') AND table_type = 'BASE TABLE' AND table_name <> 'router_stats' ORDER BY 1")?;
    let question = format!("CHECKSUM TABLE {}", tables.join(", "));
    wait_for("members hold the same data", Duration::from_secs(30), || {
        let sums = NODES
            .iter()
            .map(|host| desk.sql(host, &question))
            .collect::<Result<Vec<_>>>()?;
        ensure!(sums.iter().all(|sum| *sum == sums[0]), "checksums differ: {sums:#?}");
        Ok(true)
    })
}

/// After the copy an ordinary return again.
pub fn leave_and_return(desk: &Desk) -> Result<()> {
    leave(desk)?;
    desk.through(6446, "REPLACE INTO appdb.missed VALUES (4)")?;
    let process = desk.process("node3", "mysql")?;
    timed(desk, "join node3")?;
    ensure!(
        desk.process("node3", "mysql")? == process,
        "mysqld was restarted for nothing"
    );
    desk.all_online(&NODES)?;
    same_data(desk)
}

/// Operations and events tell the story afterwards.
pub fn story_is_told(desk: &Desk) -> Result<()> {
    let ops = list(&desk.json("ops list --limit 1000")?["operations"]);
    let ids: Vec<u64> = ops.iter().filter_map(|op| op["id"].as_u64()).collect();
    ensure!(ids.len() == ops.len() && ids.is_sorted(), "{ids:?}");
    let newest = ops.last().context("no operation")?;
    ensure!(
        newest["title"] == "join node3" && newest["state"] == "done" && text(&newest["by"]).contains("admin"),
        "{newest}"
    );
    let id = &newest["id"];
    let shown = desk.ok(&format!("ops show {id}"))?;
    ensure!(shown.contains("join node3") && shown.contains("plan "), "{shown}");
    let document = desk.json(&format!("ops show {id}"))?;
    let plans = list(&document["plans"]);
    let steps = list(&plans.last().context("no plan")?["steps"]);
    ensure!(
        steps
            .iter()
            .any(|step| step["name"] == "join_group" && step["state"] == "changed"),
        "{document}"
    );
    ensure!(
        desk.ctl(&format!("ops watch {id}"))?.status == 0,
        "ops watch of an ended operation"
    );
    ensure!(
        desk.ok(&format!("ops cancel {id}"))?.contains("already so"),
        "an ended operation was cancelled"
    );
    let events = list(&desk.json("events --limit 1000")?["events"]);
    ensure!(
        !events.is_empty()
            && events
                .iter()
                .all(|event| !text(&event["kind"]).is_empty() && !text(&event["at"]).is_empty()),
        "{events:?}"
    );
    ensure!(
        events.iter().any(|event| text(&event["who"]).contains("admin")),
        "nobody stands in the journal"
    );
    let about = |word: &str| events.iter().any(|event| event.to_string().contains(word));
    ensure!(about("node3") && about("token") && about("prod"), "the story has gaps");
    Ok(())
}
