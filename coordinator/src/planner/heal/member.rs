//! One member: in the group and well, or what is wrong with it.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{DataDirectory, GroupView, MemberState, MysqlFacts, ServerFacts, UnitState};

use super::holders;
use super::outage::Group;
use super::quarantine::{diverged, may_have_more};
use super::trouble::{Care, Standing, Trouble};
use super::unproven::{
    foreign_inside, not_measured_yet, unproven_donor, unproven_inside, unproven_member, unvouched_copy,
};
use crate::machine::hosts::enrol_again;
use crate::model::{Cluster, OperationKind};
use crate::planner::join::registered;
use crate::planner::lineage;
use crate::planner::live::{self, Primary};
use crate::planner::settings::{self, UNREACHABLE_MAJORITY_SECONDS};
use crate::planner::world::{Seen, World};

pub(super) fn trouble(world: &World<'_>, cluster: &Cluster, group: &Group<'_>, host: &HostName) -> Option<Trouble> {
    let Some(seen) = world.certain(host) else {
        return silent(world, cluster, group, host);
    };
    let mysql = &seen.observation.mysql;
    // Whose data they are comes before all that is done with them: mysqld is not started on another's.
    let found = not_installed(mysql, host)
        .or_else(|| not_its_data(world, cluster, host, seen))
        .or_else(|| match &mysql.server {
            None => Some(no_server(mysql, host)),
            Some(server) => with_server(world, cluster, group, (host, seen), server),
        });
    found.map(|trouble| {
        let trouble = trouble.seen(host, live::describe(world, cluster, host));
        if may_be_removed(world, cluster, group, host) {
            trouble
        } else {
            trouble.not_by_removing(cluster)
        }
    })
}

/// Whether `remove` would take this member out now (`planner/remove.rs`): a primary leads, and not from abandoned data, or from such of
/// which that is not known, where this member may be the only one that has what counts.
fn may_be_removed(world: &World<'_>, cluster: &Cluster, group: &Group<'_>, host: &HostName) -> bool {
    match group {
        Group::Led(primary) => {
            let goes_on = || lineage::goes_on(world, cluster, primary) && !may_have_more(world, cluster, primary, host);
            primary.host == host || goes_on()
        }
        Group::Leaderless(..) | Group::NoQuorum(..) | Group::Split(_) | Group::Out => false,
    }
}

/// Its agent says nothing: the others tell whether it serves.
fn silent(world: &World<'_>, cluster: &Cluster, group: &Group<'_>, host: &HostName) -> Option<Trouble> {
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
    let (for_good, command) = if may_be_removed(world, cluster, group, host) {
        (
            "; if it is gone for good, take it out",
            format!("clusterctl remove {host} --force"),
        )
    } else {
        ("", String::new())
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
        let why = "data that is not ours is never touched";
        let care = if matches!(live::out(world, host), live::Out::No(_)) {
            let unlock =
                format!("look whose it is; then, on {host}: STOP GROUP_REPLICATION; after that it can be taken out");
            Care::blocked(why, unlock, format!("clusterctl why {host}"))
        } else {
            let unlock = "look whose it is; if its data directory was replaced, take the member out, which leaves its mysqld as it is";
            Care::blocked(why, unlock, format!("clusterctl remove {host}"))
        };
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
    // Nobody enters a group that goes on from abandoned data, nor is anything renewed there.
    let goes_on = primary.filter(|primary| lineage::goes_on(world, cluster, primary));
    match view.state {
        MemberState::Online | MemberState::Recovering if foreign_inside(cluster, host, seen) => {
            Some(unproven_member(world, cluster, host, seen))
        }
        MemberState::Online if server.offline_mode => {
            let wrong = format!("{host} is ONLINE, but refuses clients (offline_mode is ON)");
            let care = match (primary, goes_on) {
                (None, _) => Care::wait("the group has no primary"),
                (Some(primary), None) => abandoned_leads(primary),
                (Some(_), Some(_)) => act(host),
            };
            Some(Trouble::of(host, "offline_mode", wrong, care))
        }
        MemberState::Online => cut_off(cluster, primary, host, view)
            .or_else(|| not_measured_yet(cluster, host, seen))
            .or_else(|| not_listed(cluster, goes_on?, host))
            .or_else(|| not_let_in(cluster, goes_on?, host, seen))
            .or_else(|| without_rights(world, cluster, goes_on?, host)),
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
            if goes_on.is_none() {
                return Some(Trouble::of(host, "member_out", wrong, abandoned_leads(primary)));
            }
            let donor =
                || unproven_inside(world, cluster, primary).map(|donor| unproven_donor(cluster, host, &donor, &wrong));
            let trouble = diverged(world, cluster, primary, (host, seen), server)
                .or_else(|| unvouched_copy(world, cluster, host, seen))
                .or_else(donor);
            Some(trouble.unwrap_or_else(|| Trouble::of(host, "member_out", wrong, act(host))))
        }
    }
}

/// The trouble of the cluster says what is to be done.
fn abandoned_leads(primary: &Primary<'_>) -> Care {
    let why = format!(
        "{} leads in a history that was abandoned: nobody is let in there",
        primary.host
    );
    Care::blocked(why, "see what is wrong with the cluster first", "clusterctl why")
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

/// Its account is of a release before, or was made again by MySQL Shell: while no coordinator is there its agent could not prove that a group
/// lives, and it would stay out after a reboot.
fn without_rights(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>, host: &HostName) -> Option<Trouble> {
    if !lacks_rights(world, cluster, primary, host) {
        return None;
    }
    let wrong =
        format!("the account of {host} may not read the group's tables: it could not come back without a coordinator");
    Some(Trouble::of(host, "member_rights", wrong, act(host)))
}

/// The member's account exists and lacks rights, by what the primary has just told.
pub(super) fn lacks_rights(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>, host: &HostName) -> bool {
    let (Some(member), Some(lacking)) = (cluster.members.get(host), &primary.server.lacking_rights) else {
        return false;
    };
    let user = settings::account(host, member, world.issuer).user;
    lacking.contains(&user)
}

fn not_ours(cluster: &Cluster, host: &HostName, server: &ServerFacts) -> Trouble {
    let elsewhere = server.group.as_ref().is_some_and(|view| !view.is_out());
    let (wrong, care) = if elsewhere {
        (
            format!("{host} is in another group ({})", server.group_name),
            Care::blocked(
                "somebody put it there",
                format!(
                    "look what that group is; to bring {host} back, stop Group Replication there, then: clusterctl join {host}"
                ),
                format!("on {host}: mysql -e 'STOP GROUP_REPLICATION'"),
            ),
        )
    } else {
        (
            format!("mysqld on {host} is not set up for the group of {}", cluster.name),
            Care::blocked(
                "its settings of Group Replication are gone or were changed",
                "set it up again",
                format!("clusterctl join {host}"),
            ),
        )
    };
    Trouble::of(host, "other_group", wrong, care)
}
