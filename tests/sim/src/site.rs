//! One member's host: its power, its mysqld, its agent's process, and what its disk keeps.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clusterctl_agent::agent::{Agent, Parts, Signer};
use clusterctl_agent::config::Config;
use clusterctl_agent::ledger::{Disk, Ledger, Lock, Unread};
use clusterctl_agent::session::{Dial, Said};
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::machine::Machine;
use clusterctl_proto::wire::agent::FromAgent;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::centre::Centre;
use crate::chance::Chance;
use crate::clock;
use crate::disk::Files;
use crate::host::SimHost;
use crate::keys;
use crate::mysqld::{Net, Server};
use crate::names::{COORDINATORS, host};
use crate::servers::FromHost;
use crate::unit::MysqlUnit;
use crate::wire::{BUFFER, Direction, Tap};

/// Who the data belong to.
const MARKER: &str = "/var/lib/mysql/clusterctl.json";
const LEDGER: &str = "/var/lib/clusterctl/ledger.json";
/// As the release before wrote it: this server entered the group of prod by an order, and lineages were not recorded.
const OF_BEFORE: &str =
    r#"{"format":1,"clusters":{"prod":{"generation":{"epoch":1,"index":7},"entered":{"epoch":1,"index":7}}}}"#;
/// What a dial needs at least: TCP, TLS, HTTP.
const HANDSHAKE: (u64, u64) = (3, 12);
/// A coordinator that does not answer is given up.
const DIAL: Duration = Duration::from_secs(5);

/// What all sites share.
pub struct Common {
    /// Links.
    pub net: Arc<Net>,
    /// Servers, by their hosts.
    pub servers: Arc<BTreeMap<String, Arc<Server>>>,
    /// Coordinators.
    pub centres: Vec<Arc<Centre>>,
    /// Random numbers.
    pub chance: Chance,
    /// Sees every message.
    pub tap: Arc<dyn Tap>,
    /// The next port that a dial comes from.
    pub ports: AtomicU16,
}

/// The host.
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its mysqld.
    pub server: Arc<Server>,
    /// The unit of its mysqld.
    pub unit: Arc<MysqlUnit>,
    /// Its files.
    pub files: Arc<Files>,
    common: Arc<Common>,
    boots: AtomicU64,
    agents: AtomicU64,
    /// How far its wall clock is off, in milliseconds.
    off_ms: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when it has power; none: it has none.
    on: Option<Instant>,
    agent: Option<Arc<Machine>>,
    agent_frozen: bool,
}

impl Site {
    /// It has power; its agent does not run yet.
    pub fn new(name: &str, server: Arc<Server>, common: Arc<Common>) -> Arc<Self> {
        let site = Self {
            name: name.to_owned(),
            unit: MysqlUnit::new(Arc::clone(&server), common.chance.clone()),
            server,
            files: Arc::default(),
            common,
            boots: AtomicU64::new(1),
            agents: AtomicU64::new(0),
            off_ms: AtomicI64::new(0),
            state: Mutex::new(State {
                on: Some(Instant::now()),
                ..State::default()
            }),
        };
        let marker = format!(r#"{{"format":1,"cluster":"prod","group":"{COORDINATORS}"}}"#);
        site.files.write(Path::new("/var/lib/mysql/auto.cnf"), b"");
        site.files.write(Path::new(MARKER), marker.as_bytes());
        site.files.write(Path::new("/etc/machine-id"), name.as_bytes());
        site.files.write(Path::new(LEDGER), OF_BEFORE.as_bytes());
        Arc::new(site)
    }

    fn ledger_disk(&self) -> Box<dyn Disk> {
        Box::new(LedgerFile {
            files: Arc::clone(&self.files),
        })
    }

    /// Starts the agent, unless it runs or the host has no power.
    pub fn start_agent(&self) {
        let mut state = self.lock();
        let Some(on) = state.on else { return };
        if state.agent.is_some() {
            return;
        }
        let machine = clock::machine(on.elapsed(), self.off_ms.load(Ordering::Relaxed));
        let boot_id = format!("{}-boot-{}", self.name, self.boots.load(Ordering::Relaxed));
        let started = self.agents.fetch_add(1, Ordering::Relaxed) + 1;
        let ledger = Arc::new(Ledger::over(self.ledger_disk()));
        let common = &self.common;
        let agent = Agent::new(Parts {
            host: Arc::new(SimHost {
                files: Arc::clone(&self.files),
                unit: Arc::clone(&self.unit),
                machine: Arc::clone(&machine),
                boot_id: boot_id.clone(),
                name: self.name.clone(),
            }),
            servers: Arc::new(FromHost {
                servers: Arc::clone(&common.servers),
                host: self.name.clone(),
            }),
            config: Arc::new(Config::default()),
            ledger,
            name: host(&self.name),
            group: COORDINATORS.to_string(),
            boot_id,
            preferred: None,
            instance: format!("{}-agent-{started}", self.name),
            credentials: keys::agent(&self.name).credentials,
            endpoints: common
                .centres
                .iter()
                .map(|centre| format!("{}:7443", centre.id))
                .collect(),
            dial: Arc::new(Way {
                host: self.name.clone(),
                common: Arc::clone(common),
            }),
            signer: Arc::new(NobodySigns),
            jitter: Some(common.chance.below(u64::MAX)),
            state: Box::new(|_| {}),
        });
        machine.spawn(agent.run());
        state.agent = Some(machine);
        state.agent_frozen = false;
    }

    /// `kill -9` of the agent.
    pub fn kill_agent(&self) {
        let mut state = self.lock();
        state.agent_frozen = false;
        if let Some(machine) = state.agent.take() {
            machine.kill();
        }
    }

    /// SIGSTOP and SIGCONT of the agent.
    pub fn freeze_agent(&self, frozen: bool) {
        let mut state = self.lock();
        state.agent_frozen = frozen;
        if let Some(machine) = &state.agent {
            if frozen {
                machine.freeze();
            } else {
                machine.thaw();
            }
        }
    }

    /// The plug is pulled.
    pub fn power_off(&self) {
        self.kill_agent();
        self.lock().on = None;
        self.server.power(false);
        for centre in self.centres_here() {
            centre.kill();
        }
    }

    /// Power comes back: mysqld, the agent and a coordinator here start by themselves.
    pub fn power_on(&self) {
        if self.is_on() {
            return;
        }
        self.boots.fetch_add(1, Ordering::Relaxed);
        self.lock().on = Some(Instant::now());
        self.server.power(true);
        self.unit.boot();
        self.start_agent();
        for centre in self.centres_here() {
            centre.start();
        }
    }

    /// The whole host stands still, or goes on.
    pub fn freeze(&self, frozen: bool) {
        if frozen {
            self.server.freeze();
        } else {
            self.server.thaw();
        }
        self.freeze_agent(frozen);
        for centre in self.centres_here() {
            centre.freeze(frozen);
        }
    }

    /// Its wall clock is set: every program on it reads the new one at once.
    pub fn set_clock(&self, off_ms: i64) {
        let before = self.off_ms.swap(off_ms, Ordering::Relaxed);
        self.server.set_clock(off_ms);
        if let Some(machine) = &self.lock().agent {
            machine.set_wall(off_ms - before);
        }
        for centre in self.centres_here() {
            centre.set_clock(off_ms);
        }
    }

    /// While it has no power, its data directory is emptied and made anew, as after a new disk: another `server_uuid`.
    pub fn lose_data(&self, server_uuid: &str) {
        self.server.lose_data(server_uuid);
        self.files.remove(Path::new(MARKER));
    }

    /// It has power.
    pub fn is_on(&self) -> bool {
        self.lock().on.is_some()
    }

    /// Its agent runs and does not stand still.
    pub fn agent_works(&self) -> bool {
        let state = self.lock();
        state.agent.is_some() && !state.agent_frozen
    }

    /// The agent's ledger file is gone; the agent is stopped.
    pub fn lose_ledger(&self) {
        self.kill_agent();
        self.files.remove(Path::new(LEDGER));
    }

    fn centres_here(&self) -> impl Iterator<Item = &Arc<Centre>> {
        self.common.centres.iter().filter(|centre| centre.host == self.name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's way to the coordinators.
struct Way {
    host: String,
    common: Arc<Common>,
}

impl Dial for Way {
    fn dial<'a>(
        &'a self,
        endpoints: &'a [String],
        mut says: mpsc::Receiver<FromAgent>,
    ) -> BoxFuture<'a, Result<Said, Failure>> {
        Box::pin(async move {
            let mut last = unreachable("no coordinator answers");
            for endpoint in endpoints {
                let id = endpoint.split(':').next().unwrap_or_default();
                let Some(centre) = self.common.centres.iter().find(|centre| centre.id.to_string() == id) else {
                    continue;
                };
                let chance = &self.common.chance;
                tokio::time::sleep(chance.ms(HANDSHAKE.0, HANDSHAKE.1)).await;
                let net = &self.common.net;
                if !net.reaches(&self.host, &centre.host)
                    || !net.reaches(&centre.host, &self.host)
                    || centre.is_frozen()
                {
                    tokio::time::sleep(DIAL).await;
                    continue;
                }
                let (to_centre, at_centre) = mpsc::channel(BUFFER);
                let peer = SocketAddr::from((
                    Ipv4Addr::new(10, 0, 0, 1),
                    self.common.ports.fetch_add(1, Ordering::Relaxed),
                ));
                let told = match centre.take(&host(&self.host), peer, at_centre) {
                    Some(Ok(told)) => told,
                    Some(Err(failure)) => {
                        last = failure;
                        continue;
                    }
                    None => continue,
                };
                let (to_agent, at_agent) = mpsc::channel(BUFFER);
                let ended = CancellationToken::new();
                let way = |from: &str, to: &str| Direction {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    net: Arc::clone(net),
                    chance: chance.clone(),
                    ended: ended.clone(),
                };
                let (there, back) = (way(&self.host, &centre.host), way(&centre.host, &self.host));
                let (tap, name) = (Arc::clone(&self.common.tap), self.host.clone());
                let (also, same) = (Arc::clone(&tap), name.clone());
                let empty = mpsc::channel(1).1;
                let says = std::mem::replace(&mut says, empty);
                tokio::spawn(async move {
                    there
                        .carry(says, to_centre, |message| tap.said_by_agent(&name, message))
                        .await
                });
                tokio::spawn(async move {
                    back.carry(told, to_agent, |message| also.told_to_agent(&same, message))
                        .await
                });
                let said: Said = Box::pin(ReceiverStream::new(at_agent).map(Ok));
                return Ok(said);
            }
            Err(last)
        })
    }

    fn hung_up(&self) {}
}

fn unreachable(why: &str) -> Failure {
    Failure::new("coordinator_unreachable", why)
        .exit(ExitClass::Unreachable)
        .transient()
}

/// No step of healing asks for a certificate.
struct NobodySigns;

impl Signer for NobodySigns {
    fn sign_server<'a>(&'a self, _csr_der: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async { Err(unreachable("nothing is signed in a simulation")) })
    }
}

/// The ledger's place among the files.
#[derive(Clone)]
struct LedgerFile {
    files: Arc<Files>,
}

impl std::fmt::Debug for LedgerFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(LEDGER)
    }
}

impl Disk for LedgerFile {
    fn read(&self) -> Result<Vec<u8>, Unread> {
        self.files.read(Path::new(LEDGER)).ok_or(Unread::Gone)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.files.write(Path::new(LEDGER), bytes);
        Ok(())
    }

    fn set_aside(&self) {
        let from = PathBuf::from(LEDGER);
        self.files.rename(&from, &from.with_extension("json.lost"));
    }

    fn lock(&self) -> Result<Lock, Failure> {
        Ok(Box::new(()) as Box<dyn Any + Send + Sync>)
    }

    fn place(&self) -> String {
        LEDGER.to_owned()
    }
}
