//! A member that is out of a group of which it is not known what it began with: what is told of it, and whether it may be removed.

use super::heal_stage::{NODES, not, of_host};
use super::stage::{Stage, prod};
use super::toy::name;
use crate::model::OperationKind;
use crate::planner::Decision;

/// A person has bootstrapped node1 past its agent and started node2; node3 is out. The agent of node2 has not looked yet how node2 came
/// in, and may have seen what the group began with.
#[test]
fn a_member_that_is_not_measured_yet_may_still_tell_what_the_group_began_with() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let before = stage.toy.host("node2").lineage.clone();
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.by_hand(&["node1", "node2"]);
    stage.toy.host("node1").lineage.as_mut().unwrap().branch = None;
    let measured = std::mem::replace(&mut stage.toy.host("node2").lineage, before);
    stage.toy.look();
    let removal = OperationKind::Remove {
        host: name("node3"),
        force: false,
    };

    assert_eq!(of_host(&stage, "node2").unwrap().code, "member_unmeasured");
    let out = of_host(&stage, "node3").unwrap();
    let (standing, why) = not(&out);
    assert_eq!((out.code, standing), ("member_quarantined", "waiting"));
    assert!(
        why.contains("is told by the agent of the member where that was done"),
        "{why}"
    );
    assert!(out.evidence.iter().any(|seen| seen.text.ends_with("is not recorded")));
    assert_eq!(stage.refusal(removal.clone()).code, "lineage_unknown");

    // It has looked, and did not see it either.
    stage.toy.host("node2").lineage = measured;
    stage.toy.look();
    assert!(of_host(&stage, "node2").is_none_or(|trouble| trouble.code != "member_unmeasured"));
    let out = of_host(&stage, "node3").unwrap();
    assert_eq!(not(&out).0, "blocked");
    assert!(
        out.evidence
            .iter()
            .any(|seen| seen.text.contains("is on no agent's record"))
    );
    assert!(matches!(stage.dry(removal), Decision::Plan(_)));
    assert!(!stage.model.clusters[&prod()].lineages.is_empty());
}
