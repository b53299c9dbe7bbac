//! `clusterctl verify`: the steps of the walkthrough, each proven on the running cluster.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::wire::control::submit_request::What;
use clusterctl_proto::wire::control::{Operation, Proof, Verify};
use serde::Serialize;

use crate::cli::Change;
use crate::context::Context;
use crate::output::paint::{self, Meaning};
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::submit::{self, Order, Submitted};

/// Prove on the running cluster that it does what it should
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl verify prod")]
pub struct Args {
    /// The cluster; not needed while there is only one
    #[arg(value_name = "CLUSTER", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    cluster: Option<ClusterName>,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct Answer<'a> {
    passed: bool,
    proofs: &'a [Proof],
    operation_id: u64,
}

/// Exit status where a proof failed.
const NOT_PROVEN: u8 = 1;

/// Submits it and shows the proofs.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let verify = Verify {
        cluster: args.cluster.map(|name| name.to_string()).unwrap_or_default(),
    };
    let order = Order {
        what: Some(What::Verify(verify)),
        change: args.change,
        ..Order::default()
    };
    let client = context.connect().await?;
    match submit::submit(context, &client, order, |_| {}).await? {
        Submitted::Done(operation) => Ok(show(context, &operation)),
        // A failed proof explains itself; without one the failure does.
        Submitted::Failed(operation, failure) => {
            if !operation.proofs.is_empty() {
                let status = show(context, &operation);
                if status == NOT_PROVEN {
                    return Ok(status);
                }
            }
            Err(failure)
        }
        other => submit::finish(context, other),
    }
}

/// Prints the proofs of an operation; answers the exit status.
pub fn show(context: &Context, operation: &Operation) -> u8 {
    let proofs = &operation.proofs;
    let failed = proofs.iter().filter(|proof| !proof.passed).count();
    if context.json() {
        json::print(Answer {
            passed: failed == 0,
            proofs,
            operation_id: operation.id,
        });
    } else {
        let verdict = match (proofs.len(), failed) {
            (0, _) => submit_message(operation),
            (all, 0) => format!("verified: {all} of {all} proofs hold"),
            (all, failed) => format!("NOT verified: {failed} of {all} proofs failed"),
        };
        let meaning = if failed == 0 { Meaning::Good } else { Meaning::Bad };
        let table = paint::words(
            context.colour_out,
            &proofs_text(proofs),
            &[("ok", Meaning::Good), ("FAILED", Meaning::Bad)],
        );
        output::data(&format!(
            "{table}{}",
            paint::paint(context.colour_out, meaning, &verdict)
        ));
    }
    if failed == 0 { 0 } else { NOT_PROVEN }
}

fn submit_message(operation: &Operation) -> String {
    crate::operation::result_sentence(operation)
}

/// The proofs as a table; nothing where there are none.
pub fn proofs_text(proofs: &[Proof]) -> String {
    let mut table = Columns::new(&["STEP", "RESULT", "PROOF", "EVIDENCE"]);
    for proof in proofs {
        let result = if proof.passed { "ok" } else { "FAILED" };
        table.row([proof.step.to_string().as_str(), result, &proof.title, &proof.evidence]);
    }
    if table.is_empty() {
        String::new()
    } else {
        table.render()
    }
}
