//! Whether the group can let anybody in, asked of its members directly before START.
//!
//! A START that meets a group without a majority hangs for more than a minute. Nothing ends it: STOP is rejected meanwhile, KILL has no
//! effect, an orderly stop of mysqld waits for it (docs/mysql-facts.md). It holds the entrance, and so a promise, and so the recovery
//! of the group. And whether it is still the group that the server was measured against: another one may have been bootstrapped while this
//! step waited. This look permits nothing.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{GroupConfig, History};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use uuid::Uuid;

use crate::mysql::peer::{Answer, InGroup, Peers};

/// How long the others are waited for once one member works: one that is up answers in milliseconds.
const OTHERS: Duration = Duration::from_millis(300);

/// Fails, to be tried again, where no member is in a group that works and one answers that its group has no majority, or all answer that
/// they are in none; where one that works is in another lineage than `into`; or where two that work are in two groups of this name, since
/// Group Replication could enter either. Once one member works the others have [`OTHERS`] to answer: a member that is off hardly delays
/// the START.
pub async fn check(peers: &dyn Peers, wanted: &GroupConfig, into: Option<&History>) -> Result<(), Failure> {
    let seeds = wanted
        .variables
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("group_replication_group_seeds"))
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .filter(|seed| !seed.is_empty());
    let user = wanted.account.user.as_str();
    let mut asked: FuturesUnordered<_> = seeds
        .map(|seed| async move { (seed, peers.ask(seed, user).await) })
        .collect();
    let mut facts = Vec::new();
    let (mut blocked, mut unknown) = (false, false);
    while let Some((seed, answer)) = asked.next().await {
        match Says::of(&answer, wanted.group_name) {
            Says::Works => {
                let mut working = vec![(seed, answer)];
                let others = async {
                    while let Some((seed, answer)) = asked.next().await {
                        if Says::of(&answer, wanted.group_name) == Says::Works {
                            working.push((seed, answer));
                        }
                    }
                };
                // What has answered until then is kept.
                let _ = tokio::time::timeout(OTHERS, others).await;
                one_group(&working)?;
                return working.iter().try_for_each(|(seed, answer)| same(answer, into, seed));
            }
            Says::Blocked(why) => {
                blocked = true;
                facts.push(format!("{seed} {why}"));
            }
            Says::Out(why) => facts.push(format!("{seed} {why}")),
            Says::Unknown => unknown = true,
        }
    }
    if facts.is_empty() || unknown && !blocked {
        return Ok(());
    }
    let failure = Failure::new(
        "group_not_live",
        "no member of the group can let this server in now: Group Replication was not started",
    )
    .hint("nothing to do: it is tried again; see: clusterctl status")
    .transient();
    facts.sort();
    Err(facts.into_iter().fold(failure, Failure::fact))
}

/// The bootstrap that this member's group descends from; none: it does not tell.
fn bootstrap(answer: &Answer) -> Option<LineageId> {
    let Answer::InGroup(InGroup { view_id, .. }) = answer else {
        return None;
    };
    LineageId::of_view(view_id).map(|(id, _)| id)
}

/// Those that work are in one group, as far as they tell. The verdict must not depend on which of them answers first.
fn one_group(working: &[(&str, Answer)]) -> Result<(), Failure> {
    let told = working
        .iter()
        .filter_map(|(seed, answer)| Some((*seed, bootstrap(answer)?)));
    let told: Vec<(&str, LineageId)> = told.collect();
    if told.windows(2).all(|two| two[0].1.prefix() == two[1].1.prefix()) {
        return Ok(());
    }
    let failure = Failure::new(
        "two_groups_live",
        "two groups of this name live, and Group Replication could enter either: nothing is started",
    )
    .hint("stop Group Replication on the side whose writes are given up; see: clusterctl why")
    .transient();
    let mut facts: Vec<String> = told
        .iter()
        .map(|(seed, id)| format!("{seed} is in lineage {id}"))
        .collect();
    facts.sort();
    Err(facts.into_iter().fold(failure, Failure::fact))
}

/// The bootstrap that this member's group descends from is the one that was measured against, as far as it tells.
fn same(answer: &Answer, into: Option<&History>, seed: &str) -> Result<(), Failure> {
    let Some(into) = into else {
        return Ok(());
    };
    match bootstrap(answer) {
        Some(id) if into.group != LineageId::origin() && id.prefix() != into.group.prefix() => Err(Failure::new(
            "evidence_changed",
            "the group was bootstrapped again since this server was measured: Group Replication was not started",
        )
        .fact(format!(
            "{seed} is in lineage {id}; measured against lineage {}",
            into.group
        ))
        .hint("nothing to do: it is planned anew; see: clusterctl status")
        .transient()),
        _ => Ok(()),
    }
}

/// What a member's answer means for a server that wants in.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Says {
    /// Its group can let members in.
    Works,
    /// Its group can do nothing.
    Blocked(&'static str),
    /// It is in no group, or on its way out of one.
    Out(&'static str),
    /// It does not say.
    Unknown,
}

impl Says {
    fn of(answer: &Answer, group: Uuid) -> Self {
        match answer {
            Answer::Unknown(_) => Self::Unknown,
            Answer::InNone => Self::Out("is in no group"),
            Answer::InGroup(member) if !member.name.eq_ignore_ascii_case(&group.to_string()) => {
                Self::Out("is in another group")
            }
            Answer::InGroup(member) => match member.state {
                MemberState::Online | MemberState::Recovering if member.majority => Self::Works,
                MemberState::Online | MemberState::Recovering => Self::Blocked("hears no majority of its group"),
                MemberState::Error => Self::Out("has left its group with an error"),
                MemberState::Offline | MemberState::Unreachable => Self::Unknown,
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use clusterctl_proto::observe::MemberRole;
    use futures_util::future::{BoxFuture, pending, ready};

    use super::*;
    use crate::mysql::peer::InGroup;

    /// Answers by address; one that is not there never does.
    struct World(BTreeMap<&'static str, Answer>);

    impl Peers for World {
        fn ask<'a>(&'a self, address: &'a str, _: &'a str) -> BoxFuture<'a, Answer> {
            match self.0.get(address) {
                Some(answer) => Box::pin(ready(answer.clone())),
                None => Box::pin(pending()),
            }
        }
    }

    /// Each of them is the last one of its group that is left.
    pub struct NoMajority;

    impl Peers for NoMajority {
        fn ask<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Answer> {
            let group = crate::membership::tests::sample().group.group_name;
            Box::pin(ready(inside(group, MemberState::Online, false)))
        }
    }

    fn inside(group: Uuid, state: MemberState, majority: bool) -> Answer {
        Answer::InGroup(InGroup {
            name: group.to_string(),
            view_id: "17:1".to_owned(),
            state,
            role: MemberRole::Secondary,
            others: 1,
            majority,
            writable: false,
            gtid_executed: String::new(),
            online: Vec::new(),
        })
    }

    fn silent() -> Answer {
        Answer::Unknown("connection refused".to_owned())
    }

    /// With seeds node2 and node3.
    async fn look(node2: Answer, node3: Answer) -> Result<(), Failure> {
        let mut wanted = crate::membership::tests::sample().group;
        let seeds = "group_replication_group_seeds";
        wanted.variables.retain(|(name, _)| name != seeds);
        wanted
            .variables
            .push((seeds.to_owned(), "node2:3306, node3:3306".to_owned()));
        let world = World(BTreeMap::from([("node2:3306", node2), ("node3:3306", node3)]));
        check(&world, &wanted, None).await
    }

    #[tokio::test]
    async fn a_group_without_a_majority_is_not_started_into() {
        let group = crate::membership::tests::sample().group.group_name;
        let blocked = || inside(group, MemberState::Online, false);
        for other in [silent(), Answer::InNone, blocked()] {
            let failure = look(blocked(), other).await.unwrap_err();
            assert_eq!(failure.code, "group_not_live");
            assert!(failure.retry, "it passes by itself");
            assert_eq!(failure.facts[0], "node2:3306 hears no majority of its group");
        }
        let failure = look(inside(group, MemberState::Error, true), Answer::InNone)
            .await
            .unwrap_err();
        assert_eq!(
            failure.facts,
            [
                "node2:3306 has left its group with an error",
                "node3:3306 is in no group"
            ]
        );
    }

    #[tokio::test]
    async fn one_member_that_works_is_enough_and_silence_proves_nothing() {
        let group = crate::membership::tests::sample().group.group_name;
        let works = || inside(group, MemberState::Online, true);
        look(silent(), works()).await.unwrap();
        look(inside(group, MemberState::Online, false), works()).await.unwrap();
        look(Answer::InNone, inside(group, MemberState::Recovering, true))
            .await
            .unwrap();
        look(silent(), silent()).await.unwrap();
        look(silent(), Answer::InNone).await.unwrap();
        look(silent(), inside(Uuid::nil(), MemberState::Online, true))
            .await
            .unwrap();
    }

    /// A person bootstrapped one of them by hand while the other was cut off.
    #[tokio::test]
    async fn between_two_groups_of_one_name_nothing_is_started_whoever_answers_first() {
        let group = crate::membership::tests::sample().group.group_name;
        let works = |view: &str| {
            let Answer::InGroup(member) = inside(group, MemberState::Online, true) else {
                unreachable!()
            };
            Answer::InGroup(InGroup {
                view_id: view.to_owned(),
                ..member
            })
        };
        for (node2, node3) in [("17:3", "18:1"), ("18:1", "17:3")] {
            let failure = look(works(node2), works(node3)).await.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.retry), ("two_groups_live", true));
            assert_eq!(failure.facts.len(), 2);
        }
        look(works("17:3"), works("17:4")).await.unwrap();
        look(works("17:3"), works("")).await.unwrap();
        let lost = inside(group, MemberState::Online, false);
        look(works("18:1"), lost).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_is_off_hardly_delays_the_start() {
        let sample = crate::membership::tests::sample().group;
        let mut wanted = sample.clone();
        wanted.variables = vec![(
            "group_replication_group_seeds".to_owned(),
            "node2:3306,node3:3306".to_owned(),
        )];
        let works = inside(sample.group_name, MemberState::Online, true);
        let world = World(BTreeMap::from([("node3:3306", works)]));
        let begun = tokio::time::Instant::now();
        check(&world, &wanted, None).await.unwrap();
        assert_eq!(begun.elapsed(), OTHERS);
        let into = |group: &str| History {
            group: group.parse().unwrap(),
            lineages: Default::default(),
        };
        check(&world, &wanted, Some(&into("17"))).await.unwrap();
        check(&world, &wanted, Some(&into("17+3"))).await.unwrap();
        let failure = check(&world, &wanted, Some(&into("16"))).await.unwrap_err();
        assert_eq!(failure.code, "evidence_changed", "bootstrapped again meanwhile");
        wanted.variables.clear();
        check(&World(BTreeMap::new()), &wanted, None).await.unwrap();
    }
}
