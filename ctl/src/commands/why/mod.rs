//! `clusterctl why`: what is wrong, what shows it, what is done about it or why nothing is, what would unlock it.

mod text;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::ExplainRequest;

use crate::cli::WhichCluster;
use crate::commands::status;
use crate::context::Context;
use crate::output::table::terminal_width;
use crate::output::{self, json};
use text::Look;

/// Explain what is wrong, what is done about it, and what would unlock it
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only what is wrong with this host; without it everything
    #[arg(value_name = "HOST")]
    host: Option<HostName>,
    #[command(flatten)]
    which: WhichCluster,
}

const HELP: &str = "\
For each cluster its verdict, then each trouble, the worst first: who saw what and how long ago, what is done or why \
nothing is, what would unlock it, the exact command. It only asks; the exit status is 0 whatever is wrong.

Example:
  clusterctl why node3";

/// Asks and prints.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let host = args.host.map(|host| host.to_string()).unwrap_or_default();
    let request = ExplainRequest {
        cluster: args.which.for_api(),
        host: host.clone(),
    };
    let client = context.connect().await?;
    let reply = client.call(|mut api| async move { api.explain(request).await }).await?;
    if context.json() {
        json::print(reply);
    } else if !reply.clusters.is_empty() {
        let look = Look {
            wide: context.wide(),
            colour: context.colour_out,
            width: terminal_width().map(usize::from),
        };
        output::data(&text::clusters(&reply.clusters, &host, look));
    } else if host.is_empty() {
        status::no_cluster(context);
    } else {
        output::data(&format!("{host} belongs to no cluster"));
        context.remark("hint: see what it is good for: clusterctl hosts");
    }
    Ok(0)
}
