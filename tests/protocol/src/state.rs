//! One state of the world: members, coordinators, what is on its way, and what may still happen.

use crate::data::{Data, Numbers, Tree};
use crate::rules::{Budget, Config};

/// Room for members.
pub const MEMBERS: usize = 5;
/// Room for coordinators.
pub const COORDINATORS: usize = 3;

/// A set of members: bit m is member m.
pub type Mask = u8;

/// A host with a server and an agent, which live and die together here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// The host runs.
    pub up: bool,
    /// The agent does not reach the current leader; servers reach each other all the same.
    pub cut: bool,
    /// The lineage of the group that the server is ONLINE in.
    pub group: Option<u8>,
    /// What the server really holds.
    pub data: Data,
    /// Ledger: the lineage of the data; none: not known.
    pub lineage: Option<u8>,
    /// Ledger: the numbers that the agent saw last while it knew the lineage.
    pub seen: Numbers,
    /// Ledger: the newest generation that was obeyed.
    pub generation: u8,
    /// The truth: which plan that generation was obeyed for.
    pub obeyed: u8,
    /// Ledger: what was promised since the server entered a group last.
    pub promise: Option<u8>,
    /// That promise is younger than the wait. Kept for the member that a plan bootstraps.
    pub fresh: bool,
    /// How far its bootstrap has come.
    pub stage: Stage,
}

/// What the agent of the bootstrapped member waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Nothing.
    Idle,
    /// The leader's confirmation, which this coordinator was asked for.
    Asked(Order, u8),
    /// It has been confirmed by this coordinator: START comes next.
    Confirmed(Order, u8),
}

/// What a bootstrap order says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Order {
    /// The truth: which plan it is of.
    pub plan: u8,
    /// The generation.
    pub generation: u8,
    /// The member to be bootstrapped.
    pub member: u8,
    /// Whom a person abandoned for it.
    pub abandoned: Mask,
}

/// Where one member's promise stands, as the coordinators know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// The order is (still, or again) to be sent.
    Waiting,
    /// In the log.
    Arrived,
}

impl Order {
    /// Whether two orders look the same to whoever reads them.
    pub fn reads_as(&self, other: &Self) -> bool {
        (self.generation, self.member, self.abandoned) == (other.generation, other.member, other.abandoned)
    }
}

/// A recovery plan in the raft log, with its outcomes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// What it will order.
    pub order: Order,
    /// The members that have to promise first.
    pub asks: Mask,
    /// Their answers.
    pub answers: [Answer; MEMBERS],
}

impl Plan {
    /// Every promise that it asks for has been given.
    pub fn all_promised(&self) -> bool {
        (0..MEMBERS as u8).all(|m| self.asks & (1 << m) == 0 || self.answers[usize::from(m)] == Answer::Arrived)
    }
}

/// The committed raft log, as far as this protocol reads it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    /// The recovery epoch.
    pub epoch: u8,
    /// How many plans were adopted.
    pub index: u8,
    /// The newest plan, if it has not ended.
    pub plan: Option<Plan>,
    /// Members that were abandoned and have not come back.
    pub abandoned: Mask,
}

impl Log {
    /// The generation of the newest plan.
    pub fn generation(&self) -> u8 {
        self.epoch * 8 + self.index * 2
    }

    /// The generation of the orders to join that follow the newest plan.
    pub fn join_generation(&self) -> u8 {
        self.generation() + 1
    }
}

/// A message that is delivered again at some later moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Late {
    /// An order to promise.
    Promise(Order, u8),
    /// An order to bootstrap, sent by this coordinator.
    Bootstrap(Order, u8),
    /// An order of this generation to join.
    Join(u8, u8),
    /// A member's answer to an order to promise.
    Promised(Order, u8, bool),
    /// The leader's confirmation; whether the agent still waits for the question that it answers.
    Confirmed(Order, bool),
}

/// The world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The members; the rest of the array is idle.
    pub members: [Member; MEMBERS],
    /// Coordinators that still believe to lead, and the plan that they carry out. Number 0 is whoever leads by the newest term, so its
    /// place is empty: coordinators change their numbers when another one takes over.
    pub deposed: [Option<Plan>; COORDINATORS],
    /// The raft log of the newest term.
    pub log: Log,
    /// The recorded lineages.
    pub tree: Tree,
    /// The truth: lineages that a person bootstrapped.
    pub by_hand: u8,
    /// Lineages that exist.
    pub lineages: u8,
    /// Plans that were ever adopted, restored disks or not.
    pub plans: u8,
    /// The one message in somebody's socket buffer.
    pub late: Option<Late>,
    /// What may still happen.
    pub budget: Budget,
    /// The truth: acknowledged transactions whose loss no person has agreed to.
    pub must: Data,
    /// The truth: a member obeyed two plans under one generation.
    pub twice: bool,
}

impl State {
    /// After an outage of all members of the first lineage, with these numbers on them.
    pub fn outage(config: &Config, numbers: &[Numbers; MEMBERS]) -> Self {
        let members = numbers.map(|numbers| Member {
            up: true,
            cut: false,
            group: None,
            data: Data::of(0, numbers),
            lineage: Some(0),
            seen: numbers,
            generation: 0,
            obeyed: 0,
            promise: None,
            fresh: false,
            stage: Stage::Idle,
        });
        Self {
            members,
            deposed: [None; COORDINATORS],
            log: Log {
                epoch: 0,
                index: 0,
                plan: None,
                abandoned: 0,
            },
            tree: Tree::default(),
            by_hand: 0,
            lineages: 1,
            plans: 0,
            late: None,
            budget: config.budget,
            must: members
                .iter()
                .fold(Data::default(), |all, member| all.union(member.data)),
            twice: false,
        }
    }

    /// The member with this number.
    pub fn member(&self, m: u8) -> &Member {
        &self.members[usize::from(m)]
    }

    /// The member with this number, to be changed.
    pub fn member_mut(&mut self, m: u8) -> &mut Member {
        &mut self.members[usize::from(m)]
    }

    /// The current leader sees and reaches this member.
    pub fn visible(&self, m: u8) -> bool {
        self.member(m).up && !self.member(m).cut
    }

    /// The members of this lineage's group.
    pub fn group(&self, lineage: u8) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.group == Some(lineage))
    }

    /// Lineages with a live group, oldest first.
    pub fn live(&self) -> impl Iterator<Item = u8> {
        (0..self.lineages).filter(|lineage| self.group(*lineage).next().is_some())
    }

    /// The number of a transaction that the group of this lineage writes next.
    pub fn next_number(&self, lineage: u8) -> u8 {
        let used = self.group(lineage).fold(0, |all, member| all | member.data.numbers());
        8 - used.leading_zeros() as u8
    }

    /// What the agent of this member tells about itself: lineage and numbers are inside what the other one holds.
    pub fn covers(&self, chosen: u8, other: u8) -> bool {
        let (chosen, other) = (self.member(chosen), self.member(other));
        match (other.lineage, chosen.lineage) {
            (Some(theirs), Some(ours)) => {
                crate::data::inside(&self.tree, theirs, other.data.numbers(), ours, chosen.data.numbers())
            }
            _ => false,
        }
    }

    /// A question that this member had asked is no longer open: a late answer to it names an old question.
    pub fn forget_question(&mut self, m: u8) {
        self.member_mut(m).stage = Stage::Idle;
        if let Some(Late::Confirmed(order, open)) = &mut self.late
            && order.member == m
        {
            *open = false;
        }
    }
}
