//! openraft's own suite against our store, and what a restart keeps.

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use uuid::Uuid;

use super::disk::{Disk, DiskError};
use super::log::LogStore;
use super::node::{FILE, Node};
use super::state::{State, StateMachine};
use super::{NodeId, TypeConfig};
use crate::machine::{Answer, Change, Command};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<NodeId>> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let disk = Disk::open(&directory.path().join(FILE), Uuid::nil(), 1).expect("new file");
        let machine = StateMachine::load(disk.clone(), State::new()).expect("empty file");
        Ok((directory, LogStore::new(disk), machine))
    }
}

#[test]
fn openraft_suite() {
    Suite::test_all(Builder).expect("store does what openraft expects");
}

fn note(text: &str) -> Command {
    let change = Change::Note {
        kind: "test".to_owned(),
        cluster: None,
        host: None,
        text: text.to_owned(),
    };
    Command {
        at: 1,
        by: "test".to_owned(),
        change,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_model_and_leads_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let group = Uuid::new_v4();
    let node = Node::start(directory.path(), group, 1).await.expect("starts");
    node.found().await.expect("founds");
    node.wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    let found = Command {
        at: 1,
        by: "test".to_owned(),
        change: Change::Found { group },
    };
    assert_eq!(node.propose(found).await.expect("stored"), Answer::Applied);
    for n in 0..20 {
        node.propose(note(&format!("line {n}"))).await.expect("stored");
    }
    let before = node.state().read(Clone::clone);
    node.stop().await;
    drop(node);

    let started = std::time::Instant::now();
    let node = start_again(directory.path(), group).await;
    node.wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads again");
    node.wait_until_current(std::time::Duration::from_secs(5))
        .await
        .expect("current");
    assert!(
        started.elapsed() < std::time::Duration::from_millis(1000),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(node.state().read(Clone::clone), before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_after_a_snapshot_keeps_the_model() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let group = Uuid::new_v4();
    let node = Node::start(directory.path(), group, 1).await.expect("starts");
    node.found().await.expect("founds");
    node.wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    for n in 0..50 {
        node.propose(note(&format!("line {n}"))).await.expect("stored");
    }
    node.raft.trigger().snapshot().await.expect("triggered");
    let mut metrics = node.raft.metrics();
    metrics
        .wait_for(|metrics| metrics.snapshot.is_some())
        .await
        .expect("a snapshot");
    let upto = metrics.borrow().snapshot.map(|id| id.index).expect("a snapshot");
    node.raft.trigger().purge_log(upto).await.expect("triggered");
    metrics
        .wait_for(|metrics| metrics.purged.is_some_and(|id| id.index == upto))
        .await
        .expect("purged");
    node.propose(note("after")).await.expect("stored");
    let before = node.state().read(Clone::clone);
    node.stop().await;
    drop(node);
    let node = start_again(directory.path(), group).await;
    node.wait_until_current(std::time::Duration::from_secs(5))
        .await
        .expect("current");
    assert_eq!(node.state().read(Clone::clone), before);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_confirms_its_term_and_everything_committed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = Node::start(directory.path(), Uuid::new_v4(), 1).await.expect("starts");
    assert_eq!(
        node.ensure_linearizable().await.map_err(|failure| failure.code),
        Err("not_leader".to_owned()),
        "a node without a group leads nothing"
    );
    node.found().await.expect("founds");
    node.wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    let first = node.ensure_linearizable().await.expect("leads");
    node.propose(note("one")).await.expect("stored");
    let second = node.ensure_linearizable().await.expect("leads");
    assert_eq!(second.term, first.term);
    assert!(second.index > first.index, "{first:?} {second:?}");
    node.stop().await;
    assert!(
        node.ensure_linearizable().await.is_err(),
        "a stopped node confirms nothing"
    );
}

/// The file is closed by a thread of its own, a moment after `stop`.
async fn start_again(directory: &std::path::Path, group: Uuid) -> Node {
    for _ in 0..50 {
        match Node::start(directory, group, 1).await {
            Ok(node) => return node,
            Err(error) if error.to_string().contains("already open") => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the file stays open");
}

#[tokio::test]
async fn a_foreign_file_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join(FILE);
    drop(Disk::open(&path, Uuid::nil(), 1).expect("new file"));
    let error = Disk::open(&path, Uuid::new_v4(), 1).err();
    assert!(matches!(error, Some(DiskError::Foreign { .. })), "{error:?}");
    let error = Disk::open(&path, Uuid::nil(), 2).err();
    assert!(matches!(error, Some(DiskError::Foreign { .. })), "{error:?}");
}
