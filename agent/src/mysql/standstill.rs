//! For how long the group of this server has agreed on nothing.
//!
//! A group of one that has just let a joiner in, which died in that moment, shows itself ONLINE, PRIMARY and with a majority, and commits
//! nothing any more (docs/mysql-facts.md). The status variable `Gr_last_consensus_end_timestamp` (MySQL 8.1 and later) tells: in a group
//! that is well it changes each second. Noted by the observation at each look, asked by the promise before it stops such a member. It never
//! takes what was not looked at for a standstill: after a gap between looks (mysqld was frozen, the agent was busy) it begins anew.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::conn::Db;
use super::error::MysqlError;

/// Looks that are further apart do not tell what was between them.
const GAP: Duration = Duration::from_secs(5);

/// Since when one value is seen.
#[derive(Default, Debug)]
pub struct Standstill(Mutex<Option<Still>>);

#[derive(Debug)]
struct Still {
    value: String,
    since: Instant,
    seen: Instant,
}

impl Standstill {
    /// Looks, and tells for how long the value has certainly stood still, in milliseconds; none: the server does not tell it.
    pub async fn look(&self, db: &mut Db) -> Result<Option<u64>, MysqlError> {
        // Compared only as a text: in which time zone it is does not matter, nor whether somebody sets the clock.
        let value = db
            .value(
                "SELECT variable_value FROM performance_schema.global_status \
                 WHERE variable_name = 'Gr_last_consensus_end_timestamp'",
            )
            .await?;
        let still = self.note(value.filter(|value| !value.is_empty()), Instant::now());
        Ok(still.map(|still| u64::try_from(still.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The server is in no group now.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, value: Option<String>, now: Instant) -> Option<Duration> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match kept.take() {
            Some(still) if Some(&still.value) == value.as_ref() && now.duration_since(still.seen) <= GAP => still.since,
            _ => now,
        };
        *kept = value.map(|value| Still {
            value,
            since,
            seen: now,
        });
        kept.as_ref().map(|still| now.duration_since(still.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_changes_does_not_stand_still() {
        let (still, begin) = (Standstill::default(), Instant::now());
        let note = |value: &str, at: u64| still.note(Some(value.to_owned()), begin + seconds(at));
        assert_eq!(note("a", 0), Some(seconds(0)));
        assert_eq!(note("a", 3), Some(seconds(3)));
        assert_eq!(note("b", 4), Some(seconds(0)));
        assert_eq!(note("b", 9), Some(seconds(5)));
    }

    #[test]
    fn what_was_not_looked_at_does_not_count() {
        let (still, begin) = (Standstill::default(), Instant::now());
        let note = |value: Option<&str>, at: u64| still.note(value.map(str::to_owned), begin + seconds(at));
        note(Some("a"), 0);
        // frozen for a minute, and the first look after it comes before the group does
        assert_eq!(note(Some("a"), 60), Some(seconds(0)));
        assert_eq!(note(Some("a"), 62), Some(seconds(2)));
        assert_eq!(note(None, 63), None);
        assert_eq!(note(Some("a"), 64), Some(seconds(0)));
        still.forget();
        assert_eq!(note(Some("a"), 65), Some(seconds(0)));
    }
}
