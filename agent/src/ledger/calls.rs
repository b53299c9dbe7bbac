//! Where the ledger waits for its disk. Used by `ledger.rs` only.

use clusterctl_proto::failure::Failure;

/// Where calls that may block are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Calls {
    /// On tokio's blocking pool.
    Pool,
    /// At once: a disk in memory does not block, and the order of what is simulated must not hang on threads.
    Inline,
}

impl Calls {
    /// Makes a call that may block.
    pub async fn make<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        match self {
            Self::Inline => work(),
            Self::Pool => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(stopped) => {
                    let words = format!("the ledger was not written: {stopped}");
                    Err(Failure::new("ledger_write", words).transient())
                }
            },
        }
    }
}
