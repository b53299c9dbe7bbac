//! What an agent does: obeys or refuses orders by its ledger, asks the other members, starts Group Replication.

use crate::coordinator::LEADER;
use crate::data::{Edge, inside};
use crate::model::Protocol;
use crate::rules::Rule;
use crate::scene::Scene;
use crate::state::{Late, Order, Stage, State};

impl Protocol {
    /// Writes an order's generation to the ledger, or refuses the order as older than what was obeyed. Plan 0 is an order to join.
    fn obeys(&self, s: &mut State, m: u8, generation: u8, plan: u8) -> bool {
        let member = s.member_mut(m);
        if generation < member.generation && self.has(Rule::RefuseOlder) {
            self.play(Scene::StaleOrderRefused);
            return false;
        }
        let other = plan != 0 && member.obeyed != 0 && generation == member.generation && plan != member.obeyed;
        if other && self.has(Rule::RestoredDisk) {
            self.play(Scene::OtherPlanRefused);
            return false;
        }
        member.generation = generation;
        member.obeyed = plan;
        s.twice |= other;
        true
    }

    /// An order to promise arrives. Some: promised, and whether what this member holds is inside what the chosen one holds.
    pub(crate) fn promises(&self, s: &mut State, order: &Order, m: u8) -> Option<bool> {
        if !s.member(m).up || !self.obeys(s, m, order.generation, order.plan) {
            return None;
        }
        if s.member(m).group.is_some() {
            self.play(Scene::PromiseInGroup);
            return None;
        }
        if self.has(Rule::AnswerNamesQuestion) && s.member(m).promise == Some(order.generation) {
            // The promise is young again, so what was confirmed under the old one counts no more.
            s.forget_question(m);
        }
        let member = s.member_mut(m);
        member.promise = Some(order.generation);
        member.fresh = m == order.member || member.stage != Stage::Idle;
        Some(self.covers(s, order.member, m))
    }

    /// The bootstrap order arrives over the stream of a coordinator. False: nothing happens.
    pub(crate) fn bootstrap_ordered(&self, s: &mut State, order: &Order, coordinator: u8) -> bool {
        let m = order.member;
        if !s.member(m).up || s.member(m).group.is_some() {
            return false;
        }
        let known = match s.member(m).stage {
            Stage::Asked(pending, _) | Stage::Confirmed(pending, _) => pending.reads_as(order),
            Stage::Idle => false,
        };
        if known || !self.obeys(s, m, order.generation, order.plan) || !self.may_start(s, order) {
            return false;
        }
        if self.has(Rule::AskPeers) && !self.peers_are_out(s, order) {
            self.play(Scene::PeerLiveRefused);
            return true;
        }
        if !self.has(Rule::Confirm) {
            return self.start(s, order);
        }
        s.forget_question(m);
        s.member_mut(m).stage = Stage::Asked(*order, coordinator);
        true
    }

    /// The agent asks the server of every other member. A silent one passes only with its promise, or abandoned.
    fn peers_are_out(&self, s: &State, order: &Order) -> bool {
        self.all().filter(|m| *m != order.member).all(|m| {
            let peer = s.member(m);
            if peer.up {
                peer.group.is_none()
            } else {
                order.abandoned & (1 << m) != 0 || peer.promise == Some(order.generation)
            }
        })
    }

    /// The ledger permits START under this order.
    fn may_start(&self, s: &State, order: &Order) -> bool {
        let member = s.member(order.member);
        let own = member.promise == Some(order.generation) && member.generation == order.generation;
        if !own && (member.promise.is_none() || self.has(Rule::RefuseOlder)) {
            if matches!(member.stage, Stage::Confirmed(of, _) if of == *order) {
                self.play(Scene::OvertakenAtStart);
            }
            return false;
        }
        if !member.fresh && self.has(Rule::PromiseAge) {
            self.play(Scene::AgedPromiseRefused);
            return false;
        }
        true
    }

    /// START with the bootstrap flag, after a last look into the ledger. False: it cannot be done in this world any more.
    pub(crate) fn start(&self, s: &mut State, order: &Order) -> bool {
        let m = order.member;
        let Some(parent) = s.member(m).lineage else {
            return false;
        };
        if s.member(m).group.is_some() || !self.may_start(s, order) {
            s.forget_question(m);
            return true;
        }
        let Some(lineage) = s.new_lineage() else { return false };
        let base = s.member(m).data.numbers();
        s.tree[usize::from(lineage)] = Some(Edge {
            parent: Some(parent),
            base,
        });
        // The person agreed to lose what only abandoned members hold.
        let asked = self.all().filter(|o| order.abandoned & (1 << o) == 0);
        let held = asked.fold(Default::default(), |all: crate::data::Data, o| {
            all.union(s.member(o).data)
        });
        s.must = s.must.common(held);
        self.enters(s, m, lineage);
        if s.log.plan.is_some_and(|plan| plan.order == *order) {
            s.log.plan = None;
            s.log.abandoned = (s.log.abandoned | order.abandoned) & !(1 << m);
        }
        self.play(Scene::RecoveryBootstraps);
        if order.abandoned != 0 {
            self.play(Scene::ForcedBootstraps);
        }
        true
    }

    /// The confirmation arrives late.
    pub(crate) fn late_confirmation(&self, s: &mut State, order: &Order, open: bool) -> bool {
        let waits = match s.member(order.member).stage {
            Stage::Asked(asked, _) => asked.reads_as(order),
            Stage::Idle | Stage::Confirmed(..) => false,
        };
        if waits && (open || !self.has(Rule::AnswerNamesQuestion)) {
            return self.start(s, order);
        }
        self.play(Scene::OldAnswerRefused);
        true
    }

    /// The agent brings its server into a live group: by an order of this generation, or on its own.
    pub(crate) fn joins(&self, s: &mut State, m: u8, lineage: u8, ordered: Option<u8>) {
        match ordered {
            Some(generation) if !self.obeys(s, m, generation, 0) => return,
            None if s.member(m).promise.is_some() => return,
            _ => {}
        }
        let Some(donor) = s.group(lineage).next().map(|donor| donor.data) else {
            return;
        };
        let member = s.member(m);
        let (held, has) = (member.data.numbers(), donor.numbers());
        let was_abandoned = s.log.abandoned & (1 << m) != 0;
        let by_numbers = held & !has == 0;
        let measured = if self.by_numbers(s, m) {
            by_numbers
        } else {
            member
                .lineage
                .is_some_and(|own| inside(&s.tree, own, held, lineage, has))
        };
        // Group Replication itself compares numbers.
        if !measured || !by_numbers {
            self.refused(s, m, lineage, by_numbers, was_abandoned);
            return;
        }
        if was_abandoned {
            self.play(Scene::AbandonedInside);
        }
        if ordered.is_none() {
            self.play(Scene::RejoinsAlone);
        }
        if s.by_hand & (1 << lineage) != 0 {
            self.play(Scene::HandBootstrapMoves);
        }
        s.member_mut(m).data = member.data.recovered_from(donor);
        s.log.abandoned &= !(1 << m);
        self.enters(s, m, lineage);
    }

    fn refused(&self, s: &State, m: u8, lineage: u8, by_numbers: bool, was_abandoned: bool) {
        let recorded = |lineage: u8| lineage == 0 || s.tree[usize::from(lineage)].is_some();
        let Some(own) = s.member(m).lineage.filter(|own| recorded(*own) && recorded(lineage)) else {
            self.play(Scene::UnknownLineageRefused);
            return;
        };
        self.play(Scene::MemberRefused);
        if by_numbers {
            self.play(Scene::ReusedNumbersRefused);
        }
        if was_abandoned {
            self.play(Scene::AbandonedRefused);
        }
        let mut at = Some(lineage);
        while let Some(ancestor) = at.filter(|at| *at != own) {
            at = s.tree[usize::from(ancestor)].and_then(|edge| edge.parent);
        }
        if at.is_none() {
            self.play(Scene::ForkRefused);
        }
    }

    /// The server is ONLINE in this lineage's group and the ledger says so.
    fn enters(&self, s: &mut State, m: u8, lineage: u8) {
        s.forget_question(m);
        let member = s.member_mut(m);
        member.group = Some(lineage);
        member.lineage = Some(lineage);
        member.seen = member.data.numbers();
        member.promise = None;
        member.fresh = false;
    }

    /// The agent sees that its server is in a group that it did not start, and records where that lineage branched off.
    pub(crate) fn notices(&self, s: &mut State, m: u8) {
        let member = *s.member(m);
        let Some(lineage) = member.group else { return };
        let now = member.data.numbers();
        let base = if self.has(Rule::LowerBoundBase) {
            member.seen
        } else {
            now
        };
        s.tree[usize::from(lineage)] = Some(Edge {
            parent: member.lineage,
            base,
        });
        let member = s.member_mut(m);
        member.lineage = Some(lineage);
        member.seen = now;
        self.play(Scene::HandBootstrapNoticed);
    }

    /// The message that was held up arrives.
    pub(crate) fn deliver_late(&self, s: &mut State, message: Late) -> bool {
        match message {
            Late::Promise(order, m) => {
                if let Some(holds) = self.promises(s, &order, m)
                    && s.visible(m)
                {
                    self.answer_arrives(s, &order, m, holds);
                }
                true
            }
            Late::Bootstrap(order, from) => {
                // The agent asks over the stream that it has now.
                let stream = if s.visible(order.member) { LEADER } else { from };
                self.bootstrap_ordered(s, &order, stream);
                true
            }
            Late::Join(m, generation) => {
                let target = s.live().next();
                if let Some(lineage) = target.filter(|_| s.member(m).up && s.member(m).group.is_none()) {
                    self.joins(s, m, lineage, Some(generation));
                }
                true
            }
            Late::Promised(order, m, holds) => {
                self.answer_arrives(s, &order, m, holds);
                true
            }
            Late::Confirmed(order, open) => self.late_confirmation(s, &order, open),
        }
    }
}
