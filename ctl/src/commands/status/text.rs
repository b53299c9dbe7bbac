//! The layout of `status`: verdict, members, routers, operations, issues.

use clusterctl_proto::wire::control::{ClusterStatus, MemberStatus, RouterStatus};

use crate::output::paint::{self, Meaning};
use crate::output::table::Columns;
use crate::units;

/// Every cluster, a blank line between them.
pub fn clusters(clusters: &[ClusterStatus], wide: bool, colour: bool) -> String {
    let alone = clusters.len() == 1;
    let of = |cluster| one(cluster, alone, wide, colour);
    let texts: Vec<String> = clusters.iter().map(of).collect();
    texts.join("\n")
}

/// The sentence that opens an answer on a cluster, in the colour of its state.
pub fn verdict(name: &str, sentence: &str, state: &str, colour: bool) -> String {
    let meaning = match state {
        "ok" => Meaning::Good,
        "degraded" | "forming" => Meaning::Warning,
        "down" => Meaning::Bad,
        _ => Meaning::Strong,
    };
    let mut sentence = paint::clean(sentence);
    if !sentence.starts_with(name) {
        sentence = format!("{name}: {sentence}");
    }
    paint::paint(colour, meaning, &sentence)
}

fn one(cluster: &ClusterStatus, alone: bool, wide: bool, colour: bool) -> String {
    let mut text = verdict(&cluster.name, &cluster.verdict, &cluster.state, colour);
    text.push('\n');
    if !cluster.paused.is_empty() {
        text.push_str(&paint::paint(colour, Meaning::Warning, &paint::clean(&cluster.paused)));
        text.push('\n');
    }
    text.push('\n');
    if !cluster.members.is_empty() {
        text.push_str(&coloured(colour, &members(&cluster.members, wide)));
    }
    let routers = routers(cluster.routers.iter().map(|router| ("", router)), false);
    if !routers.is_empty() {
        text.push('\n');
        text.push_str(&coloured(colour, &routers));
    }
    text.push_str(&footer(cluster, alone, wide, colour));
    text
}

fn coloured(colour: bool, table: &str) -> String {
    const MEANINGS: [(&str, Meaning); 11] = [
        ("ONLINE", Meaning::Good),
        ("running", Meaning::Good),
        ("PRIMARY", Meaning::Strong),
        ("RECOVERING", Meaning::Warning),
        ("UNKNOWN", Meaning::Warning),
        ("unknown", Meaning::Warning),
        ("OFFLINE", Meaning::Bad),
        ("ERROR", Meaning::Bad),
        ("UNREACHABLE", Meaning::Bad),
        ("(MISSING)", Meaning::Bad),
        ("stopped", Meaning::Bad),
    ];
    paint::words(colour, table, &MEANINGS)
}

fn members(members: &[MemberStatus], wide: bool) -> String {
    let mut headings = vec!["NODE", "ROLE", "STATE", "MODE", "VERSION", "QUEUE", "UPTIME", "ISSUES"];
    if wide {
        headings.extend(["ADDRESS", "SERVER-ID", "SERVER-UUID", "KNOWN", "AGE", "GTID-EXECUTED"]);
    }
    let mut table = Columns::new(&headings);
    for member in members {
        let mut cells = vec![
            member.host.clone(),
            member.role.clone(),
            member.state.clone(),
            member.mode.clone(),
            member.version.clone(),
            member.queue.to_string(),
            units::uptime(member.uptime_seconds),
            issues(member),
        ];
        if wide {
            cells.extend([
                member.address.clone(),
                if member.server_id == 0 {
                    String::new()
                } else {
                    member.server_id.to_string()
                },
                member.server_uuid.clone(),
                member.certainty.clone(),
                units::elapsed(member.age_ms),
                // A set may span lines; the server takes it without them as well.
                member.gtid_executed.split_whitespace().collect(),
            ]);
        }
        table.row(cells);
    }
    table.render()
}

/// What is wrong; before it that nobody repairs it just now, and how sure the rest of the row is.
fn issues(member: &MemberStatus) -> String {
    let doubt = match member.certainty.as_str() {
        "stale" => Some(format!("seen {} ago", units::elapsed(member.age_ms))),
        "unknown" => Some("agent does not answer".to_owned()),
        _ => None,
    };
    let all: Vec<&str> = maintenance(&member.maintenance)
        .chain(doubt.as_deref())
        .chain(member.issues.iter().map(String::as_str))
        .collect();
    all.join("; ")
}

fn maintenance(sentence: &str) -> impl Iterator<Item = &str> {
    Some(sentence).filter(|sentence| !sentence.is_empty()).into_iter()
}

/// Routers as a table, with the cluster's name if wanted; empty without any.
pub fn routers<'a>(rows: impl Iterator<Item = (&'a str, &'a RouterStatus)>, with_cluster: bool) -> String {
    let mut headings = vec!["ROUTER", "STATE", "RW", "RO", "SPLIT", "VERSION", "ISSUES"];
    if with_cluster {
        headings.insert(1, "CLUSTER");
    }
    let mut table = Columns::new(&headings);
    for (cluster, router) in rows {
        let port = |port: u32| {
            if port == 0 { String::new() } else { port.to_string() }
        };
        let issues: Vec<&str> = maintenance(&router.maintenance)
            .chain(router.issues.iter().map(String::as_str))
            .collect();
        let mut cells = vec![
            router.host.clone(),
            router.state.clone(),
            port(router.read_write_port),
            port(router.read_only_port),
            port(router.read_write_split_port),
            router.version.clone(),
            issues.join("; "),
        ];
        if with_cluster {
            cells.insert(1, cluster.to_owned());
        }
        table.row(cells);
    }
    if table.is_empty() {
        String::new()
    } else {
        table.render()
    }
}

fn footer(cluster: &ClusterStatus, alone: bool, wide: bool, colour: bool) -> String {
    let mut lines = Vec::new();
    for id in &cluster.operations {
        lines.push(format!("operation {id} is under way: clusterctl ops watch {id}"));
    }
    for issue in &cluster.issues {
        let label = paint::paint(colour, Meaning::Warning, "issue:");
        lines.push(format!("{label} {}", paint::clean(issue)));
    }
    if wide {
        for account in &cluster.accounts {
            let database = if account.database.is_empty() {
                String::new()
            } else {
                format!(" on {}", account.database)
            };
            lines.push(format!("account: {} ({}{database})", account.name, account.kind));
        }
        let facts = [
            ("group", &cluster.group_name),
            ("topology", &cluster.topology_mode),
            ("metadata", &cluster.metadata_version),
        ];
        let known: Vec<String> = facts
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if !known.is_empty() {
            lines.push(paint::paint(colour, Meaning::Faint, &known.join(", ")));
        }
    }
    if in_trouble(cluster) {
        let label = paint::paint(colour, Meaning::Warning, "why:");
        let which = if alone {
            String::new()
        } else {
            format!(" -c {}", cluster.name)
        };
        lines.push(format!("{label} clusterctl why{which}"));
    }
    if lines.is_empty() {
        String::new()
    } else {
        format!("\n{}\n", lines.join("\n"))
    }
}

/// There is something to explain, beside what an operation that forms it is about to do.
fn in_trouble(cluster: &ClusterStatus) -> bool {
    let told = !cluster.issues.is_empty()
        || cluster.members.iter().any(|member| !member.issues.is_empty())
        || cluster.routers.iter().any(|router| !router.issues.is_empty());
    let amiss = cluster.members.iter().any(|member| member.state != "ONLINE")
        || cluster.routers.iter().any(|router| router.state != "running");
    match cluster.state.as_str() {
        "ok" => false,
        "forming" => told,
        "down" => true,
        _ => told || amiss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, role: &str, mode: &str) -> MemberStatus {
        MemberStatus {
            host: host.to_owned(),
            role: role.to_owned(),
            state: "ONLINE".to_owned(),
            mode: mode.to_owned(),
            version: "9.7.4".to_owned(),
            uptime_seconds: 7200,
            certainty: "certain".to_owned(),
            ..MemberStatus::default()
        }
    }

    #[test]
    fn the_layout_is_verdict_members_routers_footer() {
        let mut stale = member("node2", "SECONDARY", "R/O");
        stale.certainty = "stale".to_owned();
        stale.age_ms = 12_000;
        let cluster = ClusterStatus {
            name: "prod".to_owned(),
            verdict: "OK: 2 of 2 members ONLINE, tolerates 0 failures".to_owned(),
            state: "ok".to_owned(),
            members: vec![member("node1", "PRIMARY", "R/W"), stale],
            routers: vec![RouterStatus {
                host: "router1".to_owned(),
                state: "running".to_owned(),
                read_write_port: 6446,
                read_only_port: 6447,
                read_write_split_port: 6450,
                ..RouterStatus::default()
            }],
            operations: vec![12],
            issues: vec!["no monitor account".to_owned()],
            ..ClusterStatus::default()
        };
        let expected = "\
prod: OK: 2 of 2 members ONLINE, tolerates 0 failures

NODE   ROLE       STATE   MODE  VERSION  QUEUE  UPTIME  ISSUES
node1  PRIMARY    ONLINE  R/W   9.7.4    0      2h 0m   -
node2  SECONDARY  ONLINE  R/O   9.7.4    0      2h 0m   seen 12.0s ago

ROUTER   STATE    RW    RO    SPLIT  VERSION  ISSUES
router1  running  6446  6447  6450   -        -

operation 12 is under way: clusterctl ops watch 12
issue: no monitor account
";
        assert_eq!(clusters(&[cluster], false, false), expected);
    }

    #[test]
    fn a_pause_stands_below_the_verdict_and_maintenance_before_the_issues() {
        let mut down = member("node3", "NONE", "n/a");
        down.state = "OFFLINE".to_owned();
        down.certainty = "stale".to_owned();
        down.age_ms = 12_000;
        down.maintenance = "in maintenance by operator/bob since 2026-05-01T01:00:00Z (new disks)".to_owned();
        down.issues = vec!["not in the group".to_owned()];
        let cluster = ClusterStatus {
            name: "prod".to_owned(),
            verdict: "prod works: 1 of 2 members ONLINE".to_owned(),
            state: "degraded".to_owned(),
            paused: "paused by operator/alice since 2026-05-01T00:00:00Z (new switches)".to_owned(),
            members: vec![member("node1", "PRIMARY", "R/W"), down],
            routers: vec![RouterStatus {
                host: "router1".to_owned(),
                state: "stopped".to_owned(),
                maintenance: "in maintenance by operator/bob since 2026-05-01T01:00:00Z".to_owned(),
                issues: vec!["it does not run".to_owned()],
                ..RouterStatus::default()
            }],
            operations: vec![12],
            ..ClusterStatus::default()
        };
        let expected = "\
prod works: 1 of 2 members ONLINE
paused by operator/alice since 2026-05-01T00:00:00Z (new switches)

NODE   ROLE     STATE    MODE  VERSION  QUEUE  UPTIME  ISSUES
node1  PRIMARY  ONLINE   R/W   9.7.4    0      2h 0m   -
node3  NONE     OFFLINE  n/a   9.7.4    0      2h 0m   in maintenance by operator/bob since 2026-05-01T01:00:00Z (new disks); \
seen 12.0s ago; not in the group

ROUTER   STATE    RW  RO  SPLIT  VERSION  ISSUES
router1  stopped  -   -   -      -        in maintenance by operator/bob since 2026-05-01T01:00:00Z; it does not run

operation 12 is under way: clusterctl ops watch 12
why: clusterctl why
";
        assert_eq!(clusters(std::slice::from_ref(&cluster), false, false), expected);
        let painted = clusters(std::slice::from_ref(&cluster), false, true);
        let second = painted.lines().nth(1).unwrap_or_default();
        assert!(second.starts_with("\x1b[33mpaused by"), "{second}");
        let two = clusters(&[cluster.clone(), cluster], false, false);
        assert!(two.ends_with("why: clusterctl why -c prod\n"), "{two}");
    }

    #[test]
    fn only_a_trouble_is_worth_the_question_why() {
        let mut cluster = ClusterStatus {
            name: "prod".to_owned(),
            members: vec![member("node1", "PRIMARY", "R/W")],
            ..ClusterStatus::default()
        };
        let mut asks = |state: &str, issue: &str| {
            cluster.state = state.to_owned();
            cluster.members[0].issues = Some(issue.to_owned()).into_iter().filter(|i| !i.is_empty()).collect();
            clusters(std::slice::from_ref(&cluster), false, false).contains("why:")
        };
        assert!(!asks("ok", "no backup"));
        assert!(!asks("forming", ""));
        assert!(!asks("degraded", ""));
        assert!(asks("degraded", "lags behind"));
        assert!(asks("down", ""));
    }
}
