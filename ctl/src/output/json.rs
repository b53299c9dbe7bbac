//! `-o json`: one document with `apiVersion` first, then the fields of the answer in snake case.

use serde::Serialize;

/// Version of the documents: a field may be added under it, none renamed or removed.
pub const API_VERSION: &str = "clusterctl/v1";

/// A document.
#[derive(Serialize)]
pub struct Document<T: Serialize> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    #[serde(flatten)]
    body: T,
}

/// Wraps a body, which must serialise as an object.
pub fn document<T: Serialize>(body: T) -> Document<T> {
    Document {
        api_version: API_VERSION,
        body,
    }
}

/// Prints a document on stdout, indented.
pub fn print<T: Serialize>(body: T) {
    super::data(&to_text(body, true));
}

/// Prints a document on stdout in one line, for answers that are streams of documents.
pub fn print_line<T: Serialize>(body: T) {
    super::data(&to_text(body, false));
}

/// A document as text.
pub fn to_text<T: Serialize>(body: T, indented: bool) -> String {
    let document = document(body);
    let text = if indented {
        serde_json::to_string_pretty(&document)
    } else {
        serde_json::to_string(&document)
    };
    // Bodies are our own structs with string keys, which always serialise; should one not, say so in the same form.
    text.unwrap_or_else(|err| {
        format!(
            "{{\"apiVersion\":\"{API_VERSION}\",\"unprintable\":{:?}}}",
            err.to_string()
        )
    })
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::wire::control::{Host, ListHostsReply};

    use super::*;

    #[test]
    fn the_version_comes_first_and_keys_are_snake_case() {
        let hosts = vec![Host {
            name: "node1".to_owned(),
            ..Host::default()
        }];
        let text = to_text(ListHostsReply { hosts }, false);
        assert!(
            text.starts_with(r#"{"apiVersion":"clusterctl/v1","hosts":[{"name":"node1","roles":[]"#),
            "{text}"
        );
        assert!(text.contains("\"agent_version\":"), "{text}");
    }
}
