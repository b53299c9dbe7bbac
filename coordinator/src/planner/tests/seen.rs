//! What follows from what is seen: answers that are too old, routers and members as they are found.

use clusterctl_proto::observe::DataDirectory;
use clusterctl_proto::step::Step;

use super::refusals::refused;
use super::stage::{Stage, add_router, create, join};
use super::toy::{fresh_server, name};
use crate::planner::Decision;

#[test]
fn an_answer_from_before_the_last_step_is_not_believed() {
    let mut stage = Stage::new();
    stage.submit(create("node1", &[], &[])).unwrap();
    stage.decide();
    while stage.carry_out(|_, _, _| None) {}
    // Everything was done since agents were asked: what they told then says "bare hosts".
    stage.toy.now += 500;
    assert!(matches!(stage.dry(join("node2")), Decision::Wait(why) if why.contains("asked again")));
    stage.toy.look();
    stage.dry_plan(join("node2"));
}

#[test]
fn a_router_that_stopped_half_way() {
    let mut stage = Stage::three();
    stage.toy.host("router1").router_for = None;
    stage.toy.host("router1").router_runs = false;
    stage.toy.look();
    let plan = stage.dry_plan(add_router("router1"));
    let names: Vec<&str> = plan.steps.iter().map(|step| step.step.name()).collect();
    let forget = names.iter().position(|name| *name == "forget_router").unwrap();
    assert!(forget < names.iter().position(|name| *name == "router_bootstrap").unwrap());
}

#[test]
fn the_registration_of_a_router_that_runs_is_kept() {
    let mut stage = Stage::three();
    stage.toy.host("router1").router_for = None;
    stage.toy.look();
    let plan = stage.dry_plan(add_router("router1"));
    // Seen live: its agent could not tell for a while whose Router it was, and the account of a serving Router was dropped.
    assert!(plan.steps.iter().all(|step| step.step.name() != "forget_router"));
}

#[test]
fn a_copied_image_gets_an_identity() {
    let mut stage = Stage::new();
    for host in ["node1", "node2", "node3"] {
        stage.toy.host(host).facts.machine_id = "same".to_owned();
    }
    stage.toy.look();
    let plan = stage.dry_plan(create("node1", &["node2", "node3"], &[]));
    let fixed: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.step, Step::MachineId { .. }))
        .map(|step| step.host.as_str())
        .collect();
    assert_eq!(fixed, ["node2", "node3"]);
}

#[test]
fn who_holds_more_leads() {
    let mut stage = Stage::new();
    let holds = |stage: &mut Stage, host: &str, executed: String| {
        let number = stage.toy.host(host).number;
        let mut server = fresh_server(&name(host), uuid::Uuid::from_u128(u128::from(number)));
        server.gtid_executed = executed;
        let host = stage.toy.host(host);
        (host.mysql_installed, host.up, host.data) = (true, true, DataDirectory::Ours { cluster: None });
        host.server = Some(server);
        stage.toy.look();
    };
    let group = super::stage::GROUP;
    holds(&mut stage, "node1", format!("{group}:1-5"));
    holds(&mut stage, "node2", format!("{group}:1-7"));
    let plan = stage.dry_plan(create("node1", &["node2", "node3"], &[]));
    let bootstrap = plan
        .steps
        .iter()
        .find(|step| matches!(step.step, Step::BootstrapGroup { .. }))
        .unwrap();
    assert_eq!(bootstrap.host, name("node2"));
    assert!(
        plan.report
            .iter()
            .any(|line| line.starts_with("node2 leads instead of node1"))
    );
    let told: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.step {
            Step::JoinGroup { group_gtid, .. } => Some(group_gtid.as_str()),
            _ => None,
        })
        .collect();
    // The agent of node1 compares with it.
    assert_eq!(told, [format!("{group}:1-7"), format!("{group}:1-7")]);
    holds(&mut stage, "node1", format!("{group}:1-5:9"));
    let failure = refused(&stage, create("node1", &["node2", "node3"], &[]), "diverged");
    assert_eq!(failure.facts[1], format!("node1 lacks: {group}:6-7"));
}
