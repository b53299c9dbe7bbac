//! A client that writes through Router without pause, and the proof that nothing it was told is lost or there twice.
//!
//! Shared, by `#[path]`, by live tests and the benchmark of healing. [`Writer`] runs on a thread of this process, outside all hosts,
//! and logs what was acknowledged; [`Log::prove`] asks every member afterwards. It must never do what an application would not: it
//! knows Router's port and a password, and nothing of members, faults or the group.

#![allow(
    dead_code,
    unused_imports,
    reason = "the benchmark uses less of it, and has no unit tests"
)]

mod client;
mod gaps;
mod journal;
mod proof;
mod writer;

pub use journal::{Log, Moment};
pub use writer::Writer;
