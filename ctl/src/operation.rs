//! An operation as people read it, and what its end means for the exit status.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::{Operation, Plan};

use crate::progress;

/// Whether nothing more will happen.
pub fn has_ended(state: &str) -> bool {
    matches!(state, "done" | "failed" | "cancelled")
}

/// One sentence on an operation that went well.
pub fn result_sentence(operation: &Operation) -> String {
    if operation.message.is_empty() {
        format!("{}: done", operation.title)
    } else {
        operation.message.clone()
    }
}

/// Why an operation did not go well; none when it did.
pub fn failure(operation: &Operation) -> Option<Failure> {
    let id = operation.id;
    let mut failure = match operation.state.as_str() {
        "failed" => {
            let code = if operation.code.is_empty() {
                "operation_failed"
            } else {
                &operation.code
            };
            let message = if operation.message.is_empty() {
                format!("operation {id} failed")
            } else {
                operation.message.clone()
            };
            Failure::new(code, message).exit(exit_class(operation.exit_code))
        }
        "cancelled" => {
            let by = if operation.message.is_empty() {
                String::new()
            } else {
                format!(": {}", operation.message)
            };
            Failure::new(
                "cancelled",
                format!("operation {id} ({}) was cancelled{by}", operation.title),
            )
        }
        _ => return None,
    };
    failure.facts.clone_from(&operation.facts);
    failure.facts.push(format!("operation {id}: {}", operation.title));
    if let Some(plan) = operation.plans.last() {
        // Proofs that do not hold are facts of the failure already.
        let failed = plan
            .steps
            .iter()
            .filter(|step| step.state == "failed" && step.name != "prove");
        failure
            .facts
            .extend(failed.map(|step| format!("step {}", progress::ended(plan, step))));
    }
    let hint = if operation.hint.is_empty() {
        format!("see what was done: clusterctl ops show {id}")
    } else {
        operation.hint.clone()
    };
    Some(failure.hint(hint))
}

/// The class of an exit status that the coordinator names.
fn exit_class(code: u32) -> ExitClass {
    const CLASSES: [ExitClass; 7] = [
        ExitClass::Usage,
        ExitClass::Refused,
        ExitClass::Unreachable,
        ExitClass::Timeout,
        ExitClass::Partial,
        ExitClass::Denied,
        ExitClass::Conflict,
    ];
    CLASSES
        .into_iter()
        .find(|class| u32::from(class.code()) == code)
        .unwrap_or_default()
}

/// A plan as `--dry-run` and `ops show` print it.
pub fn plan_text(plan: &Plan, with_states: bool) -> String {
    let mut text = String::new();
    let widest = plan
        .steps
        .iter()
        .map(|step| step.host.chars().count())
        .max()
        .unwrap_or(0);
    for step in &plan.steps {
        let title = if step.title.is_empty() { &step.name } else { &step.title };
        text.push_str(&format!("  {:>3}. {:<widest$}  {title}", step.number, step.host));
        if !step.after.is_empty() && !with_states {
            let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
            text.push_str(&format!("  (after {})", after.join(", ")));
        }
        if with_states {
            text.push_str(&format!(": {}", progress::outcome(step)));
            if step.elapsed_ms > 0 {
                text.push_str(&format!(" {}", crate::units::elapsed(step.elapsed_ms)));
            }
        }
        text.push('\n');
        if with_states {
            for fact in progress::facts(step) {
                text.push_str(&format!("{:>9}{fact}\n", ""));
            }
            if step.state == "failed" && !step.hint.is_empty() {
                text.push_str(&format!("{:>9}hint: {}\n", "", step.hint));
            }
        }
    }
    if !plan.report.is_empty() {
        text.push_str("why:\n");
        for line in &plan.report {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::wire::control::PlanStep;

    use super::*;

    #[test]
    fn the_exit_status_follows_the_coordinators_word() {
        let mut operation = Operation {
            id: 7,
            title: "join node3".to_owned(),
            state: "failed".to_owned(),
            code: "errant_transactions".to_owned(),
            message: "node3 holds transactions that the group has not".to_owned(),
            facts: vec!["errant: 3e11fa47:1-5".to_owned()],
            exit_code: 3,
            ..Operation::default()
        };
        let shown = failure(&operation).unwrap();
        assert_eq!(
            (shown.code.as_str(), shown.exit),
            ("errant_transactions", ExitClass::Refused)
        );
        assert_eq!(shown.facts, ["errant: 3e11fa47:1-5", "operation 7: join node3"]);
        operation.exit_code = 0;
        assert_eq!(failure(&operation).unwrap().exit, ExitClass::General);
        operation.state = "done".to_owned();
        assert!(failure(&operation).is_none());
    }

    #[test]
    fn a_failed_step_shows_facts_and_hint() {
        let step = PlanStep {
            number: 1,
            host: "node1".to_owned(),
            title: "start mysqld".to_owned(),
            state: "failed".to_owned(),
            detail: "it does not start".to_owned(),
            facts: vec!["[ERROR] disk full".to_owned()],
            hint: "free some space".to_owned(),
            ..PlanStep::default()
        };
        let plan = Plan {
            steps: vec![step],
            ..Plan::default()
        };
        assert_eq!(
            plan_text(&plan, true),
            "    1. node1  start mysqld: failed: it does not start\n         [ERROR] disk full\n         hint: free some space\n"
        );
    }

    #[test]
    fn a_plan_lists_hosts_in_a_column() {
        let step = |number, host: &str, after: Vec<u32>| PlanStep {
            number,
            host: host.to_owned(),
            title: "do it".to_owned(),
            after,
            ..PlanStep::default()
        };
        let plan = Plan {
            steps: vec![step(1, "node1", vec![]), step(2, "router1", vec![1])],
            report: vec!["donor: node1, the only one".to_owned()],
            ..Plan::default()
        };
        assert_eq!(
            plan_text(&plan, false),
            "    1. node1    do it\n    2. router1  do it  (after 1)\nwhy:\n  donor: node1, the only one\n"
        );
    }
}
