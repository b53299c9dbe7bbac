//! Walkthrough 12, 14, 15 and 19, on a router's host: its ports, and who answers behind them.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::step::RouterPorts;
use tokio::time::Instant;

use super::Verdict;
use crate::host::network;
use crate::mysql::conn::text;
use crate::mysql::grants::VERIFY;
use crate::mysql::{Db, MysqlError, Servers};
use crate::steps::Context;
use crate::steps::router_bootstrap::read_secret;
use crate::steps::router_client::{Answer, ask};

/// 12: seen in the host's own sockets.
pub async fn ports(ports: &RouterPorts, cx: &Context) -> Result<Verdict, Failure> {
    let open = network::listening_ports(&*cx.host).await?;
    let wanted = [
        ports.read_write,
        ports.read_only,
        ports.split,
        ports.x_read_write,
        ports.x_read_only,
    ];
    let closed: Vec<String> = wanted
        .iter()
        .filter(|port| !open.contains(port))
        .map(u16::to_string)
        .collect();
    let title = "the router's ports are open";
    Ok(if closed.is_empty() {
        let list: Vec<String> = wanted.iter().map(u16::to_string).collect();
        Verdict::new(12, title, true, format!("{} listens on {}", cx.name, list.join(", ")))
    } else {
        Verdict::new(
            12,
            title,
            false,
            format!("{} does not listen on {}", cx.name, closed.join(", ")),
        )
    })
}

/// 14: a client connects through each port.
pub async fn paths(
    ports: &RouterPorts,
    user: &str,
    secret: &str,
    primary: &HostName,
    secondaries: &[HostName],
    cx: &Context,
) -> Result<Verdict, Failure> {
    let title = "a client reaches the right member through each port";
    let password = read_secret(secret, cx).await?;
    let is = |answer: &Answer, name: &HostName| answer.host.eq_ignore_ascii_case(name.as_str());
    let mut lines = Vec::new();
    let mut passed = true;
    for (port, kind) in [
        (ports.read_write, "read-write"),
        (ports.read_only, "read-only"),
        (ports.split, "read-write split"),
    ] {
        match ask(&*cx.servers, port, user, &password).await {
            Ok(answer) => {
                passed &= match kind {
                    "read-write" => is(&answer, primary) && answer.role == "PRIMARY",
                    // without secondaries readers are given the primary
                    "read-only" if !secondaries.is_empty() => {
                        secondaries.iter().any(|name| is(&answer, name)) && answer.role == "SECONDARY"
                    }
                    _ => is(&answer, primary) || secondaries.iter().any(|name| is(&answer, name)),
                };
                lines.push(format!(
                    "{port} ({kind}) -> {} {} {}",
                    answer.host, answer.role, answer.uuid
                ));
            }
            Err(error) => {
                passed = false;
                lines.push(format!("{port} ({kind}) -> {error}"));
            }
        }
    }
    Ok(Verdict::new(14, title, passed, lines.join("; ")))
}

/// 15 through Router: eventually, as every read of a secondary is.
pub async fn read_marker(
    marker: &str,
    ports: &RouterPorts,
    user: &str,
    secret: &str,
    cx: &Context,
) -> Result<Verdict, Failure> {
    let title = "data read through the router's read-only port";
    let password = read_secret(secret, cx).await?;
    let started = Instant::now();
    loop {
        let seen = read_once(&*cx.servers, ports.read_only, user, &password).await;
        let late = started.elapsed() > Duration::from_secs(10);
        match seen {
            Ok((host, value)) if value == marker => {
                return Ok(Verdict::new(
                    15,
                    title,
                    true,
                    format!("through {}: {host} answered {value:?}", ports.read_only),
                ));
            }
            Ok((host, value)) if late => {
                return Ok(Verdict::new(
                    15,
                    title,
                    false,
                    format!(
                        "through {}: {host} answered {value:?} instead of {marker:?}",
                        ports.read_only
                    ),
                ));
            }
            Err(error) if late => {
                return Ok(Verdict::new(
                    15,
                    title,
                    false,
                    format!("through {}: {error}", ports.read_only),
                ));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn read_once(
    servers: &dyn Servers,
    port: u16,
    user: &str,
    password: &str,
) -> Result<(String, String), MysqlError> {
    let mut db = Db::loopback(servers, port, user, password).await?;
    let row = db
        .row(&format!(
            "SELECT COALESCE(@@GLOBAL.report_host, @@GLOBAL.hostname), (SELECT value FROM {VERIFY}.marker WHERE id = 1)"
        ))
        .await?;
    db.close().await;
    Ok((text(&row, 0), text(&row, 1)))
}

/// 19: all members ONLINE, as seen through both ports.
pub async fn members(
    ports: &RouterPorts,
    user: &str,
    secret: &str,
    members: u32,
    cx: &Context,
) -> Result<Verdict, Failure> {
    let title = "all members are ONLINE, seen through the router";
    let password = read_secret(secret, cx).await?;
    let mut lines = Vec::new();
    let mut passed = true;
    for port in [ports.read_write, ports.read_only] {
        match view_through(&*cx.servers, port, user, &password).await {
            Ok(view) => {
                let online = view.iter().filter(|(_, state, _)| state == "ONLINE").count();
                passed &= online == usize::try_from(members).unwrap_or(usize::MAX) && online == view.len();
                let list: Vec<String> = view
                    .iter()
                    .map(|(host, state, role)| format!("{host} {state} {role}"))
                    .collect();
                lines.push(format!("{port}: {}", list.join(", ")));
            }
            Err(error) => {
                passed = false;
                lines.push(format!("{port}: {error}"));
            }
        }
    }
    Ok(Verdict::new(19, title, passed, lines.join("; ")))
}

async fn view_through(
    servers: &dyn Servers,
    port: u16,
    user: &str,
    password: &str,
) -> Result<Vec<(String, String, String)>, MysqlError> {
    let mut db = Db::loopback(servers, port, user, password).await?;
    let rows = db
        .rows("SELECT member_host, member_state, member_role FROM performance_schema.replication_group_members ORDER BY member_host")
        .await?;
    db.close().await;
    Ok(rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1), text(row, 2)))
        .collect())
}
