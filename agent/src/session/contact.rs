//! Whether a coordinator leads this agent now, and whether an operator wants the host left alone: what decides if the agent may act by
//! itself (`keeper/`).
//!
//! Written by the session and its stream. *Hands off* is said in every question and kept on disk when it changes, or was not kept yet:
//! it holds after a reboot, too, with no coordinator there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clusterctl_proto::clock;
use tokio::time::Instant;

use crate::host::{Access, Host};

const FILE: &str = "hands-off";
/// Nobody said so.
const FREE: i64 = -1;
/// Said without an end.
const ENDLESS: i64 = 0;
/// What the file says is not known: it could not be read.
const UNKNOWN: i64 = i64::MIN;

/// What is known.
pub struct Contact {
    /// When the last stream was lost; none: there is one.
    lost: Mutex<Option<Instant>>,
    /// Until when, milliseconds since 1970; or [`ENDLESS`], or [`FREE`].
    hands_off: AtomicI64,
    /// The same, as the file says it; or [`UNKNOWN`].
    kept: AtomicI64,
    host: Arc<dyn Host>,
    path: PathBuf,
}

impl Contact {
    /// Alone from now on; what was said before a restart still holds.
    pub async fn new(host: Arc<dyn Host>, state_dir: &std::path::Path) -> Arc<Self> {
        let path = state_dir.join(FILE);
        let kept = match host.read(&path).await {
            Ok(None) => FREE,
            Ok(Some(bytes)) => read(&String::from_utf8_lossy(&bytes)),
            Err(_) => UNKNOWN,
        };
        // what cannot be read may say so: better to do nothing
        let hands_off = if kept == UNKNOWN { ENDLESS } else { kept };
        Arc::new(Self {
            lost: Mutex::new(Some(Instant::now())),
            hands_off: AtomicI64::new(hands_off),
            kept: AtomicI64::new(kept),
            host,
            path,
        })
    }

    /// A coordinator has welcomed this agent.
    pub fn found(&self) {
        *self.lock() = None;
    }

    /// The stream is gone, or could not be made.
    pub fn lost(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// For how long no coordinator has led this agent; none: one does.
    pub fn alone_for(&self) -> Option<Duration> {
        self.lock().map(|since| since.elapsed())
    }

    /// Whether the agent does nothing by itself.
    pub fn hands_off(&self) -> bool {
        let now = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
        match self.hands_off.load(Ordering::Relaxed) {
            FREE => false,
            ENDLESS => true,
            until => now < until,
        }
    }

    /// A question said so, until then (0: without an end), or said so no more. What could not be kept is kept with the next question.
    pub async fn told(&self, until: Option<i64>) {
        let said = until.map_or(FREE, |until| until.max(ENDLESS));
        let new = self.hands_off.swap(said, Ordering::Relaxed) != said;
        if new {
            tracing::info!(?until, "what the coordinator says of acting alone has changed");
        }
        if self.kept.load(Ordering::Relaxed) == said {
            return;
        }
        let kept = if said == FREE {
            self.host.remove(&self.path).await.map(drop)
        } else {
            let text =
                format!("{UNTIL}{said}\nan operator wants this host left alone; the coordinator removes this file\n");
            self.host.write(&self.path, text.as_bytes(), &Access::Own(0o600)).await
        };
        match kept {
            Ok(()) => self.kept.store(said, Ordering::Relaxed),
            // questions come every second: it is told once
            Err(error) if new => tracing::warn!(%error, ?until, "it is not kept yet for the time after a restart"),
            Err(error) => tracing::debug!(%error, ?until, "it is still not kept"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

const UNTIL: &str = "until_ms ";

fn read(text: &str) -> i64 {
    let until = text.lines().find_map(|line| line.strip_prefix(UNTIL)?.parse().ok());
    until.unwrap_or(ENDLESS).max(ENDLESS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn hands_off_outlives_the_agent() {
        let host: Arc<dyn Host> = Arc::new(FakeHost::new());
        let open = || Contact::new(Arc::clone(&host), Path::new("/state"));
        let contact = open().await;
        assert!(!contact.hands_off());
        for until in [0, i64::MAX] {
            contact.told(Some(until)).await;
            assert!(contact.hands_off() && open().await.hands_off(), "{until}");
        }
        // it ends by itself, also with nobody there to say so
        contact.told(Some(1)).await;
        assert!(!contact.hands_off() && !open().await.hands_off());
        contact.told(None).await;
        assert!(!contact.hands_off() && !open().await.hands_off());
    }

    #[tokio::test]
    async fn what_could_not_be_kept_is_kept_with_the_next_question() {
        let host = Arc::new(FakeHost::new());
        let open = || Contact::new(host.clone(), Path::new("/state"));
        let contact = open().await;
        for (said, hands_off) in [(Some(0), true), (None, false)] {
            host.break_disk(true);
            contact.told(said).await;
            assert_eq!(contact.hands_off(), hands_off, "it holds at once");
            assert_ne!(open().await.hands_off(), hands_off, "and would not after a restart");
            host.break_disk(false);
            contact.told(said).await;
            assert_eq!(open().await.hands_off(), hands_off);
        }
    }

    #[tokio::test]
    async fn time_alone_counts_from_the_loss() {
        let contact = Contact::new(Arc::new(FakeHost::new()), Path::new("/state")).await;
        assert!(contact.alone_for().is_some(), "at the start");
        contact.found();
        assert_eq!(contact.alone_for(), None);
        contact.lost();
        std::thread::sleep(Duration::from_millis(5));
        contact.lost();
        assert!(
            contact.alone_for().unwrap() >= Duration::from_millis(5),
            "the first loss counts"
        );
    }
}
