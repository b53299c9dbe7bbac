//! Steps of the walkthrough, each proven on real servers. A proof that does not hold is an answer, not a failure; only one that
//! could not be tried fails.

mod marker;
mod metadata;
mod router;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Proof, StepData};

use super::{Context, Done};

/// What one proof says.
pub(super) struct Verdict {
    step: u32,
    title: &'static str,
    passed: bool,
    evidence: String,
}

impl Verdict {
    fn new(step: u32, title: &'static str, passed: bool, evidence: impl Into<String>) -> Self {
        Self {
            step,
            title,
            passed,
            evidence: evidence.into(),
        }
    }
}

/// Tries it and answers [`StepData::Proof`]. Nothing is left behind but the marker's schema, which `DropMarker` removes.
pub async fn ensure(proof: &Proof, cx: &Context) -> Result<Done, Failure> {
    let verdict = match proof {
        Proof::Metadata { members } => metadata::prove(members, cx).await?,
        Proof::RouterPorts { ports } => router::ports(ports, cx).await?,
        Proof::RouterPaths {
            ports,
            user,
            secret,
            primary,
            secondaries,
        } => router::paths(ports, user, secret, primary, secondaries, cx).await?,
        Proof::WriteMarker { marker } => marker::write(marker, cx).await?,
        Proof::ReadMarker {
            marker,
            timeout_seconds,
        } => marker::read(marker, *timeout_seconds, cx).await?,
        Proof::ReadMarkerThroughRouter {
            marker,
            ports,
            user,
            secret,
        } => router::read_marker(marker, ports, user, secret, cx).await?,
        Proof::WriteRefused => marker::write_refused(cx).await?,
        Proof::MembersThroughRouter {
            ports,
            user,
            secret,
            members,
        } => router::members(ports, user, secret, *members, cx).await?,
        Proof::DropMarker => return marker::drop(cx).await,
    };
    cx.data(StepData::Proof {
        step: verdict.step,
        title: verdict.title.to_owned(),
        passed: verdict.passed,
        evidence: verdict.evidence,
    });
    Ok(Done::Unchanged)
}
