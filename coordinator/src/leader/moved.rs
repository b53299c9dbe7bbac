//! Follows a host whose address has changed: the model learns where its agent is now.
//!
//! Called by the loop on each tick. Only addresses that the agent itself tells on the stream that stands count, only when the one
//! that was known is gone, and never one that another host has: that would be a copied image or a mistake, which is
//! for an operator to judge.

use std::net::IpAddr;

use clusterctl_proto::ids::HostName;

use super::Leader;
use crate::machine::Change;
use crate::model::{Host, Model};

impl Leader {
    /// Changes to propose.
    pub(super) fn moved(&self) -> Vec<Change> {
        self.node.state().read(|model| {
            let (sessions, seen) = (self.sessions(), self.seen());
            let now = |host: &HostName| seen.addresses(host, sessions.current(host)?);
            model
                .hosts
                .values()
                .filter_map(|host| followed(model, host, now(&host.name)?))
                .map(|host| Change::RenewHost { host })
                .collect()
        })
    }
}

/// The host as it is now, if it has moved and may be followed.
fn followed(model: &Model, host: &Host, now: &[IpAddr]) -> Option<Host> {
    let (was, is) = (host.addresses.first()?, now.first()?);
    if now.contains(was) {
        return None;
    }
    let taken = |other: &Host| other.name != host.name && other.addresses.contains(is);
    if model.hosts.values().any(taken) {
        return None;
    }
    Some(Host {
        addresses: now.to_vec(),
        ..host.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("address")).collect()
    }

    #[test]
    fn a_changed_address_is_followed_unless_another_host_has_it() {
        let mut model = Model::new(Uuid::nil());
        for (name, at) in [("node1", "10.0.0.1"), ("node2", "10.0.0.2")] {
            let name: HostName = name.parse().expect("name");
            let host = Host {
                name: name.clone(),
                roles: BTreeSet::new(),
                addresses: addresses(&[at]),
                enrolled_at: 0,
                key_sha256: String::new(),
                certificate_expires: 0,
            };
            model.hosts.insert(name, host);
        }
        let host = model.hosts.values().next().expect("node1").clone();
        let at = |now: &[&str]| followed(&model, &host, &addresses(now)).map(|host| host.addresses);
        assert_eq!(
            at(&["10.0.0.9", "10.1.0.9"]),
            Some(addresses(&["10.0.0.9", "10.1.0.9"]))
        );
        assert_eq!(at(&["10.1.0.1", "10.0.0.1"]), None, "the known one is still there");
        assert_eq!(at(&["10.0.0.2"]), None, "that one is node2's");
        assert_eq!(at(&[]), None, "nothing is known");
    }
}
