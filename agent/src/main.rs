//! The agent of one host.

mod config;
mod host;
mod ledger;
mod steps;

fn main() {}
