//! Steps that many plans share: one more member, one more router, settings on the others.

use std::collections::BTreeSet;

use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Account, AccountKind, BootstrapPeer, MemberAccount, Recovery, SecretName, Step, Vouched};

use super::builder::Builder;
use super::context::Context;
use super::live::{self, Primary};
use super::world::World;
use super::{lineage, settings};
use crate::model::{Cluster, Member};

/// Accounts of all members. One that is to leave by a later operation is still in the group, and a joiner must know it.
pub(crate) fn accounts(context: &Context<'_>, cluster: &Cluster) -> Vec<MemberAccount> {
    let members = cluster.members.iter();
    members
        .map(|(host, member)| settings::account(host, member, context.world.issuer))
        .collect()
}

/// The other members of the cluster, those first that a joiner should ask first.
pub(crate) fn peers(cluster: &Cluster, host: &HostName, first: &[HostName]) -> Vec<HostName> {
    let other = |peer: &HostName| peer != host && cluster.members.contains_key(peer);
    let mut peers: Vec<HostName> = first.iter().filter(|peer| other(peer)).cloned().collect();
    for peer in cluster.members.keys().filter(|peer| other(peer)) {
        if !peers.contains(peer) {
            peers.push(peer.clone());
        }
    }
    peers
}

/// Everyone else who may be in the group, for the agent that bootstraps: it asks each of them itself.
pub(crate) fn bootstrap_peers(
    world: &World<'_>,
    cluster: &Cluster,
    first: &HostName,
    abandoned: &[HostName],
) -> Vec<BootstrapPeer> {
    let known = live::everyone(world, cluster);
    // What is no host's name is never bootstrapped around (`check`: one_bootstrap).
    let mut hosts: BTreeSet<HostName> = known.iter().filter_map(|name| name.parse().ok()).collect();
    hosts.extend(abandoned.iter().cloned());
    hosts.remove(first);
    let peer = |host: HostName| BootstrapPeer {
        address: live::address(cluster, &host),
        vouched: if abandoned.contains(&host) {
            Vouched::Abandoned
        } else {
            Vouched::Promised
        },
        host,
    };
    hosts.into_iter().map(peer).collect()
}

/// The host that bootstraps promises once more, after everything else that the bootstrap waits for: its agent counts on a promise
/// that is fresh.
pub(crate) fn promise_last(builder: &mut Builder, first: &HostName, after: &[StepNumber]) -> StepNumber {
    let title = format!("have {first} check once more that it is in no group");
    builder.step(first, Step::Promise {}, title, after)
}

/// X Protocol port of a member: as its server tells, else the usual one.
pub(crate) fn x_port(context: &Context<'_>, host: &HostName) -> u16 {
    let told = live::server(&context.world, host).and_then(|server| server.x_port);
    told.unwrap_or(settings::X_PORT)
}

/// One member to bring in.
pub(crate) struct Joiner<'a> {
    /// The host.
    pub host: &'a HostName,
    /// Its intent.
    pub member: &'a Member,
    /// How it gets its data.
    pub recovery: Recovery,
    /// What the group had when the plan was made.
    pub group_gtid: String,
    /// Whom it asks first.
    pub first: &'a [HostName],
}

/// The member joins.
pub(crate) fn join(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    joiner: Joiner<'_>,
    after: &[StepNumber],
) -> StepNumber {
    let Joiner {
        host,
        member,
        recovery,
        group_gtid,
        first,
    } = joiner;
    let how = match &recovery {
        Recovery::Incremental => "incremental recovery".to_owned(),
        Recovery::Clone { donor, .. } => format!("a clone of {donor}"),
    };
    let memory = context
        .world
        .sight
        .get(host)
        .and_then(|seen| seen.host.as_ref())
        .map(|facts| facts.memory_bytes);
    let peers = peers(cluster, host, first);
    let leads = live::primary(&context.world, cluster);
    let group = leads.and_then(|primary| lineage::of_group(&context.world, cluster, &primary));
    let history = lineage::history(cluster, group.as_ref());
    let step = Step::JoinGroup {
        group: settings::group(cluster, host, member, &peers, memory, context.world.issuer),
        recovery,
        account: settings::account(host, member, context.world.issuer),
        group_gtid,
        history,
    };
    builder.step(host, step, format!("join {host} to the group by {how}"), after)
}

/// The row of a member.
pub(crate) fn register(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &HostName,
    host: &HostName,
    member: &Member,
    after: &[StepNumber],
) -> StepNumber {
    let instance = settings::metadata_member(host, member, x_port(context, host), true);
    let step = Step::MetadataInstance {
        cluster_id: cluster.cluster_id,
        instance,
    };
    builder.write(primary, step, format!("register {host} in the metadata"), after)
}

/// Seeds on every member but `host`: those that cannot take them now are left out and named.
pub(crate) fn seeds_elsewhere(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    host: &HostName,
    after: &[StepNumber],
) {
    let first = [primary.host.clone()];
    for peer in cluster.members.keys().filter(|peer| *peer != host) {
        let online = primary.state(&context.world, peer) == Some(MemberState::Online);
        if !online || !live::takes_orders(&context.world, cluster, peer) {
            builder.note(format!(
                "{peer} is not ONLINE, does not answer or is busy: its seeds are left as they are"
            ));
            continue;
        }
        let (name, value) = settings::seeds(cluster, &peers(cluster, peer, &first));
        let step = Step::Persist {
            variables: vec![(name.to_owned(), value)],
        };
        builder.best_effort(peer, step, format!("tell {peer} whom to ask when it comes back"), after);
    }
}

/// An account that lives for one plan: a password born on `home`, the account on the primary. Answers the account's user,
/// the secret's name, and the step that makes it; [`drop_passing`] takes both away.
pub(crate) struct Passing {
    /// User part.
    pub user: String,
    /// Name of the password.
    pub secret: SecretName,
    /// Where the password is kept.
    home: HostName,
    /// Made by this step.
    pub made: StepNumber,
}

/// Makes it.
pub(crate) fn passing(
    builder: &mut Builder,
    home: &HostName,
    primary: &HostName,
    kind: AccountKind,
    after: &[StepNumber],
) -> Passing {
    let what = match kind {
        AccountKind::Verify => "verify",
        _ => "bootstrap",
    };
    let user = passing_user(what, home);
    let secret: SecretName = format!("{what}:{home}");
    let born = builder.step(
        home,
        Step::MakeSecret { name: secret.clone() },
        format!("make a password on {home} that lives as long as this plan"),
        &[],
    );
    let account = Account {
        user: user.clone(),
        from: "%".to_owned(),
        kind,
    };
    let mut after = after.to_vec();
    after.push(born);
    let made = builder.write(
        primary,
        Step::Account {
            account,
            secret: secret.clone(),
        },
        format!("make account {user}, which lives as long as this plan"),
        &after,
    );
    Passing {
        user,
        secret,
        home: home.clone(),
        made,
    }
}

/// Takes it away, whatever became of the rest.
pub(crate) fn drop_passing(builder: &mut Builder, primary: &HostName, passing: &Passing, after: &[StepNumber]) {
    let step = Step::DropAccount {
        user: passing.user.clone(),
        from: "%".to_owned(),
    };
    builder.finally(primary, step, format!("drop account {}", passing.user), after);
    let step = Step::DropSecret {
        name: passing.secret.clone(),
    };
    builder.finally(
        &passing.home,
        step,
        format!("remove the password from {}", passing.home),
        after,
    );
}

/// The same name for the same host each time, so that one that a dead primary left behind is taken over and dropped by the next
/// plan. At most 32 characters, MySQL's limit.
fn passing_user(what: &str, home: &HostName) -> String {
    let plain = format!("clusterctl_{what}_{home}");
    if plain.len() <= 32 {
        return plain;
    }
    // FNV-1a: no secret, only short and stable.
    let hash = home.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("clusterctl_{what}_{hash:08x}")
}

/// The account by which a member replicates, made through the group.
pub(crate) fn member_account(
    builder: &mut Builder,
    context: &Context<'_>,
    primary: &HostName,
    (host, member): (&HostName, &Member),
) -> StepNumber {
    let accounts = vec![settings::account(host, member, context.world.issuer)];
    let title = format!("make the account of {host}, which replicates");
    builder.write(primary, Step::MemberAccounts { accounts }, title, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_users_fit() {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        assert_eq!(
            passing_user("bootstrap", &host("router1")),
            "clusterctl_bootstrap_router1"
        );
        let long = passing_user("bootstrap", &host("a-very-long-router-name.example.org"));
        assert!(long.len() <= 32 && long.starts_with("clusterctl_bootstrap_"), "{long}");
    }
}
