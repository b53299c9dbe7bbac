//! Live tests: on real hosts of a lab, run by `cargo lab test`.
//!
//! Without `CLUSTERCTL_LIVE=1` they do nothing, so that `cargo test --workspace` needs neither root nor a
//! network. They run one after another and share the lab that [`shared`] makes.

use std::sync::OnceLock;

use clusterctl_lab::Lab;

mod cluster;
mod heal;
mod lab;
#[path = "../load/mod.rs"]
mod load;

/// The lab all live tests share, made by the first that asks; `None` when live tests are not wanted.
pub fn shared() -> Option<&'static Lab> {
    static LAB: OnceLock<Lab> = OnceLock::new();
    if std::env::var("CLUSTERCTL_LIVE").is_ok_and(|value| value == "1") {
        Some(LAB.get_or_init(|| Lab::up(&name(), &["node1", "node2", "node3", "router1"]).expect("the lab stands")))
    } else {
        eprintln!("skipped: a live test; `cargo lab test` runs it");
        None
    }
}

/// The name of the tests' own lab.
pub fn name() -> String {
    std::env::var("CLUSTERCTL_LAB_NAME").unwrap_or_else(|_| "test".to_owned())
}
