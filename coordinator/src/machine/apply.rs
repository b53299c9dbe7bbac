//! One entry of the log, applied to the model.
//!
//! Called by the raft state machine for every committed entry, in order, on every coordinator: it must do the same thing
//! everywhere and must never panic. What may not be done is answered with [`Answer::Rejected`] and changes nothing.

use clusterctl_proto::failure::Failure;
use uuid::Uuid;

use super::{Answer, Change, Command, hands_off, hosts, journal, level, limits, lineages, operations, plans, tokens};
use crate::model::{Event, Model};

/// What a change answers inside the machine.
pub(super) type Applied = Result<Answer, Failure>;

/// Applies the entry at this log index.
pub fn apply(model: &mut Model, index: u64, command: &Command) -> Answer {
    // Below the level an entry means what it meant to the release that wrote it.
    let cut = limits::hold(model).then(|| limits::cut(&command.change)).flatten();
    let applied = match cut.as_ref().unwrap_or(&command.change) {
        Change::Found { group } => found(model, command, *group),
        Change::AddToken { token } => tokens::add(model, command, token),
        Change::TokenFailure { id } => tokens::failure(model, command, id),
        Change::RevokeToken { id } => tokens::revoke(model, command, id),
        Change::Enrol { token, host } => hosts::enrol(model, command, token, host),
        Change::RenewHost { host } => hosts::renew(model, command, host),
        Change::RemoveHost { name } => hosts::remove(model, command, name),
        Change::Submit {
            operation,
            cluster_id,
            group_name,
            server_ids,
        } => {
            let ids = operations::FreshIds {
                cluster_id: *cluster_id,
                group_name: *group_name,
                server_ids,
            };
            operations::submit(model, command, index, operation, &ids)
        }
        Change::Waiting { operation, why } => operations::waiting(model, *operation, why),
        Change::Adopt { draft } => plans::adopt(model, command, index, draft),
        Change::Outcome { plan, step, outcome } => plans::outcome(model, command, *plan, *step, outcome),
        Change::GiveUp {
            plan,
            step,
            outcome,
            may_run,
        } => plans::give_up(model, command, (*plan, *step), outcome, *may_run),
        Change::Settle { plan, step, outcome } => plans::settle(model, command, (*plan, *step), outcome.as_ref()),
        Change::Waited { plan, step, ms } => plans::waited(model, (*plan, *step), *ms),
        Change::EndOperation { operation, result } => operations::end(model, command, *operation, result),
        Change::Cancel { operation } => operations::cancel(model, command, *operation),
        Change::HandsOff {
            cluster,
            host,
            said,
            only,
        } => hands_off::set(model, command, (cluster, host.as_ref()), said.as_ref(), *only),
        Change::Lineage {
            cluster,
            id,
            branch,
            leads,
        } => lineages::record(model, command, cluster, (id, branch.as_ref()), leads.then_some(index)),
        Change::RaiseFeatureLevel { to } => level::raise_features(model, command, *to),
        Change::RaiseEpoch { from } => level::raise_epoch(model, command, *from),
        Change::Note {
            kind,
            cluster,
            host,
            text,
        } => {
            let event = Event {
                id: model.next_event,
                at: command.at,
                who: command.by.clone(),
                cluster: cluster.clone(),
                host: host.clone(),
                operation: None,
                kind: kind.clone(),
                text: text.clone(),
            };
            journal::push(model, event);
            Ok(Answer::Applied)
        }
    };
    applied.unwrap_or_else(Answer::Rejected)
}

fn found(model: &mut Model, command: &Command, group: Uuid) -> Applied {
    if model.group == group {
        return Ok(Answer::Applied);
    }
    if !model.group.is_nil() {
        return Err(Failure::new(
            "group_exists",
            "this coordinator group is founded already",
        ));
    }
    model.group = group;
    journal::line("group_founded", format!("coordinator group {group} founded")).write(model, command);
    Ok(Answer::Applied)
}
