//! The model as the checker runs it: which actions a state has, what each leads to, and what must hold in every state.

use std::sync::Arc;

use stateright::{Model, Property};

use crate::coordinator::LEADER;
use crate::rules::{Config, Rule};
use crate::same;
use crate::scene::{ALL_SCENES, Scene, Scenes};
use crate::state::{Answer, Late, Plan, Stage, State};

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is in the log.
    Arrives,
    /// It is lost; the order is sent again.
    Lost,
    /// It is held up, and the order is sent again.
    Late,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A coordinator wins a term.
    TakeOver(u8),
    /// The leader adopts a recovery plan.
    Adopt(Plan),
    /// The order of a coordinator to promise reaches a member, and the answer to it has this fate.
    Promise {
        /// Who promises.
        member: u8,
        /// Who orders it.
        from: u8,
        /// What becomes of the answer.
        answer: Fate,
    },
    /// The bootstrap order of this coordinator arrives.
    Bootstrap {
        /// Who orders it.
        from: u8,
    },
    /// The question of this member's agent before START reaches the coordinator.
    Confirm(u8),
    /// The confirmation arrives at this member and it starts.
    Start(u8),
    /// Question or confirmation are lost.
    LoseConfirm(u8),
    /// The leader's order to join this lineage's group arrives.
    Join {
        /// Who joins.
        member: u8,
        /// Whose group.
        lineage: u8,
    },
    /// The agent rejoins on its own.
    RejoinAlone {
        /// Who joins.
        member: u8,
        /// Whose group.
        lineage: u8,
    },
    /// Clients write.
    Write {
        /// On the group of this lineage.
        lineage: u8,
    },
    /// A person bootstraps.
    ByHand(u8),
    /// The agent records it.
    Notice(u8),
    /// A member's host loses power.
    Crash(u8),
    /// It is back.
    Restart(u8),
    /// A coordinator dies and comes back.
    CrashCoordinator(u8),
    /// An agent loses its way to the leader.
    Cut(u8),
    /// It finds it again.
    Uncut(u8),
    /// The promise of this member gets too old.
    Age(u8),
    /// An older copy of a coordinator's disk is put back.
    Restore(u8),
    /// A person raises the recovery epoch, since the leader refuses to lead.
    RaiseEpoch,
    /// A message is held up.
    Delay(Late),
    /// It arrives.
    Deliver,
}

/// The protocol with the rules and bounds of one search.
#[derive(Clone, Debug)]
pub struct Protocol {
    config: Arc<Config>,
    scenes: Arc<Scenes>,
}

impl Protocol {
    /// For one search.
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            scenes: Arc::default(),
        }
    }

    /// The bounds and rules.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was seen until now.
    pub fn scenes(&self) -> &Arc<Scenes> {
        &self.scenes
    }

    pub(crate) fn has(&self, rule: Rule) -> bool {
        self.config.rules.has(rule)
    }

    pub(crate) fn play(&self, scene: Scene) {
        self.scenes.play(scene);
    }

    /// The numbers of all members.
    pub(crate) fn all(&self) -> std::ops::Range<u8> {
        0..self.config.members as u8
    }

    fn coordinator_actions(&self, s: &State, actions: &mut Vec<Action>) {
        for c in 0..self.config.coordinators as u8 {
            let plan = self.plan_of(s, c);
            if c != LEADER && s.budget.takeovers > 0 && s.log.plan.is_some() {
                actions.push(Action::TakeOver(c));
            }
            if s.budget.restores > 0 && s.log.index > 0 {
                actions.push(Action::Restore(c));
            }
            let asked = |member: &State| {
                member
                    .members
                    .iter()
                    .any(|m| matches!(m.stage, Stage::Asked(_, of) if of == c))
            };
            // Of one that only leads nothing is lost.
            if s.budget.crashes > 0 && (s.deposed[usize::from(c)].is_some() || asked(s)) {
                actions.push(Action::CrashCoordinator(c));
            }
            let Some(plan) = plan else { continue };
            for m in self
                .all()
                .filter(|m| plan.asks & (1 << m) != 0 && self.reaches(s, c, *m))
            {
                if plan.answers[usize::from(m)] == Answer::Waiting {
                    let ends = [Fate::Arrives, Fate::Lost, Fate::Late];
                    let may = |fate: &Fate| match fate {
                        Fate::Arrives => true,
                        Fate::Lost => c == LEADER && s.budget.lost > 0,
                        Fate::Late => c == LEADER && s.budget.late > 0 && s.late.is_none(),
                    };
                    let answered = ends.into_iter().filter(may);
                    actions.extend(answered.map(|answer| Action::Promise {
                        member: m,
                        from: c,
                        answer,
                    }));
                }
            }
            if self.may_order(s, &plan, c) {
                actions.push(Action::Bootstrap { from: c });
            }
        }
        if s.budget.plans > 0 {
            actions.extend(self.all().filter_map(|m| self.draft(s, m)).map(Action::Adopt));
        }
        if self.has(Rule::RestoredDisk) && !self.log_is_newest(s) {
            actions.push(Action::RaiseEpoch);
        }
    }

    fn member_actions(&self, s: &State, m: u8, actions: &mut Vec<Action>) {
        let member = s.member(m);
        match member.stage {
            Stage::Idle => {}
            Stage::Asked(..) => actions.push(Action::Confirm(m)),
            Stage::Confirmed(..) => actions.push(Action::Start(m)),
        }
        if member.stage != Stage::Idle && s.budget.lost > 0 {
            actions.push(Action::LoseConfirm(m));
        }
        if !member.up {
            actions.push(Action::Restart(m));
            return;
        }
        if s.budget.crashes > 0 {
            actions.push(Action::Crash(m));
        }
        match member.group {
            None => {
                actions.extend(
                    self.join_orders(s, m)
                        .map(|(lineage, _)| Action::Join { member: m, lineage }),
                );
                if member.promise.is_none() {
                    actions.extend(s.live().map(|lineage| Action::RejoinAlone { member: m, lineage }));
                }
                if self.hand_may(s, m) {
                    actions.push(Action::ByHand(m));
                }
            }
            Some(lineage) if member.lineage != Some(lineage) => actions.push(Action::Notice(m)),
            Some(_) => {}
        }
        if member.cut {
            actions.push(Action::Uncut(m));
        } else if s.budget.cuts > 0 {
            actions.push(Action::Cut(m));
        }
        if member.fresh {
            actions.push(Action::Age(m));
        }
    }

    /// What an action leads to. False: it leads nowhere in this world.
    fn apply(&self, s: &mut State, action: Action) -> bool {
        match action {
            Action::TakeOver(c) => {
                s.budget.takeovers -= 1;
                self.takes_over(s, c);
            }
            Action::Adopt(plan) => self.adopts(s, plan),
            Action::Promise { member, from, answer } => {
                let Some(plan) = self.plan_of(s, from) else {
                    return false;
                };
                let Some(holds) = self.promises(s, &plan.order, member) else {
                    return answer == Fate::Arrives;
                };
                match answer {
                    Fate::Arrives if from == LEADER => self.answer_arrives(s, &plan.order, member, holds),
                    // A deposed leader cannot commit it.
                    Fate::Arrives => {}
                    Fate::Lost => s.budget.lost -= 1,
                    Fate::Late => {
                        s.budget.late -= 1;
                        s.late = Some(Late::Promised(plan.order, member, holds));
                    }
                }
            }
            Action::Bootstrap { from } => {
                let Some(plan) = self.plan_of(s, from) else {
                    return false;
                };
                return self.bootstrap_ordered(s, &plan.order, from);
            }
            Action::Confirm(m) => {
                if let Stage::Asked(order, c) = s.member(m).stage {
                    self.confirms(s, &order, c);
                }
            }
            Action::Start(m) => {
                if let Stage::Confirmed(order, _) = s.member(m).stage {
                    return self.start(s, &order);
                }
            }
            Action::LoseConfirm(m) => {
                s.budget.lost -= 1;
                s.forget_question(m);
            }
            Action::Join { member, lineage } => {
                s.log.plan = None;
                let generation = s.log.join_generation();
                self.joins(s, member, lineage, Some(generation));
            }
            Action::RejoinAlone { member, lineage } => self.joins(s, member, lineage, None),
            Action::Write { lineage } => return self.writes(s, lineage),
            Action::ByHand(m) => return self.by_hand(s, m),
            Action::Notice(m) => self.notices(s, m),
            Action::Crash(m) => self.crashes(s, m),
            Action::Restart(m) => s.member_mut(m).up = true,
            Action::CrashCoordinator(c) => self.coordinator_crashes(s, c),
            Action::Cut(m) => self.cut(s, m),
            Action::Uncut(m) => s.member_mut(m).cut = false,
            Action::Age(m) => s.member_mut(m).fresh = false,
            Action::Restore(c) => {
                s.budget.restores -= 1;
                self.restores(s, c);
            }
            Action::RaiseEpoch => {
                self.play(Scene::RestoreDetected);
                s.log.epoch += 1;
            }
            Action::Delay(message) => self.delays(s, message),
            Action::Deliver => {
                let Some(message) = s.late.take() else { return false };
                return self.deliver_late(s, message);
            }
        }
        true
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let starts = self.config.starts.iter();
        starts.map(|numbers| State::outage(&self.config, numbers)).collect()
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        self.coordinator_actions(s, actions);
        for m in self.all() {
            self.member_actions(s, m, actions);
        }
        if s.budget.writes > 0 {
            actions.extend(s.live().map(|lineage| Action::Write { lineage }));
        }
        if s.late.is_some() {
            actions.push(Action::Deliver);
        } else if s.budget.late > 0 {
            actions.extend(self.may_be_late(s).into_iter().map(Action::Delay));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = *last;
        if !self.apply(&mut next, action) {
            return None;
        }
        same::forget_what_counts_no_more(self, &mut next);
        if self.config.symmetry {
            same::renumber(self.config.members, &mut next);
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("at most one lineage takes writes", |_, s: &State| s.live().count() <= 1),
            Property::always("the newest group has every acknowledged transaction", |_, s: &State| {
                let newest = s.live().last();
                newest.is_none_or(|lineage| s.group(lineage).all(|member| member.data.contains(s.must)))
            }),
            Property::always("no member of a group holds what the group has not", |_, s: &State| {
                s.live().all(|lineage| {
                    let mut data = s.group(lineage).map(|member| member.data);
                    let first = data.next();
                    data.all(|data| Some(data) == first)
                })
            }),
            Property::always("a member obeys one plan under one generation", |_, s: &State| !s.twice),
        ];
        all.extend(ALL_SCENES.iter().map(|scene| scene.property()));
        all
    }
}
