//! Abandoned members are forgotten: the duty that a forced recovery leaves behind, finished whatever became of its operation.

use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::Step;

use super::outage::Group;
use super::trouble::{Care, Standing, Trouble};
use crate::model::{Cluster, OperationKind};
use crate::planner::builder::Builder;
use crate::planner::context::Context;
use crate::planner::live::{self, Primary};
use crate::planner::world::{Planning, Stop, World};

/// The member was abandoned, and still has its row or its account. Told instead of what is wrong with the member itself.
pub(super) fn trouble(world: &World<'_>, cluster: &Cluster, group: &Group<'_>, host: &HostName) -> Option<Trouble> {
    let duty = cluster.duties.get(host)?;
    let Group::Led(primary) = group else { return None };
    if is_inside(world, primary, host) {
        return None;
    }
    let wrong = format!(
        "{host} was abandoned by operation {}, and its metadata row and account are not removed yet",
        duty.by
    );
    let care = if cluster.duties.contains_key(primary.host) {
        Care::not(
            Standing::Blocked,
            format!("{} leads, though it was abandoned, too", primary.host),
            "",
            format!("clusterctl why {}", primary.host),
        )
    } else {
        Care::Act(OperationKind::Forget { host: host.clone() })
    };
    Some(Trouble::of(host, "abandoned_not_forgotten", wrong, care).seen(primary.host, "leads the group"))
}

fn is_inside(world: &World<'_>, primary: &Primary<'_>, host: &HostName) -> bool {
    let state = primary.state(world, host);
    matches!(state, Some(MemberState::Online | MemberState::Recovering))
}

/// The plan: one step on the primary.
pub(crate) fn plan(context: &Context<'_>, host: &HostName) -> Planning {
    let cluster = context.cluster()?;
    if !cluster.duties.contains_key(host) {
        return Err(Stop::Already(format!("{host} is forgotten already")));
    }
    super::still_needed(&context.world, cluster, &context.op.kind)
        .map_err(|why| Stop::Already(format!("not needed any more: {why}")))?;
    let primary = live::need_primary(context, cluster)?;
    let mut builder = Builder::default();
    forget(&mut builder, context, cluster, primary.host, host, &[]);
    Ok(builder.finish(
        context,
        format!("{host}, which was abandoned, has no metadata row and no account any more"),
    ))
}

/// Removes the row and the account of an abandoned member: without them it cannot come in unasked.
pub(super) fn forget(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &HostName,
    host: &HostName,
    after: &[StepNumber],
) {
    let Some(lost) = cluster.members.get(host) else { return };
    let step = Step::ForgetInstance {
        address: live::address(cluster, host),
        server_uuid: live::server(&context.world, host).map(|server| server.server_uuid),
        account: lost.account_user(),
    };
    let title = format!("remove {host} and its account from the metadata until it is back");
    builder.write(primary, step, title, after);
}
