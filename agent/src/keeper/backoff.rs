//! Waits between tries that fail: 5, 10, 20 s … up to the limit of that kind of failure. Pure: the time comes in.
//!
//! A kind with a short limit leaves no long wait behind: who looked a hundred times for a group that did not live yet, and whose first
//! try then fails, tries again as soon as if it had looked once.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(5);

/// Of one deed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether it may be tried now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// It was tried and failed, in a way after which one waits no longer than `longest`.
    pub fn failed(&mut self, now: Instant, longest: Duration) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10));
        if wait < longest {
            self.failures = self.failures.saturating_add(1);
        }
        self.until = Some(now + wait.min(longest));
    }

    /// It is as it should be.
    pub fn settled(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let (now, longest) = (Instant::now(), Duration::from_secs(120));
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(now));
        for seconds in [5, 10, 20, 40, 80, 120, 120] {
            backoff.failed(now, longest);
            assert!(!backoff.is_due(now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            assert!(backoff.is_due(now + Duration::from_secs(seconds)));
        }
        backoff.settled();
        assert!(backoff.is_due(now));
        backoff.failed(now, longest);
        assert!(backoff.is_due(now + Duration::from_secs(5)));
    }

    #[test]
    fn looks_that_found_nothing_do_not_delay_what_fails_after_them() {
        let (now, look, longest) = (Instant::now(), Duration::from_secs(10), Duration::from_secs(120));
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.failed(now, look);
        }
        backoff.failed(now, longest);
        assert!(backoff.is_due(now + look));
    }
}
