//! Every command that a message of ours names can be typed: it parses, as it stands, with names in its placeholders.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use crate::cli::Cli;

/// Where a command in a sentence ends.
const ENDS: [&str; 15] = [
    ";", ", ", ": ", "`", "(", ")", "\n", "…", " || ", " && ", " and ", " or ", " | ", " > ", " makes ",
];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, all);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            all.push(path);
        }
    }
}

/// String literals of a file, without its tests.
fn literals(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut all = Vec::new();
    for line in joined(text).lines() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let mut rest = line;
        while let Some(begin) = rest.find('"') {
            let mut end = begin + 1;
            let bytes = rest.as_bytes();
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let end = end.min(rest.len());
            all.push(rest[begin + 1..end].replace("\\n", "\n"));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    all
}

/// A literal may go on in the next line.
fn joined(text: &str) -> String {
    let mut all = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        all.push_str(&line);
        all.push('\n');
    }
    all
}

/// The commands that a sentence names.
fn commands(literal: &str, known: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for (place, _) in literal.match_indices("clusterctl ") {
        let whole_word = !literal[..place].ends_with(|c: char| c.is_alphanumeric() || c == '/' || c == '-' || c == '.');
        let rest = &literal[place..];
        let verb = rest.split(' ').nth(1).unwrap_or_default();
        let verb = verb.trim_end_matches([';', ',', ':', ')', '`']);
        // `clusterctl token create` in a sentence names the command; nobody is told to type it so.
        let named = literal[..place].ends_with('`') && rest.split('`').next().is_some_and(|text| !text.contains(" --"));
        if !whole_word || named || !known.iter().any(|name| name == verb) {
            continue;
        }
        let end = ENDS.iter().filter_map(|end| rest.find(end)).min();
        all.push(rest[..end.unwrap_or(rest.len())].trim_end().to_owned());
    }
    all
}

/// `clusterctl ops show {id}` with something in the place of `{id}`.
fn filled(command: &str) -> Vec<String> {
    let thing = if command.starts_with("clusterctl ops ") {
        "7"
    } else {
        "node7"
    };
    let mut text = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        text.push_str(thing);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let role = |words: &[String]| words.last().is_some_and(|last| last == "--role");
    let mut words: Vec<String> = Vec::new();
    let mut quoted = 0;
    for word in text.split_whitespace() {
        // 'new disks' is one.
        let inside = quoted % 2 == 1;
        quoted += word.matches('\'').count();
        if inside {
            continue;
        }
        let is_name = word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase());
        let word = match word {
            _ if role(&words) && (is_name || word == thing) && words.contains(&"token".to_owned()) => "db",
            _ if role(&words) && (is_name || word == thing) => "operator",
            _ if is_name => thing,
            _ => word,
        };
        words.push(word.replace('\'', ""));
    }
    words
}

#[test]
fn every_command_that_a_message_names_can_be_typed() {
    let known: Vec<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for part in ["agent", "coordinator", "ctl", "proto"] {
        sources(&root.join(part).join("src"), &mut files);
    }
    files.sort();
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for command in literals(&text).iter().flat_map(|literal| commands(literal, &known)) {
            seen += 1;
            if let Err(error) = Cli::try_parse_from(filled(&command)) {
                use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                if !matches!(error.kind(), DisplayHelp | DisplayVersion) {
                    let file = file.strip_prefix(root).unwrap().display().to_string();
                    let why = error.to_string();
                    wrong.push(format!("{file}: {command}: {}", why.lines().next().unwrap_or_default()));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}
