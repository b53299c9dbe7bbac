//! openraft's own suite against our store, and what a restart keeps.

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, LogId, RaftSnapshotBuilder, StorageError};
use uuid::Uuid;

use super::disk::{Disk, DiskError};
use super::log::LogStore;
use super::state::{State, StateMachine};
use super::voter::{FILE, StartError, Voter};
use super::{NodeId, TypeConfig};
use crate::machine::{Answer, Change, Command};
use crate::model::FEATURE_LEVEL;

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
    let voter = Voter::start(directory.path(), group, 1).await.expect("starts");
    voter.found().await.expect("founds");
    voter
        .wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    let found = Command {
        at: 1,
        by: "test".to_owned(),
        change: Change::Found { group },
    };
    assert_eq!(voter.node().propose(found).await.expect("stored"), Answer::Applied);
    for n in 0..20 {
        voter.node().propose(note(&format!("line {n}"))).await.expect("stored");
    }
    let before = voter.node().state().read(Clone::clone);
    voter.stop().await;
    drop(voter);

    let started = std::time::Instant::now();
    let voter = start_again(directory.path(), group).await;
    voter
        .wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads again");
    voter
        .wait_until_current(std::time::Duration::from_secs(5))
        .await
        .expect("current");
    assert!(
        started.elapsed() < std::time::Duration::from_millis(1000),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(voter.node().state().read(Clone::clone), before);
    voter.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_after_a_snapshot_keeps_the_model() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let group = Uuid::new_v4();
    let voter = Voter::start(directory.path(), group, 1).await.expect("starts");
    voter.found().await.expect("founds");
    voter
        .wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    for n in 0..50 {
        voter.node().propose(note(&format!("line {n}"))).await.expect("stored");
    }
    voter.raft.trigger().snapshot().await.expect("triggered");
    let mut metrics = voter.raft.metrics();
    metrics
        .wait_for(|metrics| metrics.snapshot.is_some())
        .await
        .expect("a snapshot");
    let upto = metrics.borrow().snapshot.map(|id| id.index).expect("a snapshot");
    voter.raft.trigger().purge_log(upto).await.expect("triggered");
    metrics
        .wait_for(|metrics| metrics.purged.is_some_and(|id| id.index == upto))
        .await
        .expect("purged");
    voter.node().propose(note("after")).await.expect("stored");
    let before = voter.node().state().read(Clone::clone);
    voter.stop().await;
    drop(voter);
    let voter = start_again(directory.path(), group).await;
    voter
        .wait_until_current(std::time::Duration::from_secs(5))
        .await
        .expect("current");
    assert_eq!(voter.node().state().read(Clone::clone), before);
    voter.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_confirms_its_term_and_everything_committed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let voter = Voter::start(directory.path(), Uuid::new_v4(), 1).await.expect("starts");
    assert_eq!(
        voter.node().ensure_linearizable().await.map_err(|failure| failure.code),
        Err("not_leader".to_owned()),
        "a node without a group leads nothing"
    );
    voter.found().await.expect("founds");
    voter
        .wait_for_leader(std::time::Duration::from_secs(5))
        .await
        .expect("leads");
    let first = voter.node().ensure_linearizable().await.expect("leads");
    voter.node().propose(note("one")).await.expect("stored");
    let second = voter.node().ensure_linearizable().await.expect("leads");
    assert_eq!(second.term, first.term);
    assert!(second.index > first.index, "{first:?} {second:?}");
    voter.stop().await;
    assert!(
        voter.node().ensure_linearizable().await.is_err(),
        "a stopped node confirms nothing"
    );
}

/// The file is closed by a thread of its own, a moment after `stop`.
async fn start_again(directory: &std::path::Path, group: Uuid) -> Voter {
    for _ in 0..50 {
        match Voter::start(directory, group, 1).await {
            Ok(voter) => return voter,
            Err(StartError::Disk(DiskError::InUse)) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the file stays open");
}

/// A power cut takes back what the disk has not written, so nobody may be told that it is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_not_reported_before_the_disk_has_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let disk = Disk::open(&directory.path().join(FILE), Uuid::nil(), 1).expect("new file");
    let (began, begins) = tokio::sync::oneshot::channel();
    let (lets_go, held) = std::sync::mpsc::channel::<()>();
    let slow = disk.clone();
    // The file takes one writer at a time, and this one is slow.
    let writer = tokio::spawn(async move {
        let work = move |_: &redb::WriteTransaction| {
            let _ = began.send(());
            let _ = held.recv();
            Ok(())
        };
        slow.change(work).await
    });
    begins.await.expect("it writes");
    let mut log = LogStore::new(disk);
    let mut stored = tokio::spawn(async move { log.blocking_append([entry(1, note("line"))]).await });
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut stored).await;
    assert!(early.is_err(), "reported while the disk was busy: {early:?}");
    drop(lets_go);
    stored.await.expect("ends").expect("stored");
    writer.await.expect("ends").expect("written");
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

fn entry(index: u64, command: Command) -> openraft::Entry<TypeConfig> {
    openraft::Entry {
        log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
        payload: openraft::EntryPayload::Normal(command),
    }
}

struct Store {
    directory: tempfile::TempDir,
    disk: Disk,
    machine: StateMachine,
}

fn store() -> Store {
    let directory = tempfile::tempdir().expect("temporary directory");
    let disk = Disk::open(&directory.path().join(FILE), Uuid::nil(), 1).expect("new file");
    let machine = StateMachine::load(disk.clone(), State::new()).expect("empty file");
    Store {
        directory,
        disk,
        machine,
    }
}

/// A snapshot that is read while the next one is written: its meta must be its document's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn meta_and_document_of_a_snapshot_belong_together() {
    let Store {
        directory: _directory,
        disk,
        mut machine,
    } = store();
    machine
        .apply(vec![entry(1, note(&"x".repeat(2000)))])
        .await
        .expect("applied");
    machine.build_snapshot().await.expect("built");
    let mut reader = StateMachine::load(disk.clone(), State::new()).expect("loads");
    let builds = tokio::spawn(async move {
        for index in 2..200 {
            machine
                .apply(vec![entry(index, note(&"x".repeat(2000)))])
                .await
                .expect("applied");
            machine.build_snapshot().await.expect("built");
        }
    });
    let (mut torn, mut reads) = (0, 0);
    while !builds.is_finished() {
        reads += 1;
        match reader.get_current_snapshot().await {
            Ok(Some(found)) => {
                let document: serde_json::Value = serde_json::from_slice(found.snapshot.get_ref()).expect("JSON");
                if document["last"]["index"].as_u64() != found.meta.last_log_id.map(|id| id.index) {
                    torn += 1;
                }
            }
            Ok(None) | Err(_) => torn += 1,
        }
    }
    builds.await.expect("built");
    assert_eq!(torn, 0, "of {reads} reads");
}

/// Loads what `change` makes of a snapshot and its meta.
async fn load_changed(change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value)) -> Result<(), DiskError> {
    let mut store = store();
    let built = store.machine.build_snapshot().await.expect("built");
    let mut document = serde_json::from_slice(built.snapshot.get_ref()).expect("JSON");
    let mut meta = serde_json::to_value(&built.meta).expect("JSON");
    change(&mut document, &mut meta);
    let bytes = |value| serde_json::to_vec(&value).expect("JSON");
    store
        .disk
        .write_meta(vec![("snapshot", bytes(document)), ("snapshot_meta", bytes(meta))])
        .await
        .expect("written");
    StateMachine::load(store.disk, State::new()).map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_format_of_a_snapshot_is_refused() {
    assert!(load_changed(|_, _| {}).await.is_ok());
    let all = load_changed(|document, _| {
        document["format"] = 99.into();
        document["model"]["format"] = 99.into();
        document["model"]["a_rule_of_safety_of_tomorrow"] = "never bootstrap prod".into();
    });
    assert!(matches!(
        all.await,
        Err(DiskError::Format {
            what: "snapshot",
            found: 99
        })
    ));
    let model = load_changed(|document, _| document["model"]["format"] = 2.into()).await;
    assert!(
        matches!(
            model,
            Err(DiskError::Format {
                what: "model",
                found: 2
            })
        ),
        "{model:?}"
    );
    let none = load_changed(|document, _| document["format"] = serde_json::Value::Null).await;
    assert!(none.is_err(), "without a format");
    let field =
        load_changed(|document, _| document["model"]["a_rule_of_tomorrow"] = "never bootstrap prod".into()).await;
    assert!(
        matches!(&field, Err(DiskError::UnknownField { field, .. }) if field == "model.a_rule_of_tomorrow"),
        "{field:?}"
    );
    let level = load_changed(|document, _| document["model"]["feature_level"] = (FEATURE_LEVEL + 1).into()).await;
    assert!(matches!(level, Err(DiskError::FeatureLevel { .. })), "{level:?}");
    let old = load_changed(|document, _| {
        document["model"]
            .as_object_mut()
            .expect("object")
            .remove("feature_level");
    });
    assert!(old.await.is_ok(), "of the releases before levels");
    let torn = load_changed(|_, meta| meta["snapshot_id"] = "other".into()).await;
    assert!(torn.is_ok(), "the name of a snapshot is not its place");
}

/// Models that the release of commit 4264567 itself wrote, before lineages and feature levels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_release_before_wrote_is_read() {
    use crate::planner::tests::upgrade::{NODE3_OFF, RECOVERING};
    for written in [NODE3_OFF, RECOVERING] {
        let model: serde_json::Value = serde_json::from_str(written).expect("JSON");
        load_changed(|document, _| document["model"] = model)
            .await
            .expect("read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_its_metas_is_refused() {
    let mut store = store();
    store.machine.apply(vec![entry(1, note("one"))]).await.expect("applied");
    let built = store.machine.build_snapshot().await.expect("built");
    store.machine.apply(vec![entry(2, note("two"))]).await.expect("applied");
    store.machine.build_snapshot().await.expect("built");
    let meta = serde_json::to_vec(&built.meta).expect("JSON");
    store
        .disk
        .write_meta(vec![("snapshot_meta", meta)])
        .await
        .expect("written");
    let loaded = StateMachine::load(store.disk, State::new()).map(|_| ());
    assert!(matches!(loaded, Err(DiskError::Torn)), "{loaded:?}");
}

/// Starts a node on a log with this document in it, beside a good one.
async fn start_with(document: serde_json::Value) -> Result<(), StartError> {
    let Store {
        directory,
        disk,
        machine,
    } = store();
    let good = serde_json::to_vec(&serde_json::json!({"v": 1, "entry": entry(0, note("good"))})).expect("JSON");
    let bytes = serde_json::to_vec(&document).expect("JSON");
    disk.change(move |transaction| {
        let mut log = transaction.open_table(super::disk::LOG)?;
        log.insert(0, good.as_slice())?;
        log.insert(1, bytes.as_slice())?;
        Ok(())
    })
    .await
    .expect("written");
    drop((machine, disk));
    let voter = Voter::start(directory.path(), Uuid::nil(), 1).await?;
    voter.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_entry_that_is_not_known_is_refused_at_start() {
    let good = serde_json::json!({"v": 1, "entry": entry(1, note("x"))});
    start_with(good.clone()).await.expect("starts");
    let mut later = good.clone();
    later["v"] = 2.into();
    let refused = start_with(later).await;
    assert!(
        matches!(
            &refused,
            Err(StartError::Disk(DiskError::Format {
                what: "log entry",
                found: 2
            }))
        ),
        "{refused:?}"
    );
    let mut field = good.clone();
    field["entry"]["payload"]["Normal"]["change"]["unless"] = "prod is paused".into();
    let refused = start_with(field).await;
    let failure = clusterctl_proto::failure::Failure::from(refused.expect_err("refused"));
    assert_eq!(failure.code, "unknown_format");
    assert!(
        failure.message.contains("unless") && failure.hint.is_some(),
        "{failure:?}"
    );
    let raise = Command {
        change: Change::RaiseFeatureLevel { to: FEATURE_LEVEL + 1 },
        ..note("")
    };
    let refused = start_with(serde_json::json!({"v": 1, "entry": entry(1, raise)})).await;
    assert!(
        matches!(&refused, Err(StartError::Disk(DiskError::FeatureLevel { .. }))),
        "{refused:?}"
    );
}

/// Another coordinator raised the level: a program that does not know it stops instead of guessing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_feature_level_is_not_applied() {
    let mut store = store();
    let raise = |to| Command {
        change: Change::RaiseFeatureLevel { to },
        ..note("")
    };
    store
        .machine
        .apply(vec![entry(1, raise(FEATURE_LEVEL))])
        .await
        .expect("known");
    let applied = store.machine.apply(vec![entry(2, raise(FEATURE_LEVEL + 1))]).await;
    assert!(applied.is_err(), "{applied:?}");
    let (last, _) = store.machine.applied_state().await.expect("readable");
    assert_eq!(
        last.map(|id| id.index),
        Some(1),
        "what was not applied does not count as applied"
    );
    drop(store.directory);
}

#[tokio::test]
async fn a_file_of_another_format_is_refused() {
    let Store {
        directory,
        disk,
        machine,
    } = store();
    let header = br#"{"format":2,"group":"00000000-0000-0000-0000-000000000000","node":1,"more":true}"#.to_vec();
    disk.write_meta(vec![("header", header)]).await.expect("written");
    let path = directory.path().join(FILE);
    assert!(matches!(
        Disk::open(&path, Uuid::nil(), 1).err(),
        Some(DiskError::InUse)
    ));
    drop((machine, disk));
    let error = Disk::open(&path, Uuid::nil(), 1).err();
    assert!(
        matches!(
            error,
            Some(DiskError::Format {
                what: "header",
                found: 2
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_vote_with_an_unknown_field_is_refused_at_start() {
    let Store {
        directory: _kept, disk, ..
    } = store();
    let mut log = LogStore::new(disk.clone());
    log.save_vote(&openraft::Vote::new(3, 1)).await.expect("written");
    log.check().expect("known");
    let vote = br#"{"leader_id":{"term":3,"node_id":1},"committed":false,"witness":7}"#.to_vec();
    disk.write_meta(vec![("vote", vote)]).await.expect("written");
    assert!(matches!(log.check(), Err(DiskError::UnknownField { what: "vote", .. })));
}

/// A log that is not openraft's feeds a model from any index on, and tells of every entry, also of one that changes nothing.
#[test]
fn a_state_goes_on_from_a_model() {
    let first = State::new();
    first.apply(1, None);
    assert_eq!(first.apply(2, Some(&note("one"))), Answer::Applied);
    let state = State::at(first.read(Clone::clone), *first.changes().borrow());
    let mut changes = state.changes();
    assert_eq!(*changes.borrow_and_update(), 2);
    state.apply(3, None);
    assert!(changes.has_changed().expect("open"));
    assert_eq!(state.read(Clone::clone), first.read(Clone::clone));
    state.apply(4, Some(&note("two")));
    assert_eq!((*changes.borrow(), state.read(|model| model.events.len())), (4, 2));
    let refused = state.apply(
        5,
        Some(&Command {
            change: Change::RevokeToken { id: "none".to_owned() },
            ..note("")
        }),
    );
    assert!(matches!(refused, Answer::Rejected(_)) && *state.changes().borrow() == 5);
}
