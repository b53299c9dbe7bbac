//! One bootstrap of a group: the ordered log on which a majority agrees, and who is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::data::{Trx, Work};
use super::numbers::Numbers;
use super::truth::Lineage;
use super::world::Id;

/// What the group agreed on, in order.
#[derive(Clone)]
pub(crate) enum Event {
    /// A view with these members.
    View { counter: u64, members: Vec<Id> },
    /// A member has recovered.
    Online(Id),
    /// The primary; none: no member can lead.
    Primary(Option<Id>),
    /// A transaction, and who wrote it.
    Trx { trx: Arc<Trx>, by: (Id, u64) },
}

/// A transaction that waits for a majority.
#[derive(Clone)]
pub(crate) struct Proposal {
    /// Identity of the transaction.
    pub id: u64,
    pub by: (Id, u64),
    pub work: Work,
    /// `GTID_NEXT`.
    pub gtid: Option<(String, u64)>,
    /// Members into whose sockets it has come.
    pub reached: BTreeSet<Id>,
}

/// A group.
#[derive(Clone)]
pub(crate) struct Group {
    pub name: String,
    pub lineage: Lineage,
    pub counter: u64,
    /// Members with the incarnation of their mysqld, in the order in which they came.
    pub config: Vec<(Id, u64)>,
    pub online: BTreeSet<Id>,
    pub primary: Option<Id>,
    pub log: Vec<Event>,
    pub pending: Vec<Proposal>,
    /// Numbers of the group's own source that are certified.
    pub numbers: Numbers,
    /// Blocks that members took since the last view.
    taken: Numbers,
    blocks: BTreeMap<Id, (u64, u64)>,
    pub block_size: u64,
    /// Who is being added now: a second one at the same moment is put off.
    pub entering: Option<(Id, u64)>,
}

impl Group {
    pub fn new(name: String, lineage: Lineage, first: (Id, u64), numbers: Numbers, block_size: u64) -> Self {
        Self {
            name,
            lineage,
            counter: 0,
            config: vec![first],
            online: BTreeSet::new(),
            primary: None,
            log: Vec::new(),
            pending: Vec::new(),
            numbers,
            taken: Numbers::default(),
            blocks: BTreeMap::new(),
            block_size,
            entering: None,
        }
    }

    pub fn has(&self, id: Id) -> bool {
        self.config.iter().any(|(member, _)| *member == id)
    }

    /// A new view: the counter goes up, and gaps of numbers are filled from now on.
    pub fn install(&mut self) {
        self.counter += 1;
        self.taken = Numbers::default();
        self.blocks.clear();
        let members = self.config.iter().map(|(id, _)| *id).collect();
        self.log.push(Event::View {
            counter: self.counter,
            members,
        });
    }

    /// The number of a transaction that this member wrote.
    pub fn next_number(&mut self, member: Id) -> u64 {
        loop {
            let block = match self.blocks.get(&member) {
                Some((next, last)) if next <= last => (*next, *last),
                _ => {
                    let block = self.numbers.free(&self.taken, self.block_size);
                    self.taken.add(block.0, block.1);
                    block
                }
            };
            self.blocks.insert(member, (block.0 + 1, block.1));
            // One that a client chose by GTID_NEXT is passed over.
            if !self.numbers.contains(block.0) {
                self.numbers.add(block.0, block.0);
                return block.0;
            }
        }
    }

    /// A member's mysqld is gone or out for good.
    pub fn drop_members(&mut self, gone: &BTreeSet<Id>) {
        self.config.retain(|(id, _)| !gone.contains(id));
        self.online.retain(|id| !gone.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_blocks_and_a_view_fills_the_gaps() {
        let lineage = Lineage {
            number: 1,
            prefix: 1,
            forced: None,
            parent: None,
        };
        let mut group = Group::new(String::new(), lineage, (0, 1), Numbers::default(), 1000);
        group.install();
        assert_eq!(
            [group.next_number(0), group.next_number(0), group.next_number(1)],
            [1, 2, 1001]
        );
        assert_eq!([group.next_number(0), group.next_number(1)], [3, 1002]);
        group.install();
        assert_eq!(
            [group.next_number(1), group.next_number(1), group.next_number(0)],
            [4, 5, 1003]
        );
    }
}
