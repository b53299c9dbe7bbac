//! What an order carries so that nobody takes it for another: the digest of its step and the signature of its generation.
//!
//! Used where orders are sent and where agents answer for them. Nothing here is stored: the digest is computed again from the plan.

use clusterctl_proto::order_proof::{self, Digest, OrderProof};
use clusterctl_proto::tls::SharedCredentials;
use clusterctl_proto::wire::agent::{OrderSignature, Outcome};

use super::Leader;
use crate::model::{Plan, PlannedStep};

/// Who signs.
pub(super) struct Signer {
    group: String,
    credentials: SharedCredentials,
}

impl Leader {
    /// From now on orders are signed by this coordinator of this group. Called once, before the leader works.
    pub fn sign_orders(&self, group: String, credentials: SharedCredentials) {
        let _ = self.signer.set(Signer { group, credentials });
    }

    /// The signature of the plan's generation; `None` when nobody signs, or the key cannot.
    pub(super) fn signature(&self, plan: &Plan) -> Option<OrderSignature> {
        let signer = self.signer.get()?;
        let credentials = signer.credentials.current();
        let proof = OrderProof::sign(&credentials, &signer.group, &plan.draft.cluster, plan.generation);
        match proof.and_then(|proof| proof.to_wire()) {
            Ok(signature) => Some(signature),
            Err(failure) => {
                tracing::error!(plan = %plan.id, facts = ?failure.facts, "an order is sent without a signature: {failure}");
                None
            }
        }
    }
}

/// The digest of the order of this step, as its agent computes it; `None` when the step cannot be written as JSON, so that it is never sent.
pub fn digest(plan: &Plan, step: &PlannedStep) -> Option<Digest> {
    let json = serde_json::to_vec(&step.step).ok()?;
    let cluster = plan.draft.cluster.as_str();
    Some(order_proof::digest(
        cluster,
        plan.generation,
        plan.id.0,
        step.number,
        &json,
    ))
}

/// What an agent's message says of the order that it is about, besides plan and step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim<'a> {
    /// Epoch of its generation; 0 from an older agent.
    pub epoch: u64,
    /// Its cluster; empty from an older agent.
    pub cluster: &'a str,
    /// Its digest; empty from an older agent.
    pub digest: &'a [u8],
}

impl<'a> From<&'a Outcome> for Claim<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        Self {
            epoch: outcome.epoch,
            cluster: &outcome.cluster,
            digest: &outcome.digest,
        }
    }
}

impl Claim<'_> {
    /// Whether the message is about the order of this step, not of one that had its number in another history of the log or was written
    /// by another version. An agent of the version before this claim is believed by plan and step.
    pub fn is_of(&self, plan: &Plan, step: &PlannedStep) -> bool {
        let epoch = self.epoch == 0 || self.epoch == plan.generation.epoch;
        let cluster = self.cluster.is_empty() || self.cluster == plan.draft.cluster.as_str();
        let same = || digest(plan, step).is_some_and(|digest| digest == self.digest);
        epoch && cluster && (self.digest.is_empty() || same())
    }
}
