//! Ascending, disjoint, not adjoining intervals of whole numbers, both ends included.

use std::fmt;

/// Numbers are at most [`super::LAST`], so one more never overflows.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    /// From any list of `(first, last)` with `first <= last`.
    pub(super) fn new(mut list: Vec<(u64, u64)>) -> Self {
        list.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(list.len());
        for (first, last) in list {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self) -> u128 {
        self.0.iter().map(|(first, last)| u128::from(last - first) + 1).sum()
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut theirs = other.0.iter().peekable();
        for &(first, last) in &self.0 {
            let mut from = first;
            // What ends before this interval ends before all that follow.
            while theirs.next_if(|(_, end)| *end < first).is_some() {}
            let mut rest = theirs.clone();
            while let Some(&(start, end)) = rest.next_if(|(start, _)| *start <= last) {
                if from < start {
                    left.push((from, start - 1));
                }
                from = end.saturating_add(1);
            }
            if from <= last {
                left.push((from, last));
            }
        }
        Self(left)
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (ours.peek(), theirs.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            if a.1 <= b.1 {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }
}

/// `:1-5:7`.
impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(first, last)| {
            if first == last {
                write!(f, ":{first}")
            } else {
                write!(f, ":{first}-{last}")
            }
        })
    }
}
