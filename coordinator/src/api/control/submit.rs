//! `Submit`: the planner is asked first; what it refuses is not stored, what it can do or may be able to do soon is.

use std::collections::BTreeSet;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::Role;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, ServerId};
use clusterctl_proto::test_point;
use clusterctl_proto::wire::control as pb;
use uuid::Uuid;

use super::{ControlApi, request, wire};
use crate::api::peer::Caller;
use crate::check;
use crate::leader::{Leader, proposer};
use crate::machine::{Answer, Change, Command, apply, limits};
use crate::model::{Model, Operation, OperationKind};
use crate::planner::{self, Decision};

/// Longest wait for hosts to tell about themselves.
const ASK: Duration = Duration::from_secs(5);

/// What the planner says before anything is stored.
enum Said {
    /// Known already under this id.
    Known(OperationId),
    Already(String),
    Plan(Box<pb::Plan>),
    Wait(String),
}

impl ControlApi {
    pub(super) async fn submit_operation(
        &self,
        caller: &Caller,
        asked: pb::SubmitRequest,
    ) -> Result<pb::SubmitReply, Failure> {
        let who = &caller.who();
        let leader = &self.shared.leader.current()?;
        let secrets = request::secrets(asked.secrets)?;
        let now = proposer::now();
        let (cluster, kind) = leader
            .node
            .state()
            .read(|model| request::wanted(model, asked.what, now))?;
        break_glass_allowed(caller, &kind)?;
        let request_id = match asked.request_id.len() {
            0 => Uuid::new_v4().to_string(),
            1..=128 => asked.request_id,
            _ => return Err(Failure::new("bad_request", "the request id is too long")),
        };
        let operation = Operation {
            accept_lower_tolerance: asked.accept_lower_tolerance,
            ..Operation::wanted(request_id.clone(), cluster, kind, who, now)
        };
        limits::operation(&operation)?;
        let hosts = leader
            .node
            .state()
            .read(|model| concerned(model, &operation.cluster, &operation.kind));
        leader.ask_fully(&hosts, &hosts, false, ASK).await;
        leader.until_seen(&operation.cluster).await;

        let change = Change::Submit {
            cluster_id: Uuid::new_v4(),
            group_name: Uuid::new_v4(),
            server_ids: server_ids(hosts.len()),
            operation,
        };
        match Self::ask_planner(leader, &change, asked.dry_run)? {
            Said::Known(id) if !asked.dry_run => Ok(reply(id, format!("operation {id} does this already"), None)),
            Said::Known(id) => Ok(pb::SubmitReply {
                message: format!("operation {id} does this already"),
                ..Default::default()
            }),
            Said::Already(message) => Ok(pb::SubmitReply {
                already: true,
                message,
                ..Default::default()
            }),
            Said::Plan(plan) if asked.dry_run => Ok(pb::SubmitReply {
                plan: Some(*plan),
                ..Default::default()
            }),
            Said::Wait(why) if asked.dry_run => Ok(pb::SubmitReply {
                message: format!("it would wait: {why}"),
                ..Default::default()
            }),
            Said::Plan(plan) => {
                self.store(who, change, request_id, secrets, String::new(), Some(*plan))
                    .await
            }
            Said::Wait(why) => {
                self.store(who, change, request_id, secrets, format!("waiting: {why}"), None)
                    .await
            }
        }
    }

    fn ask_planner(leader: &Leader, change: &Change, dry_run: bool) -> Result<Said, Failure> {
        let Change::Submit { operation, .. } = change else {
            return Err(Failure::new("bad_request", "not a request to store"));
        };
        leader.look(|world| {
            if let Some(known) = known(world.model, operation) {
                return match other_password(world.model, known, operation) {
                    Some(failure) if !dry_run => Err(failure),
                    _ => Ok(Said::Known(known)),
                };
            }
            match planner::decide(world, operation) {
                Decision::Already(message) => Ok(Said::Already(message)),
                Decision::Refuse(failure) => Err(failure),
                Decision::Wait(why) => Ok(Said::Wait(why)),
                Decision::Plan(draft) => {
                    check::check(world, operation, &draft)?;
                    if dry_run {
                        // What storing it would refuse is refused now, too.
                        let command = Command {
                            at: world.now,
                            by: operation.by.clone(),
                            change: change.clone(),
                        };
                        let mut trial = world.model.clone();
                        if let Answer::Rejected(failure) = apply(&mut trial, u64::MAX, &command) {
                            return Err(failure);
                        }
                    }
                    Ok(Said::Plan(Box::new(wire::plan(&draft, &BTreeSet::new()))))
                }
            }
        })
    }

    async fn store(
        &self,
        who: &str,
        change: Change,
        request_id: String,
        secrets: std::collections::BTreeMap<String, String>,
        message: String,
        plan: Option<pb::Plan>,
    ) -> Result<pb::SubmitReply, Failure> {
        let leader = &self.shared.leader.current()?;
        let Change::Submit { operation, .. } = &change else {
            return Err(Failure::new("bad_request", "not a request to store"));
        };
        let (name, wanted) = (operation.kind.name(), operation.clone());
        // Before it is stored: the plan may follow at once.
        leader.secrets().keep(&request_id, secrets);
        let id = match leader.proposer.by(who, change).await {
            Ok(Answer::Operation(id)) => id,
            Ok(_) => return Err(Failure::new("not_stored", "the operation was not stored")),
            Err(failure) => {
                // One that was not answered in time may be stored yet: its secrets stay until it ends.
                if !failure.retry {
                    leader.secrets().forget(&request_id);
                }
                return Err(failure);
            }
        };
        // An operation for the same thing runs already: it has what it needs.
        let (request, other) = leader.node.state().read(|model| {
            let request = model.operations.get(&id).map(|op| op.request_id.clone());
            (request, other_password(model, id, &wanted))
        });
        if request.is_some_and(|request| request != request_id) {
            leader.secrets().forget(&request_id);
        }
        if let Some(failure) = other {
            return Err(failure);
        }
        tracing::info!(operation = %id, by = who, action = name, "operation submitted");
        test_point::reach(&format!("coordinator.{name}.submitted")).await;
        Ok(reply(id, message, plan))
    }
}

/// What may lose transactions is an admin's to say.
fn break_glass_allowed(caller: &Caller, kind: &OperationKind) -> Result<(), Failure> {
    let breaks = matches!(kind, OperationKind::Recover { without, accept_loss, .. } if !without.is_empty() || accept_loss.is_some());
    let role = caller
        .certificate
        .as_ref()
        .and_then(|certificate| certificate.name.identity.role());
    if !breaks || role == Some(Role::Admin) {
        return Ok(());
    }
    let has = role.map_or_else(|| "none".to_owned(), |role| role.to_string());
    Err(Failure::new(
        "role_too_low",
        format!(
            "to leave members out, or to agree to a loss, needs role admin; {} has role {has}",
            caller.who()
        ),
    )
    .hint("ask an admin to type it; a new one: clusterctl operator create NAME --role admin --out DIR")
    .exit(ExitClass::Denied))
}

fn reply(id: OperationId, message: String, plan: Option<pb::Plan>) -> pb::SubmitReply {
    pb::SubmitReply {
        operation: id.0,
        already: false,
        message,
        plan,
    }
}

/// The same request, or one for the same thing that has not ended.
fn known(model: &Model, operation: &Operation) -> Option<OperationId> {
    let same = |known: &&Operation| known.cluster == operation.cluster && known.kind == operation.kind;
    let request = model
        .operations
        .values()
        .filter(same)
        .find(|known| known.request_id == operation.request_id);
    request
        .or_else(|| model.active_operations().find(same))
        .map(|known| known.id)
}

/// The account that an operation of another request makes gets that request's password: nobody is told that his own counts.
fn other_password(model: &Model, known: OperationId, operation: &Operation) -> Option<Failure> {
    let OperationKind::CreateAccount { account } = &operation.kind else {
        return None;
    };
    let first = model.operations.get(&known)?;
    (first.request_id != operation.request_id).then(|| {
        Failure::new(
            "operation_running",
            format!(
                "operation {known} makes account {}@{} already, with the password that was given there",
                account.user, account.from
            ),
        )
        .fact(format!("submitted by {}", first.by))
        .hint(format!(
            "clusterctl ops watch {known}; or stop it and type this again: clusterctl ops cancel {known}"
        ))
        .exit(ExitClass::Conflict)
    })
}

/// Enrolled hosts that matter for it: those it names and those of its cluster.
fn concerned(model: &Model, cluster: &ClusterName, kind: &OperationKind) -> Vec<HostName> {
    let mut names: Vec<HostName> = kind.hosts().into_iter().cloned().collect();
    if let Some(cluster) = model.clusters.get(cluster) {
        names.extend(cluster.members.keys().chain(cluster.routers.keys()).cloned());
    }
    names.sort();
    names.dedup();
    names.retain(|name| model.hosts.contains_key(name));
    names
}

/// Candidates: each may be taken already.
fn server_ids(members: usize) -> Vec<ServerId> {
    let random = || Uuid::new_v4().as_u128() as u32;
    // Low numbers are what people choose by hand.
    (0..members + 8).map(|_| ServerId(random() | 0x1000_0000)).collect()
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::step::{Account, AccountKind};

    use super::*;

    #[test]
    fn the_password_of_another_request_is_not_told_as_ones_own() {
        let kind = OperationKind::CreateAccount {
            account: Account {
                user: "app".to_owned(),
                from: "%".to_owned(),
                kind: AccountKind::Monitor,
            },
        };
        let operation = |request: &str, kind: &OperationKind| Operation {
            id: OperationId(7),
            ..Operation::wanted(
                request.to_owned(),
                "prod".parse().expect("name"),
                kind.clone(),
                "operator/alice",
                0,
            )
        };
        let mut model = Model::new(Uuid::nil());
        model.operations.insert(OperationId(7), operation("first", &kind));
        let again =
            |request: &str, kind: &OperationKind| other_password(&model, OperationId(7), &operation(request, kind));
        assert_eq!(again("first", &kind), None, "an answer that was lost");
        let failure = again("second", &kind).expect("refused");
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("operation_running", ExitClass::Conflict)
        );
        assert_eq!(again("second", &OperationKind::Verify), None);
    }
}
