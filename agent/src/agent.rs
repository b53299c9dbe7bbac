//! The agent, put together: keeper and session over what the caller brings.
//!
//! Made by `run.rs` for the installed program, and by the simulator, many in one process. It opens no file of its own, starts no
//! process and reads no clock but through its parts and `clusterctl_proto`.

use std::net::IpAddr;
use std::sync::Arc;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::machine;
use clusterctl_proto::tls::SharedCredentials;

use crate::config::Config;
use crate::deeds::Deeds;
use crate::host::Host;
use crate::keeper::{self, Keeper};
use crate::ledger::Ledger;
use crate::mysql::Servers;
use crate::observe::Observer;
use crate::session::{Contact, Dial, Runner, Session, Tools};
pub use crate::steps::Signer;

/// What an agent is made of.
pub struct Parts {
    /// Its machine.
    pub host: Arc<dyn Host>,
    /// The way to mysqlds.
    pub servers: Arc<dyn Servers>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The ledger, open.
    pub ledger: Arc<Ledger>,
    /// The host's enrolled name.
    pub name: HostName,
    /// Id of the coordinator group.
    pub group: String,
    /// `/proc/sys/kernel/random/boot_id`: another one after each start of the machine.
    pub boot_id: String,
    /// The address by which the coordinators are reached.
    pub preferred: Option<IpAddr>,
    /// Random id of this process.
    pub instance: String,
    /// The agent's identity.
    pub credentials: SharedCredentials,
    /// `ip:port` of the coordinators.
    pub endpoints: Vec<String>,
    /// The way to them.
    pub dial: Arc<dyn Dial>,
    /// Signs certificates for mysqld.
    pub signer: Arc<dyn Signer>,
    /// Of the random part of delays between dials; none: another one in each process.
    pub jitter: Option<u64>,
    /// Told whenever the state of the connection changes, in one line.
    pub state: Box<dyn Fn(&str) + Send + Sync>,
}

/// The agent.
pub struct Agent {
    parts: Parts,
    deeds: Arc<Deeds>,
    observer: Arc<Observer>,
    runner: Arc<Runner>,
}

impl Agent {
    /// Nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let deeds = Arc::<Deeds>::default();
        let observer = Observer::new(
            (Arc::clone(&parts.host), Arc::clone(&parts.servers)),
            Arc::clone(&parts.config),
            Arc::clone(&parts.ledger),
            Arc::clone(&deeds),
            parts.boot_id.clone(),
            parts.preferred,
            parts.name.clone(),
        );
        let after_steps = Arc::clone(&observer);
        let runner = Runner::new(Tools {
            host: Arc::clone(&parts.host),
            name: parts.name.clone(),
            group: parts.group.clone(),
            servers: Arc::clone(&parts.servers),
            config: Arc::clone(&parts.config),
            ledger: Arc::clone(&parts.ledger),
            credentials: parts.credentials.clone(),
            signer: Arc::clone(&parts.signer),
            standstill: observer.standstill(),
            acted: Box::new(move || after_steps.acted()),
        });
        Self {
            parts,
            deeds,
            observer,
            runner,
        }
    }

    /// Runs its steps: for who asks what runs, or ends them.
    pub fn runner(&self) -> Arc<Runner> {
        Arc::clone(&self.runner)
    }

    /// Runs for ever.
    pub async fn run(self) {
        let parts = self.parts;
        let contact = Contact::new(Arc::clone(&parts.host), &parts.config.state_dir).await;
        let keeper = Keeper {
            tools: keeper::Tools {
                host: parts.host,
                servers: parts.servers,
                config: parts.config,
                ledger: parts.ledger,
                runner: Arc::clone(&self.runner),
            },
            contact: Arc::clone(&contact),
            observer: Arc::clone(&self.observer),
            deeds: self.deeds,
        };
        machine::spawn(keeper.run());
        let session = Session {
            endpoints: parts.endpoints,
            instance: parts.instance,
            dial: parts.dial,
            jitter: parts.jitter,
            runner: self.runner,
            observer: self.observer,
            contact,
            state: parts.state,
        };
        session.run().await;
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
