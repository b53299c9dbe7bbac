//! The lab: bare-metal hosts simulated on one machine, for people (`cargo lab`) and for live tests.
//!
//! A host is a `systemd-nspawn` machine with a real systemd, journald and apt, its own address and its
//! own cgroup. Hosts of a lab see each other over a bridge and nothing else; they install from a local
//! apt repository. Several labs may stand side by side.
//!
//! A live test starts from [`Lab::up`] (bare hosts) or [`Lab::up_installed`] (our packages in them), and
//! then uses [`Lab::exec`], the faults ([`Lab::power_off`], [`Lab::freeze`], [`Lab::partition`], …) and
//! [`wait_for`].
//!
//! Modules, from the ground up: `command` and `error` run tools and say what went wrong; `state` and `home`
//! know what is kept where; `prerequisites`, `mirror` and `base` make what hosts are made from; `cgroup`, `network`,
//! `host`, `supervisor` and `exec` make one host; [`lab`] puts them together; `packages`, `transcript`
//! and `stages` are what `up` and `test` add; `cargo_test`, `simulate` and `mutants` need no lab; [`schedule`] and [`drill`] plan what
//! `tests/drill` carries out; `night` runs all that takes long; [`cli`] is what a person types.

mod args;
mod base;
mod cargo_test;
mod cgroup;
pub mod cli;
mod command;
pub mod drill;
mod error;
mod exec;
mod faults;
mod home;
mod host;
pub mod lab;
mod memory;
mod mirror;
mod mutants;
mod network;
mod night;
mod packages;
mod prerequisites;
pub mod schedule;
mod simulate;
mod stages;
mod state;
mod supervisor;
mod transcript;
mod wait;

pub use error::Hinted;
pub use exec::Output;
pub use host::HostStatus;
pub use lab::{Lab, Options};
pub use network::Direction;
pub use packages::Packages;
pub use state::HostSpec;
pub use wait::wait_for;
