//! Errors on stderr: what was wrong, what was seen, what to do; and the exit status that follows.

use std::io::IsTerminal;
use std::process::ExitCode;

use clusterctl_proto::failure::Failure;
use serde::Serialize;

use crate::output::paint::{Meaning, paint};
use crate::output::wrap::hanging;
use crate::output::{habits, json, note};

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    code: &'a str,
    message: &'a str,
    facts: &'a [String],
    hint: Option<&'a str>,
    exit: u8,
    retry: bool,
}

/// Shows a failure and tells the exit status.
pub fn report(failure: &Failure, as_json: bool, colour: bool) -> ExitCode {
    note(&if as_json {
        as_document(failure)
    } else {
        as_text(failure, colour)
    });
    ExitCode::from(failure.exit.code())
}

/// Exit status of Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Ctrl-C before anything was asked of a coordinator.
pub fn interrupted_early(as_json: bool) -> u8 {
    let failure = Failure::new("interrupted", "interrupted: nothing was submitted");
    note(&if as_json {
        with_exit(&failure, INTERRUPTED)
    } else {
        failure.message
    });
    INTERRUPTED
}

/// Says that an operation goes on after Ctrl-C, and how to follow it; tells the exit status.
pub fn interrupted(operation: Option<u64>, as_json: bool, colour: bool) -> u8 {
    let failure = match operation {
        Some(id) => Failure::new("interrupted", format!("interrupted: operation {id} goes on")).hint(format!(
            "follow it: clusterctl ops watch {id}; stop it: clusterctl ops cancel {id}"
        )),
        None => Failure::new("interrupted", "interrupted before the coordinator answered")
            .hint("see whether it was submitted: clusterctl ops list"),
    };
    if as_json {
        note(&with_exit(&failure, INTERRUPTED));
    } else {
        let hint = failure.hint.as_deref().unwrap_or_default();
        note(&format!(
            "{}\n{} {hint}",
            failure.message,
            paint(colour, Meaning::Strong, "hint:")
        ));
    }
    INTERRUPTED
}

/// One line, so that a script finds it as the last line of stderr.
pub fn as_document(failure: &Failure) -> String {
    with_exit(failure, failure.exit.code())
}

fn with_exit(failure: &Failure, exit: u8) -> String {
    let error = ErrorFields {
        code: &failure.code,
        message: &failure.message,
        facts: &failure.facts,
        hint: failure.hint.as_deref(),
        exit,
        retry: failure.retry,
    };
    json::to_text(ErrorBody { error }, false)
}

/// `error: …`, facts indented, `hint: …`.
pub fn as_text(failure: &Failure, colour: bool) -> String {
    let mut text = format!(
        "{} {}",
        paint(colour, Meaning::Bad, "error:"),
        hanging(&failure.message, 7, None)
    );
    for fact in &failure.facts {
        text.push_str("\n  ");
        text.push_str(&hanging(fact, 2, None));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!(
            "\n{} {}",
            paint(colour, Meaning::Strong, "hint:"),
            hanging(hint, 6, None)
        ));
    }
    text
}

/// What clap has to say: help and versions on stdout, mistakes on stderr with exit status 2.
pub fn usage(err: &clap::Error) -> ExitCode {
    if !err.use_stderr() {
        // `--help | head` must not panic.
        let rendered = err.render();
        let text = if std::io::stdout().is_terminal() {
            rendered.ansi().to_string()
        } else {
            rendered.to_string()
        };
        super::data(&text);
        return ExitCode::SUCCESS;
    }
    if let Some(failure) = habits::explain(err) {
        return report(&failure, json_was_asked_for(), std::io::stderr().is_terminal());
    }
    if json_was_asked_for() {
        let text = err.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        let (message, rest) = message.split_once("\n\n").unwrap_or((message, ""));
        let mut failure = Failure::new("usage", one_line(message)).exit(clusterctl_proto::failure::ExitClass::Usage);
        failure.facts = rest
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        return report(&failure, true, false);
    }
    let rendered = err.render();
    let text = if std::io::stderr().is_terminal() {
        rendered.ansi().to_string()
    } else {
        rendered.to_string()
    };
    note(&text);
    ExitCode::from(2)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The command line did not parse, so the format is looked for by hand.
fn json_was_asked_for() -> bool {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = args
        .iter()
        .any(|arg| matches!(arg.as_str(), "-ojson" | "-o=json" | "--output=json"));
    let apart = args
        .windows(2)
        .any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json");
    named || apart || std::env::var("CLUSTERCTL_OUTPUT").is_ok_and(|value| value == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::refused("not_enrolled", "host node9 is not known")
            .fact("known hosts: node1, node2")
            .hint("enrol it first: clusterctl token create --role db")
    }

    #[test]
    fn a_person_reads_error_facts_hint() {
        assert_eq!(
            as_text(&failure(), false),
            "error: host node9 is not known\n  known hosts: node1, node2\nhint: enrol it first: clusterctl token create --role db"
        );
    }

    #[test]
    fn a_script_reads_code_and_exit() {
        let parsed: serde_json::Value = serde_json::from_str(&as_document(&failure())).unwrap();
        assert_eq!(parsed["apiVersion"], "clusterctl/v1");
        assert_eq!(parsed["error"]["code"], "not_enrolled");
        assert_eq!(parsed["error"]["exit"], 3);
        assert_eq!(parsed["error"]["facts"][0], "known hosts: node1, node2");
    }
}
