//! The text of /etc/hosts: a pure function from what stands there to what should.
//!
//! Used by `steps/hosts_file.rs`. It owns the lines between its two markers and nothing else, but for one rule: a name of ours
//! on a loopback line (Debian's `127.0.1.1 node1`) is taken out there, other names of that line stay, and a comment says
//! so. It reads and writes no file.

use std::net::IpAddr;

use clusterctl_proto::observe::HostEntry;

/// Opens our block.
pub const BEGIN: &str = "# BEGIN clusterctl (this block is rewritten; keep your own lines outside of it)";
/// What a first marker is recognised by: the words in brackets may change.
const BEGIN_MARK: &str = "# BEGIN clusterctl";
/// Closes our block.
pub const END: &str = "# END clusterctl";

/// Why the file cannot be rewritten; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Markers that do not pair up.
    #[error("the markers of the clusterctl block do not pair up")]
    Damaged {
        /// Lines with an opening marker.
        begins: Vec<usize>,
        /// Lines with a closing marker.
        ends: Vec<usize>,
    },
    /// A line of somebody else's gives one of our names another address.
    #[error("line {line} gives {name} the address {found}")]
    Conflict {
        /// Where.
        line: usize,
        /// The name.
        name: String,
        /// The address there.
        found: String,
    },
}

/// Whether our block is there.
pub fn has_block(bytes: &[u8]) -> bool {
    decode(bytes).lines().any(|line| line.trim().starts_with(BEGIN_MARK))
}

/// The file as it should be. Without entries the block goes.
pub fn rewrite(bytes: &[u8], entries: &[HostEntry]) -> Result<Vec<u8>, HostsError> {
    let text = decode(bytes);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let newline = if lines.first().is_some_and(|line| line.ends_with("\r\n")) {
        "\r\n"
    } else {
        "\n"
    };
    let block = find_block(&lines)?;
    let mut out = String::with_capacity(text.len() + 256);
    let mut written = false;
    for (index, line) in lines.iter().enumerate() {
        match block {
            Some((begin, end)) if (begin..=end).contains(&index) => {
                if !written {
                    push_block(&mut out, entries, newline);
                    written = true;
                }
            }
            _ => out.push_str(&foreign_line(line, index + 1, entries)?),
        }
    }
    if !written && !entries.is_empty() {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str(newline);
        }
        push_block(&mut out, entries, newline);
    }
    Ok(encode(&out))
}

/// One character for each byte: a file in an old encoding comes out as it went in.
fn decode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn encode(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}

fn find_block(lines: &[&str]) -> Result<Option<(usize, usize)>, HostsError> {
    let find =
        |is: fn(&str) -> bool| -> Vec<usize> { (0..lines.len()).filter(|index| is(lines[*index].trim())).collect() };
    let begins = find(|line| line.starts_with(BEGIN_MARK));
    let ends = find(|line| line == END);
    match (begins.as_slice(), ends.as_slice()) {
        ([], []) => Ok(None),
        ([begin], [end]) if begin < end => Ok(Some((*begin, *end))),
        _ => Err(HostsError::Damaged {
            begins: begins.iter().map(|index| index + 1).collect(),
            ends: ends.iter().map(|index| index + 1).collect(),
        }),
    }
}

fn push_block(out: &mut String, entries: &[HostEntry], newline: &str) {
    if entries.is_empty() {
        return;
    }
    out.push_str(BEGIN);
    out.push_str(newline);
    for entry in entries {
        for address in &entry.addresses {
            out.push_str(&format!("{address} {}{newline}", entry.name));
        }
    }
    out.push_str(END);
    out.push_str(newline);
}

/// A line outside of our block: as it is, or without our names if it is a loopback line.
fn foreign_line(line: &str, number: usize, entries: &[HostEntry]) -> Result<String, HostsError> {
    let body = line.trim_end_matches(['\n', '\r']);
    let terminator = &line[body.len()..];
    let (data, comment) = match body.find('#') {
        Some(at) => body.split_at(at),
        None => (body, ""),
    };
    let mut fields = data.split_whitespace();
    let Some(address) = fields.next().and_then(|field| field.parse::<IpAddr>().ok()) else {
        return Ok(line.to_owned());
    };
    let mut ours = Vec::new();
    for name in fields {
        let Some(entry) = entries
            .iter()
            .find(|entry| entry.name.as_str().eq_ignore_ascii_case(name))
        else {
            continue;
        };
        if address.is_loopback() {
            ours.push(name);
        } else if !entry.addresses.contains(&address) {
            return Err(HostsError::Conflict {
                line: number,
                name: name.to_owned(),
                found: address.to_string(),
            });
        }
    }
    if ours.is_empty() {
        return Ok(line.to_owned());
    }
    let note = format!(
        "# clusterctl took out {}: it must resolve to its real address",
        ours.join(" ")
    );
    let kept = without(data, &ours);
    if kept.split_whitespace().count() < 2 {
        return Ok(format!("#{} {note}{terminator}", body.trim_end()));
    }
    Ok(format!("{} {note} {comment}", kept.trim_end()).trim_end().to_owned() + terminator)
}

/// The line without these words, each with the white space before it; all else as it was.
fn without(data: &str, words: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = data;
    while !rest.is_empty() {
        let gap = rest.len() - rest.trim_start().len();
        let word = rest[gap..].split(char::is_whitespace).next().unwrap_or("");
        let piece = &rest[..gap + word.len()];
        if !words.contains(&word) {
            out.push_str(piece);
        }
        rest = &rest[piece.len()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, addresses: &[&str]) -> HostEntry {
        HostEntry {
            name: name.parse().unwrap(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn three() -> Vec<HostEntry> {
        vec![
            entry("node1", &["10.0.0.1"]),
            entry("node2", &["10.0.0.2", "fd00::2"]),
            entry("node3", &["10.0.0.3"]),
        ]
    }

    fn after(text: &str, entries: &[HostEntry]) -> String {
        let once = rewrite(text.as_bytes(), entries).unwrap();
        assert_eq!(rewrite(&once, entries).unwrap(), once, "a second time changes nothing");
        String::from_utf8(once).unwrap()
    }

    const BLOCK: &str = "10.0.0.1 node1\n10.0.0.2 node2\nfd00::2 node2\n10.0.0.3 node3\n# END clusterctl\n";

    #[test]
    fn a_block_is_appended_and_the_rest_stays() {
        let old = "127.0.0.1\tlocalhost\n::1  ip6-localhost # v6\n\n# mine\n10.9.9.9 other\n";
        assert_eq!(after(old, &three()), format!("{old}{BEGIN}\n{BLOCK}"));
        assert_eq!(after("", &three()), format!("{BEGIN}\n{BLOCK}"));
        assert!(has_block(after(old, &three()).as_bytes()));
        assert!(!has_block(old.as_bytes()));
    }

    #[test]
    fn a_block_is_replaced_where_it_stands_and_goes_without_entries() {
        let old = "a\n# BEGIN clusterctl\n10.0.0.9 gone\n# END clusterctl\nz";
        assert_eq!(after(old, &three()), format!("a\n{BEGIN}\n{BLOCK}z"));
        assert_eq!(after(old, &[]), "a\nz");
        assert_eq!(after("a", &[]), "a", "no newline is added for nothing");
    }

    #[test]
    fn a_last_line_without_newline_gets_one() {
        assert_eq!(
            after("127.0.0.1 localhost", &three()),
            format!("127.0.0.1 localhost\n{BEGIN}\n{BLOCK}")
        );
    }

    #[test]
    fn carriage_returns_and_old_encodings_are_kept() {
        let text = after("127.0.0.1 localhost\r\n", &three());
        assert!(text.starts_with("127.0.0.1 localhost\r\n# BEGIN"));
        assert!(text.lines().count() == 7 && text.matches("\r\n").count() == 7);
        let latin1 = b"# B\xfcro\n10.1.1.1 drucker # \xe4\n";
        let out = rewrite(latin1, &three()).unwrap();
        assert!(out.starts_with(latin1));
    }

    #[test]
    fn our_name_leaves_loopback_lines_and_others_stay() {
        let note = "# clusterctl took out node1: it must resolve to its real address";
        for (old, new) in [
            ("127.0.1.1 node1\n", format!("#127.0.1.1 node1 {note}\n")),
            (
                "127.0.1.1\tnode1.example.com\tnode1\n",
                format!("127.0.1.1\tnode1.example.com {note}\n"),
            ),
            (
                "127.0.0.1 node1 localhost  # why\n",
                format!("127.0.0.1 localhost {note} # why\n"),
            ),
            ("127.0.1.1 node10 mynode1\n", "127.0.1.1 node10 mynode1\n".to_owned()),
            ("# 127.0.1.1 node1\n", "# 127.0.1.1 node1\n".to_owned()),
            ("::1 node1\r\n", format!("#::1 node1 {note}\r\n")),
        ] {
            assert!(
                after(old, &three()).starts_with(&new),
                "{old:?} -> {:?}",
                after(old, &three())
            );
        }
    }

    #[test]
    fn a_right_line_of_somebody_else_is_left_and_a_wrong_one_is_told() {
        let right = "10.0.0.2 node2 db2\n";
        assert!(after(right, &three()).starts_with(right));
        let error = rewrite(b"# x\n10.7.7.7 db node3\n", &three()).unwrap_err();
        let expected = HostsError::Conflict {
            line: 2,
            name: "node3".into(),
            found: "10.7.7.7".into(),
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn damaged_markers_are_told_with_their_lines() {
        for (text, begins, ends) in [
            ("# BEGIN clusterctl\n", vec![1], vec![]),
            ("# END clusterctl\n", vec![], vec![1]),
            ("# END clusterctl\n# BEGIN clusterctl\n", vec![2], vec![1]),
            (
                "# BEGIN clusterctl\n# BEGIN clusterctl\n# END clusterctl\n",
                vec![1, 2],
                vec![3],
            ),
        ] {
            assert_eq!(
                rewrite(text.as_bytes(), &three()),
                Err(HostsError::Damaged { begins, ends }),
                "{text}"
            );
        }
    }
}
