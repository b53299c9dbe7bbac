//! Hosts, pre-flight checks and status: told from what is known; only `check` asks.

use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control as pb;

use super::{ControlApi, request};
use crate::leader::status;
use crate::machine::Change;
use crate::planner::preflight;

const ASK: Duration = Duration::from_secs(5);

impl ControlApi {
    pub(super) async fn hosts(&self) -> Result<pb::ListHostsReply, Failure> {
        let leader = self.shared.leader.current()?;
        leader.until_met().await;
        Ok(pb::ListHostsReply {
            hosts: leader.look(status::hosts),
        })
    }

    pub(super) async fn forget_host(
        &self,
        who: &str,
        asked: &pb::RemoveHostRequest,
    ) -> Result<pb::RemoveHostReply, Failure> {
        let name = request::host_name(&asked.name)?;
        let leader = &self.shared.leader;
        if leader.node.state().read(|model| !model.hosts.contains_key(&name)) {
            return Ok(pb::RemoveHostReply { already: true });
        }
        leader
            .proposer
            .by(who, Change::RemoveHost { name: name.clone() })
            .await?;
        if let Ok(leader) = leader.current() {
            leader.sessions().end_unless(|host, _| *host != name);
        }
        Ok(pb::RemoveHostReply { already: false })
    }

    pub(super) async fn check_hosts(&self, asked: &pb::CheckRequest) -> Result<pb::CheckReply, Failure> {
        let leader = self.shared.leader.current()?;
        let ignore = request::checks(asked.ignore.clone())?;
        let hosts = leader.node.state().read(|model| {
            if asked.hosts.is_empty() {
                Ok(model.hosts.keys().cloned().collect())
            } else {
                request::hosts(model, &asked.hosts)
            }
        })?;
        leader.ask_fully(&hosts, &hosts, true, ASK).await;
        let checks = leader.look(|world| preflight::check(world, &hosts, &ignore));
        let verdict = preflight::worst(&checks).to_owned();
        Ok(pb::CheckReply {
            hosts: checks.into_iter().map(Into::into).collect(),
            verdict,
        })
    }

    pub(super) async fn explain_troubles(&self, asked: &pb::ExplainRequest) -> Result<pb::ExplainReply, Failure> {
        let leader = self.shared.leader.current()?;
        leader.until_all_seen().await;
        leader.look(|world| {
            let host = match asked.host.as_str() {
                "" => None,
                name => Some(request::host(world.model, name)?),
            };
            let which = match (asked.cluster.as_str(), &host) {
                ("", Some(host)) => {
                    let cluster = world.model.cluster_of(host).map(|cluster| cluster.name.clone());
                    Some(cluster.ok_or_else(|| no_cluster_of(host))?)
                }
                ("", None) => None,
                (name, _) => Some(request::cluster(world.model, name)?),
            };
            Ok(pb::ExplainReply {
                clusters: status::explain(world, which.as_ref(), host.as_ref()),
            })
        })
    }

    pub(super) async fn status(&self, asked: &pb::StatusRequest) -> Result<pb::StatusReply, Failure> {
        let leader = self.shared.leader.current()?;
        leader.until_all_seen().await;
        leader.look(|world| {
            let which = match asked.cluster.as_str() {
                "" => None,
                name => Some(request::cluster(world.model, name)?),
            };
            Ok(pb::StatusReply {
                clusters: status::clusters(world, which.as_ref()),
            })
        })
    }
}

fn no_cluster_of(host: &HostName) -> Failure {
    Failure::new("not_in_cluster", format!("{host} is in no cluster"))
        .hint("see: clusterctl hosts")
        .exit(ExitClass::Usage)
}
