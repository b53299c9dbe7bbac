//! What a rejoin of the agent's own, or a step of an agent that died, has left is taken back by the next look.

use std::path::Path;
use std::sync::Arc;

use clusterctl_proto::ids::Generation;
use clusterctl_proto::observe::{MemberState, MysqlFacts};

use super::super::decide::tests::seen;
use super::super::tests::{Two, keeper_of, tools};
use super::super::{Deed, Running};
use super::*;
use crate::host::Access;
use crate::ledger::Ledger;
use crate::mysql::Driver;
use crate::mysql::fake::{FakeMysqld, Server};

/// A START of the agent's own let clients in to a server that is out, and ended early.
struct Scene {
    keeper: Keeper,
    memory: Memory,
    mysqld: FakeMysqld,
    server: MysqlFacts,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Ledger::create(dir.path()).unwrap();
        let mysqld = FakeMysqld::start();
        let mut tools = tools(dir.path(), Arc::new(Driver));
        let mut config = (*tools.config).clone();
        config.mysql.sockets.clone_from(&mysqld.config().sockets);
        tools.config = Arc::new(config);
        mysqld.with(|server| server.offline_mode = true);
        let mut cx = tools.runner.context("prod".parse().unwrap(), Generation::default());
        cx.config = Arc::clone(&tools.config);
        let mut db = Db::local(&Driver, &cx.config.mysql).await.unwrap();
        start::note(&cx, &mut db, true).await.unwrap();
        mysqld.with(|server| (server.offline_mode, server.flag) = (false, true));
        Self {
            keeper: keeper_of(tools).await,
            memory: Memory::default(),
            mysqld,
            server: seen(MemberState::Offline),
            dir,
        }
    }

    /// After one look with this changed: whether clients are shut out again, and the flag is OFF.
    async fn is_settled_after(&mut self, change: impl FnOnce(&mut Facts<'_>)) -> bool {
        let mut facts = facts(&self.server);
        change(&mut facts);
        self.keeper.debts(&facts, &mut self.memory).await;
        self.mysqld.with(|server| {
            assert_eq!(server.offline_mode, !server.flag);
            server.offline_mode
        })
    }

    async fn is_owed(&self) -> bool {
        let place: Place<'_> = (&*self.keeper.tools.host, self.dir.path());
        start::is_owed(place).await.unwrap()
    }
}

#[tokio::test]
async fn the_first_look_of_an_agent_takes_back_what_the_one_before_has_left() {
    let mut scene = Scene::new().await;
    scene.keeper.look(&mut scene.memory).await;
    scene
        .mysqld
        .with(|server| assert_eq!((server.offline_mode, server.flag), (true, false)));
    assert!(!scene.is_owed().await);
    assert!(scene.memory.ended.is_some(), "what was seen before it counts no more");
}

#[tokio::test]
async fn a_rejoin_that_an_operator_ends_leaves_clients_shut_out() {
    let mut scene = Scene::new().await;
    scene.memory.running = Some(Running {
        deed: Deed::Rejoin,
        task: tokio::spawn(std::future::pending()),
        since: Instant::now(),
    });
    scene.keeper.look(&mut scene.memory).await;
    assert!(scene.is_owed().await, "it runs");
    scene.keeper.contact.told(Some(0)).await;
    while scene.memory.running.is_some() {
        scene.keeper.look(&mut scene.memory).await;
        tokio::task::yield_now().await;
    }
    scene.keeper.look(&mut scene.memory).await;
    scene
        .mysqld
        .with(|server| assert_eq!((server.offline_mode, server.flag), (true, false)));
}

#[tokio::test]
async fn what_somebody_works_on_is_left_as_it_is() {
    let mut scene = Scene::new().await;
    assert!(!scene.is_settled_after(|facts| facts.step_runs = true).await);
    assert!(!scene.is_settled_after(|facts| facts.deed_runs = true).await);
    let entrance = scene.keeper.tools.ledger.entrance().await;
    assert!(!scene.is_settled_after(|_| ()).await, "a START or a copy");
    drop(entrance);
    let goes_on = |server: &mut Server| server.under_way = Some("START GROUP_REPLICATION".to_owned());
    scene.mysqld.with(goes_on);
    assert!(!scene.is_settled_after(|_| ()).await, "it may succeed");
    scene.mysqld.with(|server| server.under_way = None);
    assert!(scene.is_owed().await);
    assert!(scene.is_settled_after(|facts| facts.hands_off = true).await);
    assert!(!scene.is_owed().await);
}

/// The START succeeded after its agent's death. Later a person stops Group Replication, and reads there.
#[tokio::test]
async fn a_note_ends_where_the_server_is_seen_inside() {
    let mut scene = Scene::new().await;
    scene.mysqld.with(|server| server.state = "ONLINE".to_owned());
    scene.keeper.debts(&facts(&scene.server), &mut scene.memory).await;
    assert!(!scene.is_owed().await);
    scene.mysqld.with(|server| server.state = "OFFLINE".to_owned());
    scene.keeper.debts(&facts(&scene.server), &mut scene.memory).await;
    scene
        .mysqld
        .with(|server| assert_eq!((server.offline_mode, server.flag), (false, false)));
}

fn facts(server: &MysqlFacts) -> Facts<'_> {
    Facts {
        server,
        step_runs: false,
        deed_runs: false,
        hands_off: false,
        flag_looked_at: true,
        new_view: false,
        alone_for: None,
        membership: None,
        may_rejoin: false,
    }
}

/// It stays where it is not known whether it still means anything.
#[tokio::test]
async fn a_server_that_does_not_run_or_does_not_answer_is_settled_later() {
    let mut scene = Scene::new().await;
    let sockets = scene.keeper.tools.config.mysql.sockets.clone();
    let socket: &Path = &sockets[0];
    let away = socket.with_extension("away");
    std::fs::rename(socket, &away).unwrap();
    assert!(!scene.is_settled_after(|_| ()).await);
    assert_eq!(scene.memory.debt_failed, None);
    std::fs::rename(&away, socket).unwrap();
    let (host, state_dir) = (&scene.keeper.tools.host, scene.dir.path());
    let old = br#"{"generation": {"epoch": 1, "index": 7}}"#;
    let old_note = state_dir.join("shut_out.json");
    host.write(&old_note, old, &Access::Own(0o600)).await.unwrap();
    assert!(scene.is_settled_after(|_| ()).await);
    let host = &scene.keeper.tools.host;
    assert!(host.read(&old_note).await.unwrap().is_some(), "its order may come");
}

/// This host was to copy node2's data, and lost its power.
struct Copying {
    keeper: Keeper,
    own: FakeMysqld,
    donor: FakeMysqld,
    _dir: tempfile::TempDir,
}

impl Copying {
    async fn new(state: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Ledger::create(dir.path()).unwrap();
        let (own, donor) = (FakeMysqld::start(), FakeMysqld::start());
        let servers = Two {
            own: own.config().sockets[0].clone(),
            other: donor.config().sockets[0].clone(),
        };
        let tools = tools(dir.path(), Arc::new(servers));
        own.with(|server| server.cloned = Some((state.to_owned(), "node2:3306".to_owned())));
        donor.with(|server| server.serves_clones = vec![11, 12]);
        let cx = tools.runner.context("prod".parse().unwrap(), Generation::default());
        let mut db = Db::local(&*cx.servers, &cx.config.mysql).await.unwrap();
        let mut worker = Db::local(&*cx.servers, &cx.config.mysql).await.unwrap();
        let of = ("node2:3306", "mysql_innodb_cluster_1", None);
        copy::Begun::note(None, of, (&mut db, &mut worker), &cx).await.unwrap();
        Self {
            keeper: keeper_of(tools).await,
            own,
            donor,
            _dir: dir,
        }
    }

    /// After one look with this changed: sessions that serve clones at the donor, and how often it was asked.
    async fn left_after(&self, change: impl FnOnce(&mut Facts<'_>)) -> (usize, usize) {
        let server = seen(MemberState::Offline);
        let mut facts = facts(&server);
        change(&mut facts);
        let mut memory = Memory::default();
        self.keeper.left_at_donor(&facts, &mut memory).await;
        let asked = |log: &[String]| log.iter().filter(|sql| *sql == "SHOW PROCESSLIST").count();
        self.donor.with(|server| {
            assert!(!server.log.iter().any(|sql| sql == "KILL 4"), "another member's");
            (server.serves_clones.len(), asked(&server.log))
        })
    }
}

/// Seed 9438: the host that was copying is quarantined and never copies again; nobody else could copy from that donor.
#[tokio::test]
async fn what_an_interrupted_copy_left_at_its_donor_is_ended_once() {
    let scene = Copying::new("Failed").await;
    assert_eq!(scene.left_after(|facts| facts.step_runs = true).await, (2, 0));
    assert_eq!(scene.left_after(|facts| facts.deed_runs = true).await, (2, 0));
    let entrance = scene.keeper.tools.ledger.entrance().await;
    assert_eq!(scene.left_after(|_| ()).await, (2, 0), "a step is about to copy");
    drop(entrance);
    assert_eq!(scene.left_after(|facts| facts.hands_off = true).await, (0, 1));
    scene.donor.with(|server| server.serves_clones = vec![13]);
    assert_eq!(scene.left_after(|_| ()).await, (1, 1), "nothing of ours");
}

#[tokio::test]
async fn a_look_of_the_keeper_ends_it() {
    let scene = Copying::new("Failed").await;
    scene.keeper.look(&mut Memory::default()).await;
    assert_eq!(scene.donor.with(|server| server.serves_clones.len()), 0);
}

#[tokio::test]
async fn a_copy_that_runs_or_is_complete_has_left_nothing() {
    let scene = Copying::new("In Progress").await;
    assert_eq!(
        scene.left_after(|_| ()).await,
        (2, 0),
        "it runs, also without its agent"
    );
    let complete = Some(("Completed".to_owned(), "node2:3306".to_owned()));
    scene.own.with(|server| server.cloned = complete);
    assert_eq!(scene.left_after(|_| ()).await, (2, 0));
    scene.own.with(|server| server.cloned = None);
    assert_eq!(
        scene.left_after(|_| ()).await,
        (2, 0),
        "it is on record that nothing is left"
    );
}

#[tokio::test]
async fn a_mysqld_that_does_not_run_copies_nothing_and_a_donor_that_is_off_is_asked_again() {
    let scene = Copying::new("In Progress").await;
    let (own, donor) = (
        scene.own.config().sockets[0].clone(),
        scene.donor.config().sockets[0].clone(),
    );
    let away = |socket: &Path| socket.with_extension("away");
    std::fs::rename(&donor, away(&donor)).unwrap();
    std::fs::rename(&own, away(&own)).unwrap();
    let mut server = seen(MemberState::Offline);
    let mut memory = Memory::default();
    scene.keeper.left_at_donor(&facts(&server), &mut memory).await;
    assert!(memory.donor_tried.is_none(), "somebody removed the socket: it may copy");
    server.unit = UnitState::Failed;
    scene.keeper.left_at_donor(&facts(&server), &mut memory).await;
    assert!(memory.donor_tried.is_some(), "not before a while has passed");
    std::fs::rename(away(&donor), &donor).unwrap();
    scene.keeper.left_at_donor(&facts(&server), &mut memory).await;
    assert_eq!(scene.donor.with(|server| server.serves_clones.len()), 2);
    scene
        .keeper
        .left_at_donor(&facts(&server), &mut Memory::default())
        .await;
    assert_eq!(scene.donor.with(|server| server.serves_clones.len()), 0);
}

/// mysqld restarted in the middle: the session that cloned is gone, and its number is another's.
#[tokio::test]
async fn what_is_in_progress_since_before_this_run_of_mysqld_does_not_run() {
    let scene = Copying::new("In Progress").await;
    scene.own.with(|server| server.run = "2026-01-01 00:00:30".to_owned());
    assert_eq!(scene.left_after(|_| ()).await, (0, 1));
}

/// Before the donor could be asked, the next copy was ordered from another one.
#[tokio::test]
async fn the_donor_of_an_earlier_copy_is_not_forgotten() {
    let scene = Copying::new("Failed").await;
    let mut cx = scene
        .keeper
        .tools
        .runner
        .context("prod".parse().unwrap(), Generation::default());
    for (index, state) in [(7, "In Progress"), (8, "Completed")] {
        cx.generation.index = index;
        let mut db = Db::local(&*cx.servers, &cx.config.mysql).await.unwrap();
        let mut worker = Db::local(&*cx.servers, &cx.config.mysql).await.unwrap();
        let of = ("node1:3306", "mysql_innodb_cluster_1", None);
        copy::Begun::note(None, of, (&mut db, &mut worker), &cx).await.unwrap();
        let now = Some((state.to_owned(), "node1:3306".to_owned()));
        scene.own.with(|server| server.cloned = now);
    }
    assert_eq!(scene.left_after(|_| ()).await, (0, 1));
    scene.donor.with(|server| server.serves_clones = vec![13]);
    assert_eq!(scene.left_after(|_| ()).await, (1, 1), "nothing of ours");
}
