//! Data of a cluster that was formed before a simulation begins: servers that hold the same, none of which runs.

use std::sync::Arc;

use serde_json::json;

use super::data::{Data, Record, Trx, Work};
use super::disk::LogLine;
use super::net::Net;

/// A member as it was made.
pub struct Made<'a> {
    /// Its host.
    pub host: &'a str,
    /// `server_uuid`.
    pub uuid: String,
    /// `server_id`.
    pub id: u32,
}

/// The cluster.
pub struct Formed<'a> {
    /// Its name.
    pub name: &'a str,
    /// `cluster_id`.
    pub cluster_id: String,
    /// `group_replication_group_name`.
    pub group_name: String,
    /// Members.
    pub members: &'a [Made<'a>],
}

/// Transactions that everybody holds.
const BEFORE: u64 = 20;
/// When the group lived last, in microseconds since 1970, and its view's prefix.
const LAST_VIEW: (u64, u64) = (1_795_862_700_000_000, 17_958_627_000_000_000);
const METADATA: &str = "mysql_innodb_cluster_metadata";
const OBJECTS: [&str; 8] = [
    "schema_version",
    "v2_gr_clusters",
    "v2_instances",
    "v2_routers",
    "clusters",
    "instances",
    "routers",
    "router_stats",
];

impl Net {
    /// Gives every member, which is equipped already, the data of this cluster.
    pub fn form(self: &Arc<Self>, formed: &Formed<'_>) {
        let mut world = self.lock();
        let transactions: Vec<Arc<Trx>> = (1..=BEFORE)
            .map(|number| {
                Arc::new(Trx {
                    id: world.fresh(),
                    source: formed.group_name.clone(),
                    number,
                    origin: formed.members[0].uuid.clone(),
                    work: Work::new("before the simulation", |_| {}),
                })
            })
            .collect();
        let names: Vec<String> = formed
            .members
            .iter()
            .map(|member| format!("{}:3306", member.host))
            .collect();
        let names = names.join(", ");
        for member in formed.members {
            let id = world.names[member.host];
            let server = &mut world.servers[id];
            formed.fill(&mut server.disk.data);
            for transaction in &transactions {
                server.disk.commit(transaction);
            }
            server.disk.log.push(LogLine {
                at: LAST_VIEW.0,
                prio: "System",
                code: "MY-011503",
                data: format!(
                    "Plugin group_replication reported: 'Group membership changed to {names} on view {}:3.'",
                    LAST_VIEW.1
                ),
            });
            server.options.insert("server_id".to_owned(), member.id.to_string());
            server.options.insert("report_host".to_owned(), member.host.to_owned());
        }
    }
}

impl Made<'_> {
    /// Its recovery account.
    pub fn account(&self) -> String {
        format!("mysql_innodb_cluster_{}", self.id)
    }
}

impl Formed<'_> {
    fn fill(&self, data: &mut Data) {
        data.schemas
            .insert(METADATA.to_owned(), OBJECTS.map(str::to_owned).into());
        data.schemas.insert("sim".to_owned(), ["written".to_owned()].into());
        data.metadata.clusters.push(record(&[
            ("cluster_id", json!(self.cluster_id)),
            ("cluster_name", json!(self.name)),
            ("attributes", json!({ "group_replication_group_name": self.group_name })),
            ("router_options", json!({})),
        ]));
        for (number, member) in (1_u64..).zip(self.members) {
            let address = format!("{}:3306", member.host);
            let attributes = json!({
                "server_id": member.id,
                "recoveryAccountUser": member.account(),
                "recoveryAccountHost": "%",
            });
            data.metadata.last_instance = number;
            data.metadata.instances.push(record(&[
                ("instance_id", json!(number)),
                ("cluster_id", json!(self.cluster_id)),
                ("address", json!(address)),
                ("instance_name", json!(address)),
                ("mysql_server_uuid", json!(member.uuid)),
                ("addresses", json!({ "mysqlClassic": address })),
                ("attributes", attributes),
            ]));
        }
    }
}

fn record(columns: &[(&str, serde_json::Value)]) -> Record {
    let column = |(name, value): &(&str, serde_json::Value)| ((*name).to_owned(), value.clone());
    columns.iter().map(column).collect()
}
