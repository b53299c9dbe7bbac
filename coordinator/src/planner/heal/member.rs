//! One member: in the group and well, or what is wrong with it.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, Measure};
use clusterctl_proto::observe::{DataDirectory, GroupView, MemberState, MysqlFacts, ServerFacts, UnitState};

use super::holders;
use super::outage::Group;
use super::trouble::{Care, Standing, Trouble};
use crate::machine::hosts::enrol_again;
use crate::model::{Cluster, OperationKind};
use crate::planner::join::registered;
use crate::planner::lineage::{self, Known};
use crate::planner::live::{self, Primary};
use crate::planner::recovery;
use crate::planner::settings::UNREACHABLE_MAJORITY_SECONDS;
use crate::planner::world::{Seen, World};

pub(super) fn trouble(world: &World<'_>, cluster: &Cluster, group: &Group<'_>, host: &HostName) -> Option<Trouble> {
    let Some(seen) = world.certain(host) else {
        return silent(world, group, host);
    };
    let mysql = &seen.observation.mysql;
    // Whose data they are comes before all that is done with them: mysqld is not started on another's.
    let found = not_installed(mysql, host)
        .or_else(|| not_its_data(world, cluster, host, seen))
        .or_else(|| match &mysql.server {
            None => Some(no_server(mysql, host)),
            Some(server) => with_server(world, cluster, group, (host, seen), server),
        });
    found.map(|trouble| trouble.seen(host, live::describe(world, cluster, host)))
}

/// Its agent says nothing: the others tell whether it serves.
fn silent(world: &World<'_>, group: &Group<'_>, host: &HostName) -> Option<Trouble> {
    let told = holders::silent(world, host);
    let view = match group {
        Group::Led(primary) => Some((primary.host, primary.view)),
        Group::Leaderless(witness, view) | Group::NoQuorum(witness, view) => Some((*witness, *view)),
        Group::Split(_) => None,
        // Told of the group as a whole.
        Group::Out => return None,
    };
    let row = view.and_then(|(_, view)| live::row(view, world, host));
    let state = row.map_or("not in the group", |row| live::state(row.state));
    let serves = row.is_some_and(|row| row.state == MemberState::Online);
    // Only where somebody leads can one be taken out.
    let (for_good, command) = match group {
        Group::Led(_) => (
            "; if it is gone for good, take it out",
            format!("clusterctl remove {host} --force"),
        ),
        _ => ("", String::new()),
    };
    let trouble = if serves {
        let (unlock, command) = match expired(world, host) {
            Some(command) => ("enrol it again as itself: its certificate has expired", command),
            None => (
                "start the agent, or mend the network to the coordinator",
                format!("on {host}: systemctl status clusterctl-agent"),
            ),
        };
        let care = Care::not(
            Standing::Waiting,
            "the group sees it ONLINE: MySQL goes on without the agent",
            unlock,
            command,
        );
        let wrong = format!("the agent of {host} does not answer, though its mysqld is ONLINE");
        Trouble::of(host, "agent_silent", wrong, care).patient()
    } else {
        let (unlock, command) = match expired(world, host) {
            Some(again) => (
                format!("switch {host} on; its certificate has expired: enrol it again as itself{for_good}"),
                again,
            ),
            None => (format!("switch {host} on, or mend its network{for_good}"), command),
        };
        let care = Care::not(
            Standing::Waiting,
            "it comes in again by itself as soon as it is back",
            unlock,
            command,
        );
        Trouble::of(
            host,
            "member_lost",
            format!("{host} does not answer and is {state}"),
            care,
        )
    };
    let trouble = trouble.seen(host, told);
    Some(match view {
        Some((witness, _)) => trouble.seen(witness, format!("sees {host}: {state}")),
        None => trouble,
    })
}

/// How to enrol the host again, where its agent is silent because its certificate has expired.
fn expired(world: &World<'_>, host: &HostName) -> Option<String> {
    let known = world.model.hosts.get(host)?;
    (known.certificate_expires <= world.now).then(|| enrol_again(host))
}

fn not_installed(mysql: &MysqlFacts, host: &HostName) -> Option<Trouble> {
    if mysql.installed.is_some() {
        return None;
    }
    let care = Care::blocked(
        "it has no MySQL any more",
        "take it out and join it again",
        format!("clusterctl remove {host} --force"),
    );
    let wrong = format!("mysqld is not installed on {host}");
    Some(Trouble::of(host, "server_gone", wrong, care))
}

fn not_its_data(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> Option<Trouble> {
    if let DataDirectory::Foreign { what } = &seen.observation.mysql.data {
        let care = Care::blocked(
            "data that is not ours is never touched",
            "look whose it is; take the member out if its data directory was replaced",
            format!("clusterctl remove {host}"),
        );
        let wrong = format!("the data directory of {host} is not that of {}: {what}", cluster.name);
        return Some(Trouble::of(host, "data_foreign", wrong, care));
    }
    if live::data_known(world, cluster, host, seen) {
        return None;
    }
    let care = Care::blocked(
        "what it held is not known, and a member is not made of nothing unasked",
        "if its volume is not mounted: mount it, and start mysqld; else set it up again as a new member: its data come from the others",
        format!("clusterctl join {host}"),
    );
    let wrong = format!("the data that {host} had in {} are not there any more", cluster.name);
    Some(Trouble::of(host, "data_gone", wrong, care))
}

fn no_server(mysql: &MysqlFacts, host: &HostName) -> Trouble {
    let result = match mysql.unit_result.as_str() {
        "" | "success" => String::new(),
        result => format!(" ({result})"),
    };
    let (code, wrong, care) = match mysql.unit {
        UnitState::Failed => (
            "server_failed",
            format!("mysqld on {host} has failed{result}"),
            Care::Act(OperationKind::Rejoin { host: host.clone() }),
        ),
        UnitState::Stopped => (
            "server_stopped",
            format!("mysqld on {host} is stopped"),
            Care::left_alone(
                "somebody stopped it in an orderly way, which is left so",
                "start it when the work is done; it rejoins by itself",
                format!("on {host}: systemctl start mysql"),
            ),
        ),
        UnitState::Absent => (
            "server_gone",
            format!("mysqld on {host} has no unit"),
            Care::blocked(
                "there is nothing that could be started",
                "install its package again",
                format!("clusterctl check {host}"),
            ),
        ),
        UnitState::Starting | UnitState::Stopping => (
            "server_moving",
            format!("mysqld on {host} is starting or stopping"),
            Care::wait("it comes to rest by itself; after a crash it may recover for a while"),
        ),
        UnitState::Running => (
            "server_hangs",
            format!("mysqld on {host} runs, but does not answer its agent"),
            Care::not(
                Standing::Waiting,
                mysql.error.clone().unwrap_or_else(|| "no reason is known".to_owned()),
                "look what it does: a full disk makes it wait until space is free",
                format!("on {host}: journalctl -u mysql -n 50; df -h /var/lib/mysql"),
            ),
        ),
    };
    Trouble::of(host, code, wrong, care)
}

fn with_server(
    world: &World<'_>,
    cluster: &Cluster,
    group: &Group<'_>,
    (host, seen): (&HostName, &Seen),
    server: &ServerFacts,
) -> Option<Trouble> {
    let ours = live::is_ours(server, cluster);
    let Some(view) = server.group.as_ref().filter(|_| ours) else {
        return Some(not_ours(cluster, host, server));
    };
    let primary = match group {
        Group::Led(primary) => Some(primary),
        // Told of the group as a whole.
        _ => None,
    };
    match view.state {
        MemberState::Online | MemberState::Recovering if foreign_inside(cluster, host, seen) => {
            let care = Care::blocked(
                "it entered past its agent, and nothing proves that its data are the group's: it may hold other transactions under the same numbers",
                "compare its data with the others' (CHECKSUM TABLE); then take it out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            );
            let wrong = format!("{host} is in the group with data of an unproven history");
            Some(Trouble::of(host, GIVEN_UP_INSIDE, wrong, care))
        }
        MemberState::Online if server.offline_mode => {
            let wrong = format!("{host} is ONLINE, but refuses clients (offline_mode is ON)");
            let care = primary.map_or_else(|| Care::wait("the group has no primary"), |_| act(host));
            Some(Trouble::of(host, "offline_mode", wrong, care))
        }
        MemberState::Online => cut_off(cluster, primary, host, view)
            .or_else(|| not_listed(cluster, primary?, host))
            .or_else(|| not_let_in(cluster, primary?, host, seen)),
        MemberState::Recovering => {
            let wrong = format!("{host} is RECOVERING");
            let care = Care::wait(format!(
                "it catches up by itself, {} transactions wait in its queues",
                server.queue
            ));
            Some(Trouble::of(host, "recovering", wrong, care))
        }
        MemberState::Offline | MemberState::Error | MemberState::Unreachable => {
            let primary = primary?;
            let wrong = if view.state == MemberState::Error {
                format!("{host} is in ERROR, out of service")
            } else {
                format!("{host} is not in the group")
            };
            if view.state == MemberState::Offline && view.auto_rejoin {
                let care = Care::wait("Group Replication is starting or stopping there");
                return Some(Trouble::of(host, "member_out", wrong, care));
            }
            let donor = || unproven_inside(world, cluster, primary).map(|donor| unproven_donor(host, &donor, &wrong));
            let trouble = diverged(world, cluster, primary, (host, seen), server).or_else(donor);
            Some(trouble.unwrap_or_else(|| Trouble::of(host, "member_out", wrong, act(host))))
        }
    }
}

/// Code of a member whose data may be others than the group's, and which is inside.
pub(crate) const GIVEN_UP_INSIDE: &str = "given_up_inside";

/// A member that is inside, and whose data nobody has measured.
pub(crate) fn foreign_inside(cluster: &Cluster, host: &HostName, seen: &Seen) -> bool {
    if lineage::half_copied(cluster, seen) {
        return true;
    }
    match lineage::of_member(cluster, seen) {
        Known::Unverified(_) => true,
        Known::Of(id) => id == LineageId::origin() && cluster.left_out.contains_key(host),
        // Its agent has just started, or is of the release before.
        Known::No => false,
    }
}

/// A member that is ONLINE, and of whose data nobody knows that they are the group's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unproven<'a> {
    /// Its agent says that nobody has measured them.
    Told(&'a HostName),
    /// Its agent, which alone can tell, is silent, and did not see it in this group before.
    Silent(&'a HostName),
}

impl Unproven<'_> {
    /// What is wrong with it.
    pub fn told(&self) -> String {
        match self {
            Self::Told(donor) => format!("{donor} is in the group with data of an unproven history"),
            Self::Silent(donor) => format!(
                "{donor} is in the group, and its agent, which alone can tell the history of its data, does not answer"
            ),
        }
    }

    /// What an operator may do.
    pub fn unlock(&self) -> String {
        match self {
            Self::Told(donor) => format!(
                "take {donor} out of the group first (STOP GROUP_REPLICATION there, or for good: clusterctl remove {donor})"
            ),
            Self::Silent(donor) => format!("start the agent of {donor}: systemctl start clusterctl-agent"),
        }
    }

    fn host(&self) -> &HostName {
        match self {
            Self::Told(donor) | Self::Silent(donor) => donor,
        }
    }
}

/// A member that is ONLINE with data that nobody has measured: whoever comes in may get what it lacks from it, as Group Replication picks
/// the donor (manual, "Distributed Recovery"), and nobody can tell it to spare one.
pub(crate) fn unproven_inside<'a>(
    world: &World<'_>,
    cluster: &'a Cluster,
    primary: &Primary<'_>,
) -> Option<Unproven<'a>> {
    let mut online = live::online(world, cluster, primary).into_iter();
    online.find_map(|host| {
        let foreign = world
            .sight
            .get(host)
            .is_some_and(|seen| foreign_inside(cluster, host, seen));
        if foreign {
            return Some(Unproven::Told(host));
        }
        lineage::is_unseen(world, cluster, host, &primary.view.view_id).then_some(Unproven::Silent(host))
    })
}

/// Nobody is let in while a donor may hand on other data under the same numbers.
fn unproven_donor(host: &HostName, donor: &Unproven<'_>, wrong: &str) -> Trouble {
    let care = Care::blocked(
        format!("{}, and could be the one that gives {host} what it lacks", donor.told()),
        donor.unlock(),
        format!("clusterctl why {}", donor.host()),
    );
    Trouble::of(host, "member_out", wrong, care)
}

fn act(host: &HostName) -> Care {
    Care::Act(OperationKind::Rejoin { host: host.clone() })
}

/// It thinks that it is inside, the others have a majority without it.
fn cut_off(cluster: &Cluster, primary: Option<&Primary<'_>>, host: &HostName, view: &GroupView) -> Option<Trouble> {
    let primary = primary?;
    if view.has_quorum() || primary.host == host {
        return None;
    }
    let care = Care::not(
        Standing::Waiting,
        format!(
            "{} leads {} with a majority; {host} gives up after {UNREACHABLE_MAJORITY_SECONDS} s by itself and is brought back as soon as it can be",
            primary.host, cluster.name
        ),
        format!("mend the network between {host} and the others"),
        "",
    );
    let wrong = format!("{host} is cut off from the others");
    Some(Trouble::of(host, "cut_off", wrong, care).seen(primary.host, format!("leads {} members", view.members.len())))
}

/// A join that ended between its last two steps, or somebody's DELETE: it replicates, and no client gets there.
fn not_listed(cluster: &Cluster, primary: &Primary<'_>, host: &HostName) -> Option<Trouble> {
    // Nothing is concluded from metadata that were not read.
    primary.server.metadata.as_ref()?;
    if registered(primary, cluster, host) {
        return None;
    }
    let wrong = format!("{host} is ONLINE, but missing from the metadata: Router does not know it");
    let seen = format!("lists no {}", live::address(cluster, host));
    Some(Trouble::of(host, "member_not_listed", wrong, act(host)).seen(primary.host, seen))
}

/// A person started it after it had promised to stay out, or its ledger was lost: after a reboot without a coordinator it would stay out for
/// ever. The step that lets members in finds it inside, and renews the permission.
fn not_let_in(cluster: &Cluster, primary: &Primary<'_>, host: &HostName, seen: &Seen) -> Option<Trouble> {
    let may_return = seen.observation.ledger.may_return.as_ref()?;
    if !seen.observation.ledger.known || may_return.contains(&cluster.name) {
        return None;
    }
    let wrong = format!("{host} is ONLINE, but no step let it in: it could not come back without a coordinator");
    let told = format!("leads a group with {host} in it");
    Some(Trouble::of(host, "member_not_let_in", wrong, act(host)).seen(primary.host, told))
}

fn not_ours(cluster: &Cluster, host: &HostName, server: &ServerFacts) -> Trouble {
    let elsewhere = server.group.as_ref().is_some_and(|view| !view.is_out());
    let (wrong, why) = if elsewhere {
        (
            format!("{host} is in another group ({})", server.group_name),
            "somebody put it there",
        )
    } else {
        (
            format!("mysqld on {host} is not set up for the group of {}", cluster.name),
            "its settings of Group Replication are gone or were changed",
        )
    };
    let care = Care::blocked(why, "set it up again", format!("clusterctl join {host}"));
    Trouble::of(host, "other_group", wrong, care)
}

/// It holds what the group has not, or what cannot be compared with it: never cloned over unasked (safety rule 3).
fn diverged(
    world: &World<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, seen): (&HostName, &Seen),
    server: &ServerFacts,
) -> Option<Trouble> {
    let parse = |text: &str| recovery::set(host, text);
    let wrong = format!("{host} is not in the group");
    let held = match (parse(&server.gtid_executed), parse(&server.gtid_received)) {
        (Ok(executed), Ok(received)) => executed.union(&received),
        (Err(failure), _) | (_, Err(failure)) => {
            let care = Care::blocked(failure.message, "this is a defect: please report it", "");
            return Some(Trouble::of(host, "member_out", wrong, care));
        }
    };
    let group_has = parse(&primary.server.gtid_executed).ok()?;
    let group = lineage::of_group(world, cluster, primary);
    let extra = match lineage::measure(cluster, host, seen, &held, (group.as_ref(), &group_has)) {
        Measure::Inside => return None,
        Measure::Beyond(extra) => extra,
        Measure::Unknown if !group_has.contains(&held) => held.subtract(&group_has),
        Measure::Unknown => return Some(not_comparable(world, cluster, primary, (host, seen), group.as_ref())),
    };
    let since = match (lineage::of_member(cluster, seen), &group) {
        (Known::Of(id), Some(group)) if id != *group => {
            format!(
                ", which went on without it since lineage {id} (it is {group} now) and may use the same numbers for others"
            )
        }
        _ => String::new(),
    };
    let care = Care::blocked(
        format!(
            "quarantined: it holds {} transactions that the group has not{since}; they are never thrown away unasked",
            extra.count()
        ),
        format!(
            "look what they are (on {host}: mysqlbinlog --include-gtids='{extra}' /var/lib/mysql/binlog.*), write what is needed of it again on {}; then take {host} out, empty its data directory after a backup, and join it again",
            primary.host
        ),
        format!("clusterctl remove {host}"),
    );
    // For a second after it left, the primary may not have told yet of what the group numbered last: nothing is done meanwhile, and the
    // journal waits (`leader::heal`).
    let trouble = Trouble::of(host, "member_quarantined", wrong, care)
        .seen(host, format!("only here: {}", recovery::shown(&extra)))
        .seen(primary.host, format!("the group has: {}", recovery::shown(&group_has)));
    Some(trouble)
}

/// Every agent answers, and none has on record what the group that lives now began with: nobody will tell.
fn untold(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>) -> bool {
    let Some((group, _)) = LineageId::of_view(&primary.view.view_id) else {
        return false;
    };
    let silent = |host: &HostName| {
        let seen = world.certain(host)?;
        let record = seen.observation.ledger.lineages.get(&cluster.name);
        Some(record.is_none_or(|record| record.id.prefix() != group.prefix() || record.branch.is_none()))
    };
    cluster.members.keys().all(|host| silent(host) == Some(true))
}

/// Numbers prove nothing between histories of which it is not known where they branched off.
fn not_comparable(
    world: &World<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, seen): (&HostName, &Seen),
    group: Option<&LineageId>,
) -> Trouble {
    let (told, care) = match (lineage::of_member(cluster, seen), group) {
        (_, None) if untold(world, cluster, primary) => (
            "the bootstrap of the group that lives now is on no agent's record".to_owned(),
            Care::blocked(
                "quarantined: the group was bootstrapped past clusterctl, and no agent saw what it began with; numbers of transactions prove nothing then",
                "compare its data with the others' (CHECKSUM TABLE); then take it out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            ),
        ),
        (_, None) => (
            "the bootstrap of the group that lives now is not recorded".to_owned(),
            Care::not(
                Standing::Waiting,
                format!(
                    "quarantined: the group was bootstrapped past clusterctl; what it began with is told by the agent of the member where that was done, and {host} comes in then if it has nothing else"
                ),
                "start the agents of all members; if nobody saw that bootstrap: take the member out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            ),
        ),
        (known, Some(group)) => {
            let told = match known {
                Known::Of(id) => format!(
                    "its data are of lineage {id}, the group's of {group}, and how they hang together is not known"
                ),
                Known::Unverified(id) => format!("its data entered lineage {id} past its agent"),
                Known::No => "its agent has no record of which bootstrap its data descend from".to_owned(),
            };
            let care = Care::blocked(
                format!("quarantined: {told}; numbers of transactions prove nothing then"),
                "look what it holds; then take it out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            );
            (told, care)
        }
    };
    Trouble::of(host, "member_quarantined", format!("{host} is not in the group"), care)
        .seen(host, told)
        .seen(
            primary.host,
            format!(
                "leads lineage {}",
                group.map_or("that is not recorded", |id| id.as_str())
            ),
        )
}
