//! What is told, how soon it is tried again, and hands off in the middle of a deed.

use std::path::{Path, PathBuf};

use clusterctl_proto::ids::HostName;
use futures_util::future::{BoxFuture, pending};

use super::*;
use crate::config::Config;
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::ledger::Ledger;
use crate::mysql::data::{self, Marker};
use crate::mysql::fake::FakeMysqld;
use crate::mysql::server::{Connection, Target};
use crate::mysql::{Driver, MysqlError, Servers};
use crate::session::{self, Link, Runner};

/// What deeds need on node1, its state in this folder.
pub fn tools(dir: &Path, servers: Arc<dyn Servers>) -> Tools {
    let mut config = Config {
        state_dir: dir.to_owned(),
        ..Config::default()
    };
    config.mysql.sockets = vec![dir.join("no.sock")];
    config.mysql.data_dir = dir.join("data");
    let config = Arc::new(config);
    let host: Arc<dyn Host> = Arc::new(FakeHost::new().on("systemctl show", "LoadState=not-found\n"));
    let ledger = Arc::new(Ledger::open(dir));
    let name: HostName = "node1".parse().unwrap();
    let runner = Runner::new(session::Tools {
        host: Arc::clone(&host),
        servers: Arc::clone(&servers),
        name,
        group: "g1".to_owned(),
        config: Arc::clone(&config),
        ledger: Arc::clone(&ledger),
        credentials: session::testing::credentials(),
        signer: Link::new(),
        standstill: Arc::default(),
        acted: Box::new(|| {}),
    });
    Tools {
        host,
        servers,
        config,
        ledger,
        runner,
    }
}

/// On a host without MySQL.
async fn keeper(dir: &Path) -> Keeper {
    keeper_of(tools(dir, Arc::new(Driver))).await
}

/// A keeper that does its deeds with these.
pub async fn keeper_of(tools: Tools) -> Keeper {
    let deeds = Arc::<Deeds>::default();
    Keeper {
        contact: Contact::new(Arc::clone(&tools.host), &tools.config.state_dir).await,
        observer: Observer::new(
            (Arc::clone(&tools.host), Arc::clone(&tools.servers)),
            Arc::clone(&tools.config),
            Arc::clone(&tools.ledger),
            Arc::clone(&deeds),
            "boot-1".to_owned(),
            None,
            "node1".parse().unwrap(),
        ),
        tools,
        deeds,
    }
}

/// node1's mysqld and node2's; nothing else answers.
pub struct Two {
    pub own: PathBuf,
    pub other: PathBuf,
}

impl Servers for Two {
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>> {
        Box::pin(async move {
            let socket = match to {
                Target::Local { .. } => &self.own,
                Target::Peer { address, .. } if address == "node1:3306" => &self.own,
                Target::Peer { address, .. } if address == "node2:3306" => &self.other,
                Target::Peer { .. } | Target::Loopback { .. } => {
                    return Err(MysqlError::NotRunning { looked: to.to_string() });
                }
            };
            let to = Target::Local {
                sockets: vec![socket.clone()],
                user: "root".to_owned(),
            };
            Driver.connect(&to).await
        })
    }
}

#[tokio::test]
async fn hands_off_ends_a_deed_under_way_and_that_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path()).await;
    let entrance = keeper.tools.ledger.entrance().await;
    let task = tokio::spawn(async move {
        let _entrance = entrance;
        pending().await
    });
    let running = Running {
        deed: Deed::Rejoin,
        task,
        since: Instant::now(),
    };
    let mut memory = Memory {
        running: Some(running),
        ..Memory::default()
    };
    keeper.look(&mut memory).await;
    assert!(memory.running.is_some(), "nobody said so yet");

    keeper.contact.told(Some(0)).await;
    while memory.running.is_some() {
        keeper.look(&mut memory).await;
        tokio::task::yield_now().await;
    }
    assert!(
        keeper.tools.ledger.entrance_if_free().is_some(),
        "a promise waits no more"
    );
    assert_eq!(keeper.deeds.list(), []);
    assert!(
        memory.pauses.rejoin.is_due(Instant::now()),
        "it goes on when hands off ends"
    );
}

#[tokio::test]
async fn the_flag_is_left_to_who_starts_group_replication_and_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = keeper(dir.path()).await;
    // as a mysqld that was killed leaves it: asking it is an error
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("no.sock")).unwrap());
    let held = keeper.tools.ledger.entrance().await;
    assert_eq!(act::clear_flag(&keeper.tools).await, Ok(None));
    drop(held);
    assert!(act::clear_flag(&keeper.tools).await.is_err());
    let mut memory = Memory::default();
    keeper.clear_flag(&mut memory).await;
    assert!(!memory.flag_looked_at, "it is asked again");
}

/// It is out of the group, without a coordinator, and set up for another one.
#[tokio::test]
async fn a_member_that_cannot_be_brought_back_is_told_once_for_each_reason() {
    let dir = tempfile::tempdir().unwrap();
    Ledger::create(dir.path()).unwrap();
    let mysqld = FakeMysqld::start();
    mysqld.with(|server| server.group_name = "another".to_owned());
    let mut tools = tools(dir.path(), Arc::new(Driver));
    let mut config = (*tools.config).clone();
    config.mysql.sockets.clone_from(&mysqld.config().sockets);
    tools.config = Arc::new(config);
    let membership = crate::membership::tests::sample();
    membership.keep(&*tools.host, dir.path()).await.unwrap();
    let marker = Marker {
        format: 1,
        cluster: membership.cluster.clone(),
        group: "g1".to_owned(),
    };
    let data_dir = &tools.config.mysql.data_dir;
    data::mark(&*tools.host, data_dir, "mysql", &marker).await.unwrap();
    let keeper = keeper_of(tools).await;
    let mut memory = Memory {
        flag_looked_at: true,
        ..Memory::default()
    };
    let mut told_after_looks = async || {
        for _ in 0..3 {
            keeper.observer.acted();
            keeper.look(&mut memory).await;
        }
        assert!(memory.running.is_none(), "nothing is done about it");
        let told = keeper.deeds.list().into_iter();
        told.map(|deed| (deed.kind, deed.text)).collect::<Vec<_>>()
    };
    keeper.contact.found();
    assert_eq!(told_after_looks().await, [], "a coordinator leads, and tells it");

    keeper.contact.lost();
    tokio::time::pause();
    tokio::time::advance(decide::ALONE).await;
    tokio::time::resume();
    let told = told_after_looks().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, deeds::REJOIN_FAILED);
    assert!(
        told[0].1.contains("group_replication_group_name is 'another'"),
        "{told:?}"
    );
    mysqld.with(|server| server.plugin = false);
    let told = told_after_looks().await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].1.contains("the plugin group_replication is not active"),
        "{told:?}"
    );
    mysqld.with(|server| assert!(server.starts.is_empty()));
}

#[test]
fn the_same_failure_is_told_once_and_new_errant_transactions_again() {
    let failed = |code: &str, fact: &str| Failure::refused(code, "no").fact(fact);
    assert_eq!(key(&failed("group_not_live", "a")), key(&failed("group_not_live", "b")));
    assert_ne!(key(&failed("group_not_live", "a")), key(&failed("group_start", "a")));
    let errant = |set: &str| key(&failed("errant_transactions", set));
    assert_eq!(errant("only here: x:1"), errant("only here: x:1"));
    assert_ne!(errant("only here: x:1"), errant("only here: x:1-2"));
}

#[test]
fn looking_for_a_live_group_goes_on_often() {
    assert_eq!(again_after(&Failure::new("group_not_live", "")), LOOK_AGAIN);
    assert_eq!(
        again_after(&Failure::new("history_unknown", "")),
        LOOK_AGAIN,
        "a notice may come"
    );
    assert_eq!(again_after(&Failure::new("group_start", "")), REJOIN_AGAIN);
}
