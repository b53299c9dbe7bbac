//! The layout of `why`: the verdict of a cluster, then a block for each trouble.

use clusterctl_proto::wire::control::{ClusterExplained, Evidence, Trouble};

use crate::commands::status;
use crate::output::paint::{self, Meaning};
use crate::output::wrap::hanging;
use crate::units;

/// How it is printed.
#[derive(Clone, Copy, Default)]
pub struct Look {
    /// With codes, states and absolute times.
    pub wide: bool,
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal; none: nothing is wrapped.
    pub width: Option<usize>,
}

/// Where the texts begin, behind the longest label.
const COLUMN: usize = 11;

/// Evidence lines up its witnesses behind the texts, unless one is longer than this.
const WIDEST_EVIDENCE: usize = 64;

/// Every cluster, a blank line between them. `host`: the one that was asked for, or empty.
pub fn clusters(clusters: &[ClusterExplained], host: &str, look: Look) -> String {
    let texts: Vec<String> = clusters.iter().map(|cluster| one(cluster, host, look)).collect();
    texts.join("\n")
}

fn one(cluster: &ClusterExplained, host: &str, look: Look) -> String {
    let mut text = status::text::verdict(&cluster.cluster, &cluster.verdict, &cluster.state, look.colour);
    text.push('\n');
    if cluster.troubles.is_empty() {
        text.push_str(&no_trouble(&cluster.state, host));
        text.push('\n');
    }
    for trouble in &cluster.troubles {
        text.push('\n');
        text.push_str(&block(trouble, look));
    }
    text
}

/// True also beside a verdict that is not good.
fn no_trouble(state: &str, host: &str) -> String {
    match (state, host) {
        ("ok" | "", "") => "nothing is wrong".to_owned(),
        (_, "") => "nothing else is known".to_owned(),
        ("unknown", host) => format!("nothing is known to be wrong with {host}"),
        (_, host) => format!("nothing is wrong with {host}"),
    }
}

fn block(trouble: &Trouble, look: Look) -> String {
    let mut text = heading(trouble, look);
    let seen = evidence(&trouble.evidence, look);
    for (index, line) in seen.iter().enumerate() {
        let label = if index == 0 { "seen:" } else { "" };
        text.push_str(&labelled(label, Meaning::Faint, line, look));
    }
    // What is worse stands out.
    let meaning = match trouble.state.as_str() {
        "healing" => Meaning::Good,
        "blocked" => Meaning::Bad,
        _ => Meaning::Warning,
    };
    text.push_str(&labelled("doing:", meaning, &trouble.doing, look));
    text.push_str(&labelled("unlock:", Meaning::Strong, &trouble.unlock, look));
    // Never wrapped: it is there to be copied.
    let command = Look { width: None, ..look };
    text.push_str(&labelled("command:", Meaning::Strong, &trouble.command, command));
    text
}

/// `node3: is not in the group`: the subject is not said twice.
fn heading(trouble: &Trouble, look: Look) -> String {
    let subject = paint::clean(&trouble.subject);
    let wrong = trouble.wrong.trim();
    let wrong = match wrong.strip_prefix(subject.as_str()) {
        Some(rest) if rest.starts_with([' ', ':']) && !subject.is_empty() => rest.trim_start_matches([' ', ':']),
        _ => wrong,
    };
    let known_as: Vec<&str> = [trouble.code.as_str(), trouble.state.as_str()]
        .into_iter()
        .filter(|word| look.wide && !word.is_empty())
        .collect();
    let mut sentence = wrong.to_owned();
    if !known_as.is_empty() {
        sentence.push_str(&format!("  ({})", known_as.join(", ")));
    }
    let lines = hanging(&format!("{subject}: {sentence}"), 2, look.width);
    match lines.strip_prefix(subject.as_str()) {
        Some(rest) => format!("{}{rest}\n", paint::paint(look.colour, Meaning::Strong, &subject)),
        None => format!("{lines}\n"),
    }
}

/// A label and its text; nothing where there is no text.
fn labelled(label: &str, meaning: Meaning, text: &str, look: Look) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let blanks = " ".repeat(COLUMN - 2 - label.len());
    format!(
        "  {}{blanks}{}\n",
        paint::paint(look.colour, meaning, label),
        hanging(text, COLUMN, look.width)
    )
}

/// A line for each, who saw it in a column of its own where there is room for one.
fn evidence(all: &[Evidence], look: Look) -> Vec<String> {
    let letters = |text: &str| text.chars().count();
    let witnesses: Vec<String> = all.iter().map(|one| witness(one, look.wide)).collect();
    let widest = all.iter().map(|one| letters(one.text.trim())).max().unwrap_or(0);
    let longest = witnesses.iter().map(|text| letters(text)).max().unwrap_or(0);
    let one_line_each = all.iter().all(|one| !one.text.trim().contains('\n'));
    let room = look.width.is_none_or(|width| COLUMN + widest + 2 + longest <= width);
    let aligned = one_line_each && room && widest <= WIDEST_EVIDENCE;
    let line = |(one, witness): (&Evidence, &String)| match one.text.trim() {
        text if witness.is_empty() => text.to_owned(),
        text if aligned => format!("{text:<widest$}  {witness}"),
        text => format!("{text}  {witness}"),
    };
    all.iter().zip(&witnesses).map(line).collect()
}

/// `(agent/node3, 1.2s ago, certain)`.
fn witness(one: &Evidence, wide: bool) -> String {
    let age = match (one.at.as_str(), one.age_ms) {
        ("", _) => "never seen".to_owned(),
        (_, 0) => "now".to_owned(),
        (_, age) => format!("{} ago", units::elapsed(age)),
    };
    let at = if wide { one.at.as_str() } else { "" };
    let words = [one.who.as_str(), &age, at, one.certainty.as_str()];
    let said: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("({})", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, who: &str, age_ms: u64, certainty: &str) -> Evidence {
        Evidence {
            text: text.to_owned(),
            who: who.to_owned(),
            at: "2026-05-01T03:00:07Z".to_owned(),
            certainty: certainty.to_owned(),
            age_ms,
        }
    }

    fn out_of_the_group() -> Trouble {
        Trouble {
            subject: "node3".to_owned(),
            wrong: "node3 is not in the group".to_owned(),
            evidence: vec![
                seen(
                    "mysqld runs, OFFLINE, out of every group",
                    "agent/node3",
                    1_200,
                    "certain",
                ),
                seen("its row is missing in the view", "agent/node1", 800, "certain"),
            ],
            state: "healing".to_owned(),
            doing: "rejoining it: operation 42, attempt 2 follows in 4 s".to_owned(),
            command: "clusterctl ops watch 42".to_owned(),
            code: "member_out".to_owned(),
            operation: 42,
            ..Trouble::default()
        }
    }

    fn prod(state: &str, troubles: Vec<Trouble>) -> ClusterExplained {
        ClusterExplained {
            cluster: "prod".to_owned(),
            verdict: "prod: 2 of 3 members ONLINE".to_owned(),
            state: state.to_owned(),
            troubles,
        }
    }

    #[test]
    fn the_layout_is_verdict_then_a_block_for_each_trouble() {
        let blocked = Trouble {
            subject: "prod".to_owned(),
            wrong: "node2 holds transactions that nobody else has".to_owned(),
            evidence: vec![Evidence {
                text: "agent of node2".to_owned(),
                certainty: "unknown".to_owned(),
                ..Evidence::default()
            }],
            state: "blocked".to_owned(),
            doing: "nothing: they would be lost".to_owned(),
            unlock: "decide whether they are needed".to_owned(),
            command: "clusterctl join node2 --recovery clone".to_owned(),
            ..Trouble::default()
        };
        let expected = "\
prod: 2 of 3 members ONLINE

node3: is not in the group
  seen:    mysqld runs, OFFLINE, out of every group  (agent/node3, 1.2s ago, certain)
           its row is missing in the view            (agent/node1, 800ms ago, certain)
  doing:   rejoining it: operation 42, attempt 2 follows in 4 s
  command: clusterctl ops watch 42

prod: node2 holds transactions that nobody else has
  seen:    agent of node2  (never seen, unknown)
  doing:   nothing: they would be lost
  unlock:  decide whether they are needed
  command: clusterctl join node2 --recovery clone
";
        let cluster = prod("degraded", vec![out_of_the_group(), blocked]);
        assert_eq!(clusters(&[cluster], "", Look::default()), expected);
    }

    #[test]
    fn wide_adds_code_state_and_times() {
        let look = Look {
            wide: true,
            ..Look::default()
        };
        let text = clusters(&[prod("degraded", vec![out_of_the_group()])], "node3", look);
        assert!(
            text.contains("\nnode3: is not in the group  (member_out, healing)\n"),
            "{text}"
        );
        assert!(
            text.contains("(agent/node1, 800ms ago, 2026-05-01T03:00:07Z, certain)"),
            "{text}"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_all_but_the_command() {
        let mut trouble = out_of_the_group();
        trouble.command = "clusterctl recover prod --without node3 --accept-loss 7f3a".to_owned();
        let look = Look {
            width: Some(50),
            ..Look::default()
        };
        let expected = "\
node3: is not in the group
  seen:    mysqld runs, OFFLINE, out of every
           group (agent/node3, 1.2s ago, certain)
           its row is missing in the view
           (agent/node1, 800ms ago, certain)
  doing:   rejoining it: operation 42, attempt 2
           follows in 4 s
  command: clusterctl recover prod --without node3 --accept-loss 7f3a
";
        assert_eq!(block(&trouble, look), expected);
    }

    #[test]
    fn without_troubles_it_says_no_more_than_is_known() {
        let line = |state: &str, host: &str| {
            let text = clusters(&[prod(state, Vec::new())], host, Look::default());
            text.lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(line("ok", ""), "nothing is wrong");
        assert_eq!(line("degraded", "node3"), "nothing is wrong with node3");
        assert_eq!(line("unknown", "node3"), "nothing is known to be wrong with node3");
        assert_eq!(line("unknown", ""), "nothing else is known");
    }

    #[test]
    fn a_name_that_only_begins_like_the_subject_stays() {
        let trouble = Trouble {
            subject: "node1".to_owned(),
            wrong: "node10 does not answer".to_owned(),
            ..Trouble::default()
        };
        assert_eq!(block(&trouble, Look::default()), "node1: node10 does not answer\n");
    }
}
