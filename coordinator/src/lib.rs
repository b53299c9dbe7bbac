//! The coordinator: keeps what operators want in a raft log, decides, sequences, watches.
//!
//! `model`, `planner`, `machine` and `check` hold no async and no IO; `leader`, `raft` and `api` hold no decisions. The
//! program itself is `main.rs`; this library exists so that tests and the simulator run the same code.

pub mod check;
pub mod machine;
pub mod model;
pub mod planner;
pub mod raft;
