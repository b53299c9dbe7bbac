//! The table against the .proto files, and every call against every kind of caller.

use std::collections::BTreeSet;

use clusterctl_proto::identity::PeerName;

use super::*;
use crate::api::peer::PeerCertificate;
use crate::leader::sessions::PeerFacts;
use crate::model::Host;

const NOW: i64 = 1_800_000_000_000;

fn peer(identity: Option<Identity>) -> Peer {
    let certificate = identity.map(|identity| PeerCertificate {
        name: PeerName {
            group: "g".to_owned(),
            identity,
        },
        facts: PeerFacts {
            key_sha256: "k".to_owned(),
            serial: "s".to_owned(),
            not_after: NOW / 1000 + 60,
        },
    });
    Peer {
        remote: ([127, 0, 0, 1], 1).into(),
        certificate,
    }
}

fn model() -> Model {
    let mut model = Model::new(uuid::Uuid::nil());
    let host = Host {
        name: "node1".parse().expect("name"),
        roles: BTreeSet::new(),
        addresses: Vec::new(),
        enrolled_at: 0,
        key_sha256: "k".to_owned(),
        certificate_expires: 0,
    };
    model.hosts.insert(host.name.clone(), host);
    model
}

fn agent() -> Identity {
    Identity::Agent("node1".parse().expect("name"))
}

fn operator(role: Role) -> Identity {
    Identity::operator("alice", role).expect("name")
}

#[test]
fn every_call_of_the_proto_files_has_a_row() {
    let files = [
        "clusterctl/v1/agent.proto",
        "clusterctl/v1/control.proto",
        "clusterctl/v1/enrolment.proto",
    ];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto");
    let descriptors = protox::compile(files, [folder]).expect("proto files");
    let mut calls = BTreeSet::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                calls.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    let rows: BTreeSet<String> = CALLS.iter().map(|(call, _)| (*call).to_owned()).collect();
    assert_eq!(rows.len(), CALLS.len(), "a call stands twice");
    assert_eq!(rows, calls);
}

#[test]
fn every_row_lets_in_whom_it_names_and_nobody_else() {
    let callers = [
        None,
        Some(agent()),
        Some(Identity::Coordinator(1)),
        Some(operator(Role::Viewer)),
        Some(operator(Role::Operator)),
        Some(operator(Role::Admin)),
    ];
    for (call, access) in CALLS {
        for caller in &callers {
            let may = match (access, caller) {
                (Access::Anybody, _) | (Access::Agent, Some(Identity::Agent(_))) => true,
                (Access::Operator(needed), Some(Identity::Operator { role, .. })) => role >= needed,
                _ => false,
            };
            let judged = judge(call, &peer(caller.clone()), &model(), NOW);
            assert_eq!(judged.is_ok(), may, "{call} by {caller:?}");
            if let Err(failure) = judged {
                assert_eq!(failure.exit, ExitClass::Denied);
            }
        }
    }
    assert!(
        judge(
            "/clusterctl.v1.control.Control/Other",
            &peer(Some(operator(Role::Admin))),
            &model(),
            NOW
        )
        .is_err()
    );
}

#[test]
fn trust_that_ended_counts_no_more() {
    let call = "/clusterctl.v1.agent.AgentService/Session";
    let code = |peer: &Peer, model: &Model, now| judge(call, peer, model, now).err().map(|failure| failure.code);
    let known = peer(Some(agent()));
    assert_eq!(code(&known, &model(), NOW), None);
    assert_eq!(
        code(&known, &model(), NOW + 61_000).as_deref(),
        Some("certificate_expired")
    );
    assert_eq!(
        code(&known, &Model::new(uuid::Uuid::nil()), NOW).as_deref(),
        Some("host_not_enrolled")
    );
    let mut revoked = model();
    revoked.revoked.insert("s".to_owned());
    assert_eq!(code(&known, &revoked, NOW).as_deref(), Some("certificate_revoked"));
    let mut replaced = model();
    for host in replaced.hosts.values_mut() {
        host.key_sha256 = "other".to_owned();
    }
    assert_eq!(code(&known, &replaced, NOW).as_deref(), Some("host_replaced"));
}
