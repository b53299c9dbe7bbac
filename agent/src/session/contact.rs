//! Whether a coordinator leads this agent now, and whether an operator wants the host left alone: what decides if the agent may act by
//! itself (`keeper/`).
//!
//! Written by the session and its stream. *Hands off* is said in every question and kept on disk when it changes: it holds after a
//! reboot, too, with no coordinator there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::host::{Access, Host};

const FILE: &str = "hands-off";

/// What is known.
pub struct Contact {
    /// When the last stream was lost; none: there is one.
    lost: Mutex<Option<Instant>>,
    hands_off: AtomicBool,
    host: Arc<dyn Host>,
    path: PathBuf,
}

impl Contact {
    /// Alone from now on; what was said before a restart still holds.
    pub async fn new(host: Arc<dyn Host>, state_dir: &std::path::Path) -> Arc<Self> {
        let path = state_dir.join(FILE);
        // what cannot be read may say so: better to do nothing
        let hands_off = !matches!(host.stat(&path).await, Ok(None));
        Arc::new(Self {
            lost: Mutex::new(Some(Instant::now())),
            hands_off: AtomicBool::new(hands_off),
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
        self.hands_off.load(Ordering::Relaxed)
    }

    /// A question said so, or said so no more.
    pub async fn told(&self, hands_off: bool) {
        if self.hands_off.swap(hands_off, Ordering::Relaxed) == hands_off {
            return;
        }
        tracing::info!(hands_off, "what the coordinator says of acting alone has changed");
        let kept = if hands_off {
            let text = b"an operator wants this host left alone; the coordinator removes this file\n";
            self.host.write(&self.path, text, &Access::Own(0o600)).await
        } else {
            self.host.remove(&self.path).await.map(drop)
        };
        if let Err(error) = kept {
            tracing::warn!(%error, hands_off, "it is not kept for the time after a restart");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
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
        contact.told(true).await;
        assert!(contact.hands_off() && open().await.hands_off());
        contact.told(false).await;
        assert!(!contact.hands_off() && !open().await.hands_off());
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
