//! mysqlrouter.service runs, is enabled, and each port leads where it should.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::{RouterPorts, SecretName};
use tokio::time::Instant;

use super::router_bootstrap::read_secret;
use super::router_client::ask_until;
use super::router_files::{Bootstrapped, UNIT, folder};
use super::{Context, Done};
use crate::host::systemd;

/// From the start of the unit until every port accepts connections.
const PORTS_OPEN: Duration = Duration::from_secs(30);
const PROOF: Duration = Duration::from_secs(20);

/// Looks, starts, proves.
pub async fn ensure(
    cluster: &ClusterName,
    ports: &RouterPorts,
    proof: Option<&(String, SecretName)>,
    members: &[HostName],
    cx: &Context,
) -> Result<Done, Failure> {
    let host = &*cx.host;
    if Bootstrapped::read(host, cluster).await?.is_none() {
        return Err(Failure::new(
            "router_not_bootstrapped",
            format!("{} holds no finished bootstrap", folder(cluster).display()),
        )
        .transient());
    }
    let mut changes = Vec::new();
    let seen = systemd::unit(host, UNIT).await?;
    if !seen.enabled {
        systemd::enable(host, UNIT).await?;
        changes.push(format!("enabled {UNIT}"));
    }
    if seen.state != UnitState::Running {
        if seen.state == UnitState::Failed {
            systemd::reset_failed(host, UNIT).await?;
        }
        cx.timed("router_start", systemd::start(host, UNIT)).await?;
        changes.push(format!("started {UNIT}"));
    }
    open(ports, cx).await?;
    if let Some((user, secret)) = proof {
        let login = (user.as_str(), read_secret(secret, cx).await?);
        prove(ports, &login, members, cx).await?;
    }
    Ok(Done::from_changes(changes))
}

/// Each port leads where it should.
async fn prove(
    ports: &RouterPorts,
    (user, password): &(&str, String),
    members: &[HostName],
    cx: &Context,
) -> Result<(), Failure> {
    let servers = &*cx.servers;
    let known =
        |name: &str| members.is_empty() || members.iter().any(|member| member.as_str().eq_ignore_ascii_case(name));
    let writer = ask_until(servers, ports.read_write, user, password, PROOF, |a| {
        a.role == "PRIMARY" && known(&a.host)
    })
    .await?;
    // with no secondary there, Router gives readers the primary
    let reader = ask_until(servers, ports.read_only, user, password, PROOF, |a| {
        known(&a.host) && (a.role == "SECONDARY" || members.len() < 2)
    })
    .await?;
    let split = ask_until(servers, ports.split, user, password, PROOF, |a| known(&a.host)).await?;
    cx.fact("read_write", &writer.host);
    cx.fact("read_only", &reader.host);
    cx.fact("split", &split.host);
    Ok(())
}

async fn open(ports: &RouterPorts, cx: &Context) -> Result<(), Failure> {
    let end = Instant::now() + PORTS_OPEN;
    for port in [
        ports.read_write,
        ports.read_only,
        ports.split,
        ports.x_read_write,
        ports.x_read_only,
    ] {
        while !cx.host.accepts(port).await {
            if Instant::now() >= end {
                let failure = Failure::new(
                    "router_port_closed",
                    format!("mysqlrouter runs, but port {port} is not open"),
                )
                .hint(format!("journalctl -u {UNIT} -n 50; ss -tlnp sport = :{port}"))
                .transient();
                return Err(systemd::journal(&*cx.host, UNIT)
                    .await
                    .into_iter()
                    .fold(failure, Failure::fact));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    #[tokio::test]
    async fn a_router_that_has_failed_is_started_without_a_proof() {
        let mut listeners = Vec::new();
        for _ in 0..5 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let port = |n: usize| listeners[n].local_addr().unwrap().port();
        let ports = RouterPorts {
            read_write: port(0),
            read_only: port(1),
            split: port(2),
            x_read_write: port(3),
            x_read_only: port(4),
        };
        let cluster: ClusterName = "prod".parse().unwrap();
        let note = Bootstrapped {
            format: 1,
            cluster: cluster.clone(),
            group_name: "6266fad8-e63f-11f1-a438-8e247ed30bec".parse().unwrap(),
            ports,
            account: "mysql_router1_x".into(),
        };
        let path = Bootstrapped::path(&cluster).display().to_string();
        let host = FakeHost::new()
            .with_file(&path, &serde_json::to_string(&note).unwrap())
            .on(
                "systemctl show",
                "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nResult=start-limit-hit\n",
            )
            .on("systemctl --quiet reset-failed", "")
            .on("systemctl --quiet start", "");
        let host = Arc::new(host);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(host.clone(), dir.path());
        let done = ensure(&cluster, &ports, None, &[], &cx).await.unwrap();
        assert_eq!(done, Done::changed("started mysqlrouter.service"));
        assert_eq!(
            &host.calls()[1..],
            [
                "systemctl --quiet reset-failed -- mysqlrouter.service",
                "systemctl --quiet start -- mysqlrouter.service"
            ]
        );
    }
}
