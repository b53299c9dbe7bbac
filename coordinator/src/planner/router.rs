//! Routers: added, removed.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, HostRole, StepNumber};
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::{AccountKind, Step};

use super::builder::Builder;
use super::context::Context;
use super::group::{self, Passing};
use super::live::{self, Primary};
use super::prepare::{self, Prepared, Purpose};
use super::world::{Planning, Stop};
use super::{preflight, world};
use crate::model::{Cluster, PlanDraft, RouterIntent, RouterPhase};

/// One more router.
pub(crate) fn add(context: &Context<'_>, host: &HostName, ignore: &[String]) -> Planning {
    let cluster = context.cluster()?;
    context.host_with_role(host, HostRole::Router)?;
    if !cluster.formed {
        return Err(super::join::not_formed(cluster).into());
    }
    let Some(intent) = cluster.routers.get(host) else {
        return Err(Failure::new("no_intent", format!("{host} is not to be a router of {}", cluster.name)).into());
    };
    let seen = context.certain(host)?;
    let primary = live::need_primary(context, cluster)?;
    if intent.phase == RouterPhase::Router && serves(seen, cluster) && registered(&primary, host) {
        return Err(Stop::Already(format!("{host} is a router of {} already", cluster.name)));
    }
    preflight::demand(context, cluster, &[host], ignore)?;
    let mut builder = Builder::default();
    let elsewhere = prepare::names_elsewhere(&mut builder, context, cluster, host, &[]);
    let prepared = prepare::base(
        &mut builder,
        context,
        cluster,
        host,
        Purpose {
            member: false,
            router: true,
        },
    )?;
    let (passing, mut after) = account(&mut builder, context, cluster, host, primary.host, Some(&primary), &[]);
    after.extend(ready(&mut builder, cluster, host, &prepared));
    after.extend(elsewhere);
    let done = bootstrap(&mut builder, cluster, (host, intent), primary.host, &passing, &after);
    let proof = prove(&mut builder, cluster, (host, intent), &passing, &[done]);
    group::drop_passing(&mut builder, primary.host, &passing, &[proof]);
    let ports = intent.ports;
    Ok(builder.finish(
        context,
        format!(
            "{host} is a router of {}: {} to the primary, {} to the secondaries, {} for both",
            cluster.name, ports.read_write, ports.read_only, ports.split
        ),
    ))
}

/// The system's side of Router.
pub(crate) fn ready(builder: &mut Builder, cluster: &Cluster, host: &HostName, prepared: &Prepared) -> Vec<StepNumber> {
    let after: Vec<StepNumber> = prepared.names.iter().chain(&prepared.packages).copied().collect();
    let step = Step::RouterHost {
        cluster: cluster.name.clone(),
    };
    vec![builder.step(
        host,
        step,
        format!("make {host} ready for Router: CA, user, unit, folders"),
        &after,
    )]
}

/// What a bootstrap needs of the primary: an account that lives for this plan, and nothing left of an earlier bootstrap that
/// was killed. Answers the account and what the bootstrap waits for.
pub(crate) fn account(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    host: &HostName,
    primary: &HostName,
    live: Option<&Primary<'_>>,
    after: &[StepNumber],
) -> (Passing, Vec<StepNumber>) {
    let passing = group::passing(builder, host, primary, AccountKind::RouterBootstrap, after);
    let mut ready = vec![passing.made];
    let seen = context.world.sight.get(host);
    // One that runs serves somebody: its registration is never taken away beside it.
    let bootstrapped = seen.is_some_and(|seen| {
        let router = &seen.observation.router;
        router.cluster.as_ref() == Some(&cluster.name) || router.unit == UnitState::Running
    });
    if !bootstrapped && live.is_some_and(|primary| registered(primary, host)) {
        builder.note(format!(
            "{host} is registered but not bootstrapped: an earlier bootstrap stopped half-way, or its disk was lost"
        ));
        ready.push(builder.write(
            primary,
            Step::ForgetRouter {
                address: host.clone(),
                keep_account: None,
            },
            format!("remove what an earlier bootstrap of {host} left in the metadata"),
            after,
        ));
    }
    (passing, ready)
}

/// Router is bootstrapped.
pub(crate) fn bootstrap(
    builder: &mut Builder,
    cluster: &Cluster,
    (host, intent): (&HostName, &RouterIntent),
    primary: &HostName,
    passing: &Passing,
    after: &[StepNumber],
) -> StepNumber {
    let step = Step::RouterBootstrap {
        cluster: cluster.name.clone(),
        group_name: cluster.group_name,
        primary: live::address(cluster, primary),
        user: passing.user.clone(),
        secret: passing.secret.clone(),
        ports: intent.ports,
    };
    builder.step(
        host,
        step,
        format!("bootstrap Router on {host} against {primary}"),
        after,
    )
}

/// Router runs, and each port leads where it should.
pub(crate) fn prove(
    builder: &mut Builder,
    cluster: &Cluster,
    (host, intent): (&HostName, &RouterIntent),
    passing: &Passing,
    after: &[StepNumber],
) -> StepNumber {
    let step = Step::RouterRunning {
        cluster: cluster.name.clone(),
        ports: intent.ports,
        proof: Some((passing.user.clone(), passing.secret.clone())),
        members: members(cluster),
    };
    builder.step(
        host,
        step,
        format!("run Router on {host} and prove where its ports lead"),
        after,
    )
}

/// A router goes.
pub(crate) fn remove(context: &Context<'_>, host: &HostName, force: bool) -> Planning {
    let cluster = context.cluster()?;
    if !cluster.routers.contains_key(host) {
        context.host(host)?;
        return Err(super::not_there(cluster, host, true));
    }
    let mut builder = Builder::default();
    let mut after = Vec::new();
    match context.certain(host) {
        Ok(_) => {
            let step = Step::RouterGone {
                cluster: cluster.name.clone(),
            };
            after.push(builder.step(
                host,
                step,
                format!("stop Router on {host} and remove its configuration"),
                &[],
            ));
        }
        Err(_) if force => builder.note(format!("{host} does not answer: forgotten as asked, its files stay")),
        Err(Stop::Refuse(failure)) => {
            let hint =
                format!("bring {host} back, or, if it is gone for good: clusterctl router remove {host} --force");
            return Err(failure.hint(hint).into());
        }
        Err(stop) => return Err(stop),
    }
    match live::primaries(&context.world, cluster).as_slice() {
        [primary] => {
            let step = Step::ForgetRouter {
                address: host.clone(),
                keep_account: None,
            };
            let title = format!("remove {host} and its account from the metadata");
            after = vec![builder.write(primary.host, step, title, &after)];
        }
        // A cluster that was never formed has no metadata that could hold it.
        _ if !cluster.formed => builder.note("the cluster is not formed: there is no metadata to clean"),
        _ => {
            live::need_primary(context, cluster)?;
        }
    }
    let mut rest = cluster.clone();
    rest.routers.remove(host);
    prepare::names_elsewhere(&mut builder, context, &rest, host, &after);
    let last = cluster
        .routers
        .values()
        .filter(|router| router.phase != RouterPhase::Removing)
        .count()
        == 0;
    if last {
        builder.note("no router is left: applications that came through it have no way to the cluster");
    }
    Ok::<PlanDraft, _>(builder.finish(context, format!("{host} is no router of {} any more", cluster.name)))
}

/// Who may answer: one that is to leave by a later operation, too.
fn members(cluster: &Cluster) -> Vec<HostName> {
    cluster.members.keys().cloned().collect()
}

fn serves(seen: &world::Seen, cluster: &Cluster) -> bool {
    let router = &seen.observation.router;
    router.cluster.as_ref() == Some(&cluster.name) && router.unit == UnitState::Running
}

fn registered(primary: &Primary<'_>, host: &HostName) -> bool {
    let rows = primary.server.metadata.as_ref().map(|copy| copy.routers.iter());
    rows.is_some_and(|mut rows| rows.any(|row| row.address.eq_ignore_ascii_case(host.as_str())))
}
