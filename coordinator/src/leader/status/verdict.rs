//! The one sentence that opens a status, and the state behind it.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{MemberRole, MemberState, UnitState};

use super::Witness;
use crate::model::{Cluster, MemberPhase, OperationKind};
use crate::planner::heal::{self, Care, Standing, Subject, Trouble};
use crate::planner::live::{self, Out};
use crate::planner::{World, are, lineage, listed, restored, seconds};

/// What a status opens with.
pub(super) struct Verdict {
    /// One sentence.
    pub sentence: String,
    /// `ok`, `degraded`, `down`, `forming`, `unknown`.
    pub state: &'static str,
    /// How many more members may fail.
    pub tolerates: usize,
}

fn without_writes(state: &'static str, sentence: String) -> Verdict {
    Verdict {
        sentence,
        state,
        tolerates: 0,
    }
}

pub(super) fn of(world: &World<'_>, cluster: &Cluster, witness: Option<&Witness<'_>>, troubles: &[Trouble]) -> Verdict {
    let mut verdict = match witness {
        _ if !cluster.formed => return forming(world, cluster, witness),
        Some(witness) => alive(world, cluster, witness, troubles),
        None => silent(world, cluster),
    };
    if verdict.state != "ok"
        && let Some(care) = of_the_group(world, cluster, troubles)
    {
        verdict.sentence.push_str(&format!("; {care}"));
    }
    if matches!(verdict.state, "ok" | "degraded") {
        verdict.sentence.push_str(&besides(world, cluster, witness, troubles));
    }
    verdict
}

/// What the members do not show: agents that are silent or get no orders, routers that do not serve, two machines with one identity, a
/// pause.
fn besides(world: &World<'_>, cluster: &Cluster, witness: Option<&Witness<'_>>, troubles: &[Trouble]) -> String {
    let told = troubles.iter().filter(|trouble| {
        matches!(
            trouble.code,
            heal::ROUTER_DOWN | heal::TWO_MACHINES | restored::LEDGER_AHEAD
        )
    });
    let mut text: String = told.map(|trouble| format!("; {}", trouble.wrong)).collect();
    // That these are ONLINE is what others saw last: they may have died a moment ago.
    let online = |host: &HostName| {
        let row = witness.and_then(|witness| live::row(witness.view, world, host));
        row.is_some_and(|row| row.state == MemberState::Online)
    };
    for host in cluster.members.keys().filter(|host| online(host)) {
        if let Some(seen) = world.sight.get(host).filter(|seen| seen.is_silent()) {
            text.push_str(&format!("; {host}'s agent last answered {} ago", seconds(seen.age_ms)));
        }
    }
    if cluster.paused_now(world.now).is_some() {
        text.push_str("; paused");
    }
    if restored::lost_log(world, &cluster.name).is_some() {
        text.push_str("; not led: an old copy of this coordinator's disk was put back");
    }
    text
}

/// What is done where the whole group suffers.
fn of_the_group(world: &World<'_>, cluster: &Cluster, troubles: &[Trouble]) -> Option<String> {
    let trouble = troubles.iter().find(|trouble| trouble.subject == Subject::Cluster)?;
    match &trouble.care {
        Care::Act(kind) => Some(match heal::running(world, cluster, kind) {
            Some(op) => format!("operation {} recovers it", op.id),
            None => "it is about to be recovered".to_owned(),
        }),
        Care::Not(not) if not.standing == Standing::LeftAlone => Some(format!("left alone: {}", not.why)),
        // More than fits into a sentence: `clusterctl why`.
        Care::Not(_) => None,
    }
}

/// The group never was complete.
fn forming(world: &World<'_>, cluster: &Cluster, witness: Option<&Witness<'_>>) -> Verdict {
    let name = &cluster.name;
    let create = |kind: &OperationKind| matches!(kind, OperationKind::Create { .. });
    let running = world
        .model
        .active_operations()
        .find(|op| op.cluster == *name && create(&op.kind));
    let sentence = match (running, witness) {
        (Some(op), _) => format!("{name} is being formed by operation {}", op.id),
        (None, Some(witness)) => format!(
            "{name} is half formed: its group lives on {}, but its create did not end well; type it again",
            listed(witness.view.members.iter().map(|row| &row.host))
        ),
        (None, None) => format!("{name} is not formed: its create did not end well; type it again"),
    };
    Verdict {
        sentence,
        state: "forming",
        tolerates: witness.map_or(0, |witness| live::tolerance(live::voters(witness.view))),
    }
}

/// What a member says of itself that others still see ONLINE: until they notice, seconds pass.
fn by_its_own_word(world: &World<'_>, host: &HostName) -> Option<&'static str> {
    let mysql = &world.certain(host)?.observation.mysql;
    let Some(server) = &mysql.server else {
        return Some(match mysql.unit {
            UnitState::Running => "not answering its agent",
            UnitState::Starting | UnitState::Stopping => "starting or stopping",
            UnitState::Stopped | UnitState::Failed | UnitState::Absent => "down",
        });
    };
    let Some(state) = server.group.as_ref().map(|view| view.state) else {
        return Some("not in the group");
    };
    (state != MemberState::Online).then(|| live::state(state))
}

/// A member of the majority that does not reach it, where another one still calls it ONLINE: each has a detector of its own.
fn not_reached_by<'a>(world: &World<'a>, cluster: &'a Cluster, host: &HostName) -> Option<&'a HostName> {
    let others = cluster.members.keys().filter(|other| *other != host);
    let mut others = others.filter(|other| {
        let seen = world.certain(other);
        let server = seen.and_then(|seen| seen.observation.mysql.server.as_ref());
        let view = server.and_then(|server| live::view(server, cluster));
        view.is_some_and(|view| {
            let row = live::row(view, world, host);
            view.state == MemberState::Online
                && view.has_quorum()
                && row.is_some_and(|row| row.state == MemberState::Unreachable)
        })
    });
    others.next()
}

/// Someone certainly is in the group.
fn alive(world: &World<'_>, cluster: &Cluster, witness: &Witness<'_>, troubles: &[Trouble]) -> Verdict {
    let (name, view) = (&cluster.name, witness.view);
    let online = view
        .members
        .iter()
        .filter(|row| row.state == MemberState::Online)
        .count();
    if view.has_stalled() {
        return without_writes("down", heal::stalled(name, view));
    }
    if !view.has_quorum() {
        let lost = view
            .members
            .iter()
            .filter(|row| row.state == MemberState::Unreachable)
            .count();
        return without_writes(
            "down",
            format!(
                "{name} has no quorum as seen by {}: {lost} of {} members do not answer it, writes stand still",
                witness.host,
                view.members.len()
            ),
        );
    }
    if online == 0 {
        return without_writes(
            "down",
            format!("{name} has no ONLINE member as seen by {}", witness.host),
        );
    }
    let voters = live::voters(view);
    let wanted: Vec<&HostName> = cluster
        .members
        .iter()
        .filter(|(_, member)| member.phase == MemberPhase::Member)
        .map(|(host, _)| host)
        .collect();
    let state_of = |host: &HostName| live::row(view, world, host).map(|row| row.state);
    let gone = wanted.iter().filter(|host| {
        let recovers = live::state(MemberState::Recovering);
        state_of(host) == Some(MemberState::Online)
            && (not_reached_by(world, cluster, host).is_some()
                || by_its_own_word(world, host).is_some_and(|word| word != recovers))
    });
    let tolerates = live::tolerance(voters.saturating_sub(gone.count()));
    let offline = |host: &HostName| {
        let seen = world.certain(host);
        let server = seen.and_then(|seen| seen.observation.mysql.server.as_ref());
        server.is_some_and(|server| server.offline_mode)
    };
    let leads = |host: &HostName| live::row(view, world, host).is_some_and(|row| row.role == MemberRole::Primary);
    // A new primary takes writes when it has applied what it had received.
    let takes_no_writes = |host: &HostName| {
        let seen = world.certain(host);
        let server = seen.and_then(|seen| seen.observation.mysql.server.as_ref());
        server.is_some_and(|server| server.super_read_only)
    };
    let short: Vec<String> = wanted
        .iter()
        .filter_map(|host| {
            let unproven = world
                .certain(host)
                .is_some_and(|seen| heal::is_unproven(world, cluster, host, seen));
            let foreign = unproven
                || troubles
                    .iter()
                    .any(|trouble| trouble.is_of(host) && trouble.code == heal::GIVEN_UP_INSIDE);
            let state = match state_of(host) {
                Some(MemberState::Online) if offline(host) => "refusing clients".to_owned(),
                Some(MemberState::Online) if foreign => "in with data of an unproven history".to_owned(),
                // Its data may be others.
                Some(MemberState::Online) if lineage::is_unseen(world, cluster, host, &witness.view.view_id) => {
                    format!(
                        "ONLINE as {} sees it, but its agent, which does not answer, has not said so",
                        witness.host
                    )
                }
                Some(MemberState::Online) if leads(host) && takes_no_writes(host) => {
                    "the primary, but takes no writes (super_read_only is ON)".to_owned()
                }
                Some(MemberState::Online) => match (by_its_own_word(world, host), not_reached_by(world, cluster, host))
                {
                    (Some(word), _) => word.to_owned(),
                    (None, Some(other)) => format!("not reached by {other}"),
                    (None, None) => return None,
                },
                Some(state) => live::state(state).to_owned(),
                None => "missing".to_owned(),
            };
            let left_alone = cluster.hands_off(host, world.now).is_some();
            let trouble = troubles.iter().find(|trouble| trouble.is_of(host));
            let word = trouble.map_or_else(String::new, |trouble| format!(", {}", heal::word(trouble, left_alone)));
            Some(format!("{host} is {state}{word}"))
        })
        .collect();
    let mut survives = match tolerates {
        0 => "tolerates no failure".to_owned(),
        1 => "tolerates 1 failure".to_owned(),
        n => format!("tolerates {n} failures"),
    };
    survives.push_str(&on_the_way(cluster));
    let there = wanted.len() - short.len();
    let members = if wanted.len() == 1 { "member" } else { "members" };
    let strangers = heal::strangers(world, cluster, view);
    let strangers: Vec<String> = strangers
        .map(|row| format!("{} is in the group and no member of {name}", row.host))
        .collect();
    // Also where each of those that count is ONLINE: one that joins or leaves may lead a group of its own.
    let of_the_group: Vec<String> = troubles
        .iter()
        .filter(|trouble| matches!(trouble.code, lineage::GIVEN_UP_LEADS | heal::SPLIT_GROUP))
        .map(|trouble| trouble.wrong.clone())
        .collect();
    let others = [of_the_group, strangers].concat();
    let whole = short.is_empty() && others.is_empty() && view.members.len() == voters;
    let leader = view.members.iter().any(|row| row.role == MemberRole::Primary);
    let primary = witness.primary(world, cluster).filter(|_| leader);
    let Some(primary) = primary else {
        let sentence = format!(
            "{name} has no primary at this moment: {there} of {} {members} ONLINE, writes wait",
            wanted.len()
        );
        return Verdict {
            sentence,
            state: "degraded",
            tolerates,
        };
    };
    if whole {
        let sentence = format!(
            "{name} is OK: {there} of {} {members} ONLINE, primary {primary}, {survives}",
            wanted.len()
        );
        return Verdict {
            sentence,
            state: "ok",
            tolerates,
        };
    }
    let told = [short, others].concat();
    let why = if told.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.join(", "))
    };
    let sentence = format!(
        "{name} is DEGRADED: {there} of {} {members} ONLINE{why}, primary {primary}, {survives}",
        wanted.len()
    );
    Verdict {
        sentence,
        state: "degraded",
        tolerates,
    }
}

/// Members that do not count yet, or any more: `; node4 is joining`.
fn on_the_way(cluster: &Cluster) -> String {
    let told = |phase, word: &str| {
        let hosts: Vec<&HostName> = cluster
            .members
            .iter()
            .filter(|(_, member)| member.phase == phase)
            .map(|(host, _)| host)
            .collect();
        if hosts.is_empty() {
            return String::new();
        }
        format!("; {} {} {word}", listed(&hosts), are(&hosts))
    };
    told(MemberPhase::Joining, "joining") + &told(MemberPhase::Leaving, "leaving")
}

/// Nobody certainly is in the group: that is "down" only if everybody says so.
fn silent(world: &World<'_>, cluster: &Cluster) -> Verdict {
    let name = &cluster.name;
    let all = cluster.members.len();
    let mut out = Vec::new();
    let mut inside = Vec::new();
    let mut unheard = Vec::new();
    for host in cluster.members.keys() {
        match live::out(world, host) {
            Out::Yes => out.push(host),
            Out::No(_) => inside.push(host),
            Out::Unknown(_) => unheard.push(host),
        }
    }
    if !inside.is_empty() {
        let starts = |host: &&HostName| {
            let view = live::server(world, host).and_then(|server| server.group.as_ref());
            view.is_some_and(|view| view.state != MemberState::Error)
        };
        let what = if inside.iter().any(starts) {
            "starting or rejoining"
        } else {
            "in ERROR"
        };
        return without_writes(
            "down",
            format!("{name} is down: {} {what}, no member serves", listed(inside)),
        );
    }
    if unheard.is_empty() {
        return without_writes(
            "down",
            format!("{name} is down: none of its {all} members is in the group"),
        );
    }
    if out.is_empty() {
        let last = cluster
            .members
            .keys()
            .filter_map(|host| world.sight.get(host))
            .map(|seen| seen.age_ms)
            .min();
        let last = last.map_or_else(
            || "none has since this coordinator leads".to_owned(),
            |age| format!("the last did {} ago", seconds(age)),
        );
        return without_writes(
            "unknown",
            format!("{name} is unknown: none of its {all} members answers ({last})"),
        );
    }
    without_writes(
        "unknown",
        format!(
            "{name} is unknown: {} not in the group, nothing is heard of {}",
            listed(out),
            listed(unheard)
        ),
    )
}
