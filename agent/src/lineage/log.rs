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
    /// MY-010597 of the recovery channel: it is to get what it lacks from this member, `host:port`.
    Donor(String),
}

/// The server was given what it lacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// When the donor was chosen, as the server writes it.
    pub at: String,
    /// The same in microseconds since 1970.
    pub us: u64,
    /// By whom, `host:port`.
    pub donor: String,
    /// In the group of this lineage, by the first part of its view's id.
    pub id: LineageId,
    /// The counter of the newest view then.
    pub counter: u64,
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

/// What is told of views however old: asked for where the newest lines do not reach back to a view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Older {
    /// When that view was installed last, as the server writes it; none: the log does not tell any more.
    pub own: Option<String>,
    /// When the newest view of another bootstrap was installed, refused or not; none: there was none.
    pub other: Option<String>,
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

    /// When the first view of this bootstrap was installed, in microseconds since 1970; none: the newest lines do not tell.
    pub fn first_view(&self, lineage: &LineageId) -> Option<u64> {
        let mut views = self.views().into_iter();
        let first = views.find(|(_, view)| view.id.prefix() == lineage.prefix() && view.counter == 1);
        first.map(|(at, _)| at)
    }

    /// The newest lines begin after the view of this bootstrap with this counter: they do not tell all that followed it.
    pub fn falls_short(&self, lineage: &LineageId, counter: u64) -> bool {
        self.0.len() >= MOST && known(&self.views(), lineage, counter).is_none()
    }

    /// After the view of this bootstrap with this counter, or the newest before it, the server was in one of another. Where the newest lines
    /// fall short, `older` tells of those before them; what was installed until `seen` is taken into account already.
    pub fn went_elsewhere(&self, lineage: &LineageId, counter: u64, older: Option<&Older>, seen: &str) -> bool {
        let views = self.views();
        let is_other = |view: &Logged| !view.refused && view.id.prefix() != lineage.prefix();
        match known(&views, lineage, counter) {
            Some(known) => views[known + 1..].iter().any(|(_, view)| is_other(view)),
            None if self.falls_short(lineage, counter) => {
                let mut later = views.iter().filter(|(_, view)| view.at.as_str() > seen);
                let before =
                    older.and_then(|older| Some((older.own.as_deref().unwrap_or(seen), older.other.as_deref()?)));
                later.any(|(_, view)| is_other(view)) || before.is_some_and(|(own, other)| other > own)
            }
            None => false,
        }
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
                Said::Refused | Said::Donor(_) => {}
            }
        }
        newest
    }

    /// What the server was given, the oldest first. Without any view before it the group is not told: nothing is.
    pub fn given(&self) -> Vec<Given> {
        let (mut view, mut given) = (None, Vec::new());
        for line in &self.0 {
            match &line.said {
                Said::View { id, counter } => view = Some((id, *counter)),
                Said::Donor(donor) => {
                    if let Some((id, counter)) = view {
                        given.push(Given {
                            at: line.at.clone(),
                            us: line.us,
                            donor: donor.clone(),
                            id: id.clone(),
                            counter,
                        });
                    }
                }
                Said::Refused | Said::MajorityLost | Said::ReachableAgain | Said::MajorityBack => {}
            }
        }
        given
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
                Said::MajorityLost | Said::ReachableAgain | Said::MajorityBack | Said::Donor(_) => {}
            }
        }
        views
    }
}

/// The place of the newest view of this bootstrap with this counter or a lower one.
fn known(views: &[(u64, Logged)], lineage: &LineageId, counter: u64) -> Option<usize> {
    let own = |view: &Logged| view.id.prefix() == lineage.prefix() && !view.refused;
    views.iter().rposition(|(_, view)| own(view) && view.counter <= counter)
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
        let elsewhere = |lineage: &LineageId, counter| log.went_elsewhere(lineage, counter, None, "");
        assert!(elsewhere(&seven, 3) && !elsewhere(&"9".parse().unwrap(), 4));
        assert!(!elsewhere(&seven, 2), "the view that is on record is not told");
        let refused_since = |prefix: &str, at: u64| log.refused_since(&prefix.parse().unwrap(), &format!("{at:012}"));
        assert!(refused_since("9", 10) && !refused_since("9", 11) && !refused_since("7", 0));
        let refused = Log(log.0[4..].to_vec());
        assert_eq!(
            refused.last_installed().map(|view| (view.counter, view.refused)),
            Some((4, true))
        );
    }

    /// The agent was stopped; then members came and went.
    #[test]
    fn a_trip_to_another_group_is_told_however_many_lines_followed_it() {
        let seven: LineageId = "7".parse().unwrap();
        let many = |begins: u64| (0..80).map(move |n| (100 + n, view("7", begins + n)));
        let full = log(many(5).collect());
        assert!(full.falls_short(&seven, 4) && !full.falls_short(&seven, 5));
        assert!(
            !log(many(5).skip(1).collect()).falls_short(&seven, 4),
            "it tells all that there is"
        );
        let older = |own: Option<u64>, other: Option<u64>| Older {
            own: own.map(|us| format!("{us:012}")),
            other: other.map(|us| format!("{us:012}")),
        };
        let elsewhere = |own, other, seen: &str| full.went_elsewhere(&seven, 4, Some(&older(own, other)), seen);
        assert!(elsewhere(Some(50), Some(60), ""));
        assert!(!elsewhere(Some(50), Some(40), "") && !elsewhere(Some(50), None, ""));
        let seen = format!("{:012}", 55);
        assert!(
            elsewhere(None, Some(60), &seen),
            "the view on record is not told any more"
        );
        assert!(
            !elsewhere(None, Some(54), &seen),
            "and this was before what is taken into account"
        );
        // What the newest lines tell needs no older ones.
        let trip = log(many(5).take(79).chain([(300, view("8", 1))]).collect());
        assert!(
            trip.went_elsewhere(&seven, 4, None, "") && !trip.went_elsewhere(&seven, 4, None, &format!("{:012}", 300))
        );
    }
}
