//! `Enroll`: a token buys a certificate.
//!
//! The only call that needs no certificate: everything in the request is from a stranger. Names are decided here, the
//! token is judged before anything is told about hosts.

use std::net::IpAddr;
use std::sync::Arc;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::{Identity, PeerName};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::token::Token;
use clusterctl_proto::wire::enrolment::enrolment_server::Enrolment;
use clusterctl_proto::wire::enrolment::{EnrollReply, EnrollRequest};
use tonic::{Request, Response, Status};

use super::Shared;
use super::authorize::caller;
use super::peer::Caller;
use crate::leader::proposer;
use crate::machine::{Change, hosts, tokens};
use crate::model::Host;
use crate::pki::{Names, PublicKey};

const MAX_ADDRESSES: usize = 16;

/// The service.
pub struct EnrolmentApi {
    shared: Arc<Shared>,
}

impl EnrolmentApi {
    /// Of this coordinator.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn enrol(&self, caller: &Caller, request: EnrollRequest) -> Result<EnrollReply, Failure> {
        self.judge_token(&request).await?;
        let name: HostName = request.host.parse().map_err(|error: clusterctl_proto::ids::InvalidName| {
            Failure::new("bad_host_name", error.to_string())
                .hint("give the host another name (hostnamectl set-hostname NAME), or enrol it as: clusterctl-agent enroll --host NAME --token-file -")
                .exit(ExitClass::Usage)
        })?;
        let addresses = addresses(&request.addresses, caller.remote.ip())?;
        let key = PublicKey::from_request(&request.csr_der)?;
        let peer = PeerName {
            group: self.shared.group.clone(),
            identity: Identity::Agent(name.clone()),
        };
        let signed = self
            .shared
            .authority
            .sign_peer(&key, &peer, &Names::default(), self.shared.lives.agent())?;
        let host = Host {
            name: name.clone(),
            // Given by the token, in the machine.
            roles: std::collections::BTreeSet::new(),
            addresses,
            enrolled_at: proposer::now(),
            key_sha256: key.sha256(),
            certificate_expires: signed.facts.not_after.saturating_mul(1000),
        };
        let who = format!("agent/{name}");
        self.shared
            .leader
            .proposer
            .by(
                &who,
                Change::Enrol {
                    token: request.token_id,
                    host,
                },
            )
            .await?;
        let (roles, member) = self.shared.leader.node.state().read(|model| {
            let host = model.hosts.get(&name).ok_or_else(|| hosts::unknown(&name))?;
            let member = model
                .clusters
                .values()
                .any(|cluster| cluster.members.contains_key(&name));
            Ok::<_, Failure>((host.roles.iter().map(ToString::to_string).collect(), member))
        })?;
        tracing::info!(node = %name, peer = %caller.remote, version = request.agent_version, "host enrolled");
        Ok(EnrollReply {
            host: name.to_string(),
            certificate_pem: signed.certificate_pem,
            ca_pem: self.shared.authority.certificate_pem().to_owned(),
            endpoints: self.shared.endpoints.clone(),
            roles,
            member,
        })
    }

    /// The machine judges it once more when it spends it.
    async fn judge_token(&self, request: &EnrollRequest) -> Result<(), Failure> {
        let found = self
            .shared
            .leader
            .node
            .state()
            .read(|model| model.tokens.get(&request.token_id).cloned());
        // An unknown id and a wrong secret are told alike.
        let wrong = || {
            Failure::new("token_wrong", "the coordinator does not know this token")
                .hint("copy the whole line that `clusterctl token create` printed, or make a new one: clusterctl token create --role db")
                .exit(ExitClass::Denied)
        };
        let Some(token) = found else { return Err(wrong()) };
        if token.failures >= crate::model::token::MAX_FAILURES {
            return tokens::usable(&token, proposer::now());
        }
        if !Token::secret_matches(&request.token_secret, &token.secret_sha256) {
            self.shared
                .leader
                .proposer
                .own(Change::TokenFailure { id: token.id })
                .await?;
            return Err(wrong());
        }
        tokens::usable(&token, proposer::now())
    }
}

/// Addresses of the host, the one it called from first.
fn addresses(texts: &[String], remote: IpAddr) -> Result<Vec<IpAddr>, Failure> {
    let mut list: Vec<IpAddr> = Vec::new();
    let remote = remote.to_canonical();
    if texts.len() > MAX_ADDRESSES {
        return Err(
            Failure::new("bad_address", format!("{} addresses are too many", texts.len())).exit(ExitClass::Usage),
        );
    }
    for text in texts {
        let address: IpAddr = text.parse().map_err(|_| {
            Failure::new(
                "bad_address",
                format!("{:?} is no IP address", text.chars().take(60).collect::<String>()),
            )
            .exit(ExitClass::Usage)
        })?;
        if !address.is_unspecified() && !address.is_multicast() && !list.contains(&address) {
            list.push(address);
        }
    }
    if let Some(place) = list.iter().position(|address| *address == remote) {
        let first = list.remove(place);
        list.insert(0, first);
    }
    if list.is_empty() {
        list.push(remote);
    }
    Ok(list)
}

#[tonic::async_trait]
impl Enrolment for EnrolmentApi {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollReply>, Status> {
        let caller = caller(&request)?;
        let enrolled = self.enrol(&caller, request.into_inner()).await;
        if let Err(failure) = &enrolled {
            tracing::warn!(peer = %caller.remote, code = failure.code, "enrolment refused: {failure}");
        }
        Ok(Response::new(enrolled?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_it_called_from_comes_first() {
        let remote = "10.0.0.2".parse().expect("address");
        let texts: Vec<String> = ["192.168.1.5", "10.0.0.2", "10.0.0.2", "0.0.0.0"]
            .map(str::to_owned)
            .into();
        let list = addresses(&texts, remote).expect("fine");
        assert_eq!(
            list.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.2", "192.168.1.5"]
        );
        assert_eq!(addresses(&[], remote), Ok(vec![remote]));
        assert!(addresses(&["node1".to_owned()], remote).is_err());
    }
}
