//! The modelled log keeps what raft promises, and lets happen what raft does not forbid.

use std::time::Duration;

use clusterctl_coordinator::machine::Answer;
use clusterctl_coordinator::raft::Node;
use clusterctl_proto::machine::Machine;
use tokio::time::Instant;

use super::{formed, log, note};

fn lines(node: &Node) -> Vec<String> {
    let texts = |model: &clusterctl_coordinator::model::Model| {
        let noted = model.events.iter().filter(|event| event.kind == "test");
        noted.map(|event| event.text.clone()).collect()
    };
    node.state().read(texts)
}

/// What a call answers: a code where it fails.
fn code<T>(result: Result<T, clusterctl_proto::failure::Failure>) -> Result<T, String> {
    result.map_err(|failure| failure.code)
}

#[tokio::test(start_paused = true)]
async fn one_voter_leads_from_its_election_and_keeps_its_model_over_restarts() {
    let log = log([1]);
    formed(&log);
    let node = log.start(1);
    assert!(node.is_alone() && node.leads().is_none());
    assert_eq!(code(node.propose(note("early")).await), Err("not_leader".to_owned()));
    let term = log.elect(1, 0).expect("elected");
    assert_eq!((node.leads(), node.leader()), (Some(term), Some(1)));
    let began = Instant::now();
    assert_eq!(code(node.propose(note("one")).await), Ok(Answer::Applied));
    assert_eq!(began.elapsed(), Duration::from_millis(10));
    let confirmed = node.ensure_linearizable().await.expect("leads");
    assert_eq!((confirmed.term, confirmed.index), (term, log.committed()));
    let before = node.state().read(Clone::clone);
    log.stop(1);
    assert_eq!(node.leads(), None, "of a process that has ended");
    let node = log.start(1);
    assert_eq!(node.state().read(Clone::clone), before);
    assert_eq!(log.elect(1, 0), Some(term + 1));
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_killed_machine_may_be_stored_later() {
    let log = log([1]);
    let node = log.start(1);
    log.elect(1, 0);
    let machine = Machine::new(Duration::ZERO, 0);
    machine.spawn(async move { node.propose(note("last words")).await });
    tokio::time::sleep(Duration::from_millis(5)).await;
    machine.kill();
    log.stop(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(log.uncommitted(), 1);
    let node = log.start(1);
    assert_eq!(lines(&node), Vec::<String>::new());
    log.elect(1, 0);
    assert_eq!(lines(&node), ["last words"], "its own disk has it");
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_believes_to_lead_until_it_asks_and_does_nothing() {
    let log = log([1, 2, 3]);
    let nodes = [1, 2, 3].map(|id| log.start(id));
    let first = log.elect(1, 0).expect("elected");
    nodes[0].propose(note("one")).await.expect("stored");
    let second = log.elect(2, 0).expect("elected");
    assert_eq!(nodes.each_ref().map(Node::leads), [Some(first), Some(second), None]);
    nodes[1].propose(note("two")).await.expect("stored");
    assert_eq!(lines(&nodes[0]), ["one"], "it has heard nothing");
    assert_eq!(code(nodes[0].ensure_linearizable().await), Err("not_leader".to_owned()));
    assert_eq!((nodes[0].leads(), nodes[0].leader()), (None, Some(2)));
    assert_eq!(lines(&nodes[0]), ["one", "two"]);
    // The same for one that proposes, and one that is told.
    log.elect(3, 0);
    assert_eq!(code(nodes[1].propose(note("lost")).await), Err("not_leader".to_owned()));
    log.elect(1, 0);
    log.tell(3);
    assert_eq!(nodes[2].leads(), None);
    assert_eq!(lines(&nodes[2]), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_is_cut_off_stores_and_confirms_nothing() {
    for kept in [0, 1] {
        let log = log([1, 2, 3]);
        let nodes = [1, 2, 3].map(|id| log.start(id));
        log.elect(1, 0);
        log.cut(1, true);
        let began = Instant::now();
        assert_eq!(code(nodes[0].ensure_linearizable().await), Err("no_quorum".to_owned()));
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert_eq!(
            code(nodes[0].propose(note("in doubt")).await),
            Err("not_stored".to_owned())
        );
        assert_eq!(began.elapsed(), Duration::from_secs(17));
        assert_eq!(log.uncommitted(), 1);
        assert!(nodes[0].leads().is_some(), "still");
        assert_eq!(log.elect(1, 0), None, "nobody hears it");
        log.elect(2, kept).expect("elected");
        let stored: &[&str] = if kept == 1 { &["in doubt"] } else { &[] };
        assert_eq!(lines(&nodes[1]), stored);
        assert!(lines(&nodes[0]).is_empty());
        log.cut(1, false);
        assert!(
            nodes[0].leads().is_some() && lines(&nodes[0]).is_empty(),
            "until it hears"
        );
        log.tell(1);
        assert_eq!(lines(&nodes[0]), stored);
        assert_eq!(nodes[0].leads(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_with_a_quorum_again_stores_what_waited() {
    let log = log([1, 2, 3]);
    let node = log.start(1);
    log.start(2);
    log.elect(1, 0);
    log.stop(2);
    let waits = {
        let node = node.clone();
        tokio::spawn(async move { node.propose(note("waits")).await })
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(lines(&node).is_empty() && !waits.is_finished());
    log.start(3);
    assert_eq!(code(waits.await.expect("ends")), Ok(Answer::Applied));
}

#[tokio::test(start_paused = true)]
async fn an_old_copy_of_the_disk_forgets_what_came_later() {
    let log = log([1]);
    let node = log.start(1);
    log.elect(1, 0);
    node.propose(note("one")).await.expect("stored");
    let (index, term) = (log.committed(), log.term());
    node.propose(note("two")).await.expect("stored");
    assert!(!log.restore(1, index), "its process runs");
    log.stop(1);
    assert!(log.restore(1, index));
    let node = log.start(1);
    assert_eq!(log.elect(1, 0), Some(term + 1));
    assert_eq!(lines(&node), ["one"]);
    assert_eq!(log.committed(), index + 1, "the entry that begins the term");
}
