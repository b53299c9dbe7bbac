//! Reading JSON documents of the raft file without losing anything in them.
//!
//! A document of a later release may hold fields that this program does not know; serde would drop them silently, and with them perhaps
//! a rule of safety. So each document is read in two steps: its version is compared first, then everything that stands in it must be
//! there again when the value is written. Used by [`super::disk`], [`super::log`] and [`super::state`]; it never repairs anything.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk::DiskError;
use crate::model::FEATURE_LEVEL;

/// The format that this program reads and writes, of every document.
pub(super) const FORMAT: u32 = 1;

/// Reads a document; `what` names it in errors: `snapshot`.
pub(super) fn read<T: DeserializeOwned + Serialize>(what: &'static str, bytes: &[u8]) -> Result<T, DiskError> {
    let original: Value = serde_json::from_slice(bytes)?;
    let value: T = serde_json::from_slice(bytes)?;
    let written = serde_json::to_value(&value)?;
    match lost(&original, &written) {
        None => Ok(value),
        Some(field) => Err(DiskError::UnknownField { what, field }),
    }
}

/// Path of the first part of `original` that is missing in `written`. What is empty says nothing: writers leave it out.
fn lost(original: &Value, written: &Value) -> Option<String> {
    match (original, written) {
        (Value::Object(original), Value::Object(written)) => original.iter().find_map(|(key, value)| {
            let within = |rest: String| {
                if rest.is_empty() {
                    key.clone()
                } else {
                    format!("{key}.{rest}")
                }
            };
            match written.get(key) {
                Some(other) => lost(value, other).map(within),
                None if says_nothing(value) => None,
                None => Some(key.clone()),
            }
        }),
        (Value::Array(original), Value::Array(written)) if original.len() == written.len() => {
            original.iter().zip(written).find_map(|(one, other)| lost(one, other))
        }
        // Another length or another kind of value; of scalars only the presence counts, since a set may be written in another form.
        (Value::Array(_) | Value::Object(_), _) => Some(String::new()),
        _ => None,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

/// Fails unless `found` is the format of this program. A document without one has format 0, which no release wrote.
pub(super) fn known_format(what: &'static str, found: u64) -> Result<(), DiskError> {
    if found == u64::from(FORMAT) {
        return Ok(());
    }
    Err(DiskError::Format { what, found })
}

/// Fails when a model of this feature level may mean something that this program does not know.
pub(super) fn known_level(found: u64) -> Result<(), DiskError> {
    if found <= u64::from(FEATURE_LEVEL) {
        return Ok(());
    }
    Err(DiskError::FeatureLevel { found })
}

/// Versions of a snapshot: read before the rest, which a later release may have changed.
#[derive(Deserialize)]
struct Versions {
    #[serde(default)]
    format: u64,
    model: ModelVersions,
}

#[derive(Deserialize)]
struct ModelVersions {
    #[serde(default)]
    format: u64,
    #[serde(default)]
    feature_level: u64,
}

/// Fails when this program does not know the versions of a snapshot.
pub(super) fn known_snapshot(bytes: &[u8]) -> Result<(), DiskError> {
    let versions: Versions = serde_json::from_slice(bytes)?;
    known_format("snapshot", versions.format)?;
    known_format("model", versions.model.format)?;
    known_level(versions.model.feature_level)
}

#[cfg(test)]
mod unit {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_dropped_is_found_wherever_it_stands() {
        let written = json!({"a": 1, "list": [{"x": 1}, {"x": 2}], "kind": {"kind": "verify"}});
        let lost = |original: Value| lost(&original, &written);
        assert_eq!(lost(written.clone()), None);
        assert_eq!(lost(json!({"a": 1, "b": "rule"})), Some("b".to_owned()));
        assert_eq!(lost(json!({"b": null, "c": [], "d": {}, "e": false})), None);
        assert_eq!(
            lost(json!({"list": [{"x": 1}, {"x": 2, "y": 0}]})),
            Some("list.y".to_owned())
        );
        assert_eq!(lost(json!({"list": [{"x": 1}]})), Some("list".to_owned()));
        assert_eq!(
            lost(json!({"kind": {"kind": "verify", "deep": true}})),
            Some("kind.deep".to_owned())
        );
    }
}
