//! Scenes that are told, not drawn: what random faults meet too rarely, with the same real parts. Tests only.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::leader::status;

use crate::names::{host, prod};
use crate::site::Site;
use crate::world::World;

pub(crate) const BOOTSTRAP: &str = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
                         SET GLOBAL group_replication_bootstrap_group = OFF";
/// Longest that anything here may take.
const LONGEST: Duration = Duration::from_secs(240);

/// Tells a scene in a world of this seed, whose cluster is whole.
pub(crate) fn scene<F: Future<Output = ()>>(seed: u64, tell: impl FnOnce(Arc<World>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    fastrand::seed(seed);
    runtime.block_on(async {
        let world = World::new(seed);
        world.start();
        tokio::spawn(crate::faults::elections(Arc::clone(&world)));
        until(&world, "the cluster is whole", |world| world.is_whole()).await;
        tell(world).await;
    });
}

pub(crate) async fn until(world: &Arc<World>, what: &str, is_so: impl Fn(&World) -> bool) {
    let waits = async {
        while !is_so(world) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(LONGEST, waits).await;
    assert!(done.is_ok(), "not so in time: {what}: {}", crate::run::seen(world));
}

pub(crate) async fn typed(site: &Arc<Site>, sql: &str) {
    let done = tokio::time::timeout(LONGEST, site.server.root(sql)).await;
    assert!(matches!(done, Ok(Ok(_))), "{}: {sql}: {done:?}", site.name);
}

pub(crate) async fn write(world: &Arc<World>, site: &Arc<Site>, rows: u32) -> Vec<u64> {
    let mut written = Vec::new();
    for _ in 0..rows {
        let row = world.next_row();
        site.server.write(&site.name, row).await.expect("acknowledged");
        written.push(row);
    }
    written
}

/// Longer than an agent needs to look at its server.
const LOOKED: Duration = Duration::from_secs(10);

/// Lineage 1 of three members; 2 is bootstrapped by hand on node2, takes writes and is lost; 3 goes on from lineage 1 on node1 and uses the
/// same numbers for other rows; 4 goes on from 3, so its base holds every number that node2 has.
#[test]
fn who_went_another_way_stays_out_although_its_numbers_are_all_there() {
    scene(4, |world| async move {
        let [one, two, three] = ["node1", "node2", "node3"].map(|name| Arc::clone(world.site(name)));
        world.centres.iter().for_each(|centre| centre.kill());
        // Agents that are there would enter whatever lives.
        [&one, &three].iter().for_each(|site| site.kill_agent());
        for site in [&one, &two, &three] {
            typed(site, "STOP GROUP_REPLICATION").await;
        }
        typed(&two, BOOTSTRAP).await;
        let lost = write(&world, &two, 3).await;
        typed(&two, "STOP GROUP_REPLICATION").await;
        two.power_off();
        // The agent of node1 sees what its server holds while it is out: from there the next lineages branch off.
        one.start_agent();
        tokio::time::sleep(LOOKED).await;
        for _ in ["lineage 3", "lineage 4"] {
            typed(&one, BOOTSTRAP).await;
            write(&world, &one, 20).await;
            typed(&one, "STOP GROUP_REPLICATION").await;
            tokio::time::sleep(LOOKED).await;
        }
        let (held, all) = (two.server.gtid_executed(), one.server.gtid_executed());
        assert!(
            all.contains(&held),
            "by numbers node2 lacks something and has nothing more"
        );
        typed(&one, BOOTSTRAP).await;
        three.start_agent();
        world.centres.iter().for_each(|centre| centre.start());
        two.power_on();
        until(&world, "node3 is in", |_| three.server.online_in().is_some()).await;
        write(&world, &one, 20).await;
        tokio::time::sleep(LONGEST).await;
        assert_eq!(two.server.online_in(), None, "it holds the rows {lost:?}");
        let leader = world.leader().expect("leads");
        let told = leader.look(|world| status::explain(world, Some(&prod()), Some(&host("node2"))));
        let troubles = told.into_iter().flat_map(|told| told.troubles);
        let blocked: Vec<String> = troubles
            .filter(|trouble| trouble.state == "blocked")
            .map(|trouble| trouble.doing)
            .collect();
        assert!(blocked.iter().any(|why| why.contains("quarantined")), "{blocked:?}");
    });
}
