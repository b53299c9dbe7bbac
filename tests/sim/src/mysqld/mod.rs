//! A simulated mysqld with Group Replication that behaves as measured (docs/lineages.md, docs/mysql-facts.md).
//!
//! [`Net`] holds all servers and the links between hosts; [`Server`] is one mysqld with its host's power and its disk; [`Session`] is a
//! connection, which speaks the statements of the agent and of people. The invariants of a simulation read the truth from
//! [`Server`], never from a session. A statement that no handler knows is error 1105 and is counted ([`Net::unknown`]).
//!
//! Group communication is one ordered log for each bootstrap (`group`), to which a majority of members that run and hear each other can
//! append; no message of Paxos is simulated. All state lies behind one lock, which is never held across an await.

mod agree;
mod applier;
mod clone;
mod commit;
pub mod conformance;
mod data;
mod deliver;
mod detect;
mod disk;
mod expr;
mod force;
mod formed;
mod group;
mod join;
mod leave;
mod member;
mod net;
mod numbers;
mod process;
mod recovery;
mod rng;
mod seen;
mod server;
mod session;
mod setup;
mod start;
mod statements;
mod switchover;
#[cfg(test)]
mod tests;
mod truth;
mod variables;
mod world;

pub use data::Account;
pub use formed::{Formed, Made};
pub use net::Net;
pub use process::{Exit, Who};
pub use server::Server;
pub use session::{Answer, Session, SqlError};
pub use truth::{Lineage, Row};
