//! A [`Failure`] as a gRPC status and back.
//!
//! The coordinator's services call [`to_status`], every client calls [`from_status`]. The whole failure travels as
//! `ErrorInfo` in the status details (`reason` = its code), so nothing is parsed out of texts. [`from_status`] also
//! explains statuses that no program of ours wrote: refused connections, TLS alerts, ended streams.

use std::collections::HashMap;
use std::error::Error;
use std::io;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{ExitClass, Failure};

const DOMAIN: &str = "clusterctl";
const KEY: &str = "failure";

/// Details travel in a header; [`crate::tls`] lets its clients take headers of 64 KiB, and base64 adds a third.
const MAX_JSON: usize = 24 * 1024;
const MAX_MESSAGE: usize = 2 * 1024;

/// The status that carries this failure.
pub fn to_status(failure: &Failure) -> Status {
    let metadata = HashMap::from([(KEY.to_owned(), fitting_json(failure))]);
    let details = ErrorDetails::with_error_info(failure.code.clone(), DOMAIN, metadata);
    Status::with_error_details(code(failure), cut(&failure.message, MAX_MESSAGE), details)
}

/// The failure that a status carries, or one that explains the status.
pub fn from_status(status: Status) -> Failure {
    let carried = status
        .get_details_error_info()
        .filter(|info| info.domain == DOMAIN)
        .and_then(|info| serde_json::from_str(info.metadata.get(KEY)?).ok());
    if let Some(failure) = carried {
        return failure;
    }
    if let Some(failure) = status.source().and_then(find_failure) {
        return failure;
    }
    explain(&status)
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        to_status(&failure)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        from_status(status)
    }
}

/// A [`Failure`] anywhere in a chain of causes: connectors put theirs there.
pub fn find_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    causes(error).find_map(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<Failure>());
        cause.downcast_ref::<Failure>().or(inner).cloned()
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

fn code(failure: &Failure) -> Code {
    match failure.exit {
        ExitClass::Usage => Code::InvalidArgument,
        ExitClass::Refused => Code::FailedPrecondition,
        ExitClass::Unreachable => Code::Unavailable,
        ExitClass::Timeout => Code::DeadlineExceeded,
        ExitClass::Denied => Code::PermissionDenied,
        // What may pass by itself is a clash with something that runs; the rest exists with other arguments.
        ExitClass::Conflict if failure.retry => Code::Aborted,
        ExitClass::Conflict => Code::AlreadyExists,
        ExitClass::Partial => Code::Internal,
        ExitClass::General => Code::Unknown,
    }
}

/// Leaves out what does not fit into a header: last facts first, then the ends of texts.
fn fitting_json(failure: &Failure) -> String {
    let json = |failure: &Failure| serde_json::to_string(failure).unwrap_or_default();
    let whole = json(failure);
    if whole.len() <= MAX_JSON {
        return whole;
    }
    let mut less = failure.clone();
    less.message = cut(&less.message, MAX_MESSAGE);
    less.hint = less.hint.map(|hint| cut(&hint, MAX_MESSAGE));
    less.facts = less.facts.iter().map(|fact| cut(fact, MAX_MESSAGE)).collect();
    let all = less.facts.len();
    loop {
        let mut shown = less.clone();
        if less.facts.len() < all {
            shown.facts.push(format!("and {} more", all - less.facts.len()));
        }
        let text = json(&shown);
        if text.len() <= MAX_JSON || less.facts.is_empty() {
            return text;
        }
        // A tenth at a time: this runs once for a failure that is far too long.
        less.facts.truncate(less.facts.len() * 9 / 10);
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Words for a status that carries no failure: it comes from the connection or from a library.
fn explain(status: &Status) -> Failure {
    let mut chain: Vec<String> = vec![status.message().to_owned()];
    if let Some(source) = status.source() {
        chain.extend(causes(source).map(ToString::to_string));
    }
    chain.retain(|text| !text.is_empty());
    chain.dedup();
    let seen = chain.join(": ");
    let low = seen.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));

    let failure = match status.code() {
        _ if has(&["received fatal alert"]) => certificate_refused(),
        _ if has(&["connection refused"]) => Failure::new("coordinator_unreachable", "nothing listens at the coordinator's address")
            .hint("is the coordinator running? on its host: systemctl status clusterctl-coordinator")
            .exit(ExitClass::Unreachable)
            .transient(),
        _ if has(&["operation was canceled", "connection closed", "broken pipe", "connection reset", "unexpected eof", "close_notify"]) => {
            Failure::new("connection_closed", "the coordinator closed the connection")
                .hint(
                    "it was stopped, or it did not accept this certificate (is it signed by this group's CA, not expired, not \
                     revoked?); the reason is in its log: journalctl -u clusterctl-coordinator",
                )
                .exit(ExitClass::Unreachable)
                .transient()
        }
        Code::Unavailable => Failure::new("coordinator_unreachable", "the coordinator does not answer")
            .hint("check the network and, on the coordinator's host: systemctl status clusterctl-coordinator")
            .exit(ExitClass::Unreachable)
            .transient(),
        Code::DeadlineExceeded | Code::Cancelled => {
            Failure::new("timeout", "no answer in time").exit(ExitClass::Timeout).transient()
        }
        Code::Unimplemented => Failure::new("not_implemented", "the coordinator does not know this call")
            .hint("is it older than this program? compare: clusterctl version"),
        Code::Unauthenticated | Code::PermissionDenied => {
            Failure::new("denied", "the coordinator refused the call").exit(ExitClass::Denied)
        }
        Code::InvalidArgument | Code::OutOfRange => {
            Failure::new("bad_request", "the request is not well formed").exit(ExitClass::Usage)
        }
        Code::FailedPrecondition => Failure::refused("refused", "the coordinator refused"),
        Code::AlreadyExists | Code::Aborted => {
            Failure::new("conflict", "something else is in the way").exit(ExitClass::Conflict)
        }
        other => Failure::new("rpc_failed", format!("the call failed ({other:?})")),
    };
    if seen.is_empty() { failure } else { failure.fact(seen) }
}

/// A TLS alert after the handshake: with TLS 1.3 the server judges our certificate when we are already done.
pub(crate) fn certificate_refused() -> Failure {
    Failure::new("certificate_refused", "the coordinator did not accept this certificate")
        .hint(
            "it must be signed by the CA of this coordinator group and be neither expired nor revoked; the coordinator's log \
             has the reason: journalctl -u clusterctl-coordinator",
        )
        .exit(ExitClass::Denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_classes() -> [ExitClass; 8] {
        use ExitClass::*;
        [General, Usage, Refused, Unreachable, Timeout, Partial, Denied, Conflict]
    }

    #[test]
    fn the_whole_failure_comes_back() {
        for class in all_classes() {
            let failure = Failure::new(
                "errant_transactions",
                "node3 holds transactions that the group has not — ü",
            )
            .fact("3E11FA47-71CA-11E1-9E33-C80AA9429562:24")
            .fact("two\nlines")
            .hint("clusterctl why node3")
            .exit(class)
            .transient();
            assert_eq!(from_status(to_status(&failure)), failure);
        }
    }

    #[test]
    fn classes_become_codes() {
        let of = |exit, retry| {
            let failure = Failure {
                retry,
                ..Failure::new("x", "x").exit(exit)
            };
            to_status(&failure).code()
        };
        assert_eq!(of(ExitClass::Usage, false), Code::InvalidArgument);
        assert_eq!(of(ExitClass::Refused, false), Code::FailedPrecondition);
        assert_eq!(of(ExitClass::Unreachable, true), Code::Unavailable);
        assert_eq!(of(ExitClass::Timeout, false), Code::DeadlineExceeded);
        assert_eq!(of(ExitClass::Denied, false), Code::PermissionDenied);
        assert_eq!(of(ExitClass::Conflict, false), Code::AlreadyExists);
        assert_eq!(of(ExitClass::Conflict, true), Code::Aborted);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        let mut failure = Failure::refused("many", "x".repeat(100_000)).hint("y".repeat(100_000));
        for n in 0..5000 {
            failure = failure.fact(format!("fact {n} {}", "z".repeat(50)));
        }
        let back = from_status(to_status(&failure));
        assert_eq!(back.code, "many");
        assert_eq!(back.exit, ExitClass::Refused);
        assert!(back.facts.len() > 100);
        assert!(
            back.facts
                .last()
                .is_some_and(|last| last.starts_with("and ") && last.ends_with(" more")),
            "{:?}",
            back.facts.last()
        );
        let shown: usize = back.facts.len() - 1;
        assert_eq!(back.facts.last().cloned(), Some(format!("and {} more", 5000 - shown)));
        assert!(serde_json::to_string(&back).is_ok_and(|json| json.len() <= MAX_JSON));
    }

    #[test]
    fn strange_statuses_are_explained() {
        let refused = from_status(Status::unavailable(
            "tcp connect error: Connection refused (os error 111)",
        ));
        assert_eq!(refused.exit, ExitClass::Unreachable);
        assert!(refused.hint.is_some_and(|hint| hint.contains("systemctl status")));
        let closed = from_status(Status::unknown("transport error: operation was canceled"));
        assert!(closed.hint.is_some_and(|hint| hint.contains("certificate")));
        let alert = from_status(Status::unknown(
            "h2 error: received fatal alert: the server requires a client certificate",
        ));
        assert_eq!(alert.exit, ExitClass::Denied);
        assert_eq!(from_status(Status::deadline_exceeded("")).exit, ExitClass::Timeout);
        assert!(from_status(Status::deadline_exceeded("")).facts.is_empty());
    }

    #[test]
    fn a_foreign_error_info_is_not_taken_for_ours() {
        let details =
            ErrorDetails::with_error_info("x", "example.org", HashMap::from([(KEY.to_owned(), "{}".to_owned())]));
        let status = Status::with_error_details(Code::NotFound, "what", details);
        assert_eq!(from_status(status).code, "rpc_failed");
    }

    #[test]
    fn a_failure_among_the_causes_is_found() {
        let failure = Failure::new("inner", "the real one").exit(ExitClass::Denied);
        let status = Status::from_error(Box::new(io::Error::other(failure.clone())));
        assert_eq!(from_status(status), failure);
    }
}
