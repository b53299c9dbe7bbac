//! Literals and names inside statements that take no parameters (accounts, SET, GRANT, CLONE).
//!
//! Valid for the session settings of `conn.rs`: utf8mb4, no ANSI_QUOTES, no NO_BACKSLASH_ESCAPES.

/// A string literal in single quotes.
pub fn text(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('\'');
    for character in value.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name in backticks. A NUL, which no name can hold, is left out.
pub fn name(value: &str) -> String {
    format!("`{}`", value.replace('\0', "").replace('`', "``"))
}

/// An account, `'user'@'host'`.
pub fn account(user: &str, from: &str) -> String {
    format!("{}@{}", text(user), text(from))
}

/// A schema in a GRANT, where `_` and `%` would stand for any character; with `partial_revokes` they do not.
pub fn granted_schema(value: &str, partial_revokes: bool) -> String {
    if partial_revokes {
        name(value)
    } else {
        name(&value.replace('_', "\\_").replace('%', "\\%"))
    }
}

/// A system variable's name, checked: nothing but letters, digits, `_` and one dot.
pub fn variable(value: &str) -> Option<&str> {
    let ok = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        && value.bytes().filter(|b| *b == b'.').count() <= 1;
    ok.then_some(value)
}

/// The value of a system variable in a SET: numbers and the words that SET knows bare, anything else as a literal.
pub fn setting(value: &str) -> String {
    let number = !value.is_empty()
        && value.len() < 20
        && value
            .strip_prefix('-')
            .unwrap_or(value)
            .bytes()
            .all(|b| b.is_ascii_digit())
        && value != "-";
    let decimal = value.split_once('.').is_some_and(|(a, b)| {
        [a, b]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    });
    let word = ["ON", "OFF", "TRUE", "FALSE", "DEFAULT"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    if number || decimal || word {
        value.to_owned()
    } else {
        text(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(text("it's \\ here"), "'it''s \\\\ here'");
        assert_eq!(text("a\0b"), "'a\\0b'");
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(account("app", "%"), "'app'@'%'");
        assert_eq!(
            account("x'; DROP USER root; -- ", "%"),
            "'x''; DROP USER root; -- '@'%'"
        );
    }

    #[test]
    fn a_granted_schema_is_no_pattern() {
        assert_eq!(granted_schema("app_db", false), "`app\\_db`");
        assert_eq!(granted_schema("app_db", true), "`app_db`");
    }

    #[test]
    fn settings_are_typed() {
        assert_eq!(setting("20"), "20");
        assert_eq!(setting("-1"), "-1");
        assert_eq!(setting("0.5"), "0.5");
        assert_eq!(setting("on"), "on");
        assert_eq!(setting(""), "''");
        assert_eq!(setting("node1:3306"), "'node1:3306'");
        assert_eq!(setting("10.0.0.1"), "'10.0.0.1'");
        assert_eq!(setting("-"), "'-'");
    }

    #[test]
    fn a_variable_name_is_checked() {
        assert_eq!(
            variable("group_replication_group_seeds"),
            Some("group_replication_group_seeds")
        );
        assert_eq!(variable("mysqlx.port"), Some("mysqlx.port"));
        assert_eq!(variable("a=1, b"), None);
        assert_eq!(variable(""), None);
    }
}
