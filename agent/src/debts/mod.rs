//! Debts: notes on disk of what the agent is about to change on this server for a while, so that the change is taken back when the step
//! fails, is cancelled, or its agent dies.
//!
//! Two things leave a debt: a START of Group Replication, by a step or by the keeper ([`start`]), and a copy of data ([`copy`]). Settling
//! a debt only takes away: it never lets clients in, never opens a server to writes, never sets the bootstrap flag. A note belongs to one
//! run of mysqld (`mysql/run.rs`): after a restart mysqld has forgotten what SET GLOBAL had set, and numbers its sessions from 1 again.

pub mod copy;
pub mod start;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{Access, Host, HostError};
use crate::steps::Context;

/// Where the notes are: this machine and the agent's state folder.
pub type Place<'a> = (&'a dyn Host, &'a Path);

/// The place of a step's notes.
pub fn place(cx: &Context) -> Place<'_> {
    (&*cx.host, &cx.config.state_dir)
}

/// A kind of note.
pub trait Note: Serialize + DeserializeOwned {
    /// Its file in the state folder.
    const FILE: &'static str;
}

fn path<N: Note>(state_dir: &Path) -> PathBuf {
    state_dir.join(N::FILE)
}

/// Reads the note. A damaged file is logged, renamed and counts as no note: no client is shut out and no clone is ended by it. The
/// bootstrap flag is cleared all the same: the keeper looks at it whenever an agent starts.
async fn read<N: Note>((host, state_dir): Place<'_>) -> Result<Option<N>, HostError> {
    let path = path::<N>(state_dir);
    let Some(bytes) = host.read(&path).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(note) => Ok(Some(note)),
        Err(error) => {
            let aside = path.with_extension("json.damaged");
            tracing::error!(%error, path = %path.display(), aside = %aside.display(),
                "damaged note of what an earlier step has changed on this server: renamed and ignored");
            host.rename(&path, &aside).await?;
            Ok(None)
        }
    }
}

/// Writes the note: it is synced before this returns.
async fn write<N: Note>((host, state_dir): Place<'_>, note: &N) -> Result<(), Failure> {
    let text = serde_json::to_vec(note).map_err(|error| Failure::new("debt_note", error.to_string()))?;
    Ok(host.write(&path::<N>(state_dir), &text, &Access::Own(0o600)).await?)
}

/// Removes the note, if there is one.
async fn remove<N: Note>((host, state_dir): Place<'_>) -> Result<(), HostError> {
    host.remove(&path::<N>(state_dir)).await.map(drop)
}
