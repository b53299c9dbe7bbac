//! Times as people and `-o json` read them: RFC 3339 in UTC from Unix milliseconds. And a clock for ages that counts suspend.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::machine;

/// 31 December 9999, the last day that RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

/// `2026-11-22T07:43:12Z`. A time past the year 9999 is written as its last second.
pub fn rfc3339(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// `2026-11-22T07:43:12.123Z`, where the order of events matters.
pub fn rfc3339_millis(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(at).to_string()
}

/// Unix milliseconds of an RFC 3339 text in UTC.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let at = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// The wall clock now, in Unix milliseconds; for records, never for decisions about order or age.
pub fn now_ms() -> u64 {
    if let Some(machine) = machine::current() {
        return machine.wall_ms();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time of `CLOCK_BOOTTIME`: it never goes back, and it goes on while the machine is suspended, which
/// [`std::time::Instant`] does not. For the age of what must not have slept: orders, promises, confirmations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now.
    pub fn now() -> Self {
        if let Some(machine) = machine::current() {
            return Self(machine.boot_time());
        }
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanoseconds))
    }

    /// Time since then; zero for a later point.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Time from `earlier` until this point; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This point, moved into the past: for tests of what an age does.
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_millis(1_795_333_392_123), "2026-11-22T07:43:12.123Z");
        assert_eq!(parse_rfc3339("2026-11-22T07:43:12.123Z"), Some(1_795_333_392_123));
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        assert!(parse_rfc3339(&rfc3339(now_ms())).is_some());
    }

    #[test]
    fn ages_of_boot_time() {
        let then = BootInstant::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(then.elapsed() >= Duration::from_millis(2));
        assert_eq!(then.since(BootInstant::now()), Duration::ZERO);
        assert!(then.before(Duration::from_secs(1)).elapsed() >= Duration::from_secs(1));
    }
}
