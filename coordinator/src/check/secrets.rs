//! Rule 9: a plan is stored, shown and logged, so nothing in it may look like a secret.

use clusterctl_proto::failure::Failure;
use serde_json::Value;

use super::{Case, wrong};

/// No text of the plan is an authentication string, a private key, a token, or a hash as `IDENTIFIED … AS` takes it.
pub(super) fn no_secrets(case: &Case<'_>) -> Result<(), Failure> {
    for (step, _) in case.steps() {
        let json = serde_json::to_value(step).map_err(|error| wrong(format!("step {}: {error}", step.number)))?;
        if let Some(path) = find(&json, "") {
            // Where, never what.
            return Err(wrong(format!("step {}: {path} looks like a secret", step.number)));
        }
    }
    let texts = case.draft.report.iter().chain([&case.draft.done_message]);
    match texts.into_iter().find(|text| is_secret(text)) {
        Some(_) => Err(wrong("the report holds what looks like a secret")),
        None => Ok(()),
    }
}

/// Path of the first text that looks like a secret.
fn find(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) if is_secret(text) => Some(path.trim_start_matches('.').to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, item)| find(item, &format!("{path}.{i}"))),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, field)| find(field, &format!("{path}.{name}"))),
        _ => None,
    }
}

pub(super) fn is_secret(text: &str) -> bool {
    let marks = ["$A$0", "$mysql$A$", "-----BEGIN", "cct1."];
    marks.iter().any(|mark| text.contains(mark)) || long_hex(text)
}

/// `0x` and at least forty hexadecimal digits, anywhere.
fn long_hex(text: &str) -> bool {
    text.match_indices("0x").any(|(at, _)| {
        let digits = text[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        digits >= 40
    })
}
