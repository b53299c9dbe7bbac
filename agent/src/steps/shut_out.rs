//! Clients that were shut out of this server (`offline_mode`) before a step began to start Group Replication are shut out again where
//! nothing came of it: what such a server holds is old.
//!
//! Called by the steps that enter a group, and by the end of a cancelled one. The note is on disk and names its order, as that of a copy
//! does: START lets clients in, and the agent may die before START ends. It must never shut clients out of a member.

use std::path::PathBuf;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::Generation;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::host::Access;
use crate::mysql::{Db, group, start};

#[derive(Serialize, Deserialize)]
struct Note {
    generation: Generation,
}

fn path(cx: &Context) -> PathBuf {
    cx.config.state_dir.join("shut_out.json")
}

/// Written for this very order.
async fn is_noted(cx: &Context) -> Result<bool, Failure> {
    let bytes = cx.host.read(&path(cx)).await?;
    let note: Option<Note> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(note.is_some_and(|note| note.generation == cx.generation))
}

/// Before START lets them in. What an earlier process noted for this order stays: it may have let them in.
pub async fn note(cx: &Context, db: &mut Db) -> Result<(), Failure> {
    if !start::shuts_out(db).await? {
        return Ok(());
    }
    let note = Note {
        generation: cx.generation,
    };
    let text = serde_json::to_vec(&note).map_err(|error| Failure::new("shut_out_note", error.to_string()))?;
    Ok(cx.host.write(&path(cx), &text, &Access::Own(0o600)).await?)
}

/// Once nothing of the order runs in mysqld.
pub(crate) async fn again(cx: &Context, db: &mut Db) -> Result<(), Failure> {
    if is_noted(cx).await? {
        start::shut_out_again(db).await?;
        remove(cx).await;
    }
    Ok(())
}

/// Enters a group by this; where it fails, clients are shut out as they were before the order, whichever process let them in.
pub async fn unless_inside<T>(cx: &Context, enters: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let entered = enters.await;
    let ended = match &entered {
        Ok(_) => forget(cx).await,
        Err(_) => failed(cx).await,
    };
    if let Err(failure) = ended {
        tracing::warn!(%failure, "offline_mode may stay OFF on a server that is in no group");
    }
    entered
}

async fn forget(cx: &Context) -> Result<(), Failure> {
    if is_noted(cx).await? {
        remove(cx).await;
    }
    Ok(())
}

/// One that stays is worth something to this order only, which has ended.
async fn remove(cx: &Context) {
    if let Err(error) = cx.host.remove(&path(cx)).await {
        tracing::warn!(%error, "the note that clients were shut out stays");
    }
}

/// Nobody else begins to enter meanwhile.
async fn failed(cx: &Context) -> Result<(), Failure> {
    if !is_noted(cx).await? {
        return Ok(());
    }
    let _entrance = cx.ledger.entrance().await;
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    // A START whose connection broke goes on.
    group::wait_quiet(&mut db).await?;
    again(cx, &mut db).await?;
    db.close().await;
    Ok(())
}
