//! A member whose data nobody has measured is the last that Group Replication elects: clients must not be sent to what may be other
//! transactions under the same numbers. Its agent alone knows that at once, also without a coordinator.
//!
//! The weight is set for the running server only, so a restart of mysqld forgets it, and the keeper sets it again. Pure; `act.rs` does it.

use clusterctl_proto::observe::{DataDirectory, MemberState};

use super::decide::Facts;
use crate::lineage::Record;

/// Whether this member is to be the last that is elected; none: it is in no group, so nothing is to be said.
pub fn is_last(facts: &Facts<'_>, record: &Record) -> Option<bool> {
    let (server, membership) = (facts.server.server.as_ref()?, facts.membership?);
    let ours =
        matches!(&facts.server.data, DataDirectory::Ours { cluster: Some(cluster) } if *cluster == membership.cluster);
    let state = server.group.as_ref()?.state;
    if !ours || !matches!(state, MemberState::Online | MemberState::Recovering) {
        return None;
    }
    // Without any record yet its agent has not looked.
    record.member.as_ref()?;
    Some(record.verified(server.server_uuid).is_none() || record.half_copied(server.server_uuid))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clusterctl_proto::observe::MysqlFacts;

    use super::super::decide::ALONE;
    use super::super::decide::tests::seen;
    use super::super::tests::{keeper_of, tools};
    use super::super::{Keeper, Memory};
    use super::*;
    use crate::ledger::Ledger;
    use crate::membership::Membership;
    use crate::membership::tests::sample;
    use crate::mysql::Driver;
    use crate::mysql::fake::FakeMysqld;

    fn facts<'a>(server: &'a MysqlFacts, membership: &'a Membership) -> Facts<'a> {
        Facts {
            server,
            step_runs: false,
            deed_runs: false,
            hands_off: false,
            flag_looked_at: true,
            new_view: false,
            alone_for: Some(ALONE),
            membership: Some(membership),
            may_rejoin: true,
        }
    }

    /// A record of these data, proven or not.
    fn record(server: &MysqlFacts, is_proven: bool) -> Record {
        let mut record = Record::default();
        record.enter(
            server.server.as_ref().unwrap().server_uuid,
            "1".parse().unwrap(),
            String::new(),
        );
        if !is_proven {
            record.distrust();
        }
        record
    }

    #[test]
    fn only_a_member_inside_whose_data_are_unproven_is_the_last() {
        let membership = sample();
        let asked = |state: MemberState, record: &Record| is_last(&facts(&seen(state), &membership), record);
        let (proven, unproven) = (
            record(&seen(MemberState::Online), true),
            record(&seen(MemberState::Online), false),
        );
        assert_eq!(asked(MemberState::Online, &proven), Some(false));
        assert_eq!(asked(MemberState::Online, &unproven), Some(true));
        assert_eq!(asked(MemberState::Recovering, &unproven), Some(true));
        assert_eq!(asked(MemberState::Offline, &unproven), None);
        assert_eq!(
            asked(MemberState::Online, &Record::default()),
            None,
            "nobody has looked yet"
        );
    }

    struct Scene {
        keeper: Option<Keeper>,
        memory: Memory,
        mysqld: FakeMysqld,
        server: MysqlFacts,
        membership: Membership,
        dir: tempfile::TempDir,
    }

    impl Scene {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Ledger::create(dir.path()).unwrap();
            let mysqld = FakeMysqld::start();
            Self {
                keeper: Some(Self::agent(&mysqld, &dir).await),
                memory: Memory::default(),
                mysqld,
                server: seen(MemberState::Online),
                membership: sample(),
                dir,
            }
        }

        async fn agent(mysqld: &FakeMysqld, dir: &tempfile::TempDir) -> Keeper {
            let mut tools = tools(dir.path(), Arc::new(Driver));
            let mut config = (*tools.config).clone();
            config.mysql.sockets.clone_from(&mysqld.config().sockets);
            tools.config = Arc::new(config);
            keeper_of(tools).await
        }

        async fn agent_restarts(&mut self) {
            // Only one agent holds a ledger.
            self.keeper = None;
            self.keeper = Some(Self::agent(&self.mysqld, &self.dir).await);
            self.memory = Memory::default();
        }

        /// After one look at data that are proven or not; the weight then.
        async fn look(&mut self, is_proven: bool) -> u64 {
            let record = record(&self.server, is_proven);
            let keeper = self.keeper.as_ref().unwrap();
            let noted = keeper
                .tools
                .ledger
                .change_lineage(&self.membership.cluster, move |kept| kept.member = record.member);
            noted.await.unwrap();
            let facts = facts(&self.server, &self.membership);
            keeper.weight(&facts, &mut self.memory).await;
            self.mysqld.with(|server| server.weight)
        }
    }

    #[tokio::test]
    async fn it_has_its_weight_back_when_it_is_proven_also_after_its_agent_restarted() {
        let mut scene = Scene::new().await;
        assert_eq!(scene.look(true).await, 50);
        assert_eq!(scene.look(false).await, 0);
        assert_eq!(scene.look(true).await, 50);
        scene.look(false).await;
        scene.agent_restarts().await;
        assert_eq!(scene.look(false).await, 0);
        scene.agent_restarts().await;
        assert_eq!(scene.look(true).await, 50);
    }

    #[tokio::test]
    async fn it_gets_the_weight_that_it_had() {
        let mut scene = Scene::new().await;
        scene.mysqld.with(|server| server.weight = 80);
        assert_eq!(scene.look(false).await, 0);
        assert_eq!(scene.look(true).await, 80);
        scene.look(false).await;
        scene.mysqld.with(|server| server.weight = 20);
        assert_eq!(scene.look(true).await, 20, "somebody has set it since");
    }

    #[tokio::test]
    async fn a_weight_that_somebody_else_set_is_left_alone() {
        let mut scene = Scene::new().await;
        scene.mysqld.with(|server| server.weight = 0);
        assert_eq!(scene.look(true).await, 0);
        assert_eq!(scene.look(false).await, 0);
        assert_eq!(scene.look(true).await, 0);
        scene.agent_restarts().await;
        assert_eq!(scene.look(true).await, 0);
    }
}
