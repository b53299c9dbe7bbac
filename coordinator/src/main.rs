//! The program `clusterctl-coordinator`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clusterctl_coordinator::{config, epoch, init, serve};
use clusterctl_proto::failure::Failure;
use clusterctl_proto::{logging, tls};

/// Keeps what operators want of MySQL clusters, decides, and watches
#[derive(Parser, Debug)]
#[command(name = "clusterctl-coordinator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make this host the first coordinator of a new group: certificate authority, log, operator certificate (as root, once;
    /// again: repairs what is missing). `clusterctl init` calls it
    Init {
        #[command(flatten)]
        places: Places,
        /// Address at which other hosts reach this one; may be repeated; without it every address of this host
        #[arg(long = "address", value_name = "IP", value_delimiter = ',')]
        addresses: Vec<IpAddr>,
        /// Address and port to listen at [default: 0.0.0.0:7440]
        #[arg(long, value_name = "IP:PORT")]
        listen: Option<SocketAddr>,
        /// Name of the first operator, who has role admin
        #[arg(long, value_name = "NAME", default_value = "admin")]
        operator: String,
    },
    /// Raise the recovery epoch, after an old copy of this coordinator's disk was put back and the newest one is lost (as root, with the
    /// coordinator stopped). Agents obey this log again, and refuse every order of an earlier epoch. Operations that this log
    /// calls unfinished are cancelled. Without --yes it says what it would do and changes nothing
    RaiseEpoch {
        #[command(flatten)]
        places: Places,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Serve, as the unit clusterctl-coordinator.service does
    Run {
        #[command(flatten)]
        places: Places,
    },
}

#[derive(clap::Args, Debug)]
struct Places {
    /// Where certificate authority and log are [default: data_dir of coordinator.toml]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where coordinator.toml is
    #[arg(long, value_name = "DIR", default_value = config::DIRECTORY)]
    config_dir: PathBuf,
}

fn main() -> ExitCode {
    tls::install_provider();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return ended(Err(Failure::new(
                "no_runtime",
                format!("the runtime does not start: {error}"),
            )));
        }
    };
    ended(runtime.block_on(run(cli.command)))
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init {
            places,
            addresses,
            listen,
            operator,
        } => {
            logging::init("warn,openraft=error");
            let Places { data_dir, config_dir } = places;
            let done = init::run(&init::Options {
                data_dir,
                config_dir,
                addresses,
                listen,
                operator,
            })
            .await?;
            for line in &done {
                println!("{line}");
            }
            if done.is_empty() {
                println!("already so");
            }
            Ok(())
        }
        Command::RaiseEpoch { places, yes } => {
            logging::init("warn,openraft=error");
            let Places { data_dir, config_dir } = places;
            let done = epoch::run(&epoch::Options {
                data_dir,
                config_dir,
                yes,
            })
            .await?;
            for line in &done {
                println!("{line}");
            }
            Ok(())
        }
        Command::Run { places } => {
            logging::init(logging::DEFAULT_FILTER);
            let Places { data_dir, config_dir } = places;
            serve::run(&serve::Options { data_dir, config_dir }).await
        }
    }
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {failure}");
    for fact in &failure.facts {
        eprintln!("  {fact}");
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(failure.exit.code())
}
