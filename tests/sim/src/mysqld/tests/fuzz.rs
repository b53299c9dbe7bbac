//! Random faults of hosts, processes and links, and a person who helps: the simulated servers themselves lose nothing.
//!
//! What a simulation finds must be an error of ours, never one of the servers that we simulate.

use std::collections::BTreeSet;

use super::{BOOTSTRAP, Three, sleep};
use crate::mysqld::rng::Rng;

/// Rows that were acknowledged, and the rules.
#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<u64>,
    next: u64,
}

impl Told {
    fn check(&self, three: &Three, seed: u64) {
        let mut lineages = BTreeSet::new();
        for server in three.all.iter().filter(|server| server.takes_writes()) {
            let lineage = server.writes_into();
            lineages.insert(lineage.map(|lineage| lineage.number));
            let lost: Vec<_> = self.acknowledged.iter().filter(|row| !server.holds(**row)).collect();
            assert!(
                lost.is_empty(),
                "seed {seed}: {} takes writes without {lost:?}",
                server.host()
            );
        }
        assert!(lineages.len() <= 1, "seed {seed}: {lineages:?} take writes");
        assert!(
            !lineages.contains(&None),
            "seed {seed}: somebody takes writes outside of the group"
        );
        for (one, two) in [(0, 1), (1, 2), (0, 2)] {
            let differ = three.all[one].diverges(&three.all[two]);
            assert!(differ.is_none(), "seed {seed}: {one} {two} {differ:?}");
        }
    }

    async fn write(&mut self, three: &Three) {
        for server in &three.all {
            if server.takes_writes() {
                self.next += 1;
                let write = server.write("client", self.next);
                if let Ok(Ok(_)) = tokio::time::timeout(std::time::Duration::from_secs(2), write).await {
                    self.acknowledged.insert(self.next);
                }
            }
        }
    }
}

fn fault(three: &Three, rng: &mut Rng) {
    let place = usize::try_from(rng.below(3)).unwrap();
    let server = &three.all[place];
    let other = three.all[(place + 1) % 3].host();
    match rng.below(9) {
        0 => server.kill9(),
        1 => server.power(false),
        2 => server.freeze(),
        3 => three.net.cut(server.host(), other, true),
        4 => {
            for peer in three.all.iter().filter(|peer| peer.host() != server.host()) {
                three.net.cut(server.host(), peer.host(), true);
            }
        }
        5 => server.set_lag(std::time::Duration::from_millis(rng.below(1500))),
        6 => {
            let server = server.clone();
            tokio::spawn(async move { server.root("STOP GROUP_REPLICATION").await });
        }
        7 => {
            let server = server.clone();
            let sql = format!("SELECT group_replication_set_as_primary('{}', 1)", server.uuid());
            tokio::spawn(async move { server.root(&sql).await });
        }
        _ => {}
    }
}

fn heal(three: &Three) {
    for server in &three.all {
        server.power(true);
        server.thaw();
        server.start_process();
        for other in ["node1", "node2", "node3"] {
            three.net.cut(server.host(), other, false);
        }
    }
}

async fn out(three: &Three, place: usize) {
    let _ = three.all[place].root("STOP GROUP_REPLICATION").await;
}

/// As a careful person would: the one that holds everything is bootstrapped when all are out, others are started when a group lives.
async fn help(three: &Three) {
    sleep(4.0).await;
    if three.net.lineages().is_empty() {
        for place in 0..3 {
            out(three, place).await;
        }
        if !three.net.lineages().is_empty() {
            return;
        }
        let held = |place: usize| three.net.lock().servers[place].disk.held();
        let best = (0..3).find(|place| (0..3).all(|other| held(*place).contains(&held(other))));
        let best = &three.all[best.expect("one holds everything")];
        let _ = best.root(BOOTSTRAP).await;
        best.root("SET GLOBAL group_replication_bootstrap_group = OFF")
            .await
            .unwrap();
    }
    for place in 0..3 {
        let states = three.states(place).await;
        if states == "OFFLINE" || states.starts_with("ERROR") {
            out(three, place).await;
            let _ = three.start(place).await;
        }
    }
}

async fn run(seed: u64) -> std::collections::BTreeMap<&'static str, u64> {
    let three = Three::formed(seed).await;
    let mut rng = Rng::new(seed);
    let mut told = Told::default();
    for _ in 0..6 {
        for _ in 0..rng.below(40) {
            if rng.percent(25) {
                fault(&three, &mut rng);
            }
            if rng.percent(20) {
                heal(&three);
                for server in &three.all {
                    // As an agent does it; a START that finds nobody hangs.
                    if !three.net.lineages().is_empty() {
                        let server = server.clone();
                        tokio::spawn(async move { server.root("START GROUP_REPLICATION").await });
                    }
                }
            }
            for _ in 0..rng.below(20) {
                told.write(&three).await;
                told.check(&three, seed);
                tokio::time::sleep(rng.ms(1, 300)).await;
            }
        }
        heal(&three);
        help(&three).await;
        told.check(&three, seed);
    }
    for _ in 0..4 {
        heal(&three);
        help(&three).await;
        sleep(100.0).await;
    }
    for server in &three.all {
        server.set_lag(std::time::Duration::from_millis(1));
    }
    sleep(30.0).await;
    told.check(&three, seed);
    let whole = three.states(0).await;
    assert_eq!(whole, "ONLINE ONLINE ONLINE", "seed {seed}");
    assert!(
        three
            .all
            .iter()
            .all(|server| server.gtid_executed() == three.all[0].gtid_executed()),
        "seed {seed}"
    );
    assert!(told.acknowledged.len() > 20, "seed {seed}: {}", told.acknowledged.len());
    three.net.counts()
}

#[tokio::test(start_paused = true)]
async fn nothing_that_was_acknowledged_is_lost_by_the_servers() {
    let mut all = std::collections::BTreeMap::new();
    for seed in 1..=10 {
        for (what, count) in run(seed).await {
            *all.entry(what).or_insert(0) += count;
        }
    }
    for what in [
        "bootstrapped",
        "joined",
        "expelled",
        "majority lost",
        "auto-rejoined",
        "elected",
    ] {
        assert!(all.get(what).is_some_and(|count| *count > 0), "{what}: {all:?}");
    }
}
