//! What the other hosts say of themselves directly before a bootstrap, and whether that is enough. Pure but for [`ask`].

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{BootstrapPeer, GroupConfig, Vouched};
use futures_util::future::join_all;

use crate::mysql::peer::{Answer, InGroup, Peers};

/// The plan's peers, and the seeds that it does not name: a plan of an older coordinator names none.
pub fn all(peers: &[BootstrapPeer], wanted: &GroupConfig) -> Vec<BootstrapPeer> {
    let mut all = peers.to_vec();
    let seeds = wanted
        .variables
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("group_replication_group_seeds"))
        .flat_map(|(_, value)| value.split(','));
    for seed in seeds.map(str::trim) {
        let Some(Ok(host)) = seed.rsplit_once(':').map(|(host, _)| host.parse()) else {
            continue;
        };
        if !all.iter().any(|peer| peer.address.eq_ignore_ascii_case(seed)) {
            all.push(BootstrapPeer {
                host,
                address: seed.to_owned(),
                vouched: Vouched::Promised,
            });
        }
    }
    all
}

/// Asks every one of them, side by side. Answers in the same order.
pub async fn ask(with: &dyn Peers, peers: &[BootstrapPeer], user: &str) -> Vec<Answer> {
    join_all(peers.iter().map(|peer| with.ask(&peer.address, user))).await
}

/// Asks those once more that have said that they are in no group: others were waited for meanwhile.
pub async fn ask_again(with: &dyn Peers, peers: &[BootstrapPeer], user: &str, answers: Vec<Answer>) -> Vec<Answer> {
    let again = peers.iter().zip(answers).map(|(peer, answer)| async move {
        match answer {
            Answer::InNone => with.ask(&peer.address, user).await,
            Answer::InGroup(_) | Answer::Unknown(_) => answer,
        }
    });
    join_all(again).await
}

/// A refusal if one of them is in a group, of whatever name and in whatever state. A member that a forced recovery abandoned may
/// stand in ERROR with nobody else in its view: it serves nobody and came back to nobody.
pub fn no_group(peers: &[BootstrapPeer], answers: &[Answer]) -> Result<(), Failure> {
    let left_over = |peer: &BootstrapPeer, member: &InGroup| {
        peer.vouched == Vouched::Abandoned && member.state == MemberState::Error && member.others == 0
    };
    let inside = peers.iter().zip(answers).filter_map(|(peer, answer)| match answer {
        Answer::InGroup(member) if !left_over(peer, member) => Some((peer, member)),
        Answer::InGroup(_) | Answer::InNone | Answer::Unknown(_) => None,
    });
    let facts: Vec<String> = inside.map(|(peer, member)| told(peer, member)).collect();
    if facts.is_empty() {
        return Ok(());
    }
    let failure = Failure::refused(
        "group_alive",
        "another member is in a group: a bootstrap here would make a second one",
    )
    .hint("clusterctl status");
    Err(facts.into_iter().fold(failure, Failure::fact))
}

fn told(peer: &BootstrapPeer, member: &InGroup) -> String {
    let view = if member.view_id.is_empty() {
        "its view is not told".to_owned()
    } else {
        format!("view {}", member.view_id)
    };
    let state = format!("{:?}", member.state).to_uppercase();
    format!("{} is {state} in group {}, {view}", peer.host, member.name)
}

/// A failure unless each of them is in no group: by its own word, by the leader's where it cannot be asked, or abandoned.
pub fn all_out(peers: &[BootstrapPeer], answers: &[Answer], vouched: &[String]) -> Result<(), Failure> {
    no_group(peers, answers)?;
    let stands_in = |peer: &BootstrapPeer| match peer.vouched {
        Vouched::Abandoned => true,
        Vouched::Promised => vouched.iter().any(|host| host == peer.host.as_str()),
        Vouched::No => false,
    };
    let unknown = peers.iter().zip(answers).filter_map(|(peer, answer)| match answer {
        Answer::Unknown(why) if !stands_in(peer) => Some(format!("{}: {why}", peer.host)),
        Answer::Unknown(_) | Answer::InGroup(_) | Answer::InNone => None,
    });
    let facts: Vec<String> = unknown.collect();
    if facts.is_empty() && answers.len() == peers.len() {
        return Ok(());
    }
    let failure = Failure::new(
        "peer_unknown",
        "another member does not answer, and the coordinator does not vouch for it: nothing was started",
    )
    .hint("nothing to do: the coordinator plans anew; does that member's agent answer? clusterctl status")
    .transient();
    Err(facts.into_iter().fold(failure, Failure::fact))
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::observe::MemberRole;

    use super::*;

    fn peer(host: &str, vouched: Vouched) -> BootstrapPeer {
        BootstrapPeer {
            host: host.parse().unwrap(),
            address: format!("{host}:3306"),
            vouched,
        }
    }

    fn inside(state: MemberState, others: usize) -> Answer {
        Answer::InGroup(InGroup {
            name: "any".to_owned(),
            view_id: "17:1".to_owned(),
            state,
            role: MemberRole::Secondary,
            others,
            majority: false,
            writable: false,
            gtid_executed: String::new(),
            online: Vec::new(),
        })
    }

    fn verdict(vouched: Vouched, answer: Answer, leader: &[&str]) -> String {
        let leader: Vec<String> = leader.iter().map(|&host| host.to_owned()).collect();
        all_out(&[peer("node2", vouched)], &[answer], &leader).map_or_else(|failure| failure.code, |()| "ok".to_owned())
    }

    #[test]
    fn any_group_refuses_whoever_vouches() {
        use MemberState::{Error, Online, Recovering, Unreachable};
        for vouched in [Vouched::No, Vouched::Promised, Vouched::Abandoned] {
            for state in [Online, Recovering, Unreachable] {
                assert_eq!(verdict(vouched, inside(state, 0), &["node2"]), "group_alive");
            }
            assert_eq!(verdict(vouched, inside(Error, 1), &["node2"]), "group_alive");
        }
        assert_eq!(verdict(Vouched::Promised, inside(Error, 0), &["node2"]), "group_alive");
        assert_eq!(verdict(Vouched::Abandoned, inside(Error, 0), &[]), "ok");
        let failure = no_group(&[peer("node2", Vouched::No)], &[inside(Online, 1)]).unwrap_err();
        assert_eq!(failure.facts, ["node2 is ONLINE in group any, view 17:1"]);
        assert!(!failure.retry);
    }

    #[test]
    fn silence_passes_only_by_the_leaders_word_or_a_forced_recovery() {
        let silent = || Answer::Unknown("connection refused".to_owned());
        assert_eq!(verdict(Vouched::Promised, silent(), &["node2"]), "ok");
        assert_eq!(verdict(Vouched::Promised, silent(), &["node3"]), "peer_unknown");
        assert_eq!(verdict(Vouched::No, silent(), &["node2"]), "peer_unknown");
        assert_eq!(verdict(Vouched::Abandoned, silent(), &[]), "ok");
        assert_eq!(verdict(Vouched::No, Answer::InNone, &[]), "ok");
        assert!(
            all_out(&[peer("node2", Vouched::Promised)], &[], &[]).is_err(),
            "not asked"
        );
    }

    #[test]
    fn seeds_that_a_plan_does_not_name_are_asked_too() {
        let wanted = crate::membership::tests::sample().group;
        let hosts = |peers: &[BootstrapPeer]| -> Vec<(String, Vouched)> {
            let all = all(peers, &wanted);
            all.into_iter().map(|peer| (peer.address, peer.vouched)).collect()
        };
        let named = |host: &str, vouched| (format!("{host}:3306"), vouched);
        assert_eq!(
            hosts(&[peer("node3", Vouched::Abandoned)]),
            [named("node3", Vouched::Abandoned), named("node2", Vouched::Promised)]
        );
    }
}
