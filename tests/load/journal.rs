//! What was acknowledged and when, in memory and in a file outside the hosts; while it is written and when it is done.
//!
//! Filled by `client`, read by `writer` (gaps) and `proof`. A number is in it once for each kind and connection, in ascending order
//! without holes: a client goes on only when it knows that a transaction is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::gaps;

/// A moment of a writer's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(pub(super) Duration);

/// What a transaction does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// One row with the next number.
    Mark,
    /// Money goes from one account to another, and is booked under the next number.
    Transfer,
}

impl Kind {
    /// The table whose rows carry the numbers.
    pub fn table(self) -> &'static str {
        match self {
            Self::Mark => "appdb.load_marks",
            Self::Transfer => "appdb.load_transfers",
        }
    }
}

/// Which numbers belong together: ascending from 1 without holes.
pub type Series = (Kind, u32);

/// What one writer was told.
#[derive(Debug)]
pub struct Log {
    /// Distinguishes the rows of one writer from those of another.
    pub run: u64,
    /// When each acknowledgement came, ascending.
    pub times: Vec<Duration>,
    /// The last number of each series that is known to be there.
    pub acknowledged: BTreeMap<Series, u64>,
    /// Numbers whose fate was unknown when the writer ended: the next of their series.
    pub unknown: BTreeMap<Series, u64>,
    /// How many were found applied when they were sent again, since the answer had been lost.
    pub found: usize,
    /// How often a connection was lost or refused, or a statement failed.
    pub errors: BTreeMap<String, usize>,
    /// When it ended.
    pub end: Duration,
    /// Where every acknowledgement and every error stands.
    pub path: PathBuf,
    file: Option<File>,
}

impl Log {
    /// Nothing yet; goes on without a file if there is no place for one.
    pub fn new(run: u64, path: PathBuf) -> Self {
        let file = path
            .parent()
            .and_then(|folder| std::fs::create_dir_all(folder).ok())
            .and_then(|()| File::create(&path).ok());
        Self {
            run,
            times: Vec::new(),
            acknowledged: BTreeMap::new(),
            unknown: BTreeMap::new(),
            found: 0,
            errors: BTreeMap::new(),
            end: Duration::ZERO,
            path,
            file,
        }
    }

    /// A transaction is there: the server said so, or it was found when it was sent again.
    pub fn acknowledge(&mut self, at: Duration, (kind, connection): Series, number: u64, found: bool) {
        self.times.push(at);
        self.acknowledged.insert((kind, connection), number);
        self.found += usize::from(found);
        let how = if found { "found" } else { "acknowledged" };
        self.line(at, &format!("{kind:?} {connection} {number} {how}"));
    }

    /// Something went wrong; what is in flight is sent again.
    pub fn fail(&mut self, at: Duration, (kind, connection): Series, number: u64, error: &str) {
        *self.errors.entry(class(error)).or_default() += 1;
        self.line(at, &format!("{kind:?} {connection} {number} error {error}"));
    }

    fn line(&mut self, at: Duration, text: &str) {
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{:.6} {text}", at.as_secs_f64());
        }
    }

    /// Longest time without any acknowledgement.
    pub fn longest_gap(&self) -> Duration {
        gaps::longest_since(&self.times, Duration::ZERO, self.end)
    }

    /// How many of a kind are known to be there.
    pub fn count(&self, kind: Kind) -> u64 {
        self.acknowledged
            .iter()
            .filter(|((of, _), _)| *of == kind)
            .map(|(_, last)| last)
            .sum()
    }

    /// For people: the longest gaps and when they began.
    pub fn gaps(&self) -> String {
        let worst = gaps::worst(&self.times, self.end, 3);
        let one = |(begin, length): &(Duration, Duration)| {
            format!("{:.2} s at {:.1} s", length.as_secs_f64(), begin.as_secs_f64())
        };
        worst.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Errors of one sort counted together: without numbers and addresses that differ each time.
fn class(error: &str) -> String {
    error.chars().take(90).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_each_series_counts() {
        let folder = std::env::temp_dir().join(format!("clusterctl-load-{}", std::process::id()));
        let mut log = Log::new(7, folder.join("7.log"));
        let at = Duration::from_millis;
        log.acknowledge(at(1), (Kind::Mark, 1), 1, false);
        log.acknowledge(at(2), (Kind::Mark, 1), 2, true);
        log.acknowledge(at(9), (Kind::Transfer, 1), 1, false);
        log.fail(at(10), (Kind::Mark, 2), 1, "connection refused");
        log.end = at(12);
        assert_eq!((log.count(Kind::Mark), log.count(Kind::Transfer), log.found), (2, 1, 1));
        assert_eq!(log.longest_gap(), at(7));
        let text = std::fs::read_to_string(&log.path).unwrap();
        assert!(
            text.contains("0.002000 Mark 1 2 found") && text.lines().count() == 4,
            "{text}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
