//! `clusterctl events`: the journal, what there is or as it grows.

use std::time::{Duration, SystemTime};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::{Event, ListEventsRequest};
use serde::Serialize;

use crate::cli::WhichCluster;
use crate::connect::Client;
use crate::context::Context;
use crate::output::paint;
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::units;

/// Show the journal: who did what, when, and what happened
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl events -f")]
pub struct Args {
    #[command(flatten)]
    which: WhichCluster,
    /// Go on printing what is added, until Ctrl-C; with -o json one document per line
    #[arg(short, long)]
    follow: bool,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Serialize)]
struct Events<'a> {
    events: &'a [Event],
}

#[derive(Serialize)]
struct OneEvent<'a> {
    event: &'a Event,
}

const PAUSE: Duration = Duration::from_secs(1);

/// Reads the stream and prints.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let mut request = ListEventsRequest {
        cluster: args.which.for_api(),
        after: 0,
        limit: args.limit,
        follow: args.follow,
    };
    if !args.follow {
        let mut events = Vec::new();
        let reading = read(&client, &request, |event| events.push(event));
        client.within_time(reading).await?;
        if context.json() {
            json::print(Events { events: &events });
        } else if events.is_empty() {
            output::data(&match request.cluster.as_str() {
                "" => "no event yet".to_owned(),
                cluster => format!("no event of a cluster {cluster}"),
            });
        } else {
            output::data(&as_text(&events, context.wide(), SystemTime::now()));
        }
        return Ok(0);
    }
    let mut lost = false;
    loop {
        let mut newest = request.after;
        let ended = read(&client, &request, |event| {
            newest = newest.max(event.id);
            if context.json() {
                json::print_line(OneEvent { event: &event })
            } else {
                output::data(&line(&event))
            }
        })
        .await;
        // After a lost connection go on behind the last one seen, however many there are.
        if newest > request.after {
            (request.after, request.limit, lost) = (newest, 0, false);
        }
        match ended {
            Err(failure) if failure.exit != ExitClass::Unreachable => return Err(failure),
            Err(failure) if newest == 0 && !lost => return Err(failure),
            Err(failure) if !lost => context.remark(&format!(
                "connection to the coordinator is lost ({failure}): reconnecting"
            )),
            _ => {}
        }
        lost = true;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(client: &Client, request: &ListEventsRequest, mut each: impl FnMut(Event)) -> Result<(), Failure> {
    let request = request.clone();
    let mut events = client
        .stream(|mut api| async move { api.list_events(request).await })
        .await?;
    while let Some(event) = events.message().await.map_err(|status| client.explain(status))? {
        each(event);
    }
    Ok(())
}

fn as_text(events: &[Event], wide: bool, now: SystemTime) -> String {
    let mut table = Columns::new(&["ID", "WHEN", "WHO", "CLUSTER", "HOST", "OP", "WHAT"]);
    for event in events {
        let when = if wide {
            event.at.clone()
        } else {
            units::relative(&event.at, now)
        };
        let operation = if event.operation == 0 {
            String::new()
        } else {
            event.operation.to_string()
        };
        table.row([
            &event.id.to_string(),
            &when,
            &event.who,
            &event.cluster,
            &event.host,
            &operation,
            what(event),
        ]);
    }
    table.render()
}

fn what(event: &Event) -> &str {
    if event.text.is_empty() {
        &event.kind
    } else {
        &event.text
    }
}

/// One event as a line of its own: columns of a table cannot be known in advance.
fn line(event: &Event) -> String {
    let places: Vec<&str> = [event.cluster.as_str(), event.host.as_str()]
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    let place = if places.is_empty() {
        String::new()
    } else {
        format!(" {}", places.join("/"))
    };
    paint::clean(&format!(
        "{} {} {}{place}: {}",
        event.id,
        event.at,
        event.who,
        what(event)
    ))
    .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_followed_event_is_one_line() {
        let event = Event {
            id: 4,
            at: "2026-05-01T12:00:00Z".to_owned(),
            who: "operator/alice".to_owned(),
            cluster: "prod".to_owned(),
            host: "node3".to_owned(),
            text: "joined\nthe group".to_owned(),
            ..Event::default()
        };
        assert_eq!(
            line(&event),
            "4 2026-05-01T12:00:00Z operator/alice prod/node3: joined the group"
        );
    }
}
