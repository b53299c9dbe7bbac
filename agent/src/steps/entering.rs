//! What bootstrapping and joining have in common: whether this server may enter, and its settings before it starts.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupView, MemberState};
use clusterctl_proto::step::GroupConfig;

use super::Context;
use crate::membership::Membership;
use crate::mysql::{Db, group, variables};

/// Where this server stands towards the group that it is to be in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// An ONLINE member of it.
    Online,
    /// On its way in.
    Recovering,
    /// Out, and Group Replication is quiet.
    Out,
    /// Out of service, but Group Replication runs: in ERROR, or trying to rejoin by itself.
    Stuck,
}

/// Looks; a server in another group is a refusal.
pub async fn standing(db: &mut Db, wanted: &GroupConfig) -> Result<Standing, Failure> {
    let Some(view) = group::view(db).await? else {
        return Err(Failure::new(
            "group_plugin",
            "the plugin group_replication is not active on this server",
        )
        .hint("the step server installs it; run the command again")
        .transient());
    };
    let name = group::name(db).await?;
    let standing = of(&view);
    if matches!(standing, Standing::Online | Standing::Recovering)
        && !name.eq_ignore_ascii_case(&wanted.group_name.to_string())
    {
        let others = view
            .members
            .iter()
            .map(|m| format!("{}:{} is {:?}", m.host, m.port, m.state));
        let failure = Failure::refused("other_group", format!("this server is in another group, {name}"))
            .hint("take it out of that group first: STOP GROUP_REPLICATION");
        return Err(others.fold(failure, Failure::fact));
    }
    Ok(standing)
}

fn of(view: &GroupView) -> Standing {
    match view.state {
        MemberState::Online => Standing::Online,
        MemberState::Recovering => Standing::Recovering,
        _ if view.is_out() => Standing::Out,
        _ => Standing::Stuck,
    }
}

/// Persists the group's and this member's settings, the TLS files of the recovery channel, and that channel's account.
pub async fn prepare(cx: &Context, db: &mut Db, wanted: &GroupConfig) -> Result<Vec<String>, Failure> {
    let mut settings = wanted.variables.clone();
    for (variable, file) in [
        ("group_replication_recovery_ssl_ca", "ca.pem"),
        ("group_replication_recovery_ssl_cert", "server.pem"),
        ("group_replication_recovery_ssl_key", "server.key"),
    ] {
        settings.push((
            variable.to_owned(),
            cx.config.mysql.tls_dir.join(file).display().to_string(),
        ));
    }
    let name = "group_replication_group_name";
    if !settings.iter().any(|(variable, _)| variable == name) {
        settings.push((name.to_owned(), wanted.group_name.to_string()));
    }
    let mut changes = variables::persist(db, &settings).await?;
    changes.extend(group::set_recovery_user(db, &wanted.account.user).await?);
    Ok(changes)
}

/// This server is in its group by this plan's generation: from now on the agent may bring it back by itself, with these settings.
/// What cannot be written down is told and lost: the server is in its group all the same.
pub async fn remember(cx: &Context, wanted: &GroupConfig) {
    let membership = Membership::new(&cx.cluster, wanted);
    let kept = match cx.ledger.entered(&cx.cluster, cx.generation).await {
        Ok(()) => membership.keep(&*cx.host, &cx.config.state_dir).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = kept {
        tracing::warn!(%failure, facts = ?failure.facts, "without a coordinator this server would not come back to its group by itself");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clusterctl_proto::observe::MemberRole;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    #[test]
    fn error_and_auto_rejoin_are_stuck() {
        let view = |state, auto_rejoin| GroupView {
            state,
            role: MemberRole::None,
            view_id: String::new(),
            members: Vec::new(),
            auto_rejoin,
            channel_error: None,
            standstill_ms: None,
        };
        assert_eq!(of(&view(MemberState::Offline, false)), Standing::Out);
        assert_eq!(of(&view(MemberState::Offline, true)), Standing::Stuck);
        assert_eq!(of(&view(MemberState::Error, false)), Standing::Stuck);
        assert_eq!(of(&view(MemberState::Online, false)), Standing::Online);
    }

    #[tokio::test]
    async fn who_was_let_in_may_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(FakeHost::new());
        let (cx, _) = testing::context(host.clone(), dir.path());
        let known = crate::membership::tests::sample();
        remember(&cx, &known.group).await;
        cx.ledger.may_rejoin_alone(&cx.cluster).unwrap();
        let kept = Membership::read(&*host, dir.path()).await.unwrap();
        assert_eq!(kept, Some(known));
    }
}
