//! Properties: whatever agents say, the planner does not panic, answers the same twice, and no plan of it breaks a rule.

use std::sync::Arc;

use clusterctl_proto::ids::{HostName, OperationId};
use clusterctl_proto::observe::{DataDirectory, MemberRole, MemberState, UnitState};
use clusterctl_proto::step::Step;
use proptest::prelude::*;

use super::stage::{Stage, add_router, create, join};
use super::toy::{fresh_server, name};
use crate::check;
use crate::leader::status;
use crate::model::operation::RecoveryWish;
use crate::model::{MemberPhase, OperationKind, RouterPhase};
use crate::planner::{Decision, Seen, Sight, World, decide, preflight};

const HOSTS: [&str; 6] = ["node1", "node2", "node3", "node4", "router1", "router2"];

/// One thing that is other than it was.
#[derive(Clone, Debug)]
struct Twist {
    host: usize,
    what: u8,
    how: u8,
}

fn twists() -> impl Strategy<Value = Vec<Twist>> {
    let twist = (0..HOSTS.len(), 0..20_u8, any::<u8>()).prop_map(|(host, what, how)| Twist { host, what, how });
    prop::collection::vec(twist, 0..8)
}

fn kind(which: u8, host: usize, other: usize) -> OperationKind {
    let (host, other) = (HOSTS[host], HOSTS[other]);
    match which % 12 {
        0 => create(host, &[other], &["router1"]),
        1 => create("node1", &["node2", "node3"], &["router1"]),
        2 => join(host),
        3 => OperationKind::Join {
            host: name(host),
            recovery: RecoveryWish::Clone,
            ignore_checks: vec!["other_cluster".to_owned()],
        },
        4 => OperationKind::Join {
            host: name(host),
            recovery: RecoveryWish::Incremental,
            ignore_checks: vec!["disk_free".to_owned()],
        },
        5 => OperationKind::Remove {
            host: name(host),
            force: false,
        },
        6 => OperationKind::Remove {
            host: name(host),
            force: true,
        },
        7 => add_router(host),
        8 => OperationKind::RemoveRouter {
            host: name(host),
            force: true,
        },
        9 => OperationKind::Switchover { to: None },
        10 => OperationKind::Switchover { to: Some(name(host)) },
        _ => OperationKind::Verify,
    }
}

fn twist(stage: &mut Stage, sight: &mut Sight, twist: &Twist) {
    let host: HostName = name(HOSTS[twist.host]);
    let how = twist.how;
    let member = sight.clone();
    let Some(seen) = sight.get_mut(&host) else { return };
    let mysql = &mut Arc::make_mut(&mut seen.observation).mysql;
    match twist.what {
        0 => seen.age_ms = u64::from(how) * 100,
        1 => seen.connected = false,
        2 => mysql.server = None,
        3 => {
            mysql.unit = [
                UnitState::Absent,
                UnitState::Starting,
                UnitState::Failed,
                UnitState::Stopped,
            ][usize::from(how) % 4]
        }
        4 => {
            mysql.data = match how % 5 {
                0 => DataDirectory::Absent,
                1 => DataDirectory::Pristine,
                2 => DataDirectory::Ours { cluster: None },
                3 => DataDirectory::Ours {
                    cluster: Some(super::stage::prod()),
                },
                _ => DataDirectory::Foreign {
                    what: "schemas: shop".to_owned(),
                },
            }
        }
        5 => seen.host = None,
        6 => seen.observation_mut().ledger.known = false,
        7 => mysql.server = Some(fresh_server(&host, uuid::Uuid::from_u128(u128::from(how)))),
        8 => {
            sight.remove(&host);
        }
        9 => {
            let phase = [MemberPhase::Joining, MemberPhase::Member, MemberPhase::Leaving][usize::from(how) % 3];
            let members = stage
                .model
                .clusters
                .values_mut()
                .filter_map(|cluster| cluster.members.get_mut(&host));
            members.for_each(|member| member.phase = phase);
        }
        10 => {
            let phase = [RouterPhase::Adding, RouterPhase::Router, RouterPhase::Removing][usize::from(how) % 3];
            let routers = stage
                .model
                .clusters
                .values_mut()
                .filter_map(|cluster| cluster.routers.get_mut(&host));
            routers.for_each(|router| router.phase = phase);
        }
        11 => stage
            .model
            .clusters
            .values_mut()
            .for_each(|cluster| cluster.formed = how.is_multiple_of(2)),
        // The machine forgets no host of a cluster.
        12 if stage.model.cluster_of(&host).is_none() => {
            stage.model.hosts.remove(&host);
        }
        _ => {
            let Some(server) = mysql.server.as_mut() else { return };
            match twist.what {
                13 => {
                    server.gtid_executed =
                        ["", "nonsense", "aaaaaaaa-0000-4000-8000-000000000000:1-9"][usize::from(how) % 3].to_owned()
                }
                14 => server.gtid_purged = server.gtid_executed.clone(),
                15 => {
                    server.group_name =
                        ["", "what", "aaaaaaaa-0000-4000-8000-000000000000"][usize::from(how) % 3].to_owned()
                }
                16 => server.metadata = None,
                17 => {
                    // A copy of another member's view: it may be lying, or late.
                    let other = member.get(&name(HOSTS[usize::from(how) % HOSTS.len()]));
                    server.group = other.and_then(|other| other.observation.mysql.server.as_ref()?.group.clone());
                }
                _ => {
                    let Some(view) = server.group.as_mut() else { return };
                    let states = [
                        MemberState::Online,
                        MemberState::Recovering,
                        MemberState::Offline,
                        MemberState::Error,
                        MemberState::Unreachable,
                    ];
                    let state = states[usize::from(how) % 5];
                    if twist.what == 18 {
                        view.state = state;
                        view.role =
                            [MemberRole::Primary, MemberRole::Secondary, MemberRole::None][usize::from(how) % 3];
                    } else if !view.members.is_empty() {
                        let at = usize::from(how) % view.members.len();
                        view.members[at].state = state;
                        if how > 200 {
                            view.members.remove(at);
                        }
                    }
                }
            }
        }
    }
}

fn bases() -> Vec<Stage> {
    let mut half = Stage::new();
    half.submit(create("node1", &["node2", "node3"], &["router1"])).unwrap();
    half.decide();
    for _ in 0..5 {
        half.carry_out(|_, _, step| {
            matches!(step, Step::JoinGroup { .. }).then(|| {
                let failure = clusterctl_proto::failure::Failure::new("thrown", "thrown");
                let result = clusterctl_proto::step::StepResult::Failed { failure };
                clusterctl_proto::step::StepOutcome {
                    result,
                    data: None,
                    elapsed_ms: 0,
                    spent_ms: Default::default(),
                }
            })
        });
    }
    half.toy.now += 2000;
    half.toy.look();
    vec![
        Stage::new(),
        half,
        Stage::after(&[create("node1", &[], &[])]),
        Stage::three(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_breaks_a_rule(
        base in 0..4_usize,
        twists in twists(),
        which in any::<u8>(),
        host in 0..HOSTS.len(),
        other in 0..HOSTS.len(),
        stored in any::<bool>(),
        agreed in any::<bool>(),
    ) {
        thread_local!(static BASES: Vec<Stage> = bases());
        let mut stage = BASES.with(|bases| bases[base].clone());
        let mut sight = stage.toy.sight();
        for one in &twists {
            twist(&mut stage, &mut sight, one);
        }
        let mut operation = stage.operation(kind(which, host, other));
        operation.accept_lower_tolerance = agreed;
        if stored {
            let Ok(id) = stage.submit_as(operation.clone()) else { return Ok(()) };
            operation = stage.model.operations[&id].clone();
        }
        stage.look(&sight, |world| sound(world, &operation, &sight))?;
    }
}

fn sound(
    world: &World<'_>,
    operation: &crate::model::Operation,
    sight: &std::collections::BTreeMap<HostName, Seen>,
) -> Result<(), TestCaseError> {
    let decision = decide(world, operation);
    prop_assert_eq!(&decision, &decide(world, operation));
    match &decision {
        Decision::Plan(draft) => {
            if let Err(failure) = check::check(world, operation, draft) {
                return Err(TestCaseError::fail(format!(
                    "{}: {failure}\n{}",
                    failure.code,
                    super::golden::render(draft)
                )));
            }
        }
        Decision::Refuse(failure) => {
            prop_assert!(!failure.code.is_empty() && !failure.message.is_empty());
            prop_assert!(operation.id != OperationId(0) || failure.exit.code() != 0);
        }
        Decision::Wait(why) | Decision::Already(why) => prop_assert!(!why.is_empty()),
    }
    // The others that look at the same world stand, too.
    let hosts: Vec<HostName> = HOSTS.iter().map(|host| name(host)).collect();
    prop_assert_eq!(preflight::check(world, &hosts, &[]).len(), HOSTS.len());
    for cluster in status::clusters(world, None) {
        prop_assert!(!cluster.verdict.is_empty());
        let certain = cluster.state == "ok";
        let quiet = sight.values().all(|seen| !seen.is_certain());
        prop_assert!(!(certain && quiet), "ok, though nobody answers");
    }
    status::hosts(world);
    Ok(())
}
