//! Gaps between acknowledgements. Pure: times come in, ascending, all counted from the writer's start.

use std::time::Duration;

/// The longest time without any acknowledgement that reaches beyond `since`; the one that is still open at `now` counts, too.
pub fn longest_since(times: &[Duration], since: Duration, now: Duration) -> Duration {
    let next = times.partition_point(|at| *at <= since);
    let mut before = next.checked_sub(1).map_or(Duration::ZERO, |last| times[last]);
    let mut longest = Duration::ZERO;
    for at in times[next..].iter().copied().chain([now]) {
        longest = longest.max(at.saturating_sub(before));
        before = at;
    }
    longest
}

/// The time without acknowledgement in which `moment` lies.
pub fn around(times: &[Duration], moment: Duration, now: Duration) -> Duration {
    let next = times.partition_point(|at| *at <= moment);
    let before = next.checked_sub(1).map_or(Duration::ZERO, |last| times[last]);
    times.get(next).copied().unwrap_or(now).saturating_sub(before)
}

/// The longest gaps of all, longest first: (begin, length).
pub fn worst(times: &[Duration], end: Duration, count: usize) -> Vec<(Duration, Duration)> {
    let begins = [Duration::ZERO].into_iter().chain(times.iter().copied());
    let ends = times.iter().copied().chain([end]);
    let mut all: Vec<_> = begins
        .zip(ends)
        .map(|(begin, end)| (begin, end.saturating_sub(begin)))
        .collect();
    all.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_millis).collect()
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_longest_gap_begins_before_the_moment_and_may_be_open() {
        let times = ms(&[10, 20, 500, 510, 520]);
        assert_eq!(longest_since(&times, at(25), at(530)), at(480));
        assert_eq!(longest_since(&times, at(505), at(530)), at(10));
        assert_eq!(longest_since(&times, at(520), at(1520)), at(1000), "still open");
        assert_eq!(longest_since(&[], at(5), at(30)), at(30), "never any");
        assert_eq!(longest_since(&times, at(0), at(530)), at(480));
    }

    #[test]
    fn a_moment_lies_in_one_gap() {
        let times = ms(&[10, 20, 500]);
        assert_eq!(around(&times, at(100), at(900)), at(480));
        assert_eq!(around(&times, at(15), at(900)), at(10));
        assert_eq!(around(&times, at(500), at(900)), at(400));
        assert_eq!(around(&[], at(5), at(7)), at(7));
    }

    #[test]
    fn the_worst_come_first() {
        let times = ms(&[10, 20, 500, 600]);
        assert_eq!(worst(&times, at(610), 2), [(at(20), at(480)), (at(500), at(100))]);
        assert_eq!(worst(&[], at(3), 2), [(at(0), at(3))]);
    }
}
