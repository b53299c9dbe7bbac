//! The group as a whole: who leads it, or why nobody does; after an outage of all members, who has everything (safety rules 1, 2, 4).

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{GroupView, MemberRole, MemberState, UnitState};

use super::loss;
use super::trouble::{Care, Evidence, Standing, Subject, Trouble};
use crate::model::{Cluster, OperationKind};
use crate::planner::builder::{are, listed};
use crate::planner::context::seconds;
use crate::planner::live::{self, Out, Primary};
use crate::planner::recovery;
use crate::planner::world::World;

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
        matches!(view.state, MemberState::Online | MemberState::Recovering).then_some((host, view))
    });
    let best = inside.max_by_key(|(host, view)| (view.has_quorum(), std::cmp::Reverse(*host)));
    match best {
        None => Group::Out,
        Some((host, view)) if view.has_quorum() => Group::Leaderless(host, view),
        Some((host, view)) => Group::NoQuorum(host, view),
    }
}

/// What the group suffers from.
pub(super) fn trouble(world: &World<'_>, cluster: &Cluster) -> Option<Trouble> {
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
    let (host, trouble) = match group(world, cluster) {
        Group::Led(_) => return None,
        Group::Split(hosts) => {
            let care = Care::blocked(
                "nothing is changed before a person has looked: each side may have taken writes",
                "stop mysqld on the side whose writes are given up",
                command,
            );
            let wrong = format!("{} call themselves primary: the group is split", listed(&hosts));
            let first = hosts.first().copied()?;
            (first, cluster_trouble("split_group", wrong, care))
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
        Group::NoQuorum(host, view) => {
            let lost: Vec<&str> = view
                .members
                .iter()
                .filter(|row| row.state == MemberState::Unreachable)
                .map(|row| row.host.as_str())
                .collect();
            let care = Care::not(
                Standing::Waiting,
                "no majority is left, so writes stand still; once those that are left have given up (20 s) and the others answer again, the group is recovered",
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

/// Nobody is certainly in the group.
fn outage(world: &World<'_>, cluster: &Cluster) -> Trouble {
    let case = examine(world, cluster, &[]);
    let name = &cluster.name;
    let evidence = case.told.iter().map(|(host, text)| Evidence {
        text: text.clone(),
        host: host.clone(),
    });
    let silent = cluster
        .members
        .keys()
        .filter(|host| world.certain(host).is_none())
        .count();
    let (code, wrong) = match silent {
        0 => ("outage", format!("no member of {name} is in the group")),
        all if all == cluster.members.len() => ("all_silent", format!("no agent of {name}'s members answers")),
        _ => ("outage", format!("no member of {name} that answers is in the group")),
    };
    let care = if code == "all_silent" {
        Care::not(
            Standing::Waiting,
            "what is not seen is not down: MySQL may well serve, and nothing can be done from here",
            "start the agents, or mend the network to this coordinator",
            "",
        )
    } else {
        care(cluster, &case)
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

fn care(cluster: &Cluster, case: &Outage) -> Care {
    let name = &cluster.name;
    let hosts: Vec<&HostName> = case.unknown.keys().collect();
    let missing = listed(&hosts);
    let are = are(&hosts);
    let break_glass = format!(
        "clusterctl recover {name} --without {}",
        hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(",")
    );
    if !case.nameless.is_empty() {
        return Care::blocked(
            format!("{} may be in the group, and cannot be asked", listed(&case.nameless)),
            "take them out of the metadata on the member that lists them",
            format!("clusterctl status {name}"),
        );
    }
    if !hosts.is_empty() && case.moving.len() == hosts.len() {
        return Care::not(
            Standing::Waiting,
            format!("mysqld is starting or stopping on {missing}; what it holds is known in a moment"),
            format!("nothing; only if it never comes to rest and {missing} {are} to be given up: the break-glass"),
            break_glass,
        );
    }
    if !hosts.is_empty() {
        let why: Vec<&str> = case.unknown.values().map(String::as_str).collect();
        return Care::blocked(
            format!(
                "a group is bootstrapped only when every member is known to be out and what it holds is known: {}",
                why.join("; ")
            ),
            format!(
                "bring {missing} back; it is recovered by itself then. Only if {missing} {are} gone for good: the break-glass, which shows first what would be lost"
            ),
            break_glass,
        );
    }
    if case.best().is_some() {
        return Care::Act(OperationKind::Recover {
            without: Vec::new(),
            accept_loss: None,
            expires_at: None,
        });
    }
    Care::blocked(
        "the members hold different transactions, and none holds them all: which are given up is for a person to decide",
        "look what they are, then leave the member out whose transactions are given up",
        format!("clusterctl recover {name}"),
    )
}

/// What is known of an outage.
pub(super) struct Outage {
    /// Members that run Group Replication without serving: it is to be stopped first.
    pub stuck: Vec<HostName>,
    /// Members of which it is not known whether they are out, or what they hold; why.
    pub unknown: BTreeMap<HostName, String>,
    /// Of those: the ones that answer, and whose mysqld is on its way up or down.
    pub moving: Vec<HostName>,
    /// What the others hold, applied or received.
    pub held: BTreeMap<HostName, GtidSet>,
    /// Members that were left out by an earlier break-glass: they stay out, and what they hold does not count.
    pub left_out: Vec<HostName>,
    /// What is listed as a member and is no name of a host.
    pub nameless: Vec<String>,
    /// A line for each member.
    pub told: Vec<(HostName, String)>,
    /// Members that are to be left alone if it can be had.
    in_maintenance: Vec<HostName>,
}

impl Outage {
    /// The member that holds everything that any of them holds, the first by name of equals.
    pub fn best(&self) -> Option<&HostName> {
        let all = self.all();
        let whole = |host: &&HostName| self.held.get(*host).is_some_and(|set| set.contains(&all));
        let mut whole: Vec<&HostName> = self.held.keys().filter(whole).collect();
        whole.sort_by_key(|host| (self.in_maintenance.contains(host), *host));
        whole.first().copied()
    }

    /// What all of them hold together.
    pub fn all(&self) -> GtidSet {
        self.held.values().fold(GtidSet::new(), |all, set| all.union(set))
    }

    /// The code that stands for leaving these out.
    pub fn code(&self, cluster: &Cluster, without: &[HostName]) -> String {
        loss::code(cluster, without, &self.held)
    }
}

/// Looks at every member but those left out.
pub(super) fn examine(world: &World<'_>, cluster: &Cluster, without: &[HostName]) -> Outage {
    let mut case = Outage {
        stuck: Vec::new(),
        unknown: BTreeMap::new(),
        moving: Vec::new(),
        held: BTreeMap::new(),
        left_out: Vec::new(),
        nameless: Vec::new(),
        told: Vec::new(),
        in_maintenance: Vec::new(),
    };
    for name in live::everyone(world, cluster) {
        let Ok(host) = name.parse::<HostName>() else {
            case.nameless.push(name);
            continue;
        };
        if without.contains(&host) {
            continue;
        }
        if !cluster.members.contains_key(&host) {
            let why = format!("{host} is listed by a member, and this coordinator does not know it as one");
            case.told.push((host.clone(), why.clone()));
            case.unknown.insert(host, why);
            continue;
        }
        if cluster.hands_off(&host, world.now).is_some() {
            case.in_maintenance.push(host.clone());
        }
        match look(world, cluster, &host) {
            Ok((held, stuck)) => {
                let what = if stuck {
                    "Group Replication gave up there"
                } else {
                    "out of the group"
                };
                case.told
                    .push((host.clone(), format!("{what}, holds {}", recovery::shown(&held))));
                if stuck {
                    case.stuck.push(host.clone());
                }
                if cluster.left_out.contains_key(&host) {
                    case.left_out.push(host);
                } else {
                    case.held.insert(host, held);
                }
            }
            Err(why) => {
                case.told.push((host.clone(), why.clone()));
                let unit = world.certain(&host).map(|seen| seen.observation.mysql.unit);
                if matches!(unit, Some(UnitState::Starting | UnitState::Stopping)) {
                    case.moving.push(host.clone());
                }
                case.unknown.insert(host, why);
            }
        }
    }
    case
}

/// What a member holds, and whether its Group Replication has still to be stopped; or why that is not known.
fn look(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Result<(GtidSet, bool), String> {
    let seen = world.certain(host).ok_or_else(|| silent(world, host))?;
    let stuck = match live::out(world, host) {
        Out::Yes => false,
        Out::Unknown(why) => return Err(why),
        Out::No(why) => {
            let view = seen
                .observation
                .mysql
                .server
                .as_ref()
                .and_then(|server| live::view(server, cluster));
            match view.map(|view| view.state) {
                Some(MemberState::Error | MemberState::Offline) => true,
                _ => return Err(why),
            }
        }
    };
    // A member whose data are gone held something, and nobody knows what: that is not "nothing" (safety rule 2).
    if !live::data_known(cluster, host, seen) {
        return Err(format!(
            "the data of {host} are not there any more: what they held is not known"
        ));
    }
    let (executed, received) = live::holds(seen, "").ok_or_else(|| {
        let unit = match seen.observation.mysql.unit {
            UnitState::Failed => "failed",
            UnitState::Stopped => "was stopped",
            _ => "does not run",
        };
        format!("mysqld on {host} {unit}, so nobody can tell what it holds")
    })?;
    let parse = |text: &str| text.parse::<GtidSet>().map_err(|error| format!("{host}: {error}"));
    Ok((parse(executed)?.union(&parse(received)?), stuck))
}

/// Since when nothing is heard, and what was told last.
pub(super) fn silent(world: &World<'_>, host: &HostName) -> String {
    let Some(seen) = world.sight.get(host) else {
        return format!("{host} has not answered since this coordinator leads");
    };
    let last = match live::holds(seen, "") {
        Some((executed, _)) if !executed.is_empty() => match executed.parse::<GtidSet>() {
            Ok(set) => format!(", it held {} then", recovery::shown(&set)),
            Err(_) => String::new(),
        },
        _ => String::new(),
    };
    format!("{host} answered last {} ago{last}", seconds(seen.age_ms))
}
