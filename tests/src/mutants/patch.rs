//! A planted fault: a head that names the rule it breaks and the test that finds it, and a unified diff. Pure.
//!
//! Read by `mutants`. Unlike patch(1) it takes no fuzz: a hunk applies where all its lines stand, wherever that is in the file. If they
//! stand in several places, the one at the stated line counts. It must never guess.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo_test::CargoTest;

/// A planted fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// The name of its file, without `.patch`.
    pub name: String,
    /// The rule that it breaks.
    pub rule: String,
    /// The command that is expected to fail.
    pub found_by: CargoTest,
    files: Vec<FilePatch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FilePatch {
    path: String,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk {
    /// Where its first line stood, counted from 0.
    at: usize,
    old: Vec<String>,
    new: Vec<String>,
}

impl Mutant {
    /// Reads `# rule:`, `# found-by:` and the diff.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let head = |key: &str| {
            let start = format!("# {key}:");
            let found = text.lines().find_map(|line| line.strip_prefix(&start));
            let value = found.map(str::trim).filter(|value| !value.is_empty());
            value
                .map(str::to_owned)
                .with_context(|| format!("{name}: there is no line `{start} …`"))
        };
        let found_by = CargoTest::parse(&head("found-by")?).with_context(|| format!("{name}: found-by"))?;
        let files = diff(text).with_context(|| format!("{name} is not a unified diff"))?;
        ensure!(!files.is_empty(), "{name} changes no file");
        Ok(Self {
            name: name.to_owned(),
            rule: head("rule")?,
            found_by,
            files,
        })
    }

    /// Every changed file with its new content; `read` gives the old content of a path.
    pub fn apply(&self, read: impl Fn(&str) -> Result<String>) -> Result<BTreeMap<String, String>> {
        let mut changed = BTreeMap::new();
        for file in &self.files {
            let text = read(&file.path).with_context(|| format!("it changes {}", file.path))?;
            let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
            let mut moved = 0;
            for (hunk, number) in file.hunks.iter().zip(1..) {
                let at = find(&lines, &hunk.old, hunk.at.saturating_add_signed(moved))
                    .with_context(|| format!("hunk {number} of {} (line {})", file.path, hunk.at + 1))?;
                lines.splice(at..at + hunk.old.len(), hunk.new.iter().cloned());
                moved += hunk.new.len().cast_signed() - hunk.old.len().cast_signed();
            }
            changed.insert(file.path.clone(), lines.join("\n"));
        }
        Ok(changed)
    }
}

/// Where these lines stand.
fn find(lines: &[String], old: &[String], expected: usize) -> Result<usize> {
    let places: Vec<usize> = lines
        .windows(old.len().max(1))
        .enumerate()
        .filter_map(|(at, window)| (window == old).then_some(at))
        .collect();
    match places[..] {
        [only] => Ok(only),
        [] => bail!("its lines are not in the file any more"),
        _ if places.contains(&expected) => Ok(expected),
        _ => bail!("its lines stand in {} places: give it more context", places.len()),
    }
}

fn diff(text: &str) -> Result<Vec<FilePatch>> {
    let mut files: Vec<FilePatch> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(path) = line.strip_prefix("+++ ") {
            let path = path.split('\t').next().unwrap_or_default();
            let (_, path) = path
                .split_once('/')
                .with_context(|| format!("`{path}` has no prefix like b/"))?;
            files.push(FilePatch {
                path: path.to_owned(),
                hunks: Vec::new(),
            });
        } else if let Some(range) = line.strip_prefix("@@ -") {
            let file = files.last_mut().context("a hunk comes before its file")?;
            file.hunks.push(hunk(range, &mut lines)?);
        }
    }
    Ok(files)
}

/// The lines after `@@ -3,7 +3,6 @@`.
fn hunk<'a>(range: &str, lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Hunk> {
    let sides = range.split(" @@").next().and_then(|range| range.split_once(" +"));
    let (before, after) = sides.with_context(|| format!("`@@ -{range}` is cut off"))?;
    let (at, mut old_left) = counts(before)?;
    let (_, mut new_left) = counts(after)?;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    while old_left > 0 || new_left > 0 {
        let line = lines.next().context("the last hunk is cut off")?;
        let (mark, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
        let (is_old, is_new) = match mark {
            " " => (true, true),
            "-" => (true, false),
            "+" => (false, true),
            "\\" => continue,
            _ => bail!("`{line}` stands in a hunk"),
        };
        if is_old {
            old.push(rest.to_owned());
            old_left = old_left.checked_sub(1).context("a hunk has more lines than it says")?;
        }
        if is_new {
            new.push(rest.to_owned());
            new_left = new_left.checked_sub(1).context("a hunk has more lines than it says")?;
        }
    }
    ensure!(!old.is_empty(), "a hunk has no context: it would apply anywhere");
    Ok(Hunk {
        at: at.saturating_sub(1),
        old,
        new,
    })
}

/// `3,7` or `3`, which means `3,1`.
fn counts(text: &str) -> Result<(usize, usize)> {
    let (at, count) = text.trim().split_once(',').unwrap_or((text.trim(), "1"));
    let number = |word: &str| word.parse().with_context(|| format!("`{text}` is not a range"));
    Ok((number(at)?, number(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "# rule: a is one\n# found-by: cargo test -p x --lib a\n--- a/f.rs\n+++ b/f.rs\n@@ -2,2 +2,3 @@ fn x\n b\n-c\n+C\n+D\n";

    fn apply(patch: &str, text: &str) -> Result<String> {
        let mutant = Mutant::parse("m", patch)?;
        let mut changed = mutant.apply(|_| Ok(text.to_owned()))?;
        changed.remove("f.rs").context("f.rs")
    }

    #[test]
    fn a_hunk_applies_where_its_lines_stand() {
        assert_eq!(apply(PATCH, "a\nb\nc\nd\n").unwrap(), "a\nb\nC\nD\nd\n");
        assert_eq!(apply(PATCH, "new\nnew\na\nb\nc\n").unwrap(), "new\nnew\na\nb\nC\nD\n");
        assert_eq!(apply(PATCH, "b\nb\nc\nx\n").unwrap(), "b\nb\nC\nD\nx\n");
    }

    #[test]
    fn what_does_not_apply_is_refused() {
        let error = format!("{:#}", apply(PATCH, "a\nb\nz\n").unwrap_err());
        assert!(
            error.contains("hunk 1 of f.rs (line 2)") && error.contains("not in the file"),
            "{error}"
        );
        // Twice, and at the stated line: that one. Twice, and nowhere near: nothing is guessed.
        assert_eq!(apply(PATCH, "a\nb\nc\nb\nc\n").unwrap(), "a\nb\nC\nD\nb\nc\n");
        assert!(apply(PATCH, "b\nc\na\na\nb\nc\n").is_err());
    }

    #[test]
    fn later_hunks_follow_what_earlier_ones_moved() {
        let two = format!("{PATCH}@@ -4,1 +5,1 @@\n-x\n+y\n");
        assert_eq!(apply(&two, "x\nb\nc\nx\nx\n").unwrap(), "x\nb\nC\nD\ny\nx\n");
    }

    #[test]
    fn a_head_and_a_diff_are_needed() {
        for wrong in [
            PATCH.replace("# rule: a is one\n", ""),
            PATCH.replace("cargo test -p x --lib a", "make test"),
            PATCH.replace("+D\n", ""),
            PATCH.replace("@@ -2,2 +2,3 @@", "@@ -2,1 +2,3 @@"),
            "# rule: a\n# found-by: cargo test -p x\n".to_owned(),
        ] {
            assert!(Mutant::parse("m", &wrong).is_err(), "{wrong}");
        }
    }
}
