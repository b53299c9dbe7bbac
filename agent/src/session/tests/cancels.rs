//! What a cancel is answered with, and what it bars.

use clusterctl_proto::order_proof;
use clusterctl_proto::wire::agent::NeverBegun;
use futures_util::future::BoxFuture;

use super::*;
use crate::mysql::MysqlError;
use crate::mysql::fake::FakeMysqld;
use crate::mysql::server::{Connection, Target};

fn digest(plan: u64, step: u32, what: &Step) -> Vec<u8> {
    let generation = clusterctl_proto::ids::Generation { epoch: 1, index: plan };
    let json = serde_json::to_vec(what).unwrap();
    order_proof::digest("prod", generation, plan, step, &json).to_vec()
}

const GROUP: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

async fn never_begun(stream: &mut Opened) -> NeverBegun {
    match stream.next().await {
        from_agent::Message::NeverBegun(never) => never,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_step_that_no_process_knows_was_never_begun_and_never_will_be() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let new = async || session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(new().await.run());
    let mut stream = opened(&mut streams).await;
    let asked = digest(7, 2, &secret("b"));
    stream.order(7, 1, 7, &secret("a")).await;
    stream.outcome().await;
    stream.cancel(7, 2, &asked).await;
    let never = never_begun(&mut stream).await;
    assert_eq!(
        (never.plan, never.step, never.epoch, never.cluster.as_str()),
        (7, 2, 1, "prod")
    );
    assert_eq!(never.digest, asked);
    // Late, and late in other words; its plan's other steps go on.
    for what in ["b", "c"] {
        stream.order(7, 2, 7, &secret(what)).await;
        assert_eq!(code(&stream.outcome().await.1), "cancelled");
    }
    stream.order(7, 3, 7, &secret("d")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    // A leader that does not know of the cancel, after a restart of the agent.
    task.abort();
    let _ = task.await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let task = tokio::spawn(new().await.run());
    let mut stream = opened(&mut streams).await;
    stream.order(7, 2, 7, &secret("b")).await;
    assert_eq!(code(&stream.outcome().await.1), "cancelled");
    task.abort();
}

#[tokio::test]
async fn what_an_earlier_process_may_have_begun_is_not_called_never_begun() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    // An earlier process had accepted generation 7.
    drop(session);
    let document = r#"{"format":2,"clusters":{"prod":{"generation":{"epoch":1,"index":7}}}}"#;
    std::fs::write(dir.path().join("ledger.json"), document).unwrap();
    let session = self::session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    let asked = digest(7, 2, &bootstrap());
    stream.cancel(7, 2, &asked).await;
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.plan, which.step, which.digest), (7, 2, asked));
    assert_eq!(code(&outcome), "step_interrupted");
    stream.order(7, 2, 7, &bootstrap()).await;
    assert_eq!(code(&stream.outcome().await.1), "cancelled");
    // Of the next plan no earlier process has heard.
    stream.cancel(8, 1, &digest(8, 1, &bootstrap())).await;
    never_begun(&mut stream).await;
    task.abort();
}

#[tokio::test]
async fn a_running_step_ends_and_a_finished_one_is_told_again() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let ledger = Arc::clone(&session.runner.tools.ledger);
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    // A promise waits for whoever starts Group Replication.
    let entrance = ledger.entrance().await;
    stream.order(7, 1, 7, &Step::Promise {}).await;
    stream.order(7, 2, 7, &secret("a")).await;
    stream.cancel(7, 2, &digest(7, 2, &secret("a"))).await;
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.step, code(&outcome).as_str()), (2, "cancelled"), "it waited");
    stream.cancel(7, 1, &digest(7, 1, &Step::Promise {})).await;
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.step, code(&outcome).as_str()), (1, "cancelled"), "it ran");
    drop(entrance);
    stream.order(7, 3, 7, &secret("b")).await;
    let (first, _) = stream.outcome().await;
    stream.cancel(7, 3, &digest(7, 3, &secret("b"))).await;
    assert_eq!(stream.outcome().await.0, first);
    // The same step in the words of another version: something of it was done.
    stream.cancel(7, 3, b"01234567890123456789012345678901").await;
    assert_eq!(code(&stream.outcome().await.1), "step_interrupted");
    task.abort();
}

/// A leader sends it again on a new stream, say.
#[tokio::test]
async fn a_step_that_was_ordered_again_while_it_waited_can_still_be_cancelled() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let ledger = Arc::clone(&session.runner.tools.ledger);
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    let entrance = ledger.entrance().await;
    stream.order(7, 1, 7, &Step::Promise {}).await;
    for _ in 0..2 {
        stream.order(7, 2, 7, &bootstrap()).await;
    }
    // The answer to a question comes after it: the orders have been read.
    stream.send(to_agent::Message::Question(Question::default())).await;
    assert!(matches!(stream.next().await, from_agent::Message::Answer(_)));
    drop(entrance);
    assert_eq!(stream.outcome().await.0.step, 1);
    while ledger.entrance_if_free().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It has begun, and waits for its server, longer than this test.
    stream.cancel(7, 2, &digest(7, 2, &bootstrap())).await;
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.step, code(&outcome).as_str()), (2, "cancelled"));
    task.abort();
}

#[tokio::test]
async fn never_begun_is_not_said_before_it_is_remembered() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    let (path, away) = (dir.path().join("ledger.json"), dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    stream.cancel(7, 2, &digest(7, 2, &secret("b"))).await;
    let early = tokio::time::timeout(Duration::from_millis(300), stream.next());
    assert!(early.await.is_err(), "it could not be written down");
    stream.order(7, 2, 7, &secret("b")).await;
    assert_ne!(
        code(&stream.outcome().await.1),
        "Unchanged",
        "it does not run meanwhile either"
    );
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    never_begun(&mut stream).await;
    task.abort();
}

fn copy() -> Step {
    let copy = serde_json::json!({
        "step": "clone_data",
        "donor": "node2",
        "port": 3306,
        "group_name": GROUP,
        "account": {"user": "u", "from": "%", "subject": "/CN=node1", "issuer": "/CN=clusterctl CA"},
        "group_gtid": "",
    });
    serde_json::from_value(copy).unwrap()
}

fn join() -> Step {
    let account = serde_json::json!({"user": "u", "from": "%", "subject": "/CN=node1", "issuer": "/CN=clusterctl CA"});
    let join = serde_json::json!({
        "step": "join_group",
        "group": {"group_name": GROUP, "variables": [], "account": account},
        "recovery": {"method": "incremental"},
        "account": account,
    });
    serde_json::from_value(join).unwrap()
}

/// A step that waits for mysqld, cancelled while this START and this clone go on in it; then START ends.
async fn cancelled_beside(step: Step) {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let mysqld = FakeMysqld::start();
    let clone = ("In Progress".to_owned(), "node2:3306".to_owned());
    mysqld.with(|server| {
        (server.under_way, server.cloned) = (Some("START GROUP_REPLICATION".to_owned()), Some(clone));
    });
    let socket = mysqld.config().sockets[0].clone();
    let credentials = pki.credentials("clusterctl://g1/agent/node1");
    let session = session_with(address, credentials, dir.path(), socket).await;
    let (ledger, runner) = (Arc::clone(&session.runner.tools.ledger), Arc::clone(&session.runner));
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    stream.order(7, 1, 7, &step).await;
    while ledger.entrance_if_free().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.cancel(7, 1, &digest(7, 1, &step)).await;
    let early = tokio::time::timeout(Duration::from_millis(500), stream.next());
    assert!(early.await.is_err(), "a START goes on");
    assert!(
        !runner.running().is_empty(),
        "the agent does nothing by itself meanwhile"
    );
    mysqld.with(|server| server.under_way = None);
    let early = tokio::time::timeout(Duration::from_millis(1500), stream.next());
    assert!(early.await.is_err(), "a clone goes on");
    mysqld.with(|server| {
        assert!(
            !server.log.iter().any(|sql| sql.starts_with("KILL")),
            "it is not this step's"
        );
        server.cloned = None;
    });
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.step, code(&outcome).as_str()), (1, "cancelled"));
    task.abort();
}

#[tokio::test]
async fn a_cancelled_bootstrap_has_ended_when_nothing_of_it_runs_in_mysqld() {
    cancelled_beside(bootstrap()).await;
}

#[tokio::test]
async fn a_copy_that_was_cancelled_before_it_began_ends_no_clone() {
    cancelled_beside(copy()).await;
}

/// node1's mysqld, and node2's for whoever asks another member.
struct Two {
    own: PathBuf,
    other: PathBuf,
}

impl Servers for Two {
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>> {
        Box::pin(async move {
            let socket = if matches!(to, Target::Local { .. }) {
                &self.own
            } else {
                &self.other
            };
            let to = Target::Local {
                sockets: vec![socket.clone()],
                user: "root".to_owned(),
            };
            Driver.connect(&to).await
        })
    }
}

/// node1, which runs this step up to this statement. Its donor is a member of the group.
struct Begun {
    mysqld: FakeMysqld,
    step: Step,
    stream: Opened,
    task: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
    _donor: FakeMysqld,
}

impl Begun {
    async fn new(step: Step, statement: &str, prepare: impl FnOnce(&mut crate::mysql::fake::Server)) -> Self {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let (address, mut streams) = serve(&pki).await;
        let (mysqld, donor) = (FakeMysqld::start(), FakeMysqld::start());
        mysqld.with(prepare);
        donor.with(|server| {
            server.state = "ONLINE".to_owned();
            server.group_name = GROUP.to_owned();
        });
        let socket = |mysqld: &FakeMysqld| mysqld.config().sockets[0].clone();
        let two = Two {
            own: socket(&mysqld),
            other: socket(&donor),
        };
        let credentials = pki.credentials("clusterctl://g1/agent/node1");
        let session = session_among(address, credentials, dir.path(), (socket(&mysqld), Arc::new(two))).await;
        let task = tokio::spawn(session.run());
        let stream = opened(&mut streams).await;
        stream.order(7, 1, 7, &step).await;
        let came = async {
            while !mysqld.with(|server| server.log.iter().any(|sql| sql.starts_with(statement))) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(10), came).await;
        assert!(came.is_ok(), "{:?}", mysqld.with(|server| server.log.clone()));
        let _donor = donor;
        Self {
            mysqld,
            step,
            stream,
            task,
            dir,
            _donor,
        }
    }

    async fn cancel(&self) {
        self.stream.cancel(7, 1, &digest(7, 1, &self.step)).await;
    }

    async fn goes_on(&mut self) -> bool {
        let early = tokio::time::timeout(Duration::from_millis(1500), self.stream.next());
        early.await.is_err()
    }

    /// With the code of a cancelled step.
    async fn ends(&mut self) {
        let (which, outcome) = self.stream.outcome().await;
        assert_eq!((which.step, code(&outcome).as_str()), (1, "cancelled"));
        self.task.abort();
    }
}

fn cloned(state: &str) -> Option<(String, String)> {
    Some((state.to_owned(), "node2:3306".to_owned()))
}

/// No membership is on record, so the keeper closes nothing.
#[tokio::test]
async fn a_copy_that_is_cancelled_in_its_middle_is_ended_stays_half_a_copy_and_takes_no_writes() {
    let mut begun = Begun::new(copy(), "CLONE", |server| server.clone_goes_on = true).await;
    assert!(!begun.mysqld.with(|server| server.super_read_only));
    begun.cancel().await;
    begun.ends().await;
    begun.mysqld.with(|server| {
        assert_eq!(server.cloned, cloned("Failed"));
        assert!(server.super_read_only);
    });
    // By what is on disk: an agent that starts again knows it, too.
    let half_copied = Ledger::look(begun.dir.path()).half_copied;
    assert!(half_copied.contains_key(&"prod".parse().unwrap()), "{half_copied:?}");
}

/// mysqld has refused the step's own.
#[tokio::test]
async fn a_cancelled_copy_ends_no_clone_that_a_person_began() {
    let mut begun = Begun::new(copy(), "CLONE", |server| server.cloned = cloned("In Progress")).await;
    begun.cancel().await;
    assert!(begun.goes_on().await, "the person's goes on, and the host is not free");
    begun.mysqld.with(|server| {
        assert!(!server.log.iter().any(|sql| sql.starts_with("KILL")));
        assert!(!server.super_read_only, "it drops data");
        server.cloned = cloned("Failed");
    });
    begun.ends().await;
    assert!(begun.mysqld.with(|server| server.super_read_only));
}

/// Of a process after one that had accepted generation 7.
async fn after_another(pki: &Pki, address: SocketAddr, dir: &tempfile::TempDir, mysqld: &FakeMysqld) -> Session {
    let credentials = || pki.credentials("clusterctl://g1/agent/node1");
    let socket = || mysqld.config().sockets[0].clone();
    let new = async || session_with(address, credentials(), dir.path(), socket()).await;
    drop(new().await);
    let document = r#"{"format":2,"clusters":{"prod":{"generation":{"epoch":1,"index":7}}}}"#;
    std::fs::write(dir.path().join("ledger.json"), document).unwrap();
    new().await
}

async fn noted_there(session: &Session, file: &str, note: &serde_json::Value) {
    let tools = &session.runner.tools;
    let (path, access) = (tools.config.state_dir.join(file), crate::host::Access::Own(0o600));
    tools
        .host
        .write(&path, note.to_string().as_bytes(), &access)
        .await
        .unwrap();
}

/// This process has an empty book; the clone, and what was noted of it before it began, are of the one before.
#[tokio::test]
async fn a_copy_that_an_earlier_process_began_for_the_cancelled_order_is_ended() {
    for (noted, is_ended) in [(7, true), (6, false)] {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let (address, mut streams) = serve(&pki).await;
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| (server.cloned, server.super_read_only) = (cloned("In Progress"), false));
        let session = after_another(&pki, address, &dir, &mysqld).await;
        let note = serde_json::json!({
            "generation": {"epoch": 1, "index": noted},
            "source": "node2:3306",
            "at": "2026-11-22 08:57:07.120000",
            "sessions": [mysqld.with(|server| server.cloned_by)],
        });
        noted_there(&session, "clone.json", &note).await;
        let task = tokio::spawn(session.run());
        let mut stream = opened(&mut streams).await;
        stream.cancel(7, 1, &digest(7, 1, &copy())).await;
        if !is_ended {
            let early = tokio::time::timeout(Duration::from_millis(1500), stream.next());
            assert!(early.await.is_err(), "another order's goes on");
            mysqld.with(|server| {
                assert!(!server.super_read_only, "it drops data");
                server.cloned = None;
            });
        }
        assert_eq!(code(&stream.outcome().await.1), "step_interrupted");
        mysqld.with(|server| {
            assert_eq!(server.cloned, cloned("Failed").filter(|_| is_ended));
            assert_eq!(server.super_read_only, is_ended);
        });
        task.abort();
    }
}

#[tokio::test]
async fn a_cancelled_start_leaves_clients_shut_out_where_they_were() {
    for (was_shut, state, is_shut) in [
        (true, "OFFLINE", true),
        (true, "ONLINE", false),
        (true, "RECOVERING", false),
        (false, "OFFLINE", false),
    ] {
        let prepare = |server: &mut crate::mysql::fake::Server| {
            (server.start_goes_on, server.offline_mode) = (true, was_shut);
        };
        let mut begun = Begun::new(join(), "START GROUP_REPLICATION", prepare).await;
        assert!(!begun.mysqld.with(|server| server.offline_mode));
        begun.cancel().await;
        assert!(begun.goes_on().await, "it does, in mysqld");
        begun
            .mysqld
            .with(|server| (server.under_way, server.state) = (None, state.to_owned()));
        begun.ends().await;
        let shut = begun.mysqld.with(|server| server.offline_mode);
        assert_eq!(shut, is_shut, "{was_shut}, then {state}");
    }
}

#[tokio::test]
async fn a_start_of_an_earlier_process_that_is_cancelled_leaves_clients_shut_out() {
    for (noted, state, is_shut) in [(7, "OFFLINE", true), (6, "OFFLINE", false), (7, "ONLINE", false)] {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let (address, mut streams) = serve(&pki).await;
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.state = state.to_owned());
        let session = after_another(&pki, address, &dir, &mysqld).await;
        let note = serde_json::json!({"generation": {"epoch": 1, "index": noted}});
        noted_there(&session, "shut_out.json", &note).await;
        let task = tokio::spawn(session.run());
        let mut stream = opened(&mut streams).await;
        stream.cancel(7, 1, &digest(7, 1, &join())).await;
        assert_eq!(code(&stream.outcome().await.1), "step_interrupted");
        assert_eq!(mysqld.with(|server| server.offline_mode), is_shut, "{noted}, {state}");
        task.abort();
    }
}

/// Its START has failed since, and so left the flag ON. No keeper runs here.
#[tokio::test]
async fn the_flag_of_a_bootstrap_that_an_earlier_process_began_is_off_when_its_cancel_is_answered() {
    for (run, until, stays) in [
        ("2026-01-01 00:00:00", "2026-01-01 00:01:00.000000", false),
        ("2025-12-31 23:00:00", "2025-12-31 23:01:00.000000", true),
    ] {
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let (address, mut streams) = serve(&pki).await;
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.flag = true);
        let session = after_another(&pki, address, &dir, &mysqld).await;
        let note = serde_json::json!({"run": run, "until": until, "shut_out": true, "bootstraps": true});
        noted_there(&session, "start.json", &note).await;
        let task = tokio::spawn(session.run());
        let mut stream = opened(&mut streams).await;
        stream.cancel(7, 1, &digest(7, 1, &bootstrap())).await;
        assert_eq!(code(&stream.outcome().await.1), "step_interrupted");
        mysqld.with(|server| assert_eq!((server.flag, server.offline_mode), (stays, !stays), "{run}"));
        task.abort();
    }
}
