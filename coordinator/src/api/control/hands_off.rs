//! Pause and resume, maintenance on and off.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::wire::control as pb;

use super::{ControlApi, request};
use crate::leader::proposer;
use crate::machine::{Change, hands_off};
use crate::model::{Cluster, HandsOff, Model, UnixMs};

/// Characters; `clusterctl` refuses more.
const LONGEST_REASON: usize = 200;
const LONGEST: u64 = 365 * 24 * 3600;

impl ControlApi {
    pub(super) async fn leave_alone(
        &self,
        who: &str,
        asked: &pb::HandsOffRequest,
    ) -> Result<pb::HandsOffReply, Failure> {
        let leader = &self.shared.leader;
        let now = proposer::now();
        let (cluster, host, known) = leader.node.state().read(|model| place(model, asked, now))?;
        if asked.for_seconds > LONGEST {
            return Err(Failure::new("too_long", "it may last a year at most")
                .hint("--for 2h")
                .exit(ExitClass::Usage));
        }
        let said = asked.on.then(|| HandsOff {
            by: who.to_owned(),
            at: now,
            reason: asked
                .reason
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_REASON)
                .collect(),
            until: (asked.for_seconds != 0).then(|| {
                now.saturating_add(
                    i64::try_from(asked.for_seconds)
                        .unwrap_or(i64::MAX)
                        .saturating_mul(1000),
                )
            }),
            everything: asked.everything && host.is_none(),
        });
        let same = match (&known, &said) {
            (None, None) => true,
            // Words and time are taken anew.
            (Some(known), Some(said)) => {
                known.reason == said.reason
                    && known.until.is_none()
                    && said.until.is_none()
                    && known.everything == said.everything
            }
            _ => false,
        };
        let message = told(&cluster, host.as_ref(), asked.on, asked.everything);
        if !same {
            let change = Change::HandsOff {
                cluster,
                host,
                said,
                only: None,
            };
            leader.proposer.by(who, change).await?;
            leader.wake();
        }
        Ok(pb::HandsOffReply { already: same, message })
    }
}

/// Which cluster and host, and what holds there now.
fn place(
    model: &Model,
    asked: &pb::HandsOffRequest,
    now: UnixMs,
) -> Result<(ClusterName, Option<HostName>, Option<HandsOff>), Failure> {
    if asked.host.is_empty() {
        let name = request::cluster(model, &asked.cluster)?;
        let known = model.clusters.get(&name).and_then(|cluster| cluster.paused.clone());
        return Ok((name, None, known.filter(|said| said.holds(now))));
    }
    let host = request::host(model, &asked.host)?;
    let name = match (asked.cluster.as_str(), model.cluster_of(&host)) {
        ("", Some(cluster)) => cluster.name.clone(),
        (text, _) => request::cluster(model, text)?,
    };
    let cluster = model.clusters.get(&name).filter(|cluster| cluster.has(&host));
    let cluster: &Cluster = cluster.ok_or_else(|| hands_off::not_there(&name, &host))?;
    let member = cluster.members.get(&host).and_then(|member| member.maintenance.clone());
    let router = cluster.routers.get(&host).and_then(|router| router.maintenance.clone());
    let known = member.or(router).filter(|said| said.holds(now));
    Ok((name, Some(host), known))
}

fn told(cluster: &ClusterName, host: Option<&HostName>, on: bool, everything: bool) -> String {
    match (host, on) {
        (None, true) if everything => format!(
            "{cluster} is paused: no operation is begun or continued, and nothing is repaired, until clusterctl resume {cluster}"
        ),
        (None, true) => format!("{cluster} is paused: nothing is healed until clusterctl resume {cluster}"),
        (None, false) => format!("{cluster} is not paused: what falls out is healed"),
        (Some(host), true) => {
            format!("{host} is in maintenance: it is left alone until clusterctl maintenance off {host}")
        }
        (Some(host), false) => format!("{host} is not in maintenance: it is healed"),
    }
}
