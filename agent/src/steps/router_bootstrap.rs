//! `mysqlrouter --bootstrap` has been done for this cluster, into this cluster's own folder.
//!
//! One that was killed has left a registration and an account on the primary, which only `forget_router` there removes. So what is
//! found half done is removed here and fails, to be tried again: the next plan sees a registration without a configuration
//! and begins with `forget_router`.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::RouterPorts;
use clusterctl_proto::test_point;
use uuid::Uuid;

use super::router_files::{self, Bootstrapped, CA, HOME, UNIT, USER, folder};
use super::{Context, Done, router_half};
use crate::host::{Access, Command, systemd};

/// What the step orders.
pub struct Order<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// Its group.
    pub group_name: Uuid,
    /// `host:port` of the primary.
    pub primary: &'a str,
    /// Account for the bootstrap.
    pub user: &'a str,
    /// Name of its password on this host.
    pub secret: &'a str,
    /// Ports.
    pub ports: &'a RouterPorts,
}

/// Looks, acts, looks again. Facts `account` and `router_id` name the registration in use, for `ForgetRouter`.
pub async fn ensure(order: &Order<'_>, cx: &Context) -> Result<Done, Failure> {
    let host = &*cx.host;
    let dir = folder(order.cluster);
    let found = router_files::configured(host, &dir).await?;
    if let Some(found) = &found
        && !found.group.eq_ignore_ascii_case(&order.group_name.to_string())
    {
        return Err(Failure::refused(
            "router_other_group",
            format!("{} is a configuration for another cluster", dir.display()),
        )
        .fact(format!("its group is {}, not {}", found.group, order.group_name))
        .hint(format!(
            "systemctl disable --now {UNIT}; mv {} /root/; then run the command again",
            dir.display()
        )));
    }
    let ended = Bootstrapped::read(host, order.cluster).await?;
    if let (Some(found), Some(_)) = (&found, &ended)
        && found.has(order.ports)
    {
        tell(cx, found);
        return Ok(Done::Unchanged);
    }
    // a new configuration under a running Router would be read at some later start
    if !matches!(
        systemd::unit(host, UNIT).await?.state,
        UnitState::Absent | UnitState::Stopped | UnitState::Failed
    ) {
        systemd::stop(host, UNIT).await?;
    }
    // both or none: a new bootstrap over a whole one takes its account over
    if (found.is_none() || ended.is_none()) && router_half::clear(cx, order.cluster).await? {
        return Err(router_half::failure(order.cluster));
    }
    router_half::begin(cx, order.cluster).await?;
    let password = read_secret(order.secret, cx).await?;
    cx.progress.text(format!("bootstrapping from {}", order.primary));
    let command = command(order, cx.name.as_str()).stdin(format!("{password}\n"));
    let output = cx
        .timed("router_bootstrap", host.run(&command, &|line| tell_line(cx, line)))
        .await?;
    test_point::reach("agent.router_bootstrap.ended").await;
    if !output.success() {
        // where it came far enough to register, the next plan sees that
        router_half::clear(cx, order.cluster).await?;
        let failure = Failure::new(
            "router_bootstrap",
            format!("mysqlrouter --bootstrap from {} failed", order.primary),
        )
        .hint("the primary must be reachable by name, and its certificate be of our CA")
        .transient();
        // Router's errors may repeat a whole statement
        let lines = output.tail().into_iter().filter(|line| !line.contains("Please enter"));
        return Err(lines
            .map(|line| line.chars().take(300).collect::<String>())
            .fold(failure, Failure::fact));
    }
    let Some(found) = router_files::configured(host, &dir)
        .await?
        .filter(|found| found.has(order.ports))
    else {
        return Err(Failure::new(
            "router_bootstrap",
            format!(
                "the bootstrap ended, but {} does not hold what was ordered",
                dir.display()
            ),
        )
        .hint(format!("look at {}", dir.join("mysqlrouter.conf").display())));
    };
    let done = Bootstrapped {
        format: 1,
        cluster: order.cluster.clone(),
        group_name: order.group_name,
        ports: *order.ports,
        account: found.account.clone(),
    };
    let text = serde_json::to_vec(&done).map_err(|e| Failure::new("marker", e.to_string()))?;
    host.write(
        &Bootstrapped::path(order.cluster),
        &text,
        &Access::of(0o600, USER, USER),
    )
    .await?;
    router_half::end(cx).await?;
    tell(cx, &found);
    Ok(Done::changed(format!(
        "bootstrapped Router for {} as {}",
        order.cluster, found.account
    )))
}

fn tell(cx: &Context, found: &router_files::Configured) {
    cx.fact("account", &found.account);
    cx.fact("router_id", &found.id);
}

fn tell_line(cx: &Context, line: &str) {
    if let Some(line) = line.trim().strip_prefix("- ") {
        cx.progress.text(line);
    }
}

/// A password that lives on this host.
pub async fn read_secret(name: &str, cx: &Context) -> Result<String, Failure> {
    let path = cx.config.secret_path(name);
    let bytes = cx.host.read(&path).await?;
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            Failure::new(
                "secret_missing",
                format!("the password {name} is not kept on this host"),
            )
            .hint("run the command again: it makes a new one")
            .transient()
        })
}

/// Everything but the password, which Router reads from its standard input.
fn command(order: &Order<'_>, name: &str) -> Command {
    let set = |key: &str, value: &str| format!("--conf-set-option=DEFAULT.{key}={value}");
    Command::new("/usr/bin/mysqlrouter")
        .arg("--bootstrap")
        .arg(format!("{}@{}", order.user, order.primary))
        .args(["--directory", &folder(order.cluster).display().to_string()])
        .args(["--user", USER])
        .args(["--report-host", name])
        .args(["--ssl-mode", "VERIFY_IDENTITY", "--ssl-ca", CA])
        .arg(set("server_ssl_mode", "REQUIRED"))
        .arg(set("server_ssl_verify", "VERIFY_IDENTITY"))
        .arg(set("server_ssl_ca", CA))
        // of its questions to members: by default (5 and 30 s) it waits for a frozen primary while another leads already
        .arg(set("connect_timeout", "2"))
        .arg(set("read_timeout", "3"))
        .args(port_arguments(order.ports))
        // an earlier registration of this host is taken over instead of refused
        .arg("--force")
        .env("HOME", HOME)
        .timeout(Duration::from_secs(120))
}

/// Ports in a row are told as Router knows them, so that its registration says where it listens; for any others only its
/// configuration does, and the registration keeps the default ports.
fn port_arguments(ports: &RouterPorts) -> Vec<String> {
    let routes = [
        ("rw", ports.read_write),
        ("ro", ports.read_only),
        ("x_rw", ports.x_read_write),
        ("x_ro", ports.x_read_only),
        ("rw_split", ports.split),
    ];
    if (ports.read_write..).zip(routes).all(|(next, (_, port))| next == port) {
        return vec!["--conf-base-port".to_owned(), ports.read_write.to_string()];
    }
    routes
        .iter()
        .map(|(route, port)| format!("--conf-set-option=routing:bootstrap_{route}.bind_port={port}"))
        .collect()
}

#[cfg(test)]
#[path = "router_bootstrap_tests.rs"]
mod tests;
