//! Words for what rustls and the network say.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::failure::{ExitClass, Failure, rpc};

const STATUS: &str =
    "is the coordinator running? on its host: systemctl status clusterctl-coordinator; is TCP port 7440 open to it?";

/// Why one endpoint could not be used.
pub(super) fn io_failure(error: &io::Error) -> Failure {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return tls_failure(tls);
    }
    let unreachable = |message: &str| {
        Failure::new("coordinator_unreachable", message)
            .hint(STATUS)
            .exit(ExitClass::Unreachable)
            .transient()
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => unreachable("connection refused: nothing listens there"),
        io::ErrorKind::TimedOut => unreachable("no answer in time"),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Failure::new("connection_closed", "the server closed the connection during the TLS handshake")
                .hint(
                    "is it a coordinator that listens there, and is this program's certificate signed by its CA? the reason is in \
                     its log: journalctl -u clusterctl-coordinator",
                )
                .exit(ExitClass::Unreachable)
                .transient()
        }
        _ => unreachable(&error.to_string().to_lowercase()),
    }
}

fn tls_failure(error: &Error) -> Failure {
    match error {
        Error::InvalidCertificate(certificate) => certificate_failure(certificate),
        Error::AlertReceived(alert) => alert_failure(*alert),
        Error::InvalidMessage(_)
        | Error::PeerIncompatible(_)
        | Error::PeerMisbehaved(_)
        | Error::NoApplicationProtocol => Failure::new("not_a_coordinator", "what listens there is no coordinator")
            .fact(error.to_string())
            .hint("is the address right? a coordinator listens on TCP port 7440")
            .exit(ExitClass::Unreachable),
        other => Failure::new("tls_failed", format!("tls: {other}")).exit(ExitClass::Unreachable),
    }
}

fn certificate_failure(error: &CertificateError) -> Failure {
    let denied = |code: &str, message: &str| Failure::new(code, message).exit(ExitClass::Denied);
    let clocks = "are the clocks of both hosts right? compare `date -u`; else the coordinator's log says why it has no newer \
                  certificate: journalctl -u clusterctl-coordinator";
    match error {
        CertificateError::Other(other) => other.0.downcast_ref::<Failure>().cloned().unwrap_or_else(|| {
            denied(
                "bad_certificate",
                &format!("the server's certificate is not accepted: {other}"),
            )
        }),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            denied("foreign_ca", "the server's certificate is not signed by our CA")
                .hint("is the address one of this coordinator group, and is ca.pem the right one?")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            denied("certificate_expired", "the server's certificate has expired")
                .fact(error.to_string())
                .hint(clocks)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            denied("certificate_not_yet_valid", "the server's certificate is not valid yet")
                .fact(error.to_string())
                .hint(clocks)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            denied("not_a_coordinator", "the server's certificate is not one of a server").fact(error.to_string())
        }
        other => denied(
            "bad_certificate",
            &format!("the server's certificate is not accepted: {other}"),
        ),
    }
}

/// The server judged our certificate.
fn alert_failure(alert: AlertDescription) -> Failure {
    let fact = format!("tls alert: {alert:?}");
    match alert {
        AlertDescription::CertificateExpired => Failure::new(
            "certificate_refused",
            "the coordinator says that this certificate has expired or is not valid yet",
        )
        .fact(fact)
        .hint("compare the clocks of both hosts with `date -u`; else get a new certificate")
        .exit(ExitClass::Denied),
        AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateRequired
        | AlertDescription::AccessDenied => rpc::certificate_refused().fact(fact),
        _ => Failure::new("tls_failed", "the server refused the TLS handshake")
            .fact(fact)
            .hint(
                "is it a coordinator that listens there? its log has the reason: journalctl -u clusterctl-coordinator",
            )
            .exit(ExitClass::Unreachable),
    }
}

/// One failure for all endpoints that were tried: the most telling one leads, each is named.
pub(super) fn all_failed(mut tried: Vec<(String, Failure)>) -> Failure {
    if tried.len() == 1
        && let Some((endpoint, failure)) = tried.pop()
    {
        let mut one = failure;
        one.message = format!("cannot connect to the coordinator at {endpoint}: {}", one.message);
        return one;
    }
    // A refusal says more than silence: it comes from one that is there.
    let lead = tried
        .iter()
        .find(|(_, failure)| failure.exit == ExitClass::Denied)
        .or(tried.first());
    let mut all = match lead {
        Some((_, failure)) => {
            let mut all = Failure {
                facts: Vec::new(),
                ..failure.clone()
            };
            all.message = "cannot connect to any coordinator".to_owned();
            all
        }
        None => Failure::new("no_endpoints", "no coordinator's address is known")
            .hint("name at least one in the configuration: endpoints = [\"192.0.2.1:7440\"]")
            .exit(ExitClass::Usage),
    };
    for (endpoint, failure) in &tried {
        all.facts.push(format!("{endpoint}: {}", failure.message));
        all.facts
            .extend(failure.facts.iter().map(|fact| format!("{endpoint}: {fact}")));
    }
    all
}
