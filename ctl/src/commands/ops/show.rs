//! `clusterctl ops show`: an operation with its plans.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::{GetOperationRequest, Operation};

use crate::commands::verify;
use crate::context::Context;
use crate::operation;
use crate::output::{self, json, paint};

/// Show an operation: its plans, each step's outcome, and why
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl ops show 7")]
pub struct Args {
    /// The operation
    #[arg(value_name = "ID", value_parser = crate::units::parse_operation)]
    id: u64,
}

/// Asks and prints.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let request = GetOperationRequest { id: args.id };
    let operation = client
        .call(|mut api| async move { api.get_operation(request).await })
        .await?;
    if context.json() {
        json::print(operation);
    } else {
        output::data(&as_text(&operation));
    }
    Ok(0)
}

/// The whole operation for people.
pub fn as_text(operation: &Operation) -> String {
    let mut text = format!("operation {}: {}\n", operation.id, operation.title);
    let lines = [
        ("state", &operation.state),
        ("cluster", &operation.cluster),
        ("by", &operation.by),
        ("submitted", &operation.submitted_at),
        ("ended", &operation.ended_at),
        ("message", &operation.message),
        ("code", &operation.code),
    ];
    for (name, value) in lines {
        if !value.is_empty() {
            text.push_str(&format!("{name:<10} {}\n", paint::clean(value)));
        }
    }
    for fact in &operation.facts {
        text.push_str(&format!("{:<10} {}\n", "", paint::clean(fact)));
    }
    if !operation.hint.is_empty() {
        text.push_str(&format!("{:<10} {}\n", "hint", operation.hint));
    }
    for plan in &operation.plans {
        text.push_str(&format!(
            "\nplan {}:\n{}",
            plan.id,
            paint::clean(&operation::plan_text(plan, true))
        ));
    }
    let proofs = verify::proofs_text(&operation.proofs);
    if !proofs.is_empty() {
        text.push_str(&format!("\n{proofs}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::wire::control::{Plan, PlanStep};

    use super::*;

    #[test]
    fn steps_show_how_they_ended() {
        let operation = Operation {
            id: 7,
            title: "join node3".to_owned(),
            state: "running".to_owned(),
            by: "operator/alice".to_owned(),
            plans: vec![Plan {
                id: 9,
                steps: vec![PlanStep {
                    number: 1,
                    host: "node3".to_owned(),
                    title: "install packages".to_owned(),
                    state: "changed".to_owned(),
                    detail: "installed mysql-server".to_owned(),
                    elapsed_ms: 1500,
                    ..PlanStep::default()
                }],
                ..Plan::default()
            }],
            ..Operation::default()
        };
        assert_eq!(
            as_text(&operation),
            "operation 7: join node3\nstate      running\nby         operator/alice\n\nplan 9:\n    1. node3  install packages: installed mysql-server 1.5s\n"
        );
    }
}
