//! The agent of one host: makes this machine what the coordinator planned, and tells what it is.
//!
//! Runs as root under systemd. It listens on no port; it dials a coordinator and keeps one stream open. Stopping it stops
//! neither mysqld nor Router.
//!
//! `main.rs` is its command line, [`run`] the program, [`agent`] the agent itself, without files, signals and systemd. Everything
//! outside is reached through [`host::Host`], [`mysql::Servers`], [`session::Dial`] and [`ledger::Disk`]: the simulator runs many agents in
//! one process, and brings its own.

pub mod agent;
pub mod config;
mod debts;
mod deeds;
pub mod enroll;
pub mod hand_over;
pub mod host;
mod keeper;
pub mod ledger;
mod lineage;
mod membership;
pub mod mysql;
mod observe;
pub mod run;
pub mod session;
pub mod status;
mod steps;
