//! The step against a mysqld that is made up: what each guard alone keeps from being started.

use std::sync::Arc;

use super::*;
use crate::host::fake::FakeHost;
use crate::mysql::fake::FakeMysqld;
use crate::steps::testing;

const OURS: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const OTHER: &str = "6ced32ca-e649-11f1-bb94-02fc00000001";

struct Run {
    cx: Context,
    mysqld: FakeMysqld,
    _dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mysqld = FakeMysqld::start();
        let (mut cx, _) = testing::context(Arc::new(FakeHost::new()), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets = mysqld.config().sockets.clone();
        cx.config = Arc::new(config);
        Self { cx, mysqld, _dir: dir }
    }

    /// Joins a group that has numbered nine transactions.
    async fn join(&self) -> Result<Done, Failure> {
        let wanted = crate::membership::tests::sample().group;
        let account = wanted.account.clone();
        let order = Order {
            group: &wanted,
            recovery: &Recovery::Incremental,
            account: &account,
            group_gtid: &format!("{OURS}:1-9"),
            history: None,
        };
        ensure(&order, &self.cx).await
    }

    async fn refused(&self) -> String {
        let failure = self.join().await.unwrap_err();
        self.mysqld
            .with(|server| assert!(server.starts.is_empty(), "started in spite of {failure}"));
        failure.code
    }
}

#[tokio::test]
async fn a_server_that_lacks_nothing_joins_with_the_flag_off() {
    let run = Run::new();
    run.mysqld.with(|server| {
        server.executed = format!("{OURS}:1-5");
        server.received = format!("{OURS}:1-9");
        // an agent was killed while it bootstrapped
        (server.flag, server.persisted_flag, server.offline_mode) = (true, true, true);
    });
    run.join().await.unwrap();
    run.mysqld
        .with(|server| assert_eq!((server.starts.as_slice(), server.offline_mode), (&[false][..], false)));
}

#[tokio::test]
async fn nothing_joins_below_a_promise_or_without_a_ledger() {
    let run = Run::new();
    let mut newer = run.cx.generation;
    newer.index += 1;
    run.cx.ledger.promise(&run.cx.cluster, newer).await.unwrap();
    assert_eq!(run.refused().await, "promised");
    run.mysqld
        .with(|server| assert!(server.log.is_empty(), "mysqld is not even asked"));

    let mut run = Run::new();
    // The lock goes with the ledger that holds it.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("ledger.json"), "{").unwrap();
    run.cx.ledger = Arc::new(crate::ledger::Ledger::open(elsewhere.path()));
    assert_eq!(run.refused().await, "ledger_lost");
}

#[tokio::test]
async fn transactions_that_the_group_has_not_keep_a_server_out_applied_or_only_received() {
    for received in [false, true] {
        let run = Run::new();
        run.mysqld.with(|server| {
            let sets = (format!("{OURS}:1-5,{OTHER}:1"), format!("{OURS}:1-9"));
            (server.executed, server.received) = if received { (sets.1, sets.0) } else { sets };
        });
        assert_eq!(run.refused().await, "errant_transactions");
        let run = Run::new();
        run.mysqld.with(|server| {
            let sets = (format!("{OURS}:1-12"), format!("{OURS}:1-9"));
            (server.executed, server.received) = if received { (sets.1, sets.0) } else { sets };
        });
        assert_eq!(run.refused().await, "group_gtid_outdated");
    }
}

/// START would hang for a minute, and the promise that a recovery of this group needs with it.
#[tokio::test]
async fn nothing_is_started_into_a_group_without_a_majority() {
    let mut run = Run::new();
    run.cx.peers = Arc::new(live::tests::NoMajority);
    run.mysqld.with(|server| {
        server.executed = format!("{OURS}:1-9");
        server.received = format!("{OURS}:1-9");
    });
    assert_eq!(run.refused().await, "group_not_live");
}

#[tokio::test]
async fn a_server_in_another_group_is_left_there() {
    let run = Run::new();
    run.mysqld
        .with(|server| (server.state, server.group_name) = ("ONLINE".to_owned(), "another".to_owned()));
    assert_eq!(run.refused().await, "other_group");
    run.mysqld.with(|server| assert_eq!(server.state, "ONLINE"));
}

/// After RESET BINARY LOGS AND GTIDS it seems to hold nothing: what is there would be the group's for all that anybody could tell.
#[tokio::test]
async fn data_that_no_transaction_stands_for_keep_a_server_out() {
    let run = Run::new();
    run.mysqld.with(|server| server.schemas = vec!["shop".to_owned()]);
    assert_eq!(run.refused().await, "foreign_data");
    run.mysqld.with(|server| server.executed = format!("{OURS}:1-5"));
    run.join().await.unwrap();
    let run = Run::new();
    run.join().await.unwrap();
}

/// What looks beside START breaks: the step fails before START has.
#[tokio::test]
async fn a_step_that_fails_beside_its_start_shuts_clients_out_again_after_it() {
    for (was_shut, state, is_shut) in [
        (true, "OFFLINE", true),
        (true, "ONLINE", false),
        (true, "RECOVERING", false),
        (false, "OFFLINE", false),
    ] {
        let run = Run::new();
        run.mysqld
            .with(|server| (server.start_goes_on, server.offline_mode) = (true, was_shut));
        let begun = |server: &mut crate::mysql::fake::Server| server.under_way.is_some();
        let watched = async {
            while !run.mysqld.with(begun) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            run.mysqld.with(|server| server.peers_may_read = false);
            tokio::time::sleep(Duration::from_millis(200)).await;
            run.mysqld.with(|server| {
                assert!(!server.offline_mode, "START goes on");
                (server.under_way, server.peers_may_read) = (None, true);
                server.state = state.to_owned();
            });
        };
        let (joined, ()) = tokio::join!(run.join(), watched);
        joined.unwrap_err();
        let shut = run.mysqld.with(|server| server.offline_mode);
        assert_eq!(shut, is_shut, "{was_shut}, then {state}");
    }
}

/// The agent was killed while START ran, which let clients in; the step that is sent again is refused by a guard.
#[tokio::test]
async fn a_step_that_is_sent_again_and_fails_shuts_clients_out_as_they_were_before_the_first() {
    for later in [0, 1] {
        let mut run = Run::new();
        run.mysqld.with(|server| server.offline_mode = true);
        let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
        debts::start::note(&run.cx, &mut db, false).await.unwrap();
        run.mysqld.with(|server| {
            server.offline_mode = false;
            server.schemas = vec!["shop".to_owned()];
        });
        run.cx.generation.index += later;
        assert_eq!(run.refused().await, "foreign_data");
        let shut = run.mysqld.with(|server| server.offline_mode);
        assert!(
            shut,
            "also of another order: a START of this run of mysqld let them in, and nobody since"
        );
    }
}

/// A person lets clients in afterwards.
#[tokio::test]
async fn a_step_that_has_brought_its_server_in_shuts_nobody_out_later() {
    let run = Run::new();
    run.mysqld.with(|server| server.offline_mode = true);
    run.join().await.unwrap();
    run.mysqld.with(|server| {
        assert!(!server.offline_mode);
        server.state = "OFFLINE".to_owned();
        server.schemas = vec!["shop".to_owned()];
        server.starts.clear();
    });
    assert_eq!(run.refused().await, "foreign_data");
    assert!(!run.mysqld.with(|server| server.offline_mode));
}

/// The agent was killed while START ran; the step that is sent again comes behind a promise.
#[tokio::test]
async fn a_step_that_may_not_enter_any_more_takes_back_what_its_start_has_left() {
    let run = Run::new();
    run.mysqld.with(|server| server.offline_mode = true);
    let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
    debts::start::note(&run.cx, &mut db, false).await.unwrap();
    run.mysqld.with(|server| server.offline_mode = false);
    let mut newer = run.cx.generation;
    newer.index += 1;
    run.cx.ledger.promise(&run.cx.cluster, newer).await.unwrap();
    assert_eq!(run.refused().await, "promised");
    assert!(run.mysqld.with(|server| server.offline_mode));
}
