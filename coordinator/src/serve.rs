//! `clusterctl-coordinator run`: puts the parts together and ends in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;
use clusterctl_proto::files;
use clusterctl_proto::identity::{Identity, PeerName, request_for_key};
use clusterctl_proto::tls::{Credentials, SharedCredentials};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::api::listener::Listener;
use crate::api::{self, Shared};
use crate::config::{Certificates, Config};
use crate::init::owner::Owner;
use crate::leader::restored::signed_by_coordinators;
use crate::leader::{Leadership, work};
use crate::pki::{Authority, CaFiles, Names, PublicKey};
use crate::raft::Voter;

const IDENTITY: &str = "identity";
const LEADER_WAIT: Duration = Duration::from_secs(30);
const LAST_WORDS: Duration = Duration::from_secs(2);
const RENEWAL_LOOK: Duration = Duration::from_secs(600);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory, if another than the configuration says.
    pub data_dir: Option<PathBuf>,
    /// Configuration directory.
    pub config_dir: PathBuf,
}

/// Runs until SIGTERM (fine) or until raft cannot go on (an error: systemd starts it again).
pub async fn run(options: &Options) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let config = Config::load(&options.config_dir)?;
    let data = options.data_dir.clone().unwrap_or_else(|| config.data_dir.clone());
    let owner = Owner::require(&data)?;
    let authority = Arc::new(Authority::load(&CaFiles::in_data_directory(&data))?);
    let credentials = SharedCredentials::new(Credentials::load(&data.join(IDENTITY))?);
    renew_if_due(&data, &authority, &owner, &credentials, config.certificates)?;
    // The port first: nothing is worth starting without it.
    let listener = Listener::bind(config.listen, &credentials).await?;
    let address = listener.local_address().unwrap_or(config.listen);

    let voter = Voter::start(&data, owner.group, owner.node).await?;
    let led_by = voter.wait_for_leader(LEADER_WAIT).await?;
    if voter.node().leads().is_some() {
        voter.wait_until_current(LEADER_WAIT).await?;
    }
    let proofs = signed_by_coordinators(owner.group.to_string(), credentials.clone());
    let leadership = Leadership::new(voter.node().clone(), proofs);
    let leader = Arc::new(leadership.signing(owner.group.to_string(), credentials.clone()));
    if let Err(failure) = leader.enter().await {
        tracing::info!(
            code = failure.code,
            "this coordinator starts without leading: {failure}"
        );
    }
    let advertised = if config.advertise.is_empty() {
        &owner.addresses
    } else {
        &config.advertise
    };
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared {
        leader: Arc::clone(&leader),
        authority: Arc::clone(&authority),
        lives: config.certificates,
        group: owner.group.to_string(),
        endpoints: api::endpoints(advertised, address.port()),
        stop: stop.clone(),
    });
    let alive = Arc::new(AtomicBool::new(true));
    let turns = Arc::clone(&alive);
    let loop_task = tokio::spawn(work::run(Arc::clone(&leader), stop.clone(), move || {
        turns.store(true, Ordering::Relaxed)
    }));
    let mut server = tokio::spawn(api::serve(shared, listener));
    let renewal = tokio::spawn(renew(
        data,
        authority,
        owner,
        credentials,
        config.certificates,
        stop.clone(),
    ));
    let watchdog = tokio::spawn(watchdog(alive, stop.clone()));
    tracing::info!(%address, leader = led_by, version = env!("CARGO_PKG_VERSION"), "coordinator serves");
    notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status("serves")]);

    let mut served = false;
    let ended = tokio::select! {
        () = signals.told_to_stop() => Ok(()),
        why = voter.failed() => Err(Failure::new("raft_stopped", format!("raft cannot go on: {why}"))),
        ended = &mut server => {
            served = true;
            ended.unwrap_or_else(|error| Err(Failure::new("serve_failed", error.to_string())))
        }
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    stop.cancel();
    leader.end();
    if !served {
        // Streams have ended; calls under way get a moment.
        let _ = tokio::time::timeout(LAST_WORDS, &mut server).await;
        server.abort();
    }
    for task in [loop_task, renewal, watchdog] {
        task.abort();
        let _ = task.await;
    }
    voter.stop().await;
    ended
}

/// SIGTERM and SIGINT, from the moment this is made.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let failed = |error| Failure::new("no_signals", format!("signals cannot be handled: {error}"));
        Ok(Self {
            term: signal(SignalKind::terminate()).map_err(failed)?,
            int: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        tracing::info!("told to stop");
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Tells systemd that this process lives, as long as the leader's loop turns.
async fn watchdog(alive: Arc<AtomicBool>, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut tick = tokio::time::interval(limit / 3);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if alive.swap(false, Ordering::Relaxed) {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

/// Renews this coordinator's own certificate at two thirds of its life, with the same key.
async fn renew(
    data: PathBuf,
    authority: Arc<Authority>,
    owner: Owner,
    credentials: SharedCredentials,
    lives: Certificates,
    stop: CancellationToken,
) {
    loop {
        let pause = credentials.current().facts().renewal_pause(unix_now(), RENEWAL_LOOK);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(failure) = renew_if_due(&data, &authority, &owner, &credentials, lives) {
            tracing::error!(
                code = failure.code,
                "this coordinator's certificate was not renewed: {failure}"
            );
        }
    }
}

fn unix_now() -> i64 {
    i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX)
}

fn renew_if_due(
    data: &Path,
    authority: &Authority,
    owner: &Owner,
    credentials: &SharedCredentials,
    lives: Certificates,
) -> Result<(), Failure> {
    let current = credentials.current();
    if unix_now() < current.facts().renew_at() {
        return Ok(());
    }
    let folder = data.join(IDENTITY);
    let key_pem = files::read_text_limited(&folder.join("key.pem"), 64 * 1024)?;
    let key = PublicKey::from_request(&request_for_key(&key_pem)?)?;
    let peer = PeerName {
        group: owner.group.to_string(),
        identity: Identity::Coordinator(owner.node),
    };
    let names = Names {
        dns: Vec::new(),
        addresses: owner.addresses.clone(),
    };
    let signed = authority.sign_peer(&key, &peer, &names, lives.coordinator())?;
    let renewed = Credentials::from_pem(authority.certificate_pem(), &signed.certificate_pem, &key_pem)?;
    files::write_atomic(&folder.join("cert.pem"), signed.certificate_pem.as_bytes(), 0o644)?;
    credentials.renew(renewed)?;
    tracing::info!(
        expires = signed.facts.expires(),
        "this coordinator's certificate was renewed"
    );
    Ok(())
}
