//! The toy world with the real state machine: operations are submitted, planned, checked, adopted and carried out.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, ServerId, StepNumber};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use uuid::Uuid;

use super::toy::{self, ISSUER, ToyWorld, name};
use crate::check;
use crate::machine::{self, Answer, Change, Command, plans};
use crate::model::operation::RecoveryWish;
use crate::model::{Host, Model, Operation, OperationKind, OperationState, PlanDraft, PlanState};
use crate::planner::{Decision, Sight, World, copy_makes_way, decide, heal, lineage};

pub const GROUP: Uuid = Uuid::from_u128(0x0c10_0000_0000_4000_8000_0000_0000_0001);
pub const CLUSTER_ID: Uuid = Uuid::from_u128(0x0c10_0000_0000_4000_8000_0000_0000_0002);

pub fn prod() -> ClusterName {
    "prod".parse().unwrap()
}

#[derive(Clone)]
pub struct Stage {
    pub model: Model,
    pub index: u64,
    pub toy: ToyWorld,
    /// Copies take long: they have begun, and do not end.
    pub copies_last: bool,
    /// Since when a step waits for its evidence.
    waits: BTreeMap<(PlanId, StepNumber), i64>,
}

pub fn create(primary: &str, with: &[&str], routers: &[&str]) -> OperationKind {
    OperationKind::Create {
        primary: name(primary),
        with: with.iter().map(|host| name(host)).collect(),
        routers: routers.iter().map(|host| name(host)).collect(),
        ignore_checks: Vec::new(),
        buffer_pool_bytes: None,
    }
}

pub fn join(host: &str) -> OperationKind {
    OperationKind::Join {
        host: name(host),
        recovery: RecoveryWish::Auto,
        ignore_checks: Vec::new(),
    }
}

pub fn add_router(host: &str) -> OperationKind {
    OperationKind::AddRouter {
        host: name(host),
        ignore_checks: Vec::new(),
    }
}

fn is_missing(failure: &Failure) -> bool {
    failure.code == check::EVIDENCE_MISSING
}

fn failed(failure: Failure) -> StepOutcome {
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: Default::default(),
    }
}

impl Stage {
    /// Enrolled, bare hosts: node1 … node4, router1, router2.
    pub fn new() -> Self {
        let mut stage = Self {
            model: Model::new(Uuid::from_u128(7)),
            index: 0,
            toy: ToyWorld {
                now: 1_800_000_000_000,
                ..ToyWorld::default()
            },
            copies_last: false,
            waits: BTreeMap::new(),
        };
        for host in ["node1", "node2", "node3", "node4", "router1", "router2"] {
            stage.toy.add(host);
            let host = name(host);
            let enrolled = Host {
                name: host.clone(),
                roles: toy::roles(&host),
                addresses: stage.toy.hosts[&host].facts.addresses.clone(),
                enrolled_at: 1_700_000_000_000,
                key_sha256: String::new(),
                certificate_expires: 1_900_000_000_000,
            };
            stage.model.hosts.insert(host, enrolled);
        }
        stage.toy.look();
        stage
    }

    /// Formed, with these operations done.
    pub fn after(kinds: &[OperationKind]) -> Self {
        let mut stage = Self::new();
        for kind in kinds {
            stage.must(kind.clone());
        }
        stage
    }

    pub fn three() -> Self {
        Self::after(&[create("node1", &["node2", "node3"], &["router1"])])
    }

    pub fn operation(&self, kind: OperationKind) -> Operation {
        let request = format!("request-{}", self.index);
        Operation::wanted(request, prod(), kind, "operator/alice", self.toy.now)
    }

    pub fn look<T>(&self, sight: &Sight, look: impl FnOnce(&World<'_>) -> T) -> T {
        look(&World {
            model: &self.model,
            sight,
            now: self.toy.now,
            issuer: ISSUER,
        })
    }

    /// What the planner says, twice the same and breaking no rule.
    pub fn ask(&self, operation: &Operation) -> Decision {
        let sight = self.toy.sight();
        self.look(&sight, |world| {
            let decision = decide(world, operation);
            assert_eq!(decision, decide(world, operation), "not deterministic");
            if let Decision::Plan(draft) = &decision
                && let Err(failure) = check::check(world, operation, draft)
            {
                panic!(
                    "{}: {failure} {:?}\n{}",
                    failure.code,
                    failure.facts,
                    super::golden::render(draft)
                );
            }
            decision
        })
    }

    /// The same for what is not stored.
    pub fn dry(&self, kind: OperationKind) -> Decision {
        self.ask(&self.operation(kind))
    }

    pub fn dry_plan(&self, kind: OperationKind) -> PlanDraft {
        match self.dry(kind) {
            Decision::Plan(draft) => draft,
            other => panic!("no plan: {other:?}"),
        }
    }

    pub fn refusal(&self, kind: OperationKind) -> Failure {
        match self.dry(kind) {
            Decision::Refuse(failure) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn apply(&mut self, change: Change) -> Answer {
        self.index += 1;
        machine::apply(
            &mut self.model,
            self.index,
            &Command {
                at: self.toy.now,
                by: "test".to_owned(),
                change,
            },
        )
    }

    pub fn submit(&mut self, kind: OperationKind) -> Result<OperationId, Failure> {
        self.submit_as(self.operation(kind))
    }

    pub fn submit_as(&mut self, operation: Operation) -> Result<OperationId, Failure> {
        let base = u32::try_from(self.index).unwrap() * 100 + 1000;
        let server_ids = (base..base + 16).map(ServerId).collect();
        match self.apply(Change::Submit {
            operation,
            cluster_id: CLUSTER_ID,
            group_name: GROUP,
            server_ids,
        }) {
            Answer::Operation(id) => Ok(id),
            Answer::Rejected(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// As the leader does: what waits is planned.
    pub fn decide(&mut self) {
        self.record();
        let mut waiting: Vec<Operation> = self
            .model
            .active_operations()
            .filter(|op| matches!(op.state, OperationState::Waiting { .. }))
            .cloned()
            .collect();
        waiting.sort_by_key(|op| op.kind.heals());
        for operation in waiting {
            if !machine::operations::is_due(&operation, self.toy.now)
                || plans::open_plan(&self.model, &operation.cluster).is_some()
            {
                continue;
            }
            let id = operation.id;
            let change = match self.ask(&operation) {
                Decision::Wait(why) => Change::Waiting { operation: id, why },
                Decision::Already(message) => Change::EndOperation {
                    operation: id,
                    result: Ok(message),
                },
                Decision::Refuse(failure) => Change::EndOperation {
                    operation: id,
                    result: Err(failure),
                },
                Decision::Plan(draft) => Change::Adopt { draft },
            };
            if let Answer::Rejected(failure) = self.apply(change) {
                panic!("{failure}");
            }
        }
    }

    /// Carries out what may be sent; `meddle` may answer in an agent's place. Answers whether anything was done.
    pub fn carry_out(
        &mut self,
        mut meddle: impl FnMut(&mut ToyWorld, &HostName, &Step) -> Option<StepOutcome>,
    ) -> bool {
        let open = self.model.plans.values().filter(|plan| !plans::is_settled(plan));
        let sight = self.toy.sight();
        let world = || World {
            model: &self.model,
            sight: &sight,
            now: self.toy.now,
            issuer: ISSUER,
        };
        let ready = open.flat_map(|plan| {
            let stopped = plan.state != PlanState::Running;
            let steps = plans::ready_steps(plan).into_iter();
            let makes_way = copy_makes_way(&self.model, plan, world);
            steps.map(move |step| (plan.id, stopped || makes_way, step.clone()))
        });
        let ready: Vec<_> = ready.collect();
        let mut acted = false;
        for (plan, stopped, step) in ready {
            let host = &self.toy.hosts[&step.host];
            let lasts = self.copies_last && !stopped && matches!(step.step, Step::CloneData { .. });
            if lasts && host.half_copied {
                continue;
            }
            self.toy.generation = Some(self.model.plans[&plan].generation);
            let given_up = &self.model.plans[&plan].draft.given_up;
            self.toy.given_up = given_up.iter().flat_map(|lost| lost.members.clone()).collect();
            if !stopped && host.answers {
                let mut safe = self.still_safe(plan, &step);
                if safe.as_ref().is_err_and(is_missing) {
                    // As the leader does: who has not answered in time is asked at once.
                    self.toy.look();
                    safe = self.still_safe(plan, &step);
                }
                match safe {
                    Ok(()) => {}
                    Err(failure) if is_missing(&failure) && !self.waited(plan, step.number) => continue,
                    Err(failure) => {
                        acted = true;
                        self.apply(Change::GiveUp {
                            plan,
                            step: step.number,
                            outcome: failed(failure),
                            may_run: false,
                        });
                        continue;
                    }
                }
            }
            if lasts {
                let host = self.toy.hosts.get_mut(&step.host).unwrap();
                host.half_copied |= host.answers && host.up;
                continue;
            }
            let host = &self.toy.hosts[&step.host];
            let outcome = if !host.answers && !stopped {
                continue;
            } else if !host.answers || (stopped && !step.finally) {
                let host = &self.toy.hosts[&step.host];
                if host.half_copied && matches!(step.step, Step::CloneData { .. }) {
                    failed(Failure::new(plans::STEP_CANCELLED, "the step was cancelled"))
                } else {
                    // What had not been sent when its plan stopped is never begun.
                    failed(Failure::new(plans::NOT_RUN, "given up"))
                }
            } else {
                match meddle(&mut self.toy, &step.host, &step.step) {
                    Some(outcome) => outcome,
                    None => self.toy.run(&step.host, &step.step),
                }
            };
            acted = true;
            let at_once = plans::has_ended(plans::find(&self.model.plans[&plan], step.number).unwrap());
            if !at_once {
                // An answer that was asked for before is older than this.
                self.toy.now += 1;
                self.apply(Change::Outcome {
                    plan,
                    step: step.number,
                    outcome,
                });
            }
        }
        acted
    }

    /// What agents tell of lineages goes into the log, and back to them, as the leader does it.
    pub fn record(&mut self) {
        let sight = self.toy.sight();
        let told: Vec<Change> = self.look(&sight, |world| {
            let clusters = world.model.clusters.values();
            let told = clusters.flat_map(|cluster| {
                lineage::unrecorded(world, cluster)
                    .into_iter()
                    .map(|told| Change::Lineage {
                        cluster: cluster.name.clone(),
                        id: told.id,
                        branch: told.branch,
                        leads: told.leads,
                    })
            });
            told.collect()
        });
        for change in told {
            self.apply(change);
        }
        if let Some(cluster) = self.model.clusters.get(&prod()) {
            self.toy.teach(&cluster.lineages);
        }
    }

    /// A step has waited as long as the leader lets one wait that heals.
    fn waited(&mut self, plan: PlanId, step: StepNumber) -> bool {
        let since = self.waits.entry((plan, step)).or_insert(self.toy.now);
        // The leader counts on a clock that is never set.
        *since = (*since).min(self.toy.now);
        self.toy.now - *since > 30_000
    }

    /// What the leader asks before it sends a step.
    pub fn still_safe(&self, plan: PlanId, step: &crate::model::PlannedStep) -> Result<(), Failure> {
        let sight = self.toy.sight();
        let plan = &self.model.plans[&plan];
        let operation = &self.model.operations[&plan.draft.operation];
        self.look(&sight, |world| check::still_safe(world, operation, plan, step))
    }

    /// What the leader asks of a copy that was sent.
    pub fn copy_is_void(&self, plan: PlanId, step: &crate::model::PlannedStep) -> bool {
        let sight = self.toy.sight();
        self.look(&sight, |world| {
            check::copy_is_void(world, &self.model.plans[&plan], step)
        })
    }

    /// Submits what heals, as the leader does.
    pub fn heal(&mut self) {
        self.record();
        let sight = self.toy.sight();
        let wanted: Vec<OperationKind> = self.look(&sight, |world| {
            let clusters = world.model.clusters.values();
            clusters
                .flat_map(|cluster| heal::needed(world, cluster, &heal::troubles(world, cluster)))
                .collect()
        });
        for kind in wanted {
            let operation = Operation {
                by: "coordinator/1".to_owned(),
                ..self.operation(kind)
            };
            self.submit_as(operation).unwrap();
        }
    }

    /// A second passes in which nobody types anything.
    pub fn alone(&mut self) {
        self.toy.now += 1000;
        self.toy.look();
        self.heal();
        self.decide();
        while self.carry_out(|_, _, _| None) {}
    }

    /// So many seconds.
    pub fn alone_for(&mut self, seconds: u32) {
        (0..seconds).for_each(|_| self.alone());
    }

    pub fn tick(&mut self) {
        self.toy.now += 1000;
        self.toy.look();
        self.decide();
        while self.carry_out(|_, _, _| None) {}
    }

    /// Submits and sees it done.
    pub fn must(&mut self, kind: OperationKind) -> String {
        self.toy.now += 1000;
        self.toy.look();
        let id = self.submit(kind).unwrap_or_else(|failure| panic!("{failure}"));
        for _ in 0..20 {
            self.tick();
            match &self.model.operations[&id].state {
                OperationState::Done { message } => {
                    let message = message.clone();
                    self.toy.now += 1000;
                    self.toy.look();
                    self.record();
                    return message;
                }
                OperationState::Failed { failure } => panic!("{failure}: {:?}", failure.facts),
                _ => {}
            }
        }
        panic!("not done: {:?}", self.model.operations[&id].state);
    }
}
