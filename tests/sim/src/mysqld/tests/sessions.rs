//! Connections: frozen servers, dying clients, packets with a deadline, rights, links.

use std::time::Duration;

use super::{GROUP, Three, sleep};

fn packet(deadline: &str) -> String {
    format!(
        "SET GLOBAL group_replication_bootstrap_group = IF(UNIX_TIMESTAMP(SYSDATE(6)) < {deadline}, 'ON', 'EXPIRED'); \
         SET GLOBAL group_replication_bootstrap_group = IF(@@GLOBAL.group_replication_bootstrap_group = 1 AND \
         UNIX_TIMESTAMP(SYSDATE(6)) < {deadline}, 'ON', 'EXPIRED'); START GROUP_REPLICATION; \
         SET GLOBAL group_replication_bootstrap_group = OFF"
    )
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_packet_in_a_frozen_mysqld_expires() {
    let three = Three::new(11).await;
    let deadline = three.value(0, "SELECT UNIX_TIMESTAMP(SYSDATE(6)) + 5").await;
    let mut session = three.all[0].connect("root", "node1").await.unwrap();
    three.all[0].freeze();
    let sent = tokio::spawn(async move { session.query(&packet(&deadline)).await });
    sleep(10.0).await;
    assert!(!sent.is_finished());
    three.all[0].thaw();
    assert_eq!(sent.await.unwrap().unwrap_err().code, 1231);
    assert_eq!(three.states(0).await, "OFFLINE");
    let deadline = three.value(0, "SELECT UNIX_TIMESTAMP(SYSDATE(6)) + 5").await;
    three.all[0].root(&packet(&deadline)).await.unwrap();
    assert!(three.all[0].takes_writes());
    assert_eq!(
        three
            .value(0, "SELECT @@GLOBAL.group_replication_bootstrap_group")
            .await,
        "0"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_client_sent_is_executed_after_the_thaw() {
    let three = Three::new(12).await;
    let mut session = three.all[0].connect("root", "node1").await.unwrap();
    three.all[0].freeze();
    let sent = tokio::time::timeout(Duration::from_secs(1), session.query(super::BOOTSTRAP)).await;
    assert!(sent.is_err());
    drop(session);
    sleep(30.0).await;
    three.all[0].thaw();
    sleep(2.0).await;
    assert!(three.all[0].takes_writes(), "nobody listens, and the group lives");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_ends_the_packet_with_the_flag_on() {
    let three = Three::new(13).await;
    three.all[0]
        .root("SET GLOBAL group_replication_local_address = ''")
        .await
        .unwrap();
    assert_eq!(three.all[0].root(super::BOOTSTRAP).await.unwrap_err().code, 3092);
    assert_eq!(
        three
            .value(0, "SELECT @@GLOBAL.group_replication_bootstrap_group")
            .await,
        "1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_start_is_seen_refuses_another_and_keeps_only_the_statistics_waiting() {
    let three = Three::new(14).await;
    three.all[0].root(super::BOOTSTRAP).await.unwrap();
    let joiner = three.all[1].clone();
    let start = tokio::spawn(async move { joiner.root("START GROUP_REPLICATION").await.map(drop) });
    sleep(0.3).await;
    assert_eq!(three.start(1).await.unwrap_err().code, 3663);
    let sql = "SELECT processlist_info FROM performance_schema.threads WHERE processlist_info REGEXP '(^|;) *(START|STOP) +GROUP_REPLICATION' LIMIT 1";
    assert_eq!(three.value(1, sql).await, "START GROUP_REPLICATION");
    assert_eq!(three.states(1).await, "OFFLINE", "not in the view yet");
    sleep(1.4).await;
    assert!(three.states(1).await.starts_with("ONLINE"));
    let asked = tokio::time::Instant::now();
    three.view(1).await;
    assert!(asked.elapsed() > Duration::from_millis(20), "waits until START returns");
    start.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn members_accounts_read_two_tables_and_enter_under_offline_mode() {
    let three = Three::formed(15).await;
    let states = "SELECT member_id IN ('', @@GLOBAL.server_uuid), member_state, member_role, member_id FROM performance_schema.replication_group_members";
    three.all[1].root("SET GLOBAL offline_mode = ON").await.unwrap();
    let mut session = three.all[1].connect("m1", "node1").await.unwrap();
    assert_eq!(session.query(states).await.unwrap().rows.len(), 3);
    assert_eq!(three.all[1].connect("nobody", "node1").await.err().unwrap().code, 1045);
    three.all[0]
        .root("CREATE USER IF NOT EXISTS 'plain'@'%' REQUIRE ISSUER '/CN=a' SUBJECT '/CN=b' PASSWORD EXPIRE NEVER")
        .await
        .unwrap();
    sleep(0.1).await;
    assert_eq!(three.all[1].connect("plain", "node1").await.err().unwrap().code, 3032);
    let mut plain = three.all[2].connect("plain", "node1").await.unwrap();
    assert_eq!(plain.query(states).await.unwrap_err().code, 1142);
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_keeps_answers_back_and_a_killed_server_breaks_its_connections() {
    let three = Three::formed(16).await;
    let mut session = three.all[0].connect("m2", "client").await.unwrap();
    three.net.cut("node1", "client", true);
    let asked = tokio::spawn(async move {
        let answer = session.query("SELECT 1").await;
        (session, answer)
    });
    sleep(5.0).await;
    assert!(!asked.is_finished());
    three.net.cut("node1", "client", false);
    let (mut session, answer) = asked.await.unwrap();
    assert!(answer.is_ok());
    three.all[0].kill9();
    assert!(session.query("SELECT 1").await.unwrap_err().is_broken());
    assert_eq!(three.all[0].connect("root", "node1").await.err().unwrap().code, 2003);
    three.all[0].power(false);
    let never = tokio::time::timeout(Duration::from_secs(30), three.all[0].connect("m2", "client"));
    assert!(never.await.is_err(), "a host without power says nothing");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_statement_is_counted() {
    let three = Three::new(17).await;
    let error = three.all[0].root("OPTIMIZE TABLE t").await.unwrap_err();
    assert!(error.code == 1105 && error.message.contains("OPTIMIZE"), "{error:?}");
    assert_eq!(three.net.unknown().len(), 1);
    assert_eq!(
        three.all[0]
            .root("SELECT @@GLOBAL.nothing_such")
            .await
            .unwrap_err()
            .code,
        1193
    );
    assert_eq!(three.net.unknown().len(), 1);
    assert!(GROUP.len() == 36);
}
