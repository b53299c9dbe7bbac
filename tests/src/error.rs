//! Errors that tell the reader what to do next: a message and a `hint:`.
//!
//! Used by every module; only `cli` prints. It must never hide the cause it wraps.

use std::fmt;

/// An error that knows a way out.
#[derive(Debug)]
pub struct Hinted {
    message: String,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// A new error with a hint.
pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted {
        message: message.into(),
        hint: hint.into(),
    })
}

/// Adds a hint to an error on its way up; the hint nearest to the cause wins.
pub(crate) trait WithHint<T> {
    /// Wraps the error, with its causes, in one that carries `hint`.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if hint_of(&error).is_some() {
                error
            } else {
                hinted(format!("{error:#}"), hint)
            }
        })
    }
}

fn hint_of(error: &anyhow::Error) -> Option<&str> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Hinted>())
        .map(|found| found.hint.as_str())
}

/// Prints an error the way every command of the lab does: `error: …`, then `hint: …` where there is one.
pub(crate) fn print(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
    if let Some(hint) = hint_of(error) {
        eprintln!("hint: {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_inner_hint_survives_context_and_wins() {
        let inner: anyhow::Result<()> = Err(hinted("no host node9", "lab status lists them"));
        let outer = inner.context("cannot freeze").hint("something else").unwrap_err();
        assert_eq!(hint_of(&outer), Some("lab status lists them"));
        assert_eq!(format!("{outer:#}"), "cannot freeze: no host node9");
    }
}
