//! An order as it was received: what identifies it, how fresh it is, and which steps must be fresh.
//!
//! Used by `runner.rs`. Nothing here waits.

use std::collections::BTreeMap;
use std::time::Duration;

use clusterctl_proto::clock::BootInstant;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, Generation, InvalidName, PlanId, StepNumber};
use clusterctl_proto::order_proof::{self, Digest, OrderProof};
use clusterctl_proto::step::Step;
use clusterctl_proto::wire::agent::{CancelStep, RunStep};
use tokio_util::sync::CancellationToken;

/// A step that starts Group Replication or replaces data is begun within this time after its order was received, or not at all. Also: a
/// stream on which nothing came for so long is ended before the next message of it is obeyed, which may have waited as long.
pub const FRESH: Duration = Duration::from_secs(5);

/// Numbers the streams of this process; 0: no stream.
pub type StreamId = u64;

/// A step of a plan of one coordinator group's history. Two plans have the same place when a coordinator was restored from an old copy
/// of its disk and numbers its log again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterName,
    /// Recovery epoch of the coordinator group.
    pub epoch: u64,
    /// The plan.
    pub plan: PlanId,
    /// Its step.
    pub step: StepNumber,
}

/// One order. Only an order with the same key may be answered with what is known of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub digest: Digest,
    /// Digest of the secrets that came with it: a password that was made again makes it another order. It does not travel.
    pub secrets: Digest,
}

/// How an order reached this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// On which stream.
    pub stream: StreamId,
    /// When.
    pub at: BootInstant,
}

/// An order that has been read.
pub struct Order {
    /// Its generation.
    pub generation: Generation,
    /// The coordinator's signature of it, not verified yet.
    pub proof: Option<OrderProof>,
    /// What is to be done.
    pub step: Step,
    /// By name.
    pub secrets: BTreeMap<String, String>,
    /// How it came; newer if it came again.
    pub received: Received,
    /// Cancels it.
    pub cancel: CancellationToken,
}

/// Reads an order. It fails with `bad_order` when the coordinator speaks a newer language.
pub fn read(run: RunStep, received: Received) -> Result<(Key, Order), Failure> {
    let bad = |what: &str, error: String| {
        Failure::new("bad_order", format!("the order's {what} cannot be read"))
            .fact(error)
            .hint("upgrade clusterctl-agent on this host to the coordinator's version")
    };
    let digest = order_proof::digest_of(&run);
    let cluster = run
        .cluster
        .parse()
        .map_err(|error: InvalidName| bad("cluster", error.to_string()))?;
    let step = serde_json::from_slice(&run.step_json).map_err(|error| bad("step", error.to_string()))?;
    let secrets: BTreeMap<String, String> = run.secrets.into_iter().collect();
    let key = Key {
        place: Place {
            cluster,
            epoch: run.epoch,
            plan: PlanId(run.plan),
            step: run.step,
        },
        digest,
        secrets: order_proof::digest_of_secrets(&secrets),
    };
    let order = Order {
        generation: Generation {
            epoch: run.epoch,
            index: run.index,
        },
        proof: run.signature.as_ref().map(OrderProof::from_wire),
        step,
        secrets,
        received,
        cancel: CancellationToken::new(),
    };
    Ok((key, order))
}

/// What a cancel is about.
#[derive(Clone, Debug)]
pub struct Cancel {
    plan: PlanId,
    step: StepNumber,
    /// None from an older coordinator: any cluster and epoch.
    place: Option<Place>,
    digest: Option<Digest>,
}

impl Cancel {
    /// Reads a cancel.
    pub fn read(cancel: &CancelStep) -> Self {
        let (plan, step) = (PlanId(cancel.plan), cancel.step);
        let place = cancel
            .cluster
            .parse()
            .ok()
            .filter(|_| cancel.epoch != 0)
            .map(|cluster| Place {
                cluster,
                epoch: cancel.epoch,
                plan,
                step,
            });
        Self {
            plan,
            step,
            place,
            digest: cancel.digest.as_slice().try_into().ok(),
        }
    }

    /// Where the step stands; none: an older coordinator does not say it.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The order that is cancelled is this one, or stands at its place. What stands there is cancelled whatever it says: a coordinator of
    /// another version may write the same step in other words.
    pub fn is_at(&self, key: &Key) -> bool {
        match &self.place {
            Some(place) => key.place == *place,
            None => key.place.plan == self.plan && key.place.step == self.step,
        }
    }

    /// The order that is cancelled is this very one.
    pub fn is_of(&self, key: &Key) -> bool {
        self.is_at(key) && self.digest.is_none_or(|digest| digest == key.digest)
    }
}

/// Steps that start Group Replication, or replace this server's data: what they rest on must be of now.
pub fn must_be_fresh(step: &Step) -> bool {
    match step {
        Step::BootstrapGroup { .. } | Step::JoinGroup { .. } | Step::CloneData { .. } => true,
        Step::HostsFile { .. }
        | Step::MachineId { .. }
        | Step::Packages { .. }
        | Step::ServerCertificate { .. }
        | Step::Server { .. }
        | Step::Promise {}
        | Step::LocalMemberAccounts { .. }
        | Step::MemberAccounts { .. }
        | Step::Metadata { .. }
        | Step::MetadataInstance { .. }
        | Step::Persist { .. }
        | Step::SetPrimary { .. }
        | Step::StartServer {}
        | Step::ForgetInstance { .. }
        | Step::LeaveGroup { .. }
        | Step::MakeSecret { .. }
        | Step::DropSecret { .. }
        | Step::Account { .. }
        | Step::DropAccount { .. }
        | Step::RouterHost { .. }
        | Step::RouterBootstrap { .. }
        | Step::RouterRunning { .. }
        | Step::RouterGone { .. }
        | Step::ForgetRouter { .. }
        | Step::Prove { .. } => false,
    }
}

/// Whether the step may still be begun, at this moment, while this stream stands.
pub fn check_fresh(order: &Order, stream: StreamId, now: BootInstant) -> Result<(), Failure> {
    if !must_be_fresh(&order.step) {
        return Ok(());
    }
    let age = now.since(order.received.at);
    let why = if order.received.stream != stream || stream == 0 {
        "the connection on which it came is gone".to_owned()
    } else if age > FRESH {
        format!(
            "it was received {:.1} s ago, more than {} s",
            age.as_secs_f64(),
            FRESH.as_secs()
        )
    } else {
        return Ok(());
    };
    Err(Failure::new(
        "order_outdated",
        "the order was not begun: it is too old to start Group Replication by",
    )
    .fact(why)
    .hint("nothing is to be done: the coordinator looks again and plans anew")
    .exit(ExitClass::Conflict)
    .transient())
}
