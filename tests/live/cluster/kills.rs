//! Coordinator and agents killed with SIGKILL at every named boundary of `join` and `create`: the operation ends well, and nothing
//! was done twice that must not be.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::desk::{Desk, HOSTS, METADATA, NODES, list};
use super::points::{Points, Program};

/// Steps of `join node3`, and the host whose agent does them.
const JOIN: [(&str, &str); 9] = [
    ("hosts_file", "node3"),
    ("packages", "node3"),
    ("server_certificate", "node3"),
    ("server", "node3"),
    ("local_member_accounts", "node3"),
    ("member_accounts", "node1"),
    ("join_group", "node3"),
    ("metadata_instance", "node1"),
    ("persist", "node2"),
];

/// Steps of `create … --with … --router …`, and a host whose agent does them.
const CREATE: [(&str, &str); 20] = [
    ("promise", "node2"),
    ("hosts_file", "node3"),
    ("packages", "node2"),
    ("server_certificate", "node1"),
    ("server", "node1"),
    ("local_member_accounts", "node2"),
    ("bootstrap_group", "node1"),
    ("member_accounts", "node1"),
    ("metadata", "node1"),
    ("join_group", "node2"),
    ("join_group", "node3"),
    ("metadata_instance", "node1"),
    ("router_host", "router1"),
    ("make_secret", "router1"),
    ("account", "node1"),
    ("router_bootstrap", "router1"),
    ("router_running", "router1"),
    ("drop_account", "node1"),
    ("drop_secret", "router1"),
    ("packages", "router1"),
];

/// Pauses before and after each step, when each is sent and when each outcome is stored, and where the plan begins.
fn pause_all(points: &Points<'_>, operation: &str, steps: &[(&str, &'static str)]) -> Result<()> {
    let mut coordinator = vec![
        format!("coordinator.{operation}.submitted"),
        "coordinator.plan.adopted".to_owned(),
    ];
    for host in HOSTS {
        let here = steps.iter().filter(|(_, of)| *of == host);
        let names: Vec<_> = here
            .flat_map(|(step, _)| [format!("agent.{step}.before"), format!("agent.{step}.after")])
            .collect();
        if !names.is_empty() {
            points.pause_all(host, Program::Agent, &names)?;
        }
    }
    for (step, _) in steps {
        for name in [
            format!("coordinator.{step}.sent"),
            format!("coordinator.{step}.outcome"),
        ] {
            if !coordinator.contains(&name) {
                coordinator.push(name);
            }
        }
    }
    points.pause_all("node1", Program::Coordinator, &coordinator)
}

/// View of the group: where its lineage began, and how many views it had.
fn view(desk: &Desk) -> Result<(String, u32)> {
    let view = desk.value(
        "node1",
        "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@server_uuid",
    )?;
    let (lineage, number) = view.split_once(':').with_context(|| format!("view_id is {view}"))?;
    Ok((lineage.to_owned(), number.parse()?))
}

/// How often a member was expelled because it was not heard for five seconds: on a machine that starves its hosts this happens, and
/// is no doing of ours. It came back by itself then, so there are more views.
fn expelled(desk: &Desk) -> Result<usize> {
    let of = |host: &&str| Ok(desk.error_log(host)?.matches("[MY-011505]").count());
    NODES.iter().map(of).sum()
}

/// What must be the same before and after somebody dies.
#[derive(PartialEq, Eq, Debug)]
struct Once {
    group: String,
    uuids: Vec<String>,
    ids: Vec<String>,
    mysqld: Vec<String>,
}

fn once(desk: &Desk) -> Result<Once> {
    let of = |sql: &str| {
        NODES
            .iter()
            .map(|host| desk.value(host, sql))
            .collect::<Result<Vec<_>>>()
    };
    Ok(Once {
        group: desk.value("node1", "SELECT @@group_replication_group_name")?,
        uuids: of("SELECT @@server_uuid")?,
        ids: of("SELECT @@server_id")?,
        mysqld: NODES
            .iter()
            .map(|host| desk.process(host, "mysql"))
            .collect::<Result<Vec<_>>>()?,
    })
}

/// Nothing stands twice, and nothing is left over.
fn nothing_twice(desk: &Desk) -> Result<()> {
    desk.settled()?;
    desk.all_online(&NODES)?;
    let counts = desk.value(
        "node1",
        &format!(
            "USE {METADATA}; SELECT CONCAT_WS(',', (SELECT COUNT(*) FROM clusters), (SELECT COUNT(*) FROM instances), (SELECT COUNT(*) FROM routers), \
             (SELECT COUNT(DISTINCT mysql_server_uuid) FROM instances), (SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'mysql_innodb_cluster%'), \
             (SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'mysql_router%'))"
        ),
    )?;
    ensure!(
        counts == "1,3,1,3,3,1",
        "clusters, instances, routers, different servers, accounts of members, of routers: {counts}"
    );
    super::reality::members(desk)?;
    super::reality::member_accounts(desk)?;
    super::reality::only_the_groups_transactions(desk)?;
    super::secrets::none_left(desk)?;
    let cluster = desk.cluster()?;
    ensure!(
        cluster["state"] == "ok" && list(&cluster["operations"]).is_empty(),
        "{cluster}"
    );
    // One file for each: no step wrote a second block or a second option file.
    for host in HOSTS {
        let blocks = desk.lab.sh(
            host,
            "grep -c 'BEGIN clusterctl' /etc/hosts; ls /etc/mysql/*/zz-clusterctl* 2>/dev/null | wc -l",
        )?;
        let files = if host == "router1" { "0" } else { "1" };
        ensure!(
            blocks.split_whitespace().eq(["1", files]),
            "blocks in /etc/hosts and option files on {host}: {blocks}"
        );
    }
    Ok(())
}

/// node3 leaves and joins; whoever works on it is killed at each of its points.
pub fn join(desk: &Desk) -> Result<()> {
    let points = Points::arm(desk)?;
    if desk.primary()? != "node1" {
        // The table of steps has it so.
        desk.ok("switchover --to node1")?;
    }
    let before = once(desk)?;
    desk.ok("remove node3 --accept-lower-tolerance")?;
    let (lineage, number) = view(desk)?;
    let expelled_before = expelled(desk)?;
    pause_all(&points, "join", &JOIN)?;
    let said = points.kill_during(&["join", "node3", "-o", "json"], |_, _| Ok(()))?;
    ensure!(said.status == 0, "{said:?}");
    let document: Value = serde_json::from_str(&said.stdout)?;
    ensure!(document["operation"]["state"] == "done", "{document}");
    // A new life of node3 has a server id of its own; all else is as it was, and node3 came in once.
    let after = once(desk)?;
    ensure!(
        after.group == before.group && after.uuids == before.uuids,
        "{before:?} became {after:?}"
    );
    ensure!(
        after.mysqld[..2] == before.mysqld[..2],
        "mysqld of another member was restarted: {before:?} became {after:?}"
    );
    let (same, now) = view(desk)?;
    ensure!(
        same == lineage,
        "the group was bootstrapped again: {lineage} became {same}"
    );
    let starved = expelled(desk)? > expelled_before;
    ensure!(
        starved || now == number + 1,
        "views {number} to {now}: node3 came and went"
    );
    nothing_twice(desk)?;
    super::recovery::same_data(desk)?;
    let ops = list(&desk.json("ops list --limit 1000")?["operations"]);
    let last = ops.last().context("no operation")?;
    ensure!(last["kind"] == "join" && last["state"] == "done", "{last}");
    Ok(())
}

/// A whole cluster in one go, with a kill at each point.
pub fn create(desk: &Desk) -> Result<()> {
    let points = Points::arm(desk)?;
    pause_all(&points, "create", &CREATE)?;
    let words = [
        "create",
        "prod",
        "--primary",
        "node1",
        "--with",
        "node2,node3",
        "--router",
        "router1",
        "-o",
        "json",
    ];
    let said = points.kill_during(&words, |_, _| Ok(()))?;
    ensure!(said.status == 0, "{said:?}");
    nothing_twice(desk)?;
    let (lineage, views) = view(desk)?;
    ensure!(
        views == 3 || expelled(desk)? > 0,
        "one bootstrap and two joins make three views, not {views}"
    );
    for host in NODES {
        // Each member of this lineage names it when it comes in; another lineage would be a second bootstrap.
        let log = desk.error_log(host)?;
        let strange: Vec<_> = log
            .lines()
            .filter(|line| line.contains(" on view ") && !line.contains(&format!(" on view {lineage}:")))
            .collect();
        ensure!(strange.is_empty(), "{host} was in another group: {strange:?}");
    }
    super::reality::few_starts(desk)?;
    desk.already("create prod --primary node1 --with node2,node3 --router router1")?;
    let document = desk.json("verify")?;
    ensure!(document["passed"] == true, "{document}");
    Ok(())
}

/// Ctrl-C: the operation goes on, its id is told, and `ops watch` ends as the command would have.
pub fn interrupted(desk: &Desk) -> Result<()> {
    let points = Points::arm(desk)?;
    desk.ok("remove node3 --accept-lower-tolerance")?;
    points.pause("node3", Program::Agent, "agent.join_group.before")?;
    let mut child = desk.lab.spawn("node1", "admin", &["clusterctl", "join", "node3"])?;
    let reached = points.reached("node3", "agent.join_group.before");
    desk.lab.sh("node1", "pkill -INT -x clusterctl")?;
    let (mut text, mut data) = (String::new(), String::new());
    child.stderr.take().context("no stderr")?.read_to_string(&mut text)?;
    child.stdout.take().context("no stdout")?.read_to_string(&mut data)?;
    let status = child.wait()?.code();
    reached?;
    ensure!(status == Some(130), "Ctrl-C ended it with {status:?}: {text}");
    let id = text
        .split("operation ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .context("no id is told")?;
    ensure!(
        text.contains("goes on") && text.contains(&format!("clusterctl ops watch {id}")),
        "{text}"
    );
    ensure!(data.is_empty(), "data of a command that was interrupted: {data}");
    // While it goes on another one waits, or is told of it; nothing runs beside it.
    let running = desk.json(&format!("ops show {id}"))?;
    ensure!(running["state"] == "running", "{running}");
    let busy = desk.ctl("remove node3 --accept-lower-tolerance -o json")?;
    super::desk::refusal("remove during join", &busy, 8, &["operation_running"], &["ops watch"])?;
    points.release("node3", Program::Agent, "agent.join_group.before")?;
    let watched = desk.ctl(&format!("ops watch {id}"))?;
    ensure!(watched.status == 0, "{watched:?}");
    desk.all_online(&NODES)
}
