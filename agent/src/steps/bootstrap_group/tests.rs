//! The step against a mysqld, peers and a leader that are made up: what each guard alone keeps from being started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::observe::{MemberRole, MemberState};
use clusterctl_proto::step::Vouched;
use futures_util::future::{BoxFuture, ready};

use super::*;
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::lineage::{Out, Record};
use crate::mysql::fake::FakeMysqld;
use crate::mysql::peer::{Answer, InGroup, Peers};
use crate::steps::{Confirmation, Leader, not_confirmed, promise, testing};

/// What everybody answers.
struct World {
    mysqld: Arc<FakeMysqld>,
    host: Arc<FakeHost>,
    answer: Answer,
    confirmed: bool,
    vouched: Vec<String>,
    /// mysqld is frozen for so long after the leader's answer.
    frozen_ms: u64,
    /// The machine sleeps for so long after the leader's answer.
    asleep: Duration,
    /// node3 is out of reach: it is given up after so long.
    silence: Duration,
    /// Meanwhile a person bootstraps node2.
    by_hand: bool,
    questions: AtomicU32,
    asked: AtomicU32,
}

impl World {
    fn new() -> Self {
        Self {
            mysqld: Arc::new(FakeMysqld::start()),
            host: Arc::new(FakeHost::new()),
            answer: Answer::InNone,
            confirmed: true,
            vouched: Vec::new(),
            frozen_ms: 0,
            asleep: Duration::ZERO,
            silence: Duration::ZERO,
            by_hand: false,
            questions: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        }
    }
}

impl Leader for World {
    fn confirm<'a>(&'a self) -> BoxFuture<'a, Result<Confirmation, Failure>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.mysqld.with(|server| server.clock_ms += self.frozen_ms);
        self.host.pass(self.asleep);
        let vouched = self.vouched.clone();
        Box::pin(ready(if self.confirmed {
            Ok(Confirmation { vouched })
        } else {
            Err(not_confirmed("prod is paused"))
        }))
    }
}

impl Peers for World {
    fn ask<'a>(&'a self, address: &'a str, _user: &'a str) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if address.starts_with("node3") && !self.silence.is_zero() {
                tokio::time::sleep(self.silence).await;
                return Answer::Unknown("no answer".to_owned());
            }
            let before = self.questions.fetch_add(1, Ordering::Relaxed);
            if self.by_hand && before > 0 {
                return inside(MemberState::Online);
            }
            self.answer.clone()
        })
    }
}

/// A member of a group that lives.
fn inside(state: MemberState) -> Answer {
    Answer::InGroup(InGroup {
        name: "by-hand".to_owned(),
        view_id: "17:1".to_owned(),
        state,
        role: MemberRole::Primary,
        others: 1,
        majority: true,
        writable: false,
        gtid_executed: String::new(),
        online: Vec::new(),
    })
}

fn set(to: u32) -> GtidSet {
    format!("6266fad8-e63f-11f1-a438-8e247ed30bec:1-{to}").parse().unwrap()
}

struct Run {
    cx: Context,
    world: Arc<World>,
    _dir: tempfile::TempDir,
}

impl Run {
    /// Everything is as it should be: promised, all hold the same.
    async fn new(world: World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(world);
        let (mut cx, _) = testing::context(world.host.clone(), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets = world.mysqld.config().sockets.clone();
        cx.config = Arc::new(config);
        cx.leader = world.clone();
        cx.peers = world.clone();
        world.mysqld.with(|server| {
            server.executed = set(90).to_string();
            server.received = set(100).to_string();
        });
        promise::ensure(&cx).await.unwrap();
        Self { cx, world, _dir: dir }
    }

    async fn bootstrap(&self) -> Result<Done, Failure> {
        let wanted = crate::membership::tests::sample().group;
        let peers = ["node2", "node3"].map(|host| BootstrapPeer {
            host: host.parse().unwrap(),
            address: format!("{host}:3306"),
            vouched: Vouched::Promised,
        });
        ensure(&wanted, (&set(100), None), &peers, &self.cx).await
    }

    /// Nothing was started, the flag is OFF.
    async fn refused(&self) -> String {
        let failure = self.bootstrap().await.unwrap_err();
        self.world.mysqld.with(|server| {
            assert!(server.starts.is_empty(), "started in spite of {failure}");
            assert!(!server.flag);
        });
        failure.code
    }
}

#[tokio::test]
async fn with_all_guards_content_the_group_is_bootstrapped_and_the_flag_is_off() {
    let run = Run::new(World::new()).await;
    run.bootstrap().await.unwrap();
    run.world
        .mysqld
        .with(|server| assert_eq!((server.starts.as_slice(), server.flag), (&[true][..], false)));
    assert_eq!(run.world.asked.load(Ordering::Relaxed), 1);
    // done again it looks, and starts nothing
    run.bootstrap().await.unwrap();
    run.world.mysqld.with(|server| assert_eq!(server.starts.len(), 1));
}

/// While the order was on its way a person bootstrapped node2 and started this server into that group.
#[tokio::test]
async fn a_server_in_a_group_that_somebody_else_made_is_no_bootstrap() {
    let run = Run::new(World::new()).await;
    let uuid: ServerUuid = "6ced32ca-e649-11f1-bb94-02fc00000001".parse().unwrap();
    let id = |text: &str| text.parse::<LineageId>().unwrap();
    let seen = move |record: &mut Record| {
        record.enter(uuid, id("16"), String::new());
        record.out = Some(Out {
            server_uuid: uuid,
            executed: set(90),
            held: set(90),
            entered: None,
            at: Some(1_000_000),
            lost: false,
        });
    };
    run.cx.ledger.change_lineage(&run.cx.cluster, seen).await.unwrap();
    run.world.mysqld.with(|server| {
        server.group_name = crate::membership::tests::sample().group.group_name.to_string();
        server.state = "ONLINE".to_owned();
        server.others = vec![("node2".to_owned(), "ONLINE".to_owned())];
        server.views = vec![(2, "17:2".to_owned())];
    });
    assert_eq!(run.refused().await, "group_exists");
    let record = run.cx.ledger.lineage(&run.cx.cluster).unwrap();
    let member = record.member.clone().unwrap();
    assert_eq!((member.id.clone(), member.verified()), (id("17"), None));
    // What it entered with is not forgotten by that: it may be proven when the other agent tells where its lineage began.
    assert_eq!(member.before.unwrap().held, set(90));
    assert!(
        run.cx.ledger.may_rejoin_alone(&run.cx.cluster).is_err(),
        "no step has let it in"
    );
}

#[tokio::test]
async fn nothing_is_bootstrapped_below_a_promise() {
    let run = Run::new(World::new()).await;
    let mut newer = run.cx.generation;
    newer.index += 1;
    run.cx.ledger.promise(&run.cx.cluster, newer).await.unwrap();
    assert_eq!(run.refused().await, "promised");
    let log = run.world.mysqld.with(|server| server.log.len());
    assert_eq!(run.refused().await, "promised");
    run.world
        .mysqld
        .with(|server| assert_eq!(server.log.len(), log, "mysqld is not even asked"));
}

#[tokio::test]
async fn an_order_that_slept_changes_nothing() {
    let run = Run::new(World::new()).await;
    run.world.host.pass(promised::FRESH);
    assert_eq!(run.refused().await, "promise_outdated");
    let changed = |statement: &String| statement.starts_with("SET PERSIST") || statement.starts_with("STOP");
    run.world.mysqld.with(|server| assert!(!server.log.iter().any(changed)));
    assert_eq!(run.world.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_sleep_after_the_leaders_answer_is_too_late() {
    let mut world = World::new();
    world.asleep = promised::FRESH;
    assert_eq!(Run::new(world).await.refused().await, "promise_outdated");
}

#[tokio::test]
async fn a_mysqld_frozen_between_the_leaders_answer_and_start_bootstraps_nothing() {
    let mut world = World::new();
    world.frozen_ms = u64::try_from(BEGIN.as_millis()).unwrap();
    assert_eq!(Run::new(world).await.refused().await, "too_late");
}

#[tokio::test]
async fn without_the_leaders_word_nothing_is_started() {
    let mut world = World::new();
    world.confirmed = false;
    assert_eq!(Run::new(world).await.refused().await, "not_confirmed");
}

#[tokio::test]
async fn a_group_elsewhere_is_a_refusal_that_names_it() {
    let mut world = World::new();
    world.vouched = vec!["node2".to_owned(), "node3".to_owned()];
    world.answer = inside(MemberState::Online);
    assert_eq!(Run::new(world).await.refused().await, "group_alive");
}

#[tokio::test]
async fn a_silent_member_passes_by_the_leaders_word_alone() {
    let mut world = World::new();
    world.answer = Answer::Unknown("connection refused".to_owned());
    world.vouched = vec!["node2".to_owned()];
    let run = Run::new(world).await;
    assert_eq!(run.refused().await, "peer_unknown");
    assert_eq!(
        run.world.asked.load(Ordering::Relaxed),
        TIMES,
        "asked again for a while"
    );

    let mut world = World::new();
    world.answer = Answer::Unknown("connection refused".to_owned());
    world.vouched = vec!["node2".to_owned(), "node3".to_owned()];
    Run::new(world).await.bootstrap().await.unwrap();
}

#[tokio::test]
async fn a_server_that_lost_what_it_had_received_does_not_bootstrap() {
    let run = Run::new(World::new()).await;
    run.world.mysqld.with(|server| server.received = set(98).to_string());
    let failure = run.bootstrap().await.unwrap_err();
    assert!(failure.retry && failure.facts[0].ends_with(":99-100"), "{failure:?}");
    assert_eq!(run.refused().await, "holds_less");
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_flag_off() {
    let run = Run::new(World::new()).await;
    run.world.mysqld.with(|server| server.start_fails = Some(3092));
    assert_eq!(run.refused().await, "group_start");
}

#[tokio::test]
async fn an_uptime_is_of_one_start_of_the_machine() {
    let host = FakeHost::new();
    let earlier = host.uptime();
    host.pass(Duration::from_secs(7));
    assert_eq!(host.uptime().since(&earlier), Some(Duration::from_secs(7)));
    assert_eq!(earlier.since(&host.uptime()), None);
    host.reboot();
    host.pass(Duration::from_secs(9));
    assert_eq!(host.uptime().since(&earlier), None);
}

#[tokio::test]
async fn who_answered_while_another_was_waited_for_is_asked_again() {
    let mut world = World::new();
    world.silence = SOON + Duration::from_millis(20);
    world.by_hand = true;
    world.vouched = vec!["node3".to_owned()];
    let run = Run::new(world).await;
    assert_eq!(run.refused().await, "group_alive");
    assert_eq!(run.world.questions.load(Ordering::Relaxed), 2);
}

/// The agent was killed while START ran, which let clients in; the step that is sent again is refused by a guard.
#[tokio::test]
async fn a_bootstrap_that_fails_shuts_clients_out_as_they_were() {
    let mut world = World::new();
    world.confirmed = false;
    let run = Run::new(world).await;
    run.world.mysqld.with(|server| server.offline_mode = true);
    let mut db = Db::local(&*run.cx.servers, &run.cx.config.mysql).await.unwrap();
    debts::start::note(&run.cx, &mut db, true).await.unwrap();
    run.world.mysqld.with(|server| server.offline_mode = false);
    run.refused().await;
    assert!(run.world.mysqld.with(|server| server.offline_mode));
}

/// What looks beside START breaks: the step fails before START has.
#[tokio::test]
async fn a_bootstrap_that_fails_beside_its_start_shuts_clients_out_again() {
    let run = Run::new(World::new()).await;
    let mysqld = &run.world.mysqld;
    mysqld.with(|server| (server.start_goes_on, server.offline_mode) = (true, true));
    let watched = async {
        while !mysqld.with(|server| server.under_way.is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        mysqld.with(|server| server.peers_may_read = false);
        tokio::time::sleep(Duration::from_millis(200)).await;
        mysqld.with(|server| (server.under_way, server.peers_may_read) = (None, true));
    };
    let (bootstrapped, ()) = tokio::join!(run.bootstrap(), watched);
    bootstrapped.unwrap_err();
    mysqld.with(|server| assert_eq!((server.offline_mode, server.flag), (true, false)));
}

/// The agent is killed beside its START, which then fails and so leaves the flag ON. The step that is sent again comes behind a promise.
#[tokio::test]
async fn the_flag_of_a_bootstrap_that_was_ended_early_is_off_when_its_step_is_refused() {
    let run = Run::new(World::new()).await;
    let mysqld = &run.world.mysqld;
    mysqld.with(|server| (server.start_goes_on, server.offline_mode) = (true, true));
    let killed = tokio::time::timeout(Duration::from_millis(500), run.bootstrap());
    assert!(killed.await.is_err());
    mysqld.with(|server| {
        assert_eq!((server.offline_mode, server.flag), (false, true));
        server.under_way = None;
    });
    let mut newer = run.cx.generation;
    newer.index += 1;
    run.cx.ledger.promise(&run.cx.cluster, newer).await.unwrap();
    assert_eq!(run.bootstrap().await.unwrap_err().code, "promised");
    mysqld.with(|server| assert_eq!((server.offline_mode, server.flag), (true, false)));
}
