//! Every statement in the agent's sources is known: one that is added there and not here fails this test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mysqld::statements::is_known;

/// Beginnings of statements.
const VERBS: [&str; 22] = [
    "SELECT ",
    "SET ",
    "START ",
    "STOP ",
    "INSERT INTO",
    "INSTALL ",
    "UPDATE ",
    "DELETE FROM",
    "CREATE ",
    "DROP ",
    "ALTER ",
    "GRANT ",
    "KILL ",
    "CLONE INSTANCE",
    "RESET ",
    "CHANGE ",
    "SHOW ",
    "REPLACE INTO",
    "COMMIT",
    "ROLLBACK",
    "USE ",
    "PURGE ",
];

/// What only people are told to type, and parts that are put together with others.
const NO_STATEMENTS: [&str; 8] = [
    "SHOW CREATE USER",
    "SELECT * FROM",
    "ALTER TABLE",
    "START GROUP_REPLICATION:",
    "CREATE TEMPORARY TABLES",
    "SHOW VIEW",
    "ALTER ROUTINE",
    "CREATE ROUTINE",
];

#[test]
fn the_agents_statements_are_known() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agent/src");
    let mut unknown = Vec::new();
    let mut seen = 0;
    for path in sources(&agent) {
        let text = fs::read_to_string(&path).unwrap();
        let statements = if path.extension().is_some_and(|end| end == "sql") {
            parts(&text)
        } else {
            literals(text.split("#[cfg(test)]\nmod tests {").next().unwrap())
        };
        for statement in statements.into_iter().filter(|text| is_statement(text)) {
            seen += 1;
            for one in statement.split("; ") {
                if !is_known(&filled(one)) {
                    unknown.push(format!("{}: {one}", path.display()));
                }
            }
        }
    }
    assert!(seen > 100, "{seen} statements found");
    assert!(
        unknown.is_empty(),
        "{} of {seen}:\n{}",
        unknown.len(),
        unknown.join("\n")
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_test = name.contains("test") || name == "fake.rs" || name == "guards.rs";
        if path.is_dir() {
            found.extend(sources(&path));
        } else if !is_test && (name.ends_with(".rs") || name.ends_with(".sql")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A .sql file of the metadata schema is cut at `$$`.
fn parts(text: &str) -> Vec<String> {
    let plain: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("--") && !line.starts_with("DELIMITER"))
        .collect();
    let all = plain.join("\n");
    all.split("\n$$").map(|part| part.trim().replace("; ", ";\n")).collect()
}

fn is_statement(text: &str) -> bool {
    let is_one = VERBS.iter().any(|verb| text.starts_with(verb)) && text.len() > 6;
    let is_right = matches!(text, "CREATE USER" | "CREATE VIEW");
    is_one && !is_right && !NO_STATEMENTS.iter().any(|head| text.starts_with(head))
}

/// String literals of a source, with escapes and continued lines resolved.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line_or_more in source.split('"').enumerate().skip(1).step_by(2).map(|(_, text)| text) {
        let mut text = String::new();
        let mut characters = line_or_more.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\\' && characters.peek() == Some(&'\n') {
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
            } else {
                text.push(character);
            }
        }
        found.push(text);
    }
    found
}

/// With something in the places of a format string.
fn filled(statement: &str) -> String {
    let names = [
        ("{SCHEMA}", "mysql_innodb_cluster_metadata"),
        ("{VERIFY}", "clusterctl_verify"),
        ("{RECOVERY_CHANNEL}", "group_replication_recovery"),
        ("{APPLIER_CHANNEL}", "group_replication_applier"),
        ("{UNDER_WAY}", "processlist_info REGEXP 'x'"),
        ("{function}", "service_get_write_locks"),
        ("{who}", "'x'@'x'"),
        ("{SYSTEM}", "'mysql'"),
        ("{verb}", "GLOBAL"),
        ("{identified}", "IDENTIFIED WITH caching_sha2_password AS 0xAB"),
    ];
    let mut text = statement.to_owned();
    for (name, value) in names {
        text = text.replace(name, value);
    }
    let other = if text.starts_with("SELECT") || text.starts_with("SET") {
        "1"
    } else {
        "'x'@'x'"
    };
    let mut whole = String::new();
    let mut inside = false;
    for character in text.chars() {
        match character {
            '{' => inside = true,
            '}' if inside => {
                inside = false;
                whole.push_str(other);
            }
            _ if inside => {}
            other => whole.push(other),
        }
    }
    whole
}
