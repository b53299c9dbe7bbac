//! Decides which of two streams under one identity speaks for the host: a copied machine must not speak for the original.
//!
//! Called by `sessions`, which owns the streams. Pure: times come from the caller. It must never let a stream speak for its host
//! while another stream under the same identity still answers.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// A stream without an answer for this time loses its say.
pub const SILENT: Duration = Duration::from_secs(2);

/// Of two machines that have both answered, one loses its say only after this time: it has not restarted, and where its mysqld does
/// not answer an agent answers later than [`SILENT`]. Thrown off for that it would come back as one that alternates.
pub const SILENT_TWIN: Duration = Duration::from_secs(5);

/// It must have owed an answer for this time, too: a stream that was not asked is not silent. Shorter than what is left of
/// [`SILENT`] after the second in which a host is asked again.
const OWED: Duration = Duration::from_millis(900);

/// Identities that alternate are in doubt for this time after the last return of an earlier one.
pub const ALTERNATING: Duration = Duration::from_secs(30);

/// Processes that are remembered per host. A machine that restarts never uses an earlier boot id or instance again.
const REMEMBERED: usize = 8;

/// The agent process at the other end of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Speaker {
    /// Boot id of its machine.
    pub boot_id: String,
    /// Random id of the process; empty for an agent that sends none.
    pub instance: String,
    /// Address that it connects from.
    pub peer: SocketAddr,
}

impl Speaker {
    /// Both streams come from one process, which has reconnected.
    pub fn is_same_process(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.instance == other.instance
    }
}

/// `boot 1f0c3a52 at 192.0.2.7:51544`: enough to tell two machines apart.
impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boot: String = self.boot_id.chars().take(8).collect();
        write!(f, "boot {boot} at {}", self.peer)
    }
}

/// Signs of life of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// When its newest answer came; before the first one, when the stream was opened.
    pub heard: Instant,
    /// When the oldest question that it has not answered was asked.
    pub asked: Option<Instant>,
    /// The stream has answered a question that was asked after the newer stream had opened.
    pub answers: bool,
}

/// Which stream speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// The older one is silent: the newer one replaces it.
    Replaced,
    /// The newer one, a reconnect of the same process; the older one may still prove that there are two.
    Newer,
    /// The older one: the newer one is silent.
    Older,
    /// Neither, until the older one has answered or was silent for [`SILENT`].
    Contested,
    /// Neither: both answer, so two machines have this identity.
    Both,
}

/// Judges two streams of one host. `reconnect`: both say that they come from the same process; `proven`: they were judged
/// [`Ruling::Both`] before.
pub fn judge(older: &Life, newer: &Life, reconnect: bool, proven: bool, now: Instant) -> Ruling {
    let since = |at: Instant| now.saturating_duration_since(at);
    let patience = if proven { SILENT_TWIN } else { SILENT };
    let silent = |life: &Life| since(life.heard) >= patience && life.asked.is_some_and(|asked| since(asked) >= OWED);
    if silent(older) {
        Ruling::Replaced
    } else if older.answers && silent(newer) {
        Ruling::Older
    } else if older.answers && newer.answers {
        Ruling::Both
    } else if reconnect && !older.answers {
        // A process closes its stream before it opens the next one, so it is the same machine unless the older stream answers.
        Ruling::Newer
    } else {
        Ruling::Contested
    }
}

/// Processes that have spoken for one host, the newest last.
#[derive(Default)]
pub struct History {
    speakers: VecDeque<Speaker>,
    alternated: Option<Instant>,
}

impl History {
    /// A stream of this process has opened.
    pub fn opened(&mut self, speaker: &Speaker, now: Instant) {
        let before = self.speakers.iter().position(|known| known.is_same_process(speaker));
        if let Some(place) = before {
            if place + 1 != self.speakers.len() {
                self.alternated = Some(now);
            }
            self.speakers.remove(place);
        }
        self.speakers.push_back(speaker.clone());
        if self.speakers.len() > REMEMBERED {
            self.speakers.pop_front();
        }
    }

    /// The two processes that alternate: one came back within [`ALTERNATING`] after the other had spoken.
    pub fn alternating(&self, now: Instant) -> Option<Vec<String>> {
        let at = self.alternated?;
        (now.saturating_duration_since(at) < ALTERNATING).then(|| {
            let newest = self.speakers.iter().rev().take(2);
            newest.map(ToString::to_string).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(boot: &str, instance: &str) -> Speaker {
        Speaker {
            boot_id: boot.to_owned(),
            instance: instance.to_owned(),
            peer: ([192, 0, 2, 7], 1).into(),
        }
    }

    /// Each was heard so many milliseconds before now, and asked 100 ms after that.
    fn rule(older: (u64, bool), newer: (u64, bool), reconnect: bool) -> Ruling {
        let now = Instant::now() + Duration::from_secs(60);
        let life = |(ms, answers): (u64, bool)| Life {
            heard: now - Duration::from_millis(ms),
            asked: ms.checked_sub(100).map(|ms| now - Duration::from_millis(ms)),
            answers,
        };
        judge(&life(older), &life(newer), reconnect, false, now)
    }

    #[test]
    fn a_silent_stream_loses_its_say_after_two_seconds() {
        assert_eq!(rule((1999, false), (0, true), false), Ruling::Contested);
        assert_eq!(rule((2000, false), (0, true), false), Ruling::Replaced);
        assert_eq!(rule((2000, true), (0, true), false), Ruling::Replaced);
        assert_eq!(rule((500, true), (1999, false), false), Ruling::Contested);
        assert_eq!(rule((500, true), (2000, true), false), Ruling::Older);
    }

    #[test]
    fn a_stream_that_was_not_asked_is_not_silent() {
        let now = Instant::now() + Duration::from_secs(60);
        let life = |asked: Option<u64>| Life {
            heard: now - Duration::from_secs(30),
            asked: asked.map(|ms| now - Duration::from_millis(ms)),
            answers: false,
        };
        for (asked, ruling) in [
            (None, Ruling::Contested),
            (Some(899), Ruling::Contested),
            (Some(900), Ruling::Replaced),
        ] {
            assert_eq!(judge(&life(asked), &life(None), false, false, now), ruling);
        }
    }

    #[test]
    fn two_that_answer_are_two_machines_whatever_they_say_of_themselves() {
        assert_eq!(rule((500, true), (500, true), false), Ruling::Both);
        assert_eq!(rule((500, true), (500, true), true), Ruling::Both);
        assert_eq!(rule((500, false), (500, true), false), Ruling::Contested);
    }

    #[test]
    fn a_reconnect_of_the_same_process_counts_at_once() {
        assert_eq!(rule((0, false), (0, false), true), Ruling::Newer);
        assert_eq!(rule((0, true), (0, false), true), Ruling::Contested);
    }

    #[test]
    fn only_the_return_of_an_earlier_process_is_an_alternation() {
        let (mut history, now) = (History::default(), Instant::now());
        for boot in ["a", "a", "b", "b", "c"] {
            history.opened(&speaker(boot, "1"), now);
        }
        history.opened(&speaker("c", "2"), now);
        assert_eq!(history.alternating(now), None, "restarts of a machine and of its agent");
        history.opened(&speaker("c", "1"), now);
        let two = history.alternating(now).expect("alternates");
        assert_eq!(two, ["boot c at 192.0.2.7:1", "boot c at 192.0.2.7:1"]);
        assert!(
            history
                .alternating(now + ALTERNATING - Duration::from_secs(1))
                .is_some()
        );
        assert_eq!(history.alternating(now + ALTERNATING), None);
        for boot in 0..100 {
            history.opened(&speaker(&boot.to_string(), "1"), now);
        }
        assert_eq!(history.speakers.len(), REMEMBERED);
    }
}
