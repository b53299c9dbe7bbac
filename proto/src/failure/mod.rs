//! A failure that a person can act on, the same in a step's outcome, a refusal, an RPC error and `-o json`.
//!
//! [`rpc`] carries one over gRPC. Every program makes them; only `ctl` turns one into an exit status. No secret goes in.

pub mod rpc;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Documented exit status of `clusterctl` that a failure leads to (table in README).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// 1: anything without a class of its own.
    #[default]
    General,
    /// 2: the request is not well formed.
    Usage,
    /// 3: refused by a rule of safety or a failed pre-flight check.
    Refused,
    /// 4: no coordinator, no quorum, or the host does not answer.
    Unreachable,
    /// 5: time ran out; the operation goes on.
    Timeout,
    /// 6: partly done, run the command again.
    Partial,
    /// 7: certificate, token or role.
    Denied,
    /// 8: something else is being done, or the same thing exists with other arguments.
    Conflict,
}

impl ExitClass {
    /// The process exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::General => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::Timeout => 5,
            Self::Partial => 6,
            Self::Denied => 7,
            Self::Conflict => 8,
        }
    }
}

/// What went wrong, what was seen, what to do next.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, thiserror::Error)]
pub struct Failure {
    /// Stable, snake case: `errant_transactions`.
    pub code: String,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// Facts seen, a line each. Never a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// What to do next, with the exact command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which exit status it leads to.
    #[serde(default)]
    pub exit: ExitClass,
    /// Trying the same thing again may help without anybody doing anything.
    #[serde(default)]
    pub retry: bool,
}

impl Failure {
    /// A failure of class [`ExitClass::General`] that a retry does not mend.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            facts: Vec::new(),
            hint: None,
            exit: ExitClass::General,
            retry: false,
        }
    }

    /// Refused by a rule: exit status 3.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, message).exit(ExitClass::Refused)
    }

    /// Adds a fact.
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// Sets what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit class.
    pub fn exit(mut self, exit: ExitClass) -> Self {
        self.exit = exit;
        self
    }

    /// Marks it as one that may pass by itself.
    pub fn transient(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
