//! For how long the group of this server has tried in vain to agree on something.
//!
//! A group of one that has just let a joiner in, which died in that moment, shows itself ONLINE, PRIMARY and with a majority, and commits
//! nothing any more (docs/mysql-facts.md). Two status variables (MySQL 8.1 and later) tell: its protocol tries again and again
//! (`Gr_extended_consensus_count`), and nothing of this member's is agreed on meanwhile (`Gr_last_consensus_end_timestamp`). Noted by the
//! observation at each look, asked by the promise before it stops such a member. It never takes for a standstill that there is nothing to
//! agree on (where nobody writes, that may be so for a minute: `group_replication_flow_control_period`), nor what was not looked at: after a
//! gap between looks (mysqld was frozen, the agent was busy) it begins anew.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::conn::Db;
use super::error::MysqlError;

/// Looks that are further apart do not tell what was between them.
const GAP: Duration = Duration::from_secs(5);
/// A round of tries was in vain if another one follows. So many must be seen before it counts.
const IN_VAIN: u32 = 3;
/// Rounds follow each other ever more slowly, at most 20 s apart. After this long without one there is nothing to agree on.
const ROUNDS: Duration = Duration::from_secs(30);

const AGREED: &str = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Gr_last_consensus_end_timestamp'";
const TRIES: &str =
    "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Gr_extended_consensus_count'";

/// Since when the group tries in vain.
#[derive(Default, Debug)]
pub struct Standstill(Mutex<Option<Still>>);

#[derive(Debug)]
struct Still {
    /// When something of this member's was agreed on last. Compared only as a text: in which time zone it is does not matter, nor whether
    /// somebody sets the clock.
    agreed: String,
    /// Tries so far.
    tries: u64,
    /// Rounds of tries since then.
    rounds: Option<Rounds>,
    seen: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Rounds {
    count: u32,
    first: Instant,
    last: Instant,
}

impl Standstill {
    /// Looks, and tells for how long the group has certainly tried in vain to agree, in milliseconds; none: the server does not tell it.
    pub async fn look(&self, db: &mut Db) -> Result<Option<u64>, MysqlError> {
        let agreed = db.value(AGREED).await?;
        let tries = db.value(TRIES).await?;
        let told = agreed
            .filter(|agreed| !agreed.is_empty())
            .zip(tries.and_then(|tries| tries.parse().ok()));
        let still = self.note(told, Instant::now());
        Ok(still.map(|still| u64::try_from(still.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The server is in no group now.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, told: Option<(String, u64)>, now: Instant) -> Option<Duration> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.take();
        let (agreed, tries) = told?;
        let goes_on =
            |still: &Still| still.agreed == agreed && tries >= still.tries && now.duration_since(still.seen) <= GAP;
        let rounds = before.filter(goes_on).and_then(|still| match still.rounds {
            rounds if tries > still.tries => Some(Rounds {
                count: rounds.map_or(0, |rounds| rounds.count) + 1,
                first: rounds.map_or(now, |rounds| rounds.first),
                last: now,
            }),
            rounds => rounds.filter(|rounds| now.duration_since(rounds.last) <= ROUNDS),
        });
        *kept = Some(Still {
            agreed,
            tries,
            rounds,
            seen: now,
        });
        let in_vain = rounds.filter(|rounds| rounds.count >= IN_VAIN);
        Some(in_vain.map_or(Duration::ZERO, |rounds| now.duration_since(rounds.first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT: u64 = 0;

    /// Notes these values at these seconds, and tells for how many it stands still after the last one.
    fn stands(still: &Standstill, begin: Instant, looks: impl IntoIterator<Item = (u64, &'static str, u64)>) -> u64 {
        let mut last = None;
        for (at, agreed, tries) in looks {
            last = still.note(Some((agreed.to_owned(), tries)), begin + Duration::from_secs(at));
        }
        last.expect("a look").as_secs()
    }

    #[tokio::test]
    async fn who_tries_again_and_again_in_vain_stands_still() {
        let (still, begin) = (Standstill::default(), Instant::now());
        let stands = |looks: &[(u64, &'static str, u64)]| stands(&still, begin, looks.iter().copied());
        assert_eq!(stands(&[(0, "a", 7), (1, "a", 17), (2, "a", 27)]), NOT);
        assert_eq!(stands(&[(4, "a", 37)]), 3);
        // Rounds follow each other more slowly.
        assert_eq!(stands(&[(9, "a", 37), (14, "a", 37), (19, "a", 47)]), 18);
        // It was mended.
        assert_eq!(stands(&[(20, "b", 57)]), NOT);
        assert_eq!(stands(&[(21, "b", 67), (22, "b", 67)]), NOT);
    }

    /// Where nobody writes nothing is agreed on for as long as `group_replication_flow_control_period`, a minute at most.
    #[tokio::test]
    async fn where_there_is_nothing_to_agree_on_nothing_stands_still() {
        let (still, begin) = (Standstill::default(), Instant::now());
        assert_eq!(stands(&still, begin, (0..60).map(|at| (at, "a", 7))), NOT);
        // A member was lost, and a few rounds were needed for that.
        let lost = (60..100).map(|at| (at, "b", 7 + at.min(64)));
        assert_eq!(stands(&still, begin, lost), NOT);
    }

    #[tokio::test]
    async fn what_was_not_looked_at_does_not_count() {
        let (still, begin) = (Standstill::default(), Instant::now());
        let stands = |looks: &[(u64, &'static str, u64)]| stands(&still, begin, looks.iter().copied());
        assert_eq!(stands(&[(0, "a", 1), (1, "a", 2), (2, "a", 3), (3, "a", 4)]), 2);
        // Frozen for a minute, and the first looks after it come before the group does.
        assert_eq!(stands(&[(60, "a", 5), (61, "a", 6), (62, "a", 7)]), NOT);
        assert_eq!(still.note(None, Instant::now()), None);
        assert_eq!(stands(&[(63, "a", 8), (64, "a", 9), (65, "a", 10)]), NOT);
        still.forget();
        assert_eq!(stands(&[(66, "a", 11), (67, "a", 12), (68, "a", 13)]), NOT);
    }
}
