//! Follows an operation to its end, across restarts of the coordinator.
//!
//! The operation lives in the coordinator: whatever happens here (Ctrl-C, time out, lost connection) it goes on, and each
//! way out says so and how to follow it again. Decides nothing about the operation.

pub mod show;

use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::{Operation, WatchRequest};
use tokio::time::Instant;

use crate::connect::Client;
use crate::context::Context;
use crate::operation;
use show::Show;

/// How a follower left.
#[derive(Debug)]
pub enum Followed {
    /// The operation ended, well or not.
    Ended(Box<Operation>),
    /// Ctrl-C.
    Interrupted,
}

/// How long a coordinator may be away.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Away longer than this: give up.
    pub give_up: Duration,
    /// First pause between two attempts; doubled up to `longest_pause`.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            give_up: Duration::from_secs(60),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Follows operation `id` until it ends, `deadline` passes or somebody interrupts.
pub async fn follow(context: &Context, client: &Client, id: u64, deadline: Instant) -> Result<Followed, Failure> {
    let mut show = Show::new(context);
    let ended = tokio::select! {
        biased;
        () = interrupt() => Ok(Followed::Interrupted),
        () = tokio::time::sleep_until(deadline) => Err(timed_out(id, context.global.timeout)),
        ended = until_ended(client, id, &mut show, Patience::default()) => {
            ended.map(|operation| Followed::Ended(Box::new(operation)))
        }
    };
    show.finish();
    ended.map_err(|mut failure| {
        failure.facts.extend(show.doing());
        failure
    })
}

/// Completes on Ctrl-C; never where no handler can be set, since then Ctrl-C ends the process itself.
pub async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Watches, and watches again when the connection is lost.
pub async fn until_ended(client: &Client, id: u64, show: &mut Show, patience: Patience) -> Result<Operation, Failure> {
    let mut contact = Contact::default();
    loop {
        match watch(client, id, show, &mut contact).await {
            Ok(operation) => return Ok(operation),
            Err(failure) if !passes(&failure) => return Err(failure),
            Err(failure) => {
                let since = *contact.lost_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience.give_up {
                    return Err(gone(id, since.elapsed(), failure));
                }
                if contact.attempts == 0 {
                    show.remark(&format!(
                        "connection to the coordinator is lost ({failure}); operation {id} is stored there: reconnecting"
                    ));
                }
                let pause = patience.first_pause * 2u32.saturating_pow(contact.attempts.min(10));
                contact.attempts += 1;
                tokio::time::sleep(pause.min(patience.longest_pause)).await;
            }
        }
    }
}

#[derive(Default)]
struct Contact {
    lost_since: Option<Instant>,
    attempts: u32,
}

/// One stream, to the operation's end or the stream's.
async fn watch(client: &Client, id: u64, show: &mut Show, contact: &mut Contact) -> Result<Operation, Failure> {
    let mut updates = client
        .stream(|mut api| async move { api.watch_operation(WatchRequest { id }).await })
        .await?;
    while let Some(update) = updates.message().await.map_err(|status| client.explain(status))? {
        if contact.lost_since.take().is_some() {
            contact.attempts = 0;
            show.remark("connected again");
        }
        show.update(&update);
        if let Some(operation) = update.operation
            && operation::has_ended(&operation.state)
        {
            return Ok(operation);
        }
    }
    Err(Failure::new("stream_ended", "the coordinator ended the stream")
        .exit(ExitClass::Unreachable)
        .transient())
}

/// Whether waiting may help: the coordinator is away, not of another opinion.
fn passes(failure: &Failure) -> bool {
    failure.retry || matches!(failure.exit, ExitClass::Unreachable)
}

fn timed_out(id: u64, timeout: Duration) -> Failure {
    Failure::new(
        "timeout",
        format!(
            "operation {id} has not ended within {}; it goes on",
            humantime::format_duration(timeout)
        ),
    )
    .hint(format!(
        "follow it: clusterctl ops watch {id}, with a longer --timeout if need be"
    ))
    .exit(ExitClass::Timeout)
}

fn gone(id: u64, away: Duration, last: Failure) -> Failure {
    let mut failure = Failure::new(
        "coordinator_gone",
        format!(
            "the coordinator has not answered for {} s; operation {id} is stored and goes on once it is back",
            away.as_secs()
        ),
    )
    .fact(format!("last attempt: {last}"))
    .exit(ExitClass::Unreachable);
    failure.facts.extend(last.facts);
    failure.hint(format!(
        "on the coordinator's host: systemctl status clusterctl-coordinator; then: clusterctl ops watch {id}"
    ))
}
