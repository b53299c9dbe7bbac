//! Settings are persisted on a member, in the given order.

use clusterctl_proto::failure::Failure;

use super::{Context, Done};
use crate::membership::Membership;
use crate::mysql::{Db, variables};

/// Looks, sets what differs.
pub async fn ensure(wanted: &[(String, String)], cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let changes = variables::persist(&mut db, wanted).await?;
    db.close().await;
    keep(wanted, cx).await?;
    Ok(Done::from_changes(changes))
}

/// A server that comes back by itself does so with these, not with those of the day when it joined. What cannot be kept is a failure:
/// else nobody would send it again, and the old settings would be persisted over these on the way back.
async fn keep(wanted: &[(String, String)], cx: &Context) -> Result<(), Failure> {
    let (host, state_dir) = (&*cx.host, &cx.config.state_dir);
    if let Some(mut membership) = Membership::read(host, state_dir).await?
        && membership.cluster == cx.cluster
    {
        membership.update(wanted);
        membership.keep(host, state_dir).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::membership::tests::sample;
    use crate::steps::testing;

    #[tokio::test]
    async fn new_seeds_are_kept_for_the_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(FakeHost::new());
        let (cx, _) = testing::context(host.clone(), dir.path());
        let seeds = [("group_replication_group_seeds".to_owned(), "node4:3306".to_owned())];
        keep(&seeds, &cx).await.unwrap();
        assert_eq!(Membership::read(&*host, dir.path()).await.unwrap(), None, "no member");
        sample().keep(&*host, dir.path()).await.unwrap();
        keep(&seeds, &cx).await.unwrap();
        let kept = Membership::read(&*host, dir.path()).await.unwrap().unwrap();
        assert_eq!(kept.seeds(), ["node4:3306"]);
        // full: the step fails, may be tried again, and is sent again
        host.break_disk(true);
        let seeds = [("group_replication_group_seeds".to_owned(), "node5:3306".to_owned())];
        let failure = keep(&seeds, &cx).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry), ("disk_full", true));
    }
}
