//! A member comes back: mysqld that failed is started; a server that is out, in ERROR or offline enters its group again.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::member::lacks_rights;
use crate::model::operation::RecoveryWish;
use crate::model::{Cluster, Member, PlanDraft};
use crate::planner::builder::Builder;
use crate::planner::context::Context;
use crate::planner::group::{self, Joiner};
use crate::planner::join::{registered, survives};
use crate::planner::live::{self, Out, Primary};
use crate::planner::recovery::Choice;
use crate::planner::world::{Planning, Stop};
use crate::planner::{copy, prepare, recovery};

/// The plan.
pub(crate) fn plan(context: &Context<'_>, host: &HostName) -> Planning {
    let world = &context.world;
    let cluster = context.cluster()?;
    let Some(member) = cluster.members.get(host) else {
        return Err(Stop::Already(format!("{host} is no member of {}", cluster.name)));
    };
    super::still_needed(world, cluster, &context.op.kind)
        .map_err(|why| Stop::Already(format!("not needed any more: {why}")))?;
    let mut builder = Builder::default();
    if live::server(world, host).is_none() {
        builder.step(
            host,
            Step::StartServer {},
            format!("start mysqld on {host}, which has failed"),
            &[],
        );
        return Ok(builder.finish(context, format!("mysqld on {host} runs again")));
    }
    let primary = live::need_primary(context, cluster)?;
    let online = primary.state(world, host) == Some(MemberState::Online);
    let choice = match online {
        true => None,
        false => Some(recovery::choose(context, cluster, &primary, host, RecoveryWish::Auto)?),
    };
    let known = registered(&primary, cluster, host)
        && !cluster.left_out.contains_key(host)
        && !abandoned(cluster, host)
        && !cluster.accounts_dropped.contains(host)
        && !lacks_rights(world, cluster, &primary, host);
    if let Some(choice) = &choice {
        builder.note(format!("{host} gets what it lacks by {}", choice.told()));
        if matches!(choice.recovery, Recovery::Clone { .. }) {
            return Ok(copies(
                builder,
                context,
                cluster,
                &primary,
                (host, member),
                choice,
                known,
            ));
        }
    }
    let mut after = Vec::new();
    if copy::copied(context, host) {
        // Hosts may have come while it was copied.
        let entries = prepare::entries(context, cluster);
        let title = format!("write the cluster's names into /etc/hosts on {host}");
        after.push(builder.step(host, Step::HostsFile { entries }, title, &[]));
    }
    // Members may have come while it was away, and they enter by a login there.
    if live::out(world, host) == Out::Yes {
        let accounts = group::accounts(context, cluster);
        let title = format!("make the members' accounts known to mysqld on {host}");
        after.push(builder.step(host, Step::LocalMemberAccounts { accounts }, title, &[]));
    }
    if !known {
        after.push(group::member_account(
            &mut builder,
            context,
            primary.host,
            (host, member),
        ));
    }
    let mut first = vec![primary.host.clone()];
    let others = live::online(world, cluster, &primary).into_iter();
    first.extend(others.filter(|peer| *peer != primary.host).cloned());
    let joiner = Joiner {
        host,
        member,
        recovery: Recovery::Incremental,
        group_gtid: primary.server.gtid_executed.clone(),
        first: &first,
    };
    let joined = group::join(&mut builder, context, cluster, joiner, &after);
    if !known {
        group::register(&mut builder, context, cluster, primary.host, host, member, &[joined]);
    }
    let inside = primary.row(world, host).is_some();
    let voters = live::voters(primary.view) + usize::from(!inside);
    Ok(builder.finish(
        context,
        format!("{host} is ONLINE again in {}: {}", cluster.name, survives(voters)),
    ))
}

/// The copy, or before it the account by which the member logs in to the donor. The member enters by the plan after the copy.
pub(crate) fn copies(
    mut builder: Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, member): (&HostName, &Member),
    choice: &Choice,
    known: bool,
) -> PlanDraft {
    if (known || copy::prepared(context, cluster, (host, member)))
        && let Some(draft) = copy::plan(context, cluster, primary, (host, member), choice)
    {
        return draft;
    }
    builder.note(copy::FOLLOWS);
    group::member_account(&mut builder, context, primary.host, (host, member));
    let mut draft = builder.finish(context, format!("{host} is prepared for the copy"));
    draft.goes_on = true;
    draft
}

/// The last bootstrap abandoned it, so its account may be gone although its row is still there.
fn abandoned(cluster: &Cluster, host: &HostName) -> bool {
    let last = cluster.lineage.as_ref().and_then(|id| cluster.lineages.get(id));
    last.is_some_and(|branch| branch.abandoned.contains(host))
}
