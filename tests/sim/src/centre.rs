//! A coordinator: the real leader and its loop on a simulated machine, over the modelled log.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clusterctl_coordinator::leader::restored::signed_by_coordinators;
use clusterctl_coordinator::leader::{Leader, Leadership, stream, work};
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::machine::Machine;
use clusterctl_proto::wire::agent::{FromAgent, ToAgent};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::chance::Chance;
use crate::clock;
use crate::keys;
use crate::names::COORDINATORS;
use crate::raft::Log;

/// Messages that wait for a slow stream; as in the real program.
const OUTBOX: usize = 256;

/// One coordinator.
pub struct Centre {
    /// Its id.
    pub id: u64,
    /// The host that it runs on.
    pub host: String,
    log: Log,
    chance: Chance,
    /// How far its host's wall clock is off, in milliseconds.
    off_ms: AtomicI64,
    running: Mutex<Option<Running>>,
}

struct Running {
    machine: Arc<Machine>,
    leadership: Arc<Leadership>,
    stop: CancellationToken,
    frozen: bool,
}

impl Centre {
    /// It does not run yet.
    pub fn new(id: u64, host: &str, log: Log, chance: Chance) -> Arc<Self> {
        Arc::new(Self {
            id,
            host: host.to_owned(),
            log,
            chance,
            off_ms: AtomicI64::new(0),
            running: Mutex::default(),
        })
    }

    /// `systemctl start`: where it is the only voter it leads at once.
    pub fn start(&self) {
        if self.lock().is_some() {
            return;
        }
        self.log.cut(self.id, false);
        let node = self.log.start(self.id);
        let keys = keys::coordinator(self.id);
        let proofs = signed_by_coordinators(COORDINATORS.to_string(), keys.credentials.clone());
        let chance = self.chance.clone();
        let ids = Arc::new(move || Uuid::from_u64_pair(chance.below(u64::MAX), chance.below(u64::MAX)));
        let leadership = Leadership::new(node, proofs)
            .signing(COORDINATORS.to_string(), keys.credentials)
            .drawing(ids);
        let leadership = Arc::new(leadership);
        let machine = clock::machine(Duration::from_secs(1000), self.off_ms.load(Ordering::Relaxed));
        let stop = CancellationToken::new();
        machine.spawn(work::run(Arc::clone(&leadership), stop.clone(), || {}));
        *self.lock() = Some(Running {
            machine,
            leadership,
            stop,
            frozen: false,
        });
        if self.log.leader().is_none() {
            self.log.elect(self.id, 0);
        }
    }

    /// `kill -9`, or its host loses power.
    pub fn kill(&self) {
        let ended = self.lock().take();
        if let Some(running) = ended {
            running.stop.cancel();
            running.machine.kill();
            self.log.stop(self.id);
        }
    }

    /// Its process or host stands still; its log does, too.
    pub fn freeze(&self, frozen: bool) {
        let mut running = self.lock();
        let Some(running) = running.as_mut().filter(|running| running.frozen != frozen) else {
            return;
        };
        running.frozen = frozen;
        self.log.cut(self.id, frozen);
        if frozen {
            running.machine.freeze();
        } else {
            running.machine.thaw();
        }
    }

    /// Its host's wall clock is set.
    pub fn set_clock(&self, off_ms: i64) {
        let before = self.off_ms.swap(off_ms, Ordering::Relaxed);
        if let Some(running) = self.lock().as_ref() {
            running.machine.set_wall(off_ms - before);
        }
    }

    /// Its wall clock, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        clock::now_ms().saturating_add_signed(self.off_ms.load(Ordering::Relaxed))
    }

    /// The leader of the current term, as this coordinator knows it; none: it does not run, does not lead, or stands still.
    pub fn leader(&self) -> Option<Arc<Leader>> {
        let running = self.lock();
        let running = running.as_ref().filter(|running| !running.frozen)?;
        running.leadership.current().ok()
    }

    /// It runs.
    pub fn runs(&self) -> bool {
        self.lock().is_some()
    }

    /// It runs and stands still.
    pub fn is_frozen(&self) -> bool {
        self.lock().as_ref().is_some_and(|running| running.frozen)
    }

    /// Takes the stream of an agent: what it says comes out of `says`; answers what it is told. None: this process does nothing now.
    pub fn take(
        &self,
        host: &HostName,
        peer: SocketAddr,
        says: mpsc::Receiver<FromAgent>,
    ) -> Option<Result<mpsc::Receiver<ToAgent>, Failure>> {
        let running = self.lock();
        let running = running.as_ref().filter(|running| !running.frozen)?;
        let leader = match running.leadership.current() {
            Ok(leader) => leader,
            Err(failure) => return Some(Err(failure)),
        };
        let facts = keys::agent(host.as_str()).facts;
        let known = leader.node.state().read(|model| {
            model
                .hosts
                .get(host)
                .is_some_and(|host| host.key_sha256 == facts.key_sha256)
        });
        if !known {
            return Some(Err(
                Failure::new("unknown_host", format!("{host} is not enrolled")).exit(ExitClass::Denied)
            ));
        }
        let (outbox, told) = mpsc::channel(OUTBOX);
        let messages = ReceiverStream::new(says).map(Ok::<FromAgent, String>);
        running.machine.spawn(stream::converse(
            leader,
            host.clone(),
            facts,
            peer,
            messages,
            outbox,
            CancellationToken::new(),
        ));
        Some(Ok(told))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
