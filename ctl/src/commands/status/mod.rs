//! `clusterctl status`: one true sentence, then who does what.

pub mod text;

use std::io::IsTerminal;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::wire::control::{StatusReply, StatusRequest};

use crate::connect::Client;
use crate::context::Context;
use crate::output::{self, errors, json, paint};

/// Show clusters: verdict, members, routers
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl status prod --watch 5")]
pub struct Args {
    /// The cluster; without it every one
    #[arg(value_name = "CLUSTER", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    cluster: Option<ClusterName>,
    /// Show it again every 2 seconds, or as many as given, until Ctrl-C
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
}

/// Asks and prints, once or again and again.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let cluster = args.cluster.map(|name| name.to_string()).unwrap_or_default();
    let client = context.connect().await?;
    match args.watch {
        None => {
            let reply = fetch(&client, cluster).await?;
            show(context, reply);
            Ok(0)
        }
        Some(seconds) => watch(context, &client, &cluster, Duration::from_secs(seconds)).await,
    }
}

/// Status of one cluster, or of all with an empty name.
pub async fn fetch(client: &Client, cluster: String) -> Result<StatusReply, Failure> {
    let request = StatusRequest { cluster };
    client
        .call(|mut api| async move { api.get_status(request).await })
        .await
}

fn show(context: &Context, reply: StatusReply) {
    if context.json() {
        return json::print(reply);
    }
    if reply.clusters.is_empty() {
        return no_cluster(context);
    }
    output::data(&text::clusters(&reply.clusters, context.wide(), context.colour_out));
}

/// What is said where there is none.
pub fn no_cluster(context: &Context) {
    output::data("no cluster yet");
    context.remark("hint: form one: clusterctl create NAME --primary HOST");
}

/// On a terminal the screen is redrawn; elsewhere one answer follows the other, as JSON one per line.
async fn watch(context: &Context, client: &Client, cluster: &str, every: Duration) -> Result<u8, Failure> {
    let redraw = std::io::stdout().is_terminal() && !paint::dumb_terminal() && !context.json();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        ticks.tick().await;
        let answer = fetch(client, cluster.to_owned()).await;
        if redraw {
            // Home and clear: in one write with nothing between, so that it does not flicker.
            let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
            output::data(&format!("\x1b[H\x1b[2J\x1b[3Jevery {} s, {now}\n", every.as_secs()));
        } else if !first && !context.json() {
            output::data("---");
        }
        match answer {
            Ok(reply) if context.json() => json::print_line(reply),
            Ok(reply) => show(context, reply),
            // The first answer tells whether the call can work at all; later a coordinator may be away for a while.
            Err(failure) if first => return Err(failure),
            Err(failure) if context.json() => output::note(&errors::as_document(&failure)),
            Err(failure) => output::note(&errors::as_text(&failure, context.colour_err)),
        }
        first = false;
    }
}
