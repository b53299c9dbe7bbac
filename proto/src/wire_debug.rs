//! `Debug` of the messages that carry secrets or hashes: names are shown, values are not (safety rule 9).
//!
//! `build.rs` leaves out the derived ones. Whoever adds a secret to another message adds that message in both places.

use std::collections::HashMap;
use std::fmt;

use crate::wire::agent::{Outcome, RunStep};
use crate::wire::control::{CreateTokenReply, SubmitRequest};
use crate::wire::enrolment::EnrollRequest;

/// Only the names.
struct Names<'a>(&'a HashMap<String, String>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Bytes of a JSON document, as text.
struct Json<'a>(&'a [u8]);

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

impl fmt::Debug for RunStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunStep")
            .field("plan", &self.plan)
            .field("step", &self.step)
            .field("cluster", &self.cluster)
            .field("epoch", &self.epoch)
            .field("index", &self.index)
            .field("step_json", &Json(&self.step_json))
            .field("secrets", &Names(&self.secrets))
            .field("signed", &self.signature.is_some())
            .finish()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("plan", &self.plan)
            .field("step", &self.step)
            .field("outcome_json", &Json(&self.outcome_json))
            .field("secrets", &Names(&self.secrets))
            .field("epoch", &self.epoch)
            .field("cluster", &self.cluster)
            .finish()
    }
}

impl fmt::Debug for SubmitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitRequest")
            .field("what", &self.what)
            .field("dry_run", &self.dry_run)
            .field("request_id", &self.request_id)
            .field("accept_lower_tolerance", &self.accept_lower_tolerance)
            .field("secrets", &Names(&self.secrets))
            .finish()
    }
}

impl fmt::Debug for CreateTokenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateTokenReply")
            .field("id", &self.id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("token_id", &self.token_id)
            .field("host", &self.host)
            .field("addresses", &self.addresses)
            .field("agent_version", &self.agent_version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::agent::{FromAgent, from_agent};

    #[test]
    fn no_message_shows_its_secret() {
        const SECRET: &str = "hunter2";
        let secrets = HashMap::from([("router".to_owned(), SECRET.to_owned())]);
        let outcome = Outcome {
            secrets: secrets.clone(),
            ..Default::default()
        };
        let texts = [
            format!(
                "{:?}",
                RunStep {
                    secrets: secrets.clone(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                FromAgent {
                    message: Some(from_agent::Message::Outcome(outcome))
                }
            ),
            format!(
                "{:?}",
                SubmitRequest {
                    secrets,
                    ..Default::default()
                }
            ),
        ];
        for text in texts {
            assert!(!text.contains(SECRET) && text.contains("router"), "{text}");
        }
        let reply = CreateTokenReply {
            token: SECRET.to_owned(),
            ..Default::default()
        };
        let request = EnrollRequest {
            token_secret: SECRET.to_owned(),
            ..Default::default()
        };
        assert!(!format!("{reply:?}{request:?}").contains(SECRET));
    }
}
