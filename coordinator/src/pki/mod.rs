//! The certificate authority of a coordinator group: makes the CA, signs certificates.
//!
//! Names always come from the caller of these functions, which takes them from the model; of a request only the public key
//! counts. The CA's key is a file of mode 0600 outside raft and never leaves this module.

mod authority;
mod request;

#[cfg(test)]
mod tests;

pub use authority::{Authority, CaFiles, CaKey, Names, Signed};
pub use request::{PublicKey, key_sha256};

use clusterctl_proto::failure::Failure;

fn failed(error: rcgen::Error) -> Failure {
    Failure::new("certificate_failed", format!("cannot make a certificate: {error}"))
}
