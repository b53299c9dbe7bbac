//! What a check answers.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control;

/// How a check ended, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not as it should be, but left out by the operator.
    Ignored,
    /// Worth knowing; nothing is refused for it.
    Warn,
    /// The host is not used like this.
    Fail,
}

impl Verdict {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Ignored => "ignored",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckResult {
    /// Stable name, as `--ignore-check` takes it.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do; empty when passed.
    pub fix: String,
}

impl CheckResult {
    /// As it should be.
    pub fn pass(name: &'static str, seen: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Pass,
            seen: seen.into(),
            fix: String::new(),
        }
    }

    /// Worth knowing.
    pub fn warn(name: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warn,
            seen: seen.into(),
            fix: fix.into(),
        }
    }

    /// Not to be used like this.
    pub fn fail(name: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fail,
            seen: seen.into(),
            fix: fix.into(),
        }
    }
}

/// All checks of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostChecks {
    /// The host.
    pub host: HostName,
    /// In a fixed order.
    pub checks: Vec<CheckResult>,
}

impl HostChecks {
    /// The worst of its checks.
    pub fn verdict(&self) -> Verdict {
        self.checks
            .iter()
            .map(|check| check.verdict)
            .max()
            .unwrap_or(Verdict::Pass)
    }

    /// What speaks against using the host.
    pub fn failed(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|check| check.verdict == Verdict::Fail)
    }
}

/// The worst of all hosts, `pass`, `warn` or `fail`, for `CheckReply.verdict`.
pub fn worst(hosts: &[HostChecks]) -> &'static str {
    match hosts.iter().map(HostChecks::verdict).max() {
        Some(Verdict::Fail) => "fail",
        Some(Verdict::Warn | Verdict::Ignored) => "warn",
        Some(Verdict::Pass) | None => "pass",
    }
}

impl From<HostChecks> for control::HostChecks {
    fn from(from: HostChecks) -> Self {
        let checks = from.checks.into_iter().map(|check| control::CheckResult {
            name: check.name.to_owned(),
            result: check.verdict.as_str().to_owned(),
            seen: check.seen,
            fix: check.fix,
        });
        Self {
            host: from.host.to_string(),
            checks: checks.collect(),
        }
    }
}
