//! The leader over a modelled log and streams that are only channels, under virtual time: what the simulator does with it.

mod log;
mod stream;

/// The simulator's log; its other functions are the simulator's to call.
#[path = "../../../tests/sim/src/raft.rs"]
#[allow(dead_code)]
mod raft;

use std::collections::BTreeSet;
use std::time::Duration;

use clusterctl_coordinator::machine::{Answer, Change, Command};
use clusterctl_coordinator::model::{Host, Operation, OperationKind, Token};
use clusterctl_proto::ids::{HostName, HostRole, OperationId, ServerId};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use uuid::Uuid;

use raft::{Log, Way};

pub fn name(text: &str) -> HostName {
    text.parse().expect("host name")
}

pub fn command(change: Change) -> Command {
    Command {
        at: 1_800_000_000_000,
        by: "operator/admin".to_owned(),
        change,
    }
}

pub fn note(text: &str) -> Command {
    command(Change::Note {
        kind: "test".to_owned(),
        cluster: None,
        host: None,
        text: text.to_owned(),
    })
}

/// Everything takes 10 ms.
pub fn log(voters: impl IntoIterator<Item = u64>) -> Log {
    Log::new(voters, Box::new(|_: Way| Duration::from_millis(10)))
}

/// What an operator has done before: a group, three enrolled hosts, and a cluster of them that was formed.
pub fn formed(log: &Log) {
    let write = |change: Change| match log.write(command(change)) {
        Answer::Rejected(failure) => panic!("{failure}"),
        answer => answer,
    };
    let group = Uuid::from_u128(7);
    write(Change::Found { group });
    let token = Token {
        id: "t".to_owned(),
        secret_sha256: String::new(),
        roles: BTreeSet::from([HostRole::Db]),
        host: None,
        replace: false,
        expires_at: i64::MAX,
        uses_left: 9,
        failures: 0,
        revoked: false,
        created_by: "operator/admin".to_owned(),
        created_at: 0,
    };
    write(Change::AddToken { token });
    for (number, host) in (1..).zip(["node1", "node2", "node3"]) {
        let host = Host {
            name: name(host),
            roles: BTreeSet::new(),
            addresses: vec![[192, 0, 2, number].into()],
            enrolled_at: 0,
            key_sha256: host.to_owned(),
            certificate_expires: i64::MAX,
        };
        let token = "t".to_owned();
        write(Change::Enrol { token, host });
    }
    let kind = OperationKind::Create {
        primary: name("node1"),
        with: vec![name("node2"), name("node3")],
        routers: Vec::new(),
        ignore_checks: Vec::new(),
        buffer_pool_bytes: None,
    };
    let prod = "prod".parse().expect("cluster name");
    let operation = Operation::wanted("create".to_owned(), prod, kind, "operator/admin", 0);
    let created = write(Change::Submit {
        operation,
        cluster_id: Uuid::from_u128(1),
        group_name: Uuid::from_u128(2),
        server_ids: (11..20).map(ServerId).collect(),
    });
    let Answer::Operation(operation) = created else {
        panic!("{created:?}")
    };
    write(Change::EndOperation {
        operation,
        result: Ok("prod is formed".to_owned()),
    });
}

/// An operation that waits, and how an agent answers for its step.
pub fn verify() -> Change {
    let prod = "prod".parse().expect("cluster name");
    Change::Submit {
        operation: Operation::wanted("verify".to_owned(), prod, OperationKind::Verify, "operator/admin", 0),
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    }
}

/// A plan of one promise on this host.
pub fn promise(operation: OperationId, host: &str) -> Change {
    use clusterctl_coordinator::model::{PlanDraft, PlannedStep, StepState};
    let step = PlannedStep {
        number: 1,
        host: name(host),
        step: Step::Promise {},
        title: "promise".to_owned(),
        after: Vec::new(),
        best_effort: false,
        finally: false,
        state: StepState::Pending,
    };
    let draft = PlanDraft {
        cluster: "prod".parse().expect("cluster name"),
        operation,
        parent: None,
        steps: vec![step],
        report: Vec::new(),
        done_message: "done".to_owned(),
        goes_on: false,
        side: false,
        given_up: None,
        taken_back: None,
    };
    Change::Adopt { draft }
}

pub fn changed() -> StepOutcome {
    StepOutcome {
        result: StepResult::Unchanged,
        data: None,
        elapsed_ms: 1,
        spent_ms: Default::default(),
    }
}
