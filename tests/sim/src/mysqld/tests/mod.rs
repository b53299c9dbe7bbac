//! Short tests of each behaviour; the script that real servers pass, too, is [`super::conformance`].

use std::sync::Arc;
use std::time::Duration;

use super::{Net, Server, SqlError};

mod conformance;
mod data;
mod drift;
mod fuzz;
mod group;
mod sessions;
mod states;

pub(super) const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

pub(super) const BOOTSTRAP: &str = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
                                    SET GLOBAL group_replication_bootstrap_group = OFF";

/// Three servers that run, out of any group.
pub(super) struct Three {
    pub net: Arc<Net>,
    pub all: Vec<Arc<Server>>,
}

impl Three {
    pub async fn new(seed: u64) -> Self {
        let net = Net::new(seed);
        let members = [("node1", "m1"), ("node2", "m2"), ("node3", "m3")];
        let mut all = Vec::new();
        for (place, (host, _)) in members.iter().enumerate() {
            let server = net.add(host, &format!("6ced32ca-e649-11f1-bb94-02fc0000000{}", place + 1));
            server.equip(GROUP, &members);
            assert!(server.start_process());
            all.push(server);
        }
        sleep(3.0).await;
        Self { net, all }
    }

    /// A whole group, led by the first.
    pub async fn formed(seed: u64) -> Self {
        let three = Self::new(seed).await;
        three.all[0].root(BOOTSTRAP).await.unwrap();
        three.start(1).await.unwrap();
        three.start(2).await.unwrap();
        sleep(1.0).await;
        assert_eq!(three.states(0).await, "ONLINE ONLINE ONLINE");
        assert!(three.all[0].takes_writes());
        three
    }

    pub async fn start(&self, place: usize) -> Result<(), SqlError> {
        self.all[place].root("START GROUP_REPLICATION").await.map(drop)
    }

    pub async fn stop(&self, place: usize) {
        self.all[place].root("STOP GROUP_REPLICATION").await.unwrap();
        sleep(0.1).await;
    }

    /// States as this one sees them, by host.
    pub async fn states(&self, place: usize) -> String {
        let sql = "SELECT member_host, member_state, member_role FROM performance_schema.replication_group_members ORDER BY member_host";
        let rows = self.all[place].root(sql).await.unwrap();
        let states: Vec<String> = rows.into_iter().map(|row| row[1].clone().unwrap()).collect();
        states.join(" ")
    }

    pub async fn view(&self, place: usize) -> String {
        let sql = "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid";
        self.value(place, sql).await
    }

    pub async fn value(&self, place: usize, sql: &str) -> String {
        let rows = self.all[place].root(sql).await.unwrap();
        rows.into_iter().flatten().next().flatten().unwrap_or_default()
    }

    pub async fn counter(&self, place: usize) -> u64 {
        let view = self.view(place).await;
        view.split_once(':').unwrap().1.parse().unwrap()
    }

    pub async fn write(&self, place: usize, row: u64) -> Result<String, SqlError> {
        self.all[place].write("client", row).await
    }
}

pub(super) async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
