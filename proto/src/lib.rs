//! What agent, coordinator and ctl must agree on. No decision is made here.
//!
//! | for | look at |
//! | --- | --- |
//! | messages between the programs | [`wire`], from `proto/clusterctl/v1/*.proto` |
//! | names and numbers; times as text | [`ids`]; [`clock`] |
//! | what an agent tells of its host; what it is told to do | [`observe`]; [`step`] |
//! | which order a message belongs to; signed generations | [`order_proof`] |
//! | refusals and errors, their exit status, over gRPC | [`failure`], [`failure::rpc`] |
//! | who somebody is; certificates and requests | [`identity`] |
//! | connecting and serving with mTLS, renewal | [`tls`] |
//! | the string that lets a host in | [`token`] |
//! | sets of GTIDs and their algebra | [`gtid`] |
//! | which bootstrap a member descends from | [`lineage`] |
//! | passwords, their `caching_sha2_password` hashes | [`password`] |
//! | files that survive a power cut; TOML settings; logs | [`files`]; [`settings`]; [`logging`] |
//! | places where a test may stop a program | [`test_point`] |
//! | starting tasks, on this machine or on a simulated one | [`machine`] |
//!
//! Texts from outside are parsed into types here once, with errors that a person can act on. Nothing in this crate shows a
//! secret in `Debug`, a log or an error.

pub mod clock;
pub mod failure;
pub mod files;
pub mod gtid;
pub mod identity;
pub mod ids;
pub mod lineage;
pub mod logging;
pub mod machine;
pub mod observe;
pub mod order_proof;
pub mod password;
pub mod settings;
pub mod step;
pub mod test_point;
pub mod tls;
pub mod token;
mod wire_debug;

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
