//! `clusterctl events`: the journal, what there is or as it grows.

use std::time::{Duration, SystemTime};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
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
    /// Only what happened to this host, or what its agent did
    #[arg(long, value_name = "HOST")]
    host: Option<HostName>,
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

/// More than a coordinator keeps: none is left out.
const ALL: u32 = 10_000;

const PAUSE: Duration = Duration::from_secs(1);

/// Reads the stream and prints.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let mut request = ListEventsRequest {
        cluster: args.which.for_api(),
        after: 0,
        // The newest of a host are known only after all were seen.
        limit: if args.host.is_some() { ALL } else { args.limit },
        follow: false,
    };
    let concerns = |event: &Event| args.host.as_ref().is_none_or(|host| is_about(event, host));
    let (mut events, mut newest_listed) = (Vec::new(), 0);
    if !args.follow || args.host.is_some() {
        let reading = read(&client, &request, |event| {
            newest_listed = newest_listed.max(event.id);
            if concerns(&event) {
                events.push(event);
            }
        });
        client.within_time(reading).await?;
        let older = events.len().saturating_sub(args.limit as usize);
        events.drain(..older);
    }
    if !args.follow {
        if context.json() {
            json::print(Events { events: &events });
        } else if events.is_empty() {
            output::data(&match (request.cluster.as_str(), &args.host) {
                ("", None) => "no event yet".to_owned(),
                ("", Some(host)) => format!("no event of a host {host}"),
                (cluster, None) => format!("no event of a cluster {cluster}"),
                (cluster, Some(host)) => format!("no event of a host {host} in a cluster {cluster}"),
            });
        } else {
            output::data(&as_text(&events, context.wide(), SystemTime::now()));
        }
        return Ok(0);
    }
    let print = |event: &Event| {
        if context.json() {
            json::print_line(OneEvent { event })
        } else {
            output::data(&line(event))
        }
    };
    events.iter().for_each(print);
    (request.after, request.follow) = (newest_listed, true);
    let mut lost = false;
    loop {
        let mut newest = request.after;
        let ended = read(&client, &request, |event| {
            newest = newest.max(event.id);
            if concerns(&event) {
                print(&event);
            }
        })
        .await;
        // After a lost connection go on behind the last one seen, however many there are.
        if newest > request.after {
            (request.after, request.limit, lost) = (newest, ALL, false);
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

/// It happened to the host, or its agent did it.
fn is_about(event: &Event, host: &HostName) -> bool {
    let agent = event.who.strip_prefix("agent/");
    event.host == host.as_str() || agent == Some(host.as_str())
}

fn as_text(events: &[Event], wide: bool, now: SystemTime) -> String {
    let mut headings = vec!["ID", "WHEN", "WHO", "CLUSTER", "HOST", "OP", "WHAT"];
    if wide {
        headings.insert(6, "KIND");
    }
    let mut table = Columns::new(&headings);
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
        let id = event.id.to_string();
        let mut cells: Vec<&str> = vec![
            &id,
            &when,
            &event.who,
            &event.cluster,
            &event.host,
            &operation,
            what(event),
        ];
        if wide {
            cells.insert(6, &event.kind);
        }
        table.row(cells);
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

    #[test]
    fn healing_reads_like_a_story() {
        let event = |id, at: &str, who: &str, operation, kind: &str, text: &str| Event {
            id,
            at: format!("2026-05-01T03:00:{at}Z"),
            who: who.to_owned(),
            cluster: "prod".to_owned(),
            host: "node3".to_owned(),
            operation,
            kind: kind.to_owned(),
            text: text.to_owned(),
        };
        let events = [
            event(
                7,
                "00",
                "agent/node3",
                0,
                "server_started_alone",
                "mysqld had failed (oom-kill): started it",
            ),
            event(
                8,
                "09",
                "coordinator/1",
                42,
                "heal_begun",
                "node3 is out of the group: rejoining it",
            ),
            event(9, "21", "coordinator/1", 42, "healed", "node3 is ONLINE"),
        ];
        let now = humantime::parse_rfc3339("2026-05-01T03:00:30Z").unwrap();
        let expected = "\
ID  WHEN     WHO            CLUSTER  HOST   OP  WHAT
7   30s ago  agent/node3    prod     node3  -   mysqld had failed (oom-kill): started it
8   21s ago  coordinator/1  prod     node3  42  node3 is out of the group: rejoining it
9   9s ago   coordinator/1  prod     node3  42  node3 is ONLINE
";
        assert_eq!(as_text(&events, false, now), expected);
        let wide = as_text(&events[..1], true, now);
        assert!(wide.contains("  -   server_started_alone  mysqld had failed"), "{wide}");
    }

    #[test]
    fn a_host_is_found_as_the_place_and_as_its_agent() {
        let host: HostName = "node3".parse().unwrap();
        let event = |host: &str, who: &str| Event {
            host: host.to_owned(),
            who: who.to_owned(),
            ..Event::default()
        };
        assert!(is_about(&event("node3", "coordinator/1"), &host));
        assert!(is_about(&event("", "agent/node3"), &host));
        assert!(!is_about(&event("node30", "agent/node30"), &host));
    }
}
