//! The command line of the agent; all that it does is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clusterctl_agent::config::{self, Config};
use clusterctl_agent::host::RealHost;
use clusterctl_agent::mysql::Driver;
use clusterctl_agent::{enroll, hand_over, run, status};
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::settings::{self, SettingsError};
use clusterctl_proto::tls;

/// The agent of clusterctl on one host
#[derive(Parser)]
#[command(name = "clusterctl-agent", version, max_term_width = 100)]
struct Cli {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the agent (what the systemd unit does)
    Run,
    /// Let this host into a coordinator group, by a token of `clusterctl token create`
    Enroll {
        /// File with the token, or - for standard input
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Enrol under this name instead of the host's own
        #[arg(long, alias = "name", value_name = "NAME")]
        host: Option<String>,
        /// Leave the coordinator group that this host is enrolled in, or make a new identity
        #[arg(long)]
        force: bool,
        /// Do not enable and start clusterctl-agent.service
        #[arg(long)]
        no_start: bool,
    },
    /// Show what this host knows of itself: identity, connection, ledger
    Status,
    /// Hand the primary role over before mysqld stops (what a drop-in of mysql.service does)
    HandOver,
}

fn main() -> ExitCode {
    if let Err(failure) = refuse_token_in_argv(std::env::args()) {
        return tell(&failure);
    }
    let cli = Cli::parse();
    tls::install_provider();
    // one thread: the agent mostly waits, and each further one costs memory
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return tell(&Failure::new("no_runtime", format!("cannot start: {error}"))),
    };
    let config = match (load_config(&cli.config), &cli.verb) {
        // a stop of mysqld does not fail for a line of ours that cannot be read
        (Err(failure), Verb::HandOver) => {
            tell(&failure);
            Ok(Config::default())
        }
        (config, _) => config,
    };
    let result = config.and_then(|config| runtime.block_on(dispatch(cli.verb, config)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => tell(&failure),
    }
}

async fn dispatch(verb: Verb, config: Config) -> Result<(), Failure> {
    match verb {
        Verb::Run => run::run(config).await,
        Verb::Enroll {
            token_file,
            host,
            force,
            no_start,
        } => {
            let arguments = enroll::Arguments {
                token_file,
                host,
                force,
                no_start,
            };
            println!("{}", enroll::run(arguments, &config, &RealHost).await?);
            Ok(())
        }
        Verb::Status => {
            print!("{}", status::text(&config, &RealHost).await);
            Ok(())
        }
        Verb::HandOver => {
            eprintln!("{}", hand_over::run(&RealHost, &Driver, &config).await);
            Ok(())
        }
    }
}

fn load_config(path: &std::path::Path) -> Result<Config, Failure> {
    match settings::load(path) {
        Err(SettingsError::File(error)) if error.is_missing() && Config::is_default_path(path) => Ok(Config::default()),
        result => Ok(result?),
    }
}

/// A secret in the command line is seen by every user of the host, and stays in the shell's history.
fn refuse_token_in_argv(arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    let is_token = |text: &str| text.split('=').any(|part| part.trim().starts_with("cct1."));
    if !arguments.skip(1).any(|argument| is_token(&argument)) {
        return Ok(());
    }
    Err(Failure::new("token_in_argv", "a token must not stand in the command line, where every user of this host sees it")
        .hint(
            "give it on standard input: clusterctl-agent enroll --token-file - (then paste it and press Ctrl-D), or name a file; \
             the token shown here should be revoked: clusterctl token revoke ID",
        )
        .exit(ExitClass::Usage))
}

fn tell(failure: &Failure) -> ExitCode {
    eprintln!("error: {failure}");
    for fact in &failure.facts {
        eprintln!("  {fact}");
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(failure.exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_command_line_is_refused_wherever_it_stands() {
        let words = |list: &[&str]| {
            list.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
                .into_iter()
        };
        for line in [
            &["agent", "enroll", "cct1.abc"][..],
            &["agent", "enroll", "--token-file=cct1.abc"],
            &["agent", "--token", "cct1.x"],
        ] {
            let failure = refuse_token_in_argv(words(line)).unwrap_err();
            assert_eq!(failure.exit.code(), 2);
            assert!(!format!("{failure:?}").contains("abc"), "it is not repeated");
        }
        assert!(refuse_token_in_argv(words(&["agent", "enroll", "--token-file", "-"])).is_ok());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
