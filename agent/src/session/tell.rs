//! What came of a step, in one line of the journal.

use std::time::Duration;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::step::{StepOutcome, StepResult};

/// One line for people: who reads the plain journal sees no fields.
pub fn tell(name: &str, host: &HostName, outcome: &StepOutcome) {
    let (elapsed_ms, spent_ms, line) = (outcome.elapsed_ms, &outcome.spent_ms, line(name, host, outcome));
    match &outcome.result {
        StepResult::Unchanged | StepResult::Changed { .. } => tracing::info!(elapsed_ms, ?spent_ms, "{line}"),
        StepResult::Failed { failure } => {
            tracing::warn!(elapsed_ms, ?spent_ms, code = failure.code, facts = ?failure.facts, hint = failure.hint, "{line}");
        }
    }
}

fn line(name: &str, host: &HostName, outcome: &StepOutcome) -> String {
    let seconds = Duration::from_millis(outcome.elapsed_ms).as_secs_f64();
    match &outcome.result {
        StepResult::Unchanged => format!("step {name} on {host} unchanged ({seconds:.2} s)"),
        StepResult::Changed { what } => format!("step {name} on {host} changed ({seconds:.2} s): {what}"),
        StepResult::Failed { failure } => {
            let facts: String = failure.facts.iter().map(|fact| format!("; {fact}")).collect();
            let again = if failure.retry { ", it may be tried again" } else { "" };
            format!("step {name} on {host} failed ({seconds:.2} s{again}): {failure}{facts}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clusterctl_proto::failure::Failure;

    use super::*;

    #[test]
    fn the_journal_names_step_host_and_what_came_of_it() {
        let host: HostName = "node3".parse().unwrap();
        let mut outcome = StepOutcome {
            result: StepResult::Changed {
                what: "joined the group by incremental recovery".to_owned(),
            },
            data: None,
            elapsed_ms: 2130,
            spent_ms: BTreeMap::new(),
        };
        assert_eq!(
            line("join_group", &host, &outcome),
            "step join_group on node3 changed (2.13 s): joined the group by incremental recovery"
        );
        outcome.result = StepResult::Failed {
            failure: Failure::new("unit_start", "mysqld does not start")
                .fact("disk full")
                .transient(),
        };
        assert_eq!(
            line("server", &host, &outcome),
            "step server on node3 failed (2.13 s, it may be tried again): mysqld does not start; disk full"
        );
    }
}
