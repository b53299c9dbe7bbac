//! A label and the text behind it: what does not fit goes on below the text, not below the label.

use super::paint;

/// Below this nothing is wrapped: a text in a strip of a few letters cannot be read.
const NARROWEST: usize = 24;

/// The lines of a text that begins at this column; the first one without the blanks before it. No width: only the line ends
/// that the text has.
pub fn hanging(text: &str, column: usize, width: Option<usize>) -> String {
    let room = width
        .map(|width| width.saturating_sub(column))
        .filter(|room| *room >= NARROWEST);
    let text = paint::clean(text.trim_end());
    let lines: Vec<String> = text.lines().flat_map(|line| fold(line.trim_end(), room)).collect();
    lines.join(&format!("\n{}", " ".repeat(column)))
}

/// A word that is longer than the room stays whole: it may be a command or a set of transactions, to be copied.
fn fold(line: &str, room: Option<usize>) -> Vec<String> {
    let fits = |text: &str| room.is_none_or(|room| text.chars().count() <= room);
    if fits(line) {
        return vec![line.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in line.split_whitespace() {
        let last = lines.len() - 1;
        let longer = match lines[last].as_str() {
            "" => word.to_owned(),
            begun => format!("{begun} {word}"),
        };
        if lines[last].is_empty() || fits(&longer) {
            lines[last] = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_below_the_text() {
        assert_eq!(
            hanging("one two three four five six seven", 4, Some(28)),
            "one two three four five\n    six seven"
        );
        assert_eq!(hanging("one\ntwo\n", 4, None), "one\n    two");
    }

    #[test]
    fn a_long_word_and_a_narrow_strip_stay_whole() {
        let set = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        assert_eq!(
            hanging(&format!("only it holds {set}"), 2, Some(30)),
            format!("only it holds\n  {set}")
        );
        assert_eq!(hanging("a b c d e f g h", 10, Some(12)), "a b c d e f g h");
    }
}
