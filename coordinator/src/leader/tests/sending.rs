//! What is sent when: evidence is looked at again before every sending, and what was cancelled is not begun.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::observe::{
    DataDirectory, GroupMember, GroupView, LedgerFacts, MemberRole, MemberState, MetadataCopy, MetadataInstance,
    MysqlFacts, Observation, RouterFacts, ServerFacts, UnitState,
};
use clusterctl_proto::step::{BootstrapPeer, GroupConfig, MemberAccount, Vouched};
use clusterctl_proto::wire::agent::{Answer as Told, NeverBegun};

use super::*;
use crate::model::HandsOff;

fn observation(boot: &str, host: &str, state: MemberState, role: MemberRole, gtid: &str) -> Observation {
    let member = GroupMember {
        server_uuid: Uuid::from_u128(if host == "node1" { 1 } else { 2 }),
        host: host.to_owned(),
        port: 3306,
        state,
        role,
        version: "9.7.4".into(),
    };
    let row = |host: &str| MetadataInstance {
        address: format!("{host}:3306"),
        server_uuid: Uuid::from_u128(if host == "node1" { 1 } else { 2 }),
        server_id: None,
    };
    let server = ServerFacts {
        server_uuid: member.server_uuid,
        server_id: ServerId(1),
        version: "9.7.4".into(),
        report_host: host.into(),
        port: 3306,
        x_port: None,
        uptime_seconds: 60,
        gtid_executed: gtid.to_owned(),
        gtid_purged: String::new(),
        gtid_received: String::new(),
        super_read_only: false,
        offline_mode: false,
        bootstrap_flag: false,
        force_members: String::new(),
        group_name: Uuid::nil().to_string(),
        group: Some(GroupView {
            state,
            role,
            view_id: "v".into(),
            members: vec![member],
            auto_rejoin: false,
            channel_error: None,
            standstill_ms: None,
        }),
        tables_without_key: None,
        tables_not_innodb: None,
        user_schemas: None,
        foreign_channels: Vec::new(),
        lacking_rights: None,
        metadata: Some(MetadataCopy {
            version: "2.4.0".to_owned(),
            cluster_name: "prod".to_owned(),
            cluster_id: Uuid::nil().to_string(),
            group_name: Uuid::nil().to_string(),
            instances: vec![row("node1"), row("node2")],
            routers: Vec::new(),
        }),
        queue: 0,
    };
    Observation {
        boot_id: boot.to_owned(),
        agent_version: String::new(),
        ledger: LedgerFacts {
            known: true,
            ..LedgerFacts::default()
        },
        host: None,
        mysql: MysqlFacts {
            installed: Some("9.7.4".into()),
            unit: UnitState::Running,
            unit_result: String::new(),
            data: DataDirectory::Ours {
                cluster: Some("prod".parse().unwrap()),
            },
            server: Some(server),
            error: None,
        },
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    }
}

/// Asks this host and has it answer so.
fn told(stage: &Stage, host: &str, orders: &mut mpsc::Receiver<ToAgent>, seen: &Observation) {
    let session = stage.leader.sessions().current(&name(host)).expect("a stream");
    let id = stage
        .leader
        .sessions()
        .ask(&name(host), Instant::now(), false, Vec::new(), None)
        .expect("asked");
    while orders.try_recv().is_ok() {}
    let told = Told {
        id,
        observation_json: serde_json::to_vec(seen).unwrap(),
    };
    stage.leader.answer(&name(host), session, &told).unwrap();
}

fn bootstrap() -> Step {
    Step::BootstrapGroup {
        group: GroupConfig {
            group_name: Uuid::nil(),
            variables: Vec::new(),
            account: MemberAccount {
                user: "u".into(),
                from: "%".into(),
                subject: "s".into(),
                issuer: "i".into(),
            },
        },
        holds: GtidSet::new(),
        lineage: None,
        peers: vec![BootstrapPeer {
            host: name("node2"),
            address: "node2:3306".to_owned(),
            vouched: Vouched::Promised,
        }],
    }
}

/// A formed cluster of node1 and node2, and a recovery of the coordinator's own that has its plan: promises, then node1 bootstraps.
async fn recovering() -> (Stage, PlanId) {
    let mut stage = Stage::new().await;
    stage
        .own(Change::EndOperation {
            operation: stage.operation,
            result: Ok("formed".to_owned()),
        })
        .await;
    let kind = OperationKind::Recover {
        without: Vec::new(),
        accept_loss: None,
        expires_at: None,
    };
    let operation = Operation::wanted(
        "r2".to_owned(),
        "prod".parse().unwrap(),
        kind,
        "coordinator/1",
        proposer::now(),
    );
    let change = Change::Submit {
        operation,
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    };
    match stage.own(change).await {
        Answer::Operation(id) => stage.operation = id,
        other => panic!("{other:?}"),
    }
    let plan = stage
        .adopt(vec![
            step(1, "node1", Step::Promise {}, &[]),
            step(2, "node2", Step::Promise {}, &[]),
            step(3, "node1", bootstrap(), &[1, 2]),
        ])
        .await;
    (stage, plan)
}

/// Promises are given; the coordinator and node1 go down; by hand the group is made again on node2, and the cluster is paused; then node1 is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_is_not_sent_while_the_group_is_seen_alive() {
    let (mut stage, plan) = recovering().await;
    stage
        .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    stage
        .outcome("node2", outcome(plan, 2, StepResult::Unchanged, &[]))
        .await;
    stage.forget();
    let mut two = stage.connect("node2");
    let alive = observation(
        "b2",
        "node2",
        MemberState::Online,
        MemberRole::Primary,
        "00000000-0000-0000-0000-000000000000:1-900",
    );
    told(&stage, "node2", &mut two, &alive);
    let primary = stage.leader.look(|world| {
        let cluster = world.model.clusters.values().next().unwrap();
        crate::planner::live::primary(world, cluster).map(|p| p.host.clone())
    });
    assert_eq!(primary, Some(name("node2")), "the leader certainly sees a live group");
    let said = HandsOff {
        by: "operator/alice".into(),
        at: proposer::now(),
        reason: "by hand".into(),
        until: None,
        everything: false,
    };
    stage
        .own(Change::HandsOff {
            cluster: "prod".parse().unwrap(),
            host: None,
            said: Some(said),
            only: None,
        })
        .await;

    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    assert_eq!(
        orders(&mut one),
        Vec::<String>::new(),
        "a second group is ordered beside a live one"
    );
}

/// As with several coordinators: one that leads later knows nothing of what another leader has sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_leader_does_not_call_a_sent_step_not_run() {
    let (stage, _) = recovering().await;
    let later = Leader::new(stage.leader.node.clone());
    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["1 promise"], "the leader of that time has sent it");
    stage
        .own(Change::Cancel {
            operation: stage.operation,
        })
        .await;
    let changes = later.dispatch(Instant::now()).await;
    let not_run = changes.iter().any(|change| {
        matches!(change, Change::GiveUp { step: 1, outcome, .. } | Change::Outcome { step: 1, outcome, .. }
        if matches!(&outcome.result, StepResult::Failed { failure } if failure.code == plans::NOT_RUN))
    });
    assert!(!not_run, "a step that runs is stored as certainly never run");
}

/// The operator has cancelled it before it was sent (its host was away); then the coordinator restarts.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_before_it_was_sent_is_not_begun_after_a_restart() {
    let (mut stage, plan) = recovering().await;
    stage
        .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    stage
        .outcome("node2", outcome(plan, 2, StepResult::Unchanged, &[]))
        .await;
    stage
        .own(Change::Cancel {
            operation: stage.operation,
        })
        .await;
    assert!(matches!(stage.state(), OperationState::Cancelled { .. }));
    stage.forget();
    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(
        orders(&mut one),
        ["3 cancel"],
        "a cancelled operation begins to bootstrap"
    );
}

fn busy(stage: &Stage) -> Vec<String> {
    let read = |model: &Model| {
        let busy = plans::busy_hosts(model, &"prod".parse().expect("name"));
        busy.into_iter()
            .map(|(host, key)| format!("{host} {}", key.1))
            .collect()
    };
    stage.leader.node.state().read(read)
}

/// A host that is silent when its step is cancelled stays busy until its agent speaks; the cluster does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_host_stays_busy_and_the_cluster_goes_on() {
    let mut stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut one = stage.connect("node1");
    let now = Instant::now();
    stage.dispatch(now).await;
    assert_eq!(orders(&mut one), ["1 promise"]);
    stage.leader.sessions().end_all();
    stage
        .own(Change::Cancel {
            operation: stage.operation,
        })
        .await;
    assert!(stage.dispatch(now).await.is_empty());
    assert_eq!(stage.dispatch(now + Duration::from_secs(31)).await, ["1 host_silent"]);
    assert_eq!(busy(&stage), ["node1 1"]);
    // Whatever leader comes, nothing is sent there but the cancel, and the agent's word ends it.
    stage.forget();
    let mut one = stage.connect("node1");
    stage.dispatch(now).await;
    stage.dispatch(now).await;
    assert_eq!(orders(&mut one), ["1 cancel"]);
    let word = NeverBegun {
        plan: plan.0,
        step: 1,
        ..NeverBegun::default()
    };
    stage.leader.never_begun(&name("node2"), word.clone()).await.unwrap();
    assert_eq!(busy(&stage), ["node1 1"], "it is not that host's step");
    stage.leader.never_begun(&name("node1"), word).await.unwrap();
    assert_eq!(busy(&stage), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_given_up_ends_by_the_outcome_that_comes_late() {
    let stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut one = stage.connect("node1");
    let now = Instant::now();
    stage.dispatch(now).await;
    drop(orders(&mut one));
    stage.leader.sessions().end_all();
    stage.dispatch(now).await;
    assert_eq!(stage.dispatch(now + Duration::from_secs(301)).await, ["1 host_silent"]);
    assert_eq!(busy(&stage), ["node1 1"]);
    stage
        .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    assert_eq!(busy(&stage), Vec::<String>::new());
}

/// Patience is counted over restarts of the coordinator, by time that it waited and not by its clock.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_host_goes_on_after_a_restart() {
    let mut stage = Stage::new().await;
    stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let now = Instant::now() + Duration::from_secs(3600);
    assert!(stage.dispatch(now).await.is_empty());
    assert!(stage.dispatch(now + Duration::from_secs(200)).await.is_empty());
    stage.forget();
    assert!(stage.dispatch(now).await.is_empty());
    assert!(stage.dispatch(now + Duration::from_secs(99)).await.is_empty());
    assert_eq!(stage.dispatch(now + Duration::from_secs(101)).await, ["1 host_silent"]);
}

/// A step that tells nothing for long is cancelled; each line of progress begins the time anew; only its agent ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_progress_is_cancelled() {
    let stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut one = stage.connect("node1");
    let now = Instant::now();
    let after = |minutes: u64| now + Duration::from_secs(minutes * 60);
    stage.dispatch(now).await;
    stage.leader.progress.sign(plan, 1, after(15));
    stage.dispatch(after(34)).await;
    assert_eq!(
        orders(&mut one),
        ["1 promise"],
        "it gave a sign after a quarter of an hour"
    );
    assert!(stage.dispatch(after(36)).await.is_empty());
    assert_eq!(orders(&mut one), ["1 cancel"]);
    assert_eq!(stage.dispatch(after(38)).await, ["1 step_overdue"]);
    assert_eq!(busy(&stage), ["node1 1"]);
}

/// What was sent, and is not safe any more when it is to be sent again, may run: it is cancelled, and its host is busy until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_was_sent_before_is_cancelled_when_its_evidence_has_changed() {
    let (mut stage, plan) = recovering().await;
    stage
        .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    stage
        .outcome("node2", outcome(plan, 2, StepResult::Unchanged, &[]))
        .await;
    let out = |host| observation("b", host, MemberState::Offline, MemberRole::None, "");
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), Vec::<String>::new(), "nothing is certain yet");
    told(&stage, "node1", &mut one, &out("node1"));
    told(&stage, "node2", &mut two, &out("node2"));
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["3 bootstrap_group"]);
    stage.forget();
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    let alive = observation("b2", "node2", MemberState::Online, MemberRole::Primary, "");
    told(&stage, "node2", &mut two, &alive);
    assert_eq!(stage.dispatch(Instant::now()).await, ["3 evidence_changed"]);
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["3 cancel"]);
    assert_eq!(busy(&stage), ["node1 3"]);
}

/// A step beside the one that failed ends by itself; after a reconnect, when nobody knows whether it runs, it is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_beside_one_that_failed_is_not_broken_off() {
    let stage = Stage::new().await;
    let plan = stage
        .adopt(vec![
            step(1, "node1", Step::Promise {}, &[]),
            step(2, "node2", Step::Promise {}, &[]),
        ])
        .await;
    let (_one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    stage.dispatch(Instant::now()).await;
    stage.outcome("node1", outcome(plan, 1, failed("no"), &[])).await;
    assert!(stage.dispatch(Instant::now()).await.is_empty());
    assert_eq!(orders(&mut two), ["2 promise"]);
    let mut two = stage.connect("node2");
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["2 cancel"]);
}

/// Nobody is in the group any more, and a recovery waits for the copy: it is stopped, and only then.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_makes_way_for_a_recovery() {
    let mut stage = Stage::new().await;
    let formed = Change::EndOperation {
        operation: stage.operation,
        result: Ok("formed".to_owned()),
    };
    stage.own(formed).await;
    let recovery = stage.operation;
    let submit = |request: &str, kind: OperationKind| {
        let operation = Operation::wanted(
            request.to_owned(),
            "prod".parse().unwrap(),
            kind,
            "coordinator/1",
            proposer::now(),
        );
        Change::Submit {
            operation,
            cluster_id: Uuid::nil(),
            group_name: Uuid::nil(),
            server_ids: Vec::new(),
        }
    };
    match stage
        .own(submit("copy", OperationKind::Rejoin { host: name("node2") }))
        .await
    {
        Answer::Operation(id) => stage.operation = id,
        other => panic!("{other:?}"),
    }
    assert_ne!(recovery, stage.operation);
    let copy = Step::CloneData {
        donor: name("node1"),
        port: 3306,
        group_name: Uuid::nil(),
        account: match bootstrap() {
            Step::BootstrapGroup { group, .. } => group.account,
            other => panic!("{other:?}"),
        },
        group_gtid: String::new(),
        history: None,
    };
    let plan = stage.adopt_as(vec![step(1, "node2", copy, &[])], true).await;
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    let see = |host: &str, state, role| observation("b", host, state, role, "00000000-0000-0000-0000-000000000000:1-9");
    let leads = see("node1", MemberState::Online, MemberRole::Primary);
    told(&stage, "node1", &mut one, &leads);
    let out = see("node2", MemberState::Offline, MemberRole::None);
    told(&stage, "node2", &mut two, &out);
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["1 clone_data"]);

    let kind = OperationKind::Recover {
        without: Vec::new(),
        accept_loss: None,
        expires_at: None,
    };
    stage.own(submit("recovery", kind)).await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), Vec::<String>::new(), "somebody leads");
    told(
        &stage,
        "node1",
        &mut one,
        &see("node1", MemberState::Offline, MemberRole::None),
    );
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["1 cancel"]);
    // Its host is busy until its agent has spoken; then the operation is planned anew.
    assert_eq!(busy(&stage), ["node2 1"]);
    stage
        .outcome("node2", outcome(plan, 1, failed(plans::STEP_CANCELLED), &[]))
        .await;
    assert_eq!(busy(&stage), Vec::<String>::new());
    assert!(
        matches!(stage.state(), OperationState::Waiting { .. }),
        "{:?}",
        stage.state()
    );
}

/// A copy of node1's data onto node2 is planned.
async fn copying() -> (Stage, PlanId) {
    let mut stage = Stage::new().await;
    let formed = Change::EndOperation {
        operation: stage.operation,
        result: Ok("formed".to_owned()),
    };
    stage.own(formed).await;
    let operation = Operation::wanted(
        "copy".to_owned(),
        "prod".parse().unwrap(),
        OperationKind::Rejoin { host: name("node2") },
        "coordinator/1",
        proposer::now(),
    );
    let change = Change::Submit {
        operation,
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    };
    match stage.own(change).await {
        Answer::Operation(id) => stage.operation = id,
        other => panic!("{other:?}"),
    }
    let Step::BootstrapGroup { group, .. } = bootstrap() else {
        panic!("no bootstrap")
    };
    let copy = Step::CloneData {
        donor: name("node1"),
        port: 3306,
        group_name: Uuid::nil(),
        account: group.account,
        group_gtid: String::new(),
        history: None,
    };
    let plan = stage.adopt_as(vec![step(1, "node2", copy, &[])], true).await;
    (stage, plan)
}

/// A coordinator that restarts sends the copy again, as its agent may not know it any more; not while the host serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_sent_again_after_a_restart_if_it_is_still_safe() {
    let (mut stage, _) = copying().await;
    let gtid = "00000000-0000-0000-0000-000000000000:1-9";
    for (state, donor, wanted) in [
        (MemberState::Offline, MemberState::Online, vec!["1 clone_data"]),
        (MemberState::Offline, MemberState::Online, vec!["1 clone_data"]),
        (MemberState::Online, MemberState::Online, Vec::new()),
    ] {
        stage.forget();
        let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut two), Vec::<String>::new(), "nothing has been seen yet");
        let leads = observation("b", "node1", donor, MemberRole::Primary, gtid);
        told(&stage, "node1", &mut one, &leads);
        told(
            &stage,
            "node2",
            &mut two,
            &observation("b", "node2", state, MemberRole::None, gtid),
        );
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut two), wanted);
    }
    assert!(
        matches!(stage.state(), OperationState::Waiting { .. }),
        "planned anew: {:?}",
        stage.state()
    );
}

/// A person takes the donor elsewhere, hours after the copy began; its agent says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_data_that_are_not_the_groups_any_more_is_stopped() {
    let (stage, plan) = copying().await;
    let gtid = "00000000-0000-0000-0000-000000000000:1-9";
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    let mut donor = observation("b", "node1", MemberState::Online, MemberRole::Primary, gtid);
    told(&stage, "node1", &mut one, &donor);
    let out = observation("b", "node2", MemberState::Offline, MemberRole::None, gtid);
    told(&stage, "node2", &mut two, &out);
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["1 clone_data"]);
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), Vec::<String>::new(), "it goes on");
    let server = donor.mysql.server.as_ref().unwrap().server_uuid;
    donor.ledger.half_copied.insert("prod".parse().unwrap(), server);
    told(&stage, "node1", &mut one, &donor);
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["1 cancel"]);
    stage
        .outcome("node2", outcome(plan, 1, failed(plans::STEP_CANCELLED), &[]))
        .await;
    assert!(
        matches!(stage.state(), OperationState::Waiting { .. }),
        "planned anew: {:?}",
        stage.state()
    );
}

/// Its agent copies on while its stream is broken or the coordinator restarts; then the donor is found to be another, and the agent of a
/// busy member has not looked through its data directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_void_copy_that_was_not_sent_on_this_stream_is_stopped() {
    for restarts in [false, true] {
        let (mut stage, plan) = copying().await;
        let gtid = "00000000-0000-0000-0000-000000000000:1-9";
        let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
        let mut donor = observation("b", "node1", MemberState::Online, MemberRole::Primary, gtid);
        told(&stage, "node1", &mut one, &donor);
        let out = observation("b", "node2", MemberState::Offline, MemberRole::None, gtid);
        told(&stage, "node2", &mut two, &out);
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut two), ["1 clone_data"]);
        if restarts {
            stage.forget();
            one = stage.connect("node1");
        }
        let mut two = stage.connect("node2");
        let server = donor.mysql.server.as_ref().unwrap().server_uuid;
        donor.ledger.half_copied.insert("prod".parse().unwrap(), server);
        donor.mysql.data = DataDirectory::Foreign {
            what: format!("{} in time", DataDirectory::UNSEEN),
        };
        told(&stage, "node1", &mut one, &donor);
        told(&stage, "node2", &mut two, &out);
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut two), ["1 cancel"], "{restarts}");
        stage
            .outcome("node2", outcome(plan, 1, failed(plans::STEP_CANCELLED), &[]))
            .await;
        assert!(
            matches!(stage.state(), OperationState::Waiting { .. }),
            "planned anew: {:?}",
            stage.state()
        );
    }
}
