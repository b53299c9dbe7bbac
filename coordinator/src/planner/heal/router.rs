//! A router whose process is gone. systemd restarts one that died; this is for one that systemd gave up.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::Step;

use super::trouble::{Care, Standing, Trouble};
use crate::model::OperationKind;
use crate::planner::builder::Builder;
use crate::planner::context::{Context, seconds};
use crate::planner::world::{Planning, Stop, World};

/// Code of a Router that certainly does not serve.
pub(crate) const ROUTER_DOWN: &str = "router_down";

pub(super) fn trouble(world: &World<'_>, host: &HostName) -> Option<Trouble> {
    let seen = world.certain(host);
    let Some(seen) = seen else {
        let text = match world.sight.get(host) {
            Some(seen) => format!("answered last {} ago", seconds(seen.age_ms)),
            None => "has not answered since this coordinator leads".to_owned(),
        };
        let care = Care::not(
            Standing::Waiting,
            "Router starts with its host, and goes on without its agent",
            format!("switch {host} on, or start its agent"),
            format!("on {host}: systemctl status clusterctl-agent mysqlrouter"),
        );
        let wrong = format!("the agent of {host} does not answer, so nobody tells how Router is");
        return Some(
            Trouble::of(host, "router_silent", wrong, care)
                .patient()
                .seen(host, text),
        );
    };
    let router = &seen.observation.router;
    let (wrong, text, care) = match router.unit {
        UnitState::Running => return None,
        UnitState::Starting | UnitState::Stopping => (
            format!("Router on {host} is starting or stopping"),
            "mysqlrouter.service is on its way",
            Care::wait("it comes to rest by itself"),
        ),
        UnitState::Failed => (
            format!("Router on {host} has failed"),
            "mysqlrouter.service failed",
            Care::Act(OperationKind::StartRouter { host: host.clone() }),
        ),
        UnitState::Stopped => (
            format!("Router on {host} does not run"),
            "mysqlrouter.service was stopped in an orderly way",
            Care::left_alone(
                "somebody stopped it, which is left so",
                "start it when the work is done",
                format!("on {host}: systemctl start mysqlrouter"),
            ),
        ),
        UnitState::Absent => (
            format!("Router on {host} is not there"),
            "there is no mysqlrouter.service",
            Care::blocked(
                "it has to be bootstrapped anew",
                "take it out and add it again",
                format!("clusterctl router remove {host}"),
            ),
        ),
    };
    Some(Trouble::of(host, ROUTER_DOWN, wrong, care).seen(host, text))
}

/// The plan: the unit runs again, its ports are open.
pub(crate) fn plan(context: &Context<'_>, host: &HostName) -> Planning {
    let cluster = context.cluster()?;
    super::still_needed(&context.world, cluster, &context.op.kind).map_err(Stop::Already)?;
    let Some(router) = cluster.routers.get(host) else {
        return Err(Stop::Already(format!("{host} is no router of {}", cluster.name)));
    };
    let mut builder = Builder::default();
    builder.step(
        host,
        Step::RouterRunning {
            cluster: cluster.name.clone(),
            ports: router.ports,
            proof: None,
            members: cluster.members.keys().cloned().collect(),
        },
        format!("start Router on {host}"),
        &[],
    );
    Ok(builder.finish(context, format!("Router on {host} runs again")))
}
