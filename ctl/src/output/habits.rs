//! Words that hands know from MySQL Shell and other tools: what ours is instead.
//!
//! Asked by `errors::usage` when a command does not exist; the nearest spelling would lead astray (`rejoin` is not `join`).

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clusterctl_proto::failure::{ExitClass, Failure};

/// In small letters, without `-` and `_`.
const WORDS: [(&[&str], &str); 8] = [
    (
        &["rejoin", "rejoininstance", "repair", "heal"],
        "a member that is back rejoins by itself; why one does not: clusterctl why HOST",
    ),
    (
        &["failover", "forcequorumusingpartitionof"],
        "fail-over happens by itself; what stands in its way: clusterctl why",
    ),
    (
        &["promote", "setprimary", "setprimaryinstance"],
        "clusterctl switchover --to HOST",
    ),
    (
        &["reboot", "rebootcluster", "rebootclusterfromcompleteoutage"],
        "it happens by itself when every member answers; else: clusterctl recover CLUSTER",
    ),
    (&["add", "addinstance"], "clusterctl join HOST"),
    (
        &["leave", "delete", "dissolve", "removeinstance"],
        "clusterctl remove HOST",
    ),
    (
        &["show", "list", "describe", "rescan", "info"],
        "clusterctl status, clusterctl hosts, clusterctl why",
    ),
    (
        &["start", "stop", "restart"],
        "on the host: systemctl start|stop|restart mysql (mysqlrouter); a primary is handed over first. To keep healing away: clusterctl pause",
    ),
];

/// What to say of a command that does not exist, if a habit explains it.
pub fn explain(err: &clap::Error) -> Option<Failure> {
    let typed = match (err.kind(), err.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(typed))) => typed,
        _ => return None,
    };
    let plain: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    let (_, ours) = WORDS.iter().find(|(words, _)| words.contains(&plain.as_str()))?;
    let message = format!("there is no command '{typed}'");
    Some(Failure::new("usage", message).hint(*ours).exit(ExitClass::Usage))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::explain;
    use crate::cli::Cli;

    fn hint(words: &[&str]) -> Option<String> {
        let err = Cli::try_parse_from(words).err()?;
        explain(&err)?.hint
    }

    #[test]
    fn a_habit_leads_to_our_command() {
        let rejoin = hint(&["clusterctl", "rejoin", "node3"]).unwrap();
        assert!(rejoin.contains("clusterctl why"), "{rejoin}");
        let reboot = hint(&["clusterctl", "reboot-cluster-from-complete-outage"]).unwrap();
        assert!(reboot.contains("clusterctl recover"), "{reboot}");
    }

    #[test]
    fn what_is_only_mistyped_is_left_to_the_parser() {
        assert_eq!(hint(&["clusterctl", "statsu"]), None);
        assert!(hint(&["clusterctl", "router", "start"]).is_some_and(|hint| hint.contains("mysqlrouter")));
        assert_eq!(hint(&["clusterctl", "status"]), None);
    }

    /// A word that has become a command is none of habit.
    #[test]
    fn no_habit_hides_a_command() {
        use clap::CommandFactory;
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        for (words, _) in super::WORDS {
            assert!(words.iter().all(|word| !names.contains(word)), "{words:?}");
        }
    }
}
