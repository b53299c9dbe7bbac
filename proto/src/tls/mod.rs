//! mTLS between the programs: TLS 1.3 only, ring only, our own CA only, names by URI.
//!
//! Clients ([`connect`]) accept a server whose certificate chains to our CA *and* names a coordinator of their own group;
//! host names and addresses in certificates are not compared, because hosts have many addresses and change them. A new
//! host without a certificate ([`pinned_connect`]) accepts only the CA whose fingerprint its token carries. Servers
//! ([`server_config`]) take clients without a certificate (for `Enroll`; everything else is refused above) and refuse one
//! that is not of our CA, not of this group, or names no program (mysqld's).
//!
//! Certificates are read at every handshake from [`SharedCredentials`], so a renewal needs no restart: it reaches the next
//! connection. Sessions are never resumed, or a renewed or revoked name would live on in a ticket.

mod client;
mod credentials;
mod explain;
mod server;
mod stream;
mod verify;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, ConnectOptions, connect, connect_with, pinned_connect};
pub use credentials::{Credentials, SharedCredentials};
pub use server::server_config;

/// TCP port of the coordinators.
pub const PORT: u16 = 7440;

/// The only protocol spoken on it.
const ALPN: &[u8] = b"h2";

/// Makes ring the provider of the whole process; first thing in each `main`, harmless when repeated.
///
/// This module names its provider itself. Other libraries (mysql_async) take the process's, and rustls panics where there
/// is none to be chosen.
pub fn install_provider() {
    // An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
        .clone()
}

#[cfg(test)]
mod tests;
