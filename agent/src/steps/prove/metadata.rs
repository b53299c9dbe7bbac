//! Walkthrough 9: the metadata schema is complete and tells the truth about the live group.

use std::collections::BTreeSet;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::MemberState;

use super::Verdict;
use crate::mysql::conn::text;
use crate::mysql::{Db, group, metadata};
use crate::steps::Context;

/// Tables and views of schema 2.4.0.
const OBJECTS: [&str; 24] = [
    "async_cluster_members",
    "async_cluster_views",
    "clusters",
    "clusterset_members",
    "clusterset_views",
    "clustersets",
    "instances",
    "router_rest_accounts",
    "router_stats",
    "routers",
    "routing_guidelines",
    "schema_version",
    "v2_ar_clusters",
    "v2_ar_members",
    "v2_clusters",
    "v2_cs_clustersets",
    "v2_cs_members",
    "v2_cs_router_options",
    "v2_gr_clusters",
    "v2_instances",
    "v2_router_options",
    "v2_router_rest_accounts",
    "v2_routers",
    "v2_this_instance",
];

/// On the primary.
pub async fn prove(members: &[String], cx: &Context) -> Result<Verdict, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let mut wrong = Vec::new();
    let rows = db
        .rows_with(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ?",
            (metadata::SCHEMA,),
        )
        .await?;
    let there: BTreeSet<String> = rows.iter().map(|row| text(row, 0)).collect();
    let missing: Vec<&str> = OBJECTS.iter().copied().filter(|name| !there.contains(*name)).collect();
    if !missing.is_empty() {
        wrong.push(format!("missing: {}", missing.join(", ")));
    }
    let copy = metadata::copy(&mut db).await?;
    let view = group::view(&mut db).await?;
    let name = group::name(&mut db).await?;
    let mut version = "none".to_owned();
    if let Some(copy) = &copy {
        version.clone_from(&copy.version);
        if copy.group_name != name {
            wrong.push(format!("group {} instead of {name}", copy.group_name));
        }
        let recorded: BTreeSet<String> = copy
            .instances
            .iter()
            .map(|i| format!("{} {}", i.address.to_lowercase(), i.server_uuid))
            .collect();
        let live: BTreeSet<String> = view
            .iter()
            .flat_map(|view| &view.members)
            .filter(|m| m.state == MemberState::Online)
            .map(|m| format!("{}:{} {}", m.host.to_lowercase(), m.port, m.server_uuid))
            .collect();
        wrong.extend(
            recorded
                .difference(&live)
                .map(|row| format!("{row} is recorded, but not ONLINE")),
        );
        wrong.extend(
            live.difference(&recorded)
                .map(|row| format!("{row} is ONLINE, but not recorded")),
        );
        for member in members {
            if !copy.instances.iter().any(|i| i.address.eq_ignore_ascii_case(member)) {
                wrong.push(format!("{member} is not recorded"));
            }
        }
    } else {
        wrong.push("it holds no cluster".to_owned());
    }
    db.close().await;
    let title = "the metadata schema is complete and true";
    if wrong.is_empty() {
        let evidence = format!(
            "{} {version} on {}: {} objects, members {} with their live server_uuids",
            metadata::SCHEMA,
            cx.name,
            OBJECTS.len(),
            members.join(", ")
        );
        return Ok(Verdict::new(9, title, true, evidence));
    }
    Ok(Verdict::new(9, title, false, wrong.join("; ")))
}
