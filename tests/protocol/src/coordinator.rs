//! What coordinators do: lead, adopt plans, collect promises, confirm a bootstrap directly before START.

use crate::model::Protocol;
use crate::rules::Rule;
use crate::scene::Scene;
use crate::state::{Answer, COORDINATORS, Late, MEMBERS, Mask, Order, Plan, Stage, State};

/// The coordinator that leads by the newest term.
pub(crate) const LEADER: u8 = 0;

impl Protocol {
    /// The plan that this coordinator believes to carry out.
    pub(crate) fn plan_of(&self, s: &State, c: u8) -> Option<Plan> {
        if c == LEADER {
            s.log.plan
        } else {
            s.deposed[usize::from(c)]
        }
    }

    /// A coordinator's orders reach this member. A deposed one may still have a stream that the leader has not.
    pub(crate) fn reaches(&self, s: &State, c: u8, m: u8) -> bool {
        s.member(m).up && (c != LEADER || !s.member(m).cut)
    }

    /// Another coordinator wins a term and becomes number 0. The old leader goes on believing.
    pub(crate) fn takes_over(&self, s: &mut State, c: u8) {
        s.deposed[usize::from(c)] = s.log.plan;
        let renumber = |of: &mut u8| {
            if *of == c {
                *of = LEADER;
            } else if *of == LEADER {
                *of = c;
            }
        };
        for member in &mut s.members {
            if let Stage::Asked(_, of) | Stage::Confirmed(_, of) = &mut member.stage {
                renumber(of);
            }
        }
        if let Some(Late::Bootstrap(_, of)) = &mut s.late {
            renumber(of);
        }
    }

    /// No ledger that the leader sees is ahead of its log.
    pub(crate) fn log_is_newest(&self, s: &State) -> bool {
        let mut seen = self.all().filter(|m| s.visible(*m));
        seen.all(|m| s.member(m).generation <= s.log.join_generation())
    }

    /// The leader may act.
    pub(crate) fn leads(&self, s: &State) -> bool {
        !self.has(Rule::RestoredDisk) || self.log_is_newest(s)
    }

    /// Members are compared by GTID numbers: what a rule that was left out comes to.
    pub(crate) fn by_numbers(&self, s: &State, m: u8) -> bool {
        !self.has(Rule::LineageMeasure) || (!self.has(Rule::AbandonedMeasured) && s.log.abandoned & (1 << m) != 0)
    }

    /// What one member holds is inside what the chosen one holds, by all that their agents tell.
    pub(crate) fn covers(&self, s: &State, chosen: u8, other: u8) -> bool {
        if self.by_numbers(s, chosen) || self.by_numbers(s, other) {
            return s.member(other).data.numbers() & !s.member(chosen).data.numbers() == 0;
        }
        s.covers(chosen, other)
    }

    /// The recovery plan that would bootstrap this member now, if the rules let the leader adopt it.
    pub(crate) fn draft(&self, s: &State, chosen: u8) -> Option<Plan> {
        let seen = |m: &u8| s.visible(*m);
        if !self.leads(s) || !seen(&chosen) || s.member(chosen).lineage.is_none() {
            return None;
        }
        if self.all().filter(seen).any(|m| s.member(m).group.is_some()) {
            return None;
        }
        let not_counted = if self.has(Rule::AbandonedMeasured) {
            s.log.abandoned
        } else {
            0
        };
        let silent = self.all().filter(|m| !seen(m)).fold(0, |all: Mask, m| all | 1 << m) & !not_counted;
        if silent != 0 && s.budget.forced == 0 {
            return None;
        }
        let abandoned = (silent | not_counted) & !(1 << chosen);
        let asked = || self.all().filter(|m| abandoned & (1 << m) == 0);
        if self.has(Rule::HoldsAll) && !asked().all(|m| self.covers(s, chosen, m)) {
            return None;
        }
        let asks = if self.has(Rule::PromiseByAll) {
            asked().fold(0, |all: Mask, m| all | 1 << m)
        } else {
            1 << chosen
        };
        let mut log = s.log;
        log.index += 1;
        let order = Order {
            plan: s.plans + 1,
            generation: log.generation(),
            member: chosen,
            abandoned,
        };
        let same = s
            .log
            .plan
            .is_some_and(|plan| (plan.order.member, plan.order.abandoned) == (chosen, abandoned));
        (!same).then_some(Plan {
            order,
            asks,
            answers: [Answer::Waiting; MEMBERS],
        })
    }

    /// The leader commits a plan.
    pub(crate) fn adopts(&self, s: &mut State, plan: Plan) {
        let silent = self
            .all()
            .any(|m| !s.visible(m) && plan.order.abandoned & !s.log.abandoned & (1 << m) != 0);
        s.budget.forced -= u8::from(silent);
        s.budget.plans -= 1;
        s.plans += 1;
        s.log.index += 1;
        s.log.plan = Some(plan);
    }

    /// The answer reaches the log. Where the member holds what the chosen one has not, the plan ends.
    pub(crate) fn answer_arrives(&self, s: &mut State, order: &Order, m: u8, holds: bool) {
        let Some(plan) = s.log.plan.as_mut() else { return };
        if plan.order.generation != order.generation {
            return;
        }
        if holds || !self.has(Rule::HoldsAll) {
            plan.answers[usize::from(m)] = Answer::Arrived;
        } else {
            s.log.plan = None;
        }
    }

    /// The bootstrap order of this plan may be sent: all have promised, and no abandoned member can still start by an older promise. That wait
    /// comes before the order, since the agent asks the abandoned members when the order arrives.
    pub(crate) fn may_order(&self, s: &State, plan: &Plan, c: u8) -> bool {
        if !plan.all_promised() || !self.reaches(s, c, plan.order.member) {
            return false;
        }
        let mut abandoned = self.all().filter(|m| plan.order.abandoned & (1 << m) != 0);
        let waits = self.has(Rule::ForcedWaits) && abandoned.any(|m| s.member(m).fresh);
        if waits {
            self.play(Scene::ForcedWaits);
        }
        !waits
    }

    /// The agent's question before START reaches the coordinator that it was sent to.
    pub(crate) fn confirms(&self, s: &mut State, order: &Order, c: u8) {
        let m = order.member;
        if c != LEADER {
            let believes = s.deposed[usize::from(c)].is_some_and(|plan| plan.order.reads_as(order));
            if believes && !self.has(Rule::LinearizableConfirm) {
                s.member_mut(m).stage = Stage::Confirmed(*order, c);
            } else {
                self.play(Scene::DeposedCannotConfirm);
                s.forget_question(m);
            }
            return;
        }
        let current = s.log.plan.is_some_and(|plan| plan.order.reads_as(order));
        if current && self.leads(s) && self.evidence_holds(s, order) {
            s.member_mut(m).stage = Stage::Confirmed(*order, c);
            return;
        }
        self.play(Scene::EvidenceChanged);
        s.forget_question(m);
        if current {
            s.log.plan = None;
        }
    }

    /// The leader looks at every member again, directly before START.
    fn evidence_holds(&self, s: &State, order: &Order) -> bool {
        self.all().all(|o| {
            let member = s.member(o);
            if s.visible(o) && member.group.is_some() {
                return false;
            }
            let promised = !self.has(Rule::PromiseByAll) || member.promise == Some(order.generation);
            let covered = !self.has(Rule::HoldsAll) || self.covers(s, order.member, o);
            order.abandoned & (1 << o) != 0 || (s.visible(o) && promised && covered)
        })
    }

    /// The groups that the leader may order this member to join, and the generation of that order.
    pub(crate) fn join_orders(&self, s: &State, m: u8) -> impl Iterator<Item = (u8, u8)> {
        let may = self.leads(s) && s.visible(m) && s.member(m).group.is_none();
        let seen = self.all().filter(|o| s.visible(*o)).filter_map(|o| s.member(o).group);
        let groups = seen.fold(0u8, |all, lineage| all | 1 << lineage);
        let generation = s.log.join_generation();
        (0..8)
            .filter(move |lineage| may && groups & (1 << lineage) != 0)
            .map(move |lineage| (lineage, generation))
    }

    /// An older copy of the disk of this coordinator is put back, and it leads by that copy: the plans since are gone.
    pub(crate) fn restores(&self, s: &mut State, c: u8) {
        if c == LEADER {
            self.streams_end(s, c);
        } else {
            self.streams_end(s, c);
            self.takes_over(s, c);
        }
        s.log.index = 0;
        s.log.plan = None;
        s.log.abandoned = 0;
    }

    /// All streams of this coordinator end: what agents had asked it is not answered.
    pub(crate) fn streams_end(&self, s: &mut State, c: u8) {
        for m in self.all() {
            if matches!(s.member(m).stage, Stage::Asked(_, asked) if asked == c) {
                s.forget_question(m);
            }
        }
    }

    /// Every message on its way that may be delivered a second time.
    pub(crate) fn may_be_late(&self, s: &State) -> Vec<Late> {
        let mut all = Vec::new();
        for c in 0..COORDINATORS as u8 {
            let Some(plan) = self.plan_of(s, c) else { continue };
            let reached = self.all().filter(|m| self.reaches(s, c, *m));
            for m in reached.filter(|m| plan.asks & (1 << m) != 0) {
                if plan.answers[usize::from(m)] == Answer::Waiting {
                    all.push(Late::Promise(plan.order, m));
                }
            }
            if self.may_order(s, &plan, c) {
                all.push(Late::Bootstrap(plan.order, c));
            }
        }
        for m in self.all() {
            all.extend(self.join_orders(s, m).map(|(_, generation)| Late::Join(m, generation)));
            if let Stage::Confirmed(order, _) = s.member(m).stage {
                all.push(Late::Confirmed(order, true));
            }
        }
        all
    }
}
