//! A copied machine beside the member: what the leader makes of it.

use clusterctl_proto::observe::{
    DataDirectory, GroupMember, GroupView, LedgerFacts, MemberRole, MemberState, MysqlFacts, Observation, RouterFacts,
    ServerFacts, UnitState,
};
use clusterctl_proto::wire::agent::{Answer as Told, from_agent};

use super::*;
use crate::leader::sessions::SessionId;
use crate::planner::heal;

/// `running`: ONLINE as the primary of a group of its own; else out of any group.
fn observation(boot: &str, host: &str, running: bool) -> Observation {
    let (state, role) = match running {
        true => (MemberState::Online, MemberRole::Primary),
        false => (MemberState::Offline, MemberRole::None),
    };
    let server_uuid = Uuid::from_u128(if host == "node1" { 1 } else { 2 });
    let member = GroupMember {
        server_uuid,
        host: host.to_owned(),
        port: 3306,
        state,
        role,
        version: "9.7.4".to_owned(),
    };
    let server = serde_json::json!({
        "server_uuid": server_uuid, "server_id": 1, "version": "9.7.4", "report_host": host, "port": 3306, "x_port": null,
        "uptime_seconds": 60, "gtid_executed": "00000000-0000-0000-0000-000000000000:1-900", "gtid_purged": "",
        "gtid_received": "", "super_read_only": false, "offline_mode": false, "bootstrap_flag": false,
        "group_name": Uuid::nil().to_string(), "group": null, "tables_without_key": null, "tables_not_innodb": null,
        "user_schemas": null, "foreign_channels": [], "queue": 0,
        "metadata": {"version": "2.4.0", "cluster_name": "prod", "cluster_id": "", "group_name": Uuid::nil().to_string(), "instances": [], "routers": []},
    });
    let mut server: ServerFacts = serde_json::from_value(server).expect("facts");
    server.group = Some(GroupView {
        state,
        role,
        view_id: "v".to_owned(),
        members: vec![member],
        auto_rejoin: false,
        channel_error: None,
        standstill_ms: None,
    });
    Observation {
        boot_id: boot.to_owned(),
        agent_version: String::new(),
        ledger: LedgerFacts {
            known: true,
            ..LedgerFacts::default()
        },
        host: None,
        mysql: MysqlFacts {
            installed: Some("9.7.4".to_owned()),
            unit: UnitState::Running,
            data: DataDirectory::Ours {
                cluster: Some("prod".parse().expect("name")),
            },
            server: Some(server),
            ..MysqlFacts::default()
        },
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    }
}

/// The agent at this stream answers what it was asked.
fn answer(stage: &Stage, host: &str, (id, orders): &mut (SessionId, mpsc::Receiver<ToAgent>), seen: &Observation) {
    stage
        .leader
        .sessions()
        .ask(&name(host), Instant::now(), false, Vec::new(), None);
    while let Ok(ToAgent { message }) = orders.try_recv() {
        if let Some(to_agent::Message::Question(question)) = message {
            let told = Told {
                id: question.id,
                observation_json: serde_json::to_vec(seen).expect("JSON"),
            };
            stage.leader.answer(&name(host), *id, &told).expect("read");
        }
    }
}

fn recovers(stage: &Stage) -> bool {
    let needed = stage.leader.look(|world| {
        let cluster = world.model.clusters.values().next().expect("a cluster");
        heal::needed(world, cluster, &heal::troubles(world, cluster))
    });
    needed.iter().any(|kind| matches!(kind, OperationKind::Recover { .. }))
}

fn alarm(stage: &Stage) -> Option<String> {
    stage.leader.look(|world| {
        let cluster = world.model.clusters.values().next().expect("a cluster");
        let troubles = heal::troubles(world, cluster);
        let alarm = troubles.into_iter().find(|trouble| trouble.code == heal::TWO_MACHINES);
        alarm.map(|trouble| trouble.wrong)
    })
}

async fn formed() -> Stage {
    let stage = Stage::new().await;
    stage
        .own(Change::EndOperation {
            operation: stage.operation,
            result: Ok("formed".to_owned()),
        })
        .await;
    stage
}

/// Nobody waits for the next round: the old stream must answer within seconds or lose its say.
#[tokio::test(flavor = "multi_thread")]
async fn both_streams_of_a_host_are_asked_as_soon_as_the_second_opens() {
    let stage = formed().await;
    let asked = |orders: &mut mpsc::Receiver<ToAgent>| {
        let told = std::iter::from_fn(|| orders.try_recv().ok());
        told.filter(|told| matches!(told.message, Some(to_agent::Message::Question(_))))
            .count()
    };
    let (_, mut first) = stage.connect_as("node1", "boot of node1");
    let before = asked(&mut first);
    let (_, mut second) = stage.connect_as("node1", "boot of the clone");
    assert_eq!((asked(&mut first), asked(&mut second)), (1, 1), "{before} before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_machine_does_not_speak_for_the_member() {
    let stage = formed().await;
    let mut two = stage.connect_as("node2", "boot of node2");
    answer(&stage, "node2", &mut two, &observation("boot of node2", "node2", false));
    let mut original = stage.connect_as("node1", "boot of node1");
    let serves = observation("boot of node1", "node1", true);
    answer(&stage, "node1", &mut original, &serves);
    assert!(!recovers(&stage), "the primary serves");

    // The clone comes while the original still answers, and says that its mysqld is out of any group.
    let mut clone = stage.connect_as("node1", "boot of the clone");
    let out = observation("boot of the clone", "node1", false);
    answer(&stage, "node1", &mut clone, &out);
    assert!(
        !recovers(&stage),
        "the group is bootstrapped on a clone while the member serves"
    );
    assert_eq!(stage.leader.sessions().current(&name("node1")), None);
    assert_eq!(alarm(&stage), None, "it may be a restart");

    // The original answers: the alarm names both.
    answer(&stage, "node1", &mut original, &serves);
    answer(&stage, "node1", &mut clone, &out);
    assert!(!recovers(&stage));
    let alarm = alarm(&stage).expect("an alarm");
    assert!(
        alarm.contains("two machines speak as node1") && alarm.contains("boot of ") && alarm.contains("192.0.2.1:"),
        "{alarm}"
    );
    let seen = stage.leader.sight().remove(&name("node1")).expect("seen");
    assert_eq!(
        seen.observation.boot_id, "boot of node1",
        "what the clone says is not shown as the member's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_does_not_report_the_steps_of_the_member() {
    let stage = Stage::new().await;
    let mut original = stage.connect_as("node1", "boot of node1");
    let plan = stage
        .adopt(vec![
            step(1, "node1", Step::Promise {}, &[]),
            step(2, "node1", Step::Promise {}, &[1]),
        ])
        .await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut original.1), ["1 promise"]);
    let mut clone = stage.connect_as("node1", "boot of the clone");
    let report = |step: StepNumber| {
        Some(from_agent::Message::Outcome(outcome(
            plan,
            step,
            StepResult::Unchanged,
            &[],
        )))
    };
    let done = |step: StepNumber| {
        let state = |model: &Model| model.plans[&plan].draft.steps[step as usize - 1].state.clone();
        !matches!(stage.leader.node.state().read(state), StepState::Pending)
    };
    stage
        .leader
        .take(&name("node1"), clone.0, report(1))
        .await
        .expect("ignored");
    assert!(!done(1), "the clone has not carried out that order");
    stage
        .leader
        .take(&name("node1"), original.0, report(1))
        .await
        .expect("taken");
    assert!(done(1));
    // Nothing more is ordered to either, and nobody takes the step for lost yet.
    assert!(stage.dispatch(Instant::now()).await.is_empty());
    assert!(orders(&mut original.1).is_empty() && orders(&mut clone.1).is_empty());
}

/// The same, but nobody is at the original: what the new machine says counts, and the outage is healed.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_power_cycled_speaks_for_itself() {
    let stage = formed().await;
    let mut two = stage.connect_as("node2", "boot of node2");
    let mut before = stage.connect_as("node1", "boot 1");
    answer(&stage, "node1", &mut before, &observation("boot 1", "node1", true));
    // It is asked once more, and does not answer.
    stage
        .leader
        .sessions()
        .ask(&name("node1"), Instant::now(), false, Vec::new(), None);
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let mut after = stage.connect_as("node1", "boot 2");
    assert_eq!(stage.leader.sessions().current(&name("node1")), Some(after.0));
    answer(&stage, "node1", &mut after, &observation("boot 2", "node1", false));
    answer(&stage, "node2", &mut two, &observation("boot of node2", "node2", false));
    assert_eq!(alarm(&stage), None);
    assert!(
        recovers(&stage),
        "both are certainly out: no slower than with one stream"
    );
}
