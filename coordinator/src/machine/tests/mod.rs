//! The machine, command by command.

mod copies;
mod ends;
mod frozen;
mod given_up;
mod identity;
mod life;
mod limits;
mod random;
mod undone;

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, HostRole, OperationId, PlanId, ServerId, StepNumber};
use clusterctl_proto::step::{GroupConfig, MemberAccount, Recovery, Step, StepOutcome, StepResult};
use uuid::Uuid;

use super::*;
use crate::model::operation::RecoveryWish;
use crate::model::{Host, Model, Operation, OperationKind, OperationState, PlanDraft, PlannedStep, StepState, Token};

fn name(text: &str) -> HostName {
    text.parse().expect("host name")
}

fn outcome(result: StepResult) -> StepOutcome {
    StepOutcome {
        result,
        data: None,
        elapsed_ms: 5,
        spent_ms: BTreeMap::new(),
    }
}

fn failed(failure: Failure) -> StepOutcome {
    outcome(StepResult::Failed { failure })
}

fn token(id: &str, uses: u32, expires_at: i64) -> Token {
    Token {
        id: id.to_owned(),
        secret_sha256: "00".to_owned(),
        roles: BTreeSet::from([HostRole::Db]),
        host: None,
        replace: false,
        expires_at,
        uses_left: uses,
        failures: 0,
        revoked: false,
        created_by: "operator/admin".to_owned(),
        created_at: 0,
    }
}

fn host(text: &str, key: &str) -> Host {
    Host {
        name: name(text),
        roles: BTreeSet::new(),
        addresses: vec!["10.0.0.1".parse().expect("address")],
        enrolled_at: 0,
        key_sha256: key.to_owned(),
        certificate_expires: 1,
    }
}

fn create_kind(with: &[&str]) -> OperationKind {
    OperationKind::Create {
        primary: name("node1"),
        with: with.iter().map(|text| name(text)).collect(),
        routers: Vec::new(),
        ignore_checks: Vec::new(),
        buffer_pool_bytes: None,
    }
}

fn join_kind(text: &str) -> OperationKind {
    OperationKind::Join {
        host: name(text),
        recovery: RecoveryWish::Auto,
        ignore_checks: Vec::new(),
    }
}

fn account() -> MemberAccount {
    let text = || "x".to_owned();
    MemberAccount {
        user: text(),
        from: text(),
        subject: text(),
        issuer: text(),
    }
}

fn group() -> GroupConfig {
    GroupConfig {
        group_name: Uuid::nil(),
        variables: Vec::new(),
        account: account(),
    }
}

fn join_step() -> Step {
    Step::JoinGroup {
        group: group(),
        recovery: Recovery::Incremental,
        account: account(),
        group_gtid: String::new(),
        history: None,
    }
}

fn step(number: StepNumber, on: &str, step: Step, after: &[StepNumber]) -> PlannedStep {
    PlannedStep {
        number,
        host: name(on),
        title: format!("{} on {on}", step.name()),
        step,
        after: after.to_vec(),
        best_effort: false,
        finally: false,
        state: StepState::Pending,
    }
}

/// A model with the log index that the next entry has.
struct World {
    model: Model,
    index: u64,
    now: i64,
}

impl World {
    fn new(hosts: &[&str]) -> Self {
        let mut world = Self {
            model: Model::new(Uuid::nil()),
            index: 0,
            now: 1_000_000,
        };
        world.apply(Change::Found {
            group: Uuid::from_u128(7),
        });
        world.apply(Change::AddToken {
            token: token("t", 100, i64::MAX),
        });
        for text in hosts {
            assert_eq!(
                world.apply(Change::Enrol {
                    token: "t".to_owned(),
                    host: host(text, "key")
                }),
                Answer::Applied
            );
        }
        world
    }

    fn apply(&mut self, change: Change) -> Answer {
        self.index += 1;
        apply(
            &mut self.model,
            self.index,
            &Command {
                at: self.now,
                by: "operator/admin".to_owned(),
                change,
            },
        )
    }

    fn submit(&mut self, kind: OperationKind) -> Answer {
        let operation = Operation {
            id: OperationId(0),
            request_id: format!("request {}", self.index),
            cluster: "prod".parse().expect("name"),
            kind,
            by: "operator/admin".to_owned(),
            submitted_at: 0,
            ended_at: None,
            state: OperationState::Running,
            accept_lower_tolerance: false,
            plans: Vec::new(),
            attempts: 9,
            not_before: 9,
            turn_at: 0,
            bytes: 0,
        };
        let first = u32::try_from(self.index).expect("small") * 100;
        let server_ids = (first..first + 9).map(ServerId).collect();
        self.apply(Change::Submit {
            operation,
            cluster_id: Uuid::from_u128(1),
            group_name: Uuid::from_u128(2),
            server_ids,
        })
    }

    fn submitted(&mut self, kind: OperationKind) -> OperationId {
        match self.submit(kind) {
            Answer::Operation(id) => id,
            other => panic!("not stored: {other:?}"),
        }
    }

    fn draft(&self, operation: OperationId, steps: Vec<PlannedStep>) -> PlanDraft {
        let cluster: clusterctl_proto::ids::ClusterName = "prod".parse().expect("name");
        let parent = self.model.clusters.get(&cluster).and_then(|cluster| cluster.last_plan);
        PlanDraft {
            cluster,
            operation,
            parent,
            steps,
            report: Vec::new(),
            done_message: "well done".to_owned(),
            goes_on: false,
            side: false,
            given_up: None,
            taken_back: None,
        }
    }

    fn adopt(&mut self, operation: OperationId, steps: Vec<PlannedStep>) -> PlanId {
        let draft = self.draft(operation, steps);
        match self.apply(Change::Adopt { draft }) {
            Answer::Plan(id) => id,
            other => panic!("not adopted: {other:?}"),
        }
    }

    fn end_step(&mut self, plan: PlanId, step: StepNumber, outcome: StepOutcome) -> Answer {
        self.apply(Change::Outcome { plan, step, outcome })
    }

    /// To the newest feature level.
    fn raise(&mut self) {
        let to = crate::model::FEATURE_LEVEL;
        assert_eq!(self.apply(Change::RaiseFeatureLevel { to }), Answer::Applied);
    }

    fn enrol(&mut self, text: &str) {
        let token = "t".to_owned();
        let host = host(text, "key");
        assert_eq!(self.apply(Change::Enrol { token, host }), Answer::Applied);
    }

    fn state(&self, operation: OperationId) -> &OperationState {
        &self.model.operations[&operation].state
    }

    fn cluster(&self) -> Option<&crate::model::Cluster> {
        self.model
            .clusters
            .get(&"prod".parse::<clusterctl_proto::ids::ClusterName>().expect("name"))
    }

    fn kinds(&self) -> Vec<&str> {
        self.model.events.iter().map(|event| event.kind.as_str()).collect()
    }

    /// A formed cluster of these members, the first of them its first.
    fn formed(hosts: &[&str]) -> Self {
        let mut world = Self::new(hosts);
        let id = world.submitted(create_kind(&hosts[1..]));
        let plan = world.adopt(
            id,
            vec![step(
                1,
                "node1",
                Step::BootstrapGroup {
                    group: group(),
                    holds: Default::default(),
                    lineage: None,
                    peers: Vec::new(),
                },
                &[],
            )],
        );
        world.end_step(plan, 1, outcome(StepResult::Unchanged));
        assert!(world.cluster().expect("cluster").formed);
        world
    }
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Rejected(failure) => &failure.code,
        _ => "",
    }
}
