//! Bootstrap, joins, leaves, failures.

use tokio::time::Instant;

use super::{BOOTSTRAP, GROUP, Net, Three, sleep};

#[tokio::test(start_paused = true)]
async fn a_bootstrap_is_a_new_prefix_and_joins_count_up() {
    let three = Three::new(1).await;
    assert_eq!(three.view(0).await, "", "no row before the first START");
    let begun = Instant::now();
    three.all[0].root(BOOTSTRAP).await.unwrap();
    assert!((1.0..1.3).contains(&begun.elapsed().as_secs_f64()));
    let first = three.view(0).await;
    assert!(first.ends_with(":1") && first.len() == 19, "{first}");
    three.start(1).await.unwrap();
    assert_eq!((three.counter(0).await, three.counter(1).await), (2, 2));
    three.start(2).await.unwrap();
    assert_eq!(three.counter(1).await, 3);
    three.stop(2).await;
    assert_eq!((three.view(2).await.as_str(), three.counter(0).await), ("", 4));
    assert_eq!(three.states(2).await, "OFFLINE");
    for place in [1, 0] {
        three.stop(place).await;
    }
    three.all[1].root(BOOTSTRAP).await.unwrap();
    let second = three.view(1).await;
    assert!(second.ends_with(":1") && second != first);
    let lineage = three.all[1].lineage().unwrap();
    assert_eq!(three.all[0].lineage().map(|lineage| lineage.number), lineage.parent);
    assert!(three.net.unknown().is_empty(), "{:?}", three.net.unknown());
}

#[tokio::test(start_paused = true)]
async fn a_write_comes_to_all() {
    let three = Three::formed(2).await;
    assert_eq!(three.write(0, 7).await.unwrap(), format!("{GROUP}:1"));
    sleep(0.1).await;
    assert!(three.all.iter().all(|server| server.holds(7)));
    assert_eq!(three.write(1, 8).await.unwrap_err().code, 1290);
    let received = three.value(1, "SELECT received_transaction_set FROM performance_schema.replication_connection_status WHERE channel_name = 'group_replication_applier'").await;
    assert_eq!(received, format!("{GROUP}:1"));
}

#[tokio::test(start_paused = true)]
async fn a_killed_primary_is_replaced_in_seven_seconds() {
    let three = Three::formed(3).await;
    let counter = three.counter(1).await;
    three.all[0].kill9();
    let begun = Instant::now();
    sleep(5.3).await;
    assert_eq!(three.states(1).await, "UNREACHABLE ONLINE ONLINE");
    while !three.all[1].takes_writes() {
        sleep(0.02).await;
    }
    let took = begun.elapsed().as_secs_f64();
    assert!((5.5..7.7).contains(&took), "{took}");
    assert_eq!(
        (three.counter(1).await, three.states(2).await.as_str()),
        (counter + 1, "ONLINE ONLINE")
    );
    three.write(1, 1).await.unwrap();
    three.all[0].start_process();
    sleep(3.0).await;
    assert_eq!(
        (three.states(0).await.as_str(), three.view(0).await.as_str()),
        ("OFFLINE", "")
    );
    three.start(0).await.unwrap();
    sleep(1.0).await;
    assert_eq!(
        (three.states(0).await.as_str(), three.counter(0).await),
        ("ONLINE ONLINE ONLINE", counter + 2)
    );
    assert!(three.all[0].holds(1) && !three.all[0].takes_writes());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_secondary_is_expelled_shows_an_old_view_and_comes_back() {
    let three = Three::formed(4).await;
    let (counter, old) = (three.counter(0).await, three.view(0).await);
    three.all[2].freeze();
    sleep(12.0).await;
    assert_eq!(
        (three.counter(0).await, three.states(0).await.as_str()),
        (counter + 1, "ONLINE ONLINE")
    );
    three.all[2].thaw();
    sleep(1.0).await;
    assert_eq!(
        (three.view(2).await, three.states(2).await),
        (old, "ONLINE ONLINE ONLINE".to_owned())
    );
    sleep(1.5).await;
    assert_eq!(
        (three.view(2).await.as_str(), three.states(2).await.as_str()),
        ("", "ERROR")
    );
    sleep(3.0).await;
    assert_eq!(
        (three.states(2).await.as_str(), three.counter(2).await),
        ("ONLINE ONLINE ONLINE", counter + 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_primary_without_majority_leaves_after_twenty_seconds_and_its_client_knows_nothing() {
    let three = Three::formed(5).await;
    let old = three.view(0).await;
    three.all[1].freeze();
    three.all[2].freeze();
    let begun = Instant::now();
    let error = three.write(0, 9).await.unwrap_err();
    assert_eq!(error.code, 3100);
    assert!(
        (24.5..27.0).contains(&begun.elapsed().as_secs_f64()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(three.view(0).await, old, "still told in ERROR");
    assert_eq!(
        three
            .value(0, "SELECT @@GLOBAL.super_read_only, @@GLOBAL.offline_mode")
            .await,
        "1"
    );
    assert_eq!(
        three.value(0, "SELECT @@GLOBAL.offline_mode").await,
        "0",
        "auto-rejoin has tries left"
    );
    three.all[1].thaw();
    three.all[2].thaw();
    sleep(10.0).await;
    assert!(three.all[1].takes_writes());
    assert_eq!(three.all[1].holds(9), three.all[2].holds(9));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_nobody_hangs_for_a_minute() {
    let three = Three::new(6).await;
    let begun = Instant::now();
    assert_eq!(three.start(0).await.unwrap_err().code, 3092);
    assert!(
        (60.5..62.0).contains(&begun.elapsed().as_secs_f64()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_start_changes_the_view_twice_and_its_numbers_are_used_again() {
    let three = Three::formed(7).await;
    three.write(0, 1).await.unwrap();
    three.stop(2).await;
    let counter = three.counter(0).await;
    let alone = format!(
        "SET GLOBAL super_read_only = OFF; SET GTID_NEXT = '{GROUP}:2'; INSERT INTO sim.written VALUES (50); SET GTID_NEXT = AUTOMATIC"
    );
    three.all[2].root(&alone).await.unwrap();
    assert_eq!(three.start(2).await.unwrap_err().code, 3092);
    sleep(0.1).await;
    assert_eq!(three.counter(0).await, counter + 2);
    assert_eq!(three.write(0, 2).await.unwrap(), format!("{GROUP}:2"));
    three.start(2).await.unwrap();
    sleep(1.0).await;
    assert_eq!(three.states(0).await, "ONLINE ONLINE ONLINE");
    let (gtid, one, two) = three.all[0].diverges(&three.all[2]).unwrap();
    assert_eq!((gtid, one.row, two.row), (format!("{GROUP}:2"), Some(2), Some(50)));
    assert_eq!(three.all[0].gtid_executed(), three.all[2].gtid_executed());
}

/// As the agent asks (agent/src/mysql/notice.rs).
#[tokio::test(start_paused = true)]
async fn a_notice_of_a_member_is_read_by_root_while_its_session_lasts() {
    const LEFT: &str = "SELECT CONVERT(v.variable_value USING utf8mb4) FROM performance_schema.user_variables_by_thread v JOIN performance_schema.threads t USING (thread_id) WHERE v.variable_name = 'clusterctl_notice' AND LENGTH(v.variable_value) <= 1048576 AND t.processlist_user LIKE 'mysql|_innodb|_cluster|_%' ESCAPE '|' AND t.connection_type = 'SSL/TLS' AND t.processlist_time <= 15 ORDER BY t.thread_id";
    let net = Net::new(8);
    let members = [("node1", "mysql_innodb_cluster_1"), ("node2", "mysql_innodb_cluster_2")];
    let server = net.add("node1", "6ced32ca-e649-11f1-bb94-02fc00000001");
    server.equip(GROUP, &members);
    assert!(server.start_process());
    sleep(3.0).await;
    let left = async || -> Vec<String> {
        let rows = server.root(LEFT).await.unwrap();
        rows.into_iter().flatten().flatten().collect()
    };
    let mut member = server.connect("mysql_innodb_cluster_2", "node1").await.unwrap();
    member
        .query("SET @clusterctl_notice = 'over the socket'")
        .await
        .unwrap();
    assert!(left().await.is_empty());
    let mut member = server.connect("mysql_innodb_cluster_2", "node2").await.unwrap();
    let text = r#"SET @clusterctl_notice = '{"cluster":"prod","x":"it''s"}'"#;
    member.query(text).await.unwrap();
    assert_eq!(left().await, [r#"{"cluster":"prod","x":"it's"}"#]);
    assert_eq!(member.query(LEFT).await.unwrap_err().code, 1142);
    drop(member);
    sleep(0.1).await;
    assert!(left().await.is_empty());
}
