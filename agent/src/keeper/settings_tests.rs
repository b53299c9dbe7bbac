//! Which server is closed to writes, and which is left open.

use std::sync::Arc;

use clusterctl_proto::observe::{MemberState, MysqlFacts};

use super::super::decide::ALONE;
use super::super::decide::tests::seen;
use super::super::tests::{keeper_of, tools};
use super::*;
use crate::ledger::Ledger;
use crate::membership::Membership;
use crate::membership::tests::sample;
use crate::mysql::Driver;
use crate::mysql::fake::FakeMysqld;

/// A member that is out of its group and takes writes, its agent led.
struct Scene {
    keeper: Keeper,
    memory: Memory,
    mysqld: FakeMysqld,
    server: MysqlFacts,
    membership: Membership,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Ledger::create(dir.path()).unwrap();
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.super_read_only = false);
        let mut tools = tools(dir.path(), Arc::new(Driver));
        let mut config = (*tools.config).clone();
        config.mysql.sockets.clone_from(&mysqld.config().sockets);
        tools.config = Arc::new(config);
        let mut server = seen(MemberState::Offline);
        server.server.as_mut().unwrap().super_read_only = false;
        Self {
            keeper: keeper_of(tools).await,
            memory: Memory::default(),
            mysqld,
            server,
            membership: sample(),
            _dir: dir,
        }
    }

    /// After one look, with this changed: whether it takes writes.
    async fn is_open_after(&mut self, change: impl FnOnce(&mut Facts<'_>)) -> bool {
        let mut facts = Facts {
            server: &self.server,
            step_runs: false,
            deed_runs: false,
            hands_off: false,
            flag_looked_at: true,
            alone_for: None,
            membership: Some(&self.membership),
            may_rejoin: false,
        };
        change(&mut facts);
        self.keeper.settings(&facts, &mut self.memory).await;
        !self.mysqld.with(|server| server.super_read_only)
    }

    fn told(&self) -> Vec<String> {
        self.keeper.deeds.list().into_iter().map(|deed| deed.kind).collect()
    }
}

#[tokio::test]
async fn a_member_that_is_out_and_takes_writes_is_closed_and_that_is_told() {
    let mut scene = Scene::new().await;
    assert!(!scene.is_open_after(|_| ()).await);
    assert_eq!(scene.told(), [deeds::CLOSED]);
    assert!(scene.memory.ended.is_some(), "what was seen before it counts no more");
    // Without the plugin it is in no group either; also without a coordinator.
    let mut scene = Scene::new().await;
    scene.mysqld.with(|server| server.plugin = false);
    scene.server.server.as_mut().unwrap().group = None;
    assert!(!scene.is_open_after(|facts| facts.alone_for = Some(ALONE)).await);
}

#[tokio::test]
async fn a_server_that_somebody_works_on_is_left_open() {
    let mut scene = Scene::new().await;
    assert!(scene.is_open_after(|facts| facts.hands_off = true).await, "a person");
    assert!(scene.is_open_after(|facts| facts.step_runs = true).await, "a step");
    assert!(scene.is_open_after(|facts| facts.deed_runs = true).await, "the agent");
    assert!(
        scene.is_open_after(|facts| facts.membership = None).await,
        "it has left"
    );
    let other = MysqlFacts {
        data: DataDirectory::Pristine,
        ..scene.server.clone()
    };
    let before = std::mem::replace(&mut scene.server, other);
    assert!(scene.is_open_after(|_| ()).await, "not ours");
    scene.server = before;
    let entrance = scene.keeper.tools.ledger.entrance().await;
    assert!(scene.is_open_after(|_| ()).await, "a START or a copy");
    drop(entrance);
    let running = ("In Progress".to_owned(), "node2:3306".to_owned());
    scene.mysqld.with(|server| server.cloned = Some(running));
    assert!(scene.is_open_after(|_| ()).await, "a clone drops data now");
    assert!(scene.told().is_empty());
    scene.mysqld.with(|server| server.cloned = None);
    assert!(!scene.is_open_after(|_| ()).await);
}

#[tokio::test]
async fn a_server_that_may_be_in_a_group_is_never_closed() {
    for state in [MemberState::Online, MemberState::Recovering, MemberState::Error] {
        let mut scene = Scene::new().await;
        scene.server.server.as_mut().unwrap().group.as_mut().unwrap().state = state;
        assert!(scene.is_open_after(|_| ()).await, "{state:?}");
    }
    // It has become the primary since the look.
    let mut scene = Scene::new().await;
    scene.mysqld.with(|server| server.state = "ONLINE".to_owned());
    assert!(scene.is_open_after(|_| ()).await);
}
