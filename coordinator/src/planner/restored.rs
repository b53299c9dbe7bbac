//! Orders that an agent has received and this coordinator's log does not contain: an old copy of the coordinator's disk was put back.
//!
//! [`foreign`] judges what one agent's ledger holds when its answer arrives; [`lost_log`] and [`refused_host`] say what follows. A
//! generation that a coordinator has signed proves the loss, and the cluster is not led: what was decided since is not known. Without a
//! signature the agent may be wrong or compromised, so only this host is refused. Pure. It must never trust an unsigned generation about
//! more than the host that reports it.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, HostName};
use clusterctl_proto::observe::LedgerFacts;

use super::heal::{Care, Trouble};
use super::world::World;
use crate::model::{Cluster, Model};

/// What the way out is, as commands on the coordinator's host.
pub(crate) const WAY_OUT: &str = "systemctl stop clusterctl-coordinator && clusterctl-coordinator raise-epoch --yes && systemctl start clusterctl-coordinator";

/// The same, as far as it shows what it would do: the program then names the rest.
const LOOK: &str = "systemctl stop clusterctl-coordinator; clusterctl-coordinator raise-epoch";

/// An order that this log does not contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Its generation.
    pub generation: Generation,
    /// A coordinator of this group has signed it.
    pub proven: bool,
}

/// By cluster.
pub type ForeignOrders = BTreeMap<ClusterName, Foreign>;

/// Orders in this ledger that are not of this log. `applied` is the leader's applied index when the answer arrived, `proven` the highest
/// generation of a cluster for which the ledger holds a valid signature.
pub fn foreign(
    ledger: &LedgerFacts,
    model: &Model,
    applied: u64,
    proven: impl Fn(&ClusterName) -> Option<Generation>,
) -> ForeignOrders {
    if !ledger.known {
        return ForeignOrders::new();
    }
    let mut found = ForeignOrders::new();
    let names = ledger.generations.keys().chain(ledger.promises.keys());
    for name in names {
        // A signed generation is that of a plan. So it is compared with the newest plan of the cluster, not with the end of the log, which
        // grows past it by itself.
        let newest = model.clusters.get(name).map_or(applied, newest_plan);
        let floor = |index| Generation {
            epoch: model.epoch,
            index,
        };
        // Signatures are verified only where they would say something.
        let later = ledger.generations.get(name).is_some_and(|seen| *seen > floor(newest));
        let signed = later.then(|| proven(name)).flatten();
        let signed = signed.filter(|generation| *generation > floor(newest));
        let told = ledger.generations.get(name).max(ledger.promises.get(name)).copied();
        // A rebuilt ledger holds an index that the leader has sent it, which need not be a plan's.
        let told = told.filter(|generation| *generation > floor(applied.max(newest)));
        let order = match (signed, told) {
            (Some(generation), _) => Foreign {
                generation,
                proven: true,
            },
            (None, Some(generation)) => Foreign {
                generation,
                proven: false,
            },
            (None, None) => continue,
        };
        found.insert(name.clone(), order);
    }
    found
}

/// Log index that no order of this cluster from this log exceeds.
fn newest_plan(cluster: &Cluster) -> u64 {
    let newest = cluster.last_plan.max(cluster.last_copy);
    newest.map_or(0, |plan| plan.0).max(cluster.created_by.0)
}

/// The host whose agent proves that orders of this cluster are missing in this log, and the newest of them.
pub fn lost_log<'a>(world: &World<'a>, cluster: &ClusterName) -> Option<(&'a HostName, Generation)> {
    let proven = world.sight.iter().filter_map(|(host, seen)| {
        let order = seen.foreign.get(cluster).filter(|order| order.proven)?;
        // The epoch may have been raised since the answer arrived.
        (order.generation.epoch >= world.model.epoch).then_some((host, order.generation))
    });
    proven.max_by_key(|(host, generation)| (*generation, std::cmp::Reverse(*host)))
}

/// An order that the agent of this host reports without proof: it gets no orders, and its answers are not evidence.
pub fn refused_host<'a>(world: &World<'a>, host: &HostName) -> Option<(&'a ClusterName, Generation)> {
    let orders = world.sight.get(host)?.foreign.iter();
    orders
        .filter(|(_, order)| !order.proven)
        .map(|(cluster, order)| (cluster, order.generation))
        .next()
}

/// Why this coordinator does not lead a cluster.
pub fn not_led(world: &World<'_>, cluster: &ClusterName) -> Option<Failure> {
    let (host, generation) = lost_log(world, cluster)?;
    Some(
        Failure::refused(
            "coordinator_disk_old",
            format!("an old copy of this coordinator's disk was put back, so {cluster} is not led: no plan is made and no step is sent"),
        )
        .fact(fact(world, cluster, host, generation))
        .hint(format!(
            "put the newest disk of this coordinator back; if it is lost, on this coordinator's host: {WAY_OUT}"
        )),
    )
}

fn fact(world: &World<'_>, cluster: &ClusterName, host: &HostName, generation: Generation) -> String {
    let newest = Generation {
        epoch: world.model.epoch,
        index: world.model.clusters.get(cluster).map_or(0, newest_plan),
    };
    format!(
        "the agent of {host} holds a signed order for {cluster} of generation {generation}; the newest in this log is {newest}"
    )
}

/// What status and `why` say about the cluster as a whole.
pub(crate) fn cluster_trouble(world: &World<'_>, cluster: &Cluster) -> Option<Trouble> {
    let (host, generation) = lost_log(world, &cluster.name)?;
    let care = Care::blocked(
        format!(
            "{} is not led: what was decided after that copy was made is not known here",
            cluster.name
        ),
        "put the newest disk of this coordinator back; only if it is lost, raise the recovery epoch on this coordinator's host",
        LOOK,
    );
    let wrong = "an old copy of this coordinator's disk was put back";
    Some(
        Trouble::of_cluster("coordinator_disk_old", wrong, care)
            .seen(host, fact(world, &cluster.name, host, generation)),
    )
}

/// Code of a host that is refused.
pub(crate) const LEDGER_AHEAD: &str = "ledger_ahead";

/// What status and `why` say about a host that is refused.
pub(crate) fn host_trouble(world: &World<'_>, host: &HostName) -> Option<Trouble> {
    let (cluster, generation) = refused_host(world, host)?;
    let care = Care::blocked(
        format!(
            "{host} gets no orders and its answers do not count: it cannot prove this order, so its ledger is wrong or not of this coordinator group"
        ),
        format!(
            "if an old copy of this coordinator's disk was put back, put the newest one back, or raise the recovery epoch on the coordinator's host ({WAY_OUT}); else install {host} anew"
        ),
        "",
    );
    let wrong = format!("the agent of {host} reports an order for {cluster} that this coordinator never gave");
    let seen = format!("its ledger holds generation {generation}, without a valid signature");
    Some(Trouble::of(host, LEDGER_AHEAD, wrong, care).seen(host, seen))
}
