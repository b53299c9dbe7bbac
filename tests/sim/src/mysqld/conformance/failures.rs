//! Processes that stand still, end, or are left alone.

use tokio::time::Instant;

use super::Bench;
use super::script::{Held, Script, expect};

/// Out of the view after 5 to 8 s; thawed, it first shows the old view, then ERROR without a view, and is back by itself.
pub(super) async fn frozen(script: &Script<'_, impl Bench>) -> Held {
    let [first, _, third] = script.hosts;
    let (before, id) = (script.view(first).await?, script.view_id(third).await?);
    script.bench.freeze(third).await?;
    let begun = Instant::now();
    let expelled = async || Ok(script.view(first).await?.counter == before.counter + 1);
    let waited = script.wait("it is expelled", 15, expelled).await;
    let took = begun.elapsed().as_secs_f64();
    script.sleep(12.0 - took).await;
    script.bench.thaw(third).await?;
    waited?;
    expect((4.5..9.0).contains(&took), || format!("expelled after {took:.1} s"))?;
    let (state, stale) = (script.state(third).await?, script.view_id(third).await?);
    expect(state == "ONLINE" && stale == id, || {
        format!("at once after the thaw it is {state} in {stale}, not ONLINE in {id}")
    })?;
    let left = async || Ok(script.state(third).await? == "ERROR" && script.view_id(third).await?.is_empty());
    script.wait("it knows that it is out", 6, left).await?;
    expect(script.closed(third).await?, || "it takes writes in ERROR".to_owned())?;
    script.online(third, 20).await?;
    script.counts(first, &before, 2).await
}

/// 5 to 12 s until another one takes writes; one view more. mysqld comes back OFFLINE, without a row of statistics, read only.
pub(super) async fn killed(script: &Script<'_, impl Bench>) -> Held {
    let [first, second, third] = script.hosts;
    let before = script.view(first).await?;
    let begun = Instant::now();
    script.bench.kill(first).await?;
    let others = [second, third];
    let replaced = async || Ok(script.leader(&others).await?.is_some());
    script.wait("another one takes writes", 20, replaced).await?;
    let took = begun.elapsed().as_secs_f64();
    expect((4.5..13.0).contains(&took), || format!("it took {took:.1} s"))?;
    script.counts(second, &before, 1).await?;
    let uuid = "SELECT @@GLOBAL.server_uuid";
    let (two, three) = (script.value(second, uuid).await?, script.value(third, uuid).await?);
    let lowest = if two < three { second } else { third };
    let leader = script.leader(&others).await?.ok_or("no primary")?;
    expect(leader == lowest, || {
        format!("{leader} leads, and {lowest} has the lowest uuid")
    })?;

    script.bench.start(first).await?;
    let state = script.state(first).await?;
    expect(state == "OFFLINE" && script.closed(first).await?, || {
        format!("it comes up {state}")
    })?;
    let rows = script.sql(first, "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid").await?;
    expect(rows.is_empty(), || {
        format!("statistics before the first START: {rows:?}")
    })?;
    script.start_group(first).await?;
    script.counts(second, &before, 2).await
}

/// Both others stand still: UNREACHABLE, a client's error 3100 when the primary leaves after 25 s. Thawed, they go on without it.
pub(super) async fn alone(script: &Script<'_, impl Bench>) -> Held {
    let leader = script.leader(&script.hosts).await?.ok_or("no primary")?;
    let others: Vec<&str> = script.hosts.into_iter().filter(|host| *host != leader).collect();
    let before = script.view(leader).await?;
    for host in &others {
        script.bench.freeze(host).await?;
    }
    let begun = Instant::now();
    script.sleep(4.5).await;
    let agrees = script.agrees(leader).await;
    let lost = script.members(leader).await;
    let row = script.fresh_row();
    let written = script
        .refused(leader, &format!("INSERT INTO sim.written VALUES ({row})"), 3100)
        .await;
    let took = begun.elapsed().as_secs_f64();
    let offline = script.value(leader, "SELECT @@GLOBAL.offline_mode").await;
    let (state, closed) = (script.state(leader).await, script.closed(leader).await);
    for host in &others {
        script.bench.thaw(host).await?;
    }
    let agrees = agrees?;
    expect(agrees == (false, true), || {
        format!("without a majority it agrees, and tries: {agrees:?}")
    })?;
    let lost = lost?;
    let unreachable = lost.iter().filter(|line| line.contains("UNREACHABLE")).count();
    expect(unreachable == 2 && lost.len() == 3, || format!("{lost:?}"))?;
    written?;
    expect((22.0..35.0).contains(&took), || {
        format!("the client waited until {took:.1} s")
    })?;
    let (state, closed, offline) = (state?, closed?, offline?);
    expect(state == "ERROR" && closed && offline == "0", || {
        format!("{state}, super_read_only {closed}, offline_mode {offline}")
    })?;
    let go_on = async || Ok(script.leader(&others).await?.is_some());
    script.wait("the others go on", 60, go_on).await?;
    let view = script.view(others[0]).await?;
    expect(view.prefix == before.prefix, || format!("{view:?} after {before:?}"))?;
    for host in &others {
        script.online(host, 60).await?;
    }
    if script.state(leader).await? == "ONLINE" {
        return Ok(());
    }
    script.sql(leader, "STOP GROUP_REPLICATION").await?;
    script.start_group(leader).await
}

/// Lines of the log that tell of the majority: lost, reachable again, back.
async fn told(script: &Script<'_, impl Bench>, host: &str) -> Result<[u64; 3], String> {
    let mut told = [0; 3];
    for (count, code) in told.iter_mut().zip(["MY-011496", "MY-011494", "MY-011498"]) {
        let sql = format!("SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = '{code}'");
        let number = script.value(host, &sql).await?;
        *count = number
            .parse()
            .map_err(|_| format!("{host}: {code} is logged {number:?} times"))?;
    }
    Ok(told)
}

/// What is more in the log than before.
async fn more(script: &Script<'_, impl Bench>, host: &str, before: &[u64; 3]) -> Result<[u64; 3], String> {
    let now = told(script, host).await?;
    Ok(std::array::from_fn(|place| now[place].saturating_sub(before[place])))
}

/// Both others stand still for less than the primary's patience. Its log tells that one was reached again before the majority was back.
pub(super) async fn back(script: &Script<'_, impl Bench>) -> Held {
    let leader = script.leader(&script.hosts).await?.ok_or("no primary")?;
    let others: Vec<&str> = script.hosts.into_iter().filter(|host| *host != leader).collect();
    let before = told(script, leader).await?;
    for host in &others {
        script.bench.freeze(host).await?;
    }
    script.sleep(9.0).await;
    let lost = more(script, leader, &before).await;
    for host in &others {
        script.bench.thaw(host).await?;
    }
    let lost = lost?;
    expect(lost == [1, 0, 0], || format!("lost, reached again, back: {lost:?}"))?;
    let again = async || Ok(more(script, leader, &before).await?[2] == 1);
    script.wait("the majority is back", 20, again).await?;
    let [_, reached, _] = more(script, leader, &before).await?;
    expect(reached > 0, || "nobody was reached again, by the log".to_owned())?;
    // Some of them may be expelled now, and come back or not: the next case begins with everybody out.
    script.sleep(8.0).await;
    Ok(())
}

/// Both others are dead. The variable is taken back in the same packet; the log tells of a majority that is back with nobody reached again.
pub(super) async fn forced(script: &Script<'_, impl Bench>) -> Held {
    let leader = script.leader(&script.hosts).await?.ok_or("no primary")?;
    let others: Vec<&str> = script.hosts.into_iter().filter(|host| *host != leader).collect();
    let whole = async || {
        let rows = script.members(leader).await?;
        Ok(rows.iter().filter(|line| line.contains("ONLINE")).count() == 3)
    };
    script.wait("everybody is in one view", 60, whole).await?;
    script.sleep(2.0).await;
    let (before, view) = (told(script, leader).await?, script.view(leader).await?);
    for host in &others {
        script.bench.kill(host).await?;
    }
    let silent = async || {
        let rows = script.members(leader).await?;
        Ok(rows.iter().filter(|line| line.contains("UNREACHABLE")).count() == 2)
    };
    script.wait("the majority is lost", 20, silent).await?;
    script.sleep(1.0).await;
    let name = "group_replication_force_members";
    let address = script
        .value(leader, "SELECT @@GLOBAL.group_replication_local_address")
        .await?;
    script
        .sql(
            leader,
            &format!("SET GLOBAL {name} = '{address}'; SET GLOBAL {name} = ''"),
        )
        .await?;
    script.counts(leader, &view, 1).await?;
    let lines = more(script, leader, &before).await?;
    expect(lines == [1, 0, 1], || format!("lost, reached again, back: {lines:?}"))?;
    for host in &others {
        script.bench.start(host).await?;
        script.start_group(host).await?;
    }
    script.counts(leader, &view, 3).await
}
