//! When this agent last promised, and saw its server out of any group: a bootstrap counts on a promise that is fresh.
//!
//! Written by `promise.rs`, asked by `bootstrap_group/`. The promise itself is the ledger's and never ends; this file only tells
//! its age, so losing it costs a new plan and nothing else. It must never permit what the ledger forbids.
//!
//! The age counts on CLOCK_BOOTTIME, which goes on while the machine sleeps and which no one can set, within one start of the
//! machine. So an order that lay in a socket buffer, in a frozen agent, in a suspended machine or in a queue behind the ledger is
//! refused when it is begun at last. The planner has the bootstrapping host promise after everything else that a bootstrap waits
//! for. What then stands between promise and START is: storing the promise's outcome and sending the order (two syncs of the
//! coordinator's log), persisting the settings (a sync for each), and the questions to the peers and the leader ([`LOOK`] at most
//! each). On a slow disk that is ten seconds; [`FRESH`] is three times that. Too old is no loss: the next plan promises anew.
//!
//! [`LOOK`]: super::bootstrap_group::LOOK

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::host::{Access, Uptime};

/// Age at which a promise is no evidence for a bootstrap any more.
pub const FRESH: Duration = Duration::from_secs(30);

const FILE: &str = "promised.json";

/// A promise, and the moment before the look that found the server out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Given {
    generation: Generation,
    at: Uptime,
}

type Document = BTreeMap<ClusterName, Given>;

fn path(cx: &Context) -> PathBuf {
    cx.config.state_dir.join(FILE)
}

/// What cannot be read was never noted.
async fn read(cx: &Context) -> Result<Document, Failure> {
    let bytes = cx.host.read(&path(cx)).await?;
    Ok(bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default())
}

/// The server was seen out of any group after this moment, under the promise of this plan's generation.
pub async fn note(cx: &Context, at: Uptime) -> Result<(), Failure> {
    let mut document = read(cx).await?;
    let generation = cx.generation;
    document.insert(cx.cluster.clone(), Given { generation, at });
    let text = serde_json::to_vec(&document).map_err(|error| Failure::new("promise_note", error.to_string()))?;
    Ok(cx.host.write(&path(cx), &text, &Access::Own(0o600)).await?)
}

/// The ledger's promise is of exactly this plan's generation, and this agent gave it less than [`FRESH`] ago.
pub async fn require(cx: &Context) -> Result<(), Failure> {
    let promise = cx.ledger.facts().promises.get(&cx.cluster).copied();
    let given = read(cx).await?.remove(&cx.cluster);
    judge(promise, given.as_ref(), cx.generation, &cx.host.uptime())
}

fn judge(
    promise: Option<Generation>,
    given: Option<&Given>,
    generation: Generation,
    now: &Uptime,
) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(
            "promise_outdated",
            "this agent bootstraps only under its own fresh promise: nothing was started",
        )
        .fact(why)
        .hint("nothing to do: the coordinator plans anew, and the agent promises again")
        .transient()
    };
    if promise != Some(generation) {
        let held = promise.map_or_else(|| "none".to_owned(), |promise| promise.to_string());
        return Err(refused(format!("ordered by generation {generation}, promised: {held}")));
    }
    let age = given
        .filter(|given| given.generation == generation)
        .and_then(|given| now.since(&given.at));
    match age {
        Some(age) if age < FRESH => Ok(()),
        Some(age) => Err(refused(format!(
            "it promised {} s ago, and {} s is the limit",
            age.as_secs(),
            FRESH.as_secs()
        ))),
        None => Err(refused("it has not promised since this machine was started".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::Host;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    fn code(result: Result<(), Failure>) -> String {
        result.map_or_else(|failure| failure.code, |()| "ok".to_owned())
    }

    #[tokio::test]
    async fn a_promise_is_fresh_for_a_while_and_not_after_a_sleep_or_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(FakeHost::new());
        let (cx, _) = testing::context(host.clone(), dir.path());
        assert_eq!(code(require(&cx).await), "promise_outdated", "never promised");
        cx.ledger.promise(&cx.cluster, cx.generation).await.unwrap();
        assert_eq!(
            code(require(&cx).await),
            "promise_outdated",
            "the ledger alone tells no age"
        );
        note(&cx, host.uptime()).await.unwrap();
        assert_eq!(code(require(&cx).await), "ok");
        host.pass(FRESH - Duration::from_millis(1));
        assert_eq!(code(require(&cx).await), "ok");
        host.pass(Duration::from_millis(1));
        assert_eq!(code(require(&cx).await), "promise_outdated");
        note(&cx, host.uptime()).await.unwrap();
        assert_eq!(code(require(&cx).await), "ok");
        host.reboot();
        host.pass(FRESH * 2);
        assert_eq!(
            code(require(&cx).await),
            "promise_outdated",
            "of an earlier start of the machine"
        );
    }

    #[tokio::test]
    async fn a_promise_of_another_generation_is_none_for_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(FakeHost::new());
        let (mut cx, _) = testing::context(host.clone(), dir.path());
        cx.ledger.promise(&cx.cluster, cx.generation).await.unwrap();
        note(&cx, host.uptime()).await.unwrap();
        assert_eq!(code(require(&cx).await), "ok");
        cx.generation.index += 1;
        assert_eq!(code(require(&cx).await), "promise_outdated", "an older promise");
        cx.generation.index -= 1;
        let newer = Generation {
            epoch: 1,
            index: cx.generation.index + 1,
        };
        cx.ledger.promise(&cx.cluster, newer).await.unwrap();
        assert_eq!(code(require(&cx).await), "promise_outdated", "a newer promise");
    }
}
