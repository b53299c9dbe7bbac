//! The copy against a mysqld that is made up: what is overwritten, and what the ledger says of the data meanwhile.

use std::sync::{Arc, Mutex};

use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::lineage::{LineageId, Span, Stay};
use clusterctl_proto::observe::MemberRole;
use clusterctl_proto::step::{History, Recovery};
use futures_util::future::{BoxFuture, ready};

use super::*;
use crate::host::fake::FakeHost;
use crate::mysql::fake::{FakeMysqld, Server};
use crate::mysql::peer::{Answer, InGroup, Peers};
use crate::steps::{history, join_group, testing};

const OTHER: &str = "6ced32ca-e649-11f1-bb94-02fc00000009";
/// What the made-up mysqld says of itself.
const SERVER: &str = "6ced32ca-e649-11f1-bb94-02fc00000001";

fn id(text: &str) -> LineageId {
    text.parse().unwrap()
}

fn uuid() -> ServerUuid {
    SERVER.parse().unwrap()
}

/// What node2 says when it is asked, one after another; the last one for ever.
struct Donor(Mutex<Vec<Answer>>);

impl Peers for Donor {
    fn ask<'a>(&'a self, address: &'a str, _: &'a str) -> BoxFuture<'a, Answer> {
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        };
        Box::pin(ready(if address == "node2:3306" { next } else { Answer::InNone }))
    }
}

/// A member of the group in this view.
fn in_view(view_id: &str, state: MemberState) -> Answer {
    Answer::InGroup(InGroup {
        name: crate::membership::tests::sample().group.group_name.to_string(),
        view_id: view_id.to_owned(),
        state,
        role: MemberRole::Secondary,
        others: 1,
        majority: true,
        writable: false,
        gtid_executed: String::new(),
        online: Vec::new(),
    })
}

fn inside() -> Answer {
    in_view("1:3", MemberState::Online)
}

/// Changes this host's mysqld whenever node2 is asked: directly before the copy.
struct Meanwhile(Arc<Mutex<Server>>, fn(&mut Server));

impl Peers for Meanwhile {
    fn ask<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Answer> {
        self.1(&mut self.0.lock().unwrap());
        Box::pin(ready(inside()))
    }
}

struct Run {
    cx: Context,
    mysqld: FakeMysqld,
    ours: String,
    _dir: tempfile::TempDir,
}

impl Run {
    /// A member of lineage 1 that is out, holds a part of what the group has, and is to be copied.
    async fn new() -> Self {
        Self::with_donor(vec![inside()]).await
    }

    /// The same, with a donor that answers this.
    async fn with_donor(answers: Vec<Answer>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mysqld = FakeMysqld::start();
        let (mut cx, _) = testing::context(Arc::new(FakeHost::new()), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets = mysqld.config().sockets.clone();
        cx.config = Arc::new(config);
        cx.peers = Arc::new(Donor(Mutex::new(answers)));
        let ours = crate::membership::tests::sample().group.group_name.to_string();
        mysqld.with(|server| {
            server.executed = format!("{ours}:1-5");
            server.donor_holds = format!("{ours}:1-12");
        });
        let run = Self {
            cx,
            mysqld,
            ours,
            _dir: dir,
        };
        let change = |record: &mut crate::lineage::Record| record.enter(uuid(), id("1"), String::new());
        run.cx.ledger.change_lineage(&run.cx.cluster, change).await.unwrap();
        run
    }

    fn history() -> History {
        History {
            group: id("1"),
            lineages: Default::default(),
        }
    }

    async fn copy(&self) -> Result<Done, Failure> {
        let wanted = crate::membership::tests::sample().group;
        let history = Self::history();
        let copy = Copy {
            donor: "node2",
            port: 3306,
            account: &wanted.account,
            group_gtid: &format!("{}:1-9", self.ours),
            group_name: wanted.group_name,
            history: Some(&history),
        };
        ensure(&copy, &self.cx).await
    }

    async fn join(&self) -> Result<Done, Failure> {
        self.join_by(&Recovery::Incremental).await
    }

    async fn join_by(&self, recovery: &Recovery) -> Result<Done, Failure> {
        let wanted = crate::membership::tests::sample().group;
        let account = wanted.account.clone();
        let history = Self::history();
        let order = join_group::Order {
            group: &wanted,
            recovery,
            account: &account,
            group_gtid: &format!("{}:1-20", self.ours),
            history: Some(&history),
        };
        join_group::ensure(&order, &self.cx).await
    }

    /// node2 vouches for what it gave in these views. Answers whether this server's data count as proven.
    async fn vouched(&self, since: u64, until: u64) -> bool {
        let stay = Stay {
            address: "node2:3306".to_owned(),
            id: id("1"),
            span: Span { since, until },
        };
        let change = move |record: &mut crate::lineage::Record| record.vouched(&[stay]);
        self.cx.ledger.change_lineage(&self.cx.cluster, change).await.unwrap();
        let record = self.cx.ledger.lineage(&self.cx.cluster).unwrap();
        assert_ne!(record.verified(uuid()).is_some(), self.half_copied());
        record.verified(uuid()) == Some(&id("1"))
    }

    fn clones(&self) -> usize {
        self.mysqld
            .with(|server| server.log.iter().filter(|sql| sql.starts_with("CLONE")).count())
    }

    fn half_copied(&self) -> bool {
        let told = self.cx.ledger.facts().half_copied.get(&self.cx.cluster).copied();
        assert!(told.is_none() || told == Some(uuid()));
        told.is_some()
    }

    async fn refused(&self) -> String {
        let failure = self.copy().await.unwrap_err();
        assert_eq!(self.clones(), 0, "copied in spite of {failure}");
        assert!(!self.half_copied());
        failure.code
    }
}

#[tokio::test]
async fn the_copy_is_of_the_groups_lineage_and_enters_nothing() {
    let run = Run::new().await;
    run.copy().await.unwrap();
    run.mysqld.with(|server| {
        assert_eq!(server.executed, server.donor_holds);
        assert!(server.starts.is_empty(), "the entry is another step");
    });
    // Until the donor has vouched for it, it is half of a copy.
    assert!(run.half_copied());
    assert_eq!(run.join().await.unwrap_err().code, "half_copied");
    assert!(!run.vouched(0, 2).await, "it may have got other data since");
    assert!(!run.vouched(4, 9).await, "its data were replaced meanwhile");
    assert!(run.vouched(0, 3).await);
    // The same order again finds it done, and vouched for.
    run.copy().await.unwrap();
    assert_eq!((run.clones(), run.half_copied()), (1, false));
    // What it holds is measured as any member's.
    run.join().await.unwrap();
    run.mysqld.with(|server| assert_eq!(server.starts, [false]));
}

#[tokio::test]
async fn half_of_a_copy_is_entered_with_by_nobody() {
    let run = Run::new().await;
    run.mysqld.with(|server| server.clone_fails = Some(3862));
    assert_eq!(run.copy().await.unwrap_err().code, "clone_failed");
    assert!(run.half_copied(), "told before the first byte was dropped");
    assert!(run.mysqld.with(|server| server.super_read_only), "closed again");
    assert_eq!(run.join().await.unwrap_err().code, "half_copied");
    // What it seems to hold does not matter.
    run.mysqld.with(|server| server.executed = format!("{}:1-5", run.ours));
    assert_eq!(run.join().await.unwrap_err().code, "half_copied");
    let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
    let bootstrap = history::before_bootstrap(Some(&id("1")), &mut db, &run.cx).await;
    assert_eq!(bootstrap.unwrap_err().code, "half_copied");
    assert!(run.mysqld.with(|server| server.starts.is_empty()));
    // Neither does a restart of the agent forget it.
    let facts = crate::ledger::Ledger::look(&run.cx.config.state_dir);
    assert_eq!(facts.half_copied.get(&run.cx.cluster), Some(&uuid()));
    // A complete copy ends it.
    run.mysqld.with(|server| server.clone_fails = None);
    run.copy().await.unwrap();
    assert!(run.vouched(0, 3).await);
    run.join().await.unwrap();
}

/// A join that copies and starts in one step.
#[tokio::test]
async fn nothing_is_started_with_a_copy_that_nobody_has_vouched_for() {
    let run = Run::new().await;
    let by_copy = Recovery::Clone {
        donor: "node2".parse().unwrap(),
        port: 3306,
    };
    let failure = run.join_by(&by_copy).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retry), ("half_copied", true));
    assert!(run.mysqld.with(|server| server.starts.is_empty()));
    assert!(run.vouched(0, 3).await);
    run.join_by(&by_copy).await.unwrap();
    assert_eq!(run.clones(), 1);
    run.mysqld.with(|server| assert_eq!(server.starts, [false]));
}

#[tokio::test]
async fn data_that_the_group_has_not_are_not_replaced() {
    for received in [false, true] {
        let run = Run::new().await;
        run.mysqld.with(|server| {
            let more = format!("{}:1-5,{OTHER}:1", run.ours);
            if received {
                server.received = more;
            } else {
                server.executed = more;
            }
        });
        assert_eq!(run.refused().await, "errant_transactions");
    }
    // Numbers prove nothing in another lineage.
    let run = Run::new().await;
    let change = |record: &mut crate::lineage::Record| record.enter(uuid(), id("7"), String::new());
    run.cx.ledger.change_lineage(&run.cx.cluster, change).await.unwrap();
    assert_eq!(run.refused().await, "history_unknown");
}

#[tokio::test]
async fn a_server_that_serves_or_has_promised_is_not_replaced() {
    let run = Run::new().await;
    run.mysqld.with(|server| server.state = "ONLINE".to_owned());
    assert_eq!(run.refused().await, "in_group");

    let run = Run::new().await;
    let mut newer = run.cx.generation;
    newer.index += 1;
    run.cx.ledger.promise(&run.cx.cluster, newer).await.unwrap();
    assert_eq!(run.refused().await, "promised");
    run.mysqld
        .with(|server| assert!(server.log.is_empty(), "mysqld is not even asked"));
}

/// A person stopped Group Replication on the primary and on the donor, and bootstrapped the donor by hand while it was copied from.
#[tokio::test]
async fn a_copy_is_not_the_groups_when_its_donor_has_left_the_group_meanwhile() {
    let lost = [
        in_view("9:1", MemberState::Online),
        in_view("1:4", MemberState::Error),
        Answer::InNone,
        Answer::Unknown("no answer".to_owned()),
        in_view("", MemberState::Online),
    ];
    for later in lost {
        let run = Run::with_donor(vec![inside(), later.clone()]).await;
        let failure = run.copy().await.unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.retry),
            ("donor_left", true),
            "{later:?}"
        );
        assert_eq!(run.clones(), 1);
        assert!(run.half_copied(), "{later:?}: what is here is not known");
        assert_eq!(run.join().await.unwrap_err().code, "half_copied");
        // The same order again finds the copy complete, and asks the donor, too.
        assert_eq!(run.copy().await.unwrap_err().code, "donor_left");
        assert!(run.half_copied());
        assert_eq!(run.clones(), 1);
    }
}

#[tokio::test]
async fn nothing_is_replaced_by_the_data_of_a_donor_that_is_not_in_the_group() {
    for first in [in_view("9:1", MemberState::Online), Answer::InNone] {
        let run = Run::with_donor(vec![first]).await;
        assert_eq!(run.refused().await, "donor_left");
    }
}

/// It joined a moment ago, or one packet was lost.
#[tokio::test]
async fn a_donor_that_does_not_tell_at_once_is_asked_again() {
    let silent = Answer::Unknown("no answer".to_owned());
    let late = in_view("", MemberState::Online);
    let forced = in_view("1:9", MemberState::Online);
    let run = Run::with_donor(vec![silent.clone(), inside(), late, silent, forced]).await;
    run.copy().await.unwrap();
    assert!(
        !run.vouched(0, 8).await && !run.vouched(4, 9).await,
        "from before the copy to its end"
    );
    assert!(run.vouched(3, 9).await);
}

/// This server is no member yet, so the keeper would not close it.
#[tokio::test]
async fn a_server_is_closed_again_where_the_copy_that_it_was_opened_for_was_another_one() {
    let run = Run::new().await;
    let state = |state: &str| Some((state.to_owned(), "node3:3306".to_owned()));
    run.mysqld.with(|server| server.cloned = state("In Progress"));
    let watched = async {
        while run.clones() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            !run.mysqld.with(|server| server.super_read_only),
            "a clone drops data only so"
        );
        run.mysqld.with(|server| server.cloned = state("Failed"));
    };
    let (copied, ()) = tokio::join!(run.copy(), watched);
    assert_eq!(copied.unwrap_err().code, "clone_failed");
    assert!(run.mysqld.with(|server| server.super_read_only));
}

#[tokio::test]
async fn the_clone_that_an_earlier_agent_began_for_this_order_is_ended_with_it_and_no_other_orders() {
    let mut run = Run::new().await;
    run.mysqld.with(|server| server.clone_goes_on = true);
    for _ in 0..2 {
        // The agent is killed; mysqld refuses the second CLONE, since the first one goes on.
        let killed = tokio::time::timeout(Duration::from_millis(400), run.copy());
        assert!(killed.await.is_err());
    }
    assert_eq!(run.clones(), 2);
    let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
    let state = || run.mysqld.with(|server| server.cloned.clone()).unwrap().0;
    run.cx.generation.index += 1;
    assert!(!debts::copy::end(&run.cx, &mut db).await.unwrap());
    assert_eq!(state(), "In Progress");
    run.cx.generation.index -= 1;
    assert!(debts::copy::end(&run.cx, &mut db).await.unwrap());
    assert_eq!(state(), "Failed");
}

/// The agent was killed while it copied, and mysqld restarted: a person's clone runs in a session of the same number.
#[tokio::test]
async fn a_clone_in_another_run_of_mysqld_is_not_this_orders() {
    let run = Run::new().await;
    run.mysqld.with(|server| server.clone_goes_on = true);
    let killed = tokio::time::timeout(Duration::from_millis(400), run.copy());
    assert!(killed.await.is_err());
    run.mysqld.with(|server| server.run = "2026-01-01 00:00:30".to_owned());
    let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
    let state = || run.mysqld.with(|server| server.cloned.clone()).unwrap().0;
    assert!(debts::copy::end(&run.cx, &mut db).await.unwrap(), "the order began one");
    assert_eq!(state(), "In Progress");
    // The order comes again, and finds the person's. Its sessions of the run before are forgotten.
    let killed = tokio::time::timeout(Duration::from_millis(400), run.copy());
    assert!(killed.await.is_err());
    assert_eq!(run.clones(), 2);
    debts::copy::end(&run.cx, &mut db).await.unwrap();
    assert_eq!(state(), "In Progress");
}

/// Seed 114972: a person writes on the server that is about to be copied over, or agent or mysqld stand still, after it was measured.
#[tokio::test]
async fn what_was_executed_since_it_was_measured_is_not_dropped() {
    let changes: [fn(&mut Server); 2] = [
        |server| server.executed.push_str(",6ced32ca-e649-11f1-bb94-02fc00000009:1"),
        |server| server.clock_ms += 21_000,
    ];
    for change in changes {
        let mut run = Run::new().await;
        run.cx.peers = Arc::new(Meanwhile(run.mysqld.server(), change));
        let failure = run.copy().await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry), ("too_late", true));
        assert_eq!(run.clones(), 0);
        let held = run
            .mysqld
            .with(|server| (server.executed.is_empty(), server.super_read_only));
        assert_eq!(held, (false, true), "it was not opened");
    }
}
