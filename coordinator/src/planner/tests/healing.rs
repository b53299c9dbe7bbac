//! A formed cluster and its members' bad days: what heals by itself and what is left alone.

use super::heal_stage::{NODES, healings, inside, not, of_host, power_cut, said, troubles};
use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::machine::Change;
use crate::model::{OperationKind, OperationState};
use crate::planner::heal::{Care, Trouble};
use clusterctl_proto::step::Step;

#[test]
fn a_well_cluster_is_left_in_peace() {
    let mut stage = Stage::three();
    stage.alone_for(10);
    assert!(troubles(&stage).is_empty() && healings(&stage).is_empty());
}

#[test]
fn a_member_that_is_back_rejoins_and_a_lost_primary_comes_back_as_a_secondary() {
    for lost in NODES {
        let mut stage = Stage::three();
        stage.toy.power_off(lost);
        stage.toy.write();
        stage.alone_for(5);
        let trouble = of_host(&stage, lost).unwrap();
        assert_eq!((trouble.code, not(&trouble).0), ("member_lost", "waiting"));
        assert!(healings(&stage).is_empty(), "nobody is there to be healed");
        stage.toy.power_on(lost);
        stage.alone_for(3);
        assert_eq!(inside(&stage), NODES);
        assert!(troubles(&stage).is_empty());
        assert_eq!((stage.toy.bootstraps, stage.toy.alarms.len()), (1, 0));
        let told: Vec<&str> = stage.model.events.iter().map(|event| event.kind.as_str()).collect();
        assert!(told.contains(&"member_rejoined"), "{told:?}");
    }
}

#[test]
fn what_gave_up_is_brought_back_and_what_failed_is_started() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node2"));
    stage.toy.host("node2").stuck = true;
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").up = false;
    stage.toy.host("node3").failed = true;
    stage.alone_for(6);
    assert_eq!(inside(&stage), NODES);
    assert!(stage.toy.alarms.is_empty());
}

#[test]
fn an_orderly_stop_is_left_so() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").up = false;
    stage.alone_for(5);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("server_stopped", "left_alone"));
    assert!(healings(&stage).is_empty());
    stage.toy.host("node3").up = true;
    stage.alone_for(3);
    assert_eq!(inside(&stage), NODES);
}

/// A join ended between the group and the metadata, or somebody deleted the row.
#[test]
fn a_member_that_the_metadata_do_not_list_is_listed_again() {
    let mut stage = Stage::three();
    let copy = stage.toy.server("node1").metadata.as_mut();
    copy.unwrap().instances.retain(|row| !row.address.starts_with("node3:"));
    stage.alone_for(3);
    let copy = stage.toy.server("node1").metadata.as_ref();
    assert_eq!(copy.unwrap().instances.len(), 3);
    assert!(troubles(&stage).is_empty());
    let rejoin = OperationKind::Rejoin { host: name("node3") };
    assert_eq!(
        healings(&stage).iter().map(|op| &op.kind).collect::<Vec<_>>(),
        [&rejoin]
    );
    // What could not be read says nothing.
    stage.toy.server("node1").metadata = None;
    stage.alone_for(3);
    assert_eq!(healings(&stage).len(), 1);
}

/// They had promised to stay out for a recovery; a person was faster, and started the group. After a reboot without a coordinator they would
/// stay out for ever.
#[test]
fn a_member_that_a_person_started_after_its_promise_is_let_in_by_a_step() {
    let mut stage = Stage::three();
    for node in ["node1", "node2"] {
        stage.toy.host(node).promised = true;
        stage.toy.look();
        let trouble = of_host(&stage, node).expect("said");
        assert_eq!(trouble.code, "member_not_let_in");
    }
    stage.alone_for(30);
    assert_eq!(healings(&stage).len(), 2, "once each");
    for node in ["node1", "node2"] {
        assert!(!stage.toy.host(node).promised);
        assert!(of_host(&stage, node).is_none());
    }
    assert_eq!(stage.toy.group.as_ref().unwrap().members.len(), 3);
}

/// A cluster of a release before, or MySQL Shell has made the account again.
#[test]
fn an_account_that_lacks_rights_is_given_them() {
    let mut stage = Stage::three();
    let user = stage.model.clusters[&prod()].members[&name("node2")].account_user();
    stage.toy.server("node1").lacking_rights = Some(vec![user]);
    stage.toy.look();
    assert_eq!(of_host(&stage, "node2").expect("said").code, "member_rights");
    assert!(of_host(&stage, "node3").is_none());
    let draft = stage.dry_plan(OperationKind::Rejoin { host: name("node2") });
    let given = draft.steps.iter().any(|step| {
        step.host == name("node1") && matches!(&step.step, Step::MemberAccounts { accounts } if accounts.len() == 1)
    });
    assert!(given, "{draft:?}");
}

/// A join is refused by the agent of a server that is ONLINE elsewhere: it leaves that group first.
#[test]
fn a_server_in_another_group_is_told_to_leave_that_first() {
    let mut stage = Stage::three();
    stage.toy.server("node3").group_name = uuid::Uuid::from_u128(9).to_string();
    stage.alone();
    let command = |stage: &Stage| match of_host(stage, "node3").unwrap() {
        Trouble {
            code: "other_group",
            care: Care::Not(not),
            ..
        } => not.command,
        other => panic!("{other:?}"),
    };
    assert_eq!(command(&stage), "on node3: mysql -e 'STOP GROUP_REPLICATION'");
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").group_name.clear();
    stage.alone();
    assert_eq!(command(&stage), "clusterctl join node3");
}

/// mysqld is not started on data that are not the member's, and a server without its settings does not hide that they are gone.
#[test]
fn whose_data_they_are_comes_before_all_that_is_done_with_them() {
    use clusterctl_proto::observe::DataDirectory;
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    let host = stage.toy.host("node3");
    (host.up, host.failed, host.data) = (false, true, DataDirectory::Absent);
    stage.alone_for(5);
    assert_eq!(of_host(&stage, "node3").unwrap().code, "data_gone");
    let foreign = DataDirectory::Foreign {
        what: "schemas: shop".to_owned(),
    };
    stage.toy.host("node3").data = foreign;
    stage.alone_for(5);
    assert_eq!(of_host(&stage, "node3").unwrap().code, "data_foreign");
    assert!(healings(&stage).is_empty());
    let host = stage.toy.host("node3");
    (host.up, host.failed, host.data) = (true, false, DataDirectory::Pristine);
    stage.toy.server("node3").group_name.clear();
    stage.alone_for(5);
    assert_eq!(of_host(&stage, "node3").unwrap().code, "data_gone");
    assert!(healings(&stage).is_empty());
}

#[test]
fn a_router_that_failed_runs_again() {
    let mut stage = Stage::three();
    stage.toy.host("router1").router_runs = false;
    stage.alone_for(3);
    assert!(stage.toy.host("router1").router_runs && troubles(&stage).is_empty());
}

#[test]
fn meant_interventions_are_left_alone_until_they_end() {
    for host in [None, Some(name("node3"))] {
        let mut stage = Stage::three();
        let hands_off = |host: &Option<_>, said| Change::HandsOff {
            cluster: prod(),
            host: host.clone(),
            said,
            only: None,
        };
        let mine = said(&stage, None);
        stage.apply(hands_off(&host, mine));
        stage.toy.restart(&name("node3"));
        stage.alone_for(8);
        assert!(healings(&stage).is_empty());
        let trouble = of_host(&stage, "node3").unwrap();
        let (state, why) = not(&trouble);
        assert!(
            state == "left_alone" && why.contains("new disks") && why.contains("alice"),
            "{why}"
        );
        stage.apply(hands_off(&host, None));
        stage.alone_for(3);
        assert_eq!(inside(&stage), NODES);

        // One that ends by itself.
        let until = Some(stage.toy.now + 5_000);
        let mine = said(&stage, until);
        stage.apply(hands_off(&host, mine));
        stage.toy.restart(&name("node3"));
        stage.alone_for(4);
        assert_eq!(inside(&stage), ["node1", "node2"]);
        stage.alone_for(4);
        assert_eq!(inside(&stage), NODES);
    }
}

#[test]
fn an_operator_who_waits_does_not_stand_in_the_way_of_healing_nor_healing_in_his() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &["node1", "node2"]);
    stage.alone_for(2);
    let waits = stage.submit(join("node4")).unwrap();
    stage.alone_for(5);
    assert!(matches!(
        stage.model.operations[&waits].state,
        OperationState::Waiting { .. }
    ));
    stage.toy.power_on("node3");
    stage.alone_for(20);
    assert!(
        matches!(stage.model.operations[&waits].state, OperationState::Done { .. }),
        "{:?}",
        stage.model.operations[&waits].state
    );
    assert_eq!(inside(&stage), ["node1", "node2", "node3", "node4"]);
}

#[test]
fn a_member_that_is_taken_out_is_not_brought_back() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.must(OperationKind::Remove {
        host: name("node3"),
        force: false,
    });
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node2"]);
    assert!(healings(&stage).is_empty());
}

/// Its Router is started, whatever ails the member on the same host.
#[test]
fn a_host_with_two_roles_has_two_troubles() {
    let mut stage = Stage::three();
    let router = stage.model.clusters[&prod()].routers[&name("router1")].clone();
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.routers.insert(name("node3"), router);
    stage.toy.host("node3").router_for = Some(prod());
    stage.toy.restart(&name("node3"));
    stage.toy.write_alone("node3");
    stage.alone_for(5);
    assert!(stage.toy.host("node3").router_runs);
    assert_eq!(healings(&stage).len(), 1);
}
