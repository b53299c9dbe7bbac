//! How a joiner gets its data: MySQL Shell's table with our rule for empty joiners (docs/metadata.md, Recovery).
//!
//! | what the joiner holds | answer |
//! | --- | --- |
//! | something that the group has not | refused, with the sets |
//! | nothing | incremental if the cluster was made empty and no member has purged anything; else clone |
//! | a part, and a member still has the rest in its binary logs | incremental |
//! | a part, and no member has the rest any more | clone (what it holds, the group has) |

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, Measure};
use clusterctl_proto::observe::{MemberState, ServerFacts};
use clusterctl_proto::step::Recovery;

use super::context::Context;
use super::lineage::{self, Known};
use super::live::{self, Primary};
use super::world::{Planning, Seen, Stop};
use super::{copy, heal, vouch};
use crate::model::Cluster;
use crate::model::operation::RecoveryWish;

/// The choice, and why.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What to do.
    pub recovery: Recovery,
    /// Why, for the report.
    pub reason: String,
}

/// Chooses for a joiner that is out of the group.
pub(crate) fn choose(
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    joiner: &HostName,
    wish: RecoveryWish,
) -> Planning<Choice> {
    if !lineage::goes_on(&context.world, cluster, primary) {
        return Err(given_up_leads(cluster, primary.host).into());
    }
    let donors = donors(context, cluster, primary)?;
    let group = set(primary.host, &primary.server.gtid_executed)?;
    let seen = context.certain(joiner)?;
    let held = held(context, joiner, seen)?;
    let lives_in = lineage::of_group(&context.world, cluster, primary);
    match lineage::measure(cluster, joiner, seen, &held, (lives_in.as_ref(), &group)) {
        Measure::Inside => {}
        Measure::Beyond(errant) => {
            return Err(errant_transactions(cluster, primary.host, joiner, &held, &group, &errant).into());
        }
        Measure::Unknown if !group.contains(&held) => {
            let errant = held.subtract(&group);
            return Err(errant_transactions(cluster, primary.host, joiner, &held, &group, &errant).into());
        }
        Measure::Unknown => {
            let unknown = not_comparable(cluster, joiner, (seen, &held), lives_in.as_ref());
            return Err(
                if lives_in.is_none() || vouch::is_pending(&context.world, cluster, seen) {
                    context.not_yet(unknown)
                } else {
                    unknown.into()
                },
            );
        }
    }
    let server = seen.observation.mysql.server.as_ref();
    if server.is_some() && lineage::half_copied(cluster, seen) {
        if wish != RecoveryWish::Clone && vouch::copy_waits(&context.world, cluster, seen) {
            return Err(context.not_yet(unvouched_copy(context, cluster, joiner, seen)));
        }
        let why = if lineage::holds_unvouched_copy(cluster, seen) {
            "nobody vouches for the copy that it holds"
        } else {
            "a copy was begun there and is not known to be complete"
        };
        return match wish {
            RecoveryWish::Incremental => Err(not_possible(joiner, why, &held, &group).into()),
            RecoveryWish::Auto | RecoveryWish::Clone => {
                schemas_told(context, joiner, seen, &held)?;
                clone(context, cluster, primary.host, &donors, why)
            }
        };
    }
    let choice = choose_among(context, cluster, (primary.host, &group), &donors, joiner, wish)?;
    match heal::unproven_inside(&context.world, cluster, primary) {
        // Its agent, or that of whoever gave it its data, may tell in a second.
        Some(donor @ (heal::Unproven::Silent(_) | heal::Unproven::Pending(_) | heal::Unproven::Unheard(..)))
            if matches!(choice.recovery, Recovery::Incremental) =>
        {
            Err(context.not_yet(unproven_donor(joiner, &donor)))
        }
        Some(donor) if matches!(choice.recovery, Recovery::Incremental) => Err(unproven_donor(joiner, &donor).into()),
        _ => Ok(choice),
    }
}

/// Its copy is complete, and the donor is asked whether what it gave was the group's.
fn unvouched_copy(context: &Context<'_>, cluster: &Cluster, joiner: &HostName, seen: &Seen) -> Failure {
    let donors = vouch::donors(&context.world, cluster, seen);
    Failure::refused(
        "copy_unproven",
        format!(
            "{joiner} holds a copy of the data of {}, which has not told yet that they were the group's",
            donors.join(" and ")
        ),
    )
    .hint(heal::copy_again(joiner))
    .transient()
}

/// Group Replication picks the donor itself.
fn unproven_donor(joiner: &HostName, donor: &heal::Unproven<'_>) -> Failure {
    Failure::refused(
        "unproven_donor",
        format!("{}, and {joiner} could get what it lacks from it", donor.told()),
    )
    .hint(donor.unlock())
}

fn not_possible(joiner: &HostName, why: &str, held: &GtidSet, group: &GtidSet) -> Failure {
    Failure::refused(
        "incremental_not_possible",
        format!("{joiner} cannot join by incremental recovery: {why}"),
    )
    .fact(format!("{joiner} holds: {}", shown(held)))
    .fact(format!("the group has: {}", shown(group)))
    .hint(format!("let it be cloned: clusterctl join {joiner} --recovery clone"))
}

/// Somebody leads a history that was abandoned: the other side may live, and their numbers cannot be compared.
fn given_up_leads(cluster: &Cluster, primary: &HostName) -> Failure {
    let name = &cluster.name;
    Failure::refused(
        lineage::GIVEN_UP_LEADS,
        format!("{primary} leads {name} in a history that was abandoned: nobody is let in"),
    )
    .fact("the other side may have used the same numbers for other transactions")
    .hint(format!("clusterctl why -c {name}"))
}

/// What it holds descends from another bootstrap, and nobody knows what both have in common.
fn not_comparable(
    cluster: &Cluster,
    joiner: &HostName,
    (seen, held): (&Seen, &GtidSet),
    lives_in: Option<&LineageId>,
) -> Failure {
    let name = &cluster.name;
    let Some(lives_in) = lives_in else {
        return Failure::refused(
            "lineage_not_recorded",
            format!("the group of {name} was bootstrapped past clusterctl, and what it began with is not recorded yet"),
        )
        .fact(format!("{joiner} holds: {}", shown(held)))
        .hint(format!(
            "start the agents of all members; see: clusterctl why -c {name}"
        ))
        .transient();
    };
    let of = match lineage::of_member(cluster, seen) {
        Known::Of(id) => format!("lineage {id}"),
        Known::Unverified(id) => format!("lineage {id}, entered past its agent"),
        Known::No => "not recorded by its agent".to_owned(),
    };
    Failure::refused(
        "history_unknown",
        format!("{joiner} holds transactions, and nothing proves that they are those of {name}"),
    )
    .fact(format!("history of its data: {of}; the group's: lineage {lives_in}"))
    .fact(format!("{joiner} holds: {}", shown(held)))
    .fact("numbers of transactions are used again after every bootstrap, so comparing them proves nothing")
    .hint(format!(
        "look what it holds; when nobody needs it, empty its data directory (after a backup) and run: clusterctl join {joiner}"
    ))
}

/// Chooses for a joiner of a group that is yet to be bootstrapped on `first`.
pub(crate) fn choose_at_create(
    context: &Context<'_>,
    cluster: &Cluster,
    first: &HostName,
    joiner: &HostName,
) -> Planning<Choice> {
    let seen = context.certain(first)?;
    let group = held(context, first, seen)?;
    let server = seen.observation.mysql.server.as_ref();
    let donor = match server {
        Some(server) => vec![Donor {
            host: first,
            server: Some(server),
            purged: set(first, &server.gtid_purged)?,
        }],
        None => vec![Donor {
            host: first,
            server: None,
            purged: GtidSet::new(),
        }],
    };
    choose_among(context, cluster, (first, &group), &donor, joiner, RecoveryWish::Auto)
}

fn choose_among(
    context: &Context<'_>,
    cluster: &Cluster,
    (first, group): (&HostName, &GtidSet),
    donors: &[Donor<'_>],
    joiner: &HostName,
    wish: RecoveryWish,
) -> Planning<Choice> {
    let seen = context.certain(joiner)?;
    let held = held(context, joiner, seen)?;
    let errant = held.subtract(group);
    if !errant.is_empty() {
        return Err(errant_transactions(cluster, first, joiner, &held, group, &errant).into());
    }
    unseen_data(joiner, seen, &held)?;
    let whole = |donor: &&Donor<'_>| held.contains(&donor.purged);
    let missing_somewhere = donors.iter().find(|donor| !whole(donor));
    let incremental = if held.is_empty() {
        match missing_somewhere {
            _ if !cluster.gtid_set_is_complete => {
                Err("the cluster was not made empty: binary logs do not hold everything".to_owned())
            }
            Some(donor) => Err(format!(
                "{} has purged binary logs that an empty member needs",
                donor.host
            )),
            None => Ok("it is empty, and binary logs hold everything since the cluster was made".to_owned()),
        }
    } else if held == *group {
        Ok("it holds everything that the group has".to_owned())
    } else if let Some(donor) = donors.iter().find(whole) {
        let lacks = group.subtract(&held).count();
        Ok(format!(
            "it lacks {lacks} transactions, and {} has all of them in its binary logs",
            donor.host
        ))
    } else {
        Err("every member has purged binary logs that it needs".to_owned())
    };
    let copies = wish == RecoveryWish::Clone || (wish == RecoveryWish::Auto && incremental.is_err());
    if copies {
        schemas_told(context, joiner, seen, &held)?;
    }
    match (wish, incremental) {
        (RecoveryWish::Auto | RecoveryWish::Incremental, Ok(reason)) => Ok(Choice {
            recovery: Recovery::Incremental,
            reason,
        }),
        (RecoveryWish::Incremental, Err(why)) => Err(not_possible(joiner, &why, &held, group).into()),
        (RecoveryWish::Auto, Err(why)) => clone(context, cluster, first, donors, &why),
        (RecoveryWish::Clone, _) => clone(context, cluster, first, donors, "asked for"),
    }
}

/// A member that may give its data.
struct Donor<'a> {
    host: &'a HostName,
    server: Option<&'a ServerFacts>,
    purged: GtidSet,
}

fn donors<'a>(context: &Context<'a>, cluster: &'a Cluster, primary: &Primary<'a>) -> Planning<Vec<Donor<'a>>> {
    let mut donors = Vec::new();
    for host in live::online(&context.world, cluster, primary) {
        // One whose agent is silent is no donor of ours, though Group Replication may pick it: it falls back to others.
        let seen = context.world.certain(host);
        if let Some(server) = seen.and_then(|seen| seen.observation.mysql.server.as_ref()) {
            donors.push(Donor {
                host,
                server: Some(server),
                purged: set(host, &server.gtid_purged)?,
            });
        }
    }
    Ok(donors)
}

/// A secondary with the shortest queue, so that the primary is left alone; else the primary. Never one whose own data are unproven, nor
/// one that gives its data to somebody else now.
fn clone(
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &HostName,
    donors: &[Donor<'_>],
    why: &str,
) -> Planning<Choice> {
    let proven = |donor: &HostName| {
        let seen = context.world.sight.get(donor);
        !seen.is_some_and(|seen| heal::is_unproven(&context.world, cluster, donor, seen))
    };
    let any_proven = donors.iter().any(|donor| proven(donor.host));
    let may_give = |donor: &HostName| proven(donor) && !copy::gives(context, cluster, donor);
    let donors: Vec<&Donor<'_>> = donors.iter().filter(|donor| may_give(donor.host)).collect();
    let ready = donors.iter().filter(|donor| donor.host != primary).filter_map(|donor| {
        let server = donor.server?;
        let online = server
            .group
            .as_ref()
            .is_some_and(|view| view.state == MemberState::Online);
        online.then_some((server.queue, donor.host))
    });
    let donor = ready.min().map_or(primary, |(_, host)| host);
    if !any_proven && !proven(donor) {
        return Err(context.not_yet(
            Failure::refused(
                "unproven_donor",
                format!(
                    "no member of {} that could give its data is proven to hold the group's",
                    cluster.name
                ),
            )
            .fact(format!("{donor} is in the group with data of an unproven history"))
            .hint(format!("clusterctl why {donor}"))
            .transient(),
        ));
    }
    if !may_give(donor) {
        return Err(Stop::Wait(format!(
            "every member of {} that could give its data gives it to somebody else now",
            cluster.name
        )));
    }
    let port = cluster.members.get(donor).map_or(3306, |member| member.port);
    Ok(Choice {
        recovery: Recovery::Clone {
            donor: donor.clone(),
            port,
        },
        reason: format!("a copy of {donor}: {why}"),
    })
}

/// Everything that the joiner holds, applied or only received.
pub(crate) fn held(context: &Context<'_>, joiner: &HostName, seen: &Seen) -> Planning<GtidSet> {
    let Some((executed, received)) = live::holds(seen, "") else {
        return Err(context.not_yet(
            Failure::new(
                "server_down",
                format!(
                    "mysqld on {joiner} holds data of this cluster but does not run, so nobody can tell what it holds"
                ),
            )
            .hint(format!(
                "start it: on {joiner}: systemctl start mysql (or mysqld); the log: journalctl -u mysql"
            ))
            .exit(ExitClass::Refused)
            .transient(),
        ));
    };
    Ok(set(joiner, executed)?.union(&set(joiner, received)?))
}

/// Data that no GTID stands for would vanish in a clone, and be missing on the others otherwise (safety rule 3).
fn unseen_data(joiner: &HostName, seen: &Seen, held: &GtidSet) -> Planning<()> {
    let schemas = seen
        .observation
        .mysql
        .server
        .as_ref()
        .and_then(|server| server.user_schemas.as_ref());
    match schemas {
        Some(schemas) if held.is_empty() && !schemas.is_empty() => Err(Failure::refused(
            "foreign_data",
            format!("{joiner} holds schemas that no transaction of the group accounts for"),
        )
        .fact(format!("schemas: {}", schemas.join(", ")))
        .hint("save them and drop them, or use an empty host")
        .into()),
        _ => Ok(()),
    }
}

/// Before a clone, "not told yet" is not "none" (safety rule 4).
fn schemas_told(context: &Context<'_>, joiner: &HostName, seen: &Seen, held: &GtidSet) -> Planning<()> {
    let server = seen.observation.mysql.server.as_ref();
    if !held.is_empty() || server.is_none_or(|server| server.user_schemas.is_some()) {
        return Ok(());
    }
    Err(context.not_yet(
        Failure::new(
            "no_facts",
            format!("{joiner} has not told yet which schemas it holds, and a clone would replace them"),
        )
        .hint("run the command again in a minute")
        .exit(ExitClass::Unreachable)
        .transient(),
    ))
}

/// A set as a server wrote it.
pub(crate) fn set(host: &HostName, text: &str) -> Result<GtidSet, Failure> {
    text.parse().map_err(|error| {
        Failure::new(
            "bad_gtid_set",
            format!("the transactions of {host} cannot be read: {error}"),
        )
        .hint("this is a defect of clusterctl: please report it with this line")
    })
}

/// A set for people: long ones are cut, as the difference is what matters.
pub(crate) fn shown(set: &GtidSet) -> String {
    let text = set.to_string();
    match text.char_indices().nth(600) {
        None if text.is_empty() => "nothing".to_owned(),
        None => text,
        Some((end, _)) => format!("{}… ({} transactions)", &text[..end], set.count()),
    }
}

fn errant_transactions(
    cluster: &Cluster,
    primary: &HostName,
    joiner: &HostName,
    held: &GtidSet,
    group: &GtidSet,
    errant: &GtidSet,
) -> Failure {
    Failure::refused(
        "errant_transactions",
        format!("{joiner} holds {} transactions that {} has not", errant.count(), cluster.name),
    )
    .fact(format!("only on {joiner}: {}", shown(errant)))
    .fact(format!("{joiner} holds: {}", shown(held)))
    .fact(format!("{primary} (primary) has: {}", shown(group)))
    .hint(format!(
        "look what they are: on {joiner}: mysqlbinlog --include-gtids='{errant}' BINLOG; what is needed of it, write again on {primary}; then empty {joiner} (after a backup) and run: clusterctl join {joiner}"
    ))
}

impl Choice {
    /// For the report.
    pub(crate) fn told(&self) -> String {
        match &self.recovery {
            Recovery::Incremental => format!("incremental recovery: {}", self.reason),
            Recovery::Clone { .. } => self.reason.clone(),
        }
    }
}
