//! mysqlrouter.service runs, is enabled, and each port leads where it should.

use std::time::{Duration, Instant};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::{RouterPorts, SecretName};

use super::router_bootstrap::read_secret;
use super::router_client::{accepts, ask_until};
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
        let password = read_secret(secret, cx).await?;
        let known =
            |name: &str| members.is_empty() || members.iter().any(|member| member.as_str().eq_ignore_ascii_case(name));
        let writer = ask_until(ports.read_write, user, &password, PROOF, |a| {
            a.role == "PRIMARY" && known(&a.host)
        })
        .await?;
        // with no secondary there, Router gives readers the primary
        let reader = ask_until(ports.read_only, user, &password, PROOF, |a| {
            known(&a.host) && (a.role == "SECONDARY" || members.len() < 2)
        })
        .await?;
        let split = ask_until(ports.split, user, &password, PROOF, |a| known(&a.host)).await?;
        cx.fact("read_write", &writer.host);
        cx.fact("read_only", &reader.host);
        cx.fact("split", &split.host);
    }
    Ok(Done::from_changes(changes))
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
        while !accepts(port).await {
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
