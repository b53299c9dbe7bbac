//! The walkthrough, proven step by step: 9, 12, 14, 15, 18, 19.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{AccountKind, Proof, RouterPorts, Step};

use super::builder::{Builder, listed};
use super::context::Context;
use super::group::{self, Passing};
use super::join;
use super::live::{self, Primary};
use super::world::Planning;
use crate::model::{Cluster, MemberPhase, RouterPhase};

/// Longest wait until a secondary has applied the marker.
const APPLY_SECONDS: u32 = 30;

/// A router to be asked.
struct Asked<'a> {
    host: &'a HostName,
    ports: RouterPorts,
    passing: Passing,
}

/// The plan.
pub(crate) fn plan(context: &Context<'_>) -> Planning {
    let cluster = context.cluster()?;
    if !cluster.formed {
        return Err(join::not_formed(cluster).into());
    }
    let primary = live::need_primary(context, cluster)?;
    let secondaries = secondaries(context, cluster, &primary)?;
    let mut builder = Builder::default();
    let routers = routers(&mut builder, context, cluster, &primary)?;
    proofs(&mut builder, context, cluster, &primary, &secondaries, &routers);
    let work = builder.all();
    let title = format!("drop what was written for the proofs on {}", primary.host);
    builder.finally(
        primary.host,
        Step::Prove {
            proof: Proof::DropMarker,
        },
        title,
        &work,
    );
    for router in &routers {
        group::drop_passing(&mut builder, primary.host, &router.passing, &work);
    }
    Ok(builder.finish(context, format!("{} is verified", cluster.name)))
}

/// Every other member: it must be there to be asked.
fn secondaries<'a>(context: &Context<'_>, cluster: &'a Cluster, primary: &Primary<'_>) -> Planning<Vec<&'a HostName>> {
    let mut secondaries = Vec::new();
    for (host, member) in &cluster.members {
        if host == primary.host || member.phase != MemberPhase::Member {
            continue;
        }
        context.certain(host)?;
        match primary.state(&context.world, host) {
            Some(MemberState::Online) => secondaries.push(host),
            state => {
                let shown = state.map_or("not in the group", live::state);
                let failure = Failure::refused(
                    "member_not_online",
                    format!("nothing is proven while {host} is {shown}"),
                )
                .hint(format!(
                    "see: clusterctl status {}; bring it back: clusterctl join {host}",
                    cluster.name
                ));
                return Err(match state {
                    Some(MemberState::Recovering) => context.not_yet(failure),
                    _ => failure.into(),
                });
            }
        }
    }
    Ok(secondaries)
}

fn routers<'a>(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &'a Cluster,
    primary: &Primary<'_>,
) -> Planning<Vec<Asked<'a>>> {
    let mut routers = Vec::new();
    for (host, intent) in cluster
        .routers
        .iter()
        .filter(|(_, intent)| intent.phase == RouterPhase::Router)
    {
        context.certain(host)?;
        let passing = group::passing(builder, host, primary.host, AccountKind::Verify, &[]);
        routers.push(Asked {
            host,
            ports: intent.ports,
            passing,
        });
    }
    if routers.is_empty() {
        builder.note(
            "there is no router: steps 12, 14 and 19 of the walkthrough are not proven, and 15 not through Router",
        );
    }
    Ok(routers)
}

/// In the order of the walkthrough; what does not need the one before runs beside it.
fn proofs(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    secondaries: &[&HostName],
    routers: &[Asked<'_>],
) {
    let all: Vec<&HostName> = std::iter::once(primary.host)
        .chain(secondaries.iter().copied())
        .collect();
    let members = all.iter().map(|host| live::address(cluster, host)).collect();
    let prove = |builder: &mut Builder, host: &HostName, proof, title: String, after: &[StepNumber]| {
        builder.step(host, Step::Prove { proof }, title, after)
    };
    let title = format!("9: the metadata on {} is complete and tells the truth", primary.host);
    prove(builder, primary.host, Proof::Metadata { members }, title, &[]);
    for router in routers {
        let title = format!("12: the ports of Router on {} are open", router.host);
        prove(
            builder,
            router.host,
            Proof::RouterPorts { ports: router.ports },
            title,
            &[],
        );
    }
    for router in routers {
        let proof = Proof::RouterPaths {
            ports: router.ports,
            user: router.passing.user.clone(),
            secret: router.passing.secret.clone(),
            primary: primary.host.clone(),
            secondaries: secondaries.iter().map(|host| (*host).clone()).collect(),
        };
        let title = format!("14: each port of Router on {} leads where it should", router.host);
        prove(builder, router.host, proof, title, &[router.passing.made]);
    }
    let marker = format!("verify-{}-{}", context.op.id, context.world.now);
    let title = format!("15: a marker is written on {}", primary.host);
    let written = prove(
        builder,
        primary.host,
        Proof::WriteMarker { marker: marker.clone() },
        title,
        &[],
    );
    let mut read = Vec::new();
    for host in secondaries {
        let proof = Proof::ReadMarker {
            marker: marker.clone(),
            timeout_seconds: APPLY_SECONDS,
        };
        let title = format!("15: the marker is read on {host}");
        read.push((*host, prove(builder, host, proof, title, &[written])));
    }
    for router in routers {
        let proof = Proof::ReadMarkerThroughRouter {
            marker: marker.clone(),
            ports: router.ports,
            user: router.passing.user.clone(),
            secret: router.passing.secret.clone(),
        };
        let title = format!(
            "15: the marker is read through port {} of {}",
            router.ports.read_only, router.host
        );
        prove(builder, router.host, proof, title, &[written, router.passing.made]);
    }
    // It tries to write to the marker's table, which must have come there.
    for (host, read) in read {
        prove(
            builder,
            host,
            Proof::WriteRefused,
            format!("18: {host} refuses writes"),
            &[read],
        );
    }
    if secondaries.is_empty() {
        builder.note("there is no secondary: that one has the marker (15) and refuses writes (18) is not proven");
    }
    for router in routers {
        let proof = Proof::MembersThroughRouter {
            ports: router.ports,
            user: router.passing.user.clone(),
            secret: router.passing.secret.clone(),
            members: u32::try_from(all.len()).unwrap_or(u32::MAX),
        };
        let title = format!(
            "19: {} are ONLINE as seen through Router on {}",
            listed(&all),
            router.host
        );
        prove(builder, router.host, proof, title, &[router.passing.made]);
    }
}
