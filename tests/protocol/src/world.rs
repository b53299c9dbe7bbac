//! What nobody orders: clients, persons, crashes, cuts, time.

use crate::coordinator::LEADER;
use crate::data::{Data, LAST_NUMBER, LINEAGES};
use crate::model::Protocol;
use crate::scene::Scene;
use crate::state::{Late, Stage, State};

impl State {
    /// A number for a new lineage; none: this world has room for no more, or no bootstrap is left.
    pub(crate) fn new_lineage(&mut self) -> Option<u8> {
        let lineage = self.lineages;
        if usize::from(lineage) >= LINEAGES || self.budget.bootstraps == 0 {
            return None;
        }
        self.budget.bootstraps -= 1;
        self.lineages += 1;
        Some(lineage)
    }
}

impl Protocol {
    /// Clients write a transaction on the group of this lineage, and it is acknowledged.
    pub(crate) fn writes(&self, s: &mut State, lineage: u8) -> bool {
        let number = s.next_number(lineage);
        if number > LAST_NUMBER {
            return false;
        }
        let written = Data::of(lineage, 1 << number);
        for member in s.members.iter_mut().filter(|member| member.group == Some(lineage)) {
            member.data = member.data.union(written);
            if member.lineage == Some(lineage) {
                member.seen = member.data.numbers();
            }
        }
        s.must = s.must.union(written);
        s.budget.writes -= 1;
        true
    }

    /// A person could bootstrap this member by hand: he sees no group, and the documented window is not open.
    pub(crate) fn hand_may(&self, s: &State, m: u8) -> bool {
        let out = s.member(m).up && s.live().next().is_none();
        out && s.budget.by_hand > 0 && (self.config().person_in_window || !self.window(s, m))
    }

    /// Between the last look of leader and agent and START, for as long as the promise counts.
    fn window(&self, s: &State, m: u8) -> bool {
        self.all()
            .map(|o| s.member(o))
            .filter(|member| member.fresh)
            .any(|member| match member.stage {
                Stage::Idle => false,
                Stage::Confirmed(..) => true,
                // The agent has asked and the leader will still look: but it does not see who is cut off, and goes on without who was
                // abandoned.
                Stage::Asked(order, _) => {
                    let answered = matches!(s.late, Some(Late::Confirmed(late, true)) if late.member == order.member);
                    answered || !s.visible(m) || order.abandoned & (1 << m) != 0
                }
            })
    }

    /// A person bootstraps the group on this member and so agrees to what it has not.
    pub(crate) fn by_hand(&self, s: &mut State, m: u8) -> bool {
        let Some(lineage) = s.new_lineage() else { return false };
        s.budget.by_hand -= 1;
        s.by_hand |= 1 << lineage;
        s.must = s.must.common(s.member(m).data);
        s.member_mut(m).group = Some(lineage);
        if s.log.plan.is_some() {
            self.play(Scene::HandBootstrapDuringPlan);
        }
        true
    }

    /// A host loses power. With one of two members gone the other one has no majority and leaves.
    pub(crate) fn crashes(&self, s: &mut State, m: u8) {
        s.budget.crashes -= 1;
        let group = s.member(m).group;
        s.forget_question(m);
        let member = s.member_mut(m);
        member.up = false;
        member.group = None;
        member.fresh = false;
        if group != member.lineage && group.is_some() && member.data.numbers() != member.seen {
            member.lineage = None;
            self.play(Scene::LineageLost);
        }
        if let Some(lineage) = group
            && s.group(lineage).count() == 1
        {
            let last = s.members.iter_mut().find(|member| member.group == Some(lineage));
            last.into_iter().for_each(|member| member.group = None);
        }
    }

    /// A coordinator dies and is started again: all that it believed and had not committed is gone. When it led, another one may lead
    /// now; that one believes nothing either, so it takes its number here.
    pub(crate) fn coordinator_crashes(&self, s: &mut State, c: u8) {
        s.budget.crashes -= 1;
        s.deposed[usize::from(c)] = None;
        self.streams_end(s, c);
    }

    /// The agent's stream to the leader breaks and does not come back for now.
    pub(crate) fn cut(&self, s: &mut State, m: u8) {
        s.budget.cuts -= 1;
        s.member_mut(m).cut = true;
        if matches!(s.member(m).stage, Stage::Asked(_, LEADER)) {
            s.forget_question(m);
        }
    }

    /// A message is put aside. The confirmation itself is held up; of all others a copy is.
    pub(crate) fn delays(&self, s: &mut State, message: Late) {
        s.budget.late -= 1;
        s.late = Some(message);
        if let Late::Confirmed(order, _) = message
            && let Stage::Confirmed(_, c) = s.member(order.member).stage
        {
            s.member_mut(order.member).stage = Stage::Asked(order, c);
        }
    }
}
