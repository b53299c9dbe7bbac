//! Configuration files: TOML, every key known, and an error that says which line and which key was probably meant.
//!
//! Each program has its own settings type with `#[serde(deny_unknown_fields)]`; this module only reads it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::failure::{ExitClass, Failure};
use crate::files::{self, FileError};

const LIMIT: u64 = 1024 * 1024;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no valid TOML, or a key or value does not fit.
    #[error("{}, line {line}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        message: String,
        /// The key that is probably meant, or the keys that there are.
        hint: Option<String>,
    },
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let text = error.to_string();
        match error {
            SettingsError::File(error) => error.into(),
            SettingsError::Content { hint, .. } => {
                let failure = Failure::new("bad_settings", text).exit(ExitClass::Usage);
                match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

/// Reads a settings file that must be there.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    parse(path, &files::read_text_limited(path, LIMIT)?)
}

/// As [`load`], with the defaults where there is no such file.
pub fn load_or_default<T: DeserializeOwned + Default>(path: &Path) -> Result<T, SettingsError> {
    match load(path) {
        Err(SettingsError::File(error)) if error.is_missing() => Ok(T::default()),
        result => result,
    }
}

/// Settings from a text; `path` is for the error only.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let (message, hint) = reword(error.message());
        SettingsError::Content {
            path: path.to_owned(),
            line,
            message,
            hint,
        }
    })
}

/// serde's ``unknown field `endpoint`, expected one of `endpoints`, `ca` `` in our words, with the nearest name as hint.
fn reword(message: &str) -> (String, Option<String>) {
    // A library's message may show the line with a marker below it; the first line says it all.
    let message = message.lines().next().unwrap_or(message);
    let kinds = [("unknown field `", "key"), ("unknown variant `", "value")];
    for (start, kind) in kinds {
        let Some((given, rest)) = message.strip_prefix(start).and_then(|rest| rest.split_once('`')) else {
            continue;
        };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = match nearest(given, &known) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if known.is_empty() => None,
            None => Some(format!("known here: {}", known.join(", "))),
        };
        return (format!("unknown {kind} `{given}`"), hint);
    }
    (message.to_lowercase_first(), None)
}

/// The known name that differs least from the given one, if it is near enough to be a slip.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&given.to_lowercase(), &name.to_lowercase());
    let (best, distance) = known
        .iter()
        .map(|name| (*name, distance(name)))
        .min_by_key(|(_, distance)| *distance)?;
    let allowed = (best.chars().count().max(given.chars().count()) / 3).max(1);
    (distance <= allowed).then_some(best)
}

trait LowercaseFirst {
    fn to_lowercase_first(&self) -> String;
}

impl LowercaseFirst for str {
    /// `TOML parse error` stays, `Invalid type` does not.
    fn to_lowercase_first(&self) -> String {
        let mut chars = self.chars();
        match (chars.next(), chars.clone().next()) {
            (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
            _ => self.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        endpoints: Vec<String>,
        interval_seconds: u32,
        tls: Tls,
    }

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Tls {
        ca: String,
        kind: Kind,
    }

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        #[default]
        Strict,
        Relaxed,
    }

    fn error(text: &str) -> (usize, String, Option<String>) {
        match parse::<Sample>(Path::new("/etc/x.toml"), text) {
            Err(SettingsError::Content {
                line, message, hint, ..
            }) => (line, message, hint),
            other => (0, format!("{other:?}"), None),
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_name() {
        let (line, message, hint) = error("# a comment\nendpoints = []\nintervall_seconds = 5\n");
        assert_eq!((line, message.as_str()), (3, "unknown key `intervall_seconds`"));
        assert_eq!(hint.as_deref(), Some("did you mean `interval_seconds`?"));
        let (line, message, hint) = error("\n[tls]\nzzzzz = 1\n");
        assert_eq!((line, message.as_str()), (3, "unknown key `zzzzz`"));
        assert_eq!(hint.as_deref(), Some("known here: ca, kind"));
        let (line, message, hint) = error("[tls]\nkind = \"strickt\"\n");
        assert_eq!((line, message.as_str()), (2, "unknown value `strickt`"));
        assert_eq!(hint.as_deref(), Some("did you mean `strict`?"));
    }

    #[test]
    fn wrong_types_and_bad_toml_have_a_line() {
        let (line, message, _) = error("endpoints = []\ninterval_seconds = \"x\"\n");
        assert_eq!(line, 2);
        assert!(message.starts_with("invalid type"), "{message}");
        let (line, ..) = error("endpoints = []\nendpoints = []\n");
        assert_eq!(line, 2);
        let (line, ..) = error("endpoints = [\n");
        assert!(line >= 1);
        let (line, ..) = error("ü = ü");
        assert_eq!(line, 1);
    }

    #[test]
    fn a_missing_file_is_the_default_only_where_asked() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.toml");
        assert_eq!(load_or_default::<Sample>(&path)?, Sample::default());
        assert!(load::<Sample>(&path).is_err());
        std::fs::write(&path, "interval_seconds = 7\n[tls]\nkind = \"relaxed\"\n")?;
        let sample: Sample = load_or_default(&path)?;
        assert_eq!((sample.interval_seconds, sample.tls.kind), (7, Kind::Relaxed));
        std::fs::write(&path, "nonsense")?;
        let failure: Failure = load_or_default::<Sample>(&path)
            .err()
            .map(Into::into)
            .ok_or("no error")?;
        assert!(failure.message.contains("x.toml, line 1"), "{}", failure.message);
        Ok(())
    }
}
