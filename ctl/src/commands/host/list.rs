//! `clusterctl hosts`: who is enrolled, with what, how it fares.

use std::time::SystemTime;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::{Host, ListHostsReply, ListHostsRequest};

use crate::connect::Client;
use crate::context::Context;
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::units;

/// List enrolled hosts
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl hosts -o wide")]
pub struct Args {}

/// Asks and prints.
pub async fn run(context: &Context, _: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let reply = fetch(&client).await?;
    if context.json() {
        json::print(reply);
    } else if reply.hosts.is_empty() {
        output::data("no host is enrolled");
        context.remark("hint: on this host: clusterctl token create --role db; on the new host: clusterctl-agent enroll --token-file -");
    } else {
        output::data(&as_text(&reply.hosts, context.wide(), SystemTime::now()));
    }
    Ok(0)
}

/// Every enrolled host.
pub async fn fetch(client: &Client) -> Result<ListHostsReply, Failure> {
    client
        .call(|mut api| async move { api.list_hosts(ListHostsRequest {}).await })
        .await
}

fn as_text(hosts: &[Host], wide: bool, now: SystemTime) -> String {
    let mut headings = vec![
        "HOST",
        "ROLES",
        "ADDRESSES",
        "AGENT",
        "OS",
        "MYSQL",
        "CLUSTER",
        "HEALTH",
    ];
    if wide {
        headings.extend([
            "ROUTER",
            "CPUS",
            "MEMORY",
            "AGENT-VERSION",
            "LAST-SEEN",
            "ENROLLED",
            "CERTIFICATE-UNTIL",
        ]);
    }
    let mut table = Columns::new(&headings);
    for host in hosts {
        let mut cells = vec![
            host.name.clone(),
            host.roles.join(","),
            host.addresses.join(","),
            agent(host, now),
            host.os.clone(),
            host.mysql_version.clone(),
            host.cluster.clone(),
            host.health.clone(),
        ];
        if wide {
            cells.extend([
                host.router_version.clone(),
                if host.cpus == 0 {
                    String::new()
                } else {
                    host.cpus.to_string()
                },
                if host.memory_bytes == 0 {
                    String::new()
                } else {
                    units::bytes(host.memory_bytes)
                },
                host.agent_version.clone(),
                host.last_seen.clone(),
                host.enrolled_at.clone(),
                host.certificate_expires.clone(),
            ]);
        }
        table.row(cells);
    }
    table.render()
}

fn agent(host: &Host, now: SystemTime) -> String {
    if host.agent == "silent" && !host.last_seen.is_empty() {
        return format!("silent ({})", units::relative(&host.last_seen, now));
    }
    host.agent.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_host_says_since_when() {
        let host = Host {
            name: "node1".to_owned(),
            roles: vec!["db".to_owned(), "coordinator".to_owned()],
            addresses: vec!["10.0.0.1".to_owned()],
            agent: "silent".to_owned(),
            last_seen: "2026-05-01T11:57:00Z".to_owned(),
            health: "does not answer".to_owned(),
            ..Host::default()
        };
        let now = humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap();
        assert_eq!(
            as_text(&[host], false, now).lines().nth(1).unwrap(),
            "node1  db,coordinator  10.0.0.1   silent (3m ago)  -   -      -        does not answer"
        );
    }
}
