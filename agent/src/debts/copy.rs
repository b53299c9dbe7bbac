//! The debt of a copy of data. The step opens this server to writes, and CLONE goes on in mysqld when the agent dies.
//!
//! Written by `join_group/` before CLONE. A cancel ends the clone and closes the server. A step that is sent again recognises its own
//! complete copy by the note, so the note stays until the next copy.
//!
//! A receiver that loses its power in the middle leaves more: its sessions at the donor, which give to nobody and keep every other copy from
//! that donor waiting (docs/mysql-facts.md). The keeper ends them, also where this host is never ordered to copy again.

use std::path::Path;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::Generation;
use clusterctl_proto::lineage::Span;
use serde::{Deserialize, Serialize};

use super::{Note, Place, place};
use crate::mysql::{Db, Servers, clone, group, peer, run};
use crate::steps::Context;

/// Written before a clone begins: which order it is for, and when, by the server's clock. A clone of an earlier order, however
/// complete, is not the copy that this one wants.
#[derive(Serialize, Deserialize)]
pub struct Begun {
    generation: Generation,
    /// The donor, `node1:3306`.
    pub source: String,
    at: String,
    /// The run of mysqld; empty: written by the release before.
    #[serde(default)]
    run: String,
    /// Sessions of that run in which CLONE was to run for this order, also those of an earlier agent.
    #[serde(default)]
    sessions: Vec<u64>,
    /// The counter of the donor's view before the copy; none: lineages are not recorded, or an agent of a release before began.
    #[serde(default)]
    view: Option<u64>,
    /// The account that enters the donor; empty: a release before wrote the note.
    #[serde(default)]
    user: String,
    /// Nothing of it is left at the donor.
    #[serde(default)]
    gone: bool,
    /// Of copies before this one that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<Left>,
}

/// A group has nine members.
const DONORS: usize = 8;

/// A copy that ended before its time may have left sessions at its donor.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Left {
    /// The donor, `node1:3306`.
    pub source: String,
    /// The account.
    pub user: String,
}

impl Note for Begun {
    const FILE: &'static str = "clone.json";
}

/// Length of a time with milliseconds, `2026-11-29 10:00:00.123`: as far as `clone_status` tells when a clone began.
const MILLISECONDS: usize = 23;

impl Begun {
    /// The note, if it is this order's.
    pub async fn of_order(cx: &Context) -> Result<Option<Self>, Failure> {
        let begun = super::read::<Self>(place(cx)).await?;
        Ok(begun.filter(|begun| begun.generation == cx.generation))
    }

    /// Notes that CLONE is to run in the worker's session; synced before this returns. Sessions of the same order and run are kept.
    pub async fn note(
        before: Option<Self>,
        (source, user, view): (&str, &str, Option<u64>),
        (db, worker): (&mut Db, &mut Db),
        cx: &Context,
    ) -> Result<Self, Failure> {
        let older = unsettled(place(cx))
            .await?
            .map(|last| last.elsewhere(source))
            .unwrap_or_default();
        // Asked over one connection, so both belong to one run.
        let (run, session) = (run::mark(worker).await?, clone::session(worker).await?);
        let mut begun = match before.filter(|before| before.is_of(&run)) {
            Some(before) => before,
            None => Self {
                generation: cx.generation,
                source: source.to_owned(),
                at: group::now(db).await?,
                run: String::new(),
                sessions: Vec::new(),
                view: None,
                user: String::new(),
                gone: false,
                older: Vec::new(),
            },
        };
        (begun.view, begun.older) = (view, older);
        (begun.user, begun.gone) = (user.to_owned(), false);
        begun.run = run;
        begun.sessions.push(session);
        super::write(place(cx), &begun).await?;
        Ok(begun)
    }

    /// Whether its sessions belong to this run of mysqld. A note without a run does if it was written after mysqld had started.
    fn is_of(&self, run: &str) -> bool {
        self.run == run || (self.run.is_empty() && self.at.as_str() >= run)
    }

    /// From the donor's view before the copy to the one after it.
    pub fn given(&self, after: Option<u64>) -> Option<Span> {
        let after = after?;
        let before = self.view.unwrap_or(after);
        Some(Span {
            since: before.min(after),
            until: before.max(after),
        })
    }

    /// Whether the server's last clone is this one, complete.
    pub fn ended(&self, status: &clone::Status) -> bool {
        status.state == "Completed"
            && status.error == 0
            && status.source.eq_ignore_ascii_case(&self.source)
            && status.began.as_str() >= self.at.get(..MILLISECONDS).unwrap_or(&self.at)
    }
}

/// After a cancel: ends the clone that this order began. Returns whether the order had begun one, so had opened the server.
pub async fn end(cx: &Context, db: &mut Db) -> Result<bool, Failure> {
    let Some(begun) = Begun::of_order(cx).await? else {
        return Ok(false);
    };
    // After a restart of mysqld a person's session may have the same number.
    if begun.is_of(&run::mark(db).await?) {
        clone::end(db, &begun.sessions).await?;
    }
    Ok(true)
}

/// Whether [`left`] is to be asked.
pub async fn may_be_left(place: Place<'_>) -> Result<bool, Failure> {
    Ok(unsettled(place).await?.is_some())
}

async fn unsettled(place: Place<'_>) -> Result<Option<Begun>, Failure> {
    let begun = super::read::<Begun>(place).await?;
    Ok(begun.filter(|begun| begun.own().is_some() || !begun.older.is_empty()))
}

impl Begun {
    /// What this copy itself may have left; none: nothing, or a release before wrote the note.
    fn own(&self) -> Option<Left> {
        let (source, user) = (self.source.clone(), self.user.clone());
        (!self.gone && !user.is_empty()).then_some(Left { source, user })
    }

    /// What may be left at other donors than this one: that one tells the next copy from there itself.
    fn elsewhere(self, source: &str) -> Vec<Left> {
        let own = self.own();
        let mut all = self.older;
        all.extend(own);
        all.retain(|left| !left.source.eq_ignore_ascii_case(source));
        all.dedup();
        all.drain(..all.len().saturating_sub(DONORS));
        all
    }
}

/// Where copies may have left sessions: not of one that runs or is complete. The caller holds the entrance, so no step copies meanwhile.
/// Without `db` mysqld does not run here, and no clone does.
pub async fn left(place: Place<'_>, db: Option<&mut Db>) -> Result<Vec<Left>, Failure> {
    let Some(begun) = unsettled(place).await? else {
        return Ok(Vec::new());
    };
    let mut all = begun.older.clone();
    let Some(own) = begun.own() else { return Ok(all) };
    let Some(db) = db else {
        all.push(own);
        return Ok(all);
    };
    let status = clone::status(db).await?.unwrap_or_default();
    // What was in progress in an earlier run of mysqld is told to be so for ever.
    let runs = status.state == "In Progress" && begun.is_of(&run::mark(db).await?);
    if begun.ended(&status) {
        gone(place, &own).await?;
    } else if !runs {
        all.push(own);
    }
    Ok(all)
}

/// Ends what is left at this donor, and notes that nothing is. Whom the donor does not let in any more has nothing to end there.
pub async fn end_left(place: Place<'_>, (servers, tls_dir): (&dyn Servers, &Path), left: &Left) -> Result<(), Failure> {
    match peer::end_own_clones(servers, &left.source, &left.user, tls_dir).await {
        Ok(0) => {}
        Ok(sessions) => {
            tracing::warn!(
                donor = left.source,
                sessions,
                "ended what a copy that was interrupted had left at its donor"
            );
        }
        Err(error) if error.is_denied() => {
            tracing::warn!(donor = left.source, %error, "what a copy may have left there stays")
        }
        Err(error) => return Err(error.into()),
    }
    gone(place, left).await
}

async fn gone(place: Place<'_>, left: &Left) -> Result<(), Failure> {
    let Some(mut begun) = super::read::<Begun>(place).await? else {
        return Ok(());
    };
    begun.gone |= begun.own().as_ref() == Some(left);
    begun.older.retain(|older| older != left);
    super::write(place, &begun).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_orders_complete_clone_counts() {
        let begun = Begun {
            generation: Generation { epoch: 1, index: 7 },
            source: "node1:3306".into(),
            at: "2026-11-22 08:57:07.120000".into(),
            run: String::new(),
            sessions: vec![8],
            view: None,
            user: String::new(),
            gone: false,
            older: Vec::new(),
        };
        let status = |state: &str, source: &str, began: &str| clone::Status {
            state: state.into(),
            source: source.into(),
            began: began.into(),
            ..clone::Status::default()
        };
        assert!(begun.ended(&status("Completed", "node1:3306", "2026-11-22 08:57:07.129")));
        assert!(
            !begun.ended(&status("Completed", "node1:3306", "2026-11-22 08:40:00.000")),
            "an earlier one"
        );
        assert!(!begun.ended(&status("Completed", "node2:3306", "2026-11-22 08:57:07.129")));
        assert!(!begun.ended(&status("Failed", "node1:3306", "2026-11-22 08:57:07.129")));
    }

    #[test]
    fn sessions_are_of_one_run_of_mysqld() {
        let mut begun = Begun {
            generation: Generation { epoch: 1, index: 7 },
            source: "node1:3306".into(),
            at: "2026-11-22 08:57:07.120000".into(),
            run: "2026-11-22 08:00:00".into(),
            sessions: vec![8],
            view: None,
            user: String::new(),
            gone: false,
            older: Vec::new(),
        };
        assert!(begun.is_of("2026-11-22 08:00:00"));
        assert!(!begun.is_of("2026-11-22 08:57:09"));
        assert!(!begun.is_of("2026-11-22 07:00:00"), "its clock was set back");
        // By the release before.
        begun.run = String::new();
        assert!(begun.is_of("2026-11-22 08:57:07"));
        assert!(!begun.is_of("2026-11-22 08:57:08"));
    }
}
