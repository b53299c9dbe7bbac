//! For how long the group of this server has agreed on nothing.
//!
//! A group of one that has just let a joiner in, which died in that moment, shows itself ONLINE, PRIMARY and with a majority, and commits
//! nothing any more (docs/mysql-facts.md). Two status variables (MySQL 8.1 and later) tell: this member has sent something to its group
//! (`Gr_total_messages_sent_count`), and since then nothing of its own was agreed on (`Gr_last_consensus_end_timestamp`). Noted by the
//! observation at each look, asked by the promise before it stops such a member. It never takes for a standstill that nothing was sent (where
//! nobody writes, a member sends something each `group_replication_flow_control_period`, which may be a minute), nor what was not looked
//! at: after a gap between looks (mysqld was frozen, the agent was busy) it begins anew.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::conn::Db;
use super::error::MysqlError;

/// Looks that are further apart do not tell what was between them.
const GAP: Duration = Duration::from_secs(5);

/// Since when what was sent is not agreed on.
#[derive(Default, Debug)]
pub struct Standstill(Mutex<Option<Still>>);

#[derive(Debug)]
struct Still {
    /// When something of this member's was agreed on last. Compared only as a text: in which time zone it is does not matter, nor whether
    /// somebody sets the clock.
    agreed: String,
    /// How much it had sent when that was seen first.
    sent: u64,
    /// Since when it is seen to have sent more.
    waits: Option<Instant>,
    seen: Instant,
}

impl Standstill {
    /// Looks, and tells for how long something that this member has sent is certainly not agreed on, in milliseconds; none: the server
    /// does not tell it.
    pub async fn look(&self, db: &mut Db) -> Result<Option<u64>, MysqlError> {
        // In this order: what is sent and agreed on between the two counts as sent before.
        let agreed = status(db, "Gr_last_consensus_end_timestamp").await?;
        let sent = status(db, "Gr_total_messages_sent_count").await?;
        let told = agreed
            .filter(|agreed| !agreed.is_empty())
            .zip(sent.and_then(|sent| sent.parse().ok()));
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
        let (agreed, sent) = told?;
        let still = match before {
            Some(still) if still.agreed == agreed && now.duration_since(still.seen) <= GAP => Still {
                waits: still.waits.or_else(|| (sent > still.sent).then_some(now)),
                seen: now,
                ..still
            },
            _ => Still {
                agreed,
                sent,
                waits: None,
                seen: now,
            },
        };
        let waits = still.waits.map_or(Duration::ZERO, |since| now.duration_since(since));
        *kept = Some(still);
        Some(waits)
    }
}

async fn status(db: &mut Db, name: &str) -> Result<Option<String>, MysqlError> {
    db.value(&format!(
        "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = '{name}'"
    ))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Option<Duration> = Some(Duration::ZERO);

    fn noting() -> (Standstill, impl Fn(&Standstill, &str, u64, u64) -> Option<Duration>) {
        let begin = Instant::now();
        let note = move |still: &Standstill, agreed: &str, sent: u64, at: u64| {
            still.note(Some((agreed.to_owned(), sent)), begin + Duration::from_secs(at))
        };
        (Standstill::default(), note)
    }

    #[tokio::test]
    async fn what_was_sent_and_not_agreed_on_stands_still() {
        let (still, note) = noting();
        assert_eq!(note(&still, "a", 7, 0), NEVER);
        assert_eq!(note(&still, "a", 8, 3), NEVER);
        assert_eq!(note(&still, "a", 8, 7), Some(Duration::from_secs(4)));
        assert_eq!(note(&still, "b", 8, 8), NEVER);
        assert_eq!(note(&still, "b", 9, 9), NEVER);
        assert_eq!(note(&still, "b", 9, 11), Some(Duration::from_secs(2)));
    }

    /// `group_replication_flow_control_period` may be a minute.
    #[tokio::test]
    async fn a_group_in_which_nobody_sends_does_not_stand_still() {
        let (still, note) = noting();
        for at in 0..60 {
            assert_eq!(note(&still, "a", 7, at), NEVER);
        }
    }

    #[tokio::test]
    async fn what_was_not_looked_at_does_not_count() {
        let (still, note) = noting();
        note(&still, "a", 7, 0);
        note(&still, "a", 8, 1);
        // Frozen for a minute, and the first look after it comes before the group does.
        assert_eq!(note(&still, "a", 9, 60), NEVER);
        assert_eq!(note(&still, "a", 10, 62), NEVER);
        assert_eq!(note(&still, "a", 10, 64), Some(Duration::from_secs(2)));
        assert_eq!(still.note(None, Instant::now()), None);
        assert_eq!(note(&still, "a", 11, 65), NEVER);
        still.forget();
        assert_eq!(note(&still, "a", 12, 66), NEVER);
    }
}
