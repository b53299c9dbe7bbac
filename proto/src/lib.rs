//! What agent, coordinator and ctl must agree on.
//!
//! Messages on the wire ([`wire`]), ids, the steps of a plan ([`step`]), what an agent tells of its host
//! ([`observe`]), refusals and failures ([`failure`]), mTLS identities ([`identity`], [`tls`], [`token`]), and the few
//! things that two programs would otherwise write twice ([`files`], [`settings`], [`logging`], [`test_point`], [`gtid`],
//! [`password`], [`clock`]). No decision is made here.

pub mod clock;
pub mod failure;
pub mod files;
pub mod gtid;
pub mod identity;
pub mod ids;
pub mod logging;
pub mod observe;
pub mod password;
pub mod settings;
pub mod step;
pub mod test_point;
pub mod tls;
pub mod token;

/// Generated from `proto/proto/clusterctl/v1/*.proto`.
#[allow(missing_docs, unused_qualifications, clippy::all)]
pub mod wire {
    /// The stream between agent and coordinator.
    pub mod agent {
        tonic::include_proto!("clusterctl.v1.agent");
    }
    /// What operators call.
    pub mod control {
        tonic::include_proto!("clusterctl.v1.control");
    }
    /// A token buys a certificate.
    pub mod enrolment {
        tonic::include_proto!("clusterctl.v1.enrolment");
    }
}
