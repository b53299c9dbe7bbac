//! Rarer states: switchover, partitions, forced memberships, auto-rejoin that gives up, accounts that lack, joins side by side.

use super::{BOOTSTRAP, GROUP, Three, sleep};

#[tokio::test(start_paused = true)]
async fn a_switchover_keeps_the_view() {
    let three = Three::formed(21).await;
    let view = three.view(0).await;
    let sql = format!("SELECT group_replication_set_as_primary('{}', 5)", three.all[2].uuid());
    three.all[2].root(&sql).await.unwrap();
    sleep(0.1).await;
    assert!(three.all[2].takes_writes() && !three.all[0].takes_writes());
    assert_eq!(three.view(2).await, view);
    three.write(0, 1).await.unwrap_err();
    assert_eq!(three.write(2, 2).await.unwrap(), format!("{GROUP}:1"));
}

#[tokio::test(start_paused = true)]
async fn a_new_primary_takes_the_next_block_until_a_view_fills_the_gap() {
    let three = Three::formed(22).await;
    three.write(0, 1).await.unwrap();
    let sql = format!("SELECT group_replication_set_as_primary('{}', 5)", three.all[1].uuid());
    three.all[1].root(&sql).await.unwrap();
    assert_eq!(three.write(1, 2).await.unwrap(), format!("{GROUP}:1000001"));
    three.stop(2).await;
    assert_eq!(three.write(1, 3).await.unwrap(), format!("{GROUP}:2"));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_cut_off_never_leads_beside_the_new_one() {
    let three = Three::formed(23).await;
    for other in ["node2", "node3"] {
        three.net.cut("node1", other, true);
        three.net.cut(other, "node1", true);
    }
    for _ in 0..400 {
        sleep(0.1).await;
        let leaders = three.all.iter().filter(|server| server.takes_writes()).count();
        assert!(leaders <= 1);
    }
    assert!(three.all[1].takes_writes());
    assert_eq!(three.states(0).await, "ERROR");
    for other in ["node2", "node3"] {
        three.net.cut("node1", other, false);
        three.net.cut(other, "node1", false);
    }
    // Auto-rejoin has tried once, in vain, and tries again after five minutes.
    sleep(120.0).await;
    assert_eq!(three.states(0).await, "ERROR");
    sleep(300.0).await;
    assert_eq!(three.states(0).await, "ONLINE ONLINE ONLINE");
}

#[tokio::test(start_paused = true)]
async fn auto_rejoin_that_gives_up_shuts_clients_out() {
    let three = Three::formed(24).await;
    three.all[0]
        .root("SET GLOBAL group_replication_autorejoin_tries = 0")
        .await
        .unwrap();
    three.all[1].freeze();
    three.all[2].freeze();
    sleep(30.0).await;
    assert_eq!(three.value(0, "SELECT @@GLOBAL.offline_mode").await, "1");
    assert!(three.states(0).await.starts_with("ERROR"));
    three.stop(0).await;
    assert_eq!(three.states(0).await, "OFFLINE");
    assert_eq!(
        three.value(0, "SELECT @@GLOBAL.offline_mode").await,
        "1",
        "nothing of MySQL's lets clients in again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_forced_membership_with_dead_others_keeps_the_prefix_and_is_another_lineage() {
    let three = Three::formed(25).await;
    let (view, lineage) = (three.view(0).await, three.all[0].lineage().unwrap());
    three.all[1].kill9();
    three.all[2].kill9();
    sleep(8.0).await;
    assert!(!three.all[0].takes_writes());
    let server = three.all[0].clone();
    let waiting = tokio::spawn(async move { server.write("client", 5).await });
    three.all[0]
        .root("SET GLOBAL group_replication_force_members = 'node1:3306'")
        .await
        .unwrap();
    let forced = three.view(0).await;
    assert_eq!(forced.split(':').next(), view.split(':').next());
    assert!(waiting.await.unwrap().is_ok());
    let now = three.all[0].lineage().unwrap();
    assert_eq!(
        (now.prefix, now.parent, now.forced.is_some()),
        (lineage.prefix, Some(lineage.number), true)
    );
    three.all[0]
        .root("SET GLOBAL group_replication_force_members = ''")
        .await
        .unwrap();
    three.all[1].start_process();
    sleep(3.0).await;
    three.start(1).await.unwrap();
    sleep(1.0).await;
    assert!(three.all[1].holds(5));
}

#[tokio::test(start_paused = true)]
async fn a_forced_membership_beside_frozen_others_commits_what_nobody_else_has() {
    let three = Three::formed(26).await;
    three.all[1].freeze();
    three.all[2].freeze();
    sleep(9.0).await;
    let server = three.all[0].clone();
    let waiting = tokio::spawn(async move { server.write("client", 5).await });
    let begun = tokio::time::Instant::now();
    three.all[0]
        .root("SET GLOBAL group_replication_force_members = 'node1:3306'")
        .await
        .unwrap();
    assert!((29.0..48.0).contains(&begun.elapsed().as_secs_f64()));
    assert_eq!(waiting.await.unwrap().unwrap(), format!("{GROUP}:1"));
    assert!(three.states(0).await.starts_with("ERROR"));
    three.all[1].thaw();
    three.all[2].thaw();
    sleep(10.0).await;
    assert!(three.all[1].takes_writes() && !three.all[1].holds(5));
    assert_eq!(
        three.write(1, 6).await.unwrap(),
        format!("{GROUP}:1"),
        "the same number"
    );
    assert!(three.all[0].diverges(&three.all[1]).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_whose_account_was_dropped_does_not_come_in() {
    let three = Three::formed(27).await;
    three.stop(2).await;
    three.all[0].root("DROP USER IF EXISTS 'm3'@'%'").await.unwrap();
    sleep(0.1).await;
    assert_eq!(three.start(2).await.unwrap_err().code, 3092);
}

#[tokio::test(start_paused = true)]
async fn two_joins_at_the_same_moment_take_long() {
    let three = Three::new(28).await;
    three.all[0].root(BOOTSTRAP).await.unwrap();
    let begun = tokio::time::Instant::now();
    let (one, two) = tokio::join!(three.start(1), three.start(2));
    one.unwrap();
    two.unwrap();
    assert!(begun.elapsed().as_secs() > 10);
    sleep(1.0).await;
    assert_eq!(
        (three.counter(0).await, three.states(0).await.as_str()),
        (3, "ONLINE ONLINE ONLINE")
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_beside_the_old_incarnation_hangs_for_ninety_seconds() {
    let three = Three::formed(29).await;
    three.all[2].kill9();
    three.all[2].start_process();
    sleep(3.0).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(three.start(2).await.unwrap_err().code, 3092);
    assert!(
        (89.0..92.0).contains(&begun.elapsed().as_secs_f64()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let three = Three::formed(30).await;
        for row in 0..20 {
            three.write(0, row).await.unwrap();
        }
        three.all[0].power(false);
        sleep(20.0).await;
        let views = format!("{} {}", three.view(1).await, three.view(2).await);
        runs.push((views, three.all[1].rows()));
    }
    assert!(runs[0] == runs[1]);
}
