//! `pause`, `resume` and `maintenance`: the one call behind them, and how its answer is shown.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::HandsOffRequest;

use crate::context::Context;
use crate::output::{self, json};
use crate::submit;
use crate::units;

/// Longest reason: it stands in one line of the status.
const LONGEST_REASON: usize = 200;

/// Why, and until when.
#[derive(clap::Args, Debug, Default)]
pub struct Why {
    /// Why, for whoever looks at the status meanwhile
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Option<String>,
    /// End it by itself after this time, e.g. 90m or 2h; without it when somebody ends it
    #[arg(long = "for", value_name = "DURATION", value_parser = units::parse_duration)]
    ends_after: Option<Duration>,
}

fn parse_reason(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("a reason says something: --reason 'new disks'".to_owned());
    }
    if trimmed.chars().any(char::is_control) || trimmed.chars().count() > LONGEST_REASON {
        return Err(format!("a reason is one line of at most {LONGEST_REASON} characters"));
    }
    Ok(trimmed.to_owned())
}

/// Begins it, of a whole cluster with an empty host.
pub fn on(cluster: String, host: String, why: Why) -> HandsOffRequest {
    HandsOffRequest {
        cluster,
        host,
        on: true,
        reason: why.reason.unwrap_or_default(),
        for_seconds: why.ends_after.map_or(0, units::whole_seconds),
        everything: false,
    }
}

/// Ends it.
pub fn off(cluster: String, host: String) -> HandsOffRequest {
    HandsOffRequest {
        cluster,
        host,
        on: false,
        ..HandsOffRequest::default()
    }
}

/// Asks for it and prints what the coordinator says.
pub async fn run(context: &Context, request: HandsOffRequest) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let reply = client
        .call(|mut api| async move { api.set_hands_off(request).await })
        .await?;
    if context.json() {
        json::print(reply);
    } else if reply.already {
        output::data(&submit::already_sentence(&reply.message));
    } else {
        output::data(&reply.message);
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line() {
        assert_eq!(parse_reason(" new disks "), Ok("new disks".to_owned()));
        for bad in ["", "  ", "two\nlines", &"x".repeat(LONGEST_REASON + 1)] {
            assert!(parse_reason(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn less_than_a_second_is_not_for_ever() {
        let why = Why {
            ends_after: Some(Duration::from_millis(300)),
            ..Why::default()
        };
        assert_eq!(on(String::new(), String::new(), why).for_seconds, 1);
        assert_eq!(on(String::new(), String::new(), Why::default()).for_seconds, 0);
    }
}
