//! Colours, where a person looks at a terminal and did not ask for none.

use std::io::IsTerminal;

/// What a text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// All is well.
    Good,
    /// Look at it.
    Warning,
    /// It is wrong.
    Bad,
    /// A heading or a label.
    Strong,
    /// Less important.
    Faint,
}

/// Whether colours are wanted on this stream.
pub fn wanted(stream: &impl IsTerminal, no_color: bool) -> bool {
    let off_by_env = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && !off_by_env && stream.is_terminal() && !dumb_terminal()
}

/// A terminal that can neither colour nor move its cursor.
pub fn dumb_terminal() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

/// The text in the colour of its meaning, if `on`.
pub fn paint(on: bool, meaning: Meaning, text: &str) -> String {
    if !on || text.is_empty() {
        return text.to_owned();
    }
    let code = match meaning {
        Meaning::Good => "32",
        Meaning::Warning => "33",
        Meaning::Bad => "1;31",
        Meaning::Strong => "1",
        Meaning::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Colours whole words (between spaces or at an end) of a finished table, whose widths are settled by then.
pub fn words(on: bool, table: &str, meanings: &[(&str, Meaning)]) -> String {
    if !on {
        return table.to_owned();
    }
    let mut out = String::with_capacity(table.len() + 64);
    for piece in table.split_inclusive([' ', '\n']) {
        let word = piece.trim_end_matches([' ', '\n']);
        match meanings.iter().find(|(text, _)| *text == word) {
            Some((_, meaning)) => {
                out.push_str(&paint(true, *meaning, word));
                out.push_str(&piece[word.len()..]);
            }
            None => out.push_str(piece),
        }
    }
    out
}

/// Text from elsewhere (package managers, servers) without what could move the cursor or ring the bell.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_coloured() {
        let painted = words(true, "a fail failing\nfail", &[("fail", Meaning::Bad)]);
        assert_eq!(painted, "a \x1b[1;31mfail\x1b[0m failing\n\x1b[1;31mfail\x1b[0m");
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(clean("a\x1b[2Jb\rc"), "a [2Jb c");
    }
}
