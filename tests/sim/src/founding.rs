//! How a world begins: three enrolled hosts and a cluster that was formed by a release that recorded no lineages; its servers run, hold
//! the same, and are out of the group. The first thing that the real parts do is to recover it.

use clusterctl_coordinator::machine::{Answer, Change, Command};
use clusterctl_coordinator::model::{FEATURE_LEVEL, Host, Operation, OperationKind, Token};
use clusterctl_proto::ids::{HostRole, OperationId, ServerId};

use crate::keys;
use crate::names::{CLUSTER_ID, COORDINATORS, GROUP_NAME, NODES, host, prod, server_id};
use crate::raft::Log;

/// When the cluster was formed, Unix milliseconds: a day before the simulation begins.
const FORMED: i64 = 1_795_862_600_000;

/// Writes the first entries of the log.
pub fn write(log: &Log) {
    put(log, Change::Found { group: COORDINATORS });
    put(log, Change::RaiseFeatureLevel { to: FEATURE_LEVEL });
    put(log, Change::AddToken { token: token() });
    for node in NODES {
        let keys = keys::agent(node);
        let enrolled = Host {
            name: host(node),
            roles: [HostRole::Db].into(),
            addresses: Vec::new(),
            enrolled_at: FORMED,
            key_sha256: keys.facts.key_sha256,
            certificate_expires: keys.facts.not_after.saturating_mul(1000),
        };
        let token = "first".to_owned();
        put(log, Change::Enrol { token, host: enrolled });
    }
    let create = OperationKind::Create {
        primary: host(NODES[0]),
        with: NODES[1..].iter().map(|node| host(node)).collect(),
        routers: Vec::new(),
        ignore_checks: Vec::new(),
        buffer_pool_bytes: None,
    };
    let made = put(
        log,
        Change::Submit {
            operation: Operation::wanted("create".to_owned(), prod(), create, "operator/alice", FORMED),
            cluster_id: CLUSTER_ID,
            group_name: GROUP_NAME,
            server_ids: (0..NODES.len()).map(|node| ServerId(server_id(node))).collect(),
        },
    );
    let Answer::Operation(operation) = made else {
        panic!("create was not taken: {made:?}");
    };
    put(log, end(operation));
}

fn end(operation: OperationId) -> Change {
    Change::EndOperation {
        operation,
        result: Ok("prod is formed".to_owned()),
    }
}

fn put(log: &Log, change: Change) -> Answer {
    let answer = log.write(Command {
        at: FORMED,
        by: "operator/alice".to_owned(),
        change,
    });
    assert!(!matches!(answer, Answer::Rejected(_)), "{answer:?}");
    answer
}

fn token() -> Token {
    Token {
        id: "first".to_owned(),
        secret_sha256: String::new(),
        roles: [HostRole::Db].into(),
        host: None,
        replace: false,
        expires_at: FORMED + 3_600_000,
        uses_left: 3,
        failures: 0,
        revoked: false,
        created_by: "operator/alice".to_owned(),
        created_at: FORMED,
    }
}

/// `clusterctl-coordinator raise-epoch`, offline.
pub fn raise_epoch(log: &Log) {
    let from = log.state().read(|model| model.epoch);
    log.write(Command {
        at: FORMED,
        by: "operator/alice".to_owned(),
        change: Change::RaiseEpoch { from },
    });
}
