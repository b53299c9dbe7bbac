//! The simulator: the real coordinator and the real agents on simulated hosts, in virtual time, from a seed.
//!
//! | real | simulated |
//! | --- | --- |
//! | leader, machine, planner, check (crate `clusterctl_coordinator`) | the replicated log ([`raft`]) |
//! | session, book, runner, ledger, keeper, observer, steps (crate `clusterctl_agent`) | files, systemd ([`host`], [`mod@unit`]), the network ([`wire`]) |
//! | every SQL statement and every message between the programs | mysqld with Group Replication ([`mysqld`]) |
//!
//! [`run`] lives one seed: [`founding`] makes the cluster, [`faults`] and [`people`] do what they do, [`client`] writes, [`watch`] holds the
//! truth against the rules, [`story`] tells and counts. Time is tokio's, paused: it goes on when nobody has anything to do. The same
//! seed gives the same run; nothing here may ask the machine that it runs on for time, chance or order.

#[cfg(test)]
mod bites;
pub mod centre;
pub mod chance;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod founding;
pub mod host;
pub mod keys;
pub mod mysqld;
pub mod names;
pub mod people;
pub mod raft;
pub mod run;
#[cfg(test)]
mod scenes;
pub mod servers;
pub mod site;
pub mod story;
pub mod tap;
pub mod unit;
pub mod watch;
pub mod wire;
pub mod world;
