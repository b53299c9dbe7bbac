//! States that lead to the same futures are made one, so that fewer have to be searched.

use std::hash::{Hash, Hasher};

use crate::model::Protocol;
use crate::rules::Rule;
use crate::state::{Answer, Late, MEMBERS, Mask, Order, Plan, Stage, State};

/// Clears what no action reads any more.
pub(crate) fn forget_what_counts_no_more(model: &Protocol, s: &mut State) {
    if model.has(Rule::RefuseOlder) {
        stale_plans(s);
    }
    if s.budget.plans == 0 {
        s.budget.forced = 0;
    }
    let pending = s.log.plan.is_some() || s.deposed.iter().any(Option::is_some) || s.late.is_some();
    let asked = s.members.iter().any(|member| member.stage != Stage::Idle);
    if s.budget.plans == 0 && s.budget.by_hand == 0 && !pending && !asked {
        s.budget.bootstraps = 0;
    }
    if s.budget.bootstraps == 0 {
        last_lineage(s);
    }
}

/// A deposed leader whose plan every member has outlived orders nothing that is obeyed.
fn stale_plans(s: &mut State) {
    let members = s.members;
    for plan in &mut s.deposed {
        let asked = |plan: &Plan| {
            (0..MEMBERS)
                .filter(|m| plan.asks & (1 << m) != 0)
                .all(|m| members[m].generation > plan.order.generation)
        };
        if plan.as_ref().is_some_and(asked) {
            *plan = None;
        }
    }
}

/// No group is bootstrapped any more: what remains are entries, writes and crashes, for which only data and lineages count.
fn last_lineage(s: &mut State) {
    s.budget = crate::rules::Budget {
        crashes: s.budget.crashes,
        writes: s.budget.writes,
        late: s.budget.late,
        ..Default::default()
    };
    s.log.plan = None;
    s.deposed = Default::default();
    if !matches!(s.late, None | Some(Late::Join(..))) {
        s.late = None;
    }
    let stale_orders = s.late.is_some() || s.budget.late > 0;
    for member in &mut s.members {
        member.cut = false;
        member.fresh = false;
        member.stage = Stage::Idle;
        member.obeyed = 0;
        if !stale_orders {
            member.promise = None;
            member.generation = 0;
        }
    }
    if !stale_orders {
        s.log.epoch = 0;
        s.log.index = 0;
        s.plans = 0;
    }
}

/// Numbers the members anew, by what they are: states that differ only in the numbers become one.
pub(crate) fn renumber(members: usize, s: &mut State) {
    let mut old: [u8; MEMBERS] = [0, 1, 2, 3, 4];
    let keys: [u64; MEMBERS] = std::array::from_fn(|m| key(s, m as u8));
    old[..members].sort_by_key(|m| keys[usize::from(*m)]);
    if old.is_sorted() {
        return;
    }
    let mut new = [0u8; MEMBERS];
    for (to, from) in old.iter().enumerate() {
        new[usize::from(*from)] = to as u8;
    }
    let mask = |of: Mask| {
        (0..MEMBERS)
            .filter(|m| of & (1 << m) != 0)
            .fold(0, |all: Mask, m| all | 1 << new[m])
    };
    let order = |of: &mut Order| {
        of.member = new[usize::from(of.member)];
        of.abandoned = mask(of.abandoned);
    };
    s.members = std::array::from_fn(|to| s.members[usize::from(old[to])]);
    for member in &mut s.members {
        if let Stage::Asked(of, _) | Stage::Confirmed(of, _) = &mut member.stage {
            order(of);
        }
    }
    for plan in s.deposed.iter_mut().chain([&mut s.log.plan]).flatten() {
        order(&mut plan.order);
        plan.asks = mask(plan.asks);
        plan.answers = std::array::from_fn(|to| plan.answers[usize::from(old[to])]);
    }
    s.log.abandoned = mask(s.log.abandoned);
    match &mut s.late {
        None => {}
        Some(Late::Join(m, _)) => *m = new[usize::from(*m)],
        Some(Late::Bootstrap(of, _) | Late::Confirmed(of, _)) => order(of),
        Some(Late::Promise(of, m) | Late::Promised(of, m, _)) => {
            order(of);
            *m = new[usize::from(*m)];
        }
    }
}

/// A fast hasher for keys that come from the model itself.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

/// What one member is, told without any member's number.
fn key(s: &State, m: u8) -> u64 {
    let member = s.member(m);
    let in_mask = |of: Mask| of & (1 << m) != 0;
    let plans = s.deposed.iter().chain([&s.log.plan]);
    let roles = plans.map(|plan| {
        plan.map(|plan| {
            (
                plan.order.member == m,
                in_mask(plan.order.abandoned),
                in_mask(plan.asks),
                plan.answers[usize::from(m)],
            )
        })
    });
    let roles: [Option<(bool, bool, bool, Answer)>; crate::state::COORDINATORS + 1] = {
        let mut all = [None; crate::state::COORDINATORS + 1];
        all.iter_mut().zip(roles).for_each(|(place, role)| *place = role);
        all
    };
    let stage = match member.stage {
        Stage::Idle => (0, 0, 0),
        Stage::Asked(order, c) => (1, order.plan, c),
        Stage::Confirmed(order, c) => (2, order.plan, c),
    };
    let late = s.late.map(|late| match late {
        Late::Join(of, _) => (of == m, false, false),
        Late::Bootstrap(of, _) | Late::Confirmed(of, _) => (false, of.member == m, in_mask(of.abandoned)),
        Late::Promise(of, to) | Late::Promised(of, to, _) => (to == m, of.member == m, in_mask(of.abandoned)),
    });
    let mut hasher = Mix::default();
    (
        member.up,
        member.cut,
        member.group,
        member.data,
        member.lineage,
        member.seen,
    )
        .hash(&mut hasher);
    (member.generation, member.obeyed, member.promise, member.fresh, stage).hash(&mut hasher);
    (roles, late, in_mask(s.log.abandoned)).hash(&mut hasher);
    hasher.finish()
}
