//! Tables of `performance_schema` and `information_schema` that tell of the group, its channels, threads and the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::disk::LogLine;
use super::super::expr::{Value, seconds_text, time_text};
use super::super::member::Gr;
use super::super::session::{Answer, SqlError};
use super::super::world::{Id, World};
use super::{Call, Reply, Table, row, rows, text, wait};

pub(super) const TABLE: Table = &[
    (
        "SELECT member_id, member_host, member_port, member_state, member_role, member_version, \
         member_id IN ('', @@GLOBAL.server_uuid) FROM performance_schema.replication_group_members",
        view,
    ),
    (
        "SELECT member_id IN ('', @@GLOBAL.server_uuid), member_state, member_role, member_id FROM performance_schema.replication_group_members",
        states,
    ),
    (
        "SELECT (SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@GLOBAL.server_uuid), \
         @@GLOBAL.super_read_only",
        own_state,
    ),
    (
        "SELECT COALESCE(@@GLOBAL.report_host, @@GLOBAL.hostname), @@GLOBAL.server_uuid, COALESCE((SELECT member_role \
         FROM performance_schema.replication_group_members WHERE member_id = @@GLOBAL.server_uuid), '')",
        who_answers,
    ),
    (
        "SELECT member_host, member_state, member_role FROM performance_schema.replication_group_members ORDER BY member_host",
        by_host,
    ),
    (
        "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid",
        view_id,
    ),
    (
        "SELECT member_id, count_transactions_in_queue + count_transactions_remote_in_applier_queue \
         FROM performance_schema.replication_group_member_stats",
        queues,
    ),
    (
        "SELECT @@GLOBAL.gtid_executed, (SELECT COALESCE(SUM(count_transactions_in_queue + count_transactions_remote_in_applier_queue), 0) \
         FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid)",
        progress,
    ),
    (
        "SELECT data FROM performance_schema.error_log WHERE error_code = 'MY-011503' AND logged > ? ORDER BY logged DESC LIMIT 1",
        last_view,
    ),
    (
        "SELECT COALESCE(MAX(logged), NOW(6)) FROM performance_schema.error_log",
        newest_line,
    ),
    (
        "SELECT UNIX_TIMESTAMP(COALESCE(MAX(logged), NOW(6))) FROM performance_schema.error_log",
        newest_line_us,
    ),
    (
        "SELECT logged, UNIX_TIMESTAMP(logged), error_code, data FROM performance_schema.error_log WHERE error_code IN \
         ('MY-011494', 'MY-011495', 'MY-011496', 'MY-011498', 'MY-011503', 'MY-011526') OR error_code = 'MY-010597' AND data LIKE \
         '%CHANNEL ''group_replication_recovery'' executed%' AND data NOT LIKE '%New state source_host='''',%' AND \
         data NOT LIKE '%New state source_host=''<NULL>'',%' ORDER BY logged DESC LIMIT 80",
        newest_of_membership,
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = 'MY-011503' AND data LIKE '% {}.%'",
        first_view,
    ),
    (
        "SELECT MAX(IF(data LIKE '% on view {}.%', logged, NULL)), MAX(IF(data LIKE '% on view {}:%', NULL, logged)) \
         FROM performance_schema.error_log WHERE error_code = 'MY-011503'",
        older_views,
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = '{}'",
        count_lines,
    ),
    (
        "SELECT data FROM performance_schema.error_log WHERE error_code = 'MY-011503' ORDER BY logged DESC LIMIT 1",
        newest_view,
    ),
    (
        "SELECT CONCAT(error_code, ' ', data) FROM (SELECT MAX(logged) AS at, error_code, data {}",
        errors,
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.threads WHERE name IN ('thread/group_rpl/THD_autorejoin', \
         'thread/group_rpl/THD_delayed_initialization') OR processlist_info REGEXP '{}'",
        busy_threads,
    ),
    (
        "SELECT processlist_info FROM performance_schema.threads WHERE processlist_info REGEXP '{}' LIMIT 1",
        under_way,
    ),
    (
        "SELECT channel_name, last_error_number, last_error_message FROM (SELECT {}",
        channel_error,
    ),
    (
        "SELECT channel_name, received_transaction_set FROM performance_schema.replication_connection_status",
        channels,
    ),
    (
        "SELECT received_transaction_set FROM performance_schema.replication_connection_status WHERE channel_name = \
         'group_replication_applier'",
        received,
    ),
    (
        "SELECT GTID_SUBTRACT(received_transaction_set, @@GLOBAL.gtid_executed) FROM \
         performance_schema.replication_connection_status WHERE channel_name = ?",
        unapplied,
    ),
    (
        "SELECT user FROM performance_schema.replication_connection_configuration WHERE channel_name = 'group_replication_recovery'",
        recovery_user,
    ),
    (
        "SELECT 1 FROM performance_schema.replication_connection_configuration WHERE channel_name = ?",
        has_channel,
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration WHERE host <> ''",
        no_sources,
    ),
    (
        "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_rows_modified > 0",
        writers,
    ),
];

/// A row of `replication_group_members`.
struct Member {
    id: String,
    host: String,
    state: &'static str,
    role: &'static str,
    own: bool,
}

impl World {
    fn member_rows(&self, id: Id) -> Vec<Member> {
        let server = &self.servers[id];
        let Some(process) = &server.process else {
            return Vec::new();
        };
        if !server.disk.data.plugins.contains("group_replication") {
            return Vec::new();
        }
        let shown = |other: Id, state, role| Member {
            id: self.servers[other].disk.uuid.clone(),
            host: self.servers[other].name.clone(),
            state,
            role,
            own: other == id,
        };
        match &process.gr {
            Gr::Offline => {
                let mut own = shown(id, "OFFLINE", "");
                if !process.was_started {
                    own.id = String::new();
                    own.host = String::new();
                }
                vec![own]
            }
            Gr::In(member) => {
                let lost = self.unreachable(id);
                let view = &member.view;
                let state = |other: Id| match () {
                    () if lost.contains(&other) => "UNREACHABLE",
                    () if view.online.contains(&other) => "ONLINE",
                    () => "RECOVERING",
                };
                let role = |other| {
                    if view.primary == Some(other) {
                        "PRIMARY"
                    } else {
                        "SECONDARY"
                    }
                };
                let all = view.members.iter().copied();
                all.map(|other| shown(other, state(other), role(other))).collect()
            }
            Gr::Error(left) => {
                let own = shown(id, "ERROR", "");
                let mut all = vec![own];
                if left.shown > Instant::now() {
                    let others = left.view.members.iter().copied().filter(|other| *other != id);
                    all.extend(others.map(|other| {
                        let lost = left.unreachable.contains(&other);
                        let role = if left.view.primary == Some(other) {
                            "PRIMARY"
                        } else {
                            "SECONDARY"
                        };
                        shown(other, if lost { "UNREACHABLE" } else { "ONLINE" }, role)
                    }));
                }
                all
            }
        }
    }

    /// Member ids and the view id of `replication_group_member_stats`.
    fn statistics(&self, id: Id) -> Vec<(Id, String)> {
        let Some(process) = self.process(id) else {
            return Vec::new();
        };
        match &process.gr {
            Gr::Offline if process.was_started => vec![(id, String::new())],
            Gr::Offline => Vec::new(),
            Gr::In(member) => {
                let view = member.view.id();
                member.view.members.iter().map(|other| (*other, view.clone())).collect()
            }
            Gr::Error(left) => {
                let is_shown = left.shown > Instant::now();
                vec![(id, if is_shown { left.view.id() } else { String::new() })]
            }
        }
    }
}

fn may_read(call: &Call, world: &World) -> Result<(), SqlError> {
    call.may_read(world, "performance_schema", "replication_group_members")
}

fn view(call: &Call, world: &mut World) -> Reply {
    may_read(call, world)?;
    let members = world.member_rows(call.id);
    let line = |m: Member| {
        let port = if m.host.is_empty() { None } else { text(3306) };
        vec![
            text(m.id),
            text(m.host),
            port,
            text(m.state),
            text(m.role),
            text("9.7.4"),
            text(u8::from(m.own)),
        ]
    };
    rows(members.into_iter().map(line).collect())
}

fn states(call: &Call, world: &mut World) -> Reply {
    may_read(call, world)?;
    let members = world.member_rows(call.id);
    let line = |m: Member| vec![text(u8::from(m.own)), text(m.state), text(m.role), text(m.id)];
    rows(members.into_iter().map(line).collect())
}

fn own_state(call: &Call, world: &mut World) -> Reply {
    let members = world.member_rows(call.id);
    let own = members.into_iter().find(|member| member.own && !member.id.is_empty());
    let closed = world
        .process(call.id)
        .is_some_and(|process| !process.vars.is_off("super_read_only"));
    row(vec![own.map(|own| own.state.to_owned()), text(u8::from(closed))])
}

fn who_answers(call: &Call, world: &mut World) -> Reply {
    may_read(call, world)?;
    let members = world.member_rows(call.id);
    let role = members
        .into_iter()
        .find(|member| member.own && !member.id.is_empty())
        .map_or("", |own| own.role);
    let server = &world.servers[call.id];
    row(vec![text(&server.name), text(&server.disk.uuid), text(role)])
}

fn by_host(call: &Call, world: &mut World) -> Reply {
    may_read(call, world)?;
    let mut members = world.member_rows(call.id);
    members.sort_by(|a, b| a.host.cmp(&b.host));
    let line = |m: Member| vec![text(m.host), text(m.state), text(m.role)];
    rows(members.into_iter().map(line).collect())
}

/// The statistics wait until START returns.
fn statistics(call: &Call, world: &World, read: fn(&Call, &World) -> Vec<Vec<Value>>) -> Reply {
    call.may_read(world, "performance_schema", "replication_group_member_stats")?;
    if world.process(call.id).is_none_or(|process| !process.statistics_wait) {
        return rows(read(call, world));
    }
    let call = call.clone();
    wait(async move {
        let (net, id, incarnation) = (&call.net, call.id, call.incarnation);
        let there = net.until(|world| match world.same(id, incarnation) {
            None => Some(false),
            Some(process) if process.statistics_wait => None,
            Some(_) => Some(true),
        });
        if !there.await {
            return Err(SqlError::lost());
        }
        let rows = read(&call, &net.lock());
        Ok(Answer { rows, affected: 0 })
    })
}

fn view_id(call: &Call, world: &mut World) -> Reply {
    statistics(call, world, |call, world| {
        let own = world.statistics(call.id).into_iter().find(|(id, _)| *id == call.id);
        own.into_iter().map(|(_, view)| vec![text(view)]).collect()
    })
}

fn queues(call: &Call, world: &mut World) -> Reply {
    statistics(call, world, |call, world| {
        let all = world.statistics(call.id).into_iter();
        all.map(|(id, _)| vec![text(&world.servers[id].disk.uuid), text(world.queue(id))])
            .collect()
    })
}

fn progress(call: &Call, world: &mut World) -> Reply {
    statistics(call, world, |call, world| {
        let executed = text(&world.servers[call.id].disk.gtid_executed);
        vec![vec![executed, text(world.queue(call.id))]]
    })
}

fn last_view(call: &Call, world: &mut World) -> Reply {
    let since = call.param(0);
    let log = world.servers[call.id].disk.log.iter().rev();
    let line = log
        .filter(|line| line.code == "MY-011503")
        .find(|line| time_text(line.at) > since);
    rows(line.into_iter().map(|line| vec![text(&line.data)]).collect())
}

/// In microseconds since 1970.
fn newest(call: &Call, world: &World) -> u64 {
    let line = world.servers[call.id].disk.log.last();
    line.map_or_else(|| world.micros(call.id), |line| line.at)
}

fn newest_line(call: &Call, world: &mut World) -> Reply {
    row(vec![text(time_text(newest(call, world)))])
}

fn newest_line_us(call: &Call, world: &mut World) -> Reply {
    row(vec![text(seconds_text(newest(call, world)))])
}

fn newest_of_membership(call: &Call, world: &mut World) -> Reply {
    const CODES: [&str; 7] = [
        "MY-011494",
        "MY-011495",
        "MY-011496",
        "MY-011498",
        "MY-011503",
        "MY-011526",
        // A donor: this server logs no other change of a channel.
        "MY-010597",
    ];
    let log = world.servers[call.id].disk.log.iter().rev();
    let lines = log.filter(|line| CODES.contains(&line.code)).take(80);
    let cells = |line: &LogLine| {
        vec![
            text(time_text(line.at)),
            text(seconds_text(line.at)),
            text(line.code),
            text(&line.data),
        ]
    };
    rows(lines.map(cells).collect())
}

fn first_view(call: &Call, world: &mut World) -> Reply {
    let part = format!(" {}.", call.part(0));
    let log = world.servers[call.id].disk.log.iter();
    let found = log.filter(|line| line.code == "MY-011503" && line.data.contains(&part));
    row(vec![text(found.count())])
}

fn older_views(call: &Call, world: &mut World) -> Reply {
    let (own, ours) = (
        format!(" on view {}.", call.part(0)),
        format!(" on view {}:", call.part(1)),
    );
    let log = world.servers[call.id].disk.log.iter().rev();
    let mut views = log.filter(|line| line.code == "MY-011503");
    let moment = |line: Option<&LogLine>| line.map(|line| time_text(line.at));
    let installed = moment(views.clone().find(|line| line.data.contains(&own)));
    let other = moment(views.find(|line| !line.data.contains(&ours)));
    row(vec![installed, other])
}

fn count_lines(call: &Call, world: &mut World) -> Reply {
    let log = world.servers[call.id].disk.log.iter();
    row(vec![text(log.filter(|line| line.code == call.part(0)).count())])
}

fn newest_view(call: &Call, world: &mut World) -> Reply {
    let line = world.servers[call.id]
        .disk
        .log
        .iter()
        .rev()
        .find(|line| line.code == "MY-011503");
    rows(line.into_iter().map(|line| vec![text(&line.data)]).collect())
}

fn errors(call: &Call, world: &mut World) -> Reply {
    let since = call.param(0);
    let mut newest = BTreeMap::new();
    for line in &world.servers[call.id].disk.log {
        if time_text(line.at) > since && matches!(line.prio, "Error" | "Warning") {
            newest.insert(format!("{} {}", line.code, line.data), line.at);
        }
    }
    let mut lines: Vec<(u64, String)> = newest.into_iter().map(|(line, at)| (at, line)).collect();
    lines.sort();
    let first = lines.len().saturating_sub(8);
    rows(
        lines
            .split_off(first)
            .into_iter()
            .map(|(_, line)| vec![text(line)])
            .collect(),
    )
}

/// START and STOP that sessions run, as `(^|;) *(START|STOP) +GROUP_REPLICATION` finds them.
fn group_statements(call: &Call, world: &World) -> Vec<Arc<str>> {
    let Some(process) = world.process(call.id) else {
        return Vec::new();
    };
    let is_one = |sql: &str| {
        let mut parts = sql.split(';');
        parts.any(|part| {
            let words: Vec<&str> = part.split_whitespace().take(2).collect();
            matches!(words[..], ["START" | "STOP", "GROUP_REPLICATION"])
        })
    };
    let running = process
        .connections
        .values()
        .filter_map(|connection| connection.sql.as_ref());
    running.filter(|sql| is_one(sql)).cloned().collect()
}

fn busy_threads(call: &Call, world: &mut World) -> Reply {
    let tries = world
        .process(call.id)
        .is_some_and(|process| process.auto_rejoin.is_some());
    let booting = world
        .process(call.id)
        .is_some_and(|process| process.busy == Some("START"));
    let statements = group_statements(call, world).len();
    // A START that no session runs is the delayed one of a boot.
    let delayed = usize::from(booting && statements == 0);
    row(vec![text(usize::from(tries) + delayed + statements)])
}

fn under_way(call: &Call, world: &mut World) -> Reply {
    let statements = group_statements(call, world);
    rows(statements.into_iter().take(1).map(|sql| vec![text(sql)]).collect())
}

fn channel_error(call: &Call, world: &mut World) -> Reply {
    let error = world.process(call.id).and_then(|process| process.channel_error.clone());
    let line = |(channel, number, words): (&str, u16, String)| vec![text(channel), text(number), text(words)];
    rows(error.into_iter().map(line).collect())
}

fn channels(call: &Call, world: &mut World) -> Reply {
    let disk = &world.servers[call.id].disk;
    let set = |channel: &str| match channel {
        "group_replication_applier" => text(&disk.gtid_received),
        _ => text(""),
    };
    rows(
        disk.channels
            .iter()
            .map(|channel| vec![text(channel), set(channel)])
            .collect(),
    )
}

fn received(call: &Call, world: &mut World) -> Reply {
    let disk = &world.servers[call.id].disk;
    let there = disk.channels.contains("group_replication_applier");
    rows(there.then(|| vec![text(&disk.gtid_received)]).into_iter().collect())
}

fn unapplied(call: &Call, world: &mut World) -> Reply {
    let disk = &world.servers[call.id].disk;
    let there = disk.channels.contains(call.param(0).as_str());
    let left = disk.gtid_received.subtract(&disk.gtid_executed);
    rows(there.then(|| vec![text(left)]).into_iter().collect())
}

fn recovery_user(call: &Call, world: &mut World) -> Reply {
    let disk = &world.servers[call.id].disk;
    let there = disk.channels.contains("group_replication_recovery");
    let user = disk.data.recovery_user.as_ref().filter(|_| there);
    rows(user.into_iter().map(|user| vec![text(user)]).collect())
}

fn has_channel(call: &Call, world: &mut World) -> Reply {
    let there = world.servers[call.id].disk.channels.contains(call.param(0).as_str());
    rows(there.then(|| vec![text(1)]).into_iter().collect())
}

fn no_sources(_: &Call, _: &mut World) -> Reply {
    row(vec![text(0)])
}

fn writers(call: &Call, world: &mut World) -> Reply {
    let waiting = world
        .process(call.id)
        .into_iter()
        .flat_map(|process| process.waiting.keys());
    rows(waiting.map(|id| vec![text(id)]).collect())
}
