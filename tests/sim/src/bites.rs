//! The watch bites: each rule is broken on purpose, past every program of ours, and must be seen. Tests only.
//!
//! Without these a check that looks at nothing any more would make every seed good.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::step::{StepOutcome, StepResult};
use clusterctl_proto::wire::agent::{FromAgent, Outcome, RunStep, ToAgent, from_agent, to_agent};

use crate::names::server_id;
use crate::scenes::{BOOTSTRAP, scene, typed, until, write};
use crate::site::Site;
use crate::watch;
use crate::wire::Tap;
use crate::world::World;

const START: &str = "START GROUP_REPLICATION";

/// Tells a scene that is watched, without agents or coordinators, and what must be seen in it.
fn bites<F: Future<Output = ()>>(what: &str, tell: impl FnOnce(Arc<World>, [Arc<Site>; 3]) -> F) {
    scene(4, |world| async move {
        world.centres.iter().for_each(|centre| centre.kill());
        world.sites.iter().for_each(|site| site.kill_agent());
        tokio::spawn(watch::run(Arc::clone(&world)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.story.first_wrong(), None);
        let sites = ["node1", "node2", "node3"].map(|name| Arc::clone(world.site(name)));
        tell(Arc::clone(&world), sites).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let wrong = world.story.first_wrong().unwrap_or_default();
        assert!(
            wrong.contains(what),
            "seen: {wrong:?}\n{}",
            world.story.lines().join("\n")
        );
    });
}

/// What an agent would type.
async fn by_agent(site: &Arc<Site>, sql: &str) {
    let mut session = site.server.connect("root", &site.name).await.expect("it runs");
    session.is_agent();
    session.query(sql).await.expect("done");
}

async fn stop_all(sites: &[Arc<Site>; 3]) {
    for site in sites {
        typed(site, "STOP GROUP_REPLICATION").await;
    }
}

/// A client's row that is on this server alone.
async fn only_here(world: &Arc<World>, site: &Arc<Site>) -> u64 {
    typed(site, "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF").await;
    let row = write(world, site, 1).await[0];
    typed(site, "SET GLOBAL super_read_only = ON").await;
    row
}

#[test]
fn an_agent_bootstraps_without_what_was_acknowledged() {
    bites("bootstrapped lineage", |world, sites| async move {
        stop_all(&sites).await;
        let row = only_here(&world, &sites[1]).await;
        world.truth().acknowledged.insert(row);
        by_agent(&sites[0], BOOTSTRAP).await;
    });
}

#[test]
fn an_agent_bootstraps_a_second_group() {
    bites("two lineages take writes", |_, sites| async move {
        stop_all(&sites).await;
        by_agent(&sites[0], BOOTSTRAP).await;
        by_agent(&sites[1], BOOTSTRAP).await;
    });
}

#[test]
fn an_agent_brings_in_another_transaction_under_a_used_number() {
    bites("has another transaction", |world, sites| async move {
        let [one, two, _] = &sites;
        stop_all(&sites).await;
        typed(two, BOOTSTRAP).await;
        write(&world, two, 3).await;
        typed(two, "STOP GROUP_REPLICATION").await;
        typed(one, BOOTSTRAP).await;
        write(&world, one, 20).await;
        by_agent(two, START).await;
        until(&world, "it is in", |_| two.server.online_in().is_some()).await;
    });
}

/// All three have promised when the cluster was formed; then comes the word of an older plan's entry.
#[test]
fn a_member_enters_below_its_promise() {
    bites("below its promise", |world, _| async move {
        let step = world.messages.ordered("join_group").expect("somebody joined");
        let run = RunStep {
            epoch: 1,
            plan: 1,
            step: 1,
            step_json: serde_json::to_vec(&step).unwrap(),
            ..RunStep::default()
        };
        let order = ToAgent {
            message: Some(to_agent::Message::Run(run)),
        };
        let told = StepOutcome {
            result: StepResult::Changed {
                what: "joined".to_owned(),
            },
            data: None,
            elapsed_ms: 1,
            spent_ms: BTreeMap::new(),
        };
        let outcome = Outcome {
            plan: 1,
            step: 1,
            outcome_json: serde_json::to_vec(&told).unwrap(),
            ..Outcome::default()
        };
        let answer = FromAgent {
            message: Some(from_agent::Message::Outcome(outcome)),
        };
        world.messages.told_to_agent("node3", &order);
        world.messages.said_by_agent("node3", &answer);
    });
}

#[test]
fn a_clone_throws_away_what_nobody_else_holds() {
    bites("threw away what only node3 held", |world, sites| async move {
        let three = &sites[2];
        typed(three, "STOP GROUP_REPLICATION").await;
        only_here(&world, three).await;
        typed(three, "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF; SET GLOBAL clone_valid_donor_list = 'node1:3306'").await;
        let donor = format!("mysql_innodb_cluster_{}", server_id(0));
        let sql = format!("CLONE INSTANCE FROM '{donor}'@'node1':3306 IDENTIFIED BY '' REQUIRE SSL");
        let done = three.server.root(&sql).await;
        assert!(done.is_err_and(|error| error.is_broken()), "it ends with the process");
    });
}

#[test]
fn a_server_in_no_group_takes_writes() {
    bites("is in no group and takes writes", |_, sites| async move {
        let three = &sites[2];
        typed(
            three,
            "STOP GROUP_REPLICATION; SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF",
        )
        .await;
        // Else its agent would close it.
        three.files.remove(Path::new("/var/lib/mysql/clusterctl.json"));
        three.start_agent();
    });
}
