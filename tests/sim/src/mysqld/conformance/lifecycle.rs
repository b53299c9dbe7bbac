//! START, STOP, bootstraps, numbers.

use tokio::time::Instant;

use super::Bench;
use super::script::{Held, Script, expect};

const INSTALLED: &str =
    "SELECT data FROM performance_schema.error_log WHERE error_code = 'MY-011503' ORDER BY logged DESC LIMIT 1";
const FLAG: &str = "SELECT @@GLOBAL.group_replication_bootstrap_group";

/// STOP: OFFLINE, read only, no view.
pub(super) async fn everybody_out(script: &Script<'_, impl Bench>) -> Held {
    for host in script.hosts {
        script.sql(host, "STOP GROUP_REPLICATION").await?;
        let (state, closed) = (script.state(host).await?, script.closed(host).await?);
        expect(state == "OFFLINE" && closed, || {
            format!("{host} is {state}, super_read_only {closed}")
        })?;
        let view = script.view_id(host).await?;
        expect(view.is_empty(), || format!("{host} still tells view {view}"))?;
    }
    Ok(())
}

/// The time of its start is the same in every answer, and every SET GLOBAL is stamped, also one that changes nothing.
pub(super) async fn run_and_set_time(script: &Script<'_, impl Bench>) -> Held {
    let host = script.hosts[0];
    let run = "SELECT NOW() - INTERVAL CAST(variable_value AS UNSIGNED) SECOND FROM performance_schema.global_status \
               WHERE variable_name = 'Uptime'";
    let set =
        "SELECT CAST(set_time AS CHAR) FROM performance_schema.variables_info WHERE variable_name = 'offline_mode'";
    let (began, before) = (script.value(host, run).await?, script.value(host, set).await?);
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let again = script.value(host, run).await?;
        expect(again == began && !began.is_empty(), || {
            format!("the run began {began:?}, then {again:?}")
        })?;
    }
    let soon = script.value(host, "SELECT NOW(6) + INTERVAL 60 SECOND").await?;
    script.sql(host, "SET GLOBAL offline_mode = OFF").await?;
    let after = script.value(host, set).await?;
    expect(before < after && after < soon && after.len() == soon.len(), || {
        format!("offline_mode was set {before:?}, then {after:?}, before {soon:?}")
    })
}

/// mysqld decides by its own clock: too late, the flag is not set and START is not reached.
pub(super) async fn too_late(script: &Script<'_, impl Bench>) -> Held {
    let host = script.hosts[0];
    let packet = "SET GLOBAL group_replication_bootstrap_group = IF(UNIX_TIMESTAMP(SYSDATE(6)) < 1, 'ON', 'EXPIRED'); \
                  START GROUP_REPLICATION; SET GLOBAL group_replication_bootstrap_group = OFF";
    script.refused(host, packet, 1231).await?;
    let (flag, state) = (script.value(host, FLAG).await?, script.state(host).await?);
    expect(flag == "0" && state == "OFFLINE", || format!("flag {flag}, {state}"))
}

/// In time it bootstraps: view 1 of a new prefix, the primary, no transaction.
pub(super) async fn bootstrap(script: &Script<'_, impl Bench>, place: usize) -> Held {
    let host = script.hosts[place];
    let before = script.executed(host).await?;
    let now = script.value(host, "SELECT UNIX_TIMESTAMP(SYSDATE(6)) + 5").await?;
    let packet = format!(
        "SET GLOBAL group_replication_bootstrap_group = IF(UNIX_TIMESTAMP(SYSDATE(6)) < {now}, 'ON', 'EXPIRED'); \
         START GROUP_REPLICATION; SET GLOBAL group_replication_bootstrap_group = OFF"
    );
    script.sql(host, &packet).await?;
    let flag = script.value(host, FLAG).await?;
    expect(flag == "0", || format!("the flag is {flag} after the packet"))?;
    let view = script.view(host).await?;
    expect(view.counter == 1, || format!("{view:?} is no first view"))?;
    let members = script.members(host).await?;
    expect(members == [format!("{host} ONLINE PRIMARY")], || format!("{members:?}"))?;
    script
        .wait("the primary takes writes", 10, async || {
            Ok(!script.closed(host).await?)
        })
        .await?;
    let more = script.more(host, &before).await?;
    expect(more.is_empty(), || format!("the bootstrap wrote {more}"))?;
    let (agrees, _) = script.agrees(host).await?;
    expect(agrees, || {
        "a group of one, in which nobody writes, agrees on nothing".to_owned()
    })?;
    script.sql(host, "CREATE DATABASE IF NOT EXISTS sim").await?;
    script
        .sql(host, "CREATE TABLE IF NOT EXISTS sim.written (id BIGINT PRIMARY KEY)")
        .await?;
    Ok(())
}

/// Each join is one view more, the same on all; a joiner is read only.
pub(super) async fn joins(script: &Script<'_, impl Bench>, places: &[usize]) -> Held {
    let leader = script.leader(&script.hosts).await?.ok_or("no primary")?;
    for host in places.iter().map(|place| script.hosts[*place]) {
        let before = script.view(leader).await?;
        script.start_group(host).await?;
        script.counts(leader, &before, 1).await?;
        script.counts(host, &before, 1).await?;
        expect(script.closed(host).await?, || format!("{host} takes writes"))?;
    }
    Ok(())
}

/// A transaction is on every member, under the same GTID of the group; a secondary takes none.
pub(super) async fn write(script: &Script<'_, impl Bench>) -> Held {
    let [first, second, third] = script.hosts;
    let (row, gtid) = script.write(first).await?;
    let group = script
        .value(first, "SELECT @@GLOBAL.group_replication_group_name")
        .await?;
    expect(gtid.starts_with(&group), || format!("{gtid} is not of group {group}"))?;
    let set = script.executed(first).await?;
    for host in [second, third] {
        let same = async || Ok(script.has(host, row).await? && script.executed(host).await? == set);
        script.wait(&format!("{host} has {gtid}"), 10, same).await?;
    }
    let sql = format!("INSERT INTO sim.written VALUES ({})", script.fresh_row());
    script.refused(second, &sql, 1290).await
}

/// A secondary goes and comes: one view more each time; what it missed it gets.
pub(super) async fn stop_and_start(script: &Script<'_, impl Bench>) -> Held {
    let [first, _, third] = script.hosts;
    let before = script.view(first).await?;
    script.sql(third, "STOP GROUP_REPLICATION").await?;
    script.counts(first, &before, 1).await?;
    let (row, _) = script.write(first).await?;
    script.start_group(third).await?;
    script.counts(first, &before, 2).await?;
    script
        .wait("the missed row is there", 10, async || script.has(third, row).await)
        .await
}

/// The third holds the group's next number for a transaction of its own: refused, two views more, as open as before. The group then uses the number, and the
/// third is let in as if nothing were.
pub(super) async fn used_again(script: &Script<'_, impl Bench>) -> Held {
    let [first, _, third] = script.hosts;
    let begin = script.view(first).await?;
    script.sql(third, "STOP GROUP_REPLICATION").await?;
    script.counts(first, &begin, 1).await?;
    let (_, last) = script.write(first).await?;
    script.start_group(third).await?;
    let (source, number) = last.split_once(':').ok_or("no number")?;
    let number: u64 = number.parse().map_err(|_| format!("{last} is not one transaction"))?;
    let next = format!("{source}:{}", number + 1);
    let known = script
        .value(
            first,
            &format!("SELECT GTID_SUBTRACT('{next}', @@GLOBAL.gtid_executed)"),
        )
        .await?;
    expect(!known.is_empty(), || format!("{next} is there already"))?;

    script.sql(third, "STOP GROUP_REPLICATION").await?;
    let own = script.fresh_row();
    script
        .sql(
            third,
            &format!(
                "SET GLOBAL super_read_only = OFF; SET GTID_NEXT = '{next}'; INSERT INTO sim.written VALUES ({own}); \
                 SET GTID_NEXT = AUTOMATIC"
            ),
        )
        .await?;
    script.counts(first, &begin, 3).await?;
    script.refused(third, "START GROUP_REPLICATION", 3092).await?;
    script.counts(first, &begin, 5).await?;
    let state = script.state(third).await?;
    expect(state == "OFFLINE", || format!("{third} is {state}"))?;
    let switches = script
        .value(third, "SELECT CONCAT(@@GLOBAL.read_only, @@GLOBAL.super_read_only)")
        .await?;
    expect(switches == "10", || {
        format!("{third} is not as it was before START: read_only, super_read_only {switches}")
    })?;
    let lines = "SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = 'MY-011526'";
    let lines = script.value(third, lines).await?;
    expect(lines != "0", || "no MY-011526 in the error log".to_owned())?;
    // The log tells of the view in which it was refused, as of one that it was let in.
    let line = script.value(third, INSTALLED).await?;
    let refused_in = format!("onview{}:{}.", begin.prefix, begin.counter + 4);
    expect(line.contains(&refused_in), || {
        format!("the last view in the log: {line}")
    })?;
    // The moment of a view, asked for by its id, is written as the moments of lines are.
    let (prefix, counter) = (&begin.prefix, begin.counter + 4);
    let older = format!(
        "SELECT MAX(IF(data LIKE '% on view {prefix}:{counter}.%', logged, NULL)), MAX(IF(data LIKE '% on view {prefix}:%', NULL, logged)) \
         FROM performance_schema.error_log WHERE error_code = 'MY-011503'"
    );
    let newest = "SELECT COALESCE(MAX(logged), NOW(6)) FROM performance_schema.error_log";
    let (at, newest) = (script.value(third, &older).await?, script.value(third, newest).await?);
    expect(at.len() == newest.len() && at <= newest, || {
        format!("view {prefix}:{counter} is of {at}, the newest line of {newest}")
    })?;

    let (theirs, gtid) = script.write(first).await?;
    expect(gtid == next, || {
        format!("the group went on with {gtid} instead of {next}")
    })?;
    script.start_group(third).await?;
    let both = (script.has(third, own).await?, script.has(third, theirs).await?);
    expect(both == (true, false), || {
        format!("{third} has its own and the group's row: {both:?}")
    })
}

/// The primary moves, the view stays.
pub(super) async fn switchover(script: &Script<'_, impl Bench>) -> Held {
    let [first, second, _] = script.hosts;
    let before = script.view(first).await?;
    for (from, to) in [(first, second), (second, first)] {
        let uuid = script.value(to, "SELECT @@GLOBAL.server_uuid").await?;
        script
            .sql(from, &format!("SELECT group_replication_set_as_primary('{uuid}', 5)"))
            .await?;
        let leads = async || Ok(script.leader(&[to]).await?.is_some() && script.closed(from).await?);
        script.wait(&format!("{to} leads"), 10, leads).await?;
        let view = script.view(to).await?;
        expect(view == before, || {
            format!("{view:?} after the switchover, {before:?} before")
        })?;
    }
    Ok(())
}

/// 61 s, error 3092.
pub(super) async fn nobody(script: &Script<'_, impl Bench>) -> Held {
    let (host, begun) = (script.hosts[1], Instant::now());
    script.refused(host, "START GROUP_REPLICATION", 3092).await?;
    let took = begun.elapsed().as_secs();
    expect((58..75).contains(&took), || format!("it took {took} s"))
}

/// Another prefix, the same transactions; the others come in.
pub(super) async fn second_bootstrap(script: &Script<'_, impl Bench>) -> Held {
    let line = script.value(script.hosts[1], INSTALLED).await?;
    bootstrap(script, 1).await?;
    let view = script.view(script.hosts[1]).await?;
    expect(!line.contains(&view.prefix), || {
        format!("{view:?} has the prefix of {line}")
    })?;
    joins(script, &[0, 2]).await
}
