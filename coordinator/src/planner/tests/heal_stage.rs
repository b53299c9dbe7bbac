//! What tests of healing ask: who is inside, what is wrong, what is done about it.

use super::stage::{Stage, prod};
use super::toy::name;
use crate::model::{HandsOff, Operation, OperationKind};
use crate::planner::heal::{self, Care, Subject, Trouble};

pub const NODES: [&str; 3] = ["node1", "node2", "node3"];

pub fn inside(stage: &Stage) -> Vec<String> {
    let group = stage.toy.group.iter();
    group
        .flat_map(|group| group.members.iter().map(ToString::to_string))
        .collect()
}

pub fn troubles(stage: &Stage) -> Vec<Trouble> {
    let sight = stage.toy.sight();
    stage.look(&sight, |world| heal::troubles(world, &world.model.clusters[&prod()]))
}

pub fn of_host(stage: &Stage, host: &str) -> Option<Trouble> {
    let host = name(host);
    troubles(stage)
        .into_iter()
        .find(|trouble| trouble.subject == Subject::Host(host.clone()))
}

pub fn not(trouble: &Trouble) -> (&str, &str) {
    match &trouble.care {
        Care::Not(not) => (not.standing.name(), &not.why),
        Care::Act(kind) => panic!("{} is done", kind.name()),
    }
}

pub fn healings(stage: &Stage) -> Vec<&Operation> {
    stage.model.operations.values().filter(|op| op.kind.heals()).collect()
}

pub fn recover(without: &[&str], code: Option<&str>, stage: &Stage) -> OperationKind {
    OperationKind::Recover {
        without: without.iter().map(|host| name(host)).collect(),
        accept_loss: code.map(str::to_owned),
        expires_at: (!without.is_empty()).then_some(stage.toy.now + 900_000),
    }
}

/// All members lose power, and these come back.
pub fn power_cut(stage: &mut Stage, back: &[&str]) {
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    back.iter().for_each(|node| stage.toy.power_on(node));
}

/// All members lost power and are back: the coordinator has submitted their recovery, of which nothing is planned yet.
pub fn recovery_submitted() -> Stage {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage
}

/// All members lost power, and node2 does not come back; with the code that stands for abandoning it.
pub fn node2_stays_away() -> (Stage, String) {
    let mut stage = Stage::three();
    power_cut(&mut stage, &["node1", "node3"]);
    stage.alone_for(5);
    let code = loss_code(&stage, &["node2"]);
    (stage, code)
}

/// The code that stands for abandoning these members, as the refusal shows it.
pub fn loss_code(stage: &Stage, lost: &[&str]) -> String {
    code_of(stage.refusal(recover(lost, None, stage)).hint.as_ref())
}

/// The code in the command that a refusal ends with.
pub fn code_of(hint: Option<&String>) -> String {
    let hint = hint.expect("a hint");
    let rest = hint.split("--accept-loss ").nth(1).expect("a code");
    rest.split_whitespace().next().expect("a code").to_owned()
}

pub fn said(stage: &Stage, until: Option<i64>) -> Option<HandsOff> {
    Some(HandsOff {
        by: "operator/alice".to_owned(),
        at: stage.toy.now,
        reason: "new disks".to_owned(),
        until,
        everything: false,
    })
}
