//! `clusterctl-agent run`: brings the real parts to the agent (`agent.rs`) and lives until SIGTERM. Files, signals and systemd are known
//! here only.
//!
//! mysqld and Router are left alone at the end; a step that runs is dropped and found unfinished by the next agent.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::logging;
use clusterctl_proto::machine;
use clusterctl_proto::tls::{Credentials, SharedCredentials};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::agent::{Agent, Parts};
use crate::config::Config;
use crate::enroll::Enrolment;
use crate::host::{Host, RealHost, network, packages};
use crate::ledger::Ledger;
use crate::mysql::Driver;
use crate::session::{Coordinators, Link, keep_certificate};

/// Runs the agent.
pub async fn run(config: Config) -> Result<(), Failure> {
    logging::init(&config.log);
    // what the unit sets for our own files would be inherited by every maintainer script
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let config = Arc::new(config);
    let enrolment = Enrolment::load(&config)?.ok_or_else(not_enrolled)?;
    let credentials = SharedCredentials::new(Credentials::load(&config.identity_dir())?);
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let ledger = Arc::new(Ledger::open(&config.state_dir));
    ledger.exclusive()?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let preferred = enrolment
        .endpoints
        .iter()
        .find_map(|endpoint| network::source_towards(endpoint.parse().ok()?));
    let link = Link::new();
    let agent = Agent::new(Parts {
        host: Arc::clone(&host),
        servers: Arc::new(Driver),
        config: Arc::clone(&config),
        ledger,
        name: enrolment.host.clone(),
        group: enrolment.group.clone(),
        boot_id,
        preferred,
        instance: Uuid::new_v4().to_string(),
        credentials: credentials.clone(),
        endpoints: enrolment.endpoints.clone(),
        dial: Arc::new(Coordinators {
            credentials: credentials.clone(),
            link: Arc::clone(&link),
        }),
        signer: link.clone(),
        jitter: None,
        state: Box::new(|state| notify(&[NotifyState::Status(state)])),
    });
    let runner = agent.runner();
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    tracing::info!(node = %enrolment.host, version = env!("CARGO_PKG_VERSION"), "agent started");
    notify(&[NotifyState::Ready, NotifyState::Status("not connected yet")]);
    machine::spawn(watchdog());
    machine::spawn(async move { packages::recover(&*host).await });
    machine::spawn(keep_certificate(link, credentials, config));
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.run() => {}
    }
    notify(&[NotifyState::Stopping]);
    let unfinished = runner.running();
    tracing::info!(?unfinished, "agent stops; MySQL and Router go on");
    runner.stop();
    Ok(())
}

fn not_enrolled() -> Failure {
    Failure::new("not_enrolled", "this host is not enrolled in a coordinator group")
        .hint(
            "make a token with `clusterctl token create --role db`, then here: clusterctl-agent enroll --token-file -",
        )
        .exit(ExitClass::Denied)
}

fn on(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|e| Failure::new("no_signals", format!("cannot listen for signals: {e}")))
}

/// Says that the event loop turns; half of what systemd waits for.
async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut tick = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        tick.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Without systemd there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
