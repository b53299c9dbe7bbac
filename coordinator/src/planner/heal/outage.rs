//! The group as a whole: who leads it, or why nobody does.

use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::observe::{GroupView, MemberRole, MemberState};

use super::holders::{self, Outage};
use super::trouble::{Care, Evidence, Standing, Subject, Trouble, told};
use super::unpromised;
use crate::machine::plans;
use crate::model::{Cluster, OperationKind};
use crate::planner::builder::{are, listed};
use crate::planner::context::seconds;
use crate::planner::lineage;
use crate::planner::live::{self, Primary};
use crate::planner::settings::UNREACHABLE_MAJORITY_SECONDS;
use crate::planner::world::World;

/// Code of a group in which more than one member leads.
pub(crate) const SPLIT_GROUP: &str = "split_group";

/// How the group stands, by certain answers.
pub(crate) enum Group<'a> {
    /// One primary, with a majority.
    Led(Primary<'a>),
    /// More than one calls itself primary.
    Split(Vec<&'a HostName>),
    /// Somebody is inside and sees a majority, but the primary is not certainly seen: an election, or its agent is silent.
    Leaderless(&'a HostName, &'a GroupView),
    /// Somebody is inside, nobody sees a majority.
    NoQuorum(&'a HostName, &'a GroupView),
    /// Nobody is certainly inside.
    Out,
}

/// How the group stands.
pub(crate) fn group<'a>(world: &World<'a>, cluster: &'a Cluster) -> Group<'a> {
    let primaries = live::primaries(world, cluster);
    match primaries.as_slice() {
        [one] => return Group::Led(*one),
        [] => {}
        several => return Group::Split(several.iter().map(|primary| primary.host).collect()),
    }
    let inside = cluster.members.keys().filter_map(|host| {
        let seen = world.certain(host)?;
        let view = live::view(seen.observation.mysql.server.as_ref()?, cluster)?;
        // One whose group will never agree again serves nobody: it is to be stopped, as one in ERROR (`holders`).
        let inside = matches!(view.state, MemberState::Online | MemberState::Recovering) && !view.has_halted();
        inside.then_some((host, view))
    });
    let best = inside.max_by_key(|(host, view)| (view.has_quorum(), std::cmp::Reverse(*host)));
    match best {
        None => Group::Out,
        Some((host, view)) if view.has_quorum() => Group::Leaderless(host, view),
        Some((host, view)) => Group::NoQuorum(host, view),
    }
}

/// What the group suffers from.
pub(super) fn trouble(world: &World<'_>, cluster: &Cluster, group: &Group<'_>) -> Option<Trouble> {
    let name = &cluster.name;
    let cluster_trouble = |code, wrong: String, care| Trouble {
        subject: Subject::Cluster,
        code,
        wrong,
        evidence: Vec::new(),
        care,
        patient: false,
    };
    let command = format!("clusterctl status {name}");
    let (host, trouble) = match group {
        Group::Led(primary) if !lineage::goes_on(world, cluster, primary) => {
            let care = Care::blocked(
                "it goes on from a history that was abandoned, and may use numbers of transactions that others used, too: nobody is let in",
                format!(
                    "find out which side's writes are to stay. For those of the history that was not abandoned: STOP GROUP_REPLICATION on {}, and bring the others back; then this shows what each side holds",
                    primary.host
                ),
                format!("clusterctl recover {name}"),
            );
            let wrong = format!("{} leads {name} in a history that was abandoned", primary.host);
            (&primary.host, cluster_trouble(lineage::GIVEN_UP_LEADS, wrong, care))
        }
        Group::Led(_) => return None,
        Group::Split(hosts) => {
            let care = Care::blocked(
                "nothing is changed before a person has looked: each side may have taken writes",
                "stop mysqld on the side whose writes are given up",
                command,
            );
            let wrong = format!("{} call themselves primary: the group is split", listed(hosts));
            let first = hosts.first()?;
            (first, cluster_trouble(SPLIT_GROUP, wrong, care))
        }
        Group::Leaderless(host, view) => {
            let leads = view.members.iter().find(|row| row.role == MemberRole::Primary);
            let (wrong, care) = match leads {
                Some(row) if row.state == MemberState::Unreachable => (
                    format!("the primary {} cannot be reached by the others", row.host),
                    Care::wait("the group elects another by itself, after some seconds"),
                ),
                Some(row) => (
                    format!(
                        "the group counts {} as its primary, but its agent does not answer",
                        row.host
                    ),
                    Care::not(
                        Standing::Waiting,
                        "the group goes on without it; what has to be written on the primary waits",
                        "start its agent",
                        format!("on {}: systemctl start clusterctl-agent", row.host),
                    ),
                ),
                None => (
                    format!("{name} has no primary at this moment"),
                    Care::wait("the group elects one by itself"),
                ),
            };
            (host, cluster_trouble("no_primary", wrong, care))
        }
        Group::NoQuorum(host, view) if view.has_stalled() => {
            (host, cluster_trouble("no_quorum", stalled(name, view), stalled_care()))
        }
        Group::NoQuorum(host, view) => {
            let lost: Vec<&str> = view
                .members
                .iter()
                .filter(|row| row.state == MemberState::Unreachable)
                .map(|row| row.host.as_str())
                .collect();
            let care = Care::not(
                Standing::Waiting,
                format!(
                    "no majority is left, so writes stand still; once those that are left have given up ({UNREACHABLE_MAJORITY_SECONDS} s) and the others answer again, the group is recovered"
                ),
                format!("bring {} back", listed(&lost)),
                command,
            );
            let wrong = format!("{name} has lost its majority: {} cannot be reached", listed(&lost));
            (host, cluster_trouble("no_quorum", wrong, care))
        }
        Group::Out => return Some(outage(world, cluster)),
    };
    Some(trouble.seen(host, live::describe(world, cluster, host)))
}

/// The view shows a majority, and nothing is committed: for the group's own protocol somebody is a member who does not answer.
pub(crate) fn stalled(name: &ClusterName, view: &GroupView) -> String {
    let still = view.standstill_ms.unwrap_or(0);
    format!(
        "the group of {name} has agreed on nothing for {}: every commit waits",
        seconds(still)
    )
}

fn stalled_care() -> Care {
    Care::wait(
        "a member that died in the moment in which it was let in may still be back; if it is not, Group Replication cannot mend that: the \
         group is stopped 40 s after it stood still, and recovered",
    )
}

/// Nobody is certainly in the group.
fn outage(world: &World<'_>, cluster: &Cluster) -> Trouble {
    let case = holders::examine(world, cluster, &[]);
    let name = &cluster.name;
    let refused = unpromised::refused(world, cluster);
    let refused = refused.map(|(host, why)| {
        (
            host.clone(),
            format!("cannot promise to stay out of other groups: {why}"),
        )
    });
    let evidence = case.told.iter().chain(&refused).map(|(host, text)| Evidence {
        text: text.clone(),
        host: host.clone(),
    });
    let silent = cluster
        .members
        .keys()
        .filter(|host| world.certain(host).is_none())
        .count();
    let halted = cluster.members.keys().find_map(|host| {
        let server = world.certain(host)?.observation.mysql.server.as_ref()?;
        live::view(server, cluster).filter(|view| view.has_halted())
    });
    let (code, wrong) = match (silent, halted) {
        (_, Some(view)) => ("outage", format!("{}, and it never will again", stalled(name, view))),
        (0, None) => ("outage", format!("no member of {name} is in the group")),
        (all, None) if all == cluster.members.len() => ("all_silent", format!("no agent of {name}'s members answers")),
        (_, None) => ("outage", format!("no member of {name} that answers is in the group")),
    };
    let care = if code == "all_silent" {
        Care::not(
            Standing::Waiting,
            "what is not seen is not down: MySQL may well serve, and nothing can be done from here",
            "start the agents, or mend the network to this coordinator",
            "",
        )
    } else {
        care(world, cluster, &case)
    };
    Trouble {
        subject: Subject::Cluster,
        code,
        wrong,
        evidence: evidence.collect(),
        care,
        patient: code == "all_silent",
    }
}

fn care(world: &World<'_>, cluster: &Cluster, case: &Outage) -> Care {
    let name = &cluster.name;
    let hosts: Vec<&HostName> = case.unknown.keys().collect();
    let missing = listed(&hosts);
    let are = are(&hosts);
    let break_glass = format!(
        "clusterctl recover {name} --without {}",
        hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(",")
    );
    if case.unlisted && hosts.is_empty() {
        return Care::blocked(
            "no member shows its copy of the metadata, so members that other tools have added are not known: one of them may have what the others have not",
            "see why it cannot be read; only if the metadata are gone and nobody else is a member: recover, which shows first what would be risked",
            format!("clusterctl recover {name}"),
        );
    }
    if !case.nameless.is_empty() {
        return Care::blocked(
            format!("{} may be in the group, and cannot be asked", listed(&case.nameless)),
            "take them out of the metadata on the member that lists them",
            format!("clusterctl status {name}"),
        );
    }
    let nobody_left = cluster.members.keys().all(|host| case.unknown.contains_key(host));
    if nobody_left && case.moving.len() < hosts.len() {
        let why: Vec<&str> = case.unknown.values().map(String::as_str).collect();
        return Care::blocked(
            format!(
                "of no member it is known that it is out and what it holds: {}",
                why.join("; ")
            ),
            format!("bring at least one of {missing} back: its host, its agent and mysqld"),
            format!("clusterctl status {name}"),
        );
    }
    if !hosts.is_empty() && case.moving.len() == hosts.len() {
        return Care::not(
            Standing::Waiting,
            format!("mysqld is starting or stopping on {missing}; what it holds is known in a moment"),
            format!("nothing; only if it never comes to rest and {missing} {are} to be given up: the forced recovery"),
            break_glass,
        );
    }
    if !hosts.is_empty() && !hosts.iter().any(|host| cluster.members.contains_key(*host)) {
        return Care::blocked(
            format!(
                "a member's copy of the metadata, or its view, lists {missing}, and this coordinator knows no such member: it may have what the others have not"
            ),
            format!(
                "if {missing} {were} taken out of {name} while that member was away, leave it out: the forced recovery shows first what would be lost",
                were = if hosts.len() == 1 { "was" } else { "were" }
            ),
            break_glass,
        );
    }
    if !hosts.is_empty() {
        let why: Vec<&str> = case.unknown.values().map(String::as_str).collect();
        let lost: Vec<HostName> = case.unknown.keys().cloned().collect();
        let rest = holders::examine(world, cluster, &lost);
        if rest.only_copies() {
            return Care::blocked(
                format!(
                    "{}; without {missing} nothing is left to lead from: {}",
                    why.join("; "),
                    rest.copies_told().join("; ")
                ),
                format!("bring {missing} back: not even a forced recovery begins from such a copy"),
                format!("clusterctl status {name}"),
            );
        }
        return Care::blocked(
            format!(
                "a group is bootstrapped only when every member is known to be out and what it holds is known: {}",
                why.join("; ")
            ),
            format!(
                "bring {missing} back; it is recovered by itself then. Only if {missing} {are} gone for good: the forced recovery, which shows first what would be lost"
            ),
            break_glass,
        );
    }
    // A copy makes way for the recovery.
    let copies = plans::copies(world.model, name);
    let mut busy = plans::busy_hosts(world.model, name).into_iter();
    let unsettled = |host: &HostName| cluster.members.contains_key(host) && !copies.contains_key(host);
    if let Some((host, step)) = busy.find(|(host, _)| unsettled(host)) {
        return Care::not(
            Standing::Waiting,
            format!(
                "{}: nothing is bootstrapped meanwhile",
                plans::busy_text(world.model, host, step)
            ),
            format!(
                "restart the agent of {host}, which stops what it still does there. If that does not help, {}",
                unpromised::way_out(cluster, host)
            ),
            format!("on {host}: systemctl restart clusterctl-agent"),
        );
    }
    if let Some(best) = case.best() {
        // Nobody bootstraps by itself on a host that is to be left alone.
        let said = cluster.hands_off(best, world.now);
        if let Some(said) = said.filter(|_| cluster.paused_now(world.now).is_none()) {
            return Care::left_alone(
                format!(
                    "nobody holds everything but who is in maintenance: {best}, {}",
                    told(said)
                ),
                "end the maintenance: it is recovered by itself then; or recover it now, by your own word",
                format!("clusterctl maintenance off {best}"),
            );
        }
        return Care::Act(OperationKind::Recover {
            without: Vec::new(),
            accept_loss: None,
            expires_at: None,
        });
    }
    let copies = case.copies_told();
    if !copies.is_empty() {
        let unlock = if case.unvouched.is_empty() {
            "look which transactions the members hold; which are given up is for a person to decide"
        } else {
            "it is recovered by itself once somebody has vouched for the copy; or look which transactions the members hold: which are given up is for a person to decide"
        };
        return Care::blocked(
            format!("{}, and no other member holds everything", copies.join("; ")),
            unlock,
            format!("clusterctl recover {name}"),
        );
    }
    if let Some((one, other)) = case.unmeasured() {
        return Care::blocked(
            format!(
                "where the histories of {one} and {other} part is not recorded, so it cannot be told whether a member holds everything: which data are given up is for a person to decide"
            ),
            "look what the members hold, then leave the member out whose transactions are given up",
            format!("clusterctl recover {name}"),
        );
    }
    Care::blocked(
        "the members hold different transactions, and none holds them all: which are given up is for a person to decide",
        "look what they are, then leave the member out whose transactions are given up",
        format!("clusterctl recover {name}"),
    )
}
