//! Two machines with the identity of one host: a copied VM beside its original. An alarm, before all else about that host.

use clusterctl_proto::ids::HostName;

use super::trouble::{Care, Trouble};
use crate::planner::world::{Doubt, World};

/// Code of a host under whose identity two machines speak.
pub(crate) const TWO_MACHINES: &str = "two_machines";

pub(super) fn trouble(world: &World<'_>, host: &HostName) -> Option<Trouble> {
    let Some(Doubt::Twins(speakers)) = &world.sight.get(host)?.doubt else {
        return None;
    };
    let care = Care::blocked(
        "nothing is ordered there, and what either says proves nothing, until only one of them answers",
        "switch the copy off, or stop its agent there (systemctl disable --now clusterctl-agent); if the copy cannot be reached, \
             give the right machine a new key: enrol it with this token and clusterctl-agent enroll --force --token-file -",
        format!("clusterctl token create --host {host} --replace"),
    );
    let trouble = Trouble::of(host, TWO_MACHINES, wrong(host, speakers), care);
    Some(speakers.iter().fold(trouble, |trouble, speaker| {
        trouble.seen(host, format!("one that speaks: {speaker}"))
    }))
}

/// `two machines speak as node1 (boot 1f0c3a52 at 192.0.2.7:51544; boot …)`.
pub(crate) fn wrong(host: &HostName, speakers: &[String]) -> String {
    format!("ALARM: two machines speak as {host} ({})", speakers.join("; "))
}
