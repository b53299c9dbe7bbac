//! `clusterctl router list`: the routers of every cluster.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::RouterStatus;
use serde::Serialize;

use crate::cli::WhichCluster;
use crate::commands::status;
use crate::context::Context;
use crate::output::{self, json};

/// List routers
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl router list")]
pub struct Args {
    #[command(flatten)]
    which: WhichCluster,
}

#[derive(Serialize)]
struct Routers {
    routers: Vec<Router>,
}

#[derive(Serialize)]
struct Router {
    cluster: String,
    #[serde(flatten)]
    router: RouterStatus,
}

/// Asks for the status and prints the routers in it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let reply = status::fetch(&client, args.which.for_api()).await?;
    if context.json() {
        let of = |cluster: clusterctl_proto::wire::control::ClusterStatus| {
            let name = cluster.name;
            cluster.routers.into_iter().map(move |router| Router {
                cluster: name.clone(),
                router,
            })
        };
        json::print(Routers {
            routers: reply.clusters.into_iter().flat_map(of).collect(),
        });
        return Ok(0);
    }
    let rows = reply
        .clusters
        .iter()
        .flat_map(|c| c.routers.iter().map(|router| (c.name.as_str(), router)));
    let text = status::text::routers(rows, true);
    if text.is_empty() {
        output::data("no router");
        context.remark("hint: add one: clusterctl router add HOST");
    } else {
        output::data(&text);
    }
    Ok(0)
}
