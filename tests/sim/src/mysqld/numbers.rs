//! GTIDs as Group Replication gives them out: blocks for each member, and gaps that are filled after a change of the view.

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;
use uuid::Uuid;

/// A set of one transaction.
pub(crate) fn one(source: &str, number: u64) -> GtidSet {
    format!("{source}:{number}").parse().unwrap_or_default()
}

/// Source and number of a single GTID.
pub(crate) fn parse(gtid: &str) -> Option<(String, u64)> {
    let (source, number) = gtid.trim().split_once(':')?;
    let source: Uuid = source.trim().parse().ok()?;
    Some((source.to_string(), number.trim().parse().ok()?))
}

/// Numbers of one source: disjoint intervals, first to last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    /// Those of this source in a set.
    pub fn of(set: &GtidSet, source: &str) -> Self {
        let mut numbers = Self::default();
        let Ok(source) = source.parse::<Uuid>() else {
            return numbers;
        };
        let text = set.of(source).to_string();
        let mut tagged = false;
        for part in text.split(':').skip(1) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if !tagged => numbers.add(first, last),
                (Ok(_), Ok(_)) => {}
                // Numbers behind a tag are others.
                _ => tagged = true,
            }
        }
        numbers
    }

    /// Adds an interval.
    pub fn add(&mut self, mut first: u64, mut last: u64) {
        let touching: Vec<u64> = self
            .0
            .range(..=last.saturating_add(1))
            .filter(|(_, end)| end.saturating_add(1) >= first)
            .map(|(start, _)| *start)
            .collect();
        for start in touching {
            if let Some(end) = self.0.remove(&start) {
                first = first.min(start);
                last = last.max(end);
            }
        }
        self.0.insert(first, last);
    }

    pub fn contains(&self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back();
        before.is_some_and(|(_, last)| *last >= number)
    }

    /// The first interval that is free here and in the other, at most this long.
    pub fn free(&self, other: &Self, longest: u64) -> (u64, u64) {
        let mut used = self.clone();
        for (first, last) in &other.0 {
            used.add(*first, *last);
        }
        let mut start = 1;
        for (first, last) in &used.0 {
            if *first > start {
                return (start, (first - 1).min(start + longest - 1));
            }
            start = start.max(last + 1);
        }
        (start, start + longest - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

    #[test]
    fn the_first_gap_is_free() {
        let set: GtidSet = format!("{SOURCE}:3-5:9-10").parse().unwrap();
        let numbers = Numbers::of(&set, SOURCE);
        let none = Numbers::default();
        assert_eq!(numbers.free(&none, 1000), (1, 2));
        let mut taken = Numbers::default();
        taken.add(1, 2);
        assert_eq!(numbers.free(&taken, 1000), (6, 8));
        taken.add(6, 8);
        assert_eq!(numbers.free(&taken, 1000), (11, 1010));
        assert_eq!(none.free(&none, 10), (1, 10));
    }

    #[test]
    fn a_gtid_is_read() {
        assert_eq!(parse(&format!("{SOURCE}:7")), Some((SOURCE.to_owned(), 7)));
        assert_eq!(parse("AUTOMATIC"), None);
        assert!(!one(SOURCE, 7).is_empty());
    }
}
