//! `clusterctl check`: is a host fit to become a member or a router?

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::{CheckReply, CheckRequest, HostChecks};

use crate::context::Context;
use crate::output::paint::{self, Meaning};
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::progress::count;

/// Check hosts before a cluster is formed: each check by name, with its fix
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl check node1 node2 node3")]
pub struct Args {
    /// Enrolled hosts
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<HostName>,
    /// Leave out a check, by its name
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    ignore_check: Vec<String>,
}

/// Asks the coordinator and shows what it found; exit status 3 when anything fails.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let request = CheckRequest {
        hosts: args.hosts.iter().map(ToString::to_string).collect(),
        ignore: args.ignore_check,
    };
    let reply = client.call(|mut api| async move { api.check(request).await }).await?;
    let status = if reply.verdict == "fail" {
        ExitClass::Refused.code()
    } else {
        0
    };
    if context.json() {
        json::print(reply);
    } else {
        output::data(&as_text(context.colour_out, &reply));
    }
    Ok(status)
}

const MEANINGS: [(&str, Meaning); 4] = [
    ("pass", Meaning::Good),
    ("warn", Meaning::Warning),
    ("fail", Meaning::Bad),
    ("ignored", Meaning::Faint),
];

fn as_text(colour: bool, reply: &CheckReply) -> String {
    let mut table = Columns::new(&["HOST", "CHECK", "RESULT", "SEEN", "FIX"]);
    for host in &reply.hosts {
        for check in &host.checks {
            table.row([&host.host, &check.name, &check.result, &check.seen, &check.fix]);
        }
    }
    let mut text = if table.is_empty() {
        String::new()
    } else {
        paint::words(colour, &table.render(), &MEANINGS)
    };
    let meaning = MEANINGS
        .iter()
        .find(|(word, _)| *word == reply.verdict)
        .map_or(Meaning::Strong, |(_, m)| *m);
    text.push_str(&paint::paint(colour, meaning, &verdict(reply)));
    text
}

fn verdict(reply: &CheckReply) -> String {
    let number = |result: &str| {
        let of = |host: &HostChecks| host.checks.iter().filter(|check| check.result == result).count();
        reply.hosts.iter().map(of).sum::<usize>()
    };
    let hosts = count(reply.hosts.len(), "host");
    match reply.verdict.as_str() {
        "fail" => format!(
            "fail: {} on {hosts}; fix them and check again",
            count(number("fail"), "failed check")
        ),
        "warn" => format!("warn: {hosts} can be used; {}", count(number("warn"), "warning")),
        "pass" => format!("pass: {hosts} can be used"),
        other => format!("{other}: {hosts}"),
    }
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::wire::control::CheckResult;

    use super::*;

    #[test]
    fn the_verdict_is_last_and_counts() {
        let check = |name: &str, result: &str, fix: &str| CheckResult {
            name: name.to_owned(),
            result: result.to_owned(),
            seen: "seen".to_owned(),
            fix: fix.to_owned(),
        };
        let reply = CheckReply {
            hosts: vec![HostChecks {
                host: "node1".to_owned(),
                checks: vec![check("clock", "pass", ""), check("port", "fail", "stop nginx")],
            }],
            verdict: "fail".to_owned(),
        };
        let text = as_text(false, &reply);
        assert!(text.contains("node1  port   fail    seen  stop nginx\n"), "{text}");
        assert!(
            text.ends_with("fail: 1 failed check on 1 host; fix them and check again"),
            "{text}"
        );
    }
}
