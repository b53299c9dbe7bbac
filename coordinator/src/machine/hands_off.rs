//! Pause of a cluster, maintenance of a host: intent that stops all healing there.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName, OperationId};

use super::apply::Applied;
use super::{Answer, Command, intent, journal, operations};
use crate::model::{HandsOff, Model, UnixMs};

pub(super) fn set(
    model: &mut Model,
    command: &Command,
    (name, host): (&ClusterName, Option<&HostName>),
    said: Option<&HandsOff>,
    only: Option<UnixMs>,
) -> Applied {
    let cluster = model.clusters.get_mut(name).ok_or_else(|| intent::no_cluster(name))?;
    let mut places: Vec<&mut Option<HandsOff>> = match host {
        None => vec![&mut cluster.paused],
        Some(host) => {
            let member = cluster.members.get_mut(host).map(|member| &mut member.maintenance);
            let router = cluster.routers.get_mut(host).map(|router| &mut router.maintenance);
            member.into_iter().chain(router).collect()
        }
    };
    if let (Some(host), true) = (host, places.is_empty()) {
        return Err(not_there(name, host));
    }
    // One that ended by itself may have been said anew meanwhile.
    let meant = |place: &&mut Option<HandsOff>| only.is_none() || place.as_ref().map(|known| known.at) == only;
    places.retain(meant);
    if places.is_empty() {
        return Ok(Answer::Applied);
    }
    let held = |said: &HandsOff| said.everything;
    let resumes =
        host.is_none() && places.iter().any(|place| place.as_ref().is_some_and(held)) && !said.is_some_and(held);
    for place in places {
        *place = said.cloned();
    }
    if resumes {
        operations::turn(model, command, name, OperationId(0));
    }
    let (kind, text) = told(name, host, said);
    let line = journal::line(kind, text).cluster(name);
    match host {
        Some(host) => line.host(host),
        None => line,
    }
    .write(model, command);
    Ok(Answer::Applied)
}

fn told(name: &ClusterName, host: Option<&HostName>, said: Option<&HandsOff>) -> (&'static str, String) {
    let why = said
        .filter(|said| !said.reason.is_empty())
        .map_or_else(String::new, |said| format!(": {}", said.reason));
    match (host, said) {
        (None, Some(_)) => ("cluster_paused", format!("{name} is paused, nothing is healed{why}")),
        (None, None) => ("cluster_resumed", format!("{name} is resumed, it is healed again")),
        (Some(host), Some(_)) => (
            "maintenance_on",
            format!("{host} is in maintenance, it is left alone{why}"),
        ),
        (Some(host), None) => (
            "maintenance_off",
            format!("maintenance of {host} is over, it is healed again"),
        ),
    }
}

/// The refusal for a host that is neither member nor router of the cluster.
pub fn not_there(name: &ClusterName, host: &HostName) -> Failure {
    Failure::new(
        "not_in_cluster",
        format!("{host} is neither a member nor a router of {name}"),
    )
    .hint(format!("see who is: clusterctl status {name}"))
    .exit(ExitClass::Usage)
}
