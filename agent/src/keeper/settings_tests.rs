//! Which server is closed to writes or kept from entering a group at its start, and which is left as it is.

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
        self.look(change).await;
        !self.mysqld.with(|server| server.super_read_only)
    }

    /// The same: whether mysqld enters a group when it starts.
    async fn enters_at_boot_after(&mut self, change: impl FnOnce(&mut Facts<'_>)) -> bool {
        self.look(change).await;
        self.mysqld.with(|server| server.start_on_boot)
    }

    async fn look(&mut self, change: impl FnOnce(&mut Facts<'_>)) {
        let mut facts = Facts {
            server: &self.server,
            step_runs: false,
            deed_runs: false,
            hands_off: false,
            flag_looked_at: true,
            new_view: false,
            alone_for: None,
            membership: Some(&self.membership),
            may_rejoin: false,
        };
        change(&mut facts);
        self.keeper.settings(&facts, &mut self.memory).await;
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

/// Setting super_read_only ON waits for a transaction that is open, and meanwhile a person's START makes the server the primary.
#[tokio::test]
async fn a_server_that_becomes_the_primary_while_it_is_closed_is_opened_again() {
    let mut scene = Scene::new().await;
    scene
        .mysqld
        .with(|server| (server.read_only, server.elected_while_closed) = (false, true));
    assert!(scene.is_open_after(|_| ()).await);
    scene.mysqld.with(|server| {
        assert!(server.log.contains(&"SET GLOBAL super_read_only = ON".to_owned()));
        assert_eq!((server.role.as_str(), server.read_only), ("PRIMARY", false));
    });
    assert!(scene.told().is_empty());
}

#[tokio::test]
async fn a_server_that_a_person_closed_since_the_look_is_not_told_as_closed_by_the_agent() {
    let mut scene = Scene::new().await;
    scene.mysqld.with(|server| server.super_read_only = true);
    assert!(!scene.is_open_after(|_| ()).await);
    assert!(scene.told().is_empty());
    scene
        .mysqld
        .with(|server| assert!(!server.log.iter().any(|sql| sql.starts_with("SET GLOBAL"))));
}

/// A closed member in this state, whose mysqld enters a group when it starts.
async fn enters_at_boot(state: MemberState) -> Scene {
    let mut scene = Scene::new().await;
    scene
        .mysqld
        .with(|server| (server.super_read_only, server.start_on_boot) = (true, true));
    let server = scene.server.server.as_mut().unwrap();
    (server.super_read_only, server.group.as_mut().unwrap().state) = (true, state);
    scene
}

#[tokio::test]
async fn no_member_enters_a_group_when_mysqld_starts_and_that_is_told_once() {
    for state in [MemberState::Online, MemberState::Offline] {
        let mut scene = enters_at_boot(state).await;
        assert!(!scene.enters_at_boot_after(|_| ()).await, "{state:?}");
        assert!(!scene.enters_at_boot_after(|_| ()).await);
        assert_eq!(scene.told(), [deeds::START_ON_BOOT]);
        // It is looked at again, not at once.
        scene.mysqld.with(|server| server.start_on_boot = true);
        assert!(scene.enters_at_boot_after(|_| ()).await);
        scene.memory.watched.boot_looked_at = Instant::now().checked_sub(LOOK_AGAIN);
        assert!(!scene.enters_at_boot_after(|_| ()).await);
    }
}

#[tokio::test]
async fn start_on_boot_is_left_alone_where_somebody_works_or_the_member_is_on_its_way() {
    let mut scene = enters_at_boot(MemberState::Online).await;
    assert!(scene.enters_at_boot_after(|facts| facts.hands_off = true).await);
    assert!(scene.enters_at_boot_after(|facts| facts.step_runs = true).await);
    assert!(
        scene.enters_at_boot_after(|facts| facts.membership = None).await,
        "not ours"
    );
    let start = "START GROUP_REPLICATION".to_owned();
    scene.mysqld.with(|server| server.under_way = Some(start));
    assert!(scene.enters_at_boot_after(|_| ()).await);
    scene.mysqld.with(|server| server.under_way = None);
    assert!(!scene.enters_at_boot_after(|_| ()).await, "at the next look");
    let mut scene = enters_at_boot(MemberState::Recovering).await;
    assert!(scene.enters_at_boot_after(|_| ()).await);
}
