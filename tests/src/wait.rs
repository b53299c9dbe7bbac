//! Waiting for a condition, with a limit and a name for the error.
//!
//! Called by live tests and by the lab itself. It must never wait without a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `condition` every 100 ms until it answers `true`; after `limit`, fails naming `what` and the last
/// error the condition gave.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = condition();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if start.elapsed() >= limit {
            match answer {
                Err(error) => bail!("{what}: not within {limit:?}; last: {error:#}"),
                Ok(_) => bail!("{what}: not within {limit:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_at_once_and_it_gives_up() {
        assert!(wait_for("true", Duration::ZERO, || Ok(true)).is_ok());
        let error = wait_for("moon", Duration::ZERO, || bail!("too far"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "moon: not within 0ns; last: too far");
    }
}
