//! Transactions as they really are (identities) and as servers see them (numbers), and the tree of lineages.
//!
//! A server knows only numbers. The identity, a number together with the lineage whose primary wrote it, is the truth that the
//! properties look at and no rule may.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::lineage::{Branch, LineageId, Lineages, Measure};

use crate::same::Mix;

/// How many lineages one run may have, the first one among them.
pub const LINEAGES: usize = 4;
/// The largest transaction number.
pub const LAST_NUMBER: u8 = 7;

/// A set of transaction numbers, which is all that a GTID set tells: bit n is number n.
pub type Numbers = u8;

/// A set of transaction identities: bit `8 * lineage + number`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Data(pub u32);

impl Data {
    /// These numbers as transactions of one lineage.
    pub fn of(lineage: u8, numbers: Numbers) -> Self {
        Self(u32::from(numbers) << (8 * lineage))
    }

    /// The numbers, as the server's GTID set shows them.
    pub fn numbers(self) -> Numbers {
        self.0.to_le_bytes().into_iter().fold(0, |all, some| all | some)
    }

    /// Whether the other's transactions are all in here.
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What is in either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in here and not in the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What a server has after distributed recovery from a donor: it asks for the numbers that it lacks, and keeps its own.
    pub fn recovered_from(self, donor: Self) -> Self {
        let lacks = donor.numbers() & !self.numbers();
        let sent = (0..LINEAGES as u8).fold(Self::default(), |all, lineage| all.union(Self::of(lineage, lacks)));
        self.union(donor.common(sent))
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = (0..LINEAGES as u8).flat_map(|l| (0..=LAST_NUMBER).map(move |n| (l, n)));
        let held = all.filter(|(l, n)| self.contains(Self::of(*l, 1 << n)));
        f.debug_list().entries(held.map(|(l, n)| format!("L{l}:{n}"))).finish()
    }
}

/// Where a lineage branched off, as it was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Edge {
    /// The lineage of the member that was bootstrapped, if its agent knew it.
    pub parent: Option<u8>,
    /// The recorded base.
    pub base: Numbers,
}

/// The recorded branches by lineage. What one agent recorded travels with its member and with every question, and whoever measures
/// needs the record only where that member is there: so one tree stands for all copies.
pub type Tree = [Option<Edge>; LINEAGES];

/// The arguments of one measurement: tree, lineage and numbers of the member, lineage and numbers of the group.
type Question = (Tree, u8, Numbers, u8, Numbers);

thread_local! {
    static MEASURED: RefCell<HashMap<Question, bool, BuildHasherDefault<Mix>>> = RefCell::default();
}

/// Whether the product's own [`Lineages::measure`] finds a member inside a group. Answers are remembered: a search asks the same few
/// thousand questions millions of times.
pub fn inside(tree: &Tree, member: u8, held: Numbers, group: u8, has: Numbers) -> bool {
    let question = (*tree, member, held, group, has);
    MEASURED.with_borrow_mut(|known| *known.entry(question).or_insert_with(|| measure(&question)))
}

fn measure((tree, member, held, group, has): &Question) -> bool {
    let mut lineages = Lineages::default();
    for (lineage, edge) in tree.iter().enumerate() {
        if let Some(edge) = edge {
            let branch = Branch {
                parent: edge.parent.map(id),
                base: gtids(edge.base),
                generation: None,
                host: None,
                abandoned: Default::default(),
            };
            lineages.add(id(lineage as u8), branch);
        }
    }
    lineages.measure(&id(*member), &gtids(*held), &id(*group), &gtids(*has)) == Measure::Inside
}

fn id(lineage: u8) -> LineageId {
    let text = lineage.to_string();
    text.parse().unwrap_or_else(|_| LineageId::origin())
}

fn gtids(numbers: Numbers) -> GtidSet {
    let of_group: Vec<String> = (1..=LAST_NUMBER)
        .filter(|n| numbers & (1 << n) != 0)
        .map(|n| format!("6266fad8-e63f-11f1-a438-8e247ed30bec:{n}"))
        .collect();
    of_group.join(",").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_keeps_what_has_the_same_number() {
        let own = Data::of(0, 0b110);
        let donor = Data::of(0, 0b010).union(Data::of(1, 0b1100));
        let after = own.recovered_from(donor);
        assert_eq!(
            after,
            own.union(Data::of(1, 0b1000)),
            "number 2 of the group is missing"
        );
        assert_eq!(after.numbers(), donor.numbers());
    }

    #[test]
    fn the_products_measure_is_asked() {
        assert_eq!(gtids(0b1110).count(), 3);
        let mut tree = Tree::default();
        tree[1] = Some(Edge {
            parent: Some(0),
            base: 0b010,
        });
        assert!(inside(&tree, 0, 0b010, 1, 0b110));
        assert!(!inside(&tree, 0, 0b110, 1, 0b110));
        assert!(!inside(&tree, 0, 0b110, 2, 0b110), "lineage 2 is not recorded");
    }
}
