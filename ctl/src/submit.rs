//! The one way in which commands change a cluster: submit an operation, show its plan or follow it, say how it ended.

use std::collections::HashMap;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::submit_request::What;
use clusterctl_proto::wire::control::{Operation, Plan, SubmitReply, SubmitRequest};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::Change;
use crate::connect::Client;
use crate::context::Context;
use crate::follow::{self, Followed};
use crate::output::{self, errors, json};
use crate::{operation, progress};

/// A lost connection in the middle of `Submit` is tried again this long: the request id makes it the same call.
const RESUBMIT: Duration = Duration::from_secs(20);
const RESUBMIT_PAUSE: Duration = Duration::from_millis(500);

/// What to submit and how.
#[derive(Default)]
pub struct Order {
    /// What is asked for.
    pub what: Option<What>,
    /// `--dry-run`, `--no-wait`.
    pub change: Change,
    /// Hashes of passwords by name.
    pub secrets: HashMap<String, String>,
    /// `--accept-lower-tolerance`.
    pub accept_lower_tolerance: bool,
}

/// How it went.
pub enum Submitted {
    /// The plan that would be adopted, or that nothing is to be done.
    DryRun(Box<SubmitReply>),
    /// The intent already holds.
    Already(Box<SubmitReply>),
    /// Accepted, not waited for.
    Started(u64),
    /// Ended well.
    Done(Box<Operation>),
    /// Ended otherwise; proofs and plans are in it.
    Failed(Box<Operation>, Failure),
    /// Ctrl-C; the operation's id if it was told before.
    Interrupted(Option<u64>),
}

/// `-o json` of a command that changes something.
#[derive(Serialize, Default)]
struct Answer<'a> {
    /// Nothing was touched.
    dry_run: bool,
    /// It was so already.
    already: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a Operation>,
}

/// Submits, follows, prints; the whole of most commands.
pub async fn run(context: &Context, order: Order) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let submitted = submit(context, &client, order, |_| {}).await?;
    finish(context, submitted)
}

/// Prints how it went and tells the exit status.
pub fn finish(context: &Context, submitted: Submitted) -> Result<u8, Failure> {
    match submitted {
        Submitted::DryRun(reply) => dry_run(context, &reply),
        Submitted::Already(reply) => {
            let answer = Answer {
                already: true,
                message: &reply.message,
                ..Answer::default()
            };
            show(context, answer, &already_sentence(&reply.message));
        }
        Submitted::Started(id) => {
            let message = format!("operation {id} is submitted; follow it: clusterctl ops watch {id}");
            let answer = Answer {
                message: &message,
                operation_id: Some(id),
                ..Answer::default()
            };
            show(context, answer, &message);
        }
        Submitted::Done(operation) => {
            let message = operation::result_sentence(&operation);
            let answer = Answer {
                message: &message,
                operation_id: Some(operation.id),
                operation: Some(&operation),
                ..Answer::default()
            };
            show(context, answer, &message);
        }
        Submitted::Failed(_, failure) => return Err(failure),
        Submitted::Interrupted(id) => {
            return Ok(errors::interrupted(id, context.json(), context.colour_err));
        }
    }
    Ok(0)
}

/// `already so: …`.
pub fn already_sentence(message: &str) -> String {
    match message.trim_start_matches("already so: ") {
        "" => "already so".to_owned(),
        message => format!("already so: {message}"),
    }
}

fn show(context: &Context, answer: Answer<'_>, sentence: &str) {
    if context.json() {
        json::print(answer)
    } else {
        output::data(sentence)
    }
}

fn dry_run(context: &Context, reply: &SubmitReply) {
    if context.json() {
        return json::print(Answer {
            dry_run: true,
            already: reply.already,
            message: &reply.message,
            plan: reply.plan.as_ref(),
            ..Answer::default()
        });
    }
    if reply.already {
        return output::data(&already_sentence(&reply.message));
    }
    let empty = Plan::default();
    let plan = reply.plan.as_ref().unwrap_or(&empty);
    let mut text = String::new();
    if !reply.message.is_empty() {
        text.push_str(&format!("{}\n", reply.message));
    }
    text.push_str(&format!("would do {}:\n", progress::count(plan.steps.len(), "step")));
    text.push_str(&operation::plan_text(plan, false));
    text.push_str("nothing was touched\n");
    output::data(&text);
}

/// Submits and, unless told otherwise, follows to the end. `accepted` is called once the operation is stored.
pub async fn submit(
    context: &Context,
    client: &Client,
    order: Order,
    accepted: impl FnOnce(u64),
) -> Result<Submitted, Failure> {
    let deadline = Instant::now() + context.global.timeout;
    let request = SubmitRequest {
        what: order.what,
        dry_run: order.change.dry_run,
        request_id: uuid::Uuid::new_v4().to_string(),
        secrets: order.secrets,
        accept_lower_tolerance: order.accept_lower_tolerance,
    };
    let reply = tokio::select! {
        biased;
        () = follow::interrupt() => return Ok(Submitted::Interrupted(None)),
        reply = send(context, client, &request, deadline) => reply?,
    };
    if order.change.dry_run {
        return Ok(Submitted::DryRun(Box::new(reply)));
    }
    if reply.already || reply.operation == 0 {
        return Ok(Submitted::Already(Box::new(reply)));
    }
    let id = reply.operation;
    accepted(id);
    if order.change.no_wait {
        return Ok(Submitted::Started(id));
    }
    if !reply.message.is_empty() {
        context.remark(&reply.message);
    }
    match follow::follow(context, client, id, deadline).await? {
        Followed::Interrupted => Ok(Submitted::Interrupted(Some(id))),
        Followed::Ended(operation) => Ok(match operation::failure(&operation) {
            Some(failure) => Submitted::Failed(operation, failure),
            None => Submitted::Done(operation),
        }),
    }
}

async fn send(
    context: &Context,
    client: &Client,
    request: &SubmitRequest,
    deadline: Instant,
) -> Result<SubmitReply, Failure> {
    let give_up = (Instant::now() + RESUBMIT).min(deadline);
    let mut first = None;
    loop {
        let request = request.clone();
        let sent = client.call(|mut api| async move { api.submit(request).await }).await;
        match sent {
            Err(failure) if may_resubmit(&failure) && Instant::now() + RESUBMIT_PAUSE < give_up => {
                context.remark(&format!("    no answer ({failure}): asking again"));
                first.get_or_insert_with(|| failure.to_string());
                tokio::time::sleep(RESUBMIT_PAUSE).await;
            }
            Err(failure) if may_resubmit(&failure) => return Err(given_up(failure, first)),
            other => return other,
        }
    }
}

/// A coordinator that ends says why once, and after that nothing listens: the first word is told with the last one.
fn given_up(mut failure: Failure, first: Option<String>) -> Failure {
    let cause = first.filter(|first| *first != failure.to_string());
    failure.facts.extend(cause.map(|cause| format!("at first: {cause}")));
    failure.fact("whether the operation was stored is not known: clusterctl ops list")
}

/// Only what says nothing about the request itself.
fn may_resubmit(failure: &Failure) -> bool {
    failure.exit == ExitClass::Unreachable && failure.retry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_coordinator_ended_is_not_lost_behind_its_silence() {
        let facts = |first: Option<&str>| {
            let failure = Failure::new("coordinator_unreachable", "nothing listens");
            given_up(failure, first.map(str::to_owned)).facts
        };
        assert_eq!(facts(Some("no space left"))[0], "at first: no space left");
        assert_eq!((facts(Some("nothing listens")).len(), facts(None).len()), (1, 1));
    }
}
