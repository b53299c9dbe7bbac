//! Sets of global transaction identifiers, and their algebra.
//!
//! The planner decides with it who has everything and who has something that others have not (safety rules 2 and 3);
//! agents only pass on the server's text. Text form as MySQL 8.3 and later write it, tags included:
//! `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:upgrade:1-3, ...`. Compared with a 9.7.4 server, this reader is stricter in
//! two places: an interval that ends before it starts, and a tag without an interval, are errors here and nothing there.

mod intervals;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use intervals::Intervals;

/// The largest sequence number that MySQL gives out and reads.
pub const LAST: u64 = i64::MAX as u64 - 1;

const MAX_TAG: usize = 32;

/// A set of transactions. Two sets are equal if they hold the same transactions, however they were written.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GtidSet {
    // No entry is ever empty. An untagged one has the empty tag and comes first, as MySQL writes it.
    sources: BTreeMap<(Uuid, String), Intervals>,
}

/// Why a text is no set of GTIDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a set of GTIDs: {why}")]
pub struct GtidError {
    /// The part that is wrong, cut to a readable length.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl GtidSet {
    /// The set without a transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many transactions it holds.
    pub fn count(&self) -> u128 {
        self.sources.values().map(Intervals::count).sum()
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (source, theirs) in &other.sources {
            let ours = all.sources.entry(source.clone()).or_default();
            *ours = ours.union(theirs);
        }
        all
    }

    /// What is in this one and not in the other.
    pub fn subtract(&self, other: &Self) -> Self {
        let left = self
            .sources
            .iter()
            .map(|(source, ours)| match other.sources.get(source) {
                Some(theirs) => (source.clone(), ours.subtract(theirs)),
                None => (source.clone(), ours.clone()),
            });
        Self {
            sources: left.filter(|(_, intervals)| !intervals.is_empty()).collect(),
        }
    }

    /// What is in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let both = self.sources.iter().filter_map(|(source, ours)| {
            let common = ours.intersect(other.sources.get(source)?);
            (!common.is_empty()).then(|| (source.clone(), common))
        });
        Self {
            sources: both.collect(),
        }
    }

    /// Whether everything in the other is in this one, too.
    pub fn contains(&self, other: &Self) -> bool {
        other.sources.iter().all(|(source, theirs)| {
            self.sources
                .get(source)
                .is_some_and(|ours| theirs.subtract(ours).is_empty())
        })
    }

    /// The servers (or groups) whose transactions are in it.
    pub fn sources(&self) -> impl Iterator<Item = Uuid> + '_ {
        let mut last = None;
        self.sources
            .keys()
            .filter_map(move |(uuid, _)| (last.replace(*uuid) != Some(*uuid)).then_some(*uuid))
    }

    /// Only the transactions of this server or group.
    pub fn of(&self, source: Uuid) -> Self {
        let own = self.sources.iter().filter(|((uuid, _), _)| *uuid == source);
        Self {
            sources: own
                .map(|(source, intervals)| (source.clone(), intervals.clone()))
                .collect(),
        }
    }
}

/// Canonical: lower case, sorted, no blanks, nothing twice.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for ((uuid, tag), intervals) in &self.sources {
            if last != Some(*uuid) {
                let comma = if last.is_some() { "," } else { "" };
                write!(f, "{comma}{uuid}")?;
                last = Some(*uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            write!(f, "{intervals}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({self})")
    }
}

impl FromStr for GtidSet {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut found: BTreeMap<(Uuid, String), Vec<(u64, u64)>> = BTreeMap::new();
        // An empty part is none: the server ends lines with a comma, and people leave one over.
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split(':').map(str::trim);
            let uuid = words.next().unwrap_or_default();
            let uuid = Uuid::try_parse(uuid).map_err(|_| error(part, "a part does not start with a UUID"))?;
            let mut tag = String::new();
            // A UUID or a tag without an interval after it is a text that was cut off.
            let mut complete = false;
            for word in words {
                if is_tag(word) {
                    if !tag.is_empty() && !complete {
                        return Err(error(part, "a tag has no interval"));
                    }
                    tag = word.to_ascii_lowercase();
                    complete = false;
                } else {
                    let interval = interval(word).map_err(|why| error(part, why))?;
                    found.entry((uuid, tag.clone())).or_default().push(interval);
                    complete = true;
                }
            }
            if !complete {
                return Err(error(part, "it ends where an interval should be"));
            }
        }
        Ok(Self {
            sources: found
                .into_iter()
                .map(|(source, list)| (source, Intervals::new(list)))
                .collect(),
        })
    }
}

impl TryFrom<String> for GtidSet {
    type Error = GtidError;
    fn try_from(text: String) -> Result<Self, GtidError> {
        text.parse()
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> Self {
        set.to_string()
    }
}

fn error(part: &str, why: &'static str) -> GtidError {
    GtidError {
        given: part.chars().take(120).collect(),
        why,
    }
}

fn is_tag(word: &str) -> bool {
    (1..=MAX_TAG).contains(&word.len())
        && word
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn interval(word: &str) -> Result<(u64, u64), &'static str> {
    let number = |digits: &str| {
        let digits = digits.trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err("an interval is a number or two with a hyphen between");
        }
        match digits.parse::<u64>() {
            Ok(0) => Err("transactions are numbered from 1"),
            Ok(number) if number <= LAST => Ok(number),
            _ => Err("a number is larger than 9223372036854775806"),
        }
    };
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => {
            let only = number(word)?;
            (only, only)
        }
    };
    if first <= last {
        Ok((first, last))
    } else {
        Err("an interval ends before it starts")
    }
}

#[cfg(test)]
mod tests;
