//! Who may call what: one table, checked before any call is looked at.
//!
//! A call without a row is refused, and a test compares the table with the .proto files. Certificates are judged again at
//! every call: connections live longer than trust.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use clusterctl_proto::failure::rpc::to_status;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::{Identity, Role};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};

use super::peer::{Caller, Peer};
use crate::leader::{Leadership, proposer};
use crate::machine::hosts;
use crate::model::Model;

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anybody: the call has a secret of its own.
    Anybody,
    /// Agents of enrolled hosts.
    Agent,
    /// Operators with this role or a higher one.
    Operator(Role),
}

/// Every call.
pub const CALLS: &[(&str, Access)] = &[
    ("/clusterctl.v1.enrolment.Enrolment/Enroll", Access::Anybody),
    ("/clusterctl.v1.agent.AgentService/Session", Access::Agent),
    ("/clusterctl.v1.agent.AgentService/SignServerCertificate", Access::Agent),
    ("/clusterctl.v1.agent.AgentService/RenewCertificate", Access::Agent),
    ("/clusterctl.v1.control.Control/Version", Access::Operator(Role::Viewer)),
    (
        "/clusterctl.v1.control.Control/ListHosts",
        Access::Operator(Role::Viewer),
    ),
    (
        "/clusterctl.v1.control.Control/RemoveHost",
        Access::Operator(Role::Admin),
    ),
    ("/clusterctl.v1.control.Control/Check", Access::Operator(Role::Viewer)),
    (
        "/clusterctl.v1.control.Control/GetStatus",
        Access::Operator(Role::Viewer),
    ),
    ("/clusterctl.v1.control.Control/Explain", Access::Operator(Role::Viewer)),
    (
        "/clusterctl.v1.control.Control/SetHandsOff",
        Access::Operator(Role::Operator),
    ),
    (
        "/clusterctl.v1.control.Control/Submit",
        Access::Operator(Role::Operator),
    ),
    (
        "/clusterctl.v1.control.Control/WatchOperation",
        Access::Operator(Role::Viewer),
    ),
    (
        "/clusterctl.v1.control.Control/ListOperations",
        Access::Operator(Role::Viewer),
    ),
    (
        "/clusterctl.v1.control.Control/GetOperation",
        Access::Operator(Role::Viewer),
    ),
    (
        "/clusterctl.v1.control.Control/CancelOperation",
        Access::Operator(Role::Operator),
    ),
    (
        "/clusterctl.v1.control.Control/ListEvents",
        Access::Operator(Role::Viewer),
    ),
    (
        "/clusterctl.v1.control.Control/CreateToken",
        Access::Operator(Role::Admin),
    ),
    (
        "/clusterctl.v1.control.Control/ListTokens",
        Access::Operator(Role::Admin),
    ),
    (
        "/clusterctl.v1.control.Control/RevokeToken",
        Access::Operator(Role::Admin),
    ),
    (
        "/clusterctl.v1.control.Control/CreateOperator",
        Access::Operator(Role::Admin),
    ),
];

/// Judges a call. `model` has the hosts and the revoked certificates, `now` is in milliseconds.
pub fn judge(path: &str, peer: &Peer, model: &Model, now: i64) -> Result<Caller, Failure> {
    let denied = |code: &str, message: String| Failure::new(code, message).exit(ExitClass::Denied);
    let Some((_, access)) = CALLS.iter().find(|(call, _)| *call == path) else {
        return Err(denied(
            "unknown_call",
            format!("there is no call {}", path.chars().take(120).collect::<String>()),
        ));
    };
    let caller = Caller {
        remote: peer.remote,
        certificate: peer.certificate.clone(),
    };
    if *access == Access::Anybody {
        return Ok(caller);
    }
    let Some(certificate) = &peer.certificate else {
        return Err(denied(
            "no_certificate",
            "this call needs a certificate of this coordinator group".to_owned(),
        )
        .hint("on a new host: clusterctl-agent enroll --token-file -"));
    };
    let who = &certificate.name.identity;
    if certificate.facts.not_after.saturating_mul(1000) <= now {
        return Err(
            denied("certificate_expired", format!("the certificate of {who} has expired")).hint(renewal(who, false)),
        );
    }
    if model.revoked.contains(&certificate.facts.serial) {
        return Err(
            denied("certificate_revoked", format!("the certificate of {who} was revoked")).hint(renewal(who, true)),
        );
    }
    if let Identity::Agent(host) = who {
        let known = model
            .hosts
            .get(host)
            .ok_or_else(|| hosts::unknown(host).exit(ExitClass::Denied))?;
        if known.key_sha256 != certificate.facts.key_sha256 {
            return Err(denied(
                "host_replaced",
                format!("{host} was enrolled again with another key: this certificate is no longer accepted"),
            )
            .hint(format!(
                "if this machine is a copy of {host}, give it another name; if it is {host} itself: {}",
                renewal(who, true)
            )));
        }
    }
    match (*access, who) {
        (Access::Agent, Identity::Agent(_)) => Ok(caller),
        (Access::Operator(needed), Identity::Operator { role, .. }) if *role >= needed => Ok(caller),
        (Access::Operator(needed), Identity::Operator { role, .. }) => Err(denied(
            "role_too_low",
            format!("{who} has role {role}, this needs role {needed}"),
        )
        .hint(format!(
            "ask an admin for a certificate with role {needed}: clusterctl operator create NAME --role {needed} --out DIR"
        ))),
        (Access::Agent, _) => Err(denied(
            "not_an_agent",
            format!("{who} is no agent: only agents call this"),
        )),
        (Access::Operator(_), _) => Err(denied(
            "not_an_operator",
            format!("{who} is no operator: only operators call this"),
        )),
        (Access::Anybody, _) => Ok(caller),
    }
}

/// How to get a certificate again. `force`: this one looks valid to its host, which would not enrol again unasked.
fn renewal(who: &Identity, force: bool) -> String {
    match who {
        Identity::Agent(host) if force => format!(
            "clusterctl token create --host {host} --replace, then on {host}: clusterctl-agent enroll --force --token-file -"
        ),
        Identity::Agent(host) => hosts::enrol_again(host),
        _ => "ask an admin for a new one: clusterctl operator create NAME --role ROLE --out DIR".to_owned(),
    }
}

/// Puts [`judge`] before every service.
#[derive(Clone)]
pub struct Guard {
    leader: Arc<Leadership>,
}

impl Guard {
    /// With this leader's model.
    pub fn new(leader: Arc<Leadership>) -> Self {
        Self { leader }
    }
}

impl<S> tower::Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Default + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let judged = match request.extensions().get::<Peer>() {
            None => Err(Failure::new("no_peer", "the connection is not known").exit(ExitClass::Denied)),
            Some(peer) => self
                .guard
                .leader
                .node
                .state()
                .read(|model| judge(request.uri().path(), peer, model, proposer::now())),
        };
        match judged {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Box::pin(self.inner.call(request))
            }
            Err(failure) => {
                tracing::info!(
                    code = failure.code,
                    call = request.uri().path(),
                    "call refused: {failure}"
                );
                Box::pin(std::future::ready(Ok(to_status(&failure).into_http())))
            }
        }
    }
}

/// The caller that the guard let in.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Failure> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Failure::new("no_peer", "the caller is not known").exit(ExitClass::Denied))
}

#[cfg(test)]
mod tests;
