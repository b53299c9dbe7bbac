//! Named places where a test may stop a program, instead of sleeping and hoping.
//!
//! Agent and coordinator call [`reach`] at the boundaries of their steps. Without `CLUSTERCTL_TEST_POINTS` in the
//! environment (always, outside tests) it costs a look at a static. With it, naming a directory: where a file
//! `<name>.pause` exists there, `<name>.reached` is created and the caller waits until the `.pause` file is gone. A test
//! that kills the program while `.reached` is there has killed it exactly at that place.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable that names the directory.
pub const VARIABLE: &str = "CLUSTERCTL_TEST_POINTS";

const POLL: Duration = Duration::from_millis(20);

/// Waits here while a test wants it.
pub async fn reach(name: &str) {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        std::env::var_os(VARIABLE)
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    });
    if let Some(directory) = directory {
        wait_in(directory, name).await;
    }
}

async fn wait_in(directory: &Path, name: &str) {
    // Names are ours, but a step's name may come from a message: it must not lead out of the directory.
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    let pause = directory.join(format!("{name}.pause"));
    if !pause.exists() {
        return;
    }
    let reached = directory.join(format!("{name}.reached"));
    if let Err(error) = std::fs::write(&reached, std::process::id().to_string()) {
        tracing::warn!(%error, path = %reached.display(), "test point cannot tell that it was reached");
    }
    tracing::info!(point = name, "paused at a test point");
    while pause.exists() {
        tokio::time::sleep(POLL).await;
    }
    tracing::info!(point = name, "test point released");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_only_while_the_pause_file_is_there() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        wait_in(dir.path(), "agent.join_group.before").await;
        assert!(!dir.path().join("agent.join_group.before.reached").exists());

        let pause = dir.path().join("agent.join_group.before.pause");
        std::fs::write(&pause, "")?;
        let path = dir.path().to_owned();
        let task = tokio::spawn(async move { wait_in(&path, "agent.join_group.before").await });
        let reached = dir.path().join("agent.join_group.before.reached");
        while !reached.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(POLL * 3).await;
        assert!(!task.is_finished());
        std::fs::remove_file(&pause)?;
        task.await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_name_does_not_lead_out_of_the_directory() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner)?;
        std::fs::write(dir.path().join("x.pause"), "")?;
        wait_in(&inner, "../x").await;
        assert!(!dir.path().join("x.reached").exists());
        Ok(())
    }
}
