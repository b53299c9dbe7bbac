//! The coordinator: keeps what operators want in a raft log, decides, sequences, watches.
//!
//! `model`, `planner`, `machine` and `check` hold no async and no IO; `leader`, `raft` and `api` hold no decisions. The
//! program itself is `main.rs`; this library exists so that tests and the simulator run the same code.

pub mod addresses;
pub mod api;
pub mod check;
pub mod config;
pub mod epoch;
pub mod init;
pub mod leader;
pub mod machine;
pub mod model;
pub mod pki;
pub mod planner;
pub mod raft;
pub mod serve;
