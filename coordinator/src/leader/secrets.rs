//! Hashes of passwords between the one who made them and the step that needs them. In memory only, by request id: known
//! before the operation has an id. Never logged, never in raft.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Secrets of operations that have not ended.
#[derive(Default)]
pub struct Secrets {
    of: BTreeMap<String, BTreeMap<String, String>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets of {} operations, hidden", self.of.len())
    }
}

impl Secrets {
    /// Keeps what a request or an outcome brought.
    pub fn keep(&mut self, request: &str, secrets: impl IntoIterator<Item = (String, String)>) {
        let mut secrets = secrets.into_iter().peekable();
        if secrets.peek().is_some() {
            self.of.entry(request.to_owned()).or_default().extend(secrets);
        }
    }

    /// One of them.
    pub fn find(&self, request: &str, name: &str) -> Option<&str> {
        self.of.get(request)?.get(name).map(String::as_str)
    }

    /// This request was not stored.
    pub fn forget(&mut self, request: &str) {
        self.of.remove(request);
    }

    /// Which requests have secrets here.
    pub fn requests(&self) -> BTreeSet<String> {
        self.of.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_them() {
        let mut secrets = Secrets::default();
        secrets.keep("r", [("account:app@%".to_owned(), "0xDEADBEEF".to_owned())]);
        assert_eq!(secrets.find("r", "account:app@%"), Some("0xDEADBEEF"));
        assert!(!format!("{secrets:?}").contains("DEAD"));
        secrets.forget("r");
        assert_eq!(secrets.find("r", "account:app@%"), None);
    }
}
