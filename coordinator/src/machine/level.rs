//! Numbers of the whole model that only rise: the feature level, and the recovery epoch.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::OperationId;

use super::apply::Applied;
use super::{Answer, Command, journal, limits, operations};
use crate::model::{FEATURE_LEVEL, Model};

/// From here on entries may mean what this level adds. A program that does not know the level stops before it comes here.
pub(super) fn raise_features(model: &mut Model, command: &Command, to: u32) -> Applied {
    if to > FEATURE_LEVEL {
        return Err(Failure::new(
            "unknown_level",
            format!("this program knows feature levels up to {FEATURE_LEVEL}, not {to}"),
        ));
    }
    if to <= model.feature_level {
        return Ok(Answer::Applied);
    }
    let from = std::mem::replace(&mut model.feature_level, to);
    if from < limits::LEVEL && limits::hold(model) {
        limits::begin(model);
    }
    let text = format!("feature level raised from {from} to {to}");
    journal::line("feature_level_raised", text).write(model, command);
    Ok(Answer::Applied)
}

/// Raises the recovery epoch by one, if it is still `from`: every order from now on is newer than any that agents have seen. What this
/// log calls unfinished is cancelled: whether it was finished since is not known here.
pub(super) fn raise_epoch(model: &mut Model, command: &Command, from: u64) -> Applied {
    if model.epoch != from {
        return Err(Failure::new(
            "epoch_differs",
            format!("the recovery epoch is {}, not {from}", model.epoch),
        )
        .exit(ExitClass::Conflict));
    }
    let to = from.saturating_add(1);
    model.epoch = to;
    let text = format!("recovery epoch raised from {from} to {to}: orders of earlier epochs are refused from now on");
    journal::line("epoch_raised", text).write(model, command);
    let active: Vec<OperationId> = model.active_operations().map(|op| op.id).collect();
    for id in active {
        // It is active, so it can be cancelled.
        let _ = operations::cancel(model, command, id);
    }
    Ok(Answer::Applied)
}
