//! What the server's own log tells of its membership: which views it installed, in which it was refused, and whether a person forced one.
//!
//! The log outlives a restart (manual, "The error_log Table"), so it tells also of what happened while this agent did not look. It may
//! lack anything: what it does not tell did not certainly not happen. Read by `mysql/log.rs`. Pure.

use clusterctl_proto::lineage::LineageId;

/// So many lines are read: what is older than the first of so many is not told.
pub const MOST: usize = 80;

/// Where members have come within reach again, the majority is back in the same moment.
const SAME_MOMENT_US: u64 = 1_000_000;

/// The newest lines about the membership, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log(pub Vec<Line>);

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When, as the server writes it, UTC.
    pub at: String,
    /// The same in microseconds since 1970.
    pub us: u64,
    /// What.
    pub said: Said,
}

/// What a line says; codes as measured (docs/lineages.md).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// MY-011503: a view was installed.
    View {
        /// Its lineage, by the first part of its id.
        id: LineageId,
        /// Its counter.
        counter: u64,
    },
    /// MY-011526: the server was refused for transactions that the group has not. Its view is logged after that.
    Refused,
    /// MY-011495 or MY-011496: it reaches no majority.
    MajorityLost,
    /// MY-011494: one that was out of reach is reached again.
    ReachableAgain,
    /// MY-011498: it reaches a majority again.
    MajorityBack,
}

/// The view that a server installed last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logged {
    /// When, as the server writes it.
    pub at: String,
    /// Its lineage.
    pub id: LineageId,
    /// Its counter.
    pub counter: u64,
    /// The server was refused in it for transactions that the group has not.
    pub refused: bool,
}

impl Log {
    /// The view that was installed last and not refused; where all were refused, the newest of these.
    pub fn last_installed(&self) -> Option<Logged> {
        let views = self.views();
        let last = views.iter().rev().find(|(_, view)| !view.refused);
        last.or(views.last()).map(|(_, view)| view.clone())
    }

    /// Since this moment (microseconds since 1970) the server was in views of this bootstrap and of no other; false where the log does not
    /// reach back so far.
    pub fn only_in(&self, lineage: &LineageId, since: u64) -> bool {
        let reaches = self.0.len() < MOST || self.0.first().is_some_and(|line| line.us <= since);
        let views = self.views().into_iter();
        let mut entered = views.filter(|(at, view)| *at > since && !view.refused).peekable();
        reaches && entered.peek().is_some() && entered.all(|(_, view)| view.id.prefix() == lineage.prefix())
    }

    /// The server was refused by a group of this bootstrap after this time: it holds what that group has not.
    pub fn refused_since(&self, lineage: &LineageId, since: &str) -> bool {
        let views = self.views().into_iter();
        views
            .map(|(_, view)| view)
            .any(|view| view.refused && view.at.as_str() > since && view.id.prefix() == lineage.prefix())
    }

    /// After the view of this bootstrap with this counter, or the newest before it, the server was in one of another.
    pub fn went_elsewhere(&self, lineage: &LineageId, counter: u64) -> bool {
        let views = self.views();
        let own = |view: &Logged| view.id.prefix() == lineage.prefix() && !view.refused;
        let known = views.iter().rposition(|(_, view)| own(view) && view.counter <= counter);
        known.is_some_and(|known| {
            let mut later = views[known + 1..].iter();
            later.any(|(_, view)| !view.refused && view.id.prefix() != lineage.prefix())
        })
    }

    /// The counter of the newest view of this bootstrap that a person forced: the majority was back, and nobody had come within reach.
    pub fn forced(&self, lineage: &LineageId) -> Option<u64> {
        let (mut lost, mut again, mut by_force, mut newest) = (false, None, false, None);
        for line in &self.0 {
            match &line.said {
                Said::MajorityLost => (lost, again, by_force) = (true, None, false),
                Said::ReachableAgain => again = Some(line.us),
                Said::MajorityBack => {
                    let by_itself = again.is_some_and(|at| line.us.saturating_sub(at) <= SAME_MOMENT_US);
                    (lost, by_force) = (false, lost && !by_itself);
                }
                Said::View { id, counter } => {
                    if by_force && id.prefix() == lineage.prefix() {
                        newest = Some(*counter);
                    }
                    // Without a majority no view is installed: this one is of another START.
                    (lost, by_force) = (false, false);
                }
                Said::Refused => {}
            }
        }
        newest
    }

    fn views(&self) -> Vec<(u64, Logged)> {
        let (mut refused, mut views) = (false, Vec::new());
        for line in &self.0 {
            match &line.said {
                Said::Refused => refused = true,
                Said::View { id, counter } => {
                    let view = Logged {
                        at: line.at.clone(),
                        id: id.clone(),
                        counter: *counter,
                        refused: std::mem::take(&mut refused),
                    };
                    views.push((line.us, view));
                }
                Said::MajorityLost | Said::ReachableAgain | Said::MajorityBack => {}
            }
        }
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: Vec<(u64, Said)>) -> Log {
        let line = |(us, said): (u64, Said)| Line {
            at: format!("{us:012}"),
            us,
            said,
        };
        Log(lines.into_iter().map(line).collect())
    }

    fn view(prefix: &str, counter: u64) -> Said {
        Said::View {
            id: prefix.parse().unwrap(),
            counter,
        }
    }

    fn forced(lines: Vec<(u64, Said)>) -> Option<u64> {
        log(lines).forced(&"7".parse().unwrap())
    }

    /// As measured on a real server: 8 s after the majority was lost.
    #[test]
    fn a_majority_that_is_back_without_anybody_was_forced() {
        let lost = [(1, view("7", 3)), (2, Said::MajorityLost)];
        let with = |more: Vec<(u64, Said)>| forced(lost.iter().cloned().chain(more).collect());
        assert_eq!(
            with(vec![(8_000_000, Said::MajorityBack), (8_000_963, view("7", 4))]),
            Some(4)
        );
        let back = (9_000_000, Said::ReachableAgain);
        assert_eq!(
            with(vec![
                back.clone(),
                (9_000_020, Said::MajorityBack),
                (9_700_000, view("7", 4))
            ]),
            None,
            "they are back, and another is expelled"
        );
        assert_eq!(
            with(vec![back, (12_000_000, Said::MajorityBack), (12_000_900, view("7", 4))]),
            Some(4),
            "one that came back was not enough"
        );
        assert_eq!(
            with(vec![(9_000_000, view("7", 9))]),
            None,
            "it was restarted, and let in"
        );
        assert_eq!(
            with(vec![(8_000_000, Said::MajorityBack), (8_000_963, view("8", 4))]),
            None
        );
        assert_eq!(
            forced(vec![(1, view("7", 3)), (2, view("7", 4))]),
            None,
            "two have left together"
        );
    }

    #[test]
    fn a_view_that_refused_the_server_is_not_entered() {
        let log = log(vec![
            (1, view("7", 3)),
            (5, Said::Refused),
            (6, view("8", 4)),
            (9, view("9", 2)),
            (10, Said::Refused),
            (11, view("9", 4)),
        ]);
        assert_eq!(
            log.last_installed().map(|view| (view.counter, view.refused)),
            Some((2, false))
        );
        let only_in = |prefix: &str, since| log.only_in(&prefix.parse().unwrap(), since);
        assert!(only_in("9", 3), "8 refused it");
        assert!(!only_in("9", 0), "it was in 7, too");
        assert!(!only_in("9", 9), "nothing is told of an entry");
        let seven = "7".parse().unwrap();
        assert!(log.went_elsewhere(&seven, 3) && !log.went_elsewhere(&"9".parse().unwrap(), 4));
        assert!(!log.went_elsewhere(&seven, 2), "the view that is on record is not told");
        let refused_since = |prefix: &str, at: u64| log.refused_since(&prefix.parse().unwrap(), &format!("{at:012}"));
        assert!(refused_since("9", 10) && !refused_since("9", 11) && !refused_since("7", 0));
        let refused = Log(log.0[4..].to_vec());
        assert_eq!(
            refused.last_installed().map(|view| (view.counter, view.refused)),
            Some((4, true))
        );
    }
}
