//! Relay logs, recovery, clones, metadata, accounts, variables.

use std::time::Duration;

use super::{GROUP, Three, sleep};

const CLONE: &str = "CLONE INSTANCE FROM 'm3'@'node1':3306 IDENTIFIED BY '' REQUIRE SSL";

#[tokio::test(start_paused = true)]
async fn what_was_received_is_applied_after_a_restart() {
    let three = Three::formed(41).await;
    three.all[1].set_lag(Duration::from_secs(20));
    for row in 1..=3 {
        three.write(0, row).await.unwrap();
    }
    sleep(0.1).await;
    assert!(three.all[1].gtid_executed().is_empty() && three.all[1].holds(3));
    let left = three.all[1]
        .connect("root", "node2")
        .await
        .unwrap()
        .execute(
            "SELECT GTID_SUBTRACT(received_transaction_set, @@GLOBAL.gtid_executed) FROM performance_schema.replication_connection_status WHERE channel_name = ?",
            &[Some("group_replication_applier".to_owned())],
        )
        .await
        .unwrap();
    assert_eq!(left.rows[0][0].as_deref(), Some(format!("{GROUP}:1-3").as_str()));
    three.all[1].kill9();
    three.all[1].set_lag(Duration::from_millis(2));
    three.all[1].start_process();
    sleep(10.0).await;
    assert!(three.all[1].gtid_executed().is_empty());
    three.start(1).await.unwrap();
    sleep(1.0).await;
    assert_eq!(three.all[1].gtid_executed().to_string(), format!("{GROUP}:1-3"));
}

#[tokio::test(start_paused = true)]
async fn a_new_primary_opens_when_it_has_applied_what_it_received() {
    let three = Three::formed(42).await;
    three.all[1].set_lag(Duration::from_secs(10));
    for row in 1..=3 {
        three.write(0, row).await.unwrap();
    }
    three.all[0].kill9();
    sleep(10.0).await;
    assert_eq!(three.states(1).await, "ONLINE ONLINE");
    assert!(!three.all[1].takes_writes());
    sleep(30.0).await;
    assert!(three.all[1].takes_writes() && three.all[1].holds(3));
}

#[tokio::test(start_paused = true)]
async fn what_the_donors_purged_ends_a_recovery_in_error() {
    let three = Three::formed(43).await;
    three.stop(2).await;
    three.write(0, 1).await.unwrap();
    sleep(0.1).await;
    three.all[0].purge_binlogs();
    three.all[1].purge_binlogs();
    three.start(2).await.unwrap();
    sleep(2.0).await;
    assert_eq!(
        (three.states(2).await.as_str(), three.states(0).await.as_str()),
        ("ERROR", "ONLINE ONLINE")
    );
    assert!(!three.all[2].holds(1));
}

#[tokio::test(start_paused = true)]
async fn a_clone_replaces_the_data_and_restarts_and_a_diverged_member_is_whole_again() {
    let three = Three::formed(44).await;
    three.write(0, 1).await.unwrap();
    three.stop(2).await;
    three.all[2]
        .root("SET GLOBAL super_read_only = OFF; INSERT INTO sim.written VALUES (9)")
        .await
        .unwrap();
    three.all[2]
        .root("SET GLOBAL clone_valid_donor_list = 'node1:3306'")
        .await
        .unwrap();
    let uuid = three.all[2].uuid();
    let server = three.all[2].clone();
    let clone = tokio::spawn(async move { server.root(CLONE).await });
    sleep(0.5).await;
    assert_eq!(three.all[2].root(CLONE).await.unwrap_err().code, 3634);
    assert!(clone.await.unwrap().unwrap_err().is_broken());
    sleep(4.0).await;
    let status = three.all[2].root("SELECT state, source, error_no, error_message, gtid_executed, CAST(begin_time AS CHAR), EXISTS (SELECT 1 FROM performance_schema.threads AS t WHERE t.processlist_id = c.pid) FROM performance_schema.clone_status AS c ORDER BY id DESC LIMIT 1").await.unwrap();
    assert_eq!(status[0][0].as_deref(), Some("Completed"));
    assert_eq!(three.all[2].uuid(), uuid);
    assert!(three.all[2].holds(1) && !three.all[2].holds(9));
    let change = "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'm3', SOURCE_PASSWORD = '' FOR CHANNEL 'group_replication_recovery'";
    three.all[2].root(change).await.unwrap();
    three.start(2).await.unwrap();
    sleep(1.0).await;
    assert_eq!(three.states(0).await, "ONLINE ONLINE ONLINE");
}

#[tokio::test(start_paused = true)]
async fn a_clone_outlives_its_client_and_ends_by_kill_query_with_nothing_left() {
    let three = Three::formed(46).await;
    three.write(0, 1).await.unwrap();
    three.stop(2).await;
    three.all[2]
        .root("SET GLOBAL clone_valid_donor_list = 'node1:3306'")
        .await
        .unwrap();
    let server = three.all[2].clone();
    let clone = tokio::spawn(async move { server.root(CLONE).await });
    sleep(0.5).await;
    clone.abort();
    sleep(0.1).await;
    let session = three.value(2, "SELECT c.pid FROM performance_schema.clone_status AS c JOIN performance_schema.threads AS t ON t.processlist_id = c.pid WHERE c.state = 'In Progress' AND c.destination = 'LOCAL INSTANCE'").await;
    three.all[2].root(&format!("KILL QUERY {session}")).await.unwrap();
    sleep(1.0).await;
    let status = three.value(2, "SELECT state, source, error_no, error_message, gtid_executed, CAST(begin_time AS CHAR), EXISTS (SELECT 1 FROM performance_schema.threads AS t WHERE t.processlist_id = c.pid) FROM performance_schema.clone_status AS c ORDER BY id DESC LIMIT 1").await;
    assert!(status.starts_with("Failed"), "{status}");
    assert!(three.all[2].gtid_executed().is_empty());
    let gone = three.all[2].root(&format!("KILL QUERY {session}")).await;
    assert_eq!(gone.unwrap_err().code, 1094);
}

#[tokio::test(start_paused = true)]
async fn power_lost_in_a_clone_leaves_nothing_and_a_busy_donor() {
    let three = Three::formed(45).await;
    three.write(0, 1).await.unwrap();
    three.stop(2).await;
    three.all[2]
        .root("SET GLOBAL clone_valid_donor_list = 'node1:3306'")
        .await
        .unwrap();
    let server = three.all[2].clone();
    let clone = tokio::spawn(async move { server.root(CLONE).await });
    sleep(1.0).await;
    three.all[2].power(false);
    three.all[2].power(true);
    three.all[2].start_process();
    sleep(4.0).await;
    assert!(clone.await.unwrap().is_err());
    assert!(three.all[2].gtid_executed().is_empty());
    three.all[2]
        .root("SET GLOBAL clone_valid_donor_list = 'node1:3306'")
        .await
        .unwrap();
    let busy = three.all[2].root(CLONE).await.unwrap_err();
    assert!(busy.code == 3862 && busy.message.contains("3634"), "{busy:?}");
    let mut member = three.all[0].connect("m3", "node3").await.unwrap();
    let list = member.query("SHOW PROCESSLIST").await.unwrap().rows;
    let left = list.iter().find(|row| row[4].as_deref() == Some("clone")).unwrap();
    member
        .query(&format!("KILL {}", left[0].clone().unwrap()))
        .await
        .unwrap();
    assert!(three.all[2].root(CLONE).await.unwrap_err().is_broken());
}

#[tokio::test(start_paused = true)]
async fn persisted_variables_survive_and_switches_are_checked() {
    let three = Three::new(46).await;
    let set = |sql: &'static str| three.all[0].root(sql);
    set("SET PERSIST_ONLY auto_increment_offset = 2").await.unwrap();
    assert_eq!(three.value(0, "SELECT @@GLOBAL.auto_increment_offset").await, "1");
    assert_eq!(set("SET GLOBAL port = 3307").await.unwrap_err().code, 1238);
    assert_eq!(
        set("SET GLOBAL super_read_only = 'EXPIRED'").await.unwrap_err().code,
        1231
    );
    assert_eq!(set("SET GLOBAL server_id = 'x'").await.unwrap_err().code, 1232);
    three.all[0].stop_process().await;
    assert!(!three.all[0].is_running());
    three.all[0].start_process();
    sleep(3.0).await;
    assert_eq!(three.value(0, "SELECT @@GLOBAL.auto_increment_offset").await, "2");
    assert_eq!(three.value(0, "SELECT @@GLOBAL.super_read_only").await, "1");
}

#[tokio::test(start_paused = true)]
async fn metadata_in_one_transaction_replicate() {
    let three = Three::formed(47).await;
    const SCHEMA: &str = "mysql_innodb_cluster_metadata";
    let mut session = three.all[0].connect("root", "node1").await.unwrap();
    let version = format!("SELECT major, minor, patch FROM {SCHEMA}.schema_version");
    assert_eq!(session.query(&version).await.unwrap_err().code, 1049);
    session
        .query(&format!(
            "CREATE DATABASE IF NOT EXISTS {SCHEMA} CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci"
        ))
        .await
        .unwrap();
    assert_eq!(session.query(&version).await.unwrap_err().code, 1146);
    session.query(&format!("USE `{SCHEMA}`")).await.unwrap();
    for part in [
        include_str!("../../../../../agent/src/mysql/metadata/tables.sql"),
        include_str!("../../../../../agent/src/mysql/metadata/views.sql"),
        include_str!("../../../../../agent/src/mysql/metadata/version.sql"),
    ] {
        for statement in part.split("\n$$").map(|s| {
            s.lines()
                .filter(|l| !l.starts_with("--") && !l.starts_with("DELIMITER"))
                .collect::<Vec<_>>()
                .join("\n")
        }) {
            if !statement.trim().is_empty() {
                session.query(&statement).await.unwrap();
            }
        }
    }
    let given = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>();
    session.query("START TRANSACTION").await.unwrap();
    let cluster = given(&[
        "c1",
        "prod",
        &format!(r#"{{"group_replication_group_name":"{GROUP}"}}"#),
        "{}",
    ]);
    session
        .execute(
            &format!("INSERT INTO {SCHEMA}.clusters (cluster_id, cluster_name) VALUES (?, ?)"),
            &cluster,
        )
        .await
        .unwrap();
    let instance = given(&[
        "c1",
        "node1:3306",
        "u1",
        "node1:3306",
        "{}",
        r#"{"server_id":1,"recoveryAccountUser":"m1"}"#,
    ]);
    session
        .execute(
            &format!("INSERT INTO {SCHEMA}.instances (cluster_id) VALUES (?)"),
            &instance,
        )
        .await
        .unwrap();
    let read =
        format!("SELECT cluster_name, cluster_id, group_name FROM {SCHEMA}.v2_gr_clusters ORDER BY cluster_id LIMIT 1");
    assert_eq!(session.query(&read).await.unwrap().rows.len(), 1, "its own change");
    sleep(0.1).await;
    assert!(three.all[1].root(&read).await.unwrap().is_empty());
    let before = three.all[0].gtid_executed().count();
    session.query("COMMIT").await.unwrap();
    sleep(0.1).await;
    assert_eq!(three.all[1].root(&read).await.unwrap()[0][2].as_deref(), Some(GROUP));
    assert_eq!(three.all[1].gtid_executed().count(), before + 1);
    let delete = format!(
        "DELETE FROM {SCHEMA}.instances WHERE (address = ? AND ? = '') OR (? <> '' AND mysql_server_uuid = ?) OR (address = ? AND JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.recoveryAccountUser')) = ?)"
    );
    let gone = session
        .execute(&delete, &given(&["node1:3306", "u2", "u2", "u2", "node1:3306", "m1"]))
        .await
        .unwrap();
    assert_eq!(gone.affected, 1);
}

#[tokio::test(start_paused = true)]
async fn an_applier_that_breaks_takes_its_member_out() {
    let three = Three::formed(48).await;
    three.all[2].break_applier(true);
    three.write(0, 1).await.unwrap();
    sleep(0.2).await;
    assert_eq!(three.states(2).await, "ERROR");
    assert_eq!(three.value(2, "SELECT @@GLOBAL.offline_mode").await, "1");
    assert_eq!(three.states(0).await, "ONLINE ONLINE");
    three.stop(2).await;
    // It is in the view before it applies what it had received, and leaves again.
    three.start(2).await.unwrap();
    sleep(0.2).await;
    assert_eq!(three.states(2).await, "ERROR");
    three.stop(2).await;
    three.all[2].break_applier(false);
    three.start(2).await.unwrap();
    sleep(1.0).await;
    assert!(three.all[2].holds(1));
}

/// As the real one does (docs/mysql-facts.md): the group is there at once, its founder leads when it has applied what it had received.
#[tokio::test(start_paused = true)]
async fn a_bootstrap_does_not_wait_for_what_was_received() {
    let three = Three::formed(50).await;
    three.all[1].set_lag(Duration::from_secs(5));
    for row in 1..=3 {
        three.write(0, row).await.unwrap();
    }
    sleep(0.1).await;
    for server in &three.all {
        server.kill9();
        server.start_process();
    }
    sleep(5.0).await;
    let before = three.all[1].gtid_executed().count();
    three
        .all[1]
        .root("SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; SET GLOBAL group_replication_bootstrap_group = OFF")
        .await
        .unwrap();
    assert_eq!(three.states(1).await, "RECOVERING");
    assert!(!three.all[1].takes_writes());
    sleep(20.0).await;
    assert_eq!(three.states(1).await, "ONLINE");
    assert!(three.all[1].takes_writes() && three.all[1].holds(3));
    assert!(three.all[1].gtid_executed().count() > before);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_gets_also_what_its_donor_has_received_and_not_applied() {
    let three = Three::formed(49).await;
    three.stop(2).await;
    let slow = Duration::from_secs(5);
    three.all[1].set_lag(slow);
    for row in 1..=4 {
        three.write(0, row).await.unwrap();
    }
    three.start(2).await.unwrap();
    sleep(25.0).await;
    assert_eq!(three.states(0).await, "ONLINE ONLINE ONLINE");
    assert!(three.all[2].gtid_executed() == three.all[0].gtid_executed());
}
