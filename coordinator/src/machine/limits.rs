//! How large what is stored may be, in bytes: of an operation, a plan, an outcome, a text, and of all that is kept.
//!
//! Everything in the log is kept in memory on every coordinator and travels in every snapshot, so counts alone bound nothing. The leader
//! applies these limits before it proposes, the machine once more where the model's feature level is at least [`LEVEL`]: below it, an
//! entry has to mean what it meant to the release that wrote it. Pure.

use std::io;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::step::{StepOutcome, StepResult};
use serde::Serialize;

use super::{Change, plans};
use crate::model::{Event, Model, Operation, PlanDraft};

/// Feature level from which the machine applies these limits.
pub const LEVEL: u32 = 1;

/// Largest operation that is taken.
pub const MAX_OPERATION_BYTES: usize = 64 * 1024;
/// All operations of operators that have not ended, together.
pub const MAX_ACTIVE_BYTES: usize = 2 * 1024 * 1024;
/// Largest plan that is adopted.
pub const MAX_PLAN_BYTES: usize = 2 * 1024 * 1024;
/// All plans of one operation, together.
pub const MAX_PLANS_BYTES: usize = 16 * 1024 * 1024;
/// Largest outcome of a step that is stored.
pub const MAX_OUTCOME_BYTES: usize = 256 * 1024;
/// Longest text of a reason, a failure, a fact or a line of the journal.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
/// Most facts of a failure.
const MAX_FACTS: usize = 64;
/// Longest name of a kind of line.
const MAX_KIND_BYTES: usize = 60;

/// Ended operations with their plans are forgotten, the oldest first, beyond this size.
pub const KEEP_OPERATIONS_BYTES: u64 = 16 * 1024 * 1024;
/// Events are forgotten, the oldest first, beyond this size.
pub const KEEP_EVENTS_BYTES: u64 = 4 * 1024 * 1024;

/// Stands where a text was cut.
const CUT: &str = " … (cut)";

/// The machine applies the limits to this model.
pub(super) fn hold(model: &Model) -> bool {
    model.feature_level >= LEVEL
}

/// Bytes of the value as JSON.
pub fn bytes(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // What cannot be written is not taken.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// Fails when an operation is too large to be stored.
pub fn operation(operation: &Operation) -> Result<(), Failure> {
    let size = bytes(operation);
    if size <= MAX_OPERATION_BYTES {
        return Ok(());
    }
    Err(Failure::new(
        "operation_too_large",
        format!("the operation has {size} bytes, at most {MAX_OPERATION_BYTES} are stored"),
    )
    .hint("name fewer hosts in one command, and add the others afterwards: clusterctl join HOST")
    .exit(ExitClass::Usage))
}

/// Fails when so many operations wait already that another one has no room. What the coordinator itself wants always has.
pub(super) fn room(model: &Model, wanted: &Operation) -> Result<(), Failure> {
    if wanted.by_itself() {
        return Ok(());
    }
    let active = model.active_operations().filter(|op| !op.by_itself());
    let size = active.map(bytes).fold(bytes(wanted), usize::saturating_add);
    if size <= MAX_ACTIVE_BYTES {
        return Ok(());
    }
    Err(Failure::new(
        "too_many_operations",
        format!("operations that have not ended would have {size} bytes, at most {MAX_ACTIVE_BYTES} are stored"),
    )
    .hint("wait until some have ended, or cancel them: clusterctl ops list")
    .exit(ExitClass::Conflict)
    .transient())
}

/// Fails when a plan is too large to be adopted.
pub fn plan(draft: &PlanDraft) -> Result<(), Failure> {
    let size = bytes(draft);
    if size <= MAX_PLAN_BYTES {
        return Ok(());
    }
    Err(Failure::new(
        "plan_too_large",
        format!("the plan has {size} bytes, at most {MAX_PLAN_BYTES} are stored"),
    )
    .fact(format!("{} steps", draft.steps.len()))
    .hint("ask for less in one command: fewer hosts"))
}

/// Fails when the plans of an operation have no room for another one.
pub(super) fn plans_of(model: &Model, operation: &Operation, draft: &PlanDraft) -> Result<(), Failure> {
    let earlier = operation.plans.iter().filter_map(|id| model.plans.get(id));
    let size = earlier.map(bytes).fold(bytes(draft), usize::saturating_add);
    if size <= MAX_PLANS_BYTES {
        return Ok(());
    }
    Err(Failure::new(
        "plans_too_large",
        format!(
            "the plans of operation {} would have {size} bytes, at most {MAX_PLANS_BYTES} are stored",
            operation.id
        ),
    )
    .hint(format!(
        "see why it was planned so often: clusterctl ops show {}; then run the command again",
        operation.id
    )))
}

/// The text, cut where it is too long.
pub fn text(text: &str) -> String {
    within(text, MAX_TEXT_BYTES)
}

fn within(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}{CUT}")
}

fn failure(failure: &Failure) -> Failure {
    Failure {
        code: within(&failure.code, MAX_KIND_BYTES),
        message: text(&failure.message),
        facts: failure.facts.iter().take(MAX_FACTS).map(|fact| text(fact)).collect(),
        hint: failure.hint.as_deref().map(text),
        ..failure.clone()
    }
}

fn outcome(outcome: &StepOutcome) -> StepOutcome {
    let result = match &outcome.result {
        StepResult::Unchanged => StepResult::Unchanged,
        StepResult::Changed { what } => StepResult::Changed { what: text(what) },
        StepResult::Failed { failure: why } => StepResult::Failed { failure: failure(why) },
    };
    let kept = StepOutcome {
        result,
        ..outcome.clone()
    };
    let size = bytes(&kept);
    if size <= MAX_OUTCOME_BYTES {
        return kept;
    }
    // A step whose answer cannot be kept has not ended well: what follows it relies on that answer.
    let failure = Failure::new(
        "outcome_too_large",
        format!("the agent's answer has {size} bytes, at most {MAX_OUTCOME_BYTES} are stored; the step may have run"),
    )
    .hint("see on that host: journalctl -u clusterctl-agent; then run the command again");
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: outcome.elapsed_ms,
        spent_ms: std::collections::BTreeMap::new(),
    }
}

/// The change with every text and outcome in it cut to its limit; none: nothing is too long. What is refused instead of cut,
/// operations and plans, is not looked at.
pub fn cut(change: &Change) -> Option<Change> {
    let cut = match change {
        Change::Waiting { operation, why } => Change::Waiting {
            operation: *operation,
            why: text(why),
        },
        Change::EndOperation { operation, result } => Change::EndOperation {
            operation: *operation,
            result: match result {
                Ok(message) => Ok(text(message)),
                Err(why) => Err(failure(why)),
            },
        },
        Change::Outcome {
            plan,
            step,
            outcome: told,
        } => Change::Outcome {
            plan: *plan,
            step: *step,
            outcome: outcome(told),
        },
        Change::Note {
            kind,
            cluster,
            host,
            text: line,
        } => Change::Note {
            kind: within(kind, MAX_KIND_BYTES),
            cluster: cluster.clone(),
            host: host.clone(),
            text: text(line),
        },
        _ => return None,
    };
    (cut != *change).then_some(cut)
}

/// What an event counts for: its texts and about as much around them.
pub(super) fn event_bytes(event: &Event) -> u64 {
    let names = event.cluster.as_ref().map_or(0, |name| name.as_str().len())
        + event.host.as_ref().map_or(0, |name| name.as_str().len());
    u64::try_from(event.text.len() + event.kind.len() + event.who.len() + names + 120).unwrap_or(u64::MAX)
}

/// The model comes under the limits: what is counted as it changes is counted once.
pub(super) fn begin(model: &mut Model) {
    model.event_bytes = model.events.iter().map(event_bytes).fold(0, u64::saturating_add);
}

/// Bytes of ended operations with their plans. Each is measured once, when nothing of it runs any more.
pub(super) fn ended_bytes(model: &mut Model) -> u64 {
    let mut all = 0u64;
    for operation in model.operations.values_mut() {
        if operation.bytes == 0 && operation.state.is_final() {
            let plans: Vec<_> = operation.plans.iter().filter_map(|id| model.plans.get(id)).collect();
            if plans.iter().all(|plan| plans::is_settled(plan)) {
                let size = plans
                    .into_iter()
                    .map(bytes)
                    .fold(bytes(operation), usize::saturating_add);
                operation.bytes = u64::try_from(size).unwrap_or(u64::MAX);
            }
        }
        all = all.saturating_add(operation.bytes);
    }
    all
}
