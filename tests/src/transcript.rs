//! What `cargo lab up` types after the installation: the story of a DBA on bare metal, as data.
//!
//! Called by `cli`. Each line is shown with its prompt before it runs and its output as it comes. It must
//! never show a token that it hands from one command to the next.

use anyhow::{Result, ensure};

use crate::error::hinted;
use crate::lab::Lab;

/// Where a command's stdin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdin {
    Nothing,
    /// The first line the last command with [`Line::capture`] printed.
    Captured,
}

/// One command of the story.
#[derive(Debug, Clone, Copy)]
struct Line {
    host: &'static str,
    user: &'static str,
    command: &'static str,
    stdin: Stdin,
    /// Keep the first line of stdout for the next command instead of showing it.
    capture: bool,
}

const fn typed(host: &'static str, user: &'static str, command: &'static str) -> Line {
    Line {
        host,
        user,
        command,
        stdin: Stdin::Nothing,
        capture: false,
    }
}

const fn token(command: &'static str) -> Line {
    Line {
        host: "node1",
        user: "root",
        command,
        stdin: Stdin::Nothing,
        capture: true,
    }
}

const fn enroll(host: &'static str) -> Line {
    let command = "clusterctl-agent enroll --token-file -";
    Line {
        host,
        user: "root",
        command,
        stdin: Stdin::Captured,
        capture: false,
    }
}

const STORY: [Line; 16] = [
    typed("node1", "root", "clusterctl init"),
    token("clusterctl token create --role db"),
    enroll("node2"),
    token("clusterctl token create --role db"),
    enroll("node3"),
    token("clusterctl token create --role router"),
    enroll("router1"),
    typed("node1", "admin", "clusterctl hosts"),
    typed("node1", "admin", "clusterctl check node1 node2 node3"),
    typed("node1", "admin", "clusterctl create prod --primary node1"),
    typed("node1", "admin", "clusterctl join node2"),
    typed("node1", "admin", "clusterctl join node3"),
    typed("node1", "admin", "clusterctl router add router1"),
    typed("node1", "admin", "clusterctl account create app --database appdb"),
    typed("node1", "admin", "clusterctl status"),
    typed("node1", "admin", "clusterctl verify"),
];

/// Types the whole story; stops at the first command that fails.
pub(crate) fn play(lab: &Lab) -> Result<()> {
    let mut captured = None;
    for line in STORY {
        let sign = if line.user == "root" {
            format!("{}#", line.host)
        } else {
            format!("{}$", line.user)
        };
        println!("\n{sign:<8} {}", line.command);
        let argv: Vec<_> = line.command.split_whitespace().collect();
        let input = match line.stdin {
            Stdin::Nothing => String::new(),
            Stdin::Captured => format!("{}\n", captured.take().unwrap_or_default()),
        };
        let status = if line.capture {
            let output = lab.exec(line.host, line.user, &argv, &input)?;
            eprint!("{}", output.stderr);
            let first = output.stdout.lines().next().unwrap_or_default();
            println!("(a token; it goes to the next command's stdin)");
            captured = Some(first.to_owned());
            output.status
        } else {
            lab.stream(line.host, line.user, &argv, Some(&input))?
        };
        ensure!(
            status == 0,
            hinted(
                format!("`{}` on {} ended with exit status {status}", line.command, line.host),
                format!(
                    "the lab stands: `cargo lab --name {} shell {}`; `cargo lab up` goes on",
                    lab.name(),
                    line.host
                )
            )
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enrolment_has_a_token_of_its_own() {
        let mut tokens = 0;
        for line in STORY {
            match line.stdin {
                Stdin::Captured => {
                    tokens -= 1;
                    assert_eq!(tokens, 0, "{}", line.command);
                }
                Stdin::Nothing => tokens += i32::from(line.capture),
            }
        }
        assert_eq!(tokens, 0);
    }
}
